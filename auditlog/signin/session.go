package signin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"auditbot/auditlog"
)

// A Store is where tokens are kept, sealed.
type Store struct {
	// Get returns the value of a key and its revision: nil and 0 if there is
	// none. A value may be empty.
	Get func(ctx context.Context, key string) (value []byte, revision uint64, err error)

	// Put sets the value of a key if its revision is still this one; 0 means
	// that it has none. If it is not, nothing is stored, and that is no error.
	Put func(ctx context.Context, key string, value []byte, revision uint64) (stored bool, err error)

	// Delete removes a key and its value. If it is not there, that is no error.
	Delete func(ctx context.Context, key string) error
}

// errCrossed means that whenever something was to be stored, somebody else had
// stored something.
var errCrossed = errors.New("storing a sign-in: it was changed by somebody else again and again")

// A session is what a sign-in gave.
type session struct {
	UPN      string // user principal name of the person; "" for an application
	TenantID string // GUID
	ClientID string
	Resource string
	Access   auditlog.Secret // the access token
	Expires  time.Time       // when Access ends
	Refresh  auditlog.Secret // the refresh token; "" if Microsoft gave none
	SignedIn time.Time       // when the person signed in

	Claim      string    // of whoever is renewing it; "" if nobody is
	ClaimUntil time.Time // when the claim ends
}

// stored is how a session is written into a Store: as JSON.
type stored struct {
	V        int       `json:"v"` // 1
	UPN      string    `json:"upn"`
	TenantID string    `json:"tid"`
	ClientID string    `json:"client_id"`
	Resource string    `json:"resource"`
	Access   string    `json:"access"`
	Expires  time.Time `json:"expires"`
	Refresh  string    `json:"refresh"`
	SignedIn time.Time `json:"signed_in"`

	Claim      string    `json:"claim,omitempty"`
	ClaimUntil time.Time `json:"claim_until,omitzero"`
}

func (s session) encode() []byte {
	value, _ := json.Marshal(stored{ // strings and times of our days cannot fail
		1, s.UPN, s.TenantID, s.ClientID, s.Resource, string(s.Access), s.Expires.UTC(), string(s.Refresh), s.SignedIn.UTC(),
		s.Claim, s.ClaimUntil.UTC(),
	})
	return value
}

// decode is false for what encode did not write.
func decode(value []byte) (session, bool) {
	var s stored
	if err := json.Unmarshal(value, &s); err != nil || s.V != 1 {
		return session{}, false
	}
	return session{
		s.UPN, s.TenantID, s.ClientID, s.Resource, auditlog.Secret(s.Access), s.Expires, auditlog.Secret(s.Refresh), s.SignedIn,
		s.Claim, s.ClaimUntil,
	}, true
}

// unusedLimit is for how long Microsoft takes a refresh token that is not used.
// https://learn.microsoft.com/entra/identity-platform/refresh-tokens#token-lifetime
const unusedLimit = 90 * 24 * time.Hour

// EndsUnused is when what a [Store] holds ends if it is not used before, give or
// take the life of an access token. Microsoft may end it sooner. It is false for
// what is no sign-in of a person.
func EndsUnused(stored []byte) (time.Time, bool) {
	s, ok := decode(stored)
	if !ok || s.UPN == "" {
		return time.Time{}, false
	}
	if s.Refresh == "" {
		return s.Expires, true
	}
	return s.Expires.Add(unusedLimit), true
}

// valid tells whether the access token can be used.
func (s session) valid(rejected auditlog.Secret) bool {
	return s.Access != "" && s.Access != rejected && time.Now().Add(skew).Before(s.Expires)
}

func (s session) token() auditlog.Token {
	return auditlog.Token{Access: s.Access, Account: s.UPN, Tenant: s.TenantID}
}

// load reads what is stored. If that is nothing, or nothing that fits the
// Account, the error is ErrNotSignedIn; the revision is right all the same.
func (a *Account) load(ctx context.Context) (session, uint64, error) {
	value, revision, err := a.get(ctx)
	if err != nil {
		return session{}, 0, err
	}
	if len(value) == 0 {
		return session{}, revision, a.whyEnded(revision)
	}
	s, ok := decode(value)
	if !ok {
		return session{}, revision, newEnding("what is stored was written by another version of this program", again, nil)
	}
	tenant, err := persist(ctx, time.Now().Add(patience), a.Entra.authority)
	if err != nil {
		return session{}, 0, refusal(ctx, err, byCode)
	}
	if why := a.misfit(s, tenant.id); why != "" {
		return session{}, revision, newEnding(why, again, nil)
	}
	return s, revision, nil
}

// misfit says why a session cannot be used by the Account: the settings have
// changed. It is "" if it can.
func (a *Account) misfit(s session, tenantID string) string {
	switch {
	case !strings.EqualFold(s.TenantID, tenantID):
		return "the stored sign-in is for another tenant"
	case s.ClientID != a.Entra.ClientID:
		return "the stored sign-in is for another application"
	case s.Resource != a.Entra.Resource:
		return "the stored sign-in is for another service"
	case a.isApplication() && s.UPN != "":
		return "the stored sign-in is that of " + s.UPN + ", and now the application signs in as itself"
	case !a.isApplication() && s.UPN == "":
		return "the stored sign-in is that of the application itself"
	case !a.isApplication() && !sameAccount(s.UPN, a.Expect):
		return fmt.Sprintf("the stored sign-in is that of %s, and %s is expected", s.UPN, cmp.Or(a.Expect, "nobody"))
	}
	return ""
}

func (a *Account) get(ctx context.Context) (value []byte, revision uint64, err error) {
	value, revision, err = a.Store.Get(ctx, a.Key)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the stored sign-in: %w", err)
	}
	return value, revision, nil
}

func (a *Account) put(ctx context.Context, s session, revision uint64) (bool, error) {
	stored, err := a.Store.Put(ctx, a.Key, s.encode(), revision)
	if err != nil {
		return false, fmt.Errorf("storing a sign-in: %w", err)
	}
	return stored, nil
}

// replace stores a session in the place of that of this revision, or fails with
// errCrossed.
func (a *Account) replace(ctx context.Context, s session, revision uint64) error {
	stored, err := a.put(ctx, s, revision)
	if err == nil && !stored {
		return errCrossed
	}
	return err
}

// save stores a new session in the place of whatever is there. It goes on trying
// for as long as patience lasts: whoever signed in would have to do so again.
func (a *Account) save(ctx context.Context, s session) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := errCrossed
	for tries := 0; tries < storeTries && errors.Is(err, errCrossed); tries++ {
		err = insist(ctx, func() error {
			_, revision, err := a.get(ctx)
			if err != nil {
				return err
			}
			return a.replace(ctx, s, revision)
		})
	}
	return err
}

// insist calls store, and again after a while if the Store failed, until ctx
// ends.
func insist(ctx context.Context, store func() error) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := store()
		if err == nil || errors.Is(err, errCrossed) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// forget empties the place of the session of this revision, which has ended
// with reason, and returns that. If another one has taken its place, it is left
// alone, and the error is errCrossed. It is not deleted: that could hit the
// other one.
func (a *Account) forget(ctx context.Context, revision uint64, reason error) error {
	stored, err := a.Store.Put(ctx, a.Key, nil, revision)
	switch {
	case err != nil:
		return fmt.Errorf("%w; and deleting it failed: %w", reason, err)
	case !stored:
		return errCrossed
	}
	a.Entra.mu.Lock()
	defer a.Entra.mu.Unlock()
	if a.Entra.ended == nil {
		a.Entra.ended = map[string]error{}
	}
	a.Entra.ended[a.Key] = reason
	return reason
}

// whyEnded is the error where nothing is stored. If that is what forget left, it
// is the reason: of several who need the sign-in at once, one alone learns it
// from Microsoft.
func (a *Account) whyEnded(revision uint64) error {
	a.Entra.mu.Lock()
	defer a.Entra.mu.Unlock()
	if why, ok := a.Entra.ended[a.Key]; ok && revision != 0 {
		return why
	}
	return ErrNotSignedIn
}
