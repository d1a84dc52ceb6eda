package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// cut is the way of one process to Redis: cut, nothing of it arrives any more,
// as after kill -9.
type cut struct{ atomic.Bool }

func (c *cut) faults() statetest.Faults {
	return statetest.Faults{Decide: func(string) statetest.Fault {
		if c.Load() {
			return statetest.Lost
		}
		return statetest.None
	}}
}

// replica is a process on a Redis that several share.
type replica struct {
	t    *testing.T
	e    *Engine
	cut  *cut
	stop context.CancelFunc
	done chan struct{}
}

const shortLease = 1200 * time.Millisecond

// startReplica starts a process that works for all instances of the Redis. It
// must be killed or stopped.
func startReplica(t *testing.T, url, name string) *replica {
	t.Helper()
	return startReplicaWith(t, url, func(cfg *Config) {}, name)
}

// startReplicaWith starts one whose configuration is changed.
func startReplicaWith(t *testing.T, url string, change func(*Config), name string) *replica {
	t.Helper()
	r := newReplica(t, url, change, name)
	r.start()
	return r
}

// newReplica returns one that is yet to be started.
func newReplica(t *testing.T, url string, change func(*Config), name string) *replica {
	t.Helper()
	cfg := Config{
		RedisURL: url, SecretKey: make([]byte, 32), AllowInsecure: true, DeleteRatio: 0.2, Lease: shortLease, LogInterval: time.Second,
		ReadMargin: 10 * time.Millisecond, ListAllowance: 50 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
	}
	change(&cfg)
	e, err := New(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	e.name = name
	r := &replica{t: t, e: e, cut: &cut{}, done: make(chan struct{})}
	e.store.AddHook(r.cut.faults())
	return r
}

func (r *replica) start() {
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() {
		defer close(r.done)
		if err := r.e.Run(ctx); err != nil {
			r.t.Error(err)
		}
	}()
}

// halt stops it in good order.
func (r *replica) halt() {
	r.stop()
	<-r.done
	if err := r.e.Close(); err != nil {
		r.t.Error(err)
	}
}

// kill ends it as kill -9 does: nothing that it had in hand arrives.
func (r *replica) kill() {
	r.cut.Store(true)
	r.halt()
}

// eventually looks again and again until the condition holds.
func eventually(t *testing.T, what string, within time.Duration, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

func durable(t *testing.T) *statetest.Server {
	t.Helper()
	server, err := statetest.StartDurable()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// watcher looks at a Redis without working for it.
func watcher(t *testing.T, url string) *Engine {
	t.Helper()
	e, err := New(t.Context(), Config{RedisURL: url, SecretKey: make([]byte, 32), AllowInsecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func startSim(t *testing.T, cfg oktasim.Config) *oktasim.Org {
	t.Helper()
	sim, err := oktasim.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	return sim
}

func register(t *testing.T, e *Engine, sim *oktasim.Org, id string) {
	t.Helper()
	if err := e.Register(t.Context(), Instance{ID: id, Name: "Acme", OrgURL: sim.URL(), Token: sim.Token(), Factors: true}); err != nil {
		t.Fatal(err)
	}
}

func status(t *testing.T, e *Engine, id string) InstanceStatus {
	t.Helper()
	s, err := e.Instance(t.Context(), id)
	if err != nil {
		return InstanceStatus{}
	}
	return s
}

func isWhole(t *testing.T, e *Engine, id string) func() bool {
	return func() bool {
		s := status(t, e, id)
		return s.Whole && s.Inbox == 0 && s.Refreshes == 0
	}
}

func graphOf(t *testing.T, e *Engine, id string) map[string]string {
	t.Helper()
	r := rig{tb: t, e: e, id: id}
	return r.graph()
}

// Three replicas, the owner killed under load again and again: another goes on
// within the lease; nothing is lost or doubled in the changes.
func TestOwnerKilledUnderLoadIsReplaced(t *testing.T) {
	t.Parallel()
	server := durable(t)
	sim := startSim(t, oktasim.Config{Seed: 61, Users: 30, Groups: 8, Apps: 6})
	w := watcher(t, server.URL)
	replicas := map[string]*replica{}
	for i := range 3 {
		name := fmt.Sprint("replica", i)
		replicas[name] = startReplica(t, server.URL, name)
	}
	defer func() {
		for _, r := range replicas {
			r.halt()
		}
	}()
	register(t, w, sim, "acme")
	if _, err := w.StartRun(t.Context(), "acme", Start{Trigger: "test"}); err != nil {
		t.Fatal(err)
	}
	deliver := func(n int) {
		t.Helper()
		if events := eligible(sim.Mutate(n)); len(events) > 0 {
			d, err := okta.ParseDelivery(sim.DeliveryBody(events))
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Accept(t.Context(), "acme", d); err != nil {
				t.Fatal(err)
			}
		}
	}
	for round := range 5 {
		eventually(t, "an owner", 10*time.Second, func() bool { return status(t, w, "acme").Owner != "" })
		for range 10 {
			deliver(4)
		}
		old := status(t, w, "acme").Owner
		if old == "" {
			continue
		}
		killed := time.Now()
		replicas[old].kill()
		for range 5 {
			deliver(4)
		}
		eventually(t, "another owner", 10*time.Second, func() bool { s := status(t, w, "acme").Owner; return s != "" && s != old })
		if took := time.Since(killed); took > shortLease+3*time.Second { // the machine may be slow, but the lease is no minute
			t.Errorf("round %d: replaced after %v", round, took)
		}
		replicas[old] = startReplica(t, server.URL, old)
	}
	eventually(t, "a whole graph", 30*time.Second, isWhole(t, w, "acme"))
	inStepNow(t, w, sim, "acme")
}

// inStepNow compares the graph, and the graph by its changes, with a fresh full
// read of the org, in real time.
func inStepNow(t *testing.T, w *Engine, sim *oktasim.Org, id string) {
	t.Helper()
	got := graphOf(t, w, id)
	fresh := startReplica(t, durable(t).URL, "fresh")
	defer fresh.halt()
	other := statetest.Instance()
	register(t, fresh.e, sim, other)
	if _, err := fresh.e.StartRun(t.Context(), other, Start{Trigger: "test"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a whole fresh graph", 30*time.Second, isWhole(t, fresh.e, other))
	if diff := cmp.Diff(told(graphOf(t, fresh.e, other)), told(got)); diff != "" {
		t.Errorf("-fresh +graph:\n%.2000s", diff)
	}
	r := rig{tb: t, e: w, id: id}
	if diff := cmp.Diff(got, r.replayed()); diff != "" {
		t.Errorf("-graph +graph by its changes:\n%.2000s", diff)
	}
}

// A stalled owner that wakes up after another took over cannot write, and stops.
func TestStalledOwnerIsFenced(t *testing.T) {
	t.Parallel()
	server := durable(t)
	w := watcher(t, server.URL)
	sim := startSim(t, oktasim.Config{Seed: 62, Users: 5, Groups: 2, Apps: 2})
	register(t, w, sim, "acme")
	st := w.store.Org("acme")
	ctx := t.Context()
	owned := map[string]*state.Org{}
	take := func(token string, lasts time.Duration) bool {
		t.Helper()
		lease, err := st.TakeLease(ctx, token, lasts)
		if err != nil {
			t.Fatal(err)
		}
		if lease.Org != nil {
			owned[token] = lease.Org
			t.Cleanup(lease.Org.Release)
		}
		return lease.Holder == token
	}
	write := func(token string) error {
		_, err := owned[token].Merge(ctx, state.Batch{Set: []state.Cell{{Hash: "facts", Field: "test", Value: token}}})
		return err
	}
	log := func(token string) error {
		_, err := owned[token].AcceptLog(ctx, `{"link":"`+token+`"}`, nil, nil)
		return err
	}
	if !take("a", time.Second) || write("a") != nil || log("a") != nil {
		t.Fatal("the first owner cannot work")
	}
	if take("b", time.Minute) {
		t.Fatal("two owners")
	}
	eventually(t, "the lease ends", 5*time.Second, func() bool { owner, err := st.Owner(ctx); return err == nil && owner == "" })
	if err := write("a"); err != nil {
		t.Errorf("an owner that nobody replaced cannot go on: %v", err)
	}
	if !take("b", time.Minute) {
		t.Fatal("the lease cannot be taken over")
	}
	for what, err := range map[string]error{"merge": write("a"), "log": log("a")} {
		if err != state.ErrFenced {
			t.Errorf("%s of the old owner: %v", what, err)
		}
	}
	if _, err := owned["a"].StartRun(ctx, "acme-late", []byte(`{}`), nil); err != state.ErrFenced {
		t.Errorf("the old owner started a run: %v", err)
	}
	if take("a", time.Minute) {
		t.Error("the old owner took the lease back")
	}
	if lease, err := owned["a"].KeepLease(ctx, time.Minute); err != nil || lease.Holder != "b" {
		t.Errorf("the old owner kept the lease: %+v, %v", lease, err)
	}
	if lease, err := owned["b"].KeepLease(ctx, time.Minute); err != nil || lease.Holder != "b" {
		t.Errorf("the owner did not keep the lease: %+v, %v", lease, err)
	}
	if err := st.ReleaseLease(ctx, "a"); err != nil || write("b") != nil || take("c", time.Minute) {
		t.Errorf("the old owner gave away what is not its own: %v", err)
	}
	if place, err := st.Cell(ctx, "cursors", "log"); err != nil || place != `{"link":"a"}` {
		t.Errorf("place in the log %s, %v", place, err)
	}
	if _, err := w.store.Org("acme").Merge(ctx, state.Batch{}); err != state.ErrFenced {
		t.Errorf("one without a lease can write: %v", err)
	}
}

// A hundred takeovers, most of a process that lives on: no conflict of it with
// itself, no goroutine and no connection more.
func TestHundredTakeoversLeaveNothing(t *testing.T) {
	server := durable(t)
	sim := startSim(t, oktasim.Config{Seed: 63, Users: 5, Groups: 2, Apps: 2})
	w := watcher(t, server.URL)
	register(t, w, sim, "acme")
	if _, err := w.StartRun(t.Context(), "acme", Start{Trigger: "test"}); err != nil {
		t.Fatal(err)
	}
	ignore := []goleak.Option{goleak.IgnoreCurrent(), goleak.IgnoreAnyFunction("github.com/patrickmn/go-cache.(*janitor).Run")}
	r := startReplica(t, server.URL, "replica")
	eventually(t, "a whole graph", 30*time.Second, isWhole(t, w, "acme"))
	connections := func() int64 {
		t.Helper()
		text, err := rawRedis(t, server.URL).ClientList(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		n := int64(0)
		for _, c := range text {
			if c == '\n' {
				n++
			}
		}
		return n
	}
	before := connections()
	for range 100 {
		old := r.e.org("acme")
		if old == nil {
			t.Fatal("nobody works for the instance")
		}
		old.stop() // as if the lease had been lost
		<-old.stopped
		eventually(t, "taken over", 10*time.Second, func() bool { o := r.e.org("acme"); return o != nil && o != old })
	}
	eventually(t, "a whole graph", 30*time.Second, isWhole(t, w, "acme"))
	if after := connections(); after > before+5 {
		t.Errorf("%d connections after 100 takeovers, %d before", after, before)
	}
	if n := len(r.e.clients); n != 1 {
		t.Errorf("%d clients of one org", n)
	}
	r.halt()
	goleak.VerifyNone(t, ignore...)
}

func rawRedis(t *testing.T, url string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	t.Cleanup(func() { client.Close() })
	return client
}

// On a stop the lease is handed over at once, not after its time.
func TestStopHandsOver(t *testing.T) {
	t.Parallel()
	server := durable(t)
	sim := startSim(t, oktasim.Config{Seed: 64, Users: 5, Groups: 2, Apps: 2})
	w := watcher(t, server.URL)
	register(t, w, sim, "acme")
	first := startReplica(t, server.URL, "first")
	eventually(t, "an owner", 10*time.Second, func() bool { return status(t, w, "acme").Owner == "first" })
	first.halt()
	if s := status(t, w, "acme"); s.Owner != "" {
		t.Errorf("after the stop the owner is %q", s.Owner)
	}
}

// A wiped Redis is whole again without help: the process that lives on
// registers what it knew, and reads it in full. No reader can miss that.
func TestWipedRedisIsWholeAgain(t *testing.T) {
	t.Parallel()
	server, sim, w := atWork(t, 65)
	position, err := w.LastPosition(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	before := status(t, w, "acme")
	sim.Mutate(30) // no hook brings them
	if err := rawRedis(t, server.URL).FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new epoch", 30*time.Second, func() bool {
		s := status(t, w, "acme")
		return s.Epoch != "" && s.Epoch != before.Epoch
	})
	if _, err := w.Changes(t.Context(), "acme", position); err == nil {
		t.Error("a reader goes on as if nothing had happened")
	}
	eventually(t, "a whole graph", 30*time.Second, isWhole(t, w, "acme"))
	if run := status(t, w, "acme").LastRun; run == nil || run.Mode != "full" || run.Trigger != "state-lost" {
		t.Errorf("run %+v", run)
	}
	inStepNow(t, w, sim, "acme")
}

// Of a Redis Cluster, the node of the list may lose all while that of an instance
// loses nothing: the instance is listed again, and not read again.
func TestLostListIsWrittenAgain(t *testing.T) {
	t.Parallel()
	server, _, w := atWork(t, 75)
	before := status(t, w, "acme")
	listed := func() bool {
		ids, err := w.store.Instances(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		mark, err := w.store.Mark(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(ids) == 1 && mark != ""
	}
	if err := rawRedis(t, server.URL).Del(t.Context(), "oktasync:instances", "oktasync:mark:{oktasync:instances}").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is listed again", 30*time.Second, listed)
	after := status(t, w, "acme")
	if after.Owner != before.Owner || after.Epoch != before.Epoch || after.LastRun == nil || after.LastRun.ID != before.LastRun.ID {
		t.Errorf("it was %+v, and is %+v", before, after)
	}
}

// Builds until November 2026 left another mark: a Redis that was in use with one of
// them is known from a new one, too.
func TestMissingMarkIsLeftAgain(t *testing.T) {
	t.Parallel()
	server := durable(t)
	sim := startSim(t, oktasim.Config{Seed: 76, Users: 5, Groups: 2, Apps: 2})
	w := watcher(t, server.URL)
	register(t, w, sim, "acme")
	client := rawRedis(t, server.URL)
	if n, err := client.Del(t.Context(), "oktasync:mark:{oktasync:instances}").Result(); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	r := startReplica(t, server.URL, "replica")
	defer r.halt()
	eventually(t, "a mark", 30*time.Second, func() bool {
		mark, err := w.store.Mark(t.Context())
		return err == nil && mark != "" && status(t, w, "acme").Owner != ""
	})
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is registered again", 30*time.Second, func() bool { return status(t, w, "acme").Owner != "" })
}

// A Redis that was killed and started again: work goes on by itself, what it
// may have lost is made up for.
func TestRestartedRedisIsRepaired(t *testing.T) {
	t.Parallel()
	server, sim, w := atWork(t, 66)
	before := status(t, w, "acme")
	server.Kill()
	sim.Mutate(30) // no hook can bring them
	if err := w.Accept(t.Context(), "acme", okta.Delivery{Events: []okta.Event{{UUID: "u", Type: "x", Published: time.Now()}}}); err == nil {
		t.Error("accepted without Redis")
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a repair", 30*time.Second, func() bool {
		s := status(t, w, "acme")
		return s.Epoch != before.Epoch && s.LastRun != nil && s.LastRun.Trigger == "state-repair" && s.LastRun.EndedAt != nil && s.Log.Restarts == before.Log.Restarts+1
	})
	eventually(t, "in step with the log", 30*time.Second, func() bool {
		s := status(t, w, "acme")
		return s.Log.ReadUpTo.After(*before.Log.ReadUpTo) && s.Inbox == 0 && s.Refreshes == 0 && s.Log.Events > 20
	})
	inStepNow(t, w, sim, "acme")
}

// The owner does not lose the lease over a page that takes long.
func TestLongPageKeepsTheLease(t *testing.T) {
	t.Parallel()
	server := durable(t)
	sim := startSim(t, oktasim.Config{Seed: 67, Users: 5, Groups: 2, Apps: 2})
	w := watcher(t, server.URL)
	a, b := startReplica(t, server.URL, "a"), startReplica(t, server.URL, "b")
	defer func() { a.halt(); b.halt() }()
	sim.FailNext(1, "/api/v1/users?", oktasim.Fault{Delay: 3 * shortLease})
	register(t, w, sim, "acme")
	if _, err := w.StartRun(t.Context(), "acme", Start{Trigger: "test"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an owner", 10*time.Second, func() bool { return status(t, w, "acme").Owner != "" })
	owner := status(t, w, "acme").Owner
	eventually(t, "the end of the run", 30*time.Second, func() bool {
		s := status(t, w, "acme")
		if s.Owner != owner {
			t.Fatalf("owner %q instead of %q in the middle of a page", s.Owner, owner)
		}
		return s.LastRun != nil && s.LastRun.EndedAt != nil
	})
	if n := sim.CallCount(); n > 30 {
		t.Errorf("%d calls: more than one read the org", n)
	}
}

// A Redis that can lose events, or evicts keys, is warned of.
func TestHealthWarnsOfRedis(t *testing.T) {
	server := durable(t)
	w := watcher(t, server.URL)
	h, err := w.Health(t.Context())
	if err != nil || len(h.Warnings) != 0 || !h.Redis.AOF || h.Redis.Fsync != "always" || h.Redis.Eviction != "noeviction" || h.Redis.Version == "" {
		t.Errorf("health of a good Redis: %+v, %v", h, err)
	}
	raw := rawRedis(t, server.URL)
	for name, value := range map[string]string{"maxmemory-policy": "allkeys-lru", "appendonly": "no"} {
		if err := raw.ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if h, err = w.Health(t.Context()); err != nil || len(h.Warnings) != 2 {
		t.Errorf("health of a bad Redis: %+v, %v", h, err)
	}
}

// Before Redis is full events are refused, which makes Okta send them again;
// what was accepted is still worked on.
func TestNearlyFullRedisRefusesEvents(t *testing.T) {
	server := durable(t)
	w := watcher(t, server.URL)
	sim := startSim(t, oktasim.Config{Seed: 68, Users: 5, Groups: 2, Apps: 2})
	register(t, w, sim, "acme")
	d, err := okta.ParseDelivery(sim.DeliveryBody(eligible(sim.Mutate(5))))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Accept(t.Context(), "acme", d); err != nil {
		t.Fatal(err)
	}
	used, _, err := w.store.Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	raw := rawRedis(t, server.URL)
	if err := raw.ConfigSet(t.Context(), "maxmemory", fmt.Sprint(used*105/100)).Err(); err != nil {
		t.Fatal(err)
	}
	w.rooms.Clear()
	if err := w.Accept(t.Context(), "acme", d); err == nil {
		t.Error("accepted by a Redis that is nearly full")
	}
	if err := raw.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	w.rooms.Clear()
	if err := w.Accept(t.Context(), "acme", d); err != nil {
		t.Error(err)
	}
}

// atWork returns a Redis on which a replica works for an instance, acme, whose graph is whole.
func atWork(t *testing.T, seed int64) (*statetest.Server, *oktasim.Org, *Engine) {
	t.Helper()
	server := durable(t)
	sim := startSim(t, oktasim.Config{Seed: seed, Users: 30, Groups: 8, Apps: 6})
	w := watcher(t, server.URL)
	r := startReplica(t, server.URL, "replica")
	t.Cleanup(r.halt)
	register(t, w, sim, "acme")
	if _, err := w.StartRun(t.Context(), "acme", Start{Trigger: "test"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a whole graph", 30*time.Second, isWhole(t, w, "acme"))
	return server, sim, w
}

// A deleted instance is gone, whatever its owner had in hand; registered again it begins anew.
func TestDeletedInstanceStaysDeleted(t *testing.T) {
	t.Parallel()
	server := durable(t)
	sim := startSim(t, oktasim.Config{Seed: 69, Users: 20, Groups: 6, Apps: 6})
	w := watcher(t, server.URL)
	r := startReplica(t, server.URL, "replica")
	defer r.halt()
	register(t, w, sim, "acme")
	if _, err := w.StartRun(t.Context(), "acme", Start{Trigger: "test"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "something of the org", 10*time.Second, func() bool { return status(t, w, "acme").Records["user"] > 0 })
	old := r.e.org("acme")
	if err := w.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-old.stopped:
	case <-time.After(20 * time.Second):
		t.Fatal("the owner goes on")
	}
	if err := w.Accept(t.Context(), "acme", okta.Delivery{Events: []okta.Event{{UUID: "u", Type: "x", Published: time.Now()}}}); !errors.Is(err, ErrUnknownInstance) {
		t.Errorf("an event for what was deleted: %v", err)
	}
	keys, err := rawRedis(t, server.URL).Keys(t.Context(), "oktasync:{acme}:*").Result()
	if err != nil || len(keys) > 0 {
		t.Errorf("left of the instance: %v, %v", keys, err)
	}
	if _, err := w.Instance(t.Context(), "acme"); !errors.Is(err, ErrUnknownInstance) {
		t.Errorf("the instance: %v", err)
	}
	register(t, w, sim, "acme")
	if _, err := w.StartRun(t.Context(), "acme", Start{Trigger: "test"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a whole graph", 30*time.Second, isWhole(t, w, "acme"))
}
