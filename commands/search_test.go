package commands

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/exchange"
	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
)

// The example in the documentation of the integration whose commands we speak.
func TestTheOriginalsExample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := tenant(t, contoso())
		reply := answer(t, env(as(s, ada)), `!o365-auditlog-search start_date="01/01/21" end_date="01/02/21" result_size=1`)
		if want := "Audit log from 2021-01-01 00:00:00 to 2021-01-02 00:00:00 UTC: 1 record"; reply.Title != want {
			t.Errorf("title %q, want %q", reply.Title, want)
		}
		want := [][]string{{"2021-01-01 23:59:56", "bob@contoso.com", "UserLoginFailed", "AzureActiveDirectory", "203.0.113.77", "InvalidUserNameOrPassword", "00000002-0000-0ff1-ce00-000000000000"}}
		if !slices.EqualFunc(reply.Table.Rows, want, slices.Equal) || reply.Table.Total != 1 || !slices.Equal(reply.Table.Columns, columns) {
			t.Errorf("table %v", reply.Table)
		}
		var raw string
		for record := range contoso().All() { // the oldest first
			raw = string(record)
			break
		}
		if got := content(t, reply.Context); got != "{\"O365AuditLog\": [\n"+raw+"\n]}\n" {
			t.Errorf("context %s", got)
		}
		if reply.Context.Name != "auditlog-20210101T000000Z-20210102T000000Z.json" {
			t.Errorf("file %q", reply.Context.Name)
		}
		if reply.Verdict == nil || !strings.Contains(reply.Verdict.String(), "may be deleted already") || reply.Text != "" || reply.Code != "" {
			t.Errorf("verdict %v, text %q, code %q", reply.Verdict, reply.Text, reply.Code)
		}
	})
}

func TestRecordsAreAttachedByteForByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		older := `{ "Id":"1" ,"CreationTime":"2026-11-24T08:00:00","b":1.50,"a":[ ],"UserId":"bob@contoso.com","x":"\u00e9é<&>\/"}`
		newer := `{"CreationTime":"2026-11-24T09:00:00","Id":"2","n":12345678901234567890,"Operation":"X","UserId":"bob@contoso.com"}`
		reply := answer(t, env(as(tenant(t, records(t, older, newer)), ada)), "!o365-auditlog-search")
		if got := content(t, reply.Context); got != "{\"O365AuditLog\": [\n"+newer+",\n"+older+"\n]}\n" {
			t.Errorf("%s", got)
		}
	})
}

func TestWithoutArgumentsTheNewestTenOfADayAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := tenant(t, contoso())
		reply := answer(t, env(as(s, ada)), "  !O365-AuditLog-Search ")
		says(t, reply.Title, "Audit log from 2026-11-23 09:30:15 to 2026-11-24 09:30:16 UTC: 10 records")
		if len(reply.Table.Rows) != 10 || !strings.Contains(reply.Verdict.String(), "newest 10; more exist") {
			t.Errorf("%d rows, %v", len(reply.Table.Rows), reply.Verdict)
		}
		if !slices.IsSortedFunc(reply.Table.Rows, func(a, b []string) int { return strings.Compare(b[0], a[0]) }) {
			t.Error("they are not the newest first")
		}
	})
}

func TestNothingFoundIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reply := answer(t, env(as(tenant(t, records(t)), ada)), `!o365-auditlog-search start_date="3 days" end_date="2 days"`)
		says(t, reply.Title, "from 2026-11-21 09:30:15 to 2026-11-22 09:30:16 UTC: no records found")
		if got := content(t, reply.Context); got != "{\"O365AuditLog\": []}\n" || len(reply.Table.Rows) != 0 || reply.Table.Columns != nil {
			t.Errorf("%s, %v", got, reply.Table)
		}
		if reply.Verdict.Status() != auditlog.Complete {
			t.Errorf("%v", reply.Verdict)
		}
	})
}

// asked is the query that a line becomes.
func asked(t *testing.T, line string) auditlog.Query {
	t.Helper()
	source := &quiet{}
	answer(t, env(Instance{Name: "contoso", Tenant: "contoso.com", Log: &auditlog.Log{Sources: []auditlog.Source{source}}}), line)
	return source.asked
}

// quiet is a source that finds nothing.
type quiet struct{ asked auditlog.Query }

func (*quiet) Name() string { return "quiet" }

func (*quiet) Limits() auditlog.Limits { return auditlog.Limits{Records: 5000, InFlight: 1} }

func (s *quiet) Search(_ context.Context, q auditlog.Query, _ *auditlog.Verdict) iter.Seq2[auditlog.Record, error] {
	s.asked = q
	return func(func(auditlog.Record, error) bool) {}
}

func TestEveryArgumentReachesTheQuery(t *testing.T) {
	q := asked(t, `!o365-auditlog-search start_date=2026-11-01 end_date="2026-11-02 12:00" free_text="in voice" record_type=exchangeadmin `+
		`ip_addresses=203.0.113.9,2001:db8::9,[2001:db8::9]:443 operations="New-InboxRule, Update group." user_ids=["ada@contoso.com","CONTOSO\\bob"] `+
		`object_ids="https://contoso.sharepoint.com/sites/finance/*" site_ids=5c5c8de6-0c1d-4a5f-9d3e-2f0e8a1b7c4d result_size=500 using=CONTOSO`)
	want := auditlog.Query{
		Start: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), End: time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC),
		FreeText: "in voice", RecordTypes: []string{"ExchangeAdmin"}, IPAddresses: []string{"203.0.113.9", "2001:db8::9", "[2001:db8::9]:443"},
		Operations: []string{"New-InboxRule", "Update group."}, UserIDs: []string{ada, `CONTOSO\bob`},
		ObjectIDs: []string{"https://contoso.sharepoint.com/sites/finance/*"}, SiteIDs: []string{"5c5c8de6-0c1d-4a5f-9d3e-2f0e8a1b7c4d"}, Newest: 500,
	}
	if got, want := fmt.Sprintf("%+v", q), fmt.Sprintf("%+v", want); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestARecordTypeMayBeGivenByNumber(t *testing.T) {
	for typed, want := range map[string]string{
		"15": "AzureActiveDirectoryStsLogon", "AZUREACTIVEDIRECTORY": "AzureActiveDirectory",
	} {
		if q := asked(t, "!o365-auditlog-search record_type="+typed); strings.Join(q.RecordTypes, ",") != want {
			t.Errorf("%s is %q, want %q", typed, q.RecordTypes, want)
		}
	}
}

func TestTheRangeIsWhatWasTyped(t *testing.T) {
	for line, want := range map[string]string{
		"":                                      "2026-11-23 09:30:15 to 2026-11-24 09:30:16",
		`start_date="3 days"`:                   "2026-11-21 09:30:15 to 2026-11-24 09:30:16",
		`start_date="3 days" end_date="2 days"`: "2026-11-21 09:30:15 to 2026-11-22 09:30:16", // the original ignored the end
		`start_date="1 week" end_date=2026-11-20`: "2026-11-17 09:30:15 to 2026-11-20 00:00:00",
		`end_date=now`:                            "2026-11-23 09:30:15 to 2026-11-24 09:30:16",
		`start_date=yesterday end_date=today`:     "2026-11-23 00:00:00 to 2026-11-24 00:00:00",
		`start_date=01/31/21 end_date=02/01/2021`: "2021-01-31 00:00:00 to 2021-02-01 00:00:00",
		`start_date=1795000000`:                   "2026-11-18 11:06:40 to 2026-11-24 09:30:16",
		`start_date=2026-11-24T09:00:00+02:00`:    "2026-11-24 07:00:00 to 2026-11-24 09:30:16",
	} {
		q := asked(t, "!o365-auditlog-search "+line)
		if got := q.Start.Format(time.DateTime) + " to " + q.End.Format(time.DateTime); got != want {
			t.Errorf("%s is %s, want %s", line, got, want)
		}
	}
}

// What people get wrong, and what they are told to type instead.
func TestMistakesOfASearch(t *testing.T) {
	for _, c := range []struct{ line, problem, hint string }{
		{"o365-auditlog-search", `"o365-auditlog-search" is not a command`, "commands start with !: !help lists them"},
		{"!o365-auditlog-serach", `there is no command "!o365-auditlog-serach"`, "did you mean !o365-auditlog-search?"},
		{"!o365-auditlog-find", `there is no command "!o365-auditlog-find"`, "!help lists all commands"},
		{"!search", `there is no command "!search"`, "did you mean !o365-auditlog-search?"},
		{"!o365-auditlog-search usr_ids=ada", `there is no argument "usr_ids"`, "did you mean user_ids=ada? The arguments are: start_date, end_date,"},
		{"!o365-auditlog-search colour=red", `there is no argument "colour"`, "the arguments are: start_date"},
		{"!o365-auditlog-search start_date=13/01/21", `start_date: "13/01/21" has no month: dates with slashes are month/day/year`, "11/01/2026 (month/day/year)"},
		{"!o365-auditlog-search start_date=soonish", `start_date: "soonish" is not a date`, `write "3 days" for so long ago`},
		{"!o365-auditlog-search end_date=01.02.2026", `end_date: "01.02.2026" can be read as day and month or as month and day`, "2026-11-01"},
		{"!o365-auditlog-search start_date=01/02/21 end_date=01/01/21", "start_date (2021-01-02 00:00:00 UTC) is not before end_date (2021-01-01 00:00:00 UTC)", "start_date=2021-01-02 end_date=2021-01-03"},
		{"!o365-auditlog-search start_date=2026-11-01 end_date=2026-11-01", "is not before end_date", "to search one whole day, end with the next: start_date=2026-11-01 end_date=2026-11-02"},
		{"!o365-auditlog-search start_date=2026-11-25", "start_date (2026-11-25 00:00:00 UTC) is not before end_date (2026-11-24 09:30:16 UTC)", "a date alone is 00:00 UTC"},
		{"!o365-auditlog-search result_size=0", `result_size: "0" is not a number from 1 to 1000000`, "write result_size=100, or result_size=all"},
		{"!o365-auditlog-search result_size=1000001", `result_size: "1000001" is not a number`, "result_size=all"},
		{"!o365-auditlog-search result_size=-1", `result_size: "-1" is not a number`, "result_size=all"},
		{"!o365-auditlog-search result_size=ten", `result_size: "ten" is not a number`, "result_size=100"},
		{"!o365-auditlog-search record_type=Nonsense", `there is no record type "Nonsense"`, "ExchangeAdmin (1)"},
		{"!o365-auditlog-search record_type=ExchangeAdmn", `there is no record type "ExchangeAdmn"`, "did you mean record_type=ExchangeAdmin?"},
		{"!o365-auditlog-search record_type=9999", `there is no record type "9999"`, "Microsoft's list"},
		{"!o365-auditlog-search ip_addresses=203.0.113.9,203.0.113", `ip_addresses: "203.0.113" is not an IP address`, "ip_addresses=203.0.113.9"},
		{"!o365-auditlog-search ip_addresses=203.0.113.0/24", `ip_addresses: "203.0.113.0/24" is not an IP address`, "single addresses only, not ranges"},
		{"!o365-auditlog-search site_ids=finance", `site_ids: "finance" is not a GUID`, "for a URL use object_ids="},
		{"!o365-auditlog-search using=fabrikam", `there is no instance "fabrikam"`, "using= takes one of: contoso, second"},
		{"!o365-auditlog-search user_ids=ada user_ids=bob", "user_ids is given twice, at characters 23 and 36", "separate values with commas: user_ids=ada,bob"},
		{"!o365-auditlog-search result_size=1 result_size=2", "result_size is given twice", "keep one of them"},
		{"!o365-auditlog-search user_ids=${Who}", "user_ids: context values such as ${...} are not supported yet", "type the value itself"},
		{"!o365-auditlog-search user_ids=", "user_ids: it has no value", "leave it out, or give it a value"},
		{"!o365-auditlog-search start_date=3 days", `"days", at character 36, is not name=value`, `put quotes around a value that has spaces: start_date="3 days"`},
		{"!o365-auditlog-search raw-response=perhaps", `raw-response: "perhaps" is neither true nor false`, "raw-response=true"},
		{`!o365-auditlog-search free_text="in`, `the quote " at character 33 is not closed`, `write another "`},
	} {
		m := mistaken(t, env(Instance{Name: "contoso", Tenant: "contoso.com"}, Instance{Name: "second"}), c.line)
		if !strings.Contains(m.Problem, c.problem) || !strings.Contains(m.Hint, c.hint) {
			t.Errorf("%s\n%q\n%q\nwant\n%q\n%q", c.line, m.Problem, m.Hint, c.problem, c.hint)
		}
		if strings.HasSuffix(m.Problem, ".") {
			t.Errorf("%q ends with a full stop", m.Problem)
		}
	}
}

func TestWithoutAnyInstanceThereIsNothingToSearch(t *testing.T) {
	m := mistaken(t, env(), "!o365-auditlog-search")
	says(t, m.Problem, "no access to any tenant")
	says(t, m.Hint, "admin")
}

func TestUsingPicksAnInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := as(tenant(t, records(t, `{"Id":"1","CreationTime":"2026-11-24T08:00:00","Operation":"One"}`)), ada)
		two := as(tenant(t, records(t, `{"Id":"2","CreationTime":"2026-11-24T08:00:00","Operation":"Two"}`)), ada)
		one.Name, two.Name, two.Tenant = "one", "two", "fabrikam.com"
		for line, want := range map[string]string{"": "One", " using=Two": "Two"} {
			reply := answer(t, env(one, two), "!o365-auditlog-search"+line)
			if got := reply.Table.Rows[0][2]; got != want || !strings.HasPrefix(reply.Text, "in "+strings.ToLower(want)+" (") {
				t.Errorf("%q found %s; %s", line, got, reply.Text)
			}
		}
		if reply := answer(t, env(one), "!o365-auditlog-search"); reply.Text != "" {
			t.Errorf("with one instance, its name is said: %q", reply.Text)
		}
	})
}

func TestARawResponseIsTheJSONInsteadOfATable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record := `{"Id":"1","CreationTime":"2026-11-24T08:00:00","Operation":"X"}`
		e := env(as(tenant(t, records(t, record)), ada))
		reply := answer(t, e, "!o365-auditlog-search raw-response=true")
		if reply.Code != "{\"O365AuditLog\": [\n"+record+"\n]}\n" || reply.Table.Rows != nil || content(t, reply.Context) != reply.Code || reply.Verdict == nil {
			t.Errorf("%+v", reply)
		}
		reply = answer(t, e, "!o365-auditlog-search ignore-outputs=true")
		if reply.Context != nil || len(reply.Table.Rows) != 1 || reply.Text != "no file is attached (ignore-outputs=true)" || reply.Code != "" {
			t.Errorf("%+v", reply)
		}
		reply = answer(t, e, "!o365-auditlog-search ignore-outputs=true raw-response=yes")
		if reply.Context != nil || !strings.Contains(reply.Code, record) {
			t.Errorf("%+v", reply)
		}
	})
}

func TestTheTableShowsFiftyRowsAndTheFileHasAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reply := answer(t, env(as(tenant(t, contoso()), ada)), `!o365-auditlog-search start_date="3 days" result_size=200`)
		if len(reply.Table.Rows) != 50 || reply.Table.Total != 200 || strings.Count(content(t, reply.Context), "\n") != 202 {
			t.Errorf("%d rows of %d, %d lines", len(reply.Table.Rows), reply.Table.Total, strings.Count(content(t, reply.Context), "\n"))
		}
		says(t, reply.Title, "200 records")
	})
}

func TestASearchNeedsASignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := tenant(t, records(t, `{"Id":"1","CreationTime":"2026-11-24T08:00:00","Operation":"X"}`))
		out := signedOut(s)
		for _, line := range []string{"!o365-auditlog-search", "!o365-auditlog-search ignore-outputs=true", "!o365-auditlog-auth-test"} {
			_, err := Run(t.Context(), env(out), line)
			need, ok := errors.AsType[*NeedSignIn](err)
			if !ok || need.Instance != "contoso" || !errors.Is(err, signin.ErrNotSignedIn) {
				t.Errorf("%s: %v", line, err)
			}
		}
		if err := out.Account.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
			t.Fatal(err)
		}
		says(t, answer(t, env(out), "!o365-auditlog-search").Title, "1 record")

		s.Revoke(ada)
		time.Sleep(2 * time.Hour)
		_, err := Run(t.Context(), env(out), "!o365-auditlog-search")
		if need, ok := errors.AsType[*NeedSignIn](err); !ok || !strings.Contains(need.Error(), "the sign-in was revoked") {
			t.Errorf("after the end of the sign-in: %v", err)
		}
	})
}

func TestARefusalOfMicrosoftsPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := Run(t.Context(), env(as(tenant(t, records(t)), mallory)), "!o365-auditlog-search")
		r, ok := errors.AsType[*auditlog.Refusal](err)
		if !ok || !strings.Contains(r.Advice, "View-Only Audit Logs") {
			t.Errorf("%v", err)
		}
	})
}

func TestAFileThatCannotBeKeptIsAFailureOfOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("the disk is full")
		e := env(as(tenant(t, records(t, `{"Id":"1","CreationTime":"2026-11-24T08:00:00"}`)), ada))
		e.Keep = func(_ context.Context, _ string, write func(FileWriter) error) (File, error) {
			for n := range 70 { // wherever in the file it happens
				if err := write(&disk{room: n, err: full}); !errors.Is(err, full) {
					t.Errorf("after %d bytes: %v", n, err)
				}
			}
			return File{}, full
		}
		reply, err := Run(t.Context(), e, "!o365-auditlog-search result_size=1")
		if !errors.Is(err, full) || IsMistake(err) || reply.Title != "" {
			t.Errorf("%v, %v", reply, err)
		}
	})
}

// A disk takes so many bytes.
type disk struct {
	room int
	err  error
}

func (d *disk) Write(p []byte) (int, error) {
	if d.room -= len(p); d.room < 0 {
		return 0, d.err
	}
	return len(p), nil
}

// Whatever people write, a log that has nothing to say leaves only their
// mistakes to report, and the sign-ins they lack.
func FuzzRun(f *testing.F) {
	for _, seed := range []string{
		`!o365-auditlog-search start_date="3 days" result_size=1`, `!o365-auditlog-search start_date=“3 days”`, `! `, `!`, `!😀`, `!"help"`, "!help o365-auditlog-search",
		"!o365-auditlog-auth-start using=contoso", "!o365-auditlog-auth-complete", "!o365-auditlog-auth-test", "!o365-auditlog-auth-reset", "!O365–auditlog–search",
		`!o365-auditlog-search user_ids=["a"] ip_addresses=::1 site_ids=x record_type=15 raw-response=true ignore-outputs=true end_date=now`,
		"\u200b!help", "!he\u200blp", "!help\u00a0help", "!h=1", "!help help=", `!help "!help"`,
	} {
		f.Add(seed)
	}
	s := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: new(tenantsim.Records)}}
	f.Cleanup(s.Close)
	instance := signedOut(s)
	instance.Log = &auditlog.Log{Sources: []auditlog.Source{&quiet{}}}
	instance.Exchange = &exchange.Source{}
	f.Fuzz(func(t *testing.T, line string) {
		reply, err := Run(t.Context(), env(instance), line)
		m, mistake := errors.AsType[*Mistake](err)
		_, need := errors.AsType[*NeedSignIn](err)
		if err != nil && !mistake && !need {
			t.Errorf("Run(%q) = %v, which is not a Mistake", line, err)
		}
		if mistake && (m.Problem == "" || m.Hint == "") {
			t.Errorf("Run(%q) = %q, %q, which does not help", line, m.Problem, m.Hint)
		}
		if err == nil && reply.Title == "" {
			t.Errorf("Run(%q) is answered without a title", line)
		}
		if _, ok := Name("!", line); !ok && !mistake {
			t.Errorf("Run(%q) runs what is not a command", line)
		}
	})
}
