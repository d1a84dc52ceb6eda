package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

type simulateCmd struct {
	Listen string  `default:"127.0.0.1:8090" help:"Address to listen on."`
	Users  int     `default:"300" help:"Users of the org, 1 to 100,000."`
	Rate   float64 `default:"1" help:"Random changes a second, 0 to 100."`
}

// Run serves a simulated org for as long as it takes to try out a real set-up:
// its API token and event hooks are used as Okta's are.
func (cmd *simulateCmd) Run(ctx context.Context, w world) error {
	if cmd.Users < 1 || cmd.Users > 100_000 {
		return usageError{errors.New("--users must be from 1 to 100000")}
	}
	if !(cmd.Rate >= 0 && cmd.Rate <= 100) {
		return usageError{errors.New("--rate must be from 0 to 100")}
	}
	org, err := oktasim.Start(oktasim.Config{
		Seed: 1, Listen: cmd.Listen, Users: cmd.Users, Groups: 10 + cmd.Users/20, Apps: 5 + cmd.Users/50, Latency: 5 * time.Millisecond,
		PlainHooks: true,
	})
	if err != nil {
		return fmt.Errorf("cannot start the simulated org: %w", err)
	}
	defer org.Close()
	fmt.Fprintf(w.stdout, `A simulated Okta org of %d users. For oktasync and its commands, in another terminal:
  export OKTA_CLIENT_ORGURL=%s
  export OKTA_CLIENT_TOKEN=%s
  export OKTASYNC_ALLOW_INSECURE_ORGS=true
Type "change 5" for five changes at once, "hide" to have Okta deny that users are assigned to applications,
which no event tells, and "show" to end that. Ctrl-C ends it; the next start begins with the same org.
`, cmd.Users, org.URL(), org.Token())
	s := &simulation{org: org, w: w, senders: map[string]*oktasim.Sender{}}
	defer s.stop()
	lines := make(chan string)
	go func() { // ends with the input, or with the process
		for in := bufio.NewScanner(w.stdin); in.Scan(); {
			select {
			case lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	var tick <-chan time.Time
	if cmd.Rate > 0 {
		ticker := time.NewTicker(time.Duration(float64(time.Second) / cmd.Rate))
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
			s.change(ctx, 1)
		case line := <-lines:
			s.obey(ctx, line)
		}
	}
}

// simulation changes an org and delivers its events.
type simulation struct {
	org     *oktasim.Org
	w       world
	senders map[string]*oktasim.Sender // by hook
}

// obey does what a line says.
func (s *simulation) obey(ctx context.Context, line string) {
	what, number, _ := strings.Cut(strings.TrimSpace(line), " ")
	n, err := strconv.Atoi(number)
	switch {
	case what == "change" && err == nil && n > 0 && n <= 10_000:
		s.change(ctx, n)
		fmt.Fprintf(s.w.stdout, "%d changes made\n", n)
	case line == "hide":
		s.org.Fail(func(r *http.Request) *oktasim.Fault {
			switch m := appUsers.FindStringSubmatch(r.URL.Path); {
			case m == nil:
				return nil
			case m[1] == "":
				return &oktasim.Fault{Empty: true}
			default:
				return &oktasim.Fault{Status: http.StatusNotFound, Code: "E0000007"}
			}
		})
		fmt.Fprintln(s.w.stdout, "no application has users any more; a full reconcile will find it, and hold it")
	case line == "show":
		s.org.Fail(nil)
		fmt.Fprintln(s.w.stdout, "they have them again")
	default:
		fmt.Fprintln(s.w.stdout, `type "change N", with N from 1 to 10000, "hide" or "show"`)
	}
}

var appUsers = regexp.MustCompile(`^/api/v1/apps/[^/]+/users(/[^/]+)?$`)

// change makes random changes and delivers their events to every hook.
func (s *simulation) change(ctx context.Context, n int) {
	events := s.org.Mutate(n)
	var all sync.WaitGroup
	for _, hook := range s.org.EventHooks() {
		if s.senders[hook.ID] == nil {
			s.senders[hook.ID] = s.org.NewHookSender(hook.ID, oktasim.Faults{})
		}
		sender := s.senders[hook.ID]
		all.Go(func() {
			if err := sender.Deliver(ctx, events); err != nil && ctx.Err() == nil {
				fmt.Fprintf(s.w.stderr, "the hook %s: %v\n", hook.Name, err)
			}
		})
	}
	all.Wait()
}

func (s *simulation) stop() {
	for _, sender := range s.senders {
		sender.Stop()
	}
}
