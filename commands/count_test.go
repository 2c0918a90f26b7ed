package commands

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func counted(field string, values ...string) *counts {
	c := newCounts(field)
	for _, v := range values {
		c.add(v)
	}
	return c
}

func TestTheMostFrequentComesFirst(t *testing.T) {
	c := counted("Operation", "b", "a", "c", "a", "b", "", "a", "A")
	want := Table{Columns: []string{"Operation", "Records", "Share"}, Total: 5, Rows: [][]string{
		{"a", "3", "37.5 %"}, {"b", "2", "25.0 %"}, {"(none)", "1", "12.5 %"}, {"A", "1", "12.5 %"}, {"c", "1", "12.5 %"},
	}}
	if got := c.table(10, strconv.Itoa); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	want.Rows = want.Rows[:2]
	if got := c.table(2, strconv.Itoa); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if c.note() != "" {
		t.Error(c.note())
	}
	if got := counted("x").table(10, strconv.Itoa); len(got.Rows) != 0 || got.Total != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestOneUserInTwoSpellingsIsOne(t *testing.T) {
	got := counted("user", "Ada@contoso.com", "ada@contoso.com", "bob@contoso.com").table(5, strconv.Itoa).Rows
	want := [][]string{{"Ada@contoso.com", "2", "66.7 %"}, {"bob@contoso.com", "1", "33.3 %"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

func TestTooManyValuesAreCountedTogether(t *testing.T) {
	c := newCounts("Id")
	for i := range maxCounted + 5 {
		c.add(fmt.Sprintf("%06d", i))
	}
	c.add("000007")
	c.add("later")
	got := c.table(3, strconv.Itoa)
	want := [][]string{{"000007", "2", "0.0 %"}, {"000000", "1", "0.0 %"}, {"(other)", "6", "0.0 %"}}
	if !reflect.DeepEqual(got.Rows, want) || got.Total != maxCounted+1 {
		t.Errorf("%v of %d", got.Rows, got.Total)
	}
	if want := "Id has more different values than are counted apart (100,000); 6 records with later ones are (other)"; c.note() != want {
		t.Errorf("%q", c.note())
	}
}

func TestLongValuesAreBoundedByTheirBytes(t *testing.T) {
	c, long := newCounts("x"), strings.Repeat("x", 1<<20)
	for i := range 40 {
		c.add(fmt.Sprint(i) + long)
	}
	if c.bytes > maxCountedBytes || c.other != 40-len(c.groups) || c.other == 0 {
		t.Errorf("%d bytes, %d others", c.bytes, c.other)
	}
}
