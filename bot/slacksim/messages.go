package slacksim

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// A post is a message, and what the workspace remembers of it besides.
type post struct {
	Message
	clientMsgID string
	subtype     string // of its event: "", "file_share", "thread_broadcast"
	unfurls     bool   // a link in it is looked at, and a preview added
	lastEdit    string // ts of the last edit that shows, or ""
}

// isTS is the form of a ts.
var isTS = regexp.MustCompile(`^\d{10,}\.\d{6}$`).MatchString

// nextTS is the ts of what happens now. No two are alike, in any channel.
func (s *Server) nextTS() string {
	s.lastTS = max(time.Now().UnixMicro(), s.lastTS+1)
	return fmt.Sprintf("%d.%06d", s.lastTS/1e6, s.lastTS%1e6)
}

// seed keeps a message that was always there.
func (s *Server) seed(m Message) {
	if m.TS == "" {
		m.TS = s.nextTS()
	}
	for _, f := range m.Files {
		s.files[f.ID] = &file{File: f, uploaded: true, completed: true, created: time.Now()}
	}
	s.posts[m.Channel] = append(s.posts[m.Channel], &post{Message: m.clone()})
}

// keep adds p to its channel as the newest message.
func (s *Server) keep(p *post) {
	p.TS = s.nextTS()
	s.posts[p.Channel] = append(s.posts[p.Channel], p)
	s.show(p)
}

// show tells everyone who watches that p is new or has changed.
func (s *Server) show(p *post) {
	for watcher := range s.watchers {
		for sent := false; !sent; {
			select {
			case watcher <- p.clone():
				sent = true
			default:
				select {
				case <-watcher: // the oldest goes
				default:
				}
			}
		}
	}
	s.touch()
}

// Add puts a message where it belongs by its TS, and tells the bot nothing: it
// was written before now. It panics if the message has no TS or no place.
func (s *Server) Add(m Message) {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !isTS(m.TS) || s.channel(m.Channel) == nil {
		panic(fmt.Sprintf("slacksim: there is no place for the message %q in %q", m.TS, m.Channel))
	}
	posts := s.posts[m.Channel]
	i := len(posts)
	for i > 0 && after(posts[i-1].TS, m.TS) {
		i--
	}
	s.posts[m.Channel] = slices.Insert(posts, i, &post{Message: m.clone()})
	s.touch()
}

// find is the message with this ts, or nil if there is none or it was deleted.
func (s *Server) find(channel, ts string) *post {
	p := s.trace(channel, ts)
	if p == nil || p.Deleted || p.EphemeralTo != "" {
		return nil
	}
	return p
}

// trace is the message with this ts, deleted or not, or nil.
func (s *Server) trace(channel, ts string) *post {
	posts := s.posts[channel]
	if i := slices.IndexFunc(posts, func(p *post) bool { return p.TS == ts }); i >= 0 {
		return posts[i]
	}
	return nil
}

// replies are those to the message with this ts, oldest first.
func (s *Server) replies(channel, ts string) []*post {
	var found []*post
	for _, p := range s.posts[channel] {
		if p.ThreadTS == ts && !p.Deleted && p.EphemeralTo == "" {
			found = append(found, p)
		}
	}
	return found
}

// History is everything that was said in a channel, oldest first: replies
// included, deleted messages marked, and ephemeral ones.
func (s *Server) History(channel string) []Message {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Message
	for _, p := range s.posts[channel] {
		all = append(all, p.clone())
	}
	return all
}

// watcherRoom is how many messages a slow watcher may be behind before it
// loses the oldest.
const watcherRoom = 256

// Watch passes on every message that is new or has changed from now on, until
// ctx is done or the server closed; then the channel is closed. It never
// blocks the server: whoever is slow loses the oldest messages.
func (s *Server) Watch(ctx context.Context) <-chan Message {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	watcher := make(chan Message, watcherRoom)
	s.watchers[watcher] = true
	go func() {
		select {
		case <-ctx.Done():
		case <-s.closed:
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, watcher)
		close(watcher)
	}()
	return watcher
}

// Wait returns the first message in the channel, now or later, that is ok. It
// may call ok again for a message that has not changed. The error is that of
// ctx, or says that the server was closed.
func (s *Server) Wait(ctx context.Context, channel string, ok func(Message) bool) (found Message, err error) {
	err = s.Until(ctx, func() bool {
		all := s.History(channel)
		i := slices.IndexFunc(all, ok)
		if i >= 0 {
			found = all[i]
		}
		return i >= 0
	})
	if err != nil {
		return Message{}, fmt.Errorf("waiting for a message in %s: %w", channel, err)
	}
	return found, nil
}

// Until waits until ok, which is asked now and whenever anything has changed:
// messages, connections, what was delivered, acknowledged or requested. The
// error is that of ctx, or says that the server was closed.
func (s *Server) Until(ctx context.Context, ok func() bool) error {
	s.prepare()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if ok() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.closed:
			return errors.New("the simulated Slack was closed")
		}
	}
}
