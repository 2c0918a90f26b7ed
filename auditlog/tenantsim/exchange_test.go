package tenantsim_test

import (
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog/tenantsim"
)

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// as asks as the account with this UPN.
func as(s *tenantsim.Server, upn string) func(*http.Request) {
	return func(r *http.Request) {
		bearer(s.Token(upn))(r)
		r.Header.Set("X-AnchorMailbox", "UPN:"+upn)
	}
}

func TestATokenThatIsNotGoodEnoughIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	good := verify(t, s, s.Token("ada@contoso.com"))
	with := func(claim string, value any) string {
		claims := map[string]any{}
		maps.Copy(claims, good)
		claims[claim] = value
		return s.Sign(claims)
	}
	forged := s.Token("ada@contoso.com")
	forged = forged[:len(forged)-4] + "AAAA"
	for _, test := range []struct {
		name, token string
		status      int
		reason      string
	}{
		{"as it is", s.Token("ada@contoso.com"), 200, ""},
		{"expired", with("exp", time.Now().Add(-time.Second).Unix()), 401, "expired"},
		{"for Graph", with("aud", "https://graph.microsoft.com"), 401, "audience"},
		{"for its application id", with("aud", "00000002-0000-0ff1-ce00-000000000000"), 200, ""},
		{"of another tenant", with("tid", "b7a1c6f3-90d2-4e1b-9c55-e43a7f0d8821"), 401, "tenant"},
		{"of nobody", with("upn", "nobody@contoso.com"), 401, "does not exist"},
		{"with a forged signature", forged, 401, "signature"},
		{"no token at all", "x", 401, "cannot be read"},
		{"for the admin API's version 2", with("scp", "Exchange.ManageV2"), 403, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := invoke(t, s, "Get-AdminAuditLogConfig", params{}, bearer(test.token))
			if a.StatusCode != test.status || !strings.Contains(a.Header.Get("X-Ms-Diagnostics"), test.reason) {
				t.Errorf("%d %q, want %d %q", a.StatusCode, a.Header.Get("X-Ms-Diagnostics"), test.status, test.reason)
			}
			if a.StatusCode >= 400 && len(a.body) != 0 {
				t.Errorf("the body is %q, want none", a.body)
			}
			if a.StatusCode == 401 && !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("WWW-Authenticate: %q", a.Header.Get("WWW-Authenticate"))
			}
		})
	}
	a := invoke(t, s, "Get-AdminAuditLogConfig", params{}, func(r *http.Request) { r.Header.Del("Authorization") })
	if a.StatusCode != 401 {
		t.Errorf("without a token: %d", a.StatusCode)
	}
}

func TestADelegatedCallerNamesAMailbox(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	for anchor, status := range map[string]int{
		"":                       400,
		"UPN:ada@contoso.com":    200,
		"ada@contoso.com":        200,
		"UPN:nobody@contoso.com": 400,
		"APP:SystemMailbox{bb558c35-97f1-4cb9-8ff7-d53741dc928c}@contoso.onmicrosoft.com": 200,
		"APP:SystemMailbox{bb558c35-97f1-4cb9-8ff7-d53741dc928c}@fabrikam.com":            400,
	} {
		a := invoke(t, s, "Get-AdminAuditLogConfig", params{}, func(r *http.Request) { r.Header.Set("X-AnchorMailbox", anchor) })
		if a.StatusCode != status {
			t.Errorf("X-AnchorMailbox %q: %d, want %d", anchor, a.StatusCode, status)
		}
	}
}

func TestWhoMayNotRunACmdletGetsNULsThatAreSaidToBeGzip(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	raw := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	for name, r := range map[string]*http.Request{
		"without the role":  invocation(t, s, "Search-UnifiedAuditLog", params{}, as(s, "mallory@contoso.com")),
		"an unknown cmdlet": invocation(t, s, "Get-Nonsense", params{}, nil),
	} {
		a := do(t, raw, r)
		if a.StatusCode != 403 || a.Header.Get("Content-Encoding") != "gzip" || !bytes.Equal(a.body, make([]byte, 4096)) || a.Header.Get("X-Ms-Diagnostics") != "" {
			t.Errorf("%s: %d, %s, %q", name, a.StatusCode, a.Header.Get("Content-Encoding"), a.body)
		}
	}
}

func TestARoleCountsFromTheNextRequestOn(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	s.Change("mallory@contoso.com", func(a *tenantsim.Account) { a.Roles = []string{tenantsim.RoleViewAuditLogs} })
	if a := invoke(t, s, "Get-AdminAuditLogConfig", params{}, as(s, "mallory@contoso.com")); a.StatusCode != 200 {
		t.Errorf("with the role: %d", a.StatusCode)
	}
}

func TestTheLadderOfAnApplication(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		appRoles, roles []string
		status          int
	}{
		{nil, nil, 401},
		{[]string{"Exchange.ManageAsAppV2"}, []string{tenantsim.RoleAuditLogs}, 401},
		{[]string{"Exchange.ManageAsApp"}, nil, 403},
		{[]string{"Exchange.ManageAsApp"}, []string{tenantsim.RoleAuditLogs}, 200},
	} {
		s := tenantsim.NewServer(tenantsim.Tenant{
			Records: load(t),
			Apps:    []tenantsim.App{{ClientID: "c1", Secret: "s", AppRoles: test.appRoles, Roles: test.roles}},
		})
		token := post(t, s.URL+"/contoso.com/oauth2/v2.0/token", "grant_type", "client_credentials", "client_id", "c1", "client_secret", "s", "scope", exchangeScope).text("access_token")
		raw := &http.Client{Transport: &http.Transport{DisableCompression: true}}
		a := do(t, raw, invocation(t, s, "Get-AdminAuditLogConfig", params{}, func(r *http.Request) {
			bearer(token)(r)
			r.Header.Del("X-AnchorMailbox") // applications need none
		}))
		if a.StatusCode != test.status {
			t.Errorf("app roles %v, roles %v: %d, want %d", test.appRoles, test.roles, a.StatusCode, test.status)
		}
		s.Close()
	}
}

func TestOnlyBetaAnswersInvokeCommand(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	a := invoke(t, s, "Get-AdminAuditLogConfig", params{}, func(r *http.Request) { r.URL.Path = "/adminapi/v1.0/contoso.com/InvokeCommand" })
	if a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("v1.0: %d", a.StatusCode)
	}
	if a := get(t, s.URL+"/adminapi/beta/contoso.com/InvokeCommand"); a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", a.StatusCode)
	}
	if a := invoke(t, s, "Get-AdminAuditLogConfig", params{}, func(r *http.Request) { r.URL.Path = "/adminapi/beta/fabrikam.com/InvokeCommand" }); a.StatusCode != 401 {
		t.Errorf("another tenant: %d", a.StatusCode)
	}
}

func TestABodyThatIsNoCommandIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	for _, body := range []string{
		``, `[]`, `{}`, `not JSON`,
		`{"CmdletInput":{"CmdletName":"Get-AdminAuditLogConfig"}}`,
		`{"CmdletInput":{"CmdletName":"Get-AdminAuditLogConfig","Parameters":null}}`,
		`{"CmdletInput":{"CmdletName":"Get-AdminAuditLogConfig","Parameters":[]}}`,
		`{"CmdletInput":{"CmdletName":"","Parameters":{}}}`,
		`{"CmdletInput":{"CmdletName":"Get-AdminAuditLogConfig","Parameters":{}},"More":1}`,
	} {
		a := do(t, http.DefaultClient, command(t, s, body, nil))
		if a.StatusCode != 400 || a.text("error", "message") != "Invalid Operation" || a.text("error", "innererror", "internalexception", "message") == "" {
			t.Errorf("%s: %d %s", body, a.StatusCode, a.body)
		}
	}
}

func TestAuditingIsSwitchedOnOrOff(t *testing.T) {
	t.Parallel()
	s := start(t, numbered(t, 3))
	enabled := func() any {
		value, _ := invoke(t, s, "get-adminauditlogconfig", params{}, nil).json("value").([]any)
		return value[0].(map[string]any)["UnifiedAuditLogIngestionEnabled"]
	}
	if enabled() != true {
		t.Error("it is off from the start")
	}
	s.SetAuditing(false)
	if enabled() != false {
		t.Error("it is on after being switched off")
	}
	if n := len(rows(t, search(t, s, nil))); n != 0 {
		t.Errorf("%d rows while it is off", n)
	}
}

func TestTheModuleFileListsWhatTheCallerMayRun(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	ask := func(upn, names string) []string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/adminapi/v1.0/contoso.com/EXOModuleFile?Version=3.9.2", nil)
		if err != nil {
			t.Fatal(err)
		}
		as(s, upn)(r)
		r.Header.Set("CommandName", names)
		value, _ := do(t, http.DefaultClient, r).json("value").([]any)
		if len(value) != 1 {
			t.Fatalf("%s: %v", upn, value)
		}
		return strings.Split(value[0].(map[string]any)["exportedCmdlets"].(string), ",")
	}
	if all := ask("ada@contoso.com", "*"); !slices.Contains(all, "Search-UnifiedAuditLog") || !slices.Contains(all, "Get-Mailbox") {
		t.Errorf("ada: %v", all)
	}
	if all := ask("mallory@contoso.com", "*"); slices.Contains(all, "Search-UnifiedAuditLog") || !slices.Contains(all, "Get-Mailbox") {
		t.Errorf("mallory: %v", all)
	}
	if one := ask("ada@contoso.com", "search-unifiedauditlog,Get-Nonsense"); !slices.Equal(one, []string{"Search-UnifiedAuditLog"}) {
		t.Errorf("by name: %v", one)
	}
	if a := get(t, s.URL+"/adminapi/v1.0/contoso.com/EXOModuleFile?Version=3.9.2"); a.StatusCode != 401 {
		t.Errorf("without a token: %d", a.StatusCode)
	}
}

func TestACmdletThatIsListedButNotSimulatedSaysSo(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	if a := invoke(t, s, "Get-Mailbox", params{}, nil); a.StatusCode != http.StatusNotImplemented {
		t.Errorf("%d: %s", a.StatusCode, a.body)
	}
}

func TestRequestsAreCountedAfterTheyAreForgotten(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	for range 1005 {
		get(t, s.URL+"/contoso.com/discovery/v2.0/keys")
	}
	if all, n := s.Requests(), s.Asked("keys"); len(all) != 1000 || n != 1005 {
		t.Errorf("%d are remembered and %d counted", len(all), n)
	}
}

func TestRequestsAreRemembered(t *testing.T) {
	t.Parallel()
	s := start(t, numbered(t, 1))
	search(t, s, params{"ResultSize": 7})
	post(t, s.URL+"/contoso.com/oauth2/v2.0/token", "grant_type", "refresh_token")
	get(t, s.URL+"/devicelogin")
	all := s.Requests()
	if len(all) != 2 || s.Asked("Search-UnifiedAuditLog") != 1 || s.Asked("token") != 1 {
		t.Fatalf("%+v", all)
	}
	if r := all[0]; r.Account != "ada@contoso.com" || r.Method != "POST" || r.URL != "/adminapi/beta/contoso.com/InvokeCommand" || r.Status != 200 ||
		r.Header.Get("X-AnchorMailbox") == "" || !bytes.Contains(r.Body, []byte("ResultSize")) || r.Parameters["StartDate"] != "2026-11-05T00:00:00Z" || time.Since(r.Time) > time.Minute {
		t.Errorf("%+v", r)
	}
	if r := all[1]; r.Grant != "refresh_token" || r.Status != 400 {
		t.Errorf("%+v", r)
	}
}
