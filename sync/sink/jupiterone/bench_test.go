package jupiterone_test

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/jupiterone"
)

var benchObjects = flag.String("jupiterone.objects", "10000", "objects of the graphs of the benchmark, as 100000,1000000")

// A full delivery to a server that takes all and keeps nothing, so that what is
// measured is the sink: of four objects, one is a user, one a Person, and two are
// relationships.
func BenchmarkReplace(b *testing.B) {
	for text := range strings.SplitSeq(*benchObjects, ",") {
		objects, err := strconv.Atoi(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("objects="+text, func(b *testing.B) { benchReplace(b, objects) })
	}
}

func benchReplace(b *testing.B, objects int) {
	var sent atomic.Int64
	var polled atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		sent.Add(n)
		status := "AWAITING_UPLOADS"
		if strings.HasSuffix(r.URL.Path, "/finalize") {
			polled.Store(true)
		} else if r.Method == http.MethodGet && polled.Load() {
			status = "FINISHED"
		}
		fmt.Fprintf(w, `{"job":{"id":"j","status":%q}}`, status)
	}))
	defer srv.Close()
	s, err := jupiterone.New(jupiterone.Config{Account: account, APIKey: key, BaseURL: srv.URL})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	in := sink.Instance{ID: "acme", OrgHost: "acme.okta.com", Memory: &memory{}}
	runtime.GC() // what the graph before left
	done, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		for {
			select {
			case <-done:
				peak <- most
				return
			case <-time.After(20 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
			}
		}
	}()
	for b.Loop() {
		snapshot := sink.Snapshot{Position: func() string { return "x" }, Changes: func(yield func(graph.Change, error) bool) {
			for i := range objects / 4 {
				id := fmt.Sprintf("00u%017d", i)
				login := fmt.Sprintf("user%d@acme.com", i)
				person := graph.Properties{"email": []string{login}, "name": "A Name", "displayName": "A Name", "firstName": "A", "lastName": "Name"}
				user := graph.Properties{"login": login, "email": login, "name": "A Name", "status": "active", "active": true, "created": 1700000000000 + i, "webLink": "https://acme-admin.okta.com/admin/user/profile/view/" + id}
				for _, o := range []graph.Object{
					{Entity: &graph.Entity{Key: id, Type: "okta_user", Class: []string{"User"}, Properties: user}},
					{Entity: &graph.Entity{Key: "employee:" + login, Type: "employee", Class: []string{"Person"}, Properties: person}},
					{Relationship: &graph.Relationship{Key: id + "|is|employee:" + login, Type: "okta_user_is_employee", Class: "IS", From: id, To: "employee:" + login}},
					{Relationship: &graph.Relationship{Key: "a|has|" + id, Type: "okta_account_has_user", Class: "HAS", From: "a", To: id}},
				} {
					if !yield(graph.Change{Op: graph.Create, Object: o}, nil) {
						return
					}
				}
			}
		}}
		if err := s.Replace(b.Context(), in, snapshot, false); err != nil {
			b.Fatal(err)
		}
	}
	close(done)
	b.ReportMetric(float64(objects*b.N)/b.Elapsed().Seconds(), "objects/s")
	b.ReportMetric(float64(<-peak)/1e6, "peak-MB")
	b.ReportMetric(float64(sent.Load())/float64(b.N)/1e6, "sent-MB/op")
}
