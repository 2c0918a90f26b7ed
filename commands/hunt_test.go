package commands

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog"
)

// A shelf is a source with records, newest first. Like the service, it returns
// at most 100 of one search.
type shelf struct {
	records []auditlog.Record
	breaks  int // after so many searches, nobody is signed in any more; 0 means never
	asked   int
	filters []auditlog.Query
}

func (*shelf) Name() string { return "shelf" }

func (*shelf) Limits() auditlog.Limits {
	return auditlog.Limits{Records: 100, InFlight: 1, OneType: true}
}

func (s *shelf) Search(_ context.Context, q auditlog.Query, v *auditlog.Verdict) iter.Seq2[auditlog.Record, error] {
	return func(yield func(auditlog.Record, error) bool) {
		s.filters = append(s.filters, q)
		v.Requests++
		if s.asked++; s.breaks > 0 && s.asked > s.breaks {
			yield(auditlog.Record{}, fmt.Errorf("%w: the sign-in has ended", auditlog.ErrNoAccess))
			return
		}
		n := 0
		for _, r := range s.records {
			if r.Time.Before(q.Start) || !r.Time.Before(q.End) {
				continue
			}
			if n++; n > 100 && q.Newest == 0 {
				yield(auditlog.Record{}, auditlog.ErrFull)
				return
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// shelved is n records of the last day before tuesday, newest first: every
// tenth a new inbox rule, of one of three people.
func shelved(n int) *shelf {
	s := &shelf{}
	for i := range n {
		operation := "MailItemsAccessed"
		if i%10 == 0 {
			operation = "New-InboxRule"
		}
		s.records = append(s.records, auditlog.NewRecord(fmt.Sprintf(
			`{"Id":"r%05d","CreationTime":%q,"Operation":%q,"UserId":"%s@contoso.com","ClientIP":"203.0.113.%d:443","Nr":%d}`,
			i, tuesday.Add(-time.Duration(i)*20*time.Second).Format("2006-01-02T15:04:05"), operation, []string{"ada", "bob", "erin"}[i%3], i%7, i)))
	}
	return s
}

// shelfEnv is an env whose only instance reads from s.
func shelfEnv(s *shelf) Env {
	return env(Instance{Name: "contoso", Tenant: "contoso.com", Log: &auditlog.Log{Sources: []auditlog.Source{s}, Now: func() time.Time { return tuesday }}})
}

// contextIDs are the Ids in a context, in its order.
func contextIDs(t *testing.T, text string) (ids []string) {
	t.Helper()
	var c struct {
		O365AuditLog []struct {
			ID string `json:"Id"`
		}
	}
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	for _, r := range c.O365AuditLog {
		ids = append(ids, r.ID)
	}
	return ids
}

func idsOf(records []auditlog.Record) (ids []string) {
	for _, r := range records {
		ids = append(ids, r.ID)
	}
	return ids
}

const twoDays = `!o365-auditlog-search start_date="2 days" `

func TestAllRecordsComeOnceWhateverTheirNumber(t *testing.T) {
	s := shelved(3000)
	reply := answer(t, shelfEnv(s), twoDays+"result_size=all")
	if got := contextIDs(t, content(t, reply.Context)); !slices.Equal(got, idsOf(s.records)) {
		t.Errorf("%d records", len(got))
	}
	if reply.Verdict.Status() != auditlog.Complete || reply.Verdict.Windows < 30 || len(reply.Table.Rows) != 50 || reply.Table.Total != 3000 {
		t.Errorf("%v, %d windows, %d rows of %d", reply.Verdict, reply.Verdict.Windows, len(reply.Table.Rows), reply.Table.Total)
	}
	if names := fileNames(reply); names != "auditlog-20261122T093015Z-20261124T093016Z.json verdict.json" {
		t.Error(names)
	}
	says(t, content(t, &reply.Files[1]), `"verdict": "complete"`, `"records": 3000`, `"backend": "shelf"`)
}

func fileNames(r Reply) string {
	var names []string
	for _, f := range r.Files {
		names = append(names, f.Name)
	}
	return strings.Join(names, " ")
}

func TestASearchThatIsInterruptedGoesOn(t *testing.T) {
	for _, extra := range []string{"", ` filter='Operation == "New-InboxRule"'`, " sort=Nr", " count_by=user max_fetch=all"} {
		size := " result_size=all"
		if extra == " sort=Nr" {
			size = " result_size=5000"
		}
		whole := answer(t, shelfEnv(shelved(3000)), twoDays+extra+size)
		s := shelved(3000)
		e := shelfEnv(s)
		var reply Reply
		runs := 0
		for s.breaks = 10; ; s.breaks += 10 {
			runs++
			var err error
			if reply, err = Run(t.Context(), e, twoDays+extra+size); err == nil {
				break
			}
			if !errors.Is(err, auditlog.ErrNoAccess) {
				t.Fatal(err)
			}
			if runs > 100 {
				t.Fatal("it does not get on")
			}
		}
		if a, b := content(t, whole.Context), content(t, reply.Context); a != b || runs < 3 {
			t.Errorf("%q: after %d runs %d bytes, want %d", extra, runs, len(b), len(a))
		}
		if !slices.EqualFunc(whole.Table.Rows, reply.Table.Rows, slices.Equal) || whole.Title != reply.Title || whole.Text != reply.Text {
			t.Errorf("%q: %v %q, want %v %q", extra, reply.Title, reply.Text, whole.Title, whole.Text)
		}
		if a, b := whole.Verdict.String(), reply.Verdict.String(); a != b {
			t.Errorf("%q: verdict %s, want %s", extra, b, a)
		}
		// the answer was not posted before the machine stopped: it is made again, and nothing is asked for it
		asked := s.asked
		if again := answer(t, e, twoDays+extra+size); content(t, again.Context) != content(t, whole.Context) || again.Verdict.String() != whole.Verdict.String() || s.asked != asked {
			t.Errorf("%q: the answer made again is another: %v", extra, again.Verdict)
		}
	}
}

func TestManyRecordsAreAttachedPacked(t *testing.T) {
	s := shelved(1000)
	for i, r := range s.records {
		s.records[i] = auditlog.NewRecord(strings.Replace(string(r.Raw), `"Nr"`, `"Padding":"`+strings.Repeat("x", 12_000)+`","Nr"`, 1))
	}
	reply := answer(t, shelfEnv(s), twoDays+"result_size=all")
	f := reply.Files[0]
	if f.Name != "auditlog-20261122T093015Z-20261124T093016Z.ndjson.gz" || !f.Journal {
		t.Fatalf("%+v", f)
	}
	says(t, reply.Text, f.Name+" has one record on each line")
	lines := strings.Split(strings.TrimSpace(unpacked(t, f)), "\n")
	if len(lines) != 1000 || lines[999] != string(s.records[999].Raw) {
		t.Errorf("%d lines", len(lines))
	}
	if got := contextIDs(t, content(t, reply.Context)); len(got) != 1000 {
		t.Errorf("%d records in the context", len(got))
	}
}

func unpacked(t *testing.T, f File) string {
	t.Helper()
	r, err := f.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	packed, err := io.ReadAll(r)
	if err != nil || int64(len(packed)) != f.Size {
		t.Fatalf("%d bytes, said to be %d: %v", len(packed), f.Size, err)
	}
	zip, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAFilterSeesEverythingAndTheSizeCutsWhatPassed(t *testing.T) {
	s := shelved(3000)
	reply := answer(t, shelfEnv(s), twoDays+`filter='Operation == "New-InboxRule" and ip == "203.0.113.3"' result_size=all`)
	if got := contextIDs(t, content(t, reply.Context)); len(got) != 43 || got[0] != "r00010" {
		t.Errorf("%d records from %v on", len(got), got[0])
	}
	says(t, reply.Text, "43 of 3,000 fetched pass the filter")
	if reply.Verdict.Status() != auditlog.Complete || reply.Verdict.Fetched != 3000 || reply.Verdict.Records != 43 {
		t.Errorf("%v", reply.Verdict)
	}
	reply = answer(t, shelfEnv(s), twoDays+`filter='Operation == "New-InboxRule"' result_size=5`)
	if got := contextIDs(t, content(t, reply.Context)); len(got) != 5 || !strings.HasPrefix(reply.Verdict.String(), "Partial, as asked: newest 5 that pass the filter; more exist") {
		t.Errorf("%v: %v", got, reply.Verdict)
	}
}

func TestMaxFetchBoundsWhatAFilterSees(t *testing.T) {
	reply := answer(t, shelfEnv(shelved(3000)), twoDays+`filter='user == "erin@contoso.com"' result_size=all max_fetch=300`)
	if reply.Verdict.Status() != auditlog.Partial || !strings.Contains(reply.Verdict.String(), "max_fetch was reached: only the newest 300") || reply.Verdict.Records != 100 {
		t.Errorf("%v, %d records", reply.Verdict, reply.Verdict.Records)
	}
}

func TestCountsSeeEveryRecordAndTheFileHasTheNewest(t *testing.T) {
	reply := answer(t, shelfEnv(shelved(3000)), twoDays+"count_by=user result_size=20")
	if reply.Table.Columns[0] != "user" || len(reply.Table.Rows) != 3 || reply.Table.Rows[0][1] != "1,000" {
		t.Errorf("%v", reply.Table)
	}
	if got := contextIDs(t, content(t, reply.Context)); len(got) != 20 || !strings.Contains(reply.Verdict.String(), "all 3,000 records are counted; the newest 20 are attached") {
		t.Errorf("%d records: %v", len(got), reply.Verdict)
	}
}

func TestSortingPutsTheHighestFirst(t *testing.T) {
	reply := answer(t, shelfEnv(shelved(3000)), twoDays+"sort=-Nr result_size=3 fields=Nr,ip")
	want := [][]string{{"2999", "203.0.113.3"}, {"2998", "203.0.113.2"}, {"2997", "203.0.113.1"}}
	if !slices.EqualFunc(reply.Table.Rows, want, slices.Equal) || !slices.Equal(reply.Table.Columns, []string{"Nr", "ip"}) {
		t.Errorf("%v", reply.Table)
	}
	if got := contextIDs(t, content(t, reply.Context)); !slices.Equal(got, []string{"r02999", "r02998", "r02997"}) {
		t.Error(got)
	}
}

func TestFieldsThatNoRecordHasAreAMistake(t *testing.T) {
	m := mistaken(t, shelfEnv(shelved(50)), twoDays+"fields=Opertion,user")
	says(t, m.Problem+" "+m.Hint, "Opertion", "Operation")
}

func TestNothingFoundWithMicrosoftsFilterOffersOurs(t *testing.T) {
	reply := answer(t, shelfEnv(&shelf{}), twoDays+`ip_addresses=203.0.113.9,2001:db8::9 operations="New-InboxRule" user_ids=ada@contoso.com`)
	if got := reply.Verdict.String(); !strings.HasPrefix(got, "Complete for what Microsoft matched") {
		t.Error(got)
	}
	if len(reply.Offers) != 3 {
		t.Fatalf("%v", reply.Offers)
	}
	for i, o := range reply.Offers {
		source := &shelf{}
		answer(t, shelfEnv(source), o.Line) // it can be typed
		q := source.filters[0]
		if i == 0 && (q.IPAddresses != nil || len(q.UserIDs) != 1 || !strings.Contains(o.Line, `ip in [`)) ||
			i == 1 && (q.UserIDs != nil || len(q.IPAddresses) != 2) ||
			i == 2 && (q.UserIDs != nil || q.IPAddresses != nil || !strings.Contains(o.Line, `(ip in [`) || !strings.Contains(o.Line, `and (lower(user)`)) ||
			!slices.Contains(q.Operations, "New-InboxRule") {
			t.Errorf("%s asks %+v", o.Line, q)
		}
	}
	reply = answer(t, shelfEnv(&shelf{}), twoDays+`ip_addresses=203.0.113.9`)
	if len(reply.Offers) != 1 {
		t.Errorf("%v", reply.Offers)
	}
}

func TestACancelledSearchIsAnsweredAsPartial(t *testing.T) {
	s := shelved(3000)
	e := shelfEnv(s)
	cancelled := make(chan struct{})
	e.Cancelled = cancelled
	e.Progress = func(p auditlog.Progress) {
		if p.Windows == 5 {
			close(cancelled)
		}
	}
	reply := answer(t, e, twoDays+"result_size=all")
	if reply.Verdict.Status() != auditlog.Partial && reply.Verdict.Records != 3000 {
		t.Errorf("%v", reply.Verdict)
	}
}

func TestSizesThatCannotBe(t *testing.T) {
	for _, typed := range []string{"0", "-1", "1000001", "ten", "1e3", "99999999999999999999"} {
		m := mistaken(t, shelfEnv(&shelf{}), twoDays+"result_size="+typed)
		says(t, m.Problem+" "+m.Hint, "result_size", "from 1 to 1000000", "all")
	}
	m := mistaken(t, shelfEnv(&shelf{}), twoDays+"sort=Nr result_size=all")
	says(t, m.Problem, "at most 50,000 records can be sorted")
	m = mistaken(t, shelfEnv(&shelf{}), twoDays+"format=xml")
	says(t, m.Hint, "format=csv")
	m = mistaken(t, shelfEnv(&shelf{}), twoDays+"backend=graph")
	says(t, m.Hint, "graph_client_id")
	m = mistaken(t, shelfEnv(&shelf{}), twoDays+`filter='Operation == '`)
	says(t, m.Problem, "filter")
}

func TestGraphIsForTheGlobalCloudOnly(t *testing.T) {
	e := shelfEnv(&shelf{})
	e.Instances[0].National = true
	m := mistaken(t, e, twoDays+"backend=graph")
	says(t, m.Problem+" "+m.Hint, "global cloud only", "backend=exchange")
	answer(t, e, twoDays+"result_size=all") // backend=auto
}
