package auditlog

import "log/slog"

// A Token is the right to ask as somebody. Printing it does not show it.
type Token struct {
	Access  string `json:"-"` // the bearer token
	Account string // the user principal name it belongs to; "" for an application
}

func (t Token) String() string   { return "[token of " + t.Account + "]" }
func (t Token) GoString() string { return t.String() }

// A Secret is a string that logs, JSON and fmt show as "[secret]".
type Secret string

const hidden = "[secret]"

func (Secret) String() string               { return hidden }
func (Secret) GoString() string             { return hidden }
func (Secret) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil } // for a struct given to slog's JSON handler
