package signin

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"auditbot/auditlog"
)

// A meaning is what a number of Microsoft's says to people. The words serve
// for a sign-in that fails and for one that ends.
type meaning struct {
	problem string // lower case, no full stop
	advice  string // who does what
}

func (m meaning) refusal() *auditlog.Refusal {
	return &auditlog.Refusal{Problem: m.problem, Advice: m.advice}
}

// Advice that several numbers share.
const (
	again      = "start again: !o365-auditlog-auth-start"
	retype     = "type the command again" // in the place of again, where no person signs in
	settings   = "whoever runs this bot checks tenant:, login_url: and client_id: in its settings"
	inMinutes  = "try again in some minutes; https://status.cloud.microsoft tells whether Microsoft knows of it; if it stays, whoever runs this bot checks whether a proxy on the way answers in its place"
	itsPolicy  = "an Entra administrator looks the sign-in up in Entra's sign-in log, which names the policy, and exempts this account or the application from it; until then this account cannot be used here"
	consent    = appConsent + "; then " + again
	appConsent = "an Entra administrator gives consent: Entra admin centre, Enterprise applications, the application, Permissions, Grant admin consent"
	delegated  = "(delegated: Exchange.Manage of Office 365 Exchange Online; for Microsoft Graph AuditLogsQuery.Read.All)"
	asItself   = "(application: Exchange.ManageAsApp of Office 365 Exchange Online; for Microsoft Graph AuditLogsQuery.Read.All)"
	newSecret  = "whoever runs this bot makes a new secret or certificate for the application in the Entra admin centre, App registrations, and gives it to the bot"
)

// meanings has a row for each AADSTS number that is worth words of its own. A
// program goes by the word "error" alone; numbers are for people.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
var meanings = map[int]meaning{
	// The account.
	50034: {"there is no such account in the tenant", "sign in with an account of the tenant; whoever runs this bot checks tenant:, upn: and accounts: in its settings"},
	50020: {"the account is of another organisation and no guest of this tenant", "sign in with an account of the tenant, in a private browser window if the browser picks the other one; or an Entra administrator invites it as a guest"},
	90072: {"the account is of another organisation and not known in this tenant", "sign in with an account of the tenant, in a private browser window if the browser picks the other one; or an Entra administrator invites it as a guest"},
	16000: {"the account is of another identity provider and not known in this tenant", "sign in with an account of the tenant, in a private browser window if the browser picks the other one"},
	50053: {"the account is locked after too many wrong passwords, or the sign-in came from an address that Microsoft does not trust", "wait some minutes and try again; if nobody mistyped the password, somebody may be guessing it: see Entra's sign-in log"},
	50055: {"the password has expired", "its owner changes it at https://mysignins.microsoft.com, then signs in again"},
	50144: {"the password of the account's own directory has expired", "its owner changes it there, then signs in again"},
	50056: {"the account has no password at Entra ID, or an empty one was sent", "sign in with a device code; or an Entra administrator checks how the account signs in"},
	50126: {"the user name or the password is wrong", "sign in again; after several wrong passwords Microsoft locks the account for a while"},
	50057: {"the account is disabled", "an Entra administrator enables it, or another account is used"},
	50105: {"the account is not assigned to the application", "an Entra administrator assigns it: Entra admin centre, Enterprise applications, the application, Users and groups"},

	// Second factors and policies.
	50072:  {"the account has to set up a second factor first", "its owner does so at https://mysignins.microsoft.com/security-info, then signs in again"},
	50079:  {"the account has to set up a second factor first, because a policy has changed or the place is new", "its owner does so at https://mysignins.microsoft.com/security-info, then signs in again"},
	50074:  {"a second factor is needed and was not given", "sign in again and confirm the second factor"},
	50076:  {"a second factor is needed, because a policy has changed or the place is new", "sign in again and confirm the second factor"},
	50078:  {"the second factor has to be confirmed again", "sign in again and confirm it"},
	50097:  {"a policy wants a device that is registered at Entra ID", "sign in from such a device's browser; if that does not help, " + itsPolicy},
	50131:  {"a Conditional Access policy refused the sign-in, because of the device or as suspicious", itsPolicy},
	50158:  {"the second factor of another provider was not confirmed", "sign in again and confirm it"},
	50199:  {"Microsoft wants the sign-in to be confirmed on its page", "start again, and confirm on the page that it is this application that you sign in to"},
	53000:  {"a Conditional Access policy wants a device that is compliant", "sign in from a managed device's browser; if that does not help, " + itsPolicy},
	53001:  {"a Conditional Access policy wants a device that is joined to the domain", "sign in from such a device's browser; if that does not help, " + itsPolicy},
	53003:  {"a Conditional Access policy blocks the sign-in", itsPolicy},
	53004:  {"setting up a second factor is blocked, because Microsoft sees a risk", "an Entra administrator looks at the account's risk in Entra ID Protection"},
	53011:  {"the account is blocked, because its home tenant sees a risk", "an administrator of the home tenant looks at the account's risk"},
	530032: {"a security policy of the tenant blocks the sign-in", itsPolicy},
	530035: {"the tenant's security defaults block the sign-in", "sign in with a device code instead of a password; or " + itsPolicy},
	530036: {"a Conditional Access policy blocks device codes", "device codes cannot be used in this tenant: an Entra administrator exempts this account or the application from the policy (condition: authentication flows), or whoever runs this bot sets auth: certificate in its settings"},

	// The end of a sign-in.
	50132:  {"the sign-in has ended: it was revoked, or the password has expired or was changed", again},
	50133:  {"the sign-in has ended: the password has expired or was changed", again},
	50173:  {"the sign-in was revoked, or the password was changed", again + "; if neither was meant to happen, tell the administrators of Entra ID"},
	70000:  {"Microsoft does not know the stored sign-in, or not for this application", again},
	70008:  {"the sign-in has expired, or was revoked", again},
	700082: {"the sign-in has expired, because it was not used for 90 days", again},
	700084: {"the sign-in has expired: its time was fixed", again},
	70043:  {"the sign-in is older than the tenant's sign-in frequency policy allows", again},

	// Consent, and the application.
	65001:   {"nobody has consented yet to what the application wants to do", "start again and consent, if Microsoft's page asks you to; else " + consent},
	65004:   {"consent was declined", "start again and consent; or " + consent},
	65002:   {"Microsoft does not let its own application be used for this service", "whoever runs this bot registers an application of the organisation's own and sets client_id:, for Microsoft Graph graph_client_id:, in its settings"},
	90094:   {"an administrator has to consent to what the application wants to do", consent},
	650056:  {"the application is set up wrongly: it asks for nothing, or nobody has consented", "whoever runs this bot checks the application's API permissions " + delegated + "; then " + consent},
	650057:  {"the application asks for a service that is not among its API permissions", "whoever runs this bot adds it " + delegated + "; then " + consent},
	500011:  {"the service is not known in the tenant", "whoever runs this bot checks exchange_url:, for Microsoft Graph graph_url:, in its settings, and that the tenant has Exchange Online"},
	700016:  {"the application is not known in the tenant", "whoever runs this bot checks client_id: and tenant: in its settings; an application of another tenant has to be consented to first"},
	7000112: {"the application is disabled", "an Entra administrator enables it: Enterprise applications, the application, Properties, Enabled for users to sign in"},
	70001:   {"the application is disabled or not known in the tenant", "whoever runs this bot checks client_id: and tenant: in its settings"},
	7000229: {"the application has no service principal in the tenant", consent},
	7000218: {"the application is not a public client, which device codes and passwords need", "whoever runs this bot allows it: Entra admin centre, App registrations, the application, Authentication, Allow public client flows: yes"},
	700025:  {"the application is a public client, and a secret or certificate was sent for it", "whoever runs this bot takes the secret or certificate out of the settings"},
	7000215: {"the application's secret is wrong", newSecret + ", the secret's value and not its id"},
	7000222: {"the application's secret has expired", newSecret},
	700027:  {"the application's certificate is not registered for it, or its signature is wrong", "whoever runs this bot registers the certificate in the Entra admin centre, App registrations, Certificates & secrets; a new one takes some minutes to be known"},
	700024:  {"the proof that the application signed is outside of its time", "whoever runs this bot sets the machine's clock right"},

	// The flow.
	70016:   {"nobody has signed in with the code yet", "open the page, type the code and sign in"},
	70017:   {"the sign-in was declined on Microsoft's page", "if you did not mean to, " + again},
	70018:   {"Microsoft does not know the code", again},
	70019:   {"the code has expired: nobody signed in with it in time", again},
	70020:   {"the code has expired: nobody signed in with it in time", again},
	90120:   {"the code was used or declined already", again},
	54005:   {"the code was used already, and Microsoft's answer got lost", again},
	700005:  {"the code is of another application or tenant", again},
	90002:   {"there is no such tenant", "whoever runs this bot checks tenant: and login_url: in its settings"},
	50059:   {"Microsoft cannot tell which tenant is meant", settings},
	50128:   {"there is no tenant with this domain", "whoever runs this bot checks tenant: and login_url: in its settings"},
	90038:   {"the tenant is in another national cloud", "whoever runs this bot sets cloud: in its settings to that one, or login_url: and exchange_url: to its addresses"},
	50194:   {"the application is of one tenant alone, and this is another", "whoever runs this bot checks tenant: and client_id: in its settings"},
	50196:   {"Microsoft sees the same request again and again and breaks off", "wait some minutes, then try again; if it stays, report it to whoever runs this bot"},
	9002313: {"Microsoft finds the request malformed", again + "; if it stays, " + settings},
}

// withoutFactor is the advice where a password is not enough.
const withoutFactor = "a password alone cannot pass that: whoever runs this bot sets auth: device_code in its settings"

// flowMeanings are the rows that say something else where no person signs in.
var flowMeanings = map[flow]map[int]meaning{byPassword: passwordMeanings, byApplication: applicationMeanings}

// ownApplication is the advice where the application cannot sign in as itself.
const ownApplication = "whoever runs this bot checks client_id: and tenant: in its settings: auth: certificate and auth: client_secret need an application of the organisation's own"

// applicationMeanings are for an application that signs in as itself.
var applicationMeanings = map[int]meaning{
	700016:  {meanings[700016].problem, ownApplication},
	700025:  {"the application is a public client, which cannot sign in as itself", ownApplication},
	700027:  {meanings[700027].problem, "whoever runs this bot registers the certificate of certificate_file: in the Entra admin centre, App registrations, the application, Certificates & secrets; a new one takes some minutes to be known"},
	7000215: {meanings[7000215].problem, newSecret + " as AUDITBOT_CLIENT_SECRET_<INSTANCE>: the secret's value and not its id"},
	7000222: {meanings[7000222].problem, newSecret + " as AUDITBOT_CLIENT_SECRET_<INSTANCE>"},
	7000218: {"the application has to prove itself, and sent no proof", "whoever runs this bot checks certificate_file: in its settings, or AUDITBOT_CLIENT_SECRET_<INSTANCE>"},
	650056:  {meanings[650056].problem, "whoever runs this bot checks the application's API permissions " + asItself + "; then " + appConsent},
	650057:  {meanings[650057].problem, "whoever runs this bot adds it " + asItself + "; then " + appConsent},
	65001:   {"nobody has consented yet to what the application wants to do", appConsent},
	7000229: {meanings[7000229].problem, appConsent},
}

// passwordMeanings are for a program that sends a person's password.
var passwordMeanings = map[int]meaning{
	50034:  {"the account of the settings does not exist in the tenant", "whoever runs this bot checks upn: and tenant: in its settings"},
	50055:  {meanings[50055].problem, "its owner changes it at https://mysignins.microsoft.com, then whoever runs this bot gives it the new one"},
	50056:  {meanings[50056].problem, "whoever runs this bot checks AUDITBOT_PASSWORD_<INSTANCE>; an account that signs in elsewhere needs auth: device_code"},
	50126:  {"the user name or the password of the settings is wrong", "whoever runs this bot checks upn: in its settings and AUDITBOT_PASSWORD_<INSTANCE>; after several wrong passwords Microsoft locks the account for a while"},
	50072:  {meanings[50072].problem, withoutFactor},
	50074:  {"a second factor is needed", withoutFactor},
	50076:  {meanings[50076].problem, withoutFactor},
	50078:  {meanings[50078].problem, withoutFactor},
	50079:  {meanings[50079].problem, withoutFactor},
	50158:  {"a second factor of another provider is needed", withoutFactor},
	53003:  {meanings[53003].problem, "whoever runs this bot sets auth: device_code in its settings; if that is blocked as well, " + itsPolicy},
	530035: {meanings[530035].problem, withoutFactor},
}

// wordMeanings are for answers whose number says nothing: the words of RFC
// 6749, section 5.2, and RFC 8628, section 3.5.
var wordMeanings = map[string]meaning{
	"authorization_declined": meanings[70017],
	"access_denied":          meanings[70017],
	"bad_verification_code":  meanings[70018],
	"expired_token":          meanings[70020],
	"invalid_tenant":         meanings[90002],
}

// listed is what the list of sign-in errors says about a number without a row
// of its own.
func listed(number int) (meaning, bool) {
	e, ok := auditlog.FindSignInError(number)
	if !ok || e.Meaning == "" {
		return meaning{}, false
	}
	return meaning{
		uncapitalised(e.Meaning),
		fmt.Sprintf("an Entra administrator looks AADSTS%d up in Entra's sign-in log, or at https://login.microsoftonline.com/error?code=%[1]d", number),
	}, true
}

// names begin sentences of the list and keep their capital.
var names = []string{"Conditional Access", "Kerberos", "Windows"}

// uncapitalised is a sentence for the middle of another; names, and words of
// capitals such as MFA, stay as they are.
func uncapitalised(text string) string {
	first, rest, _ := strings.Cut(text, " ")
	isName := slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(text, name) })
	if isName || len(first) > 1 && !unicode.IsLower(rune(first[1])) || rest == "" {
		return text
	}
	return strings.ToLower(text[:1]) + text[1:]
}
