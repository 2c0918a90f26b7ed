package signin

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
)

// No check can be switched off by leaving out what it compares with.
func TestNothingPassesAnExpectationWithAHole(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys := &oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{&key.PublicKey}}
	whole := expected{
		Endpoint:    "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token",
		Issuer:      "https://login.microsoftonline.com/5c0e1a9d-2f64-4b7e-8a31-0d9b6c47e2f5/v2.0",
		Tenant:      "5c0e1a9d-2f64-4b7e-8a31-0d9b6c47e2f5",
		Application: "fb78d390-0c51-40cd-8e17-fdbfab77341b",
		Account:     "ada@contoso.com",
	}
	proof := func(x expected) string { // whatever x says, as if Microsoft had said it
		token, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
			"iss": x.Issuer, "tid": x.Tenant, "aud": x.Application, "preferred_username": x.Account, "exp": time.Now().Add(time.Hour).Unix(),
		}).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	if upn, err := whole.check(t.Context(), keys, proof(whole)); err != nil || upn != whole.Account {
		t.Fatalf("whole: %q, %v", upn, err)
	}
	for name, change := range map[string]func(*expected){
		"no endpoint":      func(x *expected) { x.Endpoint = "" },
		"another endpoint": func(x *expected) { x.Endpoint = strings.Replace(x.Endpoint, "login.", "login.example.", 1) },
		"no TLS":           func(x *expected) { x.Endpoint = strings.Replace(x.Endpoint, "https:", "http:", 1) },
		"no issuer":        func(x *expected) { x.Issuer = "" },
		"no tenant":        func(x *expected) { x.Tenant = "" },
		"no application":   func(x *expected) { x.Application = "" },
		"no account":       func(x *expected) { x.Account = "" },
	} {
		holey := whole
		change(&holey)
		for what, token := range map[string]string{"its own proof": proof(holey), "a good proof": proof(whole), "none": ""} {
			if upn, err := holey.check(t.Context(), keys, token); upn != "" || !errors.Is(err, ErrSomebodyElse) {
				t.Errorf("%s, %s: %q, %v", name, what, upn, err)
			}
		}
	}
}

// A service may say what it was sent, in whole, in quotes, escaped or cut.
func TestAnAnswerThatRepeatsASecretIsNotShown(t *testing.T) {
	const secret = `0.AXoA-correct "horse"+battery~staple`
	for _, text := range []string{
		"The value " + secret + " is wrong",
		"The value " + strconv.Quote(secret) + " is wrong",
		"refresh_token=" + url.QueryEscape(secret) + "&x=y",
		"The value 0.AXOA-CORRECT is wrong",
		"The value ... ttery~staple is wrong",
	} {
		if got := scrub(text, "", "another", secret); strings.Contains(got, "correct") || strings.Contains(got, "staple") || strings.Contains(got, "CORRECT") {
			t.Errorf("of %q is shown %q", text, got)
		}
	}
	const harmless = "The client does not exist: correct it"
	if got := scrub(harmless, "", secret); got != harmless {
		t.Errorf("%q is shown as %q", harmless, got)
	}
}
