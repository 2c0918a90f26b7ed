package signin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"auditbot/auditlog"
)

// A stored sign-in is renewed by one process at a time. Some providers end the
// sign-in of whoever sends a refresh token for the second time, so what two
// would lose is more than a request (RFC 9700, section 4.14.2). Who wants to
// renew it first writes a claim beside it, and who finds a claim waits for what
// comes of it.

// claimLimit is how long a claim holds. Renewing takes less; whoever died over
// it keeps the others waiting for no longer.
const claimLimit = renewLimit + 10*time.Second

// claim makes the stored session ours to renew until that time, and returns its
// new revision. The error is errCrossed if it is not what it was at the old one.
// Whether it is ours is read, since a Store may have stored what it says that
// it has not.
func (a *Account) claim(ctx context.Context, s session, until time.Time, revision uint64) (claimed uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.Claim, s.ClaimUntil = rand.Text(), until
	err = insist(ctx, func() error {
		if _, err := a.put(ctx, s, revision); err != nil {
			return err
		}
		value, now, err := a.get(ctx)
		if err != nil {
			return err
		}
		if stored, ok := decode(value); !ok || stored.Claim != s.Claim {
			return errCrossed
		}
		claimed = now
		return nil
	})
	return claimed, err
}

// settle stores what a renewal gave in the place of the claimed session of this
// revision. The old refresh token may be worth nothing by now, so it goes on
// trying until the claim ends; then the old session is left as it is, for
// providers that take it once more.
func (a *Account) settle(ctx context.Context, s session, until time.Time, revision uint64) error {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
	defer cancel()
	err := insist(ctx, func() error { return a.replace(ctx, s, revision) })
	if err == nil || errors.Is(err, errCrossed) {
		return err
	}
	return fmt.Errorf("losing a renewed sign-in: %w", err)
}

// release takes the claim of this revision back, so that the next one to try
// need not wait for its end. It is no matter if that fails. It is for renewals
// that gave nothing.
func (a *Account) release(ctx context.Context, s session, revision uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	s.Claim, s.ClaimUntil = "", time.Time{}
	_, _ = a.put(ctx, s, revision)
}

// unclaimed is what load returns once it is valid, with a token that is not the
// rejected one, or nobody is renewing it. Ours and another's clock may differ, so
// no claim is waited for longer than claimLimit, whatever its end.
func (a *Account) unclaimed(ctx context.Context, rejected auditlog.Secret) (session, uint64, error) {
	claim, since := "", time.Now()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		s, revision, err := a.load(ctx)
		if err != nil || s.valid(rejected) || s.Claim == "" {
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
