package auditlog_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"auditbot/auditlog"
)

func view(text string) auditlog.View { return auditlog.NewRecord(text).View() }

func TestAddressesAreUnified(t *testing.T) {
	for text, want := range map[string]string{
		`{"ClientIP":"203.0.113.9"}`:                                             "203.0.113.9",
		`{"ClientIP":"203.0.113.9:10736"}`:                                       "203.0.113.9",
		`{"ClientIP":"[2001:db8::9]:443"}`:                                       "2001:db8::9",
		`{"ClientIP":"[2001:DB8:0::9]"}`:                                         "2001:db8::9",
		`{"ClientIP":"2001:0db8:0000:0000:0000:0000:0000:0009"}`:                 "2001:db8::9",
		`{"ClientIP":"::ffff:203.0.113.9"}`:                                      "203.0.113.9",
		`{"ClientIP":"[::ffff:203.0.113.9]:443"}`:                                "203.0.113.9",
		`{"ClientIP":"::ffff:203.0.113.9:443"}`:                                  "203.0.113.9",
		`{"ClientIP":"ffff:203.0.113.9"}`:                                        "203.0.113.9", // as in Microsoft's documentation
		`{"ClientIP":" 203.0.113.9 "}`:                                           "203.0.113.9",
		`{"ClientIP":"","ClientIPAddress":"203.0.113.9"}`:                        "203.0.113.9",
		`{"ClientIP":null,"ActorIpAddress":"203.0.113.9"}`:                       "203.0.113.9",
		`{"ClientIP":"<null>","ActorIP":"198.51.100.7:1"}`:                       "198.51.100.7",
		`{"ActorIpAddress":"198.51.100.7","ClientIPAddress":"203.0.113.9:1234"}`: "203.0.113.9",
		`{"clientip":"203.0.113.9:10736"}`:                                       "203.0.113.9",
		`{"ClientIP":"ffff:ffff:203.0.113.9"}`:                                   "",
		`{"ClientIP":"unknown"}`:                                                 "",
		`{"ClientIP":7}`:                                                         "",
		`{}`:                                                                     "",
	} {
		if got := view(text).IP(); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}

func TestSessionsAreFoundInTheirThreePlaces(t *testing.T) {
	const id = "5c5c8de6-0c1d-4a5f-9d3e-2f0e8a1b7c4d"
	for text, want := range map[string]string{
		`{"SessionId":"5C5C8DE6-0C1D-4A5F-9D3E-2F0E8A1B7C4D"}`:                                       id,
		`{"AppAccessContext":{"AADSessionId":"` + id + `"}}`:                                         id,
		`{"DeviceProperties":[{"Name":"OS","Value":"x"},{"Name":"SessionId","Value":"` + id + `"}]}`: id,
		`{"SessionId":"","AppAccessContext":{"AADSessionId":"` + id + `"}}`:                          id,
		`{"SessionId":"aA-bB"}`:                           "aA-bB",
		`{"AppAccessContext":"odd","DeviceProperties":7}`: "",
		`{}`: "",
	} {
		if got := view(text).Session(); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}

func TestAppsAreShownWithTheirNames(t *testing.T) {
	const exchange = "Office 365 Exchange Online (00000002-0000-0ff1-ce00-000000000000)"
	for text, want := range map[string]string{
		`{"AppId":"00000002-0000-0FF1-CE00-000000000000"}`:                            exchange,
		`{"ApplicationId":"00000002-0000-0ff1-ce00-000000000000"}`:                    exchange,
		`{"AppId":"","ClientAppId":"00000002-0000-0ff1-ce00-000000000000"}`:           exchange,
		`{"AppAccessContext":{"ClientAppId":"00000002-0000-0ff1-ce00-000000000000"}}`: exchange,
		`{"AppId":"1b7e6a5e-0000-4000-8000-0000000000AA"}`:                            "1b7e6a5e-0000-4000-8000-0000000000aa",
		`{"AppId":"Not A Guid"}`:                                                      "Not A Guid",
		`{}`:                                                                          "",
	} {
		if got := view(text).App().String(); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}

func TestResultsOfSignInsAreNotResultStatus(t *testing.T) {
	for text, want := range map[string]string{
		`{"Operation":"UserLoginFailed","ResultStatus":"Success","LogonError":"InvalidUserNameOrPassword","ErrorNumber":"50126"}`: "failure: InvalidUserNameOrPassword (50126)",
		`{"Operation":"UserLoginFailed","ResultStatus":"Success","LogonError":"InvalidUserNameOrPassword"}`:                       "failure: InvalidUserNameOrPassword",
		`{"Operation":"UserLoginFailed","ResultStatus":"Succeeded","ErrorNumber":50053}`:                                          "failure: IdsLocked (50053)",
		`{"Operation":"UserLoginFailed","ErrorNumber":"50056"}`:                                                                   "failure: User has no password in the directory, or an empty one was sent (50056)",
		`{"Operation":"UserLoginFailed","ErrorNumber":16457}`:                                                                     "failure (16457)",
		`{"Operation":"UserLoginFailed","ResultStatus":"Success","ErrorNumber":"0"}`:                                              "failure",
		`{"Operation":"UserLoginFailed","ResultStatus":"Success"}`:                                                                "failure",
		`{"operation":"UserLoginFailed","errornumber":50126}`:                                                                     "failure: InvalidUserNameOrPassword (50126)",
		`{"Operation":"UserLoggedIn","ResultStatus":"Success","ErrorNumber":"0"}`:                                                 "success",
		`{"Operation":"UserLoggedIn","ResultStatus":"Failed","ErrorNumber":50140}`:                                                "success",
		`{"Operation":"UserLoggedIn"}`:                                                                                            "success",
		`{"Operation":"UserLoggedIn","ResultStatus":"Succeeded","ErrorNumber":"50074"}`:                                           "failure: UserStrongAuthClientAuthNRequiredInterrupt (50074)",
		`{"Operation":"UserLoggedIn","ResultStatus":"Succeeded","LogonError":"InvalidUserNameOrPassword"}`:                        "failure: InvalidUserNameOrPassword",
		`{"Operation":"Other","RecordType":15,"ResultStatus":"Success"}`:                                                          "",
		`{"Operation":"Other","RecordType":15,"ResultStatus":"Success","ErrorNumber":"0"}`:                                        "success",
		`{"Operation":"Other","RecordType":"AzureActiveDirectoryStsLogon","ResultStatus":"Success","ErrorNumber":50126}`:          "failure: InvalidUserNameOrPassword (50126)",
		`{"Operation":"MailboxLogin","ResultStatus":"Succeeded","LogonError":"AccountDisabled"}`:                                  "failure: AccountDisabled",
		`{"Operation":"Set-Mailbox","ResultStatus":"True"}`:                                                                       "success",
		`{"Operation":"Set-Mailbox","ResultStatus":"False"}`:                                                                      "failure",
		`{"Operation":"Update user.","ResultStatus":"Failure"}`:                                                                   "failure",
		`{"Operation":"MailItemsAccessed","ResultStatus":"PartiallySucceeded"}`:                                                   "PartiallySucceeded",
		`{"Operation":"FileAccessed"}`:                                                                                            "",
		`{}`:                                                                                                                      "",
	} {
		if got := view(text).Result(); got != want {
			t.Errorf("%s\ngot  %q\nwant %q", text, got, want)
		}
	}
}

const deep = `{"Id":"1","Operation":"New-InboxRule","operation":"other","UserId":"Ada@contoso.com","CreationTime":"2026-11-05T12:00:00","n":12345678901234567890,
"Item":{"Subject":"a <b> & c","Size":1.50,"Folder":{"Path":"\\Inbox"}},
"Parameters":[{"Name":"Name","Value":".."},{"Name":"ForwardTo","Value":"eve@fabrikam.com"},{"Name":"No value","Value":null}],
"ModifiedProperties":[{"Name":"Role.DisplayName","NewValue":"Global Administrator","OldValue":""},{"Name":"Role","NewValue":"x"}],
"Actor":[{"ID":"ada@contoso.com","Type":5},{"ID":"User"}],
"Folders":[{"Path":"\\A","FolderItems":[{"Id":"1"},{"Id":"2"}]},{"Path":"\\B","FolderItems":[{"Id":"3"}]}],
"a.b":{"c.d":true},"empty":[],"nothing":null}`

func TestAPathLeadsIntoARecord(t *testing.T) {
	for path, want := range map[string]string{
		"Operation":                           "New-InboxRule",
		"operation":                           "other",
		"OPERATION":                           "other", // in lower case as other tools have it
		"userid":                              "Ada@contoso.com",
		"user":                                "Ada@contoso.com",
		"USER":                                "Ada@contoso.com",
		"time":                                "2026-11-05T12:00:00Z",
		"CreationTime":                        "2026-11-05T12:00:00",
		"n":                                   "12345678901234567890",
		"Item.Subject":                        "a <b> & c",
		"item.subject":                        "a <b> & c",
		"Item.Size":                           "1.50",
		"Item.Folder.Path":                    `\Inbox`,
		"Item.Folder":                         `{"Path":"\\Inbox"}`,
		"Item":                                `{"Subject":"a <b> & c","Size":1.50,"Folder":{"Path":"\\Inbox"}}`,
		"Parameters.ForwardTo":                "eve@fabrikam.com",
		"Parameters.forwardto":                "eve@fabrikam.com",
		"Parameters.Name":                     "..", // the parameter, not the names of all
		"Parameters.No value":                 "",
		"Parameters.RedirectTo":               "",
		"ModifiedProperties.Role":             "x",
		"ModifiedProperties.Role.DisplayName": "Global Administrator",
		"ModifiedProperties.Role.DisplayName.NewValue": "Global Administrator",
		"ModifiedProperties.Role.DisplayName.OldValue": "",
		"Actor.0.ID":                  "ada@contoso.com",
		"Actor.ID":                    `["ada@contoso.com","User"]`,
		"Actor.Type":                  "[5]",
		"Actor.2.ID":                  "",
		"Actor.-1.ID":                 "",
		"Folders.FolderItems.Id":      `["1","2","3"]`,
		"a.b.c.d":                     "true",
		"empty":                       "[]",
		"nothing":                     "",
		"none":                        "",
		".":                           "",
		"Item.":                       "",
		".Item":                       "",
		"Operation.x":                 "",
		"ip":                          "",
		strings.Repeat("Item.", 1000): "",
	} {
		if got := view(deep).Text(path); got != want {
			t.Errorf("%q is %q, want %q", path, got, want)
		}
	}
}

func TestValuesHaveTheirTypes(t *testing.T) {
	for path, want := range map[string]any{
		"Operation": "New-InboxRule", "n": json.Number("12345678901234567890"), "a.b.c.d": true, "empty": []any{}, "time": noon,
		"nothing": nil, "none": nil, "ip": nil, "app": nil, "Parameters.No value": nil,
		"Item.Folder": map[string]any{"Path": `\Inbox`},
	} {
		got, ok := view(deep).Get(path)
		if !reflect.DeepEqual(got, want) || ok != (want != nil) {
			t.Errorf("%q is %#v, %v, want %#v", path, got, ok, want)
		}
	}
	if _, ok := view(`{}`).Get("time"); ok {
		t.Error("a record without a time has one")
	}
}

func TestNamesAreWhatMayFollow(t *testing.T) {
	for path, want := range map[string][]string{
		"Item":               {"Folder", "Size", "Subject"},
		"Parameters":         {"ForwardTo", "Name", "No value"},
		"ModifiedProperties": {"Role", "Role.DisplayName"},
		"Actor":              {"ID", "Type"},
		"Operation":          nil,
		"none":               nil,
	} {
		if got := view(deep).Names(path); !slices.Equal(got, want) {
			t.Errorf("after %q: %q, want %q", path, got, want)
		}
	}
	if got := view(`{"b":1,"a":2}`).Names(""); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
}

func TestAnUnreadableRecordHasNoFields(t *testing.T) {
	for _, v := range []auditlog.View{view("not JSON"), {}} {
		for _, path := range append(auditlog.VirtualFields(), "Operation", "Item.Subject") {
			if value, ok := v.Get(path); ok || value != nil || v.Text(path) != "" {
				t.Errorf("%q is %v", path, value)
			}
		}
		if names := v.Names(""); len(names) != 0 {
			t.Errorf("%q", names)
		}
	}
	if value, ok := view("not JSON").Get(""); !ok || value != "not JSON" {
		t.Errorf("its text is %v", value)
	}
	if value, ok := (auditlog.View{}).Get(""); ok {
		t.Errorf("the zero View is %v", value)
	}
}

func TestTheEmptyPathIsTheRecord(t *testing.T) {
	const record = `{ "b":[1] ,"a":"x"}`
	want := map[string]any{"a": "x", "b": []any{json.Number("1")}}
	if got, ok := view(record).Get(""); !ok || !reflect.DeepEqual(got, want) || view(record).Text("") != record {
		t.Errorf("%#v, %s", got, view(record).Text(""))
	}
}

// FuzzView: no record and no path make it fail, and what Get finds Text shows.
func FuzzView(f *testing.F) {
	f.Add(deep, "Item.Subject")
	f.Add(deep, "ModifiedProperties.Role.DisplayName.OldValue")
	f.Add(`{"a":[[[{"b":1}],2],{"b":[3]}]}`, "a.b")
	f.Fuzz(func(t *testing.T, text, path string) {
		v := view(text)
		value, ok := v.Get(path)
		if ok == (value == nil) {
			t.Errorf("%q of %s is %v, %v", path, text, value, ok)
		}
		if shown := v.Text(path); shown == "" && ok && value != "" {
			t.Errorf("%q of %s is %v, but shown as nothing", path, text, value)
		}
		for _, name := range v.Names(path)[:min(20, len(v.Names(path)))] {
			v.Text(path + "." + name)
		}
	})
}

// The folder of real records is not part of the repository.
func TestVirtualFieldsOfRealRecords(t *testing.T) {
	files, err := filepath.Glob("../../shared/data/samples/*.ndjson")
	if err != nil || len(files) == 0 {
		t.Skip("no sample records in ../shared/data/samples beside the repository")
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(bytes.NewReader(content))
		lines.Buffer(nil, 1<<20)
		for n := 1; lines.Scan(); n++ {
			v := view(lines.Text())
			if v.User() == "" || v.Text("time") == "" || strings.Contains(lines.Text(), `lient`) && v.IP() == "" {
				t.Errorf("%s:%d: user %q, time %q, ip %q", file, n, v.User(), v.Text("time"), v.IP())
			}
			if strings.Contains(lines.Text(), "UserLoginFailed") && v.Result() != "failure: InvalidUserNameOrPassword" {
				t.Errorf("%s:%d: result %q", file, n, v.Result())
			}
		}
	}
}

func TestTheListsAreComplete(t *testing.T) {
	if app := auditlog.FindApp("00000003-0000-0000-C000-000000000000"); app.Name != "Microsoft Graph" {
		t.Errorf("%+v", app)
	}
	if e, ok := auditlog.FindSignInError(50126); !ok || e.Name != "InvalidUserNameOrPassword" || e.Meaning == "" {
		t.Errorf("%+v", e)
	}
	if e, ok := auditlog.FindSignInError(1); ok {
		t.Errorf("%+v", e)
	}
}
