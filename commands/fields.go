package commands

import (
	"slices"
	"strings"

	"auditbot/auditlog"
)

// cell is the value of a field in a table or file: times in UTC, nothing as "".
func cell(v auditlog.View, field string) string { return v.Text(field) }

// maxNames is how many names of fields are remembered, for "did you mean".
const maxNames = 5000

// fieldNames are the names of the fields of the records that it was shown. The
// zero value is ready.
type fieldNames struct {
	wanted []string        // fields whose absence is to be certain
	found  map[string]bool // those of wanted that some record has
	names  map[string]bool // of fields, and of what stands in them where wanted asks for that
}

// want makes add look out for fields. Without it, check knows only the names of
// the fields of AuditData, not of what stands in them.
func (n *fieldNames) want(fields ...string) { n.wanted = append(n.wanted, fields...) }

// settled tells whether every wanted field was found, so that nothing more need
// be added.
func (n *fieldNames) settled() bool {
	return !slices.ContainsFunc(n.wanted, func(field string) bool { return !n.found[field] })
}

// add looks at a record.
func (n *fieldNames) add(v auditlog.View) {
	if n.names == nil {
		n.names, n.found = map[string]bool{}, map[string]bool{}
	}
	n.remember("", v.Names(""))
	for _, field := range n.wanted {
		if n.found[field] {
			continue
		}
		if _, n.found[field] = v.Get(field); n.found[field] {
			continue
		}
		for parent, rest, ok := strings.Cut(field, "."); ok; {
			n.remember(parent+".", v.Names(parent))
			var next string
			next, rest, ok = strings.Cut(rest, ".")
			parent += "." + next
		}
	}
}

func (n *fieldNames) remember(prefix string, names []string) {
	for _, name := range names {
		if len(n.names) < maxNames {
			n.names[prefix+name] = true
		}
	}
}

// check is a [*Mistake] if no record has one of these fields. A virtual field is
// never missing, it only may be empty everywhere.
func (n *fieldNames) check(fields []string) error {
	for _, field := range fields {
		if !n.has(field) {
			return n.unknown(field)
		}
	}
	return nil
}

// misspelt is a [*Mistake] if no record has one of these fields and one has a
// field that is called nearly so.
func (n *fieldNames) misspelt(fields []string) error {
	for _, field := range fields {
		if n.has(field) {
			continue
		}
		for name := range n.names {
			if len(field) > 4 && distance(strings.ToLower(field), strings.ToLower(name)) <= 2 {
				return n.unknown(field)
			}
		}
	}
	return nil
}

func (n *fieldNames) has(field string) bool {
	if n.found[field] || slices.Contains(auditlog.VirtualFields(), strings.ToLower(field)) {
		return true
	}
	if slices.Contains(n.wanted, field) {
		return false
	}
	first, _, _ := strings.Cut(field, ".")
	for name := range n.names {
		if strings.EqualFold(name, first) {
			return true
		}
	}
	return false
}

func (n *fieldNames) unknown(field string) error {
	known := auditlog.VirtualFields()
	for name := range n.names {
		known = append(known, name)
	}
	slices.Sort(known)
	m := mistakef("no record has the field %q", Shorten(Visible(field), 60))
	if near := Nearest(field, known); near != "" {
		return m.hintf("did you mean %s?", Visible(near))
	}
	return m.hintf("fields are those of AuditData, such as Operation, ObjectId, Item.Subject or Parameters.ForwardTo, and %s", strings.Join(auditlog.VirtualFields(), ", "))
}
