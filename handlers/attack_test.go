package handlers

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/redis/go-redis/v9"

	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// What attackers send, over real TCP, and the right answer. Guessing of tokens and
// forged cookies are in session_test.go.

// victim is a service that is attacked: no answer and no line of its log may hold
// a secret, or somebody of the org.
type victim struct {
	*service
	redis  string // its URL; empty: embedded
	client *http.Client
	hidden []string
}

// in returns the same victim for a part of the test.
func (v *victim) in(t *testing.T) *victim {
	s, in := *v.service, *v
	s.t, in.service = t, &s
	in.hidden = slices.Clone(v.hidden)
	return &in
}

type attacks []struct {
	name   string
	attack func(*testing.T, *victim)
}

func (list attacks) run(t *testing.T, v *victim) {
	for _, a := range list {
		t.Run(a.name, func(t *testing.T) { a.attack(t, v.in(t)) })
	}
	v.hides("the log", v.log.String())
	for line := range strings.Lines(v.log.String()) {
		if strings.Contains(line, "request failed") || strings.Contains(line, "panicked") {
			t.Errorf("an attack is logged as an error of the service: %s", line)
		}
	}
}

func TestAttacks(t *testing.T) {
	attacks{
		{"forged deliveries", forgedDeliveries},
		{"replayed deliveries", replayedDeliveries},
		{"garbage", garbageRequests},
		{"broken HTTP", brokenHTTP},
		{"hosts and overrides", hostsAndOverrides},
		{"challenges", challenges},
		{"huge bodies", hugeBodies},
		{"packed bodies", packedBodies},
		{"odd JSON", oddJSON},
		{"wrong tokens", wrongTokens},
		{"forms of other sites", formsOfOtherSites},
		{"org URLs", orgURLs},
		{"queries that explode", explodingQueries},
	}.run(t, attack(t, ""))
}

// What depends on Redis: the keys that a path may reach, and its connections.
func TestAttacksOnRedis(t *testing.T) {
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	attacks{
		{"tricks in paths", tricksInPaths},
		{"many streams", manyStreams},
	}.run(t, attack(t, server.URL))
}

// attack starts a service whose graph is whole.
func attack(t *testing.T, redisURL string) *victim {
	t.Helper()
	v := &victim{service: setup(t, redisURL), redis: redisURL}
	v.read()
	v.client = &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 32, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       20 * time.Second,
	}
	v.hidden = []string{adminToken, triggerToken, hookSecret, newSecret, v.org.Token()}
	for _, raw := range v.org.Snapshot().Users {
		var u struct{ Profile struct{ Login string } }
		if err := json.Unmarshal(raw, &u); err != nil || u.Profile.Login == "" {
			t.Fatalf("a user without a login: %s", raw)
		}
		v.hidden = append(v.hidden, u.Profile.Login)
	}
	t.Cleanup(v.client.CloseIdleConnections)
	return v
}

// hides checks that a text shows nothing that is not for attackers.
func (v *victim) hides(what, text string) {
	v.t.Helper()
	for _, secret := range v.hidden {
		if i := strings.Index(text, secret); i >= 0 {
			v.t.Errorf("%s shows %q: …%s", what, secret, text[max(0, i-200):min(len(text), i+100)])
		}
	}
}

// send sends a request on a connection that is kept; headers are pairs.
func (v *victim) send(method, path string, body io.Reader, headers ...string) answer {
	v.t.Helper()
	req, err := http.NewRequest(method, v.url, body)
	if err != nil {
		v.t.Error(err)
		return answer{}
	}
	// As it stands: what a URL of Go would put in order is an attack too.
	req.URL.Opaque, req.URL.RawQuery, _ = strings.Cut(path, "?")
	if strings.HasPrefix(path, "//") { // else it would be a host
		req.URL.Opaque = "//" + req.URL.Host + req.URL.Opaque
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := v.client.Do(req)
	if err != nil {
		v.t.Errorf("%s %.100s: no answer: %v", method, path, err)
		return answer{}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Errorf("%s %.100s: %v", method, path, err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(text)}
	if resp.Header.Get("Content-Type") == "application/problem+json" && method != http.MethodHead {
		if err := json.Unmarshal(text, &a.problem); err != nil {
			v.t.Errorf("%s: %v", text, err)
		}
	}
	v.hides("the body", a.body)
	v.hides("a header", fmt.Sprint(a.header))
	return a
}

// dial opens a connection on which can be written what no client writes.
func (v *victim) dial() net.Conn {
	v.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(v.url, "http://"))
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { conn.Close() })
	return conn
}

// wire writes a text to a connection of its own, and reads until the service
// closes it.
func (v *victim) wire(text string) string {
	v.t.Helper()
	conn := v.dial()
	defer conn.Close()
	io.WriteString(conn, text)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	got, err := io.ReadAll(conn)
	if err != nil {
		v.t.Errorf("%.100q: the connection stays open, or breaks: %v", text, err)
	}
	v.hides("an answer", string(got))
	return string(got)
}

// cost is what a test uses of the process.
type cost struct {
	heap, allocated uint64
	goroutines      int
}

func costNow() cost {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return cost{m.HeapAlloc, m.TotalAlloc, runtime.NumGoroutine()}
}

// isFlat checks that next to nothing of what was used since is kept.
func (v *victim) isFlat(since cost, most uint64) {
	v.t.Helper()
	v.client.CloseIdleConnections()
	v.until("all goroutines to end", func() bool { return runtime.NumGoroutine() <= since.goroutines+3 })
	v.log.forget(v)
	if now := costNow(); now.heap > since.heap+most {
		v.t.Errorf("the heap grew from %d to %d KiB", since.heap>>10, now.heap>>10)
	}
}

// forget checks the log up to now, and drops it: it is no memory of the service.
func (l *logBuffer) forget(v *victim) {
	v.hides("the log", l.String())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = bytes.Buffer{}
}

// together does f(0) to f(n-1), some at a time.
func together(n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// graphLines is the graph in an order that can be compared.
func (v *victim) graphLines() string {
	v.t.Helper()
	got := v.get("/v1/instances/acme/graph")
	if got.status != http.StatusOK {
		v.t.Fatalf("%d %s", got.status, got.body)
	}
	return strings.Join(slices.Sorted(strings.Lines(got.body)), "")
}

const hookPath = "/hooks/okta/acme"

func forgedDeliveries(t *testing.T, v *victim) {
	before := v.graphLines()
	v.org.ResetCalls()
	for name, headers := range map[string][]string{
		"no secret":            nil,
		"a wrong one":          {"Authorization", strings.Repeat("x", len(hookSecret))},
		"a part":               {"Authorization", hookSecret[:len(hookSecret)-1]},
		"more than it":         {"Authorization", hookSecret + "x"},
		"another case":         {"Authorization", strings.ToUpper(hookSecret)},
		"as a bearer token":    {"Authorization", "Bearer " + hookSecret},
		"twice":                {"Authorization", hookSecret + ", " + hookSecret},
		"both secrets":         {"Authorization", hookSecret + " " + newSecret},
		"in another header":    {"X-Okta-Event-Hook-Secret", hookSecret, "X-Authorization", hookSecret},
		"for a proxy":          {"Proxy-Authorization", hookSecret},
		"as a cookie":          {"Cookie", "Authorization=" + url.QueryEscape(hookSecret)},
		"the admin token":      {"Authorization", "Bearer " + adminToken},
		"the trigger token":    {"Authorization", "Bearer " + triggerToken},
		"the token of the org": {"Authorization", "SSWS " + v.org.Token()},
		"percent-encoded":      {"Authorization", url.QueryEscape(newSecret)},
	} {
		got := v.send("POST", hookPath, strings.NewReader(delivery("forged")), headers...)
		wantProblem(t, got, http.StatusUnauthorized)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	wantProblem(t, v.send("POST", hookPath+"?Authorization="+url.QueryEscape(hookSecret), strings.NewReader(delivery("forged"))), http.StatusUnauthorized)
	// Of two headers the first counts, as with every other program on the way.
	two := v.wire("POST " + hookPath + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: wrong\r\nAuthorization: " + hookSecret + "\r\nContent-Length: 2\r\n\r\n{}")
	if !strings.HasPrefix(two, "HTTP/1.1 401 ") {
		t.Errorf("two headers: %s", two)
	}
	// An earlier secret is good for nothing once it is replaced.
	defer v.register(context.Background())
	if err := v.engine.Register(t.Context(), engine.Instance{ID: "acme", Name: "Acme", OrgURL: v.org.URL(), Token: v.org.Token(),
		HookSecrets: []string{newSecret}, Factors: true}); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, v.send("POST", hookPath, strings.NewReader(delivery("forged")), "Authorization", hookSecret), http.StatusUnauthorized)
	if got := v.send("POST", hookPath, strings.NewReader(`{"data":{"events":[]}}`), "Authorization", newSecret); got.status != http.StatusNoContent {
		t.Errorf("the new secret: %d %s", got.status, got.body)
	}

	if status := v.status(); status.Inbox != 0 || status.DeadLetters != 0 || status.Coverage["user.lifecycle.create"].Hook != 0 {
		t.Errorf("a forged delivery was accepted: %+v", status)
	}
	for _, call := range v.org.Calls() {
		if strings.Contains(call.Path, "00unew") {
			t.Errorf("a forged delivery made a call: %s", call.Path)
		}
	}
	if v.graphLines() != before {
		t.Error("a forged delivery changed the graph")
	}
}

// The same delivery a thousand times does what it does once, and old news does
// not undo what came after.
func replayedDeliveries(t *testing.T, v *victim) {
	var user string
	var first []oktasim.Event
	for _, user = range v.org.UserIDs() {
		var err error
		if first, err = v.org.Suspend(user); err == nil { // he was active
			break
		}
	}
	body := string(v.org.DeliveryBody(first))
	deliver := func(body string) {
		if got := v.send("POST", hookPath, strings.NewReader(body), "Authorization", hookSecret); got.status != http.StatusNoContent || got.body != "" {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	settle := func() {
		t.Helper()
		v.until("all to be taken in", func() bool {
			status, err := v.engine.Instance(t.Context(), "acme")
			return err == nil && status.Inbox == 0 && status.Refreshes == 0
		})
	}
	v.org.ResetCalls()
	together(1000, func(int) { deliver(body) })
	settle()
	second, err := v.org.Unsuspend(user)
	if err != nil {
		t.Fatal(err)
	}
	deliver(string(v.org.DeliveryBody(second)))
	settle()
	once := v.graphLines()
	calls := map[string]int{}
	for _, call := range v.org.Calls() {
		calls[call.Path]++
	}
	together(200, func(int) { deliver(body) })
	settle()

	if v.graphLines() != once {
		t.Error("a replay changed the graph")
	}
	want := map[string]int64{}
	for _, e := range slices.Concat(first, second) {
		want[e.Type]++
	}
	status := v.status()
	for typ, n := range want {
		// The log is polled meanwhile: it may have brought an event before the hook did.
		if c := status.Coverage[typ]; c.Hook+c.Log != n {
			t.Errorf("%s: %d events counted of the hook and %d of the log, %d happened", typ, c.Hook, c.Log, n)
		}
	}
	if status.DeadLetters != 0 {
		t.Errorf("%d dead letters", status.DeadLetters)
	}
	// Two things happened to the user: he may be read once for each.
	for _, path := range []string{"/api/v1/users/" + user, "/api/v1/users/" + user + "/factors"} {
		if n := calls[path]; n > 2 {
			t.Errorf("%d calls of %s", n, path)
		}
	}
	for _, call := range v.org.Calls() {
		if calls[call.Path]--; calls[call.Path] < 0 && call.Path != "/api/v1/logs" {
			t.Errorf("a replay made a call: %s", call.Path)
		}
	}
	v.read()
	if v.graphLines() != once {
		t.Error("a full read finds another graph than the deliveries left")
	}
}

// garbage makes what random attackers send. It never names acme in a call that
// its tokens allow, but for deliveries.
type garbage struct{ *rand.Rand }

func (g garbage) pick(of ...string) string { return of[g.IntN(len(of))] }

func (g garbage) bytes(n int) string {
	b := make([]byte, g.IntN(n))
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return string(b)
}

// json is a random document; what it holds has the names of our fields.
func (g garbage) json(depth int) string {
	switch g.IntN(9 - depth/3) {
	case 0:
		return "null"
	case 1:
		return g.pick("true", "false")
	case 2:
		return g.pick("0", "-1", "1e999999", "18446744073709551616", "0.1", "1E-400", "-0", strings.Repeat("9", 400))
	case 3, 4:
		b, _ := json.Marshal(g.pick("", "full", "user/00u1", "Find User", "Find *", "{acme}", "*", "..", "\x00", g.bytes(20), strings.Repeat("x", g.IntN(3000))))
		return string(b)
	case 5:
		return g.pick("{", "]", "\"", "{}{}", "nul", "\xff\xfe", "")
	case 6:
		var list []string
		for range g.IntN(4) {
			list = append(list, g.json(depth+3))
		}
		return "[" + strings.Join(list, ",") + "]"
	default:
		var fields []string
		for range g.IntN(6) {
			name := g.pick("mode", "object", "force", "instance", "id", "config", "oktaOrgUrl", "oktaApiKey", "hookSecrets", "data", "events", "uuid",
				"eventType", "published", "target", "query", "parameters", "limit", "cursor", "ids", "sink", "token", "secret", "__proto__", "")
			fields = append(fields, fmt.Sprintf("%q:%s", name, g.json(depth+3)))
		}
		return "{" + strings.Join(fields, ",") + "}"
	}
}

func (g garbage) id() string {
	return g.pick("nobody", "..", "%2e%2e", "%00", "a%2fb", "*", "%7Bacme%7D", "acme:x", "acme%20", "é", strings.Repeat("a", 300), url.PathEscape(g.bytes(30)))
}

func garbageRequests(t *testing.T, v *victim) {
	const requests = 10_000
	graph := v.graphLines()
	routes := v.api.Routes()
	slices.SortFunc(routes, func(a, b *echo.Route) int { return strings.Compare(a.Path+a.Method, b.Path+b.Method) })
	fire := func(from, to int) map[int]int {
		var mu sync.Mutex
		statuses := map[int]int{}
		together(to-from, func(i int) {
			g := garbage{rand.New(rand.NewPCG(uint64(from+i), 5))}
			route := routes[g.IntN(len(routes))]
			method, path := route.Method, route.Path
			if g.IntN(5) == 0 {
				method = g.pick("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "BREW")
			}
			instance := g.id()
			if path == "/hooks/okta/:instance" {
				instance = "acme"
			}
			path = strings.NewReplacer(":instance", instance, ":run", g.id()+g.pick("", "-1"), ":letter", g.id(), "*", g.id()).Replace(path)
			if g.IntN(6) == 0 {
				path = "/" + url.PathEscape(g.bytes(40))
			}
			if g.IntN(3) == 0 {
				path += "?" + g.pick("from=", "limit=", "after=", "type=", "class=", "_method=") + url.QueryEscape(g.bytes(20))
			}
			headers := []string{"X-Forwarded-For", fmt.Sprintf("10.%d.%d.%d", g.IntN(256), g.IntN(256), g.IntN(256)),
				"Content-Type", g.pick("application/json", "text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data")}
			switch g.IntN(6) {
			case 0:
				headers = append(headers, "Authorization", "Bearer "+url.PathEscape(g.bytes(100)))
			case 1, 2:
				headers = append(headers, "Authorization", "Bearer "+adminToken)
			case 3:
				headers = append(headers, "Authorization", "Bearer "+triggerToken)
			case 4:
				headers = append(headers, "Authorization", hookSecret)
			}
			if g.IntN(4) == 0 {
				headers = append(headers, "Cookie", "oktasync="+url.PathEscape(g.bytes(100)), "Sec-Fetch-Site", g.pick("same-origin", "cross-site"))
			}
			if g.IntN(4) == 0 {
				headers = append(headers, "Last-Event-ID", url.PathEscape(g.bytes(10)), "X-Okta-Verification-Challenge", url.PathEscape(g.bytes(10)))
			}
			body := g.json(0)
			if g.IntN(3) == 0 {
				body = g.bytes(2000)
			}
			got := v.send(method, path, strings.NewReader(body), headers...)
			if route.Path == "/metrics" && got.status == http.StatusServiceUnavailable {
				return // so many at once are too many
			}
			if got.status >= 500 || got.status < 200 {
				t.Errorf("request %d: %s %.100q %.200q: %d %s", from+i, method, path, body, got.status, got.body)
			}
			if got.status >= 400 && method != "HEAD" && got.problem.Status != got.status {
				t.Errorf("request %d: %s %.100q: %d is no problem: %s", from+i, method, path, got.status, got.body)
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[got.status]++
		})
		return statuses
	}
	fire(0, requests/10) // what is made once is made now
	v.client.CloseIdleConnections()
	v.log.forget(v)
	before := costNow()
	statuses := fire(requests/10, requests)
	v.isFlat(before, 8<<20)
	t.Logf("answers by status: %v", statuses)
	for _, status := range []int{200, 204, 400, 401, 404, 405} {
		if statuses[status] == 0 {
			t.Errorf("no request of these got as far as a %d: %v", status, statuses)
		}
	}
	var list struct{ Instances []struct{ ID string } }
	v.json("/admin/instances", &list)
	if v.graphLines() != graph || len(list.Instances) != 1 || v.status().Paused {
		t.Errorf("garbage had an effect: instances %v", list.Instances)
	}
}

// Lines that are no HTTP are refused by net/http itself.
func brokenHTTP(t *testing.T, v *victim) {
	// Whoever smuggles hides a second request in the first one's body.
	const smuggled = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
	post := func(headers, body string) string {
		return "POST /admin/session HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\n" + headers + "\r\n" + body + smuggled
	}
	for name, c := range map[string]struct {
		sent   string
		status string
	}{
		"two lengths":               {post("Content-Length: 6\r\nContent-Length: 5\r\n", "0\r\n\r\n"), "400"},
		"a list of lengths":         {post("Content-Length: 5, 6\r\n", "0\r\n\r\n"), "400"},
		"a negative length":         {post("Content-Length: -1\r\n", ""), "400"},
		"a length with a sign":      {post("Content-Length: +5\r\n", "0\r\n\r\n"), "400"},
		"a length in hex":           {post("Content-Length: 0x5\r\n", "0\r\n\r\n"), "400"},
		"an over-long length":       {post("Content-Length: 99999999999999999999\r\n", ""), "400"},
		"length and chunks":         {post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "400"},
		"chunks and length":         {post("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", "0\r\n\r\n"), "400"},
		"two encodings":             {post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"), "501"},
		"an odd encoding":           {post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), "501"},
		"space before the colon":    {post("Content-Length : 5\r\n", "0\r\n\r\n"), "400"},
		"a chunk that is none":      {post("Transfer-Encoding: chunked\r\n", "zz\r\n\r\n"), "400"},
		"a chunk of endless length": {post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n\r\n"), "400"},
		"no host":                   {"GET /readyz HTTP/1.1\r\n\r\n" + smuggled, "400"},
		"two hosts":                 {"GET /readyz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + smuggled, "400"},
		"a host that is none":       {"GET /readyz HTTP/1.1\r\nHost: a b\r\n\r\n" + smuggled, "400"},
		"a NUL in a header":         {"GET /readyz HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n" + smuggled, "400"},
		"a CR in a header":          {"GET " + hookPath + " HTTP/1.1\r\nHost: x\r\nX-Okta-Verification-Challenge: a\rSet-Cookie: b\r\n\r\n" + smuggled, "400"},
		"a header without a name":   {"GET /readyz HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n" + smuggled, "400"},
		"no version":                {"GET /readyz\r\n\r\n" + smuggled, "400"},
		"HTTP/9":                    {"GET /readyz HTTP/9.9\r\nHost: x\r\n\r\n" + smuggled, "505"},
		"the preface of HTTP/2":     {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + smuggled, "404"},
		"bytes":                     {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"},
		"a header of 1 MB":          {"GET /readyz HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("x", 1<<20), "431"},
		"a path of 1 MB":            {"GET /" + strings.Repeat("x", 1<<20), "431"},
	} {
		t.Run(name, func(t *testing.T) {
			got := v.wire(c.sent)
			if !strings.HasPrefix(got, "HTTP/1.1 "+c.status+" ") || strings.Count(got, "HTTP/1.") != 1 {
				t.Errorf("got %.400s, want a %s alone", got, c.status)
			}
		})
	}
	// A body that ends before its length is the caller's fault too.
	conn := v.dial()
	io.WriteString(conn, "POST /admin/session HTTP/1.1\r\nHost: x\r\nContent-Length: 600\r\n\r\n{")
	conn.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(conn); err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 400 ")) {
		t.Errorf("a body that breaks off: %s %v", got, err)
	}
}

// Old and odd forms of HTTP that mean no harm are understood, and nothing is made
// of what they name.
func hostsAndOverrides(t *testing.T, v *victim) {
	for name, c := range map[string][2]string{
		"HTTP/1.0":            {"GET /readyz HTTP/1.0\r\n\r\n", "HTTP/1.0 200"},
		"another host":        {"GET /admin/instances/acme HTTP/1.1\r\nConnection: close\r\nHost: evil.example\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n", "HTTP/1.1 200"},
		"a whole URL":         {"GET http://evil.example/readyz HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n", "HTTP/1.1 200"},
		"other hosts":         {"GET /readyz/ HTTP/1.1\r\nConnection: close\r\nHost: x\r\nX-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n\r\n", "HTTP/1.1 200"},
		"a path with a host":  {"GET //evil.example/ HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n", "HTTP/1.1 404"},
		"a path like a URL":   {"GET /\\evil.example HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n", "HTTP/1.1 404"},
		"a tunnel":            {"CONNECT evil.example:443 HTTP/1.1\r\nConnection: close\r\nHost: evil.example:443\r\n\r\n", "HTTP/1.1 404"},
		"an echo":             {"TRACE /readyz HTTP/1.1\r\nConnection: close\r\nHost: evil.example\r\nX-Echo: evil.example\r\n\r\n", "HTTP/1.1 405"},
		"another protocol":    {"GET /readyz HTTP/1.1\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nHost: x\r\n\r\n", "HTTP/1.1 200"},
		"a run's location":    {"POST /admin/instances/acme/resync HTTP/1.1\r\nConnection: close\r\nHost: evil.example\r\nAuthorization: Bearer " + adminToken + "\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 202"},
		"a range of a stream": {"GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: x\r\nRange: bytes=0-0,1-1,2-2\r\n\r\n", "HTTP/1.1 200"},
	} {
		got := v.wire(c[0])
		if !strings.HasPrefix(got, c[1]+" ") || strings.Contains(got, "evil.example") {
			t.Errorf("%s: got %s", name, got)
		}
	}
	for _, header := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
		got := v.send("POST", "/admin/instances/acme?_method=DELETE", nil, "Authorization", "Bearer "+adminToken, header, "DELETE")
		wantProblem(t, got, http.StatusMethodNotAllowed)
	}
	if v.status().ID != "acme" {
		t.Error("acme is gone")
	}
}

// A challenge is echoed only if it is plain, as a JSON string, and never as
// anything that a browser would take for a page.
func challenges(t *testing.T, v *victim) {
	for name, c := range map[string]struct{ sent, echoed string }{
		"markup":       {"<script>alert(1)</script>", "<script>alert(1)</script>"},
		"quotes":       {`","x":"y`, `","x":"y`},
		"backslashes":  {`\u0022\r\n`, `\u0022\r\n`},
		"a template":   {"{{7*7}}${7*7}%0d%0aSet-Cookie:a=b", "{{7*7}}${7*7}%0d%0aSet-Cookie:a=b"},
		"a line end":   {"a\r\nSet-Cookie: evil=1", "a"}, // what follows is a header of the request
		"a bare LF":    {"a\nSet-Cookie: evil=1", "a"},
		"a fold":       {"a\r\n Set-Cookie: evil=1", "a Set-Cookie: evil=1"},
		"a tab":        {"a\tb", ""},
		"UTF-8":        {"pä", ""},
		"no UTF-8":     {"\xff\xfe", ""},
		"two at once":  {"a\r\nX-Okta-Verification-Challenge: b", "a"},
		"a DEL":        {"a\x7fb", ""},
		"the longest":  {strings.Repeat("x", maxChallenge), strings.Repeat("x", maxChallenge)},
		"over-long":    {strings.Repeat("x", maxChallenge+1), ""},
		"far too long": {strings.Repeat("x", 60_000), ""},
		"nothing":      {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			raw := v.wire("GET " + hookPath + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Okta-Verification-Challenge: " + c.sent + "\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil)
			if err != nil {
				t.Fatalf("%v: %s", err, raw)
			}
			defer resp.Body.Close()
			if resp.Header.Get("Set-Cookie") != "" || strings.Contains(raw, "<script") {
				t.Errorf("injected: %s", raw)
			}
			if c.echoed == "" {
				if resp.StatusCode != http.StatusBadRequest || len(c.sent) > 3 && strings.Contains(raw, c.sent) {
					t.Errorf("got %s", raw)
				}
				return
			}
			var got map[string]string
			if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != http.StatusOK ||
				!reflect.DeepEqual(got, map[string]string{"verification": c.echoed}) {
				t.Errorf("%v: %s", err, raw)
			}
			if resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers: %s", raw)
			}
		})
	}
}

// huge is how large a body is offered.
const huge = 100 << 20

func hugeBodies(t *testing.T, v *victim) {
	before := costNow()
	chunk := []byte("10000\r\n" + strings.Repeat(" ", 0x10000) + "\r\n")
	t.Run("at once", func(t *testing.T) {
		for name, c := range map[string]struct {
			head  string
			limit int
		}{
			"delivery":         {"POST " + hookPath + " HTTP/1.1\r\nAuthorization: " + hookSecret, maxDelivery},
			"forged delivery":  {"POST " + hookPath + " HTTP/1.1\r\nAuthorization: x", 0},
			"instance event":   {"POST /v1/instance-events HTTP/1.1\r\nAuthorization: Bearer " + triggerToken, maxJSON},
			"without a token":  {"POST /v1/instance-events HTTP/1.1", 0},
			"sign-in":          {"POST /admin/session HTTP/1.1", maxJSON},
			"query":            {"POST /v1/instances/acme/query HTTP/1.1\r\nAuthorization: Bearer " + adminToken, maxJSON},
			"where none is":    {"GET /healthz HTTP/1.1", 0},
			"an unknown route": {"PUT /nothing HTTP/1.1", 0},
		} {
			for _, length := range []string{fmt.Sprintf("Content-Length: %d", huge), "Transfer-Encoding: chunked"} {
				t.Run(name+" "+length[:1], func(t *testing.T) {
					t.Parallel()
					conn := v.dial()
					fmt.Fprintf(conn, "%s\r\nHost: x\r\n%s\r\n\r\n", c.head, length)
					sent := make(chan int)
					go func() {
						n := 0
						for n < huge {
							conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
							m, err := conn.Write(chunk)
							n += m
							if err != nil {
								break
							}
						}
						sent <- n
					}()
					conn.SetReadDeadline(time.Now().Add(10 * time.Second))
					resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
					if err != nil {
						t.Fatal(err)
					}
					resp.Body.Close()
					want := map[string]int{"forged delivery": 401, "without a token": 401, "where none is": 200, "an unknown route": 404}[name]
					if want == 0 {
						want = http.StatusRequestEntityTooLarge
					}
					if resp.StatusCode != want {
						t.Errorf("got %s", resp.Status)
					}
					// What the kernels of both sides keep in between counts as sent.
					if n := <-sent; n > c.limit+20<<20 {
						t.Errorf("%d MiB were taken", n>>20)
					}
					conn.Close()
				})
			}
		}
	})
	// Of the 1.6 GB that were offered the bounds let in 25 MB; reading doubles buffers.
	if used := costNow().allocated - before.allocated; used > 300<<20 {
		t.Errorf("%d MiB were allocated", used>>20)
	}
	v.isFlat(before, 8<<20)
}

// What is packed is never unpacked: it is no JSON.
func packedBodies(t *testing.T, v *victim) {
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	io.Copy(w, io.LimitReader(spaces{}, 32<<20))
	io.WriteString(w, "{}")
	w.Close()
	before := costNow()
	for _, encoding := range []string{"gzip", "deflate", "br", "gzip, gzip"} {
		for path, secret := range map[string]string{
			hookPath: hookSecret, "/v1/instance-events": "Bearer " + triggerToken, "/v1/instances/acme/query": "Bearer " + adminToken, "/admin/session": ""} {
			wantProblem(t, v.send("POST", path, bytes.NewReader(bomb.Bytes()), "Content-Encoding", encoding, "Authorization", secret), http.StatusBadRequest)
		}
	}
	if used := costNow().allocated - before.allocated; used > 64<<20 {
		t.Errorf("%d MiB were allocated", used>>20)
	}
}

func oddJSON(t *testing.T, v *victim) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	deepObject := strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	event := func(field string) string {
		return strings.Replace(delivery("odd"), `"version":"0"`, field, 1)
	}
	const query, resync = "/v1/instances/acme/query", "/admin/instances/nobody/resync"
	for name, c := range map[string]struct {
		path, body string
		want       int
	}{
		"deep delivery":           {hookPath, deep(100_000), 400},
		"deep event":              {hookPath, event(`"debugContext":` + deep(100_000)), 400},
		"deep object":             {hookPath, event(`"debugContext":` + deepObject), 400},
		"deepest that is let in":  {hookPath, event(`"debugContext":` + deep(9000)), 204},
		"unclosed":                {hookPath, strings.Repeat("[", 1_000_000), 400},
		"deep event of instances": {"/v1/instance-events", `{"instance":` + deep(100_000) + `}`, 400},
		"deep parameters":         {query, `{"query":"Find User","parameters":{"x":` + deep(100_000) + `}}`, 400},
		"deep query":              {query, `{"query":"Find User with ` + strings.Repeat("(", 30_000) + `"}`, 400},
		"many steps":              {query, `{"query":"Find User` + strings.Repeat(" that HAS User", 2000) + `"}`, 400},
		"many conditions":         {query, `{"query":"Find User with a=1` + strings.Repeat(" or a=1", 4000) + `"}`, 400},
		"many parameters":         {query, `{"query":"Find User","parameters":{` + strings.TrimSuffix(manyFields(101), ",") + `}}`, 400},
		"huge exponent":           {query, `{"query":"Find User","limit":1e999999999}`, 400},
		"huge number":             {query, `{"query":"Find User","limit":` + strings.Repeat("9", 500_000) + `}`, 400},
		"huge parameter":          {query, `{"query":"Find User with a = ${x}","parameters":{"x":1e999}}`, 400},
		"huge date":               {hookPath, event(`"severity":` + strings.Repeat("9", 500_000)), 204},
		"huge string":             {resync, `{"object":"` + strings.Repeat("x", 900_000) + `"}`, 400},
		"huge key":                {resync, `{"` + strings.Repeat("x", 900_000) + `":1}`, 400},
		"many keys":               {hookPath, event(manyFields(100_000) + `"z":1`), 204},
		"many events":             {hookPath, `{"data":{"events":[` + strings.Repeat("0,", 500_000) + `0]}}`, 400},
		"a key twice":             {resync, `{"mode":"verify","mode":"half"}`, 400},
		"an instance twice":       {"/v1/instance-events", `{"instance":{"id":"acme"},"instance":{"id":"../x"}}`, 400},
		"no UTF-8":                {query, "{\"query\":\"Find User with a = '\xff\xfe'\"}", 400},
		"half a surrogate":        {query, `{"query":"Find User with a = '\ud800'"}`, 400},
		"a NUL":                   {query, `{"query":"Find User with a = '\u0000'"}`, 400},
		"a NUL as text":           {query, "{\"query\":\"Find User\x00\"}", 400},
		"a NUL in a name":         {query, `{"query":"Find User with [a\u0000b] = 1"}`, 400},
		"a NUL in an id":          {"/v1/instance-events", `{"instance":{"id":"a\u0000b"}}`, 400},
		"a BOM":                   {hookPath, "\xef\xbb\xbf{}", 400},
		"UTF-16":                  {hookPath, "\xff\xfe{\x00}\x00", 400},
		"a comment":               {resync, `{"mode":"full"/**/}`, 400},
		"two documents":           {resync, `{} {}`, 400},
		"an unknown field":        {resync, `{"mode":"full","admin":true}`, 400},
		"a prototype":             {resync, `{"__proto__":{"force":true}}`, 400},
	} {
		t.Run(name, func(t *testing.T) {
			token := map[string]string{hookPath: hookSecret, "/v1/instance-events": "Bearer " + triggerToken}[c.path]
			if token == "" {
				token = "Bearer " + adminToken
			}
			got := v.send("POST", c.path, strings.NewReader(c.body), "Authorization", token)
			if got.status != c.want || c.want >= 400 && got.problem.Status != c.want {
				t.Errorf("got %d %.300s, want %d", got.status, got.body, c.want)
			}
			if len(got.body) > 4096 && c.want >= 400 {
				t.Errorf("an answer of %d bytes repeats what was sent", len(got.body))
			}
		})
	}
	v.until("the accepted events to be taken in", func() bool { return v.status().Inbox == 0 && v.status().Refreshes == 0 })
	if status := v.status(); status.Problem != "" || !status.Whole {
		t.Errorf("what was accepted keeps the instance from working: %+v", status)
	}
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"f%d":1,`, i)
	}
	return b.String()
}

// No path leads to what is not named in it: neither to other routes nor, by the
// keys in Redis, to another instance.
func tricksInPaths(t *testing.T, v *victim) {
	opts, err := redis.ParseURL(v.redis)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	keys := func() []string {
		list, err := rdb.Keys(context.Background(), "*").Result()
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(list)
		return list
	}
	before := keys()
	secrets := []string{"Authorization", "Bearer " + adminToken, "X-Okta-Verification-Challenge", "x"}
	run := v.read().ID
	ids := []string{
		"..", "%2e%2e", ".", "%2e", "..%2f..", "%2e%2e%2f%2e%2e", "acme%2f..%2facme", "acme%2f", "acme%00", "%00", "acme%0d%0aX:%20y", "acme%20", "%20acme", "acme;x", "acme:",
		"acme}", "{acme}", "%7Bacme%7D", "%7B%7D", "{}", "*", "%2a", "%3f", "acme%3f", "a*", "a[a-z]me", "acme:records", "acme%7D:records", "acme\\", "acme%5c", "ACME", "acm%65%00", "ａｃｍｅ",
		"acme%E2%80%8B", "%c0%ae%c0%ae", "%ff", "%", "%zz", "acme%", "-", "_", strings.Repeat("a", 65), strings.Repeat("a", 10_000), "acme@evil.example", "acme'--", "acme\"", "$(id)", "acme|x",
	}
	for _, id := range ids {
		for _, c := range [][2]string{
			{"GET", "/hooks/okta/%s"}, {"POST", "/hooks/okta/%s"}, {"GET", "/admin/instances/%s"}, {"GET", "/admin/instances/%s/runs"}, {"GET", "/admin/instances/%s/dead-letters"},
			{"DELETE", "/admin/instances/%s"}, {"POST", "/admin/instances/%s/pause"}, {"POST", "/admin/instances/%s/resync"}, {"GET", "/v1/instances/%s/graph"}, {"GET", "/v1/instances/%s/changes"},
			{"GET", "/admin/runs/%s"}, {"GET", "/admin/runs/%s-1/held"}, {"POST", "/admin/runs/%s-1/cancel"}, {"POST", "/admin/runs/%s/approve"},
			{"GET", "/admin/instances/acme/dead-letters/%s"}, {"GET", "/admin/assets/%s"}, {"GET", "/admin/assets/../%s"}, {"GET", "/%s/admin/instances"},
		} {
			path := fmt.Sprintf(c[1], id)
			got := v.send(c[0], path, strings.NewReader("{}"), secrets...)
			if got.status != http.StatusNotFound && got.status != http.StatusBadRequest {
				t.Errorf("%s %.100s: %d %.200s", c[0], path, got.status, got.body)
			}
		}
	}
	// Paths are taken as they stand: nothing is resolved or put in order.
	for _, path := range []string{"/hooks/okta/../../admin/instances", "/admin/./instances", "/admin//instances", "//admin/instances", "/admin/instances/../instances/acme",
		"/admin%2finstances", "/%61dmin/%2e%2e/readyz", "/admin/instances;a=b", "/ADMIN/instances", "/admin/assets/..%2f..%2fhandlers.go", "/admin/assets/../../../etc/passwd", "/admin/assets/%2e%2e/x",
		"/admin/assets//etc/passwd", "/admin/assets/console", "/admin/assets/.", "/debug/pprof/", "/debug/vars", "/.git/config"} {
		if got := v.send("GET", path, nil, secrets...); got.status != http.StatusNotFound {
			t.Errorf("%s: %d %.200s", path, got.status, got.body)
		}
	}
	// Run ids begin with their instance's: they must not lead to keys of another kind.
	for _, id := range []string{run + "%20", run + ":", "acme}:runs-1", "{acme}-1", "*-1", "acme%7D:-1", strings.Repeat("a", 200) + "-1", "-", "-1"} {
		if got := v.send("GET", "/admin/runs/"+id, nil, secrets...); got.status != http.StatusNotFound {
			t.Errorf("run %.50s: %d %.200s", id, got.status, got.body)
		}
	}
	if after := keys(); !slices.Equal(before, after) {
		t.Errorf("keys before: %v\nafter: %v", before, after)
	}
}

// evilOrg answers as no org of Okta does: it leads elsewhere.
func evilOrg(t *testing.T, answer http.HandlerFunc) (url string) {
	t.Helper()
	srv := httptest.NewServer(answer)
	t.Cleanup(srv.Close)
	return srv.URL
}

// The service calls nobody but the org it was told of, whose address is public
// unless the operator said otherwise. sync/okta tests its dialer, cmd a name that
// leads inside.
func orgURLs(t *testing.T, v *victim) {
	strictly := New(v.engine, Config{TriggerToken: triggerToken, Log: slog.New(slog.NewTextHandler(v.log, nil))})
	for _, org := range []string{
		"http://example.okta.com", "ftp://example.okta.com", "file:///etc/passwd", "gopher://example.okta.com", "javascript:alert(1)", "data:text/plain,x", "redis://example.okta.com", "//169.254.169.254", "https:/169.254.169.254",
		"https://user@example.okta.com", "https://example.okta.com@169.254.169.254", "https://169.254.169.254#@example.okta.com", "https://169.254.169.254\\@example.okta.com", "https://example.okta.com:22", "https://example.okta.com:8443",
		"https://127.0.0.1", "https://127.1", "https://2130706433", "https://0x7f000001", "https://0x7f.0.0.1", "https://0177.0.0.1", "https://017700000001", "https://127.0.0.1.", "https://0", "https://0.0.0.0", "https://127.0.0.01",
		"https://169.254.169.254", "https://2852039166", "https://0xa9fea9fe", "https://0251.0376.0251.0376", "https://[::ffff:169.254.169.254]", "https://[::ffff:a9fe:a9fe]", "https://[::a9fe:a9fe]", "https://[64:ff9b::a9fe:a9fe]", "https://[2002:a9fe:a9fe::]",
		"https://[::1]", "https://[::]", "https://[fe80::1]", "https://[fe80::1%25eth0]", "https://[fd00:ec2::254]", "https://10.0.0.1", "https://172.16.0.1", "https://192.168.0.1", "https://100.100.100.200", "https://192.0.0.192", "https://224.0.0.1", "https://255.255.255.255",
		"https://localhost", "https://LOCALHOST", "https://localhost.", "https://localhost.localdomain", "https://a.localhost", "https://metadata.google.internal", "https://metadata", "https://okta", "https://redis:6379", "https://kubernetes.default.svc.cluster.local",
		"https://①②⑦.⓪.⓪.①", "https://127。0。0。1", "https://example.okta.com/../..", "https://example.okta.com?@169.254.169.254", "https://example.okta.com\r\nHost: x", "https://exa\x00mple.okta.com", "https://" + strings.Repeat("a", 2000) + ".okta.com", "", " ",
	} {
		body, _ := json.Marshal(map[string]any{"instance": map[string]any{"id": "inside", "config": map[string]any{"oktaOrgUrl": org, "oktaApiKey": "api-key-of-the-tests"}}})
		req, rec := newRequest("POST", "/v1/instance-events", bytes.NewReader(body)), newRecorder()
		req.Header.Set("Authorization", "Bearer "+triggerToken)
		strictly.ServeHTTP(rec, req)
		if rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), `"field":"instance.config.oktaOrgUrl"`) {
			t.Errorf("%q: %d %.300s", org, rec.Code, rec.Body)
		}
	}

	var inside atomic.Int64
	private := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		inside.Add(1)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "[]")
	}))
	defer private.Close()
	for name, org := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, private.URL+r.URL.Path, http.StatusFound)
		},
		"redirect-308": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, private.URL+r.URL.Path, http.StatusPermanentRedirect)
		},
		"redirect-scheme": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		},
		"refresh": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Refresh", "0; url="+private.URL)
			w.Header().Set("Content-Location", private.URL)
			w.Header().Set("Alt-Svc", `h2="`+strings.TrimPrefix(private.URL, "http://")+`"`)
			w.WriteHeader(http.StatusForbidden)
		},
		"link": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Link", "<"+private.URL+r.URL.Path+`?after=x>; rel="next"`)
			io.WriteString(w, "[]")
		},
		"link-by-name": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Link", "<http://"+r.Host+"@"+strings.TrimPrefix(private.URL, "http://")+r.URL.Path+`?after=x>; rel="next"`)
			io.WriteString(w, "[]")
		},
	} {
		t.Run(name, func(t *testing.T) {
			body, _ := json.Marshal(map[string]any{"instance": map[string]any{"id": name, "config": map[string]any{"oktaOrgUrl": evilOrg(t, org), "oktaApiKey": "api-key-of-the-tests"}}})
			got := v.send("POST", "/v1/instance-events", bytes.NewReader(body), "Authorization", "Bearer "+triggerToken)
			var run engine.Run
			if err := json.Unmarshal([]byte(got.body), &run); got.status != http.StatusAccepted || err != nil {
				t.Fatalf("%d %s", got.status, got.body)
			}
			v.until("the run to end", func() bool { run = v.run(run.ID); return run.State != engine.RunRunning })
			if run.State == engine.RunSucceeded || len(run.Errors) == 0 {
				t.Errorf("such an org was read: %+v", run)
			}
		})
	}
	if n := inside.Load(); n != 0 {
		t.Errorf("%d calls went to an address that the org named", n)
	}
}

// Wrong tokens are told apart by nothing: not by their answer either.
func wrongTokens(t *testing.T, v *victim) {
	guesses := []string{"x", adminToken[:1], adminToken[:len(adminToken)-1], adminToken + "x", strings.ToUpper(adminToken), strings.Repeat("x", len(adminToken)), strings.Repeat("x", 5000), triggerToken, hookSecret}
	v.hidden = append(v.hidden, guesses[2:]...)
	var first string
	for i, guess := range guesses {
		got := v.send("GET", "/admin/instances", nil, "Authorization", "Bearer "+guess, "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i))
		wantProblem(t, got, http.StatusUnauthorized)
		got.header.Del("X-Request-Id")
		got.header.Del("Date")
		got.problem.Instance = ""
		told := fmt.Sprint(got.status, got.header, got.problem, len(got.body))
		if first == "" {
			first = told
		}
		if told != first {
			t.Errorf("%.30q: %s\nothers: %s", guess, told, first)
		}
	}
}

// A form of another site is sent with the cookie by browsers that do not know
// SameSite; none has an effect.
func formsOfOtherSites(t *testing.T, v *victim) {
	cookie, before := v.cookie(), v.status()
	v.hidden = append(v.hidden, strings.TrimPrefix(cookie, "oktasync="))
	var parts bytes.Buffer
	form := multipart.NewWriter(&parts)
	form.WriteField("force", "true")
	form.Close()
	n := 0
	for _, r := range v.api.Routes() {
		if r.Method == "GET" || r.Method == "HEAD" || !strings.HasPrefix(r.Path, "/admin") && !strings.HasPrefix(r.Path, "/v1/instances") {
			continue
		}
		n++
		path := strings.NewReplacer(":instance", "acme", ":run", "acme-1", ":letter", "1-1").Replace(r.Path)
		for kind, body := range map[string]string{
			"application/x-www-form-urlencoded": `{"force":true,"x":"=1"}`, "text/plain": `{"force":true}`, form.FormDataContentType(): parts.String(), "application/json": `{"force":true}`, "": "{}",
		} {
			for _, from := range [][]string{{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
				{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate"}} {
				got := v.send(r.Method, path, strings.NewReader(body), append([]string{"Cookie", cookie, "Content-Type", kind}, from...)...)
				wantProblem(t, got, http.StatusForbidden)
				if t.Failed() {
					t.Fatalf("%s %s as %q from %v: %d %s", r.Method, path, kind, from, got.status, got.body)
				}
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d calls were tried", n)
	}
	if status := v.status(); status.Paused || status.LastRun.ID != before.LastRun.ID {
		t.Errorf("a form had an effect: %+v", status)
	}
	// Nor may its script read an answer.
	got := v.send("OPTIONS", "/admin/instances", nil, "Origin", "https://evil.example", "Access-Control-Request-Method", "DELETE")
	for name := range got.header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("another origin is let in: %v", got.header)
		}
	}
}

// Streams are bounded, and those that wait keep neither deliveries from Redis nor
// the service from stopping.
func manyStreams(t *testing.T, v *victim) {
	// With the heartbeat of every day, quiet streams wait in Redis all the time.
	stopping := make(chan struct{})
	slow := httptest.NewServer(New(v.engine, Config{AdminToken: adminToken, Stopping: stopping, Log: slog.New(slog.DiscardHandler)}))
	defer slow.Close()
	before := costNow()
	client := &http.Client{Transport: &http.Transport{}}
	var open, refused atomic.Int64
	var bodies sync.Map
	together(1000, func(i int) {
		req, err := http.NewRequest("GET", slow.URL+"/v1/instances/acme/changes", nil)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Authorization", "Bearer "+adminToken)
		resp, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		switch resp.StatusCode {
		case http.StatusOK:
			open.Add(1)
			bodies.Store(i, resp.Body)
		case http.StatusTooManyRequests:
			refused.Add(1)
			if resp.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			resp.Body.Close()
		default:
			t.Errorf("stream %d: %s", i, resp.Status)
			resp.Body.Close()
		}
	})
	if open.Load() != maxStreams || refused.Load() != 1000-maxStreams {
		t.Errorf("%d streams are open, %d refused", open.Load(), refused.Load())
	}
	together(200, func(i int) {
		if got := v.send("POST", hookPath, strings.NewReader(delivery(fmt.Sprint("beside", i))), "Authorization", hookSecret); got.status != http.StatusNoContent {
			t.Errorf("a delivery beside the streams: %d %s", got.status, got.body)
		}
	})
	close(stopping)
	bodies.Range(func(_, body any) bool { // each ends in order
		if _, err := io.Copy(io.Discard, body.(io.Reader)); err != nil {
			t.Errorf("a stream at the stop: %v", err)
		}
		body.(io.Closer).Close()
		return true
	})
	client.CloseIdleConnections()
	slow.Close()
	v.isFlat(before, 20<<20) // connections to Redis stay
}

// A query that explodes is ended in its time; others are served meanwhile.
func explodingQueries(t *testing.T, v *victim) {
	v.delivered()
	v.db.QueryTime = 300 * time.Millisecond
	before := costNow()
	explode := `{"query":"Find * as u` + strings.Repeat(" that RELATES TO *", 8) + ` return count(u)"}`
	if got := v.send("POST", "/v1/instances/acme/query", strings.NewReader(explode), "Authorization", "Bearer "+adminToken); got.status != http.StatusUnprocessableEntity {
		t.Fatalf("%d %.300s", got.status, got.body)
	}
	together(16, func(i int) {
		if i%2 == 0 {
			got := v.send("POST", hookPath, strings.NewReader(`{"data":{"events":[]}}`), "Authorization", hookSecret)
			if got.status != http.StatusNoContent {
				t.Errorf("a delivery beside the queries: %d %s", got.status, got.body)
			}
			return
		}
		got := v.send("POST", "/v1/instances/acme/query", strings.NewReader(explode), "Authorization", "Bearer "+adminToken)
		wantProblem(t, got, http.StatusUnprocessableEntity)
	})
	v.isFlat(before, 8<<20)
}

// pipes is a network in memory: under synctest's clock the timeouts of every day
// cost no time.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// Callers who send, or read, a byte now and then are cut off, and keep nobody
// waiting.
func TestSlowCallersAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := make(pipes)
		h := New(nil, Config{AdminToken: adminToken, TriggerToken: triggerToken, Log: slog.New(slog.DiscardHandler)})
		server := Server(h, slog.New(slog.DiscardHandler))
		var ended sync.WaitGroup
		ended.Go(func() { server.Serve(network) })
		dial := func() net.Conn {
			here, there := net.Pipe()
			network <- there
			return here
		}
		const badRequest = "HTTP/1.1 400 " // or nothing, where nothing was said
		// drip writes a text, and then a byte each second until the service ends it.
		drip := func(text, status string, atMost time.Duration) {
			ended.Go(func() {
				conn := dial()
				defer conn.Close()
				began := time.Now()
				var gone atomic.Bool
				ended.Go(func() {
					io.WriteString(conn, text)
					for !gone.Load() {
						time.Sleep(time.Second)
						if _, err := conn.Write([]byte("x")); err != nil {
							return
						}
					}
				})
				got, _ := io.ReadAll(conn)
				gone.Store(true)
				if took := time.Since(began); took > atMost+2*time.Second {
					t.Errorf("%.40q: cut off after %s", text, took)
				}
				if len(got) > 0 && !bytes.HasPrefix(got, []byte(status)) || len(got) == 0 && status != badRequest {
					t.Errorf("%.40q: got %.100q", text, got)
				}
			})
		}
		for range 50 {
			drip("", badRequest, headTimeout)
			drip("GET /admin/inst", badRequest, headTimeout)
			drip("GET /readyz HTTP/1.1\r\nHost: x\r\nA: ", badRequest, headTimeout)
			drip("POST /admin/session HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", "HTTP/1.1 408 ", readTimeout)
			drip("POST /v1/instance-events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+triggerToken+"\r\nContent-Length: 1000\r\n\r\n{", "HTTP/1.1 408 ", readTimeout)
			drip("POST /v1/instance-events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", "HTTP/1.1 401 ", time.Second)
			drip("POST /admin/session HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{", "HTTP/1.1 400 ", idleTimeout) // and then stays
		}
		// Who asks for much and does not read is cut off too.
		ended.Go(func() {
			conn := dial()
			defer conn.Close()
			began := time.Now()
			io.WriteString(conn, "GET /admin/assets/x HTTP/1.1\r\nHost: x\r\n\r\n")
			time.Sleep(sendTimeout + time.Second)
			if got, err := io.ReadAll(conn); len(got) > 0 {
				t.Errorf("after %s it still got %d bytes, %v", time.Since(began), len(got), err)
			}
		})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		// Meanwhile others are served at once.
		conn := dial()
		began := time.Now()
		go io.WriteString(conn, "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if got, err := io.ReadAll(conn); err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 404 ")) || time.Since(began) > 0 {
			t.Errorf("after %s: %s %v", time.Since(began), got, err)
		}
		time.Sleep(idleTimeout + time.Minute)
		synctest.Wait()
		server.Close()
		ended.Wait()
	})
}
