package okta

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

// A list of ids is read as encoding/json reads it.
func FuzzRefs(f *testing.F) {
	for _, seed := range []string{
		"", "null", "{}", "[]", "[null]", `[{"id":"00u1"},{"id":"00u2","profile":{"id":"not this"}}]`, `[{"profile":{"id":"x"},"id":"00u1"}]`,
		`[{"id":5}]`, `[{"id":null}]`, `["id"]`, `[["id","x"]]`, `[{"\u0069d":"00u1"}]`, `[{"id":"a\u0062"}]`, `[{"id":"a"},]`, `[{"id":"a"}`,
		`[{"id":"a"}] x`, "[{\"id\":\"a\nb\"}]", "[{\"id\":\"\xff\"}]", `{"id":"a"}`, `"id"`, `[{}]`, strings.Repeat("[", 20_000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := string(b)
		var got, want []Ref
		err, wantErr := decode(b, &got), json.Unmarshal(b, &want)
		if string(b) != before {
			t.Fatal("the input was changed")
		}
		var odd *json.UnmarshalTypeError // what is of another type has no id, which no page passes
		if (err == nil) != (wantErr == nil) && !errors.As(wantErr, &odd) {
			t.Fatalf("%q: %v, want %v", b, err, wantErr)
		}
		if err != nil {
			return
		}
		if odd == nil && len(got) != len(want) {
			t.Fatalf("%q: %d items, want %d", b, len(got), len(want))
		}
		// Names that come twice, in capitals or escaped are nothing that Okta sends.
		if strings.Count(strings.ToLower(before), "id") > len(got) || strings.Contains(before, `\u`) {
			return
		}
		for i, r := range got {
			if saneID(r.ID) && (i >= len(want) || r.ID != want[i].ID) {
				t.Errorf("%q: got %q, want %q", b, got, want)
			}
		}
		if !slices.ContainsFunc(got, func(r Ref) bool { return !saneID(r.ID) }) && wantErr != nil {
			t.Errorf("%q: got %q in spite of %v", b, got, wantErr)
		}
	})
}
