package sqldb_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/j1ql"
	"github.com/oktasync/oktasync/sync/j1ql/j1qltest"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/sqldb"
	"github.com/oktasync/oktasync/sync/sink/sqldb/sqldbtest"
)

// snapshotOf is a graph as a snapshot.
func snapshotOf(g j1qltest.Graph) sink.Snapshot {
	return sink.Snapshot{
		Changes: func(yield func(graph.Change, error) bool) {
			for _, e := range g.Entities {
				if !yield(graph.Change{Op: graph.Create, Object: graph.Object{Entity: &e}}, nil) {
					return
				}
			}
			for _, r := range g.Relationships {
				if !yield(graph.Change{Op: graph.Create, Object: graph.Object{Relationship: &r}}, nil) {
					return
				}
			}
		},
		Position: func() string { return "e:1" },
	}
}

// shown makes cells of both sides comparable: an object is its kind and key.
func shown(rows [][]any) (out []string) {
	for _, row := range rows {
		var cells []any
		for _, v := range row {
			switch v := v.(type) {
			case *j1qltest.Object:
				v2 := map[string]any{"key": v.Key, "edge": v.Edge, "properties": v.Properties}
				cells = append(cells, v2)
			case *j1ql.Element:
				if v == nil {
					cells = append(cells, nil)
					continue
				}
				cells = append(cells, map[string]any{"key": v.ID, "edge": v.Relationship != nil, "properties": v.Properties})
			default:
				cells = append(cells, rounded(v))
			}
		}
		b, err := json.Marshal(cells)
		if err != nil {
			panic(err)
		}
		out = append(out, string(b))
	}
	return out
}

// rounded leaves out what two ways to calculate may not share.
func rounded(v any) any {
	switch v := v.(type) {
	case float64:
		if v != 0 && v != math.Trunc(v) {
			return fmt.Sprintf("%.9g", v)
		}
		return fmt.Sprintf("%.12g", v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = rounded(v[i])
		}
		return out
	}
	return v
}

// check compares the answer of the database with the naive one.
func check(t *rapid.T, ctx context.Context, db *sqldb.DB, g j1qltest.Graph, q *j1ql.Query) {
	t.Helper()
	want, err := j1qltest.Evaluate(g, q)
	if err != nil {
		t.Skip(err)
	}
	st, got, err := db.Cells(ctx, "acme", q)
	query, _ := json.Marshal(q)
	if err != nil {
		t.Fatalf("%v\n%s\n%s %v", err, query, st.SQL, st.Args)
	}
	if w, g := shown(want.Rows), shown(got); st.Type != want.Type || !slices.Equal(w, g) {
		t.Fatalf("%s\n%s %v\nwant %s %q\ngot  %s %q", query, st.SQL, st.Args, want.Type, w, st.Type, g)
	}
}

// Whatever the query and the graph, SQL answers as the naive evaluation does.
func TestQueriesAnswerAsTheNaiveEvaluationDoes(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, target string) {
		db := open(t, target)
		rapid.Check(t, func(rt *rapid.T) {
			g := j1qltest.RandomGraph(rt)
			if err := db.Replace(t.Context(), sink.Instance{ID: "acme"}, snapshotOf(g), true); err != nil {
				rt.Fatal(err)
			}
			for range 20 {
				check(rt, t.Context(), db, g, j1qltest.RandomQuery(rt))
			}
		})
	})
}
