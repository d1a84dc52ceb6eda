package j1ql

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/alecthomas/participle/v2/lexer"
)

// reserved words cannot be the name of anything.
var reserved = strings.Fields("count sum avg min max find that with where return order by limit skip has relates to from and or not true false null undefined as")

// resolver numbers what paths bind, and finds what names mean.
type resolver struct {
	next    Binding
	aliases map[string]Binding
	named   map[string][]Binding // classes and types as written, verbs in upper case
	negated map[string]bool      // names of negated steps, which bind nothing
	known   []string             // all names that can be referred to, for hints
	steps   int
}

func (r *resolver) query(g *gQuery) (*Query, error) {
	q := &Query{Unique: g.Unique != nil}
	var err error
	if q.Start, err = r.node(g.Node, true); err != nil {
		return nil, err
	}
	if q.Steps, err = r.chain(g.Steps); err != nil {
		return nil, err
	}
	if g.Where != nil {
		where, err := r.filter(*g.Where, r.reference)
		if err != nil {
			return nil, err
		}
		q.Where = &where
	}
	if len(g.Return) > 0 {
		if q.Return, err = r.columns(g.Return); err != nil {
			return nil, err
		}
	}
	if q.Unique && (q.Return == nil || q.Return.Tree) {
		return nil, errorAt(at(g.Unique.Pos), "UNIQUE needs RETURN with columns")
	}
	if len(g.Order) > maxCols {
		return nil, errorAt(at(g.Order[0].Pos), "there are %d keys to order by; at most %d can be", len(g.Order), maxCols)
	}
	for _, by := range g.Order {
		order, err := r.order(by, q)
		if err != nil {
			return nil, err
		}
		q.OrderBy = append(q.OrderBy, order)
	}
	if g.Skip != nil {
		if q.Skip, err = count(*g.Skip, 0, 1<<30); err != nil {
			return nil, err
		}
	}
	if g.Limit != nil {
		if q.Limit, err = count(*g.Limit, 1, MaxRows); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// bind gives the next number.
func (r *resolver) bind() Binding {
	r.next++
	return r.next - 1
}

// alias notes a name that the text gives.
func (r *resolver) alias(g *gName, b Binding) (string, error) {
	if g == nil {
		return "", nil
	}
	switch _, twice := r.aliases[g.Name]; {
	case slices.Contains(reserved, strings.ToLower(g.Name)):
		return "", errorAt(at(g.Pos), "%s is a word of the language: choose another name", g.Name)
	case twice:
		return "", errorAt(at(g.Pos), "%s is the name of something else already: choose another", g.Name)
	}
	r.aliases[g.Name] = b // None: of a negated step
	if b == None {
		return g.Name, nil
	}
	r.known = append(r.known, g.Name)
	return g.Name, nil
}

// implicit notes a name by which something can be referred to without an alias.
func (r *resolver) implicit(name string, b Binding) {
	if b == None {
		r.negated[name] = true
		return
	}
	r.named[name] = append(r.named[name], b)
	r.known = append(r.known, name)
}

func (r *resolver) chain(steps []gStep) ([]Step, error) {
	var chain []Step
	for _, g := range steps {
		if g.That != nil {
			that, err := r.that(*g.That)
			if err != nil {
				return nil, err
			}
			chain = append(chain, Step{That: that})
			continue
		}
		o := g.Optional
		if err := r.count(o.Pos); err != nil {
			return nil, err
		}
		inner, err := r.chain(append([]gStep{{That: &o.First}}, o.Rest...))
		if err != nil {
			return nil, err
		}
		optional := &Optional{Pos: at(o.Pos), Steps: inner, Binding: r.bind()}
		if inner[0].That.Negated {
			return nil, errorAt(at(o.First.Pos), "an optional part cannot begin with a negation: it would filter nothing")
		}
		if optional.Alias, err = r.alias(o.Alias, optional.Binding); err != nil {
			return nil, err
		}
		chain = append(chain, Step{Optional: optional})
	}
	return chain, nil
}

// count counts the steps.
func (r *resolver) count(pos lexer.Position) error {
	if r.steps++; r.steps > maxSteps {
		return errorAt(at(pos), "the query has more than %d steps, optional parts included", maxSteps)
	}
	return nil
}

func (r *resolver) that(g gThat) (*That, error) {
	if err := r.count(g.Pos); err != nil {
		return nil, err
	}
	t := &That{Pos: at(g.Pos), Negated: g.Not, Edge: None}
	if !t.Negated {
		t.Edge = r.bind()
	}
	every := false
	if len(g.Verbs) > maxValues {
		return nil, errorAt(t.Pos, "the step has %d verbs; at most %d can be", len(g.Verbs), maxValues)
	}
	for _, verb := range g.Verbs {
		name := strings.ToUpper(verb.Name)
		every = every || name == "RELATES"
		if !slices.Contains(t.Verbs, name) {
			t.Verbs = append(t.Verbs, name)
			r.implicit(name, t.Edge)
		}
	}
	if every {
		t.Verbs = nil
	}
	if g.Before != "" && g.After != "" {
		return nil, errorAt(t.Pos, "the direction is given twice")
	}
	switch g.Before + g.After {
	case ">>":
		t.Direction = Forward
	case "<<":
		t.Direction = Backward
	}
	var err error
	if t.Alias, err = r.alias(g.Alias, t.Edge); err != nil {
		return nil, err
	}
	t.Node, err = r.node(g.Node, !t.Negated)
	return t, err
}

func (r *resolver) node(g gNode, binds bool) (Node, error) {
	n := Node{Pos: at(g.Pos), All: g.All, Binding: None}
	if binds {
		n.Binding = r.bind()
	}
	if g.Text != nil {
		if n.Text = unquote(*g.Text); n.Text == "" {
			return n, errorAt(n.Pos, "the text to search for is empty: * is any entity")
		}
	}
	if len(g.Names) > maxValues {
		return n, errorAt(n.Pos, "there are %d classes and types; at most %d can be", len(g.Names), maxValues)
	}
	for _, name := range g.Names {
		if slices.Contains(n.Names, name.Name) {
			continue
		}
		n.Names = append(n.Names, name.Name)
		r.implicit(name.Name, n.Binding)
	}
	if with := cmp.Or(g.Then, g.With); with != nil {
		filter, err := r.filter(*with, func(ref gRef) (Property, error) {
			name, err := property(ref.Parts, at(ref.Pos))
			return Property{Pos: at(ref.Pos), Binding: None, Name: name}, err
		})
		if err != nil {
			return n, err
		}
		n.Filter = &filter
	}
	var err error
	n.Alias, err = r.alias(cmp.Or(g.Before, g.After), n.Binding)
	return n, err
}

// filter reads conditions; of finds what a reference means.
func (r *resolver) filter(g gFilter, of func(gRef) (Property, error)) (Filter, error) {
	var or []Filter
	for _, conjunction := range g.Or {
		var and []Filter
		for _, c := range conjunction.And {
			f, err := r.condition(c, of)
			if err != nil {
				return Filter{}, err
			}
			and = append(and, f)
		}
		if len(and) == 1 {
			or = append(or, and[0])
		} else {
			or = append(or, Filter{And: and})
		}
	}
	if len(or) == 1 {
		return or[0], nil
	}
	return Filter{Or: or}, nil
}

func (r *resolver) condition(g gCondition, of func(gRef) (Property, error)) (Filter, error) {
	if g.Inner != nil {
		return r.filter(*g.Inner, of)
	}
	p, err := of(*g.Ref)
	if err != nil {
		return Filter{}, err
	}
	c := &Comparison{Pos: at(g.Pos), Property: p, Op: operator(g.Op)}
	values := g.Operand.List
	if g.Operand.Value != nil {
		values = []gValue{*g.Operand.Value}
	}
	values = append(append(values, g.Operand.More...), g.Operand.MoreA...)
	c.All = g.Operand.JoinA != ""
	if len(values) > maxValues {
		return Filter{}, errorAt(c.Pos, "the list has %d values; at most %d can be", len(values), maxValues)
	}
	for _, v := range values {
		if v.Ref != nil {
			if len(values) > 1 || p.Binding == None {
				return Filter{}, &Error{Pos: at(v.Ref.Pos), Got: quotedWord(strings.Join(v.Ref.Parts, ".")), Want: wantValue}
			}
			other, err := of(*v.Ref)
			if err != nil {
				return Filter{}, err
			}
			c.Other = &other
			break
		}
		read, err := readValue(v, c.Op.Kind)
		if err != nil {
			return Filter{}, err
		}
		c.Values = append(c.Values, read)
	}
	return Filter{Compare: c}, nil
}

// reference finds what u.email means.
func (r *resolver) reference(g gRef) (Property, error) {
	pos := at(g.Pos)
	if _, alias := r.aliases[g.Parts[0]]; alias && len(g.Parts) < 2 {
		return Property{}, errorAt(pos, "%s is an object as a whole: expected a property of it, as %s.displayName", g.Parts[0], g.Parts[0])
	}
	if len(g.Parts) < 2 {
		return Property{}, errorAt(pos, "expected a property of a name, as u.%s, where u is given by AS", strings.Trim(g.Parts[0], "[]"))
	}
	b, err := r.selector(g.Parts[0], pos)
	if err != nil {
		return Property{}, err
	}
	name, err := property(g.Parts[1:], pos)
	return Property{Pos: pos, Binding: b, Name: name}, err
}

// selector finds what a name means: an alias, or a class, type or verb that
// stands only once in the query.
func (r *resolver) selector(name string, pos Pos) (Binding, error) {
	b, aliased := r.aliases[name]
	if aliased && b != None {
		return b, nil
	}
	found := r.named[name]
	if found == nil {
		found = r.named[strings.ToUpper(name)]
	}
	switch {
	case aliased || found == nil && (r.negated[name] || r.negated[strings.ToUpper(name)]):
		return None, errorAt(pos, "%s is of a negated step: there is none, so it has no properties", name)
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return None, errorAt(pos, "%s stands %d times in the query: give the one that is meant a name by AS", name, len(found))
	}
	return None, errorAt(pos, "nothing in the query is named %s%s", name, hint(name, r.known))
}

func (r *resolver) columns(columns []gColumn) (*Return, error) {
	first := columns[0].Expr
	if len(columns) == 1 && columns[0].Alias == nil && strings.EqualFold(asWritten(first), "TREE") {
		if _, named := r.aliases[asWritten(first)]; !named {
			return &Return{Tree: true}, nil
		}
	}
	if len(columns) > maxCols {
		return nil, errorAt(at(first.Pos), "the answer has %d columns; at most %d can be", len(columns), maxCols)
	}
	ret := &Return{}
	objects := 0
	for _, g := range columns {
		e, err := r.expr(g.Expr, whole)
		if err != nil {
			return nil, err
		}
		c := Column{Name: asWritten(g.Expr), Expr: e}
		if e.Object != nil || e.All != nil {
			if objects++; objects > maxWhole {
				return nil, errorAt(e.Pos, "the answer has more than %d columns of whole objects", maxWhole)
			}
		}
		if g.Alias != nil {
			if c.Name, err = columnName(*g.Alias); err != nil {
				return nil, err
			}
			if e.All != nil {
				return nil, errorAt(at(g.Alias.Pos), "%s is many columns, which cannot have one name", asWritten(g.Expr))
			}
		}
		if slices.ContainsFunc(ret.Columns, func(other Column) bool { return other.Name == c.Name }) {
			return nil, errorAt(e.Pos, "two columns are named %s: name one by AS", c.Name)
		}
		ret.Columns = append(ret.Columns, c)
	}
	return ret, nil
}

func columnName(alias lexer.Token) (string, error) {
	name := alias.Value
	switch {
	case name == `""` || name == "''":
		return "", errorAt(at(alias.Pos), "the name of a column cannot be empty")
	case strings.ContainsAny(name[:1], `"'`):
		return unquote(name), nil
	case slices.Contains(reserved, strings.ToLower(name)):
		return "", errorAt(at(alias.Pos), "%s is a word of the language: choose another name, or put it in quotes", name)
	}
	return name, nil
}

// place says where an expression stands.
type place int

const (
	whole    place = iota // as a column, where it may be an object
	inner                 // in a column
	counted               // as what COUNT counts
	measured              // in another aggregate
)

func (r *resolver) expr(g gExpr, where place) (Expr, error) {
	if len(g.Rest) > 0 && where == whole {
		where = inner
	}
	left, err := r.term(g.First, where)
	if err != nil {
		return left, err
	}
	if len(g.Rest) > maxDepth {
		return left, errorAt(at(g.Pos), "more than %d operations are in a row", maxDepth)
	}
	for _, rest := range g.Rest {
		right, err := r.term(rest.Term, where)
		if err != nil {
			return right, err
		}
		left = Expr{Pos: at(g.Pos), Binary: &Binary{Op: rest.Op[0], Left: left, Right: right}}
	}
	return left, nil
}

func (r *resolver) term(g gTerm, where place) (Expr, error) {
	if len(g.Rest) > 0 && where == whole {
		where = inner
	}
	left, err := r.factor(g.First, where)
	if err != nil {
		return left, err
	}
	if len(g.Rest) > maxDepth {
		return left, errorAt(at(g.Pos), "more than %d operations are in a row", maxDepth)
	}
	for _, rest := range g.Rest {
		right, err := r.factor(rest.Factor, where)
		if err != nil {
			return right, err
		}
		left = Expr{Pos: at(g.Pos), Binary: &Binary{Op: rest.Op[0], Left: left, Right: right}}
	}
	return left, nil
}

// functions, with how many arguments they take at least and at most.
var functions = map[string][2]int{
	"COUNT": {1, 1}, "MIN": {1, 1}, "MAX": {1, 1}, "AVG": {1, 1}, "SUM": {1, 1},
	"ABS": {1, 1}, "SQRT": {1, 1}, "CEIL": {1, 1}, "FLOOR": {1, 1}, "ROUND": {1, 1},
	"CONCAT": {1, maxCols}, "COALESCE": {1, maxCols}, "MERGE": {1, maxCols},
}

func (r *resolver) factor(g gFactor, where place) (Expr, error) {
	pos := at(g.Pos)
	switch {
	case g.Number != nil:
		v, err := readValue(gValue{Pos: g.Pos, Minus: g.Minus, Number: g.Number}, Equal)
		return Expr{Pos: pos, Number: &v.Number}, err
	case g.String != nil:
		text := unquote(*g.String)
		return Expr{Pos: pos, Text: &text}, nil
	case g.Inner != nil:
		return r.expr(*g.Inner, where)
	case g.Args != nil:
		return r.call(g.Name, g.Args, pos, where)
	}
	parts := append([]string{g.Name}, g.Parts...)
	if i := slices.Index(parts, "*"); i >= 0 && i != 1 || i == 1 && len(parts) > 2 {
		return Expr{}, errorAt(pos, "* stands alone after a name, as u.*")
	}
	b, err := r.selector(parts[0], pos)
	if err != nil {
		return Expr{}, err
	}
	switch {
	case len(parts) == 1 && where == whole, (len(parts) == 1 || parts[1] == "*") && where == counted:
		return Expr{Pos: pos, Object: &b}, nil
	case len(parts) == 1 || parts[1] == "*" && where != whole:
		return Expr{}, errorAt(pos, "%s is an object as a whole: expected a property of it, as %s.displayName", strings.Join(parts, "."), parts[0])
	case parts[1] == "*":
		return Expr{Pos: pos, All: &b}, nil
	}
	name, err := property(parts[1:], pos)
	return Expr{Pos: pos, Property: &Property{Pos: pos, Binding: b, Name: name}}, err
}

func (r *resolver) call(function string, args []gExpr, pos Pos, where place) (Expr, error) {
	name := strings.ToUpper(function)
	takes, known := functions[name]
	if !known {
		return Expr{}, errorAt(pos, "there is no function %s%s", function, hint(name, slices.Sorted(maps.Keys(functions))))
	}
	if len(args) < takes[0] || len(args) > takes[1] {
		return Expr{}, errorAt(pos, "%s takes %d argument, not %d", name, takes[0], len(args))
	}
	inside := inner
	if slices.Contains(aggregates, name) {
		if where == counted || where == measured {
			return Expr{}, errorAt(pos, "an aggregate cannot be in another one")
		}
		inside = measured
		if name == "COUNT" {
			inside = counted
		}
	} else if where == counted || where == measured {
		inside = measured
	}
	call := &Call{Func: name}
	for _, arg := range args {
		e, err := r.expr(arg, inside)
		if err != nil {
			return e, err
		}
		if inside == counted && e.Object == nil && e.Property == nil || inside == measured && slices.Contains(aggregates, name) && e.Property == nil {
			return e, errorAt(e.Pos, "%s takes a property as u.created%s", name, map[bool]string{true: ", or a name as u"}[name == "COUNT"])
		}
		call.Args = append(call.Args, e)
	}
	return Expr{Pos: pos, Call: call}, nil
}

// order reads a sort key: a column by its name, or a property.
func (r *resolver) order(g gOrder, q *Query) (Order, error) {
	o := Order{Pos: at(g.Pos), Desc: strings.EqualFold(g.Order, "DESC")}
	var columns []Column
	if q.Return != nil {
		columns = q.Return.Columns
	}
	written := ""
	if g.Text != nil {
		written = unquote(*g.Text)
	} else {
		written = strings.Join(g.Ref.Parts, ".")
	}
	for i, c := range columns {
		if c.Name == written {
			o.Column = i
			return o, nil
		}
	}
	if g.Text != nil {
		return o, errorAt(o.Pos, "no column is named %s", written)
	}
	if len(g.Ref.Parts) == 1 {
		b, err := r.selector(g.Ref.Parts[0], o.Pos)
		if err != nil {
			return o, err
		}
		for i, c := range columns {
			if c.Expr.Object != nil && *c.Expr.Object == b {
				o.Column = i
				return o, nil
			}
		}
		if q.Return == nil && b == q.Start.Binding {
			return o, nil // by its key
		}
		return o, errorAt(o.Pos, "%s is no column of the answer: order by a property, as %s.displayName", written, written)
	}
	p, err := r.reference(gRef{Pos: g.Pos, Parts: g.Ref.Parts})
	if err != nil {
		return o, err
	}
	for i, c := range columns {
		if other := c.Expr.Property; other != nil && other.Binding == p.Binding && other.Name == p.Name {
			o.Column = i
			return o, nil
		}
	}
	if q.Return != nil && q.Return.Tree {
		return o, errorAt(o.Pos, "a tree has no order")
	}
	if q.Unique || slices.ContainsFunc(columns, func(c Column) bool { return isAggregate(c.Expr) }) {
		return o, errorAt(o.Pos, "after UNIQUE or an aggregate an answer is ordered by its columns: make %s one", written)
	}
	o.Property = &p
	return o, nil
}
