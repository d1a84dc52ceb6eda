package sqldb

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/oktasync/oktasync/sync/sink"
)

// classify marks an error that no retry cures. Those that pass stay as they
// are: a busy or stopping server, a lost connection, a full disk.
func classify(err error) error {
	if permanent(err) {
		return sink.Permanent(err)
	}
	return err
}

func permanent(err error) bool {
	if e := (*pgconn.PgError)(nil); errors.As(err, &e) && len(e.Code) == 5 {
		switch e.Code {
		case "25006", // only reading is allowed
			"3D000", // no such database
			"3F000": // no such schema
			return true
		}
		switch e.Code[:2] {
		case "22", // a value that it cannot hold
			"28", // wrong user or password
			"42", // no permission, or a table that is not there
			"54": // a limit of PostgreSQL
			return true
		}
	}
	if e := (*sqlite.Error)(nil); errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH,
			sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_TOOBIG:
			return true
		}
	}
	return false
}

// noTable tells whether a query failed since there is no such table.
func noTable(err error) bool {
	if e := (*pgconn.PgError)(nil); errors.As(err, &e) {
		return e.Code == "42P01"
	}
	e := (*sqlite.Error)(nil)
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_ERROR
}
