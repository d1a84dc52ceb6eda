// Package j1qltest writes J1QL queries down, for tests.
package j1qltest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oktasync/oktasync/sync/j1ql"
)

// Print is the query in one form of writing, which Parse reads back to the same query:
// all verbs in upper case, all property names in brackets, each operation in parentheses.
func Print(q *j1ql.Query) string {
	p := &printer{selectors: map[j1ql.Binding]string{}}
	p.findSelectors(q)
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
		p.columns(q.Return)
	}
	for i, by := range q.OrderBy {
		p.WriteString([]string{", ", " ORDER BY "}[btoi(i == 0)])
		switch {
		case by.Property != nil:
			p.property(*by.Property)
		case q.Return == nil:
			p.WriteString(p.selectors[q.Start.Binding])
		default:
			p.text(q.Return.Columns[by.Column].Name)
		}
		p.WriteString([]string{"", " DESC"}[btoi(by.Desc)])
	}
	if q.Skip > 0 {
		fmt.Fprintf(p, " SKIP %d", q.Skip)
	}
	if q.Limit > 0 {
		fmt.Fprintf(p, " LIMIT %d", q.Limit)
	}
	return p.String()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

type printer struct {
	strings.Builder
	selectors map[j1ql.Binding]string
}

// findSelectors finds what each binding can be referred to by: its alias, or a name that
// only it has.
func (p *printer) findSelectors(q *j1ql.Query) {
	names := map[string][]j1ql.Binding{}
	aliases := map[string]bool{}
	note := func(b j1ql.Binding, alias string, others []string) {
		if alias != "" {
			p.selectors[b], aliases[alias] = alias, true
		}
		for _, name := range others {
			names[name] = append(names[name], b)
		}
	}
	var walk func([]j1ql.Step)
	walk = func(steps []j1ql.Step) {
		for _, s := range steps {
			switch {
			case s.Optional != nil:
				walk(s.Optional.Steps)
				note(s.Optional.Binding, s.Optional.Alias, nil)
			case !s.That.Negated:
				verbs := s.That.Verbs
				if len(verbs) == 0 {
					verbs = []string{"RELATES"}
				}
				note(s.That.Edge, s.That.Alias, verbs)
				note(s.That.Node.Binding, s.That.Node.Alias, s.That.Node.Names)
			}
		}
	}
	note(q.Start.Binding, q.Start.Alias, q.Start.Names)
	walk(q.Steps)
	for name, of := range names {
		if len(of) == 1 && !aliases[name] && p.selectors[of[0]] == "" {
			p.selectors[of[0]] = name
		}
	}
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
		p.text(n.Text)
	}
	if n.Filter != nil {
		p.WriteString(" WITH ")
		p.filter(*n.Filter)
	}
	p.alias(n.Alias)
}

func (p *printer) alias(name string) {
	if name != "" {
		p.WriteString(" AS " + name)
	}
}

func (p *printer) steps(steps []j1ql.Step) {
	for _, s := range steps {
		if o := s.Optional; o != nil {
			p.WriteString(" (")
			p.steps(o.Steps)
			p.WriteString(")?")
			p.alias(o.Alias)
			continue
		}
		t := s.That
		p.WriteString(" THAT ")
		if t.Negated {
			p.WriteString("!")
		}
		verbs := t.Verbs
		if len(verbs) == 0 {
			verbs = []string{"RELATES"}
		}
		p.WriteString("(" + strings.Join(verbs, "|") + ")" + []string{"", " >>", " <<"}[t.Direction])
		p.alias(t.Alias)
		p.WriteString(" ")
		p.node(t.Node)
	}
}

func (p *printer) filter(f j1ql.Filter) {
	if c := f.Compare; c != nil {
		p.property(c.Property)
		op := string(c.Op.Kind)
		if c.Op.Not {
			op = "!" + op
		}
		p.WriteString(" " + op + " ")
		switch {
		case c.Other != nil:
			p.property(*c.Other)
		case len(c.Values) == 1:
			p.value(c.Values[0])
		default:
			for i, v := range c.Values {
				p.WriteString([]string{[]string{" OR ", " AND "}[btoi(c.All)], "("}[btoi(i == 0)])
				p.value(v)
			}
			p.WriteString(")")
		}
		return
	}
	p.WriteString("(")
	for i, part := range slices.Concat(f.And, f.Or) {
		if i > 0 {
			p.WriteString([]string{" OR ", " AND "}[btoi(f.And != nil)])
		}
		p.filter(part)
	}
	p.WriteString(")")
}

func (p *printer) property(of j1ql.Property) {
	if of.Binding != j1ql.None {
		p.WriteString(p.selectors[of.Binding] + ".")
	}
	p.WriteString("[" + of.Name + "]")
}

func (p *printer) text(s string) {
	p.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`)
}

func (p *printer) value(v j1ql.Value) {
	switch v.Kind {
	case j1ql.Text:
		p.text(v.Text)
	case j1ql.Number:
		p.number(v.Number)
	case j1ql.Boolean:
		fmt.Fprint(p, v.Boolean)
	case j1ql.Undefined:
		p.WriteString("undefined")
	case j1ql.Regexp:
		pattern := v.Text
		p.WriteString("/" + strings.ReplaceAll(pattern, "/", `\/`) + "/" + []string{"", "i"}[btoi(v.Fold)])
	case j1ql.Parameter:
		p.WriteString("${" + v.Text + "}")
	case j1ql.Date:
		switch {
		case !v.Time.At.IsZero():
			p.WriteString("date(" + v.Time.At.Format(time.RFC3339Nano) + ")")
		case v.Time.Unit == "":
			p.WriteString("date.now")
		default:
			fmt.Fprintf(p, "date.now %s %d %s", []string{"+", "-"}[btoi(v.Time.N < 0)], max(v.Time.N, -v.Time.N), v.Time.Unit)
		}
	}
}

func (p *printer) number(n float64) { p.WriteString(strconv.FormatFloat(n, 'f', -1, 64)) }

func (p *printer) columns(r *j1ql.Return) {
	if r.Tree {
		p.WriteString("TREE")
	}
	for i, c := range r.Columns {
		if i > 0 {
			p.WriteString(", ")
		}
		if c.Expr.All != nil {
			p.WriteString(c.Name) // as it was written
			continue
		}
		p.expr(c.Expr)
		p.WriteString(" AS ")
		p.text(c.Name)
	}
}

func (p *printer) expr(e j1ql.Expr) {
	switch {
	case e.Property != nil:
		p.property(*e.Property)
	case e.Object != nil:
		p.WriteString(p.selectors[*e.Object])
	case e.Number != nil:
		p.number(*e.Number)
	case e.Call != nil:
		p.WriteString(e.Call.Func)
		for i, arg := range e.Call.Args {
			p.WriteString([]string{", ", "("}[btoi(i == 0)])
			p.expr(arg)
		}
		p.WriteString(")")
	case e.Binary != nil:
		p.WriteString("(")
		p.expr(e.Binary.Left)
		fmt.Fprintf(p, " %c ", e.Binary.Op)
		p.expr(e.Binary.Right)
		p.WriteString(")")
	case e.Text != nil:
		p.text(*e.Text)
	}
}
