package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// orgToken is the API token of a generated org.
const orgToken = "the-token-of-a-generated-org"

// limits are the calls a minute that an org allows by rate-limit bucket; nil for none.
type limits map[string]int

// oktaLimits are the numbers that Okta last published for workforce orgs, in the buckets that
// were seen on an org: applications with all their lists in one, groups and their members, users
// and their factors.
var oktaLimits = limits{"apps": 100, "app": 500, "groups": 500, "group": 1000, "users": 600, "user": 2000, "logs": 120, "rest": 1200}

// concurrency is how many calls Okta answers at once, where it has limits.
const concurrency = 75

// parseLimits reads the flag of that name.
func parseLimits(name string) (limits, error) {
	switch name {
	case "none":
		return nil, nil
	case "okta":
		return oktaLimits, nil
	}
	return nil, fmt.Errorf("limits %q: there are none and okta", name)
}

// orgServer answers as the management API of Okta does, for what oktasync reads.
type orgServer struct {
	*org
	url     string
	latency time.Duration
	limits  limits

	calls    map[string]*atomic.Int64 // by family
	refused  atomic.Int64             // calls over a limit
	inFlight atomic.Int64
	requests atomic.Int64
	buffers  sync.Pool

	mu      sync.Mutex
	windows map[string]*window
	growths []growth
}

type window struct {
	start time.Time
	used  int
}

// growth is users that came.
type growth struct {
	From, To int   // From is the first of them, To the one behind the last
	At       int64 // ms: their creation, and its event's published
}

// families are what calls are counted by.
var families = []string{"account", "users", "groups", "members", "apps", "assignments", "factors", "user", "other", "logs"}

func newOrgServer(o *org, url string, latency time.Duration, l limits) *orgServer {
	s := &orgServer{org: o, url: url, latency: latency, limits: l, calls: map[string]*atomic.Int64{}, windows: map[string]*window{}}
	for _, f := range families {
		s.calls[f] = &atomic.Int64{}
	}
	s.buffers.New = func() any { return new([]byte) }
	return s
}

// orgStatus is what an org tells of itself.
type orgStatus struct {
	Users   int
	Calls   map[string]int64 // by family, since the last status that was asked to begin anew
	Refused int64            // of them over a limit
}

// grow adds users.
func (s *orgServer) grow(n int) growth {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.users()
	g := growth{from, from + n, time.Now().UnixMilli()}
	s.growths = append(s.growths, g)
	return g
}

// users returns how many there are. Call it with mu held.
func (s *orgServer) users() int {
	if n := len(s.growths); n > 0 {
		return s.growths[n-1].To
	}
	return s.base
}

// now returns how many users there are.
func (s *orgServer) now() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users()
}

// since returns when a user came, in ms; 0 for those who always were there.
func (s *orgServer) since(u int) int64 {
	if u < s.base {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, _ := slices.BinarySearchFunc(s.growths, u, func(g growth, u int) int { return g.To - u - 1 })
	return s.growths[i].At
}

// control answers the benchmark: what no org of Okta's has.
func (s *orgServer) control(w http.ResponseWriter, r *http.Request) {
	var answer any
	switch r.URL.Path {
	case "/bench/grow":
		n, err := strconv.Atoi(r.URL.Query().Get("users"))
		if err != nil || n < 1 {
			http.Error(w, "users must be a number above 0", http.StatusBadRequest)
			return
		}
		answer = s.grow(n)
	case "/bench/status":
		status := orgStatus{Users: s.now(), Calls: map[string]int64{}, Refused: s.refused.Load()}
		for f, n := range s.calls {
			status.Calls[f] = n.Load()
			if r.URL.Query().Has("anew") {
				n.Store(0)
			}
		}
		if r.URL.Query().Has("anew") {
			s.refused.Store(0)
		}
		answer = status
	default:
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(answer) // the benchmark may be gone
}

// refusal is an error of Okta's.
type refusal struct {
	status     int
	code, text string
}

var (
	errNotFound = &refusal{404, "E0000007", "Not found: Resource not found"}
	errPath     = &refusal{404, "E0000008", "The requested path was not found"}
	errToken    = &refusal{401, "E0000011", "Invalid token provided"}
	errLimit    = &refusal{429, "E0000047", "API call exceeded rate limit due to too many requests."}
	errFilter   = &refusal{400, "E0000053", "Invalid filter"}
	errQuery    = &refusal{400, "E0000001", "Api validation failed"}
	errMethod   = &refusal{405, "E0000022", "The endpoint does not support the provided HTTP method"}
)

// ServeHTTP answers a call.
func (s *orgServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/bench/") {
		s.control(w, r)
		return
	}
	h := w.Header()
	h.Set("X-Okta-Request-Id", "ZqBench"+strconv.FormatInt(s.requests.Add(1), 10))
	h.Set("Cache-Control", "no-cache, no-store")
	h.Set("Content-Type", "application/json")
	buffer := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buffer)
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/")
	s.calls[familyOf(path)].Add(1)
	body, next, refused := (*buffer)[:0], "", s.admit(h, path)
	if refused == nil {
		body, next, refused = s.answer(body, r, path)
	}
	if s.latency > 0 {
		select {
		case <-time.After(s.latency):
		case <-r.Context().Done():
		}
	}
	s.inFlight.Add(-1)
	status := http.StatusOK
	if refused != nil {
		if refused == errLimit {
			s.refused.Add(1)
		}
		status = refused.status
		body = fmt.Appendf(body[:0], `{"errorCode":%q,"errorSummary":%q,"errorLink":%q,"errorId":"oaeBench","errorCauses":[]}`, refused.code, refused.text, refused.code)
	} else if body[0] == '[' {
		h.Add("Link", "<"+s.url+r.URL.RequestURI()+`>; rel="self"`)
		if next != "" {
			h.Add("Link", "<"+next+`>; rel="next"`)
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
	*buffer = body
}

// familyOf tells what calls of a path are counted as.
func familyOf(path []string) string {
	switch {
	case path[0] == "users" && len(path) == 1:
		return "users"
	case path[0] == "users" && len(path) == 3 && path[2] == "factors":
		return "factors"
	case path[0] == "users" && len(path) == 2:
		return "user"
	case path[0] == "groups" && len(path) == 1:
		return "groups"
	case path[0] == "groups" && len(path) == 3:
		return "members"
	case path[0] == "apps" && len(path) == 1:
		return "apps"
	case path[0] == "apps" && len(path) == 3:
		return "assignments"
	case path[0] == "org":
		return "account"
	case path[0] == "logs":
		return "logs"
	}
	return "other"
}

// bucketOf returns the rate-limit bucket of a path.
func bucketOf(path []string) string {
	switch {
	case (path[0] == "users" || path[0] == "groups" || path[0] == "apps") && len(path) == 2:
		return strings.TrimSuffix(path[0], "s")
	case path[0] == "users" || path[0] == "groups" || path[0] == "apps" || path[0] == "logs":
		return path[0]
	}
	return "rest"
}

// admit counts a call against the limits, which each answer tells. Without limits the
// headers tell of many calls.
func (s *orgServer) admit(h http.Header, path []string) *refusal {
	set := func(limit, remaining int, reset int64) {
		h.Set("X-Rate-Limit-Limit", strconv.Itoa(limit))
		h.Set("X-Rate-Limit-Remaining", strconv.Itoa(remaining))
		h.Set("X-Rate-Limit-Reset", strconv.FormatInt(reset, 10))
	}
	now := time.Now()
	if n := s.inFlight.Add(1); s.limits != nil && n > concurrency {
		set(0, 0, now.Unix()+60) // a guess, as Okta's
		return errLimit
	}
	bucket := bucketOf(path)
	limit := 10_000_000
	if s.limits != nil {
		limit = s.limits[bucket]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.windows[bucket]
	if w == nil || now.Sub(w.start) >= time.Minute {
		w = &window{start: now}
		s.windows[bucket] = w
	}
	w.used++
	set(limit, max(limit-w.used, 0), w.start.Add(time.Minute).Unix()+1)
	if w.used > limit {
		return errLimit
	}
	return nil
}

// answer appends the answer to a call to b, and returns the link to the next page if
// there is one.
func (s *orgServer) answer(b []byte, r *http.Request, path []string) (body []byte, next string, refused *refusal) {
	if r.Header.Get("Authorization") != "SSWS "+orgToken {
		return b, "", errToken
	}
	if r.Method != http.MethodGet {
		return b, "", errMethod
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return b, "", errQuery
	}
	switch {
	case path[0] == "users":
		return s.answerUsers(b, r, path[1:], query)
	case path[0] == "groups":
		return s.answerGroups(b, r, path[1:], query)
	case path[0] == "apps":
		return s.answerApps(b, r, path[1:], query)
	case path[0] == "logs" && len(path) == 1:
		return s.answerLog(b, query)
	case slices.Equal(path, []string{"org", "privacy", "oktaSupport"}):
		return append(b, `{"support":"DISABLED","expiration":null,"_links":{}}`...), "", nil
	case slices.Equal(path, []string{"eventHooks"}):
		return append(b, "[]"...), "", nil
	}
	return b, "", errPath
}

// paged appends a page of a list of n items, of at most most.
func (s *orgServer) paged(b []byte, r *http.Request, query url.Values, n, most int, item func(b []byte, i int) []byte) ([]byte, string, *refusal) {
	limit, from := most, 0
	var err error
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 {
			return b, "", errQuery
		}
	}
	if text := query.Get("after"); text != "" {
		if from, err = strconv.Atoi(strings.TrimPrefix(text, "c")); err != nil || from < 0 || text[0] != 'c' {
			return b, "", errQuery
		}
	}
	to := min(from+min(limit, most), n)
	b = append(b, '[')
	for i := from; i < to; i++ {
		if i > from {
			b = append(b, ',')
		}
		b = item(b, i)
	}
	b = append(b, ']')
	if to >= n {
		return b, "", nil
	}
	query.Set("after", "c"+strconv.Itoa(to))
	return b, s.url + r.URL.Path + "?" + query.Encode(), nil
}

// named returns the objects of a filter by ids, as id eq "…" or id eq "…".
func named(filter, prefix string, n int) ([]int, *refusal) {
	var all []int
	for term := range strings.SplitSeq(filter, " or ") {
		text, ok := strings.CutPrefix(term, `id eq "`)
		text, closed := strings.CutSuffix(text, `"`)
		if !ok || !closed {
			return nil, errFilter
		}
		if i, ok := index(prefix, text, n); ok && !slices.Contains(all, i) {
			all = append(all, i)
		}
	}
	return all, nil
}

// changedSince reads the time of a filter as lastUpdated gt "…", which may be followed by
// other times, that are the same here.
func changedSince(filter string) (int64, *refusal) {
	rest, ok := strings.CutPrefix(filter, `lastUpdated gt "`)
	text, _, closed := strings.Cut(rest, `"`)
	t, err := time.Parse(time.RFC3339, text)
	if !ok || !closed || err != nil {
		return 0, errFilter
	}
	return t.UnixMilli(), nil
}

func (s *orgServer) answerUsers(b []byte, r *http.Request, path []string, query url.Values) ([]byte, string, *refusal) {
	n := s.now()
	appendOne := func(b []byte, u int) []byte { return appendUser(b, s.url, u, s.since(u)) }
	if len(path) == 0 {
		filter := query.Get("filter") + query.Get("search")
		if strings.HasPrefix(filter, "id eq ") {
			some, refused := named(filter, userPrefix, n)
			if refused != nil {
				return b, "", refused
			}
			return s.paged(b, r, query, len(some), 200, func(b []byte, i int) []byte { return appendOne(b, some[i]) })
		}
		since, refused := changedSince(filter) // a list without a filter, that lacks some, is not read
		if refused != nil {
			return b, "", refused
		}
		first := 0
		if since >= quietSince.UnixMilli() {
			for first = s.base; first < n && s.since(first) <= since; first++ {
			}
		}
		return s.paged(b, r, query, n-first, 200, func(b []byte, i int) []byte { return appendOne(b, first+i) })
	}
	u, ok := index(userPrefix, path[0], n)
	switch {
	case !ok:
		return b, "", errNotFound
	case len(path) == 1:
		return appendOne(b, u), "", nil
	case len(path) == 2 && path[1] == "groups":
		of := []int{0}
		for g := 1; g < len(s.groups); g++ {
			if s.isMember(g, u) {
				of = append(of, g)
			}
		}
		return s.paged(b, r, query, len(of), 200, func(b []byte, i int) []byte { return s.appendGroup(b, s.url, of[i], -1) })
	case len(path) == 2 && path[1] == "factors":
		b = append(b, '[')
		for j := range s.factorsOf(u) {
			if j > 0 {
				b = append(b, ',')
			}
			b = s.appendFactor(b, s.url, u, j)
		}
		return append(b, ']'), "", nil
	}
	return b, "", errPath
}

func (s *orgServer) answerGroups(b []byte, r *http.Request, path []string, query url.Values) ([]byte, string, *refusal) {
	stats := strings.Contains(query.Get("expand"), "stats")
	appendOne := func(b []byte, g int) []byte {
		members := -1
		switch {
		case stats && g == 0:
			members = s.now()
		case stats:
			members = s.groups[g]
		}
		return s.appendGroup(b, s.url, g, members)
	}
	if len(path) == 0 {
		n := len(s.groups)
		filter := query.Get("filter") + query.Get("search")
		switch {
		case filter == "":
		case filter == `type eq "BUILT_IN"`:
			n = 1
		case strings.HasPrefix(filter, "id eq "):
			some, refused := named(filter, groupPrefix, n)
			if refused != nil {
				return b, "", refused
			}
			return s.paged(b, r, query, len(some), 10_000, func(b []byte, i int) []byte { return appendOne(b, some[i]) })
		default:
			since, refused := changedSince(filter)
			if refused != nil {
				return b, "", refused
			}
			if since >= quietSince.UnixMilli() {
				n = 0
			}
		}
		return s.paged(b, r, query, n, 10_000, appendOne)
	}
	g, ok := index(groupPrefix, path[0], len(s.groups))
	switch {
	case !ok:
		return b, "", errNotFound
	case len(path) == 1:
		return appendOne(b, g), "", nil
	case len(path) == 2 && path[1] == "users" && g == 0:
		return s.paged(b, r, query, s.now(), 1000, func(b []byte, u int) []byte { return appendUser(b, s.url, u, s.since(u)) })
	case len(path) == 2 && path[1] == "users":
		return s.paged(b, r, query, s.groups[g], 1000, func(b []byte, j int) []byte { return appendUser(b, s.url, s.member(g, j), 0) })
	}
	return b, "", errPath
}

func (s *orgServer) answerApps(b []byte, r *http.Request, path []string, query url.Values) ([]byte, string, *refusal) {
	if len(path) == 0 {
		filter := query.Get("filter")
		if filter == "" {
			return s.paged(b, r, query, len(s.apps), 200, func(b []byte, a int) []byte { return s.appendApp(b, s.url, a, -1) })
		}
		text, ok := strings.CutPrefix(filter, `user.id eq "`)
		u, known := index(userPrefix, strings.TrimSuffix(text, `"`), s.now())
		if !ok || query.Get("expand") != "user/"+strings.TrimSuffix(text, `"`) {
			return b, "", errFilter
		}
		var of []int
		for a := range s.apps {
			if known && s.isAppUser(a, u) {
				of = append(of, a)
			}
		}
		return s.paged(b, r, query, len(of), 200, func(b []byte, i int) []byte { return s.appendApp(b, s.url, of[i], u) })
	}
	a, ok := index(appPrefix, path[0], len(s.apps))
	switch {
	case !ok:
		return b, "", errNotFound
	case len(path) == 1:
		return s.appendApp(b, s.url, a, -1), "", nil
	case len(path) == 2 && path[1] == "users":
		return s.paged(b, r, query, s.apps[a], 500, func(b []byte, j int) []byte { return s.appendAppUser(b, s.url, a, s.appUser(a, j)) })
	case len(path) == 2 && path[1] == "groups":
		return s.paged(b, r, query, s.groupsOfApp(a), 200, func(b []byte, j int) []byte { return s.appendAppGroup(b, s.url, a, j) })
	case len(path) == 3 && path[1] == "users":
		if u, ok := index(userPrefix, path[2], s.base); ok && s.isAppUser(a, u) {
			return s.appendAppUser(b, s.url, a, u), "", nil
		}
		return b, "", errNotFound
	case len(path) == 3 && path[1] == "groups":
		for j := range s.groupsOfApp(a) {
			if id(groupPrefix, s.appGroup(a, j)) == path[2] {
				return s.appendAppGroup(b, s.url, a, j), "", nil
			}
		}
		return b, "", errNotFound
	}
	return b, "", errPath
}

// answerLog tells the events of those who came. Its next link is there always. It heeds
// no filter: the one kind of event that it has is one that oktasync asks for.
func (s *orgServer) answerLog(b []byte, query url.Values) ([]byte, string, *refusal) {
	n := s.now()
	from := s.base
	if text := query.Get("after"); text != "" {
		i, err := strconv.Atoi(strings.TrimPrefix(text, "c"))
		if err != nil || i < s.base || i > n {
			return b, "", errQuery
		}
		from = i
	} else if since, err := time.Parse(time.RFC3339, query.Get("since")); err == nil {
		for from < n && s.since(from) < since.UnixMilli() {
			from++
		}
	}
	to := min(from+1000, n)
	b = append(b, '[')
	for u := from; u < to; u++ {
		if u > from {
			b = append(b, ',')
		}
		b = appendCreated(b, u, s.since(u))
	}
	query.Del("since")
	query.Set("after", "c"+strconv.Itoa(to))
	return append(b, ']'), s.url + "/api/v1/logs?" + query.Encode(), nil
}

// orgCmd serves a generated org until it is killed: a process of its own, so that its
// cost can be told from the service's.
type orgCmd struct {
	Listen  string        `default:"127.0.0.1:8091" help:"Address to listen on."`
	Shape   string        `default:"heavy" help:"How groups and applications are sized: heavy, bound."`
	Users   int           `default:"10000" help:"Users of the org."`
	Latency time.Duration `default:"0s" help:"How long each answer takes at least."`
	Limits  string        `default:"none" help:"Rate limits: none, or okta for those of Okta."`
}

// Run serves the org.
func (cmd orgCmd) Run(ctx context.Context, s Streams) error {
	o, err := newOrg(shape(cmd.Shape), cmd.Users)
	if err != nil {
		return err
	}
	l, err := parseLimits(cmd.Limits)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", cmd.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	server := &http.Server{Handler: newOrgServer(o, "http://"+listener.Addr().String(), cmd.Latency, l), ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	fmt.Fprintf(s.Out, "A generated org of %d users: http://%s, API token %s\n", cmd.Users, listener.Addr(), orgToken)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
