package bot

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"auditbot/auditlog/tenantsim"
	"auditbot/bot/slacksim"
)

var (
	chaosCommands = flag.Int("chaos-commands", 300, "how many commands TestChaos types, about 20 a second")
	chaosKills    = flag.Int("chaos-kills", 4, "how often TestChaos kills the bot meanwhile")
	chaosSeed     = flag.Uint64("chaos-seed", 1, "what goes wrong in TestChaos")
	chaosDir      = flag.String("chaos-dir", "", "where TestChaos leaves the bot's logs and the stories of what went wrong; a new folder. Nowhere if it is not given")
)

// typing is how long after a command the next one is typed, on the average, and
// unanswered how many wait for their answer before nobody types any more.
const (
	typing     = 50 * time.Millisecond
	unanswered = 120
)

// chaosPatience is how long after all trouble has ended the last answer may
// come. What failed until then is tried again a minute later.
const chaosPatience = 4 * time.Minute

// A chaos is a workspace and a tenant that go wrong, people who ask, and a bot
// between them that is killed again and again.
type chaos struct {
	t      *testing.T
	slack  *slacksim.Server
	tenant *tenantsim.Server
	dir    string
	random *rand.Rand // of who types
	bot    *victim

	asked []*asked
	begun time.Time
}

// Whatever goes wrong, and as often as the bot is killed: each command is
// answered once, and each file is attached once.
func TestChaos(t *testing.T) {
	c := newChaos(t)
	c.trouble(*chaosSeed)
	over := make(chan struct{})
	var people sync.WaitGroup
	people.Go(func() { c.signIn(over) })
	c.bot.start()
	c.typeAll(*chaosCommands, *chaosKills)
	c.slack.Odds(0)
	c.tenant.Calm()
	c.settle()
	c.bot.kill("once more, to see that nothing comes again")
	c.bot.start()
	for range 5 {
		c.await(c.ask("!help", chaosOther))
	}
	close(over)
	people.Wait()
	c.bot.stop()
	c.judge()
}

func newChaos(t *testing.T) *chaos {
	t.Helper()
	c := &chaos{t: t, dir: *chaosDir, random: rand.New(rand.NewPCG(*chaosSeed, 1)), begun: time.Now()}
	if c.dir == "" {
		c.dir = t.TempDir()
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c.slack = &slacksim.Server{
		Workspace: chaosWorkspace(), PingInterval: chaosSilence / 5, WarningTime: time.Second, AckTimeout: time.Second,
		RetryAfter: []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute},
	}
	c.tenant = &tenantsim.Server{Tenant: chaosContoso(), Interval: time.Second, Latency: 20 * time.Millisecond, Seed: *chaosSeed, Odds: tenantTrouble()}
	for _, start := range []func() error{c.slack.Start, c.tenant.Start} {
		if err := start(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(c.slack.Close)
	t.Cleanup(c.tenant.Close)
	c.bot = &victim{t: t, dir: c.dir, env: append(os.Environ(),
		chaosFolder+"="+filepath.Join(c.dir, "data"), chaosSlack+"="+c.slack.APIURL(), chaosTenant+"="+c.tenant.URL,
		chaosBotToken+"="+c.slack.BotToken(), chaosAppToken+"="+c.slack.AppToken(), "GORACE=atexit_sleep_ms=0")}
	t.Cleanup(c.bot.stop)
	return c
}

func (c *chaos) trouble(seed uint64) {
	c.slack.Odds(seed, slackTrouble(rand.New(rand.NewPCG(seed, 4)))...)
}

// typeAll is people who type n commands, while the bot is killed so many times.
func (c *chaos) typeAll(n, kills int) {
	c.t.Helper()
	killed, free := 0, time.NewTicker(time.Second)
	defer free.Stop()
	for i := range n {
		c.ask(chaosCommand(c.random, i))
		if killed < kills && i*(kills+1) >= (killed+1)*n {
			killed++
			c.bot.kill("by chance")
			c.pause(upTo(c.random, time.Second)) // whoever starts it again takes a moment
			c.bot.start()
		}
		c.meddle()
		c.pause(time.Duration(float64(typing) * c.random.ExpFloat64()))
		for i%20 == 0 && c.open() > unanswered {
			<-free.C
		}
	}
}

// pause is part of what happens, and no waiting for something.
func (c *chaos) pause(d time.Duration) { time.Sleep(d) }

// meddle does now and then to something earlier what must change nothing: Slack
// tells of it again, its author corrects it, or somebody cancels a command.
func (c *chaos) meddle() {
	a := c.asked[c.random.IntN(len(c.asked))]
	switch c.random.IntN(30) {
	case 0, 1:
		c.slack.Redeliver(a.Channel, a.TS)
	case 2:
		if a.final() != nil {
			_ = c.slack.Edit(a.User, a.Channel, a.TS, "!help cancel")
		}
	case 3:
		for _, m := range c.slack.History(a.Channel) {
			if m.ThreadTS == a.place() {
				_ = c.slack.Press(a.User, a.Channel, m.TS, "Cancel") // few have it
			}
		}
	}
}

// ask is somebody typing a command somewhere.
func (c *chaos) ask(text, kind string) *asked {
	c.t.Helper()
	who := chaosPeople[c.random.IntN(len(chaosPeople))]
	where := c.slack.OpenDM(who.ID)
	if i := c.random.IntN(len(chaosChannels) + 1); i < len(chaosChannels) {
		where = chaosChannels[i].ID
	}
	thread := ""
	if c.random.IntN(3) == 0 {
		for _, a := range c.asked[max(0, len(c.asked)-50):] {
			if a.Channel == where {
				thread = a.TS
			}
		}
	}
	m, err := c.slack.Say(who.ID, where, thread, text)
	if err != nil {
		c.t.Fatal(err)
	}
	a := &asked{Message: m, kind: kind, typed: text}
	c.asked = append(c.asked, a)
	return a
}

// signIn is people who sign in when they have got a code, until over is closed.
func (c *chaos) signIn(over <-chan struct{}) {
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-over:
			return
		}
		for _, code := range c.tenant.UserCodes() {
			for _, who := range chaosPeople {
				if c.hasGot(who, code) {
					_ = c.tenant.Approve(code, who.Email) // it may have ended this moment
				}
			}
		}
	}
}

// settle waits until everything is answered, or it takes too long.
func (c *chaos) settle() {
	ctx, cancel := context.WithTimeout(c.t.Context(), chaosPatience)
	defer cancel()
	look := time.NewTicker(500 * time.Millisecond)
	defer look.Stop()
	for c.open() > 0 || c.slack.Unacknowledged() > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// await waits for the answer to one command, if there is no trouble.
func (c *chaos) await(a *asked) {
	ctx, cancel := context.WithTimeout(c.t.Context(), chaosPatience)
	defer cancel()
	_, err := c.slack.Wait(ctx, a.Channel, func(m slacksim.Message) bool { return answerTo(m) == a.id() })
	if err != nil {
		c.t.Errorf("after all, %q is not answered: %v", a.typed, err)
	}
}

// judge counts what became of all commands, and tells the stories of those that
// went wrong.
func (c *chaos) judge() {
	c.t.Helper()
	c.look()
	n := counts{}
	for _, a := range c.asked {
		n.add(a)
	}
	line := fmt.Sprintf("chaos: %d commands sent, %d answered, %d twice, %d lost, %d files, %d twice, %d lost, %d said to be missing, %d left running, %d kills, %d other ends, longest wait %d s, seed %d",
		len(c.asked), n.answered, n.twice, n.lost, n.files, n.filesTwice, n.filesLost, n.filesMissing, n.running, c.bot.kills, c.bot.ends, int(n.longest.Seconds()), *chaosSeed)
	c.t.Log(line)
	if n.twice+n.lost+n.filesTwice+n.filesLost > 0 {
		c.t.Error("something went wrong")
	}
	c.tellStories()
}
