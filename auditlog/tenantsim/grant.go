package tenantsim

import (
	"cmp"
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"
)

// A refreshToken is what a refresh token stands for.
type refreshToken struct {
	grant   grant
	issued  time.Time
	revoked bool
	used    bool
	family  string // of those that followed from one sign-in
}

// refreshLifetime is how long a refresh token is valid.
// https://learn.microsoft.com/entra/identity-platform/refresh-tokens
const refreshLifetime = 90 * 24 * time.Hour

// client is the application that asks. A secret or an assertion that is sent
// must be right; where proof is due, one must be sent.
func (s *Server) client(v *visit, proofDue bool) (App, *entraError) {
	id, refusal := v.need("client_id")
	if refusal != nil {
		return App{}, refusal
	}
	app, ok := s.app(id)
	if !ok {
		return App{}, refuse("unauthorized_client", 700016, "Application with identifier '%s' was not found in the directory '%s'.", id, s.Tenant.Name)
	}
	secret := v.PostForm.Get("client_secret")
	if _, password, ok := v.BasicAuth(); ok {
		secret = password
	}
	assertion := v.PostForm.Get("client_assertion")
	public := app.Secret == "" && len(app.Certificates) == 0
	refusal = nil
	switch {
	case public && (secret != "" || assertion != ""):
		refusal = refuse("invalid_client", 700025, "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.")
	case assertion != "":
		refusal = s.checkAssertion(v, app, assertion)
	case secret != "" && subtle.ConstantTimeCompare([]byte(secret), []byte(app.Secret)) == 0:
		refusal = refuse("invalid_client", 7000215, "Invalid client secret provided for app '%s'.", app.ClientID)
	case secret != "" && app.SecretExpired:
		refusal = refuse("invalid_client", 7000222, "The provided client secret keys for app '%s' are expired.", app.ClientID)
	case secret == "" && (proofDue || !public):
		refusal = refuse("invalid_client", 7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	}
	if refusal != nil {
		refusal.status = http.StatusUnauthorized
	}
	return app, refusal
}

// token answers with tokens for whatever proves that they are due.
func (s *Server) token(v *visit) response {
	formRefusal := v.form()
	grantType := v.PostForm.Get("grant_type")
	if reply, ok := s.name(v, "token", func(r *Request) { r.Grant = grantType }); ok {
		return reply
	}
	if formRefusal != nil {
		return formRefusal.response(v)
	}
	tenant, ok := s.tenantOf(v.PathValue("tenant"))
	if !ok {
		return unknownTenant(v)
	}
	grants := map[string]func(*visit, string) (grant, *entraError){
		deviceCodeGrant:      s.grantForCode,
		"refresh_token":      s.grantForRefresh,
		"password":           s.grantForPassword,
		"client_credentials": s.grantForSecret,
	}
	find, ok := grants[grantType]
	if !ok {
		_, refusal := v.need("grant_type")
		return cmp.Or(refusal, refuse("unsupported_grant_type", 70003, "The app requested an unsupported grant type '%s'.", grantType)).response(v)
	}
	g, refusal := find(v, tenant)
	if refusal == nil {
		refusal = s.mayHave(g)
	}
	if refusal != nil {
		return refusal.response(v)
	}
	return s.tokens(v, g)
}

// mayHave checks what Entra ID checks with each grant: that the account is not
// blocked, and that the app has consent.
func (s *Server) mayHave(g grant) *entraError {
	if g.account.UPN == "" {
		return nil
	}
	if code := g.account.Blocked; code != 0 {
		return blockedError(code)
	}
	if refusal := g.preauthorized(); refusal != nil {
		return refusal
	}
	if !g.consented() {
		return refuse("invalid_grant", 65001, "The user or administrator has not consented to use the application with ID '%s'.", g.app.ClientID)
	}
	return nil
}

func blockedError(code int) *entraError {
	text := map[int]string{
		50055:  "The password is expired.",
		50057:  "The user account is disabled.",
		53003:  "Access has been blocked by Conditional Access policies.",
		530036: "Access has been blocked because the device code flow is blocked by Conditional Access policies.",
	}[code]
	e := refuse("invalid_grant", code, "%s", cmp.Or(text, "The sign-in was refused."))
	if code == 53003 || code == 530036 {
		e.suberror = "message_only"
	}
	return e
}

// tokens are the answer to a grant (RFC 6749, section 5.1).
func (s *Server) tokens(v *visit, g grant) response {
	now, lifetime := time.Now(), s.lifetime()
	seconds := int(lifetime.Seconds())
	body := map[string]any{
		"token_type":     "Bearer",
		"expires_in":     seconds,
		"ext_expires_in": seconds,
		"access_token":   s.accessToken(g, now, lifetime),
	}
	if g.account.UPN == "" {
		return s.issue(body)
	}
	var granted []string
	for _, name := range g.permissions() {
		granted = append(granted, g.resource+"/"+name)
	}
	body["scope"] = strings.Join(append(granted, g.resource+"/.default"), " ")
	if g.has("openid") {
		body["id_token"] = s.idToken(g, v.base, now, lifetime)
	}
	if g.has("offline_access") {
		body["refresh_token"] = s.newRefreshToken(g, now)
	}
	return s.issue(body)
}

func (s *Server) newRefreshToken(g grant, now time.Time) string {
	token := "1.A" + rand.Text() + rand.Text() + rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh[token] = refreshToken{grant: g, issued: now, family: cmp.Or(g.family, token)}
	return token
}

// use marks a refresh token as used and returns what it stands for. Under
// Rotation, a second use ends its family (RFC 9700, section 4.14.2).
func (s *Server) use(token string) (refreshToken, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.refresh[token]
	if !ok {
		return refreshToken{}, false
	}
	if s.Rotation && known.used {
		for token, r := range s.refresh {
			if r.family == known.family {
				r.revoked = true
				s.refresh[token] = r
			}
		}
	}
	known = s.refresh[token]
	marked := known
	marked.used = true
	s.refresh[token] = marked
	return known, true
}

// grantForRefresh takes a refresh token. It stays valid, as the real ones do,
// until the account's tokens are revoked.
func (s *Server) grantForRefresh(v *visit, _ string) (grant, *entraError) {
	app, refusal := s.client(v, false)
	if refusal != nil {
		return grant{}, refusal
	}
	token, refusal := v.need("refresh_token")
	if refusal != nil {
		return grant{}, refusal
	}
	known, ok := s.use(token)
	if !ok {
		return grant{}, refuse("invalid_grant", 9002313, "Invalid request. Request is malformed or invalid.")
	}
	if known.grant.app.ClientID != app.ClientID {
		return grant{}, refuse("invalid_grant", 70000, "The refresh token was issued to another client.")
	}
	if time.Since(known.issued) > refreshLifetime {
		return grant{}, refuse("invalid_grant", 700082, "The refresh token has expired due to inactivity.")
	}
	g := known.grant
	g.family = known.family
	if scope := v.PostForm.Get("scope"); scope != "" {
		g.scopes = strings.Fields(scope)
		if g.resource, refusal = s.resource(g.scopes, v.base); refusal != nil {
			return grant{}, refusal
		}
		g.scopes = append(g.scopes, "offline_access") // a refresh token always brings the next
	}
	account, ok := s.account(g.account.UPN)
	if !ok || known.revoked {
		e := refuse("invalid_grant", 50173, "The provided grant has expired due to it being revoked; the user must sign in again.")
		e.suberror = "bad_token"
		return grant{}, e
	}
	g.account = account
	if refusal := s.mayHave(g); refusal != nil {
		return grant{}, refusal
	}
	s.mu.Lock()
	s.refreshed++
	s.mu.Unlock()
	return g, nil
}

// Revoke ends the sessions of an account: refresh tokens that it has are
// refused with AADSTS50173. Access tokens stay valid until they expire, as in
// reality.
func (s *Server) Revoke(upn string) {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	for token, r := range s.refresh {
		if strings.EqualFold(r.grant.account.UPN, upn) {
			r.revoked = true
			s.refresh[token] = r
		}
	}
}

// grantForPassword takes a user name and a password (RFC 6749, section 4.3).
func (s *Server) grantForPassword(v *visit, tenant string) (grant, *entraError) {
	app, refusal := s.client(v, false)
	if refusal != nil {
		return grant{}, refusal
	}
	if tenant == "common" {
		return grant{}, refuse("invalid_request", 9001023, "The grant type isn't supported over the /common or /consumers endpoints.")
	}
	upn, refusal := v.need("username")
	if refusal != nil {
		return grant{}, refusal
	}
	password, refusal := v.need("password")
	if refusal != nil {
		return grant{}, refusal
	}
	account, ok := s.account(upn)
	if !ok {
		return grant{}, refuse("invalid_grant", 50034, "The user account %s does not exist in the %s directory.", upn, s.Tenant.ID)
	}
	if account.Password == "" || subtle.ConstantTimeCompare([]byte(password), []byte(account.Password)) == 0 {
		return grant{}, refuse("invalid_grant", 50126, "Error validating credentials due to invalid username or password.")
	}
	if account.MFA {
		e := refuse("invalid_grant", 50076, "Multi-factor authentication is needed to access '%s'.", exchangeID)
		e.suberror = "basic_action"
		return grant{}, e
	}
	return s.asked(v, app, account)
}

// grantForSecret gives an application a token for itself (RFC 6749, section
// 4.4).
func (s *Server) grantForSecret(v *visit, tenant string) (grant, *entraError) {
	app, refusal := s.client(v, true)
	if refusal != nil {
		return grant{}, refusal
	}
	if tenant != s.Tenant.ID {
		return grant{}, refuse("invalid_request", 50059, "No tenant-identifying information found in the request.")
	}
	scope, refusal := v.need("scope")
	if refusal != nil {
		return grant{}, refusal
	}
	if !strings.HasSuffix(strings.ToLower(scope), "/.default") || strings.Contains(scope, " ") {
		return grant{}, refuse("invalid_scope", 1002012, "The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier.", scope)
	}
	return s.asked(v, app, Account{})
}

// asked is a grant of the scopes that the form asks for.
func (s *Server) asked(v *visit, app App, account Account) (grant, *entraError) {
	scope, refusal := v.need("scope")
	if refusal != nil {
		return grant{}, refusal
	}
	g := grant{account: account, app: app, scopes: strings.Fields(scope)}
	if g.resource, refusal = s.resource(g.scopes, v.base); refusal == nil {
		refusal = g.preauthorized()
	}
	return g, refusal
}
