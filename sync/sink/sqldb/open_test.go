package sqldb_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/sqldb"
	"github.com/oktasync/oktasync/sync/sink/sqldb/sqldbtest"
)

var quiet = slog.New(slog.DiscardHandler)

func TestNameHoldsNoSecret(t *testing.T) {
	if got, want := open(t, sqldbtest.SQLite(t)).Name(), "graph.db"; !strings.HasPrefix(got, "sql:/") || !strings.HasSuffix(got, want) {
		t.Errorf("got %s", got)
	}
	for target, want := range map[string]string{
		"postgres://me:secret@127.0.0.1:1/graph?sslmode=disable&connect_timeout=1":   "postgres://127.0.0.1:1/graph",
		"postgresql://me:secret@127.0.0.1:1/graph?sslmode=disable&connect_timeout=1": "postgres://127.0.0.1:1/graph",
	} {
		db, err := sqldb.Open(t.Context(), target, quiet) // nobody listens there yet
		if err != nil || db.Name() != want {
			t.Errorf("%v", err)
		} else {
			db.Close()
		}
		_, err = sqldb.OpenReadOnly(t.Context(), target)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") || isPermanent(err) {
			t.Errorf("%v", err)
		}
	}
}

func TestErrorsOfOpenTellTheRemedyAndNoSecret(t *testing.T) {
	dir := t.TempDir()
	note := filepath.Join(dir, "note.txt")
	if err := os.WriteFile(note, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		open         func(context.Context, string) (*sqldb.DB, error)
		target, want string
	}{
		{write, "mysql://me:secret@host/graph", "sql:PATH or postgres://"},
		{write, "postgres://me:secret@host:port/graph", "percent-encoded"},
		{write, "postgres://me:se cret/%zz@host/graph", "percent-encoded"},
		{write, "sql:", "write sql:PATH"},
		{write, "sql::memory:", "write sql:PATH"},
		{write, "sql:" + filepath.Join(dir, "none", "graph.db"), "make it, or name another file"},
		{write, "sql:" + note, "not a database"},
		{sqldb.OpenReadOnly, "sql:" + filepath.Join(dir, "graph.db"), "oktasync serve"},
		{sqldb.OpenReadOnly, "sql:" + note, "not a database"},
		{sqldb.OpenReadOnly, "sql:" + empty, "holds no graphs"},
		{sqldb.OpenReadOnly, sqldbtest.Postgres(t), "holds no graphs"},
	} {
		db, err := test.open(t.Context(), test.target)
		if err == nil {
			db.Close()
			t.Errorf("%s was opened", test.target)
		} else if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "cret/") {
			t.Errorf("%s: %v", test.target, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "graph.db")); err == nil {
		t.Error("OpenReadOnly made a file")
	}
}

func write(ctx context.Context, target string) (*sqldb.DB, error) {
	return sqldb.Open(ctx, target, quiet)
}

func TestPathsMayHoldAnyCharacter(t *testing.T) {
	target := "sql:" + filepath.Join(t.TempDir(), "a b?c=d#e%41é&mode=ro.db")
	db := open(t, target)
	apply(t, db, acme, "1", create(entity("a", nil))...)
	info, err := os.Stat(strings.TrimPrefix(target, "sql:"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %s", info.Mode())
	}
	readOnly, err := sqldb.OpenReadOnly(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	readOnly.Close()
}

func TestDatabaseOfANewerVersionIsRefused(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		open(t, target).Close()
		if _, err := raw(t, target).Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)"); err != nil {
			t.Fatal(err)
		}
		for what, open := range map[string]func(context.Context, string) (*sqldb.DB, error){"Open": write, "OpenReadOnly": sqldb.OpenReadOnly} {
			if _, err := open(t.Context(), target); err == nil || !strings.Contains(err.Error(), "a newer oktasync") {
				t.Errorf("%s: %v", what, err)
			} else if what == "Open" && !isPermanent(err) {
				t.Errorf("a retry would not help: %v", err)
			}
		}
	})
}

func TestDatabaseOfAnOlderVersionIsNotRead(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		open(t, target).Close()
		if _, err := raw(t, target).Exec("DELETE FROM goose_db_version WHERE version_id > 1"); err != nil {
			t.Fatal(err)
		}
		if _, err := sqldb.OpenReadOnly(t.Context(), target); err == nil || !strings.Contains(err.Error(), "brings them up to date") {
			t.Errorf("%v", err)
		}
	})
}

func TestManyMayOpenANewDatabaseAtOnce(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		errs := make(chan error)
		const processes = 5
		for n := range processes {
			go func() {
				db, err := sqldb.Open(context.Background(), target, quiet)
				if err == nil {
					in := sink.Instance{ID: fmt.Sprint(n)}
					if _, err = db.Position(context.Background(), in); err == nil {
						err = db.Apply(context.Background(), in, sink.Batch{Position: "1", Changes: create(entity("a", nil))})
					}
					db.Close()
				}
				errs <- err
			}()
		}
		for range processes {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestReadsWhatAnotherProcessWrites(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db := open(t, target)
		apply(t, db, acme, "1", create(entity("a", nil))...)
		reader, err := sqldb.OpenReadOnly(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		if got := held(t, reader, acme.ID); len(got) != 1 {
			t.Errorf("got %s", got)
		}
		apply(t, db, acme, "2", create(entity("b", nil))...)
		if got := held(t, reader, acme.ID); len(got) != 2 {
			t.Errorf("got %s", got)
		}
		db.Close() // the reader has the file still open
		if got := held(t, reader, acme.ID); len(got) != 2 {
			t.Errorf("got %s", got)
		}
	})
}

func TestClosedDatabaseIsOneFile(t *testing.T) {
	target := sqldbtest.SQLite(t)
	db := open(t, target)
	apply(t, db, acme, "1", create(entity("a", nil))...)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(strings.TrimPrefix(target, "sql:") + "*")
	if err != nil || len(files) != 1 {
		t.Errorf("%s, %v", files, err)
	}
	if got := held(t, open(t, target), acme.ID); len(got) != 1 {
		t.Errorf("got %s", got)
	}
}

func TestWhatNoRetryCuresIsPermanent(t *testing.T) {
	target := sqldbtest.Postgres(t)
	db, beside := open(t, target), raw(t, target)
	apply(t, db, acme, "1", create(entity("a", nil))...)
	for _, do := range []string{"CREATE ROLE stranger LOGIN", "CREATE ROLE reader LOGIN", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"} {
		if _, err := beside.Exec(do); err != nil {
			t.Fatal(err)
		}
	}
	as := func(who string) string { return strings.Replace(target, "postgres@", who+"@", 1) }
	if _, err := sqldb.Open(t.Context(), as("stranger"), quiet); err == nil || !isPermanent(err) || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("no permission: %v", err)
	}
	if _, err := sqldb.Open(t.Context(), as("nobody"), quiet); err == nil || !isPermanent(err) {
		t.Errorf("no such user: %v", err)
	}
	if reader, err := sqldb.OpenReadOnly(t.Context(), as("reader")); err != nil {
		t.Errorf("to read, SELECT is enough: %v", err)
	} else {
		reader.Close()
	}
	err := db.Apply(t.Context(), acme, sink.Batch{Position: "2", Changes: create(entity(strings.Repeat("0123456789abcdefghij", 1000), nil))})
	if err != nil && !isPermanent(err) {
		t.Errorf("a key that is too long: %v", err)
	}
	if _, err := beside.Exec("ALTER ROLE postgres SET default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	defer raw(t, target+"&default_transaction_read_only=off").Exec("ALTER ROLE postgres RESET default_transaction_read_only")
	if _, err := sqldb.Open(t.Context(), target, quiet); err == nil {
		again := open(t, target)
		position(t, again, acme)
		if err := again.Apply(t.Context(), acme, sink.Batch{Position: "2"}); err == nil || !isPermanent(err) {
			t.Errorf("read only: %v", err)
		}
	}
}

// inFiles tells whether a text is in a SQLite database or its log.
func inFiles(t *testing.T, target, text string) bool {
	t.Helper()
	path := strings.TrimPrefix(target, "sql:")
	for _, name := range []string{path, path + "-wal"} {
		b, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(text)) {
			return true
		}
	}
	return false
}

// A file that is copied, or thrown away, tells nothing of who was deleted from it.
func TestFileForgetsWhoWasDeleted(t *testing.T) {
	const login = "ann.unforgotten@example.com"
	target := sqldbtest.SQLite(t)
	db := open(t, target)
	others := make([]graph.Object, 300)
	for i := range others {
		others[i] = entity(fmt.Sprintf("o%d", i), graph.Properties{"login": fmt.Sprintf("other%d@example.com", i)})
	}
	ann := entity("a", graph.Properties{"login": login, "note": strings.Repeat("x", 6000)})
	apply(t, db, acme, "1", create(append(others, ann)...)...)
	if !inFiles(t, target, login) {
		t.Fatal("the login is in no file")
	}
	apply(t, db, acme, "2", changes(graph.Delete, []graph.Object{ann})...)
	replace(t, db, acme, snapshot("3", create(others...)))
	if inFiles(t, target, login) {
		t.Error("the login is still in a file")
	}
}

// A query that runs meanwhile keeps the log from being emptied: it is waited for.
func TestFileForgetsWhileAQueryRuns(t *testing.T) {
	const login = "ann.unforgotten@example.com"
	target := sqldbtest.SQLite(t)
	db := open(t, target)
	db.QueryTime = time.Minute
	apply(t, db, acme, "1", create(entity("a", graph.Properties{"login": login}))...)
	reader, err := raw(t, target).BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Rollback()
	var n int
	if err := reader.QueryRow("SELECT count(*) FROM entities").Scan(&n); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	forgotten := make(chan error, 1)
	go func() { forgotten <- db.Forget(t.Context(), acme.ID) }()
	select {
	case <-forgotten:
		t.Fatal("it does not wait for the query")
	case <-time.After(2 * time.Second): // longer than one try takes
	}
	apply(t, db, sink.Instance{ID: "other"}, "1", create(entity("b", graph.Properties{"login": "bob"}))...) // others need not wait
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-forgotten; err != nil {
		t.Fatal(err)
	}
	if inFiles(t, target, login) {
		t.Error("the login is still in a file")
	}
}
