// Package slacksim is a Slack workspace on loopback: the Web API and Socket
// Mode that a bot needs, and people who type. It is for demos, and for tests
// in the style of net/http/httptest:
//
//	slack := slacksim.NewServer(slacksim.Workspace{}) // [Demo]: Contoso's SOC
//	defer slack.Close()
//	// api_url is slack.APIURL(), the tokens are slack.BotToken() and slack.AppToken()
//	slack.WaitConnected(ctx)
//	m, err := slack.Say("U0ADA", "C0INCIDENTS", "", `!help`)
//	reply, err := slack.Wait(ctx, m.Channel, func(r slacksim.Message) bool { return r.ThreadTS == m.TS })
//
// # People
//
// [Server.Say] is somebody typing. Their text is stored as Slack stores it,
// with links, mentions and entities in it, and what their keyboard does to
// quotes ([User.CurlyQuotes]); typed.go says how. [Server.Edit] changes a
// message, [Server.Press] presses a button under one.
//
// [Server.History] is everything that was said, [Server.Wait] waits for
// something to be said, [Server.Watch] follows along. [Server.Until] waits for
// anything else: that all is acknowledged, that a method was called.
//
// # Events
//
// The bot is told of every message in the conversations it is a member of, as
// far as [Workspace.Manifest] subscribes to them and has the scopes. What it
// does not acknowledge comes again, up to three times. Tests can send an event
// again ([Server.Redeliver]), send odd ones ([Server.PostEvent],
// [Server.Deliver]), and be cruel to the connections ([Server.Disconnect],
// [Server.CutSockets], [Server.FreezeSockets]). [Server.Deliveries] says what
// was sent when, and whether it was acknowledged.
//
// # Strictness
//
// What Slack refuses is refused here with the same error, so far as that is
// known: missing scopes, channels that the bot is not in, blocks with unknown
// fields, texts that are too long, a second table, an upload that is completed
// twice. Where it is not known what Slack does, this package does what a bot
// can count on least. [Server.Fail] breaks single requests, [Server.Odds] does
// so now and then, [Server.Refuse] makes a kind of block unknown. [Server.Requests] says what was asked,
// [Server.Uploads] and [Server.Frames] what was sent besides, and
// [Server.Tickets] which secrets were given out.
//
// A Server is also an [http.Handler]: for the Web API it need not be started.
//
// # Where to look
//
//   - workspace.go, demo.go, manifest.go: what there is, and what is granted.
//   - people.go, typed.go, richtext.go: what people do, and what becomes of
//     their words.
//   - messages.go: where messages are kept, and who waits for them.
//   - events.go, envelope.go, socket.go: what the bot is told, and how.
//   - api.go and its table of methods; chat.go, reactions.go, conversations.go,
//     users.go, files.go: the methods.
//   - rate.go: what is too fast.
//   - blocks.go, schema.go: which blocks are good.
//   - fault.go, requests.go: for tests.
//   - page.go and page/: where people type.
package slacksim

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Server is a running workspace. Its exported fields are set before it
// starts or is asked for the first time, and not changed after.
type Server struct {
	Workspace Workspace

	Addr string // of this machine, where Start listens; "" means 127.0.0.1 with any free port
	URL  string // set by Start: "http://127.0.0.1:40123"; the Web API is at URL+"/api/"

	// Page answers everything that is not the API. Nil means the page to type
	// in that comes with this package.
	Page http.Handler

	// PingInterval is how often each connection is pinged. Zero means 10
	// seconds; Slack's own is not known.
	PingInterval time.Duration

	// AckTimeout is how long an envelope may go unacknowledged before it
	// counts as not delivered. Zero means 3 seconds, as at Slack.
	AckTimeout time.Duration

	// RetryAfter is how long after each failure an event is sent again; the
	// last failure is final. Nil means at once, after 1 minute and after 5, as
	// at Slack.
	RetryAfter []time.Duration

	// WarningTime is how long after the warning a connection is closed. Zero
	// means 10 seconds, as at Slack.
	WarningTime time.Duration

	// Lifetime is how long a connection lives before Slack renews it, with a
	// refresh_requested or a warning in turn. Zero means for ever; at Slack it
	// is an hour to a few.
	Lifetime time.Duration

	// EnforceRate makes the workspace answer 429 to what is faster than Slack
	// promises to take: to a second message within a second in one channel, and
	// to more requests for a method within a minute than its tier has. Slack
	// lets short bursts pass. It does not limit apps.connections.open.
	EnforceRate bool

	// EmailTakesEquals makes the = of user_ids=ada@contoso.com a part of the
	// address that is linked, which is legal. What Slack does is not known.
	EmailTakesEquals bool

	prepared sync.Once
	invalid  error // why Workspace cannot be used
	routes   http.Handler
	server   *http.Server
	closed   chan struct{}
	closing  sync.Once
	botToken string
	appToken string
	app      manifest

	// mu guards all below. Unexported methods of Server expect their caller to
	// hold it, unless they say that they take it.
	mu         sync.Mutex
	changed    chan struct{} // closed when anything has changed, and replaced
	users      []User
	channels   []*Channel
	posts      map[string][]*post // by channel, oldest first
	files      map[string]*file
	watchers   map[chan Message]bool
	refused    map[string]bool // block types, by Refuse
	lastTS     int64
	lastPost   map[string]time.Time   // by channel, for EnforceRate
	lastCalls  map[string][]time.Time // by method, those of the last minute, for EnforceRate
	tickets    map[string]bool
	sockets    []*socket
	renewed    int // connections, after their Lifetime
	deliveries []*delivery
	awaited    map[string]*delivery // by envelope id: sent, not acknowledged
	faults     []Fault
	luck       luck
	requests   []*Request
	frames     [][]byte // that were received
	issued     []string // tickets
}

// NewServer starts a [Server] for w. The caller should call Close when
// finished. It panics if there is no port to listen on, or w is not good.
func NewServer(w Workspace) *Server {
	s := &Server{Workspace: w}
	if err := s.Start(); err != nil {
		panic(err)
	}
	return s
}

// Start listens on Addr and sets URL. The error says why that is not possible,
// or what is wrong with the workspace.
func (s *Server) Start() error {
	if err := s.prepare(); err != nil {
		return fmt.Errorf("starting the simulated Slack: %w", err)
	}
	addr := cmp.Or(s.Addr, "127.0.0.1:0")
	if host, _, err := net.SplitHostPort(addr); err != nil || !loopback(host) {
		return fmt.Errorf("starting the simulated Slack: %q is not an address of this machine alone, such as 127.0.0.1:8065", addr)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("starting the simulated Slack: %w", err)
	}
	s.URL = "http://" + listener.Addr().String()
	s.server = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // connections are broken off on purpose
	}
	go s.server.Serve(listener)
	return nil
}

// Close stops the server at once: requests and connections break off. It may
// be called more than once.
func (s *Server) Close() {
	s.prepare()
	s.closing.Do(func() {
		close(s.closed)
		s.CutSockets()
		if s.server != nil {
			s.server.Close()
		}
	})
}

// APIURL is where the Web API is, with the slash that clients want at the end.
func (s *Server) APIURL() string { return s.URL + "/api/" }

// BotToken is the bot's token, "xoxb-…".
func (s *Server) BotToken() string {
	s.prepare()
	return s.botToken
}

// AppToken is the app-level token, "xapp-1-…".
func (s *Server) AppToken() string {
	s.prepare()
	return s.appToken
}

// BotUser is the bot's user id, [BotUserID].
func (s *Server) BotUser() string { return BotUserID }

// prepare fills in what is not set, before anything is asked. It takes mu, and
// returns what is wrong with the workspace.
func (s *Server) prepare() error {
	s.prepared.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.PingInterval = cmp.Or(s.PingInterval, 10*time.Second)
		s.AckTimeout = cmp.Or(s.AckTimeout, 3*time.Second)
		s.WarningTime = cmp.Or(s.WarningTime, 10*time.Second)
		if s.RetryAfter == nil {
			s.RetryAfter = []time.Duration{0, time.Minute, 5 * time.Minute}
		}
		s.botToken = "xoxb-0-" + rand.Text()
		s.appToken = "xapp-1-" + appID + "-0-" + rand.Text()
		s.closed = make(chan struct{})
		s.changed = make(chan struct{})
		s.posts = map[string][]*post{}
		s.files = map[string]*file{}
		s.watchers = map[chan Message]bool{}
		s.lastPost = map[string]time.Time{}
		s.lastCalls = map[string][]time.Time{}
		s.tickets = map[string]bool{}
		s.awaited = map[string]*delivery{}
		s.routes = s.mux()
		s.invalid = s.furnish()
	})
	return s.invalid
}

// furnish takes over the workspace.
func (s *Server) furnish() error {
	s.Workspace = s.Workspace.orDemo()
	app, err := readManifest(s.Workspace.Manifest)
	if err != nil {
		return err
	}
	s.app = app
	s.users = slices.Clone(s.Workspace.Users)
	if s.user(BotUserID) == nil {
		s.users = append(s.users, User{ID: BotUserID, Name: app.name, RealName: app.name, Bot: true})
	}
	for _, c := range s.Workspace.Channels {
		s.channels = append(s.channels, new(c.clone()))
	}
	for _, m := range s.Workspace.Messages {
		s.seed(m)
	}
	return s.consistent()
}

func (s *Server) mux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/{method}", s.serveAPI)
	mux.HandleFunc("GET /link/{$}", s.serveSocket)
	mux.HandleFunc("POST /upload/v1/{ticket}", s.serveUpload)
	mux.HandleFunc("GET /files-pri/{id}/{name}", s.serveFile)
	page := sync.OnceValue(func() http.Handler {
		if s.Page != nil {
			return s.Page
		}
		return s.page()
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { page().ServeHTTP(w, r) })
	return mux
}

// ServeHTTP answers for the API and the page. A request that names a host
// other than this machine is refused: it may come from a web page whose name
// was made to lead here.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.prepare(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if !loopback(host) {
		http.Error(w, "the simulated Slack answers to 127.0.0.1 and localhost only", http.StatusMisdirectedRequest)
		return
	}
	s.routes.ServeHTTP(w, r)
}

// base is the address that the server has for whoever sent r.
func (s *Server) base(r *http.Request) string {
	return cmp.Or(s.URL, "http://"+r.Host)
}

// loopback tells whether a host, without a port, is this machine and nothing
// else.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// touch wakes up everyone who waits for something to change.
func (s *Server) touch() {
	close(s.changed)
	s.changed = make(chan struct{})
}
