// Package signin lets people sign in at Entra ID, and keeps what they get.
//
// An [Entra] is one tenant's Entra ID as one application asks it. An [Account]
// is one person's sign-in there. Signing in takes two steps, with a person
// between them who opens a page and types a code:
//
//	contoso := &signin.Entra{
//		LoginURL: "https://login.microsoftonline.com",
//		Tenant:   "contoso.onmicrosoft.com",
//		ClientID: "fb78d390-0c51-40cd-8e17-fdbfab77341b",
//		Resource: "https://outlook.office365.com",
//	}
//	ada := &signin.Account{Entra: contoso, Store: store, Key: "contoso/U123", Expect: "ada@contoso.com"}
//
//	code, err := ada.Start(ctx) // show her code.URL and code.UserCode, and nobody else
//	upn, err := ada.Wait(ctx, code)
//
// From then on [Account.Token] gives an access token whenever one is needed:
// the stored one, or a new one for the refresh token. It fits the Token field
// of package exchange's Source.
//
// # Where to look
//
//   - signin.go: tokens, and that they are renewed once for all who wait.
//   - devicecode.go: device codes (RFC 8628).
//   - application.go, certificate.go: applications that sign in as themselves.
//   - person.go, expected.go: who signed in, checked before anything is stored.
//   - session.go: what is stored, and where.
//   - claim.go: that one process renews it and others wait.
//   - wire.go: requests and answers, read without trust.
//   - refusal.go, meaning.go: what Microsoft's errors mean to people.
//
// # What is kept from whom
//
// Tokens and codes are in what goes to Microsoft and what goes to the [Store],
// which seals it; passwords, secrets and what a certificate's key has signed go
// to Microsoft alone. They are not in errors, and no type here shows them when
// printed, logged or encoded as JSON.
//
// What is signed in to is the configured tenant and nothing else: the authority
// is never "common" or "organizations", redirects are not followed, the keys
// that prove who signed in come from where the sign-in went, and a sign-in of
// another tenant or another person than expected is discarded.
package signin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"auditbot/auditlog"
)

// ErrNotSignedIn is the error of a person who never signed in, or whose
// sign-in has ended; then it is wrapped in text that says why, and is an
// [*auditlog.Refusal] as well.
var ErrNotSignedIn = errors.New("not signed in")

// An Entra is one tenant's Entra ID as one application asks it. It lives as
// long as the program and is shared by all Accounts.
type Entra struct {
	// HTTP sends the requests; its redirects are never followed. Nil means a
	// client that gives each request 30 seconds, and so does a Timeout of 0.
	HTTP *http.Client

	LoginURL string // "https://login.microsoftonline.com"; plain http only to this machine
	Tenant   string // the tenant's GUID or one of its domains
	ClientID string // of the application
	Resource string // what tokens are for: "https://outlook.office365.com"

	flights singleflight.Group // renewals by key, and the discovery

	mu    sync.Mutex
	known *authority       // nil until the discovery has succeeded
	ended map[string]error // why the last sign-in of a key has ended, as it was found here
}

// String names the tenant. Package fmt would otherwise print what is on its way,
// tokens among it.
func (e *Entra) String() string   { return "[Entra ID of " + e.Tenant + "]" }
func (e *Entra) GoString() string { return e.String() }

// An Account is one person's sign-in, or an instance's.
type Account struct {
	Entra *Entra
	Store Store
	Key   string // which token in the Store: "contoso/U123"; no secret

	// Expect is the user principal name of the one account that may sign in, in
	// upper or lower case. "" is nobody: Microsoft is asked for nothing then,
	// and what is stored does not count. To an application that has not asked
	// for the optional claim "upn", Microsoft tells the name that was signed in
	// with instead; of guests, and where addresses are sign-in names, it has to
	// be that.
	Expect string

	// Password, if it is not "", is Expect's: no person is needed then to sign
	// in (RFC 6749, section 4.3). Accounts with a second factor cannot do this.
	Password auditlog.Secret

	// ClientSecret or Certificate, if there is one, is the application's: it
	// signs in as itself (RFC 6749, section 4.4). Expect is not used then, and
	// there is no Password.
	ClientSecret auditlog.Secret
	Certificate  *Certificate
}

// renewLimit is how long getting a new token may take, all tries together.
const renewLimit = time.Minute

// patience is for how long a request is tried again that got no proper answer.
const patience = 10 * time.Second

// skew is how long before its end a token is no longer used.
const skew = time.Minute

// Token gives a token to send: the stored one while it is valid and not the
// rejected one, an access token that the service has just refused ("" if
// none). Otherwise a new one, which is asked for once for all who wait; that
// goes on when ctx ends, so that its result is kept. A new token is stored
// before it is returned; a Store that fails then is tried again for up to 70
// seconds, since the old refresh token may be worth nothing any more.
//
// Without a stored sign-in, or when Microsoft has ended it, the error is
// [ErrNotSignedIn]; for an account that is [Account.Unattended] it never is.
// All else that a person can do something about is an [*auditlog.Refusal], and
// leaves what is stored alone.
func (a *Account) Token(ctx context.Context, rejected auditlog.Secret) (auditlog.Token, error) {
	s, _, err := a.load(ctx)
	if err == nil && s.valid(rejected) {
		return s.token(), nil
	}
	if err != nil && (!a.Unattended() || !errors.Is(err, ErrNotSignedIn)) {
		return auditlog.Token{}, err
	}
	for range 2 { // the first may have been under way for somebody with another rejected token
		if s, err = a.renew(ctx, rejected); err != nil {
			return auditlog.Token{}, err
		}
		if s.Access != rejected {
			break
		}
	}
	return s.token(), nil
}

// renew waits for a new token. There is one renewal at a time for a Key. It may
// have to wait for one of another process first.
func (a *Account) renew(ctx context.Context, rejected auditlog.Secret) (session, error) {
	done := a.Entra.flights.DoChan("renew "+a.Key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimLimit+renewLimit)
		defer cancel()
		return a.renewNow(ctx, rejected)
	})
	select {
	case <-ctx.Done():
		return session{}, fmt.Errorf("waiting for a token: %w", context.Cause(ctx))
	case r := <-done:
		s, _ := r.Val.(session)
		return s, r.Err
	}
}

// storeTries is how often a change is tried again that somebody else's crossed.
const storeTries = 5

// renewNow gets a new token and stores it; if somebody else did so meanwhile,
// theirs is taken.
func (a *Account) renewNow(ctx context.Context, rejected auditlog.Secret) (session, error) {
	for range storeTries {
		s, revision, err := a.unclaimed(ctx, rejected)
		switch {
		case err == nil && s.valid(rejected):
			return s, nil
		case err == nil:
			s, err = a.renewClaimed(ctx, s, revision)
		case a.Unattended() && errors.Is(err, ErrNotSignedIn):
			s, err = a.begin(ctx, revision)
		}
		if !errors.Is(err, errCrossed) {
			return s, err
		}
	}
	return session{}, errCrossed
}

// begin signs in without a person and stores what that gives in the place of
// what does not count.
func (a *Account) begin(ctx context.Context, revision uint64) (session, error) {
	ctx, cancel := context.WithTimeout(ctx, renewLimit)
	defer cancel()
	s, err := a.unattended(ctx)
	if err != nil {
		return session{}, err
	}
	return s, a.replace(ctx, s, revision)
}

// renewClaimed claims the session of this revision, renews and stores it. If
// it has ended, it is forgotten, or, if that needs no person, begun anew. The
// error is errCrossed if somebody else was quicker.
func (a *Account) renewClaimed(ctx context.Context, old session, revision uint64) (session, error) {
	until := time.Now().Add(claimLimit)
	ctx, cancel := context.WithTimeout(ctx, renewLimit)
	defer cancel()
	revision, err := a.claim(ctx, old, until, revision)
	if err != nil {
		return session{}, err
	}
	s, err := a.refresh(ctx, old)
	if a.Unattended() && answered(err) {
		s, err = a.unattended(ctx)
	}
	switch {
	case err == nil:
		return s, a.settle(ctx, s, until, revision)
	case errors.Is(err, ErrNotSignedIn):
		return session{}, a.forget(ctx, revision, err)
	}
	a.release(ctx, old, revision)
	return session{}, err
}

// refresh is s with a new access token. If Microsoft has ended the sign-in, the
// error is ErrNotSignedIn.
func (a *Account) refresh(ctx context.Context, s session) (session, error) {
	if s.Refresh == "" {
		return session{}, newEnding("the sign-in has expired, and Microsoft gave no refresh token for it", again, nil)
	}
	token, err := a.Entra.grant(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {string(s.Refresh)}})
	e, ok := errors.AsType[*serviceError](err)
	if ok && e.endsSession() {
		return session{}, e.ending()
	}
	if ok && e.wordless() {
		return session{}, e.unexplained()
	}
	if err != nil {
		return session{}, refusal(ctx, err, byCode)
	}
	s.Access, s.Expires = auditlog.Secret(token.AccessToken), token.Expiry
	s.Claim, s.ClaimUntil = "", time.Time{}
	if token.RefreshToken != "" {
		s.Refresh = auditlog.Secret(token.RefreshToken)
	}
	return s, nil
}

// answered tells whether a renewal failed because there is nothing to renew or
// Microsoft said no, as opposed to saying nothing.
func answered(err error) bool {
	e, ok := errors.AsType[*serviceError](err)
	return ok && !e.passing() || errors.Is(err, ErrNotSignedIn)
}

// SignIn signs in with Expect and a password and stores what that gives, as
// [Account.Wait] does. The error is an [*auditlog.Refusal] where a person can
// do something about it.
func (a *Account) SignIn(ctx context.Context, password auditlog.Secret) error {
	s, err := a.byPassword(ctx, password)
	if err != nil {
		return err
	}
	return a.save(ctx, s)
}

func (a *Account) byPassword(ctx context.Context, password auditlog.Secret) (session, error) {
	if err := a.expectsNobody(); err != nil {
		return session{}, err
	}
	token, err := a.Entra.grant(ctx, url.Values{"grant_type": {"password"}, "username": {a.Expect}, "password": {string(password)}})
	if err != nil {
		return session{}, refusal(ctx, err, byPassword)
	}
	return a.accept(ctx, token, time.Now().Add(patience))
}

// Reset forgets the sign-in. Microsoft is not told: it has no way to end one
// session. A Wait under way still stores what it gets.
func (a *Account) Reset(ctx context.Context) error {
	if err := a.Store.Delete(ctx, a.Key); err != nil {
		return fmt.Errorf("deleting the stored sign-in: %w", err)
	}
	return nil
}

// SignedIn tells whether a sign-in is stored, whose it is, and when they signed
// in. Whether Microsoft still takes it is not asked.
func (a *Account) SignedIn(ctx context.Context) (upn string, at time.Time, ok bool, err error) {
	s, _, err := a.load(ctx)
	if errors.Is(err, ErrNotSignedIn) {
		return "", time.Time{}, false, nil
	}
	return s.UPN, s.SignedIn, err == nil, err
}
