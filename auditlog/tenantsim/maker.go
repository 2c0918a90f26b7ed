package tenantsim

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// A maker writes records for [Contoso] and [Generate]: straight into bytes,
// with their spans noted on the way.
type maker struct {
	rng    *rand.Rand
	actors map[string]*actor
	people []*actor // in the order of [staff]

	buf  []byte // the records, one after the other
	last span   // of the one that is being written
	all  []span
}

// An actor is somebody or something that records are about.
type actor struct {
	person   *person // nil for what is no person
	upn      string
	name     string
	id       string // object id
	puid     string // the key that Exchange and SharePoint know them by
	mailbox  string // GUID
	sid      string // security identifier
	device   string
	deviceID string
	office   place
	home     place
	phone    place
}

// A place is where somebody works from, and with what.
type place struct {
	address string
	agent   string // User-Agent
	os      string
	browser string
	session string // id of the session at Entra ID, which other workloads repeat
	managed bool
}

const (
	edge    = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0"
	chrome  = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
	iPhone  = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
	officeA = "203.0.113.10" // the office goes out through one address
)

func newMaker(rng *rand.Rand) *maker {
	m := &maker{rng: rng, actors: map[string]*actor{}}
	for i, p := range staff {
		n := strconv.Itoa(i)
		a := &actor{
			person:   p,
			upn:      p.upn(),
			name:     p.fullName(),
			id:       p.id(),
			puid:     "10032001" + strings.ToUpper(strconv.FormatUint(0x2a000000+m.rng.Uint64N(1<<28), 16)),
			mailbox:  m.guid(),
			sid:      "S-1-5-21-1004336348-1177238915-682003330-11" + twoDigits(i),
			device:   "CONTOSO-" + strings.ToUpper(p.name),
			deviceID: m.guid(),
			office:   place{officeA, edge, "Windows10", "Edge", m.guid(), true},
			home:     place{"203.0.113.1" + twoDigits(i), edge, "Windows10", "Edge", m.guid(), true},
			phone:    place{"2001:db8:4d2::" + n, iPhone, "Ios 18.6", "Mobile Safari", m.guid(), false},
		}
		if p.team == "Engineering" || p.team == "Marketing" {
			a.office.agent, a.office.os, a.office.browser = chrome, "MacOs", "Chrome"
			a.home.agent, a.home.os, a.home.browser = chrome, "MacOs", "Chrome"
		}
		m.actors[p.name] = a
		m.people = append(m.people, a)
	}
	return m
}

func twoDigits(n int) string { return string([]byte{'0' + byte(n/10), '0' + byte(n%10)}) }

// guid is a random GUID from the seed.
func (m *maker) guid() string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], m.rng.Uint64())
	binary.LittleEndian.PutUint64(b[8:], m.rng.Uint64())
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	text := make([]byte, 0, 36)
	for i, c := range b {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text = append(text, '-')
		}
		text = append(text, hex[c>>4], hex[c&15])
	}
	return string(text)
}

// pick is one of several, each as likely.
func pick[T any](m *maker, all []T) T { return all[m.rng.IntN(len(all))] }

// begin begins a record; its fields follow in their order.
func (m *maker) begin(at time.Time, kind int) {
	m.last = span{at: at.UnixMicro(), offset: int64(len(m.buf)), kind: kind}
	m.buf = append(m.buf, '{')
}

// end ends the record.
func (m *maker) end() {
	m.buf = append(m.buf, '}')
	m.last.length = int32(len(m.buf) - int(m.last.offset))
	m.all = append(m.all, m.last)
}

func (m *maker) key(name string) {
	if m.buf[len(m.buf)-1] != '{' {
		m.buf = append(m.buf, ',')
	}
	m.buf = append(m.buf, '"')
	m.buf = append(m.buf, name...)
	m.buf = append(m.buf, '"', ':')
}

// text writes a field with a text that may hold anything.
func (m *maker) text(name, value string) {
	m.key(name)
	m.buf = appendText(m.buf, value)
}

func (m *maker) number(name string, value int) {
	m.key(name)
	m.buf = strconv.AppendInt(m.buf, int64(value), 10)
}

func (m *maker) flag(name string, value bool) {
	m.key(name)
	m.buf = strconv.AppendBool(m.buf, value)
}

// raw writes a field whose value is JSON already.
func (m *maker) raw(name, json string) {
	m.key(name)
	m.buf = append(m.buf, json...)
}

// pairs writes a list of objects with Name and Value.
func (m *maker) pairs(name string, namesAndValues ...string) {
	m.key(name)
	m.buf = append(m.buf, '[')
	for i := 0; i+1 < len(namesAndValues); i += 2 {
		if i > 0 {
			m.buf = append(m.buf, ',')
		}
		m.buf = append(m.buf, `{"Name":`...)
		m.buf = appendText(m.buf, namesAndValues[i])
		m.buf = append(m.buf, `,"Value":`...)
		m.buf = appendText(m.buf, namesAndValues[i+1])
		m.buf = append(m.buf, '}')
	}
	m.buf = append(m.buf, ']')
}

// An entry is what all records have.
type entry struct {
	at        time.Time
	operation string
	kind      int // RecordType
	workload  string
	result    string // ResultStatus; "" leaves it out
	userKey   string
	userType  int
	user      string
	address   string // as the record has it; "" leaves it out
	object    string // "" leaves it out
}

// common begins a record with the fields of the common schema, in the order
// in which most workloads write them.
// https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-schema
func (m *maker) common(e entry) (id string) {
	id = m.guid()
	m.begin(e.at, e.kind)
	m.text("CreationTime", m.clock(e.at))
	m.text("Id", id)
	m.text("Operation", e.operation)
	m.text("OrganizationId", contosoID)
	m.number("RecordType", e.kind)
	if e.result != "" {
		m.text("ResultStatus", e.result)
	}
	m.text("UserKey", e.userKey)
	m.number("UserType", e.userType)
	m.number("Version", 1)
	m.text("Workload", e.workload)
	if e.address != "" {
		m.text("ClientIP", e.address)
	}
	if e.object != "" {
		m.text("ObjectId", e.object)
	}
	m.text("UserId", e.user)
	return id
}

func (m *maker) clock(at time.Time) string { return at.Format("2006-01-02T15:04:05") }
