package state

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// Server state that matters to what the store promises.
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
	Cluster    bool   // a node of a Redis Cluster
}

// Health asks Redis for it. What a hosted Redis does not tell stays empty.
func (s *Store) Health(ctx context.Context) (Health, error) {
	var h Health
	if s.mini != nil {
		return h, nil
	}
	info, err := s.info(ctx, "everything")
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
	h.Role, h.Cluster = info["role"], info["cluster_enabled"] == "1"
	// Many hosted servers refuse CONFIG: then it is not known.
	if c, err := s.rdb.ConfigGet(ctx, "appendfsync").Result(); err == nil {
		h.Fsync = c["appendfsync"]
	}
	if c, err := s.rdb.ConfigGet(ctx, "save").Result(); err == nil {
		h.RDB = strings.TrimSpace(c["save"]) != ""
	}
	return h, ctx.Err()
}

// Now is the time on the clock of Redis.
func (s *Store) Now(ctx context.Context) (time.Time, error) { return s.rdb.Time(ctx).Result() }

// Memory returns how many bytes Redis uses, and may use: 0 is without limit.
func (s *Store) Memory(ctx context.Context) (used, most int64, err error) {
	if s.mini != nil {
		return 0, 0, nil
	}
	info, err := s.info(ctx, "memory")
	if err != nil {
		return 0, 0, err
	}
	used, _ = strconv.ParseInt(info["used_memory"], 10, 64)
	most, _ = strconv.ParseInt(info["maxmemory"], 10, 64)
	return used, most, nil
}

// RewriteAOF has Redis write its append-only file anew. A server that was
// started on a file cut off in the middle of a transaction leaves the beginning
// of that transaction in the file, and the next start takes it for a part of
// what follows (seen with Redis 7.0.15): a script would take effect in part.
func (s *Store) RewriteAOF(ctx context.Context) error {
	if s.mini != nil {
		return nil
	}
	info, err := s.Persistence(ctx)
	if err != nil || info["aof_enabled"] != "1" || info["aof_rewrite_in_progress"] == "1" {
		return err
	}
	return s.rdb.BgRewriteAOF(ctx).Err()
}

// Persistence returns what Redis tells of its persistence, as INFO names it.
func (s *Store) Persistence(ctx context.Context) (map[string]string, error) {
	return s.info(ctx, "persistence")
}
