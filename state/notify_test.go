package state_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/state/statetest"
)

func TestMain(m *testing.M) { os.Exit(statetest.Main(m)) }

func open(t *testing.T, url string) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// raw is a client without any of ours.
func raw(t *testing.T, url string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	t.Cleanup(func() { client.Close() })
	return client
}

func registered(t *testing.T, s *state.Store, id string) *state.Org {
	t.Helper()
	org := s.Org(id)
	if err := org.SetInstance(t.Context(), []byte("settings")); err != nil {
		t.Fatal(err)
	}
	return org
}

func accept(t *testing.T, org *state.Org, uuid string) {
	t.Helper()
	if n, err := org.Accept(t.Context(), []state.Event{{UUID: uuid, Type: "type", Body: []byte("{}")}}, nil); err != nil || n != 1 {
		t.Fatal(n, err)
	}
}

func mustSignal(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		t.Fatal("no signal: ", what)
	}
}

// takeAll merges nothing, but moves the inbox past all that it holds.
func takeAll(t *testing.T, org *state.Org) {
	t.Helper()
	events, err := org.Inbox(t.Context(), 100)
	if err != nil || len(events) == 0 {
		t.Fatal(len(events), err)
	}
	if _, err := org.Merge(t.Context(), state.Batch{Inbox: events[len(events)-1].ID}); err != nil {
		t.Fatal(err)
	}
	if left, err := org.Inbox(t.Context(), 100); err != nil || len(left) != 0 {
		t.Fatal("taken in, and still there: ", left, err)
	}
}

// owned takes the lease of the instance.
func owned(t *testing.T, org *state.Org) *state.Org {
	t.Helper()
	lease, err := org.TakeLease(t.Context(), "test token", time.Minute)
	if err != nil || lease.Org == nil {
		t.Fatal(lease, err)
	}
	return lease.Org
}

// What one process stores wakes another, on a Redis and on the embedded one.
func TestNotifyTellsOfWhatGrew(t *testing.T) {
	for name, stores := range map[string]func(*testing.T) (a, b *state.Store){
		"redis":    func(t *testing.T) (a, b *state.Store) { return statetest.Open(t), statetest.Open(t) },
		"embedded": func(t *testing.T) (a, b *state.Store) { s := open(t, ""); return s, s },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := stores(t)
			id := statetest.Instance()
			org := owned(t, registered(t, a, id))
			inbox, changes, other := make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
			defer org.Notify(inbox, state.InboxStream)()
			defer org.Notify(changes, state.ChangesStream)()
			defer a.Org("other"+id).Notify(other, state.InboxStream)()
			for _, c := range []chan struct{}{inbox, changes, other} {
				mustSignal(t, c, "at the beginning")
			}
			for _, uuid := range []string{"1", "2", "3"} {
				accept(t, b.Org(id), uuid)
				mustSignal(t, inbox, "an event came")
				takeAll(t, org)
			}
			if _, err := org.Merge(t.Context(), state.Batch{Observations: []state.Observation{{ID: "user/1", Version: 2, Present: true, Content: []byte("{}")}}}); err != nil {
				t.Fatal(err)
			}
			mustSignal(t, changes, "the graph changed")
			select {
			case <-other:
				t.Error("a signal of another instance")
			default:
			}
		})
	}
}

// A connection that is lost takes messages with it: the next one signals.
func TestNotifySignalsAfterALostConnection(t *testing.T) {
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	org := registered(t, open(t, server.URL), "acme")
	inbox := make(chan struct{}, 1)
	defer org.Notify(inbox, state.InboxStream)()
	mustSignal(t, inbox, "at the beginning")
	client := raw(t, server.URL)
	for range 3 {
		killed, err := client.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Result()
		if err != nil || killed == 0 {
			t.Fatal(killed, err)
		}
		mustSignal(t, inbox, "after a new connection")
	}
}

// Whoever stopped costs Redis nothing for long, and comes back.
func TestStoppedNotifyUnsubscribes(t *testing.T) {
	s := statetest.Open(t)
	id := statetest.Instance()
	org := owned(t, registered(t, s, id))
	channel := "oktasync:{" + id + "}:" + state.InboxStream
	client := raw(t, statetest.URL(t))
	subscribed := func() int64 {
		t.Helper()
		n, err := client.PubSubNumSub(t.Context(), channel).Result()
		if err != nil {
			t.Fatal(err)
		}
		return n[channel]
	}
	inbox, again := make(chan struct{}, 1), make(chan struct{}, 1)
	stop := org.Notify(inbox, state.InboxStream)
	mustSignal(t, inbox, "at the beginning")
	stop()
	accept(t, org, "1")
	takeAll(t, org)
	for deadline := time.Now().Add(10 * time.Second); subscribed() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still subscribed, with nobody to tell")
		}
	}
	select {
	case <-inbox:
		t.Error("a signal after the stop")
	default:
	}
	defer org.Notify(again, state.InboxStream)()
	mustSignal(t, again, "at the beginning")
	accept(t, org, "2")
	mustSignal(t, again, "an event came")
}

// A user of Redis who may not publish loses the signals, not the events.
func TestForbiddenChannelsLoseNoEvent(t *testing.T) {
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	if err := raw(t, server.URL).Do(t.Context(), "ACL", "SETUSER", "quiet", "on", ">secret", "~*", "+@all", "resetchannels").Err(); err != nil {
		t.Fatal(err)
	}
	quiet := open(t, strings.Replace(server.URL, "unix://", "unix://quiet:secret@", 1))
	if err := raw(t, strings.Replace(server.URL, "unix://", "unix://quiet:secret@", 1)).Publish(t.Context(), "any", "").Err(); err == nil {
		t.Fatal("the user may publish")
	}
	org := owned(t, registered(t, quiet, "acme"))
	inbox := make(chan struct{}, 1)
	defer org.Notify(inbox, state.InboxStream)()
	accept(t, org, "1")
	takeAll(t, org)
	if _, err := org.Merge(context.Background(), state.Batch{Observations: []state.Observation{{ID: "user/1", Version: 2, Present: true, Content: []byte("{}")}}}); err != nil {
		t.Fatal(err)
	}
	if changes, err := org.Changes(t.Context(), "0", 10); err != nil || len(changes) != 1 {
		t.Error(changes, err)
	}
}
