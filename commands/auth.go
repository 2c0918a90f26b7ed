package commands

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"auditbot/auditlog"
)

type instanceArgs struct {
	Using string `arg:"using" help:"the instance to sign in at; the first configured one if left out"`
}

func authStart(ctx context.Context, env Env, a instanceArgs) (Reply, error) {
	instance, err := env.instance(a.Using)
	if err != nil {
		return Reply{}, err
	}
	if !instance.Account.Unattended() {
		if err := env.maySignIn(ctx, instance); err != nil {
			return Reply{}, err
		}
	}
	said, err := instance.SignIn(ctx)
	return Reply{Title: "Signing in to " + instance.Tenant, Text: said}, err
}

func authComplete(ctx context.Context, env Env, a instanceArgs) (Reply, error) {
	instance, err := env.instance(a.Using)
	if err != nil {
		return Reply{}, err
	}
	said, err := instance.Check(ctx)
	return Reply{Title: "Sign-in at " + instance.Tenant, Text: said}, err
}

// maySignIn refuses those who are not to begin or end the one sign-in that
// serves everybody at the instance.
func (e Env) maySignIn(ctx context.Context, i Instance) error {
	if !i.Shared || e.Admin {
		return nil
	}
	var admins []string
	if e.Admins != nil {
		admins = e.Admins(ctx)
	}
	return mistakef("one sign-in serves everybody at %s, and only the admins of this bot begin and end it", i.Tenant).hintf("%s", AskAdmins(admins, "do it"))
}

// AskAdmins says whom to ask to do something.
func AskAdmins(names []string, what string) string {
	if len(names) == 0 {
		return "there is none: whoever runs this bot names one in its settings, access.admins"
	}
	last := len(names) - 1
	if last == 0 {
		return "ask " + names[0] + " to " + what
	}
	return "ask " + strings.Join(names[:last], ", ") + " or " + names[last] + " to " + what
}

// authReset forgets the sign-in, at Graph too if that is the instance's other
// side, and ends the one under way.
func authReset(ctx context.Context, env Env, a instanceArgs) (Reply, error) {
	instance, err := env.instance(a.Using)
	if err != nil {
		return Reply{}, err
	}
	if err := env.maySignIn(ctx, instance); err != nil {
		return Reply{}, err
	}
	sides := []Instance{instance}
	if graph, ok := env.graphOf(instance); ok && graph.Name != instance.Name {
		sides = append(sides, graph)
	}
	var said []string
	for _, side := range sides {
		was, err := side.forgetSignIn(ctx)
		if err != nil {
			return Reply{}, err
		}
		said = append(said, was)
	}
	return Reply{Title: "Signed out of " + instance.Tenant, Text: strings.Join(append(said, howToRevoke(instance)), "\n")}, nil
}

// forgetSignIn deletes the sign-in, and says what was deleted.
func (i Instance) forgetSignIn(ctx context.Context) (string, error) {
	upn, _, signedIn, whoErr := i.Account.SignedIn(ctx)
	withdrawn := false
	if i.Withdraw != nil { // first: it could sign in again right after
		var err error
		if withdrawn, err = i.Withdraw(ctx); err != nil {
			return "", fmt.Errorf("ending the sign-in under way: %w", err)
		}
	}
	if err := i.Account.Reset(ctx); err != nil {
		return "", fmt.Errorf("forgetting the sign-in: %w", err)
	}
	said := "At " + i.Tenant + " there was no sign-in to delete."
	switch {
	case whoErr != nil:
		said = "The sign-in at " + i.Tenant + " is deleted here."
	case signedIn && upn == "":
		said = "The application's token for " + i.Tenant + " is deleted here."
	case signedIn:
		said = "The sign-in of " + upn + " at " + i.Tenant + " is deleted here."
	}
	if withdrawn {
		said += " The code that was on its way is cancelled."
	}
	return said, nil
}

// howToRevoke says how to end at Microsoft what was forgotten here.
func howToRevoke(i Instance) string {
	const keeps = "Microsoft keeps the session until it ends: to end it too, "
	const byItself = "This instance signs in by itself: the next command does it again. To keep it from that, "
	switch {
	case i.Account.Password != "":
		return byItself + "an administrator changes the account's password in Entra and revokes its sessions."
	case i.Account.Unattended():
		return byItself + "an administrator removes the application's secret or certificate in Entra."
	case i.Shared:
		return keeps + "an administrator revokes the sessions of " + i.Account.Expect + " in Entra."
	}
	return keeps + "choose \"Sign out everywhere\" at https://mysignins.microsoft.com or let an administrator revoke the sessions in Entra."
}

// searchCmdlet and switchCmdlet are what a search needs the right to run.
const (
	searchCmdlet = "Search-UnifiedAuditLog"
	switchCmdlet = "Get-AdminAuditLogConfig"
)

// authTest asks the service what this person may run, so that a missing role
// shows now and not as an empty search.
func authTest(ctx context.Context, env Env, a instanceArgs) (Reply, error) {
	instance, err := env.instance(a.Using)
	if err != nil {
		return Reply{}, err
	}
	token, err := instance.Account.Token(ctx, "")
	if err != nil {
		return Reply{}, instance.failed(err)
	}
	who := instance.Who(token.Account)
	test := instance.testExchange
	if instance.Exchange == nil {
		test = instance.testGraph
	}
	checks, err := test(ctx, who)
	if err != nil {
		return Reply{}, err
	}
	checks = append([]string{"signed in to " + instance.Tenant + " as " + who}, checks...)
	if instance.Insecure {
		checks = append(checks, warning+"insecure: true is set: certificates of Microsoft's hosts are not checked")
	}
	title := "Test ok"
	if slices.ContainsFunc(checks, func(s string) bool { return strings.HasPrefix(s, warning) }) {
		title = "Test ok, with warnings"
	}
	return Reply{Title: title, Text: strings.Join(checks, "\n")}, nil
}

// Who names who is signed in, in words: upn, or for "" the application itself.
func (i Instance) Who(upn string) string {
	return cmp.Or(upn, "the application "+i.Account.Entra.ClientID)
}

func (i Instance) testGraph(ctx context.Context, _ string) ([]string, error) {
	if err := i.MaySearch(ctx); err != nil {
		return nil, i.failed(err)
	}
	return []string{"may query the audit log through Microsoft Graph"}, nil
}

func (i Instance) testExchange(ctx context.Context, who string) ([]string, error) {
	may, err := i.Exchange.Cmdlets(ctx)
	if err != nil {
		return nil, i.failed(err)
	}
	if !hasFold(may, searchCmdlet) {
		return nil, i.failed(&auditlog.Refusal{Problem: who + " is signed in but may not run " + searchCmdlet, Advice: giveRole + ", then " + signInAgain})
	}
	auditing, err := testAuditing(ctx, i, may)
	if err != nil {
		return nil, err
	}
	return []string{"may run " + searchCmdlet, auditing}, nil
}

// giveRole is the advice where the right to search is missing.
const giveRole = `an Exchange administrator gives it, an account or an application, the role "View-Only Audit Logs" or "Audit Logs" in the ` +
	"Exchange admin centre (the Purview role is not enough); it takes up to an hour"

const warning = "⚠️ "

// testAuditing says whether the tenant records anything, as far as somebody
// who may run these cmdlets can see.
func testAuditing(ctx context.Context, instance Instance, may []string) (string, error) {
	on, err := instance.Exchange.AuditingOn(ctx)
	switch {
	case err != nil && !hasFold(may, switchCmdlet):
		return warning + "whether auditing is switched on cannot be seen: your role lacks " + switchCmdlet, nil
	case err != nil:
		return "", instance.failed(err)
	case !on:
		return warning + "auditing is switched off in this tenant: searches will find nothing; an administrator runs Set-AdminAuditLogConfig -UnifiedAuditLogIngestionEnabled $true", nil
	}
	return "auditing is switched on", nil
}

func hasFold(list []string, name string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, name) })
}
