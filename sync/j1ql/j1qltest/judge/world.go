package judge

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/j1ql"
)

// Graph is what a query is asked of. Keys of entities are unique, and so are
// those of relationships.
type Graph struct {
	Entities      []graph.Entity
	Relationships []graph.Relationship
}

// Object is an entity or a relationship; one of both is set.
type Object struct {
	Key          string
	Entity       *graph.Entity
	Relationship *graph.Relationship
}

// maxPaths bounds how many paths are tried.
const maxPaths = 2_000_000

var errTooManyPaths = errors.New("the query has more than 2 million paths in this graph: make one of both smaller")

// world is a graph in which one can walk.
type world struct {
	entities []*Object // by key
	edges    []edge    // those with both ends, by key
	own      map[*Object]map[string]any
	ends     map[*Object]edge
}

// edge is a relationship with both its ends.
type edge struct{ object, from, to *Object }

func newWorld(g Graph) (*world, error) {
	w := &world{own: map[*Object]map[string]any{}, ends: map[*Object]edge{}}
	byKey := map[string]*Object{}
	for i := range g.Entities {
		e := &g.Entities[i]
		if byKey[e.Key] != nil {
			return nil, fmt.Errorf("entity %q is twice in the graph", e.Key)
		}
		o := &Object{Key: e.Key, Entity: e}
		byKey[e.Key] = o
		w.entities = append(w.entities, o)
		if err := w.keep(o, e.Properties); err != nil {
			return nil, err
		}
	}
	known := map[string]bool{}
	for i := range g.Relationships {
		r := &g.Relationships[i]
		if known[r.Key] {
			return nil, fmt.Errorf("relationship %q is twice in the graph", r.Key)
		}
		known[r.Key] = true
		from, to := endsOf(r)
		e := edge{&Object{Key: r.Key, Relationship: r}, byKey[from], byKey[to]}
		if e.from == nil || e.to == nil {
			continue
		}
		w.edges = append(w.edges, e)
		w.ends[e.object] = e
		if err := w.keep(e.object, r.Properties); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(w.entities, byObjectKey)
	slices.SortFunc(w.edges, func(a, b edge) int { return byObjectKey(a.object, b.object) })
	return w, nil
}

func byObjectKey(a, b *Object) int { return cmp.Compare(a.Key, b.Key) }

// keep notes the properties that are not absent, as JSON has them.
func (w *world) keep(o *Object, p graph.Properties) error {
	properties, err := plainProperties(p)
	if err != nil {
		return fmt.Errorf("object %q: %w", o.Key, err)
	}
	w.own[o] = properties
	return nil
}

// endsOf returns the keys of the entities that a relationship leads from and to.
func endsOf(r *graph.Relationship) (from, to string) {
	m := r.Mapping
	if m == nil {
		return r.From, r.To
	}
	target := asText(m.TargetEntity["_key"])
	if target == "" {
		var values []string
		if len(m.TargetFilterKeys) > 0 {
			for _, name := range m.TargetFilterKeys[0] {
				if name != "_type" {
					values = append(values, asText(m.TargetEntity[name]))
				}
			}
		}
		target = asText(m.TargetEntity["_type"]) + ":" + strings.Join(values, "|")
	}
	if m.RelationshipDirection == "REVERSE" {
		return target, m.SourceEntityKey
	}
	return m.SourceEntityKey, target
}

// asText is a text as it is, what is absent as the empty text, other values as JSON.
func asText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	return jsonOf(v)
}

// property returns a property, or a metadata property, of an object; nil if it is
// absent, as all are of no object.
func (w *world) property(o *Object, name string) any {
	if o == nil {
		return nil
	}
	if strings.HasPrefix(name, "_") {
		return w.metadata(o)[name]
	}
	return w.own[o][name]
}

func (w *world) metadata(o *Object) map[string]any {
	if e := o.Entity; e != nil {
		classes := []any{}
		for _, class := range e.Class {
			classes = append(classes, class)
		}
		return map[string]any{"_key": e.Key, "_id": e.Key, "_type": e.Type, "_class": classes}
	}
	r, ends := o.Relationship, w.ends[o]
	return map[string]any{
		"_key": r.Key, "_id": r.Key, "_type": r.Type, "_class": r.Class,
		"_fromEntityKey": ends.from.Key, "_toEntityKey": ends.to.Key,
	}
}

// all returns u.*: the properties and the metadata of an object.
func (w *world) all(o *Object) map[string]any {
	all := w.metadata(o)
	for name, v := range w.own[o] {
		if !strings.HasPrefix(name, "_") {
			all[name] = v
		}
	}
	return all
}

// matches tells whether a node of the query means the entity.
func (w *world) matches(o *Object, n j1ql.Node) (bool, error) {
	var named bool
	switch {
	case n.All:
		named = true
	case len(n.Names) > 0:
		named = slices.ContainsFunc(n.Names, func(name string) bool {
			if 'A' <= name[0] && name[0] <= 'Z' {
				return slices.Contains(o.Entity.Class, name)
			}
			return o.Entity.Type == name
		})
	default:
		named = w.hasText(o, n.Text)
	}
	if !named || n.Filter == nil {
		return named, nil
	}
	return w.passes(*n.Filter, func(j1ql.Binding) *Object { return o })
}

func (w *world) hasText(o *Object, text string) bool {
	for name, v := range w.own[o] {
		if strings.HasPrefix(name, "_") {
			continue
		}
		for _, element := range elements(v) {
			if s, ok := element.(string); ok && strings.Contains(lower(s), lower(text)) {
				return true
			}
		}
	}
	return false
}

// lower lowers ASCII letters only.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// path is what one path binds, by Binding: nil is absent. At is the entity reached last.
type path struct {
	bound []*Object
	at    *Object
}

// to returns the path with the entity reached last, which is bound as b.
func (p path) to(at *Object, b j1ql.Binding) path {
	bound := slices.Clone(p.bound)
	bound[b] = at
	return path{bound, at}
}

// paths returns all paths of the query that satisfy WHERE.
func (w *world) paths(q *j1ql.Query) ([]path, error) {
	count, err := countBindings(q)
	if err != nil {
		return nil, err
	}
	none := path{bound: make([]*Object, count)}
	var paths []path
	for _, o := range w.entities {
		ok, err := w.matches(o, q.Start)
		if err != nil {
			return nil, err
		}
		if ok {
			paths = append(paths, none.to(o, q.Start.Binding))
		}
	}
	if paths, err = w.walk(paths, q.Steps); err != nil || q.Where == nil {
		return paths, err
	}
	var satisfying []path
	for _, p := range paths {
		ok, err := w.passes(*q.Where, func(b j1ql.Binding) *Object { return p.bound[b] })
		if err != nil {
			return nil, err
		}
		if ok {
			satisfying = append(satisfying, p)
		}
	}
	return satisfying, nil
}

// walk leads each path through the steps.
func (w *world) walk(paths []path, steps []j1ql.Step) ([]path, error) {
	for _, s := range steps {
		var next []path
		for _, p := range paths {
			more, err := w.step(p, s)
			if err != nil {
				return nil, err
			}
			if next = append(next, more...); len(next) > maxPaths {
				return nil, errTooManyPaths
			}
		}
		paths = next
	}
	return paths, nil
}

func (w *world) step(p path, s j1ql.Step) ([]path, error) {
	switch {
	case s.Optional != nil:
		with, err := w.walk([]path{p}, s.Optional.Steps)
		if err != nil {
			return nil, err
		}
		b := s.Optional.Binding
		paths := []path{p.to(p.at, b)}
		for _, reached := range with {
			paths = append(paths, reached.to(reached.at, b))
		}
		return paths, nil
	case s.That.Negated:
		hops, err := w.hops(p.at, *s.That, j1ql.Either)
		if err != nil || len(hops) > 0 {
			return nil, err
		}
		return []path{p}, nil
	}
	hops, err := w.hops(p.at, *s.That, s.That.Direction)
	var paths []path
	for _, h := range hops {
		reached := p.to(h.to, s.That.Node.Binding)
		reached.bound[s.That.Edge] = h.edge
		paths = append(paths, reached)
	}
	return paths, err
}

type hop struct{ edge, to *Object }

// hops returns the edges of the step at an entity, each with its other end.
func (w *world) hops(at *Object, t j1ql.That, direction j1ql.Direction) ([]hop, error) {
	var hops []hop
	for _, e := range w.edges {
		if len(t.Verbs) > 0 && !slices.Contains(t.Verbs, e.object.Relationship.Class) {
			continue
		}
		var to *Object
		switch {
		case e.from == at && direction != j1ql.Backward:
			to = e.to
		case e.to == at && direction != j1ql.Forward:
			to = e.from
		default:
			continue
		}
		ok, err := w.matches(to, t.Node)
		if err != nil {
			return nil, err
		}
		if ok {
			hops = append(hops, hop{e.object, to})
		}
	}
	return hops, nil
}

// countBindings returns how many bindings the query has; an error if they are not
// numbered as Binding says.
func countBindings(q *j1ql.Query) (int, error) {
	next := j1ql.Binding(0)
	take := func(b j1ql.Binding, what string) error {
		if b != next {
			return fmt.Errorf("%s has the binding %d, not %d", what, b, next)
		}
		next++
		return nil
	}
	var count func(steps []j1ql.Step) error
	count = func(steps []j1ql.Step) error {
		for _, s := range steps {
			if o := s.Optional; o != nil {
				if err := errors.Join(count(o.Steps), take(o.Binding, "an optional step")); err != nil {
					return err
				}
				continue
			}
			if s.That.Negated {
				if s.That.Edge != j1ql.None || s.That.Node.Binding != j1ql.None {
					return errors.New("a negated step has a binding")
				}
				continue
			}
			if err := errors.Join(take(s.That.Edge, "an edge"), take(s.That.Node.Binding, "a node")); err != nil {
				return err
			}
		}
		return nil
	}
	err := errors.Join(take(q.Start.Binding, "the start"), count(q.Steps))
	return int(next), err
}

// plainProperties returns those properties that are not absent, with values as
// encoding/json decodes them.
func plainProperties(p graph.Properties) (map[string]any, error) {
	b, err := json.Marshal(map[string]any(p))
	if err != nil {
		return nil, err
	}
	plain := map[string]any{}
	if err := json.Unmarshal(b, &plain); err != nil {
		return nil, err
	}
	for name, v := range plain {
		if v == nil {
			delete(plain, name)
		}
	}
	return plain, nil
}
