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
	Password auditlog.Secret
}

// A graphSide is the same tenant through Microsoft Graph, with a sign-in of its
// own.
type graphSide struct {
	entra *signin.Entra
	*graph.Tenant
}

// newTenants makes the configured instances. Their tokens are kept in e.
func newTenants(s settings, getenv func(string) string, e *engine.Engine) ([]*tenant, error) {
	var all []*tenant
	for _, i := range s.Instances {
		t := &tenant{
			instanceSettings: i,
			entra: &signin.Entra{
				HTTP: microsoft(i, 30*time.Second), LoginURL: i.LoginURL, Tenant: i.Tenant, ClientID: i.ClientID, Resource: resource(i.ExchangeURL, "https://outlook.office365.com"),
			},
			exchange: &exchange.Tenant{HTTP: microsoft(i, 110*time.Second), URL: i.ExchangeURL, ID: i.Tenant},
			store:    tokenStore(e.Bucket(engine.Tokens)),
			seen:     seenOperations{e.Bucket(engine.Seen), i.Name},
			dir:      s.Engine.DataDir,
		}
		if i.GraphClient != "" {
			submitted := submissions{e.Bucket(engine.Queries), strings.ToLower(i.Tenant)}
			t.graph = &graphSide{
				&signin.Entra{
					HTTP: microsoft(i, 30*time.Second), LoginURL: i.LoginURL, Tenant: i.Tenant, ClientID: i.GraphClient,
					Resource: resource(i.GraphURL, "https://graph.microsoft.com"),
				},
				&graph.Tenant{
					HTTP: microsoft(i, 110*time.Second), URL: i.GraphURL, ID: i.Tenant,
					Count: submitted.add, Counted: submitted.count,
				},
			}
		}
		if i.Auth == authPassword {
			var err error
			name := "AUDITBOT_PASSWORD_" + strings.ToUpper(i.Name)
			if t.Password, err = needSecret(getenv, name, "the password of "+i.UPN); err != nil {
				return nil, err
			}
		}
		all = append(all, t)
	}
	return all, nil
}

// warnings say what an operator should not have configured without a reason.
func (t *tenant) warnings() []string {
	var all []string
	if t.Auth == authPassword {
		all = append(all, "auth: password is set: it needs an account without multi-factor authentication, and the audit log does not tell who searched")
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
	if t.Auth == authPassword {
		a.Key, a.Expect, a.Password = side, t.UPN, t.Password
	}
	return a
}

// as is the instance as a person reaches it. Somebody on a terminal has the ID
// "local:name".
func (t *tenant) as(p bot.Person) commands.Instance {
	account := t.account(t.entra, t.Name, p)
	source := &exchange.Source{Tenant: t.exchange, Token: account.Token}
	return commands.Instance{
		Name:     t.Name,
		Tenant:   t.Tenant,
		Insecure: t.Insecure,
		Shared:   t.Auth == authPassword,
		Log:      t.log(source),
		Exchange: source,
		Account:  account,
		Backend:  t.Backend,
		Seen:     t.seen.list,
		See:      t.seen.add,
	}
}

// log is the tenant's audit log through one source. What it puts aside goes to
// the disk whose free space searches are refused by.
func (t *tenant) log(source auditlog.Source) *auditlog.Log {
	return &auditlog.Log{Sources: []auditlog.Source{source}, Version: version(), Dir: t.dir}
}

// graphAs is the tenant's Graph side as a person reaches it.
func (t *tenant) graphAs(p bot.Person) commands.Instance {
	account := t.account(t.graph.entra, t.Name+"-graph", p)
	remote := new(commands.Remote)
	source := &graph.Source{Tenant: t.graph.Tenant, Token: account.Token, Recall: remote.Recall, Remember: remote.Remember, Waiting: remote.Waiting}
	return commands.Instance{
		Name:     t.Name + "-graph", // which no instance can be called
		Tenant:   t.Tenant + " (Microsoft Graph)",
		Insecure: t.Insecure,
		Shared:   t.Auth == authPassword,
		Log:      t.log(source),
		Account:  account,
		GraphOf:  t.Name,
		Budget:   t.graph.Budget,
		Remote:   remote,
		National: !strings.HasPrefix(t.GraphURL, "http://") && !strings.EqualFold(strings.TrimRight(t.GraphURL, "/"), "https://graph.microsoft.com"),
		Seen:     t.seen.list,
		See:      t.seen.add,
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

// storePatience is how long a search is held up by a store that does not answer
// when a query is counted.
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

// tokenStore keeps tokens in a bucket of the engine.
func tokenStore(b *engine.Bucket) signin.Store {
	return signin.Store{
		Get: func(ctx context.Context, key string) ([]byte, uint64, error) {
			value, revision, err := b.Get(ctx, key)
			if errors.Is(err, engine.ErrNotFound) {
				return nil, 0, nil
			}
			return value, revision, err
		},
		Put: func(ctx context.Context, key string, value []byte, revision uint64) (bool, error) {
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

// openEngine opens the data folder, and changes its key if it still has the old
// one.
func openEngine(ctx context.Context, s settings, getenv func(string) string, key []byte, log *slog.Logger) (*engine.Engine, error) {
	old, err := oldKey(getenv)
	if err != nil {
		return nil, err
	}
	return engine.Open(ctx, engine.Config{Dir: s.Engine.DataDir, Key: key, OldKey: old, Log: log})
}

// slackSecrets are what Slack knows the bot by.
type slackSecrets struct{ Bot, App auditlog.Secret }

// serve runs the bot until ctx is done. Only the data folder's owner may: a
// second bot on it would answer half of the messages.
func serve(ctx context.Context, s settings, getenv func(string) string, tokens slackSecrets, key []byte, log *slog.Logger) (err error) {
	e, err := openEngine(ctx, s, getenv, key, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if !e.Owner() {
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
	api := slack.New(string(tokens.Bot),
		slack.OptionAPIURL(s.Slack.APIURL),
		slack.OptionHTTPClient(slackClient()),
		slack.OptionRetry(3)) // of 429 only; must come after the client
	sweeping, stop := context.WithCancel(ctx)
	var swept sync.WaitGroup
	swept.Go(func() { sweep(sweeping, e, s.Retention, log) })
	defer swept.Wait()
	defer stop()
	b := &bot.Bot{
		Slack:     api,
		Engine:    e,
		Log:       log,
		Prefix:    s.Slack.Prefix,
		Access:    s.Access.access(),
		Instances: func(p bot.Person) []commands.Instance { return instancesAs(tenants, p) },
	}
	return b.Run(ctx, bot.Sockets{APIURL: s.Slack.APIURL, AppToken: tokens.App})
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

// slackClient is a client with time-outs, which slack-go's own has not. Slack
// must begin to answer within a minute; a large file may take its time to get
// there.
func slackClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = time.Minute
	return &http.Client{Transport: transport, Timeout: 15 * time.Minute}
}

func (a accessSettings) access() bot.Access {
	return bot.Access{Channels: a.Channels, Users: a.Analysts.Users, Groups: a.Analysts.Groups, Admins: a.Admins.Users, Everyone: a.Everyone}
}
