package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"ferry"
	"ferry/journal"
	"ferry/journal/journaltest"
	"ferry/journal/vfs"
)

// TestFaults makes the i-th operation of log or staging fail, for every i, each
// in several ways, until a run passes without meeting the fault. What was
// acknowledged is there afterwards; what was refused is not, unless the journal
// said that it turned read-only.
func TestFaults(t *testing.T) {
	for _, kind := range []struct {
		name   string
		err    error
		short  int
		sticky bool
		stop   bool // the process dies after the first refusal
	}{
		{"EIO once", syscall.EIO, 0, false, false},
		{"EIO from then on", syscall.EIO, 0, true, false},
		{"short write, EIO", syscall.EIO, 25, false, false},
		{"whole write, EIO, killed", syscall.EIO, 1 << 30, false, true},
		{"short write, disk full", syscall.ENOSPC, 25, false, false},
		{"disk full from then on", syscall.ENOSPC, 3, true, false},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			step := 1
			for i := 1; ; i += step {
				if !faultRun(t, i, kind.short, kind.err, kind.sticky, kind.stop) {
					t.Logf("%d operations were made to fail", i-1)
					break
				}
				if i > 40 && os.Getenv("FERRY_LONG") == "" {
					step = 3 // what comes later repeats what came before
				}
			}
		})
	}
}

// faultRun reports whether the n-th operation was reached.
func faultRun(t *testing.T, n, short int, fault error, sticky, stop bool) bool {
	t.Helper()
	dir := t.TempDir()
	o := childOptions(t, dir)
	o.SegmentSize = 4 << 10
	check, count := journaltest.FailNth(n, short, fault, sticky)
	o.FS = &journaltest.FaultFS{FS: vfs.OS(), Fault: check}
	seed := uint64(n)
	w := newWorld(seed)
	uncertain, synced := 0, 0
	j, err := journal.Open(o)
	if err == nil {
		uncertain, synced = faultWork(t, j, w, stop)
		if stop && count() >= n {
			if err := j.Abandon(); err != nil {
				t.Fatal(err)
			}
		} else if err := j.Close(); err != nil && count() < n {
			t.Fatalf("close without a fault: %v", err)
		}
	} else {
		isSentence(t, err)
	}
	if w.n < synced {
		t.Fatalf("%d changes, %d synced", w.n, synced)
	}
	o.FS = nil
	after, found := survivors(t, o, seed, w.n, w.n+uncertain)
	if err := journal.Check(after); err != nil {
		t.Fatalf("fault %d: check: %v", n, err)
	}
	if d := after.Recovered().Damage; d != nil {
		t.Fatalf("fault %d: damage: %v", n, d)
	}
	found.wrote = w.wrote
	found.bytesAreThere(t, after)
	if err := after.Abandon(); err != nil {
		t.Fatal(err)
	}
	return count() >= n
}

// faultWork works until the journal is read-only or the work is done. A change
// that was refused is tried again a few times.
func faultWork(t *testing.T, j *journal.Journal, w *world, stop bool) (uncertain, synced int) {
	t.Helper()
	refusals := 0
	for w.n < 60 && refusals < 5 {
		if err := w.do(j); err != nil {
			isSentence(t, err)
			refusals++
			if ferry.IsKind(err, ferry.KindReadOnly) {
				readOnlyForEver(t, j)
				return 1, synced
			}
			if stop {
				return 0, synced
			}
			continue
		}
		if w.n%13 == 0 {
			if err := j.Sync(t.Context()); err != nil {
				isSentence(t, err)
				refusals++
			} else {
				synced = w.n
			}
		}
		if w.n%29 == 0 {
			if err := j.Fold(); err != nil {
				isSentence(t, err)
				refusals++
			}
		}
	}
	return 0, synced
}

// readOnlyForEver: once read-only, the journal answers reads and refuses changes.
func readOnlyForEver(t *testing.T, j *journal.Journal) {
	t.Helper()
	if _, err := lines(j); err != nil {
		t.Fatalf("a read-only journal must be readable: %v", err)
	}
	err := j.Update(func(tx ferry.Tx) error { tx.PutSetting("x", "y"); return nil })
	if !ferry.IsKind(err, ferry.KindReadOnly) {
		t.Fatalf("a read-only journal took a change: %v", err)
	}
	if err := j.Sync(t.Context()); err == nil && j.LastSeq() > j.Barrier() {
		t.Fatal("a read-only journal claims to have synced")
	}
}

func isSentence(t *testing.T, err error) {
	t.Helper()
	if ferry.KindOf(err) == ferry.KindInternal {
		t.Fatalf("an unclassified error: %v", err)
	}
}

// TestFailedSyncIsNotRepeated: after an fdatasync that failed the disk may have
// dropped the pages and say yes the next time. The journal must not believe it.
func TestFailedSyncIsNotRepeated(t *testing.T) {
	for _, where := range []string{"redo", "staging"} {
		t.Run(where, func(t *testing.T) {
			var armed, failed atomic.Bool
			fs := &journaltest.FaultFS{FS: vfs.OS()}
			fs.Fault = func(op, name string) (int, error) {
				if op == "fdatasync" && filepath.Base(filepath.Dir(name)) == where && armed.Load() && failed.CompareAndSwap(false, true) {
					return 0, syscall.EIO
				}
				return 0, nil
			}
			o := journaltest.Options(t, t.TempDir())
			o.FS = fs
			j, err := journal.Open(o)
			if err != nil {
				t.Fatal(err)
			}
			armed.Store(true)
			w := newWorld(3)
			for range 40 {
				if err := w.do(j); err != nil {
					t.Fatal(err)
				}
			}
			barrier := j.Barrier()
			for range 3 {
				if err := j.Sync(t.Context()); !ferry.IsKind(err, ferry.KindReadOnly) {
					t.Fatalf("sync: %v", err)
				}
			}
			if j.Barrier() != barrier {
				t.Fatal("a barrier was claimed")
			}
			readOnlyForEver(t, j)
			if err := j.Close(); !ferry.IsKind(err, ferry.KindReadOnly) {
				t.Fatalf("close must say that changes were not made durable: %v", err)
			}
		})
	}
}

// TestDiskFull: on a file system that is full the reserve keeps the log alive,
// and the journal says so; when there is space again it goes on.
func TestDiskFull(t *testing.T) {
	var full atomic.Bool
	fs := &journaltest.FaultFS{FS: vfs.OS()}
	dir := t.TempDir()
	o := journaltest.Options(t, dir)
	o.SegmentSize, o.BallastSize = 4<<10, 1<<20
	ballast := filepath.Join(dir, "ballast")
	fs.Fault = func(op, _ string) (int, error) {
		if _, err := vfs.OS().Stat(ballast); full.Load() && err == nil && op == "fallocate" {
			return 0, syscall.ENOSPC
		}
		return 0, nil
	}
	o.FS = fs
	j := journaltest.Reopen(t, o)
	full.Store(true)
	for i := range 400 {
		err := j.Update(func(tx ferry.Tx) error { tx.PutSetting(fmt.Sprint(i), "some value or other"); return nil })
		if err != nil {
			t.Fatalf("with a reserve the log must live: %v", err)
		}
	}
	if _, err := vfs.OS().Stat(ballast); err == nil {
		t.Fatal("the reserve was never given up")
	}
	full.Store(false)
	if err := j.Fold(); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.OS().Stat(ballast); err != nil {
		t.Fatal("there is room again, and no reserve:", err)
	}
}
