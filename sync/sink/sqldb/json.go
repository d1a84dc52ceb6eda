package sqldb

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/oktasync/oktasync/sync/graph"
)

// The JSON in the database is what encoding/json writes, of numbers too, with
// two exceptions that PostgreSQL asks for: see the package.

// encode returns properties, or a mapping, as JSON.
func encode(v any) (string, error) {
	b, err := marshal(v)
	if err != nil {
		return "", err
	}
	if !storable(b) {
		plain, err := decode(b)
		if err != nil {
			return "", err
		}
		if b, err = marshal(plain); err != nil {
			return "", err
		}
	}
	return string(b), nil
}

// marshal writes <, > and & as they are, as SQLite does.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// storable tells whether JSON holds no NUL, and of numbers only integers of at most
// 18 digits: then it is stored as it is. It may be wrong in saying no.
func storable(b []byte) bool {
	if bytes.Contains(b, []byte(`\u0000`)) {
		return false
	}
	for i, inText := 0, false; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\\':
			i++ // the character after it is escaped
		case c == '"':
			inText = !inText
		case inText:
		case c == '-' || c >= '0' && c <= '9':
			start := i
			for i < len(b) && strings.IndexByte("+-.eE0123456789", b[i]) >= 0 {
				if b[i] < '0' && i > start || b[i] > '9' {
					return false
				}
				i++
			}
			if i-start > 18 || string(b[start:i]) == "-0" {
				return false
			}
			i--
		}
	}
	return true
}

// decode reads JSON; its texts are clean and its numbers canonical.
func decode(b []byte) (any, error) {
	var v any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return canonical(v), nil
}

func canonical(v any) any {
	switch v := v.(type) {
	case string:
		return clean(v)
	case json.Number:
		return number(v)
	case []any:
		for i := range v {
			v[i] = canonical(v[i])
		}
	case map[string]any:
		for name, value := range v {
			if plain := clean(name); plain != name {
				delete(v, name)
				name = plain
			}
			v[name] = canonical(value)
		}
	}
	return v
}

// number returns a number as encoding/json writes an integer or a float64 of that
// value; and one that is too large for a float64 as a text.
func number(n json.Number) any {
	text := string(n)
	if text != "-0" {
		if _, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
		if _, err := strconv.ParseUint(text, 10, 64); err == nil {
			return n
		}
	}
	f, err := n.Float64()
	if err != nil {
		return text
	}
	if f == 0 {
		return json.Number("0") // also of -0, which PostgreSQL does not know
	}
	b, err := json.Marshal(f)
	if err != nil {
		return text
	}
	return json.Number(b)
}

// clean returns a text without NUL, and in valid UTF-8.
func clean(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}

// readProperties reads properties from the database. PostgreSQL writes numbers its
// own way.
func readProperties(text string) (graph.Properties, error) {
	v, err := decode([]byte(text))
	if err != nil {
		return nil, err
	}
	p, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("properties that are no JSON object")
	}
	return p, nil
}
