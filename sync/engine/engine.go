// Package engine keeps graphs in step with Okta orgs. Hook, read and list take
// one path: observations, merged atomically, whose changes readers follow.
package engine

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/oktasync/oktasync/sync/graph"
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
	Progress  map[string]Progress `json:"progress"` // by family: account, users, groups, apps, factors
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
	RedisURL      string        // empty: embedded, in memory
	SecretKey     []byte        // 32 bytes: seals tokens and hook secrets at rest
	Share         float64       // of a rate-limit bucket, default 0.5
	MaxInFlight   int           // calls to one org at once, default 10
	ReadMargin    time.Duration // default 1s
	ListAllowance time.Duration // default 30s
	AllowInsecure bool          // http and private addresses as org URL
	Log           *slog.Logger
}

// Engine works for all instances.
type Engine struct{}

// New opens the store. Close it after Run has returned.
func New(ctx context.Context, cfg Config) (*Engine, error) { panic("stub") }

// Close closes the store.
func (e *Engine) Close() error { panic("stub") }

// Embedded tells whether the state is in memory only.
func (e *Engine) Embedded() bool { panic("stub") }

// Run works until ctx ends, then returns nil once nothing is under way.
func (e *Engine) Run(ctx context.Context) error { panic("stub") }

// Ready returns nil when the store answers.
func (e *Engine) Ready(ctx context.Context) error { panic("stub") }

// Register adds or updates an instance.
func (e *Engine) Register(ctx context.Context, in Instance) error { panic("stub") }

// HookSecrets returns the secrets that deliveries of the instance may carry.
func (e *Engine) HookSecrets(ctx context.Context, instance string) ([]string, error) { panic("stub") }

// Accept stores a delivery in one atomic step. Once it returns nil the events
// survive a crash of the process.
func (e *Engine) Accept(ctx context.Context, instance string, d okta.Delivery) error { panic("stub") }

// StartRun starts a reconcile, or returns the one that is running.
func (e *Engine) StartRun(ctx context.Context, instance, mode, trigger string) (Run, error) {
	panic("stub")
}

// Instances, Instance, Runs (newest first) and RunByID tell the state.
func (e *Engine) Instances(ctx context.Context) ([]InstanceStatus, error)         { panic("stub") }
func (e *Engine) Instance(ctx context.Context, id string) (InstanceStatus, error) { panic("stub") }
func (e *Engine) Runs(ctx context.Context, instance string) ([]Run, error)        { panic("stub") }
func (e *Engine) RunByID(ctx context.Context, id string) (Run, error)             { panic("stub") }

// Graph yields every object of the graph, entities of a record before its edges.
func (e *Engine) Graph(ctx context.Context, instance string) iter.Seq2[graph.Object, error] {
	panic("stub")
}

// FeedChange is a change and its position in the feed.
type FeedChange struct {
	Position string
	Change   graph.Change
}

// Changes returns what follows the position, waiting up to wait for the first;
// nothing within that time is no error. The position "" is the oldest kept
// change, "$" the end: LastPosition resolves it.
func (e *Engine) Changes(ctx context.Context, instance, position string, wait time.Duration) ([]FeedChange, error) {
	panic("stub")
}

// LastPosition returns the position of the newest change.
func (e *Engine) LastPosition(ctx context.Context, instance string) (string, error) { panic("stub") }
