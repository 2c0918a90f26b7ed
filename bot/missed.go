package bot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"auditbot/bot/engine"
)

const (
	// missedAtMost is how far back commands are looked for: nobody waits for an
	// answer to an older one, and Slack delivers none that is older either.
	// https://docs.slack.dev/apis/events-api/#delayed-events
	missedAtMost = 2 * time.Hour

	// lookBack is how far before a gap the messages are looked at that may have
	// got replies in it, one page of them.
	lookBack = 24 * time.Hour

	// pageSize is how many messages or conversations are asked for at once.
	// Slack recommends no more than 200.
	// https://docs.slack.dev/apis/web-api/pagination
	pageSize = 200

	readTimeout = 5 * time.Minute // for one conversation or thread, until it is tried again
)

// readMissed reads the gap in what was heard whenever there is one, until ctx
// is done. What is not read until then, the next start reads.
func (b *Bot) readMissed(ctx context.Context) {
	for {
		select {
		case <-b.heard.read:
		case <-ctx.Done():
			return
		}
		if err := insist(ctx, func() error { return b.readGaps(ctx) }); err != nil && ctx.Err() == nil {
			b.Log.Error("reading what was missed", "err", err)
		}
	}
}

// readGaps reads the gap in the bucket until it is not there any more. It may
// get wider meanwhile.
func (b *Bot) readGaps(ctx context.Context) error {
	for {
		var g gap
		revision, err := b.readHeard(ctx, gapKey, &g)
		if err != nil || revision == 0 {
			return err
		}
		known, err := b.answersNoted(ctx)
		if err != nil {
			return err
		}
		if err := b.readGap(ctx, g, known); err != nil {
			return err
		}
		err = b.Engine.Bucket(engine.Heard).DeleteRevision(ctx, gapKey, revision)
		if err != nil && !errors.Is(err, engine.ErrConflict) && !errors.Is(err, engine.ErrNotFound) {
			return err
		}
	}
}

// A conversation is one to read, or, with a thread, only that.
type conversation struct {
	id, kind string    // as in a [Message]
	thread   string    // ts of the parent
	from     time.Time // what is older was read
}

// A reading is the reading of one gap. It gives way to all other requests.
type reading struct {
	*Bot
	gap
	known  answers
	from   time.Time       // no more than missedAtMost before the gap ends
	looked map[string]bool // threads, as "C0123ABCD/1700000000.000100", that were seen in their conversations
	later  []conversation  // those of them that may have got replies in the gap
	found  int             // commands
}

// readGap files the commands that were written in g. With an error it has to be
// read again.
func (b *Bot) readGap(ctx context.Context, g gap, known answers) error {
	r := &reading{Bot: b, gap: g, known: known, from: later(g.From, time.Now().Add(-missedAtMost)), looked: map[string]bool{}}
	if !r.from.Before(g.Until) {
		b.Log.Warn("what was written while nobody listened is too old to be read", "until", g.Until)
		return nil
	}
	ctx, cancel := context.WithDeadline(slim(ctx), g.Until.Add(missedAtMost))
	defer cancel()
	ctx = unhurried(ctx, ctx)
	b.Log.Info("reading what was written while nobody listened", "from", r.from, "until", g.Until)
	places, err := r.places(ctx)
	if err != nil {
		return err
	}
	r.all(ctx, places) // of every conversation, before any thread: there may be many of those
	r.all(ctx, slices.Concat(r.later, r.threads(places)))
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return context.Cause(ctx)
	} else if err != nil {
		b.Log.Error("not all that was written while nobody listened could be read in time", "until", g.Until)
	}
	b.Log.Info("read what was written while nobody listened", "conversations", len(places), "commands", r.found)
	return nil
}

// threads are those in which we answered and that were not seen in their
// conversations, the newest first.
func (r *reading) threads(places []conversation) (all []conversation) {
	for _, thread := range r.known.Threads {
		id, ts, _ := strings.Cut(thread, "/")
		i := slices.IndexFunc(places, func(p conversation) bool { return p.id == id })
		if i >= 0 && !r.looked[thread] {
			all = append(all, r.since(conversation{id: id, kind: places[i].kind, thread: ts}))
		}
	}
	return all
}

// all reads places until each was read, or Slack refuses it, or ctx is done.
func (r *reading) all(ctx context.Context, places []conversation) {
	for wait := 5 * time.Second; ; wait = min(2*wait, time.Minute) {
		var again []conversation
		for _, p := range places {
			err := r.read(ctx, p)
			switch {
			case ctx.Err() != nil:
				return
			case passing(err):
				again = append(again, p)
				r.Log.Warn("reading what was missed in a conversation; it is tried again", "channel", p.id, "err", err)
			case err != nil:
				r.Log.Warn("what was missed in a conversation cannot be read", "channel", p.id, "err", err)
			}
		}
		if places = again; len(places) == 0 {
			return
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// read files the commands in a place. Up to when that was done is noted, so that
// a reading that is cut off again and again gets on all the same.
func (r *reading) read(ctx context.Context, p conversation) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if p.thread == "" {
		return r.conversation(ctx, p)
	}
	err := r.thread(ctx, p)
	if err == nil {
		r.heard.wasRead(p.name(), r.Until)
	}
	if !passing(err) {
		r.later = slices.DeleteFunc(r.later, func(other conversation) bool { return other.name() == p.name() })
		r.noteIfRead(p)
	}
	return err
}

// noteIfRead notes the conversation of a thread if it was the last of its threads
// that was still to be read.
func (r *reading) noteIfRead(p conversation) {
	if r.looked[p.name()] && !slices.ContainsFunc(r.later, func(other conversation) bool { return other.id == p.id }) {
		r.heard.wasRead(conversation{id: p.id}.name(), r.Until)
	}
}

func (p conversation) name() string { return p.id + "/" + p.thread }

// since is p, to be read from where it was not read yet.
func (r *reading) since(p conversation) conversation {
	p.from = later(r.from, r.known.Read[p.name()].Add(-overlap))
	return p
}

// file files what was found in one place, in the order in which it was written.
func (r *reading) file(ctx context.Context, found []Message) error {
	slices.SortFunc(found, func(a, b Message) int { return cmp.Compare(a.TS, b.TS) })
	for _, m := range slices.CompactFunc(found, func(a, b Message) bool { return a.TS == b.TS }) {
		if err := r.fileAllowed(ctx, m); err != nil {
			return err
		}
		r.found++
	}
	return nil
}

// conversation files the commands in a conversation, and puts its threads that
// have got replies into later.
func (r *reading) conversation(ctx context.Context, p conversation) error {
	q := slack.GetConversationHistoryParameters{ChannelID: p.id, Oldest: tsOf(p.from), Latest: tsOf(r.Until.Add(overlap)), Inclusive: true, Limit: pageSize}
	var found []Message
	threads := map[string]bool{} // those in the conversation, by their parents' ts; true if replies may be new
	look := func(messages []slack.Message) {
		for _, m := range messages {
			found = r.take(found, p, m)
			parent := cmp.Or(m.ThreadTimestamp, m.Timestamp)
			threads[parent] = threads[parent] || r.hasNewReplies(p, m)
		}
	}
	for {
		page, err := r.page(ctx, &q)
		if err != nil {
			return err
		}
		look(page.Messages)
		if q.Cursor = page.ResponseMetaData.NextCursor; q.Cursor == "" {
			break
		}
	}
	q.Oldest, q.Latest, q.Inclusive = tsOf(p.from.Add(-lookBack)), q.Oldest, false
	before, err := r.page(ctx, &q)
	if err != nil {
		return err
	}
	look(before.Messages)
	if err := r.file(ctx, found); err != nil {
		return err
	}
	for _, parent := range slices.Sorted(maps.Keys(threads)) {
		in := p
		in.thread = parent
		r.looked[in.name()] = true
		if threads[parent] {
			r.later = append(r.later, in)
		}
	}
	r.looked[p.name()] = true
	r.noteIfRead(p)
	return nil
}

// page is a page of the history of a conversation.
func (r *reading) page(ctx context.Context, q *slack.GetConversationHistoryParameters) (page *slack.GetConversationHistoryResponse, err error) {
	err = insist(ctx, func() error {
		page, err = r.Slack.GetConversationHistoryContext(ctx, q)
		return err
	})
	return page, err
}

// hasNewReplies tells whether the thread of a message in a conversation may have
// got replies in the gap.
func (r *reading) hasNewReplies(p conversation, m slack.Message) bool {
	if m.ThreadTimestamp != "" && m.ThreadTimestamp != m.Timestamp {
		return true // a reply that was sent to the channel, too
	}
	if len(m.ReplyUsers) == 1 && m.ReplyUsers[0] == r.self.user {
		return false // all that is there is our answer
	}
	return m.ReplyCount > 0 && (m.LatestReply == "" || m.LatestReply >= tsOf(p.from))
}

// thread files the commands in a thread.
func (r *reading) thread(ctx context.Context, p conversation) error {
	q := slack.GetConversationRepliesParameters{
		ChannelID: p.id, Timestamp: p.thread, Oldest: tsOf(p.from), Latest: tsOf(r.Until.Add(overlap)), Inclusive: true, Limit: pageSize,
	}
	var found []Message
	for {
		var page []slack.Message
		var next string
		err := insist(ctx, func() (err error) {
			page, _, next, err = r.Slack.GetConversationRepliesContext(ctx, &q)
			return err
		})
		if err != nil {
			return err
		}
		for _, m := range page {
			if m.Timestamp != p.thread { // that is in the conversation
				found = r.take(found, p, m)
			}
		}
		if q.Cursor = next; next == "" {
			return r.file(ctx, found)
		}
	}
}

// take adds m to found if it is a command that was written in the gap. The
// parent of a thread is listed with its replies however old it is.
func (r *reading) take(found []Message, p conversation, m slack.Message) []Message {
	written, ok := r.written(m, p.id, p.kind)
	if !ok || written.Sent().Before(p.from) {
		return found
	}
	if _, ok, _ := r.command(written); !ok {
		return found
	}
	written.Late = written.Sent().Before(r.Until)
	return append(found, written)
}

// tsOf is a time as Slack's messages have it.
func tsOf(t time.Time) string { return fmt.Sprintf("%d.%06d", t.Unix(), t.Nanosecond()/1000) }

// kindsOf are the kinds of conversations as users.conversations calls them and
// as messages do, and the scopes that it needs.
var kindsOf = []struct{ theirs, ours, scope string }{
	{"im", "im", "im:read"},
	{"public_channel", "channel", "channels:read"},
	{"private_channel", "group", "groups:read"},
	{"mpim", "mpim", "mpim:read"},
}

// places are the conversations in which commands are answered, first those where
// there were some of late. Of a channel it has to be known that it is not shared
// with another organisation, which its messages do not say.
func (r *reading) places(ctx context.Context) ([]conversation, error) {
	var all []conversation
	for _, kind := range kindsOf {
		if kind.ours != "im" && len(r.Access.Channels) == 0 && !r.Access.Everyone {
			continue // it answers in direct messages only
		}
		channels, err := r.conversations(ctx, kind.theirs)
		switch {
		case refused(err, "missing_scope"):
			r.Log.Error("what was missed in conversations of this kind is not read: the app may not list them", "kind", kind.theirs, "scope", kind.scope, "do", reinstall)
		case err != nil:
			return nil, fmt.Errorf("listing conversations to read: %w", err)
		}
		if err != nil && kind.ours == "im" { // in those, only those who may ask are listened to
			for _, id := range slices.Sorted(maps.Keys(r.known.Places)) {
				if r.known.Places[id] == "im" {
					all = append(all, r.since(conversation{id: id, kind: "im"}))
				}
			}
		}
		for _, c := range channels {
			if r.mayRead(kind.ours, c) {
				all = append(all, r.since(conversation{id: c.ID, kind: kind.ours}))
			}
		}
	}
	slices.SortStableFunc(all, func(a, b conversation) int { return cmp.Compare(r.age(a), r.age(b)) })
	return all, nil
}

// age is 0 for a conversation from which a command came of late, else 1.
func (r *reading) age(p conversation) int {
	if _, ok := r.known.Places[p.id]; ok {
		return 0
	}
	return 1
}

// mayRead tells whether commands in a conversation are answered. The events of
// its messages say the same of it as c.
func (r *reading) mayRead(kind string, c slack.Channel) bool {
	switch {
	case isShared(c):
		r.Log.Info("what was missed in a conversation that is shared with another organisation is not read", "channel", c.ID)
		return false
	case kind == "im":
		return r.Access.here(Message{Kind: kind, User: c.User}) == nil
	}
	return r.Access.Everyone && len(r.Access.Channels) == 0 || slices.Contains(r.Access.Channels, c.ID)
}

// isShared tells whether people of another organisation are in a channel.
func isShared(c slack.Channel) bool { return c.IsExtShared || c.IsShared && !c.IsOrgShared }

// conversations are those of a kind that the bot is a member of.
func (r *reading) conversations(ctx context.Context, kind string) (all []slack.Channel, err error) {
	q := slack.GetConversationsForUserParameters{Types: []string{kind}, Limit: pageSize, ExcludeArchived: true}
	for {
		page, next, err := r.Slack.GetConversationsForUserContext(ctx, &q)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if q.Cursor = next; next == "" {
			return all, nil
		}
	}
}
