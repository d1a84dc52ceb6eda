package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/j1ql"
	"github.com/oktasync/oktasync/sync/okta"
)

// Errors of the edge itself.
var (
	errSecret   = errors.New("the Authorization header does not hold the secret of this instance's event hook")
	errStopping = errors.New("the service is stopping; send the request again")
	errPanicked = errors.New("a handler panicked")
	errSlow     = errors.New("the body did not arrive in time")
	errStreams  = fmt.Errorf("%d streams of changes are open at this process, which is the most; close some, or ask another replica", maxStreams)

	errCrossOrigin = errors.New("a call with the console's cookie must come from a page of this host; " +
		"behind a proxy, let it pass on the Host header. Programs use Authorization: Bearer …")
)

// attemptsError says that an address showed too many wrong tokens.
type attemptsError struct{ wait time.Duration }

func (e attemptsError) Error() string {
	return fmt.Sprintf("too many wrong tokens came from this address; try again in %d s", e.seconds())
}

func (e attemptsError) seconds() int { return int(e.wait/time.Second) + 1 }

// tokenError says that a call lacks the bearer token of its part of the API.
type tokenError struct{ realm string }

func (e tokenError) Error() string {
	return fmt.Sprintf("this call needs the %s token: Authorization: Bearer …", e.realm)
}

// busyError says that a run was asked for while another one works.
type busyError struct{ run engine.Run }

func (e busyError) Error() string {
	return fmt.Sprintf("another run is at work: %s, mode %s. Wait for its end, or POST /admin/runs/%s/cancel",
		e.run.ID, e.run.Mode, e.run.ID)
}

// invalidError says what of a request cannot be used. Its texts name fields and
// rules, never the values that were sent.
type invalidError struct {
	Detail string
	Fields []fieldError
}

type fieldError struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

func (e *invalidError) Error() string { return e.Detail }

// problem is the body of every answer that reports an error: RFC 9457.
type problem struct {
	Type     string       `json:"type"`
	Title    string       `json:"title"`
	Status   int          `json:"status"`
	Detail   string       `json:"detail,omitempty"`
	Instance string       `json:"instance"` // the request, as in the log
	Errors   []fieldError `json:"errors,omitempty"`

	after int // seconds, for Retry-After
}

// problemOf decides what the caller is told. An error that nobody foresaw tells
// him nothing of itself: it may hold what he must not see.
func problemOf(err error) problem {
	var (
		invalid *invalidError
		token   tokenError
		many    attemptsError
		busy    busyError
		tooBig  *http.MaxBytesError
		routing *echo.HTTPError
		j1      *j1ql.Error
	)
	switch {
	case errors.As(err, &invalid):
		return problem{Status: http.StatusBadRequest, Detail: invalid.Detail, Errors: invalid.Fields}
	case errors.As(err, &tooBig):
		return problem{Status: http.StatusRequestEntityTooLarge,
			Detail: fmt.Sprintf("the body is larger than %d bytes", tooBig.Limit)}
	case errors.Is(err, okta.ErrMalformed):
		return problem{Status: http.StatusBadRequest, Detail: "the body is not the JSON of an event hook delivery"}
	case errors.As(err, &token):
		return problem{Status: http.StatusUnauthorized, Detail: token.Error()}
	case errors.As(err, &many):
		return problem{Status: http.StatusTooManyRequests, Detail: many.Error(), after: many.seconds()}
	case errors.Is(err, errSlow):
		return problem{Status: http.StatusRequestTimeout, Detail: errSlow.Error()}
	case errors.Is(err, errStreams):
		return problem{Status: http.StatusTooManyRequests, Detail: errStreams.Error(), after: 10}
	case errors.Is(err, errCrossOrigin):
		return problem{Status: http.StatusForbidden, Detail: errCrossOrigin.Error()}
	case errors.Is(err, errSecret):
		return problem{Status: http.StatusUnauthorized, Detail: errSecret.Error()}
	case errors.Is(err, engine.ErrUnknownInstance):
		return problem{Status: http.StatusNotFound,
			Detail: "no such instance; POST /v1/instance-events registers one, GET /admin/instances lists them"}
	case errors.Is(err, engine.ErrUnknownRun):
		return problem{Status: http.StatusNotFound,
			Detail: "no such run; GET /admin/instances/{id}/runs lists those that are kept"}
	case errors.Is(err, engine.ErrUnknownLetter):
		return problem{Status: http.StatusNotFound,
			Detail: "no such dead letter; GET /admin/instances/{id}/dead-letters lists those that are kept"}
	case errors.Is(err, engine.ErrUnknownObject):
		const detail = "object must be the id of a record or scope, as user/00u…, member/00g…/00u…, members/00g…, users, groups or apps"
		return problem{Status: http.StatusBadRequest, Detail: detail, Errors: []fieldError{{"object", detail}}}
	case errors.As(err, &j1):
		return problem{Status: http.StatusBadRequest, Detail: j1.Error(), Errors: []fieldError{{"query", j1.Error()}}}
	case errors.Is(err, engine.ErrCursor):
		const detail = "after must be the next of an answer to the same call"
		return problem{Status: http.StatusBadRequest, Detail: detail, Errors: []fieldError{{"after", detail}}}
	case errors.Is(err, j1ql.ErrCursor):
		const detail = "cursor must be that of an answer to the same query with the same parameters"
		return problem{Status: http.StatusBadRequest, Detail: detail, Errors: []fieldError{{"cursor", detail}}}
	case errors.Is(err, j1ql.ErrTooSlow):
		return problem{Status: http.StatusUnprocessableEntity, Detail: "the query takes too long. " +
			"Ask for less: filter the first entities, name classes in place of *, or follow fewer steps"}
	case errors.Is(err, j1ql.ErrTooLarge):
		return problem{Status: http.StatusUnprocessableEntity, Detail: fmt.Sprintf("the tree holds more than %d objects. Ask for less: filter the first entities, or follow fewer steps", j1ql.MaxRows)}
	case errors.Is(err, j1ql.ErrNoGraph):
		return problem{Status: http.StatusConflict, Detail: "the graph of this instance has not been delivered to the database yet; " +
			"GET /admin/instances/{id} shows under sinks what it waits for"}
	case errors.Is(err, j1ql.ErrDatabase):
		return problem{Status: http.StatusServiceUnavailable, Detail: j1ql.ErrDatabase.Error() + "; send the query again. " +
			"If it stays so, the log has why by the request's id, and GET /admin/instances/{id} shows how its sink does"}
	case errors.Is(err, errNoDatabase):
		return problem{Status: http.StatusNotImplemented, Detail: errNoDatabase.Error()}
	case errors.Is(err, engine.ErrUnknownSink):
		const detail = "sink must be the name of a sink, as GET /admin/instances/{id} lists them, or empty for all"
		return problem{Status: http.StatusBadRequest, Detail: detail, Errors: []fieldError{{"sink", detail}}}
	case errors.As(err, &busy):
		return problem{Status: http.StatusConflict, Detail: busy.Error()}
	case errors.Is(err, engine.ErrRunOver):
		return problem{Status: http.StatusConflict, Detail: "the run is over and holds nothing: there is nothing to cancel"}
	case errors.Is(err, engine.ErrNothingHeld):
		return problem{Status: http.StatusConflict,
			Detail: "the run holds nothing, or has not ended: only one in the state held can be approved"}
	case errors.Is(err, engine.ErrManySecrets):
		return problem{Status: http.StatusConflict, Detail: engine.ErrManySecrets.Error() + ", any of which Okta may send. End the rotation that broke off, " +
			"by the same oktasync hook register --rotate, and then --finish it; or send the instance event with the one that Okta sends as hookSecrets"}
	case errors.Is(err, engine.ErrNotNewest):
		return problem{Status: http.StatusConflict, Detail: engine.ErrNotNewest.Error() + ": Okta may have got another one since, and nothing was dropped. " +
			"End the rotation that broke off, by the same oktasync hook register --rotate, and --finish it with its file; " +
			"or, if Okta surely sends this secret, make it the newest: POST /admin/instances/{id}/hook-secrets"}
	case errors.Is(err, engine.ErrHolding):
		return problem{Status: http.StatusConflict,
			Detail: "what runs hold knows the past, too: approve or cancel them first; GET /admin/instances/{id}/runs lists those in the state held"}
	case errors.Is(err, engine.ErrStalePosition):
		return problem{Status: http.StatusGone,
			Detail: "the changes after this position are no longer kept: open the stream again without a position, " +
				"then read /v1/instances/{id}/graph in full, then apply what the stream brings"}
	case errors.Is(err, engine.ErrSealed):
		return problem{Status: http.StatusServiceUnavailable, Detail: "what is kept of this instance was sealed with another OKTASYNC_SECRET_KEY: " +
			"start the service with that one, or send the instance event again, with hookSecrets"}
	case errors.Is(err, errStopping):
		return problem{Status: http.StatusServiceUnavailable, Detail: errStopping.Error()}
	case errors.Is(err, engine.ErrFull):
		return problem{Status: http.StatusServiceUnavailable, Detail: "Redis is nearly full, and takes no more events; send the request again. " +
			"Remedy: raise its maxmemory, or see in GET /admin/instances what keeps an inbox from being worked on"}
	case errors.Is(err, engine.ErrUnavailable):
		return problem{Status: http.StatusServiceUnavailable, Detail: engine.ErrUnavailable.Error() + "; send the request again"}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return problem{Status: http.StatusServiceUnavailable, Detail: "the request did not end in time; send it again"}
	case errors.As(err, &routing):
		return problem{Status: routing.Code}
	default:
		return problem{Status: http.StatusInternalServerError, Detail: "an error of the service; its log has the request's id"}
	}
}

// answerError writes the problem of err, and is where an error of the service
// is logged: once.
func (a *api) answerError(err error, c echo.Context) {
	p := problemOf(err)
	p.Type, p.Title, p.Instance = "about:blank", http.StatusText(p.Status), "urn:oktasync:request:"+requestID(c)
	if p.Status >= http.StatusInternalServerError && c.Request().Context().Err() == nil { // else the caller left
		a.Log.Error("request failed", "id", requestID(c), "method", c.Request().Method, "route", c.Path(),
			"status", p.Status, "err", err)
	}
	if c.Response().Committed {
		return
	}
	if c.Request().ContentLength != 0 {
		// net/http reads what is left of a body before it answers. A caller who
		// was refused gets no more time to send it.
		control := http.NewResponseController(c.Response())
		if err := setDeadline(control.SetReadDeadline, time.Now().Add(restTimeout)); err != nil {
			a.Log.Debug("deadline not set", "id", requestID(c), "err", err)
		}
	}
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, "application/problem+json")
	switch p.Status {
	case http.StatusUnauthorized:
		// A 401 must name a scheme. Okta sends a hook's secret as it stands,
		// under any scheme or none.
		realm := "event-hook"
		if token := (tokenError{}); errors.As(err, &token) {
			realm = token.realm
		}
		h.Set(echo.HeaderWWWAuthenticate, fmt.Sprintf("Bearer realm=%q", realm))
	case http.StatusServiceUnavailable:
		h.Set(echo.HeaderRetryAfter, "1")
	case http.StatusTooManyRequests:
		h.Set(echo.HeaderRetryAfter, strconv.Itoa(p.after))
	}
	c.Response().WriteHeader(p.Status)
	if c.Request().Method == http.MethodHead {
		return
	}
	if err := json.NewEncoder(c.Response()).Encode(p); err != nil {
		a.Log.Debug("error not delivered", "id", requestID(c), "err", err)
	}
}
