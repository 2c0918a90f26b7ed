package slacksim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A manifest is what the app asked for when it was installed.
type manifest struct {
	all         bool // there is none: everything is granted
	name        string
	scopes      []string
	events      []string
	interactive bool
	socketMode  bool
	tab         bool // people and the bot can write to each other
	readOnlyTab bool // only the bot can
}

// readManifest reads what matters here. Whether a manifest is one that Slack
// takes is for its JSON schema to say.
func readManifest(text []byte) (manifest, error) {
	if text == nil {
		return manifest{all: true, name: "auditbot", interactive: true, socketMode: true, tab: true}, nil
	}
	var file struct {
		Display struct {
			Name string `yaml:"name"`
		} `yaml:"display_information"`
		Features struct {
			AppHome struct {
				Tab      bool `yaml:"messages_tab_enabled"`
				ReadOnly bool `yaml:"messages_tab_read_only_enabled"`
			} `yaml:"app_home"`
			BotUser struct {
				Name string `yaml:"display_name"`
			} `yaml:"bot_user"`
		} `yaml:"features"`
		OAuth struct {
			Scopes struct {
				Bot []string `yaml:"bot"`
			} `yaml:"scopes"`
		} `yaml:"oauth_config"`
		Settings struct {
			Events struct {
				Bot []string `yaml:"bot_events"`
			} `yaml:"event_subscriptions"`
			Interactivity struct {
				Enabled bool `yaml:"is_enabled"`
			} `yaml:"interactivity"`
			SocketMode bool `yaml:"socket_mode_enabled"`
		} `yaml:"settings"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return manifest{}, fmt.Errorf("reading the manifest: %w", err)
	}
	return manifest{
		name:        cmp.Or(file.Features.BotUser.Name, file.Display.Name, "auditbot"),
		scopes:      slices.Sorted(slices.Values(file.OAuth.Scopes.Bot)),
		events:      file.Settings.Events.Bot,
		interactive: file.Settings.Interactivity.Enabled,
		socketMode:  file.Settings.SocketMode,
		tab:         file.Features.AppHome.Tab,
		readOnlyTab: file.Features.AppHome.ReadOnly,
	}, nil
}

// may tells whether the app has a scope.
func (m manifest) may(scope string) bool { return m.all || slices.Contains(m.scopes, scope) }

// provided is the list of scopes that goes with answers.
func (m manifest) provided() string {
	if m.all {
		return "app_mentions:read,channels:history,channels:read,chat:write,files:read,files:write,groups:history,groups:read," +
			"im:history,im:read,im:write,mpim:history,mpim:read,mpim:write,reactions:read,reactions:write,usergroups:read,users:read,users:read.email"
	}
	return strings.Join(m.scopes, ",")
}

// kinds is what scopes and events call a conversation: channels:history,
// message.channels.
var kinds = map[string]string{"channel": "channels", "group": "groups", "im": "im", "mpim": "mpim"}

// hears tells whether the app is sent the messages of a kind of conversation:
// it must have subscribed to them and have the scope.
func (m manifest) hears(kind string) bool {
	k := kinds[kind]
	return m.all || slices.Contains(m.events, "message."+k) && m.may(k+":history")
}

// mentioned tells whether the app is told when somebody mentions it.
func (m manifest) mentioned() bool {
	return m.all || slices.Contains(m.events, "app_mention") && m.may("app_mentions:read")
}
