package judge

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/oktasync/oktasync/sync/j1ql"
)

// passes tells whether a condition holds; bound tells what a binding means there.
func (w *world) passes(f j1ql.Filter, bound func(j1ql.Binding) *Object) (bool, error) {
	switch {
	case f.Compare != nil:
		positive, err := w.holds(*f.Compare, bound)
		return positive != f.Compare.Op.Not, err
	case len(f.And) > 0:
		for _, part := range f.And {
			if ok, err := w.passes(part, bound); err != nil || !ok {
				return false, err
			}
		}
		return true, nil
	}
	for _, part := range f.Or {
		if ok, err := w.passes(part, bound); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

// holds tells whether the positive operator of a comparison holds.
func (w *world) holds(c j1ql.Comparison, bound func(j1ql.Binding) *Object) (bool, error) {
	property := w.property(bound(c.Property.Binding), c.Property.Name)
	if c.Other != nil {
		return someBothHold(property, w.property(bound(c.Other.Binding), c.Other.Name), c.Op.Kind), nil
	}
	count := 0
	for _, v := range c.Values {
		ok, err := someHolds(property, c.Op.Kind, v)
		if err != nil {
			return false, err
		}
		if ok {
			count++
		}
	}
	if c.All {
		return count == len(c.Values), nil
	}
	return count > 0, nil
}

// someBothHold tells whether the operator holds for a pair of elements.
func someBothHold(a, b any, kind j1ql.OpKind) bool {
	for _, x := range elements(a) {
		for _, y := range elements(b) {
			if compare(x, kind, y) {
				return true
			}
		}
	}
	return false
}

// someHolds tells whether the operator holds for an element of the property and the value.
func someHolds(property any, kind j1ql.OpKind, v j1ql.Value) (bool, error) {
	var value any
	switch v.Kind {
	case j1ql.Undefined:
		return kind == j1ql.Equal && property == nil, nil
	case j1ql.Regexp:
		return someMatches(property, kind, v)
	case j1ql.Text:
		value = v.Text
	case j1ql.Number:
		value = v.Number
	case j1ql.Boolean:
		value = v.Boolean
	default:
		return false, fmt.Errorf("a parameter or a date is left in the query: bind it before")
	}
	return someBothHold(property, value, kind), nil
}

func someMatches(property any, kind j1ql.OpKind, v j1ql.Value) (bool, error) {
	pattern := v.Text
	switch kind {
	case j1ql.StartsWith:
		pattern = `\A(?:` + pattern + `)`
	case j1ql.EndsWith:
		pattern = `(?:` + pattern + `)\z`
	case j1ql.Equal, j1ql.Contains:
	default:
		return false, nil
	}
	if v.Fold {
		pattern = `(?i:` + pattern + `)`
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return false, err
	}
	for _, element := range elements(property) {
		if s, ok := element.(string); ok && re.MatchString(s) {
			return true, nil
		}
	}
	return false, nil
}

// elements of a property: none, itself, or those of an array that are not null.
func elements(v any) []any {
	switch v := v.(type) {
	case string, float64, bool:
		return []any{v}
	case []any:
		var some []any
		for _, element := range v {
			if element != nil {
				some = append(some, element)
			}
		}
		return some
	}
	return nil
}

// compare tells whether an operator holds between two texts, numbers or booleans.
func compare(a any, kind j1ql.OpKind, b any) bool {
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		if !ok {
			return false
		}
		switch kind {
		case j1ql.Equal:
			return a == b
		case j1ql.Contains:
			return strings.Contains(a, b)
		case j1ql.StartsWith:
			return strings.HasPrefix(a, b)
		case j1ql.EndsWith:
			return strings.HasSuffix(a, b)
		}
	case float64:
		b, ok := b.(float64)
		if !ok {
			return false
		}
		switch kind {
		case j1ql.Equal:
			return a == b
		case j1ql.Less:
			return a < b
		case j1ql.LessEqual:
			return a <= b
		case j1ql.Greater:
			return a > b
		case j1ql.GreaterEqual:
			return a >= b
		}
	case bool:
		b, ok := b.(bool)
		return ok && kind == j1ql.Equal && a == b
	}
	return false
}
