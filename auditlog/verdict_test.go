package auditlog_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestVerdictsAsTheyAreShownAndFiled(t *testing.T) {
	verdicts := []struct {
		name string
		make func(v *auditlog.Verdict)
	}{
		{"complete", func(v *auditlog.Verdict) { v.Records = 3 }},
		{"as asked", func(v *auditlog.Verdict) { v.AsAsked("newest 10; more exist") }},
		{"lost", func(v *auditlog.Verdict) { v.Lose("window 09:00-10:00 failed after 5 tries") }},
		{"doubted", func(v *auditlog.Verdict) { v.Doubt("the service warned: odd") }},
		{"all at once", func(v *auditlog.Verdict) {
			v.AsAsked("newest 10; more exist")
			v.Doubt("the service warned: odd")
			v.Lose("a record could not be read")
			v.Lose("a record could not be read")
			v.Warn("odd")
			v.Warn("odd")
			v.Err = errors.New("not for people")
		}},
		{"everything", func(v *auditlog.Verdict) {
			*v = auditlog.Verdict{
				Query: auditlog.Query{
					Start: noon, End: noon.Add(time.Hour), Newest: 10, Operations: []string{"Update group."}, UserIDs: []string{"ada@contoso.com"},
					IPAddresses: []string{"203.0.113.9"}, ObjectIDs: []string{"x"}, SiteIDs: []string{"y"}, RecordTypes: []string{"ExchangeAdmin"}, FreeText: "<a & b>",
				},
				Backend: "exchange", Records: 2, Requests: 5, Retries: 1, Duplicates: 3,
				Started: noon.Add(time.Hour), Ended: noon.Add(time.Hour + time.Second), Version: "1.2.3",
			}
		}},
	}
	var got strings.Builder
	for _, c := range verdicts {
		v := auditlog.Verdict{Backend: "exchange"}
		c.make(&v)
		j, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "-- %s --\n%v\n%s\n", c.name, v, j)
	}
	golden(t, "testdata/verdicts.txt", got.String())
}

// golden compares got with the file, or rewrites it under -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.ReplaceAll(string(want), "\r\n", "\n") {
		t.Errorf("got\n%s\nwant %s; if what we got is right, run go test ./auditlog -update", got, file)
	}
}
