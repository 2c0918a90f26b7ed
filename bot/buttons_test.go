package bot

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slack-go/slack"

	"auditbot/auditlog"
	"auditbot/commands"
)

const without = `!o365-auditlog-search start_date="3 days" filter="ip == '203.0.113.7'"`

func TestAButtonRunsTheLineThatItStandsFor(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(_ context.Context, _ commands.Env, line string) (commands.Reply, error) {
		if line == without {
			return commands.Reply{Title: "found without the filter"}, nil
		}
		return commands.Reply{Title: "nothing", Offers: []commands.Offer{{Label: "Search without ip_addresses", Line: without}}}, nil
	})
	asked := s.say("U0ADA", search)
	answer := s.reply(asked, "nothing")
	if !strings.Contains(shownIn(answer), "or type: \n"+without) {
		t.Errorf("the line is not shown: %s", shownIn(answer))
	}
	s.press("U0MALLORY", answer, "Search without ip_addresses")
	if told := s.reply(asked, "not on the list"); told.EphemeralTo != "U0MALLORY" {
		t.Errorf("told: %+v", told)
	}
	s.press("U0GRACE", answer, "Search without ip_addresses")
	second := s.reply(asked, "found without")
	if text := second.Text; !strings.HasPrefix(text, "<@U0GRACE> ran !o365-auditlog-search start_date=\"3 days\" filter=") {
		t.Errorf("the answer begins with %q", text)
	}
	if n := s.performed.Load(); n != 2 {
		t.Errorf("%d commands ran", n)
	}
	s.press("U0GRACE", answer, "Search without ip_addresses") // is another press
	s.until(func() bool { return s.performed.Load() == 3 })
}

// What the inbox does not have is not acknowledged.
func TestAPressThatCannotBeFiledIsAnError(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	payload := `{"type":"block_actions","user":{"id":"U0ADA"},"channel":{"id":"C0INCIDENTS"},"container":{"message_ts":"1.000000"},"actions":[{"action_id":"auditbot_cancel","value":"x","action_ts":"2.000000"}]}`
	if _, err := s.bot.fileClick(ctx, []byte(payload)); err == nil {
		t.Error("it was filed")
	}
}

func TestReadClick(t *testing.T) {
	good := func(change func(*click)) []byte {
		c := click{Type: "block_actions"}
		c.Team.ID, c.User.ID, c.User.TeamID, c.Channel.ID = "T1", "U1", "T1", "C1"
		c.Container.MessageTS, c.Container.ThreadTS = "2.000000", "1.000000"
		c.Actions = append(c.Actions, struct {
			ActionID string `json:"action_id"`
			Value    string `json:"value"`
			TS       string `json:"action_ts"`
		}{offerAction + "0", "!help x", "3.000000"})
		change(&c)
		payload, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return payload
	}
	for _, c := range []struct {
		name   string
		change func(*click)
		want   Message // zero: it is none
	}{
		{"an offer", func(*click) {}, Message{Team: "T1", Channel: "C1", User: "U1", TS: "3.000000", Thread: "1.000000", Text: "!help x", Clicked: "2.000000"}},
		{"in a direct message", func(c *click) { c.Channel.ID = "D1" }, Message{Team: "T1", Channel: "D1", Kind: "im", User: "U1", TS: "3.000000", Thread: "1.000000", Text: "!help x", Clicked: "2.000000"}},
		{"outside a thread", func(c *click) { c.Container.ThreadTS = "" }, Message{Team: "T1", Channel: "C1", User: "U1", TS: "3.000000", Thread: "2.000000", Text: "!help x", Clicked: "2.000000"}},
		{"to cancel", func(c *click) { c.Actions[0].ActionID, c.Actions[0].Value = cancelAction, "x" }, Message{Team: "T1", Channel: "C1", User: "U1", TS: "3.000000", Thread: "1.000000", Text: "!cancel", Clicked: "2.000000", Cancels: "x"}},
		{"by somebody of another organisation", func(c *click) { c.User.TeamID = "T2" }, Message{}},
		{"in another workspace", func(c *click) { c.Team.ID = "T2" }, Message{}},
		{"of a button that is not ours", func(c *click) { c.Actions[0].ActionID = "x" }, Message{}},
		{"of an offer of nothing", func(c *click) { c.Actions[0].Value = "" }, Message{}},
		{"of a menu", func(c *click) { c.Type = "view_submission" }, Message{}},
		{"of nothing", func(c *click) { c.Actions = nil }, Message{}},
	} {
		m, ok, err := readClick(good(c.change), "T1", "!")
		if err != nil || ok != (c.want != Message{}) || ok && m != c.want {
			t.Errorf("%s: %+v, %v, %v", c.name, m, ok, err)
		}
	}
	if _, _, err := readClick([]byte("{"), "T1", "!"); err == nil {
		t.Error("what is no JSON was read")
	}
}

// offering is a reply with offers, of which one is too long for a button and
// one is too many.
func offering() commands.Reply {
	r := commands.Reply{Title: "no records found", Verdict: &auditlog.Verdict{}}
	r.Offers = []commands.Offer{
		{Label: "Search without ip_addresses", Line: without},
		{Label: strings.Repeat("long ", 20) + ":tada: <!channel>", Line: "!help `<!channel>` *x*"},
		{Label: "too long", Line: "!help " + strings.Repeat("x", maxValue)},
	}
	for _, label := range []string{"4", "5", "6"} {
		r.Offers = append(r.Offers, commands.Offer{Label: label, Line: "!help"})
	}
	return r
}

func TestFormsOfWhatIsOffered(t *testing.T) {
	for name, o := range map[string]opening{"offers": {}, "pressed": {user: "U0ADA", line: "!help `<!channel>` *x*"}, "called": {user: "U0ADA"}, "late": {user: "U0ADA", late: "Written at 14:02 UTC; it reached me only now."}} {
		for i, f := range forms(offering(), o) {
			kind := []string{"markdown", "code", "text"}[i]
			golden(t, filepath.Join("testdata", "forms", name+"."+kind+".json"), struct {
				Text   string
				Blocks []slack.Block `json:",omitempty"`
			}{f.text, f.blocks})
		}
	}
}

func TestOffersAreGoodBlocks(t *testing.T) {
	r := offering()
	r.Table = records(strings.Repeat("x", 300), strings.Repeat("y", 300)).Table
	for range 60 {
		r.Table.Rows = append(r.Table.Rows, r.Table.Rows[0])
	}
	r.Offers[0].Line += strings.Repeat("z", 300)
	b, server := member(t, Access{Everyone: true})
	for i, f := range forms(r, opening{user: "U0ADA", line: strings.Repeat("<&", 1000)}) {
		if _, err := b.say(t.Context(), incidents, "", f, slack.SlackMetadata{}); err != nil {
			t.Errorf("form %d: %v", i, err)
		}
	}
	history := server.History(incidents)
	if !strings.Contains(string(history[len(history)-1].Text), "or type: `!help`") {
		t.Error("the plainest form lacks the lines")
	}
}
