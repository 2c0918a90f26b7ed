package slacksim

import (
	"fmt"
	"time"
)

// Demo is the workspace "Contoso SOC": three analysts and guests, an incident
// that was just reported in #soc-incidents, a private channel, and one that is
// shared with Fabrikam. The bot is in all channels but #random.
func Demo() Workspace {
	const reported = 12 * time.Minute
	return Workspace{
		ID: "T0CONTOSO", Name: "Contoso SOC", Domain: "contoso-soc",
		Users: []User{
			{ID: "U0ADA", Name: "ada", RealName: "Ada Analyst", Email: "ada@contoso.com", Groups: []string{"S0SOC"}},
			{ID: "U0GRACE", Name: "grace", RealName: "Grace Shift-Lead", Email: "grace@contoso.com", CurlyQuotes: true, Groups: []string{"S0SOC", "S0LEADS"}},
			{ID: "U0MALLORY", Name: "mallory", RealName: "Mallory Marketing", Email: "mallory@contoso.com"},
			{ID: "U0GUS", Name: "gus", RealName: "Gus Guest", Email: "gus@fabrikam.com", Restricted: true},
			{ID: "U0FRIDA", Name: "frida", RealName: "Frida Fabrikam", Email: "frida@fabrikam.com", TeamID: "T0FABRIKAM"},
		},
		Channels: []Channel{
			{ID: "C0INCIDENTS", Name: "soc-incidents", Kind: "channel", Members: []string{"U0ADA", "U0GRACE", "U0MALLORY", "U0GUS", BotUserID}},
			{ID: "C0RANDOM", Name: "random", Kind: "channel", Members: []string{"U0ADA", "U0GRACE", "U0MALLORY"}},
			{ID: "G0INSIDER", Name: "insider-risk", Kind: "group", Members: []string{"U0ADA", "U0GRACE", BotUserID}},
			{ID: "C0FABRIKAM", Name: "ext-fabrikam", Kind: "channel", Shared: true, Members: []string{"U0ADA", "U0GRACE", "U0FRIDA", BotUserID}},
		},
		Messages: []Message{
			{Channel: "C0INCIDENTS", TS: ago(reported), User: "U0GRACE",
				Text: "Possible business e-mail compromise: <mailto:erin@contoso.com|erin@contoso.com> was reported for sending invoices with new bank details to a supplier. Sign-ins from 203.0.113.66 look odd. Please check what that account did."},
			{Channel: "C0INCIDENTS", TS: ago(reported - time.Minute), ThreadTS: ago(reported), User: "U0ADA",
				Text: "I am on it, and start with the audit log of the last three days."},
			{Channel: "C0RANDOM", TS: ago(3 * time.Hour), User: "U0MALLORY", Text: "There is cake in the kitchen."},
			{Channel: "C0FABRIKAM", TS: ago(2 * time.Hour), User: "U0FRIDA", Text: "Good morning, did you get our list of suspicious senders?"},
		},
	}
}

// demoTime is from when the messages of [Demo] count back: one moment, so that
// a reply finds its parent.
var demoTime = time.Now()

// ago is the ts of a time before the program started.
func ago(d time.Duration) string {
	t := demoTime.Add(-d).UnixMicro()
	return fmt.Sprintf("%d.%06d", t/1e6, t%1e6)
}
