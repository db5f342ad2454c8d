package tree

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"ferry"
)

// Tree is the namespace of one mount. Its methods may be called concurrently.
//
// Lock order: ns, then the journal's own lock, then mu. ns serialises changes of
// names. mu guards what is in memory; it is taken inside Update and View and
// never held while asking the journal or the bucket. Openness is asked with all
// of them held and must be a leaf.
type Tree struct {
	o        Options
	open     Openness
	ns       sync.Mutex
	mu       sync.Mutex
	nodes    map[ferry.InodeID]*node // guarded by mu
	root     *node
	listings *listings // guarded by mu
	epoch    uint64    // of this start: IDs are epoch<<40 | counter
	counter  atomic.Uint64
	tombs    map[ferry.Path]struct{} // guarded by mu; the tombstone rows
	swept    time.Time               // guarded by mu; when lapsed tombstones were last looked for
	// maxDirNames bounds the names of one directory that are kept; a larger one is
	// streamed, and its names are asked for one by one.
	maxDirNames int
}

// node is an inode that the kernel knows or that is open. guarded by Tree.mu.
type node struct {
	id       ferry.InodeID
	kind     ferry.NodeKind
	parent   *node // nil for the root and for what has no name
	name     string
	children map[string]*node // of a directory
	lookups  uint64           // references that the kernel holds
	facts    *facts           // what the bucket holds; a row in the journal wins over it
	touched  int64            // a directory's mtime by changes of its names, 0 if none
	unlinked bool
}

// facts are what a HEAD or a listing said of a name, decoded.
type facts struct {
	kind       ferry.NodeKind
	attr       ferry.Attr
	xattrs     map[string][]byte
	target     string
	foreign    map[string]string
	hasMeta    bool // attr and the rest come from the object's metadata
	size       int64
	version    *ferry.Version // nil: a directory without a marker
	learned    time.Time      // when, for names of directories too large to be cached whole
	implied    bool           // a directory: something lies below it
	marker     bool
	foundEmpty bool // this name was asked for and nothing was there
	// unasked: a directory that a listing showed only as a prefix, which is how S3
	// shows markers too. A HEAD tells whether there is one, and its attributes.
	unasked bool
}

// lacking reports whether a HEAD is needed to know the attributes.
func (f *facts) lacking() bool { return f.unasked || !f.hasMeta && f.version != nil }

// seen is what the bucket is known to hold at the key of what f describes.
func (f *facts) seen() ferry.Known {
	switch {
	case f.version != nil:
		return ferry.KnownVersion(*f.version)
	case f.unasked:
		return ferry.Known{}
	default:
		return ferry.KnownAbsent
	}
}

// New returns a tree. Call SetOpenness and Recover before use.
func New(o Options) *Tree {
	if o.TTL == 0 {
		o.TTL = 10 * time.Second
	}
	if o.FileMode == 0 {
		o.FileMode = 0o644
	}
	if o.DirMode == 0 {
		o.DirMode = 0o755
	}
	if o.RenameMax == 0 {
		o.RenameMax = 100_000
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Wake == nil {
		o.Wake = func() {}
	}
	if o.Invalidate == nil {
		o.Invalidate = func(ferry.InodeID, string, ferry.InodeID) {}
	}
	if o.ListsMetadata == nil {
		o.ListsMetadata = func() bool { return false }
	}
	now := time.Now()
	t := &Tree{
		o: o, nodes: map[ferry.InodeID]*node{}, listings: newListings(), tombs: map[ferry.Path]struct{}{},
		maxDirNames: maxDirNames,
	}
	t.root = &node{
		id: ferry.RootInode, kind: ferry.Dir, children: map[string]*node{}, lookups: 1,
		facts: t.impliedDir(now), touched: now.UnixNano(),
	}
	t.root.facts.unasked = false
	t.nodes[ferry.RootInode] = t.root
	return t
}

// SetOpenness wires fusefs/content in.
func (t *Tree) SetOpenness(o Openness) { t.open = o }

// Recover takes over the journal's rows at start: inodes that have no name are
// dropped with their content, for no handle of this start holds them.
func (t *Tree) Recover(context.Context) error {
	return t.o.Journal.Update(func(tx ferry.Tx) error {
		n, _ := strconv.ParseUint(tx.Setting("tree.epoch"), 10, 23)
		t.epoch = n + 1
		tx.PutSetting("tree.epoch", strconv.FormatUint(t.epoch, 10))
		var orphans []*ferry.Inode
		for in := range tx.Inodes() {
			if in.Unlinked {
				orphans = append(orphans, in)
			}
		}
		for _, in := range orphans {
			ferry.Supersede(tx, in.Content)
			tx.DeleteInode(in.ID)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		for p := range tx.Tombstones("") {
			t.tombs[p] = struct{}{}
		}
		return nil
	})
}

// newID returns an inode ID that this state directory has not used before.
func (t *Tree) newID() ferry.InodeID {
	return ferry.InodeID(t.epoch<<40 | (t.counter.Add(1) + 1))
}

// update runs fn in one Update with mu held, and apply, which fn returns, once
// the change is in the log and before anybody else sees the tree.
func (t *Tree) update(fn func(tx ferry.Tx) (apply func(), err error)) error {
	if t.o.ReadOnly {
		return &ferry.Error{Op: "tree.update", Kind: ferry.KindReadOnly, Msg: "the mount is read-only"}
	}
	var apply func()
	locked := false
	err := t.o.Journal.Update(func(tx ferry.Tx) (err error) {
		t.mu.Lock()
		locked = true
		if apply, err = fn(tx); err == nil {
			t.sweep(tx)
		}
		return err
	})
	if locked {
		if err == nil && apply != nil {
			apply()
		}
		t.mu.Unlock()
	}
	if err == nil {
		t.o.Wake()
	}
	return err
}

// view runs fn on a consistent view of rows and memory, with mu held.
func (t *Tree) view(fn func(tx ferry.Tx) error) error {
	return t.o.Journal.View(func(tx ferry.Tx) error {
		t.mu.Lock()
		defer t.mu.Unlock()
		return fn(tx)
	})
}

// path returns where n is. Only for nodes that have a name.
func (n *node) path() ferry.Path {
	if n.parent == nil {
		return ""
	}
	return n.parent.path().Join(n.name)
}

// dir returns the node of a directory that still has a name.
func (t *Tree) dir(id ferry.InodeID) (*node, error) {
	n := t.nodes[id]
	switch {
	case n == nil:
		return nil, &ferry.Error{Op: "tree.dir", Kind: ferry.KindConflict, Msg: "an inode that this daemon does not know"}
	case n.kind != ferry.Dir:
		return nil, &ferry.Error{Op: "tree.dir", Key: n.name, Kind: ferry.KindNotDir}
	case n.unlinked:
		return nil, notFound(n.name)
	}
	return n, nil
}

// attach puts n under name in dir, in place of whatever memory had there.
func (t *Tree) attach(n, dir *node, name string) {
	if old := dir.children[name]; old != nil && old != n {
		t.detach(old)
	}
	if n.parent != nil {
		delete(n.parent.children, n.name)
	}
	n.parent, n.name = dir, name
	dir.children[name] = n
	t.nodes[n.id] = n
}

// detach takes n's name away; the kernel may still know it by its ID.
func (t *Tree) detach(n *node) {
	if n.parent != nil && n.parent.children[n.name] == n {
		delete(n.parent.children, n.name)
	}
	n.unlinked = true
	t.drop(n)
}

// drop forgets a node that neither the kernel nor a child needs.
func (t *Tree) drop(n *node) {
	for n != nil && n != t.root && n.lookups == 0 && len(n.children) == 0 && (t.open == nil || !t.open.Open(n.id)) {
		p := n.parent
		if p != nil && p.children[n.name] == n {
			delete(p.children, n.name)
		}
		if t.nodes[n.id] == n {
			delete(t.nodes, n.id)
		}
		n = p
	}
}

// child returns the node of name in dir, made with f if memory has none of that
// kind. id is the row's inode ID, 0 to keep the node's or take a new one.
func (t *Tree) child(dir *node, name string, id ferry.InodeID, f *facts) *node {
	n := dir.children[name]
	if n != nil && (n.kind != f.kind || id != 0 && n.id != id) {
		t.detach(n)
		n = nil
	}
	if n == nil {
		if n = t.nodes[id]; n == nil {
			if id == 0 {
				id = t.newID()
			}
			n = &node{id: id, kind: f.kind}
			if f.kind == ferry.Dir {
				n.children = map[string]*node{}
			}
		}
		n.unlinked = false
		t.attach(n, dir, name)
	}
	if !f.unasked || n.facts == nil || n.facts.unasked {
		n.facts = f // else the server is away, and what it said before is worth more
	}
	return n
}

// Forget gives back n references that the kernel held.
func (t *Tree) Forget(id ferry.InodeID, n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if nd := t.nodes[id]; nd != nil && nd != t.root {
		nd.lookups -= min(n, nd.lookups)
		t.drop(nd)
	}
}

// Ref counts one more reference that the kernel holds.
func (t *Tree) Ref(id ferry.InodeID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if nd := t.nodes[id]; nd != nil {
		nd.lookups++
	}
}

func notFound(name string) error {
	return &ferry.Error{Op: "tree.lookup", Key: name, Kind: ferry.KindNotFound}
}

func exists(name string) error {
	return &ferry.Error{Op: "tree.create", Key: name, Kind: ferry.KindExists}
}

// unknownIfTransient makes "could not be asked" of an error of the network: it
// must never look like "not found".
func unknownIfTransient(err error, p ferry.Path) error {
	if ferry.IsKind(err, ferry.KindTransient) {
		return &ferry.Error{
			Op: "tree.list", Key: string(p), Kind: ferry.KindUnknown, Err: err,
			Msg: "the server could not be asked, and this name was never listed",
		}
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return err
}
