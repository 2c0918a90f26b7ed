package bot

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"auditbot/bot/engine"
)

// forgetEvery is how often it is looked who is not served any more. What they
// signed in with is to be gone within 24 hours; the rest of the day is for
// when Slack does not answer.
const forgetEvery = time.Hour

// forgetThoseWhoLeft looks through the sign-ins now and at every tick, until
// ctx is done. Several replicas may do so at once: each deletes only what it
// has seen, and cancels only the codes that it looks after.
func (b *Bot) forgetThoseWhoLeft(ctx context.Context, ticks <-chan time.Time) {
	for {
		b.forgetOnce(ctx)
		select {
		case <-ticks:
		case <-ctx.Done():
			return
		}
	}
}

// forgetOnce ends the sign-ins of people who are not served any more, those
// under way first, and those that nobody can use since the settings were
// changed. A sign-in that succeeds meanwhile is found the next time.
func (b *Bot) forgetOnce(ctx context.Context) {
	b.people.forget()
	for _, n := range b.codes.all() {
		b.cancelIfLeft(ctx, n)
	}
	keys, err := b.Engine.Bucket(engine.Tokens).Keys(ctx)
	if err != nil && ctx.Err() == nil {
		b.Log.Error("looking for sign-ins to forget", "err", err)
	}
	byPerson := map[string][]string{}
	for _, key := range keys {
		person := personOf(key)
		byPerson[person] = append(byPerson[person], key)
	}
	for _, person := range slices.Sorted(maps.Keys(byPerson)) {
		b.forgetTokens(ctx, person, byPerson[person])
	}
}

// personOf is whose token stands under a key of the bucket Tokens, by their id
// in Slack. It is "" for an instance's own ("contoso"), and for that of
// somebody on a terminal ("contoso/local:ada"), who is on none of Slack's
// lists.
func personOf(key string) string {
	_, person, _ := strings.Cut(key, "/")
	if strings.HasPrefix(person, "U") || strings.HasPrefix(person, "W") {
		return person
	}
	return ""
}

// forgetTokens deletes a person's tokens if they are not served any more, and,
// whosever they are, those that nobody can use and the keys without a value
// that an ended sign-in leaves. All are deleted as they were before Slack was
// asked: whoever comes back and signs in at that moment stays signed in.
func (b *Bot) forgetTokens(ctx context.Context, person string, keys []string) {
	bucket := b.Engine.Bucket(engine.Tokens)
	seen := map[string]uint64{}
	for _, key := range keys {
		value, revision, err := bucket.Get(ctx, key)
		unused := b.whyUnused(key)
		switch {
		case errors.Is(err, engine.ErrNotFound), ctx.Err() != nil:
		case err != nil:
			b.Log.Error("looking whether a sign-in is still wanted", "key", key, "err", err)
		case len(value) == 0:
			b.deleteToken(ctx, key, revision)
		case unused != "":
			if b.deleteToken(ctx, key, revision) {
				instance, whose, _ := strings.Cut(key, "/")
				b.Log.Info("a sign-in that nobody can use any more is deleted", "instance", instance, "user", whose, "reason", unused)
			}
		default:
			seen[key] = revision
		}
	}
	if person == "" || len(seen) == 0 {
		return
	}
	reason := b.whyLeft(ctx, person)
	if reason == "" {
		return
	}
	for key, revision := range seen {
		if b.deleteToken(ctx, key, revision) {
			instance, _, _ := strings.Cut(key, "/")
			b.Log.Info("the sign-in of somebody who left is deleted", "instance", instance, "user", person, "reason", reason)
		}
	}
}

// whyUnused is why no instance takes its token from this key, "" if one does.
// Keys are made from the settings: those of an instance that was removed or
// that has another sign_in now stay behind, and nobody can reset them.
func (b *Bot) whyUnused(key string) string {
	name, person, _ := strings.Cut(key, "/")
	reason := "the settings have no such instance"
	for _, instance := range b.Instances(Person{ID: person}) {
		switch {
		case instance.Account.Key == key:
			return ""
		case instance.Name == name:
			reason = "another sign_in is set for the instance"
		}
	}
	return reason
}

// deleteToken deletes what had this revision, unless it has changed.
func (b *Bot) deleteToken(ctx context.Context, key string, revision uint64) bool {
	err := b.Engine.Bucket(engine.Tokens).DeleteRevision(ctx, key, revision)
	if err != nil && !errors.Is(err, engine.ErrConflict) && ctx.Err() == nil {
		b.Log.Error("deleting a sign-in", "key", key, "err", err)
	}
	return err == nil
}

// whyLeft is why somebody is not served any more, "" if they are. They are,
// too, while Slack does not say, however long that takes: nothing is done with
// their token meanwhile, since in doubt none of their commands is run, and if a
// silence of Slack's deleted tokens, everybody would have to sign in again.
func (b *Bot) whyLeft(ctx context.Context, user string) string {
	who, err := b.profile(ctx, user)
	r := who.refused
	if err == nil && r == nil {
		r, err = b.unlisted(ctx, user)
	}
	switch {
	case err != nil && !errors.Is(err, context.Canceled):
		b.Log.Warn("looking whether somebody has left; their sign-in is kept until that is known", "user", user, "err", err)
	case err == nil && r != nil:
		return r.reason
	}
	return ""
}

// askWhoLeft is for how long a code waits for Slack to say whether the person
// who has it is still served.
const askWhoLeft = 10 * time.Second

// cancelIfLeft cancels the code of somebody who is not served any more.
func (b *Bot) cancelIfLeft(ctx context.Context, n *code) {
	asking, cancel := context.WithTimeout(ctx, askWhoLeft)
	defer cancel()
	reason := b.whyLeft(asking, n.User)
	if reason == "" {
		return
	}
	log := b.Log.With("instance", n.Instance, "user", n.User)
	if cancelled, err := b.cancelCode(ctx, n); err != nil {
		log.Error("cancelling the code of somebody who left", "err", err)
	} else if cancelled {
		log.Info("the code of somebody who left is cancelled", "reason", reason)
	}
}

// forget makes Slack be asked again, and forgets who may be told anew anyway.
func (p *people) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.users)
	clear(p.groups)
	maps.DeleteFunc(p.told, func(_ string, at time.Time) bool { return time.Since(at) >= tellAgain })
}
