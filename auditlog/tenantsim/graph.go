package tenantsim

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of the audit log query API. The real service lets at least so much
// pass.
// https://learn.microsoft.com/graph/throttling-limits#security-audit-log-query-service-limits
const (
	graphRecords     = 1_000_000 // in one query
	graphSubmissions = 200       // in 24 hours
	graphUnfinished  = 50        // queries at once
)

// How many records come at once if the request does not say ($top), and at
// most. What the real service takes is not documented; callers ask it for 999
// to 5,000.
const (
	graphPage    = 150
	graphMaxPage = 1000
)

// graphPermission lets somebody ask the audit log query API.
const graphPermission = "AuditLogsQuery.Read.All"

// OwnApp is an application as an organisation registers it for itself: with it
// one may sign in for Exchange Online and, unlike with [MicrosoftApps], for
// Microsoft Graph.
func OwnApp() App {
	return App{
		ClientID: "7d2b8c15-4e0f-4a9d-8a6c-91f3e5b70d42",
		Name:     "auditbot",
		Consent:  []string{"Exchange.Manage", graphPermission},
	}
}

// GraphToken is an access token for Microsoft Graph, as if the account with
// this UPN had just signed in with [OwnApp]. It panics if there is no such
// account.
func (s *Server) GraphToken(upn string) string {
	s.prepare()
	account, ok := s.account(upn)
	if !ok {
		panic("tenantsim: there is no account " + upn)
	}
	return s.accessToken(grant{account: account, app: OwnApp(), resource: graphResource}, time.Now(), s.lifetime())
}

// A graphQuery is an audit log query that was created.
type graphQuery struct {
	id      string
	asked   graphBody
	created time.Time
	found   []int32 // in no order
	over    bool    // there were more than the limit
	fate    string  // the status that a fault gave it; "" means what its age says
	deleted bool    // it still counts as submitted
}

// status is what has become of the query, after delay of work.
func (q *graphQuery) status(delay time.Duration) string {
	age := time.Since(q.created)
	switch {
	case q.fate != "":
		return q.fate
	case age >= delay:
		return "succeeded"
	case age < delay/4:
		return "notStarted"
	}
	return "running"
}

// graphCaller checks what is the same for all requests of the API: a fault that is
// due, the version, and whether somebody who may is asking.
func (s *Server) graphCaller(v *visit, name string) *response {
	no := func(r response) *response { return &r }
	if reply, ok := s.name(v, name, nil); ok {
		return no(asGraph(reply))
	}
	if version := v.PathValue("version"); version != "beta" && (version != "v1.0" || s.GraphV1Off) {
		return no(graphError(http.StatusNotFound, "UnknownError", ""))
	}
	token, _ := strings.CutPrefix(v.Header.Get("Authorization"), "Bearer ")
	b, err := readToken(token, s.Tenant.ID, isGraph)
	switch {
	case errors.Is(err, errExpired):
		return no(graphUnauthorized("Lifetime validation failed, the token is expired."))
	case errors.Is(err, errAudience), errors.Is(err, errTenant):
		return no(graphUnauthorized("Access token validation failure. Invalid audience."))
	case err != nil:
		return no(graphUnauthorized("CompactToken parsing failed."))
	}
	account, known := s.account(b.upn)
	s.note(v, func(r *Request) { r.Account = cmp.Or(account.UPN, b.app) })
	if b.upn != "" && !known {
		return no(graphUnauthorized("The identity of the calling application could not be established."))
	}
	// That a person needs the audit role as well is not documented, but to be expected.
	permitted := slices.Contains(b.scopes, graphPermission) && mayAudit(account.Roles)
	if b.upn == "" {
		permitted = slices.Contains(b.roles, graphPermission)
	}
	if !permitted {
		return no(graphForbidden())
	}
	return nil
}

// graphQueries creates a query (POST), or lists them.
func (s *Server) graphQueries(v *visit) response {
	if v.Method == http.MethodGet {
		return s.graphList(v)
	}
	if refusal := s.graphCaller(v, "graph-create"); refusal != nil {
		return *refusal
	}
	asked, f, bad := readGraphBody(v.body)
	if bad != "" {
		return graphError(http.StatusBadRequest, "BadRequest", bad)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.auditing { // it is hidden in the message
		return graphError(http.StatusBadRequest, "UnknownError", `{"Id":"`+newGUID()+`","Status":"AuditingDisabledTenant"}`)
	}
	if why := s.graphTooMany(); why != "" {
		return graphError(http.StatusTooManyRequests, "TooManyRequests", why)
	}
	q := &graphQuery{id: newGUID(), asked: asked, created: time.Now(), found: s.graphMatches(f, asked.kinds)}
	if limit := s.graphLimit(); len(q.found) > limit {
		q.found, q.over = q.found[:limit], true
	}
	s.queries = append(s.queries, q)
	r := s.graphAnswer(v, http.StatusCreated, q, "notStarted")
	r.set("Location", v.base+v.URL.Path+"/"+q.id)
	return r
}

func (s *Server) graphLimit() int { return cmp.Or(s.GraphLimit, graphRecords) }

// graphTooMany says which limit a further query would pass, "" if none.
func (s *Server) graphTooMany() string {
	today, unfinished := 0, 0
	for _, q := range s.queries {
		if time.Since(q.created) < 24*time.Hour {
			today++
		}
		if status := q.status(s.GraphDelay); status == "notStarted" || status == "running" {
			unfinished++
		}
	}
	switch {
	case today >= graphSubmissions:
		return "The tenant has submitted too many audit log queries in 24 hours."
	case unfinished >= graphUnfinished:
		return "The tenant has too many audit log queries that are running."
	}
	return ""
}

// graphList lists the queries, the newest first.
func (s *Server) graphList(v *visit) response {
	if refusal := s.graphCaller(v, "graph-list"); refusal != nil {
		return *refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []any{}
	for _, q := range slices.Backward(s.queries) {
		if !q.deleted {
			all = append(all, s.graphShape(q, q.status(s.GraphDelay)))
		}
	}
	return graphResponse(http.StatusOK, map[string]any{
		"@odata.context": v.base + "/" + v.PathValue("version") + "/$metadata#security/auditLog/queries",
		"value":          all,
	})
}

// graphQuery answers what has become of a query (GET), or deletes it, which
// is not documented but done.
func (s *Server) graphQuery(v *visit) response {
	if refusal := s.graphCaller(v, "graph-query"); refusal != nil {
		return *refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.graphFind(v)
	switch {
	case q == nil:
		return graphNotFound()
	case v.Method == http.MethodDelete:
		q.deleted = true
		return response{status: http.StatusNoContent}
	case v.fault.fate != "":
		q.fate = v.fault.fate
	}
	return s.graphAnswer(v, http.StatusOK, q, q.status(s.GraphDelay))
}

func (s *Server) graphFind(v *visit) *graphQuery {
	i := slices.IndexFunc(s.queries, func(q *graphQuery) bool { return !q.deleted && strings.EqualFold(q.id, v.PathValue("id")) })
	if i < 0 {
		return nil
	}
	return s.queries[i]
}

// ForgetQueries makes all audit log queries of Graph unknown, as if their time
// had run out.
func (s *Server) ForgetQueries() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queries {
		q.deleted = true
	}
}

// graphShape is a query as JSON.
func (s *Server) graphShape(q *graphQuery, status string) map[string]any {
	count := 0
	if status == "succeeded" {
		count = len(q.found)
	}
	return map[string]any{
		"id":                             q.id,
		"displayName":                    q.asked.DisplayName,
		"filterStartDateTime":            q.asked.start.Format(time.RFC3339),
		"filterEndDateTime":              q.asked.end.Format(time.RFC3339),
		"recordTypeFilters":              orNone(q.asked.RecordTypeFilters),
		"keywordFilter":                  q.asked.KeywordFilter,
		"operationFilters":               orNone(q.asked.OperationFilters),
		"userPrincipalNameFilters":       orNone(q.asked.UserPrincipalNameFilters),
		"ipAddressFilters":               orNone(q.asked.IPAddressFilters),
		"objectIdFilters":                orNone(q.asked.ObjectIDFilters),
		"administrativeUnitIdFilters":    orNone(q.asked.AdministrativeUnitIDFilters),
		"status":                         status,
		"approximateReturnedRecordCount": count,
		"isRecordCountLimitExceeded":     q.over && status == "succeeded",
		"recordCountLimit":               s.graphLimit(),
	}
}

// orNone makes JSON say [] where there is nothing.
func orNone(list []string) []string { return append([]string{}, list...) }

func (s *Server) graphAnswer(v *visit, status int, q *graphQuery, state string) response {
	shape := s.graphShape(q, state)
	shape["@odata.context"] = v.base + "/" + v.PathValue("version") + "/$metadata#security/auditLog/queries/$entity"
	return graphResponse(status, shape)
}

// graphRecords answers with a page of what a query found.
func (s *Server) graphRecords(v *visit) response {
	if refusal := s.graphCaller(v, "graph-records"); refusal != nil {
		return *refusal
	}
	options := v.URL.Query()
	size, err := strconv.Atoi(cmp.Or(options.Get("$top"), strconv.Itoa(graphPage)))
	from, tokenErr := strconv.Atoi(cmp.Or(options.Get("$skiptoken"), "0"))
	if err != nil || tokenErr != nil || size < 1 || size > graphMaxPage || from < 0 {
		return graphError(http.StatusBadRequest, "BadRequest", fmt.Sprintf("Invalid value for '$top' or '$skiptoken'; $top is from 1 to %d.", graphMaxPage))
	}
	s.mu.Lock()
	q := s.graphFind(v)
	unfinished := q != nil && q.status(s.GraphDelay) != "succeeded"
	s.mu.Unlock()
	if q == nil {
		return graphNotFound()
	}
	if unfinished {
		return graphError(http.StatusBadRequest, "BadRequest", "The query has not succeeded.")
	}
	from = min(from, len(q.found))
	to := min(from+size, len(q.found))
	p := page{rows: s.rows(q.found[from:to], from), before: s.rows(q.found[max(0, from-10):from], 0)}
	if v.fault.page != nil {
		v.fault.page(&p)
	}
	if to < len(q.found) {
		p.next = cmp.Or(p.next, fmt.Sprintf("%s%s?$top=%d&$skiptoken=%d", v.base, v.URL.Path, size, to))
	}
	return s.graphPage(v, p)
}

// graphMatches is the positions of the records that a query finds, in an order
// that has nothing to do with their time.
func (s *Server) graphMatches(f filter, kinds []int) []int32 {
	found := s.Tenant.Records.find(f)
	if len(kinds) > 0 {
		found = slices.DeleteFunc(found, func(at int32) bool { return !slices.Contains(kinds, s.Tenant.Records.all[at].kind) })
	}
	mix(found, newGUID())
	return found
}

// A graphBody is what a query is created from. There is no filter by service:
// whether it is called serviceFilter or serviceFilters, Microsoft's pages
// disagree.
type graphBody struct {
	Type                        string   `json:"@odata.type"`
	DisplayName                 string   `json:"displayName"`
	FilterStartDateTime         string   `json:"filterStartDateTime"`
	FilterEndDateTime           string   `json:"filterEndDateTime"`
	RecordTypeFilters           []string `json:"recordTypeFilters"`
	KeywordFilter               string   `json:"keywordFilter"`
	OperationFilters            []string `json:"operationFilters"`
	UserPrincipalNameFilters    []string `json:"userPrincipalNameFilters"`
	IPAddressFilters            []string `json:"ipAddressFilters"`
	ObjectIDFilters             []string `json:"objectIdFilters"`
	AdministrativeUnitIDFilters []string `json:"administrativeUnitIdFilters"`

	start, end time.Time
	kinds      []int // empty means any
}

// readGraphBody reads what a query is created from, or says what is bad about
// it.
func readGraphBody(raw []byte) (b graphBody, f filter, bad string) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&b); err != nil {
		return b, f, "The request body cannot be read: " + err.Error()
	}
	var okStart, okEnd bool
	b.start, okStart = graphDate(b.FilterStartDateTime)
	b.end, okEnd = graphDate(b.FilterEndDateTime)
	if !okStart || !okEnd || !b.start.Before(b.end) {
		return b, f, "filterStartDateTime and filterEndDateTime must be of the type Edm.DateTimeOffset, and the first before the second."
	}
	for _, name := range b.RecordTypeFilters {
		kind, ok := graphKind(name)
		if !ok {
			return b, f, "Requested value '" + name + "' was not found."
		}
		b.kinds = append(b.kinds, kind)
	}
	f = filter{
		start:      b.start.UnixMicro(),
		end:        b.end.UnixMicro(),
		operations: b.OperationFilters,
		users:      b.UserPrincipalNameFilters,
		objects:    b.ObjectIDFilters,
		text:       b.KeywordFilter,
	}
	for _, ip := range b.IPAddressFilters {
		f.addresses = append(f.addresses, address(ip))
	}
	return b, f, ""
}

// graphDate reads a time, with a zone or without, which means UTC.
func graphDate(value string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, value); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// graphKind is the number of a record type that is called as in records
// ("HRSignal") or as in the documentation of filters ("hrSignal").
func graphKind(name string) (int, bool) {
	for _, t := range recordTypes() {
		if name == t.name || name == filterName(t.name) {
			return t.number, true
		}
	}
	return 0, false
}

// filterName writes the capitals that a name begins with small, but for the
// last of several if a small letter follows.
func filterName(name string) string {
	small := []byte(name)
	for i, c := range small {
		word := i > 0 && i+1 < len(small) && 'a' <= small[i+1] && small[i+1] <= 'z'
		if c < 'A' || c > 'Z' || word {
			break
		}
		small[i] = lower(c)
	}
	return string(small)
}
