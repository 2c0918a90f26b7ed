package tenantsim_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"maps"
	"math/big"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"auditbot/auditlog/tenantsim"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// certificate is a new key with a certificate that it signed itself.
func certificate(t *testing.T) (*rsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "auditbot"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, c
}

// signed is an assertion under the thumbprint of a certificate.
func signed(t *testing.T, method jwt.SigningMethod, key any, c *x509.Certificate, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	sum := sha256.Sum256(c.Raw)
	token.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(sum[:])
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestAnApplicationProvesItselfWithACertificate(t *testing.T) {
	t.Parallel()
	key, registered := certificate(t)
	otherKey, other := certificate(t)
	const app = "3f0c5a1e-7d42-4c9b-8a6f-1b2d3e4f5a6b"
	s := tenantsim.NewServer(tenantsim.Tenant{Records: load(t), Apps: []tenantsim.App{{
		ClientID: app, Certificates: []*x509.Certificate{registered}, AppRoles: []string{"Exchange.ManageAsApp"},
	}}})
	defer s.Close()
	address := s.URL + "/contoso.com/oauth2/v2.0/token"
	right := func(jti string, changes jwt.MapClaims) jwt.MapClaims {
		claims := jwt.MapClaims{"aud": address, "iss": app, "sub": app, "jti": jti, "nbf": time.Now().Unix(), "exp": time.Now().Add(10 * time.Minute).Unix()}
		maps.Copy(claims, changes)
		return claims
	}
	send := func(assertion string) answer {
		return post(t, address, "grant_type", "client_credentials", "client_id", app, "scope", exchangeScope,
			"client_assertion_type", assertionType, "client_assertion", assertion)
	}
	once := signed(t, jwt.SigningMethodPS256, key, registered, right("once", nil))
	for _, good := range []string{once, signed(t, jwt.SigningMethodRS256, key, registered, right("RS256", nil))} {
		a := send(good)
		if a.StatusCode != 200 || verify(t, s, a.text("access_token"))["appid"] != app {
			t.Errorf("%s", a.body)
		}
	}
	for name, c := range map[string]struct {
		assertion string
		number    float64
	}{
		"used before":           {once, 50027},
		"another certificate":   {signed(t, jwt.SigningMethodPS256, otherKey, other, right("a", nil)), 700027},
		"another key":           {signed(t, jwt.SigningMethodPS256, otherKey, registered, right("b", nil)), 700027},
		"no signature":          {signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, registered, right("c", nil)), 700027},
		"a shared secret":       {signed(t, jwt.SigningMethodHS256, registered.Raw, registered, right("d", nil)), 700027},
		"for another endpoint":  {signed(t, jwt.SigningMethodPS256, key, registered, right("e", jwt.MapClaims{"aud": s.URL})), 50027},
		"of another issuer":     {signed(t, jwt.SigningMethodPS256, key, registered, right("f", jwt.MapClaims{"iss": exoClient})), 50027},
		"about another":         {signed(t, jwt.SigningMethodPS256, key, registered, right("g", jwt.MapClaims{"sub": exoClient})), 50027},
		"without an id":         {signed(t, jwt.SigningMethodPS256, key, registered, right("", nil)), 50027},
		"over":                  {signed(t, jwt.SigningMethodPS256, key, registered, right("h", jwt.MapClaims{"exp": time.Now().Unix() - 60})), 700024},
		"not yet":               {signed(t, jwt.SigningMethodPS256, key, registered, right("i", jwt.MapClaims{"nbf": time.Now().Unix() + 60})), 700024},
		"valid for a day":       {signed(t, jwt.SigningMethodPS256, key, registered, right("j", jwt.MapClaims{"exp": time.Now().Add(24 * time.Hour).Unix()})), 700024},
		"without an expiration": {signed(t, jwt.SigningMethodPS256, key, registered, right("k", jwt.MapClaims{"exp": nil})), 700027},
	} {
		t.Run(name, func(t *testing.T) { checkRefusal(t, send(c.assertion), 401, "invalid_client", c.number) })
	}
}

func TestASecretThatHasExpired(t *testing.T) {
	t.Parallel()
	s := tenantsim.NewServer(tenantsim.Tenant{Records: load(t), Apps: []tenantsim.App{{ClientID: "c1", Secret: "right", SecretExpired: true}}})
	defer s.Close()
	for secret, number := range map[string]float64{"right": 7000222, "wrong": 7000215} {
		checkRefusal(t, post(t, s.URL+"/contoso.com/oauth2/v2.0/token", "grant_type", "client_credentials", "client_id", "c1", "client_secret", secret, "scope", exchangeScope),
			401, "invalid_client", number)
	}
}
