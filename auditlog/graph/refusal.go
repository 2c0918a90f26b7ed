package graph

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/internal/transport"
)

// A StatusError is an answer that says no. It holds what Microsoft's support
// asks for, and no token.
type StatusError struct {
	Method     string // of the request
	Status     int
	Code       string        // the service's word: "TooManyRequests"; may be ""
	Text       string        // its words for people, "" if it sent none; cleaned, at most 2,000 characters
	Challenge  string        // header WWW-Authenticate of a 401 or 403
	RetryAfter time.Duration // how long it asked to be left alone, or 0
	CallID     string        // the client-request-id that we sent
	RequestID  string        // the request-id that the service gave it

	link bool // it was asked for a link of its own
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%d %s%s%s%s (client-request-id %s, request-id %s)", e.Status, http.StatusText(e.Status),
		transport.Said(e.Code), transport.Said(e.Text), transport.Said(e.Challenge), e.CallID, cmp.Or(e.RequestID, "none"))
}

func newStatusError(resp *http.Response, body []byte, r request, call string) *StatusError {
	h := resp.Header
	e := &StatusError{
		Method:     r.method,
		Status:     resp.StatusCode,
		RetryAfter: transport.RetryAfter(h.Get("Retry-After")),
		CallID:     call,
		RequestID:  clean(h.Get("Request-Id")),
		link:       r.link != "",
	}
	if e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden {
		e.Challenge = clean(h.Get("Www-Authenticate"))
	}
	var answer struct {
		Error struct{ Code, Message string }
	}
	switch {
	case json.Unmarshal(body, &answer) == nil:
		e.Code, e.Text = clean(answer.Error.Code), clean(answer.Error.Message)
	case !strings.HasPrefix(strings.TrimSpace(string(body)), "<"): // else it is a page of some gateway
		e.Text = clean(string(body))
	}
	return e
}

// maxText is how many characters of the service's words are kept.
const maxText = 2000

func clean(s string) string { return transport.Clean(s, maxText) }

// passing tells whether the answer may be another the next time. UnknownError
// without a word of explanation is seen when the service has trouble.
func (e *StatusError) passing() bool {
	return transport.Passing(e.Status) || e.Status == http.StatusBadRequest && e.Code == "UnknownError" && e.Text == ""
}

const useExchange = "use backend=exchange"

// wrongAddress is the refusal to send a token to an address that is none.
func wrongAddress(address string) error {
	return noAccess(&auditlog.Refusal{
		Problem: fmt.Sprintf("the address of Microsoft Graph, %q, is not an https:// URL", clean(address)),
		Advice:  "whoever runs this bot corrects graph_url: in its settings",
	})
}

func nationalCloud(host string) error {
	return noAccess(&auditlog.Refusal{
		Problem: "Microsoft offers the audit log query API of Graph only in the global cloud, and " + host + " is not of it",
		Advice:  useExchange,
	})
}

func noSites() error {
	return noAccess(&auditlog.Refusal{
		Problem: "Microsoft Graph cannot search by site_ids",
		Advice:  useExchange + ", or leave out site_ids and give the site's address as object_ids, with /* at its end",
	})
}

// noAccess marks a refusal with which any other search would end alike.
func noAccess(r *auditlog.Refusal) error { return fmt.Errorf("%w: %w", auditlog.ErrNoAccess, r) }

// refusal says what an error means to an analyst, where it means anything to
// them. Errors of the token and of a context pass unchanged.
func (t *Tenant) refusal(err error) error {
	if _, ok := errors.AsType[*auditlog.Refusal](err); ok {
		return err
	}
	var r *auditlog.Refusal
	lost := false
	if e, ok := errors.AsType[*StatusError](err); ok {
		r = t.statusRefusal(e)
		lost = e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
	} else if e, ok := errors.AsType[*transport.Unreachable](err); ok {
		r = e.Refusal("Microsoft Graph", "graph_url:")
	} else if e, ok := errors.AsType[*failed](err); ok {
		r = &auditlog.Refusal{
			Problem: "Microsoft Graph has ended the search without a result (" + e.status + "), twice",
			Advice:  "try again in some minutes, with a shorter range; or " + useExchange,
		}
	} else if e, ok := errors.AsType[*unfinished](err); ok {
		r = &auditlog.Refusal{
			Problem: fmt.Sprintf("Microsoft Graph has not finished the search in %v", e.age.Round(time.Minute)),
			Advice:  "try again later: Microsoft goes on with it; or " + useExchange,
		}
	} else if _, ok := errors.AsType[*unreadable](err); ok {
		r = &auditlog.Refusal{
			Problem: "Microsoft Graph answered with something that cannot be read",
			Advice:  "try again in some minutes; if it stays, check that no proxy on the way to " + t.URL + " answers in its place",
		}
	} else if _, ok := errors.AsType[*linkRefused](err); ok {
		r = &auditlog.Refusal{
			Problem: "Microsoft Graph does not give out the further pages of this search",
			Advice:  "try again, with a shorter range; or " + useExchange,
		}
	} else {
		return err
	}
	r.Err = err
	if lost {
		return noAccess(r)
	}
	return r
}

var typeUnknown = regexp.MustCompile(`Requested value '([^']*)' was not found`)

// statusRefusal is the row of the service's errors that e is.
func (t *Tenant) statusRefusal(e *StatusError) *auditlog.Refusal {
	words := cmp.Or(e.Text, e.Code)
	wrongType := typeUnknown.FindStringSubmatch(e.Text)
	switch {
	case e.Status == http.StatusUnauthorized && strings.Contains(strings.ToLower(e.Text+e.Challenge), "audience"):
		return &auditlog.Refusal{
			Problem: "Microsoft Graph refused the sign-in: its token is for another service",
			Advice:  "whoever runs this bot checks graph_url: and graph_client_id: in its settings; then " + transport.SignInAgain,
		}
	case e.Status == http.StatusUnauthorized:
		return &auditlog.Refusal{
			Problem: "Microsoft Graph refused the sign-in: it has expired, was revoked, or gives no access to Microsoft Graph",
			Advice:  transport.SignInAgain,
		}
	case e.Status == http.StatusForbidden:
		return &auditlog.Refusal{
			Problem: "who is signed in may not search the audit log through Microsoft Graph" + transport.Said(words),
			Advice: `an Entra administrator gives the application of graph_client_id: the permission AuditLogsQuery.Read.All, with consent: the delegated one, or that for applications if it signs in as itself; ` +
				`an account needs the role "View-Only Audit Logs" or "Audit Logs" in Microsoft Purview as well; then ` + transport.SignInAgain + "; or " + useExchange,
		}
	case e.Status == http.StatusTooManyRequests:
		return t.throttledRefusal(e)
	case e.passing():
		return &auditlog.Refusal{
			Problem: fmt.Sprintf("Microsoft Graph has a failure of its own (%d)%s", e.Status, transport.Said(words)) + transport.Asking(e.RetryAfter),
			Advice:  "try again in some minutes; https://status.cloud.microsoft tells whether Microsoft knows of it; or " + useExchange,
		}
	case gone(e) && !e.link:
		return &auditlog.Refusal{
			Problem: "Microsoft Graph does not know the search any more that it was asked for",
			Advice:  "try again; or " + useExchange,
		}
	case versionUnknown(e):
		return &auditlog.Refusal{
			Problem: fmt.Sprintf("Microsoft Graph offers this tenant no audit log queries (%d)%s", e.Status, transport.Said(words)),
			Advice:  useExchange + "; if it should be there, whoever runs this bot checks graph_url: in its settings",
		}
	case wrongType != nil:
		return &auditlog.Refusal{
			Problem: fmt.Sprintf("Microsoft Graph knows no record_type %q", clean(wrongType[1])),
			Advice:  useExchange + ", or leave it out",
		}
	}
	return &auditlog.Refusal{
		Problem: fmt.Sprintf("Microsoft Graph refused the request (%d)%s", e.Status, transport.Said(words)),
		Advice:  "change the arguments that it names, or " + useExchange + "; if it names none, give whoever runs this bot the id " + e.CallID,
	}
}

func (t *Tenant) throttledRefusal(e *StatusError) *auditlog.Refusal {
	if e.Method != http.MethodPost {
		return &auditlog.Refusal{
			Problem: "Microsoft Graph has had too many requests from this tenant" + transport.Asking(e.RetryAfter),
			Advice:  "try again later; fewer searches at the same time help",
		}
	}
	used, limit := t.Budget()
	return &auditlog.Refusal{
		Problem: "Microsoft Graph takes no more audit log queries from this tenant for now" + transport.Asking(e.RetryAfter),
		Advice: fmt.Sprintf("try again later, or %s: a tenant may submit about %d queries in 24 hours, all its programs together, of which this one submitted %d",
			useExchange, limit, used),
	}
}
