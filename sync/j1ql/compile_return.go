package j1ql

import (
	"fmt"
	"slices"
	"strings"
)

var aggregates = []string{"COUNT", "MIN", "MAX", "AVG", "SUM"}

// isAggregate tells whether there is an aggregate in an expression.
func isAggregate(e Expr) bool {
	switch {
	case e.Call != nil:
		return slices.Contains(aggregates, e.Call.Func) || slices.ContainsFunc(e.Call.Args, isAggregate)
	case e.Binary != nil:
		return isAggregate(e.Binary.Left) || isAggregate(e.Binary.Right)
	}
	return false
}

// answerTable selects the columns of the answer, in layers: the paths with what
// the columns need of each, p; these grouped, if a column aggregates, g; the
// columns, each once if they are to be unique, q; and what is shown of them, in order.
func (c *compiler) answerTable(q *Query, from string, skip, limit int) {
	grouped := slices.ContainsFunc(q.Return.Columns, func(col Column) bool { return isAggregate(col.Expr) })
	var base, shown, group, sums []string // of p; of q; what p is grouped by, and its aggregates
	var joins, cells []string             // of the objects that are shown
	sortBy := make([]func(desc bool) string, len(q.Return.Columns))
	onlyObjects := true
	for i, col := range q.Return.Columns {
		name := fmt.Sprintf("c%d", i)
		object := col.Expr.Object
		if object == nil {
			object = col.Expr.All
		}
		out := StatementColumn{Name: col.Name, Object: object != nil, All: col.Expr.All != nil}
		c.columns = append(c.columns, out)
		onlyObjects = onlyObjects && out.Object && !out.All
		switch {
		case object != nil:
			o, edge := fmt.Sprintf("x%d", i), c.edges[*object]
			base = append(base, c.operand(*object).table+".key AS "+name)
			joins = append(joins, fmt.Sprintf(" LEFT JOIN %s %s ON %s.instance = %s AND %s.key = q.%s", objects(edge), o, o, c.instance, o, name))
			cells = append(cells, c.object(o, edge))
			sortBy[i] = func(desc bool) string {
				return fmt.Sprintf("CASE WHEN q.%s IS NULL THEN 1 ELSE 0 END, %s%s", name, c.d.bytes("q."+name), descending(desc))
			}
		case isAggregate(col.Expr):
			shown = append(shown, c.aggregated(col.Expr, &base, &sums)+" AS "+name)
		default:
			base = append(base, c.expr(col.Expr, nil)+" AS "+name)
		}
		if object == nil {
			cells = append(cells, c.d.text("q."+name))
			sortBy[i] = func(desc bool) string { return c.d.sortKeys("q."+name, desc) }
		}
		if !isAggregate(col.Expr) {
			shown = append(shown, "g."+name+" AS "+name)
			group = append(group, "p."+name)
		}
	}

	var order []string
	for i, by := range q.OrderBy {
		if by.Property == nil {
			order = append(order, sortBy[by.Column](by.Desc))
			continue
		}
		name := fmt.Sprintf("h%d", i)
		json := "NULL"
		if v, ok := c.value(*by.Property, c.operand(by.Property.Binding)); ok {
			json = v.json
		} else if c.d == PostgreSQL {
			json = "NULL::jsonb"
		}
		base, shown = append(base, json+" AS "+name), append(shown, "g."+name+" AS "+name)
		order = append(order, c.d.sortKeys("q."+name, by.Desc))
	}
	unique := ""
	switch {
	case grouped || q.Unique:
		for _, keys := range sortBy {
			order = append(order, keys(false))
		}
	default:
		for _, b := range c.order {
			base = append(base, c.operand(b).table+".key AS "+column(b))
			shown = append(shown, "g."+column(b)+" AS "+column(b))
			order = append(order, c.d.bytes("q."+column(b))+" NULLS FIRST")
		}
	}
	if q.Unique {
		unique = "DISTINCT "
	}
	if len(base) == 0 { // the columns are all constant
		base = []string{"1 AS one"}
	}
	rows := fmt.Sprintf("(SELECT %s FROM %s%s)", list(base), from, c.barrier())
	if grouped {
		by := ""
		if len(group) > 0 {
			by = " GROUP BY " + list(group)
		}
		rows = fmt.Sprintf("(SELECT %s FROM %s p%s)", list(append(group, sums...)), rows, by)
	}
	c.typ = "table"
	if onlyObjects {
		c.typ = "list"
	}
	c.final = fmt.Sprintf("SELECT %s FROM (SELECT %s%s FROM %s g) q%s ORDER BY %s%s",
		list(cells), unique, list(shown), rows, strings.Join(joins, ""), list(order), window(skip, limit))
}

func column(b Binding) string { return fmt.Sprintf("k%d", b) }

func descending(desc bool) string {
	if desc {
		return " DESC"
	}
	return ""
}

// aggregated compiles an expression that aggregates: what is aggregated becomes a
// column of base, of each path, and the aggregate one of sums.
func (c *compiler) aggregated(e Expr, base, sums *[]string) string {
	return c.expr(e, func(call Call) string {
		arg, sum := fmt.Sprintf("a%d", len(*base)), fmt.Sprintf("s%d", len(*sums))
		if object := call.Args[0].Object; object != nil {
			*base = append(*base, c.operand(*object).table+".key AS "+arg)
		} else {
			*base = append(*base, c.expr(call.Args[0], nil)+" AS "+arg)
		}
		value := "COUNT(DISTINCT p." + arg + ")"
		if call.Func != "COUNT" {
			value = call.Func + "(" + c.d.number(c.d.scalar("p."+arg)) + ")"
		}
		*sums = append(*sums, c.d.numeral(value)+" AS "+sum)
		return "g." + sum
	})
}

// barrier keeps a database from dissolving a subquery: PostgreSQL would write its
// columns wherever they are spoken of, and SQLite joins no more than 64 tables.
func (c *compiler) barrier() string {
	if c.d == SQLite {
		return " LIMIT -1"
	}
	return " OFFSET 0"
}

// once has a value in SQL spoken of several times without being written so often.
func (c *compiler) once(value string, use func(v string) string) string {
	x := c.name("x")
	return fmt.Sprintf("(SELECT %s FROM (SELECT %s AS v%s) %s)", use(x+".v"), value, c.barrier(), x)
}

// expr compiles an expression to a JSON value, NULL if absent. aggregate compiles
// the aggregates in it; nil where there can be none.
func (c *compiler) expr(e Expr, aggregate func(Call) string) string {
	number := func(e Expr) string {
		return c.once(c.expr(e, aggregate), func(v string) string { return c.d.number(c.d.scalar(v)) })
	}
	switch {
	case e.Property != nil:
		if aggregate != nil {
			c.fail(e.Pos, "a column with an aggregate can hold properties only within its aggregates: make %s a column of its own", e.Property.Name)
		}
		if v, ok := c.value(*e.Property, c.operand(e.Property.Binding)); ok {
			return v.json
		}
		return c.absent()
	case e.Number != nil:
		return c.d.numeral(c.bind(*e.Number))
	case e.Text != nil:
		return c.d.quoted(c.bind(*e.Text))
	case e.Binary != nil:
		return c.d.numeral(c.arithmetic(e.Binary.Op, number(e.Binary.Left), number(e.Binary.Right)))
	case e.Call != nil && aggregate != nil && slices.Contains(aggregates, e.Call.Func):
		return aggregate(*e.Call)
	case e.Call != nil:
		switch e.Call.Func {
		case "CONCAT", "COALESCE", "MERGE":
			args := make([]string, len(e.Call.Args))
			for i, arg := range e.Call.Args {
				args[i] = c.expr(arg, aggregate)
			}
			return c.joinedArgs(e.Call.Func, args)
		}
		return c.d.numeral(c.math(e.Call.Func, number(e.Call.Args[0])))
	}
	c.fail(e.Pos, "an object cannot be part of an expression; expected a property of it, as u.name")
	return ""
}

func (c *compiler) absent() string {
	if c.d == SQLite {
		return "NULL"
	}
	return "NULL::jsonb"
}

func (c *compiler) arithmetic(op byte, l, r string) string {
	if c.d == PostgreSQL {
		return c.guarded(op, l, r)
	}
	switch op {
	case '/':
		return fmt.Sprintf("%s / NULLIF(%s, 0)", l, r)
	case '^':
		return c.once(l, func(l string) string {
			return c.once(r, func(r string) string {
				return fmt.Sprintf("CASE WHEN %s < 0 AND %s <> floor(%s) OR %s = 0 AND %s < 0 THEN NULL ELSE power(%s, %s) END", l, r, r, l, r, l, r)
			})
		})
	}
	return fmt.Sprintf("%s %c %s", l, op, r)
}

// guarded is arithmetic for PostgreSQL, to which what overflows is an error.
func (c *compiler) guarded(op byte, l, r string) string {
	return c.once(l, func(l string) string {
		return c.once(r, func(r string) string {
			size := func(sign string) string { // of a product or quotient, in digits
				return fmt.Sprintf("abs(log(abs(%s)) %s log(abs(%s))) < 307", l, sign, r)
			}
			switch op {
			case '*':
				return fmt.Sprintf("CASE WHEN %s = 0 OR %s = 0 THEN %s * 0 + %s * 0 WHEN %s THEN %s * %s END", l, r, l, r, size("+"), l, r)
			case '/':
				return fmt.Sprintf("CASE WHEN %s = 0 THEN NULL WHEN %s = 0 THEN %s / %s WHEN %s THEN %s / %s END", r, l, l, r, size("-"), l, r)
			case '^':
				return fmt.Sprintf("CASE WHEN %s < 0 AND %s <> floor(%s) OR %s = 0 AND %s < 0 THEN NULL WHEN %s = 0 OR abs(%s) = 1 THEN power(%s, %s) WHEN abs(%s) < 1e300 AND abs(log(abs(%s)) * %s) < 307 THEN power(%s, %s) END",
					l, r, r, l, r, l, l, l, r, r, l, r, l, r)
			}
			return fmt.Sprintf("CASE WHEN abs(%s) < 1e307 AND abs(%s) < 1e307 THEN %s %c %s END", l, r, l, op, r)
		})
	})
}

func (c *compiler) math(function, x string) string {
	switch function {
	case "ABS":
		return "abs(" + x + ")"
	case "SQRT":
		return c.once(x, func(x string) string { return fmt.Sprintf("CASE WHEN %s >= 0 THEN sqrt(%s) END", x, x) })
	case "CEIL":
		return "ceil(" + x + ")"
	case "FLOOR":
		return "floor(" + x + ")"
	}
	return c.once(x, func(x string) string { return fmt.Sprintf("sign(%s) * floor(abs(%s) + 0.5)", x, x) }) // ROUND
}

// joinedArgs compiles the functions of many arguments, given as JSON values.
func (c *compiler) joinedArgs(function string, args []string) string {
	var parts []string
	switch function {
	case "COALESCE":
		return "COALESCE(" + list(append(args, c.absent())) + ")"
	case "CONCAT":
		for _, arg := range args {
			parts = append(parts, c.once(arg, c.concatenated))
		}
		return c.d.quoted("(" + strings.Join(parts, " || ") + ")")
	}
	for i, arg := range args { // MERGE
		parts = append(parts, c.merged(i, arg))
	}
	union := strings.Join(parts, " UNION ALL ")
	if c.d == SQLite {
		return fmt.Sprintf("(SELECT '[' || COALESCE(group_concat(m.v, ',' ORDER BY m.a, m.o), '') || ']' FROM (%s) m)", union)
	}
	return fmt.Sprintf("(SELECT COALESCE(jsonb_agg(m.v ORDER BY m.a, m.o), '[]') FROM (%s) m)", union)
}

// concatenated is a JSON value in SQL as CONCAT takes it: a text.
func (c *compiler) concatenated(v string) string {
	e := c.d.scalar(v)
	as := v
	if c.d == PostgreSQL {
		as = e.value
	}
	return fmt.Sprintf("CASE WHEN %s THEN %s WHEN %s IN ('integer', 'real', 'true', 'false', 'number', 'boolean') THEN %s ELSE '' END", c.d.isText(e), e.value, e.kind, as)
}

// merged selects the elements of the n-th argument of MERGE, with their order.
func (c *compiler) merged(n int, v string) string {
	x := c.name("x")
	if c.d == SQLite {
		return fmt.Sprintf("SELECT %d AS a, j.id AS o, CASE WHEN j.type IN ('true', 'false') THEN j.type ELSE json_quote(j.value) END AS v FROM json_each(%s) j WHERE j.type <> 'null'", n, v)
	}
	table, _ := c.d.elements(x+".v", "j")
	return fmt.Sprintf("SELECT %d AS a, row_number() OVER () AS o, j.v AS v FROM (SELECT %s AS v OFFSET 0) %s CROSS JOIN LATERAL %s WHERE jsonb_typeof(j.v) <> 'null'", n, v, x, table)
}
