package ferry

import (
	"strings"
	"testing"
)

func TestKeysThatCannotBePaths(t *testing.T) {
	for key, want := range map[ObjectKey]Kind{
		"":                                   KindInvalid,
		"/":                                  KindInvalid,
		"a//b":                               KindInvalid,
		"/a":                                 KindInvalid,
		"a/./b":                              KindInvalid,
		"../b":                               KindInvalid,
		"a\x00b":                             KindInvalid,
		"a\xffb":                             KindInvalid,
		ObjectKey(strings.Repeat("x", 256)):  KindNameTooLong,
		ObjectKey(strings.Repeat("x/", 600)): KindNameTooLong,
	} {
		if err := key.Check(); !IsKind(err, want) {
			t.Errorf("Check(%.20q) = %v; want %v", key, err, want)
		}
	}
	for _, key := range []ObjectKey{"a", "a/b", "dir/", "a b+%c\n\\", "ünï/…", ObjectKey(strings.Repeat("x", 255))} {
		if err := key.Check(); err != nil {
			t.Errorf("Check(%.20q) = %v", key, err)
		}
	}
}

func TestPathAlgebra(t *testing.T) {
	p := Path("").Join("a").Join("b")
	if p != "a/b" || p.Marker() != "a/b/" || Path("").Marker() != "" {
		t.Errorf("Join: %q, %q", p, p.Marker())
	}
	if dir, name := p.Split(); dir != "a" || name != "b" {
		t.Errorf("Split: %q %q", dir, name)
	}
	if !p.Below("a") || p.Below("a/b") || Path("ab").Below("a") || !p.Below("") || Path("").Below("") {
		t.Error("Below is wrong")
	}
	if got := Path("a/b/c").Rebase("a/b", "x"); got != "x/c" {
		t.Errorf("Rebase: %q", got)
	}
	if got := Path("a/b").Rebase("a/b", "x/y"); got != "x/y" {
		t.Errorf("Rebase of itself: %q", got)
	}
}

func TestGenerationIDs(t *testing.T) {
	g := NewGenerations()
	a, b := g.Next(), g.Next()
	if a == b || !a.Valid() || !b.Valid() {
		t.Errorf("%q, %q", a, b)
	}
	if o := NewGenerations().Next(); o == a {
		t.Errorf("two starts made %q", a)
	}
	for _, bad := range []Generation{"", "x", "../../etc-1", "0123456789abcdef-", "0123456789abcdef-1/2", "0123456789abcdeg-1"} {
		if bad.Valid() {
			t.Errorf("%q is taken for a generation", bad)
		}
	}
}
