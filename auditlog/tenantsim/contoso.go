package tenantsim

import (
	"cmp"
	"math/rand/v2"
	"strings"
	"time"
)

// contosoID is the GUID of the demo tenant.
const contosoID = "5c0e1a9d-2f64-4b7e-8a31-0d9b6c47e2f5"

// ContosoApp is an application of contoso's own, with a secret, that may
// search the audit log as itself.
const (
	ContosoApp       = "9d4f7b12-6a3c-4e58-b0c1-2e7f85a91d64"
	ContosoAppSecret = "simulated-secret"
)

// ContosoPassword is the password of every account in contoso.
const ContosoPassword = "simulated-password"

// Contoso is the demo tenant as it is at now: two weeks of ordinary traffic,
// about 20,000 records, in which erin@contoso.com, who pays the bills, falls
// victim to a business e-mail compromise; see the story in contoso_story.go.
// One more record is of 2021-01-01. For the same now, all bytes are the same.
//
// ada and grace may search the audit log; mallory may not; trudy is blocked by
// conditional access, and ivan by the policy against device codes; oscar
// needs a second factor; eve is of fabrikam.
func Contoso(now time.Time) Tenant {
	t := contosoIdentity()
	t.Records = contosoRecords(now, contosoSeed)
	return t
}

const contosoSeed = 20260101

func contosoIdentity() Tenant {
	t := Tenant{
		ID:      contosoID,
		Domain:  "contoso.com",
		Name:    "Contoso",
		Initial: "contoso.onmicrosoft.com",
		Apps: append(MicrosoftApps(), App{
			ClientID: ContosoApp,
			Name:     "Contoso Audit Bot",
			Secret:   ContosoAppSecret,
			Consent:  []string{"Exchange.Manage"},
			AppRoles: []string{"Exchange.ManageAsApp"},
			Roles:    []string{RoleViewAuditLogs},
		}),
	}
	for _, p := range staff {
		a := Account{UPN: p.upn(), Name: p.fullName(), Password: ContosoPassword}
		switch p.name {
		case "ada":
			a.Roles = []string{RoleAuditLogs}
		case "grace":
			a.Roles = []string{RoleViewAuditLogs}
		case "trudy":
			a.Blocked, a.Roles = 53003, []string{RoleViewAuditLogs}
		case "ivan":
			a.Blocked, a.Roles = 530036, []string{RoleViewAuditLogs}
		case "oscar":
			a.MFA, a.Roles = true, []string{RoleViewAuditLogs}
		}
		t.Accounts = append(t.Accounts, a)
	}
	t.Accounts = append(t.Accounts, Account{
		UPN: "eve@fabrikam.com", Name: "Eve Fabrikam", Password: ContosoPassword, Tenant: "b7a1c6f3-90d2-4e1b-9c55-e43a7f0d8821",
	})
	return t
}

// orContoso is t with contoso's in the place of what is zero.
func (t Tenant) orContoso(now time.Time) Tenant {
	c := contosoIdentity()
	t.ID = c.ID
	t.Domain = cmp.Or(t.Domain, c.Domain)
	t.Name = cmp.Or(t.Name, c.Name)
	t.Initial = cmp.Or(t.Initial, c.Initial)
	if t.Apps == nil {
		t.Apps = c.Apps
	}
	if t.Accounts == nil {
		t.Accounts = c.Accounts
	}
	if t.Records == nil {
		t.Records = contosoRecords(now, contosoSeed)
	}
	return t
}

// A person works at contoso.
type person struct {
	name, surname string
	team          string
	activity      int // how much of the traffic is theirs, in parts
}

// staff is everybody at contoso; the analysts come first.
var staff = []*person{
	{"ada", "Lund", "Security", 6},
	{"grace", "Okafor", "Security", 6},
	{"mallory", "Reyes", "Service Desk", 5},
	{"alice", "Sandberg", "Sales", 9},
	{"bob", "Tanaka", "Sales", 9},
	{"carol", "Novak", "Finance", 8},
	{"dan", "Whitfield", "Management", 7},
	{"erin", "Marsh", "Finance", 9},
	{"frank", "Dubois", "Finance", 7},
	{"heidi", "Brandt", "Human Resources", 6},
	{"ivan", "Petrov", "Logistics", 5},
	{"judy", "Moreau", "Legal", 5},
	{"ken", "Adeyemi", "Engineering", 8},
	{"lena", "Fischer", "Engineering", 8},
	{"mike", "Castillo", "Engineering", 8},
	{"niaj", "Rahman", "Engineering", 7},
	{"olivia", "Hart", "Marketing", 8},
	{"oscar", "Lindqvist", "Marketing", 6},
	{"peggy", "Doyle", "Human Resources", 5},
	{"rupert", "Vance", "Management", 5},
	{"sybil", "Katz", "Marketing", 7},
	{"trudy", "Amato", "Logistics", 4},
	{"victor", "Olsen", "IT", 6},
	{"walter", "Greene", "IT", 6},
	{"wendy", "Zhao", "Sales", 8},
}

func (p *person) upn() string      { return p.name + "@contoso.com" }
func (p *person) fullName() string { return strings.ToUpper(p.name[:1]) + p.name[1:] + " " + p.surname }

// id is their object id at Entra ID, the same as [Account] has.
func (p *person) id() string { return Account{UPN: p.upn()}.objectID() }

// lag is how long the newest record lies back: records take their time.
const lag = 30 * time.Minute

// contosoRecords makes the audit log.
func contosoRecords(now time.Time, seed uint64) *Records {
	now = now.UTC().Truncate(time.Second)
	m := newMaker(rand.New(rand.NewPCG(seed, 1)))
	m.buf = make([]byte, 0, 1200*trafficRecords)
	m.contextExample()
	m.traffic(now.Add(-14*24*time.Hour), now.Add(-lag))
	m.story(now)
	r := &Records{all: m.all, text: m.buf}
	r.sort()
	return r
}

// contextExample is the failed sign-in of 2021-01-01 that the documentation of
// the integration whose commands we speak shows: same fields, same order.
// https://xsoar.pan.dev/docs/reference/integrations/microsoft-policy-and-compliance-audit-log
func (m *maker) contextExample() {
	at := time.Date(2021, time.January, 1, 23, 59, 56, 0, time.UTC)
	bob := m.actors["bob"]
	id, app := m.guid(), exchangeID
	m.begin(at, 15)
	m.raw("Actor", `[{"ID":"`+bob.id+`","Type":0},{"ID":"`+bob.upn+`","Type":5}]`)
	m.text("ActorContextId", contosoID)
	m.text("ActorIpAddress", "203.0.113.77")
	m.text("ApplicationId", app)
	m.number("AzureActiveDirectoryEventType", 1)
	m.text("ClientIP", "203.0.113.77")
	m.text("CreationTime", at.Format("2006-01-02T15:04:05"))
	m.pairs("ExtendedProperties", "UserAgent", "python-requests/2.18.4", "UserAuthenticationMethod", "1", "RequestType", "OAuth2:Token",
		"ResultStatusDetail", "UserError", "KeepMeSignedIn", "false")
	m.text("Id", id)
	m.text("InterSystemsId", m.guid())
	m.text("IntraSystemId", id)
	m.text("LogonError", "InvalidUserNameOrPassword")
	m.raw("ModifiedProperties", "[]")
	m.text("ObjectId", app)
	m.text("Operation", "UserLoginFailed")
	m.text("OrganizationId", contosoID)
	m.number("RecordType", 15)
	m.text("ResultStatus", "Failed")
	m.text("SupportTicketId", "")
	m.raw("Target", `[{"ID":"`+app+`","Type":0}]`)
	m.text("TargetContextId", contosoID)
	m.text("UserId", bob.upn)
	m.text("UserKey", bob.upn)
	m.number("UserType", 0)
	m.number("Version", 1)
	m.text("Workload", "AzureActiveDirectory")
	m.end()
}
