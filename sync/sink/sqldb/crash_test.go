package sqldb_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/sqldb"
	"github.com/oktasync/oktasync/sync/sink/sqldb/sqldbtest"
)

// graphs are two graphs that share most keys, by position.
func graphs(t fataler) map[string]lines {
	all := map[string]lines{"": nil}
	for position, s := range map[string]sink.Snapshot{"A": graphA(), "B": graphB()} {
		m := model{}
		for c := range s.Changes {
			m.apply([]graph.Change{c})
		}
		all[position] = m.lines(t)
	}
	return all
}

func graphA() sink.Snapshot { return renamed(sqldbtest.Org(8, 1), "A") }
func graphB() sink.Snapshot { return renamed(sqldbtest.Org(6, 2), "B") }

func renamed(s sink.Snapshot, position string) sink.Snapshot {
	s.Position = func() string { return position }
	return s
}

// asPositionSays fails unless the graph is the one of its position, and returns that.
func asPositionSays(t fataler, db *sqldb.DB, graphs map[string]lines) string {
	t.Helper()
	at := position(t, db, acme)
	want, known := graphs[at]
	if !known {
		t.Fatalf("unknown position %q", at)
	}
	if diff := cmp.Diff(want, held(t, db, acme.ID)); diff != "" {
		t.Fatalf("at %s: -want +got:\n%s", at, diff)
	}
	return at
}

func TestBrokenOffSnapshotLeavesTheOldGraph(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db, all := open(t, target), graphs(t)
		replace(t, db, acme, graphA())
		broken := errors.New("broken off")
		for _, after := range []int{0, 1, 50} {
			ctx, cancel := context.WithCancel(context.Background())
			fails := graphB()
			whole := fails.Changes
			fails.Changes = func(yield func(graph.Change, error) bool) {
				n := 0
				for c := range whole {
					if n == after {
						yield(graph.Change{}, broken)
						return
					}
					n++
					if !yield(c, nil) {
						return
					}
				}
			}
			if err := db.Replace(ctx, acme, fails, true); !errors.Is(err, broken) {
				t.Fatalf("after %d: %v", after, err)
			}
			cancelled := graphB()
			cancelled.Changes = func(yield func(graph.Change, error) bool) {
				n := 0
				for c := range whole {
					if n++; n == after {
						cancel()
					}
					if !yield(c, nil) {
						return
					}
				}
				cancel()
			}
			if err := db.Replace(ctx, acme, cancelled, true); err == nil {
				t.Fatalf("after %d: cancelled, yet done", after)
			}
			if at := asPositionSays(t, db, all); at != "A" {
				t.Fatalf("at %s", at)
			}
		}
		replace(t, db, acme, graphB())
		asPositionSays(t, db, all)
	})
}

// Wherever a delivery is broken off, the graph is that of the position.
func TestCancelledAnywhereTheGraphIsThatOfThePosition(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db, all := open(t, target), graphs(t)
		replace(t, db, acme, graphA())
		full := map[string][]graph.Change{"A": {}, "B": {}}
		for position, s := range map[string]sink.Snapshot{"A": graphA(), "B": graphB()} {
			for c := range s.Changes {
				full[position] = append(full[position], c)
			}
		}
		// to are the changes that lead from the other graph to this one.
		to := func(position string) (list []graph.Change) {
			from := map[string]string{"A": "B", "B": "A"}[position]
			has := map[string]bool{}
			for _, c := range full[position] {
				has[name(c.Object)] = true
			}
			for _, c := range slices.Backward(full[from]) {
				if !has[name(c.Object)] {
					list = append(list, graph.Change{Op: graph.Delete, Object: c.Object})
				}
			}
			return append(list, full[position]...)
		}
		done, broken := 0, 0
		limit := 200 * time.Microsecond
		for done < 4 {
			next := map[string]string{"A": "B", "B": "A"}[asPositionSays(t, db, all)]
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			var err error
			if done%2 == 0 {
				err = db.Apply(ctx, acme, sink.Batch{Changes: to(next), Position: next})
			} else {
				err = db.Replace(ctx, acme, map[string]sink.Snapshot{"A": graphA(), "B": graphB()}[next], false)
			}
			cancel()
			if err == nil {
				done++
				limit = 200 * time.Microsecond
				if at := position(t, db, acme); at != next {
					t.Fatalf("delivered %s, but at %s", next, at)
				}
			} else {
				broken++
				limit *= 2
			}
		}
		if broken == 0 {
			t.Error("no delivery was broken off")
		}
	})
}

// The server ends a connection in the middle of a delivery, when half is written.
func TestConnectionEndedInTheMiddleLeavesTheOldGraph(t *testing.T) {
	target := sqldbtest.Postgres(t)
	db, beside := open(t, target), raw(t, target)
	all := graphs(t)
	replace(t, db, acme, graphA())
	last := graph.Change{}
	for c := range graphA().Changes {
		if c.Entity != nil && (last.Entity == nil || c.Key() > last.Key()) {
			last = c
		}
	}
	for what, deliver := range map[string]func() error{
		"Apply": func() error {
			return db.Apply(context.Background(), acme, sink.Batch{Position: "C", Changes: append(create(entity("0", nil)), last)})
		},
		"Replace": func() error { return db.Replace(context.Background(), acme, graphB(), false) },
	} {
		// The delivery waits for a row that comes late in it.
		tx, err := beside.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec("SELECT 1 FROM entities WHERE key = $1 FOR UPDATE", last.Key()); err != nil {
			t.Fatal(err)
		}
		failed := make(chan error)
		go func() { failed <- deliver() }()
		for ended := false; !ended; {
			err := beside.QueryRow(`SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity
				WHERE datname = current_database() AND application_name = 'oktasync' AND wait_event_type = 'Lock'`).Scan(&ended)
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := <-failed; err == nil || isPermanent(err) {
			t.Fatalf("%s: %v", what, err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		if at := asPositionSays(t, db, all); at != "A" {
			t.Fatalf("%s: at %s", what, at)
		}
	}
	replace(t, db, acme, graphB())
	asPositionSays(t, db, all)
}

// TestMain runs this in the process that is killed: it replaces A by B by A…, and
// writes the position before each.
func replaceForever(target string) {
	db, err := sqldb.Open(context.Background(), target, slog.New(slog.DiscardHandler))
	for n := 0; err == nil; n++ {
		fmt.Println(n)
		err = db.Replace(context.Background(), acme, []sink.Snapshot{graphA(), graphB()}[n%2], false)
	}
	fmt.Println(err)
	os.Exit(1)
}

func TestKilledInTheMiddleTheGraphIsThatOfThePosition(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		all := graphs(t)
		for range 4 {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "SQLDB_REPLACE="+target)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			for range 1 + rand.IntN(3) {
				if !lines.Scan() || len(lines.Text()) > 3 {
					t.Fatalf("the other process: %s", lines.Text())
				}
			}
			time.Sleep(rand.N(20 * time.Millisecond)) // anywhere in a delivery
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			reader, err := sqldb.OpenReadOnly(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			asPositionSays(t, reader, all)
			reader.Close()
			db := open(t, target)
			asPositionSays(t, db, all)
			replace(t, db, acme, graphB())
			asPositionSays(t, db, all)
			db.Close()
		}
	})
}

func TestOfTwoProcessesTheSecondFindsThePositionMoved(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		one, two, beside := open(t, target), open(t, target), raw(t, target)
		replace(t, one, acme, snapshot("1", create(entity("a", nil))))
		position(t, two, acme)
		m := model{}
		m.apply(create(entity("a", nil), entity("b", nil)))
		apply(t, one, acme, "2", create(entity("b", nil))...)
		late := func() error {
			return two.Apply(t.Context(), acme, sink.Batch{Position: "2", Changes: create(entity("c", nil))})
		}
		elsewhere := func(err error) {
			t.Helper()
			if err == nil || isPermanent(err) || !strings.Contains(err.Error(), "another process") {
				t.Fatal(err)
			}
			sameGraph(t, one, beside, acme.ID, m)
		}
		elsewhere(late())
		if at := position(t, two, acme); at != "2" {
			t.Fatalf("at %s", at)
		}
		// Also when the position came back to where it was.
		replace(t, one, acme, snapshot("2", create(entity("a", nil), entity("b", nil))))
		elsewhere(late())
		position(t, two, acme)
		apply(t, one, acme, "3")
		elsewhere(two.Replace(t.Context(), acme, snapshot("4", create(entity("d", nil))), false))
		position(t, two, acme)
		apply(t, two, acme, "4", create(entity("c", nil))...)
		m.apply(create(entity("c", nil)))
		sameGraph(t, one, beside, acme.ID, m)
	})
}

func TestTwoProcessesDeliverInTurnsWithoutLoss(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		const deliveries = 20
		failed := make(chan error)
		want := model{}
		for _, who := range []string{"one", "two"} {
			db := open(t, target)
			for n := range deliveries {
				want.apply(create(entity(fmt.Sprint(who, n), nil)))
			}
			go func() {
				for n := 0; n < deliveries; {
					at, err := db.Position(context.Background(), acme)
					if err == nil {
						err = db.Apply(context.Background(), acme, sink.Batch{Position: at + ".", Changes: create(entity(fmt.Sprint(who, n), nil))})
					}
					if err == nil {
						n++
					} else if !strings.Contains(err.Error(), "another process") {
						failed <- err
						return
					}
				}
				failed <- nil
			}()
		}
		for range 2 {
			if err := <-failed; err != nil {
				t.Fatal(err)
			}
		}
		db := open(t, target)
		if at := position(t, db, acme); len(at) != 2*deliveries {
			t.Errorf("%d deliveries", len(at))
		}
		if diff := cmp.Diff(want.lines(t), held(t, db, acme.ID)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestReadersSeeTheGraphFromBeforeADelivery(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db, all := open(t, target), graphs(t)
		db.QueryTime = time.Second // for SQLite waits for readers that long
		replace(t, db, acme, graphA())
		// A reader that began before a snapshot reads on.
		var seen lines
		for e, err := range db.Entities(t.Context(), acme.ID) {
			if err != nil {
				t.Fatal(err)
			}
			if len(seen) == 0 {
				s := graphB()
				whole := s.Changes
				s.Changes = func(yield func(graph.Change, error) bool) {
					for c := range whole {
						if !yield(c, nil) {
							return
						}
					}
					asPositionSays(t, db, all) // another reader, while the snapshot is staged
				}
				replace(t, db, acme, s)
			}
			seen = append(seen, text(t, graph.Object{Entity: &e}))
		}
		slices.Sort(seen)
		want := slices.DeleteFunc(slices.Clone(all["A"]), func(l string) bool { return strings.HasPrefix(l, `{"relationship"`) })
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if at := asPositionSays(t, db, all); at != "B" {
			t.Errorf("at %s", at)
		}
	})
}

func TestASnapshotOfOneInstanceHoldsUpNoOther(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db := open(t, target)
		other := sink.Instance{ID: "other"}
		s := snapshot("1", create(entity("a", nil)))
		whole := s.Changes
		s.Changes = func(yield func(graph.Change, error) bool) {
			apply(t, db, other, "1", create(entity("b", nil))...)
			whole(yield)
			apply(t, db, other, "2", create(entity("c", nil))...)
		}
		replace(t, db, acme, s)
		if len(held(t, db, acme.ID)) != 1 || len(held(t, db, other.ID)) != 2 {
			t.Errorf("%s, %s", held(t, db, acme.ID), held(t, db, other.ID))
		}
	})
}
