package engine

import (
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// A burst of changes is read by lists where that takes fewer calls than reading
// each object, and what lists do not answer by id.
func TestBurstIsReadByLists(t *testing.T) {
	clock := newClock()
	sim := oktasim.New(t, oktasim.Config{Seed: 51, Users: 620, Groups: 5, Apps: 3, Clock: clock, ListLag: 20 * time.Second})
	clock.Advance(time.Hour)
	r := newRig(t, newEngine(t, clock, 0), sim, clock)
	defer r.close()
	r.o.factors = false
	r.reconcile()
	r.settle()
	app := sim.AppIDs("")[0]
	users := sim.UserIDs("ACTIVE")
	users = users[:min(len(users), 400)]
	var events []oktasim.Event
	for _, user := range users {
		clock.Advance(time.Millisecond)
		events = append(events, must(t)(sim.UpdateProfile(user, map[string]any{"title": "All Promoted"}))...)
		if assigned, err := sim.AssignUser(app, user, nil); err == nil {
			events = append(events, assigned...)
		}
	}
	for _, user := range users[:30] {
		events = append(events, must(t)(sim.Deactivate(user))...)
		events = append(events, must(t)(sim.DeleteUser(user))...)
	}
	clock.Advance(time.Minute) // we were down meanwhile
	for len(events) > 0 {
		n := min(len(events), 100)
		r.deliver(eligible(events[:n])...)
		events = events[n:]
	}
	r.takeIn()
	sim.ResetCalls()
	r.refresh()
	r.settle()
	if n := sim.CallCount(); n > 150 {
		t.Errorf("%d calls for %d users and as many assignments", n, len(users))
	}
	r.inStep()
}
