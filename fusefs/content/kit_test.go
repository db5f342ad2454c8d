package content

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"ferry"
	"ferry/fusefs/tree"
)

// memJournal keeps the rows that open files use, and refuses what the state table
// forbids. It embeds a nil Tx: what is not implemented here panics.
type memJournal struct {
	mu      sync.Mutex
	inodes  map[ferry.InodeID]*ferry.Inode
	uploads map[ferry.Generation]ferry.Upload
	extents map[ferry.Generation]*ferry.ExtentSet
	keys    map[ferry.ObjectKey]*ferry.KeyState
	syncs   atomic.Int64
}

func newMemJournal() *memJournal {
	return &memJournal{
		inodes: map[ferry.InodeID]*ferry.Inode{}, uploads: map[ferry.Generation]ferry.Upload{},
		extents: map[ferry.Generation]*ferry.ExtentSet{}, keys: map[ferry.ObjectKey]*ferry.KeyState{},
	}
}

func (j *memJournal) Sync(context.Context) error { j.syncs.Add(1); return nil }

func (j *memJournal) View(fn func(ferry.Tx) error) error { return j.Update(fn) }

func (j *memJournal) Update(fn func(ferry.Tx) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	tx := &memTx{j: &memJournal{inodes: maps.Clone(j.inodes), uploads: maps.Clone(j.uploads), extents: maps.Clone(j.extents), keys: maps.Clone(j.keys)}}
	if err := fn(tx); err != nil {
		return err
	}
	if tx.err != nil {
		return tx.err
	}
	j.inodes, j.uploads, j.extents, j.keys = tx.j.inodes, tx.j.uploads, tx.j.extents, tx.j.keys
	return nil
}

type memTx struct {
	ferry.Tx
	j   *memJournal
	err error
}

func (tx *memTx) Fail(err error) { tx.err = err }

func (tx *memTx) Inode(id ferry.InodeID) *ferry.Inode {
	if in := tx.j.inodes[id]; in != nil {
		return in.Clone()
	}
	return nil
}
func (tx *memTx) PutInode(in *ferry.Inode)     { tx.j.inodes[in.ID] = in.Clone() }
func (tx *memTx) DeleteInode(id ferry.InodeID) { delete(tx.j.inodes, id) }

func (tx *memTx) Upload(g ferry.Generation) *ferry.Upload {
	if u, ok := tx.j.uploads[g]; ok {
		return &u
	}
	return nil
}

func (tx *memTx) PutUpload(u *ferry.Upload) {
	if old, ok := tx.j.uploads[u.Generation]; ok && old.State != u.State && !reachable(old.State, u.State) {
		tx.Fail(fmt.Errorf("upload from %s to %s", old.State, u.State))
	}
	if u.State.Final() {
		delete(tx.j.uploads, u.Generation)
		delete(tx.j.extents, u.Generation)
		return
	}
	tx.j.uploads[u.Generation] = *u
}

func reachable(from, to ferry.UploadState) bool {
	for e := ferry.EventOpened; e <= ferry.EventRetry; e++ {
		if next, err := from.Next(e); err == nil && next == to {
			return true
		}
	}
	return false
}

func (tx *memTx) Uploads() iter.Seq[*ferry.Upload] {
	return func(yield func(*ferry.Upload) bool) {
		for _, g := range slices.Sorted(maps.Keys(tx.j.uploads)) {
			u := tx.j.uploads[g]
			if !yield(&u) {
				return
			}
		}
	}
}

func (tx *memTx) Extents(g ferry.Generation) *ferry.ExtentSet {
	if s := tx.j.extents[g]; s != nil {
		return s
	}
	return ferry.NewExtentSet()
}

func (tx *memTx) AddExtent(g ferry.Generation, e ferry.Extent) {
	s := tx.Extents(g).Clone()
	s.Add(e)
	tx.j.extents[g] = s
}

func (tx *memTx) SetExtents(g ferry.Generation, s *ferry.ExtentSet) { tx.j.extents[g] = s.Clone() }

func (tx *memTx) Key(k ferry.ObjectKey) *ferry.KeyState {
	if s := tx.j.keys[k]; s != nil {
		c := *s
		return &c
	}
	return nil
}

func (tx *memTx) PutKey(k *ferry.KeyState) {
	if k.Idle() {
		delete(tx.j.keys, k.Key)
		return
	}
	c := *k
	tx.j.keys[k.Key] = &c
}

// fileStaging is staging in a plain directory.
type fileStaging struct{ dir string }

func (s fileStaging) path(g ferry.Generation) string { return filepath.Join(s.dir, string(g)) }

func (s fileStaging) Open(g ferry.Generation) (StagingFile, error) {
	f, err := os.OpenFile(s.path(g), os.O_RDWR|os.O_CREATE, 0o600)
	return stagingFile{f}, err
}

func (s fileStaging) Remove(g ferry.Generation) error {
	if err := os.Remove(s.path(g)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func (s fileStaging) Usage() (n int64) {
	list, _ := os.ReadDir(s.dir)
	for _, e := range list {
		if i, err := e.Info(); err == nil {
			n += i.Size()
		}
	}
	return n
}

func (s fileStaging) Clone(from, to ferry.Generation, extents *ferry.ExtentSet) error {
	b, err := os.ReadFile(s.path(from))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if extents != nil {
		c := make([]byte, len(b)) // what is not ours must not be taken from here
		for _, e := range extents.All() {
			copy(c[e.Offset:e.End()], b[e.Offset:e.End()])
		}
		b = c
	}
	return os.WriteFile(s.path(to), b, 0o600)
}

type stagingFile struct{ *os.File }

func (f stagingFile) Label(Label) error { return nil }
func (f stagingFile) Size() (int64, error) {
	i, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return i.Size(), nil
}

// Defer implements StagingFile; the test's disk has no barriers to pass over.
func (stagingFile) Defer(bool) {}

func (f stagingFile) Mtime() (int64, error) {
	i, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return i.ModTime().UnixNano(), nil
}

// bucket holds one object for each key and counts what is fetched.
type bucket struct {
	mu      sync.Mutex
	n       int
	objects map[ferry.ObjectKey]object
	fail    func(ferry.Extent) error // the next GETs; nil: none fails

	gets, fetched atomic.Int64
}

type object struct {
	v    ferry.Version
	data []byte
}

func (b *bucket) put(key ferry.ObjectKey, data []byte, g ferry.Generation) ferry.Version {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	v := ferry.Version{Key: key, ETag: ferry.ETag(fmt.Sprintf("etag-%d", b.n)), Size: int64(len(data)), Generation: g}
	b.objects[key] = object{v, bytes.Clone(data)}
	return v
}

func (b *bucket) get(key ferry.ObjectKey) object {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.objects[key]
}

func (b *bucket) Get(ctx context.Context, v ferry.Version, e ferry.Extent) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.gets.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		if err := b.fail(e); err != nil {
			return nil, err
		}
	}
	o, ok := b.objects[v.Key]
	switch {
	case !ok:
		return nil, &ferry.Error{Op: "get", Kind: ferry.KindNotFound}
	case o.v.ETag != v.ETag:
		return nil, &ferry.Error{Op: "get", Kind: ferry.KindConflict}
	}
	b.fetched.Add(e.Length)
	return io.NopCloser(bytes.NewReader(o.data[e.Offset:e.End()])), nil
}

// names is a tree with flat names: inode n is the object "file-n".
type names struct {
	j      *memJournal
	bucket *bucket
	closed atomic.Int64
}

func key(id ferry.InodeID) ferry.ObjectKey { return ferry.ObjectKey(fmt.Sprintf("file-%d", id)) }

func (t *names) Stat(_ context.Context, id ferry.InodeID) (e tree.Entry, err error) {
	e = tree.Entry{ID: id, Kind: ferry.File}
	err = t.j.View(func(tx ferry.Tx) error {
		if in := tx.Inode(id); in != nil {
			e.Attr, e.Size, e.Content, e.Version = in.Attr, in.Size, in.Content, in.Remote
			return nil
		}
		o := t.bucket.get(key(id))
		if o.v.Key != "" {
			e.Size, e.Version = o.v.Size, &o.v
		}
		return nil
	})
	return e, err
}

func (t *names) Ensure(tx ferry.Tx, id ferry.InodeID) (*ferry.Inode, error) {
	if in := tx.Inode(id); in != nil {
		return in, nil
	}
	in := &ferry.Inode{ID: id, Kind: ferry.File, Path: ferry.Path(key(id))}
	known := ferry.KnownAbsent
	if o := t.bucket.get(key(id)); o.v.Key != "" {
		in.Remote, in.Size, known = &o.v, o.v.Size, ferry.KnownVersion(o.v)
	}
	tx.PutInode(in)
	ferry.Want(tx, in.Key(), known, ferry.Wanted{Kind: ferry.WantInode, Inode: id}, 1)
	return in, nil
}

func (t *names) Closed(ferry.InodeID) { t.closed.Add(1) }

// create does what tree.Create does.
func (t *names) create(id ferry.InodeID, g ferry.Generation) (tree.Entry, error) {
	err := t.j.Update(func(tx ferry.Tx) error {
		in, err := t.Ensure(tx, id)
		in.Content = g
		tx.PutInode(in)
		tx.PutUpload(&ferry.Upload{Generation: g, Inode: id, State: ferry.StateDirty, Truncating: -1})
		return err
	})
	if err != nil {
		return tree.Entry{}, err
	}
	return t.Stat(context.Background(), id)
}

// world is what a daemon's life leaves when it ends.
type world struct {
	j       *memJournal
	staging fileStaging
	bucket  *bucket
	names   *names
	gens    *ferry.Generations
	crash   func(string)
}

func newWorld(dir string) *world {
	w := &world{j: newMemJournal(), staging: fileStaging{dir}, bucket: &bucket{objects: map[ferry.ObjectKey]object{}}, gens: ferry.NewGenerations()}
	w.names = &names{j: w.j, bucket: w.bucket}
	return w
}

func (w *world) options() Options {
	return Options{Journal: w.j, Staging: w.staging, Tree: w.names, Remote: w.bucket, Generations: w.gens, Crash: func(p string) {
		if w.crash != nil {
			w.crash(p)
		}
	}}
}

func (w *world) start() *Files { return New(context.Background(), w.options()) }

// upload brings the sealed generation of an inode to the state Completing and
// returns what it is made of; nothing if there is no sealed one.
func (w *world) commit(id ferry.InodeID) (ferry.Generation, []byte, error) {
	var g ferry.Generation
	var data []byte
	err := w.j.Update(func(tx ferry.Tx) error {
		in := tx.Inode(id)
		if in == nil || in.Content == "" {
			return nil
		}
		u := tx.Upload(in.Content)
		if u.State != ferry.StateSealed {
			return nil
		}
		var err error
		if data, err = w.assemble(u, tx.Extents(u.Generation)); err != nil {
			return err
		}
		g = u.Generation
		u.State, u.Key = ferry.StateCompleting, in.Key()
		tx.PutUpload(u)
		k := tx.Key(in.Key())
		k.Upload = g
		tx.PutKey(k)
		return nil
	})
	return g, data, err
}

// assemble does what the syncer sends: base, staging and zeros.
func (w *world) assemble(u *ferry.Upload, extents *ferry.ExtentSet) ([]byte, error) {
	file, err := os.ReadFile(w.staging.path(u.Generation))
	if err != nil {
		return nil, err
	}
	if u.Base == nil {
		if int64(len(file)) != u.Size {
			return nil, fmt.Errorf("the staging file has %d bytes, the row says %d", len(file), u.Size)
		}
		return file, nil
	}
	data := make([]byte, u.Size)
	base := w.bucket.get(u.Base.Key)
	if base.v.ETag != u.Base.ETag {
		return nil, fmt.Errorf("the base %v is not there", u.Base)
	}
	copy(data, base.data[:min(u.BaseLimit, u.Size)])
	for _, e := range extents.All() {
		copy(data[e.Offset:e.End()], file[e.Offset:e.End()])
	}
	return data, nil
}

// finish ends a commit: stored or refused. The staging file of a stored generation
// is freed.
func (w *world) finish(id ferry.InodeID, g ferry.Generation, data []byte, stored bool) (v ferry.Version, err error) {
	if !stored {
		return v, w.j.Update(func(tx ferry.Tx) error {
			u := tx.Upload(g)
			u.State = ferry.StateUploading
			tx.PutUpload(u)
			u.State = ferry.StateSealed
			tx.PutUpload(u)
			return nil
		})
	}
	v = w.bucket.put(key(id), data, g)
	err = w.j.Update(func(tx ferry.Tx) error {
		ferry.Stored(tx, key(id), ferry.Intent{Kind: ferry.IntentPut, Generation: g, Inode: id, AttrSeq: tx.Inode(id).AttrSeq}, v)
		return nil
	})
	if err != nil {
		return v, err
	}
	return v, w.staging.Remove(g)
}
