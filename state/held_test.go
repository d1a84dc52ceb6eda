package state_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
)

// walkHeld counts what the runs hold entry by entry, as HeldByKind tells it.
func walkHeld(t *rapid.T, org *state.Org, runs []string) map[string]int64 {
	t.Helper()
	counts := map[string]int64{}
	for _, run := range runs {
		for at := uint64(0); ; {
			part, next, err := org.Held(context.Background(), run, at, 7)
			if err != nil {
				t.Fatal(err)
			}
			for target, text := range part {
				var h struct {
					Kind string
					N    int64
				}
				if err := json.Unmarshal([]byte(text), &h); err != nil {
					t.Fatalf("held %s: %v", target, err)
				}
				what := "deletes"
				if h.N == 0 {
					what = "changes"
				}
				counts[run+" "+h.Kind+" "+what] += max(h.N, 1)
			}
			if at = next; at == 0 {
				break
			}
		}
	}
	return counts
}

// Whatever is held, held again, approved or dropped: what is counted is what is there.
func TestHeldIsCountedAsItIs(t *testing.T) {
	store := statetest.Open(t)
	held := 0 // counts at once, at most
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		org := store.Org(statetest.Instance())
		if err := org.SetInstance(ctx, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		ms := int64(1_000_000)
		merge := func(b state.Batch) {
			t.Helper()
			if _, err := org.Merge(ctx, b); err != nil {
				t.Fatal(err)
			}
		}
		see := func(id, content string, present bool) state.Observation {
			return state.Observation{ID: id, Version: 2 * ms, Present: present, Content: []byte(content), Source: "reconcile", Cause: "test"}
		}
		var ids []string
		for n := range 14 {
			ids = append(ids, fmt.Sprint("user/u", n), fmt.Sprint("member/g/u", n), fmt.Sprint("appuser/a/u", n), fmt.Sprint("factor/u0/f", n))
		}
		ids = append(ids, "group/g", "app/a")
		first := state.Batch{}
		for _, id := range ids {
			first.Observations = append(first.Observations, see(id, `{"x":0}`, true))
		}
		merge(first)

		runs := []string{"run-1", "run-10", "verify-1"} // one begins as another
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(ids), 1, 20, rapid.ID)
		scopes := rapid.SampledFrom([]string{"users", "members/g", "appusers/a", "factors/u0"})
		brake := &state.Brake{Ratio: 0, Day: 1}
		t.Repeat(map[string]func(*rapid.T){
			"read some": func(t *rapid.T) {
				ms += 10
				b := state.Batch{Brake: brake, Holder: rapid.SampledFrom(runs[:2]).Draw(t, "run")}
				present := rapid.IntRange(0, 3).Draw(t, "present") == 0
				for _, id := range some.Draw(t, "ids") {
					b.Observations = append(b.Observations, see(id, `{"x":0}`, present))
				}
				merge(b)
			},
			"verify some": func(t *rapid.T) {
				ms += 10
				b := state.Batch{Brake: brake, Verify: true, Holder: "verify-1"}
				for _, id := range some.Draw(t, "ids") {
					b.Observations = append(b.Observations, see(id, rapid.SampledFrom([]string{`{"x":0}`, `{"x":1}`}).Draw(t, "content"), rapid.Bool().Draw(t, "present")))
				}
				merge(b)
			},
			"list": func(t *rapid.T) {
				ms += 10
				verify := rapid.Bool().Draw(t, "verify")
				run := "verify-1"
				if !verify {
					run = rapid.SampledFrom(runs[:2]).Draw(t, "run")
				}
				merge(state.Batch{Brake: brake, Verify: verify, Holder: run, Mark: &state.Mark{Scope: scopes.Draw(t, "scope"), Millis: ms, Cursor: "0",
					Source: "reconcile", Cause: "test", Empty: true, Checked: true}})
			},
			"approve some": func(t *rapid.T) {
				run := rapid.SampledFrom(runs).Draw(t, "run")
				b := state.Batch{Brake: &state.Brake{Forced: true, Day: 1}, Holder: run}
				targets := some.Draw(t, "ids")
				if rapid.Bool().Draw(t, "of a list") {
					targets = []string{scopes.Draw(t, "scope")}
					cell := state.Cell{Hash: "held:" + run, Field: targets[0]}
					b.Mark = &state.Mark{Scope: targets[0], Millis: ms, Cursor: "0", Source: "approved", Cause: "test"}
					b.Done = []state.Cell{cell, cell} // as a repeated step does
				}
				for _, target := range targets {
					if b.Mark == nil {
						b.Observations = append(b.Observations, see(target, `{"x":0}`, false))
						b.Delete = append(b.Delete, state.Cell{Hash: "held:" + run, Field: target})
					}
				}
				merge(b)
			},
			"cancel": func(t *rapid.T) {
				run := rapid.SampledFrom(runs).Draw(t, "run")
				merge(state.Batch{Holder: run, Drop: []string{"held:" + run}})
			},
			"": func(t *rapid.T) {
				want := walkHeld(t, org, runs)
				got, err := org.HeldByKind(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("-held +counted:\n%s", diff)
				}
				holding, err := org.Holding(ctx)
				if err != nil {
					t.Fatal(err)
				}
				slices.Sort(holding)
				var who []string
				for _, run := range runs {
					if n, err := org.HeldCount(ctx, run); err != nil || n > 0 {
						who = append(who, run)
					}
				}
				if !slices.Equal(holding, who) {
					t.Fatalf("%v hold, %v are said to", who, holding)
				}
				held = max(held, len(got))
			},
		})
	})
	if held < 4 {
		t.Errorf("at most %d counts were ever more than zero: this tests little", held)
	}
}
