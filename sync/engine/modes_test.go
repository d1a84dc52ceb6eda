package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// lonely makes a group with two members and no application.
func lonely(t *testing.T, sim *oktasim.Org) string {
	t.Helper()
	group, _, err := sim.CreateGroup("Lonely", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range sim.UserIDs("ACTIVE")[1:3] {
		must(t)(sim.AddMember(group, user))
	}
	return group
}

// A sweep of a quiet org costs at most a tenth of a full read; one of an org
// that changed without an event finds what moved a mark.
func TestSweepIsCheapAndFindsWhatMoved(t *testing.T) {
	for name, cfg := range map[string]oktasim.Config{
		"groups":       {Seed: 41, Users: 300, Groups: 250, Apps: 20, GroupSize: 5},
		"applications": {Seed: 42, Users: 300, Groups: 10, Apps: 150, AppUsers: 10},
		"both":         {Seed: 43, Users: 1000, Groups: 150, Apps: 60},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			cfg.Clock = clock
			sim := oktasim.New(t, cfg)
			group := lonely(t, sim)
			clock.Advance(time.Hour)
			r := newRig(t, newEngine(t, clock, 0), sim, clock)
			t.Cleanup(r.close)
			r.o.factors = false
			full := r.reconcile()
			r.settle()
			clock.Advance(24 * time.Hour)
			sim.ResetCalls()
			run := r.run(Start{Mode: "sweep"})
			if run.State != RunSucceeded || calls(run)*10 > calls(full) || int(calls(run)) != sim.CallCount()-1 || hookLooks(sim) != 1 {
				t.Errorf("a quiet sweep: %s, %d calls, %d by the org's count, of %d of a full read; %v", run.State, calls(run), sim.CallCount(), calls(full), run.Errors)
			}
			t.Logf("quiet sweep: %d calls, full: %d", calls(run), calls(full))

			// The log is read, but there were silent changes that moved a mark.
			user := sim.UserIDs("ACTIVE")[0]
			must(t)(sim.ImportMember(group, user))
			if err := sim.ImportProfile(user, map[string]any{"title": "Silently Promoted"}); err != nil {
				t.Fatal(err)
			}
			clock.Advance(time.Hour)
			r.run(Start{Mode: "sweep"})
			r.settle()
			r.inStep()
		})
	}
}

// Sweeps rotate through what no mark tells of: within two weeks of nights all
// assignments are listed again.
func TestSweepsRotateThroughAssignments(t *testing.T) {
	clock := newClock()
	sim := oktasim.New(t, oktasim.Config{Seed: 44, Users: 100, Groups: 60, Apps: 30, GroupSize: 3, AppUsers: 3, Clock: clock})
	clock.Advance(time.Hour)
	r := newRig(t, newEngine(t, clock, 0), sim, clock)
	t.Cleanup(r.close)
	r.reconcile()
	r.settle()
	listed := map[string]bool{}
	for range 30 {
		clock.Advance(24 * time.Hour)
		sim.ResetCalls()
		if run := r.run(Start{Mode: "sweep"}); run.State != RunSucceeded {
			t.Fatalf("sweep: %+v", run)
		}
		for _, c := range sim.Calls() {
			if strings.HasSuffix(c.Path, "/users") && strings.Contains(c.Path, "/apps/") {
				listed[c.Path] = true
			}
		}
	}
	if len(listed) != 30 {
		t.Errorf("%d of 30 applications were listed within 30 nights", len(listed))
	}
}

// An incremental reconcile finds silent changes of users and groups, and their
// members, by their marks.
func TestIncrementalReadsWhatChanged(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 45, Users: 400, Groups: 30, Apps: 8})
	group, user := lonely(t, r.org), r.org.UserIDs("ACTIVE")[0]
	must(t)(r.org.ImportMember(group, user))
	if err := r.org.ImportProfile(user, map[string]any{"title": "Silently Promoted"}); err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(time.Minute)
	r.org.ResetCalls()
	run := r.run(Start{Mode: "incremental"})
	if run.State != RunSucceeded {
		t.Fatalf("run: %+v", run)
	}
	r.settle()
	if n := r.org.CallCount(); n > 40 {
		t.Errorf("%d calls for two changes", n)
	}
	r.inStep()
}

// An object is read again with what belongs to it, and nothing else.
func TestResyncOfAnObjectReadsItAlone(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 46, Users: 30, Groups: 6, Apps: 4})
	user, group, app := r.org.UserIDs("ACTIVE")[0], lonely(t, r.org), r.org.AppIDs("")[0]
	do := must(t)
	do(r.org.UpdateProfile(user, map[string]any{"title": "Somebody New"}))
	do(r.org.UpdateGroup(group, map[string]any{"description": "Something New"}))
	do(r.org.UpdateApp(app, "Something New", nil))
	for _, u := range r.org.Members(group)[:1] {
		do(r.org.RemoveMember(group, u))
	}
	r.clock.Advance(time.Minute)
	for object, most := range map[string]int{"user/" + user: 4, "group/" + group: 2, "app/" + app: 3, "members/" + group: 1, "users": 1, "factor/" + user + "/x": 1} {
		r.org.ResetCalls()
		if run := r.run(Start{Object: object}); run.State != RunSucceeded || r.org.CallCount() > most {
			t.Errorf("%s: %s, %d calls, errors %v", object, run.State, r.org.CallCount(), run.Errors)
		}
	}
	r.settle()
	r.inStep()
	for _, object := range []string{"user", "user/", "user/a/b", "members", "role/x", "user/../x", "everyone"} {
		if _, err := r.e.StartRun(t.Context(), r.id, Start{Object: object}); err == nil {
			t.Errorf("%q was taken", object)
		}
	}
	if _, err := r.e.StartRun(t.Context(), r.id, Start{Mode: "most"}); err == nil {
		t.Error("an unknown mode was taken")
	}
}

// A verify changes nothing, and counts what is not in step once it is caught
// up: nothing, if the deltas did their work; approved, it repairs.
func TestVerifyProvesTheDeltas(t *testing.T) {
	clock := newClock()
	sim := oktasim.New(t, oktasim.Config{Seed: 47, Users: 60, Groups: 12, Apps: 8, Clock: clock, Step: time.Second, LogLag: 10 * time.Second})
	group := lonely(t, sim)
	clock.Advance(time.Hour)
	r := newRig(t, newEngine(t, clock, 0), sim, clock)
	t.Cleanup(r.close)
	r.reconcile()
	r.settle()
	verify := func() (Run, Drift) {
		t.Helper()
		run := r.run(Start{Mode: "verify"})
		if run.State != RunSettling {
			t.Fatalf("verify: %+v", run)
		}
		clock.Advance(2 * time.Minute)
		r.poll()
		r.settle()
		if settling, err := r.o.reconcile(r.o.ctx, run.ID); err != nil || settling {
			t.Fatalf("verify does not end: %v, %v", settling, err)
		}
		status, err := r.e.Instance(t.Context(), r.id)
		if err != nil || status.Drift == nil || status.Drift.Run != run.ID {
			t.Fatalf("drift %+v, %v", status.Drift, err)
		}
		if run, err = r.e.RunByID(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
		return run, *status.Drift
	}
	// The org changes before and while the verify reads; hooks and log tell of all.
	sim.Mutate(40)
	clock.Advance(time.Minute)
	if run, drift := verify(); drift.Total != 0 || run.State != RunSucceeded || run.Held != nil {
		t.Errorf("drift of a graph that is only late: %+v, run %+v", drift, run)
	}
	before := r.graph()

	user := sim.UserIDs("ACTIVE")[0]
	if err := sim.ImportProfile(user, map[string]any{"title": "Silently Promoted"}); err != nil {
		t.Fatal(err)
	}
	var silently int64
	for _, member := range sim.Members(group)[:2] {
		if _, err := sim.ImportRemoval(group, member); err != nil {
			t.Fatal(err)
		}
		silently++
	}
	clock.Advance(time.Minute)
	run, drift := verify()
	if run.State != RunHeld || drift.Kinds["user"] != 1 || drift.Kinds["member"] != silently || drift.Total < silently+1 {
		t.Errorf("drift %+v, run %s, held %+v; want 1 user, %d members", drift, run.State, run.Held, silently)
	}
	after := r.graph()
	for key, object := range before {
		if after[key] != object {
			t.Errorf("a verify changed %s:\n%s\n%s", key, object, after[key])
		}
	}
	if _, err := r.e.Approve(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.o.obey(""); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.inStep()
	if _, drift := verify(); drift.Total != 0 {
		t.Errorf("drift after the repair: %+v", drift)
	}
}

// The schedule starts a run when its time comes, and one for several that were missed.
func TestScheduleStartsRuns(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 48, Users: 5, Groups: 2, Apps: 2})
	r.o.cfg.Schedule = "0 2 * * *"
	due := func() int {
		t.Helper()
		if err := r.o.keepSchedule(); err != nil {
			t.Fatal(err)
		}
		id, err := r.o.st.Fact(t.Context(), "run")
		if err != nil {
			t.Fatal(err)
		}
		if id == "" {
			return 0
		}
		run, err := loadRun(t.Context(), r.o.st, id)
		if err != nil || run.Trigger != "schedule" {
			t.Fatalf("run %+v, %v", run, err)
		}
		if _, err := r.o.reconcile(r.o.ctx, id); err != nil {
			t.Fatal(err)
		}
		return 1
	}
	if n := due() + due(); n != 0 {
		t.Errorf("%d runs at once", n)
	}
	r.clock.Advance(3 * 24 * time.Hour)
	if n := due() + due() + due(); n != 1 {
		t.Errorf("%d runs after three days, want 1", n)
	}
	r.clock.Advance(24 * time.Hour)
	if n := due() + due(); n != 1 {
		t.Errorf("%d runs after another day, want 1", n)
	}
}
