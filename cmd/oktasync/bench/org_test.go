package bench

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/oktasync/oktasync/sync/okta"
)

// served returns a generated org, and the client with which the service reads orgs.
func served(t *testing.T, s shape, users int, l limits) (*orgServer, *okta.Client) {
	t.Helper()
	o, err := newOrg(s, users)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	org := newOrgServer(o, "http://"+server.Listener.Addr().String(), 0, l)
	server.Config.Handler = org
	server.Start()
	t.Cleanup(server.Close)
	c, err := okta.NewClient(t.Context(), okta.ClientConfig{OrgURL: org.url, Token: orgToken, AllowInsecure: true, Share: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return org, c
}

// all reads a list to its end.
func all[T any](t *testing.T, read func(ctx context.Context, link string) (okta.Page[T], error)) (items []T) {
	t.Helper()
	for link := ""; ; {
		p, err := read(t.Context(), link)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, p.Items...)
		if link = p.Next; link == "" {
			return items
		}
	}
}

// A benchmark says something of the service only if the org it reads is one that Okta
// could have: each object once, at its place, and the same by every way that leads to it.
func TestAGeneratedOrgIsReadAsItWasMade(t *testing.T) {
	for _, s := range []shape{heavy, even} {
		t.Run(string(s), func(t *testing.T) {
			org, c := served(t, s, 2003, nil)
			ctx := t.Context()

			users := all(t, c.Users)
			var got, want []string
			byUser := map[string]okta.User{}
			for i, u := range users {
				got, want = append(got, u.ID+u.Status), append(want, id(userPrefix, i)+status(i))
				byUser[u.ID] = u
				if size := len(appendUser(nil, org.url, i, 0)); size < 1300 || size > 2000 {
					t.Fatalf("user %d is of %d bytes", i, size)
				}
			}
			if !slices.Equal(got, want) {
				t.Error("the users are others, or elsewhere")
			}
			if len(users) != 2003 || len(byUser) != 2003 {
				t.Fatalf("%d users, %d ids", len(users), len(byUser))
			}
			memberships, assignments := map[[2]string]bool{}, map[[2]string]okta.AppUser{}
			groups := all(t, c.Groups)
			for g, group := range groups {
				if group.ID != id(groupPrefix, g) || group.Everyone() != (g == 0) {
					t.Fatalf("group %d is %s, Everyone: %t", g, group.ID, group.Everyone())
				}
				members := all(t, func(ctx context.Context, link string) (okta.Page[okta.Ref], error) {
					return c.GroupMembers(ctx, group.ID, link)
				})
				if len(members) != *group.Embedded.Stats.UsersCount || g > 0 && len(members) != org.groups[g] {
					t.Fatalf("group %d has %d members, %d by its statistics", g, len(members), *group.Embedded.Stats.UsersCount)
				}
				for _, m := range members {
					if _, known := byUser[m.ID]; !known || memberships[[2]string{group.ID, m.ID}] {
						t.Fatalf("member %s of group %d is no user, or twice there", m.ID, g)
					}
					memberships[[2]string{group.ID, m.ID}] = true
				}
			}
			apps, rows := all(t, c.Applications), 0
			for a, app := range apps {
				if app.ID != id(appPrefix, a) {
					t.Fatalf("application %d is %s", a, app.ID)
				}
				for _, u := range all(t, func(ctx context.Context, link string) (okta.Page[okta.AppUser], error) {
					return c.AppUsers(ctx, app.ID, link)
				}) {
					if _, known := byUser[u.ID]; !known || assignments[[2]string{app.ID, u.ID}].ID != "" {
						t.Fatalf("user %s of application %d is none, or twice there", u.ID, a)
					}
					assignments[[2]string{app.ID, u.ID}] = u
				}
				of := all(t, func(ctx context.Context, link string) (okta.Page[okta.AppGroup], error) {
					return c.AppGroups(ctx, app.ID, link)
				})
				seen := map[string]bool{}
				for _, g := range of {
					if _, known := index(groupPrefix, g.ID, len(groups)); !known || seen[g.ID] {
						t.Fatalf("group %s of application %d is none, or twice there", g.ID, a)
					}
					seen[g.ID] = true
				}
				rows += len(of)
			}
			records := org.records(true)
			everyone := len(users)
			for what, n := range map[string][2]int{
				"user": {len(users), records["user"]}, "group": {len(groups), records["group"]}, "app": {len(apps), records["app"]},
				"member": {len(memberships) - everyone, records["member"]}, "appuser": {len(assignments), records["appuser"]}, "appgroup": {rows, records["appgroup"]},
			} {
				if n[0] != n[1] || n[0] == 0 {
					t.Errorf("%d of kind %s were read, not %d", n[0], what, n[1])
				}
			}

			// The calls are those of the formula, but for those that read Everyone, and the empty groups.
			calls, fewest := map[string]int64{}, org.fewest(true)
			for _, f := range []string{"users", "groups", "members", "apps", "assignments"} {
				calls[f] = org.calls[f].Load()
			}
			empty := 0
			for _, n := range org.groups[1:] {
				if n == 0 {
					empty++
				}
			}
			for f, n := range calls {
				if f == "members" {
					n -= int64((everyone+999)/1000 + empty)
				}
				if n != int64(fewest[f]) {
					t.Errorf("%d calls for %s, the formula says %d", n, f, fewest[f])
				}
			}

			// From the side of a user, and by id, it is the same.
			factors := 0
			for i, u := range users {
				of, err := c.Factors(ctx, u.ID)
				if err != nil {
					t.Fatal(err)
				}
				factors += len(of.Items)
				if i%50 != 0 {
					continue
				}
				one, err := c.User(ctx, u.ID)
				if err != nil || !one.Found || mustJSON(t, one.Value) != mustJSON(t, u) {
					t.Fatalf("user %d by id is another: %v", i, err)
				}
				for _, g := range all(t, func(ctx context.Context, link string) (okta.Page[okta.Ref], error) {
					return c.UserGroups(ctx, u.ID, link)
				}) {
					if !memberships[[2]string{g.ID, u.ID}] {
						t.Errorf("user %d says to be in %s, which does not list them", i, g.ID)
					}
					delete(memberships, [2]string{g.ID, u.ID})
				}
				for _, a := range all(t, func(ctx context.Context, link string) (okta.Page[okta.UserApp], error) {
					return c.UserApps(ctx, u.ID, link)
				}) {
					key := [2]string{a.App.ID, u.ID}
					if mustJSON(t, assignments[key]) != mustJSON(t, a.User) {
						t.Errorf("user %d has %s otherwise than it lists them", i, a.App.ID)
					}
					single, err := c.AppUser(ctx, a.App.ID, u.ID)
					if err != nil || !single.Found || mustJSON(t, single.Value) != mustJSON(t, a.User) {
						t.Errorf("user %d by id has %s otherwise: %v", i, a.App.ID, err)
					}
					delete(assignments, key)
				}
				for key := range memberships {
					if key[1] == u.ID {
						t.Errorf("user %d does not say to be in %s", i, key[0])
					}
				}
				for key := range assignments {
					if key[1] == u.ID {
						t.Errorf("user %d does not say to have %s", i, key[0])
					}
				}
			}
			if factors != records["factor"] || factors == 0 {
				t.Errorf("%d factors were read, not %d", factors, records["factor"])
			}
			if r, err := c.User(ctx, "00u0000000aaaaaaa697"); err != nil || r.Found {
				t.Errorf("a user that is none: %v, %v", r.Found, err)
			}
			if n := org.refused.Load(); n != 0 {
				t.Errorf("%d calls were refused, without limits", n)
			}
		})
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Who comes later is in the lists, by id, in the log and in the hook's deliveries.
func TestUsersThatComeAreToldByEveryWay(t *testing.T) {
	org, c := served(t, heavy, 1000, nil)
	ctx := t.Context()
	first := org.grow(700)
	second := org.grow(800)
	if first.From != 1000 || second.From != first.To || second.To != 2500 {
		t.Fatalf("grew by %+v and %+v", first, second)
	}
	if users := all(t, c.Users); len(users) != 2500 || users[2499].ID != id(userPrefix, 2499) {
		t.Errorf("%d users, after 1500 came", len(users))
	}
	everyone, err := c.BuiltInGroups(ctx)
	if err != nil || *everyone.Items[0].Embedded.Stats.UsersCount != 2500 {
		t.Errorf("Everyone: %+v, %v", everyone, err)
	}
	some, err := c.UsersByID(ctx, []string{id(userPrefix, 3), id(userPrefix, 2400), id(userPrefix, 2500)})
	if err != nil || len(some.Items) != 2 || some.Items[1].ID != id(userPrefix, 2400) {
		t.Errorf("users by id: %+v, %v", some, err)
	}
	if changed := all(t, func(ctx context.Context, link string) (okta.Page[okta.User], error) {
		return c.UsersChangedSince(ctx, quietSince, link)
	}); len(changed) != 1500 {
		t.Errorf("%d users changed since it was quiet, not 1500", len(changed))
	}
	var told []string
	for link := ""; ; {
		p, err := c.Log(ctx, quietSince, `eventType sw "user."`, link)
		if err != nil || len(p.Bad) > 0 {
			t.Fatal(p.Bad, err)
		}
		for _, e := range p.Events {
			told = append(told, e.UUID+e.Targets[0].ID+e.Published.String())
		}
		if link = p.Next; p.Items == 0 {
			break
		}
	}
	var delivered []string
	for _, g := range []growth{first, second} {
		d, err := okta.ParseDelivery(delivery(org.url, g.From, g.To, g.At))
		if err != nil || len(d.Bad) > 0 {
			t.Fatal(d.Bad, err)
		}
		for i, e := range d.Events {
			if e.Type != "user.lifecycle.create" || e.Targets[0].ID != id(userPrefix, g.From+i) {
				t.Fatalf("event %d of a delivery: %+v", i, e)
			}
			delivered = append(delivered, e.UUID+e.Targets[0].ID+e.Published.String())
		}
	}
	if len(told) != 1500 || !slices.Equal(told, delivered) {
		t.Errorf("the log tells of %d, the hook of %d, or of others", len(told), len(delivered))
	}
	slices.Sort(told)
	if len(slices.Compact(told)) != 1500 {
		t.Error("two events have one uuid")
	}
}

// With limits a call too many is refused as Okta refuses it.
func TestAGeneratedOrgKeepsItsLimits(t *testing.T) {
	org, _ := served(t, heavy, 100, limits{"apps": 2, "rest": 5})
	var status []int
	for range 3 {
		req := httptest.NewRequest(http.MethodGet, "/api/v1/apps", nil)
		req.Header.Set("Authorization", "SSWS "+orgToken)
		w := httptest.NewRecorder()
		org.ServeHTTP(w, req)
		status = append(status, w.Code)
		if w.Header().Get("X-Rate-Limit-Limit") != "2" || w.Header().Get("X-Rate-Limit-Reset") == "" {
			t.Errorf("headers: %v", w.Header())
		}
	}
	if !slices.Equal(status, []int{200, 200, 429}) || org.refused.Load() != 1 {
		t.Errorf("with a limit of 2: %v, %d refused", status, org.refused.Load())
	}
}

// Sizes are what the benchmarks say of the org.
func TestAHeavyTailedOrgIsHeavyTailed(t *testing.T) {
	o, err := newOrg(heavy, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	sizes := slices.Sorted(slices.Values(o.groups[1:]))
	if n := len(sizes); n != 1000 || sizes[0] != 0 || sizes[n-1] < 1000 || sizes[n/2] > 100 {
		t.Errorf("%d groups, of %d to %d, the middle one of %d", len(sizes), sizes[0], sizes[n-1], sizes[n/2])
	}
	if o.members < 70_000 || o.members > 110_000 || o.appUsers < 45_000 || o.appUsers > 55_000 {
		t.Errorf("%d memberships and %d assignments of 10,000 users", o.members, o.appUsers)
	}
	o, err = newOrg(even, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	if r := o.records(false); r["group"] != 1001 || r["member"] != 100_000 || r["app"] != 200 || r["appuser"] != 200_000 {
		t.Errorf("the org of the bound has %v", r)
	}
}

// BenchmarkPages reads a page of a thousand members, of 500 users of an application and of 200
// users: what a full reconcile reads most. The org answers in the same process, from buffers.
func BenchmarkPages(b *testing.B) {
	o, err := newOrg(even, 10_000)
	if err != nil {
		b.Fatal(err)
	}
	o.groups[1] = 1000
	server := httptest.NewUnstartedServer(nil)
	org := newOrgServer(o, "http://"+server.Listener.Addr().String(), 0, nil)
	server.Config.Handler = org
	server.Start()
	defer server.Close()
	c, err := okta.NewClient(b.Context(), okta.ClientConfig{OrgURL: org.url, Token: orgToken, AllowInsecure: true, Share: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for name, read := range map[string]func() (int, error){
		"members": func() (int, error) {
			p, err := c.GroupMembers(b.Context(), id(groupPrefix, 1), "")
			return len(p.Items), err
		},
		"appusers": func() (int, error) {
			p, err := c.AppUsers(b.Context(), id(appPrefix, 1), "")
			return len(p.Items), err
		},
		"users": func() (int, error) {
			p, err := c.Users(b.Context(), "")
			return len(p.Items), err
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if n, err := read(); err != nil || n < 200 {
					b.Fatal(n, err)
				}
			}
		})
	}
}
