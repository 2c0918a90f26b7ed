package tenantsim

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// ordinaryCmdlets are some that everybody may run on their own mailbox. They
// are listed, but not simulated.
var ordinaryCmdlets = []string{"Get-CalendarProcessing", "Get-InboxRule", "Get-Mailbox", "Get-MailboxFolderStatistics", "Get-Recipient"}

// auditCmdlets are those of [RoleAuditLogs] and [RoleViewAuditLogs] that the
// tenant simulates.
var auditCmdlets = []string{"Get-AdminAuditLogConfig", searchCmdlet}

func mayAudit(roles []string) bool {
	return slices.Contains(roles, RoleAuditLogs) || slices.Contains(roles, RoleViewAuditLogs)
}

// A caller is who asks Exchange Online, and what they may run.
type caller struct {
	name    string // UPN, or an app's client id
	cmdlets []string
}

func (c caller) may(cmdlet string) bool {
	return slices.ContainsFunc(c.cmdlets, func(s string) bool { return strings.EqualFold(s, cmdlet) })
}

// caller finds out who asks. Not being allowed to ask at all is a response.
func (s *Server) caller(v *visit) (caller, *response) {
	no := func(r response) (caller, *response) { return caller{}, &r }
	if !s.Tenant.names(v.PathValue("tenant")) {
		return no(unauthorized("2000003", "the tenant of the token is not the one that is asked for", "invalid_resource"))
	}
	token, ok := strings.CutPrefix(v.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return no(unauthorized("2000001", "there is no bearer token", "missing_token"))
	}
	b, err := readToken(token, s.Tenant.ID, func(aud string) bool { return isExchange(aud, v.base) })
	switch {
	case errors.Is(err, errExpired):
		return no(unauthorized("2000001", err.Error(), "token_expired"))
	case errors.Is(err, errAudience), errors.Is(err, errTenant):
		return no(unauthorized("2000003", err.Error()+": its audience or tenant is invalid", "invalid_resource"))
	case err != nil:
		return no(unauthorized("2000001", "the token cannot be read or its signature is invalid", "invalid_token"))
	}
	if b.upn == "" {
		return s.appCaller(v, b)
	}
	account, ok := s.account(b.upn)
	if !ok {
		return no(unauthorized("2000008", "the account does not exist", "invalid_user"))
	}
	s.note(v, func(r *Request) { r.Account = account.UPN })
	if !slices.Contains(b.scopes, "Exchange.Manage") {
		return no(response{status: http.StatusForbidden}) // as for Exchange.ManageV2
	}
	if !s.anchored(v.Header.Get("X-AnchorMailbox")) {
		return no(cmdletError(http.StatusBadRequest, "BadRequest", serviceError, "The header X-AnchorMailbox is missing or names no mailbox of the tenant."))
	}
	c := caller{account.UPN, slices.Clone(ordinaryCmdlets)}
	if mayAudit(account.Roles) {
		c.cmdlets = append(c.cmdlets, auditCmdlets...)
	}
	return c, nil
}

// appCaller climbs the ladder of an application: without the app role 401,
// without an Exchange role 403.
func (s *Server) appCaller(v *visit, b bearer) (caller, *response) {
	app, known := s.app(b.app)
	s.note(v, func(r *Request) { r.Account = b.app })
	switch {
	case !known || !slices.Contains(b.roles, "Exchange.ManageAsApp"):
		r := unauthorized("2000008", "the token contains no permissions, or permissions that cannot be understood", "invalid_grant")
		return caller{}, &r
	case !mayAudit(app.Roles):
		r := forbidden()
		return caller{}, &r
	}
	return caller{b.app, auditCmdlets}, nil
}

// anchored tells whether a header X-AnchorMailbox names a mailbox here. What
// the service does without one is not known; that delegated callers need it
// is.
func (s *Server) anchored(anchor string) bool {
	if mailbox, ok := strings.CutPrefix(anchor, "APP:"); ok {
		name, tenant, _ := strings.Cut(mailbox, "@")
		return strings.HasPrefix(name, "SystemMailbox{") && s.Tenant.names(tenant)
	}
	_, ok := s.account(strings.TrimPrefix(anchor, "UPN:"))
	return ok
}

func (s *Server) note(v *visit, f func(*Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(v.entry)
}

// unauthorized is a 401, which gives its reason in headers alone.
func unauthorized(code, reason, category string) response {
	r := response{status: http.StatusUnauthorized}
	r.set("Www-Authenticate", fmt.Sprintf(`Bearer client_id="%s", trusted_issuers="00000001-0000-0000-c000-000000000000@*", token_types="app_asserted_user_v1 service_asserted_app_v1", error="invalid_token"`, exchangeID))
	r.set("X-Ms-Diagnostics", fmt.Sprintf(`%s;reason="%s.";error_category="%s"`, code, reason, category))
	r.set("Request-Id", newGUID())
	return r
}

// invokeCommand runs a cmdlet.
func (s *Server) invokeCommand(v *visit) response {
	cmdlet, parameters, bad := readCommand(v.body)
	reply, ok := s.name(v, cmdlet, func(r *Request) { r.Parameters = parameters })
	if strings.EqualFold(cmdlet, searchCmdlet) && !s.sleep(v.Context(), s.Latency) {
		panic(http.ErrAbortHandler)
	}
	if ok {
		return reply
	}
	if v.PathValue("version") != "beta" || v.Method != http.MethodPost {
		r := response{status: http.StatusMethodNotAllowed}
		r.set("Allow", http.MethodPost)
		return r
	}
	c, refusal := s.caller(v)
	switch {
	case refusal != nil:
		return *refusal
	case bad != nil:
		return *bad
	case !c.may(cmdlet):
		return forbidden()
	case strings.EqualFold(cmdlet, searchCmdlet):
		return s.search(v, c, parameters)
	case strings.EqualFold(cmdlet, "Get-AdminAuditLogConfig"):
		return s.auditLogConfig(parameters)
	}
	return cmdletError(http.StatusNotImplemented, "NotImplemented", serviceError, "The simulated tenant does not simulate "+cmdlet+".")
}

// auditLogConfig answers whether auditing is switched on.
func (s *Server) auditLogConfig(parameters map[string]any) response {
	args := newArguments(parameters, []string{"DomainController"})
	if args.bad != nil {
		return args.bad.response()
	}
	s.mu.Lock()
	on := s.auditing
	s.mu.Unlock()
	r := jsonResponse(http.StatusOK, odataType, map[string]any{
		"adminapi.warnings@odata.type": "#Collection(String)",
		"@adminapi.warnings":           []string{},
		"value": []any{map[string]any{
			"AdminAuditLogEnabled":                    true,
			"AdminAuditLogAgeLimit":                   "90.00:00:00",
			"AdminAuditLogCmdlets@odata.type":         "#Collection(String)",
			"AdminAuditLogCmdlets":                    []string{"*"},
			"AdminAuditLogParameters@odata.type":      "#Collection(String)",
			"AdminAuditLogParameters":                 []string{"*"},
			"LogLevel":                                "None",
			"Name":                                    "Admin Audit Log Settings",
			"Identity":                                "Admin Audit Log Settings",
			"TestCmdletLoggingEnabled":                false,
			"UnifiedAuditLogIngestionEnabled":         on,
			"UnifiedAuditLogFirstOptInDate":           nil,
			"IsValid":                                 true,
			"ObjectState":                             "Unchanged",
			"AdminAuditLogExcludedCmdlets":            []string{},
			"AdminAuditLogExcludedCmdlets@odata.type": "#Collection(String)",
		}},
	})
	r.set("Request-Id", newGUID())
	return r
}

// moduleFile answers which cmdlets the caller may run: with "*" in the header
// CommandName all, otherwise those of them that it names.
func (s *Server) moduleFile(v *visit) response {
	if reply, ok := s.name(v, "EXOModuleFile", nil); ok {
		return reply
	}
	c, refusal := s.caller(v)
	if refusal != nil {
		return *refusal
	}
	if v.URL.Query().Get("Version") == "" {
		return cmdletError(http.StatusBadRequest, "BadRequest", serviceError, "The query has no Version.")
	}
	wanted := strings.FieldsFunc(v.Header.Get("CommandName"), func(r rune) bool { return r == ',' || r == ' ' })
	var exported []string
	for _, cmdlet := range c.cmdlets {
		if len(wanted) == 0 || slices.Contains(wanted, "*") || oneOf(wanted, cmdlet) {
			exported = append(exported, cmdlet)
		}
	}
	slices.Sort(exported)
	r := jsonResponse(http.StatusOK, odataType, map[string]any{
		"value": []any{map[string]any{"exportedCmdlets": strings.Join(exported, ",")}},
	})
	r.set("Request-Id", newGUID())
	return r
}

// sameBody tells whether two requests have the same body, but for blanks
// around it.
func sameBody(a, b []byte) bool { return bytes.Equal(bytes.TrimSpace(a), bytes.TrimSpace(b)) }
