package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/graph"
)

const (
	frameEvery   = 250 * time.Millisecond
	summaryEvery = 5 * time.Second
	shownChanges = 10
	keptSamples  = 2000
	keptEvents   = 20_000
)

// view shows the demo: a picture drawn again and again on a screen, else a line
// for each change and now and then a summary. The log goes through it too.
type view struct {
	out    io.Writer
	screen bool
	title  string

	mu      sync.Mutex
	counts  map[string]int // objects by _type
	events  int
	changes int
	sent    map[string]sentEvent // by uuid, the newest keptEvents
	order   []string             // of sent
	direct  []time.Duration      // freshness of what the event itself told
	reread  []time.Duration      // … of what had to be read again
	last    []string
	at      string // position of the last change
	logged  string
	summary time.Time
}

// sentEvent is an event of the simulated org.
type sentEvent struct {
	typ       string
	published time.Time
}

func newView(out io.Writer) *view {
	return &view{out: out, screen: terminal(out), counts: map[string]int{}, sent: map[string]sentEvent{}, summary: time.Now()}
}

// Write takes a line of the log.
func (v *view) Write(line []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.screen {
		v.logged = strings.TrimSpace(string(line))
		return len(line), nil
	}
	return v.out.Write(line)
}

// event notes an event before it is sent, so that its changes can be timed.
func (v *view) event(uuid, typ string, published time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.events++
	v.sent[uuid] = sentEvent{typ, published}
	if v.order = append(v.order, uuid); len(v.order) > keptEvents {
		delete(v.sent, v.order[0])
		v.order = v.order[1:]
	}
}

// change takes a change at the moment it became visible.
func (v *view) change(fc engine.FeedChange, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.changes++
	v.at = fc.Position
	c := fc.Change
	switch c.Op {
	case graph.Create:
		v.counts[typeOf(c.Object)]++
	case graph.Delete:
		v.counts[typeOf(c.Object)]--
	}
	why := c.Source + " " + c.Cause
	if ev, ok := v.sent[c.Cause]; ok {
		took := now.Sub(ev.published)
		if c.Source == "read" {
			v.reread = keepLast(v.reread, took, keptSamples)
		} else {
			v.direct = keepLast(v.direct, took, keptSamples)
		}
		why = fmt.Sprintf("%s of %s, after %s", c.Source, ev.typ, short(took))
	}
	line := fmt.Sprintf("%s  %-6s  %s  %s  (%s)", now.Format("15:04:05.000"), c.Op, typeOf(c.Object), c.Key(), why)
	if v.screen {
		v.last = keepLast(v.last, line, shownChanges)
		return
	}
	fmt.Fprintln(v.out, line)
}

// seen returns the position of the last change.
func (v *view) seen() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.at
}

func typeOf(o graph.Object) string {
	if o.Entity != nil {
		return o.Entity.Type
	}
	return o.Relationship.Type
}

func keepLast[T any](list []T, x T, n int) []T {
	list = append(list, x)
	if len(list) > n {
		list = slices.Delete(list, 0, len(list)-n)
	}
	return list
}

// begin and end enclose the time in which tick draws.
func (v *view) begin() {
	if v.screen {
		fmt.Fprint(v.out, "\x1b[?7l\x1b[2J") // cut long lines off, clear
	}
}

func (v *view) end() {
	if v.screen {
		v.draw()
		fmt.Fprint(v.out, "\x1b[?7h")
	}
}

// tick shows how things stand.
func (v *view) tick() {
	if v.screen {
		v.draw()
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.summary) >= summaryEvery {
		v.summary = time.Now()
		fmt.Fprintf(v.out, "-- %s\n", strings.Join(v.numbers(), "; "))
	}
}

func (v *view) draw() {
	v.mu.Lock()
	defer v.mu.Unlock()
	var b strings.Builder
	line := func(format string, args ...any) {
		fmt.Fprintf(&b, format, args...)
		b.WriteString("\x1b[K\n") // and clear what the last picture left there
	}
	b.WriteString("\x1b[H")
	for l := range strings.SplitSeq(v.title, "\n") {
		line("%s", l)
	}
	line("")
	for _, n := range v.numbers() {
		line("%s", n)
	}
	line("")
	for _, l := range v.last {
		line("%s", l)
	}
	if v.logged != "" {
		line("log: %s", v.logged)
	}
	b.WriteString("\x1b[J")
	fmt.Fprint(v.out, b.String())
}

// numbers returns the summary, a matter an item. The caller holds mu.
func (v *view) numbers() []string {
	entities, edges := 0, 0
	var kinds []string
	for _, typ := range slices.Sorted(maps.Keys(v.counts)) {
		n := v.counts[typ]
		if isEdge(typ) {
			edges += n
			continue
		}
		entities += n
		kinds = append(kinds, fmt.Sprintf("%d %s", n, typ))
	}
	return []string{
		fmt.Sprintf("graph: %d entities, %d relationships", entities, edges),
		strings.Join(kinds, ", "),
		fmt.Sprintf("events sent: %d, changes seen: %d", v.events, v.changes),
		"event to change: " + percentiles(v.direct),
		"event to change, with a read of the object: " + percentiles(v.reread),
	}
}

// isEdge tells relationships by the verb in their type.
func isEdge(typ string) bool {
	for _, verb := range []string{"_has_", "_assigned_", "_is_"} {
		if strings.Contains(typ, verb) {
			return true
		}
	}
	return false
}

func percentiles(list []time.Duration) string {
	if len(list) == 0 {
		return "none yet"
	}
	sorted := slices.Sorted(slices.Values(list))
	at := func(p float64) string { return short(sorted[int(p*float64(len(sorted)-1))]) }
	return fmt.Sprintf("p50 %s, p99 %s", at(0.5), at(0.99))
}

func short(d time.Duration) string { return d.Round(time.Millisecond).String() }
