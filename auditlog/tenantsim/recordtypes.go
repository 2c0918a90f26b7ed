package tenantsim

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"
)

// recordTypesText has the number and the name of each AuditLogRecordType: the
// members of auditLogRecordType in Microsoft Graph's schema
// (https://github.com/microsoftgraph/msgraph-metadata, MIT).
//
//go:embed recordtypes.txt
var recordTypesText string

// A recordType is a value of the enumeration AuditRecordType.
type recordType struct {
	number int
	name   string
}

var recordTypes = sync.OnceValue(func() []recordType {
	var all []recordType
	for line := range strings.Lines(recordTypesText) {
		number, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			panic("tenantsim: recordtypes.txt: " + line)
		}
		all = append(all, recordType{n, name})
	}
	return all
})

var recordTypeNames = sync.OnceValue(func() map[int]string {
	names := map[int]string{}
	for _, t := range recordTypes() {
		names[t.number] = t.name
	}
	return names
})

// recordTypeName is what a number is called; a number that has no name stays
// one, and 0, which is none, is "".
func recordTypeName(number int) string {
	if number == 0 {
		return ""
	}
	if name, ok := recordTypeNames()[number]; ok {
		return name
	}
	return strconv.Itoa(number)
}
