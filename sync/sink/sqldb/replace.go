package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oktasync/oktasync/sync/sink"
)

// staged is how many changes are staged at once.
const staged = 2000

// Replace implements sink.Sink. force lets an empty graph take the place of one
// that is not.
func (db *DB) Replace(ctx context.Context, in sink.Instance, s sink.Snapshot, force bool) error {
	if err := db.replace(ctx, in, s, force); err != nil {
		return fmt.Errorf("%s: write a snapshot: %w", db.name, classify(err))
	}
	return nil
}

func (db *DB) replace(ctx context.Context, in sink.Instance, s sink.Snapshot, force bool) error {
	if err := take(ctx, db.replacing); err != nil {
		return err
	}
	defer give(db.replacing)
	from, err := db.head(ctx, in.ID)
	if err != nil {
		return err
	}
	conn, err := db.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() {
		// With the connection its temporary tables end.
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = conn.Close()
	}()
	shape, lastChange, err := db.stage(ctx, conn, in.ID, s)
	if err != nil {
		return err
	}
	to := from.next(s.Position())
	err = db.transact(ctx, conn, func(tx *sql.Tx) error {
		if err := move(ctx, tx, in, from, to, lastChange); err != nil {
			return err
		}
		if !force {
			if err := refuseEmpty(ctx, tx, in.ID); err != nil {
				return err
			}
		}
		for _, do := range []string{
			"DELETE FROM kinds WHERE instance = $1",
			"DELETE FROM properties WHERE instance = $1",
			leave("entities"), leave("relationships"),
		} {
			if _, err := tx.ExecContext(ctx, do, in.ID); err != nil {
				return err
			}
		}
		for _, do := range []string{merge(entities, "entities"), merge(relationships, "relationships")} {
			if _, err := tx.ExecContext(ctx, do); err != nil {
				return err
			}
		}
		return db.putShape(ctx, tx, in.ID, shape)
	})
	if err != nil {
		return err
	}
	db.setHead(in.ID, to)
	if db.postgres {
		if _, err := conn.ExecContext(ctx, "ANALYZE entities, relationships"); err != nil && ctx.Err() == nil {
			db.log.Warn("the statistics of the database were not renewed: queries may be slow", "err", err)
		}
	}
	db.checkpoint(ctx)
	return nil
}

// checkpoint brings all that was written into SQLite's file itself, and empties the
// log beside it, which still knows what was deleted. A reader may be in the way: it is
// tried again for as long as a query may take, and others write in between.
func (db *DB) checkpoint(ctx context.Context) {
	if db.postgres {
		return
	}
	for end := time.Now().Add(db.QueryTime + checkpointTimeout); ; {
		empty, err := db.emptyLog(ctx)
		switch {
		case empty || ctx.Err() != nil:
			return
		case err != nil || time.Now().After(end):
			db.log.Warn("SQLite's log was not emptied: what was deleted is in the file named -wal until the next snapshot, or the end of the service", "sink", db.name, "err", err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(checkpointTimeout / 20): // another process may be at it
		}
	}
}

// emptyLog tells whether the log is empty now.
func (db *DB) emptyLog(ctx context.Context) (bool, error) {
	if err := take(ctx, db.writing); err != nil {
		return false, err
	}
	defer give(db.writing)
	conn, err := db.write.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, fmt.Sprint("PRAGMA busy_timeout = ", checkpointTimeout.Milliseconds())); err != nil {
		return false, err
	}
	var busy, pages, moved int
	err = conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
	_, reset := conn.ExecContext(context.WithoutCancel(ctx), fmt.Sprint("PRAGMA busy_timeout = ", busyTimeout.Milliseconds()))
	return err == nil && busy == 0, errors.Join(err, reset)
}

// stage reads a snapshot into temporary tables of the connection. They take
// rows as they come, numbered by when; that is much faster than to look for each
// whether it is there. In the end the last of each key stays.
func (db *DB) stage(ctx context.Context, conn *sql.Conn, instance string, s sink.Snapshot) (shape shape, lastChange int64, err error) {
	exec := func(statements ...string) error {
		for _, do := range statements {
			if _, err := conn.ExecContext(ctx, do); err != nil {
				return err
			}
		}
		return nil
	}
	if err := exec(
		"CREATE TEMPORARY TABLE staged_entities AS SELECT *, as_of AS seq FROM entities WHERE FALSE",
		"CREATE TEMPORARY TABLE staged_relationships AS SELECT *, as_of AS seq FROM relationships WHERE FALSE",
	); err != nil {
		return shape, 0, err
	}
	d, seq := newDelta(instance), int64(0)
	flush := func() error {
		seq++
		err := db.append(ctx, conn, entities, "staged_entities", d.entities, seq, instance)
		if err == nil {
			err = db.append(ctx, conn, relationships, "staged_relationships", d.relationships, seq, instance)
		}
		clear(d.entities)
		clear(d.relationships)
		return err
	}
	for c, err := range s.Changes {
		if err == nil {
			if err = d.add(c); err != nil {
				err = sink.Permanent(err)
			}
		}
		if err == nil && len(d.entities)+len(d.relationships) >= staged {
			err = flush()
		}
		if err != nil {
			return shape, 0, err
		}
	}
	if err := flush(); err != nil {
		return shape, 0, err
	}
	if err := exec(last("staged_entities")...); err != nil {
		return shape, 0, err
	}
	if err := exec(last("staged_relationships")...); err != nil {
		return shape, 0, err
	}
	if err := exec("CREATE INDEX staged_relationships_target ON staged_relationships (instance, target_key, key) WHERE target_key IS NOT NULL"); err != nil {
		return shape, 0, err
	}
	seq++
	for after := ""; ; {
		keys, err := targetsAfter(ctx, conn, instance, after)
		if err != nil {
			return shape, 0, err
		}
		if len(keys) == 0 {
			break
		}
		made, err := db.targets(ctx, conn, "staged_", instance, keys, d.shape)
		if err != nil {
			return shape, 0, err
		}
		rows := map[string][]any{}
		for _, row := range made {
			rows[rowKey(row)] = row
		}
		if err := db.append(ctx, conn, entities, "staged_entities", rows, seq, instance); err != nil {
			return shape, 0, err
		}
		after = keys[len(keys)-1]
	}
	if db.postgres {
		err = exec("ANALYZE staged_entities", "ANALYZE staged_relationships")
	}
	return d.shape, d.lastChange, err
}

// append adds rows to a staging table; of one that is deleted only its key.
func (db *DB) append(ctx context.Context, conn *sql.Conn, t table, into string, rows map[string][]any, seq int64, instance string) error {
	all := make([][]any, 0, len(rows))
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		row := rows[key]
		if row == nil {
			row = make([]any, len(t.columns))
			row[0], row[1] = instance, key
		}
		all = append(all, append(row, seq))
	}
	numbered := table{append(slices.Clone(t.columns), "seq"), append(slices.Clone(t.types), "bigint")}
	return db.put(ctx, conn, numbered, into, all, "")
}

// last leaves in a staging table of each key the last row, or none if that deleted it.
func last(table string) []string {
	return []string{
		fmt.Sprintf("CREATE INDEX %s_key ON %s (key, seq)", table, table),
		fmt.Sprintf(`DELETE FROM %[1]s WHERE (key, seq) IN (
			SELECT s.key, s.seq FROM %[1]s s JOIN (
				SELECT key, max(seq) AS seq FROM %[1]s GROUP BY key HAVING count(*) > 1
			) l ON s.key = l.key AND s.seq < l.seq)`, table),
		"DELETE FROM " + table + " WHERE type IS NULL",
	}
}

// targetsAfter returns the next keys that staged relationships map to.
func targetsAfter(ctx context.Context, conn *sql.Conn, instance, after string) ([]string, error) {
	rows, err := conn.QueryContext(ctx, fmt.Sprintf(`SELECT DISTINCT target_key FROM staged_relationships
		WHERE instance = $1 AND target_key > $2 ORDER BY target_key LIMIT %d`, staged), instance, after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var keys []string
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, rows.Err()
}

// refuseEmpty guards a graph against a snapshot without entities.
func refuseEmpty(ctx context.Context, tx *sql.Tx, instance string) error {
	var empty, holds bool
	if err := tx.QueryRowContext(ctx, `SELECT NOT EXISTS (SELECT 1 FROM staged_entities WHERE NOT mapped),
		EXISTS (SELECT 1 FROM entities WHERE instance = $1 AND NOT mapped)`, instance).Scan(&empty, &holds); err != nil {
		return err
	}
	if empty && holds {
		return sink.Permanent(errors.New("the snapshot has no entities, but the database has: if the org is empty indeed, ask for a snapshot with force"))
	}
	return nil
}

// leave deletes the rows of an instance that are not staged.
func leave(table string) string {
	return fmt.Sprintf("DELETE FROM %s WHERE instance = $1 AND NOT EXISTS (SELECT 1 FROM staged_%s s WHERE s.instance = %s.instance AND s.key = %s.key)", table, table, table, table)
}

// merge brings the staged rows that differ into a table. One that is only as of
// another time does not: as of when it was seen says nothing of when it changed.
func merge(t table, name string) string {
	columns := strings.Join(t.columns, ", ")
	var differ []string
	for _, c := range t.columns[2:] {
		if c != "as_of" {
			differ = append(differ, "s."+c+" IS DISTINCT FROM t."+c)
		}
	}
	return fmt.Sprintf("INSERT INTO %s (%s) SELECT s.%s FROM staged_%s s LEFT JOIN %s t ON t.instance = s.instance AND t.key = s.key WHERE t.key IS NULL OR %s ORDER BY s.key %s",
		name, columns, strings.Join(t.columns, ", s."), name, name, strings.Join(differ, " OR "), t.update())
}
