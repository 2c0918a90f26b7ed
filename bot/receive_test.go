package bot

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"auditbot/bot/slacksim"
)

// A heap is an inbox that keeps the texts of what it took.
type heap struct {
	mu    sync.Mutex
	texts []string
}

func (h *heap) take(_ context.Context, _ string, data []byte) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var m Message
	err := json.Unmarshal(data, &m)
	h.texts = append(h.texts, m.Text)
	return true, err
}

func (h *heap) filed() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.texts)
}

func TestWhatTheInboxDoesNotTakeComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heap
		var tried atomic.Bool
		l := newLine(t, func(ctx context.Context, id string, data []byte) (bool, error) {
			if !tried.Swap(true) {
				return false, errors.New("the disk is full")
			}
			return h.take(ctx, id, data)
		}, nil)
		settle(10 * time.Second)
		l.say("!help")
		settle(0)
		if l.slack.Unacknowledged() != 1 || len(h.filed()) > 0 {
			t.Error("what was not filed is acknowledged")
		}
		settle(time.Minute)
		if l.slack.Unacknowledged() != 0 || !slices.Equal(h.filed(), []string{"!help"}) {
			t.Errorf("filed: %q", h.filed())
		}
		if log := l.log.String(); strings.Contains(log, "!help") || strings.Contains(log, "ticket") || !strings.Contains(log, "the disk is full") {
			t.Errorf("the log has\n%s", log)
		}
	})
}

func TestNoEventWaitsForAnotherToBeFiled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := make(chan struct{})
		l := newLine(t, func(_ context.Context, _ string, data []byte) (bool, error) {
			if strings.Contains(string(data), "!help slow") {
				<-slow
			}
			return true, nil
		}, nil)
		settle(10 * time.Second)
		l.say("!help slow")
		for range 100 {
			l.say("!help")
		}
		settle(0)
		if n := l.slack.Unacknowledged(); n != 1 {
			t.Errorf("%d events wait", n)
		}
		close(slow)
		settle(0)
		if n := l.slack.Unacknowledged(); n != 0 {
			t.Errorf("%d events are not acknowledged", n)
		}
	})
}

// slack-go's reader stops when 50 events are not taken; it then answers no
// pings, loses its connection, and makes no other.
func TestAnInboxThatStandsStillMakesNobodyDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heap
		stuck := make(chan struct{})
		l := newLine(t, func(ctx context.Context, id string, data []byte) (bool, error) {
			<-stuck
			return h.take(ctx, id, data)
		}, nil)
		settle(10 * time.Second)
		const events = filers + backlog + 100
		for range events {
			l.say("!help")
		}
		settle(40 * time.Second)
		if n := len(l.opened()); n != 2 || l.slack.Sockets() != 2 || l.slack.Unacknowledged() != events {
			t.Errorf("%d connections were made, %d events are not acknowledged", n, l.slack.Unacknowledged())
		}
		close(stuck)
		settle(5 * time.Minute)
		if n := l.slack.Unacknowledged(); n != 0 || len(h.filed()) < events {
			t.Errorf("of %d events %d were filed; %d are not acknowledged", events, len(h.filed()), n)
		}
	})
}

// A block that slack-go cannot read makes it drop the event, with the text that
// the block stands for.
func TestAnEventThatSlackGoCannotReadIsRead(t *testing.T) {
	event := map[string]any{
		"type": "message", "channel": incidents, "channel_type": "channel", "user": "U0ADA", "team": "T0CONTOSO", "ts": "1700000000.000100", "text": "!help",
		"blocks": []any{map[string]any{"type": "table", "rows": []any{[]any{map[string]any{"type": "hologram"}}}}},
	}
	text, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	var read slack.Message
	if json.Unmarshal(text, &read) == nil {
		t.Fatal("slack-go can read it by now")
	}
	synctest.Test(t, func(t *testing.T) {
		var h heap
		l := newLine(t, h.take, nil)
		settle(10 * time.Second)
		l.slack.PostEvent(event)
		l.slack.PostEvent(map[string]any{"type": "an_event_of_the_future", "channel": incidents})
		l.slack.Deliver(`{"type":"an_envelope_of_the_future","envelope_id":"e1","payload":[]}`)
		l.slack.Deliver(`{"type":"error","error":{"code":1,"msg":"without an envelope"}}`)
		l.slack.Deliver(`{"type":`)
		settle(time.Second)
		if l.slack.Unacknowledged() != 0 || !slices.Equal(h.filed(), []string{"!help"}) || len(l.opened()) != 2 {
			t.Errorf("filed: %q; log:\n%s", h.filed(), &l.log)
		}
	})
}

func TestAnAcknowledgementWaitsForNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		client := socketmode.New(slack.New("")) // never connected
		for range 25 {                          // 20 of them find room in slack-go's queue
			new(connection).send(t.Context(), client, "e1")
		}
		if d := time.Since(begun); d > 10*time.Second {
			t.Errorf("25 acknowledgements took %v", d)
		}
	})
}

func TestNoEventWaitsForThoseOfAConnectionThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		l := newLine(t, func(context.Context, string, []byte) (bool, error) {
			<-stuck
			return true, nil
		}, func(s *slacksim.Server, _ *Sockets) { s.AckTimeout = time.Hour })
		settle(10 * time.Second)
		for range 8 * filers {
			l.say("!help")
		}
		settle(0)
		l.slack.CutSockets()
		settle(10 * time.Second)
		l.say("!help")
		close(stuck)
		settle(time.Second)
		if n := l.slack.Unacknowledged(); n != 8*filers {
			t.Errorf("%d events are not acknowledged; it should be only those that cannot be", n)
		}
	})
}

// Slack sends a press of a button once only.
func TestWhatHasArrivedIsFiledEvenWhileTheBotStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heap
		stuck := make(chan struct{})
		l := newLine(t, func(ctx context.Context, id string, data []byte) (bool, error) {
			<-stuck
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			return h.take(ctx, id, data)
		}, nil)
		settle(10 * time.Second)
		l.say("!help")
		settle(0)
		l.stop()
		settle(0)
		if len(l.ended) > 0 {
			t.Error("the bot does not wait for it")
		}
		close(stuck)
		settle(0)
		l.mustEnd("canceled")
		if len(h.filed()) != 1 {
			t.Error("it is not filed")
		}
	})
}

func TestAnInboxThatStandsStillDoesNotKeepTheBotFromStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, func(ctx context.Context, _ string, _ []byte) (bool, error) {
			<-ctx.Done()
			return false, ctx.Err()
		}, nil)
		settle(10 * time.Second)
		for range 2 * filers {
			l.say("!help")
		}
		settle(0)
		l.stop()
		settle(filingEnd)
		l.mustEnd("canceled")
	})
}
