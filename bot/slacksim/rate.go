package slacksim

import "time"

// hundreds is what Slack calls hundreds of requests a minute. How many it means
// is not known.
const hundreds = 300

// tooMany is how long a method must not be asked for yet with EnforceRate, 0 if
// it may be asked now, which it notes. The minute is any, not one of the clock's.
// https://docs.slack.dev/apis/web-api/rate-limits
func (s *Server) tooMany(name string, m method) time.Duration {
	if !s.EnforceRate || m.tier == 0 {
		return 0
	}
	now, last := time.Now(), s.lastCalls[name]
	for len(last) > 0 && now.Sub(last[0]) >= time.Minute {
		last = last[1:]
	}
	s.lastCalls[name] = last
	if len(last) >= m.tier {
		return time.Minute - now.Sub(last[len(last)-m.tier])
	}
	s.lastCalls[name] = append(last, now)
	return 0
}

// tooFast tells whether a message follows another one too soon, and notes that
// there was one if not.
func (s *Server) tooFast(channel *Channel) bool {
	if !s.EnforceRate {
		return false
	}
	if time.Since(s.lastPost[channel.ID]) < time.Second {
		return true
	}
	s.lastPost[channel.ID] = time.Now()
	return false
}
