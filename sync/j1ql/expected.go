package j1ql

import (
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/participle/v2/lexer"
)

const (
	wantNode  = "a class as User, a type as okta_user, * or a text in quotes"
	wantValue = "a value: a text in quotes, a number, a date, true, false, undefined, /a regular expression/ or ${parameter}"
)

// candidates are words, one of each sort, by which to find out what the grammar
// takes at some place. Each has its kind of token, and the name that phrases has for it.
var candidates = []struct{ name, kind, value string }{
	{"FIND", "Keyword", "FIND"}, {"UNIQUE", "Keyword", "UNIQUE"}, {"WITH", "Keyword", "WITH"}, {"AS", "Keyword", "AS"},
	{"THAT", "Keyword", "THAT"}, {"WHERE", "Keyword", "WHERE"}, {"RETURN", "Return", "RETURN"},
	{"ORDER", "Keyword", "ORDER"}, {"BY", "Keyword", "BY"}, {"SKIP", "Keyword", "SKIP"}, {"LIMIT", "Keyword", "LIMIT"},
	{"AND", "Keyword", "AND"}, {"OR", "Keyword", "OR"}, {"TRUE", "Keyword", "TRUE"},
	{"name", "Name", "x"}, {"short", "Short", "x"}, {"ASC", "Short", "ASC"},
	{"text", "String", "''"}, {"number", "Number", "1"}, {"regexp", "Regexp", "/x/"}, {"now", "Now", "date.now"},
	{"date", "Date", "date(2026)"}, {"parameter", "Parameter", "${x}"}, {"bracket", "Bracket", "[x]"},
	{"operator", "Compare", "="}, {"list", "List", "("}, {"list)", "ListEnd", ")"}, {"direction", "Direction", ">>"},
	{"(", "Punct", "("}, {")", "Punct", ")"}, {"|", "Punct", "|"}, {",", "Punct", ","}, {".", "Punct", "."},
	{"?", "Punct", "?"}, {"!", "Punct", "!"}, {"*", "Punct", "*"}, {"+", "Punct", "+"}, {"/", "Punct", "/"}, {"-", "Punct", "-"},
}

// phrases say in order what is expected, if all that a phrase needs is. It covers
// what it needs, and the rest that it tells of too.
var phrases = []struct{ needs, covers, say string }{
	{"bracket AND", "name short * FIND UNIQUE WITH AS THAT WHERE ORDER BY SKIP LIMIT OR TRUE ASC", "the rest of a property's name"},
	{"FIND", "UNIQUE", "FIND"}, {"UNIQUE", "", "UNIQUE"}, {"AS direction", "", "AS, >>, <<"}, {"direction", "", ">>, <<"},
	{"text number regexp", "now date parameter TRUE list - name bracket", wantValue},
	{"text number short", "name - ( ASC", "a column: a property as u.email, a name, a function as COUNT(u), or TREE"},
	{"text name *", "(", wantNode},
	{"text name", "short ASC", "a column, or a property as u.email"},
	{"name bracket in-WHERE", "(", "a property of a name, as u.email, or a condition in parentheses"},
	{"name bracket", "(", "a property as displayName, or a condition in parentheses"},
	{"name !", "(", "a verb as HAS, or RELATES TO"},
	{"name (", "", "a verb as HAS, or RELATES TO"},
	{"name", "short", "a name"},
	{"short", "text ASC", "a name"},
	{"operator", ".", "an operator: = != < <= > >= ~= !~= ^= !^= $= !$="},
	{"+ /", "* - . (", "an operator: + - * / ^"},
	{"number", "", "a whole number"},
	{"AND", "", "AND"}, {"OR", "", "OR"},
	{"|", "", "|"}, {",", "", "a comma"}, {")", "list)", ")"}, {"list)", "", ")"}, {"?", "", "?"},
	{"WITH", "", "WITH"}, {"AS", "", "AS"}, {"THAT", "(", "THAT"}, {"WHERE", "", "WHERE"}, {"RETURN", "", "RETURN"},
	{"ASC", "", "ASC, DESC"}, {"ORDER", "", "ORDER BY"}, {"BY", "", "BY"}, {"SKIP", "", "SKIP"}, {"LIMIT", "", "LIMIT"},
	{"end", "", "the end"},
}

// unexpected is the error that the word number i does not fit.
func unexpected(all []lexer.Token, i int) *Error {
	t := all[i]
	e := &Error{Pos: at(t.Pos), Want: expected(all[:i])}
	switch kind := t.Type; {
	case t.EOF():
	case kind == kinds["String"]: // texts may be people's data
		e.Got = "text in quotes"
	case kind == kinds["Regexp"]:
		e.Got = "regular expression"
	default:
		e.Got = quotedWord(t.Value)
	}
	return e
}

// quotedWord is a word as an error shows it, at most 40 characters of it.
func quotedWord(s string) string {
	runes := []rune(s)
	return strconv.Quote(string(runes[:min(len(runes), 40)]))
}

var kinds = tokens.Symbols()

// expected says what may follow the words before an error. It asks the grammar, by
// trying one word of each sort.
func expected(before []lexer.Token) string {
	prefix := shortened(before)
	const most = 400 // words; what comes after so many is not worth the time
	if len(prefix) > most {
		return "something else"
	}
	n := len(prefix)
	end := lexer.EOFToken(lexer.Position{Offset: n + 1})
	takes := map[string]bool{}
	for _, c := range candidates {
		next := lexer.Token{Type: kinds[c.kind], Value: c.value, Pos: lexer.Position{Offset: n}}
		g, wrong := parseWords(append(prefix[:n:n], next, end))
		takes[c.name] = g != nil || wrong > n
	}
	g, _ := parseWords(append(prefix[:n:n], end))
	takes["end"] = g != nil
	takes["in-WHERE"] = slices.ContainsFunc(prefix, func(t lexer.Token) bool {
		return t.Type == kinds["Keyword"] && strings.EqualFold(t.Value, "WHERE")
	})

	var say []string
	for _, p := range phrases {
		needs := strings.Fields(p.needs)
		if slices.ContainsFunc(needs, func(name string) bool { return !takes[name] }) {
			continue
		}
		for _, name := range append(needs, strings.Fields(p.covers)...) {
			delete(takes, name)
		}
		say = append(say, p.say)
	}
	last := len(say) - 1
	if last == 0 || strings.Contains(say[last], " or ") {
		return strings.Join(say, ", ")
	}
	return strings.Join(say[:last], ", ") + " or " + say[last]
}

// shortened leaves out all but one of the values of a list, which may be many
// and say nothing of what follows, and numbers the words anew.
func shortened(before []lexer.Token) []lexer.Token {
	var words []lexer.Token
	list := 0 // where the list begins that is open
	for _, t := range before {
		switch join := strings.ToUpper(t.Value); {
		case t.Type == kinds["List"]:
			list = len(words) + 1
		case t.Type == kinds["ListEnd"]:
			list = 0
		case list > 0 && t.Type == kinds["Keyword"] && (join == "AND" || join == "OR"):
			words = append(words[:list], lexer.Token{Type: kinds["Number"], Value: "1", Pos: lexer.Position{Offset: list}})
		}
		t.Pos.Offset = len(words)
		words = append(words, t)
	}
	return words
}
