package commands

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog/graph"
	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
)

// daysAgo is a tenant with a record of each of these days.
func daysAgo(t *testing.T, days ...int) *tenantsim.Server {
	t.Helper()
	var lines []string
	for _, n := range days {
		at := time.Now().UTC().AddDate(0, 0, -n).Add(-time.Hour)
		lines = append(lines, fmt.Sprintf(`{"CreationTime":%q,"Id":"id-%d","Operation":"FileAccessed","RecordType":6,"UserId":"bob@contoso.com","Workload":"SharePoint"}`, at.Format("2006-01-02T15:04:05"), n))
	}
	s := tenant(t, records(t, lines...))
	s.Tenant.Apps = append(tenantsim.MicrosoftApps(), tenantsim.OwnApp())
	return s
}

// graphSide is a tenant's other side as Ada reaches it who has signed in there.
func graphSide(t *testing.T, s *tenantsim.Server) Instance {
	t.Helper()
	account := &signin.Account{
		Entra: &signin.Entra{
			HTTP: &http.Client{Transport: direct{s}}, LoginURL: "https://login.microsoftonline.com", Tenant: "contoso.com",
			ClientID: tenantsim.OwnApp().ClientID, Resource: "https://graph.microsoft.com",
		},
		Store: memory(), Key: "contoso-graph/U1", Expect: ada,
	}
	if err := account.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
		t.Fatal(err)
	}
	source := &graph.Source{Tenant: &graph.Tenant{HTTP: &http.Client{Transport: direct{s}}, URL: "https://graph.microsoft.com", ID: "contoso.com"}, Token: account.Token}
	return Instance{Name: "contoso-graph", GraphOf: "contoso", Account: account, MaySearch: source.MaySearch, Budget: source.Tenant.Budget}
}

var checkup = Checkup{Person: "U1", SignIn: func(name string) string { return "sign in at " + name }}

// lines are checks as a person reads them.
func lines(checks []Check) string {
	var b strings.Builder
	for _, c := range checks {
		fmt.Fprintf(&b, "%s %s: %s", c.Level, c.Name, c.Found)
		if c.Do != "" {
			b.WriteString(" -> " + c.Do)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestAHealthyInstanceIsFoundToBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := daysAgo(t, 1, 200)
		all := checkup.Instances(t.Context(), []Instance{signedInAs(t, s, ada), graphSide(t, s)})
		want := `ok contoso tenant: contoso.com is tenant ` + s.Tenant.ID + `
ok contoso sign-in: as ada@contoso.com
ok contoso role: may run Search-UnifiedAuditLog
ok contoso auditing: switched on
ok contoso retention: records reach back beyond 180 days
ok contoso graph sign-in: as ada@contoso.com
ok contoso graph: may be searched; 0 of about 200 queries were submitted within 24 hours
`
		if got := lines(all); got != want {
			t.Errorf("%s", got)
		}
		ranges := map[any]bool{}
		for _, r := range s.Requests() {
			if r.Name == searchCmdlet { // an empty answer is asked for twice
				ranges[r.Parameters["StartDate"]] = true
			}
		}
		if len(ranges) != 3 {
			t.Errorf("%d ranges were searched", len(ranges))
		}
		if n := s.Asked("graph-create") + s.Asked("devicecode"); n > 0 {
			t.Errorf("%d queries and codes", n)
		}
	})
}

func TestEachFaultOfAnInstanceHasItsLine(t *testing.T) {
	fail := func(f tenantsim.Fault) func(*tenantsim.Server, []Instance) {
		return func(s *tenantsim.Server, _ []Instance) {
			for range 40 {
				s.Fail(f)
			}
		}
	}
	for name, c := range map[string]struct {
		breakIt func(*tenantsim.Server, []Instance)
		want    []string // parts of the lines, in their order
	}{
		"the tenant's name is wrong": {
			func(_ *tenantsim.Server, i []Instance) {
				i[0].Account.Entra = &signin.Entra{HTTP: i[0].Account.Entra.HTTP, LoginURL: "https://login.microsoftonline.com", Tenant: "fabrikam.com"}
			},
			[]string{"failure contoso tenant: ", " -> ", "warning contoso sign-in: not checked", "warning contoso retention: not checked"},
		},
		"nobody is signed in": {
			func(_ *tenantsim.Server, i []Instance) { i[0].Account.Reset(context.Background()) },
			[]string{"ok contoso tenant", "warning contoso sign-in: you are not signed in -> to have the rest checked: sign in at contoso\n",
				"warning contoso role: not checked: there is no sign-in to do it with\n", "warning contoso auditing: not checked", "ok contoso graph: "},
		},
		"nobody is signed in where one sign-in is for all": {
			func(_ *tenantsim.Server, i []Instance) { i[0].Shared = true; i[0].Account.Reset(context.Background()) },
			[]string{"warning contoso sign-in: nobody is signed in -> an admin of this bot signs in for all: sign in at contoso\n"},
		},
		"one sign-in is for all": {
			func(_ *tenantsim.Server, i []Instance) { i[0].Shared = true },
			[]string{"ok contoso sign-in: as ada@contoso.com, for everybody\n"},
		},
		"it is not known who is to sign in": {
			func(_ *tenantsim.Server, i []Instance) { i[0].Account.Expect = "" },
			[]string{"warning contoso sign-in: it is not known which account is yours -> whoever runs this bot adds to the instance's settings accounts: {U1: name@domain}\n"},
		},
		"the sign-in was revoked": {
			func(s *tenantsim.Server, _ []Instance) {
				s.Revoke(ada)
				time.Sleep(2 * time.Hour) // past the end of the access token
			},
			[]string{"warning contoso sign-in: not signed in: ", "warning contoso graph sign-in: not signed in: ", "warning contoso graph: not checked: there is no sign-in"},
		},
		"the role was taken": {
			func(s *tenantsim.Server, _ []Instance) { s.Change(ada, func(a *tenantsim.Account) { a.Roles = nil }) },
			[]string{"failure contoso role: may not run Search-UnifiedAuditLog -> ", "warning contoso auditing: not checked: the role",
				"failure contoso graph: who is signed in may not search the audit log through Microsoft Graph"},
		},
		"auditing was switched off": {
			func(s *tenantsim.Server, _ []Instance) { s.SetAuditing(false) },
			[]string{"failure contoso auditing: switched off in this tenant: searches find nothing -> an administrator runs Set-AdminAuditLogConfig"},
		},
		"the list of cmdlets does not come": {
			fail(tenantsim.Unavailable.On("EXOModuleFile")),
			[]string{"failure contoso role: Exchange Online has a failure of its own (503)"},
		},
		"the switch cannot be read": {
			fail(tenantsim.Unavailable.On("Get-AdminAuditLogConfig")),
			[]string{"failure contoso auditing: Exchange Online has a failure of its own", "ok contoso retention"},
		},
		"no search is answered": {
			fail(tenantsim.Unavailable),
			[]string{"ok contoso auditing", "warning contoso retention: how far back records reach cannot be seen: Exchange Online has a failure of its own"},
		},
		"Graph is not configured": {
			func(_ *tenantsim.Server, i []Instance) { i[1].GraphOf = "another" },
			[]string{"ok contoso graph: not used: no graph_client_id is set\n"},
		},
		"Graph takes no more queries": {
			func(_ *tenantsim.Server, i []Instance) { i[1].Budget = func() (int, int) { return 200, 200 } },
			[]string{"warning contoso graph: may be searched; 200 of about 200 queries", "searches go through Exchange Online"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := daysAgo(t, 1, 400)
				instances := []Instance{signedInAs(t, s, ada), graphSide(t, s)}
				c.breakIt(s, instances)
				began := time.Now()
				got := lines(checkup.Instances(t.Context(), instances))
				rest := got
				for _, part := range c.want {
					_, after, ok := strings.Cut(rest, part)
					if !ok {
						t.Fatalf("there is no %q in this order in\n%s", part, got)
					}
					rest = after
				}
				if took := time.Since(began); took > 45*time.Second {
					t.Errorf("it took %v", took)
				}
				if s.Asked("devicecode") > 0 {
					t.Error("a sign-in was begun")
				}
			})
		})
	}
}

func TestHowFarBackRecordsReachIsSaid(t *testing.T) {
	for want, days := range map[string][]int{
		"ok contoso retention: records reach back beyond 365 days":       {1, 100, 200, 800},
		"ok contoso retention: records reach back beyond 180 days":       {1, 200},
		"ok contoso retention: records reach back beyond 90 days":        {100},
		"warning contoso retention: nothing older than 90 days was seen": {1, 80},
	} {
		synctest.Test(t, func(t *testing.T) {
			if got := lines(checkup.Instances(t.Context(), []Instance{signedInAs(t, daysAgo(t, days...), ada)})); !strings.Contains(got, want) {
				t.Errorf("%v days ago: %s", days, got)
			}
		})
	}
}

func TestWithoutItsStoreASignInIsNotCheckedUnlessItNeedsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Checkup{SignIn: checkup.SignIn, Unread: "the data folder is not open"}
		i := signedOut(daysAgo(t, 1))
		says(t, lines(c.Instances(t.Context(), []Instance{i})), "warning contoso sign-in: not checked: the data folder is not open\n")
		i.Account.Password = tenantsim.ContosoPassword
		says(t, lines(c.Instances(t.Context(), []Instance{i})), "ok contoso sign-in: as ada@contoso.com")
	})
}

func TestInstancesAreInTheOrderOfTheSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := signedOut(daysAgo(t, 1)), signedOut(daysAgo(t, 1))
		first.Name, second.Name = "zulu", "alpha"
		var names []string
		for _, c := range checkup.Instances(t.Context(), []Instance{first, second}) {
			name, _, _ := strings.Cut(c.Name, " ")
			names = append(names, name)
		}
		if got := slices.Compact(names); !slices.Equal(got, []string{"zulu", "alpha"}) {
			t.Errorf("%q", names)
		}
	})
}
