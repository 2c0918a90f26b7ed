package slacksim

import (
	"encoding/json"
	"strings"
	"time"
)

// A delivery is one payload that the bot must acknowledge.
type delivery struct {
	Delivery
	payload json.RawMessage
	retries bool    // it is sent again if it is not acknowledged
	socket  *socket // that the last attempt was sent on, or nil
	deaf    bool    // no acknowledgement of the last attempt arrives
	over    bool    // acknowledged, or given up
	timer   *time.Timer
	log     []Delivery // every attempt
}

// A Delivery is one attempt to deliver an envelope.
type Delivery struct {
	Envelope string // its id, another one for each attempt
	Type     string // "events_api", "interactive"
	EventID  string // "Ev…", the same for each attempt
	Event    string // "message", "app_mention"
	Subtype  string
	Channel  string
	TS       string

	Attempt      int       // 0 to 3
	Sent         time.Time // or not, if no connection was open
	Open         bool      // a connection was open
	Acknowledged time.Time // zero if it was not, or not in time
}

// deliver sends an event, again and again if need be.
func (s *Server) deliver(c *Channel, event object) {
	d := &delivery{retries: true}
	d.Type, d.EventID, d.Channel = "events_api", newID("Ev"), c.ID
	d.Event, _ = event["type"].(string)
	d.Subtype, _ = event["subtype"].(string)
	d.TS, _ = event["ts"].(string)
	d.payload = encode(object{
		"token": verificationToken, "team_id": s.Workspace.ID, "context_team_id": s.Workspace.ID, "context_enterprise_id": nil,
		"api_app_id": appID, "event": event, "type": "event_callback", "event_id": d.EventID, "event_time": time.Now().Unix(),
		"authorizations":        []any{object{"enterprise_id": nil, "team_id": s.Workspace.ID, "user_id": BotUserID, "is_bot": true, "is_enterprise_install": false}},
		"is_ext_shared_channel": c.Shared, "event_context": strings.Join([]string{"1", d.Event, s.Workspace.ID, c.ID}, "-"),
	})
	s.deliveries = append(s.deliveries, d)
	s.attempt(d)
}

// interact sends an interaction. Slack sends it once only.
func (s *Server) interact(payload object) {
	d := &delivery{payload: encode(payload)}
	d.Type = "interactive"
	s.deliveries = append(s.deliveries, d)
	s.attempt(d)
}

// attempt sends d to one of the open connections, whichever.
func (s *Server) attempt(d *delivery) {
	d.Envelope, d.Sent, d.Acknowledged = newUUID(), time.Now(), time.Time{}
	envelope := object{"envelope_id": d.Envelope, "type": d.Type, "accepts_response_payload": d.Type == "interactive", "payload": d.payload}
	if d.Type == "events_api" {
		envelope["retry_attempt"], envelope["retry_reason"] = d.Attempt, ""
		if d.Attempt > 0 {
			envelope["retry_reason"] = "timeout"
		}
	}
	d.socket = s.pickSocket(d.socket)
	d.Open = d.socket != nil
	if d.Open {
		s.transmit(d, encode(envelope))
	}
	d.log = append(d.log, d.Delivery)
	envelopeID := d.Envelope
	s.awaited[envelopeID] = d
	d.timer = time.AfterFunc(s.AckTimeout, func() { s.expire(d, envelopeID) })
	s.touch()
}

// transmit sends d on its socket, as a fault will have it.
func (s *Server) transmit(d *delivery, text []byte) {
	var fault Fault
	if d.Type == "events_api" {
		fault = s.due(eventMethod)
	}
	d.deaf = fault.lost
	if fault.delay == 0 {
		d.socket.send(text)
		return
	}
	to := d.socket
	time.AfterFunc(fault.delay, func() { to.send(text) })
}

// expire is called when the time to acknowledge an envelope is up. It takes mu.
func (s *Server) expire(d *delivery, envelope string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.over || d.Envelope != envelope || s.isClosed() {
		return
	}
	delete(s.awaited, envelope)
	if !d.retries || d.Attempt >= len(s.RetryAfter) {
		d.over = true
		s.touch()
		return
	}
	wait := s.RetryAfter[d.Attempt]
	d.Attempt++
	d.timer = time.AfterFunc(wait, func() { s.retry(d, envelope) })
}

// retry sends d again, unless that was done since the envelope expired. It
// takes mu.
func (s *Server) retry(d *delivery, envelope string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !d.over && d.Envelope == envelope && !s.isClosed() {
		s.attempt(d)
	}
}

// maxAck is the size from which on Slack ignores an acknowledgement, in bytes.
// https://github.com/slack-go/slack/issues/1196
const maxAck = 20480

// acknowledge takes what a client has sent. An acknowledgement counts on the
// connection that the envelope came on, and in time; whether Slack takes it on
// another one is not known. It takes mu.
func (s *Server) acknowledge(from *socket, text []byte) {
	var ack struct {
		Envelope string `json:"envelope_id"`
	}
	if len(text) >= maxAck || json.Unmarshal(text, &ack) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.awaited[ack.Envelope]
	if d == nil || d.socket != from || d.deaf {
		return
	}
	d.timer.Stop()
	d.over, d.Acknowledged = true, time.Now()
	d.log[len(d.log)-1].Acknowledged = d.Acknowledged
	delete(s.awaited, ack.Envelope)
	s.touch()
}

// Redeliver sends the events about the message with this ts again, as Slack
// does when an acknowledgement was lost: with the same event id, as the first
// retry. It panics if there was no such event.
func (s *Server) Redeliver(channel, ts string) {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	var again []*delivery
	for _, d := range s.deliveries {
		if d.Channel == channel && d.TS == ts {
			again = append(again, d)
		}
	}
	if again == nil {
		panic("slacksim: the bot was not told of a message " + ts + " in " + channel)
	}
	for _, d := range again {
		d.timer.Stop()
		delete(s.awaited, d.Envelope)
		d.over, d.Attempt = false, max(1, d.Attempt)
		s.attempt(d)
	}
}

// Deliver sends a frame, of whatever text, to one of the open connections, and
// tells whether there was one. It is not sent again.
func (s *Server) Deliver(frame string) bool {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	socket := s.pickSocket(nil)
	if socket != nil {
		socket.send([]byte(frame))
	}
	return socket != nil
}

// Deliveries is every attempt to deliver something so far, in the order in
// which what they deliver happened.
func (s *Server) Deliveries() []Delivery {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Delivery
	for _, d := range s.deliveries {
		all = append(all, d.log...)
	}
	return all
}

// Unacknowledged is how much was sent that is neither acknowledged nor given
// up.
func (s *Server) Unacknowledged() int {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, d := range s.deliveries {
		if !d.over {
			n++
		}
	}
	return n
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("slacksim: " + err.Error()) // a test posts an event that is no JSON
	}
	return b
}
