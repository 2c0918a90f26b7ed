//go:build !windows

package bot

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	signals "os/signal"
	"runtime/pprof"
	"syscall"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"auditbot/auditlog"
	"auditbot/auditlog/exchange"
	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
	"auditbot/bot/engine"
	"auditbot/commands"
)

// What a child of [TestChaos] is told in its environment.
const (
	chaosFolder   = "CHAOS_FOLDER" // the data folder
	chaosNATS     = "CHAOS_NATS"   // the servers of the cluster, if there is one
	chaosSlack    = "CHAOS_SLACK"  // api_url
	chaosBotToken = "CHAOS_BOT_TOKEN"
	chaosAppToken = "CHAOS_APP_TOKEN"
	chaosTenant   = "CHAOS_TENANT" // the address of all of Microsoft's services
)

// Everything that waits for the other side is some fifteen times as fast as in
// earnest, so that what is lost costs little.
const (
	chaosAckWait   = 3 * time.Second
	chaosSlackWait = 2 * time.Second // for the beginning of an answer of Slack's
	chaosTheirWait = 4 * time.Second // for an answer of Microsoft's
	chaosSilence   = 2 * time.Second // after which a connection counts as deaf
	chaosMinute    = time.Second     // in which one more connection may be asked for
)

// TestMain makes of this test program a bot, if it is one of those that
// [TestChaos] kills.
func TestMain(m *testing.M) {
	if os.Getenv(chaosFolder) == "" {
		os.Exit(m.Run())
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the test
		os.Exit(3)
	}()
	go func() {
		asked := make(chan os.Signal, 1)
		signals.Notify(asked, syscall.SIGUSR1)
		for range asked {
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2) // for whoever reads the log
		}
	}()
	if err := beChild(); err != nil {
		slog.Error("the bot ended", "err", err)
		os.Exit(1)
	}
}

// beChild is a bot as cmd/auditbot makes it of its settings, until it is told to
// stop.
func beChild() error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	slog.SetDefault(log)
	ctx, stop := signals.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	e, err := engine.Open(ctx, engine.Config{
		Dir: os.Getenv(chaosFolder), Cluster: engine.Cluster{URL: os.Getenv(chaosNATS)},
		Key: make([]byte, engine.KeySize), Log: log, AckWait: chaosAckWait,
	})
	if err != nil {
		return err
	}
	log.Info("the engine is open")
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = chaosSlackWait
	pace := &Pace{HTTP: &http.Client{Transport: transport, Timeout: 20 * time.Second}, Log: log, unpaced: true}
	b := &Bot{
		Slack:     slack.New(os.Getenv(chaosBotToken), slack.OptionAPIURL(os.Getenv(chaosSlack)), slack.OptionHTTPClient(pace)),
		Engine:    e,
		Log:       log,
		Prefix:    "!",
		Access:    Access{Everyone: true, Admins: []string{chaosPeople[0].ID}},
		Instances: chaosInstances(e),
		underWay:  chaosSlackWait,
		codeLease: chaosAckWait,
	}
	err = b.Run(ctx, Sockets{
		APIURL: os.Getenv(chaosSlack), AppToken: auditlog.Secret(os.Getenv(chaosAppToken)),
		apart: 50 * time.Millisecond, silence: chaosSilence, minute: chaosMinute,
	})
	return errors.Join(err, e.Close())
}

// chaosInstances are the tenant as the application itself, and once more, as
// "personal", with a sign-in of everybody's own.
func chaosInstances(e *engine.Engine) func(Person) []commands.Instance {
	entra := func(client string) *signin.Entra {
		return &signin.Entra{HTTP: &http.Client{Timeout: chaosTheirWait}, LoginURL: os.Getenv(chaosTenant), Tenant: "contoso.com",
			ClientID: client, Resource: "https://outlook.office365.com"}
	}
	shared, own := entra(tenantsim.ContosoApp), entra(tenantsim.MicrosoftApps()[0].ClientID)
	tenant := &exchange.Tenant{HTTP: &http.Client{Timeout: chaosTheirWait}, URL: os.Getenv(chaosTenant), ID: "contoso.com", Backoff: 100 * time.Millisecond}
	store := chaosStore(e.Bucket(engine.Tokens))
	instance := func(name string, a *signin.Account) commands.Instance {
		source := &exchange.Source{Tenant: tenant, Token: a.Token}
		return commands.Instance{
			Name: name, Tenant: "contoso.com", Shared: a.Unattended(), Account: a, Exchange: source,
			Log: &auditlog.Log{Sources: []auditlog.Source{source}, Version: "chaos", Dir: os.Getenv(chaosFolder)},
		}
	}
	return func(p Person) []commands.Instance {
		return []commands.Instance{
			instance("contoso", &signin.Account{Entra: shared, Store: store, Key: "contoso", ClientSecret: tenantsim.ContosoAppSecret}),
			instance("personal", &signin.Account{Entra: own, Store: store, Key: "personal/" + p.ID, Expect: p.Email}),
		}
	}
}

// chaosStore keeps tokens in a bucket, as cmd/auditbot does.
func chaosStore(b *engine.Bucket) signin.Store {
	return signin.Store{
		Get: func(ctx context.Context, key string) ([]byte, uint64, error) {
			value, revision, err := b.Get(ctx, key)
			if errors.Is(err, engine.ErrNotFound) {
				return nil, 0, nil
			}
			return value, revision, err
		},
		Put: func(ctx context.Context, key string, value []byte, revision uint64) (bool, error) {
			write := func() (uint64, error) { return b.Update(ctx, key, value, revision) }
			if revision == 0 {
				write = func() (uint64, error) { return b.Create(ctx, key, value) }
			}
			_, err := write()
			if errors.Is(err, engine.ErrConflict) {
				return false, nil
			}
			return err == nil, err
		},
		Delete: b.Delete,
	}
}
