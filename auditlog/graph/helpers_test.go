package graph_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/graph"
	"auditbot/auditlog/internal/direct"
	"auditbot/auditlog/tenantsim"
)

const ada = "ada@contoso.com"

var noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

// contoso is a tenant with n records, a second apart, the last one a second
// before noon, and a source that reads them as Ada, with no network between.
func contoso(t *testing.T, n int) (*tenantsim.Server, *graph.Source) {
	t.Helper()
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, `{"CreationTime":%q,"Id":"id-%05d","Operation":"FileAccessed","RecordType":6,"UserKey":"i:0h.f|membership|1003","UserId":"bob@contoso.com","Workload":"SharePoint"}`+"\n",
			noon.Add(time.Duration(i-n)*time.Second).Format("2006-01-02T15:04:05"), i)
	}
	return tenantOf(t, lines.String())
}

// tenantOf is a tenant with these records, as lines of JSON.
func tenantOf(t *testing.T, lines string) (*tenantsim.Server, *graph.Source) {
	t.Helper()
	records, err := tenantsim.LoadNDJSON(strings.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	tenant := &tenantsim.Server{Tenant: tenantsim.Tenant{
		ID: "5c5c8de6-0c1d-4a5f-9d3e-2f0e8a1b7c4d", Domain: "contoso.com", Records: records,
		Apps: append(tenantsim.MicrosoftApps(), tenantsim.OwnApp()),
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
func as(tenant *tenantsim.Server, upn string) *graph.Source {
	s := source(tenant)
	var token auditlog.Secret
	s.Token = func(_ context.Context, rejected auditlog.Secret) (auditlog.Token, error) {
		if token == rejected { // "" at first
			token = auditlog.Secret(tenant.GraphToken(upn))
		}
		return auditlog.Token{Access: token, Account: upn}, nil
	}
	return s
}

// source asks h with no network in between.
func source(h http.Handler) *graph.Source {
	return &graph.Source{
		Tenant: &graph.Tenant{HTTP: &http.Client{Transport: direct.To(h), Timeout: 110 * time.Second}, URL: "https://graph.microsoft.com/", ID: "contoso.com"},
		Token: func(context.Context, auditlog.Secret) (auditlog.Token, error) {
			return auditlog.Token{Access: "T", Account: ada}, nil
		},
	}
}

// everything is a query for all of two days.
func everything() auditlog.Query {
	return auditlog.Query{Start: noon.Add(-24 * time.Hour), End: noon.Add(24 * time.Hour)}
}

// search reads everything that the source yields: the different Ids, sorted.
func search(t *testing.T, s *graph.Source, q auditlog.Query) (ids []string, v auditlog.Verdict, err error) {
	t.Helper()
	for r, e := range s.Search(t.Context(), q, &v) {
		if e != nil {
			err = e
			continue
		}
		if err != nil {
			t.Error("a record came after an error")
		}
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	return slices.Compact(ids), v, err
}

// plain is a record's JSON without blanks and without the members that Graph
// adds, the others in their order and with their digits.
func plain(t *testing.T, raw []byte) string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var b strings.Builder
	plainValue(t, d, &b)
	return b.String()
}

func plainValue(t *testing.T, d *json.Decoder, b *strings.Builder) {
	t.Helper()
	switch token := next(t, d); token {
	case json.Delim('{'):
		b.WriteString("{")
		for d.More() {
			key, _ := next(t, d).(string)
			to := b
			if strings.Contains(key, "@odata.") {
				to = new(strings.Builder)
			}
			fmt.Fprintf(to, "%q:", key)
			plainValue(t, d, to)
			to.WriteString(",")
		}
		next(t, d)
		b.WriteString("}")
	case json.Delim('['):
		b.WriteString("[")
		for d.More() {
			plainValue(t, d, b)
			b.WriteString(",")
		}
		next(t, d)
		b.WriteString("]")
	default:
		fmt.Fprintf(b, "%T %v", token, token)
	}
}

func next(t *testing.T, d *json.Decoder) json.Token {
	t.Helper()
	token, err := d.Token()
	if err != nil {
		t.Fatalf("reading a record: %v", err)
	}
	return token
}
