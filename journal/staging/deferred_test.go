package staging_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ferry"
	"ferry/journal/journaltest"
	"ferry/journal/vfs"
)

// Barriers pass deferred files over until they are taken in again, forget those
// that are final, and never follow a failed sync.
func TestDeferredFiles(t *testing.T) {
	var mu sync.Mutex
	var synced []string
	fail := false
	fs := &journaltest.FaultFS{FS: vfs.OS(), Fault: func(op, name string) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(op, "sync") {
			synced = append(synced, filepath.Base(name))
			if fail {
				return 0, syscall.EIO
			}
		}
		return 0, nil
	}}
	s, _ := open(t, fs)
	gens := ferry.NewGenerations()
	a, b := gens.Next(), gens.Next()
	fa, fb := file(t, s, a), file(t, s, b)
	expect := func(what string, names ...string) {
		t.Helper()
		synced = nil
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		synced = slices.DeleteFunc(synced, func(n string) bool { return n == "staging" })
		if !slices.Equal(synced, names) {
			t.Fatalf("%s: %q; want %q", what, synced, names)
		}
	}
	write := func(f interface {
		WriteAt(p []byte, off int64) (int, error)
	},
	) {
		t.Helper()
		if _, err := f.WriteAt([]byte("x"), 0); err != nil {
			t.Fatal(err)
		}
	}
	fa.Defer(true)
	write(fa)
	expect("deferred", string(b))
	if s.Unsynced() {
		t.Error("a barrier is wanted for a deferred file alone")
	}
	fa.Defer(false)
	expect("taken in again", string(a))
	write(fb)
	s.Forget(b)
	expect("final")
	fa.Defer(true)
	write(fa)
	if err := s.SyncAll(); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(synced, string(a)) {
		t.Errorf("SyncAll synced %q; want the deferred file among them", synced)
	}
	fail = true
	if err := fa.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync of a failing disk: %v", err)
	}
	fail = false
	if err := s.Sync(); !errors.Is(err, syscall.EIO) || !s.Unsynced() {
		t.Errorf("a barrier after a failed sync: %v, and one is wanted: %v; want the failure", err, s.Unsynced())
	}
	fa.Close()
	fb.Close()
}
