package signin_test

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
)

// ownApp is an application of contoso's that signs in as itself.
const ownApp = "3f0c5a1e-7d42-4c9b-8a6f-1b2d3e4f5a6b"

// withOwnApp is contoso with that application, which has this secret and the
// certificate of rsaPair.
func withOwnApp(t *testing.T) *tenantsim.Server {
	tenant := contoso(t)
	tenant.Tenant.Apps = append(tenantsim.MicrosoftApps(), tenantsim.App{
		ClientID: ownApp, Secret: "the secret", Certificates: []*x509.Certificate{rsaPair().leaf}, AppRoles: []string{"Exchange.ManageAsApp"},
	})
	return tenant
}

// application is that application's account at a handler.
func application(h http.Handler) (*signin.Account, *shelf) {
	a, s := account(h)
	a.Entra.ClientID, a.Expect, a.Key = ownApp, "", "contoso"
	return a, s
}

// certificate is that of a pair.
func certificate(t *testing.T, p pair) *signin.Certificate {
	t.Helper()
	c, err := signin.ReadCertificate(append(p.cert(), p.pkcs8()...), "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnApplicationSignsInByItself(t *testing.T) {
	for name, prove := range map[string]func(*signin.Account){
		"secret":      func(a *signin.Account) { a.ClientSecret = "the secret" },
		"certificate": func(a *signin.Account) { a.Certificate = certificate(t, rsaPair()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := withOwnApp(t)
				tenant.TokenLifetime = time.Hour
				a, shelf := application(tenant)
				prove(a)
				first, err := a.Token(t.Context(), "")
				if err != nil || first.Account != "" || first.Tenant != tenantID || shelf.field("access") != string(first.Access) || !a.Unattended() {
					t.Fatalf("%v, %v", first, err)
				}
				if again, err := a.Token(t.Context(), ""); err != nil || again != first {
					t.Errorf("again: %v, %v", again, err)
				}
				second, err := a.Token(t.Context(), first.Access)
				if err != nil || second == first {
					t.Errorf("rejected: %v, %v", second, err)
				}
				time.Sleep(time.Hour)
				if third, err := replica(tenant, a).Token(t.Context(), ""); err == nil {
					t.Errorf("without proof: %v", third)
				}
				if third, err := a.Token(t.Context(), ""); err != nil || third == second || shelf.field("refresh") != "" || shelf.field("upn") != "" {
					t.Errorf("after an hour: %v, %v", third, err)
				}
				for i, grant := range sent(tenant, "grant_type") {
					if scope := sent(tenant, "scope")[i]; grant != "client_credentials" || scope != exchange+"/.default" {
						t.Errorf("%s with scope %q", grant, scope)
					}
				}
				if upn, at, ok, err := a.SignedIn(t.Context()); upn != "" || at.IsZero() || !ok || err != nil {
					t.Errorf("SignedIn = %q, %v, %v, %v", upn, at, ok, err)
				}
			})
		})
	}
}

// claimsOf are those of an assertion, verified with the public key alone.
func claimsOf(t *testing.T, assertion string) jwt.MapClaims {
	t.Helper()
	p, claims := rsaPair(), jwt.MapClaims{}
	token, err := jwt.ParseWithClaims(assertion, claims, func(*jwt.Token) (any, error) { return p.key.Public().(*rsa.PublicKey), nil }, jwt.WithValidMethods([]string{"PS256"}))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(p.leaf.Raw)
	if got := token.Header["x5t#S256"]; got != base64.RawURLEncoding.EncodeToString(sum[:]) || token.Header["typ"] != "JWT" || len(token.Header) != 3 {
		t.Errorf("header %v", token.Header)
	}
	return claims
}

func TestEachRequestHasAnAssertionOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := withOwnApp(t)
		a, _ := application(tenant)
		a.Certificate = certificate(t, rsaPair())
		began := time.Now()
		tenant.Fail(tenantsim.Reset.On("token"), tenantsim.Unavailable.On("token")) // the first was served, and its answer got lost
		if _, err := a.Token(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		assertions := sent(tenant, "client_assertion")
		var ids []string
		for i, assertion := range assertions {
			claims := claimsOf(t, assertion)
			id, _ := claims["jti"].(string)
			ids = append(ids, id)
			at := began.Add([]time.Duration{0, time.Second, 3 * time.Second}[i]).Unix()
			for name, want := range map[string]any{
				"aud": login + "/contoso.com/oauth2/v2.0/token", "iss": ownApp, "sub": ownApp,
				"iat": float64(at), "nbf": float64(at - 60), "exp": float64(at + 600),
			} {
				if claims[name] != want {
					t.Errorf("assertion %d: %s is %v, want %v", i, name, claims[name], want)
				}
			}
		}
		slices.Sort(ids)
		if n := len(slices.Compact(ids)); n != 3 || len(assertions) != 3 || len(ids[0]) != 36 {
			t.Errorf("ids %q", ids)
		}
		if types := sent(tenant, "client_assertion_type"); types[2] != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || sent(tenant, "client_secret")[2] != "" {
			t.Errorf("sent %q", types)
		}
	})
}

func TestWhatAnApplicationIsRefusedFor(t *testing.T) {
	for _, c := range []struct {
		name            string
		change          func(tenant *tenantsim.Server, a *signin.Account)
		problem, advice string
	}{
		{"wrong secret", func(_ *tenantsim.Server, a *signin.Account) { a.ClientSecret = "wrong" }, "secret is wrong (AADSTS7000215)", "AUDITBOT_CLIENT_SECRET_"},
		{"secret of old", func(s *tenantsim.Server, a *signin.Account) {
			a.ClientSecret = "the secret"
			s.Tenant.Apps[1].SecretExpired = true
		}, "secret has expired (AADSTS7000222)", "AUDITBOT_CLIENT_SECRET_"},
		{"another certificate", func(_ *tenantsim.Server, a *signin.Account) { a.Certificate = certificate(t, otherPair()) }, "not registered for it, or its signature is wrong (AADSTS700027)", "certificate_file:"},
		{"Microsoft's application", func(_ *tenantsim.Server, a *signin.Account) { a.ClientSecret, a.Entra.ClientID = "x", clientID }, "cannot sign in as itself (AADSTS700025)", "client_id:"},
		{"unknown application", func(_ *tenantsim.Server, a *signin.Account) {
			a.ClientSecret, a.Entra.ClientID = "x", "11111111-2222-4333-8444-555555555555"
		}, "not known in the tenant (AADSTS700016)", "an application of the organisation's own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := withOwnApp(t)
				a, shelf := application(tenant)
				c.change(tenant, a)
				_, err := a.Token(t.Context(), "")
				r := refused(t, err)
				says(t, r.Problem, c.problem)
				says(t, r.Advice, c.advice)
				if n := len(sent(tenant, "grant_type")); n != 1 || !shelf.empty() {
					t.Errorf("%d requests; stored %v", n, !shelf.empty())
				}
			})
		})
	}
}

func TestNobodySignsInForAnApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := withOwnApp(t)
		a, _ := application(tenant)
		a.ClientSecret = "the secret"
		_, starting := a.Start(t.Context())
		_, waiting := a.Wait(t.Context(), &signin.Code{Expires: time.Now().Add(time.Hour)})
		for _, err := range []error{starting, waiting, a.SignIn(t.Context(), tenantsim.ContosoPassword)} {
			if r := refused(t, err); r.Problem != "the application signs in as itself" || len(tenant.Requests()) != 0 {
				t.Errorf("%v, %d requests", err, len(tenant.Requests()))
			}
		}
	})
}

func TestACertificateThatHasExpiredIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := withOwnApp(t)
		a, _ := application(tenant)
		a.Certificate = certificate(t, rsaPair())
		time.Sleep(time.Until(a.Certificate.Expires()))
		_, err := a.Token(t.Context(), "")
		r := refused(t, err)
		says(t, r.Problem, "the application's certificate expired on 2100-01-02")
		says(t, r.Advice, "certificate_file:")
		if n := len(sent(tenant, "grant_type")); n != 0 {
			t.Errorf("%d requests", n)
		}
	})
}

// retoken is an access token with other claims; it is signed as before, which
// nobody but the service looks at.
func retoken(tenant *tenantsim.Server, changes map[string]any) func(path string, answer map[string]any) {
	return func(path string, answer map[string]any) {
		if path != "token" {
			return
		}
		claims := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(answer["access_token"].(string), claims); err != nil {
			panic(err)
		}
		for name, value := range changes {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
		answer["access_token"] = tenant.Sign(claims)
	}
}

func TestAnApplicationsTokenMustBeWhatWasAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		changes map[string]any
		why     string // "" if it is good
	}{
		"the same":               {nil, ""},
		"audience with a slash":  {map[string]any{"aud": exchange + "/"}, ""},
		"audience by its id":     {map[string]any{"aud": "00000002-0000-0ff1-ce00-000000000000"}, ""},
		"version 2.0":            {map[string]any{"appid": nil, "azp": ownApp}, ""},
		"for another service":    {map[string]any{"aud": "https://graph.microsoft.com"}, `for "https://graph.microsoft.com" instead of https://outlook.office365.com`},
		"for Graph by its id":    {map[string]any{"aud": "00000003-0000-0000-c000-000000000000"}, "instead of"},
		"for nobody":             {map[string]any{"aud": nil}, "instead of"},
		"of another tenant":      {map[string]any{"tid": "b7a1c6f3-90d2-4e1b-9c55-e43a7f0d8821"}, "of another tenant (b7a1c6f3-90d2-4e1b-9c55-e43a7f0d8821)"},
		"of no tenant":           {map[string]any{"tid": nil}, "of another tenant"},
		"of another application": {map[string]any{"appid": clientID}, "of another one (" + clientID + ")"},
		"of no application":      {map[string]any{"appid": nil}, "of another one"},
		"expired":                {map[string]any{"exp": 1}, "has expired already"},
		"without an end":         {map[string]any{"exp": nil}, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := &liar{Server: withOwnApp(t)}
				tenant.lie = retoken(tenant.Server, c.changes)
				a, shelf := application(tenant)
				a.ClientSecret = "the secret"
				token, err := a.Token(t.Context(), "")
				if c.why == "" {
					if err != nil || token.Access == "" {
						t.Errorf("%v", err)
					}
					return
				}
				r := refused(t, err)
				says(t, r.Problem, c.why, "; it was discarded")
				if !shelf.empty() {
					t.Error("it was stored")
				}
			})
		})
	}
}

func TestAnApplicationsTokenForGraphIsForGraph(t *testing.T) {
	const graph = "https://graph.microsoft.com"
	for audience, good := range map[string]bool{
		graph: true, graph + "/": true, "00000003-0000-0000-c000-000000000000": true,
		exchange: false, "00000002-0000-0ff1-ce00-000000000000": false,
	} {
		synctest.Test(t, func(t *testing.T) {
			tenant := &liar{Server: withOwnApp(t)}
			tenant.lie = retoken(tenant.Server, map[string]any{"aud": audience})
			a, shelf := application(tenant)
			a.ClientSecret, a.Entra.Resource = "the secret", graph
			if token, err := a.Token(t.Context(), ""); (err == nil) != good || (token.Access != "") != good || shelf.empty() == good {
				t.Errorf("%s: %v, %v", audience, token, err)
			}
			if scopes := sent(tenant.Server, "scope"); !slices.Equal(scopes, []string{graph + "/.default"}) {
				t.Errorf("scopes %q", scopes)
			}
		})
	}
}

func TestAnApplicationsTokenThatIsNoneIsDiscarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, shelf := application(&liar{Server: withOwnApp(t), lie: func(path string, answer map[string]any) {
			if path == "token" {
				answer["access_token"] = "SECRET.SECRET.SECRET"
			}
		}})
		a.ClientSecret = "the secret"
		_, err := a.Token(t.Context(), "")
		says(t, refused(t, err).Problem, "cannot be read")
		hides(t, "the error", err, "SECRET", "the secret")
		if !shelf.empty() {
			t.Error("it was stored")
		}
	})
}

// The token says itself when it ends, and may say so earlier than the answer.
func TestATokensOwnEndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &liar{Server: withOwnApp(t)}
		tenant.lie = retoken(tenant.Server, map[string]any{"exp": time.Now().Add(10 * time.Minute).Unix()})
		a, _ := application(tenant)
		a.ClientSecret = "the secret"
		first, err := a.Token(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		tenant.lie = nil
		time.Sleep(8 * time.Minute)
		if token, err := a.Token(t.Context(), ""); err != nil || token != first {
			t.Errorf("after 8 minutes: %v, %v", token, err)
		}
		time.Sleep(2 * time.Minute)
		if token, err := a.Token(t.Context(), ""); err != nil || token == first {
			t.Errorf("after 10 minutes: %v, %v", token, err)
		}
	})
}

func TestAPersonsSignInIsNotAnApplications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := withOwnApp(t)
		tenant.Tenant.Apps[1].Consent = []string{"Exchange.Manage"}
		a, shelf := application(tenant)
		a.ClientSecret = "the secret"
		if _, err := a.Token(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		person := replica(tenant, a)
		person.Entra.ClientID, person.Expect = ownApp, ada
		if _, err := person.Token(t.Context(), ""); !errors.Is(err, signin.ErrNotSignedIn) {
			t.Errorf("a person with the application's: %v", err)
		}
		shelf.change(map[string]any{"upn": ada})
		stored := shelf.field("access")
		if token, err := a.Token(t.Context(), ""); err != nil || string(token.Access) == stored || token.Account != "" {
			t.Errorf("the application with a person's: %v, %v", token, err)
		}
	})
}

func TestAFailureOfTheNetworkLeavesAnApplicationsTokenAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := withOwnApp(t)
		a, shelf := application(tenant)
		a.ClientSecret = "the secret"
		first, err := a.Token(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			tenant.Fail(tenantsim.Unavailable.On("token"))
		}
		_, err = a.Token(t.Context(), first.Access)
		says(t, refused(t, err).Problem, "a failure of its own (503)")
		if shelf.field("access") != string(first.Access) || shelf.field("claim") != "<nil>" {
			t.Error("what is stored has changed")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Token(ctx, first.Access); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("whoever does not wait: %v", err)
		}
		time.Sleep(time.Minute)
	})
}

func TestAnApplicationsProofIsNotShown(t *testing.T) {
	a, _ := application(contoso(t))
	a.ClientSecret, a.Certificate = "the secret", certificate(t, rsaPair())
	key := rsaPair().key.(*rsa.PrivateKey)
	secrets := []string{"the secret", key.D.String(), key.D.Text(16), key.Primes[0].String(), key.Primes[0].Text(16)}
	for what, v := range map[string]any{"account": a, "account value": *a, "certificate": a.Certificate, "certificate value": *a.Certificate} {
		hides(t, what, v, secrets...)
	}
	says(t, a.Certificate.String(), "[certificate, valid until 2100-01-02]")
}
