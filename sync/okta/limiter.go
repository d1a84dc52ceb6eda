package okta

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// lane is who waits: events come before lists.
type lane int

// look is how often those that wait are looked at again, at least: a clock may
// be set, and a machine sleep.
const look = time.Second

const (
	laneEvent lane = iota
	laneList
	lanes
)

// limiter decides when a call may start. It counts by endpoint family and finds
// out which families share a bucket of Okta's from what their answers say.
//
// Two families share a bucket unless something speaks against it: another
// limit, another end of the window, or a Remaining that did not fall. Until
// then they are counted together, so that the share is kept in either case.
type limiter struct {
	share    float64
	maxSlots int
	now      func() time.Time
	okta     func(time.Time) (time.Time, bool)

	mu       sync.Mutex
	slots    int // calls in flight at once; falls when Okta has too many at once
	inFlight int
	cut      uint64 // seq when slots last fell
	good     int    // answers since slots last changed
	seq      uint64
	families map[string]*family
	waiting  [lanes][]*waiter
	timer    *time.Timer
}

// family is what is known of the calls to one endpoint, whatever its ids.
type family struct {
	answered  bool
	limit     int       // calls a window; 0: the answers name none
	reset     int64     // the window's end as Okta gives it; 0: a new window of which no answer told
	last      int64     // the newest reset; older ones come from late answers
	until     time.Time // the window's end, local time; never before the real one
	used      int       // calls started in this window
	remaining int       // the least that an answer of this window told
	inFlight  int
	probing   bool      // the one call that finds out about a new window is under way
	blocked   time.Time // after a 429

	label        string // for metrics: the endpoint, or "other"
	calls, waits int64

	against map[*family]int // answers of this window that speak against a shared bucket
	apart   map[*family]bool
}

type waiter struct {
	family *family
	lane   lane
	ready  chan *permit // buffered: the limiter never waits for a waiter
}

// permit is a call in flight.
type permit struct {
	family *family
	seq    uint64
	probe  bool
	known  []known // of the others, when the call began
}

// known is what answers had told of another family's window.
type known struct {
	family    *family
	reset     int64
	until     time.Time
	remaining int
}

// rateInfo is what an answer says of its bucket.
type rateInfo struct {
	ok               bool // all three headers were there
	limit, remaining int
	reset            int64
}

func newLimiter(share float64, maxSlots int, clock *oktaClock) *limiter {
	return &limiter{
		share: share, maxSlots: maxSlots, slots: maxSlots,
		now: clock.now, okta: clock.at,
		families: make(map[string]*family),
	}
}

// familyOf replaces the ids in a path: every second segment after /api/v1/.
func familyOf(path string) string {
	s := strings.Split(strings.TrimPrefix(path, apiPath), "/")
	for i := 1; i < len(s); i += 2 {
		s[i] = "*"
	}
	return strings.Join(s[:min(len(s), 6)], "/")
}

// acquire waits until a call may start. The caller must give the permit to
// done. onWait is called at most once, if the rate limit makes the call wait.
// When ctx ends first, it also tells until when the bucket is used up.
func (l *limiter) acquire(ctx context.Context, name string, ln lane, onWait func(bucket string)) (*permit, time.Time, error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, err
	}
	l.mu.Lock()
	f := l.families[name]
	if f == nil {
		f = &family{apart: make(map[*family]bool), label: name}
		if len(l.families) >= maxBuckets {
			f.label = otherBucket
		}
		l.families[name] = f
	}
	w := &waiter{family: f, lane: ln, ready: make(chan *permit, 1)}
	l.waiting[ln] = append(l.waiting[ln], w)
	l.dispatch()
	if len(w.ready) == 0 {
		if ok, wake := l.admit(f, ln, l.now()); !ok && !wake.IsZero() {
			f.waits++
			onWait(f.label)
		}
	}
	l.mu.Unlock()

	select {
	case p := <-w.ready:
		return p, time.Time{}, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case p := <-w.ready: // granted at the same moment
		l.release(p)
		p.family.used--
	default:
		l.waiting[ln] = slices.DeleteFunc(l.waiting[ln], func(o *waiter) bool { return o == w })
	}
	_, wake := l.admit(f, ln, l.now())
	l.dispatch()
	return nil, wake, ctx.Err()
}

// done ends a call and learns from its answer.
func (l *limiter) done(p *permit, info rateInfo, status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	p.family.calls++
	if status != 0 {
		l.learn(p, info)
	}
	switch {
	case status == 429 && info.ok && info.limit == 0:
		// Too many at once. The calls that started before the cut tell
		// nothing about the smaller number.
		if p.seq > l.cut {
			l.slots, l.cut, l.good = max(1, l.slots/2), l.seq, 0
		}
	case status == 429:
		p.family.blocked = l.now().Add(time.Second)
		if info.ok {
			p.family.remaining = 0
		}
	case status != 0:
		if l.good++; l.slots < l.maxSlots && l.good >= 20*l.slots {
			l.slots, l.good = l.slots+1, 0
		}
	}
	l.release(p)
	l.dispatch()
}

func (l *limiter) release(p *permit) {
	l.inFlight--
	p.family.inFlight--
	if p.probe {
		p.family.probing = false
	}
}

// limitOf tells the limit of a family as last known.
func (l *limiter) limitOf(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.families[name]; f != nil {
		return f.limit
	}
	return 0
}

// windowEnd tells when the rate limit of a family is free again.
func (l *limiter) windowEnd(name string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.families[name]; f != nil && f.until.After(f.blocked) {
		return f.until
	} else if f != nil {
		return f.blocked
	}
	return time.Time{}
}

// dispatch starts what may start, events first, each lane in order. A waiter
// whose bucket is used up holds up nobody else.
func (l *limiter) dispatch() {
	now := l.now()
	var earliest time.Time
	for ln, queue := range l.waiting {
		kept := queue[:0]
		stuck := make(map[*family]bool)
		for _, w := range queue {
			if l.inFlight >= l.slotsFor(lane(ln)) || stuck[w.family] {
				kept = append(kept, w)
				continue
			}
			ok, wake := l.admit(w.family, lane(ln), now)
			if !ok {
				stuck[w.family] = true
				if !wake.IsZero() && (earliest.IsZero() || wake.Before(earliest)) {
					earliest = wake
				}
				kept = append(kept, w)
				continue
			}
			l.grant(w)
		}
		clear(queue[len(kept):])
		l.waiting[ln] = kept
	}
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if !earliest.IsZero() {
		l.timer = time.AfterFunc(min(max(earliest.Sub(now), time.Millisecond), look), func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.dispatch()
		})
	}
}

func (l *limiter) grant(w *waiter) {
	f := w.family
	l.seq++
	l.inFlight++
	f.inFlight++
	f.used++
	p := &permit{family: f, seq: l.seq, probe: f.unknown()}
	if p.probe {
		f.probing = true
	}
	for _, g := range l.families {
		if g != f && g.reset != 0 && !f.apart[g] {
			p.known = append(p.known, known{g, g.reset, g.until, g.remaining})
		}
	}
	w.ready <- p
}

// slotsFor leaves events a slot that lists cannot take.
func (l *limiter) slotsFor(ln lane) int {
	if ln == laneList && l.slots > 1 {
		return l.slots - max(1, l.slots/10)
	}
	return l.slots
}

// allowance is the part of a window that a lane may use up.
func (l *limiter) allowance(limit int, ln lane) int {
	a := max(1, int(l.share*float64(limit)))
	if ln == laneList && a > 1 {
		a -= max(1, a/20)
	}
	return a
}

// unknown tells whether the next answer is awaited before more calls start.
func (f *family) unknown() bool {
	return !f.answered || f.limit > 0 && f.reset == 0
}

// admit tells whether the bucket has room; if not, when to look again. No time
// means: when a call ends.
func (l *limiter) admit(f *family, ln lane, now time.Time) (bool, time.Time) {
	l.roll(f, now)
	if now.Before(f.blocked) {
		return false, f.blocked
	}
	if f.unknown() && f.probing {
		return false, time.Time{}
	}
	if f.limit == 0 {
		return true, time.Time{}
	}
	used, inFlight, uncounted, remaining, until := 0, 0, 0, f.limit, time.Time{}
	for _, g := range l.families {
		l.roll(g, now)
		if !shared(f, g) {
			continue
		}
		used += g.used
		inFlight += g.inFlight
		if g.reset == 0 {
			continue
		}
		uncounted += g.inFlight
		remaining = min(remaining, g.remaining)
		if g.until.After(until) {
			until = g.until
		}
	}
	if until.IsZero() && inFlight == 0 {
		return true, time.Time{} // nothing is under way that could tell of the new window
	}
	// The last few are left to others: whoever meets a 429 suffers from it.
	keep := max(1, f.limit/20)
	if ln == laneList {
		keep *= 2
	}
	if used >= l.allowance(f.limit, ln) || !until.IsZero() && remaining-uncounted <= min(keep, f.limit/2) {
		return false, until // without a time: the calls under way will tell
	}
	return true, time.Time{}
}

// shared tells whether two families have to be counted together.
func shared(f, g *family) bool {
	if f == g {
		return true
	}
	return g.limit == f.limit && !f.apart[g] && (f.reset == 0 || g.reset == 0 || sameReset(f.reset, g.reset))
}

// sameReset allows for an end that Okta computes anew for each answer.
func sameReset(a, b int64) bool { return a-b <= 1 && b-a <= 1 }

// roll begins a new window when the old one is over for sure.
func (l *limiter) roll(f *family, now time.Time) {
	if f.reset != 0 && !now.Before(f.until) {
		f.reset, f.used, f.remaining, f.against = 0, f.inFlight, f.limit, nil
	}
}

// learn takes what an answer says into account.
func (l *limiter) learn(p *permit, info rateInfo) {
	f := p.family
	f.answered = true
	if !info.ok || info.limit <= 0 {
		return
	}
	f.limit = info.limit
	now := l.now()
	end := l.localEnd(info.reset, now)
	l.compare(p, info, now)
	switch {
	case f.reset != 0 && sameReset(info.reset, f.reset):
		if end.Before(f.until) {
			f.until = end
		}
		if info.remaining < f.remaining {
			f.remaining = info.remaining
		}
	case info.reset > f.last:
		if f.reset != 0 { // the new window came before we knew the old one was over
			f.used = f.inFlight
		}
		f.reset, f.last, f.until = info.reset, info.reset, end
		f.remaining, f.against = info.remaining, nil
	}
}

// compare looks for signs that two families do not share a bucket after all:
// what was known of the other when this call began must bind its answer.
func (l *limiter) compare(p *permit, info rateInfo, now time.Time) {
	const proof = 3              // one may be an inexact counter of Okta's
	const turn = 3 * time.Second // around its end a window can already be the next
	f := p.family
	for _, k := range p.known {
		g := k.family
		if g.limit != info.limit || f.apart[g] {
			continue
		}
		var contrary bool
		switch {
		case sameReset(info.reset, k.reset):
			contrary = info.remaining > 0 && info.remaining >= k.remaining
		case info.reset < k.reset:
			contrary = true
		default:
			contrary = now.Before(k.until.Add(-turn))
		}
		if !contrary {
			continue
		}
		if f.against == nil {
			f.against = make(map[*family]int)
		}
		if f.against[g]++; f.against[g]+g.against[f] >= proof {
			f.apart[g], g.apart[f] = true, true
		}
	}
}

// localEnd turns the end of a window into local time. Okta's clock as known is
// a lower bound, so the end found is never too early.
func (l *limiter) localEnd(reset int64, now time.Time) time.Time {
	const most = 2 * time.Minute // windows have a minute; more is a wrong clock
	okta, ok := l.okta(now)
	if !ok {
		return now.Add(time.Minute)
	}
	return now.Add(min(max(time.Unix(reset, 0).Sub(okta), 0), most))
}
