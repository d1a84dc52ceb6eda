package convert

import (
	"encoding/json"
	"os"
	"testing"
)

// The file holds what lodash 4.18 itself answered.
func TestWordsAreLodashs(t *testing.T) {
	b, err := os.ReadFile("testdata/lodash.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ In, Camel, Start string }
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 100 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		if got := camelCase(c.In); got != c.Camel {
			t.Errorf("camelCase(%q) = %q, want %q", c.In, got, c.Camel)
		}
		if got := startCase(c.In); got != c.Start {
			t.Errorf("startCase(%q) = %q, want %q", c.In, got, c.Start)
		}
	}
}

func FuzzCamelCaseHoldsLettersAndDigitsOnly(f *testing.F) {
	f.Add("cost_center")
	f.Add("1st2ND_éß’x")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range camelCase(s) {
			if r < 0x80 && class(r) == classBreak {
				t.Errorf("camelCase(%q) holds %q", s, r)
			}
		}
	})
}
