package engine

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
	"github.com/oktasync/oktasync/sync/record"
)

// A right that is lost while the org's lists still name what it was for: the run ends.
func TestLostRightWhileListsPageEndsTheRun(t *testing.T) {
	clock := newClock()
	sim := oktasim.New(t, oktasim.Config{Seed: 81, Users: 10, Groups: 500, GroupSize: 2, Apps: -1, Clock: clock})
	clock.Advance(time.Hour)
	r := newRig(t, newEngine(t, clock, 0), sim, clock)
	t.Cleanup(r.close)
	sim.Fail(func(q *http.Request) *oktasim.Fault {
		switch {
		case strings.HasSuffix(q.URL.Path, "/users") && strings.HasPrefix(q.URL.Path, "/api/v1/groups/"):
			return &oktasim.Fault{Status: 403}
		case q.URL.Path == "/api/v1/groups" && q.URL.Query().Has("after"):
			return &oktasim.Fault{Delay: 200 * time.Millisecond}
		}
		return nil
	})
	ended := make(chan Run, 1)
	go func() { ended <- r.reconcile() }()
	select {
	case run := <-ended:
		if run.State != RunIncomplete {
			t.Errorf("run %s, %v", run.State, run.Errors)
		}
	case <-time.After(30 * time.Second):
		t.Error("the run does not end")
		r.o.stop()
	}
}

// What the scripts promise of holds and sweeps, said step by step.
func TestHoldsAndSweepsKeepWhatWasAskedSince(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 82, Users: 30, Groups: 2, Apps: 1})
	ctx := t.Context()
	user := r.org.UserIDs("ACTIVE")[0]
	id := string(record.User(user))
	now := r.o.now().UnixMilli()
	brake := &state.Brake{Ratio: 0, Day: 1}
	merge := func(b state.Batch) state.Merged {
		t.Helper()
		m, err := r.o.st.Merge(ctx, b)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	asked := func(target string) bool {
		t.Helper()
		is, err := r.o.st.IsAsked(ctx, target)
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	gone := func(n int, v int64) (all []state.Observation) { // so many users at once
		for _, u := range r.org.UserIDs()[1 : n+1] {
			all = append(all, state.Observation{ID: string(record.User(u)), Version: v})
		}
		return all
	}

	// The brake of the day is used up; a 404 of before an event is held, the event's ask stays.
	merge(state.Batch{Observations: gone(10, 2*now), Brake: brake, Holder: r.id + "-run"})
	merge(state.Batch{Asks: []state.Ask{{Target: id, Exceed: 2*(now+5000) + 1}}})
	if m := merge(state.Batch{Observations: []state.Observation{{ID: id, Version: 2 * now}}, Brake: brake, Holder: r.id + "-run"}); m.Held != 1 || !asked(id) {
		t.Errorf("held %d, the event's ask is there: %v", m.Held, asked(id))
	}
	// One that answers the ask takes it away.
	if m := merge(state.Batch{Observations: []state.Observation{{ID: id, Version: 2 * (now + 9000)}}, Brake: brake, Holder: r.id + "-run"}); m.Held != 1 || asked(id) {
		t.Errorf("held %d, the answered ask is there: %v", m.Held, asked(id))
	}
	// An approval counts for the day, and does not begin it anew.
	merge(state.Batch{Observations: []state.Observation{{ID: id, Version: 2 * (now + 9000)}}, Brake: &state.Brake{Day: 1, Forced: true}, Holder: r.id + "-run"})
	if count, err := r.o.st.Cell(ctx, "brake", "user"); err != nil || count != "1 11" {
		t.Errorf("counted %q, %v; want 11 on day 1", count, err)
	}

	// A sweep in chunks that breaks off leaves the ask for its list.
	scope := string(record.Members("00gmany"))
	var many []state.Observation
	for n := range 2000 {
		many = append(many, state.Observation{ID: string(record.Member("00gmany", fmt.Sprint("u", n))), Version: 2 * now, Present: true})
	}
	merge(state.Batch{Observations: many, Asks: []state.Ask{{Target: scope, Exceed: 2*now + 1}}})
	mark := state.Mark{Scope: scope, Millis: now + 1000, Cursor: "0"}
	m := merge(state.Batch{Mark: &mark})
	if m.Cursor == "0" || !asked(scope) {
		t.Fatalf("after the first chunk: cursor %s, asked %v", m.Cursor, asked(scope))
	}
	for m.Cursor != "0" {
		mark.Cursor = m.Cursor
		m = merge(state.Batch{Mark: &mark})
	}
	if asked(scope) {
		t.Error("asked for after the last chunk")
	}
}

// A run that must start waits for the one that is running, and starts then.
func TestWantedRunStartsBehindTheOneAtWork(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 83, Users: 5, Groups: 2, Apps: 1})
	first, err := r.e.StartRun(t.Context(), r.id, Start{Object: "users", Trigger: "resync"})
	if err != nil {
		t.Fatal(err)
	}
	if run, err := r.e.StartRun(t.Context(), r.id, Start{Trigger: "instance-event"}); err != nil || run.ID != first.ID {
		t.Fatalf("run %+v, %v", run, err)
	}
	if _, err := r.o.reconcile(r.o.ctx, first.ID); err != nil {
		t.Fatal(err)
	}
	id, err := r.o.startWanted()
	if err != nil || id == "" {
		t.Fatalf("nothing starts: %v", err)
	}
	if run, err := loadRun(t.Context(), r.o.st, id); err != nil || run.Mode != "full" || run.Object != "" || run.Trigger != "instance-event" {
		t.Errorf("run %+v, %v", run, err)
	}
	if id, err := r.o.startWanted(); err != nil || id != "" {
		t.Errorf("started twice: %q, %v", id, err)
	}
}

// Fifty later runs do not take away what a run holds.
func TestHeldOutlivesLaterRuns(t *testing.T) {
	r, app := large(t)
	unassign(t, r, app, 60)
	r.clock.Advance(time.Minute)
	run := r.reconcile()
	for range 60 {
		r.clock.Advance(time.Second)
		r.run(Start{Object: "account"})
	}
	if run, err := r.e.RunByID(t.Context(), run.ID); err != nil || run.Held == nil || run.Held.Total != 60 {
		t.Errorf("held %+v, %v", run.Held, err)
	}
}
