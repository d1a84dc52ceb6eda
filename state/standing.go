package state

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// Standing is what whoever looks for work must know of an instance.
type Standing struct {
	ID       string
	Settings []byte // as Org.Instance; nil: it has none
	Paused   bool
	Owner    string // as Org.Owner
	Err      error  // why it could not be read; the others can
}

// standings is how many instances are asked for at once.
const standings = 500

// Standings reads where these instances stand, in few round trips. Those of a node
// of a Redis Cluster that does not answer hold up none of the others.
func (s *Store) Standings(ctx context.Context, ids []string) []Standing {
	all := make([]Standing, 0, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), standings)
		pipe := s.rdb.Pipeline()
		settings, paused, owner := make([]*redis.StringCmd, n), make([]*redis.BoolCmd, n), make([]*redis.StringCmd, n)
		for i, id := range ids[:n] {
			o := s.Org(id)
			settings[i], paused[i], owner[i] = pipe.Get(ctx, o.key("instance")), pipe.HExists(ctx, o.key("facts"), "paused"), pipe.Get(ctx, o.key("lease"))
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		for i, id := range ids[:n] {
			st := Standing{ID: id, Paused: paused[i].Val(), Owner: owner[i].Val()}
			if settings[i].Err() == nil {
				st.Settings, _ = settings[i].Bytes()
			}
			for _, cmd := range []redis.Cmder{settings[i], paused[i], owner[i]} {
				if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
					st.Err = err
				}
			}
			all = append(all, st)
		}
		ids = ids[n:]
	}
	return all
}
