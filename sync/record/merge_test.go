package record_test

import (
	stdcmp "cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/record"
)

func TestMain(m *testing.M) { os.Exit(statetest.Main(m)) }

// step is one thing that the rule can be given.
type step struct {
	observations []record.Observation
	asks         []record.Ask
	scope        record.Scope // a complete list, if set
	ms           int64
}

var (
	users    = []string{"u1", "u2"}
	groups   = []string{"g1", "g2", "everyone"}
	apps     = []string{"a1", "a2"}
	factors  = []string{"f1", "f2"}
	confirms = []record.Scope{record.Users, record.Groups, record.Apps}
)

func genID(t *rapid.T) record.ID {
	user, group := rapid.SampledFrom(users), rapid.SampledFrom(groups)
	app, factor := rapid.SampledFrom(apps), rapid.SampledFrom(factors)
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		return record.User(user.Draw(t, "user"))
	case 1:
		return record.Group(group.Draw(t, "group"))
	case 2:
		return record.App(app.Draw(t, "app"))
	case 3:
		return record.Member(group.Draw(t, "group"), user.Draw(t, "user"))
	case 4:
		return record.AppUser(app.Draw(t, "app"), user.Draw(t, "user"))
	case 5:
		return record.AppGroup(app.Draw(t, "app"), group.Draw(t, "group"))
	default:
		return record.Factor(user.Draw(t, "user"), factor.Draw(t, "factor"))
	}
}

func genScope(t *rapid.T) record.Scope {
	if rapid.Bool().Draw(t, "confirmed") {
		return rapid.SampledFrom(confirms).Draw(t, "scope")
	}
	for {
		if scope := genID(t).Scope(); !scope.Confirmed() {
			return scope
		}
	}
}

// genContent: few contents, so that Persons and roles are shared.
func genContent(t *rapid.T, id record.ID) []byte {
	_, member := id.Split()
	c := record.Content{Entity: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "entity")}
	switch id.Kind() {
	case record.KindUser:
		c.PersonKey = rapid.SampledFrom([]string{"", "employee:a", "employee:b"}).Draw(t, "person")
	case record.KindGroup:
		c.Everyone = member == "everyone"
	case record.KindApp:
		c.AWSAccount = rapid.SampledFrom([]string{"", "123", "456"}).Draw(t, "account")
	case record.KindAppUser, record.KindAppGroup:
		c.ARNRoles = rapid.SampledFrom([][]string{nil, {"admin"}, {"admin", "dev/ops"}}).Draw(t, "roles")
		c.AliasRoles = rapid.SampledFrom([][]string{nil, {"prod|admin"}}).Draw(t, "aliases")
	case record.KindFactor:
		c.Active = rapid.Bool().Draw(t, "active")
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// genStep draws anything that can be said of the small world, at few times, so
// that many things happen at once.
func genStep(t *rapid.T) step {
	ms := int64(rapid.IntRange(1, 12).Draw(t, "ms"))
	cause := record.Cause{Source: record.FromHook, ID: fmt.Sprint("e", ms)}
	switch rapid.IntRange(0, 9).Draw(t, "step") {
	case 0, 1:
		return step{scope: genScope(t), ms: ms}
	case 2:
		target := string(genID(t))
		if rapid.Bool().Draw(t, "of scope") {
			target = string(genScope(t))
			if record.Scope(target).Confirmed() {
				target = string(record.Factors("u1"))
			}
		}
		return step{asks: []record.Ask{{Target: target, Exceed: record.AsEvent(ms), Cause: cause}}}
	}
	if rapid.IntRange(0, 5).Draw(t, "list") == 0 {
		return genList(t, ms, cause)
	}
	id := genID(t)
	o := record.Observation{ID: id, Version: record.AsRead(ms), Cause: cause, Present: rapid.Bool().Draw(t, "present")}
	edge := id.Kind() == record.KindMember || id.Kind() == record.KindAppUser || id.Kind() == record.KindAppGroup
	event := rapid.Bool().Draw(t, "event") && (edge || !o.Present)
	if event {
		o.Version = record.AsEvent(ms)
	}
	if o.Present && !event && id.Kind() != record.KindMember {
		o.Content = genContent(t, id)
	}
	_, member := id.Split()
	if o.Present && rapid.IntRange(0, 3).Draw(t, "empty") == 0 {
		switch id.Kind() {
		case record.KindUser:
			o.Empty = []record.Scope{record.Factors(member)}
		case record.KindGroup:
			if member != "everyone" {
				o.Empty = []record.Scope{record.Members(member)}
			}
		}
	}
	return step{observations: []record.Observation{o}}
}

// genList draws a complete list of one page; a record may be on it twice, and
// the page may be newer than the list.
func genList(t *rapid.T, ms int64, cause record.Cause) step {
	scope := genScope(t)
	s := step{scope: scope, ms: ms}
	version := record.AsRead(ms + int64(rapid.IntRange(0, 1).Draw(t, "newer")))
	var ids []record.ID
	for _, id := range allIDs() {
		if id.Scope() == scope {
			ids = append(ids, id)
		}
	}
	for range rapid.IntRange(0, 4).Draw(t, "items") {
		o := record.Observation{ID: rapid.SampledFrom(ids).Draw(t, "item"), Version: version, Present: true, Cause: cause}
		if o.ID.Kind() != record.KindMember {
			o.Content = genContent(t, o.ID)
		}
		s.observations = append(s.observations, o)
	}
	return s
}

func allIDs() (ids []record.ID) {
	for _, u := range users {
		ids = append(ids, record.User(u))
		for _, f := range factors {
			ids = append(ids, record.Factor(u, f))
		}
	}
	for _, g := range groups {
		ids = append(ids, record.Group(g))
		for _, u := range users {
			ids = append(ids, record.Member(g, u))
		}
	}
	for _, a := range apps {
		ids = append(ids, record.App(a))
		for _, u := range users {
			ids = append(ids, record.AppUser(a, u))
		}
		for _, g := range groups {
			ids = append(ids, record.AppGroup(a, g))
		}
	}
	return ids
}

// live is the rule in Redis, its graph rebuilt from its changes alone.
type live struct {
	t        testing.TB
	org      *state.Org
	position string
	graph    map[record.ID]record.Projection
	chunk    int               // of a step
	cursors  map[string]string // of walks
}

func newLive(t testing.TB, s *state.Store) *live {
	return &live{t: t, org: s.Org(statetest.Instance()), position: "0", graph: map[record.ID]record.Projection{}}
}

// take takes a step in to its end.
func (l *live) take(s step) {
	l.t.Helper()
	l.begin(s)
	l.end()
}

func (l *live) end() {
	l.t.Helper()
	for l.walk(math.MaxInt) {
		l.follow()
	}
}

// begin takes a step in, but for what is done in steps of its own behind it.
func (l *live) begin(s step) {
	l.t.Helper()
	ctx := context.Background()
	b := state.Batch{Chunk: l.chunk}
	for _, o := range s.observations {
		var empty []string
		for _, scope := range o.Empty {
			empty = append(empty, string(scope))
		}
		b.Observations = append(b.Observations, state.Observation{ID: string(o.ID), Version: int64(o.Version), Present: o.Present,
			Content: o.Content, Empty: empty, Source: string(o.Cause.Source), Cause: o.Cause.ID})
	}
	for _, a := range s.asks {
		b.Asks = append(b.Asks, state.Ask{Target: a.Target, Exceed: int64(a.Exceed), Source: string(a.Cause.Source), Cause: a.Cause.ID})
	}
	if s.scope != "" {
		b.Mark = &state.Mark{Scope: string(s.scope), Millis: s.ms, Cursor: "0"}
	}
	for {
		m, err := l.org.Merge(ctx, b)
		if err != nil {
			l.t.Fatal(err)
		}
		if m.Cursor == "0" {
			break
		}
		b = state.Batch{Chunk: l.chunk, Mark: &state.Mark{Scope: string(s.scope), Millis: s.ms, Cursor: m.Cursor}}
	}
	l.follow()
}

// walk does up to n steps of what is done in steps, and tells whether there was anything to do.
func (l *live) walk(n int) (any bool) {
	l.t.Helper()
	ctx := context.Background()
	asked, err := l.org.Asked(ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, a := range asked {
		if !state.IsWalk(a.Target) {
			continue
		}
		any = true
		for ; n > 0; n-- {
			m, err := l.org.Merge(ctx, state.Batch{Walk: &state.Walk{Target: a.Target, Cursor: stdcmp.Or(l.cursors[a.Target], "0")}, Chunk: l.chunk})
			if err != nil {
				l.t.Fatal(err)
			}
			if l.cursors == nil {
				l.cursors = map[string]string{}
			}
			if l.cursors[a.Target] = m.Cursor; m.Cursor == "0" {
				break
			}
		}
	}
	return any
}

// follow applies the changes, each of which must start where the graph is.
func (l *live) follow() {
	l.t.Helper()
	for {
		transitions, err := l.org.Changes(context.Background(), l.position, 1000)
		if err != nil {
			l.t.Fatal(err)
		}
		if len(transitions) == 0 {
			return
		}
		for _, tr := range transitions {
			l.position = tr.Position
			id := record.ID(tr.ID)
			p, known := l.graph[id]
			if known != tr.Before.Present || known && !cmp.Equal(p, projection(tr.Before)) {
				l.t.Fatalf("change of %s starts from %+v, the graph has %+v (known %v)", id, tr.Before, p, known)
			}
			if cmp.Equal(tr.Before, tr.After) {
				l.t.Fatalf("change of %s changes nothing", id)
			}
			if tr.After.Present {
				l.graph[id] = projection(tr.After)
			} else {
				delete(l.graph, id)
			}
		}
	}
}

func projection(p state.Part) record.Projection {
	return record.Projection{Content: p.Content, MFA: p.MFA, Moved: p.Moved, Everyone: p.Everyone}
}

// read returns the graph as it is stored.
func (l *live) read() map[record.ID]record.Projection {
	l.t.Helper()
	graph := map[record.ID]record.Projection{}
	scopes := []record.Scope{record.AccountScope, record.Users, record.Groups, record.Apps}
	for _, g := range groups {
		scopes = append(scopes, record.Members(g))
	}
	for _, a := range apps {
		scopes = append(scopes, record.AppUsers(a), record.AppGroups(a))
	}
	for _, scope := range scopes {
		seen, _, err := l.org.Graph(context.Background(), string(scope), "0", 1000)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, s := range seen {
			graph[record.ID(s.ID)] = projection(s.Part)
		}
	}
	return graph
}

func (l *live) asks() map[string]record.Version {
	l.t.Helper()
	asked, err := l.org.Asked(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	asks := map[string]record.Version{}
	for _, a := range asked {
		asks[a.Target] = record.Version(a.Exceed)
	}
	return asks
}

func take(m *record.Model, s step) {
	m.Merge(s.observations, s.asks)
	if s.scope != "" {
		m.Complete(s.scope, s.ms, record.Cause{})
	}
}

func asks(m *record.Model) map[string]record.Version {
	asks := map[string]record.Version{}
	for target, a := range m.Asks() {
		asks[target] = a.Exceed
	}
	return asks
}

// The script in Redis and the model in Go say the same after every step: the
// graph as its changes tell it, the graph as it is stored, and what is asked for.
func TestScriptEqualsModel(t *testing.T) {
	store := statetest.Open(t)
	rapid.Check(t, func(rt *rapid.T) {
		model, live := record.NewModel(), newLive(t, store)
		steps := rapid.SliceOfN(rapid.Custom(genStep), 1, 60).Draw(rt, "steps")
		for i, s := range steps {
			take(model, s)
			live.take(s)
			if diff := cmp.Diff(model.Graph(), live.graph); diff != "" {
				rt.Fatalf("graph after step %d %+v: -model +script:\n%s", i, s, diff)
			}
			if diff := cmp.Diff(asks(model), live.asks()); diff != "" {
				rt.Fatalf("asks after step %d %+v: -model +script:\n%s", i, s, diff)
			}
		}
		if diff := cmp.Diff(model.Graph(), live.read()); diff != "" {
			rt.Fatalf("stored graph: -model +script:\n%s", diff)
		}
	})
}

// Of edges and factors anything can be said in any order: their lists are proof of absence.
func TestMergeIsCommutativeAndIdempotent(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var steps []step
		for _, s := range rapid.SliceOfN(rapid.Custom(genStep), 1, 30).Draw(rt, "steps") {
			confirmed := s.scope.Confirmed()
			for _, o := range s.observations {
				confirmed = confirmed || o.ID.Scope().Confirmed()
			}
			if !confirmed {
				steps = append(steps, s)
			}
		}
		first, second := record.NewModel(), record.NewModel()
		for _, m := range []*record.Model{first, second} { // ends, so that the edges show
			for _, u := range users {
				take(m, step{observations: []record.Observation{{ID: record.User(u), Version: 100, Present: true, Content: []byte(`{}`)}}})
			}
			for _, g := range groups[:2] {
				take(m, step{observations: []record.Observation{{ID: record.Group(g), Version: 100, Present: true, Content: []byte(`{}`)}}})
			}
			for _, a := range apps {
				take(m, step{observations: []record.Observation{{ID: record.App(a), Version: 100, Present: true, Content: []byte(`{"awsAccount":"1"}`)}}})
			}
		}
		for _, s := range steps {
			take(first, s)
		}
		for _, s := range rapid.Permutation(slices.Concat(steps, steps)).Draw(rt, "order") {
			take(second, s)
		}
		if diff := cmp.Diff(first.Graph(), second.Graph()); diff != "" {
			rt.Fatalf("-in order +shuffled and repeated:\n%s", diff)
		}
		if diff := cmp.Diff(maps.Collect(maps.All(first.Versions())), second.Versions()); diff != "" {
			rt.Fatalf("versions: -in order +shuffled and repeated:\n%s", diff)
		}
	})
}
