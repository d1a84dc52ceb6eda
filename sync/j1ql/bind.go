package j1ql

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Bind returns the query with its parameters and dates replaced by values: a
// parameter may be a text, a number, a boolean, nil (undefined), or a list of
// these. Its errors are *Error.
func Bind(q *Query, params map[string]any, now time.Time) (*Query, error) {
	b := &binder{params: params, now: now}
	bound := *q
	var err error
	if bound.Start.Filter, err = b.filter(q.Start.Filter); err != nil {
		return nil, err
	}
	if bound.Steps, err = b.steps(q.Steps); err != nil {
		return nil, err
	}
	bound.Where, err = b.filter(q.Where)
	return &bound, err
}

type binder struct {
	params map[string]any
	now    time.Time
	values int // so far
}

func (b *binder) steps(steps []Step) ([]Step, error) {
	bound := make([]Step, len(steps))
	for i, s := range steps {
		var err error
		if s.That != nil {
			that := *s.That
			that.Node.Filter, err = b.filter(that.Node.Filter)
			bound[i].That = &that
		} else {
			optional := *s.Optional
			optional.Steps, err = b.steps(optional.Steps)
			bound[i].Optional = &optional
		}
		if err != nil {
			return nil, err
		}
	}
	return bound, nil
}

func (b *binder) filter(f *Filter) (*Filter, error) {
	if f == nil {
		return nil, nil
	}
	all := func(parts []Filter) ([]Filter, error) {
		var bound []Filter
		for _, part := range parts {
			p, err := b.filter(&part)
			if err != nil {
				return nil, err
			}
			bound = append(bound, *p)
		}
		return bound, nil
	}
	var bound Filter
	var err error
	if bound.And, err = all(f.And); err != nil {
		return nil, err
	}
	if bound.Or, err = all(f.Or); err != nil {
		return nil, err
	}
	if f.Compare == nil {
		return &bound, nil
	}
	c := *f.Compare
	c.Values = nil
	for _, v := range f.Compare.Values {
		values, err := b.value(v, c.Op.Kind)
		if err != nil {
			return nil, err
		}
		c.Values = append(c.Values, values...)
	}
	if b.values += len(c.Values); b.values > maxAll {
		return nil, errorAt(c.Pos, "the query compares with more than %d values", maxAll)
	}
	if len(c.Values) > maxValues {
		return nil, errorAt(c.Pos, "the list has %d values; at most %d can be", len(c.Values), maxValues)
	}
	bound.Compare = &c
	return &bound, nil
}

func (b *binder) value(v Value, kind OpKind) ([]Value, error) {
	switch v.Kind {
	case Date:
		at := v.Time.At
		if at.IsZero() {
			at = b.now.UTC()
			switch v.Time.Unit {
			case "hour":
				at = at.Add(time.Duration(v.Time.N) * time.Hour)
			case "day":
				at = at.AddDate(0, 0, v.Time.N)
			case "month":
				at = at.AddDate(0, v.Time.N, 0)
			case "year":
				at = at.AddDate(v.Time.N, 0, 0)
			}
		}
		return []Value{{Pos: v.Pos, Kind: Number, Number: float64(at.UnixMilli())}}, nil
	case Parameter:
		given, ok := b.params[v.Text]
		if !ok {
			return nil, errorAt(v.Pos, "the parameter %s is not given", v.Text)
		}
		list, many := given.([]any)
		if !many {
			list = []any{given}
		}
		if len(list) == 0 {
			return nil, errorAt(v.Pos, "the parameter %s is an empty list", v.Text)
		}
		var values []Value
		for _, item := range list {
			value := Value{Pos: v.Pos}
			switch item := item.(type) {
			case nil:
				value.Kind = Undefined
			case string:
				if strings.ContainsRune(item, 0) || !utf8.ValidString(item) {
					return nil, errorAt(v.Pos, "the parameter %s has a character that is not UTF-8, or NUL", v.Text)
				}
				value.Kind, value.Text = Text, item
			case bool:
				value.Kind, value.Boolean = Boolean, item
			case float64:
				value.Kind, value.Number = Number, item
			case int:
				value.Kind, value.Number = Number, float64(item)
			default:
				return nil, errorAt(v.Pos, "the parameter %s must be a text, a number, true, false, null, or a list of these", v.Text)
			}
			if math.IsNaN(value.Number) || math.IsInf(value.Number, 0) {
				return nil, errorAt(v.Pos, "the parameter %s is no number", v.Text)
			}
			if textual(kind) && value.Kind != Text || ordered(kind) && value.Kind != Number {
				return nil, errorAt(v.Pos, "the parameter %s is of a kind that %s does not compare", v.Text, kind)
			}
			values = append(values, value)
		}
		return values, nil
	}
	return []Value{v}, nil
}
