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

func TestFindRecordTypesTakesAGroup(t *testing.T) {
	for typed, want := range map[string]string{
		"Exchange":                     "ExchangeAdmin ExchangeItem ExchangeItemGroup ExchangeAggregatedOperation ExchangeItemAggregated ExchangeSearch PublicFolder",
		" exchange ":                   "ExchangeAdmin ExchangeItem ExchangeItemGroup ExchangeAggregatedOperation ExchangeItemAggregated ExchangeSearch PublicFolder",
		"Entra":                        "AzureActiveDirectory AzureActiveDirectoryAccountLogon AzureActiveDirectoryStsLogon",
		"AzureAD":                      "AzureActiveDirectory AzureActiveDirectoryAccountLogon AzureActiveDirectoryStsLogon",
		"azure ad":                     "AzureActiveDirectory AzureActiveDirectoryAccountLogon AzureActiveDirectoryStsLogon",
		"Microsoft Entra ID":           "AzureActiveDirectory AzureActiveDirectoryAccountLogon AzureActiveDirectoryStsLogon",
		"AzureActiveDirectory":         "AzureActiveDirectory",
		"AzureActiveDirectoryStsLogon": "AzureActiveDirectoryStsLogon",
		"15":                           "AzureActiveDirectoryStsLogon",
		"4":                            "SharePoint",
		"OneDrive":                     "OneDrive",
		"MicrosoftTeams":               "MicrosoftTeams",
		"Viva Engage":                  "Yammer",
	} {
		types, ok := FindRecordTypes(typed)
		if got := typeNames(types); !ok || strings.Join(got, " ") != want {
			t.Errorf("FindRecordTypes(%q) = %q, %v, want %q", typed, got, ok, want)
		}
	}
	for _, typed := range []string{"", " ", "Nonsense", "0", "Exchange Admins"} {
		if types, ok := FindRecordTypes(typed); ok || types != nil {
			t.Errorf("FindRecordTypes(%q) = %v, want none", typed, types)
		}
	}
}

func TestTheGroupSharePointHasTheTypeSharePointInIt(t *testing.T) {
	types, _ := FindRecordTypes("sharepoint")
	for _, want := range []string{"SharePoint", "OneDrive", "SharePointFileOperation", "SharePointSharingOperation"} {
		if got := typeNames(types); !slices.Contains(got, want) {
			t.Errorf("SharePoint is %q, without %s", got, want)
		}
	}
}

func TestEveryMemberOfAGroupIsARecordTypeOfItsOwn(t *testing.T) {
	for _, group := range recordTypeGroups {
		types, ok := FindRecordTypes(group.name)
		if got := typeNames(types); !ok || len(got) != len(group.members) {
			t.Errorf("%s has the types %q, and the members %q", group.name, got, group.members)
		}
		for _, name := range append([]string{group.name}, group.aliases...) {
			if one, ok := FindRecordType(name); ok && !slices.Contains(types, one) {
				t.Errorf("the group %s hides the record type %s", name, one.Name)
			}
			if got, _ := FindRecordTypes(name); !slices.Equal(got, types) {
				t.Errorf("%s is %q, but %s is %q", name, typeNames(got), group.name, typeNames(types))
			}
		}
		for _, member := range types {
			if member.Number > 250 {
				t.Errorf("%s in the group %s is too new for Graph's documented filter", member.Name, group.name)
			}
		}
	}
	if got := strings.Join(RecordTypeGroups(), " "); got != "Exchange SharePoint Entra Teams Defender" {
		t.Errorf("the groups are %s", got)
	}
}

func typeNames(types []RecordType) []string {
	var names []string
	for _, t := range types {
		names = append(names, t.Name)
	}
	return names
}
