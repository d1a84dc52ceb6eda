package record_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/record"
)

// Each test here holds one clause of DESIGN.md section 2, for the model and the
// script alike, and says in its comment what to break to see it fail.

// world is the model and the script side by side. Whatever one is told, the
// other is too; they must agree on all that can be seen of them.
type world struct {
	t     *testing.T
	model *record.Model
	live  *live
}

func newWorld(t *testing.T, s *state.Store) *world {
	return &world{t, record.NewModel(), newLive(t, s)}
}

// tell applies steps to both and compares them: what the changes tell and what
// is asked for after each step, all that is stored after the last.
func (w *world) tell(steps ...step) *world {
	w.t.Helper()
	for _, s := range steps {
		take(w.model, s)
		w.live.take(s)
		if diff := cmp.Diff(w.model.Graph(), w.live.graph); diff != "" {
			w.t.Fatalf("graph after %+v: -model +script:\n%s", s, diff)
		}
		if diff := cmp.Diff(asks(w.model), w.live.asks()); diff != "" {
			w.t.Fatalf("asks after %+v: -model +script:\n%s", s, diff)
		}
	}
	if diff := cmp.Diff(w.model.Graph(), w.live.read()); diff != "" {
		w.t.Fatalf("stored graph after %+v: -model +script:\n%s", steps, diff)
	}
	if diff := cmp.Diff(w.sizes(), w.live.sizes()); diff != "" {
		w.t.Fatalf("number of stored records after %+v: -model +script:\n%s", steps, diff)
	}
	return w
}

// in wants these in the graph.
func (w *world) in(ids ...record.ID) *world {
	w.t.Helper()
	for _, id := range ids {
		if _, ok := w.model.Graph()[id]; !ok {
			w.t.Fatalf("%s is not in the graph", id)
		}
	}
	return w
}

// out wants these out of the graph.
func (w *world) out(ids ...record.ID) *world {
	w.t.Helper()
	for _, id := range ids {
		if _, ok := w.model.Graph()[id]; ok {
			w.t.Fatalf("%s is in the graph", id)
		}
	}
	return w
}

// content wants the graph to show the entity in the content; "" wants it in the
// graph without content.
func (w *world) content(id record.ID, entity string) *world {
	w.t.Helper()
	w.in(id)
	var c record.Content
	if b := w.model.Graph()[id].Content; b != nil {
		if err := json.Unmarshal(b, &c); err != nil {
			w.t.Fatal(err)
		}
	}
	if c.Entity == nil {
		c.Entity = ""
	}
	if c.Entity != entity {
		w.t.Fatalf("content of %s is %q, want %q", id, c.Entity, entity)
	}
	return w
}

// asked wants exactly these to be read again.
func (w *world) asked(want map[string]record.Version) *world {
	w.t.Helper()
	if want == nil {
		want = map[string]record.Version{}
	}
	if diff := cmp.Diff(want, asks(w.model)); diff != "" {
		w.t.Fatalf("asks: -want +got:\n%s", diff)
	}
	return w
}

// stored wants the scope to keep so many records, tombstones included.
func (w *world) stored(scope record.Scope, n int64) *world {
	w.t.Helper()
	if got := w.sizes()[scope]; got != n {
		w.t.Fatalf("%s keeps %d records, want %d", scope, got, n)
	}
	return w
}

// told returns all changes so far, as "+id", "~id", "-id".
func (w *world) told() (changes []string) {
	w.t.Helper()
	transitions, err := w.live.org.Changes(context.Background(), "0", 10_000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, tr := range transitions {
		sign := "~"
		if !tr.Before.Present {
			sign = "+"
		} else if !tr.After.Present {
			sign = "-"
		}
		changes = append(changes, sign+tr.ID)
	}
	return changes
}

func (w *world) sizes() map[record.Scope]int64 {
	sizes := map[record.Scope]int64{}
	for id := range w.model.Versions() {
		sizes[id.Scope()]++
	}
	return sizes
}

func scopes() []record.Scope {
	all := slices.Clone(confirms)
	for _, g := range groups {
		all = append(all, record.Members(g))
	}
	for _, a := range apps {
		all = append(all, record.AppUsers(a), record.AppGroups(a))
	}
	for _, u := range users {
		all = append(all, record.Factors(u))
	}
	return all
}

func (l *live) sizes() map[record.Scope]int64 {
	l.t.Helper()
	sizes := map[record.Scope]int64{}
	for _, scope := range scopes() {
		n, err := l.org.Count(context.Background(), string(scope))
		if err != nil {
			l.t.Fatal(err)
		}
		if n > 0 {
			sizes[scope] = n
		}
	}
	return sizes
}

// anyOrder tells the steps in every order, once and twice over, to worlds that
// begin with the given ones, and checks each.
func anyOrder(t *testing.T, begin, steps []step, check func(*world)) {
	t.Helper()
	store := statetest.Open(t)
	var permute func(done, left []step)
	permute = func(done, left []step) {
		t.Helper()
		if len(left) == 0 {
			check(newWorld(t, store).tell(slices.Concat(begin, done)...))
			if len(steps) <= 3 { // more takes too long, and tells nothing new
				check(newWorld(t, store).tell(slices.Concat(begin, done, done)...))
			}
			return
		}
		for i := range left {
			permute(append(slices.Clone(done), left[i]), slices.Concat(left[:i], left[i+1:]))
		}
	}
	permute(nil, steps)
}

// Steps.

var why = record.Cause{Source: record.FromHook, ID: "e"}

func saw(id record.ID, ms int64, c record.Content, empty ...record.Scope) step {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	o := record.Observation{ID: id, Version: record.AsRead(ms), Present: true, Content: b, Empty: empty, Cause: why}
	if id.Kind() == record.KindMember {
		o.Content = nil
	}
	return step{observations: []record.Observation{o}}
}

func missed(id record.ID, ms int64) step { // a read that did not find it
	return step{observations: []record.Observation{{ID: id, Version: record.AsRead(ms), Cause: why}}}
}

func came(id record.ID, ms int64) step { // an event
	return step{observations: []record.Observation{{ID: id, Version: record.AsEvent(ms), Present: true, Cause: why}}}
}

func went(id record.ID, ms int64) step { // an event
	return step{observations: []record.Observation{{ID: id, Version: record.AsEvent(ms), Cause: why}}}
}

func listed(scope record.Scope, ms int64) step { return step{scope: scope, ms: ms} }

func want(target string, exceed record.Version) step {
	return step{asks: []record.Ask{{Target: target, Exceed: exceed, Cause: why}}}
}

func entity(text string) record.Content { return record.Content{Entity: text} }

var (
	u1, u2 = record.User("u1"), record.User("u2")
	g1     = record.Group("g1")
	a1, a2 = record.App("a1"), record.App("a2")

	// both ends of every edge, from the first moment on
	ends = []step{saw(u1, 1, entity("u1")), saw(u2, 1, entity("u2")), saw(g1, 1, entity("g1")), saw(a1, 1, entity("a1")), saw(a2, 1, entity("a2"))}

	// what a complete list proves absent, two of each kind
	edges = []struct{ one, other record.ID }{
		{record.Member("g1", "u1"), record.Member("g1", "u2")},
		{record.AppUser("a1", "u1"), record.AppUser("a1", "u2")},
		{record.AppGroup("a1", "g1"), record.AppGroup("a1", "g2")},
		{record.Factor("u1", "f1"), record.Factor("u1", "f2")},
	}
)

// Break: let the observation told last win.
func TestTheNewestObservationWins(t *testing.T) {
	for _, e := range edges {
		anyOrder(t, ends, []step{saw(e.one, 10, entity("x")), missed(e.one, 20)}, func(w *world) { w.out(e.one) })
		anyOrder(t, ends, []step{missed(e.one, 10), saw(e.one, 20, entity("x"))}, func(w *world) { w.in(e.one) })
	}
	for _, id := range []record.ID{u1, g1, a1, record.AppUser("a1", "u1")} {
		anyOrder(t, ends, []step{saw(id, 10, entity("old")), saw(id, 20, entity("new"))}, func(w *world) { w.content(id, "new") })
		anyOrder(t, ends, []step{saw(id, 10, entity("old")), missed(id, 20), saw(id, 30, entity("new"))},
			func(w *world) { w.content(id, "new") })
	}
}

// Break: AsEvent as AsRead.
func TestAnEventBeatsAReadOfTheSameTime(t *testing.T) {
	for _, e := range edges {
		anyOrder(t, ends, []step{went(e.one, 10), saw(e.one, 10, entity("x"))}, func(w *world) { w.out(e.one).asked(nil) })
		anyOrder(t, ends, []step{came(e.one, 10), missed(e.one, 10)}, func(w *world) { w.in(e.one).asked(nil) })
	}
	// A millisecond is more than that rank.
	m := record.Member("g1", "u1")
	anyOrder(t, ends, []step{went(m, 10), saw(m, 11, entity(""))}, func(w *world) { w.in(m) })
}

// Break: absent wins against present of the same version; or do not ask.
func TestTwoEventsOfOneTimeThatContradictMeanPresentAndAsk(t *testing.T) {
	for _, e := range edges[:3] {
		anyOrder(t, ends, []step{came(e.one, 10), went(e.one, 10)}, func(w *world) {
			w.in(e.one).asked(map[string]record.Version{string(e.one): record.AsEvent(10)})
			// Only what is newer answers.
			w.tell(missed(e.one, 10)).in(e.one).asked(map[string]record.Version{string(e.one): record.AsEvent(10)})
			w.tell(missed(e.one, 11)).out(e.one).asked(nil)
		})
		// Once something newer is known nobody asks, in whatever order it came.
		anyOrder(t, ends, []step{came(e.one, 10), went(e.one, 10), came(e.one, 11)}, func(w *world) { w.in(e.one).asked(nil) })
	}
	// Two reads are no events: the content of one is enough, nothing to ask.
	id := record.AppUser("a1", "u1")
	anyOrder(t, ends, []step{saw(id, 10, entity("x")), missed(id, 10)}, func(w *world) { w.in(id).asked(nil) })
}

// Break: an observation without content clears it; or content is compared with
// the record's version, not its own.
func TestAnEventWithoutContentKeepsTheContent(t *testing.T) {
	for _, id := range []record.ID{record.AppUser("a1", "u1"), record.AppGroup("a1", "g1")} {
		anyOrder(t, ends, []step{saw(id, 10, entity("x")), came(id, 20)}, func(w *world) { w.content(id, "x") })
		anyOrder(t, ends, []step{saw(id, 10, entity("x")), came(id, 20), saw(id, 15, entity("y"))}, func(w *world) { w.content(id, "y") })
	}
}

// Break: keep content in observe where its version is below the absence; or,
// for the list, in Complete; or forget the absence once the record is present.
func TestContentOlderThanAnAbsenceIsDroppedInAnyOrder(t *testing.T) {
	for _, id := range []record.ID{record.AppUser("a1", "u1"), record.AppGroup("a1", "g1")} {
		for _, absence := range []step{went(id, 20), missed(id, 20), listed(id.Scope(), 20)} {
			anyOrder(t, ends, []step{saw(id, 10, entity("x")), absence, came(id, 30)}, func(w *world) { w.content(id, "") })
			anyOrder(t, ends, []step{saw(id, 20, entity("x")), missed(id, 10), came(id, 30)}, func(w *world) { w.content(id, "x") })
		}
	}
}

// Break: a record that is not stored has version 0.
func TestARecordNotStoredHasTheVersionOfTheWatermark(t *testing.T) {
	store := statetest.Open(t)
	for _, e := range edges {
		id := e.one
		w := newWorld(t, store).tell(ends...).tell(listed(id.Scope(), 20))
		w.tell(came(id, 19), saw(id, 19, entity("x"))).out(id).stored(id.Scope(), 0)
		w.tell(went(id, 19), missed(id, 20)).stored(id.Scope(), 0)
		w.tell(want(string(id), record.AsEvent(19))).asked(nil)
		w.tell(want(string(id.Scope()), record.AsEvent(19))).asked(nil)
		w.tell(want(string(id), record.AsEvent(20))).asked(map[string]record.Version{string(id): record.AsEvent(20)})
		w.tell(came(id, 20)).in(id) // an event of the list's time is newer than the list
		w.tell(saw(id, 21, entity("x"))).in(id).asked(nil)
	}
	for _, id := range []record.ID{u1, g1, a1} {
		w := newWorld(t, store).tell(listed(id.Scope(), 20))
		w.tell(saw(id, 19, entity("x")), went(id, 19)).out(id).stored(id.Scope(), 0)
		w.tell(want(string(id), record.AsEvent(19))).asked(nil)
		w.tell(want(string(id), record.AsEvent(20)), saw(id, 21, entity("x"))).in(id).asked(nil)
	}
	// Older than an earlier list, not than the last: lists never step back.
	m := record.Member("g1", "u1")
	newWorld(t, store).tell(ends...).tell(listed(record.Members("g1"), 20), listed(record.Members("g1"), 10), came(m, 15)).out(m)
}

// Break: delete nothing; or delete what is as old as the list; or delete all.
func TestACompleteListDeletesWhatIsOlder(t *testing.T) {
	for _, e := range edges {
		scope := e.one.Scope()
		begin := append(slices.Clone(ends), saw(record.Group("g2"), 1, entity("g2")))
		anyOrder(t, begin, []step{saw(e.one, 10, entity("x")), saw(e.other, 20, entity("y")), listed(scope, 20)},
			func(w *world) { w.out(e.one).in(e.other).stored(scope, 1).asked(nil) })
		anyOrder(t, begin, []step{came(e.one, 19), came(e.other, 20), listed(scope, 20)},
			func(w *world) { w.out(e.one).in(e.other) })
		anyOrder(t, begin, []step{saw(e.one, 10, entity("x")), came(e.one, 30), listed(scope, 20)},
			func(w *world) { w.in(e.one) })
		// Of the scope only: those of another owner are not the list's to judge.
		store := statetest.Open(t)
		other := record.Member("g2", "u1")
		newWorld(t, store).tell(begin...).tell(came(other, 5), listed(scope, 20)).in(other)
	}
}

// Break: treat users, groups and applications in Complete as edges.
func TestAnEntityMissingFromAListIsAskedForNotDeleted(t *testing.T) {
	store := statetest.Open(t)
	for _, id := range []record.ID{u1, g1, a1} {
		scope := id.Scope()
		w := newWorld(t, store).tell(saw(id, 10, entity("x")), listed(scope, 20))
		w.in(id).asked(map[string]record.Version{string(id): record.AsEvent(20)})
		w.tell(missed(id, 25)).out(id).asked(nil) // its own 404

		w = newWorld(t, store).tell(saw(id, 10, entity("x")), listed(scope, 20), saw(id, 25, entity("y")))
		w.content(id, "y").asked(nil) // the list was wrong

		newWorld(t, store).tell(saw(id, 20, entity("x")), listed(scope, 20)).in(id).asked(nil) // it was listed
		newWorld(t, store).tell(saw(id, 30, entity("x")), listed(scope, 20)).in(id).asked(nil) // it is newer
	}
}

// Break: ignore Empty; or take an absent owner's lists for unknown; or for
// complete as of the time that the owner's record has, not the observation.
func TestAnOwnerThatShowsAScopeEmptyIsACompleteList(t *testing.T) {
	deactivated := record.Factors("u1")
	for name, c := range map[string]struct {
		edge  record.ID
		empty step
		owner step // present, later on
	}{
		"usersCount 0":  {record.Member("g1", "u1"), saw(g1, 20, entity("g"), record.Members("g1")), saw(g1, 30, entity("g"))},
		"status":        {record.Factor("u1", "f1"), saw(u1, 20, entity("u"), deactivated), saw(u1, 30, entity("u"))},
		"group absent":  {record.Member("g1", "u1"), missed(g1, 20), saw(g1, 30, entity("g"))},
		"user absent":   {record.Factor("u1", "f1"), went(u1, 20), saw(u1, 30, entity("u"))},
		"app, users":    {record.AppUser("a1", "u1"), went(a1, 20), saw(a1, 30, entity("a"))},
		"app, groups":   {record.AppGroup("a1", "g1"), missed(a1, 20), saw(a1, 30, entity("a"))},
		"unknown group": {record.Member("g2", "u1"), missed(record.Group("g2"), 20), saw(record.Group("g2"), 30, entity("g"))},
	} {
		t.Run(name, func(t *testing.T) {
			anyOrder(t, ends, []step{saw(c.edge, 10, entity("x")), c.empty, c.owner}, func(w *world) {
				w.out(c.edge).stored(c.edge.Scope(), 0)
				w.tell(saw(c.edge, 19, entity("x"))).out(c.edge)
			})
			anyOrder(t, ends, []step{saw(c.edge, 21, entity("x")), c.empty, c.owner}, func(w *world) { w.in(c.edge) })
		})
	}
	// It answers who asked for the scope, as a list does.
	newWorld(t, statetest.Open(t)).tell(want("members/g1", record.AsEvent(19)), saw(g1, 20, entity("g"), record.Members("g1"))).asked(nil)
}

// Break: strike at an equal version, or at every observation.
func TestAnAskIsStruckOnlyWhenTheVersionExceedsIt(t *testing.T) {
	store := statetest.Open(t)
	for _, id := range []record.ID{u1, g1, a1, record.AppUser("a1", "u1"), record.AppGroup("a1", "g1"), record.Member("g1", "u1")} {
		target := string(id)
		left := map[string]record.Version{target: record.AsEvent(20)}
		w := newWorld(t, store).tell(saw(id, 10, entity("x")), want(target, record.AsEvent(20))).asked(left)
		w.tell(saw(id, 19, entity("x")), saw(id, 20, entity("y"))).asked(left) // a read that missed the change
		w.tell(saw(id, 21, entity("z"))).asked(nil)
		w.tell(want(target, record.AsEvent(20))).asked(nil) // a repeat costs no call
		w.tell(want(target, record.AsEvent(21))).asked(map[string]record.Version{target: record.AsEvent(21)})
		w.tell(want(target, record.AsEvent(30))).asked(map[string]record.Version{target: record.AsEvent(30)})
		w.tell(want(target, record.AsEvent(25))).asked(map[string]record.Version{target: record.AsEvent(30)}) // never lowered
		w.tell(missed(id, 31)).asked(nil)                                                                     // absent is an answer
	}
	// An assignment appears by its event and is asked for by the same: the event is no answer.
	id := record.AppUser("a1", "u1")
	s := came(id, 20)
	s.asks = want(string(id), record.AsEvent(20)).asks
	newWorld(t, store).tell(s, s).asked(map[string]record.Version{string(id): record.AsEvent(20)}).tell(saw(id, 21, entity("x"))).asked(nil)

	for _, scope := range []record.Scope{record.Members("g1"), record.AppUsers("a1"), record.AppGroups("a1"), record.Factors("u1")} {
		left := map[string]record.Version{string(scope): record.AsEvent(20)}
		w := newWorld(t, store).tell(want(string(scope), record.AsEvent(20)), listed(scope, 20)).asked(left)
		w.tell(listed(scope, 21)).asked(nil).tell(want(string(scope), record.AsEvent(20))).asked(nil)
	}
}

// Break: keep tombstones in Complete; or drop newer ones; or leave the hanging.
func TestTombstonesOlderThanTheWatermarkAreDroppedWithWhatHangsOnThem(t *testing.T) {
	store := statetest.Open(t)
	for _, e := range edges {
		scope := e.one.Scope()
		newWorld(t, store).tell(ends...).tell(went(e.one, 10)).stored(scope, 1).tell(listed(scope, 20)).stored(scope, 0)
		newWorld(t, store).tell(ends...).tell(missed(e.one, 20)).stored(scope, 1).tell(listed(scope, 20)).stored(scope, 0)
		newWorld(t, store).tell(ends...).tell(went(e.one, 20), listed(scope, 20)).stored(scope, 1)
	}
	for id, hanging := range map[record.ID][]record.ID{
		u1: {record.Member("g1", "u1"), record.AppUser("a1", "u1"), record.Factor("u1", "f1")},
		g1: {record.Member("g1", "u1"), record.AppGroup("a1", "g1")},
		a1: {record.AppUser("a1", "u1"), record.AppGroup("a1", "g1")},
	} {
		w := newWorld(t, store).tell(ends...).tell(went(id, 10))
		for _, h := range hanging {
			w.tell(came(h, 12)).out(h).stored(h.Scope(), 1)
		}
		w.tell(listed(id.Scope(), 9)).stored(hanging[0].Scope(), 1) // the tombstone is newer
		w.tell(listed(id.Scope(), 20))
		if _, kept := w.model.Versions()[id]; kept {
			t.Fatalf("the tombstone of %s is kept", id)
		}
		for _, h := range hanging {
			w.stored(h.Scope(), 0)
		}
	}
	// The dropped tombstone lets nothing old back in.
	newWorld(t, store).tell(went(u1, 10), listed(record.Users, 20), saw(u1, 15, entity("u"))).out(u1)
}

// Break: store nothing for an absence of what is not stored.
func TestA404OfAnUnknownIDLeavesATombstoneAndNoChange(t *testing.T) {
	store := statetest.Open(t)
	for _, id := range []record.ID{u1, g1, a1, record.Member("g1", "u1"), record.AppUser("a1", "u1"), record.AppGroup("a1", "g1"), record.Factor("u1", "f1")} {
		w := newWorld(t, store).tell(want(string(id), record.AsEvent(9)), missed(id, 10)).stored(id.Scope(), 1).asked(nil)
		if changes := w.told(); len(changes) > 0 {
			t.Fatalf("404 of %s changed %v", id, changes)
		}
		w.tell(saw(id, 9, entity("x"))).out(id)                // it was newer
		w.tell(want(string(id), record.AsEvent(9))).asked(nil) // it is an answer
	}
}

// Break: show a present edge whatever its ends; or forget an edge that came
// before its ends; or show the end and not what hangs on it.
func TestEdgesWaitForTheirEndsAndGoWithThem(t *testing.T) {
	end := func(id record.ID, ms int64) step { return saw(id, ms, entity(string(id))) }
	for id, ends := range map[record.ID][]record.ID{
		record.Member("g1", "u1"):   {g1, u1},
		record.AppUser("a1", "u1"):  {a1, u1},
		record.AppGroup("a1", "g1"): {a1, g1},
		record.Factor("u1", "f1"):   {u1},
	} {
		steps := []step{saw(id, 10, entity("x"))}
		for _, e := range ends {
			steps = append(steps, end(e, 10))
		}
		anyOrder(t, nil, steps, func(w *world) { w.in(id) })
		for i := range steps {
			rest := slices.Concat(steps[:i], steps[i+1:])
			anyOrder(t, nil, rest, func(w *world) { w.out(id) })
		}
		store := statetest.Open(t)
		for _, e := range ends {
			w := newWorld(t, store).tell(steps...)
			before := len(w.told())
			w.tell(went(e, 20)).out(id, e)
			if diff := cmp.Diff([]string{"-" + string(id), "-" + string(e)}, w.told()[before:]); diff != "" {
				t.Fatalf("%s goes, its edge before it: -want +got:\n%s", e, diff)
			}
			// Entities before edges when they come.
			if all := w.told(); slices.Index(all, "+"+string(id)) < slices.Index(all, "+"+string(e)) {
				t.Fatalf("%s came before its end %s: %v", id, e, all)
			}
		}
	}
}

// Break: the last user that shows the Person keeps it; or its going deletes the
// Person though another has it.
func TestAPersonPassesToTheOtherUserAndTheSmallestIDWins(t *testing.T) {
	person := record.ID("person/employee:a")
	as := func(u record.ID, ms int64, login, text string) step {
		return saw(u, ms, record.Content{Entity: text, PersonKey: login})
	}
	first, second := as(u1, 10, "employee:a", "of u1"), as(u2, 10, "employee:a", "of u2")
	anyOrder(t, nil, []step{first, second}, func(w *world) { w.content(person, "of u1") })
	anyOrder(t, nil, []step{first, second, as(u1, 20, "employee:b", "moved on")}, func(w *world) {
		w.content(person, "of u2").content("person/employee:b", "moved on")
	})
	anyOrder(t, nil, []step{first, second, went(u1, 20)}, func(w *world) { w.content(person, "of u2") })
	anyOrder(t, nil, []step{first, second, went(u2, 20)}, func(w *world) { w.content(person, "of u1") })
	anyOrder(t, nil, []step{first, second, went(u1, 20), went(u2, 20)}, func(w *world) { w.out(person) })

	// It passes as an update: whoever follows the changes never sees it gone.
	w := newWorld(t, statetest.Open(t)).tell(first, second, as(u1, 20, "", "nobody"))
	want := []string{"+" + string(person), "+user/u1", "+user/u2", "~user/u1", "~" + string(person)}
	if diff := cmp.Diff(want, w.told()); diff != "" {
		t.Fatalf("changes: -want +got:\n%s", diff)
	}
}

// Break: delete a role when one of the assignments that give it goes.
func TestARoleMappedByTwoAppsStaysAsLongAsOneGivesIt(t *testing.T) {
	role, alias := record.ID("role/user/u1/123/admin"), record.ID("role/user/u1/-/prod|admin")
	begin := []step{saw(u1, 1, entity("u")),
		saw(a1, 1, record.Content{Entity: "a1", AWSAccount: "123"}), saw(a2, 1, record.Content{Entity: "a2", AWSAccount: "123"})}
	gives := record.Content{Entity: "x", ARNRoles: []string{"admin"}, AliasRoles: []string{"prod|admin"}}
	one, two := record.AppUser("a1", "u1"), record.AppUser("a2", "u1")
	both := []step{saw(one, 10, gives), saw(two, 10, gives)}
	for name, gone := range map[string]step{
		"assignment absent": went(one, 20),
		"list without it":   listed(record.AppUsers("a1"), 20),
		"role taken away":   saw(one, 20, entity("x")),
		"app absent":        went(a1, 20),
		"no AWS account":    saw(a1, 20, entity("a1")),
	} {
		t.Run(name, func(t *testing.T) {
			anyOrder(t, begin, append(slices.Clone(both), gone), func(w *world) { w.in(role, alias) })
			anyOrder(t, begin, []step{both[0], gone}, func(w *world) { w.out(role, alias) })
		})
	}
	anyOrder(t, begin, append(slices.Clone(both), went(u1, 20)), func(w *world) { w.out(role, alias) })

	w := newWorld(t, statetest.Open(t)).tell(begin...).tell(both...)
	before := len(w.told())
	w.tell(went(one, 20))
	if diff := cmp.Diff([]string{"-" + string(one)}, w.told()[before:]); diff != "" {
		t.Fatalf("one of two givers goes: -want +got:\n%s", diff)
	}
}

// Break: compute mfaEnabled only when the user is seen; or take factors that
// were never read for none.
func TestMFAEnabledFollowsTheFactors(t *testing.T) {
	f1, f2 := record.Factor("u1", "f1"), record.Factor("u1", "f2")
	active := record.Content{Entity: "f", Active: true}
	user := saw(u1, 10, entity("u"))
	check := func(want string) func(w *world) {
		return func(w *world) {
			w.t.Helper()
			got := "absent"
			if mfa := w.model.Graph()[u1].MFA; mfa != nil {
				got = fmt.Sprint(*mfa)
			}
			if got != want {
				w.t.Fatalf("mfaEnabled is %s, want %s", got, want)
			}
		}
	}
	anyOrder(t, nil, []step{user}, check("absent"))
	anyOrder(t, nil, []step{user, missed(f1, 20)}, check("absent")) // that one is not there: the others are unknown
	anyOrder(t, nil, []step{user, listed(record.Factors("u1"), 20)}, check("false"))
	anyOrder(t, nil, []step{user, saw(f1, 20, entity("f"))}, check("false"))
	anyOrder(t, nil, []step{user, saw(f1, 20, active)}, check("true"))
	anyOrder(t, nil, []step{user, saw(f1, 20, active), saw(f2, 20, entity("f"))}, check("true"))
	anyOrder(t, nil, []step{user, saw(f1, 20, active), saw(f1, 30, entity("f"))}, check("false"))
	anyOrder(t, nil, []step{user, saw(f1, 20, active), listed(record.Factors("u1"), 30)}, check("false"))
	anyOrder(t, nil, []step{user, saw(f1, 20, active), listed(record.Factors("u1"), 20), went(f1, 30)}, check("false"))
	anyOrder(t, nil, []step{user, saw(f1, 20, active), saw(u1, 30, entity("v"), record.Factors("u1"))}, check("false"))
	anyOrder(t, nil, []step{user, saw(record.Factor("u2", "f1"), 20, active)}, check("absent")) // another's
}

// Break: give the edge only to users seen after the group; or show the group's
// own member records.
func TestEveryoneHoldsEveryUser(t *testing.T) {
	id := record.Group("everyone")
	everyone := saw(id, 10, record.Content{Entity: "e", Everyone: true})
	steps := []step{everyone, saw(u1, 10, entity("u")), saw(u2, 10, entity("u")), came(record.Member("everyone", "u1"), 5)}
	holds := func(want string) func(w *world) {
		return func(w *world) {
			w.t.Helper()
			got := map[record.ID]string{}
			for id, p := range w.model.Graph() {
				if id.Kind() == record.KindUser {
					got[id] = p.Everyone
				}
			}
			if !maps.Equal(got, map[record.ID]string{u1: want, u2: want}) {
				w.t.Fatalf("edges from Everyone: %v, want %q", got, want)
			}
			w.out(record.Member("everyone", "u1"))
		}
	}
	anyOrder(t, nil, steps, holds("everyone"))
	anyOrder(t, nil, append(slices.Clone(steps), went(id, 20)), holds(""))
}
