package commands

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"auditbot/auditlog"
)

// maxRows is how many records a reply's table shows; the file has them all.
const maxRows = 50

type searchArgs struct {
	Start      When     `arg:"start_date" help:"earliest event: 2026-11-01, \"2026-11-01 09:00\", 11/01/26, yesterday, \"3 days\" back from now"`
	End        When     `arg:"end_date" help:"end of the range, not included; now if left out"`
	FreeText   string   `arg:"free_text" help:"text that occurs in the record"`
	RecordType string   `arg:"record_type" help:"name or number of a record type: ExchangeAdmin, 15"`
	IPs        []string `arg:"ip_addresses" help:"client addresses, separated by commas"`
	Operations []string `arg:"operations" help:"operations, separated by commas; those of Entra end with a period: \"Update group.\""`
	Users      []string `arg:"user_ids" help:"who did it: user principal names, separated by commas"`
	Objects    []string `arg:"object_ids" help:"on what: URLs of files or sites (ending in * for all of a site), names of Entra objects"`
	Sites      []string `arg:"site_ids" help:"GUIDs of SharePoint sites"`
	Size       int      `arg:"result_size" help:"the newest how many, 1 to 5000"`
	Using      string   `arg:"using" help:"the instance to search; the first configured one if left out"`
	Raw        bool     `arg:"raw-response" help:"true: show the JSON instead of a table"`
	NoOutputs  bool     `arg:"ignore-outputs" help:"true: attach no file"`
}

func search(ctx context.Context, env Env, a searchArgs) (Reply, error) {
	instance, err := env.instance(a.Using)
	if err != nil {
		return Reply{}, err
	}
	q, err := a.query(env.Now)
	if err != nil {
		return Reply{}, err
	}
	res := instance.Log.Search(ctx, q)
	found := findings{keepRaw: a.Raw}
	reply := Reply{}
	if a.NoOutputs {
		err = found.write(io.Discard, res)
	} else {
		var file File
		file, err = env.Keep(ctx, fileName(q), func(w FileWriter) error { return found.write(w, res) })
		reply.Context = &file
	}
	if err != nil {
		return Reply{}, instance.failed(err)
	}
	verdict := res.Verdict()
	reply.Title = title(q, verdict.Records)
	reply.Verdict = &verdict
	reply.Text = found.summary(a)
	if len(env.Instances) > 1 {
		reply.Text = strings.TrimSpace("in " + instance.Name + " (" + instance.Tenant + ")\n" + reply.Text)
	}
	if a.Raw {
		reply.Code = found.raw.String()
	} else {
		reply.Table = found.table(verdict.Records)
	}
	return reply, nil
}

// query checks what the binder cannot and resolves the dates.
func (a searchArgs) query(now time.Time) (auditlog.Query, error) {
	if a.Size < 1 || a.Size > 5000 {
		return auditlog.Query{}, mistakef("result_size is %d", a.Size).hintf("give a number from 1 to %d: result_size=100", 5000)
	}
	start, end, err := searchRange(a.Start, a.End, now)
	if err != nil {
		return auditlog.Query{}, err
	}
	recordType, err := recordType(a.RecordType)
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
	return auditlog.Query{
		Start: start, End: end,
		Operations: a.Operations, UserIDs: a.Users, IPAddresses: a.IPs, ObjectIDs: a.Objects, SiteIDs: a.Sites,
		RecordTypes: recordTypes(recordType), FreeText: a.FreeText, Newest: a.Size,
	}, nil
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

// recordType is the service's name for what was typed. An unknown one is
// refused here, since the service takes an unknown prefix and finds nothing.
func recordType(typed string) (string, error) {
	if typed == "" {
		return "", nil
	}
	if t, ok := auditlog.FindRecordType(typed); ok {
		return t.Name, nil
	}
	var known []string
	for _, t := range auditlog.RecordTypes() {
		known = append(known, t.Name)
	}
	m := mistakef("there is no record type %q", shorten(typed, 60))
	if near := Nearest(typed, known); near != "" {
		return "", m.hintf("did you mean record_type=%s?", near)
	}
	return "", m.hintf("names and numbers are in Microsoft's list of AuditLogRecordType; common ones: ExchangeAdmin (1), ExchangeItem (2), " +
		"SharePointFileOperation (6), AzureActiveDirectory (8), AzureActiveDirectoryStsLogon (15), MicrosoftTeams (25), ExchangeItemAggregated (50)")
}

func recordTypes(name string) []string {
	if name == "" {
		return nil
	}
	return []string{name}
}

// checkAddress refuses what the service would silently match nothing with.
func checkAddress(s string) error {
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	if _, err := netip.ParseAddrPort(s); err == nil {
		return nil
	}
	m := mistakef("ip_addresses: %q is not an IP address", shorten(s, 60))
	if _, err := netip.ParsePrefix(s); err == nil {
		return m.hintf("the audit log finds single addresses only, not ranges: ip_addresses=203.0.113.9,203.0.113.10")
	}
	return m.hintf("write it as ip_addresses=203.0.113.9 or ip_addresses=2001:db8::9")
}

var guid = regexp.MustCompile(`(?i)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// findings collects what a reply shows while the records stream by.
type findings struct {
	rows    [][]string
	raw     strings.Builder
	keepRaw bool
}

// write writes the XSOAR context, {"O365AuditLog": [...]}, with each record's
// bytes as Microsoft sent them.
func (f *findings) write(w io.Writer, res *auditlog.Results) error {
	if f.keepRaw {
		w = io.MultiWriter(w, &f.raw)
	}
	separator := `{"O365AuditLog": [` + "\n"
	for record, err := range res.All() {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s%s", separator, record.Raw); err != nil {
			return fmt.Errorf("writing a record: %w", err)
		}
		separator = ",\n"
		if len(f.rows) < maxRows {
			f.rows = append(f.rows, cells(record.Row()))
		}
	}
	end := "\n]}\n"
	if len(f.rows) == 0 {
		end = `{"O365AuditLog": []}` + "\n"
	}
	if _, err := io.WriteString(w, end); err != nil {
		return fmt.Errorf("writing the end of the records: %w", err)
	}
	return nil
}

var columns = []string{"Time (UTC)", "User", "Operation", "Workload", "Client IP", "Result", "Object"}

func cells(r auditlog.Row) []string {
	when := ""
	if !r.Time.IsZero() {
		when = r.Time.Format(time.DateTime)
	}
	return []string{when, r.User, r.Operation, r.Workload, r.ClientIP, r.Result, r.Object}
}

func (f *findings) table(total int) Table {
	if total == 0 {
		return Table{}
	}
	return Table{Columns: columns, Rows: f.rows, Total: total}
}

// summary says what the table leaves out.
func (f *findings) summary(a searchArgs) string {
	if a.NoOutputs {
		return "no file is attached (ignore-outputs=true)"
	}
	return ""
}

func title(q auditlog.Query, n int) string {
	found := fmt.Sprintf("%d records", n)
	switch n {
	case 0:
		found = "no records found"
	case 1:
		found = "1 record"
	}
	return fmt.Sprintf("Audit log from %s to %s UTC: %s", q.Start.Format(time.DateTime), q.End.Format(time.DateTime), found)
}

// fileName names the attachment after its range, without characters that a
// file system minds.
func fileName(q auditlog.Query) string {
	const layout = "20060102T150405Z"
	return "auditlog-" + q.Start.Format(layout) + "-" + q.End.Format(layout) + ".json"
}
