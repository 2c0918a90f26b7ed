package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"auditbot/commands"
)

const (
	ownApp      = "7d2b8c15-4e0f-4a9d-8a6c-91f3e5b70d42"
	anotherApp  = "9d4f7b12-6a3c-4e58-b0c1-2e7f85a91d64"
	microsofts  = "fb78d390-0c51-40cd-8e17-fdbfab77341b"
	microsofts2 = "04b07795-8ddb-461a-bbee-02f9e1bf7b46" // Azure CLI
)

// A choice is what somebody writes about an instance; "" is a key left out.
type choice struct {
	auth, signIn, cloud, clientID, graph, backend, upn, accounts, certificate string
}

// yaml is the choice as a settings file.
func (c choice) yaml() string {
	var b strings.Builder
	b.WriteString("instances:\n  - name: contoso\n    tenant: contoso.onmicrosoft.com\n")
	for _, line := range [][2]string{
		{"auth", c.auth}, {"sign_in", c.signIn}, {"cloud", c.cloud}, {"client_id", c.clientID}, {"graph_client_id", c.graph},
		{"backend", c.backend}, {"upn", c.upn}, {"accounts", c.accounts}, {"certificate_file", c.certificate},
	} {
		if line[1] != "" {
			fmt.Fprintf(&b, "    %s: %s\n", line[0], line[1])
		}
	}
	return b.String()
}

// device and application tell what kind of sign-in is meant.
func (c choice) device() bool      { return c.auth == "" || c.auth == "device_code" }
func (c choice) application() bool { return c.auth == "certificate" || c.auth == "client_secret" }

// each tells whether each person signs in, as they do with a device code unless
// something else is written.
func (c choice) each() bool { return c.signIn == "analyst" || c.signIn == "" && c.device() }

// reasons are why a choice cannot be served, as a person would say it, each with
// what the refusal must say. A choice to which none applies is served.
var reasons = []struct {
	why     string
	applies func(choice) bool
	says    []string
}{
	{"a password, a secret or a certificate is not each person's own",
		func(c choice) bool { return c.signIn == "analyst" && !c.device() },
		[]string{"sign_in: analyst is for auth: device_code", "write sign_in: instance, or leave it out"}},
	{"people who sign in as themselves are not one account",
		func(c choice) bool { return c.each() && c.device() && c.upn != "" },
		[]string{"upn is for sign_in: instance", "leave it out"}},
	{"one account for all has to be known",
		func(c choice) bool { return !c.each() && !c.application() && c.upn == "" },
		[]string{"upn is missing", "write upn: soc@contoso.com"}},
	{"an application is no account",
		func(c choice) bool { return c.application() && c.upn != "" },
		[]string{"upn is for accounts", "leave upn out"}},
	{"nobody has an account of their own where all share one",
		func(c choice) bool { return !c.each() && c.accounts != "" },
		[]string{"accounts are for sign_in: analyst", "leave accounts out"}},
	{"a certificate has to be somewhere",
		func(c choice) bool { return c.auth == "certificate" && c.certificate == "" },
		[]string{"certificate_file is missing", "PEM or PFX"}},
	{"a certificate proves nothing where none is asked for",
		func(c choice) bool { return c.auth != "certificate" && c.certificate != "" },
		[]string{"certificate_file is for auth: certificate"}},
	{"an application that signs in must be one's own, and said which",
		func(c choice) bool { return c.application() && c.clientID == "" },
		[]string{"client_id is missing", "register an application of your own"}},
	{"nobody but Microsoft can prove to be its application",
		func(c choice) bool { return c.application() && c.clientID == microsofts },
		[]string{"client_id: Microsoft Exchange REST API Based Powershell", "register an application of your own"}},
	{"Graph has no audit log queries outside of the global cloud",
		func(c choice) bool { return c.cloud != "" && c.cloud != "global" && c.graph != "" },
		[]string{"in the global cloud only", "leave"}},
	{"and can then not be the backend",
		func(c choice) bool { return c.cloud != "" && c.cloud != "global" && c.backend == "graph" },
		[]string{"in the global cloud only", "backend: exchange"}},
	{"Graph needs an application",
		func(c choice) bool { return c.backend == "graph" && c.graph == "" },
		[]string{"graph_client_id is missing"}},
	{"Microsoft's own applications may not query the audit log at Graph",
		func(c choice) bool { return c.graph == microsofts || c.graph == microsofts2 },
		[]string{"AADSTS65002", "write the id of an application of your own"}},
	{"a secret is one application's",
		func(c choice) bool { return c.auth == "client_secret" && c.graph != "" && c.graph != c.clientID },
		[]string{"a secret is one application's", "it must be the same as client_id"}},
}

// everyChoice is every combination of what may be written.
func everyChoice(yield func(choice) bool) {
	pick := func(value ...string) []string { return append([]string{""}, value...) }
	for _, auth := range pick("device_code", "certificate", "client_secret", "password") {
		for _, signIn := range pick("analyst", "instance") {
			for _, cloud := range pick("global", "gcchigh", "dod", "china") {
				for _, client := range pick(microsofts, ownApp) {
					for _, graph := range pick(ownApp, anotherApp, microsofts, microsofts2) {
						for _, more := range []choice{
							{}, {upn: "soc@contoso.com"}, {certificate: "bot.pem"}, {accounts: "{U1: adm-ada@contoso.com}"},
							{backend: "graph"}, {upn: "soc@contoso.com", backend: "graph"}, {certificate: "bot.pem", backend: "graph"},
						} {
							more.auth, more.signIn, more.cloud, more.clientID, more.graph = auth, signIn, cloud, client, graph
							if !yield(more) {
								return
							}
						}
					}
				}
			}
		}
	}
}

func TestEveryCombinationIsServedOrRefusedWithItsSentence(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "auditbot.yml")
	served, refused := 0, map[string]int{}
	for c := range everyChoice {
		if err := os.WriteFile(path, []byte(c.yaml()), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := loadSettings(path, none)
		var expected []string
		told := false
		for _, r := range reasons {
			if r.applies(c) {
				expected = append(expected, r.why)
				if err != nil && !slices.ContainsFunc(r.says, func(words string) bool { return !strings.Contains(err.Error(), words) }) {
					told = true
					refused[r.why]++
				}
			}
		}
		switch {
		case len(expected) == 0 && err != nil:
			t.Errorf("%srefused: %v", c.yaml(), err)
		case len(expected) > 0 && err == nil:
			t.Errorf("%sserved, though %q", c.yaml(), expected)
		case len(expected) > 0 && (!told || !commands.IsMistake(err)):
			t.Errorf("%s%v\nsays none of %q", c.yaml(), err, expected)
		case err == nil:
			served++
		}
	}
	for _, r := range reasons {
		if refused[r.why] == 0 {
			t.Errorf("nothing is refused because %s", r.why)
		}
	}
	if served == 0 {
		t.Error("nothing is served")
	}
	t.Logf("%d served", served)
}
