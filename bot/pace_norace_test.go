//go:build !race

package bot

import (
	"fmt"
	"testing"
	"time"
)

// The race detector of Go 1.26 crashes now and then in a bubble with so many
// timers, and all other tests with it.

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
