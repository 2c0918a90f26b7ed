package exchange_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/exchange"
	"auditbot/auditlog/internal/direct"
)

// A call is what the service was asked.
type call struct {
	Path, Link, Cmdlet string
	Header             http.Header
	Body               string
	Parameters         struct {
		StartDate, EndDate, RecordType, FreeText, SessionId, SessionCommand string
		Operations, UserIds, IPAddresses, ObjectIds, SiteIds                []string
		ResultSize                                                          int
	}
}

func readCall(r *http.Request) call {
	body, _ := io.ReadAll(r.Body)
	c := call{Path: r.URL.Path, Link: r.FormValue("$skiptoken"), Header: r.Header, Body: string(body)}
	input := struct {
		CmdletInput struct {
			CmdletName string
			Parameters any
		}
	}{}
	input.CmdletInput.Parameters = &c.Parameters
	_ = json.Unmarshal(body, &input) // a GET has no body
	c.Cmdlet = input.CmdletInput.CmdletName
	return c
}

// A service answers calls in a row, each by the next function, the last one
// again and again.
type service struct {
	asked   []call
	answers []http.HandlerFunc
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked = append(s.asked, readCall(r))
	next := s.answers[min(len(s.asked), len(s.answers))-1]
	next(w, r)
}

// says answers with status 200 and this body.
func says(body string) http.HandlerFunc { return refuses(http.StatusOK, body) }

// refuses answers with a status, a body, and headers given as name and value.
func refuses(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for h := range slices.Chunk(header, 2) {
			w.Header().Set(h[0], h[1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// breaks fails the round trip with err.
func breaks(err error) http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) { panic(err) }
}

// finds answers with rows, as search results look like.
func finds(rows ...string) http.HandlerFunc { return says(found("", rows...)) }

// found is the body of an answer with rows, and more keys of it before them:
// `"@odata.nextLink":"...",`.
func found(more string, rows ...string) string {
	return `{"@odata.context":"x","adminapi.warnings@odata.type":"#Collection(String)",` + more + `"value":[` + strings.Join(rows, ",") + `]}`
}

const (
	gaveUp   = `"@adminapi.warnings":["Failed to process request via Sync Search mode, returning. InnerException: A task was canceled."],`
	auditOn  = `{"value":[{"UnifiedAuditLogIngestionEnabled":true}]}`
	auditOff = `{"value":[{"UnifiedAuditLogIngestionEnabled":false}]}`
)

// row is a row for a record with this number; higher numbers are newer.
func row(n int) string { return rowOf(auditData(n)) }

func rowOf(auditData string) string {
	quoted, _ := json.Marshal(auditData)
	return fmt.Sprintf(`{"RecordType":"ExchangeAdmin","RecordType@odata.type":"#X","AuditData":%s,"ResultIndex":1,"ResultCount":0,"Identity":"x"}`, quoted)
}

func auditData(n int) string {
	return fmt.Sprintf(`{"CreationTime":%q,"Id":"id-%05d","Operation":"New-InboxRule"}`, noon.Add(time.Duration(n)*time.Second).Format("2006-01-02T15:04:05"), n)
}

// down is rows from number n down to m.
func down(n, m int) []string {
	var rows []string
	for ; n >= m; n-- {
		rows = append(rows, row(n))
	}
	return rows
}

var noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

// query is for everything in two days, the newest n.
func query(n int) auditlog.Query {
	return auditlog.Query{Start: noon.Add(-24 * time.Hour), End: noon.Add(24 * time.Hour), Newest: n}
}

// source asks h with no network in between, as ada with token "T1", who gets
// "T2" when that is refused, and so on.
func source(h http.Handler) *exchange.Source {
	n := 1
	var mu sync.Mutex
	return &exchange.Source{
		Tenant: &exchange.Tenant{HTTP: &http.Client{Transport: direct.To(h)}, URL: "https://outlook.office365.com/", ID: "contoso.onmicrosoft.com"},
		Token: func(_ context.Context, rejected auditlog.Secret) (auditlog.Token, error) {
			mu.Lock()
			defer mu.Unlock()
			if string(rejected) == "T"+strconv.Itoa(n) {
				n++
			}
			return auditlog.Token{Access: auditlog.Secret("T" + strconv.Itoa(n)), Account: "ada@contoso.com"}, nil
		},
	}
}

// search reads everything that the source yields: the Ids of the records.
func search(t *testing.T, s *exchange.Source, q auditlog.Query) (ids []string, v auditlog.Verdict, err error) {
	t.Helper()
	for r, e := range s.Search(t.Context(), q, &v) {
		if e != nil {
			err = e
			continue
		}
		if err != nil {
			t.Error("a record came after an error")
		}
		ids = append(ids, cmp.Or(r.ID, string(r.Raw)))
	}
	return ids, v, err
}

// numbers are the Ids of the rows that down makes.
func numbers(n, m int) []string {
	var ids []string
	for ; n >= m; n-- {
		ids = append(ids, fmt.Sprintf("id-%05d", n))
	}
	return ids
}

// sessions tells which calls of Search-UnifiedAuditLog had the same SessionId:
// "aab" means two calls of one session and one of another.
func sessions(asked []call) string {
	var names strings.Builder
	known := map[string]rune{}
	for _, c := range asked {
		if c.Cmdlet != "Search-UnifiedAuditLog" {
			continue
		}
		if known[c.Parameters.SessionId] == 0 {
			known[c.Parameters.SessionId] = 'a' + rune(len(known))
		}
		names.WriteRune(known[c.Parameters.SessionId])
	}
	return names.String()
}
