package handlers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/oktasync/oktasync/sync/graph"
)

// graph streams the graph, an object a line. A stream that cannot be finished is
// broken off: the reader sees an error, never an answer that looks complete.
func (a *api) graph(c echo.Context) error {
	id, err := instanceParam(c)
	if err != nil {
		return err
	}
	want, err := graphFilter(c)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	status, err := a.engine.Instance(ctx, id)
	if err != nil {
		return fmt.Errorf("read instance %s: %w", id, err)
	}
	if err := withoutReadDeadline(c); err != nil {
		return err
	}
	c.Response().Header().Set("Oktasync-Whole", strconv.FormatBool(status.Whole))
	c.Response().Header().Set(echo.HeaderContentType, "application/x-ndjson")

	// Headers leave with the first full buffer: an error before it is an answer.
	w := bufio.NewWriterSize(progressWriter{c.Response()}, 64<<10)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for object, err := range a.engine.Graph(ctx, id) {
		if err == nil && want.has(object) {
			err = enc.Encode(object)
		}
		if err != nil {
			return a.breakOff(c, fmt.Errorf("stream the graph of %s: %w", id, err))
		}
	}
	if err := w.Flush(); err != nil {
		return a.breakOff(c, fmt.Errorf("stream the graph of %s: %w", id, err))
	}
	return nil
}

// breakOff ends an answer that has begun so that it cannot pass for a whole one.
func (a *api) breakOff(c echo.Context, err error) error {
	if !c.Response().Committed {
		return err
	}
	if !errors.Is(err, context.Canceled) { // the reader left
		a.Log.Error("answer broken off", "id", requestID(c), "route", c.Path(), "err", err)
	}
	panic(http.ErrAbortHandler)
}

// progressWriter gives each write time of its own: a stream may last as long as
// its reader keeps reading.
type progressWriter struct{ *echo.Response }

func (w progressWriter) Write(p []byte) (int, error) {
	control := http.NewResponseController(w.Response)
	if err := setDeadline(control.SetWriteDeadline, time.Now().Add(sendTimeout)); err != nil {
		return 0, err
	}
	return w.Response.Write(p)
}

// filter holds the types and classes that are asked for. Empty is all.
type filter struct{ types, classes []string }

func graphFilter(c echo.Context) (filter, error) {
	var f filter
	for name, into := range map[string]*[]string{"type": &f.types, "class": &f.classes} {
		for _, values := range c.QueryParams()[name] {
			for v := range strings.SplitSeq(values, ",") {
				if v = strings.TrimSpace(v); v != "" {
					*into = append(*into, v)
				}
			}
		}
		if len(*into) > 100 {
			return filter{}, invalid([]fieldError{{name, name + " must name at most 100 values"}})
		}
	}
	return f, nil
}

func (f filter) has(o graph.Object) bool {
	if o.Entity != nil {
		return f.hasType(o.Entity.Type) && f.hasClass(o.Entity.Class...)
	}
	return f.hasType(o.Relationship.Type) && f.hasClass(o.Relationship.Class)
}

func (f filter) hasType(t string) bool {
	return len(f.types) == 0 || slices.Contains(f.types, t)
}

func (f filter) hasClass(classes ...string) bool {
	return len(f.classes) == 0 || slices.ContainsFunc(classes, func(c string) bool { return slices.Contains(f.classes, c) })
}
