package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"auditbot/commands"
)

// settingsFile writes a settings file.
func settingsFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auditbot.yml")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func none(string) string { return "" }

func TestTheShortestSettings(t *testing.T) {
	s, err := loadSettings(settingsFile(t, "instances: [{name: contoso, tenant: contoso.onmicrosoft.com}]"), none)
	if err != nil {
		t.Fatal(err)
	}
	i := s.Instances[0]
	if i.Auth != authDeviceCode || i.ClientID != exchangeShellApp || i.LoginURL != "https://login.microsoftonline.com" || i.ExchangeURL != "https://outlook.office365.com" ||
		s.Slack.APIURL != "https://slack.com/api/" || s.Slack.Prefix != "!" || s.Engine.DataDir != "./data" || s.Log.Level != "info" || s.Access.access().Set() {
		t.Errorf("%+v", s)
	}
}

func TestSettingsThatCannotBeMeant(t *testing.T) {
	const good = "instances: [{name: contoso, tenant: contoso.onmicrosoft.com}]\n"
	one := func(more string) string {
		return "instances: [{name: contoso, tenant: contoso.onmicrosoft.com, " + more + "}]\n"
	}
	for text, want := range map[string]string{
		"":                                       "there must be one",
		"instances: []":                          "there must be one",
		good + "acess: {everyone: true}":         "line 2: there is no key acess; did you mean access?",
		good + "access: {analyst: {}}":           "did you mean access.analysts?",
		good + "access:\n  analysts: {usrs: []}": "line 3: there is no key access.analysts.usrs; did you mean access.analysts.users?",
		good + "zzz: 1":                          "keys here are slack, access, instances, engine, retention, serve, log",
		good + "engine: {nats_url: nats.contoso.com}":                "is not an address as tls://nats1.contoso.com:4222",
		good + "engine: {nats_url: 'nats://nats.contoso.com'}":       "nats://nats.contoso.com must begin with tls://",
		good + "engine: {nats_url: 'nats://127.0.0.1,nats://nats2'}": "nats://nats2 must begin with tls://",
		good + "engine: {nats_url: 'tls://bot:secret@nats1'}":        "leave out what is in front of the @",
		good + "engine: {nats_credentials_file: bot.creds}":          "there is no engine.nats_url",
		one("client-id: x"):                          "did you mean instances.client_id?",
		one("auth: device"):                          `auth: "device" is not one of device_code, certificate, client_secret, password; did you mean device_code?`,
		one("auth: secret"):                          "did you mean client_secret?",
		one("sign_in: analysts"):                     `sign_in: "analysts" is not one of analyst, instance; did you mean analyst?`,
		one("cloud: gcc-high"):                       `cloud: "gcc-high" is not one of global, gcchigh, dod, china; did you mean gcchigh?`,
		one("cloud: GCC"):                            "write cloud: global",
		one("upn: soc, auth: password"):              `upn: "soc" is not a user principal name`,
		one("accounts: {ada: ada@contoso.com}"):      `accounts: "ada" is not a person's id`,
		one("accounts: {'local:': ada@contoso.com}"): "write local:NAME",
		one("accounts: {U1: ada}"):                   `accounts: "ada" of U1 is not a user principal name`,
		one("certificate_file: x.pem"):               "certificate_file is for auth: certificate, and this is auth: device_code",
		one("client_id: auditbot"):                   `client_id: "auditbot" is not an application's id`,
		one("graph_client_id: auditbot"):             `graph_client_id: "auditbot" is not an application's id`,
		one("graph_client_id: " + ownApp + ", graph_url: https://graph.microsoft.us"): "graph_client_id: Microsoft offers audit log queries of Graph in the global cloud only",
		one("login_url: http://fabrikam.com"):                                         "login_url: http://fabrikam.com must begin with https://",
		one("exchange_url: ftp://x"):                                                  "must begin with https://",
		one("exchange_url: outlook"):                                                  "is not a URL",
		one("insecure: maybe"):                                                        "line 1: instances.insecure must be true or false",
		one("backend: grap"):                                                          `backend: "grap" is not one of auto, exchange, graph; did you mean graph?`,
		one("backend: graph"):                                                         "graph_client_id is missing",
		one("backend: graph, cloud: dod"):                                             "backend: graph: Microsoft offers audit log queries of Graph in the global cloud only",
		one("graph_url: http://fabrikam.com"):                                         "graph_url: http://fabrikam.com must begin with https://",
		good + "retention: {results_days: 0}":                                         "retention.results_days: 0 is not at least 1",
		"instances: [{name: key_file, tenant: contoso.com}]":                          "ends like the variables",
		"instances: [{tenant: contoso.com}]":                                          "name must consist of",
		"instances: [{name: Contoso, tenant: contoso.com}]":                           "name must consist of",
		"instances: [{name: contoso}]":                                                "tenant is missing",
		"instances: [{name: contoso, tenant: organizations}]":                         "is not one organisation's",
		"instances: [{name: a, tenant: contoso.com}, {name: a, tenant: contoso.com}]": `"a" is there twice`,
		good + "slack: {api_url: https://slack.com/api}":                              "must end with a slash",
		good + "slack: {prefix: ''}":                                                  "cannot begin a command",
		good + "slack: {prefix: /}":                                                   "cannot begin a command",
		good + "serve: {metrics_addr: 9464}":                                          `serve.metrics_addr: "9464" is not host:port, such as 127.0.0.1:9464`,
		good + "serve: {metrics_addr: 'localhost:http'}":                              "is not host:port",
		good + "serve: {metrics_addr: '127.0.0.1:94640'}":                             "is not host:port",
		good + "serve: {metrics-addr: '127.0.0.1:9464'}":                              "did you mean serve.metrics_addr?",
		good + "log: {level: loud}":                                                   "is not one of debug, info, warn, error",
		good + "access: [":                                                            "yaml",
		good + "engine: ./data":                                                       "line 2: engine must be keys",
		good + "access: {channels: C0123ABCD}":                                        "line 2: access.channels must be a list",
		good + "access: {channels: [{C1: x}]}":                                        "line 2: access.channels must be one value",
		good + "retention: {results_days: month}":                                     "line 2: retention.results_days must be a whole number",
		one("client_secret: x"):                                                       "there is no key instances.client_secret; secrets come from the environment",
		good + "slack: {bot_token: x}":                                                "secrets come from the environment",
		good + "access: {channels: ['#soc-incidents']}":                               `access.channels: "#soc-incidents" is not an id`,
		good + "access: {analysts: {users: [ada]}}":                                   `access.analysts.users: "ada" is not an id`,
		"just text": "line 1: the file must be keys",
	} {
		_, err := loadSettings(settingsFile(t, text), none)
		if err == nil || !commands.IsMistake(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want a mistake with %q", text, err, want)
		}
	}
	if _, err := loadSettings(filepath.Join(t.TempDir(), "none.yml"), none); !commands.IsMistake(err) {
		t.Errorf("no file: %v", err)
	}
}

func TestPlainHTTPIsForThisMachineOnly(t *testing.T) {
	for url, ok := range map[string]bool{
		"http://127.0.0.1:8065/api/": true, "http://localhost:1/": true, "http://[::1]:1/": true,
		"http://127.0.0.1.fabrikam.com/": false, "http://slack.com/api/": false, "https://user:pass@slack.com/": false,
	} {
		if err := checkURL("x", url); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestSecretsComeFromTheEnvironmentOrAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(vars map[string]string) func(string) string {
		return func(name string) string { return vars[name] }
	}
	if s, err := secret(env(map[string]string{"X": "direct"}), "X"); s != "direct" || err != nil {
		t.Error("from the environment:", err)
	}
	if s, err := secret(env(map[string]string{"X_FILE": file}), "X"); s != "from the file" || err != nil {
		t.Error("from a file:", err)
	}
	if _, err := secret(env(map[string]string{"X": "direct", "X_FILE": file}), "X"); !commands.IsMistake(err) {
		t.Error("from both:", err)
	}
	if _, err := secret(env(map[string]string{"X_FILE": file + ".not"}), "X"); err == nil {
		t.Error("from a file that is not there: no error")
	}
	if _, err := needSecret(none, "X", "what it is"); !commands.IsMistake(err) || !strings.Contains(err.Error(), "X (or X_FILE) is not set: what it is") {
		t.Error("from nowhere:", err)
	}
	for key, ok := range map[string]bool{rightKey: true, "": false, "short": false, "c2hvcnQ=": false} {
		if _, err := engineKey(env(map[string]string{"AUDITBOT_KEY": key})); (err == nil) != ok {
			t.Errorf("AUDITBOT_KEY=%q: %v", key, err)
		}
	}
	if _, err := slackTokens(env(map[string]string{"SLACK_BOT_TOKEN": "xapp-1", "SLACK_APP_TOKEN": "xoxb-1"})); !commands.IsMistake(err) {
		t.Error("tokens in each other's place:", err)
	}
}
