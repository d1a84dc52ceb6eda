package engine

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
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
		sum.HookDelayMax = max(sum.HookDelayMax, c.HookDelayMax)
		sum.Hook += c.Hook
		sum.Log += c.Log
		sum.Late += c.Late
	}
	if int(sum.Hook+sum.Late) != len(events) || sum.Hook < 60 || sum.Late < 40 {
		t.Errorf("coverage: %d by hook first, %d by the log, %d by hook afterwards, of %d events", sum.Hook, sum.Log, sum.Late, len(events))
	}
	if sum.HookDelayMax < 60_000 { // they were delivered a minute after the last change
		t.Errorf("hooks came %d ms late at most", sum.HookDelayMax)
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

// A rate-limit event by hook, and a failed delivery in the log, bring the next
// poll forward; so does an answer that failed for now.
func TestWhatEndangersHooksBringsThePollForward(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 25, Users: 5, Groups: 2, Apps: 2})
	behind := func() bool {
		select {
		case <-r.o.behind:
			return true
		default:
			return false
		}
	}
	poll := func() bool {
		t.Helper()
		again, err := r.o.pollLog()
		if err != nil {
			t.Fatal(err)
		}
		return again
	}
	poll()
	behind()
	r.deliver(must(t)(r.org.UpdateProfile(r.org.UserIDs("ACTIVE")[0], map[string]any{"title": "New"}))...)
	r.takeIn()
	if behind() {
		t.Error("an ordinary event brings the poll forward")
	}
	r.deliver(r.org.Emit("system.org.rate_limit.warning", "Bucket", "b"))
	r.takeIn()
	if !behind() {
		t.Error("a rate-limit event does not bring the poll forward")
	}
	if poll() {
		t.Error("nothing failed, and the poll is to be repeated soon")
	}
	nobody := httptest.NewServer(http.NotFoundHandler())
	nobody.Close()
	sender := r.org.NewSender(oktasim.Hook{URL: nobody.URL, Secret: "a secret of nobody's"}, oktasim.Faults{})
	if err := sender.Deliver(t.Context(), must(t)(r.org.UpdateProfile(r.org.UserIDs("ACTIVE")[0], map[string]any{"title": "Newer"}))); err == nil {
		t.Fatal("delivered to nobody")
	}
	r.clock.Advance(time.Minute)
	if !poll() {
		t.Error("a failed delivery is in the log, and the next poll is not brought forward")
	}
	if poll() {
		t.Error("it is brought forward for ever")
	}
	r.org.FailNext(20, "/api/v1/logs", oktasim.Fault{Status: 503})
	if !poll() {
		t.Error("Okta failed for now, and the next poll is not brought forward")
	}
}

// A place in the log from before what Okta keeps is not gone on from, though
// Okta would answer: everything is read.
func TestSilentGapOfTheLogIsFound(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 26, Users: 5, Groups: 2, Apps: 2})
	r.poll()
	if err := r.o.rewindLog(); err != nil { // as after a restart of Redis
		t.Fatal(err)
	}
	r.clock.Advance(100 * 24 * time.Hour) // Okta takes a since of up to 180 days
	r.poll()
	runs, err := r.e.Runs(t.Context(), r.id)
	if err != nil || runs[0].Trigger != "log-restart" || runs[0].Mode != "full" {
		t.Errorf("runs %+v, %v", runs, err)
	}
}

// What an old event asked for is not forgotten over a newer one on the same object.
func TestCaughtUpMindsTheOldestAsk(t *testing.T) {
	r := known(t, oktasim.Config{Seed: 27, Users: 5, Groups: 2, Apps: 2})
	user := r.org.UserIDs("ACTIVE")[0]
	caught := func(with time.Time) bool {
		t.Helper()
		is, err := caughtUp(t.Context(), r.o.st, with.UnixMilli())
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	r.deliver(must(t)(r.org.UpdateProfile(user, map[string]any{"title": "First"}))...)
	moment := r.clock.Now().Add(time.Second)
	r.clock.Advance(2 * time.Minute)
	r.deliver(must(t)(r.org.UpdateProfile(user, map[string]any{"title": "Second"}))...)
	r.takeIn()
	r.poll()
	if caught(moment) {
		t.Error("caught up though the user was not read")
	}
	r.settle()
	if !caught(moment) {
		t.Error("not caught up though all was read")
	}
}
