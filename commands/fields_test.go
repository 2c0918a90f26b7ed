package commands

import (
	"errors"
	"testing"

	"auditbot/auditlog"
)

func shown(records ...string) *fieldNames {
	var n fieldNames
	n.want("Opertion", "Item.Subjct", "Item.Subject", "Parameters.ForwardT", "IP", "Long.Gone.Away", "xyzzy", "ClientIP")
	for _, r := range records {
		n.add(recordView(r))
	}
	return &n
}

func TestAFieldThatNoRecordHasIsAMistake(t *testing.T) {
	n := shown(inboxRule, `{"Operation":"X","Long":{"Gone":{"By":1}}}`, "not JSON")
	for field, want := range map[string]string{
		"Opertion":            "did you mean Operation?",
		"Item.Subjct":         "did you mean Item.Subject?",
		"Parameters.ForwardT": "did you mean Parameters.ForwardTo?",
		"Long.Gone.Away":      "", // three names are not near
		"xyzzy":               "",
	} {
		err := n.check([]string{"Operation", field})
		m, ok := errors.AsType[*Mistake](err)
		if !ok || m.Problem != `no record has the field "`+field+`"` || m.Hint == "" || want != "" && m.Hint != want {
			t.Errorf("%s: %v, %+v", field, err, m)
		}
	}
	for _, field := range []string{"Operation", "operation", "Item.Subject", "IP", "ip", "session", "app", "ClientIP", "Item.Anything", "Parameters"} {
		if err := n.check([]string{field}); err != nil {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestNoMoreIsLookedAtOnceEveryFieldWasFound(t *testing.T) {
	var n fieldNames
	if !n.settled() {
		t.Error("with nothing wanted")
	}
	n.want("Operation", "Item.Subject")
	for _, c := range []struct {
		record  string
		settled bool
	}{{`{"Operation":"X"}`, false}, {`{"Item":{"Subject":null}}`, false}, {inboxRule, true}, {`{}`, true}} {
		n.add(recordView(c.record))
		if n.settled() != c.settled {
			t.Errorf("after %s: %v", c.record, n.settled())
		}
	}
}

func TestWithoutRecordsEveryFieldIsMissing(t *testing.T) {
	var n fieldNames
	if err := n.check([]string{"Operation"}); !IsMistake(err) {
		t.Errorf("%v", err)
	}
	if err := n.check(auditlog.VirtualFields()); err != nil {
		t.Error(err)
	}
	if err := n.check(nil); err != nil {
		t.Error(err)
	}
}
