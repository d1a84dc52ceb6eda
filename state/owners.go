package state

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/redis/go-redis/v9"
)

// pinned is the way of owners to one running server, and to no other.
type pinned struct {
	id     string // of the server
	addr   string // of a node of a Redis Cluster; "" elsewhere
	client *redis.Client

	owners int // that use it: it is closed with the last
}

// owners are the servers that owners work with.
type owners struct {
	sync.Mutex
	open  map[*pinned]bool
	hooks []redis.Hook
}

// pin returns the way to the server that has the key now. Release it.
func (s *Store) pin(ctx context.Context, key string) (*pinned, error) {
	node, err := s.node(ctx, key)
	if err != nil {
		return nil, err
	}
	if s.mini != nil { // lives as long as this process
		return &pinned{id: s.mini.Addr(), client: node}, nil
	}
	id, err := runID(ctx, node)
	if err != nil {
		return nil, err
	}
	addr := ""
	if s.cluster != nil {
		addr = node.Options().Addr
	}
	s.owners.Lock()
	defer s.owners.Unlock()
	for p := range s.owners.open {
		if p.addr == addr && p.id == id {
			p.owners++
			return p, nil
		}
	}
	p := &pinned{id: id, addr: addr, owners: 1}
	opts := *node.Options()
	opts.OnConnect = func(ctx context.Context, c *redis.Conn) error { return sameServer(ctx, c, id) }
	p.client = redis.NewClient(&opts)
	p.client.AddHook(fence{s})
	for _, h := range s.owners.hooks {
		p.client.AddHook(h)
	}
	s.owners.open[p] = true
	return p, nil
}

// release ends one use.
func (s *Store) release(p *pinned) {
	if s.mini != nil {
		return
	}
	s.owners.Lock()
	defer s.owners.Unlock()
	if p.owners--; p.owners == 0 {
		_ = p.client.Close()
		delete(s.owners.open, p)
	}
}

// runID asks a server for its id: another one after each start.
func runID(ctx context.Context, c redis.Cmdable) (string, error) {
	server, err := info(ctx, c, "server")
	return server["run_id"], err
}

// sameServer lets an owner connect only to the server that it took its lease
// from. One that was started again, or another in its place, may not have its
// last moments, which what the owner has in memory still rests on.
func sameServer(ctx context.Context, c *redis.Conn, id string) error {
	now, err := runID(ctx, c)
	if err == nil && now != id {
		err = ErrFenced
	}
	return err
}

// fence is a hook of owners' connections: where the server has the instance no
// longer, or takes no writes any more, the owner's work is over.
type fence struct{ s *Store }

func (fence) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (f fence) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := f.judge(ctx, next(ctx, cmd))
		cmd.SetErr(err)
		return err
	}
}

func (f fence) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			was := cmd.Err()
			if now := f.judge(ctx, was); now != was {
				err = now
				cmd.SetErr(now)
			}
		}
		return err
	}
}

func (f fence) judge(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, moved := redis.IsMovedError(err); moved || redis.IsReadOnlyError(err) || errors.Is(err, ErrFenced) {
		if f.s.cluster != nil {
			f.s.cluster.ReloadState(ctx)
		}
		return ErrFenced
	}
	if _, ask := redis.IsAskError(err); ask {
		return ErrMoving
	}
	return err
}
