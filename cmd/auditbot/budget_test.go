package main

import (
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"auditbot/auditlog/tenantsim"
	"auditbot/bot"
)

// What was submitted to Graph still counts after a restart, and on a terminal.
func TestTheBudgetOfGraphOutlastsARestart(t *testing.T) {
	t.Parallel()
	tenant, err := demoTenant("")
	if err != nil {
		t.Fatal(err)
	}
	tenant.GraphDelay = 0
	if err := tenant.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tenant.Close)
	settings, key := demoInstance(tenant, filepath.Join(t.TempDir(), "data")), madeUpKey()
	for _, want := range []string{"has created 1 of the about 200", "has created 2 of the about 200"} {
		p := &program{ctx: t.Context(), getenv: none, stdout: io.Discard, stderr: io.Discard}
		c := &terminal{program: p, log: slog.New(slog.DiscardHandler), person: bot.Person{ID: "local:ada", Email: "ada@contoso.com"}, scratch: t.TempDir()}
		if err := c.connect(settings, key); err != nil {
			t.Fatal(err)
		}
		for _, instance := range instancesAs(c.tenants, c.person) {
			if err := instance.Account.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
				t.Fatal(err)
			}
		}
		o := c.one(t.Context(), `!o365-auditlog-search start_date="2 days" backend=graph`)
		if !strings.Contains(o.reply.Text, want) {
			t.Errorf("the reply does not say %q:\n%s\n%s", want, o.reply.Text, o.Error)
		}
		c.close()
	}
}

// A search goes on where nobody can count it.
func TestAStoreThatIsDownHoldsUpNoSearch(t *testing.T) {
	t.Parallel()
	c := &terminal{program: &program{ctx: t.Context(), getenv: none, stderr: io.Discard}, log: slog.New(slog.DiscardHandler)}
	s := defaultSettings()
	s.Instances = []instanceSettings{{Name: "contoso", Tenant: "contoso.com", GraphClient: tenantsim.OwnApp().ClientID}}
	s.Engine.DataDir = filepath.Join(t.TempDir(), "data")
	if err := c.connect(s, madeUpKey()); err != nil {
		t.Fatal(err)
	}
	graph := c.tenants[0].graph
	graph.Count()
	if used, limit := graph.Budget(); used != 1 || limit != 200 {
		t.Errorf("Budget = %d, %d", used, limit)
	}
	c.close()
	graph.Count()
	if used, _ := graph.Budget(); used != 0 { // nothing was submitted by this program
		t.Errorf("Budget = %d without its store", used)
	}
}
