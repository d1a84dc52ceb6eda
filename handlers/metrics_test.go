package handlers

import (
	"net/http"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/oktasync/oktasync/sync/engine"
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
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(got.body))
	if err != nil {
		s.t.Fatal(err)
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
	if acme("event_delay_max_seconds", "event_type", "user.account.update_profile", "source", "hook") < 0 ||
		acme("events_late_total", "event_type", "user.account.update_profile") < 0 {
		t.Error("no delay, or no late events")
	}
	if s.metrics(); strings.Contains(s.call("GET", "/metrics", nil).body, "zz.made.up") {
		t.Error("a type that Okta may make up is a label")
	}
	if m["go_goroutines"] == nil {
		t.Error("nothing of the process itself")
	}
}
