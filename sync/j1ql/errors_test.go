package j1ql

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/participle/v2/lexer"
)

func TestAnErrorSaysWhereItIsAndWhatWasExpected(t *testing.T) {
	// What the errors say, by what the table below calls it.
	const (
		value   = "a value: a text in quotes, a number, a date, true, false, undefined, /a regular expression/ or ${parameter}"
		node    = "a class as User, a type as okta_user, * or a text in quotes"
		column  = "a column: a property as u.email, a name, a function as COUNT(u), or TREE"
		compare = "an operator: = != < <= > >= ~= !~= ^= !^= $= !$="
		after   = "THAT, WHERE, RETURN, ORDER BY, SKIP, LIMIT or the end"
	)
	for _, c := range []struct {
		query        string
		line, column int
		says         string
	}{
		// Words that do not fit.
		{"", 1, 1, "the query ends here: expected FIND, " + node},
		{"FIND", 1, 5, "the query ends here: expected UNIQUE, " + node},
		{"FIND User Persn", 1, 11, `unexpected "Persn": expected WITH, AS, ` + after},
		{"FIND User AS u Persn", 1, 16, `unexpected "Persn": expected WITH, ` + after},
		{"FIND User AS u WITH a = 1 Persn", 1, 27, `unexpected "Persn": expected AND, OR, ` + after},
		{"FIND User AS u WITH a = 1 AS v", 1, 27, `unexpected "AS": expected AND, OR, ` + after},
		{"FIND User\n  THAT IS\n\tPerson AS p Persn", 3, 14, `unexpected "Persn": expected WITH, ` + after},
		{"FIND User WITH näme = 1", 1, 17, `unexpected "ä": expected ` + compare},
		{"FIND User WITH a = 'äöü' Foo", 1, 26, `unexpected "Foo": expected AND, OR, AS, ` + after},
		{"/* é\n */ FIND User; DROP", 2, 14, `unexpected ";": expected WITH, AS, ` + after},
		{"FIND User 'Joe Adams'", 1, 11, "unexpected text in quotes: expected WITH, AS, " + after},
		{"FIND User " + strings.Repeat("x", 60), 1, 11, `unexpected "` + strings.Repeat("x", 40) + `": expected WITH, AS, ` + after},
		{"FIND User AS", 1, 13, "the query ends here: expected a name"},
		{"FIND User AS limit", 1, 14, `unexpected "limit": expected a name`},
		{"FIND (User|", 1, 12, "the query ends here: expected a name"},
		{"FIND (User Person)", 1, 12, `unexpected "Person": expected | or )`},
		{"FIND User WITH", 1, 15, "the query ends here: expected a property as displayName, or a condition in parentheses"},
		{"FIND User WITH active", 1, 22, "the query ends here: expected " + compare},
		{"FIND User WITH NOT active = true", 1, 20, `unexpected "active": expected ` + compare},
		{"FIND User WITH active in (1)", 1, 23, `unexpected "in": expected ` + compare},
		{"FIND User WITH active =", 1, 24, "the query ends here: expected " + value},
		{"FIND User WITH active == true", 1, 24, `unexpected "=": expected ` + value},
		{"FIND User WITH name = John", 1, 23, `unexpected "John": expected ` + value},
		{"FIND User WITH a = 1 AND", 1, 25, "the query ends here: expected a property as displayName, or a condition in parentheses"},
		{"FIND User WITH a = 1)", 1, 21, `unexpected ")": expected AND, OR, AS, ` + after},
		{"FIND User WITH (a = 1", 1, 22, "the query ends here: expected AND, OR or )"},
		{"FIND User WITH a = ()", 1, 21, `unexpected ")": expected ` + value},
		{"FIND User WITH a = (1 OR", 1, 25, "the query ends here: expected " + value},
		{"FIND User WITH a = (1 OR 2 AND 3)", 1, 28, `unexpected "AND": expected OR or )`},
		{"FIND User WITH a = (-1 AND 'x' AND 3 OR 4)", 1, 38, `unexpected "OR": expected AND or )`},
		{"FIND User WITH a = /x/g", 1, 23, `unexpected "g": expected AND, OR, AS, ` + after},
		{"FIND User THAT", 1, 15, "the query ends here: expected a verb as HAS, or RELATES TO"},
		{"FIND User THAT !", 1, 17, "the query ends here: expected a verb as HAS, or RELATES TO"},
		{"FIND User THAT (IS HAS) x", 1, 20, `unexpected "HAS": expected | or )`},
		{"FIND User THAT IS", 1, 18, "the query ends here: expected AS, >>, <<, " + node},
		{"FIND User THAT HAS >> >> >> x", 1, 26, `unexpected ">>": expected ` + node},
		{"FIND User (Person)", 1, 12, `unexpected "Person": expected THAT`},
		{"FIND User (THAT IS Person", 1, 26, "the query ends here: expected ), WITH, AS or THAT"},
		{"FIND User (THAT IS Person)", 1, 27, "the query ends here: expected ?"},
		{"FIND User WHERE", 1, 16, "the query ends here: expected a property of a name, as u.email, or a condition in parentheses"},
		{"FIND User RETURN", 1, 17, "the query ends here: expected " + column},
		{"FIND User AS u RETURN *", 1, 23, `unexpected "*": expected ` + column},
		{"FIND User AS u RETURN u.", 1, 25, "the query ends here: expected the rest of a property's name"},
		{"FIND User AS u RETURN u.name AS", 1, 32, "the query ends here: expected a name"},
		{"FIND User AS u RETURN (u.a", 1, 27, "the query ends here: expected an operator: + - * / ^ or )"},
		{"FIND User ORDER", 1, 16, "the query ends here: expected BY"},
		{"FIND User ORDER BY", 1, 19, "the query ends here: expected a column, or a property as u.email"},
		{"FIND User AS u ORDER BY u.a foo", 1, 29, `unexpected "foo": expected a comma, ASC, DESC, SKIP, LIMIT or the end`},
		{"FIND User LIMIT -1", 1, 17, `unexpected "-": expected a whole number`},
		{"FIND User LIMIT 5 SKIP 5", 1, 19, `unexpected "SKIP": expected the end`},

		// What does not end.
		{"FIND User WITH name = 'John", 1, 23, `the text that begins here does not end: expected the same quote, and \ before quotes in the text`},
		{"FIND User WITH a = /x", 1, 20, `the regular expression that begins here is empty, or does not end on its line: expected /, and \ before a / in it`},
		{"FIND User WITH [a = 1", 1, 16, "the name that begins here does not end on its line: expected ]"},
		{"FIND User\n/* who", 2, 1, "the comment that begins here does not end: expected */"},

		// What is not supported.
		{"FIND #Prod", 1, 6, "smart classes, as #Prod, are not supported: name classes, as (User|Person)"},
		{"FIND User WITH a = ${param.x}", 1, 20, "parameters kept by the server, as ${param.x}, are not supported: send a value and use ${x}"},
		{"FIND User WITH a = {{x}}", 1, 20, "{{…}} is of saved questions, and not supported: use a parameter, ${name}"},
		{"FIND User WITH a = ${}", 1, 20, "a parameter is named by letters, digits and _, as ${name}"},

		// Operands.
		{"FIND User WITH a < 'x'", 1, 20, "< wants a number, a date or ${parameter}"},
		{"FIND User WITH a >= /x/", 1, 21, ">= wants a number, a date or ${parameter}"},
		{"FIND User WITH a > undefined", 1, 20, "> wants a number, a date or ${parameter}"},
		{"FIND User WITH a !~= 5", 1, 22, "~= wants a text in quotes, /a regular expression/ or ${parameter}"},
		{"FIND User WITH a ^= true", 1, 21, "^= wants a text in quotes, /a regular expression/ or ${parameter}"},
		{"FIND User WITH a $= null", 1, 21, "$= wants a text in quotes, /a regular expression/ or ${parameter}"},
		{"FIND User WITH a = ('x' OR /(/)", 1, 28, "this is no regular expression: missing closing ): `(?:()`"},
		{"FIND User WITH a = date.now - 5 weeks", 1, 20, "date.now - 5 weeks is no time: expected as date.now - 90 days, of hours, days, months or years, at most 100000 of them"},
		{"FIND User WITH a = date(2019-13-01)", 1, 20, "date(2019-13-01) is no time: expected as date(2026-01-31) or date(2026-01-31T12:00:00Z)"},
		{"FIND User WITH a = date(0001-01-01)", 1, 20, "date(0001-01-01) is no time: expected as date(2026-01-31) or date(2026-01-31T12:00:00Z)"},
		{`FIND User WITH [a"b] = 1`, 1, 16, "the name of a property cannot be empty, nor hold a quote, a backslash or a control character"},
		{`FIND User AS u RETURN u.[a\b]`, 1, 23, "the name of a property cannot be empty, nor hold a quote, a backslash or a control character"},
		{"FIND ''", 1, 6, "the text to search for is empty: * is any entity"},
		{"FIND User THAT HAS >> AS r << Device", 1, 11, "the direction is given twice"},
		{"FIND User (THAT !IS Person)?", 1, 12, "an optional part cannot begin with a negation: it would filter nothing"},
		{"FIND User LIMIT 0", 1, 17, "0 is no whole number from 1 to 10000"},
		{"FIND User LIMIT 10001", 1, 17, "10001 is no whole number from 1 to 10000"},
		{"FIND User LIMIT 1.5", 1, 17, "1.5 is no whole number from 1 to 10000"},
		{"FIND User LIMIT 99999999999999999999", 1, 17, "99999999999999999999 is no whole number from 1 to 10000"},

		// Names.
		{"FIND User AS count", 1, 14, "count is a word of the language: choose another name"},
		{"FIND User AS u THAT IS Person AS u", 1, 34, "u is the name of something else already: choose another"},
		{"FIND User THAT !IS Person AS p THAT HAS Device AS p", 1, 51, "p is the name of something else already: choose another"},
		{"FIND User AS usr WHERE user.active = true", 1, 24, "nothing in the query is named user; did you mean User or usr?"},
		{"FIND User AS u WHERE something.active = true", 1, 22, "nothing in the query is named something; there are: User, u"},
		{"FIND User AS u WHERE u = 1", 1, 22, "u is an object as a whole: expected a property of it, as u.displayName"},
		{"FIND User WHERE active = true", 1, 17, "expected a property of a name, as u.active, where u is given by AS"},
		{"FIND User AS u WHERE u.a = (1 OR u.b)", 1, 34, `unexpected "u.b": expected ` + value},
		{"FIND User THAT IS User RETURN User.name", 1, 31, "User stands 2 times in the query: give the one that is meant a name by AS"},
		{"FIND User THAT HAS Device THAT HAS Host RETURN has.name", 1, 48, "has stands 2 times in the query: give the one that is meant a name by AS"},
		{"FIND User THAT !IS Person AS p RETURN p.name", 1, 39, "p is of a negated step: there is none, so it has no properties"},
		{"FIND User THAT !IS Person WHERE is.name = 1", 1, 33, "is is of a negated step: there is none, so it has no properties"},

		// Columns.
		{"FIND UNIQUE User", 1, 6, "UNIQUE needs RETURN with columns"},
		{"FIND UNIQUE User RETURN TREE", 1, 6, "UNIQUE needs RETURN with columns"},
		{"FIND User AS u RETURN FLOR(u.a)", 1, 23, "there is no function FLOR; did you mean FLOOR?"},
		{"FIND User AS u RETURN COUNT(u, u)", 1, 23, "COUNT takes 1 argument, not 2"},
		{"FIND User AS u RETURN COUNT(COUNT(u))", 1, 29, "an aggregate cannot be in another one"},
		{"FIND User AS u RETURN SUM(ABS(AVG(u.a)))", 1, 31, "an aggregate cannot be in another one"},
		{"FIND User AS u RETURN MIN(ABS(u.a))", 1, 27, "MIN takes a property as u.created"},
		{"FIND User AS u RETURN COUNT(1)", 1, 29, "COUNT takes a property as u.created, or a name as u"},
		{"FIND User AS u RETURN SUM(u)", 1, 27, "u is an object as a whole: expected a property of it, as u.displayName"},
		{"FIND User AS u RETURN u + 1", 1, 23, "u is an object as a whole: expected a property of it, as u.displayName"},
		{"FIND User AS u RETURN CONCAT(u.*)", 1, 30, "u.* is an object as a whole: expected a property of it, as u.displayName"},
		{"FIND User AS u RETURN u.* AS x", 1, 30, "u.* is many columns, which cannot have one name"},
		{"FIND User AS u RETURN u.a AS ''", 1, 30, "the name of a column cannot be empty"},
		{"FIND User AS u RETURN u.a AS count", 1, 30, "count is a word of the language: choose another name, or put it in quotes"},
		{"FIND User AS u RETURN u.a, u.a", 1, 28, "two columns are named u.a: name one by AS"},

		// Orders.
		{"FIND User AS u ORDER BY x.name", 1, 25, "nothing in the query is named x; did you mean u?"},
		{"FIND User AS u RETURN u.a ORDER BY 'x'", 1, 36, "no column is named x"},
		{"FIND User AS u RETURN u.a ORDER BY u", 1, 36, "u is no column of the answer: order by a property, as u.displayName"},
		{"FIND User AS u RETURN COUNT(u) ORDER BY u.a", 1, 41, "after UNIQUE or an aggregate an answer is ordered by its columns: make u.a one"},
		{"FIND UNIQUE User AS u RETURN u.b ORDER BY u.a", 1, 43, "after UNIQUE or an aggregate an answer is ordered by its columns: make u.a one"},
		{"FIND User AS u RETURN TREE ORDER BY u.a", 1, 37, "a tree has no order"},

		// Characters.
		{"FIND User\nWITH a = '\xff'", 2, 11, "there is a character that is not UTF-8, or NUL"},
		{"FIND User WITH a = '\x00'", 1, 21, "there is a character that is not UTF-8, or NUL"},
	} {
		_, err := Parse(c.query)
		want := fmt.Sprintf("line %d, column %d: %s", c.line, c.column, c.says)
		if err == nil || err.Error() != want {
			t.Errorf("%s\n got %v\nwant %s", c.query, err, want)
		}
	}
}

func TestAnErrorDoesNotRepeatTexts(t *testing.T) {
	for _, query := range []string{
		"FIND User 'joe@example.com'",
		"FIND User WITH a = 'x' 'joe@example.com'",
		"FIND User WITH a < 'joe@example.com'",
		"FIND User WITH a = 'joe@example.com",
		"FIND User WITH a = /x/ = /joe@example.com/",
	} {
		_, err := Parse(query)
		if err == nil || strings.Contains(err.Error(), "joe") {
			t.Errorf("%s: %v", query, err)
		}
	}
}

// What stands in the example queries would be expected there, if a word there were
// wrong; and it is the wrong word that is complained of.
func TestWhatFitsIsWhatAnErrorExpects(t *testing.T) {
	seen := map[string]bool{} // the word before with the keyword: one place of each sort is enough
	for _, text := range SampleQueries(t) {
		all, err := words(text)
		if err != nil {
			t.Fatal(err)
		}
		for i, right := range all {
			at, end := lexer.Position{Offset: i}, lexer.EOFToken(lexer.Position{Offset: i + 1})
			wrong := append(all[:i:i], lexer.Token{Type: kinds["Other"], Value: "@", Pos: at}, end)
			if _, at := parseWords(wrong); at != i {
				t.Errorf("%s: word %d is wrong, and word %d is complained of", text, i, at)
			}
			name := strings.ToUpper(right.Value)
			switch {
			case right.EOF():
				name = "the end"
			case right.Type != kinds["Keyword"] || strings.Contains("TRUE FALSE UNDEFINED NULL", name):
				continue
			}
			before := ""
			if i > 0 {
				before = fmt.Sprint(all[i-1].Type, name)
			}
			if seen[before] {
				continue
			}
			seen[before] = true
			if want := expected(all[:i]); !strings.Contains(want, name) {
				t.Errorf("%s\nword %d is %s, but what was expected is %s", text, i, name, want)
			}
		}
	}
}

func TestAQueryIsBounded(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("(", n) }
	shallow := func(n int) string { return strings.Repeat(")", n) }
	columns := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, ", u.c%d", i)
		}
		return "FIND User AS u RETURN " + b.String()[2:]
	}
	for _, c := range []struct{ name, most, more, says string }{
		{"bytes", "FIND User" + strings.Repeat(" ", MaxText-9), "FIND User" + strings.Repeat(" ", MaxText-8), "bytes"},
		{"steps", "FIND User" + strings.Repeat(" THAT IS X", maxSteps), "FIND User" + strings.Repeat(" THAT IS X", maxSteps+1), "steps"},
		{"conditions", "FIND User WITH " + deep(maxDepth) + "a = 1" + shallow(maxDepth), "FIND User WITH " + deep(maxDepth+1) + "a = 1" + shallow(maxDepth+1), "parentheses"},
		{"expressions", "FIND User AS u RETURN " + deep(maxDepth) + "u.a" + shallow(maxDepth), "FIND User AS u RETURN " + deep(maxDepth+1) + "u.a" + shallow(maxDepth+1), "parentheses"},
		{"operations", "FIND User AS u RETURN 1" + strings.Repeat("+1", maxDepth), "FIND User AS u RETURN 1" + strings.Repeat("+1", maxDepth+1), "operations"},
		{"powers", "FIND User AS u RETURN 1" + strings.Repeat("^1", maxDepth), "FIND User AS u RETURN 1" + strings.Repeat("^1", maxDepth+1), "operations"},
		{"values", "FIND User WITH a = (1" + strings.Repeat(" OR 1", 999) + ")", "FIND User WITH a = (1" + strings.Repeat(" OR 1", 1000) + ")", "values"},
		{"columns", columns(100), columns(101), "columns"},
		{"keys", "FIND User AS u ORDER BY u.a" + strings.Repeat(", u.a", 99), "FIND User AS u ORDER BY u.a" + strings.Repeat(", u.a", 100), "keys"},
		{"classes", "FIND (User" + strings.Repeat("|U", 999) + ")", "FIND (User" + strings.Repeat("|U", 1000) + ")", "classes"},
		{"verbs", "FIND User THAT (IS" + strings.Repeat("|H", 999) + ") X", "FIND User THAT (IS" + strings.Repeat("|H", 1000) + ") X", "verbs"},
	} {
		if _, err := Parse(c.most); err != nil {
			t.Errorf("%s: as many as can be: %v", c.name, err)
		}
		var e *Error
		if _, err := Parse(c.more); !errors.As(err, &e) || !strings.Contains(e.Message, c.says) || !strings.ContainsAny(e.Message, "0123456789") {
			t.Errorf("%s: one more than can be: %v", c.name, err)
		}
	}
}

func TestTheNearestWordsComeFirst(t *testing.T) {
	known := []string{"okta_group", "okta_user", "Okta_user", "user", "UserGroup", "deprovisioned", "active"}
	for word, want := range map[string][]string{
		"okta_usr":                  {"okta_user", "Okta_user"},
		"DEPROVISIONED":             {"deprovisioned"},
		"User":                      {"user"},
		"Usergroup":                 {"UserGroup"},
		"inactive":                  {"active"},
		"something":                 nil,
		"":                          nil,
		strings.Repeat("x", 10_000): nil,
	} {
		if got := Nearest(word, known); !slices.Equal(got, want) {
			t.Errorf("%.20q: %q, want %q", word, got, want)
		}
	}
	if got := Nearest("a", []string{"a1", "a2", "a3", "a4"}); len(got) != 3 {
		t.Errorf("%d words, not three: %q", len(got), got)
	}
}
