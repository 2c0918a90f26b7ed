package tenantsim

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

const graphType = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"

func graphResponse(status int, v any) response {
	r := jsonResponse(status, graphType, v)
	r.set("Request-Id", newGUID())
	return r
}

// graphError is how Microsoft Graph refuses.
// https://learn.microsoft.com/graph/errors
func graphError(status int, code, message string) response {
	id := newGUID()
	r := jsonResponse(status, "application/json", map[string]any{"error": map[string]any{
		"code":    code,
		"message": message,
		"innerError": map[string]any{
			"date":              time.Now().UTC().Format("2006-01-02T15:04:05"),
			"request-id":        id,
			"client-request-id": id,
		},
	}})
	r.set("Request-Id", id)
	return r
}

func graphUnauthorized(why string) response {
	r := graphError(http.StatusUnauthorized, "InvalidAuthenticationToken", why)
	r.set("Www-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="`+graphID+`"`)
	return r
}

func graphForbidden() response {
	return graphError(http.StatusForbidden, "Forbidden", "The caller does not have the permissions that this request needs.")
}

func graphNotFound() response {
	return graphError(http.StatusNotFound, "NotFound", "The audit log query was not found.")
}

// asGraph makes an answer of Microsoft Graph out of one of Exchange Online, as
// the faults have it. What is not JSON comes from a gateway, and stays.
func asGraph(r response) response {
	header := r.header
	switch r.status {
	case http.StatusTooManyRequests:
		r = graphError(r.status, "TooManyRequests", "Too many requests.")
	case http.StatusUnauthorized:
		r = graphUnauthorized("Lifetime validation failed, the token is expired.")
	case http.StatusForbidden:
		r = graphForbidden()
	}
	if wait := header.Get("Retry-After"); wait != "" {
		r.set("Retry-After", wait)
	}
	return r
}

// graphPage is a page of records.
func (s *Server) graphPage(v *visit, p page) response {
	size := 1024
	for _, r := range p.rows {
		size += 700 + len(r.data)*3/2 // the other members, and the annotations
	}
	body := make([]byte, 0, size)
	body = append(body, `{"@odata.context":`...)
	body = appendText(body, v.base+"/"+v.PathValue("version")+"/$metadata#security/auditLog/queries('"+v.PathValue("id")+"')/records")
	if p.next != "" {
		body = append(body, `,"@odata.nextLink":`...)
		body = appendText(body, p.next)
	}
	body = append(body, `,"value":[`...)
	for i, r := range p.rows {
		if i > 0 {
			body = append(body, ',')
		}
		body = s.appendGraphRecord(body, r)
	}
	reply := response{status: http.StatusOK, body: append(body, "]}"...)}
	reply.set("Content-Type", graphType)
	reply.set("Request-Id", newGUID())
	return reply
}

// userTypes are the members of auditLogUserType, by the UserType of AuditData.
var userTypes = []string{
	"Regular", "Reserved", "Admin", "DcAdmin", "System", "Application", "ServicePrincipal", "CustomPolicy", "SystemPolicy",
	"PartnerTechnician", "Guest",
}

// appendGraphRecord appends a record with the members of auditLogRecord. As in
// the real ones, userId is what AuditData calls UserKey, userPrincipalName its
// UserId, and clientIp is null.
func (s *Server) appendGraphRecord(to []byte, r row) []byte {
	var data struct {
		OrganizationID loose `json:"OrganizationId"`
		UserType       *int
		UserKey        loose
		Workload       loose
	}
	_ = json.Unmarshal(r.data, &data) // what cannot be read is left out
	userType := userTypes[0]
	if n := data.UserType; n != nil && 0 <= *n && *n < len(userTypes) {
		userType = userTypes[*n]
	}
	text := func(name, value string) {
		to = append(to, ',', '"')
		to = append(to, name...)
		to = append(to, '"', ':')
		to = appendText(to, value)
	}
	to = append(to, `{"id":`...)
	to = appendText(to, r.record.id)
	text("createdDateTime", time.UnixMicro(r.record.at).UTC().Format(time.RFC3339))
	text("auditLogRecordType", recordTypeName(r.record.kind))
	text("operation", r.record.operation)
	text("organizationId", string(data.OrganizationID))
	text("userType", userType)
	text("userId", string(data.UserKey))
	text("service", string(data.Workload))
	if r.record.object == "" {
		to = append(to, `,"objectId":null`...)
	} else {
		text("objectId", r.record.object)
	}
	text("userPrincipalName", r.record.user)
	to = append(to, `,"clientIp":null,"administrativeUnits":[""],"auditData":`...)
	return append(annotate(to, r.data), '}')
}

// annotate appends AuditData as Graph has it: a type at its start, and types
// beside the members that are whole numbers or lists. All else stays as it is.
func annotate(to, data []byte) []byte {
	a := annotator{data: data, out: to}
	a.blanks()
	if a.at < len(data) && data[a.at] == '{' {
		a.out = append(a.out, '{')
		a.at++
		a.blanks()
		a.out = append(a.out, `"@odata.type":"#microsoft.graph.security.defaultAuditData"`...)
		if a.at < len(data) && data[a.at] != '}' {
			a.out = append(a.out, ',')
		}
		a.members()
	}
	return append(a.out, data[a.at:]...)
}

// An annotator copies JSON, which is valid as a rule; from where it is not, it
// copies the rest as it is.
type annotator struct {
	data []byte
	at   int // the next byte to copy
	out  []byte
}

func (a *annotator) copy(n int) {
	a.out = append(a.out, a.data[a.at:a.at+n]...)
	a.at += n
}

// blanks copies blanks.
func (a *annotator) blanks() {
	for a.at < len(a.data) && strings.IndexByte(" \t\r\n", a.data[a.at]) >= 0 {
		a.copy(1)
	}
}

// members copies the members of an object, from behind its "{" to behind its "}".
func (a *annotator) members() {
	for a.at < len(a.data) {
		a.blanks()
		key := a.string()
		value := bytes.TrimLeft(a.data[min(a.at+key, len(a.data)):], " \t\r\n:")
		if kind := odataKind(value); kind != "" && key > 2 {
			a.out = append(a.out, a.data[a.at:a.at+key-1]...)
			a.out = append(a.out, `@odata.type":"`+kind+`",`...)
		}
		a.copy(key)
		for a.at < len(a.data) && strings.IndexByte(" \t\r\n:", a.data[a.at]) >= 0 {
			a.copy(1)
		}
		if a.value(); !a.goesOn('}') {
			return
		}
	}
}

// value copies one value, with what is in it annotated.
func (a *annotator) value() {
	if a.at >= len(a.data) {
		return
	}
	switch a.data[a.at] {
	case '{':
		a.copy(1)
		a.members()
	case '[':
		a.copy(1)
		for a.at < len(a.data) {
			a.blanks()
			if a.value(); !a.goesOn(']') {
				return
			}
		}
	case '"':
		a.copy(a.string())
	default:
		n := bytes.IndexAny(a.data[a.at:], ",]} \t\r\n")
		if n < 0 {
			n = len(a.data) - a.at
		}
		a.copy(n)
	}
}

// goesOn copies a comma, or the end of an object or a list, and tells which.
func (a *annotator) goesOn(end byte) bool {
	a.blanks()
	if a.at >= len(a.data) {
		return false
	}
	c := a.data[a.at]
	if c == ',' || c == end {
		a.copy(1)
	}
	return c == ','
}

// string is the length of the string that begins here, with its quotes; 0 if
// none does.
func (a *annotator) string() int {
	if a.at >= len(a.data) || a.data[a.at] != '"' {
		return 0
	}
	for i := a.at + 1; i < len(a.data); i++ {
		switch a.data[i] {
		case '\\':
			i++
		case '"':
			return i + 1 - a.at
		}
	}
	return 0
}

// odataKind is the type that Graph puts beside a value, "" if it puts none.
func odataKind(value []byte) string {
	if len(value) == 0 {
		return ""
	}
	switch c := value[0]; {
	case c == '[' && bytes.HasPrefix(bytes.TrimLeft(value[1:], " \t\r\n"), []byte(`"`)):
		return "#Collection(String)"
	case c == '[':
		return "#Collection(microsoft.graph.security.defaultAuditData)"
	case c == '-' || '0' <= c && c <= '9':
		number, _, _ := bytes.Cut(value, []byte{','})
		if end := bytes.IndexAny(number, "]}"); end >= 0 {
			number = number[:end]
		}
		if !bytes.ContainsAny(number, ".eE") {
			return "#Int64"
		}
	}
	return ""
}
