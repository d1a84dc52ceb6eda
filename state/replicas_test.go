package state_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

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
	var said conversation
	store.AddHook(&said)
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
	// A WAIT on a connection that has written nothing waits for nothing, from Redis 7.2 on.
	at := slices.Index(said.commands, "wait")
	if at < 1 || said.commands[at-1] != "set" {
		t.Errorf("what was said before and after the wait: %v", said.commands)
	}
}

// conversation keeps the names of the commands, of one test after the other.
type conversation struct{ commands []string }

func (c *conversation) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *conversation) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.commands = append(c.commands, cmd.Name())
		return next(ctx, cmd)
	}
}
func (c *conversation) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
