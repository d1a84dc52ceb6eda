package oktasim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Hook is an event hook of the org.
type Hook struct {
	URL    string
	Header string // that carries the secret; default Authorization
	Secret string
	Types  []string // subscribed; nil: every eligible one
	// Timeout bounds one try. Default 3 s, as Okta's.
	Timeout time.Duration
	Client  *http.Client // default: a new one that follows no redirect
}

// Faults are what happens to events on the way of a hook. The zero value loses
// and moves nothing. Chances are between 0 and 1.
type Faults struct {
	Drop   float64 // never sent
	Double float64 // sent twice, in deliveries of their own or in the same
	Delay  float64 // kept back until a later Deliver, or Flush
	Swap   bool    // sent in any order
	Batch  int     // events in a delivery: between 1 and this at random; 0: as many as fit, 500
	Terse  bool    // fields that are null are left out, as they once were
}

// Sender delivers events to a hook as Okta does: 3 s for an answer, one retry
// after a 5xx, a timeout or a broken connection, none after a 4xx.
type Sender struct {
	org    *Org
	hook   Hook
	id     string // of a hook of the org, which then says what hook is
	client *http.Client

	mu     sync.Mutex
	rng    *rand.Rand
	faults Faults
	late   []Event // kept back by Faults.Delay
	sent   int

	wg     sync.WaitGroup
	cancel context.CancelFunc
}

// DeliveryError tells that a hook did not take a delivery. Okta will not send
// it again.
type DeliveryError struct {
	Status int // of the last answer; 0: none
	Tries  int
	Events int
	Err    error // why there was no answer
}

func (e *DeliveryError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("deliver %d events: no answer after %d tries: %v", e.Events, e.Tries, e.Err)
	}
	return fmt.Sprintf("deliver %d events: status %d after %d tries", e.Events, e.Status, e.Tries)
}

func (e *DeliveryError) Unwrap() error { return e.Err }

// NewSender returns a sender for the hook.
func (o *Org) NewSender(hook Hook, faults Faults) *Sender {
	s := &Sender{org: o, hook: hook, client: hook.Client, faults: faults,
		rng: rand.New(rand.NewPCG(uint64(o.cfg.Seed), 3))}
	if s.hook.Header == "" {
		s.hook.Header = "Authorization"
	}
	if s.hook.Timeout == 0 {
		s.hook.Timeout = 3 * time.Second
	}
	if s.client == nil {
		s.client = &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: maxDeliveries},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return s
}

// Verify sends the one-time verification: a GET with a challenge, which the
// hook must echo.
func (s *Sender) Verify(ctx context.Context) error {
	s.org.mu.Lock()
	challenge := s.org.hex(32)
	s.org.mu.Unlock()
	err := s.verify(ctx, challenge)
	if err != nil && ctx.Err() == nil {
		err = s.verify(ctx, challenge) // one retry
	}
	if err != nil {
		return fmt.Errorf("verify the hook: %w", err)
	}
	return nil
}

func (s *Sender) verify(ctx context.Context, challenge string) error {
	ctx, cancel := context.WithTimeout(ctx, s.hook.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.hook.URL, nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Okta-Verification-Challenge", challenge)
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return err
	}
	var echo struct{ Verification string }
	if resp.StatusCode != http.StatusOK || json.Unmarshal(body, &echo) != nil || echo.Verification != challenge {
		return fmt.Errorf("status %d, and not the challenge", resp.StatusCode)
	}
	return nil
}

// SetFaults changes what happens to events from now on.
func (s *Sender) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// Deliver sends the events that the hook gets, with the faults, one delivery
// after the other. It returns the deliveries that failed, joined; their events
// are lost.
func (s *Sender) Deliver(ctx context.Context, events []Event) error {
	return s.sendAll(ctx, s.cut(events, false))
}

// Flush sends what Faults.Delay kept back.
func (s *Sender) Flush(ctx context.Context) error { return s.sendAll(ctx, s.cut(nil, true)) }

func (s *Sender) sendAll(ctx context.Context, batches [][]Event) error {
	var errs []error
	for _, b := range batches {
		if err := s.send(ctx, b); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// cut makes deliveries of the events, faults and all.
func (s *Sender) cut(events []Event, all bool) [][]Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.late
	s.late = nil
	hook, live := s.current()
	if !live {
		return nil
	}
	for _, e := range events {
		if !e.HookEligible || hook.Types != nil && !slices.Contains(hook.Types, e.Type) {
			continue
		}
		if s.faults.Terse {
			var v any
			_ = json.Unmarshal(e.JSON, &v) // we made it
			e.JSON = mustJSON(dropNulls(v))
		}
		if s.rng.Float64() < s.faults.Drop {
			continue
		}
		if s.rng.Float64() < s.faults.Delay && !all {
			s.late = append(s.late, e)
		} else {
			queue = append(queue, e)
		}
		if s.rng.Float64() < s.faults.Double {
			queue = append(queue, e)
		}
	}
	if s.faults.Swap {
		s.rng.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })
	}
	var batches [][]Event
	for len(queue) > 0 {
		n := min(len(queue), maxBatch)
		if s.faults.Batch > 0 {
			n = min(n, 1+s.rng.IntN(s.faults.Batch))
		}
		batches = append(batches, queue[:n:n])
		queue = queue[n:]
	}
	return batches
}

func dropNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if x == nil {
				delete(v, k)
			} else {
				v[k] = dropNulls(x)
			}
		}
	case []any:
		for i, x := range v {
			v[i] = dropNulls(x)
		}
	}
	return v
}

const (
	maxBatch      = 500
	maxDeliveries = 8 // of one sender at once
)

// send makes one delivery, and its retry.
func (s *Sender) send(ctx context.Context, events []Event) error {
	id := s.org.cfg.HookID
	if s.id != "" {
		id = s.id
	}
	hook, live := s.current()
	if !live {
		return nil // a hook that was switched off gets nothing
	}
	body := s.org.deliveryBody(id, events)
	fail := &DeliveryError{Events: len(events)}
	for fail.Tries < 2 && ctx.Err() == nil {
		fail.Tries++
		fail.Status, fail.Err = s.post(ctx, hook, body)
		if fail.Err == nil && fail.Status < 500 {
			break
		}
	}
	if fail.Tries == 0 {
		fail.Err = ctx.Err()
	}
	if fail.Err == nil && fail.Status >= 200 && fail.Status < 300 {
		s.mu.Lock()
		s.sent += len(events)
		s.mu.Unlock()
		return nil
	}
	if ctx.Err() == nil {
		s.org.notice(happening{typ: "event_hook.delivery", job: true, actor: systemActor, result: "FAILURE", reason: "The hook did not take the delivery",
			targets: []target{{ID: id, Type: "EventHook", AlternateID: "unknown", DisplayName: "oktasync"}}})
	}
	return fail
}

func (s *Sender) post(ctx context.Context, hook Hook, body []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, hook.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, hook.URL, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	if hook.Secret != "" {
		req.Header.Set(hook.Header, hook.Secret)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, err
}

// Sent returns how many events the hook took, repeats included.
func (s *Sender) Sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// Start delivers events in the background as they happen, each after about
// delay, until Stop or the end of the org. Several deliveries may be under way
// at once. Failures are Okta's matter: nobody hears of them but the System Log.
func (s *Sender) Start(delay time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	from := s.org.feedEnd()
	s.wg.Add(1)
	s.org.wg.Add(1)
	go func() {
		defer s.org.wg.Done()
		defer s.wg.Done()
		s.run(ctx, from, delay)
		s.client.CloseIdleConnections()
	}()
}

func (s *Sender) run(ctx context.Context, from int, delay time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxDeliveries)
	pause := func(d time.Duration) bool {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return true
		case <-ctx.Done():
		case <-s.org.done:
			cancel()
		}
		return false
	}
	for {
		events, next, news := s.org.feedFrom(from)
		from = next
		if len(events) == 0 {
			// Nothing new: what was kept back goes now.
			wait := 10*delay + time.Second
			timer := time.NewTimer(wait)
			select {
			case <-news:
				timer.Stop()
				if !pause(delay) {
					return
				}
				continue
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			case <-s.org.done:
				timer.Stop()
				cancel()
				return
			}
		}
		for _, b := range s.cut(events, len(events) == 0) {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			case <-s.org.done:
				cancel()
				return
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer func() { <-slots }()
				_ = s.send(ctx, b) // the System Log has it
			}()
		}
	}
}

// Stop ends what Start began, and waits for it.
func (s *Sender) Stop() {
	if s.cancel != nil {
		s.cancel()
	}
	s.wg.Wait()
	s.client.CloseIdleConnections()
}

func (o *Org) feedEnd() int {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.feedAt + len(o.feed)
}

// feedFrom returns the events from number from on, the number of the next,
// and what closes when there are more.
func (o *Org) feedFrom(from int) ([]Event, int, <-chan struct{}) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	from = max(from, o.feedAt)
	return slices.Clone(o.feed[from-o.feedAt:]), o.feedAt + len(o.feed), o.news
}

// Events returns all events so far, in the order in which they happened: the
// last 50,000 at least.
func (o *Org) Events() []Event {
	events, _, _ := o.feedFrom(0)
	return events
}

// DeliveryBody returns the body of a delivery of the events: with an eventId of
// its own, and an eventTime of three or six digits.
func (o *Org) DeliveryBody(events []Event) []byte { return o.deliveryBody(o.cfg.HookID, events) }

func (o *Org) deliveryBody(hook string, events []Event) []byte {
	n := o.bodies.Add(1)
	format := "2006-01-02T15:04:05.000Z"
	if n%2 == 0 {
		format = "2006-01-02T15:04:05.000000Z"
	}
	raw := make([]json.RawMessage, len(events))
	for i, e := range events {
		raw[i] = e.JSON
	}
	return mustJSON(struct {
		EventType          string `json:"eventType"`
		EventTypeVersion   string `json:"eventTypeVersion"`
		CloudEventsVersion string `json:"cloudEventsVersion"`
		Source             string `json:"source"`
		EventID            string `json:"eventId"`
		Data               struct {
			Events []json.RawMessage `json:"events"`
		} `json:"data"`
		EventTime   string `json:"eventTime"`
		ContentType string `json:"contentType"`
	}{
		"com.okta.event_hook", "1.0", "0.1", o.url + "/api/v1/eventHooks/" + hook,
		fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(o.cfg.Seed), n),
		struct {
			Events []json.RawMessage `json:"events"`
		}{raw},
		o.clock.Now().UTC().Format(format), "application/json",
	})
}
