package tenantsim

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// assertionType is the client_assertion_type of RFC 7523, section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// maxAssertionLife is how long an assertion may be valid here. The real limit
// is not documented; 10 minutes are recommended.
const maxAssertionLife = 15 * time.Minute

// checkAssertion looks whether an application has proven itself to v's address
// with one of its certificates. Each assertion is taken once: RFC 7523, section
// 3, lets a service want that.
// https://learn.microsoft.com/entra/identity-platform/certificate-credentials
func (s *Server) checkAssertion(v *visit, app App, assertion string) *entraError {
	if v.PostForm.Get("client_assertion_type") != assertionType {
		return refuse("invalid_request", 900144, "The request body must contain the following parameter: 'client_assertion_type'.")
	}
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(assertion, &claims, app.keyOf,
		jwt.WithValidMethods([]string{jwt.SigningMethodPS256.Alg(), jwt.SigningMethodRS256.Alg()}), jwt.WithExpirationRequired())
	switch {
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet):
		return refuse("invalid_client", 700024, "Client assertion is not within its valid time range.")
	case err != nil:
		return refuse("invalid_client", 700027, "The certificate of the client assertion is not registered on application '%s', or its signature is not valid.", app.ClientID)
	case time.Until(claims.ExpiresAt.Time) > maxAssertionLife:
		return refuse("invalid_client", 700024, "Client assertion is valid for too long.")
	case claims.Issuer != app.ClientID || claims.Subject != app.ClientID:
		return refuse("invalid_client", 50027, "Client assertion is not issued by and about the application '%s'.", app.ClientID)
	case !slices.Equal(claims.Audience, jwt.ClaimStrings{v.base + v.URL.Path}):
		return refuse("invalid_client", 50027, "Client assertion is for another audience than this endpoint.")
	case claims.ID == "" || !s.firstSeen(claims.ID):
		return refuse("invalid_client", 50027, "Client assertion has no jti, or was used before.")
	}
	return nil
}

// keyOf is the key of the certificate whose thumbprint is in the header.
func (a App) keyOf(assertion *jwt.Token) (any, error) {
	i := slices.IndexFunc(a.Certificates, func(c *x509.Certificate) bool {
		sum := sha256.Sum256(c.Raw)
		return assertion.Header["x5t#S256"] == base64.RawURLEncoding.EncodeToString(sum[:])
	})
	if i < 0 {
		return nil, errors.New("no certificate has this thumbprint")
	}
	return a.Certificates[i].PublicKey, nil
}

// firstSeen tells whether the id of an assertion was never seen, and notes it.
func (s *Server) firstSeen(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.assertions[id] {
		return false
	}
	s.assertions[id] = true
	return true
}
