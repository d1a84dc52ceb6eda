package sink_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
)

// turn is held by the test but while it lets time pass, which is synctest's.
var turn sync.Mutex

// feed is a graph that grows: the n-th change creates the entity n, at the position
// "n". It is what the engine is to a runner.
type feed struct {
	changes int
	kept    int // positions before it are stale
	whole   bool
	wish    sink.Wish
	status  sink.Status
	unknown int // how often the status cannot be read
	reports []sink.Status
}

func (f *feed) Next(_ context.Context, position string, limit int) (sink.Batch, error) {
	turn.Lock()
	defer turn.Unlock()
	n, err := strconv.Atoi(position)
	if err != nil || n < f.kept {
		return sink.Batch{}, sink.ErrStale
	}
	b := sink.Batch{Position: position}
	for ; n < f.changes && len(b.Changes) < limit; n++ {
		b.Changes = append(b.Changes, created(n))
		b.Position = strconv.Itoa(n + 1)
	}
	return b, nil
}

func created(n int) graph.Change {
	return graph.Change{Op: graph.Create, Object: graph.Object{Entity: &graph.Entity{Key: strconv.Itoa(n)}}}
}

func (f *feed) Snapshot(context.Context) (sink.Snapshot, error) {
	turn.Lock()
	defer turn.Unlock()
	if !f.whole {
		return sink.Snapshot{}, sink.ErrNotWhole
	}
	end := f.changes
	return sink.Snapshot{
		Changes: func(yield func(graph.Change, error) bool) {
			for n := range end {
				if !yield(created(n), nil) {
					return
				}
			}
		},
		Position: func() string { return strconv.Itoa(end) },
	}, nil
}

func (f *feed) Status(context.Context, string) (sink.Status, error) {
	turn.Lock()
	defer turn.Unlock()
	if f.unknown > 0 {
		f.unknown--
		return sink.Status{}, errors.New("the store is away")
	}
	return f.status, nil
}

func (f *feed) Report(_ context.Context, _ string, s sink.Status) error {
	turn.Lock()
	defer turn.Unlock()
	f.status = s
	f.reports = append(f.reports, s)
	return nil
}

func (f *feed) Wish(context.Context, string) (sink.Wish, error) {
	turn.Lock()
	defer turn.Unlock()
	return f.wish, nil
}

// box is a destination that can fail.
type box struct {
	position string
	keys     []string
	log      []string // of what it was given: apply <n>, replace, force
	window   time.Duration
	fail     error // of Apply and Replace
	refuse   error // of Position
}

func (b *box) Name() string { return "box" }

func (b *box) Position(context.Context, sink.Instance) (string, error) {
	turn.Lock()
	defer turn.Unlock()
	return b.position, b.refuse
}

func (b *box) Window(context.Context, sink.Instance) (time.Duration, error) {
	turn.Lock()
	defer turn.Unlock()
	return b.window, nil
}

func (b *box) Apply(_ context.Context, _ sink.Instance, batch sink.Batch) error {
	turn.Lock()
	defer turn.Unlock()
	b.log = append(b.log, fmt.Sprint("apply ", len(batch.Changes)))
	if b.fail != nil {
		return b.fail
	}
	for _, c := range batch.Changes {
		b.keys = append(b.keys, c.Key())
	}
	b.position = batch.Position
	return nil
}

func (b *box) Replace(_ context.Context, _ sink.Instance, s sink.Snapshot, force bool) error {
	turn.Lock()
	defer turn.Unlock()
	b.log = append(b.log, map[bool]string{false: "replace", true: "force"}[force])
	if b.fail != nil {
		return b.fail
	}
	b.keys = nil
	for c := range s.Changes {
		b.keys = append(b.keys, c.Key())
	}
	b.position = s.Position()
	return nil
}

func (b *box) Forget(context.Context, string) error { return nil }
func (b *box) Close() error                         { return nil }

// running runs a runner while the test goes on.
func running(t *testing.T, f *feed, b *box, test func(t *testing.T, changed chan struct{})) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		changed := make(chan struct{}, 1)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r := sink.Runner{Sink: b, Source: f, Instance: sink.Instance{ID: "acme"}, Changed: changed, Log: slog.New(slog.DiscardHandler)}
			r.Run(ctx)
		}()
		turn.Lock()
		defer func() { // also when the test fails
			turn.Unlock()
			stop()
			<-done
		}()
		pass(0)
		test(t, changed)
	})
}

// pass lets time pass.
func pass(d time.Duration) {
	turn.Unlock()
	defer turn.Lock()
	time.Sleep(d) // synctest's
	synctest.Wait()
}

func TestChangesAreDeliveredWhenTheyCome(t *testing.T) {
	f, b := &feed{changes: 2, whole: true}, &box{}
	running(t, f, b, func(t *testing.T, changed chan struct{}) {
		f.changes = 4
		changed <- struct{}{}
		pass(0)
		if got := strings.Join(b.log, ", "); got != "replace, apply 2" || len(b.keys) != 4 || f.status.State != sink.Following || f.status.Position != "4" {
			t.Errorf("given %s, holds %v, status %+v", got, b.keys, f.status)
		}
		f.changes = 5
		pass(6 * time.Second) // without being told
		if len(b.keys) != 5 {
			t.Errorf("holds %v", b.keys)
		}
	})
}

func TestANewSinkWaitsForAWholeGraph(t *testing.T) {
	f, b := &feed{changes: 2}, &box{}
	running(t, f, b, func(t *testing.T, _ chan struct{}) {
		pass(time.Minute)
		if len(b.log) != 0 || f.status.State != sink.Waiting {
			t.Errorf("given %v, status %+v", b.log, f.status)
		}
		f.whole = true
		pass(6 * time.Second)
		if len(b.keys) != 2 {
			t.Errorf("holds %v", b.keys)
		}
	})
}

func TestAStalePositionLeadsToASnapshot(t *testing.T) {
	f, b := &feed{changes: 9, kept: 5, whole: true}, &box{position: "3"}
	running(t, f, b, func(t *testing.T, _ chan struct{}) {
		if got := strings.Join(b.log, ", "); got != "replace" || len(b.keys) != 9 {
			t.Errorf("given %s, holds %v", got, b.keys)
		}
	})
}

// Pauses double up to five minutes, or are as long as the destination says; since
// when it fails, and with what, stays told until it succeeds.
func TestAFailureIsRepeatedAfterLongerAndLongerPauses(t *testing.T) {
	f, b := &feed{changes: 1, whole: true}, &box{fail: errors.New("the disk is full")}
	running(t, f, b, func(t *testing.T, _ chan struct{}) {
		began := f.status.Since
		pass(time.Hour)
		if n := len(b.log); n < 15 || n > 40 {
			t.Errorf("%d tries in an hour", n)
		}
		for _, s := range f.reports[1:] {
			if s.Error != "the disk is full" || !s.Since.Equal(began) {
				t.Fatalf("status %+v, since %s", s, began)
			}
		}
		if f.status.State != sink.Retrying || f.status.RetryAt == nil || f.status.Failures != int64(len(b.log)) {
			t.Errorf("status %+v", f.status)
		}
		b.fail = sink.After(20*time.Minute, errors.New("too much"))
		tries := len(b.log)
		pass(15 * time.Minute)
		if n := len(b.log) - tries; n != 1 {
			t.Errorf("%d tries when told to wait 20 minutes", n)
		}
		b.fail = nil
		pass(20 * time.Minute)
		if s := f.status; s.State != sink.Following || s.Error != "" || s.RetryAt != nil || len(b.keys) != 1 {
			t.Errorf("status %+v, holds %v", s, b.keys)
		}
	})
}

// An error that no retry cures stops the sink, once, until an operator's wish: which is
// heard also where the destination does not even tell its position.
func TestAPermanentErrorStopsTheSinkUntilAWish(t *testing.T) {
	f, b := &feed{changes: 1, whole: true}, &box{refuse: sink.Permanent(errors.New("another account"))}
	running(t, f, b, func(t *testing.T, _ chan struct{}) {
		pass(time.Hour)
		if f.status.State != sink.Stopped || f.status.Failures != 1 || f.status.Error != "another account" {
			t.Errorf("status %+v", f.status)
		}
		f.wish = sink.Wish{ID: "again"}
		pass(time.Hour)
		if f.status.Failures != 2 || f.status.Fulfilled != "again" {
			t.Errorf("after a wish: status %+v", f.status)
		}
		b.refuse, f.wish = nil, sink.Wish{ID: "mended", Force: true}
		pass(time.Minute)
		if got := strings.Join(b.log, ", "); got != "force" || f.status.State != sink.Following {
			t.Errorf("given %s, status %+v", got, f.status)
		}
	})
}

// A wish is fulfilled once, also by the process that comes next, and also when that
// cannot read at first what was fulfilled.
func TestAWishIsFulfilledOnce(t *testing.T) {
	f, b := &feed{changes: 3, whole: true, wish: sink.Wish{ID: "w", Force: true}}, &box{position: "3"}
	running(t, f, b, func(t *testing.T, _ chan struct{}) { pass(time.Minute) })
	if got := strings.Join(b.log, ", "); got != "force" || f.status.Fulfilled != "w" {
		t.Fatalf("given %s, status %+v", got, f.status)
	}
	f.status.Changes, f.unknown = 1000, 3
	running(t, f, b, func(t *testing.T, _ chan struct{}) { pass(time.Hour) })
	if got := strings.Join(b.log, ", "); got != "force" || f.status.Changes != 1000 {
		t.Errorf("given %s, status %+v", got, f.status)
	}
}

// A wish that must wait for a whole graph holds no change back.
func TestChangesGoOnWhileAWishWaits(t *testing.T) {
	f, b := &feed{changes: 3, wish: sink.Wish{ID: "w"}}, &box{position: "1"}
	running(t, f, b, func(t *testing.T, _ chan struct{}) {
		pass(time.Minute)
		if got := strings.Join(b.log, ", "); got != "apply 2" || f.status.State != sink.Following {
			t.Errorf("given %s, status %+v", got, f.status)
		}
		f.whole = true
		pass(time.Minute)
		if got := strings.Join(b.log, ", "); got != "apply 2, replace" || f.status.Fulfilled != "w" {
			t.Errorf("given %s, status %+v", got, f.status)
		}
	})
}

// What a window collects is given at once; a wish ends the window, and a failure needs
// no second one.
func TestAWindowCollectsChanges(t *testing.T) {
	f, b := &feed{changes: 1, whole: true}, &box{position: "0", window: 10 * time.Minute}
	running(t, f, b, func(t *testing.T, _ chan struct{}) {
		f.changes = 7
		pass(9 * time.Minute)
		if len(b.log) != 0 {
			t.Errorf("given %v within the window", b.log)
		}
		b.fail = errors.New("away")
		pass(2 * time.Minute)
		b.fail = nil
		pass(3 * time.Minute)
		if !slices.Equal(slices.Compact(b.log), []string{"apply 7"}) || len(b.keys) != 7 {
			t.Errorf("given %v, holds %v", b.log, b.keys)
		}
		b.log, f.changes, f.wish = nil, 8, sink.Wish{ID: "now"}
		pass(6 * time.Second)
		if got := strings.Join(b.log, ", "); got != "replace" {
			t.Errorf("given %s after a wish", got)
		}
	})
}
