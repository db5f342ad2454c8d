// Package journaltest opens journals for tests and breaks the disk under them.
package journaltest

import (
	"log/slog"
	"testing"
	"time"

	"ferry/journal"
)

// Options returns options for a journal in dir that logs to t.
func Options(t testing.TB, dir string) journal.Options {
	return journal.Options{
		Dir: dir, UnsafeFS: true, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Identity:    journal.Identity{Endpoint: "http://test", Bucket: "bucket"},
		SegmentSize: 1 << 20, BallastSize: -1, SyncInterval: time.Hour,
	}
}

// Open opens a journal in a directory of its own, with options changed by each of
// opts. When the test ends every invariant is checked and the journal closed.
func Open(t testing.TB, opts ...func(*journal.Options)) *journal.Journal {
	t.Helper()
	o := Options(t, t.TempDir())
	for _, opt := range opts {
		opt(&o)
	}
	return Reopen(t, o)
}

// Reopen opens the journal that o describes, and checks and closes it when the
// test ends.
func Reopen(t testing.TB, o journal.Options) *journal.Journal {
	t.Helper()
	j, err := journal.Open(o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := journal.Check(j); err != nil {
			t.Errorf("check: %v", err)
		}
		if err := j.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return j
}
