package tenantsim_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog/tenantsim"
)

const (
	exchangeScope = "https://outlook.office365.com/.default"
	graphScope    = "https://graph.microsoft.com/.default"
	exoClient     = "fb78d390-0c51-40cd-8e17-fdbfab77341b"
	deviceGrant   = "urn:ietf:params:oauth:grant-type:device_code"
)

var noon = time.Date(2026, time.November, 5, 12, 0, 0, 0, time.UTC)

// numbered is a log of records with the ids "id-0001" to n, one per second
// from noon on.
func numbered(t testing.TB, n int) *tenantsim.Records {
	t.Helper()
	var lines bytes.Buffer
	for i := range n {
		fmt.Fprintf(&lines, `{"CreationTime":%q,"Id":"id-%04d","Operation":"UserLoggedIn","RecordType":15,"UserId":"ada@contoso.com"}`+"\n",
			noon.Add(time.Duration(i)*time.Second).Format("2006-01-02T15:04:05"), i+1)
	}
	return load(t, lines.String())
}

func load(t testing.TB, lines ...string) *tenantsim.Records {
	t.Helper()
	records, err := tenantsim.LoadNDJSON(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// start starts contoso with these records.
func start(t testing.TB, records *tenantsim.Records) *tenantsim.Server {
	t.Helper()
	s := tenantsim.NewServer(tenantsim.Tenant{Records: records})
	t.Cleanup(s.Close)
	return s
}

// direct is an [http.RoundTripper] that calls a handler with no network in
// between, so that a synctest bubble can tell when everyone is waiting.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), nil
}

// An answer is what came back, read to its end.
type answer struct {
	*http.Response
	body []byte
}

// json is the value under these keys of the body, nil if there is none.
func (a answer) json(keys ...string) any {
	var v any
	if json.Unmarshal(a.body, &v) != nil {
		return nil
	}
	for _, key := range keys {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

func (a answer) text(keys ...string) string {
	s, _ := a.json(keys...).(string)
	return s
}

func do(t testing.TB, client *http.Client, r *http.Request) answer {
	t.Helper()
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	body.Grow(int(max(0, resp.ContentLength)) + bytes.MinRead)
	if _, err := body.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return answer{resp, body.Bytes()}
}

// get and post ask over the network.
func get(t testing.TB, address string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, http.DefaultClient, r)
}

func post(t testing.TB, address string, fields ...string) answer {
	t.Helper()
	return postBy(t, http.DefaultClient, address, fields...)
}

func postBy(t testing.TB, client *http.Client, address string, fields ...string) answer {
	t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return do(t, client, r)
}

// A params is what a cmdlet is given.
type params map[string]any

// invocation is the request that runs a cmdlet as ada; change adapts it.
func invocation(t testing.TB, s *tenantsim.Server, cmdlet string, p any, change func(*http.Request)) *http.Request {
	t.Helper()
	body, err := json.Marshal(map[string]any{"CmdletInput": map[string]any{"CmdletName": cmdlet, "Parameters": p}})
	if err != nil {
		t.Fatal(err)
	}
	return command(t, s, string(body), change)
}

func command(t testing.TB, s *tenantsim.Server, body string, change func(*http.Request)) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/adminapi/beta/contoso.com/InvokeCommand", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("Authorization", "Bearer "+s.Token("ada@contoso.com"))
	r.Header.Set("X-AnchorMailbox", "UPN:ada@contoso.com")
	if change != nil {
		change(r)
	}
	return r
}

// again is r once more: a token of its own for each of many requests would
// take long.
func again(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	r.Body, _ = r.GetBody() // of a string, which cannot fail
	return r
}

func invoke(t testing.TB, s *tenantsim.Server, cmdlet string, p any, change func(*http.Request)) answer {
	t.Helper()
	return do(t, http.DefaultClient, invocation(t, s, cmdlet, p, change))
}

// search asks for the whole of the day around noon, with more parameters.
func search(t testing.TB, s *tenantsim.Server, more params) answer {
	t.Helper()
	return searchWith(t, s, more, nil)
}

func searchWith(t testing.TB, s *tenantsim.Server, more params, change func(*http.Request)) answer {
	t.Helper()
	p := params{"StartDate": "2026-11-05T00:00:00Z", "EndDate": "2026-11-06T00:00:00Z"}
	maps.Copy(p, more)
	return invoke(t, s, "Search-UnifiedAuditLog", p, change)
}

// A row is what the tests read of a result.
type row struct {
	AuditData, CreationDate, RecordType, UserIds, Operations, Identity, RunspaceId string

	ResultIndex, ResultCount int
}

func rows(t testing.TB, a answer) []row {
	t.Helper()
	var body struct{ Value []row }
	if a.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", a.StatusCode, a.body)
	}
	if err := json.Unmarshal(a.body, &body); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return body.Value
}

func ids(t testing.TB, a answer) string {
	t.Helper()
	var all []string
	for _, r := range rows(t, a) {
		all = append(all, r.Identity)
	}
	return strings.Join(all, " ")
}
