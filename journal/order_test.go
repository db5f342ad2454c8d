package journal

import (
	"log/slog"
	"testing"
	"time"

	"ferry"
	"ferry/journal/crashpoint"
)

// TestOrderOfDurableSteps looks at the state at each durable step and checks what
// a power cut at that moment would rely on.
func TestOrderOfDurableSteps(t *testing.T) {
	var j *Journal
	var during func() // runs once, while staging has just been made durable
	seen := map[string]int{}
	o := Options{
		Dir: t.TempDir(), UnsafeFS: true, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		SyncInterval: time.Hour, SegmentSize: 8 << 10, recordMax: 2000, chunkMax: 4000, moveRows: 5,
	}
	o.Crash = func(point string) {
		seen[point]++
		if j == nil {
			return
		}
		j.stateMu.RLock()
		s := j.state
		j.stateMu.RUnlock()
		switch point {
		case crashpoint.FoldBefore, crashpoint.BatchMove:
			if s.frozenSeq > j.Barrier() {
				t.Errorf("%s: record %d is folded, the barrier is %d", point, s.frozenSeq, j.Barrier())
			}
		case crashpoint.SegmentBefore:
			if j.cp.folded > j.Barrier() {
				t.Errorf("%s: folded %d, the barrier is %d", point, j.cp.folded, j.Barrier())
			}
		case crashpoint.SyncStaging:
			if during != nil {
				fn := during
				during = nil
				fn()
			}
		}
	}
	var err error
	opened, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	j = opened
	defer j.Close()
	gens := ferry.NewGenerations()
	make1 := func() ferry.Generation {
		t.Helper()
		g := gens.Next()
		f, err := j.store.Open(g)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := j.Update(func(tx ferry.Tx) error {
			id := tx.NextInodeID()
			p := ferry.Path(g)
			tx.PutInode(&ferry.Inode{ID: id, Kind: ferry.File, Path: p, Content: g})
			tx.PutUpload(&ferry.Upload{Generation: g, Inode: id, State: ferry.StateSealed, Path: p, Truncating: -1})
			ferry.Want(tx, p.Key(), ferry.KnownAbsent, ferry.Wanted{Kind: ferry.WantInode, Inode: id}, 1)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return g
	}
	discard := func(gs ...ferry.Generation) {
		t.Helper()
		err := j.Update(func(tx ferry.Tx) error {
			for _, g := range gs {
				tx.DeleteInode(tx.InodeAt(ferry.Path(g)))
				ferry.Unwant(tx, ferry.ObjectKey(g), ferry.KnownAbsent, 1)
				ferry.Supersede(tx, g)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	exists := func(g ferry.Generation) bool {
		ok, err := j.store.Exists(g)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}

	// A file that is given up while a barrier is made is kept until the next one.
	a := make1()
	during = func() { discard(a) }
	if err := j.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !exists(a) {
		t.Fatal("a staging file is freed, and the record that gives it up is behind no barrier")
	}
	if err := j.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exists(a) {
		t.Fatal("a staging file that nobody needs is kept")
	}

	// Folds, and large changes.
	var all []ferry.Generation
	for range 200 {
		all = append(all, make1())
	}
	if err := j.fold(); err != nil {
		t.Fatal(err)
	}
	discard(all...)
	if err := j.fold(); err != nil {
		t.Fatal(err)
	}
	for _, point := range []string{crashpoint.FoldBefore, crashpoint.BatchMove, crashpoint.SegmentBefore} {
		if seen[point] == 0 {
			t.Errorf("the test never came to %s", point)
		}
	}
	if err := Check(j); err != nil {
		t.Fatal(err)
	}
}
