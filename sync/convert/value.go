package convert

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oktasync/oktasync/sync/graph"
)

// maxText is the length that JupiterOne's indexer takes, in characters.
const maxText = 4096

// cut shortens text to maxText characters, the last three of them dots.
func cut(s string) string {
	if len(s) <= maxText || utf8.RuneCountInString(s) <= maxText {
		return s
	}
	return string([]rune(s)[:maxText-3]) + "..."
}

// setText sets properties to the text, unless it is empty.
func setText(p graph.Properties, text string, names ...string) {
	if text == "" {
		return
	}
	for _, name := range names {
		p[name] = cut(text)
	}
}

// setTime sets properties to the time in epoch milliseconds, unless the text is
// no time.
func setTime(p graph.Properties, text string, names ...string) {
	ms, ok := millis(text)
	if !ok {
		return
	}
	for _, name := range names {
		p[name] = ms
	}
}

// timeLayouts are the forms of ISO 8601 that occur. Without a zone it is UTC.
// Fractions of seconds need no layout of their own.
var timeLayouts = []string{
	time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00",
	"2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02", "2006-01",
}

// millis reads an ISO 8601 time. Digits alone are not taken for an epoch: nobody
// says in which unit.
func millis(text string) (int64, bool) {
	text = strings.TrimSpace(text)
	if len(text) > 64 {
		return 0, false
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UnixMilli(), true
		}
	}
	return 0, false
}

// text returns a value that is a string, else "".
func text(v any) string {
	s, _ := v.(string)
	return s
}

// scalar returns a value that a property can hold: text, number or boolean.
func scalar(v any) (any, bool) {
	switch v := v.(type) {
	case string:
		return cut(v), true
	case bool, float64, json.Number, int, int64:
		return v, true
	}
	return nil, false
}

// setScalar sets a property to a scalar that is not empty text.
func setScalar(p graph.Properties, name string, v any) {
	if v, ok := scalar(v); ok && v != "" {
		p[name] = v
	}
}

// jsonText is a value as JSON text, as JavaScript would write it.
func jsonText(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return ""
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// first returns the first text that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
