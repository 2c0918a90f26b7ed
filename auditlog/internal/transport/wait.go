package transport

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Tries is how often a request is sent before its failure counts.
const Tries = 5

// DefaultBackoff is the wait before the second try where no other is set: as
// in Microsoft's module for Exchange Online.
const DefaultBackoff = 2 * time.Second

// LongestWait is how long a service may ask to be left alone. Past it, the
// person is told instead of kept waiting.
const LongestWait = 5 * time.Minute

// Pause waits before the try that follows the given one, counted from 1, which
// failed with err: for as long as the service asked, or, if that is 0, for the
// backoff, doubled after each try, plus up to half of it at random. A backoff
// of 0 means [DefaultBackoff].
//
// It returns nil after the wait. If no further try is due, or if the wait would
// be longer than [LongestWait] or what ctx has left, it returns at once, err
// with the reason.
func Pause(ctx context.Context, try int, backoff, asked time.Duration, err error) error {
	if try >= Tries {
		return err
	}
	wait := cmp.Or(backoff, DefaultBackoff) << (try - 1)
	wait += rand.N(wait/2 + 1)
	if asked > 0 {
		wait = asked
	}
	if end, ok := ctx.Deadline(); wait > LongestWait || ok && time.Until(end) < wait {
		return fmt.Errorf("%w; not waiting %v for it", err, wait.Round(time.Second))
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w, after %w", context.Cause(ctx), err)
	}
}

// RetryAfter reads a Retry-After header (RFC 9110, section 10.2.3): for how
// long the service asks to be left alone, a day at most if it counts seconds.
// It is 0 if that cannot be read, or is over.
func RetryAfter(value string) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(seconds, 0), 86400)) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(time.Until(date), 0)
	}
	return 0
}

// Passing tells whether the service may answer otherwise at the next try, as
// far as the status of its answer says.
func Passing(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
