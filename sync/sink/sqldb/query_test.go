package sqldb_test

import (
	"os"
	"strings"
	"testing"
)

// queries are the example queries of the language.
func queries(t testing.TB) (all []string) {
	t.Helper()
	text, err := os.ReadFile("../../j1ql/testdata/queries.txt")
	if err != nil {
		t.Fatal(err)
	}
	for q := range strings.SplitSeq(string(text), "\n---\n") {
		_, q, _ = strings.Cut(q, "\n")
		all = append(all, strings.TrimSpace(q))
	}
	return all
}
