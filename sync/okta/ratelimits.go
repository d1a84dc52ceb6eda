package okta

import (
	"maps"
	"slices"
	"time"
)

// RateLimit is what answers told of a bucket of Okta's.
type RateLimit struct {
	Endpoints []string  `json:"endpoints"` // that share it, as far as is known: users/*/factors
	Limit     int       `json:"limit"`     // calls a window of a minute, of everybody
	Remaining int       `json:"remaining"` // the least that an answer told
	Reset     time.Time `json:"reset"`     // when the window ends, by the local clock; zero if it is over
	Lists     int       `json:"lists"`     // calls a window that this client's lists take, by its share
}

// RateLimits tells what is known of the buckets of the calls so far. Endpoints count
// as one bucket until answers show that they are not: so the limiter counts too.
func (c *Client) RateLimits() []RateLimit { return c.transport.limiter.buckets() }

func (l *limiter) buckets() []RateLimit {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []RateLimit
	var first []*family // of each bucket
	for _, name := range slices.Sorted(maps.Keys(l.families)) {
		f := l.families[name]
		l.roll(f, l.now())
		if f.limit == 0 {
			continue
		}
		i := slices.IndexFunc(first, func(g *family) bool { return shared(f, g) })
		if i < 0 {
			i = len(all)
			first = append(first, f)
			all = append(all, RateLimit{Limit: f.limit, Remaining: f.limit, Lists: l.allowance(f.limit, laneList)})
		}
		r := &all[i]
		r.Endpoints = append(r.Endpoints, name)
		if f.reset != 0 {
			r.Remaining = min(r.Remaining, f.remaining)
			if f.until.After(r.Reset) {
				r.Reset = f.until
			}
		}
	}
	return all
}
