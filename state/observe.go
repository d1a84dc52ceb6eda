package state

import (
	"cmp"
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Observe has f called with each command or script that ended, by name, and with
// its error if Redis, or the way to it, failed. What Redis or our own scripts refuse is no failure.
func (s *Store) Observe(f func(name string, took time.Duration, err error)) {
	s.AddHook(observer(f))
}

// scriptNames tells which script a hash stands for.
var scriptNames = map[string]string{
	mergeScript.Hash(): "merge", acceptScript.Hash(): "accept", graphScript.Hash(): "graph", lookScript.Hash(): "look",
	overdueScript.Hash(): "overdue", replayScript.Hash(): "replay", startScript.Hash(): "start",
	leaseScript.Hash(): "lease", releaseScript.Hash(): "release",
}

// observer is a hook of the client of Redis.
type observer func(name string, took time.Duration, err error)

func (f observer) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		began := time.Now()
		conn, err := next(ctx, network, addr)
		f.tell(ctx, "dial", began, err)
		return conn, err
	}
}

func (f observer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		began := time.Now()
		err := next(ctx, cmd)
		name := strings.ToLower(cmd.Name())
		if args := cmd.Args(); name == "evalsha" && len(args) > 1 {
			hash, _ := args[1].(string)
			name = cmp.Or(scriptNames[hash], name)
		}
		f.tell(ctx, name, began, err)
		return err
	}
}

func (f observer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		began := time.Now()
		err := next(ctx, cmds)
		f.tell(ctx, "pipeline", began, err)
		return err
	}
}

func (f observer) tell(ctx context.Context, name string, began time.Time, err error) {
	if !failed(ctx, err) {
		err = nil
	}
	f(name, time.Since(began), err)
}

// failed tells whether an error is a failure of Redis or of the way to it.
func failed(ctx context.Context, err error) bool {
	switch {
	case err == nil, errors.Is(err, redis.Nil), errors.Is(err, ErrFenced), ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		return false
	}
	// ERR is an answer too: to a command that this server does not know or allow.
	for _, answer := range []string{"ERR ", "NOPERM", "NOSCRIPT", "FENCED", "GONE", "CHANGED", "NEWER"} {
		if strings.HasPrefix(err.Error(), answer) {
			return false
		}
	}
	return true
}
