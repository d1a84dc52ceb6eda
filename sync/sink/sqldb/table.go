package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oktasync/oktasync/sync/graph"
)

// runner is a transaction or a connection.
type runner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// table is a table of the database. Its first two columns are its instance and key,
// or all are its key.
type table struct {
	columns []string
	types   []string // PostgreSQL's
}

var (
	entities = table{
		[]string{"instance", "key", "type", "classes", "properties", "as_of", "mapped"},
		[]string{"text", "text", "text", "jsonb", "jsonb", "bigint", "boolean"},
	}
	relationships = table{
		[]string{"instance", "key", "type", "class", "from_key", "to_key", "properties", "mapping", "target_key", "as_of"},
		[]string{"text", "text", "text", "text", "text", "text", "jsonb", "jsonb", "text", "bigint"},
	}
	kinds = table{
		[]string{"instance", "type", "classes", "edge"},
		[]string{"text", "text", "jsonb", "boolean"},
	}
	properties = table{
		[]string{"instance", "type", "name", "is_list"},
		[]string{"text", "text", "text", "boolean"},
	}
)

// update is the end of an INSERT into entities or relationships that replaces
// the row with the same key.
func (t table) update() string {
	set := make([]string, 0, len(t.columns))
	for _, c := range t.columns[2:] {
		set = append(set, c+" = excluded."+c)
	}
	return "ON CONFLICT (instance, key) DO UPDATE SET " + strings.Join(set, ", ")
}

const keep = "ON CONFLICT DO NOTHING"

// chunk is how many rows a statement of SQLite has: its text is read anew each
// time, and more rows do not make that cheaper.
const chunk = 400

// put inserts rows of a table into it, or into one like it.
func (db *DB) put(ctx context.Context, on runner, t table, into string, rows [][]any, conflict string) error {
	if len(rows) == 0 {
		return nil
	}
	insert := "INSERT INTO " + into + " (" + strings.Join(t.columns, ", ") + ") "
	if db.postgres {
		sources, values := make([]string, len(t.columns)), make([]string, len(t.columns))
		args := make([]any, len(t.columns))
		for i, typ := range t.types {
			source := typ
			if typ == "jsonb" {
				source = "text"
			}
			sources[i] = fmt.Sprintf("$%d::%s[]", i+1, source)
			values[i] = "r." + t.columns[i] + "::" + typ
			args[i] = array(typ, rows, i)
		}
		_, err := on.ExecContext(ctx, insert+"SELECT "+strings.Join(values, ", ")+
			" FROM unnest("+strings.Join(sources, ", ")+") AS r("+strings.Join(t.columns, ", ")+") "+conflict, args...)
		return err
	}
	marks := "(" + strings.Repeat("?, ", len(t.columns)-1) + "?)"
	for part := range slices.Chunk(rows, chunk) {
		args := make([]any, 0, len(part)*len(t.columns))
		for _, row := range part {
			args = append(args, row...)
		}
		if _, err := on.ExecContext(ctx, insert+"VALUES "+strings.Repeat(marks+", ", len(part)-1)+marks+" "+conflict, args...); err != nil {
			return err
		}
	}
	return nil
}

// array returns a column of rows for PostgreSQL.
func array(typ string, rows [][]any, column int) any {
	switch typ {
	case "bigint":
		return cells[int64](rows, column)
	case "boolean":
		return cells[bool](rows, column)
	}
	return cells[string](rows, column)
}

// cells returns a column of rows; nil stands for NULL.
func cells[T any](rows [][]any, column int) []*T {
	all := make([]*T, len(rows))
	for i, row := range rows {
		if v, ok := row[column].(T); ok {
			all[i] = &v
		}
	}
	return all
}

// among is the list of keys in a parameter that keys made.
func (db *DB) among(param string) string {
	if db.postgres {
		return "SELECT unnest(" + param + "::text[])"
	}
	return "SELECT value FROM json_each(" + param + ")"
}

func (db *DB) keys(keys []string) any {
	if db.postgres {
		return keys
	}
	b, err := json.Marshal(keys)
	if err != nil {
		panic(err) // texts are always JSON
	}
	return string(b)
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

func rowKey(row []any) string { return row[1].(string) }

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func entityRow(instance string, e graph.Entity, asOf int64, mapped bool) ([]any, error) {
	key := clean(e.Key)
	classes, err := encode(list(e.Class))
	if err != nil {
		return nil, fmt.Errorf("entity %q: %w", key, err)
	}
	p, err := encode(object(e.Properties))
	if err != nil {
		return nil, fmt.Errorf("entity %q: %w", key, err)
	}
	return []any{instance, key, clean(e.Type), classes, p, asOf, mapped}, nil
}

func relationshipRow(instance string, r graph.Relationship, asOf int64) ([]any, error) {
	key := clean(r.Key)
	p, err := encode(object(r.Properties))
	if err != nil {
		return nil, fmt.Errorf("relationship %q: %w", key, err)
	}
	row := []any{instance, key, clean(r.Type), clean(r.Class), clean(r.From), clean(r.To), p, nil, nil, asOf}
	if m := r.Mapping; m != nil {
		mapping, err := encode(m)
		if err != nil {
			return nil, fmt.Errorf("relationship %q: %w", key, err)
		}
		to := clean(target(m).Key)
		row[4], row[5], row[7], row[8] = clean(m.SourceEntityKey), to, mapping, to
		if m.RelationshipDirection == "REVERSE" {
			row[4], row[5] = row[5], row[4]
		}
	}
	return row, nil
}

// list and object are JSON also where there is none.
func list(texts []string) []string {
	if texts == nil {
		return []string{}
	}
	return texts
}

func object(p graph.Properties) graph.Properties {
	if p == nil {
		return graph.Properties{}
	}
	return p
}
