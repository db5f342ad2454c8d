package tree

import (
	"context"
	"time"

	"ferry"
)

// found is what a name is now: a journal's row, or facts of the bucket.
type found struct {
	row   *ferry.Inode // nil if no row differs from the bucket
	facts *facts       // what it is like; made from row if there is one
	// known is what the bucket was seen to hold at the name's file key, for the
	// precondition of a put there.
	known ferry.Known
}

// resolve says what name in dir is, from rows and cached listings. ok is false if
// that is not known: ask the bucket (see ensureName) and try again. A nil found
// with ok means that nothing is there. Called with mu held, in a transaction.
func (t *Tree) resolve(tx ferry.Tx, dir *node, name string) (f *found, ok bool) {
	p := dir.path().Join(name)
	if p == ".ferry" {
		return nil, true
	}
	if id := tx.InodeAt(p); id != 0 {
		in := tx.Inode(id)
		if in == nil {
			return nil, true
		}
		return &found{row: in, facts: rowFacts(in)}, true
	}
	if hasBelow(tx, p) {
		f := t.impliedDir(time.Now())
		if l := t.listings.byDir[dir.path()]; l != nil && l.names[name] != nil && l.names[name].kind == ferry.Dir {
			f = l.names[name]
		}
		return &found{facts: f}, true
	}
	if t.buried(tx, p) {
		return nil, true
	}
	fileHidden := hidden(tx, p.Key())
	l := t.listings.byDir[dir.path()]
	if l == nil || !l.complete && !l.partial {
		return nil, fileHidden && hidden(tx, p.Marker())
	}
	fc := l.names[name]
	if fc == nil || fc.foundEmpty {
		if l.partial && (fc == nil || time.Since(fc.learned) > t.o.TTL) {
			return nil, false
		}
		return nil, true
	}
	if l.partial && time.Since(fc.learned) > t.o.TTL {
		return nil, false
	}
	if fc.kind != ferry.Dir && fileHidden {
		return nil, true
	}
	if fc.kind == ferry.Dir && fc.marker && !fc.implied && hidden(tx, p.Marker()) {
		return nil, true
	}
	f = &found{facts: fc}
	if fc.kind != ferry.Dir {
		f.known = ferry.KnownVersion(*fc.version)
	}
	return f, true
}

// hidden reports whether the object at key is one that was deleted or renamed
// away here.
func hidden(tx ferry.Tx, key ferry.ObjectKey) bool {
	k := tx.Key(key)
	return k != nil && k.Wanted.Kind != ferry.WantInode && (k.Wanted.Kind == ferry.WantAbsent || k.Known.Presence == ferry.Absent)
}

// hasBelow reports whether a linked inode of the journal lies below p.
func hasBelow(tx ferry.Tx, p ferry.Path) bool {
	for q := range tx.Paths(p + "/") {
		return q.Below(p)
	}
	return false
}

// rowFacts makes facts of a row.
func rowFacts(in *ferry.Inode) *facts {
	return &facts{
		kind: in.Kind, attr: in.Attr, xattrs: in.Xattrs, target: in.Target, foreign: in.Foreign,
		hasMeta: true, size: in.Size, version: in.Remote, marker: in.Kind == ferry.Dir,
	}
}

// ensureName asks the bucket until resolve can answer for name in the directory
// at dir. mu must not be held.
func (t *Tree) ensureName(ctx context.Context, dir ferry.Path, name string) error {
	if err := t.ensureListed(ctx, dir); err != nil {
		return err
	}
	t.mu.Lock()
	l := t.listings.byDir[dir]
	partial := l != nil && l.partial
	t.mu.Unlock()
	if !partial {
		return nil
	}
	// The directory is too large to keep: this name alone is asked for, as a file
	// and, because "name-x" sorts between, as a directory.
	at := time.Now()
	p := dir.Join(name)
	t.mu.Lock()
	seq := t.listings.begin()
	t.mu.Unlock()
	names := map[string]*facts{}
	var err error
	for _, prefix := range []ferry.ObjectKey{p.Key(), p.Marker()} {
		var page ferry.Page
		page, err = t.o.Remote.List(ctx, ferry.ListRequest{Prefix: prefix, Delimiter: prefix == p.Key(), Max: 2, Metadata: true})
		if err != nil {
			break
		}
		if prefix == p.Key() {
			t.addPage(names, dir.Marker(), page, at)
			continue
		}
		for _, o := range page.Objects {
			f := t.impliedDir(at)
			f.unasked = false
			if o.Key == prefix {
				f = t.decode(o, at)
				f.implied = len(page.Objects) > 1
			}
			if old := names[name]; old == nil || old.kind != ferry.Dir || old.unasked {
				names[name] = f
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.listings.end()
	if err != nil {
		return unknownIfTransient(err, p)
	}
	f := names[name]
	if f == nil {
		f = &facts{foundEmpty: true, learned: at}
	}
	if l := t.listings.byDir[dir]; l != nil && l.partial {
		if len(l.names) > t.maxDirNames {
			t.listings.names -= len(l.names)
			clear(l.names)
		}
		if l.names[name] == nil {
			t.listings.names++
		}
		l.names[name] = f
		t.listings.catchUp(seq, p.Key())
	}
	return nil
}

// ensureMeta asks for what a listing left open of a name: the metadata of an
// object, or the marker of a directory. It returns the facts with the answer. A
// directory that cannot be asked about has the attributes of one without marker
// as long as the server is away.
func (t *Tree) ensureMeta(ctx context.Context, dir ferry.Path, name string, f *facts) (*facts, error) {
	n := *f
	key := dir.Join(name).Marker()
	if f.version != nil {
		key = f.version.Key
	}
	o, err := t.o.Remote.Head(ctx, key)
	switch {
	case err == nil:
		n = *t.decode(o, f.learned)
		n.hasMeta, n.implied = true, f.implied
	case ferry.IsKind(err, ferry.KindNotFound):
		n.hasMeta, n.unasked = f.version != nil, false // gone meanwhile, or never there
	case f.unasked && offline(err):
		return &n, nil
	default:
		return nil, unknownIfTransient(err, dir.Join(name))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.listings.byDir[dir]; l != nil && l.names[name] == f {
		l.names[name] = &n
	}
	return &n, nil
}

// answers reports whether n, which ensureMeta made, tells what f leaves open.
func (n *facts) answers(f *facts) bool {
	switch {
	case n == nil || !f.lacking():
		return false
	case f.version == nil:
		return n.kind == ferry.Dir
	default:
		return n.version != nil && n.version.Same(*f.version)
	}
}

// ask makes sure that the marker of a directory which memory knows has been asked
// for, as long as the server is not away. mu must not be held.
func (t *Tree) ask(ctx context.Context, id ferry.InodeID) error {
	t.mu.Lock()
	n := t.nodes[id]
	if n == nil || n == t.root || n.unlinked || n.parent == nil || n.facts == nil || !n.facts.unasked {
		t.mu.Unlock()
		return nil
	}
	dir, name, f := n.parent.path(), n.name, n.facts
	t.mu.Unlock()
	answer, err := t.ensureMeta(ctx, dir, name, f)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.facts == f {
		n.facts = answer
	}
	return nil
}

// withName runs fn, with mu held in a view, on what name in dir is, asking the
// bucket before if need be.
func (t *Tree) withName(ctx context.Context, dirID ferry.InodeID, name string, fn func(tx ferry.Tx, dir *node, f *found) error) error {
	if err := nameErr(ferry.CheckName(name)); err != nil {
		return err
	}
	if err := t.refresh(ctx, dirID, name); err != nil {
		return err
	}
	var answer *facts
	for {
		var dirPath ferry.Path
		known, open := false, (*facts)(nil)
		err := t.view(func(tx ferry.Tx) error {
			dir, err := t.dir(dirID)
			if err != nil {
				return err
			}
			dirPath = dir.path()
			var f *found
			if f, known = t.resolve(tx, dir, name); !known {
				return nil
			}
			if f != nil && f.row == nil && f.facts.lacking() {
				if !answer.answers(f.facts) {
					open = f.facts
					return nil
				}
				f.facts = answer
			}
			return fn(tx, dir, f)
		})
		switch {
		case err != nil:
			return err
		case open != nil:
			if answer, err = t.ensureMeta(ctx, dirPath, name, open); err != nil {
				return err
			}
			if open.version != nil && (answer.version == nil || !answer.version.Same(*open.version)) {
				return t.withName(ctx, dirID, name, fn) // replaced meanwhile
			}
		case known:
			return nil
		default:
			if err := t.ensureName(ctx, dirPath, name); err != nil {
				return err
			}
		}
	}
}

// refresh renews the listing of a directory that is older than the TTL, unless
// name has a row, which no listing can contradict.
func (t *Tree) refresh(ctx context.Context, dirID ferry.InodeID, name string) error {
	var dirPath ferry.Path
	stale := false
	err := t.view(func(tx ferry.Tx) error {
		dir, err := t.dir(dirID)
		if err != nil {
			return err
		}
		dirPath = dir.path()
		stale = tx.InodeAt(dirPath.Join(name)) == 0 && !t.listings.byDir[dirPath].fresh(t.o.TTL)
		return nil
	})
	if err != nil || !stale {
		return err
	}
	return t.ensureListed(ctx, dirPath)
}

// nameErr makes "not found" of a name that can be no key: nothing can be there.
func nameErr(err error) error {
	if ferry.IsKind(err, ferry.KindInvalid) {
		return &ferry.Error{Op: "tree.lookup", Kind: ferry.KindInvalid, Err: err, Msg: "S3 cannot hold this name"}
	}
	return err
}
