package handlers

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oktasync/oktasync/sync/engine"
)

// Instruments are the metrics of what this process itself did since it was
// started: each replica shows its own, to be summed. What the store knows,
// and every replica shows the same, is in metrics.go.
//
// All labels are of bounded number: instances that are registered (the series of one
// that is deleted go with it), our own names and routes, endpoints of Okta that we read, status codes.
type Instruments struct {
	registry *prometheus.Registry

	requests   *prometheus.HistogramVec
	deliveries *prometheus.CounterVec

	accepted, applied, fresh *prometheus.HistogramVec
	delivered                *prometheus.HistogramVec
	asked, refreshed         *prometheus.CounterVec
	runs                     *prometheus.CounterVec
	runTime                  *prometheus.HistogramVec
	calls                    *prometheus.CounterVec
	callTime                 *prometheus.HistogramVec
	waits                    *prometheus.CounterVec
	scripts                  *prometheus.HistogramVec
	redisErrors              *prometheus.CounterVec

	ofOrgs []*prometheus.MetricVec // those with the label of an instance
}

// Bounds of the histograms, in seconds.
var (
	freshness = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600}
	answers   = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	steps     = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}
	runLength = []float64{1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 43200}
)

// NewInstruments returns instruments that count from zero. version, revision and
// goVersion tell what this program was made of.
func NewInstruments(version, revision, goVersion string) *Instruments {
	i := &Instruments{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "oktasync_" + name, Help: help}, labels)
		i.registry.MustRegister(c)
		i.keep(c.MetricVec, labels)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "oktasync_" + name, Help: help, Buckets: buckets}, labels)
		i.registry.MustRegister(h)
		i.keep(h.MetricVec, labels)
		return h
	}
	i.requests = histogram("http_request_duration_seconds", "Seconds in which requests to this process were answered, by route; of streams, how long they lasted.", answers, "method", "route", "status")
	i.deliveries = counter("deliveries_total", "Event hook deliveries to this process, by answer; without an instance, those that did not show the secret of one.", orgLabel, "status")
	i.accepted = histogram("event_accepted_seconds", "Seconds from an event's publication by Okta to its entry in the inbox, by what brought it first: hook or log. Told by the owner of the instance, when the event is applied.", freshness, orgLabel, "source")
	i.applied = histogram("event_applied_seconds", "Seconds that an event lay in the inbox before it was applied.", freshness, orgLabel, "source")
	i.fresh = histogram("event_published_to_applied_seconds", "Seconds from an event's publication by Okta until it was applied.", freshness, orgLabel, "source")
	i.delivered = histogram("sink_delivery_seconds", "Seconds from a change of the graph until a sink had taken it; without snapshots.", freshness, orgLabel, "sink")
	i.asked = counter("refreshes_asked_total", "Objects that were asked to be read again, by reason: event, list or approval. An ask that is answered already counts too.", orgLabel, "reason")
	i.refreshed = counter("refreshes_total", "Objects read again, by result: done, left (what was read is too old yet) or failed.", orgLabel, "result")
	i.runs = counter("runs_total", "Reconciles that ended, by mode and state.", orgLabel, "mode", "state")
	i.runTime = histogram("run_duration_seconds", "Seconds that reconciles took, of those that ended.", runLength, orgLabel, "mode")
	i.calls = counter("okta_calls_total", "Attempts of calls to Okta, by endpoint (a * for each id) and status; none: no answer came.", orgLabel, "bucket", "status")
	i.callTime = histogram("okta_call_duration_seconds", "Seconds that attempts of calls to Okta took, without waits.", answers, orgLabel, "bucket")
	i.waits = counter("okta_rate_limit_waits_total", "Times that a rate limit made a call to Okta wait.", orgLabel, "bucket")
	i.scripts = histogram("redis_script_duration_seconds", "Seconds that the atomic scripts in Redis took, the way there included.", steps, "script")
	i.redisErrors = counter("redis_errors_total", "Commands that Redis, or the way to it, failed.", "command")
	for _, status := range []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		i.deliveries.WithLabelValues("", statusLabel(status))
	}
	for _, name := range append([]string{"dial"}, timedScripts...) {
		i.redisErrors.WithLabelValues(name) // 0 before the first: a rate needs it
	}

	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "oktasync_build_info", Help: "1; the labels tell what this program was made of."}, []string{"version", "revision", "goversion"})
	build.WithLabelValues(version, revision, goVersion).Set(1)
	i.registry.MustRegister(build)
	return i
}

// countFromZero has the failed deliveries of an instance counted before there are
// any: Prometheus takes what a series begins with for no increase, so the first
// failures would go unnoticed.
func (i *Instruments) countFromZero(instance string) {
	for _, status := range []int{http.StatusInternalServerError, http.StatusServiceUnavailable} {
		i.deliveries.WithLabelValues(instance, statusLabel(status))
	}
}

func (i *Instruments) keep(vec *prometheus.MetricVec, labels []string) {
	if slices.Contains(labels, orgLabel) {
		i.ofOrgs = append(i.ofOrgs, vec)
	}
}

// Engine returns what the engine tells the instruments by.
func (i *Instruments) Engine() engine.Observe {
	return engine.Observe{
		Applied: func(instance, source string, accepted, applied time.Duration) {
			i.accepted.WithLabelValues(instance, source).Observe(accepted.Seconds())
			i.applied.WithLabelValues(instance, source).Observe(applied.Seconds())
			i.fresh.WithLabelValues(instance, source).Observe((accepted + applied).Seconds())
		},
		Delivered: func(instance, sink string, took time.Duration) {
			i.delivered.WithLabelValues(instance, sink).Observe(took.Seconds())
		},
		Asked: func(instance, reason string, n int) {
			i.asked.WithLabelValues(instance, reason).Add(float64(n))
		},
		Refreshed: func(instance, result string) {
			i.refreshed.WithLabelValues(instance, result).Inc()
		},
		Ended: func(instance, mode string, state engine.RunState, took time.Duration) {
			i.runs.WithLabelValues(instance, mode, string(state)).Inc()
			i.runTime.WithLabelValues(instance, mode).Observe(took.Seconds())
		},
		Called: func(instance, bucket string, status int, took time.Duration) {
			i.calls.WithLabelValues(instance, bucket, statusLabel(status)).Inc()
			i.callTime.WithLabelValues(instance, bucket).Observe(took.Seconds())
			i.waits.WithLabelValues(instance, bucket) // from 0 on: a rate needs it
			i.calls.WithLabelValues(instance, bucket, statusLabel(http.StatusTooManyRequests))
		},
		Waited: func(instance, bucket string) {
			i.waits.WithLabelValues(instance, bucket).Inc()
		},
		Deleted: func(instance string) {
			for _, vec := range i.ofOrgs {
				vec.DeletePartialMatch(prometheus.Labels{orgLabel: instance})
			}
		},
		Redis: func(name string, took time.Duration, err error) {
			if slices.Contains(timedScripts, name) {
				i.scripts.WithLabelValues(name).Observe(took.Seconds())
			}
			if err != nil {
				i.redisErrors.WithLabelValues(name).Inc()
			}
		},
	}
}

// timedScripts are those that every event and every page goes through.
var timedScripts = []string{"accept", "merge"}

func statusLabel(status int) string {
	if status < 100 || status > 599 {
		return "none"
	}
	return strconv.Itoa(status)
}

var knownMethods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

const (
	hookRoute = "/hooks/okta/:instance"
	// deliveredTo is where a delivery that showed its secret leaves its instance: a
	// label must not be what a stranger made up.
	deliveredTo = "delivered to"
)

// answered counts a request that was answered.
func (i *Instruments) answered(c echo.Context, took time.Duration) {
	method, route, status := c.Request().Method, c.Path(), statusLabel(c.Response().Status)
	if !slices.Contains(knownMethods, method) {
		method = "other"
	}
	if route == "" {
		route = "none"
	}
	i.requests.WithLabelValues(method, route, status).Observe(took.Seconds())
	if route == hookRoute && method == http.MethodPost {
		instance, _ := c.Get(deliveredTo).(string)
		i.deliveries.WithLabelValues(instance, status).Inc()
	}
}
