package handlers

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

// count returns how many values a histogram holds that has all the labels, which
// are pairs; of several, their sum.
func (m scraped) count(name string, labels ...string) (n uint64) {
	for _, metric := range m[name].GetMetric() {
		if hasLabels(metric, labels) {
			n += metric.GetHistogram().GetSampleCount()
		}
	}
	return n
}

// sum is the sum of the counters that have all the labels.
func (m scraped) sum(name string, labels ...string) (n float64) {
	for _, metric := range m[name].GetMetric() {
		if hasLabels(metric, labels) {
			n += metric.GetCounter().GetValue()
		}
	}
	return n
}

func hasLabels(metric *dto.Metric, pairs []string) bool {
	for i := 0; i < len(pairs); i += 2 {
		if !slices.ContainsFunc(metric.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == pairs[i] && l.GetValue() == pairs[i+1] }) {
			return false
		}
	}
	return true
}

func TestMetricsTellWhatTheProcessDid(t *testing.T) {
	s := setup(t, "")
	s.read()
	s.until("the sink to have the graph", func() bool { return s.status().Sinks[s.db.Name()].Snapshots > 0 })
	events, err := s.org.UpdateProfile(s.org.UserIDs("ACTIVE")[0], map[string]any{"title": "Somebody New"})
	if err != nil {
		t.Fatal(err)
	}
	body := string(s.org.DeliveryBody(events))
	for _, try := range []struct {
		path, secret string
		status       int
	}{
		{"/hooks/okta/acme", hookSecret, http.StatusNoContent},
		{"/hooks/okta/acme", "wrong", http.StatusUnauthorized},
		{"/hooks/okta/nobody", hookSecret, http.StatusNotFound},
	} {
		if got := s.call("POST", try.path, strings.NewReader(body), "Authorization", try.secret); got.status != try.status {
			t.Fatalf("%s: %d %s", try.path, got.status, got.body)
		}
	}
	s.call("POST", "/hooks/okta/acme", strings.NewReader("{"), "Authorization", hookSecret)
	s.until("the event to be applied, the change delivered and the limits kept", func() bool {
		status := s.status()
		return status.Inbox == 0 && status.Refreshes == 0 && len(status.RateLimits) > 0 && status.Sinks[s.db.Name()].Changes > 0
	})

	m := s.metrics()
	for name, got := range map[string]float64{
		"deliveries taken":             m.sum("oktasync_deliveries_total", "org", "acme", "status", "204") - 1,
		"deliveries that are none":     m.sum("oktasync_deliveries_total", "org", "acme", "status", "400") - 1,
		"wrong secrets":                m.sum("oktasync_deliveries_total", "org", "", "status", "401") - 1,
		"deliveries for no instance":   m.sum("oktasync_deliveries_total", "org", "", "status", "404") - 1,
		"requests of the hook's route": float64(m.count("oktasync_http_request_duration_seconds", "route", "/hooks/okta/:instance", "method", "POST")) - 4,
		"events applied":               float64(m.count("oktasync_event_published_to_applied_seconds", "org", "acme", "source", "hook")+m.count("oktasync_event_published_to_applied_seconds", "org", "acme", "source", "log")) - float64(len(events)),
		"runs":                         m.sum("oktasync_runs_total", "org", "acme", "mode", "full", "state", "succeeded") - 1,
		"durations of runs":            float64(m.count("oktasync_run_duration_seconds", "org", "acme", "mode", "full")) - 1,
		"build":                        m.value("oktasync_build_info", "version", "v1.2.3", "revision", "abc", "goversion", "go1") - 1,
		"oldest event":                 m.value("oktasync_inbox_oldest_age_seconds", "org", "acme"),
		"redis errors":                 m.sum("oktasync_redis_errors_total"),
	} {
		if got != 0 {
			t.Errorf("%s: %v too many", name, got)
		}
	}
	for name, got := range map[string]float64{
		"refreshes asked":  m.sum("oktasync_refreshes_asked_total", "org", "acme", "reason", "event"),
		"refreshes done":   m.sum("oktasync_refreshes_total", "org", "acme", "result", "done"),
		"calls":            m.sum("oktasync_okta_calls_total", "org", "acme", "bucket", "users", "status", "200"),
		"time of calls":    float64(m.count("oktasync_okta_call_duration_seconds", "org", "acme", "bucket", "users/*")),
		"merges":           float64(m.count("oktasync_redis_script_duration_seconds", "script", "merge")),
		"accepts":          float64(m.count("oktasync_redis_script_duration_seconds", "script", "accept")),
		"delivered":        float64(m.count("oktasync_sink_delivery_seconds", "org", "acme", "sink", s.db.Name())),
		"full read":        m.value("oktasync_full_read_timestamp_seconds", "org", "acme") - 1e9,
		"limit":            m.value("oktasync_rate_limit_calls", "org", "acme", "bucket", "users"),
		"share":            m.value("oktasync_rate_limit_share_ratio", "org", "acme", "bucket", "users"),
		"left":             m.value("oktasync_rate_limit_remaining_calls", "org", "acme", "bucket", "users"),
		"events that hook": 1 + m.value("oktasync_hook_eligible_events_total", "org", "acme", "source", "hook"),
	} {
		if got <= 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
	if took := m.find("oktasync_event_published_to_applied_seconds", "org", "acme", "source", "hook").GetHistogram().GetSampleSum(); took > 60 {
		t.Errorf("an event took %v s", took)
	}
}

// An alert on the first failures needs that they were counted before: as none.
func TestFailuresAreCountedFromZero(t *testing.T) {
	s := setup(t, "")
	s.read()
	m := s.metrics()
	for what, got := range map[string]float64{
		"failed deliveries":          m.value("oktasync_deliveries_total", "org", "acme", "status", "503"),
		"deliveries that broke":      m.value("oktasync_deliveries_total", "org", "acme", "status", "500"),
		"failures without instance":  m.value("oktasync_deliveries_total", "org", "", "status", "503"),
		"wrong secrets":              m.value("oktasync_deliveries_total", "org", "", "status", "401"),
		"deliveries for no instance": m.value("oktasync_deliveries_total", "org", "", "status", "404"),
		"calls that Okta refused":    m.value("oktasync_okta_calls_total", "org", "acme", "bucket", "users", "status", "429"),
	} {
		if got != 0 {
			t.Errorf("%s: %v, want 0", what, got)
		}
	}
}

// What is deleted leaves no series behind, of the process neither.
func TestSeriesOfADeletedInstanceGo(t *testing.T) {
	s := setup(t, "")
	s.read()
	series := func() (n int) {
		for _, family := range s.metrics() {
			for _, metric := range family.GetMetric() {
				if hasLabels(metric, []string{"org", "acme"}) {
					n++
				}
			}
		}
		return n
	}
	if m := s.metrics(); series() == 0 || m.sum("oktasync_okta_calls_total", "org", "acme") == 0 || m.count("oktasync_run_duration_seconds", "org", "acme") == 0 {
		t.Fatalf("%d series of the instance", series())
	}
	if got := s.call("DELETE", "/admin/instances/acme", nil, "Authorization", "Bearer "+adminToken); got.status != http.StatusNoContent {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	s.until("the series to be gone", func() bool { return series() == 0 })
	if s.metrics().find("oktasync_build_info", "version", "v1.2.3", "revision", "abc", "goversion", "go1") == nil {
		t.Error("more is gone than the instance's")
	}
}

// Who calls must not decide how many series there are, nor put words into them.
func TestCallersMakeNoLabels(t *testing.T) {
	s := setup(t, "")
	for i := range 20 {
		made := fmt.Sprintf("made-up-%d", i)
		s.call("POST", "/hooks/okta/"+made, strings.NewReader("{}"), "Authorization", made)
		s.call("GET", "/"+made+"/x", nil)
		s.call("GET", "/admin/"+made, nil)
		s.call("DELETE", "/hooks/okta/"+made, nil)
		s.call(strings.ToUpper(made), "/hooks/okta/acme", nil)
	}
	body := s.call("GET", "/metrics", nil).body
	if strings.Contains(strings.ToLower(body), "made-up") {
		t.Error("a caller's word is in the metrics")
	}
	if !strings.Contains(body, `method="other"`) || !strings.Contains(body, `route="none"`) {
		t.Error("what is not known is not counted as such")
	}
	if n := len(s.metrics()["oktasync_http_request_duration_seconds"].GetMetric()); n > 12 {
		t.Errorf("%d series of requests", n)
	}
}

func TestMetricsApartAreNotOnThePortOfTheRest(t *testing.T) {
	e := New(nil, Config{MetricsApart: true, Log: slog.New(slog.DiscardHandler)})
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap"} {
		rec := newRecorder()
		e.ServeHTTP(rec, newRequest("GET", path, nil))
		if rec.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
}
