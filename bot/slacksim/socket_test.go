package slacksim_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"auditbot/bot/slacksim"

	"github.com/gorilla/websocket"
)

func TestConnectionsOpenNeedsTheAppToken(t *testing.T) {
	s := start(t, nil)
	if got := callAs(t, s, s.BotToken(), "apps.connections.open").outcome(); got != "not_allowed_token_type" {
		t.Error(got)
	}
	if got := callAs(t, s, "xapp-1-wrong", "apps.connections.open").outcome(); got != "invalid_auth" {
		t.Error(got)
	}
	if got := callAs(t, s, "", "apps.connections.open", "token", s.AppToken()).outcome(); got != "not_authed" {
		t.Error(got)
	}
}

func TestATicketIsForOneConnection(t *testing.T) {
	s := start(t, nil)
	address := callAs(t, s, s.AppToken(), "apps.connections.open").must(t).text("url")
	conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, again := range []string{address, strings.Split(address, "?")[0], strings.Split(address, "?")[0] + "?ticket=made-up"} {
		if _, resp, err := websocket.DefaultDialer.DialContext(t.Context(), again, nil); err == nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %v", again, err)
		}
	}
}

func TestConnectionsAreCountedAndBounded(t *testing.T) {
	s := start(t, nil)
	for i := range 10 {
		c := dial(t, s)
		if hello := c.next(); hello.Type != "hello" || hello.Connections != i+1 {
			t.Fatalf("connection %d: %+v", i+1, hello)
		}
	}
	eleventh := dial(t, s)
	if bye := eleventh.next(); bye.Type != "disconnect" || bye.Reason != "too_many_websockets" {
		t.Errorf("%+v", bye)
	}
	if _, _, err := eleventh.conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("%v", err)
	}
	if s.Sockets() != 10 {
		t.Errorf("%d sockets", s.Sockets())
	}
}

func TestConnectionsArePinged(t *testing.T) {
	s := start(t, func(s *slacksim.Server) { s.PingInterval = time.Millisecond })
	c := dial(t, s)
	pings := make(chan string, 1)
	c.conn.SetPingHandler(func(data string) error {
		select {
		case pings <- data:
		default:
		}
		return nil
	})
	go func() {
		c.conn.ReadMessage() // the hello
		c.conn.ReadMessage() // nothing
	}()
	if ping := <-pings; !strings.HasPrefix(ping, "Ping from ") {
		t.Errorf("%q", ping)
	}
}

func TestEnvelope(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	m := say(t, s, ada, incidents, "", "hello")
	e := c.next()
	if e.Type != "events_api" || e.ID == "" || e.Attempt != 0 || e.RetryReason != "" || e.Payload.Type != "event_callback" || e.Payload.TeamID != "T0CONTOSO" || e.Payload.Shared {
		t.Errorf("%+v", e)
	}
	if s.Unacknowledged() != 1 {
		t.Error("nothing waits to be acknowledged")
	}
	c.ack(e)
	waitUntil(t, s, func() bool { return s.Unacknowledged() == 0 })
	d := s.Deliveries()
	if len(d) != 1 || d[0].TS != m.TS || d[0].Event != "message" || d[0].EventID != e.Payload.EventID || d[0].Envelope != e.ID || !d[0].Open || d[0].Acknowledged.Before(d[0].Sent) {
		t.Errorf("%+v", d)
	}
}

// waitUntil waits for something to become true of the server.
func waitUntil(t *testing.T, s *slacksim.Server, ok func() bool) {
	t.Helper()
	if err := s.Until(limit(t), ok); err != nil {
		t.Fatal(err)
	}
}

func TestUnacknowledgedEventsComeAgain(t *testing.T) {
	s := start(t, func(s *slacksim.Server) { s.AckTimeout = 10 * time.Millisecond })
	c := connect(t, s)
	say(t, s, ada, incidents, "", "hello")
	first := c.next()
	for attempt := 1; attempt <= 3; attempt++ {
		e := c.next()
		if e.Attempt != attempt || e.RetryReason != "timeout" || e.Payload.EventID != first.Payload.EventID || e.text("text") != "hello" {
			t.Errorf("attempt %d: %+v", attempt, e)
		}
	}
	waitUntil(t, s, func() bool { return s.Unacknowledged() == 0 }) // given up
	say(t, s, ada, incidents, "", "next")
	if e := c.next(); e.text("text") != "next" || e.Attempt != 0 {
		t.Errorf("%+v", e)
	}
}

func TestEventsWaitForAConnection(t *testing.T) {
	s := start(t, func(s *slacksim.Server) {
		s.AckTimeout, s.RetryAfter = time.Millisecond, slices.Repeat([]time.Duration{5 * time.Millisecond}, 1000)
	})
	say(t, s, ada, incidents, "", "anybody there?")
	waitUntil(t, s, func() bool { return len(s.Deliveries()) >= 3 })
	if d := s.Deliveries(); d[0].Open || d[2].Attempt != 2 {
		t.Errorf("%+v", d)
	}
	c := connect(t, s)
	if e := c.event(); e.text("text") != "anybody there?" || e.Attempt < 3 {
		t.Errorf("%+v", e)
	}
}

func TestARetryGoesToAnotherConnection(t *testing.T) {
	s := start(t, func(s *slacksim.Server) { s.AckTimeout = 10 * time.Millisecond })
	got := make(chan [2]int, 4) // connection, attempt
	for i := range 2 {
		listen(connect(t, s), func(e envelope) { got <- [2]int{i, e.Attempt} })
	}
	say(t, s, ada, incidents, "", "hello")
	var on [4]int
	for range 4 {
		x := <-got
		on[x[1]] = x[0]
	}
	if on[0] == on[1] || on[1] == on[2] || on[2] == on[3] {
		t.Errorf("the attempts came on connections %v", on)
	}
}

// listen calls f for each envelope that arrives, until the connection ends.
func listen(c *client, f func(envelope)) {
	go func() {
		for {
			var e envelope
			if c.conn.ReadJSON(&e) != nil {
				return
			}
			f(e)
		}
	}()
}

func TestEventsGoToAnyConnection(t *testing.T) {
	s := start(t, nil)
	got := make(chan int, 100)
	for i := range 2 {
		listen(connect(t, s), func(envelope) { got <- i })
	}
	counts := [2]int{}
	for range 100 {
		say(t, s, ada, incidents, "", "x")
		counts[<-got]++
	}
	if counts[0] == 0 || counts[1] == 0 {
		t.Errorf("%v", counts)
	}
}

func TestAcknowledgementsThatDoNotCount(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	say(t, s, ada, incidents, "", "hello")
	e := c.next()
	other := connect(t, s)
	other.ack(e) // on another connection
	c.conn.WriteJSON(map[string]string{"envelope_id": e.ID, "payload": strings.Repeat("x", 20480)})
	c.conn.WriteMessage(websocket.TextMessage, []byte("{"))
	c.conn.WriteJSON(map[string]string{"envelope_id": "made up"})
	// Events that are acknowledged after these show that they were read.
	for _, x := range []*client{c, other} {
		listen(x, func(e envelope) { x.conn.WriteJSON(map[string]string{"envelope_id": e.ID}) })
	}
	for range 20 {
		say(t, s, ada, incidents, "", "more")
	}
	waitUntil(t, s, func() bool { return s.Unacknowledged() == 1 })
	if d := s.Deliveries()[0]; !d.Acknowledged.IsZero() {
		t.Errorf("%+v", d)
	}
}

func TestDisconnect(t *testing.T) {
	s := start(t, func(s *slacksim.Server) { s.WarningTime = time.Millisecond })
	for _, reason := range []string{"warning", "refresh_requested", "link_disabled", "too_many_websockets"} {
		c := connect(t, s)
		s.Disconnect(reason)
		if bye := c.next(); bye.Type != "disconnect" || bye.Reason != reason {
			t.Errorf("%s: %+v", reason, bye)
		}
		if _, _, err := c.conn.ReadMessage(); err == nil {
			t.Errorf("%s: the connection stays open", reason)
		}
		waitUntil(t, s, func() bool { return s.Sockets() == 0 })
	}
}

func TestCutSocketsSaysNothing(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	s.CutSockets()
	if _, _, err := c.conn.ReadMessage(); err == nil || websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("%v", err)
	}
	if s.Sockets() != 0 {
		t.Errorf("%d sockets", s.Sockets())
	}
}

func TestFrozenSocketsGoOnLater(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	s.FreezeSockets(true)
	say(t, s, ada, incidents, "", "one")
	c.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, text, err := c.conn.ReadMessage(); err == nil {
		t.Fatalf("%s came through", text)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if s.WaitConnected(short) == nil || s.Sockets() != 1 {
		t.Error("a frozen connection works")
	}
	fresh := connect(t, s) // works
	if err := s.WaitConnected(limit(t)); err != nil {
		t.Error(err)
	}
	fresh.conn.Close()
	waitUntil(t, s, func() bool { return s.Sockets() == 1 })
	s.FreezeSockets(false)
	if err := s.WaitConnected(limit(t)); err != nil || s.Unacknowledged() != 1 {
		t.Error(err)
	}
}

func TestDeliverAndRedeliver(t *testing.T) {
	s := start(t, nil)
	if s.Deliver("{}") {
		t.Error("it was sent to nobody")
	}
	c := connect(t, s)
	m := say(t, s, ada, incidents, "", "<not really> hello @auditbot")
	message, mention := c.event(), c.event()
	s.Redeliver(incidents, m.TS)
	again, mentionAgain := c.event(), c.event()
	if again.Payload.EventID != message.Payload.EventID || again.Attempt != 1 || again.RetryReason != "timeout" || again.ID == message.ID {
		t.Errorf("%+v", again)
	}
	if mentionAgain.Payload.EventID != mention.Payload.EventID {
		t.Errorf("%+v", mentionAgain)
	}
	if !s.Deliver(`{"type":"odd","envelope_id":"e1"}`) {
		t.Error("it was not sent")
	}
	if e := c.next(); e.Type != "odd" || e.ID != "e1" {
		t.Errorf("%+v", e)
	}
	defer func() {
		if recover() == nil {
			t.Error("what was never sent is sent again")
		}
	}()
	s.Redeliver(incidents, "1.000000")
}

func TestConnectionsThatGoWrong(t *testing.T) {
	s := start(t, nil)
	s.Fail(slacksim.HTTPError("link", 503), slacksim.APIError("link", "link_disabled"), slacksim.Lost("link"), slacksim.Hang("link"))
	address := callAs(t, s, s.AppToken(), "apps.connections.open").must(t).text("url")
	if _, resp, err := websocket.DefaultDialer.DialContext(t.Context(), address, nil); err == nil || resp.StatusCode != 503 {
		t.Errorf("one that is refused: %v", err)
	}
	if bye := dial(t, s).next(); bye.Type != "disconnect" || bye.Reason != "link_disabled" {
		t.Errorf("one that is sent away: %+v", bye)
	}
	broken := connect(t, s)
	if _, _, err := broken.conn.ReadMessage(); err == nil || websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("one that breaks: %v", err)
	}
	address = callAs(t, s, s.AppToken(), "apps.connections.open").must(t).text("url")
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := websocket.DefaultDialer.DialContext(short, address, nil); err == nil {
		t.Error("one that hangs is made")
	}
	connect(t, s)
}

func TestConnectionsAreRenewedInTurn(t *testing.T) {
	s := start(t, func(s *slacksim.Server) { s.Lifetime, s.WarningTime = 20*time.Millisecond, time.Minute })
	reasons := map[string]bool{}
	for range 2 {
		c := connect(t, s)
		reasons[c.next().Reason] = true
	}
	if !reasons["warning"] || !reasons["refresh_requested"] {
		t.Errorf("%v", reasons)
	}
}
