package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
	"github.com/oktasync/oktasync/sync/record"
)

// sharers are replicas, and the instances that they share, all of one small org.
type sharers struct {
	t         *testing.T
	url       string
	sim       *oktasim.Org
	w         *Engine
	rdb       *redis.Client
	instances []string
	lease     time.Duration
	stay      time.Duration // of what is taken for another; 0: as it is

	mu       sync.Mutex
	replicas map[string]*replica // that live
	accepted map[string]int      // events that were acknowledged, by instance
	sent     int
}

func newSharers(t *testing.T, instances int, lease time.Duration) *sharers {
	t.Helper()
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	f := &sharers{t: t, url: server.URL, sim: startSim(t, oktasim.Config{Seed: 91, Users: 2, Groups: 1, Apps: 1}), w: watcher(t, server.URL),
		rdb: rawRedis(t, server.URL), lease: lease, replicas: map[string]*replica{}, accepted: map[string]int{}}
	for i := range instances {
		id := fmt.Sprint("org", i)
		register(t, f.w, f.sim, id)
		f.instances = append(f.instances, id)
	}
	t.Cleanup(func() {
		for _, r := range f.live() {
			r.halt()
		}
	})
	return f
}

func (f *sharers) live() map[string]*replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.replicas)
}

func (f *sharers) start(names ...string) {
	for _, name := range names {
		r := newReplica(f.t, f.url, func(c *Config) { c.Lease, c.LogInterval = f.lease, time.Hour }, name)
		if f.stay > 0 {
			r.e.part.stay = f.stay
		}
		r.start()
		f.mu.Lock()
		f.replicas[name] = r
		f.mu.Unlock()
	}
}

// remove takes a replica out, that is to be killed or halted.
func (f *sharers) remove(name string) *replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.replicas[name]
	delete(f.replicas, name)
	return r
}

// owners reads who works for each instance.
func (f *sharers) owners() map[string]string {
	f.t.Helper()
	leases := make([]string, len(f.instances))
	for i, id := range f.instances {
		leases[i] = "oktasync:{" + id + "}:lease"
	}
	tokens, err := f.rdb.MGet(f.t.Context(), leases...).Result()
	if err != nil {
		f.t.Fatal(err)
	}
	of := map[string]string{}
	for i, token := range tokens {
		if token, ok := token.(string); ok {
			of[f.instances[i]] = owner(token)
		}
	}
	return of
}

// shared waits until every instance has one of the live replicas for its owner, and none more than
// its part.
func (f *sharers) shared(what string) map[string]string {
	f.t.Helper()
	live := f.live()
	most := (len(f.instances) + len(live) - 1) / len(live)
	var of map[string]string
	began := time.Now()
	said := began
	eventually(f.t, what, 3*time.Minute, func() bool {
		of = f.owners()
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			f.t.Logf("%s: so far %v", what, load(of))
		}
		if len(of) < len(f.instances) {
			return false
		}
		for name, n := range load(of) {
			if n > most || live[name] == nil {
				return false
			}
		}
		return true
	})
	f.t.Logf("%s: after %v, %v", what, time.Since(began).Round(10*time.Millisecond), load(of))
	return of
}

// feed delivers events to any instance at any replica, until ctx ends. One that
// was not acknowledged is delivered again elsewhere.
func (f *sharers) feed(ctx context.Context) {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for ; ctx.Err() == nil; <-tick.C {
		id := f.instances[rand.IntN(len(f.instances))]
		f.sent++
		d, err := okta.ParseDelivery(membershipAdded(f.sent))
		if err != nil {
			f.t.Error(err)
			return
		}
		for acknowledged := false; !acknowledged && ctx.Err() == nil; {
			for _, r := range f.live() { // in any order
				if err := r.e.Accept(ctx, id, d); err == nil {
					acknowledged = true
					f.mu.Lock()
					f.accepted[id]++
					f.mu.Unlock()
					break
				}
			}
		}
	}
}

// total is how many events were acknowledged.
func (f *sharers) total() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, of := range f.accepted {
		n += of
	}
	return n
}

const fedGroup = "00g00000000000000fed"

// membershipAdded is a delivery of one event: the nth user is a member of fedGroup now.
func membershipAdded(n int) []byte {
	return fmt.Appendf(nil, `{"eventId":"x","data":{"events":[{"uuid":"event%d","published":%q,"eventType":"group.user_membership.add","outcome":{"result":"SUCCESS"},
		"target":[{"id":"00u%017d","type":"User"},{"id":%q,"type":"UserGroup"}]}]}}`, n, time.Now().UTC().Format(time.RFC3339Nano), n, fedGroup)
}

// applied waits until all that was acknowledged has taken effect.
func (f *sharers) applied() {
	f.t.Helper()
	scope := string(record.Member(fedGroup, "00u1").Scope())
	f.t.Logf("%d events", f.total())
	eventually(f.t, "every event takes effect", time.Minute, func() bool {
		for id, n := range f.accepted {
			members, err := f.w.store.Org(id).Count(f.t.Context(), scope)
			if err != nil {
				f.t.Fatal(err)
			}
			if members < int64(n) {
				return false
			}
		}
		return true
	})
}

// watchOwners fails the test if two of the live replicas ever work for an instance:
// an owner that hands over has ended before.
func (f *sharers) watchOwners(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ; ctx.Err() == nil; <-tick.C {
		at := map[string]*org{}
		for _, r := range f.live() {
			if r.cut.Load() {
				continue // it does not know yet that it is dead
			}
			r.e.mu.Lock()
			mine := slices.Collect(maps.Values(r.e.orgs))
			r.e.mu.Unlock()
			for _, o := range mine {
				if other := at[o.id]; other != nil && !o.over() && !other.over() { // both now: o is the later
					f.t.Errorf("%s and %s both work for %s", owner(other.token), owner(o.token), o.id)
				}
				if !o.over() {
					at[o.id] = o
				}
			}
		}
	}
}

// during has events delivered and owners watched while do runs, and all events applied.
func (f *sharers) during(do func()) {
	f.t.Helper()
	ctx, stop := context.WithCancel(f.t.Context())
	var group sync.WaitGroup
	group.Go(func() { f.feed(ctx) })
	group.Go(func() { f.watchOwners(ctx) })
	do()
	stop()
	group.Wait()
	f.applied()
}

// Replicas share the instances evenly. One more takes its part, and little else
// moves; of one that is killed, the others take over; all events take effect
// meanwhile, and never do two work for one.
func TestReplicasShareTheInstances(t *testing.T) {
	const n = 300
	f := newSharers(t, n, 10*time.Second)
	f.stay = 2 * time.Second // a slow machine takes many for replicas that have not come to them yet
	f.start("a", "b", "c")
	f.during(func() {
		before := f.shared("three replicas")
		f.start("d")
		after := f.shared("a fourth came")
		if m := moved(before, after); m < n/4 || m > n/4*3/2 {
			t.Errorf("%d of %d instances moved to or between replicas", m, n)
		} else {
			t.Logf("%d moved", m)
		}
		f.remove("b").kill()
		killed := time.Now()
		eventually(t, "the living own all", 3*time.Minute, func() bool {
			n := load(f.owners())
			return n["a"]+n["c"]+n["d"] == len(f.instances)
		})
		t.Logf("after a kill all have an owner again after %v, the lease is %v", time.Since(killed).Round(10*time.Millisecond), f.lease)
		f.shared("one was killed")
	})
	for name, r := range f.live() {
		if s := r.e.Share(); s.Replicas != 3 || s.Owned != n/3 {
			t.Errorf("%s tells %+v", name, s)
		}
		eventually(t, name+" keeps no clients of what is at work elsewhere", 30*time.Second, func() bool {
			r.e.mu.Lock()
			defer r.e.mu.Unlock()
			return len(r.e.clients) == n/3
		})
	}
}

// A replica that stops leaves nothing to wait for: with a lease of an hour the
// others take over at once.
func TestReplicaThatStopsHandsOverAtOnce(t *testing.T) {
	f := newSharers(t, 60, time.Hour)
	f.start("a", "b", "c")
	f.during(func() {
		f.shared("three replicas")
		f.remove("a").halt()
		f.shared("one stopped")
	})
}

// An instance whose replica does not take it is taken by another, and does not go to and fro.
func TestInstanceIsTakenBySomebody(t *testing.T) {
	f := newSharers(t, 10, shortLease)
	// It announces itself, and does nothing else.
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	group.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ; ctx.Err() == nil; <-tick.C {
			if _, err := f.w.store.Announce(t.Context(), "idler", time.Second); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	f.start("a")
	eventually(t, "an owner of each", 30*time.Second, func() bool { return load(f.owners())["a"] == 10 })
	announced, looks := 0.0, 0
	eventually(t, "many looks later", 30*time.Second, func() bool {
		at, err := f.rdb.ZScore(t.Context(), "oktasync:replicas:{oktasync:instances}", "a").Result()
		if err != nil {
			t.Fatal(err)
		}
		if at != announced {
			announced = at
			looks++
		}
		return looks > 3*settled
	})
	if s := f.live()["a"].e.Share(); s.Handed != 0 || s.Owned != 10 || s.Replicas != 2 {
		t.Errorf("it does not keep what the other does not take: %+v", s)
	}
}

// What another replica announces itself for and never takes, as one of an older
// version, is without an owner less and less often.
func TestDeclinedInstanceStaysLongerEachTime(t *testing.T) {
	p := newPart(time.Second)
	p.update("a", []string{"acme"}, []string{"idler"}, map[string]bool{})
	stays := func() time.Duration { return time.Until(p.took("acme")).Round(time.Minute) }
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 64} {
		if got := stays(); got != want*time.Minute {
			t.Errorf("it stays for %v, want %d min", got, want)
		}
	}
	p.update("a", []string{"acme"}, []string{"another"}, map[string]bool{})
	if got := stays(); got != time.Minute {
		t.Errorf("declined for the first time by another, it stays for %v", got)
	}
	p.update("a", []string{"acme"}, []string{"a"}, map[string]bool{})
	if got := p.took("acme"); !got.IsZero() {
		t.Errorf("its own part stays until %v", got)
	}
}

// An instance that cannot be looked at has only itself looked at again.
func TestOneThatFailsHasNotAllLookedAt(t *testing.T) {
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	sim := startSim(t, oktasim.Config{Seed: 94, Users: 2, Groups: 1, Apps: 1})
	w := watcher(t, server.URL)
	for _, id := range []string{"good", "bad"} {
		register(t, w, sim, id)
	}
	rdb := rawRedis(t, server.URL)
	if err := errors.Join(rdb.Del(t.Context(), "oktasync:{bad}:facts").Err(), rdb.Set(t.Context(), "oktasync:{bad}:facts", "no hash", 0).Err()); err != nil {
		t.Fatal(err)
	}
	r := newReplica(t, server.URL, func(*Config) {}, "a")
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer func() {
		stop()
		group.Wait()
		if err := r.e.Close(); err != nil {
			t.Error(err)
		}
	}()
	r.e.note("")
	if err := r.e.employ(ctx, &group); err == nil {
		t.Error("the state of an instance cannot be read, and nobody is told")
	}
	if r.e.org("good") == nil {
		t.Error("it holds up another")
	}
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	if r.e.noted[""] {
		t.Error("all are looked at again")
	}
}

// Where Redis lets us publish nothing, and so wakes nobody, events take effect all the same.
func TestLostMessagesLoseNoEvent(t *testing.T) {
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	if err := rawRedis(t, server.URL).Do(t.Context(), "ACL", "SETUSER", "quiet", "on", ">secret", "~*", "+@all", "resetchannels").Err(); err != nil {
		t.Fatal(err)
	}
	f := &sharers{t: t, url: strings.Replace(server.URL, "unix://", "unix://quiet:secret@", 1), sim: startSim(t, oktasim.Config{Seed: 92, Users: 2, Groups: 1, Apps: 1}),
		instances: []string{"acme", "other"}, lease: 10 * time.Second, replicas: map[string]*replica{}, accepted: map[string]int{}}
	f.w, f.rdb = watcher(t, f.url), rawRedis(t, server.URL)
	f.start("a", "b")
	for _, id := range f.instances {
		register(t, f.w, f.sim, id)
	}
	f.during(func() {
		f.shared("without a message")
		eventually(t, "events are acknowledged", 30*time.Second, func() bool { return f.total() > 500 })
	})
	for _, r := range f.live() {
		r.halt()
	}
}
