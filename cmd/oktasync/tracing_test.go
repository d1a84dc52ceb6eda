package main

import (
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// collector takes spans as an OpenTelemetry collector does, over OTLP/HTTP.
type collector struct {
	t      *testing.T
	mu     sync.Mutex
	spans  []*tracepb.Span
	bodies []string // as they came, decompressed
}

// startCollector has the spans of this process exported to a collector.
func startCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{t: t}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			c.t.Error(err)
			return
		}
		body = unpacked
	}
	text, err := io.ReadAll(body)
	var request collectorpb.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(text, &request)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		c.t.Errorf("%s: %v", r.URL.Path, err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bodies = append(c.bodies, string(text))
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// child returns a span of that name below the parent, of the same trace; nil if none came yet. Without a
// parent it is the first of a trace.
func (c *collector) child(parent *tracepb.Span, name string, fits func(*tracepb.Span) bool) *tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		below := parent == nil && len(s.ParentSpanId) == 0 ||
			parent != nil && string(s.TraceId) == string(parent.TraceId) && string(s.ParentSpanId) == string(parent.SpanId)
		if s.Name == name && below && (fits == nil || fits(s)) {
			return s
		}
	}
	return nil
}

// await waits for the span.
func (c *collector) await(parent *tracepb.Span, name string, fits func(*tracepb.Span) bool) *tracepb.Span {
	c.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if s := c.child(parent, name, fits); s != nil {
			return s
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if parent == nil || string(s.TraceId) == string(parent.TraceId) {
			c.t.Logf("%s below %s, of trace %.6s, %v", s.Name, hex.EncodeToString(s.ParentSpanId), hex.EncodeToString(s.TraceId), s.Attributes)
		}
	}
	c.t.Fatalf("no span %q came", name)
	return nil
}

// number returns an attribute of a span; -1 if it has none.
func number(s *tracepb.Span, name string) int64 {
	for _, a := range s.Attributes {
		if a.Key == name {
			return a.Value.GetIntValue()
		}
	}
	return -1
}

func changed(s *tracepb.Span) bool { return number(s, "oktasync.changes") > 0 }

// One event, one trace: from the delivery through the inbox, the reading again and the
// merge to the sink. What Okta says of people, and secrets, are in no span.
func TestTraceLeadsFromTheDeliveryToTheSink(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 3, Users: 8, Groups: 3, Apps: 2, AppUsers: 4})
	c := startCollector(t)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20") // ms
	const admin, secret = "admin-token-of-the-traces", "hook-secret-of-the-traces"
	address, said := serveWith(t, "--admin-token="+admin, "--okta-client-orgurl="+org.URL(), "--okta-client-token="+org.Token(),
		"--hook-secret="+secret, "--allow-insecure-orgs", "--rate-limit-share=1", "--list-allowance=50ms", "--read-margin=10ms", "--log-poll-interval=1h")
	c.await(nil, "reconcile", nil)
	c.await(nil, "poll log", nil)
	c.await(nil, "replace", nil) // the sink has the graph
	c.await(c.await(nil, "list", c.hasChild("GET /api/v1/users")), "merge", changed)

	user, group := org.UserIDs("ACTIVE")[0], org.GroupIDs("OKTA_GROUP")[0]
	profile, err := org.UpdateProfile(user, map[string]any{"title": "Planted Title", "firstName": "Zaphod", "lastName": "Beeblebrox"})
	if err != nil {
		t.Fatal(err)
	}
	deliver := func(events []oktasim.Event) *tracepb.Span {
		t.Helper()
		before := map[string]bool{}
		c.mu.Lock()
		for _, s := range c.spans {
			before[string(s.SpanId)] = true
		}
		c.mu.Unlock()
		post(t, "http://"+address+"/hooks/okta/default", secret, string(org.DeliveryBody(events)))
		return c.await(nil, "delivery", func(s *tracepb.Span) bool { return !before[string(s.SpanId)] })
	}

	// A user's profile: the event only says that it must be read again.
	delivery := deliver(profile)
	if number(delivery, "oktasync.events") != int64(len(profile)) || number(delivery, "http.response.status_code") != 204 {
		t.Errorf("delivery: %v", delivery.Attributes)
	}
	apply := c.await(delivery, "apply", nil)
	if len(apply.Links) != 1 || string(apply.Links[0].SpanId) != string(delivery.SpanId) {
		t.Errorf("the apply links to %v", apply.Links)
	}
	refresh := c.await(c.await(apply, "merge", nil), "refresh", nil)
	if call := c.await(refresh, "GET /api/v1/users/*", nil); call.Kind != tracepb.Span_SPAN_KIND_CLIENT || number(call, "http.response.status_code") != 200 {
		t.Errorf("the call: %v", call)
	}
	c.await(c.await(refresh, "merge", changed), "deliver", nil)

	// A member: the event itself changes the graph.
	member, err := org.AddMember(group, org.UserIDs("ACTIVE")[1])
	if err != nil {
		t.Fatal(err)
	}
	if len(member) == 0 {
		t.Fatal("the user was a member before")
	}
	c.await(c.await(c.await(deliver(member), "apply", nil), "merge", changed), "deliver", nil)

	// A wrong secret costs no span.
	c.mu.Lock()
	n := 0
	for _, s := range c.spans {
		if s.Name == "delivery" {
			n++
		}
	}
	c.mu.Unlock()
	resp, err := http.Post("http://"+address+"/hooks/okta/default", "application/json", strings.NewReader("{}"))
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("%v %v", resp, err)
	}
	resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()

	planted := []string{secret, admin, org.Token(), "Planted", "Zaphod", "Beeblebrox", strings.TrimPrefix(org.URL(), "http://")}
	for _, u := range org.Snapshot().Users {
		var user struct {
			Profile struct{ Login, Email, LastName string }
		}
		if err := json.Unmarshal(u, &user); err != nil || user.Profile.Login == "" {
			t.Fatalf("%v: %s", err, u)
		}
		planted = append(planted, user.Profile.Login, user.Profile.Email, user.Profile.LastName)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := strings.Join(c.bodies, "")
	for _, p := range planted {
		if strings.Contains(all, p) {
			t.Errorf("a span holds %q", p)
		}
	}
	if !strings.Contains(all, user) || strings.Contains(said(), "could not be exported") {
		t.Errorf("the id of the user is in no span, or: %s", said())
	}
	deliveries := 0
	for _, s := range c.spans {
		if s.Name == "delivery" {
			deliveries++
		}
	}
	if n != 2 || deliveries != n {
		t.Errorf("%d deliveries, then %d", n, deliveries)
	}
}

// hasChild tells whether a span has one of that name below it.
func (c *collector) hasChild(name string) func(*tracepb.Span) bool {
	return func(parent *tracepb.Span) bool { // called with the lock
		return slices.ContainsFunc(c.spans, func(s *tracepb.Span) bool {
			return s.Name == name && string(s.ParentSpanId) == string(parent.SpanId)
		})
	}
}

// What was not exported yet at the end is exported then.
func TestStopExportsTheLastSpans(t *testing.T) {
	c := startCollector(t)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000") // ms
	t.Setenv("OTEL_SERVICE_NAME", "named-by-the-test")
	stop, err := startTracing(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, span := otel.Tracer("test").Start(t.Context(), "the last one")
	span.End()
	stop()
	if c.child(nil, "the last one", nil) == nil || !strings.Contains(strings.Join(c.bodies, ""), "named-by-the-test") {
		t.Errorf("got %v", c.spans)
	}
}

func TestWithoutAVariableNothingIsTraced(t *testing.T) {
	for name, want := range map[string]bool{"": false, "OTEL_SERVICE_NAME": false, "OTEL_TRACES_EXPORTER": true,
		"OTEL_EXPORTER_OTLP_ENDPOINT": true, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": true} {
		t.Run(name, func(t *testing.T) {
			if name != "" {
				t.Setenv(name, "x")
			}
			if got := tracesWanted(); got != want {
				t.Errorf("traces are wanted: %v, want %v", got, want)
			}
			t.Setenv("OTEL_SDK_DISABLED", "true")
			if tracesWanted() {
				t.Error("traces are wanted though the SDK is disabled")
			}
		})
	}
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	stop, err := startTracing(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	t.Setenv("OTEL_TRACES_EXPORTER", "no-such-exporter")
	if _, err := startTracing(t.Context(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("an unknown exporter is taken")
	}
}
