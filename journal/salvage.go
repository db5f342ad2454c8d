package journal

import (
	"errors"
	"fmt"
	"slices"

	"ferry"
	"ferry/journal/codec"
	"ferry/journal/staging"
)

// Rebuild sets journal.db aside and makes a new one of what log and staging give
// back: every closed file whose staging file is labelled. What was only in
// journal.db (deletes, renames and changes of attributes that had not reached the
// bucket) is lost, and named in the report. The mount must not be running.
func Rebuild(o Options) (Report, error) {
	o.rebuild = true
	j, err := Open(o)
	if err != nil {
		return Report{}, err
	}
	return j.Recovered(), j.Close()
}

// salvage makes rows of what is left after journal.db was lost: the log's rows
// are only those that changed last, so they are made to agree, and staging files
// without a row give theirs back. It can be done again if we die in it.
func (j *Journal) salvage() error {
	j.o.Crash("rebuild.before")
	j.report.Lost = append(j.report.Lost,
		"deletes, renames of stored objects and changes of attributes that were only in journal.db and had not reached the bucket")
	s := &salvager{j: j, log: j.state.mem}
	err := j.Update(func(ftx ferry.Tx) error {
		s.tx, _ = ftx.(*tx)
		s.uploads()
		s.inodes()
		s.keys()
		if err := s.staging(); err != nil {
			return err
		}
		s.reindex()
		return nil
	})
	if err != nil {
		return err
	}
	for _, g := range s.aside {
		name, err := j.store.SetAside(g)
		if err != nil {
			return err
		}
		j.log.Error("a staging file could not be given back to the mount; its bytes are kept", "file", name)
	}
	j.log.Error("journal.db was lost and made anew", "restored_files", len(j.report.Restored), "lost", j.report.Lost)
	j.cp.rebuilt = true
	defer func() { j.cp.rebuilt = false }()
	return j.fold()
}

type salvager struct {
	j     *Journal
	tx    *tx
	log   memtable // the log's rows before anything was repaired
	aside []ferry.Generation
}

func (s *salvager) lost(format string, args ...any) {
	s.j.report.Lost = append(s.j.report.Lost, fmt.Sprintf(format, args...))
}

// each decodes the rows of a table; what cannot be decoded is dropped.
func each[T any](s *salvager, t table, decode func(key string, v []byte) (T, error), fn func(T)) {
	type row struct {
		key   string
		value []byte
	}
	var list []row
	s.tx.prefix(string(byte(t)), func(_ rows, key string, v []byte) bool {
		list = append(list, row{key, slices.Clone(v)})
		return true
	})
	for _, r := range list {
		v, err := decode(r.key, r.value)
		if err != nil {
			s.tx.delete(r.key)
			continue
		}
		fn(v)
	}
}

func decodeInodeRow(key string, v []byte) (*ferry.Inode, error) {
	return codec.DecodeInode(ferry.InodeID(tail64(key)), v)
}

func decodeUploadRow(key string, v []byte) (*ferry.Upload, error) {
	return codec.DecodeUpload(ferry.Generation(key[1:]), v)
}

func decodeKeyRow(key string, v []byte) (*ferry.KeyState, error) {
	return codec.DecodeKeyState(ferry.ObjectKey(key[1:]), v)
}

// uploads gives every upload of the log its inode back, if only its row is there.
// Parts are forgotten: the server is asked for them (ListParts).
func (s *salvager) uploads() {
	each(s, tableUploads, decodeUploadRow, func(u *ferry.Upload) {
		if u.State.Final() || u.State < ferry.StateDirty {
			s.tx.delete(uploadKey(u.Generation))
			return
		}
		if !u.State.NeedsBytes() || s.tx.Inode(u.Inode) != nil {
			return
		}
		// Its inode's row was only in journal.db: the label knows as much.
		s.tx.delete(uploadKey(u.Generation))
	})
}

// inodes drops the contents that have no upload row any more.
func (s *salvager) inodes() {
	each(s, tableInodes, decodeInodeRow, func(in *ferry.Inode) {
		if in.Unlinked {
			s.tx.delete(inodeKey(in.ID)) // it was open: nobody has it open now
			return
		}
		u := s.tx.Upload(in.Content)
		if in.Content == "" || u != nil && u.Inode == in.ID {
			return
		}
		// staging gives it back under the same path if it can.
		s.tx.delete(inodeKey(in.ID))
	})
}

// keys makes key rows agree with what is left.
func (s *salvager) keys() {
	each(s, tableKeys, decodeKeyRow, func(k *ferry.KeyState) {
		if k.Wanted.Kind == ferry.WantInode {
			if in := s.tx.Inode(k.Wanted.Inode); in == nil || in.Key() != k.Key {
				k.Wanted = ferry.Wanted{}
			}
		}
		if k.Upload != "" {
			if u := s.tx.Upload(k.Upload); u == nil || u.Key != k.Key {
				k.Upload = ""
			}
		}
		if k.Idle() {
			s.tx.delete(objectKey(k.Key))
			return
		}
		s.tx.put(objectKey(k.Key), codec.KeyState(k))
	})
}

// candidate is a labelled staging file without a row.
type candidate struct {
	label *staging.Label
	size  int64
	mtime int64
}

// staging gives back the closed files that no row speaks of; of two for one path
// the newer one counts.
func (s *salvager) staging() error {
	files, err := s.j.store.List()
	if err != nil {
		return err
	}
	best := map[ferry.Path]candidate{}
	for _, g := range files {
		if s.tx.Upload(g) != nil {
			continue
		}
		if e := s.log.get(uploadKey(g)); e != nil && e.deleted {
			continue // it had reached its end: the file only waits to be freed
		}
		c, err := s.read(g)
		if err != nil {
			return err
		}
		switch {
		case c.size == 0 && c.label == nil:
			continue // nothing was written: an orphan
		case c.label == nil:
			s.keepAside(g, "staging file %s (%d bytes) carries no label", g, c.size)
		case !c.label.Sealed:
			s.keepAside(g, "%q was open: its bytes are kept, but not its end", c.label.Path)
		case c.label.Base != nil && !c.label.Complete:
			s.keepAside(g, "%q was edited in more places than its label can hold", c.label.Path)
		default:
			old, taken := best[c.label.Path]
			switch {
			case !taken:
				best[c.label.Path] = c
			case old.mtime < c.mtime:
				s.aside = append(s.aside, old.label.Generation)
				best[c.label.Path] = c
			default:
				s.aside = append(s.aside, g)
			}
		}
	}
	for _, c := range best {
		s.restore(c)
	}
	slices.Sort(s.j.report.Restored)
	return nil
}

func (s *salvager) keepAside(g ferry.Generation, format string, args ...any) {
	s.lost(format, args...)
	s.aside = append(s.aside, g)
}

func (s *salvager) read(g ferry.Generation) (c candidate, err error) {
	f, err := s.j.store.Open(g)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if c.size, err = f.Size(); err != nil {
		return c, err
	}
	if c.mtime, err = f.Mtime(); err != nil {
		return c, err
	}
	label, err := f.ReadLabel()
	if err == nil && label != nil && label.Path.Key().Check() == nil {
		c.label = label // a damaged one is none
	}
	if c.label != nil {
		c.label.Generation = g
	}
	return c, nil
}

// restore makes the rows of a closed file. What the bucket holds is not known.
func (s *salvager) restore(c candidate) {
	l := c.label
	size := l.Size
	if l.Base == nil || size < 0 {
		size = c.size
	}
	id := l.Inode
	if id == 0 || s.tx.Inode(id) != nil {
		id = s.freshID()
	}
	if other := s.pathTaken(l.Path); other {
		s.keepAside(l.Generation, "%q has a newer content", l.Path)
		return
	}
	in := &ferry.Inode{
		ID: id, Kind: ferry.File, Path: l.Path, Attr: l.Attr, Size: size,
		Remote: l.Base, Content: l.Generation, AttrSeq: 1,
	}
	s.tx.put(inodeKey(id), codec.Inode(in))
	u := &ferry.Upload{
		Generation: l.Generation, Inode: id, State: ferry.StateSealed, Path: l.Path, Size: size,
		Base: l.Base, BaseLimit: l.BaseLimit, Truncating: -1, Since: c.mtime,
	}
	s.tx.put(uploadKey(u.Generation), codec.Upload(u))
	if l.Base != nil {
		s.tx.SetExtents(l.Generation, ferry.NewExtentSet(l.Extents...))
	}
	s.j.report.Restored = append(s.j.report.Restored, l.Path)
}

// freshID returns an ID that no row and no label uses.
func (s *salvager) freshID() ferry.InodeID {
	last := uint64(ferry.RootInode)
	for in := range s.tx.Inodes() {
		last = max(last, uint64(in.ID))
	}
	return ferry.InodeID(last + 1<<20)
}

func (s *salvager) pathTaken(p ferry.Path) bool {
	for in := range s.tx.Inodes() {
		if in.Path == p && !in.Unlinked {
			return true
		}
	}
	return false
}

// reindex makes the indexes anew, and the keys of files that the bucket may not
// have. Of two inodes at one path the later one stays.
func (s *salvager) reindex() {
	for _, t := range []table{tablePaths, tableRefs, tableWork} {
		s.tx.deletePrefix(string(byte(t)))
	}
	live := map[ferry.Generation]bool{}
	last := uint64(ferry.RootInode)
	each(s, tableInodes, decodeInodeRow, func(in *ferry.Inode) {
		last = max(last, uint64(in.ID))
		if other := s.tx.InodeAt(in.Path); other != 0 {
			s.lost("an older inode at %q", in.Path)
			s.tx.DeleteInode(other)
		}
		s.tx.put(pathKey(in.Path), u64(uint64(in.ID)))
		if in.Remote != nil {
			s.tx.put(refKey(in.Remote.Key, in.ID), nil)
		}
	})
	for in := range s.tx.Inodes() {
		live[in.Content] = true
		if in.Settled() {
			continue
		}
		want := ferry.Wanted{Kind: ferry.WantInode, Inode: in.ID}
		if k := s.tx.Key(in.Key()); k == nil || k.Wanted != want {
			if k == nil {
				k = &ferry.KeyState{Key: in.Key()}
			}
			k.Wanted = want
			s.tx.put(objectKey(in.Key()), codec.KeyState(k))
		}
	}
	each(s, tableKeys, decodeKeyRow, func(k *ferry.KeyState) { s.tx.put(workKey(k.Since, k.Key), nil) })
	for _, t := range []table{tableParts, tableExtents} {
		s.tx.prefix(string(byte(t)), func(_ rows, key string, _ []byte) bool {
			if len(key) < 11 || s.tx.Upload(ferry.Generation(key[1:len(key)-9])) == nil {
				s.tx.delete(key)
			}
			return true
		})
	}
	v, _ := s.tx.get(metaNextInode)
	if fromU64(v) <= last {
		s.tx.put(metaNextInode, u64(last+1))
	}
}
