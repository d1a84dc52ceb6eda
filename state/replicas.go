package state

import (
	"context"
	"time"
)

// keepTime is how long a write that nothing brings back waits for a replica.
const keepTime = time.Second

// keep is for the end of a write that nothing brings back when the server dies:
// what an operator or a scheduler asked for. What Okta said comes back from the
// System Log, and does not wait.
func (o *Org) keep(ctx context.Context, err error) error {
	if err == nil {
		o.kept(ctx, o.prefix)
	}
	return err
}

func (o *Org) kept(ctx context.Context, keys ...string) { o.s.kept(ctx, keys...) }

// kept waits until a replica, of each server that has one of the keys, has all that was
// written so far. It is as good as it gets: without replicas there is no wait, and
// replicas that are behind hold nobody up for longer than keepTime.
func (s *Store) kept(ctx context.Context, keys ...string) {
	if s.mini != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*keepTime)
	defer cancel()
	seen := ""
	for _, key := range keys {
		node, err := s.node(ctx, key)
		if err != nil || node.Options().Addr == seen {
			continue
		}
		seen = node.Options().Addr
		// WAIT is for what was written before the last command of its own connection:
		// that is INFO, which tells whether there is a replica to wait for.
		conn := node.Conn()
		if replication, err := info(ctx, conn, "replication"); err == nil && replication["connected_slaves"] != "0" {
			_ = conn.Wait(ctx, 1, keepTime).Err()
		}
		_ = conn.Close()
	}
}
