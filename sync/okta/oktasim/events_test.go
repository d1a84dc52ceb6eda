package oktasim_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// everyKind makes Mutate do whatever it can.
func everyKind() map[oktasim.Kind]int {
	kinds := oktasim.DefaultKinds()
	for k := range kinds {
		kinds[k]++
	}
	return kinds
}

type event struct {
	UUID, Published, EventType string
	Actor                      struct{ ID, Type string }
	Target                     []struct{ ID, Type, AlternateID string }
	Outcome                    struct{ Result, Reason string }
	Transaction                struct{ Type, ID string }
	DebugContext               struct{ DebugData map[string]string }
}

func parse(t tb, raw []byte) (e event) {
	t.Helper()
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return e
}

func (e event) types() string {
	var types []string
	for _, t := range e.Target {
		types = append(types, t.Type)
	}
	return strings.Join(types, ";")
}

// TestEventsNameWhatTheTableSays holds every event against the table of
// targets that was gathered from real payloads and Okta's documents.
func TestEventsNameWhatTheTableSays(t *testing.T) {
	f, err := os.Open("testdata/event-types.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	table := map[string][]string{}
	for _, r := range rows {
		table[r[0]] = r
	}
	o := oktasim.New(t, oktasim.Config{Seed: 5, Users: 60, NullTargets: true})
	o.MutateKinds(everyKind())
	o.Mutate(3000)
	seen, uuids := map[string]int{}, map[string]bool{}
	for _, e := range o.Events() {
		p := parse(t, e.JSON)
		seen[p.EventType]++
		if uuids[p.UUID] || p.UUID != e.UUID || p.EventType != e.Type || p.Published != e.Published.Format("2006-01-02T15:04:05.000Z") {
			t.Fatalf("%+v says %s", e, e.JSON)
		}
		uuids[p.UUID] = true
		row := table[e.Type]
		if e.Type == "resource.something.new" || e.Type == "user.session.start" {
			continue
		}
		if row == nil {
			t.Fatalf("%s is not in the table", e.Type)
		}
		if e.HookEligible != (row[1] == "yes") {
			t.Errorf("%s: eligible %v", e.Type, e.HookEligible)
		}
		want, _, _ := strings.Cut(row[2], " (")
		want, _, _ = strings.Cut(want, "; on Identity")
		if strings.HasPrefix(want, "null") {
			want = ""
		}
		switch got := p.types(); {
		case got == want:
		case e.Type == "user.mfa.factor.activate" && got == "User;AuthenticatorEnrollment":
		case e.Type == "user.account.update_profile" && got == "" && strings.HasPrefix(p.DebugContext.DebugData["requestUri"], "/api/v1/users/00u"):
		default:
			t.Errorf("%s: targets %s, want %s", e.Type, got, want)
		}
		switch {
		case e.Type == "user.account.lock":
			if p.Outcome.Result != "FAILURE" || p.Outcome.Reason != "LOCKED_OUT" || p.Actor.Type != "User" || !strings.Contains(string(e.JSON), `"target":null`) {
				t.Errorf("%s", e.JSON)
			}
		case strings.HasPrefix(e.Type, "application.user_membership."):
			if !strings.HasPrefix(p.Target[0].ID, "0ua") || !strings.HasPrefix(p.Target[1].ID, "0oa") || !strings.HasPrefix(p.Target[2].ID, "00u") {
				t.Errorf("%s", e.JSON)
			}
		}
	}
	for _, r := range rows[1:] {
		if seen[r[0]] == 0 && r[0] != "event_hook.delivery" && !strings.HasPrefix(r[0], "system.org.rate_limit.") {
			t.Errorf("no %s in 3000 changes", r[0])
		}
	}
}

// TestEventsHaveTheFieldsOfOktas holds the form of events against the fields
// that the sample deliveries have, in hook and log.
func TestEventsHaveTheFieldsOfOktas(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1})
	o.Mutate(200)
	keys := func(raw []byte) []string {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		out := []string{}
		for k := range m {
			out = append(out, k)
		}
		return out
	}
	both := []string{
		"uuid", "published", "eventType", "version", "displayMessage", "severity", "client", "actor", "outcome", "target",
		"transaction", "debugContext", "legacyEventType", "authenticationContext", "securityContext",
	}
	inLog, _ := list2(t, o, "logs?limit=1000")
	for i, e := range o.Events() {
		equal(t, "hook form", keys(e.JSON), append([]string{"device", "insertionTimestamp"}, both...))
		equal(t, "log form", keys(inLog[i]), append([]string{"request"}, both...))
		var hook, log struct {
			Client         json.RawMessage
			Transaction    struct{ Type string }
			Authentication json.RawMessage `json:"authenticationContext"`
			Security       json.RawMessage `json:"securityContext"`
		}
		if json.Unmarshal(e.JSON, &hook) != nil || json.Unmarshal(inLog[i], &log) != nil {
			t.Fatal("not JSON")
		}
		client := []string{"userAgent", "zone", "device", "id", "ipAddress", "geographicalContext"}
		equal(t, "client in the log", keys(log.Client), client)
		equal(t, "client in the hook", keys(hook.Client), append(client, "ipChain"))
		equal(t, "authentication", keys(hook.Authentication), []string{"authenticationProvider", "credentialProvider", "credentialType", "issuer", "authenticationStep", "externalSessionId", "interface"})
		equal(t, "security", keys(hook.Security), []string{"asNumber", "asOrg", "isp", "domain", "isProxy"})
	}
}

// list2 reads one page of the log: its next link never ends.
func list2(t tb, o *oktasim.Org, path string) (items []json.RawMessage, link string) {
	t.Helper()
	resp, body := get(t, o, path)
	if resp.StatusCode != 200 {
		t.Fatalf("%s: %s %s", path, resp.Status, body)
	}
	if err := json.Unmarshal(body, &items); err != nil {
		t.Fatal(err)
	}
	return items, next(resp)
}

// edges is what a reader of events alone would believe of memberships and
// assignments.
type edges map[string]bool

func begin(t tb, s oktasim.Snapshot) edges {
	e := edges{}
	for _, g := range s.Groups {
		if !g.Everyone {
			for _, u := range g.Members {
				e["member "+g.ID+" "+u] = true
			}
		}
	}
	for _, a := range s.Apps {
		for _, u := range ids(t, a.Users) {
			e["appuser "+a.ID+" "+u] = true
		}
		for _, g := range ids(t, a.Groups) {
			e["appgroup "+a.ID+" "+g] = true
		}
	}
	return e
}

func (e edges) apply(p event) {
	id := func(typ string) string {
		for _, t := range p.Target {
			if t.Type == typ {
				return t.ID
			}
		}
		return ""
	}
	drop := func(parts ...string) {
		for k := range e {
			for _, part := range parts {
				if strings.Contains(k, part) {
					delete(e, k)
				}
			}
		}
	}
	switch p.EventType {
	case "group.user_membership.add":
		e["member "+id("UserGroup")+" "+id("User")] = true
	case "group.user_membership.remove":
		delete(e, "member "+id("UserGroup")+" "+id("User"))
	case "application.user_membership.add", "application.user_membership.restore", "application.user_membership.change_username", "application.user_membership.update":
		e["appuser "+id("AppInstance")+" "+id("User")] = true
	case "application.user_membership.remove":
		delete(e, "appuser "+id("AppInstance")+" "+id("User"))
	case "group.application_assignment.add", "group.application_assignment.update":
		e["appgroup "+id("AppInstance")+" "+id("UserGroup")] = true
	case "group.application_assignment.remove":
		delete(e, "appgroup "+id("AppInstance")+" "+id("UserGroup"))
	case "group.lifecycle.delete":
		drop(id("UserGroup"))
	case "application.lifecycle.delete":
		drop(id("AppInstance"))
	case "user.lifecycle.delete.initiated":
		drop(id("User"))
	}
}

// TestEventsTellOfEveryChange follows random histories by their events alone.
func TestEventsTellOfEveryChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := oktasim.NewManualClock(time.Date(2026, 3, 17, 9, 0, 0, 0, time.UTC))
		o, err := oktasim.Start(oktasim.Config{
			Seed: rapid.Int64().Draw(t, "seed"), Clock: at, Users: rapid.IntRange(1, 15).Draw(t, "users"), Groups: 4, Apps: 4,
			Step: time.Duration(rapid.IntRange(0, 3).Draw(t, "step")) * 400 * time.Microsecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		believed := begin(t, o.Snapshot())
		events := o.Mutate(rapid.IntRange(1, 60).Draw(t, "changes"))
		last := time.Time{}
		for _, e := range events {
			if e.Published.Before(last) {
				t.Fatalf("%s was published before the event before it", e.Type)
			}
			last = e.Published
			believed.apply(parse(t, e.JSON))
		}
		s := o.Snapshot()
		want := begin(t, s)
		for k := range want {
			if !believed[k] {
				t.Fatalf("no event told of %s", k)
			}
		}
		for k := range believed {
			if !want[k] {
				t.Fatalf("no event told of the end of %s", k)
			}
		}
		check(t, s)
	})
}

// check holds a state against Okta's own rules.
func check(t tb, s oktasim.Snapshot) {
	t.Helper()
	status, logins := map[string]string{}, map[string]bool{}
	for _, raw := range s.Users {
		u := decode(t, raw)
		status[u.ID] = u.Status
		login := strings.ToLower(u.Profile["login"].(string))
		if logins[login] {
			t.Fatalf("two users have the login of %s", u.ID)
		}
		logins[login] = true
	}
	members := map[string][]string{}
	for _, g := range s.Groups {
		members[g.ID] = g.Members
	}
	for user := range s.Factors {
		if status[user] == "DEPROVISIONED" {
			t.Fatalf("user %s is DEPROVISIONED and has factors", user)
		}
	}
	for _, a := range s.Apps {
		through := map[string]bool{}
		for _, g := range ids(t, a.Groups) {
			if _, there := members[g]; !there {
				t.Fatalf("application %s is assigned to the deleted group %s", a.ID, g)
			}
			for _, u := range members[g] {
				through[u] = status[u] != "DEPROVISIONED"
			}
		}
		for _, raw := range a.Users {
			u := decode(t, raw)
			if s := status[u.ID]; s == "" || s == "DEPROVISIONED" {
				t.Fatalf("application %s is assigned to user %s, who is %q", a.ID, u.ID, s)
			}
			if u.Scope == "GROUP" && !through[u.ID] {
				t.Fatalf("application %s is assigned to user %s through no group", a.ID, u.ID)
			}
			delete(through, u.ID)
		}
		for u, has := range through {
			if has {
				t.Fatalf("user %s lacks application %s of its group", u, a.ID)
			}
		}
	}
}

func TestWhatADeactivationTakes(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 3, Users: 40})
	var user string
	for _, u := range o.UserIDs("ACTIVE") {
		f, _ := list(t, o, "users/"+u+"/factors")
		if direct(t, o, u) > 0 && len(f) > 0 {
			user = u
		}
	}
	groups, _ := list(t, o, "users/"+user+"/groups")
	events, err := o.Deactivate(user)
	if err != nil {
		t.Fatal(err)
	}
	if events[0].Type != "user.lifecycle.deactivate" || len(events) < 2 {
		t.Fatalf("events: %v", types(events))
	}
	for _, e := range events[1:] {
		if e.Type != "application.user_membership.remove" || parse(t, e.JSON).Transaction.Type != "JOB" {
			t.Errorf("%s", e.JSON)
		}
	}
	if f, _ := list(t, o, "users/"+user+"/factors"); len(f) != 0 {
		t.Error("factors stay")
	}
	if g, _ := list(t, o, "users/"+user+"/groups"); len(g) != len(groups) {
		t.Error("memberships go")
	}
	lost := len(events) - 1
	back, err := o.Reactivate(user)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range back[1:] {
		if e.Type != "application.user_membership.restore" || e.HookEligible {
			t.Errorf("%s, eligible %v", e.Type, e.HookEligible)
		}
	}
	if len(back)-1 != lost {
		t.Errorf("%d applications came back, %d were lost", len(back)-1, lost)
	}
	if _, err := o.DeleteUser(user); err == nil {
		t.Error("a PROVISIONED user can be deleted")
	}
}

// direct counts the direct assignments of a user.
func direct(t tb, o *oktasim.Org, user string) (n int) {
	for _, a := range o.Snapshot().Apps {
		for _, raw := range a.Users {
			if u := decode(t, raw); u.ID == user && u.Scope == "USER" {
				n++
			}
		}
	}
	return n
}

func types(events []oktasim.Event) (out []string) {
	for _, e := range events {
		out = append(out, e.Type)
	}
	return out
}

func TestAUserIsGoneSomeTimeAfterItsDelete(t *testing.T) {
	at := oktasim.NewManualClock(time.Date(2026, 3, 17, 9, 0, 0, 0, time.UTC))
	o := oktasim.New(t, oktasim.Config{Seed: 1, Clock: at, DeleteDelay: time.Minute})
	user := o.UserIDs("DEPROVISIONED")[0]
	events, err := o.DeleteUser(user)
	if err != nil || !slices.Equal(types(events), []string{"user.lifecycle.delete.initiated"}) {
		t.Fatal(events, err)
	}
	if _, err := o.Activate(user); err == nil {
		t.Error("a user whose delete is under way can be activated")
	}
	at.Advance(time.Minute - 1)
	if resp, _ := get(t, o, "users/"+user); resp.StatusCode != 200 {
		t.Error("gone too early")
	}
	at.Advance(1)
	if resp, _ := get(t, o, "users/"+user); resp.StatusCode != 404 {
		t.Error("not gone in time")
	}
	all := o.Events()
	last := all[len(all)-1]
	if last.Type != "user.lifecycle.delete.completed" || last.HookEligible || !last.Published.Equal(at.Now()) {
		t.Errorf("%+v", last)
	}
}

func TestALoginPasses(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1})
	users := o.UserIDs("ACTIVE")
	login := decode(t, second(get(t, o, "users/"+users[0]))).Profile["login"].(string)
	events, err := o.PassLogin(users[0], users[1], "someone.new@example.com")
	if err != nil || len(events) != 2 {
		t.Fatal(events, err)
	}
	if u := decode(t, second(get(t, o, "users/"+url.PathEscape(login)))); u.ID != users[1] {
		t.Errorf("the login is that of %s", u.ID)
	}
	if _, err := o.RenameLogin(users[0], login); err == nil {
		t.Error("two users can have one login")
	}
}

func TestDeletesAreSilentOfWhatGoesWithThem(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1})
	group := o.GroupIDs("OKTA_GROUP")[0]
	events, err := o.DeleteGroup(group)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events[1:] {
		if !strings.HasPrefix(e.Type, "application.user_membership.") {
			t.Errorf("a group's delete tells of %s", e.Type)
		}
	}
	app := o.AppIDs("amazon_aws")[0]
	if _, err := o.DeleteApp(app); err == nil {
		t.Error("an ACTIVE application can be deleted")
	}
	if _, err := o.DeactivateApp(app); err != nil {
		t.Fatal(err)
	}
	if got, _ := list(t, o, "apps/"+app+"/users"); len(got) == 0 {
		t.Error("deactivation took the assignments")
	}
	events, err = o.DeleteApp(app)
	if err != nil || !slices.Equal(types(events), []string{"application.lifecycle.delete"}) {
		t.Error(types(events), err)
	}
	readAll(t, o, 100)
}

func TestRefusedChangesChangeNothing(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1})
	before := fmt.Sprint(o.Snapshot())
	user, group, app := o.UserIDs("ACTIVE")[0], o.GroupIDs("APP_GROUP")[0], o.AppIDs("")[0]
	fail := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s was not refused", what)
		}
	}
	fail("a membership of Everyone", third(o.AddMember(o.EveryoneID(), user)))
	fail("a membership of an APP_GROUP", third(o.AddMember(group, user)))
	fail("the delete of an APP_GROUP", third(o.DeleteGroup(group)))
	fail("the unlock of an ACTIVE user", third(o.Unlock(user)))
	fail("an update of nobody", third(o.UpdateProfile("00uX", map[string]any{"title": "x"})))
	fail("an assignment to nobody", third(o.AssignUser(app, "00uX", nil)))
	_, _, err := o.ImportGroup(app, "x", "00uX")
	fail("an import of nobody", err)
	_, _, err = o.CreateUser("ACTIVE", map[string]any{"firstName": "x"})
	fail("a user without a login", err)
	if after := fmt.Sprint(o.Snapshot()); after != before || len(o.Events()) != 0 {
		t.Error("something changed")
	}
}

func third[A any](_ A, err error) error { return err }

func TestLogIsFollowedByItsNextLink(t *testing.T) {
	at := oktasim.NewManualClock(time.Date(2026, 3, 17, 9, 0, 0, 0, time.UTC))
	o := oktasim.New(t, oktasim.Config{Seed: 2, Clock: at, Step: 700 * time.Microsecond, LogLag: 5 * time.Second})
	want := map[string]bool{}
	got := map[string]bool{}
	link := "logs?limit=7&since=" + at.Now().Format("2006-01-02T15:04:05.000Z")
	read := func() (n int) {
		items, after := list2(t, o, link)
		for _, i := range items {
			e := parse(t, i)
			if got[e.UUID] {
				t.Fatalf("%s twice", e.UUID)
			}
			got[e.UUID] = true
		}
		if after == "" {
			t.Fatal("a poll has no next link")
		}
		link = after
		return len(items)
	}
	late := false
	for range 40 {
		for _, e := range o.Mutate(5) {
			want[e.UUID] = true
		}
		read()
		late = late || len(got) < len(want)
		at.Advance(300 * time.Millisecond)
	}
	at.Advance(10 * time.Second)
	for read() > 0 {
	}
	if len(got) != len(want) || !late {
		t.Errorf("got %d of %d events; any late: %v", len(got), len(want), late)
	}
}

func TestLogOfASpanAndItsFilter(t *testing.T) {
	at := oktasim.NewManualClock(time.Date(2026, 3, 17, 9, 0, 0, 0, time.UTC))
	o := oktasim.New(t, oktasim.Config{Seed: 2, Clock: at, Step: time.Second})
	events := o.Mutate(60)
	from, to := events[10].Published, events[len(events)-10].Published
	span := "logs?limit=4&since=" + from.Format(time.RFC3339) + "&until=" + to.Format(time.RFC3339)
	var want, filtered []string
	for _, e := range events {
		if !e.Published.Before(from) && e.Published.Before(to) {
			want = append(want, e.UUID)
		}
		if e.Type == "user.account.update_profile" || e.Type == "group.user_membership.add" {
			filtered = append(filtered, e.UUID)
		}
	}
	uuids := func(items []json.RawMessage) (out []string) {
		for _, i := range items {
			out = append(out, parse(t, i).UUID)
		}
		return out
	}
	got, _ := list(t, o, span)
	if !slices.Equal(uuids(got), want) {
		t.Errorf("span: %d events, want %d", len(got), len(want))
	}
	got, _ = list(t, o, span+"&sortOrder=DESCENDING")
	slices.Reverse(want)
	if !slices.Equal(uuids(got), want) {
		t.Errorf("descending: %d events, want %d", len(got), len(want))
	}
	got, _ = list2(t, o, "logs?limit=1000&filter="+url.QueryEscape(`eventType eq "user.account.update_profile" or eventType eq "group.user_membership.add"`))
	if !slices.Equal(uuids(got), filtered) {
		t.Errorf("filter: %d events, want %d", len(got), len(filtered))
	}
	if resp, _ := get(t, o, "logs?limit=2000"); resp.StatusCode != 400 {
		t.Error("limit 2000 is allowed")
	}
}
