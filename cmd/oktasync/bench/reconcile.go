package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

type reconcileCmd struct {
	Users   []int           `default:"1000,10000,100000" help:"Sizes of the orgs."`
	Shape   string          `default:"heavy" help:"How groups and applications are sized: heavy-tailed; or bound, as in the bound of a full reconcile: groups of 100, applications of 1,000 users."`
	Latency []time.Duration `default:"0s" help:"How long each answer of the org takes at least."`
	Limits  []string        `default:"none" help:"Rate limits of the org: none, okta."`
	Factors bool            `help:"Read the factors as well: one call for each user."`
	Sinks   string          `default:"none" help:"As OKTASYNC_SINKS."`
	For     time.Duration   `default:"30m" help:"How long it may take; what is not done by then is told as such."`
	Profile string          `type:"existingdir" placeholder:"DIR" help:"Keep profiles of the service and the statistics of Redis there, of the first 30 s of each row."`
}

// Run prints a row for each full reconcile: of an org that is new to the service, and
// again with nothing changed.
func (cmd reconcileCmd) Run(ctx context.Context, s Streams) error {
	ctx, cancel := context.WithTimeout(ctx, cmd.For)
	defer cancel()
	l, err := newLab(s)
	if err != nil {
		return err
	}
	defer l.close()
	rows := newTable(s.Out, "users", "latency", "limits", "reconcile", "records", "wall s", "records/s", "calls", "× fewest", "other calls",
		"service CPU s", "Redis CPU s", "org CPU s", "service µs/record", "Redis µs/record", "RSS MB", "peak MB", "Redis MB", "Redis PING p99 ms", "µs CPU/user")
	var memory []*table
	var head string
	var failed error
sizes:
	for _, users := range cmd.Users {
		for _, latency := range cmd.Latency {
			for _, limits := range cmd.Limits {
				of := setting{shape: shape(cmd.Shape), users: users, latency: latency, limits: limits, factors: cmd.Factors, sinks: cmd.Sinks}
				kinds, told, err := cmd.measure(ctx, l, of, rows)
				if err != nil && ctx.Err() == nil { // what was measured before is told too
					failed = fmt.Errorf("%d users, %s, limits %s: %w", users, latency, limits, err)
					break sizes
				}
				if told != "" {
					head = told
				}
				if kinds != nil {
					kinds.out = s.Out
					memory = append(memory, kinds)
				}
			}
		}
	}
	if len(rows.rows) == 0 && failed != nil {
		return failed
	}
	fmt.Fprintf(s.Out, "%sshape %s, sinks %s, factors %t, 10 calls in flight, Redis keeps nothing on disk\n\n", head, cmd.Shape, cmd.Sinks, cmd.Factors)
	errs := []error{failed, rows.print()}
	for _, t := range memory {
		fmt.Fprintln(s.Out)
		errs = append(errs, t.print())
	}
	return errors.Join(errs...)
}

// measure reads one org twice and adds two rows. It returns the table of Redis's memory
// after the first.
func (cmd reconcileCmd) measure(ctx context.Context, l *lab, of setting, rows *table) (kinds *table, head string, err error) {
	limits, err := parseLimits(of.limits)
	if err != nil {
		return nil, "", err
	}
	o, err := newOrg(of.shape, of.users)
	if err != nil {
		return nil, "", err
	}
	least := limits.least(o.fewest(of.factors))
	if until, _ := ctx.Deadline(); time.Until(until) < least {
		l.note("%d users with limits %s: not read, the limits alone make it take %s at a share of 0.5", of.users, of.limits, least.Round(time.Minute))
		rows.add(append([]any{of.users, of.latency, of.limits, "≥ " + least.Round(time.Second).String()}, slices.Repeat([]any{"-"}, len(rows.header)-4)...)...)
		return nil, "", nil
	}
	st, err := l.startStand(ctx, of)
	if err != nil {
		return nil, "", err
	}
	defer st.stop()
	head = machine(ctx, st.redis)
	for _, which := range []string{"first", "again"} {
		l.note("%s: %d users, an answer takes %s, limits %s: the %s full reconcile", time.Now().UTC().Format(time.TimeOnly), of.users, of.latency, of.limits, which)
		profiled := make(chan error, 1)
		if cmd.Profile == "" {
			profiled <- nil
		} else {
			name := fmt.Sprintf("%d-%s-%s-%s", of.users, of.latency, of.limits, which)
			go func() { profiled <- st.profile(ctx, cmd.Profile, name, 30*time.Second) }()
		}
		told := time.Now()
		r, err := st.reconcile(ctx, "full", func(r run) {
			if time.Since(told) > 30*time.Second {
				told = time.Now()
				l.note("  %s: %v", told.UTC().Format(time.TimeOnly), r.Progress)
			}
		})
		if err := errors.Join(err, <-profiled); err != nil {
			return kinds, head, err
		}
		if r.EndedAt == nil {
			which += ", unfinished"
		} else if err := st.complete(ctx, r); err != nil {
			return kinds, head, err
		}
		rows.add(row(of, st.org, which, r)...)
		if which != "first" {
			return kinds, head, nil
		}
		if kinds, err = st.kinds(ctx, r); err != nil {
			return nil, head, err
		}
	}
	return kinds, head, nil
}

// least is the time that the limits make calls take, at the share of a half.
func (l limits) least(calls map[string]int) (longest time.Duration) {
	buckets := map[string]int{}
	for family, n := range calls {
		bucket := map[string]string{"members": "groups", "assignments": "apps", "factors": "users", "account": "rest"}[family]
		if bucket == "" {
			bucket = family
		}
		buckets[bucket] += n
	}
	for bucket, limit := range l {
		longest = max(longest, time.Duration(buckets[bucket]-limit/2)*time.Minute/time.Duration(limit/2))
	}
	return longest
}

func row(of setting, o *org, which string, r reading) []any {
	fewest := 0
	for _, n := range o.fewest(of.factors) {
		fewest += n
	}
	lists, rest := r.callsOfLists()
	per := func(d time.Duration, n int64) string {
		return fmt.Sprintf("%.1f", float64(d.Microseconds())/float64(max(n, 1)))
	}
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()) }
	both := r.spent.service.cpu + r.spent.redis.cpu
	return []any{of.users, of.latency, of.limits, which, r.records, seconds(r.wall), fmt.Sprintf("%.0f", float64(r.records)/r.wall.Seconds()),
		lists, fmt.Sprintf("%.3f", float64(lists)/float64(fewest)), rest,
		seconds(r.spent.service.cpu), seconds(r.spent.redis.cpu), seconds(r.spent.org.cpu),
		per(r.spent.service.cpu, r.records), per(r.spent.redis.cpu, r.records),
		mb(r.average), mb(r.spent.service.peak), mb(r.memory), fmt.Sprintf("%.1f", float64(r.waited.Microseconds())/1000), per(both, int64(of.users))}
}

// kinds returns a table of what records take in Redis.
func (st *stand) kinds(ctx context.Context, r reading) (*table, error) {
	prefixes, err := st.redis.memoryByPrefix(ctx)
	if err != nil {
		return nil, err
	}
	records, err := st.records(ctx)
	if err != nil {
		return nil, err
	}
	t := newTable(nil, fmt.Sprintf("Redis, %d users", st.users), "keys", "records", "MB", "bytes/record")
	var sum int64
	for _, prefix := range sortedKeys(prefixes) {
		if s := prefixes[prefix]; s.bytes > r.memory/1000 {
			t.add(prefix, s.keys, "", mb(s.bytes), "")
		}
		sum += prefixes[prefix].bytes
	}
	kinds := memoryByKind(prefixes, records)
	for _, kind := range sortedKeys(kinds) {
		if n := records[kind]; n > 0 {
			t.add("kind "+kind, "", n, mb(kinds[kind]), kinds[kind]/n)
		}
	}
	t.add("changes", "", "", mb(kinds["changes"]), "")
	t.add("all keys", "", r.records, mb(sum), sum/max(r.records, 1))
	t.add("used_memory, without changes", "", r.records, mb(r.memory-kinds["changes"]), (r.memory-kinds["changes"])/max(r.records, 1))
	return t, nil
}
