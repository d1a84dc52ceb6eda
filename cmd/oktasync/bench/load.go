package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// target is what deliveries are sent to.
type target struct {
	url  string
	http *http.Client
}

// newTarget returns a target for that many kept connections.
func newTarget(url string, connections int) *target {
	return &target{url, &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections, DisableCompression: true,
	}}}
}

func (t *target) close() { t.http.CloseIdleConnections() }

// send sends one delivery, which was not taken unless it returns nil.
func (t *target) send(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", hookSecret)
	req.Header.Set("Content-Type", "application/json")
	resp, err := t.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("a delivery was answered %s", resp.Status)
	}
	return nil
}

// answers are the deliveries of one load.
type answers struct {
	took   []time.Duration // each that was taken, sorted
	failed int
	first  error // of those that failed
	wall   time.Duration
}

func (a answers) rate() float64 { return float64(len(a.took)) / a.wall.Seconds() }

// at returns the time in which that share of the deliveries was taken, in ms.
func (a answers) at(share float64) string { return quantile(a.took, share) }

func quantile(sorted []time.Duration, share float64) string {
	if len(sorted) == 0 {
		return "-"
	}
	d := sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
	return fmt.Sprintf("%.1f", float64(d.Microseconds())/1e3)
}

// load sends deliveries. next writes the n-th into the sender's own letter.
type load struct {
	to      *target
	senders int
	events  int // of a delivery
	next    func(l *letter, n int)
	sent    func(n int, at time.Time) // may be nil
}

// closed sends as fast as they are answered, until so many were or the time is over.
func (ld load) closed(ctx context.Context, most int, length time.Duration) (answers, error) {
	end := time.Now().Add(length)
	return ld.run(ctx, func(n int) (time.Time, bool) {
		now := time.Now()
		return now, n < most && now.Before(end)
	})
}

// open sends at fixed moments, whether or not those before were answered, and counts
// how long each took from its moment on.
func (ld load) open(ctx context.Context, rate float64, length time.Duration) (answers, error) {
	start, most := time.Now(), int(rate*length.Seconds())
	return ld.run(ctx, func(n int) (time.Time, bool) {
		if n >= most {
			return time.Time{}, false
		}
		due := start.Add(time.Duration(float64(n) / rate * float64(time.Second)))
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
		}
		return due, ctx.Err() == nil
	})
}

func (ld load) run(ctx context.Context, due func(n int) (time.Time, bool)) (all answers, err error) {
	var mu sync.Mutex
	var senders sync.WaitGroup
	var numbers atomic.Int64
	start := time.Now()
	for range ld.senders {
		l, err := newLetter(ld.events)
		if err != nil {
			return answers{}, err
		}
		senders.Go(func() {
			var own answers
			for {
				n := int(numbers.Add(1) - 1)
				began, more := due(n)
				if !more {
					break
				}
				ld.next(l, n)
				if ld.sent != nil {
					ld.sent(n, began)
				}
				if err := ld.to.send(ctx, l.body); err != nil {
					own.failed++
					own.first = err
					continue
				}
				own.took = append(own.took, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			all.took, all.failed = append(all.took, own.took...), all.failed+own.failed
			if own.first != nil {
				all.first = own.first
			}
		})
	}
	senders.Wait()
	all.wall = time.Since(start)
	slices.Sort(all.took)
	if len(all.took) == 0 {
		return all, errors.Join(errors.New("no delivery was taken"), all.first, ctx.Err())
	}
	return all, ctx.Err()
}

// ownCPU is what this process has used, which is what sends.
func ownCPU() (time.Duration, error) {
	u, err := readUsage(os.Getpid())
	return u.cpu, err
}
