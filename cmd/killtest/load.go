package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

const (
	senders       = 32
	backlog       = 2000            // deliveries that wait for a sender; more, and the org waits
	maxBatch      = 3               // events in a delivery
	answerTimeout = 3 * time.Second // as Okta's
	retryPause    = 25 * time.Millisecond
)

type delivery struct {
	body   []byte
	events int
}

// change changes the org at the rate until ctx ends, and hands over what its
// hook would be sent.
func (t *trial) change(ctx context.Context, out chan<- delivery) {
	defer close(out)
	sizes := rand.New(rand.NewPCG(uint64(t.Seed), 11))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	made, since := 0.0, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		due := t.Rate * time.Since(since).Seconds()
		if due-made > t.Rate { // the org had to wait: this is not made up for
			made, since, due = 0, time.Now(), 0
		}
		for made < due {
			events := t.org.Mutate(1)
			eligible := events[:0]
			for _, e := range events {
				if e.HookEligible {
					eligible = append(eligible, e)
				}
			}
			made += float64(max(len(eligible), 1))
			t.count.made(len(eligible))
			for len(eligible) > 0 {
				n := min(len(eligible), 1+sizes.IntN(maxBatch))
				out <- delivery{t.org.DeliveryBody(eligible[:n]), n} // what was made is sent, even after ctx ended
				eligible = eligible[n:]
			}
		}
	}
}

// send delivers what comes, each delivery until it is acknowledged.
func (t *trial) send(ctx context.Context, in <-chan delivery) {
	for d := range in {
		for tries := 1; ctx.Err() == nil; tries++ {
			began := time.Now()
			status := t.post(ctx, d.body)
			if t.count.answered(status, d.events, tries, began, time.Now()) {
				break
			}
			if t.WithLog && tries == 2 {
				t.count.givenUp(d.events)
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(retryPause):
			}
		}
	}
}

// post makes one try at a random replica that lives, and returns the status of
// the answer; 0 if there was none.
func (t *trial) post(ctx context.Context, body []byte) int {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.living()+"/hooks/okta/"+tested, bytes.NewReader(body))
	if err != nil {
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", t.hook)
	resp, err := t.client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body) // the status is what counts
	return resp.StatusCode
}

// living returns the URL of a random replica that runs, or of any if none does.
func (t *trial) living() string {
	var urls []string
	for _, p := range t.replicas {
		if p.pid() != 0 {
			urls = append(urls, "http://"+p.address)
		}
	}
	if len(urls) == 0 {
		return "http://" + t.replicas[0].address
	}
	return urls[rand.IntN(len(urls))]
}

// statusText names what a try came to.
func statusText(status int) string {
	if status == 0 {
		return "no answer"
	}
	return fmt.Sprint(status)
}
