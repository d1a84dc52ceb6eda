package judge

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/oktasync/oktasync/sync/j1ql"
)

// Print writes a query as text, which j1ql.Parse reads as the same query but for
// positions. What is referred to must have an alias.
func Print(q *j1ql.Query) string {
	p := &printer{alias: map[j1ql.Binding]string{}}
	p.note(q)
	p.WriteString("FIND ")
	if q.Unique {
		p.WriteString("UNIQUE ")
	}
	p.node(q.Start)
	p.steps(q.Steps)
	if q.Where != nil {
		p.WriteString(" WHERE ")
		p.filter(*q.Where)
	}
	if q.Return != nil {
		p.WriteString(" RETURN ")
		if q.Return.Tree {
			p.WriteString("TREE")
		}
		for i, c := range q.Return.Columns {
			if i > 0 {
				p.WriteString(", ")
			}
			p.expr(c.Expr)
			if c.Name != writtenAs(c.Expr, p.alias) {
				p.WriteString(" AS " + quote(c.Name))
			}
		}
	}
	for i, o := range q.OrderBy {
		p.WriteString(map[bool]string{true: " ORDER BY ", false: ", "}[i == 0])
		switch {
		case o.Property != nil:
			p.property(*o.Property)
		case q.Return == nil:
			p.WriteString(p.alias[q.Start.Binding])
		default:
			p.WriteString(quote(q.Return.Columns[o.Column].Name))
		}
		if o.Desc {
			p.WriteString(" DESC")
		}
	}
	if q.Skip > 0 {
		fmt.Fprintf(p, " SKIP %d", q.Skip)
	}
	if q.Limit > 0 {
		fmt.Fprintf(p, " LIMIT %d", q.Limit)
	}
	return p.String()
}

type printer struct {
	strings.Builder
	alias map[j1ql.Binding]string
}

// note takes down the aliases.
func (p *printer) note(q *j1ql.Query) {
	p.alias[q.Start.Binding] = q.Start.Alias
	var note func(steps []j1ql.Step)
	note = func(steps []j1ql.Step) {
		for _, s := range steps {
			if s.Optional != nil {
				note(s.Optional.Steps)
				p.alias[s.Optional.Binding] = s.Optional.Alias
				continue
			}
			p.alias[s.That.Edge], p.alias[s.That.Node.Binding] = s.That.Alias, s.That.Node.Alias
		}
	}
	note(q.Steps)
}

func (p *printer) node(n j1ql.Node) {
	switch {
	case n.All:
		p.WriteString("*")
	case len(n.Names) == 1:
		p.WriteString(n.Names[0])
	case len(n.Names) > 1:
		p.WriteString("(" + strings.Join(n.Names, "|") + ")")
	default:
		p.WriteString(quote(n.Text))
	}
	if n.Filter != nil {
		p.WriteString(" WITH ")
		p.filter(*n.Filter)
	}
	p.as(n.Alias)
}

func (p *printer) as(alias string) {
	if alias != "" {
		p.WriteString(" AS " + alias)
	}
}

func (p *printer) steps(steps []j1ql.Step) {
	for _, s := range steps {
		if o := s.Optional; o != nil {
			p.WriteString(" (")
			p.steps(o.Steps)
			p.WriteString(")?")
			p.as(o.Alias)
			continue
		}
		t := s.That
		p.WriteString(" THAT ")
		if t.Negated {
			p.WriteString("!")
		}
		switch len(t.Verbs) {
		case 0:
			p.WriteString("RELATES TO")
		case 1:
			p.WriteString(t.Verbs[0])
		default:
			p.WriteString("(" + strings.Join(t.Verbs, "|") + ")")
		}
		p.WriteString(map[j1ql.Direction]string{j1ql.Forward: " >>", j1ql.Backward: " <<"}[t.Direction])
		p.as(t.Alias)
		p.WriteString(" ")
		p.node(t.Node)
	}
}

func (p *printer) filter(f j1ql.Filter) {
	if f.Compare != nil {
		p.comparison(*f.Compare)
		return
	}
	join, parts := " AND ", f.And
	if len(parts) == 0 {
		join, parts = " OR ", f.Or
	}
	for i, part := range parts {
		if i > 0 {
			p.WriteString(join)
		}
		if part.Compare != nil {
			p.comparison(*part.Compare)
			continue
		}
		p.WriteString("(")
		p.filter(part)
		p.WriteString(")")
	}
}

func (p *printer) comparison(c j1ql.Comparison) {
	op := string(c.Op.Kind)
	if c.Op.Not {
		op = "!" + op
	}
	if len(c.Values) > 1 { // in parentheses: Parse takes the ( of an optional step after a list for another list
		p.WriteString("(")
		defer p.WriteString(")")
	}
	p.property(c.Property)
	p.WriteString(" " + op + " ")
	if c.Other != nil {
		p.property(*c.Other)
		return
	}
	var values []string
	for _, v := range c.Values {
		values = append(values, written(v))
	}
	join := " OR "
	if c.All {
		join = " AND "
	}
	if list := strings.Join(values, join); len(values) > 1 {
		p.WriteString("(" + list + ")")
	} else {
		p.WriteString(list)
	}
}

func written(v j1ql.Value) string {
	switch v.Kind {
	case j1ql.Text:
		return quote(v.Text)
	case j1ql.Number:
		return decimal(v.Number)
	case j1ql.Boolean:
		return strconv.FormatBool(v.Boolean)
	case j1ql.Regexp:
		text := "/" + strings.ReplaceAll(v.Text, "/", `\/`) + "/"
		if v.Fold {
			text += "i"
		}
		return text
	}
	return "undefined"
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// plainName is a name of a property that needs no brackets.
var plainName = regexp.MustCompile(`^_?[a-z]+(?:[A-Z]\w*|\.[A-Z]\w*)?$`)

var keywords = regexp.MustCompile(`^(?i:find|unique|with|as|that|where|return|order|by|skip|limit|and|or|true|false|null|undefined|date)$`)

func (p *printer) property(r j1ql.Property) {
	if r.Binding != j1ql.None {
		p.WriteString(p.alias[r.Binding] + ".")
	}
	if plainName.MatchString(r.Name) && !keywords.MatchString(r.Name) {
		p.WriteString(r.Name)
	} else {
		p.WriteString("[" + r.Name + "]")
	}
}

// writtenAs is an expression as Print writes it, with no spaces but those in texts:
// so is a column named that has no alias.
func writtenAs(e j1ql.Expr, alias map[j1ql.Binding]string) string {
	p := &printer{alias: alias}
	p.expr(e)
	return p.String()
}

func (p *printer) expr(e j1ql.Expr) {
	switch {
	case e.Number != nil:
		p.WriteString(decimal(*e.Number))
	case e.Text != nil:
		p.WriteString(quote(*e.Text))
	case e.Property != nil:
		p.property(*e.Property)
	case e.Object != nil:
		p.WriteString(p.alias[*e.Object])
	case e.All != nil:
		p.WriteString(p.alias[*e.All] + ".*")
	case e.Call != nil:
		p.WriteString(e.Call.Func + "(")
		for i, arg := range e.Call.Args {
			if i > 0 {
				p.WriteString(",")
			}
			p.expr(arg)
		}
		p.WriteString(")")
	case e.Binary != nil:
		p.operand(e.Binary.Left)
		p.WriteByte(e.Binary.Op)
		p.operand(e.Binary.Right)
	default:
		p.WriteString("''")
	}
}

func (p *printer) operand(e j1ql.Expr) {
	if e.Binary == nil {
		p.expr(e)
		return
	}
	p.WriteString("(")
	p.expr(e)
	p.WriteString(")")
}
