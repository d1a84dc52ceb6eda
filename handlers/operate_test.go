package handlers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

func TestPauseAndResume(t *testing.T) {
	s := setup(t, "")
	for _, order := range []string{"pause", "pause", "resume", "resume"} {
		if got := s.post("/admin/instances/acme/"+order, "", adminToken); got.status != http.StatusNoContent || got.body != "" {
			t.Errorf("%s: %d %s", order, got.status, got.body)
		}
		if paused := s.status().Paused; paused != (order == "pause") {
			t.Errorf("after %s: paused = %v", order, paused)
		}
		if got := s.call("POST", "/hooks/okta/acme", strings.NewReader(delivery(order)), "Authorization", hookSecret); got.status != http.StatusNoContent {
			t.Errorf("a delivery after %s: %d %s", order, got.status, got.body)
		}
		wantProblem(t, s.post("/admin/instances/nobody/"+order, "", adminToken), http.StatusNotFound)
	}
}

func TestDeletedInstanceIsGone(t *testing.T) {
	s := setup(t, "")
	s.read()
	remove := func(id string) answer {
		return s.call("DELETE", "/admin/instances/"+id, nil, "Authorization", "Bearer "+adminToken)
	}
	wantProblem(t, remove("nobody"), http.StatusNotFound)
	if got := remove("acme"); got.status != http.StatusNoContent {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	wantProblem(t, s.get("/admin/instances/acme"), http.StatusNotFound)
	wantProblem(t, s.get("/v1/instances/acme/graph"), http.StatusNotFound)
	wantProblem(t, s.call("POST", "/hooks/okta/acme", strings.NewReader(delivery("a")), "Authorization", hookSecret), http.StatusNotFound)
	wantProblem(t, remove("acme"), http.StatusNotFound)
	if list := strings.TrimSpace(s.get("/admin/instances").body); list != `{"instances":[]}` {
		t.Errorf("instances: %s", list)
	}

	// Registered again it begins anew.
	s.register(t.Context())
	if status := s.status(); status.Whole || status.LastRun != nil || status.Changes > 1 { // the account may be known at once
		t.Errorf("registered again: %+v", status)
	}
	s.read()
	if all := lines(t, s.get("/v1/instances/acme/graph").body); all["okta_user"] != len(s.org.Snapshot().Users) {
		t.Errorf("read again: %v", all)
	}
}

func TestCancelEndsARun(t *testing.T) {
	s := setup(t, "")
	s.hold()
	location := s.post("/admin/instances/acme/resync", "", adminToken).header.Get("Location")
	id := strings.TrimPrefix(location, "/admin/runs/")
	wantProblem(t, s.post(location+"/approve", "", adminToken), http.StatusConflict)
	got := s.post(location+"/cancel", "", adminToken)
	if got.status != http.StatusAccepted || got.header.Get("Location") != location || !strings.Contains(got.body, id) {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	s.until("the run to be canceled", func() bool { return s.run(id).State == engine.RunCanceled })
	wantProblem(t, s.post(location+"/cancel", "", adminToken), http.StatusConflict)
	wantProblem(t, s.post(location+"/approve", "", adminToken), http.StatusConflict)
	for _, path := range []string{"/admin/runs/nothing", "/admin/runs/acme-nothing", "/admin/runs/" + strings.Repeat("x", 500)} {
		wantProblem(t, s.post(path+"/cancel", "", adminToken), http.StatusNotFound)
		wantProblem(t, s.post(path+"/approve", "", adminToken), http.StatusNotFound)
	}
}

// heldRun has a run hold the deletes of all users of an application.
func (s *service) heldRun() (id string) {
	s.t.Helper()
	s.read()
	s.org.Fail(func(r *http.Request) *oktasim.Fault { // the log would announce them
		if r.URL.Path == "/api/v1/logs" {
			return &oktasim.Fault{Status: http.StatusForbidden}
		}
		return nil
	})
	gone := 0
	for _, app := range s.org.AppIDs("") {
		for _, user := range s.org.UserIDs() {
			if _, err := s.org.UnassignUser(app, user); err == nil {
				gone++
			}
		}
	}
	if gone < 20 {
		s.t.Fatalf("only %d assignments could be taken away", gone)
	}
	id = strings.TrimPrefix(s.post("/admin/instances/acme/resync", "", adminToken).header.Get("Location"), "/admin/runs/")
	s.until("the run to hold", func() bool { return s.run(id).State == engine.RunHeld })
	if held := s.run(id).Held; held == nil || held.Kinds["appuser"].Deletes != int64(gone) || len(held.Kinds["appuser"].Samples) == 0 {
		s.t.Fatalf("%d are gone, the run holds %+v", gone, held)
	}
	if status := s.status(); status.Held != int64(gone) {
		s.t.Errorf("the status shows %d held, want %d", status.Held, gone)
	}
	if n := s.assignments(); n < gone {
		s.t.Errorf("%d assignments are left in the graph before the approval, want at least %d", n, gone)
	}
	return id
}

func (s *service) assignments() int {
	return lines(s.t, s.get("/v1/instances/acme/graph").body)["okta_user_assigned_application"]
}

func TestApprovedDeletesHappen(t *testing.T) {
	s := setup(t, "")
	id := s.heldRun()
	before := s.assignments()
	if got := s.post("/admin/runs/"+id+"/approve", "", adminToken); got.status != http.StatusAccepted || !strings.Contains(got.body, id) {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	s.until("the deletes", func() bool { return s.status().Held == 0 })
	if after := s.assignments(); after >= before {
		t.Errorf("%d assignments before the approval, %d after it", before, after)
	}
	wantProblem(t, s.post("/admin/runs/"+id+"/approve", "", adminToken), http.StatusConflict)
}

func TestCanceledDeletesDoNotHappen(t *testing.T) {
	s := setup(t, "")
	id := s.heldRun()
	before := s.assignments()
	if got := s.post("/admin/runs/"+id+"/cancel", "", adminToken); got.status != http.StatusAccepted {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	s.until("nothing to be held", func() bool { return s.status().Held == 0 })
	if after := s.assignments(); after != before {
		t.Errorf("%d assignments before the cancellation, %d after it", before, after)
	}
}

func TestDeadLetters(t *testing.T) {
	s := setup(t, "")
	const path = "/admin/instances/acme/dead-letters"
	type letter struct {
		engine.DeadLetter
		Event json.RawMessage `json:"event"`
	}
	list := func(query string) (letters []letter) {
		t.Helper()
		var got struct{ DeadLetters []letter }
		s.json(path+query, &got)
		return got.DeadLetters
	}
	if body := strings.TrimSpace(s.get(path).body); body != `{"deadLetters":[]}` {
		t.Errorf("none: %s", body)
	}
	// One cannot be read; one is from the future, which the owner finds out.
	future := strings.ReplaceAll(delivery("future"), time.Now().UTC().Format("2006-01-02"), "2999-01-01")
	for _, body := range []string{`{"data":{"events":[{"uuid":5,"displayName":"Ada Profile"}]}}`, future} {
		if got := s.call("POST", "/hooks/okta/acme", strings.NewReader(body), "Authorization", hookSecret); got.status != http.StatusNoContent {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	s.until("two dead letters", func() bool { return len(list("")) == 2 })
	all := list("")
	for _, l := range all {
		if l.ID == "" || l.Reason == "" || time.Since(l.At) > time.Hour || l.Event != nil {
			t.Errorf("letter %+v", l)
		}
	}
	if all[1].UUID != "future" || all[1].EventType != "user.lifecycle.create" {
		t.Errorf("letter %+v", all[1])
	}
	if first, second := list("?limit=1"), list("?after="+all[0].ID); len(first) != 1 || first[0].ID != all[0].ID || len(second) != 1 || second[0].ID != all[1].ID {
		t.Errorf("pages: %v, %v", first, second)
	}
	var one letter
	s.json(path+"/"+all[0].ID, &one)
	if one.ID != all[0].ID || !strings.Contains(string(one.Event), `"Ada Profile"`) || one.Event[0] != '{' {
		t.Errorf("letter %+v, event %s", one, one.Event)
	}

	for _, query := range []string{"?after=x", "?after=1", "?limit=0", "?limit=1001", "?limit=all"} {
		wantProblem(t, s.get(path+query), http.StatusBadRequest)
	}
	for _, id := range []string{"1-1", "x", "999999999999999999999-1", url.PathEscape("../x")} {
		wantProblem(t, s.get(path+"/"+id), http.StatusNotFound)
	}
	wantProblem(t, s.get("/admin/instances/nobody/dead-letters"), http.StatusNotFound)
	wantProblem(t, s.get("/admin/instances/nobody/dead-letters/1-1"), http.StatusNotFound)

	// Replayed, the unreadable one stays; the other one is tried again, and dies again.
	replay := func(body string) (n engine.Replayed) {
		t.Helper()
		got := s.post(path+"/replay", body, adminToken)
		if got.status != http.StatusOK {
			t.Fatalf("replay %s: %d %s", body, got.status, got.body)
		}
		if err := json.Unmarshal([]byte(got.body), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := replay(fmt.Sprintf(`{"ids":[%q]}`, all[0].ID)); n != (engine.Replayed{Failed: 1}) {
		t.Errorf("the unreadable one: %+v", n)
	}
	if n := replay(""); n != (engine.Replayed{Replayed: 1, Failed: 1}) {
		t.Errorf("all: %+v", n)
	}
	s.until("the replayed one to be dead again", func() bool { return len(list("")) == 2 && list("")[1].ID != all[1].ID })
	if status := s.status(); status.DeadLetters != 2 || status.DeadLettersAll < 2 {
		t.Errorf("status: %d of %d", status.DeadLetters, status.DeadLettersAll)
	}
	for _, body := range []string{`{"ids":[]}`, `{"ids":["x"]}`, `{"ids":"all"}`, `{"all":true}`, "[]"} {
		wantProblem(t, s.post(path+"/replay", body, adminToken), http.StatusBadRequest)
	}
	wantProblem(t, s.post(path+"/replay", `{"ids":["1-1"]}`, adminToken), http.StatusNotFound)
	wantProblem(t, s.post("/admin/instances/nobody/dead-letters/replay", "", adminToken), http.StatusNotFound)
}

// What is no JSON is shown as text, and the answer stays JSON.
func TestLetterThatIsNoJSON(t *testing.T) {
	for _, text := range []string{"{", "", "plain", "\xff\x00", `{"a":1}{`} {
		if got, err := json.Marshal(eventOf([]byte(text))); err != nil || got[0] != '"' {
			t.Errorf("%q: %s %v", text, got, err)
		}
	}
	if got, err := json.Marshal(eventOf([]byte(`{"a":1}`))); err != nil || string(got) != `{"a":1}` {
		t.Errorf("got %s %v", got, err)
	}
}

// Whatever is sent, an operator gets an answer that says what is wrong with it.
func FuzzOrders(f *testing.F) {
	for _, body := range []string{
		"", "{}", `{"mode":"sweep","object":"user/00u1","force":true}`, `{"object":"user/../x"}`, `{"ids":["1-1"]}`, `{"ids":[]}`, `{"ids":null}`, "[", "null",
	} {
		f.Add([]byte(body), "1-1", "10")
	}
	f.Add([]byte("{}"), "x", "-1")

	eng, err := engine.New(f.Context(), engine.Config{SecretKey: bytes.Repeat([]byte{7}, 32), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { eng.Close() })
	if err := eng.Register(f.Context(), engine.Instance{ID: "acme", OrgURL: "https://example.okta.com", Token: "x"}); err != nil {
		f.Fatal(err)
	}
	api := New(eng, Config{AdminToken: adminToken, Log: slog.New(slog.DiscardHandler)})
	f.Fuzz(func(t *testing.T, body []byte, after, limit string) {
		call := func(method, path string, allowed ...int) {
			req := newRequest(method, "/admin/instances/acme"+path, bytes.NewReader(body))
			req.Header.Set("Authorization", "Bearer "+adminToken)
			rec := newRecorder()
			api.ServeHTTP(rec, req)
			if !slices.Contains(allowed, rec.Code) {
				t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
			}
			if rec.Code != http.StatusNoContent && !json.Valid(rec.Body.Bytes()) {
				t.Errorf("%s: no JSON: %s", path, rec.Body)
			}
		}
		call("POST", "/resync", http.StatusAccepted, http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge)
		call("POST", "/dead-letters/replay", http.StatusOK, http.StatusBadRequest, http.StatusNotFound, http.StatusRequestEntityTooLarge)
		call("GET", "/dead-letters?"+url.Values{"after": {after}, "limit": {limit}}.Encode(), http.StatusOK, http.StatusBadRequest)
	})
}
