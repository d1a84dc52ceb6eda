package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta"
)

type syncCmd struct {
	OrgURL  string `name:"org-url" required:"" env:"OKTA_CLIENT_ORGURL" placeholder:"https://…" help:"Org to read."`
	Token   Secret `required:"" env:"OKTA_CLIENT_TOKEN" help:"API token of the org."`
	Out     string `required:"" placeholder:"FILE" help:"File to write, an object a line; - is standard output."`
	Factors bool   `help:"Read MFA factors as well: one call more for each user."`

	reading `embed:""`
}

// settleTimeout bounds the wait, after a read and the allowance for what Okta
// tells late, for objects to be read again.
const settleTimeout = 2 * time.Minute

// Run reads the org once. It writes the file whole or not at all: what is there
// from before stays until a complete read replaces it.
func (cmd *syncCmd) Run(ctx context.Context, w world) (err error) {
	if err := cmd.validate(); err != nil {
		return usageError{err}
	}
	orgURL, err := okta.ParseOrgURL(cmd.OrgURL, cmd.AllowInsecureOrgs)
	if err != nil {
		return usageError{fmt.Errorf("--org-url: %w", err)}
	}
	bars := newProgress(w.stderr)
	log := slog.New(slog.NewTextHandler(bars, nil))
	eng, stop, err := background(ctx, cmd.engineConfig(log))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()

	const id = "sync"
	if err := eng.Register(ctx, engine.Instance{
		ID: id, Name: id, OrgURL: orgURL, Token: cmd.Token.Reveal(), Factors: cmd.Factors,
	}); err != nil {
		return err
	}
	run, err := fullRead(ctx, eng, id, bars.show)
	bars.close()
	if err == nil {
		fmt.Fprintf(w.stderr, "Read. The System Log tells what changed meanwhile: that takes %s.\n", cmd.ListAllowance)
		err = settle(ctx, eng, id, cmd.ListAllowance+settleTimeout)
	}
	if denied := (logError{}); errors.As(err, &denied) {
		fmt.Fprintln(w.stderr, "Warning: what changed during the read may be missing, since", denied)
		err = nil
	}
	if err != nil {
		return fmt.Errorf("%s was not written: %w", cmd.Out, err)
	}
	written, err := writeGraph(ctx, eng, id, cmd.Out, w.stdout)
	if err != nil {
		return fmt.Errorf("write %s: %w", cmd.Out, err)
	}
	calls := int64(0)
	for _, p := range run.Progress {
		calls += p.Calls
	}
	fmt.Fprintf(w.stderr, "%d objects in %s, %d API calls\n", written, run.EndedAt.Sub(run.StartedAt).Round(time.Millisecond), calls)
	return nil
}

// fullRead reads an instance in full. An incomplete run is an error that names
// each list and its reason. What changed meanwhile settle waits for.
func fullRead(ctx context.Context, eng *engine.Engine, id string, show func(engine.Run)) (engine.Run, error) {
	run, err := eng.StartRun(ctx, id, engine.Start{Trigger: "command"})
	if err != nil {
		return run, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for run.State == engine.RunRunning {
		select {
		case <-ctx.Done():
			return run, fmt.Errorf("interrupted: %w", context.Cause(ctx))
		case <-tick.C:
		}
		if run, err = eng.RunByID(ctx, run.ID); err != nil {
			return run, err
		}
		show(run)
	}
	if run.State != engine.RunSucceeded {
		return run, incompleteError(run)
	}
	return run, nil
}

// logError says why the System Log cannot be read.
type logError struct{ why string }

func (e logError) Error() string { return "the System Log cannot be read: " + e.why }

// settle waits until the graph is whole, and nothing is left to apply or to read
// again.
func settle(ctx context.Context, eng *engine.Engine, id string, most time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := eng.Instance(ctx, id)
		if err != nil {
			return err
		}
		if status.Problem != "" {
			return fmt.Errorf("the org cannot be read: %s", status.Problem)
		}
		idle := status.Inbox == 0 && status.Refreshes == 0
		switch {
		case idle && status.Whole:
			return nil
		case idle && status.Log.Problem != "":
			return logError{status.Log.Problem}
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("interrupted: %w", context.Cause(ctx))
			}
			return fmt.Errorf("%d events are not applied and %d objects not read again after %s; the org may be too busy, or its limits too low: try again later",
				status.Inbox, status.Refreshes, most)
		case <-tick.C:
		}
	}
}

func incompleteError(run engine.Run) error {
	var b strings.Builder
	fmt.Fprintf(&b, "the read is incomplete: %d lists could not be read:", len(run.Errors))
	for i, e := range run.Errors {
		if i == 20 {
			fmt.Fprintf(&b, "\n  and %d more", len(run.Errors)-i)
			break
		}
		fmt.Fprintf(&b, "\n  %s: %s", e.Scope, e.Error)
	}
	return errors.New(b.String())
}

// writeGraph writes the graph to path, by a file beside it that takes its name
// once it is complete; to stdout if path is "-". It returns the objects written.
func writeGraph(ctx context.Context, eng *engine.Engine, id, path string, stdout io.Writer) (n int, err error) {
	if path == "-" {
		return writeObjects(ctx, eng, id, stdout)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			f.Close() // perhaps again: harmless
			os.Remove(f.Name())
		}
	}()
	if n, err = writeObjects(ctx, eng, id, f); err != nil {
		return n, err
	}
	if err = errors.Join(f.Sync(), f.Close()); err != nil {
		return n, err
	}
	return n, os.Rename(f.Name(), path)
}

func writeObjects(ctx context.Context, eng *engine.Engine, id string, w io.Writer) (n int, err error) {
	buf := bufio.NewWriterSize(w, 64<<10)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	for object, err := range eng.Graph(ctx, id) {
		if err != nil {
			return n, err
		}
		if err := enc.Encode(object); err != nil {
			return n, err
		}
		n++
	}
	return n, buf.Flush()
}
