package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oktasync/oktasync/sync/okta"
)

const (
	doctorTime = 4 * time.Minute  // for all of it
	checkTime  = 20 * time.Second // for one question to somebody
)

type doctorCmd struct {
	URL         string `name:"url" placeholder:"https://…" help:"Base of the public URL of the event hook, as https://oktasync.example.com."`
	InternalURL string `name:"internal-url" placeholder:"URL" help:"Where the service itself answers, if --url lets only /hooks/okta/ through; without it the same as --url."`
	Instance    string `name:"instance" default:"default" placeholder:"ID" help:"Whose hook and state to look at at --url."`
	JSON        bool   `name:"json" help:"One JSON document."`
	Strict      bool   `name:"strict" help:"Exit with 1 for a warning too."`

	RedisURL   Secret `name:"redis-url" env:"OKTASYNC_REDIS_URL" placeholder:"redis://…" help:"Where the state is."`
	AdminToken Secret `env:"OKTASYNC_ADMIN_TOKEN" placeholder:"TOKEN" help:"Bearer token of operators, to look at the instance."`

	reading  `embed:""`
	delivery `embed:""`

	OrgURL     string `name:"okta-client-orgurl" env:"OKTA_CLIENT_ORGURL" placeholder:"https://…" help:"The org."`
	OrgToken   Secret `name:"okta-client-token" env:"OKTA_CLIENT_TOKEN" placeholder:"TOKEN" help:"API token of the org."`
	HookSecret Secret `env:"OKTASYNC_HOOK_SECRET" placeholder:"SECRET" help:"Secret of the org's event hook."`
}

// Help is shown by --help below what the command is for.
func (doctorCmd) Help() string {
	return `It takes the settings of serve, and checks what they name: the org (a reachable address, the token, its rights for each list that is read,
rate limits, what a full read will cost, clocks, the event hook), Redis, the sinks, and with --url the service that runs. It changes nothing anywhere.
What is not given is not checked, and the report says so; the org, Redis, sinks or --url must be given.

Of an org it takes some 20 to 40 calls. Names of people and secrets are not shown.

Exit status: 0 nothing is wrong, or there are only warnings; 1 an error was found, or with --strict a warning; 2 wrong usage.`
}

// level is how much a finding matters.
type level string

const (
	levelOK      level = "ok"
	levelSkipped level = "skipped"
	levelWarning level = "warning"
	levelError   level = "error"
)

// finding is what a check found.
type finding struct {
	Check string `json:"check"` // a group and a name, as redis.disk
	Level level  `json:"level"`
	What  string `json:"what"`
	Why   string `json:"why,omitempty"`
	Todo  string `json:"todo,omitempty"`
}

// groups are the parts of a report, in order, with the titles that people see.
var groups = []struct{ name, title string }{
	{"org", "The org"},
	{"rights", "What the token may read"},
	{"limits", "Rate limits, and a full read"},
	{"clock", "Clocks"},
	{"hook", "The event hook"},
	{"service", "The service"},
	{"redis", "Redis"},
	{"sinks", "Sinks"},
}

// report is all that was found.
type report struct {
	Org        string           `json:"org,omitempty"`
	Instance   string           `json:"instance,omitempty"`
	Result     level            `json:"result"` // the worst
	Findings   []finding        `json:"findings"`
	Calls      int64            `json:"calls"` // made to Okta
	RateLimits []okta.RateLimit `json:"rateLimits,omitempty"`
	FullRead   *readCost        `json:"fullRead,omitempty"`
}

func (r *report) add(f finding) { r.Findings = append(r.Findings, f) }

func (r *report) ok(check, format string, args ...any) {
	r.add(finding{Check: check, Level: levelOK, What: fmt.Sprintf(format, args...)})
}

// skip tells what was not checked, why, and how to have it checked.
func (r *report) skip(check, what, why, todo string) {
	r.add(finding{Check: check, Level: levelSkipped, What: what, Why: why, Todo: todo})
}

func (r *report) worst() level {
	worst := levelOK
	for _, f := range r.Findings {
		switch {
		case f.Level == levelError:
			return levelError
		case f.Level == levelWarning:
			worst = levelWarning
		}
	}
	return worst
}

// doctor is a command at work.
type doctor struct {
	doctorCmd
	world world
	tls   trust
	r     report

	hookSeen bool // in Okta, just now
}

// Run looks, and tells what it found.
func (cmd *doctorCmd) Run(ctx context.Context, w world) error {
	d := &doctor{doctorCmd: *cmd, world: w}
	return d.run(ctx)
}

func (d *doctor) run(ctx context.Context) error {
	if err := d.prepare(); err != nil {
		return usageError{err}
	}
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	d.checkOrg(ctx)
	d.checkHook(ctx)
	d.checkService(ctx)
	d.checkRedis(ctx)
	d.checkSinks(ctx)
	d.r.Result = d.r.worst()
	write := d.r.text
	if d.JSON {
		write = d.r.json
	}
	if err := write(d.world.stdout); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if d.r.Result == levelError {
		return errors.New("something is wrong: see the errors of the report")
	}
	if d.Strict && d.r.Result == levelWarning {
		return errors.New("something may go wrong: see the warnings of the report")
	}
	return nil
}

// prepare checks how the command was called.
func (d *doctor) prepare() error {
	if d.OrgURL == "" && d.RedisURL == "" && d.URL == "" && d.InternalURL == "" && d.Sinks == defaultSink {
		return errors.New("nothing to look at: set OKTA_CLIENT_ORGURL and OKTA_CLIENT_TOKEN, OKTASYNC_REDIS_URL, OKTASYNC_SINKS, or --url")
	}
	if d.OrgURL == "" && d.OrgToken != "" {
		return errors.New("OKTA_CLIENT_TOKEN is set, but not the org it belongs to: set OKTA_CLIENT_ORGURL")
	}
	if d.OrgURL != "" && d.OrgToken == "" {
		return errors.New("OKTA_CLIENT_ORGURL is set, but no token for it: set OKTA_CLIENT_TOKEN")
	}
	for _, base := range []struct {
		name string
		at   *string
	}{{"--url", &d.URL}, {"--internal-url", &d.InternalURL}} {
		if *base.at == "" {
			continue
		}
		u, err := url.Parse(*base.at)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(*base.at) > 1024 {
			return fmt.Errorf("%s must be the base of a URL, as https://oktasync.example.com", base.name)
		}
		*base.at = strings.TrimRight(*base.at, "/")
	}
	if !instanceID.MatchString(d.Instance) {
		return errors.New("--instance must be the id of an instance: 1 to 64 letters, digits, - and _")
	}
	if d.InternalURL == "" {
		d.InternalURL = d.URL
	}
	d.r.Org, d.r.Instance = d.OrgURL, d.Instance
	return d.reading.validate()
}

// instanceID is what the service takes for the id of an instance.
var instanceID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (r *report) json(out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// text writes the report for people, by group.
func (r *report) text(out io.Writer) error {
	var b strings.Builder
	counts := map[level]int{}
	for _, g := range groups {
		begun := false
		for _, f := range r.Findings {
			if name, _, _ := strings.Cut(f.Check, "."); name != g.name {
				continue
			}
			if !begun {
				begun = true
				fmt.Fprintf(&b, "%s\n", g.title)
			}
			counts[f.Level]++
			mark := string(f.Level)
			if f.Level == levelError || f.Level == levelWarning {
				mark = strings.ToUpper(mark)
			}
			paragraph(&b, fmt.Sprintf("  %-9s", mark), f.What)
			if f.Why != "" {
				paragraph(&b, "            why:  ", f.Why)
			}
			if f.Todo != "" {
				paragraph(&b, "            to do:", f.Todo)
			}
		}
		if begun {
			b.WriteByte('\n')
		}
	}
	fmt.Fprintf(&b, "%s, %s, %d ok, %d not checked; %s to Okta\n", count(counts[levelError], "error", "errors"),
		count(counts[levelWarning], "warning", "warnings"), counts[levelOK], counts[levelSkipped], count(int(r.Calls), "call", "calls"))
	_, err := io.WriteString(out, b.String())
	return err
}

// paragraph writes text behind a head, broken to the width of a terminal.
func paragraph(b *strings.Builder, head, text string) {
	const width = 100
	indent := strings.Repeat(" ", utf8.RuneCountInString(head)+1)
	b.WriteString(head)
	at := len(indent) - 1
	for i, word := range strings.Fields(printable(text)) {
		n := utf8.RuneCountInString(word)
		if i > 0 && at+1+n > width {
			b.WriteString("\n" + indent[1:])
			at = len(indent) - 1
		}
		b.WriteString(" " + word)
		at += 1 + n
	}
	b.WriteByte('\n')
}

// count is a number of things, for people.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
