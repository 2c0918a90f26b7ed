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
	Email    string    `json:"email,omitempty"` // of the user, in Slack
	Instance string    `json:"instance"`
	Asked    string    `json:"asked,omitempty"` // what the code was sent for, by [Bot.naming]
	DM       string    `json:"dm"`              // where the code was sent
	TS       string    `json:"ts,omitempty"`    // "" while that is not known
	Sent     time.Time `json:"sent"`
	Sealed   []byte    `json:"code"` // by [signin.Code.Seal]

	// Cancelled tells that whoever was sent the code wants no sign-in.
	Cancelled bool `json:"cancelled,omitempty"`

	device   *signin.Code
	instance commands.Instance
	resumed  bool          // after a restart
	stop     func()        // ends the polling; may be called again
	over     chan struct{} // closed when it is settled
	result   string        // what came of it, once it is

	mu     sync.Mutex // held, from the first poll on, while TS, Cancelled and closed are read or changed
	closed bool       // it is too late to cancel
}

func (c *code) key() string { return c.Instance + "/" + c.User }

// place is where the code is in the bucket. The next one of this person has
// another.
func (c *code) place() string { return c.key() + "/" + c.ID }

// signIn sends t's author a device code for the instance, unless one is on its
// way already, and says so in words for the thread, which do not show it.
func (b *Bot) signIn(ctx context.Context, t *task, instance commands.Instance) (string, error) {
	if instance.Account.Unattended() {
		return "This instance signs in by itself, with what its operator has set: there is nothing for you to do.", nil
	}
	open, err, _ := b.codes.starting.Do(instance.Name+"/"+t.User, func() (any, error) {
		if open := b.codes.find(instance.Name + "/" + t.User); open != nil {
			return open, nil
		}
		return (*code)(nil), b.sendCode(ctx, t, instance)
	})
	if err != nil {
		return "", err
	}
	if open := open.(*code); open != nil {
		return b.pointTo(ctx, t.Message, open), nil
	}
	return "I have sent you a direct message with a code to sign in with. Only you can see it.", nil
}

func (c *codes) find(key string) *code {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[key]
}

// byID is the open code with this id, or nil.
func (c *codes) byID(id string) *code {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.open {
		if n.ID == id {
			return n
		}
	}
	return nil
}

// sendCode asks for a code, sends it to the person, and begins to poll. The
// code is written down before it is sent, and polled even if nobody knows
// whether it arrived: whoever can type it must not do so in vain.
func (b *Bot) sendCode(ctx context.Context, t *task, instance commands.Instance) error {
	device, err := instance.Account.Start(ctx)
	if err != nil {
		return err
	}
	n := &code{
		ID: rand.Text(), User: t.User, Email: t.asks.Email, Instance: instance.Name,
		Sent: time.Now().UTC(), Sealed: device.Seal(), device: device, instance: instance,
	}
	n.Asked = b.naming(ctx, t.Message)
	if n.DM, err = b.openDM(ctx, t.User); err != nil {
		return notSent(err)
	}
	if err := b.keepCode(ctx, n); err != nil {
		return err
	}
	err = b.deliver(ctx, n)
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

// poll waits in the background until the person has signed in, or wants no
// sign-in any more.
func (b *Bot) poll(n *code) {
	ctx, stop := context.WithCancel(b.codes.life)
	n.over, n.stop = make(chan struct{}), stop
	b.codes.mu.Lock()
	b.codes.open[n.key()] = n
	b.codes.mu.Unlock()
	b.codes.polling.Go(func() {
		defer stop()
		upn, err := b.awaitSignIn(ctx, n)
		if b.codes.life.Err() != nil {
			return // the next start goes on with it
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(b.codes.life), time.Minute)
		defer cancel()
		upn, err = b.whatCameOf(ctx, n, upn, err)
		b.settleSignIn(ctx, n, upn, err)
	})
}

// awaitSignIn polls while the message with the code counts down. No edit of it
// is under way any more when it returns.
func (b *Bot) awaitSignIn(ctx context.Context, n *code) (upn string, err error) {
	if n.isCancelled() {
		return "", errSignInCancelled
	}
	over := make(chan struct{})
	var counting sync.WaitGroup
	counting.Go(func() { b.countDown(context.WithoutCancel(ctx), n, over) })
	defer counting.Wait()
	defer close(over)
	return n.instance.Account.Wait(ctx, n.device)
}

// errSignInCancelled is what comes of a sign-in whose Cancel button was
// pressed.
var errSignInCancelled = errors.New("the sign-in was cancelled")

func (n *code) isCancelled() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.Cancelled
}

// close ends the time in which the code can be cancelled, and tells whether it
// was.
func (n *code) close() (cancelled bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	return n.Cancelled
}

// whatCameOf is what the polling ended with, corrected by what it cannot know.
// A sign-in that was cancelled while it succeeded is forgotten again.
func (b *Bot) whatCameOf(ctx context.Context, n *code, upn string, err error) (string, error) {
	as, at, ok, lookErr := n.instance.Account.SignedIn(ctx)
	byThis := ok && lookErr == nil && at.After(n.Sent)
	if n.close() {
		if byThis || lookErr != nil {
			if err := n.instance.Account.Reset(ctx); err != nil {
				b.Log.Error("forgetting a sign-in that was cancelled", "instance", n.Instance, "user", n.User, "err", err)
			}
		}
		return "", errSignInCancelled
	}
	if err != nil && n.resumed && byThis { // the token may have been stored, and the code used up, right before the restart
		return as, nil
	}
	return upn, err
}

// cancelCode ends a sign-in, which outlasts a restart, and tells whether that
// was still possible.
func (b *Bot) cancelCode(ctx context.Context, n *code) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false, nil
	}
	if !n.Cancelled {
		n.Cancelled = true
		if err := b.keepCode(ctx, n); err != nil {
			n.Cancelled = false
			return false, err
		}
	}
	n.stop()
	return true, nil
}

// settleSignIn takes the code out of its message, and runs what waited for it
// or says why it will not run.
func (b *Bot) settleSignIn(ctx context.Context, n *code, upn string, err error) {
	b.codes.mu.Lock()
	if b.codes.open[n.key()] == n { // first: whoever is told that it is over may begin anew
		delete(b.codes.open, n.key())
	}
	b.codes.mu.Unlock()
	defer close(n.over)
	log := b.Log.With("instance", n.Instance, "user", n.User)
	waiting := b.waiting(ctx, n.key())
	var came outcome
	switch {
	case err == nil:
		log.Info("signed in")
		came = n.succeeded(upn, len(waiting) > 0)
	case errors.Is(err, errSignInCancelled):
		log.Info("sign-in cancelled")
		came = n.wasCancelled()
	default:
		id := rand.Text()[:8]
		log.Warn("sign-in failed", "id", id, "err", err)
		came = n.failed(err, id)
	}
	n.result = came.result
	told := section(came.text + "\n_" + time.Now().UTC().Format("15:04") + " UTC_")
	tellErr := b.replacePrompt(ctx, n, told)
	settled := b.release(ctx, n.key(), waiting, came.givenUp)
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
		for _, instance := range b.Instances(b.person(n.User, n.Email)) {
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
		return b.giveUp(ctx, t, commands.Reply{Title: "⏹ Cancelled", Text: "The command does not go on."})
	}
	why := reasonOf(need.Err)
	i := slices.IndexFunc(b.Instances(t.asks), func(i commands.Instance) bool { return i.Name == need.Instance })
	if i < 0 || t.inCircles() {
		problem := "the sign-in did not last"
		if why.problem != "" {
			problem += ": " + why.problem
		}
		return b.giveUp(ctx, t, b.explain(t, &auditlog.Refusal{
			Problem: problem,
			Advice:  "type the command again to sign in again",
			Err:     need,
		}))
	}
	instance := b.Instances(t.asks)[i]
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
	said, err := b.signIn(ctx, t, instance)
	if err != nil { // it does not wait after all; what cannot be deleted is gone in a day
		_ = b.Engine.Bucket(engine.Waiting).Delete(ctx, key+"/"+t.id)
		if err := b.note(ctx, t, func(s *state) { s.Waits = "" }); err != nil {
			return commands.Reply{}, err
		}
		return b.giveUp(ctx, t, b.explain(t, err))
	}
	return signInFirst(instance, why, said), nil
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
