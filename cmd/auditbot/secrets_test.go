package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"auditbot/auditlog/tenantsim"
	"auditbot/bot/slacksim"
)

// A hunt finds secrets in what was written, in whatever form they are there.
type hunt struct {
	needles map[string]bool   // their texts
	spots   map[uint64][]spot // where pieces of needles are, by the piece
	maybe   []bool            // what spots may have, by slot: most of a text is none of it
}

// A needle is a secret in one form.
type needle struct{ name, text string }

// A spot is a place in a needle, where one of its pieces begins.
type spot struct {
	needle *needle
	at     int
}

// enough bytes of a needle in a row are a find; of shorter ones, all are. Any
// that many have a whole piece among them: a needle is cut into pieces without
// gaps, and a text is looked at from every byte on.
const (
	enough = 24
	piece  = 8
	slots  = 1 << 22
)

func newHunt() *hunt {
	return &hunt{needles: map[string]bool{}, spots: map[uint64][]spot{}, maybe: make([]bool, slots)}
}

// add adds a secret in all of its forms.
func (h *hunt) add(name, secret string) {
	if len(secret) < piece {
		panic(name + " is too short to be looked for")
	}
	for text, form := range forms(secret) {
		if h.needles[text] {
			continue
		}
		h.needles[text] = true
		n := &needle{name + form, text}
		for at := 0; at+piece <= len(text); at += piece {
			key := binary.LittleEndian.Uint64([]byte(text[at:]))
			h.spots[key] = append(h.spots[key], spot{n, at})
			h.maybe[slot(key)] = true
		}
	}
}

func slot(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 >> 42 } // its highest 22 bits, multiplied by 2^64 over the golden ratio

// forms are the ways in which a program may write a secret, each with words for
// it.
func forms(secret string) map[string]string {
	inJSON := func(s string) string {
		text, _ := json.Marshal(s)
		return string(text[1 : len(text)-1])
	}
	all := map[string]string{
		strings.ToUpper(hex.EncodeToString([]byte(secret))):     " in hex",
		hex.EncodeToString([]byte(secret)):                      " in hex",
		strings.Trim(fmt.Sprint([]byte(secret)), "[]"):          " as numbers",
		inJSON(inJSON(secret)):                                  " in JSON in JSON",
		inJSON(secret):                                          " in JSON",
		html.EscapeString(secret):                               " in HTML",
		strings.Trim(strconv.Quote(secret), `"`):                " in quotes",
		strings.Trim(strconv.QuoteToASCII(secret), `"`):         " in quotes",
		url.PathEscape(secret):                                  " in a path",
		url.QueryEscape(secret):                                 " in a query",
		strings.NewReplacer("\r", "", "\n", "").Replace(secret): " on one line",
		secret: "",
	}
	for before := range 3 {
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			all[inBase64(e, secret, before)] = " in base64"
		}
	}
	maps.DeleteFunc(all, func(text, _ string) bool { return len(text) < piece })
	return all
}

// inBase64 are the characters that have nothing but a secret in them when that
// many bytes come before it.
func inBase64(e *base64.Encoding, secret string, before int) string {
	whole := e.EncodeToString(append(make([]byte, before), secret...))
	return whole[(before*8+5)/6 : (before+len(secret))*8/6]
}

// find names the secrets that are in a text.
func (h *hunt) find(text []byte) (found []string) {
	for i := 0; i+piece <= len(text); i++ {
		key := binary.LittleEndian.Uint64(text[i:])
		if !h.maybe[slot(key)] {
			continue
		}
		for _, s := range h.spots[key] {
			if s.foundAt(text, i) && !slices.Contains(found, s.needle.name) {
				found = append(found, s.needle.name)
			}
		}
	}
	return found
}

// foundAt tells whether enough of the needle is around its piece at i.
func (s spot) foundAt(text []byte, i int) bool {
	n := s.needle.text
	from, to := s.at, s.at
	for i+to-s.at < len(text) && to < len(n) && text[i+to-s.at] == n[to] {
		to++
	}
	for i+from-s.at > 0 && from > 0 && text[i+from-s.at-1] == n[from-1] {
		from--
	}
	return to-from >= min(enough, len(n))
}

func TestTheHuntFindsASecretInEveryForm(t *testing.T) {
	t.Parallel()
	const secret = "1.A&\"<ü>\\" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "+/ \n%" + "0123456789abcdefghijklmnop"
	h := newHunt()
	h.add("token", secret)
	h.add("code", "KX7QWE3RT")
	log := func(format string, args ...any) string {
		return `{"err":` + strconv.Quote(fmt.Sprintf(format, args...)) + `}`
	}
	for form, text := range map[string]string{
		"plain": secret, "its beginning": secret[:enough], "its middle": secret[11 : 11+enough], "its end": secret[len(secret)-enough:],
		"in a log": log("asking: %s", secret), "quoted in a log": log("asking: %q", secret), "bytes in a log": log("%v", []byte(secret)),
		"in hex": hex.EncodeToString([]byte(secret)), "in a query": "?a=" + url.QueryEscape(secret),
		"in base64": base64.StdEncoding.EncodeToString([]byte(":" + secret)), "in base64 for URLs": base64.URLEncoding.EncodeToString([]byte("a:" + secret)),
	} {
		if found := h.find([]byte("what comes before " + text + " and after")); len(found) == 0 {
			t.Errorf("%s: not found", form)
		}
	}
	for _, text := range []string{"", secret[:7], secret[:enough-1], secret[len(secret)-enough+1:], "KX7QWE3R", "X7QWE3RT"} {
		if found := h.find([]byte(text)); len(found) > 0 {
			t.Errorf("%q: found %v", text, found)
		}
	}
	for _, text := range []string{"KX7QWE3RT", base64.StdEncoding.EncodeToString([]byte("codes KX7QWE3RT;"))} {
		if found := h.find([]byte(text)); len(found) == 0 {
			t.Errorf("the code was not found in %s", text)
		}
	}
}

// A watched is a bot of which every word is kept: what it writes, and
// auditbot exec on the same folder; what Slack and Microsoft are told; and the
// folder that is its home.
type watched struct {
	*surroundings
	env   map[string]string
	wrote map[string]*lockedBuffer // by what wrote it
	codes map[string]string        // whom each user code was shown to: a Slack user, or terminal
	known map[string]string        // secrets, by name, besides those that Slack and Microsoft give out
}

const (
	ada, grace = "U0ADA", "U0GRACE"
	terminal_  = "terminal"
)

const watchedSettings = `
access:
  channels: [C0INCIDENTS]
  analysts: {users: [U0ADA, U0GRACE]}
  admins: {users: [U0GRACE]}
instances:
  - {name: contoso, tenant: contoso.onmicrosoft.com, login_url: %[1]s, exchange_url: %[1]s, graph_url: %[1]s, graph_client_id: %[2]s, accounts: {U0GRACE: grace@contoso.com, "local:%[3]s": ada@contoso.com}}
  - {name: soc, tenant: contoso.onmicrosoft.com, login_url: %[1]s, exchange_url: %[1]s, auth: password, upn: victor@contoso.com}
engine: {data_dir: data}
log: {level: %[4]s}
`

func newWatched(t *testing.T, level string) *watched {
	t.Helper()
	password := "päss&<wörd>\"\\ +%" + rand.Text()
	tenant := &tenantsim.Server{Interval: time.Second, Tenant: tenantsim.Tenant{Apps: append(tenantsim.MicrosoftApps(), tenantsim.OwnApp())}}
	tenant.Change("victor@contoso.com", func(a *tenantsim.Account) {
		a.Password, a.Roles = password, []string{tenantsim.RoleAuditLogs}
	})
	s := &watched{surroundings: newSurroundingsWith(t, tenant), wrote: map[string]*lockedBuffer{}, codes: map[string]string{}, known: map[string]string{}}
	settings := fmt.Sprintf(watchedSettings, tenant.URL, tenantsim.OwnApp().ClientID, localUser(), level)
	s.must(os.WriteFile(filepath.Join(s.dir, "auditbot.yml"), []byte(settings), 0o666))
	s.env = map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": filepath.Join(s.dir, "home"), "TMPDIR": filepath.Join(s.dir, "tmp"),
		"GOTRACEBACK": "system", panicking: filepath.Join(s.dir, "panic"),
		"SLACK_API_URL": s.slack.APIURL(),
	}
	s.must(os.Mkdir(s.env["HOME"], 0o700))
	s.must(os.Mkdir(s.env["TMPDIR"], 0o700))
	s.secret("SLACK_BOT_TOKEN", s.slack.BotToken())
	s.secret("SLACK_APP_TOKEN", s.slack.AppToken())
	s.secret("AUDITBOT_PASSWORD_SOC", password)
	s.key("AUDITBOT_KEY")
	s.key("AUDITBOT_KEY_OLD")
	t.Cleanup(s.show)
	return s
}

// show shows what was written if the test has failed.
func (s *watched) show() {
	for what, text := range s.wrote {
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", what, text)
		}
	}
}

// must ends the test if something failed that is no part of it.
func (s *watched) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// secret sets a secret in the environment.
func (s *watched) secret(name, value string) {
	s.env[name] = value
	s.known[fmt.Sprintf("%s (%d)", name, len(s.known))] = value
}

// key sets a new key in the environment.
func (s *watched) key(name string) {
	key := madeUpKey()
	s.secret(name, base64.StdEncoding.EncodeToString(key))
	s.known[fmt.Sprintf("%s, decoded (%d)", name, len(s.known))] = string(key)
}

func (s *watched) command(args ...string) *exec.Cmd {
	c := exec.Command(s.binary, args...)
	c.Dir = s.dir
	for name, value := range s.env {
		c.Env = append(c.Env, name+"="+value)
	}
	return c
}

// panicking is the variable with the name of a file; while that is there, the
// bot panics when it is about to ask Exchange Online for what is in it.
const panicking = "AUDITBOT_TEST_PANIC"

func init() {
	file := os.Getenv(panicking)
	if file == "" {
		return
	}
	http.DefaultTransport.(*http.Transport).Proxy = func(r *http.Request) (*url.URL, error) {
		asked, err := os.ReadFile(file)
		if err == nil && strings.Contains(r.URL.Path+r.Header.Get("X-CmdletName"), string(asked)) {
			var none *url.URL
			none.Host = "" // as programs do
		}
		return nil, nil
	}
}

// start starts the bot.
func (s *watched) start(life string) *exec.Cmd {
	s.t.Helper()
	c, log := s.command("run"), new(lockedBuffer)
	c.Stdout, c.Stderr = log, log
	s.wrote["the log of the "+life] = log
	s.must(c.Start())
	s.t.Cleanup(func() { c.Process.Kill() })
	ctx, cancel := context.WithTimeout(s.t.Context(), 60*time.Second)
	defer cancel()
	if err := s.slack.WaitConnected(ctx); err != nil {
		c.Process.Kill()
		c.Wait()
		s.t.Fatalf("the bot did not connect: %v\n%s", err, log)
	}
	return c
}

// end waits until the bot has ended, by a signal or, if that is 0, by itself.
func (s *watched) end(c *exec.Cmd, signal syscall.Signal) {
	s.t.Helper()
	if signal != 0 {
		s.must(c.Process.Signal(signal))
	}
	s.await(func() bool { return s.slack.Sockets() == 0 })
	c.Wait() // how it ended does not matter
}

// exec is auditbot exec, to its end. Who is asked to sign in does so.
func (s *watched) exec(stdin string, args ...string) {
	s.t.Helper()
	c, name := s.command(append([]string{"exec"}, args...)...), "auditbot exec "+strings.Join(args, " ")
	stdout, stderr := new(lockedBuffer), new(lockedBuffer)
	s.wrote["the standard output of "+name], s.wrote["the standard error of "+name] = stdout, stderr
	c.Stdin, c.Stdout = strings.NewReader(stdin), stdout
	pipe, err := c.StderrPipe()
	s.must(err)
	s.must(c.Start())
	lines := bufio.NewScanner(pipe)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fmt.Fprintln(stderr, lines.Text())
		if strings.Contains(lines.Text(), "enter the code") {
			s.must(s.tenant.Approve(s.code(terminal_), "ada@contoso.com"))
		}
	}
	s.must(lines.Err())
	c.Wait() // how it ended does not matter
}

// code is the next code, which was shown to this person.
func (s *watched) code(person string) (next string) {
	s.t.Helper()
	s.await(func() bool {
		for _, code := range s.tenant.UserCodes() {
			if s.codes[code] == "" {
				next = code
			}
		}
		return next != ""
	})
	s.codes[next] = person
	return next
}

// begin is the code of a sign-in that somebody begins, once they see it.
func (s *watched) begin(person string) (code string) {
	s.t.Helper()
	s.types(person, "!o365-auditlog-auth-start")
	code = s.code(person)
	s.awaitDM(person, code)
	return code
}

func (s *watched) types(person, line string) slacksim.Message {
	s.t.Helper()
	m, err := s.slack.Say(person, "C0INCIDENTS", "", line)
	s.must(err)
	return m
}

// asks is a command of Ada's, up to its answer, during which the tenant has
// these faults.
func (s *watched) asks(line, answer string, faults ...tenantsim.Fault) {
	s.t.Helper()
	s.tenant.Fail(faults...)
	s.answer(s.types(ada, line), answer)
	if n := s.tenant.Unspent(); n > 0 {
		s.t.Fatalf("%s: %d faults are left", line, n)
	}
}

// awaitDM waits until the bot's newest direct message to somebody has words in it.
func (s *watched) awaitDM(person, words string) {
	s.t.Helper()
	channel := s.slack.OpenDM(person)
	s.await(func() bool {
		for _, m := range slices.Backward(s.slack.History(channel)) {
			if m.BotID != "" && m.ThreadTS == "" {
				return strings.Contains(blockText(m.Blocks), words)
			}
		}
		return false
	})
}

// TestNoSecretLeaves plays all that has to do with secrets, well or badly, and
// searches everything that was written meanwhile, on each level of the log.
func TestNoSecretLeaves(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"debug", "info", "warn", "error"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			s := newWatched(t, level)
			c := s.start("first life")
			s.signInWellAndBadly()
			s.searchWellAndBadly()
			s.failInSlack()
			s.panicInACommand()
			restarted := s.begin(grace)
			s.end(c, syscall.SIGTERM)
			s.secret("AUDITBOT_KEY_OLD", s.env["AUDITBOT_KEY"])
			s.key("AUDITBOT_KEY")
			c = s.start("second life")
			s.must(s.tenant.Approve(restarted, "grace@contoso.com"))
			s.awaitDM(grace, "Signed in to")
			s.asks("!o365-auditlog-auth-reset", "Signed out")
			s.begin(ada)
			s.stopInTheMiddle(c)
			s.panicForGood(s.start("third life"))
			s.look()
		})
	}
}

const (
	exchangeExample = example + " using=contoso"
	graphExample    = exchangeExample + " backend=graph"
	sharedExample   = example + " using=soc"
	wholeExample    = "!o365-auditlog-search start_date=01/01/21 end_date=01/02/21 result_size=all using=soc"
	moreInTheLog    = "The log has more under"
)

func (s *watched) signInWellAndBadly() {
	s.t.Helper()
	s.must(s.tenant.Deny(s.begin(ada)))
	s.must(s.tenant.Expire(s.begin(grace)))
	s.awaitDM(ada, "was declined")
	s.awaitDM(grace, "has expired")
	s.asks("!o365-auditlog-auth-start", moreInTheLog, tenantsim.Echo(0).On("devicecode"))
	s.tenant.Fail(tenantsim.Echo(0).On("token"), tenantsim.Echo(30).On("token"))
	s.begin(ada)
	s.begin(grace)
	s.awaitDM(ada, "Not signed in")
	s.awaitDM(grace, "Not signed in")
	s.exec("", "!o365-auditlog-auth-test using=soc")
	s.tenant.Fail(tenantsim.Unavailable.On("token"), tenantsim.Reset.On("token"))
	s.must(s.tenant.Approve(s.begin(ada), "ada@contoso.com"))
	s.must(s.tenant.Approve(s.begin(grace), "grace@contoso.com")) // what that gives is lost on its way
	s.useTerminal()                                               // before they ask again
	s.awaitDM(ada, "Signed in to")
	s.awaitDM(grace, "Not signed in")
	s.must(s.tenant.Approve(s.begin(grace), "mallory@contoso.com"))
}

func (s *watched) useTerminal() {
	s.t.Helper()
	s.exec("", "--json", "--out", "kept", sharedExample)
	s.exec("!help\n!nothing\n"+exchangeExample+"\n", "--json", "-")
	s.tenant.Fail(tenantsim.Echo(0))
	s.exec("", sharedExample)
}

func (s *watched) searchWellAndBadly() {
	s.t.Helper()
	s.asks(exchangeExample, "UserLoginFailed")
	s.asks("!o365-auditlog-auth-test using=contoso", "Test ok")
	waits := s.types(ada, graphExample)
	s.must(s.tenant.Approve(s.code(ada), "ada@contoso.com"))
	s.answer(waits, "UserLoginFailed")
	s.awaitDM(grace, "was expected")
	for _, n := range []int{0, 30} {
		echo := tenantsim.Echo(n)
		s.asks(exchangeExample, moreInTheLog, echo)
		s.asks(graphExample, moreInTheLog, echo.On("graph-create"))
		s.asks(exchangeExample, moreInTheLog, tenantsim.Unauthorized, echo.On("token"))
		s.asks(sharedExample, moreInTheLog, tenantsim.Unauthorized, echo.On("token"), echo.On("token"))
		s.asks("!o365-auditlog-auth-test", moreInTheLog, echo.On("EXOModuleFile"))
	}
	s.asks(exchangeExample, "UserLoginFailed", tenantsim.Unauthorized, tenantsim.Reset)
}

func (s *watched) failInSlack() {
	s.t.Helper()
	s.slack.Fail(slacksim.APIError("chat.postMessage", "invalid_auth"))
	s.types(ada, "!help")
	s.awaitDM(ada, "could not be answered there")
	s.slack.Fail(slacksim.Lost("upload"), slacksim.HTTPError("upload", 500), slacksim.HTTPError("link", 500))
	asked := s.types(ada, exchangeExample)
	s.await(func() bool { return s.filesUnder(asked) == 2 })
	s.slack.CutSockets()
	s.answer(s.types(ada, "!help"), "What you can ask")
}

func (s *watched) panicInACommand() {
	s.t.Helper()
	s.must(os.WriteFile(s.env[panicking], []byte("EXOModuleFile"), 0o666))
	s.asks("!o365-auditlog-auth-test using=contoso", "That did not work")
	s.must(os.Remove(s.env[panicking]))
}

// stopInTheMiddle makes the bot show the stacks of all that it does, with a
// search on its way, and keeps the files that only it can see.
func (s *watched) stopInTheMiddle(c *exec.Cmd) {
	s.t.Helper()
	s.tenant.Fail(tenantsim.Hung)
	asked := s.types(grace, wholeExample)
	s.await(func() bool {
		for _, m := range s.slack.History(asked.Channel) {
			if m.ThreadTS == asked.TS && strings.Contains(blockText(m.Blocks), "is running, since") {
				return true
			}
		}
		return false
	})
	s.end(c, syscall.SIGQUIT)
}

// panicForGood is a panic where nobody recovers from it.
func (s *watched) panicForGood(c *exec.Cmd) {
	s.t.Helper()
	s.must(os.WriteFile(s.env[panicking], []byte("Search-UnifiedAuditLog"), 0o666))
	s.types(ada, wholeExample)
	s.end(c, 0)
	s.must(os.Remove(s.env[panicking]))
}

// look searches everything.
func (s *watched) look() {
	s.t.Helper()
	h := s.hunt()
	for what, text := range s.wrote {
		shown := ""
		if strings.HasPrefix(what, "the standard error") {
			shown = terminal_
		}
		s.search(h, what, s.without(text.String(), shown))
	}
	s.lookAtFiles(h)
	s.lookAtSlack(h)
	s.lookAtMicrosoft(h)
}

// hunt is for all secrets that there were.
func (s *watched) hunt() *hunt {
	h := newHunt()
	for name, secret := range s.known {
		h.add(name, secret)
	}
	for i, issued := range s.tenant.Issued() {
		h.add(fmt.Sprintf("%s (%d)", issued.Kind, i), issued.Value)
	}
	for i, ticket := range s.slack.Tickets() {
		h.add(fmt.Sprintf("Slack's ticket (%d)", i), ticket)
	}
	return h
}

// search fails the test if a text has secrets in it.
func (s *watched) search(h *hunt, what, text string) {
	s.t.Helper()
	if found := h.find([]byte(text)); len(found) > 0 {
		s.t.Errorf("%s has %s", what, strings.Join(found, ", "))
	}
}

// without takes the user codes out of a text that were shown to this person.
func (s *watched) without(text, person string) string {
	for code, to := range s.codes {
		if to == person {
			text = strings.ReplaceAll(text, code, "")
		}
	}
	return text
}

func (s *watched) lookAtFiles(h *hunt) {
	s.t.Helper()
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		s.search(h, "the name of a file", path)
		text, err := os.ReadFile(path)
		s.search(h, path, string(text))
		return err
	})
	s.must(err)
}

// lookAtSlack searches what Slack was told, of which only a code's own person
// may see it, in the message itself, and only until it is used.
func (s *watched) lookAtSlack(h *hunt) {
	s.t.Helper()
	dm := map[string]string{s.slack.OpenDM(ada): ada, s.slack.OpenDM(grace): grace}
	for _, r := range s.slack.Requests() {
		s.search(h, "the address of "+r.Method, strings.ReplaceAll(r.URL, r.Values.Get("ticket"), ""))
		s.search(h, "the header of "+r.Method, fmt.Sprint(r.Header))
		for name, values := range r.Values {
			text := strings.Join(values, "\n")
			if name == "ticket" {
				continue // where an upload goes
			}
			if name == "blocks" && (r.Method == "chat.postMessage" || r.Method == "chat.update") {
				text = s.without(text, dm[r.Values.Get("channel")])
			}
			s.search(h, name+" of "+r.Method, text)
		}
	}
	for _, text := range slices.Concat(s.slack.Uploads(), s.slack.Frames()) {
		s.search(h, "a file or a frame", string(text))
	}
	pending := s.tenant.UserCodes()
	for _, c := range s.slack.Channels() {
		for _, m := range s.slack.History(c.ID) {
			text := m.Text + string(m.Blocks) + string(m.Attachments) + string(m.Metadata)
			for _, code := range pending {
				text = strings.ReplaceAll(text, code, "")
			}
			s.search(h, "what stands in "+c.ID, text)
		}
	}
}

// lookAtMicrosoft searches the addresses that Microsoft was asked at, which
// proxies keep, and looks whether it was told what is not its own.
func (s *watched) lookAtMicrosoft(h *hunt) {
	s.t.Helper()
	foreign := newHunt()
	for name, secret := range s.known {
		if !strings.HasPrefix(name, "AUDITBOT_PASSWORD") {
			foreign.add(name, secret)
		}
	}
	for _, r := range s.tenant.Requests() {
		s.search(h, "an address of "+r.Name, r.URL)
		s.search(foreign, "a request for "+r.Name, fmt.Sprint(r.Header)+string(r.Body))
	}
}
