package signin_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
)

const fabrikamID = "b7a1c6f3-90d2-4e1b-9c55-e43a7f0d8821"

// claims are those of an identity token that is right for Ada now, with some
// changed; nil takes one out.
func claims(changes map[string]any) map[string]any {
	all := map[string]any{
		"aud": clientID, "iss": login + "/" + tenantID + "/v2.0", "tid": tenantID, "sub": "x", "preferred_username": ada,
		"iat": time.Now().Unix(), "nbf": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// Whoever says that Ada signed in must be able to prove it.
func TestAForgedProofIsDiscarded(t *testing.T) {
	signed := func(changes map[string]any) func(*tenantsim.Server) any {
		return func(tenant *tenantsim.Server) any { return tenant.Sign(claims(changes)) }
	}
	for name, c := range map[string]struct {
		forge   func(tenant *tenantsim.Server) any
		problem string
	}{
		"none":               {func(*tenantsim.Server) any { return nil }, "did not say who signed in"},
		"no text":            {func(*tenantsim.Server) any { return 7 }, "did not say who signed in"},
		"no token":           {func(*tenantsim.Server) any { return "ada" }, "not valid"},
		"another key":        {func(*tenantsim.Server) any { return signedBy(t, jwt.SigningMethodRS256, forgersKey(t)) }, "not valid"},
		"signed with a text": {func(*tenantsim.Server) any { return signedBy(t, jwt.SigningMethodHS256, []byte("contoso")) }, "not valid"},
		"not signed": {func(*tenantsim.Server) any {
			return signedBy(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType)
		}, "not valid"},
		"changed":               {changed, "not valid"},
		"another issuer":        {signed(map[string]any{"iss": "https://login.example.com/" + tenantID + "/v2.0"}), "not valid"},
		"another tenant issued": {signed(map[string]any{"iss": login + "/" + fabrikamID + "/v2.0", "tid": fabrikamID}), "somebody of another tenant (" + fabrikamID + ") signed in"},
		"version 1":             {signed(map[string]any{"iss": "https://sts.windows.net/" + tenantID + "/"}), "not valid"},
		"another tenant":        {signed(map[string]any{"tid": fabrikamID}), "somebody of another tenant (" + fabrikamID + ") signed in"},
		"no tenant":             {signed(map[string]any{"tid": nil}), "somebody of another tenant"},
		"another application":   {signed(map[string]any{"aud": tenantsim.ContosoApp}), "not valid"},
		"no application":        {signed(map[string]any{"aud": nil}), "not valid"},
		"expired":               {signed(map[string]any{"exp": time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC).Unix()}), "expired already"},
		"not yet":               {signed(map[string]any{"nbf": time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).Unix()}), "not valid"},
		"nobody":                {signed(map[string]any{"preferred_username": nil}), "did not say who signed in"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := &liar{Server: contoso(t)}
				a, shelf := account(tenant)
				tenant.lie = func(path string, answer map[string]any) {
					if answer["id_token"] = c.forge(tenant.Server); path != "token" || answer["id_token"] == nil {
						delete(answer, "id_token")
					}
				}
				code := start(t, a)
				tenant.Approve(string(code.UserCode), ada)
				_, err := a.Wait(t.Context(), code)
				says(t, refused(t, err).Problem, c.problem, "discarded")
				if !shelf.empty() || !errors.Is(err, signin.ErrSomebodyElse) {
					t.Error("something was stored")
				}
			})
		})
	}
}

// changed is a good token whose claims were changed afterwards.
func changed(tenant *tenantsim.Server) any {
	parts := strings.Split(tenant.Sign(claims(nil)), ".")
	other, _ := json.Marshal(claims(map[string]any{"name": "Somebody"}))
	parts[1] = base64.RawURLEncoding.EncodeToString(other)
	return strings.Join(parts, ".")
}

func signedBy(t *testing.T, method jwt.SigningMethod, key any) string {
	token, err := jwt.NewWithClaims(method, jwt.MapClaims(claims(nil))).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func forgersKey(t *testing.T) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Of two names of an account it is the directory's that counts, which is what
// the audit log calls it, and not the one that it may sign in with.
func TestTheAccountIsItsUserPrincipalName(t *testing.T) {
	const guest = "eve_fabrikam.com#EXT#@contoso.onmicrosoft.com"
	for _, c := range []struct {
		name, upn, preferred, expect string
		signsIn                      bool
	}{
		{"one name", "", ada, ada, true},
		{"in another case", "", "ADA@Contoso.COM", ada, true},
		{"the other name", "Ada@contoso.com", "", ada, true},
		{"the same twice", ada, ada, ada, true},
		{"she signs in with an alias", "a17@contoso.com", ada, "a17@contoso.com", true},
		{"her alias is expected", "a17@contoso.com", ada, ada, false},
		{"a guest", "", "eve@fabrikam.com", "eve@fabrikam.com", true},
		{"a guest by the name in the tenant", guest, "eve@fabrikam.com", strings.ToUpper(guest), true},
		{"a guest by the name at home", guest, "eve@fabrikam.com", "eve@fabrikam.com", false},
		{"a name that looks the same", "", "a\u200bda@contoso.com", ada, false},
		{"a name that goes on", "", ada + ".example", ada, false},
		{"a name after a blank", "", " " + ada, ada, false},
		{"a name with a long s for an s", "", "u\u017fer@contoso.com", "user@contoso.com", false},
		{"a name with the sign for kelvin for a k", "\u212aim@contoso.com", "", "kim@contoso.com", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := &liar{Server: contoso(t)}
				tenant.lie = func(path string, answer map[string]any) {
					if path == "token" {
						changes := map[string]any{"preferred_username": nil, "tid": strings.ToUpper(tenantID)}
						for claim, value := range map[string]string{"preferred_username": c.preferred, "upn": c.upn} {
							if value != "" {
								changes[claim] = value
							}
						}
						answer["id_token"] = tenant.Sign(claims(changes))
					}
				}
				a, shelf := account(tenant)
				a.Expect = c.expect
				code := start(t, a)
				tenant.Approve(string(code.UserCode), ada)
				upn, err := a.Wait(t.Context(), code)
				if want := cmp.Or(c.upn, c.preferred); c.signsIn && (err != nil || upn != want || shelf.field("upn") != want) {
					t.Errorf("%q, %v; stored is %s", upn, err, shelf.field("upn"))
				}
				if !c.signsIn && (!errors.Is(err, signin.ErrSomebodyElse) || upn != "" || !shelf.empty()) {
					t.Errorf("%q, %v; stored is %s", upn, err, shelf.field("upn"))
				}
			})
		})
	}
}

// A document that sends people or secrets elsewhere is not believed.
func TestADiscoveryThatLeadsAway(t *testing.T) {
	for name, lie := range map[string]map[string]any{
		"issuer of another host":   {"issuer": "https://login.example.com/" + tenantID + "/v2.0"},
		"issuer of another tenant": {"issuer": login + "/{tenantid}/v2.0"},
		"issuer without a tenant":  {"issuer": login},
		"issuer of version 1":      {"issuer": login + "/" + tenantID + "/"},
		"no issuer":                {"issuer": ""},
		"keys elsewhere":           {"jwks_uri": "https://login.example.com/keys"},
		"keys without TLS":         {"jwks_uri": "http://login.microsoftonline.com/keys"},
		"no keys":                  {"jwks_uri": ""},
		"tokens elsewhere":         {"token_endpoint": "https://login.microsoftonline.us/contoso.com/oauth2/v2.0/token"},
		"codes elsewhere":          {"device_authorization_endpoint": "https://login.microsoftonline.com:8443/devicecode"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := &liar{Server: contoso(t), lie: func(path string, answer map[string]any) {
					if path == "openid-configuration" {
						maps.Copy(answer, lie)
					}
				}}
				a, _ := account(tenant)
				_, err := a.Start(t.Context())
				r := refused(t, err)
				says(t, r.Problem, "says that sign-ins of the tenant contoso.com are the business of")
				says(t, r.Advice, "national cloud")
				if n := len(tenant.Requests()); n != 1 {
					t.Errorf("%d requests", n)
				}
			})
		})
	}
}

func TestATenantsGUIDMustBeTheOneConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, _ := account(&liar{Server: tenant, lie: func(_ string, answer map[string]any) {
			answer["issuer"] = login + "/" + fabrikamID + "/v2.0"
		}})
		a.Entra.Tenant = tenantID
		_, err := a.Start(t.Context())
		says(t, refused(t, err).Problem, fabrikamID)
	})
}

func TestTheDiscoveryIsFetchedOnceAndAgainAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, _ := account(tenant)
		for range 10 {
			tenant.Fail(tenantsim.Unavailable.On("openid-configuration"))
		}
		_, err := a.Start(t.Context())
		says(t, refused(t, err).Problem, "a failure of its own (503)")
		for tenant.Unspent() > 0 {
			if _, err := a.Start(t.Context()); err == nil {
				break
			}
		}
		before := tenant.Asked("openid-configuration")
		for range 3 {
			start(t, a)
		}
		if n := tenant.Asked("openid-configuration") - before; n > 1 {
			t.Errorf("fetched %d times", n)
		}
	})
}

func TestATenantsDomainIsResolvedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		e := entra(tenant)
		tenant.Fail(tenantsim.Unavailable.On("openid-configuration"))
		for range 2 {
			if id, err := e.Resolve(t.Context()); err != nil || id != tenantID {
				t.Errorf("Resolve = %q, %v", id, err)
			}
		}
		if n := tenant.Asked("openid-configuration"); n != 2 { // the first failed
			t.Errorf("asked %d times", n)
		}
		e = entra(tenant)
		e.Tenant = "nowhere.example"
		_, err := e.Resolve(t.Context())
		says(t, refused(t, err).Problem, "there is no such tenant (AADSTS90002)")
	})
}

func TestWhatAPersonIsAskedToSignInTo(t *testing.T) {
	e := &signin.Entra{ClientID: strings.ToUpper(clientID), Resource: exchange}
	name, id, permissions := e.Served()
	if name == "" || id != e.ClientID || !slices.Equal(permissions, []string{exchange + "/.default", "offline_access", "openid", "profile"}) {
		t.Errorf("Served = %q, %q, %q", name, id, permissions)
	}
	e.ClientID = ownApp
	if name, _, _ := e.Served(); name != "" {
		t.Errorf("an application of nobody's is called %q", name)
	}
}

func TestATenantThatDoesNotExist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := account(contoso(t))
		a.Entra.Tenant = "nowhere.example"
		_, err := a.Start(t.Context())
		r := refused(t, err)
		says(t, r.Problem, "there is no such tenant (AADSTS90002)")
		says(t, r.Advice, "tenant:")
	})
}

func TestNothingIsSentToAnAddressThatIsNotSafe(t *testing.T) {
	asked := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	for _, change := range []func(*signin.Entra){
		func(e *signin.Entra) { e.LoginURL = "http://login.microsoftonline.com" },
		func(e *signin.Entra) { e.LoginURL = "https://user:password@login.microsoftonline.com" },
		func(e *signin.Entra) { e.LoginURL = "login.microsoftonline.com" },
		func(e *signin.Entra) { e.LoginURL = "" },
		func(e *signin.Entra) { e.LoginURL = "https://login.microsoftonline.com?x" },
		func(e *signin.Entra) { e.LoginURL = ":" },
		func(e *signin.Entra) { e.Tenant = "common" },
		func(e *signin.Entra) { e.Tenant = "Organizations" },
		func(e *signin.Entra) { e.Tenant = "consumers" },
		func(e *signin.Entra) { e.Tenant = "" },
		func(e *signin.Entra) { e.Tenant = "../common" },
		func(e *signin.Entra) { e.Tenant = "contoso.com/x" },
	} {
		a, _ := account(asked)
		change(a.Entra)
		if _, err := a.Start(t.Context()); err == nil || strings.Contains(err.Error(), "password") {
			t.Errorf("%s, %s: Start: %v", a.Entra.LoginURL, a.Entra.Tenant, err)
		}
		if _, err := a.Wait(t.Context(), &signin.Code{Expires: time.Now().Add(time.Hour)}); err == nil {
			t.Errorf("%s, %s: Wait: %v", a.Entra.LoginURL, a.Entra.Tenant, err)
		}
		if err := a.SignIn(t.Context(), "x"); err == nil {
			t.Errorf("%s, %s: SignIn: %v", a.Entra.LoginURL, a.Entra.Tenant, err)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &liar{Server: contoso(t)}
		away := ""
		var hosts []string
		a, _ := account(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hosts = append(hosts, r.Host)
			if strings.HasSuffix(r.URL.Path, away) {
				http.Redirect(w, r, "https://login.example.com"+r.URL.Path, http.StatusTemporaryRedirect)
				return
			}
			tenant.ServeHTTP(w, r)
		}))
		for _, away = range []string{"/openid-configuration", "/devicecode", "/token", "/keys"} {
			a.Entra = &signin.Entra{HTTP: a.Entra.HTTP, LoginURL: login, Tenant: "contoso.com", ClientID: clientID, Resource: exchange}
			_, err := a.Start(t.Context())
			if away == "/token" || away == "/keys" {
				err = a.SignIn(t.Context(), tenantsim.ContosoPassword)
			}
			says(t, refused(t, err).Problem, "a failure of its own (307)")
		}
		if slices.Contains(hosts, "login.example.com") {
			t.Errorf("asked %v", hosts)
		}
	})
}

// The whole way over real HTTP, as the demo has it.
func TestASignInOverHTTP(t *testing.T) {
	tenant := tenantsim.NewServer(tenantsim.Tenant{Records: new(tenantsim.Records)})
	defer tenant.Close()
	tokens := &shelf{}
	a := &signin.Account{
		Entra: &signin.Entra{LoginURL: tenant.URL, Tenant: "contoso.onmicrosoft.com", ClientID: clientID, Resource: tenant.URL},
		Store: tokens.store(), Key: "contoso/U1", Expect: ada,
	}
	if _, err := a.Start(t.Context()); err != nil {
		t.Error(err)
	}
	if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
		t.Fatal(err)
	}
	first, err := a.Token(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if second, err := a.Token(t.Context(), first.Access); err != nil || second == first {
		t.Errorf("%v, %v", second, err)
	}
}

// Example is a sign-in with a password. With a device code it is Start and
// Wait in the place of SignIn.
func Example() {
	tenant := tenantsim.NewServer(tenantsim.Tenant{Records: new(tenantsim.Records)})
	defer tenant.Close()

	contoso := &signin.Entra{
		LoginURL: tenant.URL,
		Tenant:   "contoso.onmicrosoft.com",
		ClientID: "fb78d390-0c51-40cd-8e17-fdbfab77341b",
		Resource: "https://outlook.office365.com",
	}
	tokens := &shelf{}
	ada := &signin.Account{Entra: contoso, Store: tokens.store(), Key: "contoso/U123", Expect: "ada@contoso.com"}

	ctx := context.Background()
	_, err := ada.Token(ctx, "")
	fmt.Println(err)
	if err := ada.SignIn(ctx, tenantsim.ContosoPassword); err != nil {
		fmt.Println(err)
		return
	}
	token, err := ada.Token(ctx, "")
	fmt.Println(token, err)
	// Output:
	// not signed in
	// {[secret] ada@contoso.com 5c0e1a9d-2f64-4b7e-8a31-0d9b6c47e2f5} <nil>
}

// ExampleAccount_Wait is a sign-in with a device code.
func ExampleAccount_Wait() {
	ctx := context.Background()
	ada := &signin.Account{Entra: &signin.Entra{ /* … */ }, Store: signin.Store{ /* … */ }, Key: "contoso/U123", Expect: "ada@contoso.com"}

	code, err := ada.Start(ctx)
	if err != nil {
		return
	}
	fmt.Println("open", code.URL, "and type", string(code.UserCode)) // for Ada's eyes only
	upn, err := ada.Wait(ctx, code)
	if err != nil {
		return
	}
	fmt.Println("signed in as", upn)
}
