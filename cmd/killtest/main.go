// Command killtest kills oktasync and its Redis with kill -9, again and again,
// while a simulated org changes and its event hooks arrive. At the end it tells
// whether an acknowledged event was lost, or a change lost or doubled:
//
//	go run ./cmd/killtest --kills 1000
//
// An event is acknowledged by a 2xx. What is not acknowledged is sent again
// until it is, so that in the end all of them are. Nothing but the hooks tells
// the service of a change: the System Log is refused, and so are the lists from
// which a restarted service would catch up. With --with-log both answer, a
// delivery is tried twice only, as Okta does, and the log heals the rest.
//
// It needs Go and redis-server, and runs from within the repository.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

type options struct {
	Kills      int           `default:"1000" help:"Kills in all, at least 1."`
	Rate       float64       `default:"100" help:"Events a second, above 0, at most 1000."`
	Replicas   int           `default:"3" help:"Processes of the service, 1 to 20."`
	Every      time.Duration `default:"700ms" help:"Mean time between kills, 10ms to 1h."`
	RedisShare float64       `default:"0.3" help:"Share of the kills that hit Redis, 0 to 1; of the others, half hit the owner."`
	Seed       int64         `default:"1" help:"Of the org, its changes and the choice of victims. When things happen is up to the machine."`
	WithLog    bool          `help:"Let the service read the System Log, and give each delivery up after two tries."`
	For        time.Duration `default:"1h" help:"No kills after that time, 1s to 24h; the check still follows."`
}

func (o options) validate() error {
	var errs []error
	for _, rule := range []struct {
		kept bool
		text string
	}{
		{o.Kills >= 1, "--kills must be at least 1"},
		{o.Rate > 0 && o.Rate <= 1000, "--rate must be above 0 and at most 1000"},
		{o.Replicas >= 1 && o.Replicas <= 20, "--replicas must be from 1 to 20"},
		{o.Every >= 10*time.Millisecond && o.Every <= time.Hour, "--every must be from 10ms to 1h"},
		{o.RedisShare >= 0 && o.RedisShare <= 1, "--redis-share must be from 0 to 1"},
		{o.For >= time.Second && o.For <= 24*time.Hour, "--for must be from 1s to 24h"},
	} {
		if !rule.kept {
			errs = append(errs, errors.New(rule.text))
		}
	}
	return errors.Join(errs...)
}

func main() {
	ctx, unhook := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	unhook()
	os.Exit(status)
}

// run returns the exit status: 0 nothing was lost or doubled, 1 something was
// or it could not be found out, 2 wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	exited := -1
	parser, err := kong.New(&o, kong.Name("killtest"),
		kong.Description("Kills oktasync and its Redis under load, and tells whether anything was lost or doubled."),
		kong.Writers(stdout, stderr), kong.Exit(func(code int) { exited = code }))
	if err == nil {
		_, err = parser.Parse(args)
	}
	if exited >= 0 { // --help
		return exited
	}
	if err == nil {
		err = o.validate()
	}
	if err != nil {
		fmt.Fprintln(stderr, "killtest:", err)
		return 2
	}
	if err := try(ctx, o, stdout); err != nil {
		fmt.Fprintln(stderr, "killtest:", err)
		return 1
	}
	return 0
}
