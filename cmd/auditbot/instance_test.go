package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
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

func TestACertificateThatCannotBeUsedIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	good, goodFile := newCertificate(t, time.Now().AddDate(0, 0, 40))
	_, expired := newCertificate(t, time.Now().Add(-time.Hour))
	content, err := os.ReadFile(goodFile)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	block, rest := pem.Decode(content)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pfx, err := pkcs12.Modern.Encode(key, good, nil, "pfx-password")
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := x509.MarshalPKCS8PrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	const variable = "AUDITBOT_CERTIFICATE_PASSWORD_CONTOSO"
	for name, c := range map[string]struct{ file, password, want string }{
		"right":                 {goodFile, "", ""},
		"in the other order":    {file("other.pem", slices.Concat(rest, pem.EncodeToMemory(block))), "", ""},
		"PFX":                   {file("bot.pfx", pfx), "pfx-password", ""},
		"PFX, wrong password":   {filepath.Join(dir, "bot.pfx"), "wrong", variable},
		"PFX, no password":      {filepath.Join(dir, "bot.pfx"), "", variable},
		"not there":             {filepath.Join(dir, "nothing.pem"), "", "there is no file"},
		"a folder":              {dir, "", "is a directory"},
		"neither PEM nor PFX":   {file("text", []byte("hello")), "", "neither PEM nor PFX"},
		"without key":           {file("nokey.pem", rest), "", "no private key"},
		"a key of another kind": {file("ec.pem", slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ec}), rest)), "", "not RSA"},
		"expired":               {expired, "", "expired on " + time.Now().Add(-time.Hour).UTC().Format(time.DateOnly) + ": make a new one"},
	} {
		i := instanceSettings{Name: "contoso", Auth: authCertificate, ClientID: ownApp, CertificateFile: c.file}
		p, err := i.proof(environment(map[string]string{variable: c.password}))
		switch {
		case c.want == "":
			if err != nil || !p.Certificate.Expires().Equal(good.NotAfter) {
				t.Errorf("%s: %v", name, err)
			}
		case !commands.IsMistake(err) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `instance "contoso": certificate_file: `):
			t.Errorf("%s: %v, want a mistake with %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "pfx-password") {
			t.Errorf("%s: the error shows the password", name)
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
		"sign_in: instance, upn: soc@contoso.com":                                                {shared + ", and all who may ask here search with the rights of the account soc@contoso.com"},
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
