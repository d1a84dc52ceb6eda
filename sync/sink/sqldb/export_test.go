package sqldb

import (
	"context"
	"encoding/json"
	"iter"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/j1ql"
)

// Cells returns the cells of the answer to a query whose names are resolved, and
// the SQL that found them.
func (db *DB) Cells(ctx context.Context, instance string, q *j1ql.Query) (st j1ql.Statement, cells [][]any, err error) {
	page, err := j1ql.PageOf(j1ql.Request{}, q)
	if err != nil {
		return st, nil, err
	}
	f, err := db.find(ctx, instance, q, page)
	if err != nil {
		return f.statement, nil, err
	}
	if !page.Last && len(f.rows) == page.Rows {
		f.rows = f.rows[:page.Rows-1]
	}
	for _, row := range f.rows {
		c, err := f.statement.Cells(row)
		if err != nil {
			return f.statement, nil, err
		}
		cells = append(cells, c)
	}
	return f.statement, cells, nil
}

// MappedEntities yields the entities that the mapper made.
func (db *DB) MappedEntities(ctx context.Context, instance string) iter.Seq2[graph.Entity, error] {
	return func(yield func(graph.Entity, error) bool) {
		rows, err := db.read.QueryContext(ctx, "SELECT key, type, classes, properties FROM entities WHERE instance = $1 AND mapped", instance)
		if err != nil {
			yield(graph.Entity{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var e graph.Entity
			var classes, properties []byte
			if err = rows.Scan(&e.Key, &e.Type, &classes, &properties); err == nil {
				err = json.Unmarshal(classes, &e.Class)
			}
			if err == nil {
				err = json.Unmarshal(properties, &e.Properties)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(graph.Entity{}, err)
		}
	}
}
