// Package graph reads the unified audit log with Microsoft Graph's audit log
// queries: the documented way, and an asynchronous one. A query is created,
// works for minutes at Microsoft, and then gives out up to a million records
// in pages.
//
// A [Tenant] is one organisation at Microsoft Graph. A [Source] reads there as
// one person; it is an [auditlog.Source]:
//
//	contoso := &graph.Tenant{URL: "https://graph.microsoft.com", ID: "contoso.onmicrosoft.com"}
//	log := auditlog.Log{Sources: []auditlog.Source{&graph.Source{Tenant: contoso, Token: token}}}
//
// The token must be for Microsoft Graph and carry the permission
// AuditLogsQuery.Read.All. Applications of Microsoft's own, such as the one
// that is used for Exchange Online, are not given such tokens.
//
// # Where to look
//
//   - search.go: from the query to its last record; when it is over, and what
//     is said if that is not certain.
//   - query.go: creating a query, waiting for it, finding it again.
//   - call.go: one request; what is tried again, and which version of the API
//     is asked. What package exchange does alike, such as waiting for the next
//     try, is in ../internal/transport.
//   - may.go: whether somebody is let in, without a query.
//   - answer.go: bodies, read without trust.
//   - refusal.go: what the service's errors mean to an analyst.
//
// # What is not known
//
// Version v1.0 of the API has come and gone; where it is unknown, beta is
// asked. That a query has succeeded does not mean that all of its records are
// given out: the same query, read twice, has been seen to give different
// numbers of them. So they are counted and compared with what the query says.
package graph

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/internal/transport"
)

// Limits of the service.
// https://learn.microsoft.com/graph/throttling-limits#security-audit-log-query-service-limits
const (
	maxRecords     = 1_000_000 // that one query gives out, if it does not say
	maxSubmissions = 200       // of queries, by all in the tenant, in 24 hours
)

// maxInFlight is how many queries run at once at most. Microsoft lets a tenant
// run 50; the bot is not alone there, and about 10 work in practice.
const maxInFlight = 4

// A Tenant is one organisation at Microsoft Graph. It lives as long as the
// program and is shared by all who read there.
type Tenant struct {
	// HTTP sends the requests; its redirects are never followed. Nil means a
	// client that gives each request 110 seconds.
	HTTP *http.Client

	URL string // of the service: "https://graph.microsoft.com"; plain http only to this machine
	ID  string // the tenant's GUID or one of its domains

	// Backoff is the wait before the second try of a request, doubled before
	// each further one, plus up to half of it at random. Zero means 2 seconds.
	Backoff time.Duration

	Retried func() // is called before a request is sent again; nil means that nobody counts

	// Poll is the wait between the first and the second look at whether a
	// query has finished; each further wait is half as long again, to 30
	// seconds. Zero means 5 seconds.
	Poll time.Duration

	// Count writes down that a query was submitted, and Counted tells how many
	// were within 24 hours, by this program and all others that write it down in
	// the same place; 0 if that cannot be told. They bound themselves. Where
	// they are nil or fail, what counts is what this program has submitted since
	// it was started.
	Count   func()
	Counted func() int

	mu        sync.Mutex
	version   string      // of the API that has answered last; "" if none has
	submitted []time.Time // by this program, in the last 24 hours, oldest first
}

// Budget is how many queries are known to have been submitted in the last 24
// hours, and how many Microsoft lets all in the tenant submit together at least.
func (t *Tenant) Budget() (used, limit int) {
	used = t.ownSubmissions()
	if t.Counted != nil {
		used = max(used, t.Counted())
	}
	return used, maxSubmissions
}

func (t *Tenant) ownSubmissions() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.submitted = slices.DeleteFunc(t.submitted, func(at time.Time) bool { return time.Since(at) >= 24*time.Hour })
	return len(t.submitted)
}

func (t *Tenant) countSubmission() {
	t.mu.Lock()
	t.submitted = append(t.submitted, time.Now())
	t.mu.Unlock()
	if t.Count != nil {
		t.Count()
	}
}

// A Source reads the audit log as one person, or as an application.
type Source struct {
	Tenant *Tenant

	// Token gives the token to send. Rejected is the access token that the
	// service has just refused, "" if none: then a new one is wanted. Its
	// error comes back wrapped from whatever was asked of the Source.
	Token func(ctx context.Context, rejected auditlog.Secret) (auditlog.Token, error)

	// Recall gives what Remember was given last for a key, which says what is
	// searched for: the query that was created before this program was
	// interrupted. It returns "" if there is none, or none that should be read
	// again: a search that somebody asks anew wants records that the old query
	// cannot have. Nil means always "".
	Recall func(key string) (id string)

	// Remember makes the id of a query durable, with the time of its creation
	// behind an "@", before anything else is asked of it. A later one for the
	// same key takes its place. Nil means that an interruption costs a query.
	Remember func(ctx context.Context, key, id string) error

	// Waiting is called after each look at a query that has not finished, with
	// its status in the service's words: "notStarted", "running". It may be
	// nil.
	Waiting func(status string)
}

// Name is "graph".
func (s *Source) Name() string { return "graph" }

// Limits are those of one query.
func (s *Source) Limits() auditlog.Limits {
	return auditlog.Limits{Records: maxRecords, InFlight: maxInFlight, Unsorted: true}
}

// globalHost is where the API is. National clouds have a Microsoft Graph, but
// without audit log queries.
// https://learn.microsoft.com/graph/api/security-auditcoreroot-post-auditlogqueries
const globalHost = "graph.microsoft.com"

// base is the service's URL, checked before a token goes there.
func (t *Tenant) base() (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(t.URL, "/"))
	if err != nil {
		return nil, wrongAddress(t.URL)
	}
	switch {
	case !transport.MayGo(u):
		return nil, wrongAddress(u.Redacted())
	case !transport.Loopback(u.Hostname()) && !strings.EqualFold(u.Hostname(), globalHost):
		return nil, nationalCloud(u.Hostname())
	}
	return u, nil
}

// Versions of the API, the better one first.
const (
	stable  = "v1.0"
	preview = "beta"
)

// likely is the version that will answer.
func (t *Tenant) likely() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return cmp.Or(t.version, stable)
}

func (t *Tenant) answered(version string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.version = version
}
