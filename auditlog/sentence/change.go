package sentence

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"auditbot/auditlog"
)

// A Change is a setting or a property that got a new value.
type Change struct {
	Name string // as Microsoft has it: "ForwardingSmtpAddress", "Role.DisplayName"
	Old  string // "" if there was none, or the record does not say: those of cmdlets do not, as a rule
	New  string // "" if it was taken away
}

// Changes are what the record says was changed, in its order: the parameters of
// a Set- or Update- cmdlet, the modified properties of Entra ID, Exchange and
// SharePoint, the setting of Teams, what a sharing event carries. Values that
// are JSON within a string are without its brackets and quotes. Nil means that
// the record tells of no change. Values are not cut; they may have any
// characters.
func Changes(r auditlog.Record) []Change {
	return event{view: r.View()}.changes()
}

func (e event) changes() []Change {
	var all []Change
	all = append(all, e.properties()...)
	if command, ok := e.cmdlet(); ok && (command.verb == "set" || command.verb == "update") {
		for _, set := range e.parameters() {
			if !slices.ContainsFunc(all, func(c Change) bool { return strings.EqualFold(c.Name, set.Name) }) {
				all = append(all, set)
			}
		}
	}
	if before, after := e.text("OldValue"), e.text("NewValue"); before != "" || after != "" {
		all = append(all, Change{e.text("Name", "Operation"), before, after})
	}
	return append(all, e.shared()...)
}

// bookkeeping are properties and parameters that say nothing about what was
// changed, in lower case.
var bookkeeping = map[string]bool{"included updated properties": true, "action client name": true,
	"identity": true, "force": true, "confirm": true, "alwaysdeleteoutlookrulesblob": true, "erroraction": true, "warningaction": true}

// properties are the modified properties.
func (e event) properties() []Change {
	value, _ := e.view.Get("ModifiedProperties")
	list, _ := value.([]any)
	var all []Change
	for _, element := range list {
		field := func(name string) string {
			value, _ := auditlog.Member(element, name)
			return unwrapped(value)
		}
		c := Change{field("Name"), field("OldValue"), field("NewValue")}
		if c.Name == "" || c.Old == c.New || bookkeeping[strings.ToLower(c.Name)] || strings.HasPrefix(c.Name, "TargetId.") {
			continue
		}
		all = append(all, c)
	}
	return all
}

// parameters are those of a cmdlet that say what it did.
func (e event) parameters() []Change {
	value, _ := e.view.Get("Parameters")
	list, _ := value.([]any)
	all := slices.DeleteFunc(e.typed(), func(c Change) bool { return bookkeeping[strings.ToLower(c.Name)] })
	for _, element := range list {
		label, _ := auditlog.Member(element, "Name")
		value, _ := auditlog.Member(element, "Value")
		if c := (Change{Name: plain(label), New: unwrapped(value)}); c.Name != "" && !bookkeeping[strings.ToLower(c.Name)] {
			all = append(all, c)
		}
	}
	return all
}

// eventPart is an element of EventData, which is XML without a root, and with
// blanks in its names.
var eventPart = regexp.MustCompile(`<([^<>/]{1,60})>([^<>]*)</`)

// shared are the parts of EventData of a sharing event.
func (e event) shared() []Change {
	var all []Change
	for _, part := range eventPart.FindAllStringSubmatch(e.text("EventData"), maxParts) {
		all = append(all, Change{Name: part[1], New: part[2]})
	}
	return all
}

const maxParts = 50

// changed is ": DisplayName from 'a' to 'b' and City to 'c'", or "".
func (e event) changed() string { return listed(": ", e.changes()) }

// with is ", with BlindCopyTo 'eve@fabrikam.com'", the parameters of a cmdlet
// without those that the phrase has told; or "".
func (e event) with(told ...string) string {
	set := slices.DeleteFunc(e.parameters(), func(c Change) bool {
		return slices.ContainsFunc(told, func(name string) bool { return strings.EqualFold(name, c.Name) })
	})
	if len(set) == 0 {
		return ""
	}
	return ", with " + join(apply(set, func(c Change) string { return name(c.Name) + " " + quote(c.New) }), "and")
}

func listed(before string, changes []Change) string {
	if len(changes) == 0 {
		return ""
	}
	return before + join(apply(changes, Change.String), "and")
}

// String is "City from 'Oslo' to 'Bergen'", with values cut in the middle.
func (c Change) String() string {
	switch {
	case c.Old == "" && c.New == "":
		return name(c.Name) + " to nothing"
	case c.New == "":
		return name(c.Name) + " from " + quote(c.Old) + " to nothing"
	case c.Old == "":
		return name(c.Name) + " to " + quote(c.New)
	}
	return name(c.Name) + " from " + quote(c.Old) + " to " + quote(c.New)
}

func apply[T any](items []T, f func(T) string) []string {
	all := make([]string, len(items))
	for i, item := range items {
		all[i] = f(item)
	}
	return all
}

// unwrapped is a value without the JSON that Entra ID wraps it into: ["a"] and
// "\"a\"" are a.
func unwrapped(value any) string {
	s, ok := value.(string)
	if !ok {
		return plain(value)
	}
	if start := strings.TrimSpace(s); start == "" || !strings.Contains(`["{`, start[:1]) {
		return s
	}
	decoder := json.NewDecoder(strings.NewReader(s))
	decoder.UseNumber()
	var inner any
	if decoder.Decode(&inner) != nil || decoder.More() {
		return s
	}
	return plain(inner)
}

// plain is a value as text: lists with commas, objects as "Name=Value".
func plain(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	case []any:
		return strings.Join(apply(value, plain), ", ")
	case map[string]any:
		var parts []string
		for _, key := range slices.Sorted(maps.Keys(value)) {
			parts = append(parts, key+"="+plain(value[key]))
		}
		return strings.Join(parts, " ")
	}
	return fmt.Sprint(value)
}
