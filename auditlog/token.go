package auditlog

import (
	"fmt"
	"io"
	"log/slog"
)

// A Token is the right to ask as somebody.
type Token struct {
	Access  Secret // the bearer token
	Account string // the user principal name it belongs to; "" for an application
	Tenant  string // GUID of the tenant it is for; "" if whoever gave it does not know
}

// A Secret is a string that logs, JSON and fmt show as "[secret]". Keep it in
// exported fields only: fmt looks into others without asking.
type Secret string

const hidden = "[secret]"

func (Secret) String() string               { return hidden }
func (Secret) Format(s fmt.State, _ rune)   { _, _ = io.WriteString(s, hidden) } // whatever the verb
func (Secret) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil } // for a struct given to slog's JSON handler
