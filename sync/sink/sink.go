// Package sink delivers graphs to their destinations: it declares what a
// destination must be able to do, follows the changes for it, retries, and
// tells how far it is. One package beside this one for each destination.
package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/oktasync/oktasync/sync/graph"
)

// Sink is a destination. It may be given the same changes twice and must not
// mind: an answer may be lost, or the process end before the position is kept.
// For one instance its methods are called one at a time within a process; a
// process that lost the instance may still be at its last call when another
// begins.
type Sink interface {
	// Name tells the sink from others in the state, the metrics and the log: it
	// holds no secret, and stays the same from start to start.
	Name() string

	// Position returns up to where the destination holds the graph of the
	// instance: what Apply or Replace was last given, or "" if it holds none.
	Position(ctx context.Context, in Instance) (string, error)

	// Window is how long changes are collected, from the first that is not
	// delivered, before Apply gets them. Zero: at once.
	Window(ctx context.Context, in Instance) (time.Duration, error)

	// Apply brings changes that lead from Position to b.Position. It returns
	// ErrSnapshot if it wants a snapshot in their place.
	Apply(ctx context.Context, in Instance, b Batch) error

	// Replace makes the destination hold what the snapshot leads to, and
	// nothing else of the instance; all of it or nothing. force lifts what
	// guards the destination against losing much at once.
	Replace(ctx context.Context, in Instance, s Snapshot, force bool) error

	// Forget removes what a local destination holds of an instance that an
	// operator deleted. A remote destination keeps it.
	Forget(ctx context.Context, id string) error

	Close() error
}

// Instance is whose graph it is.
type Instance struct {
	ID        string
	Name      string
	AccountID string // JupiterOne's account; may be empty
	OrgHost   string // of the Okta org, as acme.okta.com
	Memory    Memory
}

// Memory is what a sink that cannot keep its position with its data has in our
// own store. It is lost when that store is: then a snapshot is due in any case.
type Memory interface {
	Load(ctx context.Context) (Note, error)

	// Save returns an error once another process works for the instance: then
	// whoever called must not go on.
	Save(ctx context.Context, n Note) error
}

// Note is what a sink remembers of an instance. Operators see it.
type Note struct {
	Position string           `json:"position,omitempty"`
	Counters map[string]int64 `json:"counters,omitempty"` // of the last delivery; they become metrics
	Data     json.RawMessage  `json:"data,omitempty"`     // the sink's own
}

// Batch is a run of changes in order.
type Batch struct {
	Changes  []graph.Change
	At       []time.Time // when each of them took effect; for metrics, may be left out
	Position string      // after the last of them
}

// Snapshot is a graph as changes that build it from nothing. First come creates;
// then what changed while those were read, in order: an object may be
// created again, which replaces it, and an unknown one may be deleted.
type Snapshot struct {
	// Changes can be ranged over once. After an error the snapshot is void.
	Changes iter.Seq2[graph.Change, error]

	// Position is that of the graph that all the changes lead to. It is known
	// once they have been read to their end.
	Position func() string
}

// ErrSnapshot is what Apply returns when it wants a snapshot.
var ErrSnapshot = errors.New("a snapshot is wanted")

// permanentError is one that no retry cures.
type permanentError struct{ err error }

func (e permanentError) Error() string { return e.err.Error() }
func (e permanentError) Unwrap() error { return e.err }

// Permanent marks an error that no retry cures. The sink stops until an operator
// asks for a snapshot, or the service is started again.
func Permanent(err error) error { return permanentError{err} }

// IsPermanent tells whether an error was marked by Permanent.
func IsPermanent(err error) bool {
	var permanent permanentError
	return errors.As(err, &permanent)
}

// laterError is one that tells when to try again.
type laterError struct {
	err   error
	after time.Duration
}

func (e laterError) Error() string {
	return fmt.Sprintf("%v (to be tried again after %s)", e.err, e.after)
}
func (e laterError) Unwrap() error { return e.err }

// After marks an error whose source said when to try again.
func After(d time.Duration, err error) error { return laterError{err, d} }
