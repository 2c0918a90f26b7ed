package sentence

import "strings"

var sharingPhrases = map[string]phrase{
	"SharingSet":                shared("shared", "with"),
	"SharingRevoked":            shared("stopped sharing", "with"),
	"SharingInvitationCreated":  shared("sent an invitation to", "to"),
	"SharingInvitationAccepted": shared("accepted the invitation to", "as"),
	"SharingInvitationRevoked":  shared("withdrew the invitation to", "from"),
	"AnonymousLinkCreated":      shared("created an anonymous link to", "for"),
	"AnonymousLinkUpdated":      shared("changed the anonymous link to", "for"),
	"AnonymousLinkRemoved":      shared("removed the anonymous link to", "for"),
	"AnonymousLinkUsed":         shared("used an anonymous link to open", "as"),
	"CompanyLinkCreated":        shared("created a link for the whole organisation, to", "for"),
	"CompanyLinkUsed":           shared("used a link for the whole organisation to open", "as"),
	"AddedToSecureLink":         shared("gave a link to", "to"),
	"RemovedFromSecureLink":     shared("took the link to", "from"),
	"SecureLinkCreated":         shared("created a link for certain people, to", "for"),
	"SecureLinkUpdated":         shared("changed the link for certain people, to", "for"),
	"SecureLinkDeleted":         shared("removed the link for certain people, to", "for"),
	"SecureLinkUsed":            shared("used a link for certain people to open", "as"),
	"SharingPolicyChanged": func(e event) string {
		return spaced("changed the sharing policy", on(e.text("SiteUrl", "ObjectId"))) + e.changed()
	},
	"SiteCollectionAdminAdded": func(e event) string {
		return spaced("made", orSomebody(e.person()), "an administrator", on(e.text("SiteUrl", "ObjectId")))
	},
	"SiteCollectionAdminRemoved": func(e event) string {
		return spaced("removed", orSomebody(e.person()), "as an administrator", on(e.text("SiteUrl", "ObjectId")))
	},
	"PermissionLevelModified": func(e event) string {
		return spaced("changed a permission level", on(e.text("SiteUrl", "ObjectId"))) + e.changed()
	},
	"AddedToGroup": func(e event) string {
		return spaced("added", orSomebody(e.person()), "to a group", on(e.text("SiteUrl", "ObjectId"))) + e.changed()
	},
}

// shared is a phrase about something shared: with whom, and what they may do.
func shared(did, with string) phrase {
	return func(e event) string {
		said := spaced(did, "the "+e.itemType(), quote(e.file()), e.place())
		if person := e.person(); person != "" {
			said += " " + with + " " + name(person)
			if strings.EqualFold(e.text("TargetUserOrGroupType"), "guest") {
				said += " (guest)"
			}
		}
		if details := e.shared(); len(details) > 0 {
			said += "; " + join(apply(details, func(c Change) string { return name(c.Name) + " " + quote(c.New) }), "and")
		}
		return said
	}
}

// person is whom something was shared with. SharePoint writes guests as
// bob_fabrikam.com#ext#@contoso.onmicrosoft.com.
func (e event) person() string { return e.text("TargetUserOrGroupName") }

func on(site string) string {
	if site == "" {
		return ""
	}
	return "of the site " + name(strings.TrimSuffix(site, "/"))
}
