package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"auditbot/auditlog/signin"
	"auditbot/bot"
	"auditbot/bot/engine"
)

// A monitor is where machines look how the bot is doing: /metrics for
// Prometheus, /healthz for whoever would start it anew, /readyz for whoever
// waits for it. A nil *monitor is none.
type monitor struct {
	metrics  *bot.Metrics
	listener net.Listener
	log      *slog.Logger

	stop func() // ends what serve began; nil before that
}

// check demands an address that can be listened on.
func (s serveSettings) check() error {
	if s.MetricsAddr == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(s.MetricsAddr)
	if _, notPort := strconv.ParseUint(port, 10, 16); err != nil || notPort != nil {
		return fmt.Errorf("serve.metrics_addr: %q is not host:port, such as 127.0.0.1:9464", s.MetricsAddr)
	}
	return nil
}

// openMonitor takes the address in the settings, if there is one. Nobody is
// answered there before serve is called.
func openMonitor(s serveSettings, log *slog.Logger) (*monitor, error) {
	if s.MetricsAddr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", s.MetricsAddr)
	if err != nil {
		return nil, fmt.Errorf("listening on %s, as serve.metrics_addr says: %w", s.MetricsAddr, err)
	}
	if here, err := netip.ParseAddrPort(l.Addr().String()); err != nil || !here.Addr().IsLoopback() {
		log.Warn("serve.metrics_addr can be reached from other machines: without a password, they see how busy the bot is and what its instances are called")
	}
	return &monitor{metrics: bot.NewMetrics(), listener: l, log: log}, nil
}

// numbers are what is counted; nil if nothing is.
func (m *monitor) numbers() *bot.Metrics {
	if m == nil {
		return nil
	}
	return m.metrics
}

// slack counts what goes to Slack at this pace.
func (m *monitor) slack(p *bot.Pace) *bot.Pace {
	if m != nil {
		p.Metrics = m.metrics
		p.HTTP.Transport = m.metrics.Upstream("slack", p.HTTP.Transport)
	}
	return p
}

// microsoft counts what goes to a tenant's services.
func (m *monitor) microsoft(t *tenant) {
	count := func(service string, c *http.Client) {
		c.Transport = m.metrics.Upstream(service, c.Transport)
	}
	retried := func(service string) func() { return func() { m.metrics.Retried(service) } }
	count("entra", t.entra.HTTP)
	count("exchange", t.exchange.HTTP)
	t.exchange.Retried = retried("exchange")
	if t.graph != nil {
		count("entra", t.graph.entra.HTTP)
		count("graph", t.graph.HTTP)
		t.graph.Retried = retried("graph")
	}
}

// The time-outs of the monitor. What is asked there is short, and a scrape takes
// ten seconds at most, as long as Prometheus waits by default.
const (
	monitorRead   = 5 * time.Second
	monitorScrape = 10 * time.Second
	monitorWrite  = 15 * time.Second
	monitorIdle   = 2 * time.Minute
	monitorEnd    = time.Second

	healthPatience = 2 * time.Second
)

// serve answers until close is called. From when ctx is done on, the bot is not
// ready.
func (m *monitor) serve(ctx context.Context, e *engine.Engine, tenants []*tenant) {
	if m == nil {
		return
	}
	for _, t := range tenants {
		m.microsoft(t)
	}
	signIns := &signInCount{bucket: e.Bucket(engine.Tokens), tenants: tenants, log: m.log}
	m.metrics.MustRegister(prometheus.CollectorFunc(signIns.collect))
	errorLog := slog.NewLogLogger(m.log.Handler(), slog.LevelWarn)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.metrics, promhttp.HandlerOpts{
		ErrorLog:            errorLog,
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		Timeout:             monitorScrape,
	}))
	h := health{connected: func() bool { return m.metrics.Connections() > 0 || m.metrics.Spare() }, engine: e.Healthy, clustered: e.Clustered(), stopping: ctx.Done()}
	mux.HandleFunc("GET /healthz", h.alive)
	mux.HandleFunc("GET /readyz", h.ready)
	server := &http.Server{
		Handler: mux, ErrorLog: errorLog, MaxHeaderBytes: 16 << 10,
		ReadTimeout: monitorRead, WriteTimeout: monitorWrite, IdleTimeout: monitorIdle,
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		if err := server.Serve(m.listener); !errors.Is(err, http.ErrServerClosed) {
			m.log.Error("serving metrics", "err", err)
		}
	}()
	m.stop = func() {
		ending, cancel := context.WithTimeout(context.Background(), monitorEnd)
		defer cancel()
		if server.Shutdown(ending) != nil {
			server.Close()
		}
		<-over
	}
	m.log.Info("metrics are served", "addr", m.listener.Addr().String())
}

// close ends it all.
func (m *monitor) close() {
	switch {
	case m == nil:
	case m.stop == nil:
		m.listener.Close()
	default:
		m.stop()
	}
}

// A health is what is asked about the bot's.
type health struct {
	connected func() bool // or has no need to be
	engine    func(context.Context) error
	clustered bool
	stopping  <-chan struct{}
}

// alive answers /healthz: with 200 while there is reason to leave the process
// alone. A cluster that is away is waited for, and a new process is no better at
// it.
func (h health) alive(w http.ResponseWriter, r *http.Request) {
	if h.clustered {
		answer(w, nil)
		return
	}
	answer(w, h.engineTroubles(r.Context()))
}

// ready answers /readyz: with 200 while commands are filed and answered here, else
// with 503 and a line for each reason why not.
func (h health) ready(w http.ResponseWriter, r *http.Request) {
	var reasons []string
	select {
	case <-h.stopping:
		reasons = append(reasons, "auditbot is stopping")
	default:
	}
	if !h.connected() {
		reasons = append(reasons, "there is no connection to Slack")
	}
	answer(w, append(reasons, h.engineTroubles(r.Context())...))
}

func (h health) engineTroubles(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	if h.engine(ctx) != nil {
		return []string{"the engine does not answer"}
	}
	return nil
}

func answer(w http.ResponseWriter, reasons []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if len(reasons) == 0 {
		reasons = []string{"ok"}
	} else {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = io.WriteString(w, strings.Join(reasons, "\n")+"\n") // whoever asked has gone
}

// signInCount counts the stored sign-ins, at most once in a countEvery: each is
// read for that.
type signInCount struct {
	bucket  *engine.Bucket
	tenants []*tenant
	log     *slog.Logger

	mu      sync.Mutex
	counted time.Time
	found   map[signInState]int
}

// A signInState is what sign-ins are counted by.
type signInState struct{ instance, state string }

const (
	countEvery = time.Minute

	// endsSoon is how long before its end a sign-in is told of.
	endsSoon = 7 * 24 * time.Hour
)

var (
	signInsGauge = prometheus.NewDesc("auditbot_signins", "Stored sign-ins. Those that end soon do so within a week if they are not used; Microsoft may end any sooner.", []string{"instance", "state"}, nil)
	certGauge    = prometheus.NewDesc("auditbot_certificate_expiry_timestamp_seconds", "When the certificate that an application signs in with ends.", []string{"instance"}, nil)
)

func (s *signInCount) collect(metrics chan<- prometheus.Metric) {
	for _, t := range s.tenants {
		if t.Certificate != nil {
			metrics <- prometheus.MustNewConstMetric(certGauge, prometheus.GaugeValue, float64(t.Certificate.Expires().Unix()), t.Name)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.counted) > countEvery {
		found, err := s.count()
		if err != nil {
			s.log.Warn("counting sign-ins", "err", err)
			return
		}
		s.found, s.counted = found, time.Now()
	}
	for by, n := range s.found {
		metrics <- prometheus.MustNewConstMetric(signInsGauge, prometheus.GaugeValue, float64(n), by.instance, by.state)
	}
}

// count reads the sign-ins that instances of the settings use.
func (s *signInCount) count() (map[signInState]int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storePatience)
	defer cancel()
	keys, err := s.bucket.Keys(ctx)
	if err != nil {
		return nil, err
	}
	found := map[signInState]int{}
	unattended := map[string]bool{}
	for _, i := range instancesAs(s.tenants, bot.Person{}) {
		unattended[i.Name] = i.Account.Unattended()
		for _, state := range []string{"good", "ends_soon", "ended"} {
			found[signInState{i.Name, state}] = 0
		}
	}
	for _, key := range keys {
		instance, _, _ := strings.Cut(key, "/")
		renewsItself, known := unattended[instance]
		value, _, err := s.bucket.Get(ctx, key)
		if !known || errors.Is(err, engine.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if state := stateOf(value, renewsItself); state != "" {
			found[signInState{instance, state}]++
		}
	}
	return found, nil
}

// stateOf is how long a stored sign-in is good for, "" for what is none.
func stateOf(value []byte, renewsItself bool) string {
	ends, ok := signin.EndsUnused(value)
	rest := time.Until(ends)
	switch {
	case len(value) == 0:
		return ""
	case renewsItself:
		return "good"
	case !ok:
		return ""
	case rest <= 0:
		return "ended"
	case rest < endsSoon:
		return "ends_soon"
	}
	return "good"
}
