package engine

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// ledger keeps what an engine told.
type ledger struct {
	mu   sync.Mutex
	seen map[string]int
	took map[string]time.Duration
}

func (o *ledger) add(n int, took time.Duration, what ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen[fmt.Sprint(what...)] += n
	o.took[fmt.Sprint(what...)] = took
}

// observed has all that the rig's engine tells kept.
func observed(r *rig) *ledger {
	o := &ledger{seen: map[string]int{}, took: map[string]time.Duration{}}
	r.o.cfg.Observe = Observe{
		Applied: func(instance, source string, accepted, applied time.Duration) {
			o.add(1, accepted+applied, "applied ", source)
		},
		Asked:     func(instance, reason string, n int) { o.add(n, 0, "asked ", reason) },
		Refreshed: func(instance, result string) { o.add(1, 0, "refreshed ", result) },
		Ended: func(instance, mode string, state RunState, took time.Duration) {
			o.add(1, took, "ended ", mode, " ", state)
		},
		Delivered: func(instance, sink string, took time.Duration) { o.add(1, took, "delivered ", sink) },
	}
	return o
}

func TestTheEngineTellsWhatItDoes(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 5, Users: 20, Groups: 3, Apps: 1})
	o := observed(r)
	user := r.org.UserIDs("ACTIVE")[0]
	events, err := r.org.UpdateProfile(user, map[string]any{"title": "Somebody New"})
	if err != nil {
		t.Fatal(err)
	}
	r.deliver(events...)
	r.settle()
	if o.seen["applied hook"] != len(events) || o.seen["asked event"] == 0 || o.seen["refreshed done"] == 0 || o.seen["refreshed failed"] != 0 {
		t.Errorf("an event: %v", o.seen)
	}
	// Published ten seconds ago, in the inbox for three.
	now := time.Now().Truncate(time.Millisecond)
	entry := state.Event{ID: fmt.Sprintf("%d-0", now.Add(-3*time.Second).UnixMilli()), Source: "log"}
	r.o.noteApplied(entry, now.Add(-10*time.Second))
	if took := o.took["applied log"]; took < 10*time.Second || took > time.Minute {
		t.Errorf("applied after %v", took)
	}

	r.org.FailNext(20, "/api/v1/users/", oktasim.Fault{Status: 403})
	if events, err = r.org.UpdateProfile(user, map[string]any{"title": "Somebody Else"}); err != nil {
		t.Fatal(err)
	}
	r.deliver(events...)
	r.takeIn()
	r.clock.Advance(5 * time.Second)
	if _, err := r.o.startDue(r.o.ctx); err != nil {
		t.Fatal(err)
	}
	r.o.reading.Wait()
	r.org.ClearFaults()
	if o.seen["refreshed failed"] == 0 {
		t.Errorf("a read that fails: %v", o.seen)
	}

	if run := r.reconcile(); run.State != RunSucceeded {
		t.Fatalf("%+v", run)
	}
	if o.seen["ended full succeeded"] != 1 {
		t.Errorf("a run: %v", o.seen)
	}
}

// Any process shows the limits, of which the owner's client alone knows.
func TestRateLimitsAreShownByEveryProcess(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 6, Users: 20, Groups: 3, Apps: 1, RateLimits: map[string]int{"users": 600}})
	other := newEngine(t, r.clock, 0)
	limits := func() map[string]okta.Budget {
		t.Helper()
		status, err := other.Instance(t.Context(), r.id)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]okta.Budget{}
		for _, l := range status.RateLimits {
			all[l.Bucket] = l
		}
		return all
	}
	if got := limits(); len(got) != 0 {
		t.Errorf("before any was kept: %v", got)
	}
	if err := r.o.keepLimits(); err != nil {
		t.Fatal(err)
	}
	got := limits()["users"]
	if got.Limit != 600 || got.Calls < 1 || got.Share != 0.5 || got.Remaining == nil || *got.Remaining > 600 {
		t.Errorf("users: %+v", got)
	}
	if run := r.reconcile(); run.State != RunSucceeded {
		t.Fatalf("%+v", run)
	}
	if err := r.o.keepLimits(); err != nil {
		t.Fatal(err)
	}
	if next := limits()["users"]; next.Calls <= got.Calls || *next.Remaining >= 600 || next.ResetAt == nil {
		t.Errorf("after a run: %+v", next)
	}
}

// The inbox of an older version has entries without a trace.
func TestEntriesOfTheInboxNeedNoTrace(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 7, Users: 10, Groups: 3, Apps: 1})
	spans := traced(t)
	ctx, span := tracer().Start(t.Context(), "the delivery")
	group, users := r.org.GroupIDs("OKTA_GROUP")[0], r.org.UserIDs("ACTIVE")
	var all []state.Event
	for i, user := range users {
		_, _ = r.org.RemoveMember(group, user)
		events, err := r.org.AddMember(group, user)
		if err != nil {
			t.Fatal(err)
		}
		d, err := okta.ParseDelivery(r.org.DeliveryBody(events))
		if err != nil {
			t.Fatal(err)
		}
		from := ctx
		if i%2 == 0 {
			from = t.Context() // nobody traced it
		}
		entries, _, err := stored(d.Events, nil, time.Time{}, traceparent(from))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, entries...)
	}
	all = append(all, state.Event{UUID: "odd", Type: "other", Trace: "not a traceparent", Body: all[0].Body})
	span.End()
	if _, err := r.o.st.Accept(t.Context(), all, nil); err != nil {
		t.Fatal(err)
	}
	r.takeIn()
	r.settle()
	r.inStep()
	for _, s := range spans.GetSpans() {
		if s.Name == "apply" && (s.SpanContext.TraceID() != span.SpanContext().TraceID() || len(s.Links) != 1) {
			t.Errorf("the apply is of trace %v and has %d links", s.SpanContext.TraceID(), len(s.Links))
		}
	}
}

// A batch of many deliveries, and a sink's of many changes, link to a bounded number.
func TestLinksAreBounded(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 8, Users: 10, Groups: 3, Apps: 1})
	spans := traced(t)
	var events []state.Event
	var causes []string
	for i := range 3 * maxLinks {
		ctx, span := tracer().Start(t.Context(), "one of many")
		span.End()
		events = append(events, state.Event{Trace: traceparent(ctx)}, state.Event{Trace: traceparent(ctx)})
		causes = append(causes, fmt.Sprint("cause ", i), fmt.Sprint("cause ", i))
		r.o.traces.Add(causes[len(causes)-1], span.SpanContext())
	}
	led := r.o.led(func(yield func(string) bool) {
		for _, c := range causes {
			if !yield(c) {
				return
			}
		}
	})
	if n, m := len(deliveries(events)), len(led); n != maxLinks || m != maxLinks {
		t.Errorf("%d deliveries, %d causes", n, m)
	}
	_, span := r.o.follow(t.Context(), "of many", led)
	span.End()
	got := spans.GetSpans()
	if last := got[len(got)-1]; len(last.Links) != maxLinks || last.Parent.SpanID() != led[0].SpanID() {
		t.Errorf("%d links, below %v", len(last.Links), last.Parent.SpanID())
	}
}

// traced has the spans of this process kept in memory until the test ends.
func traced(t testing.TB) *tracetest.InMemoryExporter {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	otel.SetTracerProvider(trace.NewTracerProvider(trace.WithSyncer(spans)))
	t.Cleanup(func() { otel.SetTracerProvider(noop.NewTracerProvider()) })
	return spans
}

// What spans cost where events come in: deliveries of ten events, accepted and applied.
func BenchmarkIngest(b *testing.B) {
	for _, name := range []string{"untraced", "traced"} {
		b.Run(name, func(b *testing.B) {
			otel.SetTracerProvider(noop.NewTracerProvider())
			if name == "traced" {
				provider := trace.NewTracerProvider(trace.WithBatcher(tracetest.NewNoopExporter()))
				otel.SetTracerProvider(provider)
				defer otel.SetTracerProvider(noop.NewTracerProvider())
				defer provider.Shutdown(context.Background())
			}
			clock := newClock()
			sim, err := oktasim.Start(oktasim.Config{Seed: 1, Users: 100, Groups: 10, Apps: 5, AppUsers: 10, Clock: clock})
			if err != nil {
				b.Fatal(err)
			}
			defer sim.Close()
			r := newRig(b, newEngine(b, clock, 0), sim, clock)
			defer r.close()
			if run := r.reconcile(); run.State != RunSucceeded {
				b.Fatalf("%+v", run)
			}
			r.settle()
			group, users := sim.GroupIDs("OKTA_GROUP")[0], sim.UserIDs()
			n := 0
			for b.Loop() {
				clock.Advance(time.Second)
				d := okta.Delivery{Time: clock.Now()}
				for range 10 {
					n++
					d.Events = append(d.Events, okta.Event{UUID: fmt.Sprint(r.id, "-", n), Type: "group.user_membership.add", Published: clock.Now(),
						Targets: []okta.Target{{ID: users[n%len(users)], Type: "User"}, {ID: group, Type: "UserGroup"}}, Outcome: okta.Outcome{Result: "SUCCESS"}})
				}
				ctx, span := tracer().Start(b.Context(), "delivery")
				if err := r.e.Accept(ctx, r.id, d); err != nil {
					b.Fatal(err)
				}
				span.End()
				r.takeIn()
			}
		})
	}
}
