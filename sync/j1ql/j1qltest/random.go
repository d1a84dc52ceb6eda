package j1qltest

import (
	"fmt"

	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/j1ql"
)

var types = []struct {
	name    string
	classes []string
}{
	{"okta_user", []string{"User"}},
	{"employee", []string{"Person"}},
	{"okta_user_group", []string{"UserGroup"}},
	{"okta_application", []string{"Application"}},
	{"mfa_device", []string{"Key", "AccessKey"}},
	{"okta_service", []string{"Service", "Control"}},
}

var (
	names = []string{"email", "login", "displayName", "status", "active", "n", "tag.AccountName", "cost-center"}
	texts = []string{"", "a", "A", "ab", "abc", "a@b.com", "5", "true", "null", "ü", "it's \"q\"", `100%_\`, "x,y", "日本"}
	nums  = []float64{-1.5, 0, 1, 2, 5, 1700000000000}
	verbs = []string{"HAS", "IS", "ASSIGNED"}
)

func scalar(t *rapid.T) any {
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		return rapid.SampledFrom(nums).Draw(t, "number")
	case 1:
		return rapid.Bool().Draw(t, "boolean")
	}
	return rapid.SampledFrom(texts).Draw(t, "text")
}

func properties(t *rapid.T) graph.Properties {
	p := graph.Properties{}
	for _, name := range names {
		switch rapid.IntRange(0, 9).Draw(t, "form") {
		case 0, 1:
		case 2:
			list := []any{}
			for range rapid.IntRange(0, 3).Draw(t, "elements") {
				list = append(list, scalar(t))
			}
			p[name] = list
		default:
			p[name] = scalar(t)
		}
	}
	return p
}

// RandomGraph draws a small graph whose properties have few values.
func RandomGraph(t *rapid.T) Graph {
	var g Graph
	n := rapid.IntRange(2, 12).Draw(t, "entities")
	for i := range n {
		kind := rapid.SampledFrom(types).Draw(t, "type")
		g.Entities = append(g.Entities, graph.Entity{Key: fmt.Sprintf("%c%d", 'z'-rune(i%3), i), Type: kind.name, Class: kind.classes, Properties: properties(t)})
	}
	for i := range rapid.IntRange(0, 3*n).Draw(t, "relationships") {
		end := func(label string) string {
			if rapid.IntRange(0, 15).Draw(t, "dangling") == 0 {
				return "nobody"
			}
			return g.Entities[rapid.IntRange(0, n-1).Draw(t, label)].Key
		}
		verb := rapid.SampledFrom(verbs).Draw(t, "verb")
		p := graph.Properties{}
		if rapid.Bool().Draw(t, "property") {
			p["n"] = rapid.SampledFrom(nums).Draw(t, "n")
		}
		if rapid.Bool().Draw(t, "property") {
			p["email"] = rapid.SampledFrom(texts).Draw(t, "email")
		}
		g.Relationships = append(g.Relationships, graph.Relationship{Key: fmt.Sprintf("r%d", i), Type: "edge_" + verb, Class: verb, From: end("from"), To: end("to"), Properties: p})
	}
	return g
}

// drawer draws a query.
type drawer struct {
	*rapid.T
	next  j1ql.Binding
	edges map[j1ql.Binding]bool
	depth int
}

// RandomQuery draws a query of all that the language has.
func RandomQuery(t *rapid.T) *j1ql.Query {
	d := &drawer{T: t, edges: map[j1ql.Binding]bool{}}
	q := &j1ql.Query{Start: d.node(true)}
	q.Steps = d.chain(rapid.IntRange(0, 3).Draw(t, "steps"))
	if d.chance(3, "where") {
		where := d.filter(true, 2)
		q.Where = &where
	}
	d.answer(q)
	if d.chance(4, "skip") {
		q.Skip = rapid.IntRange(0, 3).Draw(t, "skip")
	}
	if d.chance(3, "limit") {
		q.Limit = rapid.IntRange(1, 5).Draw(t, "limit")
	}
	return q
}

// chance is true once in n times.
func (d *drawer) chance(n int, label string) bool {
	return rapid.IntRange(1, n).Draw(d.T, label) == n
}

func (d *drawer) bind() j1ql.Binding {
	d.next++
	return d.next - 1
}

func (d *drawer) any() j1ql.Binding {
	return j1ql.Binding(rapid.IntRange(0, int(d.next)-1).Draw(d.T, "binding"))
}

func (d *drawer) node(binds bool) j1ql.Node {
	n := j1ql.Node{Binding: j1ql.None}
	if binds {
		n.Binding = d.bind()
	}
	switch rapid.IntRange(0, 9).Draw(d.T, "node") {
	case 0, 1, 2:
		n.All = true
	case 3:
		n.Text = rapid.SampledFrom([]string{"a", "AB", "5", "ü", "%"}).Draw(d.T, "text")
	default:
		for range rapid.IntRange(1, 2).Draw(d.T, "names") {
			n.Names = append(n.Names, rapid.SampledFrom([]string{"User", "Person", "UserGroup", "Key", "Control", "okta_user", "employee", "mfa_device", "okta_application", "Nothing", "nothing"}).Draw(d.T, "name"))
		}
	}
	if d.chance(3, "with") {
		filter := d.filter(false, 2)
		n.Filter = &filter
	}
	return n
}

func (d *drawer) chain(n int) (steps []j1ql.Step) {
	for i := range n {
		if d.depth < 2 && d.chance(5, "optional") {
			d.depth++
			steps = append(steps, j1ql.Step{Optional: &j1ql.Optional{Steps: d.inner(), Binding: d.bind()}})
			d.depth--
			continue
		}
		steps = append(steps, j1ql.Step{That: d.that(d.chance(5, "negated") && (d.depth == 0 || i > 0))})
	}
	return steps
}

// inner draws the steps of an optional part; the first is no negation.
func (d *drawer) inner() []j1ql.Step {
	steps := []j1ql.Step{{That: d.that(false)}}
	return append(steps, d.chain(rapid.IntRange(0, 1).Draw(d.T, "more"))...)
}

func (d *drawer) that(negated bool) *j1ql.That {
	t := &j1ql.That{Negated: negated, Edge: j1ql.None, Direction: j1ql.Direction(rapid.IntRange(0, 2).Draw(d.T, "direction"))}
	if !negated {
		t.Edge = d.bind()
		d.edges[t.Edge] = true
	}
	if !d.chance(3, "relates") {
		t.Verbs = rapid.SliceOfNDistinct(rapid.SampledFrom(append([]string{"NEVER"}, verbs...)), 1, 2, rapid.ID[string]).Draw(d.T, "verbs")
	}
	t.Node = d.node(!negated)
	return t
}

func (d *drawer) name() string {
	return rapid.SampledFrom(append([]string{"_key", "_type", "_class", "_id", "_fromEntityKey", "_version", "missing"}, names...)).Draw(d.T, "property")
}

func (d *drawer) filter(where bool, depth int) j1ql.Filter {
	if depth > 0 && d.chance(3, "joined") {
		parts := []j1ql.Filter{d.filter(where, depth-1), d.filter(where, depth-1)}
		if d.chance(2, "or") {
			return j1ql.Filter{Or: parts}
		}
		return j1ql.Filter{And: parts}
	}
	c := &j1ql.Comparison{Property: j1ql.Property{Binding: j1ql.None, Name: d.name()}}
	if where {
		c.Property.Binding = d.any()
	}
	c.Op.Not = d.chance(3, "not")
	c.Op.Kind = rapid.SampledFrom([]j1ql.OpKind{j1ql.Equal, j1ql.Equal, j1ql.Equal, j1ql.Less, j1ql.LessEqual, j1ql.Greater, j1ql.GreaterEqual, j1ql.Contains, j1ql.StartsWith, j1ql.EndsWith}).Draw(d.T, "operator")
	ordered := c.Op.Kind[0] == '<' || c.Op.Kind[0] == '>'
	if ordered {
		c.Op.Not = false
	}
	if where && d.chance(3, "other") {
		c.Other = &j1ql.Property{Binding: d.any(), Name: d.name()}
		return j1ql.Filter{Compare: c}
	}
	for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(d.T, "values") {
		c.Values = append(c.Values, d.value(c.Op.Kind, ordered))
	}
	c.All = len(c.Values) > 1 && d.chance(2, "all")
	return j1ql.Filter{Compare: c}
}

func (d *drawer) value(kind j1ql.OpKind, ordered bool) j1ql.Value {
	number := j1ql.Value{Kind: j1ql.Number, Number: rapid.SampledFrom(nums).Draw(d.T, "number")}
	if ordered {
		return number
	}
	text := j1ql.Value{Kind: j1ql.Text, Text: rapid.SampledFrom(append([]string{"User", "okta_user", "z0", "Person"}, texts...)).Draw(d.T, "text")}
	choice := rapid.IntRange(0, 6).Draw(d.T, "value")
	switch {
	case choice == 0:
		return j1ql.Value{Kind: j1ql.Regexp, Text: rapid.SampledFrom([]string{"a", "^a", "b$", "[a-c]+", "a|5", `\d`, `\.`, "ü?", "(a)(b)", "a{1,2}", "", `\bab?\b`, `[^a]`, "日."}).Draw(d.T, "pattern"), Fold: d.chance(2, "fold")}
	case kind != j1ql.Equal || choice > 3:
		return text
	case choice == 1:
		return number
	case choice == 2:
		return j1ql.Value{Kind: j1ql.Boolean, Boolean: d.chance(2, "boolean")}
	}
	return j1ql.Value{Kind: j1ql.Undefined}
}

// answer draws what the query returns, and in which order.
func (d *drawer) answer(q *j1ql.Query) {
	selected := q.Start.Binding
	switch form := rapid.IntRange(0, 9).Draw(d.T, "answer"); {
	case form < 2:
	case form == 2:
		q.Return = &j1ql.Return{Tree: true}
		return
	case form == 3:
		selected = d.any()
		q.Return = &j1ql.Return{Columns: []j1ql.Column{{Name: "x", Expr: j1ql.Expr{Object: &selected}}}}
	default:
		d.columns(q)
		return
	}
	if d.chance(2, "order") {
		q.OrderBy = []j1ql.Order{{Property: &j1ql.Property{Binding: selected, Name: d.name()}, Desc: d.chance(2, "desc")}}
	}
}

func (d *drawer) columns(q *j1ql.Query) {
	q.Return = &j1ql.Return{}
	grouped := d.chance(3, "grouped")
	for i := range rapid.IntRange(1, 3).Draw(d.T, "columns") {
		var e j1ql.Expr
		switch b := d.any(); {
		case grouped && (i == 0 || d.chance(2, "aggregate")):
			e = d.aggregate()
		case d.chance(5, "object"):
			e.Object = &b
		case d.chance(8, "all properties"):
			e.All = &b
		default:
			e = d.expr(2)
		}
		q.Return.Columns = append(q.Return.Columns, j1ql.Column{Name: fmt.Sprint("c", i), Expr: e})
	}
	if len(q.Return.Columns) == 1 && q.Return.Columns[0].Expr.Object != nil {
		return
	}
	q.Unique = d.chance(4, "unique")
	for range rapid.IntRange(0, 2).Draw(d.T, "order") {
		o := j1ql.Order{Column: rapid.IntRange(0, len(q.Return.Columns)-1).Draw(d.T, "column"), Desc: d.chance(2, "desc")}
		if !grouped && !q.Unique && d.chance(2, "by property") {
			o.Property = &j1ql.Property{Binding: d.any(), Name: d.name()}
		}
		q.OrderBy = append(q.OrderBy, o)
	}
}

func (d *drawer) property() j1ql.Expr {
	return j1ql.Expr{Property: &j1ql.Property{Binding: d.any(), Name: d.name()}}
}

func (d *drawer) aggregate() j1ql.Expr {
	f := rapid.SampledFrom([]string{"COUNT", "COUNT", "MIN", "MAX", "AVG", "SUM"}).Draw(d.T, "aggregate")
	arg := d.property()
	if f == "COUNT" && d.chance(2, "of objects") {
		b := d.any()
		arg = j1ql.Expr{Object: &b}
	}
	e := j1ql.Expr{Call: &j1ql.Call{Func: f, Args: []j1ql.Expr{arg}}}
	if d.chance(4, "arithmetic") {
		two := 2.0
		return j1ql.Expr{Binary: &j1ql.Binary{Op: '*', Left: e, Right: j1ql.Expr{Number: &two}}}
	}
	return e
}

func (d *drawer) expr(depth int) j1ql.Expr {
	choice := rapid.IntRange(0, 9).Draw(d.T, "expression")
	if depth == 0 || choice < 5 {
		return d.property()
	}
	switch choice {
	case 5:
		n := rapid.SampledFrom([]float64{0, 1, 2, 0.5}).Draw(d.T, "literal")
		return j1ql.Expr{Binary: &j1ql.Binary{Op: rapid.SampledFrom([]byte("+-*/^")).Draw(d.T, "op"), Left: d.expr(depth - 1), Right: j1ql.Expr{Number: &n}}}
	case 6:
		text := rapid.SampledFrom(texts).Draw(d.T, "literal")
		return j1ql.Expr{Text: &text}
	case 7:
		return j1ql.Expr{Call: &j1ql.Call{Func: rapid.SampledFrom([]string{"ABS", "SQRT", "CEIL", "FLOOR", "ROUND"}).Draw(d.T, "function"), Args: []j1ql.Expr{d.expr(depth - 1)}}}
	}
	return j1ql.Expr{Call: &j1ql.Call{Func: rapid.SampledFrom([]string{"CONCAT", "COALESCE", "MERGE"}).Draw(d.T, "function"), Args: []j1ql.Expr{d.expr(depth - 1), d.expr(depth - 1)}}}
}
