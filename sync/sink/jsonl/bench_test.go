package jsonl_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/jsonl"
)

// Of ten objects one is a user, and nine are relationships. The file is set aside as
// by default.
func benchChanges(n int) []graph.Change {
	changes := make([]graph.Change, 0, n)
	for i := range n {
		user := fmt.Sprintf("00u%017d", i/10)
		o := graph.Object{Entity: &graph.Entity{Key: user, Type: "okta_user", Class: []string{"User"}, Properties: graph.Properties{
			"login": user + "@acme.com", "email": user + "@acme.com", "name": "A Name", "displayName": "A Name", "status": "active", "active": true,
			"created": 1700000000000 + i, "webLink": "https://acme-admin.okta.com/admin/user/profile/view/" + user,
		}}}
		if i%10 > 0 {
			group := fmt.Sprintf("00g%017d", i%10)
			o = graph.Object{Relationship: &graph.Relationship{Key: group + "|has_user|" + user, Type: "okta_group_has_user", Class: "HAS", From: group, To: user,
				Properties: graph.Properties{"groupId": group, "userId": user, "displayName": "HAS"}}}
		}
		changes = append(changes, graph.Change{Op: graph.Create, Object: o})
	}
	return changes
}

func benchSink(b *testing.B) *jsonl.Sink {
	s, err := jsonl.New(jsonl.Config{Path: filepath.Join(b.TempDir(), "graph.jsonl")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func BenchmarkReplace(b *testing.B) {
	for _, users := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			s, in, changes := benchSink(b), instance(), benchChanges(10*users)
			for b.Loop() {
				if err := s.Replace(b.Context(), in, snapshot("1", changes, nil), false); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(changes)*b.N)/b.Elapsed().Seconds(), "objects/s")
		})
	}
}

func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 100, 5000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s, in, changes := benchSink(b), instance(), benchChanges(size)

			for b.Loop() {
				if err := s.Apply(b.Context(), in, sink.Batch{Changes: changes, Position: "1700000000000-0"}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "changes/s")
		})
	}
}
