package syncer

import (
	"bytes"
	"context"
	"io"

	"ferry"
)

// moveWhole is the size up to which a move reads the object and puts it: two
// short requests instead of four.
const moveWhole = 1 << 20

// move brings an inode's object from where it is to v's key. CopyObject will not
// do: it overwrites the destination whatever is there.
func (s *Syncer) move(ctx context.Context, v view) (keys, error) {
	if !v.step.Inode.HasForeign {
		return s.learnSource(ctx, v.key, v.step.Inode)
	}
	m, in, cond, err := s.beginCopy(ctx, v, ferry.IntentMove)
	if err != nil {
		return s.refusedBefore(v, err)
	}
	m.opts.Cond = cond
	src := *in.Remote
	if src.Size > moveWhole {
		return s.moveParts(ctx, v.key, src, m)
	}
	done, err := s.turn(ctx, src.Size)
	if err != nil {
		return nil, err
	}
	defer done()
	var body []byte
	if src.Size > 0 {
		r, err := s.r.Get(ctx, src, ferry.Extent{Length: src.Size})
		if err == nil {
			body, err = io.ReadAll(io.LimitReader(r, src.Size))
			r.Close()
		}
		if err == nil && int64(len(body)) < src.Size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return s.sourceFailed(ctx, v.key, in, m.intent, err)
		}
	}
	version, err := s.r.Put(ctx, v.key, bytes.NewReader(body), src.Size, m.opts)
	version.Key, version.Size = v.key, src.Size
	s.o.Crash("syncer.move.sent")
	return s.answered(ctx, v.key, m, version, err)
}

// beginCopy journals the intent of a request that makes in's object anew from
// where it is.
func (s *Syncer) beginCopy(ctx context.Context, v view, kind ferry.IntentKind) (m made, in *ferry.Inode, cond ferry.Precondition, err error) {
	err = s.j.Update(func(tx ferry.Tx) error {
		k, step, err := v.again(tx)
		if err != nil {
			return err
		}
		in, cond = step.Inode, k.Known.Precondition()
		intent := ferry.Intent{Kind: kind, Generation: s.o.Generations.Next(), Inode: in.ID, AttrSeq: in.AttrSeq}
		if m, err = encode(in, intent); err != nil {
			return err
		}
		k.Intent = &intent
		tx.PutKey(k)
		return nil
	})
	if err != nil {
		return m, in, cond, err
	}
	s.o.Crash("syncer.copy.intent")
	return m, in, cond, s.barrier(ctx, 0)
}

// moveParts moves by a multipart upload whose parts the server copies.
func (s *Syncer) moveParts(ctx context.Context, key ferry.ObjectKey, src ferry.Version, m made) (keys, error) {
	id, err := s.r.NewUpload(ctx, key, m.opts)
	if err != nil {
		return s.answered(ctx, key, m, ferry.Version{}, err)
	}
	err = s.j.Update(func(tx ferry.Tx) error {
		k := tx.Key(key)
		if k == nil || k.Intent == nil || k.Intent.Generation != m.intent.Generation {
			return errStale
		}
		k.Intent.UploadID = id
		tx.PutKey(k)
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.intent.UploadID = id
	s.o.Crash("syncer.move.opened")
	parts, err := s.copyParts(ctx, key, id, src)
	if err != nil {
		var in *ferry.Inode
		if verr := s.j.View(func(tx ferry.Tx) error { in = tx.Inode(m.intent.Inode); return nil }); verr != nil {
			return nil, verr
		}
		return s.sourceFailed(ctx, key, in, m.intent, err)
	}
	version, err := s.r.Complete(ctx, key, id, parts, m.opts.Cond)
	s.o.Crash("syncer.move.sent")
	version.Key, version.Size = key, src.Size
	if ferry.IsKind(err, ferry.KindNoUpload) {
		return s.settleKey(ctx, key)
	}
	if err != nil && !ferry.IsKind(err, ferry.KindTransient) {
		if err := s.dropCopy(ctx, key, m.intent); err != nil {
			return nil, err
		}
	}
	return s.answered(ctx, key, m, version, err)
}

// dropCopy gives the parts of a copy back that will not be completed.
func (s *Syncer) dropCopy(ctx context.Context, key ferry.ObjectKey, intent ferry.Intent) error {
	if intent.UploadID == "" {
		return nil
	}
	err := s.r.Abort(ctx, key, intent.UploadID)
	if ferry.IsKind(err, ferry.KindNoUpload) || ferry.IsKind(err, ferry.KindNotFound) {
		return nil
	}
	return err
}

// sourceFailed is for a copy whose source could not be read: it is another
// version now, or gone, or the request failed.
func (s *Syncer) sourceFailed(ctx context.Context, key ferry.ObjectKey, in *ferry.Inode, intent ferry.Intent, err error) (keys, error) {
	changed := ferry.IsKind(err, ferry.KindConflict) || ferry.IsKind(err, ferry.KindNotFound)
	reason, forGood := permanent(err)
	if !changed && !forGood {
		if ferry.KindOf(err) == ferry.KindInternal { // a body that ended early
			err = &ferry.Error{Op: "syncer.move", Key: string(key), Kind: ferry.KindTransient, Msg: "the source could not be read", Err: err}
		}
		return nil, err // the intent is settled first
	}
	if derr := s.dropCopy(ctx, key, intent); derr != nil {
		return nil, derr
	}
	if forGood {
		return s.park(key, "", reason)
	}
	if err := s.clearIntent(key, intent); err != nil {
		return nil, err
	}
	if in == nil || in.Remote == nil {
		return keys{key}, nil
	}
	return s.sourceChanged(ctx, key, in)
}

// sourceChanged learns what became of an inode's object: a newer version takes
// the place of the old, and if there is none the name goes.
func (s *Syncer) sourceChanged(ctx context.Context, key ferry.ObjectKey, in *ferry.Inode) (keys, error) {
	obj, there, err := s.head(ctx, in.Remote.Key)
	if err != nil {
		return nil, err
	}
	if !there {
		return s.sourceGone(key, in)
	}
	return s.adopt(key, in, obj)
}

// adopt binds the inode to the version of its object that is there.
func (s *Syncer) adopt(key ferry.ObjectKey, in *ferry.Inode, obj ferry.Object) (keys, error) {
	err := s.j.Update(func(tx ferry.Tx) error {
		now := tx.Inode(in.ID)
		if now == nil || now.Remote == nil || *now.Remote != *in.Remote {
			return errStale
		}
		d := ferry.DecodeMetadata(obj, ferry.Defaults{UID: now.Attr.UID, GID: now.Attr.GID, FileMode: now.Attr.Mode, DirMode: now.Attr.Mode})
		now.Foreign, now.HasForeign = d.Foreign, true
		if now.AttrSeq == now.StoredAttrSeq && d.HasMetadata {
			now.Attr, now.Xattrs = d.Attr, d.Xattrs
		}
		same := now.Remote.Same(obj.Version)
		if !same {
			v := obj.Version
			now.Remote = &v
			if now.Content == "" {
				now.Size = v.Size
			}
			// The work on the old key was for the version before; what moves now
			// is this one.
			if k := tx.Key(v.Key); k != nil && k.Known.Presence == ferry.Present && k.Known.Version.Same(*in.Remote) {
				k.Known = ferry.KnownVersion(v)
				tx.PutKey(k)
			}
		}
		tx.PutInode(now)
		return nil
	})
	return keys{key}, err
}

// learnSource asks for the metadata that a move has to keep.
func (s *Syncer) learnSource(ctx context.Context, key ferry.ObjectKey, in *ferry.Inode) (keys, error) {
	return s.sourceChanged(ctx, key, in)
}

// sourceGone ends a name whose object another client deleted before it could be
// moved.
func (s *Syncer) sourceGone(key ferry.ObjectKey, in *ferry.Inode) (keys, error) {
	dropped := false
	err := s.j.Update(func(tx ferry.Tx) error {
		now := tx.Inode(in.ID)
		if now == nil || now.Remote == nil || *now.Remote != *in.Remote {
			return errStale
		}
		if old := tx.Key(in.Remote.Key); old != nil && old.Key != key {
			ferry.Gone(tx, old.Key)
		}
		if now.Content != "" || now.Unlinked {
			now.Remote = nil
			tx.PutInode(now)
			return nil
		}
		k := tx.Key(key)
		if k == nil || k.Intent != nil {
			return errStale
		}
		dropped = true
		if k = tx.Key(key); k != nil {
			if in.Remote.Key == key {
				k.Known = ferry.KnownAbsent
			}
			if k.Wanted == (ferry.Wanted{Kind: ferry.WantInode, Inode: now.ID}) {
				k.Wanted = ferry.Wanted{}
			}
			tx.PutKey(k)
		}
		tx.DeleteInode(now.ID)
		return nil
	})
	if err == nil && dropped {
		s.o.Log.Warn("another client deleted the object before its new name or attributes could be stored", "key", key, "object", in.Remote.Key)
		s.o.Events.Dropped(in.ID, key)
		s.o.Events.Removed(in.Remote.Key)
	}
	return keys{key, in.Remote.Key}, err
}
