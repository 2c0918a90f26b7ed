package tenantsim_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"auditbot/auditlog/tenantsim"
)

// newCode asks for a device code.
func newCode(t *testing.T, s *tenantsim.Server) answer {
	t.Helper()
	return post(t, s.URL+"/contoso.com/oauth2/v2.0/devicecode", "client_id", exoClient, "scope", exchangeScope)
}

func redeem(t *testing.T, s *tenantsim.Server, code answer) answer {
	t.Helper()
	return post(t, s.URL+"/contoso.com/oauth2/v2.0/token", "grant_type", deviceGrant, "client_id", exoClient, "device_code", code.text("device_code"))
}

func TestThePageSignsInWithWhatWasTyped(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	code := newCode(t, s)
	if page := get(t, s.URL+"/devicelogin"); !strings.Contains(string(page.body), "<title>Enter code (simulated)</title>") {
		t.Errorf("the first page: %s", page.body)
	}
	typed := " " + strings.ToLower(code.text("user_code")[:4]) + "-" + code.text("user_code")[4:]
	page := post(t, s.URL+"/devicelogin", "code", typed)
	for _, want := range []string{"Microsoft Exchange REST API Based Powershell", "https://outlook.office365.com", `value="ada@contoso.com" checked`, "may not search the audit log"} {
		if !strings.Contains(string(page.body), want) {
			t.Errorf("the second page lacks %q: %s", want, page.body)
		}
	}
	done := post(t, s.URL+"/devicelogin/decide", "code", typed, "account", "grace@contoso.com", "decision", "approve")
	if !strings.Contains(string(done.body), "You have signed in") {
		t.Errorf("the last page: %s", done.body)
	}
	if claims := verify(t, s, redeem(t, s, code).text("access_token")); claims["upn"] != "grace@contoso.com" {
		t.Errorf("signed in as %v", claims["upn"])
	}
}

func TestWhatThePageDecides(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	for _, test := range []struct {
		decision, account, other string
		status                   int
		page, error              string
	}{
		{"deny", "ada@contoso.com", "", 200, "was not signed in", "authorization_declined"},
		{"expire", "ada@contoso.com", "", 200, "no longer valid", "expired_token"},
		{"approve", "", " grace@contoso.com ", 200, "You have signed in", ""},
		{"approve", "", "nobody@contoso.com", 400, "AADSTS50034", "authorization_pending"},
		{"approve", "trudy@contoso.com", "", 200, "AADSTS53003", "invalid_grant"},
		{"approve", "eve@fabrikam.com", "", 200, "AADSTS50020", "invalid_grant"},
		{"", "ada@contoso.com", "", 400, "Choose what to do", "authorization_pending"},
	} {
		t.Run(test.decision+" "+test.account+test.other, func(t *testing.T) {
			code := newCode(t, s)
			page := post(t, s.URL+"/devicelogin/decide", "code", code.text("user_code"), "account", test.account, "other", test.other, "decision", test.decision)
			if page.StatusCode != test.status || !strings.Contains(string(page.body), test.page) {
				t.Errorf("%d: %s", page.StatusCode, page.body)
			}
			if a := redeem(t, s, code); a.text("error") != test.error {
				t.Errorf("the device is told %q, want %q", a.text("error"), test.error)
			}
		})
	}
}

func TestAWrongCodeIsShownAsText(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	const hostile = `"><script>alert(1)</script>`
	for _, page := range []answer{
		post(t, s.URL+"/devicelogin", "code", hostile),
		post(t, s.URL+"/devicelogin/decide", "code", hostile, "decision", "approve"),
	} {
		if page.StatusCode != 400 || strings.Contains(string(page.body), "<script>") || !strings.Contains(string(page.body), "No sign-in waits") {
			t.Errorf("%d: %s", page.StatusCode, page.body)
		}
	}
}

func TestNamesInTheTenantAreShownAsText(t *testing.T) {
	t.Parallel()
	s := tenantsim.NewServer(tenantsim.Tenant{
		Records:  load(t),
		Name:     "<b>Contoso</b>",
		Apps:     []tenantsim.App{{ClientID: "c1", Name: "<img src=x>", Consent: []string{"Exchange.Manage"}}},
		Accounts: []tenantsim.Account{{UPN: `o'brien"@contoso.com`, Name: "<i>Pat</i>"}},
	})
	defer s.Close()
	code := post(t, s.URL+"/contoso.com/oauth2/v2.0/devicecode", "client_id", "c1", "scope", exchangeScope)
	page := string(post(t, s.URL+"/devicelogin", "code", code.text("user_code")).body)
	for _, tag := range []string{"<b>Contoso", "<img", "<i>Pat", `brien"@`} {
		if strings.Contains(page, tag) {
			t.Errorf("the page has %q in it: %s", tag, page)
		}
	}
}

func TestThePageTakesFormsFromItselfOnly(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	code := newCode(t, s)
	form := url.Values{"code": {code.text("user_code")}, "account": {"ada@contoso.com"}, "decision": {"approve"}}.Encode()
	send := func(change func(*http.Request)) answer {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/devicelogin/decide", strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		change(r)
		return do(t, http.DefaultClient, r)
	}
	for name, test := range map[string]struct {
		status int
		change func(*http.Request)
	}{
		"another origin":           {403, func(r *http.Request) { r.Header.Set("Origin", "https://attacker.example") }},
		"another site":             {403, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }},
		"a name that points here":  {421, func(r *http.Request) { r.Host = "attacker.example" }},
		"another machine's number": {421, func(r *http.Request) { r.Host = "203.0.113.9:80" }},
	} {
		if a := send(test.change); a.StatusCode != test.status {
			t.Errorf("%s: %d, want %d", name, a.StatusCode, test.status)
		}
	}
	if a := redeem(t, s, code); a.text("error") != "authorization_pending" {
		t.Errorf("after these, the device is told %s", a.body)
	}
	if a := send(func(r *http.Request) { r.Header.Set("Origin", s.URL) }); a.StatusCode != 200 {
		t.Errorf("from itself: %d", a.StatusCode)
	}
}

func TestThePageRunsNoScriptAndLoadsItsStyle(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	page := get(t, s.URL+"/devicelogin?otc=ABC")
	if policy := page.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'self'") || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("Content-Security-Policy: %q", policy)
	}
	if !strings.Contains(string(page.body), `value="ABC"`) || !strings.Contains(string(page.body), `name="viewport"`) {
		t.Errorf("%s", page.body)
	}
	style := get(t, s.URL+"/devicelogin/style.css")
	if style.Header.Get("Content-Type") != "text/css; charset=utf-8" || !strings.Contains(string(style.body), "prefers-color-scheme: dark") {
		t.Errorf("%s: %s", style.Header.Get("Content-Type"), style.body)
	}
}
