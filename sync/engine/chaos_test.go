package engine

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/state/statetest/chaos"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// The chaos test works with real processes: the engine in a child, this test
// binary in another role, and a redis-server of its own, both of which are
// killed with SIGKILL at any moment. Time is the test's: a file that both read.

const (
	workerVar = "OKTASYNC_CHAOS_WORKER" // in the child: the URL of its Redis
	clockVar  = "OKTASYNC_CHAOS_CLOCK"  // in the child: the file with the time
)

// TestChaos runs random histories: hooks are dropped, doubled, delayed and
// swapped; Okta answers 429 and 500, drops connections and cuts bodies off; the
// service and Redis are killed, and Redis loses the last that it wrote; full
// reconciles run in the middle; our clock is minutes off. After the poll of the
// log that follows, the graph is that of a full read.
//
// Run many: go test ./sync/engine -run Chaos -chaos.histories=10000
func TestChaos(t *testing.T) {
	t.Parallel() // behind the other property tests, whose number of checks it changes
	shards := min(6, *chaos.Histories)
	checks := flag.Lookup("rapid.checks").Value
	before := checks.String()
	t.Cleanup(func() { _ = checks.Set(before) })
	if err := checks.Set(strconv.Itoa((*chaos.Histories + shards - 1) / shards)); err != nil {
		t.Fatal(err)
	}
	for n := range shards {
		t.Run(fmt.Sprint("shard", n), func(t *testing.T) {
			t.Parallel()
			s := newShard(t)
			rapid.Check(t, func(t *rapid.T) { s.history(t) })
			t.Logf("%d kills of the service, %d of Redis, %d times with its last writes lost", s.killed, s.killedRedis, s.truncated)
		})
	}
}

// shard is a Redis, a child and an engine of this process that takes the
// deliveries in: another replica.
type shard struct {
	t     *testing.T
	redis *statetest.Server
	clock *fileClock
	e     *Engine
	child *child

	killed, killedRedis, truncated int
}

func newShard(t *testing.T) *shard {
	redis, err := statetest.StartWritten()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Stop)
	s := &shard{t: t, redis: redis, clock: newFileClock(t)}
	if s.e, err = New(context.Background(), Config{RedisURL: redis.URL, SecretKey: make([]byte, 32), AllowInsecure: true, DeleteRatio: 0.2, Clock: s.clock.now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.e.Close() })
	t.Cleanup(func() {
		if s.child != nil {
			s.child.kill()
		}
	})
	return s
}

// fileClock is the simulator's clock, written to a file that the child reads.
type fileClock struct {
	*oktasim.ManualClock
	path string
}

func newFileClock(t *testing.T) *fileClock {
	c := &fileClock{newClock(), filepath.Join(t.TempDir(), "clock")}
	c.write()
	return c
}

func (c *fileClock) now() time.Time { return c.ManualClock.Now() }

// write makes the time known to the child.
func (c *fileClock) write() {
	// In place: a rename for each would be slow, and eight bytes are written at once.
	f, err := os.OpenFile(c.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(c.Now().UnixNano())), 0); err != nil {
		panic(err)
	}
}

func (c *fileClock) pass(d time.Duration) {
	c.Advance(d)
	c.write()
}

// child is the process with the engine.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (s *shard) start() {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerVar+"="+s.redis.URL, clockVar+"="+s.clock.path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.child = &child{cmd, in, bufio.NewReader(out)}
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_, _ = io.Copy(io.Discard, c.out)
	_ = c.cmd.Wait()
}

// worker is the child: it does what it is told, a line each, and says how it went.
func worker() {
	clock := func() time.Time {
		b, err := os.ReadFile(os.Getenv(clockVar))
		if err != nil || len(b) != 8 {
			panic(fmt.Sprint("clock: ", len(b), err))
		}
		return time.Unix(0, int64(binary.LittleEndian.Uint64(b))).UTC()
	}
	standstill = 20 * time.Millisecond
	orgs := map[string]*org{}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		words := strings.Fields(in.Text())
		answer, err := obeyParent(words[0], words[1], words[2:], orgs, clock)
		if err != nil {
			answer = "err " + strings.ReplaceAll(err.Error(), "\n", " ")
		} else {
			answer = "ok " + answer
		}
		fmt.Println(answer)
	}
}

func obeyParent(what, id string, args []string, orgs map[string]*org, clock func() time.Time) (string, error) {
	ctx := context.Background()
	if what == "open" {
		if old := orgs[id]; old != nil {
			old.stop()
			old.reading.Wait()
			if err := old.engine.Close(); err != nil {
				return "", err
			}
		}
		skew, err := time.ParseDuration(args[0])
		if err != nil {
			return "", err
		}
		e, err := New(ctx, Config{RedisURL: os.Getenv(workerVar), SecretKey: make([]byte, 32), AllowInsecure: true, DeleteRatio: 0.2,
			Clock: func() time.Time { return clock().Add(skew) }})
		if err != nil {
			return "", err
		}
		settings, err := e.store.Org(id).Instance(ctx)
		if err != nil {
			return "", err
		}
		token := fmt.Sprint("worker ", os.Getpid(), rand.Int64())
		var lease state.Lease
		for {
			if lease, err = e.store.Org(id).TakeLease(ctx, token, 50*time.Millisecond); err != nil {
				return "", err
			}
			if lease.Org != nil {
				break
			}
			time.Sleep(10 * time.Millisecond) // the lease of the one that was killed ends by itself
		}
		o := e.newOrg(ctx, id, settings, lease)
		if err := o.prepare(); err != nil {
			return "", err
		}
		orgs[id] = o
		return "", nil
	}
	o := orgs[id]
	if o == nil {
		return "", errors.New("not open")
	}
	if o.over() {
		return "", state.ErrFenced
	}
	switch what {
	case "takein":
		for {
			if n, err := o.takeIn(ctx); err != nil || n == 0 {
				return "", err
			}
		}
	case "refresh":
		if _, err := o.client.Support(ctx); err != nil && !okta.IsForbidden(err) && !okta.IsTemporary(err) {
			return "", err // it tells the time
		}
		for {
			n, err := o.startDue(ctx)
			o.reading.Wait()
			if err != nil || n == 0 {
				return "", err
			}
		}
	case "poll":
		_, err := o.pollLog()
		return "", err
	case "reconcile":
		run, err := o.st.Fact(ctx, "run")
		if err != nil || run == "" {
			return run, err
		}
		if _, err := o.logPlace(); err != nil {
			return run, err
		}
		_, err = o.reconcile(ctx, run)
		return run, err
	case "left":
		asked, err := o.st.Asked(ctx)
		if err != nil {
			return "", err
		}
		sizes, err := o.st.Sizes(ctx)
		if err != nil {
			return "", err
		}
		run, err := o.st.Fact(ctx, "run")
		place, _, err2 := loadLogPlace(o)
		if run != "" {
			run = "1"
		}
		if place.Problem != "" {
			run += "log"
		}
		return fmt.Sprint(len(asked), " ", sizes.Inbox, " ", run), errors.Join(err, err2)
	}
	return "", fmt.Errorf("no such command: %s", what)
}

// history is one random history of an org, from its first full read on.
type history struct {
	*shard
	t    *rapid.T
	sim  *oktasim.Org
	id   string
	skew time.Duration

	mu     sync.Mutex
	hooked []oktasim.Event // not delivered yet
	told   int             // the events that Okta told of before are in hooked, or gone
}

func (s *shard) history(t *rapid.T) {
	h := &history{shard: s, t: t, id: statetest.Instance(),
		skew: time.Duration(rapid.SampledFrom([]int{0, -180, 240}).Draw(t, "skew in s")) * time.Second}
	sim, err := oktasim.Start(oktasim.Config{
		Seed: rapid.Int64().Draw(t, "seed"), Users: 6, Groups: 4, Apps: 4, Clock: s.clock.ManualClock,
		Step:    time.Duration(rapid.SampledFrom([]int{0, 1, 900, 20_000}).Draw(t, "step in ms")) * time.Millisecond,
		ListLag: time.Duration(rapid.IntRange(0, 29).Draw(t, "list lag in s")) * time.Second,
		LogLag:  time.Duration(rapid.IntRange(0, 29).Draw(t, "log lag in s")) * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	h.sim = sim
	sim.MutateKinds(oktasim.LogKinds())
	s.clock.pass(time.Hour)
	if err := s.e.Register(context.Background(), Instance{ID: h.id, Name: "Acme", OrgURL: sim.URL(), Token: sim.Token(), Factors: true}); err != nil {
		t.Fatal(err)
	}
	h.told = len(sim.Events())
	h.mustDo("open", h.skew.String())
	if rapid.Bool().Draw(t, "known before") {
		h.startRun()
		h.mustDo("reconcile")
		h.mustDo("takein")
	}
	for range rapid.IntRange(3, 14).Draw(t, "steps") {
		h.step()
	}
	h.end()
}

func (h *history) step() {
	t := h.t
	what := rapid.SampledFrom([]string{"mutate", "mutate", "deliver", "deliver", "takein", "refresh", "poll", "reconcile", "trouble", "wait", "crash"}).Draw(t, "step")
	switch what {
	case "mutate":
		h.mutate(rapid.IntRange(1, 8).Draw(t, "changes"))
	case "deliver":
		h.deliver()
	case "wait":
		h.clock.pass(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
	case "refresh":
		h.clock.pass(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
		h.attempt("refresh")
	case "reconcile":
		h.startRun()
		every := rapid.IntRange(3, 9).Draw(t, "a change every so many calls")
		n := 0
		var mu sync.Mutex
		h.sim.OnRequest(func(*http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if n++; n%every == 0 && n < 40 {
				h.mutate(1)
			}
		})
		h.attempt("reconcile")
		h.sim.OnRequest(nil)
	case "trouble":
		faults := []oktasim.Fault{{Status: 429}, {Status: 500}, {Status: 503}, {Drop: true}, {Truncate: true}, {BadJSON: true}}
		for range rapid.IntRange(1, 4).Draw(t, "faults") {
			f := rapid.SampledFrom(faults).Draw(t, "fault")
			part := rapid.SampledFrom([]string{"/api/v1/", "/users", "/groups", "/apps", "/logs", "/factors"}).Draw(t, "of")
			h.sim.FailNext(rapid.IntRange(1, 2).Draw(t, "times"), part, f)
		}
	case "crash":
		during := rapid.SampledFrom([]string{"takein", "refresh", "poll", "reconcile"}).Draw(t, "during")
		after := time.Duration(rapid.IntRange(0, 12_000).Draw(t, "after µs")) * time.Microsecond
		h.crash(during, after, rapid.SampledFrom([]string{"service", "service", "redis", "machine"}).Draw(t, "of"))
	default:
		h.attempt(what)
	}
}

// crash kills a part in the middle of a command.
func (h *history) crash(during string, after time.Duration, part string) {
	if during == "reconcile" {
		h.startRun()
	}
	if h.child == nil {
		h.attempt("takein")
	}
	lost := int64(0)
	if part == "machine" {
		lost = rapid.Int64Range(1, 4000).Draw(h.t, "bytes lost")
	}
	killed := make(chan error, 1)
	victim := h.child
	go func() {
		time.Sleep(after) // at any moment
		if part == "service" {
			killed <- victim.cmd.Process.Kill()
			return
		}
		h.redis.Kill()
		var err error
		if lost > 0 {
			err = h.redis.LoseTail(lost)
		}
		killed <- errors.Join(err, h.redis.Restart()) // what works meanwhile waits for it
	}()
	_, _ = h.do(during)
	if err := <-killed; err != nil && !errors.Is(err, os.ErrProcessDone) {
		h.t.Fatal(err)
	}
	if part == "service" {
		if h.child == victim { // it was done before
			victim.kill()
			h.child = nil
		}
		h.killed++
		return
	}
	h.killedRedis++
	if lost > 0 {
		h.truncated++
	}
	// What it lost may be the registration itself: it is sent again, as a scheduler does.
	if err := h.e.Register(context.Background(), Instance{ID: h.id, Name: "Acme", OrgURL: h.sim.URL(), Token: h.sim.Token(), Factors: true}); err != nil {
		h.t.Fatal(err)
	}
	_, _ = h.do("open", h.skew.String())
	// Until Redis has written its file anew, as the repair asks it to, another
	// crash could tear a transaction: see state.Org.RewriteAOF.
	for {
		info, err := h.e.store.Org(h.id).Persistence(context.Background())
		if err != nil {
			h.t.Fatal(err)
		}
		if info["aof_rewrite_in_progress"] == "0" && info["aof_rewrite_scheduled"] == "0" {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (h *history) mutate(n int) {
	h.sim.Mutate(n)
	h.clock.write()
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.sim.Events()
	h.hooked = append(h.hooked, eligible(all[min(h.told, len(all)):])...)
	h.told = len(all)
}

// deliver sends some of what waits: a fifth is lost, some comes twice, some late, in any order.
func (h *history) deliver() {
	h.mu.Lock()
	waiting := h.hooked
	h.hooked = nil
	h.mu.Unlock()
	var now []oktasim.Event
	for _, e := range waiting {
		switch n := rapid.IntRange(0, 9).Draw(h.t, "fate"); {
		case n < 2: // lost
		case n < 4:
			now = append(now, e, e)
		case n < 6:
			h.mu.Lock()
			h.hooked = append(h.hooked, e)
			h.mu.Unlock()
		default:
			now = append(now, e)
		}
	}
	if len(now) > 1 {
		now = rapid.Permutation(now).Draw(h.t, "order")
	}
	for len(now) > 0 {
		n := rapid.IntRange(1, len(now)).Draw(h.t, "batch")
		d, err := okta.ParseDelivery(h.sim.DeliveryBody(now[:n]))
		if err != nil {
			h.t.Fatal(err)
		}
		_ = h.e.Accept(context.Background(), h.id, d) // refused: lost to the hook
		now = now[n:]
	}
}

// read tells whether a full read of the org ended.
func (h *history) read() bool {
	full, err := h.e.store.Org(h.id).Fact(context.Background(), "full")
	if err != nil {
		h.t.Fatal(err)
	}
	return full != ""
}

func (h *history) startRun() {
	if _, err := h.e.StartRun(context.Background(), h.id, Start{Trigger: "test"}); err != nil {
		h.t.Fatal(err)
	}
}

// do has the child do something; it starts one if there is none.
func (h *history) do(what string, args ...string) (string, error) {
	if h.child == nil {
		h.start()
		if what != "open" {
			if _, err := h.do("open", h.skew.String()); err != nil {
				return "", err
			}
		}
	}
	if _, err := fmt.Fprintln(h.child.in, strings.Join(append([]string{what, h.id}, args...), " ")); err != nil {
		h.child.kill() // it was killed after its last answer
		h.child = nil
		return h.do(what, args...)
	}
	victim, stuck := h.child, false
	watchdog := time.AfterFunc(time.Minute, func() {
		stuck = true
		_ = victim.cmd.Process.Signal(syscall.SIGQUIT) // it tells where
	})
	answered := make(chan struct{})
	var passing sync.WaitGroup
	passing.Go(func() { h.passTime(answered) })
	line, err := h.child.out.ReadString('\n')
	close(answered)
	passing.Wait()
	if watchdog.Stop(); stuck {
		h.t.Fatalf("%s does not end within a minute", what)
	}
	if err != nil {
		h.child.kill()
		h.child = nil
		return "", fmt.Errorf("the child is gone: %w", err)
	}
	answer, ok := strings.CutPrefix(strings.TrimSpace(line), "ok")
	if !ok {
		return "", errors.New(strings.TrimSpace(line))
	}
	return strings.TrimSpace(answer), nil
}

// passTime lets time pass while the child waits, as it does where Okta has no room.
func (h *history) passTime(answered <-chan struct{}) {
	select {
	case <-answered:
		return
	case <-time.After(150 * time.Millisecond):
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-answered:
			return
		case <-tick.C:
			h.clock.pass(time.Second)
		}
	}
}

// attempt does something that may fail: the loops would try again.
func (h *history) attempt(what string) {
	if _, err := h.do(what); err != nil && strings.Contains(err.Error(), state.ErrFenced.Error()) {
		_, _ = h.do("open", h.skew.String())
	}
}

func (h *history) mustDo(what string, args ...string) {
	if _, err := h.do(what, args...); err != nil {
		h.t.Fatalf("%s: %v", what, err)
	}
}

// end lets the org be quiet, polls the log, and compares.
func (h *history) end() {
	t := h.t
	h.sim.ClearFaults()
	h.clock.pass(time.Minute)
	h.attempt("poll")
	for round := 0; ; round++ {
		for _, what := range []string{"takein", "reconcile", "takein", "refresh"} {
			h.attempt(what)
		}
		left, err := h.do("left")
		if err == nil && left == "0 0" {
			if h.read() {
				break
			}
			h.startRun() // nothing was ever read in full: that comes first
		}
		if strings.HasSuffix(left, "log") {
			h.attempt("poll")
		}
		if round > 60 {
			t.Fatalf("still left after minutes: %s, %v", left, err)
		}
		h.clock.pass(5 * time.Second)
	}
	r := &rig{tb: t, org: h.sim, clock: h.clock.ManualClock, e: h.e, id: h.id}
	r.o = &org{factors: true}
	got := r.graph()
	want := r.quiet()
	h.clock.write()
	if diff := cmp.Diff(told(want), told(got)); diff != "" {
		t.Fatalf("-quiet org +graph:\n%.3000s", diff)
	}
	if diff := cmp.Diff(got, r.replayed()); diff != "" && h.truncated == 0 {
		t.Fatalf("-graph +graph by its changes:\n%.3000s", diff)
	}
	heldCounted(t, h.e, h.id)
}
