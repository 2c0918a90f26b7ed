// Package bot is auditbot in Slack. It receives what people write, hands
// command lines to package commands, and shows the replies in the threads that
// the commands came from.
//
// # The way of one command
//
//   - receive.go: events arrive over Socket Mode. What may be a command is
//     filed in the inbox, and only then is the event acknowledged.
//   - message.go, typed.go: which events are messages of people, and what they
//     typed before Slack rewrote it.
//   - access.go: who is served where.
//   - answer.go: a worker takes a message from the inbox, runs the command, and
//     sees to it that the answer is posted once, whatever breaks in between.
//   - draw.go, escape.go: a reply as blocks, with nothing in it acting as markup.
//   - post.go, upload.go: the answer into the thread, in plainer forms where a
//     workspace refuses the better ones, and the file behind it.
//   - signin.go: device codes, sent to the person who asked and to nobody else,
//     and the commands that wait for them.
//   - manifest.go: what the Slack app must be allowed.
//
// Package engine keeps the inbox, the states of commands and sign-ins, and the
// files. Package slacksim is a workspace to try all of this in.
package bot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"auditbot/bot/engine"
	"auditbot/commands"
)

// A Bot serves one workspace. Its fields are set before Run is called.
type Bot struct {
	Slack  *slack.Client // with a client that has time-outs, and retries of 429
	Engine *engine.Engine
	Log    *slog.Logger
	Prefix string // what commands start with: "!"
	Access Access

	// Instances are the configured tenants as this person (a Slack user id)
	// reaches them. SignIn and Check of them are filled in by the bot.
	Instances func(user string) []commands.Instance

	self   struct{ team, user string } // the workspace's id and the bot's own user id
	people people
	codes  codes
}

// workers is how many commands run at once.
const workers = 8

// Run serves until ctx is done, and then returns nil once the commands that
// run have been answered; or until the socket fails for good, and returns why.
// Tokens that Slack does not accept are such a failure.
func (b *Bot) Run(ctx context.Context, socket *socketmode.Client) error {
	if !b.Access.Set() {
		return errors.New("nobody is allowed to ask: set access.analysts, or access.everyone: true")
	}
	if err := b.identify(ctx); err != nil {
		return err
	}
	asked := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b.people = people{users: map[string]aged[*refusal]{}, groups: map[string]aged[[]string]{}, told: map[string]time.Time{}}
	b.codes = codes{life: ctx, open: map[string]*code{}}
	b.resumeSignIns(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		defer b.codes.polling.Wait() // after the last command that can begin a sign-in
		if err := b.Engine.Work(ctx, workers, b.answer); err != nil {
			cancel(fmt.Errorf("taking commands from the inbox: %w", err))
		}
	})
	err := b.receive(ctx, socket)
	cancel(err)
	if asked.Err() != nil {
		return nil // as we were asked to
	}
	return err
}

// identify asks Slack who we are.
func (b *Bot) identify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	me, err := b.Slack.AuthTestContext(ctx)
	if err != nil {
		return fmt.Errorf("asking Slack who we are: %w", err)
	}
	if me.BotID == "" {
		return errors.New("SLACK_BOT_TOKEN is not a bot's token: it must begin with xoxb-")
	}
	b.self.team, b.self.user = me.TeamID, me.UserID
	return nil
}

// refused tells whether err is one of these refusals of Slack's.
func refused(err error, names ...string) bool {
	e, ok := errors.AsType[slack.SlackErrorResponse](err)
	if !ok {
		return false
	}
	for _, name := range names {
		if e.Err == name {
			return true
		}
	}
	return len(names) == 0
}
