package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"
	"golang.org/x/time/rate"

	"auditbot/auditlog"
)

// Sockets are how Slack reaches the bot: two connections in Socket Mode. Slack
// hands each event to either of them, so that while one is renewed, or broken,
// events arrive on the other.
type Sockets struct {
	APIURL   string          // with a slash at the end: "https://slack.com/api/"
	AppToken auditlog.Secret // app-level, "xapp-…", with the scope connections:write

	// place waits for a place for the first lane, or the second: an app may have 10
	// connections, in all replicas together. The context ends with the place, and
	// leave gives it back. Nil means that there is no need.
	place   func(ctx context.Context, first bool) (held context.Context, leave func(), err error)
	hearing *hearing // is told of what comes; nil if nobody asks

	// For tests; zero means what is said below.
	apart   time.Duration // between the two, when they are made
	silence time.Duration // after which a connection counts as deaf
	minute  time.Duration // in which one more connection may be asked for
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)

	metrics *Metrics
}

const (
	// connections is how many there are in each replica; an app may have 10.
	// https://docs.slack.dev/apis/events-api/using-socket-mode/#multiple-connections
	connections = 2

	// apart keeps the two from being renewed at the same time, even after both
	// were lost at once. To make one takes less.
	apart = 5 * time.Second

	// silence is for how long nothing may be heard on a connection, not even a
	// ping, and how long it may take to be greeted. How often Slack pings is
	// not documented; Slack's own clients give up after 30 seconds.
	silence = 45 * time.Second

	// openTimeout bounds a request for a connection, and again the handshake.
	openTimeout = 20 * time.Second

	// maxEnvelope is the largest frame that is read, in bytes. A message of
	// 40,000 characters comes twice in its event, as text and as blocks.
	maxEnvelope = 4 << 20
)

// A handler is called for what arrives, in turn for each connection. It must
// not wait for anything: a connection whose events are not taken goes deaf.
type handler func(socketmode.Event, acknowledge)

// acknowledge tells Slack that the event in this envelope arrived. Once the
// connection that it came on has ended, it does nothing: Slack sends the event
// again.
type acknowledge func(envelope string)

// run keeps the connections open until ctx is done or Slack will have no more
// of them, and returns why.
func (s Sockets) run(ctx context.Context, log *slog.Logger, handle handler) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if s.dial == nil {
		s.dial = (&net.Dialer{}).DialContext
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = s.dial
	defer transport.CloseIdleConnections()
	gate := newGate(cmp.Or(s.minute, time.Minute), cmp.Or(s.apart, apart))
	var running sync.WaitGroup
	for i := range connections {
		k := &lane{Sockets: s, first: i == 0, log: log.With("lane", i+1), transport: s.metrics.Upstream("slack", transport), gate: gate, handle: handle}
		running.Go(func() { cancel(k.keep(ctx)) })
	}
	running.Wait()
	return context.Cause(ctx)
}

// A lane is one of the two: one connection after the other.
type lane struct {
	Sockets
	first     bool
	log       *slog.Logger
	transport http.RoundTripper
	gate      *gate
	handle    handler
}

// keep keeps a connection open where there is a place for it, until ctx is done
// or that is of no use.
func (k *lane) keep(ctx context.Context) error {
	if k.place == nil {
		return k.keepOpen(ctx)
	}
	for {
		held, leave, err := k.place(ctx, k.first)
		if err != nil {
			return err
		}
		err = k.keepOpen(held)
		leave()
		if !errors.Is(err, errNoPlace) {
			return err
		}
		k.log.Warn("a connection to Slack ended", "err", err)
	}
}

// keepOpen makes a new connection whenever the last one has ended, until ctx is
// done or that is of no use.
func (k *lane) keepOpen(ctx context.Context) error {
	for {
		if err := k.gate.wait(ctx); err != nil {
			return err
		}
		greeted, err := k.connect(ctx)
		if greeted {
			k.metrics.disconnected()
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if reason := final(err); reason != nil {
			return reason
		}
		k.ended(greeted, err)
	}
}

// ended puts the end of a connection down, in the log and in the gate.
func (k *lane) ended(greeted bool, err error) {
	k.metrics.reconnect(greeted, err)
	switch {
	case err == disconnected("warning"), err == disconnected("refresh_requested"):
		k.log.Info("Slack renews a connection", "reason", err)
	case err == disconnected(tooMany):
		k.log.Error("Slack lets an app have 10 connections, and all are taken: does another auditbot, or a test, use the same app?", "again_in", k.gate.failed(err))
	case greeted:
		k.log.Warn("a connection to Slack ended", "err", err)
	default:
		k.log.Warn("connecting to Slack", "again_in", k.gate.failed(err), "err", err)
	}
}

// A disconnected is the reason that Slack gave for the end of a connection.
// https://docs.slack.dev/apis/events-api/using-socket-mode/#disconnect
type disconnected string

func (d disconnected) Error() string { return "Slack said " + string(d) }

const (
	linkDisabled = disconnected("link_disabled")
	tooMany      = disconnected("too_many_websockets")
)

// final says why it is of no use to try again after err, or nil.
func final(err error) error {
	name := ""
	if e, ok := errors.AsType[slack.SlackErrorResponse](err); ok && !passing(err) && !refused(err, "team_added_to_org") {
		name = e.Err
	}
	advice := "Slack does not let this app connect"
	switch name {
	case "":
		if !errors.Is(err, linkDisabled) {
			return nil
		}
		advice = "Socket Mode was switched off: switch it on in the app's settings, under Socket Mode"
	case "invalid_auth", "not_authed", "not_allowed_token_type":
		advice = "SLACK_APP_TOKEN is not an app-level token of this app, which begins with xapp-"
	case "missing_scope", "no_permission":
		advice = "the app-level token in SLACK_APP_TOKEN lacks the scope connections:write"
	case "account_inactive", "token_revoked", "token_expired":
		advice = "SLACK_APP_TOKEN is no longer good: make a new app-level token in the app's settings, under Basic Information"
	}
	return fmt.Errorf("connecting to Slack, with SLACK_APP_TOKEN: %w: %s"+seeDoctor, err, advice)
}

var (
	errDeaf   = errors.New("nothing was heard for too long")
	errMute   = errors.New("it cannot be written to")
	errBroken = errors.New("it broke off")
)

// connect makes one connection and serves it until it ends, and returns why.
// greeted tells whether Slack said hello on it.
//
// It has a client of its own, since one that connects again does so without a
// pause, and acknowledges on the new connection what came on the old one.
func (k *lane) connect(ctx context.Context) (greeted bool, err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	c := &connection{lane: k, end: end, heard: make(chan struct{}, 1), taken: make(chan struct{}, 1), over: ctx.Done()}
	client := c.client(ctx)
	c.acknowledge = func(envelope string) { c.send(ctx, client, envelope) }
	over := make(chan struct{})
	go func() {
		defer close(over)
		end(client.RunContext(ctx))
	}()
	quiet := time.NewTimer(cmp.Or(k.silence, silence))
	defer quiet.Stop()
	for {
		select {
		case e := <-client.Events:
			c.event(e)
		case <-c.heard:
			c.hearing.something()
			if c.greeted {
				quiet.Reset(cmp.Or(k.silence, silence))
			}
		case <-quiet.C:
			end(errDeaf)
		case <-over:
			c.rest(client.Events)
			if c.greeted {
				c.hearing.ended()
			}
			return c.greeted, c.why(ctx)
		}
	}
}

// A connection is what we know of one.
type connection struct {
	*lane
	end   context.CancelCauseFunc // ends it
	asked atomic.Bool             // it was asked for
	heard chan struct{}           // has something if something came
	taken chan struct{}           // has something if the last frame is being handled
	read  bool                    // a frame was read; for the goroutine that reads
	over  <-chan struct{}         // closed when it ends

	acknowledge acknowledge
	greeted     bool // Slack has said hello

	mu     sync.Mutex
	reason error // that Slack gave for its end, or nil
}

func (c *connection) client(ctx context.Context) *socketmode.Client {
	api := slack.New("", slack.OptionAppLevelToken(string(c.AppToken)), slack.OptionAPIURL(c.APIURL),
		slack.OptionHTTPClient(&http.Client{Transport: c, Timeout: openTimeout}))
	dialer := &websocket.Dialer{
		Proxy:            c.proxy,
		HandshakeTimeout: openTimeout,
		NetDialContext: func(dialing context.Context, network, addr string) (net.Conn, error) {
			conn, err := c.dial(dialing, network, addr)
			if err == nil {
				context.AfterFunc(ctx, func() { conn.Close() }) // in a handshake, slack-go would wait for its time-out
			}
			return conn, err
		},
	}
	return socketmode.New(api, socketmode.OptionDialer(dialer), socketmode.OptionReadLimit(maxEnvelope),
		socketmode.OptionPingInterval(24*time.Hour), // silence is noticed here
		socketmode.OptionDebug(true), socketmode.OptionLog(c))
}

// RoundTrip passes on the one request for a connection. When slack-go asks
// again, it has lost that connection, and wants another without any limit.
func (c *connection) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.asked.Swap(true) {
		c.end(errBroken)
		return nil, errBroken
	}
	return c.transport.RoundTrip(r)
}

// proxy is that of the environment. Every address passes here: one without TLS
// is good only where the API, on this machine, has none either.
func (c *connection) proxy(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "https" && !strings.HasPrefix(c.APIURL, "http://") {
		return nil, errors.New("an address without TLS came from Slack")
	}
	return http.ProxyFromEnvironment(r)
}

// Output takes a line of slack-go's log, which is the only place where it says
// that it heard a ping, or what Slack said when it ended a connection. (On the
// wire, that could be read only by whoever does TLS and proxies as well.)
//
// It is called by the goroutine that reads frames and by the one that handles
// them, and makes the first wait for the second: slack-go drops what was read
// and not handled when a connection ends, the reason for the end included.
func (c *connection) Output(_ int, line string) error {
	text, isMessage := strings.CutPrefix(line, "Received WebSocket message: ")
	switch {
	case isMessage:
		signal(c.heard)
		if strings.Contains(text, `"disconnect"`) {
			c.goodbye([]byte(text))
		}
		signal(c.taken)
	case strings.HasPrefix(line, "WebSocket ping message received: "):
		signal(c.heard)
	case line == "Finished to receive message":
		c.read = true
	case line == "Starting to receive message" && c.read:
		select {
		case <-c.taken:
		case <-time.After(100 * time.Millisecond): // it was no message
		case <-c.over:
		}
	}
	return nil
}

// signal puts something into a channel that has room for one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (c *connection) goodbye(text []byte) {
	var frame struct{ Type, Reason string }
	if err := json.Unmarshal(text, &frame); err != nil || frame.Type != "disconnect" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reason = disconnected(frame.Reason)
}

// why is the reason for the end of the connection: Slack's, if it gave one.
func (c *connection) why(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != nil {
		return c.reason
	}
	return context.Cause(ctx)
}

// event deals with what is about the connection. The rest is not ours.
func (c *connection) event(e socketmode.Event) {
	switch e.Type {
	case socketmode.EventTypeHello:
		if !c.greeted {
			c.metrics.connected()
			c.hearing.connected()
		}
		c.greeted = true
		c.gate.greeted()
		c.log.Info("connected to Slack", "connections", e.Request.NumConnections)
	case socketmode.EventTypeConnectionError:
		if failed, ok := e.Data.(*slack.ConnectionErrorEvent); ok {
			c.end(failed.ErrorObj)
		}
	case socketmode.EventTypeErrorWriteFailed:
		c.end(errMute) // after one failure gorilla's connections write no more
	case socketmode.EventTypeEventsAPI, socketmode.EventTypeInteractive, socketmode.EventTypeSlashCommand, socketmode.EventTypeErrorBadMessage:
		c.handle(e, c.acknowledge)
	}
}

// rest deals with what came before the end: Slack sends what was not
// acknowledged again, but a press of a button never.
func (c *connection) rest(events <-chan socketmode.Event) {
	for {
		select {
		case e := <-events:
			c.event(e)
		default:
			return
		}
	}
}

// send sends an acknowledgement. It is bounded: while nothing is sent, slack-go
// takes 20 of them and then waits for ever.
func (c *connection) send(ctx context.Context, client *socketmode.Client, envelope string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := client.AckCtx(ctx, envelope, nil); err != nil && ctx.Err() == nil {
		c.log.Warn("acknowledging an event; Slack will send it again", "err", err)
	}
}

// A gate is how soon another connection may be asked for. Both lanes go by
// one: Slack counts their requests together.
type gate struct {
	limit         *rate.Limiter
	minute, apart time.Duration

	mu       sync.Mutex
	failures int       // since Slack last said hello on a connection
	until    time.Time // before this, none is asked for, since that failed
	next     time.Time // before this, none is asked for, since one just was
}

// burst is how many connections may be asked for at once: two at the start,
// and both again. After that it is one in a minute, which is what Slack allows
// of methods of its first tier; some of its pages put apps.connections.open
// into the third.
// https://docs.slack.dev/apis/web-api/rate-limits/
const burst = 4

func newGate(minute, apart time.Duration) *gate {
	return &gate{limit: rate.NewLimiter(rate.Every(minute), burst), minute: minute, apart: apart}
}

// wait returns when a connection may be asked for, or with the reason that ctx
// is done.
func (p *gate) wait(ctx context.Context) error {
	if err := p.limit.Wait(ctx); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	for {
		rest := p.claim()
		if rest <= 0 {
			return nil
		}
		select {
		case <-time.After(rest):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// claim takes the right to ask for a connection now, or tells how long not to
// try.
func (p *gate) claim() (rest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rest = max(time.Until(p.until), time.Until(p.next)); rest <= 0 {
		p.next = time.Now().Add(p.apart)
	}
	return rest
}

// greeted tells that a connection is good. That it was made is not enough:
// those that are too many are made, too.
func (p *gate) greeted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures, p.until = 0, time.Time{}
}

// failed tells that there was no connection, or one too many, and returns how
// long none is asked for now: from one second on, twice as long each time, up
// to a minute, or as long as Slack says, and somewhat longer by chance.
func (p *gate) failed(err error) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := min(time.Second<<min(p.failures, 10), p.minute)
	p.failures++
	p.next = time.Time{} // there is nothing to be apart from
	if limited, ok := errors.AsType[*slack.RateLimitedError](err); ok {
		wait = max(wait, limited.RetryAfter)
	}
	if errors.Is(err, tooMany) {
		wait = p.minute
	}
	wait += rand.N(min(wait, p.minute) / 4)
	if until := time.Now().Add(wait); until.After(p.until) {
		p.until = until
	}
	return wait
}
