package content

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"

	"ferry"
	"ferry/fusefs/tree"
)

// inode is what all handles of one inode share.
type inode struct {
	id   ferry.InodeID
	refs int // handles; guarded by Files.mu

	mu      sync.RWMutex // guards what follows; held during staging I/O, never during network I/O
	loaded  bool
	writers int // handles that may write

	// gen is the staged generation, "" if src holds the bytes.
	gen ferry.Generation
	// writable says that gen may be written without asking the journal: we made or
	// unsealed it and have not sealed it.
	writable bool
	// fresh says that gen was begun by a handle that is still open: it has never
	// been sealed.
	fresh   bool
	file    StagingFile
	base    *ferry.Version // nil: the staging file is the whole content
	limit   int64          // how many bytes of base count
	extents *ferry.ExtentSet

	src *source // the object that holds the bytes while gen is ""

	size, mtime int64
	// journaled are size and mtime as the row has them, for files being written.
	journaledSize, journaledMtime int64
	settled                       uint64 // counts Settled events

	// live is what the tree is told of a file that is being written, without locks.
	live                atomic.Bool
	liveSize, liveMtime atomic.Int64
}

// source is the version that handles read. When our own work replaces an object
// it is changed in place, so that every handle follows; when another client's
// does, later handles get a new source and earlier ones keep theirs.
type source struct{ v ferry.Version }

// publish tells the tree. in.mu must be held.
func (in *inode) publish() {
	in.liveSize.Store(in.size)
	in.liveMtime.Store(in.mtime)
	in.live.Store(in.writable)
}

// ref returns the shared state of an inode and counts one more handle.
func (f *Files) ref(id ferry.InodeID) *inode {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := f.inodes[id]
	if in == nil {
		in = &inode{id: id}
		f.inodes[id] = in
	}
	in.refs++
	return in
}

// unref counts one handle less; after the last one the tree is told.
func (f *Files) unref(in *inode) {
	in.mu.Lock()
	if in.loaded {
		f.remember(in)
	}
	in.mu.Unlock()
	f.mu.Lock()
	in.refs--
	last := in.refs == 0
	if last {
		delete(f.inodes, in.id)
	}
	f.mu.Unlock()
	if !last {
		return
	}
	in.mu.Lock()
	f.mu.Lock()
	if in.gen != "" && f.inodes[in.id] == nil {
		delete(f.staged, in.gen)
	}
	f.mu.Unlock()
	in.closeFile()
	in.mu.Unlock()
	f.o.Tree.Closed(in.id)
}

// Open reports whether any handle of the inode is open. It does not block.
func (f *Files) Open(id ferry.InodeID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inodes[id] != nil
}

// LiveSize returns size in bytes and mtime (Unix nanoseconds) of a file that is
// being written. It does not block.
func (f *Files) LiveSize(id ferry.InodeID) (size, mtime int64, ok bool) {
	f.mu.Lock()
	in := f.inodes[id]
	f.mu.Unlock()
	if in == nil || !in.live.Load() {
		return 0, 0, false
	}
	return in.liveSize.Load(), in.liveMtime.Load(), true
}

func (in *inode) closeFile() {
	if in.file != nil {
		in.file.Close() //nolint:errcheck // its bytes are the journal's to sync; a failed close loses none
		in.file = nil
	}
}

// remember keeps what the kernel may have cached of in. in.mu must be held.
func (f *Files) remember(in *inode) {
	t := token{gen: in.gen}
	if in.gen == "" && in.src != nil {
		t = token{gen: in.src.v.Generation, etag: in.src.v.ETag}
	}
	f.mu.Lock()
	f.cached[in.id] = t
	f.mu.Unlock()
}

// Unchanged reports whether the kernel's cached pages of an inode, if it has any,
// are those of the content that e describes.
func (f *Files) Unchanged(e tree.Entry) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.cached[e.ID]
	switch {
	case !ok:
		return false
	case e.Content != "":
		return t.gen == e.Content
	case e.Version == nil:
		return false
	case t.etag != "":
		return t.etag == e.Version.ETag
	default:
		return t.gen != "" && t.gen == e.Version.Generation
	}
}

// Forgotten says that the kernel has dropped the inode.
func (f *Files) Forgotten(id ferry.InodeID) {
	f.mu.Lock()
	delete(f.cached, id)
	f.mu.Unlock()
}

// rows is what the journal has of one inode.
type rows struct {
	inode   *ferry.Inode // nil: no row
	upload  *ferry.Upload
	extents *ferry.ExtentSet
}

func (f *Files) rows(id ferry.InodeID) (r rows, err error) {
	err = f.o.Journal.View(func(tx ferry.Tx) error {
		r = rows{inode: tx.Inode(id)}
		if r.inode == nil || r.inode.Content == "" {
			return nil
		}
		r.upload = tx.Upload(r.inode.Content)
		if r.upload == nil {
			return internal("content.rows", "the content of an inode has no upload row")
		}
		if r.upload.Base != nil {
			r.extents = tx.Extents(r.upload.Generation).Clone()
		}
		return nil
	})
	return r, err
}

// load fills in from the rows, or from e if there is none. in.mu must be held.
func (f *Files) load(in *inode, e tree.Entry) error {
	for range 10 {
		r, err := f.rows(in.id)
		if err != nil {
			return err
		}
		if r.inode == nil || r.inode.Content == "" {
			v := e.Version
			if r.inode != nil {
				v = r.inode.Remote
			}
			if v == nil {
				return &ferry.Error{Op: "content.open", Kind: ferry.KindConflict, Msg: "the file is not there any more"}
			}
			f.useRemote(in, *v)
			in.mtime = e.Attr.Mtime
			in.loaded = true
			return nil
		}
		file, err := f.o.Staging.Open(r.upload.Generation)
		if err != nil {
			return err
		}
		// A generation may be stored and its file freed between the look at the rows
		// and the opening, which then made a new empty one: look again.
		again, err := f.rows(in.id)
		if err != nil || again.inode == nil || again.inode.Content != r.upload.Generation {
			file.Close() //nolint:errcheck // nothing was written
			if err != nil {
				return err
			}
			if err := f.o.Staging.Remove(r.upload.Generation); err != nil {
				return err
			}
			continue
		}
		return f.useStaging(in, again, file)
	}
	return &ferry.Error{Op: "content.open", Kind: ferry.KindTransient, Msg: "the file keeps changing"}
}

// useRemote says that the bytes are in v. in.mu must be held.
func (f *Files) useRemote(in *inode, v ferry.Version) {
	f.index(in, "")
	in.closeFile()
	if in.src == nil {
		in.src = &source{}
	}
	in.src.v = v
	in.gen, in.writable, in.base, in.limit, in.extents = "", false, nil, 0, nil
	in.size = v.Size
	in.publish()
}

// useStaging says that the bytes are those of r's generation. in.mu must be held.
func (f *Files) useStaging(in *inode, r rows, file StagingFile) error {
	size, err := stagedSize(r, file)
	if err != nil {
		file.Close() //nolint:errcheck // nothing was written
		return err
	}
	f.index(in, r.upload.Generation)
	in.closeFile()
	if in.src == nil {
		in.src = &source{}
	}
	in.gen, in.file = r.upload.Generation, file
	in.base, in.limit, in.extents = r.upload.Base, r.upload.BaseLimit, r.extents
	in.writable = r.upload.State.Writable()
	in.fresh = in.writable
	in.size, in.mtime = size, r.inode.Attr.Mtime
	in.journaledSize, in.journaledMtime = r.inode.Size, in.mtime
	in.loaded = true
	in.publish()
	return nil
}

// index keeps Files.staged in step when the generation of in becomes g. in.mu must
// be held.
func (f *Files) index(in *inode, g ferry.Generation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if in.gen != "" {
		delete(f.staged, in.gen)
	}
	if g != "" {
		f.staged[g] = in.id
	}
}

// stagedSize returns how long a staged content is. While it is being written, the
// staging file itself says so; with a base, the row and the extents do.
func stagedSize(r rows, file StagingFile) (int64, error) {
	switch {
	case !r.upload.State.Writable():
		return r.upload.Size, nil
	case r.upload.Base == nil:
		return file.Size()
	default:
		size := r.inode.Size
		if all := r.extents.All(); len(all) > 0 {
			size = max(size, all[len(all)-1].End())
		}
		return size, nil
	}
}

// Settled says that our own work has put obj at key. If its generation is the
// content of an open file, handles read the object from now on and the staging
// file is let go. Best called after the change is in the journal; before, it does
// nothing, and the file is let go when it is opened or closed next.
func (f *Files) Settled(_ ferry.ObjectKey, obj ferry.Object) {
	f.mu.Lock()
	in := f.inodes[f.staged[obj.Generation]]
	f.mu.Unlock()
	if in == nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.settled++
	v := &obj.Version
	if in.gen != obj.Generation {
		v = nil
	}
	if _, err := f.reload(in, v); err != nil {
		f.o.Log.Error("an open file could not follow its object", "inode", in.id, "error", err)
	}
}

// reload follows the rows: it reports whether bytes are now to be read elsewhere.
// v is where they are if there is no row any more, nil if that is not known.
// in.mu must be held.
func (f *Files) reload(in *inode, v *ferry.Version) (changed bool, err error) {
	r, err := f.rows(in.id)
	if err != nil {
		return false, err
	}
	switch {
	case r.inode != nil && r.inode.Content != "" && r.inode.Content == in.gen:
		if r.upload.Base != nil && in.base != nil && *r.upload.Base != *in.base {
			in.base = r.upload.Base
			changed = true
		}
		return changed, nil
	case r.inode != nil && r.inode.Content != "":
		return true, f.load(in, tree.Entry{ID: in.id})
	case r.inode != nil && r.inode.Remote != nil:
		v = r.inode.Remote
	}
	if v == nil || in.gen == "" && in.src.v == *v {
		return false, nil
	}
	f.useRemote(in, *v)
	return true, nil
}

// follow is called when a version that was to be read is not there: it reports
// whether the reason is our own work, so that reading again can succeed.
func (f *Files) follow(ctx context.Context, in *inode) (bool, error) {
	e, err := f.o.Tree.Stat(ctx, in.id)
	if err != nil {
		return false, err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	v := e.Version
	if v != nil && in.gen == "" && v.Key == in.src.v.Key && !f.ours(v.Generation) {
		v = nil
	}
	return f.reload(in, v)
}

// ours reports whether this start of the daemon made the generation.
func (f *Files) ours(g ferry.Generation) bool { return strings.HasPrefix(string(g), f.start) }
