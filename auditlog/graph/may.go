package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"auditbot/auditlog"
)

// MaySearch looks whether this person is let in to the audit log queries, by
// listing them: no query is submitted. Nil means yes. An error is an
// [*auditlog.Refusal] where a person can do something about it. What it does
// not show is whether auditing is switched on.
// https://learn.microsoft.com/graph/api/security-auditcoreroot-list-auditlogqueries
func (s *Source) MaySearch(ctx context.Context) error {
	list := request{method: http.MethodGet, path: queriesPath + "?$top=1", read: func(body []byte) error {
		var answer struct {
			Value []json.RawMessage `json:"value"`
		}
		return json.Unmarshal(body, &answer)
	}}
	if err := s.ask(ctx, list, &auditlog.Verdict{}); err != nil {
		return fmt.Errorf("listing audit log queries: %w", s.Tenant.refusal(err))
	}
	return nil
}
