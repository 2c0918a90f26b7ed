package commands

import (
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"strings"
	"unicode/utf8"

	"auditbot/auditlog"
)

// csvColumns are those of a CSV file for which none were asked. AuditData is
// the record as Microsoft sent it.
var csvColumns = []string{"CreationTime", "UserId", "Operation", "Workload", "RecordType", "ip", "result", "ObjectId", "Id", "AuditData"}

// byteOrderMark is in front of CSV files, since Excel reads one without it in
// the encoding of the language that it runs in.
const byteOrderMark = "\uFEFF"

// newCSV begins a CSV file.
func newCSV(w io.Writer) (*csv.Writer, error) {
	if _, err := io.WriteString(w, byteOrderMark); err != nil {
		return nil, fmt.Errorf("writing the beginning of a CSV file: %w", err)
	}
	return csv.NewWriter(w), nil
}

// writeCSV writes records as CSV (RFC 4180, in UTF-8 with its mark, a header
// first), one column for each field, or csvColumns. CreationTime is written in UTC as in
// RFC 3339, with the Z that Microsoft leaves out.
//
// Spreadsheets run a cell that begins with =, +, - or @ as a formula, and much
// of a record was written by attackers. Such a cell, also with blanks or
// invisible characters in front, begins with an apostrophe here, which is not
// part of the record.
func writeCSV(w io.Writer, records iter.Seq2[auditlog.Record, error], columns []string) error {
	if len(columns) == 0 {
		columns = csvColumns
	}
	file, err := newCSV(w)
	if err != nil {
		return err
	}
	row := make([]string, len(columns))
	for i, column := range columns {
		row[i] = unarmed(column)
	}
	if err := file.Write(row); err != nil {
		return fmt.Errorf("writing the header of a CSV file: %w", err)
	}
	for record, err := range records {
		if err != nil {
			return err
		}
		view := record.View()
		for i, column := range columns {
			row[i] = unarmed(csvCell(view, column))
		}
		if err := file.Write(row); err != nil {
			return fmt.Errorf("writing a record as CSV: %w", err)
		}
	}
	file.Flush()
	if err := file.Error(); err != nil {
		return fmt.Errorf("writing the end of a CSV file: %w", err)
	}
	return nil
}

// writeTable writes a table as CSV, with the same guard.
func writeTable(w io.Writer, t Table) error {
	file, err := newCSV(w)
	if err != nil {
		return err
	}
	for _, row := range append([][]string{t.Columns}, t.Rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = unarmed(cell)
		}
		if err := file.Write(cells); err != nil {
			return fmt.Errorf("writing a table as CSV: %w", err)
		}
	}
	file.Flush()
	if err := file.Error(); err != nil {
		return fmt.Errorf("writing the end of a CSV file: %w", err)
	}
	return nil
}

func csvCell(v auditlog.View, column string) string {
	switch {
	case column == "AuditData":
		return string(v.Record.Raw)
	case strings.EqualFold(column, "CreationTime") && !v.Record.Time.IsZero():
		return cell(v, "time")
	}
	return cell(v, column)
}

// unarmed is a cell that no spreadsheet takes for a formula.
func unarmed(s string) string {
	if s == "" {
		return s
	}
	first := strings.TrimLeftFunc(s, func(r rune) bool { return IsBlank(r) || r < ' ' || r == utf8.RuneError })
	if strings.ContainsRune("\t\r\n", rune(s[0])) || first != "" && strings.ContainsRune("=+-@＝＋－＠−", firstRune(first)) {
		return "'" + s
	}
	return s
}

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}
