package commands

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog"
)

const inboxRule = `{"CreationTime":"2026-11-24T09:00:00","Id":"1","Operation":"New-InboxRule","RecordType":1,"UserId":"Ada@contoso.com","ClientIP":"203.0.113.9:4711",
"ResultStatus":"True","ExternalAccess":false,"Workload":"Exchange","OperationCount":12,"ErrorNumber":"50126","IsThrottled":"True","AppId":"00000002-0000-0ff1-ce00-000000000000",
"Parameters":[{"Name":"Name","Value":".."},{"Name":"ForwardTo","Value":"eve@fabrikam.com"},{"Name":"DeleteMessage","Value":"True"}],
"ModifiedProperties":[{"Name":"Role.DisplayName","NewValue":"Global Administrator","OldValue":""}],
"Item":{"Subject":"Invoice 7","Folder":{"Path":"\\Inbox"}},"Empty":[],"AppAccessContext":{"AADSessionId":"s1"},
"AffectedItems":[{"Subject":"Invoice 7","ParentFolder":{"Path":"\\Inbox"}},{"Subject":"Lunch"},{"Subject":null}],
"Folders":[{"Path":"\\A","FolderItems":[{"Id":"1","Size":5},{"Id":"2","Size":50}]},{"Path":"\\B","FolderItems":[{"Id":"3","Size":500}]}]}`

func recordView(text string) auditlog.View { return auditlog.NewRecord(text).View() }

// pass tells whether a record passes a filter that must be one.
func pass(t *testing.T, text string, v auditlog.View) bool {
	t.Helper()
	f, err := newFilter(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	yes, err := f.passes(v)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return yes
}

func TestAFilterIsTrueOfARecord(t *testing.T) {
	v := recordView(inboxRule)
	for _, text := range []string{
		`Operation == "New-InboxRule" and ip startsWith "203."`,
		`Operation == 'New-InboxRule' && ip == "203.0.113.9"`,
		`Operation in ["Set-InboxRule", "New-InboxRule"]`,
		`Operation not in ["Set-InboxRule"]`,
		`not (Operation in ["Set-InboxRule"]) and !(Operation == "x")`,
		`Operation matches "^(New|Set)-InboxRule$"`,
		`Operation matches "(?i)inboxrule"`,
		`Operation not matches "Mailbox" and Operation not contains "z" and not (Operation startsWith "x")`,
		`Operation contains "Inbox" and Operation endsWith "Rule"`,
		`Operation != "Set-InboxRule" and Operation != nil and Operation != ""`,
		`operation == "New-InboxRule"`, // any spelling of a name
		`lower(Operation) == "new-inboxrule" and upper(Operation) endsWith "RULE" and trim(" x ") == "x" and len(Operation) == 13`,
		`string(RecordType) == "1" and RecordType == 1 and RecordType == "1" and RecordType in [1, 2] and RecordType != 2`,
		`OperationCount > 9 and OperationCount >= 12.0 and OperationCount <= 12 and OperationCount < 100 and OperationCount > -1`,
		`ErrorNumber == 50126 and ErrorNumber > 50000 and ErrorNumber == "50126"`,
		`IsThrottled and IsThrottled == true and IsThrottled == "True" and not ExternalAccess and ExternalAccess == false`,
		`ExternalAccess ? false : true`,
		`if IsThrottled { true } else { false }`,
		`(Nothing ?? "x") == "x" and (Operation ?? "x") != "x"`,
		`user == "ada@contoso.com" and user == "ADA@CONTOSO.COM" and user endsWith "@Contoso.com" and user in ["ada@CONTOSO.com"]`,
		`UserId != "ada@contoso.com" and UserId == "Ada@contoso.com"`,
		`app == "Office 365 Exchange Online" and app == "office 365 exchange online" and app == "00000002-0000-0ff1-ce00-000000000000"`,
		`app contains "Exchange" and app startsWith "00000002" and app matches "Online$"`,
		`session == "S1" and result == "success" and ip == "[::ffff:203.0.113.9]:443" and ip in ["2001:DB8::1", "203.0.113.9:80"] and ip != "203.0.113.10"`,
		`time >= "2026-11-24" and time < "2026-11-25" and time == "2026-11-24 09:00" and time > "2026-11-24T08:59:59Z" and time < "2026-11-24T09:30:00+00:00"`,
		`CreationTime >= "2026-11-24T09"`,
		`Parameters.ForwardTo endsWith "@fabrikam.com"`,
		`Parameters["ForwardTo"] == "eve@fabrikam.com" and Parameters?.ForwardTo == "eve@fabrikam.com"`,
		`Parameters contains "fabrikam" and "ForwardTo" in Parameters and "RedirectTo" not in Parameters`,
		`any(Parameters, .Name == "ForwardTo" and .Value contains "@")`,
		`Parameters | any(.Name == "DeleteMessage" and .Value == true)`,
		`any(Parameters, {.Name == "Name" and .Value matches "^[[:punct:]]+$"})`,
		`none(Parameters, .Name == "RedirectTo") and all(Parameters, .Name != nil) and one(Parameters, #.Name == "ForwardTo")`,
		`count(Parameters, .Name contains "e") == 2 and len(filter(Parameters, .Value == "True")) == 1 and len(Parameters) == 3`,
		`ModifiedProperties.Role.DisplayName == "Global Administrator" and ModifiedProperties["Role.DisplayName"].OldValue == ""`,
		`Item.Subject contains "Invoice" and Item.Folder.Path == "\\Inbox" and "Subject" in Item and "subject" in Item`,
		`AffectedItems.Subject contains "Lunch" and AffectedItems[0].Subject == "Invoice 7" and AffectedItems[7].Subject == nil`,
		`any(AffectedItems, .ParentFolder.Path contains "Inbox") and any(AffectedItems, .Subject == nil)`,
		`any(Folders, .Path == "\\A" and any(.FolderItems, .Size > 10)) and Folders.FolderItems.Size > 400`,
		`lower(AffectedItems.Subject) == "lunch"`,
		`lower(text) contains "fabrikam" and text contains "Global Administrator" and not (text contains "nowhere")`,
		`Nothing == nil and Nothing == "" and not Nothing and Nothing.At.All == nil and Nothing["x"] == nil`,
		`not (Nothing startsWith "x" or Nothing contains "x" or Nothing endsWith "x" or Nothing matches "x" or Nothing < 5 or Nothing > "a" or Nothing in ["x"] or Nothing == false)`,
		`none(Nothing, true) and len(Nothing) == 0 and lower(Nothing) == "" and Empty == nil and len(Empty) == 0`,
		`any(Item, .Subject == "Invoice 7") and any(Operation, # == "New-InboxRule")`,
		`Operation != 5 and Operation != true and not (Operation > 5) and not (Operation == Item)`,
		`Operation == “New-InboxRule”`, // as telephones write it
		`Operation == ‘New-InboxRule’`,
		`"\u0041da@contoso.com" == UserId and "C:\\x" != UserId`,
		`IsThrottled /* by Exchange */ // and so on`,
		"Operation == `New-InboxRule`",
	} {
		if !pass(t, text, v) {
			t.Errorf("%s is not true", text)
		}
	}
}

func TestAFilterIsFalseOfOtherRecords(t *testing.T) {
	for text, record := range map[string]string{
		`Operation == "New-InboxRule"`:          `{"Operation":"new-inboxrule"}`,
		`ip startsWith "203."`:                  `{"Operation":"X"}`,
		`Operation`:                             `{}`,
		`IsThrottled`:                           `{"IsThrottled":"False"}`,
		`ErrorNumber > 50000`:                   `{"ErrorNumber":"many"}`,
		`OperationCount == 9007199254740993`:    `{"OperationCount":9007199254740992}`,
		`time < "2030-01-01"`:                   `{"CreationTime":"5/18/2021 9:13:33 PM"}`,
		`any(Parameters, .Name == "ForwardTo")`: `{"Parameters":"ForwardTo"}`,
		`Operation == "x"`:                      `not JSON`,
	} {
		if pass(t, text, recordView(record)) {
			t.Errorf("%s is true of %s", text, record)
		}
	}
	if !pass(t, `text contains "JSON"`, recordView("not JSON")) {
		t.Error("the text of an unreadable record is not found")
	}
}

func TestOneFilterServesManyRecords(t *testing.T) {
	f, err := newFilter(`Parameters.ForwardTo != nil`)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for record, want := range map[string]bool{inboxRule: true, `{"Operation":"X"}`: false, "not JSON": false} {
			if got, err := f.passes(recordView(record)); err != nil || got != want {
				t.Errorf("%s: %v, %v", record, got, err)
			}
		}
	}
	if got := f.fields(); !slices.Equal(got, []string{"Parameters.ForwardTo"}) {
		t.Errorf("it reads %q", got)
	}
}

func TestAFilterThatCannotBeReadSaysWhere(t *testing.T) {
	for text, want := range map[string]string{
		``:                                   "it is empty",
		` `:                                  "it is empty",
		`Operation = "x"`:                    `a single "=" at character 11; to compare, write "=="`,
		`Operation == "x`:                    "a quote is not closed before the end, at character 16",
		`Operation ==`:                       "it ends too early, at character 12",
		`(Operation == "x"`:                  "it ends too early, at character 17",
		`Operation == "x")`:                  `unexpected ")", at character 17`,
		`ä == "ö" y`:                         `unexpected "y", at character 10`,
		`Operation == “x" `:                  "there is no use for U+201C '“', at character 14",
		`Operation == "x" adn UserId == "y"`: `unexpected "adn", at character 18`,
		`"x"`:                                "something else stands where true or false is needed",
		`lower(Operation) == "x" and 5`:      "true or false is needed here, at character 29",
		`any(Parameters)`:                    `any and its like need a list and a condition: any(AffectedItems, .Subject contains "invoice"), at character 15`,
		`x ?? y or z`:                        "beside ?? another operator needs parentheses, at character 8",
		`x == 99999999999999999999`:          "invalid integer literal, at character 25",
		`ip == "203.0.113.0/24"`:             `ip is compared with single addresses, not with ranges such as "203.0.113.0/24"; write ip startsWith "203.0.113.", at character 7`,
		`ip in ["203.0.113.0/24"]`:           "ip is compared with single addresses",
		`"soon" != time`:                     `"soon" is not a time such as`,
		"Operation == \"a\nb":                "a quote is not closed before the end, at character 16",

		`5`:                             "something else stands where true or false is needed",
		`[Operation]`:                   "something else stands where true or false is needed",
		`len(Operation)`:                "something else stands where true or false is needed",
		`Operation matches "("`:         `missing closing ) in the regular expression: "(", at character 19`,
		`Operation matches UserId`:      "after matches there must be a regular expression in quotes, at character 19",
		`time > "yesterday"`:            `"yesterday" is not a time such as "2026-11-24" or "2026-11-24 09:30" (UTC), at character 8`,
		`1 < OperationCount < 5`:        "one comparison after another; join them with and, at character 5",
		`map(Parameters, .Name) == "x"`: "filters have no function map; there are all, any, none, one, count, filter, len, lower, upper, trim, string, at character 1",
		`exec("x") == 1`:                "filters have no function exec; there are",
		`Operation.ToLower() == "x"`:    "values have no functions of their own, at character",
		`lower() == "x"`:                "lower takes one value: lower(UserId), at character 1",
		`count(Parameters) > 2`:         "count needs a condition: count(AffectedItems",
		`let x = 5; x == 5`:             "filters have no variables and are one condition, at character",
		`true; true`:                    "filters have no variables and are one condition, at character",
		`1..5 == nil`:                   "filters have no ranges (..), at character",
		`{"a": 1} == nil`:               "filters have no objects of their own",
		`Operation[0:5] == "x"`:         "filters have no parts of texts and lists",
		`OperationCount + 1 == 2`:       "filters do not calculate (+), at character",
		`-OperationCount == 2`:          "filters do not calculate (-), at character",
		`$env == nil`:                   "there is no $env, at character 1",
		`$env.x == nil`:                 "there is no $env, at character 1",
		`any(Parameters, #index == 1)`:  "there is no #index, at character 17",
		`Parameters[Operation] == 1`:    "in brackets there must be a number or a text in quotes",
		`b"x" == Operation`:             "this is not allowed in filters, at character 1",
	} {
		_, err := newFilter(text)
		m, ok := errors.AsType[*Mistake](err)
		if !ok {
			t.Errorf("%s: %v is no Mistake", text, err)
			continue
		}
		if !strings.HasPrefix(m.Problem, want) {
			t.Errorf("%s\ngot  %q\nwant %q", text, m.Problem, want)
		}
		if _, at, _ := strings.Cut(m.Problem, "at character "); strings.Contains(want, "at character ") && !strings.HasSuffix(want, "at character") && !strings.HasSuffix(want, at) {
			t.Errorf("%s: at character %s, want %q", text, at, want)
		}
		if !strings.Contains(m.Hint, `filter='Operation == "New-InboxRule" and ip startsWith "203."'`) {
			t.Errorf("%s: hint %q", text, m.Hint)
		}
	}
}

// Microsoft's names of accounts have backslashes in them: CONTOSO\bob.
func TestABackslashIsWrittenTwice(t *testing.T) {
	v := recordView(`{"UserId":"CONTOSO\\bob"}`)
	for _, text := range []string{`UserId == "CONTOSO\\bob"`, "UserId == `CONTOSO\\bob`", `UserId matches "^CONTOSO\\\\b"`} {
		if !pass(t, text, v) {
			t.Errorf("%s is not true", text)
		}
	}
	for text, want := range map[string]string{
		`UserId == "CONTOSO\bob"`: "a backslash in a text begins an escape, at character 11", // a backspace
		`UserId == "CONTOSO\eve"`: "a backslash in a text begins an escape, at character 20",
		`UserId matches "\d"`:     "a backslash in a text begins an escape, at character 18",
		`UserId matches "\bx"`:    "a backslash in a text begins an escape, at character 16",
	} {
		_, err := newFilter(text)
		if m, ok := errors.AsType[*Mistake](err); !ok || m.Problem != want || !strings.Contains(m.Hint, `"CONTOSO\\bob"`) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestWhatIsNeitherTrueNorFalseIsAMistake(t *testing.T) {
	for text, want := range map[string]string{
		`Operation`:                       `filter: the text "New-InboxRule" stands where true or false is needed`,
		`RecordType and true`:             "filter: the number 1 stands where true or false is needed",
		`true and user`:                   `filter: the text "Ada@contoso.com" stands where true or false is needed`,
		`not Parameters`:                  "filter: a list or an object stands where true or false is needed",
		`any(Parameters, .Name)`:          `filter: the text "Name" stands where true or false is needed`,
		`time ? true : false`:             "filter: a time stands where true or false is needed",
		`lower(Operation) == "x" or Item`: "filter: a list or an object stands where true or false is needed",
	} {
		f, err := newFilter(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		_, err = f.passes(recordView(inboxRule))
		if m, ok := errors.AsType[*Mistake](err); !ok || m.Problem != want {
			t.Errorf("%s\ngot  %v\nwant %q", text, err, want)
		}
	}
}

// hugeRecord is far larger than any that Microsoft writes: 1 MiB, with a list of
// 10,000 objects and a long text.
func hugeRecord() string {
	var items []string
	for i := range 10_000 {
		items = append(items, fmt.Sprintf(`{"Id":"%d","Subject":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","Size":%d}`, i, i))
	}
	return `{"Operation":"X","Items":[` + strings.Join(items, ",") + `],"Long":"` + strings.Repeat("a", 300_000) + `"}`
}

// nested is a text with %s in it, put into itself n times around a core.
func nested(n int, text, core string) string {
	for range n {
		core = strings.ReplaceAll(text, "%s", core)
	}
	return core
}

// hostile are filters built to eat time or memory.
var hostile = map[string]string{
	"ranges":                     `any(1..100000, any(1..100000, # == 7))`,
	"a long range":               `len(1..1000000000) > 1`,
	"a range in in":              `5 in 1..1000000000000`,
	"repeat":                     `len(repeat("x", 1000000000)) > 1`,
	"doubling variables":         `let a = Long + Long; let b = a + a; let c = b + b; let d = c + c; len(d) > 1`,
	"map of map":                 `len(map(Items, map(Items, map(Items, #)))) > 1`,
	"reduce":                     `len(reduce(Items, #acc + #acc, "x")) > 1`,
	"flatten":                    `len(flatten([Items, [Items, [Items]]])) > 1`,
	"sort":                       `len(sortBy(Items, .Subject)) > 1`,
	"group":                      `len(groupBy(Items, .Subject)) > 1`,
	"loops within loops":         `all(Items, all(Items, all(Items, true)))`,
	"loops that compare":         `any(Items, any(Items, .Subject == "b"))`,
	"loops to the depth limit":   nested(30, `any(Items, %s)`, `false`),
	"lists of lists":             nested(8, `len(filter(Items, %s)) > 0`, `true`),
	"every value with every":     `Items == Items and false or Items.Subject contains Items.Id`,
	"everything with everything": `text matches "b$" or text contains text or text < text`,
	"loops over everything":      `any(Items, text contains "b" or lower(text) == "c" or len(lower(text)) == 0)`,
	"looking everywhere":         `any(Items, any(Items, Items.Subject.x.y.z == 1))`,
	"looking down":               `any([Items, Items, Items, Items], any(#, any([Items, Items], .Subject.Id == 1)))`,
	"chains in chains":           nested(38, `(1 < %s < 2)`, `Size`),
	"a large expression":         `Long matches "(x{1,900}a{1,900}){1}b" or Long matches "(a?){900}b"`,
	"repeated repetitions":       `Long matches "((a{0,30}){0,30}){0,1}b"`,
	"too large a repetition":     `Long matches "((a{1,100}){1,100}){1,100}"`,
	"classes":                    `Long matches "` + strings.Repeat(`\\pL{900}`, 20) + `"`,
	"backtracking":               `Long matches "^(a|a|a|a|aa|aaa)*b$" or Long matches "(a+)+(a+)+(a+)+b" or Long matches "(.*)(.*)(.*)(.*)(.*)b"`,
	"many expressions":           strings.Repeat(`Long matches "[ab]*[ac]*[ad]*b" or `, 40) + "false",
	"many small expressions":     strings.Repeat(`Long matches "(?i)a.*a.*b" or `, 40) + "false",
	"expressions in loops":       `any(Items, Long matches "a.*b")`,
	"long text, upper and lower": `any(Items, lower(upper(lower(upper(Long)))) == "b")`,
	"many parts":                 strings.Repeat("true or ", 190) + "true",
	"very deep":                  strings.Repeat("(", 1900) + "true" + strings.Repeat(")", 50),
	"not not not":                strings.Repeat("not ", 198) + "true",
	"conditions in conditions":   nested(60, `(%s ? true : false)`, `true`),
	"pipes":                      "Items" + strings.Repeat(" | filter(true)", 60) + " | any(false)",
	"very long":                  strings.Repeat("x", 100_000) + " == 1",
	"a long literal list":        `any(Items, # in [` + strings.Repeat("1,", 150) + `1])`,
	"spellings of one field":     spellings("items"),
}

// spellings is a filter that names a field in many ways.
func spellings(name string) string {
	var parts []string
	for i := range 45 {
		spelt := []byte(name)
		for bit := range spelt {
			if i>>bit&1 == 1 {
				spelt[bit] -= 'a' - 'A'
			}
		}
		parts = append(parts, string(spelt)+" == 1")
	}
	return strings.Join(parts, " or ")
}

// Each is refused within two seconds, or is answered in no more than that, and
// memory grows by less than 64 MiB; with a record that is larger than any real
// one, again and again.
func TestHostileFiltersEatNeitherTimeNorMemory(t *testing.T) {
	v := recordView(hugeRecord())
	v.Get("") // what it takes to decode is not the filter's
	for name, text := range hostile {
		before := inUse()
		began := time.Now()
		peak, outcome := run(text, v, began)
		took := time.Since(began)
		grown := int64(max(peak, inUse())) - int64(before)
		t.Logf("%-28s %8.3f s %6.1f MiB  %s", name, took.Seconds(), float64(grown)/(1<<20), outcome)
		if took > slower*2*time.Second || grown > 64<<20 {
			t.Errorf("%s took %v and %d bytes", name, took, grown)
		}
	}
}

// A filter that takes a moment for each record is refused when these add up; a
// harmless one never is.
func TestTimeForAllRecordsIsLimited(t *testing.T) {
	v := recordView(hugeRecord())
	f, err := newFilter(`Items.Subject contains "b" or Items.Id == "none" or Long matches "ab"`)
	if err != nil {
		t.Fatal(err)
	}
	began, n := time.Now(), 0
	for ; err == nil && time.Since(began) < time.Minute; n++ {
		_, err = f.passes(v)
	}
	if m, ok := errors.AsType[*Mistake](err); !ok || m.Problem != "filter: it takes too long" || time.Since(began) > slower*2*time.Second {
		t.Errorf("after %d records and %v: %v", n, time.Since(began), err)
	}
	f, err = newFilter(`Operation == "New-InboxRule" and ip startsWith "203." and any(Parameters, .Name == "ForwardTo")`)
	if err != nil {
		t.Fatal(err)
	}
	v = recordView(inboxRule)
	for range 50_000 {
		if yes, err := f.passes(v); !yes || err != nil {
			t.Fatal(yes, err)
		}
	}
	t.Logf("harmless: %d steps, %v for each record", f.steps, f.spent/time.Duration(f.records))
}

// run applies a filter until it is refused, 0.3 s have gone or it has seen 50
// records, and is the largest heap in between.
func run(text string, v auditlog.View, began time.Time) (peak uint64, outcome string) {
	f, err := newFilter(text)
	if err != nil {
		return 0, err.Error()
	}
	for n := range 50 {
		_, err := f.passes(v)
		peak = max(peak, garbageToo())
		if err != nil {
			return peak, fmt.Sprintf("after %d: %v", n, err)
		}
		if time.Since(began) > 300*time.Millisecond {
			return peak, fmt.Sprintf("answered %d", n+1)
		}
	}
	return peak, "answered"
}

// inUse is how much memory is in use.
func inUse() uint64 {
	runtime.GC()
	return garbageToo()
}

// garbageToo is the same with garbage.
func garbageToo() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// FuzzFilter: no filter fails in another way than with a Mistake, and none
// takes long, whatever is asked of a record.
func FuzzFilter(f *testing.F) {
	for _, text := range hostile {
		f.Add(text)
	}
	for _, text := range []string{
		`Operation == "New-InboxRule" and ip startsWith "203."`, `any(Parameters, .Name == "ForwardTo" and .Value contains "@")`,
		`time >= "2026-11-24" and not (app in ["x", 5, nil, true])`, `(Nothing ?? Item).Subject matches "(?i)in.*7" ? true : len(Folders.FolderItems) > 2`,
		`none(filter(Folders, .Path != ""), any(.FolderItems, .Size >= 5.5e1)) or if user == nil { true } else { IsThrottled }`,
	} {
		f.Add(text)
	}
	v := recordView(inboxRule)
	f.Fuzz(func(t *testing.T, text string) {
		began := time.Now()
		filter, err := newFilter(text)
		if err == nil {
			_, err = filter.passes(v)
		}
		if _, ok := errors.AsType[*Mistake](err); err != nil && !ok {
			t.Errorf("%q: %v is no Mistake", text, err)
		}
		if m, ok := errors.AsType[*Mistake](err); ok && Visible(m.Problem) != m.Problem {
			t.Errorf("%q: the mistake shows what it should not: %q", text, m.Problem)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%q took %v", text, took)
		}
	})
}

// The folder of real records is not part of the repository.
func TestFiltersOfRealRecords(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "..", "shared", "data", "samples", "panther_analysis_microsoft365.ndjson"))
	if err != nil {
		t.Skip("no sample records in ../shared/data/samples beside the repository")
	}
	for text, want := range map[string]int{
		`Operation == "Set-Mailbox"`: 7, `Parameters.ForwardingSmtpAddress contains "familyguy.com"`: 3, `ip == "1.2.3.4"`: 17,
		`Operation == "UserLoginFailed" and result startsWith "failure"`: 1, `any(ModifiedProperties, .OldValue == "[]")`: 1,
	} {
		f, err := newFilter(text)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.Lines(string(content)) {
			yes, err := f.passes(recordView(line))
			if err != nil {
				t.Errorf("%s: %v of %s", text, err, line)
			}
			if yes {
				n++
			}
		}
		if n != want {
			t.Errorf("%s is true of %d, want %d", text, n, want)
		}
	}
}

// A harmless filter takes microseconds, far from what would be refused.
func BenchmarkFilter(b *testing.B) {
	f, err := newFilter(`Operation == "New-InboxRule" and ip startsWith "203." and any(Parameters, .Name == "ForwardTo" and .Value contains "fabrikam")`)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if yes, err := f.passes(recordView(inboxRule)); !yes || err != nil {
			b.Fatal(yes, err)
		}
	}
	b.ReportMetric(float64(f.steps), "steps/record")
	b.ReportMetric(float64(f.spent.Nanoseconds())/float64(f.records), "counted-ns/record")
}
