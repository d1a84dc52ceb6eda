package engine

import (
	"context"
	"errors"
	"time"
)

// Errors of what operators ask for.
var (
	ErrUnknownMode   = errors.New("no such mode of a reconcile")
	ErrUnknownObject = errors.New("not the id of a record or scope")
	ErrUnknownLetter = errors.New("no such dead letter")
	ErrNothingHeld   = errors.New("the run holds nothing to approve")
	ErrRunOver       = errors.New("the run is over")
	ErrFull          = errors.New("the store is nearly full")
)

// Modes are the ways to reconcile.
var Modes = []string{"full", "sweep", "incremental", "verify"}

// Start is what a run is to do.
type Start struct {
	Mode    string // one of Modes; "" is full
	Trigger string
	Object  string // one record or scope, as user/00u… or members/00g…; "" for all
	Force   bool   // lifts the brake
}

// DeadLetter is an event that could not be understood.
type DeadLetter struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at"` // when it became one, on the clock of Redis
	UUID      string    `json:"uuid,omitempty"`
	EventType string    `json:"eventType,omitempty"`
	Reason    string    `json:"reason"`
	// Event is the event as it came: of a single letter only, since it may
	// name people.
	Event []byte `json:"-"`
}

// Replayed is what became of dead letters.
type Replayed struct {
	Replayed int `json:"replayed"` // went back to the inbox
	Failed   int `json:"failed"`   // still cannot be understood, and stay
}

// Health is the state of what the service stands on.
type Health struct {
	Redis    RedisHealth `json:"redis"`
	Warnings []string    `json:"warnings,omitempty"` // what endangers a promise, and the remedy
}

// RedisHealth is what Redis tells of itself.
type RedisHealth struct {
	Embedded  bool    `json:"embedded,omitempty"` // in memory of this process
	Version   string  `json:"version,omitempty"`
	AOF       bool    `json:"aof"`
	Fsync     string  `json:"fsync,omitempty"`    // always, everysec, no; empty if Redis does not tell
	Eviction  string  `json:"eviction,omitempty"` // should be noeviction
	UsedBytes int64   `json:"usedBytes"`
	MaxBytes  int64   `json:"maxBytes,omitempty"` // 0: no limit of its own
	Used      float64 `json:"used"`               // share of the limit, 0 without one
}

var errNotBuilt = errors.New("not built yet")

// Cancel ends a run that works, or drops what a run that ended holds. It
// returns the run as it stands: its owner acts within a second.
func (e *Engine) Cancel(ctx context.Context, run string) (Run, error) { return Run{}, errNotBuilt }

// Approve lets what the run holds take effect: it merges as of its own time, so
// what was observed since wins. It returns the run as it stands: its owner
// acts within a second.
func (e *Engine) Approve(ctx context.Context, run string) (Run, error) { return Run{}, errNotBuilt }

// Pause stops all work on the instance but the acceptance of events.
func (e *Engine) Pause(ctx context.Context, instance string) error { return errNotBuilt }

// Resume ends a pause.
func (e *Engine) Resume(ctx context.Context, instance string) error { return errNotBuilt }

// Delete forgets an instance and all that is stored of it.
func (e *Engine) Delete(ctx context.Context, instance string) error { return errNotBuilt }

// DeadLetters returns up to limit dead letters, oldest first, after the one
// with the id after ("": from the first).
func (e *Engine) DeadLetters(ctx context.Context, instance, after string, limit int) ([]DeadLetter, error) {
	return nil, errNotBuilt
}

// DeadLetter returns one, with its event.
func (e *Engine) DeadLetter(ctx context.Context, instance, id string) (DeadLetter, error) {
	return DeadLetter{}, errNotBuilt
}

// Replay sends dead letters back to the inbox: those named, or all.
func (e *Engine) Replay(ctx context.Context, instance string, ids []string) (Replayed, error) {
	return Replayed{}, errNotBuilt
}

// Health looks at Redis: its persistence, eviction policy and memory.
func (e *Engine) Health(ctx context.Context) (Health, error) { return Health{}, errNotBuilt }
