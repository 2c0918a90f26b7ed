package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"auditbot/auditlog"
	"auditbot/auditlog/sentence"
)

// A hunt is a search while it runs. It writes what it found into the command's
// journal; what it needs besides can be told from the journal again, so that a
// hunt that was interrupted goes on.
type hunt struct {
	searchArgs
	env      Env
	instance Instance
	query    auditlog.Query
	filter   *filter  // nil lets everything pass
	order    *ordered // nil leaves the newest first
	counts   *counts  // nil counts nothing
	fields   fieldNames

	journal    *Journal
	lines      *packer
	state      huntState
	looked     int   // records that were taken in this run
	passed     int   // of those, the filter
	written    int   // of those, what is in the answer
	size       int64 // of their bytes
	replayed   bool  // records come from the journal
	rows       [][]string
	raw        strings.Builder
	operations map[string]bool // that were seen, for "did you mean"
	verdict    auditlog.Verdict

	backendNote string
}

// maxSeen is how many records are surely looked at for the names of operations
// and fields that there are.
const maxSeen = 2000

// huntState is what a checkpoint holds.
type huntState struct {
	Search  json.RawMessage   `json:"search,omitempty"` // of auditlog
	Remote  map[string]string `json:"remote,omitempty"`
	From    string            `json:"from"` // the instance, or its Graph side
	Fetched int               `json:"fetched"`
	Verdict *auditlog.Verdict `json:"verdict,omitempty"` // once the search is over
}

// run searches, from the beginning or from the last checkpoint on.
func (h *hunt) run(ctx context.Context) (err error) {
	if h.journal, err = h.env.Journal(ctx); err != nil {
		return err
	}
	if err := h.readState(); err != nil {
		return err
	}
	h.lines = newPacker(h.journal.Write)
	searching, stop := h.env.cancellable(ctx)
	defer stop()
	res := h.instance.Log.Search(searching, h.query)
	if over, err := h.resume(ctx, res); err != nil || over {
		return err
	}
	res.Progress = h.env.Progress
	res.Checkpoint = func(state []byte) error {
		h.state.Search, h.state.Fetched = state, res.Fetched()
		return h.checkpoint(ctx)
	}
	if h.instance.Remote != nil {
		h.instance.Remote.tell = h.env.Progress
		h.instance.Remote.save = h.checkpoint // it comes before the first record of its window
	}
	for record, err := range res.All() {
		if err != nil {
			return err
		}
		enough, err := h.take(record)
		if err != nil {
			return err
		}
		if enough {
			res.Enough(fmt.Sprintf("newest %d that pass the filter; more exist", h.Size))
			break
		}
	}
	h.verdict = res.Verdict()
	h.judge()
	h.state.Fetched, h.state.Verdict = h.verdict.Fetched, &h.verdict
	return h.checkpoint(ctx)
}

// judge adds to the verdict what became of the records after they were
// fetched.
func (h *hunt) judge() {
	h.sort()
	switch {
	case h.written == h.passed:
	case h.counts != nil:
		h.verdict.Note(fmt.Sprintf("all %s records are counted; the newest %s are attached", Thousands(h.passed), Thousands(h.written)))
	default:
		h.verdict.AsAsked(fmt.Sprintf("%s of %s records are attached, as result_size says", Thousands(h.written), Thousands(h.passed)))
	}
	h.verdict.Records = h.written
	h.verdict.Applied = h.applied()
}

// applied is what became of the records here, for the verdict.
func (h *hunt) applied() map[string]string {
	applied := map[string]string{"result_size": h.Size.String()}
	for name, value := range map[string]string{"filter": h.Filter, "sort": h.Sort, "count_by": h.CountBy} {
		if value != "" {
			applied[name] = value
		}
	}
	return applied
}

// sort puts the records into the answer that come first in the order asked for.
func (h *hunt) sort() {
	if h.order == nil {
		return
	}
	for _, r := range h.order.records() {
		h.written++
		h.size += int64(len(r.Raw))
		h.show(r, r.View())
	}
}

// checkpoint makes what was found so far durable.
func (h *hunt) checkpoint(ctx context.Context) error {
	if err := h.lines.flush(); err != nil {
		return fmt.Errorf("writing records down: %w", err)
	}
	if h.instance.Remote != nil {
		h.state.Remote = h.instance.Remote.ids
	}
	state, err := json.Marshal(h.state)
	if err != nil {
		return fmt.Errorf("writing down how far the search is: %w", err)
	}
	return h.journal.Checkpoint(ctx, state)
}

// readState reads what the last checkpoint left. A search that was begun in one
// way goes on in it, whatever would be chosen now.
func (h *hunt) readState() error {
	if h.journal.State != nil {
		if err := json.Unmarshal(h.journal.State, &h.state); err != nil {
			return fmt.Errorf("reading how far the search was: %w", err)
		}
	}
	for _, i := range h.env.Instances {
		if i.Name == h.state.From {
			h.instance = i
		}
	}
	h.state.From = h.instance.Name
	return nil
}

// resume reads again what an interrupted run had found. Over means that it had
// found everything.
func (h *hunt) resume(ctx context.Context, res *auditlog.Results) (over bool, err error) {
	if h.journal.State == nil {
		return false, nil
	}
	if h.instance.Remote != nil {
		h.instance.Remote.ids = h.state.Remote
	}
	if err := h.replay(ctx); err != nil {
		return false, err
	}
	if h.state.Verdict != nil {
		h.verdict = *h.state.Verdict
		h.sort()
		return true, nil
	}
	if h.state.Search == nil {
		return false, nil
	}
	return false, res.Resume(h.state.Search)
}

// replay brings the records of the journal into the answer.
func (h *hunt) replay(ctx context.Context) error {
	h.replayed = true
	defer func() { h.replayed = false }()
	for line, err := range packedLines(ctx, h.journal.Open) {
		if err != nil {
			return fmt.Errorf("reading what the search had found: %w", err)
		}
		r := packedRecord(line)
		if err := h.keep(r, h.look(r)); err != nil {
			return err
		}
	}
	return nil
}

// early tells whether the hunt may end as soon as enough records have passed:
// the newest ones, unless all are needed for an order or a count.
func (h *hunt) early() bool {
	return h.filter != nil && h.order == nil && h.counts == nil && h.Size > 0
}

// take deals with a record that was fetched. Enough means that it is one more
// than was asked for.
func (h *hunt) take(r auditlog.Record) (enough bool, err error) {
	view := h.look(r)
	if h.filter != nil {
		if ok, err := h.filter.passes(view); err != nil || !ok {
			return false, err
		}
	}
	if h.early() && h.passed == int(h.Size) {
		return true, nil
	}
	if err := h.keep(r, view); err != nil {
		return false, err
	}
	return false, nil
}

// look decodes a record if there is a reason to: of a million, most need not
// be.
func (h *hunt) look(r auditlog.Record) (view auditlog.View) {
	h.looked++
	if h.looked > maxSeen && h.filter == nil && h.counts == nil && h.fields.settled() {
		return view
	}
	view = r.View()
	if len(h.operations) < maxSeen {
		h.operations[view.Text("Operation")] = true
	}
	if h.looked <= maxSeen || !h.fields.settled() {
		h.fields.add(view)
	}
	return view
}

// keep writes down a record that passed, counts it, and puts it into the answer
// if that has room.
func (h *hunt) keep(r auditlog.Record, view auditlog.View) error {
	h.passed++
	if h.counts != nil {
		h.counts.add(view.Text(h.CountBy))
	}
	if h.order != nil {
		if err := h.order.add(r); err != nil {
			return err
		}
	} else if h.Size == 0 || h.written < int(h.Size) {
		h.written++
		h.size += int64(len(r.Raw))
		h.show(r, view)
	}
	if h.replayed {
		return nil
	}
	return h.lines.write(r.Raw)
}

// show puts a record into the reply's table.
func (h *hunt) show(r auditlog.Record, view auditlog.View) {
	if h.Raw && h.raw.Len() < maxShownRaw {
		fmt.Fprintf(&h.raw, "%s\n", r.Raw)
	}
	if len(h.rows) >= maxRows {
		return
	}
	if h.View == viewExplain {
		h.rows = append(h.rows, []string{moment(r.Time), sentence.Of(r)})
		return
	}
	if len(h.Fields) == 0 {
		h.rows = append(h.rows, cells(r.Row()))
		return
	}
	var row []string
	for _, field := range h.Fields {
		row = append(row, cell(view, field))
	}
	h.rows = append(h.rows, row)
}

// seen is the names of the operations that were seen, sorted.
func (h *hunt) seen() []string {
	var names []string
	for name := range h.operations {
		if name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// cancellable is ctx that ends when the person who asked wants no more.
func (e Env) cancellable(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	select {
	case <-e.Cancelled: // before the search began: then nothing is to be asked at all
		cancel(auditlog.ErrCancelled)
	default:
	}
	go func() {
		select {
		case <-e.Cancelled: // never, if it is nil
			cancel(auditlog.ErrCancelled)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}
