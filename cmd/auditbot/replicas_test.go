package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/exchange"
	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
	"auditbot/bot/engine"
)

// How long two processes renew the same sign-in, and whether a claim of one
// that was killed is waited for to its end, which takes 70 seconds each time:
//
//	go test ./cmd/auditbot -run 'TwoProcesses|KilledOverARefresh' -rounds 10000 -whole-claims -timeout 60m
var (
	rounds      = flag.Int("rounds", 500, "how many times two processes renew a sign-in at once")
	wholeClaims = flag.Bool("whole-claims", false, "wait for the end of the claim of a process that was killed")
)

// A replicaOrder is what a replica is told: to get a token other than the one
// that it got before.
type replicaOrder struct {
	Rejected string
	Stop     string // beforeAsking or onAnswer: there it says so and waits for the next order; "" means nowhere
}

const (
	beforeAsking = "before it asks Microsoft"
	onAnswer     = "when Microsoft has answered"
)

// A replicaReport is what it answers; the first one, that it is ready.
type replicaReport struct {
	Owner    bool // of the data folder
	Token    string
	Err      string
	Stopped  bool // where it was told to; it is not over
	Requests int  // for tokens, so far
}

// replica is one of two bots on a data folder, as far as it renews a sign-in at
// a tenant. It ends with its standard input.
func replica() {
	e, err := openReplica(os.Args[1])
	check(err)
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	requests := &tokenRequests{in: in, out: out}
	account := adaAt(e, os.Args[2])
	account.Entra.HTTP = &http.Client{Transport: requests}
	for r := (replicaReport{Owner: e.Owner()}); ; {
		check(out.Encode(r))
		var o replicaOrder
		if in.Decode(&o) != nil {
			break
		}
		requests.stop = o.Stop
		token, err := account.Token(context.Background(), auditlog.Secret(o.Rejected))
		r = replicaReport{Owner: e.Owner(), Token: string(token.Access), Requests: requests.n}
		if err != nil {
			r.Err = err.Error()
		}
	}
	check(e.Close())
}

func openReplica(dir string) (*engine.Engine, error) {
	key, err := base64.StdEncoding.DecodeString(rightKey)
	if err != nil {
		return nil, err
	}
	return engine.Open(context.Background(), engine.Config{Dir: dir, Key: key})
}

// adaAt is Ada's sign-in at the tenant with this address.
func adaAt(e *engine.Engine, tenant string) *signin.Account {
	return &signin.Account{
		Entra:  &signin.Entra{LoginURL: tenant, Tenant: "contoso.com", ClientID: exchangeShellApp, Resource: "https://outlook.office365.com"},
		Store:  tokenStore(e.Bucket(engine.Tokens)),
		Key:    "contoso/U0ADA",
		Expect: "ada@contoso.com",
	}
}

// tokenRequests counts the requests for tokens, and stops at one.
type tokenRequests struct {
	n    int
	stop string
	in   *json.Decoder
	out  *json.Encoder
}

func (t *tokenRequests) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/token") {
		return http.DefaultTransport.RoundTrip(r)
	}
	t.n++
	t.stopIf(beforeAsking)
	resp, err := http.DefaultTransport.RoundTrip(r)
	t.stopIf(onAnswer)
	return resp, err
}

func (t *tokenRequests) stopIf(here string) {
	if t.stop == here {
		check(t.out.Encode(replicaReport{Stopped: true}))
		check(t.in.Decode(new(replicaOrder)))
	}
}

// A replicaProcess is a replica as the test sees it.
type replicaProcess struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
	replicaReport
}

func (p *replicaProcess) tell(o replicaOrder) {
	p.t.Helper()
	if err := json.NewEncoder(p.in).Encode(o); err != nil {
		p.t.Fatal(err)
	}
}

func (p *replicaProcess) hear() {
	p.t.Helper()
	p.replicaReport = replicaReport{}
	if err := p.out.Decode(&p.replicaReport); err != nil {
		p.t.Fatal("a replica died:", err)
	}
}

func (p *replicaProcess) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it was killed
}

// end lets it end by itself.
func (p *replicaProcess) end() {
	p.t.Helper()
	p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		p.t.Error("a replica ended with", err)
	}
}

func (p *replicaProcess) cpu() time.Duration {
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// A pair is two replicas and the tenant that they share.
type pair struct {
	t      *testing.T
	tenant *tenantsim.Server
	dir    string
	both   [2]*replicaProcess // the data folder's first owner, and who joined it
	turn   int                // whose it is to be told first
	token  string             // the last one
}

// newPair starts two replicas where Ada has signed in.
func newPair(t *testing.T, rotation bool) *pair {
	t.Helper()
	p := &pair{t: t, dir: t.TempDir(), tenant: &tenantsim.Server{Rotation: rotation, Tenant: tenantsim.Tenant{Records: new(tenantsim.Records)}}}
	if err := p.tenant.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.tenant.Close)
	if err := os.Symlink(os.Args[0], filepath.Join(p.dir, "replica")); err != nil {
		t.Fatal(err)
	}
	p.visit(func(ada *signin.Account) error {
		if err := ada.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
			return err
		}
		token, err := ada.Token(t.Context(), "")
		p.token = string(token.Access)
		return err
	})
	p.both[0] = p.start()
	p.both[1] = p.start()
	if !p.both[0].Owner || p.both[1].Owner {
		t.Fatal("the first process is to be the owner")
	}
	return p
}

// visit opens the data folder in the test's own process.
func (p *pair) visit(do func(ada *signin.Account) error) {
	p.t.Helper()
	e, err := openReplica(filepath.Join(p.dir, "data"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer e.Close()
	if err := do(adaAt(e, p.tenant.URL)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) start() *replicaProcess {
	p.t.Helper()
	c := exec.Command(filepath.Join(p.dir, "replica"), filepath.Join(p.dir, "data"), p.tenant.URL)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Process.Kill() })
	r := &replicaProcess{t: p.t, cmd: c, in: in, out: json.NewDecoder(out)}
	r.hear()
	return r
}

// round lets both renew at once, or one of them so much sooner.
func (p *pair) round(headStart time.Duration) {
	p.t.Helper()
	p.both[p.turn].tell(replicaOrder{Rejected: p.token})
	time.Sleep(headStart)
	p.both[1-p.turn].tell(replicaOrder{Rejected: p.token})
	p.turn = 1 - p.turn
	p.both[0].hear()
	p.both[1].hear()
	p.agree()
}

// kill lets both renew, and kills one of them when one, the same or the other,
// holds the claim and has come as far as there. Another process takes its place.
func (p *pair) kill(victim, holder int, there string) {
	p.t.Helper()
	survivor := p.both[1-victim]
	p.both[holder].tell(replicaOrder{Rejected: p.token, Stop: there})
	if p.both[holder].hear(); !p.both[holder].Stopped {
		p.t.Fatal("it was not stopped:", p.both[holder].replicaReport)
	}
	survivor.tell(replicaOrder{Rejected: p.token})
	p.both[victim].kill() // if it is the owner, it leaves unanswered what the survivor has just asked the store
	p.both[victim] = p.start()
	p.both[victim].tell(replicaOrder{Rejected: p.token})
	if holder == victim && !*wholeClaims {
		p.endClaim()
	}
	p.both[victim].hear()
	survivor.hear()
	p.agree()
}

// endClaim makes it as late as when the claim ends.
func (p *pair) endClaim() {
	p.t.Helper()
	p.visit(func(ada *signin.Account) error {
		ctx := p.t.Context()
		value, revision, err := ada.Store.Get(ctx, ada.Key)
		if err != nil {
			return err
		}
		var stored map[string]any
		if err := json.Unmarshal(value, &stored); err != nil {
			return err
		}
		if stored["claim"] == nil {
			return errors.New("nobody holds a claim")
		}
		stored["claim_until"] = time.Now()
		if value, err = json.Marshal(stored); err != nil {
			return err
		}
		ok, err := ada.Store.Put(ctx, ada.Key, value, revision)
		if err == nil && !ok {
			err = errors.New("somebody has changed what is stored")
		}
		return err
	})
}

// agree looks at what both got: the same new token, which works.
func (p *pair) agree() {
	p.t.Helper()
	one, two := p.both[0].replicaReport, p.both[1].replicaReport
	if one.Err != "" || two.Err != "" {
		p.t.Fatalf("one got no token: %s; %s", one.Err, two.Err)
	}
	if one.Token != two.Token || one.Token == p.token {
		p.t.Fatalf("they have the same token: %v; it is new: %v", one.Token == two.Token, one.Token != p.token)
	}
	p.token = one.Token
	p.works()
}

// works has Exchange look at the token.
func (p *pair) works() {
	p.t.Helper()
	s := &exchange.Source{
		Tenant: &exchange.Tenant{URL: p.tenant.URL, ID: "contoso.com"},
		Token: func(_ context.Context, rejected auditlog.Secret) (auditlog.Token, error) {
			if rejected != "" {
				return auditlog.Token{}, errors.New("it was rejected")
			}
			return auditlog.Token{Access: auditlog.Secret(p.token), Account: "ada@contoso.com"}, nil
		},
	}
	if _, err := s.Cmdlets(p.t.Context()); err != nil { // which nobody remembers
		p.t.Fatal("the token does not work:", err)
	}
}

// refreshes is how many requests with a refresh token Microsoft has seen. The
// first one for a token was the sign-in.
func (p *pair) refreshes() int { return p.tenant.Asked("token") - 1 }

// end ends both, and looks whether what is stored is worth a token: the refresh
// token was not lost.
func (p *pair) end() {
	p.t.Helper()
	for _, r := range p.both { // who joined goes before the owner
		if !r.Owner {
			r.end()
		}
	}
	for _, r := range p.both {
		if r.Owner {
			r.end()
		}
	}
	p.visit(func(ada *signin.Account) error {
		token, err := ada.Token(p.t.Context(), auditlog.Secret(p.token))
		if err == nil && string(token.Access) == p.token {
			err = errors.New("the token is the old one")
		}
		p.token = string(token.Access)
		return err
	})
	p.works()
}

// At a provider that ends a sign-in whose refresh token comes a second time.
func TestTwoProcessesRefreshOncePerRound(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	began := time.Now()
	for n := range *rounds {
		headStart := time.Duration(0)
		if n%8 > 5 { // else it is nearly always the owner who renews: its way to the store is shorter
			headStart = time.Millisecond
		}
		p.round(headStart)
	}
	took := time.Since(began)
	if n := p.refreshes(); n != *rounds {
		t.Errorf("Microsoft saw %d requests with a refresh token in %d rounds", n, *rounds)
	}
	owners, joined := p.both[0].Requests, p.both[1].Requests
	p.end()
	t.Logf("%d rounds in %v: Microsoft saw %d requests with a refresh token, %d of the owner and %d of who joined it; they took %v and %v of CPU",
		*rounds, took.Round(time.Millisecond), p.refreshes()-1, owners, joined, p.both[0].cpu(), p.both[1].cpu())
}

func TestAProcessThatIsKilledOverARefreshLosesNothing(t *testing.T) {
	t.Parallel()
	const owner, joined = 0, 1
	for name, c := range map[string]struct {
		victim, holder int // of the claim
		where          string
		rotation       bool
		unused         int // requests whose answer died with the process
	}{
		"the owner before it asks":                {owner, owner, beforeAsking, true, 0},
		"who joined it before it asks":            {joined, joined, beforeAsking, true, 0},
		"the owner on the answer":                 {owner, owner, onAnswer, false, 1}, // Entra ID takes the token before again
		"who joined it on the answer":             {joined, joined, onAnswer, false, 1},
		"the owner when who joined has an answer": {owner, joined, onAnswer, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, c.rotation)
			p.round(0)
			began := time.Now()
			p.kill(c.victim, c.holder, c.where)
			t.Logf("both had a token %v after the kill", time.Since(began).Round(time.Millisecond))
			for range 4 {
				p.round(0)
			}
			if n := p.refreshes() - c.unused; n != 6 {
				t.Errorf("Microsoft saw %d requests with a refresh token in 6 rounds", n)
			}
			p.end()
		})
	}
}

// Whoever has read a sign-in before it was changed or reset puts nothing in its
// place.
func TestNothingIsStoredOverWhatHasChanged(t *testing.T) {
	e, err := openReplica(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	store := tokenStore(e.Bucket(engine.Tokens))
	put := func(value string, revision uint64, want bool) {
		t.Helper()
		if stored, err := store.Put(t.Context(), "contoso/U0ADA", []byte(value), revision); stored != want || err != nil {
			t.Errorf("%s was stored: %v, %v", value, stored, err)
		}
	}
	wantStored := func(want string) (revision uint64) {
		t.Helper()
		value, revision, err := store.Get(t.Context(), "contoso/U0ADA")
		if string(value) != want || err != nil {
			t.Errorf("%q is stored, want %q; %v", value, want, err)
		}
		return revision
	}
	put("the first", 0, true)
	put("another first", 0, false)
	first := wantStored("the first")
	put("the second", first, true)
	put("another second", first, false)
	second := wantStored("the second")
	if err := store.Delete(t.Context(), "contoso/U0ADA"); err != nil {
		t.Fatal(err)
	}
	put("one that was on its way", second, false)
	if revision := wantStored(""); revision != 0 {
		t.Errorf("what is deleted has revision %d", revision)
	}
	put("the next", 0, true)
	wantStored("the next")
}
