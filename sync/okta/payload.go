package okta

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Bounds of a payload.
const (
	maxEvents    = 10_000
	maxDepth     = 64
	maxRaw       = 64 << 10 // of a bad event that is kept
	maxEventType = 200
	maxText      = 2048
)

// ParseDelivery decodes the body of an event hook request. A body that is no
// delivery is ErrMalformed. An event that cannot be understood is in Bad, the
// others in Events; a delivery without events is fine.
func ParseDelivery(body []byte) (Delivery, error) {
	var envelope struct {
		EventID json.RawMessage `json:"eventId"`
		Time    json.RawMessage `json:"eventTime"`
		Data    *struct {
			Events []json.RawMessage `json:"events"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return Delivery{}, fmt.Errorf("%w: the body is no JSON object with data.events", ErrMalformed)
	}
	if envelope.Data == nil {
		return Delivery{}, fmt.Errorf("%w: the body has no data", ErrMalformed)
	}
	events := envelope.Data.Events
	if len(events) > maxEvents {
		return Delivery{}, fmt.Errorf("%w: more than %d events", ErrMalformed, maxEvents)
	}

	made, _ := time.Parse(time.RFC3339, shortText(envelope.Time)) // zero if it is no time
	d := Delivery{EventID: shortText(envelope.EventID), Time: made.UTC()}
	d.Events, d.Bad = parseEvents(events)
	return d, nil
}

// parseEvents decodes each event on its own: one that cannot be understood
// leaves the rest.
func parseEvents(raws []json.RawMessage) (events []Event, bad []BadEvent) {
	events = make([]Event, 0, len(raws))
	for _, raw := range raws {
		e, err := ParseEvent(raw)
		if err != nil {
			bad = append(bad, badEvent(raw, err))
			continue
		}
		events = append(events, e)
	}
	return events, bad
}

// badEvent keeps an event for the dead letters. Its raw form is a copy: it must
// not hold the whole delivery in memory.
func badEvent(raw []byte, err error) BadEvent {
	b := BadEvent{Raw: bytes.Clone(raw[:min(len(raw), maxRaw)]), Reason: err.Error()}
	if len(raw) > maxRaw {
		b.Reason += fmt.Sprintf(" (cut off after %d bytes)", maxRaw)
	}
	if depth(raw) <= maxDepth {
		var e struct {
			UUID json.RawMessage `json:"uuid"`
		}
		if json.Unmarshal(raw, &e) == nil {
			if uuid := shortText(e.UUID); saneID(uuid) {
				b.UUID = uuid
			}
		}
	}
	return b
}

// ParseEvent decodes an event of a hook or of the System Log. Its error wraps
// ErrMalformed and holds nothing of the event's content.
func ParseEvent(raw []byte) (Event, error) {
	e, err := parseEvent(raw)
	if err != nil {
		return Event{}, fmt.Errorf("%w event: %w", ErrMalformed, err)
	}
	return e, nil
}

// wireEvent has the fields whose loss would change what an event means: a
// wrong type there makes it bad. The rest is decoded apart, or not at all.
type wireEvent struct {
	UUID      string    `json:"uuid"`
	Published string    `json:"published"`
	Type      string    `json:"eventType"`
	Actor     *Target   `json:"actor"`
	Targets   []*Target `json:"target"`
	Outcome   struct {
		Result string          `json:"result"`
		Reason json.RawMessage `json:"reason"`
	} `json:"outcome"`
	DebugContext json.RawMessage `json:"debugContext"`
}

func parseEvent(raw []byte) (Event, error) {
	if depth(raw) > maxDepth {
		return Event{}, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	if first := bytes.TrimLeft(raw, " \t\r\n"); len(first) == 0 || first[0] != '{' {
		return Event{}, errors.New("not an object")
	}
	var w wireEvent
	if err := json.Unmarshal(raw, &w); err != nil {
		var odd *json.UnmarshalTypeError
		if errors.As(err, &odd) {
			return Event{}, fmt.Errorf("%s is of the wrong type", odd.Field)
		}
		return Event{}, errors.New("not JSON")
	}
	if !saneID(w.UUID) {
		return Event{}, errors.New("no usable uuid")
	}
	if w.Type == "" || len(w.Type) > maxEventType {
		return Event{}, errors.New("no usable eventType")
	}
	published, err := time.Parse(time.RFC3339, w.Published)
	if err != nil || published.Year() < 1970 {
		return Event{}, errors.New("published is no usable time")
	}

	e := Event{
		UUID: w.UUID, Published: published.UTC(), Type: w.Type,
		Outcome:    Outcome{Result: w.Outcome.Result, Reason: shortText(w.Outcome.Reason)},
		RequestURI: requestURI(w.DebugContext),
	}
	for i, t := range w.Targets {
		switch {
		case t == nil:
		case saneID(t.ID) && len(t.Type) <= maxEventType:
			e.Targets = append(e.Targets, *t)
		case t.Type == "User", t.Type == "UserGroup", t.Type == "AppInstance", t.Type == "AppUser":
			return Event{}, fmt.Errorf("target %d, a %s, has no usable id", i, t.Type)
		}
		// Others with odd ids, such as roles, name nothing that is read.
	}
	if a := w.Actor; a != nil && len(a.Type) <= maxEventType {
		switch {
		case saneID(a.ID):
			e.Actor = *a
		case a.Type == "User" && len(e.Targets) == 0: // then the actor can be the subject
			return Event{}, errors.New("no target, and the actor, a User, has no usable id")
		default:
			e.Actor = Target{Type: a.Type}
		}
	}
	return e, nil
}

// requestURI reads debugContext.debugData.requestUri. Okta may change debug
// data without notice: nothing in it makes an event bad.
func requestURI(raw json.RawMessage) string {
	var debug struct {
		Data struct {
			RequestURI json.RawMessage `json:"requestUri"`
		} `json:"debugData"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &debug) != nil {
		return ""
	}
	return shortText(debug.Data.RequestURI)
}

// shortText is a JSON string of bounded length, or nothing.
func shortText(raw json.RawMessage) string {
	var s string
	if len(raw) == 0 || len(raw) > maxText || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// depth is how deeply arrays and objects are nested in a JSON text.
func depth(raw []byte) int {
	deepest, now, quoted := 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch b := raw[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '{', b == '[':
			now++
			deepest = max(deepest, now)
		case b == '}', b == ']':
			now--
		}
	}
	return deepest
}
