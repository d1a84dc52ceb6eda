package handlers

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/redis/go-redis/v9"

	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// scraped is what one scrape brought, by name.
type scraped map[string]*dto.MetricFamily

// metrics scrapes the service, as Prometheus does.
func (s *service) metrics() scraped {
	s.t.Helper()
	got := s.call("GET", "/metrics", nil)
	if got.status != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") {
		s.t.Fatalf("metrics: %d %s %s", got.status, got.header.Get("Content-Type"), got.body)
	}
	return parseMetrics(s.t, got.body)
}

func parseMetrics(t *testing.T, text string) scraped {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// find returns the metric with the labels, which are pairs; nil if there is none.
func (m scraped) find(name string, labels ...string) *dto.Metric {
	for _, metric := range m[name].GetMetric() {
		has := map[string]string{}
		for _, l := range metric.GetLabel() {
			has[l.GetName()] = l.GetValue()
		}
		fits := len(has) == len(labels)/2
		for i := 0; i < len(labels); i += 2 {
			fits = fits && has[labels[i]] == labels[i+1]
		}
		if fits {
			return metric
		}
	}
	return nil
}

// value returns the value of a gauge or counter; -1 if there is none.
func (m scraped) value(name string, labels ...string) float64 {
	metric := m.find(name, labels...)
	switch {
	case metric == nil:
		return -1
	case metric.GetCounter() != nil:
		return metric.GetCounter().GetValue()
	default:
		return metric.GetGauge().GetValue()
	}
}

func TestMetricsTellTheStateOfEachInstance(t *testing.T) {
	s := setup(t, "")
	s.post("/admin/instances/acme/pause", "", adminToken)
	before := s.metrics()
	for name, want := range map[string]float64{"whole": 0, "paused": 1, "owned": 1, "problem": 0, "inbox_events": 0, "dead_letters_total": 0} {
		if got := before.value("oktasync_"+name, "org", "acme"); got != want {
			t.Errorf("before the first read: %s = %v, want %v", name, got, want)
		}
	}
	if before.value("oktasync_up") != 1 || before["oktasync_last_run_state"] != nil || before["oktasync_drift_records"] != nil {
		t.Errorf("before the first read: up %v, run %v, drift %v", before.value("oktasync_up"), before["oktasync_last_run_state"], before["oktasync_drift_records"])
	}
	s.post("/admin/instances/acme/resume", "", adminToken)

	s.read()
	s.call("POST", "/hooks/okta/acme", strings.NewReader(`{"data":{"events":[{"uuid":5}]}}`), "Authorization", hookSecret)
	events, err := s.org.UpdateProfile(s.org.UserIDs("ACTIVE")[0], map[string]any{"title": "Somebody New"})
	if err != nil {
		t.Fatal(err)
	}
	events = append(events, s.org.Emit("zz.made.up", "User", s.org.UserIDs()[0])) // of which nobody knows
	if got := s.call("POST", "/hooks/okta/acme", strings.NewReader(string(s.org.DeliveryBody(events))), "Authorization", hookSecret); got.status != http.StatusNoContent {
		t.Fatalf("%d %s", got.status, got.body)
	}
	verify := s.post("/admin/instances/acme/resync", `{"mode":"verify"}`, adminToken)
	id := strings.TrimPrefix(verify.header.Get("Location"), "/admin/runs/")
	s.until("the verify to end and the event to be applied", func() bool {
		status := s.status()
		return s.run(id).EndedAt != nil && status.Inbox == 0 && status.Refreshes == 0
	})

	status, m := s.status(), s.metrics()
	acme := func(name string, labels ...string) float64 {
		return m.value("oktasync_"+name, append([]string{"org", "acme"}, labels...)...)
	}
	for name, want := range map[string]float64{
		"whole": 1, "paused": 0, "owned": 1, "problem": 0, "inbox_events": 0, "refresh_objects": 0, "held_records": 0,
		"dead_letters_kept": 1, "dead_letters_total": 1, "log_restarts_total": 0, "log_problem": 0,
		"drift_records": 0, "last_run_changed_records": float64(status.LastRun.Changes),
		"last_run_duration_seconds": status.LastRun.EndedAt.Sub(status.LastRun.StartedAt).Seconds(),
	} {
		if got := acme(name); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	for kind, n := range status.Records {
		if got := acme("records", "kind", kind); got != float64(n) {
			t.Errorf("records of kind %s = %v, want %d", kind, got, n)
		}
	}
	if status.Records["user"] == 0 || acme("log_polls_total") < 1 || acme("log_read_up_to_age_seconds") > 60 || acme("drift_timestamp_seconds") < 1e9 ||
		acme("last_run_start_timestamp_seconds") < 1e9 {
		t.Errorf("got %v", m)
	}
	ones := 0.0
	for _, state := range runStates {
		ones += acme("last_run_state", "state", string(state))
	}
	if acme("last_run_state", "state", string(engine.RunSucceeded)) != 1 || ones != 1 {
		t.Errorf("the last run, a %s %s, has %v states", status.LastRun.Mode, status.LastRun.State, ones)
	}

	// The events came by the hook, before the log could tell of them; or not:
	// the log is polled at its own time.
	counted := uint64(0)
	for _, source := range []string{"hook", "log"} {
		metric := m.find("oktasync_event_delay_seconds", "org", "acme", "event_type", "user.account.update_profile", "source", source)
		counted += metric.GetSummary().GetSampleCount()
	}
	if counted != 1 {
		t.Errorf("the event was counted %d times", counted)
	}
	// A source by which no event of a type came has no series.
	for eventType, c := range status.Coverage {
		for source, n := range map[string]int64{"hook": c.Hook, "log": c.Log} {
			delay := m.find("oktasync_event_delay_seconds", "org", "acme", "event_type", eventType, "source", source)
			longest := m.value("oktasync_event_delay_max_seconds", "org", "acme", "source", source)
			if (delay != nil) != (n > 0) || n > 0 && longest < 0 {
				t.Errorf("%d events %s by %s have the delay %v, at most %v", n, eventType, source, delay, longest)
			}
		}
		if late := m.find("oktasync_events_late_total", "org", "acme", "event_type", eventType); (late != nil) != (c.Late > 0) {
			t.Errorf("%d late events %s: %v", c.Late, eventType, late)
		}
	}
	if s.metrics(); strings.Contains(s.call("GET", "/metrics", nil).body, "zz.made.up") {
		t.Error("a type that Okta may make up is a label")
	}
	if m["go_goroutines"] == nil {
		t.Error("nothing of the process itself")
	}
}

// Many instances are all there, and one that cannot be read takes only its own
// series with it: up tells of Redis, not of an instance.
func TestMetricsOfManyInstances(t *testing.T) {
	const many = 1000
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	instruments := NewInstruments("", "", "")
	eng, err := engine.New(t.Context(), engine.Config{RedisURL: server.URL, SecretKey: bytes.Repeat([]byte{7}, 32), Observe: instruments.Engine()})
	if err != nil {
		t.Fatal(err)
	}
	defer eng.Close()
	for n := range many {
		if err := eng.Register(t.Context(), engine.Instance{ID: fmt.Sprint("org", n), Name: "Org", OrgURL: "https://org.okta.com", Token: "token"}); err != nil {
			t.Fatal(err)
		}
	}
	e := New(eng, Config{AdminToken: adminToken, Instruments: instruments, Log: slog.New(slog.DiscardHandler)})
	scrape := func() scraped {
		t.Helper()
		rec := newRecorder()
		e.ServeHTTP(rec, newRequest("GET", "/metrics", nil))
		return parseMetrics(t, rec.Body.String())
	}
	check := func(m scraped, up, unread, orgs int) {
		t.Helper()
		if got := m.value("oktasync_up"); got != float64(up) {
			t.Errorf("up = %v, want %d", got, up)
		}
		if got := m.value("oktasync_status_errors"); got != float64(unread) {
			t.Errorf("status_errors = %v, want %d", got, unread)
		}
		if got := len(m["oktasync_whole"].GetMetric()); got != orgs {
			t.Errorf("%d instances have series, want %d", got, orgs)
		}
	}
	check(scrape(), 1, 0, many)

	rec := newRecorder()
	req := newRequest("GET", "/admin/instances?fields=summary", nil)
	req.Header.Set("Authorization", "Bearer "+adminToken)
	e.ServeHTTP(rec, req)
	if n := strings.Count(rec.Body.String(), `"oktaOrgUrl"`); rec.Code != http.StatusOK || n != many {
		t.Errorf("the list has %d instances: %d", n, rec.Code)
	}

	options, err := redis.ParseURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(options)
	defer rdb.Close()
	if err := rdb.Set(t.Context(), "oktasync:{org7}:changes", "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	m := scrape()
	check(m, 1, 1, many-1)
	if m.find("oktasync_whole", "org", "org7") != nil || m.find("oktasync_whole", "org", "org8") == nil {
		t.Error("the series of another instance are missing")
	}
	server.Kill()
	check(scrape(), 0, -1, 0)
}

// What a list of many must be short of: see engine.InstanceStatus.Summary.
func TestSummaryOfInstances(t *testing.T) {
	s := setup(t, "")
	s.activity()
	var full, short struct{ Instances []engine.InstanceStatus }
	s.json("/admin/instances", &full)
	s.json("/admin/instances?fields=summary", &short)
	if len(full.Instances) != 1 || len(full.Instances[0].Coverage) < 10 || len(full.Instances[0].RateLimits) < 3 {
		t.Fatalf("the list is short already: %+v", full.Instances)
	}
	if len(short.Instances) != 1 || len(short.Instances[0].Coverage) != 1 || len(short.Instances[0].RateLimits) > 1 || short.Instances[0].LastRun == nil {
		t.Errorf("got %+v", short.Instances)
	}
	if body := s.get("/admin/instances?fields=summary").body; len(body) > 2048 {
		t.Errorf("%d bytes of one instance: %s", len(body), body)
	}
	wantProblem(t, s.get("/admin/instances?fields=x"), http.StatusBadRequest)

	// Prometheus must bear a thousand of them, from each replica.
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector{s.engine, NewInstruments("", "", ""), slog.New(slog.DiscardHandler)})
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := 0
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if series++; metric.GetSummary() != nil {
				series++ // a sum and a count
			}
		}
	}
	if types := len(full.Instances[0].Coverage); series > 100+2*types {
		t.Errorf("an instance that knows %d types of events has %d series, more than metrics.go tells", types, series)
	}
}

// activity reads acme and has it take events of many types in.
func (s *service) activity() {
	s.t.Helper()
	s.read()
	s.org.MutateKinds(oktasim.LogKinds())
	events := slices.DeleteFunc(s.org.Mutate(200), func(e oktasim.Event) bool { return !e.HookEligible })
	for part := range slices.Chunk(events, 50) {
		if got := s.call("POST", "/hooks/okta/acme", strings.NewReader(string(s.org.DeliveryBody(part))), "Authorization", hookSecret); got.status != http.StatusNoContent {
			s.t.Fatalf("%d %s", got.status, got.body)
		}
	}
	s.until("the events to be applied", func() bool {
		status := s.status()
		return status.Inbox == 0 && len(status.RateLimits) >= 3 // they are told every few seconds: not only what came first
	})
}
