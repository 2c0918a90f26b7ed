package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"auditbot/auditlog"
	"auditbot/bot/engine"
	"auditbot/commands"
)

// settings are the keys of auditbot.yml. Each is documented in README.md.
type settings struct {
	Slack     slackSettings      `yaml:"slack"`
	Access    accessSettings     `yaml:"access"`
	Instances []instanceSettings `yaml:"instances"`
	Engine    engineSettings     `yaml:"engine"`
	Retention retentionSettings  `yaml:"retention"`
	Serve     serveSettings      `yaml:"serve"`
	Log       logSettings        `yaml:"log"`
}

type slackSettings struct {
	APIURL string `yaml:"api_url"`
	Prefix string `yaml:"prefix"`
}

type accessSettings struct {
	Channels []string       `yaml:"channels"`
	Analysts peopleSettings `yaml:"analysts"`
	Admins   adminSettings  `yaml:"admins"`
	Everyone bool           `yaml:"everyone"`
}

type peopleSettings struct {
	Users  []string `yaml:"users"`
	Groups []string `yaml:"groups"`
}

type adminSettings struct {
	Users []string `yaml:"users"`
}

type engineSettings struct {
	DataDir string `yaml:"data_dir"`

	// A cluster instead, if there is a URL.
	NATSURL             string `yaml:"nats_url"`
	NATSCredentialsFile string `yaml:"nats_credentials_file"`
	NATSCAFile          string `yaml:"nats_ca_file"`
}

type retentionSettings struct {
	ResultsDays int `yaml:"results_days"` // after their last use
}

type serveSettings struct {
	MetricsAddr string `yaml:"metrics_addr"` // host:port; "" for none
}

type logSettings struct {
	Level string `yaml:"level"`
}

func defaultSettings() settings {
	return settings{
		Slack:  slackSettings{APIURL: "https://slack.com/api/", Prefix: "!"},
		Engine: engineSettings{DataDir: "./data"},
		Log:    logSettings{Level: "info"},

		Retention: retentionSettings{ResultsDays: 30},
	}
}

// loadSettings reads a settings file. Its mistakes are a [*commands.Mistake].
func loadSettings(path string, getenv func(string) string) (settings, error) {
	s := defaultSettings()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, &commands.Mistake{Problem: fmt.Sprintf("there is no settings file %s: README.md shows one to begin with; auditbot demo needs none", path)}
	}
	if err != nil {
		return s, fmt.Errorf("reading settings: %w", err)
	}
	wrong := func(err error) (settings, error) {
		return s, &commands.Mistake{Problem: fmt.Sprintf("%s: %v", path, err)}
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return wrong(err)
	}
	if len(root.Content) > 0 {
		if err := checkKeys(root.Content[0], reflect.TypeFor[settings](), ""); err != nil {
			return wrong(err)
		}
		decoder := yaml.NewDecoder(bytes.NewReader(text))
		decoder.KnownFields(true)
		if err := decoder.Decode(&s); err != nil {
			return wrong(err)
		}
	}
	if override := getenv("SLACK_API_URL"); override != "" {
		s.Slack.APIURL = override
	}
	for i := range s.Instances {
		s.Instances[i].setDefaults()
	}
	if err := s.check(); err != nil {
		return wrong(err)
	}
	return s, nil
}

// checkKeys refuses a key that t does not have, and names the nearest one that
// it has; and a value that t does not take.
func checkKeys(n *yaml.Node, t reflect.Type, path string) error {
	if n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice {
		for _, item := range n.Content {
			if err := checkKeys(item, t.Elem(), path); err != nil {
				return err
			}
		}
		return nil
	}
	if n.Kind != yaml.MappingNode || t.Kind() != reflect.Struct {
		return checkShape(n, t, strings.TrimSuffix(path, "."))
	}
	known := map[string]reflect.Type{}
	var names []string
	for f := range t.Fields() {
		name := f.Tag.Get("yaml")
		known[name], names = f.Type, append(names, name)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		under, ok := known[key.Value]
		if ok {
			if err := checkKeys(n.Content[i+1], under, path+key.Value+"."); err != nil {
				return err
			}
			continue
		}
		hint := "keys here are " + strings.Join(names, ", ")
		if near := commands.Nearest(key.Value, names); secretKey.MatchString(key.Value) {
			hint = "secrets come from the environment, not from this file: README.md lists the variables"
		} else if near != "" {
			hint = "did you mean " + path + near + "?"
		}
		return fmt.Errorf("line %d: there is no key %s; %s", key.Line, path+key.Value, hint)
	}
	return nil
}

// secretKey is what keys are called that people write secrets under.
var secretKey = regexp.MustCompile(`(?i)secret|password|token|key$`)

// shapes are what a value must be, in words.
var shapes = map[reflect.Kind]string{
	reflect.Slice:  "a list: its entries in [brackets], or each on a line of its own behind a dash",
	reflect.Struct: "keys, each with its value behind a colon, as in README.md",
	reflect.Map:    "keys, each with its value behind a colon, as in README.md",
	reflect.Bool:   "true or false",
	reflect.Int:    "a whole number",
	reflect.String: "one value",
}

// checkShape refuses a value that is no t. Package yaml says so in Go's words,
// and shows the value.
func checkShape(n *yaml.Node, t reflect.Type, key string) error {
	if n.Decode(reflect.New(t).Interface()) == nil {
		return nil
	}
	return fmt.Errorf("line %d: %s must be %s", n.Line, cmp.Or(key, "the file"), shapes[t.Kind()])
}

func (s settings) check() error {
	if err := checkURL("slack.api_url", s.Slack.APIURL); err != nil {
		return err
	}
	if !strings.HasSuffix(s.Slack.APIURL, "/") {
		return fmt.Errorf("slack.api_url: %s must end with a slash", s.Slack.APIURL)
	}
	if s.Slack.Prefix == "" || strings.ContainsAny(s.Slack.Prefix, " \t/<>&@#`\"'") {
		return fmt.Errorf("slack.prefix: %q cannot begin a command; the usual one is \"!\"", s.Slack.Prefix)
	}
	if _, err := s.Log.level(); err != nil {
		return err
	}
	if err := s.Serve.check(); err != nil {
		return err
	}
	if err := s.Access.check(); err != nil {
		return err
	}
	if err := s.Engine.check(); err != nil {
		return err
	}
	if s.Retention.ResultsDays < 1 {
		return fmt.Errorf("retention.results_days: %d is not at least 1", s.Retention.ResultsDays)
	}
	if len(s.Instances) == 0 {
		return errors.New("instances: there must be one at least, with name and tenant")
	}
	var seen []string
	for _, i := range s.Instances {
		if slices.Contains(seen, i.Name) {
			return fmt.Errorf("instances: %q is there twice", i.Name)
		}
		seen = append(seen, i.Name)
		if err := i.check(); err != nil {
			return fmt.Errorf("instance %q: %w", i.Name, err)
		}
	}
	return nil
}

var (
	channelID = regexp.MustCompile(`^[CG][A-Z0-9]+$`)
	userID    = regexp.MustCompile(`^[UW][A-Z0-9]+$`)
	groupID   = regexp.MustCompile(`^S[A-Z0-9]+$`)
)

// check refuses names where ids belong: they would let in nobody, silently.
func (a accessSettings) check() error {
	for _, list := range []struct {
		key, where string
		ids        []string
		shape      *regexp.Regexp
	}{
		{"access.channels", "at the end of the channel's details in Slack, as C0123ABCD", a.Channels, channelID},
		{"access.analysts.users", `in the person's profile in Slack, under "Copy member ID", as U0123ABCD`, a.Analysts.Users, userID},
		{"access.analysts.groups", "at the end of the user group's address in Slack, as S0123ABCD", a.Analysts.Groups, groupID},
		{"access.admins.users", `in the person's profile in Slack, under "Copy member ID", as U0123ABCD`, a.Admins.Users, userID},
	} {
		for _, id := range list.ids {
			if !list.shape.MatchString(id) {
				return fmt.Errorf("%s: %q is not an id; it is %s", list.key, id, list.where)
			}
		}
	}
	return nil
}

// checkURL refuses addresses that secrets must not be sent to: plain http, but
// for this machine.
func checkURL(key, text string) error {
	if strings.Contains(text, "@") { // the text is not shown: a password may be in it
		return fmt.Errorf("%s: leave out what is in front of the @: addresses here have no user and no password", key)
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return fmt.Errorf("%s: %q is not a URL", key, text)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u)) {
		return fmt.Errorf("%s: %s must begin with https://", key, u.Redacted())
	}
	return nil
}

// check refuses addresses that credentials must not be sent to, as checkURL does.
func (e engineSettings) check() error {
	if e.NATSURL == "" {
		for key, file := range map[string]string{"nats_credentials_file": e.NATSCredentialsFile, "nats_ca_file": e.NATSCAFile} {
			if file != "" {
				return fmt.Errorf("engine.%s is for a cluster, and there is no engine.nats_url", key)
			}
		}
		return nil
	}
	if strings.Contains(e.NATSURL, "@") { // the text is not shown: a password may be in it
		return errors.New("engine.nats_url: leave out what is in front of the @: what the bot signs in with is in engine.nats_credentials_file")
	}
	for server := range strings.SplitSeq(e.NATSURL, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if err != nil || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" {
			return fmt.Errorf("engine.nats_url: %q is not an address as tls://nats1.contoso.com:4222; between several there are commas", server)
		}
		if u.Scheme != "tls" && (u.Scheme != "nats" || !loopback(u)) {
			return fmt.Errorf("engine.nats_url: %s must begin with tls://", u)
		}
	}
	return nil
}

// config is how the engine is opened with these settings.
func (e engineSettings) config(key []byte) engine.Config {
	return engine.Config{Dir: e.DataDir, Key: key, Cluster: engine.Cluster{
		URL: strings.ReplaceAll(e.NATSURL, " ", ""), CredentialsFile: e.NATSCredentialsFile, CAFile: e.NATSCAFile,
	}}
}

// loopback tells whether an address is on this machine.
func loopback(u *url.URL) bool {
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}

func (l logSettings) level() (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return level, fmt.Errorf("log.level: %q is not one of debug, info, warn, error", l.Level)
	}
	return level, nil
}

// secret reads a secret from the environment: from the variable with this
// name, or from the file that NAME_FILE names. It is "" if neither is set.
func secret(getenv func(string) string, name string) (auditlog.Secret, error) {
	value, file := getenv(name), getenv(name+"_FILE")
	switch {
	case value != "" && file != "":
		return "", &commands.Mistake{Problem: fmt.Sprintf("both %[1]s and %[1]s_FILE are set: unset one", name)}
	case file == "":
		return auditlog.Secret(value), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the secret that %s_FILE names: %w", name, err)
	}
	return auditlog.Secret(strings.TrimSpace(string(text))), nil
}

// needSecret is secret for one that must be set.
func needSecret(getenv func(string) string, name, what string) (auditlog.Secret, error) {
	value, err := secret(getenv, name)
	if err == nil && value == "" {
		return "", &commands.Mistake{Problem: fmt.Sprintf("%[1]s (or %[1]s_FILE) is not set: %[2]s", name, what)}
	}
	return value, err
}

// engineKey reads AUDITBOT_KEY.
func engineKey(getenv func(string) string) ([]byte, error) {
	text, err := needSecret(getenv, "AUDITBOT_KEY", "the key that tokens and results are sealed with; make one with: openssl rand -base64 32")
	if err != nil {
		return nil, err
	}
	return decodeKey("AUDITBOT_KEY", text)
}

// oldKey reads AUDITBOT_KEY_OLD, which is nil but for the start that changes
// the key.
func oldKey(getenv func(string) string) ([]byte, error) {
	text, err := secret(getenv, "AUDITBOT_KEY_OLD")
	if err != nil || text == "" {
		return nil, err
	}
	return decodeKey("AUDITBOT_KEY_OLD", text)
}

func decodeKey(name string, text auditlog.Secret) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil || len(key) != engine.KeySize {
		return nil, &commands.Mistake{Problem: fmt.Sprintf("%s is not %d bytes in base64; make one with: openssl rand -base64 32", name, engine.KeySize)}
	}
	return key, nil
}
