package tenantsim_test

import (
	"strings"
	"testing"

	"auditbot/auditlog/tenantsim"
)

func TestWhatIsIssuedIsKnown(t *testing.T) {
	t.Parallel()
	s := start(t, numbered(t, 1))
	given := signIn(t, s, "ada@contoso.com")
	issued := s.Issued()
	var kinds []string
	for _, i := range issued {
		kinds = append(kinds, i.Kind)
		if i.Value == "" || strings.HasSuffix(i.Kind, "_token") && i.Value != given.text(i.Kind) {
			t.Errorf("%s is %q", i.Kind, i.Value)
		}
	}
	if got := strings.Join(kinds, " "); got != "device_code user_code access_token refresh_token id_token" {
		t.Error(got)
	}
	refused := signIn(t, s, "trudy@contoso.com")
	if more := len(s.Issued()) - len(issued); refused.StatusCode != 400 || more != 2 {
		t.Errorf("%d: %d more were issued", refused.StatusCode, more)
	}
}

func TestAnEchoRepeatsWhatWasSent(t *testing.T) {
	t.Parallel()
	s := start(t, numbered(t, 1))
	s.Fail(tenantsim.Echo(0).On("token"), tenantsim.Echo(8).On("token"), tenantsim.Echo(0))
	for _, want := range []string{"refresh_token 1.ABCDEFGHIJKLMN.", "refresh_token 1.ABCDEF."} {
		a := post(t, s.URL+"/contoso.com/oauth2/v2.0/token", "grant_type", "refresh_token", "refresh_token", "1.ABCDEFGHIJKLMN")
		if text := a.text("error_description"); a.StatusCode != 400 || !strings.Contains(text, want) {
			t.Errorf("%d %s, want %q", a.StatusCode, text, want)
		}
	}
	a := search(t, s, params{"StartDate": "2026-11-05", "EndDate": "2026-11-06"})
	_, token, _ := strings.Cut(a.Request.Header.Get("Authorization"), " ")
	if a.StatusCode != 400 || token == "" || !strings.Contains(string(a.body), token) || !strings.Contains(a.Header.Get("X-Ms-Diagnostics"), token) {
		t.Errorf("%d %s %v", a.StatusCode, a.body, a.Header)
	}
}
