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

// Metrics returns the handler of /metrics. What is known of the instances is kept
// in the store, and read from there at each scrape: every replica shows the
// same, and a restart loses none. What the process itself did is in its instruments.
func Metrics(eng *engine.Engine, own *Instruments, log *slog.Logger) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector{eng, own, log}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(prometheus.Gatherers{reg, own.registry}, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: maxScrapes,
	})
}

// collector reads the numbers of all instances.
type collector struct {
	engine *engine.Engine
	own    *Instruments
	log    *slog.Logger
}

// orgLabel is the label that holds the id of an instance. It is not called instance, as
// Prometheus calls the address it scrapes.
const orgLabel = "org"

// description names a metric of an instance; labels are those beside its id.
func description(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("oktasync_"+name, help, append([]string{orgLabel}, labels...), nil)
}

// The metrics. The labels of all are bounded: kinds of records and states of a
// run are ours, a sink tells of at most 100 counters, and of event types only those that concern the graph have a
// name; the rest is "other".
//
// An instance has some 50 series of its own, 3 for each endpoint that is read, 2
// for each type of event by each source that brought one first, and 9 for each
// sink, with what it tells of its last delivery: 100 to 150 of one whose hook works,
// and thousands of instances are a matter of a few hundred thousand. What is
// nothing for most, as a type that never came by that source, has no series.
var (
	upMetric     = prometheus.NewDesc("oktasync_up", "1 if Redis answered at this scrape.", nil, nil)
	unreadMetric = prometheus.NewDesc("oktasync_status_errors", "Instances whose state could not be read, or not in time, at this scrape: their series are missing.", nil, nil)

	usedMetric = prometheus.NewDesc("oktasync_redis_memory_used_bytes", "Bytes of memory that Redis uses.", nil, nil)
	mostMetric = prometheus.NewDesc("oktasync_redis_memory_max_bytes", "Bytes of memory that Redis may use; absent without a limit of its own.", nil, nil)

	// Of this process.
	partMetric     = prometheus.NewDesc("oktasync_replica_instances", "Instances that this process works for.", nil, nil)
	replicasMetric = prometheus.NewDesc("oktasync_replicas", "Processes that share the instances, as this one sees it.", nil, nil)
	handedMetric   = prometheus.NewDesc("oktasync_handovers_total", "Instances that this process handed to another, which had less.", nil, nil)

	wholeMetric   = description("whole", "1 once a full read ended and the graph caught up with its end.")
	pausedMetric  = description("paused", "1 while an operator paused the instance.")
	ownedMetric   = description("owned", "1 while a process works for the instance.")
	problemMetric = description("problem", "1 while something keeps the instance from working; GET /admin/instances says what.")
	inboxMetric   = description("inbox_events", "Accepted events not yet applied.")
	oldestMetric  = description("inbox_oldest_age_seconds", "Seconds since the oldest event not yet applied was accepted; 0 if there is none.")
	refreshMetric = description("refresh_objects", "Objects to read again.")
	recordMetric  = description("records", "Records that are present, by kind.", "kind")
	heldMetric    = description("held_records", "Deletes, or changes of a verify, that await approval.")

	hookMetric = description("hook_ok", "1 if the org's event hook is active, verified and has all types that are used; 0 if not, or if there is none; absent while it is not known.")

	deadMetric    = description("dead_letters_kept", "Events that could not be understood and are kept.")
	deadAllMetric = description("dead_letters_total", "Events that could not be understood.")

	logAgeMetric     = description("log_read_up_to_age_seconds", "Age of the moment up to which all of the System Log was taken in.")
	logPollsMetric   = description("log_polls_total", "Calls to the System Log that succeeded.")
	logEventsMetric  = description("log_events_total", "Events read from the System Log, those that a hook brought before included.")
	logRestartMetric = description("log_restarts_total", "Times that the place in the System Log was lost or refused.")
	logProblemMetric = description("log_problem", "1 while the System Log cannot be read.")

	delayMetric    = description("event_delay_seconds", "Time from published to received, of the events that came first by this source: hook or log.", "event_type", "source")
	delayMaxMetric = description("event_delay_max_seconds", "The longest such time ever, of all types.", "source")
	eligibleMetric = description("hook_eligible_events_total", "Events of the types that Okta can send by hook, by what brought them first: hook or log.", "source")
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

	fullMetric = description("full_read_timestamp_seconds", "Unix time at which the last full reconcile without gaps ended; absent before the first.")

	limitMetric     = description("rate_limit_calls", "Calls that Okta allows in a window of an endpoint's bucket (a * for each id), to all callers of the org together.", "bucket")
	remainingMetric = description("rate_limit_remaining_calls", "Calls left in the window as the last answer told; all, once it is over.", "bucket")
	shareMetric     = description("rate_limit_share_ratio", "Share of a bucket that oktasync may use.", "bucket")

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

// scrapeTimeout is how long a scrape reads: Prometheus waits for ten seconds, and
// what was read by then is better than nothing.
const scrapeTimeout = 7 * time.Second

// Collect reads the state of all instances. Of one whose state is not told there
// are no metrics: old numbers would look like new ones.
func (c collector) Collect(out chan<- prometheus.Metric) {
	up := c.ping()
	out <- prometheus.MustNewConstMetric(upMetric, prometheus.GaugeValue, flag(up == nil))
	if up != nil {
		c.log.Warn("metrics could not be read", "err", up)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	all, err := c.engine.Instances(ctx)
	if err != nil {
		c.log.Warn("not all metrics could be read", "err", err)
	}
	unread := 0
	for _, in := range all {
		if in.Unread != nil {
			unread++
		}
	}
	out <- prometheus.MustNewConstMetric(unreadMetric, prometheus.GaugeValue, float64(unread))
	if used, most, err := c.engine.Memory(ctx); err == nil && used > 0 {
		out <- prometheus.MustNewConstMetric(usedMetric, prometheus.GaugeValue, float64(used))
		if most > 0 {
			out <- prometheus.MustNewConstMetric(mostMetric, prometheus.GaugeValue, float64(most))
		}
	}
	share := c.engine.Share()
	out <- prometheus.MustNewConstMetric(partMetric, prometheus.GaugeValue, float64(share.Owned))
	out <- prometheus.MustNewConstMetric(replicasMetric, prometheus.GaugeValue, float64(share.Replicas))
	out <- prometheus.MustNewConstMetric(handedMetric, prometheus.CounterValue, float64(share.Handed))
	now := time.Now()
	for _, in := range all {
		c.own.countFromZero(in.ID) // before the instruments are read: Metrics gathers them second
		if in.Unread == nil {
			scrape{out, in.ID}.instance(in, now)
		}
	}
}

func (c collector) ping() error {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	return c.engine.Ready(ctx)
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
	oldest := 0.0
	if in.OldestEvent != nil {
		oldest = max(now.Sub(*in.OldestEvent).Seconds(), 0)
	}
	s.gauge(oldestMetric, oldest)
	s.gauge(refreshMetric, float64(in.Refreshes))
	s.gauge(heldMetric, float64(in.Held))
	if in.Hook != nil && in.Hook.Unknown == "" {
		s.gauge(hookMetric, flag(in.Hook.Problem == ""))
	}
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

	var byHook, byLog int64
	longest := map[string]int64{} // by source
	for eventType, c := range in.Coverage {
		if c.HookEligible {
			byHook += c.Hook
			byLog += c.Log
		}
		s.delay(eventType, "hook", c.Hook, c.HookDelaySum)
		s.delay(eventType, "log", c.Log, c.LogDelaySum)
		if c.Hook > 0 {
			longest["hook"] = max(longest["hook"], c.HookDelayMax)
		}
		if c.Log > 0 {
			longest["log"] = max(longest["log"], c.LogDelayMax)
		}
		if c.Late > 0 {
			s.counter(lateMetric, c.Late, eventType)
		}
	}
	for source, ms := range longest {
		s.gauge(delayMaxMetric, seconds(ms), source)
	}
	s.counter(eligibleMetric, byHook, "hook")
	s.counter(eligibleMetric, byLog, "log")
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
	if in.FullReadAt != nil {
		s.gauge(fullMetric, seconds(in.FullReadAt.UnixMilli()))
	}
	for _, r := range in.RateLimits {
		if r.Limit == 0 || r.Remaining == nil {
			continue
		}
		remaining := *r.Remaining
		if r.ResetAt == nil || now.After(*r.ResetAt) {
			remaining = r.Limit
		}
		s.gauge(limitMetric, float64(r.Limit), r.Bucket)
		s.gauge(remainingMetric, float64(remaining), r.Bucket)
		s.gauge(shareMetric, r.Share, r.Bucket)
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

// delay tells how many events came by a source, and how late; nothing of a source
// by which none came.
func (s scrape) delay(eventType, source string, n, sum int64) {
	if n > 0 {
		s.out <- prometheus.MustNewConstSummary(delayMetric, uint64(n), seconds(sum), nil, s.id, eventType, source)
	}
}

func seconds(ms int64) float64 { return float64(ms) / 1000 }

func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
