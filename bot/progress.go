package bot

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"auditbot/auditlog"
	"auditbot/commands"
)

const (
	// quiet is how long a command may run before the thread shows that it does.
	quiet = time.Second

	// editPause is how long the message that shows it stays as it is, at least.
	// chat.update may be called about 50 times a minute in a workspace, for all
	// commands together. https://docs.slack.dev/reference/methods/chat.update
	editPause = 3 * time.Second

	// editPatience is how long an edit may take. The answer waits for it, so
	// that the edit cannot come after the message was settled.
	editPatience = 5 * time.Second

	// settlePatience is how long it is tried to make the message one of a
	// command that is over. The files wait for it.
	settlePatience = 20 * time.Second
)

// tell notes how far the command in t is. It does not wait: what was told
// before and not shown yet is forgotten.
func (t *task) tell(p auditlog.Progress) {
	t.told.Store(true)
	for {
		select {
		case t.far <- p:
			return
		default:
		}
		select {
		case <-t.far:
		default:
		}
	}
}

// showProgress makes the thread show that a command runs if it does so for
// longer than a second, and then how far it is. The caller must call stop when
// it is over.
func (b *Bot) showProgress(ctx context.Context, t *task) (stop func()) {
	busy, over := context.WithCancel(ctx)
	var showing sync.WaitGroup
	showing.Go(func() {
		defer over()
		select {
		case <-busy.Done():
			return
		case <-time.After(quiet):
		}
		showing.Go(func() { b.knownElsewhere(ctx, busy, t) })
		if b.beginProgress(ctx, busy, t) {
			b.followProgress(ctx, busy, t)
		}
	})
	return func() { over(); showing.Wait() }
}

// beginProgress posts the message, unless it is there, and tells whether it is
// then. Busy lasts as long as the command.
func (b *Bot) beginProgress(ctx, busy context.Context, t *task) bool {
	found, err := b.sayProgress(ctx, busy, t, b.progressForm(t, nil))
	if found {
		b.editUnhurried(ctx, busy, t, b.progressForm(t, nil)) // it may say that the command waits
	}
	if err != nil && !errors.Is(err, errOvertaken) {
		t.log.Warn("showing that a command runs", "err", err)
	}
	return t.state.Progress != ""
}

// sayProgress posts the message that shows that a command runs or waits, unless
// it is found to be there, or nobody needs it any more before its turn has come.
// That it may be there is durable before, with what cancel needs.
func (b *Bot) sayProgress(ctx, busy context.Context, t *task, f form) (found bool, err error) {
	if found, err := b.findProgress(ctx, t); found || err != nil {
		return found, err
	}
	if !t.state.Shown {
		err = b.note(ctx, t, func(s *state) { s.Shown, s.User, s.Began = true, t.User, t.began })
		if err != nil {
			return false, err
		}
	}
	m := mark{progressEvent, t.id}
	ts, err := b.say(unhurried(ctx, busy), t.Channel, t.Place(), m.put(f), m.metadata())
	if err != nil {
		t.unseen = passing(err) && !errors.Is(err, errOvertaken)
		return false, err
	}
	return false, b.note(ctx, t, func(s *state) { s.Progress = ts })
}

// findProgress tells whether the message that shows that a command runs or waits
// is there. It looks for it if it may be there and its ts is not known.
func (b *Bot) findProgress(ctx context.Context, t *task) (bool, error) {
	if t.unseen {
		ts, err := b.find(ctx, t, mark{progressEvent, t.id}.on)
		if err != nil {
			return false, err
		}
		t.mu.Lock()
		t.state.Progress, t.unseen = ts, false
		t.mu.Unlock()
	}
	return t.state.Progress != "", nil
}

// followProgress edits the message with what the command tells, the latest
// only, while it is busy and not cancelled.
func (b *Bot) followProgress(ctx, busy context.Context, t *task) {
	for {
		select { // the pause is from the end of the edit before
		case <-time.After(editPause):
		case <-busy.Done():
			return
		}
		select {
		case p := <-t.far:
			if !b.editUnhurried(ctx, busy, t, b.progressForm(t, &p)) {
				select {
				case t.far <- p: // unless there is newer
				default:
				}
			}
		case <-t.cancelled:
			b.edit(ctx, t, section(fmt.Sprintf("⏹ `%s` is being cancelled.", mrkdwn(b.Prefix+t.name))))
			return
		case <-busy.Done():
			return
		}
	}
}

// editUnhurried edits the message unless that has to wait: for too long, or
// until the command is not busy any more. It tells whether it was tried.
func (b *Bot) editUnhurried(ctx, busy context.Context, t *task, f form) bool {
	fresh, cancel := context.WithTimeout(busy, editPause)
	defer cancel()
	return b.edit(unhurried(ctx, fresh), t, f)
}

// edit changes the message. It is false if the edit was overtaken.
func (b *Bot) edit(ctx context.Context, t *task, f form) bool {
	ctx, cancel := context.WithTimeout(ctx, editPatience)
	defer cancel()
	err := b.update(ctx, t.Channel, t.state.Progress, f)
	if errors.Is(err, errOvertaken) {
		return false
	}
	if err != nil {
		t.log.Warn("showing how far a command is", "err", err)
	}
	return true
}

// progressForm says that the command in t runs and, if p is known, how far it
// is. It has a button to cancel it.
func (b *Bot) progressForm(t *task, p *auditlog.Progress) form {
	text := fmt.Sprintf("⏳ `%s` is running, since %s UTC", mrkdwn(b.Prefix+t.name), t.began.UTC().Format("15:04:05"))
	if p != nil {
		text += ": " + howFar(*p, time.Now())
	}
	text += fmt.Sprintf(".\n`%scancel %s` stops it.", mrkdwn(b.Prefix), t.handle())
	f := section(text)
	f.blocks = append(f.blocks, cancelButton(t.id))
	return f
}

// howFar is how far a search is, in words.
func howFar(p auditlog.Progress, now time.Time) string {
	if p.Waits != "" {
		return p.Waits
	}
	text := counted(p.Records, "record") + " from " + counted(p.Windows, "window")
	if !p.At.IsZero() && p.At.Before(p.To) {
		text += ", back to " + p.At.UTC().Format("2006-01-02 15:04") + " UTC"
	}
	if rate := p.Rate(now); rate >= 1 {
		text += "; " + counted(int(rate+0.5), "record") + "/s"
	}
	if left := p.Left(now); left > 0 {
		text += "; about " + roughly(left) + " left"
	}
	return text
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return commands.Thousands(n) + " " + noun + "s"
}

// roughly writes a time that is estimated anyway.
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(1, int(d.Seconds())))
	case d < 90*time.Minute:
		return fmt.Sprintf("%d min", int(d.Minutes()+0.5))
	default:
		return fmt.Sprintf("%d h", int(d.Hours()+0.5))
	}
}

// settleProgress makes the message that a command runs one that it did.
func (b *Bot) settleProgress(ctx context.Context, t *task) {
	what := "✓ `%s` was answered after %v."
	if t.state.Cancelled {
		what = "⏹ `%s` was cancelled after %v."
	}
	b.endProgress(ctx, t, fmt.Sprintf(what, mrkdwn(b.Prefix+t.name), time.Since(t.began).Round(time.Second)))
}

// endProgress makes the message that shows that a command runs or waits, if
// there is one, say something for good.
func (b *Bot) endProgress(ctx context.Context, t *task, text string) {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	err := insist(ctx, func() error {
		found, err := b.findProgress(ctx, t)
		if !found || err != nil {
			return err
		}
		return b.update(ctx, t.Channel, t.state.Progress, section(text))
	})
	if err != nil {
		t.log.Warn("settling the message that shows that a command runs", "err", err)
	}
}
