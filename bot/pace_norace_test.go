//go:build !race

package bot

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slack-go/slack"
)

// The race detector of Go 1.26 crashes now and then in a bubble with so many
// timers, and all other tests with it. .ci/run runs these without it.

func TestAllMessagesTogetherAreNotMoreThanSlackTakes(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		for i := range 800 {
			s.all.Go(func() { s.message(t.Context(), fmt.Sprintf("C0ROOM%d", i%rooms)) })
		}
		s.all.Wait()
		if s.refusals() > 0 || s.slack.Calls("chat.postMessage") != 800 || s.took() > 4*time.Minute {
			t.Errorf("%d refusals of %d in %v", s.refusals(), s.slack.Calls("chat.postMessage"), s.took())
		}
	})
}

// For a minute, 20 messages of commands that run are edited each second, and
// every second another one begins to.
func TestAStormOfProgressDelaysNoAnswer(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		dm := s.slack.OpenDM("U0ADA")
		_, ts := s.message(t.Context(), incidents)
		storm := func(every time.Duration, send func(context.Context) error) {
			for range time.Minute / every {
				time.Sleep(every)
				s.all.Go(func() {
					fresh, cancel := context.WithTimeout(t.Context(), editPause)
					defer cancel()
					if err := send(unhurried(t.Context(), fresh)); err != nil && !errors.Is(err, errOvertaken) {
						t.Error(err)
					}
				})
			}
		}
		s.all.Go(func() {
			storm(time.Second/20, func(ctx context.Context) error { return s.update(ctx, incidents, ts, section("far")) })
		})
		s.all.Go(func() {
			storm(time.Second, func(ctx context.Context) error {
				_, err := s.say(ctx, dm, "", section("runs"), slack.SlackMetadata{})
				return err
			})
		})
		for range 20 {
			time.Sleep(2500 * time.Millisecond)
			if took, _ := s.message(t.Context(), incidents); took > 0 {
				t.Errorf("after %v, an answer took %v", s.took(), took)
			}
			if took, _ := s.message(t.Context(), dm); took > betweenMessages {
				t.Errorf("after %v, an answer where progress is shown took %v", s.took(), took)
			}
			asked := time.Now()
			if err := s.update(t.Context(), incidents, ts, section("answered")); err != nil || time.Since(asked) > 0 {
				t.Errorf("after %v, an edit that says something final took %v: %v", s.took(), time.Since(asked), err)
			}
		}
		s.all.Wait()
		if n := s.slack.Calls("chat.update"); n < 40 || s.refusals() > 0 {
			t.Errorf("%d edits, %d refusals", n, s.refusals())
		}
	})
}
