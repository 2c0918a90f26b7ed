package commands

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What is counted apart, at most. Further values are counted together.
const (
	maxCounted      = 100_000  // different values
	maxCountedBytes = 32 << 20 // of these values
)

// counts is how often each value of a field occurs. Of user, upper and lower
// case are the same; it is shown as it was written first.
type counts struct {
	field  string
	groups map[string]*group
	bytes  int
	total  int
	other  int // records whose value is not counted apart
}

// A group is the records with one value.
type group struct {
	value string
	n     int
}

// newCounts counts by a field.
func newCounts(field string) *counts {
	return &counts{field: field, groups: map[string]*group{}}
}

// add counts a record, by the value that it has.
func (c *counts) add(value string) {
	c.total++
	key := value
	if strings.EqualFold(c.field, "user") {
		key = strings.ToLower(value)
	}
	g := c.groups[key]
	if g == nil {
		if len(c.groups) >= maxCounted || c.bytes+len(value) > maxCountedBytes {
			c.other++
			return
		}
		g = &group{value: value}
		c.groups[key] = g
		c.bytes += len(value)
	}
	g.n++
}

// table has the n most frequent values, equal ones in the order of their text.
// "(none)" is the records that do not have the field, "(other)" those whose
// values are not counted apart, in the last row. Number writes a count.
func (c *counts) table(n int, number func(int) string) Table {
	t := Table{Columns: []string{c.field, "Records", "Share"}, Total: len(c.groups)}
	groups := slices.SortedFunc(maps.Values(c.groups), func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.value, b.value))
	})
	if c.other > 0 {
		t.Total++
		groups = append(groups[:min(len(groups), max(0, n-1))], &group{value: "(other)", n: c.other})
	}
	for _, g := range groups[:min(len(groups), n)] {
		value := cmp.Or(g.value, "(none)")
		t.Rows = append(t.Rows, []string{value, number(g.n), fmt.Sprintf("%.1f %%", 100*float64(g.n)/float64(c.total))})
	}
	return t
}

// note says what the table cannot, or "".
func (c *counts) note() string {
	if c.other == 0 {
		return ""
	}
	return fmt.Sprintf("%s has more different values than are counted apart (%s); %s records with later ones are (other)",
		c.field, Thousands(len(c.groups)), Thousands(c.other))
}
