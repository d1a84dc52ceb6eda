package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/sink"
)

// heldCounted fails unless the counts of what an instance holds are what a walk
// over all of it finds.
func heldCounted(t tb, e *Engine, instance string) {
	t.Helper()
	ctx, st := context.Background(), e.store.Org(instance)
	holding, err := st.Holding(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{}
	for _, run := range holding {
		err := eachHeld(ctx, st, run, func(part map[string]held) error {
			for _, h := range part {
				what := "deletes"
				if h.N == 0 {
					what = "changes"
				}
				want[run+" "+h.Kind+" "+what] += max(h.N, 1)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := st.HeldByKind(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("-held +counted:\n%s", diff)
	}
}

// ownRedis returns an engine on a Redis that no other test uses, and a client of it.
func ownRedis(t *testing.T) (*Engine, *statetest.Server, *redis.Client) {
	t.Helper()
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	options, err := redis.ParseURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(options)
	t.Cleanup(func() { rdb.Close() })
	e, err := New(t.Context(), Config{RedisURL: server.URL, SecretKey: make([]byte, 32), AllowInsecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e, server, rdb
}

func TestAnInstanceThatCannotBeReadHidesNoOther(t *testing.T) {
	e, server, rdb := ownRedis(t)
	for _, id := range []string{"damaged", "deleted", "good", "unreadable"} {
		if err := e.Register(t.Context(), Instance{ID: id, Name: "Org " + id, OrgURL: "https://" + id + ".okta.com", Token: "token"}); err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	for _, err := range []error{
		rdb.Set(ctx, "oktasync:{damaged}:instance", "no JSON", 0).Err(),
		rdb.Del(ctx, "oktasync:{deleted}:instance").Err(), // as a deletion that ended half way leaves it
		rdb.Set(ctx, "oktasync:{unreadable}:inbox", "no stream", 0).Err(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	all, err := e.Instances(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, in := range all {
		ids = append(ids, in.ID)
		if bad := in.ID != "good"; (in.Unread != nil) != bad || (in.Problem != "") != bad {
			t.Errorf("%s: unread %v, problem %q", in.ID, in.Unread, in.Problem)
		} else if bad && !strings.Contains(in.Problem, "send its instance event again") {
			t.Errorf("%s: %q names no remedy", in.ID, in.Problem)
		}
	}
	if !slices.Equal(ids, []string{"damaged", "good", "unreadable"}) {
		t.Errorf("the list has %v", ids)
	}
	health, err := e.Health(ctx)
	if err != nil || health.Redis.Version == "" {
		t.Errorf("health: %+v, %v", health, err)
	}
	for id, bad := range map[string]bool{"damaged": true, "unreadable": true, "good": false} {
		if warned := strings.Contains(strings.Join(health.Warnings, "\n"), "instance "+id+" "); warned != bad {
			t.Errorf("health warns of %s: %v", id, warned)
		}
	}
	server.Kill()
	if _, err := e.Instances(ctx); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without a Redis: %v", err)
	}
}

// What a run holds is counted when it is held. Who asks how much it is does not
// make Redis walk through it.
func TestHowMuchIsHeldCostsNoWalk(t *testing.T) {
	e, _, rdb := ownRedis(t)
	ctx := t.Context()
	if err := e.Register(ctx, Instance{ID: "acme", Name: "Acme", OrgURL: "https://acme.okta.com", Token: "token"}); err != nil {
		t.Fatal(err)
	}
	st, run := e.store.Org("acme"), "acme-run"
	b, err := json.Marshal(Run{ID: run, Instance: "acme", State: RunSucceeded, StartedAt: start, EndedAt: &start})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.StartRun(ctx, run, b, nil); err != nil {
		t.Fatal(err)
	}
	const n, kinds = 6000, 2
	verify := state.Batch{Verify: true, Holder: run}
	for i := range n {
		verify.Observations = append(verify.Observations,
			state.Observation{ID: fmt.Sprint("user/u", i), Version: 2000, Present: true, Content: []byte(`{}`), Source: "reconcile"},
			state.Observation{ID: fmt.Sprint("group/g", i), Version: 2000, Present: true, Content: []byte(`{}`), Source: "reconcile"})
	}
	if _, err := st.Merge(ctx, verify); err != nil {
		t.Fatal(err)
	}
	heldCounted(t, e, "acme")

	before := scans(t, rdb)
	status, err := e.Instance(ctx, "acme")
	if err != nil || status.Held != kinds*n || !slices.Equal(status.Holding, []string{run}) || status.LastRun.State != RunHeld {
		t.Errorf("held %d, holding %v, last run %+v, %v", status.Held, status.Holding, status.LastRun, err)
	}
	if cost := scans(t, rdb) - before; cost != 0 {
		t.Errorf("the status walked %d steps", cost)
	}
	before = scans(t, rdb)
	shown, err := e.RunByID(ctx, run)
	if err != nil || shown.Held == nil || shown.Held.Total != kinds*n || shown.Held.Kinds["user"].Changes != n || shown.Held.Kinds["group"].Changes != n {
		t.Fatalf("held %+v, %v", shown.Held, err)
	}
	if cost := scans(t, rdb) - before; cost == 0 || cost > sampleParts {
		t.Errorf("showing the run walked %d steps", cost)
	}
	for kind, k := range shown.Held.Kinds {
		if len(k.Samples) != heldSamples || !slices.IsSorted(k.Samples) {
			t.Errorf("samples of kind %s: %v", kind, k.Samples)
		}
	}
}

var hscan = regexp.MustCompile(`cmdstat_hscan:calls=(\d+)`)

// scans is how many steps of walks through hashes Redis made.
func scans(t *testing.T, rdb *redis.Client) int {
	t.Helper()
	text, err := rdb.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	m := hscan.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// However many runs came after it, a run that holds something can be found.
func TestRunThatHoldsIsFoundBehindManyNewerOnes(t *testing.T) {
	r, app := large(t)
	unassign(t, r, app, 60)
	r.clock.Advance(r.o.cfg.ListAllowance)
	old := r.reconcile()
	if old.State != RunHeld {
		t.Fatalf("run: %s", old.State)
	}
	for n := range 60 {
		id := fmt.Sprint(r.id, "-newer", n)
		at := start.AddDate(1, 0, n)
		b, err := json.Marshal(Run{ID: id, Instance: r.id, State: RunSucceeded, StartedAt: at, EndedAt: &at})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.o.st.StartRun(t.Context(), id, b, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := r.o.st.Merge(t.Context(), state.Batch{Delete: []state.Cell{{Hash: "facts", Field: "run"}}}); err != nil {
			t.Fatal(err)
		}
	}
	runs, err := r.e.Runs(t.Context(), r.id)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(runs); n != 51 || runs[0].ID != r.id+"-newer59" || runs[n-1].ID != old.ID || runs[n-1].State != RunHeld {
		t.Errorf("%d runs, the first %s, the last %s, %s", n, runs[0].ID, runs[n-1].ID, runs[n-1].State)
	}
	status, err := r.e.Instance(t.Context(), r.id)
	if err != nil || !slices.Equal(status.Holding, []string{old.ID}) || status.Held != 60 {
		t.Errorf("%d held by %v, %v", status.Held, status.Holding, err)
	}
}

func TestSummaryKeepsWhatAListShows(t *testing.T) {
	left := func(n int) *int { return &n }
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Second)
	full := InstanceStatus{
		ID: "acme", Held: 3,
		Coverage: map[string]Coverage{
			"a": {Hook: 2, Log: 1, Late: 1, HookDelayMax: 7, HookDelaySum: 9, LogDelayMax: 70, LogDelaySum: 70, HookEligible: true},
			"b": {Hook: 1, HookDelayMax: 8, HookDelaySum: 8, HookEligible: true},
			"c": {Log: 100, LogDelayMax: 900, LogDelaySum: 999}, // hooks never bring it
		},
		RateLimits: []okta.Budget{{Bucket: "unknown"}, {Bucket: "apps", Limit: 100, Remaining: left(0), ResetAt: &past},
			{Bucket: "users", Limit: 100, Remaining: left(90), ResetAt: &soon}, {Bucket: "groups", Limit: 600, Remaining: left(300), ResetAt: &soon}},
		Sinks:   map[string]SinkStatus{"jsonl": {Status: sink.Status{State: sink.Following}, Note: sink.Note{Counters: map[string]int64{"x": 1}}}},
		LastRun: &Run{ID: "acme-1", Errors: []RunError{{Scope: "users", Error: "denied"}}, Progress: map[string]Progress{"users": {Done: 1}}},
	}
	got := full.Summary()
	want := full
	want.Coverage = map[string]Coverage{"*": {Hook: 3, Log: 1, Late: 1, HookDelayMax: 8, HookDelaySum: 17, LogDelayMax: 70, LogDelaySum: 70, HookEligible: true}}
	want.RateLimits = full.RateLimits[3:]
	want.Sinks = map[string]SinkStatus{"jsonl": {Status: sink.Status{State: sink.Following}}}
	want.LastRun = &Run{ID: "acme-1", Progress: map[string]Progress{}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if full.LastRun.Errors == nil || full.Sinks["jsonl"].Note.Counters == nil {
		t.Error("the summary changed what it was made of")
	}
	if diff := cmp.Diff(InstanceStatus{ID: "new"}, InstanceStatus{ID: "new"}.Summary()); diff != "" {
		t.Errorf("of nothing: %s", diff)
	}
}
