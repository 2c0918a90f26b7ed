package auditlog

import (
	_ "embed"
	"fmt"
	"strconv"
	"sync"
)

// A SignInError says why Entra ID refused or interrupted a sign-in.
type SignInError struct {
	Code    int    // as in ErrorNumber and, after AADSTS, in error messages: 50126
	Name    string // as in LogonError: "InvalidUserNameOrPassword"; "" if Microsoft gives none
	Meaning string // in our words, at most 100 characters
}

// signInErrorsCSV holds 259 codes. Codes and names are from the page
// reference-error-codes of https://github.com/MicrosoftDocs/entra-docs
// (CC-BY-4.0), 14 were seen in records; the meanings are our words.
//
//go:embed sts_errors.csv
var signInErrorsCSV string

var signInErrors = sync.OnceValue(func() map[int]SignInError {
	known := map[int]SignInError{}
	for _, row := range embeddedRows(signInErrorsCSV) {
		code, err := strconv.Atoi(row[0])
		if err != nil {
			panic(fmt.Sprintf("reading the embedded sign-in errors: %v", err))
		}
		known[code] = SignInError{Code: code, Name: row[1], Meaning: row[2]}
	}
	return known
})

// FindSignInError looks a code up. Entra ID has more than the list: an unknown
// one is a failure too.
func FindSignInError(code int) (SignInError, bool) {
	e, ok := signInErrors()[code]
	return e, ok
}
