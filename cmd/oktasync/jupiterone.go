package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/oktasync/oktasync/sync/sink"
)

// j1 is how graphs go to JupiterOne.
type j1 struct {
	Account string `name:"jupiterone-account" env:"JUPITERONE_ACCOUNT" placeholder:"ID" help:"Account that the key is of."`
	APIKey  Secret `name:"jupiterone-api-key" env:"JUPITERONE_API_KEY" placeholder:"KEY" help:"API key with the right persister:Synchronize."`
	BaseURL string `name:"jupiterone-api-base-url" default:"https://api.us.jupiterone.io" env:"JUPITERONE_API_BASE_URL" help:"Where its API is."`
	GraphQL string `name:"jupiterone-graphql-url" default:"https://graphql.us.jupiterone.io" env:"OKTASYNC_JUPITERONE_GRAPHQL_URL" help:"Where it is queried; for the probe alone."`

	Window       time.Duration `name:"jupiterone-window" default:"60s" env:"OKTASYNC_JUPITERONE_WINDOW" help:"How long changes are collected before a job."`
	LargeObjects int64         `name:"jupiterone-large-objects" default:"50000" env:"OKTASYNC_JUPITERONE_LARGE_OBJECTS" help:"Above so many objects a graph is large."`
	LargeEvery   time.Duration `name:"jupiterone-large-every" default:"5m" env:"OKTASYNC_JUPITERONE_LARGE_EVERY" help:"Of a large graph there is at most one job in this time."`
	MaxDropRatio float64       `name:"jupiterone-max-drop-ratio" default:"0.2" env:"OKTASYNC_JUPITERONE_MAX_DROP_RATIO" help:"Share of the objects delivered before that a job may drop without being forced, 0 to 1."`
	Partial      bool          `name:"jupiterone-partial" env:"OKTASYNC_JUPITERONE_PARTIAL" help:"Upload only what changed, with partialDatasets, between full jobs. Only after 'oktasync probe' said so."`
}

func (c j1) validate() error {
	var errs []error
	if c.Account == "" || c.APIKey == "" {
		errs = append(errs, errors.New("JupiterOne needs JUPITERONE_ACCOUNT and JUPITERONE_API_KEY"))
	}
	if c.Window < 0 || c.Window > 24*time.Hour || c.LargeEvery < 0 || c.LargeEvery > 24*time.Hour {
		errs = append(errs, errors.New("the window, and the time between jobs of large graphs, must be from 0s to 24h"))
	}
	if !(c.MaxDropRatio >= 0 && c.MaxDropRatio <= 1) {
		errs = append(errs, errors.New("the drop ratio must be from 0 to 1"))
	}
	return errors.Join(errs...)
}

func (c j1) open(log *slog.Logger) (sink.Sink, error) { return nil, errors.New("not built yet") }

type probeCmd struct {
	j1 `embed:""`
}

func (cmd *probeCmd) Run(ctx context.Context, w world) error { return errors.New("not built yet") }
