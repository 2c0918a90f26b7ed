package commands

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"auditbot/auditlog"
	"auditbot/auditlog/tenantsim"
)

// signedInAs is a tenant as somebody reaches it who has signed in there.
func signedInAs(t *testing.T, s *tenantsim.Server, upn string) Instance {
	t.Helper()
	i := signedOut(s)
	i.Account.Expect = upn
	if err := i.Account.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestAuthTestSaysWhatIsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reply := answer(t, env(signedInAs(t, tenant(t, records(t)), ada)), "!o365-auditlog-auth-test")
		want := "signed in to contoso.com as ada@contoso.com\nmay run Search-UnifiedAuditLog\nauditing is switched on"
		if reply.Title != "Test ok" || reply.Text != want {
			t.Errorf("%q\n%s", reply.Title, reply.Text)
		}
	})
}

func TestAuthTestAsksGraphItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := signedInAs(t, tenant(t, records(t)), ada)
		i.Exchange, i.MaySearch = nil, func(context.Context) error { return nil }
		says(t, answer(t, env(i), "!o365-auditlog-auth-test").Text, "signed in to contoso.com as ada@contoso.com\nmay query the audit log through Microsoft Graph")
		i.MaySearch = func(context.Context) error { return &auditlog.Refusal{Problem: "the permission is missing"} }
		if _, err := Run(t.Context(), env(i), "!o365-auditlog-auth-test"); err == nil || !strings.Contains(err.Error(), "the permission is missing") {
			t.Error(err)
		}
	})
}

func TestAuthTestNamesTheMissingRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := Run(t.Context(), env(signedInAs(t, tenant(t, records(t)), mallory)), "!o365-auditlog-auth-test")
		r, ok := errors.AsType[*auditlog.Refusal](err)
		if !ok {
			t.Fatal(err)
		}
		says(t, r.Problem, "mallory@contoso.com is signed in but may not run Search-UnifiedAuditLog")
		says(t, r.Advice, `"View-Only Audit Logs" or "Audit Logs"`, "Exchange admin centre", "!o365-auditlog-auth-reset")
	})
}

// Where one sign-in serves all, analysts cannot sign in again.
func TestAdviceFitsWhoSignsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := signedInAs(t, tenant(t, records(t)), mallory)
		for _, line := range []string{"!o365-auditlog-auth-test", "!o365-auditlog-search"} {
			for _, c := range []struct {
				shared   bool
				password auditlog.Secret
				want     string
			}{
				{false, "", ", then sign in again: !o365-auditlog-auth-reset, then !o365-auditlog-auth-start"},
				{true, "", "an admin of this bot has to sign in again: !o365-auditlog-auth-reset, then !o365-auditlog-auth-start"},
				{true, tenantsim.ContosoPassword, "an admin of this bot types !o365-auditlog-auth-reset, and the next command signs in anew"},
			} {
				i.Shared, i.Account.Password = c.shared, c.password
				_, err := Run(t.Context(), env(i), line)
				r, ok := errors.AsType[*auditlog.Refusal](err)
				if !ok {
					t.Fatal(err)
				}
				says(t, r.Advice, strings.TrimPrefix(c.want, map[bool]string{true: ", then "}[line == "!o365-auditlog-search"]))
			}
		}
	})
}

func TestAuthTestWarns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := tenant(t, records(t))
		s.SetAuditing(false)
		i := signedInAs(t, s, ada)
		i.Insecure = true
		reply := answer(t, env(i), "!o365-auditlog-auth-test")
		if reply.Title != "Test ok, with warnings" {
			t.Errorf("%q", reply.Title)
		}
		says(t, reply.Text, "may run Search-UnifiedAuditLog", "⚠️ auditing is switched off in this tenant: searches will find nothing", "Set-AdminAuditLogConfig", "⚠️ insecure: true is set")

		s.SetAuditing(true)
		says(t, answer(t, env(i), "!o365-auditlog-auth-test").Text, "auditing is switched on", "⚠️ insecure: true is set")
	})
}

func TestAuthTestPassesOnWhatMicrosoftSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := tenant(t, records(t))
		e := env(signedInAs(t, s, ada))
		for _, name := range []string{"EXOModuleFile", "Get-AdminAuditLogConfig"} {
			for range 5 {
				s.Fail(tenantsim.Unavailable.On(name))
			}
			_, err := Run(t.Context(), e, "!o365-auditlog-auth-test")
			if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || r.Advice == "" {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestAuthResetForgetsTheSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := signedInAs(t, tenant(t, records(t)), ada)
		reply := answer(t, env(i), "!o365-auditlog-auth-reset")
		if reply.Title != "Signed out of contoso.com" {
			t.Errorf("%q", reply.Title)
		}
		says(t, reply.Text, "The sign-in of ada@contoso.com at contoso.com is deleted here.", "https://mysignins.microsoft.com")
		if _, _, ok, err := i.Account.SignedIn(t.Context()); ok || err != nil {
			t.Errorf("SignedIn = %v, %v", ok, err)
		}
		says(t, answer(t, env(i), "!o365-auditlog-auth-reset").Text, "At contoso.com there was no sign-in to delete.")
		i.Account.Password = tenantsim.ContosoPassword
		says(t, answer(t, env(i), "!o365-auditlog-auth-reset").Text, "the next command does it again")

		stuck := errors.New("stuck")
		i.Account.Store.Delete = func(context.Context, string) error { return stuck }
		if _, err := Run(t.Context(), env(i), "!o365-auditlog-auth-reset"); !errors.Is(err, stuck) {
			t.Errorf("%v", err)
		}
	})
}

func TestAuthResetForgetsBothSidesOfATenantAndWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := tenant(t, records(t))
		exchange, graph, other := signedInAs(t, s, ada), signedInAs(t, s, ada), signedInAs(t, s, ada)
		graph.Name, graph.Tenant, graph.GraphOf = "contoso-graph", "contoso.com (Microsoft Graph)", "contoso"
		other.Name = "fabrikam"
		var withdrawn []string
		for _, i := range []*Instance{&exchange, &graph, &other} {
			i.Withdraw = func(context.Context) (bool, error) {
				withdrawn = append(withdrawn, i.Name)
				return i.Name == "contoso-graph", nil
			}
		}
		signedIn := func(i Instance) bool {
			_, _, ok, err := i.Account.SignedIn(t.Context())
			return ok && err == nil
		}
		e := env(exchange, other, graph)
		says(t, answer(t, e, "!o365-auditlog-auth-reset using=contoso-graph").Text,
			"at contoso.com (Microsoft Graph) is deleted here. The code that was on its way is cancelled.")
		if !signedIn(exchange) || signedIn(graph) {
			t.Error("using=contoso-graph is about Graph alone")
		}
		says(t, answer(t, e, "!o365-auditlog-auth-reset").Text,
			"The sign-in of ada@contoso.com at contoso.com is deleted here.", "At contoso.com (Microsoft Graph) there was no sign-in")
		if signedIn(exchange) || !signedIn(other) {
			t.Error("it is not contoso's sign-in that was forgotten")
		}
		if got := strings.Join(withdrawn, " "); got != "contoso-graph contoso contoso-graph" {
			t.Errorf("the codes of %s were withdrawn", got)
		}
	})
}

func TestOneSignInForAllIsTheAdmins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := signedInAs(t, tenant(t, records(t)), ada)
		i.Shared = true
		e := env(i)
		e.Admins = func(context.Context) []string { return []string{"Lea", "Max", "Kim"} }
		for _, line := range []string{"!o365-auditlog-auth-start", "!o365-auditlog-auth-reset"} {
			m := mistaken(t, e, line)
			says(t, m.Problem, "one sign-in serves everybody at contoso.com", "only the admins of this bot")
			says(t, m.Hint, "ask Lea, Max or Kim to do it")
		}
		says(t, mistaken(t, env(i), "!o365-auditlog-auth-start").Hint, "access.admins")
		if _, _, ok, err := i.Account.SignedIn(t.Context()); !ok || err != nil {
			t.Errorf("SignedIn = %v, %v", ok, err)
		}
		e.Admin = true
		says(t, answer(t, e, "!o365-auditlog-auth-start").Text, "a code was sent")
		says(t, answer(t, e, "!o365-auditlog-auth-reset").Text, "revokes the sessions of ada@contoso.com in Entra")

		e.Admin, i.Account.Password = false, tenantsim.ContosoPassword // nobody has to sign in there
		says(t, answer(t, e, "!o365-auditlog-auth-start").Text, "a code was sent")
		mistaken(t, e, "!o365-auditlog-auth-reset")
	})
}

func TestAuthStartAndCompleteSayWhatTheirSurroundingsDo(t *testing.T) {
	i := signedOut(nil)
	for line, want := range map[string]Reply{
		"!o365-auditlog-auth-start":                  {Title: "Signing in to contoso.com", Text: "a code was sent"},
		"!o365-auditlog-auth-complete using=contoso": {Title: "Sign-in at contoso.com", Text: "not done yet"},
	} {
		if got := answer(t, env(i), line); got.Title != want.Title || got.Text != want.Text {
			t.Errorf("%s: %q, %q", line, got.Title, got.Text)
		}
	}
	refusal := &auditlog.Refusal{Problem: "no"}
	i.SignIn = func(context.Context) (string, error) { return "", refusal }
	i.Check = i.SignIn
	for _, line := range []string{"!o365-auditlog-auth-start", "!o365-auditlog-auth-complete"} {
		if _, err := Run(t.Context(), env(i), line); !errors.Is(err, refusal) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestAuthCommandsRefuseAnUnknownInstance(t *testing.T) {
	for _, name := range []string{"start", "complete", "test", "reset"} {
		m := mistaken(t, env(Instance{Name: "contoso"}), "!o365-auditlog-auth-"+name+" using=fabrikam")
		says(t, m.Problem, `there is no instance "fabrikam"`)
		says(t, m.Hint, "using= takes one of: contoso")
		says(t, mistaken(t, env(), "!o365-auditlog-auth-"+name).Problem, "no access to any tenant")
	}
}
