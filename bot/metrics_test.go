package bot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/slack-go/slack"

	"auditbot/bot/engine"
	"auditbot/bot/slacksim"
	"auditbot/commands"
)

// marker is in everything that is typed and answered here, and in nothing that
// an operator sees.
const marker = "m4rk3r"

// A watched is a stage whose log is kept.
type watched struct {
	*stage
	wrote chan struct{} // has something if there may be a new line

	mu  sync.Mutex
	log bytes.Buffer // as JSON, a line each
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer signal(w.wrote)
	return w.log.Write(p)
}

func (w *watched) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// newWatched is a stage whose commands do as they are told by their lines.
func newWatched(t *testing.T) *watched {
	w := &watched{wrote: make(chan struct{}, 1)}
	w.stage = newStage(t, func(ctx context.Context, env commands.Env, line string) (commands.Reply, error) {
		switch {
		case strings.Contains(line, "serch"):
			return commands.Run(ctx, env, line)
		case strings.Contains(line, "mistake"):
			return commands.Reply{}, &commands.Mistake{Problem: marker + " is not good", Hint: "type something else"}
		case strings.Contains(line, "fail"):
			return commands.Reply{}, errors.New("it broke")
		case strings.Contains(line, "sign-in"):
			return commands.Reply{}, &commands.NeedSignIn{Instance: "contoso", Err: errors.New("nobody is signed in")}
		case strings.Contains(line, "wait"):
			return untilCancelled(ctx, env, line)
		}
		return commands.Reply{Title: "found " + marker, Table: commands.Table{Columns: []string{"a"}, Rows: [][]string{{marker}, {"2"}, {"3"}}, Total: 3}}, nil
	})
	w.stop()
	w.until(func() bool { return w.slack.Sockets() == 0 }) // else the next start seems to be connected
	w.stage.log = slog.New(slog.NewJSONHandler(w, nil))
	w.start()
	return w
}

// A logLine is what the log has of a command.
type logLine struct {
	Level, Msg, Item, Command, Channel, User, Outcome, Verdict, Reason string
	Took                                                               *int64
	Rows, Tries                                                        int
	Late                                                               bool
}

// lines are the commands of the log, by their items.
func (w *watched) lines() map[string][]logLine {
	all := map[string][]logLine{}
	for text := range strings.Lines(w.logged()) {
		var l logLine
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			w.t.Errorf("%v: %s", err, text)
		}
		if l.Msg == "command" {
			all[l.Item] = append(all[l.Item], l)
		}
	}
	return all
}

func (w *watched) scrape() string { return scrape(w.bot.Metrics) }

func scrape(m *Metrics) string {
	seen := httptest.NewRecorder()
	promhttp.HandlerFor(m, promhttp.HandlerOpts{}).ServeHTTP(seen, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return seen.Body.String()
}

// has looks for lines of a scrape.
func has(t *testing.T, scraped string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+scraped, "\n"+line) {
			t.Errorf("there is no line %s in\n%s", line, regexp.MustCompile(`(?m)^(#|go_|process_).*\n`).ReplaceAllString(scraped, ""))
		}
	}
}

// An end is what is to become of a command.
type end struct {
	slacksim.Message
	outcome string
}

// play plays every end that a command can have, but for those of sign-ins.
func (w *watched) play() (ends []end) {
	say := func(user, line, outcome string) slacksim.Message {
		m := w.say(user, line+" "+marker)
		ends = append(ends, end{m, outcome})
		return m
	}
	w.reply(say("U0ADA", "!help", "mistake"), "There is no command")
	w.reply(say("U0ADA", search, "answered"), "found")
	w.reply(say("U0ADA", search+" mistake", "mistake"), "is not good")
	w.reply(say("U0ADA", "!o365-auditlog-serch", "mistake"), "Did you mean")
	w.reply(say("U0ADA", search+" fail", "failed"), "under")
	say("U0MALLORY", search, "refused")
	w.until(func() bool {
		return slices.ContainsFunc(w.slack.History(incidents), func(m slacksim.Message) bool { return m.EphemeralTo == "U0MALLORY" })
	})

	waits := say("U0ADA", search+" wait", "cancelled")
	w.press("U0ADA", w.reply(waits, isRunning), "Cancel")
	w.reply(waits, "partial result")

	w.slack.Fail(slacksim.Lost("chat.postMessage"))
	lost := say("U0GRACE", search+" lost", "answered") // and found in the thread
	w.awaitLine(lost)
	w.slack.Fail(slacksim.HTTPError("chat.postMessage", 503))
	w.awaitLine(say("U0GRACE", search+" again", "answered"))

	w.slack.Fail(slacksim.APIError("chat.postMessage", "is_archived"))
	w.awaitLine(say("U0GRACE", search, "undelivered"))
	return ends
}

// awaitLine waits for the line of a command.
func (w *watched) awaitLine(m slacksim.Message) {
	w.t.Helper()
	for tooLong := time.After(60 * time.Second); len(w.lines()[w.itemOf(m)]) == 0; {
		select {
		case <-w.wrote:
		case <-tooLong:
			w.t.Fatalf("%s is not in the log:\n%s", m.Text, w.logged())
		}
	}
}

func (w *watched) itemOf(m slacksim.Message) string { return "T0CONTOSO." + m.Channel + "." + m.TS }

func TestEachCommandIsOneLineInTheLog(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	ends := w.play()
	w.stop()
	lines := w.lines()
	for _, m := range ends {
		all := lines[w.itemOf(m.Message)]
		if len(all) != 1 {
			t.Errorf("%s: %d lines", m.Text, len(all))
			continue
		}
		l := all[0]
		if l.Level != "INFO" || l.Outcome != m.outcome || l.User != m.User || l.Channel != m.Channel || l.Took == nil || l.Tries < 1 ||
			(l.Rows == 3) != (m.outcome == "answered" || m.outcome == "undelivered") || (l.Reason != "") != (m.outcome == "refused") {
			t.Errorf("%s: %+v, want it to be %s", m.Text, l, m.outcome)
		}
		if again := strings.Contains(m.Text, "again") || strings.Contains(m.Text, "lost"); again != (l.Tries == 2) {
			t.Errorf("%s: %d tries", m.Text, l.Tries)
		}
		if unknown := strings.Contains(m.Text, "serch"); unknown != (l.Command == "unknown") {
			t.Errorf("%s is the command %s", m.Text, l.Command)
		}
		delete(lines, l.Item)
	}
	if len(lines) != 1 || slices.Collect(maps.Values(lines))[0][0].Command != "cancel" {
		t.Errorf("besides the press of the button, the log has %+v", lines)
	}
	if strings.Contains(w.logged(), marker) {
		t.Errorf("the log has what was typed or answered:\n%s", w.logged())
	}
}

func TestTheLogTellsWhatBecameOfACommandThatCameLate(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	for line, outcome := range map[string]string{search: "answered", search + " sign-in": "offered", search + " edited": "taken_back"} {
		written := w.say("U0ADA", "a word")
		if outcome == "taken_back" {
			if err := w.slack.Delete("U0ADA", incidents, written.TS); err != nil {
				t.Fatal(err)
			}
		}
		late := Message{Team: "T0CONTOSO", Channel: incidents, Kind: "channel", User: "U0ADA", TS: written.TS, Text: line, Late: true, Unsure: true}
		if err := w.bot.fileAllowed(t.Context(), late); err != nil {
			t.Fatal(err)
		}
		w.awaitLine(written)
		if l := w.lines()[late.ID()][0]; l.Outcome != outcome || !l.Late {
			t.Errorf("%s: %+v", line, l)
		}
	}
}

func TestTheOutcomeOfACommand(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*task){
		"answered":  func(*task) {},
		"failed":    func(t *task) { t.outcome, t.GivenUp = "failed", "why" },
		"given_up":  func(t *task) { t.GivenUp = "why"; t.cancel() },
		"cancelled": func(t *task) { t.state.Cancelled = true; t.cancel() },
		"timed_out": func(t *task) { t.overtime = true; t.cancel() },
		"waits":     func(t *task) { t.state.Waits = "contoso" },
	} {
		command := (&Bot{Log: slog.New(slog.DiscardHandler)}).newTask(engine.Item{ID: "x"})
		change(command)
		if got := command.resultOf(commands.Reply{}).Outcome; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestMetricsCountWhatHappens(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	w.play()
	w.stop() // with everything done
	scraped := w.scrape()
	has(t, scraped,
		"auditbot_slack_connections 0",
		`auditbot_events_total{result="filed"} 11`, `auditbot_events_total{result="failed"} 0`,
		"auditbot_event_ack_seconds_count 11",
		`auditbot_commands_total{command="help",outcome="mistake"} 1`,
		`auditbot_commands_total{command="unknown",outcome="mistake"} 1`,
		`auditbot_commands_total{command="cancel",outcome="answered"} 1`,
		`auditbot_commands_total{command="o365-auditlog-search",outcome="answered"} 3`,
		`auditbot_commands_total{command="o365-auditlog-search",outcome="cancelled"} 1`,
		`auditbot_commands_total{command="o365-auditlog-search",outcome="failed"} 1`,
		`auditbot_commands_total{command="o365-auditlog-search",outcome="refused"} 1`,
		`auditbot_commands_total{command="o365-auditlog-search",outcome="undelivered"} 1`,
		`auditbot_answer_seconds_count{command="help"} 1`,
		`auditbot_answer_seconds_count{command="o365-auditlog-search"} 5`, // what Slack took without saying so is not known
		"auditbot_commands_running 0", "auditbot_inbox_items 0", "auditbot_inbox_oldest_seconds 0",
		"auditbot_disk_free_bytes ", "auditbot_disk_size_bytes ", "auditbot_results_bytes 0",
		"go_goroutines ", "process_start_time_seconds ",
	)
	if strings.Contains(scraped, marker) || regexp.MustCompile(`\b[UCT]0[A-Z]+`).MatchString(scraped) {
		t.Errorf("there are contents in\n%s", scraped)
	}
	problems, err := testutil.GatherAndLint(w.bot.Metrics)
	if len(problems) > 0 || err != nil {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestMetricsShowWhatIsNotDone(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	asked := w.say("U0ADA", search+" wait")
	progress := w.reply(asked, isRunning) // after a second
	scraped := w.scrape()
	has(t, scraped, "auditbot_commands_running 1", "auditbot_inbox_items 1")
	if regexp.MustCompile(`(?m)^auditbot_inbox_oldest_seconds (0|0\.[0-8].*)$`).MatchString(scraped) {
		t.Errorf("the oldest is younger than a second:\n%s", scraped)
	}
	w.press("U0ADA", progress, "Cancel")
	w.reply(asked, "partial result")
}

func TestMetricsKnowHowLongAnAcknowledgementTakes(t *testing.T) {
	t.Parallel()
	m := NewMetrics()
	written := func(ago time.Duration) Message {
		return Message{TS: slackTime(time.Now().Add(-ago))}
	}
	m.acknowledged(written(2 * time.Second))
	m.acknowledged(written(-time.Hour)) // Slack's clock is ahead
	m.acknowledged(Message{})
	late := &task{Message: written(time.Minute), name: "help"}
	m.answered(late)
	late.Resumed = 1
	m.answered(late)
	late.Resumed, late.state.Waits = 0, "contoso"
	m.answered(late)
	has(t, scrape(m),
		"auditbot_event_ack_seconds_sum 2", `auditbot_event_ack_seconds_bucket{le="0.001"} 1`, `auditbot_event_ack_seconds_bucket{le="1"} 1`, `auditbot_event_ack_seconds_bucket{le="2.5"} 2`,
		`auditbot_answer_seconds_bucket{command="help",le="30"} 0`, `auditbot_answer_seconds_bucket{command="help",le="300"} 1`, `auditbot_answer_seconds_count{command="help"} 1`)
}

func slackTime(t time.Time) string { return fmt.Sprintf("%d.%06d", t.Unix(), t.Nanosecond()/1000) }

func TestMetricsCountRequestsByWhatCameOfThem(t *testing.T) {
	t.Parallel()
	m := NewMetrics()
	answers := map[string]func() (*http.Response, error){
		"/api/chat.postMessage": func() (*http.Response, error) { return &http.Response{StatusCode: 429}, nil },
		"/api/users.info":       func() (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
	}
	next := roundTrip(func(r *http.Request) (*http.Response, error) {
		if a := answers[r.URL.Path]; a != nil {
			return a()
		}
		return &http.Response{StatusCode: 200}, r.Context().Err()
	})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, ask := range []struct {
		ctx           context.Context
		service, path string
	}{
		{t.Context(), "slack", "/api/chat.postMessage"},
		{t.Context(), "slack", "/api/users.info"},
		{t.Context(), "slack", "/upload/v1/" + marker},
		{t.Context(), "exchange", "/adminapi/beta/" + marker},
		{cancelled, "slack", "/api/auth.test"},
	} {
		r := httptest.NewRequestWithContext(ask.ctx, http.MethodPost, "https://host.contoso.com"+ask.path, nil)
		_, _ = m.Upstream(ask.service, next).RoundTrip(r)
	}
	m.Retried("slack")
	has(t, scrape(m),
		`auditbot_upstream_requests_total{code="429",method="chat.postMessage",service="slack"} 1`,
		`auditbot_upstream_requests_total{code="error",method="users.info",service="slack"} 1`,
		`auditbot_upstream_requests_total{code="200",method="other",service="slack"} 1`,
		`auditbot_upstream_requests_total{code="200",method="",service="exchange"} 1`,
		`auditbot_upstream_requests_total{code="cancelled",method="auth.test",service="slack"} 1`,
		`auditbot_upstream_request_seconds_count{service="slack"} 4`,
		`auditbot_retries_total{service="exchange"} 0`, `auditbot_retries_total{service="slack"} 1`)
	if strings.Contains(scrape(m), marker) {
		t.Error("an address became a label")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestMetricsFollowTheConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics()
		l := newLine(t, nil, func(_ *slacksim.Server, s *Sockets) { s.metrics = m })
		settle(10 * time.Second)
		if n := m.Connections(); n != 2 {
			t.Errorf("%d connections", n)
		}
		l.slack.Disconnect("refresh_requested")
		l.slack.Fail(slacksim.HTTPError("apps.connections.open", 503))
		settle(time.Hour)
		l.slack.FreezeSockets(true)
		settle(30 * time.Second)
		l.slack.FreezeSockets(false)
		settle(time.Hour)
		if n := m.Connections(); n != 2 {
			t.Errorf("%d connections in the end", n)
		}
		has(t, scrape(m),
			`auditbot_slack_reconnects_total{reason="not_connected"} 1`,
			`auditbot_slack_reconnects_total{reason="refresh_requested"} 2`,
			`auditbot_upstream_requests_total{code="503",method="apps.connections.open",service="slack"} 1`)
		l.stop()
		settle(time.Minute)
		if n := m.Connections(); n != 0 {
			t.Errorf("%d connections after the end", n)
		}
	})
}

func TestMetricsCountWhatIsSentAgain(t *testing.T) {
	t.Parallel()
	s := slacksim.NewServer(slacksim.Demo())
	t.Cleanup(s.Close)
	m := NewMetrics()
	s.Fail(slacksim.HTTPError("auth.test", 503))
	pace := &Pace{HTTP: &http.Client{Transport: m.Upstream("slack", http.DefaultTransport)}, Log: slog.New(slog.DiscardHandler), Metrics: m}
	if _, err := slack.New(s.BotToken(), slack.OptionAPIURL(s.APIURL()), slack.OptionHTTPClient(pace)).AuthTestContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	has(t, scrape(m), `auditbot_retries_total{service="slack"} 1`,
		`auditbot_upstream_requests_total{code="503",method="auth.test",service="slack"} 1`,
		`auditbot_upstream_requests_total{code="200",method="auth.test",service="slack"} 1`)
}

func TestNothingIsCountedWithoutMetrics(t *testing.T) {
	t.Parallel()
	var m *Metrics
	m.connected()
	m.disconnected()
	m.reconnect(true, errDeaf)
	m.event(Message{}, filed)
	m.enqueued(Message{}, true, nil)
	m.acknowledged(Message{TS: "1.000001"})
	m.answered(&task{})
	m.over("help", "answered")
	m.Retried("slack")
	m.watch(nil)
	if m.Upstream("slack", http.DefaultTransport) != http.DefaultTransport || m.Connections() != 0 {
		t.Error("something is")
	}
}

func TestTheREADMEHasEveryMetric(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t, untilCancelled)
	known := map[string]bool{"auditbot_signins": true, "auditbot_certificate_expiry_timestamp_seconds": true} // of package main
	described := make(chan *prometheus.Desc, 1000)
	s.bot.Metrics.Describe(described)
	close(described)
	name := regexp.MustCompile(`\bauditbot_[a-z_]+`)
	for d := range described {
		if found := name.FindString(d.String()); found != "" {
			known[found] = true
		}
	}
	families, err := s.bot.Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if name.MatchString(f.GetName()) {
			known[f.GetName()] = true
		}
	}
	_, section, _ := strings.Cut(string(readme), "\n### 6. Watch it\n")
	section, _, _ = strings.Cut(section, "\n## ")
	told := name.FindAllString(section, -1)
	slices.Sort(told)
	if all := slices.Sorted(maps.Keys(known)); !slices.Equal(told, all) {
		t.Errorf("the README has\n%q, and there are\n%q", told, all)
	}
}
