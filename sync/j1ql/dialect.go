package j1ql

import (
	"fmt"
	"slices"
	"strings"
)

// Dialect is the SQL of a database. Both databases hold the tables entities and
// relationships of package sqldb; what differs is how JSON is taken apart.
type Dialect int

// The dialects.
const (
	SQLite     Dialect = iota // with the function j1ql_regexp(pattern, text), of Go's regexp
	PostgreSQL                // 12 or later
)

// Indexed are the properties by whose value the databases find an entity.
var Indexed = []string{"email", "login", "displayName", "username", "name", "id"}

// param is the n-th parameter, from 1, as a text or a number.
func (d Dialect) param(n int, number bool) string {
	switch {
	case d == SQLite:
		return fmt.Sprintf("?%d", n)
	case number:
		return fmt.Sprintf("$%d::float8", n)
	}
	return fmt.Sprintf("$%d::text", n)
}

// element is one scalar of a JSON value in SQL: its type, and its value, which
// of PostgreSQL is a text.
type element struct{ kind, value string }

func (d Dialect) isText(e element) string {
	if d == SQLite {
		return e.kind + " = 'text'"
	}
	return e.kind + " = 'string'"
}

// number is the element as a number; NULL if it is none.
func (d Dialect) number(e element) string {
	if d == SQLite {
		return fmt.Sprintf("CASE WHEN %s IN ('integer', 'real') THEN CAST(%s AS REAL) END", e.kind, e.value)
	}
	return fmt.Sprintf("CASE WHEN %s = 'number' THEN (%s)::float8 END", e.kind, e.value)
}

func (d Dialect) isBoolean(e element, is bool) string {
	if d == SQLite {
		return fmt.Sprintf("%s = '%t'", e.kind, is)
	}
	return fmt.Sprintf("(%s = 'boolean' AND %s = '%t')", e.kind, e.value, is)
}

// scalar is a JSON value in SQL taken for one element.
func (d Dialect) scalar(json string) element {
	if d == SQLite {
		return element{"json_type(" + json + ")", "json_extract(" + json + ", '$')"}
	}
	return element{"jsonb_typeof(" + json + ")", "((" + json + ") #>> '{}')"}
}

// elements is a table of the elements of a JSON value, under an alias; and how
// to speak of one. Null has a row, of the type null.
func (d Dialect) elements(json, alias string) (table string, e element) {
	if d == SQLite {
		return fmt.Sprintf("json_each(CASE json_type(%s) WHEN 'object' THEN '[]' ELSE %s END) %s", json, json, alias), element{alias + ".type", alias + ".value"}
	}
	table = fmt.Sprintf("jsonb_array_elements(CASE jsonb_typeof(%s) WHEN 'array' THEN %s ELSE COALESCE(jsonb_build_array(%s), '[]') END) %s(v)",
		json, json, json, alias)
	return table, element{"jsonb_typeof(" + alias + ".v)", "(" + alias + ".v #>> '{}')"}
}

// quoted is a text in SQL as a JSON value.
func (d Dialect) quoted(text string) string {
	if d == SQLite {
		return "NULLIF(json_quote(" + text + "), 'null')"
	}
	return "to_jsonb(" + text + ")"
}

// numeral is a number in SQL as a JSON value.
func (d Dialect) numeral(number string) string {
	if d == SQLite {
		// A whole number without a fraction, as encoding/json writes it.
		return "(SELECT NULLIF(json_quote(CASE WHEN abs(w.v) < 1e15 AND w.v = CAST(w.v AS INTEGER) THEN CAST(w.v AS INTEGER) ELSE w.v END), 'null') FROM (SELECT " + number + " AS v) w)"
	}
	return "to_jsonb((" + number + ")::float8 + 0)" // no -0
}

// compareText compares two texts in SQL.
func (d Dialect) compareText(kind OpKind, a, b string) string {
	switch kind {
	case Contains:
		if d == SQLite {
			return fmt.Sprintf("instr(%s, %s) > 0", a, b)
		}
		return fmt.Sprintf("strpos(%s, %s) > 0", a, b)
	case StartsWith:
		if d == SQLite {
			return fmt.Sprintf("substr(%s, 1, length(%s)) = %s", a, b, b)
		}
		return fmt.Sprintf("starts_with(%s, %s)", a, b)
	case EndsWith:
		if d == SQLite {
			return fmt.Sprintf("length(%s) >= length(%s) AND substr(%s, length(%s) - length(%s) + 1) = %s", a, b, a, a, b, b)
		}
		return fmt.Sprintf("right(%s, length(%s)) = %s", a, b, b)
	}
	return fmt.Sprintf("%s = %s", a, b)
}

// sortKeys sorts JSON values in SQL: numbers, texts, booleans, lists; what is
// absent comes last, also when the order is descending.
func (d Dialect) sortKeys(json string, desc bool) string {
	e := d.scalar(json)
	direction := ""
	if desc {
		direction = " DESC"
	}
	text := fmt.Sprintf("CASE WHEN %s THEN %s ELSE %s END", d.isText(e), e.value, d.text(json))
	return fmt.Sprintf("CASE WHEN %s IS NULL THEN 9 WHEN %s IS NOT NULL THEN 0 WHEN %s THEN 1 WHEN %s IN ('true', 'false', 'boolean') THEN 2 ELSE 3 END, COALESCE(%s, 0)%s, %s%s",
		json, d.number(e), d.isText(e), e.kind, d.number(e), direction, d.bytes("COALESCE("+text+", '')"), direction)
}

// text is a JSON value in SQL as its text.
func (d Dialect) text(json string) string {
	if d == SQLite {
		return json
	}
	return "(" + json + ")::text"
}

// bytes has a text in SQL sorted by its bytes.
func (d Dialect) bytes(text string) string {
	if d == SQLite {
		return text
	}
	return "(" + text + `) COLLATE "C"`
}

// property is a property as a JSON value, NULL if absent.
func (d Dialect) property(column, name string, bind func(any) string) string {
	if d == SQLite {
		name = `$."` + name + `"`
	}
	return fmt.Sprintf("NULLIF(%s -> %s, 'null')", column, bind(name))
}

// found is a condition that an index finds by: the property is one of these
// texts. It does not tell whether it is a text. It is "" unless the name is one of
// Indexed: such a name alone stands in the SQL, since the index has it there.
func (d Dialect) found(column, name string, params []string) string {
	switch {
	case !slices.Contains(Indexed, name):
		return ""
	case d == SQLite:
		return fmt.Sprintf("json_extract(%s, '$.%s') IN (%s)", column, name, list(params))
	}
	// The index holds the beginning: a long text would not fit.
	beginnings := make([]string, len(params))
	for i, p := range params {
		beginnings[i] = "left(" + p + ", 256)"
	}
	return fmt.Sprintf("left(%s ->> '%s', 256) IN (%s)", column, name, list(beginnings))
}

func list(items []string) string { return strings.Join(items, ", ") }
