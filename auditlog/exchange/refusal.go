package exchange

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"auditbot/auditlog"
)

// A StatusError is an answer with another status than 200 and 204. It holds
// what Microsoft's support asks for, and no token.
type StatusError struct {
	Cmdlet      string
	Status      int
	Text        string        // the service's words for people, "" if it sent none; cleaned, at most 16,000 characters
	Type        string        // the exception behind it, such as "...AdminApi.CommandInvocation.ParameterTransformationException"; may be ""
	Diagnostics string        // headers x-ms-diagnostics and WWW-Authenticate
	RetryAfter  time.Duration // how long it asked to be left alone, or 0
	CallID      string        // the client-request-id that we sent
	RequestID   string        // the request-id that the service gave it
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: %d %s%s%s (client-request-id %s, request-id %s)", e.Cmdlet, e.Status, http.StatusText(e.Status),
		said(e.Text), said(e.Diagnostics), e.CallID, cmp.Or(e.RequestID, "none"))
}

func newStatusError(resp *http.Response, body []byte, cmdlet, call string) *StatusError {
	h := resp.Header
	e := &StatusError{
		Cmdlet:     cmdlet,
		Status:     resp.StatusCode,
		RetryAfter: retryAfter(h.Get("Retry-After")),
		CallID:     call,
		RequestID:  clean(h.Get("Request-Id")),
	}
	e.Text, e.Type = serviceText(body)
	e.Type = cmp.Or(e.Type, clean(h.Get("X-ExceptionType")))
	e.Diagnostics = clean(h.Get("X-Ms-Diagnostics"))
	if e.Status == http.StatusUnauthorized {
		e.Diagnostics = clean(e.Diagnostics + " " + h.Get("Www-Authenticate"))
	}
	return e
}

// retryAfter reads a Retry-After header (RFC 9110, section 10.2.3).
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(seconds, 0), 86400)) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(time.Until(date), 0)
	}
	return 0
}

// serviceText finds the words for people in an error's body. The message
// proper is always the same ("Error executing cmdlet"), so the most deeply
// hidden one counts; in front of it may stand the type, between bars.
func serviceText(body []byte) (text, kind string) {
	var e struct {
		Error struct {
			Message    string
			Details    []struct{ Message string }
			InnerError struct {
				InternalException struct{ Message, Type string }
			}
		}
	}
	if json.Unmarshal(body, &e) != nil {
		if strings.HasPrefix(strings.TrimSpace(string(body)), "<") {
			return "", "" // a page of some gateway
		}
		return clean(string(body)), ""
	}
	inner := e.Error.InnerError.InternalException
	text, kind = inner.Message, inner.Type
	if text == "" && len(e.Error.Details) > 0 {
		text = e.Error.Details[0].Message
	}
	text = cmp.Or(text, e.Error.Message)
	if m := typePrefix.FindStringSubmatch(text); m != nil {
		text, kind = text[len(m[0]):], cmp.Or(kind, m[1])
	}
	return clean(text), kind
}

var typePrefix = regexp.MustCompile(`^[\w.-]*\|([\w.+-]+)\|`)

// maxText is how many characters of the service's words are kept: the list of
// valid record types has about 10,000.
const maxText = 16_000

// clean makes text from outside fit for one line: no control characters, no
// characters that turn the direction of writing, single blanks, an end.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	return shorten(s, maxText)
}

// shorten cuts s to n characters.
func shorten(s string, n int) string {
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return s
}

// passingTypes are the exceptions that Microsoft's module repeats a call
// after, whatever the status.
var passingTypes = []string{
	"DCOverloadedException", "SuitabilityDirectoryException", "ServerInMMException", "ADServerSettingsChangedException",
	"StorageTransientException", "CmdletProxyNotAvailableFailure", "ServerBusyException", "TransientException",
	"BackendCommunicationException",
}

func (e *StatusError) passing() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return e.throttled() || slices.ContainsFunc(passingTypes, func(name string) bool {
		return strings.Contains(e.Type, name) || strings.Contains(e.Text, name)
	})
}

func (e *StatusError) throttled() bool {
	return e.Status == http.StatusTooManyRequests || strings.Contains(e.Text, "maximum number of concurrent requests")
}

// unserved tells whether the call was turned away before the cmdlet ran.
func (e *StatusError) unserved() bool { return e.Status == http.StatusTooManyRequests }

// An unreachable is a call to which no answer came.
type unreachable struct {
	host string
	call string // client-request-id
	err  error
}

func (e *unreachable) Error() string {
	return fmt.Sprintf("asking %s (client-request-id %s): %v", e.host, e.call, e.err)
}

func (e *unreachable) Unwrap() error { return e.err }

func transportError(ctx context.Context, host, call string, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // the URL may be a link with a long token of the service's
	}
	if ctx.Err() != nil {
		return fmt.Errorf("asking %s (client-request-id %s): %w", host, call, context.Cause(ctx))
	}
	return &unreachable{host, call, err}
}

// passing is false for what stays wrong: a name that does not exist, a
// certificate that is not trusted.
func (e *unreachable) passing() bool {
	dns, ok := errors.AsType[*net.DNSError](e.err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](e.err)
	return !untrusted && (!ok || !dns.IsNotFound)
}

// refusal says what an error means to an analyst, where it means anything to
// them. Errors of the token and of a context pass unchanged.
func (t *Tenant) refusal(err error) error {
	if _, ok := errors.AsType[*auditlog.Refusal](err); ok {
		return err
	}
	var r *auditlog.Refusal
	if e, ok := errors.AsType[*StatusError](err); ok {
		r = e.refusal()
	} else if e, ok := errors.AsType[*unreachable](err); ok {
		r = e.refusal()
	} else if e, ok := errors.AsType[*givenUp](err); ok {
		r = &auditlog.Refusal{
			Problem: "Exchange Online gave up on the search, which does not mean that there are no records" + said(e.reason),
			Advice:  "try again in some minutes, with a shorter range or with user_ids or operations given",
		}
	} else if _, ok := errors.AsType[*unreadable](err); ok {
		r = &auditlog.Refusal{
			Problem: "Exchange Online answered with something that cannot be read",
			Advice:  "try again in some minutes; if it stays, check that no proxy on the way to " + t.URL + " answers in its place",
		}
	} else if _, ok := errors.AsType[*linkRefused](err); ok {
		r = &auditlog.Refusal{
			Problem: "Exchange Online does not give out the further pages of this search",
			Advice:  "try again, with a shorter range",
		}
	} else {
		return err
	}
	r.Err = err
	return r
}

func (e *unreachable) refusal() *auditlog.Refusal {
	r := &auditlog.Refusal{
		Problem: "Exchange Online (" + e.host + ") could not be reached",
		Advice:  "whoever runs this bot checks the network, the proxy and the firewall between it and " + e.host + "; then try again",
	}
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](e.err)
	dns, unnamed := errors.AsType[*net.DNSError](e.err)
	timeout, ok := errors.AsType[net.Error](e.err)
	switch {
	case untrusted:
		r.Problem = "the certificate of " + e.host + " is not trusted"
		r.Advice = "whoever runs this bot checks whether a proxy on the way replaces certificates, and adds its authority to the machine's"
	case unnamed && dns.IsNotFound:
		r.Problem += ": there is no such host"
		r.Advice = "whoever runs this bot checks exchange_url: in its settings, and the DNS"
	case ok && timeout.Timeout():
		r.Problem = "Exchange Online (" + e.host + ") did not answer in time"
		r.Advice = "try again with a shorter range; if it stays, whoever runs this bot checks the network between it and " + e.host
	case errors.Is(e.err, syscall.ECONNREFUSED):
		r.Problem += ": the connection was refused"
	case errors.Is(e.err, syscall.ECONNRESET), errors.Is(e.err, io.EOF), errors.Is(e.err, io.ErrUnexpectedEOF):
		r.Problem = "Exchange Online (" + e.host + ") broke off the connection"
		r.Advice = "try again in some minutes, with a shorter range"
	}
	return r
}

const signInAgain = "sign in again: !o365-auditlog-auth-reset, then !o365-auditlog-auth-start"

// refusal is the row of the service's errors that e is.
func (e *StatusError) refusal() *auditlog.Refusal {
	switch {
	case e.roleMissing():
		return e.roleRefusal()
	case e.Status == http.StatusUnauthorized && strings.Contains(strings.ToLower(e.Diagnostics), "audience"):
		return &auditlog.Refusal{
			Problem: "Exchange Online refused the sign-in: its token is for another service",
			Advice:  "whoever runs this bot checks exchange_url: and client_id: in its settings; then " + signInAgain,
		}
	case e.Status == http.StatusUnauthorized:
		return &auditlog.Refusal{
			Problem: "Exchange Online refused the sign-in: it has expired, was revoked, or gives no access to Exchange Online",
			Advice:  signInAgain + "; if it stays, the account or the app has no permission for Exchange Online",
		}
	case e.throttled():
		return &auditlog.Refusal{
			Problem: "Exchange Online has had too many requests from this tenant" + asking(e.RetryAfter),
			Advice:  "try again later; fewer searches at the same time help",
		}
	case e.passing():
		return &auditlog.Refusal{
			Problem: fmt.Sprintf("Exchange Online has a failure of its own (%d)%s", e.Status, said(e.Text)) + asking(e.RetryAfter),
			Advice:  "try again in some minutes, with a shorter range; https://status.cloud.microsoft tells whether Microsoft knows of it",
		}
	case enumWrong.MatchString(e.Text):
		return e.enumRefusal()
	case strings.Contains(e.Type, "AmbiguousParameterSet") || strings.Contains(e.Text, "Invalid cmdlet parameters specified"):
		return e.parameterRefusal()
	case e.Status == http.StatusNotFound, e.Status == http.StatusMethodNotAllowed, e.Status/100 == 3:
		return &auditlog.Refusal{
			Problem: fmt.Sprintf("there is no Exchange Online for this tenant at this address (%d)%s", e.Status, said(e.Text)),
			Advice:  "whoever runs this bot checks tenant: and exchange_url: in its settings",
		}
	}
	return &auditlog.Refusal{
		Problem: fmt.Sprintf("Exchange Online refused the request (%d)%s", e.Status, said(e.Text)),
		Advice:  "change the arguments that it names; if it names none, give whoever runs this bot the id " + e.CallID,
	}
}

// said adds the service's words to a sentence of ours.
func said(text string) string {
	if text == "" {
		return ""
	}
	return ": " + shorten(strings.TrimRight(text, ". "), 500)
}

func asking(wait time.Duration) string {
	if wait == 0 {
		return ""
	}
	return fmt.Sprintf(" and asks to be left alone for %v", wait.Round(time.Second))
}

// roleMissing tells whether the person may not run the cmdlet. The service has
// several ways to say so, one of them a body that is nothing but NULs.
func (e *StatusError) roleMissing() bool {
	for _, words := range []string{"is not recognized", "assigned to any management roles", "CmdletAccessDenied"} {
		if strings.Contains(e.Text, words) || strings.Contains(e.Type, words) {
			return true
		}
	}
	return e.Status == http.StatusForbidden
}

func (e *StatusError) roleRefusal() *auditlog.Refusal {
	cmdlet := e.Cmdlet
	if cmdlet == moduleFile { // it is refused for the same reason
		cmdlet = searchCmdlet
	}
	r := &auditlog.Refusal{
		Problem: "this account may not run " + cmdlet + said(cmp.Or(e.Text, e.Diagnostics)),
		Advice: `an Exchange administrator gives it the role "View-Only Audit Logs" or "Audit Logs" in the Exchange admin centre (the one in Purview is not enough); ` +
			"once that has come into effect, which can take an hour, " + signInAgain,
	}
	if cmdlet != searchCmdlet {
		r.Advice = "an Exchange administrator gives the account a role that contains it; " + signInAgain
	}
	return r
}

var (
	enumWrong     = regexp.MustCompile(`(?s)Cannot convert value "(.*?)" to type .*enumerator names and try again: *(.*)`)
	enumParameter = regexp.MustCompile(`on parameter '(\w+)'`)
	unknownName   = regexp.MustCompile(`Invalid cmdlet parameters specified\W+([\w, ]+)`)
)

// argumentOf is what people call a parameter of the cmdlet.
var argumentOf = map[string]string{"RecordType": "record_type", "SessionCommand": "session command"}

func (e *StatusError) enumRefusal() *auditlog.Refusal {
	found := enumWrong.FindStringSubmatch(e.Text)
	value, names := found[1], strings.Split(strings.TrimRight(found[2], ". …"), ",")
	parameter := "argument"
	if m := enumParameter.FindStringSubmatch(e.Text); m != nil {
		parameter = cmp.Or(argumentOf[m[1]], m[1])
	}
	return &auditlog.Refusal{
		Problem: fmt.Sprintf("Exchange Online knows no %s %q", parameter, value),
		Advice:  "use one of: " + nearestNames(value, names),
	}
}

// maxNames is how many of the valid names a refusal lists.
const maxNames = 12

// nearestNames lists names, those that begin most like value first, and says
// how many it leaves out.
func nearestNames(value string, names []string) string {
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(alike(b, value), alike(a, value)) })
	if len(names) <= maxNames {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s, and %d more", strings.Join(names[:maxNames], ", "), len(names)-maxNames)
}

// alike is how many letters two names have in common at their start.
func alike(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func (e *StatusError) parameterRefusal() *auditlog.Refusal {
	name := "one of the arguments"
	if m := unknownName.FindStringSubmatch(e.Text); m != nil {
		name = "the parameter " + strings.TrimSpace(m[1])
	}
	return &auditlog.Refusal{
		Problem: "Exchange Online does not accept " + name + " from this account",
		Advice:  "leave the argument out; or an Exchange administrator checks whether the account's role was cut down and lacks the parameter",
	}
}
