package content

import (
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
