package auditlog

import (
	"cmp"
	_ "embed"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// An Operation is a name for what was done, as records have it.
type Operation struct {
	Name     string   // "Consent to application.", "New-InboxRule"
	Friendly string   // what Microsoft's documentation calls it: "Created new inbox rule in Outlook web app"; or ""
	also     []string // what records call it as well, such as its name before it was renamed
	variants []string // what else people and tools write for it
	similar  []string // operations that it is easily taken for
}

// operationsCSV holds names of operations, collected from Microsoft's
// documentation, from records and from what public tools search for. The
// display names in the second column are Microsoft's, from Microsoft Learn
// (https://github.com/MicrosoftDocs/microsoft-365-docs and
// https://github.com/MicrosoftDocs/office-365-management-api, CC-BY-4.0,
// (c) Microsoft Corporation), unchanged. The other columns are also, variants
// and similar of [Operation], separated by semicolons, without the spellings
// that [OperationKey] takes for the same.
//
//go:embed operations.csv
var operationsCSV string

// An operationList is the list with its indexes.
type operationList struct {
	all        []Operation
	candidates []candidate             // all of them
	at         map[string]int          // where in both a Name is
	named      map[string][]*Operation // by the keys of Name, then of also, then of variants
	shown      map[string][]*Operation // by the key of Friendly
}

var operations = sync.OnceValue(func() *operationList {
	rows, err := csv.NewReader(strings.NewReader(operationsCSV)).ReadAll()
	if err != nil {
		panic(fmt.Sprintf("reading the embedded operations: %v", err))
	}
	l := &operationList{at: map[string]int{}, named: map[string][]*Operation{}, shown: map[string][]*Operation{}}
	for i, row := range rows[1:] {
		l.at[row[0]] = i
		l.all = append(l.all, Operation{row[0], row[1], listed(row[2]), listed(row[3]), listed(row[4])})
		l.candidates = append(l.candidates, candidate{row[0], letters(row[0]), letters(row[1])})
	}
	l.index(l.named, func(o *Operation) []string { return []string{o.Name} })
	l.index(l.named, func(o *Operation) []string { return o.also })
	l.index(l.named, func(o *Operation) []string { return o.variants })
	l.index(l.shown, func(o *Operation) []string { return []string{o.Friendly} })
	return l
})

// index adds every operation to m, under the keys of its names.
func (l *operationList) index(m map[string][]*Operation, names func(*Operation) []string) {
	for i := range l.all {
		o := &l.all[i]
		for _, name := range names(o) {
			if key := OperationKey(name); key != "" && !slices.Contains(m[key], o) {
				m[key] = append(m[key], o)
			}
		}
	}
}

func listed(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ";")
}

var dashes = strings.NewReplacer("\u2010", "-", "\u2011", "-", "\u2012", "-", "\u2013", "-", "\u2014", "-", "\u2015", "-", "\u2212", "-")

// OperationKey is the same for spellings of one name that differ in case, in
// blanks, in the kind of dash, and in a period at the end.
func OperationKey(name string) string {
	key := strings.Join(strings.Fields(dashes.Replace(strings.ToLower(name))), " ")
	return strings.TrimSuffix(key, ".")
}

// Operations is every operation in the list, by name. The service has more, and
// Microsoft adds new ones, so a name that is not among them may be right.
func Operations() []Operation { return slices.Clone(operations().all) }

// KnownOperation tells whether the list has what somebody typed, in any
// spelling that [FindOperations] understands.
func KnownOperation(typed string) bool {
	key, l := OperationKey(typed), operations()
	return len(l.named[key]) > 0 || len(l.shown[key]) > 0
}

// FindOperations is the names to search for, the likeliest first, when
// somebody typed this one; there is always at least one. A name that the list
// does not have is returned as it is.
//
// A name is found in upper or lower case, with or without the period at the
// end that those of Entra have, with any dash for another, whatever its
// blanks, and in the other spellings that the list knows. Its spelling in the
// list is returned and, since whether the service matches other spellings is
// not known:
//
//   - what was typed, unless it differs in case only;
//   - what else records call it: FileRecycled for FileDeleted, which was renamed.
//
// The display name in Microsoft's documentation finds every operation that has
// it ("Deleted group" has three) and is not searched for itself.
func FindOperations(typed string) []string {
	key, l := OperationKey(typed), operations()
	var names []string
	for _, o := range l.named[key] {
		names = append(append(names, o.Name), o.also...)
	}
	if len(names) > 0 {
		names = appendFolded(names, l.spelling(key, strings.TrimSpace(typed)))
	}
	for _, o := range l.shown[key] {
		names = append(append(names, o.Name), o.also...)
	}
	if len(names) == 0 {
		return []string{typed}
	}
	return unique(names)
}

// spelling is typed with the letters in the case in which the list has it.
func (l *operationList) spelling(key, typed string) string {
	for _, o := range l.named[key] {
		for _, known := range append([]string{strings.TrimSuffix(o.Name, ".")}, o.variants...) {
			if strings.EqualFold(known, typed) {
				return known
			}
		}
	}
	return typed
}

// appendFolded appends name if names do not have it in any case.
func appendFolded(names []string, name string) []string {
	if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
		return names
	}
	return append(names, name)
}

// unique is names without repetitions, in their order.
func unique(names []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(names, func(name string) bool {
		again := seen[name]
		seen[name] = true
		return again
	})
}

// Resolve is what [FindOperations] returns for all that somebody typed, each
// name once, and whether these are other names than those typed. A display
// name that has commas in it, and so was typed as several, is put together
// again: "Shared file, folder, or site".
func Resolve(typed []string) (send []string, changed bool) {
	for rest := typed; len(rest) > 0; {
		name, parts := wholeName(rest)
		send = append(send, FindOperations(name)...)
		rest = rest[parts:]
	}
	send = unique(send)
	return send, !containsAll(typed, send) || !containsAll(send, typed)
}

func containsAll(names, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(name string) bool { return !slices.Contains(names, name) })
}

// maxNameParts is how many parts separated by commas a display name has.
const maxNameParts = 3

// wholeName is the name that parts begin with, and how many of them it is.
func wholeName(parts []string) (string, int) {
	for n := min(maxNameParts, len(parts)); n > 1; n-- {
		if name := strings.Join(parts[:n], ", "); KnownOperation(name) {
			return name, n
		}
	}
	return parts[0], 1
}

// NearOperations is what somebody may have meant who typed a name that nothing
// was found for: n names at most, first those near to it of seen, the names
// that occur in the tenant, and then those of the list, the nearest first;
// none if nothing is near. What FindOperations returns for typed is not among
// them. A name that the list has is no misspelling: of the list, only those
// are offered then that it is easily taken for.
func NearOperations(typed string, seen []string, n int) []string {
	l, wanted := operations(), newProbe(typed)
	if n < 1 || wanted.letters == "" || len(typed) > maxNear {
		return nil
	}
	names := wanted.nearest(l.seen(seen))
	if KnownOperation(typed) {
		for _, o := range l.named[OperationKey(typed)] {
			names = append(names, o.similar...)
		}
	} else {
		names = append(names, wanted.nearest(l.candidates)...)
	}
	sent := FindOperations(typed)
	names = slices.DeleteFunc(unique(names), func(name string) bool { return slices.Contains(sent, name) })
	return names[:min(n, len(names))]
}

// maxNear is how many bytes a name may have for others to be near to it, which
// bounds the work. The longest name in the list has 59, the longest display
// name 63.
const maxNear = 200

// A candidate is an operation that somebody may have meant.
type candidate struct {
	name     string
	letters  string // of the name
	friendly string // the letters of the display name, or ""
}

// seen is the candidates with these names, which the list need not have.
func (l *operationList) seen(names []string) []candidate {
	var seen []candidate
	for _, name := range names {
		if i, ok := l.at[name]; ok {
			seen = append(seen, l.candidates[i])
		} else {
			seen = append(seen, candidate{name: name, letters: letters(name)})
		}
	}
	return seen
}

// A probe is what was typed, prepared for being compared with many names.
type probe struct {
	letters string
	words   []string // the letters of each word that says something
}

// newProbe prepares typed. Its words are told apart by blanks, punctuation and
// capitals: "InboxRule created" has three.
func newProbe(typed string) probe {
	p := probe{letters: letters(typed)}
	var spaced strings.Builder
	before := ' '
	for _, r := range typed {
		switch {
		case !isLetter(r):
			r = ' '
		case unicode.IsUpper(r) && !unicode.IsUpper(before):
			spaced.WriteByte(' ')
		}
		spaced.WriteRune(unicode.ToLower(r))
		before = r
	}
	for word := range strings.FieldsSeq(spaced.String()) {
		if len(word) > 3 {
			word = strings.TrimSuffix(word, "s")
		}
		if len(word) > 2 && !slices.Contains([]string{"the", "for", "and", "from", "with"}, word) {
			p.words = append(p.words, word)
		}
	}
	return p
}

// letters is the letters and digits of s, in lower case.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if !isLetter(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, s)
}

func isLetter(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// nearest is the names of candidates that are near to p, the nearest first; if
// the first differs in a slip or two, only those that differ in slips.
func (p probe) nearest(candidates []candidate) []string {
	type ranked struct {
		name string
		rank int
	}
	var near []ranked
	for _, c := range candidates {
		if rank, ok := p.rank(c); ok {
			near = append(near, ranked{c.name, rank})
		}
	}
	slices.SortFunc(near, func(a, b ranked) int { return cmp.Or(a.rank-b.rank, strings.Compare(a.name, b.name)) })
	var names []string
	for _, n := range near {
		if near[0].rank <= surely && n.rank >= contained {
			break
		}
		names = append(names, n.name)
	}
	return names
}

// The rank of a candidate says in which way it is near, and how far it is.
const (
	slipped   = 0 // at most a quarter of the characters differ
	surely    = 2 // so few differ that it can be taken for a typing mistake
	contained = 1000
	alike     = 2000 // in words
	noWord    = 1000 // for each word that is missing
	notNamed  = 300  // for each word that is in the display name only
)

// rank tells whether a candidate is near to p, and how far it is: the smaller,
// the nearer. It is near if few characters differ, if its name contains what
// was typed or is most of it, or if all words that were typed are in its name
// or its display name; a third of them may be missing if two are in its name.
func (p probe) rank(c candidate) (int, bool) {
	if slips, ok := slips(p.letters, c.letters, max(1, len(p.letters)/4)); ok {
		return slipped + slips, true
	}
	difference := max(len(c.letters)-len(p.letters), len(p.letters)-len(c.letters))
	if len(p.letters) > 3 && strings.Contains(c.letters, p.letters) ||
		2*len(c.letters) > len(p.letters) && strings.Contains(p.letters, c.letters) {
		return contained + difference, true
	}
	missing, shown := 0, 0
	for _, word := range p.words {
		switch {
		case strings.Contains(c.letters, word):
		case strings.Contains(c.friendly, word):
			shown++
		default:
			missing++
		}
	}
	named := len(p.words) - missing - shown
	return alike + noWord*missing + notNamed*shown + difference,
		len(p.words) > 0 && missing == 0 || named > 1 && 3*missing <= len(p.words)
}

// slips is how many typing slips lie between a and b: bytes added, left out,
// exchanged, or swapped with their neighbour. It is false if they are more than
// limit.
func slips(a, b string, limit int) (int, bool) {
	if max(len(a)-len(b), len(b)-len(a)) > limit {
		return 0, false
	}
	const usual = 64 // so that the rows of most names need no allocation
	before, above, row := make([]int, 0, usual), make([]int, 0, usual), make([]int, 0, usual)
	for j := range len(b) + 1 {
		before, above, row = append(before, 0), append(above, j), append(row, 0)
	}
	for i := range len(a) {
		row[0] = i + 1
		least := row[0]
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(above[j]+cost, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
			least = min(least, row[j+1])
		}
		if least > limit {
			return 0, false
		}
		before, above, row = above, row, before
	}
	return above[len(b)], above[len(b)] <= limit
}
