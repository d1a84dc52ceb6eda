package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
	"github.com/oktasync/oktasync/sync/sink/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(workerVar) != "" {
		worker()
		return
	}
	code := statetest.Main(m)
	sqldbtest.Stop()
	os.Exit(code)
}

// tb is a test, or an iteration of a property.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// rig is an engine on a real Redis whose org works when a test says so, on a
// simulated org whose clock stands still unless moved.
type rig struct {
	tb
	org   *oktasim.Org
	clock *oktasim.ManualClock
	e     *Engine
	o     *org
	id    string
}

var start = time.Date(2026, 3, 17, 9, 0, 0, 0, time.UTC)

// newClock returns a clock and, with it, the configuration of a small org.
func newClock() *oktasim.ManualClock { return oktasim.NewManualClock(start) }

// rigURL is the Redis of rigs; one test changes it while it runs others.
var rigURL = statetest.URL

// newEngine returns an engine on the shared Redis. skew is how far its local
// clock is from Okta's.
func newEngine(t testing.TB, clock *oktasim.ManualClock, skew time.Duration) *Engine {
	t.Helper()
	e, err := New(context.Background(), Config{
		RedisURL: rigURL(t), SecretKey: make([]byte, 32), AllowInsecure: true, DeleteRatio: 0.2,
		Clock: func() time.Time { return clock.Now().Add(skew) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// newRig returns an instance of its own for the org. Close it.
func newRig(t tb, e *Engine, sim *oktasim.Org, clock *oktasim.ManualClock) *rig {
	t.Helper()
	ctx := context.Background()
	r := &rig{tb: t, org: sim, clock: clock, e: e, id: statetest.Instance()}
	if err := e.Register(ctx, Instance{ID: r.id, Name: "Acme", OrgURL: sim.URL(), Token: sim.Token(), Factors: true,
		HookSecrets: []string{"a secret of the hook"}}); err != nil {
		t.Fatal(err)
	}
	settings, err := e.store.Org(r.id).Instance(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r.o = e.newOrg(ctx, r.id, settings, state.Lease{Org: e.store.Org(r.id)})
	if err := r.o.prepare(); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) close() {
	r.o.stop()
	r.o.reading.Wait()
}

// deliver accepts the events as one delivery.
func (r *rig) deliver(events ...oktasim.Event) {
	r.Helper()
	d, err := okta.ParseDelivery(r.org.DeliveryBody(events))
	if err != nil {
		r.Fatal(err)
	}
	if err := r.e.Accept(context.Background(), r.id, d); err != nil {
		r.Fatal(err)
	}
}

// takeIn applies all accepted events.
func (r *rig) takeIn() {
	r.Helper()
	for {
		n, err := r.o.takeIn(r.o.ctx)
		if err != nil {
			r.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

// settle applies and reads again until nothing is left, time passing meanwhile.
func (r *rig) settle() {
	r.Helper()
	for range 40 {
		r.takeIn()
		asked, err := r.o.st.Asked(r.o.ctx)
		if err != nil {
			r.Fatal(err)
		}
		if len(asked) == 0 {
			return
		}
		r.clock.Advance(5 * time.Second)
		r.refresh()
	}
	asked, _ := r.o.st.Asked(r.o.ctx)
	r.Fatalf("after minutes this is still to be read again: %v", asked)
}

// poll reads the System Log to its end.
func (r *rig) poll() {
	r.Helper()
	if _, err := r.o.pollLog(); err != nil {
		r.Fatal(err)
	}
}

// refresh reads once what is due.
func (r *rig) refresh() {
	r.Helper()
	// The clock is known by the answers: one that is small tells it moved.
	if _, err := r.o.client.Support(r.o.ctx); err != nil && !okta.IsForbidden(err) {
		r.Fatal(err)
	}
	for {
		n, err := r.o.startDue(r.o.ctx)
		if err != nil {
			r.Fatal(err)
		}
		r.o.reading.Wait()
		if n == 0 {
			return
		}
	}
}

// reconcile runs a full reconcile to its end.
func (r *rig) reconcile() Run {
	r.Helper()
	return r.run(Start{})
}

// run runs a reconcile to its end; a verify, until it settles.
func (r *rig) run(start Start) Run {
	r.Helper()
	ctx := context.Background()
	start.Trigger = "test"
	run, err := r.e.StartRun(ctx, r.id, start)
	if err != nil {
		r.Fatal(err)
	}
	if _, err := r.o.logPlace(); err != nil {
		r.Fatal(err)
	}
	if _, err := r.o.reconcile(r.o.ctx, run.ID); err != nil {
		r.Fatal(err)
	}
	if run, err = r.e.RunByID(ctx, run.ID); err != nil {
		r.Fatal(err)
	}
	heldCounted(r.tb, r.e, r.id)
	return run
}

// graph returns the graph: by key, the JSON of each object.
func (r *rig) graph() map[string]string {
	r.Helper()
	graph := map[string]string{}
	for object, err := range r.e.Graph(context.Background(), r.id) {
		if err != nil {
			r.Fatal(err)
		}
		b, err := json.Marshal(object)
		if err != nil {
			r.Fatal(err)
		}
		if old, ok := graph[object.Key()]; ok {
			r.Fatalf("the graph has %s twice: %s and %s", object.Key(), old, b)
		}
		graph[object.Key()] = string(b)
	}
	return graph
}

// replayed returns the graph that the changes feed alone leads to.
func (r *rig) replayed() map[string]string {
	r.Helper()
	graph := map[string]string{}
	for position := ""; ; {
		changes, err := r.e.Changes(context.Background(), r.id, position)
		if err != nil {
			r.Fatal(err)
		}
		if len(changes) == 0 {
			return graph
		}
		for _, c := range changes {
			position = c.Position
			key := c.Change.Key()
			_, known := graph[key]
			if known == (c.Change.Op == "create") {
				r.Fatalf("%s of %s, known before: %v", c.Change.Op, key, known)
			}
			if c.Change.Op == "delete" {
				delete(graph, key)
				continue
			}
			b, err := json.Marshal(c.Change.Object)
			if err != nil {
				r.Fatal(err)
			}
			graph[key] = string(b)
		}
	}
}

// quiet returns the graph that a full read of the org, quiet by now, gives.
func (r *rig) quiet() map[string]string {
	r.Helper()
	r.clock.Advance(2 * time.Minute)
	fresh := newRig(r.tb, r.e, r.org, r.clock)
	defer fresh.close()
	fresh.o.factors = r.o.factors
	if run := fresh.reconcile(); run.State != RunSucceeded {
		r.Fatalf("full read of the quiet org: %+v", run)
	}
	fresh.settle()
	return fresh.graph()
}

// inStep fails unless the graph, and the graph by its changes, is that of the quiet org.
func (r *rig) inStep() {
	r.Helper()
	got := r.graph()
	if diff := cmp.Diff(told(r.quiet()), told(got)); diff != "" {
		r.Fatalf("-quiet org +graph:\n%s", diff)
	}
	if diff := cmp.Diff(got, r.replayed()); diff != "" {
		r.Fatalf("-graph +graph by its changes:\n%s", diff)
	}
	heldCounted(r.tb, r.e, r.id)
}

var silent = regexp.MustCompile(`"lastMembershipUpdated(On)?":\d+,?`)

// told leaves out what no event tells: that a deleted user was a member moves
// lastMembershipUpdated of its groups. The next list shows it.
func told(graph map[string]string) map[string]string {
	out := map[string]string{}
	for key, object := range graph {
		out[key] = silent.ReplaceAllString(object, "")
	}
	return out
}

// eligible are the events that hooks deliver.
func eligible(events []oktasim.Event) (hooked []oktasim.Event) {
	for _, e := range events {
		if e.HookEligible {
			hooked = append(hooked, e)
		}
	}
	return hooked
}

func calls(run Run) (n int64) {
	for p := range maps.Values(run.Progress) {
		n += p.Calls
	}
	return n
}

// hookLooks counts the looks at the event hooks among the org's calls: a run that
// is not limited to an object makes one, beside those that reading takes.
func hookLooks(sim *oktasim.Org) (n int) {
	for _, c := range sim.Calls() {
		if c.Path == "/api/v1/eventHooks" {
			n++
		}
	}
	return n
}

func path(c oktasim.Call) string { return fmt.Sprint(c.Path, "?", c.RawQuery) }

// Accept is AcceptBy without a look at the sender.
func (e *Engine) Accept(ctx context.Context, instance string, d okta.Delivery) error {
	return e.AcceptBy(ctx, &Hook{Instance: instance}, d)
}
