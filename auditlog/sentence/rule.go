package sentence

import (
	"strings"
)

var rulePhrases = map[string]phrase{
	"New-InboxRule":     func(e event) string { return "created the inbox rule " + e.rule() + e.ruleDoes(" that ") },
	"Set-InboxRule":     func(e event) string { return "changed the inbox rule " + e.rule() + e.ruleDoes(", which now ") },
	"Enable-InboxRule":  func(e event) string { return "turned on the inbox rule " + e.rule() },
	"Disable-InboxRule": func(e event) string { return "turned off the inbox rule " + e.rule() },
	"Remove-InboxRule":  func(e event) string { return "removed the inbox rule " + e.rule() },
	"UpdateInboxRules":  updateInboxRules,

	"New-TransportRule": func(e event) string { return "created the mail flow rule " + e.rule() + e.ruleDoes(" that ") },
	"Set-TransportRule": func(e event) string { return "changed the mail flow rule " + e.rule() + e.ruleDoes(", which now ") },
}

// rule is the rule's name, and the mailbox it is in if that is told and not the
// user's.
func (e event) rule() string {
	mailbox, rule, within := strings.Cut(lastName(e.text("ObjectId")), `\`)
	if named := e.param("Name", "Identity"); named != "" {
		rule = named[strings.LastIndexByte(named, '\\')+1:]
	} else if !within {
		rule = mailbox
	}
	said := quote(rule)
	if given := e.param("Mailbox"); given != "" {
		mailbox, within = lastName(given), true
	}
	user := e.text("UserId")
	alias, _, _ := strings.Cut(user, "@")
	if within && strings.Contains(mailbox, "@") && !strings.EqualFold(mailbox, user) && !strings.EqualFold(mailbox, alias) {
		said += " in the mailbox of " + name(mailbox)
	}
	return said
}

// A wording is what a parameter of a rule means. VALUE stands for its value,
// MAIL for the mail.
type wording struct{ parameter, words string }

var ruleActions = []wording{
	{"DeleteMessage", "deletes MAIL"},
	{"SoftDeleteMessage", "deletes MAIL"},
	{"Quarantine", "puts MAIL into quarantine"},
	{"ForwardTo", "forwards MAIL to VALUE"},
	{"ForwardAsAttachmentTo", "forwards MAIL as an attachment to VALUE"},
	{"RedirectTo", "redirects MAIL to VALUE"},
	{"RedirectMessageTo", "redirects MAIL to VALUE"},
	{"BlindCopyTo", "sends a blind copy of MAIL to VALUE"},
	{"CopyTo", "sends a copy of MAIL to VALUE"},
	{"AddToRecipients", "adds to the recipients of MAIL VALUE"},
	{"MoveToFolder", "moves MAIL to the folder VALUE"},
	{"CopyToFolder", "copies MAIL to the folder VALUE"},
	{"MarkAsRead", "marks MAIL as read"},
	{"SetSCL", "sets the spam level of MAIL to VALUE"},
	{"RejectMessageReasonText", "rejects MAIL saying VALUE"},
	{"PrependSubject", "puts VALUE before the subject of MAIL"},
	{"StopProcessingRules", "stops further rules"},
	{"StopRuleProcessing", "stops further rules"},
}

var ruleConditions = []wording{
	{"From", "from VALUE"},
	{"FromAddressContainsWords", "from addresses containing VALUE"},
	{"FromAddressMatchesPatterns", "from addresses like VALUE"},
	{"SenderDomainIs", "from the domain VALUE"},
	{"FromScope", "from VALUE"},
	{"SentTo", "to VALUE"},
	{"SentToScope", "to VALUE"},
	{"RecipientAddressContainsWords", "to addresses containing VALUE"},
	{"SubjectContainsWords", "with VALUE in the subject"},
	{"BodyContainsWords", "with VALUE in the body"},
	{"SubjectOrBodyContainsWords", "containing VALUE"},
	{"HeaderContainsWords", "with VALUE in the header"},
	{"MyNameInToOrCcBox", "to the owner or with a copy to them"},
	{"MyNameInToBox", "to the owner"},
	{"HasAttachment", "with an attachment"},
	{"WithImportance", "of VALUE importance"},
	{"WithinSizeRangeMinimum", "of VALUE or more"},
}

// ruleDoes is what the rule does, after the words that lead to it: "deletes
// mail containing 'invoice', marks it as read and stops further rules".
func (e event) ruleDoes(lead string) string {
	conditions := e.worded(ruleConditions)
	mail := "all mail"
	if len(conditions) > 0 {
		mail = "mail " + strings.Join(conditions, " and ")
	} else if lead != " that " {
		mail = "mail" // a change need not repeat the conditions
	}
	actions := e.worded(ruleActions)
	for i, action := range actions {
		if strings.Contains(action, "MAIL") {
			actions[i] = strings.Replace(action, "MAIL", mail, 1)
			mail = "it"
		}
	}
	told := []string{"Name", "Mailbox"}
	for _, w := range append(ruleActions[:len(ruleActions):len(ruleActions)], ruleConditions...) {
		told = append(told, w.parameter)
	}
	switch {
	case len(actions) > 0:
		return lead + join(actions, "and") + e.with(told...)
	case len(conditions) > 0:
		return " for " + mail + e.with(told...)
	}
	return e.with(told...)
}

// worded is the words of those parameters that are set, with MAIL still in
// them.
func (e event) worded(all []wording) []string {
	var said []string
	for _, w := range all {
		value := e.param(w.parameter)
		if value == "" || strings.EqualFold(value, "false") || strings.EqualFold(value, "null") {
			continue
		}
		shown := join(apply(split(value), quote), "or")
		if strings.HasSuffix(w.parameter, "To") {
			shown = join(apply(split(value), func(s string) string { return name(strings.TrimPrefix(s, "smtp:")) }), "and")
		}
		said = append(said, strings.Replace(w.words, "VALUE", shown, 1))
	}
	return said
}

// updateInboxRules is a rule as Outlook and other programs save it: what it
// does is a text of Exchange's.
func updateInboxRules(e event) string {
	did := map[string]string{"AddMailboxRule": "created", "ModifyMailboxRule": "changed", "RemoveMailboxRule": "removed"}[e.text("OperationProperties.RuleOperation")]
	if did == "" {
		did = "saved"
	}
	said := did + " the inbox rule " + quote(e.text("OperationProperties.Name", "OperationProperties.RuleName"))
	var parts []string
	if conditions := e.text("OperationProperties.Conditions", "OperationProperties.RuleCondition"); conditions != "" {
		parts = append(parts, "the condition "+quote(conditions))
	}
	if actions := e.text("OperationProperties.Actions", "OperationProperties.RuleActions"); actions != "" {
		parts = append(parts, "the action "+quote(actions))
	}
	if len(parts) > 0 {
		said += " with " + join(parts, "and")
	}
	return said + e.others()
}
