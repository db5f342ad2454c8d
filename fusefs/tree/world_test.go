package tree

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"ferry"
)

// thing is what the model knows of one inode; names lead to it by the model's map.
type thing struct {
	kind   ferry.NodeKind
	data   string // bytes or target
	mode   uint32
	xattr  string        // of user.x, "" if none
	id     ferry.InodeID // as last seen, while the kernel holds references
	opened bool
	stale  bool // another client changed it, and the kernel has not looked again
}

// world is a tree with its journal, bucket and executor, beside a model of what a
// POSIX file system would hold.
type world struct {
	*executor
	names  map[ferry.Path]*thing
	refs   map[ferry.InodeID]uint64
	open   map[ferry.InodeID]*thing
	r      *rand.Rand
	log    []string
	dirs   []*openDir
	maxDir int
	nested bool
	unique uint64
}

// openDir is a directory being read while things change.
type openDir struct {
	h      *DirHandle
	id     ferry.InodeID
	path   ferry.Path
	node   *thing
	cookie uint64
	got    map[string]int
	always map[string]bool // names that were there all the while
}

func newWorld(page int, metadata bool, maxDir int) *world {
	b := newMemBucket(page, metadata)
	w := &world{
		executor: &executor{
			j: newMemJournal(), b: b, gens: ferry.NewGenerations(),
			bytes: map[ferry.Generation]*staged{},
		},
		names: map[ferry.Path]*thing{}, maxDir: maxDir,
	}
	w.die = func(string) bool { return w.r != nil && w.r.IntN(12) == 0 }
	b.onList = w.onList
	w.start()
	return w
}

// start is a start of the daemon on the rows and the bucket as they are.
func (w *world) start() {
	w.refs, w.open, w.dirs = map[ferry.InodeID]uint64{}, map[ferry.InodeID]*thing{}, nil
	for _, th := range w.names {
		th.id, th.opened = 0, false
	}
	w.gens = ferry.NewGenerations()
	w.t = New(Options{
		Journal: w.j, Remote: w.b, Generations: w.gens, TTL: time.Hour,
		ListsMetadata: func() bool { return w.b.metadata },
	})
	w.t.maxDirNames = w.maxDir
	w.t.SetOpenness(w)
	if err := w.t.Recover(context.Background()); err != nil {
		panic(err)
	}
	// As fusefs/content does: what was being written is sealed as it is.
	err := w.j.Update(func(tx ferry.Tx) error {
		for u := range tx.Uploads() {
			if u.State.Writable() {
				w.sealIn(tx, u)
			}
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
}

func (w *world) Open(id ferry.InodeID) bool { return w.open[id] != nil }

func (w *world) LiveSize(ferry.InodeID) (size, mtime int64, ok bool) { return 0, 0, false }

// onList is what happens while a listing is on its way.
func (w *world) onList() {
	if w.r == nil || w.nested || w.r.IntN(3) != 0 {
		return
	}
	for range w.r.IntN(4) {
		if did, err := w.step(w.r.IntN(1 << 20)); err != nil {
			panic(err)
		} else if did != "" {
			w.log = append(w.log, "    (listing under way) "+did)
		}
	}
}

func (w *world) origin() ferry.Origin {
	w.unique++
	return ferry.Origin{Connection: 1, Unique: w.unique}
}

// got counts a reference and checks that the inode's ID has not changed while the
// kernel holds it.
func (w *world) got(p ferry.Path, e Entry) error {
	w.refs[e.ID]++
	th := w.names[p]
	if th == nil {
		return fmt.Errorf("%q was found, and nothing is there: %+v", p, e)
	}
	if th.id != 0 && th.id != e.ID && (w.refs[th.id] > 0 || w.open[th.id] != nil) {
		return fmt.Errorf("%q was inode %d and is %d now", p, th.id, e.ID)
	}
	th.id, th.stale = e.ID, false
	return w.same(p, th, e)
}

// same compares an entry with the model.
func (w *world) same(p ferry.Path, th *thing, e Entry) error {
	if e.Kind != th.kind {
		return fmt.Errorf("%q is of kind %d, want %d", p, e.Kind, th.kind)
	}
	if e.Attr.Mode != th.mode && !(w.b.offline && th.kind == ferry.Dir) { // its marker may never have been asked for
		return fmt.Errorf("%q has mode %#o, want %#o", p, e.Attr.Mode, th.mode)
	}
	switch th.kind {
	case ferry.Symlink:
		if e.Target != th.data {
			return fmt.Errorf("%q leads to %q, want %q", p, e.Target, th.data)
		}
	case ferry.File:
		data, err := w.read(e)
		if errors.Is(err, errSettling) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%q (inode %d): %w", p, e.ID, err)
		}
		if data != th.data {
			return fmt.Errorf("%q holds %q, want %q", p, data, th.data)
		}
	case ferry.Dir:
	}
	return nil
}

// read returns the bytes of a file as fusefs/content would find them.
func (w *world) read(e Entry) (string, error) {
	if e.Content == "" {
		if e.Version == nil {
			return "", errors.New("no bytes anywhere")
		}
		data, err := w.b.read(*e.Version)
		return data, w.settling(e.Version, err)
	}
	var u *ferry.Upload
	if err := w.j.View(func(tx ferry.Tx) error { u = tx.Upload(e.Content); return nil }); err != nil {
		return "", err
	}
	if u == nil {
		return "", fmt.Errorf("content %s has no row", e.Content)
	}
	data, err := w.content(u)
	return data, w.settling(u.Base, err)
}

// errSettling says that a reader has to wait: our own request replaced the version
// that it reads, and its answer was lost.
var errSettling = errors.New("the answer of a request is not known")

func (w *world) settling(v *ferry.Version, err error) error {
	w.j.mu.Lock()
	defer w.j.mu.Unlock()
	if err != nil && v != nil && w.j.keys[v.Key] != nil && w.j.keys[v.Key].Intent != nil {
		return errSettling
	}
	return err
}

// at returns the ID of the directory at p, walking as the kernel does where it
// holds no reference. ok is false if the walk failed because the server is away.
func (w *world) at(p ferry.Path) (id ferry.InodeID, ok bool, err error) {
	if p == "" {
		return ferry.RootInode, true, nil
	}
	if th := w.names[p]; th != nil && th.id != 0 && w.refs[th.id] > 0 && !th.stale && w.r.IntN(4) != 0 {
		return th.id, true, nil
	}
	dir, name := p.Split()
	parent, ok, err := w.at(dir)
	if err != nil || !ok {
		return 0, ok, err
	}
	e, err := w.t.Lookup(context.Background(), parent, name)
	if err != nil {
		if w.excused(err) {
			return 0, false, nil
		}
		return 0, false, fmt.Errorf("lookup %q: %w", p, err)
	}
	return e.ID, true, w.got(p, e)
}

// excused reports whether err says no more than that the server is away.
func (w *world) excused(err error) bool {
	return err != nil && w.b.offline && ferry.IsKind(err, ferry.KindUnknown)
}

// expect compares an outcome with the model's; ok says that the change was made.
func (w *world) expect(err error, want ferry.Kind) (ok bool, fault error) {
	switch {
	case err == nil && want == 0:
		return true, nil
	case err != nil && w.excused(err):
		return false, nil
	case err != nil && want != 0 && ferry.KindOf(err) == want:
		return false, nil
	case err == nil:
		return false, fmt.Errorf("it was done, want %q", want)
	case want == 0:
		return false, fmt.Errorf("it failed: %w", err)
	}
	return false, fmt.Errorf("%w; want %q", err, want)
}

// paths returns the model's paths that keep agrees to, in order.
func (w *world) paths(keep func(p ferry.Path, th *thing) bool) []ferry.Path {
	var out []ferry.Path
	for _, p := range slices.Sorted(maps.Keys(w.names)) {
		if keep(p, w.names[p]) {
			out = append(out, p)
		}
	}
	return out
}

var someNames = []string{"a", "b", "a!", "a-b", "a0", "d"}

// somewhere returns a directory and a name in it that may or may not be there.
func (w *world) somewhere() (dir ferry.Path, name string) {
	dirs := append(w.paths(func(p ferry.Path, th *thing) bool {
		return th.kind == ferry.Dir && strings.Count(string(p), "/") < 2
	}), "")
	dir = dirs[w.r.IntN(len(dirs))]
	return dir, someNames[w.r.IntN(len(someNames))]
}

// someone returns a path that is there if any is.
func (w *world) someone() (dir ferry.Path, name string) {
	all := w.paths(func(ferry.Path, *thing) bool { return true })
	if len(all) == 0 || w.r.IntN(8) == 0 {
		return w.somewhere()
	}
	return all[w.r.IntN(len(all))].Split()
}

func (w *world) empty(p ferry.Path) bool {
	for q := range w.names {
		if q.Below(p) {
			return false
		}
	}
	return true
}

// seen tells the directories being read that a name came or went.
func (w *world) seen(p ferry.Path) {
	dir, name := p.Split()
	for _, d := range w.dirs {
		if d.path == dir {
			delete(d.always, name)
		}
	}
}

// unname takes a name out of the model.
func (w *world) unname(p ferry.Path) {
	w.seen(p)
	delete(w.names, p)
}

// final compares the bucket with the model once nothing is left to do.
func (w *world) final() error {
	w.b.offline = false
	for id := range w.open {
		if err := w.close(id); err != nil {
			return err
		}
	}
	for _, d := range w.dirs {
		d.h.Close()
	}
	w.dirs = nil
	if err := w.quiesce(); err != nil {
		return err
	}
	if len(w.j.inodes) > 0 {
		return errors.New("rows are left: " + w.j.dump())
	}
	want := map[ferry.ObjectKey]bool{}
	for p, th := range w.names {
		key := p.Key()
		if th.kind == ferry.Dir {
			key = p.Marker()
			if _, ok := w.b.get(key); !ok {
				if !w.b.below(key, key) {
					return fmt.Errorf("nothing in the bucket says that %q is there", p)
				}
				continue
			}
		}
		want[key] = true
		o, ok := w.b.get(key)
		if !ok {
			return fmt.Errorf("%q is not in the bucket", key)
		}
		d := ferry.DecodeMetadata(o.Object, w.t.defaults())
		if th.kind == ferry.File && o.data != th.data || th.kind == ferry.Symlink && d.Target != th.data {
			return fmt.Errorf("%q holds %q (%q) in the bucket, want %q", key, o.data, d.Target, th.data)
		}
		if d.Attr.Mode != th.mode || string(d.Xattrs["user.x"]) != th.xattr {
			return fmt.Errorf("%q has mode %#o and xattrs %q in the bucket, want %#o and %q", key, d.Attr.Mode, d.Xattrs, th.mode, th.xattr)
		}
	}
	for _, k := range w.b.keys() {
		if !want[k] {
			return fmt.Errorf("%q is in the bucket and should not", k)
		}
	}
	if err := w.counters(); err != nil {
		return err
	}
	w.nested = true
	defer func() { w.nested = false }()
	for range 2 {
		if err := w.compare(""); err != nil {
			return fmt.Errorf("at the end: %w", err)
		}
		w.forgetListings()
		if err := w.compare(""); err != nil {
			return fmt.Errorf("with fresh listings: %w", err)
		}
		w.j = newMemJournal() // a new state directory on the same bucket
		w.start()
	}
	return nil
}

// counters checks what bounds memory.
func (w *world) counters() error {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	ls := w.t.listings
	sum := 0
	for dir, l := range ls.byDir {
		sum += len(l.names)
		if l.dir != dir || l.loading != nil {
			return fmt.Errorf("listing of %q is filed under %q", l.dir, dir)
		}
	}
	switch {
	case sum != ls.names:
		return fmt.Errorf("listings hold %d names and count %d", sum, ls.names)
	case len(w.dirs) == 0 && ls.under != 0:
		return fmt.Errorf("%d listings never ended", ls.under)
	case ls.order.Len() != len(ls.byDir):
		return fmt.Errorf("%d listings, %d in the order", len(ls.byDir), ls.order.Len())
	case len(w.t.tombs) != len(w.j.tombs):
		return fmt.Errorf("%d tombstones in memory, %d in the journal", len(w.t.tombs), len(w.j.tombs))
	}
	for id, n := range w.t.nodes {
		if n.id != id || n != w.t.root && n.lookups == 0 && len(n.children) == 0 && w.open[id] == nil {
			return fmt.Errorf("node %d (%q) is kept for nothing", id, n.name)
		}
		if n.lookups != w.refs[id] && n != w.t.root {
			return fmt.Errorf("inode %d (%q): the kernel holds %d references, %d are counted", id, n.name, w.refs[id], n.lookups)
		}
	}
	for id, n := range w.refs {
		if n > 0 && id != ferry.RootInode && w.t.nodes[id] == nil {
			return fmt.Errorf("inode %d is forgotten, and the kernel holds %d references", id, n)
		}
	}
	return nil
}

// forgetListings lets every listing's TTL expire.
func (w *world) forgetListings() {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	w.t.listings.forgetBelow("")
}

// compare walks the whole tree below dir.
func (w *world) compare(dir ferry.Path) error {
	id, ok, err := w.at(dir)
	if err != nil || !ok {
		return err
	}
	h, err := w.t.OpenDir(context.Background(), id)
	if err != nil {
		return err
	}
	defer h.Close()
	got := map[string]bool{}
	for cookie := uint64(0); ; {
		n, most := 0, 1+w.r.IntN(5)
		var fault error
		err := h.Read(context.Background(), cookie, func(e DirEntry, next uint64) bool {
			if n == most {
				return false
			}
			n++
			cookie = next
			if got[e.Name] {
				fault = fmt.Errorf("%q is listed twice", dir.Join(e.Name))
			}
			got[e.Name] = true
			w.t.Ref(e.ID)
			if err := w.got(dir.Join(e.Name), e.Entry); err != nil && fault == nil {
				fault = fmt.Errorf("listing: %w", err)
			}
			return true
		})
		if fault != nil {
			return fault
		}
		if err != nil {
			if w.excused(err) {
				return nil
			}
			return fmt.Errorf("reading %q: %w", dir, err)
		}
		if n < most {
			break
		}
	}
	for _, p := range w.paths(func(p ferry.Path, _ *thing) bool { d, _ := p.Split(); return d == dir }) {
		_, name := p.Split()
		if !got[name] {
			return fmt.Errorf("%q is not listed", p)
		}
		e, err := w.t.Lookup(context.Background(), id, name)
		if err != nil {
			if w.excused(err) {
				return nil
			}
			return fmt.Errorf("lookup %q: %w", p, err)
		}
		if err := w.got(p, e); err != nil {
			return err
		}
		v, err := w.t.GetXattr(context.Background(), e.ID, "user.x")
		if w.excused(err) {
			return nil
		}
		if err != nil && !ferry.IsKind(err, ferry.KindNoAttr) || string(v) != w.names[p].xattr {
			return fmt.Errorf("%q has user.x %q, want %q: %w", p, v, w.names[p].xattr, err)
		}
		if w.names[p].kind == ferry.Dir {
			if err := w.compare(p); err != nil {
				return err
			}
		}
	}
	return nil
}

func keysOf[V any](m map[ferry.InodeID]V) iter.Seq[ferry.InodeID] { return maps.Keys(m) }
