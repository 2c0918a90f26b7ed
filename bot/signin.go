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

	"golang.org/x/sync/singleflight"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/bot/engine"
	"auditbot/commands"
)

// codes are the device codes that wait for somebody to type them: one at a time
// for each sign-in, by [signInKey].
//
// Each is in the bucket SignIns under key and id until all is done that follows
// from it, so that a restart goes on with it. The messages that wait for it are
// in the bucket Waiting, under key and id, too.
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

	key      string // by [signInKey]
	device   *signin.Code
	instance commands.Instance
	resumed  bool          // after a restart
	stop     func()        // ends the polling; may be called again
	over     chan struct{} // closed when Came is known

	showing sync.Mutex // held while the direct message is sent or edited
	tried   bool       // it may have been sent

	mu     sync.Mutex // held, from the first poll on, while TS and Cancelled are read or changed, and closed
	closed bool       // it is too late to cancel
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

// place is where the code is in the bucket. The next one under its key has
// another.
func (c *code) place() string { return c.key + "/" + c.ID }

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
	fresh := false
	found, err, _ := b.codes.starting.Do(key, func() (any, error) {
		open, err := b.codes.current(ctx, key)
		if open != nil || err != nil {
			return open, err
		}
		fresh = true
		return b.sendCode(ctx, t, instance)
	})
	if err != nil {
		return "", err
	}
	n := found.(*code)
	switch {
	case n.User != t.User:
		return b.whoSignsIn(ctx, key, instance), nil
	case !fresh:
		return b.pointTo(ctx, t.Message, n), nil
	case n.ts() == "":
		return "Slack has not taken the direct message with the code yet: it comes as soon as Slack does. Only you can see it.", nil
	}
	return "I have sent you a direct message with a code to sign in with. Only you can see it.", nil
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

func (c *codes) find(key string) *code {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[key]
}

// current is the open code under key, or nil. One that was cancelled is waited
// for to be over: what it may still bring is deleted then.
func (c *codes) current(ctx context.Context, key string) (*code, error) {
	for {
		open := c.find(key)
		if open == nil || !open.isCancelled() {
			return open, nil
		}
		select {
		case <-open.over:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the end of a cancelled sign-in: %w", context.Cause(ctx))
		}
	}
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

// add makes n the open code of its key, if it is the newest.
func (c *codes) add(n *code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if open := c.open[n.key]; open == nil || open.Sent.Before(n.Sent) {
		c.open[n.key] = n
	}
}

func (c *codes) remove(n *code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[n.key] == n {
		delete(c.open, n.key)
	}
}

// sendCode asks for a code, sends it to the person, and begins to poll. The
// code is written down before it is sent, and polled even if nobody knows
// whether it arrived: whoever can type it must not do so in vain, and if it has
// not arrived, it is sent again.
func (b *Bot) sendCode(ctx context.Context, t *task, instance commands.Instance) (*code, error) {
	if err := b.stillServed(ctx, t.User); err != nil {
		return nil, err
	}
	device, err := instance.Account.Start(ctx)
	if err != nil {
		return nil, err
	}
	n := &code{
		ID: rand.Text(), User: t.User, Email: t.asks.Email, Instance: instance.Name,
		Asked: askedOf(instance), TenantID: b.tenantID(ctx, instance), For: b.origin(ctx, t.Message),
		Sent: time.Now().UTC(), Sealed: device.Seal(),
		key: signInKey(instance, t.User), device: device, instance: instance,
	}
	if n.DM, err = b.openDM(ctx, t.User); err != nil {
		return nil, notSent(err)
	}
	if err := b.keepCode(ctx, n); err != nil {
		return nil, err
	}
	polling := b.openCode(n) // first: its button may be pressed as soon as it is there
	err = b.deliver(ctx, n)
	if err != nil && !passing(err) {
		return nil, errors.Join(notSent(err), b.discard(ctx, n, notSent(err)))
	}
	if err != nil {
		b.Log.Warn("sending a code; it is tried again", "instance", n.Instance, "user", n.User, "err", err)
	}
	if err := b.keepCode(ctx, n); err != nil { // now with its TS, which can be found out again
		b.Log.Warn("noting where a code stands", "err", err)
	}
	b.poll(polling, n)
	return n, nil
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
func (b *Bot) discard(ctx context.Context, n *code, why error) error {
	n.close()
	n.Came = n.failed(why, "")
	b.codes.remove(n)
	n.stop()
	close(n.over)
	return b.Engine.Bucket(engine.SignIns).Delete(ctx, n.place())
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

// keepCode makes durable what is known of a code.
func (b *Bot) keepCode(ctx context.Context, n *code) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return b.putCode(ctx, n)
}

// putCode is keepCode for who holds n.mu.
func (b *Bot) putCode(ctx context.Context, n *code) error {
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

// openCode makes n a code that can be found and cancelled. The context is that of
// its polling.
func (b *Bot) openCode(n *code) (polling context.Context) {
	polling, n.stop = context.WithCancel(b.codes.life)
	n.over = make(chan struct{})
	if n.Came == nil {
		b.codes.add(n)
	}
	return polling
}

// poll waits in the background until the person has signed in, or wants no
// sign-in any more, and does what follows from it.
func (b *Bot) poll(ctx context.Context, n *code) {
	b.codes.polling.Go(func() {
		defer n.stop()
		if n.Came != nil || b.learn(ctx, n) {
			b.settleSignIn(n)
		}
	})
}

// learn waits until it is known what came of n, and makes that durable. It is
// false if the next start has to go on.
func (b *Bot) learn(ctx context.Context, n *code) bool {
	upn, err := b.awaitSignIn(ctx, n)
	if err != nil && b.codes.life.Err() != nil {
		return false
	}
	ctx, cancel := b.lasting()
	defer cancel()
	if upn, err = b.whatCameOf(ctx, n, upn, err); errors.Is(err, errNotForgotten) {
		b.Log.Error("a cancelled sign-in; the next start tries again", "instance", n.Instance, "user", n.User, "err", err)
		return false
	}
	came := b.outcomeOf(ctx, n, upn, err)
	n.mu.Lock()
	n.Came = came
	n.mu.Unlock()
	if err := insist(ctx, func() error { return b.keepCode(ctx, n) }); err != nil {
		b.Log.Error("writing down what came of a sign-in; the next start asks again", "instance", n.Instance, "user", n.User, "err", err)
		return false
	}
	return true
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

// close ends the time in which the code can be cancelled, and tells whether it
// was.
func (n *code) close() (cancelled bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	return !n.Cancelled.IsZero()
}

// whatCameOf is what the polling ended with, corrected by what it cannot know.
// A sign-in that was cancelled while it succeeded is deleted again; if that
// cannot be done, the error is errNotForgotten.
func (b *Bot) whatCameOf(ctx context.Context, n *code, upn string, err error) (string, error) {
	if n.close() {
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

// cancelCode ends a sign-in, which outlasts a restart, and tells whether that
// was still possible.
func (b *Bot) cancelCode(ctx context.Context, n *code) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false, nil
	}
	if n.Cancelled.IsZero() {
		n.Cancelled = time.Now().UTC()
		if err := b.putCode(ctx, n); err != nil {
			n.Cancelled = time.Time{}
			return false, err
		}
	}
	n.stop()
	return true, nil
}

// withdraw ends the sign-in under way at the instance, and tells whether there
// was one.
func (b *Bot) withdraw(ctx context.Context, m Message, instance commands.Instance) (bool, error) {
	n := b.codes.find(signInKey(instance, m.User))
	if n == nil {
		return false, nil
	}
	return b.cancelCode(ctx, n)
}

// resumeSignIns goes on with the sign-ins that a restart interrupted.
func (b *Bot) resumeSignIns(ctx context.Context) error {
	bucket := b.Engine.Bucket(engine.SignIns)
	places, err := bucket.Keys(ctx)
	if err != nil {
		return fmt.Errorf("looking for interrupted sign-ins: %w", err)
	}
	for _, place := range places {
		value, _, err := bucket.Get(ctx, place)
		if errors.Is(err, engine.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("looking for interrupted sign-ins: %w", err)
		}
		n, err := b.readCode(place, value)
		if err != nil {
			b.Log.Error("resuming a sign-in", "err", err)
			continue
		}
		b.poll(b.openCode(n), n)
	}
	return nil
}

// askedOf is what a code of the instance is asked for: nobody else knows it.
func askedOf(i commands.Instance) string {
	e := i.Account.Entra
	return strings.Join([]string{e.LoginURL, e.Tenant, e.ClientID, e.Resource}, " ")
}

// readCode is a code as it goes on after a restart. Nobody is to enter it any
// more if its instance has another way to sign in by now.
func (b *Bot) readCode(place string, value []byte) (*code, error) {
	n := &code{resumed: true, tried: true}
	err := json.Unmarshal(value, n)
	if err == nil {
		n.device, err = signin.OpenCode(n.Sealed)
	}
	if err != nil {
		return nil, err
	}
	n.key = strings.TrimSuffix(place, "/"+n.ID)
	p := b.person(n.User, n.Email)
	for _, instance := range b.Instances(p) {
		if instance.Name == n.Instance && signInKey(instance, n.User) == n.key && askedOf(instance) == n.Asked && (p.Admin || !instance.Shared) {
			n.instance = instance
			return n, nil
		}
	}
	n.instance = commands.Instance{Name: n.Instance, Tenant: n.Instance}
	if n.Came == nil {
		n.Came = n.outdated()
	}
	return n, nil
}

// checkFor is how long auth-complete waits for a sign-in that is being done
// right now: somewhat more than the time between two polls.
const checkFor = 8 * time.Second

// checkSignIn says how the sign-in that t's author uses is going.
func (b *Bot) checkSignIn(ctx context.Context, t *task, instance commands.Instance) (string, error) {
	key := signInKey(instance, t.User)
	if open := b.codes.find(key); open != nil {
		select {
		case <-open.over:
			return open.Came.Result, nil
		case <-time.After(checkFor):
		case <-ctx.Done():
		}
		if open.User != t.User {
			return b.whoSignsIn(ctx, key, instance), nil
		}
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
	if open := b.codes.find(key); open != nil {
		return fmt.Sprintf("%s was sent a code for this, which is valid until %s UTC. It is shown to nobody else.", b.name(ctx, open.User), open.until())
	}
	return fmt.Sprintf("One sign-in serves everybody at %s, and only the admins of this bot begin it: %s.",
		instance.Tenant, commands.AskAdmins(b.admins(ctx), fmt.Sprintf("type %so365-auditlog-auth-start using=%s", b.Prefix, instance.Name)))
}
