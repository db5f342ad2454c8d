package tree

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ferry"
)

// op is one random operation: what it does follows from kind and seed alone and
// from what is there, so that a list of them can be shortened.
type op struct {
	kind int
	seed uint64
}

// world settings of one run.
type setting struct {
	page     int
	metadata bool
	maxDir   int
}

var settings = []setting{{3, true, 1000}, {1000, true, 1000}, {2, false, 1000}, {3, true, 4}, {2, false, 2}}

type action struct {
	name   string
	weight int
	do     func(w *world) (what string, fault error)
}

var actions = []action{
	{"create", 10, (*world).create},
	{"mkdir", 8, (*world).mkdir},
	{"symlink", 2, (*world).symlink},
	{"unlink", 7, (*world).unlink},
	{"rmdir", 6, (*world).rmdir},
	{"rename", 12, (*world).rename},
	{"setattr", 4, (*world).setattr},
	{"setxattr", 3, (*world).setxattr},
	{"lookup", 6, (*world).lookup},
	{"readdir", 6, (*world).readdir},
	{"write", 8, (*world).write},
	{"close", 6, (*world).closeSome},
	{"forget", 5, (*world).forget},
	{"expire", 3, (*world).expire},
	{"steps", 20, (*world).steps},
	{"quiesce", 2, func(w *world) (string, error) {
		if w.b.offline || len(w.open) > 0 {
			return "", nil
		}
		return "", w.quiesce()
	}},
	{"foreign put", 5, (*world).foreignPut},
	{"foreign delete", 3, (*world).foreignDelete},
	{"offline", 2, (*world).offline},
	{"restart", 2, (*world).restart},
	{"compare", 4, func(w *world) (string, error) { return "", w.compare("") }},
}

func randomOps(seed uint64, n int) []op {
	r := rand.New(rand.NewPCG(seed, 1))
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	ops := make([]op, n)
	for i := range ops {
		x := r.IntN(total)
		for k, a := range actions {
			if x -= a.weight; x < 0 {
				ops[i] = op{k, r.Uint64() % 100_000}
				break
			}
		}
	}
	return ops
}

// run does ops in a new world and compares at each step.
func run(s setting, ops []op) (log []string, fault error) {
	w := newWorld(s.page, s.metadata, s.maxDir)
	defer func() {
		if e := recover(); e != nil {
			if err, ok := e.(error); ok && !strings.Contains(err.Error(), "runtime error") {
				log, fault = w.log, err
				return
			}
			panic(e)
		}
	}()
	for _, o := range ops {
		w.r = rand.New(rand.NewPCG(o.seed, 2))
		what, err := actions[o.kind].do(w)
		w.log = append(w.log, fmt.Sprintf("{%d, %d} %s %s", o.kind, o.seed, actions[o.kind].name, what))
		if err == nil {
			err = w.j.Check()
		}
		if err == nil {
			err = w.counters()
		}
		if err == nil && w.r.IntN(4) == 0 {
			err = w.compare("")
		}
		if err != nil {
			return w.log, err
		}
	}
	w.r = rand.New(rand.NewPCG(1, 3))
	if err := w.final(); err != nil {
		w.log = append(w.log, "final")
		return w.log, err
	}
	return w.log, nil
}

// shorten leaves out every op that the fault does not need.
func shorten(s setting, ops []op) []op {
	fails := func(ops []op) bool {
		_, err := run(s, ops)
		return err != nil
	}
	for size := len(ops) / 2; size > 0; {
		shorter := false
		for i := 0; i+size <= len(ops); {
			if cut := slices.Delete(slices.Clone(ops), i, i+size); fails(cut) {
				ops, shorter = cut, true
			} else {
				i += size
			}
		}
		if !shorter || size > len(ops) {
			size /= 2
		}
	}
	return ops
}

// TestModel drives a tree, its journal and its bucket with random operations
// beside a model of a POSIX file system.
func TestModel(t *testing.T) {
	seeds := uint64(120)
	if testing.Short() {
		seeds = 30
	}
	for i, s := range settings {
		t.Run(fmt.Sprintf("page=%d,metadata=%v,large=%d", s.page, s.metadata, s.maxDir), func(t *testing.T) {
			t.Parallel()
			for seed := range seeds {
				ops := randomOps(seed*uint64(len(settings))+uint64(i), 90)
				if _, err := run(s, ops); err != nil {
					ops = shorten(s, ops)
					log, err := run(s, ops)
					t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(log, "\n"))
				}
			}
		})
	}
}

func (w *world) create() (string, error) {
	dir, name := w.somewhere()
	p := dir.Join(name)
	id, ok, err := w.at(dir)
	if err != nil || !ok {
		return string(p), err
	}
	excl := w.r.IntN(2) == 0
	old := w.names[p]
	e, created, err := w.t.Create(context.Background(), w.origin(), id, name, 0o640, 1, 2, excl)
	want := ferry.Kind(0)
	if old != nil && excl {
		want = ferry.KindExists
	}
	if ok, err := w.expect(err, want); !ok {
		return string(p), err
	}
	if created != (old == nil) {
		return string(p), fmt.Errorf("created is %v", created)
	}
	if created {
		w.names[p] = &thing{kind: ferry.File, mode: 0o640}
		w.seen(p)
	}
	if err := w.got(p, e); err != nil || !created {
		return string(p), err
	}
	w.openIt(p)
	if w.r.IntN(3) > 0 {
		err = w.close(e.ID)
	}
	return string(p), err
}

func (w *world) mkdir() (string, error) {
	dir, name := w.somewhere()
	p := dir.Join(name)
	id, ok, err := w.at(dir)
	if err != nil || !ok {
		return string(p), err
	}
	e, err := w.t.Mkdir(context.Background(), w.origin(), id, name, 0o700, 1, 2)
	want := ferry.Kind(0)
	if w.names[p] != nil {
		want = ferry.KindExists
	}
	if ok, err := w.expect(err, want); !ok {
		return string(p), err
	}
	w.names[p] = &thing{kind: ferry.Dir, mode: 0o700}
	w.seen(p)
	return string(p), w.got(p, e)
}

func (w *world) symlink() (string, error) {
	dir, name := w.somewhere()
	p := dir.Join(name)
	id, ok, err := w.at(dir)
	if err != nil || !ok {
		return string(p), err
	}
	e, err := w.t.Symlink(context.Background(), w.origin(), id, name, "to/"+name, 1, 2)
	want := ferry.Kind(0)
	if w.names[p] != nil {
		want = ferry.KindExists
	}
	if ok, err := w.expect(err, want); !ok {
		return string(p), err
	}
	w.names[p] = &thing{kind: ferry.Symlink, mode: 0o777, data: "to/" + name}
	w.seen(p)
	return string(p), w.got(p, e)
}

func (w *world) unlink() (string, error) {
	dir, name := w.someone()
	p := dir.Join(name)
	id, ok, err := w.at(dir)
	if err != nil || !ok {
		return string(p), err
	}
	th, want := w.names[p], ferry.Kind(0)
	switch {
	case th == nil:
		want = ferry.KindNotFound
	case th.kind == ferry.Dir:
		want = ferry.KindIsDir
	}
	if ok, err := w.expect(w.t.Unlink(context.Background(), w.origin(), id, name), want); !ok {
		return string(p), err
	}
	w.unname(p)
	return string(p), nil
}

func (w *world) rmdir() (string, error) {
	dir, name := w.someone()
	p := dir.Join(name)
	id, ok, err := w.at(dir)
	if err != nil || !ok {
		return string(p), err
	}
	th, want := w.names[p], ferry.Kind(0)
	switch {
	case th == nil:
		want = ferry.KindNotFound
	case th.kind != ferry.Dir:
		want = ferry.KindNotDir
	case !w.empty(p):
		want = ferry.KindNotEmpty
	}
	if ok, err := w.expect(w.t.Rmdir(context.Background(), w.origin(), id, name), want); !ok {
		return string(p), err
	}
	w.unname(p)
	return string(p), nil
}

func (w *world) rename() (string, error) {
	fromDir, fromName := w.someone()
	toDir, toName := w.somewhere()
	if w.r.IntN(3) == 0 {
		toDir, toName = w.someone()
	}
	flags := []uint32{0, 0, 0, RenameNoReplace, RenameExchange, RenameExchange}[w.r.IntN(6)]
	from, to := fromDir.Join(fromName), toDir.Join(toName)
	what := fmt.Sprintf("%s to %s flags %d", from, to, flags)
	a, ok, err := w.at(fromDir)
	if err != nil || !ok {
		return what, err
	}
	b, ok, err := w.at(toDir)
	if err != nil || !ok {
		return what, err
	}
	src, dst, want := w.names[from], w.names[to], ferry.Kind(0)
	switch {
	case src == nil:
		want = ferry.KindNotFound
	case to.Below(from), flags == RenameExchange && from.Below(to):
		want = ferry.KindInvalid
	case flags == RenameExchange && dst == nil:
		want = ferry.KindNotFound
	case flags == RenameNoReplace && dst != nil:
		want = ferry.KindExists
	case from == to || dst == nil || flags == RenameExchange:
	case src.kind == ferry.Dir && dst.kind != ferry.Dir:
		want = ferry.KindNotDir
	case src.kind != ferry.Dir && dst.kind == ferry.Dir:
		want = ferry.KindIsDir
	case dst.kind == ferry.Dir && !w.empty(to):
		want = ferry.KindNotEmpty
	}
	ok, err = w.expect(w.t.Rename(context.Background(), w.origin(), a, fromName, b, toName, flags), want)
	if !ok || from == to {
		return what, err
	}
	moved := map[ferry.Path]*thing{}
	take := func(from, to ferry.Path) {
		for _, p := range w.paths(func(p ferry.Path, _ *thing) bool { return p == from || p.Below(from) }) {
			moved[p.Rebase(from, to)] = w.names[p]
			w.unname(p)
		}
	}
	if flags == RenameExchange {
		take(to, from)
	} else if dst != nil {
		w.unname(to)
	}
	take(from, to)
	for p, th := range moved {
		w.names[p] = th
		w.seen(p)
	}
	w.dirs = slices.DeleteFunc(w.dirs, func(d *openDir) bool {
		if w.names[d.path] == d.node {
			return false
		}
		d.h.Close() // it is read on under its old name, and what it gives is not compared
		return true
	})
	return what, nil
}

func (w *world) setattr() (string, error) {
	dir, name := w.someone()
	p := dir.Join(name)
	th := w.names[p]
	if th == nil {
		return "", nil
	}
	id, ok, err := w.at(p)
	if err != nil || !ok {
		return string(p), err
	}
	mode := 0o600 + uint32(w.r.IntN(64))
	e, err := w.t.SetAttr(context.Background(), w.origin(), id, AttrChange{Mode: &mode})
	if ok, err := w.expect(err, 0); !ok {
		return string(p), err
	}
	th.mode = mode
	return string(p), w.same(p, th, e)
}

func (w *world) setxattr() (string, error) {
	dir, name := w.someone()
	p := dir.Join(name)
	th := w.names[p]
	if th == nil {
		return "", nil
	}
	id, ok, err := w.at(p)
	if err != nil || !ok {
		return string(p), err
	}
	if th.xattr != "" && w.r.IntN(2) == 0 {
		if ok, err := w.expect(w.t.RemoveXattr(context.Background(), w.origin(), id, "user.x"), 0); !ok {
			return string(p), err
		}
		th.xattr = ""
		return string(p), nil
	}
	v := fmt.Sprint(w.r.IntN(1000))
	if ok, err := w.expect(w.t.SetXattr(context.Background(), w.origin(), id, "user.x", []byte(v), 0), 0); !ok {
		return string(p), err
	}
	th.xattr = v
	return string(p), nil
}

func (w *world) lookup() (string, error) {
	dir, name := w.somewhere()
	p := dir.Join(name)
	id, ok, err := w.at(dir)
	if err != nil || !ok {
		return string(p), err
	}
	e, err := w.t.Lookup(context.Background(), id, name)
	want := ferry.Kind(0)
	if w.names[p] == nil {
		want = ferry.KindNotFound
	}
	if ok, err := w.expect(err, want); !ok {
		return string(p), err
	}
	return string(p), w.got(p, e)
}

// readdir reads a few names of a directory that stays open while other things
// happen, and now and then goes back.
func (w *world) readdir() (string, error) {
	if len(w.dirs) < 2 && (len(w.dirs) == 0 || w.r.IntN(3) == 0) {
		dir, _ := w.somewhere()
		id, ok, err := w.at(dir)
		if err != nil || !ok {
			return string(dir), err
		}
		h, err := w.t.OpenDir(context.Background(), id)
		if err != nil {
			return string(dir), err
		}
		w.dirs = append(w.dirs, &openDir{h: h, id: id, path: dir, node: w.names[dir]})
	}
	i := w.r.IntN(len(w.dirs))
	d := w.dirs[i]
	if w.names[d.path] != d.node {
		d.h.Close()
		w.dirs = slices.Delete(w.dirs, i, i+1)
		return string(d.path) + " is gone", nil
	}
	if d.cookie == 0 || w.r.IntN(10) == 0 {
		d.cookie, d.got, d.always = 0, map[string]int{}, map[string]bool{}
		for _, p := range w.paths(func(p ferry.Path, _ *thing) bool { dir, _ := p.Split(); return dir == d.path }) {
			_, name := p.Split()
			d.always[name] = true
		}
	}
	n, most := 0, 1+w.r.IntN(3)
	var fault error
	err := d.h.Read(context.Background(), d.cookie, func(e DirEntry, next uint64) bool {
		if n == most {
			return false
		}
		n++
		d.cookie = next
		if d.got[e.Name]++; d.got[e.Name] > 1 && d.always[e.Name] && fault == nil {
			fault = fmt.Errorf("%q is given twice", e.Name)
		}
		w.t.Ref(e.ID)
		if err := w.got(d.path.Join(e.Name), e.Entry); err != nil && fault == nil {
			fault = fmt.Errorf("readdir: %w", err)
		}
		return true
	})
	switch {
	case fault != nil:
		return string(d.path), fault
	case err != nil && w.excused(err):
		return string(d.path), nil
	case err != nil:
		return string(d.path), err
	case n == most:
		return string(d.path), nil
	}
	for name := range d.always {
		if d.got[name] == 0 {
			return string(d.path), fmt.Errorf("%q was there all the while and is not given", name)
		}
	}
	d.h.Close()
	w.dirs = slices.Delete(w.dirs, i, i+1)
	return string(d.path) + " to its end", nil
}

func (w *world) openIt(p ferry.Path) {
	th := w.names[p]
	w.open[th.id], th.opened = th, true
}

// write opens a file if it is not open, and appends to it or overwrites its start.
func (w *world) write() (string, error) {
	files := w.paths(func(_ ferry.Path, th *thing) bool { return th.kind == ferry.File })
	var id ferry.InodeID
	var th *thing
	what := "an unlinked file"
	if ids := slices.Sorted(keysOf(w.open)); len(ids) > 0 && w.r.IntN(2) == 0 {
		id = ids[w.r.IntN(len(ids))]
		th = w.open[id]
	} else if len(files) > 0 {
		p := files[w.r.IntN(len(files))]
		what = string(p)
		var ok bool
		var err error
		if id, ok, err = w.at(p); err != nil || !ok {
			return what, err
		}
		th = w.names[p]
		w.openIt(p)
	} else {
		return "", nil
	}
	data := fmt.Sprintf("<%d>", w.r.IntN(100))
	off := int64(len(th.data))
	if w.r.IntN(3) == 0 {
		off = 0
	}
	err := w.j.Update(func(tx ferry.Tx) error { return w.writeIn(tx, id, off, data) })
	if err != nil {
		return what, fmt.Errorf("writing inode %d: %w", id, err)
	}
	buf := []byte(th.data)
	for int64(len(buf)) < off+int64(len(data)) {
		buf = append(buf, 0)
	}
	copy(buf[off:], data)
	th.data = string(buf)
	if w.r.IntN(2) == 0 {
		return what + " and close", w.close(id)
	}
	return what, nil
}

// writeIn makes the inode's content writable, as fusefs/content does, and writes.
func (w *world) writeIn(tx ferry.Tx, id ferry.InodeID, off int64, data string) error {
	row, err := w.t.Ensure(tx, id)
	if err != nil {
		return err
	}
	u := tx.Upload(row.Content)
	switch {
	case u == nil:
		u = &ferry.Upload{Generation: w.gens.Next(), Inode: id, State: ferry.StateDirty, Path: row.Path, Base: row.Remote, BaseLimit: row.Size, Truncating: -1, Since: 1}
		w.bytes[u.Generation] = &staged{size: row.Size}
	case u.State == ferry.StateCompleting:
		old := w.bytes[u.Generation]
		if old == nil {
			old = &staged{}
		}
		u = &ferry.Upload{Generation: w.gens.Next(), Inode: id, State: ferry.StateDirty, Path: row.Path, Base: u.Base, BaseLimit: u.BaseLimit, Truncating: -1, Since: 1}
		w.bytes[u.Generation] = &staged{writes: slices.Clone(old.writes), size: old.size}
	case !u.State.Writable():
		if u.State, err = u.State.Next(ferry.EventUnsealed); err != nil {
			return err
		}
	}
	if u.State == ferry.StateDirty && !row.Unlinked && w.r.IntN(4) == 0 {
		if k := tx.Key(row.Key()); k != nil && k.Upload == "" && k.Intent == nil && !ferry.Blocked(tx, k.Key, id) {
			tx.PutUpload(u)
			u.State, u.Key, u.UploadID, k.Upload = ferry.StateStreaming, k.Key, "stream", u.Generation
			tx.PutKey(k)
		}
	}
	if w.bytes[u.Generation] == nil {
		w.bytes[u.Generation] = &staged{}
	}
	s := w.bytes[u.Generation]
	s.writes = append(s.writes, stagedWrite{off, data})
	s.size = max(s.size, off+int64(len(data)))
	row.Content, row.Size = u.Generation, s.size
	row.AttrSeq++
	tx.PutUpload(u)
	tx.PutInode(row)
	return nil
}

// sealIn seals a generation that is being written.
func (w *world) sealIn(tx ferry.Tx, u *ferry.Upload) {
	next, err := u.State.Next(ferry.EventSealed)
	if err != nil {
		tx.Fail(err)
		return
	}
	u.State = next
	if s := w.bytes[u.Generation]; s != nil {
		u.Size = s.size
	}
	tx.PutUpload(u)
}

// close closes the last handle of an inode.
func (w *world) close(id ferry.InodeID) error {
	th := w.open[id]
	e, err := w.t.Stat(context.Background(), id)
	if err != nil {
		return fmt.Errorf("stat of an open file (inode %d): %w", id, err)
	}
	if err := w.same("an open file", th, e); err != nil {
		return err
	}
	err = w.j.Update(func(tx ferry.Tx) error {
		row := tx.Inode(id)
		if row == nil || row.Unlinked {
			return nil
		}
		if u := tx.Upload(row.Content); u != nil && u.State.Writable() {
			w.sealIn(tx, u)
		}
		return nil
	})
	if err != nil {
		return err
	}
	th.opened = false
	delete(w.open, id)
	w.t.Closed(id)
	return nil
}

func (w *world) closeSome() (string, error) {
	ids := slices.Sorted(keysOf(w.open))
	if len(ids) == 0 {
		return "", nil
	}
	id := ids[w.r.IntN(len(ids))]
	return fmt.Sprint("inode ", id), w.close(id)
}

// forget lets the kernel drop what it knows of some inodes.
func (w *world) forget() (string, error) {
	held := map[ferry.InodeID]bool{ferry.RootInode: true}
	for _, d := range w.dirs {
		held[d.id] = true
	}
	for _, id := range slices.Sorted(keysOf(w.refs)) {
		if w.r.IntN(2) == 0 && w.open[id] == nil && !held[id] {
			w.t.Forget(id, w.refs[id])
			delete(w.refs, id)
			for _, th := range w.names {
				if th.id == id {
					th.id = 0
				}
			}
		}
	}
	return "", nil
}

func (w *world) expire() (string, error) {
	w.forgetListings()
	return "", nil
}

func (w *world) steps() (string, error) {
	var did []string
	for range 1 + w.r.IntN(6) {
		d, err := w.step(w.r.IntN(1 << 20))
		if d != "" {
			did = append(did, d)
		}
		if err != nil {
			return strings.Join(did, ", "), err
		}
		if err := w.j.Check(); err != nil {
			return strings.Join(did, ", "), err
		}
	}
	return strings.Join(did, ", "), nil
}

func (w *world) offline() (string, error) {
	w.b.offline = !w.b.offline
	return fmt.Sprint(w.b.offline), nil
}

func (w *world) restart() (string, error) {
	w.start()
	return "", nil
}

// foreignPut is another client's put, at a key with which nothing is going on.
func (w *world) foreignPut() (string, error) {
	dir, name := w.somewhere()
	if w.r.IntN(2) == 0 {
		dir = dir.Join(someNames[w.r.IntN(len(someNames))])
	}
	p := dir.Join(name)
	if th := w.names[p]; th != nil && th.kind != ferry.File || w.busy(p) {
		return "", nil
	}
	if th := w.names[p]; th != nil && th.opened {
		return "", nil
	}
	for d := dir; d != ""; d, _ = d.Split() {
		if th := w.names[d]; th != nil && th.kind != ferry.Dir {
			return "", nil
		}
	}
	data := fmt.Sprintf("foreign %d", w.r.IntN(100))
	w.b.put(p.Key(), data, nil, nil)
	w.forgetListings()
	th := w.names[p]
	if th == nil {
		th = &thing{kind: ferry.File}
		w.names[p] = th
	}
	th.stale = true
	th.mode, th.data, th.xattr = 0o644, data, ""
	w.seen(p)
	for d := dir; d != ""; d, _ = d.Split() {
		if w.names[d] == nil {
			w.names[d] = &thing{kind: ferry.Dir, mode: 0o755}
			w.seen(d)
		}
	}
	return string(p), nil
}

// foreignDelete is another client's delete of an object that nothing is going on
// with, and after which every directory is still there.
func (w *world) foreignDelete() (string, error) {
	dir, name := w.someone()
	p := dir.Join(name)
	th := w.names[p]
	if th == nil || th.kind != ferry.File || th.opened || w.busy(p) {
		return "", nil
	}
	for d := dir; d != ""; d, _ = d.Split() {
		if !w.staysBelow(d.Marker(), p.Key()) {
			return "", nil
		}
	}
	w.b.remove(p.Key())
	w.forgetListings()
	w.unname(p)
	return string(p), nil
}

// staysBelow reports whether an object that nobody is about to delete lies below
// prefix, other than at key.
func (w *world) staysBelow(prefix, key ferry.ObjectKey) bool {
	for _, k := range w.b.keys() {
		if k != key && strings.HasPrefix(string(k), string(prefix)) && w.j.keys[k] == nil {
			return true
		}
	}
	return false
}

// busy reports whether anything is going on at or above p here.
func (w *world) busy(p ferry.Path) bool {
	w.j.mu.Lock()
	defer w.j.mu.Unlock()
	if len(w.j.refs[p.Key()]) > 0 || len(w.dirs) > 0 {
		return true
	}
	for d := p; d != ""; d, _ = d.Split() {
		if w.j.keys[d.Key()] != nil || w.j.keys[d.Marker()] != nil || w.j.tombs[d] {
			return true
		}
	}
	for k := range w.j.keys {
		if k.Path().Below(p) {
			return true
		}
	}
	return false
}
