package tree

import (
	"context"
	"fmt"
	"slices"
	"time"

	"ferry"
)

// Rename gives what is at (oldDir, oldName) the name (newDir, newName), as
// renameat2(2) does; flags may be RenameNoReplace or RenameExchange. Names change
// at once and survive kill -9 when Rename returns; the objects follow. A directory
// of more than Options.RenameMax objects is KindCrossDevice: then nothing changed,
// and mv(1) copies.
func (t *Tree) Rename(ctx context.Context, origin ferry.Origin, oldDir ferry.InodeID, oldName string, newDir ferry.InodeID, newName string, flags uint32) error {
	if flags&^(RenameNoReplace|RenameExchange) != 0 || flags == RenameNoReplace|RenameExchange {
		return &ferry.Error{Op: "tree.rename", Key: oldName, Kind: ferry.KindInvalid, Msg: fmt.Sprintf("flags %#x", flags)}
	}
	if err := createName(newName); err != nil {
		return err
	}
	t.ns.Lock()
	defer t.ns.Unlock()
	slots := []slot{{oldDir, oldName}, {newDir, newName}}
	if err := t.listIfDir(ctx, newDir, newName); err != nil {
		return err
	}
	from, err := t.subtree(ctx, slots[0])
	if err != nil {
		return err
	}
	defer t.finish(from)
	var to *subtree
	if flags == RenameExchange {
		if to, err = t.subtree(ctx, slots[1]); err != nil {
			return err
		}
		defer t.finish(to)
	}
	return t.change(ctx, slots, func(tx ferry.Tx, s []slotState) (func(), error) {
		src, dst := s[0], s[1]
		if err := renameable(src, dst, flags); err != nil {
			return nil, err
		}
		tx.PutReply(origin, ferry.Reply{})
		if src.path == dst.path {
			return nil, nil //nolint:nilnil // a name renamed to itself stays
		}
		var drop func()
		if dst.found != nil && flags != RenameExchange {
			if dst.found.facts.kind == ferry.Dir && !t.empty(tx, dst.path) {
				return nil, &ferry.Error{Op: "tree.rename", Key: newName, Kind: ferry.KindNotEmpty}
			}
			var err error
			if drop, err = t.unname(tx, dst); err != nil {
				return nil, err
			}
		}
		return t.relocate(tx, src, dst, from, to, drop, flags == RenameExchange)
	})
}

// renameable refuses what renameat2(2) refuses.
func renameable(src, dst slotState, flags uint32) error {
	refuse := func(kind ferry.Kind, msg string) error {
		return &ferry.Error{Op: "tree.rename", Key: string(dst.path), Kind: kind, Msg: msg}
	}
	switch {
	case src.found == nil:
		return notFound(src.name)
	case dst.path == ".ferry" || src.path == ".ferry":
		return refuse(ferry.KindPerm, "ferry keeps unfinished things under this name")
	case dst.path.Below(src.path), flags == RenameExchange && src.path.Below(dst.path):
		return refuse(ferry.KindInvalid, "a directory cannot go into itself")
	case flags == RenameExchange && dst.found == nil:
		return notFound(dst.name)
	case flags == RenameNoReplace && dst.found != nil:
		return exists(dst.name)
	case dst.found == nil || flags == RenameExchange || src.path == dst.path:
		return nil
	}
	srcDir, dstDir := src.found.facts.kind == ferry.Dir, dst.found.facts.kind == ferry.Dir
	switch {
	case srcDir && !dstDir:
		return refuse(ferry.KindNotDir, "a directory cannot replace a file")
	case !srcDir && dstDir:
		return refuse(ferry.KindIsDir, "a file cannot replace a directory")
	}
	return nil
}

// relocate changes the paths of all that is at src (and, in an exchange, at dst).
func (t *Tree) relocate(tx ferry.Tx, src, dst slotState, from, to *subtree, drop func(), exchange bool) (func(), error) {
	rows, err := t.collect(tx, src, from)
	if err != nil {
		return nil, err
	}
	var back []*ferry.Inode
	if exchange {
		if back, err = t.collect(tx, dst, to); err != nil {
			return nil, err
		}
	}
	if len(rows)+len(back) > t.o.RenameMax {
		return nil, tooMany(src.path, t.o.RenameMax)
	}
	now := time.Now().UnixNano()
	// All old places are left before any new one is taken, so that an exchange
	// needs no third place.
	requests := map[ferry.InodeID][]ferry.Request{}
	for _, row := range slices.Concat(rows, back) {
		if rs := ferry.Requests(tx, row); rs != nil {
			requests[row.ID] = rs
		}
	}
	for _, group := range [][]*ferry.Inode{rows, back} {
		for _, row := range group {
			seen := ferry.KnownAbsent
			if row.Remote != nil && row.Remote.Key == row.Key() {
				seen = ferry.KnownVersion(*row.Remote)
			}
			tx.DeleteInode(row.ID)
			ferry.Unwant(tx, row.Key(), seen, now)
		}
	}
	place := func(group []*ferry.Inode, a, b ferry.Path, seen ferry.Known) error {
		for _, row := range group {
			row.Path = row.Path.Rebase(a, b)
			if len(row.Key()) > ferry.MaxKeyLength {
				return &ferry.Error{Op: "tree.rename", Key: string(row.Path), Kind: ferry.KindNameTooLong, Msg: "the key would be longer than 1024 bytes, the limit of S3"}
			}
			if row.Kind != ferry.File {
				row.Remote, row.StoredAttrSeq = nil, 0 // put anew: its bytes are in the row
			}
			tx.PutInode(row)
			if row.Kind == ferry.Dir {
				t.lapse(tx, row.Path)
			}
			for d, _ := row.Path.Split(); d.Below(b); d, _ = d.Split() {
				t.lapse(tx, d)
			}
			k := ferry.Want(tx, row.Key(), seen, ferry.Wanted{Kind: ferry.WantInode, Inode: row.ID}, now)
			if rs := requests[row.ID]; rs != nil {
				ferry.Follow(tx, k, rs)
			}
			if u := tx.Upload(row.Content); u != nil {
				u.Path = row.Path
				tx.PutUpload(u)
			}
		}
		return nil
	}
	if err := place(rows, src.path, dst.path, ferry.KnownAbsent); err != nil {
		return nil, err
	}
	if err := place(back, dst.path, src.path, ferry.KnownAbsent); err != nil {
		return nil, err
	}
	srcIsDir, dstIsDir := src.found.facts.kind == ferry.Dir, exchange && dst.found.facts.kind == ferry.Dir
	if srcIsDir && !dstIsDir {
		t.bury(tx, src.path)
	}
	if dstIsDir && !srcIsDir {
		t.bury(tx, dst.path)
	}
	if srcIsDir {
		t.buryRemains(tx, dst.path)
	}
	if dstIsDir {
		t.buryRemains(tx, src.path)
	}
	if !exchange {
		if err := t.keepDir(tx, src.dir); err != nil {
			return nil, err
		}
	}
	n, m := src.dir.children[src.name], dst.dir.children[dst.name]
	return func() {
		if drop != nil {
			drop()
		}
		t.leave(src)
		t.leave(dst)
		src.dir.touched, dst.dir.touched = now, now
		if srcIsDir && !exchange {
			t.listings.knownEmpty(dst.path)
		}
		// What is renamed back before its object moved agrees with the bucket: its
		// row goes without a word from the syncer.
		for _, row := range slices.Concat(rows, back) {
			if row.Remote != nil && row.Remote.Key == row.Key() {
				t.listings.apply(row.Key(), rowFacts(row))
			}
		}
		if exchange && m != nil {
			delete(dst.dir.children, dst.name)
		}
		if n != nil {
			t.attach(n, dst.dir, dst.name)
		}
		if exchange && m != nil {
			m.parent = nil
			t.attach(m, src.dir, src.name)
		}
	}, nil
}

// leave takes the listings' knowledge of what was at s away.
func (t *Tree) leave(s slotState) {
	t.listings.forgetBelow(s.path)
	if l := t.listings.byDir[s.dir.path()]; l != nil && l.names[s.name] != nil {
		delete(l.names, s.name)
		t.listings.names--
	}
}

// collect returns the rows of all that is at s: those of the journal, and new
// ones for what only the bucket holds. Their paths are still the old ones.
func (t *Tree) collect(tx ferry.Tx, s slotState, sub *subtree) ([]*ferry.Inode, error) {
	if s.found.facts.kind != ferry.Dir {
		if s.found.row != nil {
			return []*ferry.Inode{s.found.row}, nil
		}
		return []*ferry.Inode{t.rowAt(s.path, s.found.facts)}, nil
	}
	if sub == nil || sub.path != s.path {
		return nil, &ferry.Error{Op: "tree.rename", Key: string(s.path), Kind: ferry.KindUnknown, Msg: "it became a directory meanwhile; try again"}
	}
	var rows []*ferry.Inode
	top := s.found.row
	if top == nil {
		top = t.rowAt(s.path, s.found.facts)
	}
	rows = append(rows, top)
	for p, id := range tx.Paths(s.path + "/") {
		if !p.Below(s.path) {
			break
		}
		if row := tx.Inode(id); row != nil {
			rows = append(rows, row)
		}
	}
	if !t.listings.whole(sub.seq) {
		return nil, &ferry.Error{Op: "tree.rename", Key: string(s.path), Kind: ferry.KindTransient, Msg: "too much changed while it was listed; try again"}
	}
	t.listings.since(sub.seq, s.path.Marker(), func(k ferry.ObjectKey, c change) {
		switch {
		case !c.object: // a directory that was lost: its keys are told one by one
		case c.facts == nil:
			delete(sub.objects, k)
		default:
			sub.objects[k] = c.facts
		}
	})
	for k, f := range sub.objects {
		p := k.Path()
		if p == s.path || tx.InodeAt(p) != 0 || hidden(tx, k) || t.buriedAbove(tx, p, s.path) {
			continue
		}
		rows = append(rows, t.rowAt(p, f))
		if len(rows) > t.o.RenameMax {
			return nil, tooMany(s.path, t.o.RenameMax)
		}
	}
	return rows, nil
}

// rowAt makes the row of what only the bucket holds at p.
func (t *Tree) rowAt(p ferry.Path, f *facts) *ferry.Inode {
	n := t.nodeAtPath(p)
	if n == nil || n.kind != f.kind {
		n = &node{id: t.newID(), kind: f.kind}
	}
	row := newRow(&node{id: n.id, kind: f.kind, facts: f})
	row.Path = p
	return row
}

// buriedAbove reports whether a directory between top and p is hidden.
func (t *Tree) buriedAbove(tx ferry.Tx, p, top ferry.Path) bool {
	if len(t.tombs) == 0 {
		return false
	}
	for d, _ := p.Split(); d.Below(top); d, _ = d.Split() {
		if t.buried(tx, d) {
			return true
		}
	}
	return false
}

func tooMany(p ferry.Path, limit int) error {
	return &ferry.Error{
		Op: "tree.rename", Key: string(p), Kind: ferry.KindCrossDevice,
		Msg: fmt.Sprintf("it holds more than %d objects, the most that one rename moves", limit),
	}
}
