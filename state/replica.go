package state

import (
	"context"
	"time"
)

var announceScript = script("announce.lua")

const (
	// replicasKey is in the slot of the list: whoever looks for work depends on one
	// node of a Redis Cluster, besides those of the instances.
	replicasKey = "oktasync:replicas:{" + instancesKey + "}"
	// maxReplicas bounds what is kept of them, whatever goes wrong.
	maxReplicas = 1000
)

// Announce tells the other processes on this Redis that the one of that name works,
// and returns the names of all that do: those that announced themselves within lasts.
func (s *Store) Announce(ctx context.Context, name string, lasts time.Duration) ([]string, error) {
	return announceScript.Run(ctx, s.rdb, []string{replicasKey}, name, lasts.Milliseconds(), maxReplicas).StringSlice()
}

// Leave takes an announcement back, and has the others look at once.
func (s *Store) Leave(ctx context.Context, name string) error {
	if err := s.rdb.ZRem(ctx, replicasKey, name).Err(); err != nil {
		return err
	}
	return s.Tell(ctx, "")
}

// tidings is the channel of Tell.
const tidings = "oktasync:instances"

// Tell has all processes look at an instance now: something of it changed that its
// owner, or who could be, is to know. "" stands for all. It may be lost.
func (s *Store) Tell(ctx context.Context, instance string) error {
	return s.rdb.Publish(ctx, tidings, instance).Err()
}

// Told has f called with what other processes, and this one, tell; with "" too
// whenever something may have been lost. f must not block.
func (s *Store) Told(f func(instance string)) (stop func()) { return s.listen(tidings, f) }
