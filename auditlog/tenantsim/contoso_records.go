package tenantsim

import (
	"net"
	"strconv"
	"strings"
	"time"
)

// Applications that appear in records.
// https://learn.microsoft.com/troubleshoot/entra/entra-id/governance/verify-first-party-apps-sign-in
const (
	officeHome    = "4765445b-32c6-49b0-83e6-1d93765276ca"
	office        = "d3590ed6-52b3-4102-aeff-aad2292ab01c"
	outlookMobile = "27922004-5251-4030-b22d-91ecd9a37ea4"
	teams         = "1fec8e78-bce4-4aaf-ab1b-5451cc387264"
	oneDriveSync  = "ab9b8c07-8f02-4f72-87fa-80105867a763"
	exchangeREST  = "fb78d390-0c51-40cd-8e17-fdbfab77341b"
	sharePoint    = "00000003-0000-0ff1-ce00-000000000000"
)

// A signIn is an entry of Entra ID's sign-ins (RecordType 15).
type signIn struct {
	at       time.Time
	who      *actor
	from     place
	app      string
	resource string
	request  string // RequestType
	failure  string // LogonError; "" means that it succeeded
	number   int    // ErrorNumber
	unknown  string // a guessed name that nobody has; then who is nil
}

func (m *maker) signIn(s signIn) {
	e := entry{at: s.at, operation: "UserLoggedIn", kind: 15, workload: "AzureActiveDirectory", result: "Success",
		address: s.from.address, object: s.resource, user: s.unknown, userKey: "Not Available"}
	id, detail := "00000000-0000-0000-0000-000000000000", "Success"
	if s.who != nil {
		e.user, e.userKey, id = s.who.upn, s.who.id, s.who.id
	}
	if s.failure != "" {
		e.operation, e.result, detail = "UserLoginFailed", "Failed", "UserError"
	}
	record := m.common(e)
	m.number("AzureActiveDirectoryEventType", 1)
	m.pairs("ExtendedProperties", "ResultStatusDetail", detail, "UserAgent", s.from.agent, "UserAuthenticationMethod", "1",
		"RequestType", s.request, "KeepMeSignedIn", "false")
	m.raw("ModifiedProperties", "[]")
	m.raw("Actor", `[{"ID":"`+id+`","Type":0},{"ID":"`+e.user+`","Type":5}]`)
	m.text("ActorContextId", contosoID)
	m.text("ActorIpAddress", s.from.address)
	m.text("InterSystemsId", m.guid())
	m.text("IntraSystemId", record)
	m.text("SupportTicketId", "")
	m.raw("Target", `[{"ID":"`+s.resource+`","Type":0}]`)
	m.text("TargetContextId", contosoID)
	m.text("ApplicationId", s.app)
	properties := []string{"OS", s.from.os, "BrowserType", s.from.browser, "IsCompliantAndManaged", title(s.from.managed)}
	if s.from.managed && s.who != nil {
		properties = append(properties, "Id", s.who.deviceID, "DisplayName", s.who.device, "TrustType", "1")
	}
	m.pairs("DeviceProperties", append(properties, "SessionId", s.from.session)...)
	m.text("ErrorNumber", strconv.Itoa(s.number))
	if s.failure != "" {
		m.text("LogonError", s.failure)
	}
	m.end()
}

// title is a flag in the spelling of .NET.
func title(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// A client is a program that reads mail.
type client struct{ info, app string }

var (
	outlookWeb     = client{"Client=OWA;Action=ViaProxy", exchangeID}
	outlookDesktop = client{"Client=MSExchangeRPC", office}
	outlookPhone   = client{"Client=REST;Client=RESTSystem;;", outlookMobile}
)

// mailbox begins a record of a mailbox. Exchange adds a port to addresses,
// as a rule.
func (m *maker) mailbox(at time.Time, a *actor, from place, c client, operation string, kind int) {
	ip := from.address
	if kind != 50 {
		ip = m.withPort(ip)
	}
	m.common(entry{at: at, operation: operation, kind: kind, workload: "Exchange", result: "Succeeded",
		userKey: a.puid, user: a.upn, address: ip})
	m.text("AppId", c.app)
	m.text("ClientAppId", c.app)
	m.text("ClientIPAddress", ip)
	m.text("ClientInfoString", c.info)
	m.flag("ExternalAccess", false)
	m.number("InternalLogonType", 0)
	m.number("LogonType", 0)
	m.text("LogonUserSid", a.sid)
	m.text("MailboxGuid", a.mailbox)
	m.text("MailboxOwnerSid", a.sid)
	m.text("MailboxOwnerUPN", a.upn)
	m.text("OrganizationName", "contoso.onmicrosoft.com")
	m.text("OriginatingServer", "SIM0MB0001 (15.20.9000.000)")
	m.text("SessionId", from.session)
}

// withPort is an address as Exchange writes it.
func (m *maker) withPort(ip string) string {
	if ip == "" {
		return ""
	}
	return net.JoinHostPort(ip, strconv.Itoa(20000+m.rng.IntN(40000)))
}

// mailID is an Internet message id.
func (m *maker) mailID() string { return "<SIM0MB0001" + m.guid()[:18] + "@contoso.com>" }

// mailAccess is MailItemsAccessed: "Bind" names the n messages that were read,
// "Sync" the folder that was copied.
func (m *maker) mailAccess(at time.Time, a *actor, from place, c client, access, folder string, n int) {
	m.mailbox(at, a, from, c, "MailItemsAccessed", 50)
	m.pairs("OperationProperties", "MailAccessType", access, "IsThrottled", "False")
	if access == "Sync" {
		m.raw("Item", `{"Id":"LgAAAAB`+m.guid()[:8]+`","ParentFolder":{"Id":"LgAAAAB`+m.guid()[:8]+`","Name":"`+folder+`","Path":"\\`+folder+`"}}`)
		m.number("OperationCount", 1)
		m.end()
		return
	}
	m.key("Folders")
	m.buf = append(m.buf, `[{"FolderItems":[`...)
	for i := range n {
		if i > 0 {
			m.buf = append(m.buf, ',')
		}
		m.buf = append(m.buf, `{"Id":"RgAAAAC`...)
		m.buf = append(m.buf, m.guid()[:13]...)
		m.buf = append(m.buf, `","InternetMessageId":"`...)
		m.buf = append(m.buf, m.mailID()...)
		m.buf = append(m.buf, `","SizeInBytes":`...)
		m.buf = strconv.AppendInt(m.buf, int64(4000+m.rng.IntN(90000)), 10)
		m.buf = append(m.buf, '}')
	}
	m.buf = append(m.buf, `],"Id":"LgAAAAB`+a.mailbox[:8]+`","Path":"\\`+folder+`"}]`...)
	m.number("OperationCount", n)
	m.end()
}

// mailItem is something done with one message: Send, Create, Update.
func (m *maker) mailItem(at time.Time, a *actor, from place, c client, operation, subject, folder string) {
	m.mailbox(at, a, from, c, operation, 2)
	m.key("Item")
	m.buf = append(m.buf, `{"Id":"RgAAAAC`+m.guid()[:13]+`","InternetMessageId":"`+m.mailID()+`","ParentFolder":{"Id":"LgAAAAB`+
		a.mailbox[:8]+`","Path":"\\`+folder+`"},"SizeInBytes":`...)
	m.buf = strconv.AppendInt(m.buf, int64(4000+m.rng.IntN(90000)), 10)
	m.buf = append(m.buf, `,"Subject":`...)
	m.buf = appendText(m.buf, subject)
	m.buf = append(m.buf, '}')
	if operation == "Send" {
		m.flag("SaveToSentItems", true)
	}
	m.end()
}

// mailGroup is something done with several messages: SoftDelete, HardDelete,
// MoveToDeletedItems.
func (m *maker) mailGroup(at time.Time, a *actor, from place, c client, operation, folder string, subjects ...string) {
	m.mailbox(at, a, from, c, operation, 3)
	m.key("AffectedItems")
	m.buf = append(m.buf, '[')
	for i, subject := range subjects {
		if i > 0 {
			m.buf = append(m.buf, ',')
		}
		m.buf = append(m.buf, `{"Attachments":"","Id":"RgAAAAC`+m.guid()[:13]+`","InternetMessageId":"`+m.mailID()+
			`","ParentFolder":{"Id":"LgAAAAB`+a.mailbox[:8]+`","Path":"\\`+folder+`"},"Subject":`...)
		m.buf = appendText(m.buf, subject)
		m.buf = append(m.buf, '}')
	}
	m.buf = append(m.buf, ']')
	m.flag("CrossMailboxOperation", false)
	m.raw("Folder", `{"Id":"LgAAAAB`+a.mailbox[:8]+`","Path":"\\`+folder+`"}`)
	if operation == "MoveToDeletedItems" {
		m.raw("DestFolder", `{"Id":"LgAAAAB`+a.mailbox[:8]+`","Path":"\\Deleted Items"}`)
	}
	m.end()
}

// mailSearch is SearchQueryInitiatedExchange.
func (m *maker) mailSearch(at time.Time, a *actor, from place, text string) {
	m.common(entry{at: at, operation: "SearchQueryInitiatedExchange", kind: 101, workload: "Exchange",
		userKey: a.puid, user: a.upn, address: from.address, object: a.upn})
	m.text("ClientAppId", outlookWeb.app)
	m.text("QuerySource", "Outlook")
	m.text("QueryText", text)
	m.text("ScenarioName", "OWASearch")
	m.text("SessionId", from.session)
	m.text("UserAgent", from.agent)
	m.end()
}

// A file lies in a site.
type file struct{ site, siteID, folder, name string }

func (f file) siteURL() string {
	if strings.Contains(f.site, "@") {
		return "https://contoso-my.sharepoint.com/personal/" + strings.NewReplacer("@", "_", ".", "_").Replace(f.site) + "/"
	}
	return "https://contoso.sharepoint.com/sites/" + f.site + "/"
}

func (f file) url() string { return f.siteURL() + f.folder + "/" + f.name }

func (f file) workload() string {
	if strings.Contains(f.site, "@") {
		return "OneDrive"
	}
	return "SharePoint"
}

// site begins a record of SharePoint or OneDrive about a file.
func (m *maker) site(at time.Time, a *actor, from place, operation string, kind int, app string, f file) {
	m.common(entry{at: at, operation: operation, kind: kind, workload: f.workload(),
		userKey: "i:0h.f|membership|" + strings.ToLower(a.puid) + "@live.com", user: a.upn, address: from.address, object: f.url()})
	m.raw("AppAccessContext", `{"AADSessionId":"`+from.session+`","CorrelationId":"`+m.guid()+`","UniqueTokenId":"`+m.guid()[:22]+`"}`)
	m.text("ApplicationId", app)
	m.text("AuthenticationType", "OAuth")
	m.text("BrowserName", from.browser)
	m.text("CorrelationId", m.guid())
	m.text("EventSource", "SharePoint")
	m.flag("IsManagedDevice", from.managed)
	m.text("ItemType", "File")
	m.text("ListId", madeUnder(f.siteID, 'a'))
	m.text("ListItemUniqueId", madeUnder(f.siteID, f.name[0]))
	m.text("Platform", from.os)
	m.text("Site", f.siteID)
	m.text("SiteUrl", f.siteURL())
	m.text("SourceFileExtension", f.name[strings.LastIndex(f.name, ".")+1:])
	m.text("SourceFileName", f.name)
	m.text("SourceRelativeUrl", f.folder)
	m.text("UserAgent", from.agent)
	m.text("WebId", madeUnder(f.siteID, 'c'))
}

// madeUnder is the GUID of a part of a site.
func madeUnder(site string, part byte) string {
	return site[:34] + string([]byte{hex[part>>4], hex[part&15]})
}

func (m *maker) fileEvent(at time.Time, a *actor, from place, operation, app string, f file) {
	m.site(at, a, from, operation, 6, app, f)
	if strings.Contains(operation, "Download") || strings.Contains(operation, "Upload") {
		m.number("FileSizeBytes", 20000+m.rng.IntN(4000000))
		m.text("MachineId", a.deviceID)
	}
	m.flag("HighPriorityMediaProcessing", false)
	m.end()
}

// sharing is an event of sharing a file: a link, or with somebody.
func (m *maker) sharing(at time.Time, a *actor, from place, operation string, f file, target, targetType, event string) {
	m.site(at, a, from, operation, 14, sharePoint, f)
	m.text("EventData", event)
	if target != "" {
		m.text("TargetUserOrGroupName", target)
		m.text("TargetUserOrGroupType", targetType)
	}
	m.text("UniqueSharingId", m.guid())
	m.end()
}

func (m *maker) pageView(at time.Time, a *actor, from place, f file) {
	m.site(at, a, from, "PageViewed", 4, sharePoint, f)
	m.end()
}

// teamsEvent is something in Teams.
func (m *maker) teamsEvent(at time.Time, a *actor, from place, operation, thread string) {
	m.common(entry{at: at, operation: operation, kind: 25, workload: "MicrosoftTeams",
		userKey: a.id, user: a.upn, address: from.address})
	m.raw("AppAccessContext", `{"AADSessionId":"`+from.session+`"}`)
	switch operation {
	case "TeamsSessionStarted":
		m.text("ItemName", a.upn)
		m.pairs("ExtraProperties", "UserAgent", from.agent, "OsName", from.os, "Country", "us")
	case "MessageSent", "MessageUpdated", "ReactedToMessage":
		m.text("ChatThreadId", "19:"+thread+"@thread.v2")
		m.text("CommunicationType", "GroupChat")
		m.text("ItemName", "19:"+thread+"@thread.v2")
		m.text("MessageId", strconv.FormatInt(at.UnixMilli(), 10))
		m.text("MessageVersion", strconv.FormatInt(at.UnixMilli(), 10))
		m.number("MessageSizeInBytes", 40+m.rng.IntN(900))
		m.raw("ParticipantInfo", `{"HasForeignTenantUsers":false,"HasGuestUsers":false,"HasOtherGuestUsers":false,"HasUnauthenticatedUsers":false,"ParticipatingTenantIds":["`+contosoID+`"]}`)
		m.text("ResourceTenantId", contosoID)
	default:
		m.text("ChatThreadId", "19:meeting_"+thread+"@thread.v2")
		m.text("CommunicationType", "ScheduledMeeting")
		m.text("MeetingDetailId", m.guid())
		m.raw("Attendees", `[{"OrganizationId":"`+contosoID+`","RecipientType":"User","UPN":"`+a.upn+`","UserObjectId":"`+a.id+`"}]`)
	}
	m.end()
}

// A change is a property that Entra ID changed.
type change struct{ name, before, after string }

// directory is an event of Entra ID's administration (RecordType 8). Its
// operations end with a full stop.
func (m *maker) directory(at time.Time, by *actor, from place, operation, category string, target *actor, changes []change, details string) {
	actorID, actorType := by.id, "User"
	if by.person == nil {
		actorType = "ServicePrincipal"
	}
	record := m.common(entry{at: at, operation: operation, kind: 8, workload: "AzureActiveDirectory", result: "Success",
		userKey: by.puid + "@contoso.com", userType: 0, user: by.upn, address: from.address, object: target.upn})
	m.number("AzureActiveDirectoryEventType", 1)
	m.pairs("ExtendedProperties", "additionalDetails", details, "extendedAuditEventCategory", category)
	m.key("ModifiedProperties")
	m.buf = append(m.buf, '[')
	for i, c := range changes {
		if i > 0 {
			m.buf = append(m.buf, ',')
		}
		m.buf = append(m.buf, `{"Name":`...)
		m.buf = appendText(m.buf, c.name)
		m.buf = append(m.buf, `,"NewValue":`...)
		m.buf = appendText(m.buf, c.after)
		m.buf = append(m.buf, `,"OldValue":`...)
		m.buf = appendText(m.buf, c.before)
		m.buf = append(m.buf, '}')
	}
	m.buf = append(m.buf, ']')
	m.raw("Actor", `[{"ID":"`+by.upn+`","Type":5},{"ID":"`+by.puid+`","Type":3},{"ID":"`+actorType+`_`+actorID+`","Type":2},{"ID":"`+actorID+`","Type":2},{"ID":"`+actorType+`","Type":2}]`)
	m.text("ActorContextId", contosoID)
	if from.address != "" {
		m.text("ActorIpAddress", from.address)
	}
	m.text("InterSystemsId", m.guid())
	m.text("IntraSystemId", record)
	m.text("SupportTicketId", "")
	m.raw("Target", `[{"ID":"`+category+`_`+target.id+`","Type":2},{"ID":"`+target.id+`","Type":2},{"ID":"`+category+`","Type":2},{"ID":"`+target.name+`","Type":1},{"ID":"`+target.upn+`","Type":5}]`)
	m.text("TargetContextId", contosoID)
	m.end()
}

// cmdlet is an event of Exchange's administration (RecordType 1).
func (m *maker) cmdlet(at time.Time, by *actor, from place, name, object string, parameters ...string) {
	ip, userType := m.withPort(from.address), 2
	if by.person == nil {
		userType = 3
	}
	m.common(entry{at: at, operation: name, kind: 1, workload: "Exchange", result: "True",
		userKey: by.puid, userType: userType, user: by.upn, address: ip, object: object})
	m.text("AppId", exchangeREST)
	m.text("ClientAppId", "")
	m.flag("ExternalAccess", by.person == nil)
	m.text("OrganizationName", "contoso.onmicrosoft.com")
	m.text("OriginatingServer", "SIM0MB0001 (15.20.9000.000)")
	m.pairs("Parameters", parameters...)
	m.text("RequestId", m.guid())
	m.text("SessionId", from.session)
	m.end()
}

// alert is an alert of the compliance centre (RecordType 40).
func (m *maker) alert(at time.Time, name, severity, about, what string) {
	m.common(entry{at: at, operation: "AlertTriggered", kind: 40, workload: "SecurityComplianceCenter", result: "Succeeded",
		userKey: "SecurityComplianceAlerts", userType: 4, user: "SecurityComplianceAlerts", object: m.guid()})
	m.text("AlertId", m.guid())
	m.text("AlertType", "System")
	m.text("Category", "ThreatManagement")
	m.text("Comments", "New alert")
	m.text("Data", `{"f3u":"`+about+`","ts":"`+m.clock(at)+`Z","al":"`+severity+`","op":"`+what+`"}`)
	m.text("EntityType", "User")
	m.text("Name", name)
	m.text("PolicyId", madeGUID("policy "+name))
	m.text("Severity", severity)
	m.text("Source", "Office 365 Security & Compliance")
	m.text("Status", "Active")
	m.end()
}
