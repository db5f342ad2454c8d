package syncer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"ferry"
)

// memJournal is the journal in memory: rows that are copied in and out, changes
// that happen together or not at all, and no disk.
type memJournal struct {
	mu   sync.Mutex
	rows memRows
	seq  uint64
	sync uint64
}

type memRows struct {
	inodes  map[ferry.InodeID]*ferry.Inode
	keys    map[ferry.ObjectKey]ferry.KeyState
	uploads map[ferry.Generation]ferry.Upload
	parts   map[ferry.Generation]map[ferry.PartNumber]ferry.Part
	extents map[ferry.Generation]*ferry.ExtentSet
	jobs    map[ferry.JobID]ferry.DeleteJob
	last    ferry.InodeID
}

func newMemJournal() *memJournal {
	return &memJournal{rows: memRows{
		inodes: map[ferry.InodeID]*ferry.Inode{}, keys: map[ferry.ObjectKey]ferry.KeyState{},
		uploads: map[ferry.Generation]ferry.Upload{}, parts: map[ferry.Generation]map[ferry.PartNumber]ferry.Part{},
		extents: map[ferry.Generation]*ferry.ExtentSet{}, jobs: map[ferry.JobID]ferry.DeleteJob{}, last: 1,
	}}
}

func (r memRows) clone() memRows {
	c := r
	c.inodes, c.keys, c.uploads, c.jobs = maps.Clone(r.inodes), maps.Clone(r.keys), maps.Clone(r.uploads), maps.Clone(r.jobs)
	c.extents = maps.Clone(r.extents)
	c.parts = map[ferry.Generation]map[ferry.PartNumber]ferry.Part{}
	for g, p := range r.parts {
		c.parts[g] = maps.Clone(p)
	}
	return c
}

func (j *memJournal) Update(fn func(ferry.Tx) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	tx := &memTx{r: j.rows.clone(), writable: true}
	if err := fn(tx); err != nil {
		return err
	}
	if tx.err != nil {
		return tx.err
	}
	j.rows = tx.r
	j.seq++
	return nil
}

func (j *memJournal) View(fn func(ferry.Tx) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	tx := &memTx{r: j.rows}
	if err := fn(tx); err != nil {
		return err
	}
	return tx.err
}

func (j *memJournal) Sync(context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sync = j.seq
	return nil
}

func (j *memJournal) LastSeq() uint64 { j.mu.Lock(); defer j.mu.Unlock(); return j.seq }
func (j *memJournal) Barrier() uint64 { j.mu.Lock(); defer j.mu.Unlock(); return j.sync }

type memTx struct {
	r        memRows
	writable bool
	err      error
}

func (t *memTx) Fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

func (t *memTx) write() bool {
	if !t.writable {
		t.Fail(errors.New("a put in a view"))
	}
	return t.writable
}

func (t *memTx) Inode(id ferry.InodeID) *ferry.Inode {
	if in := t.r.inodes[id]; in != nil {
		return in.Clone()
	}
	return nil
}

func (t *memTx) PutInode(in *ferry.Inode) {
	if !t.write() {
		return
	}
	if id := t.InodeAt(in.Path); !in.Unlinked && id != 0 && id != in.ID {
		t.Fail(fmt.Errorf("two inodes at %q", in.Path))
		return
	}
	t.r.inodes[in.ID] = in.Clone()
}

func (t *memTx) DeleteInode(id ferry.InodeID) {
	if t.write() {
		delete(t.r.inodes, id)
	}
}

func (t *memTx) InodeAt(p ferry.Path) ferry.InodeID {
	for id, in := range t.r.inodes {
		if !in.Unlinked && in.Path == p {
			return id
		}
	}
	return 0
}

func (t *memTx) Paths(from ferry.Path) iter.Seq2[ferry.Path, ferry.InodeID] {
	return func(yield func(ferry.Path, ferry.InodeID) bool) {
		var all []*ferry.Inode
		for in := range t.Inodes() {
			if !in.Unlinked && in.Path >= from {
				all = append(all, in)
			}
		}
		slices.SortFunc(all, func(a, b *ferry.Inode) int { return cmp.Compare(a.Path, b.Path) })
		for _, in := range all {
			if !yield(in.Path, in.ID) {
				return
			}
		}
	}
}

func (t *memTx) Inodes() iter.Seq[*ferry.Inode] {
	return func(yield func(*ferry.Inode) bool) {
		for _, id := range slices.Sorted(maps.Keys(t.r.inodes)) {
			if in := t.Inode(id); in != nil && !yield(in) {
				return
			}
		}
	}
}

func (t *memTx) Refs(k ferry.ObjectKey) iter.Seq[ferry.InodeID] {
	return func(yield func(ferry.InodeID) bool) {
		for in := range t.Inodes() {
			if in.Remote != nil && in.Remote.Key == k && !yield(in.ID) {
				return
			}
		}
	}
}

func (t *memTx) NextInodeID() ferry.InodeID { t.r.last++; return t.r.last }

func (t *memTx) Key(key ferry.ObjectKey) *ferry.KeyState {
	k, ok := t.r.keys[key]
	if !ok {
		return nil
	}
	if k.Intent != nil {
		i := *k.Intent
		k.Intent = &i
	}
	return &k
}

func (t *memTx) PutKey(k *ferry.KeyState) {
	if !t.write() {
		return
	}
	if k.Idle() {
		delete(t.r.keys, k.Key)
		return
	}
	c := *k
	if k.Intent != nil {
		i := *k.Intent
		c.Intent = &i
	}
	t.r.keys[k.Key] = c
}

func (t *memTx) Keys(prefix ferry.ObjectKey) iter.Seq[*ferry.KeyState] {
	return func(yield func(*ferry.KeyState) bool) {
		for _, key := range slices.Sorted(maps.Keys(t.r.keys)) {
			if strings.HasPrefix(string(key), string(prefix)) && !yield(t.Key(key)) {
				return
			}
		}
	}
}

func (t *memTx) Work(since int64, after ferry.ObjectKey) iter.Seq[*ferry.KeyState] {
	return func(yield func(*ferry.KeyState) bool) {
		var all []*ferry.KeyState
		for k := range t.Keys("") {
			if k.Since > since || k.Since == since && k.Key > after {
				all = append(all, k)
			}
		}
		slices.SortStableFunc(all, func(a, b *ferry.KeyState) int { return cmp.Compare(a.Since, b.Since) })
		for _, k := range all {
			if !yield(k) {
				return
			}
		}
	}
}

func (t *memTx) Upload(g ferry.Generation) *ferry.Upload {
	u, ok := t.r.uploads[g]
	if !ok {
		return nil
	}
	if u.Base != nil {
		v := *u.Base
		u.Base = &v
	}
	return &u
}

func (t *memTx) PutUpload(u *ferry.Upload) {
	if !t.write() {
		return
	}
	old, ok := t.r.uploads[u.Generation]
	legal := !ok || old.State == u.State
	for e := ferry.EventOpened; !legal && e <= ferry.EventRetry; e++ {
		next, err := old.State.Next(e)
		legal = err == nil && next == u.State
	}
	if !legal {
		t.Fail(fmt.Errorf("upload %s from %s to %s", u.Generation, old.State, u.State))
		return
	}
	if u.State.Final() {
		delete(t.r.uploads, u.Generation)
		delete(t.r.parts, u.Generation)
		delete(t.r.extents, u.Generation)
		return
	}
	t.r.uploads[u.Generation] = *u
	t.r.uploads[u.Generation] = *t.Upload(u.Generation)
}

func (t *memTx) Uploads() iter.Seq[*ferry.Upload] {
	return func(yield func(*ferry.Upload) bool) {
		for _, g := range slices.Sorted(maps.Keys(t.r.uploads)) {
			if !yield(t.Upload(g)) {
				return
			}
		}
	}
}

func (t *memTx) Parts(g ferry.Generation) (parts []ferry.Part) {
	for _, n := range slices.Sorted(maps.Keys(t.r.parts[g])) {
		parts = append(parts, t.r.parts[g][n])
	}
	return parts
}

func (t *memTx) PutPart(g ferry.Generation, p ferry.Part) {
	if t.r.parts[g] == nil {
		t.r.parts[g] = map[ferry.PartNumber]ferry.Part{}
	}
	t.r.parts[g][p.Number] = p
}
func (t *memTx) DeleteParts(g ferry.Generation) { delete(t.r.parts, g) }

func (t *memTx) Extents(g ferry.Generation) *ferry.ExtentSet {
	if s := t.r.extents[g]; s != nil {
		return s.Clone()
	}
	return ferry.NewExtentSet()
}

func (t *memTx) AddExtent(g ferry.Generation, e ferry.Extent) {
	s := t.Extents(g)
	s.Add(e)
	t.r.extents[g] = s
}

func (t *memTx) SetExtents(g ferry.Generation, s *ferry.ExtentSet) {
	if s == nil {
		delete(t.r.extents, g)
		return
	}
	t.r.extents[g] = s.Clone()
}

func (t *memTx) Job(id ferry.JobID) *ferry.DeleteJob {
	if j, ok := t.r.jobs[id]; ok {
		return &j
	}
	return nil
}
func (t *memTx) PutJob(j *ferry.DeleteJob) { t.r.jobs[j.ID] = *j }

func (t *memTx) Jobs() iter.Seq[*ferry.DeleteJob] {
	return func(yield func(*ferry.DeleteJob) bool) {
		for _, id := range slices.Sorted(maps.Keys(t.r.jobs)) {
			if !yield(t.Job(id)) {
				return
			}
		}
	}
}

// The syncer uses none of these.
func (t *memTx) Tombstone(ferry.Path) bool                  { return false }
func (t *memTx) PutTombstone(ferry.Path)                    {}
func (t *memTx) DeleteTombstone(ferry.Path)                 {}
func (t *memTx) Tombstones(ferry.Path) iter.Seq[ferry.Path] { return func(func(ferry.Path) bool) {} }
func (t *memTx) Reply(ferry.Origin) *ferry.Reply            { return nil }
func (t *memTx) PutReply(ferry.Origin, ferry.Reply)         {}
func (t *memTx) Setting(string) string                      { return "" }
func (t *memTx) PutSetting(string, string)                  {}

// memStaging is a staging area in memory.
type memStaging struct {
	mu    sync.Mutex
	files map[ferry.Generation][]byte
}

func newMemStaging() *memStaging { return &memStaging{files: map[ferry.Generation][]byte{}} }

func (m *memStaging) put(g ferry.Generation, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[g] = bytes.Clone(b)
}

func (m *memStaging) Open(g ferry.Generation) (StagedFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return memFile{bytes.NewReader(m.files[g])}, nil
}

type memFile struct{ *bytes.Reader }

func (f memFile) Size() (int64, error) { return f.Reader.Size(), nil }
func (f memFile) Close() error         { return nil }

var _ io.ReaderAt = memFile{}
