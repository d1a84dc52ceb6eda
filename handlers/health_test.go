package handlers

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/engine"
)

// redisServer starts a redis-server for one test, and returns a client for it.
func redisServer(t *testing.T) (*statetest.Server, *redis.Client) {
	t.Helper()
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	opts, err := redis.ParseURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	t.Cleanup(func() { client.Close() })
	return server, client
}

type healthAnswer struct {
	Status string `json:"status"`
	engine.Health
}

// health is what /healthz says, which is always a 200.
func (s *service) health() (h healthAnswer) {
	s.t.Helper()
	got := s.call("GET", "/healthz", nil)
	if got.status != http.StatusOK {
		s.t.Fatalf("healthz: %d %s", got.status, got.body)
	}
	if err := json.Unmarshal([]byte(got.body), &h); err != nil {
		s.t.Fatalf("healthz: %s: %v", got.body, err)
	}
	return h
}

func TestHealthOfEmbeddedState(t *testing.T) {
	s := setup(t, "")
	if h := s.health(); h.Status != "ok" || !h.Redis.Embedded || len(h.Warnings) != 1 || !strings.Contains(h.Warnings[0], "OKTASYNC_REDIS_URL") {
		t.Errorf("health: %+v", h)
	}
	if got := s.call("GET", "/readyz", nil); got.status != 200 {
		t.Errorf("readyz: %d %s", got.status, got.body)
	}
	close(s.stopping)
	wantProblem(t, s.call("GET", "/readyz", nil), http.StatusServiceUnavailable)
	if h := s.health(); h.Status != "ok" {
		t.Errorf("healthz while stopping: %+v", h)
	}
}

// A restart of the process does not cure Redis: it stays alive, and tells.
func TestRedisDown(t *testing.T) {
	server, _ := redisServer(t)
	s := setup(t, server.URL)
	if h := s.health(); h.Status != "ok" || h.Redis.Version == "" || h.Redis.AOF || len(h.Warnings) != 1 || !strings.Contains(h.Warnings[0], "appendonly") {
		t.Errorf("with Redis up: %+v", h)
	}
	deliver := func(uuid, secret string) answer {
		return s.call("POST", "/hooks/okta/acme", strings.NewReader(delivery(uuid)), "Authorization", secret)
	}
	if got := deliver("a", hookSecret); got.status != http.StatusNoContent {
		t.Fatalf("with Redis up: %d %s", got.status, got.body)
	}

	server.Kill()
	for _, secret := range []string{hookSecret, "wrong"} {
		got := deliver("b", secret)
		wantProblem(t, got, http.StatusServiceUnavailable)
		if got.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if h := s.health(); h.Status != "degraded" || len(h.Warnings) != 1 || strings.Contains(h.Warnings[0], server.URL) {
		t.Errorf("with Redis down: %+v", h)
	}
	wantProblem(t, s.call("GET", "/readyz", nil), http.StatusServiceUnavailable)
	wantProblem(t, s.get("/admin/instances"), http.StatusServiceUnavailable)
	if m := s.metrics(); m.value("oktasync_up") != 0 || m["oktasync_whole"] != nil {
		t.Errorf("metrics with Redis down: up %v, whole %v", m.value("oktasync_up"), m["oktasync_whole"])
	}

	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	s.until("readiness", func() bool { return s.call("GET", "/readyz", nil).status == http.StatusOK })
	if h := s.health(); h.Status != "ok" {
		t.Errorf("with Redis up again: %+v", h)
	}
	// This Redis kept nothing: the service makes the instance known again.
	s.until("the hook to be taken again", func() bool { return deliver("b", hookSecret).status == http.StatusNoContent })
}

func TestRedisThatHangsHoldsUpNoHealth(t *testing.T) {
	server, client := redisServer(t)
	s := setup(t, server.URL)
	if err := client.Do(t.Context(), "CLIENT", "PAUSE", 60_000, "ALL").Err(); err != nil {
		t.Fatal(err)
	}
	defer server.Kill() // a paused Redis takes no order to go on
	start := time.Now()
	if h := s.health(); h.Status != "degraded" {
		t.Errorf("health: %+v", h)
	}
	wantProblem(t, s.call("GET", "/readyz", nil), http.StatusServiceUnavailable)
	if took := time.Since(start); took > 3*lookTimeout {
		t.Errorf("both took %s", took)
	}
}

// Before Redis is full no event is taken any more, so that those that were can
// be worked on.
func TestRedisNearlyFullIs503(t *testing.T) {
	server, client := redisServer(t)
	s := setup(t, server.URL)
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	deliver := func() answer {
		return s.call("POST", "/hooks/okta/acme", strings.NewReader(delivery("a")), "Authorization", hookSecret)
	}
	got := deliver()
	wantProblem(t, got, http.StatusServiceUnavailable)
	if got.header.Get("Retry-After") == "" || !strings.Contains(got.problem.Detail, "maxmemory") {
		t.Errorf("no Retry-After or remedy: %v %s", got.header, got.body)
	}
	if h := s.health(); h.Redis.MaxBytes != 1 || len(h.Warnings) != 2 {
		t.Errorf("health: %+v", h)
	}
	if err := client.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	s.until("room for the event", func() bool { return deliver().status == http.StatusNoContent })
}
