package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"auditbot/auditlog/tenantsim"
	"auditbot/bot/engine"
)

// certifiedApp is an application with a certificate, and anotherApp one with a
// secret.
const certifiedApp = "3b8e6f20-9c14-4d7a-b5e2-60f1a7d94c83"

// newCertificate makes a certificate that ends then, and its PEM file.
func newCertificate(t *testing.T, ends time.Time) (c *x509.Certificate, file string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "auditbot"}, NotBefore: ends.AddDate(-1, 0, 0), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "bot.pem")
	content := slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c, file
}

// A world is what a proxy leads to: every host of Microsoft's, which are all the
// simulated tenant. Its certificate is nobody's.
type world struct {
	tenant *tenantsim.Server
	tls    *httptest.Server
	proxy  *httptest.Server

	mu      sync.Mutex
	signsIn string // who enters the codes
	asked   []question
}

// A question is what a host was asked.
type question struct {
	host, path string
	form       url.Values
	anchor     string
}

func newWorld(t *testing.T, tenant *tenantsim.Server) *world {
	w := &world{tenant: tenant}
	w.tls = httptest.NewUnstartedServer(w)
	w.tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.tls.StartTLS()
	w.proxy = httptest.NewServer(http.HandlerFunc(w.connect))
	t.Cleanup(w.proxy.Close)
	t.Cleanup(w.tls.Close)
	t.Cleanup(tenant.Close)
	return w
}

// connect is the proxy: whatever host is asked for, it leads to the world.
func (w *world) connect(rw http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(rw, "only CONNECT", http.StatusMethodNotAllowed)
		return
	}
	server, err := net.Dial("tcp", w.tls.Listener.Addr().String())
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, _, err := rw.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
	go io.Copy(server, client)
	io.Copy(client, server)
}

// ServeHTTP notes the question and lets the tenant answer. The tenant knows its
// services by their names in the global cloud, so the scope is put into its
// words: by the application id of Exchange Online, which is the same in all.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	q := question{host: r.Host, path: r.URL.Path, anchor: r.Header.Get("X-AnchorMailbox")}
	if strings.Contains(r.URL.Path, "/oauth2/") {
		q.form, _ = url.ParseQuery(string(body))
		form, _ := url.ParseQuery(string(body))
		if resource, rest, ok := strings.Cut(form.Get("scope"), "/.default"); ok && !strings.Contains(resource, "graph") {
			form.Set("scope", "00000002-0000-0ff1-ce00-000000000000/.default"+rest)
		}
		body = []byte(form.Encode())
	}
	w.mu.Lock()
	w.asked = append(w.asked, q)
	account := w.signsIn
	w.mu.Unlock()
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	w.tenant.ServeHTTP(rw, r)
	if codes := w.tenant.UserCodes(); strings.HasSuffix(r.URL.Path, "/devicecode") && len(codes) > 0 {
		w.tenant.Approve(codes[len(codes)-1], account)
	}
}

// expect makes somebody enter the next codes, and forgets what was asked.
func (w *world) expect(account string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.signsIn, w.asked = account, nil
}

// about are the questions to paths that end so.
func (w *world) about(path string) (found []question) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, q := range w.asked {
		if strings.HasSuffix(q.path, path) {
			found = append(found, q)
		}
	}
	return found
}

func (w *world) hosts() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, q := range w.asked {
		all = append(all, q.host)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// throughProxy is auditbot as a process of its own, whose way out is a proxy.
func throughProxy(t *testing.T, proxy, settings string, environ []string, args ...string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "auditbot")
	if err := os.Symlink(os.Args[0], binary); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "auditbot.yml"), []byte(settings), 0o666); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(binary, args...)
	c.Dir = dir
	c.Env = append(slices.Concat(os.Environ(), environ), "HTTPS_PROXY="+proxy, "https_proxy="+proxy, "NO_PROXY=", "no_proxy=", "AUDITBOT_KEY="+rightKey)
	return c
}

// A way is how an instance signs in, and what must be seen of it.
type way struct {
	name, settings string

	grant, client string
	proof         string // the field of the form that proves who asks
	who           string // whose token the service gets
	anchor        string
	key           string // what the token is kept under, behind the instance's name
}

func waysToSignIn(person, certificate string) []way {
	const device = "urn:ietf:params:oauth:grant-type:device_code"
	const mailbox = "APP:SystemMailbox{bb558c35-97f1-4cb9-8ff7-d53741dc928c}@5c0e1a9d-2f64-4b7e-8a31-0d9b6c47e2f5"
	return []way{
		{"each", fmt.Sprintf("accounts: {%q: ada@contoso.com}", person), device, microsofts, "device_code", "ada@contoso.com", "UPN:ada@contoso.com", "/" + person},
		{"one", "sign_in: instance, upn: grace@contoso.com", device, microsofts, "device_code", "grace@contoso.com", "UPN:grace@contoso.com", ""},
		{"password", "auth: password, upn: ada@contoso.com", "password", microsofts, "password", "ada@contoso.com", "UPN:ada@contoso.com", ""},
		{"secret", "auth: client_secret, client_id: " + anotherApp, "client_credentials", anotherApp, "client_secret", anotherApp, mailbox, ""},
		{"certificate", fmt.Sprintf("auth: certificate, client_id: %s, certificate_file: %q", certifiedApp, certificate), "client_credentials", certifiedApp, "client_assertion", certifiedApp, mailbox, ""},
	}
}

// Each way to sign in, in each cloud: which hosts are asked, for what, with what
// proof, as whom, and under which key the token is kept.
func TestEachCloudIsAskedAtItsOwnHosts(t *testing.T) {
	t.Parallel()
	certificate, file := newCertificate(t, time.Now().AddDate(1, 0, 0))
	for cloud, hosts := range map[string][2]string{
		"global":  {"login.microsoftonline.com", "outlook.office365.com"},
		"gcchigh": {"login.microsoftonline.us", "outlook.office365.us"},
		"dod":     {"login.microsoftonline.us", "outlook-dod.office365.us"},
		"china":   {"login.partner.microsoftonline.cn", "partner.outlook.cn"},
	} {
		t.Run(cloud, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, certifiedTenant(certificate))
			settings, ways := "instances:\n", waysToSignIn("local:"+localUser(), file)
			for _, way := range ways {
				settings += fmt.Sprintf("  - {name: %s, tenant: contoso.onmicrosoft.com, cloud: %s, insecure: true, %s}\n", way.name, cloud, way.settings)
			}
			c := throughProxy(t, w.proxy.URL, settings, secretsOfWays, "exec", "--json", "-")
			ask := converse(t, c)
			var keys []string
			for _, way := range ways {
				w.expect(way.who)
				checkAnswer(t, cloud, ask("!o365-auditlog-search start_date=01/01/21 end_date=01/02/21 result_size=1 using="+way.name))
				w.check(t, way, hosts[0], hosts[1])
				keys = append(keys, way.name+way.key)
			}
			ask("")
			slices.Sort(keys)
			if got := storedTokens(t, filepath.Join(c.Dir, "data")); !slices.Equal(got, keys) {
				t.Errorf("tokens are kept as %q, want %q", got, keys)
			}
		})
	}
}

// certifiedTenant is contoso with an application that has a certificate. It and
// the one with a secret may ask Graph as well.
func certifiedTenant(certificate *x509.Certificate) *tenantsim.Server {
	contoso := tenantsim.Contoso(time.Now())
	contoso.Apps = append(contoso.Apps, tenantsim.OwnApp(), tenantsim.App{
		ClientID: certifiedApp, Name: "auditbot", Certificates: []*x509.Certificate{certificate},
		AppRoles: []string{"Exchange.ManageAsApp"}, Roles: []string{tenantsim.RoleViewAuditLogs},
	})
	for i := range contoso.Apps {
		if app := &contoso.Apps[i]; len(app.AppRoles) > 0 {
			app.AppRoles = append(app.AppRoles, "AuditLogsQuery.Read.All")
		}
	}
	return &tenantsim.Server{Interval: time.Second, Tenant: contoso}
}

// Graph is signed in to in the same way as Exchange Online, for itself and with
// its own application.
func TestGraphHasASignInOfItsOwn(t *testing.T) {
	t.Parallel()
	certificate, file := newCertificate(t, time.Now().AddDate(1, 0, 0))
	w := newWorld(t, certifiedTenant(certificate))
	settings, ways := "instances:\n", waysToSignIn("local:"+localUser(), file)
	for _, way := range ways {
		app := way.client
		if app == microsofts {
			app = ownApp
		}
		settings += fmt.Sprintf("  - {name: %s, tenant: contoso.onmicrosoft.com, insecure: true, graph_client_id: %s, %s}\n", way.name, app, way.settings)
	}
	c := throughProxy(t, w.proxy.URL, settings, secretsOfWays, "exec", "--json", "-")
	ask := converse(t, c)
	var keys []string
	for _, way := range ways {
		w.expect(way.who)
		checkAnswer(t, "global", ask("!o365-auditlog-search backend=graph start_date=01/01/21 end_date=01/02/21 result_size=1 using="+way.name))
		if way.client == microsofts {
			way.client = ownApp
		}
		w.check(t, way, "login.microsoftonline.com", "graph.microsoft.com")
		keys = append(keys, way.name+"-graph"+way.key)
	}
	ask("")
	slices.Sort(keys)
	if got := storedTokens(t, filepath.Join(c.Dir, "data")); !slices.Equal(got, keys) {
		t.Errorf("tokens are kept as %q, want %q", got, keys)
	}
}

// secretsOfWays are the variables that waysToSignIn need.
var secretsOfWays = []string{"AUDITBOT_PASSWORD_PASSWORD=" + tenantsim.ContosoPassword, "AUDITBOT_CLIENT_SECRET_SECRET=" + tenantsim.ContosoAppSecret}

// check looks whether the last search was asked at these hosts and in this way.
func (w *world) check(t *testing.T, way way, login, service string) {
	t.Helper()
	want := []string{login, service}
	if slices.Sort(want); !slices.Equal(w.hosts(), want) {
		t.Errorf("%s: the hosts %q were asked, want %q", way.name, w.hosts(), want)
	}
	scope := "https://" + service + "/.default"
	tokens := w.about("/token")
	if len(tokens) != 1 {
		t.Fatalf("%s: tokens were asked for %d times", way.name, len(tokens))
	}
	form := tokens[0].form
	if form.Get("grant_type") != way.grant || form.Get("client_id") != way.client || form.Get(way.proof) == "" {
		t.Errorf("%s: the token was asked for with %v", way.name, form)
	}
	for _, proof := range []string{"password", "client_secret", "client_assertion", "device_code"} {
		if proof != way.proof && form.Has(proof) {
			t.Errorf("%s: %s was sent", way.name, proof)
		}
	}
	switch way.proof {
	case "device_code":
		form = w.about("/devicecode")[0].form
		fallthrough
	case "password":
		scope += " offline_access openid profile"
	}
	if form.Get("scope") != scope {
		t.Errorf("%s: asked for %q, want %q", way.name, form.Get("scope"), scope)
	}
	for _, q := range w.about("/InvokeCommand") {
		if q.anchor != way.anchor || q.host != service {
			t.Errorf("%s: the mailbox %q is named at %s, want %q", way.name, q.anchor, q.host, way.anchor)
		}
	}
	requests := w.tenant.Requests()
	if last := requests[len(requests)-1]; last.Account != way.who {
		t.Errorf("%s: %s was asked last, as %q, want it as %q", way.name, last.Name, last.Account, way.who)
	}
}

// checkAnswer looks whether there is one, and whether it is in doubt where
// nothing can be found.
func checkAnswer(t *testing.T, cloud, line string) {
	t.Helper()
	var o outcome
	if err := json.Unmarshal([]byte(line), &o); err != nil || o.Status != "answered" || !strings.Contains(string(o.Context), "UserLoginFailed") {
		t.Fatalf("%s: %.500s (%v)", cloud, line, err)
	}
	doubted := strings.Contains(o.Verdict.String(), "in China, where, Microsoft says, this search returns nothing")
	if doubted != (cloud == "china") || doubted && o.Verdict.Status() != "unknown" {
		t.Errorf("%s: the verdict is %v", cloud, o.Verdict)
	}
}

// converse starts auditbot exec and returns a function that gives it a line and
// waits for its answer; "" ends it.
func converse(t *testing.T, c *exec.Cmd) (ask func(string) string) {
	t.Helper()
	var errors bytes.Buffer
	c.Stderr = &errors
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill() })
	lines := bufio.NewReader(out)
	return func(line string) string {
		t.Helper()
		if line == "" {
			in.Close()
			if err := c.Wait(); err != nil {
				t.Errorf("%v\n%s", err, errors.String())
			}
			return ""
		}
		if _, err := io.WriteString(in, line+"\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := lines.ReadString('\n')
		if err != nil {
			c.Wait()
			t.Fatalf("no answer to %s: %v\n%s", line, err, errors.String())
		}
		return answer
	}
}

// storedTokens are the keys of the tokens in a data folder.
func storedTokens(t *testing.T, dir string) []string {
	t.Helper()
	key, err := decodeKey("AUDITBOT_KEY", rightKey)
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(t.Context(), engine.Config{Dir: dir, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	keys, err := e.Bucket(engine.Tokens).Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

// gate is a proxy that lets nothing out, and notes who was to be reached.
func gate(t *testing.T) (address string, wanted func() []string) {
	var mu sync.Mutex
	var all []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, r.Method+" "+r.Host)
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func TestSlackIsReachedThroughTheProxyInItsCloud(t *testing.T) {
	t.Parallel()
	for address, host := range map[string]string{"https://slack-gov.com/api/": "slack-gov.com", "https://slack.com/api/": "slack.com"} {
		proxy, wanted := gate(t)
		settings := "slack: {api_url: " + address + "}\naccess: {everyone: true}\ninstances: [{name: contoso, tenant: contoso.onmicrosoft.com}]\n"
		c := throughProxy(t, proxy, settings, []string{"SLACK_BOT_TOKEN=xoxb-1", "SLACK_APP_TOKEN=xapp-1"}, "run")
		said, err := c.CombinedOutput()
		if err == nil || !strings.Contains(string(said), "asking Slack who we are") {
			t.Errorf("%s: %v\n%s", address, err, said)
		}
		if got := slices.Compact(wanted()); !slices.Equal(got, []string{"CONNECT " + host + ":443"}) {
			t.Errorf("%s: the proxy was asked %q", address, got)
		}
	}
}
