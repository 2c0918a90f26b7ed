package slacksim_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"auditbot/bot/slacksim"

	"github.com/gorilla/websocket"
)

const (
	ada       = "U0ADA"
	grace     = "U0GRACE"
	incidents = "C0INCIDENTS"
)

// start starts the demo workspace; change adapts the server before.
func start(t testing.TB, change func(*slacksim.Server)) *slacksim.Server {
	t.Helper()
	s := &slacksim.Server{AckTimeout: time.Minute, RetryAfter: []time.Duration{0, 0, 0}}
	if change != nil {
		change(s)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// limit is a context for what should happen soon.
func limit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// say is somebody typing.
func say(t testing.TB, s *slacksim.Server, user, channel, thread, text string) slacksim.Message {
	t.Helper()
	m, err := s.Say(user, channel, thread, text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// An answer is what a method says.
type answer map[string]any

func (a answer) text(keys ...string) string {
	var v any = map[string]any(a)
	for _, key := range keys {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	text, _ := v.(string)
	return text
}

// call asks for a method as the bot, with fields as a form.
func call(t testing.TB, s *slacksim.Server, method string, fields ...string) answer {
	t.Helper()
	return callAs(t, s, s.BotToken(), method, fields...)
}

func callAs(t testing.TB, s *slacksim.Server, token, method string, fields ...string) answer {
	t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.APIURL()+method, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return do(t, r)
}

func do(t testing.TB, r *http.Request) answer {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{"status": float64(resp.StatusCode), "body": string(body)}
	json.Unmarshal(body, &a) // what is no JSON has its body only
	return a
}

// outcome is "ok", or the error.
func (a answer) outcome() string {
	if a["ok"] == true {
		return "ok"
	}
	return a.text("error")
}

// ok fails the test unless the method succeeded.
func (a answer) must(t testing.TB) answer {
	t.Helper()
	if a["ok"] != true {
		t.Fatalf("%v", a["body"])
	}
	return a
}

// A client is a connection of a bot that a test leads by hand.
type client struct {
	t    testing.TB
	conn *websocket.Conn
}

// An envelope is what arrives on a connection.
type envelope struct {
	ID           string `json:"envelope_id"`
	Type, Reason string
	Attempt      int    `json:"retry_attempt"`
	RetryReason  string `json:"retry_reason"`
	Connections  int    `json:"num_connections"`
	Payload      struct {
		Event   map[string]any
		EventID string `json:"event_id"`
		Shared  bool   `json:"is_ext_shared_channel"`
		TeamID  string `json:"team_id"`
		Type    string
		Actions []map[string]any
	}
}

// connect opens a connection and reads the hello.
func connect(t testing.TB, s *slacksim.Server) *client {
	t.Helper()
	c := dial(t, s)
	if hello := c.next(); hello.Type != "hello" {
		t.Fatalf("the first frame is %+v", hello)
	}
	return c
}

func dial(t testing.TB, s *slacksim.Server) *client {
	t.Helper()
	address := callAs(t, s, s.AppToken(), "apps.connections.open").must(t).text("url")
	conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), address, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t, conn}
}

// next is the next envelope.
func (c *client) next() envelope {
	c.t.Helper()
	var e envelope
	c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if err := c.conn.ReadJSON(&e); err != nil {
		c.t.Fatal(err)
	}
	return e
}

// event is the next envelope, acknowledged.
func (c *client) event() envelope {
	c.t.Helper()
	e := c.next()
	c.ack(e)
	return e
}

func (c *client) ack(e envelope) {
	c.t.Helper()
	if err := c.conn.WriteJSON(map[string]string{"envelope_id": e.ID}); err != nil {
		c.t.Fatal(err)
	}
}

func (e envelope) text(key string) string {
	text, _ := e.Payload.Event[key].(string)
	return text
}
