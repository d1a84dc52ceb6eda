package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
)

// errElsewhere: the position is not where this process left or read it.
var errElsewhere = errors.New("another process delivered to the database meanwhile: it goes on from there")

// Position implements sink.Sink.
func (db *DB) Position(ctx context.Context, in sink.Instance) (string, error) {
	if err := db.ready(ctx); err != nil {
		return "", err
	}
	h, err := db.readHead(ctx, in.ID)
	if err != nil {
		return "", fmt.Errorf("%s: read the position: %w", db.name, classify(err))
	}
	return h.position, nil
}

func (db *DB) readHead(ctx context.Context, instance string) (h head, err error) {
	err = db.read.QueryRowContext(ctx, "SELECT position, delivered_at FROM instances WHERE instance = $1", instance).Scan(&h.position, &h.deliveredAt)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	if err == nil {
		db.setHead(instance, h)
	}
	return h, err
}

func (db *DB) setHead(instance string, h head) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.heads[instance] = h
}

// head returns where the instance was when this process last looked, and forgets it
// until the caller knows better.
func (db *DB) head(ctx context.Context, instance string) (head, error) {
	db.mu.Lock()
	h, known := db.heads[instance]
	delete(db.heads, instance)
	db.mu.Unlock()
	if known {
		return h, nil
	}
	return db.readHead(ctx, instance)
}

// next is the head after a delivery.
func (h head) next(position string) head {
	return head{position, max(time.Now().UnixMilli(), h.deliveredAt+1)}
}

// take takes one of the places, when one is free.
func take(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func give(places chan struct{}) { <-places }

type beginner interface {
	BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error)
}

// transact runs a transaction that writes; on is the pool, or a connection of it.
func (db *DB) transact(ctx context.Context, on beginner, do func(*sql.Tx) error) error {
	if !db.postgres {
		if err := take(ctx, db.writing); err != nil {
			return err
		}
		defer give(db.writing)
	}
	tx, err := on.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// move moves the position of an instance, if it still is where this process thinks.
// It comes first in a transaction: of two processes one waits here for the other.
func move(ctx context.Context, tx *sql.Tx, in sink.Instance, from, to head, lastChange int64) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO instances (instance, name, position, delivered_at, last_change) VALUES ($1, '', '', 0, 0) ON CONFLICT DO NOTHING", in.ID)
	if err != nil {
		return err
	}
	res, err := tx.ExecContext(ctx, `
		UPDATE instances SET name = $2, position = $3, delivered_at = $4, last_change = CASE WHEN last_change > $5 THEN last_change ELSE $5 END
		WHERE instance = $1 AND position = $6 AND delivered_at = $7`,
		in.ID, clean(in.Name), to.position, to.deliveredAt, lastChange, from.position, from.deliveredAt)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		err = errElsewhere
	}
	return err
}

// Apply implements sink.Sink.
func (db *DB) Apply(ctx context.Context, in sink.Instance, b sink.Batch) error {
	if err := db.apply(ctx, in, b); err != nil {
		return fmt.Errorf("%s: write changes: %w", db.name, classify(err))
	}
	return nil
}

func (db *DB) apply(ctx context.Context, in sink.Instance, b sink.Batch) error {
	d := newDelta(in.ID)
	for _, c := range b.Changes {
		if err := d.add(c); err != nil {
			return sink.Permanent(err)
		}
	}
	from, err := db.head(ctx, in.ID)
	if err != nil {
		return err
	}
	to := from.next(b.Position)
	err = db.transact(ctx, db.write, func(tx *sql.Tx) error {
		if err := move(ctx, tx, in, from, to, d.lastChange); err != nil {
			return err
		}
		led, err := db.leadTo(ctx, tx, in.ID, slices.Sorted(maps.Keys(d.relationships)))
		if err != nil {
			return err
		}
		if err := db.store(ctx, tx, d); err != nil {
			return err
		}
		for key, row := range d.entities {
			if row == nil {
				led[key] = true // maybe the mapper makes one now
			}
		}
		for _, row := range d.relationships {
			if row != nil && row[8] != nil {
				led[row[8].(string)] = true
			}
		}
		if err := db.remap(ctx, tx, in.ID, sorted(led), d.shape); err != nil {
			return err
		}
		return db.putShape(ctx, tx, in.ID, d.shape)
	})
	if err == nil {
		db.setHead(in.ID, to)
	}
	return err
}

// leadTo returns the keys of the entities that mapped relationships with these keys
// lead to.
func (db *DB) leadTo(ctx context.Context, on runner, instance string, keys []string) (map[string]bool, error) {
	led := map[string]bool{}
	if len(keys) == 0 {
		return led, nil
	}
	rows, err := on.QueryContext(ctx, "SELECT target_key FROM relationships WHERE instance = $1 AND target_key IS NOT NULL AND key IN ("+db.among("$2")+")",
		instance, db.keys(keys))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return nil, err
		}
		led[key] = true
	}
	return led, rows.Err()
}

// delta is what changes lead to: of each object only the last counts.
type delta struct {
	instance      string
	entities      map[string][]any // rows by key; nil: deleted
	relationships map[string][]any
	shape         shape
	lastChange    int64
}

func newDelta(instance string) *delta {
	return &delta{instance: instance, entities: map[string][]any{}, relationships: map[string][]any{}, shape: newShape()}
}

func (d *delta) add(c graph.Change) error {
	asOf := millis(c.AsOf)
	d.lastChange = max(d.lastChange, asOf)
	of := d.relationships
	if c.Entity != nil {
		of = d.entities
	}
	if c.Op == graph.Delete {
		of[clean(c.Key())] = nil
		return nil
	}
	var row []any
	var err error
	if c.Entity != nil {
		row, err = entityRow(d.instance, *c.Entity, asOf, false)
	} else {
		row, err = relationshipRow(d.instance, *c.Relationship, asOf)
	}
	if err != nil {
		return err
	}
	of[rowKey(row)] = row
	if c.Entity != nil {
		return d.shape.entity(*c.Entity)
	}
	return d.shape.relationship(*c.Relationship)
}

// store brings a delta into the tables.
func (db *DB) store(ctx context.Context, tx *sql.Tx, d *delta) error {
	for _, t := range []struct {
		table
		name  string
		rows  map[string][]any
		guard string
	}{
		{relationships, "relationships", d.relationships, ""},
		{entities, "entities", d.entities, " AND NOT mapped"},
	} {
		var put [][]any
		var gone []string
		for _, key := range slices.Sorted(maps.Keys(t.rows)) {
			if row := t.rows[key]; row != nil {
				put = append(put, row)
			} else {
				gone = append(gone, key)
			}
		}
		if len(gone) > 0 {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+t.name+" WHERE instance = $1 AND key IN ("+db.among("$2")+")"+t.guard, d.instance, db.keys(gone)); err != nil {
				return err
			}
		}
		if err := db.put(ctx, tx, t.table, t.name, put, t.update()); err != nil {
			return err
		}
	}
	return nil
}

// shape is which kinds of objects there are, with which properties.
type shape struct {
	kinds      map[kind]bool
	properties map[property]bool
}

type kind struct {
	typ, classes string
	edge         bool
}

type property struct {
	typ, name string
	list      bool
}

func newShape() shape { return shape{map[kind]bool{}, map[property]bool{}} }

func (s shape) entity(e graph.Entity) error { return s.add(e.Type, e.Class, false, e.Properties) }

func (s shape) relationship(r graph.Relationship) error {
	return s.add(r.Type, []string{r.Class}, true, r.Properties)
}

func (s shape) add(typ string, classes []string, edge bool, p graph.Properties) error {
	text, err := encode(list(classes))
	if err != nil {
		return err
	}
	typ = clean(typ)
	s.kinds[kind{typ, text, edge}] = true
	for name, v := range p {
		if v != nil {
			s.properties[property{typ, clean(name), reflect.TypeOf(v).Kind() == reflect.Slice}] = true
		}
	}
	return nil
}

// putShape adds what is not known yet.
func (db *DB) putShape(ctx context.Context, on runner, instance string, s shape) error {
	rows := [][]any{}
	for k := range s.kinds {
		rows = append(rows, []any{instance, k.typ, k.classes, k.edge})
	}
	if err := db.put(ctx, on, kinds, "kinds", rows, keep); err != nil {
		return err
	}
	rows = rows[:0]
	for p := range s.properties {
		rows = append(rows, []any{instance, p.typ, p.name, p.list})
	}
	return db.put(ctx, on, properties, "properties", rows, keep)
}

// Forget implements sink.Sink.
func (db *DB) Forget(ctx context.Context, id string) error {
	db.mu.Lock()
	delete(db.heads, id)
	db.mu.Unlock()
	err := db.transact(ctx, db.write, func(tx *sql.Tx) error {
		for _, name := range []string{"instances", "entities", "relationships", "kinds", "properties"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+name+" WHERE instance = $1", id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: forget an instance: %w", db.name, classify(err))
	}
	db.checkpoint(ctx)
	return nil
}
