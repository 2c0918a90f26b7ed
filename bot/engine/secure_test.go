package engine

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"auditbot/bot/engine/clustertest"
)

// selfSigned writes a certificate for 127.0.0.1 that is its own authority, and
// its key.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nats.contoso.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pemFile(t, "CERTIFICATE", public), pemFile(t, "PRIVATE KEY", secret)
}

func pemFile(t *testing.T, kind string, data []byte) string {
	t.Helper()
	return textFile(t, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data})))
}

func textFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// user makes a user: the seed, in a file, and the public key.
func user(t *testing.T) (seedFile, public string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	return textFile(t, string(seed)+"\n"), public
}

// A server as README has it in earnest: with TLS, and a user of the bot's own.
func TestAClusterWithTLSAndAUser(t *testing.T) {
	t.Parallel()
	cert, key := selfSigned(t)
	seed, public := user(t)
	stranger, _ := user(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen, monitor := l.Addr().String(), other.Addr().String()
	l.Close()
	other.Close()
	clustertest.StartConfigs(t, []string{fmt.Sprintf(`
server_name: n0
listen: %q
http: %q
jetstream { store_dir: %q }
tls { cert_file: %q, key_file: %q }
authorization { users: [ { nkey: %q } ] }
`, listen, monitor, t.TempDir(), cert, key, public)})

	good := at(t, "tls://"+listen)
	good.Cluster.CredentialsFile, good.Cluster.CAFile = seed, cert
	e := openConfig(t, good)
	fill(t, e)
	wantFilled(t, e)

	for name, change := range map[string]struct {
		in   func(*Cluster)
		want string
	}{
		"no credentials":            {func(c *Cluster) { c.CredentialsFile = "" }, "authorization"},
		"another's credentials":     {func(c *Cluster) { c.CredentialsFile = stranger }, "authorization"},
		"no authority":              {func(c *Cluster) { c.CAFile = "" }, "certificate"},
		"credentials that are none": {func(c *Cluster) { c.CredentialsFile = cert }, "neither"},
		"a file that is not there":  {func(c *Cluster) { c.CAFile = cert + "x" }, "no such file"},
	} {
		c := good
		c.Dir = t.TempDir()
		change.in(&c.Cluster)
		began := time.Now()
		if _, err := Open(t.Context(), c); err == nil || !strings.Contains(strings.ToLower(err.Error()), change.want) {
			t.Errorf("%s: Open = %v", name, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: it took %v", name, took)
		}
	}
}
