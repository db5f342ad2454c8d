// Package staging keeps the bytes that the bucket does not have yet: one sparse
// file for each generation, named by it.
//
// What a hole means is said by the generation's row, never by the file system:
// without a base it is zeros, with a base only the journaled extents are ours.
// Nothing here asks SEEK_HOLE for the truth. Files are never fallocated.
//
// Write, truncate and label do not wait for the disk. The journal makes what
// changed durable at its next barrier ([Store.Sync]); a changed file is
// remembered after the change and before the call returns, so that a row
// appended later never lies behind a barrier that its bytes are not behind.
package staging

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"ferry"
	"ferry/journal/vfs"

	"golang.org/x/sync/errgroup"
)

// How many files one barrier makes durable at the same time: a disk merges the
// flushes of a few.
const syncers = 8

// Options of a store.
type Options struct {
	Dir string
	FS  vfs.FS // nil: the operating system's
	// NoSpace is called when the disk is full; true says that some space was
	// given back and one more try is worth it. nil: never.
	NoSpace func() bool
	// Crash marks a durable step for tests; nil: nothing.
	Crash func(point string)
}

// Store is a directory of staging files. Safe for concurrent use.
type Store struct {
	dir   string
	fs    vfs.FS
	space func() bool
	crash func(string)
	usage atomic.Int64

	mu       sync.Mutex
	open     map[ferry.Generation]*shared
	dirty    map[ferry.Generation]struct{} // changed since the last barrier
	dirDirty bool                          // a name was made since the last barrier
	// deferred are files that barriers pass over; see Defer.
	deferred map[ferry.Generation]struct{}
	failed   error // of a File.Sync: no barrier may follow it
}

// Open opens the store in o.Dir, making the directory (0700) if need be, and
// adds up what is in it. What is there counts as changed since the last barrier.
func Open(o Options) (*Store, error) {
	s := &Store{
		dir: o.Dir, fs: o.FS, space: o.NoSpace, crash: o.Crash,
		open: map[ferry.Generation]*shared{}, dirty: map[ferry.Generation]struct{}{}, dirDirty: true,
		deferred: map[ferry.Generation]struct{}{},
	}
	if s.fs == nil {
		s.fs = vfs.OS()
	}
	if s.space == nil {
		s.space = func() bool { return false }
	}
	if s.crash == nil {
		s.crash = func(string) {}
	}
	if err := s.fs.MkdirAll(s.dir, 0o700); err != nil {
		return nil, classify("staging.open", s.dir, err)
	}
	generations, err := s.List()
	if err != nil {
		return nil, err
	}
	for _, g := range generations {
		i, err := s.fs.Stat(s.path(g))
		if err != nil {
			return nil, classify("staging.open", string(g), err)
		}
		s.usage.Add(i.Disk)
		s.dirty[g] = struct{}{}
	}
	return s, nil
}

func (s *Store) path(g ferry.Generation) string { return filepath.Join(s.dir, string(g)) }

// Usage returns how many bytes of disk the staging files take. It may lag by 1 MiB
// for each file that is being written.
func (s *Store) Usage() int64 { return max(0, s.usage.Load()) }

// List returns the generations that have a file, in no order that means anything.
func (s *Store) List() ([]ferry.Generation, error) {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, classify("staging.list", s.dir, err)
	}
	var list []ferry.Generation
	for _, n := range names {
		if g := ferry.Generation(n); g.Valid() {
			list = append(list, g)
		}
	}
	return list, nil
}

// Exists reports whether g has a file.
func (s *Store) Exists(g ferry.Generation) (bool, error) {
	_, err := s.fs.Stat(s.path(g))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, classify("staging.stat", string(g), err)
	}
}

// Open returns g's file, making an empty one if there is none. Every Open needs
// a Close; all opens of one generation share one descriptor.
func (s *Store) Open(g ferry.Generation) (*File, error) {
	if !g.Valid() {
		return nil, &ferry.Error{Op: "staging.open", Key: string(g), Kind: ferry.KindInternal, Msg: "this is no generation"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sh, err := s.share(g)
	if err != nil {
		return nil, err
	}
	return &File{sh: sh}, nil
}

// share finds or opens g's shared file and counts one more user. s.mu is held.
func (s *Store) share(g ferry.Generation) (*shared, error) {
	if sh := s.open[g]; sh != nil {
		sh.refs++
		return sh, nil
	}
	f, err := s.fs.OpenFile(s.path(g), os.O_RDWR, 0)
	made := false
	if errors.Is(err, fs.ErrNotExist) {
		made = true
		f, err = s.create(g)
	}
	if err != nil {
		return nil, classify("staging.open", string(g), err)
	}
	i, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, classify("staging.open", string(g), err)
	}
	sh := &shared{store: s, generation: g, f: f, refs: 1, disk: i.Disk}
	s.open[g] = sh
	if made {
		s.dirDirty = true
		s.dirty[g] = struct{}{}
		s.usage.Add(i.Disk)
		s.crash("staging.created")
	}
	return sh, nil
}

func (s *Store) create(g ferry.Generation) (vfs.File, error) {
	const flags = os.O_RDWR | os.O_CREATE | os.O_EXCL
	f, err := s.fs.OpenFile(s.path(g), flags, 0o600)
	if errors.Is(err, syscall.ENOSPC) && s.space() {
		f, err = s.fs.OpenFile(s.path(g), flags, 0o600)
	}
	return f, err
}

// Remove frees g's bytes. A generation without a file is success. Handles that
// are open keep their bytes until they are closed.
func (s *Store) Remove(g ferry.Generation) error {
	if !g.Valid() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var disk int64
	sh := s.open[g]
	if sh == nil {
		i, err := s.fs.Stat(s.path(g))
		if errors.Is(err, fs.ErrNotExist) {
			delete(s.dirty, g)
			return nil
		}
		disk = i.Disk
	}
	if err := s.fs.Remove(s.path(g)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return classify("staging.remove", string(g), err)
	}
	delete(s.dirty, g)
	delete(s.deferred, g)
	delete(s.open, g) // a later Open makes a new file
	if sh != nil {
		sh.mu.Lock()
		sh.gone, disk, sh.disk = true, sh.disk, 0
		sh.mu.Unlock()
	}
	s.usage.Add(-disk)
	return nil
}

// Dirty remembers that g's bytes changed outside of [File.WriteAt] (a kernel that
// writes past the daemon): the next barrier covers them.
func (s *Store) Dirty(g ferry.Generation) {
	s.mu.Lock()
	s.dirty[g] = struct{}{}
	s.mu.Unlock()
}

// Forget says that nothing depends on g's bytes any more: its row is final.
// Barriers need not make them durable, even before the file is removed.
func (s *Store) Forget(g ferry.Generation) {
	s.mu.Lock()
	delete(s.dirty, g)
	s.mu.Unlock()
}

// Unsynced reports whether a [Store.Sync] would make anything durable.
func (s *Store) Unsynced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return true
	}
	for g := range s.dirty {
		if _, later := s.deferred[g]; !later {
			return true
		}
	}
	return s.dirDirty
}

// SyncAll is Sync for the files that are deferred too.
func (s *Store) SyncAll() error {
	s.mu.Lock()
	clear(s.deferred)
	s.mu.Unlock()
	return s.Sync()
}

// Sync makes everything durable that changed before it was called, but for the
// bytes of files that are deferred: bytes, sizes, labels and names. The journal calls it, one at a time. After an error nothing
// is known of the bytes that were to be written: the caller must not try again.
func (s *Store) Sync() error {
	s.mu.Lock()
	if s.failed != nil {
		defer s.mu.Unlock()
		return s.failed
	}
	dirty, dirDirty := s.dirty, s.dirDirty
	s.dirty, s.dirDirty = map[ferry.Generation]struct{}{}, false
	for generation := range dirty {
		if _, later := s.deferred[generation]; later {
			delete(dirty, generation)
			s.dirty[generation] = struct{}{}
		}
	}
	s.mu.Unlock()

	var g errgroup.Group
	g.SetLimit(syncers)
	for generation := range dirty {
		g.Go(func() error { return s.syncOne(generation) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if dirDirty {
		if err := s.fs.SyncDir(s.dir); err != nil {
			return classify("staging.sync", s.dir, err)
		}
	}
	return nil
}

func (s *Store) syncOne(g ferry.Generation) error {
	s.mu.Lock()
	sh := s.open[g]
	if sh != nil {
		sh.refs++
	}
	s.mu.Unlock()
	if sh != nil {
		err := sh.f.Datasync()
		return errors.Join(classify("staging.sync", string(g), err), sh.release())
	}
	f, err := s.fs.OpenFile(s.path(g), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // freed meanwhile: its row is final and behind a barrier
	}
	if err != nil {
		return classify("staging.sync", string(g), err)
	}
	defer f.Close()
	return classify("staging.sync", string(g), f.Datasync())
}

// Close checks that every handle was closed: one that is open is a bug.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for g, sh := range s.open {
		err = errors.Join(err, &ferry.Error{
			Op: "staging.close", Key: string(g), Kind: ferry.KindInternal,
			Msg: fmt.Sprintf("%d handles are still open", sh.refs),
		}, sh.f.Close())
	}
	clear(s.open)
	return err
}

// classify gives an error of the operating system its Kind.
func classify(op, key string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*ferry.Error](err); ok {
		return err
	}
	e := &ferry.Error{Op: op, Key: key, Kind: ferry.KindInternal, Err: err}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Kind, e.Hint = ferry.KindNoSpace, "the disk with the state directory is full"
	case errors.Is(err, syscall.EFBIG):
		e.Kind = ferry.KindTooLarge
	case errors.Is(err, syscall.EIO):
		e.Kind, e.Hint = ferry.KindCorrupt, "the disk with the state directory fails: look at the kernel's log"
	case errors.Is(err, syscall.EROFS):
		e.Kind, e.Hint = ferry.KindReadOnly, "the file system with the state directory is read-only"
	case errors.Is(err, fs.ErrPermission):
		e.Kind = ferry.KindDenied
	case errors.Is(err, fs.ErrNotExist):
		e.Kind = ferry.KindNotFound
	}
	return e
}

// SizeOf returns the size of g's file in bytes, 0 if it has none.
func (s *Store) SizeOf(g ferry.Generation) (int64, error) {
	i, err := s.fs.Stat(s.path(g))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return i.Size, classify("staging.stat", string(g), err)
}

// lostSuffix marks files whose row was lost; their bytes are kept for people.
const lostSuffix = ".lost"

// SetAside takes g's file out of the store and keeps its bytes under the name
// that it returns, for a person to look at.
func (s *Store) SetAside(g ferry.Generation) (name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = s.path(g) + lostSuffix
	if i, err := s.fs.Stat(s.path(g)); err == nil {
		s.usage.Add(-i.Disk)
	}
	delete(s.dirty, g)
	s.dirDirty = true
	return name, classify("staging.setaside", string(g), s.fs.Rename(s.path(g), name))
}
