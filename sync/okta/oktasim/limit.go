package oktasim

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const defaultRate = 600_000 // calls a minute: never in the way

// rates counts calls by bucket, in windows of a minute that begin with their
// first call.
type rates struct {
	limits  map[string]int
	mu      sync.Mutex
	windows map[string]*window
}

type window struct {
	start            time.Time
	used             int
	warned, violated bool
}

// take counts a call. It returns what the headers say, whether the call may go
// on, and the type of the event if Okta tells of it: once in a window that 60 %
// are used up, and once that a call was too many.
func (r *rates) take(bucket string, now time.Time) (limit, remaining int, reset int64, ok bool, event string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	limit = defaultRate
	if n, set := r.limits[bucket]; set {
		limit = n
	}
	if r.windows == nil {
		r.windows = map[string]*window{}
	}
	w := r.windows[bucket]
	if w == nil || !now.Before(w.start.Add(time.Minute)) {
		w = &window{start: now}
		r.windows[bucket] = w
	}
	end := w.start.Add(time.Minute)
	reset = end.Unix()
	if end.Nanosecond() > 0 {
		reset++
	}
	if w.used >= limit {
		if !w.violated {
			w.violated, event = true, "system.org.rate_limit.violation"
		}
		return limit, 0, reset, false, event
	}
	w.used++
	if !w.warned && 10*w.used >= 6*limit {
		w.warned, event = true, "system.org.rate_limit.warning"
	}
	return limit, limit - w.used, reset, true, event
}

// tellOfLimit emits the event of a bucket, which names no object of the org.
func (o *Org) tellOfLimit(event, bucket string) {
	h := happening{typ: event, job: true, actor: systemActor, targets: []target{
		{ID: "/api/v1/" + bucket, Type: "URL Pattern", AlternateID: "unknown", DisplayName: "/api/v1/" + bucket},
		{ID: "bucket-" + bucket, Type: "Bucket Uuid", AlternateID: "unknown", DisplayName: "unknown"},
	}}
	if event == "system.org.rate_limit.violation" {
		h.result, h.reason = "DENY", "Too many requests"
	}
	o.notice(h)
}

// bucketOf returns the rate-limit bucket of a path: the most specific wins.
func bucketOf(path string) string {
	p := strings.Split(strings.Trim(strings.TrimPrefix(path, "/api/v1"), "/"), "/")
	switch {
	case p[0] == "apps" && len(p) == 2:
		return "app"
	case p[0] == "apps":
		return "apps"
	case p[0] == "groups" && len(p) == 1:
		return "groups"
	case p[0] == "groups":
		return "group"
	case p[0] == "users" && len(p) == 1:
		return "users"
	case p[0] == "users" && len(p) == 2:
		return "user"
	case p[0] == "logs":
		return "logs"
	}
	return "rest"
}

func setRate(h http.Header, limit, remaining int, reset int64) {
	h.Set("X-Rate-Limit-Limit", strconv.Itoa(limit))
	h.Set("X-Rate-Limit-Remaining", strconv.Itoa(remaining))
	h.Set("X-Rate-Limit-Reset", strconv.FormatInt(reset, 10))
}

// SetRateLimit changes the calls a minute of a bucket.
func (o *Org) SetRateLimit(bucket string, limit int) {
	o.rates.mu.Lock()
	defer o.rates.mu.Unlock()
	limits := map[string]int{bucket: limit}
	for k, v := range o.rates.limits {
		if k != bucket {
			limits[k] = v
		}
	}
	o.rates.limits = limits
}
