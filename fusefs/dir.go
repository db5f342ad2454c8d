package fusefs

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ferry"
	"ferry/fusefs/tree"
)

// Cookies say where a listing goes on: "." stands at 1, ".." at 2, names of the
// tree from 3 on. 0 is the beginning too.
const (
	cookieDot = 1 + iota
	cookieDotDot
	cookieNames
)

// dirHandle is one opendir(3). The tree's handle is used by one reader at a time.
type dirHandle struct {
	mu sync.Mutex
	d  *tree.DirHandle
}

func (d *dirHandle) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.d.Close()
}

func (fs *rawFS) dir(fh uint64) (*dirHandle, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	d := fs.dirs[fh]
	if d == nil {
		return nil, &ferry.Error{Op: "fusefs.dir", Kind: ferry.KindBadHandle, Msg: "no such handle"}
	}
	return d, nil
}

// OpenDir opens a directory for reading.
func (fs *rawFS) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	r := fs.begin("OPENDIR", cancel, &in.InHeader)
	defer r.end()
	d, err := fs.tree.OpenDir(r, ferry.InodeID(in.NodeId))
	if err != nil {
		return fs.status(r, err)
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.lastFh++
	out.Fh = fs.lastFh
	fs.dirs[out.Fh] = &dirHandle{d: d}
	return fuse.OK
}

// ReadDir gives names.
func (fs *rawFS) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	r := fs.begin("READDIR", cancel, &in.InHeader)
	defer r.end()
	return fs.list(r, in, out.AddDirEntry, func(e tree.DirEntry, next uint64) bool {
		return out.AddDirEntry(fuse.DirEntry{Name: e.Name, Ino: uint64(e.ID), Mode: typeBits(e.Kind), Off: next})
	})
}

// ReadDirPlus gives names with their attributes; each counts as a lookup.
func (fs *rawFS) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	r := fs.begin("READDIRPLUS", cancel, &in.InHeader)
	defer r.end()
	dot := func(e fuse.DirEntry) bool { return out.AddDirLookupEntry(e) != nil }
	return fs.list(r, in, dot, func(e tree.DirEntry, next uint64) bool {
		entry := out.AddDirLookupEntry(fuse.DirEntry{Name: e.Name, Ino: uint64(e.ID), Mode: typeBits(e.Kind), Off: next})
		if entry == nil {
			return false
		}
		fs.tree.Ref(e.ID)
		fs.entryOut(e.Entry, entry)
		return true
	})
}

// list emits "." and ".." by dot and the names of the tree by name, until the
// kernel's buffer is full.
func (fs *rawFS) list(r *request, in *fuse.ReadIn, dot func(fuse.DirEntry) bool, name func(tree.DirEntry, uint64) bool) fuse.Status {
	d, err := fs.dir(in.Fh)
	if err != nil {
		return fs.status(r, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	mode := typeBits(ferry.Dir)
	if in.Offset <= cookieDot && !dot(fuse.DirEntry{Name: ".", Ino: in.NodeId, Mode: mode, Off: cookieDotDot}) {
		return fuse.OK
	}
	if in.Offset <= cookieDotDot && !dot(fuse.DirEntry{Name: "..", Mode: mode, Off: cookieNames}) {
		return fuse.OK
	}
	emitted := false
	err = d.d.Read(r, max(in.Offset, cookieNames), func(e tree.DirEntry, next uint64) bool {
		ok := name(e, next)
		emitted = emitted || ok
		return ok
	})
	if emitted {
		return fuse.OK // the next request meets the error again, if there is one
	}
	return fs.status(r, err)
}

// ReleaseDir ends the reading.
func (fs *rawFS) ReleaseDir(in *fuse.ReleaseIn) {
	fs.mu.Lock()
	d := fs.dirs[in.Fh]
	delete(fs.dirs, in.Fh)
	fs.mu.Unlock()
	if d != nil {
		d.close()
	}
}

// FsyncDir makes all names of before survive a power cut.
func (fs *rawFS) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	r := fs.begin("FSYNCDIR", cancel, &in.InHeader)
	defer r.end()
	return fs.status(r, fs.journal.Sync(r))
}
