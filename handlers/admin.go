package handlers

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"

	"github.com/labstack/echo/v4"

	"github.com/oktasync/oktasync/sync/engine"
)

// instances lists them; with ?fields=summary without what makes a list of many long.
func (a *api) instances(c echo.Context) error {
	fields := c.QueryParam("fields")
	if fields != "" && fields != "summary" {
		return invalid([]fieldError{{"fields", "fields must be summary, or be left out"}})
	}
	list, err := a.engine.Instances(c.Request().Context())
	if err != nil {
		return fmt.Errorf("list the instances: %w", err)
	}
	if fields == "summary" {
		for i, in := range list {
			list[i] = in.Summary()
		}
	}
	return c.JSON(http.StatusOK, map[string]any{"instances": orEmpty(list)})
}

func (a *api) instance(c echo.Context) error {
	id, err := instanceParam(c)
	if err != nil {
		return err
	}
	status, err := a.engine.Instance(c.Request().Context(), id)
	if err != nil {
		return fmt.Errorf("read instance %s: %w", id, err)
	}
	return c.JSON(http.StatusOK, status)
}

func (a *api) runs(c echo.Context) error {
	id, err := instanceParam(c)
	if err != nil {
		return err
	}
	list, err := a.engine.Runs(c.Request().Context(), id)
	if err != nil {
		return fmt.Errorf("list the runs of %s: %w", id, err)
	}
	return c.JSON(http.StatusOK, map[string]any{"runs": orEmpty(list)})
}

func (a *api) run(c echo.Context) error {
	id, err := runParam(c)
	if err != nil {
		return err
	}
	run, err := a.engine.RunByID(c.Request().Context(), id)
	if err != nil {
		return fmt.Errorf("read run %s: %w", id, err)
	}
	return c.JSON(http.StatusOK, run)
}

type resyncRequest struct {
	Mode   string `json:"mode" validate:"omitempty,mode"`
	Object string `json:"object" validate:"omitempty,max=256"`
	Force  bool   `json:"force"`
}

// resync starts a reconcile. A field that does not exist is refused, and so is
// a wish that differs from the run at work: what limits or forces a run must
// not be overlooked.
func (a *api) resync(c echo.Context) error {
	if a.stopping() {
		return errStopping
	}
	id, err := instanceParam(c)
	if err != nil {
		return err
	}
	var req resyncRequest
	if err := decode(c, &req, strict); err != nil {
		return err
	}
	if err := invalid(check(&req)); err != nil {
		return err
	}
	start := engine.Start{Mode: cmp.Or(req.Mode, engine.Modes[0]), Trigger: "resync", Object: req.Object, Force: req.Force}
	run, err := a.engine.StartRun(c.Request().Context(), id, start)
	if err != nil {
		return fmt.Errorf("start a %s run of %s: %w", start.Mode, id, err)
	}
	if run.Mode != start.Mode || run.Object != start.Object || run.Force != start.Force {
		return busyError{run}
	}
	return accepted(c, run)
}

// A run's id begins with its instance's.
var runID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// runParam returns the run that the path names. What cannot be an id never
// reaches the store.
func runParam(c echo.Context) (string, error) {
	id := c.Param("run")
	if !runID.MatchString(id) {
		return "", engine.ErrUnknownRun
	}
	return id, nil
}

// orEmpty makes an empty list [], not null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
