package engine

import (
	"testing"
	"time"

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
