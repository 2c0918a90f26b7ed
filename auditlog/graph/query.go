package graph

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"auditbot/auditlog"
)

// queriesPath is below the version.
const queriesPath = "/security/auditLog/queries"

// filters are what a query is created from. There is no filter by service:
// Microsoft's pages disagree about its name.
// https://learn.microsoft.com/graph/api/security-auditcoreroot-post-auditlogqueries
type filters struct {
	DisplayName              string   `json:"displayName,omitempty"`
	FilterStartDateTime      string   `json:"filterStartDateTime"`
	FilterEndDateTime        string   `json:"filterEndDateTime"`
	RecordTypeFilters        []string `json:"recordTypeFilters,omitempty"`
	KeywordFilter            string   `json:"keywordFilter,omitempty"`
	OperationFilters         []string `json:"operationFilters,omitempty"`
	UserPrincipalNameFilters []string `json:"userPrincipalNameFilters,omitempty"`
	IPAddressFilters         []string `json:"ipAddressFilters,omitempty"`
	ObjectIDFilters          []string `json:"objectIdFilters,omitempty"`
}

func filtersOf(q auditlog.Query) filters {
	const layout = "2006-01-02T15:04:05Z"
	f := filters{
		FilterStartDateTime:      q.Start.UTC().Format(layout),
		FilterEndDateTime:        q.End.UTC().Add(time.Second - 1).Format(layout), // a fraction is not cut off
		KeywordFilter:            q.FreeText,
		OperationFilters:         q.Operations,
		UserPrincipalNameFilters: q.UserIDs,
		IPAddressFilters:         q.IPAddresses,
		ObjectIDFilters:          q.ObjectIDs,
	}
	for _, name := range q.RecordTypes {
		f.RecordTypeFilters = append(f.RecordTypeFilters, filterName(name))
	}
	return f
}

// filterName is what a record type is called in a query: like in records, but
// the capitals at its start are small, save for the last of several if a small
// letter follows. "HRSignal" becomes "hrSignal". The rule holds for all names
// in Microsoft's documentation; newer ones are not in it yet.
func filterName(name string) string {
	small := []rune(name)
	for i, c := range small {
		word := i > 0 && i+1 < len(small) && unicode.IsLower(small[i+1])
		if !unicode.IsUpper(c) || word {
			break
		}
		small[i] = unicode.ToLower(c)
	}
	return string(small)
}

// key says what a query in a tenant is for: the same for the same filters and
// range, whoever asks and whenever.
func (f filters) key(tenant string) string {
	f.DisplayName = ""
	all, _ := json.Marshal(f) // strings cannot fail
	return fmt.Sprintf("%x", sha256.Sum256(append([]byte(tenant+"\n"), all...)))[:32]
}

// A query is what the service says about one.
type query struct {
	ID     string `json:"id"`
	Status string `json:"status"`

	// The rest is new in September 2026, and may not be there yet.
	Count *int `json:"approximateReturnedRecordCount"`
	Over  bool `json:"isRecordCountLimitExceeded"`
	Limit int  `json:"recordCountLimit"`
}

// limit is how many records the query gives out at most.
func (q query) limit() int { return cmp.Or(max(q.Limit, 0), maxRecords) }

// full tells whether there are more records than the query gives out.
func (q query) full() bool { return q.Over || q.Count != nil && *q.Count >= q.limit() }

// A failed is a query that will not bring anything.
type failed struct{ id, status string }

func (e *failed) Error() string {
	return fmt.Sprintf("audit log query %s has ended as %s", e.id, e.status)
}

// errAuditingOff is what the service says of a tenant that records nothing.
var errAuditingOff = errors.New("AuditingDisabledTenant")

// longestRun is how long a query is waited for. Ten minutes are nothing
// unusual; there is no promise.
const longestRun = 4 * time.Hour

// longestPoll is the longest wait between two looks at a query.
const longestPoll = 30 * time.Second

// finished is the search's query once it has succeeded: the one that is
// remembered, or a new one. One that has failed or is gone is created anew,
// once.
func (s *search) finished(ctx context.Context) (query, error) {
	var id string
	var created time.Time
	if s.Recall != nil {
		id, created = unmark(s.Recall(s.key))
	}
	for try := 1; ; try++ {
		var err error
		if id == "" {
			created = time.Time{} // now, so that nothing need be said of it
			id, err = s.create(ctx)
		}
		if err != nil {
			return query{}, err
		}
		q, err := s.wait(ctx, id)
		if _, ended := errors.AsType[*failed](err); err != nil && (!ended && !gone(err) || try == 2) {
			return query{}, err
		}
		if err == nil {
			s.found(id, created)
			return q, nil
		}
		s.verdict.Retries++
		id = ""
	}
}

// create creates the query and makes its id durable.
func (s *search) create(ctx context.Context) (string, error) {
	f := s.filters
	f.DisplayName = "auditbot " + s.key[:8]
	body, _ := json.Marshal(f) // strings cannot fail
	var q query
	now := time.Now()
	err := s.ask(ctx, request{method: http.MethodPost, path: queriesPath, body: body, read: q.read}, s.verdict)
	if err != nil {
		return "", fmt.Errorf("creating an audit log query: %w", err)
	}
	if s.Remember != nil {
		if err := s.Remember(ctx, s.key, mark(q.ID, now)); err != nil {
			return "", fmt.Errorf("remembering audit log query %s: %w", q.ID, err)
		}
	}
	return q.ID, nil
}

// mark writes behind the id of a query when it was created. What arrives in
// the audit log after that is not in it, and the service does not tell.
func mark(id string, created time.Time) string { return fmt.Sprintf("%s@%d", id, created.Unix()) }

// unmark undoes mark. Without a mark, the query counts as very old.
func unmark(marked string) (id string, created time.Time) {
	id, at, _ := strings.Cut(marked, "@")
	seconds, _ := strconv.ParseInt(at, 10, 64) // else 1970
	return id, time.Unix(seconds, 0).UTC()
}

// late is how long after its event a record may first appear: 60 to 90
// minutes as a rule, with no commitment.
// https://learn.microsoft.com/purview/audit-search
const late = 90 * time.Minute

// found writes down which query has been found, and when it was created if it
// was found again: by another run, or by a second pass.
func (s *search) found(id string, created time.Time) {
	v := s.verdict
	if v.Queries == nil {
		v.Queries = map[string]string{}
	}
	v.Queries[s.key] = id
	if created.IsZero() {
		return
	}
	if v.Started.IsZero() || created.Before(v.Started) {
		v.Started = created
	}
	begun := fmt.Sprintf("Microsoft began this search at %s UTC", created.Format("2006-01-02 15:04"))
	v.Note(begun)
	if settled := s.query.End.Add(late); settled.After(created) && !settled.After(time.Now()) {
		v.Doubt(begun + ": records that arrived since are not in it")
	}
}

// wait looks at the query until it has succeeded.
func (s *search) wait(ctx context.Context, id string) (query, error) {
	began, pause := time.Now(), cmp.Or(s.Tenant.Poll, 5*time.Second)
	for {
		var q query
		err := s.ask(ctx, request{method: http.MethodGet, path: queriesPath + "/" + url.PathEscape(id), read: q.read}, s.verdict)
		if err != nil {
			return query{}, fmt.Errorf("looking at audit log query %s: %w", id, err)
		}
		switch q.Status {
		case "succeeded":
			return q, nil
		case "failed", "cancelled":
			return query{}, &failed{id, q.Status}
		}
		if s.Waiting != nil {
			s.Waiting(clean(q.Status))
		}
		if time.Since(began) >= longestRun {
			return query{}, &unfinished{id, time.Since(began)}
		}
		select {
		case <-time.After(pause):
			pause = min(pause*3/2, longestPoll)
		case <-ctx.Done():
			return query{}, fmt.Errorf("waiting for audit log query %s: %w", id, context.Cause(ctx))
		}
	}
}

// An unfinished is a query that takes too long.
type unfinished struct {
	id  string
	age time.Duration
}

func (e *unfinished) Error() string {
	return fmt.Sprintf("audit log query %s has not finished after %v", e.id, e.age.Round(time.Minute))
}

// read reads what the service says about a query.
func (q *query) read(body []byte) error {
	*q = query{}
	if err := json.Unmarshal(body, q); err != nil {
		return err
	}
	if q.Status == errAuditingOff.Error() {
		return errAuditingOff
	}
	if q.ID == "" || q.Status == "" {
		return errors.New("it has no id or no status")
	}
	return nil
}

// gone tells whether the service does not know a query, or no longer: it keeps
// them for 30 days.
func gone(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && e.Method == http.MethodGet && (e.Status == http.StatusNotFound || e.Status == http.StatusGone)
}

// saysAuditingOff tells whether the tenant records nothing. The service hides
// that in a message which is itself JSON.
func saysAuditingOff(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return errors.Is(err, errAuditingOff) || ok && strings.Contains(e.Text+e.Code, errAuditingOff.Error())
}
