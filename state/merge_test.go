package state_test

import (
	"fmt"
	"testing"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
)

// The embedded server takes in a page as large as Okta's, and what hangs on a user
// goes with it.
func TestEmbeddedMergesALargePage(t *testing.T) {
	const n = 1000
	s, err := state.Open(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	org := s.Org("embedded")
	merge := func(b state.Batch) state.Merged {
		t.Helper()
		m, err := org.Merge(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	seen := func(id string, ms int64) state.Observation {
		return state.Observation{ID: id, Version: 2 * ms, Present: true, Source: "reconcile", Cause: "run"}
	}
	b := state.Batch{Observations: []state.Observation{seen("group/g", 1)}}
	for i := range n {
		b.Observations = append(b.Observations, seen(fmt.Sprint("user/u", i), 1), seen(fmt.Sprint("member/g/u", i), 1))
	}
	if m := merge(b); m.Transitions != 1+2*n {
		t.Errorf("%d transitions, want %d", m.Transitions, 1+2*n)
	}
	page := state.Batch{Mark: &state.Mark{Scope: "members/g", Millis: 2, Cursor: "0"}}
	for i := range n - 1 {
		page.Observations = append(page.Observations, seen(fmt.Sprint("member/g/u", i), 2))
	}
	if m := merge(page); m.Transitions != 1 || m.Cursor != "0" {
		t.Errorf("the list that lacks one: %+v", m)
	}
	if m := merge(state.Batch{Observations: []state.Observation{{ID: "user/u0", Version: 7}}}); m.Transitions != 2 {
		t.Errorf("the end of a user with one membership: %d transitions, want 2", m.Transitions)
	}
}

// A forced read that shows a large scope empty is counted by the brake as one that
// shows a small one is: after it the next deletion is looked at.
func TestForcedEndOfALargeScopeIsCounted(t *testing.T) {
	for members, want := range map[int]string{4: "7 4", 40: "7 40"} {
		org := statetest.Open(t).Org(statetest.Instance())
		b := state.Batch{Observations: []state.Observation{{ID: "group/g", Version: 2, Present: true}}, Chunk: 5}
		for i := range members {
			b.Observations = append(b.Observations, state.Observation{ID: fmt.Sprint("member/g/u", i), Version: 2, Present: true})
		}
		if _, err := org.Merge(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if _, err := org.Merge(t.Context(), state.Batch{Observations: []state.Observation{{ID: "group/g", Version: 4, Present: true, Empty: []string{"members/g"}}},
			Chunk: 5, Holder: "run", Brake: &state.Brake{Ratio: 0.2, Day: 7, Forced: true}}); err != nil {
			t.Fatal(err)
		}
		if got, err := org.Cell(t.Context(), "brake", "member"); err != nil || got != want {
			t.Errorf("%d members: the brake has %q, want %q; %v", members, got, want, err)
		}
	}
}
