package auditlog

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"strings"
	"sync"
)

// An App is what a record says was used: a program, by its id in Entra ID.
type App struct {
	ID   string // a GUID in lower case as a rule; "" if the record names none
	Name string // Microsoft's name for it, if it is one of Microsoft's; else ""
}

// String is "Office 365 Exchange Online (00000002-0000-0ff1-ce00-000000000000)",
// the id alone where no name is known, "" where there is no id.
func (a App) String() string {
	if a.Name == "" {
		return a.ID
	}
	return a.Name + " (" + a.ID + ")"
}

// appsCSV holds the ids and names of 904 applications of Microsoft's own. They
// are from https://github.com/merill/microsoft-info (MIT License, Copyright (c)
// Merill Fernando), https://github.com/secureworks/family-of-client-ids-research
// (MIT License, Copyright (c) 2022 Secureworks), and Microsoft's page on how to
// verify first-party apps in https://github.com/MicrosoftDocs/SupportArticles-docs
// (CC-BY-4.0). Permission is granted by the MIT License, free of charge, to deal
// in them without restriction, provided that this notice is kept; they come as
// they are, without warranty of any kind.
//
//go:embed apps.csv
var appsCSV string

var appNames = sync.OnceValue(func() map[string]string {
	names := map[string]string{}
	for _, row := range embeddedRows(appsCSV) {
		names[row[0]] = row[1]
	}
	return names
})

// FindApp is the application with this id, in upper or lower case. One that is
// not among Microsoft's has no name. A name is no proof of innocence: attackers
// use the ids of Microsoft's applications too.
func FindApp(id string) App {
	id = canonicalID(id)
	return App{ID: id, Name: appNames()[id]}
}

// embeddedRows are the rows of an embedded CSV file, without its header.
func embeddedRows(content string) [][]string {
	rows, err := csv.NewReader(strings.NewReader(content)).ReadAll()
	if err != nil {
		panic(fmt.Sprintf("reading an embedded list: %v", err))
	}
	return rows[1:]
}

// canonicalID is a GUID in lower case; any other id as it is, since in some of
// them upper and lower case differ.
func canonicalID(id string) string {
	id = strings.TrimSpace(id)
	if !isGUID(id) {
		return id
	}
	return strings.ToLower(id)
}

func isGUID(s string) bool {
	if len(s) != len("00000000-0000-0000-0000-000000000000") {
		return false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (s[i] == '-') || !dash && !isHex(s[i]) {
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
