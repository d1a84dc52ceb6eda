package engine

import (
	"context"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
)

// Spans follow an event from its delivery to the sinks: delivery, apply, merge,
// refresh (with the calls to Okta and the merge of what they read), deliver.
// Each continues the span that led to it; of many, the first, with links to the
// others. From the delivery to the apply the inbox carries it, since another
// process may have accepted the event; from there on the memory of the owner:
// after it was replaced, the rest of a trace begins anew.
//
// Attributes hold ids, numbers and names of ours, never what Okta says of people;
// the text of an error is in the log only.
func tracer() trace.Tracer { return otel.Tracer("github.com/oktasync/oktasync/sync/engine") }

const (
	maxLinks  = 64   // of one span
	maxTraced = 4096 // causes whose span is remembered
)

// newTraces returns the memory of which span an event or a run was at last in.
func newTraces() *lru.Cache[string, trace.SpanContext] {
	traces, err := lru.New[string, trace.SpanContext](maxTraced)
	if err != nil {
		panic(err) // only of a size below one
	}
	return traces
}

// traceparent is what the inbox keeps of the span that ctx is in; "" unless somebody traces it.
func traceparent(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}

// follow starts a span that goes on from those that led to it.
func (o *org) follow(ctx context.Context, name string, led []trace.SpanContext, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	var links []trace.Link
	for i, from := range led {
		if i == 0 {
			ctx = trace.ContextWithRemoteSpanContext(ctx, from)
		}
		links = append(links, trace.Link{SpanContext: from})
	}
	return tracer().Start(ctx, name, trace.WithLinks(links...),
		trace.WithAttributes(append(attributes, attribute.String("oktasync.instance", o.id))...))
}

// finish ends a span; a failure is told without its text.
func finish(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, "see the log")
	}
	span.End()
}

// deliveries returns the spans in which the events were accepted.
func deliveries(events []state.Event) []trace.SpanContext {
	var led []trace.SpanContext
	known := map[string]bool{"": true}
	for _, e := range events {
		if known[e.Trace] || len(led) == maxLinks {
			continue
		}
		known[e.Trace] = true
		ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": e.Trace})
		if from := trace.SpanContextFromContext(ctx); from.IsValid() {
			led = append(led, from)
		}
	}
	return led
}

// led returns the spans that events or runs were at last in.
func (o *org) led(causes func(yield func(string) bool)) []trace.SpanContext {
	if o.traces.Len() == 0 {
		return nil
	}
	var led []trace.SpanContext
	known := map[trace.SpanID]bool{}
	for cause := range causes {
		if len(led) == maxLinks {
			break
		}
		if from, ok := o.traces.Get(cause); ok && !known[from.SpanID()] {
			known[from.SpanID()] = true
			led = append(led, from)
		}
	}
	return led
}

// mergeSpan starts the span of a merge, if what it belongs to is traced.
func (o *org) mergeSpan(ctx context.Context, b state.Batch) (context.Context, trace.Span) {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, noop.Span{}
	}
	return tracer().Start(ctx, "merge", trace.WithAttributes(attribute.String("oktasync.instance", o.id),
		attribute.Int("oktasync.observations", len(b.Observations)), attribute.Int("oktasync.asks", len(b.Asks))))
}

// remember keeps in which span the causes were merged, for what comes of them.
func (o *org) remember(span trace.Span, b state.Batch, m state.Merged) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.Int64("oktasync.changes", m.Transitions))
	last := ""
	keep := func(cause string) {
		if cause != last {
			o.traces.Add(cause, span.SpanContext())
		}
		last = cause
	}
	for _, a := range b.Asks {
		keep(a.Cause)
	}
	if m.Transitions == 0 {
		return
	}
	for _, ob := range b.Observations {
		keep(ob.Cause)
	}
	if b.Mark != nil {
		keep(b.Mark.Cause)
	}
}

// noteEnded tells of a run that ended. Its span has no children: those would be
// thousands. Each list of the run is a trace of its own, which names the run.
func (o *org) noteEnded(run Run) {
	o.cfg.Observe.Ended(o.id, run.Mode, run.State, run.EndedAt.Sub(run.StartedAt))
	_, span := tracer().Start(o.ctx, "reconcile", trace.WithNewRoot(), trace.WithTimestamp(run.StartedAt),
		trace.WithAttributes(attribute.String("oktasync.instance", o.id), attribute.String("oktasync.run", run.ID),
			attribute.String("oktasync.mode", run.Mode), attribute.String("oktasync.trigger", run.Trigger),
			attribute.String("oktasync.state", string(run.State)), attribute.Int64("oktasync.changes", run.Changes)))
	if run.State == RunIncomplete {
		span.SetStatus(codes.Error, "see the run")
	}
	span.End(trace.WithTimestamp(*run.EndedAt))
}

// watched is a sink whose deliveries are told of.
type watched struct {
	sink.Sink
	o *org
}

// Apply is the sink's, in a span of its own.
func (w watched) Apply(ctx context.Context, in sink.Instance, b sink.Batch) error {
	ctx, span := w.o.follow(ctx, "deliver", w.o.led(causes(b.Changes)),
		attribute.String("oktasync.sink", w.Name()), attribute.Int("oktasync.changes", len(b.Changes)))
	err := w.Sink.Apply(ctx, in, b)
	finish(span, err)
	if err == nil {
		for _, at := range b.At {
			w.o.noteDelivered(w.Name(), at)
		}
	}
	return err
}

// Replace is the sink's, in a span of its own.
func (w watched) Replace(ctx context.Context, in sink.Instance, s sink.Snapshot, force bool) error {
	ctx, span := w.o.follow(ctx, "replace", nil, attribute.String("oktasync.sink", w.Name()))
	err := w.Sink.Replace(ctx, in, s, force)
	finish(span, err)
	return err
}

func causes(changes []graph.Change) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		last := ""
		for _, c := range changes {
			if c.Cause != last && !yield(c.Cause) {
				return
			}
			last = c.Cause
		}
	}
}
