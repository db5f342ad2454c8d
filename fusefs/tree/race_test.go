package tree

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"ferry"
)

// closed says that nothing is open.
type closed struct{}

func (closed) Open(ferry.InodeID) bool                             { return false }
func (closed) LiveSize(ferry.InodeID) (size, mtime int64, ok bool) { return 0, 0, false }

// TestConcurrent lets several users change, look up and read names while the
// syncer works and listings expire. It proves no outcome but these: no data race,
// no deadlock, rows and counters that are sound at the end, and a bucket that
// comes to rest.
func TestConcurrent(t *testing.T) {
	w := newWorld(3, true, 4)
	w.b.onList, w.die = nil, func(string) bool { return false }
	w.t.SetOpenness(closed{})
	tr, ctx := w.t, context.Background()
	var users, work sync.WaitGroup
	stop := make(chan struct{})
	var turn sync.RWMutex // the model's executor is not made for rows that change under it
	work.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			turn.Lock()
			_, err := w.step(i)
			turn.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			if i%50 == 0 {
				w.forgetListings()
				time.Sleep(time.Millisecond) // let the others have the journal
			}
		}
	})
	for user := range uint64(4) {
		users.Go(func() {
			r := rand.New(rand.NewPCG(user, 7))
			name := func() string { return someNames[r.IntN(len(someNames))] }
			for range 400 {
				turn.RLock()
				// Users share the root and meet in their directories.
				dir := ferry.RootInode
				if e, err := tr.Lookup(ctx, dir, name()); err == nil {
					if e.Kind == ferry.Dir && r.IntN(2) == 0 {
						dir = e.ID
					} else {
						tr.Forget(e.ID, 1)
					}
				}
				switch r.IntN(7) {
				case 0:
					if e, _, err := tr.Create(ctx, ferry.Origin{}, dir, name(), 0o600, 0, 0, false); err == nil {
						err := w.j.Update(func(tx ferry.Tx) error {
							if row := tx.Inode(e.ID); row != nil {
								if u := tx.Upload(row.Content); u != nil && u.State.Writable() {
									w.sealIn(tx, u)
								}
							}
							return nil
						})
						if err != nil {
							t.Error(err)
						}
						tr.Forget(e.ID, 1)
					}
				case 1:
					if e, err := tr.Mkdir(ctx, ferry.Origin{}, dir, name(), 0o700, 0, 0); err == nil {
						tr.Forget(e.ID, 1)
					}
				case 2:
					_ = tr.Unlink(ctx, ferry.Origin{}, dir, name())
				case 3:
					_ = tr.Rmdir(ctx, ferry.Origin{}, dir, name())
				case 4:
					_ = tr.Rename(ctx, ferry.Origin{}, dir, name(), ferry.RootInode, name(), uint32(r.IntN(3)))
				case 5:
					if h, err := tr.OpenDir(ctx, dir); err == nil {
						_ = h.Read(ctx, 0, func(DirEntry, uint64) bool { return r.IntN(10) > 0 })
						h.Close()
					}
				case 6:
					mode := uint32(0o700)
					_, _ = tr.SetAttr(ctx, ferry.Origin{}, dir, AttrChange{Mode: &mode})
				}
				if dir != ferry.RootInode {
					tr.Forget(dir, 1)
				}
				turn.RUnlock()
			}
		})
	}
	users.Wait()
	close(stop)
	work.Wait()
	if err := w.quiesce(); err != nil {
		t.Fatal(err)
	}
	if len(w.j.inodes) > 0 {
		t.Error("rows are left:", w.j.dump())
	}
	if err := w.counters(); err != nil {
		t.Error(err)
	}
	for _, k := range w.b.keys() {
		if k.Reserved() {
			t.Errorf("%q is left", k)
		}
	}
}
