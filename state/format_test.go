package state_test

import (
	"errors"
	"testing"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
)

// What a newer version keeps in another format this one leaves alone: it neither
// works for the instance nor shows its graph.
func TestNewerFormatIsLeftAlone(t *testing.T) {
	store, id := statetest.Open(t), statetest.Instance()
	org := registered(t, store, id)
	facts := "oktasync:{" + id + "}:facts"
	client := raw(t, statetest.URL(t))
	owner := owned(t, org)
	format, err := client.HGet(t.Context(), facts, "format").Int()
	if err != nil {
		t.Fatal("an owner leaves no format: ", err)
	}
	if _, err := owner.Merge(t.Context(), state.Batch{}); err != nil {
		t.Fatal(err)
	}
	if err := org.ReleaseLease(t.Context(), "test token"); err != nil {
		t.Fatal(err)
	}
	if err := client.HSet(t.Context(), facts, "format", format+1).Err(); err != nil {
		t.Fatal(err)
	}
	before, err := client.HGetAll(t.Context(), facts).Result()
	if err != nil {
		t.Fatal(err)
	}
	if lease, err := org.TakeLease(t.Context(), "another token", time.Minute); !errors.Is(err, state.ErrNewer) || lease.Org != nil {
		t.Errorf("lease %+v, %v", lease, err)
	}
	_, merged := owner.Merge(t.Context(), state.Batch{Set: []state.Cell{{Hash: "facts", Field: "test", Value: "1"}}})
	_, _, read := org.Graph(t.Context(), "users", "0", 10)
	_, looked := org.Look(t.Context(), []string{"user/1"})
	_, _, _, overdue := org.Overdue(t.Context(), "users", 1, "")
	for what, err := range map[string]error{"merge": merged, "graph": read, "look": looked, "overdue": overdue} {
		if !errors.Is(err, state.ErrNewer) {
			t.Errorf("%s: %v", what, err)
		}
	}
	after, err := client.HGetAll(t.Context(), facts).Result()
	if err != nil || len(after) != len(before) || client.Exists(t.Context(), "oktasync:{"+id+"}:lease").Val() != 0 {
		t.Errorf("facts %v became %v, %v", before, after, err)
	}
}
