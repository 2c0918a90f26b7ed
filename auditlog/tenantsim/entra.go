package tenantsim

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const jsonType = "application/json; charset=utf-8"

// tenantOf is what a path's {tenant} means: the GUID of this tenant or of one
// that an account is in, or the word "organizations" or "common".
func (s *Server) tenantOf(id string) (string, bool) {
	switch id := strings.ToLower(id); id {
	case "organizations", "common":
		return id, true
	}
	if s.Tenant.names(id) {
		return s.Tenant.ID, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		if a.Tenant != "" && strings.EqualFold(a.Tenant, id) {
			return a.Tenant, true
		}
	}
	return "", false
}

// discovery is OpenID Connect's (OpenID Connect Discovery 1.0, section 3). For
// "organizations" the issuer is a pattern, as at Entra ID.
func (s *Server) discovery(v *visit) response {
	if reply, ok := s.name(v, "openid-configuration", nil); ok {
		return reply
	}
	tenant, ok := s.tenantOf(v.PathValue("tenant"))
	if !ok {
		return unknownTenant(v)
	}
	issuer := tenant
	if tenant == "organizations" || tenant == "common" {
		issuer = "{tenantid}"
	}
	base := v.base + "/" + tenant
	return jsonResponse(http.StatusOK, jsonType, map[string]any{
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"claims_supported":                      []string{"sub", "iss", "aud", "exp", "iat", "name", "preferred_username", "oid", "tid", "ver", "email"},
		"device_authorization_endpoint":         base + "/oauth2/v2.0/devicecode",
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"issuer":                                v.base + "/" + issuer + "/v2.0",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"response_types_supported":              []string{"code", "id_token", "code id_token", "id_token token"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"subject_types_supported":               []string{"pairwise"},
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
	})
}

// An entraError is a refusal of Entra ID's. The words after the number are
// ours: programs go by the word error alone.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
type entraError struct {
	status   int    // 0 means 400
	word     string // "invalid_grant"
	code     int    // of AADSTS
	text     string
	suberror string // "bad_token"; may be ""
}

func refuse(word string, code int, format string, args ...any) *entraError {
	return &entraError{word: word, code: code, text: fmt.Sprintf(format, args...)}
}

func (e *entraError) response(v *visit) response {
	trace := newGUID()
	correlation := cmp.Or(v.Header.Get("Client-Request-Id"), newGUID())
	at := time.Now().UTC().Format("2006-01-02 15:04:05Z")
	body := map[string]any{
		"error":             e.word,
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s", e.code, e.text, trace, correlation, at),
		"error_codes":       []int{e.code},
		"timestamp":         at,
		"trace_id":          trace,
		"correlation_id":    correlation,
		"error_uri":         fmt.Sprintf("%s/error?code=%d", v.base, e.code),
	}
	if e.suberror != "" {
		body["suberror"] = e.suberror
	}
	r := jsonResponse(cmp.Or(e.status, http.StatusBadRequest), jsonType, body)
	r.set("X-Ms-Request-Id", trace)
	return unstored(r)
}

// unstored forbids to keep an answer (RFC 6749, section 5.1).
func unstored(r response) response {
	r.set("Cache-Control", "no-store, no-cache")
	r.set("Pragma", "no-cache")
	return r
}

func unknownTenant(v *visit) response {
	return refuse("invalid_tenant", 90002, "Tenant '%s' not found. Check the tenant id and the cloud.", v.PathValue("tenant")).response(v)
}

// form reads the fields of a POST.
func (v *visit) form() *entraError {
	if v.Method != http.MethodPost {
		return refuse("invalid_request", 900561, "The endpoint only accepts POST requests. Received a %s request.", v.Method)
	}
	if err := v.ParseForm(); err != nil {
		return refuse("invalid_request", 9002313, "The request is malformed or invalid.")
	}
	return nil
}

// need is the value of a field that must be there.
func (v *visit) need(field string) (string, *entraError) {
	if value := v.PostForm.Get(field); value != "" {
		return value, nil
	}
	return "", refuse("invalid_request", 900144, "The request body must contain the following parameter: '%s'.", field)
}

// Resources that tokens are given for.
const (
	exchangeResource = "https://outlook.office365.com"
	graphResource    = "https://graph.microsoft.com"
	exchangeID       = "00000002-0000-0ff1-ce00-000000000000" // the application id of Exchange Online
	graphID          = "00000003-0000-0000-c000-000000000000"
)

// isExchange tells whether a resource is Exchange Online: by its public
// address, its application id, or the address that it has here.
func isExchange(resource, base string) bool {
	switch strings.TrimRight(strings.ToLower(resource), "/") {
	case exchangeResource, "https://outlook.office.com", exchangeID, strings.ToLower(base):
		return true
	}
	return false
}

// isGraph tells whether a resource is Microsoft Graph.
func isGraph(resource string) bool {
	return strings.EqualFold(strings.TrimRight(resource, "/"), graphResource) || strings.EqualFold(resource, graphID)
}

// resource finds what the scopes are for; those of OpenID Connect are for
// nothing in particular, which means Graph.
func (s *Server) resource(scopes []string, base string) (string, *entraError) {
	found, names := "", []string{}
	for _, scope := range scopes {
		switch strings.ToLower(scope) {
		case "openid", "profile", "email", "offline_access":
			continue
		}
		resource, name := graphResource, scope
		if i := strings.LastIndex(scope, "/"); i >= 0 {
			resource, name = scope[:i], scope[i+1:]
		}
		if !isExchange(resource, base) && !isGraph(resource) {
			return "", refuse("invalid_resource", 500011, "The resource principal named %s was not found in the tenant named %s.", resource, s.Tenant.Name)
		}
		if found != "" && found != resource {
			return "", refuse("invalid_scope", 28000, "The provided value for the input parameter 'scope' contains more than one resource.")
		}
		found, names = resource, append(names, name)
	}
	if slices.Contains(names, "") || len(names) > 1 && slices.Contains(names, ".default") {
		return "", refuse("invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid: %s", strings.Join(scopes, " "))
	}
	return cmp.Or(found, graphResource), nil
}
