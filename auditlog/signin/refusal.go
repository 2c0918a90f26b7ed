package signin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"auditbot/auditlog"
	"auditbot/auditlog/internal/transport"
)

// A serviceError is Entra ID's no (RFC 6749, section 5.2). It holds what
// Microsoft's support asks for, and nothing that was secret in what was sent.
type serviceError struct {
	Status      int    // of HTTP
	Word        string // "invalid_grant"; "" if this was not the service's own answer
	Sub         string // "bad_token"; "" as a rule
	Number      int    // of AADSTS, 0 if there is none
	Text        string // its words, without number and ids
	Trace       string
	Correlation string
}

func (e *serviceError) Error() string {
	parts := []string{fmt.Sprintf("Entra ID answered %d %s", e.Status, http.StatusText(e.Status)), e.Word, e.Sub, e.Text}
	parts = slices.DeleteFunc(parts, func(part string) bool { return part == "" })
	return strings.Join(parts, ": ") + e.marks(e.Trace, e.Correlation)
}

// marks are the number and the ids, in brackets.
func (e *serviceError) marks(trace, correlation string) string {
	var marks []string
	if e.Number != 0 {
		marks = append(marks, fmt.Sprintf("AADSTS%d", e.Number))
	}
	if trace != "" {
		marks = append(marks, "trace id "+trace)
	}
	if correlation != "" {
		marks = append(marks, "correlation id "+correlation)
	}
	if len(marks) == 0 {
		return ""
	}
	return " (" + strings.Join(marks, ", ") + ")"
}

var (
	errorWord   = regexp.MustCompile(`^[a-z_]{1,60}$`)
	numberStart = regexp.MustCompile(`^AADSTS(\d{4,9}): *`)
	idsAtEnd    = regexp.MustCompile(`(?s)\s*Trace ID:.*$`)
)

// newServiceError reads an answer, of which nothing is kept that is not known
// to be harmless.
func newServiceError(status int, body []byte, secrets ...string) *serviceError {
	var answer struct {
		Word        string `json:"error"`
		Sub         string `json:"suberror"`
		Description string `json:"error_description"`
		Numbers     []int  `json:"error_codes"`
		Trace       string `json:"trace_id"`
		Correlation string `json:"correlation_id"`
	}
	e := &serviceError{Status: status}
	if json.Unmarshal(body, &answer) != nil {
		return e
	}
	if errorWord.MatchString(answer.Word) {
		e.Word = answer.Word
	}
	if errorWord.MatchString(answer.Sub) {
		e.Sub = answer.Sub
	}
	if guid.MatchString(answer.Trace) {
		e.Trace = answer.Trace
	}
	if guid.MatchString(answer.Correlation) {
		e.Correlation = answer.Correlation
	}
	text := answer.Description
	if m := numberStart.FindStringSubmatch(text); m != nil {
		e.Number, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	if e.Number == 0 && len(answer.Numbers) > 0 {
		e.Number = answer.Numbers[0]
	}
	e.Text = scrub(idsAtEnd.ReplaceAllString(text, ""), secrets...)
	return e
}

// longWord is what a token or a code may look like in a text; a GUID is
// shorter.
var longWord = regexp.MustCompile(`[\w.~+/=%-]{40,}`)

// maxText is how many bytes of a text from outside are read.
const maxText = 2000

// scrub makes text from outside fit for one line of a log, without the secrets
// that were sent and without anything that looks like one.
func scrub(text string, secrets ...string) string {
	text = text[:min(len(text), maxText)]
	for _, secret := range secrets {
		if repeats(text, secret) {
			return "[the answer repeats what was sent]"
		}
	}
	return transport.Clean(longWord.ReplaceAllString(text, "[…]"), 500)
}

// pieceSize is from how many bytes on a piece of a secret is as good as the
// secret: whoever quotes a request may cut what is long.
const pieceSize = 12

// repeats tells whether a text has a secret, or a piece of one, in it: as it
// is, as it was sent, or in quotes.
func repeats(text, secret string) bool {
	quoted := strings.Trim(strconv.Quote(secret), `"`)
	for _, form := range []string{secret, url.QueryEscape(secret), quoted} {
		form, text := strings.ToLower(form), strings.ToLower(text)
		for start := 0; form != "" && start <= max(0, len(form)-pieceSize); start++ {
			if strings.Contains(text, form[start:min(start+pieceSize, len(form))]) {
				return true
			}
		}
	}
	return false
}

// passing tells whether the service may say something else the next time. An
// answer without a word is not the service's own.
func (e *serviceError) passing() bool {
	return e.Word == "" || e.Status >= 500 || e.Status == http.StatusTooManyRequests ||
		e.Word == "temporarily_unavailable" || e.Word == "server_error"
}

// wordless tells whether the service, or something on the way, refused without
// a word. Some providers answer so to a refresh token that they do not take.
func (e *serviceError) wordless() bool {
	return e.Word == "" && (e.Status == http.StatusBadRequest || e.Status == http.StatusUnauthorized)
}

// unexplained is the refusal of a refresh that is wordless. It ends nothing: it
// may be a proxy's.
func (e *serviceError) unexplained() *auditlog.Refusal {
	return &auditlog.Refusal{
		Problem: fmt.Sprintf("the sign-in service refused the stored sign-in without saying why (%d)", e.Status),
		Advice:  "try again in some minutes; if it stays, sign in anew: !o365-auditlog-auth-reset, then !o365-auditlog-auth-start",
		Err:     e,
	}
}

// endsSession tells whether a person has to sign in again.
func (e *serviceError) endsSession() bool {
	return !e.passing() && slices.Contains([]string{"invalid_grant", "interaction_required", "login_required", "consent_required"}, e.Word)
}

// A noAnswer is a request to which no answer came, or none that can be read.
type noAnswer struct {
	host string
	err  error
}

func (e *noAnswer) Error() string { return fmt.Sprintf("asking %s: %v", e.host, e.err) }
func (e *noAnswer) Unwrap() error { return e.err }

// says tells whether an error is the service's with this word.
func says(err error, word string) bool {
	e, ok := errors.AsType[*serviceError](err)
	return ok && e.Word == word
}

// passing tells whether a failure may be gone at the next try.
func passing(err error) bool {
	if e, ok := errors.AsType[*serviceError](err); ok {
		return e.passing()
	}
	_, ok := errors.AsType[*noAnswer](err)
	return ok
}

// An ending is the error of a sign-in that there is no more: it is
// ErrNotSignedIn, and a [*auditlog.Refusal] as well, for those who can only
// show it.
type ending struct{ refusal *auditlog.Refusal }

func newEnding(why, advice string, err error) *ending {
	return &ending{&auditlog.Refusal{Problem: ErrNotSignedIn.Error() + ": " + why, Advice: advice, Err: err}}
}

// Error is for people: it leaves out what the service said.
func (e *ending) Error() string   { return e.refusal.Problem }
func (e *ending) Unwrap() []error { return []error{ErrNotSignedIn, e.refusal} }

// ending is why a refresh token is no longer taken.
func (e *serviceError) ending() *ending {
	m, ok := meanings[e.Number]
	if !ok {
		m, ok = listed(e.Number)
	}
	if !ok {
		m = meaning{"Microsoft does not take the stored sign-in any more", again}
	}
	return newEnding(m.problem+e.marks("", ""), m.advice, e)
}

// A flow is a way to sign in.
type flow int

const (
	byCode flow = iota // device code, and what follows from it
	byPassword
	byApplication // with a secret or a certificate
)

// refusal says what an error means to people, where it means anything to them.
// Other errors, and all of a ctx that was cancelled, are none of theirs.
func refusal(ctx context.Context, err error, by flow) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("signing in: %w", context.Cause(ctx))
	}
	if _, ok := errors.AsType[*auditlog.Refusal](err); ok {
		return err
	}
	var r *auditlog.Refusal
	if e, ok := errors.AsType[*serviceError](err); ok {
		r = e.refusal(by)
	} else if e, ok := errors.AsType[*noAnswer](err); ok {
		r = e.refusal()
	} else {
		return err
	}
	r.Err = err
	return r
}

// refusal says what e means, or what Microsoft said if that is not known.
func (e *serviceError) refusal(by flow) *auditlog.Refusal {
	m, known := e.meaning(by)
	if known {
		r := m.refusal()
		r.Problem += e.marks("", "")
		if by != byCode {
			r.Advice = strings.ReplaceAll(r.Advice, again, retype)
		}
		return r
	}
	if e.passing() {
		return &auditlog.Refusal{
			Problem: fmt.Sprintf("Microsoft's sign-in service has a failure of its own (%d)", e.Status),
			Advice:  inMinutes,
		}
	}
	problem := "Microsoft refused the sign-in"
	if e.Text != "" {
		problem += ": " + strings.TrimRight(e.Text, ". ")
	}
	return &auditlog.Refusal{
		Problem: problem + e.marks(e.Trace, ""),
		Advice:  "whoever administers Entra ID looks the number up at https://login.microsoftonline.com/error, and the trace id in the sign-in log",
	}
}

// meaning is what e's number says, or else its word.
func (e *serviceError) meaning(by flow) (m meaning, known bool) {
	if m, known = flowMeanings[by][e.Number]; known {
		return m, true
	}
	if m, known = meanings[e.Number]; known {
		return m, true
	}
	if m, known = listed(e.Number); known {
		if e.passing() {
			m.advice = inMinutes
		}
		return m, true
	}
	m, known = wordMeanings[e.Word]
	return m, known
}

func (e *noAnswer) refusal() *auditlog.Refusal {
	const service = "Microsoft's sign-in service"
	if errors.Is(e.err, errUnreadable) {
		return &auditlog.Refusal{
			Problem: service + " (" + e.host + ") answered with something that cannot be read",
			Advice:  "try again in some minutes; if it stays, whoever runs this bot checks that no proxy on the way answers in its place",
		}
	}
	return transport.Unreached(service, "login_url:", e.host, e.err)
}
