package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

type ingestCmd struct {
	Connections int           `default:"16" help:"Connections that deliver at once in the comparison."`
	Rounds      int           `default:"5" help:"Rounds of each side, in turn."`
	Length      time.Duration `default:"2s" help:"Length of a round, at most."`
	Steady      time.Duration `default:"10s" help:"How long 500 deliveries a second arrive; 0s: not."`
	Burst       time.Duration `default:"2s" help:"How long 5,000 a second arrive; 0s: not."`
	Users       int           `default:"10000" help:"Users of the org that is read in full meanwhile."`
	Latency     time.Duration `default:"20ms" help:"How long each answer of that org takes at least."`
	For         time.Duration `default:"10m" help:"How long it may take."`
}

// maxRound bounds the bytes of the deliveries of a round: Redis keeps them all.
const maxRound = 200 << 20

// burstSenders is how many deliveries of an open load can be under way at once.
const burstSenders = 256

// Run holds the hook endpoint against a bare handler, and then measures how long
// deliveries at fixed moments take until they are acknowledged.
func (cmd ingestCmd) Run(ctx context.Context, s Streams) error {
	if cmd.Connections < 1 || cmd.Connections > 1000 || cmd.Rounds < 1 {
		return errors.New("--connections must be from 1 to 1000, and --rounds above 0")
	}
	ctx, cancel := context.WithTimeout(ctx, cmd.For)
	defer cancel()
	l, err := newLab(s)
	if err != nil {
		return err
	}
	defer l.close()
	st, _, err := l.startRead(ctx, setting{shape: heavy, users: cmd.Users, latency: cmd.Latency, limits: "none", sinks: "none"})
	if err != nil {
		return err
	}
	defer st.stop()
	fmt.Fprint(s.Out, machine(ctx, st.redis))
	if err := cmd.compare(ctx, s, l, st); err != nil {
		return err
	}
	return cmd.acknowledge(ctx, s, l, st)
}

// side is one of the two that are compared.
type side struct {
	name  string
	to    *target
	serve *process
	redis *redisServer
	clear []string // keys of Redis that a round leaves

	rates                   []float64
	took                    []time.Duration
	handler, store, sending time.Duration // CPU
}

// compare has both sides take the same deliveries in turn. The instance is paused:
// taking a delivery in is measured, not what becomes of it.
func (cmd ingestCmd) compare(ctx context.Context, s Streams, l *lab, st *stand) error {
	store, err := l.startRedis(ctx)
	if err != nil {
		return err
	}
	defer store.stop()
	address, err := freeAddress()
	if err != nil {
		return err
	}
	bare, err := l.start(ctx, "bare-"+address, l.exe, []string{"bench", "bare", "--listen", address, "--redis-url", store.url}, nil)
	if err != nil {
		return err
	}
	defer bare.stop()
	if err := bare.await(ctx, 15*time.Second, func(ctx context.Context) error {
		resp, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}); err != nil {
		return err
	}
	for _, what := range []string{"pause", "resume"} {
		order := func(ctx context.Context) error {
			_, err := st.service.call(ctx, http.MethodPost, "/admin/instances/"+instance+"/"+what, st.service.admin, nil)
			return err
		}
		if what == "pause" {
			if err := order(ctx); err != nil {
				return err
			}
		} else {
			defer func() { _ = order(context.WithoutCancel(ctx)) }() // what follows tells if it is paused still
		}
	}
	t := newTable(s.Out, "events", "kB", "handler", "deliveries/s", "p50 ms", "p99 ms", "CPU µs: handler", "Redis", "both", "sender")
	var ratios string
	series := 0
	for _, events := range []int{1, 10, 100} {
		form, err := newLetter(events)
		if err != nil {
			return err
		}
		sides := []*side{
			{name: "bare", to: newTarget("http://"+address+"/hooks/okta/"+instance, cmd.Connections), serve: bare, redis: store, clear: []string{bareStream}},
			{name: "service", to: newTarget(st.service.url+"/hooks/okta/"+instance, cmd.Connections), serve: st.service.process, redis: st.redis,
				clear: []string{"oktasync:{" + instance + "}:inbox"}},
		}
		l.note("deliveries of %d events", events)
		for round := range 1 + cmd.Rounds { // the first warms up
			for _, sd := range sides {
				series++
				if err := cmd.round(ctx, sd, series, events, min(cmd.Length, time.Duration(1+round)*time.Second), len(form.body), round > 0); err != nil {
					return fmt.Errorf("%s, deliveries of %d events: %w", sd.name, events, err)
				}
			}
		}
		for _, sd := range sides {
			sd.to.close()
			slices.Sort(sd.took)
			each := func(d time.Duration) string {
				return fmt.Sprintf("%.1f", float64(d.Nanoseconds())/1e3/float64(len(sd.took)))
			}
			t.add(events, fmt.Sprintf("%.1f", float64(len(form.body))/1e3), sd.name, fmt.Sprintf("%.0f", median(sd.rates)), quantile(sd.took, 0.5), quantile(sd.took, 0.99),
				each(sd.handler), each(sd.store), each(sd.handler+sd.store), each(sd.sending))
		}
		pairs := make([]float64, cmd.Rounds)
		for i := range pairs {
			pairs[i] = sides[1].rates[i] / sides[0].rates[i]
		}
		cpu := func(sd *side) float64 { return (sd.handler + sd.store).Seconds() / float64(len(sd.took)) }
		ratios += fmt.Sprintf("deliveries of %d: the service takes %.2f of the deliveries/s of the bare handler (rounds from %.2f to %.2f); by CPU of handler and Redis alone %.2f\n",
			events, median(pairs), slices.Min(pairs), slices.Max(pairs), cpu(sides[0])/cpu(sides[1]))
	}
	fmt.Fprintf(s.Out, "%d connections, closed loop, %d rounds each in turn; the median of the rounds, CPU of each delivery\n\n", cmd.Connections, cmd.Rounds)
	if err := t.print(); err != nil {
		return err
	}
	fmt.Fprintln(s.Out, "\n"+ratios)
	return nil
}

// round has one side take deliveries, each of events that nobody has seen.
func (cmd ingestCmd) round(ctx context.Context, sd *side, series, events int, length time.Duration, size int, counts bool) error {
	read := func() (handler, store usage, sending time.Duration, err error) {
		if handler, err = sd.serve.usage(); err != nil {
			return handler, store, 0, err
		}
		if store, err = sd.redis.usage(); err != nil {
			return handler, store, 0, err
		}
		sending, err = ownCPU()
		return handler, store, sending, err
	}
	handler, store, sending, err := read()
	if err != nil {
		return err
	}
	user, group, now := id(userPrefix, 1), id(groupPrefix, 1), time.Now()
	got, err := load{to: sd.to, senders: cmd.Connections, events: events, next: func(l *letter, n int) {
		for i := range events {
			l.write(i, uuidOf(series, n*events+i), now, user, group)
		}
	}}.closed(ctx, maxRound/size, length)
	if err != nil {
		return err
	}
	if got.failed > 0 {
		return fmt.Errorf("%d deliveries were not taken: %w", got.failed, got.first)
	}
	handler2, store2, sending2, err := read()
	if err != nil {
		return err
	}
	if counts {
		sd.rates, sd.took = append(sd.rates, got.rate()), append(sd.took, got.took...)
		sd.handler += handler2.since(handler).cpu
		sd.store += store2.since(store).cpu
		sd.sending += sending2 - sending
	}
	return sd.redis.client.Unlink(ctx, sd.clear...).Err()
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// acknowledge measures deliveries of one event that come at fixed moments, alone and
// while the org is read in full.
func (cmd ingestCmd) acknowledge(ctx context.Context, s Streams, l *lab, st *stand) error {
	t := newTable(s.Out, "deliveries/s", "meanwhile", "seconds", "taken", "failed", "taken/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "CPU s: service", "Redis", "org", "sender")
	to := newTarget(st.service.url+"/hooks/okta/"+instance, burstSenders)
	defer to.close()
	series := 1000
	for _, c := range []struct {
		rate   float64
		length time.Duration
	}{{500, cmd.Steady}, {5000, cmd.Burst}} {
		for _, meanwhile := range []string{"quiet", "full reconcile"} {
			if c.length == 0 {
				continue
			}
			if err := st.applied(ctx); err != nil {
				return err
			}
			l.note("%.0f deliveries a second for %s, %s", c.rate, c.length, meanwhile)
			series++
			before, err := st.spent()
			if err != nil {
				return err
			}
			sending, err := ownCPU()
			if err != nil {
				return err
			}
			over := make(chan struct{})
			read := make(chan error, 1)
			go func() { read <- st.reconcileUntil(ctx, over, meanwhile != "quiet") }()
			groups, now := len(st.org.groups), time.Now
			got, err := load{to: to, senders: burstSenders, events: 1, next: func(l *letter, n int) {
				l.write(0, uuidOf(series, n), now(), id(userPrefix, n%st.org.base), id(groupPrefix, 1+n%(groups-1)))
			}}.open(ctx, c.rate, c.length)
			close(over)
			if err != nil {
				return errors.Join(err, <-read)
			}
			after, err := st.spent()
			if err != nil {
				return err
			}
			sent, err := ownCPU()
			if err != nil {
				return err
			}
			// The next load begins when the last read has ended.
			if err := <-read; err != nil {
				return err
			}
			spent := after.since(before)
			if got.first != nil {
				l.note("of those that failed one said: %v", got.first)
			}
			seconds := func(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }
			t.add(c.rate, meanwhile, seconds(c.length), len(got.took), got.failed, fmt.Sprintf("%.0f", got.rate()), got.at(0.5), got.at(0.99), got.at(0.999), got.at(1),
				seconds(spent.service.cpu), seconds(spent.redis.cpu), seconds(spent.org.cpu), seconds(sent-sending))
		}
	}
	fmt.Fprintln(s.Out, "Acknowledgement: each delivery, of one event, counts from the moment at which it was to be sent; the events are applied meanwhile")
	fmt.Fprintln(s.Out)
	return t.print()
}

// reconcileUntil reads the org in full, again and again, and returns when over is closed
// and the last run has ended.
func (st *stand) reconcileUntil(ctx context.Context, over <-chan struct{}, wanted bool) error {
	for wanted {
		r, err := st.reconcile(ctx, "full", func(run) {})
		if err == nil && r.EndedAt == nil {
			err = errors.New("the time is over, and a full reconcile has not ended")
		}
		if err != nil {
			return err
		}
		select {
		case <-over:
			return nil
		default:
		}
	}
	return nil
}

// applied waits until nothing that was delivered waits any more.
func (st *stand) applied(ctx context.Context) error {
	for {
		v, err := st.overview(ctx)
		if err != nil || v.Inbox == 0 && v.Refreshes == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the time is over: %d events in the inbox, %d objects to be read again; %s", v.Inbox, v.Refreshes, v.Problem)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
