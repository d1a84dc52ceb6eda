package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

type importCmd struct {
	Users   int           `default:"10000" help:"Users of the org before."`
	Import  int           `default:"50000" help:"Users that arrive."`
	Rate    int           `default:"500" help:"Events a second, at most."`
	Batch   int           `default:"10" help:"Events of one delivery."`
	Factors bool          `help:"Read the factors of those that arrive as well: one call for each."`
	Latency time.Duration `default:"0s" help:"How long each answer of the org takes at least."`
	Limits  string        `default:"none" help:"Rate limits of the org: none, okta."`
	For     time.Duration `default:"20m" help:"How long it may take."`
}

// senders is how many deliveries are on their way at once, as from a few of Okta's
// servers.
const senders = 8

// backlog is the most that waited at one moment, and the state at the last look.
type backlog struct {
	inbox, refreshes int64
	memory           int64 // of Redis, bytes
	last             overview
}

// Run has users arrive as an import makes them: the org has them, and its event hook
// tells of each. The System Log tells the same events again. It is over when the
// service has caught up.
func (cmd importCmd) Run(ctx context.Context, s Streams) error {
	if cmd.Import < 1 || cmd.Rate < 1 || cmd.Batch < 1 || cmd.Batch > 1000 {
		return errors.New("--import, --rate and --batch must be above 0, and --batch at most 1000")
	}
	ctx, cancel := context.WithTimeout(ctx, cmd.For)
	defer cancel()
	l, err := newLab(s)
	if err != nil {
		return err
	}
	defer l.close()
	st, first, err := l.startRead(ctx, setting{shape: heavy, users: cmd.Users, latency: cmd.Latency, limits: cmd.Limits, factors: cmd.Factors, sinks: "none"})
	if err != nil {
		return err
	}
	defer st.stop()
	if err := st.complete(ctx, first); err != nil {
		return err
	}
	if err := st.caughtUp(ctx, nil); err != nil {
		return fmt.Errorf("after the full read: %w", err)
	}
	before, err := st.begin(ctx)
	if err != nil {
		return err
	}
	memory, err := st.redis.info(ctx, "used_memory")
	if err != nil {
		return err
	}

	l.note("%s: %d users arrive", time.Now().UTC().Format(time.TimeOnly), cmd.Import)
	start := time.Now()
	var most backlog
	look := func(v overview) error {
		used, err := st.redis.info(ctx, "used_memory")
		most.inbox, most.refreshes, most.memory, most.last = max(most.inbox, v.Inbox), max(most.refreshes, v.Refreshes), max(most.memory, used), v
		return err
	}
	var arrived time.Duration
	var all atomic.Bool
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer all.Store(true)
		err := st.arrive(gctx, cmd)
		arrived = time.Since(start)
		return err
	})
	for !all.Load() {
		v, err := st.overview(gctx)
		if err == nil {
			err = look(v)
		}
		if err != nil {
			break // which Wait tells of too, or the rest below
		}
		time.Sleep(200 * time.Millisecond) // so that looking costs little
	}
	if err := g.Wait(); err != nil {
		return err
	}
	want := int64(cmd.Users + cmd.Import)
	if err := st.caughtUp(ctx, func(v overview) (bool, error) { return v.Records["user"] == want, look(v) }); err != nil {
		return fmt.Errorf("after the import: %w", err)
	}
	took := time.Since(start)
	after, err := st.spent()
	if err != nil {
		return err
	}
	spent := after.since(before)
	status, err := st.status(ctx, false)
	if err != nil {
		return err
	}
	used, err := st.redis.info(ctx, "used_memory")
	if err != nil {
		return err
	}
	n, err := st.countGraph(ctx, "okta_user")
	if err != nil {
		return err
	}
	if n != want {
		return fmt.Errorf("the graph has %d users, the org %d", n, want)
	}

	t := newTable(s.Out, "figure", "value")
	t.add("users before, arrived", fmt.Sprintf("%d, %d", cmd.Users, cmd.Import))
	t.add("all delivered and acknowledged after", arrived.Round(time.Millisecond))
	t.add("caught up after", took.Round(time.Millisecond))
	var calls int64
	for _, family := range sortedKeys(maps.Clone(status.Calls)) {
		if n := status.Calls[family]; n > 0 {
			t.add("calls, "+family, n)
		}
		if family != "logs" {
			calls += status.Calls[family]
		}
	}
	t.add("calls for each that arrived, without the log", fmt.Sprintf("%.3f", float64(calls)/float64(cmd.Import)))
	t.add("events taken from the log", most.last.Log.Events)
	t.add("most in the inbox", most.inbox)
	t.add("most to be read again", most.refreshes)
	t.add("Redis MB: before, most, after", fmt.Sprintf("%s, %s, %s", mb(memory), mb(most.memory), mb(used)))
	t.add("Redis bytes for each that arrived", (used-memory)/int64(cmd.Import))
	t.add("service peak MB", mb(spent.service.peak))
	t.add("CPU s: service, Redis, org", fmt.Sprintf("%.1f, %.1f, %.1f", spent.service.cpu.Seconds(), spent.redis.cpu.Seconds(), spent.org.cpu.Seconds()))
	t.add("users in the graph", n)
	fmt.Fprintf(s.Out, "%sat most %d events/s, %d a delivery; latency %s, limits %s, factors %t\n\n", machine(ctx, st.redis), cmd.Rate, cmd.Batch, cmd.Latency, cmd.Limits, cmd.Factors)
	return t.print()
}

// begin makes all counts begin anew.
func (st *stand) begin(ctx context.Context) (spent, error) {
	if _, err := st.status(ctx, true); err != nil {
		return spent{}, err
	}
	if err := st.service.resetPeak(); err != nil {
		return spent{}, err
	}
	return st.spent()
}

// arrive has users come and delivers their events.
func (st *stand) arrive(ctx context.Context, cmd importCmd) error {
	g, sending := errgroup.WithContext(ctx)
	g.SetLimit(senders)
	start := time.Now()
	for from := 0; from < cmd.Import && sending.Err() == nil; from += cmd.Batch {
		n := min(cmd.Batch, cmd.Import-from)
		due := start.Add(time.Duration(from) * time.Second / time.Duration(cmd.Rate))
		select {
		case <-time.After(time.Until(due)):
		case <-sending.Done():
		}
		g.Go(func() error {
			var came growth
			if err := fetch(sending, st.orgURL+"/bench/grow?users="+strconv.Itoa(n), &came); err != nil {
				return err
			}
			return st.service.deliver(sending, delivery(st.orgURL, came.From, came.To, came.At))
		})
	}
	return errors.Join(g.Wait(), ctx.Err())
}

// deliver sends a delivery of the event hook, and tries again as Okta does: once.
func (s *service) deliver(ctx context.Context, body []byte) error {
	var err error
	for range 2 {
		if err = s.post(ctx, "/hooks/okta/"+instance, hookSecret, body); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return fmt.Errorf("deliver events: %w", err)
}

func (s *service) post(ctx context.Context, path, authorization string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", authorization)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s: %.500s", path, resp.Status, answer)
	}
	return nil
}

// caughtUp waits until nothing waits to be taken in or read again, the graph is whole,
// and done, which sees each look, says so as well.
func (st *stand) caughtUp(ctx context.Context, done func(overview) (bool, error)) error {
	for {
		v, err := st.overview(ctx)
		if err != nil {
			return err
		}
		reached := true
		if done != nil {
			if reached, err = done(v); err != nil {
				return err
			}
		}
		if reached && v.Inbox == 0 && v.Refreshes == 0 && v.Whole {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the time is over, and the service has not caught up: %d events in the inbox, %d objects to be read again, %d users; %s",
				v.Inbox, v.Refreshes, v.Records["user"], v.Problem)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// countGraph reads the graph and returns how many entities of a type it has.
func (st *stand) countGraph(ctx context.Context, typ string) (n int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, st.service.url+"/v1/instances/"+instance+"/graph?type="+typ, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+st.service.admin)
	resp, err := st.service.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("read the graph: %s", resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		n++
	}
	return n, lines.Err()
}
