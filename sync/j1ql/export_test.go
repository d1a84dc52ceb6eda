package j1ql

import (
	"os"
	"strings"
	"testing"
)

// SampleQueries are the queries of testdata/queries.txt.
func SampleQueries(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile("testdata/queries.txt")
	if err != nil {
		t.Fatal(err)
	}
	var queries []string
	for part := range strings.SplitSeq(string(b), "---\n") {
		_, query, ok := strings.Cut(strings.TrimSpace(part), "\n")
		if !ok || !strings.HasPrefix(part, "# ") {
			t.Fatalf("not a comment and a query: %q", part)
		}
		queries = append(queries, query)
	}
	return queries
}

// MaxValues is how many values a list may have.
const MaxValues = maxValues
