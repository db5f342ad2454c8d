package fusefs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ferry"
	"ferry/fusefs/tree"
)

// again answers a request that was carried out before, from its record.
func (fs *rawFS) again(r *request, reply *ferry.Reply, out *fuse.EntryOut) fuse.Status {
	if reply.Errno != 0 {
		return fuse.Status(reply.Errno)
	}
	e, err := fs.tree.Stat(r, reply.Inode)
	if err != nil {
		return fs.status(r, err)
	}
	fs.tree.Ref(e.ID)
	fs.entryOut(e, out)
	return fuse.OK
}

// Mkdir makes a directory.
func (fs *rawFS) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	r := fs.begin("MKDIR", cancel, &in.InHeader)
	defer r.end()
	if reply := r.answered(); reply != nil {
		return fs.again(r, reply, out)
	}
	e, err := fs.tree.Mkdir(r, r.origin(), ferry.InodeID(in.NodeId), name, in.Mode&0o7777, in.Uid, in.Gid)
	if err != nil {
		return fs.status(r, err)
	}
	fs.entryOut(e, out)
	return fuse.OK
}

// Symlink makes a symbolic link.
func (fs *rawFS) Symlink(cancel <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	r := fs.begin("SYMLINK", cancel, h)
	defer r.end()
	if reply := r.answered(); reply != nil {
		return fs.again(r, reply, out)
	}
	e, err := fs.tree.Symlink(r, r.origin(), ferry.InodeID(h.NodeId), name, target, h.Uid, h.Gid)
	if err != nil {
		return fs.status(r, err)
	}
	fs.entryOut(e, out)
	return fuse.OK
}

// Mknod makes regular files only: an object is no device.
func (fs *rawFS) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	r := fs.begin("MKNOD", cancel, &in.InHeader)
	defer r.end()
	if t := in.Mode & syscall.S_IFMT; t != 0 && t != syscall.S_IFREG {
		return fuse.EPERM
	}
	if reply := r.answered(); reply != nil {
		return fs.again(r, reply, out)
	}
	e, _, err := fs.tree.Create(r, r.origin(), ferry.InodeID(in.NodeId), name, in.Mode&0o7777, in.Uid, in.Gid, true)
	if err != nil {
		return fs.status(r, err)
	}
	// Opening and closing seals the empty content.
	h, err := fs.content.OpenFile(r, e, syscall.O_WRONLY)
	if err != nil {
		fs.tree.Forget(e.ID, 1)
		return fs.status(r, err)
	}
	fs.content.Release(h)
	fs.entryOut(e, out)
	return fuse.OK
}

// Link is refused: an object has one key.
func (fs *rawFS) Link(<-chan struct{}, *fuse.LinkIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Unlink removes a name of a file or of a symlink.
func (fs *rawFS) Unlink(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	r := fs.begin("UNLINK", cancel, h)
	defer r.end()
	if reply := r.answered(); reply != nil {
		return fuse.Status(reply.Errno)
	}
	return fs.status(r, fs.tree.Unlink(r, r.origin(), ferry.InodeID(h.NodeId), name))
}

// Rmdir removes an empty directory.
func (fs *rawFS) Rmdir(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	r := fs.begin("RMDIR", cancel, h)
	defer r.end()
	if reply := r.answered(); reply != nil {
		return fuse.Status(reply.Errno)
	}
	return fs.status(r, fs.tree.Rmdir(r, r.origin(), ferry.InodeID(h.NodeId), name))
}

// Rename is renameat2(2); of its flags NOREPLACE and EXCHANGE are known.
func (fs *rawFS) Rename(cancel <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	r := fs.begin("RENAME", cancel, &in.InHeader)
	defer r.end()
	switch in.Flags {
	case 0, tree.RenameNoReplace, tree.RenameExchange:
	default:
		return fuse.EINVAL
	}
	if reply := r.answered(); reply != nil {
		return fuse.Status(reply.Errno)
	}
	return fs.status(r, fs.tree.Rename(r, r.origin(), ferry.InodeID(in.NodeId), oldName, ferry.InodeID(in.Newdir), newName, in.Flags))
}
