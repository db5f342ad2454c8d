package journaltest

import (
	"os"
	"sync"

	"ferry/journal/vfs"
)

// Fault decides about one operation of a file system. A non-nil error makes it
// fail; of a write, short bytes are written before.
type Fault func(op, name string) (short int, err error)

// FaultFS is a file system whose operations can be made to fail. Safe for
// concurrent use if Fault is.
type FaultFS struct {
	vfs.FS
	Fault Fault
}

// FailNth returns a Fault that makes the n-th operation (from 1) fail with err,
// and every later one if sticky. count is how many operations there were.
func FailNth(n, short int, err error, sticky bool) (fault Fault, count func() int) {
	var mu sync.Mutex
	seen := 0
	fault = func(string, string) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		seen++
		if seen == n || sticky && seen > n {
			return short, err
		}
		return 0, nil
	}
	return fault, func() int {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

func (f *FaultFS) check(op, name string) error {
	_, err := f.Fault(op, name)
	return wrap(op, name, err)
}

func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}

// OpenFile implements vfs.FS.
func (f *FaultFS) OpenFile(name string, flag int, perm os.FileMode) (vfs.File, error) {
	if flag&os.O_CREATE != 0 {
		if err := f.check("create", name); err != nil {
			return nil, err
		}
	}
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, fs: f, name: name}, nil
}

// Remove implements vfs.FS.
func (f *FaultFS) Remove(name string) error {
	if err := f.check("remove", name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// SyncDir implements vfs.FS.
func (f *FaultFS) SyncDir(dir string) error {
	if err := f.check("syncdir", dir); err != nil {
		return err
	}
	return f.FS.SyncDir(dir)
}

type faultFile struct {
	vfs.File
	fs   *FaultFS
	name string
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	short, err := f.fs.Fault("write", f.name)
	if err == nil {
		return f.File.WriteAt(p, off)
	}
	n, _ := f.File.WriteAt(p[:min(short, len(p))], off)
	return n, wrap("write", f.name, err)
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.fs.check("truncate", f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultFile) Datasync() error {
	if err := f.fs.check("fdatasync", f.name); err != nil {
		return err
	}
	return f.File.Datasync()
}

func (f *faultFile) Allocate(size int64) error {
	if err := f.fs.check("fallocate", f.name); err != nil {
		return err
	}
	return f.File.Allocate(size)
}

func (f *faultFile) SetLabel(name string, value []byte) error {
	if err := f.fs.check("setxattr", f.name); err != nil {
		return err
	}
	return f.File.SetLabel(name, value)
}

// CloneFrom never shares blocks: what the copy does is what is tested.
func (f *faultFile) CloneFrom(vfs.File) error { return wrap("reflink", f.name, os.ErrInvalid) }
