package bot

import (
	"fmt"
	"time"

	"auditbot/commands"
)

// A result is what became of a command.
type result struct {
	// Outcome is "answered"; "mistake", of the person who asked; "failed", with
	// an id in the log; "refused"; "over_limit", if too many of theirs wait;
	// "cancelled", with what was found; "timed_out", likewise; "waits", for a
	// sign-in; "given_up", since none came; "offered", with a button, since it
	// came too late to begin a sign-in; "taken_back", if it was edited or deleted
	// before it came; or "undelivered", if Slack takes the answer in no form.
	Outcome string `json:"outcome"`
	Rows    int    `json:"rows,omitempty"`    // of the table that is shown
	Verdict string `json:"verdict,omitempty"` // of a search
}

// resultOf is what became of t, whose answer is r.
func (t *task) resultOf(r commands.Reply) result {
	outcome := "answered"
	switch {
	case t.outcome != "":
		outcome = t.outcome
	case t.GivenUp != "":
		outcome = "given_up"
	case t.state.Cancelled, t.unbegun:
		outcome = "cancelled"
	case t.overtime:
		outcome = "timed_out"
	case t.isCancelled():
		outcome = "cancelled"
	case t.state.Waits != "":
		outcome = "waits"
	}
	return result{outcome, len(r.Table.Rows), status(r)}
}

func status(r commands.Reply) string {
	if r.Verdict == nil {
		return ""
	}
	if r.Verdict.Err != nil {
		return fmt.Sprintf("%s (%v)", r.Verdict.Status(), r.Verdict.Err)
	}
	return string(r.Verdict.Status())
}

// record puts down what became of the command in t: one line in the log for
// each command, and none of what it says. It is called once, when the answer
// stands in the thread, or it is certain that it never will. A crash right then
// may swallow the line.
func (b *Bot) record(t *task, r result) {
	b.Metrics.over(t.name, r.Outcome)
	log := t.log
	if t.refused != "" {
		log = log.With("reason", t.refused)
	}
	if t.Late {
		log = log.With("late", true)
	}
	log.Info("command", "outcome", r.Outcome, "took", time.Since(t.began).Round(time.Millisecond), "rows", r.Rows, "verdict", r.Verdict, "tries", t.tries)
}

// ended records the end of a command that has no answer of its own in the
// thread. With an error, it is not over: its item comes again.
func (b *Bot) ended(t *task, err error) error {
	if err != nil {
		return err
	}
	outcome := "answered"
	if t.refused != "" {
		outcome = "refused"
	}
	b.record(t, result{Outcome: outcome})
	return nil
}
