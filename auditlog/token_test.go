package auditlog_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"auditbot/auditlog"
)

func TestSecretsDoNotPrint(t *testing.T) {
	type holder struct {
		S auditlog.Secret
		T auditlog.Token
	}
	h := holder{"hunter2", auditlog.Token{Access: "hunter2", Account: "ada@contoso.com"}}
	var out bytes.Buffer
	for _, v := range []any{h, &h, h.S, h.T, &h.T, []auditlog.Secret{h.S}, map[string]auditlog.Secret{"x": h.S}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
	}
	for _, clear := range []string{"hunter2", fmt.Sprintf("%x", "hunter2")} {
		if strings.Contains(out.String(), clear) {
			t.Errorf("a secret was printed:\n%s", out.String())
		}
	}
}
