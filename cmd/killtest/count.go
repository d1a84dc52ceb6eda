package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

// count keeps the figures of a trial.
type count struct {
	mu           sync.Mutex
	events       int // made, and to be sent
	acknowledged int
	dropped      int         // events given up after two tries
	repeats      int         // deliveries sent again
	answers      map[int]int // tries by status
	kills        map[string]int
	waiting      []time.Time // kills that no acknowledgement has followed yet
	silence      []time.Duration
	takeovers    []time.Duration
}

func newCount() *count { return &count{answers: map[int]int{}, kills: map[string]int{}} }

func (c *count) made(events int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events += events
}

func (c *count) givenUp(events int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped += events
}

// answered notes a try and tells whether it was an acknowledgement.
func (c *count) answered(status, events, tries int, began, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[status]++
	if tries > 1 {
		c.repeats++
	}
	if status < 200 || status > 299 {
		return false
	}
	c.acknowledged += events
	// A try that began before the kill may have been served before it.
	c.waiting = slices.DeleteFunc(c.waiting, func(kill time.Time) bool {
		if !began.After(kill) {
			return false
		}
		c.silence = append(c.silence, now.Sub(kill))
		return true
	})
	return true
}

func (c *count) killed(kind string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kills[kind]++
	c.waiting = append(c.waiting, at)
}

func (c *count) tookOver(after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.takeovers = append(c.takeovers, after)
}

// total returns the kills so far.
func (c *count) total() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.kills {
		n += k
	}
	return n
}

// sent returns the events that are made, acknowledged, and given up.
func (c *count) sent() (events, acknowledged, dropped int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events, c.acknowledged, c.dropped
}

// refused returns the answers by which Okta would have thrown events away.
func (c *count) refused() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for status, tries := range c.answers {
		if status >= 300 && status < 500 {
			n += tries
		}
	}
	return n
}

// print writes the table.
func (c *count) print(out io.Writer, took time.Duration, deaths map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	total := 0
	for _, n := range c.kills {
		total += n
	}
	row("kills", "%d: Redis %d, owner %d, other replica %d; in %s", total,
		c.kills[ofRedis], c.kills[ofOwner], c.kills[ofOther], took.Round(time.Second))
	row("events", "%d made, %d acknowledged, %d given up; %.0f a second", c.events, c.acknowledged, c.dropped, float64(c.events)/took.Seconds())
	row("deliveries sent again", "%d", c.repeats)
	for _, status := range slices.Sorted(maps.Keys(c.answers)) {
		row("  tries: "+statusText(status), "%d", c.answers[status])
	}
	row("kill to next acknowledgement", "%s", percentiles(c.silence))
	row("owner killed to next owner", "%s", percentiles(c.takeovers))
	for _, name := range slices.Sorted(maps.Keys(deaths)) {
		row("ended by themselves: "+name, "%d", deaths[name])
	}
	_ = w.Flush() // the report is printed as far as it can be
}

func percentiles(list []time.Duration) string {
	if len(list) == 0 {
		return "not seen"
	}
	sorted := slices.Sorted(slices.Values(list))
	at := func(p float64) time.Duration {
		return sorted[int(p*float64(len(sorted)-1))].Round(time.Millisecond)
	}
	return fmt.Sprintf("p50 %s, p99 %s, max %s (%d seen)", at(0.5), at(0.99), at(1), len(list))
}
