package content

import (
	"context"
	"slices"
	"syscall"
	"testing"

	"ferry"
)

// diaryStaging notes in which order files are deferred, synced and sealed.
type diaryStaging struct {
	fileStaging
	diary *[]string
}

func (s diaryStaging) Open(g ferry.Generation) (StagingFile, error) {
	f, err := s.fileStaging.Open(g)
	return diaryFile{f, s.diary}, err
}

type diaryFile struct {
	StagingFile
	diary *[]string
}

func (f diaryFile) Defer(yes bool) {
	*f.diary = append(*f.diary, map[bool]string{true: "defer", false: "take in"}[yes])
}

func (f diaryFile) Sync() error {
	*f.diary = append(*f.diary, "sync")
	return f.StagingFile.Sync()
}

// A new file is left out of barriers while it is written, but not by an fsync of
// its own, and is taken in again before the record that seals it. What was closed
// once is never left out.
func TestDeferredUntilSealed(t *testing.T) {
	w := newWorld(t.TempDir())
	var diary []string
	o := w.options()
	o.Staging = diaryStaging{w.staging, &diary}
	o.Crash = func(point string) {
		if point == "content.seal.before" || point == "content.seal.after" {
			diary = append(diary, point)
		}
	}
	f := New(context.Background(), o)
	defer f.Close()
	e, err := w.names.create(1, w.gens.Next())
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string, fsync bool) {
		t.Helper()
		h, err := f.OpenFile(t.Context(), e, syscall.O_WRONLY)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(t.Context(), h, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
		if fsync {
			if err := f.Fsync(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
		f.Release(h)
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(diary, want) {
			t.Errorf("%s: %q; want %q", what, diary, want)
		}
		diary = nil
	}
	write("first", true)
	expect("a new file", "defer", "sync", "take in", "content.seal.before", "content.seal.after")
	write("second", false)
	expect("a file that was closed before", "take in", "content.seal.before", "content.seal.after")
}
