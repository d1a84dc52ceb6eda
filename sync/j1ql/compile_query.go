package j1ql

import (
	"fmt"
	"slices"
	"strings"
)

// relation is a common table of pairs of keys, src and dst, that a step connects, with
// a column b<n> for each binding n that the step makes.
type relation struct {
	table    string
	bindings []Binding
}

func column(b Binding) string { return fmt.Sprintf("b%d", b) }

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
	pivot := pivotOf(q.Start, chain)

	// From the pivot to the left, then to the right.
	nodes := make([]string, len(chain)+1) // tables of keys: node i is what link i-1 reaches
	steps := make([]relation, len(chain))
	nodeOf := func(i int) (Node, []*That) {
		if i == 0 {
			return q.Start, before
		}
		return chain[i-1].step.That.Node, chain[i-1].negations
	}
	node, negations := nodeOf(pivot)
	nodes[pivot] = c.table("f", c.start(node, negations))
	for i := pivot; i > 0; i-- {
		left, kept := nodeOf(i - 1)
		steps[i-1] = c.traverse(nodes[i], chain[i-1].step.That, left, kept, true)
		nodes[i-1] = c.table("f", "SELECT DISTINCT src AS k FROM "+steps[i-1].table)
	}
	for i := pivot; i < len(chain); i++ {
		steps[i] = c.relate(nodes[i], chain[i])
		if i+1 < len(chain) || c.isSet(q) {
			nodes[i+1] = c.table("f", "SELECT DISTINCT dst AS k FROM "+steps[i].table)
		}
	}

	// Where each binding is: in the table of its step.
	for i, s := range steps {
		for _, b := range s.bindings {
			c.cols[b] = s.table + "." + column(b)
		}
		if i == 0 {
			c.cols[q.Start.Binding] = s.table + ".src"
		}
	}
	if len(steps) == 0 {
		c.cols[q.Start.Binding] = nodes[0] + ".k"
	}

	selected, single := selection(q)
	if c.isSet(q) {
		c.answerSet(q, selected, nodes, steps, skip, limit)
		return
	}
	paths := nodes[0]
	for i, s := range steps {
		if i == 0 {
			paths = s.table
		} else {
			paths += fmt.Sprintf(" JOIN %s ON %s.src = %s.dst", s.table, s.table, steps[i-1].table)
		}
	}
	switch {
	case q.Return != nil && q.Return.Tree:
		c.answerTree(q, paths)
	case single:
		from, where := c.joined(paths, q.Where, nil)
		set := fmt.Sprintf("SELECT DISTINCT %s AS k FROM %s%s", c.cols[selected], from, where)
		c.answerObjects(q, selected, set, skip, limit)
	default:
		c.answerTable(q, paths, skip, limit)
	}
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

// start selects the keys of the entities that a node matches.
func (c *compiler) start(node Node, negations []*That) string {
	return fmt.Sprintf("SELECT n.key AS k FROM entities n WHERE n.instance = %s AND %s%s",
		c.instance, c.match(node, "n"), c.negated(negations, "n.key"))
}

// negated are the conditions, each with AND before it, that an entity has none of
// the edges.
func (c *compiler) negated(negations []*That, key string) string {
	var b strings.Builder
	for _, t := range negations {
		m := c.name("m")
		match := c.match(t.Node, m)
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

// traverse is the relation of one traversal from the keys in a table. backwards
// goes from the right of the text to the left; node is the one that is reached.
func (c *compiler) traverse(from string, t *That, node Node, negations []*That, backwards bool) relation {
	near, far, right := "src", "dst", "n.key"
	if backwards {
		near, far, right = far, near, "f.k"
	}
	// The same text on both sides: its parameters are the same.
	conditions := c.match(node, "n") + c.negated(negations, "n.key")
	verbs := c.verbs("r", t.Verbs)
	var parts []string
	for _, forward := range []bool{true, false} {
		if t.Direction == Forward && !forward || t.Direction == Backward && forward {
			continue
		}
		begin, end := "from_key", "to_key"
		if forward == backwards {
			begin, end = end, begin
		}
		self := ""
		if !forward && t.Direction == Either {
			self = " AND r.from_key <> r.to_key" // once is enough
		}
		parts = append(parts, fmt.Sprintf("SELECT f.k AS %s, r.%s AS %s, r.key AS %s, %s AS %s FROM %s f CROSS JOIN relationships r CROSS JOIN entities n WHERE r.instance = %s AND r.%s = f.k%s%s AND n.instance = %s AND n.key = r.%s AND %s",
			near, end, far, column(t.Edge), right, column(t.Node.Binding), from, c.instance, begin, verbs, self, c.instance, end, conditions))
	}
	c.kinds[t.Edge] = c.edgeKinds(t.Verbs)
	return relation{c.table("s", strings.Join(parts, "\nUNION ALL\n")), []Binding{t.Edge, t.Node.Binding}}
}

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

// relate is the relation of a link from the keys in a table.
func (c *compiler) relate(from string, l link) relation {
	if l.step.That != nil {
		return c.traverse(from, l.step.That, l.step.That.Node, l.negations, false)
	}
	o := l.step.Optional
	_, chain := links(o.Steps) // the first is no negation: none comes before it
	steps := make([]relation, len(chain))
	frontier := from
	for i, inner := range chain {
		steps[i] = c.relate(frontier, inner)
		if i+1 < len(chain) {
			frontier = c.table("f", "SELECT DISTINCT dst AS k FROM "+steps[i].table)
		}
	}
	var bindings []Binding
	var absent, bound []string
	joins := steps[0].table
	for i, s := range steps {
		for _, b := range s.bindings {
			bindings = append(bindings, b)
			absent = append(absent, "NULL AS "+column(b))
			bound = append(bound, s.table+"."+column(b)+" AS "+column(b))
		}
		if i > 0 {
			joins += fmt.Sprintf(" JOIN %s ON %s.src = %s.dst", s.table, s.table, steps[i-1].table)
		}
	}
	last := steps[len(steps)-1].table
	union := fmt.Sprintf("SELECT %s.src AS src, %s.dst AS dst, %s, %s.dst AS %s FROM %s\nUNION ALL\nSELECT k, k, %s, k FROM %s",
		steps[0].table, last, list(bound), last, column(o.Binding), joins, list(absent), from)
	if len(l.negations) > 0 {
		union = fmt.Sprintf("SELECT u.* FROM (%s) u WHERE TRUE%s", union, c.negated(l.negations, "u.dst"))
	}
	return relation{c.table("s", union), append(bindings, o.Binding)}
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

// isSet tells whether the answer is a set of entities of the chain's nodes, for which
// no path need be enumerated.
func (c *compiler) isSet(q *Query) bool {
	selected, single := selection(q)
	if !single || q.Where != nil {
		return false
	}
	_, chain := links(q.Steps)
	return selected == q.Start.Binding || slices.ContainsFunc(chain, func(l link) bool {
		return l.step.That != nil && l.step.That.Node.Binding == selected
	})
}

// answerSet selects the entities of one node that have a path to both ends.
func (c *compiler) answerSet(q *Query, selected Binding, nodes []string, steps []relation, skip, limit int) {
	_, chain := links(q.Steps)
	at := 0
	for i, l := range chain {
		if l.step.That != nil && l.step.That.Node.Binding == selected {
			at = i + 1
		}
	}
	right := nodes[len(nodes)-1]
	for i := len(steps) - 1; i >= at; i-- {
		right = c.table("f", fmt.Sprintf("SELECT DISTINCT src AS k FROM %s WHERE dst IN (SELECT k FROM %s)", steps[i].table, right))
	}
	left := nodes[0]
	for i := range at {
		left = c.table("f", fmt.Sprintf("SELECT DISTINCT dst AS k FROM %s WHERE src IN (SELECT k FROM %s)", steps[i].table, left))
	}
	set := "SELECT k FROM " + left
	if left != right {
		set += " WHERE k IN (SELECT k FROM " + right + ")"
	}
	c.answerObjects(q, selected, set, skip, limit)
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
		if by.Property == nil {
			continue // by the object itself: by its key
		}
		if by.Property.Binding != selected {
			c.fail(by.Pos, "an answer of whole objects is ordered by their own properties alone")
		}
		if v, ok := c.value(*by.Property, o); ok {
			order = append(order, c.d.sortKeys(v.json, by.Desc))
		}
	}
	direction := ""
	for _, by := range q.OrderBy {
		if by.Property == nil && by.Desc {
			direction = " DESC"
		}
	}
	order = append(order, c.d.bytes("o.key")+direction)
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

// joined joins to the paths the objects that a condition and some properties
// speak of, and returns what to select from, and the condition.
func (c *compiler) joined(paths string, where *Filter, properties []Property) (from, condition string) {
	var used []Binding
	note := func(p Property) operand {
		if !slices.Contains(used, p.Binding) {
			used = append(used, p.Binding)
		}
		return c.operand(p.Binding)
	}
	if where != nil {
		condition = " WHERE " + c.filter(*where, note)
	}
	for _, p := range properties {
		note(p)
	}
	from = paths
	for _, b := range used {
		o := c.operand(b)
		from += fmt.Sprintf(" LEFT JOIN %s %s ON %s.instance = %s AND %s.key = %s", objects(o.edge), o.table, o.table, c.instance, o.table, c.cols[b])
	}
	return from, condition
}

// operand is what a binding is bound to, as joined names it.
func (c *compiler) operand(b Binding) operand {
	return operand{table: fmt.Sprintf("o%d", b), kinds: c.kinds[b], edge: c.edges[b]}
}

// answerTree selects all that is on a path, entities first.
func (c *compiler) answerTree(q *Query, paths string) {
	c.typ = "tree"
	c.columns = []StatementColumn{{Name: "object", Object: true}}
	from, where := c.joined(paths, q.Where, nil)
	var keys []string
	for _, b := range c.order {
		keys = append(keys, c.cols[b]+" AS "+column(b))
	}
	all := c.table("p", fmt.Sprintf("SELECT %s FROM %s%s", list(keys), from, where))
	var parts []string
	for _, edge := range []bool{false, true} {
		var of []string
		for _, b := range c.order {
			if c.edges[b] == edge {
				of = append(of, fmt.Sprintf("SELECT %s AS k FROM %s", column(b), all))
			}
		}
		if len(of) > 0 {
			parts = append(parts, fmt.Sprintf("SELECT %s FROM (%s) x JOIN %s o ON o.instance = %s AND o.key = x.k",
				c.object("o", edge), strings.Join(of, " UNION "), objects(edge), c.instance))
		}
	}
	c.final = fmt.Sprintf("SELECT * FROM (%s) t ORDER BY 7, 1", strings.Join(parts, " UNION ALL "))
	if c.d == PostgreSQL {
		c.final = fmt.Sprintf(`SELECT * FROM (%s) t(key, type, classes, properties, a, b, edge) ORDER BY edge, key COLLATE "C"`, strings.Join(parts, " UNION ALL "))
	}
}
