package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/oktasync/oktasync/sync/j1ql"
)

// errNoDatabase says that nothing here can answer a query.
var errNoDatabase = errors.New("queries are answered by a SQL sink, and none is configured: add sql:PATH or postgres://… to OKTASYNC_SINKS")

type queryRequest struct {
	Query      string         `json:"query" validate:"required,max=32768"`
	Parameters map[string]any `json:"parameters" validate:"max=100"`
	Limit      int            `json:"limit"` // rows of a page, for a query without LIMIT
	Cursor     string         `json:"cursor" validate:"max=256"`
}

// lateAfter is from when on an answer says that the database is behind.
const lateAfter = time.Minute

// query answers a J1QL query about an instance. A query may take longer than
// answers usually have time for, but never longer than the database allows it.
func (a *api) query(c echo.Context) error {
	id, err := instanceParam(c)
	if err != nil {
		return err
	}
	var req queryRequest
	if err := decode(c, &req, strict); err != nil {
		return err
	}
	wrong := check(&req)
	if req.Limit < 0 || req.Limit > j1ql.MaxRows {
		wrong = append(wrong, fieldError{"limit", fmt.Sprintf("limit must be a number from 1 to %d", j1ql.MaxRows)})
	}
	if err := invalid(wrong); err != nil {
		return err
	}
	ctx := c.Request().Context()
	status, err := a.engine.Instance(ctx, id)
	if err != nil {
		return fmt.Errorf("read instance %s: %w", id, err)
	}
	if a.Query == nil {
		return errNoDatabase
	}
	answer, err := a.Query(ctx, j1ql.Request{Instance: id, Query: req.Query, Parameters: req.Parameters, Limit: req.Limit, Cursor: req.Cursor})
	if err != nil {
		return fmt.Errorf("query instance %s: %w", id, err)
	}
	if !status.Whole {
		answer.Warnings = append(answer.Warnings, "the graph is not known to be whole: it is that of an earlier full read")
	}
	if db := status.Sinks[a.Database]; db.Error != "" || db.Lag != nil && *db.Lag > lateAfter.Seconds() {
		answer.Warnings = append(answer.Warnings, "the database is behind the graph: see sinks of GET /admin/instances/"+id)
	}
	if err := setDeadline(http.NewResponseController(c.Response()).SetWriteDeadline, time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, answer)
}

type snapshotRequest struct {
	Sink  string `json:"sink" validate:"max=1024"` // as the instance's state names it; empty: all
	Force bool   `json:"force"`
}

// snapshot asks for a snapshot to the sinks of an instance: its owner acts on it
// within seconds.
func (a *api) snapshot(c echo.Context) error {
	id, err := instanceParam(c)
	if err != nil {
		return err
	}
	var req snapshotRequest
	if err := decode(c, &req, strict); err != nil {
		return err
	}
	if err := invalid(check(&req)); err != nil {
		return err
	}
	ctx := c.Request().Context()
	if err := a.engine.Resnapshot(ctx, id, req.Sink, req.Force); err != nil {
		return fmt.Errorf("ask for a snapshot of %s: %w", id, err)
	}
	a.Log.Info("an operator gave an order", "order", "snapshot", "instance", id, "sink", req.Sink, "force", req.Force)
	status, err := a.engine.Instance(ctx, id)
	if err != nil {
		return fmt.Errorf("read instance %s: %w", id, err)
	}
	return c.JSON(http.StatusAccepted, map[string]any{"sinks": status.Sinks})
}
