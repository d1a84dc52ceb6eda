package j1ql

import (
	"fmt"
	"slices"
)

// maxWeight is up to where sets are compiled for SQLite, which expands a common table
// wherever it is named: beyond, the set is that of the ends of paths.
const maxWeight = 1000

// weight is how many tables SQLite makes of the sets of a route.
func (r route) weight() int {
	n := 1
	sum := 0
	for _, l := range r.chain {
		if n += 2; l.step.Optional != nil {
			if slices.ContainsFunc(l.step.Optional.Steps, func(s Step) bool { return s.Optional != nil }) {
				return maxWeight
			}
			n = 2*n + 4*len(l.step.Optional.Steps)
		}
		if sum += 2 * n; sum > maxWeight {
			break
		}
	}
	return sum
}

// set selects, as k, the keys of the entities of one node through which a path
// goes. For each node there is a table of the keys that were reached, for each step
// one of the pairs of keys, src and dst, that it connects: so everything that
// is touched is held once, and no path is enumerated.
func (c *compiler) set(r route, selected Binding) string {
	nodes := make([]string, len(r.chain)+1) // tables of keys: node i is what link i-1 reaches
	steps := make([]string, len(r.chain))
	node, negations := r.node(r.pivot)
	first := fmt.Sprintf("SELECT n.key AS k FROM entities n WHERE %s", c.first(node, negations, "n"))
	if len(r.chain) == 0 {
		return first
	}
	nodes[r.pivot] = c.table("f", first)
	for i := r.pivot; i > 0; i-- {
		left, kept := r.node(i - 1)
		steps[i-1] = c.pairs(nodes[i], r.chain[i-1].step.That, left, kept, true)
		nodes[i-1] = c.table("f", "SELECT DISTINCT src AS k FROM "+steps[i-1])
	}
	for i := r.pivot; i < len(r.chain); i++ {
		steps[i] = c.related(nodes[i], r.chain[i])
		nodes[i+1] = c.table("f", "SELECT DISTINCT dst AS k FROM "+steps[i])
	}
	// Of what was reached, what leads on to both ends. All of the last step leads to
	// the right end, and all of the first to the left one.
	at := r.at(selected)
	right := nodes[len(r.chain)]
	for i := len(steps) - 1; i >= at; i-- {
		which := ""
		if i < len(steps)-1 {
			which = c.within("dst", right)
		}
		right = c.table("f", "SELECT DISTINCT src AS k FROM "+steps[i]+which)
	}
	left := nodes[0]
	for i := range at {
		which := ""
		if i > 0 {
			which = c.within("src", left)
		}
		left = c.table("f", "SELECT DISTINCT dst AS k FROM "+steps[i]+which)
	}
	switch {
	case at == 0 && len(steps) > 0:
		return "SELECT k FROM " + right
	case at == len(steps):
		return "SELECT k FROM " + left
	}
	return "SELECT k FROM " + left + c.within("k", right)
}

// within is the condition that a key is in a table. PostgreSQL takes it for
// larger than it is, and is to hash it.
func (c *compiler) within(key, table string) string {
	if c.d == SQLite {
		return fmt.Sprintf(" WHERE %s IN (SELECT k FROM %s)", key, table)
	}
	return fmt.Sprintf(" WHERE (%s IN (SELECT k FROM %s)) IS TRUE", key, table)
}

// pairs is the table of what one traversal connects, from the keys in a table.
func (c *compiler) pairs(from string, t *That, node Node, negations []*That, backwards bool) string {
	near, far := "src", "dst"
	if backwards {
		near, far = far, near
	}
	relationships, edge, end := c.hop(t, "r", "f.k", backwards)
	return c.table("s", fmt.Sprintf("SELECT f.k AS %s, n.key AS %s FROM %s f CROSS JOIN %s r CROSS JOIN entities n WHERE %s AND n.key = %s AND %s",
		near, far, from, relationships, edge, end, c.reached(node, negations, "n")))
}

// related is the table of what a link connects, from the keys in a table.
func (c *compiler) related(from string, l link) string {
	if t := l.step.That; t != nil {
		return c.pairs(from, t, t.Node, l.negations, false)
	}
	_, chain := links(l.step.Optional.Steps)
	frontier, first, joins := from, "", ""
	last := ""
	for i, inner := range chain {
		step := c.related(frontier, inner)
		if i == 0 {
			first, joins = step, step
		} else {
			joins += fmt.Sprintf(" JOIN %s ON %s.src = %s.dst", step, step, last)
		}
		if last = step; i+1 < len(chain) {
			frontier = c.table("f", "SELECT DISTINCT dst AS k FROM "+step)
		}
	}
	union := fmt.Sprintf("SELECT %s.src AS src, %s.dst AS dst FROM %s UNION SELECT k, k FROM %s", first, last, joins, from)
	if len(l.negations) > 0 {
		union = fmt.Sprintf("SELECT u.* FROM (%s) u WHERE TRUE%s", union, c.negated(l.negations, "u.dst"))
	}
	return c.table("s", union)
}
