package commands

import "fmt"

// A Mistake is an error of the person who asked. Its text is theirs to read.
// Any other error is ours, or Microsoft's ([auditlog.Refusal]).
type Mistake struct {
	Problem string // what is wrong: lower case, no full stop
	Hint    string // what to type instead; may be several lines; "" if there is nothing to say
}

func (m *Mistake) Error() string { return m.Problem }

// mistakef makes a Mistake without a hint.
func mistakef(format string, args ...any) *Mistake {
	return &Mistake{Problem: fmt.Sprintf(format, args...)}
}

// hintf adds the hint.
func (m *Mistake) hintf(format string, args ...any) *Mistake {
	m.Hint = fmt.Sprintf(format, args...)
	return m
}
