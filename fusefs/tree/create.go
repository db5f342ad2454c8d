package tree

import (
	"context"
	"errors"
	"time"

	"ferry"
)

// Create makes an empty regular file, or returns the one that is there (created
// false) unless excl. The new inode's content is a fresh generation in StateDirty.
// When Create returns, the name survives kill -9. The answer counts one reference.
func (t *Tree) Create(ctx context.Context, origin ferry.Origin, parent ferry.InodeID, name string, mode, uid, gid uint32, excl bool) (e Entry, created bool, err error) {
	e, err = t.make(ctx, origin, parent, name, makeRequest{kind: ferry.File, mode: mode, uid: uid, gid: gid})
	if ferry.IsKind(err, ferry.KindExists) && !excl {
		e, err = t.Lookup(ctx, parent, name)
		return e, false, err
	}
	return e, err == nil, err
}

// Mkdir makes a directory. The answer counts one reference.
func (t *Tree) Mkdir(ctx context.Context, origin ferry.Origin, parent ferry.InodeID, name string, mode, uid, gid uint32) (Entry, error) {
	return t.make(ctx, origin, parent, name, makeRequest{kind: ferry.Dir, mode: mode, uid: uid, gid: gid})
}

// Symlink makes a symbolic link. The answer counts one reference.
func (t *Tree) Symlink(ctx context.Context, origin ferry.Origin, parent ferry.InodeID, name, target string, uid, gid uint32) (Entry, error) {
	return t.make(ctx, origin, parent, name, makeRequest{kind: ferry.Symlink, mode: 0o777, uid: uid, gid: gid, target: target})
}

type makeRequest struct {
	kind           ferry.NodeKind
	mode, uid, gid uint32
	target         string
}

// make makes a new inode under a name that is free.
func (t *Tree) make(ctx context.Context, origin ferry.Origin, parent ferry.InodeID, name string, r makeRequest) (e Entry, err error) {
	if err := createName(name); err != nil {
		return e, err
	}
	t.ns.Lock()
	defer t.ns.Unlock()
	err = t.change(ctx, []slot{{parent, name}}, func(tx ferry.Tx, s []slotState) (func(), error) {
		dir, p := s[0].dir, s[0].path
		switch {
		case p == ".ferry" || ferry.ObjectKey(p).Reserved():
			return nil, &ferry.Error{Op: "tree.create", Key: string(p), Kind: ferry.KindPerm, Msg: "ferry keeps unfinished things under this name"}
		case s[0].found != nil:
			return nil, exists(name)
		case len(p)+1 > ferry.MaxKeyLength:
			return nil, &ferry.Error{Op: "tree.create", Key: string(p), Kind: ferry.KindNameTooLong, Msg: "the key would be longer than 1024 bytes, the limit of S3"}
		}
		now := time.Now().UnixNano()
		row := &ferry.Inode{
			ID: t.newID(), Kind: r.kind, Path: p, Target: r.target, Size: int64(len(r.target)), AttrSeq: 1,
			Attr:       ferry.Attr{Mode: r.mode & 0o7777, UID: r.uid, GID: r.gid, Mtime: now, Ctime: now},
			HasForeign: true,
		}
		if r.kind == ferry.File {
			row.Content = t.o.Generations.Next()
			tx.PutUpload(&ferry.Upload{
				Generation: row.Content, Inode: row.ID, State: ferry.StateDirty, Path: p, Truncating: -1, Since: now,
			})
		}
		tx.PutInode(row)
		ferry.Want(tx, row.Key(), ferry.KnownAbsent, ferry.Wanted{Kind: ferry.WantInode, Inode: row.ID}, now)
		if r.kind == ferry.Dir {
			t.exhume(tx, p)
		}
		tx.PutReply(origin, ferry.Reply{Inode: row.ID})
		return func() {
			if r.kind == ferry.Dir {
				t.listings.knownEmptyIfNew(p)
			}
			dir.touched = now
			n := t.child(dir, name, row.ID, rowFacts(row))
			n.lookups++
			e = t.entry(n, row)
		}, nil
	})
	return e, err
}

// createName refuses names that S3 cannot hold.
func createName(name string) error {
	err := ferry.CheckName(name)
	if ferry.IsKind(err, ferry.KindInvalid) {
		return &ferry.Error{Op: "tree.create", Key: name, Kind: ferry.KindInvalid, Err: err, Msg: "S3 cannot hold this name"}
	}
	return err
}

// slot is a name that a change is about; slotState is what it is when the change
// is made.
type slot struct {
	dir  ferry.InodeID
	name string
}

type slotState struct {
	dir   *node
	name  string
	path  ferry.Path
	found *found // nil: nothing is there
}

// change makes one change of names: fn runs inside Update with mu held once
// everything that it is told of slots is known; the bucket is asked before if
// need be. ns must be held.
func (t *Tree) change(ctx context.Context, slots []slot, fn func(tx ferry.Tx, s []slotState) (func(), error)) error {
	if t.o.ReadOnly {
		return &ferry.Error{Op: "tree.change", Kind: ferry.KindReadOnly, Msg: "the mount is read-only"}
	}
	for range changeTries {
		err := t.changeOnce(ctx, slots, fn)
		if !errors.Is(err, errDropped) {
			return err
		}
	}
	return &ferry.Error{Op: "tree.change", Key: slots[0].name, Kind: ferry.KindUnknown, Err: errDropped, Hint: "try again"}
}

// changeTries bounds how often change asks the bucket again. Listings are dropped
// only when very many names are looked at at once.
const changeTries = 8

var errDropped = errors.New("the listing was dropped before it could be used")

func (t *Tree) changeOnce(ctx context.Context, slots []slot, fn func(tx ferry.Tx, s []slotState) (func(), error)) error {
	// A listing is loaded and metadata fetched outside of the transaction.
	answers := make([]*facts, len(slots))
	for i, s := range slots {
		if err := t.ask(ctx, s.dir); err != nil {
			return err
		}
		if err := t.withName(ctx, s.dir, s.name, func(_ ferry.Tx, _ *node, f *found) error {
			if f != nil {
				answers[i] = f.facts
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return t.update(func(tx ferry.Tx) (func(), error) {
		states := make([]slotState, len(slots))
		for i, s := range slots {
			dir, err := t.dir(s.dir)
			if err != nil {
				return nil, err
			}
			f, ok := t.resolve(tx, dir, s.name)
			if !ok {
				return nil, errDropped
			}
			if f != nil && f.row == nil && answers[i].answers(f.facts) {
				f.facts = answers[i]
			}
			states[i] = slotState{dir: dir, name: s.name, path: dir.path().Join(s.name), found: f}
		}
		return fn(tx, states)
	})
}
