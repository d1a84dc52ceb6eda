package engine

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// Okta repeats, loses nothing here, and reorders events; lists lag by up to the
// allowance; the org changes between pages; clocks differ. The graph must not care.
func TestEventsInAnyOrderLeadWhereReconcileLeads(t *testing.T) {
	clock := newClock()
	engines := map[time.Duration]*Engine{}
	for _, skew := range []time.Duration{0, -3 * time.Minute, 4 * time.Minute} {
		engines[skew] = newEngine(t, clock, skew)
	}
	rapid.Check(t, func(t *rapid.T) {
		step := time.Duration(rapid.SampledFrom([]int{0, 1, 7, 900, 20_000}).Draw(t, "step in ms")) * time.Millisecond
		sim := oktasim.New(t, oktasim.Config{
			Seed: rapid.Int64().Draw(t, "seed"), Users: 6, Groups: 4, Apps: 4, Clock: clock, Step: step,
			ListLag:     time.Duration(rapid.IntRange(0, 29).Draw(t, "lag in s")) * time.Second,
			NullTargets: rapid.Bool().Draw(t, "null targets"),
		})
		e := engines[rapid.SampledFrom([]time.Duration{0, -3 * time.Minute, 4 * time.Minute}).Draw(t, "skew")]
		r := newRig(t, e, sim, clock)
		defer r.close()
		clock.Advance(time.Hour) // the org was quiet
		if rapid.Bool().Draw(t, "known before") {
			r.reconcile()
		}
		mutate := func(n int) []oktasim.Event {
			events := sim.Mutate(n)
			if users := sim.UserIDs("ACTIVE"); len(users) > 1 && rapid.IntRange(0, 4).Draw(t, "pass a login") == 0 {
				more, err := sim.PassLogin(users[0], users[1], "someone.else@example.com")
				if err == nil {
					events = append(events, more...)
				}
			}
			return eligible(events)
		}
		events := mutate(rapid.IntRange(1, 12).Draw(t, "before"))
		var during []oktasim.Event
		if rapid.Bool().Draw(t, "reconcile in the middle") {
			var mu sync.Mutex
			n := 0
			sim.OnRequest(func(*http.Request) {
				mu.Lock()
				defer mu.Unlock()
				if n++; n%5 == 0 && n < 40 { // between pages
					during = append(during, eligible(sim.Mutate(1))...)
				}
			})
			early := rapid.IntRange(0, len(events)).Draw(t, "delivered before the reconcile")
			for _, ev := range events[:early] {
				r.deliver(ev)
			}
			r.takeIn()
			r.reconcile()
			sim.OnRequest(nil)
		}
		events = append(events, during...)
		events = append(events, mutate(rapid.IntRange(0, 8).Draw(t, "after"))...)
		order := rapid.Permutation(append(events, events...)).Draw(t, "order")
		for len(order) > 0 {
			n := rapid.IntRange(1, len(order)).Draw(t, "batch")
			r.deliver(order[:n]...)
			order = order[n:]
			if rapid.Bool().Draw(t, "read meanwhile") {
				r.takeIn()
				r.refresh()
			}
		}
		r.settle()
		clock.Advance(time.Minute)
		if runs, _ := e.Runs(t.Context(), r.id); len(runs) == 0 { // only what events named is known
			r.reconcile()
			r.settle()
		}
		r.inStep()
	})
}

// After a full reconcile, 2,000 changes whose hooks come in order: the graph is
// the org's, and no call was made that was not needed.
func TestTwoThousandChanges(t *testing.T) {
	clock := newClock()
	e := newEngine(t, clock, 0)
	sim := oktasim.New(t, oktasim.Config{Seed: 7, Users: 150, Groups: 20, Apps: 12, Clock: clock, Step: 700 * time.Millisecond})
	clock.Advance(time.Hour)
	r := newRig(t, e, sim, clock)
	defer r.close()

	sim.ResetCalls()
	run := r.reconcile()
	// Two more: one, once, to learn Okta's time, from before which the log is
	// followed; and the look at the event hooks.
	if run.State != RunSucceeded || calls(run) != int64(sim.MinimumCalls(true)) || sim.CallCount() != sim.MinimumCalls(true)+2 || hookLooks(sim) != 1 {
		t.Fatalf("full reconcile: %s with %d calls by its own count, %d by the org's, want %d, 1 for the time and 1 for the event hooks; errors %v",
			run.State, calls(run), sim.CallCount(), sim.MinimumCalls(true), run.Errors)
	}
	r.settle() // of the groups and users, either may come first: Everyone's edges may follow
	if diff := cmp.Diff(r.quiet(), r.graph()); diff != "" {
		t.Fatalf("after the reconcile: -quiet org +graph:\n%s", diff)
	}

	for done := 0; done < 2000; {
		sim.ResetCalls()
		events := eligible(sim.Mutate(50))
		done += 50
		r.deliver(events...)
		r.takeIn()
		r.deliver(events[:len(events)/2]...) // repeats
		before := sim.CallCount()
		r.takeIn()
		if before != 0 || sim.CallCount() != 0 {
			t.Fatalf("taking events in made calls: %+v", sim.Calls())
		}
		r.settle()
		seen := map[string]int{}
		for _, c := range sim.Calls() {
			if c.Path == "/api/v1/org/privacy/oktaSupport" {
				continue // the rig's, to learn the time
			}
			seen[path(c)]++
			if strings.HasSuffix(c.Path, "/groups") && strings.HasPrefix(c.Path, "/api/v1/users/") || strings.Contains(c.Path, "/api/v1/groups/") && strings.HasSuffix(c.Path, "/users") {
				t.Errorf("membership cost a call: %s", c.Path)
			}
		}
		for what, n := range seen {
			if n > 1 {
				t.Errorf("%d calls for what changed once: %s", n, what)
			}
		}
		if sent := len(seen); sent > len(events) {
			t.Errorf("%d calls for %d events", sent, len(events))
		}
	}
	r.inStep()
}
