// Package statetest gives tests a real redis-server, and faults to inject into
// what is written to it.
package statetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oktasync/oktasync/state"
)

// Server is a redis-server of its own, on a socket in a temporary folder.
type Server struct {
	URL string
	cmd *exec.Cmd
	dir string
}

// Start starts a redis-server that keeps nothing on disk. Most tests share one
// by Open; one that stops the server starts its own.
func Start() (*Server, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("tests need redis-server: apt-get install redis-server, or run ./deploy/test.sh, which does")
	}
	dir, err := os.MkdirTemp("", "oktasync-redis")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "redis.sock")
	cmd := exec.Command(path, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	s := &Server{URL: "unix://" + socket, cmd: cmd, dir: dir}
	for deadline := time.Now().Add(10 * time.Second); ; {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			return s, nil
		}
		if time.Now().After(deadline) {
			s.Stop()
			return nil, errors.New("redis-server did not open its socket within 10 s")
		}
		time.Sleep(5 * time.Millisecond) // until another process listens
	}
}

// Stop ends the server and removes its folder.
func (s *Server) Stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	_ = os.RemoveAll(s.dir)
}

var shared struct {
	sync.Mutex
	server *Server
	err    error
}

// Main runs the tests of a package and ends the redis-server that they share.
// Call it from TestMain.
func Main(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		shared.server.Stop()
	}
	return code
}

// URL returns the address of the shared redis-server, started at the first call.
func URL(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = Start()
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server.URL
}

// Open opens a store on the shared redis-server, closed at the end of the test.
func Open(t testing.TB) *state.Store {
	t.Helper()
	s, err := state.Open(context.Background(), URL(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

var instances atomic.Int64

// Instance returns an id that no other test of the process uses.
func Instance() string { return fmt.Sprintf("test%d", instances.Add(1)) }

// Fault is what happens to a command.
type Fault int

// The faults of a write: it never arrives, or it is done and its answer is lost.
const (
	None Fault = iota
	Lost
	Unreported
)

// ErrFault is what a command with a fault fails with.
var ErrFault = errors.New("injected fault")

// Faults is a hook for state.Store.AddHook: Decide chooses the fault of each
// command, by its name.
type Faults struct {
	Decide func(command string) Fault
}

// DialHook is part of redis.Hook.
func (f Faults) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook is part of redis.Hook.
func (f Faults) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return f.apply(cmd.Name(), func() error { return next(ctx, cmd) }, cmd.SetErr)
	}
}

// ProcessPipelineHook is part of redis.Hook.
func (f Faults) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return f.apply("pipeline", func() error { return next(ctx, cmds) }, func(err error) {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
		})
	}
}

func (f Faults) apply(name string, run func() error, fail func(error)) error {
	switch f.Decide(name) {
	case Lost:
	case Unreported:
		_ = run()
	default:
		return run()
	}
	fail(ErrFault)
	return ErrFault
}
