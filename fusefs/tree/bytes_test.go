package tree

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"ferry"
)

// What the model does with bytes, and what happens to it: the syncer's steps,
// other clients, a server that is away, restarts.

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
