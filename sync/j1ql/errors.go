package j1ql

import (
	"fmt"
	"slices"
	"strings"
)

// Error says what is wrong with the text of a query, and where.
type Error struct {
	Pos     Pos
	Got     string // the word that stands there; of a text only that it is one
	Want    string // what was expected
	Message string // in place of Got and Want
}

func (e *Error) Error() string {
	at := fmt.Sprintf("line %d, column %d: ", e.Pos.Line, e.Pos.Column)
	switch {
	case e.Message != "":
		return at + e.Message
	case e.Got == "":
		return at + "the query ends here: expected " + e.Want
	}
	return fmt.Sprintf("%sunexpected %s: expected %s", at, e.Got, e.Want)
}

func errorAt(pos Pos, format string, args ...any) *Error {
	return &Error{Pos: pos, Message: fmt.Sprintf(format, args...)}
}

// Nearest returns up to three of the known words that look like the word, the
// nearest first.
func Nearest(word string, known []string) []string {
	type near struct {
		word string
		far  int
	}
	var found []near
	lower := strings.ToLower(word)
	for _, k := range known {
		far := distance(lower, strings.ToLower(k))
		if far <= max(2, min(len(word), 64)/3) {
			found = append(found, near{k, far})
		}
	}
	slices.SortStableFunc(found, func(a, b near) int { return a.far - b.far })
	var words []string
	for _, n := range found[:min(len(found), 3)] {
		words = append(words, n.word)
	}
	return words
}

// distance counts the letters to insert, remove or replace to make a of b; of
// long words it looks at the beginning.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	x, y = x[:min(len(x), 64)], y[:min(len(y), 64)]
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j, s := range y {
			cost := diagonal
			if r != s {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(y)]
}

// hint says after an unknown word what may be meant.
func hint(word string, known []string) string {
	if near := Nearest(word, known); len(near) > 0 {
		return "; did you mean " + strings.Join(near, " or ") + "?"
	}
	if len(known) == 0 {
		return ""
	}
	return "; there are: " + strings.Join(known[:min(len(known), 10)], ", ")
}
