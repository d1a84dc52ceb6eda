package okta

import (
	"cmp"
	"slices"
	"time"
)

// maxBuckets bounds how many buckets are told apart by name: a next link could
// lead anywhere. Okta has some thirty that we read from.
const maxBuckets = 40

// otherBucket stands for those above that.
const otherBucket = "other"

// Budget is what answers told of the calls to one endpoint, and what it cost since
// the client was made.
type Budget struct {
	Bucket    string     `json:"bucket"`              // the endpoint, a * for each id
	Limit     int        `json:"limit,omitempty"`     // calls a window, to all of the org's callers together; 0: no answer told
	Remaining *int       `json:"remaining,omitempty"` // of them in this window; absent without a limit
	ResetAt   *time.Time `json:"resetAt,omitempty"`   // the window's end, on Okta's clock; absent once it is over
	Share     float64    `json:"share"`               // of the limit that we may use
	Calls     int64      `json:"calls"`               // attempts that ended
	Waits     int64      `json:"waits"`               // times the limit made a call wait
}

// Budgets tells what is known of the buckets, by name.
func (c *Client) Budgets() []Budget {
	l := c.transport.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	var all []Budget
	for _, f := range l.families {
		if f.label == otherBucket {
			continue
		}
		l.roll(f, now)
		r := Budget{Bucket: f.label, Limit: f.limit, Share: l.share, Calls: f.calls, Waits: f.waits}
		if f.limit > 0 {
			remaining := f.remaining
			r.Remaining = &remaining
		}
		if f.reset != 0 {
			at := time.Unix(f.reset, 0).UTC()
			r.ResetAt = &at
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Budget) int { return cmp.Compare(a.Bucket, b.Bucket) })
	return all
}

// waited counts a wait of the family.
func (l *limiter) waited(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.families[name]; f != nil {
		f.waits++
	}
}
