package handlers

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/oktasync/oktasync/sync/j1ql"
	"github.com/oktasync/oktasync/sync/sink"
)

// ask posts a query about acme.
func (s *service) ask(body string) answer {
	s.t.Helper()
	return s.post("/v1/instances/acme/query", body, adminToken)
}

// delivered waits until the database has what the graph has.
func (s *service) delivered() {
	s.t.Helper()
	s.until("the graph to be delivered", func() bool {
		last, err := s.engine.LastPosition(s.t.Context(), "acme")
		return err == nil && s.status().Sinks[s.db.Name()].Position == last
	})
}

func TestQueryAnswers(t *testing.T) {
	s := setup(t, "")
	if got := s.ask(`{"query":"Find User"}`); got.status != http.StatusConflict || !strings.Contains(got.body, "not been delivered") {
		t.Errorf("before the first delivery: %d %s", got.status, got.body)
	}
	s.read()
	s.delivered()
	var list struct {
		Type string
		Data []struct {
			ID         string
			Entity     map[string]any
			Properties map[string]any
		}
		Cursor, Version string
		LastChange      string
		Warnings        []string
	}
	got := s.ask(`{"query":"Find okta_user","limit":3}`)
	if err := json.Unmarshal([]byte(got.body), &list); err != nil || got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if list.Type != "list" || len(list.Data) != 3 || list.Data[0].Entity["_key"] != list.Data[0].ID || list.Data[0].Properties["login"] == nil ||
		list.Cursor == "" || list.Version == "" || list.LastChange == "" || len(list.Warnings) != 0 {
		t.Errorf("list: %+v", list)
	}
	first := list.Data[0].ID
	got = s.ask(`{"query":"Find okta_user","limit":3,"cursor":"` + list.Cursor + `"}`)
	if err := json.Unmarshal([]byte(got.body), &list); err != nil || got.status != 200 || len(list.Data) != 3 || list.Data[0].ID == first {
		t.Errorf("second page: %d %s", got.status, got.body)
	}
	var table struct {
		Type    string
		Columns []string
		Data    []map[string]any
	}
	got = s.ask(`{"query":"Find okta_user with _key = ${key} as u return u._key, u.nothing as x","parameters":{"key":"` + first + `"}}`)
	if err := json.Unmarshal([]byte(got.body), &table); err != nil || got.status != 200 || table.Type != "table" ||
		strings.Join(table.Columns, " ") != "u._key x" || len(table.Data) != 1 || table.Data[0]["u._key"] != first || table.Data[0]["x"] != nil {
		t.Errorf("table: %d %s", got.status, got.body)
	}
	got = s.ask(`{"query":"Find okta_account that HAS okta_service return tree"}`)
	var tree struct {
		Type string
		Data struct{ Vertices, Edges []any }
	}
	if err := json.Unmarshal([]byte(got.body), &tree); err != nil || tree.Type != "tree" || len(tree.Data.Vertices) != 3 || len(tree.Data.Edges) != 2 {
		t.Errorf("tree: %d %s", got.status, got.body)
	}
}

func TestQueryRefusesWhatItCannotAnswer(t *testing.T) {
	s := setup(t, "")
	s.read()
	s.delivered()
	for _, c := range []struct {
		body   string
		status int
		says   string
	}{
		{`{}`, 400, "query is required"},
		{`{"query":"Find User that"}`, 400, "line 1, column 15"},
		{`{"query":"Find User with a = 1 Foo"}`, 400, `unexpected \"Foo\": expected AND, OR`},
		{`{"query":"Find User with a = ${x}"}`, 400, "the parameter x is not given"},
		{`{"query":"Find User with a = ${x}","parameters":{"x":{"y":1}}}`, 400, "the parameter x must be a text"},
		{`{"query":"Find User","limit":10001}`, 400, "limit must be a number from 1 to 10000"},
		{`{"query":"Find User","cursor":"e30"}`, 400, "cursor must be that of an answer to the same query"},
		{`{"query":"Find User","nothing":1}`, 400, "nothing is not a field"},
		{`{"query":"` + strings.Repeat("x", 32769) + `"}`, 400, "query must have at most 32768 characters"},
		{`{"query":7}`, 400, "query must be a string"},
	} {
		got := s.ask(c.body)
		if got.status != c.status || !strings.Contains(got.body, c.says) || got.header.Get(echo.HeaderContentType) != "application/problem+json" {
			t.Errorf("%.100s: %d %.300s, want %d %s", c.body, got.status, got.body, c.status, c.says)
		}
	}
	if got := s.post("/v1/instances/none/query", `{"query":"Find User"}`, adminToken); got.status != 404 {
		t.Errorf("unknown instance: %d", got.status)
	}
	for _, path := range []string{"/v1/instances/acme/query", "/admin/instances/acme/snapshot"} {
		if got := s.post(path, `{}`, triggerToken); got.status != 401 {
			t.Errorf("%s with the wrong token: %d", path, got.status)
		}
	}
}

// A query is ended when its time is over, and says so.
func TestQueryIsEndedInTime(t *testing.T) {
	s := setup(t, "")
	s.read()
	s.delivered()
	s.db.QueryTime = 1
	if got := s.ask(`{"query":"Find *"}`); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, "Ask for less") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestWithoutADatabaseQueriesAreRefused(t *testing.T) {
	s := setup(t, "")
	without := New(s.engine, Config{AdminToken: adminToken, TriggerToken: triggerToken, Log: slog.New(slog.DiscardHandler)})
	req, got := httptest.NewRequest("POST", "/v1/instances/acme/query", strings.NewReader(`{"query":"Find User"}`)), newRecorder()
	req.Header.Set("Authorization", "Bearer "+adminToken)
	if without.ServeHTTP(got, req); got.Code != http.StatusNotImplemented || !strings.Contains(got.Body.String(), "OKTASYNC_SINKS") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

// An operator's snapshot brings back what was lost in the database.
func TestSnapshotIsGivenAgain(t *testing.T) {
	s := setup(t, "")
	s.read()
	s.delivered()
	if err := s.db.Apply(t.Context(), sink.Instance{ID: "acme"}, sink.Batch{Position: s.status().Sinks[s.db.Name()].Position}); err != nil {
		t.Fatal(err)
	}
	before := s.status().Sinks[s.db.Name()].Snapshots
	if got := s.post("/admin/instances/acme/snapshot", `{"sink":"`+s.db.Name()+`","force":true}`, adminToken); got.status != http.StatusAccepted || !strings.Contains(got.body, `"wish":true`) {
		t.Fatalf("%d %s", got.status, got.body)
	}
	s.until("another snapshot", func() bool {
		sk := s.status().Sinks[s.db.Name()]
		return sk.Snapshots == before+1 && !sk.Wish && sk.State == sink.Following
	})
	if got := s.post("/admin/instances/acme/snapshot", `{"sink":"other"}`, adminToken); got.status != 400 || !strings.Contains(got.body, "must be the name of a sink") {
		t.Errorf("unknown sink: %d %s", got.status, got.body)
	}
	if got := s.post("/admin/instances/none/snapshot", `{}`, adminToken); got.status != 404 {
		t.Errorf("unknown instance: %d %s", got.status, got.body)
	}
	metrics := s.get("/metrics").body
	for _, want := range []string{
		`oktasync_sink_state{org="acme",sink="` + s.db.Name() + `",state="following"} 1`,
		`oktasync_sink_lag_seconds{org="acme",sink="` + s.db.Name() + `"} 0`,
		`oktasync_sink_snapshots_total{org="acme",sink="` + s.db.Name() + `"} 2`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no metric %s", want)
		}
	}
}

// What a query's errors tell is of the language, whatever wraps them.
func TestErrorsOfQueriesHaveTheirStatus(t *testing.T) {
	for err, want := range map[error]int{
		j1ql.ErrCursor: 400, j1ql.ErrTooSlow: 422, j1ql.ErrNoGraph: 409, j1ql.ErrTooLarge: 422, j1ql.ErrDatabase: 503, errNoDatabase: 501, &j1ql.Error{Message: "x"}: 400,
	} {
		if got := problemOf(err); got.Status != want || got.Detail == "" {
			t.Errorf("%v: %+v", err, got)
		}
	}
}
