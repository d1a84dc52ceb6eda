package state

import (
	"context"
	"time"
)

func sessionKey(session string) string { return "oktasync:ended:" + session }

// EndSession notes for a while that a session of the console is over.
func (s *Store) EndSession(ctx context.Context, session string, left time.Duration) error {
	if err := s.rdb.Set(ctx, sessionKey(session), 1, max(left, time.Second)).Err(); err != nil {
		return err
	}
	s.kept(ctx, sessionKey(session))
	return nil
}

// SessionEnded tells whether EndSession noted it.
func (s *Store) SessionEnded(ctx context.Context, session string) (bool, error) {
	n, err := s.rdb.Exists(ctx, sessionKey(session)).Result()
	return n > 0, err
}
