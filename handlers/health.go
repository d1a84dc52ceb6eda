package handlers

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/oktasync/oktasync/sync/engine"
)

// lookTimeout is how long health, readiness and metrics wait for the store.
const lookTimeout = 2 * time.Second

// health answers 200 as long as the process lives: a restart would not cure a
// Redis that is away. What is the matter stands in the body.
func (a *api) health(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), lookTimeout)
	defer cancel()
	health, err := a.engine.Health(ctx)
	if err != nil {
		// The error's text may name addresses: this answer is for anyone.
		return c.JSON(http.StatusOK, map[string]any{
			"status":   "degraded",
			"warnings": []string{"Redis does not answer: event hooks are answered 503, and all work resumes by itself once it answers"},
		})
	}
	return c.JSON(http.StatusOK, struct {
		Status string `json:"status"`
		engine.Health
	}{"ok", health})
}

// ready answers 200 while deliveries can be stored.
func (a *api) ready(c echo.Context) error {
	if a.stopping() {
		return errStopping
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), lookTimeout)
	defer cancel()
	if err := a.engine.Ready(ctx); err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	return c.JSON(http.StatusOK, map[string]string{"status": "ready"})
}
