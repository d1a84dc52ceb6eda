// Command oktasync keeps a graph of an Okta org in step with the org.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/mattn/go-isatty"

	"github.com/oktasync/oktasync/cmd/oktasync/bench"
)

type commands struct {
	Serve    serveCmd    `cmd:"" help:"Receive event hooks and keep the graphs in step."`
	Demo     demoCmd     `cmd:"" help:"Show it at work on a simulated org: no account, no install."`
	Simulate simulateCmd `cmd:"" help:"Serve a simulated org, to try a real set-up without an Okta account."`
	Sync     syncCmd     `cmd:"" help:"Read an org once, in full, into JSON Lines; no server."`
	Query    queryCmd    `cmd:"" help:"Ask a graph in J1QL, while the service runs or not."`
	Probe    probeCmd    `cmd:"" help:"Find out on a scratch scope what JupiterOne honours, and what to switch on."`
	Doctor   doctorCmd   `cmd:"" help:"Look at an org and a deployment: what is wrong, why it matters, what to do."`
	Hook     hookCmd     `cmd:"" help:"The org's event hook: register, status, remove."`
	Version  versionCmd  `cmd:"" help:"Print the version."`

	Bench bench.Command `cmd:"" help:"Measure the service on this machine."`

	Trigger     triggerCmd     `cmd:"" help:"Send an instance event to the service: for schedulers."`
	Healthcheck healthcheckCmd `cmd:"" help:"Ask the service on this machine whether it is ready: for containers."`

	Debug bool `help:"Log requests and details as well."`
}

// vars are the texts that the commands' tags name.
var vars = kong.Vars{"demoListen": demoListen, "defaultSink": defaultSink}

// world is what a command may touch of the process it runs in.
type world struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	log            *slog.Logger
	// unhook makes the next signal kill the process: a stop that hangs must
	// not need a stronger signal.
	unhook func()
}

func main() {
	ctx, unhook := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer unhook()
	os.Exit(run(ctx, os.Args[1:], world{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, unhook: unhook}))
}

// run runs the command that args name and returns the exit status.
func run(ctx context.Context, args []string, w world) int {
	var cmds commands
	exited := -1
	parser, err := kong.New(&cmds,
		kong.Name("oktasync"),
		kong.Description("Keeps a graph of an Okta org in step with the org."),
		vars,
		kong.UsageOnError(),
		kong.Writers(w.stdout, w.stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.Resolvers(kong.ResolverFunc(secretFile)),
	)
	if err != nil {
		fmt.Fprintln(w.stderr, "oktasync:", err)
		return 2
	}
	kctx, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		fmt.Fprintln(w.stderr, "oktasync:", err)
		return 2
	}
	level := slog.LevelInfo
	if cmds.Debug {
		level = slog.LevelDebug
	}
	w.log = slog.New(slog.NewTextHandler(w.stderr, &slog.HandlerOptions{Level: level}))
	kctx.BindTo(ctx, (*context.Context)(nil))
	kctx.Bind(bench.Streams{Out: w.stdout, Err: w.stderr})
	if err := kctx.Run(w); err != nil {
		fmt.Fprintln(w.stderr, "oktasync:", err)
		var usage usageError
		if errors.As(err, &usage) {
			return 2
		}
		return 1
	}
	return 0
}

// usageError is a mistake in how the command was called.
type usageError struct{ error }

// terminal tells whether w is a screen.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
