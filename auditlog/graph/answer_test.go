package graph_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/graph"
)

// A service answers requests in a row, each by the next function, the last one
// again and again.
type service struct {
	asked   []*http.Request
	answers []http.HandlerFunc
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked = append(s.asked, r)
	s.answers[min(len(s.asked), len(s.answers))-1](w, r)
}

// answers answers with a status, a body, and headers given as name and value.
func answers(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

const succeeded = `{"id":"q","status":"succeeded"}`

// serving is a source whose service answers so, after a query was created.
func serving(next ...http.HandlerFunc) (*service, *graph.Source) {
	s := &service{answers: append([]http.HandlerFunc{answers(201, `{"id":"q","status":"notStarted"}`)}, next...)}
	return s, source(s)
}

func TestARecordWithoutAuditDataIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, s := serving(answers(200, succeeded), answers(200, `{"value":[
			{"id":"a","createdDateTime":"2026-11-05T12:00:00Z","auditData":null},
			{"id":"b","createdDateTime":"2026-11-05T12:00:01Z","auditData":{"Operation":"X"}},
			{"id":"c","createdDateTime":"2026-11-05T12:00:02Z","auditData":"{\"Id\":\"d\",\"CreationTime\":\"2026-11-05T12:00:03\"}"},
			17]}`))
		var got []string
		var v auditlog.Verdict
		for r, err := range s.Search(t.Context(), everything(), &v) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.ID+" "+r.Time.Format(time.TimeOnly)+" "+string(r.Raw))
		}
		want := `a 12:00:00 "{\"id\":\"a\",\"createdDateTime\":\"2026-11-05T12:00:00Z\",\"auditData\":null}"
b 12:00:01 {"Operation":"X"}
d 12:00:03 {"Id":"d","CreationTime":"2026-11-05T12:00:03"}
 00:00:00 "17"`
		if all := strings.Join(got, "\n"); all != want {
			t.Errorf("got\n%s, want\n%s", all, want)
		}
		if v.Status() != auditlog.Complete || len(v.Noted) != 1 || !strings.Contains(v.Noted[0], "did not say how many") {
			t.Errorf("without a count: %v", v)
		}
	})
}

func TestAnswersThatSayNothingAreNotEmptyResults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer  http.HandlerFunc
		asked   int // requests
		problem string
	}{
		"nothing":        {answers(200, ""), 7, "cannot be read"},
		"no value":       {answers(200, "{}"), 7, "cannot be read"},
		"truncated":      {answers(200, `{"value":[{"id":`), 7, "cannot be read"},
		"no text":        {answers(500, `{"error":{"code":"UnknownError","message":""}}`), 7, "a failure of its own (500): UnknownError"},
		"bad for now":    {answers(400, `{"error":{"code":"UnknownError","message":""}}`), 7, "a failure of its own (400): UnknownError"},
		"bad":            {answers(400, `{"error":{"code":"BadRequest","message":"No."}}`), 3, "refused the request (400): No"},
		"not for long":   {answers(429, `{}`, "Retry-After", "600"), 3, "too many requests from this tenant and asks to be left alone for 10m0s"},
		"a redirect":     {answers(302, "", "Location", "https://203.0.113.7/"), 3, "refused the request (302)"},
		"a wrong one":    {answers(401, `{"error":{"code":"InvalidAuthenticationToken","message":"Invalid audience."}}`), 3, "its token is for another service"},
		"circles":        {answers(200, `{"value":[],"@odata.nextLink":"https://graph.microsoft.com/x"}`), 4, "further pages"},
		"without an end": {endless(), 13, "further pages"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, s := serving(answers(200, succeeded), c.answer)
				ids, v, err := search(t, s, everything())
				if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || len(ids) > 0 || !strings.Contains(r.Problem, c.problem) || r.Advice == "" {
					t.Errorf("%v, %v", ids, err)
				}
				if len(service.asked) != c.asked || v.Requests != c.asked {
					t.Errorf("%d requests, %d counted, want %d", len(service.asked), v.Requests, c.asked)
				}
			})
		})
	}
}

// endless answers with empty pages that have links to further ones.
func endless() http.HandlerFunc {
	n := ""
	return func(w http.ResponseWriter, _ *http.Request) {
		n += "x"
		io.WriteString(w, `{"value":[],"@odata.nextLink":"https://graph.microsoft.com/`+n+`"}`)
	}
}

func TestALinkThatHasExpiredBeginsTheReadingAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		page := answers(200, `{"value":[{"id":"a","auditData":{"Id":"a"}}],"@odata.nextLink":"https://graph.microsoft.com/v1.0/next"}`)
		_, s := serving(answers(200, `{"id":"q","status":"succeeded","approximateReturnedRecordCount":2}`),
			page, answers(400, `{"error":{"code":"BadRequest","message":"Skip token is invalid."}}`),
			page, answers(200, `{"value":[{"id":"b","auditData":{"Id":"b"}}]}`))
		ids, v, err := search(t, s, everything())
		if got := strings.Join(ids, " "); err != nil || got != "a b" || v.Status() != auditlog.Complete || len(v.Noted) != 0 {
			t.Errorf("%s, %v, %v", got, v, err)
		}
	})
}

func TestNoSecretIsInAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, s := serving(answers(200, succeeded), answers(400, "no \x1b[31m\u202e"))
		_, _, err := search(t, s, everything())
		if text := err.Error(); strings.Contains(text, "Bearer") || strings.ContainsAny(text, "\x1b\u202e") || !strings.Contains(text, "client-request-id") {
			t.Error(text)
		}
	})
}

func TestFilterNamesAreThoseOfTheDocumentation(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"ExchangeAdmin": "exchangeAdmin", "CRM": "crm", "MIPLabel": "mipLabel", "HRSignal": "hrSignal", "DLPEndpoint": "dlpEndpoint",
		"OneDrive": "oneDrive", "MSDEGeneralSettings": "msdeGeneralSettings", "MS365DCustomDetection": "ms365DCustomDetection",
		"AzureActiveDirectoryStsLogon": "azureActiveDirectoryStsLogon", "CDPMlInferencingResult": "cdpMlInferencingResult",
	} {
		if got := graph.FilterName(name); got != want {
			t.Errorf("%s is called %s, want %s", name, got, want)
		}
	}
}
