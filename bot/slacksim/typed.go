package slacksim

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A typist turns what somebody types into what Slack stores: entities, links,
// mentions. Slack finds links inside of code, too.
// https://docs.slack.dev/messaging/formatting-message-text
type typist struct {
	users    []User
	channels []*Channel
	curly    bool // the keyboard of [User.CurlyQuotes]
	greedy   bool // an address may have an = in it: [Server.EmailTakesEquals]
}

// typist is u's, or the bot's if u is nil.
func (s *Server) typist(u *User) typist {
	return typist{users: s.users, channels: s.channels, curly: u != nil && u.CurlyQuotes, greedy: s.EmailTakesEquals}
}

// store is what becomes of a message that was typed. It is "" if there is
// nothing in it.
func (t typist) store(text string) string {
	text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
	text = emoji.Replace(text)
	if t.curly {
		text = curl(text)
	}
	return t.scan(text, true, true)
}

// link is what becomes of a text that the bot posts: tokens in angle brackets
// and entities are its own, and addresses become links if links is set.
func (t typist) link(text string, links bool) string { return t.scan(text, false, links) }

// scan goes through a text, and replaces what it finds.
func (t typist) scan(text string, typed, links bool) string {
	var out strings.Builder
	for i := 0; i < len(text); {
		rest := text[i:]
		if !typed {
			if token := own.FindString(rest); token != "" {
				out.WriteString(token)
				i += len(token)
				continue
			}
		}
		token, n := t.token(text, i, typed, links)
		if n == 0 {
			_, n = utf8.DecodeRuneInString(rest)
			token = escape(rest[:n])
		} else if t.curly && !strings.HasPrefix(token, "<@") && strings.HasSuffix(out.String(), " ") {
			before := strings.TrimSuffix(out.String(), " ")
			out.Reset()
			out.WriteString(before + "\u00a0") // seen in front of pasted links
		}
		out.WriteString(token)
		i += n
	}
	return out.String()
}

// own is what an app writes itself: a token in angle brackets, or an entity.
var own = regexp.MustCompile(`^(<[^<>\n]+>|&(amp|lt|gt);)`)

// escape replaces the three characters that Slack replaces.
func escape(s string) string { return entities.Replace(s) }

var entities = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// What is recognised in a text. The names of domains are those of the more
// common ends; what Slack's list is is not known.
var (
	urlPattern     = regexp.MustCompile("^https?://[^\\s<>|\"`“”]+")
	emailPattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._%+'-]*@` + domainPattern)
	greedyPattern  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._%+'=-]*@` + domainPattern)
	barePattern    = regexp.MustCompile("^(?i)([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+(com|net|org|edu|gov|mil|info|biz|io|co|dev|app|ai|me|us|uk|de|fr|eu|ch|at|nl|sh|zip)(:[0-9]+)?(/[^\\s<>|\"`“”]*)?")
	phonePattern   = regexp.MustCompile(`^\+[0-9][0-9 ().-]{5,}[0-9]`)
	mentionPattern = regexp.MustCompile(`^@([a-z0-9][a-z0-9._-]*)`)
	channelPattern = regexp.MustCompile(`^#([a-z0-9][a-z0-9_-]*)`)
)

const domainPattern = `([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}`

// token is what stands for the text from i on, and how many bytes of it; none
// if nothing begins there.
func (t typist) token(text string, i int, typed, links bool) (token string, n int) {
	before, _ := utf8.DecodeLastRuneInString(text[:i])
	if i > 0 && (unicode.IsLetter(before) || unicode.IsDigit(before) || before == '_' || before == '\\') {
		return "", 0 // in the middle of a word
	}
	rest := text[i:]
	if typed {
		if token, n = t.mention(rest); n > 0 {
			return token, n
		}
	}
	if !links || strings.ContainsRune("@./-", before) && i > 0 {
		return "", 0
	}
	return t.address(rest)
}

// mention stands for a person, a channel, or everyone.
func (t typist) mention(text string) (token string, n int) {
	if m := mentionPattern.FindStringSubmatch(text); m != nil {
		name := strings.TrimRight(m[1], "._-")
		if slices.Contains([]string{"here", "channel", "everyone"}, name) {
			return "<!" + name + ">", len("@" + name)
		}
		if u := slices.IndexFunc(t.users, func(u User) bool { return u.Name == name && !u.Deleted }); u >= 0 {
			return "<@" + t.users[u].ID + ">", len("@" + name)
		}
	}
	if m := channelPattern.FindStringSubmatch(text); m != nil {
		name := strings.TrimRight(m[1], "_-")
		if c := slices.IndexFunc(t.channels, func(c *Channel) bool { return c.Name == name && name != "" }); c >= 0 {
			return "<#" + t.channels[c].ID + "|" + name + ">", len("#" + name)
		}
	}
	return "", 0
}

// address stands for something to follow: a web or e-mail address, a domain, a
// telephone number.
func (t typist) address(text string) (token string, n int) {
	if a := strings.TrimRight(urlPattern.FindString(text), `.,;:!?'’)]}*_~`); strings.Trim(a, "htps:/") != "" {
		return "<" + escape(t.normal(a)) + ">", len(a)
	}
	email := emailPattern
	if t.greedy {
		email = greedyPattern
	}
	if a := email.FindString(text); a != "" {
		return "<mailto:" + a + "|" + a + ">", len(a)
	}
	if a := strings.TrimRight(barePattern.FindString(text), `.,;:!?'’)]}*_~`); a != "" && ends(text[len(a):]) {
		return "<http://" + escape(a) + "|" + escape(a) + ">", len(a)
	}
	if a := phonePattern.FindString(text); a != "" && ends(text[len(a):]) {
		return "<tel:+" + digits(a) + "|" + a + ">", len(a)
	}
	return "", 0
}

// normal is a URL as Slack keeps it: a desktop client, whose users have curly
// quotes here, was seen to add a slash to one that is a host only.
func (t typist) normal(url string) string {
	if t.curly && strings.Count(url, "/") == 2 && !strings.ContainsAny(url, "?#") {
		return url + "/"
	}
	return url
}

// ends tells whether a word is over before the rest.
func ends(rest string) bool {
	r, _ := utf8.DecodeRuneInString(rest)
	return rest == "" || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("@_-=\\", r)
}

func digits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}

// emoji are some of those that Slack stores as names.
var emoji = strings.NewReplacer("🎉", ":tada:", "👍", ":+1:", "🚨", ":rotating_light:", "✅", ":white_check_mark:", "❌", ":x:", "🔥", ":fire:", "👀", ":eyes:", "😀", ":grinning:")

// curl is what macOS and iOS make of quotes and dashes while somebody types: an
// opening quote where a word may start, else a closing one.
func curl(text string) string {
	var out strings.Builder
	before := ' '
	for _, r := range strings.ReplaceAll(text, "--", "—") {
		opening := unicode.IsSpace(before) || strings.ContainsRune("([{=:,—", before)
		switch {
		case r == '"' && opening:
			r = '“'
		case r == '"':
			r = '”'
		case r == '\'' && opening:
			r = '‘'
		case r == '\'':
			r = '’'
		}
		out.WriteRune(r)
		before = r
	}
	return out.String()
}

// characters is how long a text is for Slack's limits: in UTF-16 code units,
// since that is what counts most.
func characters(s string) int {
	n := 0
	for _, r := range s {
		if n++; r > 0xffff {
			n++
		}
	}
	return n
}
