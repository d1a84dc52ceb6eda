package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/okta"
)

// Errors that callers tell apart.
var (
	ErrUnknownInstance = errors.New("no such instance")
	ErrUnknownRun      = errors.New("no such run")
	ErrUnavailable     = errors.New("the store does not answer")
	ErrStalePosition   = errors.New("the position is older than the kept changes")
)

// Instance is one Okta org and how to read it.
type Instance struct {
	ID          string
	Name        string
	AccountID   string // JupiterOne's account
	OrgURL      string
	Token       string   // the SSWS API token; encrypted at rest
	HookSecrets []string // at most two, for rotation; encrypted at rest
	Factors     bool     // read MFA factors
}

// InstanceStatus is what operators see of an instance: no secrets.
type InstanceStatus struct {
	ID          string           `json:"id"`
	Name        string           `json:"name"`
	AccountID   string           `json:"accountId"`
	OrgURL      string           `json:"oktaOrgUrl"`
	Factors     bool             `json:"factors"`
	Whole       bool             `json:"whole"`       // a full read ended and the graph caught up with its end
	Inbox       int64            `json:"inbox"`       // accepted events not yet applied
	Refreshes   int64            `json:"refreshes"`   // objects to read again
	DeadLetters int64            `json:"deadLetters"` // events that could not be understood
	Changes     int64            `json:"changes"`     // kept in the changes stream
	Records     map[string]int64 `json:"records"`     // by kind, tombstones included
	LastRun     *Run             `json:"lastRun,omitempty"`
	Problem     string           `json:"problem,omitempty"` // what keeps the instance from working, and the remedy
}

// RunState is where a run stands.
type RunState string

// The states of a run.
const (
	RunRunning    RunState = "running"
	RunSucceeded  RunState = "succeeded"
	RunIncomplete RunState = "incomplete" // ended, but some lists could not be read: Errors says which and why
)

// Run is one reconcile.
type Run struct {
	ID        string              `json:"id"`
	Instance  string              `json:"instance"`
	Mode      string              `json:"mode"`    // full
	Trigger   string              `json:"trigger"` // instance-event, resync
	State     RunState            `json:"state"`
	StartedAt time.Time           `json:"startedAt"`
	EndedAt   *time.Time          `json:"endedAt,omitempty"`
	Progress  map[string]Progress `json:"progress"` // by family: account, users, groups, members, apps, assignments, factors
	Changes   int64               `json:"changes"`  // records whose part of the graph the run changed
	Errors    []RunError          `json:"errors,omitempty"`
}

// Progress is how far one family of lists is.
type Progress struct {
	Done           int64 `json:"done"`            // lists read to their end
	Total          int64 `json:"total,omitempty"` // lists known so far
	Objects        int64 `json:"objects"`         // items read
	Calls          int64 `json:"calls"`           // API calls, retries included
	RateLimitWaits int64 `json:"rateLimitWaits"`  // times the limiter or a 429 made it wait
}

// RunError says which list could not be read, why, and what to do.
type RunError struct {
	Scope string `json:"scope"`
	Error string `json:"error"`
}

// Config is what an Engine is made of.
type Config struct {
	RedisURL      string           // empty: embedded, in memory
	SecretKey     []byte           // 32 bytes: seals tokens and hook secrets at rest
	Share         float64          // of a rate-limit bucket, default 0.5
	MaxInFlight   int              // calls to one org at once, default 10
	ReadMargin    time.Duration    // default 1s
	ListAllowance time.Duration    // default 30s
	AllowInsecure bool             // http and private addresses as org URL
	Clock         func() time.Time // the local clock; nil: time.Now
	Log           *slog.Logger
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	c.Share = cmp.Or(c.Share, 0.5)
	c.MaxInFlight = cmp.Or(c.MaxInFlight, 10)
	c.ReadMargin = cmp.Or(c.ReadMargin, time.Second)
	c.ListAllowance = cmp.Or(c.ListAllowance, 30*time.Second)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Engine works for all instances.
type Engine struct {
	cfg   Config
	store *state.Store
	seal  sealer

	changed chan struct{} // an instance was registered, or a run started
	mu      sync.Mutex
	orgs    map[string]*org // those at work
}

// New opens the store. Close it after Run has returned.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults()
	seal, err := newSealer(cfg.SecretKey, cfg.RedisURL == "")
	if err != nil {
		return nil, err
	}
	store, err := state.Open(ctx, cfg.RedisURL)
	if err != nil {
		return nil, err
	}
	return &Engine{cfg: cfg, store: store, seal: seal, changed: make(chan struct{}, 1), orgs: map[string]*org{}}, nil
}

// Close closes the store.
func (e *Engine) Close() error { return e.store.Close() }

// Embedded tells whether the state is in memory only.
func (e *Engine) Embedded() bool { return e.store.Embedded() }

// Ready returns nil when the store answers.
func (e *Engine) Ready(ctx context.Context) error { return unavailable(e.store.Ping(ctx)) }

// unavailable marks an error of the store.
func unavailable(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// look is how often the instances are looked at without being told of a change:
// another process may have registered one, or started a run.
const look = time.Second

// Run works until ctx ends, then returns nil once nothing is under way.
func (e *Engine) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		if err := e.employ(ctx, &group); err != nil && ctx.Err() == nil {
			e.cfg.Log.Error("instances cannot be read: is Redis running?", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.changed:
		case <-tick.C:
		}
	}
}

// employ sees to it that every instance has one org at work, with the settings it has now.
func (e *Engine) employ(ctx context.Context, group *sync.WaitGroup) error {
	ids, err := e.store.Instances(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		settings, err := e.store.Org(id).Instance(ctx)
		if errors.Is(err, state.ErrNotFound) {
			continue // its settings are gone: the others work on
		}
		if err != nil {
			return fmt.Errorf("instance %s: %w", id, err)
		}
		e.mu.Lock()
		old := e.orgs[id]
		e.mu.Unlock()
		if old != nil {
			if string(old.settings) == string(settings) {
				old.wake()
				continue
			}
			old.stop() // and wait: two must not work on one instance
			<-old.stopped
		}
		o := e.newOrg(ctx, id, settings)
		e.mu.Lock()
		e.orgs[id] = o
		e.mu.Unlock()
		group.Go(o.work)
	}
	return nil
}

// notify makes Run look at the instances now.
func (e *Engine) notify() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// Accept stores a delivery in one atomic step. Once it returns nil the events
// survive a crash of the process.
func (e *Engine) Accept(ctx context.Context, instance string, d okta.Delivery) error {
	return unavailable(accept(ctx, e.store.Org(instance), d))
}
