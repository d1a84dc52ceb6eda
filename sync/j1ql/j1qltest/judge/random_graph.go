package judge

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/sync/graph"
)

func pick[T any](t *rapid.T, list ...T) T { return rapid.SampledFrom(list).Draw(t, "pick") }

func below(t *rapid.T, n int) int { return rapid.IntRange(0, n-1).Draw(t, "below") }

// chance is true in about so many of eight cases. It shrinks to false.
func chance(t *rapid.T, ofEight int) bool { return below(t, 8) >= 8-ofEight }

// kinds are the types of the data model with their classes.
var kinds = []graph.Entity{
	{Type: "okta_user", Class: []string{"User"}},
	{Type: "employee", Class: []string{"Person"}},
	{Type: "okta_user_group", Class: []string{"UserGroup"}},
	{Type: "okta_app_user_group", Class: []string{"UserGroup"}},
	{Type: "okta_application", Class: []string{"Application"}},
	{Type: "mfa_device", Class: []string{"Key", "AccessKey"}},
	{Type: "okta_account", Class: []string{"Account"}},
	{Type: "okta_service", Class: []string{"Service", "Control"}},
	{Type: "aws_iam_role", Class: []string{"AccessRole"}},
}

var verbs = []string{"HAS", "ASSIGNED", "IS", "USES"}

// names of properties. Each may have any value, or be missing.
var (
	entityNames       = []string{"name", "displayName", "email", "status", "active", "created", "tag.AccountName", "tag.special-name"}
	relationshipNames = []string{"role", "priority", "active", "created"}
)

// The values. Fractions are sums of powers of two, so that a sum is exact in any
// order; 0.1 is only where nothing adds.
var (
	textValues = []any{
		"", "a", "b", "ab", "abc", "a_c", "A", "Alice", "alice", "Äpfel", "Zoë", "日本語", "🙂",
		"1", "1.5", "01", "true", "false", "null", "undefined", "[]", "1700000000000",
		"100%", "%", "_", "*", "?", ".", "^a$", "[x]", "a|b", "it's", `say "hi"`, `back\slash`, `\`, `\n`, "line\nbreak", "a<b&c", " a ", "a b",
		"u1@example.com", "2020-01-01",
	}
	numberValues  = []any{0, 1, 2, 3, -1, 10, 1.5, 2.25, -0.5, 100, 1700000000000, 1700000000001, 1600000000000}
	booleanValues = []any{true, false}
	arrayValues   = []any{
		[]any{}, []any{nil}, []any{"a"}, []any{"a", "b"}, []any{"b", "a"}, []string{"Alice", "100%"}, []any{"1", 1, true}, []any{"a", nil, 2},
		[]any{1, 2, 10}, []any{0.1, -1}, []any{true}, []any{"true"}, []any{""}, []any{`it's "x"`, `\`, "Zoë"}, []any{1700000000000}, []any{"abc", "a_c"},
	}
)

// palette returns the few values that a graph draws its properties from.
func palette(t *rapid.T) []any {
	var values []any
	some := func(of []any, least, most int) {
		for range rapid.IntRange(least, most).Draw(t, "values") {
			values = append(values, pick(t, of...))
		}
	}
	some(textValues, 2, 5)
	some(numberValues, 1, 4)
	some(booleanValues, 1, 1)
	some(arrayValues, 1, 4)
	return values
}

// properties draws a value for some of the names.
func properties(t *rapid.T, names []string, values []any) graph.Properties {
	p := graph.Properties{}
	for _, name := range names {
		switch at := below(t, len(values)+3); {
		case at >= 3:
			p[name] = values[at-3]
		case at == 2:
			p[name] = nil
		}
	}
	return p
}

// RandomGraph makes a graph of 3 to 25 entities, of the types of the data model,
// whose properties have few distinct values of any type. Some relationships
// lead nowhere, some are mapped.
func RandomGraph(t *rapid.T) Graph {
	var g Graph
	values := palette(t)
	for i := range rapid.IntRange(3, 25).Draw(t, "entities") {
		e := pick(t, kinds...)
		e.Key = fmt.Sprintf(pick(t, "%d", "u%d", "U%d", "ü%d", "okta:%d|x", `it's "%d"`), i)
		e.Properties = properties(t, entityNames, values)
		if e.Type == "aws_iam_role" && chance(t, 4) { // as the mapper would name it
			e.Key = fmt.Sprintf("aws_iam_role:r%d|prod", i)
		}
		g.Entities = append(g.Entities, e)
	}
	known := map[string]bool{}
	for range rapid.IntRange(0, 2*len(g.Entities)).Draw(t, "relationships") {
		r := relationship(t, g, values)
		for known[r.Key] {
			r.Key += "|again"
		}
		known[r.Key] = true
		g.Relationships = append(g.Relationships, r)
	}
	return g
}

func relationship(t *rapid.T, g Graph, values []any) graph.Relationship {
	from := pick(t, g.Entities...)
	to := pick(t, g.Entities...)
	switch below(t, 8) {
	case 5:
		to = from
	case 6:
		to = graph.Entity{Key: "gone", Type: "okta_user"}
	case 7:
		if last := len(g.Relationships) - 1; last >= 0 && g.Relationships[last].Mapping == nil { // one beside it
			for _, e := range g.Entities {
				switch e.Key {
				case g.Relationships[last].From:
					from = e
				case g.Relationships[last].To:
					to = e
				}
			}
		}
	}
	verb := pick(t, verbs...)
	r := graph.Relationship{
		Key:  from.Key + "|" + strings.ToLower(verb) + "|" + to.Key,
		Type: from.Type + "_" + strings.ToLower(verb) + "_" + to.Type, Class: verb,
		From: from.Key, To: to.Key,
		Properties: properties(t, relationshipNames, values),
	}
	switch { // turned around, the direction does not depend on the order of the keys
	case chance(t, 1):
		r.From, r.To = r.To, r.From
	case to.Type == "aws_iam_role" && chance(t, 6):
		r.From, r.To, r.Mapping = "", "", mapping(t, from, to)
	}
	return r
}

func mapping(t *rapid.T, from, to graph.Entity) *graph.Mapping {
	m := &graph.Mapping{
		SourceEntityKey: from.Key, RelationshipDirection: pick(t, "FORWARD", "REVERSE"),
		TargetFilterKeys:   [][]string{{"_type", "_key"}},
		TargetEntity:       graph.Properties{"_key": to.Key, "_type": to.Type, "_class": "AccessRole"},
		SkipTargetCreation: true,
	}
	if named, ok := strings.CutPrefix(to.Key, "aws_iam_role:"); ok {
		name, account, _ := strings.Cut(named, "|")
		m.TargetFilterKeys = [][]string{{"_type", "roleName", "tag.AccountName"}}
		delete(m.TargetEntity, "_key")
		m.TargetEntity["roleName"], m.TargetEntity["tag.AccountName"] = name, account
	}
	return m
}
