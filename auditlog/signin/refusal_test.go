package signin_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
)

// refusing is a tenant that answers requests for tokens with a status and a
// body, if they are set.
type refusing struct {
	*tenantsim.Server
	status int
	body   string
	kind   string // Content-Type; "" means JSON
}

func (h *refusing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.status == 0 || !strings.HasSuffix(r.URL.Path, "/token") && !strings.HasSuffix(r.URL.Path, "/devicecode") {
		h.Server.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if h.kind != "" {
		w.Header().Set("Content-Type", h.kind)
	}
	w.WriteHeader(h.status)
	io.WriteString(w, h.body)
}

const (
	traceID       = "0b1f7c8e-6a52-4b1e-9d0c-3f7e5a2b4c00"
	correlationID = "9c2d8e7f-1a3b-4c5d-8e6f-7a8b9c0d1e2f"
)

func aadsts(word string, number int, text string) string {
	description := fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: 2026-11-05 12:00:00Z", number, text, traceID, correlationID)
	body, _ := json.Marshal(map[string]any{
		"error": word, "error_description": description, "error_codes": []int{number}, "timestamp": "2026-11-05 12:00:00Z",
		"trace_id": traceID, "correlation_id": correlationID, "error_uri": login + "/error?code=1",
	})
	return string(body)
}

// The numbers of Entra's documentation that happen to a client like ours.
var numbers = []int{
	50034, 50020, 90072, 50053, 50055, 50056, 50126, 50057, 50105,
	50072, 50074, 50076, 50078, 50079, 50097, 50131, 50158, 53000, 53001, 53003, 530032, 530035, 530036,
	50132, 50133, 50173, 70008, 700082, 70043,
	65001, 65004, 90094, 65002, 650056, 650057, 700016, 7000112, 70001, 7000229, 7000218, 700025, 7000215, 7000222, 700027, 700024,
	70016, 70018, 70019, 70020, 90120, 90002, 90038, 50194, 50196, 9002313,
}

// actor is how advice says who does something: whoever reads it, if it begins
// with a verb.
var actor = regexp.MustCompile(`^(start again|type|sign in|wait|open the page|whoever runs this bot|its owner|an Entra administrator)\b|: (whoever runs this bot|an Entra administrator) `)

func TestEachNumberHasASentenceOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &refusing{Server: contoso(t)}
		a, _ := account(tenant)
		code := start(t, a)
		app, _ := application(tenant)
		app.ClientSecret = "wrong"
		for name, signIn := range map[string]func() error{
			"application": func() error { _, err := app.Token(t.Context(), ""); return err },
			"code":        func() error { _, err := a.Wait(t.Context(), code); return err },
			"password":    func() error { return a.SignIn(t.Context(), "wrong") },
			"start":       func() error { _, err := a.Start(t.Context()); return err },
		} {
			seen := map[string]int{}
			for _, number := range numbers {
				tenant.status, tenant.body = http.StatusBadRequest, aadsts("invalid_grant", number, "Microsoft's own words.")
				err := signIn()
				r := refused(t, err)
				mark := fmt.Sprintf(" (AADSTS%d)", number)
				words, ok := strings.CutSuffix(r.Problem, mark)
				if !ok || strings.Contains(words, "Microsoft's own words") {
					t.Errorf("%s: %d: %q", name, number, r.Problem)
				}
				if other, ok := seen[words]; ok && number != 70020 { // which is 70019 to people
					t.Errorf("%s: %d has the words of %d", name, number, other)
				}
				seen[words] = number
				if byPerson := name == "code" || name == "start"; !actor.MatchString(r.Advice) || !byPerson && strings.Contains(r.Advice, "auth-start") {
					t.Errorf("%s: %d: who does it? %q", name, number, r.Advice)
				}
				says(t, r.Err.Error(), "400 Bad Request", "invalid_grant", "Microsoft's own words.", mark[2:len(mark)-1], traceID, correlationID)
			}
		}
	})
}

// Numbers of Microsoft's list that have no words of their own are explained by
// the list, whether they refuse a sign-in or end one.
func TestEachNumberOfTheListIsExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		content, err := os.ReadFile("../sts_errors.csv")
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
		if err != nil || len(rows) != 260 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		tenant := &refusing{Server: contoso(t)}
		a, shelf := account(tenant)
		for _, row := range rows[1:] {
			tenant.status = 0
			if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
				t.Fatal(err)
			}
			number, _ := strconv.Atoi(row[0])
			tenant.status, tenant.body = http.StatusBadRequest, aadsts("invalid_grant", number, "Microsoft's own words.")
			r := refused(t, a.SignIn(t.Context(), "wrong"))
			_, ended := a.Token(t.Context(), auditlog.Secret(shelf.field("access")))
			if !errors.Is(ended, signin.ErrNotSignedIn) {
				t.Errorf("%d: %v", number, ended)
			}
			for _, problem := range []string{r.Problem, ended.Error()} {
				words, ok := strings.CutSuffix(problem, " (AADSTS"+row[0]+")")
				if !ok || strings.Contains(words, "Microsoft refused") || strings.Contains(words, "does not take") || strings.Contains(words, "own words") {
					t.Errorf("%d: %q", number, problem)
				}
			}
		}
	})
}

func TestTheListsSentencesFitIntoOurs(t *testing.T) {
	for number, c := range map[int]struct{ problem, advice string }{
		50180:   {"integrated Windows sign-in needed (Seamless SSO) (AADSTS50180)", "looks AADSTS50180 up"},
		1000104: {"other cloud is not allowed for this tenant (AADSTS1000104)", "looks AADSTS1000104 up"},
		81004:   {"Kerberos ", "looks AADSTS81004 up"},
		50140:   {"\"Stay signed in?\" page was shown", "looks AADSTS50140 up"},
	} {
		synctest.Test(t, func(t *testing.T) {
			tenant := &refusing{Server: contoso(t)}
			a, _ := account(tenant)
			tenant.status, tenant.body = http.StatusBadRequest, aadsts("invalid_grant", number, "Microsoft's own words.")
			r := refused(t, a.SignIn(t.Context(), "wrong"))
			if !strings.HasPrefix(r.Problem, c.problem) {
				t.Errorf("%d: %q", number, r.Problem)
			}
			says(t, r.Advice, c.advice)
		})
	}
}

func TestAFailureOfMicrosoftsWithANumberIsToBeTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &refusing{Server: contoso(t)}
		a, _ := account(tenant)
		tenant.status, tenant.body = http.StatusServiceUnavailable, aadsts("temporarily_unavailable", 90033, "A transient error has occurred.")
		r := refused(t, a.SignIn(t.Context(), "right"))
		says(t, r.Problem, "directory service is unavailable (AADSTS90033)")
		says(t, r.Advice, "try again in some minutes")
	})
}

func TestAnUnknownNumberIsShownWithItsTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &refusing{Server: contoso(t)}
		a, _ := account(tenant)
		tenant.status, tenant.body = http.StatusBadRequest, aadsts("invalid_grant", 123456, "Something\r\nnew\u202e happened.")
		r := refused(t, a.SignIn(t.Context(), "wrong"))
		if want := "Microsoft refused the sign-in: Something new happened (AADSTS123456, trace id " + traceID + ")"; r.Problem != want {
			t.Errorf("%q, want %q", r.Problem, want)
		}
	})
}

// The flow goes by the word alone.
func TestWordsCountWithoutANumber(t *testing.T) {
	for word, problem := range map[string]string{
		"authorization_declined": "declined", "access_denied": "declined", "bad_verification_code": "does not know the code", "expired_token": "expired",
		"invalid_grant": "Microsoft refused the sign-in", "invalid_client": "Microsoft refused the sign-in",
	} {
		synctest.Test(t, func(t *testing.T) {
			tenant := &refusing{Server: contoso(t)}
			a, _ := account(tenant)
			code := start(t, a)
			tenant.status, tenant.body = http.StatusBadRequest, `{"error":"`+word+`"}`
			_, err := a.Wait(t.Context(), code)
			says(t, refused(t, err).Problem, problem)
		})
	}
}

func TestAnAnswerWithoutAWordIsNotMicrosofts(t *testing.T) {
	for _, body := range []string{"", "<html>no</html>", "{}", `{"error":7}`, `{"error":""}`, `{"error":"<b>No</b>"}`, "error=invalid_grant"} {
		for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded"} {
			synctest.Test(t, func(t *testing.T) {
				tenant := &refusing{Server: contoso(t)}
				a, shelf := account(tenant)
				if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
					t.Fatal(err)
				}
				tenant.status, tenant.body, tenant.kind = http.StatusBadRequest, body, kind
				_, err := a.Token(t.Context(), auditlog.Secret(shelf.field("access")))
				says(t, refused(t, err).Problem, "refused the stored sign-in without saying why (400)")
				says(t, refused(t, a.SignIn(t.Context(), tenantsim.ContosoPassword)).Problem, "a failure of its own (400)")
				if shelf.empty() {
					t.Errorf("%q, %q: the sign-in is gone", body, kind)
				}
			})
		}
	}
}

func TestWhyMicrosoftCannotBeReachedIsSaid(t *testing.T) {
	for _, c := range []struct {
		err             error
		problem, advice string
	}{
		{&net.DNSError{Err: "no such host", Name: "login.microsoftonline.com", IsNotFound: true}, "there is no such host", "login_url:"},
		{&net.DNSError{Err: "server misbehaving", Name: "login.microsoftonline.com"}, "could not be reached", "firewall"},
		{&tls.CertificateVerificationError{Err: errors.New("unknown authority")}, "the certificate of login.microsoftonline.com is not trusted", "replaces certificates"},
		{&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, "could not be reached", "proxy"},
		{&net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}, "did not answer in time", "network"},
	} {
		synctest.Test(t, func(t *testing.T) {
			a, _ := account(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(c.err) }))
			_, err := a.Start(t.Context())
			r := refused(t, err)
			says(t, r.Problem, c.problem)
			says(t, r.Advice, c.advice)
			if !errors.Is(err, c.err) {
				t.Errorf("%v does not wrap %v", err, c.err)
			}
		})
	}
}

// everyWay prints v in every way that a program may come to print it.
func everyWay(v any) string {
	var b bytes.Buffer
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&b, format+"\n", v)
	}
	data, err := json.Marshal(v)
	fmt.Fprintln(&b, string(data), err)
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&b, nil), slog.NewTextHandler(&b, nil)} {
		slog.New(handler).Info("m", "v", v, "group", slog.GroupValue(slog.Any("v", v)), "nested", struct{ V any }{v}, "list", []any{v})
	}
	if err, ok := v.(error); ok {
		for _, inner := range unwrapped(err) {
			b.WriteString(everyWay(inner))
		}
	}
	return b.String()
}

func unwrapped(err error) []error {
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	case interface{ Unwrap() error }:
		return []error{e.Unwrap()}
	}
	return nil
}

// hides fails if any of the secrets is in what is printed of v.
func hides(t *testing.T, what string, v any, secrets ...string) {
	t.Helper()
	printed := everyWay(v)
	for _, secret := range secrets {
		if secret == "" {
			t.Errorf("%s: a secret is empty", what)
		}
		for _, form := range []string{secret, url.QueryEscape(secret), fmt.Sprintf("%x", secret)} {
			if strings.Contains(strings.ToLower(printed), strings.ToLower(form)) {
				t.Errorf("%s shows a secret: %s", what, printed)
				return
			}
		}
	}
}

func TestNoTypeShowsWhatIsSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := signedIn(t, tenant)
		a.Password = "the password"
		code := start(t, a)
		token, err := a.Token(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		tenant.Fail(tenantsim.Late(time.Second).On("token"))
		var renewal sync.WaitGroup
		defer renewal.Wait()
		renewal.Go(func() { // on its way while all is printed
			if _, err := a.Token(t.Context(), token.Access); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		secrets := []string{string(code.UserCode), string(code.DeviceCode), string(token.Access), shelf.field("refresh"), "the password"}
		for what, v := range map[string]any{
			"code": code, "code value": *code, "token": token, "account": a, "account value": *a, "entra": a.Entra, "store": a.Store,
		} {
			hides(t, what, v, secrets...)
		}
	})
}

// A service, or something in its place, that answers with all that it was sent
// and more.
func TestNoErrorShowsWhatIsSecret(t *testing.T) {
	const password = "pass word&+1%"
	echoes := map[string]func(sent string) (status int, kind, body string){
		"in the description": func(sent string) (int, string, string) {
			return 400, "application/json", aadsts("invalid_grant", 50126, "You sent "+sent+" and")
		},
		"decoded in the description": func(sent string) (int, string, string) {
			plain, _ := url.QueryUnescape(sent)
			return 400, "application/json", aadsts("invalid_grant", 123456, "You sent "+plain)
		},
		"in every field": func(sent string) (int, string, string) {
			body, _ := json.Marshal(map[string]any{"error": sent, "suberror": sent, "error_description": sent, "trace_id": sent, "correlation_id": sent, "error_uri": sent})
			return 401, "application/json", string(body)
		},
		"as text": func(sent string) (int, string, string) { return 502, "text/plain", sent },
		"as a form": func(sent string) (int, string, string) {
			return 400, "application/x-www-form-urlencoded", "error=invalid_grant&error_description=" + sent
		},
		"as a web page": func(sent string) (int, string, string) { return 403, "text/html", "<html>" + sent },
		"with success": func(sent string) (int, string, string) {
			return 200, "application/json", `{"expires_in":"` + sent + `"}`
		},
		"as the expiry": func(sent string) (int, string, string) {
			return 200, "application/json", `{"access_token":"SECRET","expires_in":"` + sent + `"}`
		},
		"broken":        func(sent string) (int, string, string) { return 200, "application/json", sent },
		"in a redirect": func(sent string) (int, string, string) { return 302, "", sent },
		"as a query":    func(sent string) (int, string, string) { return 200, "text/plain", sent + "&error=invalid_grant" },
		"with an error": func(sent string) (int, string, string) {
			return 200, "application/json", `{"error":"invalid_grant","error_description":"` + sent + `"}`
		},
		"with no proof": func(string) (int, string, string) {
			return 200, "application/json", `{"access_token":"SECRET","refresh_token":"SECRET"}`
		},
		"with bad proof": func(string) (int, string, string) {
			return 200, "application/json", `{"access_token":"SECRET","id_token":"SECRET.SECRET.SECRET"}`
		},
	}
	for name, echo := range echoes {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant, mirror := contoso(t), false
				a, shelf := account(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if !mirror || r.Method != http.MethodPost {
						tenant.ServeHTTP(w, r)
						return
					}
					sent, _ := io.ReadAll(r.Body)
					status, kind, body := echo(string(sent))
					w.Header().Set("Content-Type", kind)
					w.Header().Set("Location", "https://login.example.com/%zz?"+string(sent))
					w.WriteHeader(status)
					io.WriteString(w, body)
				}))
				if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
					t.Fatal(err)
				}
				code := start(t, a)
				secrets := []string{string(code.UserCode), string(code.DeviceCode), shelf.field("access"), shelf.field("refresh"), password, "SECRET"}
				mirror = true
				_, waiting := a.Wait(t.Context(), code)
				_, starting := a.Start(t.Context())
				signing := a.SignIn(t.Context(), password)
				_, renewing := a.Token(t.Context(), auditlog.Secret(shelf.field("access")))
				for what, err := range map[string]error{"Wait": waiting, "Start": starting, "SignIn": signing} {
					if err == nil {
						t.Errorf("%s did not fail", what)
					}
					hides(t, what, err, secrets...)
				}
				hides(t, "Token", renewing, secrets...)
			})
		})
	}
}

func TestATransportThatBreaksShowsNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := signedIn(t, tenant)
		code := start(t, a)
		for range 200 {
			tenant.Fail(tenantsim.Reset.On("token"))
		}
		_, renewing := a.Token(t.Context(), auditlog.Secret(shelf.field("access")))
		_, waiting := a.Wait(t.Context(), code)
		for _, err := range []error{renewing, waiting, a.SignIn(t.Context(), "the password")} {
			refused(t, err)
			hides(t, "the error", err, string(code.UserCode), string(code.DeviceCode), shelf.field("access"), shelf.field("refresh"), "the password")
		}
	})
}

func TestACancelledPersonIsNotToldOfTheNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, _ := account(tenant)
		for _, name := range []string{"openid-configuration", "token", "keys"} {
			tenant.Fail(tenantsim.Hung.On(name))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(5*time.Second, cancel)
			err := a.SignIn(ctx, tenantsim.ContosoPassword)
			if _, ok := errors.AsType[*auditlog.Refusal](err); ok || !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
			time.Sleep(2 * time.Minute) // the discovery goes on for others
		}
	})
}

// What glewlwyd answers to a refresh token that it does not take. A proxy may
// answer so as well, so the sign-in stays, and the token is tried again.
func TestARefreshRefusedWithoutAWordLeavesTheSignInAlone(t *testing.T) {
	for status, problem := range map[int]string{
		400: "the sign-in service refused the stored sign-in without saying why (400)",
		401: "the sign-in service refused the stored sign-in without saying why (401)",
		403: "Microsoft's sign-in service has a failure of its own (403)",
		502: "Microsoft's sign-in service has a failure of its own (502)",
	} {
		synctest.Test(t, func(t *testing.T) {
			tenant := &refusing{Server: contoso(t)}
			a, shelf := account(tenant)
			if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
				t.Fatal(err)
			}
			rejected := auditlog.Secret(shelf.field("access"))
			tenant.status, tenant.kind = status, "text/plain"
			_, err := a.Token(t.Context(), rejected)
			r := refused(t, err)
			if r.Problem != problem {
				t.Errorf("%q, want %q", r.Problem, problem)
			}
			if strings.Contains(problem, "without saying why") {
				says(t, r.Advice, "in some minutes", "!o365-auditlog-auth-reset, then !o365-auditlog-auth-start")
			}
			tenant.status = 0
			if token, err := a.Token(t.Context(), rejected); err != nil || token.Access == rejected {
				t.Errorf("afterwards: %v, %v", token, err)
			}
		})
	}
}
