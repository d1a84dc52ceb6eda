package jupiterone_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/jupiterone"
	"github.com/oktasync/oktasync/sync/sink/jupiterone/j1sim"
)

func setupDelta(t *testing.T, o *org) *rig {
	r := setup(t, j1sim.Config{}, func(cfg *jupiterone.Config) { cfg.Partial = true })
	r.deliver(o)
	return r
}

// apply delivers what changed.
func (r *rig) apply(before, after *org) error {
	r.n++
	return r.sink.Apply(context.Background(), r.in, sink.Batch{Changes: graph.Diff(before.objects(), after.objects()), Position: fmt.Sprint("position ", r.n)})
}

func TestADeltaUploadsOnlyWhatChanged(t *testing.T) {
	before := newOrg(30)
	r := setupDelta(t, before)
	o := before.clone()
	o.users[30] = user{login: "new@acme.com"}
	o.members[[2]int{1, 3}] = true
	o.groups[1] = "changed"
	if err := r.apply(before, o); err != nil {
		t.Fatal(err)
	}
	r.check(o)
	j := r.srv.Jobs()[1]
	if j.Entities != 2 || j.Relationships != 3 { // two of the user, one membership
		t.Fatalf("uploaded %d entities and %d relationships", j.Entities, j.Relationships)
	}
	for _, typ := range []string{"okta_user", "okta_account", "mfa_device", "okta_user_is_employee", "okta_user_assigned_aws_iam_role", "okta_rule_manages_user_group"} {
		if !slices.Contains(j.Partial, typ) {
			t.Errorf("%s is not among the partial types %q", typ, j.Partial)
		}
	}
	if p := r.position(); p != "position 2" {
		t.Fatalf("position %q", p)
	}
}

// A type that the data model lacks is partial too, for ever after it was seen.
func TestTypesEverSeenArePartial(t *testing.T) {
	before := newOrg(3)
	r := setupDelta(t, before)
	extra := graph.Change{Op: graph.Create, Object: graph.Object{Entity: &graph.Entity{Key: "x", Type: "okta_novelty", Class: []string{"Record"}}}}
	if err := r.sink.Apply(t.Context(), r.in, sink.Batch{Changes: []graph.Change{extra}, Position: "x"}); err != nil {
		t.Fatal(err)
	}
	r.restart()
	o := before.clone()
	o.groups[1] = "changed"
	if err := r.apply(before, o); err != nil {
		t.Fatal(err)
	}
	if got := r.srv.Graph(scope).Entities["x"]; got == "" {
		t.Fatal("the novelty was deleted")
	}
}

func TestDeletesWaitForTheNextFullJob(t *testing.T) {
	before := newOrg(30)
	r := setupDelta(t, before)
	o := before.clone()
	delete(o.users, 7)
	jobs := len(r.srv.Jobs())
	if err := r.apply(before, o); err != nil {
		t.Fatal(err)
	}
	if len(r.srv.Jobs()) != jobs || r.position() != "position 2" {
		t.Fatalf("%d jobs, position %q", len(r.srv.Jobs()), r.position())
	}
	if n := r.note().Counters["deletes_pending"]; n != 4 {
		t.Fatalf("deletes_pending = %d", n)
	}
	r.clock.pass(10 * time.Minute)
	after := o.clone()
	after.groups[1] = "changed"
	if err := r.apply(o, after); err != nil {
		t.Fatal(err)
	}
	r.clock.pass(5 * time.Minute)
	r.restart()
	if p := r.position(); p != "" {
		t.Fatalf("no full job is asked for: %q", p)
	}
	if err := r.apply(after, after); !errors.Is(err, sink.ErrSnapshot) {
		t.Fatal(err)
	}
	r.deliver(after)
	r.check(after)
	if n := r.note().Counters["deletes_pending"]; n != 0 || r.position() == "" {
		t.Fatalf("deletes_pending = %d, position %q", n, r.position())
	}
}

func TestAFullJobComesInTime(t *testing.T) {
	o := newOrg(3)
	r := setupDelta(t, o)
	r.clock.pass(6*time.Hour - time.Minute)
	if r.position() == "" {
		t.Fatal("too early")
	}
	r.clock.pass(time.Minute)
	if r.position() != "" {
		t.Fatal("too late")
	}
	if err := r.apply(o, o); !errors.Is(err, sink.ErrSnapshot) {
		t.Fatal(err)
	}
}

// Who switches deltas off gets what they left undone.
func TestWhatDeltasOweIsPaidWhenTheyAreSwitchedOff(t *testing.T) {
	before := newOrg(3)
	r := setupDelta(t, before)
	o := before.clone()
	delete(o.users, 1)
	if err := r.apply(before, o); err != nil {
		t.Fatal(err)
	}
	r.cfg.Partial = false
	r.restart()
	if p := r.position(); p != "" {
		t.Fatalf("position %q", p)
	}
	r.deliver(o)
	r.check(o)
	if r.position() == "" {
		t.Fatal("no position")
	}
}

func TestPeopleInADelta(t *testing.T) {
	person := func(title string) graph.Change {
		return graph.Change{Op: graph.Update, Object: graph.Object{Entity: &graph.Entity{
			Key: "employee:user0@acme.com", Type: "employee", Class: []string{"Person"},
			Properties: graph.Properties{"email": []string{"user0@acme.com"}, "title": title},
		}}}
	}
	edge := graph.Relationship{Key: "00u0|is|employee:user0@acme.com", Type: "okta_user_is_employee", Class: "IS", From: "00u0", To: "employee:user0@acme.com", Properties: graph.Properties{"displayName": "IS"}}
	user := graph.Change{Op: graph.Update, Object: graph.Object{Entity: &graph.Entity{
		Key: "00u0", Type: "okta_user", Class: []string{"User"}, Properties: graph.Properties{"login": "User0@Acme.com"},
	}}}
	toPerson := graph.Change{Op: graph.Create, Object: graph.Object{Relationship: &edge}}
	gone := graph.Change{Op: graph.Delete, Object: graph.Object{Relationship: &edge}}
	goneAlready := graph.Change{Op: graph.Delete, Object: graph.Object{Entity: person("").Entity}}
	for name, c := range map[string]struct {
		changes []graph.Change
		title   string // of the Person afterwards
		pending int64
		err     error
	}{
		"with its user, the mapping is sent again":          {[]graph.Change{user, person("Boss")}, "Boss", 0, nil},
		"with its relationship too":                         {[]graph.Change{person("Boss"), toPerson}, "Boss", 0, nil},
		"alone it waits":                                    {[]graph.Change{person("Boss")}, "Engineer", 1, nil},
		"not if its relationship goes":                      {[]graph.Change{user, gone, person("Boss")}, "Engineer", 1, nil},
		"of a relationship without it nothing is known":     {[]graph.Change{toPerson}, "Engineer", 0, sink.ErrSnapshot},
		"nor of one to a Person that goes":                  {[]graph.Change{toPerson, goneAlready}, "Engineer", 0, sink.ErrSnapshot},
		"a Person that goes needs nothing beside its edges": {[]graph.Change{gone, goneAlready}, "Engineer", 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := setupDelta(t, newOrg(1))
			err := r.sink.Apply(t.Context(), r.in, sink.Batch{Changes: c.changes, Position: "x"})
			if !errors.Is(err, c.err) {
				t.Fatal(err)
			}
			want := map[string]any{"_class": "Person", "_key": "employee:user0@acme.com", "_type": "employee", "email": "user0@acme.com", "title": c.title}
			if c.title == "Engineer" {
				want["name"] = "A <B> & \u2028"
			}
			if diff := cmp.Diff([]string{text(want)}, r.srv.Mapped()); diff != "" {
				t.Fatal(diff)
			}
			if n := r.note().Counters["people_pending"]; n != c.pending {
				t.Fatalf("people_pending = %d, want %d", n, c.pending)
			}
		})
	}
}

// Where an end that was not uploaded is not found, a full job comes as for deletes.
func TestRelationshipsThatADeltaCouldNotMakeComeWithTheNextFullJob(t *testing.T) {
	before := newOrg(3)
	r := setup(t, j1sim.Config{UploadedEndsOnly: true}, func(cfg *jupiterone.Config) { cfg.Partial = true })
	r.deliver(before)
	o := before.clone()
	o.members[[2]int{1, 1}] = true
	if err := r.apply(before, o); err != nil {
		t.Fatal(err)
	}
	r.clock.pass(15 * time.Minute)
	if p := r.position(); p != "" {
		t.Fatalf("position %q", p)
	}
	r.deliver(o)
	r.check(o)
}
