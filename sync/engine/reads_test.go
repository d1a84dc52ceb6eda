package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// known returns a rig whose graph is that of its org, which then is quiet for an hour.
func known(t *testing.T, cfg oktasim.Config) *rig {
	t.Helper()
	clock := newClock()
	cfg.Clock = clock
	sim := oktasim.New(t, cfg)
	clock.Advance(time.Hour)
	r := newRig(t, newEngine(t, clock, 0), sim, clock)
	t.Cleanup(func() { r.close() })
	if run := r.reconcile(); run.State != RunSucceeded {
		t.Fatalf("first run: %+v", run)
	}
	r.settle()
	clock.Advance(time.Hour)
	return r
}

// must returns the events of a change that the org allows.
func must(t *testing.T) func([]oktasim.Event, error) []oktasim.Event {
	return func(events []oktasim.Event, err error) []oktasim.Event {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return events
	}
}

// about are the keys of graph objects that name the id.
func about(graph map[string]string, id string) (keys []string) {
	for key := range graph {
		if strings.Contains(key, id) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// A list that cannot be read to its end, or that is empty though it must not
// be, deletes nothing: the run names it, and all else is applied.
func TestBadListDeletesNothing(t *testing.T) {
	at := func(part string, f oktasim.Fault) func(*rig, string) (string, func(*http.Request) *oktasim.Fault) {
		return func(*rig, string) (string, func(*http.Request) *oktasim.Fault) {
			scope := strings.TrimPrefix(strings.SplitN(part, "?", 2)[0], "/api/v1/")
			return scope, func(r *http.Request) *oktasim.Fault {
				if list, query, _ := strings.Cut(part, "?"); r.URL.Path == list && strings.Contains(r.URL.RawQuery, query) {
					return &f
				}
				return nil
			}
		}
	}
	for name, c := range map[string]struct {
		fault  func(r *rig, group string) (scope string, f func(*http.Request) *oktasim.Fault)
		reason string
	}{
		"users: 500s from page 2 on":     {at("/api/v1/users?after=", oktasim.Fault{Status: 500}), "500"},
		"users: cut off in page 2":       {at("/api/v1/users?after=", oktasim.Fault{Truncate: true}), "EOF"},
		"users: next link leads nowhere": {at("/api/v1/users?", oktasim.Fault{RepeatCursor: true}), "next link"},
		"users: empty":                   {at("/api/v1/users?", oktasim.Fault{Empty: true}), "held"},
		"users: empty page 2 of a proxy": {at("/api/v1/users?after=", oktasim.Fault{HTML: true, Status: 200}), "no JSON"},
		"groups: half the JSON":          {at("/api/v1/groups?", oktasim.Fault{BadJSON: true}), "cannot be decoded"},
		"groups: empty":                  {at("/api/v1/groups?", oktasim.Fault{Empty: true}), "held"},
		"groups: 404 of another kind":    {at("/api/v1/groups?", oktasim.Fault{Status: 404, Code: "E0000008"}), "E0000008"},
		"apps: forbidden":                {at("/api/v1/apps?", oktasim.Fault{Status: 403}), "403"},
		"apps: empty":                    {at("/api/v1/apps?", oktasim.Fault{Empty: true}), "held"},
		"members of a group: forbidden": {func(r *rig, group string) (string, func(*http.Request) *oktasim.Fault) {
			_, f := at("/api/v1/groups/"+group+"/users?", oktasim.Fault{Status: 403})(r, group)
			return "members/" + group, f
		}, "403"},
		"members of a group: 404, though the group is there": {func(r *rig, group string) (string, func(*http.Request) *oktasim.Fault) {
			_, f := at("/api/v1/groups/"+group+"/users?", oktasim.Fault{Status: 404, Code: "E0000007"})(r, group)
			return "members/" + group, f
		}, "can be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			users := 10
			if strings.Contains(name, "page 2") {
				users = 201
			}
			r := known(t, oktasim.Config{Seed: 3, Users: users, Groups: 4, Apps: 4})
			do := must(t)
			group, app, user := r.org.GroupIDs("OKTA_GROUP")[0], r.org.AppIDs("")[0], r.org.UserIDs("ACTIVE")[0]
			// The org changes, and no event comes.
			do(r.org.UpdateProfile(user, map[string]any{"title": "Somebody New"}))
			do(r.org.UpdateGroup(group, map[string]any{"description": "Somebody New"}))
			do(r.org.UpdateApp(app, "Somebody New", nil))
			r.clock.Advance(time.Minute)

			before := r.graph()
			scope, fault := c.fault(r, group)
			r.org.Fail(fault)
			run := r.reconcile()
			if c.reason == "held" {
				kind := strings.TrimSuffix(scope, "s")
				if run.State != RunHeld || len(run.Errors) != 0 || run.Held.Kinds[kind].Deletes == 0 || run.Held.Total != run.Held.Kinds[kind].Deletes {
					t.Errorf("run: %s, errors %q, held %+v; want held, all of the %s", run.State, run.Errors, run.Held, scope)
				}
			} else if run.State != RunIncomplete || len(run.Errors) != 1 || run.Errors[0].Scope != scope || !strings.Contains(run.Errors[0].Error, c.reason) {
				t.Errorf("run: %s, errors %q; want incomplete, one of %s with %q in it", run.State, run.Errors, scope, c.reason)
			}
			after := r.graph()
			for key := range before {
				if _, ok := after[key]; !ok {
					t.Errorf("gone: %s", key)
				}
			}
			for family, id := range map[string]string{"users": user, "groups": group, "apps": app} {
				if family != scope && !strings.Contains(after[id], "Somebody New") {
					t.Errorf("the change of the %s was not applied: %s", family, after[id])
				}
			}
			if asked, err := r.o.st.Asked(t.Context()); err != nil || len(asked) > 0 {
				t.Errorf("asked to be read again: %v, %v", asked, err)
			}

			r.org.Fail(nil)
			r.clock.Advance(time.Minute)
			if run := r.reconcile(); run.State != RunSucceeded {
				t.Errorf("the run after: %s, errors %v", run.State, run.Errors)
			}
			r.inStep()
		})
	}
}

// A list may lie further behind than is allowed for: who is not in it is asked for by id.
func TestWhoIsOnlyMissingInTheListStays(t *testing.T) {
	var stale bool
	r := known(t, oktasim.Config{Seed: 4, Users: 5, Groups: 2, Apps: 2, Lag: func(*http.Request) time.Duration {
		if stale {
			return 20 * time.Minute
		}
		return 0
	}})
	user, events, err := r.org.CreateUser("ACTIVE", map[string]any{"login": "new@example.com", "email": "new@example.com"})
	must(t)(events, err)
	r.deliver(eligible(events)...)
	r.settle()
	r.clock.Advance(10 * time.Minute)
	before := r.graph()
	if len(about(before, user)) == 0 {
		t.Fatal("the new user is not in the graph")
	}
	stale = true
	if run := r.reconcile(); run.State != RunSucceeded {
		t.Fatalf("%+v", run)
	}
	if left, err := r.o.st.IsAsked(t.Context(), "user/"+user); err != nil || !left {
		t.Errorf("the user that the list lacks is asked for: %v, %v", left, err)
	}
	if diff := cmp.Diff(before, r.graph()); diff != "" {
		t.Errorf("-before +after the list:\n%s", diff)
	}
	r.org.ResetCalls()
	r.settle()
	if diff := cmp.Diff(before, r.graph()); diff != "" {
		t.Errorf("-before +after the read by id:\n%s", diff)
	}
}

// Only the object's own 404 makes it absent; its edges go with it.
func TestOnlyItsOwn404MakesAbsent(t *testing.T) {
	for kind, gone := range map[string]func(t *testing.T, r *rig) string{
		"users": func(t *testing.T, r *rig) string {
			id := r.org.Members(r.org.GroupIDs("OKTA_GROUP")[0])[0]
			_, _ = r.org.Deactivate(id) // unless it is so already
			must(t)(r.org.DeleteUser(id))
			return id
		},
		"groups": func(t *testing.T, r *rig) string {
			id := r.org.GroupIDs("OKTA_GROUP")[0]
			must(t)(r.org.DeleteGroup(id))
			return id
		},
		"apps": func(t *testing.T, r *rig) string {
			id := r.org.AppIDs("")[0]
			_, _ = r.org.DeactivateApp(id)
			must(t)(r.org.DeleteApp(id))
			return id
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r := known(t, oktasim.Config{Seed: 5, Users: 8, Groups: 3, GroupSize: 4, Apps: 3})
			before := r.graph()
			id := gone(t, r)
			r.clock.Advance(time.Minute)
			if run := r.reconcile(); run.State != RunSucceeded {
				t.Fatalf("%+v", run)
			}
			if len(about(before, id)) < 3 || len(about(r.graph(), id)) == 0 {
				t.Fatalf("%s had %v, and after the list %v", id, about(before, id), about(r.graph(), id))
			}
			unread := about(r.graph(), id)
			for _, f := range []oktasim.Fault{{Status: 404, Code: "E0000008"}, {Status: 403}, {Status: 404, HTML: true}} {
				r.org.ResetCalls()
				r.org.FailNext(1, "/api/v1/"+kind+"/"+id, f)
				r.clock.Advance(10 * time.Minute)
				r.refresh()
				if left, err := r.o.st.IsAsked(t.Context(), strings.TrimSuffix(kind, "s")+"/"+id); err != nil || !left {
					t.Errorf("%+v: still asked for: %v, %v", f, left, err)
				}
				if diff := cmp.Diff(unread, about(r.graph(), id)); diff != "" {
					t.Errorf("%+v: -before +after:\n%s", f, diff)
				}
			}
			r.clock.Advance(10 * time.Minute)
			r.settle()
			if left := about(r.graph(), id); len(left) > 0 {
				t.Errorf("left of it: %v", left)
			}
			r.inStep()
		})
	}
}

// The event of a deletion takes the object and its edges at once, without a call.
func TestDeletionEventTakesEdgesAtOnce(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 6, Users: 10, Groups: 3, GroupSize: 4, Apps: 3})
	do := must(t)
	group, app := r.org.GroupIDs("OKTA_GROUP")[0], r.org.AppIDs("")[0]
	user := r.org.Members(r.org.GroupIDs("OKTA_GROUP")[1])[0]
	before, _ := r.org.Deactivate(user)
	more, _ := r.org.DeactivateApp(app)
	r.deliver(eligible(append(before, more...))...)
	r.settle()
	for id, gone := range map[string]func(string) ([]oktasim.Event, error){group: r.org.DeleteGroup, app: r.org.DeleteApp, user: r.org.DeleteUser} {
		if had := about(r.graph(), id); len(had) < 3 {
			t.Fatalf("%s has %v: no edge to see go", id, had)
		}
		r.clock.Advance(time.Second)
		r.deliver(eligible(do(gone(id)))...)
		r.org.ResetCalls()
		r.takeIn()
		if left := about(r.graph(), id); len(left) > 0 || r.org.CallCount() > 0 {
			t.Errorf("left of %s: %v; calls: %d", id, left, r.org.CallCount())
		}
	}
	r.settle()
	r.inStep()
}

// Two opposite events of one instant ask for the user's groups; that the user
// is gone by then is an answer too.
func TestContradictionAboutADeletedUser(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 7, Users: 5, Groups: 2, Apps: -1})
	do := must(t)
	group := r.org.GroupIDs("OKTA_GROUP")[0]
	user, events, err := r.org.CreateUser("ACTIVE", map[string]any{"login": "new@example.com", "email": "new@example.com"})
	do(events, err)
	r.deliver(eligible(events)...)
	r.settle()
	events = append(do(r.org.AddMember(group, user)), do(r.org.RemoveMember(group, user))...) // the clock stands still
	r.deliver(eligible(events)...)
	r.takeIn()
	if asked, err := r.o.st.IsAsked(t.Context(), "member/"+group+"/"+user); err != nil || !asked {
		t.Fatalf("the contradiction asks for a read: %v, %v", asked, err)
	}
	do(r.org.Deactivate(user))
	do(r.org.DeleteUser(user)) // of which no hook tells us
	r.settle()
}

// scopeOf is the scope whose list a call reads.
func scopeOf(path string) string {
	if strings.HasSuffix(path, "/oktaSupport") {
		return "account"
	}
	parts := strings.Split(strings.TrimPrefix(path, "/api/v1/"), "/")
	if len(parts) < 3 {
		return strings.Join(parts, "/")
	}
	kinds := map[string]string{"groups/users": "members/", "apps/users": "appusers/", "apps/groups": "appgroups/", "users/factors": "factors/"}
	return kinds[parts[0]+"/"+parts[2]] + parts[1]
}

// A run that is broken off anywhere goes on in the next process: what was read
// to its end is not read again, and of other lists no page that was merged.
func TestRunGoesOnWhereItStood(t *testing.T) {
	for _, breakAt := range []int64{4, 120} {
		clock := newClock()
		sim := oktasim.New(t, oktasim.Config{Seed: 8, Users: 210, Groups: 6, Apps: 4, Clock: clock})
		clock.Advance(time.Hour)
		r := newRig(t, newEngine(t, clock, 0), sim, clock)
		run, err := r.e.StartRun(t.Context(), r.id, Start{Trigger: "test"})
		if err != nil {
			t.Fatal(err)
		}
		sim.ResetCalls()
		var n atomic.Int64
		sim.OnRequest(func(*http.Request) {
			if n.Add(1) == breakAt {
				r.o.stop()
			}
		})
		if _, err := r.o.reconcile(r.o.ctx, run.ID); !errors.Is(err, context.Canceled) {
			t.Fatalf("broken off at call %d: %v", breakAt, err)
		}
		r.close()
		sim.OnRequest(nil)

		left := map[string]string{}
		for _, family := range append([]string{lists}, followers...) {
			for at := uint64(0); ; {
				cells, next, err := r.o.st.Pending(t.Context(), family, at, chunk)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range cells {
					left[c.Field] = c.Value
				}
				if at = next; at == 0 {
					break
				}
			}
		}
		if len(left) == 0 {
			t.Fatalf("broken off at call %d: nothing is left to read", breakAt)
		}
		before := map[string]bool{}
		for _, c := range sim.Calls() {
			before[scopeOf(c.Path)] = true
		}

		sim.ResetCalls()
		r.restart()
		id, err := r.o.st.Fact(t.Context(), "run")
		if err != nil || id != run.ID {
			t.Fatalf("the running run is %q, %v; want %s", id, err, run.ID)
		}
		if _, err := r.o.reconcile(r.o.ctx, run.ID); err != nil {
			t.Fatal(err)
		}
		if run, err = r.e.RunByID(t.Context(), run.ID); err != nil || run.State != RunSucceeded {
			t.Errorf("broken off at call %d: %+v, %v", breakAt, run, err)
		}
		for _, c := range sim.Calls() {
			scope := scopeOf(c.Path)
			place, pending := left[scope]
			if before[scope] && !pending && c.Path != "/api/v1/eventHooks" { // who takes a run up looks for itself
				t.Errorf("broken off at call %d: read to its end and read again: %s", breakAt, path(c))
			}
			var at struct{ Link string }
			if place != "" {
				if err := json.Unmarshal([]byte(place), &at); err != nil {
					t.Fatal(err)
				}
			}
			if at.Link != "" && !strings.Contains(c.RawQuery, "after=") {
				t.Errorf("broken off at call %d: a list went on from its start: %s", breakAt, path(c))
			}
		}
		r.settle()
		r.inStep()
		r.close()
	}
}

// restart stops the org and puts a new one to work, as another process would.
func (r *rig) restart() {
	r.Helper()
	r.close()
	ctx := context.Background()
	settings, err := r.e.store.Org(r.id).Instance(ctx)
	if err != nil {
		r.Fatal(err)
	}
	r.o = r.e.newOrg(ctx, r.id, settings, state.Lease{Org: r.e.store.Org(r.id)})
	if err := r.o.prepare(); err != nil {
		r.Fatal(err)
	}
}
