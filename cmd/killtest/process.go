package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// process is a child that is started again each time it ends.
type process struct {
	name, address string
	path          string
	args, env     []string
	output        *os.File // what it prints; shared by all its lives

	mu      sync.Mutex
	running *exec.Cmd // nil between two lives
	killed  bool      // the running one
	ended   int       // lives that ended without being killed
}

// keep keeps the process alive until ctx ends, and returns when it is dead.
func (p *process) keep(ctx context.Context) {
	// On Linux a child dies with the thread that started it: this thread is to
	// live as long as the test.
	runtime.LockOSThread()
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, p.path, p.args...) // killed when ctx ends
		cmd.Env = append(os.Environ(), p.env...)
		cmd.Stdout, cmd.Stderr = p.output, p.output
		dieWithParent(cmd)
		err := cmd.Start()
		if err == nil {
			p.set(cmd)
			_ = cmd.Wait() // killed, or its output tells why it ended
			p.set(nil)
		} else {
			fmt.Fprintf(p.output, "%s could not be started: %v\n", p.name, err)
		}
		p.mu.Lock()
		killed := p.killed
		p.killed = false
		if !killed && ctx.Err() == nil {
			p.ended++
		}
		p.mu.Unlock()
		if !killed { // the service ends at once while Redis is away
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

func (p *process) set(cmd *exec.Cmd) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = cmd
}

// kill kills the process if it is there, and returns which one it was.
func (p *process) kill() (pid int, done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil || p.killed || p.running.Process.Kill() != nil {
		return 0, false
	}
	p.killed = true
	return p.running.Process.Pid, true
}

// pid returns the number of the running process, or 0.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil || p.killed {
		return 0
	}
	return p.running.Process.Pid
}

// deaths returns how often the process ended by itself.
func (p *process) deaths() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// freeAddress returns a loopback address that nobody listens on. It is not one
// of the ports that systems give to the near end of a connection: such a port
// can be lost between two lives, to a caller that connects to itself.
func freeAddress() (string, error) {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(10_000))
		listener, err := net.Listen("tcp", address)
		if err == nil {
			return address, listener.Close()
		}
	}
	return "", fmt.Errorf("no port from 20000 to 29999 is free on 127.0.0.1")
}
