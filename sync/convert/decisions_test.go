package convert

import (
	"encoding/csv"
	"os"
	"testing"
)

// Every event type of the facts has a decision, and of no other is one kept.
func TestEveryEventTypeHasADecision(t *testing.T) {
	f, err := os.Open("testdata/event-types.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, row := range rows[1:] {
		typ, hook := row[0], row[1] == "yes"
		known[typ] = true
		d, ok := decisions[typ]
		switch {
		case !ok:
			t.Errorf("%s has no decision", typ)
		case d.hook != hook:
			t.Errorf("%s: hook is %v, the facts say %v", typ, d.hook, hook)
		case (d.effect == nil) != (d.why != ""):
			t.Errorf("%s must have either an effect or a reason to be ignored", typ)
		}
	}
	for typ := range decisions {
		if !known[typ] {
			t.Errorf("%s is not in the facts", typ)
		}
	}
}
