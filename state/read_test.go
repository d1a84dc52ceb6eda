package state_test

import (
	"os"
	"testing"
	"time"

	"github.com/oktasync/oktasync/state/statetest"
)

func TestMain(m *testing.M) { os.Exit(statetest.Main(m)) }

// A wait of less than a millisecond ends: Redis takes 0 ms for ever.
func TestShortestWaitEnds(t *testing.T) {
	org := statetest.Open(t).Org(statetest.Instance())
	done := make(chan error, 1)
	go func() {
		_, err := org.Changes(t.Context(), "0", 10, time.Microsecond)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("it waits for ever")
	}
}
