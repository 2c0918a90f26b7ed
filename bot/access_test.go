package bot

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"auditbot/bot/engine"
	"auditbot/bot/slacksim"
	"auditbot/commands"
)

// member is a bot that knows contoso's workspace, with this access.
func member(t *testing.T, a Access) (*Bot, *slacksim.Server) {
	t.Helper()
	w := slacksim.Demo()
	w.Manifest = []byte(Manifest())
	w.Users = append(w.Users,
		slacksim.User{ID: "U0ULTRA", Name: "uma", UltraRestricted: true},
		slacksim.User{ID: "U0GONE", Name: "gone", Deleted: true},
		slacksim.User{ID: "U0ROBOT", Name: "robot", Bot: true},
		slacksim.User{ID: "U0STRANGER", Name: "sam", Stranger: true},
	)
	server := slacksim.NewServer(w)
	t.Cleanup(server.Close)
	b := &Bot{
		Slack:  slack.New(server.BotToken(), slack.OptionAPIURL(server.APIURL()), slack.OptionHTTPClient(&http.Client{Timeout: 10 * time.Second})),
		Log:    slog.New(slog.DiscardHandler),
		Prefix: "!",
		Access: a,
	}
	if err := b.identify(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.people = people{users: map[string]aged[profile]{}, groups: map[string]aged[[]string]{}, told: map[string]time.Time{}}
	return b, server
}

func TestWhoIsServedWhere(t *testing.T) {
	listed := Access{Channels: []string{"C0INCIDENTS"}, Users: []string{"U0ADA", "U0GUS", "U0ULTRA", "U0GONE", "U0ROBOT", "U0FRIDA", "U0STRANGER", "U0NOBODY"}, Groups: []string{"S0LEADS"}, Admins: []string{"U0MALLORY"}}
	one := Access{Channels: []string{"C0INCIDENTS"}, Users: []string{"U0ADA"}}
	everyone := Access{Everyone: true}
	someChannels := Access{Everyone: true, Channels: []string{"C0INCIDENTS"}}
	for _, c := range []struct {
		name   string
		access Access
		m      Message
		want   string // "": served; "silence"; otherwise a part of what the person is told
	}{
		{"a listed person in a listed channel", listed, Message{User: "U0ADA", Channel: "C0INCIDENTS"}, ""},
		{"a member of a listed group", listed, Message{User: "U0GRACE", Channel: "C0INCIDENTS"}, ""},
		{"an admin", listed, Message{User: "U0MALLORY", Channel: "C0INCIDENTS"}, ""},
		{"a listed person in a DM", listed, Message{User: "U0ADA", Channel: "D1", Kind: "im"}, ""},
		{"in a group DM that is not listed", listed, Message{User: "U0ADA", Channel: "G1", Kind: "mpim"}, "in this channel"},
		{"in another channel", listed, Message{User: "U0ADA", Channel: "C0RANDOM"}, "in this channel"},
		{"in a shared channel", listed, Message{User: "U0ADA", Channel: "C0INCIDENTS", Shared: true}, "silence"},
		{"a guest, though listed", listed, Message{User: "U0GUS", Channel: "C0INCIDENTS"}, "silence"},
		{"a guest of one channel", listed, Message{User: "U0ULTRA", Channel: "C0INCIDENTS"}, "silence"},
		{"somebody who left", listed, Message{User: "U0GONE", Channel: "C0INCIDENTS"}, "silence"},
		{"a bot", listed, Message{User: "U0ROBOT", Channel: "C0INCIDENTS"}, "silence"},
		{"somebody of Fabrikam", listed, Message{User: "U0FRIDA", Channel: "C0INCIDENTS"}, "silence"},
		{"a stranger", listed, Message{User: "U0STRANGER", Channel: "C0INCIDENTS"}, "silence"},
		{"somebody whom Slack does not know", listed, Message{User: "U0NOBODY", Channel: "C0INCIDENTS"}, "silence"},
		{"a guest in a DM", listed, Message{User: "U0GUS", Channel: "D2", Kind: "im"}, "silence"},
		{"a member who is not listed", one, Message{User: "U0GRACE", Channel: "C0INCIDENTS"}, "not on the list"},
		{"the same in a DM", one, Message{User: "U0GRACE", Channel: "D3", Kind: "im"}, "not on the list"},
		{"anybody", everyone, Message{User: "U0MALLORY", Channel: "C0ANY"}, ""},
		{"anybody, but a guest", everyone, Message{User: "U0GUS", Channel: "C0ANY"}, "silence"},
		{"anybody, in a shared channel", everyone, Message{User: "U0ADA", Channel: "C0ANY", Shared: true}, "silence"},
		{"anybody, but not here", someChannels, Message{User: "U0ADA", Channel: "C0RANDOM"}, "in this channel"},
		{"with no lists at all", Access{}, Message{User: "U0ADA", Channel: "C0INCIDENTS"}, "not on the list"},
		{"with no channels", Access{Users: []string{"U0ADA"}}, Message{User: "U0ADA", Channel: "C0INCIDENTS"}, "in this channel"},
	} {
		b, _ := member(t, c.access)
		_, r, err := b.authorise(t.Context(), c.m)
		switch {
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want == "" && r != nil:
			t.Errorf("%s: refused, since %s", c.name, r.reason)
		case c.want == "silence" && (r == nil || r.tell != ""):
			t.Errorf("%s: %+v, want silence", c.name, r)
		case c.want != "" && c.want != "silence" && (r == nil || !strings.Contains(r.tell, c.want)):
			t.Errorf("%s: %+v, want %q", c.name, r, c.want)
		}
	}
}

func TestInDoubtNobodyIsServed(t *testing.T) {
	b, server := member(t, Access{Channels: []string{"C0INCIDENTS"}, Groups: []string{"S0SOC"}})
	ada := Message{User: "U0ADA", Channel: "C0INCIDENTS"}
	for _, method := range []string{"users.info", "usergroups.users.list"} {
		server.Fail(slacksim.APIError(method, "internal_error"))
		if _, r, err := b.authorise(t.Context(), ada); err == nil {
			t.Errorf("with %s out of order: %v, and no error", method, r)
		}
	}
	if _, r, err := b.authorise(t.Context(), ada); r != nil || err != nil {
		t.Errorf("with all in order: %v, %v", r, err)
	}
}

func TestNobodyIsInAGroupThatIsNoMore(t *testing.T) {
	b, _ := member(t, Access{Channels: []string{"C0INCIDENTS"}, Groups: []string{"S0NONE", "S0LEADS"}})
	if _, r, err := b.authorise(t.Context(), Message{User: "U0GRACE", Channel: "C0INCIDENTS"}); r != nil || err != nil {
		t.Errorf("in the other group: %v, %v", r, err)
	}
	if _, r, err := b.authorise(t.Context(), Message{User: "U0ADA", Channel: "C0INCIDENTS"}); r != notListed || err != nil {
		t.Errorf("in none: %v, %v", r, err)
	}
}

func TestSlackIsNotAskedForEachCommand(t *testing.T) {
	b, server := member(t, Access{Channels: []string{"C0INCIDENTS"}, Groups: []string{"S0SOC"}})
	for range 5 {
		if _, r, err := b.authorise(t.Context(), Message{User: "U0ADA", Channel: "C0INCIDENTS"}); r != nil || err != nil {
			t.Fatal(r, err)
		}
	}
	if n := server.Calls("users.info") + server.Calls("usergroups.users.list"); n != 2 {
		t.Errorf("%d calls for five commands", n)
	}
}

func TestSomebodyWhoIsNotServedIsToldOnce(t *testing.T) {
	p := people{told: map[string]time.Time{}}
	if !p.mayBeTold("U1", incidents) || p.mayBeTold("U1", incidents) || !p.mayBeTold("U2", incidents) || !p.mayBeTold("U1", "D0U1") {
		t.Error("told too often, or not at all")
	}
	p.told["U1/"+incidents] = time.Now().Add(-tellAgain)
	if !p.mayBeTold("U1", incidents) {
		t.Error("not told again after 10 minutes")
	}
	p.told["U1/"+incidents] = time.Now().Add(-tellAgain)
	if p.forget(); len(p.told) != 2 {
		t.Errorf("%d people are remembered", len(p.told))
	}
}

// Who is in a user group is known only once a command is in the inbox.
func TestSomebodyWhoIsInNoGroupIsToldOnce(t *testing.T) {
	t.Parallel()
	s := newStage(t, echo)
	s.stop()
	s.change = func(b *Bot) { b.Access.Groups = []string{"S0NONE"} }
	s.start()
	for range 3 {
		s.say("U0MALLORY", "!help")
	}
	told := func() (n int) {
		for _, m := range s.slack.History(incidents) {
			if m.EphemeralTo == "U0MALLORY" && strings.Contains(m.Text, "not on the list") {
				n++
			}
		}
		return n
	}
	s.until(func() bool { return told() > 0 })
	s.reply(s.say("U0ADA", search), "ran")
	s.stop() // which waits for all that is under way
	if n := told(); n != 1 {
		t.Errorf("they are told %d times", n)
	}
}

// A search may run for hours.
func TestWhoeverLeftWhileTheirCommandRanIsNotAnswered(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(context.Context, commands.Env, string) (commands.Reply, error) {
		return commands.Reply{Title: "all of it"}, nil
	})
	for user, want := range map[string]bool{"U0GRACE": true, "U0ADA": false} {
		asked := s.say(user, "a thread")
		s.slack.ChangeUser("U0ADA", func(u *slacksim.User) { u.Restricted = true })
		s.bot.people.forget()
		task := s.bot.newTask(engine.Item{ID: "test." + user})
		task.Message = Message{Team: "T0CONTOSO", Channel: incidents, User: user, TS: asked.TS, Text: search}
		task.name, task.began = "o365-auditlog-search", time.Now().Add(-kept-time.Minute)
		if err := s.bot.goOn(t.Context(), task, nil); err != nil {
			t.Error(err)
		}
		if got := strings.Contains(s.thread(asked), "all of it"); got != want {
			t.Errorf("%s is answered: %v", user, got)
		}
	}
}
