// Package graph is JupiterOne's graph model: entities, relationships, and the
// changes between two states of a graph. Standard library only.
package graph

import (
	"encoding/json"
	"maps"
)

// Properties are the values of an entity or relationship beside its key, type
// and class. A property without a value is left out, never null.
type Properties map[string]any

// Entity is a node.
type Entity struct {
	Key        string
	Type       string   // snake_case, as okta_user
	Class      []string // as User
	Properties Properties
}

// Relationship is an edge between two entities, or a mapped one.
type Relationship struct {
	Key        string
	Type       string
	Class      string // the verb, as HAS
	From, To   string // keys of the two ends; empty when Mapping is set
	Mapping    *Mapping
	Properties Properties
}

// Mapping says how JupiterOne finds the far end of a relationship that leads
// out of the entities we own.
type Mapping struct {
	SourceEntityKey       string     `json:"sourceEntityKey"`
	RelationshipDirection string     `json:"relationshipDirection"`
	TargetFilterKeys      [][]string `json:"targetFilterKeys"`
	TargetEntity          Properties `json:"targetEntity"`
	SkipTargetCreation    bool       `json:"skipTargetCreation"`
}

// Object is an entity or a relationship; exactly one is set.
type Object struct {
	Entity       *Entity       `json:"entity,omitempty"`
	Relationship *Relationship `json:"relationship,omitempty"`
}

// Key returns the _key of the object.
func (o Object) Key() string {
	if o.Entity != nil {
		return o.Entity.Key
	}
	return o.Relationship.Key
}

// MarshalJSON writes the properties beside _key, _type and _class, keys sorted:
// equal entities have equal JSON.
func (e Entity) MarshalJSON() ([]byte, error) {
	m := make(map[string]any, len(e.Properties)+3)
	maps.Copy(m, e.Properties)
	m["_key"], m["_type"], m["_class"] = e.Key, e.Type, e.Class
	return json.Marshal(m)
}

// MarshalJSON writes the properties beside the underscore fields, keys sorted.
func (r Relationship) MarshalJSON() ([]byte, error) {
	m := make(map[string]any, len(r.Properties)+6)
	maps.Copy(m, r.Properties)
	m["_key"], m["_type"], m["_class"] = r.Key, r.Type, r.Class
	if r.Mapping != nil {
		m["_mapping"] = r.Mapping
	} else {
		m["_fromEntityKey"], m["_toEntityKey"] = r.From, r.To
	}
	return json.Marshal(m)
}
