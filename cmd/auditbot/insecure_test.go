package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"auditbot/auditlog/tenantsim"
)

// untrusted serves h with a certificate that nobody vouches for.
func untrusted(t *testing.T, h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// auditbot runs the program with a settings file and these variables.
func auditbot(t *testing.T, settings string, environ map[string]string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	environ["AUDITBOT_KEY"] = rightKey
	var out, errors bytes.Buffer
	p := &program{ctx: t.Context(), getenv: func(name string) string { return environ[name] }, stdin: strings.NewReader(""), stdout: &out, stderr: &errors}
	settings += fmt.Sprintf("engine: {data_dir: %q}\n", filepath.Join(t.TempDir(), "data"))
	status = p.run(append(args[:1:1], append([]string{"--config", settingsFile(t, settings)}, args[1:]...)...))
	return status, out.String(), errors.String()
}

func TestACertificateOfMicrosoftsHostsIsTrustedOnlyIfTheSettingsSaySo(t *testing.T) {
	t.Parallel()
	tenant := &tenantsim.Server{}
	t.Cleanup(tenant.Close)
	microsoft := untrusted(t, tenant)
	for insecure, want := range map[bool]int{false: ourFailure, true: answered} {
		settings := fmt.Sprintf("instances: [{name: contoso, tenant: contoso.com, auth: password, upn: ada@contoso.com, login_url: %q, exchange_url: %[1]q, insecure: %t}]\n", microsoft.URL, insecure)
		environ := map[string]string{"AUDITBOT_PASSWORD_CONTOSO": tenantsim.ContosoPassword}
		status, stdout, stderr := auditbot(t, settings, environ, "exec", "!o365-auditlog-search start_date=01/01/21 end_date=01/02/21")
		if status != want || strings.Contains(stdout, "UserLoginFailed") != insecure || strings.Contains(stderr, "insecure: true is set") != insecure ||
			strings.Contains(strings.ToLower(stderr), "the certificate of "+strings.TrimPrefix(microsoft.URL, "https://")+" is not trusted") == insecure {
			t.Errorf("insecure: %t ends with %d\n%s%s", insecure, status, stdout, stderr)
		}
	}
}

func TestInsecureDoesNotConcernSlack(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	slack := untrusted(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	settings := fmt.Sprintf("slack: {api_url: %s/api/}\naccess: {everyone: true}\ninstances: [{name: contoso, tenant: contoso.com, insecure: true}]\n", slack.URL)
	status, _, stderr := auditbot(t, settings, map[string]string{"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1"}, "run")
	if status != ourFailure || asked.Load() > 0 || !strings.Contains(stderr, "asking Slack who we are") || !strings.Contains(stderr, "certificate") {
		t.Errorf("run ended with %d after %d requests\n%s", status, asked.Load(), stderr)
	}
	if !strings.Contains(stderr, "insecure: true is set") {
		t.Errorf("the start does not say that it is insecure:\n%s", stderr)
	}
}
