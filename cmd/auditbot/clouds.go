package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// A cloud is one of those that Microsoft runs Microsoft 365 in, each with its
// own hosts.
type cloud struct {
	name     string // in auditbot.yml
	login    string
	exchange string
	graph    string
}

const (
	globalCloud = "global"
	chinaCloud  = "china"
)

// clouds are all of them. GCC, without High, is in the global one.
//
// Microsoft names two hosts for Exchange Online in China, and its own tools use
// the one here; for DoD the module connects to webmail.apps.mil.
// https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
// https://learn.microsoft.com/graph/deployments
// https://learn.microsoft.com/exchange/reference/admin-api-get-started
// https://github.com/microsoft/CSS-Exchange, Get-CloudServiceEndpoint
var clouds = []cloud{
	{globalCloud, "https://login.microsoftonline.com", "https://outlook.office365.com", "https://graph.microsoft.com"},
	{"gcchigh", "https://login.microsoftonline.us", "https://outlook.office365.us", "https://graph.microsoft.us"},
	{"dod", "https://login.microsoftonline.us", "https://outlook-dod.office365.us", "https://dod-graph.microsoft.us"},
	{chinaCloud, "https://login.partner.microsoftonline.cn", "https://partner.outlook.cn", "https://microsoftgraph.chinacloudapi.cn"},
}

// chinaHosts are those of Exchange Online in China.
var chinaHosts = []string{"partner.outlook.cn", "outlook.office365.cn"}

// cloudNamed is the zero cloud for a name that there is none of.
func cloudNamed(name string) cloud {
	if i := slices.IndexFunc(clouds, func(c cloud) bool { return c.name == name }); i >= 0 {
		return clouds[i]
	}
	return cloud{}
}

// checkCloud refuses a cloud that there is none of.
func checkCloud(name string) error {
	if strings.EqualFold(name, "gcc") { // nearest by its letters is another one
		return errors.New(`cloud: "gcc" is in the global cloud: write cloud: global, or gcchigh for GCC High`)
	}
	var names []string
	for _, c := range clouds {
		names = append(names, c.name)
	}
	return checkChoice("cloud", name, names...)
}

// national tells whether the instance's Microsoft Graph is that of a national
// cloud, which has no audit log queries.
// https://learn.microsoft.com/graph/api/security-auditcoreroot-post-auditlogqueries
func (i instanceSettings) national() bool {
	u, err := url.Parse(i.GraphURL)
	return i.Cloud != "" && i.Cloud != globalCloud || err == nil && !loopback(u) && !strings.EqualFold(u.Hostname(), "graph.microsoft.com")
}

// doubt is why no search of the instance can be trusted to find everything, ""
// if there is no reason.
// https://learn.microsoft.com/powershell/module/exchangepowershell/search-unifiedauditlog
func (i instanceSettings) doubt() string {
	u, err := url.Parse(i.ExchangeURL)
	if i.Cloud != chinaCloud && (err != nil || !slices.Contains(chinaHosts, strings.ToLower(u.Hostname()))) {
		return ""
	}
	return "the tenant is in Microsoft's cloud in China, where, Microsoft says, this search returns nothing, whatever has happened"
}

// checkChoice refuses a value that is not one of those that a key may have.
func checkChoice(key, value string, known ...string) error {
	if slices.Contains(known, value) {
		return nil
	}
	return fmt.Errorf("%s: %q is not one of %s%s", key, value, strings.Join(known, ", "), didYouMean(value, known))
}
