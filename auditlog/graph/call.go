package graph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/internal/transport"
)

// A request is what one call sends besides the token.
type request struct {
	method string
	path   string // below the version, with the query
	link   string // if not "", the absolute URL to use instead of path
	body   []byte
	read   func(body []byte) error // reads an answer that says yes
}

// ask sends r to the version of the API that answers here, which it remembers.
// One that is unknown answers like a query that is: the other version tells.
func (s *Source) ask(ctx context.Context, r request, v *auditlog.Verdict) error {
	if r.link != "" {
		return s.invoke(ctx, r, r.link, v)
	}
	version := s.Tenant.likely()
	err := s.invokeAs(ctx, version, r, v)
	if version == stable && versionUnknown(err) {
		v.Retries++
		version = preview
		if betaErr := s.invokeAs(ctx, version, r, v); !versionUnknown(betaErr) {
			err = betaErr
		}
	}
	if err == nil {
		s.Tenant.answered(version)
	}
	return err
}

func (s *Source) invokeAs(ctx context.Context, version string, r request, v *auditlog.Verdict) error {
	base, err := s.Tenant.base()
	if err != nil {
		return err
	}
	return s.invoke(ctx, r, base.String()+"/"+version+r.path, v)
}

// versionUnknown tells whether there may be no such API in the version that
// was asked.
func versionUnknown(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && (e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed || e.Status == http.StatusNotImplemented ||
		strings.Contains(e.Text, "Resource not found for the segment"))
}

// invoke sends r until it is answered, as often as is sensible. A creation
// whose answer was lost is repeated too: a query that nobody reads does no
// harm.
func (s *Source) invoke(ctx context.Context, r request, address string, v *auditlog.Verdict) error {
	for try := 1; ; try++ {
		err := s.send(ctx, r, address, v)
		if err == nil {
			return nil
		}
		if err = s.Tenant.pause(ctx, try, err); err != nil {
			return err
		}
		v.Retries++
	}
}

// send sends r, and once more with a new token if the service refused the one
// it had.
func (s *Source) send(ctx context.Context, r request, address string, v *auditlog.Verdict) error {
	return transport.WithToken(ctx, s.Token, v, tokenRefused, func(token auditlog.Token) error {
		return s.sendAs(ctx, token, r, address, v)
	})
}

// tokenRefused tells whether a new token may help: the old one has expired, or
// is from before a role was given.
func tokenRefused(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden)
}

// sendAs sends r once. An error is a [*StatusError], a
// [*transport.Unreachable], an [*unreadable], or that of ctx.
func (s *Source) sendAs(ctx context.Context, token auditlog.Token, r request, address string, v *auditlog.Verdict) error {
	call := transport.NewGUID()
	req, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(r.body))
	if err != nil {
		return fmt.Errorf("making a request for Microsoft Graph: %w", err)
	}
	transport.SetHeader(req.Header, token, call)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	v.Requests++
	resp, err := transport.Client(s.Tenant.HTTP).Do(req)
	if err != nil {
		s.submitted(r, 0)
		return transport.Lost(ctx, req.URL.Host, call, err)
	}
	defer resp.Body.Close()
	s.submitted(r, resp.StatusCode)
	body, err := readBody(resp.Body)
	if transport.BrokenOff(ctx, err) {
		return transport.Lost(ctx, req.URL.Host, call, err)
	}
	if resp.StatusCode/100 != 2 {
		return newStatusError(resp, body, r, call) // what could be read of the body is good enough
	}
	if err == nil {
		err = r.read(body)
	}
	if err != nil {
		return &unreadable{call, err}
	}
	return nil
}

// submitted counts a query that was, or may have been, created; status 0 means
// that no answer came.
func (s *Source) submitted(r request, status int) {
	if r.method == http.MethodPost && (status == 0 || status/100 == 2) {
		s.Tenant.countSubmission()
	}
}

// pause waits before the try that follows the given one, which failed with
// err: as long as the service asked for, or for the Backoff. It returns nil
// after the wait, and err, with the reason, if no further try is due.
func (t *Tenant) pause(ctx context.Context, try int, err error) error {
	if !passing(err) {
		return err
	}
	var asked time.Duration
	if e, ok := errors.AsType[*StatusError](err); ok {
		asked = e.RetryAfter
	}
	if err := transport.Pause(ctx, try, t.Backoff, asked, err); err != nil {
		return err
	}
	if t.Retried != nil {
		t.Retried()
	}
	return nil
}

// passing tells whether a failure may be gone at the next try.
func passing(err error) bool {
	if e, ok := errors.AsType[*StatusError](err); ok {
		return e.passing()
	}
	if e, ok := errors.AsType[*transport.Unreachable](err); ok {
		return e.Passing()
	}
	_, unread := errors.AsType[*unreadable](err)
	return unread && !errors.Is(err, errTooLong) && !errors.Is(err, errAuditingOff)
}

// owns tells whether a link that the service sent leads back to it, and
// resolves it.
func (t *Tenant) owns(link string) (string, bool) {
	base, err := t.base()
	if err != nil {
		return "", false
	}
	return transport.Owns(base, link)
}
