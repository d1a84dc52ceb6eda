package okta

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// Bounds of a payload.
const (
	maxEvents    = 10_000
	maxDepth     = 64       // of an event
	maxNesting   = 10_000   // of a body: whoever reads JSON goes down into it
	maxRaw       = 64 << 10 // of a bad event that is kept
	maxEventType = 200
	maxText      = 2048
)

// ParseDelivery decodes the body of an event hook request. A body that is no
// delivery is ErrMalformed. An event that cannot be understood is in Bad, the
// others in Events; a delivery without events is fine.
func ParseDelivery(body []byte) (Delivery, error) {
	text := string(body)
	if deeper(text, maxNesting) || !gjson.Valid(text) {
		return Delivery{}, fmt.Errorf("%w: the body is no JSON object with data.events", ErrMalformed)
	}
	var d Delivery
	var events []string
	hasData, odd := false, false
	gjson.Parse(text).ForEach(func(name, value gjson.Result) bool { // of what is no object, nothing has a name
		switch {
		case strings.EqualFold(name.Str, "eventId"):
			d.EventID = shortText(value)
		case strings.EqualFold(name.Str, "eventTime"):
			made, _ := time.Parse(time.RFC3339, shortText(value)) // zero if it is no time
			d.Time = made.UTC()
		case strings.EqualFold(name.Str, "data"):
			hasData = value.IsObject()
			odd = odd || !hasData && value.Type != gjson.Null
			value.ForEach(func(name, value gjson.Result) bool {
				if strings.EqualFold(name.Str, "events") {
					events = nil
					if value.IsArray() {
						events = items(value)
					} else if value.Type != gjson.Null {
						odd = true
					}
				}
				return true
			})
		}
		return true
	})
	switch {
	case odd:
		return Delivery{}, fmt.Errorf("%w: the body is no JSON object with data.events", ErrMalformed)
	case !hasData:
		return Delivery{}, fmt.Errorf("%w: the body has no data", ErrMalformed)
	case len(events) > maxEvents:
		return Delivery{}, fmt.Errorf("%w: more than %d events", ErrMalformed, maxEvents)
	}
	d.Events, d.Bad = parseEvents(events)
	return d, nil
}

func items(array gjson.Result) (raws []string) {
	array.ForEach(func(_, item gjson.Result) bool {
		raws = append(raws, item.Raw)
		return true
	})
	return raws
}

// parseEvents decodes each event, which is valid JSON, on its own: one that cannot
// be understood leaves the rest.
func parseEvents(raws []string) (events []Event, bad []BadEvent) {
	events = make([]Event, 0, len(raws))
	for _, raw := range raws {
		e, err := parseEvent(raw)
		if err != nil {
			bad = append(bad, badEvent(raw, fmt.Errorf("%w event: %w", ErrMalformed, err)))
			continue
		}
		events = append(events, e)
	}
	return events, bad
}

// badEvent keeps an event for the dead letters. Its raw form is a copy: it must
// not hold the whole delivery in memory.
func badEvent(raw string, err error) BadEvent {
	b := BadEvent{Raw: []byte(raw[:min(len(raw), maxRaw)]), Reason: err.Error()}
	if len(raw) > maxRaw {
		b.Reason += fmt.Sprintf(" (cut off after %d bytes)", maxRaw)
	}
	if uuid := gjson.Get(raw, "uuid").Str; saneID(uuid) {
		b.UUID = strings.Clone(uuid)
	}
	return b
}

// ParseEvent decodes an event of a hook or of the System Log. Its error wraps
// ErrMalformed and holds nothing of the event's content.
func ParseEvent(raw []byte) (Event, error) {
	text := string(raw)
	e, err := Event{}, errors.New("not JSON")
	if !deeper(text, maxNesting) && gjson.Valid(text) {
		e, err = parseEvent(text)
	}
	if err != nil {
		return Event{}, fmt.Errorf("%w event: %w", ErrMalformed, err)
	}
	return e, nil
}

// parseEvent decodes an event, which is valid JSON. Where a wrong type would change
// what the event means, it makes it bad; what else it holds is not looked at. Okta
// may change debug data without notice: nothing in it makes an event bad.
func parseEvent(raw string) (Event, error) {
	if deeper(raw, maxDepth) {
		return Event{}, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	event := gjson.Parse(raw)
	if !event.IsObject() {
		return Event{}, errors.New("not an object")
	}
	var e Event
	var published string
	var targets []*Target
	var actor *Target
	var f fields
	event.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "uuid":
			f.text(&e.UUID, name.Str, value)
		case "published":
			f.text(&published, name.Str, value)
		case "eventType":
			f.text(&e.Type, name.Str, value)
		case "actor":
			actor = f.target(name.Str, value)
		case "target":
			targets = nil
			if f.is(value.IsArray(), name.Str, value) {
				value.ForEach(func(_, value gjson.Result) bool {
					targets = append(targets, f.target(name.Str, value))
					return true
				})
			}
		case "outcome":
			if f.is(value.IsObject(), name.Str, value) {
				f.text(&e.Outcome.Result, "outcome.result", value.Get("result"))
				e.Outcome.Reason = shortText(value.Get("reason"))
			}
		case "debugContext":
			e.RequestURI = shortText(value.Get("debugData.requestUri"))
		}
		return true
	})
	if f.odd != "" {
		return Event{}, fmt.Errorf("%s is of the wrong type", f.odd)
	}
	if !saneID(e.UUID) {
		return Event{}, errors.New("no usable uuid")
	}
	if e.Type == "" || len(e.Type) > maxEventType {
		return Event{}, errors.New("no usable eventType")
	}
	at, err := time.Parse(time.RFC3339, published)
	if err != nil || at.Year() < 1970 {
		return Event{}, errors.New("published is no usable time")
	}
	e.Published = at.UTC()
	for i, t := range targets {
		switch {
		case t == nil:
		case saneID(t.ID) && len(t.Type) <= maxEventType:
			e.Targets = append(e.Targets, *t)
		case t.Type == "User", t.Type == "UserGroup", t.Type == "AppInstance", t.Type == "AppUser":
			return Event{}, fmt.Errorf("target %d, a %s, has no usable id", i, t.Type)
		}
		// Others with odd ids, such as roles, name nothing that is read.
	}
	if a := actor; a != nil && len(a.Type) <= maxEventType {
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

// fields takes values out of JSON, and remembers the name of one of a wrong type.
// A null is a value that is not there.
type fields struct{ odd string }

// is tells whether a value is there, and as it should be.
func (f *fields) is(right bool, name string, value gjson.Result) bool {
	if !right && value.Type != gjson.Null {
		f.odd = name
	}
	return right
}

func (f *fields) text(to *string, name string, value gjson.Result) {
	if f.is(value.Type == gjson.String, name, value) {
		*to = value.Str
	}
}

func (f *fields) target(name string, value gjson.Result) *Target {
	if !f.is(value.IsObject(), name, value) {
		return nil
	}
	var t Target
	value.ForEach(func(inner, value gjson.Result) bool {
		switch inner.Str {
		case "id":
			f.text(&t.ID, name+".id", value)
		case "type":
			f.text(&t.Type, name+".type", value)
		}
		return true
	})
	return &t
}

// shortText is a JSON string of bounded length, or nothing.
func shortText(value gjson.Result) string {
	if value.Type != gjson.String || len(value.Raw) > maxText {
		return ""
	}
	return value.Str
}

// deeper tells whether arrays and objects are nested deeper than limit in a JSON text.
func deeper(raw string, limit int) bool {
	if strings.Count(raw, "{")+strings.Count(raw, "[") <= limit {
		return false // as always, but for attacks; and counting is fast
	}
	now, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch b := raw[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '{', b == '[':
			if now++; now > limit {
				return true
			}
		case b == '}', b == ']':
			now--
		}
	}
	return false
}
