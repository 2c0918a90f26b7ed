package bot

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slack-go/slack"

	"auditbot/auditlog"
	"auditbot/bot/engine"
	"auditbot/bot/slacksim"
)

// direct hands requests to a handler without a socket, so that time can be
// made to pass.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if broken, ok := recover().(error); ok { // the connection
			resp, err = nil, broken
		}
	}()
	w := httptest.NewRecorder()
	r.Host = "127.0.0.1"
	d.handler.ServeHTTP(w, r)
	return w.Result(), nil
}

func TestProgressIsEditedEveryThreeSecondsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 24, 9, 12, 3, 0, time.UTC))) // a bubble begins before there was Slack
		server := &slacksim.Server{}
		defer server.Close()
		asked, err := server.Say("U0ADA", incidents, "", search)
		if err != nil {
			t.Fatal(err)
		}
		b := &Bot{
			Slack:  slack.New(server.BotToken(), slack.OptionAPIURL("http://127.0.0.1/api/"), slack.OptionHTTPClient(&http.Client{Transport: direct{server}})),
			Log:    slog.New(slog.DiscardHandler),
			Prefix: "!",
		}
		task := b.newTask(engine.Item{ID: "x"})
		task.Message, task.name = Message{Channel: incidents, User: "U0ADA", TS: asked.TS}, "o365-auditlog-search"
		if task.state.Progress, err = b.say(t.Context(), incidents, asked.TS, b.progressForm(task, nil), slack.SlackMetadata{}); err != nil {
			t.Fatal(err)
		}
		server.Fail(slacksim.Nothing("chat.update"), slacksim.Late("chat.update", 2*time.Second))

		began := time.Now()
		stop := b.showProgress(t.Context(), task)
		for i := range 300 { // for 30 seconds
			task.tell(auditlog.Progress{Records: i * 100, Windows: i, Began: began, BeganAt: began, To: began, From: began.Add(-time.Hour), At: began.Add(-time.Duration(i) * time.Second)})
			time.Sleep(100 * time.Millisecond)
		}
		stop()
		synctest.Wait()

		var edits []time.Time
		for _, r := range server.Requests() {
			if r.Method == "chat.update" {
				edits = append(edits, r.Time)
			}
		}
		if len(edits) < 8 || len(edits) > 10 {
			t.Errorf("%d edits in 30 seconds", len(edits))
		}
		for i := 1; i < len(edits); i++ {
			least := editPause
			if i == 2 {
				least += 2 * time.Second // from the end of the one that was slow
			}
			if pause := edits[i].Sub(edits[i-1]); pause < least {
				t.Errorf("edit %d came %v after the one before, want %v at least", i, pause, least)
			}
		}
		history := server.History(incidents)
		if last := shownIn(history[len(history)-1]); !strings.Contains(last, "records from 2") || !strings.Contains(last, "left") {
			t.Errorf("the last edit says %s", last)
		}
		server.Close()
		synctest.Wait()
	})
}

func TestTheLatestProgressIsTheOneThatCounts(t *testing.T) {
	task := (&Bot{Log: slog.New(slog.DiscardHandler)}).newTask(engine.Item{})
	for i := range 5 {
		task.tell(auditlog.Progress{Records: i})
	}
	if p := <-task.far; p.Records != 4 {
		t.Errorf("%d records", p.Records)
	}
}

func TestHowFarInWords(t *testing.T) {
	now := time.Date(2026, 11, 24, 9, 12, 3, 0, time.UTC)
	day := 24 * time.Hour
	p := auditlog.Progress{From: now.Add(-10 * day), To: now, Began: now.Add(-10 * time.Second), BeganAt: now}
	for _, c := range []struct {
		change func(*auditlog.Progress)
		want   string
	}{
		{func(*auditlog.Progress) {}, "0 records from 0 windows"},
		{func(p *auditlog.Progress) { p.Windows, p.Records, p.At = 1, 1, now.Add(-day) }, "1 record from 1 window, back to 2026-11-23 09:12 UTC; about 2 min left"},
		{func(p *auditlog.Progress) { p.Windows, p.Records, p.At = 9, 12400, now.Add(-4*day) }, "12,400 records from 9 windows, back to 2026-11-20 09:12 UTC; 1,240 records/s; about 15 s left"},
		{func(p *auditlog.Progress) { p.Records, p.Before, p.At = 1234567, 1234000, now.Add(-time.Hour) }, "1,234,567 records from 0 windows, back to 2026-11-24 08:12 UTC; 57 records/s; about 40 min left"},
		{func(p *auditlog.Progress) { p.Records, p.At = 10, now.Add(-10*time.Minute) }, "10 records from 0 windows, back to 2026-11-24 09:02 UTC; 1 record/s; about 4 h left"},
		{func(p *auditlog.Progress) { p.Windows, p.Records, p.At = 3, 7, p.From }, "7 records from 3 windows, back to 2026-11-14 09:12 UTC"},
	} {
		q := p
		if c.change(&q); howFar(q, now) != c.want {
			t.Errorf("%+v: %q, want %q", q, howFar(q, now), c.want)
		}
	}
}
