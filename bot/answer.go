package bot

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"auditbot/auditlog"
	"auditbot/bot/engine"
	"auditbot/commands"
)

// patience is how long a command may run: one that asks Microsoft, or looks at
// everything as the doctor does. quickPatience is how long one of those that ask
// nobody may, longPatience how long one of those that go on after a restart, and
// afterPatience how long it may take to answer it after that. The time that it
// waits for its turn counts. The inbox keeps an item for 24 hours.
const (
	patience      = 10 * time.Minute
	quickPatience = time.Minute
	longPatience  = 20 * time.Hour
	afterPatience = 30 * time.Minute
)

// long are the commands that may run for longPatience. They keep a journal, so
// a shutdown does not wait for them; and once they are cancelled they answer
// with what they have.
var long = []string{"o365-auditlog-search"}

// quick are the commands that ask neither Slack nor Microsoft, and what is none.
var quick = []string{"help", "cancel", unknown}

// A state is how far the answering of a message is. It is durable before each
// step that can be seen in Slack, so that whoever takes over knows what may
// have been done already.
type state struct {
	Step        step      `json:"step"`
	Waits       string    `json:"waits,omitempty"`        // the instance whose sign-in the command waits for; it is not run here any more
	User        string    `json:"user,omitempty"`         // who asked; "" until it is known that the command takes a while
	Began       time.Time `json:"began,omitzero"`         // when it was first run; zero until then too
	Progress    string    `json:"progress,omitempty"`     // ts of the message that says that the command runs
	Shown       bool      `json:"shown,omitempty"`        // there may be such a message, be its ts known or not
	Cancelled   bool      `json:"cancelled,omitempty"`    // somebody who may wants it to end
	Uploads     []upload  `json:"uploads,omitempty"`      // what is still to be attached
	UploadTries int       `json:"upload_tries,omitempty"` // how often that was tried
	Plain       string    `json:"plain,omitempty"`        // digest of the answer's text, if it is to be told by nothing else
	Result      result    `json:"result,omitzero"`        // what became of the command, once its answer is to be posted
	By          string    `json:"by,omitempty"`           // which task wrote this last, and in which of its tries to; that it was cancelled, another may have added

	revision uint64
}

type step string

const (
	running step = ""        // nothing was posted yet but, perhaps, the progress
	posting step = "posting" // the answer was posted or was about to be: the thread tells, once what was under way has arrived
	unsure  step = "unsure"  // the same, and nothing is under way
	posted  step = "posted"  // it stands there; the file may be missing
)

// A task is a message while it is answered.
type task struct {
	Message
	id    string
	again bool   // an earlier try may have said something
	asks  Person // the author of the Message
	line  string
	name  string // of the command
	by    string // which task this is, of all that ever worked on the message
	saves int    // how often it has tried to write its state
	began time.Time
	tries int // of the item: 1 the first time
	log   *slog.Logger

	outcome  string // what its answer alone does not tell: an error's, for one; "" if there is nothing
	overtime bool   // it had run for as long as it may
	refused  string // why it was not served

	far       chan auditlog.Progress // the latest that the command told, if nobody has looked at it yet
	told      atomic.Bool            // it told something: it got somewhere in this run
	cancelled chan struct{}          // closed when it is to end with what it has
	cancel    func()                 // closes cancelled; may be called again

	unseen  bool            // there may be a message that shows that it runs, whose ts is not known
	unbegun bool            // it was cancelled before its turn came
	instead *commands.Reply // if it is not run, the answer

	mu    sync.Mutex // held while state is changed and saved as the command runs
	state state
	over  bool // the command does not run any more

	listed bool // it may be in the bucket Running
}

func (b *Bot) newTask(item engine.Item) *task {
	t := &task{id: item.ID, by: rand.Text(), listed: item.Again, again: item.Again, tries: item.Tries, began: time.Now(), far: make(chan auditlog.Progress, 1), cancelled: make(chan struct{})}
	t.cancel = sync.OnceFunc(func() { close(t.cancelled) })
	t.log = b.Log.With("item", t.id)
	return t
}

// long tells whether t goes on after a restart.
func (t *task) long() bool { return slices.Contains(long, t.name) }

// hand is what t counts to of what its person has in hand, and how much that may
// be.
func (t *task) hand() (whose string, most int) {
	if t.Cancels != "" || t.name == "cancel" {
		return t.User + " cancels", handfulCancels
	}
	return t.User, handful
}

func (t *task) isCancelled() bool {
	select {
	case <-t.cancelled:
		return true
	default:
		return false
	}
}

func (t *task) patience() time.Duration {
	switch {
	case t.long():
		return longPatience
	case slices.Contains(quick, t.name):
		return quickPatience
	}
	return patience
}

// answer answers the message in an item of the inbox. With an error, the item
// comes again. What went wrong in the command itself is no error: the person
// is told.
func (b *Bot) answer(ctx context.Context, item engine.Item) error {
	t := b.newTask(item)
	if err := json.Unmarshal(item.Data, &t.Message); err != nil {
		t.log.Error("an item of the inbox is not a message", "err", err)
		return nil
	}
	line, ok, mistake := b.command(t.Message)
	if !ok {
		return nil
	}
	t.line, t.name = line, b.nameOf(line)
	t.log = t.log.With("command", t.name, "channel", t.Channel, "user", t.User)
	whose, most := t.hand()
	if !b.hands.take(whose, most) {
		return errTooMany
	}
	defer b.hands.drop(whose)
	ctx, cancel := context.WithTimeout(ctx, t.patience()+afterPatience)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(b.late, func() { end(errStopping) })()
	if r, err := b.admit(ctx, t); err != nil {
		return err
	} else if r != nil {
		return b.turnAway(ctx, t, r)
	}
	if t.Cancels != "" {
		return b.ended(t, b.cancelPressed(ctx, t))
	}
	if err := b.load(ctx, t); err != nil {
		return err
	}
	t.seeAge()
	if gone, err := b.takenBack(ctx, t); gone || err != nil {
		return err
	}
	if err := b.look(ctx, t); err != nil {
		return err
	}
	return b.inTurn(ctx, t, func() error { return b.goOn(ctx, t, mistake) })
}

// admit looks who asks, and is why they are not served; nil if they are. With an
// error, Slack may say so at another try.
func (b *Bot) admit(ctx context.Context, t *task) (r *refusal, err error) {
	if t.asks, r, err = b.authorise(ctx, t.Message); err == nil || passing(err) {
		return r, err
	}
	id := rand.Text()[:8]
	t.log.Error("checking who asks", "id", id, "err", err)
	return &refusal{reason: "it cannot be checked who asks", tell: "Your command is not run: Slack does not tell me who you are. The log has more under " + id + "."}, nil
}

// turnAway ends a command whose author is not served.
func (b *Bot) turnAway(ctx context.Context, t *task, r *refusal) error {
	b.dropQueued(ctx, t)
	b.unlist(ctx, t)
	if r == notListed && !t.again && b.Access.here(t.Message) == nil && !b.people.mayBeTold(t.User, t.Channel) {
		r = &refusal{reason: r.reason} // told of late: nobody's refusals are to keep the workers busy
	}
	return b.ended(t, b.refuse(ctx, t, r))
}

// showWaiting shows in the thread that a command has to wait, and what for,
// unless it waits no longer by then.
func (b *Bot) showWaiting(ctx, waiting context.Context, t *task, why string) {
	f := section(fmt.Sprintf("⏳ `%s` waits: %s. It begins by itself.\n`%scancel %s` stops it.",
		mrkdwn(b.Prefix+t.name), mrkdwn(why), mrkdwn(b.Prefix), t.handle()))
	f.blocks = append(f.blocks, cancelButton(t.id))
	if _, err := b.sayProgress(ctx, waiting, t, f); err != nil && !errors.Is(err, errOvertaken) {
		t.log.Warn("showing that a command waits", "err", err)
	}
}

// dropQueued takes a command that is refused now out of those that wait for
// their turn, and the button that cancels it out of the thread.
func (b *Bot) dropQueued(ctx context.Context, t *task) {
	b.tasks.drop(t)
	if err := b.load(ctx, t); err != nil {
		t.log.Warn("looking for the message of a command that is refused", "err", err)
		return
	}
	if t.Cancels == "" && t.state.Step == running {
		b.endProgress(ctx, t, fmt.Sprintf("⏹ `%s` is not answered.", mrkdwn(b.Prefix+t.name)))
	}
}

// look finds out whether the thread has the answer, if it may have.
func (b *Bot) look(ctx context.Context, t *task) error {
	if t.state.Step != posting && t.state.Step != unsure {
		return nil
	}
	if t.state.Step == posting {
		select {
		case <-time.After(b.underWay):
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-b.life.Done():
			return errStopping
		}
	}
	found, err := b.answered(ctx, t)
	if err != nil {
		return err
	}
	t.state.Step = running
	if found {
		t.state.Step = posted
		b.settleProgress(ctx, t)
		if err := b.save(ctx, t); err != nil { // so that it is recorded once
			return err
		}
		b.record(t, t.state.Result)
		b.heard.answered(t.Message)
	}
	return nil
}

// goOn takes a task on from its state.
func (b *Bot) goOn(ctx context.Context, t *task, mistake error) error {
	if t.state.Step == running {
		reply, err := b.run(ctx, t, mistake)
		if err != nil {
			return err
		}
		b.unlist(ctx, t)
		if time.Since(t.began) > kept { // they may have left while it ran
			if r, err := b.admit(ctx, t); err != nil {
				return err
			} else if r != nil {
				return b.turnAway(ctx, t, r)
			}
		}
		t.state.Result = t.resultOf(reply)
		if err := b.post(ctx, t, reply); err != nil {
			return err
		}
		b.record(t, t.state.Result)
		b.heard.answered(t.Message)
	}
	return b.attach(ctx, t)
}

// run runs the command while the thread shows, from the first second on, that
// it runs. Whatever the command ends with, even a panic, becomes a reply. An
// error brings the item back: it is why ctx ended, [errStopping], or that of a
// command of which it is not known whether it waits for a sign-in.
func (b *Bot) run(ctx context.Context, t *task, mistake error) (commands.Reply, error) {
	b.tasks.begin(t)
	defer b.tasks.end(t)
	stop := b.showProgress(ctx, t)
	defer stop()
	if mistake != nil {
		return b.explain(t, mistake), nil
	}
	var reply commands.Reply
	var err error
	switch {
	case t.instead != nil:
		return *t.instead, nil
	case t.unbegun:
		return b.giveUp(ctx, t, commands.Reply{Title: "⏹ Cancelled", Text: "It had not begun yet."})
	case t.GivenUp != "":
		return b.giveUp(ctx, t, commands.Reply{Title: t.GivenUp, Text: "The command does not go on; to try again, type it again."})
	case t.state.Waits != "":
		err = &commands.NeedSignIn{Instance: t.state.Waits, Err: errors.New("the command waits already")}
	default:
		reply, err = b.try(ctx, t)
	}
	if ctx.Err() != nil { // whatever it ended with
		return commands.Reply{}, context.Cause(ctx)
	}
	if need, ok := errors.AsType[*commands.NeedSignIn](err); ok {
		return b.waitForSignIn(ctx, t, need)
	}
	switch {
	case errors.Is(err, errStopping):
		return commands.Reply{}, errStopping
	case errors.Is(err, errCancelled):
		return commands.Reply{Title: "⏹ Cancelled", Text: "It had found nothing yet that could be shown."}, nil
	case err != nil:
		return b.explain(t, err), nil
	}
	return reply, nil
}

// try runs the command. A panic in it is an error. With [errStopping], whatever
// it ended with is not its end. A command that does not heed the end of its time
// is an error too, and goes on by itself.
func (b *Bot) try(ctx context.Context, t *task) (commands.Reply, error) {
	ctx, end := b.bound(ctx, t)
	defer end()
	type outcome struct {
		commands.Reply
		err error
	}
	ended := make(chan outcome, 1)
	stack := make(chan func() string, 1)
	go func() {
		var o outcome
		defer func() {
			if p := recover(); p != nil {
				o.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
			ended <- o
		}()
		stack <- stackOf()
		o.Reply, o.err = b.perform(ctx, b.env(t), t.line)
	}()
	var o outcome
	select {
	case o = <-ended:
	case <-ctx.Done():
		select {
		case o = <-ended:
		case <-time.After(heed):
			t.log.Error("a command does not end; it is given up", "why", context.Cause(ctx), "stack", (<-stack)())
			o.err = fmt.Errorf("the command did not heed the end of its time: %v", context.Cause(ctx)) // which explains nothing
		}
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, errStopping) || o.err != nil && errors.Is(cause, errCancelled) {
		return commands.Reply{}, cause
	}
	return o.Reply, o.err
}

// stackOf returns what tells where the goroutine that calls it is then.
func stackOf() func() string {
	head := make([]byte, 64)
	head = head[:runtime.Stack(head, false)]
	name, _, _ := bytes.Cut(head, []byte(" [")) // "goroutine 12"
	return func() string {
		all := make([]byte, 1<<20)
		all = all[:runtime.Stack(all, true)]
		for one := range bytes.SplitSeq(all, []byte("\n\n")) {
			if bytes.HasPrefix(one, append(name, " ["...)) {
				return string(one)
			}
		}
		return "not found"
	}
}

// explain turns an error into a reply, and logs it under an id if it is not
// the person's own.
func (b *Bot) explain(t *task, err error) commands.Reply {
	if commands.IsMistake(err) {
		t.outcome = "mistake"
		return commands.Explain(b.Prefix, err, "")
	}
	t.outcome = "failed"
	id := rand.Text()[:8]
	t.log.Error("failed", "id", id, "took", time.Since(t.began).Round(time.Millisecond), "err", err)
	return commands.Explain(b.Prefix, err, id)
}

// env is what the command in t has to work with.
func (b *Bot) env(t *task) commands.Env {
	env := commands.Env{
		Prefix:    b.Prefix,
		Now:       t.Sent(),
		Instances: b.Instances(t.asks),
		Admin:     t.asks.Admin,
		Admins:    b.admins,
		Keep:      b.keep(t.id),
		Journal:   b.journal(t),
		Progress:  t.tell,
		Cancelled: t.cancelled,
		Cancel:    func(ctx context.Context, id string) (string, error) { return b.cancelTyped(ctx, t, id) },
	}
	if b.Doctor != nil {
		env.Doctor = func(ctx context.Context) []commands.Check { return b.Doctor(ctx, t.asks) }
	}
	for i := range env.Instances {
		instance := env.Instances[i]
		env.Instances[i].SignIn = func(ctx context.Context) (string, error) { return b.signIn(ctx, t, instance) }
		env.Instances[i].Check = func(ctx context.Context) (string, error) { return b.checkSignIn(ctx, t, instance) }
		env.Instances[i].Withdraw = func(ctx context.Context) (bool, error) { return b.withdraw(ctx, t.Message, instance) }
	}
	return env
}

// keep writes files to the engine, as evidence under the id of the command.
func (b *Bot) keep(id string) func(context.Context, string, func(commands.FileWriter) error) (commands.File, error) {
	return func(ctx context.Context, name string, write func(commands.FileWriter) error) (commands.File, error) {
		evidence := id + "/" + name
		w, err := b.Engine.CreateEvidence(ctx, evidence)
		if err != nil {
			return commands.File{}, err
		}
		defer w.Discard()
		if err := write(w); err != nil {
			return commands.File{}, err
		}
		if err := w.Close(); err != nil {
			return commands.File{}, err
		}
		size, err := b.Engine.EvidenceSize(ctx, evidence)
		if err != nil {
			return commands.File{}, err
		}
		open := func(ctx context.Context) (io.ReadCloser, error) { return b.Engine.OpenEvidence(ctx, evidence) }
		return commands.File{Name: name, Type: "json", Size: size, Open: open}, nil
	}
}

// load reads how far the answering of t is.
func (b *Bot) load(ctx context.Context, t *task) error {
	value, revision, err := b.Engine.Bucket(engine.Commands).Get(ctx, t.id)
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(value, &t.state)
	}
	if err != nil {
		return fmt.Errorf("reading how far a command is: %w", err)
	}
	t.state.revision = revision
	t.unseen = t.state.Shown && t.state.Progress == ""
	if !t.state.Began.IsZero() {
		t.began = t.state.Began
	}
	if t.state.Cancelled {
		t.cancel() // before a restart
	}
	return nil
}

// note changes the state of t while its command runs, and makes it durable.
func (b *Bot) note(ctx context.Context, t *task, change func(*state)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.state)
	return b.save(ctx, t)
}

// save makes the state of t durable. If another worker changed it meanwhile,
// that one has taken over, and this one must stop. That the command was cancelled
// meanwhile, in another replica, is noted.
func (b *Bot) save(ctx context.Context, t *task) error {
	bucket := b.Engine.Bucket(engine.Commands)
	for {
		next := t.state
		t.saves++
		next.By = fmt.Sprint(t.by, ".", t.saves)
		value, err := json.Marshal(next)
		if err != nil {
			return fmt.Errorf("writing down how far a command is: %w", err)
		}
		if next.revision == 0 {
			next.revision, err = bucket.Create(ctx, t.id, value)
		} else {
			next.revision, err = bucket.Update(ctx, t.id, value, next.revision)
		}
		if err == nil {
			t.state.By, t.state.revision = next.By, next.revision
			return nil
		}
		if !errors.Is(err, engine.ErrConflict) {
			return fmt.Errorf("writing down how far a command is: %w", err)
		}
		if err := b.seeState(ctx, t); err != nil {
			return err
		}
	}
}
