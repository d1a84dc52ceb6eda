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

// Who joins a group twice changes nothing the second time: of such an event no change is
// seen, however long it is waited for.
func TestOutsidersComeOnce(t *testing.T) {
	for _, users := range []int{10, 100, 1000} {
		o, err := newOrg(heavy, users)
		if err != nil {
			t.Fatal(err)
		}
		walk, came := outsiders{of: o, group: 1}, map[[2]int]bool{}
		free := o.base*(len(o.groups)-1) - o.members
		for range free {
			user, group := walk.next()
			if group < 1 || group >= len(o.groups) || user < 0 || user >= users || o.isMember(group, user) || came[[2]int{user, group}] {
				t.Fatalf("%d users: user %d comes to group %d", users, user, group)
			}
			came[[2]int{user, group}] = true
		}
	}
}

func TestFreshnessIsMeasured(t *testing.T) {
	l := testLab(t)
	bench := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), l.exe, append([]string{"bench", "freshness"}, args...)...).CombinedOutput()
		return string(out), err
	}
	// As many join as can but for a few; a change of each must come.
	out, err := bench("--users=100", "--rates=500", "--length=1400ms", "--late=5m")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var rows [][]string
	for line := range strings.Lines(out) {
		if cells := strings.Fields(line); len(cells) > 5 && cells[0] == "500" && (cells[2] == "no" || cells[2] == "yes") {
			rows = append(rows, cells)
		}
	}
	if len(rows) != 2 || rows[0][3] != "700" || rows[0][4] != "0" || rows[1][3] != "700" || rows[1][4] != "0" {
		t.Errorf("not 700 events twice, all of them seen:\n%s", out)
	}
	if out, err := bench("--users=10", "--rates=500"); err == nil || !strings.Contains(out, "give more --users") {
		t.Errorf("so few can join no group 5,000 times: %v\n%s", err, out)
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
