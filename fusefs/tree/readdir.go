package tree

import (
	"context"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ferry"
)

// FirstCookie is the cookie of the first name; 1 and 2 are "." and "..".
const FirstCookie = 3

// overlayChunk is how many journaled names are read in one view.
const overlayChunk = 256

// DirHandle reads one directory: first the names that the journal holds, then
// those that only the bucket has, page by page, so that memory stays flat however
// large the directory is. A handle is used by one reader at a time.
type DirHandle struct {
	t  *Tree
	id ferry.InodeID

	// window holds the names with cookies [first, first+len(window)).
	window []named
	first  uint64
	done   bool
	next   uint64 // the cookie after the last name given

	// What is to be read next.
	overlayDone bool
	overlayFrom ferry.Path          // where the scan of rows goes on
	emitted     map[string]struct{} // names that the rows gave
	cached      []string            // names of a complete cached listing, not yet read
	useCache    bool                //
	paging      bool                // reading pages from the bucket
	after       ferry.ObjectKey     // the last name of the last page
	dir         ferry.Path          // at open or rewind
	seen        map[string]*facts   // all pages so far, to become the cached listing
	seq         uint64              // of that listing
	at          time.Time           // of that listing
	prefixes    map[string]struct{} // directories already given by a page
}

type named struct {
	name  string
	facts *facts
	row   bool // the journal's rows gave it
}

// OpenDir opens a directory for reading.
func (t *Tree) OpenDir(_ context.Context, id ferry.InodeID) (*DirHandle, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[id]
	if n == nil || n.kind != ferry.Dir {
		return nil, &ferry.Error{Op: "tree.opendir", Kind: ferry.KindNotDir}
	}
	d := &DirHandle{t: t, id: id}
	return d, nil
}

// Close ends the reading.
func (d *DirHandle) Close() { d.stopPaging() }

// Read calls emit for each name from cookie on (0 and FirstCookie begin anew) until
// emit returns false or the directory ends. next is the cookie to go on after that
// name. A name that was there all the while is given exactly once.
func (d *DirHandle) Read(ctx context.Context, cookie uint64, emit func(e DirEntry, next uint64) bool) error {
	cookie = max(cookie, FirstCookie)
	if cookie == d.next && cookie < d.first {
		cookie = d.first // the names between have gone meanwhile
	}
	if cookie < d.first || d.first == 0 || cookie == FirstCookie {
		d.rewind()
	}
	for {
		for cookie >= d.first+uint64(len(d.window)) {
			d.first += uint64(len(d.window))
			d.window = d.window[:0]
			if d.done {
				d.stopPaging()
				return nil
			}
			if err := d.fill(ctx); err != nil {
				return err
			}
		}
		for i := cookie - d.first; i < uint64(len(d.window)); i++ {
			e, ok, err := d.entry(ctx, &d.window[i])
			if err != nil {
				return err
			}
			more := !ok || emit(e, cookie+1)
			d.t.Forget(e.ID, 0) // a name that nobody refers to needs no memory
			if !more {
				return nil
			}
			cookie++
			if ok {
				d.next = cookie
			}
		}
	}
}

func (d *DirHandle) rewind() {
	d.stopPaging()
	*d = DirHandle{t: d.t, id: d.id, first: FirstCookie, emitted: map[string]struct{}{}}
}

// fill reads the next names into the empty window.
func (d *DirHandle) fill(ctx context.Context) error {
	if !d.overlayDone {
		return d.fillOverlay()
	}
	if !d.useCache && !d.paging {
		d.t.mu.Lock()
		l := d.t.listings.byDir[d.dir]
		if l != nil && l.complete && l.fresh(d.t.o.TTL) {
			d.useCache, d.cached = true, l.sortedNames()
		}
		d.t.mu.Unlock()
	}
	if d.useCache {
		return d.fillCached()
	}
	return d.fillPage(ctx)
}

// fillOverlay reads names that the journal has rows for.
func (d *DirHandle) fillOverlay() error {
	return d.t.view(func(tx ferry.Tx) error {
		n := d.t.nodes[d.id]
		if n == nil || n.unlinked {
			d.overlayDone, d.done = true, true
			return nil
		}
		if d.overlayFrom == "" {
			d.dir = n.path()
			d.overlayFrom = d.dir
			if d.dir != "" {
				d.overlayFrom += "/"
			}
		}
		for len(d.window) < overlayChunk {
			p, id, ok := firstPath(tx, d.overlayFrom)
			if !ok || !p.Below(d.dir) {
				d.overlayDone = true
				return nil
			}
			rest := string(p)
			if d.dir != "" {
				rest = rest[len(d.dir)+1:]
			}
			name, _, deep := strings.Cut(rest, "/")
			child := d.dir.Join(name)
			f := d.t.impliedDir(time.Now())
			if !deep {
				f = rowFacts(tx.Inode(id))
				d.overlayFrom = p + "\x00"
			} else {
				d.overlayFrom = child + "0" // the first path after child's own subtree
			}
			if _, twice := d.emitted[name]; !twice && name != ".ferry" {
				d.emitted[name] = struct{}{}
				d.window = append(d.window, named{name, f, true})
			}
		}
		return nil
	})
}

// firstPath returns the first linked inode at or after from.
func firstPath(tx ferry.Tx, from ferry.Path) (p ferry.Path, id ferry.InodeID, ok bool) {
	for p, id := range tx.Paths(from) {
		return p, id, true
	}
	return "", 0, false
}

// fillCached takes names from a cached listing.
func (d *DirHandle) fillCached() error {
	n := min(len(d.cached), pageSize)
	d.t.mu.Lock()
	defer d.t.mu.Unlock()
	l := d.t.listings.byDir[d.dir]
	for _, name := range d.cached[:n] {
		if l == nil || l.names[name] == nil {
			continue
		}
		if _, twice := d.emitted[name]; !twice {
			d.window = append(d.window, named{name, l.names[name], false})
		}
	}
	d.cached = d.cached[n:]
	d.done = len(d.cached) == 0
	return nil
}

// fillPage asks the bucket for one page. When the last page has come and the
// directory is not too large, all of them become the cached listing.
func (d *DirHandle) fillPage(ctx context.Context) error {
	t := d.t
	if !d.paging {
		d.paging, d.at = true, time.Now()
		d.seen, d.prefixes = map[string]*facts{}, map[string]struct{}{}
		t.mu.Lock()
		d.seq = t.listings.begin()
		t.mu.Unlock()
	}
	prefix := d.dir.Marker()
	page, err := t.o.Remote.List(ctx, ferry.ListRequest{Prefix: prefix, After: d.after, Delimiter: true, Max: pageSize, Metadata: true})
	if err != nil {
		t.mu.Lock()
		l := t.listings.byDir[d.dir]
		if l != nil && l.complete && offline(err) && d.after == "" {
			d.useCache, d.cached = true, l.sortedNames() // what was listed stays usable
			t.mu.Unlock()
			d.stopPaging()
			return nil
		}
		t.mu.Unlock()
		return unknownIfTransient(err, d.dir)
	}
	names := map[string]*facts{}
	t.addPage(names, prefix, page, d.at)
	for name, f := range names {
		if d.seen != nil {
			if old := d.seen[name]; old != nil && old.kind == ferry.Dir && f.kind != ferry.Dir {
				continue
			}
			d.seen[name] = f
		}
		_, twice := d.emitted[name]
		if f.kind == ferry.Dir && !twice {
			_, twice = d.prefixes[name]
			d.prefixes[name] = struct{}{}
		}
		if !twice {
			d.window = append(d.window, named{name, f, false})
		}
	}
	slices.SortFunc(d.window, func(a, b named) int { return strings.Compare(a.name, b.name) })
	if len(d.seen) > t.maxDirNames {
		d.seen = nil
	}
	d.after = page.Last
	if !page.More {
		d.done = true
		d.keepListing()
	}
	return nil
}

// keepListing caches what the pages showed.
func (d *DirHandle) keepListing() {
	t := d.t
	t.mu.Lock()
	defer t.mu.Unlock()
	ls := t.listings
	if d.seen == nil || !ls.whole(d.seq) {
		return
	}
	l := ls.use(d.dir)
	if l.loading != nil || l.at.After(d.at) {
		return // a younger one is on its way, or there
	}
	ls.names += len(d.seen) - len(l.names)
	l.names, l.at, l.complete, l.partial = d.seen, d.at, true, false
	ls.catchUp(d.seq, d.dir.Marker())
}

func (d *DirHandle) stopPaging() {
	if d.paging {
		d.paging = false
		d.t.mu.Lock()
		d.t.listings.end()
		d.t.mu.Unlock()
	}
}

// entry describes one name as it is now; ok is false if it is gone.
func (d *DirHandle) entry(ctx context.Context, nm *named) (e DirEntry, ok bool, err error) {
	if nm.facts.lacking() {
		if err := d.fillMeta(ctx); err != nil {
			return e, false, err
		}
	}
	known := true
	tell := func(dir *node, f *found) {
		e, ok = DirEntry{Name: nm.name, Entry: d.t.entry(d.t.nodeOf(dir, nm.name, f), f.row)}, true
	}
	err = d.t.view(func(tx ferry.Tx) error {
		dir := d.t.nodes[d.id]
		if dir == nil || dir.unlinked {
			return nil
		}
		var f *found
		f, known = d.t.resolve(tx, dir, nm.name)
		if !known && d.paging && !nm.row {
			known = true
			f = d.onPage(tx, dir.path().Join(nm.name), nm.facts)
		} else if f != nil && f.row == nil && f.facts.lacking() {
			known = false
		}
		if known && f != nil {
			tell(dir, f)
		}
		return nil
	})
	if err != nil || known {
		return e, ok, err
	}
	// What gave it, a row or a cached listing, has gone since.
	err = d.t.withName(ctx, d.id, nm.name, func(_ ferry.Tx, dir *node, f *found) error {
		if f != nil {
			tell(dir, f)
		}
		return nil
	})
	return e, ok, err
}

// onPage says what became of a name that a page gave, of a directory that is not
// cached whole.
func (d *DirHandle) onPage(tx ferry.Tx, p ferry.Path, f *facts) *found {
	key := p.Key()
	if f.kind == ferry.Dir {
		key = p.Marker()
	}
	if c, ok := d.t.listings.recent[key]; ok && c.seq > d.seq {
		switch {
		case c.object && c.facts != nil && !c.dir:
			f = c.facts
		case c.dir || f.kind != ferry.Dir || !f.implied:
			return nil
		}
	}
	if f.kind != ferry.Dir && hidden(tx, key) {
		return nil
	}
	return &found{facts: f}
}

// fillMeta asks for what a listing left open of the names of the window, several
// at a time.
func (d *DirHandle) fillMeta(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(headsAtOnce)
	answers := make([]*facts, len(d.window))
	for i, nm := range d.window {
		if !nm.facts.lacking() {
			continue
		}
		g.Go(func() (err error) {
			answers[i], err = d.t.ensureMeta(ctx, d.dir, nm.name, nm.facts)
			return err
		})
	}
	err := g.Wait()
	for i, answer := range answers {
		if nm := &d.window[i]; answer != nil {
			if d.seen[nm.name] == nm.facts {
				d.seen[nm.name] = answer
			}
			nm.facts = answer
		}
	}
	return err
}
