package signin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"auditbot/auditlog"
)

// A Code is a device code on its way: somebody has to open URL and type
// UserCode before it Expires. Printing it does not show the codes.
type Code struct {
	UserCode   auditlog.Secret // for the person, and nobody else
	DeviceCode auditlog.Secret // for Microsoft
	URL        string          // https, or http on this machine
	Expires    time.Time
	Interval   time.Duration // how often Microsoft wants to be asked at most
}

// sealedCode is what Seal writes.
type sealedCode struct {
	V          int           `json:"v"` // 1
	UserCode   string        `json:"user_code"`
	DeviceCode string        `json:"device_code"`
	URL        string        `json:"url"`
	Expires    time.Time     `json:"expires"`
	Interval   time.Duration `json:"interval"` // in nanoseconds
}

// Seal writes the code with its secrets, for a place that is sealed, such as
// the one that lets [Account.Wait] go on after a restart.
func (c *Code) Seal() []byte {
	data, _ := json.Marshal(sealedCode{1, string(c.UserCode), string(c.DeviceCode), c.URL, c.Expires.UTC(), c.Interval}) // strings and times of our days cannot fail
	return data
}

// OpenCode reads what [Code.Seal] wrote.
func OpenCode(data []byte) (*Code, error) {
	var c sealedCode
	if err := json.Unmarshal(data, &c); err != nil || c.V != 1 || c.DeviceCode == "" {
		return nil, errors.New("reading a device code: this is none, or one of another version") // err might show it
	}
	return &Code{auditlog.Secret(c.UserCode), auditlog.Secret(c.DeviceCode), c.URL, c.Expires, c.Interval}, nil
}

const (
	// defaultLifetime is how long a code is valid if Microsoft does not say.
	// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code
	defaultLifetime = 15 * time.Minute

	// defaultInterval is how far apart polls are if Microsoft does not say.
	// https://datatracker.ietf.org/doc/html/rfc8628#section-3.2
	defaultInterval = 5 * time.Second

	// longestInterval is how far apart they are at most.
	longestInterval = time.Minute
)

// Start asks for a device code. The error is an [*auditlog.Refusal] where a
// person can do something about it.
func (a *Account) Start(ctx context.Context) (*Code, error) {
	e := a.Entra
	if err := a.expectsNobody(); err != nil {
		return nil, err
	}
	if _, err := persist(ctx, time.Now().Add(patience), e.authority); err != nil {
		return nil, refusal(ctx, err, byCode)
	}
	answer, err := e.config().DeviceAuth(context.WithValue(ctx, oauth2.HTTPClient, e.client(ctx)))
	if err != nil {
		return nil, refusal(ctx, e.failure(err), byCode)
	}
	c := &Code{
		UserCode:   auditlog.Secret(answer.UserCode),
		DeviceCode: auditlog.Secret(answer.DeviceCode),
		URL:        answer.VerificationURI,
		Expires:    answer.Expiry,
		Interval:   defaultInterval,
	}
	if n := answer.Interval; n > 0 {
		c.Interval = time.Duration(min(n, 3600)) * time.Second
	}
	if c.Expires.IsZero() {
		c.Expires = time.Now().Add(defaultLifetime)
	}
	if page, err := url.Parse(c.URL); err != nil || !mayGo(page) || c.UserCode == "" || c.DeviceCode == "" {
		return nil, refusal(ctx, &noAnswer{e.host(), errUnreadable}, byCode)
	}
	return c, nil
}

// Wait polls until the person has signed in and what that gave is stored, and
// returns who it was. Until the code expires, failures of the network and of
// Microsoft's are waited out. The error is an [*auditlog.Refusal] where a
// person can do something about it: they declined, let the code expire, are
// somebody else than expected, or a policy does not let them.
//
// Microsoft gives the token for a code once, so the end of ctx does not break
// off a poll that is under way: Wait returns when it is answered, after 30
// seconds at most. If the answer is the token, or it was there already, it is
// checked and stored all the same, within 10 seconds, and Wait returns as if
// ctx had not ended. Otherwise the error is ctx's. Without an error the sign-in
// is stored; with one it is not, as far as the Store tells.
func (a *Account) Wait(ctx context.Context, c *Code) (upn string, err error) {
	if err := a.expectsNobody(); err != nil {
		return "", err
	}
	if _, err := persist(ctx, c.Expires, a.Entra.authority); err != nil {
		return "", refusal(ctx, err, byCode)
	}
	token, err := a.Entra.poll(ctx, c)
	if err != nil {
		return "", err
	}
	until := time.Now().Add(patience)
	if c.Expires.After(until) {
		until = c.Expires
	}
	ctx, cancel := outlast(ctx, patience)
	defer cancel()
	s, err := a.accept(ctx, token, until)
	if err == nil {
		err = a.save(ctx, s)
	}
	if err != nil {
		return "", err
	}
	return s.UPN, nil
}

// poll asks for the token of a code until Microsoft says yes or no (RFC 8628,
// section 3.5). x/oauth2's own loop ends at a failure, and never reaches the
// pace of a service whose clock is slow.
func (e *Entra) poll(ctx context.Context, c *Code) (*oauth2.Token, error) {
	interval := min(max(c.Interval, time.Second), longestInterval) + time.Second // some services find polls at the very interval too quick
	var last error
	for wait := c.firstPause(interval); ; wait = c.pause(interval) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for a sign-in: %w", context.Cause(ctx))
		}
		if !time.Now().Before(c.Expires) {
			return nil, expiry(last)
		}
		token, err := e.redeem(ctx, c)
		if err == nil {
			return token, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("waiting for a sign-in: %w", context.Cause(ctx))
		}
		switch {
		case says(err, "authorization_pending"):
			last = nil
		case says(err, "slow_down"):
			last, interval = nil, slower(interval)
		case passing(err):
			last, interval = err, interval+slowerBy // it wants fewer polls after a time-out, too
		default:
			return nil, refusal(ctx, err, byCode)
		}
		interval = min(interval, longestInterval)
	}
}

// redeem asks once for the token of a code (RFC 8628, section 3.4). It goes on
// when ctx ends, since the token is given only once.
func (e *Entra) redeem(ctx context.Context, c *Code) (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestLimit)
	defer cancel()
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {string(c.DeviceCode)}}
	return e.ask(ctx, nil, form, string(c.UserCode), string(c.DeviceCode))
}

// slowerBy is how much longer a client waits after a slow_down.
// https://datatracker.ietf.org/doc/html/rfc8628#section-3.5
const slowerBy = 5 * time.Second

// slower is the interval after a slow_down. The service adds 5 of its own
// seconds; adding no more than that never catches up with one whose clock is
// slow, since each poll that is too soon makes it want more.
func slower(interval time.Duration) time.Duration {
	return (interval + slowerBy) * 7 / 5
}

// lastPoll is how long before the end of a code it is asked about for the last
// time: clocks differ, and the question takes its way.
const lastPoll = 2 * time.Second

// pause is how long to wait before the next poll, or for the end of the code if
// there is no time for one. The last poll is put off to shortly before the end,
// so that a late sign-in counts.
func (c *Code) pause(interval time.Duration) time.Duration {
	left := time.Until(c.Expires)
	switch {
	case left >= 2*interval+lastPoll:
		return interval
	case left >= interval+lastPoll:
		return left - lastPoll
	}
	return left
}

// firstPause is pause before the first poll. If there is no time for one, it
// comes at once: whoever goes on after a restart may have missed the yes.
func (c *Code) firstPause(interval time.Duration) time.Duration {
	wait := c.pause(interval)
	if wait >= time.Until(c.Expires) {
		return 0
	}
	return wait
}

// expiry is the refusal of a code whose time is over; last is the failure of
// the poll before, if it failed.
func expiry(last error) *auditlog.Refusal {
	r := meanings[70020].refusal()
	if last != nil {
		r.Problem += ", and in the meantime Microsoft did not always answer"
		r.Err = fmt.Errorf("polling: %w", last)
	}
	return r
}
