package exchange

import (
	"context"
	"fmt"
	"sync"
	"time"

	"auditbot/auditlog/internal/transport"
)

// A gate lets as many requests through at once as the service bears: half as
// many after it has refused one for being too many, and one more after as many
// have gone well as may run. All searches of a tenant share it. The zero gate
// lets maxInFlight through.
type gate struct {
	mu      sync.Mutex
	inside  int
	limit   float64       // 0 means maxInFlight
	halved  time.Time     // requests that were sent before are not counted against the new limit
	quiet   time.Time     // nothing goes through before
	changed chan struct{} // closed when somebody may go through who could not
}

// enter waits until a request may be sent. Whoever enters calls leave.
func (g *gate) enter(ctx context.Context) error {
	for {
		wait, changed := g.try()
		if changed == nil {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("waiting for others to finish their requests: %w", context.Cause(ctx))
		}
		timer.Stop()
	}
}

// try goes through if that is possible now. If not, it returns for how long
// it surely is not, and a channel that is closed when it may be sooner.
func (g *gate) try() (time.Duration, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limit == 0 {
		g.limit = maxInFlight
	}
	wait := time.Until(g.quiet)
	if wait <= 0 && g.inside < int(g.limit) {
		g.inside++
		return 0, nil
	}
	if wait <= 0 {
		wait = time.Hour // somebody inside will leave sooner
	}
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	return wait, g.changed
}

// leave ends what enter began. Refused is for how long the service asked to be
// left alone when it refused the request for being too many, 0 if it did not
// say; served means that it was not refused. Sent is when it entered.
func (g *gate) leave(sent time.Time, served bool, refused time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if served {
		g.limit = min(g.limit+1/g.limit, maxInFlight)
	} else {
		if !sent.Before(g.halved) {
			g.limit, g.halved = max(g.limit/2, 1), time.Now()
		}
		if until := time.Now().Add(min(refused, transport.LongestWait)); until.After(g.quiet) {
			g.quiet = until
		}
	}
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}
