package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"auditbot/bot"
	"auditbot/bot/engine"
	"auditbot/commands"
)

// environment is a getenv with these variables.
func environment(variables map[string]string) func(string) string {
	return func(name string) string { return variables[name] }
}

const pfxPassword = "simulated-pfx-password"

// certificateFiles are files with a certificate, and with what is none, by what
// they are.
func certificateFiles(t *testing.T) (good *x509.Certificate, files map[string]string) {
	t.Helper()
	good, goodFile := newCertificate(t, time.Now().AddDate(0, 0, 40))
	_, expired := newCertificate(t, time.Now().Add(-time.Hour))
	content, err := os.ReadFile(goodFile)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files = map[string]string{"right": goodFile, "expired": expired, "not there": filepath.Join(dir, "nothing.pem"), "a folder": dir}
	keep := func(name string, content []byte, err error) {
		files[name] = filepath.Join(dir, name)
		if err := errors.Join(err, os.WriteFile(files[name], content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	block, certificate := pem.Decode(content)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	keep("in the other order", slices.Concat(certificate, pem.EncodeToMemory(block)), err)
	keep("without key", certificate, nil)
	keep("neither PEM nor PFX", []byte("hello"), nil)
	pfx, err := pkcs12.Modern.Encode(key, good, nil, pfxPassword)
	keep("PFX", pfx, err)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.MarshalPKCS8PrivateKey(curve)
	keep("a key of another kind", slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: other}), certificate), err)
	return good, files
}

func TestACertificateThatCannotBeUsedIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	const variable = "AUDITBOT_CERTIFICATE_PASSWORD_CONTOSO"
	good, files := certificateFiles(t)
	for _, c := range []struct{ file, password, want string }{
		{"right", "", ""},
		{"in the other order", "", ""},
		{"PFX", pfxPassword, ""},
		{"PFX", "wrong", variable},
		{"PFX", "", variable},
		{"not there", "", "there is no file " + files["not there"]},
		{"a folder", "", files["a folder"]},
		{"neither PEM nor PFX", "", "neither PEM nor PFX"},
		{"without key", "", "no private key"},
		{"a key of another kind", "", "not RSA"},
		{"expired", "", "expired on " + time.Now().Add(-time.Hour).UTC().Format(time.DateOnly) + ": make a new one"},
	} {
		i := instanceSettings{Name: "contoso", Auth: authCertificate, ClientID: ownApp, CertificateFile: files[c.file]}
		p, err := i.proof(environment(map[string]string{variable: c.password}))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.file, err)
		case c.want == "" && !p.Certificate.Expires().Equal(good.NotAfter):
			t.Errorf("%s: it ends on %v", c.file, p.Certificate.Expires())
		case c.want != "" && (!commands.IsMistake(err) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `instance "contoso": certificate_file: `)):
			t.Errorf("%s: %v, want a mistake with %q", c.file, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), pfxPassword) {
			t.Errorf("%s: the error shows the password", c.file)
		}
	}
}

func TestASecretThatIsSetInVainIsWarnedOf(t *testing.T) {
	t.Parallel()
	s := settings{Instances: []instanceSettings{{Name: "contoso", Auth: authPassword, UPN: "soc@contoso.com"}, {Name: "fabrikam", Auth: authCertificate}}}
	for variable, want := range map[string]string{
		"AUDITBOT_PASSWORD_CONTOSO=x":                  "",
		"AUDITBOT_PASSWORD_CONTOSO_FILE=/run/x":        "",
		"AUDITBOT_CERTIFICATE_PASSWORD_FABRIKAM=x":     "",
		"AUDITBOT_PASSWORD_CONTSO=":                    "",
		"AUDITBOT_KEY=x":                               "",
		"PATH=/bin":                                    "",
		"AUDITBOT_PASSWORD_FABRIKAM=x":                 "AUDITBOT_PASSWORD_FABRIKAM is set and not used, since fabrikam has auth: certificate: unset it",
		"AUDITBOT_CLIENT_SECRET_CONTOSO_FILE=/run/x":   "AUDITBOT_CLIENT_SECRET_CONTOSO_FILE is set and not used, since contoso has auth: password: unset it",
		"AUDITBOT_PASSWORD_CONTSO=x":                   "AUDITBOT_PASSWORD_CONTSO is set and not used, since there is no instance contso: did you mean AUDITBOT_PASSWORD_CONTOSO?",
		"AUDITBOT_CERTIFICATE_PASSWORD_WOODGROVE=x":    "AUDITBOT_CERTIFICATE_PASSWORD_WOODGROVE is set and not used, since there is no instance woodgrove: unset it",
		"AUDITBOT_CERTIFICATE_PASSWORD_FABRIKAN_FILE=": "",
	} {
		if got := strings.Join(s.unusedSecrets([]string{variable}), "; "); got != want {
			t.Errorf("%s: %q, want %q", variable, got, want)
		}
	}
	_, err := s.Instances[0].proof(none)
	err = misnamed(err, s.unusedSecrets([]string{"AUDITBOT_PASSWORD_CONTSO=x"}))
	if !commands.IsMistake(err) || !strings.Contains(err.Error(), "is not set: the password of soc@contoso.com; AUDITBOT_PASSWORD_CONTSO is set") {
		t.Errorf("a missing one: %v", err)
	}
}

func TestWhatIsWeakIsWarnedOfAtStart(t *testing.T) {
	t.Parallel()
	_, soon := newCertificate(t, time.Now().AddDate(0, 0, 29))
	_, later := newCertificate(t, time.Now().AddDate(0, 0, 31))
	const shared, fromAnywhere = "the audit log does not tell who searched", "can use it from anywhere"
	for more, want := range map[string][]string{
		"":               nil,
		"cloud: gcchigh": nil,
		"insecure: true": {"insecure: true is set"},
		"cloud: china":   {"no answer will be complete"},
		"exchange_url: https://outlook.office365.cn":                                             {"no answer will be complete"},
		"sign_in: instance, upn: soc@contoso.com":                                                {shared + ", and all who may ask here search with the rights of the account soc@contoso.com", "access.admins names none, so nobody can do it in Slack"},
		"auth: password, upn: soc@contoso.com":                                                   {"without multi-factor authentication, so whoever learns the password " + fromAnywhere, shared},
		"auth: client_secret, client_id: " + ownApp:                                              {fromAnywhere + "; a certificate is better", shared},
		"auth: certificate, client_id: " + ownApp + fmt.Sprintf(", certificate_file: %q", later): {shared + ", and all who may ask here search with the rights of the application " + ownApp},
		"auth: certificate, client_id: " + ownApp + fmt.Sprintf(", certificate_file: %q", soon):  {"ends on " + time.Now().AddDate(0, 0, 29).UTC().Format(time.DateOnly), shared},
	} {
		all := tenantsOf(t, "{name: contoso, tenant: contoso.com, "+more+"}")[0].warnings()
		if len(all) != len(want) {
			t.Errorf("%s: %q, want %q", more, all, want)
			continue
		}
		for i, words := range want {
			if !strings.Contains(all[i], words) {
				t.Errorf("%s: %q, want %q", more, all[i], words)
			}
		}
	}
}

// tenantsOf are the tenants of instances as in auditbot.yml, with all secrets.
func tenantsOf(t *testing.T, instances string) []*tenant {
	t.Helper()
	s, err := loadSettings(settingsFile(t, "instances: ["+instances+"]"), none)
	if err != nil {
		t.Fatal(err)
	}
	key, err := decodeKey("AUDITBOT_KEY", rightKey)
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(t.Context(), engine.Config{Dir: filepath.Join(t.TempDir(), "data"), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	tenants, err := newTenants(s, func(name string) string {
		if strings.HasSuffix(name, "_FILE") || strings.Contains(name, "CERTIFICATE") {
			return ""
		}
		return "simulated"
	}, e)
	if err != nil {
		t.Fatal(err)
	}
	return tenants
}

// Who is expected to sign in, and under which key it is kept, is each person's
// own or the instance's.
func TestWhoIsExpectedToSignIn(t *testing.T) {
	t.Parallel()
	ada := bot.Person{ID: "U0ADA", Email: "ada@contoso.com"}
	for more, want := range map[string]map[string]string{ // the key to who is expected
		"": {"contoso/U0ADA": "ada@contoso.com"},
		"accounts: {U0ADA: adm-ada@contoso.com}, graph_client_id: " + ownApp:         {"contoso/U0ADA": "adm-ada@contoso.com", "contoso-graph/U0ADA": "adm-ada@contoso.com"},
		"accounts: {U0GRACE: adm-grace@contoso.com}":                                 {"contoso/U0ADA": "ada@contoso.com"},
		"sign_in: instance, upn: soc@contoso.com, graph_client_id: " + ownApp:        {"contoso": "soc@contoso.com", "contoso-graph": "soc@contoso.com"},
		"auth: password, upn: soc@contoso.com":                                       {"contoso": "soc@contoso.com"},
		"auth: client_secret, client_id: " + ownApp + ", graph_client_id: " + ownApp: {"contoso": "", "contoso-graph": ""},
	} {
		got := map[string]string{}
		for _, i := range instancesAs(tenantsOf(t, "{name: contoso, tenant: contoso.com, "+more+"}"), ada) {
			got[i.Account.Key] = i.Account.Expect
			if i.Shared != !strings.Contains(i.Account.Key, "/") || i.Account.Unattended() != (strings.HasPrefix(more, "auth:")) {
				t.Errorf("%s: shared %t, unattended %t", more, i.Shared, i.Account.Unattended())
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", more, got, want)
		}
	}
}

func TestWhatAnInstanceSignsInWithIsNotShown(t *testing.T) {
	t.Parallel()
	const hidden = "simulated-secret"
	_, file := newCertificate(t, time.Now().AddDate(1, 0, 0))
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := instanceSettings{Auth: authCertificate, CertificateFile: file}.proof(none)
	if err != nil {
		t.Fatal(err)
	}
	p.Password, p.ClientSecret = hidden, hidden
	var b bytes.Buffer
	for _, v := range []any{p, &p, struct{ proof }{p}, &tenant{proof: p}, tenantSettings(t)} {
		fmt.Fprintf(&b, "%v %+v %#v %s %q", v, v, v, v, v)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
	}
	block, _ := pem.Decode(content)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	exponent := key.(*rsa.PrivateKey).D.String()
	if text := b.String(); strings.Contains(text, hidden) || strings.Contains(text, exponent[:20]) || !strings.Contains(text, "[secret]") {
		t.Errorf("it is: %s", text)
	}
}

// tenantSettings are settings as they were read, with all secrets set.
func tenantSettings(t *testing.T) settings {
	t.Helper()
	s, err := loadSettings(settingsFile(t, "instances: [{name: contoso, tenant: contoso.com, auth: password, upn: soc@contoso.com}]"), func(name string) string {
		if name == "SLACK_API_URL" || strings.HasSuffix(name, "_FILE") {
			return ""
		}
		return "simulated-secret"
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
