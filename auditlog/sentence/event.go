package sentence

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"auditbot/auditlog"
)

// An event is a record that a sentence is made of.
type event struct{ view auditlog.View }

// text is the first of these fields that has a value, without blanks around it.
func (e event) text(paths ...string) string {
	for _, path := range paths {
		if s := strings.TrimSpace(e.view.Text(path)); s != "" {
			return s
		}
	}
	return ""
}

// param is the first of these parameters of a cmdlet that has a value.
func (e event) param(names ...string) string {
	for _, name := range names {
		if s := e.text("Parameters." + name); s != "" {
			return s
		}
		for _, typed := range e.typed() {
			if strings.EqualFold(typed.Name, name) {
				return typed.New
			}
		}
	}
	return ""
}

// typedPart is a parameter as the compliance centre writes it: -Name "x" -Purge.
var typedPart = regexp.MustCompile(`(?:^|\s)-([A-Za-z]+)(?:[\s:]+(?:"([^"]*)"|([^\s"-]\S*)))?`)

// typed are the parameters of a cmdlet whose record has them as a text. A
// switch has the value True.
func (e event) typed() []Change {
	value, _ := e.view.Get("Parameters")
	line, _ := value.(string)
	var all []Change
	for _, part := range typedPart.FindAllStringSubmatch(line, maxParts) {
		all = append(all, Change{Name: part[1], New: cmp.Or(part[2], part[3], "True")})
	}
	return all
}

// list is the texts of a field that is a list, or one text with semicolons.
func (e event) list(path string) []string {
	value, _ := e.view.Get(path)
	elements, ok := value.([]any)
	if !ok {
		return split(e.text(path))
	}
	var all []string
	for _, element := range elements {
		if s := plain(element); s != "" {
			all = append(all, s)
		}
	}
	return all
}

// split is the parts of a text with semicolons, as cmdlets write lists.
func split(s string) []string {
	parts := strings.Split(s, ";")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return slices.DeleteFunc(parts, func(part string) bool { return part == "" })
}

// who did it. Programs in Entra ID have an id for a user and their name in
// Actor.
func (e event) who() string {
	user := e.text("UserId")
	if user == "" || user == "Not Available" || strings.HasPrefix(user, "ServicePrincipal_") {
		if program := e.named("Actor", "1"); program != "" {
			return "the program " + quote(program)
		}
	}
	if user == "" {
		user = e.text("UserKey")
	}
	if user == "" || user == "Not Available" {
		return "somebody"
	}
	return name(user)
}

// named is the ID in Actor or Target that has this type: 1 a display name, 5 a
// user principal name.
// https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-schema
func (e event) named(field, kind string) string {
	value, _ := e.view.Get(field)
	identities, _ := value.([]any)
	for _, identity := range identities {
		found, _ := auditlog.Member(identity, "Type")
		if id, _ := auditlog.Member(identity, "ID"); plain(found) == kind && plain(id) != "" && plain(id) != "Not Available" {
			return plain(id)
		}
	}
	return ""
}

// target is whom or what a change in Entra ID was made to, "" if unknown.
func (e event) target() string {
	for _, kind := range []string{"5", "1"} {
		if s := e.named("Target", kind); s != "" {
			return s
		}
	}
	return e.text("ObjectId")
}

// from is "from 203.0.113.9", or "".
func (e event) from() string {
	if ip := e.view.IP(); ip != "" {
		return "from " + ip
	}
	return ""
}

// clients are parts of ClientInfoString and what they mean to people. Those of
// the REST API are left to the name of the app.
// https://learn.microsoft.com/purview/audit-log-investigate-accounts
var clients = []struct{ part, name string }{
	{"Client=OWA", "Outlook on the web"},
	{"Client=MSExchangeRPC", "Outlook"},
	{"Client=OutlookService", "Outlook on a phone"},
	{"ActiveSync", "ActiveSync"},
	{"Client=WebServices", "Exchange Web Services"},
	{"POP3", "POP3 or IMAP4"},
	{"IMAP4", "POP3 or IMAP4"},
	{"Powershell", "Exchange PowerShell"},
	{"Hub Transport", "mail transport"},
}

// via is "via Outlook on the web", or "".
func (e event) via() string {
	info := e.text("ClientInfoString")
	for _, client := range clients {
		if strings.Contains(strings.ToLower(info), strings.ToLower(client.part)) {
			return "via " + client.name
		}
	}
	if app := e.app(e.view.App()); app != "" {
		return "via " + app
	}
	if strings.Contains(info, "Client=REST") {
		return "via the REST API"
	}
	return ""
}

// app is a program's name; one that is not Microsoft's is told by what the
// record calls it, or its id.
func (e event) app(a auditlog.App) string {
	switch shown := e.text("ApplicationDisplayName"); {
	case a.Name != "":
		return a.Name
	case shown != "":
		return "the app " + quote(shown)
	case a.ID != "":
		return "the app " + name(a.ID)
	}
	return ""
}

// others is " in the mailbox of bob@contoso.com" unless it is the user's own.
func (e event) others() string {
	owner := e.text("MailboxOwnerUPN")
	if owner == "" || strings.EqualFold(owner, e.text("UserId")) {
		return ""
	}
	as := map[string]string{"1": ", as an administrator,", "2": ", as a delegate,", "6": ", as an administrator of a partner,"}[e.text("LogonType")]
	return as + " in the mailbox of " + name(owner)
}

// object is what a cmdlet was about: who or what has the last name in paths
// such as "EURP.PROD.OUTLOOK.COM/Microsoft Exchange Hosted Organizations/contoso.onmicrosoft.com/ada".
func (e event) object(params ...string) string {
	if s := e.param(params...); s != "" {
		return lastName(s)
	}
	return lastName(e.text("ObjectId"))
}

func lastName(s string) string {
	if _, within, ok := strings.Cut(s, "Hosted Organizations/"); ok {
		return within[strings.LastIndexByte(within, '/')+1:]
	}
	return s
}

// count is "1 message", "12 messages".
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// about is a phrase of a verb and the object of the record; a field that is
// missing takes its words with it.
func about(did string, find func(event) string) phrase {
	return func(e event) string {
		if object := find(e); object != "" {
			return did + " " + name(object)
		}
		return did + ", of which the record gives no name"
	}
}
