package fusefs

import (
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ferry"
	"ferry/fusefs/content"
	"ferry/fusefs/tree"
)

// What stat(2) says of the preferred size of I/O: a program that fills an empty
// file does it in pieces of 1 MiB, which is the most that one request carries; one
// that reads does not have to fetch more than one block.
const (
	blksizeEmpty = 1 << 20
	blksizeFull  = 128 << 10
)

// rawFS answers the kernel's requests.
type rawFS struct {
	tree       Tree
	content    Content
	journal    Journal
	connection uint64
	timeout    time.Duration // of names and attributes in the kernel
	log        *slog.Logger
	wg         sync.WaitGroup
	inflight   inflight
	invalid    *invalidator
	stale      staleOpens

	mu     sync.RWMutex
	lastFh uint64
	files  map[uint64]*content.Handle
	dirs   map[uint64]*dirHandle
}

var _ fuse.RawFileSystem = (*rawFS)(nil)

func (fs *rawFS) String() string { return "ferry" }

// SetDebug is for go-fuse; its log is chosen when mounting.
func (fs *rawFS) SetDebug(bool) {}

// Init is called when the kernel has said hello.
func (fs *rawFS) Init(s *fuse.Server) { fs.invalid.start(s) }

// OnUnmount is called when no request will come any more.
func (fs *rawFS) OnUnmount() {}

func (fs *rawFS) addFile(h *content.Handle) uint64 {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.lastFh++
	fs.files[fs.lastFh] = h
	return fs.lastFh
}

// file returns the handle that a request names.
func (fs *rawFS) file(fh uint64) (*content.Handle, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	h := fs.files[fh]
	if h == nil {
		return nil, &ferry.Error{Op: "fusefs.file", Kind: ferry.KindBadHandle, Msg: "no such handle"}
	}
	return h, nil
}

// releaseAll ends the handles that a detached mount has left open.
func (fs *rawFS) releaseAll() {
	fs.mu.Lock()
	files, dirs := fs.files, fs.dirs
	fs.files, fs.dirs = map[uint64]*content.Handle{}, map[uint64]*dirHandle{}
	fs.mu.Unlock()
	for _, h := range files {
		fs.content.Release(h)
	}
	for _, d := range dirs {
		d.close()
	}
}

// entryOut answers with a name.
func (fs *rawFS) entryOut(e tree.Entry, out *fuse.EntryOut) {
	out.NodeId = uint64(e.ID)
	out.SetEntryTimeout(fs.timeout)
	out.SetAttrTimeout(fs.timeout)
	attrOut(e, &out.Attr)
}

// attrOut fills in what stat(2) shows.
func attrOut(e tree.Entry, out *fuse.Attr) {
	out.Ino = uint64(e.ID)
	out.Size = uint64(e.Size)
	out.Blocks = (out.Size + 511) / 512
	out.Mtime, out.Mtimensec = split(e.Attr.Mtime)
	out.Ctime, out.Ctimensec = split(max(e.Attr.Ctime, e.Attr.Mtime))
	out.Atime, out.Atimensec = out.Mtime, out.Mtimensec
	out.Mode = typeBits(e.Kind) | e.Attr.Mode&0o7777
	out.Owner = fuse.Owner{Uid: e.Attr.UID, Gid: e.Attr.GID}
	out.Nlink = 1
	if e.Kind == ferry.Dir {
		out.Nlink, out.Size, out.Blocks = 2, 4096, 8
	}
	if e.Unlinked {
		out.Nlink = 0
	}
	out.Blksize = blksizeFull
	if e.Size == 0 {
		out.Blksize = blksizeEmpty
	}
}

// split cuts Unix nanoseconds into seconds (two's complement, as the kernel has
// them) and the rest.
func split(ns int64) (sec uint64, nsec uint32) {
	t := time.Unix(0, ns)
	return uint64(t.Unix()), uint32(t.Nanosecond())
}

func typeBits(k ferry.NodeKind) uint32 {
	switch k {
	case ferry.Dir:
		return syscall.S_IFDIR
	case ferry.Symlink:
		return syscall.S_IFLNK
	default:
		return syscall.S_IFREG
	}
}
