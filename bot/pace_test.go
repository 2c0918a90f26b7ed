package bot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slack-go/slack"

	"auditbot/auditlog"
	"auditbot/bot/engine"
	"auditbot/bot/slacksim"
)

// A strict is a bot with a pace, in a synctest bubble, and a workspace that
// takes nothing that is too fast.
type strict struct {
	*Bot
	t     *testing.T
	pace  *Pace
	slack *slacksim.Server
	began time.Time
	all   sync.WaitGroup
}

// rooms are the channels C0ROOM0, C0ROOM1 and so on that a strict has besides
// those of the demo.
const rooms = 40

// atPace runs a test with a strict.
func atPace(t *testing.T, test func(*testing.T, *strict)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 24, 9, 12, 3, 0, time.UTC))) // a bubble begins before there was Slack
		server := &slacksim.Server{Workspace: slacksim.Demo(), EnforceRate: true}
		for i := range rooms {
			room := slacksim.Channel{ID: fmt.Sprintf("C0ROOM%d", i), Name: fmt.Sprintf("room-%d", i), Kind: "channel", Members: []string{slacksim.BotUserID}}
			server.Workspace.Channels = append(server.Workspace.Channels, room)
		}
		pace := &Pace{HTTP: &http.Client{Transport: direct{server}}, Log: slog.New(slog.DiscardHandler)}
		api := slack.New(server.BotToken(), slack.OptionAPIURL("http://127.0.0.1/api/"), slack.OptionHTTPClient(pace))
		s := &strict{Bot: &Bot{Slack: api, Log: pace.Log, Prefix: "!"}, t: t, pace: pace, slack: server, began: time.Now()}
		test(t, s)
		s.all.Wait()
		server.Close()
		synctest.Wait()
	})
}

// took is how long it is since the test began.
func (s *strict) took() time.Duration { return time.Since(s.began) }

// refusals is how often Slack answered 429.
func (s *strict) refusals() (n int) {
	for _, r := range s.slack.Requests() {
		if r.Status == http.StatusTooManyRequests {
			n++
		}
	}
	return n
}

// message says something and returns how long that took and where it stands.
func (s *strict) message(ctx context.Context, channel string) (time.Duration, string) {
	s.t.Helper()
	asked := time.Now()
	ts, err := s.say(ctx, channel, "", section("here"), slack.SlackMetadata{})
	if err != nil {
		s.t.Errorf("after %v: %v", time.Since(asked), err)
	}
	return time.Since(asked), ts
}

func TestThirtyAnswersGoIntoOneChannelWithoutARefusal(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		for range 30 {
			s.all.Go(func() { s.message(t.Context(), incidents) })
		}
		s.all.Wait()
		if n := s.slack.Calls("chat.postMessage"); n != 30 || s.refusals() > 0 {
			t.Errorf("%d messages, %d refusals", n, s.refusals())
		}
		if s.took() != 29*betweenMessages {
			t.Errorf("it took %v", s.took())
		}
	})
}

func TestChannelsDoNotWaitForEachOther(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		for range 10 {
			s.all.Go(func() { s.message(t.Context(), incidents) })
		}
		synctest.Wait()
		for _, channel := range []string{"G0INSIDER", s.slack.OpenDM("U0ADA"), s.slack.OpenDM("U0GRACE")} {
			if took, _ := s.message(t.Context(), channel); took > 0 {
				t.Errorf("a message into %s took %v", channel, took)
			}
		}
	})
}

func TestWhatIsOvertakenIsNotSent(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		_, ts := s.message(t.Context(), incidents)
		command, over := context.WithCancel(t.Context())
		s.all.Go(func() {
			_, err := s.say(unhurried(t.Context(), command), incidents, "", section("runs"), slack.SlackMetadata{})
			if !errors.Is(err, errOvertaken) || s.took() != 100*time.Millisecond {
				t.Errorf("after %v: %v", s.took(), err)
			}
		})
		time.Sleep(100 * time.Millisecond)
		over()
		s.all.Wait()
		if err := s.update(unhurried(t.Context(), command), incidents, ts, section("far")); !errors.Is(err, errOvertaken) {
			t.Error(err)
		}
		if posts, edits := s.slack.Calls("chat.postMessage"), s.slack.Calls("chat.update"); posts != 1 || edits > 0 {
			t.Errorf("%d messages and %d edits were sent", posts, edits)
		}

		command, over = context.WithCancel(t.Context())
		s.slack.Fail(slacksim.Late("chat.update", time.Second))
		time.AfterFunc(time.Millisecond, over)
		if err := s.update(unhurried(t.Context(), command), incidents, ts, section("far")); err != nil {
			t.Errorf("an edit under way was broken off: %v", err)
		}
	})
}

// The channel is full for a minute, the command over after three seconds.
func TestAnAnswerDoesNotWaitForItsOwnProgress(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		for range 60 {
			s.all.Go(func() { s.message(t.Context(), incidents) })
		}
		synctest.Wait()
		task := s.newTask(engine.Item{ID: "x"})
		task.Message, task.name = Message{Channel: incidents, User: "U0ADA", TS: "1795511523.000100"}, "o365-auditlog-search"
		task.state.Shown = true // as is written down before
		stop := s.showProgress(t.Context(), task)
		time.Sleep(3 * time.Second)
		stop()
		if s.took() != 3*time.Second {
			t.Errorf("it took %v", s.took())
		}
		s.all.Wait()
		if n := s.slack.Calls("chat.postMessage"); n != 60 {
			t.Errorf("%d messages", n)
		}
	})
}

// What a command waits for is told once, just when Slack takes no edits.
func TestProgressThatCouldNotBeShownIsShownLater(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		task := s.newTask(engine.Item{ID: "x"})
		task.Message, task.name = Message{Channel: incidents, User: "U0ADA"}, "o365-auditlog-search"
		_, task.state.Progress = s.message(t.Context(), incidents)
		s.slack.Fail(slacksim.Nothing("chat.update"), slacksim.RateLimited("chat.update", 20*time.Second))
		stop := s.showProgress(t.Context(), task)
		task.tell(auditlog.Progress{Waits: "Microsoft is asked"})
		time.Sleep(time.Minute + 20*time.Second)
		stop()
		history := s.slack.History(incidents)
		if last := shownIn(history[len(history)-1]); !strings.Contains(last, "Microsoft is asked") {
			t.Errorf("the thread shows %s", last)
		}
	})
}

func TestRetryAfterHoldsUpNothingElse(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		s.slack.Fail(slacksim.RateLimited("users.info", 30*time.Second), slacksim.RateLimited("chat.postMessage", 10*time.Second))
		for range 2 {
			s.all.Go(func() {
				if _, err := s.Slack.GetUserInfoContext(t.Context(), "U0ADA"); err != nil || s.took() < 30*time.Second || s.took() > 31*time.Second {
					t.Errorf("users.info took %v: %v", s.took(), err)
				}
			})
			synctest.Wait()
		}
		if _, err := s.say(t.Context(), incidents, "", section("here"), slack.SlackMetadata{}); err == nil || s.took() > 0 {
			t.Errorf("a message, which may not be sent twice, was refused after %v: %v", s.took(), err)
		}
		for i := range 2 {
			s.all.Go(func() {
				if took, _ := s.message(t.Context(), incidents); took != 10*time.Second+time.Duration(i)*betweenMessages {
					t.Errorf("message %d into the same channel took %v", i, took)
				}
			})
			synctest.Wait()
		}
		if took, _ := s.message(t.Context(), "G0INSIDER"); took > 0 {
			t.Errorf("a message into another channel took %v", took)
		}
		if _, err := s.openDM(t.Context(), "U0ADA"); err != nil || s.took() > 0 {
			t.Errorf("another method took %v: %v", s.took(), err)
		}
		s.all.Wait()
		if s.refusals() != 2 {
			t.Errorf("%d refusals", s.refusals())
		}
	})
}

func TestTwoHundredPeopleAreLookedUpWithoutARefusal(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		for range 200 {
			s.all.Go(func() {
				if _, err := s.Slack.GetUserInfoContext(t.Context(), "U0ADA"); err != nil {
					t.Error(err)
				}
			})
		}
		s.all.Wait()
		if s.refusals() > 0 || s.took() > 140*time.Second {
			t.Errorf("%d refusals in %v", s.refusals(), s.took())
		}
	})
}

func TestWhoGivesUpLeavesTheLine(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		s.message(t.Context(), incidents)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		s.all.Go(func() {
			if _, err := s.say(ctx, incidents, "", section("late"), slack.SlackMetadata{}); !errors.Is(err, context.DeadlineExceeded) || s.took() != 500*time.Millisecond {
				t.Errorf("after %v: %v", s.took(), err)
			}
		})
		synctest.Wait()
		if took, _ := s.message(t.Context(), incidents); took != betweenMessages {
			t.Errorf("the next one took %v", took)
		}
		if n := s.slack.Calls("chat.postMessage"); n != 2 {
			t.Errorf("%d messages", n)
		}
	})
}

func TestTheFirstRequestsDoNotWait(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		s.message(t.Context(), incidents)
		time.Sleep(betweenMessages)
		began := s.took()
		s.message(t.Context(), incidents)
		for range 10 {
			if _, err := s.Slack.GetUserInfoContext(t.Context(), "U0ADA"); err != nil {
				t.Error(err)
			}
		}
		if s.took() != began {
			t.Errorf("they took %v", s.took()-began)
		}
	})
}

// ask sends a request for a method past the library, which cannot be made to
// send some without a story.
func (s *strict) ask(method string) (*http.Response, error) {
	body := url.Values{"token": {s.slack.BotToken()}, "channel": {incidents}, "text": {"here"}}.Encode()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://127.0.0.1/api/"+method, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.pace.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	return resp, err
}

func TestOnlyWhatMayArriveTwiceIsSentAgain(t *testing.T) {
	once := []string{"chat.postMessage", "chat.postEphemeral", "files.completeUploadExternal"}
	for name, m := range paced {
		atPace(t, func(t *testing.T, s *strict) {
			for _, fault := range []slacksim.Fault{slacksim.HTTPError(name, 503), slacksim.Lost(name)} {
				s.slack.Fail(fault, slacksim.Nothing(name))
				before := s.slack.Calls(name)
				resp, err := s.ask(name)
				n := s.slack.Calls(name) - before
				if m.again && (n != 2 || err != nil || resp.StatusCode != http.StatusOK) || !m.again && n != 1 {
					t.Errorf("%s was sent %d times: %v", name, n, err)
				}
				time.Sleep(time.Minute)
			}
			for _, not := range once {
				if m.again && not == name {
					t.Errorf("%s may be done twice", name)
				}
			}
		})
	}
}

func TestSlackIsNotAskedForEver(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		for range 10 {
			s.slack.Fail(slacksim.HTTPError("chat.update", 503), slacksim.RateLimited("conversations.open", 0))
		}
		if resp, err := s.ask("chat.update"); err != nil || resp.StatusCode != 503 || s.slack.Calls("chat.update") != sendTries {
			t.Errorf("%d tries: %v", s.slack.Calls("chat.update"), err)
		}
		if s.took() < 1750*time.Millisecond || s.took() > 5250*time.Millisecond {
			t.Errorf("it took %v", s.took())
		}
		asked := time.Now()
		if resp, err := s.ask("conversations.open"); err != nil || resp.StatusCode != 429 || s.slack.Calls("conversations.open") != sendTries {
			t.Errorf("%d tries: %v", s.slack.Calls("conversations.open"), err)
		}
		if took := time.Since(asked); took < 3*time.Second {
			t.Errorf("with a Retry-After of 0, it took %v", took)
		}
	})
}

func TestEveryMethodThatTheBotUsesHasAPace(t *testing.T) {
	for _, g := range grants {
		for _, name := range g.methods {
			if paced[name].tier == 0 {
				t.Errorf("%s has none", name)
			}
		}
	}
}

// Greedy or not, and however long it rested before.
func TestNoMinuteHasMoreThanTheTier(t *testing.T) {
	for name, m := range paced {
		b, now := m.budget(), time.Unix(0, 0)
		var sent []time.Time
		for range 20 * m.tier {
			if rand.N(20) == 0 {
				now = now.Add(rand.N(time.Minute))
			}
			now = later(now, b.next(rand.N(2) == 0))
			b.take(now)
			sent = append(sent, now)
			if i := len(sent) - 1 - m.tier; i >= 0 && now.Sub(sent[i]) < time.Minute {
				t.Fatalf("%s: %d requests in %v", name, m.tier+1, now.Sub(sent[i]))
			}
		}
		if d := b.spent.Sub(time.Unix(0, 0)); d <= 0 {
			t.Errorf("%s: nothing is spent", name)
		}
	}
}

// What the pace costs where nothing has to wait.
func BenchmarkPace(b *testing.B) {
	form := url.Values{"channel": {incidents}, "blocks": {strings.Repeat("<x>", 3000)}, "text": {"here"}}.Encode()
	fine := answerer(func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: http.StatusOK}, nil })
	p := &Pace{HTTP: &http.Client{Transport: fine}, Log: slog.New(slog.DiscardHandler)}
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://127.0.0.1/api/chat.postMessage", strings.NewReader(form))
		if err != nil {
			b.Fatal(err)
		}
		p.budgets = nil // idle
		if _, err := p.Do(req); err != nil {
			b.Fatal(err)
		}
	}
}

type answerer func(*http.Request) (*http.Response, error)

func (a answerer) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }
