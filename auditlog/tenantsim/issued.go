package tenantsim

import (
	"net/http"
	"slices"
)

// An Issued is a token or a code that the tenant gave to a client.
type Issued struct {
	Kind  string // as in the answer: "access_token", "refresh_token", "id_token", "device_code", "user_code"
	Value string
}

// secretKinds are the fields of an answer that only its client may see.
var secretKinds = []string{"access_token", "refresh_token", "id_token", "device_code", "user_code"}

// Issued is every token and code that was given to a client so far, oldest
// first, for tests of where these end up. What [Server.Token] and [Server.Sign]
// made is not among them.
func (s *Server) Issued() []Issued {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.issued)
}

// issue answers with tokens or codes, and notes them.
func (s *Server) issue(body map[string]any) response {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kind := range secretKinds {
		if value, ok := body[kind].(string); ok {
			s.issued = append(s.issued, Issued{kind, value})
		}
	}
	return unstored(jsonResponse(http.StatusOK, jsonType, body))
}
