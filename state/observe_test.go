package state_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
)

func TestObserveTellsScriptsAndFailures(t *testing.T) {
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	s, err := state.Open(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var mu sync.Mutex
	ended, failed := map[string]int{}, map[string]int{}
	s.Observe(func(name string, took time.Duration, err error) {
		mu.Lock()
		defer mu.Unlock()
		ended[name]++
		if took < 0 {
			t.Errorf("%s took %v", name, took)
		}
		if err != nil {
			failed[name]++
		}
	})
	org := s.Org("observed")
	if _, err := org.Accept(t.Context(), nil, nil); err == nil {
		t.Error("an instance that does not exist accepts")
	}
	if err := org.SetInstance(t.Context(), []byte("settings")); err != nil {
		t.Fatal(err)
	}
	if _, err := org.Accept(t.Context(), []state.Event{{UUID: "1", Type: "t", Body: []byte("{}"), Trace: "00-trace"}, {UUID: "2", Type: "t", Body: []byte("{}")}}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := org.Merge(t.Context(), state.Batch{}); err != nil {
		t.Fatal(err)
	}
	if _, err := org.Run(t.Context(), "none"); err == nil {
		t.Error("a run that does not exist is there")
	}
	events, err := org.Inbox(t.Context(), 10)
	if err != nil || len(events) != 2 || events[0].Trace != "00-trace" || events[1].Trace != "" {
		t.Errorf("inbox: %+v, %v", events, err)
	}
	if v, err := org.Overview(t.Context()); err != nil || v.OldestInbox == 0 || time.Since(time.UnixMilli(v.OldestInbox)) > time.Minute {
		t.Errorf("the oldest: %d %v", v.OldestInbox, err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	org.Fact(canceled, "x")
	mu.Lock()
	if ended["accept"] < 2 || ended["merge"] == 0 || ended["hget"] == 0 || len(failed) != 0 {
		t.Errorf("ended: %v, failed: %v", ended, failed)
	}
	mu.Unlock()

	server.Stop()
	if _, err := org.Fact(t.Context(), "x"); err == nil {
		t.Error("a Redis that was stopped answers")
	}
	mu.Lock()
	defer mu.Unlock()
	if failed["hget"] == 0 {
		t.Errorf("failed: %v", failed)
	}
}
