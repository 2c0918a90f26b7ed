package commands

import (
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

func authReset(ctx context.Context, env Env, a instanceArgs) (Reply, error) {
	instance, err := env.instance(a.Using)
	if err != nil {
		return Reply{}, err
	}
	if err := instance.Account.Reset(ctx); err != nil {
		return Reply{}, fmt.Errorf("forgetting the sign-in: %w", err)
	}
	text := "The sign-in is deleted here. Microsoft keeps the session until it ends: to end it too, choose \"Sign out everywhere\" at " +
		"https://mysignins.microsoft.com or let an administrator revoke the sessions in Entra."
	if instance.Account.Unattended() {
		text += " This instance signs in by itself: the next command does it again."
	}
	return Reply{Title: "Signed out of " + instance.Tenant, Text: text}, nil
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
	if instance.Exchange == nil {
		return Reply{
			Title: "Test ok",
			Text:  "signed in to " + instance.Tenant + " as " + token.Account + "\nwhether this account may search through Graph shows with the first query",
		}, nil
	}
	may, err := instance.Exchange.Cmdlets(ctx)
	if err != nil {
		return Reply{}, instance.failed(err)
	}
	if !hasFold(may, searchCmdlet) {
		return Reply{}, &auditlog.Refusal{
			Problem: token.Account + " is signed in but may not run " + searchCmdlet,
			Advice: "an Exchange administrator gives you the role \"View-Only Audit Logs\" or \"Audit Logs\" in the Exchange admin centre (the Purview role is not enough); " +
				"it takes up to an hour, then sign in again: " + env.Prefix + "o365-auditlog-auth-reset and " + env.Prefix + "o365-auditlog-auth-start",
		}
	}
	auditing, err := testAuditing(ctx, instance, may)
	if err != nil {
		return Reply{}, err
	}
	checks := []string{"signed in to " + instance.Tenant + " as " + token.Account, "may run " + searchCmdlet, auditing}
	if instance.Insecure {
		checks = append(checks, warning+"insecure: true is set: certificates of Microsoft's hosts are not checked")
	}
	title := "Test ok"
	if slices.ContainsFunc(checks, func(s string) bool { return strings.HasPrefix(s, warning) }) {
		title = "Test ok, with warnings"
	}
	return Reply{Title: title, Text: strings.Join(checks, "\n")}, nil
}

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
