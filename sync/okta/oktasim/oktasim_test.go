package oktasim_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

func TestMain(m *testing.M) {
	// The SDK's token cache has a janitor that ends when the client is collected.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/patrickmn/go-cache.(*janitor).Run"))
}

var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func try(token, address string) (*http.Response, []byte, error) {
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Authorization", "SSWS "+token)
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// tb is a *testing.T or a *rapid.T.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func get(t tb, o *oktasim.Org, path string) (*http.Response, []byte) {
	t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = o.URL() + "/api/v1/" + path
	}
	resp, body, err := try(o.Token(), path)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return resp, body
}

func next(resp *http.Response) string {
	for _, line := range resp.Header.Values("Link") {
		if link, ok := strings.CutSuffix(line, `>; rel="next"`); ok {
			return strings.TrimPrefix(link, "<")
		}
	}
	return ""
}

// list follows a list to its end.
func list(t tb, o *oktasim.Org, path string) (items []json.RawMessage, pages int) {
	t.Helper()
	for path != "" {
		resp, body := get(t, o, path)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("GET %s: %s %s", path, resp.Status, body)
		}
		var page []json.RawMessage
		if err := json.Unmarshal(body, &page); err != nil {
			t.Fatalf("GET %s: %v", path, err)
		}
		items = append(items, page...)
		pages++
		path = next(resp)
	}
	return items, pages
}

type object struct {
	ID, Status, Scope                           string
	Type                                        any // of a group a text, of a user an object
	Created, LastUpdated, LastMembershipUpdated string
	Priority                                    int
	Profile                                     map[string]any
	Embedded                                    struct {
		User  *object
		Stats struct{ UsersCount, AppsCount int }
	} `json:"_embedded"`
}

func decode(t tb, raw []byte) (o object) {
	t.Helper()
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return o
}

func ids(t tb, items []json.RawMessage) []string {
	t.Helper()
	out := []string{}
	for _, i := range items {
		out = append(out, decode(t, i).ID)
	}
	return out
}

func equal(t tb, what string, got, want []string) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %d %v, want %d %v", what, len(got), got, len(want), want)
	}
}

const everybody = `users?filter=lastUpdated+gt+%221970-01-01T00:00:00.000Z%22&limit=`

// readAll reads the org and compares it with the snapshot, object by object.
func readAll(t tb, o *oktasim.Org, limit int) (calls int) {
	t.Helper()
	same := func(what, path string, want []json.RawMessage) {
		t.Helper()
		got, pages := list(t, o, path)
		calls += pages
		if len(got) != len(want) {
			t.Fatalf("%s: %d items, want %d", what, len(got), len(want))
		}
		for i := range want {
			if string(got[i]) != string(want[i]) {
				t.Fatalf("%s:\ngot  %s\nwant %s", what, got[i], want[i])
			}
		}
	}
	page := func(most int) string { return fmt.Sprint(min(limit, most)) }
	s := o.Snapshot()
	same("users", everybody+page(200), s.Users)
	var groups, apps []json.RawMessage
	for _, g := range s.Groups {
		groups = append(groups, g.JSON)
		stats := decode(t, g.JSON).Embedded.Stats
		if stats.UsersCount != len(g.Members) {
			t.Fatalf("usersCount of %s = %d, members %d", g.ID, stats.UsersCount, len(g.Members))
		}
		if !g.Everyone && stats.UsersCount > 0 {
			got, pages := list(t, o, "groups/"+g.ID+"/users?limit="+page(1000))
			calls += pages
			equal(t, "members of "+g.ID, ids(t, got), g.Members)
		}
	}
	same("groups", "groups?expand=stats&limit="+page(200), groups)
	for _, a := range s.Apps {
		apps = append(apps, a.JSON)
		same("users of "+a.ID, "apps/"+a.ID+"/users?limit="+page(500), a.Users)
		same("groups of "+a.ID, "apps/"+a.ID+"/groups?limit="+page(200), a.Groups)
	}
	same("apps", "apps?includeNonDeleted=true&limit="+page(200), apps)
	for _, raw := range s.Users {
		u := decode(t, raw)
		if slices.Contains([]string{"ACTIVE", "RECOVERY", "LOCKED_OUT", "PASSWORD_EXPIRED", "SUSPENDED", "PROVISIONED"}, u.Status) {
			same("factors of "+u.ID, "users/"+u.ID+"/factors", s.Factors[u.ID])
		}
	}
	get(t, o, "org/privacy/oktaSupport")
	return calls + 1
}

func TestAQuietOrgIsReadCompletelyInTheFewestCalls(t *testing.T) {
	for _, cfg := range []oktasim.Config{
		{Seed: 1, Users: 450, Groups: 30, Apps: 20},
		{Seed: 2, Users: 700, Groups: 3, GroupSize: 600, Apps: 2, AppUsers: 600},
		{Seed: 3},
		{Seed: 4, Users: -1, Groups: -1, Apps: -1},
	} {
		o := oktasim.New(t, cfg)
		if got, want := readAll(t, o, 1000), o.MinimumCalls(true); got != want {
			t.Errorf("seed %d: %d calls, MinimumCalls says %d", cfg.Seed, got, want)
		}
		if cfg.Users < 100 {
			readAll(t, o, 3)
		}
	}
}

func TestTheOrgHoldsWhatOrgsHold(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1, Users: 40, UnknownStatus: true})
	s := o.Snapshot()
	all := ""
	for _, u := range s.Users {
		all += string(u)
	}
	for _, g := range s.Groups {
		all += string(g.JSON)
	}
	rows := 0
	for _, a := range s.Apps {
		all += string(a.JSON)
		byGroup := map[string]int{}
		for _, u := range a.Users {
			all += string(u)
		}
		for _, g := range a.Groups {
			byGroup[decode(t, g).ID]++
			rows = max(rows, byGroup[decode(t, g).ID])
		}
	}
	for _, f := range s.Factors {
		for _, x := range f {
			all += string(x)
		}
	}
	for _, want := range []string{
		`"STAGED"`, `"PROVISIONED"`, `"ACTIVE"`, `"RECOVERY"`, `"LOCKED_OUT"`, `"PASSWORD_EXPIRED"`, `"SUSPENDED"`, `"DEPROVISIONED"`, `"AWAITING_REVIEW"`,
		`"hireDate":"1577836800000"`, `"costCenter"`, `"cost_center"`, `"badges":[]`, `"nothing":null`, `"geo":{`, `"status":"on leave"`,
		`"userType":"service"`, `"userType":"Generic"`, `"userType":"BOT"`, `"employeeType":"SERVICE"`,
		`"OKTA_GROUP"`, `"APP_GROUP"`, `"BUILT_IN"`, `"name":"Everyone"`, `"INACTIVE"`, `"name":"acme_my_portal_1"`, `"githubOrg"`, `"domain"`,
		`"awsEnvironmentType":"aws.amazon"`, `"identityProviderArn"`, `acme-prod -- `, `[staging] -- `, `"scope":"USER"`, `"scope":"GROUP"`,
		`"vendorName"`, `"phoneNumber"`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("nothing in the org has %s", want)
		}
	}
	if rows != 3 {
		t.Errorf("rows of one group on one application: %d, want 3", rows)
	}
}

func TestTheSameSeedGivesTheSameOrgAndHistory(t *testing.T) {
	tell := func() string {
		at := oktasim.NewManualClock(time.Date(2026, 3, 17, 9, 0, 0, 0, time.UTC))
		o := oktasim.New(t, oktasim.Config{Seed: 7, Clock: at, Step: time.Millisecond})
		var b strings.Builder
		for _, e := range o.Mutate(100) {
			b.Write(e.JSON)
		}
		for _, u := range o.Snapshot().Users {
			b.Write(u)
		}
		return strings.ReplaceAll(b.String(), o.URL(), "")
	}
	if first, second := tell(), tell(); first != second {
		t.Error("two orgs of one seed differ")
	}
}

func TestFilters(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1, Users: 60})
	s := o.Snapshot()
	pick := func(keep func(object) bool) []string {
		var out []string
		for _, raw := range s.Users {
			if u := decode(t, raw); keep(u) {
				out = append(out, u.ID)
			}
		}
		return out
	}
	first := decode(t, s.Users[0])
	for query, keep := range map[string]func(object) bool{
		"":                                     func(u object) bool { return u.Status != "DEPROVISIONED" },
		`filter=status eq "DEPROVISIONED"`:     func(u object) bool { return u.Status == "DEPROVISIONED" },
		`filter=id eq "` + first.ID + `"`:      func(u object) bool { return u.ID == first.ID },
		`search=status eq "ACTIVE"`:            func(u object) bool { return u.Status == "ACTIVE" },
		`search=profile.department eq "Sales"`: func(u object) bool { return u.Profile["department"] == "Sales" },
		`filter=lastUpdated ge "` + first.LastUpdated + `"`: func(u object) bool { return u.LastUpdated >= first.LastUpdated },
		`search=lastUpdated gt "` + first.LastUpdated + `"`: func(u object) bool { return u.LastUpdated > first.LastUpdated },
		`filter=lastUpdated lt "` + first.LastUpdated + `"`: func(u object) bool { return u.LastUpdated < first.LastUpdated },
		`filter=lastUpdated le "` + first.LastUpdated + `" and (status eq "ACTIVE" or status eq "STAGED")`: func(u object) bool {
			return u.LastUpdated <= first.LastUpdated && (u.Status == "ACTIVE" || u.Status == "STAGED")
		},
		`filter=status eq "STAGED" or status eq "SUSPENDED" and id eq "nobody"`: func(u object) bool { return u.Status == "STAGED" },
	} {
		name, expr, _ := strings.Cut(query, "=")
		got, _ := list(t, o, "users?limit=7&"+name+"="+url.QueryEscape(expr))
		equal(t, query, ids(t, got), pick(keep))
	}

	group := o.GroupIDs("OKTA_GROUP")[0]
	mark := decode(t, func() []byte { _, b := get(t, o, "groups/"+group); return b }()).LastMembershipUpdated
	for query, want := range map[string]func(object) bool{
		`type eq "BUILT_IN"`:    func(g object) bool { return g.Type == "BUILT_IN" },
		`id eq "` + group + `"`: func(g object) bool { return g.ID == group },
		`lastMembershipUpdated gt "` + mark + `" or lastUpdated gt "` + mark + `"`: func(g object) bool { return g.LastMembershipUpdated > mark || g.LastUpdated > mark },
	} {
		var out []string
		for _, g := range s.Groups {
			if want(decode(t, g.JSON)) {
				out = append(out, g.ID)
			}
		}
		got, _ := list(t, o, "groups?limit=2&filter="+url.QueryEscape(query))
		equal(t, query, ids(t, got), out)
	}

	var active, inactive []string
	for _, a := range s.Apps {
		if decode(t, a.JSON).Status == "ACTIVE" {
			active = append(active, a.ID)
		} else {
			inactive = append(inactive, a.ID)
		}
	}
	got, _ := list(t, o, "apps?limit=2")
	equal(t, "apps", ids(t, got), active)
	got, _ = list(t, o, "apps?filter="+url.QueryEscape(`status eq "INACTIVE"`))
	equal(t, "inactive apps", ids(t, got), inactive)
	got, _ = list(t, o, "apps?filter="+url.QueryEscape(`name eq "slack"`))
	equal(t, "apps by name", ids(t, got), o.AppIDs("slack"))
	user := decode(t, s.Apps[0].Users[0]).ID
	var assigned []string
	for _, a := range s.Apps {
		if slices.Contains(ids(t, a.Users), user) {
			assigned = append(assigned, a.ID)
		}
	}
	got, _ = list(t, o, "apps?includeNonDeleted=true&limit=1&expand=user%2F"+user+"&filter="+url.QueryEscape(`user.id eq "`+user+`"`))
	equal(t, "apps of a user", ids(t, got), assigned)
	for _, a := range got {
		if u := decode(t, a).Embedded.User; u == nil || u.ID != user {
			t.Errorf("the app user is not embedded in %s", a)
		}
	}
}

func TestReadsByID(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1})
	s := o.Snapshot()
	for _, raw := range s.Users {
		u := decode(t, raw)
		login := u.Profile["login"].(string)
		short, _, _ := strings.Cut(login, "@")
		for _, key := range []string{u.ID, login, strings.ToUpper(login), short} {
			if _, body := get(t, o, "users/"+url.PathEscape(key)); string(body) != string(raw) {
				t.Fatalf("user %s:\ngot  %s\nwant %s", key, body, raw)
			}
		}
		var want []string
		for _, g := range s.Groups {
			if slices.Contains(g.Members, u.ID) {
				want = append(want, g.ID)
			}
		}
		got, _ := list(t, o, "users/"+u.ID+"/groups?limit=2")
		equal(t, "groups of a user", ids(t, got), want)
	}
	for _, g := range s.Groups {
		if _, body := get(t, o, "groups/"+g.ID); decode(t, body).ID != g.ID {
			t.Errorf("group %s: %s", g.ID, body)
		}
		var want []string
		for _, a := range s.Apps {
			if slices.Contains(ids(t, a.Groups), g.ID) {
				want = append(want, a.ID)
			}
		}
		got, _ := list(t, o, "groups/"+g.ID+"/apps?limit=1")
		equal(t, "applications of a group", ids(t, got), want)
	}
	for _, a := range s.Apps {
		if _, body := get(t, o, "apps/"+a.ID); string(body) != string(a.JSON) {
			t.Errorf("app %s: %s", a.ID, body)
		}
		for _, u := range a.Users {
			if _, body := get(t, o, "apps/"+a.ID+"/users/"+decode(t, u).ID); string(body) != string(u) {
				t.Errorf("app user: %s, want %s", body, u)
			}
		}
		for i, g := range a.Groups {
			if i > 0 && decode(t, a.Groups[i-1]).ID == decode(t, g).ID {
				continue // a later row of the same group
			}
			if _, body := get(t, o, "apps/"+a.ID+"/groups/"+decode(t, g).ID); string(body) != string(g) {
				t.Errorf("app group: %s, want %s", body, g)
			}
		}
	}
	for _, path := range []string{"org", "org/privacy/oktaSupport", "users/" + o.AdminID() + "/roles"} {
		if resp, body := get(t, o, path); resp.StatusCode != 200 || !json.Valid(body) {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
}

func TestErrors(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1})
	app := o.AppIDs("")[0]
	for path, want := range map[string]string{
		"users/00uNobody":                             "404 E0000007",
		"groups/00gNothing":                           "404 E0000007",
		"apps/0oaNothing":                             "404 E0000007",
		"apps/0oaNothing/users":                       "404 E0000007",
		"groups/00gNothing/users":                     "404 E0000007",
		"users/00uNobody/factors":                     "404 E0000007",
		"apps/" + app + "/users/00uX":                 "404 E0000007",
		"apps/" + app + "/groups/00gX":                "404 E0000007",
		"users/":                                      "404 E0000008",
		"nothing":                                     "404 E0000008",
		"users/" + o.AdminID() + "/x":                 "404 E0000008",
		"users?limit=none":                            "400 E0000001",
		"users?after=xyz":                             "400 E0000001",
		"users?filter=status+is+ACTIVE":               "400 E0000031",
		"users?filter=lastUpdated+gt+%22yesterday%22": "400 E0000031",
		"apps?filter=lastUpdated+gt+%22x%22":          "400 E0000031",
		"logs?since=2001-01-01T00:00:00.000Z":         "400 E0000001",
		"logs?after=bad":                              "400 E0000001",
	} {
		resp, body := get(t, o, path)
		var e struct {
			ErrorCode, ErrorSummary, ErrorLink, ErrorID string
			ErrorCauses                                 []any
		}
		if err := json.Unmarshal(body, &e); err != nil || e.ErrorSummary == "" || e.ErrorID == "" || e.ErrorCauses == nil {
			t.Errorf("%s: not Okta's envelope: %s", path, body)
		}
		if got := fmt.Sprintf("%d %s", resp.StatusCode, e.ErrorCode); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		for _, h := range []string{"X-Okta-Request-Id", "X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset", "Date"} {
			if resp.Header.Get(h) == "" {
				t.Errorf("%s: no %s", path, h)
			}
		}
	}
	if resp, body, _ := try("wrong", o.URL()+"/api/v1/users"); resp.StatusCode != 401 || !strings.Contains(string(body), "E0000011") {
		t.Errorf("wrong token: %s %s", resp.Status, body)
	}
	if resp, body, _ := try(o.Token(), o.URL()+"/other"); resp.StatusCode != 404 || !strings.Contains(string(body), "E0000008") {
		t.Errorf("outside the API: %s %s", resp.Status, body)
	}
}

func TestRateLimit(t *testing.T) {
	at := oktasim.NewManualClock(time.Date(2026, 3, 17, 9, 0, 0, 900e6, time.UTC))
	o := oktasim.New(t, oktasim.Config{Seed: 1, Clock: at, RateLimits: map[string]int{"users": 2}})
	for i, want := range []int{200, 200, 429, 429} {
		resp, body := get(t, o, "users")
		if resp.StatusCode != want {
			t.Fatalf("call %d: %s", i, resp.Status)
		}
		if resp.Header.Get("X-Rate-Limit-Limit") != "2" || resp.Header.Get("X-Rate-Limit-Reset") != fmt.Sprint(at.Now().Unix()+61) {
			t.Errorf("call %d: %v", i, resp.Header)
		}
		if resp.Header.Get("Date") != "Tue, 17 Mar 2026 09:00:00 GMT" {
			t.Errorf("Date = %s, want Okta's clock rounded down", resp.Header.Get("Date"))
		}
		if want == 429 && !strings.Contains(string(body), "E0000047") {
			t.Errorf("429 without E0000047: %s", body)
		}
	}
	if resp, _ := get(t, o, "groups"); resp.StatusCode != 200 {
		t.Error("one bucket stops another")
	}
	at.Advance(59 * time.Second)
	if resp, _ := get(t, o, "users"); resp.StatusCode != 429 {
		t.Error("the window ends too early")
	}
	at.Advance(time.Second)
	if resp, _ := get(t, o, "users"); resp.StatusCode != 200 {
		t.Error("the window does not end")
	}
}

func TestConcurrencyLimit(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1, Concurrency: 1})
	inside, leave := make(chan bool), make(chan bool)
	o.Fail(func(r *http.Request) *oktasim.Fault {
		if r.URL.Path == "/api/v1/groups" {
			return &oktasim.Fault{Delay: time.Hour}
		}
		return nil
	})
	go func() {
		defer close(leave)
		close(inside)
		_, _, _ = try(o.Token(), o.URL()+"/api/v1/groups") // ends with the org
	}()
	<-inside
	for deadline := time.Now().Add(10 * time.Second); ; {
		resp, body := get(t, o, "users")
		if resp.StatusCode == 429 {
			if resp.Header.Get("X-Rate-Limit-Limit") != "0" || resp.Header.Get("X-Rate-Limit-Remaining") != "0" || !strings.Contains(string(body), "E0000047") {
				t.Errorf("%v %s", resp.Header, body)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("two calls at once were both answered")
		}
	}
	o.Close()
	<-leave
}

func TestFaults(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1})
	fail := func(f oktasim.Fault) (*http.Response, []byte, error) {
		o.FailNext(1, "/users?limit=2", f)
		return try(o.Token(), o.URL()+"/api/v1/users?limit=2")
	}
	if resp, body, _ := fail(oktasim.Fault{Status: 403}); resp.StatusCode != 403 || !strings.Contains(string(body), "E0000006") {
		t.Errorf("403: %s %s", resp.Status, body)
	}
	if resp, body, _ := fail(oktasim.Fault{Status: 404, Code: "E0000008"}); resp.StatusCode != 404 || !strings.Contains(string(body), "E0000008") {
		t.Errorf("404: %s %s", resp.Status, body)
	}
	if resp, body, _ := fail(oktasim.Fault{HTML: true}); resp.StatusCode != 502 || !strings.Contains(string(body), "<html>") {
		t.Errorf("HTML: %s %s", resp.Status, body)
	}
	if _, _, err := fail(oktasim.Fault{Drop: true}); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("dropped: %v", err)
	}
	if resp, body, err := fail(oktasim.Fault{Truncate: true}); err == nil || resp.StatusCode != 200 || json.Valid(body) {
		t.Errorf("truncated: %v %s", err, body)
	}
	if resp, body, err := fail(oktasim.Fault{BadJSON: true}); err != nil || resp.StatusCode != 200 || json.Valid(body) {
		t.Errorf("bad JSON: %v %s", err, body)
	}
	if resp, body, _ := fail(oktasim.Fault{Empty: true}); string(body) != "[]" || next(resp) != "" {
		t.Errorf("empty: %s %v", body, resp.Header)
	}
	if resp, _, _ := fail(oktasim.Fault{RepeatCursor: true}); next(resp) != o.URL()+"/api/v1/users?limit=2" {
		t.Errorf("repeated cursor: %v", resp.Header)
	}
	if resp, _, _ := fail(oktasim.Fault{ContentType: "text/plain"}); resp.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("content type: %v", resp.Header)
	}
	if resp, _, _ := fail(oktasim.Fault{Status: 302, Location: "/elsewhere"}); resp.StatusCode != 302 || resp.Header.Get("Location") != "/elsewhere" {
		t.Errorf("redirect: %v", resp.Header)
	}
	if resp, _ := get(t, o, "users?limit=2"); resp.StatusCode != 200 || next(resp) == "" {
		t.Error("a fault outlived its call")
	}
	if n, calls := o.CallCount(), o.Calls(); n != 11 || len(calls) != 11 || calls[0].Status != 403 || calls[3].Status != 0 {
		t.Errorf("%d calls: %v", n, calls)
	}
	o.ResetCalls()
	if o.CallCount() != 0 {
		t.Error("the calls were not forgotten")
	}
}

func TestPagesGoOnWhileTheOrgChanges(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1, Users: 60})
	stays := o.UserIDs("ACTIVE", "SUSPENDED")
	o.MutateKinds(map[oktasim.Kind]int{oktasim.CreatesUser: 1, oktasim.UpdatesProfile: 1})
	gone := o.UserIDs("DEPROVISIONED")
	o.OnRequest(func(r *http.Request) {
		o.Mutate(2)
		if len(gone) > 0 {
			if _, err := o.DeleteUser(gone[0]); err != nil {
				t.Error(err)
			}
			gone = gone[1:]
		}
	})
	got, _ := list(t, o, everybody+"5")
	found := ids(t, got)
	for _, id := range stays {
		if n := len(slices.DeleteFunc(slices.Clone(found), func(x string) bool { return x != id })); n != 1 {
			t.Errorf("user %s, who was there all the time, was seen %d times", id, n)
		}
	}
}

func TestListsMayBeStaleAndReadsAreNot(t *testing.T) {
	at := oktasim.NewManualClock(time.Date(2026, 3, 17, 9, 0, 0, 0, time.UTC))
	lag := 10 * time.Second
	o := oktasim.New(t, oktasim.Config{Seed: 1, Clock: at, Lag: func(*http.Request) time.Duration { return lag }})
	user, group := o.UserIDs("ACTIVE")[0], o.GroupIDs("OKTA_GROUP")[0]
	members := o.Members(group)
	if slices.Contains(members, user) {
		if _, err := o.RemoveMember(group, user); err != nil {
			t.Fatal(err)
		}
		at.Advance(time.Minute)
	}
	before := decode(t, second(get(t, o, "groups/"+group)))
	if _, err := o.AddMember(group, user); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Suspend(user); err != nil {
		t.Fatal(err)
	}
	has := func() (member, inUsersGroups, suspended bool) {
		m, _ := list(t, o, "groups/"+group+"/users")
		g, _ := list(t, o, "users/"+user+"/groups")
		s, _ := list(t, o, "users?filter="+url.QueryEscape(`status eq "SUSPENDED"`))
		return slices.Contains(ids(t, m), user), slices.Contains(ids(t, g), group), slices.Contains(ids(t, s), user)
	}
	if a, b, c := has(); a || b || c {
		t.Error("a list shows what happened within its lag", a, b, c)
	}
	if u := decode(t, second(get(t, o, "users/"+user))); u.Status != "SUSPENDED" {
		t.Error("a read by id is late")
	}
	after := decode(t, second(get(t, o, "groups/"+group)))
	if after.LastUpdated != before.LastUpdated || after.LastMembershipUpdated != "2026-03-17T09:01:00.000Z" && after.LastMembershipUpdated != "2026-03-17T09:00:00.000Z" {
		t.Errorf("times of the group: %+v, before %+v", after, before)
	}
	at.Advance(lag - 1)
	if a, b, c := has(); a || b || c {
		t.Error("a list shows what happened within its lag", a, b, c)
	}
	at.Advance(1)
	if a, b, c := has(); !a || !b || !c {
		t.Error("a list does not show what happened before its lag", a, b, c)
	}
	lag = time.Hour
	at.Advance(2 * time.Hour)
	o.Mutate(50) // forgets the past
	lag = 0
	readAll(t, o, 100)
}

func second[A, B any](_ A, b B) B { return b }
