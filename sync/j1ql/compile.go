package j1ql

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Schema is what the graph of an instance is known to hold, or to have held.
type Schema struct {
	Kinds []Kind
	// Lists tells of the properties of each type whether they may be lists.
	Lists map[string]map[string]bool
}

// Kind is a type with its classes; of a relationship its one class.
type Kind struct {
	Type         string
	Classes      []string
	Stored       string // the classes as the database has them
	Relationship bool
}

// Statement is a query as SQL. Each row holds the cells of Columns in order.
type Statement struct {
	SQL      string
	Args     []any
	Type     string // list, table or tree
	Columns  []StatementColumn
	Warnings []string // about names that nothing in the graph has
}

// StatementColumn is a column of the answer; a row may have more behind the last. A value takes one column of a row: its
// JSON as a text, or NULL. An object takes seven: key, type, classes (JSON, or of a
// relationship the class as it is), properties (JSON), from and to (NULL of an
// entity), and 1 if it is a relationship; all NULL if it is absent.
type StatementColumn struct {
	Name   string
	Object bool
	All    bool // an object whose properties are columns of their own
}

// Objects takes seven columns of a row.
const objectWidth = 7

// Compile turns a query that Bind returned into one SQL statement about the
// instance: its rows after the first skip ones, at most limit.
func Compile(q *Query, d Dialect, schema Schema, instance string, skip, limit int) (st Statement, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *Error:
			err = r
		default:
			panic(r)
		}
	}()
	c := &compiler{d: d, schema: schema, kinds: map[Binding][]Kind{}, edges: map[Binding]bool{}}
	c.instance = c.bind(instance)
	c.query(q, skip, limit)
	st = Statement{Type: c.typ, Columns: c.columns, Warnings: c.warnings}
	if d == SQLite {
		// All is done before the first row: between rows nobody could end it.
		c.final = "SELECT *, count(*) OVER () FROM (" + c.final + ")"
	}
	st.SQL, st.Args = used(c.sql(), c.args)
	return st, nil
}

var parameter = regexp.MustCompile(`[?$][0-9]+`)

// used leaves out the arguments whose parameters did not get into the SQL:
// PostgreSQL would refuse them. No text of a query is in the SQL.
func used(sql string, args []any) (string, []any) {
	var kept []any
	numbers := map[string]string{}
	sql = parameter.ReplaceAllStringFunc(sql, func(p string) string {
		if numbers[p] == "" {
			n, err := strconv.Atoi(p[1:])
			if err != nil {
				panic(err)
			}
			kept = append(kept, args[n-1])
			numbers[p] = fmt.Sprint(p[:1], len(kept))
		}
		return numbers[p]
	})
	return sql, kept
}

// compiler builds a statement: common tables, and a select.
//
// It begins at the node that seems to have the fewest matches, the pivot, and goes from
// there to both ends: step by step with sets of keys, if the answer is a set of
// entities; else along the paths, in one join.
type compiler struct {
	d        Dialect
	schema   Schema
	instance string // its parameter
	args     []any
	numbers  map[any]string

	with  []string // common tables
	final string   // the select
	names int      // of tables given so far

	kinds map[Binding][]Kind // what may be bound there; nil: anything
	edges map[Binding]bool   // bindings of edges
	order []Binding          // all, in order of appearance

	typ      string
	columns  []StatementColumn
	warnings []string
}

func (c *compiler) fail(pos Pos, format string, args ...any) {
	panic(&Error{Pos: pos, Message: fmt.Sprintf(format, args...)})
}

// bind returns the parameter of a text or a number; the same one for the same value.
func (c *compiler) bind(v any) string {
	if c.numbers == nil {
		c.numbers = map[any]string{}
	}
	if p := c.numbers[v]; p != "" {
		return p
	}
	c.args = append(c.args, v)
	_, number := v.(float64)
	c.numbers[v] = c.d.param(len(c.args), number)
	return c.numbers[v]
}

func (c *compiler) bindAll(texts []string) string {
	params := make([]string, len(texts))
	for i, t := range texts {
		params[i] = c.bind(t)
	}
	return list(params)
}

func (c *compiler) name(prefix string) string {
	c.names++
	return fmt.Sprintf("%s%d", prefix, c.names)
}

// table adds a common table and returns its name.
func (c *compiler) table(prefix, sql string) string {
	name := c.name(prefix)
	c.with = append(c.with, name+" AS MATERIALIZED (\n"+sql+")")
	return name
}

func (c *compiler) sql() string {
	if len(c.with) == 0 {
		return c.final
	}
	return "WITH " + strings.Join(c.with, ",\n") + "\n" + c.final
}

// matching returns the kinds that a node means; nil if it means any.
func (c *compiler) matching(n Node) []Kind {
	if len(n.Names) == 0 {
		return nil
	}
	kinds := []Kind{}
	for _, name := range n.Names {
		class := isClass(name)
		found := false
		for _, k := range c.schema.Kinds {
			if !k.Relationship && (class && slices.Contains(k.Classes, name) || !class && k.Type == name) {
				found = true
				kinds = append(kinds, k)
			}
		}
		if !found {
			c.warnUnknown(name, class)
		}
	}
	return kinds
}

// isClass tells a class from a type: it begins with an upper-case letter.
func isClass(name string) bool { return name != "" && name[0] >= 'A' && name[0] <= 'Z' }

func (c *compiler) warnUnknown(name string, class bool) {
	what, known := "type", []string{}
	if class {
		what = "class"
	}
	for _, k := range c.schema.Kinds {
		switch {
		case k.Relationship:
		case class:
			known = append(known, k.Classes...)
		default:
			known = append(known, k.Type)
		}
	}
	slices.Sort(known)
	warning := fmt.Sprintf("no entity has the %s %s", what, name)
	if near := Nearest(name, slices.Compact(known)); len(near) > 0 {
		warning += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	c.warnings = append(c.warnings, warning)
}

// match is the condition that the entity n matches a node. It remembers what
// the node may be bound to. first tells that n is not found by its key yet.
func (c *compiler) match(node Node, n string, first bool) string {
	var all []string
	kinds := c.matching(node)
	switch {
	case kinds != nil:
		all = append(all, c.ofKinds(kinds, n, first && node.Filter != nil && c.findable(*node.Filter, kinds)))
	case !node.All:
		all = append(all, c.hasText(n, node.Text))
	}
	if node.Binding != None {
		c.kinds[node.Binding] = kinds
	}
	if node.Filter != nil {
		all = append(all, c.filter(*node.Filter, func(Property) operand {
			return operand{table: n, kinds: kinds, first: first}
		}))
	}
	if len(all) == 0 {
		return "TRUE"
	}
	return strings.Join(all, " AND ")
}

// ofKinds is the condition that an entity is of one of the kinds. found tells
// that it is better found by something else than its type.
func (c *compiler) ofKinds(kinds []Kind, n string, found bool) string {
	var types []string
	whole := true // a type has always the same classes
	for _, k := range kinds {
		types = append(types, k.Type)
		for _, other := range c.schema.Kinds {
			if !other.Relationship && other.Type == k.Type && !slices.ContainsFunc(kinds, func(k Kind) bool { return k.Type == other.Type && k.Stored == other.Stored }) {
				whole = false
			}
		}
	}
	slices.Sort(types)
	types = slices.Compact(types)
	if len(types) == 0 {
		return "FALSE"
	}
	condition := fmt.Sprintf("%s.type IN (%s)", n, c.bindAll(types))
	if found && c.d == SQLite {
		condition = "+" + condition // which keeps the index of types out of it
	}
	if whole {
		return condition
	}
	var pairs []string
	for _, k := range kinds {
		pairs = append(pairs, fmt.Sprintf("%s.type = %s AND %s = %s", n, c.bind(k.Type), c.d.text(n+".classes"), c.bind(k.Stored)))
	}
	return condition + " AND (" + strings.Join(pairs, " OR ") + ")"
}

// hasText is the condition that a text is in some property of an entity.
func (c *compiler) hasText(n, text string) string {
	lower := strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, text)
	if c.d == SQLite {
		return fmt.Sprintf("EXISTS (SELECT 1 FROM json_tree(%s.properties) j WHERE j.type = 'text' AND instr(lower(j.value), %s) > 0)", n, c.bind(lower))
	}
	table, e := c.d.elements("p.value", "j")
	return fmt.Sprintf(`EXISTS (SELECT 1 FROM jsonb_each(%s.properties) p, %s WHERE %s AND strpos(lower((%s) COLLATE "C"), %s) > 0)`,
		n, table, c.d.isText(e), e.value, c.bind(lower))
}

// filter compiles a condition; of says to what a property belongs.
func (c *compiler) filter(f Filter, of func(Property) operand) string {
	join := func(parts []Filter, with string) string {
		conditions := make([]string, len(parts))
		for i, part := range parts {
			conditions[i] = c.filter(part, of)
		}
		return balanced(conditions, with)
	}
	switch {
	case len(f.And) > 0:
		return join(f.And, " AND ")
	case len(f.Or) > 0:
		return join(f.Or, " OR ")
	}
	return c.comparison(*f.Compare, of)
}

// operand is an entity or relationship in SQL whose properties are spoken of.
type operand struct {
	table string
	kinds []Kind // nil: any
	edge  bool
	first bool // an index is to find it by what is compared
}

// value is a property in SQL.
type value struct {
	json   string // as a JSON value, NULL if absent
	text   string // set if it is a column of text: metadata
	list   bool   // it may be a list
	column string // of properties, and the name there; unless metadata
	name   string
}

// value returns a property of an operand; ok is false if it is always absent.
func (c *compiler) value(p Property, o operand) (v value, ok bool) {
	column := ""
	switch p.Name {
	case "_key", "_id":
		column = "key"
	case "_type":
		column = "type"
	case "_class":
		if !o.edge {
			json := o.table + ".classes"
			return value{json: json, list: true}, true
		}
		column = "class"
	case "_fromEntityKey", "_toEntityKey":
		if !o.edge {
			return value{}, false
		}
		column = map[string]string{"_fromEntityKey": "from_key", "_toEntityKey": "to_key"}[p.Name]
	default:
		if strings.HasPrefix(p.Name, "_") {
			return value{}, false
		}
		properties := o.table + ".properties"
		return value{json: c.d.property(properties, p.Name, c.bind),
			list: c.mayBeList(p.Name, o.kinds), column: properties, name: p.Name}, true
	}
	text := o.table + "." + column
	return value{json: c.d.quoted(text), text: text}, true
}

// mayBeList tells whether a property may be a list on what is of these kinds.
func (c *compiler) mayBeList(name string, kinds []Kind) bool {
	if kinds == nil {
		for _, lists := range c.schema.Lists {
			if lists[name] {
				return true
			}
		}
	}
	return slices.ContainsFunc(kinds, func(k Kind) bool { return c.schema.Lists[k.Type][name] })
}

// comparison compiles a comparison to a condition; it is never wrong to take NULL for false.
func (c *compiler) comparison(cmp Comparison, of func(Property) operand) string {
	v, known := c.value(cmp.Property, of(cmp.Property))
	condition := ""
	switch {
	case cmp.Other != nil:
		other, there := c.value(*cmp.Other, of(*cmp.Other))
		condition = "FALSE"
		if known && there {
			condition = c.both(v, other, cmp.Op.Kind)
		}
	default:
		tests := make([]string, len(cmp.Values))
		for i, operand := range cmp.Values {
			tests[i] = c.test(v, known, cmp.Op.Kind, operand)
		}
		with := " OR "
		if cmp.All {
			with = " AND "
		}
		condition = balanced(tests, with)
	}
	if cmp.Op.Not {
		return "NOT COALESCE((" + condition + "), FALSE)"
	}
	condition = "COALESCE((" + condition + "), FALSE)"
	if o := of(cmp.Property); o.first && equalsTexts(cmp) {
		params := make([]string, len(cmp.Values))
		for i, v := range cmp.Values {
			params[i] = c.bind(v.Text)
		}
		switch {
		case v.text != "": // it says it all
			return fmt.Sprintf("%s IN (%s)", v.text, list(params))
		case v.column != "" && !v.list:
			if found := c.d.found(v.column, v.name, params); found != "" {
				condition = "(" + found + " AND " + condition + ")" // found by an index, which must not be hidden from it
			}
		}
	}
	return condition
}

// equalsTexts tells whether a comparison is with one of some texts.
func equalsTexts(cmp Comparison) bool {
	return cmp.Op == Op{Kind: Equal} && cmp.Other == nil && (len(cmp.Values) == 1 || !cmp.All) &&
		!slices.ContainsFunc(cmp.Values, func(v Value) bool { return v.Kind != Text })
}

// findable tells whether an index finds what a condition lets pass.
func (c *compiler) findable(f Filter, kinds []Kind) bool {
	if len(f.And) > 0 {
		return slices.ContainsFunc(f.And, func(part Filter) bool { return c.findable(part, kinds) })
	}
	if f.Compare == nil || !equalsTexts(*f.Compare) {
		return false
	}
	name := f.Compare.Property.Name
	return name == "_key" || name == "_id" || slices.Contains(Indexed, name) && !c.mayBeList(name, kinds)
}

// balanced joins conditions so that they nest no deeper than need be: databases
// bound the depth.
func balanced(conditions []string, with string) string {
	if len(conditions) == 1 {
		return conditions[0]
	}
	half := len(conditions) / 2
	return "(" + balanced(conditions[:half], with) + with + balanced(conditions[half:], with) + ")"
}

// test is the condition that a positive operator holds for a value.
func (c *compiler) test(v value, known bool, kind OpKind, x Value) string {
	if x.Kind == Undefined {
		if !known {
			return "TRUE"
		}
		return "(" + v.json + ") IS NULL"
	}
	if !known {
		return "FALSE"
	}
	if v.text != "" {
		return c.testElement(element{"CASE WHEN " + v.text + " IS NOT NULL THEN " + c.textKind() + " END", v.text}, kind, x)
	}
	if !v.list {
		return c.testElement(c.d.scalar(v.json), kind, x)
	}
	table, e := c.d.elements(v.json, "j")
	return fmt.Sprintf("EXISTS (SELECT 1 FROM %s WHERE %s)", table, c.testElement(e, kind, x))
}

func (c *compiler) textKind() string {
	if c.d == SQLite {
		return "'text'"
	}
	return "'string'"
}

func (c *compiler) testElement(e element, kind OpKind, x Value) string {
	switch x.Kind {
	case Text:
		return fmt.Sprintf("(%s AND %s)", c.d.isText(e), c.d.compareText(kind, e.value, c.bind(x.Text)))
	case Regexp:
		return fmt.Sprintf("(%s AND %s)", c.d.isText(e), c.regexp(kind, e.value, x))
	case Number:
		return fmt.Sprintf("(%s) %s %s", c.d.number(e), kind, c.bind(x.Number))
	case Boolean:
		return c.d.isBoolean(e, x.Boolean)
	}
	c.fail(x.Pos, "a value that was not bound")
	return ""
}

func (c *compiler) regexp(kind OpKind, text string, x Value) string {
	pattern := "(?:" + x.Text + ")"
	if x.Fold {
		pattern = "(?i:" + x.Text + ")"
	}
	switch kind {
	case StartsWith:
		pattern = `\A` + pattern
	case EndsWith:
		pattern += `\z`
	}
	if c.d == SQLite {
		return fmt.Sprintf("j1ql_regexp(%s, %s)", c.bind(pattern), text)
	}
	advanced, err := postgresRegexp(pattern)
	if err != nil {
		c.fail(x.Pos, "PostgreSQL cannot take this regular expression: %v", err)
	}
	return fmt.Sprintf("%s ~ %s", text, c.bind(advanced))
}

// both compares any element of one property with any of another.
func (c *compiler) both(a, b value, kind OpKind) string {
	left, x := c.d.elements(a.json, "a")
	right, y := c.d.elements(b.json, "b")
	texts := fmt.Sprintf("%s AND %s", c.d.isText(x), c.d.isText(y))
	var test string
	switch kind {
	case Equal:
		test = fmt.Sprintf("(%s AND %s = %s) OR (%s) = (%s) OR (%s AND %s) OR (%s AND %s)", texts, x.value, y.value,
			c.d.number(x), c.d.number(y),
			c.d.isBoolean(x, true), c.d.isBoolean(y, true), c.d.isBoolean(x, false), c.d.isBoolean(y, false))
	case Contains, StartsWith, EndsWith:
		test = fmt.Sprintf("%s AND %s", texts, c.d.compareText(kind, x.value, y.value))
	default:
		test = fmt.Sprintf("(%s) %s (%s)", c.d.number(x), kind, c.d.number(y))
	}
	return fmt.Sprintf("EXISTS (SELECT 1 FROM %s, %s WHERE %s)", left, right, test)
}
