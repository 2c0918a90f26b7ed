package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"auditbot/auditlog"
	"auditbot/bot/engine"
	"auditbot/commands"
)

// soon is how long a command runs that its sign-in has surely brought nowhere.
const soon = time.Minute

// inCircles tells whether the command in t needs a sign-in at the instance
// again although the one before has not brought it any further.
func (t *task) inCircles(instance string) bool {
	return t.Resumed > 0 && t.Waited == instance && t.state.Waits == "" && !t.told.Load() && time.Since(t.began) < soon
}

// waitForSignIn lets the command in t wait for its author to sign in, as often
// as it gets further by that. With an error, it is not known whether it waits:
// its item comes again, and with it this call.
func (b *Bot) waitForSignIn(ctx context.Context, t *task, need *commands.NeedSignIn) (commands.Reply, error) {
	if t.isCancelled() {
		return b.giveUp(ctx, t, commands.Reply{Title: "⏹ Cancelled", Text: "The command does not go on."})
	}
	why := reasonOf(need.Err)
	why.advice = commands.AsTyped(b.Prefix, why.advice)
	instances := b.Instances(t.asks)
	i := slices.IndexFunc(instances, func(i commands.Instance) bool { return i.Name == need.Instance })
	if i < 0 || t.inCircles(need.Instance) {
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
	instance := instances[i]
	if t.Late {
		return b.offerSignIn(ctx, t, instance, why)
	}
	if gone, err := b.goneOn(ctx, t); gone || err != nil {
		return commands.Reply{Title: "🔑 Sign in to " + instance.Tenant + " first", Text: "That sign-in is over by now: how this command went on stands below."}, err
	}
	if err := b.beginWaiting(ctx, t, instance); err != nil {
		return commands.Reply{}, err
	}
	key := signInKey(instance, t.User)
	if upn, _, ok, err := instance.Account.SignedIn(ctx); ok && err == nil { // just now
		if err := b.releaseAll(ctx, key); err != nil {
			return commands.Reply{}, err
		}
		return commands.Reply{Title: "🔑 Signed in as " + upn, Text: "This command runs now."}, nil
	}
	said, err := b.signIn(ctx, t, instance)
	if err != nil {
		if err := b.endWaitingOf(ctx, t, key); err != nil {
			return commands.Reply{}, err
		}
		return b.giveUp(ctx, t, b.explain(t, err))
	}
	return signInFirst(instance, b.signsInThemselves(ctx, t, instance), why, said), nil
}

// signsInThemselves tells whether the author of t is the one who has to sign in
// for it.
func (b *Bot) signsInThemselves(ctx context.Context, t *task, instance commands.Instance) bool {
	if !instance.Shared {
		return true
	}
	open, err := b.openCode(ctx, signInKey(instance, t.User))
	if err != nil {
		t.log.Warn("looking whose sign-in a command waits for", "err", err)
	}
	return open != nil && open.User == t.User
}

// beginWaiting writes down that the command in t waits. From then on it is not
// run as this item any more: a sign-in may release it at any moment, under an
// id of its own.
func (b *Bot) beginWaiting(ctx context.Context, t *task, instance commands.Instance) error {
	if err := b.note(ctx, t, func(s *state) { s.Waits = instance.Name }); err != nil {
		return err
	}
	waiting := t.Message
	waiting.Resumed++
	waiting.Waited = instance.Name
	waiting.Waits = time.Now().UTC()
	value, err := json.Marshal(waiting)
	if err == nil {
		_, err = b.Engine.Bucket(engine.Waiting).Put(ctx, signInKey(instance, t.User)+"/"+t.id, value)
	}
	if err != nil {
		return fmt.Errorf("letting a command wait: %w", err)
	}
	return nil
}

// goneOn tells whether the command in t, which waited when it was tried before,
// has been released since.
func (b *Bot) goneOn(ctx context.Context, t *task) (bool, error) {
	if t.state.Waits == "" {
		return false, nil
	}
	later := t.Message
	later.Resumed++
	_, _, err := b.Engine.Bucket(engine.Commands).Get(ctx, later.ID())
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// endWaitingOf takes the command in t back from those that wait, to be answered
// as this item. If it fails, the command must not be answered: it may be run.
func (b *Bot) endWaitingOf(ctx context.Context, t *task, key string) error {
	if err := b.Engine.Bucket(engine.Waiting).Delete(ctx, key+"/"+t.id); err != nil {
		return fmt.Errorf("letting a command wait no longer: %w", err)
	}
	return b.note(ctx, t, func(s *state) { s.Waits = "" })
}

// giveUp answers a command that does not get the sign-in that it needs: with
// what it had found until then and, in front of that, told; or with told alone
// if that is nothing. The error is [errStopping].
func (b *Bot) giveUp(ctx context.Context, t *task, told commands.Reply) (commands.Reply, error) {
	if !t.long() || t.unbegun && !t.again || t.state.Waits != "" { // what waits may run elsewhere by now
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
	found.Offers = append(told.Offers, found.Offers...)
	found.Text = strings.Join([]string{told.Title, told.Text, "What it had found until then is here; typed again, it begins anew.", found.Text}, "\n")
	return found, nil
}

// release puts what waits under key and is meant into the inbox, the oldest
// first, to run or, if there is a line why its sign-in did not come, to be given
// up. After an error it may be called again: nothing runs twice by that.
func (b *Bot) release(ctx context.Context, key string, meant func(Message) bool, why string) (n int, err error) {
	waiting, err := b.waiting(ctx, key)
	if err != nil {
		return 0, err
	}
	for _, m := range waiting {
		if !meant(m) {
			continue
		}
		m.GivenUp, m.Waits = why, time.Time{}
		if err := b.enqueue(ctx, m); err != nil {
			return n, fmt.Errorf("running a command that waited: %w", err)
		}
		m.Resumed-- // as it was when it began to wait
		if err := b.Engine.Bucket(engine.Waiting).Delete(ctx, key+"/"+m.ID()); err != nil {
			return n, fmt.Errorf("forgetting a command that waited: %w", err)
		}
		n++
	}
	return n, nil
}

// releaseAll lets all that waits under key run.
func (b *Bot) releaseAll(ctx context.Context, key string) error {
	_, err := b.release(ctx, key, func(Message) bool { return true }, "")
	return err
}

// waitsAtMost is how long a command waits for a sign-in, which is looked at
// every waitCheck. The bucket keeps it for a day.
const (
	waitsAtMost = 22 * time.Hour
	waitCheck   = time.Minute
)

// endLongWaits gives up, now and at every tick, the commands for which nobody
// has signed in for so long, until ctx is done. Where everybody signs in for
// themselves there are hardly any: a code ends sooner, and what waits with it. It
// lets run those for which somebody has signed in elsewhere. Several replicas may
// do so at once: the inbox takes a command that is released once.
func (b *Bot) endLongWaits(ctx context.Context, ticks <-chan time.Time) {
	for {
		if err := b.endLongWaitsOnce(ctx); err != nil && ctx.Err() == nil {
			b.Log.Error("looking for commands that have waited for too long", "err", err)
		}
		select {
		case <-ticks:
		case <-ctx.Done():
			return
		}
	}
}

func (b *Bot) endLongWaitsOnce(ctx context.Context) error {
	places, err := b.Engine.Bucket(engine.Waiting).Keys(ctx)
	if err != nil {
		return err
	}
	tooLong := func(m Message) bool { return !m.Waits.IsZero() && time.Since(m.Waits) > waitsAtMost }
	for _, i := range b.Instances(Person{}) {
		if err := b.releaseSignedIn(ctx, i, places); err != nil {
			return err
		}
	}
	for _, place := range places {
		if err := b.endStranded(ctx, path.Dir(place)); err != nil {
			return err
		}
		if _, err := b.release(ctx, path.Dir(place), tooLong, fmt.Sprintf("❌ Nobody has signed in for this command for %d hours.", waitsAtMost/time.Hour)); err != nil {
			return err
		}
	}
	return nil
}

// stranded is how long a command may wait for a sign-in of somebody's own that
// is not under way: no code lives as long.
const stranded = 30 * time.Minute

// endStranded gives up what waits under key although no code is under way for
// it. So does a command that began to wait as a code ended, if the clocks of two
// replicas do not agree about which of it came first.
func (b *Bot) endStranded(ctx context.Context, key string) error {
	if strings.HasSuffix(key, "/all") {
		return nil
	}
	if n, err := b.storedCode(ctx, key); n != nil || err != nil {
		return err
	}
	_, err := b.release(ctx, key, func(m Message) bool {
		return !m.Waits.IsZero() && time.Since(m.Waits) > stranded
	}, "❌ The sign-in that this command waited for is over.")
	return err
}

// releaseSignedIn lets run what waits at an instance where one sign-in serves
// all, if there is one: an admin may have signed in on a terminal.
func (b *Bot) releaseSignedIn(ctx context.Context, i commands.Instance, places []string) error {
	key := signInKey(i, "")
	if !i.Shared || !slices.ContainsFunc(places, func(place string) bool { return strings.HasPrefix(place, key+"/") }) {
		return nil
	}
	_, _, ok, err := i.Account.SignedIn(ctx)
	if err != nil || !ok {
		return err
	}
	return b.releaseAll(ctx, key)
}

// waiting are the messages that wait under key, in the order in which they
// were written.
func (b *Bot) waiting(ctx context.Context, key string) ([]Message, error) {
	bucket := b.Engine.Bucket(engine.Waiting)
	keys, err := bucket.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for commands that wait: %w", err)
	}
	var found []Message
	for _, k := range keys {
		if !strings.HasPrefix(k, key+"/") {
			continue
		}
		value, _, err := bucket.Get(ctx, k)
		if errors.Is(err, engine.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading a command that waits: %w", err)
		}
		var m Message
		if err := json.Unmarshal(value, &m); err != nil {
			b.Log.Error("a command that waits cannot be read", "err", err)
			continue
		}
		found = append(found, m)
	}
	slices.SortFunc(found, func(a, b Message) int { return cmp.Compare(a.TS, b.TS) })
	return found, nil
}
