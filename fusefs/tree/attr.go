package tree

import (
	"context"
	"time"

	"ferry"
)

// SetAttr changes attributes (not the size: fusefs/content does that). The change
// survives kill -9 when SetAttr returns, and goes into the bucket with the pending
// put, or by one server-side copy.
func (t *Tree) SetAttr(ctx context.Context, origin ferry.Origin, id ferry.InodeID, c AttrChange) (e Entry, err error) {
	if err := t.ask(ctx, id); err != nil {
		return e, err
	}
	err = t.update(func(tx ferry.Tx) (func(), error) {
		n := t.nodes[id]
		if n == t.root {
			return func() {
				f := *n.facts
				c.apply(&f.attr)
				n.facts = &f
				if c.Mtime != nil {
					n.touched = 0
				}
				e = t.entry(n, nil)
			}, nil
		}
		row, err := t.ensure(tx, id)
		if err != nil {
			return nil, err
		}
		before := row.Attr
		c.apply(&row.Attr)
		if row.Attr != before || c.Mtime != nil {
			row.AttrSeq++
		}
		row.Attr.Ctime = time.Now().UnixNano()
		tx.PutInode(row)
		tx.PutReply(origin, ferry.Reply{Inode: id})
		return func() {
			if n == nil {
				n = &node{id: id, kind: row.Kind, facts: rowFacts(row), unlinked: row.Unlinked}
			}
			if c.Mtime != nil {
				n.touched = 0
			}
			n.facts = rowFactsOver(n.facts, row)
			e = t.entry(n, row)
		}, nil
	})
	return e, err
}

func (c AttrChange) apply(a *ferry.Attr) {
	if c.Mode != nil {
		a.Mode = *c.Mode & 0o7777
	}
	if c.UID != nil {
		a.UID = *c.UID
	}
	if c.GID != nil {
		a.GID = *c.GID
	}
	if c.Mtime != nil {
		a.Mtime = *c.Mtime
	}
}

// rowFactsOver makes facts of a row, keeping what only the listing knows.
func rowFactsOver(old *facts, row *ferry.Inode) *facts {
	f := rowFacts(row)
	if old != nil {
		f.implied, f.marker = old.implied, old.marker || f.marker && row.Kind == ferry.Dir
	}
	return f
}
