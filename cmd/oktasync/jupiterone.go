package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/jupiterone"
)

// j1 is how graphs go to JupiterOne.
type j1 struct {
	Account string `name:"jupiterone-account" env:"JUPITERONE_ACCOUNT" placeholder:"ID" help:"Account that the key is of."`
	APIKey  Secret `name:"jupiterone-api-key" env:"JUPITERONE_API_KEY" placeholder:"KEY" help:"API key with the right persister:Synchronize."`
	BaseURL string `name:"jupiterone-api-base-url" default:"https://api.us.jupiterone.io" env:"JUPITERONE_API_BASE_URL" help:"Where its API is."`
	GraphQL string `name:"jupiterone-graphql-url" env:"OKTASYNC_JUPITERONE_GRAPHQL_URL" placeholder:"URL" help:"Where it is queried, for the probe alone; without it the API's URL with graphql in place of api."`

	Window       time.Duration `name:"jupiterone-window" default:"60s" env:"OKTASYNC_JUPITERONE_WINDOW" help:"How long changes are collected before a job."`
	LargeObjects int           `name:"jupiterone-large-objects" default:"50000" env:"OKTASYNC_JUPITERONE_LARGE_OBJECTS" help:"Above so many objects a graph is large."`
	LargeEvery   time.Duration `name:"jupiterone-large-every" default:"5m" env:"OKTASYNC_JUPITERONE_LARGE_EVERY" help:"Of a large graph there is at most one job in this time."`
	MaxDropRatio float64       `name:"jupiterone-max-drop-ratio" default:"0.2" env:"OKTASYNC_JUPITERONE_MAX_DROP_RATIO" help:"By which share of what was delivered before the graph may be smaller without being forced, above 0, at most 1."`
	Partial      bool          `name:"jupiterone-partial" env:"OKTASYNC_JUPITERONE_PARTIAL" help:"Upload only what changed, with partialDatasets, between full jobs. Only after 'oktasync probe' said so."`
}

func (c j1) config(log *slog.Logger) jupiterone.Config {
	return jupiterone.Config{
		Account: c.Account, APIKey: jupiterone.Secret(c.APIKey.Reveal()), BaseURL: c.BaseURL, GraphQLURL: c.GraphQL,
		Window: c.Window, LargeObjects: c.LargeObjects, LargeEvery: c.LargeEvery, MaxDropRatio: c.MaxDropRatio, Partial: c.Partial, Log: log,
	}
}

func (c j1) validate() error {
	var errs []error
	if c.Account == "" || c.APIKey == "" {
		errs = append(errs, errors.New("JupiterOne needs JUPITERONE_ACCOUNT and JUPITERONE_API_KEY"))
	}
	if c.Window <= 0 || c.Window > 24*time.Hour || c.LargeEvery <= 0 || c.LargeEvery > 24*time.Hour {
		errs = append(errs, errors.New("the window, and the time between jobs of large graphs, must be above 0s and at most 24h"))
	}
	if !(c.MaxDropRatio > 0 && c.MaxDropRatio <= 1) {
		errs = append(errs, errors.New("the drop ratio must be above 0 and at most 1"))
	}
	return errors.Join(errs...)
}

func (c j1) open(log *slog.Logger) (sink.Sink, error) { return jupiterone.New(c.config(log)) }

type probeCmd struct {
	j1 `embed:""`
}

// Run finds out on a scratch scope what JupiterOne honours.
func (cmd *probeCmd) Run(ctx context.Context, w world) error {
	if err := cmd.j1.validate(); err != nil {
		return usageError{err}
	}
	_, err := jupiterone.Probe(ctx, cmd.j1.config(w.log), w.stdout)
	return err
}
