package handlers

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/oktasync/oktasync/sync/engine"
)

func (a *api) instances(c echo.Context) error {
	list, err := a.engine.Instances(c.Request().Context())
	if err != nil {
		return fmt.Errorf("list the instances: %w", err)
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
	id := c.Param("run")
	if len(id) > 128 || !printable(id) {
		return engine.ErrUnknownRun
	}
	run, err := a.engine.RunByID(c.Request().Context(), id)
	if err != nil {
		return fmt.Errorf("read run %s: %w", id, err)
	}
	return c.JSON(http.StatusOK, run)
}

// resync starts a reconcile. A field that does not exist is refused: what limits
// or forces a run must not be overlooked.
func (a *api) resync(c echo.Context) error {
	if a.stopping() {
		return errStopping
	}
	id, err := instanceParam(c)
	if err != nil {
		return err
	}
	var req struct {
		Mode string `json:"mode" validate:"omitempty,mode"`
	}
	if err := decode(c, &req, strict); err != nil {
		return err
	}
	if err := invalid(check(&req)); err != nil {
		return err
	}
	return a.startRun(c, id, req.Mode, "resync")
}

// orEmpty makes an empty list [], not null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
