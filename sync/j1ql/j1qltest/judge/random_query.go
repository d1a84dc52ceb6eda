package judge

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/sync/j1ql"
)

// RandomQuery makes a query of at most four steps over everything that the
// language has. It walks through the graph and mostly asks for what it finds there,
// so that many queries have an answer. j1qltest.Print(q) is its text; there is no
// parameter and no date in it.
func RandomQuery(t *rapid.T, g Graph) *j1ql.Query {
	w, err := newWorld(g)
	if err != nil {
		t.Fatal(err)
	}
	a := &asker{T: t, world: w, alias: map[j1ql.Binding]string{}, budget: below(t, 5)}
	at := pick(t, w.entities...)
	q := &j1ql.Query{Start: a.node(at)}
	q.Start.Binding, q.Start.Alias = a.bind("n", at)
	q.Steps, _ = a.chain(at, a.budget, false)
	if chance(t, 2) {
		where := a.filter(2, a.whereComparison)
		q.Where = &where
	}
	a.answer(q)
	return q
}

// asker makes a query; bound is what the walk found for each binding.
type asker struct {
	*rapid.T
	world  *world
	bound  []*Object
	alias  map[j1ql.Binding]string
	budget int // of steps
}

func (a *asker) bind(prefix string, o *Object) (j1ql.Binding, string) {
	b := j1ql.Binding(len(a.bound))
	a.bound = append(a.bound, o)
	a.alias[b] = fmt.Sprintf("%s%d", prefix, b)
	return b, a.alias[b]
}

// chain makes up to so many steps from an entity; it tells where they led.
func (a *asker) chain(at *Object, most int, inner bool) ([]j1ql.Step, *Object) {
	var steps []j1ql.Step
	for len(steps) < most && a.budget > 0 {
		first := inner && len(steps) == 0
		switch {
		case !first && chance(a.T, 2):
			o := &j1ql.Optional{}
			o.Steps, at = a.chain(at, 1+below(a.T, 2), true)
			o.Binding, o.Alias = a.bind("o", at)
			steps = append(steps, j1ql.Step{Optional: o})
		case !first && chance(a.T, 2):
			a.budget--
			steps = append(steps, j1ql.Step{That: a.negated(at)})
		default:
			a.budget--
			var that *j1ql.That
			that, at = a.that(at)
			steps = append(steps, j1ql.Step{That: that})
		}
	}
	return steps, at
}

// edgeAt picks an edge of the entity, with its other end and how it runs.
func (a *asker) edgeAt(at *Object) (e edge, other *Object, d j1ql.Direction) {
	var found []edge
	for _, e := range a.world.edges {
		if e.from == at || e.to == at {
			found = append(found, e)
		}
	}
	if len(found) == 0 {
		return edge{}, pick(a.T, a.world.entities...), j1ql.Either
	}
	e = pick(a.T, found...)
	if e.from == at {
		return e, e.to, j1ql.Forward
	}
	return e, e.from, j1ql.Backward
}

func (a *asker) that(at *Object) (*j1ql.That, *Object) {
	e, to, direction := a.edgeAt(at)
	that := &j1ql.That{Verbs: a.verbs(e)}
	switch {
	case chance(a.T, 1):
		that.Direction = pick(a.T, j1ql.Forward, j1ql.Backward)
	case chance(a.T, 3):
		that.Direction = direction
	}
	that.Edge, that.Alias = a.bind("e", e.object)
	that.Node = a.node(to)
	that.Node.Binding, that.Node.Alias = a.bind("n", to)
	return that, to
}

func (a *asker) negated(at *Object) *j1ql.That {
	e, to, _ := a.edgeAt(at)
	if chance(a.T, 6) { // for something that may not be there
		e, to = edge{}, pick(a.T, a.world.entities...)
	}
	that := &j1ql.That{Negated: true, Verbs: a.verbs(e), Edge: j1ql.None, Node: a.node(to)}
	if chance(a.T, 1) {
		that.Direction = pick(a.T, j1ql.Forward, j1ql.Backward)
	}
	that.Node.Binding = j1ql.None
	return that
}

func (a *asker) verbs(e edge) []string {
	var some []string
	if chance(a.T, 2) {
		return nil
	}
	if e.object != nil && chance(a.T, 7) {
		some = append(some, e.object.Relationship.Class)
	} else {
		some = append(some, pick(a.T, verbs...))
	}
	if more := pick(a.T, append(verbs, "OWNS")...); chance(a.T, 2) && more != some[0] {
		some = append(some, more)
	}
	return some
}

// node mostly means the entity.
func (a *asker) node(o *Object) j1ql.Node {
	var n j1ql.Node
	kind := *o.Entity
	if chance(a.T, 1) {
		kind = pick(a.T, kinds...)
	}
	switch below(a.T, 8) {
	case 0, 1:
		n.All = true
	case 2, 3, 4:
		n.Names = []string{pick(a.T, append(slices.Clone(kind.Class), kind.Type)...)}
	case 5, 6:
		n.Names = []string{kind.Type}
		for range 1 + below(a.T, 2) {
			other := pick(a.T, kinds...)
			if name := pick(a.T, append(slices.Clone(other.Class), other.Type, "unknown_type", "Unknown")...); !slices.Contains(n.Names, name) {
				n.Names = append(n.Names, name)
			}
		}
	case 7:
		if n.Text = a.textOf(o); n.Text == "" {
			n.Text = "a"
		}
	}
	if chance(a.T, 3) {
		filter := a.filter(2, func() j1ql.Comparison { return a.comparison(o, j1ql.None, entityNames) })
		n.Filter = &filter
	}
	return n
}

// textOf is a part of a text of the object, often with its case changed.
func (a *asker) textOf(o *Object) string {
	var all []string
	for _, name := range entityNames {
		for _, element := range elements(a.world.property(o, name)) {
			if s, ok := element.(string); ok && s != "" {
				all = append(all, s)
			}
		}
	}
	if len(all) == 0 {
		return ""
	}
	s := a.part(pick(a.T, all...))
	switch below(a.T, 4) {
	case 2:
		return strings.ToUpper(s)
	case 3:
		return lower(s)
	}
	return s
}

// part is some of the text, whole characters, from the start, the end, or the middle.
func (a *asker) part(s string) string {
	runes := []rune(s)
	if len(runes) == 0 {
		return s
	}
	from := below(a.T, len(runes))
	switch below(a.T, 4) {
	case 0:
		return s
	case 1:
		return string(runes[from:])
	case 2:
		return string(runes[:from+1])
	}
	return string(runes[from : from+1])
}

func (a *asker) filter(depth int, comparison func() j1ql.Comparison) j1ql.Filter {
	if depth == 0 || chance(a.T, 5) {
		c := comparison()
		return j1ql.Filter{Compare: &c}
	}
	var parts []j1ql.Filter
	for range 2 + below(a.T, 2) {
		parts = append(parts, a.filter(depth-1, comparison))
	}
	if chance(a.T, 4) {
		return j1ql.Filter{And: parts}
	}
	return j1ql.Filter{Or: parts}
}

var (
	textOps   = []j1ql.OpKind{j1ql.Contains, j1ql.StartsWith, j1ql.EndsWith}
	numberOps = []j1ql.OpKind{j1ql.Less, j1ql.LessEqual, j1ql.Greater, j1ql.GreaterEqual}
)

func (a *asker) op() j1ql.Op {
	op := j1ql.Op{Kind: j1ql.Equal}
	switch below(a.T, 4) {
	case 2:
		op.Kind = pick(a.T, textOps...)
	case 3:
		op.Kind = pick(a.T, numberOps...)
		return op // the language has no negation of these
	}
	op.Not = chance(a.T, 2)
	return op
}

// comparison compares a property of the object, mostly with values that it has.
func (a *asker) comparison(o *Object, b j1ql.Binding, names []string) j1ql.Comparison {
	c := j1ql.Comparison{Property: j1ql.Property{Binding: b, Name: a.name(names)}, Op: a.op()}
	for range 3 { // mostly one that it has
		if c.Property.Name[0] != '_' && a.world.property(o, c.Property.Name) == nil {
			c.Property.Name = a.name(names)
		}
	}
	has := elements(a.world.property(o, c.Property.Name))
	count := 1
	if chance(a.T, 2) {
		count += 1 + below(a.T, 2)
		c.All = chance(a.T, 4)
	}
	for range count {
		c.Values = append(c.Values, a.value(c.Op.Kind, has))
	}
	return c
}

func (a *asker) name(names []string) string {
	if chance(a.T, 1) {
		return pick(a.T, "_key", "_id", "_type", "_class", "_fromEntityKey", "_toEntityKey", "_createdOn", "nowhere")
	}
	return pick(a.T, names...)
}

// patterns are regular expressions of the forms that engines agree on.
var patterns = []string{
	"a", "^a", "a$", "a.c", "a_c", "a|b", "^(a|ab)$", "(?:ab)+", "[a-z]+", "[^a-z]", `\d+`, `\D`, `\w`, `\.`, "[0-9]{2,}", "b?c", "%", `\\`, "it's", "^$", "x*", "li", "日", "/",
}

// value is one that the operator compares: mostly one that the property has.
func (a *asker) value(kind j1ql.OpKind, has []any) j1ql.Value {
	var fits []any
	for _, v := range has {
		_, isText := v.(string)
		_, isNumber := v.(float64)
		if kind == j1ql.Equal || isText && slices.Contains(textOps, kind) || isNumber && slices.Contains(numberOps, kind) {
			fits = append(fits, v)
		}
	}
	if !slices.Contains(numberOps, kind) && chance(a.T, 1) {
		return j1ql.Value{Kind: j1ql.Regexp, Text: pick(a.T, patterns...), Fold: chance(a.T, 2)}
	}
	if len(fits) == 0 || chance(a.T, 1) {
		switch {
		case slices.Contains(textOps, kind):
			fits = textValues
		case slices.Contains(numberOps, kind):
			fits = numberValues
		default:
			fits = slices.Concat(textValues, numberValues, booleanValues, []any{0.1, nil, nil, nil, nil, nil, nil})
		}
	}
	switch v := plain(pick(a.T, fits...)).(type) {
	case string:
		if slices.Contains(textOps, kind) {
			v = a.part(v)
		}
		return j1ql.Value{Kind: j1ql.Text, Text: v}
	case float64:
		return j1ql.Value{Kind: j1ql.Number, Number: v}
	case bool:
		return j1ql.Value{Kind: j1ql.Boolean, Boolean: v}
	}
	return j1ql.Value{Kind: j1ql.Undefined}
}

func (a *asker) any() j1ql.Binding { return j1ql.Binding(below(a.T, len(a.bound))) }

// names of the properties that the binding may have.
func (a *asker) names(b j1ql.Binding) []string {
	if o := a.bound[b]; o == nil || o.Relationship != nil {
		return relationshipNames
	}
	return entityNames
}

func (a *asker) property() j1ql.Property {
	b := a.any()
	return j1ql.Property{Binding: b, Name: a.name(a.names(b))}
}

func (a *asker) whereComparison() j1ql.Comparison {
	b := a.any()
	c := a.comparison(a.bound[b], b, a.names(b))
	if !chance(a.T, 4) {
		return c
	}
	other := a.property()
	if chance(a.T, 4) {
		other.Name = c.Property.Name
	}
	return j1ql.Comparison{Property: c.Property, Op: c.Op, Other: &other}
}

// answer makes what follows WHERE.
func (a *asker) answer(q *j1ql.Query) {
	var columns []j1ql.Expr
	switch below(a.T, 8) {
	case 0: // no RETURN
	case 1:
		columns = []j1ql.Expr{a.object()}
	case 2:
		for range 2 + below(a.T, 2) {
			columns = append(columns, a.object())
		}
	case 3:
		q.Return = &j1ql.Return{Tree: true}
		return
	case 4, 5:
		for range below(a.T, 3) {
			columns = append(columns, a.column())
		}
		for range 1 + below(a.T, 2) {
			columns = append(columns, a.aggregate())
		}
		columns = rapid.Permutation(columns).Draw(a.T, "columns")
	default:
		for range 1 + below(a.T, 3) {
			columns = append(columns, a.column())
		}
	}
	if columns != nil {
		q.Return = &j1ql.Return{}
		for _, e := range columns {
			a.addColumn(q.Return, e)
		}
		q.Unique = chance(a.T, 2)
	}
	if chance(a.T, 4) {
		for range 1 + below(a.T, 3) {
			q.OrderBy = append(q.OrderBy, a.order(q))
		}
	}
	if chance(a.T, 1) {
		q.Skip = below(a.T, 4)
	}
	if chance(a.T, 2) {
		q.Limit = 1 + below(a.T, 6)
	}
}

// addColumn adds a column with an alias. u.* takes none, and is left out the second
// time.
func (a *asker) addColumn(r *j1ql.Return, e j1ql.Expr) {
	name := fmt.Sprintf(pick(a.T, "c%d", "Column %d", `it's "%d"`), len(r.Columns))
	if e.All != nil {
		name = a.alias[*e.All] + ".*"
		if slices.ContainsFunc(r.Columns, func(c j1ql.Column) bool { return c.Name == name }) {
			return
		}
	}
	r.Columns = append(r.Columns, j1ql.Column{Name: name, Expr: e})
}

func (a *asker) object() j1ql.Expr {
	b := a.any()
	return j1ql.Expr{Object: &b}
}

func (a *asker) column() j1ql.Expr {
	switch below(a.T, 8) {
	case 5:
		return a.scalar(2)
	case 6:
		return a.object()
	case 7:
		b := a.any()
		return j1ql.Expr{All: &b}
	case 4:
		return j1ql.Expr{Binary: &j1ql.Binary{Op: '^', Left: a.propertyExpr(), Right: a.number(2, 0.5, -1, 0)}}
	}
	return a.propertyExpr()
}

func (a *asker) propertyExpr() j1ql.Expr {
	p := a.property()
	return j1ql.Expr{Property: &p}
}

func (a *asker) number(of ...float64) j1ql.Expr {
	f := pick(a.T, of...)
	return j1ql.Expr{Number: &f}
}

func (a *asker) text() j1ql.Expr {
	s := pick(a.T, textValues...).(string)
	return j1ql.Expr{Text: &s}
}

// scalar is an expression of functions and arithmetic. What CONCAT, MERGE and
// roundings take is exact, so that engines do not differ in a last digit.
func (a *asker) scalar(depth int) j1ql.Expr {
	if depth == 0 {
		switch below(a.T, 8) {
		case 6:
			return a.number(0, 1, 2, -1, 0.5, 3)
		case 7:
			return a.text()
		}
		return a.propertyExpr()
	}
	switch below(a.T, 4) {
	case 0:
		return a.binary("+-*/", func() j1ql.Expr { return a.scalar(depth - 1) })
	case 1:
		if chance(a.T, 2) { // the operand may be inexact here
			return a.function(pick(a.T, "ABS", "SQRT"), 1, func() j1ql.Expr { return a.scalar(depth - 1) })
		}
		return a.function(pick(a.T, "CEIL", "FLOOR", "ROUND", "ABS", "SQRT"), 1, func() j1ql.Expr { return a.exact(depth - 1) })
	case 2:
		return a.function("COALESCE", 1+below(a.T, 3), func() j1ql.Expr { return a.scalar(depth - 1) })
	}
	return a.function(pick(a.T, "CONCAT", "MERGE"), 1+below(a.T, 3), func() j1ql.Expr { return a.exact(depth - 1) })
}

// exact is a scalar without what rounds.
func (a *asker) exact(depth int) j1ql.Expr {
	operand := func() j1ql.Expr { return a.exact(depth - 1) }
	if depth == 0 {
		return a.scalar(0)
	}
	switch below(a.T, 4) {
	case 1:
		return a.binary("+-", operand)
	case 2:
		return a.function(pick(a.T, "CONCAT", "COALESCE", "MERGE"), 1+below(a.T, 2), operand)
	case 3:
		return a.function(pick(a.T, "ABS", "CEIL", "FLOOR", "ROUND"), 1, operand)
	}
	return a.scalar(0)
}

func (a *asker) binary(ops string, operand func() j1ql.Expr) j1ql.Expr {
	return j1ql.Expr{Binary: &j1ql.Binary{Op: ops[below(a.T, len(ops))], Left: operand(), Right: operand()}}
}

func (a *asker) function(name string, count int, arg func() j1ql.Expr) j1ql.Expr {
	call := &j1ql.Call{Func: name}
	for range count {
		call.Args = append(call.Args, arg())
	}
	return j1ql.Expr{Call: call}
}

// aggregate is a column that aggregates.
func (a *asker) aggregate() j1ql.Expr {
	exact := func() j1ql.Expr {
		switch below(a.T, 4) {
		case 0:
			return a.function("COUNT", 1, a.object)
		case 1:
			return a.function("COUNT", 1, a.propertyExpr)
		}
		return a.function(pick(a.T, "MIN", "MAX", "SUM"), 1, a.propertyExpr)
	}
	part := func() j1ql.Expr {
		if chance(a.T, 2) {
			return a.number(1, 2, 0.5, 0)
		}
		return exact()
	}
	switch below(a.T, 8) {
	case 3:
		return a.function("AVG", 1, a.propertyExpr)
	case 4:
		return j1ql.Expr{Binary: &j1ql.Binary{Op: "+-*/"[below(a.T, 4)], Left: exact(), Right: part()}}
	case 5:
		return a.function("COALESCE", 1, exact)
	case 6:
		e := a.function(pick(a.T, "CONCAT", "MERGE", "COALESCE"), 1, exact)
		e.Call.Args = append(e.Call.Args, pick(a.T, a.text(), part()))
		return e
	case 7:
		name := pick(a.T, "ROUND", "FLOOR", "CEIL", "ABS", "SQRT")
		return a.function(name, 1, func() j1ql.Expr { return a.function(pick(a.T, "AVG", "MAX"), 1, a.propertyExpr) })
	}
	return exact()
}

// order is a key that the query may be ordered by. A property that is a column is
// that column, as the parser has it; objects alone are ordered by what is their own.
func (a *asker) order(q *j1ql.Query) j1ql.Order {
	o := j1ql.Order{Desc: chance(a.T, 4)}
	if b, ok := selector(q); ok {
		if !q.Unique && chance(a.T, 7) {
			o.Property = &j1ql.Property{Binding: b, Name: a.name(a.names(b))}
		}
		return o
	}
	columns := q.Return.Columns
	o.Column = below(a.T, len(columns))
	if q.Unique || slices.ContainsFunc(columns, func(c j1ql.Column) bool { return isAggregate(c.Expr) }) || chance(a.T, 4) {
		return o
	}
	p := a.property()
	for i, c := range columns {
		if same := c.Expr.Property; same != nil && *same == p {
			o.Column = i
			return o
		}
	}
	o.Column, o.Property = 0, &p
	return o
}
