package bench

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// process is a child that dies with the benchmark.
type process struct {
	name string
	lab  *lab
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// start starts a program; what it says goes to a file of the lab. It is killed when
// ctx ends, and by stop.
func (l *lab) start(ctx context.Context, name, path string, args, env []string) (*process, error) {
	out, err := l.log(name)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(surroundings(), env...)
	cmd.Dir = l.dir
	cmd.Stdout, cmd.Stderr = out, out
	dieWithParent(cmd)
	p := &process{name: name, lab: l, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// On Linux a child dies with the thread that started it: this thread lives as
		// long as the child.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed, or its output tells why it ended
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// surroundings is the environment without what a service is set up by: a shell that is
// set up for one must not have a benchmark read a real org, or measure other settings.
func surroundings() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return slices.ContainsFunc([]string{"OKTA", "JUPITERONE_", "OTEL_"}, func(prefix string) bool { return strings.HasPrefix(variable, prefix) })
	})
}

// stop kills the process and waits for its end.
func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// await calls ready until it returns nil, at most for the time given.
func (p *process) await(ctx context.Context, limit time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s: %w:\n%s", p.name, errDied, p.lab.tail(p.name))
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready within %s: %w\n%s", p.name, limit, err, p.lab.tail(p.name))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// usage is what a process has used.
type usage struct {
	cpu       time.Duration // user and system
	rss, peak int64         // bytes resident: now; the most since the last resetPeak, or its start
}

// since returns what was used after an earlier reading; memory is that of now.
func (u usage) since(earlier usage) usage {
	u.cpu -= earlier.cpu
	return u
}

// clockTick is the unit of CPU times in /proc: USER_HZ, which is 100 on every
// architecture that Go supports.
const clockTick = 10 * time.Millisecond

// usage reads what the process has used until now, from /proc.
func (p *process) usage() (usage, error) {
	u, err := readUsage(p.cmd.Process.Pid)
	if err != nil {
		return usage{}, fmt.Errorf("what %s uses cannot be read, it needs Linux's /proc and a running process: %w", p.name, err)
	}
	return u, nil
}

func readUsage(pid int) (u usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The name of the program, in brackets, may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return u, fmt.Errorf("/proc/%d/stat has another form than known", pid)
	}
	for _, ticks := range fields[11:13] {
		n, err := strconv.ParseInt(ticks, 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(n) * clockTick
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		name, rest, _ := strings.Cut(line, ":")
		var to *int64
		switch name {
		case "VmRSS":
			to = &u.rss
		case "VmHWM":
			to = &u.peak
		default:
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return u, err
		}
		*to = kib << 10
	}
	return u, nil
}

// resetPeak makes the peak of the process begin anew.
func (p *process) resetPeak() error {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0); err != nil {
		return fmt.Errorf("begin the peak memory of %s anew: %w", p.name, err)
	}
	return nil
}

// freeAddress returns a loopback address that nobody listens on. It is not one
// of the ports that systems give to the near end of a connection: such a port
// can be lost before the process listens.
func freeAddress() (string, error) {
	for port := 20_000 + os.Getpid()%5000; port < 30_000; port++ {
		address := fmt.Sprintf("127.0.0.1:%d", port)
		listener, err := net.Listen("tcp", address)
		if err == nil {
			return address, listener.Close()
		}
	}
	return "", fmt.Errorf("no port from 20000 to 29999 is free on 127.0.0.1")
}
