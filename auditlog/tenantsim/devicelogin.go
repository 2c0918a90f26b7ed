package tenantsim

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"strings"
)

//go:embed page
var pageFiles embed.FS

var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{"note": note}).ParseFS(pageFiles, "page/page.html"))

// note says what is special about an account, for whoever picks one.
func note(a Account) string {
	switch {
	case a.Blocked != 0:
		return fmt.Sprintf("sign-in is refused (AADSTS%d)", a.Blocked)
	case a.Tenant != "":
		return "of another organisation"
	case !mayAudit(a.Roles):
		return "may not search the audit log"
	}
	return "may search the audit log"
}

// A screen is what the sign-in page shows.
type screen struct {
	Title   string
	Tenant  string
	Domain  string
	Problem string  // what was wrong with the input; may be ""
	Code    string  // as typed
	Prompt  *prompt // who asks, once the code is known
	Done    string  // how it ended
}

// signInPage is where people sign in with a device code. It takes forms from
// itself only, and only under a name of this machine: another site cannot make
// a browser approve anything, even one that makes its own name point here.
func (s *Server) signInPage() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /devicelogin", func(w http.ResponseWriter, r *http.Request) {
		s.show(w, http.StatusOK, screen{Title: "Enter code", Code: r.FormValue("otc")})
	})
	mux.HandleFunc("POST /devicelogin", func(w http.ResponseWriter, r *http.Request) {
		code := r.PostFormValue("code")
		p, ok := s.prompt(code)
		if !ok {
			s.show(w, http.StatusBadRequest, screen{Title: "Enter code", Code: code, Problem: noSuchCode})
			return
		}
		s.show(w, http.StatusOK, screen{Title: "Sign in", Code: code, Prompt: &p})
	})
	mux.HandleFunc("POST /devicelogin/decide", s.decide)
	mux.HandleFunc("GET /devicelogin/style.css", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, pageFiles, "page/style.css")
	})
	fromItself := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if !loopback(host) {
			http.Error(w, "this page is for the machine that it runs on", http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		fromItself.ServeHTTP(w, r)
	})
}

const noSuchCode = "No sign-in waits for this code. It may be mistyped, used or expired: codes are valid for 15 minutes."

// decide does with a code what the person chose.
func (s *Server) decide(w http.ResponseWriter, r *http.Request) {
	code := r.PostFormValue("code")
	p, ok := s.prompt(code)
	if !ok {
		s.show(w, http.StatusBadRequest, screen{Title: "Enter code", Code: code, Problem: noSuchCode})
		return
	}
	again := func(problem string) {
		s.show(w, http.StatusBadRequest, screen{Title: "Sign in", Code: code, Prompt: &p, Problem: problem})
	}
	var err error
	done := screen{Title: "Signed in", Done: "You have signed in to " + p.App + " on your other device. You can close this page."}
	switch r.PostFormValue("decision") {
	case "approve":
		upn := strings.TrimSpace(cmp.Or(r.PostFormValue("account"), r.PostFormValue("other")))
		if _, ok := s.account(upn); !ok {
			again(fmt.Sprintf("AADSTS50034: there is no account %q in %s.", upn, s.Tenant.Name))
			return
		}
		var refusal *entraError
		if refusal, err = s.approve(code, upn); refusal != nil {
			done = screen{Title: "You cannot sign in", Problem: fmt.Sprintf("AADSTS%d: %s", refusal.code, refusal.text), Done: "The other device is told so."}
		}
	case "deny":
		err = s.Deny(code)
		done = screen{Title: "Denied", Done: p.App + " was not signed in. You can close this page."}
	case "expire":
		err = s.Expire(code)
		done = screen{Title: "Expired", Done: "The code is no longer valid, as if 15 minutes had passed."}
	default:
		again("Choose what to do.")
		return
	}
	if err != nil {
		done = screen{Title: "Enter code", Code: code, Problem: noSuchCode} // somebody else was faster
	}
	s.show(w, http.StatusOK, done)
}

func (s *Server) show(w http.ResponseWriter, status int, page screen) {
	page.Tenant, page.Domain = s.Tenant.Name, s.Tenant.Domain
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, page); err != nil {
		http.Error(w, "the page cannot be shown: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w)
}
