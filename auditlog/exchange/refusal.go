package exchange

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/internal/transport"
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

	application bool // it was an application that asked, as itself
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: %d %s%s%s (client-request-id %s, request-id %s)", e.Cmdlet, e.Status, http.StatusText(e.Status),
		transport.Said(e.Text), transport.Said(e.Diagnostics), e.CallID, cmp.Or(e.RequestID, "none"))
}

func newStatusError(resp *http.Response, body []byte, cmdlet, call string, token auditlog.Token) *StatusError {
	h := resp.Header
	e := &StatusError{
		Cmdlet:     cmdlet,
		Status:     resp.StatusCode,
		RetryAfter: transport.RetryAfter(h.Get("Retry-After")),
		CallID:     call,
		RequestID:  clean(h.Get("Request-Id")),

		application: token.Account == "",
	}
	e.Text, e.Type = serviceText(body)
	e.Type = cmp.Or(e.Type, clean(h.Get("X-ExceptionType")))
	e.Diagnostics = clean(h.Get("X-Ms-Diagnostics"))
	if e.Status == http.StatusUnauthorized {
		e.Diagnostics = clean(e.Diagnostics + " " + h.Get("Www-Authenticate"))
	}
	return e
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

func clean(s string) string { return transport.Clean(s, maxText) }

// passingTypes are the exceptions that Microsoft's module repeats a call
// after, whatever the status.
var passingTypes = []string{
	"DCOverloadedException", "SuitabilityDirectoryException", "ServerInMMException", "ADServerSettingsChangedException",
	"StorageTransientException", "CmdletProxyNotAvailableFailure", "ServerBusyException", "TransientException",
	"BackendCommunicationException",
}

func (e *StatusError) passing() bool {
	return transport.Passing(e.Status) || e.throttled() || slices.ContainsFunc(passingTypes, func(name string) bool {
		return strings.Contains(e.Type, name) || strings.Contains(e.Text, name)
	})
}

func (e *StatusError) throttled() bool {
	return e.Status == http.StatusTooManyRequests || strings.Contains(e.Text, "maximum number of concurrent requests")
}

// unserved tells whether the call was turned away before the cmdlet ran.
func (e *StatusError) unserved() bool { return e.Status == http.StatusTooManyRequests }

// refusal says what an error means to an analyst, where it means anything to
// them. Errors of the token and of a context pass unchanged.
func (t *Tenant) refusal(err error) error {
	if _, ok := errors.AsType[*auditlog.Refusal](err); ok {
		return err
	}
	var r *auditlog.Refusal
	if e, ok := errors.AsType[*StatusError](err); ok {
		r = e.refusal()
	} else if e, ok := errors.AsType[*transport.Unreachable](err); ok {
		r = unreachedRefusal(e)
	} else if e, ok := errors.AsType[*givenUp](err); ok {
		r = &auditlog.Refusal{
			Problem: "Exchange Online gave up on the search, which does not mean that there are no records" + transport.Said(e.reason),
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

// unreachedRefusal is what it means that no answer came. A shorter range has
// the service work less.
func unreachedRefusal(e *transport.Unreachable) *auditlog.Refusal {
	r := e.Refusal("Exchange Online", "exchange_url:")
	switch transport.CauseOf(e.Err) {
	case transport.TimedOut:
		r.Advice = "try again with a shorter range; if it stays, whoever runs this bot checks the network between it and " + e.Host
	case transport.HungUp:
		r.Advice += ", with a shorter range"
	}
	return r
}

// refusal is the row of the service's errors that e is.
func (e *StatusError) refusal() *auditlog.Refusal {
	switch {
	case e.roleMissing() && e.application:
		return e.applicationRoleRefusal()
	case e.roleMissing():
		return e.roleRefusal()
	case e.Status == http.StatusUnauthorized:
		return e.tokenRefusal()
	case e.throttled():
		return &auditlog.Refusal{
			Problem: "Exchange Online has had too many requests from this tenant" + transport.Asking(e.RetryAfter),
			Advice:  "try again later; fewer searches at the same time help",
		}
	case e.passing():
		return &auditlog.Refusal{
			Problem: fmt.Sprintf("Exchange Online has a failure of its own (%d)%s", e.Status, transport.Said(e.Text)) + transport.Asking(e.RetryAfter),
			Advice:  "try again in some minutes, with a shorter range; https://status.cloud.microsoft tells whether Microsoft knows of it",
		}
	case enumWrong.MatchString(e.Text):
		return e.enumRefusal()
	case strings.Contains(e.Type, "AmbiguousParameterSet") || strings.Contains(e.Text, "Invalid cmdlet parameters specified"):
		return e.parameterRefusal()
	case e.Status == http.StatusNotFound, e.Status == http.StatusMethodNotAllowed, e.Status/100 == 3:
		return &auditlog.Refusal{
			Problem: fmt.Sprintf("there is no Exchange Online for this tenant at this address (%d)%s", e.Status, transport.Said(e.Text)),
			Advice:  "whoever runs this bot checks tenant: and exchange_url: in its settings",
		}
	}
	return &auditlog.Refusal{
		Problem: fmt.Sprintf("Exchange Online refused the request (%d)%s", e.Status, transport.Said(e.Text)),
		Advice:  "change the arguments that it names; if it names none, give whoever runs this bot the id " + e.CallID,
	}
}

// tokenRefusal is what a 401 means. An application gets another token by itself.
func (e *StatusError) tokenRefusal() *auditlog.Refusal {
	switch forAnother := strings.Contains(strings.ToLower(e.Diagnostics), "audience"); {
	case forAnother && e.application:
		return &auditlog.Refusal{
			Problem: "Exchange Online refused the application: its token is for another service",
			Advice:  "whoever runs this bot checks exchange_url: and client_id: in its settings",
		}
	case forAnother:
		return &auditlog.Refusal{
			Problem: "Exchange Online refused the sign-in: its token is for another service",
			Advice:  "whoever runs this bot checks exchange_url: and client_id: in its settings; then " + transport.SignInAgain,
		}
	case e.application:
		return &auditlog.Refusal{
			Problem: "Exchange Online refused the application: it has no permission there",
			Advice: "an Entra administrator gives it Exchange.ManageAsApp, and not Exchange.ManageAsAppV2 or Exchange.AdminAPI.ManageAsApp: App registrations, the application, " +
				"API permissions, Office 365 Exchange Online, Application permissions, then Grant admin consent; it needs a role as well; " + untilEffect,
		}
	}
	return &auditlog.Refusal{
		Problem: "Exchange Online refused the sign-in: it has expired, was revoked, or gives no access to Exchange Online",
		Advice:  transport.SignInAgain + "; if it stays, the account or the app has no permission for Exchange Online",
	}
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
	cmdlet := e.wanted()
	r := &auditlog.Refusal{
		Problem: "this account may not run " + cmdlet + transport.Said(cmp.Or(e.Text, e.Diagnostics)),
		Advice: `an Exchange administrator gives it the role "View-Only Audit Logs" or "Audit Logs" in the Exchange admin centre (the one in Purview is not enough); ` +
			"once that has come into effect, which can take an hour, " + transport.SignInAgain,
	}
	if cmdlet != searchCmdlet {
		r.Advice = "an Exchange administrator gives the account a role that contains it; " + transport.SignInAgain
	}
	return r
}

// untilEffect ends the advice of what an administrator does.
const untilEffect = "once that has come into effect, which can take an hour, try again"

// applicationRoleRefusal is what a missing role means to an application. There
// is nobody who could sign in again: it gets a new token by itself.
func (e *StatusError) applicationRoleRefusal() *auditlog.Refusal {
	role := `a role group in the Exchange admin centre that has the role "View-Only Audit Logs"`
	if e.wanted() != searchCmdlet {
		role = "a role group in the Exchange admin centre with a role that contains it"
	}
	return &auditlog.Refusal{
		Problem: "the application may not run " + e.wanted() + transport.Said(cmp.Or(e.Text, e.Diagnostics)),
		Advice: "besides its permission Exchange.ManageAsApp it needs a role: an Exchange administrator makes it known to Exchange (New-ServicePrincipal) and a member of " + role +
			", or an Entra administrator gives it a directory role such as Compliance Administrator, which can do much more; " + untilEffect,
	}
}

// wanted is the cmdlet that was to be run. The list of cmdlets is refused for
// the same reason as the search.
func (e *StatusError) wanted() string {
	if e.Cmdlet == moduleFile {
		return searchCmdlet
	}
	return e.Cmdlet
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
