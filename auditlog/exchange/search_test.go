package exchange_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/exchange"
)

func TestSearchAsksAsMicrosoftsModuleDoes(t *testing.T) {
	t.Parallel()
	ms := &service{answers: []http.HandlerFunc{finds(row(1)), finds()}}
	q := auditlog.Query{
		Start: noon, End: noon.Add(time.Hour + time.Millisecond), Newest: 10,
		Operations: []string{"Update group.", "Consent to application."}, UserIDs: []string{"ada@contoso.com"},
		IPAddresses: []string{"203.0.113.9"}, ObjectIDs: []string{"https://contoso.sharepoint.com/sites/x/*"},
		SiteIDs: []string{"5c5c8de6-0c1d-4a5f-9d3e-2f0e8a1b7c4d"}, RecordTypes: []string{"AzureActiveDirectory"}, FreeText: `say "hi" & <b>`,
	}
	if _, _, err := search(t, source(ms), q); err != nil {
		t.Fatal(err)
	}
	c := ms.asked[0]
	if c.Path != "/adminapi/beta/contoso.onmicrosoft.com/InvokeCommand" || c.Cmdlet != "Search-UnifiedAuditLog" {
		t.Errorf("asked %s for %s", c.Path, c.Cmdlet)
	}
	for name, want := range map[string]string{
		"Authorization":     "Bearer T1",
		"X-AnchorMailbox":   "UPN:ada@contoso.com",
		"Prefer":            "odata.maxpagesize=11",
		"X-CmdletName":      "Search-UnifiedAuditLog",
		"X-ResponseFormat":  "json",
		"Accept-Language":   "en-US",
		"Content-Type":      "application/json; charset=utf-8",
		"Client-Request-Id": c.Header.Get("Client-Request-Id"),
	} {
		if got := c.Header.Get(name); got != want || got == "" {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	p := c.Parameters
	if p.StartDate != "2026-11-05T12:00:00Z" || p.EndDate != "2026-11-05T13:00:01Z" {
		t.Errorf("range from %s to %s: whole seconds are wanted, and nothing cut off", p.StartDate, p.EndDate)
	}
	if p.ResultSize != 11 || p.SessionCommand != "ReturnNextPreviewPage" || len(p.SessionId) != 36 {
		t.Errorf("session: %+v", p)
	}
	if !slices.Equal(p.Operations, q.Operations) || !slices.Equal(p.UserIds, q.UserIDs) || !slices.Equal(p.IPAddresses, q.IPAddresses) ||
		!slices.Equal(p.ObjectIds, q.ObjectIDs) || !slices.Equal(p.SiteIds, q.SiteIDs) || p.RecordType != q.RecordTypes[0] || p.FreeText != q.FreeText {
		t.Errorf("conditions: %+v", p)
	}
	if c.Header.Get("Client-Request-Id") == ms.asked[1].Header.Get("Client-Request-Id") {
		t.Error("two calls have one client-request-id")
	}
}

func TestWhatIsNotAskedForIsNotSent(t *testing.T) {
	t.Parallel()
	ms := &service{answers: []http.HandlerFunc{finds(row(1)), finds()}}
	search(t, source(ms), query(10))
	for _, name := range []string{"Operations", "UserIds", "IPAddresses", "ObjectIds", "SiteIds", "RecordType", "FreeText"} {
		if strings.Contains(ms.asked[0].Body, name) {
			t.Errorf("%s is in %s", name, ms.asked[0].Body)
		}
	}
}

// asApplication is a source whose token is an application's, for this tenant.
func asApplication(h http.Handler, tenantID string) *exchange.Source {
	s := source(h)
	s.Token = func(context.Context, auditlog.Secret) (auditlog.Token, error) {
		return auditlog.Token{Access: "T", Tenant: tenantID}, nil
	}
	return s
}

func TestAnApplicationIsAnchoredAtTheSystemMailbox(t *testing.T) {
	t.Parallel()
	const mailbox, guid = "APP:SystemMailbox{bb558c35-97f1-4cb9-8ff7-d53741dc928c}@", "5c5c8de6-0c1d-4a5f-9d3e-2f0e8a1b7c4d"
	for tenantID, want := range map[string]string{guid: mailbox + guid, "": mailbox + "contoso.onmicrosoft.com"} {
		ms := &service{answers: []http.HandlerFunc{finds(row(1)), finds()}}
		search(t, asApplication(ms, tenantID), query(1))
		if got := ms.asked[0].Header.Get("X-AnchorMailbox"); got != want {
			t.Errorf("anchor %q, want %q", got, want)
		}
	}
}

// What an application lacks is given to it by an administrator: there is nobody
// who could sign in again.
func TestAnApplicationIsToldWhatItLacks(t *testing.T) {
	t.Parallel()
	for want, refusal := range map[string]http.HandlerFunc{
		"gives it Exchange.ManageAsApp,":           refuses(http.StatusUnauthorized, "", "X-Ms-Diagnostics", `2000008;reason="no permissions"`),
		"checks exchange_url: and client_id:":      refuses(http.StatusUnauthorized, "", "X-Ms-Diagnostics", `2000003;reason="The audience is invalid"`),
		`the role "View-Only Audit Logs"`:          refuses(http.StatusForbidden, "\x00\x00", "Content-Encoding", "gzip"),
		"may not run Search-UnifiedAuditLog: The ": refuses(http.StatusBadRequest, `{"error":{"message":"The term 'Search-UnifiedAuditLog' is not recognized"}}`),
	} {
		ms := &service{answers: []http.HandlerFunc{refusal}}
		_, _, err := search(t, asApplication(ms, ""), query(1))
		r, ok := errors.AsType[*auditlog.Refusal](err)
		if !ok || !strings.Contains(r.Problem+"; "+r.Advice, want) || !strings.Contains(r.Problem, "the application") ||
			strings.Contains(r.Advice, "sign in") || strings.Contains(r.Problem, "account") {
			t.Errorf("%v, want %q and nothing about signing in", err, want)
		}
	}
}

func TestRecordsKeepTheirBytes(t *testing.T) {
	t.Parallel()
	const odd = `{ "Id":"x" ,"CreationTime":"2026-11-05T12:00:00","n":1.10, "big":12345678901234567890,"u":"\u00e9\/<&>","half":"\ud800"}`
	ms := &service{answers: []http.HandlerFunc{finds(rowOf(odd)), finds()}}
	var v auditlog.Verdict
	for r, err := range source(ms).Search(t.Context(), query(1), &v) {
		if err != nil || string(r.Raw) != odd {
			t.Errorf("got %s, %v\nwant %s", r.Raw, err, odd)
		}
	}
}

func TestASearchEndsWhenTheSessionReturnsNothingMore(t *testing.T) {
	t.Parallel()
	ms := &service{answers: []http.HandlerFunc{finds(down(9, 5)...), finds(down(4, 1)...), finds()}}
	ids, v, err := search(t, source(ms), query(4))
	if err != nil || !slices.Equal(ids, numbers(9, 1)) {
		t.Errorf("got %v, %v", ids, err)
	}
	if got := sessions(ms.asked); got != "aaa" || v.Requests != 3 || v.Status() != auditlog.Complete {
		t.Errorf("sessions %s, %d requests, %v", got, v.Requests, v)
	}
}

func TestALoopThatHasEnoughAsksForNoMore(t *testing.T) {
	t.Parallel()
	ms := &service{answers: []http.HandlerFunc{finds(down(9, 1)...)}}
	var v auditlog.Verdict
	for range source(ms).Search(t.Context(), query(8), &v) {
		break
	}
	if len(ms.asked) != 1 {
		t.Errorf("%d requests for one record", len(ms.asked))
	}
}

func TestLinksAreFollowedWithTheSameBody(t *testing.T) {
	t.Parallel()
	link := `"@odata.nextLink":"/adminapi/beta/contoso.onmicrosoft.com/InvokeCommand?$skiptoken=2",`
	ms := &service{answers: []http.HandlerFunc{says(found(link, down(9, 5)...)), finds(down(4, 1)...), finds()}}
	ids, v, err := search(t, source(ms), query(20))
	if err != nil || !slices.Equal(ids, numbers(9, 1)) || v.Status() != auditlog.Complete {
		t.Errorf("got %v, %v, %v", ids, err, v)
	}
	if ms.asked[1].Link != "2" || ms.asked[1].Body != ms.asked[0].Body || ms.asked[1].Header.Get("Authorization") != "Bearer T1" {
		t.Errorf("the link was followed with %+v", ms.asked[1])
	}
	if ms.asked[2].Link != "" || ms.asked[2].Body != ms.asked[0].Body {
		t.Errorf("after the last link, the call is to be repeated, not %+v", ms.asked[2])
	}
}

const expiredLink = `{"error":{"code":"BadRequest","message":"Expired or Invalid pagination request. Default Expiry time is 00:30:00"}}`

func TestRefusedLinksMakeTheSessionTurnThePages(t *testing.T) {
	t.Parallel()
	link := `"@odata.nextLink":"https://outlook.office365.com:443/x?$skiptoken=2",`
	ms := &service{answers: []http.HandlerFunc{
		says(found(link, down(9, 7)...)), refuses(400, expiredLink), // 3 rows on a page
		finds(down(9, 7)...), finds(down(6, 5)...), finds(),
		finds(row(1)), finds(),
	}}
	s := source(ms)
	ids, v, err := search(t, s, query(20))
	if err != nil || !slices.Equal(ids, slices.Concat(numbers(9, 7), numbers(9, 5))) {
		t.Errorf("got %v, %v", ids, err)
	}
	if sessions(ms.asked) != "aabbb" || ms.asked[2].Parameters.ResultSize != 3 || v.Retries != 0 || v.Status() != auditlog.Complete {
		t.Errorf("sessions %s, %+v, %v", sessions(ms.asked), ms.asked[2].Parameters, v)
	}
	search(t, s, query(20))
	if got := ms.asked[5].Parameters.ResultSize; got != 3 {
		t.Errorf("the next search asks for %d rows, so it has not learnt", got)
	}
}

func TestALinkToElsewhereIsNotFollowed(t *testing.T) {
	t.Parallel()
	for _, where := range []string{
		"https://evil.example/x", "http://outlook.office365.com/x", "//evil.example/x",
		"https://outlook.office365.com:8443/x", "https://ada@outlook.office365.com/x", "https://outlook.office365.com.evil.example/",
	} {
		ms := &service{answers: []http.HandlerFunc{
			says(found(`"@odata.nextLink":"`+where+`",`, row(9))),
			finds(row(9)), finds(row(8)), finds(),
		}}
		ids, v, err := search(t, source(ms), query(20))
		if err != nil || !slices.Contains(ids, "id-00008") || len(v.Warnings) != 1 {
			t.Errorf("%s: got %v, %v, %v", where, ids, v.Warnings, err)
		}
		if !strings.HasPrefix(sessions(ms.asked), "abbb") {
			t.Errorf("%s: sessions %s", where, sessions(ms.asked))
		}
	}
}

func TestFiveThousandRowsMayNotBeAll(t *testing.T) {
	t.Parallel()
	most := finds(down(5000, 1)...)
	for _, c := range []struct {
		name   string
		after  http.HandlerFunc
		rows   int
		status auditlog.Status
	}{
		{"nothing follows at the documented limit", finds(), 5000, auditlog.Unknown},
		{"one more follows", finds(row(0)), 5001, auditlog.Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			ms := &service{answers: []http.HandlerFunc{most, c.after, finds()}}
			ids, v, err := search(t, source(ms), query(5000))
			if err != nil || len(ids) != c.rows || v.Status() != c.status {
				t.Errorf("%d rows, %v, %v", len(ids), v, err)
			}
			if got := ms.asked[0].Parameters.ResultSize; got != 5000 {
				t.Errorf("asked for %d rows in one call; the service takes 5000 at most", got)
			}
		})
	}
}

func TestNoRecordsIsAskedThriceAndTheSwitchIsChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		config http.HandlerFunc
		status auditlog.Status
		reason string
	}{
		{"auditing on", says(auditOn), auditlog.Complete, ""},
		{"auditing off", says(auditOff), auditlog.Partial, "auditing is switched off in this tenant, so nothing is recorded"},
		{"no right to see it", refuses(403, "\x00\x00\x00", "Content-Encoding", "gzip"), auditlog.Unknown, "whether auditing is switched on"},
		{"it does not say", says(`{"value":[{}]}`), auditlog.Unknown, "whether auditing is switched on"},
		{"it says nothing at all", says(`{"value":[]}`), auditlog.Unknown, "whether auditing is switched on"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ms := &service{answers: []http.HandlerFunc{finds(), finds(), finds(), c.config}}
			ids, v, err := search(t, source(ms), query(10))
			if err != nil || len(ids) != 0 || v.Status() != c.status || !strings.Contains(strings.Join(v.Lost, ";"), c.reason) {
				t.Errorf("%v, %q, %v", ids, v, err)
			}
			if sessions(ms.asked) != "abc" || ms.asked[3].Cmdlet != "Get-AdminAuditLogConfig" {
				t.Errorf("asked in sessions %s, then %s", sessions(ms.asked), ms.asked[3].Cmdlet)
			}
		})
	}
}

func TestTheSecondQuestionMayFindWhatTheFirstDidNot(t *testing.T) {
	t.Parallel()
	ms := &service{answers: []http.HandlerFunc{finds(), finds(row(1)), finds()}}
	ids, v, err := search(t, source(ms), query(10))
	if err != nil || len(ids) != 1 || v.Status() != auditlog.Complete || sessions(ms.asked) != "abb" {
		t.Errorf("%v, %v, %v in %s", ids, v, err, sessions(ms.asked))
	}
}

func TestAnAnswerThatTheServiceGaveUpOnIsNoAnswer(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]http.HandlerFunc{
		"a warning and no rows":           says(found(gaveUp)),
		"a warning and rows":              says(found(gaveUp, down(9, 8)...)),
		"a warning in the header":         refuses(200, found(""), "X-Warnings", "Failed to process request via Sync Search mode, returning HttpRequestException."),
		"a warning that is no list":       says(found(`"@adminapi.warnings":"Failed to process request via Sync Search mode",`)),
		"an error":                        says(found(`"@adminapi.errors":["boom"],`)),
		"ResultIndex -1":                  finds(strings.Replace(row(9), `"ResultIndex":1`, `"ResultIndex":-1`, 1)),
		"ResultIndex -1 in a string":      finds(strings.Replace(row(9), `"ResultIndex":1`, `"ResultIndex":"-1"`, 1)),
		"no value":                        says(`{}`),
		"a value that is null":            says(`{"value":null}`),
		"no content":                      refuses(204, ""),
		"an empty body":                   says(""),
		"half a body":                     says(`{"value":[{"AuditData":"{`),
		"a page of some gateway":          refuses(200, "<html>try later</html>", "Content-Type", "text/html"),
		"a connection that breaks":        breaks(io.ErrUnexpectedEOF),
		"an internal error":               refuses(500, ""),
		"a transient exception with 400":  refuses(400, "{}", "X-ExceptionType", "Microsoft.Exchange.Data.Directory.ADServerSettingsChangedException"),
		"a transient exception, in words": refuses(400, `{"error":{"details":[{"message":"|X.ServerBusyException|busy"}]}}`),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ms := &service{answers: []http.HandlerFunc{failure, failure, finds(down(9, 1)...), finds()}}
				ids, v, err := search(t, source(ms), query(20))
				if err != nil || !slices.Equal(ids, numbers(9, 1)) || v.Status() != auditlog.Complete {
					t.Errorf("%v, %v, %v", ids, v, err)
				}
				if sessions(ms.asked) != "abcc" || v.Retries != 2 || v.Requests != 4 {
					t.Errorf("sessions %s, %d retries: each try is to be a session of its own", sessions(ms.asked), v.Retries)
				}
			})
			synctest.Test(t, func(t *testing.T) {
				ms := &service{answers: []http.HandlerFunc{failure}}
				began := time.Now()
				ids, v, err := search(t, source(ms), query(20))
				if v.Requests != 5 || v.Retries != 4 {
					t.Errorf("%d requests, want 5", v.Requests)
				}
				if took := time.Since(began); took < 30*time.Second || took > 45*time.Second {
					t.Errorf("took %v, want 2+4+8+16 s and up to half of it more", took)
				}
				if v.Status() == auditlog.Complete && err == nil {
					t.Errorf("%v were called complete", ids)
				}
				if r, ok := errors.AsType[*auditlog.Refusal](err); !ok && len(ids) == 0 {
					t.Errorf("no records and no refusal: %v", err)
				} else if ok && (r.Problem == "" || r.Advice == "") {
					t.Errorf("an empty refusal: %+v", r)
				}
			})
		})
	}
}

func TestWhatTheServiceSentWhenItGaveUpIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ms := &service{answers: []http.HandlerFunc{says(found(gaveUp, down(9, 7)...)), says(found(gaveUp))}}
		ids, v, err := search(t, source(ms), query(20))
		if _, ok := errors.AsType[*auditlog.Refusal](err); !ok || !slices.Equal(ids, numbers(9, 7)) || v.Status() != auditlog.Partial {
			t.Errorf("%v, %v, %v", ids, v, err)
		}
		if len(v.Warnings) != 1 || v.Err == nil {
			t.Errorf("the verdict has warnings %q and error %v", v.Warnings, v.Err)
		}
	})
}

func TestRecordsOfASearchThatWasGivenUpAreNotCalledNewest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ms := &service{answers: []http.HandlerFunc{says(found(gaveUp, down(300, 1)...))}}
		log := auditlog.Log{Sources: []auditlog.Source{source(ms)}}
		res := log.Search(t.Context(), query(10))
		n := 0
		for _, err := range res.All() {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if v := res.Verdict(); n != 10 || len(v.Lost) == 0 || v.Status() != auditlog.Partial {
			t.Errorf("%d records, %v", n, v)
		}
	})
}

func TestASearchThatFindsLessTheSecondTimeIsDoubted(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string][]http.HandlerFunc{
		"nothing instead of what it sent when it gave up": {says(found(gaveUp, down(9, 7)...)), finds(), finds()},
		"less than what it sent when it gave up":          {says(found(gaveUp, down(9, 7)...)), finds(row(9)), finds()},
		"less than before a failure":                      {finds(down(9, 7)...), refuses(503, ""), finds(row(9)), finds()},
		"nothing, unlike before a failure":                {finds(down(9, 7)...), refuses(503, ""), finds()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ids, v, err := search(t, source(&service{answers: answers}), query(20))
				if err != nil || v.Status() != auditlog.Unknown {
					t.Errorf("%v, %v", v, err)
				}
				for _, id := range numbers(9, 7) {
					if !slices.Contains(ids, id) {
						t.Errorf("%s is lost", id)
					}
				}
			})
		})
	}
}

func TestOtherWarningsCastDoubt(t *testing.T) {
	t.Parallel()
	ms := &service{answers: []http.HandlerFunc{
		says(found(`"@adminapi.warnings":["Results were\u0000 truncated.\n"],`, row(9))), finds(),
	}}
	ids, v, err := search(t, source(ms), query(20))
	if err != nil || len(ids) != 1 || v.Status() != auditlog.Unknown {
		t.Errorf("%v, %v, %v", ids, v, err)
	}
	if !slices.Equal(v.Lost, []string{"the service warned: Results were truncated"}) {
		t.Errorf("reasons %q", v.Lost)
	}
}

func TestASessionThatBreaksOffIsReadFromTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ms := &service{answers: []http.HandlerFunc{
			finds(down(9, 7)...), breaks(io.EOF), // were rows 6 to 4 in it? nobody knows
			finds(down(9, 7)...), finds(down(6, 4)...), finds(),
		}}
		ids, v, err := search(t, source(ms), query(20))
		if err != nil || !slices.Equal(ids, slices.Concat(numbers(9, 7), numbers(9, 4))) || v.Status() != auditlog.Complete {
			t.Errorf("%v, %v, %v", ids, v, err)
		}
		if sessions(ms.asked) != "aabbb" {
			t.Errorf("sessions %s", sessions(ms.asked))
		}
	})
}

func TestThrottlingDoesNotEndTheSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ms := &service{answers: []http.HandlerFunc{
			finds(down(9, 7)...), refuses(429, "", "Retry-After", "7"), finds(down(6, 4)...), finds(),
		}}
		began := time.Now()
		ids, v, err := search(t, source(ms), query(20))
		if err != nil || !slices.Equal(ids, numbers(9, 4)) || sessions(ms.asked) != "aaaa" || v.Retries != 1 {
			t.Errorf("%v, %v in %s", ids, err, sessions(ms.asked))
		}
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("waited %v, want the 7s asked for", took)
		}
	})
}

func TestEachPageHasItsOwnTries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		busy := refuses(429, "", "Retry-After", "1")
		ms := &service{answers: []http.HandlerFunc{busy, busy, busy, finds(row(9)), busy, busy, busy, finds(row(8)), busy, busy, busy, finds()}}
		if ids, v, err := search(t, source(ms), query(20)); err != nil || len(ids) != 2 || v.Retries != 9 {
			t.Errorf("%v, %d retries, %v", ids, v.Retries, err)
		}
	})
}

func TestAServiceThatRepeatsItselfIsDoubted(t *testing.T) {
	t.Parallel()
	ms := &service{answers: []http.HandlerFunc{finds(down(9, 7)...)}}
	ids, v, err := search(t, source(ms), query(20))
	if err != nil || len(ids) != 15 || !slices.Equal(ids[:3], numbers(9, 7)) || v.Status() != auditlog.Unknown || len(ms.asked) != 10 { // five sessions
		t.Errorf("%v, %v, %v after %d requests", ids, v, err, len(ms.asked))
	}
}

func TestAServiceThatSaysMoreAndSendsNothingIsDoubted(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{`{"moreRecordsAvailable":true}`, `"{\"MoreRecordsAvailable\": true}"`} {
		last := strings.Replace(row(9), `"ResultIndex":1`, `"AuditSearchRequestMetadata":`+flag, 1)
		ms := &service{answers: []http.HandlerFunc{finds(last), finds()}}
		if _, v, err := search(t, source(ms), query(20)); err != nil || v.Status() != auditlog.Unknown {
			t.Errorf("%s: %v, %v", flag, v, err)
		}
	}
	last := strings.Replace(row(9), `"ResultIndex":1`, `"AuditSearchRequestMetadata":{"moreRecordsAvailable":false}`, 1)
	ms := &service{answers: []http.HandlerFunc{finds(last), finds()}}
	if _, v, err := search(t, source(ms), query(20)); err != nil || v.Status() != auditlog.Complete {
		t.Errorf("false: %v, %v", v, err)
	}
}

func TestEmptyPagesWithLinksDoNotGoOnForever(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ms := &service{answers: []http.HandlerFunc{says(found(`"@odata.nextLink":"/x",`))}}
		_, v, err := search(t, source(ms), query(20))
		if _, ok := errors.AsType[*auditlog.Refusal](err); !ok || v.Requests > 60 {
			t.Errorf("%v after %d requests", err, v.Requests)
		}
	})
}

func TestOddRowsAreKept(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]string{
		"without AuditData":    `{"Identity":"id-7","Operations":"X"}`,
		"with null AuditData":  `{"Identity":"id-7","AuditData":null}`,
		"with broken text":     `{"AuditData":"{\"Id\":"}`,
		"with a list":          `{"AuditData":[1]}`,
		"that is not a row":    `"what?"`,
		"with an odd Identity": `{"Identity":7}`,
	} {
		ms := &service{answers: []http.HandlerFunc{finds(row), finds()}}
		var v auditlog.Verdict
		n := 0
		for r, err := range source(ms).Search(t.Context(), query(1), &v) {
			if n++; err != nil || !r.Unreadable || len(r.Raw) < 5 {
				t.Errorf("%s: %s, %v", name, r.Raw, err)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d records", name, n)
		}
	}
	ms := &service{answers: []http.HandlerFunc{finds(`{"AuditData":{"Id":"x","n":1.0}}`), finds()}}
	if ids, _, err := search(t, source(ms), query(1)); err != nil || !slices.Equal(ids, []string{"x"}) {
		t.Errorf("AuditData that is an object: %v, %v", ids, err)
	}
}
