package commands

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"auditbot/auditlog"
)

// An argument is one that a command takes, as its row's struct declares it in
// a field with the tags
//
//	Users []string `arg:"user_ids,required" help:"who did it, separated by commas"`
//
// After the name, "required" makes leaving it out a mistake, and "default" lets
// its value be typed without the name. Types are string, int, bool, []string,
// [When] and [Size].
type argument struct {
	name     string
	help     string
	fallback string // its default as it would be typed, or ""
	required bool
	bare     bool // its value may be typed without the name
	value    reflect.Value
}

// arguments are those that the fields of args, a struct, declare. The values
// that the fields have are the defaults.
func arguments(args any) []argument {
	return declared(reflect.ValueOf(args))
}

func declared(args reflect.Value) []argument {
	var all []argument
	for field, value := range args.Fields() {
		tag, ok := field.Tag.Lookup("arg")
		if !ok {
			continue
		}
		options := strings.Split(tag, ",")
		all = append(all, argument{
			name:     options[0],
			help:     field.Tag.Get("help"),
			fallback: typed(value),
			required: slices.Contains(options[1:], "required"),
			bare:     slices.Contains(options[1:], "default"),
			value:    value,
		})
	}
	return all
}

// typed is a default as it would be typed.
func typed(v reflect.Value) string {
	if v.IsZero() {
		return ""
	}
	switch v := v.Interface().(type) {
	case []string:
		return quote(strings.Join(v, ","))
	case When:
		return quote(v.Text)
	default:
		return quote(fmt.Sprint(v))
	}
}

// bind sets the fields of args, a pointer to a struct, from words. A field
// that no word names keeps the value it has, which is its default. Names are
// taken in upper and lower case. An empty value is a mistake, because a filter
// that is not there finds too much without a word; only a string may be made
// empty, with name="". Every error is a [*Mistake] with a hint.
func bind(args any, words []word) error {
	known := declared(reflect.ValueOf(args).Elem())
	given := map[string]word{}
	for i, w := range words {
		arg, err := meant(known, given, words, i)
		if err != nil {
			return err
		}
		if before, ok := given[arg.name]; ok {
			return repeated(arg, before, w)
		}
		if strings.Contains(w.value, "${") {
			return mistakef("%s: context values such as ${...} are not supported yet", arg.name).hintf("type the value itself")
		}
		if next := bareText(words[i+1:]); w.value == "" && !w.quoted && next != "" {
			return arg.mistakef("there is a space after the \"=\"").hintf("write it without: %s", suggestion(arg.name, next))
		}
		if err := arg.set(w); err != nil {
			return err
		}
		given[arg.name] = w
	}
	return missing(known, given)
}

// meant is the argument that word i names or, being bare, is the value of.
func meant(known []argument, given map[string]word, words []word, i int) (argument, error) {
	w := words[i]
	for _, arg := range known {
		if strings.EqualFold(arg.name, w.name) {
			return arg, nil
		}
	}
	if w.name != "" {
		return argument{}, unknownArgument(known, w)
	}
	for _, arg := range known {
		if _, ok := given[arg.name]; arg.bare && !ok && !cutOff(words, i) {
			return arg, nil
		}
	}
	return argument{}, stray(known, words, i)
}

// cutOff tells whether word i is likely a part of name = value, with spaces
// around the "=".
func cutOff(words []word, i int) bool {
	return slices.ContainsFunc(words[i:min(i+2, len(words))], func(w word) bool {
		return w.name == "" && !w.quoted && strings.HasPrefix(w.value, "=")
	})
}

func unknownArgument(known []argument, w word) error {
	m := mistakef("there is no argument %q", Shorten(w.name, 60))
	if len(known) == 0 {
		return m.hintf("this command takes no arguments")
	}
	names := argumentNames(known)
	if near := Nearest(w.name, names); near != "" {
		return m.hintf("did you mean %s? The arguments are: %s", word{name: near, value: Shorten(w.value, 60)}, strings.Join(names, ", "))
	}
	return m.hintf("the arguments are: %s", strings.Join(names, ", "))
}

func argumentNames(known []argument) []string {
	var names []string
	for _, arg := range known {
		names = append(names, arg.name)
	}
	return names
}

// stray explains a bare word that belongs to no argument, with the line that
// was probably meant.
func stray(known []argument, words []word, i int) error {
	w, rest := words[i], words[i+1:]
	m := mistakef("%q, at character %d, is not name=value", Shorten(w.value, 60), w.column)
	if len(known) == 0 {
		return m.hintf("this command takes no arguments")
	}
	names := argumentNames(known)
	isName := func(s string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, s) })
	}
	name, value, _ := strings.Cut(w.value, "=")
	switch {
	case w.quoted && isName(name):
		return m.hintf("put the quotes around the value only: %s", suggestion(name, value))
	case isName(w.value) && len(rest) > 0 && rest[0].name == "":
		return m.hintf(`write the "=" without spaces: %s`, suggestion(w.value, strings.TrimPrefix(bareText(rest), "=")))
	case i > 0 && words[i-1].name != "" && !words[i-1].quoted:
		return m.hintf("put quotes around a value that has spaces: %s", suggestion(words[i-1].name, words[i-1].value+" "+bareText(words[i:])))
	case i > 0 && words[i-1].name == "":
		return m.hintf("put quotes around a value that has spaces: %s", quote(Shorten(words[i-1].value+" "+bareText(words[i:]), 60)))
	}
	return m.hintf("the arguments are: %s", strings.Join(names, ", "))
}

// bareText is the bare words that words begin with.
func bareText(words []word) string {
	var text []string
	for _, w := range words {
		if w.name != "" {
			break
		}
		text = append(text, w.value)
	}
	return strings.Join(text, " ")
}

func suggestion(name, value string) word {
	return word{name: strings.ToLower(name), value: Shorten(strings.TrimSpace(value), 60)}
}

func repeated(arg argument, before, again word) error {
	m := mistakef("%s is given twice, at characters %d and %d", arg.name, before.column, again.column)
	if _, list := arg.value.Interface().([]string); list && !isJSON(before.value) && !isJSON(again.value) {
		return m.hintf("separate values with commas: %s", suggestion(arg.name, before.value+","+again.value))
	}
	return m.hintf("keep one of them")
}

func missing(known []argument, given map[string]word) error {
	for _, arg := range known {
		if arg.required && given[arg.name].value == "" {
			return mistakef("%s is missing", arg.name).hintf("add %s=...: %s", arg.name, arg.help)
		}
	}
	return nil
}

// set gives the argument the value of a word.
func (a argument) set(w word) error {
	text := strings.TrimFunc(w.value, isSpace)
	if into, ok := a.value.Addr().Interface().(*string); ok && (text != "" || w.quoted) {
		*into = w.value
		return nil
	}
	if text == "" {
		return a.mistakef("it has no value").hintf("leave it out, or give it a value; %s: %s", a.name, a.help)
	}
	switch into := a.value.Addr().Interface().(type) {
	case *int:
		n, err := strconv.Atoi(text)
		if errors.Is(err, strconv.ErrRange) {
			return a.mistakef("%s is too large a number", Shorten(text, 30)).hintf("%s: %s", a.name, a.help)
		}
		if err != nil {
			return a.mistakef("%q is not a whole number", Shorten(text, 60)).hintf("write it in digits only: %s=10", a.name)
		}
		*into = n
	case *bool:
		on, ok := truth(text)
		if !ok {
			return a.mistakef("%q is neither true nor false", Shorten(text, 60)).hintf("write %[1]s=true or %[1]s=false", a.name)
		}
		*into = on
	case *[]string:
		items, err := a.list(text)
		if err != nil {
			return err
		}
		*into = items
	case *When:
		*into = When{Text: text}
	case *Size:
		n, ok := readSize(text)
		if !ok {
			return a.mistakef("%q is not a number from 1 to %d", Shorten(text, 60), auditlog.MaxNewest).hintf("write %[1]s=100, or %[1]s=all", a.name)
		}
		*into = n
	default:
		panic(fmt.Sprintf("argument %s has the type %T, which bind does not know", a.name, into))
	}
	return nil
}

// A Size is a number of records, 1 to [auditlog.MaxNewest]. 0 means all.
type Size int

func (s Size) String() string {
	if s == 0 {
		return "all"
	}
	return strconv.Itoa(int(s))
}

func readSize(text string) (Size, bool) {
	if strings.EqualFold(text, "all") {
		return 0, true
	}
	n, err := strconv.Atoi(text)
	return Size(n), err == nil && n >= 1 && n <= auditlog.MaxNewest
}

func (a argument) mistakef(format string, args ...any) *Mistake {
	return mistakef("%s: %s", a.name, fmt.Sprintf(format, args...))
}

// named puts the name of an argument in front of a mistake about its value.
func named(err error, name string) error {
	if m, ok := errors.AsType[*Mistake](err); ok {
		return &Mistake{Problem: name + ": " + m.Problem, Hint: m.Hint}
	}
	return err
}

func truth(text string) (on, ok bool) {
	switch strings.ToLower(text) {
	case "true", "yes":
		return true, true
	case "false", "no":
		return false, true
	}
	return false, false
}

// list is the items of a list: separated by commas and trimmed, or a JSON
// array, which keeps commas and spaces as they are. Empty items between commas
// do not count.
func (a argument) list(text string) ([]string, error) {
	var items []string
	if isJSON(text) {
		if err := json.Unmarshal([]byte(text), &items); err != nil || slices.ContainsFunc(items, unfit) {
			m := a.mistakef("%s is not a JSON array of texts", Shorten(text, 60))
			if strings.Contains(text, `\`) {
				return nil, m.hintf(`in a JSON array a backslash is written twice, %[1]s=["CONTOSO\\ada"]; between commas once, %[1]s=CONTOSO\ada,CONTOSO\bob`, a.name)
			}
			return nil, m.hintf(`write %[1]s="first,second" or %[1]s=["first","second"]`, a.name)
		}
	} else {
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimFunc(item, isSpace); item != "" {
				items = append(items, item)
			}
		}
		if slices.ContainsFunc(items, inQuotes) {
			return nil, a.mistakef("there are quotes inside the list").
				hintf(`leave them out (%[1]s="first, second"); if an item has commas in it, write %[1]s=["one, two","three"]`, a.name)
		}
	}
	if len(items) == 0 {
		return nil, a.mistakef("the list is empty").hintf("leave it out, or give it a value; %s: %s", a.name, a.help)
	}
	return items, nil
}

// unfit tells whether a JSON array brings in what nobody means to search for.
// Most often it is a backslash that JSON takes for the start of an escape:
// "CONTOSO\bob" has a backspace in it.
func unfit(item string) bool { return item == "" || strings.ContainsFunc(item, unicode.IsControl) }

func inQuotes(item string) bool {
	first, _ := utf8.DecodeRuneInString(item)
	return closers(first) != ""
}

// isJSON tells whether a list is meant as a JSON array, and does not begin with
// an IPv6 address and its port, as records write it: [2001:db8::9]:443.
func isJSON(list string) bool {
	inside, ok := strings.CutPrefix(strings.TrimFunc(list, isSpace), "[")
	inside = strings.TrimLeftFunc(inside, isSpace)
	return ok && (strings.HasPrefix(inside, `"`) || !strings.Contains(inside, "]:"))
}
