package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/exchange"
	"auditbot/auditlog/internal/direct"
	"auditbot/auditlog/tenantsim"
)

const ada = "ada@contoso.com"

// contoso is a tenant with n records, a second apart, the last one an hour
// before noon, and a source that reads them as Ada, with no network between.
func contoso(t *testing.T, n int) (*tenantsim.Server, *exchange.Source) {
	t.Helper()
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, `{"Id":"id-%05d","CreationTime":%q,"Operation":"FileAccessed","RecordType":6,"UserId":"bob@contoso.com","Workload":"SharePoint"}`+"\n",
			i, noon.Add(time.Duration(i-n)*time.Second).Format("2006-01-02T15:04:05"))
	}
	records, err := tenantsim.LoadNDJSON(strings.NewReader(lines.String()))
	if err != nil {
		t.Fatal(err)
	}
	tenant := &tenantsim.Server{Tenant: tenantsim.Tenant{
		ID: "5c5c8de6-0c1d-4a5f-9d3e-2f0e8a1b7c4d", Domain: "contoso.com", Records: records,
		Accounts: []tenantsim.Account{
			{UPN: ada, Roles: []string{tenantsim.RoleViewAuditLogs}},
			{UPN: "bob@contoso.com"},
		},
	}}
	t.Cleanup(tenant.Close)
	return tenant, as(tenant, ada)
}

// as is a source that reads a tenant as somebody, with a token until that is
// refused.
func as(tenant *tenantsim.Server, upn string) *exchange.Source {
	url := tenant.URL
	if url == "" {
		url = "https://outlook.office365.com"
	}
	var token auditlog.Secret
	var mu sync.Mutex
	return &exchange.Source{
		Tenant: &exchange.Tenant{HTTP: &http.Client{Transport: direct.To(tenant), Timeout: 110 * time.Second}, URL: url, ID: "contoso.com"},
		Token: func(_ context.Context, rejected auditlog.Secret) (auditlog.Token, error) {
			mu.Lock()
			defer mu.Unlock()
			if token == rejected { // "" at first
				token = auditlog.Secret(tenant.Token(upn))
			}
			return auditlog.Token{Access: token, Account: upn}, nil
		},
	}
}

// logOf reads as s, long after the records.
func logOf(s *exchange.Source) *auditlog.Log {
	return &auditlog.Log{Sources: []auditlog.Source{s}, Now: func() time.Time { return noon.AddDate(0, 0, 2) }}
}

// count reads the newest n of the tenant's records.
func count(t *testing.T, s *exchange.Source, n int) (records int, v auditlog.Verdict, err error) {
	t.Helper()
	res := logOf(s).Search(t.Context(), query(n))
	for _, e := range res.All() {
		if e != nil {
			return records, res.Verdict(), e
		}
		records++
	}
	return records, res.Verdict(), nil
}

func TestFaultsOfATenant(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		faults []tenantsim.Fault
		lost   string // a part of what the verdict admits; "" means nothing
	}{
		{"throttled", []tenantsim.Fault{tenantsim.Throttled(3 * time.Second), tenantsim.Throttled(0)}, ""},
		{"unavailable", []tenantsim.Fault{tenantsim.Unavailable}, ""},
		{"token expired", []tenantsim.Fault{tenantsim.Unauthorized}, ""},
		{"token from before the role", []tenantsim.Fault{tenantsim.Forbidden}, ""},
		{"gave up", []tenantsim.Fault{tenantsim.GaveUp, tenantsim.GaveUp}, ""},
		{"silent", []tenantsim.Fault{tenantsim.Silent}, ""},
		{"ran out of time", []tenantsim.Fault{tenantsim.TimedOut, tenantsim.TimedOut}, ""},
		{"broke off", []tenantsim.Fault{tenantsim.Reset}, ""},
		{"broke off later", []tenantsim.Fault{tenantsim.Nothing, tenantsim.Reset}, ""},
		{"not JSON", []tenantsim.Fault{tenantsim.NotJSON}, ""},
		{"labelled as gzip", []tenantsim.Fault{tenantsim.Mislabelled}, ""},
		{"too long", []tenantsim.Fault{tenantsim.Oversized(exchange.MaxBody)}, ""},
		{"hung", []tenantsim.Fault{tenantsim.Hung}, ""},
		{"late", []tenantsim.Fault{tenantsim.Late(time.Minute)}, ""},
		{"repeated", []tenantsim.Fault{tenantsim.Nothing, tenantsim.Repeated}, ""},
		{"warned", []tenantsim.Fault{tenantsim.Warned("Some results are left out.")}, "the service warned: Some results are left out"},
		{"garbled", []tenantsim.Fault{tenantsim.Garbled}, "could not be read"},
		{"one bad thing after the other", []tenantsim.Fault{tenantsim.Reset, tenantsim.GaveUp, tenantsim.NotJSON, tenantsim.TimedOut}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant, s := contoso(t, 300)
				tenant.Fail(c.faults...)
				n, v, err := count(t, s, 400)
				if err != nil || n != 300 || tenant.Unspent() > 0 {
					t.Errorf("%d records, %v, %v; %d faults left", n, v, err, tenant.Unspent())
				}
				if v.Requests != tenant.Asked("Search-UnifiedAuditLog") {
					t.Errorf("%d requests counted, %d sent", v.Requests, tenant.Asked("Search-UnifiedAuditLog"))
				}
				if lost := strings.Join(v.Lost, "; "); (lost == "") != (c.lost == "") || !strings.Contains(lost, c.lost) {
					t.Errorf("admitted %q, want %q", lost, c.lost)
				}
			})
		})
	}
}

func TestAnUnsortedTenantIsNotCalledNewest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant, s := contoso(t, 300)
		tenant.Fail(tenantsim.Unsorted)
		if n, v, err := count(t, s, 1); err != nil || n != 1 || !strings.Contains(v.String(), "not surely the newest") {
			t.Errorf("%d records, %v, %v", n, v, err)
		}
		if n, v, err := count(t, s, 1); err != nil || n != 1 || v.String() != "Partial, as asked: newest 1; more exist" {
			t.Errorf("sorted: %d records, %v, %v", n, v, err)
		}
	})
}

func TestATenantsPages(t *testing.T) {
	t.Parallel()
	for _, refused := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			tenant, s := contoso(t, 300)
			tenant.LinksRefused = refused
			s.Tenant.HTTP.Transport = pages{direct.To(tenant), "70"}
			for range 2 {
				if n, v, err := count(t, s, 400); err != nil || n != 300 || v.String() != "Complete" {
					t.Errorf("links refused: %v: %d records, %v, %v", refused, n, v, err)
				}
			}
		})
	}
}

// pages makes a service of one that knows a smaller largest page than it is
// asked for.
type pages struct {
	http.RoundTripper
	size string
}

func (p pages) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Prefer", "odata.maxpagesize="+p.size)
	return p.RoundTripper.RoundTrip(r)
}

func TestATenantWithoutTheRoleOrAuditing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant, s := contoso(t, 0)
		if n, v, err := count(t, s, 10); err != nil || n != 0 || v.String() != "Complete" {
			t.Errorf("an empty log: %d records, %v, %v", n, v, err)
		}
		_, _, err := count(t, as(tenant, "bob@contoso.com"), 10)
		if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || !strings.Contains(r.Advice, "View-Only Audit Logs") {
			t.Errorf("without the role: %v", err)
		}
		tenant.SetAuditing(false)
		if n, v, err := count(t, as(tenant, ada), 10); err != nil || n != 0 || v.Status() == auditlog.Complete || !strings.Contains(v.String(), "auditing is switched off") {
			t.Errorf("auditing off: %d records, %v, %v", n, v, err)
		}
		cmdlets, err := s.Cmdlets(t.Context())
		if all := strings.Join(cmdlets, " "); err != nil || !strings.Contains(all, "Search-UnifiedAuditLog") {
			t.Errorf("cmdlets %s, %v", all, err)
		}
	})
}

func TestATenantThatGoesAwayInTheMiddle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant, s := contoso(t, 300)
		tenant.Fail(tenantsim.Nothing)
		for range 5 {
			tenant.Fail(tenantsim.Reset)
		}
		s.Tenant.HTTP.Transport = pages{direct.To(tenant), "70"}
		n, v, err := count(t, s, 400)
		if err != nil || n != 70 || v.Status() != auditlog.Partial || !strings.Contains(v.String(), "fetching broke off after 70 records") {
			t.Errorf("%d records, %v, %v", n, v, err)
		}
	})
}

// The newest two records of a tenant's log, and whether there are more.
func Example() {
	tenant := tenantsim.NewServer(tenantsim.Tenant{Records: exampleRecords()})
	defer tenant.Close()

	source := &exchange.Source{
		Tenant: &exchange.Tenant{URL: tenant.URL, ID: "contoso.onmicrosoft.com"},
		Token: func(context.Context, auditlog.Secret) (auditlog.Token, error) {
			return auditlog.Token{Access: auditlog.Secret(tenant.Token(ada)), Account: ada}, nil
		},
	}
	log := auditlog.Log{Sources: []auditlog.Source{source}, Now: func() time.Time { return noon.AddDate(0, 0, 1) }}

	res := log.Search(context.Background(), auditlog.Query{Start: noon.Add(-time.Hour), End: noon.Add(time.Hour), Newest: 2})
	for record, err := range res.All() {
		if err != nil {
			fmt.Println(err)
			return
		}
		row := record.Row()
		fmt.Println(row.Time.Format(time.TimeOnly), row.User, row.Operation)
	}
	fmt.Println(res.Verdict())
	// Output:
	// 12:00:02 eve@fabrikam.com New-InboxRule
	// 12:00:01 bob@contoso.com MailItemsAccessed
	// Partial, as asked: newest 2; more exist
}

func exampleRecords() *tenantsim.Records {
	records, err := tenantsim.LoadNDJSON(strings.NewReader(`
{"Id":"1","CreationTime":"2026-11-05T12:00:00","RecordType":15,"Operation":"UserLoggedIn","UserId":"bob@contoso.com","Workload":"AzureActiveDirectory"}
{"Id":"2","CreationTime":"2026-11-05T12:00:01","RecordType":50,"Operation":"MailItemsAccessed","UserId":"bob@contoso.com","Workload":"Exchange"}
{"Id":"3","CreationTime":"2026-11-05T12:00:02","RecordType":1,"Operation":"New-InboxRule","UserId":"eve@fabrikam.com","Workload":"Exchange"}
`))
	if err != nil {
		panic(err)
	}
	return records
}
