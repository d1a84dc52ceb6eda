package handlers

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// health answers as long as the process lives.
func (a *api) health(c echo.Context) error {
	store := "redis"
	if a.engine.Embedded() {
		store = "embedded"
	}
	return c.JSON(http.StatusOK, map[string]string{"status": "alive", "store": store})
}

// ready answers 200 while deliveries can be stored.
func (a *api) ready(c echo.Context) error {
	if a.stopping() {
		return errStopping
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), 2*time.Second)
	defer cancel()
	if err := a.engine.Ready(ctx); err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	return c.JSON(http.StatusOK, map[string]string{"status": "ready"})
}
