package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"auditbot/bot"
	"auditbot/bot/engine"
	"auditbot/bot/slacksim"
)

// How fast the bot is, and how much memory it needs:
//
//	go test ./cmd/auditbot -run '^$' -bench 'Latency|Saturation|Start|AtRest' -benchtime 1x -timeout 60m
//
// The bot is a process of its own, the program that this test is under another
// name, with everything as durable as it always is. Slack is simulated in this
// process, on the same processors, and its own time counts: an event is sent
// when the simulation begins to write it, and acknowledged when it has read and
// understood the acknowledgement. With -profiles, the bot writes profiles
// there.
var (
	steadyFor = flag.Duration("steady", time.Minute, "how long BenchmarkLatency sends 50 events a second")
	floodFor  = flag.Duration("flood", 10*time.Second, "how long BenchmarkSaturation sends all that is taken")
	knownIDs  = flag.Int("ids", 100_000, "how many commands of the last day BenchmarkAtRestAfterABusyDay has")
	profiles  = flag.String("profiles", "", "a folder for profiles of the bot")
)

const (
	crowdChannels = 200
	crowdPeople   = 20
	lanes         = 20 // that spreadOut makes of a workspace's limit
)

// spreadOut is auditbot, but that Slack's limit of 300 messages a minute is not
// for all channels together, but for each twentieth of them: 50 answers a
// second are ten times as many as a workspace takes. The limit for each channel
// stays, and so does the work of keeping both.
func spreadOut() {
	toSlack = func(p *bot.Pace) carrier {
		var s spread
		for range lanes {
			s = append(s, &bot.Pace{HTTP: p.HTTP, Log: p.Log})
		}
		return s
	}
	profiled()
}

// profiled is auditbot, and writes profiles of its first 12 seconds if that is
// asked for.
func profiled() {
	if dir := os.Getenv("BENCH_PROFILES"); dir != "" {
		cpu, err := os.Create(filepath.Join(dir, fmt.Sprintf("cpu.%d", os.Getpid())))
		check(err)
		check(pprof.StartCPUProfile(cpu))
		time.AfterFunc(12*time.Second, func() {
			pprof.StopCPUProfile()
			cpu.Close()
			heap, err := os.Create(filepath.Join(dir, fmt.Sprintf("heap.%d", os.Getpid())))
			check(err)
			check(pprof.WriteHeapProfile(heap))
			heap.Close()
		})
	}
	main()
}

type spread []*bot.Pace

func (s spread) Do(req *http.Request) (*http.Response, error) {
	channel := fnv.New32()
	if req.GetBody != nil {
		if body, err := req.GetBody(); err == nil {
			form, _ := io.ReadAll(body)
			_, after, _ := strings.Cut("&"+string(form), "&channel=")
			name, _, _ := strings.Cut(after, "&")
			io.WriteString(channel, name)
		}
	}
	return s[channel.Sum32()%uint32(len(s))].Do(req)
}

// A crowd is a workspace of many people in many channels, and the bot that they
// ask.
type crowd struct {
	testing.TB
	slack *slacksim.Server
	dir   string
	bot   *exec.Cmd
	said  int
}

func newCrowd(tb testing.TB) *crowd {
	c := &crowd{TB: tb, dir: tb.TempDir(), slack: &slacksim.Server{
		Workspace:  slacksim.Workspace{Manifest: []byte(bot.Manifest())},
		AckTimeout: time.Minute, // what is late counts with its time, instead of being sent again
	}}
	w := &c.slack.Workspace
	members := []string{slacksim.BotUserID}
	for i := range crowdPeople {
		id := fmt.Sprintf("U0CROWD%d", i)
		w.Users = append(w.Users, slacksim.User{ID: id, Name: strings.ToLower(id), RealName: id, Email: id + "@contoso.com"})
		members = append(members, id)
	}
	for i := range crowdChannels {
		w.Channels = append(w.Channels, slacksim.Channel{ID: fmt.Sprintf("C0CROWD%d", i), Name: fmt.Sprint("crowd-", i), Kind: "channel", Members: members})
	}
	c.ok(c.slack.Start())
	tb.Cleanup(c.slack.Close)
	c.ok(os.WriteFile(filepath.Join(c.dir, "auditbot.yml"), fmt.Appendf(nil,
		"access: {everyone: true}\ninstances: [{name: contoso, tenant: contoso.onmicrosoft.com}]\nengine: {data_dir: %q}\nlog: {level: warn}\n", c.data()), 0o666))
	return c
}

func (c *crowd) ok(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *crowd) data() string { return filepath.Join(c.dir, "data") }

// start starts the bot under the name of a program in TestMain.
func (c *crowd) start(name string) {
	c.Helper()
	path := filepath.Join(c.dir, name)
	if _, err := os.Lstat(path); err != nil {
		self, err := os.Executable()
		c.ok(err)
		c.ok(os.Symlink(self, path))
	}
	c.bot = exec.Command(path, "run")
	c.bot.Dir, c.bot.Stderr = c.dir, os.Stderr
	c.bot.Env = append(os.Environ(), "SLACK_API_URL="+c.slack.APIURL(), "SLACK_BOT_TOKEN="+c.slack.BotToken(), "SLACK_APP_TOKEN="+c.slack.AppToken(),
		"AUDITBOT_KEY="+rightKey, "BENCH_PROFILES="+*profiles)
	c.ok(c.bot.Start())
	started := c.bot
	c.Cleanup(func() { started.Process.Kill(); started.Wait() })
}

// stop ends the bot, and waits until Slack has noticed.
func (c *crowd) stop(how os.Signal) {
	c.Helper()
	c.ok(c.bot.Process.Signal(how))
	_ = c.bot.Wait() // it may have been killed
	c.until("the bot is disconnected", func() bool { return c.slack.Sockets() == 0 })
}

func (c *crowd) until(what string, ok func() bool) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
	defer cancel()
	if err := c.slack.Until(ctx, ok); err != nil {
		c.Fatal("waiting until ", what, ": ", err)
	}
}

// ask lets somebody type !help: the next person, in the next channel.
func (c *crowd) ask() slacksim.Message {
	m, err := c.slack.Say(fmt.Sprintf("U0CROWD%d", c.said%crowdPeople), fmt.Sprintf("C0CROWD%d", c.said%crowdChannels), "", "!help")
	c.ok(err)
	c.said++
	return m
}

// steady lets people type at exact times, so many a second, and returns what
// they said once all of it is answered.
func (c *crowd) steady(perSecond int, d time.Duration) (asked []slacksim.Message) {
	began := time.Now()
	for i := range int(d.Seconds() * float64(perSecond)) {
		time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(perSecond))))
		asked = append(asked, c.ask())
	}
	c.answered()
	return asked
}

// answered waits until everything that was asked so far is answered.
func (c *crowd) answered() {
	c.Helper()
	for deadline := time.Now().Add(time.Minute); c.slack.Calls("chat.postMessage") < c.said; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.Fatalf("%d answers to %d commands", c.slack.Calls("chat.postMessage"), c.said)
		}
	}
}

// times are how long after it was sent each of these was acknowledged, and
// answered for the first time.
func (c *crowd) times(asked []slacksim.Message) (acks, answers spans) {
	sent := map[string]time.Time{}
	for _, m := range asked {
		sent[m.TS] = time.Time{}
	}
	for _, d := range c.slack.Deliveries() {
		if at, ok := sent[d.TS]; ok && at.IsZero() {
			sent[d.TS] = d.Sent
			acks = append(acks, d.Acknowledged.Sub(d.Sent))
		}
	}
	for _, r := range c.slack.Requests() {
		if at, ok := sent[r.Values.Get("thread_ts")]; ok && r.Method == "chat.postMessage" {
			answers = append(answers, r.Time.Sub(at))
			delete(sent, r.Values.Get("thread_ts"))
		}
	}
	if len(acks) != len(asked) || len(answers) != len(asked) || slices.Min(acks) < 0 {
		c.Fatalf("%d acknowledgements in time and %d answers to %d commands", len(acks), len(answers), len(asked))
	}
	return acks, answers
}

// resident is what the bot has in memory now, and had at most, in MiB; 0 where
// the system is not Linux.
func (c *crowd) resident() (now, peak float64) {
	c.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.bot.Process.Pid))
	if err != nil {
		return 0, 0
	}
	mib := func(name string) float64 {
		found := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(status)
		kib, err := strconv.Atoi(string(found[1]))
		c.ok(err)
		return float64(kib) / 1024
	}
	return mib("VmRSS"), mib("VmHWM")
}

type spans []time.Duration

func (s spans) report(b *testing.B, what string) {
	slices.Sort(s)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(s[len(s)/2]), "ms-"+what+"-p50")
	b.ReportMetric(ms(s[len(s)*99/100]), "ms-"+what+"-p99")
	b.ReportMetric(ms(s[len(s)-1]), "ms-"+what+"-max")
}

// bareWrites is what the disk takes for 1 KiB written and synced, without
// anything of ours.
func (c *crowd) bareWrites() (all spans) {
	file, err := os.Create(filepath.Join(c.dir, "bare"))
	c.ok(err)
	defer file.Close()
	block := make([]byte, 1024)
	for range 1000 {
		began := time.Now()
		_, err := file.Write(block)
		c.ok(err)
		c.ok(file.Sync())
		all = append(all, time.Since(began))
	}
	return all
}

// BenchmarkLatency sends 50 commands a second.
func BenchmarkLatency(b *testing.B) {
	for b.Loop() {
		c := newCrowd(b)
		c.bareWrites().report(b, "disk")
		c.start("auditbot-spread")
		c.ok(c.slack.WaitConnected(b.Context()))
		c.steady(50, 8*time.Second) // both connections are there, and everybody is known
		asked := c.steady(50, *steadyFor)
		acks, answers := c.times(asked)
		acks.report(b, "ack")
		answers.report(b, "answer")
		_, peak := c.resident()
		b.ReportMetric(peak, "MiB-peak")
		b.ReportMetric(float64(len(asked)), "commands")
		b.ReportMetric(float64(runtime.NumCPU()), "cores")
		c.stop(syscall.SIGKILL)
	}
}

// The benchmarks are run by hand; this is so that they can be.
func TestACrowdIsAnsweredInTime(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	c.start("auditbot-spread")
	c.ok(c.slack.WaitConnected(t.Context()))
	c.times(c.steady(50, time.Second))
	if now, peak := c.resident(); now > peak {
		t.Errorf("%.1f MiB of memory, and %.1f at most", now, peak)
	}
}

// BenchmarkSaturation has 512 events on their way at all times. The bot answers
// as Slack lets it meanwhile, five commands a second.
func BenchmarkSaturation(b *testing.B) { benchmarkSaturation(b, "auditbot") }

// BenchmarkSaturationWithAnswers is the same with 100 answers a second, as many
// as twenty workspaces would take.
func BenchmarkSaturationWithAnswers(b *testing.B) { benchmarkSaturation(b, "auditbot-spread") }

func benchmarkSaturation(b *testing.B, program string) {
	for b.Loop() {
		c := newCrowd(b)
		c.start(program)
		c.ok(c.slack.WaitConnected(b.Context()))
		c.steady(5, 8*time.Second)
		before, answersBefore := c.said, c.slack.Calls("chat.postMessage")
		began := time.Now()
		for time.Since(began) < *floodFor {
			for range 512 - c.slack.Unacknowledged() {
				c.ask()
			}
			time.Sleep(5 * time.Millisecond)
		}
		accepted := c.said - before - c.slack.Unacknowledged()
		took := time.Since(began)
		_, peak := c.resident()
		b.ReportMetric(float64(accepted)/took.Seconds(), "commands/s")
		b.ReportMetric(float64(c.slack.Calls("chat.postMessage")-answersBefore)/took.Seconds(), "answers/s")
		b.ReportMetric(peak, "MiB-peak")
		c.stop(syscall.SIGKILL)
	}
}

// BenchmarkStart is from the start of the process to its first answer, to a
// command that is typed as soon as the bot is connected. Its data folder is
// there.
func BenchmarkStart(b *testing.B) {
	c := newCrowd(b)
	c.start("auditbot")
	c.ok(c.slack.WaitConnected(b.Context()))
	c.steady(2, 10*time.Second)
	c.stop(syscall.SIGTERM)
	for b.Loop() {
		c.starts(b, 20)
	}
}

func (c *crowd) starts(b *testing.B, n int) {
	var connected, answered spans
	for range n {
		began := time.Now()
		c.start("auditbot")
		c.until("the bot is connected", func() bool { return c.slack.Sockets() > 0 })
		connected = append(connected, time.Since(began))
		m := c.ask()
		c.until("the command is answered", func() bool { return c.answerTo(m) != nil })
		answered = append(answered, c.answerTo(m).Time.Sub(began))
		c.stop(syscall.SIGTERM)
	}
	connected.report(b, "connected")
	answered.report(b, "answered")
}

func (c *crowd) answerTo(m slacksim.Message) *slacksim.Request {
	for _, r := range slices.Backward(c.slack.Requests()) {
		if r.Method == "chat.postMessage" && r.Values.Get("thread_ts") == m.TS {
			return &r
		}
	}
	return nil
}

// BenchmarkAtRest is what the bot has in memory a minute after it has answered
// a few commands.
func BenchmarkAtRest(b *testing.B) {
	for b.Loop() {
		c := newCrowd(b)
		c.rest(b)
		c.stop(syscall.SIGKILL)
	}
}

func (c *crowd) rest(b *testing.B) {
	c.start("auditbot")
	c.ok(c.slack.WaitConnected(b.Context()))
	c.steady(2, 10*time.Second)
	time.Sleep(time.Minute)
	now, peak := c.resident()
	b.ReportMetric(now, "MiB")
	b.ReportMetric(peak, "MiB-peak")
}

// BenchmarkAtRestAfterABusyDay is the same, and its start, when 100,000 commands
// were answered within the last 24 hours: the inbox knows the ids of all.
func BenchmarkAtRestAfterABusyDay(b *testing.B) {
	for b.Loop() {
		c := newCrowd(b)
		c.busyDay(*knownIDs)
		c.rest(b)
		c.stop(syscall.SIGTERM)
		c.starts(b, 5)
	}
}

// busyDay fills the data folder with commands that are done.
func (c *crowd) busyDay(n int) {
	e, err := openReplica(c.data())
	c.ok(err)
	ctx, enough := context.WithCancel(c.Context())
	defer enough()
	todo, done := make(chan int), make(chan bool, 64)
	for range 64 {
		go func() {
			for i := range todo {
				id := fmt.Sprintf("T0CONTOSO.C0CROWD%d.1700000000.%06d", i%crowdChannels, i)
				value, err := json.Marshal(bot.Message{Team: "T0CONTOSO", Channel: "C0CROWD1", User: "U0CROWD1", TS: "1700000000.000001", Text: "!help"})
				check(err)
				_, err = e.File(ctx, id, value)
				check(err)
			}
		}()
	}
	go func() {
		defer close(todo)
		for i := range n {
			todo <- i
		}
	}()
	go e.Work(ctx, 64, func(ctx context.Context, item engine.Item) error {
		revision, err := e.Bucket(engine.Commands).Create(ctx, item.ID, []byte(`{"step":"posting"}`))
		check(err)
		_, err = e.Bucket(engine.Commands).Update(ctx, item.ID, []byte(`{"step":"posted"}`), revision)
		check(err)
		done <- true
		return nil
	})
	for range n {
		<-done
	}
	enough()
	c.ok(e.Close())
}
