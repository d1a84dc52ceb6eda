package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/oktasync/oktasync/handlers"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/jsonl"
	"github.com/oktasync/oktasync/sync/sink/sqldb"
)

// defaultSink is where graphs go, and queries are answered from, unless told
// otherwise.
const defaultSink = "sql:oktasync.db"

// delivery is where graphs go.
type delivery struct {
	Sinks     Secret        `default:"${defaultSink}" env:"OKTASYNC_SINKS" placeholder:"SINK,…" help:"Where graphs go: sql:PATH, postgres://…, jsonl:PATH, jsonl:-, jupiterone; the first that is SQL answers queries. The default is ${defaultSink}; none: nowhere."`
	QueryTime time.Duration `default:"5s" env:"OKTASYNC_QUERY_TIME" help:"How long a query may take."`

	j1 `embed:""`
}

// sinks are destinations that are open.
type sinks struct {
	all []sink.Sink
	db  *sqldb.DB // the first that is SQL; nil: none
}

// moreHosts is what follows a comma in the URL of a PostgreSQL with several hosts.
var moreHosts = regexp.MustCompile(`^[A-Za-z0-9._\[\]:-]+(:[0-9]+)?(/|,|$)`)

// targets splits what OKTASYNC_SINKS holds. A comma within the hosts of a PostgreSQL URL
// is part of it.
func targets(text string) []string {
	var all []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		if last := len(all) - 1; last >= 0 {
			before, _ := kindOf(all[last])
			if kind, _ := kindOf(part); kind == "" && strings.HasPrefix(before, "postgres") && moreHosts.MatchString(part) && !strings.EqualFold(part, "jupiterone") {
				all[last] += "," + part
				continue
			}
		}
		all = append(all, part)
	}
	return all
}

// kindOf tells the kind of a target, and what follows it.
func kindOf(target string) (kind, rest string) {
	for _, prefix := range []string{"sql:", "postgres:", "postgresql:", "jsonl:"} {
		if rest, ok := strings.CutPrefix(target, prefix); ok {
			return prefix, rest
		}
	}
	if target == "jupiterone" || target == "none" {
		return target, ""
	}
	return "", target
}

// open opens the destinations. What is wrong with a target is told by its place
// and kind: it may hold a password.
func (d delivery) open(ctx context.Context, log *slog.Logger, stdout io.Writer) (s sinks, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if d.QueryTime < 100*time.Millisecond || d.QueryTime > 10*time.Minute {
		return s, usageError{errors.New("the time of a query must be from 100ms to 10m")}
	}
	names := map[string]bool{}
	for i, target := range targets(d.Sinks.Reveal()) {
		var made sink.Sink
		kind, rest := kindOf(target)
		one := target
		if kind == "sql:" || kind == "jsonl:" && rest != "-" {
			if path, err := filepath.Abs(rest); err == nil {
				one = kind + path
			}
		}
		if names[one] {
			return s, usageError{fmt.Errorf("OKTASYNC_SINKS, sink %d is named twice", i+1)}
		}
		names[one] = true
		switch kind {
		case "sql:", "postgres:", "postgresql:":
			var db *sqldb.DB
			if db, err = sqldb.Open(ctx, target, log); err == nil {
				db.QueryTime = d.QueryTime
				made = db
				if s.db == nil {
					s.db = db
				}
			}
		case "jsonl:":
			if rest == "" {
				return s, usageError{fmt.Errorf("OKTASYNC_SINKS, sink %d: jsonl: needs a path, or - for standard output", i+1)}
			}
			made, err = jsonl.New(jsonl.Config{Path: rest, Stdout: stdout, Log: log})
		case "jupiterone":
			if err := d.j1.validate(); err != nil {
				return s, usageError{err}
			}
			made, err = d.j1.open(log)
		case "none":
			continue
		default:
			return s, usageError{fmt.Errorf("OKTASYNC_SINKS, sink %d: expected sql:PATH, postgres://…, jsonl:PATH, jsonl:-, jupiterone or none", i+1)}
		}
		if err != nil {
			return s, fmt.Errorf("OKTASYNC_SINKS, sink %d: %w", i+1, err)
		}
		s.all = append(s.all, made)
	}
	return s, nil
}

// query is how queries are answered; nil if they cannot be.
func (s sinks) query() handlers.Query {
	if s.db == nil {
		return nil
	}
	return s.db.Query
}

// database is the name of the sink that answers queries; "" for none.
func (s sinks) database() string {
	if s.db == nil {
		return ""
	}
	return s.db.Name()
}

func (s sinks) close() error {
	var errs []error
	for _, one := range s.all {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}
