package handlers

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// taken tells whether a delivery to an instance that shows the secret is taken.
func (s *service) taken(instance, secret string) bool {
	s.t.Helper()
	got := s.call("POST", "/hooks/okta/"+instance, strings.NewReader(`{"eventId":"1","data":{"events":[]}}`), "Authorization", secret)
	switch got.status {
	case http.StatusNoContent:
		return true
	case http.StatusUnauthorized:
		return false
	}
	s.t.Fatalf("a delivery: %d %s", got.status, got.body)
	return false
}

func TestNewHookSecretIsValidBesideTheOldOnes(t *testing.T) {
	s := setup(t, "")
	const path, third = "/admin/instances/acme/hook-secrets", "the-third-hook-secret-of-the-tests"
	for range 2 { // the same again changes nothing
		if got := s.post(path, `{"secret":"`+third+`"}`, adminToken); got.status != http.StatusOK || strings.TrimSpace(got.body) != `{"secrets":3}` {
			t.Fatalf("got %d %s", got.status, got.body)
		}
	}
	if !s.taken("acme", hookSecret) || !s.taken("acme", newSecret) || !s.taken("acme", third) {
		t.Error("after a third secret all three must be valid: Okta may send any")
	}
	drop := func(body string) answer {
		t.Helper()
		return s.call("DELETE", path+"/old", strings.NewReader(body), "Authorization", "Bearer "+adminToken, "Content-Type", "application/json")
	}
	for body, status := range map[string]int{`{"secret":"` + newSecret + `"}`: http.StatusConflict, `{"secret":"a-secret-that-nobody-has"}`: http.StatusConflict,
		`{"secret":""}`: http.StatusBadRequest, `{}`: http.StatusBadRequest, ` `: http.StatusBadRequest} {
		wantProblem(t, drop(body), status)
	}
	if !s.taken("acme", hookSecret) || !s.taken("acme", newSecret) {
		t.Error("a refused order dropped a secret")
	}
	for _, body := range []string{`{"secret":"` + third + `"}`, ""} {
		if got := drop(body); got.status != http.StatusNoContent || got.body != "" {
			t.Errorf("got %d %s", got.status, got.body)
		}
	}
	if s.taken("acme", newSecret) || !s.taken("acme", third) {
		t.Error("after the old one was dropped only the newest must be valid")
	}
	if strings.Contains(s.log.String(), third) {
		t.Error("the log tells the secret")
	}
}

func TestNoSecretMakesRoomForAnother(t *testing.T) {
	s := setup(t, "")
	const path = "/admin/instances/acme/hook-secrets"
	s.post(path, `{"secret":"the-third-hook-secret"}`, adminToken)
	s.post(path, `{"secret":"the-fourth-hook-secret"}`, adminToken)
	got := s.post(path, `{"secret":"the-fifth-hook-secret"}`, adminToken)
	wantProblem(t, got, http.StatusConflict)
	if !strings.Contains(got.body, "--finish") || !s.taken("acme", hookSecret) || s.taken("acme", "the-fifth-hook-secret") {
		t.Errorf("%s", got.body)
	}
}

func TestHookSecretsThatAreRefused(t *testing.T) {
	s := setup(t, "")
	const path = "/admin/instances/acme/hook-secrets"
	for body, field := range map[string]string{
		``:                       "secret",
		`{"secret":""}`:          "secret",
		`{"secret":"too short"}`: "secret",
		`{"secret":"` + strings.Repeat("x", 4097) + `"}`:     "secret",
		`{"secret":"with a line end at its end\n"}`:          "secret",
		`{"secret":" with space at its beginning"}`:          "secret",
		`{"secret":["a-list-of-hook-secrets"]}`:              "secret",
		`{"secret":"a-good-enough-secret-1","valid":"soon"}`: "valid",
	} {
		got := s.post(path, body, adminToken)
		wantProblem(t, got, http.StatusBadRequest)
		if len(got.problem.Errors) != 1 || got.problem.Errors[0].Field != field || len(body) > 20 && strings.Contains(got.body, body[11:20]) {
			t.Errorf("%.40s: %s", body, got.body)
		}
	}
	wantProblem(t, s.post(path, "[", adminToken), http.StatusBadRequest)
	wantProblem(t, s.post("/admin/instances/nobody/hook-secrets", `{"secret":"a-good-enough-secret"}`, adminToken), http.StatusNotFound)
	wantProblem(t, s.call("DELETE", "/admin/instances/nobody/hook-secrets/old", nil, "Authorization", "Bearer "+adminToken), http.StatusNotFound)
	if !s.taken("acme", hookSecret) || !s.taken("acme", newSecret) {
		t.Error("a refused secret changed those that were valid")
	}
	close(s.stopping)
	wantProblem(t, s.post(path, `{"secret":"a-good-enough-secret"}`, adminToken), http.StatusServiceUnavailable)
}

// A nightly event need not know the secret, which a rotation may have changed.
func TestInstanceEventWithoutHookSecretsKeepsThem(t *testing.T) {
	s := setup(t, "")
	send := func(secrets any) {
		t.Helper()
		config, err := json.Marshal(map[string]any{"oktaOrgUrl": s.org.URL(), "oktaApiKey": s.org.Token(), "hookSecrets": secrets})
		if err != nil {
			t.Fatal(err)
		}
		text := string(config)
		if secrets == nil {
			text = strings.Replace(text, `"hookSecrets":null,`, "", 1)
		}
		if got := s.post("/v1/instance-events", `{"instance":{"id":"acme","config":`+text+`}}`, triggerToken); got.status != http.StatusAccepted {
			t.Fatalf("got %d %s", got.status, got.body)
		}
	}
	s.post("/admin/instances/acme/hook-secrets", `{"secret":"rotated-meanwhile-by-somebody"}`, adminToken)
	send(nil)
	if !s.taken("acme", "rotated-meanwhile-by-somebody") || !s.taken("acme", newSecret) {
		t.Error("an event without hookSecrets took them away")
	}
	send([]string{hookSecret})
	if !s.taken("acme", hookSecret) || s.taken("acme", newSecret) {
		t.Error("an event with hookSecrets did not replace them")
	}
	send([]string{})
	if s.taken("acme", hookSecret) {
		t.Error("an event with an empty list left a secret")
	}
}

func TestStateOfTheHookIsSeen(t *testing.T) {
	s := setup(t, "")
	ok := func(want string) {
		t.Helper()
		s.read()
		got := "absent"
		if metric := s.metrics().find("oktasync_hook_ok", orgLabel, "acme"); metric != nil {
			got = map[float64]string{0: "0", 1: "1"}[metric.GetGauge().GetValue()]
		}
		if got != want {
			t.Errorf("oktasync_hook_ok: %s, want %s; hook: %+v", got, want, s.status().Hook)
		}
		warned := slices.ContainsFunc(s.health().Warnings, func(w string) bool { return strings.Contains(w, "event hook") })
		if warned != (want == "0") {
			t.Errorf("oktasync_hook_ok %s, warned: %v", want, warned)
		}
		if strings.Contains(s.call("GET", "/healthz", nil).body, "example.com") {
			t.Error("healthz, which anyone may read, tells the hook's address")
		}
	}
	ok("0")
	id := s.org.AddEventHook("ours", oktasim.Hook{URL: "https://example.com/hooks/okta/acme", Types: convert.HookTypes()})
	ok("1")
	if h := s.status().Hook; h == nil || h.ID != id || h.URI != "https://example.com/hooks/okta/acme" {
		t.Errorf("hook: %+v", h)
	}
	if err := s.org.DeactivateEventHook(id); err != nil {
		t.Fatal(err)
	}
	ok("0")
	s.org.Fail(func(r *http.Request) *oktasim.Fault { // for good: the System Log has the hooks looked at, too
		if strings.Contains(r.URL.Path, "/eventHooks") {
			return &oktasim.Fault{Status: 403}
		}
		return nil
	})
	ok("absent")
}

// What this process remembers of an instance must let nobody in whom the store
// would refuse by now, and refuse nobody whom it would let in.
func TestSecretsChangedByAnotherProcessCountAtOnce(t *testing.T) {
	server, _ := redisServer(t)
	s := setup(t, server.URL)
	other, err := engine.New(t.Context(), engine.Config{RedisURL: server.URL, SecretKey: bytes.Repeat([]byte{7}, 32), AllowInsecure: true})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	post := func(secret, body string) int {
		return s.call("POST", "/hooks/okta/acme", strings.NewReader(body), "Authorization", secret).status
	}
	if got := post(hookSecret, delivery("a")); got != 204 { // it is remembered from now on
		t.Fatalf("got %d", got)
	}
	const third = "third-hook-secret-of-the-tests"
	in := engine.Instance{ID: "acme", Name: "Acme", OrgURL: s.org.URL(), Token: s.org.Token(), HookSecrets: []string{third}, Factors: true}
	if err := other.Register(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, secret, body string
		want               int
	}{
		{"a dropped secret", hookSecret, delivery("b"), 401},
		{"the new one", third, delivery("c"), 204},
	} {
		if got := post(c.secret, c.body); got != c.want {
			t.Errorf("%s: got %d, want %d", c.what, got, c.want)
		}
	}
	in.Name = "Acme again"
	if err := other.Register(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if got := post(third, delivery("d")); got != 204 { // the settings are others, the secret is not
		t.Errorf("a secret that stays: got %d", got)
	}
	in.HookSecrets = []string{hookSecret}
	if err := other.Register(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if got := post(third, `{"data":{"events":[]}}`); got != 401 {
		t.Errorf("a dropped secret and no event: got %d", got)
	}
	status, err := other.Instance(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	if n := status.Coverage["user.lifecycle.create"].Hook; n != 3 {
		t.Errorf("%d events were accepted, of 3", n)
	}
	if err := other.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if got := post(hookSecret, delivery("e")); got != 404 {
		t.Errorf("a deleted instance: got %d", got)
	}
}
