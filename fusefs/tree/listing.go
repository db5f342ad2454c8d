package tree

import (
	"container/list"
	"context"
	"slices"
	"strings"
	"time"

	"ferry"
)

// maxCachedNames bounds the names that all cached listings hold together, and
// maxDirNames those of one directory.
const (
	maxCachedNames = 300_000
	maxDirNames    = 60_000
	pageSize       = 1000
)

// listing is what the bucket was last seen to hold directly below one directory.
// guarded by Tree.mu.
type listing struct {
	dir      ferry.Path
	names    map[string]*facts
	complete bool      // names is all there was
	partial  bool      // the directory is too large: names holds single answers only
	at       time.Time // when the request was sent
	loading  chan struct{}
	lru      *list.Element
}

// listings is the bounded cache of listings, and the record of what changed
// while listings were under way. guarded by Tree.mu.
type listings struct {
	byDir map[ferry.Path]*listing
	order *list.List // of *listing, most recently used first
	names int
	// under counts listings under way; recent is what became of keys meanwhile,
	// which a page that was on its way cannot know. nil facts: nothing is there.
	under  int
	seq    uint64
	recent map[ferry.ObjectKey]change
	lost   uint64 // changes up to this one are not in recent
}

type change struct {
	seq    uint64
	object bool // facts is what the key holds now, nil for nothing
	facts  *facts
	// dir: a directory renamed or removed here lost an object; a page that still
	// shows it was made before.
	dir bool
}

// maxRecent bounds the record of changes. Beyond it the record begins anew, and
// listings that were under way before are not kept.
const maxRecent = 100_000

func newListings() *listings {
	return &listings{byDir: map[ferry.Path]*listing{}, order: list.New(), recent: map[ferry.ObjectKey]change{}}
}

// begin registers a listing under way and returns its place in time.
func (ls *listings) begin() uint64 {
	ls.under++
	return ls.seq
}

func (ls *listings) end() {
	if ls.under--; ls.under == 0 {
		clear(ls.recent)
	}
}

// whole reports whether the record holds all changes after seq.
func (ls *listings) whole(seq uint64) bool { return seq >= ls.lost }

// since yields what became of keys below prefix after seq.
func (ls *listings) since(seq uint64, prefix ferry.ObjectKey, f func(ferry.ObjectKey, change)) {
	for k, c := range ls.recent {
		if c.seq > seq && strings.HasPrefix(string(k), string(prefix)) {
			f(k, c)
		}
	}
}

// catchUp makes the cached listings below prefix know what became of keys after seq.
func (ls *listings) catchUp(seq uint64, prefix ferry.ObjectKey) {
	ls.since(seq, prefix, func(k ferry.ObjectKey, c change) {
		if c.object {
			ls.apply(k, c.facts)
		}
		if c.dir {
			ls.hideDir(k.Path())
		}
	})
}

// learn takes over that key now holds f, nil for nothing.
func (ls *listings) learn(key ferry.ObjectKey, f *facts) {
	ls.record(key, change{object: true, facts: f})
	ls.apply(key, f)
}

// loseDir takes a directory that was hidden out of the cached listing, and out of
// those under way, although they may still show it.
func (ls *listings) loseDir(p ferry.Path) {
	c := ls.recent[p.Marker()]
	c.dir = true
	ls.record(p.Marker(), c)
	ls.hideDir(p)
}

func (ls *listings) hideDir(p ferry.Path) {
	dir, name := p.Split()
	if l := ls.byDir[dir]; l != nil && l.names[name] != nil && l.names[name].kind == ferry.Dir {
		delete(l.names, name)
		ls.names--
	}
}

func (ls *listings) record(key ferry.ObjectKey, c change) {
	ls.seq++
	if ls.under == 0 {
		return
	}
	if len(ls.recent) >= maxRecent {
		clear(ls.recent)
		ls.lost = ls.seq
	}
	c.seq = ls.seq
	ls.recent[key] = c
}

// apply changes the cached listing that key is in.
func (ls *listings) apply(key ferry.ObjectKey, f *facts) {
	if key.Reserved() {
		return
	}
	dir, name := key.Path().Split()
	if l := ls.byDir[dir]; l != nil {
		ls.names -= len(l.names)
		l.set(name, f, key.IsMarker())
		ls.names += len(l.names)
	}
	// A new object makes the directories above it visible.
	if f == nil {
		return
	}
	for dir != "" {
		dir, name = dir.Split()
		if l := ls.byDir[dir]; l != nil && l.complete && l.names[name] == nil {
			l.names[name] = &facts{kind: ferry.Dir, implied: true, unasked: true, learned: f.learned, attr: ferry.Attr{Mode: 0o755, Mtime: f.attr.Mtime, Ctime: f.attr.Ctime}}
			ls.names++
		}
	}
}

// set changes one name of l; marker says that the object is a directory marker.
func (l *listing) set(name string, f *facts, marker bool) {
	old := l.names[name]
	switch {
	case f != nil && old != nil && old.kind == ferry.Dir && marker:
		f.implied = old.implied
		l.names[name] = f
	case f != nil && old != nil && old.kind == ferry.Dir && !marker:
		// A file beside a directory of the same name: the directory is shown.
	case f != nil:
		l.names[name] = f
	case old == nil:
	case old.kind == ferry.Dir && !marker:
	case old.kind == ferry.Dir && old.implied:
		c := *old
		c.version, c.marker = nil, false
		l.names[name] = &c
	case (old.kind == ferry.Dir) == marker:
		delete(l.names, name)
	}
}

// forget drops what is cached of dir itself (not of what is below it).
func (ls *listings) forget(dir ferry.Path) {
	if l := ls.byDir[dir]; l != nil && l.loading == nil {
		ls.names -= len(l.names)
		ls.order.Remove(l.lru)
		delete(ls.byDir, dir)
	}
}

// forgetBelow drops what is cached of dir and of all below it.
func (ls *listings) forgetBelow(dir ferry.Path) {
	for d := range ls.byDir {
		if d == dir || d.Below(dir) {
			ls.forget(d)
		}
	}
}

// use returns the listing of dir, made empty if there is none, as the most
// recently used one, and evicts others beyond the bound.
func (ls *listings) use(dir ferry.Path) *listing {
	l := ls.byDir[dir]
	if l == nil {
		l = &listing{dir: dir, names: map[string]*facts{}}
		l.lru = ls.order.PushFront(l)
		ls.byDir[dir] = l
	}
	ls.order.MoveToFront(l.lru)
	for e := ls.order.Back(); ls.names > maxCachedNames && e != nil; {
		old, prev := e.Value.(*listing), e.Prev() //nolint:forcetypeassert // only listings are in it
		if old != l {
			ls.forget(old.dir)
		}
		e = prev
	}
	return l
}

// knownEmpty records that nothing is in the bucket below dir: it was made here.
func (ls *listings) knownEmpty(dir ferry.Path) {
	ls.forget(dir)
	l := ls.use(dir)
	if l.loading == nil {
		l.complete, l.partial, l.at = true, false, time.Now()
	}
}

// fresh reports whether l may answer without asking the bucket.
func (l *listing) fresh(ttl time.Duration) bool {
	return l != nil && (l.complete || l.partial) && time.Since(l.at) < ttl
}

// ensureListed makes sure that the listing of dir is cached and younger than the
// TTL. When the bucket cannot be asked an older complete one will do: what was
// listed stays usable offline. mu must not be held.
func (t *Tree) ensureListed(ctx context.Context, dir ferry.Path) error {
	for {
		t.mu.Lock()
		l := t.listings.use(dir)
		if l.fresh(t.o.TTL) {
			t.mu.Unlock()
			return nil
		}
		if wait := l.loading; wait != nil {
			t.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		l.loading = make(chan struct{})
		seq := t.listings.begin()
		t.mu.Unlock()
		err := t.load(ctx, l, seq)
		t.mu.Lock()
		t.listings.end()
		close(l.loading)
		l.loading = nil
		usable := l.complete || l.partial
		if !usable && len(l.names) == 0 {
			t.listings.forget(dir)
		}
		t.mu.Unlock()
		if err != nil && usable && offline(err) {
			return nil
		}
		return unknownIfTransient(err, dir)
	}
}

func offline(err error) bool {
	return ferry.IsKind(err, ferry.KindTransient) || ferry.IsKind(err, ferry.KindUnknown)
}

// load fetches the listing of l.dir. Only the caller changes l.loading.
func (t *Tree) load(ctx context.Context, l *listing, seq uint64) error {
	at := time.Now()
	names := map[string]*facts{}
	prefix := l.dir.Marker()
	partial := false
	for after := ferry.ObjectKey(""); ; {
		page, err := t.o.Remote.List(ctx, ferry.ListRequest{Prefix: prefix, After: after, Delimiter: true, Max: pageSize, Metadata: true})
		if err != nil {
			return err
		}
		t.addPage(names, prefix, page, at)
		if !page.More {
			break
		}
		if len(names) > t.maxDirNames {
			partial, names = true, map[string]*facts{}
			break
		}
		after = page.Last
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	ls := t.listings
	if !ls.whole(seq) {
		at = time.Time{} // too much changed meanwhile: it counts as stale at once
	}
	ls.names += len(names) - len(l.names)
	l.names, l.at, l.complete, l.partial = names, at, !partial, partial
	ls.catchUp(seq, prefix)
	return nil
}

// addPage adds what one page of a delimited listing shows below prefix.
func (t *Tree) addPage(names map[string]*facts, prefix ferry.ObjectKey, page ferry.Page, at time.Time) {
	for _, p := range page.Prefixes {
		name := strings.TrimSuffix(string(p[len(prefix):]), "/")
		if p.Reserved() || p.Check() != nil {
			continue
		}
		f := t.impliedDir(at)
		if old := names[name]; old != nil && old.kind == ferry.Dir {
			f = old
		}
		f.implied = true
		names[name] = f
	}
	for _, o := range page.Objects {
		if o.Key == prefix || o.Key.Reserved() || o.Key.Check() != nil {
			continue
		}
		name := strings.TrimSuffix(string(o.Key[len(prefix):]), "/")
		if strings.Contains(name, "/") {
			continue
		}
		f := t.decode(o, at)
		if old := names[name]; old != nil && old.kind == ferry.Dir && f.kind != ferry.Dir {
			continue // a file beside a directory of the same name: the directory is shown
		} else if old != nil && old.kind == ferry.Dir {
			f.implied = true
		}
		names[name] = f
	}
}

// sortedNames returns the names of l in order.
func (l *listing) sortedNames() []string {
	out := make([]string, 0, len(l.names))
	for n := range l.names {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// decode makes facts of an object.
func (t *Tree) decode(o ferry.Object, at time.Time) *facts {
	d := ferry.DecodeMetadata(o, t.defaults())
	v := o.Version
	f := &facts{
		kind: d.Kind, attr: d.Attr, xattrs: d.Xattrs, target: d.Target, foreign: d.Foreign,
		hasMeta: o.Metadata != nil, size: o.Size, version: &v, learned: at,
	}
	if v.Generation == "" {
		v.Generation = d.Generation
	}
	if o.Key.IsMarker() {
		f.kind, f.marker, f.size = ferry.Dir, true, 0
	} else if f.kind == ferry.Dir {
		f.kind = ferry.File // a key without its slash is a file, whatever it says
	}
	return f
}

// impliedDir makes facts of a directory of which no more is known than that
// something lies below it, or its marker.
func (t *Tree) impliedDir(at time.Time) *facts {
	return &facts{
		kind: ferry.Dir, implied: true, unasked: true, learned: at,
		attr: ferry.Attr{Mode: t.o.DirMode, UID: t.o.UID, GID: t.o.GID, Mtime: at.UnixNano(), Ctime: at.UnixNano()},
	}
}

func (t *Tree) defaults() ferry.Defaults {
	return ferry.Defaults{UID: t.o.UID, GID: t.o.GID, FileMode: t.o.FileMode, DirMode: t.o.DirMode}
}
