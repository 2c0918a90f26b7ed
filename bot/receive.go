package bot

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/slack-go/slack/socketmode"
)

const (
	// filers is how many events are filed at a time: as many as the disk takes
	// together.
	filers = 64

	// backlog is how many events wait to be filed, all in memory. Slack delivers
	// 30,000 in an hour at most.
	backlog = 1024

	// filingEnd is how long what has arrived may still be filed when we stop. A
	// press of a button does not come again.
	filingEnd = 5 * time.Second
)

// An arrival is an event and how to acknowledge it.
type arrival struct {
	event       socketmode.Event
	acknowledge acknowledge
}

// receive files what arrives until ctx is done or Slack will have no more
// connections, and returns why. What cannot be filed is not acknowledged, and
// Slack sends it again.
func (b *Bot) receive(ctx context.Context, sockets Sockets) error {
	sockets.hearing = b.heard
	filing, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	arrived := make(chan arrival, backlog)
	var running sync.WaitGroup
	for range filers {
		running.Go(func() {
			for a := range arrived {
				b.event(filing, a.event, a.acknowledge)
			}
		})
	}
	sockets.metrics = b.Metrics
	err := sockets.run(ctx, b.Log, func(e socketmode.Event, ack acknowledge) {
		select {
		case arrived <- arrival{e, ack}:
		default:
			b.heard.notFiled()
			b.Log.Error("the inbox does not keep up; Slack will send an event again")
			b.Metrics.event(Message{}, notFiled)
		}
	})
	close(arrived)
	defer time.AfterFunc(filingEnd, giveUp).Stop()
	running.Wait()
	return err
}

// event deals with one event. It is acknowledged only once the inbox holds
// what is in it: what is not acknowledged within 3 seconds, Slack sends again.
func (b *Bot) event(ctx context.Context, e socketmode.Event, ack acknowledge) {
	switch e.Type {
	case socketmode.EventTypeEventsAPI:
		m, err := b.file(ctx, e.Request.Payload, e.Request.RetryAttempt > 0)
		if err != nil {
			b.heard.notFiled()
			b.Log.Error("filing an event; Slack will send it again", "err", err)
			return
		}
		ack(e.Request.EnvelopeID)
		b.Metrics.acknowledged(m)
	case socketmode.EventTypeInteractive:
		m, err := b.fileClick(ctx, e.Request.Payload)
		if err != nil {
			b.Log.Error("filing a press of a button; Slack shows that it failed", "err", err)
			return
		}
		ack(e.Request.EnvelopeID)
		b.Metrics.acknowledged(m)
	case socketmode.EventTypeSlashCommand:
		ack(e.Request.EnvelopeID) // we have none
	case socketmode.EventTypeErrorBadMessage:
		b.badMessage(ctx, e, ack)
	}
}

// badMessage saves what slack-go could not decode, such as a block that is
// newer than the library: we need only the text.
func (b *Bot) badMessage(ctx context.Context, e socketmode.Event, ack acknowledge) {
	bad, ok := e.Data.(*socketmode.ErrorBadMessage)
	if !ok {
		return
	}
	var frame struct {
		EnvelopeID string          `json:"envelope_id"`
		Type       string          `json:"type"`
		Payload    json.RawMessage `json:"payload"`
		Attempt    int             `json:"retry_attempt"`
	}
	if err := json.Unmarshal(bad.Message, &frame); err != nil || frame.EnvelopeID == "" {
		b.Log.Warn("something came from Slack that is not an envelope")
		return
	}
	var m Message
	var err error
	switch frame.Type {
	case "events_api":
		m, err = b.file(ctx, frame.Payload, frame.Attempt > 0)
	case "interactive":
		m, err = b.fileClick(ctx, frame.Payload)
	}
	if err != nil {
		b.heard.notFiled()
		b.Log.Error("filing what came from Slack", "type", frame.Type, "err", err)
		return
	}
	ack(frame.EnvelopeID)
	b.Metrics.acknowledged(m)
}

// file puts a message that may be a command for us into the inbox, and returns
// it. All others, and what is none, are done with right away: it is empty then.
// Again is that Slack tells of it again, as it was when it was written.
func (b *Bot) file(ctx context.Context, payload []byte, again bool) (Message, error) {
	m, ok, err := readMessage(payload, b.self.team)
	if err != nil {
		b.Log.Warn("an event is not understood", "err", err)
		return Message{}, nil
	}
	if !ok {
		return Message{}, nil
	}
	if _, ok, _ := b.command(m); !ok {
		return Message{}, nil
	}
	m.Late = time.Since(m.Sent()) > lateAfter
	m.Unsure = m.Late || again && b.heard.deafWhen(m.Sent())
	return m, b.fileAllowed(ctx, m)
}

// fileClick is file for a press of a button of ours.
func (b *Bot) fileClick(ctx context.Context, payload []byte) (Message, error) {
	m, ok, err := readClick(payload, b.self.team, b.Prefix)
	if err != nil {
		b.Log.Warn("a press of a button is not understood", "err", err)
		return Message{}, nil
	}
	if !ok {
		return Message{}, nil
	}
	return m, b.fileAllowed(ctx, m)
}

// fileAllowed puts a message into the inbox unless its author cannot be served
// and is not to be told so.
func (b *Bot) fileAllowed(ctx context.Context, m Message) error {
	if r := b.Access.here(m); r != nil && (r.tell == "" || !b.people.mayBeTold(m.User, m.Channel)) {
		b.Log.Info("refused", "item", m.ID(), "channel", m.Channel, "user", m.User, "reason", r.reason)
		b.Metrics.event(m, turnedAway)
		return nil
	}
	return b.enqueue(ctx, m)
}

func (b *Bot) enqueue(ctx context.Context, m Message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing a message down: %w", err)
	}
	fresh, err := b.inbox(ctx, m.ID(), data)
	b.Metrics.enqueued(m, fresh, err)
	if err == nil {
		b.heard.came(m)
	}
	return err
}
