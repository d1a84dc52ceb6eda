package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	_ "github.com/oktasync/oktasync/state/statetest/chaos" // the flag -chaos.histories
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestKillsLoseAndDoubleNothing(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d replicas", replicas), func(t *testing.T) {
			t.Parallel()
			var out, failure bytes.Buffer
			status := run(t.Context(), []string{"--kills=6", "--every=300ms", fmt.Sprintf("--replicas=%d", replicas)}, &out, &failure)
			if status != 0 || !strings.Contains(out.String(), "nothing was lost or doubled") {
				t.Errorf("status %d: %s\n%s", status, failure.String(), out.String())
			}
		})
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func entity(key, name string) string {
	return fmt.Sprintf(`{"_key":%q,"_type":"okta_user","_class":["User"],"name":%q}`, key, name)
}

func change(op, id, object string) string {
	return fmt.Sprintf("id: %s\ndata: {\"op\":%q,\"entity\":%s,\"asOf\":\"2026-01-01T00:00:00Z\",\"source\":\"hook\",\"cause\":\"1\"}\n\n", id, op, object)
}

func replayed(t *testing.T, whole bool, stream ...string) *feed {
	t.Helper()
	f := &feed{whole: whole, objects: map[string]string{}}
	heard := 0
	if err := f.read(strings.NewReader(strings.Join(stream, "")), func() { heard++ }); err == nil {
		t.Error("a stream that ends is no error")
	}
	if heard != f.n {
		t.Errorf("heard %d of %d changes", heard, f.n)
	}
	return f
}

func TestLostAndDoubledChangesAreFound(t *testing.T) {
	create, update := change("create", "e:1-0", entity("a", "1")), change("update", "e:2-0", entity("a", "2"))
	for name, c := range map[string]struct {
		whole  bool
		stream []string
		want   string // part of the only fault; "": none
	}{
		"in order":          {true, []string{create, update, change("delete", "e:3-0.1", entity("a", "2")), change("create", "e:3-0", entity("a", "3"))}, ""},
		"created twice":     {true, []string{create, change("create", "e:2-0", entity("a", "2"))}, "is there already"},
		"updated twice":     {true, []string{create, update, change("update", "e:3-0", entity("a", "2"))}, "is so already"},
		"update of nothing": {true, []string{update}, "is not there"},
		"delete of nothing": {true, []string{change("delete", "e:1-0", entity("a", "1"))}, "is not there"},
		"deleted twice": {true, []string{
			create, change("delete", "e:2-0", entity("a", "1")), change("delete", "e:3-0", entity("a", "1")),
		}, "is not there"},
		"going back":           {true, []string{change("create", "e:2-0", entity("b", "1")), create}, "comes after"},
		"going back in part":   {true, []string{change("create", "e:2-0.2", entity("b", "1")), change("create", "e:2-0.1", entity("a", "1"))}, "comes after"},
		"another epoch":        {true, []string{create, change("create", "f:2-0", entity("b", "1"))}, "comes after"},
		"from the middle":      {false, []string{update, change("delete", "e:3-0", entity("a", "2"))}, ""},
		"twice in the middle":  {false, []string{update, change("create", "e:3-0", entity("a", "3"))}, "is there already"},
		"deleted, then update": {false, []string{change("delete", "e:1-0", entity("a", "1")), update}, "is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			f := replayed(t, c.whole, c.stream...)
			if c.want == "" && len(f.faults) > 0 || c.want != "" && (len(f.faults) != 1 || !strings.Contains(f.faults[0], c.want)) {
				t.Errorf("found %q, want %q", f.faults, c.want)
			}
		})
	}
}

func TestReplayThatIsNotTheGraphIsFound(t *testing.T) {
	stream := []string{change("create", "e:1-0", entity("a", "1")), change("create", "e:2-0", entity("b", "1")), change("delete", "e:3-0", entity("b", "1"))}
	for name, c := range map[string]struct {
		whole bool
		graph map[string]string
		want  int
	}{
		"equal":                       {true, map[string]string{"a": entity("a", "1")}, 0},
		"other content":               {true, map[string]string{"a": entity("a", "2")}, 1},
		"gone":                        {true, map[string]string{}, 1},
		"deleted, but there":          {true, map[string]string{"a": entity("a", "1"), "b": entity("b", "1")}, 1},
		"never created":               {true, map[string]string{"a": entity("a", "1"), "c": entity("c", "1")}, 1},
		"created before what is kept": {false, map[string]string{"a": entity("a", "1"), "c": entity("c", "1")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := replayed(t, c.whole, stream...)
			graph := map[string]string{}
			for key, text := range c.graph {
				graph[key] = normalText(t, text)
			}
			if f.compare(graph); len(f.faults) != c.want {
				t.Errorf("found %q, want %d", f.faults, c.want)
			}
		})
	}
}

// normalText brings the JSON of an entity to the form in which graphs are compared.
func normalText(t *testing.T, text string) string {
	t.Helper()
	f := replayed(t, true, change("create", "e:1-0", text))
	for _, object := range f.objects {
		return object
	}
	t.Fatal("no object")
	return ""
}

func TestDifferencesOfGraphsAreNamed(t *testing.T) {
	got := differences(map[string]string{"a": "1", "b": "1", "d": "1"}, map[string]string{"a": "1", "b": "2", "c": "1"})
	want := []string{"b is 1, should be 2", "c is missing", "d should not be there"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWrongUsageIsNamed(t *testing.T) {
	for _, arg := range []string{"--kills=0", "--rate=0", "--rate=NaN", "--replicas=21", "--every=1ms", "--redis-share=2", "--for=0s", "--nonsense"} {
		var failure bytes.Buffer
		name, _, _ := strings.Cut(arg, "=")
		if status := run(t.Context(), []string{arg}, io.Discard, &failure); status != 2 || !strings.Contains(failure.String(), name) {
			t.Errorf("%s: status %d: %s", arg, status, failure.String())
		}
	}
}

func TestKillIsFollowedByAnAcknowledgementThatBeganAfterIt(t *testing.T) {
	c, at := newCount(), time.Now()
	c.killed(ofRedis, at)
	c.answered(204, 1, 1, at.Add(-time.Millisecond), at.Add(time.Millisecond))
	c.answered(503, 1, 1, at.Add(time.Millisecond), at.Add(2*time.Millisecond))
	if len(c.silence) != 0 {
		t.Errorf("counted: %v", c.silence)
	}
	c.answered(204, 1, 2, at.Add(3*time.Millisecond), at.Add(5*time.Millisecond))
	if !slices.Equal(c.silence, []time.Duration{5 * time.Millisecond}) || c.acknowledged != 2 || c.repeats != 1 {
		t.Errorf("got %+v", c)
	}
}
