package transport_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"auditbot/auditlog"
	"auditbot/auditlog/internal/transport"
)

// A wallet gives these tokens, one after the other, and the last one again and
// again; after that, if it is empty, an error.
type wallet struct {
	tokens   []string
	empty    error
	rejected []auditlog.Secret
}

func (w *wallet) token(_ context.Context, rejected auditlog.Secret) (auditlog.Token, error) {
	w.rejected = append(w.rejected, rejected)
	if n := len(w.rejected); w.empty == nil || n <= len(w.tokens) {
		return auditlog.Token{Access: auditlog.Secret(w.tokens[min(n, len(w.tokens))-1])}, nil
	}
	return auditlog.Token{}, w.empty
}

// refusing sends, and is refused with every token but one.
func refusing(but string, sent *[]string) func(auditlog.Token) error {
	return func(token auditlog.Token) error {
		*sent = append(*sent, string(token.Access))
		if string(token.Access) == but {
			return nil
		}
		return errDown
	}
}

func TestARefusedTokenIsReplacedOnce(t *testing.T) {
	gone := errors.New("not signed in")
	for name, c := range map[string]struct {
		wallet  wallet
		sent    []string
		retries int
		err     error // that the error is; nil means none
	}{
		"the first is taken":        {wallet{tokens: []string{"good"}}, []string{"good"}, 0, nil},
		"the second is taken":       {wallet{tokens: []string{"old", "good"}}, []string{"old", "good"}, 1, nil},
		"neither is taken":          {wallet{tokens: []string{"old", "older", "good"}}, []string{"old", "older"}, 1, errDown},
		"there is no other":         {wallet{tokens: []string{"old"}}, []string{"old"}, 0, errDown},
		"there is none":             {wallet{empty: gone}, nil, 0, gone},
		"a new one cannot be given": {wallet{tokens: []string{"old"}, empty: gone}, []string{"old"}, 0, gone},
	} {
		t.Run(name, func(t *testing.T) {
			var sent []string
			var v auditlog.Verdict
			err := transport.WithToken(t.Context(), c.wallet.token, &v, func(err error) bool { return err == errDown }, refusing("good", &sent))
			if !slices.Equal(sent, c.sent) || v.Retries != c.retries || !errors.Is(err, c.err) {
				t.Errorf("sent %q, %d retries, error %v", sent, v.Retries, err)
			}
			if errors.Is(c.err, gone) != errors.Is(err, auditlog.ErrNoAccess) {
				t.Errorf("%v: ErrNoAccess is for when there is no token", err)
			}
			if len(c.wallet.rejected) > 1 && c.wallet.rejected[1] != "old" {
				t.Error("the second token was asked for without saying which was refused")
			}
		})
	}
}
