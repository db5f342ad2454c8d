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

// exhume takes the tombstone of p away: there is a directory again.
func (t *Tree) exhume(tx ferry.Tx, p ferry.Path) {
	if _, ok := t.tombs[p]; ok {
		tx.DeleteTombstone(p)
		delete(t.tombs, p)
	}
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
		dir, name := p.Split()
		l := t.listings.byDir[dir]
		if l == nil {
			continue
		}
		if l.loading != nil {
			l.gone = append(l.gone, name)
		}
		if f := l.names[name]; f != nil && f.kind == ferry.Dir {
			delete(l.names, name)
			t.listings.names--
		}
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
			t.exhume(tx, p)
		}
		if n++; n == sweepMost {
			break
		}
	}
}
