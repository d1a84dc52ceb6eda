package engine

import (
	"strconv"
	"strings"
	"time"

	"github.com/oktasync/oktasync/state"
)

// Observe is told what the engine does, for metrics of this process. Its
// functions are called by many goroutines and must not block; those left out
// are not called. Texts are of bounded number: none comes from Okta as it is.
type Observe struct {
	// Applied: an event took effect. accepted is how long after it was published
	// it came into the inbox, applied how long it lay there.
	Applied func(instance, source string, accepted, applied time.Duration)

	// Asked: that many objects were asked to be read again, because of an
	// "event", a "list", an "approval".
	Asked func(instance, reason string, n int)

	// Refreshed: a try to read an object again ended: "done", "left" (what was
	// read is too old yet), "failed".
	Refreshed func(instance, result string)

	// Ended: a run ended in the state.
	Ended func(instance, mode string, state RunState, took time.Duration)

	// Delivered: a sink took a change, this long after it took effect.
	Delivered func(instance, sink string, took time.Duration)

	// Called: an attempt of a call to Okta ended. The status is 0 without an answer.
	Called func(instance, bucket string, status int, took time.Duration)

	// Waited: a call has to wait for its rate limit.
	Waited func(instance, bucket string)

	// Deleted: the instance is no more, and nothing works for it here.
	Deleted func(instance string)

	// Redis: a command or script ended; err is set if Redis failed.
	Redis func(name string, took time.Duration, err error)
}

func (b Observe) withDefaults() Observe {
	if b.Applied == nil {
		b.Applied = func(string, string, time.Duration, time.Duration) {}
	}
	if b.Asked == nil {
		b.Asked = func(string, string, int) {}
	}
	if b.Refreshed == nil {
		b.Refreshed = func(string, string) {}
	}
	if b.Ended == nil {
		b.Ended = func(string, string, RunState, time.Duration) {}
	}
	if b.Delivered == nil {
		b.Delivered = func(string, string, time.Duration) {}
	}
	if b.Called == nil {
		b.Called = func(string, string, int, time.Duration) {}
	}
	if b.Waited == nil {
		b.Waited = func(string, string) {}
	}
	if b.Deleted == nil {
		b.Deleted = func(string) {}
	}
	return b // Redis is left out as a whole
}

// noteApplied tells of an event that took effect now. Who wrote its entry is
// Redis's clock, who published it Okta's: as far as they differ from ours, so do
// the times told.
func (o *org) noteApplied(e state.Event, published time.Time) {
	ms, _, ok := parseEntry(e.ID)
	if !ok || published.IsZero() {
		return
	}
	accepted := time.UnixMilli(int64(ms))
	o.cfg.Observe.Applied(o.id, e.Source, max(accepted.Sub(published), 0), max(time.Since(accepted), 0))
}

// noteDelivered tells that a sink took a change, which took effect at that time on
// the clock of Redis.
func (o *org) noteDelivered(sink string, at time.Time) {
	if !at.IsZero() {
		o.cfg.Observe.Delivered(o.id, sink, max(time.Since(at), 0))
	}
}

// noteAsked tells why objects are to be read again.
func (o *org) noteAsked(asks []state.Ask) {
	n := map[string]int{}
	for _, a := range asks {
		switch a.Source {
		case askedByList:
			n["list"]++
		case askedByApproval:
			n["approval"]++
		default:
			n["event"]++
		}
	}
	for reason, n := range n {
		o.cfg.Observe.Asked(o.id, reason, n)
	}
}

// appliedAt is when the transition at a position took effect, on the clock of Redis.
func appliedAt(position string) time.Time {
	_, entry, _ := strings.Cut(position, ":")
	text, _, _ := strings.Cut(entry, "-")
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
