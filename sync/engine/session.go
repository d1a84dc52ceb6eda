package engine

import (
	"context"
	"time"
)

// SignOut notes that a session of the console is over, for as long as its cookie
// would be good else.
func (e *Engine) SignOut(ctx context.Context, session string, left time.Duration) error {
	return unavailable(e.store.EndSession(ctx, session, left))
}

// SignedOut tells whether somebody signed out of a session.
func (e *Engine) SignedOut(ctx context.Context, session string) (bool, error) {
	over, err := e.store.SessionEnded(ctx, session)
	return over, unavailable(err)
}
