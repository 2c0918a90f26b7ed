package exchange

import (
	"bytes"
	"regexp"

	"auditbot/auditlog"
	"auditbot/auditlog/internal/jsonscan"
)

// A row is one line of Search-UnifiedAuditLog's output.
type row struct {
	record auditlog.Record
	unsure bool // the service says that the result is unusable: ResultIndex is -1
	more   bool // the service says that more rows follow
}

// columns are the JSON of a row and of those of its columns that are looked
// at, nil for those that it does not have.
type columns struct {
	row, auditData, resultIndex, identity, metadata []byte

	text []byte // what AuditData stands for, if it is a string
}

// read reads a row. One that is no object has no columns.
func (c *columns) read(t *jsonscan.Text) {
	*c = columns{text: c.text[:0]}
	if t.Peek() != '{' {
		c.row = t.Skip()
		return
	}
	start := t.Pos()
	for more := t.Open('{', '}'); more; more = t.Next('}') {
		switch name := t.Name(); {
		case jsonscan.Is(name, "AuditData"):
			c.readAuditData(t)
		case jsonscan.Is(name, "ResultIndex"):
			c.resultIndex = t.Skip()
		case jsonscan.Is(name, "Identity"):
			c.identity = t.Skip()
		case jsonscan.Is(name, "AuditSearchRequestMetadata"):
			c.metadata = t.Skip()
		default:
			t.Skip()
		}
	}
	c.row = t.Since(start)
}

func (c *columns) readAuditData(t *jsonscan.Text) {
	if t.Peek() != '"' {
		c.auditData = t.Skip()
		return
	}
	start := t.Pos()
	c.text = t.AppendString(c.text[:0])
	c.auditData = t.Since(start)
}

// newRow makes a row of its columns. Its record is the text in AuditData, with
// the outer JSON string undone: escapes there that stand for no character
// (half of a surrogate pair) and bytes that are not UTF-8 become U+FFFD. A row
// without AuditData is kept whole, as an unreadable record. The other columns
// repeat AuditData, and ResultCount has meant different things over time, so
// they are not looked at.
func newRow(c *columns) row {
	r := row{
		unsure: string(bytes.Trim(c.resultIndex, `"`)) == "-1",
		more:   moreFlag.Match(c.metadata),
	}
	switch {
	case len(c.auditData) == 0 || string(c.auditData) == "null":
		r.record = auditlog.UnreadableRecord(string(c.row))
		r.record.ID = jsonscan.String(c.identity) // the Id of its AuditData
	case c.auditData[0] == '"':
		r.record = auditlog.RecordOf(bytes.Clone(c.text))
	default: // not a string: an object, or what should not be
		r.record = auditlog.RecordOf(bytes.Clone(c.auditData))
	}
	return r
}

// moreFlag finds a set moreRecordsAvailable, in an object or in the text of
// one.
var moreFlag = regexp.MustCompile(`(?i)moreRecordsAvailable\W*true`)
