package tenantsim

import (
	"fmt"
	"time"
)

// Where the attack comes from, and where it sends what it finds.
const (
	sprayAddress  = "198.51.100.23"  // guesses passwords
	attackAddress = "198.51.100.77"  // signs in as erin
	buyerAddress  = "198.51.100.140" // opens the link that was shared
	collector     = "ap@fabrikam-invoices.example"
)

// fakeApp is the application that erin is made to consent to.
var fakeApp = &actor{upn: "Mail Archive Sync", name: "Mail Archive Sync", id: madeGUID("fake app"), puid: "Not Available"}

// A plot is the story while it is told.
type plot struct {
	*maker
	midnight  time.Time // of the day that is now, UTC
	erin      *actor
	intruder  place // in a browser
	appAccess place // through the fake app
	files     []file
}

// story makes the records of the compromise of erin@contoso.com. Days are
// counted back from now.
//
//	9  passwords are guessed for everybody, from abroad; erin's is found
//	8  a sign-in from abroad: mail is read and searched, a rule hides the
//	   answers, mail is forwarded to outside
//	7  erin's account consents to an app that reads mail
//	6  finance's files are downloaded in a burst, and one folder is shared
//	4  a message asks a customer to pay to another account
//	3  what was sent is deleted for good, the rule removed
//	2  alerts are looked at; erin's password is reset, the app removed
//	1  the attacker tries again, in vain
func (m *maker) story(now time.Time) {
	p := &plot{
		maker:     m,
		midnight:  now.Truncate(24 * time.Hour),
		erin:      m.actors["erin"],
		intruder:  place{attackAddress, chrome, "MacOs", "Chrome", m.guid(), false},
		appAccess: place{attackAddress, "python-requests/2.32.4", "Unknown", "Other", m.guid(), false},
	}
	for i := range 140 {
		folder := []string{"Invoices", "Payments", "Bank", "Suppliers"}[i%4]
		p.files = append(p.files, file{"Finance", siteID("Finance"), "Shared Documents/" + folder, fmt.Sprintf("%s %d.pdf", folder[:len(folder)-1], 20300+i)})
	}
	p.spray()
	p.reading()
	p.hiding()
	p.consent()
	p.stealing()
	p.fraud()
	p.cleanUp()
	p.response()
}

// on is a time on the day that lies days back.
func (p *plot) on(days, hour, minute, second int) time.Time {
	return p.midnight.AddDate(0, 0, -days).Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second)
}

// spray tries few passwords on many accounts, some of them guessed.
func (p *plot) spray() {
	from := place{sprayAddress, "python-requests/2.32.4", "Unknown", "Other", "", false}
	at := p.on(9, 1, 40, 0)
	attempt := func(s signIn) {
		s.at, s.from, s.app, s.resource, s.request = at, from, officeHome, exchangeID, "OAuth2:Token"
		p.signIn(s)
		at = at.Add(time.Duration(5+p.rng.IntN(12)) * time.Second)
	}
	for round := range 4 {
		for _, a := range p.people {
			s := signIn{who: a, failure: "InvalidUserNameOrPassword", number: 50126}
			if round == 3 && a.person.name == "dan" {
				s.failure, s.number = "IdsLocked", 50053
			}
			if round < 3 || a != p.erin {
				attempt(s)
			}
		}
		for _, name := range []string{"admin", "info", "accounts", "scanner"} {
			attempt(signIn{unknown: name + "@contoso.com", failure: "UserAccountNotFound", number: 50034})
		}
	}
	attempt(signIn{who: p.erin})
}

// reading is the first look around: what is there, and who pays whom.
func (p *plot) reading() {
	p.signIn(signIn{at: p.on(8, 4, 5, 12), who: p.erin, from: p.intruder, app: officeHome, resource: exchangeID, request: "OAuth2:Authorize"})
	p.signIn(signIn{at: p.on(8, 4, 5, 31), who: p.erin, from: p.intruder, app: exchangeID, resource: exchangeID, request: "Login:reprocess"})
	for i := range 12 {
		p.mailAccess(p.on(8, 4, 8+2*i, 17), p.erin, p.intruder, outlookWeb, "Bind", "Inbox", 2+i%5)
	}
	p.mailAccess(p.on(8, 4, 33, 2), p.erin, p.intruder, outlookDesktop, "Sync", "Inbox", 0)
	p.mailAccess(p.on(8, 4, 34, 40), p.erin, p.intruder, outlookDesktop, "Sync", "Sent Items", 0)
	for i, text := range []string{"invoice", "wire transfer", "bank details", "payment due", "password"} {
		p.mailSearch(p.on(8, 4, 20, 9+40*i), p.erin, p.intruder, text)
	}
}

// hiding keeps erin from seeing answers, and sends them elsewhere.
func (p *plot) hiding() {
	p.cmdlet(p.on(8, 4, 41, 33), p.erin, p.intruder, "New-InboxRule", p.erin.upn+`\.`,
		"AlwaysDeleteOutlookRulesBlob", "False", "Force", "False", "Name", ".", "SubjectOrBodyContainsWords", "invoice;payment;bank;fraud",
		"DeleteMessage", "True", "MarkAsRead", "True", "StopProcessingRules", "True")
	p.mailbox(p.on(8, 4, 41, 35), p.erin, p.intruder, outlookWeb, "UpdateInboxRules", 2)
	p.pairs("OperationProperties", "RuleOperation", "AddMailboxRule", "Name", ".", "Conditions", "(SubjectOrBodyContainsWords: invoice, payment, bank, fraud)",
		"Actions", "DeleteAction, MarkAsReadAction", "IsNew", "True", "ServerRule", "True", "RemoveOutlookRuleBlob", "False")
	p.end()
	p.cmdlet(p.on(8, 4, 52, 8), p.erin, p.intruder, "Set-Mailbox", p.erin.upn,
		"Identity", p.erin.upn, "ForwardingSmtpAddress", "smtp:"+collector, "DeliverToMailboxAndForward", "True")
	p.alert(p.on(8, 5, 10, 0), "Suspicious email forwarding activity", "High", p.erin.upn, "Set-Mailbox")
}

// consent gives an application the right to read mail, which outlives the
// password.
func (p *plot) consent() {
	details := `{"User-Agent":"` + chrome + `","AppId":"` + fakeApp.id + `"}`
	const scope = "Mail.Read Mail.Send MailboxSettings.ReadWrite Files.Read.All offline_access User.Read"
	p.signIn(signIn{at: p.on(7, 5, 8, 50), who: p.erin, from: p.intruder, app: officeHome, resource: graphID, request: "OAuth2:Authorize"})
	p.directory(p.on(7, 5, 10, 3), p.erin, p.intruder, "Add service principal.", "ServicePrincipal", fakeApp,
		[]change{{"AppPrincipalId", "", `["` + fakeApp.id + `"]`}, {"DisplayName", "", `["` + fakeApp.name + `"]`}, {"Included Updated Properties", "", "AppPrincipalId, DisplayName"}}, details)
	p.directory(p.on(7, 5, 10, 4), p.erin, p.intruder, "Add delegated permission grant.", "ServicePrincipal", fakeApp,
		[]change{{"DelegatedPermissionGrant.Scope", "", scope}, {"DelegatedPermissionGrant.ConsentType", "", "Principal"}, {"ServicePrincipal.AppId", "", fakeApp.id}}, details)
	p.directory(p.on(7, 5, 10, 4), p.erin, p.intruder, "Add app role assignment grant to user.", "ServicePrincipal", fakeApp,
		[]change{{"AppRole.Id", "", "00000000-0000-0000-0000-000000000000"}, {"User.UPN", "", p.erin.upn}}, details)
	p.directory(p.on(7, 5, 10, 5), p.erin, p.intruder, "Consent to application.", "ServicePrincipal", fakeApp,
		[]change{
			{"ConsentContext.IsAdminConsent", "", "False"}, {"ConsentContext.IsAppOnly", "", "False"}, {"ConsentContext.OnBehalfOfAll", "", "False"},
			{"ConsentAction.Permissions", "", "[] => [[Id: " + madeGUID("grant") + ", PrincipalId: " + p.erin.id + ", ConsentType: Principal, Scope: " + scope + "]]; "},
			{"TargetId.ServicePrincipalNames", "", fakeApp.id},
		}, details)
	app := client{"Client=REST;Client=RESTSystem;;", fakeApp.id}
	for i := range 18 {
		p.mailAccess(p.on(7, 5, 30+i, 3), p.erin, p.appAccess, app, "Bind", "Inbox", 6+i%4)
	}
}

// stealing takes finance's files.
func (p *plot) stealing() {
	p.signIn(signIn{at: p.on(6, 2, 58, 21), who: p.erin, from: p.intruder, app: sharePoint, resource: sharePoint, request: "OAuth2:Authorize"})
	for i, f := range p.files {
		p.fileEvent(p.on(6, 3, 1, 10+i*180/len(p.files)), p.erin, p.intruder, "FileDownloaded", sharePoint, f)
	}
	shared := file{"Finance", siteID("Finance"), "Shared Documents/Bank", "Bank 20302.pdf"}
	p.sharing(p.on(6, 3, 20, 44), p.erin, p.intruder, "AnonymousLinkCreated", shared, "", "", "<Type>View</Type>")
	p.sharing(p.on(6, 3, 20, 45), p.erin, p.intruder, "SharingSet", shared, "SharingLinks.OrganizationView", "SharePointGroup", "<Permissions granted>View</Permissions granted>")
	nobody := &actor{upn: "anonymous", puid: "anonymous", deviceID: p.erin.deviceID}
	for i := range 3 {
		p.sharing(p.on(5, 7, 11+9*i, 30), nobody, place{buyerAddress, iPhone, "Ios 18.6", "Mobile Safari", "", false}, "AnonymousLinkUsed", shared, "", "", "<Type>View</Type>")
	}
}

// fraud asks for money.
func (p *plot) fraud() {
	p.signIn(signIn{at: p.on(4, 6, 9, 2), who: p.erin, from: p.intruder, app: officeHome, resource: exchangeID, request: "OAuth2:Authorize"})
	p.mailAccess(p.on(4, 6, 10, 40), p.erin, p.intruder, outlookWeb, "Bind", "Sent Items", 4)
	p.mailItem(p.on(4, 6, 14, 20), p.erin, p.intruder, outlookWeb, "Create", fraudSubject, "Drafts")
	p.mailItem(p.on(4, 6, 15, 37), p.erin, p.intruder, outlookWeb, "Send", fraudSubject, "Sent Items")
	p.mailItem(p.on(4, 6, 22, 5), p.erin, p.intruder, outlookWeb, "Send", "Re: "+fraudSubject, "Sent Items")
}

const fraudSubject = "Invoice 20418: our new bank details"

// cleanUp removes the traces in the mailbox.
func (p *plot) cleanUp() {
	p.mailGroup(p.on(4, 6, 30, 11), p.erin, p.intruder, outlookWeb, "SoftDelete", "Sent Items", fraudSubject, "Re: "+fraudSubject)
	p.mailGroup(p.on(4, 6, 30, 52), p.erin, p.intruder, outlookWeb, "HardDelete", "Recoverable Items\\\\Deletions", fraudSubject, "Re: "+fraudSubject)
	p.mailGroup(p.on(3, 4, 2, 19), p.erin, p.intruder, outlookWeb, "HardDelete", "Deleted Items", "Suspicious sign-in to your account", "Alert: forwarding was set up", "Re: "+fraudSubject)
	p.cmdlet(p.on(3, 4, 6, 48), p.erin, p.intruder, "Remove-InboxRule", p.erin.upn+`\.`, "AlwaysDeleteOutlookRulesBlob", "False", "Force", "True", "Identity", `erin\.`)
}

// response is what ada, who looks, and victor, who administers, do about it.
func (p *plot) response() {
	ada, victor := p.actors["ada"], p.actors["victor"]
	p.signIn(signIn{at: p.on(2, 8, 41, 5), who: ada, from: ada.office, app: exchangeREST, resource: exchangeID, request: "Cmsi:Cmsi"})
	p.alert(p.on(2, 8, 30, 0), "Unusual volume of file downloads", "Medium", p.erin.upn, "FileDownloaded")
	details := `{"UserType":"Member"}`
	p.directory(p.on(2, 9, 2, 14), victor, victor.office, "Reset user password.", "User", p.erin, nil, details)
	p.directory(p.on(2, 9, 2, 15), victor, victor.office, "Update StsRefreshTokenValidFrom Timestamp.", "User", p.erin,
		[]change{{"StsRefreshTokensValidFrom", `["` + p.clock(p.on(300, 9, 0, 0)) + `Z"]`, `["` + p.clock(p.on(2, 9, 2, 15)) + `Z"]`}}, details)
	p.cmdlet(p.on(2, 9, 6, 40), victor, victor.office, "Set-Mailbox", p.erin.upn, "Identity", p.erin.upn, "ForwardingSmtpAddress", "", "DeliverToMailboxAndForward", "False")
	p.directory(p.on(2, 9, 11, 27), victor, victor.office, "Remove delegated permission grant.", "ServicePrincipal", fakeApp,
		[]change{{"ServicePrincipal.AppId", fakeApp.id, ""}}, details)
	p.directory(p.on(2, 9, 11, 58), victor, victor.office, "Remove service principal.", "ServicePrincipal", fakeApp,
		[]change{{"DisplayName", `["` + fakeApp.name + `"]`, "[]"}}, details)
	p.signIn(signIn{at: p.on(2, 9, 30, 3), who: p.erin, from: p.erin.office, app: officeHome, resource: exchangeID, request: "Login:login"})
	p.directory(p.on(2, 9, 31, 22), p.erin, p.erin.office, "Change user password.", "User", p.erin, nil, details)
	p.signIn(signIn{at: p.on(1, 3, 47, 19), who: p.erin, from: p.intruder, app: officeHome, resource: exchangeID, request: "OAuth2:Token", failure: "FreshTokenNeeded", number: 50173})
	for i := range 3 {
		p.signIn(signIn{at: p.on(1, 3, 48, 5+20*i), who: p.erin, from: p.intruder, app: officeHome, resource: exchangeID, request: "Login:login", failure: "InvalidUserNameOrPassword", number: 50126})
	}
}
