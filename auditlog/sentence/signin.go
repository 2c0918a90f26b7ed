package sentence

import (
	"cmp"
	"strconv"
	"strings"

	"auditbot/auditlog"
)

var signInPhrases = map[string]phrase{
	"UserLoggedIn":    signIn,
	"UserLoginFailed": signIn,
	"PasswordLogonInitialAuthUsingPassword": func(e event) string {
		return spaced("gave a password to sign in", e.signInMeans())
	},
}

// signIn says whether it worked, what was signed in to and with what.
func signIn(e event) string {
	did, failed := "signed in", strings.HasPrefix(e.view.Result(), "failure")
	if failed {
		did = "failed to sign in"
	}
	said := spaced(did, e.resource(), e.signInMeans())
	if reason := e.signInError(); failed && reason != "" {
		said += ": " + reason
	}
	return said
}

// signInError is "InvalidUserNameOrPassword (50126: Wrong user name or
// password)", as far as the record knows.
func (e event) signInError() string {
	code := e.text("ErrorNumber", "ErrorCode")
	number, _ := strconv.Atoi(code)
	known, _ := auditlog.FindSignInError(number)
	reason := cmp.Or(e.text("LogonError"), known.Name, "error")
	switch {
	case code == "" || code == "0":
		return name(reason)
	case known.Meaning == "":
		return name(reason) + " (" + name(code) + ")"
	}
	return name(reason) + " (" + code + ": " + known.Meaning + ")"
}

// resource is "to Microsoft Graph", or "".
func (e event) resource() string {
	id := e.text("ObjectId", "Target.0.ID")
	switch app := auditlog.FindApp(id); {
	case id == "" || id == "Unknown" || id == "Not Available":
		return ""
	case app.Name != "":
		return "to " + app.Name
	default:
		return "to " + name(id)
	}
}

// deviceCode is the RequestType of a sign-in by a code that is typed elsewhere.
const deviceCode = "Cmsi:Cmsi"

// signInMeans is "with Microsoft Office, by device code, on Windows 10 with
// Edge", as far as the record knows.
func (e event) signInMeans() string {
	var means []string
	if app := e.app(e.view.App()); app != "" {
		means = append(means, "with "+app)
	}
	if e.text("ExtendedProperties.RequestType") == deviceCode {
		means = append(means, "by device code")
	}
	agent := e.text("ExtendedProperties.UserAgent")
	device := e.text("DeviceProperties.OS")
	switch browser := e.text("DeviceProperties.BrowserType"); {
	case agent != "" && !strings.HasPrefix(agent, "Mozilla/"): // what is no browser is worth being told of
		means = append(means, "by the program "+quote(agent))
	case device != "" && browser != "":
		means = append(means, "on "+name(device)+" in "+name(browser))
	case device != "":
		means = append(means, "on "+name(device))
	}
	return strings.Join(means, ", ")
}
