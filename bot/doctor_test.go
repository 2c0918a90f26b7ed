package bot

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"auditbot/bot/slacksim"
	"auditbot/commands"
)

// A patient is a workspace that is looked at.
type patient struct {
	workspace slacksim.Workspace
	access    Access
	server    *slacksim.Server
	url       string // of the API
	bot, app  string // tokens
	named     []string
}

// newPatient is a workspace with nothing wrong.
func newPatient() *patient {
	p := &patient{workspace: slacksim.Demo(), access: Access{
		Channels: []string{"C0INCIDENTS", "G0INSIDER"}, Users: []string{"U0ADA"}, Groups: []string{"S0LEADS"}, Admins: []string{"U0GRACE"},
	}}
	p.workspace.Manifest = []byte(Manifest())
	p.workspace.Users = append(p.workspace.Users, slacksim.User{ID: "U0GONE", RealName: "Gina Gone", Deleted: true})
	return p
}

// lines are what is found, as a person reads it.
func (p *patient) lines(t *testing.T, late func(*patient)) string {
	t.Helper()
	p.server = slacksim.NewServer(p.workspace)
	defer p.server.Close()
	p.url, p.bot, p.app = p.server.APIURL(), p.server.BotToken(), p.server.AppToken()
	if late != nil {
		late(p)
	}
	api := slack.New(p.bot, slack.OptionAppLevelToken(p.app), slack.OptionAPIURL(p.url))
	all := append(CheckSlack(t.Context(), api, p.access, func(id string) bool { return slices.Contains(p.named, id) }), CheckAccess(p.access), CheckSocketMode(t.Context(), api))
	var b strings.Builder
	for _, c := range all {
		fmt.Fprintf(&b, "%s %s: %s", c.Level, c.Name, c.Found)
		if c.Do != "" {
			b.WriteString(" -> " + c.Do)
		}
		b.WriteString("\n")
	}
	for _, secret := range []string{p.server.BotToken(), p.server.AppToken(), "ticket="} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("a secret is shown:\n%s", b.String())
		}
	}
	return b.String()
}

func TestAHealthyWorkspaceIsFoundToBe(t *testing.T) {
	t.Parallel()
	want := `ok slack bot token: auditbot (U0AUDITBOT) in Contoso SOC (T0CONTOSO)
ok slack clock: this machine's clock is right
ok slack scopes: all 15 that are needed, and no other
ok access.analysts.users: Ada Analyst
ok access.analysts.groups: S0LEADS with 1
ok access.admins.users: Grace Shift-Lead
ok access.channels: C0INCIDENTS, G0INSIDER
ok access: 2 listed people and those in 1 user group may ask, in 2 channels and direct messages
ok slack app token: Socket Mode is on
`
	if got := newPatient().lines(t, nil); got != want {
		t.Errorf("%s", got)
	}
}

func TestEachFaultOfAWorkspaceHasItsLine(t *testing.T) {
	t.Parallel()
	manifest := func(old, new string) func(*patient) {
		return func(p *patient) {
			p.workspace.Manifest = []byte(strings.Replace(Manifest(), old, new, 1))
		}
	}
	for name, c := range map[string]struct {
		before, late func(*patient)
		want         []string
	}{
		"another bot token": {nil, func(p *patient) { p.bot = "xoxb-1" },
			[]string{"failure slack bot token: Slack says invalid_auth -> copy the bot token anew", "warning slack scopes: not checked", "warning access lists: not checked", "ok slack app token"}},
		"the tokens are mixed up": {nil, func(p *patient) { p.bot, p.app = p.app, p.bot },
			[]string{"failure slack bot token: Slack says not_allowed_token_type", "failure slack app token: Slack says not_allowed_token_type -> copy the app-level token (xapp-...) anew"}},
		"no connections:write": {nil, func(p *patient) { p.server.Fail(slacksim.APIError("apps.connections.open", "missing_scope")) },
			[]string{"failure slack app token: Slack says missing_scope -> make an app-level token with connections:write"}},
		"Socket Mode is off": {manifest("socket_mode_enabled: true", "socket_mode_enabled: false"), nil,
			[]string{"failure slack app token: Slack says socket_mode_not_enabled -> switch Socket Mode on"}},
		"Slack is away": {nil, func(p *patient) { p.server.Close() },
			[]string{"failure slack bot token: Slack was not reached: ", " -> look at slack.api_url", "failure slack app token: Slack was not reached"}},
		"Slack has enough": {nil, func(p *patient) { p.server.Fail(slacksim.RateLimited("auth.test", 30*time.Second)) },
			[]string{"failure slack bot token: Slack has had too many requests and asks to be left alone for 30s"}},
		"it cannot answer": {manifest("- chat:write", "- reactions:write"), nil,
			[]string{"failure slack scopes: chat:write is missing, so the bot cannot do this: answer -> at https://api.slack.com/apps",
				"warning slack scopes: the app has more than the bot uses: reactions:write"}},
		"it cannot see groups": {manifest("- usergroups:read", "# "), nil,
			[]string{"failure slack scopes: usergroups:read is missing", "failure access.analysts.groups S0LEADS: Slack says missing_scope -> at https://api.slack.com/apps"}},
		"a user is unknown": {func(p *patient) { p.access.Users = append(p.access.Users, "U0NOBODY") }, nil,
			[]string{"ok access.analysts.users: Ada Analyst", "failure access.analysts.users U0NOBODY: there is nobody with this id in the workspace -> take the id from"}},
		"a guest and somebody who left are listed": {func(p *patient) { p.access.Users = []string{"U0GUS", "U0GONE"}; p.access.Admins = []string{"U0FRIDA"} }, nil,
			[]string{"warning access.analysts.users U0GUS: Gus Guest is not served: the person is a guest -> take the id off the list",
				"warning access.analysts.users U0GONE: Gina Gone is not served: the account is deactivated",
				"warning access.admins.users U0FRIDA: Frida Fabrikam is not served: the person is of another organisation"}},
		"somebody has no e-mail address": {func(p *patient) { p.workspace.Users[0].Email = "" }, nil,
			[]string{"warning access.analysts.users U0ADA: Ada Analyst cannot sign in: Slack shows no e-mail address of them -> add accounts: {U0ADA: "}},
		"somebody has no e-mail address and needs none": {func(p *patient) { p.workspace.Users[0].Email = ""; p.named = []string{"U0ADA"} }, nil,
			[]string{"ok access.analysts.users: Ada Analyst"}},
		"a group is unknown": {func(p *patient) { p.access.Groups = []string{"S0NONE"} }, nil,
			[]string{"failure access.analysts.groups S0NONE: there is no such user group"}},
		"channels without the bot": {func(p *patient) { p.access.Channels = []string{"C0RANDOM", "C0NONE", "C0INCIDENTS"} }, nil,
			[]string{"ok access.channels: C0INCIDENTS", "failure access.channels C0RANDOM: the bot is not in this channel -> type /invite @auditbot there",
				"failure access.channels C0NONE: there is no such channel, or it is private and the bot is not in it"}},
		"a channel is shared": {func(p *patient) { p.access.Channels = []string{"C0FABRIKAM", "C0INCIDENTS"} }, nil,
			[]string{"ok access.channels: C0INCIDENTS", "warning access.channels C0FABRIKAM: the channel is shared with another organisation, so commands there are not answered -> take the id off the list"}},
		"what was missed cannot be read": {manifest("- channels:read", "# "), nil,
			[]string{"failure slack scopes: channels:read is missing, so the bot cannot do this: after an outage, read", "ok access.channels: C0INCIDENTS"}},
		"nobody may ask": {func(p *patient) { p.access = Access{Channels: []string{"C0INCIDENTS"}} }, nil,
			[]string{"ok access.channels", "failure access: nobody is allowed to ask -> list people in access.analysts"}},
		"no admins": {func(p *patient) { p.access.Admins = nil }, nil,
			[]string{"warning access: 1 listed person and those in 1 user group may ask, in 2 channels and direct messages; there are no admins -> list some"}},
		"everyone may ask everywhere": {func(p *patient) { p.access = Access{Everyone: true, Admins: []string{"U0ADA"}} }, nil,
			[]string{"ok access: every full member of the workspace may ask, in all channels that the bot is in, and direct messages"}},
		"no channels": {func(p *patient) { p.access.Channels = nil }, nil, []string{"may ask, in direct messages only"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPatient()
			if c.before != nil {
				c.before(p)
			}
			got := p.lines(t, c.late)
			rest := got
			for _, part := range c.want {
				_, after, ok := strings.Cut(rest, part)
				if !ok {
					t.Fatalf("there is no %q in this order in\n%s", part, got)
				}
				rest = after
			}
		})
	}
}

// A Slack whose answers are as somebody on the way makes them.
func changed(t *testing.T, change func(http.Header)) func(*patient) {
	return func(p *patient) {
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.server.ServeHTTP(headerChanger{w, change}, r)
		}))
		t.Cleanup(front.Close)
		p.url = front.URL + "/api/"
	}
}

type headerChanger struct {
	http.ResponseWriter
	change func(http.Header)
}

func (h headerChanger) WriteHeader(status int) {
	h.change(h.Header())
	h.ResponseWriter.WriteHeader(status)
}

func TestSlacksHeadersAreReadWithCare(t *testing.T) {
	t.Parallel()
	at := func(off time.Duration) func(http.Header) {
		return func(h http.Header) { h.Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat)) }
	}
	for want, change := range map[string]func(http.Header){
		"failure slack clock: this machine's clock is 1h0m":     at(time.Hour + 10*time.Second),
		"warning slack clock: this machine's clock is 2m":       at(-2*time.Minute - 10*time.Second),
		"warning slack clock: the answer has no date":           func(h http.Header) { h["Date"] = nil },
		"warning slack scopes: Slack does not say which there ": func(h http.Header) { h.Del("X-OAuth-Scopes") },
	} {
		if got := newPatient().lines(t, changed(t, change)); !strings.Contains(got, want) {
			t.Errorf("there is no %q in\n%s", want, got)
		}
	}
}

func TestALongListIsLookedAtInPart(t *testing.T) {
	t.Parallel()
	p := newPatient()
	p.access.Users = slices.Repeat([]string{"U0ADA"}, 120)
	if got := p.lines(t, nil); !strings.Contains(got, "ok access.analysts.users: of the first 50, 50 are in order\n") {
		t.Errorf("%s", got)
	}
}

func TestASlackThatHangsIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	server := slacksim.NewServer(slacksim.Demo())
	defer server.Close()
	server.Fail(slacksim.Hang("auth.test"), slacksim.Hang("apps.connections.open"))
	api := slack.New(server.BotToken(), slack.OptionAppLevelToken(server.AppToken()), slack.OptionAPIURL(server.APIURL()))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // sooner than a look ends by itself
	defer cancel()
	for _, c := range append(CheckSlack(ctx, api, Access{}, nil)[:1], CheckSocketMode(ctx, api)) {
		if c.Level != commands.Failure || !strings.HasPrefix(c.Found, "no answer within") {
			t.Errorf("%+v", c)
		}
	}
}
