package exchange

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/internal/transport"
)

// connection is one id for all calls of this process, as the module sends it.
var connection = transport.NewGUID()

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
func (s *Source) send(ctx context.Context, r request, v *auditlog.Verdict) (a *answer, err error) {
	err = transport.WithToken(ctx, s.Token, v, tokenRefused, func(token auditlog.Token) error {
		a, err = s.sendAs(ctx, token, r, v)
		return err
	})
	return a, err
}

// tokenRefused tells whether a new token may help: the old one has expired, or
// is from before a role was given. A 403 that carries diagnostics was meant.
func tokenRefused(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden && e.Diagnostics == "")
}

// sendAs sends r once. An error is a [*StatusError], a
// [*transport.Unreachable], an [*unreadable], or that of ctx.
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
	call := transport.NewGUID()
	req, err := http.NewRequestWithContext(ctx, r.method, cmp.Or(r.link, base.String()+r.path), bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("making a request for Exchange Online: %w", err)
	}
	s.Tenant.setHeader(req, token, r, call)
	v.Requests++
	resp, err := transport.Client(s.Tenant.HTTP).Do(req)
	if err != nil {
		return nil, transport.Lost(ctx, base.Host, call, err)
	}
	defer resp.Body.Close()
	answered := resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNoContent
	var refusal []byte
	if answered {
		a, err = readAnswer(resp.Body, resp.Header, call, r.cmdlet == searchCmdlet)
	} else {
		refusal, err = readBody(resp.Body)
	}
	if transport.BrokenOff(ctx, err) {
		return nil, transport.Lost(ctx, base.Host, call, err)
	}
	if !answered {
		return nil, newStatusError(resp, refusal, cmp.Or(r.cmdlet, moduleFile), call, token) // what could be read of the body is good enough
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
	transport.SetHeader(h, token, call)
	h.Set("X-AnchorMailbox", t.anchor(token))
	h.Set("Accept-Language", "en-US") // warnings and errors are known by their words
	h.Set("Parameter-Based-Routing", "true")
	h.Set("Connection-Id", connection)
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
// application the system mailbox that every tenant has, by the tenant's GUID.
func (t *Tenant) anchor(token auditlog.Token) string {
	if token.Account == "" {
		return "APP:SystemMailbox{bb558c35-97f1-4cb9-8ff7-d53741dc928c}@" + cmp.Or(token.Tenant, t.ID)
	}
	return "UPN:" + token.Account
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
	return transport.Owns(base, link)
}
