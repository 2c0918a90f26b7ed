package tenantsim

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A page is one answer of Search-UnifiedAuditLog.
type page struct {
	log      *Records
	rows     []row
	before   []row   // the last ones of the page before, for [Repeated]
	given    []int32 // positions of all that the session gave before, for [Again]
	warnings []string
	next     string // link to the next page of the same answer; may be ""

	runspace  string // RunspaceId
	count     int    // ResultCount
	formatted bool
	timedOut  bool
	moreFlag  bool // rows say whether there is more
	more      bool // the session has more
}

// A row is a record in an answer. It is read when the answer is written, for
// those that wait for that may be many.
type row struct {
	*record  // nil if it was not read
	position int32
	garbled  bool // AuditData breaks off in its middle
	index    int  // ResultIndex, from 1
}

// bodies are the bytes of answers, to be used again: they are megabytes.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

// response is the page as JSON. Beside a property may stand an annotation of
// its type, with an "@" in its name.
func (p page) response() response {
	lent := bodies.Get().(*[]byte)
	body := slices.Grow((*lent)[:0], p.size())
	body = append(body, `{"@odata.context":"https://outlook.office365.com/adminapi/beta/$metadata#Collection(Exchange.GenericHashTable)",`...)
	body = append(body, `"adminapi.warnings@odata.type":"#Collection(String)","@adminapi.warnings":[`...)
	for i, w := range p.warnings {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendText(body, w)
	}
	body = append(body, `],"value":[`...)
	read := p.log.reader(p.rows)
	for i, r := range p.rows {
		if i > 0 {
			body = append(body, ',')
		}
		body = p.appendRow(body, r, read.raw(r.position))
	}
	read.giveBack()
	body = append(body, ']')
	if p.next != "" {
		body = append(body, `,"@odata.nextLink":`...)
		body = appendText(body, p.next)
	}
	*lent = append(body, '}')
	reply := response{status: http.StatusOK, body: *lent, lent: lent}
	reply.set("Content-Type", odataType)
	reply.set("Request-Id", newGUID())
	reply.set("Cache-Control", "no-cache, no-store")
	return reply
}

// size is about how long the page will be.
func (p page) size() int {
	n := 1024
	for _, r := range p.rows {
		n += 600 + int(p.log.all[r.position].length)*5/4 // the other columns, and what is escaped
	}
	return n
}

// appendRow appends a row with the columns of Search-UnifiedAuditLog.
// ResultCount is the number of rows in the answer, as it is since 2026, and
// not that of all there are.
// https://github.com/invictus-ir/Microsoft-Extractor-Suite/issues/199
func (p page) appendRow(to []byte, r row, data []byte) []byte {
	index, count := r.index, p.count
	head := readHead(data, setOf(fieldID, fieldOperation, fieldUser))
	if p.timedOut {
		index, count = -1, 0
	}
	if r.garbled {
		data = data[:len(data)/2]
	}
	if p.formatted {
		data = format(data)
	}
	to = append(to, `{"RunspaceId@data.type":"System.Guid","RunspaceId":"`...)
	to = append(to, p.runspace...)
	to = append(to, `","RecordType":"`...)
	to = append(to, recordTypeName(p.log.all[r.position].kind)...)
	to = append(to, `","CreationDate@data.type":"System.DateTime","CreationDate":"`...)
	to = time.UnixMicro(p.log.all[r.position].at).UTC().AppendFormat(to, time.RFC3339)
	to = append(to, `","UserIds":`...)
	to = appendText(to, head.text(fieldUser))
	to = append(to, `,"Operations":`...)
	to = appendText(to, head.text(fieldOperation))
	to = append(to, `,"AuditData":`...)
	to = appendText(to, data)
	to = append(to, `,"ResultIndex@odata.type":"#Int32","ResultIndex":`...)
	to = strconv.AppendInt(to, int64(index), 10)
	to = append(to, `,"ResultCount@odata.type":"#Int32","ResultCount":`...)
	to = strconv.AppendInt(to, int64(count), 10)
	to = append(to, `,"Identity":`...)
	to = appendText(to, head.text(fieldID))
	to = append(to, `,"IsValid":true,"ObjectState":"Unchanged"`...)
	if p.moreFlag {
		to = append(to, `,"AuditSearchRequestMetadata@odata.type":"#Exchange.GenericHashTable","AuditSearchRequestMetadata":{"moreRecordsAvailable":`...)
		to = append(strconv.AppendBool(to, p.more), '}')
	}
	return append(to, '}')
}

// appendText appends s, which is UTF-8, as a JSON string (RFC 8259, section 7).
func appendText[T string | []byte](to []byte, s T) []byte { return appendString(to, []byte(s)) }

// appendString does so for what the tenant says most of: text in which every
// tenth byte wants a backslash, and none is a control character. Eight bytes
// are copied at once; where one of them is special, it is written again.
func appendString(to, s []byte) []byte {
	begin := len(to)
	to = append(slices.Grow(to, 2*len(s)+2+8), '"')
	i, n, out := 0, begin+1, to[:cap(to)]
	for i < len(s) {
		if i+8 <= len(s) {
			word := binary.LittleEndian.Uint64(s[i:])
			binary.LittleEndian.PutUint64(out[n:], word)
			signs := specialBytes(word)
			if signs == 0 {
				i, n = i+8, n+8
				continue
			}
			plain := bits.TrailingZeros64(signs) / 8
			i, n = i+plain, n+plain
		}
		c := s[i]
		if c < ' ' {
			return appendControl(to[:begin], s)
		}
		if c == '"' || c == '\\' {
			out[n] = '\\'
			n++
		}
		out[n] = c
		i, n = i+1, n+1
	}
	return append(to[:n], '"')
}

// specialBytes sets the highest bit of the first byte that a JSON string
// cannot have as it is, the lowest byte being the first; none is 0. Bytes above
// it may have theirs set for no reason.
func specialBytes(word uint64) uint64 {
	const ones, signs = 0x0101010101010101, 0x8080808080808080
	quote, slash := word^ones*'"', word^ones*'\\'
	return ((quote-ones)&^quote | (slash-ones)&^slash | (word-ones*' ')&^word) & signs
}

// appendControl is appendString for texts with control characters.
func appendControl(to, s []byte) []byte {
	to = append(to, '"')
	for _, c := range s {
		switch {
		case c < ' ':
			to = append(to, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c == '"' || c == '\\':
			to = append(to, '\\', c)
		default:
			to = append(to, c)
		}
	}
	return append(to, '"')
}

const hex = "0123456789abcdef"

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
