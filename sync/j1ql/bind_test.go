package j1ql_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	. "github.com/oktasync/oktasync/sync/j1ql"
	"github.com/oktasync/oktasync/sync/j1ql/j1qltest"
)

func parse(t *testing.T, text string) *Query {
	t.Helper()
	q, err := Parse(text)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return q
}

func TestParametersAndDatesBecomeValues(t *testing.T) {
	now := time.Date(2026, 3, 31, 1, 30, 0, 0, time.FixedZone("", -5*3600)) // 06:30 UTC
	ms := func(text string) float64 {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return float64(at.UnixMilli())
	}
	number := func(n float64) []Value { return []Value{{Kind: Number, Number: n}} }
	for _, c := range []struct {
		operand, params string // JSON
		want            []Value
	}{
		{"${p}", `{"p": "x"}`, []Value{{Text: "x"}}},
		{"${p}", `{"p": 1.5}`, number(1.5)},
		{"${p}", `{"p": true}`, []Value{{Kind: Boolean, Boolean: true}}},
		{"${p}", `{"p": null}`, []Value{{Kind: Undefined}}},
		{"${p}", `{"p": ["x", 1, null]}`, []Value{{Text: "x"}, {Kind: Number, Number: 1}, {Kind: Undefined}}},
		{"('w' OR ${p} OR ${q_2})", `{"p": ["x", "y"], "q_2": "z"}`, []Value{{Text: "w"}, {Text: "x"}, {Text: "y"}, {Text: "z"}}},
		{"date.now", `{}`, number(ms("2026-03-31T06:30:00Z"))},
		{"date.now-24hr", `{}`, number(ms("2026-03-30T06:30:00Z"))},
		{"date.now + 1 HOUR", `{}`, number(ms("2026-03-31T07:30:00Z"))},
		{"DATE.NOW - 90 days", `{}`, number(ms("2025-12-31T06:30:00Z"))},
		{"date.now - 1 mo", `{}`, number(ms("2026-03-03T06:30:00Z"))}, // 31 February, as AddDate has it
		{"date.now-2yrs", `{}`, number(ms("2024-03-31T06:30:00Z"))},
		{"date(2019)", `{}`, number(ms("2019-01-01T00:00:00Z"))},
		{"date(2019-10)", `{}`, number(ms("2019-10-01T00:00:00Z"))},
		{"date( 2019-10-30 )", `{}`, number(ms("2019-10-30T00:00:00Z"))},
		{"date(2019-10-30T12)", `{}`, number(ms("2019-10-30T12:00:00Z"))},
		{"date(2019-10-30T12:30)", `{}`, number(ms("2019-10-30T12:30:00Z"))},
		{"date(2019-10-30T12:30:15.123)", `{}`, number(ms("2019-10-30T12:30:15.123Z"))},
		{"date(2019-10-30t12:30:15z)", `{}`, number(ms("2019-10-30T12:30:15Z"))},
		{"date(2019-10-30T12:30+02:00)", `{}`, number(ms("2019-10-30T10:30:00Z"))},
		{"date(2019-10-30T12:30:15.5+0200)", `{}`, number(ms("2019-10-30T10:30:15.5Z"))},
		{"-5.25", `{}`, number(-5.25)},
	} {
		var params map[string]any
		if err := json.Unmarshal([]byte(c.params), &params); err != nil {
			t.Fatal(err)
		}
		// Wherever a condition can stand.
		for text, filter := range map[string]func(*Query) *Filter{
			"FIND User WITH a = " + c.operand:                           func(q *Query) *Filter { return q.Start.Filter },
			"FIND User THAT !IS Person WITH a = " + c.operand:           func(q *Query) *Filter { return q.Steps[0].That.Node.Filter },
			"FIND User (THAT IS Person WITH a = " + c.operand + ")?":    func(q *Query) *Filter { return q.Steps[0].Optional.Steps[0].That.Node.Filter },
			"FIND User AS u WHERE u.a = " + c.operand:                   func(q *Query) *Filter { return q.Where },
			"FIND User WITH b = 1 AND (c = 2 OR a = " + c.operand + ")": func(q *Query) *Filter { return &q.Start.Filter.And[1].Or[1] },
		} {
			q := parse(t, text)
			before := j1qltest.Print(q)
			bound, err := Bind(q, params, now)
			if err != nil {
				t.Errorf("%s\n%v", text, err)
				continue
			}
			got := filter(bound).Compare
			if diff := cmp.Diff(c.want, got.Values, cmpopts.IgnoreTypes(Pos{})); diff != "" || got.All {
				t.Errorf("%s, all: %t, -want +got:\n%s", text, got.All, diff)
			}
			if after := j1qltest.Print(q); after != before {
				t.Errorf("Bind changed the query\n%s\nto\n%s", before, after)
			}
		}
	}
}

func TestAListOfAnAndIsOfAll(t *testing.T) {
	bound, err := Bind(parse(t, "FIND User WITH a != (${p} AND 'z')"), map[string]any{"p": []any{"x", "y"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got := bound.Start.Filter.Compare; !got.All || !got.Op.Not || len(got.Values) != 3 {
		t.Errorf("%+v", got)
	}
}

func TestParametersThatDoNotFit(t *testing.T) {
	deep := []any{[]any{"x"}}
	many := make([]any, MaxValues)
	for _, c := range []struct {
		condition string
		params    map[string]any
		want      string
	}{
		{"a = ${p}", nil, "line 1, column 20: the parameter p is not given"},
		{"a = ${p}", map[string]any{"P": 1}, "line 1, column 20: the parameter p is not given"},
		{"a = ('x' OR ${p})", map[string]any{"p": map[string]any{"secret": 1}}, "line 1, column 28: the parameter p must be a text, a number, true, false, null, or a list of these"},
		{"a = ${p}", map[string]any{"p": deep}, "line 1, column 20: the parameter p must be a text, a number, true, false, null, or a list of these"},
		{"a = ${p}", map[string]any{"p": []any{}}, "line 1, column 20: the parameter p is an empty list"},
		{"a < ${p}", map[string]any{"p": "secret"}, "line 1, column 20: the parameter p is of a kind that < does not compare"},
		{"a ~= ${p}", map[string]any{"p": []any{"x", 1.0}}, "line 1, column 21: the parameter p is of a kind that ~= does not compare"},
		{"a = ${p}", map[string]any{"p": math.NaN()}, "line 1, column 20: the parameter p is no number"},
		{"a = ${p}", map[string]any{"p": "secret\x00"}, "line 1, column 20: the parameter p has a character that is not UTF-8, or NUL"},
		{"a = ${p}", map[string]any{"p": "secret\xff"}, "line 1, column 20: the parameter p has a character that is not UTF-8, or NUL"},
		{"a = ('x' OR ${p})", map[string]any{"p": many}, "line 1, column 16: the list has 1001 values; at most 1000 can be"},
	} {
		_, err := Bind(parse(t, "FIND User WITH "+c.condition), c.params, time.Now())
		if err == nil || err.Error() != c.want || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s with %v\n got %v\nwant %s", c.condition, c.params, err, c.want)
		}
	}
}
