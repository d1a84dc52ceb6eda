package jupiterone

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Secret is text that no log, error or dump shows.
type Secret string

// Format implements fmt.Formatter, for all verbs.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Config is what a Sink is made of. A zero value means the default.
type Config struct {
	Account string // JupiterOne's account id
	APIKey  Secret // of a key whose policy allows persister:Synchronize

	// BaseURL is where the synchronization API is; https unless it is this machine.
	// Default https://api.us.jupiterone.io.
	BaseURL string
	// GraphQLURL is where Probe reads. Default: of a BaseURL that begins with
	// api., the same with graphql.; else BaseURL + /graphql.
	GraphQLURL string

	// Window is how long changes are collected. Default 60s.
	Window time.Duration
	// LargeEvery is the least time from the end of a full job to the next of a
	// graph with more than LargeObjects objects. Default 5m and 50,000.
	LargeEvery   time.Duration
	LargeObjects int

	BatchBytes int // of an upload before compression, at most; default 4 MB
	BatchGzip  int // of an upload after compression, at most; default 1 MB
	Uploads    int // of one job at once; default 4
	JobsAtOnce int // of all instances; default 4

	// A job is polled after PollMin, then less and less often, down to every
	// PollMax, for PollFor. Default 1s, 30s, 1h.
	PollMin, PollMax, PollFor time.Duration

	// MaxDropRatio is the share of the delivered entities, or relationships, that
	// a job may drop without force, if they are more than 10. From 0 to 1;
	// default 0.2. 1 switches it off.
	MaxDropRatio float64

	// Partial delivers only what changed between full jobs. Only where Probe
	// found that JupiterOne honours partialDatasets.
	Partial bool
	// FullEvery is the longest time between full jobs if Partial. Default 6h.
	FullEvery time.Duration
	// DeletesWithin is how long deletes wait for a full job if Partial. Default 15m.
	DeletesWithin time.Duration

	Log *slog.Logger // default: none

	// For tests. Default: the clock.
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error // returns early with an error when the context ends
}

// withDefaults returns the configuration with defaults in the place of zeros, or
// an error that tells what is wrong with it.
func (cfg Config) withDefaults() (Config, error) {
	fill := func(d *time.Duration, def time.Duration) { *d = cmp.Or(*d, def) }
	fill(&cfg.Window, 60*time.Second)
	fill(&cfg.LargeEvery, 5*time.Minute)
	fill(&cfg.PollMin, time.Second)
	fill(&cfg.PollMax, 30*time.Second)
	fill(&cfg.PollFor, time.Hour)
	fill(&cfg.FullEvery, 6*time.Hour)
	fill(&cfg.DeletesWithin, 15*time.Minute)
	cfg.LargeObjects = cmp.Or(cfg.LargeObjects, 50_000)
	cfg.BatchBytes = cmp.Or(cfg.BatchBytes, 4_000_000)
	cfg.BatchGzip = cmp.Or(cfg.BatchGzip, 1_000_000)
	cfg.Uploads = cmp.Or(cfg.Uploads, 4)
	cfg.JobsAtOnce = cmp.Or(cfg.JobsAtOnce, 4)
	cfg.MaxDropRatio = cmp.Or(cfg.MaxDropRatio, 0.2)
	cfg.BaseURL = strings.TrimRight(cmp.Or(cfg.BaseURL, "https://api.us.jupiterone.io"), "/")
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	base, err := checkURL("base", cfg.BaseURL)
	if err != nil {
		return cfg, err
	}
	if cfg.GraphQLURL == "" {
		if host, ok := strings.CutPrefix(base.Host, "api."); ok {
			base.Host = "graphql." + host
			cfg.GraphQLURL = base.String()
		} else {
			cfg.GraphQLURL = cfg.BaseURL + "/graphql"
		}
	}
	if _, err := checkURL("GraphQL", cfg.GraphQLURL); err != nil {
		return cfg, err
	}
	for _, d := range []time.Duration{cfg.Window, cfg.LargeEvery, cfg.PollMin, cfg.PollMax, cfg.PollFor, cfg.FullEvery, cfg.DeletesWithin} {
		if d < 0 {
			return cfg, fmt.Errorf("jupiterone: %s is no length of time to wait: it must be above 0", d)
		}
	}
	switch {
	case !header(cfg.Account):
		return cfg, errors.New("jupiterone: the account id is missing, or has spaces or characters that are not ASCII: see FIND jupiterone_account AS a RETURN a._accountId")
	case !header(string(cfg.APIKey)):
		return cfg, errors.New("jupiterone: the API key is missing, or has spaces or characters that are not ASCII: make one whose policy allows persister:Synchronize")
	case cfg.PollMax < cfg.PollMin:
		return cfg, fmt.Errorf("jupiterone: jobs cannot be polled every %s at least and every %s at most", cfg.PollMax, cfg.PollMin)
	case cfg.BatchBytes < 1 || cfg.BatchGzip < 1 || cfg.Uploads < 1 || cfg.JobsAtOnce < 1 || cfg.LargeObjects < 1:
		return cfg, errors.New("jupiterone: sizes and numbers must be above 0")
	case !(cfg.MaxDropRatio > 0 && cfg.MaxDropRatio <= 1):
		return cfg, fmt.Errorf("jupiterone: the share that may be dropped is %v, and must be above 0 and at most 1", cfg.MaxDropRatio)
	}
	return cfg, nil
}

// checkURL reads the URL of an API that gets the key.
func checkURL(name, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		// The text may hold a password.
		return nil, fmt.Errorf("jupiterone: the %s URL cannot be used: write https://HOST, as https://api.us.jupiterone.io", name)
	case u.Scheme == "https":
	case u.Scheme == "http" && loopback(u.Hostname()):
	default:
		return nil, fmt.Errorf("jupiterone: the %s URL must begin with https://: the API key is not sent in the clear", name)
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// header tells whether text can be sent in a header as it is.
func header(text string) bool {
	return text != "" && len(text) <= 8192 && strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// jitter returns half to all of d, so that many that failed at once do not come
// back at once.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// httpClient returns a client for so many requests at once to one host. It follows no
// redirects: the key is for one host, and a redirected POST would become a GET.
func httpClient(atOnce int) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = atOnce
	return &http.Client{
		Transport:     transport,
		Timeout:       2 * time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
