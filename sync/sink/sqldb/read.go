package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/oktasync/oktasync/sync/graph"
)

// Entities returns the entities of an instance, ordered by key, without those
// that the mapper made. A connection is held until the range ends.
func (db *DB) Entities(ctx context.Context, instance string) iter.Seq2[graph.Entity, error] {
	return func(yield func(graph.Entity, error) bool) {
		err := db.each(ctx, "SELECT key, type, classes, properties FROM entities WHERE instance = $1 AND NOT mapped ORDER BY key", instance,
			func(rows *sql.Rows) (bool, error) {
				e, err := scanEntity(rows)
				return err == nil && yield(e, nil), err
			})
		if err != nil {
			yield(graph.Entity{}, fmt.Errorf("%s: read entities: %w", db.name, err))
		}
	}
}

// Relationships returns the relationships of an instance, ordered by key. A
// connection is held until the range ends.
func (db *DB) Relationships(ctx context.Context, instance string) iter.Seq2[graph.Relationship, error] {
	return func(yield func(graph.Relationship, error) bool) {
		err := db.each(ctx, "SELECT key, type, class, from_key, to_key, properties, mapping FROM relationships WHERE instance = $1 ORDER BY key", instance,
			func(rows *sql.Rows) (bool, error) {
				r, err := scanRelationship(rows)
				return err == nil && yield(r, nil), err
			})
		if err != nil {
			yield(graph.Relationship{}, fmt.Errorf("%s: read relationships: %w", db.name, err))
		}
	}
}

// each calls do with each row until it returns false.
func (db *DB) each(ctx context.Context, query, instance string, do func(*sql.Rows) (bool, error)) error {
	rows, err := db.read.QueryContext(ctx, query, instance)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if more, err := do(rows); err != nil || !more {
			return err
		}
	}
	return rows.Err()
}

type scanner interface{ Scan(into ...any) error }

func scanEntity(row scanner) (e graph.Entity, err error) {
	var classes, properties string
	if err := row.Scan(&e.Key, &e.Type, &classes, &properties); err != nil {
		return e, err
	}
	if err := json.Unmarshal([]byte(classes), &e.Class); err != nil {
		return e, err
	}
	e.Properties, err = readProperties(properties)
	return e, err
}

func scanRelationship(row scanner) (r graph.Relationship, err error) {
	var properties string
	var mapping sql.NullString
	if err := row.Scan(&r.Key, &r.Type, &r.Class, &r.From, &r.To, &properties, &mapping); err != nil {
		return r, err
	}
	if mapping.Valid {
		r.From, r.To, r.Mapping = "", "", new(graph.Mapping)
		if err := json.Unmarshal([]byte(mapping.String), r.Mapping); err != nil {
			return r, err
		}
		v := canonical(map[string]any(r.Mapping.TargetEntity))
		r.Mapping.TargetEntity = v.(map[string]any)
	}
	r.Properties, err = readProperties(properties)
	return r, err
}
