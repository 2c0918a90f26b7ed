package commands

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"auditbot/auditlog"
)

// anyCase is a text in which upper and lower case do not matter.
type anyCase string

// A function is one that an operator or a call in a [filter] becomes.
type function struct {
	like any // a nil function with its type, as expr needs it
	call func(args []any) (any, error)
}

// A test is of two values.
type test = func(any, any) bool

// functions are those of a filter, by the operator or name that stands for
// each. What counts no steps takes no more than one of them.
func (f *filter) functions() map[string]function {
	compared := func(holds func(order int) bool) function {
		return f.comparison(func(a, b any) bool {
			order, ok := compare(a, b)
			return ok && holds(order)
		})
	}
	return map[string]function{
		"==":         f.comparison(equal),
		"<":          compared(func(order int) bool { return order < 0 }),
		"<=":         compared(func(order int) bool { return order <= 0 }),
		">":          compared(func(order int) bool { return order > 0 }),
		">=":         compared(func(order int) bool { return order >= 0 }),
		"in":         {test(nil), f.in},
		"contains":   f.comparison(texts(strings.Contains)),
		"startsWith": f.comparison(texts(strings.HasPrefix)),
		"endsWith":   f.comparison(texts(strings.HasSuffix)),
		"matches":    {test(nil), f.matches},
		"not":        {(func(any) bool)(nil), f.not},
		".truth":     {(func(any) bool)(nil), f.truth},
		".at":        {(func(any, any) any)(nil), f.at},
		".list":      {(func(any) []any)(nil), f.list},
		"len":        {(func(any) int)(nil), f.length},
		"lower":      f.changed(strings.ToLower),
		"upper":      f.changed(strings.ToUpper),
		"trim":       f.changed(strings.TrimSpace),
		"string":     f.changed(func(text string) string { return text }),
	}
}

// comparison is true if a test holds between any value in the one argument and
// any in the other.
func (f *filter) comparison(holds test) function {
	return function{test(nil), func(args []any) (any, error) {
		left, err := f.values(args[0])
		if err != nil {
			return nil, err
		}
		right, err := f.values(args[1])
		if err != nil {
			return nil, err
		}
		for _, a := range left {
			for _, b := range right {
				if err := f.work(length(a) + length(b)); err != nil {
					return nil, err
				}
				if holds(a, b) {
					return true, nil
				}
			}
		}
		return false, nil
	}}
}

// values are all that is in a value: in lists and objects, those within them;
// in empty ones, nil.
func (f *filter) values(value any) ([]any, error) {
	var all []any
	var collect func(any) error
	collect = func(value any) error {
		if err := f.work(0); err != nil {
			return err
		}
		switch value := value.(type) {
		case []any:
			for _, element := range value {
				if err := collect(element); err != nil {
					return err
				}
			}
		case map[string]any:
			for _, member := range value {
				if err := collect(member); err != nil {
					return err
				}
			}
		default:
			all = append(all, value)
		}
		return nil
	}
	err := collect(value)
	if len(all) == 0 {
		all = append(all, nil)
	}
	return all, err
}

// in is "==", and of an object also whether it has the name.
func (f *filter) in(args []any) (any, error) {
	object, ok := args[1].(map[string]any)
	if name, isText := textOf(args[0]); ok && isText {
		if err := f.work(len(object)); err != nil {
			return nil, err
		}
		if _, ok := auditlog.Member(object, name); ok {
			return true, nil
		}
	}
	return f.comparison(equal).call(args)
}

// A pattern is a regular expression with the number of its instructions.
type pattern struct {
	*regexp.Regexp
	size int
}

// readPattern says what is wrong with a regular expression, if something is.
func readPattern(text string) (p pattern, problem string) {
	if n := utf8.RuneCountInString(text); n > maxPattern {
		return p, fmt.Sprintf("the regular expression has %d characters; the limit is %d", n, maxPattern)
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		problem = "this is no regular expression"
		if e, ok := errors.AsType[*syntax.Error](err); ok {
			problem = fmt.Sprintf("%s in the regular expression: %q", e.Code, Shorten(e.Expr, 60))
		}
		return p, problem
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return p, "this is no regular expression"
	}
	if p.size = len(program.Inst); p.size > maxProgram {
		return p, ""
	}
	p.Regexp, err = regexp.Compile(text)
	if err != nil {
		return p, "this is no regular expression"
	}
	return p, ""
}

func (f *filter) matches(args []any) (any, error) {
	p := f.patterns[args[1].(string)]
	values, err := f.values(args[0])
	if err != nil {
		return nil, err
	}
	for _, value := range values {
		text, ok := textOf(value)
		if !ok {
			continue
		}
		if err := f.work(len(text) * p.size / stepsPerMatch); err != nil {
			return nil, err
		}
		if p.MatchString(text) {
			return true, nil
		}
	}
	return false, nil
}

// stepsPerMatch is how many instructions of a regular expression, each tried at
// one byte of the text, take about as long as a step.
const stepsPerMatch = 8

func (f *filter) not(args []any) (any, error) {
	yes, err := f.truth(args)
	if err != nil {
		return nil, err
	}
	return !yes.(bool), nil
}

func (f *filter) truth(args []any) (any, error) {
	if err := f.work(0); err != nil {
		return nil, err
	}
	yes, ok := truthOf(args[0])
	if !ok {
		return nil, noTruth(args[0])
	}
	return yes, nil
}

// at is what stands at a path below a value, which may have to be searched to
// its ends.
func (f *filter) at(args []any) (any, error) {
	if err := f.weigh(args[0]); err != nil {
		return nil, err
	}
	value, _ := auditlog.Member(args[0], args[1].(string))
	return value, nil
}

// weigh counts a step for every value in a value.
func (f *filter) weigh(value any) error {
	if err := f.work(0); err != nil {
		return err
	}
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			if err := f.weigh(element); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, member := range value {
			if err := f.weigh(member); err != nil {
				return err
			}
		}
	}
	return nil
}

// list is what a loop goes over. What is no list is one with one element.
func (f *filter) list(args []any) (any, error) {
	if err := f.work(0); err != nil {
		return nil, err
	}
	switch value := args[0].(type) {
	case nil:
		return []any{}, nil
	case []any:
		return value, nil
	default:
		return []any{value}, nil
	}
}

func (f *filter) length(args []any) (any, error) {
	switch value := args[0].(type) {
	case []any:
		return len(value), f.work(0)
	case map[string]any:
		return len(value), f.work(0)
	}
	text, _ := textOf(args[0])
	return utf8.RuneCountInString(text), f.work(length(args[0]))
}

// changed changes every text in a value, which becomes a list if there are
// several.
func (f *filter) changed(to func(string) string) function {
	return function{(func(any) any)(nil), func(args []any) (any, error) {
		values, err := f.values(args[0])
		if err != nil {
			return nil, err
		}
		changed := make([]any, len(values))
		for i, value := range values {
			if err := f.work(length(value)); err != nil {
				return nil, err
			}
			if text, ok := textOf(value); ok {
				changed[i] = to(text)
			}
		}
		if len(changed) == 1 {
			return changed[0], nil
		}
		return changed, nil
	}}
}

// length is how many steps it takes to go through a text.
func length(value any) int {
	switch value := value.(type) {
	case string:
		return len(value) / 16
	case anyCase:
		return len(value) / 4
	}
	return 0
}

// equal tells whether two values are the same for a [filter].
func equal(a, b any) bool {
	if a == nil || b == nil {
		return isNothing(a) && isNothing(b)
	}
	_, isTruth := a.(bool)
	if _, other := b.(bool); isTruth || other {
		x, ok := truthOf(a)
		y, too := truthOf(b)
		return ok && too && x == y && !isNothing(a) && !isNothing(b)
	}
	order, ok := compare(a, b)
	return ok && order == 0
}

func isNothing(value any) bool { return value == nil || value == "" || value == anyCase("") }

// compare orders two numbers, times or texts; ok is false where they have no
// order.
func compare(a, b any) (order int, ok bool) {
	switch {
	case isTime(a) || isTime(b):
		x, ok := timeOf(a)
		y, too := timeOf(b)
		return x.Compare(y), ok && too
	case isNumber(a) || isNumber(b):
		return compareNumbers(a, b)
	}
	x, ok := textOf(a)
	y, too := textOf(b)
	if isAnyCase(a) || isAnyCase(b) {
		x, y = strings.ToLower(x), strings.ToLower(y)
	}
	return strings.Compare(x, y), ok && too && !isBool(a) && !isBool(b)
}

// texts makes a test of texts one of values.
func texts(holds func(a, b string) bool) test {
	return func(a, b any) bool {
		x, ok := textOf(a)
		y, too := textOf(b)
		if isAnyCase(a) || isAnyCase(b) {
			x, y = strings.ToLower(x), strings.ToLower(y)
		}
		return ok && too && holds(x, y)
	}
}

func isTime(value any) bool {
	_, ok := value.(time.Time)
	return ok
}

func isBool(value any) bool {
	_, ok := value.(bool)
	return ok
}

func isAnyCase(value any) bool {
	_, ok := value.(anyCase)
	return ok
}

func isNumber(value any) bool {
	switch value.(type) {
	case json.Number, int, float64:
		return true
	}
	return false
}

// textOf is a single value as text. Nil, lists and objects are none.
func textOf(value any) (string, bool) {
	switch value := value.(type) {
	case string:
		return value, true
	case anyCase:
		return string(value), true
	case json.Number:
		return value.String(), true
	case int:
		return strconv.Itoa(value), true
	case float64:
		return strconv.FormatFloat(value, 'g', -1, 64), true
	case bool:
		return strconv.FormatBool(value), true
	case time.Time:
		return value.Format(time.RFC3339Nano), true
	}
	return "", false
}

// compareNumbers is exact for whole numbers of 64 bits.
func compareNumbers(a, b any) (order int, ok bool) {
	x, ok := textOf(a)
	y, too := textOf(b)
	if !ok || !too {
		return 0, false
	}
	i, err1 := strconv.ParseInt(x, 10, 64)
	j, err2 := strconv.ParseInt(y, 10, 64)
	if err1 == nil && err2 == nil {
		return cmp.Compare(i, j), true
	}
	v, ok := numberOf(x)
	w, too := numberOf(y)
	return cmp.Compare(v, w), ok && too
}

// numberOf reads a number in decimal digits, with or without an exponent.
func numberOf(text string) (float64, bool) {
	if strings.Trim(text, "0123456789+-.eE") != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil && !math.IsInf(n, 0)
}

// truthOf is whether a value is true. Nothing is false; records have "True" and
// "False" where they mean a truth. Of other values, ok is false.
func truthOf(value any) (yes, ok bool) {
	switch value := value.(type) {
	case nil:
		return false, true
	case bool:
		return value, true
	case string:
		if value == "" {
			return false, true
		}
		yes := strings.EqualFold(value, "true")
		return yes, yes || strings.EqualFold(value, "false")
	}
	return false, false
}

// filterTimes are the ways to write a time in a filter, in UTC. A fraction of a
// second is read with each that has seconds.
var filterTimes = []string{
	time.RFC3339, "2006-01-02T15:04:05", time.DateTime, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly,
}

func timeOf(value any) (time.Time, bool) {
	if t, ok := value.(time.Time); ok {
		return t, true
	}
	text, _ := value.(string)
	for _, layout := range filterTimes {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
