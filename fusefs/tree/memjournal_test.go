package tree

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"ferry"
)

// memJournal is a ferry.Journal in memory that refuses what the real one refuses:
// two inodes at one path, upload states that cannot follow one another, changes
// in a View. A failed Update is undone.
type memJournal struct {
	mu sync.Mutex
	memRows
}

type memRows struct {
	inodes   map[ferry.InodeID]*ferry.Inode
	paths    map[ferry.Path]ferry.InodeID
	sorted   []ferry.Path
	refs     map[ferry.ObjectKey]map[ferry.InodeID]bool
	keys     map[ferry.ObjectKey]*ferry.KeyState
	keyOrder []ferry.ObjectKey
	uploads  map[ferry.Generation]*ferry.Upload
	tombs    map[ferry.Path]bool
	replies  map[ferry.Origin]ferry.Reply
	settings map[string]string
}

func newMemJournal() *memJournal {
	return &memJournal{memRows: memRows{
		inodes: map[ferry.InodeID]*ferry.Inode{}, paths: map[ferry.Path]ferry.InodeID{},
		refs: map[ferry.ObjectKey]map[ferry.InodeID]bool{}, keys: map[ferry.ObjectKey]*ferry.KeyState{},
		uploads: map[ferry.Generation]*ferry.Upload{}, tombs: map[ferry.Path]bool{},
		replies: map[ferry.Origin]ferry.Reply{}, settings: map[string]string{},
	}}
}

func (j *memJournal) Update(fn func(ferry.Tx) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	tx := &memTx{memRows: &j.memRows, write: true}
	err := fn(tx)
	if tx.err != nil {
		err = tx.err
	}
	if err != nil {
		for _, undo := range slices.Backward(tx.undo) {
			undo()
		}
	}
	return err
}

func (j *memJournal) View(fn func(ferry.Tx) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	tx := &memTx{memRows: &j.memRows}
	err := fn(tx)
	if tx.err != nil {
		err = tx.err
	}
	return err
}

// memTx is one transaction; undo takes its changes back, last first.
type memTx struct {
	*memRows
	write bool
	err   error
	undo  []func()
}

func (tx *memTx) Fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

func (tx *memTx) failf(format string, a ...any) {
	tx.Fail(&ferry.Error{Op: "memjournal", Kind: ferry.KindInternal, Msg: fmt.Sprintf(format, a...)})
}

func (tx *memTx) may() bool {
	if !tx.write {
		tx.failf("a change in a View")
	}
	return tx.write && tx.err == nil
}

func (tx *memTx) Inode(id ferry.InodeID) *ferry.Inode {
	if in := tx.inodes[id]; in != nil {
		return in.Clone()
	}
	return nil
}

func (tx *memTx) PutInode(in *ferry.Inode) {
	if !tx.may() {
		return
	}
	if in.ID <= ferry.RootInode || in.Kind == 0 {
		tx.failf("inode %d of kind %d", in.ID, in.Kind)
		return
	}
	if !in.Unlinked {
		if in.Path == "" {
			tx.failf("inode %d at the root", in.ID)
			return
		}
		if other, ok := tx.paths[in.Path]; ok && other != in.ID {
			tx.failf("inode %d put at %q, where inode %d is", in.ID, in.Path, other)
			return
		}
	}
	old := tx.inodes[in.ID]
	tx.setInode(in.ID, in.Clone())
	tx.undo = append(tx.undo, func() { tx.setInode(in.ID, old) })
}

func (tx *memTx) DeleteInode(id ferry.InodeID) {
	if !tx.may() {
		return
	}
	old := tx.inodes[id]
	tx.setInode(id, nil)
	tx.undo = append(tx.undo, func() { tx.setInode(id, old) })
}

// setInode changes the row and its indexes; nil deletes it.
func (r *memRows) setInode(id ferry.InodeID, in *ferry.Inode) {
	if old := r.inodes[id]; old != nil {
		if !old.Unlinked && r.paths[old.Path] == id {
			delete(r.paths, old.Path)
			if i, ok := slices.BinarySearch(r.sorted, old.Path); ok {
				r.sorted = slices.Delete(r.sorted, i, i+1)
			}
		}
		if old.Remote != nil {
			delete(r.refs[old.Remote.Key], id)
		}
	}
	if in == nil {
		delete(r.inodes, id)
		return
	}
	r.inodes[id] = in
	if !in.Unlinked {
		r.paths[in.Path] = id
		if i, ok := slices.BinarySearch(r.sorted, in.Path); !ok {
			r.sorted = slices.Insert(r.sorted, i, in.Path)
		}
	}
	if in.Remote != nil {
		if r.refs[in.Remote.Key] == nil {
			r.refs[in.Remote.Key] = map[ferry.InodeID]bool{}
		}
		r.refs[in.Remote.Key][id] = true
	}
}

func (tx *memTx) InodeAt(p ferry.Path) ferry.InodeID { return tx.paths[p] }

func (tx *memTx) Paths(from ferry.Path) iter.Seq2[ferry.Path, ferry.InodeID] {
	return func(yield func(ferry.Path, ferry.InodeID) bool) {
		i, _ := slices.BinarySearch(tx.sorted, from)
		for i < len(tx.sorted) {
			p := tx.sorted[i]
			if !yield(p, tx.paths[p]) {
				return
			}
			i, _ = slices.BinarySearch(tx.sorted, p+"\x00") // what sorts next, whatever yield changed
		}
	}
}

func (tx *memTx) Inodes() iter.Seq[*ferry.Inode] {
	return func(yield func(*ferry.Inode) bool) {
		for _, id := range slices.Sorted(maps.Keys(tx.inodes)) {
			if in := tx.inodes[id]; in != nil && !yield(in.Clone()) {
				return
			}
		}
	}
}

func (tx *memTx) Refs(k ferry.ObjectKey) iter.Seq[ferry.InodeID] {
	return slices.Values(slices.Sorted(maps.Keys(tx.refs[k])))
}

func (tx *memTx) NextInodeID() ferry.InodeID { tx.failf("inode IDs are the tree's"); return 0 }

func (tx *memTx) Key(k ferry.ObjectKey) *ferry.KeyState { return cloneKey(tx.keys[k]) }

func cloneKey(k *ferry.KeyState) *ferry.KeyState {
	if k == nil {
		return nil
	}
	c := *k
	c.After = slices.Clone(k.After)
	if k.Intent != nil {
		i := *k.Intent
		c.Intent = &i
	}
	return &c
}

func (tx *memTx) PutKey(k *ferry.KeyState) {
	if !tx.may() {
		return
	}
	if k.Key == "" {
		tx.failf("a row for the empty key")
		return
	}
	old, key := tx.keys[k.Key], k.Key
	if k.Idle() {
		tx.setKey(key, nil)
	} else {
		tx.setKey(key, cloneKey(k))
	}
	tx.undo = append(tx.undo, func() { tx.setKey(key, old) })
}

func (r *memRows) setKey(key ferry.ObjectKey, k *ferry.KeyState) {
	i, ok := slices.BinarySearch(r.keyOrder, key)
	switch {
	case k == nil && ok:
		r.keyOrder = slices.Delete(r.keyOrder, i, i+1)
	case k != nil && !ok:
		r.keyOrder = slices.Insert(r.keyOrder, i, key)
	}
	if k == nil {
		delete(r.keys, key)
	} else {
		r.keys[key] = k
	}
}

func (tx *memTx) Keys(prefix ferry.ObjectKey) iter.Seq[*ferry.KeyState] {
	return func(yield func(*ferry.KeyState) bool) {
		i, _ := slices.BinarySearch(tx.keyOrder, prefix)
		for i < len(tx.keyOrder) && strings.HasPrefix(string(tx.keyOrder[i]), string(prefix)) {
			k := tx.keyOrder[i]
			if !yield(cloneKey(tx.keys[k])) {
				return
			}
			i, _ = slices.BinarySearch(tx.keyOrder, k+"\x00")
		}
	}
}

func (tx *memTx) Work(int64, ferry.ObjectKey) iter.Seq[*ferry.KeyState] { return tx.Keys("") }

func cloneUpload(u *ferry.Upload) *ferry.Upload {
	if u == nil {
		return nil
	}
	c := *u
	if u.Base != nil {
		b := *u.Base
		c.Base = &b
	}
	return &c
}

func (tx *memTx) Upload(g ferry.Generation) *ferry.Upload { return cloneUpload(tx.uploads[g]) }

func (tx *memTx) PutUpload(u *ferry.Upload) {
	if !tx.may() {
		return
	}
	old, g := tx.uploads[u.Generation], u.Generation
	if old != nil && old.State != u.State && !follows(old.State, u.State) {
		tx.failf("upload %s: %s after %s", g, u.State, old.State)
		return
	}
	if old == nil && u.State.Final() {
		tx.failf("upload %s begins as %s", g, u.State)
		return
	}
	if u.State.Final() {
		delete(tx.uploads, g)
	} else {
		tx.uploads[g] = cloneUpload(u)
	}
	tx.undo = append(tx.undo, func() {
		if delete(tx.uploads, g); old != nil {
			tx.uploads[g] = old
		}
	})
}

func follows(a, b ferry.UploadState) bool {
	for e := ferry.EventOpened; e <= ferry.EventRetry; e++ {
		if next, err := a.Next(e); err == nil && next == b {
			return true
		}
	}
	return false
}

func (tx *memTx) Uploads() iter.Seq[*ferry.Upload] {
	return func(yield func(*ferry.Upload) bool) {
		for _, g := range slices.Sorted(maps.Keys(tx.uploads)) {
			if u := tx.uploads[g]; u != nil && !yield(cloneUpload(u)) {
				return
			}
		}
	}
}

// Parts, extents and jobs are not the tree's.
func (tx *memTx) Parts(ferry.Generation) []ferry.Part           { return nil }
func (tx *memTx) PutPart(ferry.Generation, ferry.Part)          {}
func (tx *memTx) DeleteParts(ferry.Generation)                  {}
func (tx *memTx) Extents(ferry.Generation) *ferry.ExtentSet     { return ferry.NewExtentSet() }
func (tx *memTx) AddExtent(ferry.Generation, ferry.Extent)      {}
func (tx *memTx) SetExtents(ferry.Generation, *ferry.ExtentSet) {}
func (tx *memTx) Job(ferry.JobID) *ferry.DeleteJob              { return nil }
func (tx *memTx) PutJob(*ferry.DeleteJob)                       {}
func (tx *memTx) Jobs() iter.Seq[*ferry.DeleteJob]              { return func(func(*ferry.DeleteJob) bool) {} }
func (tx *memTx) Tombstone(p ferry.Path) bool                   { return tx.tombs[p] }
func (tx *memTx) PutTombstone(p ferry.Path)                     { tx.setTomb(p, true) }
func (tx *memTx) DeleteTombstone(p ferry.Path)                  { tx.setTomb(p, false) }
func (tx *memTx) Setting(name string) string                    { return tx.settings[name] }
func (tx *memTx) PutReply(o ferry.Origin, r ferry.Reply) {
	if tx.may() {
		tx.replies[o] = r // answers of a failed change are never asked for
	}
}

func (tx *memTx) Reply(o ferry.Origin) *ferry.Reply {
	if r, ok := tx.replies[o]; ok {
		return &r
	}
	return nil
}

func (tx *memTx) setTomb(p ferry.Path, there bool) {
	if !tx.may() {
		return
	}
	old := tx.tombs[p]
	set := func(v bool) {
		if delete(tx.tombs, p); v {
			tx.tombs[p] = true
		}
	}
	set(there)
	tx.undo = append(tx.undo, func() { set(old) })
}

func (tx *memTx) Tombstones(p ferry.Path) iter.Seq[ferry.Path] {
	return func(yield func(ferry.Path) bool) {
		for _, t := range slices.Sorted(maps.Keys(tx.tombs)) {
			if (t == p || t.Below(p)) && !yield(t) {
				return
			}
		}
	}
}

func (tx *memTx) PutSetting(name, value string) {
	if !tx.may() {
		return
	}
	old := tx.settings[name]
	tx.settings[name] = value
	tx.undo = append(tx.undo, func() { tx.settings[name] = old })
}

// Check returns the first broken invariant between rows.
func (j *memJournal) Check() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for id, in := range j.inodes {
		if !in.Unlinked {
			k := j.keys[in.Key()]
			if k == nil || k.Wanted != (ferry.Wanted{Kind: ferry.WantInode, Inode: id}) {
				return fmt.Errorf("inode %d is at %q, and its key does not want it: %+v", id, in.Path, k)
			}
		}
		if in.Content != "" {
			if u := j.uploads[in.Content]; u == nil || u.Inode != id {
				return fmt.Errorf("inode %d (%q) has content %s, whose upload is %+v", id, in.Path, in.Content, u)
			}
		}
		if in.Content == "" && in.Remote == nil && in.Kind == ferry.File {
			return fmt.Errorf("file %d (%q) has no bytes anywhere", id, in.Path)
		}
	}
	for key, k := range j.keys {
		if k.Wanted.Kind == ferry.WantInode {
			if in := j.inodes[k.Wanted.Inode]; in == nil || in.Unlinked || in.Key() != key {
				return fmt.Errorf("%q wants inode %d, which is %+v", key, k.Wanted.Inode, in)
			}
		}
		if k.Upload != "" {
			if u := j.uploads[k.Upload]; u == nil || u.Key != key {
				return fmt.Errorf("%q is bound to upload %s, which is %+v", key, k.Upload, u)
			}
		}
	}
	for g, u := range j.uploads {
		if u.State != ferry.StateAborting && u.Key != "" {
			if k := j.keys[u.Key]; k == nil || k.Upload != g {
				return fmt.Errorf("upload %s (%s) is at %q, whose row is %+v", g, u.State, u.Key, k)
			}
		}
		if u.State != ferry.StateAborting && u.State != ferry.StateCompleting {
			if in := j.inodes[u.Inode]; in == nil || in.Content != g {
				return fmt.Errorf("upload %s (%s) is nobody's content: inode %+v", g, u.State, in)
			}
		}
	}
	return nil
}

// dump shows all rows, for a failed test.
func (j *memJournal) dump() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var b strings.Builder
	for _, k := range j.keyOrder {
		fmt.Fprintf(&b, "\nkey %+v", *j.keys[k])
		if i := j.keys[k].Intent; i != nil {
			fmt.Fprintf(&b, " intent %+v", *i)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(j.inodes)) {
		in := j.inodes[id]
		fmt.Fprintf(&b, "\ninode %d kind %d %q unlinked %v content %q remote %+v attr %d/%d", id, in.Kind, in.Path, in.Unlinked, in.Content, in.Remote, in.AttrSeq, in.StoredAttrSeq)
	}
	for _, u := range j.uploads {
		fmt.Fprintf(&b, "\nupload %s %s of %d at %q", u.Generation, u.State, u.Inode, u.Key)
	}
	for p := range j.tombs {
		fmt.Fprintf(&b, "\ntombstone %q", p)
	}
	return b.String()
}
