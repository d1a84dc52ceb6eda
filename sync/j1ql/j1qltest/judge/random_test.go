package judge_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/sync/j1ql"
	"github.com/oktasync/oktasync/sync/j1ql/j1qltest/judge"
)

// positions are not compared: the random query has none.
var positions = cmp.Comparer(func(a, b j1ql.Pos) bool { return true })

func TestRandomQueryReadsBackFromItsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := judge.RandomQuery(t, judge.RandomGraph(t))
		text := judge.Print(q)
		parsed, err := j1ql.Parse(text)
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		bound, err := j1ql.Bind(parsed, nil, time.Time{})
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		if diff := cmp.Diff(q, bound, positions, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s\n-random +parsed:\n%s", text, diff)
		}
	})
}
