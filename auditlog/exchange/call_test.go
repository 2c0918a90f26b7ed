package exchange_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/exchange"
)

// body is an error as the service words it.
func body(details, inner string) string {
	b, _ := json.Marshal(map[string]any{"error": map[string]any{
		"code": "BadRequest", "message": "Error executing cmdlet",
		"details":    []map[string]string{{"code": "Context", "message": details}},
		"innererror": map[string]any{"message": "Invalid Operation", "internalexception": map[string]string{"message": inner, "type": "X.ParameterTransformationException"}},
	}})
	return string(b)
}

// wrongEnum is what the service says of a record type that it does not know.
func wrongEnum(names string) string {
	return body("", `Cannot process argument transformation on parameter 'RecordType'. Cannot convert value "Nonsense" to type "Microsoft.Exchange.AuditRecordType". Error: "Unable to match the identifier name Nonsense to a valid enumerator name. Specify one of the following enumerator names and try again: `+names)
}

// refusals are the rows of what the service refuses, and what an analyst is
// told: some words of the problem and some of the advice.
var refusals = []struct {
	name            string
	answer          http.HandlerFunc
	problem, advice string
	requests        int // 2: asked again with a new token; 5: tried again
}{
	{"role missing, a body of NUL bytes", refuses(403, "\x00\x00\x00\x00", "Content-Encoding", "gzip"),
		"this account may not run Search-UnifiedAuditLog", `"View-Only Audit Logs" or "Audit Logs" in the Exchange admin centre`, 2},
	{"role missing, an empty body", refuses(403, ""), "this account may not run", "!o365-auditlog-auth-start", 2},
	{"role missing, with diagnostics", refuses(403, "", "x-ms-diagnostics", `2000001;reason="no access"`), `may not run Search-UnifiedAuditLog: 2000001;reason="no access"`, "admin centre", 1},
	{"role missing, as PowerShell says it", refuses(400, body("", "The term 'Search-UnifiedAuditLog' is not recognized as the name of a cmdlet.")),
		"this account may not run", "admin centre", 1},
	{"role missing, as Exchange says it", refuses(400, body("|X|ada@contoso.com isn't assigned to any management roles.", "")), "isn't assigned to any management roles", "admin centre", 1},
	{"role missing, as an exception", refuses(400, "{}", "X-ExceptionType", "CmdletAccessDeniedException"), "this account may not run", "admin centre", 1},
	{"sign-in expired", refuses(401, "", "WWW-Authenticate", `Bearer error="invalid_token", error_description="The token has expired"`),
		"refused the sign-in: it has expired", "!o365-auditlog-auth-reset, then !o365-auditlog-auth-start", 2},
	{"token for another service", refuses(401, "", "x-ms-diagnostics", `2000003;reason="The audience claim value is invalid for current resource.";error_category="invalid_audience"`),
		"its token is for another service", "exchange_url:", 2},
	{"throttled", refuses(429, "", "Retry-After", "3"), "too many requests from this tenant and asks to be left alone for 3s", "later", 5},
	{"throttled for long", refuses(429, "", "Retry-After", "3600"), "left alone for 1h0m0s", "later", 1},
	{"throttled, in words", refuses(400, body("", "You have reached the maximum number of concurrent requests per tenant. Please wait and try again")), "too many requests", "later", 5},
	{"unknown record type", refuses(400, wrongEnum("ExchangeAdmin, ExchangeItem, SharePoint")), `knows no record_type "Nonsense"`, "use one of: ExchangeAdmin, ExchangeItem, SharePoint", 1},
	{"unknown record type, many known", refuses(400, wrongEnum(strings.Repeat("Other, ", 500)+"NonsenseFree")), `knows no record_type "Nonsense"`, "use one of: NonsenseFree, Other, ", 1},
	{"unknown parameter", refuses(400, body("|Microsoft.Exchange.AdminApi.CommandInvocation.AmbiguousParameterSetException|Parameter set cannot be resolved using the specified named parameters. Invalid cmdlet parameters specified. SiteIds", "")),
		"does not accept the parameter SiteIds", "leave the argument out", 1},
	{"unknown parameter, no name", refuses(400, `{}`, "X-ExceptionType", "AmbiguousParameterSetException"), "does not accept one of the arguments", "leave the argument out", 1},
	{"wrong address", refuses(405, ""), "no Exchange Online for this tenant at this address (405)", "exchange_url:", 1},
	{"unknown tenant", refuses(404, `{"error":{"message":"No such tenant."}}`), "at this address (404): No such tenant", "tenant:", 1},
	{"a redirect", refuses(302, "", "Location", "https://evil.example/"), "at this address (302)", "exchange_url:", 1},
	{"bad request, innermost words", refuses(400, body("outer", "The start date is later.\u0007\r\n Really.")), "refused the request (400): The start date is later. Really", "", 1},
	{"bad request, details", refuses(400, body("Context|X.Y|The end date is wrong.", "")), "(400): The end date is wrong", "", 1},
	{"bad request, plain text", refuses(400, "no good"), "refused the request (400): no good", "", 1},
	{"bad request, a web page", refuses(400, "<html>\nno</html>"), "refused the request (400)", "give whoever runs this bot the id ", 1},
	{"internal error", refuses(500, "<html>"), "failure of its own (500)", "in some minutes", 5},
	{"unavailable", refuses(503, body("", "Server busy.")), "failure of its own (503): Server busy", "in some minutes", 5},
	{"gateway", refuses(502, ""), "failure of its own (502)", "", 5},
	{"gateway time-out", refuses(504, ""), "failure of its own (504)", "", 5},
	{"request time-out", refuses(408, ""), "failure of its own (408)", "", 5},
	{"transient exception", refuses(400, body("", "StorageTransientException: busy")), "failure of its own (400)", "", 5},
	{"links refused", says(found(`"@odata.nextLink":"https://evil.example/",`)), "does not give out the further pages", "shorter range", 5},
	{"not JSON", refuses(200, "<html>", "Content-Type", "text/html"), "something that cannot be read", "proxy", 5},
	{"search given up", says(found(gaveUp)), "which does not mean that there are no records", "shorter range", 5},
	{"connection refused", breaks(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), "(outlook.office365.com) could not be reached", "firewall", 5},
	{"connection reset", breaks(&net.OpError{Op: "read", Err: io.EOF}), "broke off the connection", "shorter range", 5},
	{"no such host", breaks(&net.DNSError{Err: "no such host", Name: "outlook.office365.com", IsNotFound: true}), "there is no such host", "DNS", 1},
	{"name server down", breaks(&net.DNSError{Err: "server misbehaving", Name: "outlook.office365.com"}), "could not be reached", "network", 5},
	{"no answer", breaks(context.DeadlineExceeded), "did not answer in time", "shorter range", 5},
}

func TestRefusalsTellAnAnalystWhatToDo(t *testing.T) {
	t.Parallel()
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ms := &service{answers: []http.HandlerFunc{c.answer}}
				ids, v, err := search(t, source(ms), query(20))
				r, ok := errors.AsType[*auditlog.Refusal](err)
				if !ok || len(ids) > 0 {
					t.Fatalf("got %v, %v, which is no refusal", ids, err)
				}
				if !strings.Contains(r.Problem, c.problem) || !strings.Contains(r.Advice, c.advice) {
					t.Errorf("problem %q\nadvice %q\nlack %q or %q", r.Problem, r.Advice, c.problem, c.advice)
				}
				if v.Requests != c.requests {
					t.Errorf("%d requests, want %d", v.Requests, c.requests)
				}
				for _, s := range []string{r.Problem, r.Advice} {
					if s == "" || strings.HasSuffix(s, ".") || strings.ContainsAny(s, "\n\r\x00\x07") || len(s) > 700 {
						t.Errorf("not a line to show: %q", s)
					}
				}
				if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, r), "Bearer T") {
					t.Errorf("the token shows in %v", err)
				}
			})
		})
	}
}

func TestAStatusErrorHasWhatMicrosoftsSupportAsksFor(t *testing.T) {
	t.Parallel()
	ms := &service{answers: []http.HandlerFunc{refuses(400, body("", "No."), "request-id", "R-1")}}
	_, _, err := search(t, source(ms), query(1))
	e, ok := errors.AsType[*exchange.StatusError](err)
	if !ok || e.RequestID != "R-1" || e.CallID != ms.asked[0].Header.Get("Client-Request-Id") || e.Type != "X.ParameterTransformationException" {
		t.Errorf("got %+v from %v", e, err)
	}
	want := "searching with Search-UnifiedAuditLog: Exchange Online refused the request (400): No: Search-UnifiedAuditLog: 400 Bad Request: No (client-request-id " + e.CallID + ", request-id R-1)"
	if err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestANewTokenIsTriedOnce(t *testing.T) {
	t.Parallel()
	for _, status := range []int{401, 403} {
		ms := &service{answers: []http.HandlerFunc{refuses(status, ""), finds(row(1)), finds()}}
		ids, v, err := search(t, source(ms), query(1))
		if err != nil || len(ids) != 1 || sessions(ms.asked) != "aaa" || v.Retries != 1 {
			t.Errorf("after %d: %v, %v", status, ids, err)
		}
		if got := ms.asked[1].Header.Get("Authorization"); got != "Bearer T2" {
			t.Errorf("after %d, asked again with %q", status, got)
		}
	}
}

func TestTheTokensErrorComesBack(t *testing.T) {
	t.Parallel()
	notSignedIn := errors.New("not signed in")
	ms := &service{answers: []http.HandlerFunc{refuses(401, "")}}
	s := source(ms)
	s.Token = func(_ context.Context, rejected auditlog.Secret) (auditlog.Token, error) {
		if rejected == "" {
			return auditlog.Token{Access: "T1", Account: "ada@contoso.com"}, nil
		}
		return auditlog.Token{}, notSignedIn
	}
	_, _, err := search(t, s, query(1))
	if _, refusal := errors.AsType[*auditlog.Refusal](err); !errors.Is(err, notSignedIn) || refusal {
		t.Errorf("after a refused token: %v", err)
	}
	s.Token = func(context.Context, auditlog.Secret) (auditlog.Token, error) {
		return auditlog.Token{}, &auditlog.Refusal{Problem: "blocked", Err: notSignedIn}
	}
	_, _, err = search(t, s, query(1))
	if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || r.Problem != "blocked" || !errors.Is(err, notSignedIn) {
		t.Errorf("without a token: %v", err)
	}
	if _, err := s.Cmdlets(t.Context()); !errors.Is(err, notSignedIn) {
		t.Errorf("Cmdlets: %v", err)
	}
	if _, err := s.AuditingOn(t.Context()); !errors.Is(err, notSignedIn) {
		t.Errorf("AuditingOn: %v", err)
	}
}

func TestATokenDoesNotPrint(t *testing.T) {
	t.Parallel()
	token := auditlog.Token{Access: "hunter2", Account: "ada@contoso.com"}
	j, err := json.Marshal(struct{ T any }{token})
	for _, s := range []string{fmt.Sprint(token), fmt.Sprintf("%v %+v %#v %s", token, &token, token, []any{token}), string(j)} {
		if err != nil || strings.Contains(s, "hunter2") {
			t.Errorf("printed as %s, %v", s, err)
		}
	}
}

func TestRetryAfterMayBeADate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		when := time.Now().Add(90 * time.Second).UTC()
		ms := &service{answers: []http.HandlerFunc{refuses(429, "", "Retry-After", when.Format(http.TimeFormat)), finds(row(1)), finds()}}
		began := time.Now()
		if _, _, err := search(t, source(ms), query(1)); err != nil || time.Since(began) != 90*time.Second {
			t.Errorf("waited %v, want 1m30s; %v", time.Since(began), err)
		}
	})
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := source(&service{answers: []http.HandlerFunc{refuses(429, "", "Retry-After", "60")}})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		_, err := s.Cmdlets(ctx)
		if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || !strings.Contains(r.Problem, "1m0s") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("waited %v for a time-out that was certain", took)
		}
		stopping, stop := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, stop)
		if _, err := s.Cmdlets(stopping); !errors.Is(err, context.Canceled) || time.Since(began) != 10*time.Second {
			t.Errorf("cancelled after %v: %v", time.Since(began), err)
		}
		if _, err := s.Cmdlets(stopping); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled before: %v", err)
		}
	})
}

func TestCmdletsListsWhatThisPersonMayRun(t *testing.T) {
	t.Parallel()
	ms := &service{answers: []http.HandlerFunc{says(`{"value":[{"exportedCmdlets":"Get-Mailbox, Search-UnifiedAuditLog,","version":"3.9.2"}]}`)}}
	got, err := source(ms).Cmdlets(t.Context())
	if err != nil || !slices.Equal(got, []string{"Get-Mailbox", "Search-UnifiedAuditLog"}) {
		t.Errorf("got %q, %v", got, err)
	}
	c := ms.asked[0]
	if c.Path != "/adminapi/v1.0/contoso.onmicrosoft.com/EXOModuleFile" || c.Header.Get("CommandName") != "*" || c.Header.Get("X-AnchorMailbox") != "UPN:ada@contoso.com" {
		t.Errorf("asked %+v", c)
	}
	ms = &service{answers: []http.HandlerFunc{says(`{"value":[7]}`)}}
	if got, err := source(ms).Cmdlets(t.Context()); err == nil {
		t.Errorf("a list that cannot be read: %q", got)
	}
}

func TestThatAuditingIsOnIsRememberedForAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ms := &service{answers: []http.HandlerFunc{says(auditOff), says(auditOff), says(auditOn), says(auditOff)}}
		ada := source(ms)
		bob := &exchange.Source{Tenant: ada.Tenant, Token: ada.Token}
		ask := func(s *exchange.Source, want bool, requests int) {
			t.Helper()
			if on, err := s.AuditingOn(t.Context()); err != nil || on != want || len(ms.asked) != requests {
				t.Errorf("got %v, %v after %d requests, want %v after %d", on, err, len(ms.asked), want, requests)
			}
		}
		ask(ada, false, 1)
		ask(ada, false, 2)
		ask(ada, true, 3)
		time.Sleep(59 * time.Minute)
		ask(bob, true, 3)
		time.Sleep(2 * time.Minute)
		ask(bob, false, 4)
	})
}

func TestATokenIsNotSentInTheClear(t *testing.T) {
	t.Parallel()
	for url, allowed := range map[string]bool{
		"https://outlook.office365.com": true, "http://127.0.0.1:8065": true, "http://localhost:80": true, "http://[::1]:80/": true,
		"http://outlook.office365.com": false, "http://localhost.evil.example": false, "ftp://127.0.0.1": false, "outlook.office365.com": false, "": false, ":": false,
	} {
		ms := &service{answers: []http.HandlerFunc{says(auditOn)}}
		s := source(ms)
		s.Tenant.URL = url
		if _, err := s.AuditingOn(t.Context()); (err == nil) != allowed || (len(ms.asked) > 0) != allowed {
			t.Errorf("%q: %v after %d requests", url, err, len(ms.asked))
		}
	}
}

// overTheWire is a source that asks h on loopback, with its own client.
func overTheWire(t *testing.T, h http.HandlerFunc) *exchange.Source {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	s := source(h)
	s.Tenant = &exchange.Tenant{URL: server.URL, ID: "contoso.onmicrosoft.com", Backoff: time.Millisecond}
	return s
}

func TestBodiesAreReadWithoutTrust(t *testing.T) {
	t.Parallel()
	packed := func(s string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.WriteString(w, s)
		w.Close()
		return b.Bytes()
	}
	huge := slices.Concat(packed(`{"value":[`), bytes.Repeat(packed(strings.Repeat(" ", 1<<20)), exchange.MaxBody>>20), packed(`]}`)) // of many members
	for name, c := range map[string]struct {
		encoding string
		body     []byte
		readable bool
	}{
		"plain":                              {"", []byte(auditOn), true},
		"gzip":                               {"gzip", packed(auditOn), true},
		"plain, but labelled gzip":           {"gzip", []byte(auditOn), true},
		"gzip, but not labelled":             {"", packed(auditOn), true},
		"a byte order mark, and a NUL":       {"", []byte("\ufeff" + auditOn + "\x00"), true},
		"half of a gzip":                     {"gzip", packed(auditOn)[:40], false},
		"a header of gzip":                   {"gzip", packed(auditOn)[:4], false},
		"as much as fits":                    {"", append([]byte(auditOn), bytes.Repeat([]byte(" "), exchange.MaxBody-len(auditOn))...), true},
		"more than fits, from a bit of gzip": {"gzip", huge, false},
		"nothing":                            {"", nil, false},
		"NULs":                               {"", []byte("\x00\x00"), false},
		"two answers":                        {"", []byte(auditOn + auditOn), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := overTheWire(t, func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Accept-Encoding"); got != "gzip" {
					t.Errorf("asked for %q", got)
				}
				w.Header()["Content-Encoding"] = []string{c.encoding}
				w.Write(c.body)
			})
			on, err := s.AuditingOn(t.Context())
			if c.readable && (!on || err != nil) {
				t.Errorf("got %v, %v", on, err)
			}
			if _, ok := errors.AsType[*auditlog.Refusal](err); !c.readable && !ok {
				t.Errorf("got %v, %v, which is no refusal", on, err)
			}
		})
	}
}

func TestAnAnswerThatIsTooLongIsAskedForInSmallerPages(t *testing.T) {
	t.Parallel()
	if exchange.RealMaxBody < 5000*8900 {
		t.Errorf("5,000 rows of the longest record seen do not fit into %d bytes", exchange.RealMaxBody)
	}
	var sizes []int
	s := overTheWire(t, func(w http.ResponseWriter, r *http.Request) {
		c := readCall(r)
		sizes = append(sizes, c.Parameters.ResultSize)
		if c.Parameters.ResultSize > 1000 {
			w.Write(bytes.Repeat([]byte(" "), exchange.MaxBody+1))
			return
		}
		if len(sizes) > 2 {
			finds()(w, r)
			return
		}
		finds(row(1))(w, r)
	})
	ids, v, err := search(t, s, query(1250))
	if err != nil || len(ids) != 1 || v.Status() != auditlog.Complete || !slices.Equal(sizes, []int{1251, 312, 312}) {
		t.Errorf("%v, %v, %v in calls of %v", ids, v, err, sizes)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("followed") }))
	defer elsewhere.Close()
	s := overTheWire(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	if _, err := s.AuditingOn(t.Context()); err == nil {
		t.Error("no error")
	}
	s.Tenant.HTTP = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
	if _, err := s.AuditingOn(t.Context()); err == nil {
		t.Error("no error with a client that follows")
	}
}

func TestAServiceThatIsGoneIsSaidToBe(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(nil)
	s := overTheWire(t, nil)
	s.Tenant.URL = server.URL
	server.Close()
	_, _, err := search(t, s, query(1))
	if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || !strings.Contains(r.Problem, "could not be reached") {
		t.Errorf("got %v", err)
	}
}

func TestAnAnswerThatBreaksOffIsSaidTo(t *testing.T) {
	t.Parallel()
	s := overTheWire(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"value":[`)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	_, v, err := search(t, s, query(1))
	if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || !strings.Contains(r.Problem, "broke off the connection") || v.Requests != 5 {
		t.Errorf("got %v after %d requests", err, v.Requests)
	}
}

func TestACertificateThatIsNotTrustedIsSaidToBe(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request came through") }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	s := overTheWire(t, nil)
	s.Tenant.URL = server.URL
	_, v, err := search(t, s, query(1))
	r, ok := errors.AsType[*auditlog.Refusal](err)
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); !ok || !unknown || !strings.Contains(r.Problem, "not trusted") || v.Requests != 1 {
		t.Errorf("got %v after %d requests", err, v.Requests)
	}
}

func TestATenantIsSharedByManyPeople(t *testing.T) {
	t.Parallel()
	s := overTheWire(t, func(w http.ResponseWriter, r *http.Request) {
		c := readCall(r)
		switch {
		case c.Cmdlet == "Get-AdminAuditLogConfig":
			says(auditOn)(w, r)
		case c.Link != "":
			refuses(400, expiredLink)(w, r)
		case c.Parameters.ResultSize > 2:
			says(found(`"@odata.nextLink":"/x?$skiptoken=2",`, down(2, 1)...))(w, r)
		default:
			finds()(w, r)
		}
	})
	var people sync.WaitGroup
	for range 8 {
		people.Go(func() {
			own := &exchange.Source{Tenant: s.Tenant, Token: func(context.Context, auditlog.Secret) (auditlog.Token, error) {
				return auditlog.Token{Access: "T"}, nil
			}}
			if ids, v, err := search(t, own, query(20)); err != nil || len(ids) != 0 && len(ids) != 2 {
				t.Errorf("%v, %v, %v", ids, v, err)
			}
			if on, err := own.AuditingOn(t.Context()); err != nil || !on {
				t.Errorf("%v, %v", on, err)
			}
		})
	}
	people.Wait()
}
