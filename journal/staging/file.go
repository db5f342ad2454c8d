package staging

import (
	"errors"
	"sync"
	"syscall"

	"ferry"
	"ferry/journal/codec"
	"ferry/journal/vfs"
)

const (
	// writeOutEvery keeps the dirty pages of a file few, so that a barrier is short.
	writeOutEvery = 8 << 20
	// deferredMost is the same for a file that barriers pass over: enough for a file
	// to be stored before it reaches the disk, and little enough for its seal.
	deferredMost = 1 << 30
	// accountEvery is how often a growing file's disk use is asked for.
	accountEvery = 1 << 20

	labelName = "user.ferry.staging"
	// labelMax leaves room for other attributes in ext4's one block of 4 KiB.
	labelMax = 3000
)

// Label says what a staging file is, so that [journal.Rebuild] can bring it back
// without the journal. Size is -1 while the file's own size is the truth.
type Label = codec.Label

// shared is one open staging file.
type shared struct {
	store      *Store
	generation ferry.Generation
	f          vfs.File
	refs       int // under store.mu

	mu       sync.Mutex
	disk     int64 // bytes of disk counted in store.usage
	written  int64 // since disk was asked for
	from, to int64 // written and not pushed out
	pushed   int64 // since the last push
	deferred bool  // see File.Defer
	gone     bool  // removed while open: it is not counted any more
}

// File is a handle on one generation's staging file. Safe for concurrent use,
// except Close.
type File struct {
	sh     *shared
	closed bool
}

// Generation returns whose bytes these are.
func (f *File) Generation() ferry.Generation { return f.sh.generation }

// Fd returns the descriptor, valid until Close. Who writes through it calls
// [Store.Dirty] afterwards.
func (f *File) Fd() uintptr { return f.sh.f.Fd() }

// ReadAt reads like io.ReaderAt. Holes read as zeros.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.sh.f.ReadAt(p, off) }

// Size returns the file's size in bytes.
func (f *File) Size() (int64, error) {
	i, err := f.sh.f.Stat()
	if err != nil {
		return 0, classify("staging.size", string(f.sh.generation), err)
	}
	return i.Size, nil
}

// Mtime returns when the file was last written, Unix nanoseconds.
func (f *File) Mtime() (int64, error) {
	i, err := f.sh.f.Stat()
	return i.Mtime, classify("staging.mtime", string(f.sh.generation), err)
}

// WriteAt writes p at off. When it returned, the bytes survive kill -9 of the
// process, and a power cut after the journal's next Sync. n may be short with an
// error: KindNoSpace, KindTooLarge, KindCorrupt.
func (f *File) WriteAt(p []byte, off int64) (n int, err error) {
	sh := f.sh
	n, err = sh.f.WriteAt(p, off)
	if errors.Is(err, syscall.ENOSPC) && sh.store.space() {
		var more int
		more, err = sh.f.WriteAt(p[n:], off+int64(n))
		n += more
	}
	if n > 0 {
		sh.wrote(off, int64(n))
	}
	return n, classify("staging.write", string(sh.generation), err)
}

// wrote remembers the change, counts it and pushes it towards the disk.
func (sh *shared) wrote(off, n int64) {
	sh.store.Dirty(sh.generation)
	sh.mu.Lock()
	if sh.pushed == 0 {
		sh.from, sh.to = off, off+n
	} else {
		sh.from, sh.to = min(sh.from, off), max(sh.to, off+n)
	}
	sh.pushed += n
	sh.written += n
	push, account := sh.pushed >= writeOutEvery, sh.written >= accountEvery
	if sh.deferred {
		push = sh.pushed >= deferredMost
	}
	from, to := sh.from, sh.to
	if push {
		sh.pushed = 0
	}
	sh.mu.Unlock()
	if push {
		// Only a hint: what it cannot start, the barrier does.
		_ = sh.f.WriteOut(from, to-from)
	}
	if account {
		sh.account()
	}
}

// account brings the store's usage up to date.
func (sh *shared) account() {
	i, err := sh.f.Stat()
	if err != nil {
		return // the next call corrects it
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.written = 0
	if sh.gone {
		return
	}
	sh.store.usage.Add(i.Disk - sh.disk)
	sh.disk = i.Disk
}

// Truncate sets the file's size. As durable as a write.
func (f *File) Truncate(size int64) error {
	if err := f.sh.f.Truncate(size); err != nil {
		return classify("staging.truncate", string(f.sh.generation), err)
	}
	f.sh.store.Dirty(f.sh.generation)
	f.sh.account()
	return nil
}

// Defer makes barriers pass the file's bytes over, or take them in again. It is for
// a file without a base while it is open for writing: a write that was neither
// closed nor fsynced is promised nothing, and a file whose object is made soon after
// need never reach this disk. Take it in again before the record that seals it, and
// call [File.Sync] for an fsync meanwhile.
func (f *File) Defer(yes bool) {
	s, g := f.sh.store, f.sh.generation
	s.mu.Lock()
	if yes {
		s.deferred[g] = struct{}{}
	} else {
		delete(s.deferred, g)
	}
	s.mu.Unlock()
	f.sh.mu.Lock()
	f.sh.deferred = yes
	f.sh.mu.Unlock()
}

// Sync makes this file's bytes durable (fdatasync). It does not make its rows or
// its name durable: that is [journal.Journal.Sync].
// After a failure nobody knows what the disk holds: the next barrier fails too, and
// with it the journal.
func (f *File) Sync() error {
	err := classify("staging.sync", string(f.sh.generation), f.sh.f.Datasync())
	if err != nil {
		s := f.sh.store
		s.mu.Lock()
		s.failed = err
		s.mu.Unlock()
	}
	return err
}

// Label writes l to the file's extended attribute. As durable as a write.
// Extents that do not fit are left out; l is not changed.
func (f *File) Label(l Label) error {
	l.Generation = f.sh.generation
	if err := f.sh.f.SetLabel(labelName, codec.EncodeLabel(&l, labelMax)); err != nil {
		return classify("staging.label", string(f.sh.generation), err)
	}
	f.sh.store.Dirty(f.sh.generation)
	return nil
}

// ReadLabel returns the file's label, nil if it has none.
func (f *File) ReadLabel() (*Label, error) {
	b, err := f.sh.f.Label(labelName)
	if errors.Is(err, syscall.ENODATA) {
		return nil, nil
	}
	if err != nil {
		return nil, classify("staging.label", string(f.sh.generation), err)
	}
	l, err := codec.DecodeLabel(b)
	if err != nil {
		return nil, &ferry.Error{Op: "staging.label", Key: string(f.sh.generation), Kind: ferry.KindCorrupt, Err: err}
	}
	return l, nil
}

// Close gives the handle back. It makes nothing durable.
func (f *File) Close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	return f.sh.release()
}

// release drops one user; the last one closes the descriptor.
func (sh *shared) release() error {
	s := sh.store
	s.mu.Lock()
	sh.refs--
	last := sh.refs == 0
	if last && s.open[sh.generation] == sh {
		delete(s.open, sh.generation)
	}
	s.mu.Unlock()
	if !last {
		return nil
	}
	sh.account()
	return classify("staging.close", string(sh.generation), sh.f.Close())
}
