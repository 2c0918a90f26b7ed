package tenantsim_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog/tenantsim"
)

var mixed = []string{
	`{"CreationTime":"2026-11-05T09:00:00","Id":"a","Operation":"UserLoggedIn","RecordType":15,"UserId":"ada@contoso.com","ClientIP":"203.0.113.9","ObjectId":"00000002-0000-0ff1-ce00-000000000000"}`,
	`{"CreationTime":"2026-11-05T10:00:00","Id":"b","Operation":"Update user.","RecordType":8,"UserId":"victor@contoso.com","ActorIpAddress":"2001:db8::7","ObjectId":"Ada@contoso.com"}`,
	`{"CreationTime":"2026-11-05T11:00:00","Id":"c","Operation":"New-InboxRule","RecordType":1,"UserId":"erin@contoso.com","ClientIP":"198.51.100.77:40123","Parameters":[{"Name":"Name","Value":"."}]}`,
	`{"CreationTime":"2026-11-05T12:00:00","Id":"d","Operation":"FileDownloaded","RecordType":6,"UserId":"erin@contoso.com","ClientIP":"198.51.100.77","ObjectId":"https://contoso.sharepoint.com/sites/Finance/Bank/Plan.xlsx","Site":"612da1e3-ee94-89dc-acdb-284cd583f769"}`,
	`{"CreationTime":"2026-11-05T13:00:00","Id":"e","Operation":"MailItemsAccessed","RecordType":50,"UserId":"erin@contoso.com","ClientIPAddress":"[2001:db8::7]:443","Folders":[{"Path":"\\Rechnungen für März"}]}`,
}

func TestFilters(t *testing.T) {
	t.Parallel()
	s := start(t, load(t, mixed...))
	for _, test := range []struct {
		filter params
		want   string // ids, newest first
	}{
		{params{}, "e d c b a"},
		{params{"StartDate": "2026-11-05T10:00:00Z", "EndDate": "2026-11-05T12:00:00Z"}, "c b"}, // the end is not in
		{params{"StartDate": "2026-11-05T10:00:00", "EndDate": "2026-11-05 12:00:01z"}, "d c b"},
		{params{"StartDate": "2026-11-05", "EndDate": "11/5/2026 11:00:00 AM"}, "b a"},
		{params{"StartDate": "2026-11-05T12:00:00+02:00", "EndDate": "2026-11-05T12:00:00+00:00"}, "c b"},
		{params{"StartDate": "2026-11-05", "EndDate": "2026-11-05"}, ""},
		{params{"Operations": []string{"New-InboxRule", "UserLoggedIn"}}, "c a"},
		{params{"Operations": "FileDownloaded"}, "d"},
		{params{"Operations": "FileDownloaded,UserLoggedIn"}, ""}, // one text, with a comma in it
		{params{"Operations": []string{"Update user"}}, ""},       // the full stop belongs to it
		{params{"Operations": []string{}}, "e d c b a"},
		{params{"RecordType": "AzureActiveDirectory"}, "b"},
		{params{"RecordType": "azureactivedirectory"}, "b"},
		{params{"RecordType": "15"}, "a"},
		{params{"RecordType": 50}, "e"},
		{params{"RecordType": "AzureActiveDirectoryS"}, ""}, // a beginning is taken and finds nothing
		{params{"UserIds": []string{"ERIN@contoso.com"}}, "e d c"},
		{params{"UserIds": []string{"erin"}}, ""},
		{params{"IPAddresses": []string{"198.51.100.77"}}, "d c"}, // with a port or without
		{params{"IPAddresses": []string{"2001:DB8:0::7", "203.0.113.9"}}, "e b a"},
		{params{"ObjectIds": []string{"ada@contoso.com"}}, "b"},
		{params{"ObjectIds": []string{"https://contoso.sharepoint.com/sites/Finance/*"}}, "d"},
		{params{"ObjectIds": []string{"https://contoso.sharepoint.com/sites/Finance/"}}, ""},
		{params{"SiteIds": []string{"612DA1E3-EE94-89DC-ACDB-284CD583F769"}}, "d"},
		{params{"FreeText": "inboxRULE"}, "c"},
		{params{"FreeText": "für März"}, "e"},
		{params{"FreeText": "ada@contoso.com"}, "b a"},
		{params{"UserIds": []string{"erin@contoso.com"}, "IPAddresses": []string{"198.51.100.77"}, "RecordType": "6"}, "d"},
		{params{"highcompleteness": true, "LongerRetentionEnabled": "true", "ErrorAction": "Stop", "FreeText": nil}, "e d c b a"},
	} {
		if got := ids(t, search(t, s, test.filter)); got != test.want {
			t.Errorf("%v: %q, want %q", test.filter, got, test.want)
		}
	}
}

// exception is what went wrong, as the service says it.
func exception(a answer) (kind, text string) {
	return a.text("error", "innererror", "internalexception", "type"), a.text("error", "innererror", "internalexception", "message")
}

func TestParametersThatAreNotGoodAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, load(t, mixed...))
	const transformation, set = "ParameterTransformationException", "AmbiguousParameterSetException"
	for _, test := range []struct {
		more       params
		kind, text string
	}{
		{params{"Bogus": 1}, set, "Invalid cmdlet parameters specified. Bogus"},
		{params{"StartDate": nil}, set, "Missing mandatory parameters: StartDate"},
		{params{"StartDate": "soonish"}, transformation, `parameter 'StartDate'. Cannot convert value "soonish"`},
		{params{"EndDate": "13/25/2026"}, transformation, "parameter 'EndDate'"},
		{params{"ResultSize": 5001}, set, "The 5001 argument is greater than the maximum allowed range of 5000"},
		{params{"ResultSize": 0}, set, "The 0 argument is less than the minimum allowed range of 1"},
		{params{"ResultSize": "many"}, transformation, "parameter 'ResultSize'"},
		{params{"RecordType": "Nonsense"}, transformation, `Cannot convert value "Nonsense" to type`},
		{params{"RecordType": "Exchange"}, transformation, "ExchangeAdmin, ExchangeItem, ExchangeItemGroup"}, // begins several
		{params{"RecordType": "999999"}, transformation, "Specify one of the following enumerator names and try again: ExchangeAdmin, "},
		{params{"RecordType": []string{"ExchangeAdmin", "ExchangeItem"}}, transformation, "parameter 'RecordType'"},
		{params{"SessionCommand": "ReturnAll"}, transformation, "Initialize, ReturnLargeSet, ReturnNextPreviewPage"},
		{params{"Formatted": "yes"}, transformation, "parameter 'Formatted'"},
		{params{"UserIds": []any{true}}, transformation, "parameter 'UserIds'"},
		{params{"FreeText": map[string]any{}}, transformation, "parameter 'FreeText'"},
	} {
		a := search(t, s, test.more)
		kind, text := exception(a)
		if a.StatusCode != 400 || !strings.HasSuffix(kind, "."+test.kind) || !strings.Contains(text, test.text) {
			t.Errorf("%v: %d %s", test.more, a.StatusCode, a.body)
		}
		details, _ := a.json("error", "details").([]any)
		if (len(details) == 1) != (test.kind == set) {
			t.Errorf("%v: details %v", test.more, details)
		}
	}
}

func TestARowHasTheColumnsOfTheCmdletAndTheRecordsBytes(t *testing.T) {
	t.Parallel()
	const odd = `{"CreationTime": "2026-11-05T09:00:00", "Id":"x<&>\u00e9é\/", "Big": 12345678901234567890.50, "RecordType":6,  "UserId":"o'brien@contoso.com","Operation":"Line\u2028 \"quoted\"","Tab":"\t"}`
	s := start(t, load(t, "  "+odd+"\r"))
	a := search(t, s, nil)
	got := rows(t, a)
	if len(got) != 1 || got[0].AuditData != odd {
		t.Fatalf("%s", a.body)
	}
	r := got[0]
	if r.Identity != "x<&>éé/" || r.RecordType != "SharePointFileOperation" || r.CreationDate != "2026-11-05T09:00:00Z" || r.UserIds != "o'brien@contoso.com" ||
		r.Operations != "Line\u2028 \"quoted\"" || r.ResultIndex != 1 || r.ResultCount != 1 || r.RunspaceId == "" {
		t.Errorf("%+v", r)
	}
	row := a.json("value").([]any)[0].(map[string]any)
	if row["IsValid"] != true || row["ObjectState"] != "Unchanged" || row["ResultIndex@odata.type"] != "#Int32" {
		t.Errorf("%v", row)
	}
	if warnings, ok := a.json("@adminapi.warnings").([]any); !ok || len(warnings) != 0 {
		t.Errorf("warnings: %v", a.json("@adminapi.warnings"))
	}
}

func TestFormattedSpreadsAuditData(t *testing.T) {
	t.Parallel()
	s := start(t, load(t, mixed[2]))
	got := rows(t, search(t, s, params{"Formatted": true}))[0].AuditData
	if !strings.Contains(got, "\n  \"RecordType\": \"ExchangeAdmin\",\n") {
		t.Errorf("%s", got)
	}
}

func TestHowManyRowsComeWithoutASession(t *testing.T) {
	t.Parallel()
	s := start(t, numbered(t, 300))
	for size, want := range map[any]int{nil: 100, 7: 7, "7": 7, 5000: 120} {
		got := rows(t, search(t, s, params{"ResultSize": size}))
		if len(got) != want || got[0].Identity != "id-0300" || got[0].ResultCount != want {
			t.Errorf("ResultSize %v: %d rows, want %d", size, len(got), want)
		}
	}
}

// drain repeats a call until nothing more comes.
func drain(t *testing.T, s *tenantsim.Server, call params) []string {
	t.Helper()
	var all []string
	for {
		got := rows(t, search(t, s, call))
		if len(got) == 0 {
			return all
		}
		for i, r := range got {
			if r.ResultIndex != len(all)+1 || r.ResultCount != len(got) {
				t.Fatalf("row %d: index %d of %d", i, r.ResultIndex, r.ResultCount)
			}
			all = append(all, r.Identity)
		}
	}
}

func TestASessionGoesOnUntilNothingComes(t *testing.T) {
	t.Parallel()
	s := start(t, numbered(t, 250))
	sorted := drain(t, s, params{"SessionId": "one", "SessionCommand": "ReturnNextPreviewPage", "ResultSize": 70})
	if len(sorted) != 250 || !slices.IsSortedFunc(sorted, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("ReturnNextPreviewPage: %d rows, sorted newest first: %v", len(sorted), sorted)
	}
	large := drain(t, s, params{"SessionId": "two", "SessionCommand": "ReturnLargeSet", "ResultSize": 70})
	if slices.IsSorted(large) || slices.Equal(large, sorted) {
		t.Error("ReturnLargeSet is sorted")
	}
	slices.Sort(large)
	slices.Sort(sorted)
	if !slices.Equal(large, sorted) {
		t.Error("ReturnLargeSet finds other records")
	}
	if again := rows(t, search(t, s, params{"SessionId": "one", "SessionCommand": "ReturnNextPreviewPage"})); len(again) != 0 {
		t.Errorf("a session at its end gives %d rows", len(again))
	}
	if other := rows(t, searchWith(t, s, params{"SessionId": "one", "SessionCommand": "ReturnNextPreviewPage"}, as(s, "grace@contoso.com"))); len(other) != 100 {
		t.Errorf("the same name is another session for somebody else: %d rows", len(other))
	}
}

func TestLimitsOfASession(t *testing.T) {
	t.Parallel()
	s := start(t, numbered(t, 50_050))
	for _, test := range []struct {
		commands []string
		want     int
	}{
		{[]string{"ReturnNextPreviewPage"}, 5_000},
		{[]string{"ReturnLargeSet"}, 50_000},
		{[]string{"ReturnLargeSet", "ReturnNextPreviewPage"}, 10_000},
	} {
		n := 0
		for i := 0; ; i++ {
			a := searchWith(t, s, params{
				"EndDate":        "2026-11-07T00:00:00Z", // so many seconds from noon on are more than half a day
				"SessionId":      strings.Join(test.commands, "+"),
				"SessionCommand": test.commands[min(i, len(test.commands)-1)],
				"ResultSize":     5000,
			}, func(r *http.Request) {
				wanting(5000)(r)
				r.Header.Set("Accept-Encoding", "identity") // packing so much takes a while
			})
			got := count(t, a)
			if got == 0 {
				break
			}
			n += got
			if bytes.Contains(a.body, []byte(`"Identity":"id-0050"`)) {
				t.Errorf("%v: one of the oldest comes, and 50,000 are newer", test.commands)
			}
		}
		if n != test.want {
			t.Errorf("%v: %d rows, want %d", test.commands, n, test.want)
		}
	}
}

// count is how many rows an answer has. It does not read them, which would take
// a while for many: each has one ResultIndex.
func count(t *testing.T, a answer) int {
	t.Helper()
	if a.StatusCode != http.StatusOK || !bytes.HasSuffix(a.body, []byte("]}")) {
		t.Fatalf("status %d: %.500s", a.StatusCode, a.body)
	}
	return bytes.Count(a.body, []byte(`"ResultIndex":`))
}

// wanting asks for pages of n rows.
func wanting(n int) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Prefer", "odata.maxpagesize="+strconv.Itoa(n)) }
}

// pages follows the links of a search, with the same body, and says how many
// rows each page has.
func pages(t *testing.T, s *tenantsim.Server, call params, change func(*http.Request)) (sizes []int, all []string) {
	t.Helper()
	a := searchWith(t, s, call, change)
	for {
		got := rows(t, a)
		sizes = append(sizes, len(got))
		for _, r := range got {
			all = append(all, r.Identity)
		}
		link := a.text("@odata.nextLink")
		if link == "" {
			return sizes, all
		}
		a = searchWith(t, s, call, func(r *http.Request) {
			change(r)
			next, err := r.URL.Parse(link)
			if err != nil {
				t.Fatal(err)
			}
			r.URL = next
		})
	}
}

func TestAnAnswerThatDoesNotFitIsSplitIntoPages(t *testing.T) {
	t.Parallel()
	s := start(t, numbered(t, 100))
	call := params{"SessionId": "s", "SessionCommand": "ReturnNextPreviewPage", "ResultSize": 25}
	sizes, all := pages(t, s, call, wanting(10))
	if !slices.Equal(sizes, []int{10, 10, 5}) {
		t.Errorf("pages of %v rows, want 10, 10, 5", sizes)
	}
	sizes, more := pages(t, s, call, wanting(1000))
	if !slices.Equal(sizes, []int{25}) {
		t.Errorf("the next call: %v", sizes)
	}
	if all[24] != "id-0076" || more[0] != "id-0075" {
		t.Errorf("the session goes on after %s with %s", all[24], more[0])
	}
}

func TestWithoutPreferPagesHaveTheSizeOfTheServer(t *testing.T) {
	t.Parallel()
	s := tenantsim.Server{Tenant: tenantsim.Tenant{Records: numbered(t, 30)}, PageSize: 20}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if sizes, _ := pages(t, &s, nil, func(*http.Request) {}); !slices.Equal(sizes, []int{20, 10}) {
		t.Errorf("pages of %v rows, want 20, 10", sizes)
	}
}

func TestALinkThatIsNotAskedLikeTheFirstPageIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, numbered(t, 30))
	call := params{"SessionId": "s", "SessionCommand": "ReturnNextPreviewPage"}
	link := searchWith(t, s, call, wanting(10)).text("@odata.nextLink")
	if !strings.HasPrefix(link, s.URL+"/adminapi/beta/contoso.com/InvokeCommand?$skiptoken=") {
		t.Fatalf("link %q", link)
	}
	to := func(link string, more func(*http.Request)) func(*http.Request) {
		return func(r *http.Request) {
			r.URL, _ = r.URL.Parse(link)
			if more != nil {
				more(r)
			}
		}
	}
	for name, a := range map[string]answer{
		"another body":   searchWith(t, s, params{"SessionId": "other"}, to(link, nil)),
		"another person": searchWith(t, s, call, to(link, as(s, "grace@contoso.com"))),
		"another token":  searchWith(t, s, call, to(link+"x", nil)),
	} {
		if _, text := exception(a); a.StatusCode != 400 || text != "Expired or Invalid pagination request. Default Expiry time is 00:30:00" {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
	if n := len(rows(t, searchWith(t, s, call, to(link, nil)))); n != 20 {
		t.Errorf("asked rightly: %d rows", n)
	}
}

// inBubble is a tenant that is asked without a network, for synctest.
func inBubble(t *testing.T, records *tenantsim.Records) (search func(params, func(*http.Request)) answer) {
	t.Helper()
	s := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: records}, URL: "https://outlook.example"}
	client := &http.Client{Transport: direct{s}}
	return func(more params, change func(*http.Request)) answer {
		t.Helper()
		p := params{"StartDate": "2026-11-05", "EndDate": "2026-11-06"}
		maps.Copy(p, more)
		return do(t, client, invocation(t, s, "Search-UnifiedAuditLog", p, change))
	}
}

func TestALinkExpiresAfterHalfAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		search := inBubble(t, numbered(t, 50))
		call := params{"SessionId": "s", "SessionCommand": "ReturnNextPreviewPage"}
		follow := func(link string) answer {
			return search(call, func(r *http.Request) {
				wanting(20)(r)
				r.URL, _ = r.URL.Parse(link)
			})
		}
		first := search(call, wanting(20)).text("@odata.nextLink")
		time.Sleep(30 * time.Minute)
		a := follow(first)
		second := a.text("@odata.nextLink")
		if n := len(rows(t, a)); n != 20 || second == "" {
			t.Errorf("after half an hour: %d rows, then %q", n, second)
		}
		time.Sleep(30*time.Minute - time.Second)
		if n := len(rows(t, follow(second))); n != 10 {
			t.Errorf("the next page, whose time began with its link: %d rows", n)
		}
		time.Sleep(time.Second + time.Nanosecond)
		for _, link := range []string{first, second} {
			if a := follow(link); a.StatusCode != 400 || !strings.Contains(string(a.body), "Expired or Invalid pagination request") {
				t.Errorf("too late: %d %s", a.StatusCode, a.body)
			}
		}
	})
}

func TestASessionThatNobodyAsksIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		search := inBubble(t, numbered(t, 50))
		call := params{"SessionId": "s", "SessionCommand": "ReturnNextPreviewPage", "ResultSize": 20}
		for _, test := range []struct {
			pause time.Duration
			want  int // rows
		}{
			{0, 20},
			{30 * time.Minute, 20},
			{30 * time.Minute, 10},
			{0, 0},
			{30*time.Minute + time.Nanosecond, 20}, // a new one
		} {
			time.Sleep(test.pause)
			if n := len(rows(t, search(call, nil))); n != test.want {
				t.Errorf("after %v: %d rows, want %d", test.pause, n, test.want)
			}
		}
	})
}

func TestLinksCanBeRefusedAltogether(t *testing.T) {
	t.Parallel()
	s := tenantsim.Server{Tenant: tenantsim.Tenant{Records: numbered(t, 30)}, LinksRefused: true}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	call := params{"SessionId": "s", "SessionCommand": "ReturnNextPreviewPage"}
	link := searchWith(t, &s, call, wanting(10)).text("@odata.nextLink")
	a := searchWith(t, &s, call, func(r *http.Request) { r.URL, _ = r.URL.Parse(link) })
	if a.StatusCode != 400 || !strings.Contains(string(a.body), "Expired or Invalid pagination request") {
		t.Errorf("%d: %s", a.StatusCode, a.body)
	}
	if got := rows(t, search(t, &s, call)); len(got) != 0 {
		t.Errorf("the session gives %d rows that were behind the link", len(got))
	}
}

func TestTheMoreFlagSaysWhetherThereIsMore(t *testing.T) {
	t.Parallel()
	s := tenantsim.Server{Tenant: tenantsim.Tenant{Records: numbered(t, 30)}, MoreFlag: true}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, want := range []bool{true, false} {
		a := search(t, &s, params{"SessionId": "s", "SessionCommand": "ReturnLargeSet", "ResultSize": 20})
		row := a.json("value").([]any)[0].(map[string]any)
		if got := fmt.Sprint(row["AuditSearchRequestMetadata"]); got != fmt.Sprintf("map[moreRecordsAvailable:%v]", want) {
			t.Errorf("%s, want %v", got, want)
		}
	}
}

func TestTheFraudIsFoundByItsWords(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := start(t, tenantsim.Contoso(now).Records)
	call := params{"StartDate": now.AddDate(0, 0, -15).Format(time.RFC3339), "EndDate": now.Format(time.RFC3339), "FreeText": "invoice 20418"}
	if got := rows(t, search(t, s, call)); len(got) < 4 {
		t.Errorf("%d records of the fraud", len(got))
	}
}

func TestOfManySessionsTheFirstAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		search := inBubble(t, numbered(t, 50))
		index := func(session int) int {
			time.Sleep(time.Millisecond) // which was the first is told by the clock
			call := params{"SessionId": strconv.Itoa(session), "SessionCommand": "ReturnNextPreviewPage", "ResultSize": 1}
			return rows(t, search(call, nil))[0].ResultIndex
		}
		const most = 256
		for i := range most {
			index(i)
		}
		index(0)
		index(most) // the 257th
		if first, second := index(0), index(1); first != 3 || second != 1 {
			t.Errorf("the one that was asked again goes on with %d, want 3; the other with %d, want 1", first, second)
		}
	})
}
