package tenantsim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// A page is one answer of Search-UnifiedAuditLog.
type page struct {
	rows     []row
	before   []row // the last ones of the page before, for [Repeated]
	warnings []string
	next     string // link to the next page of the same answer; may be ""

	runspace  string // RunspaceId
	count     int    // ResultCount
	formatted bool
	timedOut  bool
	moreFlag  bool // rows say whether there is more
	more      bool // the session has more
}

// A row is a record in an answer.
type row struct {
	record *record
	data   []byte // AuditData, as a rule the record's
	index  int    // ResultIndex, from 1
}

// response is the page as JSON. Beside a property may stand an annotation of
// its type, with an "@" in its name.
func (p page) response() response {
	size := 1024
	for _, r := range p.rows {
		size += 700 + len(r.data)*5/4 // the other columns, and what is escaped
	}
	body := make([]byte, 0, size)
	body = append(body, `{"@odata.context":"https://outlook.office365.com/adminapi/beta/$metadata#Collection(Exchange.GenericHashTable)",`...)
	body = append(body, `"adminapi.warnings@odata.type":"#Collection(String)","@adminapi.warnings":[`...)
	for i, w := range p.warnings {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendText(body, w)
	}
	body = append(body, `],"value":[`...)
	for i, r := range p.rows {
		if i > 0 {
			body = append(body, ',')
		}
		body = p.appendRow(body, r)
	}
	body = append(body, ']')
	if p.next != "" {
		body = append(body, `,"@odata.nextLink":`...)
		body = appendText(body, p.next)
	}
	reply := response{status: http.StatusOK, body: append(body, '}')}
	reply.set("Content-Type", odataType)
	reply.set("Request-Id", newGUID())
	reply.set("Cache-Control", "no-cache, no-store")
	return reply
}

// appendRow appends a row with the columns of Search-UnifiedAuditLog.
// ResultCount is the number of rows in the answer, as it is since 2026, and
// not that of all there are.
// https://github.com/invictus-ir/Microsoft-Extractor-Suite/issues/199
func (p page) appendRow(to []byte, r row) []byte {
	index, count, data := r.index, p.count, r.data
	if p.timedOut {
		index, count = -1, 0
	}
	if p.formatted {
		data = format(data)
	}
	column := func(name, value string) {
		to = append(to, ',', '"')
		to = append(to, name...)
		to = append(to, '"', ':')
		to = append(to, value...)
	}
	text := func(name, value string) {
		column(name, "")
		to = appendText(to, value)
	}
	to = append(to, `{"RunspaceId@data.type":"System.Guid"`...)
	text("RunspaceId", p.runspace)
	text("RecordType", recordTypeName(r.record.kind))
	column("CreationDate@data.type", `"System.DateTime"`)
	text("CreationDate", time.UnixMicro(r.record.at).UTC().Format("2006-01-02T15:04:05Z"))
	text("UserIds", r.record.user)
	text("Operations", r.record.operation)
	column("AuditData", "")
	to = appendText(to, data)
	column("ResultIndex@odata.type", `"#Int32"`)
	column("ResultIndex", strconv.Itoa(index))
	column("ResultCount@odata.type", `"#Int32"`)
	column("ResultCount", strconv.Itoa(count))
	text("Identity", r.record.id)
	column("IsValid", "true")
	text("ObjectState", "Unchanged")
	if p.moreFlag {
		column("AuditSearchRequestMetadata@odata.type", `"#Exchange.GenericHashTable"`)
		column("AuditSearchRequestMetadata", `{"moreRecordsAvailable":`+strconv.FormatBool(p.more)+`}`)
	}
	return append(to, '}')
}

const hex = "0123456789abcdef"

// appendText appends s, which is UTF-8, as a JSON string (RFC 8259, section 7).
func appendText[T string | []byte](to []byte, s T) []byte {
	to = append(to, '"')
	plain := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		to = append(to, s[plain:i]...)
		plain = i + 1
		if c < ' ' {
			to = append(to, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			to = append(to, '\\', c)
		}
	}
	to = append(to, s[plain:]...)
	return append(to, '"')
}

// format is what the parameter Formatted does to AuditData: it is spread over
// lines, and its record type is a name.
func format(data []byte) []byte {
	var head struct{ RecordType json.Number }
	_ = json.Unmarshal(data, &head) // without a number, there is nothing to name
	if n, err := strconv.Atoi(head.RecordType.String()); err == nil {
		data = bytes.Replace(data, fmt.Appendf(nil, `"RecordType":%d`, n), fmt.Appendf(nil, `"RecordType":"%s"`, recordTypeName(n)), 1)
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, data, "", "  ") != nil {
		return data
	}
	return pretty.Bytes()
}
