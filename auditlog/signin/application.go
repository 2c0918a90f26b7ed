package signin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"

	"auditbot/auditlog"
	"auditbot/auditlog/internal/transport"
)

// Unattended tells whether the account signs in without a person.
func (a *Account) Unattended() bool { return a.Password != "" || a.isApplication() }

// isApplication tells whether it is the application that signs in, as itself.
func (a *Account) isApplication() bool { return a.ClientSecret != "" || a.Certificate != nil }

// unattended is a new session of an account that is Unattended.
func (a *Account) unattended(ctx context.Context) (session, error) {
	if a.isApplication() {
		return a.asApplication(ctx)
	}
	return a.byPassword(ctx, a.Password)
}

// asApplication signs in as the application itself (RFC 6749, section 4.4).
// Microsoft gives no refresh token then.
func (a *Account) asApplication(ctx context.Context) (session, error) {
	tenant, err := persist(ctx, time.Now().Add(patience), a.Entra.authority)
	if err != nil {
		return session{}, refusal(ctx, err, byApplication)
	}
	token, err := persist(ctx, time.Now().Add(patience), func(ctx context.Context) (*oauth2.Token, error) {
		form, err := a.proof() // a new one for each request: it may be used once
		if err != nil {
			return nil, err
		}
		return a.Entra.ask(ctx, []string{a.Entra.Resource + "/.default"}, form, form.Get("client_secret"), form.Get("client_assertion"))
	})
	if err != nil {
		return session{}, refusal(ctx, err, byApplication)
	}
	ends, err := a.Entra.checkApplication(token.AccessToken, tenant.id)
	if err != nil {
		return session{}, err
	}
	if token.Expiry.IsZero() || ends.Before(token.Expiry) {
		token.Expiry = ends
	}
	return session{
		TenantID: tenant.id, ClientID: a.Entra.ClientID, Resource: a.Entra.Resource,
		Access: auditlog.Secret(token.AccessToken), Expires: token.Expiry, SignedIn: time.Now(),
	}, nil
}

// proof is the form of a request in which the application proves itself.
func (a *Account) proof() (url.Values, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if a.Certificate == nil {
		form.Set("client_secret", string(a.ClientSecret))
		return form, nil
	}
	if end := a.Certificate.Expires(); !time.Now().Before(end) {
		return nil, &auditlog.Refusal{
			Problem: "the application's certificate expired on " + end.UTC().Format(time.DateOnly),
			Advice:  newSecret + ", as certificate_file:",
		}
	}
	at, err := a.Entra.base()
	if err != nil {
		return nil, err
	}
	assertion, err := a.Certificate.assertion(a.Entra.ClientID, at+tokenPath)
	if err != nil {
		return nil, err
	}
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", string(assertion))
	return form, nil
}

// checkApplication looks whether an access token is what was asked for, and
// returns its end. The signature is for the service to check: Microsoft's own
// services have tokens that nobody else can.
// https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-tokens
func (e *Entra) checkApplication(token, tenantID string) (ends time.Time, err error) {
	var claims struct {
		jwt.RegisteredClaims
		TenantID string `json:"tid"`
		AppID    string `json:"appid"` // version 1.0
		Party    string `json:"azp"`   // version 2.0
	}
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil || claims.ExpiresAt == nil {
		return time.Time{}, unfit("Microsoft gave the application a token that cannot be read")
	}
	app := cmp.Or(claims.AppID, claims.Party)
	switch {
	case !slices.ContainsFunc(claims.Audience, e.isResource):
		return time.Time{}, unfit(fmt.Sprintf("Microsoft gave the application a token for %q instead of %s", transport.Clean(strings.Join(claims.Audience, " "), 100), e.Resource))
	case !strings.EqualFold(claims.TenantID, tenantID):
		return time.Time{}, unfit(fmt.Sprintf("Microsoft gave the application a token of another tenant (%s)", transport.Clean(claims.TenantID, 40)))
	case !strings.EqualFold(app, e.ClientID):
		return time.Time{}, unfit(fmt.Sprintf("Microsoft gave the application a token of another one (%s)", transport.Clean(app, 40)))
	case !time.Now().Before(claims.ExpiresAt.Time):
		return time.Time{}, unfit("Microsoft gave the application a token that has expired already, so the clock of this machine may be wrong")
	}
	return claims.ExpiresAt.Time, nil
}

// The application ids of the services, which a token may name instead of their
// addresses.
const (
	exchangeID = "00000002-0000-0ff1-ce00-000000000000"
	graphID    = "00000003-0000-0000-c000-000000000000"
)

// isResource tells whether the audience of a token is the Resource.
func (e *Entra) isResource(audience string) bool {
	id := exchangeID
	if strings.Contains(strings.ToLower(e.Resource), "graph") {
		id = graphID
	}
	return strings.EqualFold(strings.TrimRight(audience, "/"), strings.TrimRight(e.Resource, "/")) || strings.EqualFold(audience, id)
}

// unfit is the refusal of a token that is not what was asked for.
func unfit(problem string) error {
	return &auditlog.Refusal{
		Problem: problem + "; it was discarded",
		Advice:  "whoever runs this bot checks tenant:, login_url: and client_id: in its settings, the machine's clock, and proxies on the way",
		Err:     errors.New("checking an application's token: its claims do not fit"),
	}
}
