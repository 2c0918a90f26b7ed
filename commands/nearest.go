package commands

import "strings"

// Nearest is the one of known that a person who typed name probably meant, or
// "" if none is near: at most a third of its characters differ, or it is the
// only one that begins with name (start for start_date) or contains it (search
// for o365-auditlog-search).
func Nearest(name string, known []string) string {
	name = strings.ToLower(name)
	limit := max(1, len(name)/3)
	best := ""
	for _, k := range known {
		if len(name)-len(k) > limit {
			continue // spares long lines the arithmetic
		}
		if d := distance(name, strings.ToLower(k)); d <= limit {
			best, limit = k, d-1
		}
	}
	if best != "" || len(name) < 2 {
		return best
	}
	if only := onlyOne(known, func(k string) bool { return strings.HasPrefix(k, name) }); only != "" || len(name) < 4 {
		return only
	}
	return onlyOne(known, func(k string) bool { return strings.Contains(k, name) })
}

// onlyOne is the one of known that is as asked in lower case, or "" if none or
// several are.
func onlyOne(known []string, asked func(string) bool) string {
	only := ""
	for _, k := range known {
		switch {
		case !asked(strings.ToLower(k)):
		case only != "":
			return ""
		default:
			only = k
		}
	}
	return only
}

// distance is how many typing slips lie between a and b: characters added,
// left out, exchanged, or swapped with their neighbour. (Optimal string
// alignment: what was swapped is not changed again.)
func distance(a, b string) int {
	from, to := []rune(a), []rune(b)
	before := make([]int, len(to)+1) // two rows up
	above := make([]int, len(to)+1)
	row := make([]int, len(to)+1)
	for j := range above {
		above[j] = j
	}
	for i := range from {
		row[0] = i + 1
		for j := range to {
			cost := 1
			if from[i] == to[j] {
				cost = 0
			}
			row[j+1] = min(above[j]+cost, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && from[i] == to[j-1] && from[i-1] == to[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(to)]
}
