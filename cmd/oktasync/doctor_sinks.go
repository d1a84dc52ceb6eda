package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/oktasync/oktasync/sync/sink/jsonl"
	"github.com/oktasync/oktasync/sync/sink/jupiterone"
	"github.com/oktasync/oktasync/sync/sink/sqldb"
)

// checkSinks looks at the destinations, and changes nothing there.
func (d *doctor) checkSinks(ctx context.Context) {
	sql := false
	for i, target := range targets(d.Sinks.Reveal()) {
		check := fmt.Sprintf("sinks.%d", i+1)
		ctx, cancel := context.WithTimeout(ctx, checkTime)
		kind, rest := kindOf(target)
		switch kind {
		case "sql:", "postgres:", "postgresql:":
			sql = true
			d.checkDatabase(ctx, check, target)
		case "jsonl:":
			d.sink(check, jsonl.Check(rest), "JSON Lines can be written to "+rest+".")
		case "jupiterone":
			if err := d.j1.validate(); err != nil {
				d.sink(check, err, "")
				break
			}
			d.sink(check, jupiterone.Check(ctx, d.j1.config(slog.New(slog.DiscardHandler))),
				"JupiterOne takes the key. Whether it may upload, only an upload tells.")
		case "none":
			d.r.ok(check, "Graphs go nowhere: the sink is none.")
		default:
			d.sink(check, fmt.Errorf("sink %d is of no known kind: expected sql:PATH, postgres://…, jsonl:PATH, jsonl:-, jupiterone or none", i+1), "")
		}
		cancel()
	}
	if !sql {
		d.r.ok("sinks.queries", "No sink is SQL: queries are not answered.")
	}
}

func (d *doctor) checkDatabase(ctx context.Context, check, target string) {
	c, err := sqldb.Check(ctx, target)
	good := "The database " + c.Name + " can be used."
	switch {
	case c.Tables == 0:
		good = "The database " + c.Name + " can be used; the service makes its tables at its start."
	case c.Tables < c.Current:
		good = fmt.Sprintf("The database %s can be used; the service brings its tables from version %d to %d at its start.", c.Name, c.Tables, c.Current)
	}
	d.sink(check, err, good)
}

// sink tells what was found of a sink.
func (d *doctor) sink(check string, err error, good string) {
	if err == nil {
		d.r.ok(check, "%s", shown(good))
		return
	}
	d.r.add(finding{check, levelError, "A sink cannot be used: " + shown(err.Error()) + ".",
		"the service does not start with it, or the sink does not get the graph", "mend that, or take the sink out of OKTASYNC_SINKS"})
}
