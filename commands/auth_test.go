package commands

import (
	"context"
	"errors"
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
		says(t, reply.Text, "deleted here", "https://mysignins.microsoft.com")
		if _, _, ok, err := i.Account.SignedIn(t.Context()); ok || err != nil {
			t.Errorf("SignedIn = %v, %v", ok, err)
		}
		if again := answer(t, env(i), "!o365-auditlog-auth-reset"); again.Title != reply.Title {
			t.Errorf("again: %q", again.Title)
		}
		i.Account.Password = tenantsim.ContosoPassword
		says(t, answer(t, env(i), "!o365-auditlog-auth-reset").Text, "the next command does it again")

		stuck := errors.New("stuck")
		i.Account.Store.Delete = func(context.Context, string) error { return stuck }
		if _, err := Run(t.Context(), env(i), "!o365-auditlog-auth-reset"); !errors.Is(err, stuck) {
			t.Errorf("%v", err)
		}
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
