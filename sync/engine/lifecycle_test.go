package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// logged keeps what is logged.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const hookSecret = "the-secret-of-the-event-hook-in-clear"

// The engine at work as in production: it starts, reads the org, follows its
// hook, stops at once and leaves nothing behind, in memory, at rest or in the log.
func TestRunFromStartToStop(t *testing.T) {
	server, err := statetest.Start() // Run works for all instances of a server
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(), goleak.IgnoreAnyFunction("github.com/patrickmn/go-cache.(*janitor).Run"))
	sim, err := oktasim.Start(oktasim.Config{Seed: 9, Users: 20, Groups: 5, Apps: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	var log logged
	cfg := Config{RedisURL: server.URL, SecretKey: bytes.Repeat([]byte{7}, 32), AllowInsecure: true, DeleteRatio: 0.2,
		ReadMargin: 10 * time.Millisecond, ListAllowance: 50 * time.Millisecond,
		Log: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	e, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()

	in := Instance{ID: statetest.Instance(), Name: "Acme", OrgURL: sim.URL(), Token: sim.Token(), HookSecrets: []string{hookSecret}, Factors: true}
	if err := e.Register(ctx, in); err != nil {
		t.Fatal(err)
	}
	grew := make(chan struct{}, 1)
	defer e.store.Org(in.ID).Notify(grew, state.ChangesStream)()
	// wait follows the changes until the condition holds.
	wait := func(what string, holds func(InstanceStatus) bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; {
			status, err := e.Instance(ctx, in.ID)
			if err != nil {
				t.Fatal(err)
			}
			if holds(status) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("no %s within 20 s: %+v\nlog:\n%s", what, status, log.String())
			}
			await(ctx, grew, 20*time.Millisecond)
		}
	}
	if _, err := e.StartRun(ctx, in.ID, Start{Trigger: "test"}); err != nil {
		t.Fatal(err)
	}
	wait("whole graph", func(s InstanceStatus) bool { return s.Whole && s.LastRun.State == RunSucceeded })

	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		d, err2 := okta.ParseDelivery(body)
		if errors.Join(err, err2, e.Accept(r.Context(), in.ID, d)) != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer hook.Close()
	sender := sim.NewSender(oktasim.Hook{URL: hook.URL, Secret: hookSecret}, oktasim.Faults{Double: 0.2, Swap: true, Batch: 7})
	if err := sender.Deliver(ctx, sim.Mutate(60)); err != nil {
		t.Fatal(err)
	}
	wait("end of what follows from the events", func(s InstanceStatus) bool { return s.Inbox == 0 && s.Refreshes == 0 })
	if err := e.Accept(ctx, in.ID, sample(t, "group.user_membership.add")); err != nil { // and one of things unknown
		t.Fatal(err)
	}
	sim.FailNext(1, "/api/v1/apps?", oktasim.Fault{Status: 403})
	if _, err := e.StartRun(ctx, in.ID, Start{Trigger: "test"}); err != nil {
		t.Fatal(err)
	}
	wait("end of the run", func(s InstanceStatus) bool { return s.LastRun.State == RunIncomplete })

	graph := map[string]string{}
	for object, err := range e.Graph(ctx, in.ID) {
		if err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(object)
		graph[object.Key()] = string(b)
	}
	for _, id := range sim.UserIDs() {
		if graph[id] == "" {
			t.Errorf("user %s is not in the graph", id)
		}
	}

	// Stop in the middle of a run.
	if _, err := e.StartRun(ctx, in.ID, Start{Trigger: "test"}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	stop()
	select {
	case err := <-ran:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("stopping took %v", took)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run does not return")
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	sim.Close()
	hook.Close()

	secrets := []string{sim.Token(), hookSecret, "SSWS"}
	values := atRest(t, server.URL, in.ID)
	if len(values) < 50 {
		t.Errorf("only %d values at rest", len(values))
	}
	for key, value := range values {
		for _, secret := range secrets {
			if strings.Contains(value, secret) || strings.Contains(key, secret) {
				t.Errorf("%s holds a secret in clear", key)
			}
		}
	}
	text := log.String()
	if !strings.Contains(text, "run ended") || !strings.Contains(text, "list could not be read") {
		t.Errorf("the log does not tell of the runs:\n%s", text)
	}
	for _, raw := range sim.Snapshot().Users {
		var u struct {
			Profile struct{ Login, Email, LastName string }
		}
		if err := json.Unmarshal(raw, &u); err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, u.Profile.Login, u.Profile.Email)
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(text, secret) {
			t.Errorf("the log tells %q", secret)
		}
	}
	if strings.Contains(text, "@") {
		t.Errorf("the log holds an address:\n%s", text)
	}
}

// atRest is all that Redis keeps of an instance, by key and field.
func atRest(t *testing.T, url, instance string) map[string]string {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	ctx := t.Context()
	values := map[string]string{}
	keys, err := rdb.Keys(ctx, "oktasync:{"+instance+"}:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		kind, err := rdb.Type(ctx, key).Result()
		if err != nil {
			t.Fatal(err)
		}
		switch kind {
		case "string":
			values[key], err = rdb.Get(ctx, key).Result()
		case "hash":
			var fields map[string]string
			fields, err = rdb.HGetAll(ctx, key).Result()
			for field, value := range fields {
				values[key+" "+field] = value
			}
		case "set":
			var members []string
			members, err = rdb.SMembers(ctx, key).Result()
			values[key] = strings.Join(members, " ")
		case "zset":
			var members []string
			members, err = rdb.ZRange(ctx, key, 0, -1).Result()
			values[key] = strings.Join(members, " ")
		case "list":
			var members []string
			members, err = rdb.LRange(ctx, key, 0, -1).Result()
			values[key] = strings.Join(members, " ")
		case "stream":
			var entries []redis.XMessage
			entries, err = rdb.XRange(ctx, key, "-", "+").Result()
			for _, entry := range entries {
				for field, value := range entry.Values {
					values[key+" "+entry.ID+" "+field], _ = value.(string)
				}
			}
		default:
			t.Errorf("%s is a %s", key, kind)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return values
}

// With another key the secrets do not open, and that is said where people look.
func TestWrongSecretKeyIsSaid(t *testing.T) {
	clock := newClock()
	sim := oktasim.New(t, oktasim.Config{Seed: 1, Users: 3, Groups: 1, Apps: 1, Clock: clock})
	e := newEngine(t, clock, 0)
	in := Instance{ID: statetest.Instance(), Name: "Acme", OrgURL: sim.URL(), Token: sim.Token(), HookSecrets: []string{hookSecret}}
	if err := e.Register(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if secrets, err := e.HookSecrets(t.Context(), in.ID); err != nil || !cmp.Equal(secrets, in.HookSecrets) {
		t.Errorf("with the right key: %d secrets, %v", len(secrets), err)
	}

	if _, err := New(t.Context(), Config{RedisURL: statetest.URL(t), SecretKey: []byte("short")}); err == nil || !strings.Contains(err.Error(), "OKTASYNC_SECRET_KEY has 5 bytes") {
		t.Errorf("short key: %v", err)
	}
	other, err := New(t.Context(), Config{RedisURL: statetest.URL(t), SecretKey: bytes.Repeat([]byte{1}, 32), AllowInsecure: true, DeleteRatio: 0.2})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, err = other.HookSecrets(t.Context(), in.ID)
	if err == nil || !strings.Contains(err.Error(), in.ID) || !strings.Contains(err.Error(), "OKTASYNC_SECRET_KEY") || strings.Contains(err.Error(), hookSecret) {
		t.Errorf("with another key: %v", err)
	}
	settings, err := other.store.Org(in.ID).Instance(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	o := other.newOrg(ctx, in.ID, settings, state.Lease{Org: other.store.Org(in.ID)})
	go o.work()
	status := InstanceStatus{}
	for deadline := time.Now().Add(10 * time.Second); status.Problem == "" && time.Now().Before(deadline); {
		if status, err = other.Instance(t.Context(), in.ID); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	<-o.stopped
	if !strings.Contains(status.Problem, "OKTASYNC_SECRET_KEY") {
		t.Errorf("problem: %q", status.Problem)
	}
	// The instance event, sent again, mends it.
	if err := other.Register(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if secrets, err := other.HookSecrets(t.Context(), in.ID); err != nil || !cmp.Equal(secrets, in.HookSecrets) {
		t.Errorf("registered again: %d secrets, %v", len(secrets), err)
	}
}

// An org that does not answer is seen in the state of its instance, not in the log alone.
func TestOrgThatDoesNotAnswerIsAProblemUntilItDoes(t *testing.T) {
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	sim := oktasim.New(t, oktasim.Config{Seed: 5, Users: 3, Groups: 1, Apps: 1})
	sim.Fail(func(*http.Request) *oktasim.Fault { return &oktasim.Fault{Drop: true} })
	r := startReplica(t, server.URL, "one")
	defer r.halt()
	if err := r.e.Register(t.Context(), Instance{ID: "lost", Name: "Lost", OrgURL: sim.URL(), Token: sim.Token()}); err != nil {
		t.Fatal(err)
	}
	problem := func() string {
		status, err := r.e.Instance(t.Context(), "lost")
		if err != nil {
			t.Fatal(err)
		}
		return status.Problem
	}
	eventually(t, "the problem shows", time.Minute, func() bool { return problem() != "" })
	sim.Fail(nil)
	eventually(t, "the problem is over", time.Minute, func() bool { return problem() == "" })
}

// A deletion that broke off after its first step is finished by the next.
func TestDeletionThatBrokeOffIsFinished(t *testing.T) {
	e, _, rdb := ownRedis(t)
	for _, id := range []string{"gone", "kept"} {
		if err := e.Register(t.Context(), Instance{ID: id, Name: id, OrgURL: "http://127.0.0.1:1", Token: "token"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := rdb.Del(t.Context(), "oktasync:{gone}:instance").Err(); err != nil {
		t.Fatal(err)
	}
	if err := e.Delete(t.Context(), "gone"); !errors.Is(err, ErrUnknownInstance) {
		t.Errorf("deleted again: %v", err)
	}
	if left := rdb.Keys(t.Context(), "oktasync:{gone}:*").Val(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if ids := rdb.SMembers(t.Context(), "oktasync:instances").Val(); !slices.Equal(ids, []string{"kept"}) {
		t.Errorf("instances: %v", ids)
	}
}
