package state

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// Standing is what whoever looks for work must know of an instance.
type Standing struct {
	ID       string
	Settings []byte // as Org.Instance; nil: it has none
	Paused   bool
	Leased   time.Duration // how long its owner's lease lasts; 0: it has no owner
	Inbox    bool          // there are events to be taken in
	Work     bool          // there is something else for its owner: a run, an order, objects to read again
	Err      error         // why it could not be read; the others can
}

// standings is how many instances are asked for at once.
const standings = 500

// Standings reads where these instances stand, in few round trips. Those of a node
// of a Redis Cluster that does not answer hold up none of the others.
func (s *Store) Standings(ctx context.Context, ids []string) []Standing {
	all := make([]Standing, 0, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), standings)
		all = append(all, s.standings(ctx, ids[:n])...)
		ids = ids[n:]
	}
	return all
}

func (s *Store) standings(ctx context.Context, ids []string) []Standing {
	type answers struct {
		settings           *redis.StringCmd
		facts              *redis.SliceCmd
		lease              *redis.DurationCmd
		inbox, orders, due *redis.IntCmd
	}
	pipe := s.rdb.Pipeline()
	of := make([]answers, len(ids))
	for i, id := range ids {
		o := s.Org(id)
		of[i] = answers{
			pipe.Get(ctx, o.key("instance")), pipe.HMGet(ctx, o.key("facts"), "paused", "run", "wanted"), pipe.PTTL(ctx, o.key("lease")),
			pipe.XLen(ctx, o.key(InboxStream)), pipe.HLen(ctx, o.key("orders")), pipe.ZCard(ctx, o.key("due")),
		}
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	all := make([]Standing, len(ids))
	for i, a := range of {
		st := Standing{ID: ids[i], Leased: max(a.lease.Val(), 0), Inbox: a.inbox.Val() > 0, Work: a.orders.Val()+a.due.Val() > 0}
		if a.settings.Err() == nil {
			st.Settings, _ = a.settings.Bytes()
		}
		if facts := a.facts.Val(); len(facts) == 3 {
			st.Paused, st.Work = facts[0] != nil, st.Work || facts[1] != nil || facts[2] != nil
		}
		for _, cmd := range []redis.Cmder{a.settings, a.facts, a.lease, a.inbox, a.orders, a.due} {
			if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
				st.Err = err
			}
		}
		all[i] = st
	}
	return all
}
