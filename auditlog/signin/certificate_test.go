package signin_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
)

// A pair is a key and a certificate that it signed itself, until 2 January 2100.
type pair struct {
	key  crypto.Signer
	leaf *x509.Certificate
}

func newPair(key crypto.Signer, err error) pair {
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "auditbot"},
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2100, 1, 2, 0, 0, 0, 0, time.UTC),
	}
	return pair{key, signedBySelf(template, key)}
}

func signedBySelf(template *x509.Certificate, key crypto.Signer) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return leaf
}

var (
	rsaPair   = sync.OnceValue(func() pair { return newPair(rsa.GenerateKey(rand.Reader, 2048)) })
	otherPair = sync.OnceValue(func() pair { return newPair(rsa.GenerateKey(rand.Reader, 2048)) })
	shortPair = sync.OnceValue(func() pair { return newPair(rsa.GenerateKey(rand.Reader, 1024)) })
	ecPair    = sync.OnceValue(func() pair { return newPair(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
)

// until is the pair with another certificate of the same key.
func (p pair) until(from, to time.Time) pair {
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "auditbot"}, NotBefore: from, NotAfter: to}
	return pair{p.key, signedBySelf(template, p.key)}
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (p pair) cert() []byte { return pemBlock("CERTIFICATE", p.leaf.Raw) }

func (p pair) pkcs8() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		panic(err)
	}
	return pemBlock("PRIVATE KEY", der)
}

func (p pair) pfx(encoder *pkcs12.Encoder, password string, others ...*x509.Certificate) []byte {
	content, err := encoder.Encode(p.key, p.leaf, others, password)
	if err != nil {
		panic(err)
	}
	return content
}

func TestACertificateIsReadFromWhateverFileItIsIn(t *testing.T) {
	p, other := rsaPair(), otherPair()
	pkcs1 := pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(p.key.(*rsa.PrivateKey)))
	for name, c := range map[string]struct {
		content  []byte
		password auditlog.Secret
	}{
		"PEM":                           {slices.Concat(p.cert(), p.pkcs8()), ""},
		"PEM, the key first":            {slices.Concat(p.pkcs8(), p.cert()), ""},
		"PEM, the key as PKCS #1":       {slices.Concat(pkcs1, p.cert()), ""},
		"PEM with others and notes":     {slices.Concat([]byte("Bag Attributes\n"), other.cert(), []byte("key:\n"), p.pkcs8(), p.cert()), ""},
		"PEM, with a password not used": {slices.Concat(p.cert(), p.pkcs8()), "unused"},
		"PFX":                           {p.pfx(pkcs12.Modern, "secret word"), "secret word"},
		"PFX of older programs":         {p.pfx(pkcs12.LegacyDES, "secret word"), "secret word"},
		"PFX without a password":        {p.pfx(pkcs12.Passwordless, ""), ""},
		"PFX with a chain":              {p.pfx(pkcs12.Modern, "x", other.leaf), "x"},
	} {
		t.Run(name, func(t *testing.T) {
			certificate, err := signin.ReadCertificate(c.content, c.password)
			if err != nil || !certificate.Expires().Equal(p.leaf.NotAfter) {
				t.Errorf("%v, %v", certificate, err)
			}
		})
	}
}

func TestWhatIsNoCertificateIsSaid(t *testing.T) {
	p, other := rsaPair(), otherPair()
	broken := bytes.Replace(p.pkcs8(), []byte("MII"), []byte("AAA"), 1)
	for name, c := range map[string]struct {
		content  []byte
		password auditlog.Secret
		why      string
	}{
		"nothing":                  {nil, "", "neither PEM nor PFX"},
		"text":                     {[]byte("hunter2 hunter2"), "", "neither PEM nor PFX"},
		"a certificate alone":      {p.cert(), "", "it has no private key"},
		"a key alone":              {p.pkcs8(), "", "no certificate of its private key"},
		"a key of another":         {slices.Concat(other.cert(), p.pkcs8()), "", "no certificate of its private key"},
		"a key that is broken":     {slices.Concat(p.cert(), broken), "", `its part "PRIVATE KEY" cannot be read`},
		"an elliptic curve":        {slices.Concat(ecPair().cert(), ecPair().pkcs8()), "", "not RSA"},
		"a short key":              {slices.Concat(shortPair().cert(), shortPair().pkcs8()), "", "has 1024 bits, and 2048 are needed"},
		"an encrypted key":         {slices.Concat(p.cert(), pemBlock("ENCRYPTED PRIVATE KEY", []byte("x"))), "x", "is encrypted: make it a PFX file"},
		"an encrypted key of old":  {[]byte("-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"), "", "is encrypted"},
		"a PFX, wrong password":    {p.pfx(pkcs12.Modern, "right"), "hunter2", "the password of the PFX file is wrong"},
		"a PFX, no password":       {p.pfx(pkcs12.Modern, "right"), "", "a PFX file with a password, and none is given"},
		"a PFX with certificates":  {trustStore(other), "x", "neither PEM nor PFX that can be read"},
		"a PFX that is cut off":    {p.pfx(pkcs12.Modern, "x")[:500], "x", "neither PEM nor PFX"},
		"a PFX of an elliptic key": {ecPair().pfx(pkcs12.Modern, "x"), "x", "not RSA"},
	} {
		t.Run(name, func(t *testing.T) {
			certificate, err := signin.ReadCertificate(c.content, c.password)
			if err == nil || certificate != nil {
				t.Fatalf("%v, %v", certificate, err)
			}
			says(t, err.Error(), "reading a certificate: ", c.why)
			hides(t, "the error", err, "hunter2")
		})
	}
}

func trustStore(p pair) []byte {
	content, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{p.leaf}, "x")
	if err != nil {
		panic(err)
	}
	return content
}

// A file may hold the certificates that came after each other for one key.
func TestTheCertificateIsTheOneThatIsValidAndLastsLongest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // from 1 January 2000 on
		year := func(n int) time.Time { return time.Date(n, 6, 1, 0, 0, 0, 0, time.UTC) }
		certificate := func(from, to int) pair { return rsaPair().until(year(from), year(to)) }
		oldest, expired := certificate(1990, 1995), certificate(1991, 1999)
		short, long := certificate(1999, 2001), certificate(1999, 2003)
		next, later := certificate(2000, 2010), certificate(2005, 2020)
		for name, c := range map[string]struct {
			certificates []pair
			expires      int
		}{
			"one has expired":              {[]pair{expired, short}, 2001},
			"both are valid":               {[]pair{short, long}, 2003},
			"one begins later":             {[]pair{later, short, expired}, 2001},
			"all begin later":              {[]pair{later, next}, 2020},
			"one begins later, or expired": {[]pair{expired, next}, 2010},
			"all have expired":             {[]pair{oldest, expired}, 1999},
			"another key's lasts longer":   {[]pair{short, otherPair()}, 2001},
		} {
			for range 2 {
				content := rsaPair().pkcs8()
				for _, p := range c.certificates {
					content = append(content, p.cert()...)
				}
				if got, err := signin.ReadCertificate(content, ""); err != nil || !got.Expires().Equal(year(c.expires)) {
					t.Errorf("%s: %v, %v", name, got, err)
				}
				slices.Reverse(c.certificates)
			}
		}
		both, err := signin.ReadCertificate(slices.Concat(rsaPair().pkcs8(), short.cert(), next.cert()), "")
		if err != nil || !both.Expires().Equal(year(2001)) {
			t.Errorf("%v, %v", both, err)
		}
		time.Sleep(time.Until(year(2001)))
		if !both.Expires().Equal(year(2010)) {
			t.Errorf("a program that runs until %v still has %v", time.Now(), both)
		}
	})
}
