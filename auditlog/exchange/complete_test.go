package exchange_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/exchange"
)

// A moody service has records and sessions as the real one has them, and
// fails in every way that shows from outside.
type moody struct {
	*rand.Rand
	records  []entry
	faults   float64 // how many calls fail
	sorted   bool
	page     int  // most rows on a page; the rest of the call is behind a link
	links    bool // that work
	short    bool // calls may bring less than was asked for, though there is more
	limit    int  // rows in a session
	sessions map[string]*moodySession
}

// An entry is a record, its second as a query has it, and its row.
type entry struct {
	id          string
	at          time.Time
	second, row string
}

func newEntry(n int, at time.Time) entry {
	id := fmt.Sprintf("id-%d", n)
	return entry{id, at, at.Format(time.RFC3339), rowOf(fmt.Sprintf(`{"Id":%q,"CreationTime":%q}`, id, at.Format("2006-01-02T15:04:05")))}
}

type moodySession struct {
	rows []string
	sent int // rows of earlier calls
	call []string
}

var errReset = errors.New("connection reset by peer")

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := readCall(r)
	if c.Cmdlet == "Get-AdminAuditLogConfig" {
		says(auditOn)(w, r)
		return
	}
	fault := -1
	if m.Float64() < m.faults {
		fault = m.IntN(9)
	}
	switch fault {
	case 0:
		refuses(429, "", "Retry-After", "1")(w, r)
		return
	case 1:
		breaks(errReset)(w, r)
	case 2:
		refuses(401, "")(w, r)
		return
	case 3:
		says(found(gaveUp))(w, r)
		return
	}
	rows, link := m.next(c) // from here on, the session has moved
	switch fault {
	case 4:
		breaks(errReset)(w, r)
	case 5:
		refuses(504, "")(w, r)
	case 6:
		says(found(link, rows...)[:30])(w, r)
	case 7:
		says(found(gaveUp, rows[:m.IntN(len(rows)+1)]...))(w, r)
	case 8:
		says(found(`"@adminapi.warnings":["Something else happened."],`, rows[:m.IntN(len(rows)+1)]...))(w, r)
	default:
		if c.Link != "" && !m.links {
			refuses(400, expiredLink)(w, r)
			return
		}
		says(found(link, rows...))(w, r)
	}
}

// next is the page that c asks for, and the key with the link to the next.
func (m *moody) next(c call) (rows []string, link string) {
	p := c.Parameters
	s := m.sessions[p.SessionId]
	if s == nil {
		s = &moodySession{rows: m.search(p.StartDate, p.EndDate)}
		m.sessions[p.SessionId] = s
	}
	if c.Link == "" {
		n := p.ResultSize
		if m.short {
			n = 1 + m.IntN(n)
		}
		n = min(n, len(s.rows)-s.sent)
		s.call = s.rows[s.sent : s.sent+n]
		s.sent += n
	}
	from, _ := strconv.Atoi(c.Link)
	to := min(from+m.page, len(s.call))
	if to < len(s.call) {
		link = fmt.Sprintf(`"@odata.nextLink":"/next?$skiptoken=%d",`, to)
	}
	return s.call[min(from, to):to], link
}

// search is what a session will bring: with records twice, and those of one
// second in any order.
func (m *moody) search(start, end string) []string {
	var found []entry
	for _, e := range m.records {
		if start <= e.second && e.second < end {
			found = append(found, e)
			if m.IntN(20) == 0 {
				found = append(found, e)
			}
		}
	}
	m.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	if m.sorted {
		slices.SortStableFunc(found, func(a, b entry) int { return b.at.Compare(a.at) })
	}
	var rows []string
	for _, e := range found[:min(len(found), m.limit)] {
		rows = append(rows, e.row)
	}
	return rows
}

func newMoody(seed uint64) *moody {
	r := rand.New(rand.NewPCG(seed, 0))
	m := &moody{
		Rand: r, sessions: map[string]*moodySession{}, limit: 5000,
		faults: []float64{0, 0.1, 0.5}[r.IntN(3)], sorted: r.IntN(4) > 0, links: r.IntN(2) == 0, short: r.IntN(4) == 0,
		page: []int{7, 60, 5000}[r.IntN(3)],
	}
	seconds := []int{1, 5, 1000}[r.IntN(3)] // few: many records in each
	for n := range r.IntN([]int{3, 50, 400}[r.IntN(3)]) {
		m.records = append(m.records, newEntry(n, noon.Add(time.Duration(r.IntN(seconds))*time.Second)))
	}
	slices.SortFunc(m.records, func(a, b entry) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.id, b.id)) })
	return m
}

// Whatever happens on the way: a verdict that admits no loss is right. Either
// everything is there, or exactly the newest that were asked for.
func TestAVerdictThatAdmitsNoLossIsRight(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for seed := range uint64(400) {
		synctest.Test(t, func(t *testing.T) {
			m := newMoody(seed)
			s := &exchange.Source{Tenant: source(m).Tenant, Token: source(m).Token}
			q := query([]int{1, 10, 100, 4999}[m.IntN(4)])
			log := auditlog.Log{Sources: []auditlog.Source{s}, Now: func() time.Time { return noon.Add(48 * time.Hour) }}
			res := log.Search(t.Context(), q)
			var got []string
			for r, err := range res.All() {
				if err != nil {
					if _, ok := errors.AsType[*auditlog.Refusal](err); !ok {
						t.Errorf("seed %d: %v", seed, err)
					}
					seen["refused"]++
					return
				}
				got = append(got, r.ID)
			}
			v := res.Verdict()
			var want []string
			for _, e := range m.records[:min(len(m.records), q.Newest)] {
				want = append(want, e.id)
			}
			if len(v.Lost) > 0 {
				seen["loss admitted"]++
				return
			}
			seen[string(v.Status())]++
			if !slices.Equal(got, want) {
				t.Errorf("seed %d: %v\n%d records %v\nwant %d of %d: %v", seed, v, len(got), got, len(want), len(m.records), want)
			}
			if complete := v.Status() == auditlog.Complete; complete != (len(m.records) <= q.Newest) {
				t.Errorf("seed %d: %v of %d records", seed, v, len(m.records))
			}
		})
		if t.Failed() {
			break
		}
	}
	t.Log(seen)
	for outcome, least := range map[string]int{"complete": 20, "partial": 20, "loss admitted": 20, "refused": 1} {
		if seen[outcome] < least {
			t.Errorf("%d searches ended as %s: the test has lost its point", seen[outcome], outcome)
		}
	}
}

// A service that neither fails nor forgets is not doubted.
func TestAServiceInAGoodMoodIsBelieved(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			m := newMoody(seed)
			m.faults, m.sorted = 0, true
			log := auditlog.Log{Sources: []auditlog.Source{source(m)}, Now: func() time.Time { return noon.Add(48 * time.Hour) }}
			res := log.Search(t.Context(), query(10))
			for _, err := range res.All() {
				if err != nil {
					t.Fatal(err)
				}
			}
			if v := res.Verdict(); len(v.Lost) > 0 && !m.repeats() {
				t.Errorf("seed %d: %v", seed, v)
			}
		})
	}
}

// repeats tells whether a page of duplicates alone was likely to come.
func (m *moody) repeats() bool { return m.short || m.page < 10 }
