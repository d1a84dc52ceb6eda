package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oktasync/oktasync/sync/graph"
)

const (
	keptChanges   = 100_000 // about, by the README: no more are replayed
	maxLine       = 8 << 20
	shown         = 10 // of what is wrong
	streamTimeout = 5 * time.Minute
	endOfStream   = 2 * time.Second // without a change
)

// check finds out whether something was lost or doubled. settled is when the
// last change was made.
func (t *trial) check(ctx context.Context, settled time.Time) error {
	var wrong []string
	say := func(format string, args ...any) { fmt.Fprintf(t.out, format+"\n", args...) }
	find := func(what string, faults []string) {
		for i, f := range faults {
			if i == shown {
				say("  … and %d more", len(faults)-shown)
				break
			}
			say("  %s", f)
		}
		if len(faults) > 0 {
			wrong = append(wrong, fmt.Sprintf("%d %s", len(faults), what))
		}
	}

	events, acknowledged, dropped := t.count.sent()
	if open := events - acknowledged - dropped; open > 0 {
		return fmt.Errorf("%d events were not acknowledged within %s after the last kill", open, ackTimeout)
	}
	s, err := t.settle(ctx, tested, settled)
	if err != nil {
		return fmt.Errorf("the service does not come to rest: %w", err)
	}
	say("at rest after %s: inbox and refreshes are empty", time.Since(settled).Round(time.Millisecond))
	if s.Problem != "" {
		say("problem of the instance: %s", s.Problem)
	}
	if n := t.count.refused(); n > 0 {
		find("deliveries refused with a 4xx", []string{fmt.Sprintf("%d tries were answered with a 4xx: Okta would not repeat them", n)})
	}
	if s.DeadLetters > 0 {
		find("kinds of loss: dead letters", []string{fmt.Sprintf("%d acknowledged events became dead letters", s.DeadLetters)})
	}
	if s.Held > 0 {
		say("%d deletes are held", s.Held)
	}
	if !t.WithLog { // each event was accepted once: told by the service's own tally at the door
		accepted := int64(0)
		for _, c := range s.Coverage {
			accepted += c.Hook
		}
		say("events acknowledged: %d, stored: %d", acknowledged, accepted)
		if int64(acknowledged) != accepted {
			find("differences at the door", []string{fmt.Sprintf("%d events acknowledged, but %d stored", acknowledged, accepted)})
		}
	}

	t.closed.Store(false)
	if err := t.read(ctx, fresh, settleTimeout); err != nil {
		return fmt.Errorf("read the quiet org anew: %w", err)
	}
	got, err := t.graph(ctx, tested)
	if err != nil {
		return err
	}
	want, err := t.graph(ctx, fresh)
	if err != nil {
		return err
	}
	diff := differences(got, want)
	say("graph: %d objects, a fresh read finds %d; %d differ", len(got), len(want), len(diff))
	find("objects of the graph", diff)

	feed, err := t.replay(ctx, s.Changes >= keptChanges)
	if err != nil {
		return fmt.Errorf("replay the changes: %w", err)
	}
	feed.compare(got)
	part := "all"
	if !feed.whole {
		part = "the newest, which are kept: the graph before them is not known, and an object is checked from its first kept change on"
	}
	say("changes: %d replayed (%s); %d lost or doubled", feed.n, part, len(feed.faults))
	find("changes", feed.faults)
	if len(wrong) > 0 {
		return errors.New("lost or doubled: " + strings.Join(wrong, ", "))
	}
	say("nothing was lost or doubled")
	return nil
}

func (t *trial) open(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.living()+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+t.admin)
	resp, err := t.client.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return resp, err
}

// graph returns the objects of the instance's graph by key.
func (t *trial) graph(ctx context.Context, instance string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, streamTimeout)
	defer cancel()
	resp, err := t.open(ctx, "/v1/instances/"+instance+"/graph")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	objects := map[string]string{}
	for dec := json.NewDecoder(resp.Body); ; {
		var o graph.Object
		if err := dec.Decode(&o); err == io.EOF {
			return objects, nil
		} else if err != nil {
			return nil, fmt.Errorf("the graph of %s: %w", instance, err)
		}
		text, err := normal(o)
		if err != nil {
			return nil, err
		}
		// A Person or a mapped role that several records project comes several times.
		objects[o.Key()] = text
	}
}

// normal returns the JSON of an object without what Okta moves silently: that a
// deleted user was a member changes this time of its groups, and no event says so.
func normal(o graph.Object) (string, error) {
	if o.Entity != nil {
		delete(o.Entity.Properties, "lastMembershipUpdated")
		delete(o.Entity.Properties, "lastMembershipUpdatedOn")
	}
	text, err := json.Marshal(o)
	return string(text), err
}

// differences names what two graphs do not share.
func differences(got, want map[string]string) []string {
	keys := maps.Clone(want)
	maps.Copy(keys, got)
	var diff []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		g, w := got[key], want[key]
		switch {
		case g == "":
			diff = append(diff, key+" is missing")
		case w == "":
			diff = append(diff, key+" should not be there")
		case g != w:
			diff = append(diff, fmt.Sprintf("%s is %s, should be %s", key, g, w))
		}
	}
	return diff
}

// feed is the changes stream as it was replayed.
type feed struct {
	whole   bool // from the first change on
	n       int
	objects map[string]string // by key; "": deleted
	faults  []string
}

// replay reads the changes from the oldest kept one to the last: there are no
// new ones any more.
func (t *trial) replay(ctx context.Context, trimmed bool) (*feed, error) {
	ctx, cancel := context.WithTimeout(ctx, streamTimeout)
	defer cancel()
	resp, err := t.open(ctx, "/v1/instances/"+tested+"/changes?from=start")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	f := &feed{whole: !trimmed, objects: map[string]string{}}
	// The stream never ends by itself. What it has to give, it gives at once.
	var silent atomic.Bool
	silence := time.AfterFunc(endOfStream, func() { silent.Store(true); cancel() })
	err = f.read(resp.Body, func() { silence.Reset(endOfStream) })
	if silent.Load() {
		err = nil // a change that did not come differs from the graph
	}
	return f, err
}

// read takes the events of the stream in, and tells of each.
func (f *feed) read(stream io.Reader, heard func()) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	id := ""
	for lines.Scan() {
		line := lines.Bytes()
		switch {
		case bytes.HasPrefix(line, []byte("id: ")):
			before := id
			if id = string(line[len("id: "):]); before != "" && !follows(id, before) {
				f.faults = append(f.faults, fmt.Sprintf("the change at %s comes after that at %s", id, before))
			}
		case bytes.HasPrefix(line, []byte("data: ")):
			var c graph.Change
			if err := json.Unmarshal(line[len("data: "):], &c); err != nil {
				return fmt.Errorf("the change at %s: %w", id, err)
			}
			if err := f.apply(id, c); err != nil {
				return err
			}
			heard()
		}
	}
	return errors.Join(errors.New("the stream was cut off"), lines.Err())
}

// follows tells whether one position is after another, of the same epoch:
// epoch:ms-number, or epoch:ms-number.part for all but the last part.
func follows(id, before string) bool {
	order := func(position string) (order [3]uint64, epoch string) {
		epoch, rest, _ := strings.Cut(position, ":")
		rest, part, partial := strings.Cut(rest, ".")
		ms, number, _ := strings.Cut(rest, "-")
		if !partial {
			part = "18446744073709551615"
		}
		for i, text := range []string{ms, number, part} {
			order[i], _ = strconv.ParseUint(text, 10, 64)
		}
		return order, epoch
	}
	a, epoch := order(id)
	b, other := order(before)
	return epoch == other && slices.Compare(a[:], b[:]) > 0
}

// apply makes the change, and notes a fault if it cannot follow what came before.
func (f *feed) apply(id string, c graph.Change) error {
	if c.Entity == nil && c.Relationship == nil {
		return fmt.Errorf("the change at %s has no object", id)
	}
	f.n++
	exact, err := json.Marshal(c.Object)
	if err != nil {
		return err
	}
	key := c.Key()
	old, seen := f.objects[key]
	known := old != ""
	fault := ""
	switch {
	case !seen && !f.whole: // what was before is not kept
	case c.Op == graph.Create && known:
		fault = "is there already"
	case c.Op == graph.Update && !known, c.Op == graph.Delete && !known:
		fault = "is not there"
	case c.Op == graph.Update && old == string(exact):
		fault = "is so already"
	}
	if fault != "" {
		f.faults = append(f.faults, fmt.Sprintf("%s at %s (%s %s): %s %s", c.Op, id, c.Source, c.Cause, key, fault))
	}
	if f.objects[key] = string(exact); c.Op == graph.Delete {
		f.objects[key] = ""
	}
	return nil
}

// compare notes where the replayed graph is not the graph.
func (f *feed) compare(objects map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(f.objects)) {
		replayed := f.objects[key]
		if replayed != "" {
			var o graph.Object
			err := json.Unmarshal([]byte(replayed), &o)
			if err == nil {
				replayed, err = normal(o)
			}
			if err != nil {
				f.faults = append(f.faults, fmt.Sprintf("%s cannot be read: %v", key, err))
				continue
			}
		}
		if replayed != objects[key] {
			f.faults = append(f.faults, fmt.Sprintf("%s: replayed %q, but it is %q", key, replayed, objects[key]))
		}
	}
	if f.whole {
		for _, key := range slices.Sorted(maps.Keys(objects)) {
			if _, seen := f.objects[key]; !seen {
				f.faults = append(f.faults, key+" is there, but no change made it")
			}
		}
	}
}
