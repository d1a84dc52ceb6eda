package oktasim_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// receiver is an endpoint that notes what it got.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	batches  [][]string // uuids
	envelope []map[string]any
	secrets  []string
	answer   func(n int, w http.ResponseWriter, r *http.Request) // of the n-th delivery
	got      chan string
}

func receive(t *testing.T) *receiver {
	r := &receiver{got: make(chan string, 10_000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]string{"verification": req.Header.Get("X-Okta-Verification-Challenge")})
			return
		}
		body, _ := io.ReadAll(req.Body)
		var d struct{ Data struct{ Events []event } }
		var envelope map[string]any
		if json.Unmarshal(body, &d) != nil || json.Unmarshal(body, &envelope) != nil {
			t.Errorf("not JSON: %s", body)
		}
		var uuids []string
		for _, e := range d.Data.Events {
			uuids = append(uuids, e.UUID)
			r.got <- e.UUID
		}
		r.mu.Lock()
		r.batches, r.envelope = append(r.batches, uuids), append(r.envelope, envelope)
		r.secrets = append(r.secrets, req.Header.Get("Authorization"))
		n, answer := len(r.batches), r.answer
		r.mu.Unlock()
		if answer != nil {
			answer(n, w, req)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) all() (uuids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.batches {
		uuids = append(uuids, b...)
	}
	return uuids
}

func eligible(events []oktasim.Event) (uuids []string) {
	for _, e := range events {
		if e.HookEligible {
			uuids = append(uuids, e.UUID)
		}
	}
	return uuids
}

func TestSenderDeliversInOrder(t *testing.T) {
	o, r := oktasim.New(t, oktasim.Config{Seed: 1}), receive(t)
	s := o.NewSender(oktasim.Hook{URL: r.URL, Secret: "s3cret"}, oktasim.Faults{Batch: 4})
	defer s.Stop()
	if err := s.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	events := o.Mutate(50)
	if err := s.Deliver(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.all(), eligible(events)) {
		t.Error("not the eligible events in their order")
	}
	if s.Sent() != len(eligible(events)) || r.secrets[0] != "s3cret" {
		t.Errorf("sent %d, secret %q", s.Sent(), r.secrets[0])
	}
	long := map[int]bool{}
	for i, b := range r.batches {
		if len(b) < 1 || len(b) > 4 {
			t.Errorf("a delivery of %d events", len(b))
		}
		e := r.envelope[i]
		for _, key := range []string{"eventType", "eventTypeVersion", "cloudEventsVersion", "source", "eventId", "data", "eventTime", "contentType"} {
			if e[key] == nil {
				t.Errorf("no %s in %v", key, e)
			}
		}
		long[len(e["eventTime"].(string))] = true
	}
	if !long[len("2026-03-17T12:01:02.366Z")] || !long[len("2026-03-17T12:01:02.366123Z")] {
		t.Errorf("eventTime has not both forms: %v", long)
	}
}

func TestSenderFaults(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1})
	events := o.Mutate(200)
	want := eligible(events)
	send := func(f oktasim.Faults) (got, kept []string) {
		r := receive(t)
		s := o.NewSender(oktasim.Hook{URL: r.URL}, f)
		defer s.Stop()
		if err := s.Deliver(t.Context(), events); err != nil {
			t.Fatal(err)
		}
		got = r.all()
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		return got, r.all()[len(got):]
	}
	distinct := func(uuids []string) []string {
		c := slices.Clone(uuids)
		slices.Sort(c)
		return slices.Compact(c)
	}
	if got, _ := send(oktasim.Faults{Drop: 0.5}); len(got) == 0 || len(got) > len(want)*3/4 {
		t.Errorf("dropped: %d of %d came", len(got), len(want))
	}
	if got, _ := send(oktasim.Faults{Double: 0.5, Batch: 3}); len(got) < len(want)*5/4 {
		t.Errorf("doubled: %d for %d came", len(got), len(want))
	} else {
		equal(t, "doubled", distinct(got), want)
	}
	if got, kept := send(oktasim.Faults{Delay: 0.5}); len(kept) < len(want)/4 {
		t.Errorf("delayed: %d of %d were kept back", len(kept), len(want))
	} else {
		equal(t, "delayed", append(got, kept...), want)
	}
	got, _ := send(oktasim.Faults{Swap: true, Batch: 10})
	equal(t, "swapped", got, want)
	if slices.Equal(got, want) {
		t.Error("nothing was swapped")
	}
	terse := receive(t)
	s := o.NewSender(oktasim.Hook{URL: terse.URL}, oktasim.Faults{Terse: true})
	defer s.Stop()
	if err := s.Deliver(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if sent, _ := json.Marshal(terse.envelope); strings.Contains(string(sent), ":null") || len(terse.all()) != len(want) {
		t.Error("nulls are not left out")
	}
	again, _ := send(oktasim.Faults{Swap: true, Batch: 10})
	if !slices.Equal(got, again) {
		t.Error("the same seed swaps otherwise")
	}
}

func TestSenderRetriesAsOkta(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1})
	events := o.Mutate(1)
	for _, c := range []struct {
		name          string
		answer        func(n int, w http.ResponseWriter, r *http.Request)
		tries, status int
	}{
		{"503 twice", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, 2, 503},
		{"503 once", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				w.WriteHeader(503)
			}
		}, 2, 0},
		{"401", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, 1, 401},
		{"302", func(_ int, w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusFound) }, 1, 302},
		{"broken once", func(n int, _ http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				panic(http.ErrAbortHandler)
			}
		}, 2, 0},
		{"too late once", func(n int, _ http.ResponseWriter, r *http.Request) {
			if n == 1 {
				<-r.Context().Done()
			}
		}, 2, 0},
	} {
		r := receive(t)
		r.answer = c.answer
		s := o.NewSender(oktasim.Hook{URL: r.URL, Timeout: 200 * time.Millisecond}, oktasim.Faults{})
		err := s.Deliver(t.Context(), events)
		s.Stop()
		var failed *oktasim.DeliveryError
		if len(r.batches) != c.tries {
			t.Errorf("%s: %d tries, want %d", c.name, len(r.batches), c.tries)
		}
		if c.status == 0 && err != nil || c.status != 0 && (!errors.As(err, &failed) || failed.Status != c.status) {
			t.Errorf("%s: %v", c.name, err)
		}
		all := o.Events()
		if logged := all[len(all)-1].Type == "event_hook.delivery"; logged != (c.status != 0) {
			t.Errorf("%s: event_hook.delivery in the log: %v", c.name, logged)
		}
		o.Emit("user.session.start", "User", "00uX")
	}
}

func TestSenderInTheBackground(t *testing.T) {
	o, r := oktasim.New(t, oktasim.Config{Seed: 1}), receive(t)
	o.Mutate(5) // before: not sent
	s := o.NewSender(oktasim.Hook{URL: r.URL, Types: []string{"user.account.update_profile"}}, oktasim.Faults{})
	s.Start(time.Millisecond)
	var want []string
	for _, u := range o.UserIDs("ACTIVE", "SUSPENDED") {
		events, err := o.UpdateProfile(u, map[string]any{"title": "x"})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, eligible(events)...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var got []string
	for len(got) < len(want) {
		select {
		case uuid := <-r.got:
			got = append(got, uuid)
		case <-ctx.Done():
			t.Fatalf("%d of %d events came", len(got), len(want))
		}
	}
	s.Stop()
	equal(t, "background", got, want)
}

func TestCloseEndsSenders(t *testing.T) {
	o, r := oktasim.New(t, oktasim.Config{Seed: 1}), receive(t)
	s := o.NewSender(oktasim.Hook{URL: r.URL}, oktasim.Faults{})
	s.Start(time.Hour)
	o.Mutate(3)
	o.Close() // goleak looks for what stays
	o.Close()
}
