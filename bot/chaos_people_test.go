//go:build !windows

package bot

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"auditbot/auditlog/tenantsim"
	"auditbot/bot/slacksim"
)

// chaosPeople are those who ask. The first is the admin.
var chaosPeople = func() []slacksim.User {
	var all []slacksim.User
	for i, name := range []string{"ada", "grace", "alice", "bob", "carol", "dan", "erin", "frank"} {
		all = append(all, slacksim.User{ID: "U0" + strings.ToUpper(name), Name: name, RealName: name, Email: name + "@contoso.com", CurlyQuotes: i%2 == 1})
	}
	return all
}()

// chaosChannels are where they ask, besides direct messages.
var chaosChannels = func() []slacksim.Channel {
	members := []string{slacksim.BotUserID}
	for _, u := range chaosPeople {
		members = append(members, u.ID)
	}
	return []slacksim.Channel{
		{ID: "C0ONE", Name: "soc-one", Kind: "channel", Members: members},
		{ID: "C0TWO", Name: "soc-two", Kind: "channel", Members: members},
		{ID: "C0THREE", Name: "soc-three", Kind: "channel", Members: members},
		{ID: "G0ONE", Name: "insider-one", Kind: "group", Members: members},
		{ID: "G0TWO", Name: "insider-two", Kind: "group", Members: members},
		{ID: "G0MPDM", Name: "mpdm-all-1", Kind: "mpim", Members: members},
	}
}()

func chaosWorkspace() slacksim.Workspace {
	return slacksim.Workspace{Users: chaosPeople, Channels: chaosChannels, Manifest: []byte(Manifest())}
}

// chaosContoso is contoso, where all of them may search.
func chaosContoso() tenantsim.Tenant {
	t := tenantsim.Contoso(time.Now())
	for i, a := range t.Accounts {
		if slices.ContainsFunc(chaosPeople, func(u slacksim.User) bool { return u.Email == a.UPN }) {
			t.Accounts[i].Roles = []string{tenantsim.RoleViewAuditLogs}
		}
	}
	return t
}

// The kinds of commands, as far as what is expected of their answers differs.
const (
	chaosOther  = "other"
	chaosSearch = "search" // with files, unless nothing is found
)

// chaosCommand is the n-th command: what is typed, and its kind. No two searches
// have the same range, so that their files have names of their own.
func chaosCommand(r *rand.Rand, n int) (text, kind string) {
	day := time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC) // which has one record
	small := fmt.Sprintf("!o365-auditlog-search start_date=%s end_date=2021-01-02", day.Add(time.Duration(n)*time.Second).Format("2006-01-02T15:04:05"))
	large := fmt.Sprintf("!o365-auditlog-search start_date=%s end_date=%s result_size=300",
		time.Now().UTC().Add(-72*time.Hour).Format("2006-01-02T15:04:05"), time.Now().UTC().Add(-time.Duration(48*3600+n)*time.Second).Format("2006-01-02T15:04:05"))
	switch p := r.IntN(100); {
	case p < 25:
		return "!help", chaosOther
	case p < 32:
		return "@auditbot help", chaosOther
	case p < 38:
		return "!help o365-auditlog-search", chaosOther
	case p < 44:
		return "!o365-auditlog-search start_date=soonish", chaosOther
	case p < 48:
		return "!o365-auditlog-serach", chaosOther
	case p < 52:
		return "!cancel", chaosOther
	case p < 54:
		return "!o365-auditlog-auth-test", chaosOther
	case p < 55:
		return "!o365-auditlog-auth-reset using=personal", chaosOther
	case p < 85:
		return small, chaosSearch
	case p < 95:
		return small + " using=personal", chaosSearch
	default:
		return large, chaosSearch
	}
}

// hasGot tells whether somebody has a direct message with this code.
func (c *chaos) hasGot(who slacksim.User, code string) bool {
	return slices.ContainsFunc(c.slack.History(c.slack.OpenDM(who.ID)), func(m slacksim.Message) bool {
		return m.BotID != "" && (strings.Contains(string(m.Blocks), code) || strings.Contains(m.Text, code))
	})
}

// codesLeft are direct messages that show a code with which nobody can sign in
// any more.
func (c *chaos) codesLeft() (left []slacksim.Message) {
	open := c.tenant.UserCodes()
	for _, who := range chaosPeople {
		for _, m := range c.slack.History(c.slack.OpenDM(who.ID)) {
			shows := m.BotID != "" && !m.Deleted && strings.Contains(shownIn(m), "Enter the code ")
			if shows && !slices.ContainsFunc(open, func(code string) bool { return strings.Contains(shownIn(m), code) }) {
				left = append(left, m)
			}
		}
	}
	return left
}

// answerTo is the id of the item that a message is the answer to, or "".
func answerTo(m slacksim.Message) string {
	var mark struct {
		Kind    string            `json:"event_type"`
		Payload map[string]string `json:"event_payload"`
	}
	if m.Deleted || m.Metadata == nil || json.Unmarshal(m.Metadata, &mark) != nil || mark.Kind != answerEvent {
		return ""
	}
	return mark.Payload["command"]
}
