package commands

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/shlex"
)

// A word is one part of a typed line: the command, a name=value, or a bare
// value.
type word struct {
	name   string // what stands before the "=", in lower case; "" for a bare value
	value  string // without its quotes
	quoted bool   // the value was written in quotes, or as a JSON array
	column int    // where the word begins in the line, in characters, from 1
}

// String is the word as it can be typed.
func (w word) String() string {
	return w.typedName() + quote(w.value)
}

// typedName is the name with its "=", or "" for a bare value.
func (w word) typedName() string {
	if w.name == "" {
		return ""
	}
	return w.name + "="
}

// maxLine is how many characters a line may have: as many as Slack keeps of a
// message.
// https://docs.slack.dev/reference/methods/chat.postMessage
const maxLine = 40000

// words splits a typed line. Every error is a [*Mistake].
//
// Words are separated by spaces of any kind, line breaks among them.
// Invisible characters outside quotes do not count. A value in quotes is kept
// byte for byte:
//
//   - "..." may contain \" for a quote. Any other backslash is itself, also
//     here: "C:\Users\bob".
//   - '...' and `...` contain anything but their own quote.
//   - Curly quotes are quotes too. What a curly one opens, any curly or
//     straight one of its kind closes; what a straight one opens, only its
//     like closes.
//
// A quote opens where a word begins or, after "name=", its value, and what it
// opens is the whole of the rest of the word. In the middle of a word an
// apostrophe is a letter (O'Brien); any other quote is a mistake there, as is
// anything right after a closing quote. A value that begins with [" is a JSON
// array and may contain spaces.
//
// A name consists of letters, digits, dots, underscores and hyphens. Dashes of
// any kind are hyphens in it, and in the command. Upper and lower case are the
// same. What is in front of an "=" and is not a name belongs to a bare value.
func words(line string) ([]word, error) {
	s := scanner{line: []rune(line)}
	if err := s.check(line); err != nil {
		return nil, err
	}
	for s.skip(IsBlank); s.pos < len(s.line); s.skip(IsBlank) {
		if err := s.word(); err != nil {
			return nil, err
		}
	}
	values, err := shlex.Split(s.safe.String())
	if err == nil && len(values) != len(s.words) {
		err = fmt.Errorf("%d words became %d", len(s.words), len(values))
	}
	if err != nil { // which would be ours; FuzzWords shows that it does not happen
		return nil, fmt.Errorf("splitting a line: %w", err)
	}
	for i, w := range s.words {
		if w.name != "" {
			s.words[i].value = strings.TrimPrefix(values[i], w.name+"=")
		} else if i == 0 && !w.quoted {
			s.words[i].value = plainDashes(values[i])
		} else {
			s.words[i].value = values[i]
		}
	}
	return s.words, nil
}

// A scanner finds the words of a line and writes the line again in the quotes
// and escapes of shlex, which then does the splitting. On its own, shlex would
// lose backslashes, apostrophes, all that follows a "#", and which of the
// values had quotes.
type scanner struct {
	line  []rune
	pos   int             // of the next character
	safe  strings.Builder // the line for shlex
	words []word          // without their values
}

// check refuses what a line may not have, be it in quotes or not.
func (s *scanner) check(line string) error {
	switch {
	case len(s.line) > maxLine:
		return mistakef("the line has %d characters, and %d are the limit", len(s.line), maxLine).hintf("split a long list over several commands")
	case !utf8.ValidString(line):
		return mistakef("the line has bytes in it that are not UTF-8 text").hintf("type the line instead of pasting it")
	case strings.ContainsRune(line, 0):
		return mistakef("the line has a NUL character in it").hintf("type the line instead of pasting it")
	}
	return nil
}

// skip moves past the characters that are as asked.
func (s *scanner) skip(asked func(rune) bool) {
	for s.pos < len(s.line) && asked(s.line[s.pos]) {
		s.pos++
	}
}

// next is the character n after the next one, or 0 past the end of the line.
func (s *scanner) next(n int) rune {
	if s.pos+n >= len(s.line) {
		return 0
	}
	return s.line[s.pos+n]
}

// word reads a word, of which the first character is next.
func (s *scanner) word() error {
	w := word{column: s.pos + 1}
	w.name = s.name()
	s.safe.WriteByte(' ')
	if w.name != "" {
		s.safe.WriteString(w.name + "=")
		s.skip(isInvisible)
	}
	read := s.bare
	if s.atArray() {
		w.quoted, read = true, s.array
	} else if closers(s.next(0)) != "" {
		w.quoted, read = true, s.quotation
	}
	s.words = append(s.words, w)
	return read(w)
}

// name reads name= if that is what comes next, and nothing otherwise.
func (s *scanner) name() string {
	var name strings.Builder
	for i, r := range s.line[s.pos:] {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '.' || isDash(r):
			name.WriteRune(r)
		case isInvisible(r):
		case r == '=' && name.Len() > 0:
			s.pos += i + 1
			return strings.ToLower(plainDashes(name.String()))
		default:
			return ""
		}
	}
	return ""
}

// bare reads a value without quotes, up to the next space.
func (s *scanner) bare(w word) error {
	for ; s.pos < len(s.line) && !isSpace(s.next(0)); s.pos++ {
		switch r := s.next(0); {
		case isInvisible(r):
		case r == '`' || isDouble(r):
			return mistakef("there is a quote in the middle of a word, at character %d: %s", s.pos+1, s.around(s.pos)).hintf("%s", quotesHint(w))
		case r == '\\' || r == '\'' || r == '#':
			s.safe.WriteString(`\` + string(r))
		default:
			s.safe.WriteRune(r)
		}
	}
	return nil
}

// quotation reads a value in quotes.
func (s *scanner) quotation(w word) error {
	opened, opener := s.pos, s.next(0)
	closes := func(r rune) bool { return strings.ContainsRune(closers(opener), r) }
	hint := quotesHint(w)
	s.safe.WriteByte('"')
	for s.pos++; s.pos < len(s.line); s.pos++ {
		switch r := s.next(0); {
		case closes(r):
			s.safe.WriteByte('"')
			s.pos++
			return s.end(w, hint)
		case r == '\\' && isDouble(opener) && closes(s.next(1)):
			s.safe.WriteString(`\"`)
			s.pos++
			hint = backslashHint(w)
		case r == '\\' || r == '"':
			s.safe.WriteString(`\` + string(r))
		default:
			s.safe.WriteRune(r)
		}
	}
	return s.unclosed(opened, w)
}

// atArray tells whether a JSON array of strings comes next.
func (s *scanner) atArray() bool {
	if s.next(0) != '[' {
		return false
	}
	i := 1
	for IsBlank(s.next(i)) {
		i++
	}
	return isDouble(s.next(i))
}

// array reads a JSON array, up to its bracket. Whether it is well-formed is
// seen when its items are needed.
func (s *scanner) array(w word) error {
	opened, closes := s.pos, "" // what ends the string that we are in
	s.safe.WriteByte('"')
	for ; s.pos < len(s.line); s.pos++ {
		switch r := s.next(0); {
		case closes == "" && r == ']':
			s.safe.WriteString(`]"`)
			s.pos++
			return s.end(w, "put a space after the list")
		case closes == "" && isDouble(r):
			closes = closers(r)
			s.safe.WriteString(`\"`)
		case closes == "" && isInvisible(r):
		case closes == "" && isSpace(r):
			s.safe.WriteByte(' ')
		case closes != "" && strings.ContainsRune(closes, r):
			closes = ""
			s.safe.WriteString(`\"`)
		case closes != "" && r == '\\' && s.pos+1 < len(s.line):
			s.pos++
			if r = s.next(0); strings.ContainsRune(closes, r) {
				r = '"'
			}
			s.safe.WriteString(`\\\` + string(r))
		case r == '\\':
			s.safe.WriteString(`\\`)
		default:
			s.safe.WriteRune(r)
		}
	}
	return mistakef("the list that begins at character %d has no end: %s", opened+1, s.around(opened)).
		hintf(`close each item with a quote and the list with a bracket: %s["first", "second"]`, w.typedName())
}

// end makes sure that the word ends here, after a closing quote or bracket.
func (s *scanner) end(w word, hint string) error {
	closed := s.pos - 1
	s.skip(isInvisible)
	if s.pos == len(s.line) || isSpace(s.next(0)) {
		return nil
	}
	if s.next(0) == ',' {
		hint = fmt.Sprintf(`put one pair of quotes around the whole list: %s"first,second"`, w.typedName())
	}
	return mistakef("there is no space after the closing %c at character %d: %s", s.line[closed], closed+1, s.around(closed)).hintf("%s", hint)
}

// unclosed says where a quote was opened that has no end.
func (s *scanner) unclosed(opened int, w word) error {
	opener, rest := s.line[opened], string(s.line[opened+1:])
	m := mistakef("the quote %c at character %d is not closed: %s", opener, opened+1, s.around(opened))
	switch {
	case isDouble(opener) && strings.Contains(rest, `\"`):
		return m.hintf("%s", backslashHint(w))
	case opener == '"' && strings.ContainsFunc(rest, isDouble), opener == '\'' && strings.ContainsFunc(rest, isSingle):
		return m.hintf("a straight %[1]c is closed by a straight %[1]c only", opener)
	}
	if isDouble(opener) {
		opener = '"' // closes a curly one too, and is easier to type
	}
	return m.hintf("write another %c where the value ends; a quote that is a part of the value goes between backticks: %s`say \"hello\"`", opener, w.typedName())
}

func quotesHint(w word) string {
	return fmt.Sprintf("put quotes around the whole value: %[1]s\"two words\"; if it has quotes in it, put it between backticks: %[1]s`say \"hello\"`", w.typedName())
}

func backslashHint(w word) string {
	return fmt.Sprintf(`in "..." a \" is a quote inside the value; if the value ends with a backslash, write it in '...': %s'C:\Users\'`, w.typedName())
}

// around is the line around a position, 20 characters to each side.
func (s *scanner) around(pos int) string {
	from, to := max(pos-20, 0), min(pos+21, len(s.line))
	text := strings.Map(func(r rune) rune {
		switch {
		case isSpace(r) || unicode.IsControl(r):
			return ' '
		case isInvisible(r):
			return -1
		}
		return r
	}, string(s.line[from:to]))
	if from > 0 {
		text = "…" + text
	}
	if to < len(s.line) {
		text += "…"
	}
	return text
}
