package clustertest_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"auditbot/bot/engine/clustertest"
)

// What two of three servers have confirmed is there without any one of them.
func TestAnyServerOfThreeCanBeKilled(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t)
	nc, err := nats.Connect(c.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Nodes() {
		c.Kill(i)
		for stored := false; !stored && t.Context().Err() == nil; {
			_, err := js.Publish(t.Context(), "s", []byte{byte(i)})
			stored = err == nil // until another server leads
		}
		c.Restart(i)
	}
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs < uint64(c.Nodes()) {
		t.Errorf("%d messages are there, %v", info.State.Msgs, err)
	}
}
