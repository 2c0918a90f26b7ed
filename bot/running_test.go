package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/bot/engine"
	"auditbot/bot/slacksim"
	"auditbot/commands"
)

const (
	incidents = "C0INCIDENTS"
	search    = "!o365-auditlog-search"
)

// A performance is what commands do in a test.
type performance func(ctx context.Context, env commands.Env, line string) (commands.Reply, error)

// A stage is a workspace and an engine, which outlive the bot between them.
type stage struct {
	t         *testing.T
	slack     *slacksim.Server
	engine    *engine.Engine
	dir       string        // of the engine
	cluster   string        // its servers; "" where there are none
	lease     time.Duration // of codes where the engine is shared; zero where it is not
	sockets   Sockets       // without address and token
	perform   performance
	instance  commands.Instance
	admins    []string
	log       *slog.Logger  // nil for that of the test
	stopIn    time.Duration // what the bot has; 0 is the usual
	change    func(*Bot)    // adapts each bot before it starts, unless nil
	performed atomic.Int32
	bot       *Bot
	stop      func() // the bot, which returns once it is over
}

// newStage starts a bot that answers Ada and Grace, with Lea as its admin.
// perform is what its commands do, cancel and help aside.
func newStage(t *testing.T, perform performance) *stage {
	t.Helper()
	return newStageOn(t, perform, func(*slacksim.Server) {})
}

// newStageOn is newStage on a workspace that is changed before it starts.
func newStageOn(t *testing.T, perform performance, change func(*slacksim.Server)) *stage {
	t.Helper()
	w := slacksim.Demo()
	w.Manifest = []byte(Manifest())
	w.Users = append(w.Users, slacksim.User{ID: "U0LEA", Name: "lea"})
	for i := range w.Channels {
		if w.Channels[i].ID == incidents {
			w.Channels[i].Members = append(w.Channels[i].Members, "U0LEA")
		}
	}
	server := &slacksim.Server{Workspace: w}
	change(server)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, slack: server, perform: perform, instance: commands.Instance{Name: "contoso"}, admins: []string{"U0LEA"}}
	t.Cleanup(s.slack.Close)
	var err error
	s.dir = t.TempDir()
	s.engine, err = engine.Open(t.Context(), engine.Config{Dir: s.dir, Key: make([]byte, engine.KeySize)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.engine.Close() })
	s.start()
	return s
}

func (s *stage) start() {
	s.t.Helper()
	api := slack.New(s.slack.BotToken(), slack.OptionAPIURL(s.slack.APIURL()),
		slack.OptionHTTPClient(&http.Client{Timeout: time.Minute}))
	s.bot = &Bot{
		Slack:     api,
		Engine:    s.engine,
		Log:       cmp.Or(s.log, slog.New(slog.NewTextHandler(s.t.Output(), nil))),
		Metrics:   NewMetrics(),
		Prefix:    "!",
		heard:     newHearing(),
		Access:    Access{Channels: []string{incidents}, Users: []string{"U0ADA", "U0GRACE"}, Admins: s.admins},
		Instances: func(p Person) []commands.Instance { return []commands.Instance{s.reached(p)} },
		underWay:  time.Second, // the simulator is done with a request sooner
		shared:    s.lease > 0,
		codeLease: s.lease,
		stopIn:    s.stopIn,
	}
	s.bot.perform = func(ctx context.Context, env commands.Env, line string) (commands.Reply, error) {
		if name, _ := commands.Name("!", line); name == "cancel" || name == "help" {
			return commands.Run(ctx, env, line)
		}
		s.performed.Add(1)
		return s.perform(ctx, env, line)
	}
	if s.change != nil {
		s.change(s.bot)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	sockets := s.sockets
	sockets.APIURL, sockets.AppToken = s.slack.APIURL(), auditlog.Secret(s.slack.AppToken())
	go func() { ended <- s.bot.Run(ctx, sockets) }()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the bot ended: %v", err)
		}
		ended <- nil
	}
	s.t.Cleanup(func() { s.stop() })
	connected, give := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer give()
	if err := s.slack.WaitConnected(connected); err != nil {
		s.t.Fatal(err)
	}
}

// reached is the instance as a person reaches it: with a sign-in of their own,
// unless the test has made one.
func (s *stage) reached(p Person) commands.Instance {
	i := s.instance
	if i.Account == nil {
		i.Account = &signin.Account{Key: i.Name + "/" + p.ID}
	}
	return i
}

func (s *stage) say(user, text string) slacksim.Message {
	s.t.Helper()
	m, err := s.slack.Say(user, incidents, "", text)
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

func (s *stage) press(user string, m slacksim.Message, button string) {
	s.t.Helper()
	if err := s.slack.Press(user, incidents, m.TS, button); err != nil {
		s.t.Fatal(err)
	}
}

// reply waits for something in the thread of a message that contains text.
func (s *stage) reply(to slacksim.Message, text string) slacksim.Message {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 60*time.Second)
	defer cancel()
	m, err := s.slack.Wait(ctx, incidents, func(m slacksim.Message) bool {
		return m.ThreadTS == to.TS && strings.Contains(shownIn(m), text)
	})
	if err != nil {
		s.t.Fatalf("nobody said %q under %q: %v\n%s", text, to.Text, err, s.thread(to))
	}
	return m
}

// thread is all that stands under a message.
func (s *stage) thread(of slacksim.Message) string {
	var all strings.Builder
	for _, m := range s.slack.History(incidents) {
		if m.ThreadTS == of.TS && !m.Deleted {
			all.WriteString(m.User + ": " + shownIn(m) + "\n")
			for _, f := range m.Files {
				all.WriteString("  file " + f.Name + "\n")
			}
		}
	}
	return all.String()
}

func (s *stage) until(ok func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 60*time.Second)
	defer cancel()
	if err := s.slack.Until(ctx, ok); err != nil {
		s.t.Fatal("it did not come to that: ", err)
	}
}

// shownIn is all text of a message: its own, and that in its blocks.
func shownIn(m slacksim.Message) string {
	var tree any
	_ = json.Unmarshal(m.Blocks, &tree) // those of the simulator are JSON
	text := m.Text
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if s, ok := v["text"].(string); ok {
				text += "\n" + s
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(tree)
	return text
}

// untilCancelled is a command that ends when it is cancelled, and says so.
func untilCancelled(ctx context.Context, env commands.Env, _ string) (commands.Reply, error) {
	select {
	case <-env.Cancelled:
		return commands.Reply{Title: "partial result"}, nil
	case <-ctx.Done():
		return commands.Reply{}, context.Cause(ctx)
	}
}

func TestABotThatIsStoppedAsItStartsHasNotFailed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := &Bot{Slack: slack.New("xoxb-0-none", slack.OptionAPIURL("http://127.0.0.1:1/api/")), Access: Access{Everyone: true}}
	if err := b.Run(ctx, Sockets{}); err != nil {
		t.Error(err)
	}
}
