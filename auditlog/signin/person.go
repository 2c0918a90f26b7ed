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
	"auditbot/auditlog/internal/transport"
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
		Problem: fmt.Sprintf("%s says that sign-ins of the tenant %s are the business of %q", e.host(), e.Tenant, transport.Clean(address, 100)),
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
	proof, _ := token.Extra("id_token").(string)
	upn, err := persist(ctx, until, func(ctx context.Context) (string, error) {
		return a.identify(ctx, tenant, proof)
	})
	if err != nil {
		return session{}, refusal(ctx, err, byCode)
	}
	return session{
		UPN: upn, TenantID: tenant.id, ClientID: a.Entra.ClientID, Resource: a.Entra.Resource,
		Access: auditlog.Secret(token.AccessToken), Expires: token.Expiry, Refresh: auditlog.Secret(token.RefreshToken),
		SignedIn: time.Now(),
	}, nil
}

// identify is who a proof is about. Keys that could not be fetched are another
// error than a proof that is not valid.
func (a *Account) identify(ctx context.Context, tenant *authority, proof string) (upn string, err error) {
	at, err := a.Entra.base()
	if err != nil {
		return "", err
	}
	x := expected{Endpoint: at + tokenPath, Issuer: tenant.issuer, Tenant: tenant.id, Application: a.Entra.ClientID, Account: a.Expect}
	keys := &keySet{RemoteKeySet: tenant.keys}
	upn, err = x.check(ctx, keys, proof)
	if keys.unfetched(ctx) {
		return "", a.Entra.failure(keys.err)
	}
	return upn, err
}

// Resolve is the tenant's GUID, as its discovery document says. It is asked for
// once; after a failure, again. The error is an [*auditlog.Refusal] where a
// person can do something about it.
func (e *Entra) Resolve(ctx context.Context) (tenantID string, err error) {
	found, err := persist(ctx, time.Now().Add(patience), e.authority)
	if err != nil {
		return "", refusal(ctx, err, byCode)
	}
	return found.id, nil
}

// Served is for those who are to sign in: which application asks, by the name
// that Microsoft gives it ("" for one that is not Microsoft's) and its client
// id, and the permissions that it asks for.
func (e *Entra) Served() (application, clientID string, permissions []string) {
	return auditlog.FindApp(e.ClientID).Name, e.ClientID, e.scopes()
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
