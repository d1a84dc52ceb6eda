package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/oktasync/oktasync/handlers"
	"github.com/oktasync/oktasync/sync/engine"
)

// watching is how those who operate the service see into it.
type watching struct {
	MetricsListen string `env:"OKTASYNC_METRICS_LISTEN" placeholder:"ADDRESS" help:"Address of its own for /metrics, and for Go's profiles at /debug/pprof; else /metrics is on the address of the rest, and there are no profiles. It asks for no token: keep it from the public."`
}

// profileTime bounds an answer: a CPU profile takes 30 seconds unless asked otherwise.
const profileTime = 2 * time.Minute

// newInstruments returns the metrics of this process.
func newInstruments() *handlers.Instruments {
	b := thisBuild()
	return handlers.NewInstruments(b.Version, b.Revision, b.Go)
}

// start serves metrics and profiles at an address of their own, if one is set. The
// caller calls stop at the end: what happens while the service stops is seen too.
func (cmd watching) start(eng *engine.Engine, own *handlers.Instruments, log *slog.Logger) (stop func() error, err error) {
	if cmd.MetricsListen == "" {
		return func() error { return nil }, nil
	}
	listener, err := net.Listen("tcp", cmd.MetricsListen)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for metrics (OKTASYNC_METRICS_LISTEN): %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", handlers.Metrics(eng, own, log))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	server := handlers.Server(mux, log)
	server.WriteTimeout = profileTime
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are not served any more", "err", err)
		}
	}()
	log.Info("metrics and profiles are served", "address", listener.Addr().String())
	return func() error {
		err := server.Close()
		<-ended
		return err
	}, nil
}
