package bot

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"auditbot/bot/engine"
	"auditbot/commands"
)

// Why the context of a command ends before its time.
var (
	errStopping  = errors.New("auditbot is stopping: the command goes on at the next start")
	errCancelled = errors.New("the command was cancelled and took no notice")
)

// grace is for how long a command that was cancelled may go on, and longGrace
// the same for those that write down what they have found.
const (
	grace     = 10 * time.Second
	longGrace = 2 * time.Minute
)

// tasks are the commands that run in this process.
type tasks struct {
	mu      sync.Mutex
	running map[string]*task
	queued  map[string]*task // that wait for their turn
}

func (k *tasks) begin(t *task) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.running[t.id] = t
	delete(k.queued, t.id)
}

func (k *tasks) queue(t *task) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.queued[t.id] = t
}

// drop forgets a command that waits for its turn no longer.
func (k *tasks) drop(t *task) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.queued[t.id] == t {
		delete(k.queued, t.id)
	}
}

// find is the command with this id if it runs or waits for its turn, or nil.
func (k *tasks) find(id string) *task {
	k.mu.Lock()
	defer k.mu.Unlock()
	return cmp.Or(k.running[id], k.queued[id])
}

// end is called when the command does not run any more: from then on its
// worker alone changes its state.
func (k *tasks) end(t *task) {
	k.mu.Lock()
	if k.running[t.id] == t { // else another worker has it by now
		delete(k.running, t.id)
	}
	k.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
}

// of are the commands that run or wait for a place and are ok, the oldest
// first.
func (k *tasks) of(ok func(*task) bool) []*task {
	k.mu.Lock()
	defer k.mu.Unlock()
	var found []*task
	for _, all := range []map[string]*task{k.running, k.queued} {
		for _, t := range all {
			if ok(t) {
				found = append(found, t)
			}
		}
	}
	slices.SortFunc(found, func(a, b *task) int { return a.Sent().Compare(b.Sent()) })
	return found
}

// bound is ctx until the command in t has to end: when it has run for too
// long; a while after it was cancelled, if it takes no notice; and, if it goes
// on after a restart, when the bot stops. A long command that has run for too
// long is cancelled, so that it answers with what it has.
func (b *Bot) bound(ctx context.Context, t *task) (context.Context, func()) {
	most, after := t.patience(), grace
	var stopping <-chan struct{}
	var enough, late <-chan time.Time
	if t.long() {
		most, after = longPatience+2*longGrace, longGrace
		stopping, enough = b.life.Done(), time.After(max(0, longPatience-time.Since(t.began)))
	}
	ctx, release := context.WithTimeout(ctx, most)
	ctx, end := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for cancelled := t.cancelled; ; {
			select {
			case <-ctx.Done():
				return
			case <-stopping:
				end(errStopping)
			case <-enough:
				t.overtime = true
				t.cancel()
			case <-cancelled:
				cancelled, late = nil, time.After(after)
			case <-late:
				end(errCancelled)
			}
		}
	})
	return ctx, func() { end(nil); watching.Wait(); release() }
}

// stop makes t end with what it has, and tells whether it still ran. That it
// was cancelled outlasts a restart.
func (b *Bot) stop(ctx context.Context, t *task) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return false, nil
	}
	if !t.state.Cancelled {
		t.state.Cancelled = true
		if err := b.save(ctx, t); err != nil {
			t.state.Cancelled = false
			return false, err
		}
	}
	t.cancel()
	return true, nil
}

// handle is the short id of a command, which is shown and typed. It is the
// same before and after the sign-ins that the command waited for.
func (m Message) handle() string {
	sum := sha256.Sum256([]byte(m.Origin()))
	return base32.StdEncoding.EncodeToString(sum[:])[:6]
}

// mayCancel tells whether somebody may cancel what asker asked for.
func (b *Bot) mayCancel(user, asker string) bool {
	return user == asker || slices.Contains(b.Access.Admins, user)
}

// cancelTyped is the command cancel in by: it stops the commands of by's
// author, or, with an id, the one that has it.
func (b *Bot) cancelTyped(ctx context.Context, by *task, id string) (string, error) {
	meant := func(m Message) bool {
		return m.User == by.User && id == "" || id != "" && strings.EqualFold(m.handle(), id)
	}
	found, err := b.listings(ctx, func(m Message) bool { return m.ID() != by.id && meant(m) })
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(found, func(l listing) bool { return !b.mayCancel(by.User, l.User) }) {
		return "", &commands.Mistake{Problem: "that command is somebody else's", Hint: "who asked for it can cancel it, and so can the admins of this bot"}
	}
	var stopped []listing
	for _, l := range slices.Backward(found) { // what waits first, or it would begin in the place of what was cancelled
		_, ran, err := b.cancelByID(ctx, l.Item, by.User)
		if err != nil {
			return "", err
		}
		if ran {
			stopped = slices.Insert(stopped, 0, l)
		}
	}
	waited, err := b.endWaiting(ctx, by.asks, meant)
	if err != nil {
		return "", err
	}
	if len(stopped)+waited == 0 && id != "" {
		return "", &commands.Mistake{Problem: "no command " + id + " is running", Hint: "its id stands in the message that shows how far it is; " + b.Prefix + "cancel alone stops all of yours"}
	}
	return b.whatWasCancelled(stopped, waited), nil
}

// whatWasCancelled says what cancel did.
func (b *Bot) whatWasCancelled(stopped []listing, waited int) string {
	var said []string
	var names []string
	for _, l := range stopped {
		names = append(names, fmt.Sprintf("%s%s of %s UTC (%s)", b.Prefix, l.Name, l.Sent().Format("15:04:05"), l.handle()))
	}
	switch len(stopped) {
	case 0:
	case 1:
		said = append(said, "1 command is being cancelled: "+names[0]+". What it found so far is answered in its thread.")
	default:
		said = append(said, fmt.Sprintf("%d commands are being cancelled: %s. What they found so far is answered in their threads.", len(stopped), strings.Join(names, ", ")))
	}
	switch waited {
	case 0:
	case 1:
		said = append(said, "1 command that waited for a sign-in is cancelled. If it had found something, that is answered in its thread.")
	default:
		said = append(said, fmt.Sprintf("%d commands that waited for a sign-in are cancelled. If they had found something, that is answered in their threads.", waited))
	}
	if len(said) == 0 {
		return "None of your commands is running."
	}
	return strings.Join(said, "\n")
}

// endWaiting gives up those commands that wait for a sign-in, are meant and may
// be cancelled by p, and tells how many.
func (b *Bot) endWaiting(ctx context.Context, p Person, meant func(Message) bool) (n int, err error) {
	mayEnd := func(m Message) bool { return meant(m) && b.mayCancel(p.ID, m.User) }
	for _, instance := range b.Instances(p) {
		ended, err := b.release(ctx, signInKey(instance, p.ID), mayEnd, "⏹ Cancelled while it waited for a sign-in.")
		if n += ended; err != nil {
			return n, err
		}
	}
	return n, nil
}

// cancelPressed stops the command or the sign-in whose Cancel button was
// pressed. That it works shows in the message that has the button; all else is
// said to whoever pressed it, and to nobody else.
func (b *Bot) cancelPressed(ctx context.Context, by *task) error {
	if id, ok := strings.CutPrefix(by.Cancels, codeCancel); ok {
		return b.codeCancelPressed(ctx, by, id)
	}
	asker, ran, err := b.cancelByID(ctx, by.Cancels, by.User)
	switch {
	case err != nil:
		return err
	case asker != "" && !b.mayCancel(by.User, asker):
		return b.refuse(ctx, by, &refusal{reason: "the command is somebody else's", tell: "Only <@" + asker + ">, who asked for this, and the admins of this bot can cancel it."})
	case !ran:
		return b.refuse(ctx, by, &refusal{reason: "the command does not run", tell: "There is nothing to cancel any more: this command is over."})
	}
	return nil
}

// codeCancelPressed ends a sign-in for the one who was sent its code. Admins
// cannot do so: nobody but them has the message.
func (b *Bot) codeCancelPressed(ctx context.Context, by *task, id string) error {
	n, err := b.codeByID(ctx, id)
	if err != nil {
		return err
	}
	if n != nil && n.User != by.User {
		return b.refuse(ctx, by, &refusal{reason: "the code is somebody else's", tell: "Only whoever was sent a code can cancel it."})
	}
	ended := false
	if n != nil {
		if ended, err = b.cancelCode(ctx, n); err != nil {
			return err
		}
	}
	if !ended {
		return b.refuse(ctx, by, &refusal{reason: "the sign-in is over", tell: "There is nothing to cancel any more: this sign-in is over."})
	}
	return nil
}

// cancelByID stops a command if user may do that. It may be one that does not
// run here, since another replica has it, it waits for a place, or a restart has
// interrupted it: it ends when it notices, or when it runs again.
func (b *Bot) cancelByID(ctx context.Context, id, user string) (asker string, ran bool, err error) {
	if t := b.tasks.find(id); t != nil {
		if !b.mayCancel(user, t.User) {
			return t.User, false, nil
		}
		ran, err := b.stop(ctx, t)
		return t.User, ran, err
	}
	return b.cancelElsewhere(ctx, id, user)
}

// cancelElsewhere is cancelByID for a command that does not run here.
func (b *Bot) cancelElsewhere(ctx context.Context, id, user string) (asker string, ran bool, err error) {
	for {
		asker, ran, err = b.tryCancel(ctx, id, user)
		if !errors.Is(err, engine.ErrConflict) { // its state has changed meanwhile
			return asker, ran, err
		}
	}
}

func (b *Bot) tryCancel(ctx context.Context, id, user string) (asker string, ran bool, err error) {
	bucket := b.Engine.Bucket(engine.Commands)
	value, revision, err := bucket.Get(ctx, id)
	if errors.Is(err, engine.ErrNotFound) {
		return "", false, nil
	}
	var s state
	if err == nil {
		err = json.Unmarshal(value, &s)
	}
	if err != nil {
		return "", false, fmt.Errorf("reading how far a command is: %w", err)
	}
	if s.Step != running || s.Waits != "" || !b.mayCancel(user, s.User) {
		return s.User, false, nil
	}
	s.Cancelled = true
	if value, err = json.Marshal(s); err == nil {
		_, err = bucket.Update(ctx, id, value, revision)
	}
	if err != nil {
		return "", false, fmt.Errorf("cancelling a command: %w", err)
	}
	return s.User, true, nil
}
