package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"auditbot/bot/engine"
)

// A listing is a command that runs or waits for its turn, in whatever replica.
type listing struct {
	Message        // without its Text
	Item    string `json:"item"` // its id
	Name    string `json:"name"` // of the command
}

func (t *task) listing() listing {
	l := listing{t.Message, t.id, t.name}
	l.Text = ""
	return l
}

// list lets other replicas know of the command in t. They can cancel it then.
func (b *Bot) list(ctx context.Context, t *task) error {
	t.listed = true
	if err := b.note(ctx, t, func(s *state) { s.User, s.Began = t.User, t.began }); err != nil {
		return err
	}
	value, err := json.Marshal(t.listing())
	if err == nil {
		_, err = b.Engine.Bucket(engine.Running).Put(ctx, t.id, value)
	}
	if err != nil {
		return fmt.Errorf("writing down that a command runs: %w", err)
	}
	return nil
}

// unlist is called when the command in t has ended for good.
func (b *Bot) unlist(ctx context.Context, t *task) {
	if !b.shared || !t.listed {
		return
	}
	if err := b.Engine.Bucket(engine.Running).Delete(ctx, t.id); err != nil {
		t.log.Warn("forgetting a command that is over", "err", err) // it will be found to be over
	}
}

// listings are the commands that run or wait for their turn and are ok, the
// oldest first: those of this replica, and those that others have listed, which
// may be over.
func (b *Bot) listings(ctx context.Context, ok func(Message) bool) ([]listing, error) {
	var found []listing
	for _, t := range b.tasks.of(func(t *task) bool { return ok(t.Message) }) {
		found = append(found, t.listing())
	}
	if !b.shared {
		return found, nil
	}
	bucket := b.Engine.Bucket(engine.Running)
	ids, err := bucket.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for commands that run elsewhere: %w", err)
	}
	for _, id := range ids {
		if slices.ContainsFunc(found, func(l listing) bool { return l.Item == id }) {
			continue
		}
		value, _, err := bucket.Get(ctx, id)
		if errors.Is(err, engine.ErrNotFound) {
			continue
		}
		var l listing
		if err == nil {
			err = json.Unmarshal(value, &l)
		}
		if err != nil {
			return nil, fmt.Errorf("reading of a command that runs elsewhere: %w", err)
		}
		if ok(l.Message) {
			found = append(found, l)
		}
	}
	slices.SortStableFunc(found, func(a, b listing) int { return a.Sent().Compare(b.Sent()) })
	return found, nil
}

// errTakenOver means that another worker answers a message by now.
var errTakenOver = fmt.Errorf("another worker has taken the command over: %w", engine.ErrConflict)

// see looks whether the command in t was cancelled in another replica. Its error
// is errTakenOver if another worker has changed more than that.
func (b *Bot) see(ctx context.Context, t *task) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return b.seeState(ctx, t)
}

// seeState is see for who holds t.mu, or is the only one to change the state.
func (b *Bot) seeState(ctx context.Context, t *task) error {
	value, revision, err := b.Engine.Bucket(engine.Commands).Get(ctx, t.id)
	var s state
	if err == nil && revision != t.state.revision {
		err = json.Unmarshal(value, &s)
	}
	switch {
	case err != nil:
		return fmt.Errorf("reading how far a command is: %w", err)
	case revision == t.state.revision:
		return nil
	case s.By != t.state.By && !strings.HasPrefix(s.By, t.by+"."): // the second is one of ours whose answer was lost
		return errTakenOver
	}
	t.state.revision = revision
	if s.Cancelled && !t.state.Cancelled {
		t.state.Cancelled = true
		t.cancel()
		t.log.Debug("cancelled in another replica")
	}
	return nil
}

// watchEvery is how often a command that takes a while looks whether it was
// cancelled in another replica.
const watchEvery = 2 * time.Second

// knownElsewhere lets other replicas know of the command in t, and looks whether
// it was cancelled there, while it is busy: it runs, or waits for its turn.
func (b *Bot) knownElsewhere(ctx, busy context.Context, t *task) {
	if !b.shared {
		return
	}
	for look := b.list; ; {
		err := look(ctx, t)
		switch {
		case err == nil:
			look = b.see
		case errors.Is(err, errTakenOver): // it meets that, too, before it posts anything
			return
		case busy.Err() == nil:
			t.log.Warn("letting other replicas cancel a command", "err", err)
		}
		if pause(busy, watchEvery) != nil {
			return
		}
	}
}
