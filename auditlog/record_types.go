package auditlog

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A RecordType is a kind of record: which part of Microsoft 365 wrote it, and
// with which schema.
type RecordType struct {
	Number   int    // as in AuditData's RecordType: 15
	Name     string // as the service takes it and shows it: "AzureActiveDirectoryStsLogon"
	DocsName string // what Microsoft's documentation calls it, where that differs ("Viva Engage" for Yammer), or ""
}

// recordTypesCSV holds the members of the enumeration auditLogRecordType
// (namespace microsoft.graph.security) with their numbers, as in
// https://github.com/microsoftgraph/msgraph-metadata (MIT License, Copyright
// (c) Microsoft Corporation). Two historic types (26 and 27), 367, and the
// names of the third column are from the AuditLogRecordType table of
// https://github.com/MicrosoftDocs/office-365-management-api (CC-BY-4.0). Where
// the two disagree about a number (79, 187, 217, 365 to 387, 422, 431), the
// enumeration is right and the table's name is left out: it is the name of
// another type.
//
//go:embed record_types.csv
var recordTypesCSV string

var recordTypes = sync.OnceValue(func() []RecordType {
	rows, err := csv.NewReader(strings.NewReader(recordTypesCSV)).ReadAll()
	if err != nil {
		panic(fmt.Sprintf("reading the embedded record types: %v", err))
	}
	var types []RecordType
	for _, row := range rows[1:] {
		number, err := strconv.Atoi(row[0])
		if err != nil {
			panic(fmt.Sprintf("reading the embedded record types: %v", err))
		}
		types = append(types, RecordType{Number: number, Name: row[1], DocsName: row[2]})
	}
	return types
})

// RecordTypes is every known record type, by number. The service has more
// than Microsoft lists, so a record may have a number that is not among them.
func RecordTypes() []RecordType { return slices.Clone(recordTypes()) }

// FindRecordType looks a record type up by its name, its name in the
// documentation or its number, in upper or lower case: "azureactivedirectory",
// "Viva Engage", "15". A name counts before a name in the documentation.
func FindRecordType(nameOrNumber string) (RecordType, bool) {
	wanted := strings.TrimSpace(nameOrNumber)
	if number, err := strconv.Atoi(wanted); err == nil {
		return lastRecordType(func(t RecordType) bool { return t.Number == number })
	}
	if wanted == "" {
		return RecordType{}, false
	}
	if t, ok := lastRecordType(func(t RecordType) bool { return strings.EqualFold(t.Name, wanted) }); ok {
		return t, true
	}
	return lastRecordType(func(t RecordType) bool { return strings.EqualFold(t.DocsName, wanted) })
}

// lastRecordType is the last one that is as asked; the last, because one name is
// there twice: SentinelKQLOnLake is 379 in the enumeration and 367 in the
// documentation's table only.
func lastRecordType(asked func(RecordType) bool) (RecordType, bool) {
	for _, t := range slices.Backward(recordTypes()) {
		if asked(t) {
			return t, true
		}
	}
	return RecordType{}, false
}
