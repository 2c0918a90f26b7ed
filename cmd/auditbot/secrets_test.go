package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"html"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

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

// find names the secrets that are in a text, each with what stands in front of
// the first.
func (h *hunt) find(text []byte) map[string]string {
	found := map[string]string{}
	for i := 0; i+piece <= len(text); i++ {
		key := binary.LittleEndian.Uint64(text[i:])
		if !h.maybe[slot(key)] {
			continue
		}
		for _, s := range h.spots[key] {
			if _, known := found[s.needle.name]; !known && s.foundAt(text, i) {
				found[s.needle.name] = string(text[max(0, i-100):i])
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
// auditbot on a terminal in the same folder; what Slack and Microsoft are told;
// and the folder that is its home.
type watched struct {
	*surroundings
	env   map[string]string
	wrote map[string]*lockedBuffer // by what wrote it
	codes map[string]string        // whom each user code was shown to: a Slack user, or onTerminal
	known map[string]string        // secrets, by name, besides those that Slack and Microsoft give out
	found []string                 // what was told already
}

const (
	ada, grace, mallory = "U0ADA", "U0GRACE", "U0MALLORY"
	onTerminal          = "the terminal"
)

const watchedSettings = `
access:
  channels: [C0INCIDENTS]
  analysts: {users: [U0ADA, U0GRACE, U0MALLORY]}
  admins: {users: [U0GRACE]}
instances:
  - {name: contoso, %[1]s, graph_client_id: %[2]s, accounts: {U0GRACE: grace@contoso.com, "local:%[3]s": ada@contoso.com}}
  - {name: one, %[1]s, sign_in: instance, upn: grace@contoso.com}
  - {name: soc, %[1]s, auth: password, upn: victor@contoso.com}
  - {name: app, %[1]s, auth: client_secret, client_id: %[4]s}
  - {name: signed, %[1]s, auth: certificate, client_id: %[5]s, certificate_file: bot.pfx}
engine: {data_dir: data}
serve: {metrics_addr: "127.0.0.1:0"}
log: {level: %[6]s}
`

func newWatched(t *testing.T, level string) *watched {
	t.Helper()
	certificate, file := newCertificate(t, time.Now().AddDate(1, 0, 0))
	tenant := certifiedTenant(certificate)
	s := &watched{wrote: map[string]*lockedBuffer{}, codes: map[string]string{}, known: map[string]string{}}
	s.surroundings, s.env = newSurroundingsWith(t, tenant), map[string]string{}
	at := fmt.Sprintf("tenant: contoso.onmicrosoft.com, login_url: %[1]q, exchange_url: %[1]q, graph_url: %[1]q", tenant.URL)
	s.write("auditbot.yml", fmt.Sprintf(watchedSettings, at, ownApp, localUser(), anotherApp, certifiedApp, level))
	s.env = map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": s.folder("home"), "TMPDIR": s.folder("tmp"),
		"GOTRACEBACK": "system", panicking: filepath.Join(s.dir, "panic"), "SLACK_API_URL": s.slack.APIURL(),
	}
	s.secret("SLACK_BOT_TOKEN", s.slack.BotToken())
	s.secret("SLACK_APP_TOKEN", s.slack.AppToken())
	s.secret("AUDITBOT_PASSWORD_SOC", "päss&<wörd>\"\\ +%"+rand.Text())
	s.secret("AUDITBOT_CLIENT_SECRET_APP", "~8Q~"+rand.Text()+rand.Text())
	s.secret("AUDITBOT_CERTIFICATE_PASSWORD_SIGNED", rand.Text())
	s.key("AUDITBOT_KEY")
	s.key("AUDITBOT_KEY_OLD")
	s.lock(certificate, file)
	for i := range tenant.Tenant.Apps {
		if app := &tenant.Tenant.Apps[i]; app.ClientID == anotherApp {
			app.Secret = s.env["AUDITBOT_CLIENT_SECRET_APP"]
		}
	}
	tenant.Change("victor@contoso.com", func(a *tenantsim.Account) {
		a.Password, a.Roles = s.env["AUDITBOT_PASSWORD_SOC"], []string{tenantsim.RoleAuditLogs}
	})
	t.Cleanup(s.show)
	return s
}

// lock makes the PFX file of a certificate and the key in the PEM file.
func (s *watched) lock(certificate *x509.Certificate, file string) {
	s.t.Helper()
	content, err := os.ReadFile(file)
	s.must(err)
	block, _ := pem.Decode(content)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	s.must(err)
	pfx, err := pkcs12.Modern.Encode(key, certificate, nil, s.env["AUDITBOT_CERTIFICATE_PASSWORD_SIGNED"])
	s.must(err)
	s.write("bot.pfx", string(pfx))
	exponent := key.(*rsa.PrivateKey).D
	s.known["the certificate's key"], s.known["the certificate's key as a number"] = string(exponent.Bytes()), exponent.String()
}

// show shows what was written if the test has failed.
func (s *watched) show() {
	for what, text := range s.wrote {
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", what, text)
		}
	}
}

func (s *watched) write(name, content string) {
	s.t.Helper()
	s.must(os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o666))
}

func (s *watched) folder(name string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	s.must(os.Mkdir(path, 0o700))
	return path
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
// bot panics when it is about to ask Slack or Exchange Online for what is in it.
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
		return http.ProxyFromEnvironment(r)
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

// runs is auditbot on a terminal, to its end, and returns what it wrote. Asked is
// called when somebody is asked to sign in there.
func (s *watched) runs(asked func(c *exec.Cmd, code string), stdin string, args ...string) string {
	s.t.Helper()
	c, name := s.command(args...), fmt.Sprintf("auditbot %s (%d)", strings.Join(args, " "), len(s.wrote))
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
			asked(c, s.code(onTerminal))
		}
	}
	s.must(lines.Err())
	c.Wait() // how it ended does not matter
	return stdout.String() + stderr.String()
}

// approve signs in on a terminal, and quit makes auditbot show its stacks there
// instead and leave its files.
func (s *watched) approve(_ *exec.Cmd, code string) {
	s.must(s.tenant.Approve(code, "ada@contoso.com"))
}
func (s *watched) quit(c *exec.Cmd, _ string) { s.must(c.Process.Signal(syscall.SIGQUIT)) }

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

// begin is the code of a sign-in that somebody begins, once they see it and are
// told so where they asked.
func (s *watched) begin(person string, arguments ...string) (code string) {
	s.t.Helper()
	asked := s.types(person, strings.Join(append([]string{"!o365-auditlog-auth-start"}, arguments...), " "))
	code = s.code(person)
	s.awaitDM(person, code)
	s.answer(asked, "")
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
	s.await(func() bool { return strings.Contains(blockText(s.newestDM(person).Blocks), words) })
}

func (s *watched) newestDM(person string) slacksim.Message {
	for _, m := range slices.Backward(s.slack.History(s.slack.OpenDM(person))) {
		if m.BotID != "" && m.ThreadTS == "" {
			return m
		}
	}
	return slacksim.Message{}
}

// TestNoSecretLeaves plays all that has to do with secrets, well or badly, and
// searches everything that was written meanwhile, on each level of the log.
func TestNoSecretLeaves(t *testing.T) {
	t.Parallel()
	var levels sync.WaitGroup // all at once, whatever -parallel is: they mostly wait
	for _, level := range []string{"debug", "info", "warn", "error"} {
		levels.Go(func() { t.Run(level, func(t *testing.T) { newWatched(t, level).live() }) })
	}
	levels.Wait()
}

func (s *watched) live() {
	c := s.start("first life")
	s.signInBadly()
	s.beginToSignIn()
	s.useTerminal()
	s.awaitDM(mallory, "Not signed in")
	s.failInSlack()
	s.panicInACommand()
	s.endToSignIn()
	s.search()
	s.signInAfterTheEnd()
	restarted := s.begin(grace)
	s.scrape()
	s.end(c, syscall.SIGTERM)
	s.secret("AUDITBOT_KEY_OLD", s.env["AUDITBOT_KEY"])
	s.key("AUDITBOT_KEY")
	c = s.start("second life")
	s.must(s.tenant.Approve(restarted, "grace@contoso.com"))
	s.awaitDM(grace, "Signed in to")
	s.asks(example+" using=one", "")
	s.must(s.tenant.Approve(s.begin(grace, "using=one"), "grace@contoso.com"))
	s.awaitDM(grace, "Signed in to")
	s.asks("!o365-auditlog-auth-reset", "Signed out")
	s.begin(ada)
	s.stopInTheMiddle(c)
	s.panicForGood(s.start("third life"))
	s.played("the log of the first life", "panic: runtime error")
	s.played("the log of the second life", "SIGQUIT")
	s.played("the log of the third life", "panic: runtime error")
	s.played("the standard error of auditbot exec", "SIGQUIT")
	s.played("the standard error of auditbot exec", "refused the request")
	s.played("the standard error of auditbot exec", "the sign-in was revoked")
	s.played("the standard output of auditbot exec --json -", "O365AuditLog")
	s.played("the standard output of auditbot doctor", "AUDITBOT_KEY is set")
	s.look()
}

const (
	exchangeExample = example + " using=contoso"
	graphExample    = exchangeExample + " backend=graph"
	passwordExample = example + " using=soc"
	secretExample   = example + " using=app"
	signedExample   = example + " using=signed"
	longExample     = "!o365-auditlog-search start_date=01/01/21 end_date=01/02/21 result_size=all using=soc"
	moreInTheLog    = "The log has more under"
)

// scrape keeps what is served at serve.metrics_addr, if the log says where that
// is.
func (s *watched) scrape() {
	at := servedAt.FindStringSubmatch(s.wrote["the log of the first life"].String())
	if at == nil {
		return
	}
	resp, err := http.Get("http://" + at[1] + "/metrics")
	s.must(err)
	defer resp.Body.Close()
	s.wrote["the metrics"] = new(lockedBuffer)
	_, err = io.Copy(s.wrote["the metrics"], resp.Body)
	s.must(err)
	s.played("the metrics", "auditbot_commands_total{")
}

// signInBadly is a sign-in that is declined, one that nobody makes in time, and
// some at a service that repeats what it is sent.
func (s *watched) signInBadly() {
	s.asks("!o365-auditlog-auth-start", moreInTheLog, tenantsim.Echo(0).On("devicecode"))
	s.tenant.Fail(tenantsim.Echo(0).On("token"))
	s.begin(mallory)
	s.must(s.tenant.Deny(s.begin(ada)))
	s.must(s.tenant.Expire(s.begin(grace)))
	s.awaitDM(mallory, "Not signed in")
	s.awaitDM(ada, "was declined")
	s.awaitDM(grace, "has expired")
}

// beginToSignIn are the beginnings of three sign-ins of which the first meets a
// service that repeats some of what it is sent, the second one that has a
// failure of its own, and the third one whose answer with the tokens breaks off.
func (s *watched) beginToSignIn() {
	s.runs(nil, "", "exec", "!o365-auditlog-auth-test using=soc") // needs its token now, not when the faults wait for others
	s.tenant.Fail(tenantsim.Echo(some).On("token"), tenantsim.Unavailable.On("token"), tenantsim.Reset.On("token"))
	s.begin(mallory)
	s.must(s.tenant.Approve(s.begin(ada), "ada@contoso.com"))
	s.must(s.tenant.Approve(s.begin(grace), "grace@contoso.com"))
}

func (s *watched) endToSignIn() {
	s.awaitDM(ada, "Signed in to")
	s.awaitDM(grace, "Not signed in")
	s.must(s.tenant.Approve(s.begin(grace), "mallory@contoso.com"))
	s.begin(mallory)
	s.must(s.slack.Press(mallory, s.slack.OpenDM(mallory), s.newestDM(mallory).TS, "Cancel"))
	s.awaitDM(mallory, "was cancelled")
}

// some bytes of a secret are enough to be found.
const some = enough + 6

func (s *watched) useTerminal() {
	s.runs(nil, "", "exec", "--json", "--out", "kept", passwordExample)
	s.runs(s.quit, "", "exec", exchangeExample)
	s.runs(s.approve, "!help\n!nothing\n"+exchangeExample+"\n"+secretExample+"\n"+signedExample, "exec", "--json", "-")
	s.tenant.Fail(tenantsim.Echo(0))
	s.runs(nil, "", "exec", passwordExample)
	s.tenant.Fail(tenantsim.Echo(0).On("EXOModuleFile"))
	s.runs(nil, "", "doctor")
}

// search searches through each service, and meets errors that repeat what was
// sent.
func (s *watched) search() {
	s.asks(exchangeExample, "UserLoginFailed")
	s.asks("!o365-auditlog-auth-test using=contoso", "Test ok")
	waits := s.types(ada, graphExample)
	s.must(s.tenant.Approve(s.code(ada), "ada@contoso.com"))
	s.answer(waits, "UserLoginFailed")
	s.awaitDM(grace, "was expected")
	for _, n := range []int{0, some} {
		echo := tenantsim.Echo(n)
		s.asks(exchangeExample, moreInTheLog, echo)
		s.asks(graphExample, moreInTheLog, echo.On("graph-create"))
		s.asks(exchangeExample, moreInTheLog, tenantsim.Unauthorized, echo.On("token"))
		s.asks(passwordExample, moreInTheLog, tenantsim.Unauthorized, echo.On("token"), echo.On("token"))
		s.asks(secretExample, moreInTheLog, tenantsim.Unauthorized, echo.On("token"))
		s.asks(signedExample, moreInTheLog, tenantsim.Unauthorized, echo.On("token"))
		s.asks("!o365-auditlog-auth-test", moreInTheLog, echo.On("EXOModuleFile"))
	}
	s.asks(exchangeExample, "UserLoginFailed", tenantsim.Unauthorized, tenantsim.Reset)
	s.answer(s.types(grace, "!o365-auditlog-doctor"), "slack")
}

// signInAfterTheEnd is a command, in Slack and on a terminal, after its sign-in
// was ended at Microsoft: the refresh token is refused, and the person signs in
// again.
func (s *watched) signInAfterTheEnd() {
	s.tenant.Revoke("ada@contoso.com")
	s.tenant.Fail(tenantsim.Unauthorized)
	asked := s.types(ada, exchangeExample)
	s.answer(asked, "the sign-in was revoked")
	s.must(s.tenant.Approve(s.code(ada), "ada@contoso.com"))
	s.answer(asked, "UserLoginFailed")
	s.tenant.Fail(tenantsim.Unauthorized)
	s.runs(s.approve, "", "exec", exchangeExample)
}

func (s *watched) failInSlack() {
	s.slack.Fail(slacksim.APIError("chat.postMessage", "invalid_auth"))
	s.types(mallory, "!help")
	s.awaitDM(mallory, "could not be answered there")
	s.slack.Fail(slacksim.Lost("upload"), slacksim.HTTPError("upload", 500), slacksim.HTTPError("link", 500))
	asked := s.types(ada, passwordExample)
	s.await(func() bool { return s.filesUnder(asked) == 2 })
	s.slack.CutSockets()
	s.answer(s.types(ada, "!help"), "What you can ask")
}

func (s *watched) panicInACommand() {
	s.write("panic", "EXOModuleFile")
	s.asks("!o365-auditlog-auth-test using=soc", "That did not work")
	s.must(os.Remove(s.env[panicking]))
}

// stopInTheMiddle makes the bot show the stacks of all that it does, with a
// search on its way and a sign-in pending, and leave its files.
func (s *watched) stopInTheMiddle(c *exec.Cmd) {
	s.tenant.Fail(tenantsim.Hung)
	asked := s.types(grace, longExample)
	s.await(func() bool {
		return slices.ContainsFunc(s.slack.History(asked.Channel), func(m slacksim.Message) bool {
			return m.ThreadTS == asked.TS && strings.Contains(blockText(m.Blocks), "is running, since")
		})
	})
	s.end(c, syscall.SIGQUIT)
}

// panicForGood is a panic beside a command, in what a search does at the same
// time, and, if the bot has survived that, one that ends it.
func (s *watched) panicForGood(c *exec.Cmd) {
	s.write("panic", "Search-UnifiedAuditLog")
	asked := s.types(ada, longExample)
	s.await(func() bool { return s.slack.Sockets() == 0 || s.answers(asked) > 0 })
	s.write("panic", "apps.connections.open")
	s.slack.CutSockets()
	s.end(c, 0)
	s.must(os.Remove(s.env[panicking]))
}

// look searches everything.
func (s *watched) look() {
	h := s.hunt()
	for what, text := range s.wrote {
		shown := ""
		if strings.HasPrefix(what, "the standard error") {
			shown = onTerminal
		}
		s.inspect(h, what, s.without(text.String(), shown))
	}
	s.lookAtFiles(h)
	s.lookAtSlack(h)
	s.lookAtMicrosoft(h)
}

// played fails the test if nothing that is called so has these words in it: what
// was to be searched did not come about.
func (s *watched) played(what, words string) {
	s.t.Helper()
	for name, text := range s.wrote {
		if strings.HasPrefix(name, what) && strings.Contains(text.String(), words) {
			return
		}
	}
	s.t.Errorf("%s has no %q", what, words)
}

// hunt is for all secrets that there were.
func (s *watched) hunt() *hunt {
	h := newHunt()
	for name, secret := range s.known {
		h.add(name, secret)
	}
	for _, issued := range s.tenant.Issued() {
		h.add(issued.Kind, issued.Value)
	}
	for _, ticket := range s.slack.Tickets() {
		h.add("a ticket of Slack's", ticket)
	}
	for _, r := range s.tenant.Requests() {
		if form, err := url.ParseQuery(string(r.Body)); err == nil && form.Has("client_assertion") {
			h.add("a client assertion", form.Get("client_assertion"))
		}
	}
	return h
}

// inspect fails the test if a text has secrets in it.
func (s *watched) inspect(h *hunt, what, text string) {
	s.t.Helper()
	for name, before := range h.find([]byte(text)) {
		if find := what + " has " + name; !slices.Contains(s.found, find) {
			s.found = append(s.found, find)
			s.t.Errorf("%s, after %q", find, before)
		}
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
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Ext(path) == ".yml" { // which we wrote
			return err
		}
		s.inspect(h, "the name of a file", path)
		text, err := os.ReadFile(path)
		s.inspect(h, path, string(text))
		return err
	})
	s.must(err)
}

// lookAtSlack searches what Slack was told, of which only a code's own person
// may see it, in the message itself, and only until it is used.
func (s *watched) lookAtSlack(h *hunt) {
	dm := map[string]string{}
	for _, person := range []string{ada, grace, mallory} {
		dm[s.slack.OpenDM(person)] = person
	}
	for _, r := range s.slack.Requests() {
		s.inspect(h, "the address of "+r.Method, strings.ReplaceAll(r.URL, r.Values.Get("ticket"), ""))
		s.inspect(h, "the header of "+r.Method, fmt.Sprint(r.Header))
		for name, values := range r.Values {
			text := strings.Join(values, "\n")
			if name == "ticket" {
				continue // where an upload goes
			}
			if name == "blocks" && (r.Method == "chat.postMessage" || r.Method == "chat.update") {
				text = s.without(text, dm[r.Values.Get("channel")])
			}
			s.inspect(h, name+" of "+r.Method, text+strings.ReplaceAll(text, `\`, "")) // which keeps characters from being markup
		}
	}
	for _, text := range slices.Concat(s.slack.Uploads(), s.slack.Frames()) {
		s.inspect(h, "a file or a frame", string(text))
	}
	pending := s.tenant.UserCodes()
	maps.DeleteFunc(s.codes, func(code, _ string) bool { return !slices.Contains(pending, code) })
	for _, c := range s.slack.Channels() {
		for _, m := range s.slack.History(c.ID) {
			s.inspect(h, "the text of a message in "+c.ID, m.Text+string(m.Attachments)+string(m.Metadata))
			s.inspect(h, "a message in "+c.ID, s.without(string(m.Blocks), dm[c.ID]))
		}
	}
}

// lookAtMicrosoft searches the addresses that Microsoft was asked at, which
// proxies keep, and looks whether it was told what is not its own.
func (s *watched) lookAtMicrosoft(h *hunt) {
	foreign := newHunt()
	for name, secret := range s.known {
		if !strings.HasPrefix(name, "AUDITBOT_PASSWORD") && !strings.HasPrefix(name, "AUDITBOT_CLIENT_SECRET") {
			foreign.add(name, secret)
		}
	}
	for _, r := range s.tenant.Requests() {
		s.inspect(h, "an address of "+r.Name, r.URL)
		s.inspect(foreign, "a request for "+r.Name, fmt.Sprint(r.Header)+string(r.Body))
	}
}

// A startThatFails is one with something wrong in its surroundings. What is set
// are secrets: where the name ends with _FILE, they are in a file.
type startThatFails struct {
	says string
	args []string
	set  map[string]string
}

func TestNoSecretLeavesFromAStartThatFails(t *testing.T) {
	t.Parallel()
	s := newWatched(t, "debug")
	s.runs(nil, "", "exec", "!help") // makes the data folder
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusProxyAuthRequired) }))
	t.Cleanup(proxy.Close)
	inAddress := "bot:" + rand.Text()
	s.known["in an address"] = inAddress
	s.write("address.yml", fmt.Sprintf("access: {everyone: true}\ninstances: [{name: far, tenant: contoso.onmicrosoft.com, login_url: \"https://%s@login.contoso.com\"}]", inAddress))
	s.write("far.yml", "instances: [{name: far, tenant: contoso.onmicrosoft.com, auth: password, upn: soc@contoso.com}]\nengine: {data_dir: far}")
	for _, c := range startsThatFail(strings.TrimPrefix(proxy.URL, "http://")) {
		env := maps.Clone(s.env)
		for name, value := range c.set {
			s.secret(name, value)
			if variable, ok := strings.CutSuffix(name, "_FILE"); ok {
				s.env[name] = filepath.Join(t.TempDir(), "secret")
				s.must(os.WriteFile(s.env[name], []byte(value), 0o600))
				delete(s.env, variable)
			}
		}
		if out := s.runs(nil, "", c.args...); !strings.Contains(out, c.says) {
			t.Errorf("%s: it does not say %q:\n%s", c.args, c.says, out)
		}
		s.env = env
	}
	s.look()
}

func startsThatFail(proxy string) []startThatFails {
	random := func(before string) string { return before + rand.Text() + rand.Text() }
	run, help := []string{"run"}, []string{"exec", "!help"}
	test := func(using string) []string { return []string{"exec", "!o365-auditlog-auth-test using=" + using} }
	return []startThatFails{
		{"is not 32 bytes in base64", run, map[string]string{"AUDITBOT_KEY": base64.StdEncoding.EncodeToString(madeUpKey()[1:])}},
		{"is not 32 bytes in base64", help, map[string]string{"AUDITBOT_KEY_FILE": random("not base64: ")}},
		{"AUDITBOT_KEY_OLD is not 32 bytes", help, map[string]string{"AUDITBOT_KEY_OLD": random("")}},
		{"not the key that", run, map[string]string{"AUDITBOT_KEY": base64.StdEncoding.EncodeToString(madeUpKey())}},
		{"another kind of token", run, map[string]string{"SLACK_BOT_TOKEN": random("xoxp-1-")}},
		{"with SLACK_BOT_TOKEN: invalid_auth; auditbot doctor says what to do", run, map[string]string{"SLACK_BOT_TOKEN": random("xoxb-1-")}},
		{"with SLACK_APP_TOKEN: invalid_auth: SLACK_APP_TOKEN is not an app-level token", run, map[string]string{"SLACK_APP_TOKEN": random("xapp-1-")}},
		{"asking Slack who we are", run, map[string]string{"SLACK_BOT_TOKEN_FILE": random("xoxb-1-") + "\n" + random("xoxb-2-")}},
		{"AADSTS50126", test("soc"), map[string]string{"AUDITBOT_PASSWORD_SOC": random("p")}},
		{"AADSTS50126", test("soc"), map[string]string{"AUDITBOT_PASSWORD_SOC_FILE": random("p") + "\n" + random("q")}},
		{"AADSTS7000215", test("app"), map[string]string{"AUDITBOT_CLIENT_SECRET_APP": random("~8Q~")}},
		{"the password of the PFX file is wrong", run, map[string]string{"AUDITBOT_CERTIFICATE_PASSWORD_SIGNED": random("")}},
		{"another kind of token", []string{"doctor"}, map[string]string{"SLACK_APP_TOKEN": random("xoxb-1-")}},
		{"leave out what is in front of the @", []string{"run", "--config", "address.yml"}, nil},
		{"could not be reached", []string{"exec", "--config", "far.yml", "!o365-auditlog-auth-test"}, map[string]string{
			"AUDITBOT_PASSWORD_FAR": random("p"), "HTTPS_PROXY": "http://bot:" + random("p") + "@" + proxy,
		}},
	}
}
