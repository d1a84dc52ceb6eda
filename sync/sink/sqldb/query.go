package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"modernc.org/sqlite"

	"github.com/oktasync/oktasync/sync/j1ql"
)

// DefaultQueryTime is how long a query may take.
const DefaultQueryTime = 5 * time.Second

// maxAnswer is how many bytes an answer may have.
const maxAnswer = 64 << 20

// maxQueries is how many queries run at once; others wait for their turn.
const maxQueries = 4

func init() {
	sqlite.MustRegisterDeterministicScalarFunction("j1ql_regexp", 2, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		pattern, _ := args[0].(string)
		text, ok := args[1].(string)
		if !ok {
			return false, nil
		}
		re, err := compiled(pattern)
		if err != nil {
			return nil, err
		}
		return re.MatchString(text), nil
	})
}

// patterns are the regular expressions of late.
var patterns struct {
	sync.Mutex
	by map[string]*regexp.Regexp
}

func compiled(pattern string) (*regexp.Regexp, error) {
	patterns.Lock()
	defer patterns.Unlock()
	if re := patterns.by[pattern]; re != nil {
		return re, nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	if len(patterns.by) >= 100 || patterns.by == nil {
		patterns.by = map[string]*regexp.Regexp{}
	}
	patterns.by[pattern] = re
	return re, nil
}

// Query answers a J1QL query from one snapshot of the instance's graph. Errors of
// the text are *j1ql.Error; others to tell apart are those of package j1ql.
func (db *DB) Query(ctx context.Context, r j1ql.Request) (j1ql.Answer, error) {
	q, err := j1ql.Parse(r.Query)
	if err != nil {
		return j1ql.Answer{}, err
	}
	page, err := j1ql.PageOf(r, q)
	if err != nil {
		return j1ql.Answer{}, err
	}
	if q, err = j1ql.Bind(q, r.Parameters, page.Now); err != nil {
		return j1ql.Answer{}, err
	}
	if err := take(ctx, db.queries); err != nil {
		return j1ql.Answer{}, err
	}
	defer give(db.queries)
	limited, cancel := context.WithTimeout(ctx, db.QueryTime)
	defer cancel()
	answer, err := db.query(limited, r.Instance, q, page)
	wrong := (*j1ql.Error)(nil)
	switch {
	case err == nil:
	case ctx.Err() != nil: // the caller left
	case limited.Err() != nil:
		err = fmt.Errorf("%w: more than %s. Ask for less: filter the first entities, name classes in place of *, or follow fewer steps", j1ql.ErrTooSlow, db.QueryTime)
	case !errors.As(err, &wrong) && !errors.Is(err, j1ql.ErrNoGraph) && !errors.Is(err, j1ql.ErrTooLarge):
		err = fmt.Errorf("%w: %s: %w", j1ql.ErrDatabase, db.name, err)
	}
	return answer, err
}

func (db *DB) query(ctx context.Context, instance string, q *j1ql.Query, page j1ql.Page) (j1ql.Answer, error) {
	f, err := db.find(ctx, instance, q, page)
	if err != nil {
		return j1ql.Answer{}, err
	}
	answer, err := f.statement.Answer(f.rows, page, f.version)
	if f.lastChange.Int64 > 0 {
		at := time.UnixMilli(f.lastChange.Int64).UTC()
		answer.LastChange = &at
	}
	return answer, err
}

// found is what a statement found, and in which state of the graph.
type found struct {
	statement  j1ql.Statement
	rows       [][]*string
	version    string
	lastChange sql.NullInt64
}

func (db *DB) find(ctx context.Context, instance string, q *j1ql.Query, page j1ql.Page) (f found, err error) {
	if err := db.ready(ctx); err != nil {
		return f, err
	}
	tx, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: db.snapshotIsolation()})
	if err != nil {
		return f, err
	}
	defer tx.Rollback()
	if db.postgres {
		// Tables are joined in the order that the compiler gave them, as SQLite does: of
		// people in large groups PostgreSQL's guesses are far off. Compiling a statement to
		// machine code takes longer than most queries.
		if _, err := tx.ExecContext(ctx, "SELECT set_config('join_collapse_limit', '1', TRUE), set_config('jit', 'off', TRUE)"); err != nil {
			return f, err
		}
	}
	err = tx.QueryRowContext(ctx, "SELECT position, last_change FROM instances WHERE instance = $1", instance).Scan(&f.version, &f.lastChange)
	if errors.Is(err, sql.ErrNoRows) {
		return f, fmt.Errorf("%w: instance %s in %s", j1ql.ErrNoGraph, instance, db.name)
	}
	if err != nil {
		return f, err
	}
	schema, err := readSchema(ctx, tx, instance)
	if err != nil {
		return f, err
	}
	if f.statement, err = j1ql.Compile(q, db.dialect(), schema, instance, page.Skip, page.Rows); err != nil {
		return f, err
	}
	f.rows, err = readRows(ctx, tx, f.statement)
	return f, err
}

// Instances returns the ids of the instances whose graphs the database holds.
func (db *DB) Instances(ctx context.Context) ([]string, error) {
	rows, err := db.read.QueryContext(ctx, "SELECT instance FROM instances ORDER BY instance")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

func (db *DB) dialect() j1ql.Dialect {
	if db.postgres {
		return j1ql.PostgreSQL
	}
	return j1ql.SQLite
}

// snapshotIsolation has all statements of a transaction see one state.
func (db *DB) snapshotIsolation() sql.IsolationLevel {
	if db.postgres {
		return sql.LevelRepeatableRead
	}
	return sql.LevelDefault // of SQLite: always so
}

// readSchema reads what the graph of an instance is known to hold.
func readSchema(ctx context.Context, tx *sql.Tx, instance string) (j1ql.Schema, error) {
	schema := j1ql.Schema{Lists: map[string]map[string]bool{}}
	rows, err := tx.QueryContext(ctx, "SELECT type, classes, edge FROM kinds WHERE instance = $1 ORDER BY type, classes", instance)
	if err != nil {
		return schema, err
	}
	defer rows.Close()
	for rows.Next() {
		var k j1ql.Kind
		if err := rows.Scan(&k.Type, &k.Stored, &k.Relationship); err != nil {
			return schema, err
		}
		if err := json.Unmarshal([]byte(k.Stored), &k.Classes); err != nil {
			return schema, fmt.Errorf("classes of %s: %w", k.Type, err)
		}
		schema.Kinds = append(schema.Kinds, k)
	}
	if err := rows.Err(); err != nil {
		return schema, err
	}
	lists, err := tx.QueryContext(ctx, "SELECT DISTINCT type, name FROM properties WHERE instance = $1 AND is_list", instance)
	if err != nil {
		return schema, err
	}
	defer lists.Close()
	for lists.Next() {
		var of, name string
		if err := lists.Scan(&of, &name); err != nil {
			return schema, err
		}
		if schema.Lists[of] == nil {
			schema.Lists[of] = map[string]bool{}
		}
		schema.Lists[of][name] = true
	}
	return schema, lists.Err()
}

// readRows runs a statement.
func readRows(ctx context.Context, tx *sql.Tx, st j1ql.Statement) ([][]*string, error) {
	rows, err := tx.QueryContext(ctx, st.SQL, st.Args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var all [][]*string
	size := 0
	for rows.Next() {
		row := make([]*string, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		all = append(all, row)
		if err := ctx.Err(); err != nil {
			return nil, err // SQLite does not look between rows
		}
		for _, cell := range row {
			if cell != nil {
				size += len(*cell)
			}
		}
		if size > maxAnswer {
			return nil, fmt.Errorf("%w: more than %d MB", j1ql.ErrTooLarge, maxAnswer>>20)
		}
	}
	return all, rows.Err()
}
