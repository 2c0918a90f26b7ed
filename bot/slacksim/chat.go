package slacksim

import (
	"bytes"
	"encoding/json"
	"strings"
)

// The limits of a message's text, in characters.
// https://docs.slack.dev/reference/methods/chat.postMessage
// https://docs.slack.dev/reference/methods/chat.update
const (
	maxText         = 40000 // chat.postMessage cuts off what is longer
	maxUpdateText   = 4000  // past it, chat.update answers msg_too_long
	maxMarkdownText = 12000 // of markdown_text
	maxAttachments  = 100
	maxMetadata     = 8000 // of its JSON; the real number is not known
)

// A content is what a message is made of, as a request gives it.
type content struct {
	text        string
	blocks      json.RawMessage // nil if there are none
	attachments json.RawMessage // nil if there are none
	metadata    json.RawMessage // nil if there is none

	// What was given at all, be it empty.
	hasText, hasBlocks, hasAttachments, hasMetadata bool
}

// readContent takes the content out of a request, or returns the answer that
// refuses it.
func (s *Server) readContent(c *call) (content, object) {
	k := content{
		text:    c.Get("text"),
		hasText: c.Get("text") != "", hasBlocks: c.Has("blocks"), hasAttachments: c.Has("attachments"), hasMetadata: c.Has("metadata"),
	}
	if markdown := c.Get("markdown_text"); markdown != "" {
		if k.hasText || k.hasBlocks {
			return k, failed("markdown_text_conflict")
		}
		if characters(markdown) > maxMarkdownText {
			return k, failed("msg_too_long")
		}
		k.text, k.hasText, k.hasBlocks = markdown, true, true
		c.Set("blocks", string(encode([]object{{"type": "markdown", "text": markdown}})))
	}
	var refusal object
	if k.metadata, refusal = readMetadata(c.Get("metadata")); refusal != nil {
		return k, refusal
	}
	if k.blocks, refusal = s.readBlocks(c.Get("blocks")); refusal != nil {
		return k, refusal
	}
	if k.attachments, refusal = s.readAttachments(c.Get("attachments")); refusal != nil {
		return k, refusal
	}
	return k, s.oneTable(k)
}

func (k content) empty() bool {
	return strings.TrimSpace(k.text) == "" && k.blocks == nil && k.attachments == nil
}

// readMetadata returns metadata, nil if it is empty, or the answer that refuses
// it.
func readMetadata(text string) (json.RawMessage, object) {
	if text == "" {
		return nil, nil
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil, failed("invalid_metadata_format")
	}
	if len(m) == 0 {
		return nil, nil
	}
	var kind string
	if json.Unmarshal(m["event_type"], &kind) != nil || kind == "" || !bytes.HasPrefix(m["event_payload"], []byte("{")) {
		return nil, failed("invalid_metadata_schema")
	}
	if len(text) > maxMetadata {
		return nil, failed("metadata_too_large")
	}
	return json.RawMessage(text), nil
}

// destination finds the conversation that the bot posts to, or returns the
// answer that refuses it. A user's id is not one: where such a message ends up
// is not sure.
func (s *Server) destination(c *call) (*Channel, object) {
	if c.Get("channel") == "" {
		return nil, missing("channel")
	}
	channel := s.channel(c.Get("channel"))
	if refusal := s.mayPost(channel); refusal != nil {
		return nil, refusal
	}
	return channel, nil
}

func (s *Server) mayPost(c *Channel) object {
	switch {
	case c == nil || !c.has(BotUserID) && c.Kind != "channel":
		return failed("channel_not_found")
	case c.Archived:
		return failed("is_archived")
	case !c.has(BotUserID) && (s.app.all || !s.app.may("chat:write.public")):
		return failed("not_in_channel")
	case c.Kind == "im" && !s.app.tab:
		return failed("messages_tab_disabled")
	}
	return nil
}

// thread is the ts of the thread that a request names. It is "", so that the
// message is no reply, if the parent is not there any more; that is how Slack
// was seen to do it. A reply is no parent.
func (s *Server) thread(channel *Channel, ts string) (string, object) {
	if ts == "" {
		return "", nil
	}
	if !isTS(ts) {
		return "", failed("invalid_thread_ts")
	}
	p := s.trace(channel.ID, ts)
	switch {
	case p == nil || p.Deleted && len(s.replies(channel.ID, ts)) == 0:
		return "", nil
	case p.ThreadTS != "" || p.EphemeralTo != "":
		return "", failed("cannot_reply_to_message")
	}
	return ts, nil
}

func postMessage(s *Server, c *call) object {
	channel, refusal := s.destination(c)
	if refusal != nil {
		return refusal
	}
	k, refusal := s.readContent(c)
	if refusal != nil {
		return refusal
	}
	if k.empty() {
		return failed("no_text")
	}
	thread, refusal := s.thread(channel, c.Get("thread_ts"))
	if refusal != nil {
		return refusal
	}
	if s.tooFast(channel) {
		return object{"retry_after": 1}
	}
	p := s.botPost(channel, thread, k, c)
	p.unfurls = c.flag("unfurl_links", true) || c.flag("unfurl_media", true)
	if thread != "" && c.flag("reply_broadcast", false) {
		p.subtype = "thread_broadcast"
	}
	s.keep(p)
	s.announce(p)
	answer := object{"channel": channel.ID, "ts": p.TS, "message": s.eventMessage(p)}
	if p.Blocks != nil && !k.hasText {
		answer["warning"] = "missing_text_in_message"
		answer["response_metadata"] = object{"warnings": []string{"missing_text_in_message"}}
	}
	return answer
}

// botPost is a message of the bot's that is not kept yet.
func (s *Server) botPost(channel *Channel, thread string, k content, c *call) *post {
	text := []rune(k.text)
	if len(text) > maxText {
		text = text[:maxText]
	}
	return &post{Message: Message{
		Channel: channel.ID, ThreadTS: thread, User: BotUserID, BotID: botID,
		Text: s.typist(nil).link(string(text), c.Get("parse") != "none"), Blocks: k.blocks, Attachments: k.attachments, Metadata: k.metadata,
	}}
}

func postEphemeral(s *Server, c *call) object {
	channel, refusal := s.destination(c)
	if refusal != nil {
		return refusal
	}
	if c.Get("user") == "" {
		return missing("user")
	}
	if !channel.has(c.Get("user")) {
		return failed("user_not_in_channel")
	}
	k, refusal := s.readContent(c)
	if refusal != nil {
		return refusal
	}
	if k.empty() {
		return failed("no_text")
	}
	if characters(k.text) > maxText {
		return failed("msg_too_long")
	}
	thread, refusal := s.thread(channel, c.Get("thread_ts"))
	if refusal != nil {
		return refusal
	}
	p := s.botPost(channel, thread, k, c)
	p.EphemeralTo, p.Metadata = c.Get("user"), nil
	s.keep(p)
	return object{"message_ts": p.TS}
}

// own finds the message of the bot's that a request names, or returns the
// answer that refuses it: failed(denied) if it is somebody else's.
func (s *Server) own(c *call, denied string) (*Channel, *post, object) {
	channel := s.channel(c.Get("channel"))
	switch {
	case c.Get("channel") == "":
		return nil, nil, missing("channel")
	case c.Get("ts") == "":
		return nil, nil, missing("ts")
	case channel == nil || !channel.has(BotUserID) && channel.Kind != "channel":
		return nil, nil, failed("channel_not_found")
	}
	p := s.find(channel.ID, c.Get("ts"))
	switch {
	case p == nil:
		return nil, nil, failed("message_not_found")
	case p.User != BotUserID:
		return nil, nil, failed(denied)
	case channel.Archived:
		return nil, nil, failed("is_inactive")
	}
	return channel, p, nil
}

// updateMessage changes what is given. Blocks go if there is a text and no
// blocks; with blocks, nobody sees that the message was edited.
func updateMessage(s *Server, c *call) object {
	channel, p, refusal := s.own(c, "cant_update_message")
	if refusal != nil {
		return refusal
	}
	k, refusal := s.readContent(c)
	if refusal != nil {
		return refusal
	}
	if !k.hasText && !k.hasBlocks && !k.hasAttachments && !k.hasMetadata {
		return failed("no_text")
	}
	if characters(k.text) > maxUpdateText && c.Get("markdown_text") == "" {
		return failed("msg_too_long")
	}
	before := s.eventMessage(p)
	s.apply(p, k, c.Get("parse") != "none")
	if p.Text == "" && p.Blocks == nil && p.Attachments == nil && len(p.Files) == 0 {
		return failed("no_text")
	}
	s.show(p)
	s.announceChange(p, before)
	return object{"channel": channel.ID, "ts": p.TS, "text": p.Text, "message": s.eventMessage(p)}
}

// apply changes p to what a request gives.
func (s *Server) apply(p *post, k content, links bool) {
	if k.hasText {
		p.Text = s.typist(nil).link(k.text, links)
	}
	if k.hasText || k.hasBlocks {
		p.Blocks = k.blocks
	}
	if k.hasText || k.hasAttachments {
		p.Attachments = k.attachments
	}
	if k.hasMetadata {
		p.Metadata = k.metadata
	}
	if !k.hasBlocks {
		p.Edited, p.lastEdit = true, s.nextTS()
	}
}

func deleteMessage(s *Server, c *call) object {
	channel, p, refusal := s.own(c, "cant_delete_message")
	if refusal != nil {
		return refusal
	}
	s.remove(p)
	return object{"channel": channel.ID, "ts": p.TS}
}

func permalink(s *Server, c *call) object {
	channel := s.channel(c.Get("channel"))
	if channel == nil || !channel.has(BotUserID) {
		return failed("channel_not_found")
	}
	p := s.find(channel.ID, c.Get("message_ts"))
	if p == nil {
		return failed("message_not_found")
	}
	link := c.base + "/archives/" + channel.ID + "/p" + strings.ReplaceAll(p.TS, ".", "")
	if p.ThreadTS != "" {
		link += "?thread_ts=" + p.ThreadTS + "&cid=" + channel.ID
	}
	return object{"channel": channel.ID, "permalink": link}
}
