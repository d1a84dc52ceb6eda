package okta

import (
	"net/http"
	"sync"
	"time"
)

// oktaClock is Okta's clock as far as answers told it: a lower bound.
type oktaClock struct {
	now func() time.Time // local, monotonic

	mu       sync.Mutex
	set      bool
	date     time.Time // the Date of the answer that puts the clock furthest
	received time.Time // when that answer came, locally
}

// observe takes the Date of an answer. Date has whole seconds, rounded down,
// and was written before the answer came: so it never puts the clock ahead. The
// greatest wins; a missing or garbled one changes nothing.
func (c *oktaClock) observe(date string, received time.Time) {
	d, err := http.ParseTime(date)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.set || d.After(c.date.Add(received.Sub(c.received))) {
		c.set, c.date, c.received = true, d, received
	}
}

// at is Okta's clock at a local time, rounded down to the millisecond that
// Okta's own times have.
func (c *oktaClock) at(local time.Time) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.set {
		return time.Time{}, false
	}
	return c.date.Add(local.Sub(c.received)).UTC().Truncate(time.Millisecond), true
}
