package sqldb_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/j1ql"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/sqldb"
	"github.com/oktasync/oktasync/sync/sink/sqldb/sqldbtest"
)

var users = flag.Int("sqldb.users", 1000, "users of the org of the benchmarks; ten times as many relationships")

func benchEach(b *testing.B, f func(b *testing.B, db *sqldb.DB)) {
	for name, target := range map[string]func(testing.TB) string{"SQLite": sqldbtest.SQLite, "PostgreSQL": sqldbtest.Postgres} {
		b.Run(name, func(b *testing.B) {
			db, err := sqldb.Open(context.Background(), target(b), slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			f(b, db)
		})
	}
}

// A snapshot into an empty database, and into one that holds the same.
func BenchmarkReplace(b *testing.B) {
	in := sink.Instance{ID: "acme"}
	for _, name := range []string{"Empty", "Same"} {
		b.Run(name, func(b *testing.B) {
			benchEach(b, func(b *testing.B, db *sqldb.DB) {
				org := sqldbtest.Org(*users, 1)
				objects := 0
				for range org.Changes {
					objects++
				}
				if name == "Same" {
					if err := db.Replace(b.Context(), in, org, false); err != nil {
						b.Fatal(err)
					}
				}
				for b.Loop() {
					if name == "Empty" {
						b.StopTimer()
						if err := db.Forget(b.Context(), in.ID); err != nil {
							b.Fatal(err)
						}
						b.StartTimer()
					}
					if err := db.Replace(b.Context(), in, org, false); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(objects*b.N)/b.Elapsed().Seconds(), "objects/s")
			})
		})
	}
}

// Changes of memberships in batches, into a database that holds an org.
func BenchmarkApply(b *testing.B) {
	in := sink.Instance{ID: "acme"}
	for _, size := range []int{1, 100, 5000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			benchEach(b, func(b *testing.B, db *sqldb.DB) {
				if err := db.Replace(b.Context(), in, sqldbtest.Org(*users, 1), false); err != nil {
					b.Fatal(err)
				}
				n := 0
				for b.Loop() {
					batch := sink.Batch{Position: fmt.Sprint(n)}
					for range size {
						g, u := sqldbtest.Group(n%7), sqldbtest.User(n%*users)
						op := graph.Create
						if n%3 == 0 {
							op = graph.Delete
						}
						batch.Changes = append(batch.Changes, graph.Change{Op: op, Object: graph.Object{Relationship: &graph.Relationship{
							Key: g + "|has_user|" + u, Type: "okta_group_has_user", Class: "HAS", From: g, To: u, Properties: graph.Properties{"groupId": g, "userId": u},
						}}})
						n++
					}
					if err := db.Apply(b.Context(), in, batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "changes/s")
			})
		})
	}
}

// Queries on an org: with -sqldb.users=100000 on one with a million relationships.
func BenchmarkQuery(b *testing.B) {
	one := "Find okta_user with login = '" + sqldbtest.Login(77) + "' as u "
	benchEach(b, func(b *testing.B, db *sqldb.DB) {
		if err := db.Replace(b.Context(), sink.Instance{ID: "acme"}, sqldbtest.Org(*users, 1), false); err != nil {
			b.Fatal(err)
		}
		db.QueryTime = time.Minute
		for _, q := range []struct{ name, text string }{
			{"NoPerson", "Find User that !is Person"},
			{"NoPersonCount", "Find User as u that !is Person return count(u)"},
			{"TwoSteps", one + "that HAS UserGroup that ASSIGNED Application as a return a"},
			{"TwoStepsPaths", one + "that HAS UserGroup as g that ASSIGNED Application as a return g.displayName, a.displayName"},
			{"WhoReaches", "Find okta_application with _key = '" + sqldbtest.App(3) + "' that ASSIGNED UserGroup that HAS okta_user as u return count(u)"},
			{"MostApplications", "Find okta_user as u that ASSIGNED okta_application as a return u.displayName, count(a) as n order by n desc limit 10"},
			{"NoFactor", "Find okta_user with active = true that !ASSIGNED mfa_device"},
			{"Classes", "Find * as e return e._class, count(e)"},
			{"Text", "Find 'user777' as u"},
		} {
			b.Run(q.name, func(b *testing.B) {
				for b.Loop() {
					if _, err := db.Query(b.Context(), j1ql.Request{Instance: "acme", Query: q.text}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}
