package auditlog

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// A checkpoint is how far a search is, as JSON.
type checkpoint struct {
	At       time.Time     `json:"at"` // all from here to the end of the range is done
	Count    int           `json:"count"`
	Last     time.Time     `json:"last"`
	Windows  int           `json:"windows"`
	Requests int           `json:"requests"`
	Retries  int           `json:"retries"`
	Dropped  int           `json:"duplicates_dropped"`
	Missing  bool          `json:"missing,omitempty"`
	Unsure   bool          `json:"unsure,omitempty"`
	Asked    []string      `json:"asked,omitempty"`
	Lost     []string      `json:"lost,omitempty"`
	Noted    []string      `json:"noted,omitempty"`
	Warnings []string      `json:"warnings,omitempty"`
	Gaps     []gap         `json:"gaps,omitempty"`
	Tally    tally         `json:"tally"`
	Started  time.Time     `json:"started"`
	Edge     [][]byte      `json:"edge,omitempty"`   // sums of the records in the oldest second that is done
	Strays   [][]byte      `json:"strays,omitempty"` // sums of records that came with a newer window than their own
	Width    time.Duration `json:"width,omitempty"`
}

// state is the checkpoint of w.
func (w *windows) state(v *Verdict) ([]byte, error) {
	state, err := json.Marshal(checkpoint{
		At: w.at, Count: w.count, Last: w.last,
		Windows: v.Windows, Requests: v.Requests, Retries: v.Retries, Dropped: v.Duplicates,
		Missing: v.missing, Unsure: v.unsure,
		Asked: v.Asked, Lost: v.Lost, Noted: v.Noted, Warnings: v.Warnings, Gaps: v.gaps, Tally: v.tally,
		Started: v.Started, Edge: sumList(w.edge), Strays: sumList(w.strays), Width: w.width,
	})
	if err != nil {
		return nil, fmt.Errorf("writing down how far a search is: %w", err)
	}
	return state, nil
}

// Resume makes the loop over All go on where the search was that left this
// state, of the same query. The records before it are not yielded again.
func (r *Results) Resume(state []byte) error {
	var c checkpoint
	if err := json.Unmarshal(state, &c); err != nil {
		return fmt.Errorf("reading how far a search was: %w", err)
	}
	if c.At.Before(r.query.Start) || c.At.After(r.query.End) {
		return fmt.Errorf("reading how far a search was: %s is not in its range", c.At.Format(time.RFC3339))
	}
	r.at, r.count, r.last = c.At, c.Count, c.Last
	r.before = Progress{Records: c.Count, At: c.At}
	r.resumed = &c
	v := &r.verdict
	v.Windows, v.Requests, v.Retries, v.Duplicates = c.Windows, c.Requests, c.Retries, c.Dropped
	v.Asked, v.Noted, v.Warnings, v.gaps, v.tally = c.Asked, c.Noted, c.Warnings, c.Gaps, c.Tally
	v.Started = c.Started
	return nil
}

// restore takes the losses of the run before over into v, which is why they
// are not a part of [Results.Verdict] meanwhile.
func (c *checkpoint) restore(v *Verdict) {
	v.missing, v.unsure = c.Missing, c.Unsure
	v.Lost = slices.Clone(c.Lost)
}

// maxSums is how many sums a checkpoint holds. Of a busier second none are
// kept: a record that comes twice around it is then told as odd, not dropped.
const maxSums = 2000

func sumList(sums map[[32]byte]bool) [][]byte {
	if len(sums) > maxSums {
		return nil
	}
	var list [][]byte
	for sum := range sums {
		list = append(list, slices.Clone(sum[:]))
	}
	slices.SortFunc(list, slices.Compare)
	return list
}

func sumSet(list [][]byte) map[[32]byte]bool {
	sums := map[[32]byte]bool{}
	for _, sum := range list {
		if len(sum) == 32 {
			sums[[32]byte(sum)] = true
		}
	}
	return sums
}

// report tells Progress how far the search is: so many records were found, with
// so many requests, and all from at to the end of the range is done.
func (r *Results) report(v *Verdict, found, requests int, at time.Time) {
	if r.Progress == nil {
		return
	}
	r.Progress(Progress{
		Windows: v.Windows, Records: found, Requests: requests,
		Began: r.began, Before: r.before.Records, BeganAt: r.beganAt(),
		From: r.query.Start, To: r.query.End, At: at,
	})
}

// beganAt is how far the search was when this run of it began.
func (r *Results) beganAt() time.Time {
	if r.before.At.IsZero() {
		return r.query.End
	}
	return r.before.At
}
