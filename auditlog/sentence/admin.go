package sentence

import (
	"cmp"
	"strings"
)

var adminPhrases = map[string]phrase{
	"Set-AdminAuditLogConfig": setAuditing,
	"Set-MailboxAuditBypassAssociation": func(e event) string {
		return "changed whether the audit log leaves out " + name(e.object("Identity")) + e.changed()
	},
	"Set-OrganizationConfig": func(e event) string { return "changed the settings of the organisation" + e.changed() },
	"Add-FederatedDomain":    func(e event) string { return "added a federated domain" + e.with() },
	"Add-RoleGroupMember": func(e event) string {
		return "added " + orSomebody(e.param("Member")) + " to the role group " + quote(e.object("Identity"))
	},
	"Remove-RoleGroupMember": func(e event) string {
		return "removed " + orSomebody(e.param("Member")) + " from the role group " + quote(e.object("Identity"))
	},
	"Update-RoleGroupMember": func(e event) string {
		return "set the members of the role group " + quote(e.object("Identity")) + e.changed()
	},

	"SearchCreated":              search("created the content search"),
	"SearchUpdated":              search("changed the content search"),
	"SearchStarted":              search("started the content search"),
	"SearchViewed":               search("viewed the content search"),
	"SearchRemoved":              search("removed the content search"),
	"SearchPreviewed":            search("previewed the results of the content search"),
	"SearchExported":             search("exported the results of the content search"),
	"SearchExportDownloaded":     search("downloaded the results of the content search"),
	"ViewedSearchExported":       search("viewed the export of the content search"),
	"SearchResultsPurged":        search("purged what was found by the content search"),
	"CaseAdded":                  search("created the eDiscovery case"),
	"CaseRemoved":                search("removed the eDiscovery case"),
	"New-ComplianceSearch":       search("created the content search"),
	"Start-ComplianceSearch":     search("started the content search"),
	"New-ComplianceSearchAction": complianceAction,

	"HygieneTenantEvents":  hygiene,
	"AlertTriggered":       alert("raised the alert"),
	"AlertEntityGenerated": alert("added to the alert"),
	"TIMailData":           threatMail,
	"TIUrlClickData":       about("clicked on the link", func(e event) string { return e.text("Url", "ObjectId") }),
	"AtpDetection":         about("was reported for malware in", func(e event) string { return e.text("FileData.FileName", "FileData.DocumentId", "ObjectId") }),

	"CreateFlow":    flow("created a flow"),
	"EditFlow":      flow("changed a flow"),
	"DeleteFlow":    flow("deleted a flow"),
	"PutConnection": flow("set up a connection for flows"),
}

// A cmdlet is an operation that is called as in PowerShell.
type cmdlet struct{ verb, noun string } // verb in lower case

// cmdletVerbs are those that change something, in the past.
var cmdletVerbs = map[string]string{"new": "created", "set": "changed", "add": "added", "remove": "removed", "enable": "turned on",
	"disable": "turned off", "start": "started", "stop": "stopped", "update": "changed", "get": "read", "search": "searched",
	"test": "tested", "install": "installed", "export": "exported", "import": "imported", "release": "released", "move": "moved"}

// cmdletNouns are what cmdlets are about.
var cmdletNouns = map[string]string{
	"TransportRule": "the mail flow rule", "InboundConnector": "the inbound connector", "OutboundConnector": "the outbound connector",
	"RemoteDomain": "the settings for the remote domain", "AcceptedDomain": "the accepted domain", "JournalRule": "the journal rule",
	"AntiPhishPolicy": "the anti-phishing policy", "AntiPhishRule": "the anti-phishing rule",
	"SafeLinksPolicy": "the Safe Links policy", "SafeLinksRule": "the Safe Links rule",
	"SafeAttachmentPolicy": "the Safe Attachments policy", "SafeAttachmentRule": "the Safe Attachments rule",
	"MalwareFilterPolicy": "the malware filter policy", "MalwareFilterRule": "the malware filter rule",
	"HostedContentFilterPolicy": "the spam filter policy", "HostedConnectionFilterPolicy": "the connection filter policy",
	"HostedOutboundSpamFilterPolicy": "the outbound spam policy", "DkimSigningConfig": "the DKIM signing of",
	"DlpPolicy": "the data loss prevention policy", "DlpCompliancePolicy": "the data loss prevention policy",
	"UnifiedAuditLogRetentionPolicy": "the retention policy of the audit log", "RoleGroup": "the role group",
	"ManagementRole": "the management role", "ManagementRoleAssignment": "the assignment of a management role",
	"ManagementRoleEntry": "the entry of a management role", "Mailbox": "the mailbox", "CASMailbox": "the mailbox's ways of access of",
	"ComplianceSearch": "the content search", "MailboxSearch": "the mailbox search", "DistributionGroup": "the distribution group",
	"User": "the user",
}

// cmdlet tells whether the operation is called as a cmdlet is: New-InboxRule.
func (e event) cmdlet() (cmdlet, bool) {
	verb, noun, ok := strings.Cut(e.text("Operation"), "-")
	verb = strings.ToLower(verb)
	_, known := cmdletVerbs[verb]
	return cmdlet{verb, noun}, ok && known && noun != "" && !strings.Contains(noun, " ")
}

// cmdletPhrase is said of cmdlets without a phrase of their own.
func cmdletPhrase(e event) string {
	command, _ := e.cmdlet()
	noun, known := cmdletNouns[command.noun]
	object := e.object("Identity", "Name")
	said := cmdletVerbs[command.verb] + " " + noun
	if !known {
		said = "ran " + name(e.text("Operation"))
	}
	if object != "" && !known {
		said += " on " + quote(object)
	} else if object != "" {
		said += " " + quote(object)
	}
	if command.verb == "set" || command.verb == "update" {
		return said + e.changed()
	}
	return said + e.with("Name")
}

// setAuditing says plainly when the audit log is turned off.
func setAuditing(e event) string {
	switch strings.ToLower(e.param("UnifiedAuditLogIngestionEnabled")) {
	case "false":
		return "turned off the audit log"
	case "true":
		return "turned on the audit log"
	}
	return "changed the settings of the audit log" + e.changed()
}

// search is a phrase about an eDiscovery search or case.
func search(did string) phrase {
	return func(e event) string {
		said := did + " " + quote(cmp.Or(e.param("Name", "Identity"), e.text("SearchName", "Case", "ObjectId")))
		if query := cmp.Or(e.text("Query"), e.param("ContentMatchQuery")); query != "" {
			said += " for " + quote(query)
		}
		return said
	}
}

// complianceActions are parameters of New-ComplianceSearchAction, the worst
// first.
var complianceActions = []struct{ parameter, did string }{
	{"Purge", "purged what was found by the content search"},
	{"Export", "exported the results of the content search"},
	{"Preview", "previewed the results of the content search"},
}

// complianceAction tells what is done with what was found.
func complianceAction(e event) string {
	did := "started an action on the content search"
	for _, action := range complianceActions {
		if value := e.param(action.parameter); value != "" && !strings.EqualFold(value, "false") {
			did = action.did
			break
		}
	}
	return did + " " + quote(e.object("SearchName", "Identity")) + e.with("SearchName", "Purge", "Export", "Preview")
}

// hygiene is mostly somebody who sent too much.
func hygiene(e event) string {
	what := e.text("Event")
	if what == "" {
		what = "something about mail hygiene"
	}
	said := "was reported: " + quote(what)
	if value := e.text("EventValue"); value != "" {
		said += ", " + quote(value)
	}
	if reason := e.text("Reason"); reason != "" {
		said += " because of " + quote(reason)
	}
	return said
}

func alert(did string) phrase {
	return func(e event) string {
		said := did + " " + quote(e.text("Name", "AlertId"))
		if severity := e.text("Severity"); severity != "" {
			said += " of " + strings.ToLower(name(severity)) + " severity"
		}
		if whom := e.text("AlertEntityId"); whom != "" {
			said += " about " + name(whom)
		}
		return said
	}
}

// threatMail is mail that was found to be harmful.
func threatMail(e event) string {
	said := "reported the mail " + quote(e.text("Subject")) + " from " + orSomebody(e.text("P2Sender", "P1Sender"))
	if to := e.list("Recipients"); len(to) > 0 {
		said += " to " + join(apply(to, name), "and")
	}
	if verdict := e.text("Verdict"); verdict != "" {
		said += ", judged " + quote(verdict)
	}
	if action := e.text("DeliveryAction"); action != "" {
		said += " and " + quote(action)
	}
	return said
}

func flow(did string) phrase {
	return func(e event) string {
		said := did
		if name := e.text("FlowDisplayName", "FlowName"); name != "" {
			said += " " + quote(name)
		}
		if with := e.text("FlowConnectorNames", "ConnectorName"); with != "" {
			said += " with " + quote(with)
		}
		if where := e.text("FlowDetailsUrl", "ObjectId"); where != "" {
			said += " at " + name(where)
		}
		return said
	}
}
