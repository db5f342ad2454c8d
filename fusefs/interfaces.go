// Package fusefs speaks to the kernel: it takes FUSE requests off the connection
// and turns each into one call of the tree (fusefs/tree) or of the open files
// (fusefs/content), and the answer into an errno.
//
// It uses go-fuse's raw API: a NodeId is the tree's inode ID, and the table of
// handles is ours. Each method only translates. Files are split by family of
// requests: node_lookup.go, attr.go, name.go, dir.go, file.go, xattr.go, statfs.go.
package fusefs

import (
	"context"

	"ferry"
	"ferry/fusefs/content"
	"ferry/fusefs/tree"
)

// Tree is the names. fusefs/tree implements it.
type Tree interface {
	Lookup(ctx context.Context, parent ferry.InodeID, name string) (tree.Entry, error)
	Forget(id ferry.InodeID, n uint64)
	Ref(id ferry.InodeID)
	Stat(ctx context.Context, id ferry.InodeID) (tree.Entry, error)
	SetAttr(ctx context.Context, origin ferry.Origin, id ferry.InodeID, c tree.AttrChange) (tree.Entry, error)
	Create(ctx context.Context, origin ferry.Origin, parent ferry.InodeID, name string, mode, uid, gid uint32, excl bool) (e tree.Entry, created bool, err error)
	Mkdir(ctx context.Context, origin ferry.Origin, parent ferry.InodeID, name string, mode, uid, gid uint32) (tree.Entry, error)
	Symlink(ctx context.Context, origin ferry.Origin, parent ferry.InodeID, name, target string, uid, gid uint32) (tree.Entry, error)
	Unlink(ctx context.Context, origin ferry.Origin, parent ferry.InodeID, name string) error
	Rmdir(ctx context.Context, origin ferry.Origin, parent ferry.InodeID, name string) error
	Rename(ctx context.Context, origin ferry.Origin, oldParent ferry.InodeID, oldName string, newParent ferry.InodeID, newName string, flags uint32) error
	OpenDir(ctx context.Context, id ferry.InodeID) (*tree.DirHandle, error)
	GetXattr(ctx context.Context, id ferry.InodeID, name string) ([]byte, error)
	ListXattr(ctx context.Context, id ferry.InodeID) ([]string, error)
	SetXattr(ctx context.Context, origin ferry.Origin, id ferry.InodeID, name string, value []byte, flags uint32) error
	RemoveXattr(ctx context.Context, origin ferry.Origin, id ferry.InodeID, name string) error
}

// Content is the open files. fusefs/content implements it.
type Content interface {
	OpenFile(ctx context.Context, e tree.Entry, flags uint32) (*content.Handle, error)
	Read(ctx context.Context, h *content.Handle, p []byte, off int64) (int, error)
	Borrow(ctx context.Context, h *content.Handle, n int, off int64) (data []byte, done func(), ok bool)
	Write(ctx context.Context, h *content.Handle, p []byte, off int64) (int, error)
	Flush(h *content.Handle) error
	Fsync(ctx context.Context, h *content.Handle) error
	Release(h *content.Handle)
	SetSize(ctx context.Context, e tree.Entry, size int64) error
	SetMtime(id ferry.InodeID, mtime int64)
	Fallocate(ctx context.Context, h *content.Handle, mode uint32, e ferry.Extent) error
	Copy(ctx context.Context, src *content.Handle, srcOff int64, dst *content.Handle, dstOff, length int64) (int64, error)
	Seek(h *content.Handle, off int64, whence uint32) (int64, error)
	Unchanged(e tree.Entry) bool
	Forgotten(id ferry.InodeID)
}

// Journal is asked for recorded answers, and to make changes durable.
type Journal interface {
	View(fn func(ferry.Tx) error) error
	Sync(ctx context.Context) error
}
