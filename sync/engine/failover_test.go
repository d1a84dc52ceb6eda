package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// fleet is two processes at work for several orgs, whose hooks deliver all the time.
type fleet struct {
	t        *testing.T
	w        *Engine // takes the deliveries in
	replicas []*replica
	sims     map[string]*oktasim.Org  // by instance
	acked    map[string]*atomic.Int64 // deliveries
}

// startFleet returns one whose graphs are whole.
func startFleet(t *testing.T, url string, ids []string) *fleet {
	t.Helper()
	f := &fleet{t: t, w: watcher(t, url), sims: map[string]*oktasim.Org{}, acked: map[string]*atomic.Int64{}}
	for i := range 2 {
		r := startReplicaWith(t, url, func(cfg *Config) { cfg.Lease = 4 * time.Second }, fmt.Sprint("replica", i))
		t.Cleanup(r.halt)
		f.replicas = append(f.replicas, r)
	}
	for i, id := range ids {
		f.sims[id] = startSim(t, oktasim.Config{Seed: int64(80 + i), Users: 20, Groups: 5, Apps: 4})
		f.acked[id] = &atomic.Int64{}
		register(t, f.w, f.sims[id], id)
		if _, err := f.w.StartRun(t.Context(), id, Start{Trigger: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids {
		eventually(t, id+" is whole", 60*time.Second, isWhole(t, f.w, id))
	}
	return f
}

// load has each org change and deliver until the returned function is called. A
// delivery that is refused is tried once more, as Okta does.
func (f *fleet) load() (end func()) {
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for id, sim := range f.sims {
		group.Go(func() {
			for ctx.Err() == nil {
				if events := eligible(sim.Mutate(2)); len(events) > 0 {
					d, err := okta.ParseDelivery(sim.DeliveryBody(events))
					if err != nil {
						f.t.Error(err)
						return
					}
					for range 2 {
						if f.accept(id, d) == nil {
							f.acked[id].Add(1)
							break
						}
					}
				}
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond): // the pace of the org
				}
			}
		})
	}
	return func() { stop(); group.Wait() }
}

// accept gives a delivery the time that Okta gives it.
func (f *fleet) accept(id string, d okta.Delivery) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return f.w.Accept(ctx, id, d)
}

func (f *fleet) epochs() map[string]string {
	epochs := map[string]string{}
	for id := range f.sims {
		epochs[id] = status(f.t, f.w, id).Epoch
	}
	return epochs
}

// restarts counts how often each log was read again.
func (f *fleet) restarts() map[string]int64 {
	n := map[string]int64{}
	for id := range f.sims {
		n[id] = status(f.t, f.w, id).Log.Restarts
	}
	return n
}

// awaitAck waits until a delivery of each of the instances is accepted.
func (f *fleet) awaitAck(ids []string) {
	f.t.Helper()
	before := map[string]int64{}
	for _, id := range ids {
		before[id] = f.acked[id].Load()
	}
	eventually(f.t, "deliveries are accepted again", 30*time.Second, func() bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return f.acked[id].Load() == before[id] })
	})
}

// awaitRepair waits until each of the instances is owned in another epoch than before.
func (f *fleet) awaitRepair(ids []string, before map[string]string) {
	f.t.Helper()
	eventually(f.t, "each instance has an owner in a new epoch", 40*time.Second, func() bool {
		return !slices.ContainsFunc(ids, func(id string) bool {
			s := status(f.t, f.w, id)
			return s.Owner == "" || s.Epoch == "" || s.Epoch == before[id]
		})
	})
}

// awaitCalm waits until each graph has all that its org, quiet by now, told.
func (f *fleet) awaitCalm() {
	f.t.Helper()
	for id, sim := range f.sims {
		all := sim.Events()
		last := all[len(all)-1].Published
		eventually(f.t, id+" is caught up", 60*time.Second, func() bool {
			s := status(f.t, f.w, id)
			return s.Whole && s.Inbox == 0 && s.Refreshes == 0 && s.Log.ReadUpTo != nil && s.Log.ReadUpTo.After(last) && (s.LastRun == nil || s.LastRun.EndedAt != nil)
		})
	}
}

// inStep compares each graph, and the graph by its changes, with a full read of the org.
func (f *fleet) inStep() {
	f.t.Helper()
	fresh := startReplica(f.t, durable(f.t).URL, "fresh")
	defer fresh.halt()
	for _, id := range slices.Sorted(maps.Keys(f.sims)) {
		got := graphOf(f.t, f.w, id)
		register(f.t, fresh.e, f.sims[id], id)
		if _, err := fresh.e.StartRun(f.t.Context(), id, Start{Trigger: "test"}); err != nil {
			f.t.Fatal(err)
		}
		eventually(f.t, "a whole fresh graph", 30*time.Second, isWhole(f.t, fresh.e, id))
		if diff := cmp.Diff(told(graphOf(f.t, fresh.e, id)), told(got)); diff != "" {
			f.t.Errorf("%s: -fresh +graph:\n%.2000s", id, diff)
		}
		r := rig{tb: f.t, e: f.w, id: id}
		if diff := cmp.Diff(got, r.replayed()); diff != "" {
			f.t.Errorf("%s: -graph +graph by its changes:\n%.2000s", id, diff)
		}
	}
}

// failover kills a master under load: its instances, which are these, are worked for
// again by themselves, the others all the time, and nothing is lost.
func (f *fleet) failover(master *statetest.Node, nodes []*statetest.Node, timeout func(time.Duration) error, its []string) {
	t := f.t
	t.Helper()
	end := f.load()
	f.awaitAck(its)
	before, restarts := f.epochs(), f.restarts()
	if err := timeout(time.Second); err != nil {
		t.Fatal(err)
	}
	replicas, err := statetest.CutOff(master, nodes)
	if err != nil {
		t.Fatal(err)
	}
	f.awaitAck(its) // which no replica has
	killed := time.Now()
	master.Kill()
	for _, n := range replicas {
		if err := n.Thaw(); err != nil {
			t.Fatal(err)
		}
	}
	f.awaitAck(slices.DeleteFunc(slices.Collect(maps.Keys(f.sims)), func(id string) bool { return slices.Contains(its, id) }))
	others := time.Since(killed)
	f.awaitAck(its)
	acked := time.Since(killed)
	f.awaitRepair(its, before)
	owned := time.Since(killed)
	if err := timeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	end()
	f.awaitCalm()
	t.Logf("%d of %d instances lost their master: deliveries accepted again after %v, of all the others after %v; all owned again after %v, caught up after %v (lease %v)",
		len(its), len(f.sims), acked.Round(10*time.Millisecond), others.Round(10*time.Millisecond), owned.Round(10*time.Millisecond), time.Since(killed).Round(10*time.Millisecond), f.replicas[0].e.cfg.Lease)
	now := f.restarts()
	for id, epoch := range f.epochs() {
		if mine := slices.Contains(its, id); mine != (epoch != before[id]) || mine != (now[id] > restarts[id]) {
			t.Errorf("%s, of the dead master: %v, went from epoch %s to %s, and had the log read again %d times, %d before", id, mine, before[id], epoch, now[id], restarts[id])
		}
	}
	f.inStep()
}

// A master of a Redis Cluster is killed under load, and then a slot is moved under load.
func TestRedisClusterLosesAMaster(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	ids, err := c.Instances(1)
	if err != nil {
		t.Fatal(err)
	}
	f := startFleet(t, c.URL, ids)
	master, err := c.Master(ids[0])
	if err != nil {
		t.Fatal(err)
	}
	f.failover(master, c.Nodes, c.Timeout, ids[:1])
}

// While Redis Cluster moves an instance, nothing is written in part: deliveries are
// refused, and what was accepted before is there afterwards.
func TestRedisClusterMovesAnInstance(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	ids, err := c.Instances(1)
	if err != nil {
		t.Fatal(err)
	}
	moved := ids[0]
	f := startFleet(t, c.URL, ids)
	to, err := c.Master(ids[1])
	if err != nil {
		t.Fatal(err)
	}
	end := f.load()
	f.awaitAck(ids)
	before := f.epochs()
	m, err := c.Migrate(moved, to)
	if err != nil {
		t.Fatal(err)
	}
	keys := func(n *statetest.Node) []string {
		keys, err := m.Keys(n)
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	known := map[string]int{}
	for _, key := range keys(m.From) {
		known[key]++
	}
	// Over there a script would find the instance, and no inbox.
	for _, name := range []string{"instance", "facts", "lease"} {
		if err := m.Move("oktasync:{" + moved + "}:" + name); err != nil {
			t.Fatal(err)
		}
	}
	f.awaitAck(ids[1:]) // the others go on
	d, err := okta.ParseDelivery(f.sims[moved].DeliveryBody(eligible(f.sims[moved].Mutate(5))))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.accept(moved, d); err == nil {
		t.Error("accepted while half of the instance is on another node")
	}
	for _, key := range append(keys(m.From), keys(m.To)...) {
		if known[key]--; known[key] < 0 {
			t.Errorf("%s was written while the instance was moved", key)
		}
	}
	if err := m.End(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	f.awaitAck(ids[:1])
	acked := time.Since(began)
	f.awaitRepair(ids[:1], before)
	t.Logf("moved: deliveries accepted again after %v, owned again after %v", acked.Round(10*time.Millisecond), time.Since(began).Round(10*time.Millisecond))
	end()
	f.awaitCalm()
	f.inStep()
}

// The master that Sentinels watch is killed under load.
func TestSentinelsReplaceTheMaster(t *testing.T) {
	t.Parallel()
	s, err := statetest.StartSentinels()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	ids := []string{"org0", "org1", "org2"}
	f := startFleet(t, s.URL, ids)
	f.failover(s.Master(), s.Servers, s.Timeout, ids)
}

func startCluster(t *testing.T) *statetest.Cluster {
	t.Helper()
	c, err := statetest.StartCluster()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

// What is true of one server is true of a Redis Cluster, no call of which meets keys of
// several slots.
func TestOnRedisClusterAllIsAsElsewhere(t *testing.T) {
	c := startCluster(t)
	rigURL = func(testing.TB) string { return c.URL }
	defer func() { rigURL = statetest.URL }()
	for name, test := range map[string]func(*testing.T){
		"brake": TestBrakeHoldsAndApprovalAppliesAsOfThen, "cancel": TestCancelDropsWhatIsHeldAndForceLiftsTheBrake,
		"incremental": TestIncrementalReadsWhatChanged, "object": TestResyncOfAnObjectReadsItAlone, "verify": TestVerifyProvesTheDeltas,
		"log": TestLogAndHooksTellTheSameOnce, "sweep": TestSweepsRotateThroughAssignments,
	} {
		t.Run(name, test)
	}
	t.Run("life", func(t *testing.T) {
		ids, err := c.Instances(1)
		if err != nil {
			t.Fatal(err)
		}
		f := startFleet(t, c.URL, ids)
		health, err := f.w.Health(t.Context())
		if err != nil || health.Redis.Version == "" {
			t.Errorf("health %+v, %v", health, err)
		}
		for _, id := range ids {
			if all, err := f.w.Instances(t.Context()); err != nil || len(all) < len(ids) {
				t.Errorf("instances %+v, %v", all, err)
			}
			if err := errors.Join(f.w.Pause(t.Context(), id), f.w.Resume(t.Context(), id), f.w.ForgetHistory(t.Context(), id)); err != nil {
				t.Error(err)
			}
		}
		for _, id := range ids {
			eventually(t, id+" is whole", 30*time.Second, isWhole(t, f.w, id))
		}
		for _, id := range ids {
			if err := f.w.Delete(t.Context(), id); err != nil {
				t.Error(err)
			}
			master, err := c.Master(id)
			if err != nil {
				t.Fatal(err)
			}
			if keys, err := master.Keys(t.Context(), "oktasync:{"+id+"}:*").Result(); err != nil || len(keys) > 0 {
				t.Errorf("left of %s: %v, %v", id, keys, err)
			}
		}
	})
}
