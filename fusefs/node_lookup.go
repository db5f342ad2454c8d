package fusefs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ferry"
)

// Lookup finds a name. A name that is not there is not remembered by the kernel,
// for another client may make it any moment.
func (fs *rawFS) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	r := fs.begin("LOOKUP", cancel, h)
	defer r.end()
	e, err := fs.tree.Lookup(r, ferry.InodeID(h.NodeId), name)
	if err != nil {
		return fs.status(r, err)
	}
	fs.entryOut(e, out)
	return fuse.OK
}

// Forget gives references back; the kernel does so when it drops the inode.
func (fs *rawFS) Forget(node, n uint64) {
	fs.content.Forgotten(ferry.InodeID(node))
	fs.tree.Forget(ferry.InodeID(node), n)
}

// Readlink returns where a symlink points.
func (fs *rawFS) Readlink(cancel <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	r := fs.begin("READLINK", cancel, h)
	defer r.end()
	e, err := fs.tree.Stat(r, ferry.InodeID(h.NodeId))
	if err != nil {
		return nil, fs.status(r, err)
	}
	if e.Kind != ferry.Symlink {
		return nil, fuse.EINVAL
	}
	return []byte(e.Target), fuse.OK
}

// Access leaves permissions to the kernel (default_permissions) or to nobody: the
// mount is the mounting user's alone then.
func (fs *rawFS) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.ENOSYS }

// Statx falls back to GetAttr: there is no birth time to tell.
func (fs *rawFS) Statx(<-chan struct{}, *fuse.StatxIn, *fuse.StatxOut) fuse.Status {
	return fuse.ENOSYS
}

// Ioctl knows no command.
func (fs *rawFS) Ioctl(<-chan struct{}, *fuse.IoctlIn, []byte, *fuse.IoctlOut, []byte) fuse.Status {
	return fuse.Status(syscall.ENOTTY)
}
