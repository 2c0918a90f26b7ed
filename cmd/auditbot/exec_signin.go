package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/commands"
)

// soon is how long a command runs that its sign-in has surely brought nowhere.
const soon = time.Minute

// answer runs the line of o. If it needs a sign-in, the person signs in and it
// goes on, as often as that gets it further. It ends with what it has when it
// is interrupted; a second signal ends it at once.
func (t *terminal) answer(interrupt context.Context, o *outcome) (commands.Reply, error) {
	wanted, giveUp := context.WithCancel(interrupt)
	defer giveUp()
	env := t.env(o)
	env.Cancelled = wanted.Done()
	var further atomic.Bool
	env.Progress = func(auditlog.Progress) { further.Store(true) }
	ctx := context.WithoutCancel(interrupt)
	for last := ""; ; { // the instance that was signed in to before
		began := time.Now()
		further.Store(false)
		reply, err := commands.Run(ctx, env, o.Command)
		need, ok := errors.AsType[*commands.NeedSignIn](err)
		if !ok {
			return reply, err
		}
		if need.Instance == last && !further.Load() && time.Since(began) < soon {
			err = didNotLast(need)
		} else {
			err = t.signIn(interrupt, env, need)
		}
		if err != nil {
			giveUp()
			return t.whatWasFound(ctx, env, o, err)
		}
		last = need.Instance
	}
}

// didNotLast is the end of a command that needs a sign-in again although the
// one before has not brought it any further.
func didNotLast(need *commands.NeedSignIn) error {
	problem := "the sign-in did not last"
	if why, ok := errors.AsType[*auditlog.Refusal](need.Err); ok {
		problem += ": " + why.Problem
	}
	return &auditlog.Refusal{Problem: problem, Advice: "type the command again to sign in again", Err: need}
}

// whatWasFound answers a command that was given up, since nobody signed in, with
// what it had found until then and, in front of that, why. If that is nothing,
// the error is why.
func (t *terminal) whatWasFound(ctx context.Context, env commands.Env, o *outcome, why error) (commands.Reply, error) {
	if o.journal == "" {
		return commands.Reply{}, why
	}
	found, err := commands.Run(ctx, env, o.Command)
	if err != nil || found.Verdict == nil || found.Verdict.Fetched == 0 {
		return commands.Reply{}, why
	}
	told := o.explain(t, why)
	said := []string{told.Title, told.Text, "What it had found until then is here; typed again, it begins anew.", found.Text}
	found.Text = strings.TrimSpace(strings.Join(said, "\n"))
	return found, nil
}

// signIn lets the person sign in where a command needs it, and tells them why.
func (t *terminal) signIn(ctx context.Context, env commands.Env, need *commands.NeedSignIn) error {
	i := slices.IndexFunc(env.Instances, func(i commands.Instance) bool { return i.Name == need.Instance })
	if i < 0 {
		return fmt.Errorf("signing in: there is no instance %q", need.Instance)
	}
	if why, ok := errors.AsType[*auditlog.Refusal](need.Err); ok {
		fmt.Fprintln(t.stderr, commands.Visible(commands.Sentence(why.Problem)))
	}
	said, err := t.showCode(ctx, env.Instances[i])
	if err == nil {
		fmt.Fprintln(t.stderr, commands.Visible(commands.Sentence(said))+". Going on ...")
	}
	return err
}

// showCode shows a device code on standard error, and waits for the person until
// ctx is done.
func (t *terminal) showCode(ctx context.Context, instance commands.Instance) (string, error) {
	if instance.Account.Unattended() {
		return "this instance signs in by itself; there is nothing to do", nil
	}
	if instance.Account.Expect == "" {
		return "", t.nobodyExpected(instance)
	}
	var upn string
	code, err := instance.Account.Start(ctx)
	if err == nil {
		fmt.Fprint(t.stderr, prompt(ctx, instance, code))
		upn, err = instance.Account.Wait(ctx, code)
	}
	switch {
	case err == nil:
		return "signed in as " + upn, nil
	case ctx.Err() != nil:
		return "", &commands.Mistake{Problem: "the sign-in was interrupted", Hint: "type the command again to sign in"}
	}
	return "", err
}

// nobodyExpected says what is to be written where it is not known which account
// somebody on a terminal, of whom there is no e-mail address, has.
func (t *terminal) nobodyExpected(instance commands.Instance) error {
	return &commands.Mistake{
		Problem: "it is not known which account of " + instance.Tenant + " is yours, and only that one may sign in for you",
		Hint: fmt.Sprintf("write its name into the settings, under instance %s:\naccounts: {'%s': you@contoso.com}",
			cmp.Or(instance.GraphOf, instance.Name), strings.ReplaceAll(t.person.ID, "'", "''")), // as YAML quotes it
	}
}

// prompt is what a device code is shown with: what it is for and, as Microsoft's
// page should say it, too, who asks for what.
func prompt(ctx context.Context, instance commands.Instance, code *signin.Code) string {
	account := instance.Account
	application, id, permissions := account.Entra.Served()
	tenant := instance.Tenant
	if guid, err := account.Entra.Resolve(ctx); err == nil && !strings.EqualFold(guid, tenant) {
		tenant += " (" + guid + ")"
	}
	lines := []string{
		fmt.Sprintf("Sign in to %s: open %s and enter the code %s (valid until %s UTC).", instance.Tenant, code.URL, string(code.UserCode), code.Expires.UTC().Format("15:04")),
		fmt.Sprintf("  application  %s (%s)", cmp.Or(application, "an application of your organisation"), id),
		"  tenant       " + tenant,
		"  account      " + account.Expect + "; any other is discarded",
		"  it asks for  " + strings.Join(permissions, ", "),
		"Do not enter it if you did not just start this yourself: whoever enters it lets auditbot search the audit log in their name.",
		"Waiting ...",
	}
	var shown strings.Builder
	for _, line := range lines {
		shown.WriteString(commands.Visible(line) + "\n")
	}
	return shown.String()
}

func checkSignIn(ctx context.Context, prefix string, instance commands.Instance) (string, error) {
	upn, _, ok, err := instance.Account.SignedIn(ctx)
	if err != nil {
		return "", fmt.Errorf("looking whether somebody is signed in: %w", err)
	}
	switch {
	case ok:
		return "signed in as " + instance.Who(upn), nil
	case instance.Account.Unattended():
		return "this instance signs in by itself, with the first command that needs it", nil
	}
	return "not signed in: " + prefix + "o365-auditlog-auth-start signs in", nil
}
