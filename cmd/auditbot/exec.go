package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/tenantsim"
	"auditbot/bot"
	"auditbot/bot/engine"
	"auditbot/commands"
)

type execCommand struct {
	Config  string   `default:"auditbot.yml" help:"The settings file." placeholder:"FILE"`
	Demo    bool     `help:"Ask a simulated tenant; needs no settings and no sign-in."`
	Records string   `help:"With --demo: load these AuditData records (NDJSON) instead of contoso's." placeholder:"FILE" type:"existingfile"`
	JSON    bool     `name:"json" help:"Print the context as JSON, and the verdict as one line on standard error."`
	Out     string   `help:"Write attachments into this folder." placeholder:"DIR" type:"path"`
	Command []string `arg:"" help:"The command in quotes; or - to read one per line from standard input."`
}

// Run answers one command, or one per line.
func (c execCommand) Run(p *program) error {
	if len(c.Command) != 1 {
		return &commands.Mistake{Problem: `put the whole command into single quotes: auditbot exec '!o365-auditlog-search start_date="3 days"'`}
	}
	if c.Records != "" && !c.Demo {
		return &commands.Mistake{Problem: "--records goes with --demo only: a real tenant has its own"}
	}
	t, err := c.open(p)
	if err != nil {
		return err
	}
	defer t.close()
	if c.Command[0] == "-" {
		return t.readLines(p.stdin)
	}
	return t.exit(t.one(p.ctx, c.Command[0]))
}

// A terminal answers commands without Slack.
type terminal struct {
	*program
	log     *slog.Logger
	prefix  string
	engine  *engine.Engine
	tenants []*tenant
	person  bot.Person
	json    bool
	lines   bool   // commands come from standard input; with json, each yields one object on a line
	out     string // "" means that attachments are not kept
	scratch string // a folder that is deleted at the end
	closers []func()
}

func (t *terminal) close() {
	for i := len(t.closers) - 1; i >= 0; i-- {
		t.closers[i]()
	}
}

// open puts together what answers commands: the configured instances, or the
// simulated tenant with somebody signed in.
func (c execCommand) open(p *program) (t *terminal, err error) {
	t = &terminal{program: p, json: c.JSON, out: c.Out, lines: c.Command[0] == "-", person: bot.Person{ID: "local:" + localUser(), Admin: true}}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if t.scratch, err = os.MkdirTemp("", "auditbot-exec-"); err != nil {
		return t, fmt.Errorf("making a folder for results: %w", err)
	}
	t.closers = append(t.closers, func() { os.RemoveAll(t.scratch) })
	if c.Out != "" {
		if err := os.MkdirAll(c.Out, 0o700); err != nil {
			return t, fmt.Errorf("making the folder for attachments: %w", err)
		}
	}
	t.log = slog.New(slog.NewJSONHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	if c.Demo {
		return t, c.openDemo(t)
	}
	s, err := loadSettings(c.Config, p.getenv)
	if err != nil {
		return t, err
	}
	key, err := engineKey(p.getenv)
	if err != nil {
		return t, err
	}
	return t, t.connect(s, key)
}

func (c execCommand) openDemo(t *terminal) error {
	sim, err := demoTenant(c.Records)
	if err != nil {
		return err
	}
	if err := sim.Start(); err != nil {
		return err
	}
	t.closers = append(t.closers, sim.Close)
	if err := t.connect(demoInstance(sim, filepath.Join(t.scratch, "data")), madeUpKey()); err != nil {
		return err
	}
	t.person.Email = "ada@contoso.com"
	for _, instance := range instancesAs(t.tenants, t.person) {
		if err := instance.Account.SignIn(t.ctx, tenantsim.ContosoPassword); err != nil {
			return err
		}
	}
	return nil
}

func (t *terminal) connect(s settings, key []byte) error {
	e, err := openEngine(t.ctx, s, t.getenv, key, t.log)
	if err != nil {
		return err
	}
	t.closers = append(t.closers, func() { e.Close() })
	t.engine, t.prefix = e, s.Slack.Prefix
	t.tenants, err = newTenants(s, t.getenv, e)
	for _, tenant := range t.tenants {
		for _, warning := range tenant.warnings() {
			fmt.Fprintf(t.stderr, "auditbot: warning: %s: %s\n", tenant.Name, warning)
		}
	}
	return err
}

func localUser() string {
	u, err := user.Current()
	if err != nil {
		return cmp.Or(os.Getenv("USER"), "unknown")
	}
	return u.Username
}

// An outcome is what came of one command, as a line of --json shows it.
type outcome struct {
	Command string            `json:"command"`
	Status  string            `json:"status"`  // "answered", "mistake", "failure"
	Error   string            `json:"error"`   // if it was answered all the same: why only with what had been found
	Context json.RawMessage   `json:"context"` // null where the command adds nothing
	Verdict *auditlog.Verdict `json:"verdict"` // null where nothing was searched
	Files   []string          `json:"files"`   // paths of the attachments

	reply   commands.Reply
	status  int
	journal string // the id of a search's; "" before there is one
}

// readLines answers one command per line, until there are no more or it is
// interrupted.
func (t *terminal) readLines(r io.Reader) error {
	lines := make(chan string)
	var readErr error
	go func() {
		defer close(lines)
		s := bufio.NewScanner(r)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			select {
			case lines <- s.Text():
			case <-t.ctx.Done():
				return
			}
		}
		readErr = s.Err()
	}()
	worst := answered
	for {
		select {
		case <-t.ctx.Done():
			return context.Cause(t.ctx)
		case line, ok := <-lines:
			if !ok && readErr != nil {
				return fmt.Errorf("reading commands: %w", readErr)
			}
			if !ok && worst != answered {
				return &toldError{worst}
			}
			if !ok {
				return nil
			}
			if strings.TrimSpace(line) == "" {
				continue
			}
			if told, ok := errors.AsType[*toldError](t.exit(t.one(t.ctx, line))); ok {
				worst = worse(worst, told.status)
			}
		}
	}
}

// worse is the worse of two exit statuses: a failure of ours is worse than a
// mistake.
func worse(a, b int) int {
	if a == ourFailure || b == ourFailure {
		return ourFailure
	}
	return max(a, b)
}

// one answers a line.
func (t *terminal) one(ctx context.Context, line string) outcome {
	o := outcome{Command: line, Status: "answered", Files: []string{}}
	reply, err := t.answer(ctx, &o)
	ctx = context.WithoutCancel(ctx)
	o.reply = reply
	if err == nil {
		err = t.keepJournal(ctx, &o)
	}
	if err == nil {
		err = o.read(ctx, t.lines && t.json)
	}
	if err != nil {
		o.fail(t, err)
	}
	return o
}

// read brings the verdict of the reply into the outcome and, where all of it
// is to be one line of JSON, the context.
func (o *outcome) read(ctx context.Context, whole bool) error {
	o.Verdict = o.reply.Verdict
	if o.reply.Context == nil || !whole {
		return nil
	}
	content, err := o.reply.Context.Open(ctx)
	if err != nil {
		return err
	}
	defer content.Close()
	if o.Context, err = io.ReadAll(content); err != nil {
		return fmt.Errorf("reading the context: %w", err)
	}
	return nil
}

func (o *outcome) fail(t *terminal, err error) {
	o.Status, o.status = "failure", ourFailure
	if commands.IsMistake(err) {
		o.Status, o.status = "mistake", userMistake
	}
	o.reply = o.explain(t, err)
}

// explain says in the outcome what went wrong, and logs it under an id if it is
// not the person's own mistake.
func (o *outcome) explain(t *terminal, err error) commands.Reply {
	id := ""
	if !commands.IsMistake(err) {
		id = rand.Text()[:8]
		t.log.Error("failed", "id", id, "err", err)
	}
	told := commands.Explain(t.prefix, err, id)
	o.Error = strings.TrimSpace(told.Title + "\n" + told.Text)
	return told
}

// env is what a command has to work with here. Its files are noted in o.
func (t *terminal) env(o *outcome) commands.Env {
	env := commands.Env{Prefix: t.prefix, Now: time.Now(), Instances: instancesAs(t.tenants, t.person), Admin: true}
	for i := range env.Instances {
		instance := env.Instances[i]
		env.Instances[i].SignIn = func(context.Context) (string, error) { return t.showCode(t.ctx, instance) } // it can be interrupted, unlike a command
		env.Instances[i].Check = func(ctx context.Context) (string, error) { return checkSignIn(ctx, t.prefix, instance) }
	}
	env.Journal = func(ctx context.Context) (*commands.Journal, error) { return t.openJournal(ctx, o) }
	env.Keep = func(_ context.Context, name string, write func(commands.FileWriter) error) (commands.File, error) {
		return t.keep(o, name, write)
	}
	return env
}

// keep writes a file into the folder for attachments, or where it is read once
// and deleted.
func (t *terminal) keep(o *outcome, name string, write func(commands.FileWriter) error) (commands.File, error) {
	dir := cmp.Or(t.out, t.scratch)
	f, err := createNew(dir, name)
	if err != nil {
		return commands.File{}, fmt.Errorf("writing an attachment: %w", err)
	}
	buffered := bufio.NewWriterSize(f, 1<<16)
	err = write(buffered)
	err = errors.Join(err, buffered.Flush())
	size, statErr := f.Seek(0, io.SeekEnd)
	if err := errors.Join(err, statErr, f.Close()); err != nil {
		return commands.File{}, errors.Join(err, os.Remove(f.Name()))
	}
	if t.out != "" {
		o.Files = append(o.Files, f.Name())
	}
	open := func(context.Context) (io.ReadCloser, error) { return os.Open(f.Name()) }
	return commands.File{Name: filepath.Base(f.Name()), Type: "json", Size: size, Open: open}, nil
}

// openJournal opens where a search writes what it found: once more if the
// command goes on after a sign-in. The next start is another command.
func (t *terminal) openJournal(ctx context.Context, o *outcome) (*commands.Journal, error) {
	if err := commands.CheckRoom(t.engine.Space()); o.journal == "" && err != nil {
		return nil, err
	}
	if o.journal == "" {
		id := "exec/" + rand.Text()
		o.journal = id
		t.closers = append(t.closers, func() { _ = t.engine.DeleteJournal(context.WithoutCancel(ctx), id) }) // what stays is deleted when it is old
	}
	j, err := t.engine.OpenJournal(ctx, o.journal)
	if err != nil {
		return nil, err
	}
	return &commands.Journal{State: j.State(), Write: j, Checkpoint: j.Checkpoint, Open: j.Open, Size: j.Size}, nil
}

// keepJournal copies an attachment that is the journal itself to the others.
func (t *terminal) keepJournal(ctx context.Context, o *outcome) error {
	if t.out == "" {
		return nil
	}
	for _, f := range o.reply.Files {
		if !f.Journal {
			continue
		}
		content, err := f.Open(ctx)
		if err != nil {
			return err
		}
		_, err = t.keep(o, f.Name, func(w commands.FileWriter) error {
			_, err := io.Copy(w, content)
			return err
		})
		if err := errors.Join(err, content.Close()); err != nil {
			return err
		}
	}
	return nil
}

// createNew creates a file that was not there; a number goes into its name if
// it was.
func createNew(dir, name string) (*os.File, error) {
	base, extension := strings.TrimSuffix(name, filepath.Ext(name)), filepath.Ext(name)
	for n := 2; ; n++ {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
		name = fmt.Sprintf("%s-%d%s", base, n, extension)
	}
}

// exit shows an outcome, and returns its exit status as an error.
func (t *terminal) exit(o outcome) error {
	if err := t.show(o); err != nil {
		return err
	}
	if o.status != answered {
		return &toldError{o.status}
	}
	return nil
}

func (t *terminal) show(o outcome) error {
	switch {
	case t.lines && t.json:
		return writeJSON(t.stdout, o)
	case o.status != answered:
		_, err := fmt.Fprintln(t.stderr, commands.VisibleLines(o.Error))
		return err
	case !t.json:
		_, err := io.WriteString(t.stdout, markdown(o.reply))
		return err
	}
	if o.Error != "" {
		fmt.Fprintln(t.stderr, commands.VisibleLines(o.Error))
	}
	if o.Verdict != nil {
		if err := writeJSON(t.stderr, o.Verdict); err != nil {
			return err
		}
	}
	if o.reply.Context == nil {
		_, err := io.WriteString(t.stdout, "{}\n")
		return err
	}
	content, err := o.reply.Context.Open(context.WithoutCancel(t.ctx))
	if err != nil {
		return err
	}
	_, err = io.Copy(t.stdout, content)
	return errors.Join(err, content.Close())
}

// writeJSON writes v on one line, with the bytes of records as they are but
// for blanks between them.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
