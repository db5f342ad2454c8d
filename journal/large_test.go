package journal_test

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/journal"
	"ferry/journal/journaltest"
)

// TestLargeRename: very many names move in one change, with bounded memory, and
// each reader sees all of them or none. (FERRY_LONG: 100,000, the limit.)
func TestLargeRename(t *testing.T) {
	names := 12_000
	if os.Getenv("FERRY_LONG") != "" {
		names = 100_000
	}
	o := journaltest.Options(t, t.TempDir())
	o.SegmentSize = 16 << 20
	j := journaltest.Reopen(t, o)
	for from := 0; from < names; from += 2000 {
		err := j.Update(func(tx ferry.Tx) error {
			for i := from; i < from+2000; i++ {
				p := ferry.Path(fmt.Sprintf("old/%06d", i))
				v := ferry.Version{Key: p.Key(), ETag: "0123456789abcdef0123456789abcdef", Size: 7}
				tx.PutInode(&ferry.Inode{ID: ferry.InodeID(10 + i), Kind: ferry.File, Path: p, Remote: &v, AttrSeq: 1})
				ferry.Want(tx, p.Key(), ferry.KnownVersion(v), ferry.Wanted{Kind: ferry.WantInode, Inode: ferry.InodeID(10 + i)}, 1)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Fold(); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			err := j.View(func(tx ferry.Tx) error {
				a, b := tx.InodeAt("old/000000") != 0, tx.InodeAt(ferry.Path(fmt.Sprintf("old/%06d", names-1))) != 0
				c, d := tx.InodeAt("new/000000") != 0, tx.InodeAt(ferry.Path(fmt.Sprintf("new/%06d", names-1))) != 0
				if a != b || c != d || a == c {
					return fmt.Errorf("half a rename: %v %v %v %v", a, b, c, d)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	started := time.Now()
	err := j.Update(func(tx ferry.Tx) error {
		for p := range tx.Paths("old/") {
			if err := rename(tx, p, p.Rebase("old", "new"), 2); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(started)
	runtime.ReadMemStats(&after)
	if err := j.Fold(); err != nil {
		t.Fatal(err)
	}
	close(stop)
	readers.Wait()
	t.Logf("%d names in %v, folded after %v; heap %d MiB before, %d MiB after", names, took, time.Since(started),
		before.HeapInuse>>20, after.HeapInuse>>20)
	err = j.View(func(tx ferry.Tx) error {
		n := 0
		for p := range tx.Paths("") {
			if !p.Below("new") {
				return fmt.Errorf("%q is left", p)
			}
			n++
		}
		if n != names {
			return fmt.Errorf("%d names", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestManyAtOnce: updates, views, barriers and folds of many goroutines.
func TestManyAtOnce(t *testing.T) {
	j := journaltest.Open(t, tiny, func(o *journal.Options) { o.SyncInterval = time.Millisecond })
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 60 {
				name := fmt.Sprintf("w%d", worker)
				err := j.Update(func(tx ferry.Tx) error {
					// Two rows that must always agree.
					tx.PutSetting(name, fmt.Sprint(i))
					tx.PutSetting(name+"-copy", fmt.Sprint(i))
					if i%20 == 19 {
						for k := range 60 {
							tx.PutSetting(fmt.Sprintf("%s-%d-%d", name, i, k), "a large change")
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				seq := j.LastSeq()
				if i%7 == 0 {
					if err := j.Sync(t.Context()); err != nil {
						t.Error(err)
					}
					if !j.SyncedThrough(seq) {
						t.Errorf("record %d is behind no barrier after Sync", seq)
					}
				}
				err = j.View(func(tx ferry.Tx) error {
					for w := range 8 {
						name := fmt.Sprintf("w%d", w)
						if a, b := tx.Setting(name), tx.Setting(name+"-copy"); a != b {
							return fmt.Errorf("half a change: %s %s", a, b)
						}
					}
					if v := tx.Setting(name); v != fmt.Sprint(i) {
						return fmt.Errorf("worker %d reads %s after writing %d", worker, v, i)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// TestSyncIsShared: who waits together pays for one barrier.
func TestSyncIsShared(t *testing.T) {
	j := journaltest.Open(t)
	var all sync.WaitGroup
	before := j.Stats().Syncs
	const workers, each = 16, 25
	for worker := range workers {
		all.Go(func() {
			for i := range each {
				if err := j.Update(func(tx ferry.Tx) error { tx.PutSetting(fmt.Sprint(worker), fmt.Sprint(i)); return nil }); err != nil {
					t.Error(err)
				}
				if err := j.Sync(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	made := j.Stats().Syncs - before
	t.Logf("%d syncs asked for, %d barriers made", workers*each, made)
	if made > workers*each/2 {
		t.Fatalf("%d barriers for %d waiters", made, workers*each)
	}
}

// BenchmarkUpdate is one small change, as a create or a close makes it.
func BenchmarkUpdate(b *testing.B) {
	j := journaltest.Open(b)
	for i := range b.N {
		err := j.Update(func(tx ferry.Tx) error {
			id := tx.NextInodeID()
			p := ferry.Path(fmt.Sprintf("dir/file-%d", i%5000))
			if old := tx.InodeAt(p); old != 0 {
				tx.DeleteInode(old)
			}
			tx.PutInode(&ferry.Inode{ID: id, Kind: ferry.File, Path: p})
			ferry.Want(tx, p.Key(), ferry.KnownAbsent, ferry.Wanted{Kind: ferry.WantInode, Inode: id}, int64(i))
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
