package j1ql_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	. "github.com/oktasync/oktasync/sync/j1ql"
)

// Whatever the text: an error is at a place of it, and what is no error is a query that
// reads back as the same one when written down, and that can be bound.
func FuzzParse(f *testing.F) {
	for _, text := range SampleQueries(f) {
		f.Add(text)
	}
	for _, text := range []string{
		"FIND User WITH a = ('x' OR /y\\/z/i OR ${p} OR -1.5 OR date.now+1hr OR date(2020) OR null) AND [b c] !^= 'it\\'s' AS u",
		"FIND (A|b) AS x WITH a=1 THAT (HAS|!IS) >> AS e * (THAT RELATES TO 'q' (THAT !IS C)? AS o)? AS p WHERE (x.[a] = e.b.c)",
		"FIND UNIQUE A RETURN A.*, COUNT(A), ((A.x-1)^2)/-3 AS \"y\", MERGE('z', A.b) ORDER BY y DESC, 'z' SKIP 1 LIMIT 2",
		"FIND A /* b */ ORDER BY A.x ASC",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := Parse(text)
		if err != nil {
			inside(t, text, err)
			return
		}
		readsBack(t, q)
		params := map[string]any{"p": "x"}
		if _, err := Bind(q, params, time.UnixMilli(0)); err != nil {
			inside(t, text, err)
		}
	})
}

// inside checks that an error stands at a character of the text, or at its end.
func inside(t *testing.T, text string, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%q: %T is no *Error: %v", text, err, err)
	}
	lines := strings.Split(text, "\n")
	if e.Pos.Line < 1 || e.Pos.Line > len(lines) || e.Pos.Column < 1 || e.Pos.Column > utf8.RuneCountInString(lines[e.Pos.Line-1])+1 {
		t.Fatalf("%q: outside of the text: %v", text, err)
	}
	if e.Message == "" && e.Want == "" {
		t.Fatalf("%q: says not what was expected: %v", text, err)
	}
}
