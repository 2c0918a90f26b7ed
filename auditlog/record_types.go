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

// recordTypeGroups are the groups that people name. Members are types that
// Microsoft's documentation of Graph's filter lists, which ends at 250: a
// service that does not know one of the newer names may refuse the whole
// search. MicrosoftTeamsAddOns and MicrosoftTeamsSettingsOperation, of which
// only old documentation knows, are left out for the same reason.
var recordTypeGroups = []struct {
	name    string
	aliases []string // in lower case, without blanks
	members []string
}{
	{"Exchange", []string{"exchangeonline"}, []string{
		"ExchangeAdmin", "ExchangeItem", "ExchangeItemGroup", "ExchangeAggregatedOperation", "ExchangeItemAggregated", "ExchangeSearch",
		"PublicFolder",
	}},
	{"SharePoint", []string{"sharepointonline"}, []string{
		"SharePoint", "SharePointFileOperation", "OneDrive", "SharePointSharingOperation", "SharePointListOperation",
		"SharePointCommentOperation", "SharePointListItemOperation", "SharePointContentTypeOperation", "SharePointFieldOperation",
		"SharePointSearch", "SharePointAppPermissionOperation",
	}},
	{"Entra", []string{"entraid", "microsoftentra", "microsoftentraid", "azuread", "aad"}, []string{
		"AzureActiveDirectory", "AzureActiveDirectoryAccountLogon", "AzureActiveDirectoryStsLogon",
	}},
	{"Teams", nil, []string{
		"MicrosoftTeams", "TeamsHealthcare", "MicrosoftTeamsAdmin", "MicrosoftTeamsDevice", "MicrosoftTeamsAnalytics", "MicrosoftTeamsShifts",
		"TeamsEasyApprovals", "MicrosoftTeamsSensitivityLabelAction", "TeamsUpdates",
	}},
	{"Defender", []string{"microsoftdefender"}, []string{
		"SecurityComplianceCenterEOPCmdlet", "ThreatIntelligence", "MailSubmission", "ThreatFinder", "SecurityComplianceAlerts",
		"ThreatIntelligenceUrl", "ThreatIntelligenceAtpContent", "HygieneEvent", "InformationWorkerProtection", "Campaign",
		"AirInvestigation", "Quarantine", "WDATPAlerts", "MDATPAudit", "AirManualInvestigation", "AirAdminActionInvestigation", "MSTIC",
		"MCASAlerts", "MSDEResponseActions", "MSDEGeneralSettings", "MSDEIndicatorsSettings", "MS365DCustomDetection",
		"MSDERolesSettings", "MAPGAlerts", "MAPGPolicy", "MAPGRemediation", "TenantAllowBlockList", "MS365DSuppressionRule", "MS365DIncident",
		"MicrosoftDefenderForIdentityAudit", "DefenderExpertsforXDRAdmin",
	}},
}

// RecordTypeGroups is the names that [FindRecordTypes] takes for several
// record types at once.
func RecordTypeGroups() []string {
	var names []string
	for _, group := range recordTypeGroups {
		names = append(names, group.name)
	}
	return names
}

// FindRecordTypes looks up the record types of a group, by number, or the one
// that [FindRecordType] finds. A group is named in upper or lower case, with
// blanks or without: "Exchange", "SharePoint" (with OneDrive), "Entra" (or
// "Azure AD", "Entra ID"), "Teams", "Defender".
//
// SharePoint is a group and one type of it. The group is found, since it has
// the type in it; the number 4 finds the type alone.
func FindRecordTypes(typed string) ([]RecordType, bool) {
	wanted := strings.ToLower(strings.Join(strings.Fields(typed), ""))
	for _, group := range recordTypeGroups {
		if wanted != strings.ToLower(group.name) && !slices.Contains(group.aliases, wanted) {
			continue
		}
		var types []RecordType
		for _, t := range recordTypes() {
			if slices.Contains(group.members, t.Name) {
				types = append(types, t)
			}
		}
		return types, true
	}
	if t, ok := FindRecordType(typed); ok {
		return []RecordType{t}, true
	}
	return nil, false
}
