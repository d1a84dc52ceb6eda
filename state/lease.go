package state

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Lease is who works for an instance.
type Lease struct {
	Holder string // the token of the owner
	Epoch  string // of the state, if the lease is ours: another one says that Redis may have lost changes
}

// TakeLease takes the lease of the instance with the token for that long. It is
// ours if the holder is our token. server is what Server returned.
func (o *Org) TakeLease(ctx context.Context, token string, lasts time.Duration, server string) (Lease, error) {
	return o.lease(ctx, token, lasts, server, "take")
}

// KeepLease renews the lease. It is lost if the holder is not our token: another
// took it, or the instance is gone.
func (o *Org) KeepLease(ctx context.Context, token string, lasts time.Duration, server string) (Lease, error) {
	return o.lease(ctx, token, lasts, server, "keep")
}

func (o *Org) lease(ctx context.Context, token string, lasts time.Duration, server, how string) (Lease, error) {
	reply, err := leaseScript.Run(ctx, o.rdb, []string{o.prefix}, token, lasts.Milliseconds(), server, rand.Text(), how).StringSlice()
	if err != nil {
		return Lease{}, refusal(err)
	}
	return Lease{reply[0], reply[1]}, nil
}

// ReleaseLease gives the lease back, if it is the token's.
func (o *Org) ReleaseLease(ctx context.Context, token string) error {
	return releaseScript.Run(ctx, o.rdb, []string{o.prefix}, token).Err()
}

// Owner returns the token that has the lease; "" if nobody has.
func (o *Org) Owner(ctx context.Context) (string, error) {
	token, err := o.rdb.Get(ctx, o.key("lease")).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return token, err
}

// Server returns an id of the running Redis: another one after each start.
func (s *Store) Server(ctx context.Context) (string, error) {
	if s.mini != nil {
		return s.mini.Addr(), nil // lives as long as this process
	}
	info, err := s.info(ctx, "server")
	return info["run_id"], err
}

func (s *Store) info(ctx context.Context, section string) (map[string]string, error) {
	text, err := s.rdb.Info(ctx, section).Result()
	if err != nil {
		return nil, err
	}
	return fields(text), nil
}

// fields takes an answer of INFO apart.
func fields(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}
