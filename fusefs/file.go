package fusefs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ferry"
	"ferry/fusefs/tree"
)

// Create makes a file and opens it, or opens the one that is there.
func (fs *rawFS) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	r := fs.begin("CREATE", cancel, &in.InHeader)
	defer r.end()
	var e tree.Entry
	var created bool
	var err error
	if reply := r.answered(); reply != nil {
		if reply.Errno != 0 {
			return fuse.Status(reply.Errno)
		}
		if e, err = fs.tree.Stat(r, reply.Inode); err == nil {
			fs.tree.Ref(e.ID)
		}
		created = true
	} else {
		e, created, err = fs.tree.Create(r, r.origin(), ferry.InodeID(in.NodeId), name, in.Mode&0o7777, in.Uid, in.Gid, in.Flags&syscall.O_EXCL != 0)
	}
	if err != nil {
		return fs.status(r, err)
	}
	flags := in.Flags
	if created {
		flags &^= syscall.O_TRUNC
	}
	if err := fs.open(r, e, flags, &out.OpenOut); err != nil {
		fs.tree.Forget(e.ID, 1)
		return fs.status(r, err)
	}
	if flags&syscall.O_TRUNC != 0 {
		if fresh, err := fs.tree.Stat(r, e.ID); err == nil {
			e = fresh
		}
	}
	fs.entryOut(e, &out.EntryOut)
	return fuse.OK
}

// Open opens a file. With O_TRUNC it is emptied (CAP_ATOMIC_O_TRUNC).
func (fs *rawFS) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	r := fs.begin("OPEN", cancel, &in.InHeader)
	defer r.end()
	e, err := fs.tree.Stat(r, ferry.InodeID(in.NodeId))
	if err != nil {
		return fs.stale.answer(in.Pid, fs.status(r, err))
	}
	if err := fs.open(r, e, in.Flags, out); err != nil {
		return fs.stale.answer(in.Pid, fs.status(r, err))
	}
	if in.Mode&fuse.OPEN_KILL_SUIDGID != 0 {
		if err := fs.killSetID(r); err != nil {
			fs.log.Warn("set-id bits could not be taken off", "inode", in.NodeId, "error", err)
		}
	}
	return fuse.OK
}

func (fs *rawFS) open(r *request, e tree.Entry, flags uint32, out *fuse.OpenOut) error {
	if fs.content.Unchanged(e) {
		out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
	}
	h, err := fs.content.OpenFile(r, e, flags)
	if err != nil {
		return err
	}
	out.Fh = fs.addFile(h)
	return nil
}

// Read gives bytes; fewer than asked for is the end of the file.
func (fs *rawFS) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	r := fs.begin("READ", cancel, &in.InHeader)
	defer r.end()
	h, err := fs.file(in.Fh)
	if err != nil {
		return nil, fs.status(r, err)
	}
	if data, done, ok := fs.content.Borrow(r, h, int(in.Size), int64(in.Offset)); ok {
		return &borrowed{data, done}, fuse.OK
	}
	n, err := fs.content.Read(r, h, buf[:in.Size], int64(in.Offset))
	if err != nil {
		return nil, fs.status(r, err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// borrowed is an answer to READ straight from a read buffer.
type borrowed struct {
	data []byte
	done func()
}

// Slices makes go-fuse write the buffer itself, and call Done after that.
func (b *borrowed) Slices() ([][]byte, fuse.Status) { return [][]byte{b.data}, fuse.OK }

// Bytes implements fuse.ReadResult. It copies: Done may come before the answer is
// sent where go-fuse asks for Bytes.
func (b *borrowed) Bytes(buf []byte) ([]byte, fuse.Status) {
	return append(buf[:0], b.data...), fuse.OK
}

// Size implements fuse.ReadResult.
func (b *borrowed) Size() int { return len(b.data) }

// Done implements fuse.ReadResult: the answer is sent.
func (b *borrowed) Done() { b.done() }

// Write takes bytes. The kernel gives the offset of an append: it knows the size.
func (fs *rawFS) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	r := fs.begin("WRITE", cancel, &in.InHeader)
	defer r.end()
	h, err := fs.file(in.Fh)
	if err != nil {
		return 0, fs.status(r, err)
	}
	n, err := fs.content.Write(r, h, data, int64(in.Offset))
	if n == 0 && err != nil {
		return 0, fs.status(r, err)
	}
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		if err := fs.killSetID(r); err != nil {
			fs.log.Warn("set-id bits could not be taken off", "inode", in.NodeId, "error", err)
		}
	}
	return uint32(n), fuse.OK
}

// Writev leaves it to Write: the kernel's writes come in one piece.
func (fs *rawFS) Writev(<-chan struct{}, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

// Flush is close(2) of one descriptor.
func (fs *rawFS) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	r := fs.begin("FLUSH", cancel, &in.InHeader)
	defer r.end()
	h, err := fs.file(in.Fh)
	if err != nil {
		return fs.status(r, err)
	}
	return fs.status(r, fs.content.Flush(h))
}

// Release is the end of the last descriptor of one open(2).
func (fs *rawFS) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	r := fs.begin("RELEASE", cancel, &in.InHeader)
	defer r.end()
	fs.mu.Lock()
	h := fs.files[in.Fh]
	delete(fs.files, in.Fh)
	fs.mu.Unlock()
	if h != nil {
		fs.content.Release(h)
	}
}

// Fsync makes the file, and all names of before, survive a power cut.
func (fs *rawFS) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	r := fs.begin("FSYNC", cancel, &in.InHeader)
	defer r.end()
	h, err := fs.file(in.Fh)
	if err != nil {
		return fs.status(r, err)
	}
	return fs.status(r, fs.content.Fsync(r, h))
}

// Fallocate sets sizes and zeroes ranges.
func (fs *rawFS) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	r := fs.begin("FALLOCATE", cancel, &in.InHeader)
	defer r.end()
	h, err := fs.file(in.Fh)
	if err != nil {
		return fs.status(r, err)
	}
	e := ferry.Extent{Offset: int64(in.Offset), Length: int64(in.Length)}
	return fs.status(r, fs.content.Fallocate(r, h, in.Mode, e))
}

// Lseek answers SEEK_DATA and SEEK_HOLE.
func (fs *rawFS) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	r := fs.begin("LSEEK", cancel, &in.InHeader)
	defer r.end()
	h, err := fs.file(in.Fh)
	if err != nil {
		return fs.status(r, err)
	}
	off, err := fs.content.Seek(h, int64(in.Offset), in.Whence)
	out.Offset = uint64(off)
	return fs.status(r, err)
}

// CopyFileRange copies inside the mount without the kernel in between.
func (fs *rawFS) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	r := fs.begin("COPY_FILE_RANGE", cancel, &in.InHeader)
	defer r.end()
	if in.Flags != 0 {
		return 0, fuse.EINVAL
	}
	src, err := fs.file(in.FhIn)
	if err != nil {
		return 0, fs.status(r, err)
	}
	dst, err := fs.file(in.FhOut)
	if err != nil {
		return 0, fs.status(r, err)
	}
	n, err := fs.content.Copy(r, src, int64(in.OffIn), dst, int64(in.OffOut), int64(min(in.Len, 1<<31)))
	return uint32(n), fs.status(r, err)
}

// Tmpfile is not offered: a file without a name is no object.
func (fs *rawFS) Tmpfile(<-chan struct{}, *fuse.CreateIn, *fuse.CreateOut) fuse.Status {
	return fuse.ENOSYS
}

// GetLk is not asked: locks are the kernel's own.
func (fs *rawFS) GetLk(<-chan struct{}, *fuse.LkIn, *fuse.LkOut) fuse.Status { return fuse.ENOSYS }

// SetLk is not asked either.
func (fs *rawFS) SetLk(<-chan struct{}, *fuse.LkIn) fuse.Status { return fuse.ENOSYS }

// SetLkw is not asked either.
func (fs *rawFS) SetLkw(<-chan struct{}, *fuse.LkIn) fuse.Status { return fuse.ENOSYS }
