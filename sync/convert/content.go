package convert

import (
	"encoding/json"
	"fmt"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/record"
)

// content is record.Content as it is read back: what an entity is, is known.
type content struct {
	Entity     *graph.Entity    `json:"entity"`
	Properties graph.Properties `json:"properties"`
	Person     *graph.Entity    `json:"person"`
	PersonKey  string           `json:"personKey"`
	Everyone   bool             `json:"everyone"`
}

// present is the observation of something that Okta showed. The caller adds the
// version and the cause.
func present(id record.ID, c record.Content) record.Observation {
	b, err := json.Marshal(c)
	if err != nil { // every value was checked before it became a property
		panic(fmt.Sprintf("convert: content of a %s: %v", id.Kind(), err))
	}
	return record.Observation{ID: id, Present: true, Content: b}
}

// Gone is the observation that Okta has no such object any more.
func Gone(id record.ID) record.Observation { return record.Observation{ID: id} }
