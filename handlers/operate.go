package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/oktasync/oktasync/sync/engine"
)

// order gives an order to an instance: pause, resume, delete.
func (a *api) order(what string, give func(ctx context.Context, instance string) error) echo.HandlerFunc {
	return func(c echo.Context) error {
		id, err := instanceParam(c)
		if err != nil {
			return err
		}
		if err := give(c.Request().Context(), id); err != nil {
			return fmt.Errorf("%s instance %s: %w", what, id, err)
		}
		a.Log.Info("an operator gave an order", "order", what, "instance", id)
		return c.NoContent(http.StatusNoContent)
	}
}

// decide decides on a run: cancel, approve. The owner of the instance acts on
// it, so the run is answered as it still stands.
func (a *api) decide(what string, order func(ctx context.Context, run string) (engine.Run, error)) echo.HandlerFunc {
	return func(c echo.Context) error {
		id, err := runParam(c)
		if err != nil {
			return err
		}
		run, err := order(c.Request().Context(), id)
		if err != nil {
			return fmt.Errorf("%s run %s: %w", what, id, err)
		}
		a.Log.Info("an operator gave an order", "order", what, "run", id)
		return accepted(c, run)
	}
}

// held lists what a run holds, or with ?scope= the records that one entry of it
// stands for; a part at a time.
func (a *api) held(c echo.Context) error {
	id, err := runParam(c)
	if err != nil {
		return err
	}
	ctx, after := c.Request().Context(), c.QueryParam("after")
	var list []engine.HeldRecord
	var next string
	if scope := c.QueryParam("scope"); scope != "" {
		list, next, err = a.engine.HeldOfScope(ctx, id, scope, after)
	} else {
		list, next, err = a.engine.HeldRecords(ctx, id, after)
	}
	if err != nil {
		return fmt.Errorf("list what run %s holds: %w", id, err)
	}
	return c.JSON(http.StatusOK, struct {
		Held []engine.HeldRecord `json:"held"`
		Next string              `json:"next,omitempty"` // the after of the next part
	}{orEmpty(list), next})
}

// How many dead letters one answer lists, and one replay may name.
const (
	someLetters = 100
	maxLetters  = 1000
)

// deadLetters lists dead letters, oldest first, without their events: those
// name people.
func (a *api) deadLetters(c echo.Context) error {
	id, err := instanceParam(c)
	if err != nil {
		return err
	}
	var wrong []fieldError
	after := c.QueryParam("after")
	if after != "" && !engine.LetterForm.MatchString(after) {
		wrong = append(wrong, fieldError{"after", "after must be the id of a dead letter"})
	}
	limit := someLetters
	if text := c.QueryParam("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxLetters {
			wrong = append(wrong, fieldError{"limit", fmt.Sprintf("limit must be a number from 1 to %d", maxLetters)})
		}
	}
	if err := invalid(wrong); err != nil {
		return err
	}
	letters, err := a.engine.DeadLetters(c.Request().Context(), id, after, limit)
	if err != nil {
		return fmt.Errorf("list the dead letters of %s: %w", id, err)
	}
	return c.JSON(http.StatusOK, map[string]any{"deadLetters": orEmpty(letters)})
}

// deadLetter shows one dead letter with its event: JSON as it came, or a text
// where it is none.
func (a *api) deadLetter(c echo.Context) error {
	id, err := instanceParam(c)
	if err != nil {
		return err
	}
	letter := c.Param("letter")
	l, err := a.engine.DeadLetter(c.Request().Context(), id, letter)
	if err != nil {
		return fmt.Errorf("read dead letter %s of %s: %w", letter, id, err)
	}
	return c.JSON(http.StatusOK, struct {
		engine.DeadLetter
		Event any `json:"event"`
	}{l, eventOf(l.Event)})
}

func eventOf(raw []byte) any {
	if json.Valid(raw) {
		return json.RawMessage(raw)
	}
	return string(raw)
}

// replayRequest names dead letters; without IDs it is all of them. An empty list
// is refused: none must not become all.
type replayRequest struct {
	IDs []string `json:"ids" validate:"omitempty,min=1,max=1000,dive,letter"`
}

// replay sends dead letters back to the inbox: those that are named, or all.
func (a *api) replay(c echo.Context) error {
	if a.stopping() {
		return errStopping
	}
	id, err := instanceParam(c)
	if err != nil {
		return err
	}
	var req replayRequest
	if err := decode(c, &req, strict); err != nil {
		return err
	}
	if err := invalid(check(&req)); err != nil {
		return err
	}
	replayed, err := a.engine.Replay(c.Request().Context(), id, req.IDs)
	if err != nil {
		return fmt.Errorf("replay dead letters of %s: %w", id, err)
	}
	return c.JSON(http.StatusOK, replayed)
}
