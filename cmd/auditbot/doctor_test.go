package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"auditbot/auditlog/tenantsim"
	"auditbot/bot/engine"
	"auditbot/commands"
)

// settings is "settings FILE": the bot's settings are those in the file, with
// $TENANT and $WORK.
func (s *stage) settings(ts *testscript.TestScript, args []string) {
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs("auditbot.yml"), []byte(text), 0o666))
}

var (
	amounts = regexp.MustCompile(`[\d.]+ [kMG]B|[\d,]+ messages|\(\d+%\)`)
	myself  = regexp.MustCompile(`local:[^:}]+`)
)

// doctor is "doctor [-without VARIABLE]": auditbot doctor on the settings in
// auditbot.yml. Standard output is what it prints, with what differs between
// machines made equal, and its exit status.
func (s *stage) doctor(ts *testscript.TestScript, args []string) {
	known := s.getenv(ts)
	without := func(name string) string {
		if len(args) == 2 && strings.HasPrefix(name, args[1]) {
			return ""
		}
		return known(name)
	}
	var out bytes.Buffer
	p := &program{ctx: context.Background(), getenv: without, stdin: strings.NewReader(""), stdout: &out, stderr: &out}
	status := p.run([]string{"doctor", "--config", ts.MkAbs("auditbot.yml")})
	text := strings.ReplaceAll(out.String(), ts.Getenv("WORK"), "$WORK")
	text = amounts.ReplaceAllString(text, "SOME")
	text = myself.ReplaceAllString(text, "local:ME")
	fmt.Fprintf(ts.Stdout(), "%sexit status %d\n", local.ReplaceAllString(text, "127.0.0.1:PORT"), status)
}

// A patient is what auditbot doctor looks at: without Slack, which has checks
// of its own.
type patient struct {
	dir      string // of the data folder and the settings
	settings string // but for the data folder
	environ  map[string]string
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	tenant := tenantsim.NewServer(tenantsim.Tenant{Records: new(tenantsim.Records)})
	t.Cleanup(tenant.Close)
	return &patient{
		dir:      t.TempDir(),
		settings: fmt.Sprintf("access: {everyone: true}\ninstances: [{name: contoso, tenant: contoso.com, auth: password, upn: ada@contoso.com, login_url: %q, exchange_url: %[1]q}]\n", tenant.URL),
		environ:  map[string]string{"AUDITBOT_KEY": rightKey, "AUDITBOT_PASSWORD_CONTOSO": tenantsim.ContosoPassword},
	}
}

func (p *patient) data() string { return filepath.Join(p.dir, "data") }

// open opens the data folder as the bot does.
func (p *patient) open(t *testing.T) *engine.Engine {
	t.Helper()
	key, err := decodeKey("AUDITBOT_KEY", rightKey)
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(t.Context(), engine.Config{Dir: p.data(), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	if !e.Owner() {
		t.Error("somebody else has the folder")
	}
	return e
}

// doctor is what auditbot doctor prints, with single blanks.
func (p *patient) doctor(t *testing.T) (status int, text string) {
	t.Helper()
	path := filepath.Join(p.dir, "auditbot.yml")
	if err := os.WriteFile(path, fmt.Appendf(nil, "%sengine: {data_dir: %q}\n", p.settings, p.data()), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	program := &program{ctx: t.Context(), getenv: func(name string) string { return p.environ[name] }, stdin: strings.NewReader(""), stdout: &out, stderr: &out}
	status = program.run([]string{"doctor", "--config", path})
	text = regexp.MustCompile(` +`).ReplaceAllString(out.String(), " ")
	for name, secret := range p.environ {
		if strings.Contains(text, secret) {
			t.Errorf("%s is shown:\n%s", name, text)
		}
	}
	return status, text
}

func TestEachFaultOfTheInstallationHasItsLine(t *testing.T) {
	t.Parallel()
	const otherKey = "MTEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	for name, c := range map[string]struct {
		breakIt func(*testing.T, *patient)
		want    []string
	}{
		"nothing but Slack is amiss": {func(*testing.T, *patient) {},
			[]string{"ok settings ", "ok key AUDITBOT_KEY is set", "ok data folder no data folder yet: the first start makes ", "ok contoso clock", "ok contoso role", "warning contoso retention nothing older than 90 days was seen"}},
		"the key is another one": {func(t *testing.T, p *patient) { p.open(t).Close(); p.environ["AUDITBOT_KEY"] = otherKey },
			[]string{"ok key", "failure data folder ", "not the key that it was made with; nothing was changed -> set AUDITBOT_KEY to the key", "ok contoso role"}},
		"the key is about to be changed": {func(t *testing.T, p *patient) {
			p.open(t).Close()
			p.environ["AUDITBOT_KEY"], p.environ["AUDITBOT_KEY_OLD"] = otherKey, rightKey
		}, []string{"warning data folder ", " opens with AUDITBOT_KEY_OLD only -> start the bot once with both keys", "ok engine 12 streams, encrypted"}},
		"neither key is right": {func(t *testing.T, p *patient) {
			p.open(t).Close()
			p.environ["AUDITBOT_KEY"], p.environ["AUDITBOT_KEY_OLD"] = otherKey, otherKey
		}, []string{"failure data folder ", "not the key"}},
		"the key is no key": {func(_ *testing.T, p *patient) { p.environ["AUDITBOT_KEY"] = "correct horse battery staple" },
			[]string{"failure key AUDITBOT_KEY is not 32 bytes in base64", "ok data folder", "ok contoso role"}},
		"there is no key": {func(t *testing.T, p *patient) { p.open(t).Close(); delete(p.environ, "AUDITBOT_KEY") },
			[]string{"failure key AUDITBOT_KEY (or AUDITBOT_KEY_FILE) is not set -> make one with openssl rand", "failure data folder not opened: there is no key", "ok contoso role"}},
		"a secret is there twice": {func(_ *testing.T, p *patient) {
			p.environ["SLACK_BOT_TOKEN"], p.environ["SLACK_BOT_TOKEN_FILE"] = "xoxb-11111111", "/nowhere"
		},
			[]string{"failure slack bot token both SLACK_BOT_TOKEN and SLACK_BOT_TOKEN_FILE are set: unset one"}},
		"a token is of another kind": {func(_ *testing.T, p *patient) { p.environ["SLACK_APP_TOKEN"] = "xoxp-11111111" },
			[]string{"failure slack app token SLACK_APP_TOKEN is another kind of token -> set it to the token that begins with xapp-"}},
		"a file is where the data folder is to be": {func(t *testing.T, p *patient) { writeFile(t, p.data()) },
			[]string{"failure data folder ", "not a directory", "ok contoso role"}},
		"a stream is gone": {func(t *testing.T, p *patient) {
			p.open(t).Close()
			if err := os.RemoveAll(filepath.Join(p.data(), "jetstream", "$G", "streams", "KV_auditbot_tokens")); err != nil {
				t.Fatal(err)
			}
		}, []string{"failure data folder ", "KV_auditbot_tokens is missing from the data folder; restore the whole folder from a backup"}},
		"the settings cannot be read": {func(_ *testing.T, p *patient) { p.settings += "acess: {}\n" },
			[]string{"failure settings ", "there is no key acess; did you mean access?", "ok key AUDITBOT_KEY is set", "failure slack bot token SLACK_BOT_TOKEN (or SLACK_BOT_TOKEN_FILE) is not set"}},
		"an instance has no password": {func(_ *testing.T, p *patient) {
			delete(p.environ, "AUDITBOT_PASSWORD_CONTOSO")
			p.settings = strings.Replace(p.settings, "instances: [", "instances: [{name: fabrikam, tenant: fabrikam.com, login_url: 'http://127.0.0.1:1'}, ", 1)
		}, []string{"failure contoso settings AUDITBOT_PASSWORD_CONTOSO (or AUDITBOT_PASSWORD_CONTOSO_FILE) is not set", "failure fabrikam tenant ", "could not be reached", "warning fabrikam role not checked"}},
		"certificates are not checked": {func(_ *testing.T, p *patient) {
			p.settings = strings.Replace(p.settings, "name: contoso", "name: contoso, insecure: true", 1)
		}, []string{"warning contoso settings insecure: true is set"}},
		"the clock is not Microsoft's": {func(t *testing.T, p *patient) { p.settings = slowClock(t, p.settings) },
			[]string{"failure contoso clock this machine's clock is 1h0m", " ahead -> synchronise"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t)
			c.breakIt(t, p)
			_, err := os.Stat(p.data())
			status, got := p.doctor(t)
			rest := got
			for _, part := range c.want {
				_, after, ok := strings.Cut(rest, part)
				if !ok {
					t.Fatalf("there is no %q in this order in\n%s", part, got)
				}
				rest = after
			}
			if status != ourFailure { // there are no tokens of Slack's
				t.Errorf("exit status %d", status)
			}
			if _, now := os.Stat(p.data()); (err == nil) != (now == nil) {
				t.Error("the doctor made or removed a data folder")
			}
		})
	}
}

func writeFile(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// slowClock makes the settings lead to a login host that is an hour behind.
func slowClock(t *testing.T, settings string) string {
	tenant := &tenantsim.Server{}
	t.Cleanup(tenant.Close)
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		tenant.ServeHTTP(w, r)
	}))
	t.Cleanup(host.Close)
	return regexp.MustCompile(`login_url: "[^"]*"`).ReplaceAllString(settings, fmt.Sprintf("login_url: %q", host.URL))
}

func TestTheDoctorLeavesTheDataFolderAsItWas(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	e := p.open(t)
	if status, text := p.doctor(t); status != ourFailure || !strings.Contains(text, "was reached through the auditbot that runs on it") {
		t.Errorf("%d\n%s", status, text)
	}
	e.Close()
	if _, text := p.doctor(t); !strings.Contains(text, "was opened; no other auditbot runs on it") {
		t.Errorf("%s", text)
	}
	p.open(t).Close() // which is the owner
	keyCheck, err := os.ReadFile(filepath.Join(p.data(), "key.check"))
	if err != nil {
		t.Fatal(err)
	}
	p.environ["AUDITBOT_KEY"], p.environ["AUDITBOT_KEY_OLD"] = "MTEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", rightKey
	p.doctor(t)
	if now, err := os.ReadFile(filepath.Join(p.data(), "key.check")); err != nil || !bytes.Equal(now, keyCheck) {
		t.Errorf("the key was changed: %v", err)
	}
}

func TestWhereNoDataFolderCanBeMadeThatIsSaid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "file"))
	if c := checkPlace(filepath.Join(dir, "a", "b", "data")); c.Level != commands.OK {
		t.Errorf("%+v", c)
	}
	if c := checkPlace(filepath.Join(dir, "file")); c.Level != commands.Failure || c.Do == "" {
		t.Errorf("%+v", c)
	}
	if left, err := os.ReadDir(dir); len(left) != 1 || err != nil {
		t.Errorf("%v, %v", left, err)
	}
}

func TestAFullDiskIsSeen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		free, total uint64
		err         error
		want        commands.Level
	}{
		{20, 100, nil, commands.OK},
		{19, 100, nil, commands.Warning},
		{10, 100, nil, commands.Warning},
		{9, 100, nil, commands.Failure},
		{0, 0, os.ErrPermission, commands.Failure},
		{0, 0, errors.ErrUnsupported, commands.Warning},
	} {
		if got := checkDisk(c.free<<30, c.total<<30, c.err); got.Level != c.want || got.Level == commands.Warning && c.err == nil && got.Do == "" {
			t.Errorf("%d of %d, %v: %+v", c.free, c.total, c.err, got)
		}
	}
}
