package j1sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// scope is a sub-graph: what one source has in one scope.
type scope struct {
	entities      map[string]*object
	relationships map[string]*object
}

// object is an entity or a relationship. It is never changed, only replaced.
type object struct {
	key    string
	fields map[string]any
	text   string
	target string // of a mapped relationship: the id of the entity that it leads to
}

func newObject(fields map[string]any) *object {
	text, err := json.Marshal(fields)
	if err != nil {
		panic(fmt.Sprintf("j1sim: what was decoded cannot be encoded: %v", err))
	}
	return &object{key: fmt.Sprint(fields["_key"]), fields: fields, text: string(text)}
}

func (o *object) word(name string) string {
	s, _ := o.fields[name].(string)
	return s
}

// endFields are what a relationship may tell of its ends.
var endFields = []string{
	"_fromEntityKey", "_fromEntityId", "_fromEntitySource", "_fromEntityScope",
	"_toEntityKey", "_toEntityId", "_toEntitySource", "_toEntityScope",
}

// objects reads the objects of an upload and checks them.
func objects(field string, v any) ([]*object, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, refuse(http.StatusBadRequest, map[string]string{"entities": "ENTITY_IS_NOT_ARRAY", "relationships": "RELATIONSHIP_IS_NOT_ARRAY"}[field], "%s must be an array", field)
	}
	var all []*object
	for i, v := range list {
		fields, ok := v.(map[string]any)
		if !ok {
			return nil, refuse(http.StatusBadRequest, "BAD_DATA", "%s[%d] is no object", field, i)
		}
		why := ""
		if field == "entities" {
			why = wrongEntity(fields)
		} else {
			why = wrongRelationship(fields)
		}
		if why != "" {
			return nil, refuse(http.StatusBadRequest, "BAD_DATA", "%s[%d]: %s", field, i, why)
		}
		all = append(all, newObject(fields))
	}
	return all, nil
}

func wrongEntity(fields map[string]any) string {
	for name, v := range fields {
		switch {
		case name == "_key", name == "_type":
			if s, _ := v.(string); s == "" {
				return name + " must be a text"
			}
		case name == "_class":
			if s, _ := v.(string); s == "" && !texts(v) {
				return "_class must be a text or texts"
			}
		case name == "_rawData":
		case strings.HasPrefix(name, "_"):
			return "the property " + name + " is not known"
		case !scalar(v) && !uniform(v):
			return "the property " + name + " is no scalar, and no array of scalars of one kind"
		}
	}
	return missing(fields)
}

func wrongRelationship(fields map[string]any) string {
	for name, v := range fields {
		switch {
		case name == "_key", name == "_type", name == "_class", slices.Contains(endFields, name):
			if s, _ := v.(string); s == "" {
				return name + " must be a text"
			}
		case name == "_mapping":
			if why := wrongMapping(v); why != "" {
				return "_mapping: " + why
			}
		case strings.HasPrefix(name, "_"):
			return "the property " + name + " is not known"
		case !scalar(v):
			return "the property " + name + " is no scalar"
		}
	}
	mapped := fields["_mapping"] != nil
	for _, end := range []string{"_from", "_to"} {
		direct := fields[end+"EntityKey"] != nil || fields[end+"EntityId"] != nil
		if direct == mapped {
			return "it needs either two ends or a _mapping"
		}
	}
	return missing(fields)
}

func missing(fields map[string]any) string {
	for _, name := range []string{"_key", "_type", "_class"} {
		if fields[name] == nil {
			return name + " is missing"
		}
	}
	return ""
}

func wrongMapping(v any) string {
	m, ok := v.(map[string]any)
	if !ok {
		return "must be an object"
	}
	for name := range m {
		if !slices.Contains([]string{"sourceEntityKey", "relationshipDirection", "targetFilterKeys", "targetEntity", "skipTargetCreation"}, name) {
			return "the field " + name + " is not known"
		}
	}
	target, ok := m["targetEntity"].(map[string]any)
	if !ok {
		return "targetEntity must be an object"
	}
	for name, v := range target {
		if !scalar(v) && !uniform(v) {
			return "the property " + name + " of targetEntity is no scalar, and no array of scalars of one kind"
		}
	}
	if s, _ := m["sourceEntityKey"].(string); s == "" {
		return "sourceEntityKey must be a text"
	}
	if d := m["relationshipDirection"]; d != "FORWARD" && d != "REVERSE" {
		return "relationshipDirection must be FORWARD or REVERSE"
	}
	if skip, given := m["skipTargetCreation"]; given {
		if _, ok := skip.(bool); !ok {
			return "skipTargetCreation must be a boolean"
		}
	}
	filters, _ := m["targetFilterKeys"].([]any)
	if len(filters) == 0 {
		return "targetFilterKeys must name properties"
	}
	for _, filter := range filters {
		names, _ := filter.([]any)
		if len(names) == 0 || !texts(filter) {
			return "targetFilterKeys must be arrays of names"
		}
		for _, name := range names {
			if target[name.(string)] == nil {
				return fmt.Sprintf("targetEntity has no %s, which a filter names", name)
			}
		}
	}
	return ""
}

func scalar(v any) bool { return kind(v) != "" }

func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "text"
	case bool:
		return "boolean"
	case json.Number:
		return "number"
	}
	return ""
}

// uniform tells whether a value is an array of scalars of one kind.
func uniform(v any) bool {
	list, ok := v.([]any)
	for _, v := range list {
		ok = ok && scalar(v) && kind(v) == kind(list[0])
	}
	return ok
}

func texts(v any) bool {
	list, _ := v.([]any)
	return len(list) > 0 && uniform(v) && kind(list[0]) == "text"
}

func (s *Server) scope(name string) *scope {
	if s.scopes[name] == nil {
		s.scopes[name] = &scope{map[string]*object{}, map[string]*object{}}
	}
	return s.scopes[name]
}

// keeps tells whether an object that was not uploaded stays.
func (s *Server) keeps(j *job, o *object) bool {
	return j.mode == "PATCH" || j.partial[o.word("_type")] && !s.cfg.IgnorePartial
}

// sorted gives a job the same order each time.
func sorted(m map[string]*object) []string { return slices.Sorted(maps.Keys(m)) }

func (s *Server) applyEntities(j *job) {
	sc := s.scope(j.source + " " + j.scope)
	for key, o := range sc.entities {
		if j.entities[key] != nil || s.keeps(j, o) {
			continue
		}
		delete(sc.entities, key)
		j.counters["numEntitiesDeleted"]++
		for key, r := range sc.relationships {
			if o.key == r.word("_fromEntityKey") || o.key == r.word("_toEntityKey") || o.key == source(r) {
				delete(sc.relationships, key)
				j.counters["numRelationshipsDeleted"]++
			}
		}
	}
	for _, key := range sorted(j.entities) {
		o, was := j.entities[key], sc.entities[key]
		if j.mode == "PATCH" && was != nil {
			fields := maps.Clone(was.fields)
			maps.Copy(fields, o.fields)
			o = newObject(fields)
		}
		switch {
		case was == nil:
			j.counters["numEntitiesCreated"]++
		case was.text != o.text:
			j.counters["numEntitiesUpdated"]++
		}
		sc.entities[key] = o
	}
}

// source is the key of the entity that a mapped relationship begins at.
func source(r *object) string {
	m, _ := r.fields["_mapping"].(map[string]any)
	s, _ := m["sourceEntityKey"].(string)
	return s
}

func (s *Server) applyRelationships(j *job) {
	sc := s.scope(j.source + " " + j.scope)
	for key, r := range sc.relationships {
		if j.relationships[key] == nil && !s.keeps(j, r) {
			delete(sc.relationships, key)
			j.counters["num"+mappedWord(r)+"RelationshipsDeleted"]++
		}
	}
	for _, key := range sorted(j.relationships) {
		r, was := *j.relationships[key], sc.relationships[key]
		found := s.hasEnds(j, &r)
		if found && r.fields["_mapping"] != nil {
			found = s.mapTarget(&r)
		}
		switch word := mappedWord(&r); {
		case !found && was == nil:
			j.counters["num"+word+"RelationshipCreateErrors"]++
			continue
		case !found:
			j.counters["num"+word+"RelationshipUpdateErrors"]++
			continue
		case was == nil:
			j.counters["num"+word+"RelationshipsCreated"]++
		case was.text != r.text:
			j.counters["num"+word+"RelationshipsUpdated"]++
		}
		sc.relationships[key] = &r
	}
	led := map[string]bool{}
	for _, sc := range s.scopes {
		for _, r := range sc.relationships {
			led[r.target] = true
		}
	}
	maps.DeleteFunc(s.mapped, func(id string, _ *object) bool { return !led[id] })
}

func mappedWord(r *object) string {
	if r.fields["_mapping"] != nil {
		return "Mapped"
	}
	return ""
}

// hasEnds tells whether the ends that a relationship names exist.
func (s *Server) hasEnds(j *job, r *object) bool {
	if r.fields["_mapping"] != nil {
		return s.end(j, source(r), j.source, j.scope)
	}
	for _, end := range []string{"_from", "_to"} {
		src, name := r.word(end+"EntitySource"), r.word(end+"EntityScope")
		if src == "" {
			src, name = j.source, j.scope
		}
		if !s.end(j, r.word(end+"EntityKey"), src, name) {
			return false
		}
	}
	return true
}

func (s *Server) end(j *job, key, source, name string) bool {
	if s.cfg.UploadedEndsOnly && source == j.source && name == j.scope {
		return j.entities[key] != nil
	}
	return s.scope(source + " " + name).entities[key] != nil
}

// mapTarget finds the entity that a mapped relationship leads to, in any scope, or
// makes it. What the mapper made follows what the relationship tells.
func (s *Server) mapTarget(r *object) bool {
	m := r.fields["_mapping"].(map[string]any)
	target := m["targetEntity"].(map[string]any)
	for _, filter := range m["targetFilterKeys"].([]any) {
		for name, sc := range s.scopes {
			for key, e := range sc.entities {
				if matches(e, target, filter.([]any)) {
					r.target = name + " " + key
					return true
				}
			}
		}
		for id, e := range s.mapped {
			if matches(e, target, filter.([]any)) {
				r.target, s.mapped[id] = id, newObject(target)
				return true
			}
		}
	}
	if skip, _ := m["skipTargetCreation"].(bool); skip {
		return false
	}
	s.nextID++
	r.target = fmt.Sprintf("system-mapper %d", s.nextID)
	s.mapped[r.target] = newObject(target)
	return true
}

func matches(e *object, target map[string]any, names []any) bool {
	for _, name := range names {
		if !slices.ContainsFunc(values(e.fields[name.(string)]), func(v any) bool {
			return slices.Contains(values(target[name.(string)]), v)
		}) {
			return false
		}
	}
	return true
}

// values returns a value, or those of an array. All are comparable.
func values(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case map[string]any:
		return nil
	}
	return []any{v}
}

var (
	findEntities = regexp.MustCompile(`^FIND (\w+) WITH _scope = '([^']*)' AS (\w+) RETURN (.+)$`)
	findEdges    = regexp.MustCompile(`^FIND (\w+) WITH _scope = '([^']*)' AS \w+ THAT (\w+) AS (\w+) (\w+) AS \w+ RETURN (.+)$`)
	selection    = regexp.MustCompile(`^(\w+)\.(\w+) AS (\w+)$`)
)

// query answers the two forms of J1QL that a probe needs.
func (s *Server) query(c *call) (any, error) {
	var body struct {
		Query     string
		Variables struct{ Query, Cursor string }
	}
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	failed := func(format string, args ...any) (any, error) {
		return map[string]any{"data": nil, "errors": []any{map[string]string{"message": fmt.Sprintf(format, args...)}}}, nil
	}
	if !strings.Contains(body.Query, "queryV1(") {
		return failed("only queryV1 is known")
	}
	if s.lag > 0 {
		s.lag--
	} else {
		s.view = map[string]*scope{}
		for name, sc := range s.scopes {
			s.view[name] = &scope{maps.Clone(sc.entities), maps.Clone(sc.relationships)}
		}
	}
	rows := []map[string]any{}
	add := func(o *object, alias, list string) bool {
		row := map[string]any{}
		for _, item := range strings.Split(list, ", ") {
			m := selection.FindStringSubmatch(item)
			if m == nil || m[1] != alias {
				return false
			}
			row[m[3]] = o.fields[m[2]]
		}
		rows = append(rows, row)
		return true
	}
	ok := true
	if m := findEntities.FindStringSubmatch(body.Variables.Query); m != nil {
		if sc := s.view["api "+m[2]]; sc != nil {
			for _, key := range sorted(sc.entities) {
				if o := sc.entities[key]; o.word("_type") == m[1] {
					ok = ok && add(o, m[3], m[4])
				}
			}
		}
	} else if m := findEdges.FindStringSubmatch(body.Variables.Query); m != nil {
		if sc := s.view["api "+m[2]]; sc != nil {
			for _, key := range sorted(sc.relationships) {
				r := sc.relationships[key]
				from, to := sc.entities[r.word("_fromEntityKey")], sc.entities[r.word("_toEntityKey")]
				if from != nil && to != nil && from.word("_type") == m[1] && to.word("_type") == m[5] && r.word("_class") == m[3] {
					ok = ok && add(r, m[4], m[6])
				}
			}
		}
	} else {
		ok = false
	}
	if !ok {
		return failed("the query cannot be parsed")
	}
	return map[string]any{"data": map[string]any{"queryV1": map[string]any{"type": "table", "data": rows}}}, nil
}
