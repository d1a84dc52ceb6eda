package handlers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta"
)

const (
	// hookTimeout is the time in which a delivery is read and stored. Okta gives
	// up after three seconds: past this, a 503 makes it try once more.
	hookTimeout = 2500 * time.Millisecond

	maxDelivery  = 8 << 20
	maxChallenge = 1024
	maxSecrets   = 2
)

// verifyHook answers the one GET that Okta sends to prove that the address is
// ours. It does nothing but echo, so it asks for no secret: whether Okta sends
// one here is not documented.
func (a *api) verifyHook(c echo.Context) error {
	id, err := instanceParam(c)
	if err != nil {
		return err
	}
	if _, err := a.engine.HookSecrets(c.Request().Context(), id); err != nil {
		return fmt.Errorf("verify the hook of %s: %w", id, err)
	}
	challenge := c.Request().Header.Get("X-Okta-Verification-Challenge")
	if !usableChallenge(challenge) {
		return &invalidError{Detail: fmt.Sprintf("the header X-Okta-Verification-Challenge must hold 1 to %d printable "+
			"ASCII characters; this address receives Okta's event hooks, and only Okta's verification reads it", maxChallenge)}
	}
	return c.JSON(http.StatusOK, map[string]string{"verification": challenge})
}

func usableChallenge(s string) bool {
	return len(s) >= 1 && len(s) <= maxChallenge && printable(s)
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// receiveHook stores a delivery and answers; the work waits for the engine. The
// order of the checks is: stopping 503, instance 404, secret 401, size 413,
// form 400, store 503. So nobody without the secret makes us read a body, and
// whatever may be our own fault is a 5xx, which Okta repeats: what it is told
// with a 4xx it throws away.
func (a *api) receiveHook(c echo.Context) (err error) {
	if a.stopping() {
		return errStopping
	}
	r := c.Request()
	deadline := time.Now().Add(a.hookTimeout)
	// A caller that hangs up after sending all has still told us something.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(r.Context()), deadline)
	defer cancel()

	h, err := a.authenticateHook(ctx, c)
	if err != nil {
		return err
	}
	id := h.Instance
	c.Set(deliveredTo, id)
	ctx, span := startDelivery(ctx, id)
	defer func() { endDelivery(span, err) }()

	body, err := readBody(c, maxDelivery, deadline)
	if err != nil {
		return fmt.Errorf("read a delivery for %s: %w", id, err)
	}
	d, err := okta.ParseDelivery(body)
	if err != nil {
		return fmt.Errorf("a delivery for %s: %w", id, err)
	}
	noteDelivery(span, d)
	err = a.engine.AcceptBy(ctx, h, d)
	for errors.Is(err, engine.ErrChanged) { // the secret may have been dropped, and the body is read already
		if h, err = a.authenticateHookAnew(ctx, c); err != nil {
			c.Set(deliveredTo, "")
			return err
		}
		err = a.engine.AcceptBy(ctx, h, d)
	}
	if err != nil {
		return fmt.Errorf("accept delivery %s for %s: %w", d.EventID, id, err)
	}
	return c.NoContent(http.StatusNoContent)
}

// authenticateHook returns the hook of which the caller showed a secret. What this
// process knows of it is believed, if it lets the caller in, until the delivery is
// stored; nobody is refused without a look at the store.
func (a *api) authenticateHook(ctx context.Context, c echo.Context) (*engine.Hook, error) {
	id, err := instanceParam(c)
	if err == nil {
		if h := a.engine.LastHook(id); h != nil && showsSecret(c, h.Secrets) {
			return h, nil
		}
	}
	return a.authenticateHookAnew(ctx, c)
}

// authenticateHookAnew is authenticateHook by what the store has now. It compares
// with as many secrets for an instance with one, two, none, or that does not exist.
func (a *api) authenticateHookAnew(ctx context.Context, c echo.Context) (*engine.Hook, error) {
	id, unknown := instanceParam(c)
	h := &engine.Hook{}
	if unknown == nil {
		found, err := a.engine.Hook(ctx, id)
		switch {
		case errors.Is(err, engine.ErrUnknownInstance):
			unknown = err
		case err != nil:
			return nil, fmt.Errorf("read the hook secrets of %s: %w", id, err)
		default:
			h = found
		}
	}
	ok := showsSecret(c, h.Secrets)
	switch {
	case unknown != nil:
		return nil, unknown
	case !ok:
		return nil, errSecret
	}
	return h, nil
}

func showsSecret(c echo.Context, secrets []string) bool {
	// What fills up is the empty secret, which matches nothing.
	padded := slices.Concat(secrets, make([]string, max(0, maxSecrets-len(secrets))))
	return matches(c.Request().Header.Get(echo.HeaderAuthorization), slices.Values(padded))
}

// readBody reads a body of at most limit bytes until the deadline.
func readBody(c echo.Context, limit int64, deadline time.Time) ([]byte, error) {
	r := c.Request()
	if r.ContentLength > limit { // no need to read it
		return nil, &http.MaxBytesError{Limit: limit}
	}
	control := http.NewResponseController(c.Response())
	if err := setDeadline(control.SetReadDeadline, deadline); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, limit))
	if err != nil {
		return nil, err
	}
	// Past the body a deadline would end the request's context.
	return body, setDeadline(control.SetReadDeadline, time.Time{})
}
