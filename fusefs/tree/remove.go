package tree

import (
	"context"
	"time"

	"ferry"
)

// Unlink takes the name of a file or link away. An open file lives on for its
// handles. When Unlink returns, it survives kill -9; the object goes later.
func (t *Tree) Unlink(ctx context.Context, origin ferry.Origin, parent ferry.InodeID, name string) error {
	t.ns.Lock()
	defer t.ns.Unlock()
	return t.change(ctx, []slot{{parent, name}}, func(tx ferry.Tx, s []slotState) (func(), error) {
		f := s[0].found
		if f == nil {
			return nil, notFound(name)
		}
		if f.facts.kind == ferry.Dir {
			return nil, &ferry.Error{Op: "tree.unlink", Key: name, Kind: ferry.KindIsDir}
		}
		apply, err := t.unname(tx, s[0])
		if err != nil {
			return nil, err
		}
		tx.PutReply(origin, ferry.Reply{})
		return apply, t.keepDir(tx, s[0].dir)
	})
}

// Rmdir takes the name of an empty directory away.
func (t *Tree) Rmdir(ctx context.Context, origin ferry.Origin, parent ferry.InodeID, name string) error {
	t.ns.Lock()
	defer t.ns.Unlock()
	if err := t.listIfDir(ctx, parent, name); err != nil {
		return err
	}
	return t.change(ctx, []slot{{parent, name}}, func(tx ferry.Tx, s []slotState) (func(), error) {
		f := s[0].found
		if f == nil {
			return nil, notFound(name)
		}
		if f.facts.kind != ferry.Dir {
			return nil, &ferry.Error{Op: "tree.rmdir", Key: name, Kind: ferry.KindNotDir}
		}
		if !t.empty(tx, s[0].path) {
			return nil, &ferry.Error{Op: "tree.rmdir", Key: name, Kind: ferry.KindNotEmpty}
		}
		apply, err := t.unname(tx, s[0])
		if err != nil {
			return nil, err
		}
		tx.PutReply(origin, ferry.Reply{})
		return apply, t.keepDir(tx, s[0].dir)
	})
}

// listIfDir lists what is below name if it is a directory, so that empty can tell.
func (t *Tree) listIfDir(ctx context.Context, parent ferry.InodeID, name string) error {
	var p ferry.Path
	var dir bool
	err := t.withName(ctx, parent, name, func(_ ferry.Tx, d *node, f *found) error {
		p, dir = d.path().Join(name), f != nil && f.facts.kind == ferry.Dir
		return nil
	})
	if err != nil || !dir {
		return err
	}
	return t.ensureListed(ctx, p)
}

// unname takes the name of what is at s away: rows in the transaction, memory in
// the function it returns. A directory must be empty.
func (t *Tree) unname(tx ferry.Tx, s slotState) (func(), error) {
	now := time.Now().UnixNano()
	n := s.dir.children[s.name]
	row := s.found.row
	isOpen := false
	if row != nil {
		isOpen = t.open != nil && t.open.Open(row.ID)
	} else if n != nil {
		isOpen = t.open != nil && t.open.Open(n.id)
	}
	f := s.found.facts
	key := s.path.Key()
	if f.kind == ferry.Dir {
		key = s.path.Marker()
	}
	known := ferry.KnownAbsent
	switch {
	case row != nil && row.Remote != nil && row.Remote.Key == key:
		known = ferry.KnownVersion(*row.Remote)
	case row == nil:
		known = f.seen()
	}
	switch {
	case row != nil && isOpen && row.Kind == ferry.File:
		t.orphan(tx, row)
	case row != nil:
		ferry.Supersede(tx, row.Content)
		tx.DeleteInode(row.ID)
	case isOpen && n != nil && n.kind == ferry.File:
		// Its object stays until the last handle closes: the row refers to it.
		o := newRow(n)
		o.Unlinked = true
		tx.PutInode(o)
	}
	ferry.Unwant(tx, key, known, now)
	if f.kind == ferry.Dir {
		t.bury(tx, s.path)
	}
	return func() {
		if l := t.listings.byDir[s.dir.path()]; l != nil && l.names[s.name] != nil {
			delete(l.names, s.name)
			t.listings.names--
		}
		s.dir.touched = now
		if n != nil {
			n.unlinked = true
			t.detach(n)
		}
	}, nil
}

// orphan makes row the row of an unlinked open file. The syncer must not touch
// its content any more, so an upload that is not yet committing goes back to
// being written.
func (t *Tree) orphan(tx ferry.Tx, row *ferry.Inode) {
	row.Unlinked = true
	tx.PutInode(row)
	u := tx.Upload(row.Content)
	if row.Content == "" || u == nil || u.State == ferry.StateCompleting {
		return
	}
	if !u.State.Writable() {
		next, err := u.State.Next(ferry.EventUnsealed)
		if err != nil {
			tx.Fail(err)
			return
		}
		u.State = next
		tx.PutUpload(u)
	}
	if u.State == ferry.StateStreaming {
		ferry.DetachUpload(tx, u, t.o.Generations.Next())
	}
}

// Closed says that the last handle of an inode was closed: what lived on for
// handles alone is given up.
func (t *Tree) Closed(id ferry.InodeID) {
	t.ns.Lock()
	defer t.ns.Unlock()
	unlinked := false
	t.mu.Lock()
	if n := t.nodes[id]; n != nil {
		unlinked = n.unlinked
		t.drop(n)
	} else {
		unlinked = true
	}
	t.mu.Unlock()
	if !unlinked {
		return
	}
	err := t.update(func(tx ferry.Tx) (func(), error) {
		row := tx.Inode(id)
		if row == nil || !row.Unlinked || t.open != nil && t.open.Open(id) {
			return nil, nil //nolint:nilnil // nothing to change and nothing to apply
		}
		ferry.Supersede(tx, row.Content)
		tx.DeleteInode(id)
		return nil, nil //nolint:nilnil // rows only
	})
	if err != nil {
		t.o.Log.Warn("an unlinked file's row stays until the next start", "inode", id, "err", err)
	}
}

// empty reports whether nothing is to be seen below p. Its listing must be cached.
func (t *Tree) empty(tx ferry.Tx, p ferry.Path) bool {
	l := t.listings.byDir[p]
	if hasBelow(tx, p) || l == nil || !l.complete {
		return false
	}
	for name, f := range l.names {
		if t.shown(tx, p.Join(name), f) {
			return false
		}
	}
	return true
}

// shown reports whether a name that a listing has is to be seen.
func (t *Tree) shown(tx ferry.Tx, p ferry.Path, f *facts) bool {
	switch {
	case f.foundEmpty:
		return false
	case f.kind != ferry.Dir:
		return !hidden(tx, p.Key())
	default:
		return !t.buried(tx, p) && (f.implied || !hidden(tx, p.Marker()))
	}
}

// keepLook bounds how many names keepDir looks at.
const keepLook = 64

// mayBeEmpty reports whether nothing is known to be seen below p.
func (t *Tree) mayBeEmpty(tx ferry.Tx, p ferry.Path) bool {
	if hasBelow(tx, p) {
		return false
	}
	l := t.listings.byDir[p]
	if l == nil {
		return true
	}
	looked := 0
	for name, f := range l.names {
		if t.shown(tx, p.Join(name), f) {
			return false
		}
		if looked++; looked == keepLook {
			break
		}
	}
	return true
}

// keepDir makes a marker wanted for a directory that may vanish from the bucket
// because its last name went: a POSIX directory stays until it is removed.
func (t *Tree) keepDir(tx ferry.Tx, dir *node) error {
	p := dir.path()
	if dir == t.root || tx.InodeAt(p) != 0 || dir.facts.marker || !t.mayBeEmpty(tx, p) {
		return nil
	}
	if dir.facts.unasked {
		return unaskedErr(dir) // nor may defaults overwrite its marker, if it has one
	}
	row := newRow(dir)
	row.Path, row.Remote, row.StoredAttrSeq = p, nil, 0
	tx.PutInode(row)
	ferry.Want(tx, row.Key(), dir.facts.seen(), ferry.Wanted{Kind: ferry.WantInode, Inode: row.ID}, time.Now().UnixNano())
	return nil
}

// knownEmptyIfNew records that a directory just made has nothing in the bucket,
// unless its listing is known already.
func (ls *listings) knownEmptyIfNew(dir ferry.Path) {
	if l := ls.byDir[dir]; l == nil {
		ls.knownEmpty(dir)
	}
}
