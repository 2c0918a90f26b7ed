package auditlog

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Status is a verdict in one word.
type Status string

const (
	Complete Status = "complete" // every record that the service holds for the query is there
	Partial  Status = "partial"  // records are missing, and the reasons say which and why
	Unknown  Status = "unknown"  // it cannot be told whether records are missing
)

// late is how long after its event a record may first appear: 60 to 90
// minutes as a rule, with no commitment.
// https://learn.microsoft.com/purview/audit-search
const late = 90 * time.Minute

// retention is how long every tenant keeps records: 180 days since October
// 2023, longer only with E5 licences or an add-on.
// https://learn.microsoft.com/purview/audit-solutions-overview
const retention = 180 * 24 * time.Hour

// A Verdict says whether a search found everything, and if not, why. The zero
// Verdict says complete; reasons are added to it.
type Verdict struct {
	Asked      []string // reasons that lie in the question, such as its limit; nothing was lost
	Lost       []string // reasons that lie in the answer: what is, or may be, missing though asked for
	Noted      []string // what is odd about the records, though none is missing for it
	Query      Query    // as sent
	Backend    string   // the source's name
	Fetched    int      // read from the service, each counted once
	Records    int      // in the answer: those fetched, or what a filter and a limit left of them
	Windows    int      // that the range was fetched in; 0 where it was one search
	Requests   int      // sent to Microsoft
	Retries    int      // of these, repeated after a failure
	Duplicates int      // dropped
	Warnings   []string // what the service warned of, in its own words
	Started    time.Time
	Ended      time.Time
	Version    string // of this program
	Err        error  // the failure behind a reason, for the log; people get the reason

	// Queries are the ids of the queries that were created at Microsoft, by a
	// key of what they ask for. Only Graph has such.
	Queries map[string]string

	Applied map[string]string // what was done to the records after they were fetched: filter, sort, count_by, result_size

	missing, unsure bool
	gaps            []gap
	tally
}

// A tally counts what is odd about records, for [Verdict.close] to note.
type tally struct {
	Outside   int `json:"outside,omitempty"`   // of the range asked for
	Strays    int `json:"strays,omitempty"`    // of the window that they came with
	Conflicts int `json:"conflicts,omitempty"` // with another record of the same Id
	Differ    int `json:"differ,omitempty"`    // that only one of two passes found
}

// A gap is a reason for something being missing, or for doubts, and the windows
// that have it.
type gap struct {
	Reason  string   `json:"reason"`
	Doubt   bool     `json:"doubt,omitempty"` // nothing need be missing
	Windows []window `json:"windows"`         // the first gapWindows of them
	More    int      `json:"more,omitempty"`  // windows besides
}

const (
	gapWindows = 50
	maxGaps    = 50  // reasons; what comes after these has the last one's place
	maxReasons = 100 // texts of each kind: a service may put an id into every warning
)

func (v *Verdict) addGap(w window, reason string, doubt bool) {
	i := slices.IndexFunc(v.gaps, func(g gap) bool { return g.Reason == reason })
	if i < 0 && len(v.gaps) == maxGaps {
		i = maxGaps - 1
		v.gaps[i].Reason = "reasons of further windows, too many to list"
	}
	if i < 0 {
		i = len(v.gaps)
		v.gaps = append(v.gaps, gap{Reason: reason, Doubt: doubt})
	}
	g := &v.gaps[i]
	g.Doubt = g.Doubt && doubt
	if len(g.Windows) < gapWindows {
		g.Windows = append(g.Windows, w)
	} else {
		g.More++
	}
}

// takeOver adds the reasons, warnings and notes of a second look at the same
// records.
func (v *Verdict) takeOver(of *Verdict) {
	v.missing, v.unsure = v.missing || of.missing, v.unsure || of.unsure
	for _, reason := range of.Lost {
		v.Lost = appendOnce(v.Lost, reason)
	}
	for _, text := range of.Noted {
		v.Note(text)
	}
	for _, text := range of.Warnings {
		v.Warn(text)
	}
}

// Status is the verdict in one word.
func (v Verdict) Status() Status {
	switch {
	case v.missing:
		return Partial
	case v.unsure:
		return Unknown
	}
	return Complete
}

// AsAsked notes that records are left out because the query said so.
func (v *Verdict) AsAsked(reason string) {
	v.missing = true
	v.Asked = appendOnce(v.Asked, reason)
}

// Lose notes that records are missing that were asked for.
func (v *Verdict) Lose(reason string) {
	v.missing = true
	v.Lost = appendOnce(v.Lost, reason)
}

// Doubt notes why it cannot be told whether records are missing.
func (v *Verdict) Doubt(reason string) {
	v.unsure = true
	v.Lost = appendOnce(v.Lost, reason)
}

// Note tells of something odd about the records. It casts no doubt.
func (v *Verdict) Note(text string) { v.Noted = appendOnce(v.Noted, text) }

// Warn keeps a warning for the verdict's JSON. By itself it casts no doubt.
func (v *Verdict) Warn(text string) { v.Warnings = appendOnce(v.Warnings, text) }

func appendOnce(list []string, s string) []string {
	if slices.Contains(list, s) || len(list) == maxReasons {
		return list
	}
	return append(list, s)
}

// count adds what of says of the work done.
func (v *Verdict) count(of *Verdict) {
	v.Requests += of.Requests
	v.Retries += of.Retries
	for key, id := range of.Queries {
		v.remember(key, id)
	}
}

func (v *Verdict) remember(key, id string) {
	if v.Queries == nil {
		v.Queries = map[string]string{}
	}
	v.Queries[key] = id
}

// merge adds what of says of the records of w.
func (v *Verdict) merge(of *Verdict, w window) {
	v.Duplicates += of.Duplicates
	v.Outside += of.Outside
	v.Strays += of.Strays
	v.Conflicts += of.Conflicts
	v.Differ += of.Differ
	for _, reason := range of.Lost {
		v.addGap(w, reason, of.unsure && !of.missing)
	}
	for _, reason := range of.Asked {
		v.AsAsked(reason)
	}
	for _, text := range of.Noted {
		v.Note(text)
	}
	for _, text := range of.Warnings {
		v.Warn(text)
	}
	if of.Err != nil {
		v.Err = of.Err
	}
}

// gapsTold is how many windows a reason names; verdict.json has all.
const gapsTold = 3

// close makes reasons of the gaps and the tally.
func (v *Verdict) close() {
	whole := window{v.Query.Start, v.Query.End}
	for _, g := range v.gaps {
		text := g.Reason
		if g.Windows[0] != whole {
			text += " (" + g.where() + ")"
		}
		if g.Doubt {
			v.Doubt(text)
		} else {
			v.Lose(text)
		}
	}
	if v.Conflicts > 0 {
		v.Note(fmt.Sprintf("%d records share their Id with another record of different content; all are kept", v.Conflicts))
	}
	if v.Outside > 0 {
		v.Note(fmt.Sprintf("%d records have a CreationTime outside the range asked for; they are kept", v.Outside))
	}
	if v.Strays > 0 {
		v.Note(fmt.Sprintf("%d records came with another part of the range than their own; they are kept", v.Strays))
	}
	if v.Differ > 0 {
		v.Note(fmt.Sprintf("%d records came in only one of two passes; they are kept", v.Differ))
	}
}

// where names the windows of a gap.
func (g gap) where() string {
	var all []string
	for _, w := range g.Windows[:min(len(g.Windows), gapsTold)] {
		all = append(all, w.String())
	}
	if more := len(g.Windows) + g.More - gapsTold; more > 0 {
		all = append(all, fmt.Sprintf("and %d more windows", more))
	}
	return strings.Join(all, "; ")
}

// judgeAges adds the reasons that follow from the range and the time of the
// fetching: what the service got after its start may not be in the answer, and
// what it deleted before its end may not be either. Oldest is when the oldest
// record of the newest N is from, if the answer was cut to these, else zero:
// what is older was not asked for.
func (v *Verdict) judgeAges(oldest time.Time) {
	from := v.Query.Start
	if oldest.After(from) {
		from = oldest
	}
	if kept := v.Ended.Add(-retention); from.Before(kept) {
		v.Doubt(fmt.Sprintf("records from before %s may be deleted already: most licences keep 180 days", kept.Format(time.DateOnly)))
	}
	settled := v.Started.Add(-late)
	if settled.Before(v.Query.Start) {
		settled = v.Query.Start
	}
	if v.Query.End.After(settled) {
		v.Asked = appendOnce(v.Asked, fmt.Sprintf("records after %s UTC may still arrive", settled.Format("2006-01-02 15:04")))
	}
}

// String is the verdict in one line: the status and its reasons. A loss or a
// doubt carries a warning sign.
func (v Verdict) String() string {
	var b strings.Builder
	if len(v.Lost) > 0 {
		b.WriteString("⚠️ ")
	}
	b.WriteString(strings.ToUpper(string(v.Status()[:1])) + string(v.Status()[1:]))
	switch {
	case v.Status() == Complete && v.onlyMatched():
		b.WriteString(" for what Microsoft matched")
	case v.Status() == Partial && len(v.Lost) == 0:
		b.WriteString(", as asked")
	case v.Status() == Complete && len(v.Asked) > 0:
		b.WriteString(" so far")
	}
	if reasons := slices.Concat(v.Lost, v.Asked, v.Noted); len(reasons) > 0 {
		b.WriteString(": " + strings.Join(reasons, "; "))
	}
	return b.String()
}

// onlyMatched tells whether nothing was found with a filter of Microsoft's that
// may match less than people expect: an address that records have with a port,
// a person whom something was done to, text with quotes in it.
func (v Verdict) onlyMatched() bool {
	q := v.Query
	return v.Fetched == 0 && !v.Ended.IsZero() && (len(q.IPAddresses) > 0 || len(q.UserIDs) > 0 || q.FreeText != "")
}

// verdictJSON is verdict.json.
type verdictJSON struct {
	Verdict    Status    `json:"verdict"`
	Asked      []string  `json:"asked"`
	Lost       []string  `json:"lost"`
	Noted      []string  `json:"noted"`
	Query      Query     `json:"query"`
	Backend    string    `json:"backend"`
	Fetched    int       `json:"fetched"`
	Records    int       `json:"records"`
	Windows    int       `json:"windows"`
	Requests   int       `json:"requests"`
	Retries    int       `json:"retries"`
	Duplicates int       `json:"duplicates_dropped"`
	Warnings   []string  `json:"warnings"`
	Started    time.Time `json:"started,omitzero"`
	Ended      time.Time `json:"ended,omitzero"`
	Version    string    `json:"version,omitempty"`

	Gaps    []gap             `json:"gaps,omitempty"` // windows with a loss or a doubt
	Queries map[string]string `json:"queries,omitempty"`

	Applied     map[string]string `json:"applied,omitempty"`
	OnlyMatched bool              `json:"only_what_microsoft_matched,omitempty"`
}

// MarshalJSON gives the verdict for machines, as in verdict.json.
func (v Verdict) MarshalJSON() ([]byte, error) {
	return json.Marshal(verdictJSON{
		v.Status(), nonNil(v.Asked), nonNil(v.Lost), nonNil(v.Noted), v.Query, v.Backend, v.Fetched, v.Records,
		v.Windows, v.Requests, v.Retries, v.Duplicates, nonNil(v.Warnings), v.Started, v.Ended, v.Version,
		v.gaps, v.Queries, v.Applied, v.Status() == Complete && v.onlyMatched(),
	})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *Verdict) UnmarshalJSON(text []byte) error {
	var j verdictJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	*v = Verdict{
		Asked: j.Asked, Lost: j.Lost, Noted: j.Noted, Query: j.Query, Backend: j.Backend, Fetched: j.Fetched, Records: j.Records,
		Windows: j.Windows, Requests: j.Requests, Retries: j.Retries, Duplicates: j.Duplicates, Warnings: j.Warnings,
		Started: j.Started, Ended: j.Ended, Version: j.Version, gaps: j.Gaps, Queries: j.Queries, Applied: j.Applied,
		missing: j.Verdict == Partial, unsure: j.Verdict == Unknown,
	}
	return nil
}

// nonNil makes JSON say [] where there is nothing.
func nonNil(list []string) []string { return append([]string{}, list...) }
