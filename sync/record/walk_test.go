package record_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/record"
)

// unpacked returns the store of a redis-server that keeps no hash packed, so that
// it can be read in chunks however small it is.
func unpacked(t *testing.T) *state.Store {
	t.Helper()
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	opts, err := redis.ParseURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	if err := rdb.ConfigSet(t.Context(), "hash-max-listpack-entries", "0").Err(); err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// genAround draws what can be said around one group and one application. Of
// users, groups and applications a list asks for what is not gone yet: no list of them.
func genAround(t *rapid.T) step {
	for {
		s := genStep(t)
		if s.scope.Confirmed() {
			continue
		}
		if len(s.observations) == 1 && rapid.Bool().Draw(t, "of an end") {
			o := s.observations[0]
			o.ID = rapid.SampledFrom([]record.ID{g1, a1}).Draw(t, "end")
			o.Content, o.Empty = nil, nil
			if o.Present {
				o.Version, o.Content = record.AsRead(o.Version.Millis()), genContent(t, o.ID)
			}
			s.observations[0] = o
		}
		return s
	}
}

// What takes several steps, as the end of a group with more members than one step
// looks at, leads where one step leads. Whatever is told between the steps, in
// which they begin again and again, the changes fit the graph at each.
func TestStepsLeadWhereOneLeads(t *testing.T) {
	store := unpacked(t)
	rapid.Check(t, func(rt *rapid.T) {
		model, live := record.NewModel(), newLive(t, store)
		live.chunk = 1
		some := rapid.Custom(genAround)
		for _, s := range rapid.SliceOfN(some, 1, 60).Draw(rt, "steps") {
			take(model, s)
			live.begin(s)
			for range rapid.IntRange(0, 2).Draw(rt, "walks") {
				if rapid.IntRange(0, 3).Draw(rt, "crash") == 0 {
					live.cursors = nil
				}
				live.walk(rapid.IntRange(1, 3).Draw(rt, "steps of a walk"))
				live.follow()
				if diff := cmp.Diff(live.graph, live.read()); diff != "" {
					rt.Fatalf("-graph by its changes +stored graph:\n%s", diff)
				}
			}
		}
		live.end()
		if diff := cmp.Diff(model.Graph(), live.graph); diff != "" {
			rt.Fatalf("graph: -model +script:\n%s", diff)
		}
		if diff := cmp.Diff(asks(model), live.asks()); diff != "" {
			rt.Fatalf("asks: -model +script:\n%s", diff)
		}
		w := world{model: model, live: live}
		if diff := cmp.Diff(w.sizes(), live.sizes()); diff != "" {
			rt.Fatalf("number of stored records: -model +script:\n%s", diff)
		}
	})
}

// The same rule as TestScriptEqualsModel, every step of it in chunks of one record.
func TestScriptEqualsModelInChunks(t *testing.T) {
	store := unpacked(t)
	rapid.Check(t, func(rt *rapid.T) {
		model, live := record.NewModel(), newLive(t, store)
		live.chunk = 1
		for i, s := range rapid.SliceOfN(rapid.Custom(genStep), 1, 60).Draw(rt, "steps") {
			take(model, s)
			live.take(s)
			if diff := cmp.Diff(model.Graph(), live.graph); diff != "" {
				rt.Fatalf("graph after step %d %+v: -model +script:\n%s", i, s, diff)
			}
			if diff := cmp.Diff(asks(model), live.asks()); diff != "" {
				rt.Fatalf("asks after step %d %+v: -model +script:\n%s", i, s, diff)
			}
		}
	})
}

// A group that ends takes its members with it before it goes, in steps that look at
// no more than a chunk; until then it is in the graph.
func TestTheEndOfALargeGroupComesInSteps(t *testing.T) {
	const members = 40
	live := newLive(t, unpacked(t))
	live.chunk = 5
	var all step
	for i := range members {
		user := fmt.Sprint("u", i)
		all.observations = append(all.observations, saw(record.User(user), 1, entity("x")).observations...)
		all.observations = append(all.observations, came(record.Member("g1", user), 2).observations...)
	}
	live.take(saw(g1, 1, entity("g1")))
	live.take(all)
	live.begin(went(g1, 3))
	live.follow()
	steps := 0
	for cursor := "0"; steps == 0 || cursor != "0"; steps++ {
		before := maps.Clone(live.graph)
		m, err := live.org.Merge(t.Context(), state.Batch{Walk: &state.Walk{Target: "walk/" + string(g1), Cursor: cursor}, Chunk: live.chunk})
		if err != nil {
			t.Fatal(err)
		}
		cursor = m.Cursor
		live.follow()
		if gone := len(before) - len(live.graph); gone > 4*live.chunk { // Redis gives no exact chunks
			t.Fatalf("one step took %d objects out of the graph", gone)
		}
		if _, there := live.graph[g1]; there != (cursor != "0") {
			t.Fatalf("the group in the graph is %v, the cursor %s", there, cursor)
		}
	}
	if len(live.graph) != members || steps < members/(4*live.chunk) {
		t.Errorf("%d objects are left after %d steps, want the %d users", len(live.graph), steps, members)
	}
	// Each change came in order: the members, then the group.
	transitions, err := live.org.Changes(t.Context(), "0", 1000)
	if err != nil {
		t.Fatal(err)
	}
	if last := transitions[len(transitions)-1]; last.ID != string(g1) || last.After.Present {
		t.Errorf("the last change is of %s, in the graph then: %v", last.ID, last.After.Present)
	}
}
