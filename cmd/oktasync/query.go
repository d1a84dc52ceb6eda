package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/oktasync/oktasync/sync/j1ql"
	"github.com/oktasync/oktasync/sync/sink/sqldb"
)

type queryCmd struct {
	Query string `arg:"" help:"J1QL, as 'Find User that !is Person'; - reads it from standard input."`

	Database Secret            `name:"database" placeholder:"SINK" help:"sql:PATH or postgres://…; without it the first such sink of OKTASYNC_SINKS, or ${defaultSink}."`
	Sinks    Secret            `default:"${defaultSink}" env:"OKTASYNC_SINKS" hidden:""`
	Instance string            `placeholder:"ID" help:"Whose graph to ask; without it the only one there is."`
	Output   string            `short:"o" enum:"table,json,csv" default:"table" help:"table, json or csv."`
	Limit    int               `default:"250" help:"Rows of a page, of a query without LIMIT, 1 to 10,000."`
	All      bool              `help:"All pages."`
	Cursor   string            `help:"The page that an earlier answer told of."`
	Param    map[string]string `mapsep:"none" help:"Value of $${name} in the query: a text, or JSON as 5, true or [\"a\",\"b\"]."`
}

// Run asks a database that a service writes, while it runs or not.
func (cmd *queryCmd) Run(ctx context.Context, w world) error {
	if cmd.Limit < 1 || cmd.Limit > j1ql.MaxRows {
		return usageError{fmt.Errorf("--limit must be from 1 to %d", j1ql.MaxRows)}
	}
	text := cmd.Query
	if text == "-" {
		b, err := io.ReadAll(io.LimitReader(w.stdin, 1<<20))
		if err != nil {
			return fmt.Errorf("read the query: %w", err)
		}
		text = string(b)
	}
	target, err := cmd.target()
	if err != nil {
		return usageError{err}
	}
	db, err := sqldb.OpenReadOnly(ctx, target)
	if err != nil {
		return err
	}
	defer db.Close()
	if cmd.Instance == "" {
		if cmd.Instance, err = onlyInstance(ctx, db); err != nil {
			return err
		}
	}
	r := j1ql.Request{Instance: cmd.Instance, Query: text, Parameters: parameters(cmd.Param), Limit: cmd.Limit, Cursor: cmd.Cursor}
	answer, err := db.Query(ctx, r)
	if wrong := (*j1ql.Error)(nil); errors.As(err, &wrong) {
		return usageError{fmt.Errorf("%w\n%s", err, pointAt(text, wrong.Pos))}
	}
	if err != nil {
		return err
	}
	for cmd.All && answer.Cursor != "" {
		r.Cursor = answer.Cursor
		next, err := db.Query(ctx, r)
		if err != nil {
			return err
		}
		rows, _ := answer.Data.([]any)
		more, _ := next.Data.([]any)
		next.Warnings = merged(answer.Warnings, next.Warnings)
		next.Data = append(rows, more...)
		next.Columns = merged(answer.Columns, next.Columns)
		answer = next
	}
	for _, warning := range answer.Warnings {
		fmt.Fprintln(w.stderr, "Warning:", warning)
	}
	if answer.Cursor != "" {
		fmt.Fprintf(w.stderr, "There are more rows: --all, or --cursor %s\n", answer.Cursor)
	}
	return write(w.stdout, cmd.Output, answer)
}

// target is the database to ask.
func (cmd *queryCmd) target() (string, error) {
	if cmd.Database != "" {
		return cmd.Database.Reveal(), nil
	}
	for _, target := range targets(cmd.Sinks.Reveal()) {
		if kind, _ := kindOf(target); slices.Contains([]string{"sql:", "postgres:", "postgresql:"}, kind) {
			return target, nil
		}
	}
	return "", errors.New("no sink of OKTASYNC_SINKS is SQL: name a database with --database")
}

// onlyInstance is the instance that a database holds, if it is one.
func onlyInstance(ctx context.Context, db *sqldb.DB) (string, error) {
	ids, err := db.Instances(ctx)
	switch {
	case err != nil:
		return "", err
	case len(ids) == 0:
		return "", fmt.Errorf("%s holds no graph yet: a service delivers one once it has read an org in full", db.Name())
	case len(ids) > 1:
		return "", usageError{fmt.Errorf("%s holds several graphs: name one with --instance: %s", db.Name(), strings.Join(ids, ", "))}
	}
	return ids[0], nil
}

// parameters takes a value for JSON if it is.
func parameters(texts map[string]string) map[string]any {
	all := make(map[string]any, len(texts))
	for name, text := range texts {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			v = text
		}
		all[name] = v
	}
	return all
}

// pointAt shows the line of a query with a mark under the column.
func pointAt(query string, at j1ql.Pos) string {
	lines := strings.Split(query, "\n")
	if at.Line < 1 || at.Line > len(lines) {
		return ""
	}
	line := []rune(lines[at.Line-1])
	before := line[:min(max(at.Column-1, 0), len(line))]
	indent := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string(before))
	return "  " + string(line) + "\n  " + indent + "^"
}

func merged(a, b []string) []string {
	for _, name := range b {
		if !slices.Contains(a, name) {
			a = append(a, name)
		}
	}
	return a
}

// write prints an answer.
func write(w io.Writer, form string, a j1ql.Answer) error {
	if form == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(a)
	}
	columns, rows := grid(a)
	if form == "csv" {
		out := csv.NewWriter(w)
		if err := out.Write(columns); err != nil {
			return err
		}
		return errors.Join(out.WriteAll(rows), out.Error())
	}
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range append([][]string{columns}, rows...) {
		for i := range row {
			row[i] = printable(row[i])
		}
		fmt.Fprintln(out, strings.Join(row, "\t"))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	last := ""
	if a.LastChange != nil {
		last = "The graph last changed at " + a.LastChange.Format(time.RFC3339) + ".\n"
	}
	_, err := fmt.Fprintf(w, "(%d rows)\n%s", len(rows), last)
	return err
}

// elementColumns are what a list shows of an entity in a grid.
var elementColumns = []string{"_type", "_key", "displayName"}

// grid makes texts of an answer.
func grid(a j1ql.Answer) (columns []string, rows [][]string) {
	if tree, ok := a.Data.(j1ql.Tree); ok {
		for _, e := range append(slices.Clone(tree.Vertices), tree.Edges...) {
			rows = append(rows, elementRow(&e))
		}
		return elementColumns, rows
	}
	data, _ := a.Data.([]any)
	if columns = a.Columns; a.Type == "list" && len(columns) == 1 {
		columns = elementColumns
	}
	for _, item := range data {
		switch item := item.(type) {
		case *j1ql.Element:
			rows = append(rows, elementRow(item))
		case map[string]any:
			row := make([]string, len(columns))
			for i, name := range columns {
				row[i] = cell(item[name])
			}
			rows = append(rows, row)
		}
	}
	return columns, rows
}

func elementRow(e *j1ql.Element) []string {
	row := make([]string, len(elementColumns))
	for i, name := range elementColumns {
		v := e.Properties[name]
		for _, meta := range []map[string]any{e.Entity, e.Relationship} {
			if m, ok := meta[name]; ok {
				v = m
			}
		}
		if list, ok := v.([]any); ok && len(list) == 1 {
			v = list[0]
		}
		row[i] = cell(v)
	}
	return row
}

// cell is a value as text: texts as they are, others as JSON.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case *j1ql.Element:
		if v == nil {
			return ""
		}
		return v.ID
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// printable keeps a cell on its line, and control characters from the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
