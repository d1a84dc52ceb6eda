package engine

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
	"github.com/oktasync/oktasync/sync/record"
)

// An event that another process accepts wakes the owner: here nothing else does.
func TestMessageWakesTheOwner(t *testing.T) {
	defer func(d time.Duration) { seldom = d }(seldom)
	seldom = time.Hour
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	sim := startSim(t, oktasim.Config{Seed: 93, Users: 2, Groups: 1, Apps: 1})
	w := watcher(t, server.URL)
	register(t, w, sim, "acme")
	r := newReplica(t, server.URL, func(c *Config) { c.Lease, c.LogInterval, c.Log = time.Hour, time.Hour, slog.New(slog.DiscardHandler) }, "replica")
	r.e.every = time.Hour
	r.e.part = newPart(r.e.every)
	r.start()
	defer r.halt()
	members := string(record.Member(fedGroup, "00u1").Scope())
	for i := range 20 {
		d, err := okta.ParseDelivery(membershipAdded(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Accept(t.Context(), "acme", d); err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("event %d takes effect", i), 30*time.Second, func() bool {
			n, err := w.store.Org("acme").Count(t.Context(), members)
			if err != nil {
				t.Fatal(err)
			}
			return n == int64(i+1)
		})
	}
}
