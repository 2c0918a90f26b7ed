package tenantsim

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// signingKey is what all tokens are signed with. As at Entra ID, tenants share
// it; here, also servers. It is made anew in each process.
var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // only of bits that are too few
	}
	return key
})

// keyID names the key in the header of a token.
func keyID() string {
	sum := sha256.Sum256(signingKey().N.Bytes())
	return base64.RawURLEncoding.EncodeToString(sum[:15])
}

// keys answers with the public key (RFC 7517).
func (s *Server) keys(v *visit) response {
	if reply, ok := s.name(v, "keys", nil); ok {
		return reply
	}
	if _, ok := s.tenantOf(v.PathValue("tenant")); !ok {
		return unknownTenant(v)
	}
	key := signingKey().PublicKey
	return jsonResponse(200, jsonType, map[string]any{"keys": []any{map[string]string{
		"kty": "RSA",
		"use": "sig",
		"alg": jwt.SigningMethodRS256.Alg(),
		"kid": keyID(),
		"n":   base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		"e":   base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
	}}})
}

// Sign makes a token of any claims, for tests of whoever checks tokens. Times
// are seconds since 1970.
func (s *Server) Sign(claims map[string]any) string {
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(claims))
	token.Header["kid"] = keyID()
	signed, err := token.SignedString(signingKey())
	if err != nil {
		panic("tenantsim: claims that are not JSON: " + err.Error())
	}
	return signed
}

// Token is an access token for Exchange Online, as if the account with this
// UPN had just signed in with [MicrosoftApps]. It panics if there is no such
// account; whether the account is blocked does not matter.
func (s *Server) Token(upn string) string {
	s.prepare()
	account, ok := s.account(upn)
	if !ok {
		panic("tenantsim: there is no account " + upn)
	}
	return s.accessToken(grant{account: account, app: MicrosoftApps()[0], resource: exchangeResource}, time.Now(), s.lifetime())
}

// A grant is what somebody is given: an app may use a resource for an account,
// or for itself if the account is none.
type grant struct {
	account  Account
	app      App
	resource string   // "https://outlook.office365.com"
	scopes   []string // as asked for
	family   string   // of the refresh token it is for; "" at a sign-in
}

func (g grant) has(scope string) bool {
	return slices.ContainsFunc(g.scopes, func(s string) bool { return strings.EqualFold(s, scope) })
}

// permissions are what the app has consent for at the resource.
func (g grant) permissions() []string {
	var all []string
	for _, name := range g.app.Consent {
		if strings.HasPrefix(name, "Exchange.") == !isGraph(g.resource) {
			all = append(all, name)
		}
	}
	return all
}

// lifetime is how long an access token is valid.
func (s *Server) lifetime() time.Duration {
	if s.TokenLifetime != 0 {
		return s.TokenLifetime
	}
	return time.Hour + mathrand.N(30*time.Minute).Truncate(time.Second)
}

// home is the GUID of the tenant that an account is in.
func (s *Server) home(a Account) string {
	if a.Tenant != "" {
		return a.Tenant
	}
	return s.Tenant.ID
}

// accessToken has the claims of what Entra ID gives for Exchange Online, which
// are those of its version 1.0.
// https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
func (s *Server) accessToken(g grant, now time.Time, lifetime time.Duration) string {
	claims := map[string]any{
		"aud":   g.resource,
		"iss":   "https://sts.windows.net/" + s.Tenant.ID + "/",
		"iat":   now.Unix(),
		"nbf":   now.Unix(),
		"exp":   now.Add(lifetime).Unix(),
		"appid": g.app.ClientID,
		"tid":   s.Tenant.ID,
		"uti":   rand.Text()[:22],
		"ver":   "1.0",
	}
	if g.account.UPN == "" {
		claims["idtyp"] = "app"
		claims["oid"] = madeGUID("service principal of " + g.app.ClientID)
		claims["sub"] = claims["oid"]
		claims["roles"] = g.app.AppRoles
		return s.Sign(claims)
	}
	home := s.home(g.account)
	claims["iss"] = "https://sts.windows.net/" + home + "/"
	claims["tid"] = home
	claims["idtyp"] = "user"
	claims["name"] = g.account.Name
	claims["oid"] = g.account.objectID()
	claims["sub"] = madeGUID("subject " + g.account.UPN + g.app.ClientID)
	claims["scp"] = strings.Join(g.permissions(), " ")
	claims["unique_name"] = g.account.UPN
	claims["upn"] = g.account.UPN
	return s.Sign(claims)
}

// idToken says who signed in. Who it is by name is said only if the scope
// profile was asked for.
// https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
func (s *Server) idToken(g grant, base string, now time.Time, lifetime time.Duration) string {
	home := s.home(g.account)
	claims := map[string]any{
		"aud": g.app.ClientID,
		"iss": base + "/" + home + "/v2.0",
		"iat": now.Unix(),
		"nbf": now.Unix(),
		"exp": now.Add(lifetime).Unix(),
		"sub": madeGUID("subject " + g.account.UPN + g.app.ClientID),
		"tid": home,
		"uti": rand.Text()[:22],
		"ver": "2.0",
	}
	if g.has("profile") {
		claims["name"] = g.account.Name
		claims["oid"] = g.account.objectID()
		claims["preferred_username"] = g.account.UPN
	}
	if g.has("email") {
		claims["email"] = g.account.UPN
	}
	return s.Sign(claims)
}

func (a Account) objectID() string {
	if a.ID != "" {
		return a.ID
	}
	return madeGUID("account " + strings.ToLower(a.UPN))
}

// A bearer is who a valid access token belongs to.
type bearer struct {
	upn    string // "" for an app
	app    string // client id
	scopes []string
	roles  []string // app roles
}

// Reasons for refusing a token.
var (
	errExpired  = errors.New("the token has expired")
	errAudience = errors.New("the token is for another resource")
	errTenant   = errors.New("the token is of another tenant")
)

// readToken checks an access token of a tenant for the resource that meant
// tells.
func readToken(token, tenant string, meant func(audience string) bool) (bearer, error) {
	var claims struct {
		jwt.RegisteredClaims
		AppID string   `json:"appid"`
		TID   string   `json:"tid"`
		UPN   string   `json:"upn"`
		SCP   string   `json:"scp"`
		Roles []string `json:"roles"`
	}
	_, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return &signingKey().PublicKey, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodRS256.Alg()}), jwt.WithExpirationRequired())
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return bearer{}, errExpired
	case err != nil:
		return bearer{}, fmt.Errorf("reading the token: %w", err)
	case !slices.ContainsFunc(claims.Audience, meant):
		return bearer{}, errAudience
	case !strings.EqualFold(claims.TID, tenant):
		return bearer{}, errTenant
	}
	return bearer{claims.UPN, claims.AppID, strings.Fields(claims.SCP), claims.Roles}, nil
}

// newGUID is a random GUID (RFC 9562, section 5.4).
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	return guid(b, 4)
}

// madeGUID is a GUID that is always the same for a name (RFC 9562, section 5.8).
func madeGUID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return guid([16]byte(sum[:16]), 8)
}

func guid(b [16]byte, version byte) string {
	b[6] = b[6]&0x0f | version<<4
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
