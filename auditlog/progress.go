package auditlog

import "time"

// Progress is how far a search is. A search that goes on after an interruption
// is a new run of it.
type Progress struct {
	Windows  int       // finished
	Records  int       // found so far
	Requests int       // sent so far
	Began    time.Time // of this run
	BeganAt  time.Time // everything from here to To was done before this run
	Before   int       // of Records, found before this run
	From, To time.Time // the range
	At       time.Time // everything from here to To is done

	Waits string // what is waited for, in words, where nothing else can be told: the rest is zero then
}

// Left is how long the rest will take if it is like what this run has done; 0
// if that cannot be told yet.
func (p Progress) Left(now time.Time) time.Duration {
	done, rest := p.BeganAt.Sub(p.At), p.At.Sub(p.From)
	if done <= 0 || rest <= 0 {
		return 0
	}
	return time.Duration(float64(now.Sub(p.Began)) * float64(rest) / float64(done)).Round(time.Second)
}

// Rate is how many records a second this run has found so far.
func (p Progress) Rate(now time.Time) float64 {
	if took := now.Sub(p.Began).Seconds(); took > 0 {
		return float64(p.Records-p.Before) / took
	}
	return 0
}
