package j1ql

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// Bounds of a query.
const (
	MaxText   = 32 << 10 // bytes
	maxTokens = 10_000
	maxDepth  = 100 // parentheses within each other
	maxSteps  = 50
	maxValues = 1000 // of a list
	maxCols   = 100
)

// Parse reads a query and resolves its names. Its errors are *Error.
func Parse(text string) (*Query, error) {
	if len(text) > MaxText {
		return nil, errorAt(Pos{1, 1}, "the query has %d bytes; at most %d can be", len(text), MaxText)
	}
	if !utf8.ValidString(text) {
		return nil, errorAt(Pos{1, 1}, "the query is not UTF-8")
	}
	all, err := words(text)
	if err != nil {
		return nil, err
	}
	g, err := parser.ParseString("", text)
	if err != nil {
		return nil, explain(err, all)
	}
	r := &resolver{named: map[string][]Binding{}, aliases: map[string]Binding{}, negated: map[string]bool{}}
	q, err := r.query(g)
	if err != nil {
		return nil, err
	}
	return q, nil
}

// words splits the text, and refuses what is too long, too deep or not of this language.
func words(text string) ([]lexer.Token, error) {
	lex, err := tokens.LexString("", text)
	if err != nil {
		return nil, explain(err, nil)
	}
	names := lexer.SymbolsByRune(tokens)
	var all []lexer.Token
	depth := 0
	for {
		t, err := lex.Next()
		if err != nil {
			return nil, explain(err, all)
		}
		if t.EOF() {
			return append(all, t), nil
		}
		switch name := names[t.Type]; {
		case name == "Space" || name == "Comment":
			continue
		case name == "Strange" && t.Value == "{{":
			return nil, errorAt(at(t.Pos), "{{…}} is of saved questions, and not supported: use a parameter, ${name}")
		case name == "Strange":
			return nil, errorAt(at(t.Pos), "smart classes, as %s, are not supported: name classes, as (User|Person)", t.Value)
		case name == "List" || t.Value == "(":
			depth++
		case name == "ListEnd" || t.Value == ")":
			depth--
		}
		if all = append(all, t); len(all) > maxTokens {
			return nil, errorAt(at(t.Pos), "the query has more than %d words", maxTokens)
		}
		if depth > maxDepth {
			return nil, errorAt(at(t.Pos), "more than %d parentheses are open", maxDepth)
		}
	}
}

func at(p lexer.Position) Pos { return Pos{p.Line, p.Column} }

// explain says of an error of the parser what was expected.
func explain(err error, all []lexer.Token) error {
	var wrong *participle.UnexpectedTokenError
	if errors.As(err, &wrong) {
		e := &Error{Pos: at(wrong.Unexpected.Pos), Got: wrong.Unexpected.Value}
		i := slices.IndexFunc(all, func(t lexer.Token) bool { return t.Pos.Offset == wrong.Unexpected.Pos.Offset })
		if wrong.Unexpected.EOF() {
			i, e.Got = len(all)-1, ""
			e.Pos = at(wrong.Unexpected.Pos)
		}
		e.Want = expected(all[:max(i, 0)])
		return e
	}
	var other participle.Error
	if errors.As(err, &other) {
		pos := at(other.Position())
		if strings.Contains(other.Message(), "invalid input text") {
			return errorAt(pos, "this cannot be read: is a quote, a bracket or a comment not closed?")
		}
		if len(all) > 0 {
			i := slices.IndexFunc(all, func(t lexer.Token) bool { return t.Pos.Offset == other.Position().Offset })
			if i >= 0 {
				return &Error{Pos: pos, Got: all[i].Value, Want: expected(all[:i])}
			}
		}
		return errorAt(pos, "this cannot be read")
	}
	return errorAt(Pos{1, 1}, "the query cannot be read")
}

const (
	wantNode  = "a class as User, a type as okta_user, * or a text in quotes"
	wantVerb  = "a verb as HAS, or RELATES TO"
	wantMore  = "THAT, WHERE, RETURN, ORDER BY, SKIP, LIMIT or the end"
	wantValue = "a value: a text in quotes, a number, a date, true, false, undefined, /a regular expression/ or ${parameter}"
)

// expected says what may follow the words before an error.
func expected(before []lexer.Token) string {
	if len(before) == 0 {
		return "FIND and " + wantNode
	}
	names := lexer.SymbolsByRune(tokens)
	// The part of the query, and how deep it is in parentheses there.
	part, depth, inList := "FIND", 0, false
	for _, t := range before {
		word := strings.ToUpper(t.Value)
		name := names[t.Type]
		switch {
		case name == "Return":
			part, depth = "RETURN", 0
		case name == "Keyword" && slices.Contains([]string{"FIND", "WITH", "THAT", "WHERE", "ORDER", "SKIP", "LIMIT"}, word):
			part, depth = word, 0
		case name == "List" || name == "ListEnd":
			inList = name == "List"
		case name == "Punct" && word == "(":
			depth++
		case name == "Punct" && word == ")":
			depth--
		}
	}
	last := before[len(before)-1]
	word, name := strings.ToUpper(last.Value), names[last.Type]
	condition := "a property as displayName, or a condition in parentheses"
	switch {
	case name == "Keyword" && word == "AS":
		return "a name"
	case name == "Direction":
		return wantNode + ", or AS"
	}
	switch part {
	case "FIND":
		if word == "FIND" || word == "UNIQUE" || word == "(" || word == "|" {
			return wantNode
		}
		if depth > 0 {
			return "| or )"
		}
		return "WITH, AS, " + wantMore
	case "THAT":
		switch {
		case word == "THAT" || word == "!":
			return wantVerb
		case word == "(" || word == "|":
			return "a name"
		case depth > 0:
			return "| or )"
		case len(before) > 1 && (slices.Contains([]string{"THAT", "!"}, strings.ToUpper(before[len(before)-2].Value))) || word == "TO":
			return wantNode
		}
		return "a class or type, WITH, AS, " + wantMore
	case "WITH", "WHERE":
		if part == "WHERE" {
			condition = "a property of a name, as u.email, or a condition in parentheses"
		}
		more := "AND, OR, " + wantMore
		if part == "WITH" {
			more = "AND, OR, AS, " + wantMore
		}
		if depth > 0 {
			more = "AND, OR or )"
		}
		if inList {
			more = "OR between all values, or AND between all, or )"
		}
		switch name {
		case "Compare", "Compare1", "List":
			return wantValue
		case "Name", "Bracket":
			if n := len(before); n > 1 && slices.Contains([]string{"Compare", "Compare1"}, names[before[n-2].Type]) {
				if part == "WITH" {
					return wantValue
				}
				return ". and a property"
			}
			return "an operator: = != < <= > >= ~= !~= ^= !^= $= !$="
		case "String", "Number", "Now", "Date", "Parameter", "Regexp":
			return more
		case "ListEnd":
			return more
		}
		switch word {
		case "WITH", "WHERE", "(":
			return condition
		case "AND", "OR":
			return condition + ", or in a list: " + wantValue
		case ".":
			return "the rest of the property's name"
		case "-":
			return "a number"
		}
		return more
	case "RETURN":
		switch {
		case name == "Return" || slices.Contains([]string{",", "(", "+", "-", "*", "/", "^"}, word):
			return "a column: a property as u.email, a name, a function as COUNT(u), or TREE"
		case word == ".":
			return "a property"
		case depth > 0:
			return ", or )"
		}
		return ", or AS, ORDER BY, SKIP, LIMIT or the end"
	case "ORDER":
		switch {
		case word == "ORDER":
			return "BY"
		case word == "BY" || word == ",":
			return "a column or a property as u.email"
		case word == ".":
			return "a property"
		}
		return ", or ASC, DESC, SKIP, LIMIT or the end"
	}
	if word == part {
		return "a whole number"
	}
	if part == "SKIP" {
		return "LIMIT or the end"
	}
	return "the end"
}

// count reads a whole number.
func count(c gCount, least, most int) (int, error) {
	n, err := strconv.Atoi(c.Count)
	if err != nil || n < least || n > most {
		return 0, errorAt(at(c.Pos), "%s is no whole number from %d to %d", c.Count, least, most)
	}
	return n, nil
}

// unquote reads a text in quotes: a backslash stands before a quote, a
// backslash, or what it is part of.
func unquote(s string) string {
	quote := s[0]
	s = s[1 : len(s)-1]
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && (s[i+1] == quote || s[i+1] == '\\') {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

var now = regexp.MustCompile(`^(?i:date)\s*\.\s*(?i:now)(?:\s*([+-])\s*([0-9]+)\s*([A-Za-z]*))?$`)

var units = map[string]string{
	"hour": "hour", "hr": "hour", "hours": "hour", "hrs": "hour",
	"day": "day", "days": "day",
	"month": "month", "mo": "month", "months": "month", "mos": "month",
	"year": "year", "yr": "year", "years": "year", "yrs": "year",
}

// relative reads a time relative to now.
func relative(text string, pos Pos) (*Time, error) {
	m := now.FindStringSubmatch(text)
	if m[1] == "" {
		return &Time{}, nil
	}
	n, err := strconv.Atoi(m[2])
	unit := units[strings.ToLower(m[3])]
	if err != nil || n > 100_000 || unit == "" {
		return nil, errorAt(pos, "%s is no time: expected as date.now - 90 days, of hours, days, months or years, at most 100000 of them", text)
	}
	if m[1] == "-" {
		n = -n
	}
	return &Time{N: n, Unit: unit}, nil
}

// absolute reads a time in ISO 8601, from the year alone on.
func absolute(text string, pos Pos) (*Time, error) {
	inner := strings.TrimSpace(text[strings.IndexByte(text, '(')+1 : len(text)-1])
	for _, layout := range []string{"2006", "2006-01", "2006-01-02", "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", time.RFC3339} {
		if t, err := time.Parse(layout, strings.ToUpper(inner)); err == nil && t.Year() > 0 {
			return &Time{At: t.UTC()}, nil
		}
	}
	return nil, errorAt(pos, "%s is no time: expected as date(2026-01-31) or date(2026-01-31T12:00:00Z)", text)
}

// property joins the parts of a property's name.
func property(parts []string, pos Pos) (string, error) {
	names := make([]string, len(parts))
	for i, part := range parts {
		if strings.HasPrefix(part, "[") {
			part = strings.TrimSpace(part[1 : len(part)-1])
		}
		if part == "" || strings.ContainsAny(part, `"\`) || strings.ContainsFunc(part, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "", errorAt(pos, "the name of a property cannot be empty, nor hold a quote, a backslash or a control character")
		}
		names[i] = part
	}
	return strings.Join(names, "."), nil
}

// asWritten is an expression without its spaces.
func asWritten(e gExpr) string {
	names := lexer.SymbolsByRune(tokens)
	var b strings.Builder
	for _, t := range e.Tokens {
		if name := names[t.Type]; name != "Space" && name != "Comment" {
			b.WriteString(t.Value)
		}
	}
	return b.String()
}

// readValue reads an operand.
func readValue(g gValue, kind OpKind) (Value, error) {
	v := Value{Pos: at(g.Pos)}
	wrong := func(want string) error { return errorAt(v.Pos, "%s wants %s", kind, want) }
	var err error
	switch {
	case g.String != nil:
		v.Kind, v.Text = Text, unquote(*g.String)
	case g.Regexp != nil:
		v.Kind, v.Text = Regexp, *g.Regexp
		v.Text, v.Fold = strings.CutSuffix(v.Text, "i")
		v.Text = strings.ReplaceAll(v.Text[1:len(v.Text)-1], `\/`, `/`)
		if _, err := regexp.Compile(v.Text); err != nil {
			return v, errorAt(v.Pos, "this is no regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
	case g.Number != nil:
		v.Kind = Number
		if v.Number, err = strconv.ParseFloat(*g.Number, 64); err != nil {
			return v, errorAt(v.Pos, "%s is too large a number", *g.Number)
		}
		if g.Minus {
			v.Number = -v.Number
		}
	case g.Now != nil:
		v.Kind = Date
		v.Time, err = relative(*g.Now, v.Pos)
	case g.Date != nil:
		v.Kind = Date
		v.Time, err = absolute(*g.Date, v.Pos)
	case g.Parameter != nil:
		v.Kind, v.Text = Parameter, strings.TrimSpace((*g.Parameter)[2:len(*g.Parameter)-1])
		if strings.HasPrefix(v.Text, "param.") {
			return v, errorAt(v.Pos, "parameters kept by the server, as ${%s}, are not supported: send a value and use ${%s}", v.Text, strings.TrimPrefix(v.Text, "param."))
		}
		if !parameterName.MatchString(v.Text) {
			return v, errorAt(v.Pos, "a parameter is named by letters, digits and _, as ${name}")
		}
	case g.Word != nil:
		switch strings.ToUpper(*g.Word) {
		case "TRUE", "FALSE":
			v.Kind, v.Boolean = Boolean, strings.EqualFold(*g.Word, "TRUE")
		default:
			v.Kind = Undefined
		}
	}
	if err != nil {
		return v, err
	}
	switch {
	case textual(kind) && v.Kind != Text && v.Kind != Regexp && v.Kind != Parameter:
		return v, wrong("a text in quotes, /a regular expression/ or ${parameter}")
	case ordered(kind) && v.Kind != Number && v.Kind != Date && v.Kind != Parameter:
		return v, wrong("a number, a date or ${parameter}")
	}
	return v, nil
}

// textual and ordered tell what an operator compares, if not anything.
func textual(kind OpKind) bool { return kind == Contains || kind == StartsWith || kind == EndsWith }

func ordered(kind OpKind) bool {
	return kind == Less || kind == LessEqual || kind == Greater || kind == GreaterEqual
}

var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// operator reads an operator.
func operator(text string) Op {
	positive, not := strings.CutPrefix(text, "!")
	if text == "!=" {
		return Op{Not: true, Kind: Equal}
	}
	return Op{Not: not, Kind: OpKind(positive)}
}
