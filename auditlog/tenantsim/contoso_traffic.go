package tenantsim

import (
	"slices"
	"strings"
	"time"
)

// trafficRecords is how many records of ordinary traffic there are; with the
// story they are about 20,000.
const trafficRecords = 19_500

// hours is how much happens in an hour of the day (UTC) while the office is
// open, and how much on other days.
var hours = [24]int{1, 1, 1, 1, 1, 2, 8, 30, 70, 95, 100, 90, 60, 75, 95, 90, 80, 50, 20, 8, 5, 3, 2, 1}

const weekendShare = 8 // a weekend has an eighth

// traffic makes what people at contoso do between two moments.
func (m *maker) traffic(from, to time.Time) {
	var buckets []time.Time
	var sums []int
	sum := 0
	for t := from.Truncate(time.Hour); t.Before(to); t = t.Add(time.Hour) {
		weight := hours[t.Hour()] * weekendShare
		if day := t.Weekday(); day == time.Saturday || day == time.Sunday {
			weight = max(1, weight/weekendShare/weekendShare)
		}
		sum += weight
		buckets, sums = append(buckets, t), append(sums, sum)
	}
	people := weigh(m.people, func(a *actor) int { return a.person.activity })
	events := weigh(ordinary, func(e event) int { return e.weight })
	files := m.files()
	for range trafficRecords {
		i, _ := slices.BinarySearch(sums, 1+m.rng.IntN(sum))
		at := buckets[i].Add(time.Duration(m.rng.IntN(3600)) * time.Second)
		if at.Before(from) || !at.Before(to) { // the first and the last hour are not whole
			at = from.Add(time.Duration(m.rng.IntN(int(to.Sub(from)/time.Second))) * time.Second)
		}
		a := pick(m, people)
		pick(m, events).make(m, moment{at, a, m.whereabouts(a, at), files})
	}
}

// weigh repeats each element as often as its weight says.
func weigh[T any](all []T, weight func(T) int) []T {
	var many []T
	for _, one := range all {
		many = append(many, slices.Repeat([]T{one}, weight(one))...)
	}
	return many
}

// whereabouts is where somebody is at a time: mostly in the office, and out of
// hours at home.
func (m *maker) whereabouts(a *actor, at time.Time) place {
	n := m.rng.IntN(10)
	switch open := at.Hour() >= 7 && at.Hour() < 18 && at.Weekday() != time.Saturday && at.Weekday() != time.Sunday; {
	case n == 0:
		return a.phone
	case open && n < 8:
		return a.office
	}
	return a.home
}

// A moment is when somebody does something, where.
type moment struct {
	at    time.Time
	who   *actor
	from  place
	files map[string][]file // by team
}

// An event is something that people do, and how often among 1,000 others.
type event struct {
	weight int
	make   func(*maker, moment)
}

var ordinary = []event{
	{195, func(m *maker, n moment) {
		app := pick(m, apps)
		m.signIn(signIn{at: n.at, who: n.who, from: n.from, app: app.id, resource: app.resource, request: pick(m, requestTypes)})
	}},
	{3, func(m *maker, n moment) { // somebody of the analysts reads the audit log
		m.signIn(signIn{at: n.at, who: m.actors[pick(m, []string{"ada", "grace"})], from: n.from, app: exchangeREST, resource: exchangeID, request: "Cmsi:Cmsi"})
	}},
	{14, func(m *maker, n moment) {
		f := pick(m, failures)
		m.signIn(signIn{at: n.at, who: n.who, from: n.from, app: officeHome, resource: exchangeID, request: "Login:login", failure: f.name, number: f.number})
	}},
	{190, func(m *maker, n moment) {
		m.mailAccess(n.at, n.who, n.from, m.client(n), "Bind", "Inbox", 1+m.rng.IntN(3))
	}},
	{50, func(m *maker, n moment) {
		m.mailAccess(n.at, n.who, n.from, outlookDesktop, "Sync", "Inbox", 0)
	}},
	{60, func(m *maker, n moment) {
		m.mailItem(n.at, n.who, n.from, m.client(n), "Send", pick(m, subjects), "Sent Items")
	}},
	{40, func(m *maker, n moment) {
		m.mailItem(n.at, n.who, n.from, m.client(n), pick(m, []string{"Create", "Update"}), pick(m, subjects), "Drafts")
	}},
	{55, func(m *maker, n moment) {
		m.mailGroup(n.at, n.who, n.from, m.client(n), "MoveToDeletedItems", "Inbox", pick(m, subjects))
	}},
	{15, func(m *maker, n moment) {
		m.mailGroup(n.at, n.who, n.from, m.client(n), pick(m, []string{"SoftDelete", "SoftDelete", "HardDelete"}), "Deleted Items", pick(m, subjects), pick(m, subjects))
	}},
	{8, func(m *maker, n moment) { m.mailSearch(n.at, n.who, n.from, pick(m, searches)) }},
	{90, func(m *maker, n moment) { m.fileEvent(n.at, n.who, n.from, "FileAccessed", sharePoint, m.file(n)) }},
	{60, func(m *maker, n moment) { m.fileEvent(n.at, n.who, n.from, "FileModified", office, m.file(n)) }},
	{25, func(m *maker, n moment) { m.fileEvent(n.at, n.who, n.from, "FilePreviewed", sharePoint, m.file(n)) }},
	{20, func(m *maker, n moment) { m.fileEvent(n.at, n.who, n.from, "FileUploaded", sharePoint, m.file(n)) }},
	{14, func(m *maker, n moment) { m.fileEvent(n.at, n.who, n.from, "FileDownloaded", sharePoint, m.file(n)) }},
	{30, func(m *maker, n moment) {
		m.fileEvent(n.at, n.who, n.from, pick(m, []string{"FileSyncDownloadedFull", "FileSyncUploadedFull"}), oneDriveSync, m.file(n))
	}},
	{4, func(m *maker, n moment) { m.fileEvent(n.at, n.who, n.from, "FileRecycled", sharePoint, m.file(n)) }},
	{35, func(m *maker, n moment) {
		m.pageView(n.at, n.who, n.from, file{"Intranet", siteID("Intranet"), "SitePages", pick(m, []string{"Home.aspx", "News.aspx", "Holidays.aspx", "Canteen.aspx"})})
	}},
	{12, func(m *maker, n moment) {
		m.sharing(n.at, n.who, n.from, pick(m, []string{"SharingSet", "CompanyLinkCreated", "AddedToSecureLink"}), m.file(n),
			pick(m, m.people).upn, "Member", "<Type>Edit</Type><MembersCanShareApplied>False</MembersCanShareApplied>")
	}},
	{45, func(m *maker, n moment) {
		m.teamsEvent(n.at, n.who, n.from, pick(m, []string{"MessageSent", "MessageSent", "MessageSent", "ReactedToMessage", "MessageUpdated"}), madeThread(n.who.person.team))
	}},
	{20, func(m *maker, n moment) { m.teamsEvent(n.at, n.who, n.from, "TeamsSessionStarted", "") }},
	{10, func(m *maker, n moment) {
		m.teamsEvent(n.at, n.who, n.from, pick(m, []string{"MeetingDetail", "MeetingParticipantDetail"}), madeThread(n.who.person.team))
	}},
	{8, func(m *maker, n moment) { // the service keeps its own house, at any hour
		m.cmdlet(n.at, exchangeService, place{}, "Set-Mailbox", n.who.mailbox, "Identity", n.who.mailbox, "Force", "True", "ProvisionedForOfficeGraph", "True")
	}},
	{3, func(m *maker, n moment) {
		m.cmdlet(n.at, n.who, n.from, "New-InboxRule", n.who.upn+`\Newsletters`,
			"AlwaysDeleteOutlookRulesBlob", "False", "Force", "False", "MoveToFolder", "Newsletters", "Name", "Newsletters", "FromAddressContainsWords", "newsletter", "StopProcessingRules", "False")
	}},
	{3, func(m *maker, n moment) {
		m.cmdlet(n.at, m.admin(), n.from, "Set-CalendarProcessing", "room-"+pick(m, []string{"oak", "elm", "ash"})+"@contoso.com", "AutomateProcessing", "AutoAccept")
	}},
	{8, func(m *maker, n moment) {
		m.directory(n.at, m.admin(), n.from, "Update user.", "User", n.who,
			[]change{{"JobTitle", `["` + n.who.person.team + `"]`, `["Senior ` + n.who.person.team + `"]`}, {"Included Updated Properties", "", "JobTitle"}}, `{"UserType":"Member"}`)
	}},
	{4, func(m *maker, n moment) {
		group := &actor{upn: "All " + n.who.person.team, name: "All " + n.who.person.team, id: madeThread(n.who.person.team)}
		m.directory(n.at, m.admin(), n.from, pick(m, []string{"Add member to group.", "Update group."}), "Group", group,
			[]change{{"Group.DisplayName", "", `"` + group.name + `"`}}, `{"GroupType":"Unified"}`)
	}},
	{6, func(m *maker, n moment) {
		device := &actor{upn: "Not Available", name: n.who.device, id: n.who.deviceID}
		m.directory(n.at, deviceService, place{}, "Update device.", "Device", device,
			[]change{{"Included Updated Properties", "", "LastDirSyncTime"}}, `{"DeviceOSType":"Windows"}`)
	}},
}

// Actors that are no persons.
var (
	exchangeService = &actor{upn: `NT AUTHORITY\SYSTEM (Microsoft.Exchange.ServiceHost)`, puid: `NT AUTHORITY\SYSTEM (Microsoft.Exchange.ServiceHost)`}
	deviceService   = &actor{upn: "ServicePrincipal_" + madeGUID("device registration service"), name: "Device Registration Service", id: madeGUID("device registration service"), puid: "Not Available"}
)

// apps are what people sign in to: the application, and the resource that it
// wants.
var apps = []struct{ id, resource string }{
	{officeHome, exchangeID}, {office, exchangeID}, {outlookMobile, exchangeID}, {teams, "cc15fd57-2c6c-4117-a88c-83b1d56b4bbe"},
	{oneDriveSync, sharePoint}, {sharePoint, sharePoint}, {officeHome, graphID},
}

var requestTypes = []string{"OAuth2:Authorize", "OAuth2:Token", "OAuth2:Token", "Login:reprocess"}

// failures are how people fail to sign in.
var failures = []struct {
	name   string
	number int
}{
	{"InvalidUserNameOrPassword", 50126}, {"InvalidUserNameOrPassword", 50126}, {"InvalidUserNameOrPassword", 50126},
	{"UserStrongAuthClientAuthNRequiredInterrupt", 50074}, {"SsoArtifactInvalidOrExpired", 50132},
}

var subjects = []string{
	"Minutes of Monday", "Re: Minutes of Monday", "Quarterly figures", "Re: Quarterly figures", "Lunch?", "Travel to Lyon", "Offer for Fabrikam",
	"Re: Offer for Fabrikam", "New coffee machine", "Holiday plan", "Invoice 20391", "Re: Invoice 20391", "Delivery note 5523", "Welcome, new colleagues",
	"Build is red", "Build is green again", "Draft of the leaflet", "Re: Draft of the leaflet", "Fire drill on Thursday", "Contract, second version",
	"Parking spaces", "Photos of the summer party", "Password of the guest Wi-Fi", "Room for the interview", "Printer on floor 2", "Your order has been shipped",
}

var searches = []string{"leaflet", "travel expenses", "fabrikam offer", "from:dan holiday", "contract", "interview", "delivery note", "minutes"}

// client is what somebody reads mail with.
func (m *maker) client(n moment) client {
	switch {
	case n.from == n.who.phone:
		return outlookPhone
	case m.rng.IntN(3) == 0:
		return outlookDesktop
	}
	return outlookWeb
}

// admin is one of those who administer the tenant.
func (m *maker) admin() *actor {
	return m.actors[pick(m, []string{"victor", "walter"})]
}

func siteID(site string) string     { return madeGUID("site " + site) }
func madeThread(name string) string { return madeGUID("thread " + name) }
func (m *maker) file(n moment) file { return pick(m, n.files[n.who.person.team]) }

var fileNames = []string{
	"Plan.xlsx", "Budget 2026.xlsx", "Offer Fabrikam.docx", "Leaflet.pptx", "Minutes.docx", "Contract.pdf", "Org chart.pptx", "Price list.xlsx",
	"Roadmap.docx", "Photos.zip", "Checklist.docx", "Inventory.xlsx", "Training.pptx", "Handbook.pdf", "Forecast.xlsx", "Letter.docx",
}

// files are what each team works on: those of its site, and some of people's
// own.
func (m *maker) files() map[string][]file {
	all := map[string][]file{}
	for _, a := range m.people {
		team := a.person.team
		site := strings.ReplaceAll(team, " ", "")
		if all[team] == nil {
			for _, name := range fileNames {
				all[team] = append(all[team], file{site, siteID(site), "Shared Documents/General", name})
			}
		}
		all[team] = append(all[team], file{a.upn, siteID(a.upn), "Documents", pick(m, fileNames)})
	}
	return all
}
