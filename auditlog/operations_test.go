package auditlog

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const certificates = "Update application – Certificates and secrets management"

func TestFindOperations(t *testing.T) {
	for _, c := range []struct {
		typed string
		want  []string
	}{
		{"New-InboxRule", []string{"New-InboxRule"}},
		{"new-inboxrule", []string{"New-InboxRule"}},
		{" New-InboxRule ", []string{"New-InboxRule"}},
		{"New–InboxRule", []string{"New-InboxRule", "New–InboxRule"}}, // an en dash, as Word writes it
		{"Consent to application.", []string{"Consent to application."}},
		{"Consent to application", []string{"Consent to application.", "Consent to application"}},
		{"consent to application", []string{"Consent to application.", "Consent to application"}},
		{"Consent  to\u00a0application.", []string{"Consent to application.", "Consent  to\u00a0application."}},
		{"New-InboxRule.", []string{"New-InboxRule", "New-InboxRule."}},

		{certificates + " ", []string{certificates + " ", certificates}},
		{certificates, []string{certificates + " ", certificates}},
		{"Update application - Certificates and secrets management", []string{certificates + " ", certificates, "Update application - Certificates and secrets management"}},
		{"Update application — certificates and secrets management.", []string{certificates + " ", certificates, "Update application — certificates and secrets management."}},

		{"FileDeleted", []string{"FileDeleted", "FileRecycled"}},
		{"filerecycled", []string{"FileRecycled", "FileDeleted"}},
		{"Set-InboxRule", []string{"Set-InboxRule", "set-InboxRule"}},
		{"SET-INBOXRULE", []string{"Set-InboxRule", "set-InboxRule"}},
		{"New-CsTeamsAppPermissionPolicy", []string{"New-CSTeamsAppPermissionPolicy", "New-CsTeamsAppPermissionPolicy"}},
		{"Organization integrations updated", []string{"Organization  integrations updated", "Organization integrations updated"}},
		{"add role member to role", []string{"Add member to role.", "Add role member to role"}},
		{"SearchQueryInitiated", []string{"SearchQueryInitiatedExchange", "SearchQueryInitiatedSharePoint", "SearchQueryInitiated"}},

		{"Created new inbox rule in Outlook web app", []string{"New-InboxRule"}},
		{"created new inbox rule in outlook web app.", []string{"New-InboxRule"}},
		{"Deleted file", []string{"FileDeleted", "FileRecycled"}},
		{"Deleted group", []string{"Delete group.", "GroupDeletion", "GroupRemoved"}},
		{"User logged in", []string{"User logged in", "UserLoggedIn"}}, // a name of Viva Goals, and the display name of Entra's

		{"Something Microsoft added yesterday.", []string{"Something Microsoft added yesterday."}},
		{" unknown – with  blanks ", []string{" unknown – with  blanks "}},
		{"New-Inbox", []string{"New-Inbox"}},
		{"New-*", []string{"New-*"}},
		{".", []string{"."}},
	} {
		if got := FindOperations(c.typed); !slices.Equal(got, c.want) {
			t.Errorf("FindOperations(%q) = %q, want %q", c.typed, got, c.want)
		}
	}
}

func TestEveryOperationIsFoundByAnySpelling(t *testing.T) {
	all := Operations()
	if len(all) != 1122 {
		t.Errorf("there are %d operations, want 1122", len(all))
	}
	for _, o := range all {
		unlike := strings.NewReplacer("-", "—", "–", "-").Replace(o.Name)
		spellings := []string{o.Name, strings.ToUpper(o.Name), strings.TrimSpace(o.Name), strings.TrimSuffix(o.Name, "."), o.Name + " ", unlike, o.Friendly}
		spellings = append(append(spellings, o.also...), o.variants...)
		for _, typed := range spellings {
			if got := FindOperations(typed); typed != "" && (!slices.Contains(got, o.Name) || !KnownOperation(typed)) {
				t.Errorf("FindOperations(%q) = %q, without %q", typed, got, o.Name)
			}
		}
		if got := FindOperations(o.Name); got[0] != o.Name {
			t.Errorf("FindOperations(%q) = %q, with another one first", o.Name, got)
		}
	}
	all[0].Name = "changed"
	if Operations()[0].Name == "changed" {
		t.Error("changing what Operations returned changed the list")
	}
}

func TestTheListOfOperationsFitsTogether(t *testing.T) {
	exact := map[string]bool{}
	for _, o := range Operations() {
		if exact[o.Name] || o.Name == "" || strings.ContainsAny(o.Name, ",;\"") {
			t.Errorf("the operation %q is there twice, or unfit to be typed", o.Name)
		}
		exact[o.Name] = true
	}
	for _, o := range Operations() {
		for _, name := range o.similar {
			if !exact[name] {
				t.Errorf("%q is similar to %q, which is no operation", o.Name, name)
			}
		}
		for _, typed := range []string{o.Name, o.Friendly} {
			if got := FindOperations(typed); len(got) > 10 {
				t.Errorf("%q is %d operations, too many to send for one: %q", typed, len(got), got)
			}
		}
		if n := strings.Count(o.Friendly, ", ") + 1; n > maxNameParts {
			t.Errorf("%q has %d parts", o.Friendly, n)
		}
	}
}

func TestResolveSaysWhetherItSendsSomethingElse(t *testing.T) {
	for _, c := range []struct {
		typed, want []string
		changed     bool
	}{
		{nil, nil, false},
		{[]string{"New-InboxRule", "Unheard-Of"}, []string{"New-InboxRule", "Unheard-Of"}, false},
		{[]string{"New-InboxRule", "New-InboxRule"}, []string{"New-InboxRule"}, false},
		{[]string{"New-InboxRule", "new-inboxrule"}, []string{"New-InboxRule"}, true},
		{[]string{"FileDeleted", "Send", "FileRecycled"}, []string{"FileDeleted", "FileRecycled", "Send"}, false},
		{[]string{"FileDeleted"}, []string{"FileDeleted", "FileRecycled"}, true},
		{[]string{"Add user", "Delete user."}, []string{"Add user.", "Add user", "Delete user."}, true},
		{[]string{certificates}, []string{certificates + " ", certificates}, true},
		{[]string{"Send", "Shared file", "folder", "or site", "Move"}, []string{"Send", "SharingSet", "Move"}, true},
		{[]string{"Unshared file", "folder"}, []string{"Unshared file", "folder"}, false},
	} {
		got, changed := Resolve(c.typed)
		if !slices.Equal(got, c.want) || changed != c.changed {
			t.Errorf("Resolve(%q) = %q, %v, want %q, %v", c.typed, got, changed, c.want, c.changed)
		}
	}
}

func TestResolveLeavesWhatWasTypedAlone(t *testing.T) {
	typed := []string{"add user", "New-InboxRule", "add user"}
	Resolve(typed)
	if !slices.Equal(typed, []string{"add user", "New-InboxRule", "add user"}) {
		t.Errorf("what was typed became %q", typed)
	}
}

func TestNearOperations(t *testing.T) {
	seen := []string{"MailItemsAccessed", "UserLoginFailed", "FileAccessed", "FileDeletedByRobot", "Set-InboxRule", "FileAccessed"}
	for _, c := range []struct {
		typed string
		seen  []string
		want  []string
	}{
		{"MailItemsAcessed", nil, []string{"MailItemsAccessed"}},
		{"mail items accessed", nil, []string{"MailItemsAccessed"}},
		{"Sned", nil, []string{"Send"}},
		{"New-InboxRul", nil, []string{"New-InboxRule"}},
		{"remove-service principle", nil, []string{"Remove service principal.", "Remove-ServicePrincipal"}},
		{"login failed", nil, []string{"UserLoginFailed"}},
		{"consent", nil, []string{"Consent to application."}},
		{"Consent to app", nil, []string{"Consent to application."}},
		{"inbox rule", nil, []string{"New-InboxRule", "Set-InboxRule", "Enable-InboxRule"}},
		{"InboxRuleCreated", nil, []string{"New-InboxRule", "Disable-InboxRule", "UpdateInboxRules"}}, // the first by its display name
		{"anonymous links", nil, []string{"AnonymousLinkUsed", "AnonymousLinkCreated", "AnonymousLinkRemoved"}},

		{"inbox rule", seen, []string{"Set-InboxRule", "New-InboxRule", "Enable-InboxRule"}},
		{"FileDeletd", seen, []string{"FileDeleted"}},
		{"FileDeletedByRobots", seen, []string{"FileDeletedByRobot", "FileDeleted", "FileVersionsAllDeleted"}},
		{"FileAcessed", seen, []string{"FileAccessed"}},

		{"New-InboxRule", nil, nil}, // no misspelling
		{"New-InboxRule", seen, []string{"Set-InboxRule"}},
		{"AddFolderPermissions", nil, []string{"ModifyFolderPermissions"}},
		{"FileDeleted", []string{"FileRecycled", "FileDeleted"}, nil}, // both are searched for

		{"nonsense", seen, nil},
		{"the of a", seen, nil},
		{"", seen, nil},
		{" – ", seen, nil},
		{strings.Repeat("inbox rule ", 1000), seen, nil},
	} {
		if got := NearOperations(c.typed, c.seen, 3); !slices.Equal(got, c.want) {
			t.Errorf("NearOperations(%q, %q) = %q, want %q", c.typed, c.seen, got, c.want)
		}
	}
	if got := NearOperations("inbox rule", seen, 0); got != nil {
		t.Errorf("the nearest none are %q", got)
	}
}

func TestSlips(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"send", "", 4}, {"send", "send", 0}, {"sned", "send", 1}, {"snd", "send", 1}, {"sendd", "send", 1}, {"bend", "send", 1},
		{"kitten", "sitting", 3}, {strings.Repeat("ab", 100), strings.Repeat("ba", 100), 2},
	} {
		for limit := range 10 {
			got, ok := slips(c.a, c.b, limit)
			if ok != (c.want <= limit) || ok && got != c.want {
				t.Errorf("slips(%q, %q, %d) = %d, %v, want %d", c.a, c.b, limit, got, ok, c.want)
			}
		}
	}
}

// Giving up early must not lose a name.
func TestTheLimitOfSlipsChangesNoResult(t *testing.T) {
	all := Operations()
	for i := range 2000 {
		a, b := letters(all[i%len(all)].Name), letters(all[i*7%len(all)].Name)
		want, _ := slips(a, b, maxNear)
		for _, limit := range []int{want - 1, want} {
			if got, ok := slips(a, b, limit); ok != (limit == want) || ok && got != want {
				t.Errorf("slips(%q, %q, %d) = %d, %v, want %d", a, b, limit, got, ok, want)
			}
		}
	}
}

func TestANameOfTheTenantMayBeOfAnyLength(t *testing.T) {
	long := strings.Repeat("FileAccessed", 1000)
	if got := NearOperations("FileAccesed", []string{long, "", "…", "FileAccessed"}, 1); !slices.Equal(got, []string{"FileAccessed"}) {
		t.Errorf("near are %q", got)
	}
}

func TestTheOtherSpellingsOfTheCollectionAreFound(t *testing.T) {
	collection, err := os.ReadFile("../../shared/data/operations.csv")
	if err != nil {
		t.Skip("no operations.csv in ../shared/data beside the repository")
	}
	rows, err := csv.NewReader(bytes.NewReader(collection)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		name, variants := row[0], row[4]
		for typed := range strings.SplitSeq(name+";"+variants, ";") {
			mark, other, marked := strings.Cut(typed, ":")
			if mark == "similar" {
				continue
			}
			if marked {
				typed = other
			}
			if got := FindOperations(typed); typed != "" && !slices.Contains(got, name) {
				t.Errorf("FindOperations(%q) = %q, without %q", typed, got, name)
			}
		}
	}
}

// Whatever is typed is searched for: by itself if the list does not have it,
// and always once.
func FuzzResolve(f *testing.F) {
	f.Add("Consent to application", "New–InboxRule")
	f.Add(certificates+" ", "Shared file")
	f.Add("", ".")
	f.Add("K", "\xff–")
	f.Fuzz(func(t *testing.T, a, b string) {
		typed := []string{a, b}
		if KnownOperation(a + ", " + b) {
			return
		}
		send, changed := Resolve(typed)
		for _, name := range typed {
			if !KnownOperation(name) && !slices.Contains(send, name) {
				t.Errorf("Resolve(%q) = %q, without %q", typed, send, name)
			}
			for _, found := range FindOperations(name) {
				if !slices.Contains(send, found) {
					t.Errorf("Resolve(%q) = %q, without %q for %q", typed, send, found, name)
				}
			}
		}
		if again, _ := Resolve(typed); !slices.Equal(again, send) || len(unique(slices.Clone(send))) != len(send) {
			t.Errorf("Resolve(%q) = %q, and then %q", typed, send, again)
		}
		if same := slices.Equal(send, typed); same && changed {
			t.Errorf("Resolve(%q) says it sends something else", typed)
		}
		for _, name := range NearOperations(a, []string{b, "FileAccessed"}, 2) {
			if slices.Contains(FindOperations(a), name) {
				t.Errorf("near to %q is %q, which was searched for", a, name)
			}
		}
	})
}

// A search without results waits for this: of the list and 2,000 names more,
// it should take less than 5 ms.
func BenchmarkNearOperations(b *testing.B) {
	var seen []string
	for i := range 2000 {
		seen = append(seen, fmt.Sprintf("%s%d", Operations()[i%1000].Name, i))
	}
	for _, typed := range []string{"MailItemsAcessed", "created inbox forwarding rule", "Update application Certificates and secret managment"} {
		b.Run(typed, func(b *testing.B) {
			for b.Loop() {
				NearOperations(typed, seen, 3)
			}
		})
	}
}

func BenchmarkResolve(b *testing.B) {
	typed := []string{"Consent to application", "New-InboxRule", "Unheard-Of", "Deleted group"}
	for b.Loop() {
		Resolve(typed)
	}
}
