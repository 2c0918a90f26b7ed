package bot

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/bot/engine"
	"auditbot/commands"
)

// A code is a device code that was sent to somebody.
type code struct {
	ID       string    `json:"id"` // our own
	User     string    `json:"user"`
	Email    string    `json:"email,omitempty"` // of the user, in Slack
	Instance string    `json:"instance"`
	Asked    string    `json:"asked,omitempty"`     // by [askedOf]
	TenantID string    `json:"tenant_id,omitempty"` // GUID; "" if it is not known
	For      origin    `json:"for,omitzero"`        // what the code was sent for
	DM       string    `json:"dm"`                  // where the code was sent
	TS       string    `json:"ts,omitempty"`        // "" while it may not have arrived
	Sent     time.Time `json:"sent"`
	Sealed   []byte    `json:"code"` // by [signin.Code.Seal]

	// Cancelled is when somebody who may wanted no sign-in any more.
	Cancelled time.Time `json:"cancelled_at,omitzero"`

	// Came is what came of it. Once it is known, the code is not polled any
	// more, at the next start neither.
	Came *outcome `json:"came,omitempty"`

	// Owner is the replica that looks after it; "" if it was handed over.
	Owner string `json:"owner,omitempty"`

	key       string       // by [signInKey]
	place     string       // in the bucket
	revision  uint64       // there, when it was read or written last
	elsewhere bool         // another replica looks after it: this is what the bucket had
	device    *signin.Code // nil while it is asked for
	instance  commands.Instance
	resumed   bool            // after a restart
	polling   context.Context // done when it is not to be polled any more
	stop      func()          // ends that; may be called again
	free      func()          // ends that it is held
	over      chan struct{}   // closed when Came is known

	showing sync.Mutex // held while the direct message is sent or edited
	tried   bool       // it may have been sent

	mu   sync.Mutex // held while what is in the bucket is read or changed, and lost
	lost bool       // another replica goes on with it
}

// signInKey is whose sign-in at an instance it is that somebody uses: their
// own, or, where one serves all, everybody's. No id of Slack's has small
// letters.
func signInKey(i commands.Instance, user string) string {
	if i.Shared {
		return i.Name + "/all"
	}
	return i.Name + "/" + user
}

// signIn sends t's author a device code for the instance, unless one is on its
// way already, and says so in words for the thread, which do not show it. Where
// one sign-in serves all, only admins are sent one.
func (b *Bot) signIn(ctx context.Context, t *task, instance commands.Instance) (string, error) {
	key := signInKey(instance, t.User)
	switch {
	case instance.Account.Unattended():
		return "This instance signs in by itself, with what its operator has set: there is nothing for you to do.", nil
	case instance.Shared && !t.asks.Admin:
		return b.whoSignsIn(ctx, key, instance), nil
	case t.Late:
		return "", &commands.NeedSignIn{Instance: instance.Name, Err: errLate}
	case instance.Account.Expect == "":
		return "", nobodyExpected(instance, t.asks)
	}
	n, fresh, err := b.oneCode(ctx, t, instance)
	switch {
	case err != nil:
		return "", err
	case n.User != t.User:
		return b.whoSignsIn(ctx, key, instance), nil
	case !fresh:
		return b.pointTo(ctx, t.Message, n), nil
	case n.ts() == "":
		return "Slack has not taken the direct message with the code yet: it comes as soon as Slack does. Only you can see it.", nil
	}
	return "I have sent you a direct message with a code to sign in with. Only you can see it.", nil
}

// oneCode is the open code of the sign-in that t's author uses, and whether it
// was sent now. Of those who ask at the same time, in whatever replica, one
// sends it.
func (b *Bot) oneCode(ctx context.Context, t *task, instance commands.Instance) (n *code, fresh bool, err error) {
	for {
		if n, err := b.current(ctx, signInKey(instance, t.User)); n != nil || err != nil {
			return n, false, err
		}
		n, err := b.sendCode(ctx, t, instance)
		if !errors.Is(err, errTaken) && !errors.Is(err, errNotOurs) {
			return n, true, err
		}
	}
}

// nobodyExpected is the refusal of a sign-in of somebody whose account is not
// known. It comes before any code is asked for.
func nobodyExpected(instance commands.Instance, p Person) error {
	return &auditlog.Refusal{
		Problem: "it is not known which Microsoft account is yours: Slack shows me no e-mail address of yours",
		Advice: fmt.Sprintf("whoever runs this bot adds your account to the instance %s in its settings, accounts: {%s: name@domain}; "+
			"if nobody's address is seen, the Slack app lacks the scope users:read.email, and is installed again with it",
			strings.TrimSuffix(instance.Name, "-graph"), p.ID),
		Err: errors.New("no account is expected"),
	}
}

// sendCode asks for a code, sends it to the person, and begins to poll. The
// error is errTaken if somebody else does so.
func (b *Bot) sendCode(ctx context.Context, t *task, instance commands.Instance) (*code, error) {
	if err := b.stillServed(ctx, t.User); err != nil {
		return nil, err
	}
	n := &code{
		ID: rand.Text(), User: t.User, Email: t.asks.Email, Instance: instance.Name, Asked: askedOf(instance),
		key: signInKey(instance, t.User), instance: instance,
	}
	if err := b.claim(ctx, n); err != nil {
		return nil, err
	}
	if err := b.prepareCode(ctx, t, n); err != nil {
		b.discard(ctx, n, err)
		return nil, err
	}
	b.codes.add(n) // first: its button may be pressed as soon as it is there
	err := b.deliver(ctx, n)
	if err != nil && !passing(err) {
		b.discard(ctx, n, notSent(err))
		return nil, notSent(err)
	}
	if err != nil {
		b.Log.Warn("sending a code; it is tried again", "instance", n.Instance, "user", n.User, "err", err)
	}
	if err := b.keepCode(ctx, n); err != nil { // now with its TS, which can be found out again
		b.Log.Warn("noting where a code stands", "err", err)
	}
	b.poll(n)
	return n, nil
}

// prepareCode asks for the code. It is written down before it is sent, and
// polled even if nobody knows whether it arrived: whoever can type it must not
// do so in vain, and if it has not arrived, it is sent again.
func (b *Bot) prepareCode(ctx context.Context, t *task, n *code) error {
	device, err := n.instance.Account.Start(ctx)
	if err != nil {
		return err
	}
	sent := time.Now().UTC()
	tenant, asked := b.tenantID(ctx, n.instance), b.origin(ctx, t.Message)
	dm, err := b.openDM(ctx, t.User)
	if err != nil {
		return notSent(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.device, n.Sealed, n.Sent, n.TenantID, n.For, n.DM = device, device.Seal(), sent, tenant, asked, dm
	return b.putCode(ctx, n)
}

// stillServed refuses a code to somebody who is not served any more: a search
// may need a sign-in hours after its author was looked at.
func (b *Bot) stillServed(ctx context.Context, user string) error {
	ctx, cancel := context.WithTimeout(ctx, askWhoLeft)
	defer cancel()
	reason := b.whyLeft(ctx, user)
	if reason == "" {
		return nil
	}
	return &auditlog.Refusal{
		Problem: "you are not sent a code to sign in with: you are not served any more",
		Advice:  "if that is not right, ask an admin of this bot",
		Err:     errors.New(reason),
	}
}

// discard ends the sign-in of a code that cannot be sent.
func (b *Bot) discard(ctx context.Context, n *code, why error) {
	b.codes.remove(n)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterStop)
	defer cancel()
	n.mu.Lock()
	n.Came = n.failed(why, "")
	err := b.seeCode(ctx, n) // another may have its place by now
	if err == nil {
		err = b.Engine.Bucket(engine.SignIns).DeleteRevision(ctx, n.place, n.revision)
	}
	n.mu.Unlock()
	close(n.over)
	if err != nil {
		b.Log.Error("forgetting a code that could not be sent", "instance", n.Instance, "user", n.User, "err", err)
	}
	b.letGo(n, err == nil)
}

// tenantID is the instance's GUID, which the code's own request has brought; ""
// if it has not.
func (b *Bot) tenantID(ctx context.Context, instance commands.Instance) string {
	ctx, cancel := context.WithTimeout(ctx, editPatience)
	defer cancel()
	id, err := instance.Account.Entra.Resolve(ctx)
	if err != nil {
		b.Log.Warn("asking for the id of a tenant", "instance", instance.Name, "err", err)
	}
	return id
}

func notSent(err error) error {
	return &auditlog.Refusal{
		Problem: "you could not be sent a direct message, and a code is shown nowhere else",
		Advice:  "open a direct message with me and write something; if that is not possible, an admin of this workspace allows the app's Messages tab",
		Err:     err,
	}
}

// poll waits in the background until the person has signed in, or wants no
// sign-in any more, and does what follows from it.
func (b *Bot) poll(n *code) {
	b.codes.polling.Go(func() {
		b.letGo(n, (n.Came != nil || b.learn(n)) && b.settleSignIn(n))
	})
}

// learn waits until it is known what came of n, and makes that durable. It is
// false if the next start has to go on, or another replica does.
func (b *Bot) learn(n *code) bool {
	upn, err := b.awaitSignIn(n.polling, n)
	if n.isLost() || err != nil && b.codes.life.Err() != nil {
		return false
	}
	ctx, cancel := b.lasting()
	defer cancel()
	log := b.Log.With("instance", n.Instance, "user", n.User)
	for {
		who, why := b.whatCameOf(ctx, n, upn, err)
		if errors.Is(why, errNotForgotten) {
			log.Error("a cancelled sign-in; the next start tries again", "err", why)
			return false
		}
		cancelled := errors.Is(why, errSignInCancelled)
		keepErr := b.keepOutcome(ctx, n, cancelled, b.outcomeOf(ctx, n, who, why))
		if errors.Is(keepErr, errCrossed) && !cancelled {
			continue
		}
		if keepErr != nil {
			log.Error("writing down what came of a sign-in; whoever goes on with it asks again", "err", keepErr)
		}
		return keepErr == nil
	}
}

// keepOutcome makes durable what came of n, which was cancelled or not. The
// error is errCrossed if that is not so any more.
func (b *Bot) keepOutcome(ctx context.Context, n *code, cancelled bool, came *outcome) error {
	return insistOnCode(ctx, func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		if cancelled == n.Cancelled.IsZero() {
			return errCrossed
		}
		n.Came = came
		return b.putCode(ctx, n)
	})
}

// awaitSignIn polls while the message with the code counts down. No edit of it
// is under way any more when it returns. Without an error, the sign-in is
// stored, though ctx may have ended. A panic is an error: it would come again at
// each start.
func (b *Bot) awaitSignIn(ctx context.Context, n *code) (upn string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if n.resumed {
		b.cancelIfLeft(ctx, n)
	}
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

var (
	// errSignInCancelled is what comes of a sign-in whose Cancel button was
	// pressed.
	errSignInCancelled = errors.New("the sign-in was cancelled")

	errNotForgotten = errors.New("what it gave cannot be deleted")
)

func (n *code) isCancelled() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.Cancelled.IsZero()
}

// isLost tells whether another replica goes on with n.
func (n *code) isLost() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost
}

// whatCameOf is what the polling ended with, corrected by what it cannot know.
// A sign-in that was cancelled while it succeeded is deleted again; if that
// cannot be done, the error is errNotForgotten.
func (b *Bot) whatCameOf(ctx context.Context, n *code, upn string, err error) (string, error) {
	if n.isCancelled() {
		if resetErr := insist(ctx, func() error { return n.undo(ctx, err == nil) }); resetErr != nil {
			return "", fmt.Errorf("%w: %w", errNotForgotten, resetErr)
		}
		return "", errSignInCancelled
	}
	if err != nil && n.resumed { // the token may have been stored, and the code used up, right before the restart
		if as, at, ok, lookErr := n.instance.Account.SignedIn(ctx); ok && lookErr == nil && at.After(n.Sent) {
			return as, nil
		}
	}
	return upn, err
}

// lateToken is more than a poll that is under way when its code is cancelled can
// take until what it brings is stored.
const lateToken = time.Minute

// undo deletes what a cancelled code has brought, if it has. A sign-in from
// before the code, or after it was cancelled, is another's.
func (n *code) undo(ctx context.Context, stored bool) error {
	_, at, ok, err := n.instance.Account.SignedIn(ctx)
	own := ok && at.After(n.Sent) && at.Before(n.Cancelled.Add(lateToken))
	if !stored && !own && err == nil {
		return nil
	}
	return n.instance.Account.Reset(ctx)
}

// cancelCode ends a sign-in, whichever replica looks after it, and tells whether
// that was still possible. It outlasts a restart.
func (b *Bot) cancelCode(ctx context.Context, n *code) (bool, error) {
	for {
		stored, err := b.storedCode(ctx, n.place)
		if err != nil {
			return false, err
		}
		if stored == nil || stored.ID != n.ID || stored.Came != nil {
			return false, nil
		}
		if stored.Cancelled.IsZero() {
			stored.Cancelled = time.Now().UTC()
			err = b.putOver(ctx, stored)
		}
		if errors.Is(err, engine.ErrConflict) {
			continue
		}
		if err == nil {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.Cancelled = stored.Cancelled
			if !n.elsewhere {
				n.stop()
			}
		}
		return err == nil, err
	}
}

// putOver changes a code in the bucket, whichever replica looks after it.
func (b *Bot) putOver(ctx context.Context, stored *code) error {
	value, err := json.Marshal(stored)
	if err == nil {
		_, err = b.Engine.Bucket(engine.SignIns).Update(ctx, stored.place, value, stored.revision)
	}
	if err != nil {
		return fmt.Errorf("writing down a sign-in: %w", err)
	}
	return nil
}

// withdraw ends the sign-in under way at the instance, and tells whether there
// was one.
func (b *Bot) withdraw(ctx context.Context, m Message, instance commands.Instance) (bool, error) {
	n, err := b.openCode(ctx, signInKey(instance, m.User))
	if n == nil || err != nil {
		return false, err
	}
	return b.cancelCode(ctx, n)
}

// askedOf is what a code of the instance is asked for: nobody else knows it.
func askedOf(i commands.Instance) string {
	e := i.Account.Entra
	return strings.Join([]string{e.LoginURL, e.Tenant, e.ClientID, e.Resource}, " ")
}

// fit gives a code that goes on after a restart its instance. Nobody is to enter
// it any more if that has another way to sign in by now.
func (b *Bot) fit(n *code) {
	p := b.person(n.User, n.Email)
	for _, instance := range b.Instances(p) {
		if instance.Name == n.Instance && signInKey(instance, n.User) == n.key && askedOf(instance) == n.Asked && (p.Admin || !instance.Shared) {
			n.instance = instance
			return
		}
	}
	n.instance = commands.Instance{Name: n.Instance, Tenant: n.Instance}
	if n.Came == nil {
		n.Came = n.outdated()
	}
}

// checkFor is how long auth-complete waits for a sign-in that is being done
// right now: somewhat more than the time between two polls.
const checkFor = 8 * time.Second

// checkSignIn says how the sign-in that t's author uses is going.
func (b *Bot) checkSignIn(ctx context.Context, t *task, instance commands.Instance) (string, error) {
	key := signInKey(instance, t.User)
	open, err := b.openCode(ctx, key)
	if err != nil {
		return "", err
	}
	if open != nil {
		checking, cancel := context.WithTimeout(ctx, checkFor)
		came, over := b.endOf(checking, open)
		cancel()
		switch {
		case came != nil:
			return came.Result, nil
		case over:
			open = nil
		case open.User != t.User:
			return b.whoSignsIn(ctx, key, instance), nil
		}
	}
	if open != nil {
		return fmt.Sprintf("Not done yet. The code that I sent you in a direct message at %s UTC is valid until %s UTC; I go on by myself once you have entered it.",
			open.Sent.Format("15:04"), open.until()), nil
	}
	upn, _, ok, err := instance.Account.SignedIn(ctx)
	switch {
	case err != nil:
		return "", fmt.Errorf("looking whether somebody is signed in: %w", err)
	case ok:
		return "Signed in as " + instance.Who(upn) + ".", b.releaseAll(ctx, key) // who signed in may have done so on a terminal
	case instance.Account.Unattended():
		return "This instance signs in by itself, with the first command that needs it.", nil
	case instance.Shared && !t.asks.Admin:
		return "Nobody is signed in. " + b.whoSignsIn(ctx, key, instance), nil
	}
	return "You are not signed in, and no sign-in is under way: " + b.Prefix + "o365-auditlog-auth-start begins one.", nil
}

// until is when the code ends, for people.
func (c *code) until() string { return c.device.Expires.UTC().Format("15:04") }

// whoSignsIn says who is signing in at an instance where one sign-in serves
// all, or who can.
func (b *Bot) whoSignsIn(ctx context.Context, key string, instance commands.Instance) string {
	open, err := b.openCode(ctx, key)
	if err != nil {
		b.Log.Warn("looking who signs in", "instance", instance.Name, "err", err)
	}
	if open != nil {
		return fmt.Sprintf("%s was sent a code for this, which is valid until %s UTC. It is shown to nobody else.", b.name(ctx, open.User), open.until())
	}
	return fmt.Sprintf("One sign-in serves everybody at %s, and only the admins of this bot begin it: %s.",
		instance.Tenant, commands.AskAdmins(b.admins(ctx), fmt.Sprintf("type %so365-auditlog-auth-start using=%s", b.Prefix, instance.Name)))
}
