package bot

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slack-go/slack"
	"golang.org/x/sync/singleflight"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/bot/engine"
	"auditbot/commands"
)

// codes are the device codes that wait for somebody to type them: one per
// person and instance at a time, under the key "instance/user".
//
// Each is in the bucket SignIns while it is polled, under "instance/user/id", so
// that a restart goes on with it, and the messages that wait for it are in the
// bucket Waiting, under "instance/user/id".
type codes struct {
	life     context.Context // of the bot: polling outlives the command that began it
	polling  sync.WaitGroup
	starting singleflight.Group

	mu   sync.Mutex
	open map[string]*code
}

// A code is a device code that was sent to somebody.
type code struct {
	ID       string    `json:"id"` // our own
	User     string    `json:"user"`
	Instance string    `json:"instance"`
	DM       string    `json:"dm"`           // where the code was sent
	TS       string    `json:"ts,omitempty"` // "" while that is not known
	Sent     time.Time `json:"sent"`
	Sealed   []byte    `json:"code"` // by [signin.Code.Seal]

	device   *signin.Code
	instance commands.Instance
	resumed  bool          // after a restart
	over     chan struct{} // closed when it is settled
	result   string        // what came of it, once it is
}

func (c *code) key() string { return c.Instance + "/" + c.User }

// place is where the code is in the bucket. The next one of this person has
// another.
func (c *code) place() string { return c.key() + "/" + c.ID }

// signIn sends m's author a device code for the instance, unless one is on its
// way already, and says so in words for the thread, which do not show it.
func (b *Bot) signIn(ctx context.Context, m Message, instance commands.Instance) (string, error) {
	if instance.Account.Password != "" {
		return "This instance signs in with a password that its operator has set: there is nothing for you to do.", nil
	}
	said, err, _ := b.codes.starting.Do(instance.Name+"/"+m.User, func() (any, error) {
		if open := b.codes.find(instance.Name + "/" + m.User); open != nil {
			return fmt.Sprintf("The code that I sent you in a direct message at %s UTC is still valid, until %s UTC.",
				open.Sent.Format("15:04"), open.device.Expires.UTC().Format("15:04")), nil
		}
		if err := b.sendCode(ctx, m, instance); err != nil {
			return "", err
		}
		return "I have sent you a direct message with a code to sign in with. Only you can see it.", nil
	})
	return said.(string), err
}

func (c *codes) find(key string) *code {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[key]
}

// sendCode asks for a code, sends it to the person, and begins to poll. The
// code is written down before it is sent, and polled even if nobody knows
// whether it arrived: whoever can type it must not do so in vain.
func (b *Bot) sendCode(ctx context.Context, m Message, instance commands.Instance) error {
	device, err := instance.Account.Start(ctx)
	if err != nil {
		return err
	}
	n := &code{ID: rand.Text(), User: m.User, Instance: instance.Name, Sent: time.Now().UTC(), Sealed: device.Seal(), device: device, instance: instance}
	if n.DM, err = b.openDM(ctx, m.User); err != nil {
		return notSent(err)
	}
	if err := b.keepCode(ctx, n); err != nil {
		return err
	}
	err = b.deliver(ctx, m, n)
	if err != nil && !passing(err) {
		return errors.Join(notSent(err), b.Engine.Bucket(engine.SignIns).Delete(ctx, n.place()))
	}
	if err := b.keepCode(ctx, n); err != nil { // now with its TS, which can be found out again
		b.Log.Warn("noting where a code stands", "err", err)
	}
	b.poll(n)
	if err != nil {
		return notSent(err)
	}
	return nil
}

func (b *Bot) keepCode(ctx context.Context, n *code) error {
	value, err := json.Marshal(n)
	if err == nil {
		_, err = b.Engine.Bucket(engine.SignIns).Put(ctx, n.place(), value)
	}
	if err != nil {
		return fmt.Errorf("writing down a sign-in: %w", err)
	}
	return nil
}

func notSent(err error) error {
	return &auditlog.Refusal{
		Problem: "you could not be sent a direct message, and a code is shown nowhere else",
		Advice:  "open a direct message with me and write something; if that is not possible, an admin of this workspace allows the app's Messages tab",
		Err:     err,
	}
}

// codeEvent marks the direct messages with a code.
const codeEvent = "auditbot_code"

// deliver sends the direct message, and does so again if it may not have
// arrived.
func (b *Bot) deliver(ctx context.Context, m Message, n *code) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	mark := slack.SlackMetadata{EventType: codeEvent, EventPayload: map[string]any{"id": n.ID}}
	tried := false
	return insist(ctx, func() (err error) {
		if tried && b.findPrompt(ctx, n) {
			return nil
		}
		tried = true
		n.TS, err = b.say(ctx, n.DM, "", b.prompt(m, n), mark)
		return err
	})
}

// findPrompt looks for the direct message with the code where it is not known
// whether there is one.
func (b *Bot) findPrompt(ctx context.Context, n *code) bool {
	history, err := b.Slack.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{
		ChannelID: n.DM, Limit: 100, IncludeAllMetadata: true,
	})
	if err != nil {
		b.Log.Warn("looking for a code's message", "err", err)
		return false
	}
	for _, m := range history.Messages {
		if m.Metadata.EventType == codeEvent && m.Metadata.EventPayload["id"] == n.ID {
			n.TS = m.Timestamp
			return true
		}
	}
	return false
}

// prompt is the direct message with the code.
func (b *Bot) prompt(m Message, n *code) form {
	where := "here"
	if !m.Direct() {
		where = "in <#" + m.Channel + ">"
	}
	page := mrkdwn(n.device.URL)
	return section(fmt.Sprintf("🔑 *Sign in to %s*, as you asked %s at %s UTC.\n\n"+
		"1. Open <%s|%s>\n2. Enter the code `%s`\n\nThe code is valid until %s UTC.\n\n"+
		"_I send a code only to somebody who has just asked me for one. If that was not you, do not enter it, and tell your security team: "+
		"whoever enters it lets this bot search the audit log in their name._",
		mrkdwn(n.instance.Tenant), where, m.Sent().Format("15:04"), page, page, mrkdwn(string(n.device.UserCode)), n.device.Expires.UTC().Format("15:04")))
}

// poll waits in the background until the person has signed in.
func (b *Bot) poll(n *code) {
	n.over = make(chan struct{})
	b.codes.mu.Lock()
	b.codes.open[n.key()] = n
	b.codes.mu.Unlock()
	b.codes.polling.Go(func() {
		upn, err := n.instance.Account.Wait(b.codes.life, n.device)
		if b.codes.life.Err() != nil {
			return // the next start goes on with it
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(b.codes.life), time.Minute)
		defer cancel()
		if err != nil && n.resumed {
			// The token may have been stored, and the code used up, right before the restart.
			if as, at, ok, lookErr := n.instance.Account.SignedIn(ctx); ok && lookErr == nil && at.After(n.Sent) {
				upn, err = as, nil
			}
		}
		b.settleSignIn(ctx, n, upn, err)
	})
}

// settleSignIn takes the code out of its message, and runs what waited for it
// or says why it will not run.
func (b *Bot) settleSignIn(ctx context.Context, n *code, upn string, err error) {
	b.codes.mu.Lock()
	delete(b.codes.open, n.key()) // first: whoever is told that it is over may begin anew
	b.codes.mu.Unlock()
	defer close(n.over)
	log := b.Log.With("instance", n.Instance, "user", n.User)
	waiting := b.waiting(ctx, n.key())
	text := ""
	if err == nil {
		log.Info("signed in")
		n.result = "Signed in to " + n.instance.Tenant + " as " + upn + "."
		text = "✅ " + mrkdwn(n.result)
		if len(waiting) > 0 {
			text += " What waited for this runs now."
		}
	} else {
		id := rand.Text()[:8]
		log.Warn("sign-in failed", "id", id, "err", err)
		problem, advice := "the log has the reason under "+id, ""
		if refusal, ok := errors.AsType[*auditlog.Refusal](err); ok {
			problem, advice = refusal.Problem, refusal.Advice
		}
		n.result = "Not signed in to " + n.instance.Tenant + ": " + problem + "."
		text = "❌ " + mrkdwn(n.result) + "\n" + mrkdwn(commands.Sentence(advice))
	}
	told := section(text + "\n_" + time.Now().UTC().Format("15:04") + " UTC_")
	tellErr := b.replacePrompt(ctx, n, told)
	var settled bool
	if err == nil {
		settled = b.release(ctx, n.key(), waiting, "")
	} else {
		settled = b.release(ctx, n.key(), waiting, "❌ "+n.result)
	}
	if passing(tellErr) {
		tellErr = insist(ctx, func() error { return b.replacePrompt(ctx, n, told) })
	}
	if tellErr != nil {
		log.Error("taking a code out of its message", "err", tellErr)
	}
	if !settled || passing(tellErr) {
		return // the next start tries again
	}
	if err := b.Engine.Bucket(engine.SignIns).Delete(ctx, n.place()); err != nil {
		log.Error("forgetting a sign-in that is over", "err", err)
	}
}

// replacePrompt takes the code out of its message, and says instead what came
// of it.
func (b *Bot) replacePrompt(ctx context.Context, n *code, f form) error {
	if n.TS == "" && !b.findPrompt(ctx, n) {
		_, err := b.say(ctx, n.DM, "", f, slack.SlackMetadata{})
		return err
	}
	return b.update(ctx, n.DM, n.TS, f)
}

// resumeSignIns goes on with the sign-ins that a restart interrupted.
func (b *Bot) resumeSignIns(ctx context.Context) {
	bucket := b.Engine.Bucket(engine.SignIns)
	keys, err := bucket.Keys(ctx)
	if err != nil {
		b.Log.Error("looking for interrupted sign-ins", "err", err)
		return
	}
	for _, key := range keys {
		value, _, err := bucket.Get(ctx, key)
		var n code
		if err == nil {
			err = json.Unmarshal(value, &n)
		}
		if err == nil {
			n.device, err = signin.OpenCode(n.Sealed)
		}
		if err != nil {
			b.Log.Error("resuming a sign-in", "err", err)
			continue
		}
		for _, instance := range b.Instances(n.User) {
			if instance.Name == n.Instance {
				n.instance, n.resumed = instance, true
				b.poll(&n)
			}
		}
	}
}

// checkFor is how long auth-complete waits for a sign-in that is being done
// right now: somewhat more than the time between two polls.
const checkFor = 8 * time.Second

// checkSignIn says how m's author's sign-in is going.
func (b *Bot) checkSignIn(ctx context.Context, m Message, instance commands.Instance) (string, error) {
	if open := b.codes.find(instance.Name + "/" + m.User); open != nil {
		select {
		case <-open.over:
			return open.result, nil
		case <-time.After(checkFor):
		case <-ctx.Done():
		}
		return fmt.Sprintf("Not done yet. The code that I sent you in a direct message at %s UTC is valid until %s UTC; I go on by myself once you have entered it.",
			open.Sent.Format("15:04"), open.device.Expires.UTC().Format("15:04")), nil
	}
	upn, _, ok, err := instance.Account.SignedIn(ctx)
	if err != nil {
		return "", fmt.Errorf("looking whether somebody is signed in: %w", err)
	}
	if !ok {
		return "You are not signed in, and no sign-in is under way: " + b.Prefix + "o365-auditlog-auth-start begins one.", nil
	}
	return "Signed in as " + upn + ".", nil
}

// soon is how long a command runs that its sign-in has surely brought nowhere.
const soon = time.Minute

// inCircles tells whether the command in t needs a sign-in again although the
// one before has not brought it any further.
func (t *task) inCircles() bool {
	return t.Resumed > 0 && t.state.Waits == "" && !t.told.Load() && time.Since(t.began) < soon
}

// waitForSignIn lets the command in t wait for its author to sign in, as often
// as it gets further by that.
func (b *Bot) waitForSignIn(ctx context.Context, t *task, need *commands.NeedSignIn) (commands.Reply, error) {
	if t.isCancelled() {
		return commands.Reply{}, errCancelled
	}
	i := slices.IndexFunc(b.Instances(t.User), func(i commands.Instance) bool { return i.Name == need.Instance })
	if i < 0 || t.inCircles() {
		return b.giveUp(ctx, t, b.explain(t, &auditlog.Refusal{
			Problem: "the sign-in did not last",
			Advice:  "type the command again to sign in again",
			Err:     need,
		}))
	}
	instance := b.Instances(t.User)[i]
	// From here on it is not run as this item any more: a sign-in may release
	// it at any moment, under an id of its own.
	if err := b.note(ctx, t, func(s *state) { s.Waits = instance.Name }); err != nil {
		return commands.Reply{}, err
	}
	waiting := t.Message
	waiting.Resumed++
	value, err := json.Marshal(waiting)
	key := instance.Name + "/" + t.User
	if err == nil {
		_, err = b.Engine.Bucket(engine.Waiting).Put(ctx, key+"/"+t.id, value)
	}
	if err != nil {
		return commands.Reply{}, fmt.Errorf("letting a command wait: %w", err)
	}
	if upn, _, ok, err := instance.Account.SignedIn(ctx); ok && err == nil { // just now
		if !b.release(ctx, key, b.waiting(ctx, key), "") {
			return commands.Reply{}, errors.New("putting a command that waited into the inbox")
		}
		return commands.Reply{Title: "🔑 Signed in as " + upn, Text: "This command runs now."}, nil
	}
	said, err := b.signIn(ctx, t.Message, instance)
	if err != nil { // it does not wait after all; what cannot be deleted is gone in a day
		_ = b.Engine.Bucket(engine.Waiting).Delete(ctx, key+"/"+t.id)
		if err := b.note(ctx, t, func(s *state) { s.Waits = "" }); err != nil {
			return commands.Reply{}, err
		}
		return b.giveUp(ctx, t, b.explain(t, err))
	}
	return commands.Reply{
		Title: "🔑 Sign in to " + instance.Tenant + " first",
		Text:  said + " This command runs by itself as soon as you have signed in.",
	}, nil
}

// giveUp answers a command that does not get the sign-in that it needs: with
// what it had found until then and, in front of that, told; or with told alone
// if that is nothing. The error is [errStopping].
func (b *Bot) giveUp(ctx context.Context, t *task, told commands.Reply) (commands.Reply, error) {
	if !t.long() || t.state.Waits != "" { // what waits may run elsewhere by now
		return told, nil
	}
	t.cancel() // so that it asks Microsoft for nothing more
	found, err := b.try(ctx, t)
	switch {
	case errors.Is(err, errStopping):
		return commands.Reply{}, err
	case err != nil:
		t.log.Warn("answering with what had been found", "err", err)
		return told, nil
	case found.Verdict == nil || found.Verdict.Fetched == 0:
		return told, nil
	}
	found.Text = strings.Join([]string{told.Title, told.Text, "What it had found until then is here; typed again, it begins anew.", found.Text}, "\n")
	return found, nil
}

// release puts what waited under key into the inbox, to run or, if there is a
// line why its sign-in did not come, to be given up. It tells whether all of it
// is there; what is not waits on.
func (b *Bot) release(ctx context.Context, key string, waiting []Message, why string) (all bool) {
	all = true
	for _, m := range waiting {
		m.GivenUp = why
		if err := insist(ctx, func() error { return b.enqueue(ctx, m) }); err != nil {
			b.Log.Error("running a command that waited", "err", err)
			all = false
			continue
		}
		b.forget(ctx, key, m)
	}
	return all
}

func (b *Bot) forget(ctx context.Context, key string, m Message) {
	m.Resumed-- // as it was when it began to wait
	if err := b.Engine.Bucket(engine.Waiting).Delete(ctx, key+"/"+m.ID()); err != nil {
		b.Log.Error("forgetting a command that waited", "err", err)
	}
}

// waiting are the messages that wait under key, in the order in which they
// were written.
func (b *Bot) waiting(ctx context.Context, key string) []Message {
	bucket := b.Engine.Bucket(engine.Waiting)
	keys, err := bucket.Keys(ctx)
	if err != nil {
		b.Log.Error("looking for commands that wait", "err", err)
	}
	var found []Message
	for _, k := range keys {
		if !strings.HasPrefix(k, key+"/") {
			continue
		}
		value, _, err := bucket.Get(ctx, k)
		var m Message
		if err == nil {
			err = json.Unmarshal(value, &m)
		}
		if err != nil {
			b.Log.Error("reading a command that waits", "err", err)
			continue
		}
		found = append(found, m)
	}
	slices.SortFunc(found, func(a, b Message) int { return cmp.Compare(a.TS, b.TS) })
	return found
}
