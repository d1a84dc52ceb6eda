package graph_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/sync/graph"
)

func entity(key string, p graph.Properties) graph.Object {
	return graph.Object{Entity: &graph.Entity{Key: key, Type: "okta_user", Class: []string{"User"}, Properties: p}}
}

func edge(key string, p graph.Properties) graph.Object {
	return graph.Object{Relationship: &graph.Relationship{
		Key: key, Type: "okta_group_has_user", Class: "HAS", From: "g", To: "u", Properties: p,
	}}
}

func ops(changes []graph.Change) []string {
	list := []string{}
	for _, c := range changes {
		list = append(list, string(c.Op)+" "+c.Key())
	}
	return list
}

func TestDiffOrdersEntitiesAroundRelationships(t *testing.T) {
	before := []graph.Object{entity("gone", nil), edge("gone|edge", nil), entity("same", graph.Properties{"n": 1}), entity("moved", graph.Properties{"n": 1})}
	after := []graph.Object{edge("new|edge", nil), entity("new", nil), entity("same", graph.Properties{"n": 1}), entity("moved", graph.Properties{"n": 2})}
	want := []string{"create new", "update moved", "create new|edge", "delete gone|edge", "delete gone"}
	if diff := cmp.Diff(want, ops(graph.Diff(before, after))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := graph.Diff(after, after); len(got) != 0 {
		t.Errorf("nothing changed, yet: %v", ops(got))
	}
}

func TestDiffDeleteHoldsTheObjectAsItWas(t *testing.T) {
	got := graph.Diff([]graph.Object{entity("u", graph.Properties{"name": "was"})}, nil)
	if len(got) != 1 || got[0].Entity.Properties["name"] != "was" {
		t.Errorf("got %+v", got)
	}
}

func TestDiffTellsEntityAndRelationshipOfOneKeyApart(t *testing.T) {
	got := ops(graph.Diff([]graph.Object{entity("k", nil)}, []graph.Object{edge("k", nil)}))
	if diff := cmp.Diff([]string{"create k", "delete k"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Applying the difference to before gives after, whatever they are.
func TestDiffLeadsFromBeforeToAfter(t *testing.T) {
	object := rapid.Custom(func(t *rapid.T) graph.Object {
		key := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key")
		p := graph.Properties{"n": rapid.IntRange(0, 1).Draw(t, "n")}
		if rapid.Bool().Draw(t, "entity") {
			return entity(key, p)
		}
		return edge(key, p)
	})
	name := func(o graph.Object) string {
		if o.Entity != nil {
			return "entity " + o.Key()
		}
		return "edge " + o.Key()
	}
	state := func(list []graph.Object) map[string]graph.Object {
		m := map[string]graph.Object{}
		for _, o := range list {
			if _, twice := m[name(o)]; !twice {
				m[name(o)] = o
			}
		}
		return m
	}
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.SliceOf(object).Draw(t, "before")
		after := rapid.SliceOf(object).Draw(t, "after")
		got := state(before)
		for _, c := range graph.Diff(before, after) {
			_, known := got[name(c.Object)]
			if known == (c.Op == graph.Create) {
				t.Fatalf("%s of %s, known: %v", c.Op, name(c.Object), known)
			}
			if c.Op == graph.Delete {
				delete(got, name(c.Object))
			} else {
				got[name(c.Object)] = c.Object
			}
		}
		if diff := cmp.Diff(state(after), got); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	})
}

func TestObjectsSurviveJSON(t *testing.T) {
	mapped := graph.Object{Relationship: &graph.Relationship{
		Key: "m", Type: "t", Class: "ASSIGNED",
		Mapping: &graph.Mapping{
			SourceEntityKey: "u", RelationshipDirection: "FORWARD",
			TargetFilterKeys:   [][]string{{"_type", "_key"}},
			TargetEntity:       graph.Properties{"_key": "arn", "n": 9007199254740993},
			SkipTargetCreation: true,
		},
		Properties: graph.Properties{"displayName": "ASSIGNED"},
	}}
	for _, o := range []graph.Object{
		entity("u", graph.Properties{"big": int64(9007199254740993), "list": []string{"<a>"}, "yes": true, "x": 1.5}),
		edge("g|has_user|u", graph.Properties{"groupId": "g"}), entity("bare", nil), edge("bare", nil), mapped,
	} {
		c := graph.Change{Op: graph.Update, Object: o, AsOf: time.UnixMilli(1).UTC(), Source: "hook", Cause: "uuid"}
		want, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var back graph.Change
		if err := json.Unmarshal(want, &back); err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(back)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

func FuzzObjectJSON(f *testing.F) {
	f.Add([]byte(`{"entity":{"_key":"k","_type":"t","_class":["C"],"n":1e400,"a":[null,{"b":1}]}}`))
	f.Add([]byte(`{"relationship":{"_key":"k","_mapping":{"targetEntity":{"n":1}}}}`))
	f.Add([]byte(`{"relationship":{"_key":"k","_KEY":"j","_fromEntityKey":"a","_toEntityKey":"b"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var o, again graph.Object
		if json.Unmarshal(data, &o) != nil {
			return
		}
		first, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(first, &again); err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		second, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		if string(first) != string(second) {
			t.Errorf("first %s, then %s", first, second)
		}
	})
}
