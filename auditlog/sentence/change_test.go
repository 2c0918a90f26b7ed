package sentence

import (
	"slices"
	"testing"

	"auditbot/auditlog"
)

func TestChangesAreOldAndNewSideBySide(t *testing.T) {
	for what, test := range map[string]struct {
		record string
		want   []Change
	}{
		"a cmdlet tells new values": {
			`{"Operation":"Set-Mailbox","Parameters":[{"Name":"Identity","Value":"ada"},{"Name":"ForwardingSmtpAddress","Value":"smtp:eve@fabrikam.com"},{"Name":"DeliverToMailboxAndForward","Value":"False"}]}`,
			[]Change{{"ForwardingSmtpAddress", "", "smtp:eve@fabrikam.com"}, {"DeliverToMailboxAndForward", "", "False"}},
		},
		"a cmdlet that creates changes nothing": {
			`{"Operation":"New-Mailbox","Parameters":[{"Name":"Name","Value":"ada"}]}`, nil,
		},
		"a cmdlet with old values": {
			`{"Operation":"Set-Mailbox","Parameters":[{"Name":"AuditEnabled","Value":"False"}],"ModifiedProperties":[{"Name":"AuditEnabled","OldValue":"True","NewValue":"False"}]}`,
			[]Change{{"AuditEnabled", "True", "False"}},
		},
		"Entra has JSON within strings": {
			`{"Operation":"Update user.","ModifiedProperties":[{"Name":"City","OldValue":"[\"Oslo\"]","NewValue":"[\"Bergen\"]"},{"Name":"Role.DisplayName","OldValue":"","NewValue":"\"Global Administrator\""},
			{"Name":"StrongAuthenticationMethod","OldValue":"[]","NewValue":"[{\"MethodType\":7,\"Default\":true}]"},{"Name":"Included Updated Properties","OldValue":"","NewValue":"City"},{"Name":"TargetId.UserType","NewValue":"Member","OldValue":""}]}`,
			[]Change{{"City", "Oslo", "Bergen"}, {"Role.DisplayName", "", "Global Administrator"}, {"StrongAuthenticationMethod", "", "Default=true MethodType=7"}},
		},
		"what only looks like JSON stays": {
			`{"Operation":"Update user.","ModifiedProperties":[{"Name":"City","OldValue":"[x","NewValue":"[\"a\"] b"}]}`,
			[]Change{{"City", "[x", `["a"] b`}},
		},
		"names in lower case": {
			`{"operation":"set-mailbox","parameters":[{"name":"ForwardingAddress","value":"eve"}]}`,
			[]Change{{"ForwardingAddress", "", "eve"}},
		},
		"sharing": {
			`{"Operation":"AddedToSecureLink","EventData":"<Type>Edit</Type><Added to group>Members</Added to group>"}`,
			[]Change{{"Type", "", "Edit"}, {"Added to group", "", "Members"}},
		},
		"a setting of Teams": {
			`{"Operation":"TeamsTenantSettingChanged","Name":"AllowGuestAccess","OldValue":"False","NewValue":"True"}`,
			[]Change{{"AllowGuestAccess", "False", "True"}},
		},
		"parameters of the compliance centre": {
			`{"Operation":"Set-ComplianceSearch","Parameters":"-Identity \"x\" -ContentMatchQuery \"subject:invoice\" -AllowNotFoundExchangeLocationsEnabled"}`,
			[]Change{{"ContentMatchQuery", "", "subject:invoice"}, {"AllowNotFoundExchangeLocationsEnabled", "", "True"}},
		},
	} {
		t.Run(what, func(t *testing.T) {
			if got := Changes(auditlog.NewRecord(test.record)); !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}
