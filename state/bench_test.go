package state_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
)

// The benchmarks of the merge need nothing but a redis-server of their own. Their
// measures are the server's: µs of its CPU, calls within the script, bytes; so that
// a busy machine does not change them much. The org: 2,000 users, each in about ten
// of 200 groups whose sizes are heavy-tailed; 20,000 memberships, as many
// assignments to 100 applications.
const (
	benchUsers = 2000
	benchEdges = 20_000
	page       = 200 // of users; members and assignments come by 1,000 and 500
)

// meter reads what a redis-server spent.
type meter struct {
	b     *testing.B
	rdb   *redis.Client
	org   *state.Org
	from  map[string]float64
	total map[string]float64
	n     int

	longest float64 // µs of the measurement that took most
}

func newMeter(b *testing.B) *meter {
	server, err := statetest.Start()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.Stop)
	s, err := state.Open(b.Context(), server.URL+"?read_timeout=60s")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	opts, err := redis.ParseURL(server.URL)
	if err != nil {
		b.Fatal(err)
	}
	m := &meter{b: b, rdb: redis.NewClient(opts), org: s.Org("bench"), total: map[string]float64{}}
	b.Cleanup(func() { m.rdb.Close() })
	if err := m.rdb.ConfigSet(b.Context(), "busy-reply-threshold", "0").Err(); err != nil {
		b.Fatal(err)
	}
	return m
}

func (m *meter) spent() map[string]float64 {
	m.b.Helper()
	text, err := m.rdb.Info(context.Background(), "all").Result()
	if err != nil {
		m.b.Fatal(err)
	}
	spent := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		number, err := strconv.ParseFloat(value, 64)
		switch {
		case name == "used_cpu_user" || name == "used_cpu_sys":
			spent["µs"] += number * 1e6
		case name == "used_memory" && err == nil:
			spent["bytes"] = number
		case strings.HasPrefix(name, "cmdstat_") && !strings.HasPrefix(name, "cmdstat_eval"):
			var calls float64
			fmt.Sscanf(value, "calls=%f", &calls)
			spent["calls"] += calls
		}
	}
	return spent
}

// start begins a measurement, stop ends it; per is how many records it was about.
func (m *meter) start() { m.from = m.spent() }

func (m *meter) stop(per int) {
	for what, amount := range m.spent() {
		m.total[what] += amount - m.from[what]
		if what == "µs" {
			m.longest = max(m.longest, amount-m.from[what])
		}
	}
	m.n += per
}

// report tells the averages by record.
func (m *meter) report(bytes bool) {
	n := float64(m.n)
	m.b.ReportMetric(m.total["µs"]/n, "redis-µs/record")
	m.b.ReportMetric(m.total["calls"]/n, "redis-calls/record")
	if bytes {
		m.b.ReportMetric(m.total["bytes"]/n, "redis-B/record")
	}
}

func (m *meter) flush() {
	if err := m.rdb.FlushAll(context.Background()).Err(); err != nil {
		m.b.Fatal(err)
	}
}

func (m *meter) forgetChanges() {
	if err := m.rdb.Del(context.Background(), "oktasync:{bench}:changes").Err(); err != nil {
		m.b.Fatal(err)
	}
}

func (m *meter) merge(batch state.Batch) state.Merged {
	m.b.Helper()
	merged, err := m.org.Merge(context.Background(), batch)
	if err != nil {
		m.b.Fatal(err)
	}
	return merged
}

const benchRun = "bench-mcnk3h5abc"

// list merges the list of a scope as a reconcile does: a page at a time, the last one
// with its end.
func (m *meter) list(scope string, ms int64, observations []state.Observation, size int) {
	m.b.Helper()
	for i := range observations {
		observations[i].Version, observations[i].Present = 2*ms, true
		observations[i].Source, observations[i].Cause = "reconcile", benchRun
	}
	brake := &state.Brake{Ratio: 0.2, Day: 1}
	for len(observations) > size {
		m.merge(state.Batch{Observations: observations[:size], Brake: brake, Holder: benchRun,
			Set: []state.Cell{{Hash: "pending:members", Field: scope, Value: strconv.Itoa(size)}}})
		observations = observations[size:]
	}
	mark := &state.Mark{Scope: scope, Millis: ms, Cursor: "0", Source: "reconcile", Cause: benchRun}
	for {
		merged := m.merge(state.Batch{Observations: observations, Brake: brake, Holder: benchRun, Mark: mark,
			Done: []state.Cell{{Hash: "pending:members", Field: scope}}})
		switch merged.Cursor {
		case "0":
			return
		case state.CountFirst:
			n, _, _, err := m.org.Overdue(context.Background(), scope, ms, "")
			if err != nil {
				m.b.Fatal(err)
			}
			mark.Counted = &n
		case state.CheckFirst:
			mark.Checked = true
		default:
			mark.Cursor = merged.Cursor
		}
		observations = nil
	}
}

// The ids are as long as Okta's.
func userID(n int) string  { return fmt.Sprintf("00u%012dX5d7", n) }
func groupID(n int) string { return fmt.Sprintf("00g%012dX5d7", n) }
func appID(n int) string   { return fmt.Sprintf("0oa%012dX5d7", n) }

func userContent(n int) []byte {
	return fmt.Appendf(nil, `{"entity":{"_class":["User"],"_key":"%s","_type":"okta_user","active":true,"activatedOn":1767225600000,"createdOn":1767225600000,`+
		`"displayName":"First%d Last%d","email":"first%d.last%d@example.com","emailDomain":["example.com"],"employeeNumber":"%d","firstName":"First%d",`+
		`"id":"%s","lastLoginOn":1767225600000,"lastName":"Last%d","lastUpdatedOn":1767225600000,"login":"first%d.last%d@example.com","name":"First%d Last%d",`+
		`"passwordChangedOn":1767225600000,"status":"ACTIVE","statusChangedOn":1767225600000,"title":"Engineer","username":"first%d.last%d@example.com",`+
		`"webLink":"https://example-admin.okta.com/admin/user/profile/view/%s"},"person":{"_class":["Person"],"_key":"email:first%d.last%d@example.com",`+
		`"_type":"okta_person","displayName":"First%d Last%d","email":"first%d.last%d@example.com"},"personKey":"email:first%d.last%d@example.com"}`,
		userID(n), n, n, n, n, n, n, userID(n), n, n, n, n, n, n, n, userID(n), n, n, n, n, n, n, n, n)
}

func users(n int) []state.Observation {
	all := make([]state.Observation, n)
	for i := range all {
		all[i] = state.Observation{ID: "user/" + userID(i), Content: userContent(i)}
	}
	return all
}

func objects(kind string, id func(int) string, n int) []state.Observation {
	all := make([]state.Observation, n)
	for i := range all {
		all[i] = state.Observation{ID: kind + "/" + id(i), Content: fmt.Appendf(nil, `{"entity":{"_key":"%s","name":"%d"}}`, id(i), i)}
	}
	return all
}

// edges are the edges of a scope.
type edges struct {
	scope string
	of    []state.Observation
}

// spread deals edges to owners whose sizes are heavy-tailed (as 1/rank), each to
// another user.
func spread(kind string, id func(int) string, owners int, content func(int) []byte) (all []edges) {
	var weight float64
	for i := range owners {
		weight += 1 / float64(i+1)
	}
	user := 0
	for i := range owners {
		n := min(benchUsers, int(math.Ceil(benchEdges/weight/float64(i+1))))
		e := edges{scope: kind + "s/" + id(i)}
		for range n {
			user = (user + 1) % benchUsers
			o := state.Observation{ID: kind + "/" + id(i) + "/" + userID(user)}
			if content != nil {
				o.Content = content(user)
			}
			e.of = append(e.of, o)
		}
		all = append(all, e)
	}
	return all
}

func members() []edges { return spread("member", groupID, 200, nil) }

func assignments() []edges {
	return spread("appuser", appID, 100, func(n int) []byte {
		return fmt.Appendf(nil, `{"properties":{"userEmail":"first%d.last%d@example.com"}}`, n, n)
	})
}

// ends merges the ends of all edges.
func (m *meter) ends(ms int64) {
	m.list("users", ms, users(benchUsers), page)
	m.list("groups", ms, objects("group", groupID, 200), page)
	m.list("apps", ms, objects("app", appID, 100), page)
}

const (
	firstMillis = 1_790_000_000_000
	nightMillis = firstMillis + 86_400_000
)

// BenchmarkList is the list of all records of a kind as a full read merges it: the
// first time, and again the next night when nothing changed.
func BenchmarkList(b *testing.B) {
	kinds := []struct {
		name  string
		lists func() []edges
		size  int
	}{
		{"users", func() []edges { return []edges{{"users", users(benchUsers)}} }, page},
		{"members", members, 1000},
		{"appusers", assignments, 500},
	}
	for _, kind := range kinds {
		take := func(m *meter, ms int64) (n int) {
			for _, l := range kind.lists() {
				m.list(l.scope, ms, l.of, kind.size)
				n += len(l.of)
			}
			return n
		}
		b.Run(kind.name+"/first", func(b *testing.B) {
			m := newMeter(b)
			b.ReportAllocs()
			for b.Loop() {
				m.flush()
				if kind.name != "users" {
					m.ends(firstMillis)
				}
				m.forgetChanges()
				m.start()
				n := take(m, firstMillis)
				m.forgetChanges() // what is left are the records
				m.stop(n)
			}
			m.report(true)
		})
		b.Run(kind.name+"/unchanged", func(b *testing.B) {
			m := newMeter(b)
			b.ReportAllocs()
			m.ends(firstMillis)
			take(m, firstMillis)
			ms := int64(nightMillis)
			for b.Loop() {
				m.start()
				m.stop(take(m, ms))
				ms += 86_400_000
			}
			m.report(false)
		})
	}
}

// BenchmarkSweep is the end of a list that lacks all that was there.
func BenchmarkSweep(b *testing.B) {
	m := newMeter(b)
	for b.Loop() {
		m.flush()
		m.ends(firstMillis)
		lists := members()
		n := 0
		for _, l := range lists {
			m.list(l.scope, firstMillis, l.of, 1000)
			n += len(l.of)
		}
		m.start()
		for _, l := range lists {
			m.list(l.scope, nightMillis, nil, 1000)
		}
		m.stop(n)
	}
	m.report(false)
}

// BenchmarkEvents are events of members that come and go, in the batches of the inbox.
func BenchmarkEvents(b *testing.B) {
	m := newMeter(b)
	m.ends(firstMillis)
	for _, l := range members() {
		m.list(l.scope, firstMillis, l.of, 1000)
	}
	var all []state.Observation
	for _, l := range members() {
		all = append(all, l.of...)
	}
	ms := int64(nightMillis)
	for b.Loop() {
		m.start()
		for n := 0; n < len(all); n += 500 {
			part := all[n:min(n+500, len(all))]
			for i := range part {
				ms++
				part[i].Version, part[i].Present = 2*ms+1, i%2 == 0
				part[i].Source, part[i].Cause = "hook", "11111111-2222-3333-4444-555555555555"
			}
			m.merge(state.Batch{Observations: part})
		}
		m.stop(len(all))
	}
	m.report(false)
}

// BenchmarkGone is the end of a group of many members.
func BenchmarkGone(b *testing.B) {
	const n = 50_000
	m := newMeter(b)
	for b.Loop() {
		m.flush()
		m.list("groups", firstMillis, objects("group", groupID, 1), page)
		m.list("users", firstMillis, objects("user", userID, n), page)
		of := make([]state.Observation, n)
		for i := range of {
			of[i].ID = "member/" + groupID(0) + "/" + userID(i)
		}
		m.list("members/"+groupID(0), firstMillis, of, 1000)
		m.start()
		m.merge(state.Batch{Observations: []state.Observation{{ID: "group/" + groupID(0), Version: 2*nightMillis + 1,
			Source: "hook", Cause: "11111111-2222-3333-4444-555555555555"}}})
		m.stop(0)
		for cursor := ""; cursor != "0"; {
			m.start()
			cursor = m.merge(state.Batch{Walk: &state.Walk{Target: "walk/group/" + groupID(0), Cursor: cmp.Or(cursor, "0")}}).Cursor
			m.stop(0)
		}
		m.n += n
	}
	m.report(false)
	b.ReportMetric(m.longest/1000, "longest-redis-ms")
}
