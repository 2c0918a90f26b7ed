// Package commands is the language that analysts type and the table of what
// they can ask for. It knows neither Slack nor HTTP.
//
// A typed line such as
//
//	!o365-auditlog-search start_date="3 days" user_ids=ada@contoso.com
//
// becomes words (words.go), the words become the fields of an argument struct
// (bind.go), dates become times (when.go), and the function in the command's
// row of [All] answers with a [Reply]. What a function needs from the outside
// is in [Env].
//
// The search has several rooms: search.go (its arguments), backend.go (which
// way it asks), hunt.go (while it runs, and how it goes on after an
// interruption), filter.go, order.go, count.go, fields.go (what becomes of the
// records), found.go (the reply) and attach.go (the files).
//
// Whether everything is set up right is in doctor.go, and what that means of
// instances in checkup.go.
//
// To add a command: write its argument struct, with the names, the help and
// which of them are required in the tags; write its function; add a row to
// All. Help, mistakes and near-miss suggestions follow from the row.
package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"auditbot/auditlog"
	"auditbot/auditlog/exchange"
	"auditbot/auditlog/signin"
)

// All is every command, in the order in which !help prints them.
func All() []Command {
	return []Command{
		command(searchName, "search the unified audit log", searchArgs{Start: When{"24 hours"}, Size: 10, MaxFetch: maxFetch, Format: "json"}, search),
		command("o365-auditlog-auth-start", "sign in to Microsoft 365 with a device code", instanceArgs{}, authStart),
		command("o365-auditlog-auth-complete", "check now whether the sign-in is done", instanceArgs{}, authComplete),
		command("o365-auditlog-auth-test", "prove that you may search, and that auditing is switched on", instanceArgs{}, authTest),
		command("o365-auditlog-auth-reset", "forget the sign-in", instanceArgs{}, authReset),
		command("o365-auditlog-doctor", "check how this bot is set up; for its admins", doctorArgs{}, doctor),
		command("cancel", "stop your commands that run, or the one with an id", cancelArgs{}, cancel),
		command("help", "list the commands, or explain one: help o365-auditlog-search", helpArgs{}, help),
	}
}

// A Command answers one kind of request.
type Command struct {
	Name  string // what is typed after the prefix
	Short string // for !help: a verb first, no capital, no full stop
	args  any    // the argument struct, holding the defaults
	run   func(context.Context, Env, []word) (Reply, error)
}

func command[A any](name, short string, defaults A, run func(context.Context, Env, A) (Reply, error)) Command {
	return Command{name, short, defaults, func(ctx context.Context, env Env, words []word) (Reply, error) {
		args := defaults
		if err := bind(&args, words); err != nil {
			return Reply{}, err
		}
		return run(ctx, env, args)
	}}
}

// Env is what commands have to work with: one person, one line, one moment.
type Env struct {
	Prefix    string    // what commands start with: "!"
	Now       time.Time // when the line was written; "3 days" counts back from it
	Instances []Instance
	Admin     bool // the person is an admin of this bot

	// Admins are the names of those who are. Nil means that nobody else is asked
	// for anything.
	Admins func(ctx context.Context) []string

	// Keep writes a file to a place where it lasts until it is attached, and
	// returns it. Name is its base name.
	Keep func(ctx context.Context, name string, write func(w FileWriter) error) (File, error)

	// Journal opens the journal of this command, which goes on where a crash or
	// a missing sign-in interrupted it.
	Journal func(ctx context.Context) (*Journal, error)

	// Progress is told now and then how far a search is. It must not wait. Nil
	// means that nobody looks.
	Progress func(auditlog.Progress)

	// Cancelled is closed when the person who asked wants no more. Nil means
	// that this cannot happen.
	Cancelled <-chan struct{}

	// Cancel stops the commands of the person who asks, or the one with this
	// id, and says what it did. Nil means that there are none.
	Cancel func(ctx context.Context, id string) (string, error)

	// Doctor looks whether everything is set up right, as the person who asks.
	// Nil means that this is asked for in another way here.
	Doctor func(ctx context.Context) []Check
}

// A Journal is where a search writes the records that it found while it runs.
// What was written before a checkpoint outlasts a crash; what came after it is
// gone then.
type Journal struct {
	State []byte    // that the last checkpoint left; nil at the first start
	Write io.Writer // goes on after the last checkpoint

	// Checkpoint makes durable what was written, and with it the state.
	Checkpoint func(ctx context.Context, state []byte) error

	// Open reads what was written up to the last checkpoint, and Size is how
	// many bytes that has.
	Open func(ctx context.Context) (io.ReadCloser, error)
	Size func() int64
}

// An Instance is one configured tenant as the person who asks reaches it. The
// first one in [Env] is the default; using=NAME picks another.
type Instance struct {
	Name     string // [a-z0-9_]+
	Tenant   string // domain or GUID
	Insecure bool   // certificates of Microsoft's hosts are not checked
	Shared   bool   // one sign-in for all who ask; only admins begin or end it
	Log      *auditlog.Log
	Exchange *exchange.Source
	Account  *signin.Account

	Backend  string // that is used if the command does not say: "auto" (also ""), "exchange", "graph"
	National bool   // in a national cloud, whose Graph cannot be asked for the audit log

	// GraphOf is the name of the instance whose other side this is: the same
	// tenant through Microsoft Graph, with a sign-in of its own. Exchange is
	// nil then. Budget is how many queries were created at Graph within 24
	// hours, and how many a tenant may.
	GraphOf string
	Budget  func() (used, limit int)
	Remote  *Remote

	// MaySearch looks, at Graph, whether the person is let in to its queries,
	// without submitting one. Nil in Exchange's side.
	MaySearch func(ctx context.Context) error

	// Seen is the names of operations that were seen in this tenant, and See
	// adds some. Nil means that none are remembered.
	Seen func(ctx context.Context) ([]string, error)
	See  func(ctx context.Context, names []string) error

	// SignIn begins a sign-in, or shows the one under way again, and tells
	// the person how it goes on. Check looks whether it is done.
	SignIn func(ctx context.Context) (string, error)
	Check  func(ctx context.Context) (string, error)

	// Withdraw ends the sign-in under way, and tells whether there was one. Nil
	// means that there never is.
	Withdraw func(ctx context.Context) (bool, error)
}

// A Remote holds the ids of queries that were created at Microsoft for one
// command, by a key of what they ask for. They are kept with the command's
// journal: a query outlives this process, and is not created again.
type Remote struct {
	ids  map[string]string
	save func(ctx context.Context) error
	tell func(auditlog.Progress)
}

// Waiting tells the person what Microsoft says of a query meanwhile: "running".
func (r *Remote) Waiting(status string) {
	if r.tell != nil {
		r.tell(auditlog.Progress{Waits: "Microsoft says that the query is " + status})
	}
}

// Recall is the id under this key, or "".
func (r *Remote) Recall(key string) string { return r.ids[key] }

// Remember makes an id durable. The id "" forgets the key.
func (r *Remote) Remember(ctx context.Context, key, id string) error {
	if r.ids == nil {
		r.ids = map[string]string{}
	}
	if r.ids[key] = id; r.save == nil {
		return nil
	}
	return r.save(ctx)
}

// NeedSignIn is the error of a command that cannot run before its person has
// signed in at an instance. Whoever called [Run] starts the sign-in and runs
// the line again afterwards.
type NeedSignIn struct {
	Instance string
	Err      error // why: never signed in, or the sign-in has ended
}

func (n *NeedSignIn) Error() string {
	return fmt.Sprintf("signing in at %s is needed: %v", n.Instance, n.Err)
}
func (n *NeedSignIn) Unwrap() error { return n.Err }

// failed is err of an Account or a Source of the instance, which is a
// [*NeedSignIn] if nobody is signed in.
func (i Instance) failed(err error) error {
	if errors.Is(err, signin.ErrNotSignedIn) {
		return &NeedSignIn{Instance: i.Name, Err: err}
	}
	if r, ok := errors.AsType[*auditlog.Refusal](err); ok && i.Shared {
		return &auditlog.Refusal{Problem: r.Problem, Advice: strings.ReplaceAll(r.Advice, signInAgain, i.howAgain()), Err: err}
	}
	return err
}

// signInAgain is what package auditlog's sources advise somebody who signs in
// for themselves.
const signInAgain = "sign in again: !o365-auditlog-auth-reset, then !o365-auditlog-auth-start"

// howAgain is what becomes of that where one sign-in serves all.
func (i Instance) howAgain() string {
	if i.Account.Unattended() {
		return "an admin of this bot types !o365-auditlog-auth-reset, and the next command signs in anew"
	}
	return "an admin of this bot has to " + signInAgain
}

// Run answers one command line. An error is a [*Mistake] of the person who
// asked, a [*NeedSignIn], an [*auditlog.Refusal], or a failure of ours.
func Run(ctx context.Context, env Env, line string) (Reply, error) {
	name, ok := Name(env.Prefix, line)
	if !ok {
		return Reply{}, mistakef("%q is not a command", Shorten(line, 40)).hintf("commands start with %[1]s: %[1]shelp lists them", env.Prefix)
	}
	c, ok := find(name)
	if !ok {
		return Reply{}, unknown(env.Prefix, name)
	}
	rest, err := words(line)
	if err != nil {
		return Reply{}, err
	}
	return c.run(ctx, env, rest[1:])
}

// Name is the command that a line calls, in lower case and without the prefix.
// It is false for a line that is not a command: one that does not start with
// the prefix and a letter right after it.
func Name(prefix, line string) (string, bool) {
	after, ok := strings.CutPrefix(strings.TrimFunc(line, IsBlank), prefix)
	if !ok {
		return "", false
	}
	name := strings.ToLower(plainDashes(strings.TrimFunc(firstField(after), isInvisible)))
	if first, _ := utf8.DecodeRuneInString(name); !unicode.IsLetter(first) {
		return "", false
	}
	return name, true
}

// Addresses tells whether a command with this name, typed where other bots
// and people also use the prefix, is meant for us: it is ours, or close to one
// of ours.
func Addresses(name string) bool {
	if _, ok := find(name); ok {
		return true
	}
	for _, prefix := range []string{"o365-auditlog", "case-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	for _, known := range names() {
		if distance(name, known) <= 2 {
			return true
		}
	}
	return false
}

// Known tells whether there is a command with this name.
func Known(name string) bool {
	_, ok := find(name)
	return ok
}

func find(name string) (Command, bool) {
	for _, c := range All() {
		if strings.EqualFold(c.Name, name) {
			return c, true
		}
	}
	return Command{}, false
}

func names() []string {
	var names []string
	for _, c := range All() {
		names = append(names, c.Name)
	}
	return names
}

func unknown(prefix, name string) *Mistake {
	m := mistakef("there is no command %q", prefix+Shorten(name, 60))
	if near := Nearest(name, names()); near != "" {
		return m.hintf("did you mean %s%s? %shelp lists all commands", prefix, near, prefix)
	}
	return m.hintf("%shelp lists all commands", prefix)
}

// Using is the name of the instance that a line picks, in lower case; "" if it
// leaves that to the default or cannot be read.
func Using(line string) string {
	all, _ := words(line)
	for _, w := range all {
		if w.name == "using" {
			return strings.ToLower(w.value)
		}
	}
	return ""
}

// instance is the one that using=name picks, or the default.
func (e Env) instance(name string) (Instance, error) {
	if len(e.Instances) == 0 {
		return Instance{}, mistakef("you have no access to any tenant here").hintf("ask an admin of this bot")
	}
	if name == "" {
		return e.Instances[0], nil
	}
	var known []string
	for _, i := range e.Instances {
		if strings.EqualFold(i.Name, name) {
			return i, nil
		}
		if i.GraphOf == "" {
			known = append(known, i.Name)
		}
	}
	return Instance{}, mistakef("there is no instance %q", name).hintf("using= takes one of: %s", strings.Join(known, ", "))
}
