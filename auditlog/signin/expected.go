package signin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"

	"auditbot/auditlog"
	"auditbot/auditlog/internal/transport"
)

// ErrSomebodyElse is the error of a sign-in that was discarded because it is not
// proven to be that of who was expected: another account or tenant, or no valid
// proof. It is wrapped in an [*auditlog.Refusal] that says so.
var ErrSomebodyElse = errors.New("somebody else signed in")

// A stranger is the error of whoever is not who was expected: ErrSomebodyElse,
// and a [*auditlog.Refusal] as well.
type stranger struct{ refusal *auditlog.Refusal }

func (e *stranger) Error() string   { return e.refusal.Error() }
func (e *stranger) Unwrap() []error { return []error{ErrSomebodyElse, e.refusal} }

// expectsNobody is the refusal of all sign-ins of people where none is expected,
// and nil where one is.
func (a *Account) expectsNobody() error {
	switch {
	case a.isApplication():
		return &auditlog.Refusal{
			Problem: "the application signs in as itself",
			Advice:  "nobody needs to sign in: type the command that is to be answered",
		}
	case a.Expect == "":
		return &auditlog.Refusal{
			Problem: "it is not known which Microsoft account has to sign in, and no other may",
			Advice:  "whoever runs this bot enters it in its settings: under accounts:, behind the id of whoever asks; or as upn:, where one account serves all",
		}
	}
	return nil
}

// expected is what a sign-in must be. Nothing passes if a field is empty: no
// check can be left out.
type expected struct {
	Endpoint    string // the address that gave the proof; Issuer is there, too
	Issuer      string // of the proof
	Tenant      string // GUID
	Application string // client id
	Account     string // as claims.account says it, in upper or lower case
}

// check is who an identity token is about, if that is Account.
func (x expected) check(ctx context.Context, keys oidc.KeySet, token string) (upn string, err error) {
	if x.Account == "" {
		return "", unproven("nobody is expected", nil)
	}
	name, err := x.identify(ctx, keys, token)
	if err != nil {
		return "", err
	}
	if sameAccount(name, x.Account) {
		return name, nil
	}
	return "", &stranger{&auditlog.Refusal{
		Problem: fmt.Sprintf("%s signed in, but %s was expected; the sign-in was discarded", transport.Clean(name, 200), x.Account),
		Advice: fmt.Sprintf("start again and sign in as %s, in a private browser window if the browser picks the other account; "+
			"if %[1]s is not the right one, whoever runs this bot changes accounts: or upn: in its settings", x.Account),
	}}
}

// sameAccount tells whether two names are one account's, in upper or lower case.
// To strings.EqualFold alone the sign for kelvin is a k and the long s is an s;
// but they are longer.
func sameAccount(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

// identify is who an identity token is about: signed by the tenant's authority
// for this application, and not expired (OpenID Connect Core 1.0, section
// 3.1.3.7).
// https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
func (x expected) identify(ctx context.Context, keys oidc.KeySet, token string) (name string, err error) {
	if x.Tenant == "" || x.Application == "" || x.Issuer == "" || !sameOrigin(x.Issuer, x.Endpoint) {
		return "", unproven("it is not known who may vouch for whom", nil)
	}
	if token == "" {
		return "", unproven("Microsoft did not say who signed in", nil)
	}
	proof, err := oidc.NewVerifier(x.Issuer, keys, &oidc.Config{ClientID: x.Application}).Verify(ctx, token)
	if _, expired := errors.AsType[*oidc.TokenExpiredError](err); expired {
		return "", unproven("the proof of who signed in has expired already, so the clock of this machine may be wrong", err)
	}
	var who claims
	if err == nil {
		err = proof.Claims(&who)
	} else { // only to say what may be wrong: nothing that it claims is proven
		said := struct {
			jwt.RegisteredClaims
			*claims
		}{claims: &who}
		_, _, _ = jwt.NewParser().ParseUnverified(token, &said)
	}
	switch {
	case err != nil && (who.TenantID == "" || strings.EqualFold(who.TenantID, x.Tenant)):
		return "", unproven("the proof of who signed in is not valid", err)
	case !strings.EqualFold(who.TenantID, x.Tenant):
		return "", unproven(fmt.Sprintf("somebody of another tenant (%s) signed in", transport.Clean(who.TenantID, 40)), nil)
	case who.account() == "":
		return "", unproven("Microsoft did not say who signed in", nil)
	}
	return who.account(), nil
}

// claims are what an identity token says about a person.
type claims struct {
	TenantID string `json:"tid"`
	UPN      string `json:"upn"`
	SignInAs string `json:"preferred_username"`
}

// account is the upn, which is what the tenant's directory and its audit log
// call somebody: a guest is eve_fabrikam.com#EXT#@contoso.onmicrosoft.com there.
// Microsoft sends it to applications that ask for it. Without it, account is
// the name that somebody signs in with. As a rule that is the same, but for
// guests it is the name at home, and it may be an alias.
// https://learn.microsoft.com/entra/identity-platform/optional-claims-reference
func (c claims) account() string { return cmp.Or(c.UPN, c.SignInAs) }

// unproven is the refusal of a sign-in that may be anybody's.
func unproven(problem string, err error) error {
	r := &auditlog.Refusal{
		Problem: problem + "; the sign-in was discarded",
		Advice:  "try again with an account of the tenant; if it stays, whoever runs this bot checks tenant:, login_url: and client_id: in its settings, the machine's clock, and proxies on the way",
	}
	if err != nil {
		r.Err = errors.New(scrub(err.Error()))
	}
	return &stranger{r}
}
