//go:build !windows

package bot

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"auditbot/auditlog/tenantsim"
	"auditbot/bot/engine/clustertest"
	"auditbot/bot/slacksim"
)

var (
	chaosCommands = flag.Int("chaos-commands", 0, "how many commands the chaos tests type, about 16 a second; 0 means as many as in CI")
	chaosKills    = flag.Int("chaos-kills", 0, "how often the chaos tests kill, restart or halt something meanwhile, two times in three with SIGKILL; 0 means as often as in CI")
	chaosReplicas = flag.Int("chaos-replicas", 3, "how many replicas TestChaosInACluster has")
	chaosSeed     = flag.Uint64("chaos-seed", 1, "what goes wrong in the chaos tests")
	chaosDir      = flag.String("chaos-dir", "", "where the chaos tests leave the bots' logs and the stories of what went wrong: a new folder. Nowhere if it is not given")
)

// typing is how long after a command the next one is typed, on the average, and
// unanswered how many wait for their answer before nobody types any more.
const (
	typing     = 60 * time.Millisecond
	unanswered = 120
)

// chaosPatience is how long after all trouble has ended the last answer may
// come. What failed until then is tried again a minute later.
const chaosPatience = 4 * time.Minute

// A chaos is a workspace and a tenant that go wrong, people who ask, and bots
// between them that are killed again and again.
type chaos struct {
	t      *testing.T
	slack  *slacksim.Server
	tenant *tenantsim.Server
	dir    string
	random *rand.Rand // of who types, and what is killed when
	bots   []*victim

	cluster *clustertest.Cluster // of the bots, or nil
	ill     sync.Mutex           // held while a server of it is dead
	nodes   int                  // how many were killed

	asked []*asked
}

// Whatever goes wrong, and as often as the bot is killed: each command is
// answered once, and each file is attached once.
func TestChaos(t *testing.T) {
	t.Parallel()
	c := newChaos(t)
	c.addBot("", chaosFolder+"="+filepath.Join(c.dir, "data"))
	c.run(cmp.Or(*chaosCommands, 200), cmp.Or(*chaosKills, 4))
}

// The same with several bots on a cluster of three servers, of which any one
// may be dead.
func TestChaosInACluster(t *testing.T) {
	t.Parallel()
	c := newChaos(t)
	c.cluster = clustertest.Start(t)
	for i := range *chaosReplicas {
		name := fmt.Sprint("-", i)
		c.addBot(name, chaosFolder+"="+filepath.Join(c.dir, "data"+name), chaosNATS+"="+c.cluster.URL())
	}
	c.run(cmp.Or(*chaosCommands, 100), cmp.Or(*chaosKills, 4))
}

func newChaos(t *testing.T) *chaos {
	t.Helper()
	c := &chaos{t: t, dir: t.TempDir(), random: rand.New(rand.NewPCG(*chaosSeed, 1))}
	if *chaosDir != "" {
		c.dir = filepath.Join(*chaosDir, t.Name())
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c.slack = &slacksim.Server{
		Workspace: chaosWorkspace(), PingInterval: chaosSilence / 5, WarningTime: time.Second, AckTimeout: time.Second,
		RetryAfter: []time.Duration{0, 4 * time.Second, 20 * time.Second}, // after that, only its history has them
	}
	c.tenant = &tenantsim.Server{Tenant: chaosContoso(), Interval: time.Second, Latency: 20 * time.Millisecond, Seed: *chaosSeed, Odds: tenantTrouble()}
	for _, start := range []func() error{c.slack.Start, c.tenant.Start} {
		if err := start(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(c.slack.Close)
	t.Cleanup(c.tenant.Close)
	return c
}

func (c *chaos) addBot(name string, env ...string) {
	v := &victim{t: c.t, dir: c.dir, name: name, env: append(append(os.Environ(),
		chaosSlack+"="+c.slack.APIURL(), chaosTenant+"="+c.tenant.URL,
		chaosBotToken+"="+c.slack.BotToken(), chaosAppToken+"="+c.slack.AppToken(), "GORACE=atexit_sleep_ms=0"), env...)}
	c.bots = append(c.bots, v)
	c.t.Cleanup(v.stop)
}

// run is the whole of it: the trouble, its end, one more death, and the verdict.
func (c *chaos) run(commands, kills int) {
	c.t.Helper()
	over := make(chan struct{})
	var people sync.WaitGroup
	people.Go(func() { c.signIn(over) })
	for _, v := range c.bots {
		v.start()
	}
	c.await(c.ask("!help", chaosOther)) // what was written before it first listened, it does not read
	c.slack.Odds(*chaosSeed, slackTrouble(rand.New(rand.NewPCG(*chaosSeed, 4)))...)
	c.typeAll(commands, kills)
	c.slack.Odds(0)
	c.tenant.Calm()
	c.ill.Lock() // the cluster is well
	c.settle()
	for _, v := range c.bots {
		v.kill("once more, to see that nothing comes again")
	}
	for _, v := range c.bots {
		v.start()
	}
	for range 5 {
		c.await(c.ask("!help", chaosOther))
	}
	close(over)
	people.Wait()
	for _, v := range c.bots {
		v.stop()
	}
	c.judge()
}

// typeAll is people who type n commands, while something is killed so many
// times.
func (c *chaos) typeAll(n, kills int) {
	c.t.Helper()
	killed, free := 0, time.NewTicker(time.Second)
	defer free.Stop()
	for i := range n {
		c.ask(chaosCommand(c.random, i))
		if killed < kills && i*(kills+1) >= (killed+1)*n {
			killed++
			c.strike()
		}
		c.meddle()
		c.pause(time.Duration(float64(typing) * c.random.ExpFloat64()))
		for i%100 == 99 && c.open() > unanswered {
			<-free.C
		}
	}
}

// strike kills a bot or a server of the cluster, restarts a bot, or makes one
// stand still for so long that others take over.
func (c *chaos) strike() {
	v := c.bots[c.random.IntN(len(c.bots))]
	away := upTo(c.random, time.Second) // whoever starts it again takes a moment
	switch dice := c.random.IntN(10); {
	case dice < 2:
		v.freeze(upTo(c.random, 2*chaosAckWait))
	case dice < 3:
		go func() {
			v.note("bot" + v.name + " is told to stop")
			v.stop()
			v.start()
		}()
	case dice < 6 && c.cluster != nil:
		c.killNode(c.random.IntN(c.cluster.Nodes()), away)
	default:
		v.kill("by chance")
		time.AfterFunc(away, v.start)
	}
}

// killNode kills a server of the cluster and starts it again, if no other one is
// dead.
func (c *chaos) killNode(i int, away time.Duration) {
	if !c.ill.TryLock() {
		return
	}
	c.nodes++
	c.bots[0].note(fmt.Sprintf("server %d of the cluster is killed", i))
	c.cluster.Kill(i)
	go func() {
		defer c.ill.Unlock()
		c.pause(away)
		c.cluster.Restart(i)
		c.bots[0].note(fmt.Sprintf("server %d of the cluster is well", i))
	}()
}

// meddle does now and then to something earlier what must change nothing: Slack
// tells of it again, its author corrects it, or somebody cancels a command.
func (c *chaos) meddle() {
	a := c.asked[c.random.IntN(len(c.asked))]
	switch c.random.IntN(30) {
	case 0, 1:
		c.slack.Redeliver(a.Channel, a.TS)
	case 2:
		if a.final() != nil {
			_ = c.slack.Edit(a.User, a.Channel, a.TS, "!help cancel") // DMs may be closed by then
		}
	case 3:
		for _, m := range c.slack.History(a.Channel) {
			if m.ThreadTS == a.place() {
				_ = c.slack.Press(a.User, a.Channel, m.TS, "Cancel") // few have it
			}
		}
	}
}

// pause is part of what happens, and no waiting for something.
func (c *chaos) pause(d time.Duration) { time.Sleep(d) }

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

// settle waits until everything is answered, or it takes too long. If it takes
// long, the bots' logs get what they do at that moment.
func (c *chaos) settle() {
	ctx, cancel := context.WithTimeout(c.t.Context(), chaosPatience)
	defer cancel()
	look, long := time.NewTicker(500*time.Millisecond), time.After(15*time.Second)
	defer look.Stop()
	for c.open() > 0 || c.slack.Unacknowledged() > 0 {
		select {
		case <-look.C:
		case <-long:
			for _, v := range c.bots {
				v.signal(syscall.SIGUSR1)
			}
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
	var n counts
	for _, a := range c.asked {
		n.add(a)
	}
	kills, ends := 0, 0
	for _, v := range c.bots {
		kills, ends = kills+v.kills, ends+v.ends
	}
	codes := c.codesLeft()
	c.t.Logf("chaos: %d commands sent, %v; %d codes left standing; %d kills, %d of servers, %d other ends, longest wait %d s, seed %d",
		len(c.asked), n, len(codes), kills, c.nodes, ends, int(n.longest.Seconds()), *chaosSeed)
	if n.bad() {
		c.t.Error("something went wrong")
	}
	c.tellStories()
	c.tellOfCodes(codes)
}
