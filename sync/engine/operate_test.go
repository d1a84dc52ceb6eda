package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// A run that is cancelled ends where it stands, deletes nothing, and lets the next one start.
func TestCancelStopsARunThatWorks(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 71, Users: 30, Groups: 20, Apps: 10})
	standstillBefore := standstill
	standstill = 10 * time.Millisecond
	defer func() { standstill = standstillBefore }()
	run, err := r.e.StartRun(t.Context(), r.id, Start{Trigger: "test"})
	if err != nil {
		t.Fatal(err)
	}
	before := r.graph()
	var calls atomic.Int64
	r.org.Fail(func(*http.Request) *oktasim.Fault {
		n := calls.Add(1)
		if n == 5 { // in the middle
			if _, err := r.e.Cancel(context.Background(), run.ID); err != nil {
				t.Error(err)
			}
		}
		if n >= 5 {
			return &oktasim.Fault{Delay: 100 * time.Millisecond}
		}
		return nil
	})
	if settling, err := r.o.reconcile(r.o.ctx, run.ID); err != nil || settling {
		t.Fatalf("cancelled run: %v, %v", settling, err)
	}
	if run, err = r.e.RunByID(t.Context(), run.ID); err != nil || run.State != RunCanceled || run.EndedAt == nil {
		t.Errorf("run: %+v, %v", run, err)
	}
	if lost := missing(before, r.graph()); len(lost) > 0 {
		t.Errorf("gone: %v", lost)
	}
	if _, err := r.e.Cancel(t.Context(), run.ID); !errors.Is(err, ErrRunOver) {
		t.Errorf("cancelled twice: %v", err)
	}
	r.org.Fail(nil)
	r.clock.Advance(time.Minute)
	if next := r.reconcile(); next.ID == run.ID || next.State != RunSucceeded {
		t.Errorf("the next run: %+v", next)
	}
	r.settle()
	r.inStep()
}

// An event that cannot be understood is kept, seen, replayed once what was wrong
// is mended, and dropped after a month; all are counted.
func TestDeadLettersAreReplayedAndAgeOut(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 72, Users: 5, Groups: 2, Apps: 2})
	ctx := t.Context()
	user := r.org.UserIDs("ACTIVE")[0]
	events := eligible(must(t)(r.org.UpdateProfile(user, map[string]any{"title": "From the Future"})))
	// Okta's clock, as far as we know, is hours behind: the event seems to come from the future.
	r.clock.Advance(-3 * time.Hour)
	if err := r.o.learnClock(ctx); err != nil {
		t.Fatal(err)
	}
	r.restart()
	r.o.client, _ = okta.NewClient(ctx, okta.ClientConfig{OrgURL: r.org.URL(), Token: r.org.Token(), AllowInsecure: true, Clock: r.clock.Now})
	r.deliver(events...)
	r.takeIn()
	letters, err := r.e.DeadLetters(ctx, r.id, "", 10)
	if err != nil || len(letters) != 1 || letters[0].UUID != events[0].UUID || letters[0].EventType != events[0].Type || letters[0].Event != nil {
		t.Fatalf("dead letters %+v, %v", letters, err)
	}
	one, err := r.e.DeadLetter(ctx, r.id, letters[0].ID)
	if err != nil || len(one.Event) == 0 {
		t.Errorf("dead letter %+v, %v", one, err)
	}
	r.clock.Advance(3*time.Hour + time.Minute)
	replayed, err := r.e.Replay(ctx, r.id, nil)
	if err != nil || replayed != (Replayed{Replayed: 1}) {
		t.Errorf("replay: %+v, %v", replayed, err)
	}
	r.settle()
	s := status(t, r.e, r.id)
	if s.DeadLetters != 0 || s.DeadLettersAll != 1 {
		t.Errorf("after the replay: %d dead letters, %d ever", s.DeadLetters, s.DeadLettersAll)
	}
	r.inStep()

	// What can never be understood stays until it is old.
	if _, err := r.e.store.Org(r.id).Accept(ctx, nil, nil); err != nil {
		t.Fatal(err)
	}
	d, err := okta.ParseDelivery([]byte(`{"data":{"events":[{"uuid":7},{"uuid":"x"}]}}`))
	if err != nil || len(d.Bad) != 2 {
		t.Fatalf("%+v, %v", d, err)
	}
	if err := r.e.Accept(ctx, r.id, d); err != nil {
		t.Fatal(err)
	}
	if replayed, err = r.e.Replay(ctx, r.id, nil); err != nil || replayed != (Replayed{Failed: 2}) {
		t.Errorf("replay: %+v, %v", replayed, err)
	}
	if err := r.o.st.AgeOut(ctx, time.Now().Add(29*24*time.Hour)); err != nil || status(t, r.e, r.id).DeadLetters != 2 {
		t.Errorf("after four weeks: %d dead letters, %v", status(t, r.e, r.id).DeadLetters, err)
	}
	if err := r.o.st.AgeOut(ctx, time.Now().Add(31*24*time.Hour)); err != nil || status(t, r.e, r.id).DeadLetters != 0 {
		t.Errorf("after a month: %d dead letters, %v", status(t, r.e, r.id).DeadLetters, err)
	}
	if _, err := r.e.DeadLetter(ctx, r.id, "1-1"); !errors.Is(err, ErrUnknownLetter) {
		t.Errorf("a letter that is not there: %v", err)
	}
}

// The owner of many instances is stuck while many wait: each instance gets one
// owner, soon, and the stuck one cannot come back to any.
func TestStuckOwnerIsRescuedWhileManyAreWaiting(t *testing.T) {
	t.Parallel()
	server := durable(t)
	sim := startSim(t, oktasim.Config{Seed: 73, Users: 3, Groups: 1, Apps: 1})
	w := watcher(t, server.URL)
	// A lease that no busy machine lets end by itself: who has it once is to keep it.
	lasting := func(cfg *Config) { cfg.Lease = 5 * time.Second }
	stuck := startReplicaWith(t, server.URL, lasting, "stuck")
	defer stuck.halt()
	var ids []string
	for n := range 12 {
		id := fmt.Sprint("org", n)
		ids = append(ids, id)
		register(t, w, sim, id)
	}
	owned := func(by string) func() bool {
		return func() bool {
			for _, id := range ids {
				if s := status(t, w, id); s.Owner == "" || (s.Owner == "stuck") != (by == "stuck") {
					return false
				}
			}
			return true
		}
	}
	eventually(t, "one owner of all", 20*time.Second, owned("stuck"))
	var waiting []*replica
	for n := range 4 {
		waiting = append(waiting, startReplicaWith(t, server.URL, lasting, fmt.Sprint("waiting", n)))
	}
	defer func() {
		for _, r := range waiting {
			r.halt()
		}
	}()
	stuck.cut.Store(true)
	eventually(t, "other owners of all", 20*time.Second, owned("others"))
	owners := map[string]string{}
	for _, id := range ids {
		owners[id] = status(t, w, id).Owner
	}
	stuck.cut.Store(false) // it wakes up
	for _, id := range ids {
		if _, err := w.StartRun(t.Context(), id, Start{Trigger: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids {
		eventually(t, "a whole graph of "+id, 30*time.Second, isWhole(t, w, id))
		if s := status(t, w, id); s.Owner != owners[id] {
			t.Errorf("%s: owner %s, after %s", id, s.Owner, owners[id])
		}
	}
}
