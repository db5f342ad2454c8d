package syncer

import (
	"testing"
	"time"

	"ferry"
)

// writer writes a new file piece by piece, as an open file does.
type writer struct {
	w    *world
	g    ferry.Generation
	id   ferry.InodeID
	path ferry.Path
	body []byte
}

func (w *world) open(p ferry.Path) *writer {
	wr := &writer{w: w, g: w.gens.Next(), path: p}
	w.update(func(tx ferry.Tx) error {
		in := &ferry.Inode{ID: tx.NextInodeID(), Kind: ferry.File, Path: p, Attr: ferry.Attr{Mode: 0o644}, Content: wr.g}
		wr.id = in.ID
		tx.PutUpload(&ferry.Upload{Generation: wr.g, Inode: in.ID, State: ferry.StateDirty, Path: p, Truncating: -1, Since: now()})
		tx.PutInode(in)
		w.want(tx, in)
		return nil
	})
	w.staging.put(wr.g, nil)
	return wr
}

func (wr *writer) write(off int, b []byte) {
	old := len(wr.body)
	if n := off + len(b); n > old {
		wr.body = append(wr.body, make([]byte, n-old)...)
	}
	copy(wr.body[off:], b)
	wr.w.staging.put(wr.g, wr.body)
	if off < old {
		wr.w.s.Rewritten(wr.g, ferry.Extent{Offset: int64(off), Length: int64(len(b))})
	}
	wr.w.s.Grown(wr.id, wr.g, int64(len(wr.body)))
}

func (wr *writer) truncate(size int) {
	old := len(wr.body)
	wr.body = wr.body[:size]
	wr.w.staging.put(wr.g, wr.body)
	wr.w.s.Rewritten(wr.g, ferry.Extent{Offset: int64(size), Length: int64(old - size)})
	wr.w.s.Grown(wr.id, wr.g, int64(size))
}

func (wr *writer) close() {
	wr.w.update(func(tx ferry.Tx) error {
		u := tx.Upload(wr.g)
		u.State, _ = u.State.Next(ferry.EventSealed)
		u.Size = int64(len(wr.body))
		tx.PutUpload(u)
		in := tx.Inode(wr.id)
		in.Size = u.Size
		tx.PutInode(in)
		return nil
	})
	wr.w.files[wr.path] = &modelFile{kind: ferry.File, body: wr.body, mode: 0o644}
	wr.w.s.Sealed(wr.g)
}

// partsSent waits until n parts were sent.
func (w *world) partsSent(n int64) {
	w.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); w.s.Counters().PartsSent < n; {
		if time.Now().After(deadline) {
			w.t.Fatalf("%d parts were sent, want %d", w.s.Counters().PartsSent, n)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestStreaming: parts go out behind the writer, the rest after the close, and
// nothing twice.
func TestStreaming(t *testing.T) {
	w := newWorld(t)
	w.start()
	f := w.open("a")
	body := pattern(30*mib, 1)
	for off := 0; off < len(body); off += mib {
		f.write(off, body[off:off+mib])
	}
	w.partsSent(3)
	if _, ok := w.body("a"); ok {
		t.Error("the object is there before the file is closed")
	}
	f.close()
	w.settle()
	if w.r.sent != int64(len(body)) {
		t.Errorf("%d bytes were sent for %d", w.r.sent, len(body))
	}
}

// TestStreamingRewritten: what is written into a part that went out already is
// sent again, and only that.
func TestStreamingRewritten(t *testing.T) {
	w := newWorld(t)
	w.start()
	f := w.open("a")
	f.write(0, pattern(20*mib, 1))
	w.partsSent(2)
	f.write(100, []byte("header written last"))
	f.close()
	w.settle()
	if most := int64((20 + 8) * mib); w.r.sent > most {
		t.Errorf("%d bytes were sent, want at most %d", w.r.sent, most)
	}
}

// TestStreamingTruncated: a file that is cut after its parts went out.
func TestStreamingTruncated(t *testing.T) {
	for _, size := range []int{0, 100, 8 * mib, 9 * mib} {
		w := newWorld(t)
		w.start()
		f := w.open("a")
		f.write(0, pattern(20*mib, 1))
		w.partsSent(2)
		f.truncate(size)
		f.close()
		w.settle()
	}
}

// TestStreamingKilled: after a kill the parts at the server count, if staging
// still has their bytes; those written over meanwhile are sent again.
func TestStreamingKilled(t *testing.T) {
	for _, rewritten := range []bool{false, true} {
		w := newWorld(t)
		w.start()
		f := w.open("a")
		f.write(0, pattern(30*mib, 1))
		w.partsSent(3)
		w.kill()
		sent := w.r.sent
		most := int64(6 * mib)
		if rewritten { // by the last write before the kill, of which nobody was told
			copy(f.body[9*mib:], "changed")
			w.staging.put(f.g, f.body)
			most += 8 * mib
		}
		w.start()
		f.close()
		w.settle()
		if again := w.r.sent - sent; again > most {
			t.Errorf("rewritten %v: %d bytes were sent after the kill, want at most %d", rewritten, again, most)
		}
	}
}

// TestStreamingUnlinked: a file that is unlinked while it is written leaves
// nothing at the server.
func TestStreamingUnlinked(t *testing.T) {
	w := newWorld(t)
	w.start()
	f := w.open("a")
	f.write(0, pattern(20*mib, 1))
	w.partsSent(2)
	w.update(func(tx ferry.Tx) error {
		in := tx.Inode(f.id)
		ferry.DetachUpload(tx, tx.Upload(f.g), w.gens.Next())
		ferry.Unwant(tx, in.Key(), ferry.KnownAbsent, now())
		in.Unlinked = true
		tx.PutInode(in)
		return nil
	})
	f.write(20*mib, pattern(10*mib, 2)) // it goes on writing
	w.update(func(tx ferry.Tx) error {  // and closes
		ferry.Supersede(tx, f.g)
		tx.DeleteInode(f.id)
		return nil
	})
	w.settle()
	if len(w.r.uploads) > 0 {
		t.Errorf("%d uploads are left at the server", len(w.r.uploads))
	}
}
