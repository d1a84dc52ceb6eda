package bench

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/okta"
)

// What is delivered must be what the service understands, each event another one: else
// a benchmark measures how fast it refuses, or drops what it knows.
func TestLettersAreDeliveries(t *testing.T) {
	l, err := newLetter(3)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 4, 5, 6, 7, 8, 9e6, time.UTC)
	for i := range 3 {
		l.write(i, uuidOf(7, i), at, id(userPrefix, i), id(groupPrefix, i))
	}
	d, err := okta.ParseDelivery(l.body)
	if err != nil || len(d.Bad) > 0 || len(d.Events) != 3 {
		t.Fatalf("%d events, bad: %+v, %v", len(d.Events), d.Bad, err)
	}
	for i, e := range d.Events {
		if e.UUID != uuidOf(7, i) || !e.Published.Equal(at) || e.Type != "group.user_membership.add" || len(e.Targets) != 2 ||
			e.Targets[0].ID != id(userPrefix, i) || e.Targets[1].ID != id(groupPrefix, i) {
			t.Errorf("event %d is %+v", i, e)
		}
	}
}

func TestIngestIsMeasured(t *testing.T) {
	l := testLab(t)
	out, err := exec.CommandContext(t.Context(), l.exe, "bench", "ingest", "--users=30", "--rounds=1", "--length=50ms", "--steady=200ms", "--burst=0s", "--connections=2").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"deliveries of 100: the service takes ", "full reconcile", "service", "bare"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}
