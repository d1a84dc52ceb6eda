package sqldb_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/j1ql"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/sqldb"
	"github.com/oktasync/oktasync/sync/sink/sqldb/sqldbtest"
)

var benchUsers = flag.String("sqldb.users", "1000", "users of the orgs of the benchmarks, as 10000,100000; each has about eleven relationships a user")

// benchEach runs a benchmark on orgs of each size in both databases.
func benchEach(b *testing.B, f func(b *testing.B, db *sqldb.DB, users int)) {
	for text := range strings.SplitSeq(*benchUsers, ",") {
		users, err := strconv.Atoi(text)
		if err != nil {
			b.Fatal(err)
		}
		for _, kind := range []struct {
			name   string
			target func(testing.TB) string
		}{{"SQLite", sqldbtest.SQLite}, {"PostgreSQL", sqldbtest.Postgres}} {
			b.Run(fmt.Sprintf("users=%d/db=%s", users, kind.name), func(b *testing.B) {
				db, err := sqldb.Open(context.Background(), kind.target(b), slog.New(slog.DiscardHandler))
				if err != nil {
					b.Fatal(err)
				}
				defer db.Close()
				f(b, db, users)
			})
		}
	}
}

// A snapshot into an empty database, and into one that holds the same.
func BenchmarkReplace(b *testing.B) {
	for _, into := range []string{"Empty", "Same"} {
		b.Run("into="+into, func(b *testing.B) {
			benchEach(b, func(b *testing.B, db *sqldb.DB, users int) {
				org := sqldbtest.Org(users, 1)
				objects := 0
				for range org.Changes {
					objects++
				}
				if into == "Same" {
					fill(b, db, org)
				}
				for b.Loop() {
					if into == "Empty" {
						b.StopTimer()
						if err := db.Forget(b.Context(), acme.ID); err != nil {
							b.Fatal(err)
						}
						b.StartTimer()
					}
					fill(b, db, org)
				}
				b.ReportMetric(float64(objects*b.N)/b.Elapsed().Seconds(), "objects/s")
			})
		})
	}
}

func fill(b *testing.B, db *sqldb.DB, org sink.Snapshot) {
	b.Helper()
	if err := db.Replace(b.Context(), acme, org, false); err != nil {
		b.Fatal(err)
	}
}

// Changes of memberships in batches, into a database that holds an org.
func BenchmarkApply(b *testing.B) {
	benchEach(b, func(b *testing.B, db *sqldb.DB, users int) {
		fill(b, db, sqldbtest.Org(users, 1))
		n := 0
		for _, size := range []int{1, 100, 5000} {
			b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
				began := n
				for b.Loop() {
					batch := sink.Batch{Position: fmt.Sprint(n)}
					for range size {
						g, u := sqldbtest.Group(n%7), sqldbtest.User(n%users)
						op := graph.Create
						if n%3 == 0 {
							op = graph.Delete
						}
						batch.Changes = append(batch.Changes, graph.Change{Op: op, Object: graph.Object{Relationship: &graph.Relationship{
							Key: g + "|has_user|" + u, Type: "okta_group_has_user", Class: "HAS", From: g, To: u, Properties: graph.Properties{"groupId": g, "userId": u},
						}}})
						n++
					}
					if err := db.Apply(b.Context(), acme, batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(n-began)/b.Elapsed().Seconds(), "changes/s")
			})
		}
	})
}

// benchQueries are those that people ask, and those that an org's size or its
// largest groups make dear.
func benchQueries() []string {
	one := "Find okta_user with login = '" + sqldbtest.Login(77) + "' as u "
	user, everyone := "'"+sqldbtest.User(77)+"'", "'"+sqldbtest.Group(0)+"'"
	return []string{
		"Find User that !is Person",
		"Find User as u that !is Person return count(u)",
		one + "that HAS UserGroup that ASSIGNED Application as a return a",
		one + "that HAS UserGroup as g that ASSIGNED Application as a return g.displayName, a.displayName",
		one + "return tree",
		"Find okta_application with _key = '" + sqldbtest.App(3) + "' that ASSIGNED UserGroup that HAS okta_user as u return count(u)",
		"Find * with _key = " + user + " that RELATES TO *",
		"Find * with _key = " + user + " that RELATES TO * as x return tree",
		"Find * with _key = " + everyone + " that RELATES TO *",
		"Find * with _key = " + everyone + " that RELATES TO * as x return count(x)",
		"Find * as e return e._class, count(e)",
		"Find * that RELATES TO as e * return count(e)",
		"Find * that RELATES TO as e >> * return count(e)",
		"Find UserGroup that HAS as e User return count(e)",
		"Find UserGroup as g that HAS >> User as u return g.displayName, count(u) as n order by n desc limit 10",
		"Find 'user777' as u",
	}
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9!_*'-]+`)

// Queries on an org: those above, and the examples of the language. A name begins
// with a number, as two long queries may begin alike.
func BenchmarkQuery(b *testing.B) {
	benchEach(b, func(b *testing.B, db *sqldb.DB, users int) {
		fill(b, db, sqldbtest.Org(users, 1))
		db.QueryTime = time.Minute
		given := map[string]any{"name": "x", "email": sqldbtest.Login(3)}
		for i, text := range append(benchQueries(), queries(b)...) {
			b.Run(fmt.Sprintf("q=%02d_%.60s", i, notInNames.ReplaceAllString(text, "_")), func(b *testing.B) {
				var a j1ql.Answer
				for b.Loop() {
					var err error
					if a, err = db.Query(b.Context(), j1ql.Request{Instance: acme.ID, Query: text, Parameters: given}); err != nil {
						b.Fatal(err)
					}
				}
				rows := 0.0
				switch data := a.Data.(type) {
				case []any:
					rows = float64(len(data))
				case j1ql.Tree:
					rows = float64(len(data.Vertices) + len(data.Edges))
				}
				b.ReportMetric(rows, "rows")
			})
		}
	})
}
