package commands

import (
	"context"

	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"auditbot/auditlog"
)

// maxRows is how many records a reply's table shows; the file has them all.
const maxRows = 50

const searchName = "o365-auditlog-search"

// maxFetch is how many records a filter looks at if nothing else is said.
const maxFetch = 50_000

// maxShownRaw is how many bytes of JSON raw-response shows.
const maxShownRaw = 16 << 10

type searchArgs struct {
	Start      When     `arg:"start_date" help:"earliest event: 2026-11-01, \"2026-11-01 09:00\", 11/01/26, yesterday, \"3 days\" back from now"`
	End        When     `arg:"end_date" help:"end of the range, not included; now if left out"`
	FreeText   string   `arg:"free_text" help:"text that occurs in the record"`
	Types      []string `arg:"record_type" help:"names or numbers of record types, separated by commas: ExchangeAdmin, 15; or a group: Exchange, SharePoint, Entra, Teams, Defender"`
	IPs        []string `arg:"ip_addresses" help:"client addresses, separated by commas"`
	Operations []string `arg:"operations" help:"operations, separated by commas, by name or display name: New-InboxRule, \"Update group\""`
	Users      []string `arg:"user_ids" help:"who did it: user principal names, separated by commas"`
	Objects    []string `arg:"object_ids" help:"on what: URLs of files or sites (ending in * for all of a site), names of Entra objects"`
	Sites      []string `arg:"site_ids" help:"GUIDs of SharePoint sites"`
	Size       Size     `arg:"result_size" help:"the newest how many, 1 to 1000000, or all"`
	Filter     string   `arg:"filter" help:"what a record must be like, in terms of its fields and of ip, user, session, app, result: 'Operation == \"New-InboxRule\" and ip startsWith \"203.\"'"`
	MaxFetch   Size     `arg:"max_fetch" help:"with filter, sort or count_by: how many records are looked at, or all"`
	Fields     []string `arg:"fields" help:"columns of the table, separated by commas: CreationTime, user, ip, Item.Subject, Parameters.ForwardTo"`
	View       string   `arg:"view" help:"explain: the table says of each record in one sentence what happened"`
	Sort       string   `arg:"sort" help:"field to sort by; with a - in front from the highest on"`
	CountBy    string   `arg:"count_by" help:"field whose values are counted: Operation, user, ip"`
	Format     string   `arg:"format" help:"of the attached records: json, ndjson (one record on each line) or csv"`
	Verify     bool     `arg:"verify" help:"true: fetch everything twice and compare"`
	Backend    string   `arg:"backend" help:"exchange, graph or auto; the instance's setting if left out"`
	Using      string   `arg:"using" help:"the instance to search; the first configured one if left out"`
	Raw        bool     `arg:"raw-response" help:"true: show the JSON instead of a table"`
	NoOutputs  bool     `arg:"ignore-outputs" help:"true: attach no file"`
}

func search(ctx context.Context, env Env, a searchArgs) (Reply, error) {
	instance, err := env.instance(a.Using)
	if err != nil {
		return Reply{}, err
	}
	h, err := newHunt(ctx, env, instance, a)
	if err != nil {
		return Reply{}, err
	}
	if err := h.run(ctx); err != nil {
		return Reply{}, h.instance.failed(err)
	}
	return h.reply(ctx)
}

// newHunt checks what the binder cannot.
func newHunt(ctx context.Context, env Env, instance Instance, a searchArgs) (h *hunt, err error) {
	h = &hunt{searchArgs: a, env: env, instance: instance, operations: map[string]bool{}}
	if h.query, err = a.query(env.Now); err != nil {
		return nil, err
	}
	if a.Filter != "" {
		if h.filter, err = newFilter(a.Filter); err != nil {
			return nil, named(err, "filter")
		}
	}
	if a.MaxFetch != maxFetch && a.Filter == "" && a.Sort == "" && a.CountBy == "" {
		return nil, mistakef("max_fetch goes with filter, sort or count_by").hintf("a plain search is bounded by result_size: result_size=1000")
	}
	if a.Sort != "" {
		if a.Size == 0 || a.Size > maxOrdered {
			return nil, mistakef("sort: at most %s records can be sorted", Thousands(maxOrdered)).hintf("give a limit: result_size=1000")
		}
		h.order = newOrdered(a.Sort, int(a.Size))
	}
	if a.CountBy != "" {
		h.counts = newCounts(a.CountBy)
	}
	if !slices.Contains([]string{"json", "ndjson", "csv"}, a.Format) {
		return nil, mistakef("format: %q is not a format", Shorten(a.Format, 60)).hintf("write format=json, format=ndjson or format=csv")
	}
	if err := a.checkView(); err != nil {
		return nil, err
	}
	for name, field := range map[string]string{"sort": a.Sort, "count_by": a.CountBy} {
		if strings.ContainsAny(field, ", ") {
			return nil, mistakef("%s takes one field, and %q is more", name, Shorten(field, 60)).hintf("write %s=user", name)
		}
	}
	h.fields.want(h.fieldsAsked()...)
	if h.filter != nil {
		h.fields.want(h.filter.fields()...)
	}
	return h, h.choose(ctx)
}

// viewExplain is the view that says what happened.
const viewExplain = "explain"

// checkView is a [*Mistake] if there is no such view, or another argument wants
// another table.
func (a searchArgs) checkView() error {
	switch {
	case a.View == "":
		return nil
	case a.View != viewExplain:
		return mistakef("view: %q is not a view", Shorten(a.View, 60)).hintf("write view=explain, or leave it out for the columns")
	case len(a.Fields) > 0 || a.CountBy != "" || a.Raw:
		return mistakef("view=explain is a table of its own, and fields, count_by and raw-response are another").hintf("leave view out, or these")
	}
	return nil
}

// query checks the arguments that Microsoft gets, and resolves dates and names.
func (a searchArgs) query(now time.Time) (auditlog.Query, error) {
	start, end, err := searchRange(a.Start, a.End, now)
	if err != nil {
		return auditlog.Query{}, err
	}
	types, err := recordTypes(a.Types)
	if err != nil {
		return auditlog.Query{}, err
	}
	for _, ip := range a.IPs {
		if err := checkAddress(ip); err != nil {
			return auditlog.Query{}, err
		}
	}
	for _, site := range a.Sites {
		if !guid.MatchString(site) {
			return auditlog.Query{}, mistakef("site_ids: %q is not a GUID", site).
				hintf(`site_ids takes GUIDs such as 5c5c8de6-0c1d-4a5f-9d3e-2f0e8a1b7c4d; for a URL use object_ids="https://contoso.sharepoint.com/sites/finance/*"`)
		}
	}
	operations, _ := auditlog.Resolve(a.Operations)
	q := auditlog.Query{
		Start: start, End: end,
		Operations: operations, UserIDs: a.Users, IPAddresses: a.IPs, ObjectIDs: a.Objects, SiteIDs: a.Sites,
		RecordTypes: types, FreeText: a.FreeText, Newest: int(a.Size), Verify: a.Verify,
	}
	if a.Filter != "" || a.Sort != "" || a.CountBy != "" {
		q.Newest, q.MaxFetch = 0, int(a.MaxFetch)
	}
	return q, nil
}

// searchRange resolves the two dates: whole seconds, the last one counted in.
func searchRange(from, to When, now time.Time) (start, end time.Time, err error) {
	if start, err = from.Time(now); err != nil {
		return start, end, named(err, "start_date")
	}
	end = now.UTC().Add(time.Second - 1).Truncate(time.Second)
	if !to.IsZero() {
		if end, err = to.End(now); err != nil {
			return start, end, named(err, "end_date")
		}
	}
	if !start.Before(end) {
		return start, end, mistakef("start_date (%s UTC) is not before end_date (%s UTC)", start.Format(time.DateTime), end.Format(time.DateTime)).
			hintf("a date alone is 00:00 UTC: to search one whole day, end with the next: start_date=%s end_date=%s",
				start.Format(time.DateOnly), start.AddDate(0, 0, 1).Format(time.DateOnly))
	}
	return start, end, nil
}

// recordTypes are the service's names for what was typed. An unknown one is
// refused here, since the service takes an unknown prefix and finds nothing.
func recordTypes(typed []string) (names []string, err error) {
	for _, one := range typed {
		types, ok := auditlog.FindRecordTypes(one)
		if !ok {
			return nil, unknownRecordType(one)
		}
		for _, t := range types {
			if !slices.Contains(names, t.Name) {
				names = append(names, t.Name)
			}
		}
	}
	return names, nil
}

func unknownRecordType(typed string) error {
	known := auditlog.RecordTypeGroups()
	for _, t := range auditlog.RecordTypes() {
		known = append(known, t.Name)
	}
	m := mistakef("there is no record type %q", Shorten(typed, 60))
	if near := Nearest(typed, known); near != "" {
		return m.hintf("did you mean record_type=%s?", near)
	}
	return m.hintf("names and numbers are in Microsoft's list of AuditLogRecordType; common ones: ExchangeAdmin (1), ExchangeItem (2), "+
		"SharePointFileOperation (6), AzureActiveDirectory (8), AzureActiveDirectoryStsLogon (15), MicrosoftTeams (25), ExchangeItemAggregated (50); groups: %s",
		strings.Join(auditlog.RecordTypeGroups(), ", "))
}

// checkAddress refuses what the service would silently match nothing with.
func checkAddress(s string) error {
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	if _, err := netip.ParseAddrPort(s); err == nil {
		return nil
	}
	m := mistakef("ip_addresses: %q is not an IP address", Shorten(s, 60))
	if _, err := netip.ParsePrefix(s); err == nil {
		return m.hintf("the audit log finds single addresses only, not ranges: ip_addresses=203.0.113.9,203.0.113.10")
	}
	return m.hintf("write it as ip_addresses=203.0.113.9 or ip_addresses=2001:db8::9")
}

var guid = regexp.MustCompile(`(?i)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

var columns = []string{"Time (UTC)", "User", "Operation", "Workload", "Client IP", "Result", "Object"}

// explained are the columns of view=explain.
var explained = []string{columns[0], "What happened"}

func cells(r auditlog.Row) []string {
	return []string{moment(r.Time), r.User, r.Operation, r.Workload, r.ClientIP, r.Result, r.Object}
}

// moment is a time as tables show it, "" if there is none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.DateTime)
}
