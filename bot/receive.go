package bot

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"
)

// receive files what arrives until ctx is done or the socket fails for good,
// and returns why. It never waits for Slack or for work: a socket whose events
// are not drained goes deaf.
func (b *Bot) receive(ctx context.Context, socket *socketmode.Client) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		cancel(fmt.Errorf("connecting to Slack, with SLACK_APP_TOKEN: %w"+seeDoctor, socket.RunContext(ctx)))
	})
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-socket.Events:
			b.event(ctx, socket, e)
		}
	}
}

// event deals with one event. It is acknowledged only once the inbox holds
// what is in it: what is not acknowledged within 3 seconds, Slack sends again.
func (b *Bot) event(ctx context.Context, socket *socketmode.Client, e socketmode.Event) {
	switch e.Type {
	case socketmode.EventTypeEventsAPI:
		if err := b.file(ctx, e.Request.Payload); err != nil {
			b.Log.Error("filing an event; Slack will send it again", "err", err)
			return
		}
		b.acknowledge(ctx, socket, e.Request.EnvelopeID)
	case socketmode.EventTypeInteractive:
		if err := b.fileClick(ctx, e.Request.Payload); err != nil {
			b.Log.Error("filing a press of a button; Slack shows that it failed", "err", err)
			return
		}
		b.acknowledge(ctx, socket, e.Request.EnvelopeID)
	case socketmode.EventTypeSlashCommand:
		b.acknowledge(ctx, socket, e.Request.EnvelopeID) // we have none
	case socketmode.EventTypeErrorBadMessage:
		b.badMessage(ctx, socket, e)
	case socketmode.EventTypeHello:
		b.Log.Info("connected to Slack", "sockets", e.Request.NumConnections)
	case socketmode.EventTypeConnectionError:
		if failed, ok := e.Data.(*slack.ConnectionErrorEvent); ok {
			b.Log.Warn("connecting to Slack", "attempt", failed.Attempt, "again_in", failed.Backoff, "err", failed.ErrorObj)
		}
	case socketmode.EventTypeErrorWriteFailed:
		b.Log.Warn("an acknowledgement was not sent; Slack will send its event again")
	}
}

// badMessage saves what slack-go could not decode, such as a block that is
// newer than the library: we need only the text.
func (b *Bot) badMessage(ctx context.Context, socket *socketmode.Client, e socketmode.Event) {
	bad, ok := e.Data.(*socketmode.ErrorBadMessage)
	if !ok {
		return
	}
	var frame struct {
		EnvelopeID string          `json:"envelope_id"`
		Type       string          `json:"type"`
		Payload    json.RawMessage `json:"payload"`
	}
	if err := json.Unmarshal(bad.Message, &frame); err != nil || frame.EnvelopeID == "" {
		b.Log.Warn("something came from Slack that is not an envelope")
		return
	}
	file := map[string]func(context.Context, []byte) error{"events_api": b.file, "interactive": b.fileClick}[frame.Type]
	if file != nil {
		if err := file(ctx, frame.Payload); err != nil {
			b.Log.Error("filing what came from Slack", "type", frame.Type, "err", err)
			return
		}
	}
	b.acknowledge(ctx, socket, frame.EnvelopeID)
}

// file puts a message that may be a command for us into the inbox. All others,
// and what is none, are done with right away.
func (b *Bot) file(ctx context.Context, payload []byte) error {
	m, ok, err := readMessage(payload, b.self.team)
	if err != nil {
		b.Log.Warn("an event is not understood", "err", err)
		return nil
	}
	if !ok {
		return nil
	}
	if _, ok, _ := b.command(m); !ok {
		return nil
	}
	return b.fileAllowed(ctx, m)
}

// fileClick is file for a press of a button of ours.
func (b *Bot) fileClick(ctx context.Context, payload []byte) error {
	m, ok, err := readClick(payload, b.self.team, b.Prefix)
	if err != nil {
		b.Log.Warn("a press of a button is not understood", "err", err)
		return nil
	}
	if !ok {
		return nil
	}
	return b.fileAllowed(ctx, m)
}

// fileAllowed puts a message into the inbox unless its author cannot be served
// and is not to be told so.
func (b *Bot) fileAllowed(ctx context.Context, m Message) error {
	if r := b.Access.here(m); r != nil && (r.tell == "" || !b.people.mayBeTold(m.User)) {
		b.Log.Info("refused", "channel", m.Channel, "user", m.User, "reason", r.reason)
		return nil
	}
	return b.enqueue(ctx, m)
}

func (b *Bot) enqueue(ctx context.Context, m Message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing a message down: %w", err)
	}
	_, err = b.Engine.File(ctx, m.ID(), data)
	return err
}

// acknowledge tells Slack that an event arrived. It is bounded, since slack-go
// waits for ever while there is no connection.
func (b *Bot) acknowledge(ctx context.Context, socket *socketmode.Client, envelope string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := socket.AckCtx(ctx, envelope, nil); err != nil && ctx.Err() == nil {
		b.Log.Warn("acknowledging an event; Slack will send it again", "err", err)
	}
}
