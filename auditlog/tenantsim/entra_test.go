package tenantsim_test

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"

	"auditbot/auditlog/tenantsim"
)

func config(s *tenantsim.Server) *oauth2.Config {
	return &oauth2.Config{
		ClientID: exoClient,
		Scopes:   []string{exchangeScope, "openid", "profile", "offline_access"},
		Endpoint: oauth2.Endpoint{
			DeviceAuthURL: s.URL + "/contoso.onmicrosoft.com/oauth2/v2.0/devicecode",
			TokenURL:      s.URL + "/contoso.onmicrosoft.com/oauth2/v2.0/token",
			AuthStyle:     oauth2.AuthStyleInParams,
		},
	}
}

// signIn signs an account in with a device code, and polls once.
func signIn(t *testing.T, s *tenantsim.Server, upn string) answer {
	t.Helper()
	code := post(t, s.URL+"/contoso.com/oauth2/v2.0/devicecode", "client_id", exoClient, "scope", exchangeScope+" openid profile offline_access")
	if err := s.Approve(strings.ToLower(code.text("user_code")), upn); err != nil {
		t.Fatal(err)
	}
	return post(t, s.URL+"/contoso.com/oauth2/v2.0/token", "grant_type", deviceGrant, "client_id", exoClient, "device_code", code.text("device_code"))
}

// verify checks a token with the keys that discovery leads to.
func verify(t *testing.T, s *tenantsim.Server, token string) jwt.MapClaims {
	t.Helper()
	meta := get(t, s.URL+"/contoso.com/v2.0/.well-known/openid-configuration")
	var set struct{ Keys []struct{ Kid, N, E string } }
	if err := json.Unmarshal(get(t, meta.text("jwks_uri")).body, &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("keys: %v, %v", set, err)
	}
	n, _ := base64.RawURLEncoding.DecodeString(set.Keys[0].N)
	e, _ := base64.RawURLEncoding.DecodeString(set.Keys[0].E)
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(j *jwt.Token) (any, error) {
		if j.Header["kid"] != set.Keys[0].Kid {
			return nil, errors.New("another key")
		}
		return key, nil
	}, jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired())
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestSigningInWithADeviceCodeGivesTokensThatVerify(t *testing.T) {
	t.Parallel()
	s := tenantsim.Server{Tenant: tenantsim.Tenant{Records: load(t)}, Interval: time.Millisecond}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	code, err := config(&s).DeviceAuth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Approve(code.UserCode, "ada@contoso.com"); err != nil {
		t.Fatal(err)
	}
	token, err := config(&s).DeviceAccessToken(t.Context(), code) // after the interval, which is told as 1 second
	if err != nil {
		t.Fatal(err)
	}
	if token.RefreshToken == "" || time.Until(token.Expiry) < 59*time.Minute || time.Until(token.Expiry) > 90*time.Minute {
		t.Errorf("refresh token %q, expiry %v; want one, in 60 to 90 minutes", token.RefreshToken, token.Expiry)
	}
	access := verify(t, &s, token.AccessToken)
	if access["aud"] != "https://outlook.office365.com" || access["upn"] != "ada@contoso.com" || access["scp"] != "Exchange.Manage" {
		t.Errorf("access token: %v", access)
	}
	id := verify(t, &s, token.Extra("id_token").(string))
	tid, _ := id["tid"].(string)
	if id["aud"] != exoClient || id["preferred_username"] != "ada@contoso.com" || id["iss"] != s.URL+"/"+tid+"/v2.0" || tid != access["tid"] || id["oid"] != access["oid"] {
		t.Errorf("id token: %v", id)
	}
	got := invoke(t, &s, "Get-AdminAuditLogConfig", params{}, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token.AccessToken) })
	if got.StatusCode != http.StatusOK {
		t.Errorf("Exchange Online answers the token with %d", got.StatusCode)
	}
}

func TestTheDeviceCodeAnswerHasTheFieldsOfEntra(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	a := post(t, s.URL+"/organizations/oauth2/v2.0/devicecode", "client_id", exoClient, "scope", exchangeScope)
	if a.json("expires_in") != 900.0 || a.json("interval") != 5.0 || a.text("verification_uri") != s.URL+"/devicelogin" || !strings.Contains(a.text("message"), a.text("user_code")) {
		t.Errorf("%s", a.body)
	}
	if a.json("verification_uri_complete") != nil {
		t.Error("it has verification_uri_complete, which Entra ID has not")
	}
	if !regexp.MustCompile(`^[A-Z2-9]{9}$`).MatchString(a.text("user_code")) {
		t.Errorf("user_code %q", a.text("user_code"))
	}
	if a.Header.Get("Cache-Control") != "no-store, no-cache" {
		t.Errorf("Cache-Control %q", a.Header.Get("Cache-Control"))
	}
}

// A device is a client that polls for a code, in a bubble.
type device struct {
	*testing.T
	server *tenantsim.Server
	client *http.Client
	code   answer
}

func newDevice(t *testing.T, s *tenantsim.Server) *device {
	d := &device{t, s, &http.Client{Transport: direct{s}}, answer{}}
	d.code = postBy(t, d.client, "https://login.example/contoso.com/oauth2/v2.0/devicecode", "client_id", exoClient, "scope", exchangeScope+" offline_access")
	return d
}

func (d *device) poll(want string) answer {
	d.Helper()
	a := postBy(d.T, d.client, "https://login.example/contoso.com/oauth2/v2.0/token", "grant_type", deviceGrant, "client_id", exoClient, "device_code", d.code.text("device_code"))
	if got := a.text("error"); got != want {
		d.Errorf("poll = %q, want %q: %s", got, want, a.body)
	}
	return a
}

func TestPollingTooSoonMustSlowDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: load(t)}}
		d := newDevice(t, s)
		d.poll("authorization_pending") // the first may come at once
		time.Sleep(5 * time.Second)
		d.poll("authorization_pending")
		time.Sleep(3 * time.Second)
		d.poll("slow_down")
		time.Sleep(6 * time.Second) // 10 are due now
		d.poll("slow_down")
		time.Sleep(15 * time.Second)
		d.poll("authorization_pending")
		if err := s.Approve(d.code.text("user_code"), "grace@contoso.com"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		if d.poll("").text("access_token") == "" {
			t.Error("no token after the approval")
		}
		time.Sleep(15 * time.Second)
		d.poll("invalid_grant") // used up
	})
}

func TestACodeExpiresAfterFifteenMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: load(t)}}
		d := newDevice(t, s)
		time.Sleep(15*time.Minute - time.Second)
		if codes := s.UserCodes(); len(codes) != 1 || codes[0] != d.code.text("user_code") {
			t.Errorf("codes that wait: %v", codes)
		}
		d.poll("authorization_pending")
		time.Sleep(time.Second)
		d.poll("expired_token")
		if err := s.Approve(d.code.text("user_code"), "ada@contoso.com"); err == nil {
			t.Error("an expired code was approved")
		}
		if codes := s.UserCodes(); len(codes) != 0 {
			t.Errorf("codes that wait: %v", codes)
		}
	})
}

func TestHowASignInEnds(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	s.Change("frank@contoso.com", func(a *tenantsim.Account) { a.Blocked = 50057 })
	for _, test := range []struct {
		name   string
		settle func(code string) error
		error  string
		number float64
	}{
		{"nothing was done", func(string) error { return nil }, "authorization_pending", 70016},
		{"denied", s.Deny, "authorization_declined", 70017},
		{"expired", s.Expire, "expired_token", 70020},
		{"blocked by conditional access", func(c string) error { return s.Approve(c, "trudy@contoso.com") }, "invalid_grant", 53003},
		{"device codes blocked", func(c string) error { return s.Approve(c, "ivan@contoso.com") }, "invalid_grant", 530036},
		{"disabled", func(c string) error { return s.Approve(c, "frank@contoso.com") }, "invalid_grant", 50057},
		{"of another organisation", func(c string) error { return s.Approve(c, "eve@fabrikam.com") }, "invalid_grant", 50020},
	} {
		t.Run(test.name, func(t *testing.T) {
			code := post(t, s.URL+"/contoso.com/oauth2/v2.0/devicecode", "client_id", exoClient, "scope", exchangeScope)
			if err := test.settle(code.text("user_code")); err != nil {
				t.Fatal(err)
			}
			a := post(t, s.URL+"/contoso.com/oauth2/v2.0/token", "grant_type", deviceGrant, "client_id", exoClient, "device_code", code.text("device_code"))
			checkRefusal(t, a, 400, test.error, test.number)
		})
	}
}

// checkRefusal checks an error of Entra ID, with all that belongs to it.
func checkRefusal(t *testing.T, a answer, status int, word string, number float64) {
	t.Helper()
	if a.StatusCode != status || a.text("error") != word {
		t.Errorf("%d %q, want %d %q: %s", a.StatusCode, a.text("error"), status, word, a.body)
	}
	if codes, _ := a.json("error_codes").([]any); len(codes) != 1 || codes[0] != number {
		t.Errorf("error_codes %v, want %v", codes, number)
	}
	description := regexp.MustCompile(`^AADSTS\d+: .+ Trace ID: [0-9a-f-]{36} Correlation ID: [0-9a-f-]{36} Timestamp: \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$`)
	if !description.MatchString(a.text("error_description")) {
		t.Errorf("error_description %q", a.text("error_description"))
	}
	for _, field := range []string{"timestamp", "trace_id", "correlation_id", "error_uri"} {
		if a.text(field) == "" {
			t.Errorf("%s is missing", field)
		}
	}
}

func TestAnAccountOfAnotherOrganisationKeepsItsTenantOnTheCommonEndpoint(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	code := post(t, s.URL+"/organizations/oauth2/v2.0/devicecode", "client_id", exoClient, "scope", exchangeScope+" openid profile")
	if err := s.Approve(code.text("user_code"), "eve@fabrikam.com"); err != nil {
		t.Fatal(err)
	}
	a := post(t, s.URL+"/organizations/oauth2/v2.0/token", "grant_type", deviceGrant, "client_id", exoClient, "device_code", code.text("device_code"))
	id := verify(t, s, a.text("id_token"))
	contoso := verify(t, s, s.Token("ada@contoso.com"))
	if id["preferred_username"] != "eve@fabrikam.com" || id["tid"] == contoso["tid"] {
		t.Errorf("id token: %v", id)
	}
	got := invoke(t, s, "Get-AdminAuditLogConfig", params{}, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+a.text("access_token")) })
	if got.StatusCode != http.StatusUnauthorized {
		t.Errorf("contoso answers fabrikam's token with %d", got.StatusCode)
	}
}

func TestAServiceThatDoesNotLookLetsInAnAccountOfAnotherOrganisation(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	code := post(t, s.URL+"/contoso.com/oauth2/v2.0/devicecode", "client_id", exoClient, "scope", exchangeScope+" openid profile")
	if err := s.ApproveAnyway(code.text("user_code"), "nobody@fabrikam.com"); err == nil {
		t.Error("somebody who does not exist was let in")
	}
	if err := s.ApproveAnyway(code.text("user_code"), "eve@fabrikam.com"); err != nil {
		t.Fatal(err)
	}
	a := post(t, s.URL+"/contoso.com/oauth2/v2.0/token", "grant_type", deviceGrant, "client_id", exoClient, "device_code", code.text("device_code"))
	contoso := verify(t, s, s.Token("ada@contoso.com"))
	if id := verify(t, s, a.text("id_token")); id["preferred_username"] != "eve@fabrikam.com" || id["tid"] == contoso["tid"] {
		t.Errorf("id token: %v", id)
	}
}

func TestARefreshTokenIsRotatedAndTheOldOneStaysValid(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	token := signIn(t, s, "ada@contoso.com").text("refresh_token")
	refresh := func(old string, more ...string) answer {
		return post(t, s.URL+"/contoso.com/oauth2/v2.0/token", append([]string{"grant_type", "refresh_token", "client_id", exoClient, "refresh_token", old}, more...)...)
	}
	first := refresh(token)
	if first.text("refresh_token") == "" || first.text("refresh_token") == token || first.text("id_token") == "" {
		t.Errorf("the first refresh: %s", first.body)
	}
	if again := refresh(token); again.StatusCode != 200 {
		t.Errorf("the old refresh token is refused: %s", again.body)
	}
	checkRefusal(t, refresh(first.text("refresh_token"), "scope", graphScope), 400, "invalid_grant", 65002)
	if n := s.Refreshes(); n != 2 {
		t.Errorf("%d refreshes, want 2", n)
	}
	checkRefusal(t, refresh("made up"), 400, "invalid_grant", 9002313)
	checkRefusal(t, post(t, s.URL+"/contoso.com/oauth2/v2.0/token", "grant_type", "refresh_token", "client_id", tenantsim.ContosoApp,
		"client_secret", tenantsim.ContosoAppSecret, "refresh_token", token), 400, "invalid_grant", 70000)

	s.Change("ada@contoso.com", func(a *tenantsim.Account) { a.Blocked = 530036 })
	checkRefusal(t, refresh(token), 400, "invalid_grant", 530036)
	s.Change("ada@contoso.com", func(a *tenantsim.Account) { a.Blocked = 0 })
	s.Revoke("ADA@contoso.com")
	checkRefusal(t, refresh(token), 400, "invalid_grant", 50173)
	if n := s.Refreshes(); n != 2 {
		t.Errorf("%d refreshes after refusals, want 2", n)
	}
	if again := signIn(t, s, "ada@contoso.com"); refresh(again.text("refresh_token")).StatusCode != 200 {
		t.Errorf("signing in after the revocation: %s", again.body)
	}
}

// It is no matter of the clock, which stands still in a bubble.
func TestARevocationEndsWhatWasGivenBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: load(t)}}
		client := &http.Client{Transport: direct{s}}
		token := func(fields ...string) answer {
			return postBy(t, client, "https://login.example/contoso.com/oauth2/v2.0/token", append(fields, "client_id", exoClient)...)
		}
		signIn := func() string {
			return token("grant_type", "password", "username", "ada@contoso.com", "password", tenantsim.ContosoPassword, "scope", exchangeScope+" offline_access").text("refresh_token")
		}
		before := signIn()
		s.Revoke("ADA@contoso.com")
		after := signIn()
		if a := token("grant_type", "refresh_token", "refresh_token", before); a.StatusCode != 400 {
			t.Errorf("a token from before: %d %s", a.StatusCode, a.body)
		}
		if a := token("grant_type", "refresh_token", "refresh_token", after); a.StatusCode != 200 {
			t.Errorf("a token from after: %d %s", a.StatusCode, a.body)
		}
	})
}

func TestTheClientOfXOAuth2Refreshes(t *testing.T) {
	t.Parallel()
	s := tenantsim.Server{Tenant: tenantsim.Tenant{Records: load(t)}}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	signed := signIn(t, &s, "ada@contoso.com")
	token := &oauth2.Token{AccessToken: signed.text("access_token"), RefreshToken: signed.text("refresh_token"), Expiry: time.Now()}
	fresh, err := config(&s).TokenSource(context.WithoutCancel(t.Context()), token).Token()
	if err != nil || fresh.AccessToken == token.AccessToken || s.Refreshes() != 1 {
		t.Errorf("refreshing: %v, %d refreshes", err, s.Refreshes())
	}
}

func TestWhatTheTokenEndpointRefuses(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	tenant := "contoso.com"
	password := []string{"grant_type", "password", "client_id", exoClient, "scope", exchangeScope}
	secret := []string{"grant_type", "client_credentials", "client_id", tenantsim.ContosoApp}
	for _, test := range []struct {
		name   string
		tenant string
		fields []string
		status int
		error  string
		number float64
	}{
		{"an unknown tenant", "nowhere.example", password, 400, "invalid_tenant", 90002},
		{"no grant type", tenant, nil, 400, "invalid_request", 900144},
		{"an unknown grant type", tenant, []string{"grant_type", "wish"}, 400, "unsupported_grant_type", 70003},
		{"no client", tenant, []string{"grant_type", "password"}, 400, "invalid_request", 900144},
		{"an unknown client", tenant, []string{"grant_type", "password", "client_id", "a0c73c16-a7e3-4564-9a95-2bdf47383716"}, 400, "unauthorized_client", 700016},
		{"an unknown device code", tenant, []string{"grant_type", deviceGrant, "client_id", exoClient, "device_code", "made up"}, 400, "bad_verification_code", 70018},
		{"an unknown account", tenant, append(password, "username", "nobody@contoso.com", "password", "x"), 400, "invalid_grant", 50034},
		{"a wrong password", tenant, append(password, "username", "ada@contoso.com", "password", "x"), 400, "invalid_grant", 50126},
		{"a second factor", tenant, append(password, "username", "oscar@contoso.com", "password", tenantsim.ContosoPassword), 400, "invalid_grant", 50076},
		{"a password at /common", "common", append(password, "username", "ada@contoso.com", "password", tenantsim.ContosoPassword), 400, "invalid_request", 9001023},
		{"a public client with a secret", tenant, append(password, "client_secret", "x"), 401, "invalid_client", 700025},
		{"no secret", tenant, append(secret, "scope", exchangeScope), 401, "invalid_client", 7000218},
		{"a wrong secret", tenant, append(secret, "scope", exchangeScope, "client_secret", "x"), 401, "invalid_client", 7000215},
		{"an unregistered certificate", tenant, append(secret, "scope", exchangeScope, "client_assertion_type", assertionType, "client_assertion", "x.y.z"), 401, "invalid_client", 700027},
		{"a scope without .default", tenant, append(secret, "client_secret", tenantsim.ContosoAppSecret, "scope", "https://outlook.office365.com/Exchange.Manage"), 400, "invalid_scope", 1002012},
		{"an application without a tenant", "organizations", append(secret, "client_secret", tenantsim.ContosoAppSecret, "scope", exchangeScope), 400, "invalid_request", 50059},
		{"an unknown resource", tenant, append(secret, "client_secret", tenantsim.ContosoAppSecret, "scope", "https://vault.example/.default"), 400, "invalid_resource", 500011},
	} {
		t.Run(test.name, func(t *testing.T) {
			checkRefusal(t, post(t, s.URL+"/"+test.tenant+"/oauth2/v2.0/token", test.fields...), test.status, test.error, test.number)
		})
	}
}

func TestWhatTheDeviceCodeEndpointRefuses(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	address := s.URL + "/contoso.com/oauth2/v2.0/devicecode"
	checkRefusal(t, get(t, address), 400, "invalid_request", 900561)
	checkRefusal(t, post(t, address), 400, "invalid_request", 900144)
	checkRefusal(t, post(t, address, "client_id", exoClient), 400, "invalid_request", 900144)
	checkRefusal(t, post(t, address, "client_id", "1b730954-1685-4b74-9bfd-dac224a7b894", "scope", exchangeScope), 400, "unauthorized_client", 700016)
	checkRefusal(t, post(t, address, "client_id", exoClient, "scope", exchangeScope+" "+graphScope), 400, "invalid_scope", 28000)
	checkRefusal(t, post(t, address, "client_id", exoClient, "scope", exchangeScope+" https://outlook.office365.com/Exchange.Manage"), 400, "invalid_scope", 70011)
	checkRefusal(t, post(t, s.URL+"/fabrikam.com/oauth2/v2.0/devicecode"), 400, "invalid_tenant", 90002)
	checkRefusal(t, get(t, s.URL+"/fabrikam.com/v2.0/.well-known/openid-configuration"), 400, "invalid_tenant", 90002)
}

func TestAnAppWithoutConsentGetsNoToken(t *testing.T) {
	t.Parallel()
	s := tenantsim.NewServer(tenantsim.Tenant{Records: load(t), Apps: []tenantsim.App{{ClientID: "c1", Name: "Unconsented"}}})
	defer s.Close()
	checkRefusal(t, post(t, s.URL+"/contoso.com/oauth2/v2.0/token", "grant_type", "password", "client_id", "c1", "scope", exchangeScope,
		"username", "ada@contoso.com", "password", tenantsim.ContosoPassword), 400, "invalid_grant", 65001)
}

func TestAPasswordAndASecretGiveTokensWithoutMoreThanWasAskedFor(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	a := post(t, s.URL+"/contoso.com/oauth2/v2.0/token", "grant_type", "password", "client_id", exoClient, "scope", s.URL+"/.default",
		"username", "ada@contoso.com", "password", tenantsim.ContosoPassword)
	if a.StatusCode != 200 || a.json("refresh_token") != nil || a.json("id_token") != nil || verify(t, s, a.text("access_token"))["aud"] != s.URL {
		t.Errorf("password: %s", a.body)
	}
	a = post(t, s.URL+"/contoso.com/oauth2/v2.0/token", "grant_type", "client_credentials", "client_id", tenantsim.ContosoApp,
		"client_secret", tenantsim.ContosoAppSecret, "scope", exchangeScope)
	claims := verify(t, s, a.text("access_token"))
	if a.json("refresh_token") != nil || claims["upn"] != nil || claims["appid"] != tenantsim.ContosoApp {
		t.Errorf("secret: %s, %v", a.body, claims)
	}
}

func TestDiscoverySaysTheIssuer(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	byDomain := get(t, s.URL+"/contoso.com/v2.0/.well-known/openid-configuration").text("issuer")
	if !regexp.MustCompile(`^` + regexp.QuoteMeta(s.URL) + `/[0-9a-f-]{36}/v2\.0$`).MatchString(byDomain) {
		t.Errorf("issuer %q, want one with the tenant's GUID", byDomain)
	}
	if common := get(t, s.URL+"/organizations/v2.0/.well-known/openid-configuration").text("issuer"); common != s.URL+"/{tenantid}/v2.0" {
		t.Errorf("issuer for organizations: %q", common)
	}
}

func TestTheIdTokenNamesNobodyWithoutTheScopeProfile(t *testing.T) {
	t.Parallel()
	s := start(t, load(t))
	a := post(t, s.URL+"/contoso.com/oauth2/v2.0/token", "grant_type", "password", "client_id", exoClient, "scope", exchangeScope+" openid",
		"username", "ada@contoso.com", "password", tenantsim.ContosoPassword)
	if claims := verify(t, s, a.text("id_token")); claims["preferred_username"] != nil || claims["tid"] == nil {
		t.Errorf("%v", claims)
	}
}

func TestWithRotationASecondUseEndsTheSignIn(t *testing.T) {
	t.Parallel()
	s := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: load(t)}, Rotation: true}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	refresh := func(token string) answer {
		return post(t, s.URL+"/contoso.com/oauth2/v2.0/token", "grant_type", "refresh_token", "client_id", exoClient, "refresh_token", token)
	}
	first := signIn(t, s, "ada@contoso.com").text("refresh_token")
	other := signIn(t, s, "ada@contoso.com").text("refresh_token")
	second := refresh(first).text("refresh_token")
	third := refresh(second).text("refresh_token")
	if third == "" || s.Refreshes() != 2 {
		t.Fatalf("%d refreshes", s.Refreshes())
	}
	for _, token := range []string{first, third} {
		checkRefusal(t, refresh(token), 400, "invalid_grant", 50173)
	}
	if a := refresh(other); a.StatusCode != 200 {
		t.Errorf("another sign-in: %s", a.body)
	}
}
