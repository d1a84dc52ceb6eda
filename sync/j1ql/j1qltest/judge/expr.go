package judge

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/oktasync/oktasync/sync/j1ql"
)

var aggregates = []string{"COUNT", "MIN", "MAX", "AVG", "SUM"}

// isAggregate tells whether there is an aggregate in the expression.
func isAggregate(e j1ql.Expr) bool {
	switch {
	case e.Call != nil:
		return slices.Contains(aggregates, e.Call.Func) || slices.ContainsFunc(e.Call.Args, isAggregate)
	case e.Binary != nil:
		return isAggregate(e.Binary.Left) || isAggregate(e.Binary.Right)
	}
	return false
}

// scope is where an expression has a value: one path, or a group of paths.
type scope struct {
	*world
	path  *path // nil: a group
	group []path
}

// value returns the value of an expression as a cell.
func (s scope) value(e j1ql.Expr) (any, error) {
	if s.path == nil && (e.Property != nil || e.Object != nil || e.All != nil) {
		return nil, errors.New("a column joins an aggregate with what is not aggregated")
	}
	switch {
	case e.Number != nil:
		return number(*e.Number), nil
	case e.Text != nil:
		return *e.Text, nil
	case e.Property != nil:
		return s.property(s.path.bound[e.Property.Binding], e.Property.Name), nil
	case e.Object != nil:
		return s.path.bound[*e.Object], nil
	case e.All != nil:
		if o := s.path.bound[*e.All]; o != nil {
			return s.all(o), nil
		}
		return nil, nil
	case e.Binary != nil:
		left, err := s.value(e.Binary.Left)
		if err != nil {
			return nil, err
		}
		right, err := s.value(e.Binary.Right)
		if err != nil {
			return nil, err
		}
		return arithmetic(e.Binary.Op, left, right)
	case e.Call != nil:
		return s.call(*e.Call)
	}
	return "", nil
}

func arithmetic(op byte, left, right any) (any, error) {
	l, okL := left.(float64)
	r, okR := right.(float64)
	if !okL || !okR {
		return nil, nil
	}
	switch op {
	case '+':
		return number(l + r), nil
	case '-':
		return number(l - r), nil
	case '*':
		return number(l * r), nil
	case '/':
		return number(l / r), nil
	case '^':
		return number(math.Pow(l, r)), nil
	}
	return nil, fmt.Errorf("there is no arithmetic %q", op)
}

var rounding = map[string]func(float64) float64{
	"ABS": math.Abs, "SQRT": math.Sqrt, "CEIL": math.Ceil, "FLOOR": math.Floor, "ROUND": math.Round,
}

func (s scope) call(c j1ql.Call) (any, error) {
	if slices.Contains(aggregates, c.Func) {
		return s.aggregate(c)
	}
	var args []any
	for _, arg := range c.Args {
		v, err := s.value(arg)
		if err != nil {
			return nil, err
		}
		args = append(args, v)
	}
	switch c.Func {
	case "CONCAT":
		var b strings.Builder
		for _, arg := range args {
			switch arg.(type) {
			case string, float64, bool:
				b.WriteString(asText(arg))
			}
		}
		return b.String(), nil
	case "COALESCE":
		for _, arg := range args {
			if !isAbsent(arg) {
				return arg, nil
			}
		}
		return nil, nil
	case "MERGE":
		list := []any{}
		for _, arg := range args {
			list = append(list, elements(arg)...)
		}
		return list, nil
	}
	function, ok := rounding[c.Func]
	if !ok {
		return nil, fmt.Errorf("there is no function %s", c.Func)
	}
	f, ok := args[0].(float64)
	if !ok {
		return nil, nil
	}
	return number(function(f)), nil
}

// aggregate returns the value of an aggregate over the paths of a group.
func (s scope) aggregate(c j1ql.Call) (any, error) {
	if s.path != nil {
		return nil, errors.New("an aggregate is in another one")
	}
	distinct := map[string]bool{}
	var found []float64
	for _, p := range s.group {
		v, err := scope{world: s.world, path: &p}.value(c.Args[0])
		if err != nil {
			return nil, err
		}
		if !isAbsent(v) {
			distinct[identity(v)] = true
		}
		if f, ok := v.(float64); ok {
			found = append(found, f)
		}
	}
	if c.Func == "COUNT" {
		return float64(len(distinct)), nil
	}
	if len(found) == 0 {
		return nil, nil
	}
	sum := 0.0
	for _, f := range found {
		sum += f
	}
	switch c.Func {
	case "MIN":
		return slices.Min(found), nil
	case "MAX":
		return slices.Max(found), nil
	case "SUM":
		return number(sum), nil
	}
	return number(sum / float64(len(found))), nil
}
