package jupiterone

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oktasync/oktasync/sync/graph"
)

const (
	userType   = "okta_user"
	personEdge = "okta_user_is_employee" // the type of the relationship from a user to its Person
	personKey  = "employee:"             // begins the key of a Person; the lower-cased login follows
)

// isPerson tells whether an entity is one that JupiterOne makes from a mapping.
func isPerson(e *graph.Entity) bool { return slices.Contains(e.Class, "Person") }

// leadsToPerson tells whether a relationship must be sent as a mapping.
func leadsToPerson(r *graph.Relationship) bool { return r.Type == personEdge && r.Mapping == nil }

// entityJSON returns an entity as JupiterOne takes it.
func entityJSON(e graph.Entity) ([]byte, error) {
	p, err := uploadable(e.Properties, value)
	if err != nil {
		return nil, fmt.Errorf("entity %q: %w", shown(e.Key), err)
	}
	e.Properties = p
	if e.Class == nil {
		e.Class = []string{}
	}
	return json.Marshal(e)
}

// relationshipJSON returns a relationship as JupiterOne takes it.
func relationshipJSON(r graph.Relationship) ([]byte, error) {
	p, err := uploadable(r.Properties, scalar)
	if err != nil {
		return nil, fmt.Errorf("relationship %q: %w", shown(r.Key), err)
	}
	r.Properties = p
	return json.Marshal(r)
}

// mapped makes of the relationship from a user to a Person the mapping by which
// JupiterOne finds the Person or makes it.
func mapped(r graph.Relationship, person graph.Entity) (graph.Relationship, error) {
	target, err := uploadable(person.Properties, value)
	if err != nil {
		return r, fmt.Errorf("entity %q: %w", shown(person.Key), err)
	}
	target["_class"], target["_type"], target["_key"] = "Person", person.Type, person.Key
	target["email"] = first(person.Properties["email"])
	if target["email"] == "" {
		target["email"] = strings.TrimPrefix(person.Key, personKey)
	}
	r.Mapping = &graph.Mapping{
		SourceEntityKey:       r.From,
		RelationshipDirection: "FORWARD",
		TargetFilterKeys:      [][]string{{"_class", "email"}},
		TargetEntity:          target,
	}
	r.From, r.To = "", ""
	return r, nil
}

// first returns a text, or the first of several.
func first(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []string:
		if len(v) > 0 {
			return v[0]
		}
	case []any:
		if len(v) > 0 {
			return first(v[0])
		}
	}
	return ""
}

// uploadable returns the properties that may be sent, each in a form that may
// be. Names that begin with _ are JupiterOne's.
func uploadable(p graph.Properties, form func(any) (any, error)) (graph.Properties, error) {
	sent := make(graph.Properties, len(p))
	for name, v := range p {
		if strings.HasPrefix(name, "_") {
			continue
		}
		v, err := form(v)
		if err != nil {
			return nil, fmt.Errorf("property %q: %w", name, err)
		}
		if v != nil {
			sent[name] = v
		}
	}
	return sent, nil
}

// value returns a property of an entity: text, number, boolean, or a list of one
// of these; anything else as JSON text.
func value(v any) (any, error) {
	v, err := plain(v)
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		return scalar(v)
	}
	list = slices.DeleteFunc(slices.Clone(list), func(v any) bool { return v == nil })
	for _, v := range list {
		if kind(v) == "" || kind(v) != kind(list[0]) {
			return scalar(list)
		}
	}
	return list, nil
}

// scalar returns a property of a relationship: text, number or boolean; anything
// else as JSON text.
func scalar(v any) (any, error) {
	v, err := plain(v)
	if err != nil || v == nil || kind(v) != "" {
		return v, err
	}
	b, err := json.Marshal(v)
	return string(b), err
}

// plain returns the value as JSON is decoded, unless it is a scalar already.
func plain(v any) (any, error) {
	switch v.(type) {
	case nil, string, bool, json.Number:
		return v, nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var decoded any
	err = d.Decode(&decoded)
	return decoded, err
}

// kind returns of which kind of scalar a plain value is, or "".
func kind(v any) string {
	switch v.(type) {
	case string:
		return "text"
	case bool:
		return "boolean"
	case json.Number:
		return "number"
	}
	return ""
}

// modelTypes are the types of all that our data model may put into a scope, what
// JupiterOne's mapper makes of it included.
var modelTypes = []string{
	"okta_account", "okta_service", userType, "okta_user_group", "okta_app_user_group",
	"okta_application", "mfa_device", "okta_rule", "okta_role", "okta_device", "employee",

	"okta_account_has_service", "okta_account_has_user", "okta_account_has_group",
	"okta_account_has_application", "okta_account_has_rule", "okta_account_has_device",
	"okta_group_has_user", "okta_group_assigned_application", "okta_user_assigned_application",
	"okta_user_assigned_factor", "okta_rule_manages_user_group", "okta_user_assigned_role",
	"okta_user_group_assigned_role", "okta_user_created_application", "okta_user_has_device",

	"okta_user_assigned_aws_iam_role", "okta_user_group_assigned_aws_iam_role", personEdge,
}

// allTypes returns the types of the model and those seen beside them, sorted.
func allTypes(seen ...[]string) []string {
	all := map[string]bool{}
	for _, list := range append(seen, modelTypes) {
		for _, t := range list {
			all[t] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// shown is a key as errors show it: that of a Person holds a login.
func shown(key string) string {
	if i := strings.Index(key, "employee:"); i >= 0 {
		return key[:i] + "employee:…"
	}
	return key
}
