package bot

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/slack-go/slack"

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
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	var showing sync.WaitGroup
	showing.Go(func() {
		defer cancel()
		select {
		case <-over:
			return
		case <-time.After(quiet):
		}
		if b.beginProgress(ctx, t) {
			b.followProgress(ctx, t, over)
		}
	})
	return func() { close(over); showing.Wait() }
}

// beginProgress posts the message, unless the try before has, and tells
// whether there is one.
func (b *Bot) beginProgress(ctx context.Context, t *task) bool {
	t.mu.Lock()
	ts := t.state.Progress
	t.mu.Unlock()
	if ts != "" {
		b.edit(ctx, t, b.progressForm(t, nil)) // it may say that the command waits
		return true
	}
	ts, err := b.say(ctx, t.Channel, t.Place(), b.progressForm(t, nil), slack.SlackMetadata{})
	if err != nil {
		t.log.Warn("showing that a command runs", "err", err)
		return false
	}
	err = b.note(ctx, t, func(s *state) { s.Progress, s.User, s.Began = ts, t.User, t.began })
	if err != nil {
		t.log.Warn("remembering the message that shows that a command runs", "err", err)
	}
	return true
}

// followProgress edits the message with what the command tells, the latest
// only, until it is over or cancelled.
func (b *Bot) followProgress(ctx context.Context, t *task, over <-chan struct{}) {
	for {
		select { // the pause is from the end of the edit before
		case <-time.After(editPause):
		case <-over:
			return
		}
		var f form
		cancelled := false
		select {
		case p := <-t.far:
			f = b.progressForm(t, &p)
		case <-t.cancelled:
			f, cancelled = section(fmt.Sprintf("⏹ `%s` is being cancelled.", mrkdwn(b.Prefix+t.name))), true
		case <-over:
			return
		}
		b.edit(ctx, t, f)
		if cancelled {
			return
		}
	}
}

func (b *Bot) edit(ctx context.Context, t *task, f form) {
	ctx, cancel := context.WithTimeout(ctx, editPatience)
	defer cancel()
	if err := b.update(ctx, t.Channel, t.state.Progress, f); err != nil {
		t.log.Warn("showing how far a command is", "err", err)
	}
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
	if t.state.Progress == "" {
		return
	}
	what := "✓ `%s` was answered after %v."
	if t.state.Cancelled {
		what = "⏹ `%s` was cancelled after %v."
	}
	f := section(fmt.Sprintf(what, mrkdwn(b.Prefix+t.name), time.Since(t.began).Round(time.Second)))
	if err := b.update(ctx, t.Channel, t.state.Progress, f); err != nil {
		t.log.Warn("settling the message that a command runs", "err", err)
	}
}
