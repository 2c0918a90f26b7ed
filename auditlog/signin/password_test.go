package signin_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
)

// withPassword is an account that signs in with its password, by itself.
func withPassword(t *testing.T, upn string) (*tenantsim.Server, *signin.Account, *shelf) {
	t.Helper()
	tenant := contoso(t)
	a, shelf := account(tenant)
	a.Expect, a.Password = upn, tenantsim.ContosoPassword
	return tenant, a, shelf
}

func TestAPasswordSignsInByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant, a, shelf := withPassword(t, ada)
		token, err := a.Token(t.Context(), "")
		if err != nil || token.Account != ada || shelf.field("access") != string(token.Access) {
			t.Fatalf("%v, %v", token, err)
		}
		if again, err := a.Token(t.Context(), ""); err != nil || again != token {
			t.Errorf("again: %v, %v", again, err)
		}
		if next, err := a.Token(t.Context(), token.Access); err != nil || next == token {
			t.Errorf("next: %v, %v", next, err)
		}
		if grants := sent(tenant, "grant_type"); !slices.Equal(grants, []string{"password", "refresh_token"}) {
			t.Errorf("grants %v", grants)
		}
	})
}

func TestAPasswordIsUsedAgainWhenTheSignInHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant, a, _ := withPassword(t, ada)
		first, err := a.Token(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		tenant.Revoke(ada)
		time.Sleep(time.Second)
		second, err := a.Token(t.Context(), first.Access)
		if err != nil || second == first {
			t.Errorf("%v, %v", second, err)
		}
		if grants := sent(tenant, "grant_type"); !slices.Equal(grants, []string{"password", "refresh_token", "password"}) {
			t.Errorf("grants %v", grants)
		}
	})
}

func TestAPasswordThatDoesNotHelp(t *testing.T) {
	for _, c := range []struct{ name, upn, problem, advice string }{
		{"second factor", "oscar@contoso.com", "a second factor is needed, because a policy has changed or the place is new (AADSTS50076)", "auth: device_code"},
		{"policy", "trudy@contoso.com", "a Conditional Access policy blocks the sign-in (AADSTS53003)", "auth: device_code"},
		{"no such account", "nobody@contoso.com", "the account of the settings does not exist in the tenant (AADSTS50034)", "upn:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, a, shelf := withPassword(t, c.upn)
				_, err := a.Token(t.Context(), "")
				r := refused(t, err)
				says(t, r.Problem, c.problem)
				says(t, r.Advice, c.advice)
				if !shelf.empty() {
					t.Error("something was stored")
				}
			})
		})
	}
}

func TestAWrongPasswordIsARefusalEvenAfterASignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant, a, shelf := withPassword(t, ada)
		first, err := a.Token(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		tenant.Change(ada, func(a *tenantsim.Account) { a.Password = "another" })
		tenant.Revoke(ada)
		_, err = a.Token(t.Context(), first.Access)
		r := refused(t, err)
		says(t, r.Problem, "the user name or the password of the settings is wrong (AADSTS50126)")
		says(t, r.Advice, "AUDITBOT_PASSWORD_")
		if shelf.field("access") != string(first.Access) {
			t.Error("what is stored has changed")
		}
	})
}

func TestAPasswordIsNotSentWhereMicrosoftDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant, a, shelf := withPassword(t, ada)
		if _, err := a.Token(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			tenant.Fail(tenantsim.Unavailable.On("token"))
		}
		_, err := a.Token(t.Context(), auditlog.Secret(shelf.field("access")))
		refused(t, err)
		if grants := sent(tenant, "grant_type"); slices.Contains(grants[1:], "password") {
			t.Errorf("grants %v", grants)
		}
	})
}

func TestSigningInWithAPasswordOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, shelf := signedIn(t, contoso(t))
		if upn, _, ok, err := a.SignedIn(t.Context()); upn != ada || !ok || err != nil {
			t.Errorf("SignedIn = %q, %v, %v", upn, ok, err)
		}
		before := shelf.field("access")
		says(t, refused(t, a.SignIn(t.Context(), "wrong")).Problem, "(AADSTS50126)")
		if shelf.field("access") != before {
			t.Error("a failure changed what is stored")
		}
	})
}

func TestAnApplicationThatIsNoPublicClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, _ := account(tenant)
		a.Entra.ClientID = tenantsim.ContosoApp // has a secret
		code := start(t, a)
		tenant.Approve(string(code.UserCode), ada)
		_, err := a.Wait(t.Context(), code)
		r := refused(t, err)
		says(t, r.Problem, "not a public client", "(AADSTS7000218)")
		says(t, r.Advice, "Allow public client flows")
		if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); !strings.Contains(err.Error(), "AADSTS7000218") {
			t.Errorf("%v", err)
		}
	})
}

// A refresh that Microsoft refuses because of the settings ends nothing.
func TestARefreshRefusedForTheApplicationLeavesTheSignInAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := signedIn(t, tenant)
		tenant.Tenant.Apps[0].ClientID = "gone" // it was deleted from the tenant
		_, err := a.Token(t.Context(), auditlog.Secret(shelf.field("access")))
		says(t, refused(t, err).Problem, "the application is not known in the tenant (AADSTS700016)")
		if shelf.empty() {
			t.Error("the sign-in is gone")
		}
	})
}
