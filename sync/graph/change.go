package graph

import "time"

// Op is what happened to an object.
type Op string

// The operations of changes.
const (
	Create Op = "create"
	Update Op = "update"
	Delete Op = "delete"
)

// Change is the difference that one observation made to one object. Of a
// delete, the object is what it was before.
type Change struct {
	Op Op `json:"op"`
	Object
	AsOf   time.Time `json:"asOf"`   // on Okta's clock
	Source string    `json:"source"` // hook, log, read, reconcile
	Cause  string    `json:"cause"`  // the uuid of an event, or the id of a run
}
