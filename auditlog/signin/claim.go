package signin

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"
)

// A stored sign-in is renewed by one process at a time. Some providers end the
// sign-in of whoever sends a refresh token for the second time, so what two
// would lose is more than a request (RFC 9700, section 4.14.2). Who wants to
// renew it first writes a claim beside it, and who finds a claim waits for what
// comes of it.

// claimLimit is how long a claim holds. Renewing takes less; whoever died over
// it keeps the others waiting for no longer.
const claimLimit = renewLimit + 10*time.Second

// claim makes the stored session ours to renew, and returns its new revision.
// The error is errCrossed if it is not what it was at the old one.
func (a *Account) claim(ctx context.Context, s session, revision uint64) (uint64, error) {
	s.Claim, s.ClaimUntil = rand.Text(), time.Now().Add(claimLimit)
	stored, err := a.put(ctx, s, revision)
	if err != nil {
		return 0, err
	}
	value, revision, err := a.Store.Get(ctx, a.Key)
	if err != nil {
		return 0, fmt.Errorf("reading the stored sign-in: %w", err)
	}
	if now, ok := decode(value); !stored || !ok || now.Claim != s.Claim {
		return 0, errCrossed
	}
	return revision, nil
}

// release takes the claim of this revision back, so that the next one to try
// need not wait for its end. It is no matter if that fails.
func (a *Account) release(ctx context.Context, s session, revision uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	s.Claim, s.ClaimUntil = "", time.Time{}
	_, _ = a.put(ctx, s, revision)
}

// unclaimed is what load returns once it is valid or nobody is renewing it.
// Ours and another's clock may differ, so no claim is waited for longer than
// claimLimit, whatever its end.
func (a *Account) unclaimed(ctx context.Context, valid func(session) bool) (session, uint64, error) {
	claim, since := "", time.Now()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		s, revision, err := a.load(ctx)
		if err != nil || valid(s) || s.Claim == "" {
			return s, revision, err
		}
		if s.Claim != claim {
			claim, since = s.Claim, time.Now()
		}
		left := min(time.Until(s.ClaimUntil), claimLimit-time.Since(since))
		if left <= 0 {
			return s, revision, nil
		}
		select {
		case <-time.After(min(wait, left)):
		case <-ctx.Done():
			return session{}, 0, fmt.Errorf("waiting for a sign-in to be renewed elsewhere: %w", context.Cause(ctx))
		}
	}
}
