package bot

import (
	"context"
	"errors"
	"net/http"
	"path"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics are the numbers that tell an operator how a bot is doing. Their names
// and units follow https://prometheus.io/docs/practices/naming/, and each says
// in its help what it counts. No label has anything that people typed, nor a
// person, a channel or a record: what a label can be is known beforehand.
//
// A nil *Metrics counts nothing. Each belongs to one Bot.
type Metrics struct {
	*prometheus.Registry

	connections atomic.Int64 // to Slack, that were greeted
	isSpare     atomic.Bool  // other replicas have all that Slack allows
	reconnects  *prometheus.CounterVec
	events      *prometheus.CounterVec
	acks        prometheus.Histogram
	commands    *prometheus.CounterVec
	answers     *prometheus.HistogramVec
	requests    *prometheus.CounterVec
	durations   *prometheus.HistogramVec
	retries     *prometheus.CounterVec
}

// NewMetrics are metrics in a registry of their own, with those of the Go
// runtime and of the process.
func NewMetrics() *Metrics {
	m := &Metrics{
		Registry:   prometheus.NewRegistry(),
		reconnects: counter("slack_reconnects_total", "Connections to Slack that ended, or were not made, and were tried again.", "reason"),
		events:     counter("events_total", "Commands and presses of buttons that Slack delivered, by what became of the delivery.", "result"),
		acks: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "auditbot_event_ack_seconds", Help: "From when a command was written, by Slack's clock, to its acknowledgement.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		commands: counter("commands_total", "Commands that are over, by what became of them.", "command", "outcome"),
		answers: histogram("answer_seconds", "From when a command was written, by Slack's clock, to when Slack took the answer. Those that waited for a sign-in are left out.",
			[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600}, "command"),
		requests: counter("upstream_requests_total", "Requests to Slack and Microsoft by HTTP status; error means that there was no answer, cancelled that none was wanted any more.", "service", "method", "code"),
		durations: histogram("upstream_request_seconds", "From a request to Slack or Microsoft to the beginning of the answer.",
			[]float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120}, "service"),
		retries: counter("retries_total", "Requests that were sent again, after an error or since they came too fast.", "service"),
	}
	m.MustRegister(m.reconnects, m.events, m.acks, m.commands, m.answers, m.requests, m.durations, m.retries,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "auditbot_slack_connections", Help: "Connections on which Slack has said hello.",
		}, func() float64 { return float64(m.connections.Load()) }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	for _, result := range []string{filed, duplicate, turnedAway, notFiled} {
		m.events.WithLabelValues(result) // a rate needs a beginning
	}
	return m
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "auditbot_" + name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "auditbot_" + name, Help: help, Buckets: buckets}, labels)
}

// Connections is how many connections to Slack there are.
func (m *Metrics) Connections() int {
	if m == nil {
		return 0
	}
	return int(m.connections.Load())
}

// Spare tells whether this replica does without connections, since others have
// all that Slack allows.
func (m *Metrics) Spare() bool { return m != nil && m.isSpare.Load() }

func (m *Metrics) spare(yes bool) {
	if m != nil {
		m.isSpare.Store(yes)
	}
}

func (m *Metrics) connected() {
	if m != nil {
		m.connections.Add(1)
	}
}

func (m *Metrics) disconnected() {
	if m != nil {
		m.connections.Add(-1)
	}
}

// reconnect counts the end of a connection after which another is tried.
func (m *Metrics) reconnect(greeted bool, err error) {
	if m != nil {
		m.reconnects.WithLabelValues(endOf(greeted, err)).Inc()
	}
}

// endOf is err as a label.
func endOf(greeted bool, err error) string {
	switch {
	case err == disconnected("warning"), err == disconnected("refresh_requested"), err == tooMany:
		return string(err.(disconnected))
	case errors.Is(err, errDeaf):
		return "silent"
	case !greeted:
		return "not_connected"
	case errors.Is(err, errMute), errors.Is(err, errBroken):
		return "broken"
	}
	return "other"
}

// What becomes of what Slack delivers.
const (
	filed      = "filed"
	duplicate  = "duplicate"
	turnedAway = "refused" // its author is not served, and not told so
	notFiled   = "failed"  // Slack sends it again, but for presses of buttons
)

// event counts one that Slack delivered. What a sign-in has released is none.
func (m *Metrics) event(of Message, result string) {
	if m != nil && of.Resumed == 0 {
		m.events.WithLabelValues(result).Inc()
	}
}

// enqueued counts an event by what the inbox said to it.
func (m *Metrics) enqueued(of Message, fresh bool, err error) {
	switch {
	case err != nil:
		m.event(of, notFiled)
	case fresh:
		m.event(of, filed)
	default:
		m.event(of, duplicate)
	}
}

// acknowledged is called when Slack was told that a message has arrived. The
// empty one was not for us.
func (m *Metrics) acknowledged(of Message) {
	if m != nil && of.TS != "" {
		m.acks.Observe(since(of))
	}
}

// since is the seconds since a message was written. Slack's clock may be ahead
// of ours.
func since(m Message) float64 { return max(0, time.Since(m.Sent()).Seconds()) }

// answered is called when Slack has taken an answer.
func (m *Metrics) answered(t *task) {
	if m != nil && t.Resumed == 0 && t.state.Waits == "" {
		m.answers.WithLabelValues(t.name).Observe(since(t.Message))
	}
}

// over counts a command that is over.
func (m *Metrics) over(command, outcome string) {
	if m != nil {
		m.commands.WithLabelValues(command, outcome).Inc()
	}
}

// Retried counts a request that is sent again.
func (m *Metrics) Retried(service string) {
	if m != nil {
		m.retries.WithLabelValues(service).Inc()
	}
}

// Upstream counts what goes through next, which is what it returns if nothing
// is counted. Service is "slack", "entra", "exchange" or "graph".
func (m *Metrics) Upstream(service string, next http.RoundTripper) http.RoundTripper {
	if m == nil {
		return next
	}
	m.retries.WithLabelValues(service)
	return &upstream{m, service, next}
}

type upstream struct {
	*Metrics
	service string
	next    http.RoundTripper
}

// RoundTrip sends a request and counts it.
func (u *upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := u.next.RoundTrip(r)
	u.durations.WithLabelValues(u.service).Observe(time.Since(began).Seconds())
	code := "error"
	switch {
	case err == nil:
		code = strconv.Itoa(resp.StatusCode)
	case errors.Is(r.Context().Err(), context.Canceled):
		code = "cancelled"
	}
	u.requests.WithLabelValues(u.service, u.method(r), code).Inc()
	return resp, err
}

// method is the one of Slack's Web API, "other" for what is not in the bot's
// table. Microsoft's services have none: addresses there have names in them.
func (u *upstream) method(r *http.Request) string {
	if u.service != "slack" {
		return ""
	}
	name := path.Base(r.URL.Path)
	if _, ok := paced[name]; ok || name == "apps.connections.open" {
		return name
	}
	return "other"
}

// watch adds what is asked of b at each scrape.
func (m *Metrics) watch(b *Bot) {
	if m != nil {
		m.MustRegister(prometheus.CollectorFunc(b.gauges))
	}
}

// scrapePatience is how long a scrape waits for the engine.
const scrapePatience = 5 * time.Second

var (
	runningGauge = prometheus.NewDesc("auditbot_commands_running", "Commands that run in this process.", nil, nil)
	waitingGauge = prometheus.NewDesc("auditbot_commands_waiting", "Commands that wait for their turn in this process.", nil, nil)
	itemsGauge   = prometheus.NewDesc("auditbot_inbox_items", "Commands in the inbox that are not done, those that run or wait included.", nil, nil)
	oldestGauge  = prometheus.NewDesc("auditbot_inbox_oldest_seconds", "How long ago the oldest of them was filed; 0 if there is none.", nil, nil)
	resultsGauge = prometheus.NewDesc("auditbot_results_bytes", "Results that are kept.", nil, nil)
	freeGauge    = prometheus.NewDesc("auditbot_disk_free_bytes", "Free space where the data folder is. Below a tenth of the size, no search runs.", nil, nil)
	sizeGauge    = prometheus.NewDesc("auditbot_disk_size_bytes", "Size of the file system where the data folder is.", nil, nil)
)

// gauges are what is true now. What cannot be found out is missing.
func (b *Bot) gauges(metrics chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	gauge(runningGauge, float64(b.tasks.count()))
	gauge(waitingGauge, float64(b.atOnce.count()+b.quick.count()+b.long.count()))
	ctx, cancel := context.WithTimeout(context.Background(), scrapePatience)
	defer cancel()
	if free, total, err := b.Engine.Space(); err == nil {
		gauge(freeGauge, float64(free))
		gauge(sizeGauge, float64(total))
	}
	load, err := b.Engine.Load(ctx)
	if err != nil {
		b.Log.Warn("measuring the engine", "err", err)
		return
	}
	gauge(itemsGauge, float64(load.Items))
	gauge(resultsGauge, float64(load.Results))
	age := 0.0
	if !load.Oldest.IsZero() {
		age = max(0, time.Since(load.Oldest).Seconds())
	}
	gauge(oldestGauge, age)
}

// count is how many commands wait.
func (l *lineup) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// count is how many commands run.
func (k *tasks) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.running)
}
