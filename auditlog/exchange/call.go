package exchange

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
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

// connection is one id for all calls of this process, as the module sends it.
var connection = newGUID()

// A request is what one call sends besides the token.
type request struct {
	method string
	path   string // below the Tenant's URL, with the query
	link   string // if not "", the absolute URL to use instead of path
	cmdlet string
	rows   int // how many rows of an answer may come at once; 0 says nothing about it
	header http.Header
	body   []byte
}

// command is the request that runs a cmdlet.
func command(t *Tenant, cmdlet string, parameters any, rows int) request {
	type input struct {
		CmdletName string
		Parameters any
	}
	body, _ := json.Marshal(struct{ CmdletInput input }{input{cmdlet, parameters}}) // strings and numbers cannot fail
	return request{
		method: http.MethodPost,
		path:   "/adminapi/beta/" + url.PathEscape(t.ID) + "/InvokeCommand",
		cmdlet: cmdlet,
		rows:   rows,
		body:   body,
	}
}

// invoke sends r until it is answered, as often as is sensible. It is for
// requests that may be repeated: a session of a search has its own way.
func (s *Source) invoke(ctx context.Context, r request, v *auditlog.Verdict) (*answer, error) {
	for try := 1; ; try++ {
		a, err := s.send(ctx, r, v)
		if err == nil {
			return a, nil
		}
		if err = s.Tenant.pause(ctx, try, err); err != nil {
			return nil, s.Tenant.refusal(err)
		}
		v.Retries++
	}
}

// send sends r, and once more with a new token if the service refused the one
// it had.
func (s *Source) send(ctx context.Context, r request, v *auditlog.Verdict) (*answer, error) {
	token, err := s.Token(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("%w: getting a token: %w", auditlog.ErrNoAccess, err)
	}
	a, err := s.sendAs(ctx, token, r, v)
	if !tokenRefused(err) {
		return a, err
	}
	fresh, tokenErr := s.Token(ctx, token.Access)
	if tokenErr != nil {
		return nil, fmt.Errorf("%w: getting a new token, since %v: %w", auditlog.ErrNoAccess, err, tokenErr)
	}
	if fresh.Access == token.Access {
		return nil, err
	}
	v.Retries++
	return s.sendAs(ctx, fresh, r, v)
}

// tokenRefused tells whether a new token may help: the old one has expired, or
// is from before a role was given. A 403 that carries diagnostics was meant.
func tokenRefused(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden && e.Diagnostics == "")
}

// sendAs sends r once. An error is a [*StatusError], an [*unreachable], an
// [*unreadable], or that of ctx.
func (s *Source) sendAs(ctx context.Context, token auditlog.Token, r request, v *auditlog.Verdict) (a *answer, err error) {
	base, err := s.Tenant.base()
	if err != nil {
		return nil, err
	}
	if err := s.Tenant.gate.enter(ctx); err != nil {
		return nil, err
	}
	sent := time.Now()
	defer func() {
		e, refused := errors.AsType[*StatusError](err)
		if refused = refused && e.throttled(); refused {
			s.Tenant.gate.leave(sent, false, e.RetryAfter)
		} else {
			s.Tenant.gate.leave(sent, true, 0)
		}
	}()
	call := newGUID()
	req, err := http.NewRequestWithContext(ctx, r.method, cmp.Or(r.link, base.String()+r.path), bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("making a request for Exchange Online: %w", err)
	}
	s.Tenant.setHeader(req, token, r, call)
	v.Requests++
	resp, err := s.Tenant.client().Do(req)
	if err != nil {
		return nil, transportError(ctx, base.Host, call, err)
	}
	defer resp.Body.Close()
	answered := resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNoContent
	var refusal []byte
	if answered {
		a, err = readAnswer(resp.Body, resp.Header, call, r.cmdlet == searchCmdlet)
	} else {
		refusal, err = readBody(resp.Body)
	}
	if _, broken := errors.AsType[net.Error](err); broken || errors.Is(err, io.ErrUnexpectedEOF) || err != nil && ctx.Err() != nil {
		return nil, transportError(ctx, base.Host, call, err)
	}
	if !answered {
		return nil, newStatusError(resp, refusal, cmp.Or(r.cmdlet, moduleFile), call) // what could be read of the body is good enough
	}
	if err != nil {
		return nil, &unreadable{call, err}
	}
	return a, nil
}

// setHeader sets what Microsoft's module sends, except for its name.
func (t *Tenant) setHeader(req *http.Request, token auditlog.Token, r request, call string) {
	h := req.Header
	maps.Copy(h, r.header)
	h.Set("Authorization", "Bearer "+string(token.Access))
	h.Set("X-AnchorMailbox", t.anchor(token))
	h.Set("User-Agent", "auditbot")
	h.Set("Accept", "application/json")
	h.Set("Accept-Encoding", "gzip")
	h.Set("Accept-Language", "en-US") // warnings and errors are known by their words
	h.Set("Parameter-Based-Routing", "true")
	h.Set("Connection-Id", connection)
	h.Set("Client-Request-Id", call)
	h.Set("X-ResponseFormat", "json")
	h.Set("X-SerializationLevel", "Partial")
	if r.cmdlet != "" {
		h.Set("X-CmdletName", r.cmdlet)
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	if r.rows > 0 {
		h.Set("Prefer", "odata.maxpagesize="+strconv.Itoa(r.rows))
	}
}

// anchor names the mailbox whose server answers: the person's own, or for an
// application the system mailbox that every tenant has.
func (t *Tenant) anchor(token auditlog.Token) string {
	if token.Account == "" {
		return "APP:SystemMailbox{bb558c35-97f1-4cb9-8ff7-d53741dc928c}@" + t.ID
	}
	return "UPN:" + token.Account
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
	if errors.Is(err, errTooLong) {
		return false
	}
	_, unread := errors.AsType[*unreadable](err)
	_, gaveUp := errors.AsType[*givenUp](err)
	_, noLink := errors.AsType[*linkRefused](err)
	return unread || gaveUp || noLink
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
