package engine

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

func init() { standstill = 2 * time.Millisecond }

// trouble decides the fault of each command while it is on.
type trouble struct {
	mu     sync.Mutex
	decide func(command string) statetest.Fault
	met    map[statetest.Fault]int
}

func (tr *trouble) set(decide func(string) statetest.Fault) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.decide = decide
}

func (tr *trouble) fault(command string) statetest.Fault {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.decide == nil {
		return statetest.None
	}
	f := tr.decide(command)
	tr.met[f]++
	return f
}

// troubled returns an engine whose store can be put in trouble.
func troubled(t *testing.T, clock *oktasim.ManualClock) (*Engine, *trouble) {
	tr := &trouble{met: map[statetest.Fault]int{}}
	e := newEngine(t, clock, 0)
	e.store.AddHook(statetest.Faults{Decide: tr.fault})
	return e, tr
}

// Each command to the store may never arrive, or be done and not be reported.
// Everyone tries again, as Okta and the loops do: in the end the graph, and the
// graph by its changes, is that of the quiet org.
func TestStoreThatFailsAnywhereLosesAndDoublesNothing(t *testing.T) {
	for seed := range uint64(3) {
		clock := newClock()
		e, tr := troubled(t, clock)
		sim := oktasim.New(t, oktasim.Config{Seed: int64(seed), Users: 10, Groups: 4, Apps: 4, Clock: clock,
			Step: 300 * time.Millisecond, ListLag: 20 * time.Second})
		clock.Advance(time.Hour)
		r := newRig(t, e, sim, clock)
		ctx := t.Context()

		rnd := rand.New(rand.NewPCG(seed+1, 77)) // under the lock of trouble
		rate := 0.05 + 0.05*float64(seed)
		tr.set(func(string) statetest.Fault {
			switch x := rnd.Float64(); {
			case x < rate:
				return statetest.Lost
			case x < 2*rate:
				return statetest.Unreported
			}
			return statetest.None
		})
		until := func(what string, try func() error) {
			t.Helper()
			for range 1000 {
				if try() == nil {
					return
				}
			}
			t.Fatalf("seed %d: %s never succeeds", seed, what)
		}
		deliver := func(events []oktasim.Event) {
			t.Helper()
			if events = eligible(events); len(events) == 0 {
				return
			}
			d, err := okta.ParseDelivery(sim.DeliveryBody(events))
			if err != nil {
				t.Fatal(err)
			}
			until("delivery", func() error { return e.Accept(ctx, r.id, d) })
		}
		takeIn := func() {
			t.Helper()
			for n := 1; n > 0; {
				until("inbox", func() (err error) { n, err = r.o.takeIn(r.o.ctx); return err })
			}
		}
		readAgain := func() {
			t.Helper()
			clock.Advance(40 * time.Second)
			if _, err := r.o.client.Support(r.o.ctx); err != nil && !okta.IsForbidden(err) {
				t.Fatal(err)
			}
			until("reading again", func() error { _, err := r.o.startDue(r.o.ctx); return err })
			r.o.reading.Wait()
		}

		rounds := rand.New(rand.NewPCG(seed, 2))
		for round := range 6 {
			deliver(sim.Mutate(rounds.IntN(8)))
			if round == 2 || round == 4 { // a reconcile, the org changing between its pages
				until("start of a run", func() error { _, err := e.StartRun(ctx, r.id, Start{Trigger: "test"}); return err })
				var during []oktasim.Event
				var mu sync.Mutex
				n := 0
				sim.OnRequest(func(*http.Request) {
					mu.Lock()
					defer mu.Unlock()
					if n++; n%6 == 0 && n < 40 {
						during = append(during, sim.Mutate(1)...)
					}
				})
				for id := "-"; id != ""; {
					until("the running run", func() (err error) { id, err = r.o.st.Fact(ctx, "run"); return err })
					if id != "" {
						_, _ = r.o.reconcile(r.o.ctx, id) // tried again by the loop
					}
				}
				sim.OnRequest(nil)
				deliver(during)
			}
			if rounds.IntN(2) == 0 {
				takeIn()
			}
			if rounds.IntN(2) == 0 {
				readAgain()
			}
			if rounds.IntN(3) == 0 { // the process is replaced
				r.close()
				settings := r.o.settings
				r.o = e.newOrg(context.Background(), r.id, settings, state.Lease{Org: e.store.Org(r.id)})
				until("start", r.o.prepare)
			}
		}
		takeIn()
		readAgain()
		tr.set(nil)
		if tr.met[statetest.Lost] < 5 || tr.met[statetest.Unreported] < 5 {
			t.Errorf("seed %d: too few faults: %v", seed, tr.met)
		}
		r.clock.Advance(time.Minute)
		r.settle()
		runs, err := e.Runs(ctx, r.id)
		if err != nil || len(runs) != 2 {
			t.Fatalf("seed %d: %d runs, %v", seed, len(runs), err)
		}
		for _, run := range runs {
			if run.State != RunSucceeded {
				t.Errorf("seed %d: run %s, errors %v", seed, run.State, run.Errors)
			}
		}
		r.inStep()
		r.close()
	}
}

// A run that gave up a list names it, even if the process ends right then.
func TestRunThatGaveUpAListNeverLooksWhole(t *testing.T) {
	clock := newClock()
	e, tr := troubled(t, clock)
	sim := oktasim.New(t, oktasim.Config{Seed: 1, Users: 5, Groups: 2, Apps: 3, Clock: clock})
	clock.Advance(time.Hour)
	r := newRig(t, e, sim, clock)
	run, err := e.StartRun(t.Context(), r.id, Start{Trigger: "test"})
	if err != nil {
		t.Fatal(err)
	}
	sim.Fail(func(r *http.Request) *oktasim.Fault {
		if r.URL.Path == "/api/v1/apps" {
			return &oktasim.Fault{Status: 403}
		}
		return nil
	})
	ended, watcher := false, newEngine(t, clock, 0)
	tr.set(func(command string) statetest.Fault {
		if ended {
			return statetest.Lost
		}
		named, err := watcher.RunByID(t.Context(), run.ID)
		if ended = command == "evalsha" && err == nil && len(named.Errors) > 0; ended { // the list is given up
			r.o.stop()
			return statetest.Unreported
		}
		return statetest.None
	})
	_, _ = r.o.reconcile(r.o.ctx, run.ID)
	tr.set(nil)
	if !ended {
		t.Fatal("no list was given up")
	}
	sim.Fail(nil)
	r.restart()
	defer r.close()
	if _, err := r.o.reconcile(r.o.ctx, run.ID); err != nil {
		t.Fatal(err)
	}
	if run, err = e.RunByID(t.Context(), run.ID); err != nil || run.State != RunIncomplete || len(run.Errors) != 1 || run.Errors[0].Scope != "apps" {
		t.Errorf("run: %s, errors %v, %v; want incomplete, without the apps", run.State, run.Errors, err)
	}
	if status, err := e.Instance(t.Context(), r.id); err != nil || status.Whole {
		t.Errorf("whole: %v, %v", status.Whole, err)
	}
}
