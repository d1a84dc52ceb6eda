package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// children returns the processes whose command line names part.
func children(t *testing.T, part string) []string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(lines, func(path string) bool {
		text, err := os.ReadFile(path)
		return err != nil || !strings.Contains(string(text), part) // or it is gone
	})
}

func TestInterruptedTestLeavesNothingBehind(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	ctx, interrupt := context.WithCancel(t.Context())
	alive := 0
	out := writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "begin") {
			alive = len(children(t, temporary))
			time.AfterFunc(500*time.Millisecond, interrupt)
		}
		return len(p), nil
	})
	var failure bytes.Buffer
	status := run(ctx, []string{"--replicas=2", "--every=100ms"}, out, &failure)
	if status != 1 || !strings.Contains(failure.String(), "interrupted") {
		t.Errorf("status %d: %s", status, failure.String())
	}
	if alive == 0 {
		t.Error("no child was seen while the test ran")
	}
	if left := children(t, temporary); len(left) > 0 {
		t.Errorf("%d processes are left", len(left))
	}
	left, err := os.ReadDir(temporary)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		if strings.HasPrefix(entry.Name(), "oktasync-killtest") {
			t.Errorf("%s is left", entry.Name())
		}
	}
}
