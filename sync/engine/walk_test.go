package engine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
	"github.com/oktasync/oktasync/sync/record"
)

// A group with more members than one step looks at ends: they go first, in steps
// of which each is kept, so that a new owner goes on; only then the group goes.
func TestTheEndOfALargeGroupIsWalked(t *testing.T) {
	clock := newClock()
	sim := oktasim.New(t, oktasim.Config{Seed: 5, Users: 620, Groups: 3, GroupSize: 600, Apps: 1, Clock: clock})
	clock.Advance(time.Hour)
	r := newRig(t, newEngine(t, clock, 0), sim, clock)
	defer r.close()
	r.o.factors = false
	if run := r.reconcile(); run.State != RunSucceeded {
		t.Fatalf("%+v", run)
	}
	r.settle()
	var group string
	var members int64
	for _, id := range sim.GroupIDs("OKTA_GROUP") {
		if n, err := r.o.st.Count(t.Context(), string(record.Members(id))); err != nil {
			t.Fatal(err)
		} else if n > members {
			group, members = id, n
		}
	}
	if members <= 500 {
		t.Fatalf("the largest group has %d members", members)
	}
	clock.Advance(time.Minute)
	r.deliver(eligible(must(t)(sim.DeleteGroup(group)))...)
	r.takeIn()
	clock.Advance(5 * time.Second)
	r.refresh() // an owner that ended here left the walk
	r.settle()
	clock.Advance(time.Minute)
	r.inStep()

	// By the changes, no member outlived the group.
	transitions, err := r.o.st.Changes(t.Context(), "0", 100_000)
	if err != nil {
		t.Fatal(err)
	}
	end := slices.IndexFunc(transitions, func(tr state.Transition) bool {
		return tr.ID == string(record.Group(group)) && tr.Before.Present && !tr.After.Present
	})
	if end < 0 {
		t.Fatal("the group is still there")
	}
	for _, tr := range transitions[end:] {
		if strings.HasPrefix(tr.ID, "member/"+group+"/") {
			t.Fatalf("%s changes after the end of its group", tr.ID)
		}
	}
}
