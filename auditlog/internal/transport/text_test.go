package transport_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog/internal/transport"
)

func TestForeignTextBecomesOneHarmlessLine(t *testing.T) {
	for text, want := range map[string]string{
		" a\r\n\tb \u00a0 c ":  "a b c",
		"a\x00\x1b[31mb":       "a[31mb",
		"moc.\u202eevil\u202c": "moc.evil",
		"a\xffb":               "a\ufffdb",
		"äöü😀äöü😀äöü😀":         "äöü😀äöü😀ä…",
		"":                     "",

		"Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln": "Bearer […]",
	} {
		if got := transport.Clean(text, 10); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestSentencesTakeWhatTheServiceSaid(t *testing.T) {
	for got, want := range map[string]string{
		"refused" + transport.Said(""):                    "refused",
		"refused" + transport.Said("Access Denied. "):     "refused: Access Denied",
		"busy" + transport.Asking(0):                      "busy",
		"busy" + transport.Asking(90400*time.Millisecond): "busy and asks to be left alone for 1m30s",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if said := transport.Said(strings.Repeat("x", 600)); len([]rune(said)) != len(": ")+500 {
		t.Errorf("%d characters were said", len([]rune(said)))
	}
}

func TestCallsHaveDifferentGUIDs(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	a, b := transport.NewGUID(), transport.NewGUID()
	if a == b || !form.MatchString(a) || !form.MatchString(b) {
		t.Errorf("%s, %s", a, b)
	}
}
