package okta

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func samples(t testing.TB) map[string][]byte {
	files, err := filepath.Glob("testdata/events/*.json")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	out := make(map[string][]byte)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(f), ".json")] = b
	}
	return out
}

// What a sample says, read without this package's decoder.
func TestSamplesAreUnderstood(t *testing.T) {
	for name, body := range samples(t) {
		d, err := ParseDelivery(body)
		if err != nil || len(d.Bad) != 0 {
			t.Errorf("%s: %v, bad: %+v", name, err, d.Bad)
			continue
		}
		var raw struct {
			EventID string
			Data    struct{ Events []map[string]any }
		}
		if err := json.Unmarshal(body, &raw); err != nil {
			t.Fatal(err)
		}
		if d.EventID != raw.EventID || len(d.Events) != len(raw.Data.Events) {
			t.Errorf("%s: delivery %q with %d events", name, d.EventID, len(d.Events))
			continue
		}
		for i, e := range d.Events {
			r := raw.Data.Events[i]
			if e.UUID != r["uuid"] || e.Type != r["eventType"] || e.Published.Format(dateFormat) != r["published"] ||
				e.Actor.ID != r["actor"].(map[string]any)["id"] || e.Outcome.Result != r["outcome"].(map[string]any)["result"] {
				t.Errorf("%s: %+v", name, e)
			}
			targets, _ := r["target"].([]any)
			if len(e.Targets) != len(targets) {
				t.Errorf("%s: %d of %d targets", name, len(e.Targets), len(targets))
				continue
			}
			for j, target := range targets {
				m := target.(map[string]any)
				if e.Targets[j] != (Target{ID: m["id"].(string), Type: m["type"].(string)}) {
					t.Errorf("%s: target %+v of %v", name, e.Targets[j], m)
				}
			}
		}
	}
}

func TestDeliveryTellsWhenItWasMade(t *testing.T) {
	second := time.Date(2026, 3, 17, 10, 21, 9, 0, time.UTC)
	for made, want := range map[string]time.Time{
		`"2026-03-17T10:21:09.026Z"`:      second.Add(26 * time.Millisecond),
		`"2026-03-17T10:21:09.026123Z"`:   second.Add(26123 * time.Microsecond),
		`"2026-03-17T10:21:09Z"`:          second,
		`"2026-03-17T11:21:09.000+01:00"`: second,
		`""`:                              {}, `"yesterday"`: {}, "null": {}, "7": {}, "{}": {}, `"` + strings.Repeat("2", 5000) + `"`: {},
	} {
		d, err := ParseDelivery([]byte(`{"eventTime":` + made + `,"data":{"events":[` + fine + `]}}`))
		if err != nil || len(d.Events) != 1 || !d.Time.Equal(want) || d.Time.Location() != time.UTC {
			t.Errorf("%.40s: %v, %v", made, d.Time, err)
		}
	}
	if d, err := ParseDelivery([]byte(`{"data":{"events":[]}}`)); err != nil || !d.Time.IsZero() {
		t.Errorf("none: %v, %v", d.Time, err)
	}
}

func TestNullTargetLeavesActorAndURI(t *testing.T) {
	s := samples(t)
	lock, err := ParseDelivery(s["user.account.lock"])
	if err != nil || len(lock.Events[0].Targets) != 0 || lock.Events[0].Actor.Type != "User" || lock.Events[0].Outcome != (Outcome{"FAILURE", "LOCKED_OUT"}) {
		t.Errorf("%+v, %v", lock, err)
	}
	update, err := ParseDelivery(s["user.account.update_profile.null-target"])
	if err != nil || !strings.HasPrefix(update.Events[0].RequestURI, "/api/v1/users/") {
		t.Errorf("%+v, %v", update, err)
	}
}

func TestWhatIsNoDelivery(t *testing.T) {
	for _, body := range []string{
		"", "  ", "null", "7", `"x"`, "[]", "{}", "{", `{"data":null}`, `{"data":[]}`, `{"data":7}`, `{"data":{"events":{}}}`, `{"data":{"events":"x"}}`,
		`{"data":{"events":[]}} x`, "<html>", `{"data":{"events":[` + strings.Repeat("1,", maxEvents) + `1]}}`,
		strings.Repeat("[", 1<<20), `{"data":{"events":[` + strings.Repeat("[", 1<<20),
	} {
		if d, err := ParseDelivery([]byte(body)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.40q: %+v, %v", body, d, err)
		}
	}
	for _, body := range []string{`{"data":{}}`, `{"data":{"events":null}}`, `{"data":{"events":[]},"eventId":7}`} {
		if d, err := ParseDelivery([]byte(body)); err != nil || len(d.Events)+len(d.Bad) != 0 {
			t.Errorf("%q: %+v, %v", body, d, err)
		}
	}
}

const fine = `{"uuid":"u-1","published":"2026-03-17T10:21:07.120Z","eventType":"x","target":[{"id":"00u1","type":"User"}]}`

func with(from, to string) string { return strings.Replace(fine, from, to, 1) }

func TestOneBadEventLeavesTheRest(t *testing.T) {
	for name, bad := range map[string]string{
		"null": "null", "a number": "7", "an array": "[]", "nothing in it": "{}",
		"no uuid": with(`"uuid":"u-1",`, ""), "a uuid with a slash": with("u-1", "u/1"), "a long uuid": with("u-1", strings.Repeat("u", 200)), "a number as uuid": with(`"u-1"`, "1"),
		"no published": with(`"published":"2026-03-17T10:21:07.120Z",`, ""), "no time": with("2026-03-17T10:21:07.120Z", "yesterday ada@example.com"), "year one": with("2026", "0001"),
		"no type": with(`"eventType":"x",`, ""), "a long type": with(`"x"`, `"`+strings.Repeat("x", 201)+`"`),
		"target is no array": with(`[{"id":"00u1","type":"User"}]`, `{"id":"00u1","type":"User"}`), "target is a text": with(`{"id":"00u1","type":"User"}`, `"00u1"`),
		"odd user": with("00u1", "a b@example.com"), "empty user": with("00u1", ""), "dots": with("00u1", ".."), "null user": with(`"00u1"`, "null"),
		"odd group": with(`00u1","type":"User"`, `a/b","type":"UserGroup"`), "odd app": with(`00u1","type":"User"`, `a/b","type":"AppInstance"`), "odd app user": with(`00u1","type":"User"`, `a/b","type":"AppUser"`),
		"odd actor and no target": with(`[{"id":"00u1","type":"User"}]`, `null,"actor":{"id":"a b","type":"User"}`),
		"deep":                    with(`"target"`, `"deep":`+strings.Repeat("[", 70)+strings.Repeat("]", 70)+`,"target"`),
		"outcome is a text":       with(`"target"`, `"outcome":"SUCCESS","target"`),
		"big":                     with(`00u1"`, `a b","pad":"`+strings.Repeat("x", 100<<10)+`"`),
	} {
		d, err := ParseDelivery([]byte(`{"eventId":"e","data":{"events":[` + fine + "," + bad + "," + with("u-1", "u-2") + `]}}`))
		if err != nil || len(d.Events) != 2 || d.Events[1].UUID != "u-2" || len(d.Bad) != 1 {
			t.Errorf("%s: %+v, %v", name, d, err)
			continue
		}
		b := d.Bad[0]
		if b.Reason == "" || strings.Contains(b.Reason, "example.com") {
			t.Errorf("%s: reason %q", name, b.Reason)
		}
		if len(b.Raw) > maxRaw || len(b.Raw) < maxRaw && string(b.Raw) != bad {
			t.Errorf("%s: kept %d bytes", name, len(b.Raw))
		}
		if strings.Contains(bad, `"u-1"`) && name != "deep" && b.UUID != "u-1" {
			t.Errorf("%s: uuid %q", name, b.UUID)
		}
	}
}

func TestEventIsReadLeniently(t *testing.T) {
	for name, raw := range map[string]string{
		"plain":              fine,
		"no fraction":        with("07.120Z", "07Z"),
		"six digits":         with("07.120Z", "07.120456Z"),
		"an offset":          with("10:21:07.120Z", "11:21:07.120+01:00"),
		"zone as a word":     with(`"target"`, `"client":{"zone":"null","id":null},"target"`),
		"odd debug data":     with(`"target"`, `"debugContext":{"debugData":{"requestUri":7}},"target"`),
		"debug as a text":    with(`"target"`, `"debugContext":"none","target"`),
		"nulls":              with(`"target"`, `"actor":null,"outcome":null,"debugContext":null,"target"`),
		"odd reason":         with(`"target"`, `"outcome":{"result":"SUCCESS","reason":{}},"target"`),
		"null among targets": with(`[{`, `[null,{`),
		"an odd role":        with(`[{`, `[{"id":"a b/c","type":"ROLE"},{`),
		"an odd actor":       with(`"target"`, `"actor":{"id":"a b","type":"User"},"target"`),
		"an unknown field":   with(`"target"`, `"later":[{"a":1}],"target"`),
	} {
		e, err := ParseEvent([]byte(raw))
		want := time.Date(2026, 3, 17, 10, 21, 7, 0, time.UTC)
		if err != nil || e.UUID != "u-1" || len(e.Targets) != 1 || e.Targets[0].ID != "00u1" || !e.Published.Truncate(time.Second).Equal(want) || e.Published.Location() != time.UTC {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
		if strings.ContainsAny(e.Actor.ID, " ") {
			t.Errorf("%s: actor %q", name, e.Actor.ID)
		}
	}
}

func FuzzParseDelivery(f *testing.F) {
	for _, body := range samples(f) {
		f.Add(body)
	}
	f.Add([]byte(`{"data":{"events":[` + fine + `,null,{}]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := ParseDelivery(body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) || len(d.Events)+len(d.Bad) != 0 {
				t.Errorf("%+v, %v", d, err)
			}
			return
		}
		var raw struct {
			Data struct{ Events []json.RawMessage }
		}
		if err := json.Unmarshal(body, &raw); err != nil || len(raw.Data.Events) != len(d.Events)+len(d.Bad) {
			t.Errorf("%d events became %d and %d bad, %v", len(raw.Data.Events), len(d.Events), len(d.Bad), err)
		}
		for _, e := range d.Events {
			if !saneID(e.UUID) || e.Type == "" || e.Published.IsZero() || e.Actor.ID != "" && !saneID(e.Actor.ID) {
				t.Errorf("%+v", e)
			}
			for _, target := range e.Targets {
				if !saneID(target.ID) {
					t.Errorf("target %q", target.ID)
				}
			}
			// The inbox keeps events as JSON: nothing may be lost on the way.
			b, err := json.Marshal(e)
			var back Event
			if err != nil || json.Unmarshal(b, &back) != nil || !back.Published.Equal(e.Published) || back.UUID != e.UUID || len(back.Targets) != len(e.Targets) {
				t.Errorf("%s came back as %+v, %v", b, back, err)
			}
		}
		for _, b := range d.Bad {
			if b.Reason == "" || len(b.Raw) > maxRaw || !bytes.Contains(body, b.Raw) {
				t.Errorf("%+v", b)
			}
		}
	})
}

func FuzzParseEvent(f *testing.F) {
	f.Add([]byte(fine))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if e, err := ParseEvent(raw); err != nil && (!errors.Is(err, ErrMalformed) || e.UUID != "") {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

func BenchmarkParseDelivery(b *testing.B) {
	body := samples(b)["group.user_membership.add"]
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := ParseDelivery(body); err != nil {
			b.Fatal(err)
		}
	}
}
