package syncer

import (
	"context"

	"ferry"
)

// cycleAt returns the inode whose object has to be copied out of the way of k,
// nil if k only has to wait. Names that were swapped wait for one another in a
// ring; one of the ring (the least key that is blocked by an object) is broken.
// An object that only an open, unlinked file still reads would hold up its name
// for as long as the file is open, so it is copied away too.
func cycleAt(tx ferry.Tx, k *ferry.KeyState, step ferry.Step) *ferry.Inode {
	if step.Kind != ferry.StepWait {
		return nil
	}
	self := k.Wanted.Inode
	switch {
	case k.Upload != "":
		u := tx.Upload(k.Upload)
		if u == nil || u.State.Writable() || u.State == ferry.StateParked {
			return nil
		}
		self = u.Inode
	case k.Wanted.Kind == ferry.WantAbsent:
		// Part of a ring when a file and a directory were swapped: each name has
		// to be gone before the other can be made.
		if step.Waits == "" {
			return nil
		}
	default:
		if in := tx.Inode(self); in == nil || in.Content != "" && !ready(tx, in.Content) {
			return nil
		}
	}
	in := blockerOf(tx, k.Key, self)
	if in == nil || step.Waits == "" {
		return in
	}
	seen := map[ferry.ObjectKey]bool{k.Key: true}
	for at := step.Waits; at != k.Key; {
		if seen[at] {
			return nil // a ring, but k is not in it
		}
		seen[at] = true
		next := tx.Key(at)
		if next == nil {
			return nil
		}
		s := ferry.NextStep(tx, next)
		if s.Kind != ferry.StepWait || s.Waits == "" {
			return nil // it goes on by itself
		}
		if at < k.Key && blockerOf(tx, at, owner(tx, next)) != nil {
			return nil // that one is broken
		}
		at = s.Waits
	}
	return in
}

// owner returns the inode that k's key belongs to until its step is taken: that
// of the upload bound to it, else the one that it wants.
func owner(tx ferry.Tx, k *ferry.KeyState) ferry.InodeID {
	if u := tx.Upload(k.Upload); u != nil {
		return u.Inode
	}
	return k.Wanted.Inode
}

// ready reports whether a generation can be sent.
func ready(tx ferry.Tx, g ferry.Generation) bool {
	u := tx.Upload(g)
	return u != nil && !u.State.Writable() && u.State != ferry.StateParked
}

// blockerOf returns an inode other than self whose object lies at key.
func blockerOf(tx ferry.Tx, key ferry.ObjectKey, self ferry.InodeID) *ferry.Inode {
	for id := range tx.Refs(key) {
		if id != self {
			return tx.Inode(id)
		}
	}
	return nil
}

// moveAside copies the object at v's key under .ferry/ and binds those who need
// it to the copy, so that the key can take another.
func (s *Syncer) moveAside(ctx context.Context, v view) (keys, error) {
	var intent ferry.Intent
	var in *ferry.Inode
	err := s.j.Update(func(tx ferry.Tx) error {
		k := tx.Key(v.key)
		if k == nil || k.Intent != nil {
			return errStale
		}
		if in = cycleAt(tx, k, ferry.NextStep(tx, k)); in == nil || in.Remote == nil {
			return errStale
		}
		g := s.o.Generations.Next()
		intent = ferry.Intent{
			Kind: ferry.IntentAside, Generation: g, Inode: in.ID,
			Dest: ferry.ReservedPrefix + "swap-" + ferry.ObjectKey(g),
		}
		k.Intent = &intent
		tx.PutKey(k)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.o.Crash("syncer.aside.intent")
	if err := s.barrier(ctx, 0); err != nil {
		return nil, err
	}
	version, err := s.copyObject(ctx, *in.Remote, intent.Dest)
	s.o.Crash("syncer.aside.sent")
	switch {
	case err == nil:
		version.Key, version.Size = intent.Dest, in.Remote.Size
		return s.rebind(v.key, intent, *in.Remote, version)
	case ferry.IsKind(err, ferry.KindConflict), ferry.IsKind(err, ferry.KindNotFound):
		if err := s.clearIntent(v.key, intent); err != nil {
			return nil, err
		}
		touched, err := s.sourceChanged(ctx, in.Key(), in)
		return append(touched, v.key), err
	}
	if reason, ok := permanent(err); ok {
		return s.park(v.key, "", reason)
	}
	return nil, err
}

// rebind binds all who need version from at key to its copy. The copy is deleted
// when nobody needs it any more: its key wants nothing.
func (s *Syncer) rebind(key ferry.ObjectKey, intent ferry.Intent, from, to ferry.Version) (touched keys, err error) {
	var ids []ferry.InodeID
	err = s.j.Update(func(tx ferry.Tx) error {
		k := tx.Key(key)
		if k == nil || k.Intent == nil || k.Intent.Generation != intent.Generation {
			return errStale
		}
		touched, ids = keys{key, to.Key}, nil
		k.Intent = nil
		tx.PutKey(k)
		var needs []*ferry.Inode
		for id := range tx.Refs(key) {
			if in := tx.Inode(id); in != nil && in.Remote != nil && in.Remote.Same(from) {
				needs = append(needs, in)
			}
		}
		for _, in := range needs {
			v := to
			in.Remote = &v
			tx.PutInode(in)
			if u := tx.Upload(in.Content); u != nil && u.Base != nil && u.Base.Same(from) {
				u.Base = &v
				tx.PutUpload(u)
			}
			ids = append(ids, in.ID)
			if !in.Unlinked {
				touched = append(touched, in.Key())
			}
		}
		tx.PutKey(&ferry.KeyState{
			Key: to.Key, Known: ferry.KnownVersion(to), Wanted: ferry.Wanted{Kind: ferry.WantAbsent}, Since: s.o.Now().UnixNano(),
		})
		return nil
	})
	if err == nil {
		for _, id := range ids {
			s.o.Events.StateChanged(id, to.Key)
		}
	}
	return touched, err
}

// settleAside learns whether the copy was made. If not, one that is still being
// made is deleted when it is there.
func (s *Syncer) settleAside(ctx context.Context, key ferry.ObjectKey, intent ferry.Intent) (keys, error) {
	obj, there, err := s.head(ctx, intent.Dest)
	if err != nil {
		return nil, err
	}
	if there {
		var from *ferry.Version
		if err := s.j.View(func(tx ferry.Tx) error {
			if in := tx.Inode(intent.Inode); in != nil {
				from = in.Remote
			}
			return nil
		}); err != nil {
			return nil, err
		}
		if from != nil && from.Key == key && from.Size == obj.Size {
			return s.rebind(key, intent, *from, obj.Version)
		}
	}
	err = s.j.Update(func(tx ferry.Tx) error {
		k := tx.Key(key)
		if k == nil || k.Intent == nil || k.Intent.Generation != intent.Generation {
			return errStale
		}
		refuse(tx, k, nil)
		tx.PutKey(&ferry.KeyState{Key: intent.Dest, Wanted: ferry.Wanted{Kind: ferry.WantAbsent}, Since: s.o.Now().UnixNano()})
		return nil
	})
	return keys{key, intent.Dest}, err
}
