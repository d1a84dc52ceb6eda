package engine

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// large returns a rig that knows an org with an application of 100 users.
func large(t *testing.T) (r *rig, app string) {
	r = known(t, oktasim.Config{Seed: 31, Users: 120, Groups: 5, Apps: 2, AppUsers: 100})
	return r, r.org.AppIDs("")[0]
}

// unassign takes n users from the application; no event comes.
func unassign(t *testing.T, r *rig, app string, n int) []string {
	t.Helper()
	var gone []string
	for _, user := range r.org.UserIDs() {
		if _, err := r.org.UnassignUser(app, user); err == nil {
			if gone = append(gone, user); len(gone) == n {
				return gone
			}
		}
	}
	t.Fatalf("only %d users could be taken from the application", len(gone))
	return nil
}

func missing(before, after map[string]string) (keys []string) {
	for key := range before {
		if _, ok := after[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// heldRecords returns all that a run holds, those of scopes one by one.
func heldRecords(t *testing.T, e *Engine, run string) map[string]HeldRecord {
	t.Helper()
	all := map[string]HeldRecord{}
	collect := func(part func(cursor string) ([]HeldRecord, string, error)) (scopes []HeldRecord) {
		for cursor := ""; ; {
			list, next, err := part(cursor)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range list {
				if h.Scope {
					scopes = append(scopes, h)
				} else {
					all[h.Record] = h
				}
			}
			if cursor = next; cursor == "" {
				return scopes
			}
		}
	}
	scopes := collect(func(cursor string) ([]HeldRecord, string, error) { return e.HeldRecords(t.Context(), run, cursor) })
	for _, scope := range scopes {
		before := len(all)
		if scope.Name == "" {
			t.Errorf("%s has no name", scope.Record)
		}
		collect(func(cursor string) ([]HeldRecord, string, error) {
			return e.HeldOfScope(t.Context(), run, scope.Record, cursor)
		})
		if n := int64(len(all) - before); n != scope.Deletes {
			t.Errorf("%s: %d records are listed of %d", scope.Record, n, scope.Deletes)
		}
	}
	return all
}

// twoNames are those of both ends of an edge, each kept from turning the other's direction.
var twoNames = regexp.MustCompile("^\u2068[^\u2068\u2069]+\u2069 – \u2068[^\u2068\u2069]+\u2069$")

// More absences than the brake lets through are held, the rest is applied; an
// approval applies them as of then, and what was observed since wins.
func TestBrakeHoldsAndApprovalAppliesAsOfThen(t *testing.T) {
	r, app := large(t)
	before := r.graph()
	gone := unassign(t, r, app, 60)
	must(t)(r.org.UpdateProfile(gone[0], map[string]any{"title": "Somebody New"}))
	r.clock.Advance(time.Minute)
	run := r.reconcile()
	if run.State != RunHeld || run.Held == nil || run.Held.Kinds["appuser"].Deletes != 60 || run.Held.Total != 60 || len(run.Held.Kinds["appuser"].Samples) == 0 {
		t.Fatalf("run: %s, held %+v", run.State, run.Held)
	}
	all := heldRecords(t, r.e, run.ID)
	for _, user := range gone {
		// An operator sees which user would lose what.
		h, ok := all["appuser/"+app+"/"+user]
		if !ok || h.Deletes != 1 || h.Kind != "appuser" || !twoNames.MatchString(h.Name) || h.AsOf.After(r.clock.Now()) || h.Cause != run.ID {
			t.Errorf("the list of what is held lacks %s, or has it wrong: %+v", user, h)
		}
	}
	if len(all) != 60 {
		t.Errorf("%d are in the list of what is held", len(all))
	}
	after := r.graph()
	if lost := missing(before, after); len(lost) > 0 {
		t.Errorf("gone without approval: %v", lost)
	}
	if !strings.Contains(after[gone[0]], "Somebody New") {
		t.Error("the rest was not applied")
	}
	// One of them is assigned again, and an event tells of it.
	r.clock.Advance(time.Minute)
	r.deliver(eligible(must(t)(r.org.AssignUser(app, gone[1], nil)))...)
	r.settle()

	if err := r.e.ForgetHistory(t.Context(), r.id); !errors.Is(err, ErrHolding) || !strings.Contains(err.Error(), run.ID) {
		t.Errorf("the past was forgotten, but for what a run holds of it: %v", err)
	}
	if _, err := r.e.Approve(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.o.obey(""); err != nil {
		t.Fatal(err)
	}
	lost := missing(before, r.graph())
	edges := 0
	for _, key := range lost {
		if strings.Contains(key, app) {
			edges++
		}
	}
	if edges != 59 || len(lost) < 59 {
		t.Errorf("%d edges of the application are gone after the approval, want 59: %v", edges, lost)
	}
	if run, err := r.e.RunByID(t.Context(), run.ID); err != nil || run.State != RunSucceeded || run.Held != nil {
		t.Errorf("run after the approval: %s, held %+v, %v", run.State, run.Held, err)
	}
	if _, err := r.e.Approve(t.Context(), run.ID); err == nil {
		t.Error("approved twice")
	}
	r.settle()
	r.inStep()
}

// Cancelled, they stay; the next run holds them again. Forced, nothing is held.
func TestCancelDropsWhatIsHeldAndForceLiftsTheBrake(t *testing.T) {
	r, app := large(t)
	before := r.graph()
	unassign(t, r, app, 60)
	r.clock.Advance(time.Minute)
	run := r.reconcile()
	if _, err := r.e.Cancel(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.o.obey(""); err != nil {
		t.Fatal(err)
	}
	if run, err := r.e.RunByID(t.Context(), run.ID); err != nil || run.Held != nil {
		t.Errorf("after the cancellation: %+v, %v", run, err)
	}
	if lost := missing(before, r.graph()); len(lost) > 0 {
		t.Errorf("gone after a cancellation: %v", lost)
	}
	r.clock.Advance(time.Minute)
	if run = r.run(Start{Force: true}); run.State != RunSucceeded {
		t.Errorf("forced run: %s, held %+v", run.State, run.Held)
	}
	r.settle()
	r.inStep()
}

// Few absences pass, however small the org; many of them in small lists do not.
func TestBrakeCountsOverListsAndDay(t *testing.T) {
	clock := newClock()
	sim := oktasim.New(t, oktasim.Config{Seed: 33, Users: 60, Groups: 20, Apps: 1, GroupSize: 4, Clock: clock})
	clock.Advance(time.Hour)
	r := newRig(t, newEngine(t, clock, 0), sim, clock)
	t.Cleanup(r.close)
	r.reconcile()
	r.settle()
	clock.Advance(time.Hour)
	drop := func(n int) {
		t.Helper()
		for _, group := range sim.GroupIDs("OKTA_GROUP") {
			for _, user := range sim.Members(group)[:2] {
				if n == 0 {
					return
				}
				must(t)(sim.RemoveMember(group, user))
				n--
			}
		}
	}
	drop(10)
	if run := r.reconcile(); run.State != RunSucceeded {
		t.Fatalf("ten of 80: %s, held %+v", run.State, run.Held)
	}
	clock.Advance(time.Hour)
	drop(30)
	run := r.reconcile()
	if run.State != RunHeld || run.Held.Kinds["member"].Deletes < 20 || run.Held.Kinds["member"].Deletes > 26 {
		t.Fatalf("30 more of 70: %s, held %+v; want all held but the 6 up to a fifth of 80", run.State, run.Held)
	}
	// On another day the same is within the ratio again.
	if _, err := r.e.Cancel(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.o.obey(""); err != nil {
		t.Fatal(err)
	}
	clock.Advance(24 * time.Hour)
	if next := r.reconcile(); next.State != RunHeld || next.Held.Total >= run.Held.Total {
		t.Errorf("the next day: %s, held %+v, %d before", next.State, next.Held, run.Held.Total)
	}
}

// Half a list, as if it were whole: what it lacks is looked for by id, and nothing is deleted.
func TestHalfAListDeletesNothing(t *testing.T) {
	r, app := large(t)
	group := r.org.GroupIDs("OKTA_GROUP")[0]
	for _, user := range r.org.UserIDs()[:40] {
		_, _ = r.org.AddMember(group, user) // some are in it
	}
	r.clock.Advance(time.Minute)
	r.reconcile()
	r.settle()
	before := r.graph()
	half := map[string]bool{"/api/v1/apps/" + app + "/users": true, "/api/v1/groups/" + group + "/users": true, "/api/v1/users": true}
	r.org.Fail(func(q *http.Request) *oktasim.Fault {
		if half[q.URL.Path] {
			return &oktasim.Fault{Half: true}
		}
		return nil
	})
	r.clock.Advance(time.Minute)
	run := r.reconcile()
	r.settle()
	if lost := missing(before, r.graph()); len(lost) > 0 {
		t.Errorf("%d gone after half lists: %v", len(lost), lost)
	}
	var scopes []string
	for _, e := range run.Errors {
		scopes = append(scopes, e.Scope)
	}
	slices.Sort(scopes)
	if diff := cmp.Diff([]string{"appusers/" + app, "members/" + group}, scopes); diff != "" || run.Held == nil || run.Held.Kinds["user"].Deletes < 50 {
		t.Errorf("errors, -want +got:\n%s\nheld %+v, errors %v", diff, run.Held, run.Errors)
	}
	// Approved, the users are asked for by id, and are there.
	r.org.Fail(nil)
	if _, err := r.e.Approve(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.o.obey(""); err != nil {
		t.Fatal(err)
	}
	r.settle()
	if lost := missing(before, r.graph()); len(lost) > 0 {
		t.Errorf("%d gone after an approval of what is there: %v", len(lost), lost)
	}
}

// A lost right stops the reading of its family, is told, and deletes nothing; one
// group out of reach does not.
func TestLostRightStopsItsFamily(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		path   string
		calls  int // most of those that are denied
	}{
		"token refused":       {401, "/api/v1/", 30},
		"members forbidden":   {403, "/api/v1/groups/", lostRight + 10},
		"assignments refused": {403, "/api/v1/apps/", lostRight + 10},
	} {
		t.Run(name, func(t *testing.T) {
			r := known(t, oktasim.Config{Seed: 34, Users: 30, Groups: 40, Apps: 40, GroupSize: 3})
			before := r.graph()
			var denied atomic.Int64
			r.org.Fail(func(q *http.Request) *oktasim.Fault {
				if strings.HasPrefix(q.URL.Path, c.path) {
					denied.Add(1)
					return &oktasim.Fault{Status: c.status}
				}
				return nil
			})
			r.clock.Advance(time.Minute)
			run := r.reconcile()
			if run.State != RunIncomplete || int(denied.Load()) > c.calls {
				t.Errorf("run %s, %d denied calls, want at most %d", run.State, denied.Load(), c.calls)
			}
			status, err := r.e.Instance(t.Context(), r.id)
			if err != nil || !strings.Contains(status.Problem, fmt.Sprint(c.status)) {
				t.Errorf("problem %q, %v", status.Problem, err)
			}
			if lost := missing(before, r.graph()); len(lost) > 0 {
				t.Errorf("gone: %v", lost)
			}
			r.org.Fail(nil)
			r.clock.Advance(time.Minute)
			if run := r.reconcile(); run.State != RunSucceeded {
				t.Errorf("the run after: %s, %v", run.State, run.Errors)
			}
			if status, err = r.e.Instance(t.Context(), r.id); err != nil || status.Problem != "" {
				t.Errorf("problem afterwards %q, %v", status.Problem, err)
			}
			r.settle()
			r.inStep()
		})
	}
}
