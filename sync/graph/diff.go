package graph

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Diff returns the changes that make before into after, of which only Op and
// Object are set. Objects are the same by kind and key, and equal by their
// JSON; of a key that comes twice the first counts.
//
// The order is safe to apply: entities are created before relationships and
// deleted after them; within that, the order of the arguments is kept.
func Diff(before, after []Object) []Change {
	old, now := index(before), index(after)
	var entities, relationships, gone, goneEntities []Change
	for _, o := range now.order {
		was, known := old.json[o.id]
		op := Create
		if known {
			if bytes.Equal(was, now.json[o.id]) {
				continue
			}
			op = Update
		}
		if c := (Change{Op: op, Object: o.Object}); o.Entity != nil {
			entities = append(entities, c)
		} else {
			relationships = append(relationships, c)
		}
	}
	for _, o := range old.order {
		if _, kept := now.json[o.id]; kept {
			continue
		}
		if c := (Change{Op: Delete, Object: o.Object}); o.Entity != nil {
			goneEntities = append(goneEntities, c)
		} else {
			gone = append(gone, c)
		}
	}
	return append(append(append(entities, relationships...), gone...), goneEntities...)
}

// identity tells entities and relationships with one key apart.
type identity struct {
	entity bool
	key    string
}

type indexed struct {
	Object
	id identity
}

type objects struct {
	order []indexed
	json  map[identity][]byte
}

func index(list []Object) objects {
	all := objects{json: make(map[identity][]byte, len(list))}
	for _, o := range list {
		id := identity{o.Entity != nil, o.Key()}
		if _, twice := all.json[id]; twice {
			continue
		}
		b, err := json.Marshal(o)
		if err != nil { // a property that is no JSON value: a mistake in the program
			panic(fmt.Sprintf("graph: object %q: %v", o.Key(), err))
		}
		all.json[id] = b
		all.order = append(all.order, indexed{o, id})
	}
	return all
}
