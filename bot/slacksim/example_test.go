package slacksim_test

import (
	"context"
	"fmt"
	"log"

	"auditbot/bot/slacksim"

	"github.com/slack-go/slack"
)

// Grace's keyboard makes curly quotes, and Slack makes links; the bot answers
// in the thread.
func ExampleServer() {
	ctx := context.Background()
	server := slacksim.NewServer(slacksim.Workspace{})
	defer server.Close()

	asked, err := server.Say("U0GRACE", "C0INCIDENTS", "", `!search start_date="3 days" user_ids=erin@contoso.com`)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(asked.Text)

	bot := slack.New(server.BotToken(), slack.OptionAPIURL(server.APIURL()))
	_, _, err = bot.PostMessageContext(ctx, asked.Channel, slack.MsgOptionTS(asked.TS), slack.MsgOptionText("Nothing was found.", false))
	if err != nil {
		log.Fatal(err)
	}
	answer, err := server.Wait(ctx, asked.Channel, func(m slacksim.Message) bool { return m.ThreadTS == asked.TS })
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Text)
	// Output:
	// !search start_date=“3 days” user_ids=<mailto:erin@contoso.com|erin@contoso.com>
	// Nothing was found.
}
