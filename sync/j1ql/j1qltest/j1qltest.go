// Package j1qltest answers J1QL queries the naive way, path by path, over a graph
// in memory: the measure of the SQL that package j1ql makes. For tests.
package j1qltest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/j1ql"
)

// Graph is a graph in memory. Keys are unique within each list.
type Graph struct {
	Entities      []graph.Entity
	Relationships []graph.Relationship
}

// Object is an entity or a relationship with its properties as JSON has them.
type Object struct {
	Key        string
	Edge       bool
	Metadata   map[string]any
	Properties map[string]any
	from, to   string
	class      []string
	typ        string
}

// Answer is what a query finds. Cells are values as encoding/json decodes them,
// nil where absent; or *Object, also for u.*.
type Answer struct {
	Type string // list, table, tree
	Rows [][]any
}

// maxPaths bounds the work.
const maxPaths = 2_000_000

type evaluator struct {
	entities map[string]*Object
	ordered  []*Object
	edges    []*Object
	bindings int
	paths    int
}

// env is what a path binds.
type env []*Object

// Evaluate answers a query that j1ql.Bind returned.
func Evaluate(g Graph, q *j1ql.Query) (Answer, error) {
	e := &evaluator{entities: map[string]*Object{}}
	for _, n := range g.Entities {
		o := &Object{Key: n.Key, Properties: decoded(n.Properties), class: n.Class, typ: n.Type,
			Metadata: map[string]any{"_key": n.Key, "_id": n.Key, "_type": n.Type, "_class": anys(n.Class)}}
		e.entities[n.Key] = o
		e.ordered = append(e.ordered, o)
	}
	for _, r := range g.Relationships {
		from, to := r.From, r.To
		if m := r.Mapping; m != nil {
			from, to = m.SourceEntityKey, MappedKey(m)
			if m.RelationshipDirection == "REVERSE" {
				from, to = to, from
			}
		}
		e.edges = append(e.edges, &Object{Key: r.Key, Edge: true, Properties: decoded(r.Properties), class: []string{r.Class}, typ: r.Type, from: from, to: to,
			Metadata: map[string]any{"_key": r.Key, "_id": r.Key, "_type": r.Type, "_class": r.Class, "_fromEntityKey": from, "_toEntityKey": to}})
	}
	e.bindings = count(q)
	var all []env
	for _, n := range e.ordered {
		if e.matches(q.Start, n) {
			start := make(env, e.bindings)
			start[q.Start.Binding] = n
			more, err := e.walk(start, n, q.Steps)
			if err != nil {
				return Answer{}, err
			}
			for _, end := range more {
				all = append(all, end.env)
			}
		}
	}
	if q.Where != nil {
		all = slices.DeleteFunc(all, func(p env) bool {
			return !holds(*q.Where, func(at j1ql.Property) any { return valueOf(p[at.Binding], at.Name) })
		})
	}
	return answer(q, all), nil
}

// MappedKey is the key of the entity that a mapping leads to.
func MappedKey(m *graph.Mapping) string {
	if key, ok := m.TargetEntity["_key"].(string); ok && key != "" {
		return key
	}
	var values []string
	for _, name := range m.TargetFilterKeys[0] {
		if name != "_type" {
			values = append(values, fmt.Sprint(m.TargetEntity[name]))
		}
	}
	return fmt.Sprint(m.TargetEntity["_type"]) + ":" + strings.Join(values, "|")
}

func decoded(p graph.Properties) map[string]any {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(b, &out); err != nil {
		panic(err)
	}
	return out
}

func anys(texts []string) []any {
	out := make([]any, len(texts))
	for i, t := range texts {
		out[i] = t
	}
	return out
}

// count is how many bindings a query has.
func count(q *j1ql.Query) int {
	n := 1
	var chain func([]j1ql.Step)
	chain = func(steps []j1ql.Step) {
		for _, s := range steps {
			switch {
			case s.Optional != nil:
				chain(s.Optional.Steps)
				n++
			case !s.That.Negated:
				n += 2
			}
		}
	}
	chain(q.Steps)
	return n
}

// end is where a path has got to.
type end struct {
	env env
	at  *Object
}

func (e *evaluator) walk(p env, at *Object, steps []j1ql.Step) ([]end, error) {
	ends := []end{{p, at}}
	for _, s := range steps {
		var next []end
		for _, from := range ends {
			reached, err := e.step(from, s)
			if err != nil {
				return nil, err
			}
			next = append(next, reached...)
		}
		if e.paths += len(next); e.paths > maxPaths {
			return nil, errors.New("too many paths")
		}
		ends = next
	}
	return ends, nil
}

func (e *evaluator) step(from end, s j1ql.Step) ([]end, error) {
	if o := s.Optional; o != nil {
		without := slices.Clone(from.env)
		without[o.Binding] = from.at
		reached, err := e.walk(from.env, from.at, o.Steps)
		for i := range reached {
			reached[i].env[o.Binding] = reached[i].at
		}
		return append([]end{{without, from.at}}, reached...), err
	}
	t := s.That
	var reached []end
	for _, edge := range e.edges {
		if len(t.Verbs) > 0 && !slices.Contains(t.Verbs, edge.class[0]) {
			continue
		}
		for _, forward := range []bool{true, false} {
			near, far := edge.from, edge.to
			if !forward {
				near, far = far, near
			}
			if near != from.at.Key || e.entities[far] == nil || !forward && near == far && t.Direction == j1ql.Either {
				continue
			}
			if !t.Negated && (t.Direction == j1ql.Forward && !forward || t.Direction == j1ql.Backward && forward) {
				continue
			}
			if node := e.entities[far]; e.matches(t.Node, node) {
				p := slices.Clone(from.env)
				if !t.Negated {
					p[t.Edge], p[t.Node.Binding] = edge, node
				}
				reached = append(reached, end{p, node})
			}
		}
	}
	if !t.Negated {
		return reached, nil
	}
	if len(reached) > 0 {
		return nil, nil
	}
	return []end{from}, nil
}

func (e *evaluator) matches(n j1ql.Node, o *Object) bool {
	switch {
	case n.All:
	case len(n.Names) > 0:
		if !slices.ContainsFunc(n.Names, func(name string) bool {
			if name[0] >= 'A' && name[0] <= 'Z' {
				return slices.Contains(o.class, name)
			}
			return o.typ == name
		}) {
			return false
		}
	default:
		found := false
		for _, v := range o.Properties {
			for _, el := range elements(v) {
				if s, ok := el.(string); ok && strings.Contains(lower(s), lower(n.Text)) {
					found = true
				}
			}
		}
		if !found {
			return false
		}
	}
	return n.Filter == nil || holds(*n.Filter, func(p j1ql.Property) any { return valueOf(o, p.Name) })
}

func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// valueOf is a property, nil if it is absent.
func valueOf(o *Object, name string) any {
	if o == nil {
		return nil
	}
	if strings.HasPrefix(name, "_") {
		return o.Metadata[name]
	}
	return o.Properties[name]
}

func elements(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return slices.DeleteFunc(slices.Clone(v), func(v any) bool { return v == nil })
	}
	return []any{v}
}

func holds(f j1ql.Filter, of func(j1ql.Property) any) bool {
	switch {
	case len(f.And) > 0:
		return !slices.ContainsFunc(f.And, func(f j1ql.Filter) bool { return !holds(f, of) })
	case len(f.Or) > 0:
		return slices.ContainsFunc(f.Or, func(f j1ql.Filter) bool { return holds(f, of) })
	}
	c := f.Compare
	v := of(c.Property)
	is := false
	if c.Other != nil {
		for _, a := range elements(v) {
			for _, b := range elements(of(*c.Other)) {
				is = is || compare(c.Op.Kind, a, b)
			}
		}
	} else {
		one := func(x j1ql.Value) bool {
			if x.Kind == j1ql.Undefined {
				return v == nil
			}
			return slices.ContainsFunc(elements(v), func(el any) bool { return test(c.Op.Kind, el, x) })
		}
		if c.All {
			is = !slices.ContainsFunc(c.Values, func(x j1ql.Value) bool { return !one(x) })
		} else {
			is = slices.ContainsFunc(c.Values, one)
		}
	}
	return is != c.Op.Not
}

func test(kind j1ql.OpKind, el any, x j1ql.Value) bool {
	switch x.Kind {
	case j1ql.Text:
		return compare(kind, el, x.Text)
	case j1ql.Number:
		return compare(kind, el, x.Number)
	case j1ql.Boolean:
		return compare(kind, el, x.Boolean)
	}
	s, ok := el.(string)
	pattern := "(?:" + x.Text + ")"
	if x.Fold {
		pattern = "(?i)" + pattern
	}
	switch kind {
	case j1ql.StartsWith:
		pattern = `\A` + pattern
	case j1ql.EndsWith:
		pattern += `\z`
	}
	return ok && regexp.MustCompile(pattern).MatchString(s)
}

func compare(kind j1ql.OpKind, a, b any) bool {
	if kind == j1ql.Equal {
		return a == b
	}
	if s, ok := a.(string); ok {
		t, ok := b.(string)
		switch {
		case !ok:
			return false
		case kind == j1ql.Contains:
			return strings.Contains(s, t)
		case kind == j1ql.StartsWith:
			return strings.HasPrefix(s, t)
		case kind == j1ql.EndsWith:
			return strings.HasSuffix(s, t)
		}
		return false
	}
	x, ok1 := a.(float64)
	y, ok2 := b.(float64)
	if !ok1 || !ok2 {
		return false
	}
	switch kind {
	case j1ql.Less:
		return x < y
	case j1ql.LessEqual:
		return x <= y
	case j1ql.Greater:
		return x > y
	case j1ql.GreaterEqual:
		return x >= y
	}
	return false
}

// answer makes the rows.
func answer(q *j1ql.Query, paths []env) Answer {
	selected, single := q.Start.Binding, q.Return == nil
	if q.Return != nil && !q.Return.Tree && len(q.Return.Columns) == 1 && q.Return.Columns[0].Expr.Object != nil {
		selected, single = *q.Return.Columns[0].Expr.Object, true
	}
	switch {
	case single:
		return objects(q, selected, paths)
	case q.Return.Tree:
		return tree(paths, q)
	}
	return table(q, paths)
}

// row is a row with its sort keys.
type row struct {
	cells []any
	keys  []any // compared by ORDER BY
	ties  []any // compared when these are equal
}

func objects(q *j1ql.Query, selected j1ql.Binding, paths []env) Answer {
	seen := map[string]bool{}
	var rows []row
	for _, p := range paths {
		o := p[selected]
		if o == nil || seen[o.Key] {
			continue
		}
		seen[o.Key] = true
		r := row{cells: []any{o}, ties: []any{o.Key}}
		for _, by := range q.OrderBy {
			if by.Property != nil {
				r.keys = append(r.keys, valueOf(o, by.Property.Name))
			} else {
				r.keys = append(r.keys, o.Key)
			}
		}
		rows = append(rows, r)
	}
	return Answer{Type: "list", Rows: window(q, rows)}
}

func tree(paths []env, q *j1ql.Query) Answer {
	seen := map[*Object]bool{}
	for _, p := range paths {
		for _, o := range p {
			if o != nil {
				seen[o] = true
			}
		}
	}
	all := slices.SortedFunc(maps.Keys(seen), func(a, b *Object) int {
		if a.Edge != b.Edge {
			return map[bool]int{true: 1, false: -1}[a.Edge]
		}
		return cmp.Compare(a.Key, b.Key)
	})
	var rows []row
	for _, o := range all {
		rows = append(rows, row{cells: []any{o}})
	}
	return Answer{Type: "tree", Rows: window(q, rows)}
}

func table(q *j1ql.Query, paths []env) Answer {
	kind := "list"
	var aggregates []bool
	grouped := false
	for _, c := range q.Return.Columns {
		if c.Expr.Object == nil {
			kind = "table"
		}
		is := aggregated(c.Expr)
		aggregates = append(aggregates, is)
		grouped = grouped || is
	}
	groups := map[string][]env{}
	var order []string
	for i, p := range paths {
		id := fmt.Sprint(i)
		if grouped {
			var key []any
			for j, c := range q.Return.Columns {
				if !aggregates[j] {
					key = append(key, identity(cell(c.Expr, []env{p})))
				}
			}
			b, err := json.Marshal(key)
			if err != nil {
				panic(err)
			}
			id = string(b)
		}
		if groups[id] == nil {
			order = append(order, id)
		}
		groups[id] = append(groups[id], p)
	}
	if grouped && len(paths) == 0 && !slices.Contains(aggregates, false) {
		order, groups = []string{""}, map[string][]env{"": nil}
	}
	var rows []row
	seen := map[string]bool{}
	for _, id := range order {
		group := groups[id]
		var r row
		var ids []any
		for _, c := range q.Return.Columns {
			v := cell(c.Expr, group)
			r.cells = append(r.cells, v)
			ids = append(ids, identity(v))
		}
		for _, by := range q.OrderBy {
			if by.Property != nil {
				r.keys = append(r.keys, valueOf(group[0][by.Property.Binding], by.Property.Name))
			} else {
				r.keys = append(r.keys, sortable(r.cells[by.Column]))
			}
		}
		if grouped || q.Unique {
			for _, v := range r.cells {
				r.ties = append(r.ties, sortable(v))
			}
		} else {
			r.ties = []any{group[0]}
		}
		if q.Unique {
			b, err := json.Marshal(ids)
			if err != nil {
				panic(err)
			}
			if seen[string(b)] {
				continue
			}
			seen[string(b)] = true
		}
		rows = append(rows, r)
	}
	return Answer{Type: kind, Rows: window(q, rows)}
}

// identity is what makes two cells the same.
func identity(v any) any {
	if o, ok := v.(*Object); ok {
		return map[string]any{"object": o.Key, "edge": o.Edge}
	}
	return v
}

// sortable is what a cell is sorted by.
func sortable(v any) any {
	if o, ok := v.(*Object); ok {
		return o.Key
	}
	return v
}

func window(q *j1ql.Query, rows []row) [][]any {
	slices.SortStableFunc(rows, func(a, b row) int {
		for i, by := range q.OrderBy {
			if i >= len(a.keys) {
				break
			}
			if c := order(a.keys[i], b.keys[i], by.Desc); c != 0 {
				return c
			}
		}
		for i := range a.ties {
			if p, ok := a.ties[i].(env); ok {
				if c := byKeys(p, b.ties[i].(env)); c != 0 {
					return c
				}
				continue
			}
			if c := order(a.ties[i], b.ties[i], false); c != 0 {
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
	rows = rows[:min(limit, len(rows))]
	out := make([][]any, len(rows))
	for i, r := range rows {
		out[i] = r.cells
	}
	return out
}

func byKeys(a, b env) int {
	for i := range a {
		switch {
		case a[i] == nil && b[i] == nil:
		case a[i] == nil:
			return -1
		case b[i] == nil:
			return 1
		case a[i].Key != b[i].Key:
			return cmp.Compare(a[i].Key, b[i].Key)
		}
	}
	return 0
}

func rank(v any) int {
	switch v.(type) {
	case nil:
		return 9
	case float64:
		return 0
	case string:
		return 1
	case bool:
		return 2
	}
	return 3
}

// order compares two values; what is absent comes last in both directions.
func order(a, b any, desc bool) int {
	if c := cmp.Compare(rank(a), rank(b)); c != 0 {
		return c
	}
	c := 0
	switch a := a.(type) {
	case nil:
	case float64:
		c = cmp.Compare(a, b.(float64))
	case string:
		c = cmp.Compare(a, b.(string))
	default:
		c = cmp.Compare(text(a), text(b))
	}
	if desc {
		return -c
	}
	return c
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func aggregated(x j1ql.Expr) bool {
	switch {
	case x.Call != nil:
		switch x.Call.Func {
		case "COUNT", "MIN", "MAX", "AVG", "SUM":
			return true
		}
		return slices.ContainsFunc(x.Call.Args, aggregated)
	case x.Binary != nil:
		return aggregated(x.Binary.Left) || aggregated(x.Binary.Right)
	}
	return false
}

// cell evaluates an expression: over a group of paths if it aggregates, else of
// the first of them.
func cell(x j1ql.Expr, group []env) any {
	switch {
	case x.Property != nil:
		return valueOf(group[0][x.Property.Binding], x.Property.Name)
	case x.Object != nil || x.All != nil:
		if o := group[0][*cmp.Or(x.Object, x.All)]; o != nil {
			return o
		}
		return nil
	case x.Number != nil:
		return *x.Number
	case x.Binary != nil:
		l, ok1 := cell(x.Binary.Left, group).(float64)
		r, ok2 := cell(x.Binary.Right, group).(float64)
		if !ok1 || !ok2 {
			return nil
		}
		return finite(map[byte]float64{'+': l + r, '-': l - r, '*': l * r, '/': l / r, '^': math.Pow(l, r)}[x.Binary.Op])
	case x.Call != nil:
		return call(*x.Call, group)
	}
	return *x.Text
}

func finite(f float64) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return f + 0 // no -0
}

func call(c j1ql.Call, group []env) any {
	arg := func(i int) any { return cell(c.Args[i], group) }
	switch c.Func {
	case "COUNT":
		seen := map[string]bool{}
		for _, p := range group {
			if v := cell(c.Args[0], []env{p}); v != nil {
				seen[text(identity(v))] = true
			}
		}
		return float64(len(seen))
	case "MIN", "MAX", "AVG", "SUM":
		var numbers []float64
		sum := 0.0
		for _, p := range group {
			if f, ok := cell(c.Args[0], []env{p}).(float64); ok {
				numbers = append(numbers, f)
				sum += f
			}
		}
		if len(numbers) == 0 {
			return nil
		}
		return map[string]float64{"MIN": slices.Min(numbers), "MAX": slices.Max(numbers), "SUM": sum, "AVG": sum / float64(len(numbers))}[c.Func]
	case "CONCAT":
		var b strings.Builder
		for i := range c.Args {
			switch v := arg(i).(type) {
			case string:
				b.WriteString(v)
			case float64, bool:
				b.WriteString(text(v))
			}
		}
		return b.String()
	case "COALESCE":
		for i := range c.Args {
			if v := arg(i); v != nil {
				return v
			}
		}
		return nil
	case "MERGE":
		all := []any{}
		for i := range c.Args {
			all = append(all, elements(arg(i))...)
		}
		return all
	}
	f, ok := arg(0).(float64)
	if !ok {
		return nil
	}
	switch c.Func {
	case "ABS":
		return math.Abs(f)
	case "SQRT":
		return finite(math.Sqrt(f))
	case "CEIL":
		return finite(math.Ceil(f))
	case "FLOOR":
		return math.Floor(f)
	}
	return finite(math.Round(f))
}
