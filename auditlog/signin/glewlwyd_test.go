package signin_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
)

// These tests ask an OpenID provider that is none of ours: Debian's glewlwyd,
// which has the device grant of RFC 8628, rotates refresh tokens, and ends a
// sign-in whose refresh token comes twice. Each starts one, since intervals and
// lifetimes are the provider's. They take seconds of real time.

// A provider is a glewlwyd on this machine, behind a proxy that gives it Entra
// ID's addresses and changes nothing else: what it signs is what is checked.
type provider struct {
	t     *testing.T
	api   string // glewlwyd's own address
	proxy string // for LoginURL
	admin *http.Client

	answered chan string // an answer of the token endpoint each: "400 slow_down", "400 (empty)"
}

// startProvider starts one whose device codes have this lifetime and interval,
// in seconds.
func startProvider(t *testing.T, lifetime, interval int) *provider {
	t.Helper()
	t.Parallel()
	const script = "/usr/share/doc/glewlwyd/database/init.sqlite3.sql.gz"
	_, err := exec.LookPath("glewlwyd")
	_, err2 := exec.LookPath("sqlite3")
	_, err3 := os.Stat(script)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Skipf("Debian's glewlwyd is not installed (apt-get install --no-install-recommends glewlwyd dbconfig-sqlite3): %v", err)
	}
	p := &provider{t: t, answered: make(chan string, 1000)}
	db := p.database(script)
	for range 5 { // whoever else may take the port that was free
		if p.launch(db, freePort(t)) {
			p.front()
			p.admin = p.browser("admin", "password")
			p.configure(lifetime, interval)
			return p
		}
	}
	t.Fatal("glewlwyd does not start")
	return nil
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// database makes what glewlwyd starts with.
func (p *provider) database(script string) string {
	p.t.Helper()
	packed, err := os.Open(script)
	if err != nil {
		p.t.Fatal(err)
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		p.t.Fatal(err)
	}
	path := filepath.Join(p.t.TempDir(), "db")
	create := exec.CommandContext(p.t.Context(), "sqlite3", path)
	create.Stdin = io.MultiReader(strings.NewReader("PRAGMA synchronous=OFF;"), unpacked)
	if out, err := create.CombinedOutput(); err != nil {
		p.t.Fatalf("%v: %s", err, out)
	}
	return path
}

// settings are glewlwyd's. Without the three files it insists on TLS.
const settings = `port=%d
bind_address="127.0.0.1"
external_url="http://127.0.0.1:%[1]d"
login_url="login.html"
api_prefix="api"
log_mode="console"
log_level="INFO"
cookie_secure=0
session_key="GLEWLWYD2_SESSION_ID"
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="/usr/lib/glewlwyd/user"
client_module_path="/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
plugin_module_path="/usr/lib/glewlwyd/plugin"
use_secure_connection=false
secure_connection_key_file="/none"
secure_connection_pem_file="/none"
secure_connection_ca_file="/none"
hash_algorithm="SHA512"
database = { type = "sqlite3"; path = %[2]q; };
`

// launch starts glewlwyd and waits until it listens. It is false if it ends
// instead.
func (p *provider) launch(db string, port int) bool {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "glewlwyd.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, settings, port, db), 0o600); err != nil {
		p.t.Fatal(err)
	}
	daemon := exec.CommandContext(p.t.Context(), "glewlwyd", "--config-file="+file)
	daemon.Cancel = func() error { return daemon.Process.Signal(os.Interrupt) }
	daemon.WaitDelay = 5 * time.Second
	out, in := io.Pipe()
	daemon.Stdout, daemon.Stderr = in, in
	if err := daemon.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = daemon.Wait() // it is interrupted at the end
		in.Close()
	}()
	p.t.Cleanup(func() { <-ended })
	p.api = fmt.Sprintf("http://127.0.0.1:%d/api", port)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "Glewlwyd started on port") {
			go io.Copy(io.Discard, out)
			return p.listens(ended)
		}
	}
	return false
}

// listens waits for the moment between what glewlwyd says and what it does. It
// is false if glewlwyd ends before that.
func (p *provider) listens(ended <-chan struct{}) bool {
	for {
		c, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(p.api, "http://"), "/api"))
		if err == nil {
			c.Close()
			return true
		}
		select {
		case <-ended:
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// front starts the proxy. The discovery document names its addresses.
func (p *provider) front() {
	target, _ := url.Parse(p.api)
	paths := map[string]string{
		"/v2.0/.well-known/openid-configuration": "/oidc/.well-known/openid-configuration",
		"/oauth2/v2.0/devicecode":                "/oidc/device_authorization",
		"/oauth2/v2.0/token":                     "/oidc/token",
		"/discovery/v2.0/keys":                   "/oidc/jwks",
	}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Path = paths[strings.TrimPrefix(r.In.URL.Path, "/"+tenantID)]
			r.SetURL(target)
			r.Out.Header.Set("Accept-Encoding", "identity")
		},
		ModifyResponse: func(resp *http.Response) error {
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			switch path := resp.Request.URL.Path; {
			case strings.HasSuffix(path, "/openid-configuration"):
				body = p.renamed(body)
			case strings.HasSuffix(path, "/token"):
				var answer struct{ Error string }
				if json.Unmarshal(body, &answer); len(body) == 0 {
					answer.Error = "(empty)"
				}
				p.answered <- strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, answer.Error))
			}
			resp.Body = io.NopCloser(bytes.NewReader(body))
			resp.ContentLength = int64(len(body))
			resp.Header.Set("Content-Length", fmt.Sprint(len(body)))
			return nil
		},
	})
	p.t.Cleanup(server.Close)
	p.proxy = server.URL
}

// renamed is the discovery document with the proxy's addresses; the issuer is
// configured.
func (p *provider) renamed(document []byte) []byte {
	var d map[string]any
	_ = json.Unmarshal(document, &d)
	at := p.proxy + "/" + tenantID
	d["jwks_uri"], d["token_endpoint"], d["device_authorization_endpoint"] = at+"/discovery/v2.0/keys", at+"/oauth2/v2.0/token", at+"/oauth2/v2.0/devicecode"
	document, _ = json.Marshal(d)
	return document
}

// browser is one in which somebody has signed in.
func (p *provider) browser(name, password string) *http.Client {
	p.t.Helper()
	jar, _ := cookiejar.New(nil)
	c := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	p.send(c, "POST", "/auth/", map[string]any{"username": name, "password": password})
	return c
}

func (p *provider) send(c *http.Client, method, path string, body any) {
	p.t.Helper()
	data, _ := json.Marshal(body)
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.api+path, bytes.NewReader(data))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		p.t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, text)
	}
}

// configure makes the tenant: ada of contoso, eve of another tenant, and the
// application.
func (p *provider) configure(lifetime, interval int) {
	p.t.Helper()
	property := map[string]bool{"multiple": false, "read": true, "write": true, "profile-read": true, "profile-write": false}
	p.send(p.admin, "PUT", "/mod/user/database", map[string]any{
		"module": "database", "name": "database", "display_name": "Users", "order_rank": 0, "readonly": false,
		"parameters": map[string]any{"use-glewlwyd-connection": true, "data-format": map[string]any{"tid": property, "upn": property}},
	})
	p.send(p.admin, "PUT", "/mod/user/database/reset", nil)
	scopes := []string{exchange + "/.default", "offline_access", "profile"}
	for _, scope := range scopes {
		p.send(p.admin, "POST", "/scope/", map[string]any{"name": scope, "display_name": scope, "description": scope, "password_required": false, "scheme": map[string]any{}})
	}
	scopes = append(scopes, "openid") // which is there
	p.send(p.admin, "POST", "/mod/plugin/", map[string]any{
		"module": "oidc", "name": "oidc", "display_name": "OpenID Connect", "enabled": true, "order_rank": 0, "readonly": false,
		"parameters": p.openID(lifetime, interval),
	})
	p.send(p.admin, "POST", "/client/", map[string]any{
		"client_id": clientID, "name": "auditbot", "confidential": false, "enabled": true, "scope": []string{}, "authorization_type": []string{"device_authorization", "refresh_token"},
	})
	for upn, tenant := range map[string]string{ada: tenantID, "eve@contoso.com": "b7a1c6f3-90d2-4e1b-9c55-e43a7f0d8821"} {
		p.send(p.admin, "POST", "/user/", map[string]any{"username": upn[:3], "name": upn, "password": "correct horse", "enabled": true, "scope": scopes, "tid": tenant, "upn": upn})
	}
}

// openID are the parameters of its OpenID Connect module.
func (p *provider) openID(lifetime, interval int) map[string]any {
	key := rsaPair().key.(*rsa.PrivateKey)
	public, _ := x509.MarshalPKIXPublicKey(&key.PublicKey)
	claim := func(name, property string) map[string]any {
		return map[string]any{"name": name, "user-property": property, "type": "string", "mandatory": true, "on-demand": false, "scope": []string{}}
	}
	return map[string]any{
		"iss": p.proxy + "/" + tenantID + "/v2.0", "jwt-type": "rsa", "jwt-key-size": "256", // RS256
		"key":  string(pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))),
		"cert": string(pemBlock("PUBLIC KEY", public)), "jwks-show": true,
		"access-token-duration": 3600, "refresh-token-duration": 1209600, "code-duration": 600,
		"refresh-token-rolling": true, "refresh-token-one-use": "always", "allow-non-oidc": true, "subject-type": "pairwise",
		"auth-type-device-enabled": true, "auth-type-refresh-enabled": true, "auth-type-id-token-enabled": true,
		"auth-type-code-enabled": false, "auth-type-token-enabled": false, "auth-type-implicit-enabled": false,
		"auth-type-password-enabled": false, "auth-type-client-enabled": false,
		"device-authorization-expiration": lifetime, "device-authorization-interval": interval,
		"claims": []any{claim("tid", "tid"), claim("preferred_username", "upn")},
	}
}

// approve is what a person does in the browser.
func (p *provider) approve(name string, code *signin.Code) {
	p.t.Helper()
	c := p.browser(name, "correct horse")
	p.send(c, "PUT", "/auth/grant/"+clientID, map[string]any{"scope": exchange + "/.default offline_access openid profile"})
	resp, err := c.Get(p.api + "/oidc/device?g_continue&code=" + url.QueryEscape(string(code.UserCode)))
	if err != nil {
		p.t.Fatal(err)
	}
	resp.Body.Close()
	if to := resp.Header.Get("Location"); resp.StatusCode != http.StatusFound || !strings.Contains(to, "prompt=deviceComplete") {
		p.t.Fatalf("approving: %d, to %s", resp.StatusCode, to)
	}
}

// account is Ada's, with a shelf of its own.
func (p *provider) account() (*signin.Account, *shelf) {
	s := &shelf{}
	e := &signin.Entra{LoginURL: p.proxy, Tenant: tenantID, ClientID: clientID, Resource: exchange}
	return &signin.Account{Entra: e, Store: s.store(), Key: "contoso/U1", Expect: ada}, s
}

// answers are those of the token endpoint since it was asked last.
func (p *provider) answers() []string {
	var all []string
	for len(p.answered) > 0 {
		all = append(all, <-p.answered)
	}
	return all
}

// until waits for an answer of the token endpoint and returns all up to it.
func (p *provider) until(answer string) []string {
	p.t.Helper()
	for seen := []string{}; ; {
		select {
		case a := <-p.answered:
			if seen = append(seen, a); a == answer {
				return seen
			}
		case <-time.After(30 * time.Second):
			p.t.Fatalf("no %s after %q", answer, seen)
		}
	}
}

// signIn waits for Ada's sign-in, which she approves once the token endpoint
// has given an answer, and returns all answers, of those that follow each other
// and are the same only one.
func (p *provider) signIn(a *signin.Account, code *signin.Code, after string) []string {
	p.t.Helper()
	done := make(chan error, 1)
	go func() {
		upn, err := a.Wait(p.t.Context(), code)
		if err == nil && upn != ada {
			err = fmt.Errorf("%s signed in", upn)
		}
		done <- err
	}()
	seen := p.until(after)
	p.approve("ada", code)
	if err := <-done; err != nil {
		p.t.Fatalf("waiting: %v", err)
	}
	return slices.Compact(append(seen, p.answers()...))
}

func TestGlewlwydApprovesRotatesAndNoticesReuse(t *testing.T) {
	p := startProvider(t, 60, 1)
	a, shelf := p.account()
	code := start(t, a)
	if code.Interval != time.Second || time.Until(code.Expires) > time.Minute || !strings.HasPrefix(code.URL, "http://127.0.0.1:") {
		t.Errorf("interval %v, expires in %v, at %s", code.Interval, time.Until(code.Expires), code.URL)
	}
	if got := p.signIn(a, code, "400 authorization_pending"); !slices.Equal(got, []string{"400 authorization_pending", "200"}) {
		t.Errorf("answers %q", got)
	}

	first := shelf.field("refresh")
	other := &signin.Account{Entra: &signin.Entra{LoginURL: p.proxy, Tenant: tenantID, ClientID: clientID, Resource: exchange}, Store: a.Store, Key: a.Key, Expect: ada}
	const rounds = 20
	used := map[string]bool{}
	for range rounds {
		used[shelf.field("refresh")] = true
		rejected := auditlog.Secret(shelf.field("access"))
		var both sync.WaitGroup
		for _, account := range []*signin.Account{a, other} { // two processes
			both.Go(func() {
				if token, err := account.Token(t.Context(), rejected); err != nil || token.Access == rejected {
					t.Errorf("refreshing: %v", err)
				}
			})
		}
		both.Wait()
	}
	if got := p.answers(); len(used) != rounds || len(got) != rounds || strings.Join(got, "") != strings.Repeat("200", rounds) {
		t.Errorf("%d refresh tokens in %d rounds; answers %q", len(used), rounds, got)
	}

	last := shelf.field("refresh")
	shelf.change(map[string]any{"refresh": first})
	_, err := a.Token(t.Context(), auditlog.Secret(shelf.field("access")))
	r := refused(t, err)
	says(t, r.Problem, "the sign-in service refused the stored sign-in without saying why (400)")
	says(t, r.Advice, "!o365-auditlog-auth-reset")
	hides(t, "the error", err, first, last, shelf.field("access"))
	if got := p.answers(); shelf.empty() || len(got) != 4 || strings.Join(got, "") != strings.Repeat("400 (empty)", 4) {
		t.Errorf("stored %v; answers %q", !shelf.empty(), got)
	}

	unused := url.Values{"grant_type": {"refresh_token"}, "client_id": {clientID}, "refresh_token": {last}}
	resp, err := http.PostForm(p.proxy+"/"+tenantID+"/oauth2/v2.0/token", unused)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := p.answers(); !slices.Equal(got, []string{"400 (empty)"}) {
		t.Errorf("the sign-in has not ended: %q", got)
	}
	if err := a.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	code = start(t, a)
	p.approve("ada", code)
	if upn, err := a.Wait(t.Context(), code); err != nil || upn != ada {
		t.Errorf("after what is advised: %q, %v", upn, err)
	}
}

// A process that stops while it waits, and one that cannot store what it was
// given at once, lose nothing.
func TestGlewlwydsCodesAndTokensSurviveUs(t *testing.T) {
	p := startProvider(t, 60, 1)
	a, shelf := p.account()
	code := start(t, a)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := a.Wait(ctx, code)
		done <- err
	}()
	p.until("400 authorization_pending")
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) || !shelf.empty() {
		t.Fatalf("stopped: %v", err)
	}
	p.approve("ada", code)
	opened, err := signin.OpenCode(code.Seal())
	if err != nil {
		t.Fatal(err)
	}
	if upn, err := a.Wait(t.Context(), opened); err != nil || upn != ada {
		t.Fatalf("going on: %q, %v", upn, err)
	}

	for _, failing := range []int{2, 3, 0} { // of the changes the first is the claim, the second what was given
		changes := 0
		shelf.fail = func(doing string) error {
			if doing == "put" {
				changes++
			}
			if doing == "put" && changes > 1 && changes <= failing {
				return errors.New("no leader")
			}
			return nil
		}
		rejected := auditlog.Secret(shelf.field("access"))
		if token, err := a.Token(t.Context(), rejected); err != nil || token.Access == rejected || changes != max(failing, 1)+1 {
			t.Errorf("%d changes, %d failing: %v", changes, failing, err)
		}
	}
}

func TestGlewlwydIsPolledMoreSlowlyWhenItAsks(t *testing.T) {
	p := startProvider(t, 60, 3)
	a, _ := p.account()
	code := start(t, a)
	code.Interval = time.Second // so that the second poll comes too soon
	if got := p.signIn(a, code, "400 slow_down"); !slices.Equal(got, []string{"400 authorization_pending", "400 slow_down", "200"}) {
		t.Errorf("answers %q", got)
	}
}

func TestGlewlwydsCodesExpire(t *testing.T) {
	p := startProvider(t, 5, 1)
	var both sync.WaitGroup
	for name, lead := range map[string]time.Duration{"by our clock": 0, "by its clock": time.Minute} { // ours is behind then
		a, shelf := p.account()
		code := start(t, a)
		code.Expires = code.Expires.Add(lead)
		both.Go(func() {
			_, err := a.Wait(t.Context(), code)
			if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || !strings.HasPrefix(r.Problem, "the code has expired: nobody signed in with it in time") || !shelf.empty() {
				t.Errorf("%s: %v; stored %v", name, err, !shelf.empty())
			}
		})
	}
	both.Wait()
	got := p.answers()
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, []string{"400 authorization_pending", "400 expired_token"}) {
		t.Errorf("answers %q", got)
	}
}

func TestWhoGlewlwydNamesMustBeWhoIsExpected(t *testing.T) {
	p := startProvider(t, 60, 1)
	var both sync.WaitGroup
	for name, c := range map[string]struct{ expect, problem string }{
		"eve": {"eve@contoso.com", "somebody of another tenant (b7a1c6f3-90d2-4e1b-9c55-e43a7f0d8821) signed in"},
		"ada": {"grace@contoso.com", "ada@contoso.com signed in, but grace@contoso.com was expected"},
	} {
		a, shelf := p.account()
		a.Expect = c.expect
		code := start(t, a)
		p.approve(name, code)
		both.Go(func() {
			_, err := a.Wait(t.Context(), code)
			if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || !strings.Contains(r.Problem, c.problem) || !shelf.empty() {
				t.Errorf("%s: %v; stored %v", name, err, !shelf.empty())
			}
		})
	}
	both.Wait()
}
