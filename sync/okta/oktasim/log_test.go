package oktasim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

var nine = time.Date(2026, 3, 17, 9, 0, 0, 0, time.UTC)

func since(t time.Time) string { return "logs?since=" + t.Format("2006-01-02T15:04:05.000Z") }

// status is that of an answer, with Okta's code.
func status(t tb, o *oktasim.Org, path string) string {
	t.Helper()
	resp, body := get(t, o, path)
	var e struct{ ErrorCode string }
	_ = json.Unmarshal(body, &e) // a list has none
	return strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", e.ErrorCode))
}

func TestLogRefusals(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1, Clock: oktasim.NewManualClock(nine)})
	filter := func(s string) string { return "logs?filter=" + url.QueryEscape(s) }
	for path, want := range map[string]string{
		since(nine.AddDate(0, 0, -179)):                                            "200",
		since(nine.AddDate(0, 0, -181)):                                            "400 E0000001",
		since(nine) + "&after=x":                                                   "400 E0000001",
		"logs?after=x":                                                             "400 E0000001",
		"logs?since=yesterday":                                                     "400 E0000001",
		"logs?limit=1001":                                                          "400 E0000001",
		"logs?sortOrder=SIDEWAYS":                                                  "400 E0000001",
		filter(`debugContext.debugData.url co "/api/v1"`):                          "400 E0000031",
		filter(`debugContext.debugData.requestUri co "/api/v1"`):                   "400 E0000031",
		filter(`published gt "2026-03-17T09:00:00.000Z"`):                          "400 E0000031",
		filter(`target.changeDetails.from co "x"`):                                 "400 E0000031",
		filter(`eventType sw "user." or (eventType ew "x" and actor.id eq "00u")`): "200",
	} {
		if got := status(t, o, path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestLogByManyPrefixes(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 2, Clock: oktasim.NewManualClock(nine)})
	o.MutateKinds(everyKind())
	var terms, want, got []string
	prefixes := []string{"user.lifecycle.", "group.user_membership.", "system.import."}
	for i := range 20 {
		prefixes = append(prefixes, fmt.Sprintf("no.such%d.", i))
	}
	for _, p := range prefixes {
		terms = append(terms, fmt.Sprintf("eventType sw %q", p))
	}
	for _, e := range o.Mutate(300) {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(e.Type, p) }) {
			want = append(want, e.UUID)
		}
	}
	path := since(nine) + "&limit=50&sortOrder=ASCENDING&filter=" + url.QueryEscape(strings.Join(terms, " or "))
	for {
		items, next := list2(t, o, path)
		for _, i := range items {
			got = append(got, parse(t, i).UUID)
		}
		if len(items) == 0 {
			break
		}
		path = next
	}
	if len(want) < 50 || !slices.Equal(got, want) {
		t.Errorf("%d events, want %d", len(got), len(want))
	}
}

func TestLinkOfAnEmptyPage(t *testing.T) {
	at := oktasim.NewManualClock(nine)
	o := oktasim.New(t, oktasim.Config{Seed: 1, Clock: at})
	_, first := list2(t, o, since(nine))
	at.Advance(time.Hour)
	items, again := list2(t, o, first)
	if len(items) != 0 || again != first {
		t.Errorf("%d events, the link of an empty page leads to %s, it was %s", len(items), again, first)
	}
	e := o.Emit("user.session.start", "User", "00uX")
	items, after := list2(t, o, again)
	if len(items) != 1 || parse(t, items[0]).UUID != e.UUID || after == again {
		t.Errorf("%s", items)
	}
	// Who polls is never too late, however quiet the org.
	for range 10 {
		at.Advance(40 * 24 * time.Hour)
		if items, after = list2(t, o, after); len(items) != 0 {
			t.Fatalf("%s", items)
		}
	}
	e = o.Emit("user.session.start", "User", "00uX")
	if items, _ = list2(t, o, after); len(items) != 1 || parse(t, items[0]).UUID != e.UUID {
		t.Errorf("%s", items)
	}
}

func TestLogForgets(t *testing.T) {
	at := oktasim.NewManualClock(nine)
	o := oktasim.New(t, oktasim.Config{Seed: 1, Clock: at})
	o.Emit("user.session.start", "User", "00uX")
	_, link := list2(t, o, since(nine))
	at.Advance(90 * 24 * time.Hour)
	if items, _ := list2(t, o, since(nine)); len(items) != 1 {
		t.Errorf("after 90 days: %s", items)
	}
	if got := status(t, o, link); got != "200" {
		t.Errorf("a link of 90 days: %s", got)
	}
	at.Advance(time.Millisecond)
	for _, path := range []string{since(nine), since(nine) + "&until=" + at.Now().Format(time.RFC3339)} {
		if items, _ := list2(t, o, path); len(items) != 0 {
			t.Errorf("%s after more than 90 days: %s", path, items)
		}
	}
	if got := status(t, o, link); got != "400 E0000001" {
		t.Errorf("a link of more than 90 days: %s", got)
	}
	items, link := list2(t, o, since(nine)) // which itself is older than the log
	if got := status(t, o, link); len(items) != 0 || got != "200" {
		t.Errorf("the next link of a poll since long ago: %s", got)
	}
}

func TestExpiredLogLinks(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1, Clock: oktasim.NewManualClock(nine)})
	events := o.Mutate(20)
	_, poll := list2(t, o, since(nine)+"&limit=3")
	_, span := list2(t, o, since(nine)+"&limit=3&until=2026-03-18T00:00:00Z")
	o.ExpireLogLinks()
	for _, link := range []string{poll, span} {
		if got := status(t, o, link); got != "400 E0000001" {
			t.Errorf("%s: %s", link, got)
		}
	}
	items, link := list2(t, o, since(nine)+"&limit=1000")
	if len(items) != len(events) || status(t, o, link) != "200" {
		t.Errorf("%d events of %d, then %s", len(items), len(events), status(t, o, link))
	}
}

// types2 are the types of all events so far that one of the names is part of.
func types2(o *oktasim.Org, part string) (out []string) {
	for _, e := range o.Events() {
		if strings.Contains(e.Type, part) {
			out = append(out, e.Type)
		}
	}
	return out
}

func TestLogTellsOfRateLimits(t *testing.T) {
	at := oktasim.NewManualClock(nine)
	o := oktasim.New(t, oktasim.Config{Seed: 1, Clock: at, Step: time.Second, RateLimits: map[string]int{"users": 10, "logs": 1000}})
	call := func(n int) {
		for range n {
			get(t, o, "users")
		}
	}
	warning, violation := "system.org.rate_limit.warning", "system.org.rate_limit.violation"
	var want []string
	for _, c := range []struct {
		calls int
		event string
	}{{5, ""}, {1, warning}, {4, ""}, {1, violation}, {3, ""}} {
		call(c.calls)
		if c.event != "" {
			want = append(want, c.event)
		}
		if got := types2(o, "rate_limit"); !slices.Equal(got, want) {
			t.Fatalf("%d more calls: %v, want %v", c.calls, got, want)
		}
	}
	at.Advance(time.Minute)
	call(6)
	if got := types2(o, "rate_limit"); !slices.Equal(got, append(want, warning)) {
		t.Errorf("in the next window: %v", got)
	}
	if !at.Now().Equal(nine.Add(time.Minute)) {
		t.Error("what is no change moved the clock")
	}
	items, _ := list2(t, o, since(nine)+"&filter="+url.QueryEscape(`eventType sw "system.org.rate_limit."`))
	if len(items) != 3 || parse(t, items[1]).types() != "URL Pattern;Bucket Uuid" || parse(t, items[0]).Target[0].ID != "/api/v1/users" {
		t.Errorf("%s", items)
	}
	for _, e := range o.Events() {
		if !e.HookEligible {
			t.Errorf("%s is not for hooks", e.Type)
		}
	}
}

func TestLogTellsOfFailedDeliveries(t *testing.T) {
	calls := 0
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer hook.Close()
	o := oktasim.New(t, oktasim.Config{Seed: 1, Clock: oktasim.NewManualClock(nine), HookID: "whoMine"})
	s := o.NewSender(oktasim.Hook{URL: hook.URL}, oktasim.Faults{})
	defer s.Stop()
	if err := s.Deliver(t.Context(), o.Mutate(1)); err == nil || calls != 2 {
		t.Fatalf("%d calls, %v", calls, err)
	}
	items, _ := list2(t, o, since(nine)+"&filter="+url.QueryEscape(`eventType eq "event_hook.delivery"`))
	if len(items) != 1 {
		t.Fatalf("%s", items)
	}
	e := parse(t, items[0])
	if len(e.Target) != 1 || e.Target[0].ID != "whoMine" || e.Outcome.Result != "FAILURE" {
		t.Errorf("%s", items[0])
	}
	if all := o.Events(); all[len(all)-1].HookEligible {
		t.Error("a failed delivery is told by hook")
	}
}

// What calls and deliveries bring about must not change a history: it could
// not be told from its seed.
func TestNoticesLeaveTheHistoryAsItIs(t *testing.T) {
	history := func(limit int) (texts []string) {
		at := oktasim.NewManualClock(nine)
		o := oktasim.New(t, oktasim.Config{Seed: 8, Clock: at, Step: time.Millisecond, LogLag: time.Second, RateLimits: map[string]int{"users": limit}})
		for range 10 {
			for _, e := range o.Mutate(5) {
				texts = append(texts, strings.ReplaceAll(string(e.JSON), o.URL(), ""))
			}
			for range 3 {
				get(t, o, "users")
			}
		}
		if told := len(types2(o, "rate_limit")) > 0; told != (limit < 100) {
			t.Errorf("limit %d: told %v", limit, told)
		}
		return texts
	}
	if !slices.Equal(history(4), history(1000)) {
		t.Error("a rate limit changed what happened")
	}
}

// paths are one of each endpoint.
func paths(t tb, o *oktasim.Org) []string {
	s := o.Snapshot()
	a := s.Apps[slices.IndexFunc(s.Apps, func(a oktasim.AppState) bool { return len(a.Users) > 0 && len(a.Groups) > 0 })]
	user, app, group := ids(t, a.Users)[0], a.ID, ids(t, a.Groups)[0]
	return []string{
		"users", "users/" + user, "users/" + user + "/groups", "users/" + user + "/factors", "users/" + user + "/roles",
		"groups", "groups/" + group, "groups/" + group + "/users", "groups/" + group + "/apps", "groups/" + group + "/roles",
		"apps", "apps/" + app, "apps/" + app + "/users", "apps/" + app + "/users/" + user, "apps/" + app + "/groups", "apps/" + app + "/groups/" + group,
		"org", "org/privacy/oktaSupport", "logs",
	}
}

func TestFaultsOfEveryEndpoint(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1})
	o.Mutate(3)
	for _, path := range paths(t, o) {
		resp, body := get(t, o, path)
		if resp.StatusCode != 200 || !json.Valid(body) {
			t.Fatalf("%s: %s", path, resp.Status)
		}
		for _, code := range []int{429, 500, 503} {
			o.FailNext(1, "/api/v1/"+path, oktasim.Fault{Status: code})
			resp, body := get(t, o, path)
			if resp.StatusCode != code || !strings.Contains(string(body), `"errorCode":"E00000`) || resp.Header.Get("Date") == "" {
				t.Errorf("%s: %s %s", path, resp.Status, body)
			}
		}
		for _, f := range []oktasim.Fault{{Drop: true}, {Truncate: true}} {
			o.FailNext(1, "/api/v1/"+path, f)
			if resp, body, err := try(o.Token(), o.URL()+"/api/v1/"+path); err == nil {
				t.Errorf("%s with %+v: %s %s", path, f, resp.Status, body)
			}
		}
		if _, again := get(t, o, path); string(again) != string(body) {
			t.Errorf("%s: after the faults\n%s\nbefore\n%s", path, again, body)
		}
	}
}

// TestLogKindsAreTold holds every change of a history against the events of
// its step: what changed is named there, or an import ended after it.
func TestLogKindsAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		kinds map[oktasim.Kind]int
		told  func(oktasim.Event) bool
	}{
		"by hook": {oktasim.DefaultKinds(), func(e oktasim.Event) bool { return e.HookEligible }},
		"by log":  {oktasim.LogKinds(), func(oktasim.Event) bool { return true }},
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[string]int{}
			rapid.Check(t, func(t *rapid.T) {
				o, err := oktasim.Start(oktasim.Config{
					Seed: rapid.Int64().Draw(t, "seed"), Clock: oktasim.NewManualClock(nine), Step: time.Millisecond, Users: 12, Groups: 6, Apps: 4,
				})
				if err != nil {
					t.Fatal(err)
				}
				defer o.Close()
				o.MutateKinds(c.kinds)
				before := objects(t, o)
				for range rapid.IntRange(1, 40).Draw(t, "changes") {
					var names []string
					imported := false
					events := o.Mutate(1)
					for i, e := range events {
						seen[e.Type]++
						if !c.told(e) {
							continue
						}
						if e.Type == "system.import.complete" {
							imported = i == len(events)-1
						}
						p := parse(t, e.JSON)
						names = append(names, p.Actor.ID)
						for _, target := range p.Target {
							names = append(names, target.ID)
						}
					}
					after := objects(t, o)
					for key, was := range before {
						if after[key] != was && !imported && !slices.ContainsFunc(names, func(n string) bool { return strings.Contains(key, n) }) {
							t.Fatalf("%v do not tell of %s, which was\n%s\nand is\n%s", types(events), key, was, after[key])
						}
					}
					for key := range after {
						if before[key] == "" && !imported && !slices.ContainsFunc(names, func(n string) bool { return strings.Contains(key, n) }) {
							t.Fatalf("%v do not tell of %s, which is new", types(events), key)
						}
					}
					before = after
				}
			})
			for _, e := range []string{"system.import.complete", "user.account.expire_password", "application.user_membership.change_username"} {
				if some := seen[e] > 0; some != (name == "by log") {
					t.Errorf("%s: %d times", e, seen[e])
				}
			}
		})
	}
}

// objects are all things of the org by a key that names whom they concern. What
// follows from others (counts, the time of the last membership) is left out.
func objects(t tb, o *oktasim.Org) map[string]string {
	s, out := o.Snapshot(), map[string]string{}
	for _, raw := range s.Users {
		out["user "+decode(t, raw).ID] = string(raw)
	}
	for _, g := range s.Groups {
		v := decode(t, g.JSON)
		out["group "+g.ID] = fmt.Sprint(v.Type, v.Profile, v.LastUpdated)
		for _, u := range g.Members {
			out["member "+g.ID+" "+u] = "a member"
		}
	}
	for _, a := range s.Apps {
		out["app "+a.ID] = string(a.JSON)
		for _, raw := range a.Users {
			out["appuser "+a.ID+" "+decode(t, raw).ID] += string(raw)
		}
		for _, raw := range a.Groups {
			out["appgroup "+a.ID+" "+decode(t, raw).ID] += string(raw)
		}
	}
	for u, factors := range s.Factors {
		for _, raw := range factors {
			out["factor "+u+" "+decode(t, raw).ID] = string(raw)
		}
	}
	return out
}
