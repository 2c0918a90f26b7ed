package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"auditbot/auditlog"
)

// reply is the answer to a hunt that is over.
func (h *hunt) reply(ctx context.Context) (Reply, error) {
	if err := h.fields.misspelt(h.fieldsAsked()); err != nil && h.passed > 0 {
		return Reply{}, err
	}
	files, err := h.attach(ctx)
	if err != nil {
		return Reply{}, err
	}
	r := Reply{
		Title:   title(h.query, h.counted()),
		Verdict: &h.verdict,
		Files:   files,
		Offers:  h.offers(),
	}
	if !h.NoOutputs {
		r.Context = h.context()
	}
	if h.Raw {
		r.Code = h.shownRaw()
	} else {
		r.Table = h.table()
	}
	notes := append(h.notes(), howToRead(files), h.suggestion(ctx))
	r.Text = strings.Join(slices.DeleteFunc(notes, func(s string) bool { return s == "" }), "\n")
	h.remember(ctx)
	return r, nil
}

// counted is how many records the answer is about.
func (h *hunt) counted() int {
	if h.counts != nil {
		return h.passed
	}
	return h.written
}

// fieldsAsked are the fields that the answer is made of.
func (h *hunt) fieldsAsked() []string {
	fields := slices.Clone(h.Fields)
	if h.Sort != "" {
		fields = append(fields, strings.TrimPrefix(h.Sort, "-"))
	}
	if h.CountBy != "" {
		fields = append(fields, h.CountBy)
	}
	return fields
}

// table is what is read first: the counts that were asked for, or the records.
func (h *hunt) table() Table {
	switch {
	case h.counts != nil:
		t := h.counts.table(maxRows, Thousands)
		t.Rest = countsName
		return t
	case h.written == 0:
		return Table{}
	case len(h.Fields) > 0:
		return Table{Columns: h.Fields, Rows: h.rows, Total: h.written}
	case h.View == viewExplain:
		return Table{Columns: explained, Rows: h.rows, Total: h.written}
	}
	return Table{Columns: columns, Rows: h.rows, Total: h.written}
}

func (h *hunt) shownRaw() string {
	lines := strings.Split(strings.TrimSuffix(h.raw.String(), "\n"), "\n")
	if h.written == 0 {
		return contextEmpty
	}
	end := contextEnd
	if len(lines) < h.written {
		end = fmt.Sprintf(",\n… and %s more", Thousands(h.written-len(lines)))
	}
	return contextStart + strings.Join(lines, separator) + end
}

// notes say what was done that the title does not say.
func (h *hunt) notes() (notes []string) {
	if h.env.tenants() > 1 {
		notes = append(notes, "in "+h.instance.Name+" ("+h.instance.Tenant+")")
	}
	if h.backendNote != "" {
		notes = append(notes, h.backendNote, h.submissions())
	}
	if _, changed := auditlog.Resolve(h.Operations); changed {
		notes = append(notes, "operations sent: "+quoted(h.query.Operations))
	}
	if len(h.query.RecordTypes) > 0 && !slices.Equal(h.query.RecordTypes, h.Types) {
		notes = append(notes, "record types sent: "+strings.Join(h.query.RecordTypes, ", "))
	}
	if h.filter != nil {
		notes = append(notes, h.passing())
	}
	notes = append(notes, h.misnamed())
	if h.counts != nil {
		notes = append(notes, h.counts.note())
	}
	if h.NoOutputs {
		notes = append(notes, "no file is attached (ignore-outputs=true)")
	}
	return notes
}

// passing says how many of how many records the filter let pass.
func (h *hunt) passing() string {
	verb := "pass"
	if h.passed == 1 {
		verb = "passes"
	}
	if h.early() && h.passed == int(h.Size) {
		return fmt.Sprintf("the newest %s that pass the filter; %s records were read to find them", Thousands(h.passed), Thousands(h.verdict.Fetched))
	}
	return fmt.Sprintf("%s of %s fetched %s the filter", Thousands(h.passed), Thousands(h.verdict.Fetched), verb)
}

// misnamed warns of fields that none of the records has: a column stays empty
// for it, and a filter lets nothing pass if it was misspelt.
func (h *hunt) misnamed() string {
	names := h.fieldsAsked()
	if h.filter != nil {
		names = append(names, h.filter.fields()...)
	}
	m, ok := errors.AsType[*Mistake](h.fields.check(names))
	if !ok || h.verdict.Fetched == 0 {
		return ""
	}
	return fmt.Sprintf("%s%s, of the %s that were read; %s", warning, m.Problem, Thousands(h.looked), m.Hint)
}

// quoted is names with quotes around them, since some end with a blank or hold
// a comma.
func quoted(names []string) string {
	var all []string
	for _, name := range names {
		all = append(all, `"`+name+`"`)
	}
	return strings.Join(all, ", ")
}

// suggestion is what somebody may have meant whose operations were not found.
func (h *hunt) suggestion(ctx context.Context) string {
	if h.verdict.Fetched > 0 || len(h.Operations) == 0 {
		return ""
	}
	var seen []string
	if h.instance.Seen != nil {
		seen, _ = h.instance.Seen(ctx) // without it, the known names are enough
	}
	var near []string
	for _, name := range h.Operations {
		near = append(near, auditlog.NearOperations(name, seen, 3)...)
	}
	if len(near) == 0 {
		return ""
	}
	return "did you mean " + quoted(near) + "?"
}

// remember adds the operations that were seen to those of the tenant.
func (h *hunt) remember(ctx context.Context) {
	if h.instance.See == nil || len(h.operations) == 0 {
		return
	}
	if err := h.instance.See(ctx, h.seen()); err != nil {
		slog.WarnContext(ctx, "remembering names of operations", "err", err)
	}
}

// offers are the searches that one would ask next: where Microsoft's filters
// matched nothing, the same without one of them and with ours instead, and
// without any of them.
func (h *hunt) offers() (offers []Offer) {
	if h.verdict.Fetched > 0 {
		return nil
	}
	var names, filters []string
	for _, o := range []struct {
		name, label, filter string
		given               bool
	}{
		{"ip_addresses", "Search all records for this address", addressFilter(h.IPs), len(h.IPs) > 0},
		{"user_ids", "Search all records for this person", personFilter(h.Users), len(h.Users) > 0},
		{"free_text", "Search all records for this text", "lower(text) contains " + literal(strings.ToLower(h.FreeText)), h.FreeText != ""},
	} {
		if o.given {
			offers = append(offers, Offer{Label: o.label, Line: h.lineWithout([]string{o.name}, o.filter)})
			names, filters = append(names, o.name), append(filters, "("+o.filter+")")
		}
	}
	if len(names) > 1 {
		offers = append(offers, Offer{Label: "Search all records for all of these", Line: h.lineWithout(names, strings.Join(filters, " and "))})
	}
	return offers
}

func addressFilter(ips []string) string {
	var all []string
	for _, ip := range ips {
		if a, ok := auditlog.ParseAddress(ip); ok {
			ip = a.String()
		}
		all = append(all, literal(ip))
	}
	return "ip in [" + strings.Join(all, ", ") + "]"
}

func personFilter(users []string) string {
	var all []string
	for _, user := range users {
		all = append(all, "lower(user) contains "+literal(strings.ToLower(user)), "lower(ObjectId) contains "+literal(strings.ToLower(user)))
	}
	return strings.Join(all, " or ")
}

// literal is a text as a filter has it.
func literal(s string) string { return fmt.Sprintf("%q", s) }

// lineWithout is the command line of this search without some of Microsoft's
// filters and with one of ours. Its dates are fixed, so that the range stays
// the same whenever it is run.
func (h *hunt) lineWithout(names []string, filter string) string {
	line := []string{h.env.Prefix + searchName}
	usual := map[string]string{}
	if c, ok := find(searchName); ok {
		for _, a := range arguments(c.args) {
			usual[a.name] = a.fallback
		}
	}
	for _, a := range arguments(h.searchArgs) {
		value := a.value.Interface()
		switch {
		case slices.Contains(names, a.name):
			continue
		case a.name == "start_date":
			value = h.query.Start.Format(time.RFC3339)
		case a.name == "end_date":
			value = h.query.End.Format(time.RFC3339)
		case a.name == "filter" && h.Filter != "" && filter != "":
			value = "(" + h.Filter + ") and (" + filter + ")"
		case a.name == "filter" && filter != "":
			value = filter
		case a.fallback == usual[a.name] && !(a.value.IsZero() && usual[a.name] != ""):
			continue
		}
		if list, ok := value.([]string); ok {
			value = strings.Join(list, ",")
		}
		line = append(line, a.name+"="+quote(fmt.Sprint(value)))
	}
	return strings.Join(line, " ")
}

func title(q auditlog.Query, n int) string {
	found := Thousands(n) + " records"
	switch n {
	case 0:
		found = "no records found"
	case 1:
		found = "1 record"
	}
	return fmt.Sprintf("Audit log from %s to %s UTC: %s", q.Start.Format(time.DateTime), q.End.Format(time.DateTime), found)
}
