package tenantsim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The type names that Exchange Online puts beside an error's text.
const (
	transformationError = "Microsoft.Exchange.AdminApi.CommandInvocation.ParameterTransformationException"
	parameterSetError   = "Microsoft.Exchange.AdminApi.CommandInvocation.AmbiguousParameterSetException"
	serviceError        = "Microsoft.Exchange.Admin.OData.Core.ODataServiceException"
)

const odataType = "application/json;odata.metadata=minimal;odata.streaming=true"

// cmdletError is the body that cmdlets fail with: the message proper is always
// the same, and what went wrong is the innermost one.
func cmdletError(status int, code, kind, text string) response {
	r := jsonResponse(status, odataType, map[string]any{"error": map[string]any{
		"code":    code,
		"message": "Invalid Operation",
		"innererror": map[string]any{
			"message":           "Invalid Operation",
			"type":              serviceError,
			"stacktrace":        "",
			"internalexception": map[string]any{"message": text, "type": kind, "stacktrace": ""},
		},
		"adminapi.warnings@odata.type": "#Collection(String)",
		"@adminapi.warnings":           []string{},
	}})
	r.set("Request-Id", newGUID())
	return r
}

// A badParameter is a parameter that a cmdlet does not take.
type badParameter struct{ kind, text string }

func (e *badParameter) response() response {
	if e.kind == transformationError {
		return cmdletError(http.StatusBadRequest, "BadRequest", e.kind, e.text)
	}
	r := jsonResponse(http.StatusBadRequest, odataType, map[string]any{"error": map[string]any{
		"code":    "BadRequest",
		"message": "Invalid Operation",
		"details": []any{map[string]any{"code": "Client", "target": "", "message": "|" + e.kind + "|" + e.text}},
		"innererror": map[string]any{
			"message":           "Invalid Operation",
			"type":              serviceError,
			"stacktrace":        "",
			"internalexception": map[string]any{"message": e.text, "type": e.kind, "stacktrace": ""},
		},
	}})
	r.set("Request-Id", newGUID())
	return r
}

// cannotConvert is the refusal of a value that is not of a parameter's type.
func cannotConvert(parameter string, value any, kind, why string) *badParameter {
	return &badParameter{transformationError, fmt.Sprintf(
		`Cannot process argument transformation on parameter '%s'. Cannot convert value "%v" to type "%s". Error: "%s"`, parameter, value, kind, why)}
}

// commonParameters are those of every cmdlet.
// https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_commonparameters
var commonParameters = []string{
	"Debug", "ErrorAction", "ErrorVariable", "InformationAction", "InformationVariable", "OutBuffer", "OutVariable",
	"PipelineVariable", "ProgressAction", "Verbose", "WarningAction", "WarningVariable",
}

// arguments are the parameters that a cmdlet was given. The first value that
// is wrong is in bad; what is read after it does not count.
type arguments struct {
	given map[string]any // by name in lower case
	bad   *badParameter
}

// newArguments takes the parameters that a cmdlet knows, whatever the case of
// their names, and refuses others.
func newArguments(parameters map[string]any, known []string) *arguments {
	a := &arguments{given: map[string]any{}}
	var unknown []string
	for name, value := range parameters {
		if strings.Contains(name, "@") {
			continue // an annotation of OData
		}
		named := func(k string) bool { return strings.EqualFold(k, name) }
		if !slices.ContainsFunc(known, named) && !slices.ContainsFunc(commonParameters, named) {
			unknown = append(unknown, name)
		}
		if value != nil {
			a.given[strings.ToLower(name)] = value
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		a.bad = &badParameter{parameterSetError,
			"Parameter set cannot be resolved using the specified named parameters. Invalid cmdlet parameters specified. " + strings.Join(unknown, ", ")}
	}
	return a
}

func (a *arguments) refuse(e *badParameter) {
	if a.bad == nil {
		a.bad = e
	}
}

func (a *arguments) value(name string) (any, bool) {
	v, ok := a.given[strings.ToLower(name)]
	return v, ok
}

// text is a string; a number is taken for its digits.
func (a *arguments) text(name string) string {
	v, ok := a.value(name)
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	if ok {
		a.refuse(cannotConvert(name, v, "System.String", "Cannot convert value to type System.String."))
	}
	return ""
}

// list is a string[]; a single string is a list of one, whatever commas are in
// it.
func (a *arguments) list(name string) []string {
	v, ok := a.value(name)
	many, isList := v.([]any)
	if ok && !isList {
		many = []any{v}
	}
	var all []string
	for _, item := range many {
		switch item := item.(type) {
		case string:
			all = append(all, item)
		case json.Number:
			all = append(all, item.String())
		default:
			a.refuse(cannotConvert(name, item, "System.String[]", "Cannot convert value to type System.String."))
		}
	}
	return all
}

// flag is a switch.
func (a *arguments) flag(name string) bool {
	v, ok := a.value(name)
	on, isBool := v.(bool)
	if ok && !isBool {
		a.refuse(cannotConvert(name, v, "System.Management.Automation.SwitchParameter", "Boolean parameters accept only Boolean values and numbers."))
	}
	return on
}

// number is an Int32 within a range.
func (a *arguments) number(name string, otherwise, low, high int) int {
	v, ok := a.value(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(fmt.Sprint(v))
	switch {
	case err != nil:
		a.refuse(cannotConvert(name, v, "System.Int32", "Input string was not in a correct format."))
	case n > high:
		a.refuse(&badParameter{parameterSetError, fmt.Sprintf(
			"Cannot validate argument on parameter '%s'. The %d argument is greater than the maximum allowed range of %d.", name, n, high)})
	case n < low:
		a.refuse(&badParameter{parameterSetError, fmt.Sprintf(
			"Cannot validate argument on parameter '%s'. The %d argument is less than the minimum allowed range of %d.", name, n, low)})
	}
	return n
}

// dateLayouts are the forms of a date that are known to be in use, and the one
// of the United States. Without a zone they are UTC.
var dateLayouts = []string{
	time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02 15:04",
	time.DateOnly, "1/2/2006 3:04:05 PM", "1/2/2006 15:04:05", "1/2/2006",
}

// date is an ExDateTime, which must be there.
func (a *arguments) date(name string) time.Time {
	v, ok := a.value(name)
	if !ok {
		a.refuse(&badParameter{parameterSetError,
			"Parameter set cannot be resolved using the specified named parameters. Missing mandatory parameters: " + name})
		return time.Time{}
	}
	s := strings.ToUpper(strings.TrimSpace(fmt.Sprint(v)))
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	a.refuse(cannotConvert(name, v, "Microsoft.Exchange.ExchangeSystem.ExDateTime", "String was not recognized as a valid DateTime."))
	return time.Time{}
}

// enum finds a name or number among names, as PowerShell does: in any case,
// and by a beginning that only one of them has. It returns the position, -1 if
// nothing was given, and whether the name was whole.
func (a *arguments) enum(name, kind string, numbers []int, names []string) (at int, whole bool) {
	given := a.text(name)
	if given == "" {
		return -1, true
	}
	if n, err := strconv.Atoi(given); err == nil {
		if i := slices.Index(numbers, n); i >= 0 {
			return i, true
		}
	}
	if i := slices.IndexFunc(names, func(s string) bool { return strings.EqualFold(s, given) }); i >= 0 {
		return i, true
	}
	begins := func(s string) bool {
		return len(s) > len(given) && strings.EqualFold(s[:len(given)], given)
	}
	first := slices.IndexFunc(names, begins)
	if first >= 0 && !slices.ContainsFunc(names[first+1:], begins) {
		return first, false
	}
	a.refuse(cannotConvert(name, given, kind, fmt.Sprintf(
		"Unable to match the identifier name %s to a valid enumerator name. Specify one of the following enumerator names and try again: %s",
		given, strings.Join(names, ", "))))
	return -1, false
}

// A command is the body of InvokeCommand.
type command struct {
	CmdletInput *struct {
		CmdletName string
		Parameters json.RawMessage
	}
}

var cmdletName = regexp.MustCompile(`^[A-Za-z]+-[A-Za-z]+$`)

// readCommand reads which cmdlet is to run, with what.
func readCommand(body []byte) (string, map[string]any, *response) {
	bad := func(text string) (string, map[string]any, *response) {
		r := cmdletError(http.StatusBadRequest, "BadRequest", serviceError, text)
		return "", nil, &r
	}
	var c command
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return bad("The request body is not an InvokeCommand payload.")
	}
	if c.CmdletInput == nil || !cmdletName.MatchString(c.CmdletInput.CmdletName) {
		return bad("CmdletInput names no cmdlet.")
	}
	var parameters map[string]any
	d = json.NewDecoder(bytes.NewReader(c.CmdletInput.Parameters))
	d.UseNumber()
	if err := d.Decode(&parameters); err != nil || parameters == nil {
		return bad("CmdletInput.Parameters is null or not an object.")
	}
	return c.CmdletInput.CmdletName, parameters, nil
}
