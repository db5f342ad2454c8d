package tree

import (
	"context"
	"slices"
	"strings"

	"ferry"
)

// Flags of setxattr(2).
const (
	xattrCreate  = 1
	xattrReplace = 2
)

// The attributes that ferry answers itself; they cannot be set.
const (
	attrState  = "user.ferry.state"
	attrETag   = "user.ferry.etag"
	attrKey    = "user.ferry.key"
	attrUpload = "user.ferry.upload"
)

func noAttr(name string) error {
	return &ferry.Error{Op: "tree.xattr", Key: name, Kind: ferry.KindNoAttr}
}

// xattrsOf returns an inode's own attributes; the map is the tree's.
func (t *Tree) xattrsOf(tx ferry.Tx, id ferry.InodeID) (map[string][]byte, *ferry.Inode, *node, error) {
	row, n := tx.Inode(id), t.nodes[id]
	switch {
	case row != nil:
		return row.Xattrs, row, n, nil
	case n != nil && n.facts.unasked && !n.unlinked:
		return nil, nil, n, unaskedErr(n)
	case n != nil:
		return n.facts.xattrs, nil, n, nil
	}
	return nil, nil, nil, &ferry.Error{Op: "tree.xattr", Kind: ferry.KindConflict, Msg: "an inode that this daemon does not know"}
}

// GetXattr returns one extended attribute; KindNoAttr if there is none.
func (t *Tree) GetXattr(ctx context.Context, id ferry.InodeID, name string) (v []byte, err error) {
	if err := t.ask(ctx, id); err != nil {
		return nil, err
	}
	err = t.view(func(tx ferry.Tx) error {
		m, row, n, err := t.xattrsOf(tx, id)
		if strings.HasPrefix(name, "user.ferry.") && (row != nil || n != nil) {
			s := t.own(tx, name, row, n)
			if s == "" {
				return noAttr(name)
			}
			v = []byte(s)
			return nil
		}
		if err != nil {
			return err
		}
		b, ok := m[name]
		if !ok {
			return noAttr(name)
		}
		v = slices.Clone(b)
		return nil
	})
	return v, err
}

// ListXattr returns the names of an inode's attributes, ours first.
func (t *Tree) ListXattr(ctx context.Context, id ferry.InodeID) (names []string, err error) {
	if err := t.ask(ctx, id); err != nil {
		return nil, err
	}
	err = t.view(func(tx ferry.Tx) error {
		m, _, _, err := t.xattrsOf(tx, id)
		if err != nil {
			return err
		}
		for name := range m {
			names = append(names, name)
		}
		slices.Sort(names)
		return nil
	})
	return names, err
}

// SetXattr sets a "user.*" attribute.
func (t *Tree) SetXattr(ctx context.Context, origin ferry.Origin, id ferry.InodeID, name string, value []byte, flags uint32) error {
	if err := settable(name); err != nil {
		return err
	}
	return t.editXattrs(ctx, origin, id, func(m map[string][]byte) error {
		_, there := m[name]
		if flags&xattrCreate != 0 && there {
			return exists(name)
		}
		if flags&xattrReplace != 0 && !there {
			return noAttr(name)
		}
		m[name] = slices.Clone(value)
		return nil
	})
}

// RemoveXattr removes a "user.*" attribute.
func (t *Tree) RemoveXattr(ctx context.Context, origin ferry.Origin, id ferry.InodeID, name string) error {
	if err := settable(name); err != nil {
		return err
	}
	return t.editXattrs(ctx, origin, id, func(m map[string][]byte) error {
		if _, there := m[name]; !there {
			return noAttr(name)
		}
		delete(m, name)
		return nil
	})
}

func settable(name string) error {
	switch {
	case strings.HasPrefix(name, "user.ferry."):
		return &ferry.Error{Op: "tree.xattr", Key: name, Kind: ferry.KindPerm, Msg: "ferry answers this attribute itself"}
	case !strings.HasPrefix(name, "user."):
		return &ferry.Error{Op: "tree.xattr", Key: name, Kind: ferry.KindUnsupported, Msg: "only user.* attributes are kept in the object's metadata"}
	}
	return nil
}

func (t *Tree) editXattrs(ctx context.Context, origin ferry.Origin, id ferry.InodeID, edit func(map[string][]byte) error) error {
	if id == ferry.RootInode {
		return &ferry.Error{Op: "tree.xattr", Kind: ferry.KindUnsupported, Msg: "the root of the mount has no object to keep attributes in"}
	}
	if err := t.ask(ctx, id); err != nil {
		return err
	}
	return t.update(func(tx ferry.Tx) (func(), error) {
		row, err := t.ensure(tx, id)
		if err != nil {
			return nil, err
		}
		if row.Xattrs == nil {
			row.Xattrs = map[string][]byte{}
		}
		if err := edit(row.Xattrs); err != nil {
			return nil, err
		}
		// What does not fit into the object's metadata is refused here, not when
		// it is sent.
		if _, _, err := ferry.EncodeMetadata(row, row.Content); err != nil {
			return nil, err
		}
		row.AttrSeq++
		tx.PutInode(row)
		tx.PutReply(origin, ferry.Reply{Inode: id})
		return func() {
			if n := t.nodes[id]; n != nil {
				n.facts = rowFactsOver(n.facts, row)
			}
		}, nil
	})
}

// own answers the attributes of ferry itself, "" if one does not apply.
func (t *Tree) own(tx ferry.Tx, name string, row *ferry.Inode, n *node) string {
	var v *ferry.Version
	key := ferry.ObjectKey("")
	switch {
	case row != nil:
		v, key = row.Remote, row.Key()
	case n != nil && !n.unlinked:
		v, key = n.facts.version, n.path().Key()
		if n.kind == ferry.Dir {
			key = n.path().Marker()
		}
	}
	switch name {
	case attrState:
		return t.state(tx, row)
	case attrKey:
		return string(key)
	case attrETag:
		if v != nil && (row == nil || row.Content == "") {
			return string(v.ETag)
		}
	case attrUpload:
		if row != nil {
			return string(row.Content)
		}
	}
	return ""
}

// state returns open, pending, uploading, stored or parked.
func (t *Tree) state(tx ferry.Tx, row *ferry.Inode) string {
	if row == nil {
		return "stored"
	}
	if k := tx.Key(row.Key()); k != nil && k.Parked != "" {
		return "parked"
	}
	if u := tx.Upload(row.Content); u != nil {
		switch u.State {
		case ferry.StateDirty, ferry.StateStreaming:
			return "open"
		case ferry.StateParked:
			return "parked"
		case ferry.StateUploading, ferry.StateCompleting:
			return "uploading"
		case ferry.StateSealed, ferry.StateAborting, ferry.StateStored, ferry.StateDiscarded:
		}
	}
	return "pending"
}
