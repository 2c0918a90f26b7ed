package sentence

import (
	"regexp"
	"strings"
)

var entraPhrases = map[string]phrase{
	"Consent to application.":         consent,
	"Add OAuth2PermissionGrant.":      grant,
	"Add delegated permission grant.": grant,
	"Remove delegated permission grant.": func(e event) string {
		return "took away a permission of an application" + e.onTarget("to ") + e.changed()
	},
	"Add app role assignment grant to user.":                    assigned("to the user", "User.UserPrincipalName", "User.DisplayName"),
	"Add app role assignment to service principal.":             assigned("to the application", "ServicePrincipal.DisplayName", "ServicePrincipal.Name"),
	"Add service principal.":                                    targeted("added the application"),
	"Update service principal.":                                 targeted("changed the application"),
	"Remove service principal.":                                 targeted("removed the application"),
	"Add service principal credentials.":                        targeted("added a secret or certificate to the application"),
	"Remove service principal credentials.":                     targeted("removed a secret or certificate of the application"),
	"Add application.":                                          targeted("registered the application"),
	"Update application.":                                       targeted("changed the registration of the application"),
	"Delete application.":                                       targeted("deleted the registration of the application"),
	"Update application – Certificates and secrets management ": targeted("changed the secrets and certificates of the application"),
	"Add owner to application.":                                 owner("an owner of the application"),
	"Add owner to service principal.":                           owner("an owner of the application"),

	"Add user.":                       targeted("created the user"),
	"Update user.":                    updateUser,
	"Delete user.":                    targeted("deleted the user"),
	"Disable account.":                targeted("disabled the account"),
	"Enable account.":                 targeted("enabled the account"),
	"Reset user password.":            targeted("reset the password of"),
	"Change user password.":           targeted("changed the password of"),
	"Set force change user password.": targeted("made a new password necessary at the next sign-in of"),
	"Change user license.":            targeted("changed the licences of"),
	"Add member to role.":             member("gave", "the role", "Role.DisplayName"),
	"Remove member from role.":        member("took from", "the role", "Role.DisplayName"),
	"Add member to group.":            member("added", "to the group", "Group.DisplayName"),
	"Remove member from group.":       member("removed", "from the group", "Group.DisplayName"),
	"Add group.":                      targeted("created the group"),
	"Update group.":                   targeted("changed the group"),
	"Delete group.":                   targeted("deleted the group"),

	"Disable Strong Authentication.":  targeted("turned off multi-factor authentication of"),
	"Enable Strong Authentication.":   targeted("turned on multi-factor authentication of"),
	"User registered security info":   targeted("registered security information of"),
	"User deleted security info":      targeted("deleted security information of"),
	"Add device.":                     targeted("added the device"),
	"Update device.":                  targeted("changed the device"),
	"Delete device.":                  targeted("deleted the device"),
	"Add registered owner to device.": member("registered", "as the owner of the device", "Device.DisplayName"),
	"Add registered users to device.": member("registered", "as a user of the device", "Device.DisplayName"),

	"Set domain authentication.":                targeted("changed how people sign in to the domain"),
	"Set federation settings on domain.":        targeted("changed the federation settings of the domain"),
	"Add unverified domain.":                    targeted("added the domain, unverified,"),
	"Add verified domain.":                      targeted("added the verified domain"),
	"Verify domain.":                            targeted("verified the domain"),
	"Update domain.":                            targeted("changed the domain"),
	"Add domain to company.":                    targeted("added to the organisation the domain"),
	"Add partner to company.":                   targeted("gave the organisation the partner"),
	"Disable Desktop Sso for a specific domain": targeted("turned off seamless single sign-on for the domain"),
	"Set Company Information.":                  targeted("changed the settings of the organisation"),
	"Add conditional access policy.":            targeted("added the conditional access policy"),
	"Update conditional access policy.":         targeted("changed the conditional access policy"),
	"Delete conditional access policy.":         targeted("deleted the conditional access policy"),
}

// targeted is a phrase about the target, with what was changed in it.
func targeted(did string) phrase {
	return func(e event) string {
		return did + " " + orUnnamed(e.target()) + e.changed()
	}
}

func orUnnamed(s string) string {
	if s == "" {
		return "that the record does not name"
	}
	return name(s)
}

// onTarget is the target after such a word, or "".
func (e event) onTarget(word string) string {
	if target := e.target(); target != "" {
		return " " + word + name(target)
	}
	return ""
}

// modified is the new value of the first of these modified properties that has
// one, else the old: what was taken away has no new one.
func (e event) modified(names ...string) string {
	for _, which := range []string{"NewValue", "OldValue"} {
		for _, name := range names {
			if s := unwrapped(e.text("ModifiedProperties." + name + "." + which)); s != "" {
				return s
			}
		}
	}
	return ""
}

// member is a phrase about somebody and the role, group or device that they
// came to or left.
func member(did, to, property string) phrase {
	return func(e event) string {
		of := e.modified(property, strings.Replace(property, "DisplayName", "ObjectID", 1))
		if of == "" {
			return did + " " + orSomebody(e.target()) + " " + to + " that the record does not name"
		}
		return did + " " + orSomebody(e.target()) + " " + to + " " + quote(of)
	}
}

func owner(of string) phrase {
	return func(e event) string {
		object := e.modified("Application.DisplayName", "ServicePrincipal.DisplayName", "Application.ObjectID", "ServicePrincipal.ObjectID")
		return "made " + orSomebody(e.target()) + " " + of + " " + orUnnamed(object)
	}
}

// assigned is a permission that works without a user, or the right to use an
// application.
func assigned(to string, properties ...string) phrase {
	return func(e event) string {
		role := e.modified("AppRole.Value", "AppRole.DisplayName", "AppRole.Id")
		said := "gave"
		if role != "" {
			said += " the app role " + quote(role)
		} else {
			said += " an app role"
		}
		said += e.onTarget("of ")
		if receiver := e.modified(properties...); receiver != "" {
			said += " " + to + " " + name(receiver)
		}
		return said
	}
}

// consent is what an application may do from now on, and for whom.
func consent(e event) string {
	said := "consented to the application " + orUnnamed(e.target()) + e.scopes("ConsentAction.Permissions")
	switch {
	case strings.EqualFold(e.modified("ConsentContext.OnBehalfOfAll"), "true"):
		said += ", for all users"
	case strings.EqualFold(e.modified("ConsentContext.IsAdminConsent"), "true"):
		said += ", as an administrator"
	}
	if strings.EqualFold(e.modified("ConsentContext.IsAppOnly"), "true") {
		said += ", without a user"
	}
	return said
}

func grant(e event) string {
	said := "granted a permission" + e.onTarget("on ") + e.scopes("DelegatedPermissionGrant.Scope")
	if e.modified("DelegatedPermissionGrant.ConsentType") == "AllPrincipals" {
		said += ", for all users"
	}
	return said
}

var scope = regexp.MustCompile(`Scope: *([^,\]]*)`)

// scopes is " (Mail.Read and Files.Read)", or "". The permissions of a consent
// are a text of the old ones, an arrow, and the new ones, each of which is
// "[..., Scope: Mail.Read, ...]".
func (e event) scopes(property string) string {
	value := e.modified(property)
	if _, after, ok := strings.Cut(value, "=>"); ok {
		value = after
	}
	var all []string
	for _, found := range scope.FindAllStringSubmatch(value, maxParts) {
		all = append(all, strings.Fields(found[1])...)
	}
	if all == nil && !strings.ContainsAny(value, "[]") {
		all = strings.Fields(value)
	}
	if len(all) == 0 {
		return ""
	}
	return " (" + join(apply(all, name), "and") + ")"
}

// updateUser names the means of a second factor, whose changes are what an
// intruder does to stay.
func updateUser(e event) string {
	did := "changed the user "
	for _, c := range e.properties() {
		if strings.HasPrefix(c.Name, "StrongAuthentication") {
			did = "changed the multi-factor authentication of the user "
		}
	}
	return did + orUnnamed(e.target()) + e.changed()
}
