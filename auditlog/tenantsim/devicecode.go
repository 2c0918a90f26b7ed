package tenantsim

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"
)

// deviceCodeGrant is the grant type of RFC 8628, section 3.4.
const deviceCodeGrant = "urn:ietf:params:oauth:grant-type:device_code"

// A deviceFlow is a device code on its way (RFC 8628).
type deviceFlow struct {
	userCode   string
	deviceCode string
	tenant     string // as in the path
	grant      grant  // its account is set on approval
	expires    time.Time
	interval   time.Duration
	polled     time.Time // last
	state      flowState
	refusal    *entraError // in flowRefused
}

type flowState int

const (
	flowPending flowState = iota
	flowApproved
	flowRefused
	flowRedeemed
)

// codeLifetime is how long a device code is valid.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code
const codeLifetime = 15 * time.Minute

// deviceCode begins a sign-in on another device.
func (s *Server) deviceCode(v *visit) response {
	formRefusal := v.form()
	if reply, ok := s.name(v, "devicecode", nil); ok {
		return reply
	}
	if formRefusal != nil {
		return formRefusal.response(v)
	}
	tenant, ok := s.tenantOf(v.PathValue("tenant"))
	if !ok {
		return unknownTenant(v)
	}
	id, refusal := v.need("client_id")
	if refusal != nil {
		return refusal.response(v)
	}
	app, ok := s.app(id)
	if !ok {
		return refuse("unauthorized_client", 700016, "Application with identifier '%s' was not found in the directory '%s'.", id, s.Tenant.Name).response(v)
	}
	g, refusal := s.asked(v, app, Account{})
	if refusal != nil {
		return refusal.response(v)
	}
	f := s.newFlow(tenant, g)
	page := v.base + "/devicelogin"
	return s.issue(map[string]any{
		"user_code":        f.userCode,
		"device_code":      f.deviceCode,
		"verification_uri": page,
		"expires_in":       int(codeLifetime.Seconds()),
		"interval":         int((f.interval + time.Second - 1) / time.Second),
		"message":          fmt.Sprintf("To sign in, open the page %s in a web browser and enter the code %s.", page, f.userCode),
	})
}

func (s *Server) newFlow(tenant string, g grant) *deviceFlow {
	f := &deviceFlow{
		userCode:   newUserCode(),
		deviceCode: rand.Text() + rand.Text() + rand.Text(),
		tenant:     tenant,
		grant:      g,
		expires:    time.Now().Add(codeLifetime),
		interval:   cmp.Or(s.Interval, 5*time.Second),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flows = slices.DeleteFunc(s.flows, func(f *deviceFlow) bool { return time.Since(f.expires) > codeLifetime })
	s.flows = append(s.flows, f)
	return f
}

// newUserCode is nine letters and digits, without those that look alike.
func newUserCode() string {
	const letters = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789" // 32, so that each is as likely
	code := []byte(rand.Text()[:9])
	for i, c := range code { // letters and the digits 2 to 7
		n := c - 'A'
		if c < 'A' {
			n = c - '2' + 26
		}
		code[i] = letters[n]
	}
	return string(code)
}

// grantForCode is what a device code stands for by now.
func (s *Server) grantForCode(v *visit, tenant string) (grant, *entraError) {
	app, refusal := s.client(v, false)
	if refusal != nil {
		return grant{}, refusal
	}
	code := cmp.Or(v.PostForm.Get("device_code"), v.PostForm.Get("code")) // the second by old clients
	if code == "" {
		_, refusal := v.need("device_code")
		return grant{}, refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.flows, func(f *deviceFlow) bool { return f.deviceCode == code })
	if i < 0 {
		return grant{}, refuse("bad_verification_code", 70018, "Bad or invalid verification code.")
	}
	f := s.flows[i]
	if f.grant.app.ClientID != app.ClientID || f.tenant != tenant {
		return grant{}, refuse("invalid_grant", 700005, "The provided code is intended to be used by another client or against another tenant.")
	}
	return f.poll(time.Now())
}

// poll answers a client that asks whether its person has signed in.
func (f *deviceFlow) poll(now time.Time) (grant, *entraError) {
	// A tenth is forgiven: what was sent in time may arrive a bit sooner.
	hasty := !f.polled.IsZero() && now.Sub(f.polled) < f.interval-f.interval/10
	f.polled = now
	switch {
	case f.state == flowRedeemed:
		return grant{}, refuse("invalid_grant", 54005, "The device code was already redeemed.")
	case f.state == flowRefused:
		return grant{}, f.refusal
	case !now.Before(f.expires):
		return grant{}, refuse("expired_token", 70020, "The device code has expired.")
	case hasty:
		f.interval += 5 * time.Second // RFC 8628, section 3.5
		return grant{}, refuse("slow_down", 70016, "The client polls too quickly.")
	case f.state == flowPending:
		return grant{}, refuse("authorization_pending", 70016, "The user has not completed the sign-in yet. Continue polling.")
	}
	f.state = flowRedeemed
	return f.grant, nil
}

// UserCodes are the codes that wait for somebody to sign in, oldest first.
func (s *Server) UserCodes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var codes []string
	for _, f := range s.flows {
		if f.state == flowPending && time.Now().Before(f.expires) {
			codes = append(codes, f.userCode)
		}
	}
	return codes
}

// Approve signs the account in with the code that its person was shown. If
// the account may not sign in, whoever polls is told why. The error says that
// there is no such code or account, or no longer.
func (s *Server) Approve(userCode, upn string) error {
	s.prepare()
	_, err := s.approve(userCode, upn)
	return err
}

// ApproveAnyway is [Server.Approve] by a service that fails to check whether the
// account may sign in: one of another organisation gets that one's tokens.
func (s *Server) ApproveAnyway(userCode, upn string) error {
	s.prepare()
	account, ok := s.account(upn)
	if !ok {
		return fmt.Errorf("signing in as %s: there is no such account in %s", upn, s.Tenant.Name)
	}
	return s.settle(userCode, func(f *deviceFlow) { f.grant.account, f.state = account, flowApproved })
}

// approve returns why the account may not sign in, nil if it may.
func (s *Server) approve(userCode, upn string) (refusal *entraError, err error) {
	account, ok := s.account(upn)
	if !ok {
		return nil, fmt.Errorf("signing in as %s: there is no such account in %s", upn, s.Tenant.Name)
	}
	err = s.settle(userCode, func(f *deviceFlow) {
		f.grant.account, f.state = account, flowApproved
		if home := s.home(account); f.tenant != "organizations" && f.tenant != "common" && home != f.tenant {
			refusal = refuse("invalid_grant", 50020, "The user account '%s' is of another organisation and does not exist in the tenant '%s'.", upn, s.Tenant.Name)
		} else if account.Blocked != 0 {
			refusal = blockedError(account.Blocked)
		}
		if refusal != nil {
			f.state, f.refusal = flowRefused, refusal
		}
	})
	return refusal, err
}

// Deny refuses the sign-in, as a person who did not ask for it does.
func (s *Server) Deny(userCode string) error {
	return s.settle(userCode, func(f *deviceFlow) {
		f.state, f.refusal = flowRefused, refuse("authorization_declined", 70017, "The end user has denied the authorization request.")
	})
}

// Expire lets the code's time run out.
func (s *Server) Expire(userCode string) error {
	return s.settle(userCode, func(f *deviceFlow) { f.expires = time.Now() })
}

// settle decides a sign-in that is pending.
func (s *Server) settle(userCode string, decide func(*deviceFlow)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.pending(userCode)
	if f == nil {
		return fmt.Errorf("settling a sign-in: no sign-in waits for the code %q", userCode)
	}
	decide(f)
	return nil
}

// pending is the sign-in that waits for a code, however it was typed.
func (s *Server) pending(userCode string) *deviceFlow {
	typed := strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(userCode))
	for _, f := range s.flows {
		if f.userCode == typed && f.state == flowPending && time.Now().Before(f.expires) {
			return f
		}
	}
	return nil
}

// A prompt is what the sign-in page says about a code.
type prompt struct {
	App, Resource string
	Accounts      []Account
}

func (s *Server) prompt(userCode string) (prompt, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.pending(userCode)
	if f == nil {
		return prompt{}, false
	}
	return prompt{f.grant.app.Name, f.grant.resource, slices.Clone(s.accounts)}, true
}
