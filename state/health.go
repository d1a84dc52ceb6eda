package state

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server state that matters to what the store promises. Of a Redis Cluster it is
// the worst that is found among the masters, and their least room.
type Health struct {
	Version    string
	AOF        bool
	AOFBroken  bool   // the last write or rewrite of the AOF failed
	RDB        bool   // snapshots are on
	Fsync      string // always, everysec, no; "" if Redis does not tell
	Eviction   string // maxmemory-policy
	Used, Most int64  // bytes; Most 0: without a limit
	Machine    int64  // bytes of the machine's memory; 0 if Redis does not tell
	Role       string // master, or slave: a replica, which takes no writes
	Cluster    bool   // a Redis Cluster, used as one
	Sentinel   bool   // found by Sentinels
	Masters    int    // of a Redis Cluster
	Replicas   int    // that are connected
	MinWrite   int    // min-replicas-to-write; -1 if Redis does not tell
}

// masters calls f with each server that takes writes, one at a time.
func (s *Store) masters(ctx context.Context, f func(*redis.Client) error) error {
	if s.cluster == nil {
		return f(s.single)
	}
	var mu sync.Mutex
	return s.cluster.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		if err := f(c); err != nil {
			return fmt.Errorf("node %s: %w", c.Options().Addr, err)
		}
		return nil
	})
}

// Health asks Redis for it. What a hosted Redis does not tell stays empty.
func (s *Store) Health(ctx context.Context) (Health, error) {
	var worst Health
	if s.mini != nil {
		return worst, nil
	}
	n := 0
	err := s.masters(ctx, func(c *redis.Client) error {
		h, err := healthOf(ctx, c)
		if err != nil {
			return err
		}
		if n++; n > 1 {
			h = worse(worst, h)
		}
		worst = h
		return nil
	})
	if worst.Cluster = s.cluster != nil; worst.Cluster {
		worst.Masters = n
	}
	worst.Sentinel = s.sentinels
	return worst, errors.Join(err, ctx.Err())
}

func healthOf(ctx context.Context, c *redis.Client) (Health, error) {
	h := Health{MinWrite: -1}
	info, err := info(ctx, c, "everything")
	if err != nil {
		return h, err
	}
	h.Version = info["redis_version"]
	h.AOF = info["aof_enabled"] == "1"
	h.AOFBroken = h.AOF && (info["aof_last_write_status"] == "err" || info["aof_last_bgrewrite_status"] == "err")
	h.Eviction = info["maxmemory_policy"]
	h.Used, _ = strconv.ParseInt(info["used_memory"], 10, 64)
	h.Most, _ = strconv.ParseInt(info["maxmemory"], 10, 64)
	h.Machine, _ = strconv.ParseInt(info["total_system_memory"], 10, 64)
	h.Replicas, _ = strconv.Atoi(info["connected_slaves"])
	h.Role = info["role"]
	// Many hosted servers refuse CONFIG: then it is not known.
	if c, err := c.ConfigGet(ctx, "appendfsync").Result(); err == nil {
		h.Fsync = c["appendfsync"]
	}
	if c, err := c.ConfigGet(ctx, "save").Result(); err == nil {
		h.RDB = strings.TrimSpace(c["save"]) != ""
	}
	if c, err := c.ConfigGet(ctx, "min-replicas-to-write").Result(); err == nil {
		if n, err := strconv.Atoi(c["min-replicas-to-write"]); err == nil {
			h.MinWrite = n
		}
	}
	return h, nil
}

// worse takes of two servers what is worse.
func worse(a, b Health) Health {
	if b.Version < a.Version {
		a.Version = b.Version
	}
	a.AOF, a.AOFBroken, a.RDB = a.AOF && b.AOF, a.AOFBroken || b.AOFBroken, a.RDB && b.RDB
	if ranks := map[string]int{"no": 2, "everysec": 1, "always": 0, "": -1}; ranks[b.Fsync] > ranks[a.Fsync] {
		a.Fsync = b.Fsync
	}
	if a.Eviction == "noeviction" {
		a.Eviction = b.Eviction
	}
	if fuller(b.Used, b.Most, a.Used, a.Most) {
		a.Used, a.Most, a.Machine = b.Used, b.Most, b.Machine
	}
	if b.Role != "master" {
		a.Role = b.Role
	}
	a.Replicas, a.MinWrite = min(a.Replicas, b.Replicas), min(a.MinWrite, b.MinWrite)
	return a
}

// fuller tells whether the first of two servers has less room, each by the bytes
// that it uses and may use.
func fuller(used, most, thanUsed, thanMost int64) bool {
	switch {
	case most == 0 && thanMost == 0:
		return used > thanUsed
	case most == 0 || thanMost == 0:
		return most > 0
	}
	return float64(used)/float64(most) > float64(thanUsed)/float64(thanMost)
}

// Now is the time on the clock of Redis.
func (s *Store) Now(ctx context.Context) (time.Time, error) { return s.rdb.Time(ctx).Result() }

// Memory returns how many bytes Redis uses, and may use: 0 is without limit. Of a
// Redis Cluster it is those of the fullest node.
func (s *Store) Memory(ctx context.Context) (used, most int64, err error) {
	if s.mini != nil {
		return 0, 0, nil
	}
	first := true
	err = s.masters(ctx, func(c *redis.Client) error {
		u, m, err := memoryOf(ctx, c)
		if err == nil && (first || fuller(u, m, used, most)) {
			used, most, first = u, m, false
		}
		return err
	})
	return used, most, err
}

// Memory is Store.Memory of the server of the instance.
func (o *Org) Memory(ctx context.Context) (used, most int64, err error) {
	if o.s.mini != nil {
		return 0, 0, nil
	}
	node, err := o.node(ctx)
	if err != nil {
		return 0, 0, err
	}
	return memoryOf(ctx, node)
}

// Node names the server of the instance.
func (o *Org) Node(ctx context.Context) (string, error) {
	node, err := o.node(ctx)
	if err != nil {
		return "", err
	}
	return node.Options().Addr, nil
}

func memoryOf(ctx context.Context, c redis.Cmdable) (used, most int64, err error) {
	info, err := info(ctx, c, "memory")
	if err != nil {
		return 0, 0, err
	}
	used, _ = strconv.ParseInt(info["used_memory"], 10, 64)
	most, _ = strconv.ParseInt(info["maxmemory"], 10, 64)
	return used, most, nil
}

// RewriteAOF has the server of the instance write its append-only file anew. A server
// that was started on a file cut off in the middle of a transaction leaves the beginning
// of that transaction in the file, and the next start takes it for a part of
// what follows (seen with Redis 7.0.15): a script would take effect in part.
func (o *Org) RewriteAOF(ctx context.Context) error {
	if o.s.mini != nil {
		return nil
	}
	info, err := o.Persistence(ctx)
	if err != nil || info["aof_enabled"] != "1" || info["aof_rewrite_in_progress"] == "1" || info["aof_rewrite_scheduled"] == "1" {
		return err
	}
	node, err := o.node(ctx)
	if err != nil {
		return err
	}
	return node.BgRewriteAOF(ctx).Err()
}

// Persistence returns what the server of the instance tells of its persistence, as INFO
// names it.
func (o *Org) Persistence(ctx context.Context) (map[string]string, error) {
	node, err := o.node(ctx)
	if err != nil {
		return nil, err
	}
	return info(ctx, node, "persistence")
}

// node is the server of the instance.
func (o *Org) node(ctx context.Context) (*redis.Client, error) {
	if o.pinned != nil {
		return o.pinned.client, nil
	}
	return o.s.node(ctx, o.prefix)
}
