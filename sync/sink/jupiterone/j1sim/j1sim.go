// Package j1sim is a simulated JupiterOne, for tests: the synchronization API and as
// much of the queries as a probe needs, as a real HTTP server on this machine. It
// refuses what JupiterOne is known, or said, to refuse; it fails when a test wants
// it to; and it records what a sender must never do. Nothing in it waits: a job goes
// on when it is polled.
package j1sim

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// ProbePrefix begins the scopes that may be emptied.
const ProbePrefix = "oktasync-probe:"

// maxPlain is how large a body may be, in bytes.
const maxPlain = 64 << 20

// Config is how the server behaves.
type Config struct {
	Account, Key string

	// MaxBody is how large an upload may be before compression, in bytes. 0: any size.
	MaxBody int
	// Polls is how often a job that is finalized must be polled until it goes on to
	// its next state. Default 1.
	Polls int
	// IgnorePartial: partialDatasets is not honoured; what was not uploaded goes.
	IgnorePartial bool
	// UploadedEndsOnly: a relationship finds its ends only among what its job uploaded.
	UploadedEndsOnly bool
	// Strange: a job is in the state UNKNOWN for a while.
	Strange bool
	// Lag is how many queries after a job still see the graph before it.
	Lag int
}

// Kind is what a request asks for.
type Kind string

// The kinds of requests.
const (
	StartJob      Kind = "start"
	JobStatus     Kind = "status"
	Entities      Kind = "entities"
	Relationships Kind = "relationships"
	Upload        Kind = "upload" // of both
	Finalize      Kind = "finalize"
	Abort         Kind = "abort"
	Query         Kind = "query"
)

// Request tells a request to a test.
type Request struct {
	N      int // of all, from 1
	OfKind int // of its kind, from 1
	Kind   Kind
}

// Fault is what goes wrong with a request.
type Fault int

// The faults.
const (
	None           Fault = iota
	TooMany              // 429
	TooManySeconds       // 429, come back in 7 seconds
	TooManyDate          // 429, come back at a date: in an hour
	Unavailable          // 503
	DropBefore           // the connection breaks before the request is looked at
	DropAfter            // the connection breaks after it was done
	TooLarge             // 413
	Forbidden            // 403
	Echo                 // 500 whose message tells the headers of the request
)

// Server is a simulated JupiterOne.
type Server struct {
	cfg  Config
	http *http.Server
	url  string
	done chan struct{}

	mu         sync.Mutex
	seen       map[Kind]int
	total      int
	fault      func(Request) Fault
	applied    func(Request)
	outcome    string
	jobs       []*job
	scopes     map[string]*scope
	mapped     map[string]*object // entities of the mapper, by our id
	nextID     int
	violations []string
	view       map[string]*scope // what queries see
	lag        int
}

// Job is a job as it is now.
type Job struct {
	ID, Source, Scope, Mode, Status string
	Entities, Relationships         int // uploaded
	Partial                         []string
	Correlations                    []string // of the uploads, in order, also those that failed
	Counters                        map[string]int
}

// Graph is what a scope holds: JSON with sorted names, by _key.
type Graph struct{ Entities, Relationships map[string]string }

// Start starts a server. Close ends it.
func Start(cfg Config) (*Server, error) {
	if cfg.Polls == 0 {
		cfg.Polls = 1
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("j1sim: %w", err)
	}
	s := &Server{
		cfg: cfg, url: "http://" + l.Addr().String(), done: make(chan struct{}),
		seen: map[Kind]int{}, scopes: map[string]*scope{}, mapped: map[string]*object{}, view: map[string]*scope{},
	}
	mux := http.NewServeMux()
	const jobs = "/persister/synchronization/jobs"
	for pattern, route := range map[string]struct {
		kind Kind
		do   func(*Server, *call) (any, error)
	}{
		"POST " + jobs:                         {StartJob, (*Server).start},
		"GET " + jobs + "/{id}":                {JobStatus, (*Server).status},
		"POST " + jobs + "/{id}/entities":      {Entities, (*Server).upload},
		"POST " + jobs + "/{id}/relationships": {Relationships, (*Server).upload},
		"POST " + jobs + "/{id}/upload":        {Upload, (*Server).upload},
		"POST " + jobs + "/{id}/finalize":      {Finalize, (*Server).finalize},
		"POST " + jobs + "/{id}/abort":         {Abort, (*Server).abort},
		"POST /graphql":                        {Query, (*Server).query},
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, route.kind, route.do) })
	}
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(l)
	}()
	return s, nil
}

// URL is the base URL of the API; queries go to its /graphql.
func (s *Server) URL() string { return s.url }

// Close ends the server and all its connections.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	return err
}

// Inject lets fault say what goes wrong with each request from now on. It is
// called before the request is looked at, by several at once. nil: nothing does.
func (s *Server) Inject(fault func(Request) Fault) { s.locked(func() { s.fault = fault }) }

// OnApplied calls do after each request was done, before it is answered.
func (s *Server) OnApplied(do func(Request)) { s.locked(func() { s.applied = do }) }

// EndAs lets jobs that are finalized from now on end in a state other than FINISHED,
// applied in nothing. "": FINISHED.
func (s *Server) EndAs(status string) { s.locked(func() { s.outcome = status }) }

// Forget lets the server forget a job.
func (s *Server) Forget(id string) {
	s.locked(func() { s.jobs = slices.DeleteFunc(s.jobs, func(j *job) bool { return j.id == id }) })
}

// Configure changes how the server behaves from now on.
func (s *Server) Configure(change func(*Config)) { s.locked(func() { change(&s.cfg) }) }

// Restart counts requests from 1 again.
func (s *Server) Restart() { s.locked(func() { s.total, s.seen = 0, map[Kind]int{} }) }

func (s *Server) locked(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

// Requests is how many requests there were, of the kinds, or of all if none is named.
func (s *Server) Requests(kinds ...Kind) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(kinds) == 0 {
		return s.total
	}
	n := 0
	for _, kind := range kinds {
		n += s.seen[kind]
	}
	return n
}

// Violations is what was done that a sender must never do.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// Jobs returns all jobs, the oldest first.
func (s *Server) Jobs() []Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Job
	for _, j := range s.jobs {
		all = append(all, Job{
			ID: j.id, Source: j.source, Scope: j.scope, Mode: j.mode, Status: j.status,
			Entities: len(j.entities), Relationships: len(j.relationships),
			Partial: slices.Sorted(maps.Keys(j.partial)), Correlations: slices.Clone(j.correlations),
			Counters: maps.Clone(j.counters),
		})
	}
	return all
}

// Graph returns what a scope of the source api holds.
func (s *Server) Graph(name string) Graph {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := Graph{map[string]string{}, map[string]string{}}
	if sc := s.scopes["api "+name]; sc != nil {
		for key, o := range sc.entities {
			g.Entities[key] = o.text
		}
		for key, r := range sc.relationships {
			g.Relationships[key] = r.text
		}
	}
	return g
}

// Mapped returns the entities that the mapper made and owns: JSON with sorted names.
func (s *Server) Mapped() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, o := range s.mapped {
		all = append(all, o.text)
	}
	slices.Sort(all)
	return all
}

// Put puts entities into a scope of another source, as other integrations do.
func (s *Server) Put(name string, entities ...map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := s.scope("integration-managed " + name)
	for _, e := range entities {
		o := newObject(e)
		sc.entities[o.key] = o
	}
}

// refusal is an answer that tells an error.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

func refuse(status int, code, format string, args ...any) error {
	return &refusal{status, code, fmt.Sprintf(format, args...)}
}

// call is a request whose body was read.
type call struct {
	id          string // of the job
	kind        Kind
	body        []byte
	correlation string
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, kind Kind, do func(*Server, *call) (any, error)) {
	s.mu.Lock()
	s.total++
	s.seen[kind]++
	request := Request{s.total, s.seen[kind], kind}
	fault, applied := s.fault, s.applied
	s.mu.Unlock()
	c := &call{id: r.PathValue("id"), kind: kind, correlation: r.Header.Get("JupiterOne-Correlation-Id")}
	body, err := read(r, kind)
	c.body = body
	f := None
	if fault != nil {
		f = fault(request)
	}
	answer, err := s.act(r, c, f, err, do)
	if applied != nil {
		applied(request)
	}
	if f == DropBefore || f == DropAfter {
		panic(http.ErrAbortHandler)
	}
	switch f {
	case TooManySeconds:
		w.Header().Set("Retry-After", "7")
	case TooManyDate:
		w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
	}
	w.Header().Set("Content-Type", "application/json")
	if refused := (*refusal)(nil); errors.As(err, &refused) {
		w.WriteHeader(refused.status)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": refused.code, "message": refused.message}})
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// act does what the request asks, unless something is wrong with it, or is to go
// wrong; and remembers what was not taken of an upload.
func (s *Server) act(r *http.Request, c *call, f Fault, err error, do func(*Server, *call) (any, error)) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch f {
	case TooMany, TooManySeconds, TooManyDate:
		err = refuse(http.StatusTooManyRequests, "TOO_MANY_REQUESTS", "slow down")
	case Unavailable:
		err = refuse(http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE", "try again later")
	case TooLarge:
		err = refuse(http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "request entity too large")
	case Forbidden:
		err = refuse(http.StatusForbidden, "FORBIDDEN", "the policy does not allow persister:Synchronize")
	case Echo:
		err = refuse(http.StatusInternalServerError, "INTERNAL", "%v", r.Header)
	case DropBefore:
		err = refuse(http.StatusBadGateway, "DROPPED", "")
	case None, DropAfter:
	}
	if err == nil {
		err = s.allowed(r)
	}
	var answer any
	if err == nil {
		answer, err = do(s, c)
	}
	if c.kind == Entities || c.kind == Relationships || c.kind == Upload {
		s.note(c, err)
	}
	return answer, err
}

// allowed checks the pair of headers.
func (s *Server) allowed(r *http.Request) error {
	if r.Header.Get("Authorization") != "Bearer "+s.cfg.Key || r.Header.Get("JupiterOne-Account") != s.cfg.Account {
		return refuse(http.StatusUnauthorized, "UNAUTHORIZED", "the key or the account is missing or wrong")
	}
	return nil
}

func read(r *http.Request, kind Kind) ([]byte, error) {
	if r.Method != http.MethodPost {
		return nil, nil
	}
	if r.Header.Get("Content-Type") != "application/json" {
		return nil, refuse(http.StatusBadRequest, "BAD_REQUEST", "the content type must be application/json")
	}
	var in io.Reader = r.Body
	switch encoding := r.Header.Get("Content-Encoding"); {
	case encoding == "gzip" && (kind == Entities || kind == Relationships):
		zip, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "BAD_REQUEST", "gzip: %v", err)
		}
		in = zip
	case encoding != "":
		return nil, refuse(http.StatusBadRequest, "BAD_REQUEST", "the encoding %q is not taken here", encoding)
	}
	b, err := io.ReadAll(io.LimitReader(in, maxPlain+1))
	if err != nil || len(b) > maxPlain {
		return nil, refuse(http.StatusBadRequest, "BAD_REQUEST", "the body cannot be read: %v", err)
	}
	return b, nil
}

// decode reads JSON strictly: one value, numbers as they are.
func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return refuse(http.StatusBadRequest, "BAD_REQUEST", "%v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return refuse(http.StatusBadRequest, "BAD_REQUEST", "something follows the JSON")
	}
	return nil
}

// violate records what a sender must never do.
func (s *Server) violate(format string, args ...any) {
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

// mayBeEmptied tells whether a scope may be emptied.
func mayBeEmptied(scope string) bool { return strings.HasPrefix(scope, ProbePrefix) }
