package judge_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/j1ql"
	"github.com/oktasync/oktasync/sync/j1ql/j1qltest"
	"github.com/oktasync/oktasync/sync/j1ql/j1qltest/judge"
)

// positions are not compared: the random query has none.
var positions = cmp.Comparer(func(a, b j1ql.Pos) bool { return true })

func TestRandomQueryReadsBackFromItsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := judge.RandomQuery(t, judge.RandomGraph(t))
		text := j1qltest.Print(q)
		parsed, err := j1ql.Parse(text)
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		bound, err := j1ql.Bind(parsed, nil, time.Time{})
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		if diff := cmp.Diff(q, bound, positions, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s\n-random +parsed:\n%s", text, diff)
		}
	})
}

// What is counted is what is listed.
func TestCountsAgreeWithLists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := judge.RandomGraph(t)
		q := judge.RandomQuery(t, g)
		b := q.Start.Binding
		q.Unique, q.OrderBy, q.Skip, q.Limit = false, nil, 0, 10_000
		q.Return = nil
		list := answer(t, g, q)
		q.Return = &j1ql.Return{Columns: []j1ql.Column{{Name: "n", Expr: j1ql.Expr{Call: &j1ql.Call{Func: "COUNT", Args: []j1ql.Expr{{Object: &b}}}}}}}
		if n := answer(t, g, q).Rows[0][0]; n != float64(len(list.Rows)) {
			t.Fatalf("%s: %v, but the list has %d", j1qltest.Print(q), n, len(list.Rows))
		}
		q.Return = &j1ql.Return{Columns: []j1ql.Column{{Name: "key", Expr: j1ql.Expr{Property: &j1ql.Property{Binding: b, Name: "_key"}}}}}
		q.Unique = true
		if n := len(answer(t, g, q).Rows); n != len(list.Rows) {
			t.Fatalf("%s: %d, but the list has %d", j1qltest.Print(q), n, len(list.Rows))
		}
	})
}

// A condition and its negation share nothing and leave nothing out.
func TestConditionAndItsNegationPartTheAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := judge.RandomGraph(t)
		q := judge.RandomQuery(t, g)
		q.Return, q.Unique, q.OrderBy, q.Skip, q.Limit = nil, false, nil, 0, 10_000
		q.Steps, q.Where = nil, nil
		c := comparison(q.Start.Filter)
		q.Start.Filter = &j1ql.Filter{Compare: &c}
		with := answer(t, g, q)
		c.Op.Not = !c.Op.Not
		without := answer(t, g, q)
		q.Start.Filter = nil
		if all := answer(t, g, q); len(with.Rows)+len(without.Rows) != len(all.Rows) {
			t.Fatalf("%s: %d and %d of %d", j1qltest.Print(q), len(with.Rows), len(without.Rows), len(all.Rows))
		}
	})
}

// comparison returns the first one of a filter, or one of our own.
func comparison(f *j1ql.Filter) j1ql.Comparison {
	for f != nil {
		switch {
		case f.Compare != nil:
			return *f.Compare
		case len(f.And) > 0:
			f = &f.And[0]
		default:
			f = &f.Or[0]
		}
	}
	return j1ql.Comparison{Property: j1ql.Property{Binding: j1ql.None, Name: "name"}, Op: j1ql.Op{Kind: j1ql.Contains}, Values: []j1ql.Value{{Kind: j1ql.Text, Text: "a"}}}
}

func answer(t *rapid.T, g judge.Graph, q *j1ql.Query) judge.Answer {
	a, err := judge.Evaluate(g, q)
	if err != nil {
		t.Fatalf("%s: %v", j1qltest.Print(q), err)
	}
	return a
}

// asked is a random query with its graph.
type asked struct {
	graph judge.Graph
	query *j1ql.Query
}

var random = rapid.Custom(func(t *rapid.T) asked {
	g := judge.RandomGraph(t)
	return asked{g, judge.RandomQuery(t, g)}
})

func TestRandomQueriesUseTheWholeLanguageAndMostlyFindSomething(t *testing.T) {
	const queries = 1000
	seen := map[string]int{}
	found := 0
	for seed := range queries {
		a := random.Example(seed)
		got, err := judge.Evaluate(a.graph, a.query)
		if err != nil {
			t.Fatalf("%s: %v", j1qltest.Print(a.query), err)
		}
		if len(got.Rows) > 0 {
			found++
		}
		seen[got.Type]++
		note(seen, a.query)
	}
	for _, want := range []string{
		"list", "table", "tree", "unique", "skip", "limit", "many orders", "descending", "order by column", "order by property",
		"all", "class", "type", "several names", "text", "verb", "several verbs", "any verb", "either", "forward", "backward",
		"negated", "negated in the middle", "optional", "optional of several", "optional in optional", "edge property",
		"two properties", "and", "or", "list of values", "list of all values", "not", "undefined", "regexp", "fold", "boolean",
		"= number", "= text", "~= text", "^= text", "$= text", "<", "<=", ">", ">=", "object", "all properties", "aggregate alone", "aggregate by columns",
		"COUNT", "MIN", "MAX", "AVG", "SUM", "ABS", "SQRT", "CEIL", "FLOOR", "ROUND", "CONCAT", "COALESCE", "MERGE", "+", "-", "*", "/", "^",
	} {
		if seen[want] == 0 {
			t.Errorf("no query has: %s", want)
		}
	}
	if found < queries*2/5 {
		t.Errorf("%d of %d queries find something", found, queries)
	}
}

// note counts what the query has.
func note(seen map[string]int, q *j1ql.Query) {
	has := func(what string, is bool) {
		if is {
			seen[what]++
		}
	}
	has("unique", q.Unique)
	has("skip", q.Skip > 0)
	has("limit", q.Limit > 0)
	has("many orders", len(q.OrderBy) > 1)
	for _, o := range q.OrderBy {
		has("descending", o.Desc)
		has("order by column", o.Property == nil)
		has("order by property", o.Property != nil)
	}
	edges := map[j1ql.Binding]bool{}
	var filter func(f *j1ql.Filter)
	filter = func(f *j1ql.Filter) {
		if f == nil {
			return
		}
		has("and", f.And != nil)
		has("or", f.Or != nil)
		for _, part := range append(f.And, f.Or...) {
			filter(&part)
		}
		if f.Compare == nil {
			return
		}
		c := f.Compare
		has("edge property", edges[c.Property.Binding])
		has("two properties", c.Other != nil)
		has("list of values", len(c.Values) > 1 && !c.All)
		has("list of all values", c.All)
		has("not", c.Op.Not)
		seen[string(c.Op.Kind)]++
		for _, v := range c.Values {
			seen[string(c.Op.Kind)+" "+map[j1ql.ValueKind]string{j1ql.Number: "number", j1ql.Text: "text"}[v.Kind]]++
			has("undefined", v.Kind == j1ql.Undefined)
			has("boolean", v.Kind == j1ql.Boolean)
			has("regexp", v.Kind == j1ql.Regexp)
			has("fold", v.Fold)
		}
	}
	node := func(n j1ql.Node) {
		has("all", n.All)
		has("text", n.Text != "")
		has("several names", len(n.Names) > 1)
		has("class", len(n.Names) == 1 && strings.ToLower(n.Names[0]) != n.Names[0])
		has("type", len(n.Names) == 1 && strings.ToLower(n.Names[0]) == n.Names[0])
		filter(n.Filter)
	}
	var steps func(list []j1ql.Step, optional bool)
	steps = func(list []j1ql.Step, optional bool) {
		for i, s := range list {
			if s.Optional != nil {
				has("optional", true)
				has("optional of several", len(s.Optional.Steps) > 1)
				has("optional in optional", optional)
				steps(s.Optional.Steps, true)
				continue
			}
			edges[s.That.Edge] = !s.That.Negated
			has("negated", s.That.Negated)
			has("negated in the middle", s.That.Negated && i < len(list)-1)
			has("any verb", s.That.Verbs == nil)
			has("verb", len(s.That.Verbs) == 1)
			has("several verbs", len(s.That.Verbs) > 1)
			seen[[]string{"either", "forward", "backward"}[s.That.Direction]]++
			node(s.That.Node)
		}
	}
	node(q.Start)
	steps(q.Steps, false)
	filter(q.Where)
	if q.Return == nil {
		return
	}
	aggregates := 0
	for _, c := range q.Return.Columns {
		before := seen["COUNT"] + seen["MIN"] + seen["MAX"] + seen["AVG"] + seen["SUM"]
		noteExpr(seen, c.Expr)
		if seen["COUNT"]+seen["MIN"]+seen["MAX"]+seen["AVG"]+seen["SUM"] > before {
			aggregates++
		}
	}
	has("aggregate alone", aggregates > 0 && aggregates == len(q.Return.Columns))
	has("aggregate by columns", aggregates > 0 && aggregates < len(q.Return.Columns))
}

func noteExpr(seen map[string]int, e j1ql.Expr) {
	switch {
	case e.Object != nil:
		seen["object"]++
	case e.All != nil:
		seen["all properties"]++
	case e.Call != nil:
		seen[e.Call.Func]++
		for _, arg := range e.Call.Args {
			noteExpr(seen, arg)
		}
	case e.Binary != nil:
		seen[string(e.Binary.Op)]++
		noteExpr(seen, e.Binary.Left)
		noteExpr(seen, e.Binary.Right)
	}
}

// The graphs have what engines stumble over.
func TestRandomGraphsHoldTheOddCases(t *testing.T) {
	seen := map[string]int{}
	kinds := map[string]map[string]bool{} // of values, by the name of the property
	for seed := range 200 {
		g := random.Example(seed).graph
		if n := len(g.Entities); n < 3 || n > 25 {
			t.Fatalf("%d entities", n)
		}
		keys := map[string]bool{}
		for _, e := range g.Entities {
			keys[e.Key] = true
			seen[e.Type]++
			for name, v := range e.Properties {
				if kinds[name] == nil {
					kinds[name] = map[string]bool{}
				}
				kinds[name][fmt.Sprint(reflect.TypeOf(v))] = true
			}
		}
		pairs := map[string]string{}
		for _, r := range g.Relationships {
			switch {
			case r.Mapping != nil:
				seen["mapped "+r.Mapping.RelationshipDirection]++
				if r.Mapping.TargetEntity["_key"] == nil {
					seen["mapped by properties"]++
				}
				continue
			case r.From == r.To:
				seen["loop"]++
			case !keys[r.From] || !keys[r.To]:
				seen["dangling"]++
			}
			if verb := pairs[r.From+" "+r.To]; verb != "" && verb != r.Class {
				seen["parallel"]++
			}
			if pairs[r.To+" "+r.From] != "" {
				seen["both ways"]++
			}
			pairs[r.From+" "+r.To] = r.Class
		}
	}
	for _, want := range []string{
		"okta_user", "employee", "okta_user_group", "okta_app_user_group", "okta_application", "mfa_device", "okta_account", "okta_service", "aws_iam_role",
		"mapped FORWARD", "mapped REVERSE", "mapped by properties", "loop", "dangling", "parallel", "both ways",
	} {
		if seen[want] == 0 {
			t.Errorf("no graph has: %s", want)
		}
	}
	for name, types := range kinds {
		for _, want := range []string{"string", "int", "float64", "bool", "[]interface {}", "<nil>"} {
			if !types[want] {
				t.Errorf("%s is never a %s", name, want)
			}
		}
	}
}

func TestDiffTellsAnswersApart(t *testing.T) {
	e := graph.Entity{Key: "k", Type: "t", Class: []string{"C"}, Properties: graph.Properties{"n": 1, "none": nil}}
	o := &judge.Object{Key: "k", Entity: &e}
	same := graph.Entity{Key: "k", Type: "t", Class: []string{"C"}, Properties: graph.Properties{"n": 1.0}}
	other := graph.Entity{Key: "k", Type: "t", Class: []string{"C"}, Properties: graph.Properties{"n": 2}}
	edge := &judge.Object{Key: "k", Relationship: &graph.Relationship{Key: "k", Type: "t", Class: "C"}}
	table := func(cells ...any) judge.Answer {
		return judge.Answer{Type: "table", Columns: []string{"a"}, Rows: [][]any{cells}}
	}
	for _, equal := range [][2]judge.Answer{
		{table(1), table(1.0)}, {table(0.1 + 0.2), table(0.3)}, {table(nil), table((*judge.Object)(nil))},
		{table([]any{1, "a"}), table([]any{1.0, "a"})}, {table(map[string]any{"a": nil}), table(map[string]any{})},
		{table(o), table(&judge.Object{Key: "k", Entity: &same})},
		{judge.Answer{Type: "list", Columns: []string{"u"}}, judge.Answer{Type: "list"}},
	} {
		if diff := judge.Diff(equal[0], equal[1]); diff != "" {
			t.Errorf("%v and %v differ: %s", equal[0], equal[1], diff)
		}
	}
	for _, unequal := range [][2]judge.Answer{
		{table(1), table("1")}, {table(1), table(1.00001)}, {table(true), table("true")}, {table(nil), table(0)}, {table(""), table(nil)},
		{table([]any{1, 2}), table([]any{2, 1})}, {table([]any{}), table(nil)}, {table(map[string]any{"a": 1}), table(map[string]any{"b": 1})},
		{table(o), table(edge)}, {table(o), table(&judge.Object{Key: "k", Entity: &other})}, {table(o), table("k")}, {table(o), table(nil)},
		{table(1), table(1, 2)}, {table(1), judge.Answer{Type: "table", Columns: []string{"a"}}},
		{judge.Answer{Type: "table", Columns: []string{"a"}}, table(1)},
		{judge.Answer{Type: "list"}, judge.Answer{Type: "tree"}}, {table(1), judge.Answer{Type: "table", Columns: []string{"b"}, Rows: [][]any{{1}}}},
	} {
		if judge.Diff(unequal[0], unequal[1]) == "" {
			t.Errorf("%v and %v are equal", unequal[0], unequal[1])
		}
	}
}
