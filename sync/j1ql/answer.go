package j1ql

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Bounds of an answer.
const (
	DefaultRows = 250
	MaxRows     = 10_000
)

// Errors of queries whose text is right.
var (
	ErrNoGraph  = errors.New("the graph has not been delivered to the database yet")
	ErrTooSlow  = errors.New("the query takes too long")
	ErrTooLarge = errors.New("the tree is too large: ask for less")
	ErrDatabase = errors.New("the database that answers queries failed")
	ErrCursor   = errors.New("the cursor is not one of this query")
)

// Request is a question about the graph of an instance.
type Request struct {
	Instance   string
	Query      string
	Parameters map[string]any // for ${name}: texts, numbers, booleans, null, or lists of these
	Limit      int            // rows of a page, if the query has no LIMIT: default DefaultRows, at most MaxRows
	Cursor     string         // of the answer whose next page is wanted
}

// Answer is what a query found. Rows of a list are elements, or, of several
// columns, objects of elements by column; rows of a table are objects of values
// by column, null where absent.
type Answer struct {
	Type       string     `json:"type"` // list, table, tree
	Columns    []string   `json:"columns,omitempty"`
	Data       any        `json:"data"`             // rows, or a Tree
	Cursor     string     `json:"cursor,omitempty"` // of the next page; absent: there is none
	Warnings   []string   `json:"warnings,omitempty"`
	Version    string     `json:"version"`              // the position in the changes feed that the graph had
	LastChange *time.Time `json:"lastChange,omitempty"` // as of which something last changed, on Okta's clock
}

// Element is an entity, or a relationship, in an answer.
type Element struct {
	ID           string         `json:"id"`
	Entity       map[string]any `json:"entity,omitempty"` // its metadata
	Relationship map[string]any `json:"relationship,omitempty"`
	Properties   map[string]any `json:"properties"`
}

// Tree is the part of a graph that a query walked.
type Tree struct {
	Vertices []Element `json:"vertices"`
	Edges    []Element `json:"edges"`
}

// Page says which rows of a query's answer are asked for.
type Page struct {
	Skip, Rows int       // Rows is one more than are shown, to see whether there are more
	Last       bool      // there is no next page
	Now        time.Time // what date.now is, on all pages
	offset     int
	hash       string
	version    string // of the page before; "" for the first
}

// cursor is where the next page begins.
type cursor struct {
	Offset  int    `json:"o"`
	Hash    string `json:"q"`
	Now     int64  `json:"t"`
	Version string `json:"v"`
}

// PageOf returns the page that the request asks for.
func PageOf(r Request, q *Query) (Page, error) {
	params, err := json.Marshal(r.Parameters)
	if err != nil {
		return Page{}, fmt.Errorf("parameters: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %s", r.Instance, r.Query, params))
	p := Page{Now: time.Now(), hash: base64.RawURLEncoding.EncodeToString(sum[:9])}
	if r.Cursor != "" {
		var c cursor
		b, err := base64.RawURLEncoding.DecodeString(r.Cursor)
		if err != nil || json.Unmarshal(b, &c) != nil || c.Hash != p.hash || c.Offset < 0 || c.Offset > 1<<40 {
			return Page{}, ErrCursor
		}
		p.offset, p.version, p.Now = c.Offset, c.Version, time.UnixMilli(c.Now)
	}
	if q.Return != nil && q.Return.Tree {
		p.Rows, p.Last = MaxRows+1, true // SKIP and LIMIT would break it
		return p, nil
	}
	p.Skip = q.Skip + p.offset
	if q.Limit > 0 {
		p.Rows, p.Last = max(q.Limit-p.offset, 0), true
		return p, nil
	}
	rows := r.Limit
	if rows <= 0 {
		rows = DefaultRows
	}
	p.Rows = min(rows, MaxRows) + 1
	return p, nil
}

// Answer makes an answer of the rows that the statement gave.
// version is that of the graph.
func (st Statement) Answer(rows [][]*string, p Page, version string) (Answer, error) {
	a := Answer{Type: st.Type, Warnings: st.Warnings, Version: version}
	if p.version != "" && p.version != version {
		a.Warnings = append(a.Warnings, "the graph changed since the page before: rows may be missing or come twice")
	}
	if st.Type == "tree" && len(rows) > MaxRows {
		return a, fmt.Errorf("%w: more than %d objects", ErrTooLarge, MaxRows)
	}
	if !p.Last && len(rows) == p.Rows {
		rows = rows[:p.Rows-1]
		next, err := json.Marshal(cursor{p.offset + len(rows), p.hash, p.Now.UnixMilli(), version})
		if err != nil {
			return a, err
		}
		a.Cursor = base64.RawURLEncoding.EncodeToString(next)
	}
	data := make([]any, 0, len(rows))
	tree := Tree{Vertices: []Element{}, Edges: []Element{}}
	named := map[string]bool{}
	for _, col := range st.Columns {
		named[col.Name] = true
	}
	all := map[string]bool{} // columns that come from all properties of an object
	for _, row := range rows {
		cells, err := st.Cells(row)
		if err != nil {
			return a, err
		}
		element, isElement := cells[0].(*Element)
		switch {
		case st.Type == "tree" && element.Relationship != nil:
			tree.Edges = append(tree.Edges, *element)
			continue
		case st.Type == "tree":
			tree.Vertices = append(tree.Vertices, *element)
			continue
		case st.Type == "list" && len(cells) == 1 && isElement:
			data = append(data, element)
			continue
		}
		shown := make(map[string]any, len(cells))
		for i, col := range st.Columns {
			element, _ := cells[i].(*Element)
			switch {
			case !col.All && col.Object && element == nil:
				shown[col.Name] = nil
			case !col.All:
				shown[col.Name] = cells[i]
			case element != nil:
				for name, v := range element.all() {
					name = col.Name[:len(col.Name)-1] + name
					if !named[name] { // a column of that name comes first
						all[name], shown[name] = true, v
					}
				}
			}
		}
		data = append(data, shown)
	}
	a.Data = data
	if st.Type == "tree" {
		a.Data = tree
		return a, nil
	}
	for _, col := range st.Columns {
		if !col.All {
			a.Columns = append(a.Columns, col.Name)
			continue
		}
		var names []string
		for name := range all {
			if len(name) >= len(col.Name) && name[:len(col.Name)-1] == col.Name[:len(col.Name)-1] {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		a.Columns = append(a.Columns, names...)
	}
	return a, nil
}

// all returns the properties with the metadata.
func (e *Element) all() map[string]any {
	all := make(map[string]any, len(e.Properties)+6)
	for _, m := range []map[string]any{e.Entity, e.Relationship} {
		maps.Copy(all, m)
	}
	if types, ok := all["_type"].([]any); ok {
		all["_type"] = types[0] // a text everywhere but in an element
	}
	maps.Copy(all, e.Properties)
	return all
}

// Cells makes of the columns of a row the cells of the answer: values as
// encoding/json decodes them, objects as *Element, nil where absent.
func (st Statement) Cells(row []*string) ([]any, error) {
	cells := make([]any, len(st.Columns))
	for i, col := range st.Columns {
		if !col.Object {
			if row[0] != nil {
				err := json.Unmarshal([]byte(*row[0]), &cells[i])
				if tooLarge := (*json.UnmarshalTypeError)(nil); errors.As(err, &tooLarge) {
					cells[i], err = nil, nil // a number that is none
				}
				if err != nil {
					return nil, fmt.Errorf("column %s: %w", col.Name, err)
				}
			}
			row = row[1:]
			continue
		}
		if row[0] != nil {
			e, err := shownAs(row)
			if err != nil {
				return nil, fmt.Errorf("object %s: %w", *row[0], err)
			}
			cells[i] = e
		}
		row = row[objectWidth:]
	}
	return cells, nil
}

func shownAs(row []*string) (*Element, error) {
	key, kind, classes, properties := *row[0], *row[1], *row[2], *row[3]
	e := &Element{ID: key}
	if err := json.Unmarshal([]byte(properties), &e.Properties); err != nil {
		return nil, err
	}
	meta := map[string]any{"_key": key, "_id": key}
	if name, ok := e.Properties["displayName"]; ok {
		meta["displayName"] = name
	}
	if row[4] != nil || row[5] != nil || row[6] != nil && *row[6] == "1" {
		meta["_type"], meta["_class"] = kind, classes
		for name, end := range map[string]*string{"_fromEntityKey": row[4], "_toEntityKey": row[5]} {
			if end != nil {
				meta[name] = *end
			}
		}
		e.Relationship = meta
		return e, nil
	}
	var list []any
	if err := json.Unmarshal([]byte(classes), &list); err != nil {
		return nil, err
	}
	meta["_type"], meta["_class"] = []any{kind}, list
	e.Entity = meta
	return e, nil
}
