// Package handlers is the HTTP edge: it verifies, decodes, hands over to the
// engine, and answers. It keeps no state of its own.
package handlers

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/j1ql"
)

// Bounds of what a request may bring and how long it may take. Streams lift the
// last two for themselves.
const (
	maxHeader   = 64 << 10
	maxJSON     = 1 << 20
	headTimeout = 5 * time.Second
	readTimeout = 15 * time.Second
	sendTimeout = 30 * time.Second
	restTimeout = 200 * time.Millisecond // for the rest of a refused body
	idleTimeout = 2 * time.Minute
)

// Query answers a J1QL query.
type Query func(context.Context, j1ql.Request) (j1ql.Answer, error)

// Config is what the edge needs beside the engine.
type Config struct {
	AdminToken    string          // of /admin and of the readers' part of /v1
	TriggerToken  string          // of instance events
	AllowInsecure bool            // http and private addresses as org URL
	Proxies       []*net.IPNet    // whose X-Forwarded-For is believed
	Query         Query           // nil: there is no database to ask
	Database      string          // the name of the sink that answers queries
	Stopping      <-chan struct{} // closed when the service begins to stop
	Instruments   *Instruments    // nil: of its own
	MetricsApart  bool            // /metrics is on a port of its own
	Log           *slog.Logger

	// For tests, which have no time to wait. Zero means hookTimeout, heartbeat.
	hookTimeout, heartbeat time.Duration
}

// api holds what all handlers share.
type api struct {
	Config
	engine   *engine.Engine
	attempts *attempts
	sessions sessions
	streams  chan struct{} // a place for each open stream of changes
}

// New returns the routes of the service.
func New(eng *engine.Engine, cfg Config) *echo.Echo {
	if cfg.hookTimeout == 0 {
		cfg.hookTimeout = hookTimeout
	}
	if cfg.heartbeat == 0 {
		cfg.heartbeat = heartbeat
	}
	if cfg.Instruments == nil {
		cfg.Instruments = NewInstruments("", "", "")
	}
	a := &api{Config: cfg, engine: eng, attempts: newAttempts(time.Now), sessions: newSessions(cfg.AdminToken, time.Now),
		streams: make(chan struct{}, maxStreams)}

	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = a.answerError
	e.IPExtractor = addresses(cfg.Proxies)
	// Okta follows no redirect: a trailing slash is the same route.
	e.Pre(middleware.RemoveTrailingSlash())
	e.Use(a.observe, a.recovered(), plainPath)

	e.GET("/hooks/okta/:instance", a.verifyHook)
	e.POST(hookRoute, a.receiveHook)

	e.POST("/v1/instance-events", a.instanceEvent, a.bearer("trigger", cfg.TriggerToken))

	e.POST("/admin/session", a.signIn)
	e.GET("/admin/session", a.session)
	e.DELETE("/admin/session", a.signOut)

	admin := a.admin
	e.GET("/v1/instances/:instance/graph", a.graph, admin)
	e.GET("/v1/instances/:instance/changes", a.changes, admin)
	e.POST("/v1/instances/:instance/query", a.query, admin)
	e.GET("/admin/instances", a.instances, admin)
	e.GET("/admin/instances/:instance", a.instance, admin)
	e.GET("/admin/instances/:instance/runs", a.runs, admin)
	e.POST("/admin/instances/:instance/resync", a.resync, admin)
	e.POST("/admin/instances/:instance/snapshot", a.snapshot, admin)
	e.POST("/admin/instances/:instance/pause", a.order("pause", eng.Pause), admin)
	e.POST("/admin/instances/:instance/resume", a.order("resume", eng.Resume), admin)
	e.POST("/admin/instances/:instance/forget-history", a.order("forget-history", eng.ForgetHistory), admin)
	e.DELETE("/admin/instances/:instance", a.order("delete", eng.Delete), admin)
	e.POST("/admin/instances/:instance/hook-secrets", a.addHookSecret, admin)
	e.DELETE("/admin/instances/:instance/hook-secrets/old", a.dropHookSecrets, admin)
	e.GET("/admin/instances/:instance/dead-letters", a.deadLetters, admin)
	e.GET("/admin/instances/:instance/dead-letters/:letter", a.deadLetter, admin)
	e.POST("/admin/instances/:instance/dead-letters/replay", a.replay, admin)
	e.GET("/admin/runs/:run", a.run, admin)
	e.GET("/admin/runs/:run/held", a.held, admin)
	e.POST("/admin/runs/:run/cancel", a.decide("cancel", eng.Cancel), admin)
	e.POST("/admin/runs/:run/approve", a.decide("approve", eng.Approve), admin)

	console(e)

	e.GET("/healthz", a.health)
	e.GET("/readyz", a.ready)
	if !cfg.MetricsApart {
		e.GET("/metrics", echo.WrapHandler(Metrics(eng, cfg.Instruments, cfg.Log)))
	}
	return e
}

// plainPath refuses paths that a proxy may take for others than they are here, as
// /admin/runs/..%2f..%2fhooks%2fokta%2fx: no path of ours has to be encoded.
func plainPath(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		if u.RawPath != "" || slices.Contains(strings.Split(u.Path, "/"), "..") {
			return echo.ErrNotFound
		}
		return next(c)
	}
}

// Server returns a server for h whose timeouts bound every request.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      sendTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// observe gives each request an id of ours, never the caller's, and logs it
// without query, headers or body: those may hold secrets.
func (a *api) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		h := c.Response().Header()
		h.Set(echo.HeaderXRequestID, rand.Text())
		h.Set(echo.HeaderXContentTypeOptions, "nosniff") // what is echoed can never be taken for a page
		h.Set(echo.HeaderCacheControl, "no-store")       // answers name people
		if len(c.Request().TransferEncoding) > 0 {
			// Beside chunks there may have been a length, which a proxy before us may
			// have gone by: what follows on this connection is not trusted.
			h.Set(echo.HeaderConnection, "close")
		}
		err := next(c)
		if err != nil {
			c.Error(err)
		}
		a.Instruments.answered(c, time.Since(start))
		a.Log.Debug("request", "id", requestID(c), "method", c.Request().Method, "route", c.Path(),
			"status", c.Response().Status, "bytes", c.Response().Size, "took", time.Since(start))
		return nil
	}
}

func requestID(c echo.Context) string {
	return c.Response().Header().Get(echo.HeaderXRequestID)
}

// recovered turns a panic into a 500. http.ErrAbortHandler goes through: it
// breaks the connection off.
func (a *api) recovered() echo.MiddlewareFunc {
	return middleware.RecoverWithConfig(middleware.RecoverConfig{
		DisableErrorHandler: true,
		DisableStackAll:     true,
		LogErrorFunc: func(c echo.Context, err error, stack []byte) error {
			a.Log.Error("handler panicked", "id", requestID(c), "route", c.Path(), "stack", string(stack))
			return errPanicked
		},
	})
}

// stopping tells whether the service began to stop.
func (a *api) stopping() bool {
	select {
	case <-a.Stopping:
		return true
	default:
		return false
	}
}

var instanceID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// instanceParam returns the instance that the path names. What cannot be an id
// is not one: it never reaches the store.
func instanceParam(c echo.Context) (string, error) {
	id := c.Param("instance")
	if !instanceID.MatchString(id) {
		return "", engine.ErrUnknownInstance
	}
	return id, nil
}

// withoutReadDeadline lets the request last: the server's read timeout would
// else end its context. Recorders of tests have no deadlines.
func withoutReadDeadline(c echo.Context) error {
	return setDeadline(http.NewResponseController(c.Response()).SetReadDeadline, time.Time{})
}

func setDeadline(set func(time.Time) error, t time.Time) error {
	if err := set(t); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
