// Package bench measures the service as it is run: a redis-server, the service and
// what plays Okta are processes of their own on this machine, on loopback, and what
// each of them cost is printed beside what was done.
package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// Command is oktasync bench.
type Command struct {
	Reconcile reconcileCmd `cmd:"" help:"Full reconciles of generated orgs: time, calls, memory, by the size of the org."`
	Sweep     sweepCmd     `cmd:"" help:"A sweep of a quiet org, against a full reconcile."`
	Import    importCmd    `cmd:"" help:"A bulk import: many users arrive as events."`
	Ingest    ingestCmd    `cmd:"" help:"Deliveries of the event hook: how many, against a bare handler, and how soon they are acknowledged."`
	Freshness freshnessCmd `cmd:"" help:"How long after an event its change is seen by who follows the changes."`
	Idle      idleCmd      `cmd:"" help:"What instances cost that have nothing to do."`

	Org  orgCmd  `cmd:"" hidden:"" help:"Serve a generated org."`
	Bare bareCmd `cmd:"" hidden:"" help:"Serve a handler that does nothing but an XADD."`
}

// Streams is where a benchmark prints its table, and beside it what it does.
type Streams struct{ Out, Err io.Writer }

// lab is where the processes of a benchmark run: a folder that is removed at the end.
type lab struct {
	dir  string
	exe  string // this program, which is the service too
	said io.Writer
}

// newLab returns a lab; close it.
func newLab(s Streams) (*lab, error) {
	if runtime.GOOS != "linux" {
		return nil, errors.New("benchmarks run on Linux alone: what a process has used is read in its /proc")
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, which is the service too: %w", err)
	}
	dir, err := os.MkdirTemp("", "oktasync-bench")
	if err != nil {
		return nil, err
	}
	return &lab{dir: dir, exe: exe, said: s.Err}, nil
}

// close removes what the processes left. End them first.
func (l *lab) close() { _ = os.RemoveAll(l.dir) }

// note tells whoever waits what is being done.
func (l *lab) note(format string, args ...any) { fmt.Fprintf(l.said, format+"\n", args...) }

// log opens the file that takes what a process says.
func (l *lab) log(name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(l.dir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

// tail returns the end of what a process said.
func (l *lab) tail(name string) string {
	b, err := os.ReadFile(filepath.Join(l.dir, name+".log"))
	if err != nil {
		return ""
	}
	return string(b[max(0, len(b)-2000):])
}

// errDied is a process that ended before the benchmark did.
var errDied = errors.New("the process ended by itself")
