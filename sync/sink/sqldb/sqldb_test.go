package sqldb_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/sqldb"
	"github.com/oktasync/oktasync/sync/sink/sqldb/sqldbtest"
)

var acme = sink.Instance{ID: "acme", Name: "Acme"}

func open(t testing.TB, target string) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(context.Background(), target, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// raw opens a database beside the package.
func raw(t testing.TB, target string) *sql.DB {
	t.Helper()
	driver, source := "pgx", target
	if path, ok := strings.CutPrefix(target, "sql:"); ok {
		driver, source = "sqlite", "file:"+path+"?_busy_timeout=10000"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func entity(key string, p graph.Properties) graph.Object {
	return graph.Object{Entity: &graph.Entity{Key: key, Type: "okta_user", Class: []string{"User"}, Properties: p}}
}

func edge(key, from, to string) graph.Object {
	return graph.Object{Relationship: &graph.Relationship{
		Key: key, Type: "okta_group_has_user", Class: "HAS", From: from, To: to, Properties: graph.Properties{"displayName": "HAS"},
	}}
}

func mapped(key, source, direction string, target graph.Properties, filter ...string) graph.Object {
	return graph.Object{Relationship: &graph.Relationship{
		Key: key, Type: "okta_user_assigned_aws_iam_role", Class: "ASSIGNED", Properties: graph.Properties{"displayName": "ASSIGNED"},
		Mapping: &graph.Mapping{
			SourceEntityKey: source, RelationshipDirection: direction, TargetFilterKeys: [][]string{filter},
			TargetEntity: target, SkipTargetCreation: true,
		},
	}}
}

func create(objects ...graph.Object) []graph.Change { return changes(graph.Create, objects) }
func gone(objects ...graph.Object) []graph.Change   { return changes(graph.Delete, objects) }

func changes(op graph.Op, objects []graph.Object) []graph.Change {
	all := make([]graph.Change, len(objects))
	for i, o := range objects {
		all[i] = graph.Change{Op: op, Object: o, AsOf: time.UnixMilli(1000)}
	}
	return all
}

func snapshot(position string, list []graph.Change) sink.Snapshot {
	return sink.Snapshot{
		Changes: func(yield func(graph.Change, error) bool) {
			for _, c := range list {
				if !yield(c, nil) {
					return
				}
			}
		},
		Position: func() string { return position },
	}
}

func position(t fataler, db *sqldb.DB, in sink.Instance) string {
	t.Helper()
	p, err := db.Position(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func apply(t fataler, db *sqldb.DB, in sink.Instance, position string, list ...graph.Change) {
	t.Helper()
	if err := db.Apply(context.Background(), in, sink.Batch{Changes: list, Position: position}); err != nil {
		t.Fatal(err)
	}
}

func replace(t fataler, db *sqldb.DB, in sink.Instance, s sink.Snapshot) {
	t.Helper()
	if err := db.Replace(context.Background(), in, s, false); err != nil {
		t.Fatal(err)
	}
}

type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// lines is a graph as sorted lines of JSON.
type lines []string

// held reads the graph of an instance through the package.
func held(t fataler, db *sqldb.DB, instance string) lines {
	t.Helper()
	var all lines
	put := func(o graph.Object, err error) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text(t, o))
	}
	last := ""
	ordered := func(key string) {
		if last >= key {
			t.Fatalf("%q comes after %q", key, last)
		}
		last = key
	}
	for e, err := range db.Entities(context.Background(), instance) {
		put(graph.Object{Entity: &e}, err)
		ordered(e.Key)
	}
	last = ""
	for r, err := range db.Relationships(context.Background(), instance) {
		put(graph.Object{Relationship: &r}, err)
		ordered(r.Key)
	}
	slices.Sort(all)
	return all
}

func text(t fataler, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// model is what the database should hold: objects by kind and key.
type model map[string]graph.Object

func name(o graph.Object) string {
	if o.Entity != nil {
		return "entity " + o.Key()
	}
	return "relationship " + o.Key()
}

func (m model) apply(list []graph.Change) {
	for _, c := range list {
		if c.Op == graph.Delete {
			delete(m, name(c.Object))
		} else {
			m[name(c.Object)] = c.Object
		}
	}
}

func (m model) lines(t fataler) lines {
	var all lines
	for _, o := range m {
		all = append(all, text(t, o))
	}
	slices.Sort(all)
	return all
}

// mapper is what the mapper should make: of the keys that relationships lead to
// and no entity has, the entity that the first relationship tells.
func (m model) mapper(t fataler) lines {
	made := map[string]string{}
	for _, n := range slices.Backward(slices.Sorted(maps.Keys(m))) {
		r := m[n].Relationship
		if r == nil || r.Mapping == nil {
			continue
		}
		to := r.Mapping.TargetEntity
		key, ok := to["_key"].(string)
		if !ok {
			key = fmt.Sprintf("%s:%s|%s", to["_type"], to["roleName"], to["tag.AccountName"])
		}
		if _, own := m["entity "+key]; own {
			continue
		}
		p := graph.Properties{}
		for name, v := range to {
			if !strings.HasPrefix(name, "_") {
				p[name] = v
			}
		}
		made[key] = text(t, graph.Entity{Key: key, Type: to["_type"].(string), Class: []string{to["_class"].(string)}, Properties: floats(t, text(t, p))})
	}
	return slices.Sorted(maps.Values(made))
}

// floats reads properties whose numbers PostgreSQL may have written another way.
func floats(t fataler, text string) graph.Properties {
	t.Helper()
	var p map[string]any
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// madeByMapper reads the mapped entities past the package.
func madeByMapper(t fataler, db *sql.DB, instance string) lines {
	t.Helper()
	rows, err := db.Query("SELECT key, type, classes, properties FROM entities WHERE instance = $1 AND mapped", instance)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all lines
	for rows.Next() {
		var e graph.Entity
		var classes, properties string
		if err := rows.Scan(&e.Key, &e.Type, &classes, &properties); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(classes), &e.Class); err != nil {
			t.Fatal(err)
		}
		e.Properties = floats(t, properties)
		all = append(all, text(t, e))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func sameGraph(t fataler, db *sqldb.DB, beside *sql.DB, instance string, want model) {
	t.Helper()
	if diff := cmp.Diff(want.lines(t), held(t, db, instance)); diff != "" {
		t.Fatalf("the graph: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(want.mapper(t), madeByMapper(t, beside, instance)); diff != "" {
		t.Fatalf("what the mapper made: -want +got:\n%s", diff)
	}
	// Both ends of a mapped relationship are in its row.
	var wrong int
	if err := beside.QueryRow(`SELECT count(*) FROM relationships r WHERE instance = $1 AND mapping IS NOT NULL AND (
		from_key <> 'u' AND to_key <> 'u' OR target_key <> from_key AND target_key <> to_key
		OR NOT EXISTS (SELECT 1 FROM entities e WHERE e.instance = r.instance AND e.key = r.target_key))`, instance).Scan(&wrong); err != nil {
		t.Fatal(err)
	}
	if wrong > 0 {
		t.Fatalf("%d mapped relationships lead nowhere", wrong)
	}
	knowsShape(t, beside, instance)
}

// knowsShape fails unless kinds and properties tell of all that is there.
func knowsShape(t fataler, db *sql.DB, instance string) {
	t.Helper()
	for _, q := range []string{
		"SELECT count(*) FROM entities o WHERE instance = $1 AND NOT EXISTS (SELECT 1 FROM kinds k WHERE k.instance = o.instance AND k.type = o.type AND k.classes = o.classes AND NOT k.edge)",
		"SELECT count(*) FROM relationships o WHERE instance = $1 AND NOT EXISTS (SELECT 1 FROM kinds k WHERE k.instance = o.instance AND k.type = o.type AND k.edge)",
	} {
		var unknown int
		if err := db.QueryRow(q, instance).Scan(&unknown); err != nil {
			t.Fatal(err)
		}
		if unknown > 0 {
			t.Fatalf("%d objects are of no known kind: %s", unknown, q)
		}
	}
	known := map[string]bool{}
	rows, err := db.Query("SELECT type, name, is_list FROM properties WHERE instance = $1", instance)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var typ, name string
		var list bool
		if err := rows.Scan(&typ, &name, &list); err != nil {
			t.Fatal(err)
		}
		known[fmt.Sprint(typ, name, list)] = true
	}
	objects, err := db.Query("SELECT type, properties FROM entities WHERE instance = $1 UNION ALL SELECT type, properties FROM relationships WHERE instance = $1", instance)
	if err != nil {
		t.Fatal(err)
	}
	defer objects.Close()
	for objects.Next() {
		var typ, properties string
		if err := objects.Scan(&typ, &properties); err != nil {
			t.Fatal(err)
		}
		var p map[string]any
		if err := json.Unmarshal([]byte(properties), &p); err != nil {
			t.Fatal(err)
		}
		for name, v := range p {
			if _, list := v.([]any); !known[fmt.Sprint(typ, name, list)] {
				t.Fatalf("the property %s of %s is not known", name, typ)
			}
		}
	}
}

var object = rapid.Custom(func(t *rapid.T) graph.Object {
	key := rapid.SampledFrom([]string{"a", "B", "b", "é", "u", "role:1", "aws_iam_role:r|x"}).Draw(t, "key")
	p := graph.Properties{}
	for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"login", "n", "tag.x", `q"'$`}), 0, 3, rapid.ID).Draw(t, "names") {
		p[n] = rapid.SampledFrom([]any{
			"text", "Ж<&>\\u0000", 1, -7, 1.5, 1e21, 3e-7, json.Number("12345678901234567890"), true, []string{"x", "y"}, []any{"x", 1.25, nil, false}, "",
		}).Draw(t, "value")
	}
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0, 1:
		o := entity(key, p)
		if rapid.Bool().Draw(t, "key?") {
			o.Entity.Type, o.Entity.Class = "mfa_device", []string{"Key", "AccessKey"}
		}
		return o
	case 2:
		o := edge("e"+key, "a", "b")
		maps.Copy(o.Relationship.Properties, p)
		return o
	}
	direction := rapid.SampledFrom([]string{"FORWARD", "REVERSE"}).Draw(t, "direction")
	to := graph.Properties{"_type": "aws_iam_role", "_class": "AccessRole", "name": rapid.SampledFrom([]string{"r", "s"}).Draw(t, "role")}
	maps.Copy(to, p)
	if rapid.Bool().Draw(t, "by key") {
		to["_key"] = rapid.SampledFrom([]string{"a", "role:1"}).Draw(t, "target")
		return mapped("m"+key, "u", direction, to, "_type", "_key")
	}
	to["roleName"], to["tag.AccountName"] = "r", rapid.SampledFrom([]string{"x", "y"}).Draw(t, "account")
	return mapped("m"+key, "u", direction, to, "_type", "roleName", "tag.AccountName")
})

var change = rapid.Custom(func(t *rapid.T) graph.Change {
	return graph.Change{
		Op:     rapid.SampledFrom([]graph.Op{graph.Create, graph.Update, graph.Delete}).Draw(t, "op"),
		Object: object.Draw(t, "object"), AsOf: time.UnixMilli(rapid.Int64Range(1, 9).Draw(t, "as of")),
	}
})

var instances atomic.Int64

// Whatever happened, the database holds what a map would.
func TestChangesAndSnapshotsInAnyBatchesHoldTheGraph(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db, beside := open(t, target), raw(t, target)
		untouched := model{}
		untouched.apply(create(entity("a", nil), edge("ea", "a", "b")))
		replace(t, db, acme, snapshot("p", create(entity("a", nil), edge("ea", "a", "b"))))
		rapid.Check(t, func(t *rapid.T) {
			in := sink.Instance{ID: fmt.Sprint("i", instances.Add(1))}
			m := model{}
			step := 0
			var before []graph.Change
			for range rapid.IntRange(1, 5).Draw(t, "steps") {
				list := rapid.SliceOfN(change, 0, 12).Draw(t, "changes")
				step++
				if at := position(t, db, in); step > 1 && at != fmt.Sprint(step-1) {
					t.Fatalf("position %q after step %d", at, step-1)
				}
				switch rapid.IntRange(0, 3).Draw(t, "how") {
				case 0:
					m = model{}
					m.apply(list)
					if err := db.Replace(context.Background(), in, snapshot(fmt.Sprint(step), list), true); err != nil {
						t.Fatal(err)
					}
				case 1: // what came before comes once more, as after a lost answer
					list = append(before, list...)
					fallthrough
				default:
					m.apply(list)
					apply(t, db, in, fmt.Sprint(step), list...)
				}
				before = list
			}
			sameGraph(t, db, beside, in.ID, m)
		})
		sameGraph(t, db, beside, acme.ID, untouched)
	})
}

func TestALargeSnapshotReplacesAnother(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db, beside := open(t, target), raw(t, target)
		for seed := range uint64(2) {
			org := sqldbtest.Org(100, seed)
			m := model{}
			var list []graph.Change
			for c := range org.Changes {
				list = append(list, c)
			}
			list = append(list, gone(entity(sqldbtest.User(7), nil), entity("nobody", nil), edge(sqldbtest.User(7)+"|is|"+sqldbtest.Person(7), "", ""))...)
			list = append(list, create(entity(sqldbtest.User(8), graph.Properties{"login": "anew"}))...)
			m.apply(list)
			replace(t, db, acme, snapshot("p", list))
			if diff := cmp.Diff(m.lines(t), held(t, db, acme.ID)); diff != "" {
				t.Fatalf("-want +got:\n%s", diff)
			}
			knowsShape(t, beside, acme.ID)
			var roles int
			if err := beside.QueryRow("SELECT count(*) FROM entities WHERE mapped AND type = 'aws_iam_role'").Scan(&roles); err != nil || roles == 0 {
				t.Fatalf("%d roles, %v", roles, err)
			}
		}
	})
}

func TestAnEmptySnapshotNeedsForce(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db := open(t, target)
		replace(t, db, acme, snapshot("0", nil)) // nothing was there
		replace(t, db, acme, snapshot("1", create(entity("a", nil))))
		err := db.Replace(t.Context(), acme, snapshot("2", nil), false)
		if err == nil || !isPermanent(err) || !strings.Contains(err.Error(), "force") {
			t.Fatalf("%v", err)
		}
		if got := position(t, db, acme); got != "1" || len(held(t, db, acme.ID)) != 1 {
			t.Fatalf("position %s, graph %s", got, held(t, db, acme.ID))
		}
		if err := db.Replace(t.Context(), acme, snapshot("2", nil), true); err != nil {
			t.Fatal(err)
		}
		if got := position(t, db, acme); got != "2" || len(held(t, db, acme.ID)) != 0 {
			t.Fatalf("position %s, graph %s", got, held(t, db, acme.ID))
		}
	})
}

// isPermanent tells whether sink.Permanent marked the error: of that type there is
// no other way to tell.
func isPermanent(err error) bool {
	want := fmt.Sprintf("%T", sink.Permanent(err))
	for ; err != nil; err = errors.Unwrap(err) {
		if fmt.Sprintf("%T", err) == want {
			return true
		}
	}
	return false
}

func TestForgetLeavesNothingOfTheInstanceAndAllOfOthers(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db, beside := open(t, target), raw(t, target)
		other := sink.Instance{ID: "other"}
		for _, in := range []sink.Instance{acme, other} {
			apply(t, db, in, "1", create(entity("a", graph.Properties{"n": 1}), edge("e", "a", "a"))...)
		}
		if err := db.Forget(t.Context(), acme.ID); err != nil {
			t.Fatal(err)
		}
		if got := position(t, db, acme); got != "" {
			t.Errorf("position %q", got)
		}
		for _, table := range []string{"instances", "entities", "relationships", "kinds", "properties"} {
			var left, others int
			if err := beside.QueryRow("SELECT count(*) FROM " + table + " WHERE instance = 'acme'").Scan(&left); err != nil || left > 0 {
				t.Errorf("%s: %d left, %v", table, left, err)
			}
			if err := beside.QueryRow("SELECT count(*) FROM " + table + " WHERE instance = 'other'").Scan(&others); err != nil || others == 0 {
				t.Errorf("%s: %d of the other, %v", table, others, err)
			}
		}
		apply(t, db, acme, "1", create(entity("a", nil))...)
	})
}

func TestInstancesTellHowFarTheyAre(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db, beside := open(t, target), raw(t, target)
		start := time.Now().UnixMilli()
		at := func(ms int64) graph.Change {
			return graph.Change{Op: graph.Create, Object: entity("a", nil), AsOf: time.UnixMilli(ms)}
		}
		check := func(position string, lastChange int64) {
			t.Helper()
			var gotName, got string
			var delivered, last int64
			if err := beside.QueryRow("SELECT name, position, delivered_at, last_change FROM instances WHERE instance = 'acme'").Scan(&gotName, &got, &delivered, &last); err != nil {
				t.Fatal(err)
			}
			if gotName != "Acme" || got != position || delivered < start || last != lastChange {
				t.Errorf("%s at %s, delivered %d, last change %d, want %d", gotName, got, delivered, last, lastChange)
			}
		}
		replace(t, db, acme, snapshot("1", []graph.Change{at(5), at(3)}))
		check("1", 5)
		apply(t, db, acme, "2", at(4))
		check("2", 5)
		apply(t, db, acme, "3", at(9))
		check("3", 9)
	})
}

// What JSON can say and PostgreSQL cannot hold is held all the same, alike in both.
func TestWhatPostgresCannotHoldIsHeldAlike(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db := open(t, target)
		long := strings.Repeat("Ж", 20_000)
		apply(t, db, acme, "1", create(
			entity("a\x00b", graph.Properties{
				"nul": "x\x00y", "na\x00me": []any{"\x00", map[string]any{"k\x00": "v\x00"}}, "huge": json.Number("1e400"), "tiny": json.Number("1e-30000"),
				"minus": json.Number("-0"), "exact": json.Number("1.0"), "many": json.Number("123456789012345678901234567890"), "backslash": `\u0000`,
				"login": long, "name": long, "status": long,
			}),
			edge("e\x00", "a\x00b", "a\x00b"),
			mapped("m\x00", "a\x00b", "FORWARD", graph.Properties{"_key": "r\x00", "_type": "t", "_class": "C", "n\x00": "\x00"}),
		)...)
		got := held(t, db, acme.ID)
		want := lines{
			`{"entity":{"_class":["User"],"_key":"a�b","_type":"okta_user","backslash":"\\u0000","exact":1,"huge":"1e400","login":"` + long +
				`","many":1.2345678901234568e+29,"minus":0,"name":"` + long + `","na�me":["�",{"k�":"v�"}],"nul":"x�y","status":"` + long + `","tiny":0}}`,
			`{"relationship":{"_class":"ASSIGNED","_key":"m�","_mapping":{"sourceEntityKey":"a�b","relationshipDirection":"FORWARD","targetFilterKeys":[null],"targetEntity":{"_class":"C","_key":"r�","_type":"t","n�":"�"},"skipTargetCreation":true},"_type":"okta_user_assigned_aws_iam_role","displayName":"ASSIGNED"}}`,
			`{"relationship":{"_class":"HAS","_fromEntityKey":"a�b","_key":"e�","_toEntityKey":"a�b","_type":"okta_group_has_user","displayName":"HAS"}}`,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		apply(t, db, acme, "2", gone(entity("a\x00b", nil), edge("e\x00", "", ""), edge("m\x00", "", ""))...)
		if got := held(t, db, acme.ID); len(got) > 0 {
			t.Errorf("left: %s", got)
		}
	})
}

// A PostgreSQL that is not there yet holds nothing else up, and is used once it is.
func TestAPostgresThatIsAwayIsWaitedFor(t *testing.T) {
	var log bytes.Buffer
	db, err := sqldb.Open(t.Context(), "postgres://someone:hunter2@127.0.0.1:1/graph?sslmode=disable", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Position(t.Context(), sink.Instance{ID: "acme"})
	if err == nil || sink.IsPermanent(err) || strings.Contains(err.Error()+log.String(), "hunter2") || !strings.Contains(log.String(), "cannot be reached yet") {
		t.Errorf("error %v, log %s", err, log.String())
	}
}

// More instances than there are connections take snapshots and changes at once.
func TestManyInstancesTakeSnapshotsAtOnce(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db := open(t, target)
		var group errgroup.Group
		for i := range 20 {
			in := sink.Instance{ID: fmt.Sprint("org", i)}
			group.Go(func() error {
				if err := db.Replace(t.Context(), in, sqldbtest.Org(5, uint64(i)), false); err != nil {
					return err
				}
				return db.Apply(t.Context(), in, sink.Batch{Position: "e:2"})
			})
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
}
