package journal_test

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"ferry"
)

// reference is ferry.Tx as plain maps: what the journal must be equal to. It has
// no durability and no rollback; the world gives it only what committed.
type reference struct {
	inodes  map[ferry.InodeID]*ferry.Inode
	keys    map[ferry.ObjectKey]*ferry.KeyState
	uploads map[ferry.Generation]*ferry.Upload
	parts   map[ferry.Generation]map[ferry.PartNumber]ferry.Part
	extents map[ferry.Generation]*ferry.ExtentSet
	tombs   map[ferry.Path]bool
	jobs    map[ferry.JobID]*ferry.DeleteJob
	replies map[ferry.Origin]ferry.Reply
	setting map[string]string
	next    ferry.InodeID
	err     error
}

func newReference() *reference {
	return &reference{
		inodes: map[ferry.InodeID]*ferry.Inode{}, keys: map[ferry.ObjectKey]*ferry.KeyState{},
		uploads: map[ferry.Generation]*ferry.Upload{}, parts: map[ferry.Generation]map[ferry.PartNumber]ferry.Part{},
		extents: map[ferry.Generation]*ferry.ExtentSet{}, tombs: map[ferry.Path]bool{},
		jobs: map[ferry.JobID]*ferry.DeleteJob{}, replies: map[ferry.Origin]ferry.Reply{},
		setting: map[string]string{}, next: 1,
	}
}

var _ ferry.Tx = (*reference)(nil)

func copyOf[T any](v *T) *T {
	if v == nil {
		return nil
	}
	c := *v
	return &c
}

func (r *reference) Inode(id ferry.InodeID) *ferry.Inode {
	if in := r.inodes[id]; in != nil {
		return in.Clone()
	}
	return nil
}

func (r *reference) PutInode(in *ferry.Inode) {
	if other := r.InodeAt(in.Path); !in.Unlinked && other != 0 && other != in.ID {
		r.Fail(fmt.Errorf("two inodes at %q", in.Path))
		return
	}
	r.inodes[in.ID] = in.Clone()
}

func (r *reference) DeleteInode(id ferry.InodeID) { delete(r.inodes, id) }

func (r *reference) InodeAt(p ferry.Path) ferry.InodeID {
	for id, in := range r.inodes {
		if in.Path == p && !in.Unlinked {
			return id
		}
	}
	return 0
}

func (r *reference) Paths(from ferry.Path) iter.Seq2[ferry.Path, ferry.InodeID] {
	return func(yield func(ferry.Path, ferry.InodeID) bool) {
		at := map[ferry.Path]ferry.InodeID{}
		for id, in := range r.inodes {
			if !in.Unlinked && in.Path >= from {
				at[in.Path] = id
			}
		}
		for _, p := range slices.Sorted(maps.Keys(at)) {
			if !yield(p, at[p]) {
				return
			}
		}
	}
}

func (r *reference) Inodes() iter.Seq[*ferry.Inode] {
	return func(yield func(*ferry.Inode) bool) {
		for _, id := range slices.Sorted(maps.Keys(r.inodes)) {
			if !yield(r.Inode(id)) {
				return
			}
		}
	}
}

func (r *reference) Refs(k ferry.ObjectKey) iter.Seq[ferry.InodeID] {
	return func(yield func(ferry.InodeID) bool) {
		for _, id := range slices.Sorted(maps.Keys(r.inodes)) {
			if in := r.inodes[id]; in != nil && in.Remote != nil && in.Remote.Key == k && !yield(id) {
				return
			}
		}
	}
}

func (r *reference) NextInodeID() ferry.InodeID { r.next++; return r.next }

func cloneKey(k *ferry.KeyState) *ferry.KeyState {
	c := copyOf(k)
	if c != nil {
		c.Intent = copyOf(k.Intent)
		c.After = append([]ferry.Request(nil), k.After...) // empty and none are the same
	}
	return c
}

func (r *reference) Key(k ferry.ObjectKey) *ferry.KeyState { return cloneKey(r.keys[k]) }

func (r *reference) PutKey(k *ferry.KeyState) {
	if k.Idle() {
		delete(r.keys, k.Key)
		return
	}
	r.keys[k.Key] = cloneKey(k)
}

func (r *reference) Keys(prefix ferry.ObjectKey) iter.Seq[*ferry.KeyState] {
	return func(yield func(*ferry.KeyState) bool) {
		for _, k := range slices.Sorted(maps.Keys(r.keys)) {
			if strings.HasPrefix(string(k), string(prefix)) && !yield(r.Key(k)) {
				return
			}
		}
	}
}

func (r *reference) Work(since int64, after ferry.ObjectKey) iter.Seq[*ferry.KeyState] {
	return func(yield func(*ferry.KeyState) bool) {
		all := slices.SortedFunc(maps.Values(r.keys), func(a, b *ferry.KeyState) int {
			if a.Since != b.Since {
				return int(a.Since - b.Since)
			}
			return strings.Compare(string(a.Key), string(b.Key))
		})
		for _, k := range all {
			if since == 0 && after == "" || k.Since > since || k.Since == since && k.Key > after {
				if !yield(cloneKey(k)) {
					return
				}
			}
		}
	}
}

func (r *reference) Upload(g ferry.Generation) *ferry.Upload {
	u := copyOf(r.uploads[g])
	if u != nil {
		u.Base = copyOf(u.Base)
	}
	return u
}

func (r *reference) PutUpload(u *ferry.Upload) {
	if u.State.Final() {
		delete(r.uploads, u.Generation)
		delete(r.parts, u.Generation)
		delete(r.extents, u.Generation)
		return
	}
	c := *u
	c.Base = copyOf(u.Base)
	r.uploads[u.Generation] = &c
}

func (r *reference) Uploads() iter.Seq[*ferry.Upload] {
	return func(yield func(*ferry.Upload) bool) {
		for _, g := range slices.Sorted(maps.Keys(r.uploads)) {
			if !yield(r.Upload(g)) {
				return
			}
		}
	}
}

func (r *reference) Parts(g ferry.Generation) (list []ferry.Part) {
	for _, n := range slices.Sorted(maps.Keys(r.parts[g])) {
		list = append(list, r.parts[g][n])
	}
	return list
}

func (r *reference) PutPart(g ferry.Generation, p ferry.Part) {
	if r.parts[g] == nil {
		r.parts[g] = map[ferry.PartNumber]ferry.Part{}
	}
	r.parts[g][p.Number] = p
}

func (r *reference) DeleteParts(g ferry.Generation) { delete(r.parts, g) }

func (r *reference) Extents(g ferry.Generation) *ferry.ExtentSet {
	if s := r.extents[g]; s != nil {
		return s.Clone()
	}
	return &ferry.ExtentSet{}
}

func (r *reference) AddExtent(g ferry.Generation, e ferry.Extent) {
	if r.extents[g] == nil {
		r.extents[g] = &ferry.ExtentSet{}
	}
	r.extents[g].Add(e)
}

func (r *reference) SetExtents(g ferry.Generation, s *ferry.ExtentSet) {
	delete(r.extents, g)
	if s != nil && len(s.All()) > 0 {
		r.extents[g] = s.Clone()
	}
}

func (r *reference) Tombstone(p ferry.Path) bool         { return r.tombs[p] }
func (r *reference) PutTombstone(p ferry.Path)           { r.tombs[p] = true }
func (r *reference) DeleteTombstone(p ferry.Path)        { delete(r.tombs, p) }
func (r *reference) Setting(name string) string          { return r.setting[name] }
func (r *reference) PutSetting(name, value string)       { r.setting[name] = value }
func (r *reference) Job(id ferry.JobID) *ferry.DeleteJob { return copyOf(r.jobs[id]) }
func (r *reference) PutJob(j *ferry.DeleteJob)           { r.jobs[j.ID] = copyOf(j) }
func (r *reference) Reply(o ferry.Origin) *ferry.Reply {
	if v, ok := r.replies[o]; ok {
		return &v
	}
	return nil
}
func (r *reference) PutReply(o ferry.Origin, v ferry.Reply) { r.replies[o] = v }

func (r *reference) Tombstones(p ferry.Path) iter.Seq[ferry.Path] {
	return func(yield func(ferry.Path) bool) {
		for _, t := range slices.Sorted(maps.Keys(r.tombs)) {
			if (p == "" || t == p || t.Below(p)) && !yield(t) {
				return
			}
		}
	}
}

func (r *reference) Jobs() iter.Seq[*ferry.DeleteJob] {
	return func(yield func(*ferry.DeleteJob) bool) {
		for _, id := range slices.Sorted(maps.Keys(r.jobs)) {
			if !yield(r.Job(id)) {
				return
			}
		}
	}
}

func (r *reference) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// dump lists everything that a Tx can show, a line for each fact.
func dump(tx ferry.Tx) []string {
	var out []string
	add := func(what string, v any) {
		b, err := json.Marshal(v)
		if err != nil {
			b = []byte(err.Error())
		}
		out = append(out, what+" "+string(b))
	}
	keys := map[ferry.ObjectKey]bool{}
	for in := range tx.Inodes() {
		add("inode", in)
		if in.Remote != nil {
			keys[in.Remote.Key] = true
		}
	}
	for p, id := range tx.Paths("") {
		add("path", []any{p, id, tx.InodeAt(p)})
	}
	for p, id := range tx.Paths("d1/f3") {
		add("path from", []any{p, id})
	}
	for k := range tx.Keys("") {
		add("key", k)
		keys[k.Key] = true
	}
	for k := range tx.Keys("d1") {
		add("key below", k.Key)
	}
	for k := range tx.Work(0, "") {
		add("work", []any{k.Since, k.Key})
	}
	for k := range tx.Work(40, "d1/f1") {
		add("work from", []any{k.Since, k.Key})
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		add("refs", []any{k, slices.Collect(tx.Refs(k))})
	}
	for u := range tx.Uploads() {
		add("upload", u)
		add("parts", tx.Parts(u.Generation))
		add("extents", append([]ferry.Extent{}, tx.Extents(u.Generation).All()...))
	}
	for _, p := range []ferry.Path{"", "d1", "d2"} {
		add("tombstones", append([]ferry.Path{}, slices.Collect(tx.Tombstones(p))...))
	}
	for j := range tx.Jobs() {
		add("job", j)
	}
	for i := range 4 {
		add("setting", tx.Setting(fmt.Sprint("s", i)))
	}
	for i := range uint64(64) {
		add("reply", tx.Reply(ferry.Origin{Connection: 7, Unique: i}))
	}
	return out
}
