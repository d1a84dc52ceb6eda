package state_test

import (
	"strings"
	"testing"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
)

// What nothing brings back waits for a replica; a delivery does not.
func TestOrdersWaitForAReplica(t *testing.T) {
	s, err := statetest.StartSentinels()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	store, err := state.Open(t.Context(), s.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	org := store.Org("acme")
	waits := func() string {
		t.Helper()
		text, err := s.Master().Info(t.Context(), "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ = strings.Cut(text, "cmdstat_wait:calls=")
		n, _, _ := strings.Cut(text, ",")
		return n
	}
	if err := org.SetInstance(t.Context(), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if n := waits(); n != "1" {
		t.Errorf("a registration waited %q times", n)
	}
	if err := org.Order(t.Context(), "run", "cancel"); err != nil {
		t.Fatal(err)
	}
	if n := waits(); n != "2" {
		t.Errorf("an order waited: %q waits in all", n)
	}
	if _, err := org.Accept(t.Context(), []state.Event{{UUID: "u", Type: "x", Body: []byte("{}")}}, nil); err != nil {
		t.Fatal(err)
	}
	if n := waits(); n != "2" {
		t.Errorf("a delivery waited: %q waits in all", n)
	}
}
