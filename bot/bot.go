// Package bot is auditbot in Slack. It receives what people write, hands
// command lines to package commands, and shows the replies in the threads that
// the commands came from.
//
// # The way of one command
//
//   - sockets.go: two connections to Slack, and what ends them.
//   - links.go: which replica may have them, where there are several.
//   - receive.go: events arrive over Socket Mode. What may be a command is
//     filed in the inbox, and only then is the event acknowledged.
//   - message.go, typed.go: which events are messages of people, and what they
//     typed before Slack rewrote it.
//   - hearing.go, missed.go, late.go: up to when Slack was heard, what is read
//     after an outage, and how a command that comes late is answered.
//   - access.go: who is served where.
//   - turns.go: nobody's commands hold up those of others.
//   - answer.go: a worker takes a message from the inbox, runs the command, and
//     sees to it that the answer is posted once, whatever breaks in between.
//   - progress.go, cancel.go: what the thread shows of a command that takes a
//     while, and how it is ended.
//   - elsewhere.go: the commands that other replicas run, and how those here are
//     ended from there.
//   - draw.go, escape.go: a reply as blocks, with nothing in it acting as markup.
//   - post.go, upload.go: the answer into the thread, in plainer forms where a
//     workspace refuses the better ones, and the files behind it.
//   - pace.go: no faster than Slack allows.
//   - buttons.go: what can be pressed under an answer, and what that does.
//   - signin.go: device codes, sent to the person who asked and to nobody else,
//     and polled until it is known what came of them.
//   - codes.go: the one replica that looks after a code, and which goes on when it
//     ends.
//   - prompt.go: the direct message with a code.
//   - waiting.go, settle.go: the commands that wait for a sign-in, and what
//     follows from one that is over.
//   - forget.go: the sign-ins of people who left, and those that the settings have
//     no use for any more.
//   - metrics.go, result.go: what operators see of all this, in numbers and in
//     the log.
//   - manifest.go: what the Slack app must be allowed.
//   - doctor.go: whether the workspace is as the bot needs it.
//
// Package engine keeps the inbox, the states of commands and sign-ins, and the
// files. Package slacksim is a workspace to try all of this in.
package bot

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/slack-go/slack"

	"auditbot/bot/engine"
	"auditbot/commands"
)

// A Bot serves one workspace. Its fields are set before Run is called.
type Bot struct {
	Slack  *slack.Client // through a Pace, whose client has time-outs
	Engine *engine.Engine
	Log    *slog.Logger
	Prefix string // what commands start with: "!"
	Access Access

	// Instances are the configured tenants as this person reaches them. SignIn
	// and Check of them are filled in by the bot.
	Instances func(Person) []commands.Instance

	// Doctor looks whether everything is set up right, as an admin who asks. Nil
	// means that it cannot be asked here.
	Doctor func(context.Context, Person) []commands.Check

	Metrics *Metrics // nil if nobody wants them

	self   struct{ team, user string } // the workspace's id and the bot's own user id
	people people
	codes  codes
	tasks  tasks
	atOnce *lineup
	quick  *lineup
	long   *lineup
	hands  hands
	heard  *hearing
	life   context.Context // done when the bot is to stop
	late   context.Context // done when what is left of the commands is to be left to the next start

	shared    bool          // other replicas may work on the engine; Run sets it
	codeLease time.Duration // codeLease, but for tests

	perform func(context.Context, commands.Env, string) (commands.Reply, error) // commands.Run, but for tests

	inbox func(ctx context.Context, id string, data []byte) (fresh bool, err error) // Engine.File, but for tests

	underWay time.Duration // postTimeout, but for tests
	stopIn   time.Duration // stopPatience, but for tests
}

// When the bot is to stop, commands that are answered soon are waited for, for
// stopPatience; a sign-in that has just begun and what has just arrived from
// Slack take less. What does not heed the end of its time is given up after
// heed.
const (
	stopPatience = 20 * time.Second
	heed         = 3 * time.Second
)

// Run serves until ctx is done, and then returns nil once the commands that
// run have been answered, or, if they are long ones or take for longer than
// stopPatience, have been handed back to go on at the next start; or until Slack
// will have no more connections, and returns why. Tokens that Slack does not
// accept are such a failure.
func (b *Bot) Run(ctx context.Context, sockets Sockets) error {
	if !b.Access.Set() {
		return errors.New("nobody is allowed to ask: set access.analysts, or access.everyone: true")
	}
	if err := b.identify(ctx); err != nil {
		return unlessDone(ctx, err)
	}
	asked := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b.people = people{users: map[string]aged[profile]{}, groups: map[string]aged[[]string]{}, told: map[string]time.Time{}}
	b.shared = b.shared || !b.Engine.Owner()
	b.codes = codes{life: ctx, replica: rand.Text(), open: map[string]*code{}, ours: map[string]*code{}, seen: map[string]sight{}}
	b.tasks = tasks{running: map[string]*task{}, queued: map[string]*task{}}
	b.atOnce, b.quick, b.long = &lineup{limits: quickLimits}, &lineup{limits: quickLimits}, &lineup{limits: longLimits}
	b.life = ctx
	late, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	b.late = late
	b.underWay = cmp.Or(b.underWay, postTimeout)
	b.Metrics.watch(b)
	if b.heard == nil {
		b.heard = newHearing()
	}
	if b.perform == nil {
		b.perform = commands.Run
	}
	if b.inbox == nil {
		b.inbox = b.Engine.File
	}
	if err := b.adoptOnce(ctx); err != nil {
		cancel(err)
		b.codes.polling.Wait()
		return unlessDone(asked, err)
	}
	b.codes.polling.Go(func() { b.adoptCodes(ctx, time.Tick(b.adoptEvery())) })
	defer b.endHearing()
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { b.keepHearing(ctx) })
	running.Go(func() { b.readMissed(ctx) })
	running.Go(func() { b.forgetThoseWhoLeft(ctx, time.Tick(forgetEvery)) })
	running.Go(func() { b.endLongWaits(ctx, time.Tick(waitCheck)) })
	running.Go(func() {
		defer b.codes.polling.Wait() // after the last command that can begin a sign-in
		defer end()
		if err := b.Engine.Work(ctx, inHand, b.answer); err != nil {
			cancel(fmt.Errorf("taking commands from the inbox: %w", err))
		}
	})
	running.Go(func() {
		<-ctx.Done()
		select {
		case <-time.After(cmp.Or(b.stopIn, stopPatience)):
			end()
		case <-late.Done():
		}
	})
	if b.shared {
		l := &links{bucket: b.Engine.Bucket(engine.Links), log: b.Log, metrics: b.Metrics, apart: sockets.apart, first: make(chan struct{})}
		sockets.place = l.take
	}
	err := b.receive(ctx, sockets)
	cancel(err)
	return unlessDone(asked, err)
}

// unlessDone is err, unless we were asked to end.
func unlessDone(asked context.Context, err error) error {
	if asked.Err() != nil {
		return nil
	}
	return err
}

// seeDoctor ends what is said of a start that failed at Slack.
const seeDoctor = "; auditbot doctor says what to do"

// identify asks Slack who we are.
func (b *Bot) identify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	me, err := b.Slack.AuthTestContext(ctx)
	if err != nil {
		return fmt.Errorf("asking Slack who we are, with SLACK_BOT_TOKEN: %w"+seeDoctor, err)
	}
	if me.BotID == "" {
		return errors.New("SLACK_BOT_TOKEN is not a bot's token: it must begin with xoxb-")
	}
	b.self.team, b.self.user = me.TeamID, me.UserID
	return nil
}

// refused tells whether err is one of these refusals of Slack's, or, without
// names, any.
func refused(err error, names ...string) bool {
	e, ok := errors.AsType[slack.SlackErrorResponse](err)
	return ok && (len(names) == 0 || slices.Contains(names, e.Err))
}

// passing tells whether what failed with err may work at another try: no
// answer came, or one that has nothing to do with what was asked.
func passing(err error) bool {
	return err != nil && (!refused(err) ||
		refused(err, "internal_error", "fatal_error", "service_unavailable", "request_timeout", "ratelimited", "rate_limited"))
}

// misplaced tells whether Slack refused to have anything said in this place,
// in whatever form.
func misplaced(err error) bool {
	return refused(err, "channel_not_found", "not_in_channel", "is_archived", "is_inactive", "cannot_reply_to_message", "messages_tab_disabled",
		"restricted_action", "restricted_action_thread_locked", "restricted_action_read_only_channel", "restricted_action_non_threadable_channel",
		"restricted_action_thread_only_channel", "ekm_access_denied", "team_access_not_granted", "access_denied", "no_permission",
		"missing_scope", "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired")
}

// insist tries something until it works, Slack will never have it, or ctx is
// done.
func insist(ctx context.Context, try func() error) error {
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		err := try()
		if !passing(err) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}
