package engine

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// Hooks that are off for an hour: one poll of the log makes the graph whole, without a reconcile.
func TestPollClosesTheGapOfAnHourWithoutHooks(t *testing.T) {
	clock := newClock()
	sim := oktasim.New(t, oktasim.Config{Seed: 21, Users: 60, Groups: 12, Apps: 8, Clock: clock, Step: 9 * time.Second, LogLag: 20 * time.Second})
	sim.MutateKinds(oktasim.LogKinds())
	clock.Advance(time.Hour)
	r := newRig(t, newEngine(t, clock, 0), sim, clock)
	defer r.close()
	if run := r.reconcile(); run.State != RunSucceeded {
		t.Fatalf("first run: %+v", run)
	}
	r.poll()
	sim.Mutate(400)
	clock.Advance(time.Minute) // the last events reach the log
	sim.ResetCalls()
	r.poll()
	polls := 0
	for _, c := range sim.Calls() {
		if c.Path == "/api/v1/logs" {
			polls++
		}
	}
	if polls > 3 {
		t.Errorf("one poll took %d calls", polls)
	}
	r.settle()
	r.inStep()
}

// The place in the log moves only with what it brought: a page that could not
// be stored is read again, and the copies of hook events change nothing.
func TestLogAndHooksTellTheSameOnce(t *testing.T) {
	clock := newClock()
	sim := oktasim.New(t, oktasim.Config{Seed: 22, Users: 40, Groups: 8, Apps: 6, Clock: clock, Step: time.Second, LogLag: 10 * time.Second})
	clock.Advance(time.Hour)
	r := newRig(t, newEngine(t, clock, 0), sim, clock)
	defer r.close()
	r.reconcile()
	events := eligible(sim.Mutate(120))
	clock.Advance(time.Minute)
	r.deliver(events[:60]...)
	r.poll()
	r.deliver(events[60:]...) // behind the log
	r.settle()
	r.inStep()
	status, err := r.e.Instance(t.Context(), r.id)
	if err != nil {
		t.Fatal(err)
	}
	var sum Coverage
	for _, c := range status.Coverage {
		sum.Hook += c.Hook
		sum.Log += c.Log
		sum.Late += c.Late
	}
	if int(sum.Hook+sum.Late) != len(events) || sum.Hook < 60 || sum.Late < 40 {
		t.Errorf("coverage: %d by hook first, %d by the log, %d by hook afterwards, of %d events", sum.Hook, sum.Log, sum.Late, len(events))
	}
	if c := status.Coverage["user.account.update_profile"]; !c.HookEligible || c.Log > 0 && c.LogDelayMax == 0 {
		t.Errorf("coverage of user.account.update_profile: %+v", c)
	}
}

// A place that Okta refuses: the log is read again from an overlap before, and
// what changed is read.
func TestRefusedPlaceInTheLogIsBegunAgain(t *testing.T) {
	clock := newClock()
	sim := oktasim.New(t, oktasim.Config{Seed: 23, Users: 40, Groups: 8, Apps: 6, Clock: clock, Step: time.Second})
	clock.Advance(time.Hour)
	r := newRig(t, newEngine(t, clock, 0), sim, clock)
	defer r.close()
	r.reconcile()
	r.poll()
	sim.Mutate(50)
	refused := 0
	sim.Fail(func(q *http.Request) *oktasim.Fault {
		if q.URL.Path == "/api/v1/logs" && q.URL.Query().Has("after") && refused == 0 {
			refused++
			return &oktasim.Fault{Status: 400, Code: "E0000001"}
		}
		return nil
	})
	r.poll()
	runs, err := r.e.Runs(t.Context(), r.id)
	if err != nil || len(runs) != 2 || runs[0].Mode != "incremental" || runs[0].Trigger != "log-restart" {
		t.Fatalf("runs: %+v, %v", runs, err)
	}
	if _, err := r.o.reconcile(r.o.ctx, runs[0].ID); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.inStep()

	// Older than the log is kept: everything is read.
	clock.Advance(100 * 24 * time.Hour)
	sim.Mutate(20)
	r.poll()
	if runs, err = r.e.Runs(t.Context(), r.id); err != nil || len(runs) != 3 || runs[0].Mode != "full" {
		t.Fatalf("runs: %+v, %v", runs, err)
	}
	if _, err := r.o.reconcile(r.o.ctx, runs[0].ID); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.inStep()
}

// Without the right to read the log the instance says so, and what to do; the graph is never whole.
func TestForbiddenLogIsTold(t *testing.T) {
	clock := newClock()
	sim := oktasim.New(t, oktasim.Config{Seed: 24, Users: 5, Groups: 2, Apps: 2, Clock: clock})
	clock.Advance(time.Hour)
	sim.Fail(func(q *http.Request) *oktasim.Fault {
		if q.URL.Path == "/api/v1/logs" {
			return &oktasim.Fault{Status: 403}
		}
		return nil
	})
	r := newRig(t, newEngine(t, clock, 0), sim, clock)
	defer r.close()
	r.reconcile()
	r.poll()
	status, err := r.e.Instance(t.Context(), r.id)
	if err != nil || !strings.Contains(status.Log.Problem, "okta.logs.read") || status.Whole {
		t.Errorf("log %+v, whole %v, %v", status.Log, status.Whole, err)
	}
	sim.Fail(nil)
	clock.Advance(2 * time.Minute)
	r.poll()
	r.settle()
	if status, err = r.e.Instance(t.Context(), r.id); err != nil || status.Log.Problem != "" || !status.Whole {
		t.Errorf("afterwards: log %+v, whole %v, %v", status.Log, status.Whole, err)
	}
}

// The filter of the log names every type that has an effect, and fits into an address.
func TestLogFilterHasEveryType(t *testing.T) {
	filter := logFilter(convert.EventTypes())
	if len(filter) > 1500 {
		t.Errorf("the filter has %d characters", len(filter))
	}
	for _, eventType := range convert.EventTypes() {
		if !slices.ContainsFunc(strings.Split(filter, " or "), func(term string) bool {
			op, quoted, _ := strings.Cut(strings.TrimPrefix(term, "eventType "), " ")
			var text string
			if json.Unmarshal([]byte(quoted), &text) != nil {
				t.Fatalf("term %s", term)
			}
			return op == "eq" && text == eventType || op == "sw" && strings.HasPrefix(eventType, text)
		}) {
			t.Errorf("%s is not read", eventType)
		}
	}
	for _, loud := range []string{"user.session.start", "user.authentication.sso", "app.oauth2.token.grant"} {
		for term := range strings.SplitSeq(filter, " or ") {
			if text := strings.Trim(term[strings.LastIndexByte(term, ' ')+1:], `"`); strings.HasPrefix(loud, text) {
				t.Errorf("%s would be read, by %s", loud, term)
			}
		}
	}
}
