package commands

import (
	"strings"
	"testing"
)

func TestNearestFindsWhatWasMeant(t *testing.T) {
	known := []string{"o365-auditlog-search", "o365-auditlog-auth-start", "o365-auditlog-auth-reset", "help", "start_date", "user_ids", "ip_addresses", "ExchangeAdmin", "ExchangeItem"}
	for typed, want := range map[string]string{
		"o365-auditlog-serach": "o365-auditlog-search",
		"o365auditlog-search":  "o365-auditlog-search",
		"O365-AUDITLOG-SEARCH": "o365-auditlog-search",
		"search":               "o365-auditlog-search",
		"hlep":                 "help",
		"startdate":            "start_date",
		"start":                "start_date",
		"user":                 "user_ids",
		"ip":                   "ip_addresses",
		"exchangeadmn":         "ExchangeAdmin",
		"auditlog":             "", // three have it
		"Exchange":             "", // two have it
		"nonsense":             "",
		"h":                    "",
		"":                     "",
	} {
		if got := Nearest(typed, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", typed, got, want)
		}
	}
	if got := Nearest(strings.Repeat("a", maxLine), known); got != "" {
		t.Errorf("nearest of a long line is %q", got)
	}
	if got := Nearest("help", nil); got != "" {
		t.Errorf("nearest of nothing is %q", got)
	}
}

func TestDistanceCountsSlips(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"help", "help", 0}, {"", "help", 4}, {"help", "", 4},
		{"help", "hlep", 1}, {"help", "hel", 1}, {"help", "helpp", 1}, {"help", "kelp", 1},
		{"ca", "abc", 3}, {"kitten", "sitting", 3}, {"größe", "grösse", 2}, {"cases", "case", 1},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func FuzzDistance(f *testing.F) {
	f.Add("help", "hlep")
	f.Add("", "x")
	f.Fuzz(func(t *testing.T, a, b string) {
		d, longer := distance(a, b), max(len([]rune(a)), len([]rune(b)))
		if back := distance(b, a); back != d {
			t.Errorf("distance(%q, %q) = %d, and %d the other way", a, b, d, back)
		}
		if same := string([]rune(a)) == string([]rune(b)); (d == 0) != same || d < 0 || d > longer {
			t.Errorf("distance(%q, %q) = %d", a, b, d)
		}
	})
}
