package okta

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

func tracer() trace.Tracer { return otel.Tracer("github.com/oktasync/oktasync/sync/okta") }

// startSpan begins the span of a call with all its attempts. It is named after
// the endpoint, without ids or query: those may tell of people.
func startSpan(ctx context.Context, endpoint string) (context.Context, trace.Span) {
	return tracer().Start(ctx, "GET "+apiPath+endpoint, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", http.MethodGet), attribute.String("url.template", apiPath+endpoint)))
}

// noteAttempt keeps how the last attempt went. That an object does not exist is an answer.
func noteAttempt(span trace.Span, a attempt, before int) {
	if !span.IsRecording() {
		return
	}
	if a.status != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", a.status))
	}
	if before > 0 {
		span.SetAttributes(attribute.Int("http.request.resend_count", before))
	}
	if id := bounded(a.header.Get("X-Okta-Request-Id")); saneID(id) {
		span.SetAttributes(attribute.String("okta.request_id", id))
	}
	switch {
	case a.status == http.StatusOK && a.err == nil, a.status == http.StatusNotFound:
		span.SetStatus(codes.Ok, "") // takes back what an earlier attempt set
	default:
		span.SetStatus(codes.Error, "see the log")
	}
}
