package j1ql

import (
	"errors"
	"regexp"
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
	maxDepth  = 40   // parentheses within each other: databases bound the depth of expressions
	maxSteps  = 30   // optional parts included: SQLite joins no more
	maxWhole  = 15   // columns of whole objects: each is a join more
	maxValues = 1000 // of a list
	maxAll    = 2000 // values of all lists, when parameters have their values
	maxCols   = 100
)

// Parse reads a query and resolves its names. Its errors are *Error.
func Parse(text string) (*Query, error) {
	if len(text) > MaxText {
		return nil, errorAt(Pos{1, 1}, "the query has %d bytes; at most %d can be", len(text), MaxText)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r == utf8.RuneError || r == 0 }); i >= 0 {
		p := lexer.Position{Line: 1, Column: 1}
		p.Advance(text[:i])
		return nil, errorAt(at(p), "there is a character that is not UTF-8, or NUL")
	}
	all, err := words(text)
	if err != nil {
		return nil, err
	}
	g, i := parseWords(all)
	if g == nil {
		return nil, unexpected(all, i)
	}
	r := &resolver{named: map[string][]Binding{}, aliases: map[string]Binding{}, negated: map[string]bool{}}
	return r.query(g)
}

// open says of what begins and does not end how it ends.
var open = map[string]string{
	"OpenText":    "the text that begins here does not end: expected the same quote, and \\ before quotes in the text",
	"OpenRegexp":  "the regular expression that begins here is empty, or does not end on its line: expected /, and \\ before a / in it",
	"OpenBracket": "the name that begins here does not end on its line: expected ]",
	"OpenComment": "the comment that begins here does not end: expected */",
}

// words splits the text, and refuses what is too long, too deep or not of this language.
// The offset of a word's position is its number; the last word is the end.
func words(text string) ([]lexer.Token, error) {
	lex, err := tokens.LexString("", text)
	if err != nil {
		return nil, err
	}
	names := lexer.SymbolsByRune(tokens)
	var all []lexer.Token
	depth := 0
	for {
		t, err := lex.Next()
		if err != nil {
			return nil, err
		}
		name := names[t.Type]
		if name == "Space" || name == "Comment" {
			continue
		}
		pos := at(t.Pos)
		t.Pos.Offset = len(all)
		all = append(all, t)
		switch {
		case t.EOF():
			return all, nil
		case name == "Strange" && t.Value == "{{":
			return nil, errorAt(pos, "{{…}} is of saved questions, and not supported: use a parameter, ${name}")
		case name == "Strange":
			return nil, errorAt(pos, "smart classes, as %s, are not supported: name classes, as (User|Person)", t.Value)
		case open[name] != "":
			return nil, errorAt(pos, "%s", open[name])
		case name == "List" || t.Value == "(":
			depth++
		case name == "ListEnd" || t.Value == ")":
			depth--
		}
		if len(all) > maxTokens {
			return nil, errorAt(pos, "the query has more than %d words", maxTokens)
		}
		if depth > maxDepth {
			return nil, errorAt(pos, "more than %d parentheses are open", maxDepth)
		}
	}
}

func at(p lexer.Position) Pos { return Pos{p.Line, p.Column} }

// parseWords parses words. If it cannot, it returns nil and the number of the
// first that does not fit.
func parseWords(all []lexer.Token) (*gQuery, int) {
	var g *gQuery
	lex, err := lexer.Upgrade(&wordReader{all})
	if err == nil {
		g, err = parser.ParseFromLexer(lex)
	}
	var wrong participle.Error
	switch {
	case err == nil:
		return g, 0
	case errors.As(err, &wrong):
		return nil, wrong.Position().Offset
	}
	return nil, len(all) - 1
}

// wordReader gives words to the parser.
type wordReader struct{ rest []lexer.Token }

// Next returns the next word, and the end again and again.
func (w *wordReader) Next() (lexer.Token, error) {
	t := w.rest[0]
	if len(w.rest) > 1 {
		w.rest = w.rest[1:]
	}
	return t, nil
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

// layouts of ISO 8601; fractions of a second may follow the seconds.
var layouts = []string{
	"2006", "2006-01", "2006-01-02", "2006-01-02T15", "2006-01-02T15:04", "2006-01-02T15:04:05",
	"2006-01-02T15:04Z07:00", "2006-01-02T15:04Z0700", time.RFC3339, "2006-01-02T15:04:05Z0700",
}

// absolute reads a time in ISO 8601, from the year alone on.
func absolute(text string, pos Pos) (*Time, error) {
	inner := strings.TrimSpace(text[strings.IndexByte(text, '(')+1 : len(text)-1])
	for _, layout := range layouts {
		// The zero time means relative to now; and years have four digits.
		if t, err := time.Parse(layout, strings.ToUpper(inner)); err == nil && t.Year() >= 1000 && t.UTC().Year() <= 9999 {
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
	var b strings.Builder
	for _, t := range e.Tokens {
		b.WriteString(t.Value)
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
		if _, err := regexp.Compile("(?:" + v.Text + ")"); err != nil { // as it is used
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
