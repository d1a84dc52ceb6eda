package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	flushTimeout = 5 * time.Second // at the end
	repeatTrace  = time.Minute     // how often a failing export is told of
)

// tracesWanted tells whether one of OpenTelemetry's variables asks for traces. Its
// SDK alone would export to a collector on this machine unless told not to.
func tracesWanted() bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	for _, name := range []string{"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

// startTracing exports spans as OpenTelemetry's variables say; without them it
// does nothing, and spans are not made. stop sends what is left.
func startTracing(ctx context.Context, log *slog.Logger) (stop func(), err error) {
	if !tracesWanted() {
		return func() {}, nil
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("traces cannot be exported, see the OTEL_ variables: %w", err)
	}
	if autoexport.IsNoneSpanExporter(exporter) {
		return func() {}, nil
	}
	// Neither host nor process: a command line may hold secrets.
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "oktasync"), attribute.String("service.version", thisBuild().Version),
	), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(&traceErrors{log: log})
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	otel.SetTracerProvider(provider)
	log.Info("traces are exported")
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("the last spans could not be exported", "err", err)
		}
	}, nil
}

// traceErrors logs what goes wrong with traces, now and then.
type traceErrors struct {
	log  *slog.Logger
	mu   sync.Mutex
	told time.Time
}

func (t *traceErrors) Handle(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.told) < repeatTrace {
		return
	}
	t.told = time.Now()
	t.log.Warn("spans could not be exported", "err", err)
}
