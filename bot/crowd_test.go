package bot

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/slack-go/slack"
)

// However many somebody types, be it into one channel, into which Slack takes an
// answer a second, the others are served.
func TestNobodyFillsAllHands(t *testing.T) {
	t.Parallel()
	s := newStage(t, echo)
	s.stop()
	s.change = func(b *Bot) {
		pace := &Pace{HTTP: &http.Client{Timeout: time.Minute}, Log: slog.New(slog.DiscardHandler)}
		b.Slack = slack.New(s.slack.BotToken(), slack.OptionAPIURL(s.slack.APIURL()), slack.OptionHTTPClient(pace))
		b.stopIn = time.Second
	}
	s.start()
	for range inHand + 100 {
		s.say("U0ADA", search)
	}
	s.until(func() bool { return s.slack.Unacknowledged() == 0 })
	began := time.Now()
	s.answered(s.sayIn("U0GRACE", s.slack.OpenDM("U0GRACE"), "", "!help"), "What you can ask")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("somebody else waited for %v", took)
	}
}
