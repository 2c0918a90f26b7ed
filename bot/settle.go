package bot

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slack-go/slack"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/bot/engine"
	"auditbot/commands"
)

// An outcome is what came of a sign-in, and who is to be told of it.
type outcome struct {
	Result  string `json:"result"`          // a sentence for whoever asks
	Text    string `json:"text"`            // in the place of the code, in Slack's markup
	GivenUp string `json:"given_up"`        // a line for the commands that waited; "" if they run now
	Alert   string `json:"alert,omitempty"` // for the admins, in Slack's markup; "" as a rule

	// Ended is when it was known, by the clock of who learned it.
	Ended time.Time `json:"ended,omitzero"`

	// Untold are the admins who have not had the Alert yet.
	Untold []string `json:"untold,omitempty"`
}

// outcomeOf is the outcome of a sign-in that ended with err, or without one as
// upn.
func (b *Bot) outcomeOf(ctx context.Context, n *code, upn string, err error) *outcome {
	log := b.Log.With("instance", n.Instance, "user", n.User)
	var came *outcome
	switch {
	case err == nil:
		log.Info("signed in")
		waiting, err := b.waiting(ctx, n.key)
		came = n.succeeded(upn, err == nil && len(waiting) > 0) // what cannot be read now is run later
	case errors.Is(err, errSignInCancelled):
		log.Info("sign-in cancelled")
		came = n.wasCancelled()
	default:
		id := rand.Text()[:8]
		log.Warn("sign-in failed", "id", id, "err", err)
		came = n.failed(err, id)
		came.Text = commands.AsTyped(mrkdwn(b.Prefix), came.Text)
	}
	if errors.Is(err, signin.ErrSomebodyElse) {
		if came.Alert, came.Untold = n.alert(err), slices.Clone(b.Access.Admins); len(came.Untold) > 0 {
			came.Text += ".\nThe admins of this bot are told of it, too."
		} else {
			log.Warn("a sign-in of somebody else was discarded, and there is no admin to tell: access.admins is empty")
		}
	}
	return came.asOfNow()
}

func (n *code) succeeded(upn string, waiting bool) *outcome {
	o := &outcome{Result: "Signed in to " + n.instance.Tenant + " as " + upn + "."}
	o.Text = "✅ " + mrkdwn(o.Result)
	if waiting {
		o.Text += " What waited for this runs now."
	}
	return o
}

func (n *code) wasCancelled() *outcome {
	result := "The sign-in to " + n.instance.Tenant + " was cancelled."
	return &outcome{Result: result, Text: "⏹ " + mrkdwn(result) + " Do not enter the code any more: I do not collect what it would give.", GivenUp: "⏹ " + result}
}

// outdated is the outcome of a code that the settings have no use for any more.
func (n *code) outdated() *outcome {
	result := "The sign-in to " + n.instance.Tenant + " has ended: the settings of this bot have changed."
	o := &outcome{Result: result, Text: "⏹ " + mrkdwn(result) + " Do not enter the code any more.", GivenUp: "⏹ " + result}
	return o.asOfNow()
}

// failed is the outcome of an error, which is in the log under id.
func (n *code) failed(err error, id string) *outcome {
	problem, advice := "the log has the reason under "+id, ""
	if refusal, ok := errors.AsType[*auditlog.Refusal](err); ok {
		problem, advice = refusal.Problem, refusal.Advice
	}
	result := "Not signed in to " + n.instance.Tenant + ": " + problem + "."
	return &outcome{Result: result, Text: "❌ " + mrkdwn(result) + "\n" + mrkdwn(commands.Sentence(advice)), GivenUp: "❌ " + result}
}

func (o *outcome) asOfNow() *outcome {
	o.Ended = time.Now().UTC()
	o.Text += "\n_" + time.Now().UTC().Format("15:04") + " UTC_"
	return o
}

// alert tells admins that a code was entered by somebody else than expected.
// It may be a slip, or a code in a stranger's hands.
func (n *code) alert(err error) string {
	problem := err.Error()
	if refusal, ok := errors.AsType[*auditlog.Refusal](err); ok {
		problem = refusal.Problem
	}
	return fmt.Sprintf("🚨 *A sign-in to %s was discarded* (instance %s)\n"+
		"<@%s> was sent a code at %s UTC, for %s. At %s UTC it turned out: %s.\n"+
		"*Expected* %s of %s\n"+
		"_Nothing of it was kept. If <@%[3]s> took the wrong account, all is well. If they did not enter the code themselves, somebody else has it: treat that as phishing._",
		mrkdwn(n.instance.Tenant), mrkdwn(n.Instance), n.User, n.Sent.Format("15:04"), n.For.by("their"), time.Now().UTC().Format("15:04"), mrkdwn(problem),
		mrkdwn(n.instance.Account.Expect), n.tenant())
}

// settleSignIn does what follows from what came of a sign-in: it takes the code
// out of its message, runs what waited for it or says why it will not run, and
// tells the admins if they are to know. It tells whether all of it is done. What
// cannot be done before the bot stops is done at the next start, or by another
// replica; nothing is done twice.
func (b *Bot) settleSignIn(n *code) bool {
	b.codes.remove(n) // first: whoever is told that it is over may begin anew
	ended := cmp.Or(n.Came.Ended, time.Now())
	close(n.over)
	ctx, cancel := b.lasting()
	defer cancel()
	log := b.Log.With("instance", n.Instance, "user", n.User)
	if err := insistOnCode(ctx, func() error { return b.setAside(ctx, n) }); err != nil {
		log.Error("making room for the next sign-in; whoever goes on with it tries again", "err", err)
		return false
	}
	told := section(n.Came.Text)
	tellErr := b.replacePrompt(ctx, n, told) // before the answers to what waited, if that is possible
	if err := insist(ctx, func() error { return b.releaseFor(ctx, n, ended) }); err != nil {
		log.Error("running what waited for a sign-in; the next start tries again", "err", err)
		return false
	}
	if passing(tellErr) {
		tellErr = insist(ctx, func() error { return b.replacePrompt(ctx, n, told) })
	}
	if tellErr != nil {
		log.Error("taking a code out of its message", "err", tellErr)
	}
	if passing(tellErr) || !b.tellAdmins(ctx, n) {
		return false
	}
	err := insist(ctx, func() error { return b.Engine.Bucket(engine.SignIns).Delete(ctx, n.place) })
	if err != nil {
		log.Error("forgetting a sign-in that is over", "err", err)
	}
	return err == nil
}

// releaseFor releases what waited for n, which ended then. If nobody has signed
// in, those who were sent no code wait on, for the next one, and so does what
// began to wait later: while Slack was slow to say that n is over, it may have
// begun a code of its own.
func (b *Bot) releaseFor(ctx context.Context, n *code, ended time.Time) error {
	meant := func(m Message) bool {
		return n.Came.GivenUp == "" || m.User == n.User && m.Waits.Before(ended)
	}
	_, err := b.release(ctx, n.key, meant, n.Came.GivenUp)
	return err
}

// alertEvent marks what admins are told of a sign-in.
const alertEvent = "auditbot_alert"

// tellAdmins sends the alert to those who have not had it, and tells whether
// none is left.
func (b *Bot) tellAdmins(ctx context.Context, n *code) bool {
	log := b.Log.With("instance", n.Instance, "user", n.User)
	for len(n.Came.Untold) > 0 {
		admin := n.Came.Untold[0]
		err := insist(ctx, func() error { return b.tellAdmin(ctx, n, admin) })
		if err != nil {
			log.Error("telling an admin of a sign-in that was discarded", "admin", admin, "err", err)
		}
		if passing(err) {
			return false
		}
		n.mu.Lock()
		n.Came.Untold = n.Came.Untold[1:]
		n.mu.Unlock()
		if err := insistOnCode(ctx, func() error { return b.keepCode(ctx, n) }); err != nil {
			log.Error("noting that an admin was told of a sign-in", "err", err)
			return false
		}
	}
	return true
}

// tellAdmin sends the alert, unless a try before or one before a restart has.
func (b *Bot) tellAdmin(ctx context.Context, n *code, admin string) error {
	dm, err := b.openDM(ctx, admin)
	if err != nil {
		return err
	}
	ts, err := b.findMarked(ctx, dm, alertEvent, n.ID)
	if ts != "" || passing(err) {
		return err
	}
	_, err = b.say(ctx, dm, "", section(n.Came.Alert), slack.SlackMetadata{EventType: alertEvent, EventPayload: map[string]any{"id": n.ID}})
	return err
}

// afterStop is for how long it goes on trying what has to be done once the bot
// is to stop.
const afterStop = 10 * time.Second

// lasting is a context for what is tried until it works: it ends afterStop after
// the bot is to stop.
func (b *Bot) lasting() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.codes.life))
	release := context.AfterFunc(b.codes.life, func() { time.AfterFunc(afterStop, cancel) })
	return ctx, func() { release(); cancel() }
}
