package tenantsim

import (
	"slices"
	"strings"
)

// graphNames are the permissions of Microsoft Graph that are asked for; a
// sign-in that is for nothing but the sign-in itself asks for none.
func (g grant) graphNames() []string {
	if !isGraph(g.resource) {
		return nil
	}
	var names []string
	for _, scope := range g.scopes {
		switch name := scope[strings.LastIndex(scope, "/")+1:]; strings.ToLower(name) {
		case "openid", "profile", "email", "offline_access":
		default:
			names = append(names, name)
		}
	}
	return names
}

// preauthorized refuses Microsoft Graph to applications of Microsoft's: which
// permissions these have there is not for a tenant to say.
func (g grant) preauthorized() *entraError {
	own := slices.ContainsFunc(MicrosoftApps(), func(a App) bool { return strings.EqualFold(a.ClientID, g.app.ClientID) })
	if !own || len(g.graphNames()) == 0 {
		return nil
	}
	return refuse("invalid_grant", 65002, "Consent between first party application '%s' and first party resource '%s' must be configured via preauthorization.", g.app.ClientID, graphID)
}

// consented tells whether the app has consent for what is asked for.
func (g grant) consented() bool {
	has, names := g.permissions(), g.graphNames()
	if !isGraph(g.resource) || slices.Contains(names, ".default") {
		return len(has) > 0
	}
	return !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(has, name) })
}
