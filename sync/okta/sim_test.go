package okta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

func simClient(t *testing.T, cfg oktasim.Config) (*oktasim.Org, *Client) {
	t.Helper()
	org := oktasim.New(t, cfg)
	c, err := NewClient(t.Context(), ClientConfig{OrgURL: org.URL(), Token: org.Token(), AllowInsecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return org, c
}

// decodeAll decodes what the org says of itself into the client's forms.
func decodeAll[T any](t *testing.T, raws []json.RawMessage) []T {
	t.Helper()
	out := make([]T, 0, len(raws))
	for _, raw := range raws {
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

func sameItems[T item](t *testing.T, what string, got, want []T) {
	t.Helper()
	key := func(v T) string { b, _ := json.Marshal(v); return v.id() + string(b) }
	order := func(a, b T) int { return strings.Compare(key(a), key(b)) }
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	if len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("%s: read\n%+v\nwant\n%+v", what, got, want)
	}
}

// What is read, in lists and by id, is the org, whatever goes wrong in between.
func TestWholeOrgIsRead(t *testing.T) {
	org, c := simClient(t, oktasim.Config{Seed: 7, Users: 430, Groups: 30, Apps: 6, UnknownStatus: true})
	org.Mutate(60)
	for i, f := range []oktasim.Fault{{Drop: true}, {Status: 503}, {HTML: true}, {Status: 504}, {Truncate: true}, {Drop: true}} {
		org.FailNext(1, []string{"/users?", "/groups?", "/apps", "/factors", "/users", "/groups"}[i], f)
	}
	ctx := t.Context()
	want := org.Snapshot()

	users, err := all(ctx, c.Users)
	if err != nil {
		t.Fatal(err)
	}
	sameItems(t, "users", users, decodeAll[User](t, want.Users))
	apps, err := all(ctx, c.Applications)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := all(ctx, c.Groups)
	if err != nil {
		t.Fatal(err)
	}
	var rawGroups, rawApps []json.RawMessage
	for _, g := range want.Groups {
		rawGroups = append(rawGroups, g.JSON)
		members, err := all(ctx, func(ctx context.Context, link string) (Page[Ref], error) { return c.GroupMembers(ctx, g.ID, link) })
		if err != nil {
			t.Fatal(err)
		}
		var refs []Ref
		for _, id := range g.Members {
			refs = append(refs, Ref{id})
		}
		sameItems(t, "members of "+g.ID, members, refs)
		r, err := c.Group(ctx, g.ID)
		if err != nil || !r.Found || r.Value.ID != g.ID {
			t.Errorf("group %s: %+v, %v", g.ID, r, err)
		}
	}
	sameItems(t, "groups", groups, decodeAll[Group](t, rawGroups))
	for _, a := range want.Apps {
		rawApps = append(rawApps, a.JSON)
		appUsers, err := all(ctx, func(ctx context.Context, link string) (Page[AppUser], error) { return c.AppUsers(ctx, a.ID, link) })
		if err != nil {
			t.Fatal(err)
		}
		sameItems(t, "users of "+a.ID, appUsers, decodeAll[AppUser](t, a.Users))
		appGroups, err := all(ctx, func(ctx context.Context, link string) (Page[AppGroup], error) { return c.AppGroups(ctx, a.ID, link) })
		if err != nil {
			t.Fatal(err)
		}
		sameItems(t, "groups of "+a.ID, appGroups, decodeAll[AppGroup](t, a.Groups))
		for i, au := range appUsers {
			if i == 3 {
				break
			}
			r, err := c.AppUser(ctx, a.ID, au.ID)
			if err != nil || !reflect.DeepEqual(r.Value, au) {
				t.Errorf("app user by id %+v, in the list %+v, %v", r, au, err)
			}
			of, err := all(ctx, func(ctx context.Context, link string) (Page[UserApp], error) { return c.UserApps(ctx, au.ID, link) })
			if err != nil || !slices.ContainsFunc(of, func(ua UserApp) bool { return ua.App.ID == a.ID && reflect.DeepEqual(ua.User, au) }) {
				t.Errorf("applications of %s: %+v, %v", au.ID, of, err)
			}
		}
		for _, ag := range appGroups {
			if r, err := c.AppGroup(ctx, a.ID, ag.ID); err != nil || !r.Found {
				t.Errorf("app group: %+v, %v", r, err)
			}
		}
		if r, err := c.AppUser(ctx, a.ID, "00unknown"); err != nil || r.Found {
			t.Errorf("app user that is not: %+v, %v", r, err)
		}
	}
	sameItems(t, "apps", apps, decodeAll[Application](t, rawApps))
	for i, u := range users {
		if i%40 != 0 {
			continue
		}
		r, err := c.User(ctx, u.ID)
		if err != nil || !r.Found || !reflect.DeepEqual(r.Value, u) {
			t.Errorf("user by id %+v, in the list %+v, %v", r, u, err)
		}
		f, err := c.Factors(ctx, u.ID)
		if err != nil {
			t.Fatal(err)
		}
		sameItems(t, "factors of "+u.ID, f.Items, decodeAll[Factor](t, want.Factors[u.ID]))
	}
	if s, err := c.Support(ctx); err != nil || !s.Found {
		t.Errorf("support: %+v, %v", s, err)
	}
}

func TestChangedSince(t *testing.T) {
	org, c := simClient(t, oktasim.Config{Seed: 3})
	since := time.Now().Add(-time.Millisecond) // Okta's times have milliseconds
	id, _, err := org.CreateUser("ACTIVE", map[string]any{"login": "new@example.com", "email": "new@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	gid, _, err := org.CreateGroup("New", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := org.AddMember(gid, id); err != nil {
		t.Fatal(err)
	}
	users, err := c.UsersChangedSince(t.Context(), since, "")
	if err != nil || len(users.Items) != 1 || users.Items[0].ID != id {
		t.Errorf("users: %+v, %v", users.Items, err)
	}
	groups, err := c.GroupsChangedSince(t.Context(), since, "")
	if err != nil || !slices.ContainsFunc(groups.Items, func(g Group) bool { return g.ID == gid }) || len(groups.Items) > 2 {
		t.Errorf("groups: %+v, %v", groups.Items, err)
	}
	if groups, err := c.UserGroups(t.Context(), id, ""); err != nil || !slices.Contains(groups.Items, Ref{gid}) {
		t.Errorf("groups of the user: %+v, %v", groups.Items, err)
	}
}

func TestLastingFaultIsAnErrorOfTheRead(t *testing.T) {
	org, c := simClient(t, oktasim.Config{Seed: 5, Users: 300})
	for _, f := range []oktasim.Fault{
		{Status: 403}, {Status: 400}, {Status: 302, Location: "http://127.0.0.1:1/api/v1/users"},
		{ContentType: "text/plain"}, {BadJSON: true}, {RepeatCursor: true},
	} {
		org.Fail(func(r *http.Request) *oktasim.Fault { return &f })
		users, err := all(t.Context(), c.Users)
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%+v: %d users, %v", f, len(users), err)
		}
	}
	org.Fail(nil)
	if users, err := all(t.Context(), c.Users); err != nil || len(users) != 300 {
		t.Errorf("%d users, %v", len(users), err)
	}
}

// Every delivery that the simulated org sends is understood whole.
func TestSimulatedDeliveriesAreUnderstood(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 11, NullTargets: true})
	events := org.Mutate(300)
	d, err := ParseDelivery(org.DeliveryBody(events))
	if err != nil || len(d.Bad) != 0 || len(d.Events) != len(events) {
		t.Errorf("%d of %d events, bad: %v, %v", len(d.Events), len(events), fmt.Sprint(d.Bad), err)
	}
}
