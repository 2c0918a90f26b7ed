package auditlog

import (
	"bytes"
	"cmp"
	"encoding/json"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A View is a record decoded once, to ask many fields of. The zero View has
// none, and neither has that of an unreadable record. It is not safe for use by
// several goroutines.
//
// A field is named by a path. That is one of [VirtualFields] ("ip"), a field of
// AuditData ("Operation"), or one further down, with periods between the names:
//
//	Item.Subject                               of an object
//	Parameters.ForwardTo                       of a list of Name and Value: the Value
//	ModifiedProperties.Role.DisplayName        of Name, NewValue and OldValue: the NewValue
//	ModifiedProperties.Role.DisplayName.OldValue
//	AffectedItems.Subject                      of any other list: that of each element
//	Actor.0.ID                                 of its first element
//
// A name that the record has exactly so comes first; else upper and lower case
// do not matter, since exports of other tools have the names in lower case.
type View struct {
	Record  Record
	fields  fields
	decoded map[string]any // by name in fields
}

// View decodes the record.
func (r Record) View() View {
	return View{Record: r, fields: r.fields(), decoded: map[string]any{}}
}

// virtualFields unify what workloads scatter.
var virtualFields = []string{"app", "ip", "result", "session", "time", "user"}

// VirtualFields are the names of the fields that every record can be asked for,
// whatever workload wrote it: app, ip, result, session, time, user.
func VirtualFields() []string { return slices.Clone(virtualFields) }

// Get is the value at a path: a string, bool, [json.Number], []any,
// map[string]any, or for "time" a [time.Time]. Where there is nothing, null, or
// a virtual field without a value, ok is false. At the path "" is the record
// itself; of an unreadable one, its text.
func (v View) Get(path string) (value any, ok bool) {
	if path == "" {
		return v.whole()
	}
	if value, ok := v.virtual(path); ok {
		return value, value != nil
	}
	for name, rest := range heads(path) {
		if key, ok := v.key(name); ok {
			if value, ok := Member(v.value(key), rest); ok && value != nil {
				return value, true
			}
		}
	}
	if value, ok := v.virtual(strings.ToLower(path)); ok {
		return value, value != nil
	}
	return nil, false
}

// Text is the value at a path as text: numbers with the digits that Microsoft
// sent, times in UTC as in RFC 3339, objects and lists as their JSON, which on
// the top level are the bytes that Microsoft sent. Nothing is "".
func (v View) Text(path string) string {
	if path == "" {
		return string(v.Record.Raw)
	}
	if !slices.Contains(virtualFields, path) {
		if key, ok := v.key(path); ok {
			return text(v.fields[key])
		}
	}
	value, _ := v.Get(path)
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	case time.Time:
		return value.Format(time.RFC3339Nano)
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // it was decoded from JSON
	return strings.TrimSpace(b.String())
}

func (v View) whole() (any, bool) {
	if v.Record.Unreadable {
		return text(v.Record.Raw), true
	}
	object := make(map[string]any, len(v.fields))
	for key := range v.fields {
		object[key] = v.value(key)
	}
	return object, v.fields != nil
}

// Names are the names that may follow path, sorted: of the fields of an object,
// or of the elements of a list of Name and Value. Those of the path "" are the
// fields of the record, without the virtual ones.
func (v View) Names(path string) []string {
	if path == "" {
		return slices.Sorted(maps.Keys(v.fields))
	}
	value, _ := v.Get(path)
	var names []string
	switch value := value.(type) {
	case map[string]any:
		names = slices.Collect(maps.Keys(value))
	case []any:
		for _, element := range value {
			if object, ok := element.(map[string]any); ok && isPair(object) {
				name, _ := pairName(object)
				names = append(names, name)
			} else if ok {
				names = slices.AppendSeq(names, maps.Keys(object))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// virtual is the value of a virtual field, nil if this record has none; ok
// tells whether there is such a field.
func (v View) virtual(name string) (value any, ok bool) {
	s := ""
	switch name {
	case "app":
		s = v.App().String()
	case "ip":
		s = v.IP()
	case "result":
		s = v.Result()
	case "session":
		s = v.Session()
	case "time":
		if v.Record.Time.IsZero() {
			return nil, true
		}
		return v.Record.Time, true
	case "user":
		s = v.User()
	default:
		return nil, false
	}
	if s == "" {
		return nil, true
	}
	return s, true
}

// key is the name of a top-level field as this record writes it.
func (v View) key(name string) (string, bool) { return spelling(v.fields, name) }

// value decodes a top-level field, once.
func (v View) value(key string) any {
	if value, ok := v.decoded[key]; ok {
		return value
	}
	decoder := json.NewDecoder(bytes.NewReader(v.fields[key]))
	decoder.UseNumber()
	var value any
	_ = decoder.Decode(&value) // it is part of valid JSON
	v.decoded[key] = value
	return value
}

// spelling is the key of m that is meant by name: that very one, else the one
// in lower case, else one that differs only in upper and lower case.
func spelling[T any](m map[string]T, name string) (string, bool) {
	for _, exact := range []string{name, strings.ToLower(name)} {
		if _, ok := m[exact]; ok {
			return exact, true
		}
	}
	best, found := "", false
	for key := range m {
		if strings.EqualFold(key, name) && (!found || key < best) {
			best, found = key, true
		}
	}
	return best, found
}

// maxDots bounds the ways in which a path can be read.
const maxDots = 6

// heads are the ways to divide a path into a first name and the rest, the
// longest name first: names may have periods in them.
func heads(path string) iter.Seq2[string, string] {
	return func(yield func(name, rest string) bool) {
		if strings.Count(path, ".") > maxDots || !yield(path, "") {
			return
		}
		for end := strings.LastIndexByte(path, '.'); end > 0; end = strings.LastIndexByte(path[:end], '.') {
			if rest := path[end+1:]; rest != "" && !yield(path[:end], rest) {
				return
			}
		}
	}
}

// Member is what stands at a path below a value that [View.Get] gave, read as
// [View] says. That of the path "" is the value itself.
func Member(value any, path string) (any, bool) {
	if path == "" {
		return value, true
	}
	for name, rest := range heads(path) {
		if found, ok := member(value, name, rest); ok {
			return found, true
		}
	}
	return nil, false
}

func member(value any, name, rest string) (any, bool) {
	switch value := value.(type) {
	case map[string]any:
		if key, ok := spelling(value, name); ok {
			return Member(value[key], rest)
		}
	case []any:
		if i, err := strconv.Atoi(name); err == nil {
			if i < 0 || i >= len(value) {
				return nil, false
			}
			return Member(value[i], rest)
		}
		if isPairs(value) {
			return namedElement(value, name, rest)
		}
		return memberOfEach(value, name, rest)
	}
	return nil, false
}

// namedElement is the value of the first element whose Name is as asked, or
// what stands at rest in that element.
func namedElement(list []any, name, rest string) (any, bool) {
	for _, element := range list {
		pair, _ := element.(map[string]any)
		if has, ok := pairName(pair); !ok || !strings.EqualFold(has, name) {
			continue
		}
		if rest != "" {
			return Member(pair, rest)
		}
		for _, field := range []string{"Value", "NewValue"} {
			if key, ok := spelling(pair, field); ok {
				return pair[key], true
			}
		}
		return pair, true
	}
	return nil, false
}

// memberOfEach is a list of what the elements of list have there. Lists within
// it are joined.
func memberOfEach(list []any, name, rest string) (any, bool) {
	var all []any
	for _, element := range list {
		found, ok := member(element, name, rest)
		if inner, isList := found.([]any); isList {
			all = append(all, inner...)
		} else if ok && found != nil {
			all = append(all, found)
		}
	}
	return all, len(all) > 0
}

// isPairs tells whether a list is one of pairs; its first element tells.
func isPairs(list []any) bool {
	if len(list) == 0 {
		return false
	}
	object, ok := list[0].(map[string]any)
	return ok && isPair(object)
}

// isPair tells whether an object is a Name with a Value, or with an OldValue
// and a NewValue.
func isPair(object map[string]any) bool {
	if _, ok := pairName(object); !ok {
		return false
	}
	for _, field := range []string{"Value", "NewValue", "OldValue", "value", "newvalue", "oldvalue"} {
		if _, ok := object[field]; ok {
			return true
		}
	}
	return false
}

func pairName(object map[string]any) (string, bool) {
	name, ok := object["Name"].(string)
	if !ok {
		name, ok = object["name"].(string)
	}
	return name, ok
}

// IP is the client's address, from whichever of the four places has one that
// can be read; see [ParseAddress]. "" if none has.
func (v View) IP() string {
	for _, name := range addressFields {
		if address, ok := ParseAddress(text(v.fields.get(name))); ok {
			return address.String()
		}
	}
	return ""
}

// ParseAddress reads an address as records write it: 203.0.113.9,
// 203.0.113.9:443, 2001:db8::9, [2001:db8::9]:443, ::ffff:203.0.113.9. Port and
// zone are dropped, an IPv4 address within IPv6 is an IPv4 address.
func ParseAddress(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	if withPort, err := netip.ParseAddrPort(s); err == nil {
		return plainAddress(withPort.Addr()), true
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if address, err := netip.ParseAddr(s); err == nil {
		return plainAddress(address), true
	}
	// Seen in records: "ffff:203.0.113.9", and a port after ::ffff: without brackets.
	_, v4, ok := strings.Cut(strings.ToLower(s), "ffff:")
	if !ok || strings.Contains(v4, "ffff:") {
		return netip.Addr{}, false
	}
	v4, _, _ = strings.Cut(v4, ":")
	address, err := netip.ParseAddr(v4)
	return address, err == nil
}

func plainAddress(a netip.Addr) netip.Addr { return a.WithZone("").Unmap() }

// Session is the id of the sign-in session that the record belongs to, from its
// three places: SessionId, AppAccessContext and DeviceProperties. "" if it has
// none.
func (v View) Session() string {
	return canonicalID(v.first("SessionId", "AppAccessContext.AADSessionId", "DeviceProperties.SessionId"))
}

// User is who did it: the UserId, as it is written.
func (v View) User() string { return v.Text("UserId") }

// App is the program that was used, from AppId, ApplicationId, ClientAppId or
// AppAccessContext.
func (v View) App() App {
	return FindApp(v.first("AppId", "ApplicationId", "ClientAppId", "AppAccessContext.ClientAppId"))
}

// first is the text of the first of these fields that has one.
func (v View) first(paths ...string) string {
	for _, path := range paths {
		if s := strings.TrimSpace(v.Text(path)); s != "" {
			return s
		}
	}
	return ""
}

// Result says how it ended: "success", "failure", "failure: " and the reason,
// or, of what is no sign-in, another ResultStatus as it is written. "" means
// that the record does not say.
//
// Of a sign-in ResultStatus tells nothing: it says Succeeded or Success of
// failed ones too. LogonError and ErrorNumber tell, and the operation:
// "failure: InvalidUserNameOrPassword (50126)".
func (v View) Result() string {
	operation, reason := v.Text("Operation"), v.Text("LogonError")
	code := v.first("ErrorNumber", "ErrorCode")
	switch {
	case strings.EqualFold(operation, "UserLoginFailed"):
		return failure(reason, code)
	case strings.EqualFold(operation, "UserLoggedIn"):
		if code == keepMeSignedIn || reason == "" && (code == "" || code == "0") {
			return "success"
		}
		return failure(reason, code)
	case reason != "":
		return failure(reason, code)
	case signInTypes[v.Text("RecordType")]:
		switch code {
		case "":
			return ""
		case "0":
			return "success"
		}
		return failure("", code)
	}
	return outcome(v.Text("ResultStatus"))
}

// keepMeSignedIn is the error number that a sign-in has which succeeded and was
// followed by the question whether to stay signed in.
const keepMeSignedIn = "50140"

// signInTypes are the record types of sign-ins, as records and other tools'
// exports write them.
var signInTypes = map[string]bool{
	"9": true, "AzureActiveDirectoryAccountLogon": true,
	"15": true, "AzureActiveDirectoryStsLogon": true,
}

// failure is the result of a sign-in that failed, with what is known of the
// reason: Microsoft's name for it, else its meaning, and the number.
func failure(reason, code string) string {
	if number, err := strconv.Atoi(code); err == nil && reason == "" {
		known, _ := FindSignInError(number)
		reason = cmp.Or(known.Name, known.Meaning)
	}
	result := "failure"
	if reason != "" {
		result += ": " + reason
	}
	if code != "" && code != "0" {
		result += " (" + code + ")"
	}
	return result
}

// outcome is a ResultStatus in the words of [View.Result]. Workloads write it
// as they like.
func outcome(status string) string {
	switch strings.ToLower(status) {
	case "true", "success", "succeeded":
		return "success"
	case "false", "fail", "failed", "failure":
		return "failure"
	}
	return status
}
