package tenantsim

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"
)

// A Burst is many records of one second: more than a search of the shortest
// time gives at once, for instance.
type Burst struct {
	At time.Time // the second; what is smaller is cut off
	N  int       // records
}

// Generate writes n records, and those of the bursts besides, as
// [OpenNDJSON] reads them: what people at contoso do between two moments
// (from <= CreationTime < to, in whole seconds), oldest first, much of it in
// few minutes of office hours, 1.3 KB each on average. The bursts may lie
// outside of that time. No Id comes twice. For the same arguments, all bytes
// are the same. The memory it takes does not depend on n.
func Generate(w io.Writer, n int, from, to time.Time, seed uint64, bursts ...Burst) error {
	from, to = from.UTC().Add(time.Second-1).Truncate(time.Second), to.UTC()
	if n > 0 && !from.Before(to) {
		return errors.New("generating records: there is no whole second between the two moments")
	}
	g := newGenerator(w, seed)
	bursts = slices.SortedStableFunc(slices.Values(bursts), func(a, b Burst) int { return a.At.Compare(b.At) })
	pace := newPace(g.rng, from, to)
	for i := range n {
		at := pace.at((float64(i) + g.rng.Float64()) / float64(n))
		for len(bursts) > 0 && bursts[0].At.Before(at) {
			g.burst(bursts[0])
			bursts = bursts[1:]
		}
		g.one(at)
	}
	for _, b := range bursts {
		g.burst(b)
	}
	if g.flush(); g.err != nil {
		return fmt.Errorf("generating records: %w", g.err)
	}
	return nil
}

// A generator writes records of a [maker] to w as they are made.
type generator struct {
	*maker
	w      io.Writer
	err    error // of w
	staff  []*actor
	events []event
	files  map[string][]file
}

func newGenerator(w io.Writer, seed uint64) *generator {
	m := newMaker(rand.New(rand.NewPCG(seed, 3)))
	return &generator{
		maker:  m,
		w:      w,
		staff:  weigh(m.people, func(a *actor) int { return a.person.activity }),
		events: weigh(ordinary, func(e event) int { return e.weight }),
		files:  m.files(),
	}
}

func (g *generator) burst(b Burst) {
	for range b.N {
		g.one(b.At.UTC().Truncate(time.Second))
	}
}

// one makes a record.
func (g *generator) one(at time.Time) {
	who := pick(g.maker, g.staff)
	pick(g.maker, g.events).make(g.maker, moment{at, who, g.whereabouts(who, at), g.files})
	g.buf = append(g.buf, '\n')
	if len(g.buf) > 1<<16 {
		g.flush()
	}
}

func (g *generator) flush() {
	if g.err == nil {
		_, g.err = g.w.Write(g.buf)
	}
	g.buf, g.all = g.buf[:0], g.all[:0]
}

// A pace is how much happens when: in which minute, as a rule.
type pace struct {
	from time.Time
	slot time.Duration
	last time.Duration // how long the last slot is
	sums []float64     // of what happens until the end of each slot
	now  int           // the slot that was last asked for
}

// maxSlots is how many slots a pace has at most: a year of minutes.
const maxSlots = 366 * 24 * 60

func newPace(rng *rand.Rand, from, to time.Time) *pace {
	p := &pace{from: from, slot: max(time.Minute, to.Sub(from)/maxSlots)}
	sum := 0.0
	for at := from; at.Before(to); at = at.Add(p.slot) {
		p.last = min(p.slot, to.Sub(at))
		weight := float64(hours[at.Hour()]) * rng.ExpFloat64()
		if day := at.Weekday(); day == time.Saturday || day == time.Sunday {
			weight /= weekendShare
		}
		if rng.IntN(50) == 0 { // somebody copies a mailbox, or a script runs
			weight *= 10
		}
		sum += weight * float64(p.last) / float64(p.slot)
		p.sums = append(p.sums, sum)
	}
	return p
}

// at is when a part of all, from 0 to 1, has happened: a whole second. Parts
// must be asked for in their order.
func (p *pace) at(part float64) time.Time {
	want := part * p.sums[len(p.sums)-1]
	for p.now < len(p.sums)-1 && p.sums[p.now] <= want {
		p.now++
	}
	before, length := 0.0, p.slot
	if p.now > 0 {
		before = p.sums[p.now-1]
	}
	if p.now == len(p.sums)-1 {
		length = p.last
	}
	within := (want - before) / (p.sums[p.now] - before) * float64(length-1)
	return p.from.Add(time.Duration(p.now)*p.slot + time.Duration(within)).Truncate(time.Second)
}
