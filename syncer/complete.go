package syncer

import (
	"context"
	"maps"
	"slices"

	"ferry"
)

// complete makes the object of an upload whose parts are all there.
func (s *Syncer) complete(ctx context.Context, t *transfer, plan []ferry.PlanPart) (keys, error) {
	var intent ferry.Intent
	var cond ferry.Precondition
	var parts []ferry.Part
	var id ferry.UploadID
	var size int64
	waits := false
	var opts ferry.PutOptions
	err := s.j.Update(func(tx ferry.Tx) (err error) {
		k := tx.Key(t.key)
		if k == nil {
			return errStale
		}
		step := ferry.NextStep(tx, k)
		if step.Kind != ferry.StepUpload || step.Upload.Generation != t.generation {
			waits = step.Kind == ferry.StepWait
			return errStale
		}
		u := step.Upload
		if now := s.planOf(u, extentsOf(tx, u)); !slices.Equal(now, plan) {
			return errStale // written again since the plan was made
		}
		whole, ok := t.whole(plan)
		if !ok || u.State != ferry.StateUploading {
			return errStale
		}
		parts, id, size, cond = whole, u.UploadID, u.Size, k.Known.Precondition()
		intent = ferry.Intent{Kind: ferry.IntentComplete, Generation: u.Generation, Inode: u.Inode}
		if opts, intent.AttrSeq, err = t.carries(step.Inode); err != nil {
			return err
		}
		next, err := u.State.Next(ferry.EventCommitting)
		if err != nil {
			return err
		}
		u.State = next
		k.Intent = &intent
		tx.PutUpload(u)
		tx.PutKey(k)
		return nil
	})
	if waits {
		return nil, nil
	}
	if err != nil {
		return s.uploadFailed(t, err)
	}
	s.o.Crash("syncer.complete.intent")
	// Only what bound the upload to its key has to survive a power cut, not the seal
	// or the intent: without them the file is sealed as it is found, and the request
	// that is made then finds this generation in the bucket. So a file that was sent
	// while it was written does not wait for its bytes to reach the local disk.
	if err := s.barrier(ctx, t.boundAt()); err != nil {
		return nil, err
	}
	v, err := s.r.Complete(ctx, t.key, id, parts, cond)
	s.o.Crash("syncer.complete.sent")
	switch {
	case ferry.IsKind(err, ferry.KindNoUpload):
		return s.settleKey(ctx, t.key) // an earlier try may have made it
	case ferry.IsKind(err, ferry.KindInvalid):
		// The server and the journal do not agree about the parts: ask it once
		// more. If that does not help, a person must look.
		if t.distrust() {
			return keys{t.key}, s.clearIntent(t.key, intent)
		}
	}
	v.Key, v.Size = t.key, size
	return s.answered(ctx, t.key, made{intent, opts}, v, err)
}

// carries returns the metadata that the object will have, which is that of the
// moment when the upload was opened, and the count of attribute changes to record
// for it: in's own if nothing changed since, else another one, so that the
// attributes follow by a copy onto itself. That costs one short request up to
// 5 GiB; above, where it would copy all bytes, a time of last change that lies a
// little back is kept instead.
func (t *transfer) carries(in *ferry.Inode) (o ferry.PutOptions, seq uint64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.opened != nil {
		o = *t.opened
	}
	if in == nil {
		return o, 0, nil
	}
	now, err := encode(in, ferry.Intent{Generation: t.generation})
	if err != nil {
		return o, 0, err
	}
	same := func(a ferry.PutOptions) bool {
		return maps.Equal(a.Metadata, o.Metadata) && maps.Equal(a.Headers, o.Headers)
	}
	if same(now.opts) {
		return o, in.AttrSeq, nil
	}
	if in.Size > ferry.MaxPutSize {
		late := maps.Clone(now.opts.Metadata)
		if late["mtime"] = o.Metadata["mtime"]; same(ferry.PutOptions{Metadata: late, Headers: now.opts.Headers}) {
			return o, in.AttrSeq, nil
		}
	}
	return o, in.AttrSeq - 1, nil
}

// distrust makes the next step ask the server for its parts again; false if that
// was done before.
func (t *transfer) distrust() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.distrusted {
		return false
	}
	t.distrusted, t.checked = true, false
	clear(t.parts)
	return true
}

// clearIntent records that the request made no object.
func (s *Syncer) clearIntent(key ferry.ObjectKey, intent ferry.Intent) error {
	return s.j.Update(func(tx ferry.Tx) error {
		if k := tx.Key(key); k != nil && k.Intent != nil && k.Intent.Generation == intent.Generation {
			refuse(tx, k, nil)
		}
		return nil
	})
}
