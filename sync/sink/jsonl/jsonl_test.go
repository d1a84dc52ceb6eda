package jsonl_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/jsonl"
)

// memory is what the store would remember.
type memory struct {
	note sink.Note
	err  error
}

func (m *memory) Load(context.Context) (sink.Note, error) { return m.note, nil }

func (m *memory) Save(_ context.Context, n sink.Note) error {
	if m.err == nil {
		m.note = n
	}
	return m.err
}

func instance() sink.Instance { return sink.Instance{ID: "acme", Memory: &memory{}} }

func created(keys ...string) (changes []graph.Change) {
	for _, key := range keys {
		changes = append(changes, graph.Change{Op: graph.Create, Object: graph.Object{Entity: &graph.Entity{Key: key, Type: "okta_user", Class: []string{"User"}}}})
	}
	return changes
}

func snapshot(position string, changes []graph.Change, failure error) sink.Snapshot {
	var all iter.Seq2[graph.Change, error] = func(yield func(graph.Change, error) bool) {
		for _, c := range changes {
			if !yield(c, nil) {
				return
			}
		}
		if failure != nil {
			yield(graph.Change{}, failure)
		}
	}
	return sink.Snapshot{Changes: all, Position: func() string { return position }}
}

func open(t *testing.T, cfg jsonl.Config) *jsonl.Sink {
	t.Helper()
	s, err := jsonl.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEachChangeIsALineWithItsInstance(t *testing.T) {
	var out bytes.Buffer
	s, in := open(t, jsonl.Config{Path: "-", Stdout: &out}), instance()
	if err := s.Replace(t.Context(), in, snapshot("e:1", created("u1"), nil), false); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), in, sink.Batch{Changes: created("u2", "u3"), Position: "e:3"}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for l := range strings.Lines(out.String()) {
		var line struct {
			Instance, Position, Snapshot, Op string
			Entity                           struct {
				Key string `json:"_key"`
			}
		}
		if err := json.Unmarshal([]byte(l), &line); err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.Join([]string{line.Instance, line.Snapshot, line.Op, line.Entity.Key, line.Position}, " "))
	}
	want := []string{"acme begin   ", "acme line create u1 ", "acme end   e:1", "acme  create u2 ", "acme  create u3 e:3"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if position, err := s.Position(t.Context(), in); err != nil || position != "e:3" {
		t.Errorf("position %q, %v", position, err)
	}
}

// A snapshot that fails leaves no line; one whose position was not kept comes again.
func TestAFailedSnapshotLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	s, in := open(t, jsonl.Config{Path: path}), instance()
	many := make([]string, 5000) // more than a buffer
	for i := range many {
		many[i] = strings.Repeat("k", 50)
	}
	failure := errors.New("the store is gone")
	if err := s.Replace(t.Context(), in, snapshot("e:1", created(many...), failure), false); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err == nil && strings.Count(string(got), "\n") > 1 {
		t.Errorf("%d bytes are left", len(got))
	}
	if position, err := s.Position(t.Context(), in); err != nil || position != "" {
		t.Errorf("position %q, %v", position, err)
	}
	in.Memory = &memory{err: failure}
	if err := s.Apply(t.Context(), in, sink.Batch{Changes: created("u"), Position: "e:2"}); !errors.Is(err, failure) {
		t.Errorf("an unkept position is no error: %v", err)
	}
}

// What a crash left of a line is cut off, and the file is gone on with.
func TestAHalfLineIsCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	in := instance()
	s := open(t, jsonl.Config{Path: path})
	if err := s.Apply(t.Context(), in, sink.Batch{Changes: created("u1"), Position: "e:1"}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	whole := content(t, path)
	if err := os.WriteFile(path, []byte(whole+`{"instance":"acme","op":"cre`), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, jsonl.Config{Path: path})
	if position, err := s.Position(t.Context(), in); err != nil || position != "e:1" {
		t.Errorf("position %q, %v", position, err)
	}
	if got := content(t, path); got != whole {
		t.Errorf("the file holds %q, want %q", got, whole)
	}
}

// A file that is gone, while it is open or not, holds nothing of anybody.
func TestAFileThatIsGoneHoldsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	a, b := instance(), instance()
	s := open(t, jsonl.Config{Path: path})
	for _, in := range []sink.Instance{a, b} {
		if err := s.Apply(t.Context(), in, sink.Batch{Changes: created("u1"), Position: "e:1"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), a, sink.Batch{Changes: created("u2"), Position: "e:2"}); err == nil {
		t.Error("a change went to a file that nobody sees")
	}
	if position, err := s.Position(t.Context(), a); err != nil || position != "" {
		t.Errorf("position %q, %v", position, err)
	}
	if err := s.Replace(t.Context(), a, snapshot("e:3", created("u1", "u2"), nil), false); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, jsonl.Config{Path: path})
	for in, want := range map[*sink.Instance]string{&a: "e:3", &b: ""} {
		if position, err := s.Position(t.Context(), *in); err != nil || position != want {
			t.Errorf("after the snapshot of one of two: position %q, %v, want %q", position, err, want)
		}
	}
}

// Of two processes one writes, and the other waits.
func TestOneProcessWritesToAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	s, other := open(t, jsonl.Config{Path: path}), open(t, jsonl.Config{Path: path})
	in := instance()
	if err := s.Apply(t.Context(), in, sink.Batch{Changes: created("u1"), Position: "e:1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Position(t.Context(), in); err == nil || sink.IsPermanent(err) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second writer: %v", err)
	}
	s.Close()
	if position, err := other.Position(t.Context(), in); err != nil || position != "e:1" {
		t.Errorf("after the first has ended: %q, %v", position, err)
	}
}

func TestFullFilesAreSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	s, in := open(t, jsonl.Config{Path: path, MaxBytes: 1000, Keep: 2}), instance()
	for i := range 40 {
		key := strings.Repeat(string(rune('a'+i%26)), 100)
		if err := s.Apply(t.Context(), in, sink.Batch{Changes: created(key), Position: "e:1"}); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, ".lock") })
	if err != nil || len(files) != 3 {
		t.Fatalf("files %q, %v", files, err)
	}
	for _, name := range []string{"out.1.jsonl", "out.2.jsonl"} {
		if n := len(content(t, filepath.Join(filepath.Dir(path), name))); n <= 1000 || n > 1500 {
			t.Errorf("%s has %d bytes", name, n)
		}
	}
	if position, err := s.Position(t.Context(), in); err != nil || position != "e:1" {
		t.Errorf("position %q, %v", position, err)
	}
}

func TestAFileThatCannotBeMadeIsSaid(t *testing.T) {
	_, err := jsonl.New(jsonl.Config{Path: filepath.Join(t.TempDir(), "missing", "out.jsonl")})
	if err == nil || !strings.Contains(err.Error(), "make it, or name another file") {
		t.Errorf("error %v", err)
	}
}
