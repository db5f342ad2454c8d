package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"ferry"
	"ferry/fusefs/tree"
)

const (
	setUID, setGID, groupExec = 0o4000, 0o2000, 0o010
)

// GetAttr is stat(2).
func (fs *rawFS) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	r := fs.begin("GETATTR", cancel, &in.InHeader)
	defer r.end()
	return fs.getAttr(r, out)
}

func (fs *rawFS) getAttr(r *request, out *fuse.AttrOut) fuse.Status {
	e, err := fs.tree.Stat(r, ferry.InodeID(r.node))
	if err != nil {
		return fs.status(r, err)
	}
	out.SetTimeout(fs.timeout)
	attrOut(e, &out.Attr)
	return fuse.OK
}

// SetAttr is chmod, chown, utimens and truncate, alone or together. Times of
// reading are not kept.
func (fs *rawFS) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	r := fs.begin("SETATTR", cancel, &in.InHeader)
	defer r.end()
	if r.answered() != nil {
		return fs.getAttr(r, out)
	}
	id := ferry.InodeID(in.NodeId)
	e, err := fs.tree.Stat(r, id)
	if err != nil {
		return fs.status(r, err)
	}
	if size, ok := in.GetSize(); ok {
		if e.Kind == ferry.Dir {
			return fuse.EISDIR
		}
		if err := fs.content.SetSize(r, e, int64(min(size, 1<<62))); err != nil {
			return fs.status(r, err)
		}
	}
	if c := change(in, e); c != (tree.AttrChange{}) {
		if _, err := fs.tree.SetAttr(r, r.origin(), id, c); err != nil {
			return fs.status(r, err)
		}
		if c.Mtime != nil {
			fs.content.SetMtime(id, *c.Mtime)
		}
	}
	return fs.getAttr(r, out)
}

// change returns what the request changes besides the size.
func change(in *fuse.SetAttrIn, e tree.Entry) (c tree.AttrChange) {
	if m, ok := in.GetMode(); ok {
		c.Mode = &m
	}
	if u, ok := in.GetUID(); ok {
		c.UID = &u
	}
	if g, ok := in.GetGID(); ok {
		c.GID = &g
	}
	if t, ok := in.GetMTime(); ok {
		c.Mtime = new(t.UnixNano())
	}
	// The kernel leaves taking away set-id bits to us (CAP_HANDLE_KILLPRIV_V2).
	owner := (c.UID != nil || c.GID != nil) && e.Kind == ferry.File
	if c.Mode == nil && (owner || in.Valid&fuse.FATTR_KILL_SUIDGID != 0) {
		if m := withoutSetID(e.Attr.Mode); m != e.Attr.Mode {
			c.Mode = &m
		}
	}
	return c
}

// withoutSetID takes the set-id bits off a mode. Set-group-ID without group
// execution means something else and stays.
func withoutSetID(mode uint32) uint32 {
	mode &^= setUID
	if mode&groupExec != 0 {
		mode &^= setGID
	}
	return mode
}

// killSetID takes the set-id bits off a file that was written by somebody who
// may not keep them.
func (fs *rawFS) killSetID(r *request) error {
	e, err := fs.tree.Stat(r, ferry.InodeID(r.node))
	if err != nil {
		return err
	}
	m := withoutSetID(e.Attr.Mode)
	if m == e.Attr.Mode {
		return nil
	}
	_, err = fs.tree.SetAttr(r, ferry.Origin{}, e.ID, tree.AttrChange{Mode: &m})
	return err
}
