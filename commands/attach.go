package commands

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"auditbot/auditlog"
)

// comfortable is how large an attachment may be before it is compressed: one
// that people open in a browser and Slack shows without a download.
const comfortable = 10 << 20

// The XSOAR context around the records.
const (
	contextStart = `{"O365AuditLog": [` + "\n"
	contextEnd   = "\n]}\n"
	contextEmpty = `{"O365AuditLog": []}` + "\n"
	separator    = ",\n"
)

// countsName is the file of all counts.
const countsName = "counts.csv"

// records yields those of the answer, in its order.
func (h *hunt) records(ctx context.Context) iter.Seq2[auditlog.Record, error] {
	return func(yield func(auditlog.Record, error) bool) {
		if h.order != nil {
			for _, r := range h.order.records() {
				if !yield(r, nil) {
					return
				}
			}
			return
		}
		n := 0
		for line, err := range packedLines(ctx, h.journal.Open) {
			if n++; err == nil && n > h.written {
				return
			}
			if !yield(packedRecord(line), err) || err != nil {
				return
			}
		}
	}
}

// writeContext writes the XSOAR context, with each record's bytes as Microsoft
// sent them.
func (h *hunt) writeContext(ctx context.Context, w io.Writer) error {
	next := contextStart
	for r, err := range h.records(ctx) {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s%s", next, r.Raw); err != nil {
			return fmt.Errorf("writing a record: %w", err)
		}
		next = separator
	}
	end := contextEnd
	if h.written == 0 {
		end = contextEmpty
	}
	if _, err := io.WriteString(w, end); err != nil {
		return fmt.Errorf("writing the end of the records: %w", err)
	}
	return nil
}

// contextSize is how many bytes writeContext writes.
func (h *hunt) contextSize() int64 {
	if h.written == 0 {
		return int64(len(contextEmpty))
	}
	return int64(len(contextStart)+len(contextEnd)) + h.size + int64(h.written-1)*int64(len(separator))
}

// context is what the search adds to the context.
func (h *hunt) context() *File {
	return &File{Name: fileName(h.query, ".json"), Type: "json", Size: h.contextSize(), Open: func(ctx context.Context) (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			buffered := bufio.NewWriterSize(w, 64<<10)
			err := h.writeContext(ctx, buffered)
			if err == nil {
				err = buffered.Flush()
			}
			w.CloseWithError(err)
		}()
		return r, nil
	}}
}

// attach makes the files of the reply: the records in the format asked for, if
// there are any, and the verdict.
func (h *hunt) attach(ctx context.Context) (files []File, err error) {
	if h.NoOutputs {
		return nil, nil
	}
	if h.written > 0 {
		f, err := h.file(ctx)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	if h.counts != nil {
		f, err := h.env.Keep(ctx, countsName, func(w FileWriter) error { return writeTable(w, h.counts.table(maxCounted+1, strconv.Itoa)) })
		if err != nil {
			return nil, fmt.Errorf("keeping the counts: %w", err)
		}
		files = append(files, f)
	}
	f, err := h.env.Keep(ctx, "verdict.json", func(w FileWriter) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(h.verdict)
	})
	if err != nil {
		return nil, fmt.Errorf("keeping the verdict: %w", err)
	}
	return append(files, f), nil
}

// file is the records. Many of them are one NDJSON file with gzip, which is the
// journal as it stands if it holds just what the answer has.
func (h *hunt) file(ctx context.Context) (File, error) {
	large := h.size > comfortable
	switch {
	case h.Format == "csv":
		return h.kept(ctx, ".csv", large, func(w io.Writer) error { return writeCSV(w, h.records(ctx), h.Fields) })
	case h.Format != "ndjson" && !large:
		return h.env.Keep(ctx, fileName(h.query, ".json"), func(w FileWriter) error { return h.writeContext(ctx, w) })
	case large && h.order == nil && h.written == h.passed:
		return File{Name: fileName(h.query, ".ndjson.gz"), Type: "gzip", Size: h.journal.Size(), Open: h.journal.Open, Journal: true}, nil
	}
	return h.kept(ctx, ".ndjson", large, func(w io.Writer) error { return h.writeLines(ctx, w) })
}

// kept keeps a file that is made of the records.
func (h *hunt) kept(ctx context.Context, extension string, zipped bool, write func(io.Writer) error) (File, error) {
	if !zipped {
		return h.env.Keep(ctx, fileName(h.query, extension), func(w FileWriter) error { return write(w) })
	}
	return h.env.Keep(ctx, fileName(h.query, extension+".gz"), func(w FileWriter) error {
		zip, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // a known level cannot fail
		if err := write(zip); err != nil {
			return err
		}
		return zip.Close()
	})
}

func (h *hunt) writeLines(ctx context.Context, w io.Writer) error {
	for r, err := range h.records(ctx) {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s\n", strings.NewReplacer("\r", " ", "\n", " ").Replace(string(r.Raw))); err != nil {
			return fmt.Errorf("writing a record: %w", err)
		}
	}
	return nil
}

// howToRead tells how a compressed file is read.
func howToRead(files []File) string {
	for _, f := range files {
		switch {
		case strings.HasSuffix(f.Name, ".ndjson.gz"):
			return fmt.Sprintf("%s has one record on each line and is compressed with gzip: zcat shows it", f.Name)
		case strings.HasSuffix(f.Name, ".gz"):
			return fmt.Sprintf("%s is compressed with gzip: zcat shows it", f.Name)
		}
	}
	return ""
}

// fileName names an attachment after its range, without characters that a file
// system minds.
func fileName(q auditlog.Query, extension string) string {
	const layout = "20060102T150405Z"
	return "auditlog-" + q.Start.Format(layout) + "-" + q.End.Format(layout) + extension
}
