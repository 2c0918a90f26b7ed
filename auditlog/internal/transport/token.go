package transport

import (
	"context"
	"fmt"

	"auditbot/auditlog"
)

// WithToken calls send with what token gives, and once more with a new token
// if send failed with an error that refused says a new one may help against.
// That counts as a retry in v. token is the Token of a Source: it is told which
// access token was refused, "" if none.
//
// The error is that of the last send, or, if there is no token to be had, an
// [auditlog.ErrNoAccess] that wraps token's.
func WithToken(ctx context.Context, token func(context.Context, auditlog.Secret) (auditlog.Token, error), v *auditlog.Verdict,
	refused func(error) bool, send func(auditlog.Token) error) error {
	first, err := token(ctx, "")
	if err != nil {
		return fmt.Errorf("%w: getting a token: %w", auditlog.ErrNoAccess, err)
	}
	err = send(first)
	if !refused(err) {
		return err
	}
	fresh, tokenErr := token(ctx, first.Access)
	if tokenErr != nil {
		return fmt.Errorf("%w: getting a new token, since %v: %w", auditlog.ErrNoAccess, err, tokenErr)
	}
	if fresh.Access == first.Access {
		return err
	}
	v.Retries++
	return send(fresh)
}
