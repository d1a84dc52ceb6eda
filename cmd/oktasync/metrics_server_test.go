package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/redis/go-redis/v9"

	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
	"github.com/oktasync/oktasync/sync/sink/jupiterone/j1sim"
)

const (
	dashboard = "../../deploy/grafana/oktasync.json"
	alerts    = "../../deploy/prometheus/alerts.yml"
)

// expressions returns what the dashboard asks Prometheus, with values for its variables.
func expressions(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title, Type, Description string
			Targets                  []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range board.Panels {
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q does not say what to look at, or asks nothing", p.Title)
		}
		for _, target := range p.Targets {
			all = append(all, strings.NewReplacer("$__rate_interval", "5m", "$org", "acme", "$replica", ".*").Replace(target.Expr))
		}
	}
	if len(all) < 50 {
		t.Fatalf("only %d expressions", len(all))
	}
	return all
}

// alertTests are the files of tests for the alerts.
func alertTests(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(strings.Replace(alerts, ".yml", "*_test.yml", 1))
	if err != nil || len(files) != 2 {
		t.Fatalf("tests of alerts: %v, %v", files, err)
	}
	return files
}

// promtool runs Prometheus's own checks; deploy/test.sh installs it.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%.4000s", strings.Join(args, " "), err, out)
	}
}

func TestAlertRulesAndDashboardAreUnderstoodByPrometheus(t *testing.T) {
	promtool(t, "check", "rules", "--lint-fatal", alerts)
	promtool(t, append([]string{"test", "rules"}, alertTests(t)...)...)

	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for i, e := range expressions(t) {
		rules = append(rules, rule{fmt.Sprintf("panel:%d", i), e})
	}
	// What is JSON is YAML too.
	text, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}

var (
	alertName  = regexp.MustCompile(`(?m)^ *- alert: (\w+)$`)
	metricName = regexp.MustCompile(`\b(oktasync|process|go)_[a-z0-9_]+`)
)

// rules returns the alert rules, by name.
func rules(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(alerts)
	if err != nil {
		t.Fatal(err)
	}
	at := alertName.FindAllStringSubmatchIndex(string(text), -1)
	all := map[string]string{}
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		all[string(text[m[2]:m[3]])] = string(text[m[0]:end])
	}
	if len(all) < 20 {
		t.Fatalf("only %d alerts", len(all))
	}
	return all
}

func TestEveryAlertHasItsPlaceInTheRunbook(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	for _, file := range alertTests(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tests.Write(text)
	}
	for name, rule := range rules(t) {
		if !strings.Contains(string(readme), `id="alert-`+name+`"`) {
			t.Errorf(`the README's runbook has no id="alert-%s"`, name)
		}
		for _, part := range []string{"severity: ", "summary: ", "description: ", "runbook_url: https://github.com/oktasync/oktasync#alert-" + name + "\n"} {
			if !strings.Contains(rule, part) {
				t.Errorf("%s has no %s", name, part)
			}
		}
		if !strings.Contains(tests.String(), "alertname: "+name+"\n        exp_alerts:\n") || !strings.Contains(tests.String(), "alertname: "+name+"\n        exp_alerts: []") {
			t.Errorf("no test has %s fire, or none has it not fire", name)
		}
	}
}

// scrape reads the metrics at a URL, and returns the names of those there are.
func scrape(t *testing.T, url string) []string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	var names []string
	for name, family := range families {
		names = append(names, name)
		if family.GetHelp() == "" {
			t.Errorf("%s has no help", name)
		}
	}
	return names
}

// status asks for a path and returns the status and the beginning of the answer.
func status(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// A service with all its parts and some activity has every metric that the
// dashboard and the alerts name; on the port of the metrics alone.
func TestEveryMetricOfDashboardAndAlertsIsThere(t *testing.T) {
	wanted := map[string]bool{}
	for _, e := range expressions(t) {
		for _, name := range metricName.FindAllString(e, -1) {
			wanted[name] = true
		}
	}
	for _, rule := range rules(t) {
		expr, _, _ := strings.Cut(rule, "labels:\n")
		for _, name := range metricName.FindAllString(expr, -1) {
			wanted[name] = true
		}
	}
	if len(wanted) < 60 {
		t.Fatalf("only %d metrics are named", len(wanted))
	}

	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	options, err := redis.ParseURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(options)
	defer rdb.Close()
	if err := rdb.ConfigSet(t.Context(), "maxmemory", "512mb").Err(); err != nil {
		t.Fatal(err)
	}
	const admin, secret = "admin-token-of-the-metrics", "hook-secret-of-the-metrics"
	j1, err := j1sim.Start(j1sim.Config{Account: "account", Key: "the-key-of-jupiterone"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j1.Close() })
	org := oktasim.New(t, oktasim.Config{Seed: 4, Users: 10, Groups: 3, Apps: 2, AppUsers: 4})
	address, said := serveWith(t, "--redis-url="+server.URL, "--secret-key="+key, "--trigger-token=trigger-token-of-the-metrics",
		"--admin-token="+admin, "--okta-client-orgurl="+org.URL(), "--okta-client-token="+org.Token(), "--hook-secret="+secret,
		"--allow-insecure-orgs", "--rate-limit-share=1", "--list-allowance=50ms", "--read-margin=10ms", "--log-poll-interval=1s",
		"--sinks=sql:oktasync.db,jupiterone", "--jupiterone-account=account", "--jupiterone-api-key=the-key-of-jupiterone",
		"--jupiterone-api-base-url="+j1.URL(), "--jupiterone-window=100ms", "--metrics-listen=127.0.0.1:0")
	defer http.DefaultClient.CloseIdleConnections()
	m := regexp.MustCompile(`msg="metrics and profiles are served" address=(\S+)`).FindStringSubmatch(said())
	if m == nil {
		t.Fatalf("metrics are not served: %s", said())
	}
	main, metrics := "http://"+address, "http://"+m[1]

	until := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(40 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("waited in vain for %s: %s", what, said())
			}
		}
	}
	has := func(text string) func() bool {
		return func() bool {
			_, got := status(t, metrics+"/metrics")
			return strings.Contains(got, text)
		}
	}
	until("the graph to be whole", has(`oktasync_whole{org="default"} 1`))
	until("the sinks to follow", func() bool {
		_, got := status(t, metrics+"/metrics")
		return strings.Count(got, `state="following"} 1`) == 2
	})
	events, err := org.UpdateProfile(org.UserIDs("ACTIVE")[0], map[string]any{"title": "Somebody New"})
	if err != nil {
		t.Fatal(err)
	}
	post(t, main+"/hooks/okta/default", secret, string(org.DeliveryBody(events)))
	// One more, which the log brings first and the hook afterwards.
	late, err := org.UpdateProfile(org.UserIDs("ACTIVE")[1], map[string]any{"title": "Somebody Late"})
	if err != nil {
		t.Fatal(err)
	}
	until("the log to bring an event first", has(`event_type="user.account.update_profile",org="default",source="log"} 1`))
	post(t, main+"/hooks/okta/default", secret, string(org.DeliveryBody(late)))
	req, err := http.NewRequestWithContext(t.Context(), "POST", main+"/admin/instances/default/resync", strings.NewReader(`{"mode":"verify"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+admin)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%v %v", resp, err)
	}
	resp.Body.Close()

	var missing []string
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		there := map[string]bool{}
		for _, name := range scrape(t, metrics+"/metrics") {
			for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
				there[name+suffix] = true
			}
		}
		missing = nil
		for name := range wanted {
			if !there[name] {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 || time.Now().After(deadline) {
			break
		}
	}
	slices.Sort(missing)
	for _, name := range missing {
		t.Errorf("no metric %s", name)
	}

	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/goroutine"} {
		if got, _ := status(t, main+path); got != http.StatusNotFound {
			t.Errorf("%s on the main port: %d", path, got)
		}
	}
	if got, text := status(t, metrics+"/debug/pprof/goroutine?debug=1"); got != http.StatusOK || !strings.Contains(text, "goroutine profile") {
		t.Errorf("a profile: %d %.100s", got, text)
	}
	for _, path := range []string{"/admin/instances", "/hooks/okta/default", "/"} {
		if got, _ := status(t, metrics+path); got != http.StatusNotFound {
			t.Errorf("%s on the port of the metrics: %d", path, got)
		}
	}
	for _, private := range []string{secret, admin, org.Token(), strings.TrimPrefix(org.URL(), "http://"), "Somebody"} {
		if _, text := status(t, metrics+"/metrics"); strings.Contains(text, private) {
			t.Errorf("the metrics hold %q", private)
		}
	}
}

// Without an address of their own the metrics are on the main port; profiles are nowhere.
func TestMetricsOnTheMainPortHaveNoProfiles(t *testing.T) {
	address, _ := serveWith(t, "--sinks=none")
	defer http.DefaultClient.CloseIdleConnections()
	if names := scrape(t, "http://"+address+"/metrics"); !slices.Contains(names, "oktasync_up") || !slices.Contains(names, "oktasync_build_info") {
		t.Errorf("got %v", names)
	}
	if got, _ := status(t, "http://"+address+"/debug/pprof/"); got != http.StatusNotFound {
		t.Errorf("profiles: %d", got)
	}
}
