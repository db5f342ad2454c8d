package journal

import (
	"log/slog"
	"strconv"
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
	var moving func() // runs while a large change is half moved to the tables
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
			if point == crashpoint.BatchMove && moving != nil {
				moving()
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

	// A row that was changed shortly before a large change changed it again.
	setting := func(value string, more int) {
		t.Helper()
		err := j.Update(func(tx ferry.Tx) error {
			tx.PutSetting("0", value)
			for i := range more {
				tx.PutSetting(strconv.Itoa(1000+i), "some value that takes room")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	setting("old", 0)
	looks := 0
	moving = func() {
		looks++
		if err := j.View(func(tx ferry.Tx) error {
			if v := tx.Setting("0"); v != "new" {
				t.Errorf("half moved, the row says %q", v)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	setting("new", 300)
	if err := j.fold(); err != nil {
		t.Fatal(err)
	}
	if looks == 0 {
		t.Error("the large change was never half moved")
	}
	moving = nil
	for _, point := range []string{crashpoint.FoldBefore, crashpoint.BatchMove, crashpoint.SegmentBefore} {
		if seen[point] == 0 {
			t.Errorf("the test never came to %s", point)
		}
	}
	if err := Check(j); err != nil {
		t.Fatal(err)
	}
}

// TestLeftovers: what a kill leaves behind goes away, but not before a power cut
// could no longer bring back the rows that need it.
func TestLeftovers(t *testing.T) {
	o := Options{
		Dir: t.TempDir(), UnsafeFS: true, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		SyncInterval: time.Hour, recordMax: 500, chunkMax: 1000, moveRows: 5,
	}
	open := func() *Journal {
		t.Helper()
		j, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	j := open()
	g := ferry.NewGenerations().Next()
	f, err := j.store.Open(g)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	put := func(state ferry.UploadState) {
		t.Helper()
		err := j.Update(func(tx ferry.Tx) error {
			tx.PutUpload(&ferry.Upload{Generation: g, Inode: 5, State: state, Path: "a", Truncating: -1})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put(ferry.StateSealed)
	if err := j.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(ferry.StateDiscarded)
	if err := j.Abandon(); err != nil {
		t.Fatal(err)
	}
	j = open()
	if ok, _ := j.store.Exists(g); !ok {
		t.Fatal("the file is freed, and a power cut would bring its row back")
	}
	if err := j.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ok, _ := j.store.Exists(g); ok {
		t.Fatal("an orphan is kept")
	}

	// A large change that ended before its record.
	j.updates.Lock()
	x, err := j.begin(true)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		x.PutSetting(strconv.Itoa(i), "garbage")
	}
	batch := x.batch
	x.end()
	j.folds.Unlock()
	j.updates.Unlock()
	if ok, err := j.cp.hasBatch(batch); batch == 0 || !ok {
		t.Fatalf("no chunk was staged: %d %v", batch, err)
	}
	if err := j.Abandon(); err != nil {
		t.Fatal(err)
	}
	j = open()
	if ok, _ := j.cp.hasBatch(batch); ok {
		t.Fatal("the chunks of a change that never was are kept")
	}
	if err := j.View(func(tx ferry.Tx) error {
		if v := tx.Setting("7"); v != "" {
			t.Errorf("a change that never was: %q", v)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}
