package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"

	"github.com/labstack/echo/v4"
	"github.com/redis/go-redis/v9"

	"github.com/oktasync/oktasync/handlers"
)

// bareCmd serves what the hook endpoint is held against: a handler that reads the body
// and adds it to a stream, before the same listener and with the same client of Redis.
type bareCmd struct {
	Listen   string `required:"" help:"Address to listen on."`
	RedisURL string `name:"redis-url" required:"" help:"Redis that takes the deliveries."`
}

// bareStream is where they go.
const bareStream = "bare"

// Run serves until it is killed.
func (cmd bareCmd) Run(ctx context.Context, s Streams) error {
	opts, err := redis.ParseURL(cmd.RedisURL)
	if err != nil {
		return err
	}
	opts.ContextTimeoutEnabled, opts.DisableIdentity = true, true
	opts.PoolSize = 10*runtime.GOMAXPROCS(0) + 128
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.GET("/readyz", func(c echo.Context) error { return c.NoContent(http.StatusNoContent) })
	e.POST("/hooks/okta/:instance", func(c echo.Context) error {
		body, err := io.ReadAll(c.Request().Body)
		if err != nil {
			return err
		}
		if err := rdb.XAdd(c.Request().Context(), &redis.XAddArgs{Stream: bareStream, Values: []any{"delivery", body}}).Err(); err != nil {
			return err
		}
		return c.NoContent(http.StatusNoContent)
	})
	listener, err := net.Listen("tcp", cmd.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	server := handlers.Server(e, slog.New(slog.NewTextHandler(s.Err, nil)))
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
