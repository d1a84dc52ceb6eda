package sqldb_test

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oktasync/oktasync/sync/sink/sqldb"
	"github.com/oktasync/oktasync/sync/sink/sqldb/sqldbtest"
)

// Before Open there are no tables, and Check makes none; then they are as they should be.
func TestCheckMakesNothing(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		for range 2 {
			c, err := sqldb.Check(t.Context(), target)
			if err != nil || c.Tables != 0 || c.Current == 0 || strings.Contains(c.Name, "@") {
				t.Fatalf("before: %+v, %v", c, err)
			}
		}
		if path, ok := strings.CutPrefix(target, "sql:"); ok {
			if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 0 {
				t.Errorf("left behind: %v, %v", files, err)
			}
		}
		db := open(t, target) // stays open: a service is writing
		c, err := sqldb.Check(t.Context(), target)
		if err != nil || c.Tables == 0 || c.Tables != c.Current || c.Name != db.Name() {
			t.Errorf("after: %+v, %v", c, err)
		}
	})
}

func TestCheckFindsTablesOfANewerProgram(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		open(t, target)
		statement(t, target, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (1000, true)")
		if _, err := sqldb.Check(t.Context(), target); err == nil || !strings.Contains(err.Error(), "a newer oktasync wrote them") {
			t.Errorf("got %v", err)
		}
	})
}

func TestCheckOfSQLiteFindsWhatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	note := filepath.Join(dir, "note.txt")
	if err := os.WriteFile(note, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		"sql:" + note: "not a database",
		"sql:" + filepath.Join(dir, "none", "x.db"): "make it, or name another file",
		"sql:" + dir: "directory",
		"sql:":       "write sql:PATH",
	} {
		if _, err := sqldb.Check(t.Context(), target); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestCheckOfPostgresFindsWhatTheUserMayNot(t *testing.T) {
	target := sqldbtest.Postgres(t)
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	role := "limited_" + strings.TrimPrefix(u.Path, "/")
	statement(t, target, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'pass-word'", role))
	t.Cleanup(func() { statement(t, target, fmt.Sprintf("DROP OWNED BY %[1]s; DROP ROLE %[1]s", role)) })
	limited := *u
	limited.User = url.UserPassword(role, "pass-word")
	check := func(want string) {
		t.Helper()
		_, err := sqldb.Check(t.Context(), limited.String())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) || err != nil && strings.Contains(err.Error(), "pass-word") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	statement(t, target, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	check("grant CREATE")
	statement(t, target, "GRANT CREATE ON SCHEMA public TO "+role)
	check("")
	open(t, target) // the tables are another's
	check("permission denied")
	statement(t, target, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+role)
	check("INSERT in the table entities")
	statement(t, target, "GRANT ALL ON ALL TABLES IN SCHEMA public TO "+role)
	check("")
	statement(t, target, "ALTER ROLE "+role+" SET search_path = nowhere")
	check("search_path")
}

// statement runs a statement as somebody else than DB.
func statement(t *testing.T, target, text string) {
	t.Helper()
	driver, source := "pgx", target
	if path, ok := strings.CutPrefix(target, "sql:"); ok {
		driver, source = "sqlite", "file:"+path
	}
	pool, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(text); err != nil {
		t.Fatal(err)
	}
}
