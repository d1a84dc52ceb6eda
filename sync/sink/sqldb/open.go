package sqldb

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	_ "modernc.org/sqlite" // the driver sqlite

	"github.com/oktasync/oktasync/sync/sink"
)

//go:embed sqlite/*.sql postgres/*.sql
var migrations embed.FS

const (
	readers   = 8 // connections that read
	writers   = 8 // connections that write, those that take snapshots included
	snapshots = 4 // taken at once; others wait, and leave connections for changes

	connectTimeout = 10 * time.Second
	busyTimeout    = 10 * time.Second // for which SQLite waits for another process

	checkpointTimeout = time.Second // for which writers wait while its log is emptied
)

// DB is a database of graphs. It may be used by many at once.
type DB struct {
	QueryTime time.Duration // how long a query may take; set before use

	name     string
	postgres bool
	log      *slog.Logger
	read     *sql.DB // of SQLite it can only read
	write    *sql.DB // nil after OpenReadOnly; of SQLite a transaction takes the lock when it begins

	writing   chan struct{} // one place, taken while SQLite's main database is written to, so that writers need not poll for its lock
	replacing chan struct{} // a place for each snapshot that is taken

	opening  sync.Mutex
	migrated bool

	mu    sync.Mutex
	heads map[string]head // by instance

	queries chan struct{} // a place for each that runs
}

// head is up to where an instance's graph was last known to be.
type head struct {
	position    string
	deliveredAt int64 // in ms; it tells two deliveries of one position apart
}

// Open opens "sql:PATH", a SQLite file that is made if need be, or
// "postgres://…", and brings its tables up to date.
func Open(ctx context.Context, target string, log *slog.Logger) (*DB, error) {
	db, path, err := connect(target)
	if err != nil {
		return nil, err
	}
	db.log = log
	if !db.postgres {
		if err := makeFile(path); err != nil {
			return nil, err
		}
		// What is deleted is overwritten: the file keeps nothing of who is gone.
		params := url.Values{"_pragma": {"secure_delete(1)", "synchronous(NORMAL)", "cache_size(-16000)", "journal_size_limit(67108864)"}, "_txlock": {"immediate"}}
		if db.write, err = openSQLite(path, params); err != nil {
			return nil, err
		}
		if db.read, err = openSQLite(path, url.Values{"_pragma": {"query_only(1)"}}); err != nil {
			return nil, errors.Join(err, db.write.Close())
		}
	}
	db.read.SetMaxOpenConns(readers)
	db.write.SetMaxOpenConns(writers)
	limited, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := db.ready(limited); err != nil {
		if sink.IsPermanent(err) || !db.postgres || ctx.Err() != nil {
			db.Close()
			return nil, err
		}
		// It comes up later: until then nothing else must wait for it.
		log.Warn("the database cannot be reached yet", "sink", db.name, "err", err)
	}
	return db, nil
}

// ready brings the tables up to date once the database can be reached.
func (db *DB) ready(ctx context.Context) error {
	db.opening.Lock()
	defer db.opening.Unlock()
	if db.migrated {
		return nil
	}
	if err := db.migrate(ctx); err != nil {
		return fmt.Errorf("open %s: %w", db.name, classify(err))
	}
	db.migrated = true
	return nil
}

// OpenReadOnly opens a database for queries; another process may write to it.
func OpenReadOnly(ctx context.Context, target string) (*DB, error) {
	db, path, err := connect(target)
	if err != nil {
		return nil, err
	}
	db.log = slog.New(slog.DiscardHandler)
	if db.postgres {
		db.write.Close()
		db.write = nil
	} else {
		if _, err := os.Stat(path); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("there is no database %s: `oktasync serve` with the sink %s makes it; or name another", path, db.name)
			}
			return nil, err
		}
		if db.read, err = openSQLite(path, url.Values{"mode": {"ro"}, "_pragma": {"query_only(1)"}}); err != nil {
			return nil, err
		}
	}
	db.read.SetMaxOpenConns(readers)
	db.migrated = true // or not our business
	if err := db.check(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("open %s: %w", db.name, classify(err))
	}
	return db, nil
}

// connect prepares the connections of PostgreSQL, or finds the path of SQLite.
func connect(target string) (db *DB, path string, err error) {
	db = &DB{name: target, heads: map[string]head{}, QueryTime: DefaultQueryTime, queries: make(chan struct{}, maxQueries), writing: make(chan struct{}, 1), replacing: make(chan struct{}, snapshots)}
	if path, ok := strings.CutPrefix(target, "sql:"); ok {
		if path == "" || path == ":memory:" {
			return nil, "", fmt.Errorf("%q names no file: write sql:PATH", target)
		}
		return db, path, nil
	}
	if !strings.HasPrefix(target, "postgres://") && !strings.HasPrefix(target, "postgresql://") {
		return nil, "", errors.New("a database is named by sql:PATH or postgres://…")
	}
	cfg, err := pgx.ParseConfig(target)
	if err != nil {
		// The reason may hold what is thought to be another part than the password.
		return nil, "", errors.New("the URL of the PostgreSQL database cannot be read: write postgres://USER:PASSWORD@HOST:PORT/DATABASE, special characters in it percent-encoded")
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "oktasync"
	}
	db.postgres = true
	db.name = fmt.Sprintf("postgres://%s:%d/%s", cfg.Host, cfg.Port, cfg.Database)
	db.read, db.write = stdlib.OpenDB(*cfg), stdlib.OpenDB(*cfg)
	return db, "", nil
}

func openSQLite(path string, params url.Values) (*sql.DB, error) {
	params.Set("_busy_timeout", fmt.Sprint(busyTimeout.Milliseconds()))
	parts := strings.Split(path, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return sql.Open("sqlite", "file:"+strings.Join(parts, "/")+"?"+params.Encode())
}

// makeFile makes the file of a SQLite database if need be, for us alone: it
// names people.
func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the directory %s of the database does not exist: make it, or name another file", filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("the database: %w", err)
	}
	return f.Close()
}

func (db *DB) provider(pool *sql.DB) (*goose.Provider, error) {
	dialect, dir, options := goose.DialectSQLite3, "sqlite", []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if db.postgres {
		dialect, dir = goose.DialectPostgres, "postgres"
		// Retried often: another replica migrates for a second, not for minutes.
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, pool, files, options...)
}

// migrate brings the tables up to date. Two processes that start at once: of
// PostgreSQL one waits for the other; of SQLite one may fail since the
// other made a table first, and then goes on from there.
func (db *DB) migrate(ctx context.Context) error {
	if !db.postgres {
		var mode string
		if err := db.write.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
			return err
		}
	}
	p, err := db.provider(db.write)
	if err != nil {
		return err
	}
	for tries := 0; ; tries++ {
		current, target, err := p.GetVersions(ctx)
		if err == nil && current > target {
			return sink.Permanent(tooNew(current, target))
		}
		if err == nil {
			_, err = p.Up(ctx)
		}
		if err == nil || db.postgres || tries == 5 || ctx.Err() != nil {
			return err
		}
	}
}

// check fails unless the tables are those that this program knows.
func (db *DB) check(ctx context.Context) error {
	p, err := db.provider(db.read)
	if err != nil {
		return err
	}
	sources := p.ListSources()
	want := sources[len(sources)-1].Version
	var version sql.NullInt64
	err = db.read.QueryRowContext(ctx, "SELECT max(version_id) FROM goose_db_version WHERE is_applied").Scan(&version)
	switch {
	case noTable(err):
		return errors.New("the database holds no graphs of oktasync")
	case err != nil:
		return err
	case version.Int64 > want:
		return tooNew(version.Int64, want)
	case version.Int64 < want:
		return fmt.Errorf("the tables have version %d, and this program wants %d: start `oktasync serve` of this version, which brings them up to date", version.Int64, want)
	}
	return nil
}

func tooNew(version, known int64) error {
	return fmt.Errorf("the tables have version %d, and this program knows them up to %d: a newer oktasync wrote them; run that one", version, known)
}

// Name implements sink.Sink.
func (db *DB) Name() string { return db.name }

// Window implements sink.Sink: changes are written at once.
func (db *DB) Window(context.Context, sink.Instance) (time.Duration, error) { return 0, nil }

// Close implements sink.Sink. What SQLite has in its log is brought into its file,
// unless another process has it open.
func (db *DB) Close() error {
	var errs []error
	for _, pool := range []*sql.DB{db.read, db.write} {
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	return errors.Join(errs...)
}
