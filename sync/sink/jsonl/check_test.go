package jsonl_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gofrs/flock"

	"github.com/oktasync/oktasync/sync/sink/jsonl"
)

func TestCheckLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "graph.jsonl")
	for range 2 {
		if err := jsonl.Check(path); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(path, []byte("a line\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "a line\n" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if err := jsonl.Check("-"); err != nil {
		t.Error(err)
	}
}

// The writer holds its lock, and keeps it.
func TestCheckDoesNotMindAWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "graph.jsonl")
	lock := flock.New(path + ".lock")
	if locked, err := lock.TryLock(); !locked || err != nil {
		t.Fatal(locked, err)
	}
	defer lock.Unlock()
	if err := jsonl.Check(path); err != nil {
		t.Error(err)
	}
	if locked, err := flock.New(path + ".lock").TryLock(); locked || err != nil {
		t.Errorf("the lock was taken away: %v, %v", locked, err)
	}
}

func TestCheckFindsWhatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "none", "graph.jsonl"): "does not exist",
		dir: "directory",
	} {
		if err := jsonl.Check(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := os.Stat("/proc/self/status"); err == nil {
		if err := jsonl.Check("/proc/graph.jsonl"); err == nil {
			t.Error("a directory without room for files is taken for good")
		}
	}
}
