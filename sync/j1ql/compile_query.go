package j1ql

import (
	"fmt"
	"slices"
	"strings"
)

// link is a step of the chain with the negations that follow it: they
// keep some of what it reaches.
type link struct {
	step      Step
	negations []*That
}

// links splits steps into those that bind and the negations that come after each;
// before has the negations that come before the first.
func links(steps []Step) (before []*That, chain []link) {
	for _, s := range steps {
		switch {
		case s.That == nil || !s.That.Negated:
			chain = append(chain, link{step: s})
		case len(chain) == 0:
			before = append(before, s.That)
		default:
			last := &chain[len(chain)-1]
			last.negations = append(last.negations, s.That)
		}
	}
	return before, chain
}

// query compiles the query as a whole.
func (c *compiler) query(q *Query, skip, limit int) {
	before, chain := links(q.Steps)
	c.order = append(c.order, q.Start.Binding)
	c.declare(chain)
	r := route{start: q.Start, before: before, chain: chain, pivot: pivotOf(q.Start, chain)}
	selected, single := selection(q)
	if single && q.Where == nil && r.isNode(selected) && (c.d != SQLite || r.weight() < maxWeight) {
		c.answerObjects(q, selected, c.set(r, selected), skip, limit)
		return
	}
	paths := c.paths(r)
	where := paths.where
	if q.Where != nil {
		where = append(where, c.filter(*q.Where, func(p Property) operand { return c.operand(p.Binding) }))
	}
	from := paths.from + " WHERE " + strings.Join(where, " AND ")
	switch {
	case q.Return != nil && q.Return.Tree:
		c.answerTree(from, skip, limit)
	case single:
		set := fmt.Sprintf("SELECT DISTINCT %s.key AS k FROM %s", c.operand(selected).table, from)
		c.answerObjects(q, selected, set, skip, limit)
	default:
		c.answerTable(q, from, skip, limit)
	}
}

// route is a chain of steps and where to begin with it: at the pivot, from
// there to the left, then to the right. Left of the pivot nothing is optional.
type route struct {
	start  Node
	before []*That // negations at the start
	chain  []link
	pivot  int // 0 is the start, i the node of link i-1
}

// node returns a node at or left of the pivot, and the negations there.
func (r route) node(i int) (Node, []*That) {
	if i == 0 {
		return r.start, r.before
	}
	return r.chain[i-1].step.That.Node, r.chain[i-1].negations
}

// isNode tells whether a binding is that of a node that is not in an optional part.
func (r route) isNode(b Binding) bool { return r.at(b) >= 0 }

// at returns which node a binding is; -1: none.
func (r route) at(b Binding) int {
	if b == r.start.Binding {
		return 0
	}
	for i, l := range r.chain {
		if l.step.That != nil && l.step.That.Node.Binding == b {
			return i + 1
		}
	}
	return -1
}

// declare notes the bindings of a chain, in order of appearance.
func (c *compiler) declare(chain []link) {
	for _, l := range chain {
		if t := l.step.That; t != nil {
			c.edges[t.Edge] = true
			c.order = append(c.order, t.Edge, t.Node.Binding)
			continue
		}
		_, inner := links(l.step.Optional.Steps)
		c.declare(inner)
		c.order = append(c.order, l.step.Optional.Binding)
	}
}

// pivotOf returns the node that seems to have the fewest matches; only steps
// that are not optional can be gone backwards.
func pivotOf(start Node, chain []link) int {
	best, least := 0, cost(start)
	for i, l := range chain {
		if l.step.That == nil {
			break
		}
		if n := cost(l.step.That.Node); n < least {
			best, least = i+1, n
		}
	}
	return best
}

// cost ranks nodes by how many entities they seem to match.
func cost(n Node) int {
	kind := 3
	if n.All || len(n.Names) == 0 {
		kind = 4
	}
	if n.Filter == nil {
		return kind
	}
	return min(kind, filterCost(*n.Filter))
}

func filterCost(f Filter) int {
	switch {
	case len(f.And) > 0:
		best := 4
		for _, part := range f.And {
			best = min(best, filterCost(part))
		}
		return best
	case len(f.Or) > 0:
		worst := 0
		for _, part := range f.Or {
			worst = max(worst, filterCost(part))
		}
		return worst
	}
	cmp := f.Compare
	switch {
	case cmp.Op.Not || cmp.Values[0].Kind == Undefined:
		return 4
	case cmp.Op.Kind == Equal && cmp.Values[0].Kind == Text:
		if slices.Contains(Indexed, cmp.Property.Name) || cmp.Property.Name == "_key" || cmp.Property.Name == "_id" {
			return 0
		}
		return 1
	}
	return 2
}

// reached is the condition that the entity n is one that a node matches and no
// negation takes away.
func (c *compiler) reached(node Node, negations []*That, n string) string {
	return fmt.Sprintf("%s.instance = %s AND %s%s", n, c.instance, c.match(node, n, false), c.negated(negations, n+".key"))
}

// first is the same of the node at the pivot, which is found by what it matches.
func (c *compiler) first(node Node, negations []*That, n string) string {
	return fmt.Sprintf("%s.instance = %s AND %s%s", n, c.instance, c.match(node, n, true), c.negated(negations, n+".key"))
}

// negated are the conditions, each with AND before it, that an entity has none of
// the edges.
func (c *compiler) negated(negations []*That, key string) string {
	var b strings.Builder
	for _, t := range negations {
		m := c.name("m")
		match := c.match(t.Node, m, false)
		for _, ends := range [][2]string{{"from_key", "to_key"}, {"to_key", "from_key"}} {
			r := c.name("r")
			fmt.Fprintf(&b, "\n AND NOT EXISTS (SELECT 1 FROM relationships %s JOIN entities %s ON %s.instance = %s AND %s.key = %s.%s WHERE %s.instance = %s AND %s.%s = %s%s AND %s)",
				r, m, m, c.instance, m, r, ends[1], r, c.instance, r, ends[0], key, c.verbs(r, t.Verbs), match)
		}
	}
	return b.String()
}

// verbs is the condition, with AND before it, that a relationship has one of the verbs.
func (c *compiler) verbs(r string, verbs []string) string {
	if len(verbs) == 0 {
		return ""
	}
	return fmt.Sprintf(" AND %s.class IN (%s)", r, c.bindAll(verbs))
}

// hop says in SQL where a traversal leads from the entity with the key near: the
// table of which r is a row, a condition on r, and the key of the other end.
func (c *compiler) hop(t *That, r, near string, backwards bool) (table, edge, far string) {
	of := fmt.Sprintf("%s.instance = %s%s", r, c.instance, c.verbs(r, t.Verbs))
	along := fmt.Sprintf("%s AND %s.from_key = %s", of, r, near)
	against := fmt.Sprintf("%s AND %s.to_key = %s", of, r, near)
	switch {
	case t.Direction == Either && c.d == PostgreSQL:
		return bothWays, fmt.Sprintf("%s AND %s.near = %s AND (%s.first OR %s.near <> %s.far)", of, r, near, r, r, r), r + ".far"
	case t.Direction == Either:
		return "relationships", "(" + along + " OR " + against + ")", fmt.Sprintf("CASE WHEN %s.from_key = %s THEN %s.to_key ELSE %s.from_key END", r, near, r, r)
	case (t.Direction == Forward) != backwards:
		return "relationships", along, r + ".to_key"
	}
	return "relationships", against, r + ".from_key"
}

// bothWays has each relationship once for each of its ends. PostgreSQL may look up
// both, or read it all and hash it; with an OR it could only look up. That one from
// an entity to itself comes once is not said here: a condition in it would keep the
// indexes out. SQLite would not look up in it at all.
const bothWays = "(SELECT *, from_key AS near, to_key AS far, TRUE AS first FROM relationships UNION ALL SELECT *, to_key, from_key, FALSE FROM relationships)"

// edgeKinds returns the kinds of relationships that have one of the verbs.
func (c *compiler) edgeKinds(verbs []string) []Kind {
	kinds := []Kind{}
	for _, k := range c.schema.Kinds {
		if k.Relationship && (len(verbs) == 0 || slices.ContainsFunc(k.Classes, func(class string) bool { return slices.Contains(verbs, class) })) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// selection returns the binding whose objects are the answer, if it is of one
// binding alone.
func selection(q *Query) (Binding, bool) {
	switch {
	case q.Return == nil:
		return q.Start.Binding, true
	case !q.Return.Tree && len(q.Return.Columns) == 1 && q.Return.Columns[0].Expr.Object != nil:
		return *q.Return.Columns[0].Expr.Object, true
	}
	return None, false
}

// answerObjects selects the objects whose keys a select gives.
func (c *compiler) answerObjects(q *Query, selected Binding, set string, skip, limit int) {
	c.typ = "list"
	name := "entity"
	if q.Return != nil {
		name = q.Return.Columns[0].Name
	}
	c.columns = []StatementColumn{{Name: name, Object: true}}
	o := operand{table: "o", kinds: c.kinds[selected], edge: c.edges[selected]}
	var order []string
	for _, by := range q.OrderBy {
		if by.Property == nil { // by the object itself
			order = append(order, c.d.bytes("o.key")+descending(by.Desc))
			continue
		}
		if by.Property.Binding != selected {
			c.fail(by.Pos, "an answer of whole objects is ordered by their own properties alone")
		}
		if v, ok := c.value(*by.Property, o); ok {
			order = append(order, c.d.sortKeys(v.json, by.Desc))
		}
	}
	order = append(order, c.d.bytes("o.key"))
	c.final = fmt.Sprintf("SELECT %s FROM (%s) x JOIN %s o ON o.instance = %s AND o.key = x.k ORDER BY %s%s",
		c.object("o", o.edge), set, objects(o.edge), c.instance, list(order), window(skip, limit))
}

func objects(edge bool) string {
	if edge {
		return "relationships"
	}
	return "entities"
}

// object selects what an object is shown by.
func (c *compiler) object(o string, edge bool) string {
	rest := fmt.Sprintf("%s, %s, NULL, NULL, 0", c.d.text(o+".classes"), c.d.text(o+".properties"))
	if edge {
		rest = fmt.Sprintf("%s.class, %s, %s.from_key, %s.to_key, 1", o, c.d.text(o+".properties"), o, o)
	}
	return fmt.Sprintf("%s.key, %s.type, %s", o, o, rest)
}

func window(skip, limit int) string { return fmt.Sprintf(" LIMIT %d OFFSET %d", limit, skip) }

// operand is what a binding is bound to, as paths names it.
func (c *compiler) operand(b Binding) operand {
	return operand{table: fmt.Sprintf("b%d", b), kinds: c.kinds[b], edge: c.edges[b]}
}

// answerTree selects all that is on a path, entities first.
func (c *compiler) answerTree(from string, skip, limit int) {
	c.typ = "tree"
	c.columns = []StatementColumn{{Name: "object", Object: true}}
	var keys, numbers, key, edge []string
	for i, b := range c.order {
		keys = append(keys, fmt.Sprintf("b%d.key AS k%d", b, b))
		numbers = append(numbers, fmt.Sprintf("SELECT %d AS i", i))
		key = append(key, fmt.Sprintf("WHEN %d THEN p.k%d", i, b))
		if c.edges[b] {
			edge = append(edge, fmt.Sprint(i))
		}
	}
	edges := "0"
	if len(edge) > 0 {
		edges = "CASE WHEN d.i IN (" + list(edge) + ") THEN 1 ELSE 0 END"
	}
	c.final = fmt.Sprintf(`SELECT x.k, COALESCE(n.type, r.type), CASE x.edge WHEN 1 THEN r.class ELSE %s END, COALESCE(%s, %s), r.from_key, r.to_key, x.edge FROM (SELECT DISTINCT %s AS edge, CASE d.i %s END AS k FROM (SELECT %s FROM %s) p CROSS JOIN (%s) d) x LEFT JOIN entities n ON x.edge = 0 AND n.instance = %s AND n.key = x.k LEFT JOIN relationships r ON x.edge = 1 AND r.instance = %s AND r.key = x.k WHERE x.k IS NOT NULL ORDER BY x.edge, %s%s`,
		c.d.text("n.classes"), c.d.text("n.properties"), c.d.text("r.properties"), edges, strings.Join(key, " "), list(keys), from, strings.Join(numbers, " UNION ALL "), c.instance, c.instance, c.d.bytes("x.k"), window(skip, limit))
}
