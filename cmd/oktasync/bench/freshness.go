package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

type freshnessCmd struct {
	Rates  []int         `default:"50,500,5000" help:"Events a second."`
	Length time.Duration `default:"10s" help:"How long they arrive at each rate."`
	Users  int           `default:"10000" help:"Users of the org before."`
	Late   time.Duration `default:"20s" help:"How long the last changes are waited for."`
	For    time.Duration `default:"10m" help:"How long it may take."`
}

// margin is the read margin of the service, by default: an object is read again that
// long after the event, not sooner.
const margin = time.Second

// Run measures how long after an event was sent its change is seen by who follows the
// changes: events that need no read, and those that do.
func (cmd freshnessCmd) Run(ctx context.Context, s Streams) error {
	if cmd.Length <= 0 || slices.ContainsFunc(cmd.Rates, func(r int) bool { return r < 1 || r > 100_000 }) {
		return errors.New("--length must be above 0s, and each of --rates from 1 to 100000")
	}
	ctx, cancel := context.WithTimeout(ctx, cmd.For)
	defer cancel()
	l, err := newLab(s)
	if err != nil {
		return err
	}
	defer l.close()
	o, err := newOrg(heavy, cmd.Users)
	if err != nil {
		return err
	}
	needed := 0
	for _, rate := range cmd.Rates {
		needed += eventsOf(rate, cmd.Length)
	}
	if free := o.base*(len(o.groups)-1) - o.members; free < needed {
		return fmt.Errorf("of %d users %d can join a group that they are not in, and %d are to: give more --users, or less --length or --rates", cmd.Users, free, needed)
	}
	st, _, err := l.startRead(ctx, setting{shape: heavy, users: cmd.Users, limits: "none", sinks: "none"})
	if err != nil {
		return err
	}
	defer st.stop()
	w, err := st.watch(ctx)
	if err != nil {
		return err
	}
	defer w.stop()
	to := newTarget(st.service.url+"/hooks/okta/"+instance, burstSenders)
	defer to.close()
	pairs := outsiders{of: o, group: 1}
	t := newTable(s.Out, "events/s", "a delivery", "read", "events", "not seen", "p50 ms", "p99 ms", "max ms", "p50 after due", "p99 after due", "CPU s: service", "Redis", "org", "sender")
	for _, read := range []bool{false, true} {
		for _, rate := range cmd.Rates {
			if err = cmd.measure(ctx, st, w, to, &pairs, t, rate, read); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	if len(t.rows) > 0 { // what was measured before it failed is told too
		fmt.Fprintf(s.Out, "%sfrom the moment at which an event was to be sent, so its way and its acceptance included, until its change comes on the stream of changes\n\n", machine(ctx, st.redis))
		err = errors.Join(err, t.print())
	}
	return err
}

// measure has events arrive at one rate, and adds a row.
func (cmd freshnessCmd) measure(ctx context.Context, st *stand, w *watcher, to *target, free *outsiders, t *table, rate int, read bool) error {
	if err := st.applied(ctx); err != nil {
		return err
	}
	batch := batchOf(rate)
	st.service.lab.note("%d events a second, %d a delivery, with a read: %t", rate, batch, read)
	w.begin()
	before, err := st.spent()
	if err != nil {
		return err
	}
	sending, err := ownCPU()
	if err != nil {
		return err
	}
	if read {
		err = st.newcomers(ctx, w, rate, cmd.Length)
	} else {
		err = st.joiners(ctx, w, to, free, len(t.rows), rate, cmd.Length)
	}
	if err != nil {
		return err
	}
	took, missing, err := w.end(ctx, cmd.Late)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		st.service.lab.note("of %d events no change came within %s after the last, as of %s", len(missing), cmd.Late, missing[0])
	}
	after, err := st.spent()
	if err != nil {
		return err
	}
	sent, err := ownCPU()
	if err != nil {
		return err
	}
	due := []string{"-", "-"}
	if read {
		for i, share := range []float64{0.5, 0.99} {
			due[i] = quantile(w.due, share)
		}
	}
	spent := after.since(before)
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }
	t.add(rate, batch, map[bool]string{true: "yes", false: "no"}[read], len(took)+len(missing), len(missing), quantile(took, 0.5), quantile(took, 0.99), quantile(took, 1),
		due[0], due[1], seconds(spent.service.cpu), seconds(spent.redis.cpu), seconds(spent.org.cpu), seconds(sent-sending))
	return nil
}

// batchOf is how many events a delivery has at a rate: five hundred deliveries a second
// at most.
func batchOf(rate int) int { return max(1, rate/500) }

// eventsOf is how many events arrive in that time, at most.
func eventsOf(rate int, length time.Duration) int {
	return int(float64(rate)*length.Seconds()) + batchOf(rate)
}

// outsiders walks over the pairs of a user and a group that the user is not in. Each comes
// once: who has joined already changes nothing by joining again.
type outsiders struct {
	of          *org
	group, user int // the next, but 0 of the groups, which is Everyone
}

func (o *outsiders) next() (user, group int) {
	for {
		user, group = o.user, o.group
		if o.user++; o.user == o.of.base {
			o.user, o.group = 0, o.group+1
		}
		if !o.of.isMember(group, user) {
			return user, group
		}
	}
}

// joiners delivers that users joined groups that they were not in.
func (st *stand) joiners(ctx context.Context, w *watcher, to *target, free *outsiders, series, rate int, length time.Duration) error {
	batch := batchOf(rate)
	pairs := make([][2]string, eventsOf(rate, length))
	for i := range pairs {
		user, group := free.next()
		pairs[i] = [2]string{id(userPrefix, user), id(groupPrefix, group)}
	}
	got, err := load{to: to, senders: burstSenders, events: batch,
		next: func(l *letter, n int) {
			for i := range batch {
				pair := pairs[n*batch+i]
				l.write(i, uuidOf(series, n*batch+i), time.Now(), pair[0], pair[1])
			}
		},
		sent: func(n int, at time.Time) {
			for i := range batch {
				w.sent(uuidOf(series, n*batch+i), at, time.Time{})
			}
		},
	}.open(ctx, float64(rate)/float64(batch), length)
	if err == nil && got.failed > 0 {
		err = fmt.Errorf("%d deliveries were not taken: %w", got.failed, got.first)
	}
	return err
}

// newcomers has users come to the org, and delivers it: each must be read.
func (st *stand) newcomers(ctx context.Context, w *watcher, rate int, length time.Duration) error {
	batch := batchOf(rate)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(burstSenders)
	start := time.Now()
	for n := 0; n < int(float64(rate)*length.Seconds()); n += batch {
		due := start.Add(time.Duration(n) * time.Second / time.Duration(rate))
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
		}
		g.Go(func() error {
			var came growth
			if err := fetch(ctx, st.orgURL+"/bench/grow?users="+strconv.Itoa(batch), &came); err != nil {
				return err
			}
			for u := came.From; u < came.To; u++ {
				w.sent(string(appendUUID(nil, u)), due, time.UnixMilli(came.At).Add(margin))
			}
			return st.service.deliver(ctx, delivery(st.orgURL, came.From, came.To, came.At))
		})
	}
	return g.Wait()
}

// watcher follows the stream of changes as a user does, and notes when the first change
// of each event came.
type watcher struct {
	stop context.CancelFunc

	mu    sync.Mutex
	known map[string]moments // by uuid: those not seen yet
	took  []time.Duration
	due   []time.Duration // of those that need a read: since it was due
	again chan struct{}   // nothing is left to be seen, or can be
	lost  error
}

type moments struct{ sent, due time.Time }

func (st *stand) watch(ctx context.Context) (*watcher, error) {
	ctx, cancel := context.WithCancel(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, st.service.url+"/v1/instances/"+instance+"/changes", nil)
	if err != nil {
		cancel()
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+st.service.admin)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		cancel()
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		cancel()
		return nil, errors.Join(fmt.Errorf("follow the changes: %s", resp.Status), resp.Body.Close())
	}
	w := &watcher{stop: cancel, again: make(chan struct{}, 1)}
	w.begin()
	go func() {
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			_, rest, ok := bytes.Cut(lines.Bytes(), []byte(`"cause":"`))
			if uuid, _, closed := bytes.Cut(rest, []byte(`"`)); ok && closed {
				w.seen(string(uuid))
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.lost = errors.Join(errors.New("the stream of changes ended"), lines.Err())
		w.wake()
	}()
	return w, nil
}

// begin forgets what was seen.
func (w *watcher) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known, w.took, w.due = map[string]moments{}, nil, nil
}

func (w *watcher) sent(uuid string, at, due time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known[uuid] = moments{at, due}
}

func (w *watcher) seen(uuid string) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	m, ok := w.known[uuid]
	if !ok {
		return // another change of the same event, or of another series
	}
	delete(w.known, uuid)
	w.took = append(w.took, now.Sub(m.sent))
	if !m.due.IsZero() {
		w.due = append(w.due, now.Sub(m.due))
	}
	if len(w.known) == 0 {
		w.wake()
	}
}

// wake has end look again.
func (w *watcher) wake() {
	select {
	case w.again <- struct{}{}:
	default:
	}
}

// end waits for the changes of all that was sent, for a while, and returns how long each
// took, sorted, and those events of which none came.
func (w *watcher) end(ctx context.Context, late time.Duration) (took []time.Duration, missing []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, late)
	defer cancel()
	for {
		w.mu.Lock()
		if len(w.known) == 0 || ctx.Err() != nil || w.lost != nil {
			slices.Sort(w.took)
			slices.Sort(w.due)
			took, missing, err = w.took, sortedKeys(w.known), w.lost
			w.mu.Unlock()
			return took, missing, err
		}
		w.mu.Unlock()
		select {
		case <-w.again:
		case <-ctx.Done():
		}
	}
}
