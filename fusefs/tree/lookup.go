package tree

import (
	"context"
	"time"

	"ferry"
)

// Lookup returns what name in the directory parent is, and counts one reference
// of the kernel. The error is KindNotFound only if the bucket or the journal said
// so, KindUnknown if the bucket could not be asked.
func (t *Tree) Lookup(ctx context.Context, parent ferry.InodeID, name string) (e Entry, err error) {
	err = t.withName(ctx, parent, name, func(tx ferry.Tx, dir *node, f *found) error {
		if f == nil {
			if n := dir.children[name]; n != nil {
				t.vanish(tx, n)
			}
			return notFound(name)
		}
		n := t.nodeOf(dir, name, f)
		n.lookups++
		e = t.entry(n, f.row)
		return nil
	})
	return e, err
}

// nodeOf returns the node of a found name.
func (t *Tree) nodeOf(dir *node, name string, f *found) *node {
	id := ferry.InodeID(0)
	if f.row != nil {
		id = f.row.ID
	}
	if old := dir.children[name]; old != nil && f.row == nil && old.kind == f.facts.kind && changed(old.facts, f.facts) {
		t.o.Invalidate(dir.id, name, old.id)
	}
	return t.child(dir, name, id, f.facts)
}

// changed reports whether the object that b describes is another version than a's.
func changed(a, b *facts) bool {
	return a != nil && a.version != nil && b.version != nil && a.version.ETag != b.version.ETag
}

// vanish takes the name of a node that the bucket does not hold any more.
func (t *Tree) vanish(_ ferry.Tx, n *node) {
	t.o.Invalidate(n.parent.id, n.name, n.id)
	t.detach(n)
}

// entry describes n; row is its journal row, nil if it has none.
func (t *Tree) entry(n *node, row *ferry.Inode) Entry {
	f := n.facts
	e := Entry{ID: n.id, Kind: n.kind, Unlinked: n.unlinked}
	if row != nil {
		f = rowFacts(row)
		e.Content, e.Unlinked = row.Content, row.Unlinked
	}
	e.Attr, e.Size, e.Target, e.Version = f.attr, f.size, f.target, f.version
	if n.touched > e.Attr.Mtime {
		e.Attr.Mtime, e.Attr.Ctime = n.touched, n.touched
	}
	if e.Kind == ferry.Symlink {
		e.Size = int64(len(e.Target))
	}
	if e.Kind == ferry.File && t.open != nil {
		if size, mtime, ok := t.open.LiveSize(n.id); ok {
			e.Size, e.Attr.Mtime, e.Attr.Ctime = size, mtime, max(mtime, e.Attr.Ctime)
		}
	}
	return e
}

// Stat returns what is known of an inode without asking the bucket.
func (t *Tree) Stat(_ context.Context, id ferry.InodeID) (e Entry, err error) {
	err = t.view(func(tx ferry.Tx) error {
		n := t.nodes[id]
		row := tx.Inode(id)
		if n == nil && row != nil && row.Unlinked {
			n = &node{id: id, kind: row.Kind, unlinked: true}
		}
		if n == nil {
			return &ferry.Error{Op: "tree.stat", Kind: ferry.KindConflict, Msg: "an inode that this daemon does not know"}
		}
		e = t.entry(n, row)
		return nil
	})
	return e, err
}

// Ensure returns the journal's row of an inode, made with the KeyState that wants
// it if it has none. Call it inside Update, without locks of your own that
// Openness takes. A file that another client deleted gets an unlinked row: its
// bytes are reachable by its handles only.
func (t *Tree) Ensure(tx ferry.Tx, id ferry.InodeID) (*ferry.Inode, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ensure(tx, id)
}

// ensure is Ensure with mu held.
func (t *Tree) ensure(tx ferry.Tx, id ferry.InodeID) (*ferry.Inode, error) {
	if row := tx.Inode(id); row != nil {
		return row, nil
	}
	n := t.nodes[id]
	switch {
	case n == nil:
		return nil, &ferry.Error{Op: "tree.ensure", Kind: ferry.KindConflict, Msg: "an inode that this daemon does not know"}
	case n.facts.unasked && !n.unlinked:
		// A row would overwrite the marker's attributes with defaults.
		return nil, unaskedErr(n)
	}
	row := newRow(n)
	if !row.Unlinked {
		row.Path = n.path()
		if n == t.root {
			return nil, &ferry.Error{Op: "tree.ensure", Kind: ferry.KindInternal, Msg: "the root has no object"}
		}
	}
	tx.PutInode(row)
	if !row.Unlinked {
		ferry.Want(tx, row.Key(), n.facts.seen(), ferry.Wanted{Kind: ferry.WantInode, Inode: id}, time.Now().UnixNano())
	}
	return row, nil
}

func unaskedErr(n *node) error {
	return &ferry.Error{
		Op: "tree.ensure", Key: n.name, Kind: ferry.KindUnknown,
		Msg: "the server could not be asked for the directory's attributes", Hint: "try again when it is back",
	}
}

// newRow makes the row of a node that has none; its path is the caller's.
func newRow(n *node) *ferry.Inode {
	f := n.facts
	row := &ferry.Inode{
		ID: n.id, Kind: n.kind, Unlinked: n.unlinked, Attr: f.attr, Xattrs: f.xattrs, Target: f.target,
		Foreign: f.foreign, HasForeign: f.hasMeta, Size: f.size, AttrSeq: 1, StoredAttrSeq: 1,
	}
	if f.version != nil {
		v := *f.version
		row.Remote = &v
	}
	return row.Clone()
}

// Settled takes over that key now holds obj, made by ferry. Call it before, or in,
// the Update that closes its rows, so that no moment is left in which neither rows
// nor listings know the object.
func (t *Tree) Settled(key ferry.ObjectKey, obj ferry.Object) {
	f := t.decode(obj, time.Now())
	f.hasMeta = true
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listings.learn(key, f)
	if n := t.nodeAt(key); n != nil && n.kind == f.kind {
		n.facts = f
	}
}

// Removed takes over that key now holds nothing. Call it before, or in, the Update
// that closes its row.
func (t *Tree) Removed(key ferry.ObjectKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listings.learn(key, nil)
	t.unbury(key)
}

// Changed says that another client changed what key holds: the listing it is in
// is asked for anew.
func (t *Tree) Changed(key ferry.ObjectKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	dir, _ := key.Path().Split()
	t.listings.forget(dir)
}

// nodeAt returns the node that memory has at key, nil if none.
func (t *Tree) nodeAt(key ferry.ObjectKey) *node {
	return t.nodeAtPath(key.Path())
}

func (t *Tree) nodeAtPath(p ferry.Path) *node {
	if p == "" {
		return t.root
	}
	dir, name := p.Split()
	if d := t.nodeAtPath(dir); d != nil {
		return d.children[name]
	}
	return nil
}
