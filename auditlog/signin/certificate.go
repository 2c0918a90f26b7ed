package signin

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"software.sslmate.com/src/go-pkcs12"

	"auditbot/auditlog"
)

// A Certificate proves that an application is who it says it is. Printing it
// does not show its key.
type Certificate struct {
	leaves []*x509.Certificate // of the key; one or more
	key    *rsa.PrivateKey
}

// String names the certificate's end. Package fmt would otherwise print the key.
func (c *Certificate) String() string {
	return "[certificate, valid until " + c.Expires().UTC().Format(time.DateOnly) + "]"
}
func (c *Certificate) GoString() string             { return c.String() }
func (c *Certificate) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Expires is when the certificate that is used now ends. Microsoft does not take
// it after that.
func (c *Certificate) Expires() time.Time { return c.leaf().NotAfter }

// leaf is the certificate to use now: of those that are valid the one that
// lasts longest. If none is, one that is not valid yet comes before one that
// has expired.
func (c *Certificate) leaf() *x509.Certificate {
	now := time.Now()
	rank := func(leaf *x509.Certificate) int {
		switch {
		case !now.Before(leaf.NotAfter):
			return 2
		case now.Before(leaf.NotBefore):
			return 1
		}
		return 0
	}
	return slices.MinFunc(c.leaves, func(a, b *x509.Certificate) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), b.NotAfter.Compare(a.NotAfter))
	})
}

// minKey is how many bits the key has at least. Fewer are no longer safe.
// https://csrc.nist.gov/pubs/sp/800/131/a/r2/final
const minKey = 2048

// ReadCertificate reads the content of a PEM file, with the certificate and its
// private key in any order and other certificates among them, or of a PFX file
// (PKCS #12). Of several certificates of the key, the one is used that is valid
// and lasts longest. The password is that of the PFX file; PEM has none. Keys are
// of RSA, with 2,048 bits or more. Errors show nothing of the content.
func ReadCertificate(content []byte, password auditlog.Secret) (*Certificate, error) {
	read := func() (any, []*x509.Certificate, error) { return readPFX(content, password) }
	if bytes.Contains(content, []byte("-----BEGIN ")) {
		read = func() (any, []*x509.Certificate, error) { return readPEM(content) }
	}
	key, certificates, err := read()
	if err == nil {
		var c *Certificate
		if c, err = pair(key, certificates); err == nil {
			return c, nil
		}
	}
	return nil, fmt.Errorf("reading a certificate: %w", err)
}

func readPFX(content []byte, password auditlog.Secret) (key any, certificates []*x509.Certificate, err error) {
	key, leaf, others, err := pkcs12.DecodeChain(content, string(password))
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword) && password == "":
		return nil, nil, errors.New("it is a PFX file with a password, and none is given")
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return nil, nil, errors.New("the password of the PFX file is wrong")
	case err != nil:
		if missing, ok := errors.AsType[pkcs12.NotImplementedError](err); ok {
			return nil, nil, fmt.Errorf("it is a PFX file of a kind that cannot be read (%w): make it anew with openssl pkcs12", missing)
		}
		return nil, nil, errors.New("it is neither PEM nor PFX that can be read")
	}
	return key, append(others, leaf), nil
}

func readPEM(content []byte) (key any, certificates []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			return key, certificates, nil
		}
		switch _, encrypted := block.Headers["DEK-Info"]; {
		case encrypted, block.Type == "ENCRYPTED PRIVATE KEY":
			return nil, nil, errors.New("its private key is encrypted: make it a PFX file, or decrypt it with openssl pkey")
		case block.Type == "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				certificates = append(certificates, c)
			}
		case block.Type == "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case block.Type == "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case block.Type == "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("its part %q cannot be read: %w", block.Type, err)
		}
	}
}

// pair is the key with those of the certificates that are its own.
func pair(key any, certificates []*x509.Certificate) (*Certificate, error) {
	if key == nil {
		return nil, errors.New("it has no private key")
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("its private key is not RSA, and Entra ID takes no other")
	}
	if bits := private.N.BitLen(); bits < minKey {
		return nil, fmt.Errorf("its private key has %d bits, and %d are needed", bits, minKey)
	}
	leaves := slices.DeleteFunc(certificates, func(c *x509.Certificate) bool { return !private.PublicKey.Equal(c.PublicKey) })
	if len(leaves) == 0 {
		return nil, errors.New("it has no certificate of its private key")
	}
	return &Certificate{leaves, private}, nil
}

// assertionLife is how long an assertion is valid, and assertionLead how long
// before now it begins, since clocks differ. Microsoft recommends 5 to 10
// minutes.
// https://learn.microsoft.com/entra/identity-platform/certificate-credentials
const (
	assertionLife = 10 * time.Minute
	assertionLead = time.Minute
)

// assertion is the proof for one request to an address (RFC 7523, section 3).
func (c *Certificate) assertion(clientID, address string) (auditlog.Secret, error) {
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodPS256, jwt.MapClaims{
		"aud": address,
		"iss": clientID,
		"sub": clientID,
		"jti": newGUID(),
		"iat": now.Unix(),
		"nbf": now.Add(-assertionLead).Unix(),
		"exp": now.Add(assertionLife).Unix(),
	})
	print := sha256.Sum256(c.leaf().Raw)
	token.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(print[:])
	signed, err := token.SignedString(c.key)
	if err != nil {
		return "", fmt.Errorf("signing with the certificate: %w", err)
	}
	return auditlog.Secret(signed), nil
}

// newGUID is a random GUID (RFC 9562, section 5.4).
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
