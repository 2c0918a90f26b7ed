// Package exchange reads the unified audit log with Search-UnifiedAuditLog,
// the PowerShell cmdlet of Exchange Online, called without PowerShell: through
// the admin API that Microsoft's own module talks to.
//
// A [Tenant] is one organisation's Exchange Online. A [Source] reads there as
// one person; it is an [auditlog.Source], and knows two things besides:
// [Source.Cmdlets] (what may this person run) and [Source.AuditingOn].
//
//	contoso := &exchange.Tenant{URL: "https://outlook.office365.com", ID: "contoso.onmicrosoft.com"}
//	log := auditlog.Log{Sources: []auditlog.Source{&exchange.Source{Tenant: contoso, Token: token}}}
//
// # Where to look
//
//   - search.go: sessions and pages; when a search is over, and what is said
//     if that is not certain.
//   - call.go: one request, and what is tried again. What package graph does
//     alike, such as waiting for the next try, is in ../internal/transport.
//   - gate.go: how many requests run at once.
//   - answer.go, document.go: bodies, read piece by piece and without trust.
//   - rows.go: a row and the record in it.
//   - refusal.go: what the service's errors mean to an analyst.
//
// # What is not known
//
// The API is undocumented. What is relied on here was seen by others:
// warnings arrive in "@adminapi.warnings" of an answer with status 200, links
// to next pages work for some callers and are refused to others, and a search
// that the service gave up on looks like one that found nothing. Where sources
// contradict each other, both sides are handled.
package exchange

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/internal/transport"
)

// A Tenant is one organisation's Exchange Online. It lives as long as the
// program and is shared by all who read there.
type Tenant struct {
	// HTTP sends the requests; its redirects are never followed. Nil means a
	// client that gives each request 110 seconds: the service breaks off
	// searches "well under 100 s".
	HTTP *http.Client

	URL string // of the service: "https://outlook.office365.com"; plain http only to this machine
	ID  string // the tenant's GUID or one of its domains

	// Backoff is the wait before the second try of a request, doubled before
	// each further one, plus up to half of it at random. Zero means 2 seconds,
	// as in Microsoft's module.
	Backoff time.Duration

	Retried func() // is called before a request is sent again; nil means that nobody counts

	gate          gate
	mu            sync.Mutex
	auditingUntil time.Time // auditing was seen switched on, and is not looked at again before
	pageSize      int       // how many rows a page has where its links are refused; 0 where they are not
}

// A Source reads the audit log as one person, or as an application.
type Source struct {
	Tenant *Tenant

	// Token gives the token to send. Rejected is the access token that the
	// service has just refused, "" if none: then a new one is wanted. Its
	// error comes back wrapped from whatever was asked of the Source. Several
	// goroutines call it at once.
	Token func(ctx context.Context, rejected auditlog.Secret) (auditlog.Token, error)
}

// Name is "exchange".
func (s *Source) Name() string { return "exchange" }

// maxInFlight is how many searches run at once at most: Purview allows a person
// 10 jobs, and nothing better is known of this API.
// https://learn.microsoft.com/purview/audit-search
const maxInFlight = 10

// Limits are those of a sorted session.
func (s *Source) Limits() auditlog.Limits {
	return auditlog.Limits{Records: sessionLimit, InFlight: maxInFlight, OneType: true}
}

// moduleFile is the list of cmdlets that somebody may run.
const moduleFile = "EXOModuleFile"

// moduleVersion is the version of Microsoft's module whose list of cmdlets is
// asked for.
const moduleVersion = "3.9.2"

// Cmdlets asks which cmdlets this person may run: those of the Exchange roles
// they have. An error is an [*auditlog.Refusal] where a person can do
// something about it.
func (s *Source) Cmdlets(ctx context.Context) ([]string, error) {
	a, err := s.invoke(ctx, request{
		method: http.MethodGet,
		path:   "/adminapi/v1.0/" + url.PathEscape(s.Tenant.ID) + "/" + moduleFile + "?Version=" + moduleVersion,
		header: http.Header{"Commandname": {"*"}},
	}, &auditlog.Verdict{})
	if err != nil {
		return nil, fmt.Errorf("asking which cmdlets may be run: %w", err)
	}
	var all []string
	for _, value := range a.Value {
		var module struct{ ExportedCmdlets string }
		if err := json.Unmarshal(value, &module); err != nil {
			return nil, fmt.Errorf("reading which cmdlets may be run (client-request-id %s): %w", a.call, err)
		}
		for name := range strings.SplitSeq(module.ExportedCmdlets, ",") {
			if name = strings.TrimSpace(name); name != "" {
				all = append(all, name)
			}
		}
	}
	return all, nil
}

// switchKept is for how long auditing, once seen switched on, counts as on.
const switchKept = time.Hour

// AuditingOn tells whether the tenant records anything at all. That it does is
// remembered for an hour, for everyone; that it does not is asked anew each
// time, since somebody will be switching it on.
func (s *Source) AuditingOn(ctx context.Context) (bool, error) {
	return s.auditingOn(ctx, &auditlog.Verdict{})
}

func (s *Source) auditingOn(ctx context.Context, v *auditlog.Verdict) (bool, error) {
	t := s.Tenant
	t.mu.Lock()
	known := time.Now().Before(t.auditingUntil)
	t.mu.Unlock()
	if known {
		return true, nil
	}
	a, err := s.invoke(ctx, command(t, "Get-AdminAuditLogConfig", struct{}{}, 1), v)
	if err != nil {
		return false, fmt.Errorf("asking whether auditing is switched on: %w", err)
	}
	var config struct{ UnifiedAuditLogIngestionEnabled *bool }
	if len(a.Value) > 0 {
		err = json.Unmarshal(a.Value[0], &config)
	}
	if err != nil || config.UnifiedAuditLogIngestionEnabled == nil {
		return false, fmt.Errorf("asking whether auditing is switched on: the answer does not tell (client-request-id %s)", a.call)
	}
	if !*config.UnifiedAuditLogIngestionEnabled {
		return false, nil
	}
	t.mu.Lock()
	t.auditingUntil = time.Now().Add(switchKept)
	t.mu.Unlock()
	return true, nil
}

// base is the service's URL, checked before a token goes there.
func (t *Tenant) base() (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(t.URL, "/"))
	if err != nil {
		return nil, fmt.Errorf("reading the address of Exchange Online: %w", err)
	}
	if !transport.MayGo(u) {
		return nil, fmt.Errorf("the address of Exchange Online, %q, is not an https:// URL", u.Redacted())
	}
	return u, nil
}

// rows is how many rows to ask for in one call where wanted are needed.
func (t *Tenant) rows(wanted int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pageSize > 0 {
		wanted = min(wanted, t.pageSize)
	}
	return min(wanted, sessionLimit)
}

// linksRefused remembers that here, what does not fit on a page of n rows can
// only be had by repeating the call.
func (t *Tenant) linksRefused(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pageSize = n
}
