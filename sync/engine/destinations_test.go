package engine

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
	"github.com/oktasync/oktasync/sync/sink/jupiterone"
	"github.com/oktasync/oktasync/sync/sink/jupiterone/j1sim"
	"github.com/oktasync/oktasync/sync/sink/sqldb"
	"github.com/oktasync/oktasync/sync/sink/sqldb/sqldbtest"
)

// holding returns by key the JSON of what a database holds of an instance.
func holding(t *testing.T, db *sqldb.DB, id string) map[string]string {
	t.Helper()
	all := map[string]string{}
	put := func(object graph.Object, err error) {
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		all[object.Key()] = string(b)
	}
	for e, err := range db.Entities(t.Context(), id) {
		put(graph.Object{Entity: &e}, err)
	}
	for r, err := range db.Relationships(t.Context(), id) {
		put(graph.Object{Relationship: &r}, err)
	}
	return all
}

// uploaded returns by key the type of what JupiterOne is to hold of a graph: it makes
// Persons itself, and of roles of AWS knows none here.
func uploaded(t *testing.T, all map[string]string) map[string]string {
	t.Helper()
	types := map[string]string{}
	for key, text := range all {
		var o map[string]struct {
			Type string `json:"_type"`
		}
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		for _, object := range o {
			if object.Type != "employee" && !strings.HasSuffix(object.Type, "_aws_iam_role") {
				types[key] = object.Type
			}
		}
	}
	return types
}

func typesOf(t *testing.T, g j1sim.Graph) map[string]string {
	t.Helper()
	types := map[string]string{}
	for _, objects := range []map[string]string{g.Entities, g.Relationships} {
		for key, text := range objects {
			var o struct {
				Type string `json:"_type"`
			}
			if err := json.Unmarshal([]byte(text), &o); err != nil {
				t.Fatal(err)
			}
			types[key] = o.Type
		}
	}
	return types
}

// SQLite, PostgreSQL and JupiterOne hold the graph: after a full read, after a
// thousand changes with processes that die in between and a JupiterOne that
// fails, and after a wiped Redis.
func TestDestinationsHoldTheGraph(t *testing.T) {
	t.Parallel()
	server := durable(t)
	sim := startSim(t, oktasim.Config{Seed: 75, Users: 60, Groups: 10, Apps: 8})
	j1, err := j1sim.Start(j1sim.Config{Account: "account", Key: "the-key-of-jupiterone"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j1.Close(); err != nil {
			t.Error(err)
		}
	})
	targets := []string{sqldbtest.SQLite(t), sqldbtest.Postgres(t)}
	var dbs []*sqldb.DB
	var upload *jupiterone.Sink
	open := func() *replica {
		dbs = nil
		for _, target := range targets {
			db, err := sqldb.Open(t.Context(), target, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			dbs = append(dbs, db)
		}
		if upload, err = jupiterone.New(jupiterone.Config{Account: "account", APIKey: "the-key-of-jupiterone", BaseURL: j1.URL(),
			Window: 300 * time.Millisecond, MaxDropRatio: 1, BatchBytes: 20_000,
			Sleep: func(ctx context.Context, d time.Duration) error { // no need to wait as long as for the real one
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(min(d, 5*time.Millisecond)):
					return nil
				}
			}}); err != nil {
			t.Fatal(err)
		}
		return startDelivering(t, server.URL, dbs[0], dbs[1], upload)
	}
	shut := func() {
		if err := errors.Join(dbs[0].Close(), dbs[1].Close(), upload.Close()); err != nil {
			t.Error(err)
		}
	}
	r := open()
	register(t, r.e, sim, "acme")
	if _, err := r.e.StartRun(t.Context(), "acme", Start{Trigger: "test"}); err != nil {
		t.Fatal(err)
	}
	check := func(after string) {
		t.Helper()
		since := time.Now()
		eventually(t, "all sinks in step after "+after, 90*time.Second, func() bool {
			s := status(t, r.e, "acme")
			last, err := r.e.LastPosition(t.Context(), "acme")
			if err != nil || s.Log.ReadUpTo == nil || s.Log.ReadUpTo.Before(since) || !isWhole(t, r.e, "acme")() {
				return false
			}
			for _, sk := range s.Sinks {
				if sk.Position != last {
					return false
				}
			}
			return true
		})
		inStepNow(t, r.e, sim, "acme")
		want := graphOf(t, r.e, "acme")
		for _, db := range dbs {
			if diff := cmp.Diff(want, holding(t, db, "acme")); diff != "" {
				t.Fatalf("%s after %s: -graph +tables\n%s", db.Name(), after, diff)
			}
		}
		host := strings.TrimPrefix(sim.URL(), "http://")
		if diff := cmp.Diff(uploaded(t, want), typesOf(t, j1.Graph("okta:"+host))); diff != "" {
			t.Fatalf("JupiterOne after %s: -graph +scope\n%s", after, diff)
		}
		if n := status(t, r.e, "acme").Sinks["jupiterone"].Note.Counters["entities_uploaded"]; n == 0 {
			t.Fatalf("JupiterOne after %s: the last job's counters are not told", after)
		}
		if v := j1.Violations(); len(v) > 0 {
			t.Fatalf("JupiterOne after %s: %q", after, v)
		}
	}
	check("a full read")
	j1.Inject(func(req j1sim.Request) j1sim.Fault {
		return []j1sim.Fault{j1sim.None, j1sim.None, j1sim.TooMany, j1sim.None, j1sim.Unavailable, j1sim.None, j1sim.DropBefore, j1sim.None, j1sim.DropAfter, j1sim.None, j1sim.None}[req.N%11]
	})
	for i := range 5 {
		sim.Mutate(200)
		if i%2 == 0 {
			r.kill()
			shut()
			r = open()
		}
		check("two hundred changes more")
	}
	j1.Inject(nil)
	before := status(t, r.e, "acme").Epoch
	if err := rawRedis(t, server.URL).FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	sim.Mutate(30)
	eventually(t, "a new epoch", 30*time.Second, func() bool {
		epoch := status(t, r.e, "acme").Epoch
		return epoch != "" && epoch != before
	})
	check("a wiped Redis")
	r.halt()
	shut()
}
