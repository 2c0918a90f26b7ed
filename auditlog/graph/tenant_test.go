package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/exchange"
	"auditbot/auditlog/graph"
	"auditbot/auditlog/internal/direct"
	"auditbot/auditlog/tenantsim"
)

func TestBothBackendsYieldTheSameRecords(t *testing.T) {
	t.Parallel()
	tenant := tenantsim.NewServer(tenantsim.Tenant{Apps: append(tenantsim.MicrosoftApps(), tenantsim.OwnApp())})
	defer tenant.Close()
	token := func(access string) func(context.Context, auditlog.Secret) (auditlog.Token, error) {
		return func(context.Context, auditlog.Secret) (auditlog.Token, error) {
			return auditlog.Token{Access: auditlog.Secret(access), Account: ada}, nil
		}
	}
	byExchange := &exchange.Source{Tenant: &exchange.Tenant{URL: tenant.URL, ID: "contoso.com"}, Token: token(tenant.Token(ada))}
	byGraph := &graph.Source{Tenant: &graph.Tenant{URL: tenant.URL, ID: "contoso.com"}, Token: token(tenant.GraphToken(ada))}

	now := time.Now().UTC().Truncate(time.Second)
	for name, q := range map[string]auditlog.Query{
		"of half a day":      {Start: now.Add(-60 * time.Hour), End: now.Add(-48 * time.Hour)},
		"of a person":        {Start: now.AddDate(0, 0, -4), End: now, UserIDs: []string{"erin@contoso.com"}},
		"of a record type":   {Start: now.AddDate(0, 0, -20), End: now, RecordTypes: []string{"ExchangeAdmin"}},
		"of two operations":  {Start: now.AddDate(0, 0, -5), End: now, Operations: []string{"New-InboxRule", "UserLoginFailed"}},
		"with a text inside": {Start: now.AddDate(0, 0, -5), End: now, FreeText: "invoice"},
	} {
		one, two := map[string]string{}, map[string]string{}
		byID(t, byExchange, q, one)
		byID(t, byGraph, q, two)
		if len(one) == 0 || len(one) != len(two) {
			t.Errorf("%s: %d records by Exchange, %d by Graph", name, len(one), len(two))
		}
		for id, want := range one {
			if two[id] != want {
				t.Fatalf("%s: record %s is\n%s\nby Exchange and\n%s\nby Graph", name, id, want, two[id])
			}
		}
	}
}

// byID puts all that a source yields into found, as its JSON without
// annotations, which is without the time of the record.
func byID(t *testing.T, s auditlog.Source, q auditlog.Query, found map[string]string) {
	t.Helper()
	var v auditlog.Verdict
	annotated := 0
	for r, err := range s.Search(t.Context(), q, &v) {
		if err != nil {
			t.Fatalf("%s: %v", s.Name(), err)
		}
		if strings.Contains(string(r.Raw), "@odata.type") {
			annotated++
		}
		found[r.ID] = plain(t, r.Raw) + r.Time.String()
	}
	if status := v.Status(); status != auditlog.Complete {
		t.Errorf("%s: %v", s.Name(), v)
	}
	if (annotated == len(found)) != (s.Name() == "graph") {
		t.Errorf("%s: %d of %d records have annotations", s.Name(), annotated, len(found))
	}
}

func TestARecordIsKeptAsItCame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, s := tenantOf(t, `{"Id":"1", "CreationTime":"2026-11-05T12:00:00","RecordType":1,"Size":1.50,"Big":12345678901234567890,"Parameters":[{"Name":"a","Value":1}],"Empty":[],"Names":["x"],"Sub":{"N":-1}}`)
		var v auditlog.Verdict
		for r, err := range s.Search(t.Context(), everything(), &v) {
			want := `{"@odata.type":"#microsoft.graph.security.defaultAuditData","Id":"1", "CreationTime":"2026-11-05T12:00:00","RecordType@odata.type":"#Int64","RecordType":1,"Size":1.50,"Big@odata.type":"#Int64","Big":12345678901234567890,` +
				`"Parameters@odata.type":"#Collection(microsoft.graph.security.defaultAuditData)","Parameters":[{"Name":"a","Value@odata.type":"#Int64","Value":1}],"Empty@odata.type":"#Collection(microsoft.graph.security.defaultAuditData)","Empty":[],` +
				`"Names@odata.type":"#Collection(String)","Names":["x"],"Sub":{"N@odata.type":"#Int64","N":-1}}`
			if err != nil || string(r.Raw) != want || !r.Time.Equal(noon) || r.ID != "1" {
				t.Errorf("%s %v %s %v, want\n%s", r.ID, r.Time, r.Raw, err, want)
			}
		}
	})
}

func TestFaultsOfATenant(t *testing.T) {
	t.Parallel()
	on := func(request string, faults ...tenantsim.Fault) []tenantsim.Fault {
		for i := range faults {
			faults[i] = faults[i].On(request)
		}
		return faults
	}
	for name, c := range map[string]struct {
		faults  []tenantsim.Fault
		creates int
		lost    string // a part of what the verdict admits; "" means nothing
	}{
		"creation throttled":  {on("graph-create", tenantsim.Throttled(3*time.Second), tenantsim.Throttled(0)), 1, ""},
		"creation cut off":    {on("graph-create", tenantsim.Reset), 2, ""},
		"look throttled":      {on("graph-query", tenantsim.Throttled(time.Second)), 1, ""},
		"records throttled":   {on("graph-records", tenantsim.Nothing, tenantsim.Throttled(4*time.Minute), tenantsim.Throttled(0)), 1, ""},
		"a gateway's page":    {on("graph-records", tenantsim.Unavailable), 1, ""},
		"not JSON":            {on("graph-records", tenantsim.NotJSON, tenantsim.Garbled), 1, ""},
		"labelled as gzip":    {on("graph-records", tenantsim.Mislabelled), 1, ""},
		"too long":            {on("graph-records", tenantsim.Oversized(graph.MaxBody)), 1, ""},
		"hung":                {on("graph-query", tenantsim.Hung), 1, ""},
		"broke off":           {on("graph-records", tenantsim.Nothing, tenantsim.Reset), 1, ""},
		"token expired":       {on("graph-records", tenantsim.Unauthorized), 1, ""},
		"token from before":   {on("graph-create", tenantsim.Forbidden), 1, ""},
		"failed":              {[]tenantsim.Fault{tenantsim.QueryFailed}, 2, ""},
		"cancelled":           {[]tenantsim.Fault{tenantsim.QueryCancelled}, 2, ""},
		"other count at once": {on("graph-records", tenantsim.Missing(7)), 1, ""},
		"silent":              {on("graph-records", tenantsim.Silent), 1, ""},
		"repeated":            {on("graph-records", tenantsim.Nothing, tenantsim.Repeated), 1, ""},
		"a smaller count, twice": {on("graph-records", tenantsim.Missing(900), tenantsim.Nothing, tenantsim.Nothing, tenantsim.Missing(90)), 1,
			""}, // the two readings together have all
		"always the same less": {on("graph-records", tenantsim.Silent, tenantsim.Silent), 1, "Microsoft Graph says that it found 1100 records, and gave out 0"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant, s := contoso(t, 1100)
				tenant.Fail(c.faults...)
				ids, v, err := search(t, s, everything())
				if wanted := 1100; c.lost == "" && (err != nil || len(ids) != wanted) || tenant.Unspent() > 0 {
					t.Errorf("%d records, %v, %v; %d faults left", len(ids), v, err, tenant.Unspent())
				}
				if lost := strings.Join(v.Lost, "; "); (lost == "") != (c.lost == "") || !strings.Contains(lost, c.lost) {
					t.Errorf("admitted %q, want %q", lost, c.lost)
				}
				if sent := asked(tenant, "graph-create", 201); sent != c.creates {
					t.Errorf("%d queries created, want %d", sent, c.creates)
				}
				if used, limit := s.Tenant.Budget(); used != c.creates || limit != 200 {
					t.Errorf("the budget is %d of %d, want %d of 200", used, limit, c.creates)
				}
				if v.Requests != len(tenant.Requests()) || (v.Retries == 0) != (name == "repeated" || name == "labelled as gzip") {
					t.Errorf("%d requests counted, %d sent; %d retries", v.Requests, len(tenant.Requests()), v.Retries)
				}
			})
		})
	}
}

// asked counts the requests of a name that were answered with a status.
func asked(tenant *tenantsim.Server, name string, status int) int {
	n := 0
	for _, r := range tenant.Requests() {
		if r.Name == name && r.Status == status {
			n++
		}
	}
	return n
}

func TestAQueryIsWaitedForAtGrowingIntervals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant, s := contoso(t, 3)
		tenant.GraphDelay = 10 * time.Minute
		var told []string
		s.Waiting = func(status string) { told = append(told, status) }
		began := time.Now()
		ids, v, err := search(t, s, everything())
		if took := time.Since(began); err != nil || len(ids) != 3 || took < 10*time.Minute || took > 10*time.Minute+30*time.Second {
			t.Errorf("%d records after %v, %v, %v", len(ids), took, v, err)
		}
		// 5 + 7.5 + 11.25 + 16.9 + 25.3 s, then every 30 s
		if looks := tenant.Asked("graph-query"); looks < 20 || looks > 26 {
			t.Errorf("%d looks", looks)
		}
		if got := slices.Compact(told); !slices.Equal(got, []string{"notStarted", "running"}) {
			t.Errorf("told of %v", got)
		}
	})
}

func TestAQueryThatNeverEndsIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant, s := contoso(t, 3)
		tenant.GraphDelay = 1000 * time.Hour
		_, _, err := search(t, s, everything())
		if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || !strings.Contains(r.Problem, "has not finished the search in 4h") {
			t.Error(err)
		}
		stop := errors.New("the program ends")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(stop) })
		for _, err := range s.Search(ctx, everything(), &auditlog.Verdict{}) {
			if !errors.Is(err, stop) {
				t.Errorf("cancelled: %v", err)
			}
		}
	})
}

// A memory remembers ids of queries, as one that outlives a crash does.
type memory map[string]string

func (m memory) of(s *graph.Source) *graph.Source {
	s.Recall = func(key string) string { return m[key] }
	s.Remember = func(_ context.Context, key, id string) error { m[key] = id; return nil }
	return s
}

func TestAQueryOutlivesACrash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant, s := contoso(t, 1200)
		tenant.GraphDelay = time.Hour
		tenant.GraphV1Off = true // what version works is forgotten in the crash
		m := memory{}
		ctx, crash := context.WithTimeout(t.Context(), time.Minute)
		defer crash()
		for _, err := range m.of(s).Search(ctx, everything(), &auditlog.Verdict{}) {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
		ids, v, err := search(t, m.of(as(tenant, ada)), everything())
		if err != nil || len(ids) != 1200 || v.Status() != auditlog.Complete || asked(tenant, "graph-create", 201) != 1 {
			t.Errorf("%d records, %v, %v; %d queries created", len(ids), v, err, tenant.Asked("graph-create"))
		}

		if note := strings.Join(v.Noted, ""); !strings.Contains(note, "Microsoft began this search at 2000-01-01 00:00 UTC") || len(v.Queries) != 1 {
			t.Errorf("noted %q, queries %v", note, v.Queries)
		}

		other := everything()
		other.Operations = []string{"FileAccessed"}
		if ids, _, err := search(t, m.of(as(tenant, ada)), other); err != nil || len(ids) != 1200 || asked(tenant, "graph-create", 201) != 2 {
			t.Errorf("another search: %d records, %v; %d queries created", len(ids), err, tenant.Asked("graph-create"))
		}

		tenant.ForgetQueries()
		if ids, _, err := search(t, m.of(as(tenant, ada)), other); err != nil || len(ids) != 1200 || asked(tenant, "graph-create", 201) != 3 {
			t.Errorf("forgotten by Microsoft: %d records, %v; %d queries created", len(ids), err, tenant.Asked("graph-create"))
		}
	})
}

func TestAnOldQueryIsNotCalledComplete(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, s := contoso(t, 0)
		m := memory{}
		m.of(s)
		q := auditlog.Query{Start: time.Now().Add(-2 * time.Hour), End: time.Now().Add(-time.Hour)}
		for _, c := range []struct {
			later time.Duration
			want  auditlog.Status
		}{{0, auditlog.Complete}, {5 * time.Minute, auditlog.Complete}, {time.Hour, auditlog.Unknown}} {
			time.Sleep(c.later)
			if _, v, err := search(t, s, q); err != nil || v.Status() != c.want {
				t.Errorf("%v later: %v, %v", c.later, v, err)
			}
		}
		q.Start, q.End = time.Now().Add(-4*time.Hour), time.Now().Add(-2*time.Hour) // settled before the query is created
		for range 2 {
			if _, v, err := search(t, s, q); err != nil || v.Status() != auditlog.Complete {
				t.Errorf("a settled range: %v, %v", v, err)
			}
			time.Sleep(24 * time.Hour)
		}
	})
}

func TestAQueryThatFailsTwiceIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant, s := contoso(t, 3)
		tenant.Fail(tenantsim.QueryFailed, tenantsim.QueryFailed)
		_, _, err := search(t, s, everything())
		if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || errors.Is(err, auditlog.ErrNoAccess) || !strings.Contains(r.Problem, "without a result (failed), twice") {
			t.Error(err)
		}
		if n := tenant.Asked("graph-create"); n != 2 {
			t.Errorf("%d queries created, want 2", n)
		}
	})
}

func TestTheVersionThatAnswersIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant, s := contoso(t, 3)
		paths := func() string {
			var all []string
			for _, r := range tenant.Requests() {
				version, _, _ := strings.Cut(strings.TrimPrefix(r.URL, "/"), "/")
				all = append(all, version)
			}
			return strings.Join(all, " ")
		}
		read := func() {
			t.Helper()
			if ids, v, err := search(t, s, everything()); err != nil || len(ids) != 3 || v.Status() != auditlog.Complete {
				t.Errorf("%d records, %v, %v", len(ids), v, err)
			}
		}
		read()
		tenant.GraphV1Off = true // as happened in July 2025
		read()
		s.Tenant = as(tenant, ada).Tenant
		s.Tenant.HTTP = &http.Client{Transport: direct.To(tenant)}
		read()
		read()
		if got, want := paths(), "v1.0 v1.0 v1.0 v1.0 beta beta beta v1.0 beta beta beta beta beta beta"; got != want {
			t.Errorf("asked\n%s, want\n%s", got, want)
		}
	})
}

func TestMoreThanOneQueryGivesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant, s := contoso(t, 100)
		tenant.GraphLimit = 50
		if ids, _, err := search(t, s, everything()); !errors.Is(err, auditlog.ErrFull) || len(ids) != 0 || tenant.Asked("graph-records") != 0 {
			t.Errorf("all: %d records, %v", len(ids), err)
		}
		q := everything()
		q.Newest = 500
		if ids, v, err := search(t, s, q); err != nil || len(ids) != 50 || v.Status() != auditlog.Partial || !strings.Contains(v.String(), "gives out 50 records of one query") {
			t.Errorf("the newest: %d records, %v, %v", len(ids), v, err)
		}
		tenant.GraphLimit = 100 // as many as there are: it cannot be told whether there are more
		if _, _, err := search(t, s, everything()); !errors.Is(err, auditlog.ErrFull) {
			t.Errorf("just so many: %v", err)
		}
		tenant.GraphLimit = 1
		second := auditlog.Query{Start: noon.Add(-time.Second), End: noon}
		if ids, v, err := search(t, s, second); err != nil || len(ids) != 1 || v.Status() != auditlog.Partial {
			t.Errorf("a second: %d records, %v, %v", len(ids), v, err)
		}
	})
}

func TestATenantWithoutTheRoleOrAuditing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant, s := contoso(t, 3)
		_, _, err := search(t, as(tenant, "bob@contoso.com"), everything())
		if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || !errors.Is(err, auditlog.ErrNoAccess) || !strings.Contains(r.Advice, "AuditLogsQuery.Read.All") {
			t.Errorf("without the role: %v", err)
		}
		tenant.SetAuditing(false)
		ids, v, err := search(t, s, everything())
		if err != nil || len(ids) != 0 || v.String() != "⚠️ Partial: auditing is switched off in this tenant, so nothing is recorded" {
			t.Errorf("auditing off: %d records, %v, %v", len(ids), v, err)
		}
	})
}

func TestTheBudgetOfATenant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, s := contoso(t, 1)
		for range 200 {
			if _, _, err := search(t, s, everything()); err != nil {
				t.Fatal(err)
			}
		}
		_, _, err := search(t, s, everything())
		if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || !strings.Contains(r.Advice, "about 200 queries in 24 hours, all its programs together, of which this one submitted 200") {
			t.Error(err)
		}
		time.Sleep(24 * time.Hour)
		if used, _ := s.Tenant.Budget(); used != 0 {
			t.Errorf("%d used a day later", used)
		}
		if ids, _, err := search(t, s, everything()); err != nil || len(ids) != 1 {
			t.Errorf("a day later: %v", err)
		}
	})
}

func TestALinkToAnotherHostIsNotFollowed(t *testing.T) {
	t.Parallel()
	for _, link := range []string{"https://203.0.113.7/records", "https://graph.microsoft.com.fabrikam.com/", "http://graph.microsoft.com/x", "https://graph.microsoft.com:8443/x", "https://ada@graph.microsoft.com/x"} {
		synctest.Test(t, func(t *testing.T) {
			tenant, s := contoso(t, 3)
			tenant.Fail(tenantsim.Linked(link).On("graph-records"))
			ids, v, err := search(t, s, everything())
			if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || len(ids) != 3 || len(v.Warnings) != 1 || !strings.Contains(r.Problem, "further pages") {
				t.Errorf("%s: %d records, %v, %v", link, len(ids), v, err)
			}
		})
	}
}

func TestWhatGraphCannotDoIsRefusedBeforeItIsAsked(t *testing.T) {
	t.Parallel()
	q := everything()
	q.SiteIDs = []string{"4e2f9d6a-8b1c-4f3e-9a7d-5c0b6e8f1a2d"}
	for _, c := range []struct {
		url     string
		q       auditlog.Query
		problem string
	}{
		{"https://graph.microsoft.us", everything(), "only in the global cloud"},
		{"https://dod-graph.microsoft.us", everything(), "only in the global cloud"},
		{"https://microsoftgraph.chinacloudapi.cn/", everything(), "only in the global cloud"},
		{"http://graph.microsoft.com", everything(), "not an https:// URL"},
		{"graph.microsoft.com", everything(), "not an https:// URL"},
		{"https://graph.microsoft.com", q, "cannot search by site_ids"},
	} {
		s := source(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }))
		s.Tenant.URL = c.url
		_, _, err := search(t, s, c.q)
		r, ok := errors.AsType[*auditlog.Refusal](err)
		if !ok || !errors.Is(err, auditlog.ErrNoAccess) || !strings.Contains(r.Problem, c.problem) || r.Advice == "" {
			t.Errorf("%s: %v", c.url, err)
		}
	}
}

func TestAQueryIsSentAsItIsMeant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant, s := contoso(t, 3)
		q := everything()
		q.Operations, q.UserIDs, q.IPAddresses = []string{"FileAccessed", "Update user."}, []string{"bob@contoso.com"}, []string{"203.0.113.7"}
		q.ObjectIDs, q.RecordTypes, q.FreeText = []string{"https://contoso.sharepoint.com/sites/x/*"}, []string{"SharePoint", "HRSignal", "MS365DIncident"}, "two words"
		if ids, _, err := search(t, s, q); err != nil || len(ids) != 0 {
			t.Errorf("%v, %v", ids, err)
		}
		var sent map[string]any
		if err := json.Unmarshal(tenant.Requests()[0].Body, &sent); err != nil {
			t.Fatal(err)
		}
		delete(sent, "displayName")
		got, _ := json.Marshal(sent)
		want := `{"filterEndDateTime":"2026-11-06T12:00:00Z","filterStartDateTime":"2026-11-04T12:00:00Z","ipAddressFilters":["203.0.113.7"],"keywordFilter":"two words",` +
			`"objectIdFilters":["https://contoso.sharepoint.com/sites/x/*"],"operationFilters":["FileAccessed","Update user."],` +
			`"recordTypeFilters":["sharePoint","hrSignal","ms365DIncident"],"userPrincipalNameFilters":["bob@contoso.com"]}`
		if string(got) != want {
			t.Errorf("sent\n%s, want\n%s", got, want)
		}
		q.RecordTypes = []string{"Nonsense"}
		_, _, err := search(t, s, q)
		if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || !strings.Contains(r.Problem, `knows no record_type "nonsense"`) {
			t.Error(err)
		}
	})
}
