package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setting is one org, with all that reads it.
type setting struct {
	shape   shape
	users   int
	latency time.Duration
	limits  string
	factors bool
	sinks   string
}

// stand is a redis-server, a generated org and the service, as processes.
type stand struct {
	setting
	org     *org
	orgURL  string
	server  *process
	redis   *redisServer
	service *service
	empty   int64 // bytes that Redis used before
}

// startStand starts all three. Stop it.
func (l *lab) startStand(ctx context.Context, s setting) (*stand, error) {
	o, err := newOrg(s.shape, s.users)
	if err != nil {
		return nil, err
	}
	st := &stand{setting: s, org: o}
	ready := false
	defer func() {
		if !ready {
			st.stop()
		}
	}()
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	st.orgURL = "http://" + address
	if st.server, err = l.start(ctx, "org-"+address, l.exe, []string{"bench", "org", "--listen", address, "--shape", string(s.shape),
		"--users", strconv.Itoa(s.users), "--latency", s.latency.String(), "--limits", s.limits}, nil); err != nil {
		return nil, err
	}
	if err := st.server.await(ctx, 15*time.Second, func(ctx context.Context) error {
		_, err := st.status(ctx, false)
		return err
	}); err != nil {
		return nil, err
	}
	if st.redis, err = l.startRedis(ctx); err != nil {
		return nil, err
	}
	if st.service, err = l.startService(ctx, st.redis.url, "OKTASYNC_SINKS="+s.sinks); err != nil {
		return nil, err
	}
	if st.empty, err = st.redis.info(ctx, "used_memory"); err != nil {
		return nil, err
	}
	ready = true
	return st, nil
}

// startRead is startStand, and a first full reconcile.
func (l *lab) startRead(ctx context.Context, s setting) (st *stand, r reading, err error) {
	if st, err = l.startStand(ctx, s); err != nil {
		return nil, reading{}, err
	}
	l.note("%d users are read", s.users)
	if r, err = st.reconcile(ctx, "full", func(run) {}); err != nil {
		st.stop()
		return nil, reading{}, err
	}
	return st, r, nil
}

func (st *stand) stop() {
	if st.service != nil {
		st.service.stop()
	}
	if st.redis != nil {
		st.redis.stop()
	}
	if st.server != nil {
		st.server.stop()
	}
}

// fetch reads JSON.
func fetch(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// status asks the org how often it was called; with anew the count begins anew.
func (st *stand) status(ctx context.Context, anew bool) (s orgStatus, err error) {
	url := st.orgURL + "/bench/status"
	if anew {
		url += "?anew"
	}
	return s, fetch(ctx, url, &s)
}

// spent is what all three have used.
type spent struct{ service, redis, org usage }

func (st *stand) spent() (s spent, err error) {
	if s.service, err = st.service.usage(); err != nil {
		return s, err
	}
	if s.redis, err = st.redis.usage(); err != nil {
		return s, err
	}
	s.org, err = st.server.usage()
	return s, err
}

func (s spent) since(earlier spent) spent {
	return spent{s.service.since(earlier.service), s.redis.since(earlier.redis), s.org.since(earlier.org)}
}

// run is a reconcile as the service tells of it.
type run struct {
	ID        string
	Mode      string
	State     string
	StartedAt time.Time
	EndedAt   *time.Time
	Changes   int64
	Errors    []struct{ Scope, Error string }
	Progress  map[string]struct{ Objects, Calls, RateLimitWaits int64 }
}

// reading is what a reconcile did and cost.
type reading struct {
	run
	wall    time.Duration
	calls   map[string]int64 // that reached the org, by family
	records int64            // that the service holds afterwards
	spent   spent
	average int64         // bytes resident in the service, on average of many looks
	memory  int64         // bytes that Redis used more, all in all
	waited  time.Duration // 99 of a hundred PINGs of Redis took at most that: what an event has to wait there
}

// callsOfLists are the calls that the formula counts; the rest are those for the System
// Log, the hook, and single objects.
func (r reading) callsOfLists() (lists, rest int64) {
	for family, n := range r.calls {
		switch family {
		case "user", "other", "logs":
			rest += n
		default:
			lists += n
		}
	}
	return lists, rest
}

// reconcile starts a run and waits for its end, or that of ctx: then the run has no
// EndedAt. each is called at every look at it.
func (st *stand) reconcile(ctx context.Context, mode string, each func(run)) (r reading, err error) {
	if _, err := st.status(ctx, true); err != nil {
		return r, err
	}
	if err := st.service.resetPeak(); err != nil {
		return r, err
	}
	before, err := st.spent()
	if err != nil {
		return r, err
	}
	id, err := st.service.register(ctx, st.orgURL, orgToken, mode, st.factors)
	if err != nil {
		return r, err
	}
	pinging, stopPinging := context.WithCancel(ctx)
	defer stopPinging()
	pinged := make(chan []time.Duration, 1)
	go func() { pinged <- st.redis.ping(pinging) }()
	var sum, looks int64
	for r.EndedAt == nil && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-st.service.done:
			return r, fmt.Errorf("%s: %w:\n%s", st.service.name, errDied, st.service.lab.tail(st.service.name))
		case <-time.After(100 * time.Millisecond):
		}
		u, err := st.service.usage()
		if err != nil {
			return r, err
		}
		sum, looks = sum+u.rss, looks+1
		answer, err := st.service.call(context.WithoutCancel(ctx), http.MethodGet, "/admin/runs/"+id, st.service.admin, nil)
		if err != nil {
			return r, err
		}
		if err := json.Unmarshal(answer, &r.run); err != nil {
			return r, err
		}
		each(r.run)
	}
	ctx = context.WithoutCancel(ctx)
	stopPinging()
	r.waited = percentile(<-pinged, 99)
	after, err := st.spent()
	if err != nil {
		return r, err
	}
	end := time.Now()
	if r.EndedAt != nil {
		end = *r.EndedAt
	}
	r.wall, r.spent, r.average = end.Sub(r.StartedAt), after.since(before), sum/looks
	status, err := st.status(ctx, false)
	if err != nil {
		return r, err
	}
	r.calls = status.Calls
	used, err := st.redis.info(ctx, "used_memory")
	if err != nil {
		return r, err
	}
	r.memory = used - st.empty
	records, err := st.records(ctx)
	if err != nil {
		return r, err
	}
	for _, n := range records {
		r.records += n
	}
	return r, nil
}

// ping asks Redis for a sign of life fifty times a second until ctx ends, and returns how
// long each took.
func (r *redisServer) ping(ctx context.Context) (took []time.Duration) {
	for ctx.Err() == nil {
		start := time.Now()
		if r.client.Ping(ctx).Err() == nil {
			took = append(took, time.Since(start))
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return took
}

// overview is the state of the instance, as the service tells it.
type overview struct {
	Records   map[string]int64
	Inbox     int64
	Refreshes int64
	Whole     bool
	Problem   string
	Log       struct{ Events int64 }
}

func (st *stand) overview(ctx context.Context) (v overview, err error) {
	answer, err := st.service.call(ctx, http.MethodGet, "/admin/instances/"+instance, st.service.admin, nil)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(answer, &v)
}

// records returns how many the service holds, by kind.
func (st *stand) records(ctx context.Context) (map[string]int64, error) {
	v, err := st.overview(ctx)
	return v.Records, err
}

// complete returns an error if the service does not hold what the org has.
func (st *stand) complete(ctx context.Context, r reading) error {
	if r.State != "succeeded" || len(r.Errors) > 0 {
		return fmt.Errorf("the run ended as %s, with %d errors: %v", r.State, len(r.Errors), r.Errors[:min(3, len(r.Errors))])
	}
	got, err := st.records(ctx)
	if err != nil {
		return err
	}
	for kind, n := range st.org.records(st.factors) {
		if got[kind] != int64(n) {
			return fmt.Errorf("after the run there are %d records of kind %s, the org has %d", got[kind], kind, n)
		}
	}
	return nil
}

// profile keeps profiles of the service, and what Redis says of its commands, in a
// folder; it begins at once and takes the time given.
func (st *stand) profile(ctx context.Context, dir, name string, length time.Duration) error {
	get := func(path, file string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, st.service.metrics+path, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return fmt.Errorf("profile the service: %w", err)
		}
		defer resp.Body.Close()
		f, err := os.Create(filepath.Join(dir, name+"-"+file))
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(f, resp.Body)
		return err
	}
	if err := get("/debug/pprof/profile?seconds="+strconv.Itoa(int(length.Seconds())), "cpu.pprof"); err != nil {
		return err
	}
	if err := get("/debug/pprof/heap", "heap.pprof"); err != nil {
		return err
	}
	var told strings.Builder
	for _, section := range []string{"commandstats", "latencystats", "memory"} {
		text, err := st.redis.client.Info(ctx, section).Result()
		if err != nil {
			return err
		}
		told.WriteString(text)
	}
	slow, err := st.redis.client.SlowLogGet(ctx, 20).Result()
	if err != nil {
		return err
	}
	for _, s := range slow {
		fmt.Fprintf(&told, "slowlog: %s %.80q\n", s.Duration, s.Args)
	}
	return os.WriteFile(filepath.Join(dir, name+"-redis.txt"), []byte(told.String()), 0o600)
}

// share is memory of Redis that one kind of keys takes.
type share struct {
	keys, bytes int64
	measured    int64 // of the keys; the rest is estimated
}

// Beyond so many keys of one kind, one in thinned is measured and stands for the others.
const (
	measuredAll = 100_000
	thinned     = 16
)

// memoryByPrefix asks Redis what its keys take, by what their names begin with, as rec:members.
func (r *redisServer) memoryByPrefix(ctx context.Context) (map[string]share, error) {
	all := map[string]share{}
	for at := uint64(0); ; {
		keys, next, err := r.client.Scan(ctx, at, "oktasync:{"+instance+"}:*", 1000).Result()
		if err != nil {
			return nil, err
		}
		pipe := r.client.Pipeline()
		var prefixes []string
		for _, key := range keys {
			name := key[strings.IndexByte(key, '}')+2:]
			prefix, _, _ := strings.Cut(name, "/")
			if kind, _, ok := strings.Cut(name, ":"); ok && (kind == "seen" || kind == "shared") {
				prefix = kind // what follows is an id
			}
			s := all[prefix]
			if s.keys++; s.keys <= measuredAll || s.keys%thinned == 0 {
				pipe.MemoryUsage(ctx, key, 100)
				prefixes = append(prefixes, prefix)
			}
			all[prefix] = s
		}
		answers, err := pipe.Exec(ctx)
		if err != nil && len(prefixes) > 0 {
			return nil, fmt.Errorf("measure the keys of Redis: %w", err)
		}
		for i, answer := range answers {
			n, err := strconv.ParseInt(strings.TrimSpace(answer.String()[strings.LastIndexByte(answer.String(), ':')+1:]), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("measure the keys of Redis: %s", answer)
			}
			s := all[prefixes[i]]
			s.measured++
			if s.keys > measuredAll {
				n *= thinned
			}
			s.bytes += n
			all[prefixes[i]] = s
		}
		if at = next; at == 0 {
			return all, nil
		}
	}
}

// kindsOf says which keys hold records of which kind, and indexes of them.
var kindsOf = map[string]string{
	"rec:users": "user", "content:users": "user", "shared": "user",
	"rec:groups": "group", "content:groups": "group", "rec:apps": "app", "content:apps": "app",
	"rec:members": "member", "rec:appusers": "appuser", "rec:appgroups": "appgroup", "rec:factors": "factor",
	"hang:group": "appgroup", "changes": "changes",
}

// memoryByKind lays the memory of keys on the kinds of records. An index over a user's
// memberships and assignments is laid on both by their number.
func memoryByKind(prefixes map[string]share, records map[string]int64) map[string]int64 {
	kinds := map[string]int64{}
	for prefix, s := range prefixes {
		if prefix == "hang:user" {
			if both := records["member"] + records["appuser"]; both > 0 {
				of := s.bytes * records["member"] / both
				kinds["member"] += of
				kinds["appuser"] += s.bytes - of
			}
			continue
		}
		kinds[cmp.Or(kindsOf[prefix], "rest")] += s.bytes
	}
	return kinds
}

// sortedKeys returns the keys by name.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
