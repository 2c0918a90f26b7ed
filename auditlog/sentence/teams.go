package sentence

import (
	"slices"
	"strings"

	"auditbot/auditlog"
)

var teamsPhrases = map[string]phrase{
	"ChatCreated":               func(e event) string { return "began " + e.chat() + e.members(" with ") + e.strangers() },
	"ChatRetrieved":             func(e event) string { return "read " + e.chat() + e.strangers() },
	"ChatUpdated":               func(e event) string { return "changed " + e.chat() + e.strangers() },
	"MessageSent":               message("sent a message"),
	"MessageUpdated":            message("changed a message"),
	"MessageDeleted":            message("deleted a message"),
	"MessageRead":               message("read a message"),
	"MessageCreatedHasLink":     message("sent a message with a link"),
	"MemberAdded":               func(e event) string { return "added" + e.members(" ") + e.team("to") },
	"MemberRemoved":             func(e event) string { return "removed" + e.members(" ") + e.team("from") },
	"MemberRoleChanged":         func(e event) string { return "changed the role" + e.members(" of ") + e.team("in") },
	"TeamCreated":               func(e event) string { return "created" + e.team("") },
	"TeamDeleted":               func(e event) string { return "deleted" + e.team("") },
	"AppInstalled":              teamsApp("installed"),
	"AppUninstalled":            teamsApp("removed"),
	"TeamsSessionStarted":       func(e event) string { return "signed in to Teams" },
	"TeamsTenantSettingChanged": teamsSetting,
	"TeamSettingChanged":        teamsSetting,
	"TeamsImpersonationDetected": func(e event) string {
		return "was reported by Teams for posing as somebody else in " + e.chat() + e.strangers()
	},
	"SecurityRiskInCallDetected": func(e event) string {
		return "was reported by Teams for a risk in a call" + e.members(" with ") + e.strangers()
	},
}

// chat is "a chat of two", "a group chat".
func (e event) chat() string {
	said := map[string]string{"oneonone": "a chat of two", "groupchat": "a group chat", "channel": "a channel",
		"team": "a team", "scheduledmeeting": "the chat of a meeting"}[strings.ToLower(e.text("CommunicationType"))]
	if said == "" {
		said = "a chat"
	}
	if title := e.text("ChatName"); title != "" {
		said += " " + quote(title)
	}
	return said
}

// members are those in the record besides the user, after such a word.
func (e event) members(lead string) string {
	value, _ := e.view.Get("Members")
	list, _ := value.([]any)
	var all []string
	for _, one := range list {
		upn, _ := auditlog.Member(one, "UPN")
		shown, _ := auditlog.Member(one, "DisplayName")
		who := plain(upn)
		if who == "" {
			who = plain(shown)
		} else if strings.EqualFold(who, e.text("UserId")) {
			continue
		} else if plain(shown) != "" {
			who = name(who) + " (called " + quote(plain(shown)) + ")"
			all = append(all, who)
			continue
		}
		if who != "" {
			all = append(all, name(who))
		}
	}
	all = slices.Compact(all)
	if len(all) == 0 && lead == " " {
		return " somebody"
	}
	if len(all) == 0 {
		return ""
	}
	return lead + join(all, "and")
}

// strangers warns of people from outside.
func (e event) strangers() string {
	var all []string
	for _, kind := range []struct{ field, words string }{{"HasForeignTenantUsers", "people of another organisation"},
		{"HasGuestUsers", "guests"}, {"HasUnauthenticatedUsers", "people who did not sign in"}} {
		if strings.EqualFold(e.text("ParticipantInfo."+kind.field), "true") {
			all = append(all, kind.words)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return ", in which are " + join(all, "and")
}

func (e event) team(word string) string {
	said := ""
	if team := e.text("TeamName"); team != "" {
		said = spaced(word, "the team", quote(team))
	} else if word != "" || e.text("TeamGuid") != "" {
		said = spaced(word, "a team")
	}
	if channel := e.text("ChannelName"); channel != "" {
		said = spaced(said, "(channel "+quote(channel)+")")
	}
	if said == "" {
		return " a team"
	}
	return " " + said
}

func message(did string) phrase {
	return func(e event) string {
		said := did + " in "
		if e.text("TeamName") != "" {
			said = did + e.team("in")
		} else {
			said += e.chat()
		}
		if links := e.list("MessageURLs"); len(links) > 0 {
			said += ", with the link " + join(apply(links, name), "and")
		}
		return said + e.strangers()
	}
}

func teamsApp(did string) phrase {
	return func(e event) string {
		said := did + " the Teams app " + quote(e.text("AddOnName", "AppName", "AddonName", "ItemName", "ObjectId"))
		if e.text("TeamName") != "" {
			said += e.team("in")
		}
		return said
	}
}

func teamsSetting(e event) string {
	said := "changed a setting of Teams"
	if e.text("TeamName") != "" {
		said = "changed a setting" + e.team("of")
	}
	return said + e.changed()
}
