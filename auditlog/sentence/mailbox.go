package sentence

import (
	"strconv"
	"strings"
)

var mailboxPhrases = map[string]phrase{
	"MailboxLogin":      func(e event) string { return "opened the mailbox" + e.others() },
	"MailItemsAccessed": mailItemsAccessed,
	"FolderBind": func(e event) string {
		return "opened the folder " + quote(e.folder("Folder.Path", "Item.ParentFolder.Path")) + e.others()
	},
	"MessageBind": withMail("opened"),

	"Send":         sent,
	"SendAs":       sent,
	"SendOnBehalf": sent,

	"Create":             withMail("saved"),
	"Update":             withMail("changed"),
	"Copy":               withMail("copied"),
	"Move":               withMail("moved"),
	"MoveToDeletedItems": withMail("moved to Deleted Items"),
	"SoftDelete":         withMail("deleted (recoverably)"),
	"HardDelete":         withMail("deleted for good"),

	"SearchQueryInitiatedExchange": func(e event) string { return "searched mail for " + quote(e.text("QueryText", "SearchQueryText")) },

	"AddFolderPermissions":           folderPermission("gave WHO RIGHTS"),
	"UpdateFolderPermissions":        folderPermission("set the rights of WHO to RIGHTS"),
	"ModifyFolderPermissions":        folderPermission("set the rights of WHO to RIGHTS"),
	"RemoveFolderPermissions":        folderPermission("took RIGHTS from WHO"),
	"UpdateCalendarDelegation":       func(e event) string { return "changed who may manage the calendar" + e.others() + e.changed() },
	"Add-MailboxPermission":          permission("gave WHO RIGHTS on the mailbox"),
	"Remove-MailboxPermission":       permission("took RIGHTS from WHO on the mailbox"),
	"Add-RecipientPermission":        permission("gave WHO RIGHTS on the recipient"),
	"Remove-RecipientPermission":     permission("took RIGHTS from WHO on the recipient"),
	"Add-ADPermission":               permission("gave WHO RIGHTS on"),
	"Add-MailboxFolderPermission":    permission("gave WHO RIGHTS on the folder"),
	"Set-MailboxFolderPermission":    permission("set the rights of WHO to RIGHTS on the folder"),
	"Remove-MailboxFolderPermission": permission("took RIGHTS from WHO on the folder"),

	"Set-Mailbox":          setMailbox,
	"Set-MailUser":         setMailbox,
	"Set-RemoteMailbox":    setMailbox,
	"Enable-RemoteMailbox": setMailbox,
	"New-Mailbox":          func(e event) string { return "created the mailbox " + name(e.object("Name", "Identity")) },
	"Set-MailboxJunkEmailConfiguration": func(e event) string {
		return "changed the junk mail settings of " + name(e.object("Identity")) + e.changed()
	},
	"Set-MailboxAutoReplyConfiguration": func(e event) string {
		return "changed the automatic replies of " + name(e.object("Identity")) + e.changed()
	},
}

// mailItemsAccessed tells a copy of a folder ("Sync") from single messages
// ("Bind"). What was throttled is not in the log.
func mailItemsAccessed(e event) string {
	n, _ := strconv.Atoi(e.text("OperationCount"))
	var said string
	if e.text("OperationProperties.MailAccessType") == "Sync" {
		said = "copied the folder " + quote(e.folder("Item.ParentFolder.Path", "Folders.Path")) + " (sync)"
	} else {
		said = "read " + count(max(n, 1), "message")
		if folders := e.list("Folders.Path"); len(folders) > 0 {
			said += " in " + join(apply(folders, func(path string) string { return quote(strings.TrimPrefix(path, `\`)) }), "and")
		}
	}
	said += e.others()
	if strings.EqualFold(e.text("OperationProperties.IsThrottled"), "true") {
		said += "; what else was read then is not logged (throttled)"
	}
	return said
}

// folder is the first of these paths that is there, without the backslash that
// it begins with; or "".
func (e event) folder(paths ...string) string {
	for _, path := range paths {
		if all := e.list(path); len(all) > 0 {
			return strings.TrimPrefix(all[0], `\`)
		}
	}
	return ""
}

// withMail is a phrase about one message or several: their subjects, and the
// folders that they were in and came to. What follows the verb in did comes
// after the subjects.
func withMail(did string) phrase {
	verb, after, _ := strings.Cut(did, " ")
	in := "in"
	if verb == "deleted" || verb == "moved" || verb == "copied" {
		in = "from"
	}
	return func(e event) string {
		said := spaced(verb, e.messages(), after)
		if folder := e.folder("Folder.Path", "Item.ParentFolder.Path", "AffectedItems.ParentFolder.Path"); folder != "" {
			said += " " + in + " " + quote(folder)
		}
		if dest := e.folder("DestFolder.Path"); dest != "" && after == "" {
			said += " to " + quote(dest)
		}
		return said + e.others() + e.touched()
	}
}

// touched names the properties that an Update of a message changed.
func (e event) touched() string {
	if e.text("Operation") != "Update" {
		return ""
	}
	if value, _ := e.view.Get("ModifiedProperties"); value != nil {
		if names := e.list("ModifiedProperties"); len(names) > 0 && len(e.properties()) == 0 {
			return ": " + join(apply(names, name), "and")
		}
	}
	return e.changed()
}

// messages is "the message 'Invoice 12'", "3 messages ('a', 'b' and 'c')".
func (e event) messages() string {
	subjects := e.list("AffectedItems.Subject")
	if subject := e.text("Item.Subject"); subject != "" {
		subjects = []string{subject}
	}
	n := max(len(e.list("AffectedItems.Id")), len(subjects))
	switch {
	case n == 1 && len(subjects) == 1:
		return "the message " + quote(subjects[0])
	case n <= 1:
		return "a message without a subject"
	case len(subjects) == 0:
		return count(n, "message")
	}
	return count(n, "message") + " (" + join(apply(subjects, quote), "and") + ")"
}

func sent(e event) string {
	said := "sent " + e.messages()
	if as := e.text("SendAsUserSmtp"); as != "" {
		said += " as " + name(as)
	} else if of := e.text("SendOnBehalfOfUserSmtp"); of != "" {
		said += " on behalf of " + name(of)
	}
	if n, _ := strconv.Atoi(e.text("RecipientCount")); n > 0 {
		said += " to " + count(n, "recipient")
	}
	if files := e.text("Item.Attachments"); files != "" {
		said += " with " + quote(files)
	}
	if strings.EqualFold(e.text("SaveToSentItems"), "false") {
		said += ", without a copy in Sent Items"
	}
	return said + e.others()
}

// folderPermission is a phrase about rights on a folder, as Outlook changes
// them. WHO and RIGHTS stand for theirs in did.
func folderPermission(did string) phrase {
	return func(e event) string {
		who, rights := e.text("Item.ParentFolder.MemberUpn", "MemberUpn"), e.text("Item.ParentFolder.MemberRights", "MemberRights")
		return granted(did, who, rights) + " on the folder " + quote(e.folder("Item.ParentFolder.Path", "Folder.Path")) + e.others()
	}
}

// permission is a phrase about rights on a mailbox, by a cmdlet.
func permission(did string) phrase {
	return func(e event) string {
		return granted(did, e.param("User", "Trustee"), e.param("AccessRights")) + " " + name(e.object("Identity"))
	}
}

func granted(did, who, rights string) string {
	shown := "rights"
	if rights != "" {
		shown = name(rights)
	} else {
		did = strings.TrimSuffix(did, " to RIGHTS")
	}
	return strings.NewReplacer("WHO", orSomebody(who), "RIGHTS", shown).Replace(did)
}

func orSomebody(who string) string {
	if who == "" {
		return "somebody"
	}
	return name(who)
}

// setMailbox names forwarding first, since that is how mail leaves.
func setMailbox(e event) string {
	of := name(e.object("Identity"))
	to := strings.TrimPrefix(e.param("ForwardingSmtpAddress", "ForwardingAddress"), "smtp:")
	if to == "" {
		return "changed the mailbox " + of + e.changed()
	}
	said := "set the mailbox " + of + " to forward to " + name(to)
	switch strings.ToLower(e.param("DeliverToMailboxAndForward")) {
	case "true":
		said += " and keep a copy"
	case "false":
		said += " without keeping a copy"
	}
	return said + e.with("ForwardingSmtpAddress", "ForwardingAddress", "DeliverToMailboxAndForward")
}
