package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
)

// A Checkup looks whether instances can be searched, as one person.
type Checkup struct {
	Person string // their id, as the accounts of an instance have it: "U0123ABCD", "local:ada"

	// SignIn is what the person does to sign in at the instance with this name:
	// "type !o365-auditlog-auth-start using=contoso".
	SignIn func(instance string) string

	// Unread says why stored sign-ins cannot be read; "" if they can.
	Unread string
}

// Instances looks at all of these, each with its Graph side.
func (c Checkup) Instances(ctx context.Context, all []Instance) []Check {
	var groups []func(context.Context) []Check
	for _, i := range all {
		if i.GraphOf != "" {
			continue
		}
		groups = append(groups, func(ctx context.Context) []Check { return c.exchange(ctx, i) })
		n := slices.IndexFunc(all, func(other Instance) bool { return other.GraphOf == i.Name })
		if n < 0 {
			groups = append(groups, func(context.Context) []Check {
				return []Check{{i.Name + " graph", OK, "not used: no graph_client_id is set", ""}}
			})
			continue
		}
		groups = append(groups, func(ctx context.Context) []Check { return c.graph(ctx, all[n]) })
	}
	return Examine(ctx, groups...)
}

// exchange looks at the way to Exchange Online, one step after the other.
func (c Checkup) exchange(ctx context.Context, i Instance) []Check {
	names := []string{i.Name + " tenant", i.Name + " sign-in", i.Name + " role", i.Name + " auditing", i.Name + " retention"}
	all := []Check{Look(ctx, names[0], func(ctx context.Context) Check { return resolve(ctx, i) })}
	if all[0].Level == Failure {
		return skip(all, names, "the tenant could not be looked up")
	}
	if all = append(all, Look(ctx, names[1], func(ctx context.Context) Check { return c.signedIn(ctx, i) })); all[1].Level != OK {
		return skip(all, names, "there is no sign-in to do it with")
	}
	var may []string
	role := Look(ctx, names[2], func(ctx context.Context) (found Check) {
		may, found = checkRole(ctx, i)
		return found
	})
	if all = append(all, role); role.Level != OK {
		return skip(all, names, "the role is missing, or not known")
	}
	return append(all, Examine(ctx,
		func(ctx context.Context) []Check {
			return []Check{Look(ctx, names[3], func(ctx context.Context) Check { return checkAuditing(ctx, i, may) })}
		},
		func(ctx context.Context) []Check {
			return []Check{Look(ctx, names[4], func(ctx context.Context) Check { return checkRetention(ctx, i) })}
		},
	)...)
}

// skip adds to the checks those of the names that they are short of.
func skip(all []Check, names []string, why string) []Check {
	for _, name := range names[len(all):] {
		all = append(all, Skipped(name, why))
	}
	return all
}

func resolve(ctx context.Context, i Instance) Check {
	id, err := i.Account.Entra.Resolve(ctx)
	if err != nil {
		return Broken(err)
	}
	return Good(i.Account.Entra.Tenant + " is tenant " + id)
}

// signedIn looks whose sign-in there is. None is begun that needs a person.
func (c Checkup) signedIn(ctx context.Context, i Instance) Check {
	unattended := i.Account.Unattended()
	switch {
	case !unattended && c.Unread != "":
		return Skipped("", c.Unread)
	case !unattended && i.Account.Expect == "":
		return Warn("it is not known which account is yours", fmt.Sprintf("whoever runs this bot adds to the instance's settings accounts: {%s: name@domain}", c.Person))
	}
	token, err := i.Account.Token(ctx, "")
	ended, told := errors.AsType[*auditlog.Refusal](err)
	switch {
	case errors.Is(err, signin.ErrNotSignedIn) && told:
		return Warn(ended.Problem, ended.Advice)
	case errors.Is(err, signin.ErrNotSignedIn) && i.Shared:
		return Warn("nobody is signed in", "an admin of this bot signs in for all: "+c.SignIn(i.Name))
	case errors.Is(err, signin.ErrNotSignedIn):
		return Warn("you are not signed in", "to have the rest checked: "+c.SignIn(i.Name))
	case err != nil:
		return Broken(err)
	case token.Account == "":
		return Good("as the application " + i.Account.Entra.ClientID)
	case i.Shared:
		return Good("as " + token.Account + ", for everybody")
	}
	return Good("as " + token.Account)
}

func checkRole(ctx context.Context, i Instance) (may []string, found Check) {
	may, err := i.Exchange.Cmdlets(ctx)
	if err != nil {
		return nil, Broken(err)
	}
	if !hasFold(may, searchCmdlet) {
		return may, Fail("may not run "+searchCmdlet, giveRole+", and an account then signs in anew")
	}
	return may, Good("may run " + searchCmdlet)
}

func checkAuditing(ctx context.Context, i Instance, may []string) Check {
	on, err := i.Exchange.AuditingOn(ctx)
	switch {
	case err != nil && !hasFold(may, switchCmdlet):
		return Warn("whether it is switched on cannot be seen: the role lacks "+switchCmdlet, "")
	case err != nil:
		return Broken(err)
	case !on:
		return Fail("switched off in this tenant: searches find nothing", "an administrator runs Set-AdminAuditLogConfig -UnifiedAuditLogIngestionEnabled $true")
	}
	return Good("switched on")
}

// ages are for how many days records are kept: the longest there is first, then
// by licence. A range goes from one to the next.
// https://learn.microsoft.com/purview/audit-log-retention-policies
var ages = []int{3650, 365, 180, 90}

// checkRetention looks for a record in each range, at once, to see how far back
// they reach.
func checkRetention(ctx context.Context, i Instance) Check {
	now := time.Now()
	found, errs := make([]bool, len(ages)-1), make([]error, len(ages)-1)
	var groups []func(context.Context) []Check
	for n := range found {
		groups = append(groups, func(ctx context.Context) []Check {
			found[n], errs[n] = hasRecord(ctx, i, now.AddDate(0, 0, -ages[n]), now.AddDate(0, 0, -ages[n+1]))
			return nil
		})
	}
	Examine(ctx, groups...)
	for n, yes := range found {
		if yes {
			return Good(fmt.Sprintf("records reach back beyond %d days", ages[n+1]))
		}
	}
	if err := errors.Join(errs...); err != nil {
		c := Broken(err)
		c.Level, c.Found = Warning, "how far back records reach cannot be seen: "+c.Found
		return c
	}
	return Warn(fmt.Sprintf("nothing older than %d days was seen", ages[len(ages)-1]),
		"if the tenant is older, look since when auditing is on, and for how long its licences keep records (180 days as a rule)")
}

// hasRecord tells whether there is a record in a range.
func hasRecord(ctx context.Context, i Instance, start, end time.Time) (bool, error) {
	var v auditlog.Verdict
	for _, err := range i.Exchange.Search(ctx, auditlog.Query{Start: start, End: end, Newest: 1}, &v) {
		return err == nil, err
	}
	if len(v.Lost) > 0 {
		return false, errors.New(v.String())
	}
	return false, nil
}

// graph looks at the way to Microsoft Graph.
func (c Checkup) graph(ctx context.Context, i Instance) []Check {
	name := i.GraphOf + " graph"
	names := []string{name + " sign-in", name}
	all := []Check{Look(ctx, names[0], func(ctx context.Context) Check { return c.signedIn(ctx, i) })}
	if all[0].Level != OK {
		return skip(all, names, "there is no sign-in to do it with")
	}
	return append(all, Look(ctx, name, func(ctx context.Context) Check {
		if err := i.MaySearch(ctx); err != nil {
			return Broken(err)
		}
		used, limit := i.Budget()
		found := fmt.Sprintf("may be searched; %d of about %d queries were submitted within 24 hours", used, limit)
		if used >= limit {
			return Warn(found, "until some of them are 24 hours old, searches go through Exchange Online")
		}
		return Good(found)
	}))
}
