package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/okta"
)

const (
	// logOverlap is how far the log is read again when its place was lost.
	logOverlap = 10 * time.Minute
	// logKept is how long Okta keeps the log: 90 days
	// (https://developer.okta.com/docs/reference/api/system-log/), less a day.
	logKept = 89 * 24 * time.Hour
	// soon is the pause before a poll when the hooks are known to have failed.
	soon = 5 * time.Second
	// A page is full with 1,000 events. So many that are not are read in one poll.
	fullPage, shortPages = 1000, 5
	// maxInbox stops the reading of the log while the inbox is that long: what
	// the log has is not lost.
	maxInbox = 50_000
)

// logPlace is where in the System Log an instance stands.
type logPlace struct {
	Link     string `json:"link,omitempty"`   // what the last page ended with
	Since    int64  `json:"since,omitempty"`  // ms: where to begin without a link
	ReadUpTo int64  `json:"readUpTo"`         // ms on Okta's clock: all published up to then was taken in
	Filter   string `json:"filter,omitempty"` // of Link, shortened
	Broken   int64  `json:"broken,omitempty"` // ms: the log did not reach back to here once
	Polls    int64  `json:"polls"`
	Events   int64  `json:"events"`
	Restarts int64  `json:"restarts"`
	Problem  string `json:"problem,omitempty"`
}

// logPlace returns the place in the log. Without one it begins before now by
// twice the allowance, which is before any list that is read from now on.
func (o *org) logPlace() (logPlace, error) {
	o.logging.Lock()
	defer o.logging.Unlock()
	place, known, err := loadLogPlace(o)
	if err != nil || known {
		return place, err
	}
	if _, known := o.client.Now(); !known {
		if err := o.learnClock(o.ctx); err != nil {
			return place, fmt.Errorf("the System Log cannot be followed before Okta answers: %w", err)
		}
	}
	place.Since = o.now().Add(-2 * o.cfg.ListAllowance).UnixMilli()
	place.ReadUpTo = place.Since
	return place, o.saveLogPlace(place)
}

func loadLogPlace(o *org) (place logPlace, known bool, err error) {
	text, err := o.st.Cell(o.ctx, "cursors", "log")
	if err != nil || text == "" {
		return place, false, unavailable(err)
	}
	if err := json.Unmarshal([]byte(text), &place); err != nil {
		return place, false, fmt.Errorf("place in the System Log: %w", err)
	}
	return place, true, nil
}

func (o *org) saveLogPlace(place logPlace) error {
	_, err := o.merge(o.ctx, batch{Batch: state.Batch{Set: []state.Cell{{Hash: "cursors", Field: "log", Value: place.text()}}}})
	return err
}

func (p logPlace) text() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // numbers and texts only
	}
	return string(b)
}

// rewindLog has the log read again from an overlap before what is known of it.
func (o *org) rewindLog() error {
	place, known, err := loadLogPlace(o)
	if err != nil || !known {
		return err
	}
	place.Link, place.Since = "", place.ReadUpTo-logOverlap.Milliseconds()
	place.Restarts++
	return o.saveLogPlace(place)
}

func shortened(filter string) string {
	sum := sha256.Sum256([]byte(filter))
	return hex.EncodeToString(sum[:8])
}

// logRound polls the log and waits for the next time.
func (o *org) logRound() error {
	failed, err := o.pollLog()
	if err != nil {
		return err
	}
	if err := o.st.AgeOut(o.ctx, o.cfg.Clock()); err != nil {
		return err
	}
	wait := o.cfg.LogInterval
	if failed {
		wait = min(wait, soon)
	}
	awaited, err := o.awaited()
	if err != nil {
		return err
	}
	if !awaited.IsZero() { // a poll shows what is awaited from then on
		wait = min(wait, max(awaited.Add(o.cfg.ListAllowance).Sub(o.now()), standstill/4))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-o.ctx.Done():
	case <-timer.C:
	case <-o.behind:
		select { // at least a moment apart, however many ask for it
		case <-o.ctx.Done():
		case <-time.After(min(o.cfg.LogInterval, standstill)):
		}
	}
	return nil
}

// awaited is the time that a full read, or a verify, waits to be caught up
// with; zero if none does.
func (o *org) awaited() (time.Time, error) {
	facts, err := o.st.Facts(o.ctx)
	if err != nil {
		return time.Time{}, unavailable(err)
	}
	var ms int64
	if facts["whole"] == "" {
		ms, _ = strconv.ParseInt(facts["full"], 10, 64)
	}
	if settling, _ := strconv.ParseInt(facts["settling"], 10, 64); settling > ms {
		ms = settling
	}
	status, err := logStatus(o.ctx, o.st)
	if err != nil || ms == 0 || status.ReadUpTo == nil || status.Problem != "" || status.ReadUpTo.UnixMilli() >= ms {
		return time.Time{}, err
	}
	return time.UnixMilli(ms), nil
}

// pollLog takes in what the log has got since the last time, page by page. The
// place moves in the same step that stores what a page brought. It tells
// whether to poll again soon: hooks failed to deliver, or Okta failed for now.
// What Okta refuses is no error: it is told in the place, and tried again at
// the next poll.
func (o *org) pollLog() (again bool, err error) {
	place, err := o.logPlace()
	if err != nil {
		return false, err
	}
	if filter := shortened(o.logFilter); place.Filter != filter || place.Link != "" && !o.client.Leads(place.Link) {
		if place.Link != "" { // it asks for other types of events, or another org
			place.Link, place.Since = "", place.ReadUpTo-logOverlap.Milliseconds()
		}
		place.Filter = filter
	}
	ctx, span := o.follow(okta.WithPriority(o.ctx), "poll log", nil)
	defer func() { finish(span, err) }()
	restarted, short := false, 0
	for o.ctx.Err() == nil {
		sizes, err := o.st.Sizes(ctx)
		if err != nil {
			return again, unavailable(err)
		}
		if sizes.Inbox > maxInbox || o.paused.Load() {
			return again, nil
		}
		if place.Link == "" && place.Since < o.now().Add(-logKept).UnixMilli() {
			// Okta would answer from where the log begins now, without a word of the gap.
			if place, err = o.restartLog(place, errForgotten); err != nil {
				return again, err
			}
		}
		page, err := o.client.Log(ctx, time.UnixMilli(place.Since), o.logFilter, place.Link)
		switch {
		case okta.IsLinkRefused(err) && !restarted && place.Link != "":
			restarted = true // once: what is refused then is not the place
			if place, err = o.restartLog(place, err); err != nil {
				return again, err
			}
			continue
		case err != nil && o.ctx.Err() != nil:
			return again, o.ctx.Err()
		case err != nil:
			if okta.IsForbidden(err) {
				err = fmt.Errorf("%w; without the System Log no gap of the hooks is closed: the token's owner needs the right to read it (okta.logs.read)", err)
			}
			o.log.Warn("the System Log could not be read", "err", err)
			o.report(err)
			place.Problem = err.Error()
			return again || okta.IsTemporary(err), o.saveLogPlace(place)
		}
		place.Link, place.Since, place.Problem = page.Next, 0, ""
		place.Polls++
		place.Events += int64(page.Items)
		// The log is in the order in which events were stored, no later than the
		// allowance after they were published. So what was published that long
		// before the end of the log, or before the last event read, was read.
		upTo := page.Start
		if page.Items > 0 {
			upTo = time.Time{}
			for _, e := range page.Events {
				if e.Published.After(upTo) && e.Published.Before(page.Start.Add(time.Second)) {
					upTo = e.Published
				}
			}
		}
		place.ReadUpTo = max(place.ReadUpTo, upTo.Add(-o.cfg.ListAllowance).UnixMilli())
		hookMoved := false
		for _, e := range page.Events {
			delivery := e.Type == "event_hook.delivery"
			again = again || delivery && e.Outcome.Result != "SUCCESS"
			hookMoved = hookMoved || !delivery && strings.HasPrefix(e.Type, "event_hook.")
		}
		events, dead, err := stored(page.Events, page.Bad, page.Start, traceparent(ctx))
		if err != nil {
			return again, err
		}
		if _, err := o.st.AcceptLog(ctx, place.text(), events, dead); err != nil {
			return again, unavailable(err)
		}
		if hookMoved { // somebody changed a hook of the org: perhaps ours
			o.lookAtHooks(ctx)
		}
		if page.Items < fullPage {
			short++
		}
		if page.Items == 0 || short > shortPages { // in a busy org there is always one more
			return again, nil
		}
	}
	return again, nil
}

var errForgotten = errors.New("the place is older than the 90 days for which Okta keeps the log")

// restartLog begins again where the place cannot be gone on from. What changed
// meanwhile is read; all of it, if the log does not reach back far enough.
func (o *org) restartLog(place logPlace, why error) (logPlace, error) {
	oldest := o.now().Add(-logKept).UnixMilli()
	place.Link, place.Since = "", place.ReadUpTo-logOverlap.Milliseconds()
	place.Restarts++
	gap := place.Since < oldest
	if gap {
		place.Since, place.Broken = oldest, o.now().UnixMilli()
	}
	o.log.Warn("the place in the System Log was refused: it is read again from before, and a reconcile started",
		"since", time.UnixMilli(place.Since).UTC(), "gap", gap, "err", why)
	var err error
	if gap {
		err = o.mustRun(Start{Trigger: "log-restart"})
	} else {
		err = o.catchUp("log-restart")
	}
	if err != nil {
		return place, err
	}
	return place, o.saveLogPlace(place)
}

// logFilter names what is read from the log: the namespaces of the types that
// are used, since a list of all types would make a very long address.
func logFilter(types []string) string {
	terms := map[string]bool{}
	for _, t := range types {
		if strings.Count(t, ".") < 2 {
			terms[fmt.Sprintf("eventType eq %q", t)] = true
			continue
		}
		terms[fmt.Sprintf("eventType sw %q", t[:strings.LastIndexByte(t, '.')+1])] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(terms)), " or ")
}

// stored turns events into what the inbox keeps. received is the time on Okta's
// clock when they came; unknown, they came at once.
func stored(events []okta.Event, bad []okta.BadEvent, received time.Time, trace string) ([]state.Event, []state.Dead, error) {
	out := make([]state.Event, len(events))
	for i, e := range events {
		body, err := json.Marshal(e)
		if err != nil {
			return nil, nil, err
		}
		out[i] = state.Event{UUID: e.UUID, Type: "other", Trace: trace, Body: body}
		if known, _ := convert.KnownType(e.Type); known {
			out[i].Type = e.Type
		}
		if !received.IsZero() && !e.Published.IsZero() {
			out[i].Delay = max(received.Sub(e.Published).Milliseconds(), 0)
		}
	}
	dead := make([]state.Dead, len(bad))
	for i, b := range bad {
		dead[i] = state.Dead{Event: b.Raw, Reason: b.Reason}
	}
	return out, dead, nil
}
