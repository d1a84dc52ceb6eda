package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oktasync/oktasync/handlers"
	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta"
)

// drainTimeout is how long a stop waits for requests under way. A delivery takes
// less than three seconds; a reader of a large graph is cut off.
const drainTimeout = 10 * time.Second

// defaultInstance is the id of the instance that the environment describes.
const defaultInstance = "default"

type serveCmd struct {
	Listen   string `default:":8080" env:"OKTASYNC_LISTEN" help:"Address to listen on."`
	RedisURL Secret `name:"redis-url" env:"OKTASYNC_REDIS_URL" placeholder:"redis://…" help:"Where the state is; without it, in memory, and lost at exit."`

	AdminToken   Secret `env:"OKTASYNC_ADMIN_TOKEN" placeholder:"TOKEN" help:"Bearer token of operators and readers."`
	TriggerToken Secret `env:"OKTASYNC_TRIGGER_TOKEN" placeholder:"TOKEN" help:"Bearer token of instance events."`
	SecretKey    Secret `env:"OKTASYNC_SECRET_KEY" placeholder:"BASE64" help:"32 bytes in base64: seals credentials at rest."`

	TrustedProxies []string `env:"OKTASYNC_TRUSTED_PROXIES" placeholder:"CIDR,…" help:"Addresses of proxies whose X-Forwarded-For is believed when wrong tokens are counted by address."`

	encryption `embed:""`
	reading    `embed:""`
	keeping    `embed:""`
	delivery   `embed:""`
	watching   `embed:""`

	OrgURL     string `name:"okta-client-orgurl" env:"OKTA_CLIENT_ORGURL" placeholder:"https://…" help:"Org of the instance 'default'."`
	OrgToken   Secret `name:"okta-client-token" env:"OKTA_CLIENT_TOKEN" placeholder:"TOKEN" help:"API token of that org."`
	HookSecret Secret `env:"OKTASYNC_HOOK_SECRET" placeholder:"SECRET" help:"Secret of that org's event hook."`
}

// Run serves until ctx ends.
func (cmd *serveCmd) Run(ctx context.Context, w world) (err error) {
	cfg, err := cmd.prepare(w)
	if err != nil {
		return usageError{err}
	}
	sinks, err := cmd.delivery.open(ctx, w.log, w.stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sinks.close()) }()
	cfg.Sinks = sinks.all
	listener, err := net.Listen("tcp", cmd.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	bare := listener
	if listener, err = cmd.encryption.over(bare, w.log); err != nil {
		bare.Close()
		return err
	}
	instruments := newInstruments()
	cfg.Observe = instruments.Engine()
	stopTracing, err := startTracing(ctx, w.log)
	if err != nil {
		listener.Close()
		return usageError{err}
	}
	defer stopTracing()
	eng, err := engine.New(ctx, cfg)
	if err != nil {
		listener.Close()
		return err
	}
	closeMetrics, err := cmd.watching.start(eng, instruments, w.log)
	if err != nil {
		listener.Close()
		return errors.Join(err, eng.Close())
	}
	edge := cmd.handlersConfig(sinks)
	edge.Instruments, edge.MetricsApart = instruments, cmd.MetricsListen != ""
	warn(ctx, w, eng)
	w.log.Info("listening", "address", listener.Addr().String(), "tls", cmd.CertFile != "", "embedded", eng.Embedded(), "version", thisBuild().String())
	return errors.Join(serve(ctx, w, eng, listener, edge, func(ctx context.Context, eng *engine.Engine) error {
		return cmd.registerDefault(ctx, w, eng)
	}), closeMetrics(), eng.Close())
}

// warn logs what endangers a promise of the service. That the state is in memory
// has been said already.
func warn(ctx context.Context, w world, eng *engine.Engine) {
	if eng.Embedded() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	health, err := eng.Health(ctx)
	if err != nil {
		w.log.Warn("whether Redis keeps what it is told could not be found out", "err", err)
	}
	for _, warning := range health.Warnings {
		w.log.Warn("something endangers what this service promises; see /healthz", "warning", warning)
	}
}

// prepare checks the configuration, and fills in what only a real Redis needs to
// be told.
func (cmd *serveCmd) prepare(w world) (engine.Config, error) {
	cfg := cmd.engineConfig(w.log)
	cmd.into(&cfg)
	errs := []error{cmd.reading.validate(), cmd.keeping.validate(), cmd.encryption.validate()}
	if cmd.RedisURL == "" {
		fmt.Fprintln(w.stderr, "No Redis URL is set (OKTASYNC_REDIS_URL): the state is in memory and is lost at exit.")
		for _, t := range []struct {
			name  string
			token *Secret
		}{{"admin", &cmd.AdminToken}, {"trigger", &cmd.TriggerToken}} {
			if *t.token == "" {
				*t.token = Secret(rand.Text())
				fmt.Fprintf(w.stderr, "The %s token of this run is %s\n", t.name, t.token.Reveal())
			}
		}
	} else {
		cfg.RedisURL = cmd.RedisURL.Reveal()
		for _, need := range []struct {
			name  string
			value Secret
		}{
			{"OKTASYNC_ADMIN_TOKEN", cmd.AdminToken},
			{"OKTASYNC_TRIGGER_TOKEN", cmd.TriggerToken},
			{"OKTASYNC_SECRET_KEY", cmd.SecretKey},
		} {
			if need.value == "" {
				errs = append(errs, fmt.Errorf("%s is not set: with Redis it is required", need.name))
			}
		}
	}
	if cmd.SecretKey != "" {
		var err error
		cfg.SecretKey, err = secretKey(cmd.SecretKey)
		errs = append(errs, err)
	}
	if cmd.AdminToken != "" && cmd.AdminToken == cmd.TriggerToken {
		errs = append(errs, errors.New("OKTASYNC_ADMIN_TOKEN and OKTASYNC_TRIGGER_TOKEN are the same: a scheduler must not have the rights of an operator"))
	}
	for name, token := range map[string]Secret{"OKTASYNC_ADMIN_TOKEN": cmd.AdminToken, "OKTASYNC_TRIGGER_TOKEN": cmd.TriggerToken} {
		if token != "" && len(token) < shortToken {
			w.log.Warn("a token is so short that it could be guessed; make a new one with: openssl rand -hex 32", "name", name)
		}
	}
	_, err := cmd.proxies()
	errs = append(errs, err, cmd.prepareDefault(w))
	return cfg, errors.Join(errs...)
}

// shortToken is below how many characters a token is warned of.
const shortToken = 20

// proxies returns the networks of the trusted proxies.
func (cmd *serveCmd) proxies() ([]*net.IPNet, error) {
	var all []*net.IPNet
	for _, text := range cmd.TrustedProxies {
		if ip := net.ParseIP(text); ip != nil {
			all = append(all, &net.IPNet{IP: ip, Mask: net.CIDRMask(8*len(ip), 8*len(ip))})
			continue
		}
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			return nil, fmt.Errorf("OKTASYNC_TRUSTED_PROXIES: %.100q is no address and no network, as 10.0.0.0/8", text)
		}
		all = append(all, network)
	}
	return all, nil
}

// prepareDefault checks the instance of the environment, if there is one.
func (cmd *serveCmd) prepareDefault(w world) error {
	switch {
	case cmd.OrgURL == "" && cmd.OrgToken == "":
		if cmd.HookSecret != "" {
			return errors.New("OKTASYNC_HOOK_SECRET is set, but not the org it belongs to: set OKTA_CLIENT_ORGURL and OKTA_CLIENT_TOKEN")
		}
		return nil
	case cmd.OrgURL == "" || cmd.OrgToken == "":
		return errors.New("of OKTA_CLIENT_ORGURL and OKTA_CLIENT_TOKEN only one is set: an instance needs both")
	}
	if cmd.HookSecret == "" {
		w.log.Warn("OKTASYNC_HOOK_SECRET is not set: deliveries of the instance default are refused, unless it has a secret from before")
	} else if n := len(cmd.HookSecret); n < 16 || n > 4096 {
		return errors.New("OKTASYNC_HOOK_SECRET must have 16 to 4096 characters")
	}
	orgURL, err := okta.ParseOrgURL(cmd.OrgURL, cmd.AllowInsecureOrgs)
	if err != nil {
		return fmt.Errorf("OKTA_CLIENT_ORGURL: %w", err)
	}
	cmd.OrgURL = orgURL
	return nil
}

func (cmd *serveCmd) handlersConfig(s sinks) handlers.Config {
	proxies, _ := cmd.proxies() // prepare has checked them
	return handlers.Config{
		Proxies:       proxies,
		Query:         s.query(),
		Database:      s.database(),
		AdminToken:    cmd.AdminToken.Reveal(),
		TriggerToken:  cmd.TriggerToken.Reveal(),
		AllowInsecure: cmd.AllowInsecureOrgs,
	}
}

// registerDefault makes the instance of the environment known, and has it read
// unless its graph is whole already.
func (cmd *serveCmd) registerDefault(ctx context.Context, w world, eng *engine.Engine) error {
	if cmd.OrgURL == "" {
		return nil
	}
	if err := cmd.register(ctx, w, eng); err != nil && ctx.Err() == nil {
		return err
	}
	return nil // after a stop: the next start does it
}

func (cmd *serveCmd) register(ctx context.Context, w world, eng *engine.Engine) error {
	in := engine.Instance{
		ID:      defaultInstance,
		Name:    defaultInstance,
		OrgURL:  cmd.OrgURL,
		Token:   cmd.OrgToken.Reveal(),
		Factors: true,
	}
	var stored []string
	if secret := cmd.HookSecret.Reveal(); secret != "" {
		in.HookSecrets = []string{secret}
		var err error
		if stored, err = eng.HookSecrets(ctx, defaultInstance); err == nil && len(stored) > 0 {
			in.HookSecrets = nil // a rotation may be under way: those that are stored stay
		}
	}
	if err := eng.Register(ctx, in); err != nil {
		return fmt.Errorf("register the instance default: %w", err)
	}
	if len(stored) > 0 && !slices.Contains(stored, cmd.HookSecret.Reveal()) {
		// Okta may send either: what it is refused is lost.
		switch _, err := eng.AddHookSecret(ctx, defaultInstance, cmd.HookSecret.Reveal()); {
		case errors.Is(err, engine.ErrManySecrets):
			w.log.Warn("OKTASYNC_HOOK_SECRET is not taken: it is another one than those of rotations that have not ended; end them, by oktasync hook register --rotate and --finish", "err", err)
		case err != nil:
			return fmt.Errorf("add the hook secret of the instance default: %w", err)
		default:
			w.log.Warn("OKTASYNC_HOOK_SECRET is another one than the instance default had: it is valid now beside those; DELETE /admin/instances/default/hook-secrets/old drops the old ones")
		}
	}
	status, err := eng.Instance(ctx, defaultInstance)
	if err != nil {
		return fmt.Errorf("read the instance default: %w", err)
	}
	if status.Whole {
		return nil
	}
	if _, err := eng.StartRun(ctx, defaultInstance, engine.Start{Trigger: "start"}); err != nil {
		return fmt.Errorf("read the instance default in full: %w", err)
	}
	return nil
}

// serve runs the engine and the HTTP edge until ctx ends or one of them fails.
// It stops in the order that loses nothing: no longer ready, requests under way
// are answered, then the engine ends. The caller closes the store.
func serve(ctx context.Context, w world, eng *engine.Engine, listener net.Listener, cfg handlers.Config,
	started func(context.Context, *engine.Engine) error,
) error {
	stopping := make(chan struct{})
	cfg.Stopping, cfg.Log = stopping, w.log
	server := handlers.Server(handlers.New(eng, cfg), w.log)
	engineCtx, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEngine()

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := eng.Run(engineCtx); err != nil {
			return fmt.Errorf("the engine failed: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("the server failed: %w", err)
		}
		return nil
	})
	g.Go(func() error { return started(ctx, eng) })
	g.Go(func() error {
		<-ctx.Done()
		if w.unhook != nil {
			w.unhook()
		}
		w.log.Info("stopping: requests under way are answered first; a second signal ends at once")
		close(stopping)
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		defer stopEngine()
		if err := server.Shutdown(drain); err != nil {
			w.log.Warn("some requests did not end in time and are cut off", "err", err)
			return server.Close()
		}
		return nil
	})
	return g.Wait()
}
