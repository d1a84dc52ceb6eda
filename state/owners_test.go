package state_test

import (
	"strings"
	"testing"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
)

// Owners share their connections, which end with the last owner, wherever the server went.
func TestConnectionsEndWithTheLastOwner(t *testing.T) {
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	s, client := open(t, server.URL), raw(t, server.URL)
	connections := func() int {
		t.Helper()
		list, err := client.ClientList(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(list, "\n")
	}
	a, b := registered(t, s, "a"), registered(t, s, "b")
	before := connections()
	owners := []*state.Org{owned(t, a), owned(t, b)}
	if n := connections(); n != before+1 {
		t.Errorf("two owners, one after the other, take %d connections", n-before)
	}
	owners[0].Release()
	if _, err := owners[1].Merge(t.Context(), state.Batch{}); err != nil {
		t.Errorf("the last owner: %v", err)
	}
	owners[1].Release()
	for deadline := time.Now().Add(10 * time.Second); connections() != before; time.Sleep(time.Millisecond) { // Redis sees to it in time
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are left", connections()-before)
		}
	}
	again := owned(t, registered(t, s, "c"))
	if _, err := again.Merge(t.Context(), state.Batch{}); err != nil {
		t.Errorf("an owner that comes later: %v", err)
	}
}
