package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/oktasync/oktasync/sync/engine"
)

// The contract of every call: what README's "HTTP API" says, checked over real
// HTTP. What a call does is tested beside its handler, who may call it in
// TestEveryRouteButHooksAndHealthNeedsItsToken and session_test.go, what it
// answers without Redis in health_test.go.

// shape says which fields the objects at a path of an answer have: "" is the
// answer, runs[] each of a list, progress.* each of a map. A ? marks those that may
// be missing; no others may be there.
type shape map[string]string

const (
	ofRun      = "id instance mode object? force? trigger state startedAt endedAt? progress changes errors? held? readUntil? calls secondsLeft?"
	ofProgress = "done total? objects calls rateLimitWaits"
	ofInstance = "id name accountId oktaOrgUrl factors whole inbox refreshes deadLetters changes records lastRun? problem? paused owner? epoch? log hook? coverage? held holding? drift? deadLettersEver sinks? oldestEvent? fullReadAt? rateLimits?"
	ofLog      = "readUpTo? polls events restarts problem?"
	ofSink     = "state position? whole? changes? lastChange? snapshots? failures? error? at? retryAt? wish? force? lagSeconds? note?"
	ofLetter   = "id at uuid? eventType? reason"
)

var (
	shapeOfRun      = shape{"": ofRun, "progress.*": ofProgress, "held": "total kinds?", "held.kinds.*": "deletes changes? samples", "errors[]": "scope error"}
	shapeOfInstance = shape{"": ofInstance, "log": ofLog, "lastRun": ofRun, "coverage.*": "hook log late hookDelayMax hookDelaySum logDelayMax logDelaySum hookEligible"}
)

// at returns the values at a path.
func at(v any, path string) []any {
	first, rest, _ := strings.Cut(path, ".")
	name, list := strings.CutSuffix(first, "[]")
	object, _ := v.(map[string]any)
	switch {
	case path == "":
		return []any{v}
	case first == "*":
		var all []any
		for _, key := range slices.Sorted(maps.Keys(object)) {
			all = append(all, at(object[key], rest)...)
		}
		return all
	case object[name] == nil:
		return nil
	case list:
		var all []any
		items, _ := object[name].([]any)
		for _, item := range items {
			all = append(all, at(item, rest)...)
		}
		return all
	}
	return at(object[name], rest)
}

// has checks that a JSON text has the shape.
func (sh shape) has(t *testing.T, text string) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Errorf("%v: %s", err, text)
		return
	}
	for path, fields := range sh {
		for _, o := range at(v, path) {
			object, ok := o.(map[string]any)
			if !ok {
				t.Errorf("%q is no object: %v", path, o)
				continue
			}
			left := maps.Clone(object)
			for name := range strings.FieldsSeq(fields) {
				name, optional := strings.CutSuffix(name, "?")
				if _, ok := object[name]; !ok && !optional {
					t.Errorf("%q lacks %s: %s", path, name, text)
				}
				delete(left, name)
			}
			if len(left) > 0 {
				t.Errorf("%q has fields that nobody documents: %v", path, slices.Sorted(maps.Keys(left)))
			}
		}
	}
}

// contract is one call that succeeds.
type contract struct {
	route  string // as api.Routes has it
	path   string // what is called, if the route has parameters
	body   string
	header []string
	status int
	kind   string // content type; empty: there is no body
	exact  string // the body, if it is always the same
	shape  shape
}

const (
	asJSON    = "application/json"
	asProblem = "application/problem+json"
)

// always checks what holds for every answer of the API.
func (a answer) always(t *testing.T) {
	t.Helper()
	if len(a.header.Get("X-Request-Id")) < 20 || a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Cache-Control") == "" || a.header.Get("Server") != "" {
		t.Errorf("headers: %v", a.header)
	}
	if a.status >= 400 && (a.header.Get("Content-Type") != asProblem || a.problem.Instance != "urn:oktasync:request:"+a.header.Get("X-Request-Id")) {
		t.Errorf("%d is no problem of the request: %s %s", a.status, a.header.Get("X-Request-Id"), a.body)
	}
}

func TestContractOfEveryCall(t *testing.T) {
	s := setup(t, "")
	held := s.heldRun()
	admin := []string{"Authorization", "Bearer " + adminToken}
	hook := []string{"Authorization", newSecret}
	browser := []string{"Cookie", s.cookie(), "Sec-Fetch-Site", "same-origin"}
	if got := s.call("POST", hookPath, strings.NewReader(`{"data":{"events":[7]}}`), hook...); got.status != http.StatusNoContent {
		t.Fatalf("%d %s", got.status, got.body)
	}
	var letters struct{ DeadLetters []engine.DeadLetter }
	s.until("a dead letter", func() bool {
		s.json("/admin/instances/acme/dead-letters", &letters)
		return len(letters.DeadLetters) == 1
	})
	letter := letters.DeadLetters[0].ID
	s.delivered()
	release := s.hold()
	defer release()
	busy, err := s.engine.StartRun(t.Context(), "acme", engine.Start{Trigger: "test"})
	if err != nil {
		t.Fatal(err)
	}
	script := ""
	for name := range consoleAssets() {
		if strings.HasSuffix(name, ".js") {
			script = name
		}
	}

	list := []contract{
		{"GET /healthz", "", "", nil, 200, asJSON, "", shape{"": "status redis warnings?", "redis": "embedded? version? aof fsync? eviction? usedBytes maxBytes? used"}},
		{"GET /readyz", "", "", nil, 200, asJSON, `{"status":"ready"}`, nil},
		{"GET /metrics", "", "", nil, 200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", "", nil},
		{"GET /admin", "", "", nil, 200, "text/html; charset=utf-8", "", nil},
		{"HEAD /admin", "", "", nil, 200, "text/html; charset=utf-8", "", nil},
		{"GET /admin/assets/*", "/admin/assets/" + script, "", nil, 200, "text/javascript; charset=utf-8", "", nil},
		{"HEAD /admin/assets/*", "/admin/assets/" + script, "", nil, 200, "text/javascript; charset=utf-8", "", nil},

		{"GET /hooks/okta/:instance", "", "", []string{"X-Okta-Verification-Challenge", "once"}, 200, asJSON, `{"verification":"once"}`, nil},
		{"POST /hooks/okta/:instance", "", `{"data":{"events":[]}}`, hook, 204, "", "", nil},

		{"POST /admin/session", "", `{"token":"` + adminToken + `"}`, []string{"Sec-Fetch-Site", "same-origin"}, 204, "", "", nil},
		{"GET /admin/session", "", "", browser[:2], 200, asJSON, "", shape{"": "until"}},
		{"DELETE /admin/session", "", "", browser, 204, "", "", nil},

		{"GET /admin/instances", "", "", admin, 200, asJSON, "", shape{"": "instances", "instances[]": ofInstance}},
		{"GET /admin/instances/:instance", "", "", admin, 200, asJSON, "", shapeOfInstance},
		{"GET /admin/instances/:instance/runs", "", "", admin, 200, asJSON, "", shape{"": "runs", "runs[]": ofRun}},
		{"GET /admin/runs/:run", "/admin/runs/" + held, "", admin, 200, asJSON, "", shapeOfRun},
		{"GET /admin/runs/:run/held", "/admin/runs/" + held + "/held", "", admin, 200, asJSON, "", shape{"": "held next?", "held[]": "record kind name? scope? deletes samples? asOf source cause"}},
		{"POST /admin/instances/:instance/resync", "", `{"mode":"full"}`, admin, 202, asJSON, "", shapeOfRun}, // the one at work
		{"POST /admin/runs/:run/cancel", "/admin/runs/" + busy.ID + "/cancel", "", admin, 202, asJSON, "", shapeOfRun},
		{"POST /admin/runs/:run/approve", "/admin/runs/" + held + "/approve", "", admin, 202, asJSON, "", shapeOfRun},
		{"POST /admin/instances/:instance/snapshot", "", "", admin, 202, asJSON, "", shape{"": "sinks"}},
		{"POST /admin/instances/:instance/pause", "", "", admin, 204, "", "", nil},
		{"POST /admin/instances/:instance/resume", "", "", admin, 204, "", "", nil},
		{"POST /admin/instances/:instance/hook-secrets", "", `{"secret":"one-more-hook-secret-of-the-tests"}`, admin, 200, asJSON, `{"secrets":3}`, nil},
		{"DELETE /admin/instances/:instance/hook-secrets/old", "", "", admin, 204, "", "", nil},
		{"GET /admin/instances/:instance/dead-letters", "", "", admin, 200, asJSON, "", shape{"": "deadLetters", "deadLetters[]": ofLetter}},
		{"GET /admin/instances/:instance/dead-letters/:letter", "/admin/instances/acme/dead-letters/" + letter, "", admin, 200, asJSON, "", shape{"": ofLetter + " event"}},
		{"POST /admin/instances/:instance/dead-letters/replay", "", "", admin, 200, asJSON, `{"replayed":0,"failed":1}`, nil},

		{"GET /v1/instances/:instance/graph", "", "", admin, 200, "application/x-ndjson", "", nil},
		{"GET /v1/instances/:instance/changes", "", "", admin, 200, "text/event-stream", "", nil},
		{"POST /v1/instances/:instance/query", "", `{"query":"Find okta_user","limit":1}`, admin, 200, asJSON, "", shape{"": "type columns? data cursor? warnings? version lastChange?", "data[]": "id entity properties"}},
		{"POST /v1/instance-events", "", event(map[string]any{"oktaOrgUrl": s.org.URL()}), []string{"Authorization", "Bearer " + triggerToken}, 202, asJSON, "", shapeOfRun},
		{"POST /admin/instances/:instance/forget-history", "", "", admin, 204, "", "", nil},
		{"DELETE /admin/instances/:instance", "", "", admin, 204, "", "", nil},
	}

	has := map[string]bool{}
	for _, c := range list {
		has[c.route] = true
		t.Run(c.route, func(t *testing.T) {
			s := *s
			s.t = t
			method, path, _ := strings.Cut(c.route, " ")
			if c.path != "" {
				path = c.path
			}
			path = strings.Replace(path, ":instance", "acme", 1)
			if c.kind == "text/event-stream" { // it does not end
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, method, s.url+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set(c.header[0], c.header[1])
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				answer{status: resp.StatusCode, header: resp.Header}.always(t)
				if resp.StatusCode != c.status || resp.Header.Get("Content-Type") != c.kind {
					t.Errorf("got %d %v", resp.StatusCode, resp.Header)
				}
				return
			}
			got := s.call(method, path, strings.NewReader(c.body), c.header...)
			got.always(t)
			if got.status != c.status || got.header.Get("Content-Type") != c.kind {
				t.Fatalf("got %d %q %.500s", got.status, got.header.Get("Content-Type"), got.body)
			}
			if body := strings.TrimSpace(got.body); (body == "") != (c.kind == "" || method == "HEAD") || c.exact != "" && body != c.exact {
				t.Errorf("the body is %.500s", body)
			}
			if c.shape != nil {
				c.shape.has(t, got.body)
			}
			if location := got.header.Get("Location"); (location != "") != (c.status == 202 && c.shape[""] == ofRun) || location != "" && !strings.HasPrefix(location, "/admin/runs/") {
				t.Errorf("Location: %q", location)
			}
			if c.kind == "application/x-ndjson" && (got.header.Get("Oktasync-Whole") == "" || len(lines(t, got.body)) == 0) {
				t.Errorf("the graph: %v %.300s", got.header, got.body)
			}
		})
	}
	for _, r := range s.api.Routes() {
		if !has[r.Method+" "+r.Path] {
			t.Errorf("%s %s has no contract here", r.Method, r.Path)
		}
		delete(has, r.Method+" "+r.Path)
	}
	if len(has) > 0 {
		t.Errorf("there are no such routes: %v", has)
	}
}

// Where a call takes JSON, all of them are as strict, but for instance events:
// schedulers send more than we use.
func TestBodiesOfEveryCall(t *testing.T) {
	s := setup(t, "")
	n := 0
	for _, r := range s.api.Routes() {
		if r.Method != "POST" || slices.Contains([]string{"pause", "resume", "cancel", "approve", "forget-history"}, r.Path[strings.LastIndexByte(r.Path, '/')+1:]) {
			continue // they take no body
		}
		n++
		t.Run(r.Path, func(t *testing.T) {
			s := *s
			s.t = t
			token := "Bearer " + adminToken
			switch r.Path {
			case "/hooks/okta/:instance":
				token = hookSecret
			case "/v1/instance-events":
				token = "Bearer " + triggerToken
			case "/admin/session":
				token = ""
			}
			post := func(body string) answer {
				t.Helper()
				got := s.call("POST", strings.Replace(r.Path, ":instance", "acme", 1), strings.NewReader(body), "Authorization", token, "Sec-Fetch-Site", "same-origin")
				got.always(t)
				return got
			}
			for _, body := range []string{"{", "[]", "7", `"text"`, "{}{}", "\xff", `{"mode"}`, "<xml/>", "a=b"} {
				got := post(body)
				wantProblem(t, got, http.StatusBadRequest)
				if got.problem.Detail == "" || strings.Contains(got.body, "<xml") {
					t.Errorf("%s: %s", body, got.body)
				}
			}
			if r.Path == "/hooks/okta/:instance" { // Okta may add fields
				wantProblem(t, post(strings.Repeat(" ", maxDelivery+1)), http.StatusRequestEntityTooLarge)
				return
			}
			wantProblem(t, post(strings.Repeat(" ", maxJSON+1)), http.StatusRequestEntityTooLarge)
			got := post(`{"nobody knows":1}`)
			wantProblem(t, got, http.StatusBadRequest)
			if r.Path != "/v1/instance-events" && (len(got.problem.Errors) != 1 || got.problem.Errors[0].Field != "nobody knows") {
				t.Errorf("an unknown field: %s", got.body)
			}
		})
	}
	if n != 8 {
		t.Errorf("%d calls were tried", n)
	}
}

// What has no route is told apart: by its path 404, by its method 405 with those
// that it has. Nobody needs a token to learn that.
func TestOtherMethodsAre405WithAllow(t *testing.T) {
	s := setup(t, "")
	methods := map[string][]string{}
	for _, r := range s.api.Routes() {
		methods[r.Path] = append(methods[r.Path], r.Method)
	}
	for path, known := range methods {
		sent := strings.NewReplacer(":instance", "acme", ":run", "acme-x", ":letter", "1-1", "*", "x").Replace(path)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "BREW"} {
			if slices.Contains(known, method) || method == "GET" && strings.HasSuffix(path, "/dead-letters/replay") { // a letter's path
				continue
			}
			if method == "HEAD" {
				resp, err := http.Head(s.url + sent)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") == "" {
					t.Errorf("HEAD %s: %s %v", sent, resp.Status, resp.Header)
				}
				continue
			}
			got := s.call(method, sent, nil)
			allow := strings.Split(got.header.Get("Allow"), ", ")
			slices.Sort(allow)
			if want := slices.Sorted(slices.Values(append([]string{"OPTIONS"}, known...))); !slices.Equal(allow, want) {
				t.Errorf("%s %s allows %v, want %v", method, sent, allow, want)
			}
			if method == "OPTIONS" {
				if got.status != http.StatusNoContent || got.body != "" {
					t.Errorf("OPTIONS %s: %d %s", sent, got.status, got.body)
				}
				continue
			}
			got.always(t)
			wantProblem(t, got, http.StatusMethodNotAllowed)
		}
	}
}

// The console's cookie does for every call of operators what their token does, and
// for no other. What a call changes, it changes only for a page of this host:
// formsOfOtherSites.
func TestCookieOpensWhatTheAdminTokenOpens(t *testing.T) {
	s := setup(t, "")
	cookie := s.cookie()
	for _, r := range s.api.Routes() {
		path := strings.NewReplacer(":instance", "nobody", ":run", "nobody-x", ":letter", "1-1", "*", "x").Replace(r.Path)
		if !strings.HasPrefix(r.Path, "/admin/instances") && !strings.HasPrefix(r.Path, "/admin/runs") && !strings.HasPrefix(r.Path, "/v1/instances") {
			continue
		}
		byToken := s.call(r.Method, path, nil, "Authorization", "Bearer "+adminToken)
		byCookie := s.call(r.Method, path, nil, "Cookie", cookie, "Sec-Fetch-Site", "same-origin")
		byCookie.always(t)
		if byCookie.status != byToken.status || byToken.status == http.StatusUnauthorized {
			t.Errorf("%s %s: %d by token, %d by cookie", r.Method, path, byToken.status, byCookie.status)
		}
		forged := s.call(r.Method, path, nil, "Cookie", cookie+"x", "Sec-Fetch-Site", "same-origin")
		wantProblem(t, forged, http.StatusUnauthorized)
	}
}

// What a state forbids, and what the stopping service no longer takes.
func TestRefusalsOfEveryCall(t *testing.T) {
	s := setup(t, "")
	run := s.read().ID
	s.delivered()
	admin := []string{"Authorization", "Bearer " + adminToken}
	const of = "/admin/instances/acme"
	refused := func(method, path, body string, status int, says string, header ...string) {
		t.Helper()
		got := s.call(method, path, strings.NewReader(body), append(slices.Clone(admin), header...)...)
		got.always(t)
		wantProblem(t, got, status)
		if got.status == status && !strings.Contains(got.problem.Detail, says) {
			t.Errorf("%s %s does not say %q: %s", method, path, says, got.body)
		}
	}
	for _, r := range s.api.Routes() { // a name that nobody has
		path := strings.NewReplacer(":instance", "nobody", ":run", "nobody-x", ":letter", "1-1").Replace(r.Path)
		if path == r.Path || strings.HasPrefix(path, "/hooks") {
			continue
		}
		says, body := "no such instance", ""
		switch {
		case strings.Contains(path, "/runs/"):
			says = "no such run"
		case strings.HasSuffix(path, "/query"):
			body = `{"query":"Find User"}`
		case strings.HasSuffix(path, "/hook-secrets"):
			body = `{"secret":"a-secret-for-nobody"}`
		}
		refused(r.Method, path, body, http.StatusNotFound, says)
	}
	refused("GET", of+"/dead-letters/1-1", "", http.StatusNotFound, "no such dead letter")
	refused("POST", "/admin/runs/"+run+"/cancel", "", http.StatusConflict, "over")
	refused("POST", "/admin/runs/"+run+"/approve", "", http.StatusConflict, "holds nothing")
	refused("DELETE", of+"/hook-secrets/old", `{"secret":"not-the-newest-of-the-tests"}`, http.StatusConflict, "newest")
	refused("GET", "/admin/runs/"+run+"/held?after=x", "", http.StatusBadRequest, "after")
	refused("POST", of+"/snapshot", `{"sink":"nobody"}`, http.StatusBadRequest, "sink")
	refused("POST", of+"/resync", `{"mode":"half"}`, http.StatusBadRequest, "full, sweep, incremental, verify")
	refused("POST", of+"/resync", `{"object":"nobody/x"}`, http.StatusBadRequest, "record or scope")
	refused("POST", of+"/dead-letters/replay", `{"ids":[]}`, http.StatusBadRequest, "ids")
	refused("GET", "/v1/instances/acme/graph?type="+strings.Repeat("x,", 101), "", http.StatusBadRequest, "100")
	refused("GET", "/v1/instances/acme/changes", "", http.StatusGone, "no longer kept", "Last-Event-ID", "another:1-1")
	refused("POST", "/v1/instances/acme/query", `{"query":"Find"}`, http.StatusBadRequest, "line 1")

	release := s.hold()
	busy, err := s.engine.StartRun(t.Context(), "acme", engine.Start{Trigger: "test"})
	if err != nil {
		t.Fatal(err)
	}
	refused("POST", of+"/resync", `{"mode":"verify"}`, http.StatusConflict, busy.ID)
	release()

	close(s.stopping)
	for _, r := range [][2]string{{"GET", "/readyz"}, {"POST", of + "/resync"}, {"POST", of + "/dead-letters/replay"}, {"POST", of + "/hook-secrets"}, {"GET", "/v1/instances/acme/changes"},
		{"POST", hookPath}} {
		refused(r[0], r[1], "", http.StatusServiceUnavailable, "stopping")
	}
	got := s.call("POST", "/v1/instance-events", bytes.NewReader(nil), "Authorization", "Bearer "+triggerToken)
	wantProblem(t, got, http.StatusServiceUnavailable)
	if got.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After: %q", got.header.Get("Retry-After"))
	}
}

// README names every call.
func TestREADMENamesEveryCall(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## HTTP API\n")
	section, _, _ = strings.Cut(section, "\n### ")
	var rows []string
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "|"); len(cells) == 5 {
			rows = append(rows, strings.ReplaceAll(cells[1], "{instance}", "{id}"))
		}
	}
	s := New(nil, Config{Log: slog.New(slog.DiscardHandler)})
	for _, r := range s.Routes() {
		path := strings.NewReplacer(":instance", "{id}", ":run", "{run}", ":letter", "{letter}").Replace(r.Path)
		if r.Method == "HEAD" || strings.HasPrefix(path, "/admin/assets/") { // of the console's page
			continue
		}
		parent, last := path[:strings.LastIndexByte(path, '/')], path[strings.LastIndexByte(path, '/'):]
		if !slices.ContainsFunc(rows, func(row string) bool {
			return strings.Contains(row, r.Method) && (strings.Contains(row, path+"`") || strings.Contains(row, parent+"/") && strings.Contains(row, "`"+last+"`"))
		}) {
			t.Errorf("README does not name %s %s", r.Method, path)
		}
	}
}
