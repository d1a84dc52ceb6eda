package handlers

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/sink"
)

// maxScrapes is how many scrapes may be under way: anyone may ask, and each
// one costs the store some reads for each instance.
const maxScrapes = 2

// metrics returns the handler of /metrics. All of oktasync's numbers are kept
// in the store, and read from there at each scrape: every replica shows the
// same, and a restart loses none.
func metrics(eng *engine.Engine, log *slog.Logger) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector{eng, log}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: maxScrapes,
	})
}

// collector reads the numbers of all instances.
type collector struct {
	engine *engine.Engine
	log    *slog.Logger
}

// description names a metric of an instance; labels are those beside instance.
func description(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("oktasync_"+name, help, append([]string{"instance"}, labels...), nil)
}

// The metrics. The labels of all are bounded: kinds of records and states of a
// run are ours, a sink tells of at most 100 counters, and of event types only those that concern the graph have a
// name; the rest is "other".
var (
	upMetric = prometheus.NewDesc("oktasync_up", "1 if Redis told the state of the instances at this scrape.", nil, nil)

	wholeMetric   = description("whole", "1 once a full read ended and the graph caught up with its end.")
	pausedMetric  = description("paused", "1 while an operator paused the instance.")
	ownedMetric   = description("owned", "1 while a process works for the instance.")
	problemMetric = description("problem", "1 while something keeps the instance from working; GET /admin/instances says what.")
	inboxMetric   = description("inbox_events", "Accepted events not yet applied.")
	refreshMetric = description("refresh_objects", "Objects to read again.")
	recordMetric  = description("records", "Records that are present, by kind.", "kind")
	heldMetric    = description("held_records", "Deletes, or changes of a verify, that await approval.")

	deadMetric    = description("dead_letters_kept", "Events that could not be understood and are kept.")
	deadAllMetric = description("dead_letters_total", "Events that could not be understood.")

	logAgeMetric     = description("log_read_up_to_age_seconds", "Age of the moment up to which all of the System Log was taken in.")
	logPollsMetric   = description("log_polls_total", "Calls to the System Log that succeeded.")
	logEventsMetric  = description("log_events_total", "Events read from the System Log, those that a hook brought before included.")
	logRestartMetric = description("log_restarts_total", "Times that the place in the System Log was lost or refused.")
	logProblemMetric = description("log_problem", "1 while the System Log cannot be read.")

	delayMetric    = description("event_delay_seconds", "Time from published to received, of the events that came first by this source: hook or log.", "event_type", "source")
	delayMaxMetric = description("event_delay_max_seconds", "The longest such time ever.", "event_type", "source")
	lateMetric     = description("events_late_total", "Events that came first by the log, and afterwards by a hook.", "event_type")

	sinkLagMetric       = description("sink_lag_seconds", "Age of the oldest change that a sink was not given yet.", "sink")
	sinkStateMetric     = description("sink_state", "1 for the state of a sink, 0 for the others.", "sink", "state")
	sinkChangesMetric   = description("sink_changes_total", "Changes delivered to a sink.", "sink")
	sinkSnapshotsMetric = description("sink_snapshots_total", "Snapshots delivered to a sink.", "sink")
	sinkFailuresMetric  = description("sink_failures_total", "Deliveries to a sink that failed.", "sink")
	sinkLastMetric      = description("sink_last_delivery", "What a sink tells of its last delivery, as JupiterOne's counters of the last job.", "sink", "counter")

	driftMetric    = description("drift_records", "Records that the last verify found different although Okta tells such changes.")
	silentMetric   = description("drift_silent_records", "Records that the last verify found different in what Okta changes without an event.")
	verifiedMetric = description("drift_timestamp_seconds", "When the last verify ended.")

	runStateMetric   = description("last_run_state", "1 for the state of the last run, 0 for the others.", "state")
	runTimeMetric    = description("last_run_duration_seconds", "How long the last run took, or has taken so far.")
	runStartMetric   = description("last_run_start_timestamp_seconds", "When the last run began.")
	runChangesMetric = description("last_run_changed_records", "Records whose part of the graph the last run changed.")
)

var runStates = []engine.RunState{engine.RunRunning, engine.RunSettling, engine.RunSucceeded, engine.RunIncomplete, engine.RunHeld, engine.RunCanceled}

// Describe tells of one metric for all: which others there are depends on the
// instances.
func (collector) Describe(out chan<- *prometheus.Desc) { out <- upMetric }

var sinkStates = []sink.State{sink.Waiting, sink.Following, sink.Replacing, sink.Retrying, sink.Stopped}

// Collect reads the state of all instances. While the store does not tell it,
// there are no metrics of instances: old numbers would look like new ones.
func (c collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	all, err := c.engine.Instances(ctx)
	if err != nil {
		c.log.Warn("metrics could not be read", "err", err)
	}
	out <- prometheus.MustNewConstMetric(upMetric, prometheus.GaugeValue, flag(err == nil))
	if err != nil {
		return
	}
	now := time.Now()
	for _, in := range all {
		scrape{out, in.ID}.instance(in, now)
	}
}

// scrape sends the metrics of one instance.
type scrape struct {
	out chan<- prometheus.Metric
	id  string
}

func (s scrape) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{s.id}, labels...)...)
}

func (s scrape) counter(d *prometheus.Desc, v int64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{s.id}, labels...)...)
}

func (s scrape) instance(in engine.InstanceStatus, now time.Time) {
	s.gauge(wholeMetric, flag(in.Whole))
	s.gauge(pausedMetric, flag(in.Paused))
	s.gauge(ownedMetric, flag(in.Owner != ""))
	s.gauge(problemMetric, flag(in.Problem != ""))
	s.gauge(inboxMetric, float64(in.Inbox))
	s.gauge(refreshMetric, float64(in.Refreshes))
	s.gauge(heldMetric, float64(in.Held))
	for kind, n := range in.Records {
		s.gauge(recordMetric, float64(n), kind)
	}
	s.gauge(deadMetric, float64(in.DeadLetters))
	s.counter(deadAllMetric, in.DeadLettersAll)

	if in.Log.ReadUpTo != nil {
		s.gauge(logAgeMetric, now.Sub(*in.Log.ReadUpTo).Seconds())
	}
	s.counter(logPollsMetric, in.Log.Polls)
	s.counter(logEventsMetric, in.Log.Events)
	s.counter(logRestartMetric, in.Log.Restarts)
	s.gauge(logProblemMetric, flag(in.Log.Problem != ""))

	for eventType, c := range in.Coverage {
		s.delay(eventType, "hook", c.Hook, c.HookDelaySum, c.HookDelayMax)
		s.delay(eventType, "log", c.Log, c.LogDelaySum, c.LogDelayMax)
		s.counter(lateMetric, c.Late, eventType)
	}
	for name, sk := range in.Sinks {
		for _, state := range sinkStates {
			s.gauge(sinkStateMetric, flag(sk.State == state), name, string(state))
		}
		if sk.Lag != nil {
			s.gauge(sinkLagMetric, *sk.Lag, name)
		}
		s.counter(sinkChangesMetric, sk.Changes, name)
		s.counter(sinkSnapshotsMetric, sk.Snapshots, name)
		s.counter(sinkFailuresMetric, sk.Failures, name)
		for counter, n := range sk.Note.Counters {
			s.gauge(sinkLastMetric, float64(n), name, counter)
		}
	}
	if in.Drift != nil {
		s.gauge(driftMetric, float64(in.Drift.Total))
		s.gauge(silentMetric, float64(in.Drift.Silent))
		s.gauge(verifiedMetric, seconds(in.Drift.At.UnixMilli()))
	}
	if run := in.LastRun; run != nil {
		for _, state := range runStates {
			s.gauge(runStateMetric, flag(run.State == state), string(state))
		}
		end := now
		if run.EndedAt != nil {
			end = *run.EndedAt
		}
		s.gauge(runTimeMetric, end.Sub(run.StartedAt).Seconds())
		s.gauge(runStartMetric, seconds(run.StartedAt.UnixMilli()))
		s.gauge(runChangesMetric, float64(run.Changes))
	}
}

// delay tells how many events came by a source, and how late.
func (s scrape) delay(eventType, source string, n, sum, longest int64) {
	s.out <- prometheus.MustNewConstSummary(delayMetric, uint64(n), seconds(sum), nil, s.id, eventType, source)
	s.gauge(delayMaxMetric, seconds(longest), eventType, source)
}

func seconds(ms int64) float64 { return float64(ms) / 1000 }

func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
