package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/sqldb"
)

const (
	adminToken   = "admin-token-of-the-tests"
	triggerToken = "trigger-token-of-the-tests"
	hookSecret   = "first-hook-secret-of-the-tests"
	newSecret    = "Basic c2Vjb25kOmhvb2sgc2VjcmV0"
)

// service is the edge before a real engine, over real HTTP.
type service struct {
	t        *testing.T
	url      string
	engine   *engine.Engine
	org      *oktasim.Org // of the instance acme
	api      *echo.Echo
	db       *sqldb.DB // answers queries
	log      *logBuffer
	stopping chan struct{}
}

// setup starts the service with one instance, acme, that has two hook secrets
// and was not read yet. redisURL "" is embedded state.
func setup(t *testing.T, redisURL string) *service {
	t.Helper()
	s := &service{t: t, log: &logBuffer{}, stopping: make(chan struct{})}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.org = oktasim.New(t, oktasim.Config{Seed: 1, Users: 20, Groups: 4, Apps: 2, AppUsers: 15})

	var err error
	if s.db, err = sqldb.Open(t.Context(), "sql:"+filepath.Join(t.TempDir(), "graph.db"), log); err != nil {
		t.Fatal(err)
	}
	instruments := NewInstruments("v1.2.3", "abc", "go1")
	s.engine, err = engine.New(t.Context(), engine.Config{
		RedisURL: redisURL, SecretKey: bytes.Repeat([]byte{7}, 32), Share: 1, MaxInFlight: 10,
		ReadMargin: time.Millisecond, ListAllowance: time.Millisecond, AllowInsecure: true, Log: log, Sinks: []sink.Sink{s.db},
		Observe: instruments.Engine(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.engine.Run(ctx) }()

	s.api = New(s.engine, Config{
		AdminToken: adminToken, TriggerToken: triggerToken, AllowInsecure: true, Stopping: s.stopping, Log: log, Query: s.db.Query, Database: s.db.Name(),
		Proxies:   []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}},
		heartbeat: 50 * time.Millisecond, Instruments: instruments,
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + listener.Addr().String()
	server := Server(s.api, log)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	t.Cleanup(func() {
		server.Close()
		<-served
		cancel()
		if err := <-ran; err != nil && redisURL == "" {
			t.Errorf("engine: %v", err)
		}
		s.engine.Close()
		s.db.Close()
	})
	s.register(t.Context())
	s.until("the instance to have an owner", func() bool {
		status, err := s.engine.Instance(t.Context(), "acme")
		return err == nil && status.Owner != ""
	})
	return s
}

// status is what the service says of acme.
func (s *service) status() (status engine.InstanceStatus) {
	s.t.Helper()
	s.json("/admin/instances/acme", &status)
	return status
}

// run is what the service says of a run.
func (s *service) run(id string) (run engine.Run) {
	s.t.Helper()
	s.json("/admin/runs/"+id, &run)
	return run
}

func (s *service) json(path string, v any) {
	s.t.Helper()
	got := s.get(path)
	if got.status != http.StatusOK {
		s.t.Fatalf("%s: %d %s", path, got.status, got.body)
	}
	if err := json.Unmarshal([]byte(got.body), v); err != nil {
		s.t.Fatalf("%s: %v", path, err)
	}
}

func (s *service) register(ctx context.Context) {
	s.t.Helper()
	if err := s.engine.Register(ctx, engine.Instance{
		ID: "acme", Name: "Acme", OrgURL: s.org.URL(), Token: s.org.Token(),
		HookSecrets: []string{hookSecret, newSecret}, Factors: true,
	}); err != nil {
		s.t.Fatal(err)
	}
}

// read reads acme in full.
func (s *service) read() engine.Run {
	s.t.Helper()
	run, err := s.engine.StartRun(s.t.Context(), "acme", engine.Start{Trigger: "test"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.until("the run to end and the graph to be whole", func() bool {
		if run, err = s.engine.RunByID(s.t.Context(), run.ID); err != nil {
			s.t.Fatal(err)
		}
		status, err := s.engine.Instance(s.t.Context(), "acme")
		if err != nil {
			s.t.Fatal(err)
		}
		return run.State != engine.RunRunning && status.Whole && status.Inbox == 0 && status.Refreshes == 0
	})
	return run
}

// until waits for a state that others bring about.
func (s *service) until(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain for %s", what)
		}
	}
}

type answer struct {
	status  int
	header  http.Header
	body    string
	problem problem // if it is one
}

// call sends a request; headers are pairs.
func (s *service) call(method, path string, body io.Reader, headers ...string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(text)}
	if resp.Header.Get("Content-Type") == "application/problem+json" {
		if err := json.Unmarshal(text, &a.problem); err != nil {
			s.t.Fatalf("%s: %v", text, err)
		}
	}
	return a
}

func (s *service) get(path string) answer {
	s.t.Helper()
	return s.call("GET", path, nil, "Authorization", "Bearer "+adminToken)
}

// wantProblem checks that an answer is a clear error of the status.
func wantProblem(t *testing.T, a answer, status int) {
	t.Helper()
	p := a.problem
	if a.status != status || p.Status != status || p.Type != "about:blank" || p.Title != http.StatusText(status) ||
		!strings.HasPrefix(p.Instance, "urn:oktasync:request:") {
		t.Errorf("got %d %s, want the problem of a %d", a.status, a.body, status)
	}
	if status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") == "" {
		t.Error("a 401 without WWW-Authenticate")
	}
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestEveryRouteButHooksAndHealthNeedsItsToken(t *testing.T) {
	s := setup(t, "")
	open := map[string]bool{"/hooks/okta/:instance": true, "/healthz": true, "/readyz": true, "/metrics": true,
		"/admin": true, "/admin/assets/*": true, "POST /admin/session": true} // the page itself holds nothing
	n := 0
	for _, r := range s.api.Routes() {
		if open[r.Path] || open[r.Method+" "+r.Path] {
			continue
		}
		n++
		address := fmt.Sprintf("192.0.2.%d", n) // each may guess but so often
		path := strings.NewReplacer(":instance", "acme", ":run", "x", ":letter", "1-1").Replace(r.Path)
		wrong := []string{"", "Bearer", "Bearer ", "Bearer x", "Basic " + adminToken, adminToken,
			"Bearer " + adminToken + "x", "Bearer " + strings.Repeat("x", 5000)}
		if r.Path == "/v1/instance-events" {
			wrong = append(wrong, "Bearer "+adminToken)
		} else {
			wrong = append(wrong, "Bearer "+triggerToken)
		}
		for _, header := range wrong {
			wantProblem(t, s.call(r.Method, path, nil, "X-Forwarded-For", address, "Authorization", header), http.StatusUnauthorized)
		}
		wantProblem(t, s.call(r.Method, path, nil), http.StatusUnauthorized)
	}
	if n < 20 {
		t.Errorf("only %d routes were tried", n)
	}
}

func TestWithoutATokenSetNoTokenFits(t *testing.T) {
	e := New(nil, Config{Log: slog.New(slog.DiscardHandler)})
	for _, header := range []string{"", "Bearer", "Bearer "} {
		rec := newRecorder()
		req := newRequest("GET", "/admin/instances", nil)
		req.Header.Set("Authorization", header)
		e.ServeHTTP(rec, req)
		if rec.Code != http.StatusUnauthorized {
			t.Errorf("%q: got %d", header, rec.Code)
		}
	}
}

func TestUnknownRoutesAndMethodsAreProblems(t *testing.T) {
	s := setup(t, "")
	wantProblem(t, s.get("/nothing/here"), http.StatusNotFound)
	wantProblem(t, s.call("DELETE", "/hooks/okta/acme", nil), http.StatusMethodNotAllowed)
}

func TestPanicIsA500AndTheServiceLives(t *testing.T) {
	s := setup(t, "")
	s.api.GET("/panic", func(echo.Context) error { panic("holds a secret: " + hookSecret) })
	wantProblem(t, s.get("/panic"), http.StatusInternalServerError)
	if got := s.get("/healthz"); got.status != http.StatusOK {
		t.Errorf("healthz after a panic: %d", got.status)
	}
	if !strings.Contains(s.log.String(), "handler panicked") {
		t.Error("the panic is not in the log")
	}
	if strings.Contains(s.log.String(), hookSecret) {
		t.Error("the log shows what the panic held")
	}
}

func TestErrorsNobodyForesawTellNothing(t *testing.T) {
	p := problemOf(errors.New("dial redis://user:password@host"))
	if p.Status != http.StatusInternalServerError || strings.Contains(p.Detail, "password") {
		t.Errorf("got %+v", p)
	}
}

// Okta repeats a delivery after a 503, and the operator is told what to do.
func TestInstanceSealedWithAnotherKeyIsA503(t *testing.T) {
	p := problemOf(fmt.Errorf("read the hook secrets: %w", engine.ErrSealed))
	if p.Status != http.StatusServiceUnavailable || !strings.Contains(p.Detail, "OKTASYNC_SECRET_KEY") {
		t.Errorf("got %+v", p)
	}
}
