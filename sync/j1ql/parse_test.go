package j1ql_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	. "github.com/oktasync/oktasync/sync/j1ql"
	"github.com/oktasync/oktasync/sync/j1ql/j1qltest"
)

var update = flag.Bool("update", false, "write testdata/queries.golden anew")

// The golden file has each example in one form of writing: with its names resolved, its
// precedence in parentheses, its keywords and numbers as they were understood.
func TestTheExampleQueriesMeanWhatTheySay(t *testing.T) {
	queries := SampleQueries(t)
	if len(queries) < 45 {
		t.Fatalf("there are only %d example queries", len(queries))
	}
	var got []string
	for _, text := range queries {
		q, err := Parse(text)
		if err != nil {
			t.Errorf("%s\n%v", text, err)
			continue
		}
		got = append(got, j1qltest.Print(q))
		readsBack(t, q)
	}
	const golden = "testdata/queries.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// readsBack checks that a query, written down, is the same query.
func readsBack(t *testing.T, q *Query) {
	t.Helper()
	text := j1qltest.Print(q)
	again, err := Parse(text)
	if err != nil {
		t.Fatalf("cannot read back %s\n%v", text, err)
	}
	if diff := cmp.Diff(q, again, cmpopts.IgnoreTypes(Pos{})); diff != "" {
		t.Fatalf("%s\nreads back as another query, -first +again:\n%s", text, diff)
	}
}
