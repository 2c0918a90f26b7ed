package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog/tenantsim"
	"auditbot/bot/slacksim"
)

// enoughRequests are surely more than the first window needs, of which four and
// soon eight are read at once with three requests each.
const enoughRequests = 26

// A longSearch is a search for all records of a day, of which there are many.
type longSearch struct {
	*surroundings
	records *tenantsim.Records
	asked   slacksim.Message
	codes   map[string]bool // that were entered or declined
	signIns int
}

// manyRecords are that many of one day, and a search for all of them. They are
// short, since the race detector makes every byte expensive.
func manyRecords(n int) (records *tenantsim.Records, search string) {
	day := time.Now().UTC().AddDate(0, 0, -3).Truncate(24 * time.Hour)
	var text strings.Builder
	for i := range n {
		at := day.Add(time.Duration(i) * 24 * time.Hour / time.Duration(n))
		fmt.Fprintf(&text, `{"CreationTime":%q,"Id":"%08d","Operation":"FileAccessed","UserId":"bob@contoso.com","RecordType":6,"Workload":"SharePoint"}`+"\n",
			at.Format("2006-01-02T15:04:05"), i)
	}
	records, err := tenantsim.LoadNDJSON(strings.NewReader(text.String()))
	if err != nil {
		panic(err)
	}
	return records, fmt.Sprintf("!o365-auditlog-search start_date=%s end_date=%s result_size=all", day.Format(time.DateOnly), day.AddDate(0, 0, 1).Format(time.DateOnly))
}

// endSoon ends somebody's sign-in after as many requests as the first window of
// a search needs.
func endSoon(tenant *tenantsim.Server, upn string) {
	tenant.Fail(slices.Repeat([]tenantsim.Fault{tenantsim.Nothing}, enoughRequests)...)
	tenant.Fail(tenantsim.Unauthorized)
	tenant.Revoke(upn)
}

func newLongSearch(t *testing.T, n int) *longSearch {
	t.Helper()
	records, search := manyRecords(n)
	s := newSurroundingsWith(t, &tenantsim.Server{
		Tenant:   tenantsim.Tenant{Records: records},
		Interval: time.Second,
	})
	t.Cleanup(s.start())
	l := &longSearch{surroundings: s, records: records, codes: map[string]bool{}}
	l.asked = s.say(search + " format=ndjson")
	return l
}

// code is the next code that Ada was sent.
func (l *longSearch) code() (next string) {
	l.t.Helper()
	l.await(func() bool {
		for _, m := range l.slack.History(l.asked.Channel) {
			if text := blockText(m.Blocks); isAnswer(m, l.asked) && !strings.Contains(text, "This command runs by itself") {
				l.t.Fatalf("the search is over:\n%.1000s", text)
			}
		}
		for _, code := range l.tenant.UserCodes() {
			if !l.codes[code] {
				next = code
			}
		}
		return next != ""
	})
	l.codes[next] = true
	return next
}

// signIn signs in, and returns once the search is about to go on.
func (l *longSearch) signIn() {
	l.t.Helper()
	if err := l.tenant.Approve(l.code(), "ada@contoso.com"); err != nil {
		l.t.Fatal(err)
	}
	l.signIns++
	l.await(func() bool { return strings.Count(l.dm(), "Signed in to") == l.signIns })
}

// signInForAWhile signs in, for as long as enoughRequests take.
func (l *longSearch) signInForAWhile() {
	l.t.Helper()
	l.tenant.Fail(slices.Repeat([]tenantsim.Fault{tenantsim.Nothing}, enoughRequests)...)
	l.tenant.Fail(tenantsim.Unauthorized)
	l.signIn()
	l.tenant.Revoke("ada@contoso.com")
}

func TestASearchOutlastsAsManySignInsAsItNeeds(t *testing.T) {
	t.Parallel()
	l := newLongSearch(t, 90_000)
	for range 2 {
		l.signInForAWhile()
	}
	l.signIn()
	answer := blockText(l.answerWithin(l.asked, "Audit log from", 2*time.Minute).Blocks)
	if !strings.Contains(answer, "90,000 records") || !strings.Contains(answer, "Complete") || strings.Contains(answer, "⚠️") {
		t.Errorf("the answer is\n%s", answer)
	}
	lines, _ := l.attached(l.asked)
	seen := map[string]int{}
	for line := range strings.Lines(lines) {
		seen[strings.TrimSuffix(line, "\n")]++
	}
	for _, raw := range l.records.Find(tenantsim.Wanted{From: time.Now().AddDate(0, 0, -4), To: time.Now()}) {
		if seen[string(raw)] != 1 {
			t.Fatalf("%s is there %d times", raw, seen[string(raw)])
		}
	}
	if len(seen) != 90_000 {
		t.Errorf("%d different lines", len(seen))
	}
	t.Logf("%d sign-ins, %d requests", len(l.codes), l.tenant.Asked("Search-UnifiedAuditLog"))
}

func TestASearchWhoseNextSignInIsDeclinedAnswersWithWhatItFound(t *testing.T) {
	t.Parallel()
	l := newLongSearch(t, 50_000)
	l.signInForAWhile()
	code := l.code()
	before := l.tenant.Asked("Search-UnifiedAuditLog")
	if err := l.tenant.Deny(code); err != nil {
		t.Fatal(err)
	}
	answer := blockText(l.answerWithin(l.asked, "Audit log from", time.Minute).Blocks)
	for _, words := range []string{"the sign-in was declined", "What it had found until then is here; typed again, it begins anew.", "Partial", "nothing before"} {
		if !strings.Contains(answer, words) {
			t.Errorf("the answer does not say %q:\n%s", words, answer)
		}
	}
	lines, _ := l.attached(l.asked)
	if n := strings.Count(lines, "\n"); n == 0 || n >= 50_000 {
		t.Errorf("%d records are attached", n)
	}
	if more := l.tenant.Asked("Search-UnifiedAuditLog") - before; more > 0 {
		t.Errorf("%d requests were made after the sign-in was declined", more)
	}
}
