package engine

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/jsonl"
)

// destination is one that keeps graphs in memory, with their positions, and
// fails when told to.
type destination struct {
	name string

	mu       sync.Mutex
	position string
	objects  map[string]string // JSON by kind and key
	replaced int
	forced   int
	forgot   bool
	fail     func(call int) fault // nil: never
	calls    int
	window   time.Duration
	biggest  int
	undated  int // users that came without as of when they are so
}

// fault is how a delivery fails: before it takes effect, or after.
type fault struct {
	err  error
	done bool
}

func (h *destination) Name() string { return h.name }

func (h *destination) Position(context.Context, sink.Instance) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.position, nil
}

func (h *destination) Window(context.Context, sink.Instance) (time.Duration, error) {
	return h.window, nil
}

// call runs a delivery with the fault that is due.
func (h *destination) call(deliver func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	var f fault
	if h.fail != nil {
		f = h.fail(h.calls)
	}
	if f.err != nil && !f.done {
		return f.err
	}
	if err := deliver(); err != nil {
		return err
	}
	return f.err
}

func put(objects map[string]string, c graph.Change) {
	key := "edge " + c.Key()
	if c.Entity != nil {
		key = "entity " + c.Key()
	}
	if c.Op == graph.Delete {
		delete(objects, key)
		return
	}
	b, err := json.Marshal(c.Object)
	if err != nil {
		panic(err)
	}
	objects[key] = string(b)
}

func (h *destination) Apply(_ context.Context, _ sink.Instance, b sink.Batch) error {
	return h.call(func() error {
		for _, c := range b.Changes {
			put(h.objects, c)
		}
		h.position, h.biggest = b.Position, max(h.biggest, len(b.Changes))
		return nil
	})
}

func (h *destination) Replace(_ context.Context, _ sink.Instance, s sink.Snapshot, force bool) error {
	return h.call(func() error {
		objects := map[string]string{}
		for c, err := range s.Changes {
			if err != nil {
				return err
			}
			put(objects, c)
			if c.Entity != nil && c.Entity.Type == "okta_user" && time.Since(c.AsOf) > 24*time.Hour {
				h.undated++
			}
		}
		h.objects, h.position = objects, s.Position()
		h.replaced++
		if force {
			h.forced++
		}
		return nil
	})
}

func (h *destination) Forget(context.Context, string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.objects, h.position, h.forgot = map[string]string{}, "", true
	return nil
}

func (h *destination) Close() error { return nil }

// look runs f while nothing is delivered.
func (h *destination) look(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

func newDestination(name string) *destination {
	return &destination{name: name, objects: map[string]string{}}
}

// startDelivering starts a process with sinks.
func startDelivering(t *testing.T, url string, sinks ...sink.Sink) *replica {
	t.Helper()
	return startReplicaWith(t, url, func(cfg *Config) { cfg.Sinks = sinks }, "delivering")
}

// delivered waits until a sink holds the graph of the org at rest.
func delivered(t *testing.T, e *Engine, sim *oktasim.Org, id string, h *destination) {
	t.Helper()
	since := time.Now()
	eventually(t, "a sink in step", 60*time.Second, func() bool {
		if s := status(t, e, id); s.Log.ReadUpTo == nil || s.Log.ReadUpTo.Before(since) {
			return false
		}
		last, err := e.LastPosition(t.Context(), id)
		if err != nil {
			return false
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.position == last && isWhole(t, e, id)()
	})
	inStepNow(t, e, sim, id)
	got := map[string]string{}
	h.look(func() {
		for key, object := range h.objects {
			_, key, _ = strings.Cut(key, " ")
			got[key] = object
		}
	})
	if diff := cmp.Diff(graphOf(t, e, id), got); diff != "" {
		t.Fatalf("-graph +sink %s:\n%s", h.name, diff)
	}
}

// Sinks hold the graph, after changes and after failures: lost ones, and such
// whose delivery took effect. One that fails holds back no other.
func TestSinksHoldTheGraph(t *testing.T) {
	t.Parallel()
	server := durable(t)
	sim := startSim(t, oktasim.Config{Seed: 71, Users: 30, Groups: 6, Apps: 5})
	good, shaky, broken := newDestination("good"), newDestination("shaky"), newDestination("broken")
	shaky.fail = func(call int) fault {
		if call%3 == 0 {
			return fault{sink.After(time.Millisecond, errors.New("lost")), false}
		}
		if call%3 == 1 {
			return fault{sink.After(time.Millisecond, errors.New("done, but nobody was told")), true}
		}
		return fault{}
	}
	broken.fail = func(int) fault { return fault{err: sink.Permanent(errors.New("the key was refused: set another"))} }
	r := startDelivering(t, server.URL, good, shaky, broken)
	defer r.halt()
	register(t, r.e, sim, "acme")
	if _, err := r.e.StartRun(t.Context(), "acme", Start{Trigger: "test"}); err != nil {
		t.Fatal(err)
	}
	delivered(t, r.e, sim, "acme", good)
	for range 4 {
		sim.Mutate(50)
		delivered(t, r.e, sim, "acme", good)
	}
	delivered(t, r.e, sim, "acme", shaky)
	good.look(func() {
		if good.undated > 0 {
			t.Errorf("%d users without a time", good.undated)
		}
		if good.replaced != 1 {
			t.Errorf("%d snapshots to a sink that never failed", good.replaced)
		}
	})

	sinks := status(t, r.e, "acme").Sinks
	if s := sinks["broken"]; s.State != sink.Stopped || s.Error != "the key was refused: set another" || s.Failures == 0 {
		t.Errorf("broken sink: %+v", s)
	}
	if h, err := r.e.Health(t.Context()); err != nil || !slices.ContainsFunc(h.Warnings, func(w string) bool { return strings.Contains(w, "acme has a sink that fails") }) {
		t.Errorf("health: %+v, %v", h, err)
	}
	if s := sinks["good"]; s.State != sink.Following || s.Lag == nil || *s.Lag != 0 || s.Changes == 0 || s.Snapshots != 1 {
		t.Errorf("good sink: %+v", s)
	}

	// Mended, it goes on with the snapshot that an operator asks for.
	broken.look(func() { broken.fail = nil })
	if err := r.e.Resnapshot(t.Context(), "acme", "broken", true); err != nil {
		t.Fatal(err)
	}
	delivered(t, r.e, sim, "acme", broken)
	broken.look(func() {
		if broken.forced != 1 {
			t.Errorf("%d forced snapshots", broken.forced)
		}
	})
	if err := r.e.Resnapshot(t.Context(), "acme", "other", false); !errors.Is(err, ErrUnknownSink) {
		t.Errorf("a snapshot to an unknown sink: %v", err)
	}
	if err := r.e.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	good.look(func() {
		if !good.forgot || len(good.objects) != 0 {
			t.Error("a deleted instance is still held")
		}
	})
}

// After what makes positions worthless, a snapshot follows: a wiped Redis, and
// changes that are no longer kept.
func TestSinksGetASnapshotWhenTheChangesDoNotLeadOn(t *testing.T) {
	t.Parallel()
	server := durable(t)
	sim := startSim(t, oktasim.Config{Seed: 72, Users: 20, Groups: 4, Apps: 3})
	h := newDestination("h")
	r := startDelivering(t, server.URL, h)
	defer func() { r.halt() }()
	register(t, r.e, sim, "acme")
	if _, err := r.e.StartRun(t.Context(), "acme", Start{Trigger: "test"}); err != nil {
		t.Fatal(err)
	}
	delivered(t, r.e, sim, "acme", h)
	before := status(t, r.e, "acme").Epoch
	if err := rawRedis(t, server.URL).FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	sim.Mutate(30)
	eventually(t, "a new epoch", 30*time.Second, func() bool {
		epoch := status(t, r.e, "acme").Epoch
		return epoch != "" && epoch != before
	})
	delivered(t, r.e, sim, "acme", h)
	h.look(func() {
		if h.replaced < 2 {
			t.Error("no snapshot in the new epoch")
		}
	})

	// A sink that was away for longer than changes are kept.
	r.halt()
	old := ""
	h.look(func() { old = h.position })
	r = startDelivering(t, server.URL)
	sim.Mutate(30)
	eventually(t, "the log taken in", 30*time.Second, func() bool {
		last, err := r.e.LastPosition(t.Context(), "acme")
		return err == nil && last != old && isWhole(t, r.e, "acme")()
	})
	r.halt()
	raw := rawRedis(t, server.URL)
	stream := "oktasync:{acme}:changes"
	for range state.KeepChanges / 1000 {
		pipe := raw.Pipeline()
		for range 1000 {
			pipe.XAdd(t.Context(), addNothing(stream))
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := raw.XTrimMaxLen(t.Context(), stream, state.KeepChanges).Err(); err != nil {
		t.Fatal(err)
	}
	snapshots := 0
	h.look(func() { snapshots = h.replaced })
	r = startDelivering(t, server.URL, h)
	eventually(t, "a snapshot", 30*time.Second, func() (is bool) {
		h.look(func() { is = h.replaced > snapshots })
		return is
	})
}

// A sink with a window gets the changes of all of it at once.
func TestSinksCollectChangesForTheirWindow(t *testing.T) {
	t.Parallel()
	server := durable(t)
	sim := startSim(t, oktasim.Config{Seed: 73, Users: 20, Groups: 4, Apps: 3})
	h := newDestination("h")
	h.window = time.Second
	r := startDelivering(t, server.URL, h)
	defer r.halt()
	register(t, r.e, sim, "acme")
	if _, err := r.e.StartRun(t.Context(), "acme", Start{Trigger: "test"}); err != nil {
		t.Fatal(err)
	}
	delivered(t, r.e, sim, "acme", h)
	calls := 0
	h.look(func() { calls = h.calls })
	sim.Mutate(60)
	delivered(t, r.e, sim, "acme", h)
	h.look(func() {
		if h.calls-calls > 10 || h.biggest < 5 {
			t.Errorf("%d deliveries, the biggest of %d changes", h.calls-calls, h.biggest)
		}
	})
}

// Processes that die in the middle of deliveries hand the file on: what its lines lead to is the graph.
func TestLinesOfAFileLeadToTheGraph(t *testing.T) {
	t.Parallel()
	server := durable(t)
	sim := startSim(t, oktasim.Config{Seed: 74, Users: 20, Groups: 4, Apps: 3})
	path := filepath.Join(t.TempDir(), "changes.jsonl")
	var last *jsonl.Sink
	open := func() *jsonl.Sink {
		if last != nil {
			last.Close() // with its process a lock ends
		}
		s, err := jsonl.New(jsonl.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		last = s
		return s
	}
	r := startDelivering(t, server.URL, open())
	register(t, r.e, sim, "acme")
	if _, err := r.e.StartRun(t.Context(), "acme", Start{Trigger: "test"}); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		eventually(t, "a whole graph", 60*time.Second, isWhole(t, r.e, "acme"))
		sim.Mutate(30)
		r.kill()
		r = startDelivering(t, server.URL, open())
	}
	defer r.halt()
	name, since := "jsonl:"+path, time.Now()
	eventually(t, "all written", 60*time.Second, func() bool {
		last, err := r.e.LastPosition(t.Context(), "acme")
		s := status(t, r.e, "acme")
		return err == nil && s.Sinks[name].Position == last && isWhole(t, r.e, "acme")() && s.Log.ReadUpTo != nil && s.Log.ReadUpTo.After(since)
	})
	inStepNow(t, r.e, sim, "acme")
	eventually(t, "all written", 60*time.Second, func() bool {
		last, err := r.e.LastPosition(t.Context(), "acme")
		return err == nil && status(t, r.e, "acme").Sinks[name].Position == last
	})
	want := map[string]string{}
	maps.Copy(want, graphOf(t, r.e, "acme"))
	if diff := cmp.Diff(want, readLines(t, path)); diff != "" {
		t.Fatalf("-graph +lines:\n%s", diff)
	}
}

// addNothing is an entry of the changes that shows nothing.
func addNothing(stream string) *redis.XAddArgs {
	return &redis.XAddArgs{Stream: stream, Values: []string{"id", "user/00unobody", "b", "", "a", "", "t", "1", "s", "log", "c", "x"}}
}

// readLines returns the graph that the lines of a file lead to.
func readLines(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	objects, snapshot := map[string]string{}, map[string]string{}
	for l := range strings.Lines(string(text)) {
		var line struct {
			File         string
			Snapshot     string
			Op           string
			Entity       json.RawMessage
			Relationship json.RawMessage
		}
		if err := json.Unmarshal([]byte(l), &line); err != nil {
			t.Fatalf("line %s: %v", l, err)
		}
		if line.File != "" {
			continue // the first
		}
		into := objects
		switch line.Snapshot {
		case "begin":
			snapshot = map[string]string{}
			continue
		case "end":
			objects = snapshot
			continue
		case "line":
			into = snapshot
		}
		kind, object := "entity", line.Entity
		if object == nil {
			kind, object = "relationship", line.Relationship
		}
		var named struct {
			Key string `json:"_key"`
		}
		if err := json.Unmarshal(object, &named); err != nil {
			t.Fatal(err)
		}
		if line.Op == "delete" {
			delete(into, named.Key)
			continue
		}
		into[named.Key] = `{"` + kind + `":` + unescaped(object) + `}`
	}
	return objects
}

// unescaped is the JSON as json.Marshal writes it: the sink leaves <, > and & as they are.
func unescaped(object json.RawMessage) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	if err := enc.Encode(object); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
