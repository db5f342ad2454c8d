package syncer

import (
	"bytes"
	"context"
	"io"

	"ferry"
)

// made is what a request that makes an object carries.
type made struct {
	intent ferry.Intent
	opts   ferry.PutOptions
}

// encode returns what goes with in's object made by intent.
func encode(in *ferry.Inode, intent ferry.Intent) (made, error) {
	meta, headers, err := ferry.EncodeMetadata(in, intent.Generation)
	if err != nil {
		return made{}, &parkError{reason: "its attributes do not fit", err: err}
	}
	return made{intent, ferry.PutOptions{Metadata: meta, Headers: headers}}, nil
}

// learnForeign asks the bucket for the metadata of other tools on in's object,
// if it is not known yet: it must survive the new version.
func (s *Syncer) learnForeign(ctx context.Context, in *ferry.Inode) error {
	if in.HasForeign || in.Remote == nil {
		return nil
	}
	o, err := s.r.Head(ctx, in.Remote.Key)
	if err != nil && !ferry.IsKind(err, ferry.KindNotFound) {
		return err
	}
	var foreign map[string]string
	if err == nil {
		foreign = ferry.DecodeMetadata(o, ferry.Defaults{}).Foreign
	}
	return s.j.Update(func(tx ferry.Tx) error {
		now := tx.Inode(in.ID)
		if now == nil || now.HasForeign {
			return errStale
		}
		now.Foreign, now.HasForeign = foreign, true
		tx.PutInode(now)
		return errIf(now.Remote == nil || in.Remote == nil, errStale)
	})
}

func errIf(cond bool, err error) error {
	if cond {
		return err
	}
	return nil
}

// put makes the object of a small file, a marker or a link by one request.
func (s *Syncer) put(ctx context.Context, v view) (keys, error) {
	if in := v.step.Inode; !in.HasForeign && in.Remote != nil {
		if err := s.learnForeign(ctx, in); err != nil {
			return nil, err
		}
	}
	var m made
	var body io.ReaderAt
	var size int64
	var c *content
	var since uint64
	at := s.unstamp(v.key)
	err := s.j.Update(func(tx ferry.Tx) error {
		k, step, err := v.again(tx)
		if err != nil {
			return err
		}
		in, u := step.Inode, step.Upload
		intent := ferry.Intent{Kind: ferry.IntentPut, Inode: in.ID, AttrSeq: in.AttrSeq}
		switch {
		case u != nil:
			if s.inParts(step) {
				return errStale
			}
			intent.Generation, size = u.Generation, u.Size
			c = newContent(u, extentsOf(tx, u))
			since = at.since(tx, k)
		case in.Kind == ferry.File:
			return &parkError{reason: "the journal names no bytes for this file"}
		default:
			intent.Generation = s.o.Generations.Next()
			if in.Kind == ferry.Symlink {
				body, size = bytes.NewReader([]byte(in.Target)), int64(len(in.Target))
			} else {
				body = bytes.NewReader(nil)
			}
		}
		if m, err = encode(in, intent); err != nil {
			return err
		}
		m.opts.Cond = k.Known.Precondition()
		if u != nil {
			if u.State, err = u.State.Next(ferry.EventCommitting); err != nil {
				return err
			}
			u.Key, k.Upload = k.Key, u.Generation
			tx.PutUpload(u)
		}
		k.Intent = &intent
		tx.PutKey(k)
		return nil
	})
	if err != nil {
		return s.refusedBefore(v, err)
	}
	s.o.Crash("syncer.put.intent")
	if err := s.barrier(ctx, since); err != nil {
		return nil, err
	}
	done, err := s.turn(ctx, size)
	if err != nil {
		return nil, err
	}
	version, err := s.sendWhole(ctx, v.key, c, body, size, m.opts)
	done()
	s.o.Crash("syncer.put.sent")
	if err == nil {
		version.Key, version.Size = v.key, size
	}
	return s.answered(ctx, v.key, m, version, err)
}

// sendWhole puts c, or body if there is no content.
func (s *Syncer) sendWhole(ctx context.Context, key ferry.ObjectKey, c *content, body io.ReaderAt, size int64, o ferry.PutOptions) (v ferry.Version, err error) {
	if c != nil {
		if err := c.open(ctx, s); err != nil {
			return v, err
		}
		defer c.close()
		body = c
	}
	if c != nil && c.base != nil {
		// A conditional put locks its key at MinIO before the body comes: a body that
		// is read from the object at that key meanwhile would wait for itself.
		whole := make([]byte, size)
		if _, err := io.ReadFull(io.NewSectionReader(c, 0, size), whole); err != nil {
			if c.failure() != nil {
				err = c.failure()
			}
			return v, err
		}
		body = bytes.NewReader(whole)
	}
	v, err = s.r.Put(ctx, key, body, size, o)
	if err != nil && c != nil && c.failure() != nil {
		err = c.failure()
	}
	return v, err
}

// refusedBefore is for a step that ended before its intent was journaled.
func (s *Syncer) refusedBefore(v view, err error) (keys, error) {
	if reason, ok := permanent(err); ok {
		g := ferry.Generation("")
		if v.step.Upload != nil {
			g = v.step.Upload.Generation
		}
		return s.park(v.key, g, reason)
	}
	return nil, err
}

// answered journals the outcome of a request that makes an object at key. An
// answer that was lost leaves the intent to be settled.
func (s *Syncer) answered(ctx context.Context, key ferry.ObjectKey, m made, v ferry.Version, err error) (keys, error) {
	switch {
	case err == nil:
		v.Generation = m.intent.Generation
		return s.stored(key, m.intent, v, m.opts)
	case ferry.IsKind(err, ferry.KindConflict), ferry.IsKind(err, ferry.KindNotFound):
		return s.collided(ctx, key, m.intent)
	}
	if reason, ok := permanent(err); ok {
		return s.park(key, m.intent.Generation, reason)
	}
	return nil, err
}

// stored journals that v is at key, and tells.
func (s *Syncer) stored(key ferry.ObjectKey, intent ferry.Intent, v ferry.Version, o ferry.PutOptions) (touched keys, err error) {
	err = s.j.Update(func(tx ferry.Tx) error {
		touched = keys{key}
		k := tx.Key(key)
		if k == nil || k.Intent == nil || k.Intent.Generation != intent.Generation {
			return errStale
		}
		if in := tx.Inode(intent.Inode); in != nil {
			if in.Remote != nil {
				touched = append(touched, in.Remote.Key)
			}
			if !in.Unlinked {
				touched = append(touched, in.Key())
			}
		}
		ferry.Stored(tx, key, intent, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.forget(intent.Generation)
	s.o.Crash("syncer.stored")
	s.o.Events.Settled(key, ferry.Object{Version: v, Modified: s.o.Now(), Metadata: o.Metadata, Headers: o.Headers})
	return touched, nil
}
