package sqldb

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/oktasync/oktasync/sync/graph"
)

// target returns the entity that a mapping leads to.
func target(m *graph.Mapping) graph.Entity {
	e := graph.Entity{Properties: graph.Properties{}}
	for name, v := range m.TargetEntity {
		switch {
		case name == "_type":
			e.Type = word(v)
		case name == "_class":
			e.Class = words(v)
		case !strings.HasPrefix(name, "_") && v != nil:
			e.Properties[name] = v
		}
	}
	if e.Key = word(m.TargetEntity["_key"]); e.Key == "" {
		var values []string
		if len(m.TargetFilterKeys) > 0 {
			for _, name := range m.TargetFilterKeys[0] {
				if name != "_type" {
					values = append(values, word(m.TargetEntity[name]))
				}
			}
		}
		e.Key = e.Type + ":" + strings.Join(values, "|")
	}
	return e
}

// word returns a value as a text; the empty one if it is absent.
func word(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

func words(v any) []string {
	switch v := v.(type) {
	case []string:
		return v
	case []any:
		all := make([]string, len(v))
		for i := range v {
			all[i] = word(v[i])
		}
		return all
	}
	return []string{word(v)}
}

// targets returns what the mapper makes of the keys, as rows of entities: for each
// that no own entity has and some relationship leads to. Of several relationships
// the one with the smallest key tells. prefix is that of the tables.
func (db *DB) targets(ctx context.Context, on runner, prefix, instance string, keys []string, shape shape) ([][]any, error) {
	rows, err := on.QueryContext(ctx, fmt.Sprintf(`
		SELECT r.mapping, r.as_of FROM %[1]srelationships r JOIN (
			SELECT min(l.key) AS key FROM %[1]srelationships l
			WHERE l.instance = $1 AND l.target_key IN (%[2]s)
				AND NOT EXISTS (SELECT 1 FROM %[1]sentities e WHERE e.instance = $1 AND e.key = l.target_key AND NOT e.mapped)
			GROUP BY l.target_key
		) first ON r.instance = $1 AND r.key = first.key`, prefix, db.among("$2")),
		instance, db.keys(keys))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var made [][]any
	for rows.Next() {
		var text string
		var asOf int64
		if err := rows.Scan(&text, &asOf); err != nil {
			return nil, err
		}
		var m graph.Mapping
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			return nil, fmt.Errorf("mapping: %w", err)
		}
		e := target(&m)
		if err := shape.entity(e); err != nil {
			return nil, err
		}
		row, err := entityRow(instance, e, asOf, true)
		if err != nil {
			return nil, err
		}
		made = append(made, row)
	}
	slices.SortFunc(made, func(a, b []any) int { return cmp.Compare(rowKey(a), rowKey(b)) })
	return made, rows.Err()
}

// remap makes the mapped entities with these keys what the relationships say.
func (db *DB) remap(ctx context.Context, tx *sql.Tx, instance string, keys []string, shape shape) error {
	if len(keys) == 0 {
		return nil
	}
	made, err := db.targets(ctx, tx, "", instance, keys, shape)
	if err != nil {
		return err
	}
	gone := make(map[string]bool, len(keys))
	for _, key := range keys {
		gone[key] = true
	}
	for _, row := range made {
		delete(gone, rowKey(row))
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM entities WHERE instance = $1 AND mapped AND key IN ("+db.among("$2")+")",
		instance, db.keys(sorted(gone))); err != nil {
		return err
	}
	return db.put(ctx, tx, entities, "entities", made, entities.update())
}
