package main

import (
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func (fs *nullFS) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return fs.entry(fs.child(header.NodeId, name), out)
}

func (fs *nullFS) GetAttr(_ <-chan struct{}, input *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return fs.attr(input.NodeId, out)
}

func (fs *nullFS) SetAttr(_ <-chan struct{}, input *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	path := fs.path(input.NodeId)
	if size, ok := input.GetSize(); ok {
		if err := syscall.Truncate(path, int64(size)); err != nil {
			return fuse.ToStatus(err)
		}
	}
	if mode, ok := input.GetMode(); ok {
		if err := syscall.Chmod(path, mode); err != nil {
			return fuse.ToStatus(err)
		}
	}
	if mtime, ok := input.GetMTime(); ok {
		if err := os.Chtimes(path, mtime, mtime); err != nil {
			return fuse.ToStatus(err)
		}
	}
	return fs.attr(input.NodeId, out)
}

func (fs *nullFS) Mkdir(_ <-chan struct{}, input *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	path := fs.child(input.NodeId, name)
	if err := syscall.Mkdir(path, input.Mode); err != nil {
		return fuse.ToStatus(err)
	}
	return fs.entry(path, out)
}

func (fs *nullFS) Create(_ <-chan struct{}, input *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	path := fs.child(input.NodeId, name)
	fd, err := syscall.Open(path, int(input.Flags)|syscall.O_CREAT|syscall.O_CLOEXEC, input.Mode)
	if err != nil {
		return fuse.ToStatus(err)
	}
	out.Fh = uint64(fd)
	return fs.entry(path, &out.EntryOut)
}

func (fs *nullFS) Open(_ <-chan struct{}, input *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	// The kernel gives the right offsets for appends itself.
	flags := int(input.Flags)&^syscall.O_APPEND | syscall.O_CLOEXEC
	fd, err := syscall.Open(fs.path(input.NodeId), flags, 0)
	if err != nil {
		return fuse.ToStatus(err)
	}
	out.Fh = uint64(fd)
	return fuse.OK
}

func (fs *nullFS) Read(_ <-chan struct{}, input *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	return fuse.ReadResultFd(uintptr(input.Fh), int64(input.Offset), len(buf)), fuse.OK
}

func (fs *nullFS) Write(_ <-chan struct{}, input *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	n, err := syscall.Pwrite(int(input.Fh), data, int64(input.Offset))
	return uint32(n), fuse.ToStatus(err)
}

func (fs *nullFS) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

func (fs *nullFS) Fsync(_ <-chan struct{}, input *fuse.FsyncIn) fuse.Status {
	return fuse.ToStatus(syscall.Fdatasync(int(input.Fh)))
}

func (fs *nullFS) Release(_ <-chan struct{}, input *fuse.ReleaseIn) {
	_ = syscall.Close(int(input.Fh)) // a release has no answer
}

func (fs *nullFS) Unlink(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	path := fs.child(header.NodeId, name)
	fs.gone(path)
	return fuse.ToStatus(syscall.Unlink(path))
}

func (fs *nullFS) Rmdir(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	path := fs.child(header.NodeId, name)
	fs.gone(path)
	return fuse.ToStatus(syscall.Rmdir(path))
}

func (fs *nullFS) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.OK }

func (fs *nullFS) ReadDir(_ <-chan struct{}, input *fuse.ReadIn, list *fuse.DirEntryList) fuse.Status {
	names, err := os.ReadDir(fs.path(input.NodeId))
	if err != nil {
		return fuse.ToStatus(err)
	}
	for i, name := range names {
		offset := uint64(i + 1)
		if offset <= input.Offset {
			continue
		}
		mode := uint32(syscall.S_IFREG)
		if name.IsDir() {
			mode = syscall.S_IFDIR
		}
		if !list.AddDirEntry(fuse.DirEntry{Name: name.Name(), Mode: mode, Off: offset}) {
			break
		}
	}
	return fuse.OK
}

func (fs *nullFS) ReleaseDir(*fuse.ReleaseIn) {}

func (fs *nullFS) StatFs(_ <-chan struct{}, header *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	var st syscall.Statfs_t
	if err := syscall.Statfs(fs.path(fuse.FUSE_ROOT_ID), &st); err != nil {
		return fuse.ToStatus(err)
	}
	out.FromStatfsT(&st)
	return fuse.OK
}
