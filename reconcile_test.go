package ferry_test

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"ferry"
)

// rows are a transaction over plain maps: what the reconciler looks at.
type rows struct {
	ferry.Tx
	inodes  map[ferry.InodeID]*ferry.Inode
	keys    map[ferry.ObjectKey]*ferry.KeyState
	uploads map[ferry.Generation]*ferry.Upload
	failed  error
}

func newRows() *rows {
	return &rows{
		inodes: map[ferry.InodeID]*ferry.Inode{}, keys: map[ferry.ObjectKey]*ferry.KeyState{},
		uploads: map[ferry.Generation]*ferry.Upload{},
	}
}

func clone[T any](v *T) *T {
	if v == nil {
		return nil
	}
	c := *v
	return &c
}

func (r *rows) Inode(id ferry.InodeID) *ferry.Inode     { return clone(r.inodes[id]) }
func (r *rows) PutInode(in *ferry.Inode)                { r.inodes[in.ID] = in.Clone() }
func (r *rows) DeleteInode(id ferry.InodeID)            { delete(r.inodes, id) }
func (r *rows) Key(k ferry.ObjectKey) *ferry.KeyState   { return clone(r.keys[k]) }
func (r *rows) Upload(g ferry.Generation) *ferry.Upload { return clone(r.uploads[g]) }
func (r *rows) Fail(err error)                          { r.failed = err }
func (r *rows) PutKey(k *ferry.KeyState) {
	if r.keys[k.Key] = clone(k); k.Idle() {
		delete(r.keys, k.Key)
	}
}

func (r *rows) PutUpload(u *ferry.Upload) {
	if old := r.uploads[u.Generation]; old != nil && old.State != u.State {
		ok := false
		for e := ferry.EventOpened; e <= ferry.EventRetry; e++ {
			next, err := old.State.Next(e)
			ok = ok || err == nil && next == u.State
		}
		if !ok {
			r.failed = &ferry.Error{Op: "rows", Msg: u.State.String() + " after " + old.State.String()}
		}
	}
	if r.uploads[u.Generation] = clone(u); u.State.Final() {
		delete(r.uploads, u.Generation)
	}
}

func (r *rows) Keys(prefix ferry.ObjectKey) iter.Seq[*ferry.KeyState] {
	return func(yield func(*ferry.KeyState) bool) {
		for _, k := range slices.Sorted(maps.Keys(r.keys)) {
			if strings.HasPrefix(string(k), string(prefix)) && !yield(r.Key(k)) {
				return
			}
		}
	}
}

func (r *rows) Refs(k ferry.ObjectKey) iter.Seq[ferry.InodeID] {
	return func(yield func(ferry.InodeID) bool) {
		for _, id := range slices.Sorted(maps.Keys(r.inodes)) {
			if in := r.inodes[id]; in.Remote != nil && in.Remote.Key == k && !yield(id) {
				return
			}
		}
	}
}

// file puts a file whose bytes lie at from, "" for staged content, at p.
func (r *rows) file(id ferry.InodeID, p ferry.Path, from ferry.ObjectKey, known ferry.Known) *ferry.Inode {
	in := &ferry.Inode{ID: id, Kind: ferry.File, Path: p}
	if from != "" {
		in.Remote = &ferry.Version{Key: from, ETag: ferry.ETag("e-" + from)}
	} else {
		in.Content = ferry.Generation("g-" + p)
		r.uploads[in.Content] = &ferry.Upload{Generation: in.Content, Inode: id, State: ferry.StateSealed, Path: p, Truncating: -1}
	}
	r.PutInode(in)
	ferry.Want(r, in.Key(), known, ferry.Wanted{Kind: ferry.WantInode, Inode: id}, 1)
	return in
}

func (r *rows) absent(k ferry.ObjectKey) {
	ferry.Unwant(r, k, ferry.KnownVersion(ferry.Version{Key: k, ETag: ferry.ETag("e-" + k)}), 1)
}

func (r *rows) next(t *testing.T, k ferry.ObjectKey) ferry.Step {
	t.Helper()
	s := ferry.NextStep(r, r.Key(k))
	if r.failed != nil {
		t.Fatal(r.failed)
	}
	return s
}

// TestNothingIsMadeBesideWhatHasToGo: a file's key and keys below it are never in
// the bucket together by our doing.
func TestNothingIsMadeBesideWhatHasToGo(t *testing.T) {
	for name, c := range map[string]struct {
		new, old, free ferry.ObjectKey
	}{
		"a child waits for the file that its directory was": {"a/x", "a", "a-b/x"},
		"deep below too": {"a/b/c/x", "a/b", "a!/x"},
		"a file waits for what its directory held": {"a", "a/x", "a-b"},
		"a file waits for the marker":              {"a", "a/", "a!"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRows()
			r.file(1, c.new.Path(), "", ferry.KnownAbsent)
			r.file(2, c.free.Path(), "", ferry.KnownAbsent)
			r.absent(c.old)
			if s := r.next(t, c.new); s.Kind != ferry.StepWait || s.Waits != c.old {
				t.Errorf("%q: %v for %q", c.new, s.Kind, s.Waits)
			}
			if s := r.next(t, c.free); s.Kind != ferry.StepPut {
				t.Errorf("%q: %v", c.free, s.Kind)
			}
			if s := r.next(t, c.old); s.Kind != ferry.StepDelete {
				t.Errorf("%q: %v", c.old, s.Kind)
			}
			ferry.Gone(r, c.old)
			if s := r.next(t, c.new); s.Kind != ferry.StepPut {
				t.Errorf("%q after the delete: %v", c.new, s.Kind)
			}
		})
	}
}

// TestOldAnswerBeforeNewBytes: an inode that was renamed while a request for it
// was unanswered makes no object under its new name before the answer is known.
func TestOldAnswerBeforeNewBytes(t *testing.T) {
	r := newRows()
	in := r.file(1, "old", "", ferry.KnownAbsent)
	first := in.Content
	intent := ferry.Intent{Kind: ferry.IntentPut, Generation: first, Inode: 1}
	r.uploads[first].State, r.uploads[first].Key = ferry.StateCompleting, "old"
	k := r.Key("old")
	k.Intent, k.Upload = &intent, first
	r.PutKey(k)

	requests := ferry.Requests(r, in)
	ferry.Unwant(r, "old", ferry.KnownAbsent, 2)
	in.Path, in.Content = "new", "g-2"
	r.uploads["g-2"] = &ferry.Upload{Generation: "g-2", Inode: 1, State: ferry.StateSealed, Truncating: -1}
	r.PutInode(in)
	ferry.Follow(r, ferry.Want(r, "new", ferry.KnownAbsent, ferry.Wanted{Kind: ferry.WantInode, Inode: 1}, 2), requests)

	if s := r.next(t, "new"); s.Kind != ferry.StepWait || s.Waits != "old" {
		t.Fatalf("%v for %q", s.Kind, s.Waits)
	}
	ferry.Stored(r, "old", intent, ferry.Version{Key: "old", ETag: "e1"})
	if s := r.next(t, "new"); s.Kind != ferry.StepPut || s.Upload.Generation != "g-2" {
		t.Fatalf("after the answer: %v", s.Kind)
	}
}

// TestWaitsFormRings: the keys of a swap lead back to where they began, so that
// the ring can be found and broken.
func TestWaitsFormRings(t *testing.T) {
	at := func(k ferry.ObjectKey) ferry.Known {
		return ferry.KnownVersion(ferry.Version{Key: k, ETag: ferry.ETag("e-" + k)})
	}
	files := newRows()
	files.file(1, "b", "a", at("b"))
	files.file(2, "a", "b", at("a"))
	mixed := newRows() // the file "a" and the directory "d" with "d/x" were swapped
	mixed.file(1, "d", "a", ferry.KnownAbsent)
	mixed.file(2, "a/x", "d/x", ferry.KnownAbsent)
	mixed.absent("a")
	mixed.absent("d/x")
	for name, c := range map[string]struct {
		r    *rows
		ring []ferry.ObjectKey
	}{
		"two files":            {files, []ferry.ObjectKey{"a", "b"}},
		"a file and directory": {mixed, []ferry.ObjectKey{"a", "d", "d/x", "a/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			for i, k := range c.ring {
				want := c.ring[(i+1)%len(c.ring)]
				if s := c.r.next(t, k); s.Kind != ferry.StepWait || s.Waits != want {
					t.Errorf("%q: %v for %q, want %q", k, s.Kind, s.Waits, want)
				}
			}
		})
	}
}

// TestSupersedeParked: giving up a parked upload that never reached the server
// goes by the table, step by step.
func TestSupersedeParked(t *testing.T) {
	r := newRows()
	r.uploads["g"] = &ferry.Upload{Generation: "g", State: ferry.StateParked}
	ferry.Supersede(r, "g")
	if r.failed != nil || r.uploads["g"] != nil {
		t.Errorf("%v, left %+v", r.failed, r.uploads["g"])
	}
}
