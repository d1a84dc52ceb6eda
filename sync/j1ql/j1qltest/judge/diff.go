package judge

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/oktasync/oktasync/sync/graph"
)

// Diff says how two answers differ first, and is empty if they do not. Numbers are
// equal up to a relative 1e-9, and of whatever Go type; a null in an object is as
// good as missing. Objects are equal by kind, key, type, class and properties, and
// by their ends if both tell them. The name of the one column of a list is not looked at.
func Diff(got, want Answer) string {
	if got.Type != want.Type {
		return fmt.Sprintf("got a %s, want a %s", got.Type, want.Type)
	}
	named := want.Type == "table" || want.Type == "list" && len(want.Columns) > 1
	if named && !slices.Equal(got.Columns, want.Columns) {
		return fmt.Sprintf("got columns %q, want %q", got.Columns, want.Columns)
	}
	for i := range max(len(got.Rows), len(want.Rows)) {
		switch {
		case i >= len(got.Rows):
			return fmt.Sprintf("got %d rows, want %d: row %d is missing: %s", len(got.Rows), len(want.Rows), i, show(want.Rows[i]))
		case i >= len(want.Rows):
			return fmt.Sprintf("got %d rows, want %d: row %d is too much: %s", len(got.Rows), len(want.Rows), i, show(got.Rows[i]))
		case len(got.Rows[i]) != len(want.Rows[i]) || !slices.EqualFunc(got.Rows[i], want.Rows[i], equal):
			return fmt.Sprintf("row %d:\n got %s\nwant %s", i, show(got.Rows[i]), show(want.Rows[i]))
		}
	}
	return ""
}

func show(cells []any) string {
	var all []string
	for _, cell := range cells {
		o, ok := cell.(*Object)
		switch {
		case isAbsent(cell):
			all = append(all, "absent")
		case ok && o.Entity != nil:
			all = append(all, fmt.Sprintf("entity %q", o.Key))
		case ok:
			all = append(all, fmt.Sprintf("relationship %q", o.Key))
		default:
			all = append(all, fmt.Sprintf("%T %s", cell, jsonOf(cell)))
		}
	}
	return strings.Join(all, ", ")
}

// equal compares two cells.
func equal(got, want any) bool {
	if isAbsent(got) || isAbsent(want) {
		return isAbsent(got) && isAbsent(want)
	}
	a, okA := got.(*Object)
	b, okB := want.(*Object)
	if okA || okB {
		return okA && okB && equalObjects(a, b)
	}
	return equalValues(plain(got), plain(want))
}

// plain returns a value as encoding/json decodes it.
func plain(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("no JSON: %v", err)
	}
	var p any
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Sprintf("no JSON: %v", err)
	}
	return p
}

func equalValues(a, b any) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b))
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equalValues)
	case map[string]any:
		b, ok := b.(map[string]any)
		isNull := func(_ string, v any) bool { return v == nil }
		maps.DeleteFunc(a, isNull)
		maps.DeleteFunc(b, isNull)
		return ok && maps.EqualFunc(a, b, equalValues)
	}
	return a == b
}

func equalObjects(a, b *Object) bool {
	switch {
	case a.Key != b.Key:
		return false
	case a.Entity != nil && b.Entity != nil:
		return a.Entity.Key == b.Entity.Key && a.Entity.Type == b.Entity.Type && slices.Equal(a.Entity.Class, b.Entity.Class) &&
			equalProperties(a.Entity.Properties, b.Entity.Properties)
	case a.Relationship != nil && b.Relationship != nil:
		r, s := a.Relationship, b.Relationship
		return r.Key == s.Key && r.Type == s.Type && r.Class == s.Class && equalProperties(r.Properties, s.Properties) &&
			(r.Mapping != nil || s.Mapping != nil || r.From == s.From && r.To == s.To)
	}
	return false
}

func equalProperties(a, b graph.Properties) bool {
	if a == nil {
		a = graph.Properties{}
	}
	if b == nil {
		b = graph.Properties{}
	}
	return equalValues(plain(map[string]any(a)), plain(map[string]any(b)))
}
