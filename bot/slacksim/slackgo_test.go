package slacksim_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"auditbot/bot/slacksim"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/slackevents"
	"github.com/slack-go/slack/socketmode"
)

// bot is slack-go's client, connected. Its message events come acknowledged.
func bot(t *testing.T, s *slacksim.Server) (*slack.Client, <-chan *slackevents.MessageEvent) {
	t.Helper()
	api := slack.New(s.BotToken(), slack.OptionAppLevelToken(s.AppToken()), slack.OptionAPIURL(s.APIURL()))
	socket := socketmode.New(api)
	done := make(chan struct{})
	events := make(chan *slackevents.MessageEvent, 100)
	go func() {
		defer close(done)
		socket.RunContext(t.Context())
	}()
	go func() {
		for e := range socket.Events {
			if e.Type != socketmode.EventTypeEventsAPI {
				continue
			}
			socket.AckCtx(t.Context(), e.Request.EnvelopeID, nil)
			if m, ok := e.Data.(slackevents.EventsAPIEvent).InnerEvent.Data.(*slackevents.MessageEvent); ok {
				events <- m
			}
		}
	}()
	t.Cleanup(func() { <-done }) // the test's context is over by then
	if err := s.WaitConnected(limit(t)); err != nil {
		t.Fatal(err)
	}
	return api, events
}

func TestSlackGoHasAConversation(t *testing.T) {
	s := start(t, nil)
	api, events := bot(t, s)
	me, err := api.AuthTestContext(t.Context())
	if err != nil || me.UserID != s.BotUser() || me.Team != "Contoso SOC" || me.BotID == "" {
		t.Fatalf("auth.test: %+v, %v", me, err)
	}

	asked := say(t, s, ada, incidents, "", `!help "<script>" ada@contoso.com`)
	e := <-events
	if e.Text != `!help "&lt;script&gt;" <mailto:ada@contoso.com|ada@contoso.com>` || e.User != ada || e.Channel != incidents || e.ChannelType != "channel" ||
		e.TimeStamp != asked.TS || e.ClientMsgID == "" || e.BotID != "" || e.SubType != "" || len(e.Blocks.BlockSet) != 1 {
		t.Errorf("the event is %+v", e)
	}

	channel, ts, err := api.PostMessageContext(t.Context(), incidents, slack.MsgOptionTS(e.TimeStamp), slack.MsgOptionText("help", false),
		slack.MsgOptionBlocks(slack.NewHeaderBlock(slack.NewTextBlockObject("plain_text", "Help", false, false)), slack.NewMarkdownBlock("", "| a | b |\n|---|---|\n| 1 | 2 |")))
	if err != nil || channel != incidents {
		t.Fatalf("chat.postMessage: %v", err)
	}
	reply, err := s.Wait(limit(t), incidents, func(m slacksim.Message) bool { return m.ThreadTS == asked.TS })
	if err != nil || reply.TS != ts || reply.User != s.BotUser() || reply.Text != "help" || !strings.Contains(string(reply.Blocks), "| a | b |") {
		t.Errorf("the reply is %+v, %v", reply, err)
	}
	if own := <-events; own.BotID == "" || own.User != s.BotUser() || own.ThreadTimeStamp != asked.TS || own.SubType != "" {
		t.Errorf("the bot's own message comes back as %+v", own)
	}
}

func TestSlackGoUploadsAFile(t *testing.T) {
	s := start(t, nil)
	api, events := bot(t, s)
	parent := say(t, s, ada, incidents, "", "!search")
	<-events
	const content = `{"O365AuditLog": []}`
	summary, err := api.UploadFileContext(t.Context(), slack.UploadFileParameters{
		Channel: incidents, ThreadTimestamp: parent.TS, Filename: "context.json", Title: "All records", FileSize: len(content), Reader: strings.NewReader(content), InitialComment: "the records",
	})
	if err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.SubType != "file_share" || e.BotID == "" || e.ThreadTimeStamp != parent.TS || len(e.Message.Files) != 1 {
		t.Errorf("the upload comes back as %+v", e)
	}
	f, ok := s.File(summary.ID)
	if !ok || string(f.Content) != content || f.Name != "context.json" || f.Title != "All records" || f.Type != "json" {
		t.Errorf("the file is %+v", f)
	}
	all := s.History(incidents)
	if last := all[len(all)-1]; last.ThreadTS != parent.TS || last.Text != "the records" || len(last.Files) != 1 || last.Files[0].ID != summary.ID {
		t.Errorf("the message is %+v", last)
	}
	info, _, _, err := api.GetFileInfoContext(t.Context(), summary.ID, 0, 0)
	if err != nil || len(info.Shares.Public[incidents]) != 1 || info.Mode != "snippet" {
		t.Errorf("files.info: %+v, %v", info, err)
	}
	var downloaded strings.Builder
	if err := api.GetFileContext(t.Context(), info.URLPrivate, &downloaded); err != nil || downloaded.String() != content {
		t.Errorf("downloaded %q, %v", downloaded.String(), err)
	}
}

func TestSlackGoIsRateLimited(t *testing.T) {
	s := start(t, nil)
	api := slack.New(s.BotToken(), slack.OptionAPIURL(s.APIURL()))
	s.Fail(slacksim.RateLimited("chat.postMessage", 1500*time.Millisecond))
	_, _, err := api.PostMessageContext(t.Context(), incidents, slack.MsgOptionText("x", false))
	if limited, ok := errors.AsType[*slack.RateLimitedError](err); !ok || limited.RetryAfter != 2*time.Second {
		t.Errorf("%v", err)
	}
	if _, _, err := api.PostMessageContext(t.Context(), incidents, slack.MsgOptionText("x", false)); err != nil {
		t.Error(err)
	}
	if s.Calls("chat.postMessage") != 2 || s.Requests()[0].Status != 429 || s.Requests()[1].Error != "" {
		t.Errorf("%+v", s.Requests())
	}
}

func TestSlackGoReconnects(t *testing.T) {
	s := start(t, nil)
	_, events := bot(t, s)
	for _, cut := range []func(){s.CutSockets, func() { s.Disconnect("refresh_requested") }} {
		cut()
		if err := s.WaitConnected(limit(t)); err != nil {
			t.Fatal(err)
		}
		say(t, s, ada, incidents, "", "hello")
		if e := <-events; e.Text != "hello" {
			t.Errorf("%+v", e)
		}
	}
}
