package bench

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// idleCmd measures what instances cost that have nothing to do: in a service for
// hundreds of orgs most are quiet most of the time.
type idleCmd struct {
	Instances int           `default:"300" help:"Instances, all of one small org."`
	Replicas  int           `default:"3" help:"Processes that share them."`
	For       time.Duration `default:"30s" help:"How long is measured."`
	Sinks     string        `default:"none" help:"Sinks of each process, as OKTASYNC_SINKS; with %d in it, the number of the process."`
}

// Run measures and prints a table.
func (cmd idleCmd) Run(ctx context.Context, s Streams) error {
	if cmd.Instances < 1 || cmd.Replicas < 1 || cmd.For <= 0 {
		return errors.New("--instances and --replicas must be above 0, and --for above 0s")
	}
	l, err := newLab(s)
	if err != nil {
		return err
	}
	defer l.close()
	r, err := l.startRedis(ctx)
	if err != nil {
		return err
	}
	defer r.stop()
	orgURL, org, err := l.startSmallOrg(ctx)
	if err != nil {
		return err
	}
	defer org.stop()
	key := make([]byte, 32)
	rand.Read(key)
	var services []*service
	for i := range cmd.Replicas {
		sinks := strings.ReplaceAll(cmd.Sinks, "%d", fmt.Sprint(i))
		service, err := l.startService(ctx, r.url, "OKTASYNC_SECRET_KEY="+base64.StdEncoding.EncodeToString(key),
			"OKTASYNC_LOG_POLL_INTERVAL=10m", "OKTASYNC_SINKS="+sinks)
		if err != nil {
			return err
		}
		defer service.stop()
		services = append(services, service)
	}
	l.note("%d instances are read in full", cmd.Instances)
	for i := range cmd.Instances {
		if err := services[i%len(services)].registerAs(ctx, fmt.Sprint("org", i), orgURL); err != nil {
			return err
		}
	}
	var owners map[string]int
	quiet := func(ctx context.Context) error {
		owners, err = services[0].quiet(ctx, cmd.Instances)
		return err
	}
	if err := services[0].await(ctx, 10*time.Minute, quiet); err != nil {
		return err
	}
	select { // what a change of replicas moves has moved
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(15 * time.Second):
	}
	if owners, err = services[0].quiet(ctx, cmd.Instances); err != nil {
		return err
	}
	l.note("measuring for %s", cmd.For)
	if err := r.client.ConfigResetStat(ctx).Err(); err != nil {
		return err
	}
	before, err := usages(append([]*process{r.process}, processes(services)...))
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(cmd.For):
	}
	after, err := usages(append([]*process{r.process}, processes(services)...))
	if err != nil {
		return err
	}
	commands, err := r.commands(ctx)
	if err != nil {
		return err
	}
	fmt.Fprint(s.Out, machine(ctx, r))
	fmt.Fprintf(s.Out, "%d idle instances, %d replicas, sinks %s, for %s; owned: %v\n\n", cmd.Instances, cmd.Replicas, cmd.Sinks, cmd.For, owners)
	seconds, n := cmd.For.Seconds(), float64(cmd.Instances)
	per := func(total float64) string { return fmt.Sprintf("%.2f", total/seconds/n) }
	var cpu time.Duration
	var rss int64
	for i := range services {
		cpu += after[i+1].since(before[i+1]).cpu
		rss += after[i+1].rss
	}
	total := int64(0)
	for _, calls := range commands {
		total += calls
	}
	t := newTable(s.Out, "of an instance", "value")
	t.add("Redis commands/s", per(float64(total)))
	t.add("Redis CPU, µs/s", per(float64(after[0].since(before[0]).cpu.Microseconds())))
	t.add("service CPU, all replicas, µs/s", per(float64(cpu.Microseconds())))
	t.add("service memory, all replicas, kB", fmt.Sprintf("%.0f", float64(rss)/1000/n))
	for name, calls := range commands {
		if rate := float64(calls) / seconds / n; rate >= 0.05 {
			t.add("  "+name+"/s", fmt.Sprintf("%.2f", rate))
		}
	}
	return t.print()
}

func processes(services []*service) []*process {
	all := make([]*process, len(services))
	for i, s := range services {
		all[i] = s.process
	}
	return all
}

func usages(all []*process) ([]usage, error) {
	used := make([]usage, len(all))
	for i, p := range all {
		var err error
		if used[i], err = p.usage(); err != nil {
			return nil, err
		}
	}
	return used, nil
}

// startSmallOrg starts a generated org of ten users.
func (l *lab) startSmallOrg(ctx context.Context) (string, *process, error) {
	listen, err := freeAddress()
	if err != nil {
		return "", nil, err
	}
	p, err := l.start(ctx, "org-"+listen, l.exe, []string{"bench", "org", "--listen", listen, "--users", "10"}, nil)
	if err != nil {
		return "", nil, err
	}
	answers := func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listen+"/bench/status", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	if err := p.await(ctx, 10*time.Second, answers); err != nil {
		p.stop()
		return "", nil, err
	}
	return "http://" + listen, p, nil
}

// registerAs registers an instance of the generated org; the run reads it in full.
func (s *service) registerAs(ctx context.Context, id, orgURL string) error {
	type object = map[string]any
	_, err := s.call(ctx, http.MethodPost, "/v1/instance-events", s.trigger, object{"mode": "full", "instance": object{
		"id": id, "name": id, "accountId": id, "config": object{"oktaOrgUrl": orgURL, "oktaApiKey": orgToken},
	}})
	return err
}

// quiet returns how many instances each process owns, once all have read their org
// and have nothing to do.
func (s *service) quiet(ctx context.Context, instances int) (map[string]int, error) {
	answer, err := s.call(ctx, http.MethodGet, "/admin/instances", s.admin, nil)
	if err != nil {
		return nil, err
	}
	var all struct {
		Instances []struct {
			ID               string
			Whole            bool
			Owner            string
			Inbox, Refreshes int
		}
	}
	if err := json.Unmarshal(answer, &all); err != nil {
		return nil, err
	}
	owners := map[string]int{}
	for _, in := range all.Instances {
		if !in.Whole || in.Owner == "" || in.Inbox+in.Refreshes > 0 {
			return nil, fmt.Errorf("%s is not read yet: %+v", in.ID, in)
		}
		owners[in.Owner]++
	}
	if len(all.Instances) != instances {
		return nil, errors.New("not all instances are registered")
	}
	return owners, nil
}

// commands returns how often Redis executed each command since its statistics began.
func (r *redisServer) commands(ctx context.Context) (map[string]int64, error) {
	text, err := r.client.Info(ctx, "commandstats").Result()
	if err != nil {
		return nil, err
	}
	calls := map[string]int64{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		var n int64
		if _, err := fmt.Sscanf(rest, "%d", &n); err != nil {
			return nil, fmt.Errorf("command statistics of Redis: %w", err)
		}
		calls[name] = n
	}
	return calls, nil
}
