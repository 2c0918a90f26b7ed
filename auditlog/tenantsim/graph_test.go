package tenantsim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog/tenantsim"
)

// A graphClient asks the audit log query API of a tenant as ada, with no
// network in between.
type graphClient struct {
	t      *testing.T
	tenant *tenantsim.Server
	token  string
}

func graphOf(t *testing.T, n int) graphClient {
	t.Helper()
	s := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: numbered(t, n), Apps: append(tenantsim.MicrosoftApps(), tenantsim.OwnApp())}}
	t.Cleanup(s.Close)
	return graphClient{t, s, s.GraphToken("ada@contoso.com")}
}

func (c graphClient) ask(method, path, body string) answer {
	c.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = "https://graph.microsoft.com/v1.0/security/auditLog/queries" + path
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	return do(c.t, &http.Client{Transport: direct{c.tenant}}, r)
}

const theDay = `"filterStartDateTime":"2026-11-05T00:00:00Z","filterEndDateTime":"2026-11-06T00:00:00Z"`

// create creates a query with more members, and returns its id.
func (c graphClient) create(more string) string {
	c.t.Helper()
	a := c.ask("POST", "", "{"+theDay+more+"}")
	if a.StatusCode != http.StatusCreated || a.text("status") != "notStarted" {
		c.t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	return a.text("id")
}

// records counts the records of a query, from page to page.
func (c graphClient) records(id, options string) (records, pages int) {
	c.t.Helper()
	seen := map[string]bool{}
	for next := "/" + id + "/records" + options; next != ""; pages++ {
		a := c.ask("GET", next, "")
		values, ok := a.json("value").([]any)
		if !ok {
			c.t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		for _, v := range values {
			seen[fmt.Sprint(v.(map[string]any)["id"])] = true
		}
		next = a.text("@odata.nextLink")
	}
	return len(seen), pages
}

func TestAQueryWorksAndThenGivesOutPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := graphOf(t, 400)
		c.tenant.GraphDelay = 8 * time.Minute
		id := c.create(`,"displayName":"x"`)
		var states []string
		for range 5 {
			a := c.ask("GET", "/"+id, "")
			states = append(states, fmt.Sprint(a.text("status"), a.json("approximateReturnedRecordCount")))
			if r := c.ask("GET", "/"+id+"/records", ""); (r.StatusCode == 200) != (a.text("status") == "succeeded") {
				t.Errorf("%s: records are answered with %d", a.text("status"), r.StatusCode)
			}
			time.Sleep(2 * time.Minute)
		}
		if got := strings.Join(states, " "); got != "notStarted0 running0 running0 running0 succeeded400" {
			t.Error(got)
		}
		for options, want := range map[string]string{"": "400 3", "?$top=399": "400 2", "?$top=1000&$count=true": "400 1"} {
			if n, pages := c.records(id, options); fmt.Sprint(n, pages) != want {
				t.Errorf("%q: %d records in %d pages, want %s", options, n, pages, want)
			}
		}
		if a := c.ask("GET", "/"+id+"/records?$top=1001", ""); a.StatusCode != 400 {
			t.Errorf("a page that is too large: %d", a.StatusCode)
		}
		if all, _ := c.ask("GET", "", "").json("value").([]any); len(all) != 1 {
			t.Errorf("%d queries are listed", len(all))
		}
		if a := c.ask("DELETE", "/"+id, ""); a.StatusCode != 204 || c.ask("GET", "/"+id, "").StatusCode != 404 {
			t.Errorf("deleting: %d", a.StatusCode)
		}
	})
}

func TestAGraphRecordHasTheMembersOfTheRealOnes(t *testing.T) {
	t.Parallel()
	c := graphOf(t, 0)
	c.tenant.Tenant.Records = load(t, `{"CreationTime":"2026-11-05T12:00:00","Id":"1","Operation":"UserLoggedIn","OrganizationId":"4b8c18bd-2f9f-4227-af55-9f1061cf9c32","RecordType":15,"UserKey":"K","UserType":4,"Workload":"AzureActiveDirectory","UserId":"ada@contoso.com","ClientIP":"203.0.113.7","Actor":[{"ID":"a \"b\"","Type":5}]}`)
	a := c.ask("GET", "/"+c.create("")+"/records", "")
	_, got, _ := strings.Cut(string(a.body), `"value":`)
	want := `[{"id":"1","createdDateTime":"2026-11-05T12:00:00Z","auditLogRecordType":"AzureActiveDirectoryStsLogon","operation":"UserLoggedIn","organizationId":"4b8c18bd-2f9f-4227-af55-9f1061cf9c32",` +
		`"userType":"System","userId":"K","service":"AzureActiveDirectory","objectId":null,"userPrincipalName":"ada@contoso.com","clientIp":null,"administrativeUnits":[""],` +
		`"auditData":{"@odata.type":"#microsoft.graph.security.defaultAuditData","CreationTime":"2026-11-05T12:00:00","Id":"1","Operation":"UserLoggedIn","OrganizationId":"4b8c18bd-2f9f-4227-af55-9f1061cf9c32",` +
		`"RecordType@odata.type":"#Int64","RecordType":15,"UserKey":"K","UserType@odata.type":"#Int64","UserType":4,"Workload":"AzureActiveDirectory","UserId":"ada@contoso.com","ClientIP":"203.0.113.7",` +
		`"Actor@odata.type":"#Collection(microsoft.graph.security.defaultAuditData)","Actor":[{"ID":"a \"b\"","Type@odata.type":"#Int64","Type":5}]}}]}`
	if got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

func TestContososRecordsStayJSONInGraph(t *testing.T) {
	t.Parallel()
	s := tenantsim.Tenant{Apps: append(tenantsim.MicrosoftApps(), tenantsim.OwnApp())}
	c := graphClient{t, &tenantsim.Server{Tenant: s}, ""}
	c.token = c.tenant.GraphToken("ada@contoso.com")
	now := time.Now().UTC()
	a := c.ask("POST", "", fmt.Sprintf(`{"filterStartDateTime":%q,"filterEndDateTime":%q}`, now.AddDate(0, 0, -2).Format("2006-01-02T15:04:05"), now.Format("2006-01-02T15:04:05.000Z")))
	page := c.ask("GET", "/"+a.text("id")+"/records?$top=1000", "")
	if values, _ := page.json("value").([]any); len(values) != 1000 || !json.Valid(page.body) {
		t.Errorf("%d records: %.300s", len(values), page.body)
	}
}

func TestWhatAQueryFilters(t *testing.T) {
	t.Parallel()
	c := graphOf(t, 0)
	c.tenant.Tenant.Records = load(t,
		`{"CreationTime":"2026-11-05T12:00:00","Id":"1","Operation":"A","RecordType":15,"UserId":"ada@contoso.com","ClientIP":"203.0.113.7:99","ObjectId":"https://x/a"}`,
		`{"CreationTime":"2026-11-05T12:00:01","Id":"2","Operation":"B","RecordType":58,"UserId":"bob@contoso.com","Text":"Some words"}`,
		`{"CreationTime":"2026-11-05T12:00:02","Id":"3","Operation":"C","RecordType":1,"UserId":"eve@fabrikam.com"}`)
	for more, want := range map[string]int{
		"":                              3,
		`,"operationFilters":["A","C"]`: 2,
		`,"recordTypeFilters":["exchangeAdmin","hrSignal"]`:          2,
		`,"recordTypeFilters":["AzureActiveDirectoryStsLogon"]`:      1,
		`,"userPrincipalNameFilters":["ADA@contoso.com"]`:            1,
		`,"ipAddressFilters":["203.0.113.7"]`:                        1,
		`,"objectIdFilters":["https://x/*"]`:                         1,
		`,"keywordFilter":"some WORDS"`:                              1,
		`,"recordTypeFilters":[],"administrativeUnitIdFilters":[]`:   3,
		`,"operationFilters":["A"],"recordTypeFilters":["OneDrive"]`: 0,
	} {
		if n, _ := c.records(c.create(more), ""); n != want {
			t.Errorf("%s: %d records, want %d", more, n, want)
		}
	}
}

func TestWhatGraphRefuses(t *testing.T) {
	t.Parallel()
	c := graphOf(t, 3)
	for name, body := range map[string]string{
		"an unknown member":      "{" + theDay + `,"serviceFilter":"Exchange"}`,
		"an unknown record type": "{" + theDay + `,"recordTypeFilters":["EXCHANGEADMIN"]}`,
		"a wrong type":           "{" + theDay + `,"operationFilters":"A"}`,
		"no range":               "{}",
		"a date of another kind": `{"filterStartDateTime":"11/05/2026","filterEndDateTime":"2026-11-06T00:00:00Z"}`,
		"a range of nothing":     `{"filterStartDateTime":"2026-11-06T00:00:00Z","filterEndDateTime":"2026-11-06T00:00:00Z"}`,
		"no JSON":                "x",
	} {
		if a := c.ask("POST", "", body); a.StatusCode != 400 || a.text("error", "code") != "BadRequest" || a.text("error", "innerError", "request-id") == "" {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
	id := c.create("")
	for name, test := range map[string]struct {
		token  string
		status int
		code   string
	}{
		"no token":                     {"", 401, "InvalidAuthenticationToken"},
		"a token for Exchange":         {c.tenant.Token("ada@contoso.com"), 401, "InvalidAuthenticationToken"},
		"somebody without the role":    {c.tenant.GraphToken("mallory@contoso.com"), 403, "Forbidden"},
		"somebody who has it":          {c.tenant.GraphToken("grace@contoso.com"), 200, ""},
		"a token without a permission": {c.tenant.Sign(map[string]any{"aud": "https://graph.microsoft.com", "tid": c.tenant.Tenant.ID, "upn": "ada@contoso.com", "scp": "User.Read", "exp": time.Now().Add(time.Hour).Unix()}), 403, "Forbidden"},
		"an application":               {c.tenant.Sign(map[string]any{"aud": "https://graph.microsoft.com", "tid": c.tenant.Tenant.ID, "roles": []string{"AuditLogsQuery.Read.All"}, "exp": time.Now().Add(time.Hour).Unix()}), 200, ""},
	} {
		c.token = test.token
		if a := c.ask("GET", "/"+id, ""); a.StatusCode != test.status || a.text("error", "code") != test.code {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
}

func TestHowManyQueriesATenantMaySubmit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := graphOf(t, 1)
		c.tenant.GraphDelay = time.Minute
		for range 50 {
			c.create("")
		}
		if a := c.ask("POST", "", "{"+theDay+"}"); a.StatusCode != 429 || a.text("error", "code") != "TooManyRequests" {
			t.Errorf("51 at once: %d %s", a.StatusCode, a.body)
		}
		c.tenant.GraphDelay = 0
		for range 150 {
			c.create("")
		}
		if a := c.ask("POST", "", "{"+theDay+"}"); a.StatusCode != 429 {
			t.Errorf("201 a day: %d %s", a.StatusCode, a.body)
		}
		time.Sleep(24 * time.Hour)
		c.token = c.tenant.GraphToken("ada@contoso.com")
		c.create("")
	})
}

func TestWhoMaySignInForGraph(t *testing.T) {
	t.Parallel()
	s := tenantsim.NewServer(tenantsim.Tenant{Records: load(t), Apps: append(tenantsim.MicrosoftApps(), tenantsim.OwnApp(),
		tenantsim.App{ClientID: "3f0c2b7e-5a1d-4c88-9e64-b2d7a90f1c35", Consent: []string{"Exchange.Manage"}})})
	t.Cleanup(s.Close)
	device := s.URL + "/contoso.com/oauth2/v2.0/devicecode"
	token := s.URL + "/contoso.com/oauth2/v2.0/token"
	const named = "https://graph.microsoft.com/AuditLogsQuery.Read.All offline_access"

	for _, scope := range []string{graphScope, named, "AuditLogsQuery.Read.All"} {
		checkRefusal(t, post(t, device, "client_id", exoClient, "scope", scope), 400, "invalid_grant", 65002)
		password := []string{"grant_type", "password", "username", "ada@contoso.com", "password", tenantsim.ContosoPassword, "scope", scope, "client_id"}
		checkRefusal(t, post(t, token, append(password, exoClient)...), 400, "invalid_grant", 65002)
		checkRefusal(t, post(t, token, append(password, "3f0c2b7e-5a1d-4c88-9e64-b2d7a90f1c35")...), 400, "invalid_grant", 65001)
		if a := post(t, token, append(password, tenantsim.OwnApp().ClientID)...); verify(t, s, a.text("access_token"))["scp"] != "AuditLogsQuery.Read.All" {
			t.Errorf("%s: %s", scope, a.body)
		}
	}
	a := post(t, token, "grant_type", "password", "username", "ada@contoso.com", "password", tenantsim.ContosoPassword, "client_id", tenantsim.OwnApp().ClientID,
		"scope", "https://graph.microsoft.com/Mail.Read")
	checkRefusal(t, a, 400, "invalid_grant", 65001)
	refresh := signIn(t, s, "ada@contoso.com").text("refresh_token")
	checkRefusal(t, post(t, token, "grant_type", "refresh_token", "client_id", exoClient, "refresh_token", refresh, "scope", named), 400, "invalid_grant", 65002)
}
