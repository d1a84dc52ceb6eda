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
		o.kept(ctx, o.key("kept"))
	}
	return err
}

func (o *Org) kept(ctx context.Context, keys ...string) { o.s.kept(ctx, keys...) }

// keptKey is as the key kept of an instance, in the slot of the list.
const keptKey = "oktasync:kept:{" + instancesKey + "}"

// kept waits until a replica, of each server that has one of these keys, has all that was
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
		// WAIT is for the last write of its own connection, and all before it: Redis 7.2
		// and later wait for nothing on one that has only read.
		conn := node.Conn()
		if replication, err := info(ctx, conn, "replication"); err == nil && replication["connected_slaves"] != "0" {
			if conn.Set(ctx, key, "", keepTime).Err() == nil {
				_ = conn.Wait(ctx, 1, keepTime).Err()
			}
		}
		_ = conn.Close()
	}
}
