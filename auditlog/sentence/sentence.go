// Package sentence says in plain English what a record of the audit log tells.
//
// [Of] makes one sentence of a record, [Changes] the list of what it changed.
// What is said of an operation stands in the table of its family, in the file
// that is named after it: signin.go, mailbox.go, rule.go, file.go, sharing.go,
// entra.go, admin.go, teams.go. To add an operation, add a line there, and a
// record of it to testdata/sentences.txt.
package sentence

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"

	"auditbot/auditlog"
)

// MaxLength is how many characters a sentence has at most.
const MaxLength = 600

// Of is the record in one line of plain text, without a full stop at its end:
//
//	ada@contoso.com, from 203.0.113.9 via Outlook on the web, created the inbox rule '.' that deletes mail containing 'invoice'
//
// It is never empty, the same for the same record, and has [MaxLength]
// characters at most; long values are cut in the middle. Line breaks become
// their pictures (␊). Every other character is as it stands in the record, so
// whoever shows the sentence has to make hidden ones visible.
func Of(r auditlog.Record) string {
	e := event{view: r.View()}
	if r.Unreadable {
		text, _ := e.view.Get("")
		return oneLine("a record that cannot be read: " + quote(fmt.Sprint(text)))
	}
	key := auditlog.OperationKey(e.text("Operation"))
	_, signsIn := signIns()[key] // its phrase tells the program and how it ended
	did, known := phrases()[key]
	if !known {
		did = unknownPhrase
		if _, ok := e.cmdlet(); ok {
			did = cmdletPhrase
		}
	}
	origin := e.from()
	if !signsIn {
		origin = spaced(origin, e.via())
	}
	who := e.who()
	if origin != "" {
		who += ", " + origin + ","
	}
	sentence := who + " " + did(e)
	if !signsIn {
		sentence += e.ending()
	}
	return oneLine(sentence)
}

// A phrase says what was done, from the verb on, in the past: "deleted the user
// bob@contoso.com".
type phrase func(event) string

// phrases are those of all families, by [auditlog.OperationKey].
var (
	phrases = sync.OnceValue(func() map[string]phrase { return byKey(families()...) })
	signIns = sync.OnceValue(func() map[string]phrase { return byKey(signInPhrases) })
)

func byKey(families ...map[string]phrase) map[string]phrase {
	all := map[string]phrase{}
	for _, family := range families {
		for name, said := range family {
			all[auditlog.OperationKey(name)] = said
		}
	}
	return all
}

func families() []map[string]phrase {
	return []map[string]phrase{signInPhrases, mailboxPhrases, rulePhrases, filePhrases, sharingPhrases, entraPhrases, adminPhrases, teamsPhrases}
}

// Operations are the names that have a phrase of their own, in no order.
func Operations() []string {
	var names []string
	for _, family := range families() {
		for name := range family {
			names = append(names, name)
		}
	}
	return names
}

// unknownPhrase is said of an operation that no table has.
func unknownPhrase(e event) string {
	operation := e.text("Operation")
	if operation == "" {
		return "did something that the record does not name"
	}
	said := "did " + name(operation)
	if workload := e.text("Workload"); workload != "" {
		said += " in " + name(workload)
	}
	if object := e.view.Record.Row().Object; object != "" {
		said += " to " + quote(object)
	}
	return said + e.changed()
}

// ending tells of what did not succeed.
func (e event) ending() string {
	switch result := e.view.Result(); {
	case result == "" || result == "success" || result == "-":
		return ""
	case result == "failure":
		return "; this failed"
	case strings.HasPrefix(result, "failure: "):
		return "; this failed: " + quote(strings.TrimPrefix(result, "failure: "))
	default:
		return "; its result is " + quote(result)
	}
}

// lineBreaks are the characters that end a line somewhere, and what is shown
// for them.
var lineBreaks = strings.NewReplacer("\n", "␊", "\v", "␋", "\f", "␌", "\r", "␍",
	"\u0085", "‹U+0085›", "\u2028", "‹U+2028›", "\u2029", "‹U+2029›")

func oneLine(s string) string {
	return cut(lineBreaks.Replace(strings.ToValidUTF8(s, "\ufffd")), MaxLength)
}

// cut takes the middle out of what is longer than n characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	tail := n / 3
	return string(runes[:n-tail-1]) + "…" + string(runes[len(runes)-tail:])
}

// maxValue is how many characters of a value are shown.
const maxValue = 80

// quote is a value within a sentence. The quotes are ones that the value does
// not have, or it could end them and go on as if it were the sentence.
func quote(s string) string {
	s = cut(s, maxValue)
	switch {
	case !strings.Contains(s, "'"):
		return "'" + s + "'"
	case !strings.Contains(s, `"`):
		return `"` + s + `"`
	}
	return "'" + strings.ReplaceAll(s, "'", `\'`) + "'"
}

// name is a value that needs no quotes if it looks like a name: an address, an
// id, a URL.
func name(s string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._%+@#:/\\=~-", r)
	}
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return quote(s)
	}
	return cut(s, maxValue)
}

// maxListed is how many elements of a list are named.
const maxListed = 3

// join is "a, b and c", with another word for the last: "or".
func join(items []string, word string) string {
	if more := len(items) - maxListed; more > 1 {
		items = append(items[:maxListed:maxListed], fmt.Sprintf("%d more", more))
	}
	if len(items) < 2 {
		return strings.Join(items, "")
	}
	last := len(items) - 1
	return strings.Join(items[:last], ", ") + " " + word + " " + items[last]
}

// spaced joins with blanks those parts that are not empty.
func spaced(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), " ")
}
