package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// leastPostgres is the version that is needed, as server_version_num has it.
const leastPostgres = 120000

// Condition is what Check found of a database that could be used.
type Condition struct {
	Name    string // of the database, without a password
	Tables  int64  // their version; 0: there are none yet
	Current int64  // the version that this program makes of them
}

// Check finds out whether Open could use the database. It changes nothing and makes
// nothing; a service may be writing.
func Check(ctx context.Context, target string) (c Condition, err error) {
	db, path, err := connect(target)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	c.Name = db.name
	if !db.postgres {
		there, err := writable(path)
		if err != nil {
			return c, err
		}
		if !there {
			// Nothing to open: that would make a file.
			c.Current, err = newest(db, nil)
			return c, err
		}
		if db.read, err = openSQLite(path, map[string][]string{"mode": {"ro"}, "_pragma": {"query_only(1)"}}); err != nil {
			return c, err
		}
	}
	if c.Current, err = newest(db, db.read); err != nil {
		return c, err
	}
	if c.Tables, err = db.version(ctx); err != nil {
		return c, fmt.Errorf("%s: %w", db.name, err)
	}
	if c.Tables > c.Current {
		return c, fmt.Errorf("%s: %w", db.name, tooNew(c.Tables, c.Current))
	}
	if db.postgres {
		if err := db.allowed(ctx, c); err != nil {
			return c, fmt.Errorf("%s: %w", db.name, err)
		}
	}
	return c, nil
}

// newest is the version that this program makes of the tables.
func newest(db *DB, pool *sql.DB) (int64, error) {
	if pool == nil {
		pool = &sql.DB{} // the migrations are only listed
	}
	p, err := db.provider(pool)
	if err != nil {
		return 0, err
	}
	sources := p.ListSources()
	return sources[len(sources)-1].Version, nil
}

// version is that of the tables; 0 if there are none.
func (db *DB) version(ctx context.Context) (int64, error) {
	var version sql.NullInt64
	err := db.read.QueryRowContext(ctx, "SELECT max(version_id) FROM goose_db_version WHERE is_applied").Scan(&version)
	if noTable(err) {
		return 0, nil
	}
	return version.Int64, err
}

// writable tells whether the file of a SQLite database is there, and fails if it, or
// its directory, where its log goes, cannot be written to.
func writable(path string) (there bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	switch {
	case err == nil:
		there = true
		f.Close()
	case !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("the database: %w", err)
	}
	f, err = os.CreateTemp(filepath.Dir(path), ".oktasync-check-*")
	if errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("the directory %s of the database does not exist: make it, or name another file", filepath.Dir(path))
	}
	if err != nil {
		return false, fmt.Errorf("the directory of the database: %w", err)
	}
	return there, errors.Join(f.Close(), os.Remove(f.Name()))
}

// allowed tells whether the user of PostgreSQL may do what is needed.
func (db *DB) allowed(ctx context.Context, c Condition) error {
	var version int
	var replica, create bool
	var schema sql.NullString
	if err := db.read.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int, pg_is_in_recovery(),
		current_schema(), coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)`).Scan(&version, &replica, &schema, &create); err != nil {
		return err
	}
	switch {
	case version < leastPostgres:
		return fmt.Errorf("PostgreSQL has version %d: 12 or later is needed", version/10000)
	case replica:
		return errors.New("this server is a replica, which takes no writes: name the primary")
	case !schema.Valid:
		return errors.New("the user has no schema to make tables in: grant it one, and put that into its search_path")
	case c.Tables < c.Current && !create:
		return fmt.Errorf("the user may not create tables in the schema %s, which is needed for new ones: grant CREATE on it", schema.String)
	case c.Tables == 0:
		return nil
	}
	for _, table := range []string{"entities", "relationships", "instances"} {
		for _, right := range []string{"SELECT", "INSERT", "UPDATE", "DELETE"} {
			var may bool
			if err := db.read.QueryRowContext(ctx, "SELECT has_table_privilege($1, $2)", table, right).Scan(&may); err != nil {
				return err
			}
			if !may {
				return fmt.Errorf("the user may not %s in the table %s: grant it, or use the user that made the tables", right, table)
			}
		}
	}
	return nil
}
