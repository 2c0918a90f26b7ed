package bot

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slack-go/slack/socketmode"

	"auditbot/auditlog"
	"auditbot/bot/engine"
)

// A fleet is replicas that share an app and an engine, as far as they connect to
// Slack.
type fleet struct {
	*stage
	bucket *engine.Bucket
	text   bytes.Buffer // of the log of all; to be read once they have stopped
	log    *slog.Logger
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	c := &fleet{stage: newStage(t, untilCancelled)}
	c.stop()
	c.bucket, c.log = c.engine.Bucket(engine.Links), slog.New(slog.NewTextHandler(&c.text, nil))
	return c
}

// join starts a replica whose places live so long.
func (c *fleet) join(bucket *engine.Bucket, life time.Duration) (l *links, stop func()) {
	l = &links{bucket: bucket, log: c.log, metrics: NewMetrics(), life: life, retry: 20 * time.Millisecond, apart: 300 * time.Millisecond, first: make(chan struct{})}
	sockets := Sockets{APIURL: c.slack.APIURL(), AppToken: auditlog.Secret(c.slack.AppToken()), place: l.take, apart: time.Millisecond, minute: time.Millisecond}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { sockets.run(ctx, c.log, func(socketmode.Event, acknowledge) {}) })
	stop = func() { cancel(); running.Wait() }
	c.t.Cleanup(stop)
	return l, stop
}

func (c *fleet) places() int {
	c.t.Helper()
	places, err := c.bucket.Keys(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return len(places)
}

func TestSixReplicasHaveTenConnections(t *testing.T) {
	t.Parallel()
	c := newFleet(t)
	var stops []func()
	for range 6 {
		_, stop := c.join(c.bucket, linkLife)
		stops = append(stops, stop)
	}
	c.comesTo(func() bool { return c.slack.Sockets() == 10 && c.places() == 10 })
	late, stop := c.join(c.bucket, linkLife)
	c.comesTo(func() bool {
		late.mu.Lock()
		defer late.mu.Unlock()
		return late.full
	})
	if !late.metrics.Spare() {
		t.Error("a replica without a place is not called spare")
	}
	stops[0]()
	<-late.first
	if late.metrics.Spare() {
		t.Error("one with a place is")
	}
	c.comesTo(func() bool { return c.slack.Sockets() == 10 && c.places() == 10 })
	for _, stop := range append(stops, stop) {
		stop()
	}
	c.comesTo(func() bool { return c.slack.Sockets() == 0 })
	if n := c.places(); n != 0 {
		t.Errorf("%d places are left", n)
	}
	if log := c.text.String(); strings.Contains(log, string(tooMany)) || strings.Contains(log, "all are taken") || strings.Count(log, "other replicas have all of them") != 1 {
		t.Errorf("the log has\n%s", log)
	}
}

func TestAConnectionEndsWithItsPlace(t *testing.T) {
	t.Parallel()
	c := newFleet(t)
	_, stop := c.join(c.bucket, 6*time.Second)
	c.comesTo(func() bool { return c.slack.Sockets() == 2 })
	for _, place := range []string{"0", "1"} {
		if _, err := c.bucket.Put(t.Context(), place, []byte("another")); err != nil {
			t.Fatal(err)
		}
	}
	c.comesTo(func() bool { return c.slack.Sockets() == 2 && c.places() == 4 }) // in other places
	stop()
	if n := c.places(); n != 2 {
		t.Errorf("%d places are left", n)
	}
	if log := c.text.String(); strings.Count(log, errNoPlace.Error()) < 2 {
		t.Errorf("the log has\n%s", log)
	}
}

// The answers to the first tries to renew a place are lost, but not their work.
func TestAPlaceThatWasRenewedUnnoticedIsKept(t *testing.T) {
	t.Parallel()
	c := newFleet(t)
	l := &links{bucket: c.bucket, log: slog.New(slog.DiscardHandler)}
	p := &link{value: "ours"}
	if ok, err := l.claim(t.Context(), p); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, err := c.bucket.Update(t.Context(), p.key, []byte("ours"), p.revision); err != nil {
		t.Fatal(err)
	}
	if err := l.renew(t.Context(), p); err != nil {
		t.Errorf("it is lost: %v", err)
	}
	p.revision--
	if ok, err := l.claim(t.Context(), p); !ok || err != nil || c.places() != 1 {
		t.Errorf("it is not found again: %v, %v, and there are %d", ok, err, c.places())
	}
}

// Whoever cannot reach the engine may have lost the place, and could file
// nothing.
func TestAConnectionEndsIfItsPlaceCannotBeKept(t *testing.T) {
	t.Parallel()
	c := newFleet(t)
	client, err := engine.Open(t.Context(), engine.Config{Dir: c.dir, Key: make([]byte, engine.KeySize)})
	if err != nil || client.Owner() {
		t.Fatal("it is no client of the folder: ", err)
	}
	defer client.Close()
	_, stop := c.join(client.Bucket(engine.Links), 2*time.Second)
	c.comesTo(func() bool { return c.slack.Sockets() == 2 })
	c.engine.Close()
	c.comesTo(func() bool { return c.slack.Sockets() == 0 })
	stop()
	if log := c.text.String(); !strings.Contains(log, errNoPlace.Error()) {
		t.Errorf("the log has\n%s", log)
	}
}
