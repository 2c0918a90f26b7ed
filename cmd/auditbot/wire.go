package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slack-go/slack"

	"auditbot/auditlog"
	"auditbot/auditlog/exchange"
	"auditbot/auditlog/graph"
	"auditbot/auditlog/signin"
	"auditbot/bot"
	"auditbot/bot/engine"
	"auditbot/commands"
)

// A tenant is a configured instance: what all who use it share.
type tenant struct {
	instanceSettings
	entra    *signin.Entra
	exchange *exchange.Tenant
	graph    *graphSide // nil where no application is configured for it
	store    signin.Store
	seen     seenOperations
	dir      string // the data folder
	proof
	admins bool     // there is somebody in Slack who may sign in for all
	unused []string // warnings of secrets that are set in vain; the first tenant has all
}

// A graphSide is the same tenant through Microsoft Graph, with a sign-in of its
// own.
type graphSide struct {
	entra *signin.Entra
	*graph.Tenant
}

// newTenants makes the configured instances. Their tokens are kept in e.
func newTenants(s settings, getenv func(string) string, e *engine.Engine) ([]*tenant, error) {
	unused := s.unusedSecrets(os.Environ())
	var all []*tenant
	for _, i := range s.Instances {
		proof, err := i.proof(getenv)
		if err != nil {
			return nil, misnamed(err, unused)
		}
		t := &tenant{
			instanceSettings: i,
			entra:            i.entra(i.ClientID, resource(i.ExchangeURL, cloudNamed(globalCloud).exchange)),
			exchange:         &exchange.Tenant{HTTP: microsoft(i, 110*time.Second), URL: i.ExchangeURL, ID: i.Tenant},
			store:            tokenStore(e.Bucket(engine.Tokens)),
			seen:             seenOperations{e.Bucket(engine.Seen), i.Name},
			dir:              s.Engine.DataDir,
			proof:            proof,
			admins:           len(s.Access.Admins.Users) > 0,
			unused:           unused,
		}
		unused = nil
		if i.GraphClient != "" {
			submitted := submissions{e.Bucket(engine.Queries), strings.ToLower(i.Tenant)}
			t.graph = &graphSide{
				i.entra(i.GraphClient, resource(i.GraphURL, cloudNamed(globalCloud).graph)),
				&graph.Tenant{
					HTTP: microsoft(i, 110*time.Second), URL: i.GraphURL, ID: i.Tenant,
					Count: submitted.add, Counted: submitted.count,
				},
			}
		}
		all = append(all, t)
	}
	return all, nil
}

// entra is the tenant's Entra ID as an application asks it for tokens.
func (i instanceSettings) entra(clientID, resource string) *signin.Entra {
	return &signin.Entra{HTTP: microsoft(i, 30*time.Second), LoginURL: i.LoginURL, Tenant: i.Tenant, ClientID: clientID, Resource: resource}
}

// misnamed adds to the mistake of a missing secret which ones are there in vain.
func misnamed(err error, unused []string) error {
	m, ok := errors.AsType[*commands.Mistake](err)
	if !ok || len(unused) == 0 {
		return err
	}
	return &commands.Mistake{Problem: m.Problem + "; " + strings.Join(unused, "; "), Hint: m.Hint}
}

// certificateNotice is for how long before its end a certificate is warned of.
const certificateNotice = 30 * 24 * time.Hour

// warnings say what an operator should not have configured without a reason.
func (t *tenant) warnings() []string {
	all := slices.Clone(t.unused)
	switch {
	case t.Auth == authPassword:
		all = append(all, "auth: password is set: it needs an account without multi-factor authentication, so whoever learns the password can use it from anywhere")
	case t.Auth == authClientSecret:
		all = append(all, "auth: client_secret is set: the secret is sent with each sign-in, and whoever learns it can use it from anywhere; a certificate is better, since its private key never leaves this machine")
	case t.Certificate != nil && time.Until(t.Certificate.Expires()) < certificateNotice:
		all = append(all, fmt.Sprintf("the certificate in %s ends on %s, and nobody can search then: make a new one and register it in the Entra admin centre before",
			t.CertificateFile, t.Certificate.Expires().UTC().Format(time.DateOnly)))
	}
	if t.shared() {
		who := "account " + t.UPN
		if t.application() {
			who = "application " + t.ClientID
		}
		all = append(all, "sign_in: instance: the audit log does not tell who searched, and all who may ask here search with the rights of the "+who)
	}
	if t.shared() && t.Auth == authDeviceCode && !t.admins {
		all = append(all, "sign_in: instance: only admins sign in for all, and access.admins names none, so nobody can do it in Slack")
	}
	if doubt := t.doubt(); doubt != "" {
		all = append(all, doubt+": no answer will be complete")
	}
	if t.Insecure {
		all = append(all, "insecure: true is set: certificates of Microsoft's hosts are not checked, so whoever is on the way can take tokens and change results")
	}
	return all
}

// resource is what tokens for a service are asked for. A simulated tenant has
// Microsoft's name for it, whatever its address.
func resource(serviceURL, microsofts string) string {
	if strings.HasPrefix(serviceURL, "http://") {
		return microsofts
	}
	return strings.TrimRight(serviceURL, "/")
}

// microsoft is a client for Microsoft's hosts. Proxies are those of the
// environment.
func microsoft(i instanceSettings, timeout time.Duration) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if i.Insecure {
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // as the settings say; it is warned of
	}
	return &http.Client{Transport: transport, Timeout: timeout}
}

// account is the sign-in that a person uses on one side of the tenant.
func (t *tenant) account(entra *signin.Entra, side string, p bot.Person) *signin.Account {
	a := &signin.Account{Entra: entra, Store: t.store, Key: side + "/" + p.ID, Expect: cmp.Or(t.Accounts[p.ID], p.Email)}
	if t.shared() {
		a.Key, a.Expect = side, t.UPN
		a.Password, a.ClientSecret, a.Certificate = t.Password, t.ClientSecret, t.Certificate
	}
	return a
}

// shared tells whether all who may ask share one sign-in.
func (t *tenant) shared() bool { return t.SignIn == signInInstance }

// as is the instance as a person reaches it. Somebody on a terminal has the ID
// "local:name".
func (t *tenant) as(p bot.Person) commands.Instance {
	account := t.account(t.entra, t.Name, p)
	source := &exchange.Source{Tenant: t.exchange, Token: account.Token}
	return commands.Instance{
		Name:     t.Name,
		Tenant:   t.Tenant,
		Insecure: t.Insecure,
		Shared:   t.shared(),
		Log:      t.log(source),
		Exchange: source,
		Account:  account,
		Backend:  t.Backend,
		National: t.national(),
		Seen:     t.seen.list,
		See:      t.seen.add,
	}
}

// log is the tenant's audit log through one source. What it puts aside goes to
// the disk whose free space searches are refused by.
func (t *tenant) log(source auditlog.Source) *auditlog.Log {
	return &auditlog.Log{Sources: []auditlog.Source{source}, Version: version(), Dir: t.dir, Doubt: t.doubt()}
}

// graphAs is the tenant's Graph side as a person reaches it.
func (t *tenant) graphAs(p bot.Person) commands.Instance {
	account := t.account(t.graph.entra, t.Name+"-graph", p)
	remote := new(commands.Remote)
	source := &graph.Source{Tenant: t.graph.Tenant, Token: account.Token, Recall: remote.Recall, Remember: remote.Remember, Waiting: remote.Waiting}
	return commands.Instance{
		Name:      t.Name + "-graph", // which no instance can be called
		Tenant:    t.Tenant + " (Microsoft Graph)",
		Insecure:  t.Insecure,
		Shared:    t.shared(),
		Log:       t.log(source),
		Account:   account,
		GraphOf:   t.Name,
		Budget:    t.graph.Budget,
		Remote:    remote,
		MaySearch: source.MaySearch,
		Seen:      t.seen.list,
		See:       t.seen.add,
	}
}

// instancesAs are the instances as a person reaches them, and behind them their
// Graph sides.
func instancesAs(tenants []*tenant, p bot.Person) []commands.Instance {
	var all []commands.Instance
	for _, t := range tenants {
		all = append(all, t.as(p))
	}
	for _, t := range tenants {
		if t.graph != nil {
			all = append(all, t.graphAs(p))
		}
	}
	return all
}

// seenOperations are the names of operations that a tenant's records had.
type seenOperations struct {
	bucket *engine.Bucket
	tenant string
}

// maxSeenOperations is how many names are kept of a tenant. Microsoft's list
// has about 1,100.
const maxSeenOperations = 3000

func (s seenOperations) list(ctx context.Context) (names []string, err error) {
	names, _, err = s.get(ctx)
	return names, err
}

func (s seenOperations) get(ctx context.Context) (names []string, revision uint64, err error) {
	text, revision, err := s.bucket.Get(ctx, s.tenant)
	if errors.Is(err, engine.ErrNotFound) {
		return nil, 0, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &names)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("reading the names of operations: %w", err)
	}
	return names, revision, nil
}

// add adds names. If somebody else does so at the same time, one of them is
// enough: the others are seen again.
func (s seenOperations) add(ctx context.Context, names []string) error {
	known, revision, err := s.get(ctx)
	if err != nil {
		return err
	}
	all := slices.Concat(known, names)
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) == len(known) || len(all) > maxSeenOperations {
		return nil
	}
	text, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("writing down the names of operations: %w", err)
	}
	if revision == 0 {
		_, err = s.bucket.Create(ctx, s.tenant, text)
	} else {
		_, err = s.bucket.Update(ctx, s.tenant, text, revision)
	}
	if errors.Is(err, engine.ErrConflict) {
		return nil
	}
	return err
}

// submissions are the queries that were submitted to Graph in 24 hours, each a
// key of a bucket that forgets it after that.
type submissions struct {
	bucket *engine.Bucket
	tenant string
}

// storePatience is how long an answer of the store is waited for, while a search
// is held up by counting a query or by a token.
const storePatience = 5 * time.Second

func (s submissions) add() {
	ctx, cancel := context.WithTimeout(context.Background(), storePatience)
	defer cancel()
	if _, err := s.bucket.Create(ctx, s.tenant+"/"+rand.Text(), nil); err != nil {
		slog.Warn("counting a query of Graph", "err", err)
	}
}

func (s submissions) count() (n int) {
	ctx, cancel := context.WithTimeout(context.Background(), storePatience)
	defer cancel()
	keys, err := s.bucket.Keys(ctx)
	if err != nil {
		slog.Warn("counting the queries of Graph", "err", err)
	}
	for _, key := range keys {
		if strings.HasPrefix(key, s.tenant+"/") {
			n++
		}
	}
	return n
}

// tokenStore keeps tokens in a bucket of the engine. An engine that dies, in
// whatever process it is, leaves unanswered what it was asked, so no answer is
// waited for longer than storePatience. Then reading is tried once more; whether
// to write again is for signin to know.
func tokenStore(b *engine.Bucket) signin.Store {
	get := func(ctx context.Context, key string) ([]byte, uint64, error) {
		ctx, cancel := context.WithTimeout(ctx, storePatience)
		defer cancel()
		value, revision, err := b.Get(ctx, key)
		if errors.Is(err, engine.ErrNotFound) {
			return nil, 0, nil
		}
		return value, revision, err
	}
	return signin.Store{
		Get: func(ctx context.Context, key string) ([]byte, uint64, error) {
			value, revision, err := get(ctx, key)
			if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
				return get(ctx, key)
			}
			return value, revision, err
		},
		Put: func(ctx context.Context, key string, value []byte, revision uint64) (bool, error) {
			ctx, cancel := context.WithTimeout(ctx, storePatience)
			defer cancel()
			var err error
			if revision == 0 {
				_, err = b.Create(ctx, key, value)
			} else {
				_, err = b.Update(ctx, key, value, revision)
			}
			if errors.Is(err, engine.ErrConflict) {
				return false, nil
			}
			return err == nil, err
		},
		Delete: b.Delete,
	}
}

// openEngine opens the data folder or the cluster, and changes its key if it
// still has the old one.
func openEngine(ctx context.Context, s settings, getenv func(string) string, key []byte, log *slog.Logger) (*engine.Engine, error) {
	old, err := oldKey(getenv)
	if err != nil {
		return nil, err
	}
	c := s.Engine.config(key)
	c.OldKey, c.Log = old, log
	if err := leftBehind(ctx, c); err != nil {
		return nil, err
	}
	e, err := engine.Open(ctx, c)
	return e, withAdvice(err, s)
}

// leftBehind returns an error if there is data in the folder, and none in the
// cluster that is to be used from now on.
func leftBehind(ctx context.Context, c engine.Config) error {
	if c.Cluster.URL == "" {
		return nil
	}
	isNew, err := engine.IsNew(c.Dir)
	if err != nil || isNew {
		return err
	}
	if isNew, err = engine.IsNewCluster(ctx, c); err != nil || !isNew {
		return err
	}
	return &commands.Mistake{
		Problem: fmt.Sprintf("there is data in the folder %s, and none in the cluster %s: move it with auditbot migrate --to cluster; to begin with nothing, take another engine.data_dir", c.Dir, c.Cluster.URL),
	}
}

// withAdvice adds what to do about an engine that does not open.
func withAdvice(err error, s settings) error {
	switch {
	case errors.Is(err, engine.ErrWrongKey):
		return fmt.Errorf("%w; %s", err, restoreKey)
	case errors.Is(err, engine.ErrUnfinished):
		return fmt.Errorf("%w; run auditbot migrate again, with the same --to", err)
	case errors.Is(err, engine.ErrMoved) && s.Engine.NATSURL != "":
		return fmt.Errorf("%w; take engine.nats_url out of the settings to go on there; to come back, run auditbot migrate --to cluster into an empty cluster", err)
	case errors.Is(err, engine.ErrMoved):
		return fmt.Errorf("%w; set engine.nats_url to go on there; to come back, run auditbot migrate --to embedded with another engine.data_dir", err)
	case errors.Is(err, context.DeadlineExceeded) && s.Engine.NATSURL != "":
		return fmt.Errorf("%w; see to the servers: most of them must run", err)
	}
	return err
}

// restoreKey is what to do about a key that does not open what is there.
const restoreKey = "set AUDITBOT_KEY to the key that it was made with; to change it, start the bot once with that one in AUDITBOT_KEY_OLD"

// slackSecrets are what Slack knows the bot by.
type slackSecrets struct{ Bot, App auditlog.Secret }

// serve runs the bot until ctx is done. On a data folder only its owner may: it
// ends, and with it the others.
func serve(ctx context.Context, s settings, getenv func(string) string, tokens slackSecrets, key []byte, log *slog.Logger) (err error) {
	e, err := openEngine(ctx, s, getenv, key, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if !e.Owner() && !e.Clustered() {
		return fmt.Errorf("another auditbot runs on the data folder %s", s.Engine.DataDir)
	}
	tenants, err := newTenants(s, getenv, e)
	if err != nil {
		return err
	}
	for _, t := range tenants {
		for _, warning := range t.warnings() {
			log.Warn(warning, "instance", t.Name)
		}
	}
	m, err := openMonitor(s.Serve, log)
	if err != nil {
		return err
	}
	defer m.close()
	api := slack.New(string(tokens.Bot),
		slack.OptionAppLevelToken(string(tokens.App)), // for the doctor
		slack.OptionAPIURL(s.Slack.APIURL),
		slack.OptionHTTPClient(toSlack(m.slack(slackClient(log)))))
	sweeping, stop := context.WithCancel(ctx)
	var swept sync.WaitGroup
	swept.Go(func() { sweep(sweeping, e, s.Retention, log) })
	defer swept.Wait()
	defer stop()
	defer time.AfterFunc(settled, giveBack).Stop()
	b := &bot.Bot{
		Slack:     api,
		Engine:    e,
		Log:       log,
		Prefix:    s.Slack.Prefix,
		Access:    s.Access.access(),
		Instances: func(p bot.Person) []commands.Instance { return instancesAs(tenants, p) },
		Doctor:    doctorOf(s, getenv, e, api),
		Metrics:   m.numbers(),
	}
	m.serve(ctx, e, tenants)
	return b.Run(ctx, bot.Sockets{APIURL: s.Slack.APIURL, AppToken: tokens.App})
}

// settled is how long after the start memory is given back that only the start
// needed: for a folder with 100,000 commands of the last day, half of it. By
// itself that takes minutes in a bot that has nothing to do.
// JetStream's caches are empty by then.
const settled = 30 * time.Second

func giveBack() {
	runtime.GC() // a pool is emptied by the second collection
	debug.FreeOSMemory()
}

// sweep deletes results that were not used for as long as the settings say, now
// and every hour.
func sweep(ctx context.Context, e *engine.Engine, r retentionSettings, log *slog.Logger) {
	for {
		deleted, err := e.Sweep(ctx, time.Duration(r.ResultsDays)*24*time.Hour)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Error("deleting old results", "err", err)
		case deleted > 0:
			log.Info("old results are deleted", "results", deleted)
		}
		select {
		case <-time.After(time.Hour):
		case <-ctx.Done():
			return
		}
	}
}

// slackClient is a client with time-outs, which slack-go's own has not, at the
// pace that Slack allows, which has a shorter one for most requests. Slack must
// begin to answer within a minute; a large file may take its time to get there.
func slackClient(log *slog.Logger) *bot.Pace {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = time.Minute
	return &bot.Pace{HTTP: &http.Client{Transport: transport, Timeout: 15 * time.Minute}, Log: log}
}

// toSlack is what carries the bot's requests at this pace. Benchmarks replace it.
var toSlack = func(p *bot.Pace) carrier { return p }

// A carrier is a [bot.Pace] or several.
type carrier interface {
	Do(*http.Request) (*http.Response, error)
}

func (a accessSettings) access() bot.Access {
	return bot.Access{Channels: a.Channels, Users: a.Analysts.Users, Groups: a.Analysts.Groups, Admins: a.Admins.Users, Everyone: a.Everyone}
}
