package handlers

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"
)

// hookSecretRequest holds the secret that a rotation brings.
type hookSecretRequest struct {
	Secret string `json:"secret" validate:"required,min=16,max=4096,headervalue"`
}

// addHookSecret makes one more secret valid for the deliveries of an instance, so
// that Okta can be given it. Those before it stay valid.
func (a *api) addHookSecret(c echo.Context) error {
	if a.stopping() {
		return errStopping
	}
	id, err := instanceParam(c)
	if err != nil {
		return err
	}
	var req hookSecretRequest
	if err := decode(c, &req, strict); err != nil {
		return err
	}
	if err := invalid(check(&req)); err != nil {
		return err
	}
	n, err := a.engine.AddHookSecret(c.Request().Context(), id, req.Secret)
	if err != nil {
		return fmt.Errorf("add a hook secret to %s: %w", id, err)
	}
	a.Log.Info("an operator gave an order", "order", "add a hook secret", "instance", id)
	return c.JSON(http.StatusOK, map[string]int{"secrets": n})
}

// dropHookSecrets leaves only the newest secret of an instance valid; with a body,
// only if that is the secret in it.
func (a *api) dropHookSecrets(c echo.Context) error {
	id, err := instanceParam(c)
	if err != nil {
		return err
	}
	if c.Request().ContentLength == 0 {
		err = a.engine.DropOldHookSecrets(c.Request().Context(), id)
	} else {
		var req hookSecretRequest
		if err := decode(c, &req, strict); err != nil {
			return err
		}
		if err := invalid(check(&req)); err != nil {
			return err
		}
		err = a.engine.DropHookSecretsBefore(c.Request().Context(), id, req.Secret)
	}
	if err != nil {
		return fmt.Errorf("drop the old hook secrets of %s: %w", id, err)
	}
	a.Log.Info("an operator gave an order", "order", "drop the old hook secrets", "instance", id)
	return c.NoContent(http.StatusNoContent)
}
