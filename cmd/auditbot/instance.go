package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/commands"
)

// instanceSettings are one tenant and how it is signed in to. Secrets are not
// among them.
type instanceSettings struct {
	Name            string            `yaml:"name"`
	Tenant          string            `yaml:"tenant"`
	Cloud           string            `yaml:"cloud"`
	LoginURL        string            `yaml:"login_url"`
	ExchangeURL     string            `yaml:"exchange_url"`
	GraphURL        string            `yaml:"graph_url"`
	Auth            string            `yaml:"auth"`
	SignIn          string            `yaml:"sign_in"`
	UPN             string            `yaml:"upn"`
	Accounts        map[string]string `yaml:"accounts"`
	ClientID        string            `yaml:"client_id"`
	GraphClient     string            `yaml:"graph_client_id"`
	CertificateFile string            `yaml:"certificate_file"`
	Backend         string            `yaml:"backend"`
	Insecure        bool              `yaml:"insecure"`
}

// exchangeShellApp is Microsoft's own application behind Connect-ExchangeOnline
// -Device. It is present in every tenant.
const exchangeShellApp = "fb78d390-0c51-40cd-8e17-fdbfab77341b"

// The ways to sign in.
const (
	authDeviceCode   = "device_code"
	authCertificate  = "certificate"
	authClientSecret = "client_secret"
	authPassword     = "password"
)

// Who signs in: each person, or one account or application for all.
const (
	signInAnalyst  = "analyst"
	signInInstance = "instance"
)

func (i *instanceSettings) setDefaults() {
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	set(&i.Cloud, globalCloud)
	c := cloudNamed(i.Cloud)
	set(&i.LoginURL, c.login)
	set(&i.ExchangeURL, c.exchange)
	set(&i.GraphURL, c.graph)
	set(&i.Backend, "auto")
	set(&i.Auth, authDeviceCode)
	if i.Auth == authDeviceCode {
		set(&i.SignIn, signInAnalyst)
	}
	set(&i.SignIn, signInInstance)
	if !i.application() {
		set(&i.ClientID, exchangeShellApp)
	}
}

// application tells whether it is the application that signs in, as itself.
func (i instanceSettings) application() bool {
	return i.Auth == authCertificate || i.Auth == authClientSecret
}

// check says what is wrong with the instance, and what to write instead.
func (i instanceSettings) check() error {
	for _, check := range []func() error{i.checkTenant, i.checkSignIn, i.checkAccounts, i.checkApplication, i.checkGraph} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

var instanceName = regexp.MustCompile(`^[a-z0-9_]+$`)

func (i instanceSettings) checkTenant() error {
	switch {
	case !instanceName.MatchString(i.Name):
		return errors.New("name must consist of a-z, 0-9 and _")
	case strings.HasSuffix(i.Name, "_file"):
		return fmt.Errorf("name: %q ends like the variables that name files with secrets: choose another one", i.Name)
	case i.Tenant == "":
		return errors.New("tenant is missing: the organisation's domain (contoso.onmicrosoft.com) or GUID")
	case slices.Contains([]string{"common", "organizations", "consumers"}, strings.ToLower(i.Tenant)) || strings.ContainsAny(i.Tenant, "/?# "):
		return fmt.Errorf("tenant: %q is not one organisation's domain or GUID", i.Tenant)
	}
	if err := checkCloud(i.Cloud); err != nil {
		return err
	}
	return errors.Join(checkURL("login_url", i.LoginURL), checkURL("exchange_url", i.ExchangeURL), checkURL("graph_url", i.GraphURL))
}

func (i instanceSettings) checkSignIn() error {
	if err := checkChoice("auth", i.Auth, authDeviceCode, authCertificate, authClientSecret, authPassword); err != nil {
		return err
	}
	if err := checkChoice("sign_in", i.SignIn, signInAnalyst, signInInstance); err != nil {
		return err
	}
	switch analyst := i.SignIn == signInAnalyst; {
	case analyst && i.Auth != authDeviceCode:
		return fmt.Errorf("sign_in: analyst is for auth: device_code; auth: %s is one sign-in for all who may ask: write sign_in: instance, or leave it out", i.Auth)
	case analyst && i.UPN != "":
		return errors.New("upn is for sign_in: instance; with sign_in: analyst all sign in as themselves: leave it out, or write in accounts: whose account is not their e-mail in Slack")
	case i.application() && i.UPN != "":
		return fmt.Errorf("upn is for accounts, and with auth: %s the application signs in as itself: leave upn out", i.Auth)
	case !analyst && !i.application() && i.UPN == "":
		return fmt.Errorf("upn is missing: auth: %s with sign_in: instance signs in with one account for all who may ask: write upn: soc@contoso.com", i.Auth)
	case i.UPN != "" && !upnShape.MatchString(i.UPN):
		return fmt.Errorf("upn: %q is not a user principal name, which is like soc@contoso.com", i.UPN)
	case i.Auth == authCertificate && i.CertificateFile == "":
		return errors.New("certificate_file is missing: auth: certificate needs a PEM or PFX file with the application's certificate and its private key")
	case i.Auth != authCertificate && i.CertificateFile != "":
		return fmt.Errorf("certificate_file is for auth: certificate, and this is auth: %s: change one of them", i.Auth)
	}
	return nil
}

var (
	upnShape = regexp.MustCompile(`^[^\s@<>|:]+@[^\s@<>|:]+\.[^\s@<>|:]+$`)
	localID  = regexp.MustCompile(`^local:.`)
)

func (i instanceSettings) checkAccounts() error {
	if i.SignIn == signInInstance && len(i.Accounts) > 0 {
		return errors.New("accounts are for sign_in: analyst; with sign_in: instance all who may ask share one sign-in: leave accounts out")
	}
	for _, id := range slices.Sorted(maps.Keys(i.Accounts)) {
		if !userID.MatchString(id) && !localID.MatchString(id) {
			return fmt.Errorf(`accounts: %q is not a person's id: in Slack it is in their profile, under "Copy member ID", as U0123ABCD; for auditbot exec write local:NAME, with the name in the operating system`, id)
		}
		if upn := i.Accounts[id]; !upnShape.MatchString(upn) {
			return fmt.Errorf("accounts: %q of %s is not a user principal name, which is like adm-ada@contoso.com", upn, id)
		}
	}
	return nil
}

var clientIDShape = regexp.MustCompile(`(?i)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// checkApplication refuses an application that cannot be signed in to.
func (i instanceSettings) checkApplication() error {
	const register = "register an application of your own in the Entra admin centre, as README.md describes, and write its application (client) id"
	switch {
	case i.application() && i.ClientID == "":
		return fmt.Errorf("client_id is missing: auth: %s needs an application of your own: %s", i.Auth, register)
	case !clientIDShape.MatchString(i.ClientID):
		return fmt.Errorf("client_id: %q is not an application's id, which is a GUID: it is in the Entra admin centre under App registrations", i.ClientID)
	case i.application() && auditlog.FindApp(i.ClientID).Name != "":
		return fmt.Errorf("client_id: %s is Microsoft's, and nobody else can prove to be it, which auth: %s needs: %s", auditlog.FindApp(i.ClientID), i.Auth, register)
	}
	return nil
}

// checkGraph refuses a Microsoft Graph that cannot be asked.
func (i instanceSettings) checkGraph() error {
	if err := checkChoice("backend", i.Backend, "auto", "exchange", "graph"); err != nil {
		return err
	}
	const global = "Microsoft offers audit log queries of Graph in the global cloud only"
	switch app := auditlog.FindApp(i.GraphClient); {
	case i.Backend == "graph" && i.national():
		return errors.New("backend: graph: " + global + ": write backend: exchange, or leave it out")
	case i.Backend == "graph" && i.GraphClient == "":
		return errors.New("graph_client_id is missing: backend: graph needs an own app's id")
	case i.GraphClient == "":
		return nil
	case i.national():
		return errors.New("graph_client_id: " + global + ": leave graph_client_id out")
	case !clientIDShape.MatchString(i.GraphClient):
		return fmt.Errorf("graph_client_id: %q is not an application's id, which is a GUID: it is in the Entra admin centre under App registrations", i.GraphClient)
	case app.Name != "":
		return fmt.Errorf("graph_client_id: %s is Microsoft's, and Microsoft does not let its own applications query the audit log (AADSTS65002): write the id of an application of your own", app)
	case i.Auth == authClientSecret && !strings.EqualFold(i.GraphClient, i.ClientID):
		return errors.New("graph_client_id: with auth: client_secret it must be the same as client_id, since a secret is one application's: give that application the permission for Graph as well; or write auth: certificate, which several applications may share")
	}
	return nil
}

// A proof is what an instance signs in with by itself. For device codes it is
// empty.
type proof struct {
	Password     auditlog.Secret
	ClientSecret auditlog.Secret
	Certificate  *signin.Certificate
}

// The kinds of secrets that an instance may have.
const (
	passwordSecret    = "PASSWORD"
	clientSecret      = "CLIENT_SECRET"
	certificateSecret = "CERTIFICATE_PASSWORD"
)

// secretKinds says which auth uses which secret.
var secretKinds = map[string]string{passwordSecret: authPassword, clientSecret: authClientSecret, certificateSecret: authCertificate}

// variable is the environment variable of one of the instance's secrets.
func (i instanceSettings) variable(kind string) string {
	return "AUDITBOT_" + kind + "_" + strings.ToUpper(i.Name)
}

// proof reads what the instance signs in with. An error is a
// [*commands.Mistake] where the operator can do something about it.
func (i instanceSettings) proof(getenv func(string) string) (p proof, err error) {
	switch i.Auth {
	case authPassword:
		p.Password, err = needSecret(getenv, i.variable(passwordSecret), "the password of "+i.UPN)
	case authClientSecret:
		p.ClientSecret, err = needSecret(getenv, i.variable(clientSecret), "the secret of the application "+i.ClientID+" (its value, not its id)")
	case authCertificate:
		p.Certificate, err = i.certificate(getenv)
	}
	return p, err
}

func (i instanceSettings) certificate(getenv func(string) string) (*signin.Certificate, error) {
	wrong := func(problem string) error {
		return &commands.Mistake{Problem: fmt.Sprintf("instance %q: certificate_file: %s", i.Name, problem)}
	}
	content, err := os.ReadFile(i.CertificateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, wrong("there is no file " + i.CertificateFile + "; README.md says how to make one")
	}
	if err != nil {
		return nil, wrong(err.Error())
	}
	password, err := secret(getenv, i.variable(certificateSecret))
	if err != nil {
		return nil, err
	}
	c, err := signin.ReadCertificate(content, password)
	switch {
	case err != nil && strings.Contains(err.Error(), "password"):
		return nil, wrong(fmt.Sprintf("%s: %v; the variable for it is %s", i.CertificateFile, err, i.variable(certificateSecret)))
	case err != nil:
		return nil, wrong(fmt.Sprintf("%s: %v; README.md says how to make one", i.CertificateFile, err))
	case !time.Now().Before(c.Expires()):
		return nil, wrong(fmt.Sprintf("the certificate in %s expired on %s: make a new one, as README.md describes, and register it in the Entra admin centre",
			i.CertificateFile, c.Expires().UTC().Format(time.DateOnly)))
	}
	return c, nil
}

// unusedSecrets says which secrets are set in vain: for another auth than the
// instance's, or for an instance that there is none of. Environ are the
// variables that there are, as [os.Environ] has them.
func (s settings) unusedSecrets(environ []string) (warnings []string) {
	byName, names := map[string]instanceSettings{}, []string{}
	for _, i := range s.Instances {
		byName[i.Name], names = i, append(names, i.Name)
	}
	for _, entry := range environ {
		variable, value, _ := strings.Cut(entry, "=")
		kind, name := secretOf(strings.TrimSuffix(variable, "_FILE"))
		i, exists := byName[name]
		switch near := commands.Nearest(name, names); {
		case value == "" || kind == "" || exists && secretKinds[kind] == i.Auth:
		case exists:
			warnings = append(warnings, fmt.Sprintf("%s is set and not used, since %s has auth: %s: unset it", variable, name, i.Auth))
		case near != "":
			warnings = append(warnings, fmt.Sprintf("%s is set and not used, since there is no instance %s: did you mean %s?", variable, name, byName[near].variable(kind)))
		default:
			warnings = append(warnings, fmt.Sprintf("%s is set and not used, since there is no instance %s: unset it", variable, name))
		}
	}
	return warnings
}

// secretOf is what kind of secret a variable is, and of which instance; the kind
// is "" for any other variable.
func secretOf(variable string) (kind, instance string) {
	for kind := range secretKinds {
		if name, ok := strings.CutPrefix(variable, "AUDITBOT_"+kind+"_"); ok {
			return kind, strings.ToLower(name)
		}
	}
	return "", ""
}

// didYouMean ends a sentence about something that is not among the known.
func didYouMean(typed string, known []string) string {
	if near := commands.Nearest(typed, known); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}
