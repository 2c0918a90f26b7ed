package transport_test

import (
	"net/url"
	"testing"

	"auditbot/auditlog/internal/transport"
)

func parse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestSecretsGoToHTTPSOrStayOnThisMachine(t *testing.T) {
	for address, want := range map[string]bool{
		"https://graph.microsoft.com":   true,
		"http://graph.microsoft.com":    false,
		"http://localhost:8065":         true,
		"http://127.0.0.1:8065":         true,
		"http://127.9.9.9":              true,
		"http://[::1]:8065":             true,
		"http://localhost.fabrikam.com": false,
		"http://203.0.113.7":            false,
		"ftp://127.0.0.1":               false,
		"graph.microsoft.com":           false,
		"https:///path":                 false,
		"":                              false,
	} {
		if got := transport.MayGo(parse(t, address)); got != want {
			t.Errorf("%q: %t, want %t", address, got, want)
		}
	}
}

func TestAServiceOwnsOnlyLinksToItself(t *testing.T) {
	base := parse(t, "https://outlook.office365.com/adminapi")
	for link, want := range map[string]string{
		"https://outlook.office365.com/next?$skiptoken=a":     "https://outlook.office365.com/next?$skiptoken=a",
		"https://OUTLOOK.office365.com:443/next":              "https://OUTLOOK.office365.com:443/next",
		"/next":                                               "https://outlook.office365.com/next",
		"http://outlook.office365.com/next":                   "",
		"https://outlook.office365.com:8443/next":             "",
		"https://ada@outlook.office365.com/next":              "",
		"https://outlook.office365.com.fabrikam.com/next":     "",
		"https://fabrikam.com/https://outlook.office365.com/": "",
		"//fabrikam.com/next":                                 "",
		"https://outlook.office365.com:x/":                    "",
	} {
		if got, ok := transport.Owns(base, link); got != want || ok != (want != "") {
			t.Errorf("%q leads to %q, %t; want %q", link, got, ok, want)
		}
	}
}
