package jupiterone_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"testing"

	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/jupiterone"
	"github.com/oktasync/oktasync/sync/sink/jupiterone/j1sim"
)

// The variables of a process that is there to be killed.
const (
	workerVar = "JUPITERONE_TEST_WORKER" // the URL of the server
	fileVar   = "JUPITERONE_TEST_FILE"   // the memory
)

// fileMemory is a memory that outlives a process.
type fileMemory string

func (f fileMemory) Load(context.Context) (n sink.Note, err error) {
	b, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &n)
	}
	return n, err
}

func (f fileMemory) Save(_ context.Context, n sink.Note) error {
	b, err := json.Marshal(n)
	if err == nil {
		err = os.WriteFile(string(f)+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(string(f)+".new", string(f))
	}
	return err
}

// worker delivers an org until it is killed.
func worker() {
	clock := &clock{}
	s, err := jupiterone.New(jupiterone.Config{
		Account: account, APIKey: key, BaseURL: os.Getenv(workerVar), BatchBytes: 4000, Uploads: 1, Now: clock.Now, Sleep: clock.Sleep,
	})
	if err == nil {
		in := sink.Instance{ID: "acme", AccountID: account, OrgHost: "acme.okta.com", Memory: fileMemory(os.Getenv(fileVar))}
		err = s.Replace(context.Background(), in, (&rig{}).snapshot(newOrg(20)), false)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// A process is killed at a request, before or after JupiterOne did what it asks.
func TestAKilledProcessLeavesNothingThatTheNextDoesNotMend(t *testing.T) {
	for _, at := range []struct {
		kind j1sim.Kind
		n    int
	}{
		{j1sim.StartJob, 1}, {j1sim.Entities, 1}, {j1sim.Relationships, 1}, {j1sim.Relationships, 2},
		{j1sim.Finalize, 1}, {j1sim.JobStatus, 1}, {j1sim.JobStatus, 3},
	} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %d, done %v", at.kind, at.n, after), func(t *testing.T) {
				t.Parallel()
				r := setup(t, j1sim.Config{}, nil)
				r.mem = fileMemory(t.TempDir() + "/memory")
				r.restart()
				exe, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(exe)
				cmd.Env = append(os.Environ(), workerVar+"="+r.cfg.BaseURL, fileVar+"="+string(r.mem.(fileMemory)))
				var out bytes.Buffer
				cmd.Stderr = &out
				started := make(chan struct{})
				kill := func(q j1sim.Request) {
					if q.Kind == at.kind && q.OfKind == at.n {
						<-started
						_ = cmd.Process.Kill()
					}
				}
				if after {
					r.srv.OnApplied(kill)
				} else {
					r.srv.Inject(func(q j1sim.Request) j1sim.Fault {
						kill(q)
						return j1sim.None
					})
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				close(started)
				var exit *exec.ExitError
				if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
					t.Fatalf("it was not killed: %v: %s", err, out.String())
				}
				r.srv.Inject(nil)
				r.srv.OnApplied(nil)
				o := newOrg(21)
				r.deliver(o)
				r.check(o)
				for _, j := range r.srv.Jobs() {
					if j.Status == "AWAITING_UPLOADS" && j.Entities > 0 {
						t.Errorf("%s was left open", j.ID)
					}
				}
			})
		}
	}
}
