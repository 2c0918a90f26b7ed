package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/slack-go/slack"

	"auditbot/auditlog"
	"auditbot/bot"
	"auditbot/bot/engine"
	"auditbot/commands"
)

type doctorCommand struct {
	Config string `default:"auditbot.yml" help:"The settings file." placeholder:"FILE"`
}

// Run prints what every check has found. A failure among them is one of ours.
func (c doctorCommand) Run(p *program) error {
	checks := p.examine(c.Config)
	var width int
	for _, check := range checks {
		width = max(width, utf8.RuneCountInString(check.Name))
	}
	for _, check := range checks {
		line := fmt.Sprintf("%-7s  %-*s  %s", check.Level, width, check.Name, check.Found)
		if check.Do != "" {
			line += " -> " + check.Do
		}
		fmt.Fprintln(p.stdout, commands.Visible(line))
	}
	if _, err := fmt.Fprintln(p.stdout, commands.Diagnosis(checks)); err != nil {
		return err
	}
	if commands.Count(checks, commands.Failure) > 0 {
		return &toldError{ourFailure}
	}
	return nil
}

// examine looks at everything that the settings and the secrets at hand let it
// look at. It makes no data folder, and no sign-in that needs a person.
func (p *program) examine(config string) []commands.Check {
	s, err := loadSettings(config, p.getenv)
	key, keyCheck := p.checkKey()
	tokens, tokenChecks := p.checkTokens()
	if err != nil {
		return append([]commands.Check{named("settings", fromError(err)), keyCheck}, tokenChecks...)
	}
	first := []commands.Check{named("settings", commands.Good(config+" can be used")), keyCheck}
	return append(first, commands.Examine(p.ctx,
		func(ctx context.Context) []commands.Check { return checkSlack(ctx, s, tokens, tokenChecks) },
		func(ctx context.Context) []commands.Check { return p.checkFolder(ctx, s, key, execWith(config)) },
	)...)
}

// execWith is how a command is typed with these settings.
func execWith(config string) string {
	if config == "auditbot.yml" { // the default
		return "auditbot exec"
	}
	return "auditbot exec --config " + config
}

func named(name string, c commands.Check) commands.Check {
	c.Name = name
	return c
}

// fromError is a failure that is explained with what to do if it is a mistake in
// the settings.
func fromError(err error) commands.Check {
	if m, ok := errors.AsType[*commands.Mistake](err); ok {
		return commands.Fail(m.Problem, m.Hint)
	}
	return commands.Broken(err)
}

// checkKey looks at AUDITBOT_KEY. A key is nil unless its check is ok.
func (p *program) checkKey() ([]byte, commands.Check) {
	text, err := secret(p.getenv, "AUDITBOT_KEY")
	if err == nil && text == "" {
		return nil, named("key", commands.Fail("AUDITBOT_KEY (or AUDITBOT_KEY_FILE) is not set", "make one with openssl rand -base64 32 and keep it: tokens and results are sealed with it"))
	}
	var key []byte
	if err == nil {
		key, err = decodeKey("AUDITBOT_KEY", text)
	}
	if err != nil {
		return nil, named("key", fromError(err))
	}
	return key, named("key", commands.Good("AUDITBOT_KEY is set"))
}

// checkTokens looks at the two tokens of the Slack app. One is "" if its check,
// in the same order, is not ok.
func (p *program) checkTokens() (t slackSecrets, all []commands.Check) {
	for _, token := range []struct {
		name, variable, begins, from string
		to                           *auditlog.Secret
	}{
		{"slack bot token", "SLACK_BOT_TOKEN", "xoxb-", "OAuth & Permissions", &t.Bot},
		{"slack app token", "SLACK_APP_TOKEN", "xapp-", "Basic Information, App-Level Tokens", &t.App},
	} {
		value, err := secret(p.getenv, token.variable)
		do := fmt.Sprintf("set it to the token that begins with %s, from the app's page %s", token.begins, token.from)
		c := commands.Good(token.variable + " is set")
		switch {
		case err != nil:
			c = fromError(err)
		case value == "":
			c = commands.Fail(fmt.Sprintf("%[1]s (or %[1]s_FILE) is not set", token.variable), do)
		case !strings.HasPrefix(string(value), token.begins):
			c = commands.Fail(token.variable+" is another kind of token", do)
		default:
			*token.to = value
		}
		all = append(all, named(token.name, c))
	}
	return t, all
}

// checkSlack looks at Slack with the tokens that there are.
func checkSlack(ctx context.Context, s settings, t slackSecrets, found []commands.Check) []commands.Check {
	api := slack.New(string(t.Bot), slack.OptionAppLevelToken(string(t.App)), slack.OptionAPIURL(s.Slack.APIURL), slack.OptionHTTPClient(slackClient(slog.New(slog.DiscardHandler))))
	return commands.Examine(ctx,
		func(ctx context.Context) []commands.Check {
			if t.Bot == "" {
				const why = "there is no bot token"
				return []commands.Check{found[0], commands.Skipped("slack scopes", why), commands.Skipped("access lists", why)}
			}
			return bot.CheckSlack(ctx, api, s.Access.access(), s.namesAccount)
		},
		func(context.Context) []commands.Check { return []commands.Check{bot.CheckAccess(s.Access.access())} },
		func(ctx context.Context) []commands.Check {
			if t.App == "" {
				return found[1:2]
			}
			return []commands.Check{bot.CheckSocketMode(ctx, api)}
		},
	)
}

// namesAccount tells whether the account of a Slack user is known whatever their
// e-mail address is.
func (s settings) namesAccount(user string) bool {
	return !slices.ContainsFunc(s.Instances, func(i instanceSettings) bool { return i.SignIn == signInAnalyst && i.Accounts[user] == "" })
}

// checkFolder looks at the data folder, and with the sign-ins in it at the
// instances. It has the folder no longer than that takes: a bot that is started
// meanwhile cannot have it. Exec is how a command is typed on this terminal.
func (p *program) checkFolder(ctx context.Context, s settings, key []byte, exec string) []commands.Check {
	var found *engine.Engine // is read only if the look has ended
	name, open := "data folder", p.openFolder
	if s.Engine.NATSURL != "" {
		name, open = "cluster", p.openCluster
	}
	folder := commands.Look(ctx, name, func(ctx context.Context) (c commands.Check) {
		found, c = open(ctx, s, key)
		return c
	})
	all := []commands.Check{folder}
	as := bot.Person{ID: "local:" + localUser(), Admin: true}
	c := commands.Checkup{Person: as.ID, SignIn: func(name string) string {
		return exec + " '" + s.Slack.Prefix + "o365-auditlog-auth-start using=" + name + "'"
	}}
	var e *engine.Engine
	if folder.Level == commands.Failure {
		c.Unread = "the " + name + " is not open"
	} else {
		e = found
	}
	if e == nil {
		scratch, remove, err := scratchEngine(ctx)
		if err != nil {
			return append(all, named("instances", commands.Broken(err)))
		}
		defer remove()
		e = scratch
	} else {
		defer e.Close()
		all = append(all, checkEngine(ctx, e)...)
	}
	return append(all, checkTenants(ctx, s, p.getenv, e, as, c)...)
}

// openFolder opens the data folder if there is one, and changes nothing in it:
// not its key either. Without one, the Engine is nil.
func (p *program) openFolder(ctx context.Context, s settings, key []byte) (*engine.Engine, commands.Check) {
	dir := s.Engine.DataDir
	isNew, err := engine.IsNew(dir)
	switch {
	case err != nil:
		return nil, commands.Broken(fmt.Errorf("looking at %s: %w", dir, err))
	case isNew:
		return nil, checkPlace(dir)
	case key == nil:
		return nil, commands.Fail("not opened: there is no key", "see to the key above")
	}
	e, err := engine.Open(ctx, s.Engine.config(key))
	if errors.Is(err, engine.ErrWrongKey) {
		return p.openWithOldKey(ctx, s, err)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, commands.Fail(err.Error(), "let the user that auditbot runs as read and write there")
	}
	if err != nil {
		return nil, commands.Fail(withAdvice(err, s).Error(), "")
	}
	return e, opened(e, dir)
}

// openCluster is openFolder for a cluster.
func (p *program) openCluster(ctx context.Context, s settings, key []byte) (*engine.Engine, commands.Check) {
	c := s.Engine.config(key)
	isNew, err := engine.IsNewCluster(ctx, c)
	switch {
	case err != nil:
		return nil, commands.Fail(err.Error(), "see to the servers, engine.nats_url, and engine.nats_credentials_file")
	case isNew:
		if err := leftBehind(ctx, c); err != nil {
			return nil, fromError(err)
		}
		return nil, commands.Good("nothing is in the cluster yet: the first start makes its streams")
	case key == nil:
		return nil, commands.Fail("not opened: there is no key", "see to the key above")
	}
	e, err := engine.Open(ctx, c)
	if errors.Is(err, engine.ErrWrongKey) {
		return p.openWithOldKey(ctx, s, err)
	}
	if err != nil {
		return nil, commands.Fail(withAdvice(err, s).Error(), "")
	}
	return e, commands.Good(s.Engine.NATSURL + " was reached, and the key opens what is there")
}

func opened(e *engine.Engine, dir string) commands.Check {
	if e.Owner() {
		return commands.Good(dir + " was opened; no other auditbot runs on it")
	}
	return commands.Good(dir + " was reached through the auditbot that runs on it")
}

// openWithOldKey opens a folder that a bot which is started next will change
// the key of.
func (p *program) openWithOldKey(ctx context.Context, s settings, wrong error) (*engine.Engine, commands.Check) {
	old, err := oldKey(p.getenv)
	if err != nil {
		return nil, fromError(err)
	}
	if old == nil {
		return nil, commands.Fail(wrong.Error(), restoreKey)
	}
	e, err := engine.Open(ctx, s.Engine.config(old))
	if err != nil {
		return nil, commands.Fail(err.Error(), restoreKey)
	}
	return e, commands.Warn(cmp.Or(s.Engine.NATSURL, s.Engine.DataDir)+" opens with AUDITBOT_KEY_OLD only", "start the bot once with both keys: that changes the folder's")
}

// checkPlace looks whether a data folder can be made, by making and removing
// another one beside it.
func checkPlace(dir string) commands.Check {
	parent, err := filepath.Abs(dir)
	if err != nil {
		return commands.Broken(err)
	}
	for errors.Is(statError(parent), fs.ErrNotExist) {
		parent = filepath.Dir(parent)
	}
	probe, err := os.MkdirTemp(parent, ".auditbot-doctor-")
	if err != nil {
		return commands.Fail(fmt.Sprintf("no data folder yet, and none can be made: %v", err), "let the bot write there, or set engine.data_dir")
	}
	if err := os.Remove(probe); err != nil {
		return commands.Broken(err)
	}
	return commands.Good("no data folder yet: the first start makes " + dir)
}

func statError(path string) error {
	_, err := os.Stat(path)
	return err
}

// checkEngine looks at what is in the data folder, and at the disk it is on.
func checkEngine(ctx context.Context, e *engine.Engine) []commands.Check {
	return []commands.Check{
		commands.Look(ctx, "engine", func(ctx context.Context) commands.Check { return inspect(ctx, e) }),
		commands.Look(ctx, "disk", func(context.Context) commands.Check { return checkDisk(e.Space()) }),
	}
}

func inspect(ctx context.Context, e *engine.Engine) commands.Check {
	i, err := e.Inspect(ctx)
	switch {
	case err != nil:
		return commands.Fail(err.Error(), "")
	case i.Cluster != "":
		return inspectCluster(i)
	case len(i.Missing) > 0:
		return commands.Fail("missing: "+strings.Join(i.Missing, ", "), "stop the bot and restore the whole data folder from a backup")
	case len(i.Plain) > 0:
		return commands.Fail("JetStream does not encrypt "+strings.Join(i.Plain, ", "), "stop the bot and restore the whole data folder from a backup")
	}
	found := fmt.Sprintf("%d streams, encrypted: %s in %s messages, %s of it results", i.Parts, bytesText(i.Bytes), commands.Thousands(int(i.Values)), bytesText(i.Evidence))
	if i.OlderKeys > 0 {
		found += "; the key was changed, and results from before are under the old one until they are deleted"
	}
	return commands.Good(found)
}

func inspectCluster(i engine.Inspection) commands.Check {
	found := fmt.Sprintf("%d streams in %s, copies of each: %d; %s in %s messages, %s of it results", i.Parts, i.Cluster, i.Copies, bytesText(i.Bytes), commands.Thousands(int(i.Values)), bytesText(i.Evidence))
	switch {
	case len(i.Missing) > 0:
		return commands.Fail("missing: "+strings.Join(i.Missing, ", "), "stop all replicas and restore all streams from a backup")
	case i.Copies < 3:
		return commands.Warn(found, "what is lost with that server is lost: use a cluster of three, or the data folder, which is faster")
	case len(i.Behind) > 0:
		return commands.Warn(found+"; away or behind: "+strings.Join(i.Behind, ", "), "see to that server: until it is back, no other may fail")
	}
	return commands.Good(found)
}

// checkDisk warns at twice the free space below which no search runs.
func checkDisk(free, total uint64, err error) commands.Check {
	if errors.Is(err, errors.ErrUnsupported) {
		return commands.Warn("how much is free is not known on this system", "")
	}
	if err := commands.CheckRoom(free, total, err); err != nil {
		return commands.Broken(err)
	}
	found := fmt.Sprintf("%s of %s are free (%d%%)", bytesText(free), bytesText(total), free*100/max(total, 1))
	if free < total/5 {
		return commands.Warn(found, "make room: no search runs below 10%; retention.results_days says how long results are kept")
	}
	return commands.Good(found)
}

func bytesText(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d kB", (n+1023)/1024)
}

// scratchEngine is one for sign-ins that need no person and are not kept.
func scratchEngine(ctx context.Context) (e *engine.Engine, remove func(), err error) {
	dir, err := os.MkdirTemp("", "auditbot-doctor-")
	if err != nil {
		return nil, nil, fmt.Errorf("making a folder: %w", err)
	}
	if e, err = engine.Open(ctx, engine.Config{Dir: dir, Key: madeUpKey()}); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return e, func() { e.Close(); os.RemoveAll(dir) }, nil
}

// tenantsOneByOne are those instances that can be made, and why others cannot.
func tenantsOneByOne(s settings, getenv func(string) string, e *engine.Engine) (all []*tenant, wrong []commands.Check) {
	all, err := newTenants(s, getenv, e)
	if err == nil {
		return all, nil
	}
	for _, i := range s.Instances {
		s.Instances = []instanceSettings{i}
		some, err := newTenants(s, getenv, e)
		if err != nil {
			wrong = append(wrong, named(i.Name+" settings", fromError(err)))
			continue
		}
		some[0].unused = nil // which the other instances may use
		all = append(all, some...)
	}
	return all, wrong
}

// checkTenants looks at the instances as one person. It makes them anew: what a
// running bot's know already would not be looked at.
func checkTenants(ctx context.Context, s settings, getenv func(string) string, e *engine.Engine, as bot.Person, c commands.Checkup) []commands.Check {
	tenants, wrong := tenantsOneByOne(s, getenv, e)
	var groups []func(context.Context) []commands.Check
	for _, t := range tenants {
		groups = append(groups,
			func(context.Context) (all []commands.Check) {
				for _, warning := range t.warnings() {
					all = append(all, named(t.Name+" settings", commands.Warn(warning, "")))
				}
				return all
			},
			func(ctx context.Context) []commands.Check {
				return []commands.Check{commands.Look(ctx, t.Name+" clock", t.checkClock)}
			},
			func(ctx context.Context) []commands.Check { return c.Instances(ctx, instancesAs([]*tenant{t}, as)) },
		)
	}
	return append(wrong, commands.Examine(ctx, groups...)...)
}

// checkClock asks the login host for the time.
func (t *tenant) checkClock(ctx context.Context) commands.Check {
	address := strings.TrimRight(t.LoginURL, "/") + "/" + t.Tenant + "/v2.0/.well-known/openid-configuration"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return commands.Broken(err)
	}
	resp, err := t.entra.HTTP.Do(req)
	if err != nil {
		return commands.Skipped("", "no answer came from "+req.URL.Host)
	}
	defer resp.Body.Close()
	theirs, _ := http.ParseTime(resp.Header.Get("Date")) // else zero
	return commands.CheckClock(theirs)
}

// doctorOf looks at everything that a running bot has.
func doctorOf(s settings, getenv func(string) string, e *engine.Engine, api *slack.Client) func(context.Context, bot.Person) []commands.Check {
	return func(ctx context.Context, as bot.Person) []commands.Check {
		c := commands.Checkup{Person: as.ID, SignIn: func(name string) string { return s.Slack.Prefix + "o365-auditlog-auth-start using=" + name }}
		return commands.Examine(ctx,
			func(ctx context.Context) []commands.Check {
				return bot.CheckSlack(ctx, api, s.Access.access(), s.namesAccount)
			},
			func(context.Context) []commands.Check { return []commands.Check{bot.CheckAccess(s.Access.access())} },
			func(ctx context.Context) []commands.Check {
				return []commands.Check{bot.CheckSocketMode(ctx, api)}
			},
			func(ctx context.Context) []commands.Check {
				key := named("key", commands.Good("AUDITBOT_KEY opens the data folder"))
				if e.Clustered() {
					key.Found = "AUDITBOT_KEY opens what is in the cluster"
				}
				return append([]commands.Check{key}, checkEngine(ctx, e)...)
			},
			func(ctx context.Context) []commands.Check { return checkTenants(ctx, s, getenv, e, as, c) },
		)
	}
}
