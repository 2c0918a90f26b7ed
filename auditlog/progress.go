package auditlog

import "time"

// Progress is how far a search is.
type Progress struct {
	Windows  int       // finished
	Records  int       // found so far
	Requests int       // sent so far
	Began    time.Time // of this run; a search that goes on after an interruption began earlier
	Before   int       // of Records, found before this run
	From, To time.Time // the range
	At       time.Time // everything from here to To is done
}

// Left is how long the rest will take if it is like what is done; 0 if that
// cannot be told yet.
func (p Progress) Left(now time.Time) time.Duration {
	done, rest := p.To.Sub(p.At), p.At.Sub(p.From)
	if done <= 0 || rest <= 0 {
		return 0
	}
	return time.Duration(float64(now.Sub(p.Began)) * float64(rest) / float64(done)).Round(time.Second)
}
