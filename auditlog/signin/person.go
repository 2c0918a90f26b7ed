package signin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"auditbot/auditlog"
)

// An authority is who vouches for the people of a tenant.
type authority struct {
	id     string // the tenant's GUID
	issuer string // of identity tokens
	keys   *oidc.RemoteKeySet
}

// authority is the tenant's, as its discovery document says (OpenID Connect
// Discovery 1.0, section 4). It is asked for once; after a failure, again.
func (e *Entra) authority(ctx context.Context) (*authority, error) {
	e.mu.Lock()
	known := e.known
	e.mu.Unlock()
	if known != nil {
		return known, nil
	}
	done := e.flights.DoChan("discovery", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewLimit)
		defer cancel()
		found, err := e.discover(ctx)
		if err == nil {
			e.mu.Lock()
			e.known = found
			e.mu.Unlock()
		}
		return found, err
	})
	select {
	case <-ctx.Done():
		return nil, &noAnswer{e.host(), ctx.Err()}
	case r := <-done:
		found, _ := r.Val.(*authority)
		return found, r.Err
	}
}

// discover fetches the document. It is believed if all it names is where the
// sign-in goes, and if it is about one tenant.
func (e *Entra) discover(ctx context.Context) (*authority, error) {
	at, err := e.base()
	if err != nil {
		return nil, err
	}
	var document struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
		Token  string `json:"token_endpoint"`
		Device string `json:"device_authorization_endpoint"`
	}
	if err := e.get(ctx, at+"/v2.0/.well-known/openid-configuration", &document); err != nil {
		return nil, err
	}
	for _, address := range []string{document.Issuer, document.Keys, cmp.Or(document.Token, at), cmp.Or(document.Device, at)} {
		if !sameOrigin(address, at) {
			return nil, e.foreign(address)
		}
	}
	path, ok := strings.CutPrefix(document.Issuer, strings.TrimSuffix(at, e.Tenant))
	id, isV2 := strings.CutSuffix(path, "/v2.0")
	if !ok || !isV2 || !guid.MatchString(id) || guid.MatchString(e.Tenant) && !strings.EqualFold(id, e.Tenant) {
		return nil, e.foreign(document.Issuer)
	}
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), e.client(context.Background())), document.Keys)
	return &authority{id, document.Issuer, keys}, nil
}

var guid = regexp.MustCompile(`(?i)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func sameOrigin(a, b string) bool {
	u, err := url.Parse(a)
	v, err2 := url.Parse(b)
	return err == nil && err2 == nil && u.User == nil && u.Scheme == v.Scheme && strings.EqualFold(u.Host, v.Host)
}

func (e *Entra) foreign(address string) error {
	return &auditlog.Refusal{
		Problem: fmt.Sprintf("%s says that sign-ins of the tenant %s are the business of %q", e.host(), e.Tenant, clean(address, 100)),
		Advice:  "whoever runs this bot checks tenant: and login_url: in its settings: the tenant may be in another national cloud, or something on the way answers in Microsoft's place",
	}
}

// accept makes a session of what a sign-in gave, once it is proven who signed
// in and that they are who is expected. Otherwise nothing is kept of it. Keys
// that cannot be fetched are asked for again until that time.
func (a *Account) accept(ctx context.Context, token *oauth2.Token, until time.Time) (session, error) {
	tenant, err := persist(ctx, until, a.Entra.authority)
	if err != nil {
		return session{}, refusal(ctx, err, byCode)
	}
	upn, err := persist(ctx, until, func(ctx context.Context) (string, error) {
		proof, _ := token.Extra("id_token").(string)
		return a.Entra.identify(ctx, tenant, proof)
	})
	if err != nil {
		return session{}, refusal(ctx, err, byCode)
	}
	if a.Expect != "" && !strings.EqualFold(upn, a.Expect) {
		return session{}, &auditlog.Refusal{
			Problem: fmt.Sprintf("%s signed in, but %s was expected; the sign-in was discarded", upn, a.Expect),
			Advice: fmt.Sprintf("start again and sign in as %s, in a private browser window if the browser picks the other account; "+
				"if %[1]s is not the right one, whoever runs this bot changes accounts: or upn: in its settings", a.Expect),
		}
	}
	return session{
		UPN: upn, TenantID: tenant.id, ClientID: a.Entra.ClientID, Resource: a.Entra.Resource,
		Access: auditlog.Secret(token.AccessToken), Expires: token.Expiry, Refresh: auditlog.Secret(token.RefreshToken),
		SignedIn: time.Now(),
	}, nil
}

// identify is who an identity token is about: signed by the tenant's authority
// for this application, and not expired (OpenID Connect Core 1.0, section
// 3.1.3.7).
// https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
func (e *Entra) identify(ctx context.Context, tenant *authority, token string) (upn string, err error) {
	if token == "" {
		return "", unproven("Microsoft did not say who signed in", nil)
	}
	keys := &keySet{RemoteKeySet: tenant.keys}
	proof, err := oidc.NewVerifier(tenant.issuer, keys, &oidc.Config{ClientID: e.ClientID}).Verify(ctx, token)
	if keys.unfetched(ctx) {
		return "", e.failure(keys.err)
	}
	if _, expired := errors.AsType[*oidc.TokenExpiredError](err); expired {
		return "", unproven("the proof of who signed in has expired already, so the clock of this machine may be wrong", err)
	}
	var claims struct {
		TenantID string `json:"tid"`
		Name     string `json:"preferred_username"`
		UPN      string `json:"upn"`
	}
	if err == nil {
		err = proof.Claims(&claims)
	}
	switch {
	case err != nil:
		return "", unproven("the proof of who signed in is not valid", err)
	case !strings.EqualFold(claims.TenantID, tenant.id):
		return "", unproven(fmt.Sprintf("somebody of another tenant (%s) signed in", clean(claims.TenantID, 40)), nil)
	}
	for _, name := range []string{claims.Name, claims.UPN} {
		if name != "" {
			return clean(name, 200), nil
		}
	}
	return "", unproven("Microsoft did not say who signed in", nil)
}

// unproven is the refusal of a sign-in that may be anybody's.
func unproven(problem string, err error) error {
	r := &auditlog.Refusal{
		Problem: problem + "; the sign-in was discarded",
		Advice:  "try again with an account of the tenant; if it stays, whoever runs this bot checks tenant:, login_url: and client_id: in its settings, the machine's clock, and proxies on the way",
	}
	if err != nil {
		r.Err = errors.New(scrub(err.Error()))
	}
	return r
}

// A keySet keeps the error of its last use, of which go-oidc's verifier passes
// on the text alone.
type keySet struct {
	*oidc.RemoteKeySet
	err error
}

// VerifySignature is for go-oidc.
func (k *keySet) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := k.RemoteKeySet.VerifySignature(ctx, jwt)
	k.err = err
	return payload, err
}

// unfetched tells whether the keys could not be had, so that nothing is proven
// either way.
func (k *keySet) unfetched(ctx context.Context) bool {
	_, broken := errors.AsType[*url.Error](k.err)
	return broken || k.err != nil && ctx.Err() != nil
}
