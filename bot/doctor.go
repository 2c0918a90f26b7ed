package bot

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"auditbot/commands"
)

// reinstall is how an app gets what it lacks, or loses what it need not have.
const reinstall = "at https://api.slack.com/apps, put manifest.yml in place of the app's manifest and reinstall the app"

// CheckSlack looks whether Slack takes the bot token, whether the app has the
// scopes of [Manifest], whether the clock is right, and whether who and what is
// in the lists of access is there. Named tells whether the settings name the
// Microsoft account of somebody, who then needs no e-mail address in Slack.
func CheckSlack(ctx context.Context, api *slack.Client, a Access, named func(user string) bool) []commands.Check {
	var me *slack.AuthTestResponse
	token := commands.Look(ctx, "slack bot token", func(ctx context.Context) (c commands.Check) {
		me, c = checkBotToken(ctx, api)
		return c
	})
	if token.Level != commands.OK {
		const why = "the bot token could not be used"
		return []commands.Check{token, commands.Skipped("slack scopes", why), commands.Skipped("access lists", why)}
	}
	all := []commands.Check{token, commands.Look(ctx, "slack clock", func(context.Context) commands.Check {
		theirs, _ := http.ParseTime(me.Header.Get("Date")) // else zero
		return commands.CheckClock(theirs)
	})}
	all = append(all, checkScopes(me.Header)...)
	return append(all, checkLists(ctx, api, a, me.TeamID, named)...)
}

func checkBotToken(ctx context.Context, api *slack.Client) (*slack.AuthTestResponse, commands.Check) {
	me, err := api.AuthTestContext(ctx)
	switch {
	case err != nil:
		return nil, slackFailed(err, "copy the bot token anew from OAuth & Permissions of the app into SLACK_BOT_TOKEN")
	case me.BotID == "":
		return nil, commands.Fail("it is not a bot's token", "take the one that begins with xoxb-, from OAuth & Permissions of the app")
	}
	return me, commands.Good(fmt.Sprintf("%s (%s) in %s (%s)", me.User, me.UserID, me.Team, me.TeamID))
}

// slackFailed is what it means that Slack did not answer, or said no.
func slackFailed(err error, do string) commands.Check {
	if limited, ok := errors.AsType[*slack.RateLimitedError](err); ok {
		return commands.Fail(fmt.Sprintf("Slack has had too many requests and asks to be left alone for %v", limited.RetryAfter), "try again then")
	}
	if e, ok := errors.AsType[slack.SlackErrorResponse](err); ok {
		return commands.Fail("Slack says "+e.Err, do)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return commands.Broken(err)
	}
	if broken, ok := errors.AsType[*url.Error](err); ok {
		err = broken.Err
	}
	return commands.Fail("Slack was not reached: "+err.Error(), "look at slack.api_url, and at the network, the proxy and the firewall on the way")
}

// checkScopes compares what the app may do with what the bot uses.
func checkScopes(answer http.Header) (all []commands.Check) {
	const name = "slack scopes"
	has := strings.FieldsFunc(answer.Get("X-OAuth-Scopes"), func(r rune) bool { return r == ',' || r == ' ' })
	if len(has) == 0 {
		return []commands.Check{{Name: name, Level: commands.Warning, Found: "Slack does not say which there are", Do: "look whether a proxy on the way takes the header X-OAuth-Scopes out"}}
	}
	for _, g := range grants {
		if !slices.Contains(has, g.scope) {
			all = append(all, commands.Check{Name: name, Level: commands.Failure, Found: g.scope + " is missing, so the bot cannot do this: " + g.why, Do: reinstall})
		}
		has = slices.DeleteFunc(has, func(scope string) bool { return scope == g.scope })
	}
	if len(has) > 0 {
		all = append(all, commands.Check{Name: name, Level: commands.Warning, Found: "the app has more than the bot uses: " + strings.Join(has, ", "), Do: reinstall})
	}
	if all == nil {
		all = []commands.Check{{Name: name, Level: commands.OK, Found: fmt.Sprintf("all %d that are needed, and no other", len(grants))}}
	}
	return all
}

// CheckSocketMode looks whether Slack would let the bot connect: its app-level
// token, and that Socket Mode is on. It does not connect.
func CheckSocketMode(ctx context.Context, api *slack.Client) commands.Check {
	return commands.Look(ctx, "slack app token", func(ctx context.Context) commands.Check {
		_, _, err := api.StartSocketModeContext(ctx)
		switch {
		case err == nil:
			return commands.Good("Socket Mode is on")
		case refused(err, "missing_scope"):
			return slackFailed(err, "make an app-level token with connections:write under Basic Information of the app, for SLACK_APP_TOKEN")
		case refused(err, "socket_mode_not_enabled"):
			return slackFailed(err, "switch Socket Mode on in the app's settings; manifest.yml has it on")
		}
		return slackFailed(err, "copy the app-level token (xapp-...) anew from Basic Information of the app into SLACK_APP_TOKEN, and see that Socket Mode is on")
	})
}

// CheckAccess looks whether anybody is served.
func CheckAccess(a Access) commands.Check {
	c := commands.Good(fmt.Sprintf("%s may ask, in %s", a.whoMay(), a.whereTo()))
	switch {
	case !a.Set():
		c = commands.Fail("nobody is allowed to ask", "list people in access.analysts or access.admins, or set access.everyone: true")
	case len(a.Admins) == 0:
		c = commands.Warn(c.Found+"; there are no admins", "list some in access.admins.users: they are told when somebody else signs in than was expected, and may type the doctor's command")
	}
	c.Name = "access"
	return c
}

func (a Access) whoMay() string {
	if a.Everyone {
		return "every full member of the workspace"
	}
	who := several(len(a.Users)+len(a.Admins), "listed person", "listed people")
	if len(a.Groups) > 0 {
		who += " and those in " + several(len(a.Groups), "user group", "user groups")
	}
	return who
}

func (a Access) whereTo() string {
	switch {
	case len(a.Channels) > 0:
		return several(len(a.Channels), "channel", "channels") + " and direct messages"
	case a.Everyone:
		return "all channels that the bot is in, and direct messages"
	}
	return "direct messages only"
}

func several(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// maxListed is how many ids of a list are looked at, and asksAtOnce how many of
// them at once: users.info may be asked 100 times a minute.
// https://docs.slack.dev/apis/web-api/rate-limits
const (
	maxListed  = 50
	asksAtOnce = 8
)

// checkLists looks up who and what is in the lists.
func checkLists(ctx context.Context, api *slack.Client, a Access, team string, named func(string) bool) []commands.Check {
	person := func(ctx context.Context, id string) commands.Check { return checkPerson(ctx, api, team, id, named) }
	list := func(key string, ids []string, look func(context.Context, string) commands.Check) func(context.Context) []commands.Check {
		return func(ctx context.Context) []commands.Check { return checkList(ctx, key, ids, look) }
	}
	return commands.Examine(ctx,
		list("access.analysts.users", a.Users, person),
		list("access.analysts.groups", a.Groups, func(ctx context.Context, id string) commands.Check { return checkGroup(ctx, api, id) }),
		list("access.admins.users", a.Admins, person),
		list("access.channels", a.Channels, func(ctx context.Context, id string) commands.Check { return checkChannel(ctx, api, id) }),
	)
}

// checkList has a line for each id that something is wrong with, and one for
// all others. Together they take no longer than one look.
func checkList(ctx context.Context, key string, ids []string, look func(context.Context, string) commands.Check) (all []commands.Check) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	room := make(chan struct{}, asksAtOnce)
	var groups []func(context.Context) []commands.Check
	for _, id := range ids[:min(len(ids), maxListed)] {
		groups = append(groups, func(ctx context.Context) []commands.Check {
			room <- struct{}{}
			defer func() { <-room }()
			return []commands.Check{commands.Look(ctx, key+" "+id, func(ctx context.Context) commands.Check { return look(ctx, id) })}
		})
	}
	var good []string
	for _, c := range commands.Examine(ctx, groups...) {
		if c.Level == commands.OK {
			good = append(good, c.Found)
		} else {
			all = append(all, c)
		}
	}
	if len(good) == 0 {
		return all
	}
	found := strings.Join(good, ", ")
	if len(ids) > maxListed {
		found = fmt.Sprintf("of the first %d, %d are in order", maxListed, len(good))
	}
	return slices.Insert(all, 0, commands.Check{Name: key, Level: commands.OK, Found: commands.Shorten(found, 200)})
}

func checkPerson(ctx context.Context, api *slack.Client, team, id string, named func(string) bool) commands.Check {
	u, err := api.GetUserInfoContext(ctx, id)
	switch {
	case refused(err, "user_not_found", "user_not_visible"):
		return commands.Fail("there is nobody with this id in the workspace", `take the id from the person's profile in Slack, under "Copy member ID"`)
	case err != nil:
		return slackFailed(err, reinstall)
	}
	if r := notAMember(u, team); r != nil {
		return commands.Warn(u.RealName+" is not served: "+r.reason, "take the id off the list")
	}
	if u.Profile.Email == "" && !named(id) {
		return commands.Warn(u.RealName+" cannot sign in: Slack shows no e-mail address of them",
			"add accounts: {"+id+": their Microsoft account} to the instance's settings; if nobody has an address, the app lacks users:read.email")
	}
	return commands.Good(u.RealName)
}

func checkGroup(ctx context.Context, api *slack.Client, id string) commands.Check {
	members, err := api.GetUserGroupMembersContext(ctx, id)
	switch {
	case refused(err, "no_such_subteam", "subteam_not_found"):
		return commands.Fail("there is no such user group in the workspace", "take the id from the end of the user group's address in Slack, as S0123ABCD")
	case err != nil:
		return slackFailed(err, reinstall)
	case len(members) == 0:
		return commands.Warn("nobody is in this user group", "add people to it in Slack, or take its id off the list")
	}
	return commands.Good(fmt.Sprintf("%s with %d", id, len(members)))
}

// checkChannel looks whether the bot hears what is said in a channel, and
// answers there.
func checkChannel(ctx context.Context, api *slack.Client, id string) commands.Check {
	_, err := api.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{ChannelID: id, Limit: 1})
	switch {
	case err == nil:
		return checkSharing(ctx, api, id)
	case refused(err, "not_in_channel"):
		return commands.Fail("the bot is not in this channel", "type /invite @auditbot there")
	case refused(err, "channel_not_found"):
		return commands.Fail("there is no such channel, or it is private and the bot is not in it", "type /invite @auditbot there, or correct the id")
	}
	return slackFailed(err, reinstall)
}

// checkSharing looks whether a channel that the bot is in is shared with another
// organisation.
func checkSharing(ctx context.Context, api *slack.Client, id string) commands.Check {
	channel, err := api.GetConversationInfoContext(ctx, &slack.GetConversationInfoInput{ChannelID: id})
	switch {
	case refused(err, "missing_scope"):
		return commands.Good(id) // the line of the scopes says it
	case err != nil:
		return slackFailed(err, reinstall)
	case isShared(*channel):
		return commands.Warn("the channel is shared with another organisation, so commands there are not answered", "take the id off the list")
	}
	return commands.Good(id)
}
