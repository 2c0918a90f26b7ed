// Package tenantsim is a Microsoft 365 tenant on loopback: Entra ID (device
// code, password, client secret, certificate, refresh tokens, a page to sign in on),
// Exchange Online's admin API with Search-UnifiedAuditLog, and Microsoft
// Graph's audit log queries. It is for demos, and for tests in the style of
// net/http/httptest:
//
//	tenant := tenantsim.NewServer(tenantsim.Tenant{}) // contoso, with two weeks of records
//	defer tenant.Close()
//	// login_url, exchange_url and graph_url are all tenant.URL
//	tenant.Fail(tenantsim.Throttled(time.Second))     // the next search is refused
//
// A zero [Tenant] is [Contoso]. Records of your own come from [LoadNDJSON]:
//
//	records, err := tenantsim.LoadNDJSON(file)
//	tenant := tenantsim.NewServer(tenantsim.Tenant{Records: records})
//
// A million of them come from [Generate] and [OpenNDJSON].
//
// # Signing in
//
// A test approves, denies or lets expire a device code with
// [Server.Approve], [Server.Deny] and [Server.Expire]; a person does it at
// /devicelogin. [Server.Token] skips the sign-in. [Server.Revoke] ends what a
// sign-in has given, and [Server.Change] changes an account while the server
// runs: takes its role, blocks it by policy, disables it.
//
// # Strictness
//
// What the real services refuse is refused here with the same status, headers
// and body, so far as these are known: an expired token, a missing role (403
// and NUL bytes labelled as gzip), Parameters that are null, unknown
// parameters and enumeration values, links to pages that have expired. What
// goes wrong now and then is asked for with [Server.Fail], or comes by itself
// with [Server.Odds]; the list of [Fault] values is in fault.go. [Server.Requests] says what was asked,
// [Server.Issued] which tokens and codes were given out.
//
// # In a synctest bubble
//
// A Server is an [http.Handler] that need not be started: give it to an
// [http.RoundTripper] that calls it, and time stands still in it as well.
//
// # Where to look
//
//   - entra.go, grant.go, assertion.go, devicecode.go, token.go, issued.go: OAuth
//     2.0 as Entra ID speaks it.
//   - devicelogin.go and page/: where people sign in.
//   - exchange.go, parameters.go, search.go, answer.go: the admin API.
//   - graph.go, graphanswer.go, graphgrant.go: audit log queries of Graph.
//   - records.go, fields.go, filter.go: the audit log; contoso*.go: the demo
//     tenant's; generate.go: large ones.
package tenantsim

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Tenant is an organisation: its accounts, its applications and its audit
// log. Without an ID it is contoso: all fields that are zero are then those of
// [Contoso].
type Tenant struct {
	ID       string    // GUID; "" means contoso's
	Domain   string    // that its accounts are in: "contoso.com"
	Name     string    // for people: "Contoso"
	Initial  string    // the domain that every tenant has; "" means "contoso.onmicrosoft.com" for "contoso.com"
	Apps     []App     // nil means [MicrosoftApps]
	Records  *Records  // the audit log; nil means none, and in contoso that of the demo
	Accounts []Account // who may sign in

	AuditingOff bool // UnifiedAuditLogIngestionEnabled is False, and searches find nothing
}

// An Account is a person who may sign in.
type Account struct {
	UPN      string   // user principal name: "ada@contoso.com"
	Name     string   // "Ada Example"
	ID       string   // object id, a GUID; "" means one made from the UPN
	Password string   // for the password grant; "" means that no password is right
	Roles    []string // Exchange roles: [RoleAuditLogs], [RoleViewAuditLogs]; nil means those of everybody

	// Blocked is the AADSTS number that every sign-in and refresh ends with:
	// 53003 (conditional access), 530036 (device code flow blocked), 50057
	// (disabled), 50055 (password expired). 0 means that they succeed.
	Blocked int

	// MFA makes the password grant fail with AADSTS50076. The device code
	// grant is not affected: the second factor is part of the page.
	MFA bool

	// Tenant is the GUID of the tenant that the account is in, for somebody
	// who signs in with an account of another organisation; "" means this one.
	Tenant string
}

// The roles that let somebody search the audit log.
// https://learn.microsoft.com/powershell/module/exchange/search-unifiedauditlog
const (
	RoleAuditLogs     = "Audit Logs"
	RoleViewAuditLogs = "View-Only Audit Logs"
)

// An App is an application that the tenant knows.
type App struct {
	ClientID string
	Name     string // what the page says who asks
	Secret   string // of a confidential client; one without it and without Certificates is public and must not send any

	// Certificates are those of a confidential client that may sign its client
	// assertions, with PS256 or RS256.
	Certificates []*x509.Certificate

	SecretExpired bool // the Secret is right, and refused with AADSTS7000222

	// Consent is what the app may do for the person who signs in:
	// "Exchange.Manage". Without any of a resource's, signing in for it ends
	// with AADSTS65001.
	Consent []string

	// AppRoles and Roles are what it may do as itself, once it has proven it: it
	// needs the app role "Exchange.ManageAsApp" not to be answered with 401,
	// and an Exchange role as well not to be answered with 403.
	AppRoles []string
	Roles    []string
}

// MicrosoftApps are applications of Microsoft's that every tenant has: the one
// behind Connect-ExchangeOnline -Device.
func MicrosoftApps() []App {
	return []App{{
		ClientID: "fb78d390-0c51-40cd-8e17-fdbfab77341b",
		Name:     "Microsoft Exchange REST API Based Powershell",
		Consent:  []string{"Exchange.Manage"},
	}}
}

// A Server is a running tenant. Its exported fields are set before it starts
// or is asked for the first time, and not changed after.
type Server struct {
	Tenant Tenant

	Addr string // of this machine, where Start listens; "" means 127.0.0.1 with any free port
	URL  string // set by Start: "http://127.0.0.1:40123"

	// Interval is how far apart the polls for one device code must be; sooner
	// ones are answered with slow_down. It is told in whole seconds, rounded
	// up. Zero means 5 seconds, as at Entra ID.
	Interval time.Duration

	// TokenLifetime is how long access tokens are valid. Zero means 60 to 90
	// minutes, at random, as at Entra ID.
	TokenLifetime time.Duration

	// Rotation makes a refresh token that is used a second time end the whole
	// sign-in, with AADSTS50173. Entra ID takes them again; other providers,
	// and what may become of Entra ID, do not.
	Rotation bool

	// PageSize is how many rows of an answer come at once if the request does
	// not say (Prefer: odata.maxpagesize). Zero means 1000; what the real
	// service takes is not known.
	PageSize int

	// LinksRefused makes the service refuse its own links to further pages,
	// as some of its callers have seen and others not.
	LinksRefused bool

	// MoreFlag adds AuditSearchRequestMetadata to the rows, which is
	// documented since June 2026 but was not seen in this API yet.
	MoreFlag bool

	// GraphDelay is how long an audit log query of Microsoft Graph takes. Zero
	// means that it has succeeded when it is first asked about; the real ones
	// take minutes.
	GraphDelay time.Duration

	// GraphLimit is how many records such a query finds at most. Zero means
	// 1,000,000.
	GraphLimit int

	// GraphV1Off makes version v1.0 of that API unknown, as it has been at
	// times, so that only beta is left.
	GraphV1Off bool

	// Plain leaves bodies as they are. The real service packs them for who
	// accepts that, and so does this one, but packing takes several times as
	// long as all else: it would be most of what a benchmark on loopback
	// measures.
	Plain bool

	// Latency is how long each answer of Search-UnifiedAuditLog takes, however
	// many are asked for at once. What it answers is found out after that: the
	// session of somebody who does not wait does not move on. Zero means no
	// longer than it must.
	Latency time.Duration

	// Odds are faults that come by themselves, when none is queued; a request
	// draws one of them at most, so their shares of one kind of requests are 1
	// together at most. What the n-th request draws depends on Seed alone.
	Odds []Odds
	Seed uint64

	prepared sync.Once
	routes   http.Handler
	server   *http.Server
	closed   chan struct{}
	closing  sync.Once

	mu         sync.Mutex // for all below
	accounts   []Account
	auditing   bool
	flows      []*deviceFlow
	refresh    map[string]refreshToken
	assertions map[string]bool // ids of those that were used
	sessions   map[string]*session
	pages      map[string]*laterPages
	faults     []Fault
	chance     *rand.Rand // for Odds
	requests   []*Request
	askedFor   map[string]int // how many requests there were by name
	queries    []*graphQuery
	refreshed  int
	issued     []Issued
	nextPageID int
}

// NewServer starts a [Server] for t. The caller should call Close when
// finished. It panics if there is no port to listen on.
func NewServer(t Tenant) *Server {
	s := &Server{Tenant: t}
	if err := s.Start(); err != nil {
		panic(err)
	}
	return s
}

// Start listens on Addr and sets URL. The error says why that is not possible.
func (s *Server) Start() error {
	addr := cmp.Or(s.Addr, "127.0.0.1:0")
	if host, _, err := net.SplitHostPort(addr); err != nil || !loopback(host) {
		return fmt.Errorf("starting the simulated tenant: %q is not an address of this machine alone, such as 127.0.0.1:8066", addr)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("starting the simulated tenant: %w", err)
	}
	s.URL = "http://" + listener.Addr().String()
	go signingKey() // takes longer than all else
	s.prepare()
	s.server = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // connections are broken off on purpose
	}
	go s.server.Serve(listener)
	return nil
}

// Close stops the server at once: requests under way break off. It may be
// called more than once.
func (s *Server) Close() {
	s.prepare()
	s.closing.Do(func() {
		close(s.closed)
		if s.server != nil {
			s.server.Close()
		}
	})
}

// prepare fills in what is not set, before the first request.
func (s *Server) prepare() {
	s.prepared.Do(func() {
		if s.Tenant.ID == "" {
			s.Tenant = s.Tenant.orContoso(time.Now())
		}
		t := &s.Tenant
		if t.Initial == "" {
			name, _, _ := strings.Cut(t.Domain, ".")
			t.Initial = name + ".onmicrosoft.com"
		}
		if t.Apps == nil {
			t.Apps = MicrosoftApps()
		}
		if t.Records == nil {
			t.Records = new(Records)
		}
		s.accounts = slices.Clone(t.Accounts)
		s.auditing = !t.AuditingOff
		s.refresh = map[string]refreshToken{}
		s.assertions = map[string]bool{}
		s.sessions = map[string]*session{}
		s.pages = map[string]*laterPages{}
		s.askedFor = map[string]int{}
		s.chance = rand.New(rand.NewPCG(s.Seed, 2))
		s.closed = make(chan struct{})
		s.routes = s.mux()
	})
}

func (s *Server) mux() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, answer func(*visit) response) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, answer) })
	}
	handle("GET /{tenant}/v2.0/.well-known/openid-configuration", s.discovery)
	handle("GET /{tenant}/discovery/v2.0/keys", s.keys)
	handle("/{tenant}/oauth2/v2.0/devicecode", s.deviceCode)
	handle("/{tenant}/oauth2/v2.0/token", s.token)
	handle("/adminapi/{version}/{tenant}/InvokeCommand", s.invokeCommand)
	handle("GET /adminapi/{version}/{tenant}/EXOModuleFile", s.moduleFile)
	handle("/{version}/security/auditLog/queries", s.graphQueries)
	handle("/{version}/security/auditLog/queries/{id}", s.graphQuery)
	handle("GET /{version}/security/auditLog/queries/{id}/records", s.graphRecords)
	mux.Handle("/devicelogin", s.signInPage())
	mux.Handle("/devicelogin/{action}", s.signInPage())
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "the simulated tenant has nothing at "+r.Method+" "+r.URL.Path, http.StatusNotFound)
	})
	return mux
}

// ServeHTTP answers for all of the tenant's services.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.prepare()
	s.routes.ServeHTTP(w, r)
}

// base is the address that the server has for whoever sent r.
func (s *Server) base(r *http.Request) string {
	if s.URL != "" {
		return s.URL
	}
	scheme := cmp.Or(r.URL.Scheme, "http")
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// loopback tells whether a host, without a port, is this machine and nothing
// else.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// names tells whether a path's {tenant} is this tenant.
func (t *Tenant) names(id string) bool {
	return strings.EqualFold(id, t.ID) || strings.EqualFold(id, t.Domain) || strings.EqualFold(id, t.Initial)
}

// Change changes the account with this UPN while the server runs. It panics
// if there is none.
func (s *Server) Change(upn string, change func(*Account)) {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(upn)
	if i < 0 {
		panic("tenantsim: there is no account " + upn)
	}
	change(&s.accounts[i])
}

// account finds an account.
func (s *Server) account(upn string) (Account, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.find(upn); i >= 0 {
		return s.accounts[i], true
	}
	return Account{}, false
}

func (s *Server) find(upn string) int {
	return slices.IndexFunc(s.accounts, func(a Account) bool { return strings.EqualFold(a.UPN, upn) })
}

func (s *Server) app(clientID string) (App, bool) {
	i := slices.IndexFunc(s.Tenant.Apps, func(a App) bool { return strings.EqualFold(a.ClientID, clientID) })
	if i < 0 {
		return App{}, false
	}
	return s.Tenant.Apps[i], true
}

// SetAuditing switches auditing on or off while the server runs.
func (s *Server) SetAuditing(on bool) {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auditing = on
}

// sleep waits for d and tells whether it has passed: not if whoever asked has
// gone, or the server was closed.
func (s *Server) sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-s.closed:
	}
	return false
}
