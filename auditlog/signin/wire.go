package signin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"auditbot/auditlog/internal/transport"
)

// requestLimit is how long one request may take, its answer included.
const requestLimit = 30 * time.Second

// maxBody is how many bytes an answer may have, once unpacked. The largest,
// the list of keys, has about 16,000.
const maxBody = 1 << 20

// Answers that are none.
var (
	errUnreadable = errors.New("the answer cannot be read")
	errTooLong    = fmt.Errorf("%w: it is longer than %d MiB", errUnreadable, maxBody>>20)
)

// client is the Entra's client for requests of ctx.
func (e *Entra) client(ctx context.Context) *http.Client {
	c := http.Client{}
	if e.HTTP != nil {
		c = *e.HTTP
	}
	w := wire{ctx, cmp.Or(c.Timeout, requestLimit), c.Transport}
	if w.next == nil {
		w.next = http.DefaultTransport
	}
	c.Transport, c.Timeout = w, 0
	return &c
}

// A wire sends requests for x/oauth2 and go-oidc, and does what they leave out:
// it ends requests with its context, closes bodies, limits their length, and
// does not follow redirects. The limit of time is here too, since that of
// http.Client lingers until a body is closed.
type wire struct {
	ctx   context.Context
	limit time.Duration
	next  http.RoundTripper
}

// RoundTrip sends r. Redirects are errors. So are answers to a GET, which asks
// for a document, unless they have status 200 and are JSON: go-oidc would quote
// them whole.
func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), w.limit)
	defer cancel()
	defer context.AfterFunc(w.ctx, cancel)()
	r = r.WithContext(ctx)
	if r.Body == nil {
		r.Body = http.NoBody // as it arrives at a server, for transports that are one
	}
	resp, err := w.next.RoundTrip(r)
	if err != nil {
		return nil, cmp.Or(ctx.Err(), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the answer: %w", err)
	case len(body) > maxBody:
		return nil, errTooLong
	case resp.StatusCode/100 == 3, r.Method == http.MethodGet && resp.StatusCode != http.StatusOK:
		return nil, newServiceError(resp.StatusCode, body)
	case r.Method == http.MethodGet && !json.Valid(body):
		return nil, errUnreadable
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// get reads the JSON document at an address.
func (e *Entra) get(ctx context.Context, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("making a request for Entra ID: %w", err)
	}
	resp, err := e.client(ctx).Do(req)
	if err != nil {
		return e.failure(err)
	}
	defer resp.Body.Close()
	if json.NewDecoder(resp.Body).Decode(into) != nil {
		return &noAnswer{e.host(), errUnreadable}
	}
	return nil
}

// tokenPath is where tokens are asked for, behind the tenant.
const tokenPath = "/oauth2/v2.0/token"

// scopes are what is asked for: all that the application may do at the
// resource, a refresh token, and who signed in.
func (e *Entra) scopes() []string {
	return []string{e.Resource + "/.default", "offline_access", "openid", "profile"}
}

// config is for the device code flow. Whoever uses it has asked for the
// authority before, which checks the address.
func (e *Entra) config() *oauth2.Config {
	at, _ := e.base()
	return &oauth2.Config{
		ClientID: e.ClientID,
		Scopes:   e.scopes(),
		Endpoint: oauth2.Endpoint{
			DeviceAuthURL: at + "/oauth2/v2.0/devicecode",
			TokenURL:      at + tokenPath,
			AuthStyle:     oauth2.AuthStyleInParams,
		},
	}
}

// grant asks for a person's token with these parameters, the grant_type among
// them, and asks again for as long as patience lasts if there is no proper
// answer.
func (e *Entra) grant(ctx context.Context, form url.Values) (*oauth2.Token, error) {
	return persist(ctx, time.Now().Add(patience), func(ctx context.Context) (*oauth2.Token, error) {
		return e.ask(ctx, e.scopes(), form, form.Get("refresh_token"), form.Get("password"))
	})
}

// ask asks for a token once. Secrets are those in the form.
func (e *Entra) ask(ctx context.Context, scopes []string, form url.Values, secrets ...string) (*oauth2.Token, error) {
	at, err := e.base()
	if err != nil {
		return nil, err
	}
	// x/oauth2's own way to refresh sends no scope. This one sends any grant.
	c := clientcredentials.Config{
		ClientID:       e.ClientID,
		TokenURL:       at + tokenPath,
		Scopes:         scopes,
		EndpointParams: form,
		AuthStyle:      oauth2.AuthStyleInParams, // finding out would double every poll
	}
	token, err := c.Token(context.WithValue(ctx, oauth2.HTTPClient, e.client(ctx)))
	if err != nil {
		return nil, e.failure(err, secrets...)
	}
	return token, nil
}

// persist calls f, and again after a while if it failed with what may pass,
// until that time or the end of ctx.
func persist[T any](ctx context.Context, until time.Time, f func(context.Context) (T, error)) (T, error) {
	for wait := time.Second; ; wait = min(2*wait, longestInterval) {
		v, err := f(ctx)
		if err == nil || !passing(err) || ctx.Err() != nil || time.Now().Add(wait).After(until) {
			return v, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return v, err
		}
	}
}

// outlast is ctx, but ends that much later than ctx does: for what is lost if
// it is given up half way.
func outlast(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(by, func() { cancel(context.Cause(ctx)) })
	})
	return longer, func() {
		stop()
		cancel(nil)
	}
}

// base is the tenant's address at the service, checked before anything goes
// there, without a final slash.
func (e *Entra) base() (string, error) {
	u, err := url.Parse(strings.TrimRight(e.LoginURL, "/"))
	if err != nil {
		return "", errors.New("the address of Entra ID is not a URL")
	}
	if !mayGo(u) || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("the address of Entra ID, %q, is not an https:// URL", u.Redacted())
	}
	if !tenantName.MatchString(e.Tenant) || slices.Contains([]string{"common", "organizations", "consumers"}, strings.ToLower(e.Tenant)) {
		return "", fmt.Errorf("%q is neither a tenant's domain nor its GUID", e.Tenant)
	}
	return u.String() + "/" + e.Tenant, nil
}

var tenantName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)

// mayGo tells whether an address is https, or on this machine, and names no
// user.
func mayGo(u *url.URL) bool {
	return u.User == nil && transport.MayGo(u)
}

// host is the service's name for people.
func (e *Entra) host() string {
	u, err := url.Parse(e.LoginURL)
	if err != nil {
		return "the configured address"
	}
	return u.Host
}

// failure makes an error of x/oauth2's, go-oidc's or net/http's one of ours: a
// [*serviceError] or a [*noAnswer]. Theirs may hold what was sent and answered.
// Secrets are those that were sent.
func (e *Entra) failure(err error, secrets ...string) error {
	if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return newServiceError(answer.Response.StatusCode, answer.Body, secrets...)
	}
	if answer, ok := errors.AsType[*serviceError](err); ok {
		return answer
	}
	if broken, ok := errors.AsType[*url.Error](err); ok {
		return &noAnswer{e.host(), broken.Err}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &noAnswer{e.host(), err}
	}
	return &noAnswer{e.host(), errUnreadable}
}
