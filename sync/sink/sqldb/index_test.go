package sqldb_test

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/oktasync/oktasync/sync/j1ql"
	"github.com/oktasync/oktasync/sync/sink/sqldb/sqldbtest"
)

// J1QL finds entities by these conditions.
func TestValuesAreFoundByAnIndex(t *testing.T) {
	for _, kind := range []struct{ target, explain, condition string }{
		{sqldbtest.SQLite(t), "EXPLAIN QUERY PLAN ", "json_extract(e.properties, '$.NAME') = 'x'"},
		{sqldbtest.Postgres(t), "EXPLAIN ", "left(e.properties ->> 'NAME', 256) = left('x', 256)"},
	} {
		open(t, kind.target)
		beside := raw(t, kind.target)
		beside.SetMaxOpenConns(1)
		if strings.HasPrefix(kind.target, "postgres:") { // it would read an empty table as a whole
			if _, err := beside.Exec("SET enable_seqscan = off"); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"email", "login", "displayName", "username", "name", "status", "id"} {
			plan := explain(t, beside, kind.explain+"SELECT e.key FROM entities e WHERE e.instance = 'acme' AND "+strings.ReplaceAll(kind.condition, "NAME", name))
			if !strings.Contains(plan, "entities_"+strings.ToLower(name)) {
				t.Errorf("%s: %s", name, plan)
			}
		}
	}
}

// SQLite plans by statistics that never change: whatever was written, a hop without a
// direction looks up both ends.
func TestStatisticsOfSQLiteStayAndHopsLookUp(t *testing.T) {
	target := sqldbtest.SQLite(t)
	db, beside := open(t, target), raw(t, target)
	statistics := func() (all string) {
		if err := beside.QueryRow("SELECT group_concat(tbl || idx || stat) FROM sqlite_stat1").Scan(&all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := statistics()
	replace(t, db, acme, sqldbtest.Org(20, 1))
	if after := statistics(); after != before {
		t.Errorf("from %s to %s", before, after)
	}
	q, err := j1ql.Parse("Find * with _key = 'x' that RELATES TO *")
	if err != nil {
		t.Fatal(err)
	}
	st, _, err := db.Cells(t.Context(), acme.ID, q)
	if err != nil {
		t.Fatal(err)
	}
	plan := explain(t, beside, "EXPLAIN QUERY PLAN "+st.SQL, st.Args...)
	for _, index := range []string{"relationships_from (instance=? AND from_key=?)", "relationships_to (instance=? AND to_key=?)"} {
		if !strings.Contains(plan, index) {
			t.Errorf("not by %s:\n%s", index, plan)
		}
	}
}

// explain returns the last columns of what the query answers.
func explain(t *testing.T, db *sql.DB, query string, args ...any) string {
	t.Helper()
	rows, err := db.Query(query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	plan := ""
	for rows.Next() {
		var line string
		into := make([]any, len(columns))
		for i := range into {
			into[i] = new(any)
		}
		into[len(into)-1] = &line
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		plan += line + "\n"
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan
}
