package handlers

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// event returns an instance event whose config is changed by some fields; nil
// takes a field away.
func event(change map[string]any) string {
	config := map[string]any{
		"oktaOrgUrl":  "https://example.okta.com",
		"oktaApiKey":  "api-key-of-the-tests",
		"hookSecrets": []string{"hook-secret-of-the-event"},
	}
	maps.Copy(config, change)
	maps.DeleteFunc(config, func(_ string, v any) bool { return v == nil })
	text, _ := json.Marshal(map[string]any{
		"instance": map[string]any{"id": "other", "name": "Other", "accountId": "j1", "config": config, "unknown": 1},
		"mode":     "full",
	})
	return string(text)
}

func (s *service) post(path, body, token string) answer {
	s.t.Helper()
	return s.call("POST", path, strings.NewReader(body), "Authorization", "Bearer "+token)
}

func TestInstanceEventSaysWhichFieldIsWrong(t *testing.T) {
	s := setup(t, "")
	const config = "instance.config."
	for name, c := range map[string]struct{ body, field, detail string }{
		"nothing":        {``, "instance.id", "is required"},
		"empty object":   {`{}`, config + "oktaOrgUrl", "is required"},
		"bad id":         {strings.Replace(event(nil), `"other"`, `"a/b"`, 1), "instance.id", "letters"},
		"number as id":   {strings.Replace(event(nil), `"other"`, `5`, 1), "instance.id", "must be a string"},
		"no key":         {event(map[string]any{"oktaApiKey": nil}), config + "oktaApiKey", "is required"},
		"key with break": {event(map[string]any{"oktaApiKey": "a\r\nb"}), config + "oktaApiKey", "printable"},
		"no URL":         {event(map[string]any{"oktaOrgUrl": nil}), config + "oktaOrgUrl", "is required"},
		"scheme":         {event(map[string]any{"oktaOrgUrl": "ftp://example.okta.com"}), config + "oktaOrgUrl", "https"},
		"user in URL":    {event(map[string]any{"oktaOrgUrl": "https://a:b@example.okta.com"}), config + "oktaOrgUrl", "user"},
		"three secrets":  {event(map[string]any{"hookSecrets": []string{hookSecret, newSecret, hookSecret + "x"}}), config + "hookSecrets", "at most 2 items"},
		"short secret":   {event(map[string]any{"hookSecrets": []string{"short"}}), config + "hookSecrets[0]", "at least 16 characters"},
		"text as factor": {event(map[string]any{"ingest": map[string]any{"factors": "yes"}}), config + "ingest.factors", "true or false"},
		"unknown mode":   {strings.Replace(event(nil), `"full"`, `"half"`, 1), "mode", "must be one of: full, sweep, incremental, verify"},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.post("/v1/instance-events", c.body, triggerToken)
			wantProblem(t, got, http.StatusBadRequest)
			for _, e := range got.problem.Errors {
				if e.Field == c.field && strings.HasPrefix(e.Detail, c.field) && strings.Contains(e.Detail, c.detail) {
					return
				}
			}
			t.Errorf("no error of %s that says %q: %s", c.field, c.detail, got.body)
		})
	}
	for name, body := range map[string]string{"not JSON": "{", "two objects": "{}{}", "an array": "[]"} {
		if got := s.post("/v1/instance-events", body, triggerToken); got.status != http.StatusBadRequest {
			t.Errorf("%s: got %d %s", name, got.status, got.body)
		}
	}
	wantProblem(t, s.post("/v1/instance-events", strings.Repeat(" ", maxJSON+1), triggerToken), http.StatusRequestEntityTooLarge)
	if got := s.get("/admin/instances/other"); got.status != http.StatusNotFound {
		t.Errorf("a refused event left an instance: %d %s", got.status, got.body)
	}
}

func TestInstanceEventRegistersAndReads(t *testing.T) {
	s := setup(t, "")
	body := event(map[string]any{"oktaOrgUrl": s.org.URL() + "/", "oktaApiKey": s.org.Token()})
	got := s.post("/v1/instance-events", body, triggerToken)
	if got.status != http.StatusAccepted {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	var run engine.Run
	if err := json.Unmarshal([]byte(got.body), &run); err != nil {
		t.Fatal(err)
	}
	if run.ID == "" || run.Instance != "other" || run.Mode != "full" || run.Trigger != "instance-event" {
		t.Errorf("run = %+v", run)
	}
	if want := "/admin/runs/" + run.ID; got.header.Get("Location") != want {
		t.Errorf("Location = %q, want %q", got.header.Get("Location"), want)
	}
	s.until("the run to end", func() bool {
		if err := json.Unmarshal([]byte(s.get("/admin/runs/"+run.ID).body), &run); err != nil {
			t.Fatal(err)
		}
		return run.State != engine.RunRunning
	})
	if run.State != engine.RunSucceeded {
		t.Errorf("run = %+v", run)
	}

	var status engine.InstanceStatus
	answer := s.get("/admin/instances/other")
	if err := json.Unmarshal([]byte(answer.body), &status); err != nil {
		t.Fatal(err)
	}
	if status.OrgURL != s.org.URL() || status.Name != "Other" || status.AccountID != "j1" || !status.Factors {
		t.Errorf("status = %+v", status)
	}
	if strings.Contains(answer.body, s.org.Token()) || strings.Contains(answer.body, "hook-secret") {
		t.Errorf("the status shows secrets: %s", answer.body)
	}
	if list := s.get("/admin/instances").body; !strings.Contains(list, `"id":"acme"`) || !strings.Contains(list, `"id":"other"`) {
		t.Errorf("instances: %s", list)
	}
	if list := s.get("/admin/instances/other/runs").body; !strings.Contains(list, run.ID) {
		t.Errorf("runs: %s", list)
	}
	if list := strings.TrimSpace(s.get("/admin/instances/acme/runs").body); list != `{"runs":[]}` {
		t.Errorf("runs of an instance without any: %s", list)
	}
}

// hold keeps the org from listing its users until the returned function is called.
func (s *service) hold() (release func()) {
	held := make(chan struct{})
	release = sync.OnceFunc(func() { close(held) })
	s.t.Cleanup(release)
	s.org.Fail(func(r *http.Request) *oktasim.Fault {
		if r.URL.Path != "/api/v1/users" {
			return nil
		}
		select {
		case <-held:
		case <-r.Context().Done():
		}
		return nil
	})
	return release
}

func TestResyncStartsWhatWasAskedFor(t *testing.T) {
	s := setup(t, "")
	s.read()
	user := s.org.UserIDs()[0]
	for _, body := range []string{
		"", "{}", `{"mode":"full"}`, `{"mode":"sweep"}`, `{"mode":"incremental"}`, `{"force":true}`,
		`{"object":"user/` + user + `"}`, `{"mode":"full","object":"groups","force":true}`, `{"mode":"verify"}`,
	} {
		var want, run engine.Run
		if body != "" {
			if err := json.Unmarshal([]byte(body), &want); err != nil { // its fields have the names of a run's
				t.Fatal(err)
			}
		}
		got := s.post("/admin/instances/acme/resync", body, adminToken)
		if got.status != http.StatusAccepted {
			t.Fatalf("%q: got %d %s", body, got.status, got.body)
		}
		if err := json.Unmarshal([]byte(got.body), &run); err != nil {
			t.Fatal(err)
		}
		if run.Mode != cmp.Or(want.Mode, "full") || run.Object != want.Object || run.Force != want.Force || run.Trigger != "resync" {
			t.Errorf("%q: run %+v", body, run)
		}
		if location := got.header.Get("Location"); location != "/admin/runs/"+run.ID {
			t.Errorf("Location = %q", location)
		}
		s.until("the run to end", func() bool { return s.run(run.ID).EndedAt != nil })
		if run = s.run(run.ID); run.State != engine.RunSucceeded {
			t.Errorf("%q: run %+v", body, run)
		}
	}
}

func TestResyncRefusesWhatItCannotMeet(t *testing.T) {
	s := setup(t, "")
	for body, field := range map[string]string{
		`{"mode":"half"}`:        "mode",
		`{"mode":1}`:             "mode",
		`{"object":"user"}`:      "object", // the engine knows that an id is missing
		`{"object":"user/a/b"}`:  "object",
		`{"object":"session/a"}`: "object",
		`{"object":"user/"}`:     "object",
		`{"object":"user/a b"}`:  "object",
		`{"object":"user/../a"}`: "object",
		`{"object":"a/b/c/d"}`:   "object",
		`{"object":"user/` + strings.Repeat("x", 300) + `"}`: "object",
		`{"force":"yes"}`:     "force",
		`{"objects":"users"}`: "objects",
	} {
		got := s.post("/admin/instances/acme/resync", body, adminToken)
		wantProblem(t, got, http.StatusBadRequest)
		if len(got.problem.Errors) != 1 || got.problem.Errors[0].Field != field {
			t.Errorf("%s: got %s", body, got.body)
		}
	}
	if list := strings.TrimSpace(s.get("/admin/instances/acme/runs").body); list != `{"runs":[]}` {
		t.Errorf("a refused resync left a run: %s", list)
	}
	wantProblem(t, s.post("/admin/instances/nobody/resync", "{}", adminToken), http.StatusNotFound)
}

// A run at work is given back, but not as the answer to another wish.
func TestResyncDuringARun(t *testing.T) {
	s := setup(t, "")
	release := s.hold()
	first := s.post("/admin/instances/acme/resync", "", adminToken)
	if again := s.post("/admin/instances/acme/resync", `{"mode":"full"}`, adminToken); again.status != http.StatusAccepted ||
		again.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("the same again: %d %s", again.status, again.body)
	}
	for _, body := range []string{`{"mode":"sweep"}`, `{"force":true}`, `{"object":"users"}`} {
		got := s.post("/admin/instances/acme/resync", body, adminToken)
		wantProblem(t, got, http.StatusConflict)
		if !strings.Contains(got.problem.Detail, strings.TrimPrefix(first.header.Get("Location"), "/admin/runs/")) {
			t.Errorf("the run at work is not named: %s", got.body)
		}
	}
	// A scheduler gets the run whatever its mode.
	body := strings.NewReplacer(`"other"`, `"acme"`, `"full"`, `"sweep"`).Replace(
		event(map[string]any{"oktaOrgUrl": s.org.URL(), "oktaApiKey": s.org.Token(), "hookSecrets": []string{hookSecret, newSecret}}))
	if got := s.post("/v1/instance-events", body, triggerToken); got.status != http.StatusAccepted || !strings.Contains(got.body, `"full"`) {
		t.Errorf("instance event: %d %s", got.status, got.body)
	}
	release()
}

func TestInstanceEventTakesEveryMode(t *testing.T) {
	s := setup(t, "")
	config := map[string]any{"oktaOrgUrl": s.org.URL(), "oktaApiKey": s.org.Token()}
	for _, mode := range engine.Modes {
		id := "with-" + mode
		body := strings.NewReplacer(`"other"`, `"`+id+`"`, `"full"`, `"`+mode+`"`).Replace(event(config))
		if got := s.post("/v1/instance-events", body, triggerToken); got.status != http.StatusAccepted || !strings.Contains(got.body, `"mode":"`+mode+`"`) {
			t.Errorf("%s: %d %s", mode, got.status, got.body)
		}
	}
}

func TestInstanceWithoutHookSecretsIsWarnedOf(t *testing.T) {
	s := setup(t, "")
	config := map[string]any{"oktaOrgUrl": s.org.URL(), "oktaApiKey": s.org.Token()}
	const warning = "has no hook secrets"
	s.post("/v1/instance-events", event(config), triggerToken)
	config["hookSecrets"] = nil // those it has stay
	s.post("/v1/instance-events", event(config), triggerToken)
	if strings.Contains(s.log.String(), warning) {
		t.Error("warned although there are secrets")
	}
	config["hookSecrets"] = []string{}
	if got := s.post("/v1/instance-events", event(config), triggerToken); got.status != http.StatusAccepted {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if log := s.log.String(); !strings.Contains(log, warning) || !strings.Contains(log, "instance=other") {
		t.Error("no warning")
	}
}

func TestUnknownInstancesAndRunsAre404(t *testing.T) {
	s := setup(t, "")
	for _, path := range []string{
		"/admin/instances/nobody", "/admin/instances/nobody/runs", "/admin/runs/nothing", "/admin/runs/" + strings.Repeat("x", 500),
		"/v1/instances/nobody/graph", "/v1/instances/nobody/changes", "/v1/instances/nobody/changes?from=start",
	} {
		wantProblem(t, s.get(path), http.StatusNotFound)
	}
}
