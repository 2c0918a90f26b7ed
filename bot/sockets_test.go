package bot

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/slack-go/slack/socketmode"

	"auditbot/auditlog"
	"auditbot/bot/slacksim"
)

// A pipes is a network of which a bubble's clock knows.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.closed:
		return nil, errors.New("nobody listens")
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// A line is a bot's sockets in a bubble, and the workspace at their other end.
type line struct {
	t     *testing.T
	slack *slacksim.Server
	log   bytes.Buffer // to be read when the bubble is quiet
	begun time.Time
	stop  func()
	ended chan error
}

// An inbox is where what arrives is filed.
type inbox func(ctx context.Context, id string, data []byte) (fresh bool, err error)

// newLine connects the receiving half of a bot to a workspace. take is its
// inbox, or nil for one that takes everything. change adapts both ends before.
func newLine(t *testing.T, take inbox, change func(*slacksim.Server, *Sockets)) *line {
	t.Helper()
	l := &line{t: t, slack: &slacksim.Server{Workspace: slacksim.Demo(), URL: "http://127.0.0.1:1"}, begun: time.Now(), ended: make(chan error, 1)}
	l.slack.Workspace.Manifest = []byte(Manifest())
	// Not at once, as at Slack: in a bubble, under the race detector, timers of
	// no duration that are made at the same time crash Go 1.26 (unlockAndRun in
	// runtime/time.go shares one context between them).
	l.slack.RetryAfter = []time.Duration{time.Millisecond, time.Minute, 5 * time.Minute}
	network := newPipes()
	sockets := Sockets{APIURL: l.slack.APIURL(), AppToken: auditlog.Secret(l.slack.AppToken()), dial: network.dial}
	if change != nil {
		change(l.slack, &sockets)
	}
	answerOn(t, network, l.slack)
	t.Cleanup(l.slack.Close)
	if take == nil {
		take = func(context.Context, string, []byte) (bool, error) { return true, nil }
	}
	b := &Bot{Log: slog.New(slog.NewTextHandler(&l.log, nil)), Prefix: "!", Access: Access{Everyone: true}, inbox: take, Metrics: sockets.metrics}
	b.self.team, b.self.user = "T0CONTOSO", l.slack.BotUser()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { l.ended <- b.receive(ctx, sockets) }()
	l.stop = cancel
	t.Cleanup(func() { cancel(); synctest.Wait() })
	return l
}

// answerOn serves on a network until the test is over.
func answerOn(t *testing.T, network *pipes, h http.Handler) {
	server := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go server.Serve(network)
	t.Cleanup(func() { server.Close() })
}

// opened is when connections were asked for, since the start.
func (l *line) opened() []time.Duration {
	var all []time.Duration
	for _, r := range l.slack.Requests() {
		if r.Method == "apps.connections.open" {
			all = append(all, r.Time.Sub(l.begun).Round(time.Second))
		}
	}
	return all
}

func (l *line) say(text string) {
	l.t.Helper()
	if _, err := l.slack.Say("U0ADA", incidents, "", text); err != nil {
		l.t.Fatal(err)
	}
}

// attempts is how often Slack has sent events so far, and how many of these it
// had no connection for.
func (l *line) attempts() (all, nowhere int) {
	for _, d := range l.slack.Deliveries() {
		all++
		if !d.Open {
			nowhere++
		}
	}
	return all, nowhere
}

// settle lets time pass, and what then happens happen.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestTwoConnectionsAreMadeApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, nil, nil)
		settle(time.Second)
		if n := l.slack.Sockets(); n != 1 {
			t.Errorf("%d connections after a second", n)
		}
		settle(time.Hour)
		if n := l.slack.Sockets(); n != 2 || !slices.Equal(l.opened(), []time.Duration{0, 5 * time.Second}) {
			t.Errorf("%d connections, asked for at %v", n, l.opened())
		}
		l.slack.CutSockets()
		settle(time.Minute)
		at := l.opened()
		if n := l.slack.Sockets(); n != 2 || len(at) != 4 || at[3]-at[2] < 5*time.Second || at[2] > time.Hour+2*time.Second {
			t.Errorf("once both were lost, %d connections, asked for at %v", n, at)
		}
	})
}

// A day with a renewal of each connection every hour, some of them announced,
// and a message every 70 seconds.
func TestADayOfRenewalsLeavesNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, nil, func(s *slacksim.Server, _ *Sockets) { s.Lifetime = time.Hour })
		settle(10 * time.Second)
		for range 24 * 60 * 60 / 70 {
			l.say("a word")
			settle(70 * time.Second)
		}
		all, nowhere := l.attempts()
		if all < 24*60*60/70 || nowhere > 0 || l.slack.Unacknowledged() > 0 {
			t.Errorf("of %d events, %d found no connection, and %d are not acknowledged", all, nowhere, l.slack.Unacknowledged())
		}
		if n := len(l.opened()); n < 46 || n > 50 {
			t.Errorf("%d connections were asked for", n)
		}
	})
}

// slack-go connects again without a pause: against a server on loopback, 3,800
// times in a second.
func TestConnectionsThatBreakAtOnceAreNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, nil, func(s *slacksim.Server, _ *Sockets) {
			s.Fail(slices.Repeat([]slacksim.Fault{slacksim.Lost("link")}, 1000)...)
		})
		settle(10 * time.Minute)
		if n := len(l.opened()); n < 10 || n > burst+10 {
			t.Errorf("%d requests in 10 minutes: %v", n, l.opened())
		}
	})
}

func TestAnOutageIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, nil, func(s *slacksim.Server, _ *Sockets) {
			s.Fail(slices.Repeat([]slacksim.Fault{slacksim.HTTPError("apps.connections.open", 503)}, 12)...)
		})
		settle(20 * time.Minute)
		at := l.opened()
		if n := l.slack.Sockets(); n != 2 || len(at) != 14 {
			t.Fatalf("%d connections, asked for at %v", n, at)
		}
		if at[1] < time.Second || at[2] < 3*time.Second || at[3] < 5*time.Second || at[13] > 14*time.Minute {
			t.Errorf("too soon, or too late: %v", at)
		}
		l.slack.Fail(slacksim.HTTPError("apps.connections.open", 503))
		l.slack.CutSockets()
		settle(3 * time.Second)
		if l.slack.Sockets() != 1 {
			t.Errorf("long after the outage, connections are asked for at %v", l.opened())
		}
	})
}

func TestBothWaitAsLongAsSlackSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, nil, func(s *slacksim.Server, _ *Sockets) {
			s.Fail(slacksim.RateLimited("apps.connections.open", 5*time.Minute))
		})
		settle(10 * time.Minute)
		if at := l.opened(); len(at) != 3 || at[1] < 5*time.Minute || at[2] < 5*time.Minute {
			t.Errorf("asked for at %v", at)
		}
	})
}

func TestWhatHangsIsGivenUp(t *testing.T) {
	for _, what := range []string{"apps.connections.open", "link"} {
		synctest.Test(t, func(t *testing.T) {
			l := newLine(t, nil, func(s *slacksim.Server, _ *Sockets) { s.Fail(slacksim.Hang(what), slacksim.Hang(what)) })
			settle(30 * time.Second)
			if n := l.slack.Sockets(); n != 2 {
				t.Errorf("%s: %d connections after half a minute:\n%s", what, n, &l.log)
			}
		})
		synctest.Test(t, func(t *testing.T) {
			l := newLine(t, nil, func(s *slacksim.Server, _ *Sockets) { s.Fail(slacksim.Hang(what)) })
			settle(time.Second)
			l.stop()
			if err := <-l.ended; !errors.Is(err, context.Canceled) || time.Since(l.begun) > 2*time.Second {
				t.Errorf("%s: it ends after %v with %v", what, time.Since(l.begun), err)
			}
		})
	}
}

func TestADeafConnectionIsReplacedWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, nil, nil)
		settle(10 * time.Minute)
		if n := len(l.opened()); n != 2 {
			t.Fatalf("connections that are pinged are replaced:\n%s", &l.log)
		}
		l.slack.FreezeSockets(true)
		settle(time.Minute)
		if n := len(l.opened()); n != 4 || l.slack.Sockets() != 2 {
			t.Errorf("%d connections were made, %d are open", n, l.slack.Sockets())
		}
		l.say("anybody there?")
		settle(time.Second)
		if l.slack.Unacknowledged() > 0 {
			t.Error("nobody is")
		}
	})
}

func TestAConnectionWithoutAGreetingIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made atomic.Int32
		mux := http.NewServeMux()
		mux.HandleFunc("/api/apps.connections.open", func(w http.ResponseWriter, r *http.Request) {
			made.Add(1)
			io.WriteString(w, `{"ok":true,"url":"ws://127.0.0.1:1/link"}`)
		})
		mux.HandleFunc("/link", func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("debug_reconnects") != "" {
				t.Error("the connection is made for 6 minutes only")
			}
			upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
			conn, err := upgrader.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			ping := func(string) error {
				time.AfterFunc(time.Second, func() { conn.WriteControl(websocket.PingMessage, nil, time.Time{}) })
				return nil
			}
			conn.SetPongHandler(ping)
			ping("")
			conn.ReadMessage() // nothing but pongs
		})
		newLine(t, nil, func(_ *slacksim.Server, s *Sockets) {
			network := newPipes()
			answerOn(t, network, mux)
			s.dial = network.dial
		})
		settle(55 * time.Second)
		if n := made.Load(); n != 4 {
			t.Errorf("%d connections were made", n)
		}
	})
}

// Slack sends events that nobody acknowledged again, but never the press of a
// button.
func TestWhatCameBeforeTheEndOfAConnectionIsHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sockets Sockets
		l := newLine(t, nil, func(s *slacksim.Server, k *Sockets) {
			s.AckTimeout = 24 * time.Hour
			sockets = *k
		})
		l.stop()
		ctx, stop := context.WithCancel(t.Context())
		var handled atomic.Int32
		go sockets.run(ctx, slog.New(slog.DiscardHandler), func(socketmode.Event, acknowledge) {
			time.Sleep(time.Second) // a machine that is slow
			handled.Add(1)
		})
		const rounds = 20
		for range rounds {
			settle(2 * time.Minute)
			l.say("one")
			l.say("two")
			l.say("three")
			settle(0)
			l.slack.Disconnect("refresh_requested")
		}
		settle(2 * time.Minute)
		if n := handled.Load(); n != 3*rounds {
			t.Errorf("of %d events, %d are handled", 3*rounds, n)
		}
		stop()
		settle(time.Minute)
	})
}

// A mute connection can be read, but not written to.
type mute struct {
	net.Conn
	on *atomic.Bool
}

func (m mute) Write(p []byte) (int, error) {
	if m.on.Load() {
		return 0, errors.New("mute")
	}
	return m.Conn.Write(p)
}

func TestAMuteConnectionIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var on atomic.Bool
		l := newLine(t, nil, func(_ *slacksim.Server, s *Sockets) {
			dial := s.dial
			s.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dial(ctx, network, addr)
				if on.Load() {
					return conn, err
				}
				return mute{conn, &on}, err
			}
		})
		settle(10 * time.Second)
		on.Store(true)
		for range 10 {
			l.say("hello")
		}
		settle(10 * time.Second)
		if n := len(l.opened()); n != 4 || l.slack.Unacknowledged() > 0 {
			t.Errorf("%d connections were asked for, and %d events are not acknowledged", n, l.slack.Unacknowledged())
		}
	})
}

func TestWhenThereAreTooManyConnectionsNoneIsAskedForAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, nil, func(s *slacksim.Server, _ *Sockets) {
			s.Fail(slices.Repeat([]slacksim.Fault{slacksim.APIError("link", "too_many_websockets")}, 4)...)
		})
		settle(10 * time.Minute)
		at := l.opened()
		if len(at) != 6 || at[1] < time.Minute || at[3] < 2*time.Minute || l.slack.Sockets() != 2 {
			t.Errorf("%d connections, asked for at %v", l.slack.Sockets(), at)
		}
		if !strings.Contains(l.log.String(), "all are taken") {
			t.Errorf("the log does not tell:\n%s", &l.log)
		}
	})
}

func TestSlackSaysThatThereWillBeNoConnection(t *testing.T) {
	for name, advice := range map[string]string{
		"invalid_auth":           "begins with xapp-",
		"not_authed":             "begins with xapp-",
		"not_allowed_token_type": "begins with xapp-",
		"missing_scope":          "connections:write",
		"account_inactive":       "make a new app-level token",
		"token_revoked":          "make a new app-level token",
		"token_expired":          "make a new app-level token",
		"an_error_of_the_future": "does not let this app connect",
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLine(t, nil, func(s *slacksim.Server, _ *Sockets) { s.Fail(slacksim.APIError("apps.connections.open", name)) })
			settle(time.Second)
			l.mustEnd(name, advice)
		})
	}
	for _, passes := range []string{"internal_error", "ratelimited", "team_added_to_org"} {
		synctest.Test(t, func(t *testing.T) {
			l := newLine(t, nil, func(s *slacksim.Server, _ *Sockets) { s.Fail(slacksim.APIError("apps.connections.open", passes)) })
			settle(time.Minute)
			if n := l.slack.Sockets(); n != 2 {
				t.Errorf("after %s there are %d connections:\n%s", passes, n, &l.log)
			}
		})
	}
}

// mustEnd says that the sockets have ended, for a reason with all this in it.
func (l *line) mustEnd(words ...string) {
	l.t.Helper()
	select {
	case err := <-l.ended:
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				l.t.Errorf("it ended with %q, which does not say %q", err, word)
			}
		}
	default:
		l.t.Errorf("it goes on, in spite of %v:\n%s", words, &l.log)
	}
}

func TestSocketModeIsSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, nil, nil)
		settle(time.Hour)
		l.slack.Disconnect("link_disabled")
		settle(time.Second)
		l.mustEnd("link_disabled", "Socket Mode was switched off")
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, nil, func(s *slacksim.Server, _ *Sockets) { s.Fail(slacksim.APIError("link", "link_disabled")) })
		settle(time.Second)
		l.mustEnd("Socket Mode was switched off")
	})
}

// A connection is closed right after Slack has said why. What came before that
// is handled, too: Slack sends the press of a button only once.
func TestNothingIsLostHoweverSoonAConnectionIsClosed(t *testing.T) {
	for range 50 {
		s := slacksim.NewServer(slacksim.Workspace{Manifest: []byte(Manifest())})
		sockets := Sockets{APIURL: s.APIURL(), AppToken: auditlog.Secret(s.AppToken())}
		var handled atomic.Int32
		ended := make(chan error, 1)
		go func() {
			ended <- sockets.run(t.Context(), slog.New(slog.DiscardHandler), func(socketmode.Event, acknowledge) { handled.Add(1) })
		}()
		if err := s.WaitConnected(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if _, err := s.Say("U0ADA", incidents, "", "a word"); err != nil {
				t.Fatal(err)
			}
		}
		s.Disconnect("link_disabled")
		select {
		case err := <-ended:
			if n := handled.Load(); n != 5 || !errors.Is(err, linkDisabled) {
				t.Errorf("of 5 events %d are handled, and it ends with %v", n, err)
			}
		case <-time.After(2 * time.Second):
			t.Fatalf("of 5 events %d are handled, and the reason is lost", handled.Load())
		}
		s.Close()
	}
}

func TestWhatIsSaidInAMessageEndsNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, nil, nil)
		settle(10 * time.Second)
		l.slack.PostEvent(map[string]any{"channel": incidents, "type": "disconnect", "reason": "link_disabled"})
		l.say(`{"reason":"link_disabled","type":"disconnect"}`)
		settle(time.Minute)
		if n := len(l.opened()); n != 2 || l.slack.Unacknowledged() > 0 {
			t.Errorf("%d connections were made, %d events are not acknowledged", n, l.slack.Unacknowledged())
		}
		l.slack.CutSockets()
		settle(time.Second)
		if log := l.log.String(); strings.Contains(log, "Slack said") || !strings.Contains(log, errBroken.Error()) {
			t.Errorf("the log has\n%s", log)
		}
	})
}

func TestAFrameThatIsTooLargeEndsItsConnectionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, nil, nil)
		settle(10 * time.Second)
		l.slack.Deliver(`"` + strings.Repeat("x", maxEnvelope) + `"`)
		settle(10 * time.Second)
		if n := len(l.opened()); n != 3 || l.slack.Sockets() != 2 {
			t.Errorf("%d connections were asked for, %d are open", n, l.slack.Sockets())
		}
	})
}

func TestAnAddressWithoutTLSIsRefused(t *testing.T) {
	for _, c := range []struct {
		api, address string
		good         bool
	}{
		{"https://slack.com/api/", "https://wss-primary.slack.com/link/", true}, // what gorilla makes of wss
		{"https://slack.com/api/", "http://wss-primary.slack.com/link/", false},
		{"http://127.0.0.1:8065/api/", "http://127.0.0.1:8065/link/", true},
	} {
		address, err := url.Parse(c.address)
		if err != nil {
			t.Fatal(err)
		}
		k := &connection{lane: &lane{Sockets: Sockets{APIURL: c.api}}}
		if _, err := k.proxy(&http.Request{URL: address}); (err == nil) != c.good {
			t.Errorf("%s from %s: %v", c.address, c.api, err)
		}
	}
}
