package state

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Overview is what the status of an instance is made of: what does not grow with
// the org, nor with what is held.
type Overview struct {
	Settings    []byte
	Sizes       Sizes
	Counts      map[string]int64 // as Counts
	Coverage    map[string]int64 // as Coverage
	Held        map[string]int64 // as HeldByKind
	Facts       map[string]string
	Sinks       map[string]string // as Org.Sinks
	Log         string            // place in the System Log
	OldestInbox int64             // when the oldest event not yet taken in was accepted, ms on the clock of Redis; 0: the inbox is empty
	Unanswered  int64             // as Org.Unanswered; 0: nothing is asked for
	Owner       string            // as Org.Owner
	Holding     []string
	LastRun     []byte // nil: there was none
}

// Overview reads it, in two steps: with many instances each one more would be
// felt. It returns ErrNotFound if the instance has no settings.
func (o *Org) Overview(ctx context.Context) (Overview, error) {
	pipe := o.rdb.Pipeline()
	settings := pipe.Get(ctx, o.key("instance"))
	facts := pipe.HGetAll(ctx, o.key("facts"))
	// Whoever judges whether the graph caught up must read in this order: what was
	// read of the log is in the inbox, and what the inbox held may be an ask.
	log := pipe.HGet(ctx, o.key("cursors"), "log")
	inbox, oldest := pipe.XLen(ctx, o.key("inbox")), pipe.XRangeN(ctx, o.key("inbox"), "-", "+", 1)
	unanswered := pipe.ZRangeWithScores(ctx, o.key("unanswered"), 0, 0)
	refresh, dead, changes := pipe.HLen(ctx, o.key("refresh")), pipe.XLen(ctx, o.key("dead")), pipe.XLen(ctx, o.key("changes"))
	counts, coverage := pipe.HGetAll(ctx, o.key("counts")), pipe.HGetAll(ctx, o.key("coverage"))
	holding, held := pipe.SMembers(ctx, o.key("holding")), pipe.HGetAll(ctx, o.key("heldcounts"))
	sinks, owner := pipe.HGetAll(ctx, o.key("sinks")), pipe.Get(ctx, o.key("lease"))
	last := pipe.LIndex(ctx, o.key("runlist"), 0)
	if err := run(ctx, pipe); err != nil {
		return Overview{}, err
	}
	if settings.Err() != nil {
		return Overview{}, ErrNotFound
	}
	v := Overview{
		Settings: []byte(settings.Val()), Facts: facts.Val(), Sinks: sinks.Val(), Log: log.Val(), Owner: owner.Val(), Holding: holding.Val(),
		Sizes: Sizes{Inbox: inbox.Val(), Refresh: refresh.Val(), Dead: dead.Val(), Changes: changes.Val()},
	}
	var err error
	if first := oldest.Val(); len(first) > 0 {
		if v.OldestInbox, err = entryMillis(first[0].ID); err != nil {
			return v, err
		}
	}
	if first := unanswered.Val(); len(first) > 0 {
		v.Unanswered = int64(first[0].Score)
	}
	for hash, into := range map[*redis.MapStringStringCmd]*map[string]int64{counts: &v.Counts, coverage: &v.Coverage, held: &v.Held} {
		name, _ := hash.Args()[1].(string)
		if *into, err = parseNumbers(name, hash.Val()); err != nil {
			return v, err
		}
	}
	if id := last.Val(); id != "" {
		if v.LastRun, err = o.Run(ctx, id); err != nil && !errors.Is(err, ErrNotFound) {
			return v, err
		}
	}
	return v, nil
}

// entryMillis takes the time out of the id of a stream's entry.
func entryMillis(id string) (int64, error) {
	text, _, _ := strings.Cut(id, "-")
	return strconv.ParseInt(text, 10, 64)
}
