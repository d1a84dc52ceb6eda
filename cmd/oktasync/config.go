package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/adhocore/gronx"
	"github.com/alecthomas/kong"

	"github.com/oktasync/oktasync/sync/engine"
)

// Secret is a text that no log, error or dump shows.
type Secret string

const hidden = "[secret]"

func (Secret) String() string               { return hidden }
func (Secret) GoString() string             { return hidden }
func (Secret) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Format keeps verbs as %x from printing what String hides.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// Reveal returns the text.
func (s Secret) Reveal() string { return string(s) }

// maxSecretFile bounds what is read as a secret: it may be the wrong file.
const maxSecretFile = 64 << 10

// secretFile gives a Secret flag the content of the file that the variable
// <NAME>_FILE names, without the line end that editors add.
func secretFile(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if flag.Target.Type() != reflect.TypeFor[Secret]() {
		return nil, nil
	}
	for _, name := range flag.Envs {
		path := os.Getenv(name + "_FILE")
		if path == "" {
			continue
		}
		if os.Getenv(name) != "" {
			return nil, fmt.Errorf("%s and %s_FILE are both set: keep one", name, name)
		}
		secret, err := readSecret(path)
		if err != nil {
			return nil, fmt.Errorf("%s_FILE: %w", name, err)
		}
		return secret, nil
	}
	return nil, nil
}

// readSecret returns what a file holds, without the line end.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSecretFile {
		return "", fmt.Errorf("%s holds more than %d bytes: that is no secret", path, maxSecretFile)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// reading is how orgs are read: the same for every command that reads one.
type reading struct {
	RateLimitShare    float64       `default:"0.5" env:"OKTASYNC_RATE_LIMIT_SHARE" help:"Share of each of Okta's rate limits to use, above 0, at most 1."`
	MaxInFlight       int           `default:"10" env:"OKTASYNC_MAX_IN_FLIGHT" help:"Calls to one org at once."`
	ReadMargin        time.Duration `default:"1s" env:"OKTASYNC_READ_MARGIN" help:"How much older than its start a read by id may be."`
	ListAllowance     time.Duration `default:"30s" env:"OKTASYNC_LIST_ALLOWANCE" help:"How far Okta's lists may lag behind."`
	AllowInsecureOrgs bool          `env:"OKTASYNC_ALLOW_INSECURE_ORGS" help:"Allow http and private addresses as org URL. For tests."`
}

func (r reading) validate() error {
	var errs []error
	if !(r.RateLimitShare > 0 && r.RateLimitShare <= 1) {
		errs = append(errs, errors.New("the rate limit share must be above 0 and at most 1"))
	}
	if r.MaxInFlight < 1 || r.MaxInFlight > 1000 {
		errs = append(errs, errors.New("the calls in flight must be from 1 to 1000"))
	}
	if r.ReadMargin < 0 || r.ReadMargin > time.Hour {
		errs = append(errs, errors.New("the read margin must be from 0s to 1h"))
	}
	if r.ListAllowance < 0 || r.ListAllowance > time.Hour {
		errs = append(errs, errors.New("the list allowance must be from 0s to 1h"))
	}
	return errors.Join(errs...)
}

// engineConfig returns the configuration of an engine that keeps its state in
// memory; serve adds Redis.
func (r reading) engineConfig(log *slog.Logger) engine.Config {
	key := make([]byte, 32)
	rand.Read(key)
	return engine.Config{
		SecretKey:     key,
		Share:         r.RateLimitShare,
		MaxInFlight:   r.MaxInFlight,
		ReadMargin:    r.ReadMargin,
		ListAllowance: r.ListAllowance,
		AllowInsecure: r.AllowInsecureOrgs,
		Log:           log,
	}
}

// keeping is how instances are kept in step: of a service that runs on.
type keeping struct {
	ReconcileSchedule string        `env:"OKTASYNC_RECONCILE_SCHEDULE" placeholder:"CRON" help:"When to read each org in full by itself, UTC, as '0 2 * * *'; without it only when told to."`
	LogPollInterval   time.Duration `default:"60s" env:"OKTASYNC_LOG_POLL_INTERVAL" help:"How often to read what is new in the System Log."`
	MaxDeleteRatio    float64       `default:"0.2" env:"OKTASYNC_MAX_DELETE_RATIO" help:"Share of the records of one kind that may vanish unannounced in a day without approval, 0 to 1."`
	Lease             time.Duration `default:"10s" env:"OKTASYNC_LEASE" help:"After how long another process takes over the instances of one that died."`
}

func (k keeping) validate() error {
	var errs []error
	if k.ReconcileSchedule != "" {
		if err := checkSchedule(k.ReconcileSchedule); err != nil {
			errs = append(errs, fmt.Errorf("OKTASYNC_RECONCILE_SCHEDULE: %w", err))
		}
	}
	if k.LogPollInterval < time.Second || k.LogPollInterval > time.Hour {
		errs = append(errs, errors.New("the log poll interval must be from 1s to 1h"))
	}
	if !(k.MaxDeleteRatio >= 0 && k.MaxDeleteRatio <= 1) {
		errs = append(errs, errors.New("the delete ratio must be from 0 to 1"))
	}
	if k.Lease < 3*time.Second || k.Lease > 5*time.Minute {
		errs = append(errs, errors.New("the lease must be from 3s to 5m"))
	}
	return errors.Join(errs...)
}

// checkSchedule refuses what is no cron expression, and one that never comes.
func checkSchedule(expression string) error {
	if !gronx.IsValid(expression) {
		return fmt.Errorf("%.100q is no cron expression, as 0 2 * * * for two o'clock each night, UTC", expression)
	}
	if _, err := gronx.NextTick(expression, false); err != nil {
		return fmt.Errorf("%.100q never comes", expression)
	}
	return nil
}

// into adds the settings to an engine's.
func (k keeping) into(cfg *engine.Config) {
	cfg.Schedule = k.ReconcileSchedule
	cfg.LogInterval = k.LogPollInterval
	cfg.DeleteRatio = k.MaxDeleteRatio
	cfg.Lease = k.Lease
}

// secretKey decodes the key that seals credentials at rest.
func secretKey(s Secret) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s.Reveal()))
	if err != nil || len(key) != 32 {
		return nil, errors.New("the secret key must be 32 bytes in base64; make one with: head -c 32 /dev/urandom | base64")
	}
	return key, nil
}

// background runs an engine while a command works. The returned function stops
// it, waits for it and closes its store.
func background(ctx context.Context, cfg engine.Config) (*engine.Engine, func() error, error) {
	eng, err := engine.New(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- eng.Run(runCtx) }()
	return eng, func() error {
		cancel()
		return errors.Join(<-done, eng.Close())
	}, nil
}
