package staging_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ferry"
	"ferry/journal/journaltest"
	"ferry/journal/staging"
	"ferry/journal/vfs"

	"pgregory.net/rapid"
)

func open(t testing.TB, fs vfs.FS) (*staging.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "staging")
	s, err := staging.Open(staging.Options{Dir: dir, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, dir
}

func file(t testing.TB, s *staging.Store, g ferry.Generation) *staging.File {
	t.Helper()
	f, err := s.Open(g)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func contents(t testing.TB, s *staging.Store, g ferry.Generation) []byte {
	t.Helper()
	f := file(t, s, g)
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// noReflink is a file system that shares no blocks.
func noReflink() vfs.FS {
	return &journaltest.FaultFS{FS: vfs.OS(), Fault: func(string, string) (int, error) { return 0, nil }}
}

// TestClone: with a base only the given extents are copied, without one every
// byte is, and zeros that were written are zeros in the copy.
func TestClone(t *testing.T) {
	s, _ := open(t, noReflink())
	gens := ferry.NewGenerations()
	rapid.Check(t, func(rt *rapid.T) {
		from, to := gens.Next(), gens.Next()
		f := file(t, s, from)
		want := make([]byte, 0)
		set := &ferry.ExtentSet{}
		for range rapid.IntRange(0, 6).Draw(rt, "writes") {
			off := rapid.Int64Range(0, 300_000).Draw(rt, "offset")
			b := bytes.Repeat([]byte{byte(rapid.IntRange(0, 2).Draw(rt, "byte"))}, rapid.IntRange(1, 100_000).Draw(rt, "length"))
			if _, err := f.WriteAt(b, off); err != nil {
				rt.Fatal(err)
			}
			if end := int(off) + len(b); end > len(want) {
				want = append(want, make([]byte, end-len(want))...)
			}
			copy(want[off:], b)
			if rapid.Bool().Draw(rt, "ours") {
				set.Add(ferry.Extent{Offset: off, Length: int64(len(b))})
			}
		}
		f.Close()
		if err := s.Clone(from, to, nil); err != nil {
			rt.Fatal(err)
		}
		if !bytes.Equal(contents(t, s, to), want) {
			rt.Fatal("the copy of a whole file differs")
		}
		part := gens.Next()
		if err := s.Clone(from, part, set); err != nil {
			rt.Fatal(err)
		}
		got := contents(t, s, part)
		if len(got) != len(want) {
			rt.Fatalf("%d bytes, want %d", len(got), len(want))
		}
		for _, e := range set.All() {
			if !bytes.Equal(got[e.Offset:e.End()], want[e.Offset:e.End()]) {
				rt.Fatalf("extent %s differs", e)
			}
		}
		for _, g := range []ferry.Generation{from, to, part} {
			if err := s.Remove(g); err != nil {
				rt.Fatal(err)
			}
		}
	})
	if u := s.Usage(); u != 0 {
		t.Fatalf("an empty store uses %d bytes", u)
	}
}

func TestCloneOfNothing(t *testing.T) {
	s, _ := open(t, nil)
	gens := ferry.NewGenerations()
	to := gens.Next()
	if err := s.Clone(gens.Next(), to, nil); err != nil {
		t.Fatal(err)
	}
	if b := contents(t, s, to); len(b) != 0 {
		t.Fatalf("%q", b)
	}
}

// TestUsage: the count is what the disk says, while files grow, shrink and go,
// and after a new start.
func TestUsage(t *testing.T) {
	s, dir := open(t, nil)
	gens := ferry.NewGenerations()
	r := rand.New(rand.NewPCG(1, 1))
	var live []ferry.Generation
	for range 30 {
		g := gens.Next()
		live = append(live, g)
		f := file(t, s, g)
		if _, err := f.WriteAt(make([]byte, 1+r.IntN(3<<20)), r.Int64N(1<<30)); err != nil {
			t.Fatal(err)
		}
		if r.IntN(3) == 0 {
			if err := f.Truncate(r.Int64N(1 << 20)); err != nil {
				t.Fatal(err)
			}
		}
		if r.IntN(4) == 0 {
			if err := s.Remove(live[0]); err != nil { // maybe open: its handle lives on
				t.Fatal(err)
			}
			live = live[1:]
		}
		f.Close()
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	again, err := staging.Open(staging.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	// Blocks that are only reserved count a little differently until they are on disk.
	if a, b := s.Usage(), again.Usage(); max(a, b)-min(a, b) > 1<<20 {
		t.Fatalf("counted %d, on disk %d", a, b)
	}
	list, err := again.List()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	slices.Sort(live)
	if !slices.Equal(list, live) {
		t.Fatalf("%d files, want %d", len(list), len(live))
	}
}

// TestRemovedWhileOpen: the handle keeps its bytes, the name is gone.
func TestRemovedWhileOpen(t *testing.T) {
	s, dir := open(t, nil)
	g := ferry.NewGenerations().Next()
	f := file(t, s, g)
	if _, err := f.WriteAt([]byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(g); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := f.ReadAt(b, 0); err != nil || string(b) != "kept" {
		t.Fatalf("%q %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(dir, string(g))); err == nil {
		t.Fatal("the name is still there")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(g); err != nil {
		t.Fatal("removing twice:", err)
	}
}

// TestSyncNamesWhatChanged: a barrier makes exactly the changed files durable and
// the directory if a name was made, and nothing the second time.
func TestSyncNamesWhatChanged(t *testing.T) {
	var mu sync.Mutex
	var synced []string
	fs := &journaltest.FaultFS{FS: vfs.OS(), Fault: func(op, name string) (int, error) {
		if strings.Contains(op, "sync") {
			mu.Lock()
			defer mu.Unlock()
			synced = append(synced, filepath.Base(name))
		}
		return 0, nil
	}}
	s, _ := open(t, fs)
	gens := ferry.NewGenerations()
	a, b, c, d := gens.Next(), gens.Next(), gens.Next(), gens.Next()
	expect := func(what string, names ...string) {
		t.Helper()
		synced = nil
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		slices.Sort(synced)
		slices.Sort(names)
		if !slices.Equal(synced, names) {
			t.Fatalf("%s: %q, want %q", what, synced, names)
		}
	}
	expect("a new directory", "staging")
	fa, fb := file(t, s, a), file(t, s, b)
	expect("new files", "staging", string(a), string(b))
	if _, err := fa.WriteAt([]byte("x"), 5); err != nil {
		t.Fatal(err)
	}
	expect("a write", string(a))
	expect("nothing")
	if err := fb.Truncate(100); err != nil {
		t.Fatal(err)
	}
	fb.Close() // closed before the barrier
	expect("a truncation", string(b))
	if err := fa.Label(staging.Label{Path: "p"}); err != nil {
		t.Fatal(err)
	}
	expect("a label", string(a))
	if err := s.Clone(a, c, nil); err != nil {
		t.Fatal(err)
	}
	expect("a clone", "staging", string(c))
	s.Dirty(a)
	expect("a write past the daemon", string(a))
	if _, err := fa.WriteAt([]byte("x"), 5); err != nil {
		t.Fatal(err)
	}
	fa.Close()
	if err := s.Remove(a); err != nil {
		t.Fatal(err)
	}
	expect("a file that is gone")
	file(t, s, d).Close()
	expect("an empty file", "staging", string(d))
}

// TestWriteFaults: a write that fails says how, and what was written counts.
func TestWriteFaults(t *testing.T) {
	for errno, kind := range map[syscall.Errno]ferry.Kind{
		syscall.ENOSPC: ferry.KindNoSpace, syscall.EIO: ferry.KindCorrupt, syscall.EFBIG: ferry.KindTooLarge,
	} {
		s, _ := open(t, &journaltest.FaultFS{FS: vfs.OS(), Fault: func(op, _ string) (int, error) {
			if op == "write" {
				return 3, errno
			}
			return 0, nil
		}})
		f := file(t, s, ferry.NewGenerations().Next())
		n, err := f.WriteAt([]byte("hello"), 0)
		if n != 3 || !ferry.IsKind(err, kind) {
			t.Fatalf("%v: %d %v", errno, n, err)
		}
		if !s.Unsynced() {
			t.Fatal("the bytes that were written are forgotten")
		}
		f.Close()
	}
}

// TestReserve: a full disk gives back its reserve once, and the write goes on.
func TestReserve(t *testing.T) {
	full, asked := true, 0
	fs := &journaltest.FaultFS{FS: vfs.OS(), Fault: func(op, _ string) (int, error) {
		if op == "write" && full {
			return 2, syscall.ENOSPC
		}
		return 0, nil
	}}
	s, err := staging.Open(staging.Options{Dir: t.TempDir(), FS: fs, NoSpace: func() bool { asked++; full = false; return true }})
	if err != nil {
		t.Fatal(err)
	}
	g := ferry.NewGenerations().Next()
	f := file(t, s, g)
	if n, err := f.WriteAt([]byte("hello"), 0); n != 5 || err != nil || asked != 1 {
		t.Fatalf("%d %v %d", n, err, asked)
	}
	f.Close()
	if b := contents(t, s, g); string(b) != "hello" {
		t.Fatalf("%q", b)
	}
}

func TestLabelRoundTrip(t *testing.T) {
	s, _ := open(t, nil)
	g := ferry.NewGenerations().Next()
	f := file(t, s, g)
	defer f.Close()
	if l, err := f.ReadLabel(); l != nil || err != nil {
		t.Fatalf("%v %v", l, err)
	}
	want := staging.Label{
		Inode: 7, Path: "a/b", Size: -1, Sealed: true, Attr: ferry.Attr{Mode: 0o600, Mtime: 5}, Complete: true,
		Base: &ferry.Version{Key: "a/b", ETag: "e"}, BaseLimit: 9, Extents: []ferry.Extent{{Offset: 1, Length: 2}},
	}
	if err := f.Label(want); err != nil {
		t.Fatal(err)
	}
	got, err := f.ReadLabel()
	if err != nil {
		t.Fatal(err)
	}
	if got.Generation != g || got.Path != want.Path || !got.Sealed || got.Size != -1 || *got.Base != *want.Base || !slices.Equal(got.Extents, want.Extents) || got.Attr != want.Attr {
		t.Fatalf("%+v", got)
	}
}

func TestForeignNames(t *testing.T) {
	s, dir := open(t, nil)
	for _, name := range []string{"README", "../x", "0123456789abcdef", "0123456789abcdef-0.lost"} {
		if _, err := s.Open(ferry.Generation(name)); !ferry.IsKind(err, ferry.KindInternal) {
			t.Fatalf("%q: %v", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Fatalf("%q %v", list, err)
	}
}
