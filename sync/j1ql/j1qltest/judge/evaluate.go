package judge

import (
	"errors"
	"fmt"
	"slices"

	"github.com/oktasync/oktasync/sync/j1ql"
)

// Answer is what a query finds. Cells of a list are *Object, nil where absent.
// Cells of a table are plain JSON values as encoding/json decodes them, *Object
// for a bare selector, and map[string]any for u.*; what is absent is nil.
// Rows of a tree have one cell, an *Object: entities first, each by key.
type Answer struct {
	Type    string   // list, table, tree
	Columns []string // none of a tree, and of a query without RETURN
	Rows    [][]any
}

// Evaluate answers a query in which no parameter and no date is left. It applies
// ORDER BY, SKIP and LIMIT, which is j1ql.DefaultRows if none is given. It fails
// if there are more than 2 million paths, if keys or bindings contradict each
// other, and if ORDER BY names a property where only columns are left.
func Evaluate(g Graph, q *j1ql.Query) (Answer, error) {
	w, err := newWorld(g)
	if err != nil {
		return Answer{}, err
	}
	paths, err := w.paths(q)
	if err != nil {
		return Answer{}, err
	}
	slices.SortFunc(paths, byKeys)
	if q.Return != nil && q.Return.Tree {
		return tree(paths), nil
	}
	answer := Answer{Type: "list"}
	selected, isSet := selector(q)
	if q.Return != nil {
		for _, c := range q.Return.Columns {
			answer.Columns = append(answer.Columns, c.Name)
			if c.Expr.Object == nil {
				answer.Type = "table"
			}
		}
	}
	var rows []row
	switch {
	case isSet:
		rows = w.set(q, paths, selected)
	case slices.ContainsFunc(q.Return.Columns, func(c j1ql.Column) bool { return isAggregate(c.Expr) }):
		rows, err = w.groups(q, paths)
	default:
		rows, err = w.table(q, paths)
	}
	if err != nil {
		return Answer{}, err
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		for i, by := range q.OrderBy {
			if c := order(a.by[i], b.by[i], by.Desc); c != 0 {
				return c
			}
		}
		return 0
	})
	limit := q.Limit
	if limit == 0 {
		limit = j1ql.DefaultRows
	}
	rows = rows[min(q.Skip, len(rows)):]
	for _, r := range rows[:min(limit, len(rows))] {
		answer.Rows = append(answer.Rows, r.cells)
	}
	return answer, nil
}

// row is a row of an answer, with the values of the keys of ORDER BY.
type row struct {
	cells []any
	by    []any
}

// byKeys orders paths by the keys of what they bind, an absent one first.
func byKeys(a, b path) int {
	return slices.CompareFunc(a.bound, b.bound, func(x, y *Object) int {
		switch {
		case x == nil && y == nil:
			return 0
		case x == nil:
			return -1
		case y == nil:
			return 1
		}
		return byObjectKey(x, y)
	})
}

// selector returns the one selector of a query whose answer is a set.
func selector(q *j1ql.Query) (j1ql.Binding, bool) {
	if q.Return == nil {
		return q.Start.Binding, true
	}
	if len(q.Return.Columns) == 1 && q.Return.Columns[0].Expr.Object != nil {
		return *q.Return.Columns[0].Expr.Object, true
	}
	return j1ql.None, false
}

func tree(paths []path) Answer {
	seen := map[*Object]bool{}
	var entities, relationships []*Object
	for _, p := range paths {
		for _, o := range p.bound {
			if o == nil || seen[o] {
				continue
			}
			seen[o] = true
			if o.Entity != nil {
				entities = append(entities, o)
			} else {
				relationships = append(relationships, o)
			}
		}
	}
	slices.SortFunc(entities, byObjectKey)
	slices.SortFunc(relationships, byObjectKey)
	answer := Answer{Type: "tree"}
	for _, o := range append(entities, relationships...) {
		answer.Rows = append(answer.Rows, []any{o})
	}
	return answer
}

// set returns the distinct objects that some path binds to the selected one, by
// key. Of an order by a property of something else, the object's value is the
// one of its paths' that comes first.
func (w *world) set(q *j1ql.Query, paths []path, selected j1ql.Binding) []row {
	of := map[*Object][]path{}
	var objects []*Object
	for _, p := range paths {
		o := p.bound[selected]
		if o == nil {
			continue
		}
		if of[o] == nil {
			objects = append(objects, o)
		}
		of[o] = append(of[o], p)
	}
	slices.SortFunc(objects, byObjectKey)
	var rows []row
	for _, o := range objects {
		r := row{cells: []any{o}}
		for _, by := range q.OrderBy {
			if by.Property == nil {
				r.by = append(r.by, o)
				continue
			}
			var first any
			for _, p := range of[o] {
				if v := w.property(p.bound[by.Property.Binding], by.Property.Name); order(v, first, by.Desc) < 0 {
					first = v
				}
			}
			r.by = append(r.by, first)
		}
		rows = append(rows, r)
	}
	return rows
}

// table returns a row for each path; if UNIQUE, each once and ordered by its columns.
func (w *world) table(q *j1ql.Query, paths []path) ([]row, error) {
	var rows []row
	for _, p := range paths {
		var r row
		for _, c := range q.Return.Columns {
			cell, err := scope{world: w, path: &p}.value(c.Expr)
			if err != nil {
				return nil, fmt.Errorf("column %s: %w", c.Name, err)
			}
			r.cells = append(r.cells, cell)
		}
		for _, by := range q.OrderBy {
			switch {
			case by.Property == nil:
				r.by = append(r.by, r.cells[by.Column])
			case q.Unique:
				return nil, errors.New("ORDER BY of UNIQUE names a property")
			default:
				r.by = append(r.by, w.property(p.bound[by.Property.Binding], by.Property.Name))
			}
		}
		rows = append(rows, r)
	}
	if q.Unique {
		return distinct(rows), nil
	}
	return rows, nil
}

// distinct returns each of the rows once, ordered by their columns.
func distinct(rows []row) []row {
	seen := map[string]bool{}
	rows = slices.DeleteFunc(rows, func(r row) bool {
		id := identities(r.cells)
		twice := seen[id]
		seen[id] = true
		return twice
	})
	slices.SortStableFunc(rows, func(a, b row) int {
		return slices.CompareFunc(a.cells, b.cells, func(x, y any) int { return order(x, y, false) })
	})
	return rows
}

// groups returns a row for each group of paths, ordered by their columns.
func (w *world) groups(q *j1ql.Query, paths []path) ([]row, error) {
	columns := q.Return.Columns
	type group struct {
		keys  []any // by column; nothing where it aggregates
		paths []path
	}
	groups := map[string]*group{}
	var ids []string
	if !slices.ContainsFunc(columns, func(c j1ql.Column) bool { return !isAggregate(c.Expr) }) {
		none := make([]any, len(columns))
		ids = append(ids, identities(none))
		groups[ids[0]] = &group{keys: none}
	}
	for _, p := range paths {
		keys := make([]any, len(columns))
		for i, c := range columns {
			if isAggregate(c.Expr) {
				continue
			}
			var err error
			if keys[i], err = (scope{world: w, path: &p}).value(c.Expr); err != nil {
				return nil, fmt.Errorf("column %s: %w", c.Name, err)
			}
		}
		id := identities(keys)
		if groups[id] == nil {
			groups[id] = &group{keys: keys}
			ids = append(ids, id)
		}
		groups[id].paths = append(groups[id].paths, p)
	}
	var rows []row
	for _, id := range ids {
		r := row{cells: groups[id].keys}
		for i, c := range columns {
			if !isAggregate(c.Expr) {
				continue
			}
			var err error
			if r.cells[i], err = (scope{world: w, group: groups[id].paths}).value(c.Expr); err != nil {
				return nil, fmt.Errorf("column %s: %w", c.Name, err)
			}
		}
		for _, by := range q.OrderBy {
			if by.Property != nil {
				return nil, errors.New("ORDER BY of an aggregate names a property")
			}
			r.by = append(r.by, r.cells[by.Column])
		}
		rows = append(rows, r)
	}
	return distinct(rows), nil // groups differ, unless UNIQUE joins those that look the same
}
