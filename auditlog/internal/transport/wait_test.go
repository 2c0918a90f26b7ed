package transport_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog/internal/transport"
)

var errDown = errors.New("503")

func TestPauseIsAsLongAsTheServiceAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := transport.Pause(t.Context(), 1, time.Hour, 7*time.Second, errDown); err != nil || time.Since(began) != 7*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestPauseDoublesAndStopsAfterTheLastTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for try := 1; try < transport.Tries; try++ {
			began, least := time.Now(), transport.DefaultBackoff<<(try-1)
			err := transport.Pause(t.Context(), try, 0, 0, errDown)
			if waited := time.Since(began); err != nil || waited < least || waited > least*3/2 {
				t.Errorf("try %d: %v after %v, want %v and up to half of it more", try, err, waited, least)
			}
		}
		began := time.Now()
		if err := transport.Pause(t.Context(), transport.Tries, 0, time.Second, errDown); err != errDown || time.Since(began) != 0 {
			t.Errorf("after the last try: %v after %v", err, time.Since(began))
		}
	})
}

func TestPauseDoesNotBeginWhatWouldBeInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		for _, err := range []error{
			transport.Pause(t.Context(), 1, 0, transport.LongestWait+time.Second, errDown),
			transport.Pause(ctx, 1, 0, 6*time.Second, errDown),
		} {
			if !errors.Is(err, errDown) || !strings.Contains(err.Error(), "503; not waiting ") || time.Since(began) != 0 {
				t.Errorf("%v after %v", err, time.Since(began))
			}
		}
	})
}

func TestPauseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("somebody typed !cancel")
		time.AfterFunc(time.Second, func() { cancel(stopped) })
		if err := transport.Pause(ctx, 1, 0, time.Minute, errDown); !errors.Is(err, stopped) || !errors.Is(err, errDown) {
			t.Errorf("got %v, want both the reason and the failure before", err)
		}
	})
}

func TestRetryAfterIsReadInSecondsAndAsADate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UTC()
		for value, want := range map[string]time.Duration{
			"": 0, "soon": 0, "-5": 0, "0": 0, "30": 30 * time.Second, "9999999": 24 * time.Hour,
			now.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
			now.Add(-time.Minute).Format(http.TimeFormat): 0,
		} {
			if got := transport.RetryAfter(value); got != want {
				t.Errorf("%q means %v, want %v", value, got, want)
			}
		}
	})
}
