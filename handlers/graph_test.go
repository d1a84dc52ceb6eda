package handlers

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/oktasync/oktasync/sync/engine"
)

// lines parses an NDJSON answer and counts the objects by _type.
func lines(t *testing.T, body string) map[string]int {
	t.Helper()
	count := map[string]int{}
	for line := range strings.Lines(body) {
		var o map[string]map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for which, object := range o {
			if len(o) != 1 || which != "entity" && which != "relationship" || object["_key"] == "" {
				t.Fatalf("line %s", line)
			}
			count[object["_type"].(string)]++
		}
	}
	return count
}

func TestGraphIsStreamedAndFiltered(t *testing.T) {
	s := setup(t, "")
	if got := s.get("/v1/instances/acme/graph"); got.status != 200 || got.header.Get("Oktasync-Whole") != "false" {
		t.Errorf("before the first read: %d, whole %q", got.status, got.header.Get("Oktasync-Whole"))
	}
	s.read()
	got := s.get("/v1/instances/acme/graph")
	if got.status != 200 || got.header.Get("Oktasync-Whole") != "true" || got.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%d %v", got.status, got.header)
	}
	all := lines(t, got.body)
	if all["okta_user"] == 0 || all["okta_account"] != 1 || all["okta_account_has_user"] != all["okta_user"] {
		t.Fatalf("graph: %v", all)
	}
	for query, want := range map[string][]string{
		"?type=okta_user":                          {"okta_user"},
		"?type=okta_user,okta_account":             {"okta_user", "okta_account"},
		"?type=okta_user&type=okta_account":        {"okta_user", "okta_account"},
		"?class=User":                              {"okta_user"},
		"?class=HAS&type=okta_account_has_user":    {"okta_account_has_user"},
		"?class=User&type=okta_account_has_user":   {},
		"?type=okta_nothing":                       {},
		"?type=okta_account_has_user&class=HAS,IS": {"okta_account_has_user"},
	} {
		got := lines(t, s.get("/v1/instances/acme/graph"+query).body)
		if len(got) != len(want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
		for _, typ := range want {
			if got[typ] != all[typ] {
				t.Errorf("%s: %d of %d %s", query, got[typ], all[typ], typ)
			}
		}
	}
	wantProblem(t, s.get("/v1/instances/acme/graph?type="+strings.Repeat("x,", 101)), http.StatusBadRequest)
}

func TestStreamThatFailsIsBrokenOff(t *testing.T) {
	s := setup(t, "")
	a := &api{Config: Config{Log: slog.New(slog.DiscardHandler)}}
	s.api.GET("/broken", func(c echo.Context) error {
		if _, err := c.Response().Write([]byte("{\"entity\":{}}\n")); err != nil {
			return err
		}
		c.Response().Flush()
		return a.breakOff(c, errors.New("the store went away"))
	})
	resp, err := http.Get(s.url + "/broken")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("a broken stream looks complete")
	}
}

func TestStreamThatFailsBeforeItBeganIsAProblem(t *testing.T) {
	s := setup(t, "")
	a := &api{Config: Config{Log: slog.New(slog.DiscardHandler)}}
	s.api.GET("/broken", func(c echo.Context) error { return a.breakOff(c, engine.ErrUnavailable) })
	wantProblem(t, s.get("/broken"), http.StatusServiceUnavailable)
}

// stream is an open stream of changes.
type stream struct {
	t    *testing.T
	resp *http.Response
	in   *bufio.Scanner
}

func (s *service) stream(path, lastID string) *stream {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), "GET", s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Fatalf("%s: %d %s", path, resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	return &stream{s.t, resp, bufio.NewScanner(resp.Body)}
}

type sse struct{ id, data, comment string }

// next returns the next block of the stream.
func (st *stream) next() sse {
	st.t.Helper()
	var b sse
	for st.in.Scan() {
		switch field, value, _ := strings.Cut(st.in.Text(), ": "); field {
		case "":
			if value != "" {
				b.comment = value
			} else if b != (sse{}) {
				return b
			}
		case "id":
			b.id = value
		case "data":
			b.data = value
		}
	}
	st.t.Fatalf("the stream ended: %v", st.in.Err())
	return b
}

// event returns the next block with data.
func (st *stream) event() sse {
	st.t.Helper()
	for {
		if b := st.next(); b.data != "" {
			return b
		}
	}
}

func TestChangesAreResumedWhereTheyStopped(t *testing.T) {
	s := setup(t, "")
	live := s.stream("/v1/instances/acme/changes", "")
	s.read()
	var ids, data []string
	for range 10 {
		e := live.event()
		ids, data = append(ids, e.id), append(data, e.data)
	}
	var change struct {
		Op     string         `json:"op"`
		Entity map[string]any `json:"entity"`
		AsOf   string         `json:"asOf"`
		Source string         `json:"source"`
		Cause  string         `json:"cause"`
	}
	if err := json.Unmarshal([]byte(data[0]), &change); err != nil || change.Op != "create" || change.Source != "reconcile" || change.Cause == "" {
		t.Errorf("change %s: %v", data[0], err)
	}
	resumed := s.stream("/v1/instances/acme/changes", ids[3])
	for i := 4; i < 10; i++ {
		if e := resumed.event(); e.id != ids[i] || e.data != data[i] {
			t.Fatalf("event %d after resuming: got %s %s, want %s %s", i, e.id, e.data, ids[i], data[i])
		}
	}
	fromStart := s.stream("/v1/instances/acme/changes?from=start", "")
	// The live stream may have begun after the account was made known.
	for e := fromStart.event(); e.id != ids[0]; e = fromStart.event() {
		if !strings.Contains(e.data, "okta_account") && !strings.Contains(e.data, "okta_service") {
			t.Fatalf("from the start: got %s %s before %s", e.id, e.data, ids[0])
		}
	}
}

func TestQuietStreamBeatsAndTellsWhereItIs(t *testing.T) {
	s := setup(t, "")
	s.read()
	quiet := s.stream("/v1/instances/acme/changes", "")
	first := quiet.next()
	if first.id == "" || first.data != "" {
		t.Fatalf("the first block is %+v, not a position", first)
	}
	for range 3 {
		if b := quiet.next(); b.comment != "heartbeat" {
			t.Fatalf("got %+v", b)
		}
	}
	// Cut off before the first change, a reader resumes from that id.
	if e := s.stream("/v1/instances/acme/changes", first.id).next(); e.id != first.id {
		t.Errorf("resumed at %+v", e)
	}
}

func TestStoppingEndsStreams(t *testing.T) {
	s := setup(t, "")
	st := s.stream("/v1/instances/acme/changes", "")
	st.next()
	close(s.stopping)
	if _, err := io.ReadAll(st.resp.Body); err != nil {
		t.Errorf("the stream did not end in order: %v", err)
	}
	wantProblem(t, s.get("/v1/instances/acme/changes"), http.StatusServiceUnavailable)
}

func TestBadPositions(t *testing.T) {
	s := setup(t, "")
	path := "/v1/instances/acme/changes"
	for _, id := range []string{"a b", "$", strings.Repeat("1", 65)} {
		wantProblem(t, s.call("GET", path, nil, "Authorization", "Bearer "+adminToken, "Last-Event-ID", id), http.StatusBadRequest)
	}
	wantProblem(t, s.get(path+"?from=yesterday"), http.StatusBadRequest)
	if p := problemOf(engine.ErrStalePosition); p.Status != http.StatusGone || !strings.Contains(p.Detail, "/graph") {
		t.Errorf("a stale position: %+v", p)
	}
}
