package judge

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// jsonOf is the JSON of a value, keys sorted, without spaces.
func jsonOf(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("a value that is no JSON: %v", err)) // values come from JSON, and arithmetic gives no NaN
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// identity is a text that two cells share if they are the same value.
func identity(cell any) string {
	o, ok := cell.(*Object)
	switch {
	case !ok:
		return jsonOf(cell)
	case o == nil:
		return "null"
	case o.Entity != nil:
		return "entity " + jsonOf(o.Key)
	}
	return "relationship " + jsonOf(o.Key)
}

func identities(cells []any) string {
	var all []string
	for _, cell := range cells {
		all = append(all, identity(cell))
	}
	return strings.Join(all, "\n") // JSON of one line each
}

func isAbsent(cell any) bool {
	o, ok := cell.(*Object)
	return cell == nil || ok && o == nil
}

// The kinds of values in the order of ORDER BY.
const (
	numbers = iota
	texts
	booleans
	lists // and objects
)

// rank returns the kind of a value that is not absent, and what it sorts by there.
func rank(v any) (kind int, number float64, text string) {
	switch v := v.(type) {
	case float64:
		return numbers, v, ""
	case string:
		return texts, 0, v
	case bool:
		if v {
			return booleans, 1, ""
		}
		return booleans, 0, ""
	case *Object:
		return lists, 0, "{" + v.Key
	case map[string]any:
		if key, ok := v["_key"].(string); ok {
			return lists, 0, "{" + key
		}
	}
	return lists, 0, jsonOf(v)
}

// order compares as ORDER BY does: absent values last, then by kind, and then
// ascending or descending.
func order(a, b any, desc bool) int {
	switch {
	case isAbsent(a) && isAbsent(b):
		return 0
	case isAbsent(a):
		return 1
	case isAbsent(b):
		return -1
	}
	kindA, numberA, textA := rank(a)
	kindB, numberB, textB := rank(b)
	if kindA != kindB {
		return cmp.Compare(kindA, kindB)
	}
	c := cmp.Or(cmp.Compare(numberA, numberB), cmp.Compare(textA, textB))
	if desc {
		return -c
	}
	return c
}

// number is a result of arithmetic: absent if there is none.
func number(f float64) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	if f == 0 {
		return 0.0 // not -0
	}
	return f
}
