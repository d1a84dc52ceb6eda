package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// triggerCmd is for schedulers: a CronJob or a timer needs no shell, no curl, and
// no token in its arguments.
type triggerCmd struct {
	Event string `arg:"" help:"File with the instance event, JSON; - reads standard input."`

	URL          string `default:"http://127.0.0.1:8080" env:"OKTASYNC_URL" help:"Where the service is."`
	TriggerToken Secret `env:"OKTASYNC_TRIGGER_TOKEN" placeholder:"TOKEN" help:"Bearer token of instance events."`
}

// maxEvent is what the service takes.
const maxEvent = 1 << 20

// Run sends an instance event and prints the run that it started. It tries once:
// to try again is the scheduler's part.
func (cmd triggerCmd) Run(ctx context.Context, w world) error {
	if cmd.TriggerToken == "" {
		return usageError{errors.New("OKTASYNC_TRIGGER_TOKEN is not set")}
	}
	base, err := serviceURL(cmd.URL)
	if err != nil {
		return usageError{err}
	}
	in := w.stdin
	if cmd.Event != "-" {
		f, err := os.Open(cmd.Event)
		if err != nil {
			return fmt.Errorf("read the instance event: %w", err)
		}
		defer f.Close()
		in = f
	}
	event, err := io.ReadAll(io.LimitReader(in, maxEvent+1))
	if err != nil {
		return fmt.Errorf("read the instance event: %w", err)
	}
	if len(event) > maxEvent || !json.Valid(event) {
		return errors.New("the instance event is not JSON of at most 1 MiB") // its text may be a secret
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base.JoinPath("v1/instance-events").String(), bytes.NewReader(event))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+cmd.TriggerToken.Reveal())
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the body goes to this service alone
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("send the instance event: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxEvent))
	if err != nil {
		return fmt.Errorf("read the answer to the instance event: %w", err)
	}
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the instance event was not accepted: %s: %.500s", resp.Status, answer)
	}
	_, err = fmt.Fprintf(w.stdout, "%s\n", bytes.TrimSpace(answer))
	return err
}
