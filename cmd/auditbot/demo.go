package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/tenantsim"
	"auditbot/bot"
	"auditbot/bot/engine"
	"auditbot/bot/slacksim"
)

type demoCommand struct {
	Addr    string `default:"127.0.0.1:8065" help:"Where the page is served: an address of this machine, ${default} if left out." placeholder:"HOST:PORT"`
	Records string `help:"Load these AuditData records (NDJSON) into the tenant instead of contoso's two weeks." placeholder:"FILE" type:"existingfile"`
}

// Run serves the demo until it is asked to stop.
func (c demoCommand) Run(p *program) error {
	tenant, err := demoTenant(c.Records)
	if err != nil {
		return err
	}
	if err := tenant.Start(); err != nil {
		return err
	}
	defer tenant.Close()
	slackApp := &slacksim.Server{Workspace: slacksim.Demo(), Addr: c.Addr}
	slackApp.Workspace.Manifest = []byte(bot.Manifest())
	if err := slackApp.Start(); err != nil {
		return fmt.Errorf("%w; another address can be given with --addr 127.0.0.1:0", err)
	}
	defer slackApp.Close()
	dir, err := os.MkdirTemp("", "auditbot-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for the demo: %w", err)
	}
	defer os.RemoveAll(dir)

	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	failed := make(chan error, 1)
	log := slog.New(slog.NewJSONHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	go func() {
		tokens := slackSecrets{auditlog.Secret(slackApp.BotToken()), auditlog.Secret(slackApp.AppToken())}
		failed <- serve(ctx, demoSettings(slackApp, tenant, dir), p.getenv, tokens, madeUpKey(), log)
	}()
	connected := make(chan error, 1)
	go func() { connected <- slackApp.WaitConnected(ctx) }()
	select {
	case err := <-failed:
		return err
	case <-connected:
	}
	fmt.Fprintf(p.stdout, demoText, slackApp.URL)
	return <-failed
}

const demoText = `auditbot demo: a simulated Slack, a simulated Microsoft 365 tenant, and the real bot between them.
Nothing leaves this machine, and nothing is kept.

  Open    %s/
  Type    !o365-auditlog-search start_date="01/01/21" end_date="01/02/21" result_size=1

into the incident thread. Ctrl-C ends the demo.
`

// demoTenant is contoso, with records from a file if one is named.
func demoTenant(records string) (*tenantsim.Server, error) {
	t := &tenantsim.Server{
		Interval:   time.Second,     // sooner than at Microsoft, where people look at the page
		GraphDelay: 2 * time.Second, // likewise
		Tenant:     tenantsim.Tenant{Apps: append(tenantsim.MicrosoftApps(), tenantsim.OwnApp())},
	}
	if records == "" {
		return t, nil
	}
	f, err := os.Open(records)
	if err != nil {
		return nil, fmt.Errorf("reading records: %w", err)
	}
	loaded, err := tenantsim.LoadNDJSON(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("reading records from %s: %w", records, err)
	}
	t.Tenant.Records = loaded
	return t, nil
}

// demoSettings are those of a bot for the simulated workspace: its analysts
// may ask in all of its channels that no other organisation shares, and the
// shift lead is its admin.
func demoSettings(w *slacksim.Server, tenant *tenantsim.Server, dir string) settings {
	s := demoInstance(tenant, dir)
	s.Slack.APIURL = w.APIURL()
	for _, c := range w.Channels() {
		if !c.Shared && c.Kind != "im" && slices.Contains(c.Members, w.BotUser()) {
			s.Access.Channels = append(s.Access.Channels, c.ID)
		}
	}
	for _, u := range w.Users() {
		switch u.Name {
		case "ada":
			s.Access.Analysts.Users = append(s.Access.Analysts.Users, u.ID)
		case "grace":
			s.Access.Admins.Users = append(s.Access.Admins.Users, u.ID)
		}
	}
	return s
}

// demoInstance are settings with the simulated tenant as their instance.
func demoInstance(tenant *tenantsim.Server, dir string) settings {
	s := defaultSettings()
	i := instanceSettings{Name: "contoso", Tenant: "contoso.onmicrosoft.com", LoginURL: tenant.URL, ExchangeURL: tenant.URL, GraphURL: tenant.URL}
	i.GraphClient = tenantsim.OwnApp().ClientID
	i.setDefaults()
	s.Instances = []instanceSettings{i}
	s.Engine.DataDir = dir
	return s
}

func madeUpKey() []byte {
	key := make([]byte, engine.KeySize)
	rand.Read(key)
	return key
}
