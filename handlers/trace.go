package handlers

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/oktasync/oktasync/sync/okta"
)

func tracer() trace.Tracer { return otel.Tracer("github.com/oktasync/oktasync/handlers") }

// startDelivery begins the span of a delivery that showed its secret: strangers
// cost none. It begins a trace: Okta sends no traceparent, and nobody else's is believed.
func startDelivery(ctx context.Context, instance string) (context.Context, trace.Span) {
	return tracer().Start(ctx, "delivery", trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", http.MethodPost), attribute.String("http.route", hookRoute),
		attribute.String("oktasync.instance", instance)))
}

func noteDelivery(span trace.Span, d okta.Delivery) {
	span.SetAttributes(attribute.Int("oktasync.events", len(d.Events)), attribute.Int("oktasync.bad_events", len(d.Bad)))
}

// endDelivery ends it with the status of the answer.
func endDelivery(span trace.Span, err error) {
	status := http.StatusNoContent
	if err != nil {
		status = problemOf(err).Status
	}
	if status >= 500 {
		span.SetStatus(codes.Error, "see the log")
	}
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	span.End()
}
