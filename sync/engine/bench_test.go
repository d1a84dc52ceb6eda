package engine

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// A full reconcile of an org of 2,000 users and 100 groups of 100, without
// factors: records a second, the simulator's own work included.
func BenchmarkFullReconcile(b *testing.B) {
	clock := newClock()
	sim, err := oktasim.Start(oktasim.Config{Seed: 1, Users: 2000, Groups: 100, GroupSize: 100, Apps: 20, AppUsers: 500, Clock: clock})
	if err != nil {
		b.Fatal(err)
	}
	defer sim.Close()
	e := newEngine(b, clock, 0)
	var records int64
	var spent time.Duration
	for b.Loop() {
		clock.Advance(time.Minute)
		r := newRig(b, e, sim, clock)
		r.o.factors = false
		began := time.Now()
		run := r.reconcile()
		spent += time.Since(began)
		if run.State != RunSucceeded {
			b.Fatalf("%+v", run)
		}
		for _, p := range run.Progress {
			records += p.Objects
		}
		r.close()
	}
	b.ReportMetric(float64(records)/spent.Seconds(), "records/s")
}

// A burst of 100,000 events of 20,000 users, after an hour in which none could
// be taken in, as a bulk change makes them. The figures are the calls that it
// took, the memory of this process (the simulator's included) before and at
// most, and that of Redis with all of it in the inbox.
func BenchmarkBurst(b *testing.B) {
	const users, events, batch = 20_000, 100_000, 100
	clock := newClock()
	sim, err := oktasim.Start(oktasim.Config{Seed: 1, Users: users, Groups: 10, Apps: 5, AppUsers: 10, Clock: clock})
	if err != nil {
		b.Fatal(err)
	}
	defer sim.Close()
	e := newEngine(b, clock, 0)
	for b.Loop() {
		clock.Advance(time.Minute)
		r := newRig(b, e, sim, clock)
		r.o.factors = false
		if run := r.reconcile(); run.State != RunSucceeded {
			b.Fatalf("%+v", run)
		}
		r.settle()
		clock.Advance(time.Hour)
		ids := sim.UserIDs()
		before := inUse()
		began := time.Now()
		for n := 0; n < events; n += batch {
			d := okta.Delivery{Time: clock.Now()}
			for i := range batch {
				d.Events = append(d.Events, okta.Event{UUID: fmt.Sprint(r.id, "-", n+i), Type: "user.account.update_profile", Published: clock.Now().Add(-time.Minute),
					Targets: []okta.Target{{ID: ids[(n+i)%len(ids)], Type: "User"}}, Outcome: okta.Outcome{Result: "SUCCESS"}})
			}
			if err := e.Accept(b.Context(), r.id, d); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(events/time.Since(began).Seconds(), "accepted/s")
		redisHeld, _, err := e.store.Memory(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		most := inUse()
		began = time.Now()
		for n := 1; n > 0; {
			if n, err = r.o.takeIn(r.o.ctx); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(events/time.Since(began).Seconds(), "applied/s")
		most = max(most, inUse())
		sim.ResetCalls()
		r.refresh()
		b.ReportMetric(float64(sim.CallCount()), "calls")
		most = max(most, inUse())
		if asked, err := r.o.st.Asked(b.Context()); err != nil || len(asked) > 0 {
			b.Fatalf("%d users are still to be read, %v", len(asked), err)
		}
		b.ReportMetric(float64(before)/(1<<20), "MB-before")
		b.ReportMetric(float64(most)/(1<<20), "MB-most")
		b.ReportMetric(float64(redisHeld)/(1<<20), "MB-redis")
		r.close()
	}
}

// inUse is the memory that is in use.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
