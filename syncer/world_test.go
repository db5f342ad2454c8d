package syncer

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"ferry"
)

// world is a user, a journal, a bucket and a syncer that can be killed. The user
// changes rows as the tree and the open files do, and remembers what the bucket
// must hold in the end.
type world struct {
	t       tester
	j       *memJournal
	r       *memRemote
	staging *memStaging
	gens    *ferry.Generations
	s       *Syncer
	stop    context.CancelFunc
	ended   chan error
	change  func(*Options)
	died    chan struct{} // the process is to be killed: until then no request is answered

	files map[ferry.Path]*modelFile
	stale map[ferry.ObjectKey]ferry.Known // what the user saw, if it is not what is there
	kept  map[ferry.ObjectKey][]byte      // what else the bucket must hold
}

type modelFile struct {
	kind   ferry.NodeKind
	body   []byte
	mode   uint32
	target string
}

// tester is what testing.T and rapid.T share.
type tester interface {
	Helper()
	Cleanup(func())
	Error(...any)
	Errorf(string, ...any)
	Fatal(...any)
	Fatalf(string, ...any)
}

func newWorld(t tester) *world {
	w := &world{
		t: t, j: newMemJournal(), r: newMemRemote(), staging: newMemStaging(), gens: ferry.NewGenerations(),
		died:  make(chan struct{}, 1),
		files: map[ferry.Path]*modelFile{}, kept: map[ferry.ObjectKey][]byte{},
		stale: map[ferry.ObjectKey]ferry.Known{},
	}
	t.Cleanup(func() {
		if w.stop != nil {
			w.kill()
		}
	})
	return w
}

// keyedMD5 is the digest of the fake remote.
type keyedMD5 struct{ hash.Hash }

func newDigest() hash.Hash {
	h := keyedMD5{md5.New()}
	_, _ = io.WriteString(h, "key")
	return h
}

// start starts a syncer that knows nothing but the rows.
func (w *world) start() {
	w.gens = ferry.NewGenerations()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("FERRY_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	o := Options{
		Journal: w.j, Remote: w.r, Staging: w.staging, Generations: w.gens, Digest: newDigest, Log: log,
		Linger: -1, BackoffMin: time.Millisecond, BackoffMax: 4 * time.Millisecond, ProbeEvery: time.Millisecond, Gather: time.Millisecond,
		Host: "HOST",
	}
	if w.change != nil {
		w.change(&o)
	}
	w.s = New(o)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.s.Run(ctx) }()
	w.stop, w.ended = stop, ended
}

// kill ends the syncer; what it had not journaled is forgotten.
func (w *world) kill() {
	w.stop()
	if err := <-w.ended; err != nil {
		w.t.Errorf("Run: %v", err)
	}
	w.stop = nil
}

func (w *world) update(fn func(tx ferry.Tx) error) {
	w.t.Helper()
	if err := w.j.Update(fn); err != nil {
		w.t.Fatalf("rows: %v", err)
	}
	if w.s != nil {
		w.s.Wake()
		w.s.moved.signal()
	}
}

func now() int64 { return time.Now().UnixNano() }

// seen is what a listing tells of key.
func (w *world) seen(key ferry.ObjectKey) ferry.Known {
	if known, ok := w.stale[key]; ok {
		return known
	}
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	if o, ok := w.r.objects[key]; ok {
		return ferry.KnownVersion(o.Version)
	}
	return ferry.KnownAbsent
}

// ensure returns the inode at p, made from the bucket if the journal has none.
func (w *world) ensure(tx ferry.Tx, p ferry.Path) *ferry.Inode {
	if in := tx.Inode(tx.InodeAt(p)); in != nil {
		return in
	}
	f := w.files[p]
	in := &ferry.Inode{ID: tx.NextInodeID(), Kind: f.kind, Path: p, Target: f.target, Attr: ferry.Attr{Mode: f.mode}, Size: int64(len(f.body))}
	known := w.seen(in.Key())
	if known.Presence != ferry.Present {
		tx.Fail(fmt.Errorf("%q is settled and not in the bucket", p))
		return in
	}
	in.Remote = &known.Version
	tx.PutInode(in)
	return in
}

func (w *world) want(tx ferry.Tx, in *ferry.Inode) {
	ferry.Want(tx, in.Key(), w.seen(in.Key()), ferry.Wanted{Kind: ferry.WantInode, Inode: in.ID}, now())
}

// follow is want for an inode that had requests under way at another name.
func (w *world) follow(tx ferry.Tx, in *ferry.Inode, pending []ferry.Request) {
	w.want(tx, in)
	ferry.Follow(tx, tx.Key(in.Key()), pending)
}

// newContent gives in a sealed generation without a base.
func (w *world) newContent(tx ferry.Tx, in *ferry.Inode, body []byte) ferry.Generation {
	if in.Content != "" {
		ferry.Supersede(tx, in.Content)
	}
	g := w.gens.Next()
	w.staging.put(g, body)
	u := &ferry.Upload{Generation: g, Inode: in.ID, State: ferry.StateDirty, Path: in.Path, Size: int64(len(body)), Truncating: -1, Since: now()}
	tx.PutUpload(u)
	u.State = ferry.StateSealed
	tx.PutUpload(u)
	in.Content, in.Size = g, u.Size
	return g
}

func (w *world) write(p ferry.Path, body []byte) ferry.Generation {
	w.t.Helper()
	var g ferry.Generation
	w.update(func(tx ferry.Tx) error {
		var in *ferry.Inode
		if w.files[p] != nil {
			in = w.ensure(tx, p)
		} else {
			in = &ferry.Inode{ID: tx.NextInodeID(), Kind: ferry.File, Path: p, Attr: ferry.Attr{Mode: 0o644}}
		}
		g = w.newContent(tx, in, body)
		tx.PutInode(in)
		w.want(tx, in)
		return nil
	})
	mode := uint32(0o644)
	if f := w.files[p]; f != nil {
		mode = f.mode
	}
	w.files[p] = &modelFile{kind: ferry.File, body: body, mode: mode}
	w.sealed(g)
	return g
}

func (w *world) sealed(g ferry.Generation) {
	if w.s != nil {
		w.s.Sealed(g)
	}
}

// edit writes b at off as a program does that opens the file again: over the
// stored object, into the sealed generation, or into a copy of it.
func (w *world) edit(p ferry.Path, off int64, b []byte) {
	w.t.Helper()
	f := w.files[p]
	body := bytes.Clone(f.body)
	if n := off + int64(len(b)); n > int64(len(body)) {
		body = append(body, make([]byte, n-int64(len(body)))...)
	}
	copy(body[off:], b)
	var g ferry.Generation
	size := int64(len(body))
	e := ferry.Extent{Offset: off, Length: int64(len(b))}
	w.update(func(tx ferry.Tx) error {
		in := w.ensure(tx, p)
		u := tx.Upload(in.Content)
		switch {
		case u == nil:
			g = w.gens.Next()
			base := *in.Remote
			u = &ferry.Upload{Generation: g, Inode: in.ID, State: ferry.StateDirty, Path: p, Base: &base, BaseLimit: base.Size, Truncating: -1, Since: now()}
			tx.PutUpload(u)
			in.Content = g
		case u.State == ferry.StateCompleting:
			g = w.gens.Next()
			c := *u
			c.Generation, c.State, c.Key, c.UploadID = g, ferry.StateDirty, "", ""
			tx.SetExtents(g, tx.Extents(u.Generation))
			u = &c
			tx.PutUpload(u)
			in.Content = g
		default:
			g = u.Generation
			next, err := u.State.Next(ferry.EventUnsealed)
			if err != nil {
				return err
			}
			u.State = next
			tx.PutUpload(u)
		}
		if u.Base != nil {
			tx.AddExtent(g, e)
		}
		tx.PutInode(in)
		w.want(tx, in)
		return nil
	})
	w.staging.put(g, body) // bytes of the base are there too; nobody may rely on it
	w.scrub(g)
	if w.s != nil {
		w.s.Rewritten(g, e)
	}
	w.update(func(tx ferry.Tx) error {
		u := tx.Upload(g)
		if u == nil || !u.State.Writable() {
			return fmt.Errorf("the generation being written is %+v", u)
		}
		u.State, _ = u.State.Next(ferry.EventSealed)
		u.Size = size
		tx.PutUpload(u)
		in := tx.Inode(u.Inode)
		in.Size = size
		tx.PutInode(in)
		return nil
	})
	w.files[p] = &modelFile{kind: ferry.File, body: body, mode: f.mode}
	w.sealed(g)
}

// scrub makes staging hold nothing but what is ours.
func (w *world) scrub(g ferry.Generation) {
	_ = w.j.View(func(tx ferry.Tx) error {
		u := tx.Upload(g)
		if u == nil || u.Base == nil {
			return nil
		}
		w.staging.mu.Lock()
		defer w.staging.mu.Unlock()
		b := w.staging.files[g]
		for _, r := range tx.Extents(g).Runs(ferry.Extent{Length: int64(len(b))}) {
			if !r.In {
				copy(b[r.Offset:r.End()], bytes.Repeat([]byte{0xEE}, int(r.Length)))
			}
		}
		return nil
	})
}

// drop removes the inode at p from the rows, as unlink of a closed file does.
func (w *world) drop(tx ferry.Tx, p ferry.Path) *ferry.Inode {
	in := w.ensure(tx, p)
	if in.Content != "" {
		ferry.Supersede(tx, in.Content)
	}
	tx.DeleteInode(in.ID)
	return in
}

func (w *world) unlink(p ferry.Path) {
	w.t.Helper()
	w.update(func(tx ferry.Tx) error {
		in := w.drop(tx, p)
		ferry.Unwant(tx, in.Key(), w.seen(in.Key()), now())
		return nil
	})
	delete(w.files, p)
}

func (w *world) rename(from, to ferry.Path) {
	w.t.Helper()
	w.update(func(tx ferry.Tx) error {
		in := w.ensure(tx, from)
		if w.files[to] != nil {
			w.drop(tx, to)
		}
		old, pending := in.Key(), ferry.Requests(tx, in)
		in.Path = to
		tx.PutInode(in)
		ferry.Unwant(tx, old, w.seen(old), now())
		w.follow(tx, in, pending)
		return nil
	})
	w.files[to] = w.files[from]
	delete(w.files, from)
}

func (w *world) exchange(a, b ferry.Path) {
	w.t.Helper()
	w.update(func(tx ferry.Tx) error {
		x, y := w.ensure(tx, a), w.ensure(tx, b)
		px, py := ferry.Requests(tx, x), ferry.Requests(tx, y)
		tx.DeleteInode(y.ID)
		x.Path, y.Path = b, a
		tx.PutInode(x)
		tx.PutInode(y)
		w.follow(tx, x, px)
		w.follow(tx, y, py)
		return nil
	})
	w.files[a], w.files[b] = w.files[b], w.files[a]
}

func (w *world) chmod(p ferry.Path, mode uint32) {
	w.t.Helper()
	w.update(func(tx ferry.Tx) error {
		in := w.ensure(tx, p)
		in.Attr.Mode = mode
		in.AttrSeq++
		tx.PutInode(in)
		w.want(tx, in)
		return nil
	})
	f := *w.files[p]
	f.mode = mode
	w.files[p] = &f
}

func (w *world) make(p ferry.Path, kind ferry.NodeKind, target string) {
	w.t.Helper()
	w.update(func(tx ferry.Tx) error {
		in := &ferry.Inode{ID: tx.NextInodeID(), Kind: kind, Path: p, Attr: ferry.Attr{Mode: 0o755}, Target: target}
		tx.PutInode(in)
		w.want(tx, in)
		return nil
	})
	w.files[p] = &modelFile{kind: kind, mode: 0o755, target: target, body: []byte(target)}
}

// busy says what is left to do.
func (w *world) busy() (what string) {
	_ = w.j.View(func(tx ferry.Tx) error {
		var b strings.Builder
		for k := range tx.Keys("") {
			step := ferry.NextStep(tx, k)
			fmt.Fprintf(&b, "key %q: %+v intent %+v, next %s %q\n", k.Key, *k, k.Intent, step.Kind, step.Waits)
		}
		for u := range tx.Uploads() {
			fmt.Fprintf(&b, "upload %+v base %v\n", *u, u.Base)
		}
		for in := range tx.Inodes() {
			fmt.Fprintf(&b, "inode %+v remote %+v\n", *in, in.Remote)
		}
		what = b.String()
		return nil
	})
	return what
}

// settle waits until nothing is left to do, and compares the bucket.
func (w *world) settle() {
	w.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	for w.busy() != "" {
		moved := w.s.moved.next()
		select {
		case <-w.died:
			w.kill()
			w.r.mu.Lock()
			w.r.dead = false
			w.r.mu.Unlock()
			w.start()
		case err := <-w.ended:
			w.t.Fatalf("the syncer ended: %v", err)
		case <-moved:
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			w.t.Fatalf("it does not come to rest; left:\n%s\nrequests:\n%s", w.busy(), strings.Join(w.r.log[max(0, len(w.r.log)-60):], "\n"))
		}
	}
	if err := w.compare(); err != nil {
		w.t.Fatalf("%v\nrequests:\n%s", err, strings.Join(w.r.log, "\n"))
	}
}

// compare reports how the bucket differs from what it must hold.
func (w *world) compare() error {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	var errs []error
	want := map[ferry.ObjectKey]bool{}
	for p, f := range w.files {
		in := ferry.Inode{Kind: f.kind, Path: p}
		key := in.Key()
		want[key] = true
		o, ok := w.r.objects[key]
		if !ok {
			errs = append(errs, fmt.Errorf("%q is missing", key))
			continue
		}
		if !bytes.Equal(o.body, f.body) {
			errs = append(errs, fmt.Errorf("%q has %d bytes that differ from the %d expected", key, len(o.body), len(f.body)))
		}
		if mode := ferry.DecodeMetadata(o.Object, ferry.Defaults{}).Attr.Mode; mode != f.mode {
			errs = append(errs, fmt.Errorf("%q has mode %o, want %o", key, mode, f.mode))
		}
		if !o.Generation.Valid() {
			errs = append(errs, fmt.Errorf("%q carries generation %q", key, o.Generation))
		}
	}
	for key, body := range w.kept {
		want[key] = true
		if o, ok := w.r.objects[key]; !ok || !bytes.Equal(o.body, body) {
			errs = append(errs, fmt.Errorf("%q is not kept as it was", key))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(w.r.objects)) {
		if !want[key] {
			errs = append(errs, fmt.Errorf("%q should not be there", key))
		}
	}
	return errors.Join(errs...)
}

// foreign puts an object as another client does.
func (w *world) foreign(key ferry.ObjectKey, body string) {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	w.r.store(key, []byte(body), etagOf([]byte(body)), ferry.PutOptions{Headers: map[string]string{"Content-Type": "text/plain"}})
}

// overtake is foreign behind the user's back: what the user saw of key stays.
func (w *world) overtake(key ferry.ObjectKey, body string) {
	w.stale[key] = w.seen(key)
	w.foreign(key, body)
}

// remove deletes an object as another client does.
func (w *world) remove(key ferry.ObjectKey) {
	w.stale[key] = w.seen(key)
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	delete(w.r.objects, key)
}

// body returns what the bucket holds at key, "" and false if nothing.
func (w *world) body(key ferry.ObjectKey) (string, bool) {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	o, ok := w.r.objects[key]
	return string(o.body), ok
}

// pattern returns n bytes that differ from place to place and from seed to seed.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += 4096 {
		b[i] = seed ^ byte(i>>12) ^ byte(i>>20)
	}
	return b
}
