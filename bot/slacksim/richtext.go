package slacksim

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// richText is the block that comes with a message that a person typed, made
// from the text that is stored. Marks that became styles are not in it.
func richText(stored string) json.RawMessage {
	if stored == "" {
		return nil
	}
	var elements []object
	for i, part := range strings.Split(stored, "```") {
		switch {
		case i%2 == 1:
			elements = append(elements, object{"type": "rich_text_preformatted", "elements": inline(strings.Trim(part, "\n"), nil), "border": 0})
		case strings.Trim(part, "\n") != "":
			elements = append(elements, paragraphs(strings.Trim(part, "\n"))...)
		}
	}
	return encode([]object{{"type": "rich_text", "block_id": newID("b"), "elements": elements}})
}

// paragraphs are the sections and quotes of a text, which follow each other.
func paragraphs(text string) []object {
	var all []object
	var lines []string
	quoted := false
	flush := func() {
		if lines == nil {
			return
		}
		kind := "rich_text_section"
		if quoted {
			kind = "rich_text_quote"
		}
		all = append(all, object{"type": kind, "elements": inline(strings.Join(lines, "\n"), nil)})
		lines = nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		unquoted, isQuote := strings.CutPrefix(line, "&gt;")
		if isQuote != quoted {
			flush()
			quoted = isQuote
		}
		if isQuote {
			line = strings.TrimPrefix(unquoted, " ")
		}
		lines = append(lines, line)
	}
	flush()
	return all
}

// A style is what a part of a text looks like: "bold", "code".
type style []string

func (t style) json() object {
	o := object{}
	for _, name := range t {
		o[name] = true
	}
	return o
}

// marks are what stands around a styled text.
var marks = map[byte]string{'*': "bold", '_': "italic", '~': "strike", '`': "code"}

var tokenPattern = regexp.MustCompile(`^<([^<>\n|]+)(\|([^<>\n]*))?>`)

// inline is the elements of a text in one style.
func inline(text string, looks style) []object {
	all := []object{}
	plain := 0 // where the plain text before i begins
	flush := func(i int) {
		if plain < i {
			all = append(all, styled(object{"type": "text", "text": unescape(text[plain:i])}, looks))
		}
	}
	for i := 0; i < len(text); {
		if m := tokenPattern.FindStringSubmatch(text[i:]); m != nil {
			flush(i)
			all = append(all, styled(tokenElement(m[1], m[3]), looks))
			i += len(m[0])
			plain = i
		} else if inner, name := span(text, i); name != "" && !slices.Contains(looks, "code") {
			flush(i)
			all = append(all, inline(inner, append(looks[:len(looks):len(looks)], name))...)
			i += len(inner) + 2
			plain = i
		} else {
			i++
		}
	}
	flush(len(text))
	return all
}

// span is the text between the mark at i and its partner, and the name of the
// style; none if no styled text begins there.
func span(text string, i int) (inner, name string) {
	name = marks[text[i]]
	before, _ := utf8.DecodeLastRuneInString(text[:i])
	if name == "" || i > 0 && (unicode.IsLetter(before) || unicode.IsDigit(before)) {
		return "", ""
	}
	end := strings.IndexByte(text[i+1:], text[i])
	if end < 1 {
		return "", ""
	}
	inner = text[i+1 : i+1+end]
	after, _ := utf8.DecodeRuneInString(text[i+end+2:])
	if strings.Contains(inner, "\n") || strings.TrimSpace(inner) != inner || unicode.IsLetter(after) || unicode.IsDigit(after) {
		return "", ""
	}
	return inner, name
}

// tokenElement is what <target|label> becomes.
func tokenElement(target, label string) object {
	switch {
	case strings.HasPrefix(target, "@"):
		return object{"type": "user", "user_id": target[1:]}
	case strings.HasPrefix(target, "#"):
		return object{"type": "channel", "channel_id": target[1:]}
	case strings.HasPrefix(target, "!"):
		return object{"type": "broadcast", "range": target[1:]}
	}
	o := object{"type": "link", "url": unescape(target)}
	if label != "" {
		o["text"] = unescape(label)
	}
	return o
}

func styled(element object, looks style) object {
	if len(looks) > 0 {
		element["style"] = looks.json()
	}
	return element
}

var unentities = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&")

func unescape(s string) string { return unentities.Replace(s) }

var (
	webPattern  = regexp.MustCompile(`https?://[^<>|\s"]+`)
	linkPattern = regexp.MustCompile(`<https?://[^<>\s"]+`) // as in a token
)

// firstLink is the first web address that p links to, in its text or in blocks
// that have links, or "".
func firstLink(p *post) string {
	var blocks any
	if p.BotID != "" {
		json.Unmarshal(p.Blocks, &blocks) // there may be none
	}
	return unescape(webPattern.FindString(tokens(p.Text) + linked(blocks)))
}

// tokens is the links of a text, and nothing else of it.
func tokens(text string) string { return strings.Join(linkPattern.FindAllString(text, -1), " ") }

// linked is the texts in blocks in which Slack makes links.
func linked(v any) string {
	var all strings.Builder
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			all.WriteString(linked(x) + " ")
		}
	case object:
		text, _ := v["text"].(string)
		address, _ := v["url"].(string)
		switch v["type"] {
		case "mrkdwn", "markdown":
			if v["verbatim"] == true {
				return tokens(text)
			}
			return text
		case "link":
			return address
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			all.WriteString(linked(v[name]) + " ")
		}
	}
	return all.String()
}
