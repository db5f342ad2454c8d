package tree

import (
	"time"

	"ferry"
)

// A tombstone hides a directory that was removed or renamed away here while the
// objects that were below it are still in the bucket. It counts as long as one of
// their keys has a row; what another client puts there later is shown again.

// bury hides the directory at p if any of its objects is still to be deleted.
func (t *Tree) bury(tx ferry.Tx, p ferry.Path) {
	for range tx.Keys(p.Marker()) {
		tx.PutTombstone(p)
		t.tombs[p] = struct{}{}
		break
	}
	dir, name := p.Split()
	if l := t.listings.byDir[dir]; l != nil && l.names[name] != nil {
		delete(l.names, name)
		t.listings.names--
	}
	t.listings.forgetBelow(p)
}

// exhume takes the tombstone of p away: there is a directory again. Its row must
// be there already. What was below the old one stays hidden.
func (t *Tree) exhume(tx ferry.Tx, p ferry.Path) {
	if t.lapse(tx, p) {
		t.buryRemains(tx, p)
	}
}

// lapse deletes the tombstone of p and reports whether there was one.
func (t *Tree) lapse(tx ferry.Tx, p ferry.Path) bool {
	_, ok := t.tombs[p]
	if ok {
		tx.DeleteTombstone(p)
		delete(t.tombs, p)
	}
	return ok
}

// buryRemains hides the directories below p of which nothing is left but objects
// that are still to be deleted.
func (t *Tree) buryRemains(tx ferry.Tx, p ferry.Path) {
	var last ferry.Path
	for k := range tx.Keys(p.Marker()) {
		dir := k.Key.Path()
		if !k.Key.IsMarker() {
			dir, _ = dir.Split()
		}
		if k.Wanted.Kind == ferry.WantInode || last != "" && (dir == last || dir.Below(last)) {
			continue
		}
		// The uppermost directory that the journal does not show.
		last = ""
		for ; dir.Below(p) && !isDirRow(tx, dir) && !hasBelow(tx, dir); dir, _ = dir.Split() {
			last = dir
		}
		if last != "" {
			tx.PutTombstone(last)
			t.tombs[last] = struct{}{}
		}
	}
}

// isDirRow reports whether a directory's row is at p.
func isDirRow(tx ferry.Tx, p ferry.Path) bool {
	in := tx.Inode(tx.InodeAt(p))
	return in != nil && in.Kind == ferry.Dir
}

// buried reports whether a tombstone hides the directory at p.
func (t *Tree) buried(tx ferry.Tx, p ferry.Path) bool {
	if _, ok := t.tombs[p]; !ok {
		return false
	}
	for range tx.Keys(p.Marker()) {
		return true
	}
	return false
}

// unbury takes the buried directories above a removed key out of the listings
// that still show them.
func (t *Tree) unbury(key ferry.ObjectKey) {
	if len(t.tombs) == 0 {
		return
	}
	for p := key.Path(); p != ""; p, _ = p.Split() {
		if _, ok := t.tombs[p]; !ok {
			continue
		}
		t.listings.loseDir(p)
	}
}

// sweepEvery and sweepMost bound what looking for lapsed tombstones costs.
const (
	sweepEvery = time.Second
	sweepMost  = 64
)

// sweep deletes a few tombstones that hide nothing any more.
func (t *Tree) sweep(tx ferry.Tx) {
	if len(t.tombs) == 0 || time.Since(t.swept) < sweepEvery {
		return
	}
	t.swept = time.Now()
	n := 0
	for p := range t.tombs {
		if !t.buried(tx, p) {
			t.lapse(tx, p)
		}
		if n++; n == sweepMost {
			break
		}
	}
}
