// Package statetest gives tests a real redis-server, and faults to inject into
// what is written to it.
package statetest

import (
	"context"
	"errors"
	"fmt"
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
	URL  string
	cmd  *exec.Cmd
	dir  string
	args []string
}

// Start starts a redis-server that keeps nothing on disk. Most tests share one
// by Open; one that stops the server starts its own.
func Start() (*Server, error) { return start("--save", "", "--appendonly", "no") }

// StartDurable starts a redis-server with an append-only file, written and
// synced before each answer.
func StartDurable() (*Server, error) {
	return start("--save", "", "--appendonly", "yes", "--appendfsync", "always")
}

// StartWritten starts a redis-server with an append-only file that is written
// before each answer, but never synced: what it wrote outlives the server, not
// the machine. It is faster.
func StartWritten() (*Server, error) {
	return start("--save", "", "--appendonly", "yes", "--appendfsync", "no")
}

// LoseTail cuts n bytes off what a killed server wrote last, as a crash of the
// machine does.
func (s *Server) LoseTail(n int64) error {
	files, err := filepath.Glob(filepath.Join(s.dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no append-only file: %w", err)
	}
	info, err := os.Stat(files[len(files)-1])
	if err != nil {
		return err
	}
	return os.Truncate(files[len(files)-1], max(info.Size()-n, 0))
}

func start(args ...string) (*Server, error) {
	dir, err := os.MkdirTemp("", "oktasync-redis")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "redis.sock")
	s := &Server{URL: "unix://" + socket, dir: dir, args: append([]string{"--port", "0", "--unixsocket", socket, "--dir", dir}, args...)}
	if err := s.Restart(); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

var errNoServer = errors.New("tests need redis-server: apt-get install redis-server, or run ./deploy/test.sh, which does")

// Restart starts the server, which is not running, with what it kept on disk.
func (s *Server) Restart() error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return errNoServer
	}
	cmd := exec.Command(path, s.args...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	s.cmd = cmd
	opts, err := redis.ParseURL(s.URL)
	if err != nil {
		return err
	}
	opts.MaxRetries = -1
	client := redis.NewClient(opts)
	defer client.Close()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err := os.Stat(opts.Addr); err == nil && client.Ping(context.Background()).Err() == nil {
			return nil // it has loaded its file
		}
		if time.Now().After(deadline) {
			return errors.New("redis-server did not answer within 10 s")
		}
		time.Sleep(2 * time.Millisecond) // until another process listens
	}
}

// Kill ends the server as kill -9 does. What it wrote stays.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// Stop ends the server and removes its folder.
func (s *Server) Stop() {
	if s.cmd != nil {
		s.Kill()
	}
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
