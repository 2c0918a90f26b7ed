package auditlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"time"

	"auditbot/auditlog/internal/jsonscan"
)

// A Record is one entry of the audit log.
type Record struct {
	// Raw is the AuditData exactly as Microsoft sent it: a JSON object, or,
	// where Unreadable is set, the text that came instead, as a JSON string.
	// It shares memory with the records that came with it, and is not to be
	// changed.
	Raw []byte

	ID         string
	Time       time.Time // CreationTime, UTC, to the second as a rule; zero if there is none to read
	Unreadable bool      // AuditData was not a JSON object

	hash [sha256.Size]byte // see Sum; zero if it has not been taken
}

// NewRecord reads the AuditData of a record. Text that is not a JSON object is
// kept as a JSON string in a record marked Unreadable: evidence is not dropped
// for being broken.
func NewRecord(auditData string) Record { return RecordOf([]byte(auditData)) }

// RecordOf is [NewRecord] for bytes, which become the record's Raw: they are
// not to be changed any more.
func RecordOf(auditData []byte) Record {
	r := Record{Raw: auditData}
	created := ""
	t := jsonscan.New(auditData, 0)
	for more := t.Open('{', '}'); more; more = t.Next('}') {
		name, value := t.Name(), t.Skip()
		switch {
		case jsonscan.Is(name, "Id"):
			r.ID = jsonscan.String(value)
		case jsonscan.Is(name, "CreationTime"):
			created = jsonscan.String(value)
		}
	}
	if t.Close(); t.Err() != nil {
		return UnreadableRecord(string(auditData))
	}
	r.Time = readTime(created)
	r.hash = sha256.Sum256(auditData)
	return r
}

// UnreadableRecord keeps text that came where a record was due. Bytes of it
// that are not UTF-8 become U+FFFD, since a JSON string cannot hold them.
func UnreadableRecord(text string) Record {
	quoted, _ := json.Marshal(text) // a string cannot fail
	return Record{Raw: quoted, Unreadable: true}
}

// timeLayouts are the forms of CreationTime. The first is the service's own
// and means UTC; the rest occur in exports of other tools. A fraction of a
// second is read with each.
var timeLayouts = []string{"2006-01-02T15:04:05", time.RFC3339, "2006-01-02 15:04:05"}

func readTime(s string) time.Time {
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// Sum is the SHA-256 of Raw. Records that were read have it with them.
func (r Record) Sum() [sha256.Size]byte {
	if r.hash == [sha256.Size]byte{} {
		return sha256.Sum256(r.Raw)
	}
	return r.hash
}

// Text is the value of the top-level field with this name: a string without
// its quotes, anything else as the JSON that Microsoft sent, "" if there is no
// such field or it is null.
func (r Record) Text(field string) string {
	return text(r.fields().get(field))
}

// fields are the top-level fields of a record.
type fields map[string]json.RawMessage

func (r Record) fields() fields {
	var f fields
	if err := json.Unmarshal(r.Raw, &f); err != nil {
		return nil // an unreadable record has no fields
	}
	return f
}

// get is the field with this name. Exports of other tools have the names in
// lower case.
func (f fields) get(name string) json.RawMessage {
	if value, ok := f[name]; ok {
		return value
	}
	return f[strings.ToLower(name)]
}

func text(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) == nil {
		return s
	}
	return string(bytes.TrimSpace(value))
}

// addressFields are the places where workloads put the client's address.
var addressFields = []string{"ClientIP", "ClientIPAddress", "ActorIpAddress", "ActorIP"}

// A Row is what an analyst looks at first in a record. Values are Microsoft's;
// "" means that the record has none.
type Row struct {
	Time      time.Time
	User      string // UserId
	Operation string
	Workload  string
	ClientIP  string // from whichever of its four places; may carry a port
	Result    string // LogonError if there is one, since ResultStatus can say Succeeded of a failed sign-in
	Object    string // ObjectId, else the item's subject or the mailbox
}

// Row reads the fields of a Row.
func (r Record) Row() Row {
	f := r.fields()
	first := func(names ...string) string {
		for _, name := range names {
			if s := text(f.get(name)); s != "" {
				return s
			}
		}
		return ""
	}
	row := Row{
		Time:      r.Time,
		User:      first("UserId", "UserKey"),
		Operation: first("Operation"),
		Workload:  first("Workload"),
		ClientIP:  first(addressFields...),
		Result:    first("LogonError", "ResultStatus"),
		Object:    first("ObjectId", "SourceFileName"),
	}
	if row.Object == "" {
		var item struct{ Subject string }
		_ = json.Unmarshal(f.get("Item"), &item) // no item, no subject
		row.Object = item.Subject
	}
	if row.Object == "" {
		row.Object = first("MailboxOwnerUPN")
	}
	if r.Unreadable {
		row.Operation = "(unreadable record)"
		row.Object = strings.ToValidUTF8(text(r.Raw), "\ufffd")
	}
	return row
}
