package slacksim

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// maxSockets is how many connections an app may have at a time.
const maxSockets = 10

// linkHost is which machine the connections say they lead to.
const linkHost = "applink-contoso"

// A socket is one open connection to the bot.
type socket struct {
	conn   *websocket.Conn
	out    chan frame
	closed <-chan struct{} // the server's
	done   chan struct{}   // closed when the connection is
	close  func()

	mu   sync.Mutex
	thaw chan struct{} // nil, or closed when what is frozen goes on
}

// A frame is what is written to a connection next.
type frame struct {
	text []byte
	ping bool
	last bool // the connection is closed after it, properly
	cut  bool // there is no more: the connection breaks
}

// socketRoom is how many frames wait for a client that does not read; more of
// them are lost, and come again as retries.
const socketRoom = 1024

func newSocket(conn *websocket.Conn, closed <-chan struct{}) *socket {
	k := &socket{conn: conn, out: make(chan frame, socketRoom), closed: closed, done: make(chan struct{})}
	k.close = sync.OnceFunc(func() {
		close(k.done)
		conn.Close() // without a close frame
	})
	return k
}

func (k *socket) send(text []byte) { k.queue(frame{text: text}) }

func (k *socket) queue(f frame) {
	select {
	case k.out <- f:
	default:
	}
}

// write writes what is queued, and pings, until the connection is closed.
func (k *socket) write(pings time.Duration) {
	defer k.close()
	ticker := time.NewTicker(pings)
	defer ticker.Stop()
	for {
		var f frame
		select {
		case f = <-k.out:
		case <-ticker.C:
			f.ping = true
		case <-k.done:
			return
		case <-k.closed:
			return
		}
		if !k.awaitThaw() || f.cut || k.writeFrame(f) != nil || f.last {
			return
		}
	}
}

func (k *socket) writeFrame(f frame) error {
	deadline := time.Now().Add(10 * time.Second)
	if f.ping {
		return k.conn.WriteControl(websocket.PingMessage, []byte("Ping from "+linkHost), deadline)
	}
	k.conn.SetWriteDeadline(deadline)
	err := k.conn.WriteMessage(websocket.TextMessage, f.text)
	if err == nil && f.last {
		err = k.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), deadline)
	}
	return err
}

// freeze makes the connection stand still, or go on again.
func (k *socket) freeze(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case on && k.thaw == nil:
		k.thaw = make(chan struct{})
	case !on && k.thaw != nil:
		close(k.thaw)
		k.thaw = nil
	}
}

func (k *socket) frozen() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.thaw != nil
}

// awaitThaw waits while the connection is frozen, and tells whether it is
// still open.
func (k *socket) awaitThaw() bool {
	k.mu.Lock()
	thaw := k.thaw
	k.mu.Unlock()
	if thaw == nil {
		return true
	}
	select {
	case <-thaw:
		return true
	case <-k.done:
	case <-k.closed:
	}
	return false
}

// connectionsOpen is the method that hands out addresses of connections, each
// for one use.
func connectionsOpen(s *Server, c *call) object {
	if !s.app.socketMode {
		return failed("socket_mode_not_enabled")
	}
	ticket := s.ticket()
	s.tickets[ticket] = true
	return object{"url": "ws" + strings.TrimPrefix(c.base, "http") + "/link/?ticket=" + ticket + "&app_id=" + appID}
}

// serveSocket is one connection, from its ticket to its end. It takes mu.
func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	fault := s.takeFault(linkMethod)
	if !s.hold(r, fault) {
		panic(http.ErrAbortHandler)
	}
	if fault.status != 0 {
		http.Error(w, http.StatusText(fault.status), fault.status)
		return
	}
	if !s.punch(r.FormValue("ticket")) {
		http.Error(w, "the ticket is not valid", http.StatusForbidden)
		return
	}
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }} // the ticket is the proof
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	conn.SetReadLimit(1 << 20)
	k := newSocket(conn, s.closed)
	answerPing := conn.PingHandler()
	conn.SetPingHandler(func(data string) error {
		if k.frozen() {
			return nil
		}
		return answerPing(data)
	})
	go k.write(s.PingInterval)
	if fault.err != "" {
		k.queue(frame{text: goodbye(fault.err), last: true})
	} else {
		s.enter(k, r.FormValue("debug_reconnects") == "true", fault)
	}
	s.read(k)
	s.leave(k)
}

// punch tells whether a ticket is good, and makes it so no longer. It takes mu.
func (s *Server) punch(ticket string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer delete(s.tickets, ticket)
	return s.tickets[ticket]
}

// enter greets a new connection, or sends it away. A fault that is Lost breaks it
// right after the greeting. It takes mu.
func (s *Server) enter(k *socket, short bool, fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sockets) >= maxSockets {
		k.queue(frame{text: goodbye("too_many_websockets"), last: true})
		return
	}
	lifetime := cmp.Or(s.Lifetime, time.Hour)
	if short {
		lifetime = 6 * time.Minute
	}
	s.sockets = append(s.sockets, k)
	k.send(encode(object{
		"type": "hello", "num_connections": len(s.sockets), "connection_info": object{"app_id": appID},
		"debug_info": object{"host": linkHost, "started": time.Now().UTC().Format("2006-01-02 15:04:05.000"), "build_number": 54, "approximate_connection_time": int(lifetime.Seconds())},
	}))
	k.queue(frame{ping: true})
	switch {
	case fault.lost:
		k.queue(frame{cut: true})
	case fault.end != nil:
		time.AfterFunc(fault.after, func() { s.strike(k, fault.end) })
	case s.Lifetime > 0:
		time.AfterFunc(lifetime, func() { s.renew(k) })
	}
	s.touch()
}

// strike does to a connection what a fault has in store for it. It takes mu.
func (s *Server) strike(k *socket, end func(*Server, *socket)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.sockets, k) {
		end(s, k)
		s.touch()
	}
}

// renew ends a connection whose time is up: every other one is warned before.
// It takes mu.
func (s *Server) renew(k *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.sockets, k) {
		return
	}
	s.renewed++
	s.dismiss(k, []string{"refresh_requested", "warning"}[s.renewed%2])
}

// read takes what a client sends until the connection ends.
func (s *Server) read(k *socket) {
	defer k.close()
	for {
		kind, text, err := k.conn.ReadMessage()
		if err != nil || !k.awaitThaw() {
			return
		}
		s.hear(text)
		if kind == websocket.TextMessage {
			s.acknowledge(k, text)
		}
	}
}

// leave forgets a connection. It takes mu.
func (s *Server) leave(k *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sockets = slices.DeleteFunc(s.sockets, func(other *socket) bool { return other == k })
	s.touch()
}

// pickSocket is one of the open connections at random, as at Slack, but not
// again the one that failed if there is another; nil if there is none.
func (s *Server) pickSocket(failed *socket) *socket {
	open := s.sockets
	if len(open) > 1 {
		open = slices.DeleteFunc(slices.Clone(open), func(k *socket) bool { return k == failed })
	}
	if len(open) == 0 {
		return nil
	}
	return open[rand.IntN(len(open))]
}

func goodbye(reason string) []byte {
	return encode(object{"type": "disconnect", "reason": reason, "debug_info": object{"host": linkHost}})
}

// Disconnect sends all connections a disconnect frame with this reason:
// "warning", "refresh_requested", "link_disabled", "too_many_websockets". Then
// it closes them, after a warning only when WarningTime has passed.
func (s *Server) Disconnect(reason string) {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range slices.Clone(s.sockets) {
		s.dismiss(k, reason)
	}
}

// dismiss is Disconnect for one connection.
func (s *Server) dismiss(k *socket, reason string) {
	time.AfterFunc(s.WarningTime, k.close) // also where it is frozen, and its client has gone
	if reason == "warning" {
		k.send(goodbye(reason))
		return
	}
	k.queue(frame{text: goodbye(reason), last: true})
	s.sockets = slices.DeleteFunc(s.sockets, func(other *socket) bool { return other == k }) // nothing more is sent to it
	s.touch()
}

// CutSockets ends all connections as a failing network does: without a word.
func (s *Server) CutSockets() {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.sockets {
		k.close()
	}
	s.sockets = nil
	s.touch()
}

// FreezeSockets makes the connections that are open now stand still, or go on
// again: nothing arrives, in either direction, not even a ping, as when a
// firewall has forgotten them. Slack does not notice, and goes on sending to
// them too. Connections that open later work.
func (s *Server) FreezeSockets(on bool) {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.sockets {
		k.freeze(on)
	}
	s.touch()
}

// Sockets is how many connections are open.
func (s *Server) Sockets() int {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sockets)
}

// WaitConnected waits until there is a connection that works.
func (s *Server) WaitConnected(ctx context.Context) error {
	err := s.Until(ctx, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.ContainsFunc(s.sockets, func(k *socket) bool { return !k.frozen() })
	})
	if err != nil {
		return fmt.Errorf("waiting for the bot to connect: %w", err)
	}
	return nil
}

func (s *Server) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}
