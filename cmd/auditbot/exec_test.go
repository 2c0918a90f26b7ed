package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"auditbot/auditlog/tenantsim"
)

// A console is a terminal at contoso's tenant whose person does something as
// soon as they read of a code, and of a sign-in.
type console struct {
	t         *testing.T
	tenant    *tenantsim.Server
	settings  string // of the instance, behind its URLs
	codes     int    // that were shown
	shown     func(code string)
	signIns   int
	signedIn  func()
	interrupt func()
	stdout    bytes.Buffer

	mu     sync.Mutex
	stderr bytes.Buffer
}

// newConsole is one at which Ada signs in whenever she is asked to.
func newConsole(t *testing.T, records *tenantsim.Records) *console {
	t.Helper()
	c := &console{t: t, tenant: &tenantsim.Server{Tenant: tenantsim.Tenant{Records: records}, Interval: time.Second}, signedIn: func() {}}
	if err := c.tenant.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.tenant.Close)
	c.settings = fmt.Sprintf("    accounts: {'local:%s': ada@contoso.com}", localUser())
	c.shown = c.approve
	return c
}

func (c *console) approve(code string) {
	if err := c.tenant.Approve(code, "ada@contoso.com"); err != nil {
		c.t.Error(err)
	}
}

func (c *console) deny(code string) {
	if err := c.tenant.Deny(code); err != nil {
		c.t.Error(err)
	}
}

var shownCode = regexp.MustCompile(`enter the code ([A-Z0-9]+) `)

// Write is standard error. What it makes the person do is done when it returns.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := shownCode.FindSubmatch(p); m != nil {
		c.codes++
		c.shown(string(m[1]))
	}
	if bytes.Contains(p, []byte("Signed in as")) {
		c.signIns++
		c.signedIn()
	}
	return c.stderr.Write(p)
}

// exec is auditbot exec with these arguments. It returns the exit status.
func (c *console) exec(args ...string) int {
	c.t.Helper()
	dir := c.t.TempDir()
	path := filepath.Join(dir, "auditbot.yml")
	settings := fmt.Sprintf("instances:\n  - name: contoso\n    tenant: contoso.onmicrosoft.com\n    login_url: %[1]s\n    exchange_url: %[1]s\n%[2]s\nengine: {data_dir: %[3]q}\n",
		c.tenant.URL, c.settings, filepath.Join(dir, "data"))
	if err := os.WriteFile(path, []byte(settings), 0o600); err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	c.interrupt = cancel
	getenv := func(name string) string { return map[string]string{"AUDITBOT_KEY": rightKey}[name] }
	command := args[len(args)-1]
	if slices.Contains(args, "-") {
		command, args = args[len(args)-1], args[:len(args)-1]
	}
	p := &program{ctx: ctx, getenv: getenv, stdin: strings.NewReader(command), stdout: &c.stdout, stderr: c}
	return p.run(append([]string{"exec", "--config", path}, args...))
}

// says complains about each text that standard error or output does not have.
func (c *console) says(where *bytes.Buffer, texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		if !strings.Contains(where.String(), text) {
			c.t.Errorf("it does not say %q:\n%.3000s", text, where)
		}
	}
}

func (c *console) endSoon() { endSoon(c.tenant, "ada@contoso.com") }

func TestOnATerminalASearchOutlastsAsManySignInsAsItNeeds(t *testing.T) {
	t.Parallel()
	records, search := manyRecords(80_000)
	c := newConsole(t, records)
	c.signedIn = func() {
		if c.signIns < 3 {
			c.endSoon()
		}
	}
	if status := c.exec("--json", search); status != answered || c.codes != 3 {
		t.Errorf("exit status %d after %d codes", status, c.codes)
	}
	c.says(&c.stderr, `{"verdict":"complete"`, "Signed in as ada@contoso.com. Going on ...")
	var context struct{ O365AuditLog []struct{ ID string } }
	if err := json.Unmarshal(c.stdout.Bytes(), &context); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range context.O365AuditLog {
		seen[r.ID] = true
	}
	if len(context.O365AuditLog) != 80_000 || len(seen) != 80_000 {
		t.Errorf("%d records, %d different ones", len(context.O365AuditLog), len(seen))
	}
	whole, asked := 0, c.tenant.Asked("Search-UnifiedAuditLog")
	if m := verdictRequests.FindSubmatch(c.stderr.Bytes()); m != nil {
		whole, _ = strconv.Atoi(string(m[1]))
	}
	if asked > whole*3/2 { // refused are at most as many as are under way at once, each time
		t.Errorf("%d requests for a search of %d: it began anew", asked, whole)
	}
}

var verdictRequests = regexp.MustCompile(`"requests":(\d+)`)

func TestOnATerminalASearchThatIsGivenUpAnswersWithWhatItFound(t *testing.T) {
	t.Parallel()
	records, search := manyRecords(40_000)
	for name, c := range map[string]struct {
		second func(*console, string) // what is done with the second code
		says   string
	}{
		"declined":    {(*console).deny, "The sign-in was declined"},
		"interrupted": {func(c *console, _ string) { c.interrupt() }, "The sign-in was interrupted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, asJSON := range []bool{false, true} {
				s := newConsole(t, records)
				requests := 0
				s.signedIn = s.endSoon
				s.shown = func(code string) {
					if s.codes == 1 {
						s.approve(code)
						return
					}
					requests = s.tenant.Asked("Search-UnifiedAuditLog")
					c.second(s, code)
				}
				args := []string{search}
				if asJSON {
					args = []string{"--json", "-", search}
				}
				if status := s.exec(args...); status != answered && !asJSON || s.codes != 2 { // with -, an interruption ends the rest
					t.Errorf("exit status %d after %d codes", status, s.codes)
				}
				if more := s.tenant.Asked("Search-UnifiedAuditLog") - requests; more > 0 {
					t.Errorf("%d requests were made after it was given up", more)
				}
				if asJSON {
					s.says(&s.stdout, `"status":"answered","error":"`, c.says, `"context":{"O365AuditLog":[{"`, `"verdict":{"verdict":"partial"`)
				} else {
					s.says(&s.stdout, "## Audit log from", "Partial", c.says, "What it had found until then is here; typed again, it begins anew.", "bob@contoso.com")
				}
			}
		})
	}
}

func TestOnATerminalASignInThatBringsASearchNowhereIsItsEnd(t *testing.T) {
	t.Parallel()
	c := newConsole(t, nil)
	c.signedIn = func() {
		c.tenant.Fail(tenantsim.Unauthorized)
		c.tenant.Revoke("ada@contoso.com")
	}
	if status := c.exec(example); status != ourFailure || c.codes != 1 || c.stdout.Len() > 0 {
		t.Errorf("exit status %d after %d codes: %s", status, c.codes, &c.stdout)
	}
	c.says(&c.stderr, "The sign-in did not last: ", "Type the command again to sign in again")
}

func TestOnATerminalWhoeverDoesNotSignInIsToldSo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		line   string
		do     func(*console, string)
		status int
		says   string
	}{
		"expired":                  {example, func(c *console, code string) { c.tenant.Expire(code) }, ourFailure, "The code has expired"},
		"declined":                 {"!o365-auditlog-auth-test", (*console).deny, ourFailure, "The sign-in was declined"},
		"interrupted":              {example, func(c *console, _ string) { c.interrupt() }, userMistake, "The sign-in was interrupted"},
		"interrupted, in so doing": {"!o365-auditlog-auth-start", func(c *console, _ string) { c.interrupt() }, userMistake, "The sign-in was interrupted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newConsole(t, nil)
			s.shown = func(code string) { c.do(s, code) }
			if status := s.exec(c.line); status != c.status || s.codes != 1 || s.stdout.Len() > 0 {
				t.Errorf("exit status %d after %d codes: %s", status, s.codes, &s.stdout)
			}
			s.says(&s.stderr, c.says)
			if n := s.tenant.Asked("Search-UnifiedAuditLog"); n > 0 {
				t.Errorf("%d searches", n)
			}
		})
	}
}

// unlike are the parts of the prompt that differ between runs.
var unlike = regexp.MustCompile(`127\.0\.0\.1:\d+|code [A-Z0-9]{9}|\d\d:\d\d UTC`)

func TestTheCodeOnATerminalSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	for _, settings := range []string{"", "    sign_in: instance\n    upn: ada@contoso.com"} {
		c := newConsole(t, nil)
		c.settings = cmp.Or(settings, c.settings)
		if status := c.exec("!o365-auditlog-auth-start"); status != answered {
			t.Errorf("%s: exit status %d", settings, status)
		}
		want := "Sign in to contoso.onmicrosoft.com: open http://…/devicelogin and enter the … (valid until …).\n" +
			"  application  Microsoft Exchange REST API Based Powershell (fb78d390-0c51-40cd-8e17-fdbfab77341b)\n" +
			"  tenant       contoso.onmicrosoft.com (" + tenantsim.Contoso(time.Now()).ID + ")\n" +
			"  account      ada@contoso.com; any other is discarded\n" +
			"  it asks for  https://outlook.office365.com/.default, offline_access, openid, profile\n" +
			"Do not enter it if you did not just start this yourself: whoever enters it lets auditbot search the audit log in their name.\n" +
			"Waiting ...\n"
		if got := unlike.ReplaceAllString(c.stderr.String(), "…"); got != want && (settings == "" || !strings.HasSuffix(got, "\n"+want)) { // behind what is warned of
			t.Errorf("%s: standard error is\n%s\nwant\n%s", settings, got, want)
		}
		c.says(&c.stdout, "## Signing in to contoso.onmicrosoft.com\n\nsigned in as ada@contoso.com")
	}
}
