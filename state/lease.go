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

	// Org is the state of the instance for its owner, of a lease that was taken and is
	// ours. It works with the one server that the lease was taken from: what it does is
	// ErrFenced once another process has the lease, and everything is once that server was
	// started again or another has its place. Release it.
	Org *Org
}

// TakeLease takes the lease of the instance with the token for that long. It is
// ours if the holder is our token.
func (o *Org) TakeLease(ctx context.Context, token string, lasts time.Duration) (Lease, error) {
	if holder, err := o.Owner(ctx); err != nil || holder != "" && holder != token {
		return Lease{Holder: holder}, err
	}
	p, err := o.s.pin(ctx, o.prefix)
	if err != nil {
		return Lease{}, err
	}
	owned := *o
	owned.rdb, owned.token, owned.pinned = p.client, token, p
	lease, err := owned.lease(ctx, lasts, "take")
	if err != nil || lease.Holder != token {
		o.s.release(p)
		return lease, err
	}
	lease.Org = &owned
	return lease, nil
}

// KeepLease renews the lease of an owner. It is lost if the holder is not our
// token: another took it, or the instance is gone. It is ErrFenced if another
// server has the instance by now.
func (o *Org) KeepLease(ctx context.Context, lasts time.Duration) (Lease, error) {
	lease, err := o.lease(ctx, lasts, "keep")
	if err != nil && !errors.Is(err, ErrFenced) && o.s.mini == nil {
		if id, e := o.Server(ctx); e == nil && id != o.pinned.id {
			err = ErrFenced // ours is dead, and another has its place
		}
	}
	return lease, err
}

// Release ends the use of what TakeLease gave. The lease itself is not given back.
func (o *Org) Release() {
	if o.pinned != nil {
		o.s.release(o.pinned)
	}
}

func (o *Org) lease(ctx context.Context, lasts time.Duration, how string) (Lease, error) {
	reply, err := leaseScript.Run(ctx, o.rdb, []string{o.prefix}, o.token, lasts.Milliseconds(), o.pinned.id, rand.Text(), how).StringSlice()
	if err != nil {
		return Lease{}, refusal(err)
	}
	return Lease{Holder: reply[0], Epoch: reply[1]}, nil
}

// ReleaseLease gives the lease back, if it is the token's.
func (o *Org) ReleaseLease(ctx context.Context, token string) error {
	return releaseScript.Run(ctx, o.rdb, []string{o.prefix}, token, tidings, o.id).Err()
}

// Owner returns the token that has the lease; "" if nobody has.
func (o *Org) Owner(ctx context.Context) (string, error) {
	token, err := o.rdb.Get(ctx, o.key("lease")).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return token, err
}

// Server returns the id of the server that has the instance now: another one after
// each start of it, and once another took its place.
func (o *Org) Server(ctx context.Context) (string, error) {
	if o.s.mini != nil {
		return o.s.mini.Addr(), nil // lives as long as this process
	}
	node, err := o.s.node(ctx, o.prefix)
	if err != nil {
		return "", err
	}
	return runID(ctx, node)
}

// info asks a server for a section of INFO.
func info(ctx context.Context, c redis.Cmdable, section string) (map[string]string, error) {
	text, err := c.Info(ctx, section).Result()
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
