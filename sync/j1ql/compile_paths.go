package j1ql

import "fmt"

// joins are all paths of a query as one join: each binding n is a row of entities or
// relationships, named b<n>. The order of the tables is that of the route.
type joins struct {
	from  string
	where []string
	near  string // the key that was reached last
}

// paths joins what the paths of a route bind.
func (c *compiler) paths(r route) joins {
	node, negations := r.node(r.pivot)
	n := c.operand(node.Binding).table
	j := joins{from: "entities " + n, where: []string{c.first(node, negations, n)}, near: n + ".key"}
	for i := r.pivot; i > 0; i-- {
		left, kept := r.node(i - 1)
		c.join(&j, r.chain[i-1].step.That, left, kept, true)
	}
	j.near = n + ".key"
	for _, l := range r.chain[r.pivot:] {
		c.follow(&j, l)
	}
	return j
}

// follow joins a step to the right.
func (c *compiler) follow(j *joins, l link) {
	if t := l.step.That; t != nil {
		c.join(j, t, t.Node, l.negations, false)
		return
	}
	// With d = 0 the part is not gone, with d = 1 it is.
	d := c.name("d")
	j.from += fmt.Sprintf(" CROSS JOIN (SELECT 0 AS i UNION ALL SELECT 1) %s", d)
	c.optional(j, l, d+".i = 1")
}

// optional joins the steps of an optional part where a condition says that they are gone, and else nothing.
func (c *compiler) optional(j *joins, l link, gone string) {
	o := l.step.Optional
	from := j.near
	_, chain := links(o.Steps) // the first is no negation: none comes before it
	for _, inner := range chain {
		if t := inner.step.That; t != nil {
			r, n := c.operand(t.Edge).table, c.operand(t.Node.Binding).table
			relationships, edge, far := c.hop(t, r, j.near, false)
			j.from += fmt.Sprintf(" LEFT JOIN %s %s ON %s AND %s", relationships, r, gone, edge)
			j.from += fmt.Sprintf(" LEFT JOIN entities %s ON %s AND %s.key = %s AND %s", n, gone, n, far, c.reached(t.Node, inner.negations, n))
			j.where = append(j.where, fmt.Sprintf("(NOT (%s) OR %s.key IS NOT NULL)", gone, n))
			j.near = n + ".key"
			c.kinds[t.Edge] = c.edgeKinds(t.Verbs)
			continue
		}
		d := c.name("d")
		j.from += fmt.Sprintf(" CROSS JOIN (SELECT 0 AS i UNION ALL SELECT 1) %s", d)
		j.where = append(j.where, fmt.Sprintf("(%s OR %s.i = 0)", gone, d)) // once where this part is not gone
		c.optional(j, inner, "("+gone+" AND "+d+".i = 1)")
	}
	n := c.operand(o.Binding).table
	near := fmt.Sprintf("CASE WHEN %s THEN %s ELSE %s END", gone, j.near, from)
	j.from += fmt.Sprintf(" LEFT JOIN entities %s ON %s.instance = %s AND %s.key = %s", n, n, c.instance, n, near)
	j.near = n + ".key"
	if kept := c.negated(l.negations, j.near); kept != "" {
		j.where = append(j.where, "TRUE"+kept)
	}
}

// join joins a step that every path has. backwards goes from the right of the
// text to the left; node is the one that is reached.
func (c *compiler) join(j *joins, t *That, node Node, negations []*That, backwards bool) {
	r, n := c.operand(t.Edge).table, c.operand(node.Binding).table
	relationships, edge, far := c.hop(t, r, j.near, backwards)
	j.from += fmt.Sprintf(" CROSS JOIN %s %s CROSS JOIN entities %s", relationships, r, n)
	j.where = append(j.where, edge, n+".key = "+far, c.reached(node, negations, n))
	j.near = n + ".key"
	c.kinds[t.Edge] = c.edgeKinds(t.Verbs)
}
