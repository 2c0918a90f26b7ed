package bot

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"auditbot/commands"
)

func TestAnAnswerThatTookLongerThanAMinuteCallsWhoAsked(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(context.Context, commands.Env, string) (commands.Reply, error) {
		return commands.Reply{Title: "an answer"}, nil
	})
	for form, refuse := range [][]string{nil, {"markdown"}, {"markdown", "rich_text"}} {
		s.slack.Refuse(refuse...)
		for _, ago := range []time.Duration{30 * time.Second, 90 * time.Second} {
			ts := fmt.Sprintf("%d.%06d", time.Now().Add(-ago).Unix(), form)
			s.slack.PostEvent(map[string]any{"channel": incidents, "user": "U0ADA", "team": "T0CONTOSO", "ts": ts, "text": search})
			s.until(func() bool {
				for _, m := range s.slack.History(incidents) {
					if !strings.Contains(string(m.Metadata), ts) {
						continue
					}
					if called := strings.HasPrefix(m.Text, "<@U0ADA> "); called != (ago > callAfter) {
						t.Errorf("form %d after %v: %q", form, ago, m.Text)
					}
					if blocks := string(m.Blocks); form < 2 && strings.Contains(blocks, "U0ADA") != (ago > callAfter) {
						t.Errorf("form %d after %v: %s", form, ago, blocks)
					}
					return true
				}
				return false
			})
		}
	}
}
