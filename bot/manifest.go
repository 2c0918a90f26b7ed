package bot

import (
	"fmt"
	"slices"
	"strings"
)

// A grant is something that the Slack app must be allowed, and what for.
type grant struct {
	scope   string
	why     string
	methods []string // of the Web API that need it
	events  []string // that need it
}

// grants are all that the bot uses. The manifest and its tests are made from
// this table; methods that need no scope are not in it.
var grants = []grant{
	{"app_mentions:read", "hear @auditbot in channels", nil, []string{"app_mention"}},
	{"channels:history", "hear commands in public channels that it is a member of, and find its own answers there", []string{"conversations.replies", "conversations.history"}, []string{"message.channels"}},
	{"groups:history", "the same in private channels", []string{"conversations.replies", "conversations.history"}, []string{"message.groups"}},
	{"im:history", "the same in direct messages", []string{"conversations.replies", "conversations.history"}, []string{"message.im"}},
	{"mpim:history", "the same in group direct messages", []string{"conversations.replies", "conversations.history"}, []string{"message.mpim"}},
	{"channels:read", "after an outage, read what was written in its public channels meanwhile, and not in those that are shared with another organisation", []string{"users.conversations", "conversations.info"}, nil},
	{"groups:read", "the same in private channels", []string{"users.conversations", "conversations.info"}, nil},
	{"im:read", "the same in direct messages", []string{"users.conversations"}, nil},
	{"mpim:read", "the same in group direct messages", []string{"users.conversations"}, nil},
	{"chat:write", "answer", []string{"chat.postMessage", "chat.update", "chat.delete", "chat.postEphemeral"}, nil},
	{"files:write", "attach the records as JSON", []string{"files.getUploadURLExternal", "files.completeUploadExternal"}, nil},
	{"im:write", "send a device code to the person who asked, and to nobody else", []string{"conversations.open"}, nil},
	{"users:read", "refuse guests, bots and people of other organisations", []string{"users.info"}, nil},
	{"users:read.email", "let everybody sign in with their own account only", []string{"users.info"}, nil},
	{"usergroups:read", "know who is in the user groups that may ask", []string{"usergroups.users.list"}, nil},
}

// Manifest is the Slack app's manifest, as YAML: what manifest.yml holds.
// https://docs.slack.dev/reference/app-manifest
func Manifest() string {
	var b strings.Builder
	b.WriteString(`# The Slack app of auditbot. "auditbot manifest" prints this file; it asks for
# what the bot uses and nothing else.
_metadata:
  major_version: 2
  minor_version: 1
display_information:
  name: auditbot
  description: Searches Microsoft 365's unified audit log from an incident thread.
  background_color: "#1f3a5f"
features:
  app_home:
    home_tab_enabled: false
    messages_tab_enabled: true
    messages_tab_read_only_enabled: false # people write commands there
  bot_user:
    display_name: auditbot
    always_online: true
oauth_config:
  scopes:
    bot:
`)
	var events []string
	for _, g := range grants {
		fmt.Fprintf(&b, "      - %s # %s\n", g.scope, g.why)
		events = append(events, g.events...)
	}
	b.WriteString("settings:\n  event_subscriptions:\n    bot_events:\n")
	for _, e := range slices.Sorted(slices.Values(events)) {
		fmt.Fprintf(&b, "      - %s\n", e)
	}
	b.WriteString(`  interactivity:
    is_enabled: true # the buttons under answers
  org_deploy_enabled: false
  socket_mode_enabled: true
  token_rotation_enabled: false
`)
	return b.String()
}
