package graph

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"auditbot/auditlog"
)

// tries is how often a request is sent before its failure counts.
const tries = 5

// longestWait is how long the service may ask to be left alone. Past it, the
// person is told instead of kept waiting.
const longestWait = 5 * time.Minute

// patient is the client of a Tenant that has none.
var patient = &http.Client{
	Timeout:   110 * time.Second,
	Transport: http.DefaultTransport.(*http.Transport).Clone(),
}

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
	token, err := s.Token(ctx, "")
	if err != nil {
		return fmt.Errorf("%w: getting a token: %w", auditlog.ErrNoAccess, err)
	}
	err = s.sendAs(ctx, token, r, address, v)
	if !tokenRefused(err) {
		return err
	}
	fresh, tokenErr := s.Token(ctx, token.Access)
	if tokenErr != nil {
		return fmt.Errorf("%w: getting a new token, since %v: %w", auditlog.ErrNoAccess, err, tokenErr)
	}
	if fresh.Access == token.Access {
		return err
	}
	v.Retries++
	return s.sendAs(ctx, fresh, r, address, v)
}

// tokenRefused tells whether a new token may help: the old one has expired, or
// is from before a role was given.
func tokenRefused(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden)
}

// sendAs sends r once. An error is a [*StatusError], an [*unreachable], an
// [*unreadable], or that of ctx.
func (s *Source) sendAs(ctx context.Context, token auditlog.Token, r request, address string, v *auditlog.Verdict) error {
	call := newGUID()
	req, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(r.body))
	if err != nil {
		return fmt.Errorf("making a request for Microsoft Graph: %w", err)
	}
	h := req.Header
	h.Set("Authorization", "Bearer "+string(token.Access))
	h.Set("User-Agent", "auditbot")
	h.Set("Accept", "application/json")
	h.Set("Accept-Encoding", "gzip")
	h.Set("Client-Request-Id", call)
	if r.body != nil {
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	v.Requests++
	resp, err := s.Tenant.client().Do(req)
	if err != nil {
		s.submitted(r, 0)
		return transportError(ctx, req.URL.Host, call, err)
	}
	defer resp.Body.Close()
	s.submitted(r, resp.StatusCode)
	body, err := readBody(resp.Body)
	if _, broken := errors.AsType[net.Error](err); broken || errors.Is(err, io.ErrUnexpectedEOF) || err != nil && ctx.Err() != nil {
		return transportError(ctx, req.URL.Host, call, err)
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

// client is the Tenant's client, with redirects left alone: wherever they lead
// to, the token is not for it.
func (t *Tenant) client() *http.Client {
	c := *cmp.Or(t.HTTP, patient)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// pause waits before the try that follows the given one, which failed with
// err: as long as the service asked for, or for the Backoff. It returns nil
// after the wait, and err, with the reason, if no further try is due.
func (t *Tenant) pause(ctx context.Context, try int, err error) error {
	if try >= tries || !passing(err) {
		return err
	}
	wait := cmp.Or(t.Backoff, 2*time.Second) << (try - 1)
	wait += mathrand.N(wait/2 + 1)
	if e, ok := errors.AsType[*StatusError](err); ok && e.RetryAfter > 0 {
		wait = e.RetryAfter
	}
	if end, ok := ctx.Deadline(); wait > longestWait || ok && time.Until(end) < wait {
		return fmt.Errorf("%w; not waiting %v for it", err, wait.Round(time.Second))
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w, after %w", context.Cause(ctx), err)
	}
}

// passing tells whether a failure may be gone at the next try.
func passing(err error) bool {
	if e, ok := errors.AsType[*StatusError](err); ok {
		return e.passing()
	}
	if e, ok := errors.AsType[*unreachable](err); ok {
		return e.passing()
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
	u, err := base.Parse(link)
	if err != nil || u.User != nil || u.Scheme != base.Scheme || !strings.EqualFold(u.Hostname(), base.Hostname()) || port(u) != port(base) {
		return "", false
	}
	return u.String(), true
}

func port(u *url.URL) string {
	if u.Port() == "" && u.Scheme == "https" {
		return "443"
	}
	return u.Port()
}

// newGUID is a random GUID (RFC 9562, section 5.4).
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
