// Package vfs is the seam between the journal and the file system: what log and
// staging need of it and nothing else, so that a test can make the i-th
// operation fail.
package vfs

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Info is what is known of a file.
type Info struct {
	Size  int64 // bytes
	Disk  int64 // bytes of disk that it takes
	Mtime int64 // Unix nanoseconds
}

// File is an open file. Methods may be called concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	// Datasync makes the bytes durable and what is needed to read them (fdatasync).
	Datasync() error
	// Allocate reserves disk space for [0, size) and extends the file to it.
	Allocate(size int64) error
	// WriteOut starts writing [off, off+n) to the disk and does not wait.
	WriteOut(off, n int64) error
	Stat() (Info, error)
	// Label and SetLabel read and write one extended attribute of the user.
	Label(name string) ([]byte, error)
	SetLabel(name string, value []byte) error
	// CloneFrom shares all blocks of src (reflink); an error says that the file
	// system cannot, and then nothing has changed.
	CloneFrom(src File) error
	// Fd returns the descriptor, valid until Close.
	Fd() uintptr
}

// FS is a file system. Names are paths as for package os.
type FS interface {
	OpenFile(name string, flag int, perm os.FileMode) (File, error)
	Remove(name string) error
	Rename(from, to string) error
	MkdirAll(dir string, perm os.FileMode) error
	// List returns the names in dir, sorted.
	List(dir string) ([]string, error)
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
	Stat(name string) (Info, error)
}

// OS returns the operating system's file system.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm os.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &osFile{f}, nil
}

func (osFS) Remove(name string) error                    { return os.Remove(name) }
func (osFS) Rename(from, to string) error                { return os.Rename(from, to) }
func (osFS) MkdirAll(dir string, perm os.FileMode) error { return os.MkdirAll(dir, perm) }

func (osFS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (osFS) Stat(name string) (Info, error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return Info{}, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return info(&st), nil
}

func info(st *unix.Stat_t) Info {
	return Info{Size: st.Size, Disk: st.Blocks * 512, Mtime: st.Mtim.Nano()}
}

type osFile struct{ *os.File }

func (f *osFile) Datasync() error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return f.named("fdatasync", err)
		}
	}
}

func (f *osFile) Allocate(size int64) error {
	return f.named("fallocate", unix.Fallocate(int(f.Fd()), 0, 0, size))
}

func (f *osFile) WriteOut(off, n int64) error {
	return f.named("sync_file_range", unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE))
}

func (f *osFile) Stat() (Info, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Info{}, f.named("fstat", err)
	}
	return info(&st), nil
}

func (f *osFile) Label(name string) ([]byte, error) {
	var buf [4096]byte // a label is at most one block on the file systems we allow
	n, err := unix.Fgetxattr(int(f.Fd()), name, buf[:])
	if err != nil {
		return nil, f.named("getxattr", err)
	}
	return append([]byte{}, buf[:n]...), nil
}

func (f *osFile) SetLabel(name string, value []byte) error {
	return f.named("setxattr", unix.Fsetxattr(int(f.Fd()), name, value, 0))
}

func (f *osFile) CloneFrom(src File) error {
	return f.named("reflink", unix.IoctlFileClone(int(f.Fd()), int(src.Fd())))
}

func (f *osFile) named(op string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: f.Name(), Err: err}
}
