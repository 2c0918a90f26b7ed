package auditlog

import (
	"slices"
	"strings"
	"testing"
)

func TestFindRecordTypeTakesNameDocumentedNameAndNumber(t *testing.T) {
	for typed, want := range map[string]RecordType{
		"AzureActiveDirectoryStsLogon": {15, "AzureActiveDirectoryStsLogon", ""},
		"azureactivedirectorystslogon": {15, "AzureActiveDirectoryStsLogon", ""},
		"15":                           {15, "AzureActiveDirectoryStsLogon", ""},
		" 8 ":                          {8, "AzureActiveDirectory", ""},
		"Viva Engage":                  {22, "Yammer", "Viva Engage"},
		"backuppolicy":                 {298, "Microsoft365BackupBackupPolicy", "BackupPolicy"},
		"PowerAppsResource":            {187, "PowerAppsResource", ""},                                      // 79 in the documentation's table
		"GranularBrowseTask":           {429, "Microsoft365BackupGranularBrowseTask", "GranularBrowseTask"}, // 431 there
		"SentinelKQLOnLake":            {379, "SentinelKQLOnLake", ""},                                      // 367 there
		"367":                          {367, "SentinelKQLOnLake", ""},
	} {
		if got, ok := FindRecordType(typed); !ok || got != want {
			t.Errorf("FindRecordType(%q) = %+v, %v, want %+v", typed, got, ok, want)
		}
	}
}

func TestFindRecordTypeRefusesTheUnknown(t *testing.T) {
	for _, typed := range []string{"", " ", "Nonsense", "0", "-1", "100000", "15.0", "AzureActive"} {
		if got, ok := FindRecordType(typed); ok {
			t.Errorf("FindRecordType(%q) = %+v, want none", typed, got)
		}
	}
}

func TestRecordTypesAreOrderedAndFindable(t *testing.T) {
	types := RecordTypes()
	if len(types) != 474 {
		t.Errorf("there are %d record types, want 474", len(types))
	}
	if !slices.IsSortedFunc(types, func(a, b RecordType) int { return a.Number - b.Number }) {
		t.Error("the record types are not in the order of their numbers")
	}
	for _, want := range types {
		if got, ok := FindRecordType(want.Name); !ok || got.Name != want.Name {
			t.Errorf("FindRecordType(%q) = %+v, %v", want.Name, got, ok)
		}
		if want.Name == "" || strings.ContainsAny(want.Name, " ,\"") {
			t.Errorf("record type %d has the name %q", want.Number, want.Name)
		}
		if got, ok := FindRecordType(want.DocsName); want.DocsName != "" && (!ok || got != want) {
			t.Errorf("FindRecordType(%q) = %+v, %v, want %+v", want.DocsName, got, ok, want)
		}
	}
	types[0].Name = "changed"
	if RecordTypes()[0].Name == "changed" {
		t.Error("changing what RecordTypes returned changed the list")
	}
}
