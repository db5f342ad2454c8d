package syncer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"ferry"
)

// uploadView is what the rows say of an upload under way.
type uploadView struct {
	u      *ferry.Upload
	in     *ferry.Inode
	ours   *ferry.ExtentSet
	over   bool // it is not this key's any more, or has to wait
	giveUp bool // nobody wants it, or only an open handle does
}

// lookUpload reads the rows of an upload.
func (s *Syncer) lookUpload(t *transfer) (at uploadView, err error) {
	err = s.j.View(func(tx ferry.Tx) error {
		at.u = tx.Upload(t.generation)
		k := tx.Key(t.key)
		if at.u == nil || k == nil || k.Intent != nil {
			at.over = true
			return nil
		}
		at.in = tx.Inode(at.u.Inode)
		switch at.u.State {
		case ferry.StateDirty, ferry.StateSealed, ferry.StateStreaming, ferry.StateUploading:
		default:
			at.over = true
			return nil
		}
		bound := at.u.Key != ""
		if bound && (at.u.Key != t.key || k.Upload != t.generation) {
			at.over = true
			return nil
		}
		if at.in == nil || at.in.Content != t.generation || at.in.Unlinked {
			at.giveUp = bound
			at.over = !bound
			return nil
		}
		if !bound && (k.Upload != "" || at.in.Key() != t.key || k.Parked != "") {
			at.over = true
			return nil
		}
		at.ours = extentsOf(tx, at.u)
		return nil
	})
	return at, err
}

// extentsOf returns the bytes of a generation with a base that are ours.
func extentsOf(tx ferry.Tx, u *ferry.Upload) *ferry.ExtentSet {
	if u.Base != nil {
		if set := tx.Extents(u.Generation); set != nil {
			return set
		}
	}
	return ferry.NewExtentSet()
}

// openUpload opens the multipart upload and binds it to its key.
func (s *Syncer) openUpload(ctx context.Context, t *transfer, at uploadView) error {
	if at.u.Size > ferry.MaxObjectSize {
		return &ferry.Error{Op: "syncer.upload", Key: string(t.key), Kind: ferry.KindTooLarge, Msg: "S3 takes objects of at most 5 TiB"}
	}
	if !at.in.HasForeign && at.in.Remote != nil {
		if err := s.learnForeign(ctx, at.in); !errors.Is(err, errStale) {
			return err // nil looks again
		}
		return nil
	}
	m, err := encode(at.in, ferry.Intent{Generation: t.generation})
	if err != nil {
		return err
	}
	id, err := s.r.NewUpload(ctx, t.key, m.opts)
	if err != nil {
		return err
	}
	s.o.Crash("syncer.upload.opened")
	err = s.j.Update(func(tx ferry.Tx) error {
		u, k := tx.Upload(t.generation), tx.Key(t.key)
		if u == nil || k == nil || k.Intent != nil || k.Upload != "" || u.UploadID != "" {
			return errStale
		}
		in := tx.Inode(u.Inode)
		if in == nil || in.Unlinked || in.Key() != t.key || in.Content != t.generation {
			return errStale
		}
		next, err := u.State.Next(ferry.EventOpened)
		if err != nil {
			return errStale
		}
		u.State, u.Key, u.UploadID = next, t.key, id
		k.Upload = t.generation
		tx.PutUpload(u)
		tx.PutKey(k)
		return nil
	})
	if err != nil {
		// Best effort: what the journal does not know, the server forgets by itself.
		if aerr := s.r.Abort(ctx, t.key, id); aerr != nil {
			s.o.Log.Info("an unused upload was not given back", "key", t.key, "error", aerr)
		}
		if errors.Is(err, errStale) {
			return nil
		}
		return err
	}
	t.reset(id, &m.opts)
	t.bind(s.j.LastSeq())
	return nil
}

// takeUp goes on with an upload that was opened before its content was sealed
// or unparked: what the server has still counts.
func (s *Syncer) takeUp(t *transfer) error {
	return s.j.Update(func(tx ferry.Tx) error {
		u := tx.Upload(t.generation)
		if u == nil || u.UploadID == "" {
			return nil
		}
		if next, err := u.State.Next(ferry.EventOpened); err == nil {
			u.State = next
			tx.PutUpload(u)
		}
		return nil
	})
}

// checkParts asks the server, once after a start, which parts it has: the truth
// about parts is there. Those that the journal knows too may count again.
func (s *Syncer) checkParts(ctx context.Context, t *transfer, at uploadView) error {
	t.mu.Lock()
	checked := t.checked && t.id == at.u.UploadID
	t.mu.Unlock()
	if checked {
		return nil
	}
	there, err := s.r.ListParts(ctx, t.key, at.u.UploadID)
	if err != nil {
		return err
	}
	var known []ferry.Part
	if err := s.j.View(func(tx ferry.Tx) error {
		known = tx.Parts(t.generation)
		return nil
	}); err != nil {
		return err
	}
	etags := map[ferry.PartNumber]ferry.ETag{}
	for _, p := range there {
		etags[p.Number] = p.ETag
	}
	t.reset(at.u.UploadID, nil)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range known {
		if etags[p.Number] == p.ETag {
			t.parts[p.Number] = &sentPart{Part: p, trusted: p.Copied}
		}
	}
	return nil
}

// sendMissing starts the first part that the server lacks, when the limiter lets
// it, and reports whether there was one. Parts that it has but
// that are not trusted are compared with a fresh digest once the content is
// sealed.
func (s *Syncer) sendMissing(ctx context.Context, t *transfer, at uploadView, want []ferry.PlanPart, sealed bool) (sent bool, err error) {
	for _, p := range want {
		if t.isFlying(p.Number) {
			continue
		}
		has, trusted := t.has(p)
		if has && (trusted || !sealed) {
			continue
		}
		if has && sealed {
			same, err := s.compare(ctx, t, at, p)
			if err != nil {
				return false, err
			}
			if same {
				continue
			}
		}
		if err := s.startPart(ctx, t, at, p); err != nil {
			return false, err
		}
		return true, nil // its turn took time: look whether it was sealed, or written again
	}
	return false, nil
}

// compare reports whether the part that was sent has the bytes of staging, and
// trusts it then.
func (s *Syncer) compare(ctx context.Context, t *transfer, at uploadView, p ferry.PlanPart) (bool, error) {
	t.mu.Lock()
	part := t.parts[p.Number]
	if part == nil || part.Digest == nil || s.o.Digest == nil {
		t.mu.Unlock()
		return false, nil
	}
	f := &flight{extent: p.Extent} // so that a write meanwhile is noticed
	t.flying[p.Number] = f
	digest := part.Digest
	t.mu.Unlock()
	same, err := func() (bool, error) {
		c := newContent(at.u, at.ours)
		if err := c.open(ctx, s); err != nil {
			return false, t.doubt(ctx, err)
		}
		defer c.close()
		h := s.o.Digest()
		if _, err := io.Copy(h, io.NewSectionReader(c, p.Extent.Offset, p.Extent.Length)); err != nil {
			return false, t.doubt(ctx, err)
		}
		return bytes.Equal(h.Sum(nil), digest), nil
	}()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.flying, p.Number)
	if same && !f.stale && err == nil {
		part.trusted = true
	}
	return same, err
}

// startPart takes its turn and sends the part in a goroutine of its own, which
// ends before the step does (drain).
func (s *Syncer) startPart(ctx context.Context, t *transfer, at uploadView, p ferry.PlanPart) error {
	cost := p.Extent.Length
	if p.Copy {
		cost = 0
	}
	if err := s.lim.acquire(ctx, cost); err != nil {
		return err
	}
	f := &flight{extent: p.Extent}
	t.mu.Lock()
	t.flying[p.Number] = f
	t.mu.Unlock()
	go func() { // owned by upload, which drains t
		part, err := s.sendPart(ctx, t, at, p)
		s.lim.release(cost)
		if err == nil {
			err = s.recordPart(t, at.u.UploadID, part)
		}
		t.mu.Lock()
		delete(t.flying, p.Number)
		switch {
		case err == nil:
			t.parts[p.Number] = &sentPart{Part: part, trusted: !f.stale}
		case ferry.IsKind(err, ferry.KindNoUpload):
			t.lost = true
		case !errors.Is(err, errStale):
			t.err = err
		}
		t.mu.Unlock()
		t.nudge()
	}()
	return nil
}

// sendPart sends or copies one part, and tries a few times: one bad answer must
// not stop the parts beside it.
func (s *Syncer) sendPart(ctx context.Context, t *transfer, at uploadView, p ferry.PlanPart) (part ferry.Part, err error) {
	const tries = 3
	for try := range tries {
		if try > 0 && !pause(ctx, s.backoff(try-1)) {
			return part, ctx.Err()
		}
		if p.Copy {
			part, err = s.r.CopyPart(ctx, t.key, at.u.UploadID, p.Number, *at.u.Base, p.Extent)
			if ferry.IsKind(err, ferry.KindConflict) || ferry.IsKind(err, ferry.KindNotFound) {
				return part, errBaseLost
			}
			if err == nil && part.ETag == "" {
				err = &ferry.Error{Op: "syncer.part", Key: string(t.key), Kind: ferry.KindTransient, Msg: "the answer has no ETag"}
			}
			part.Copied, part.Digest = true, nil
		} else {
			part, err = s.sendBytes(ctx, t, at, p)
		}
		part.Number, part.Extent = p.Number, p.Extent
		s.line.note(err)
		if err == nil || ctx.Err() != nil || errors.Is(err, ferry.ErrOffline) {
			break
		}
		if k := ferry.KindOf(err); k != ferry.KindTransient && k != ferry.KindCorrupt {
			break
		}
	}
	if ferry.IsKind(err, ferry.KindCorrupt) {
		if _, parked := errors.AsType[*parkError](err); !parked {
			err = &ferry.Error{Op: "syncer.part", Key: string(t.key), Kind: ferry.KindTransient, Msg: fmt.Sprintf("part %d arrived damaged", p.Number), Err: err}
		}
	}
	if err == nil {
		if p.Copy {
			s.partsCopied.Add(1)
		} else {
			s.partsSent.Add(1)
		}
	}
	return part, err
}

func (s *Syncer) sendBytes(ctx context.Context, t *transfer, at uploadView, p ferry.PlanPart) (ferry.Part, error) {
	u := *at.u
	if u.State.Writable() {
		u.Size = p.Extent.End() // it grows on; this much is there
	}
	c := newContent(&u, at.ours)
	if err := c.open(ctx, s); err != nil {
		if u.State.Writable() {
			err = errStale // cut shorter meanwhile: the seal will tell
		}
		return ferry.Part{}, t.doubt(ctx, err)
	}
	defer c.close()
	part, err := s.r.PutPart(ctx, t.key, u.UploadID, p.Number, c, p.Extent)
	if err != nil && c.failure() != nil {
		if err = c.failure(); u.State.Writable() {
			err = errStale
		}
	}
	return part, t.doubt(ctx, err)
}

// doubtMost is how often bytes that are missing from staging are looked for again
// before the file is taken for damaged.
const doubtMost = 5

// doubt makes errStale of the first few errors that say staging is damaged: a file
// that was opened again, cut shorter and closed while the part was being read looks
// like that for a moment, and its rows tell in the next look.
func (t *transfer) doubt(ctx context.Context, err error) error {
	if !errors.Is(err, errDamaged) {
		return err
	}
	t.mu.Lock()
	t.doubts++
	n := t.doubts
	t.mu.Unlock()
	if n > doubtMost {
		return err
	}
	pause(ctx, 50*time.Millisecond)
	return errStale
}

// recordPart journals a part, if the upload is still under way.
func (s *Syncer) recordPart(t *transfer, id ferry.UploadID, part ferry.Part) error {
	s.o.Crash("syncer.part.sent")
	return s.j.Update(func(tx ferry.Tx) error {
		u := tx.Upload(t.generation)
		if u == nil || u.UploadID != id || u.State != ferry.StateStreaming && u.State != ferry.StateUploading {
			return errStale
		}
		tx.PutPart(t.generation, part)
		return nil
	})
}

// giveUp ends an upload whose content no name leads to: the parts go back to the
// server, and the key can go on. What an open handle still reads stays in
// staging.
func (s *Syncer) giveUp(t *transfer) (keys, error) {
	err := s.j.Update(func(tx ferry.Tx) error {
		u := tx.Upload(t.generation)
		if u == nil || u.UploadID == "" {
			return nil
		}
		if unwanted(tx, u) {
			ferry.Supersede(tx, u.Generation)
			return nil
		}
		if in := tx.Inode(u.Inode); in == nil || !in.Unlinked {
			return nil
		}
		if u.State == ferry.StateStreaming {
			ferry.DetachUpload(tx, u, s.o.Generations.Next())
			return nil
		}
		return s.handBack(tx, u)
	})
	s.forget(t.generation)
	return keys{t.key}, err
}

// handBack makes u sealed again with nothing at the server, which is told by an
// upload row of its own.
func (s *Syncer) handBack(tx ferry.Tx, u *ferry.Upload) error {
	next, err := u.State.Next(ferry.EventLost)
	if err != nil {
		return errStale
	}
	ferry.Unbind(tx, u)
	tx.PutUpload(&ferry.Upload{
		Generation: s.o.Generations.Next(), Inode: u.Inode, State: ferry.StateAborting, Path: u.Path,
		Key: u.Key, UploadID: u.UploadID, Truncating: -1, Since: u.Since,
	})
	u.State, u.Key, u.UploadID = next, "", ""
	tx.PutUpload(u)
	tx.DeleteParts(u.Generation)
	return nil
}

// lostUpload starts again from staging: the server does not know the upload ID.
func (s *Syncer) lostUpload(t *transfer) (keys, error) {
	err := s.j.Update(func(tx ferry.Tx) error {
		if u := tx.Upload(t.generation); u != nil && u.UploadID != "" {
			return lose(tx, u)
		}
		return nil
	})
	s.forget(t.generation)
	s.o.Log.Warn("the server does not know the upload any more; it starts again from staging", "key", t.key, "generation", t.generation)
	return keys{t.key}, err
}

// lose records that the server holds nothing of u.
func lose(tx ferry.Tx, u *ferry.Upload) error {
	next, err := u.State.Next(ferry.EventLost)
	if err != nil {
		return errStale
	}
	ferry.Unbind(tx, u)
	u.State, u.Key, u.UploadID = next, "", ""
	tx.PutUpload(u)
	tx.DeleteParts(u.Generation)
	if next != ferry.StateDirty && unwanted(tx, u) {
		ferry.Supersede(tx, u.Generation)
	}
	return nil
}

// sweepAborting gives the parts of unwanted uploads back to the server.
func (s *Syncer) sweepAborting(ctx context.Context) {
	for {
		var rows []*ferry.Upload
		err := s.j.View(func(tx ferry.Tx) error {
			for u := range tx.Uploads() {
				if u.State == ferry.StateAborting && len(rows) < 64 {
					rows = append(rows, u)
				}
			}
			return nil
		})
		s.prune()
		done := 0
		if err == nil && !s.line.isOffline() {
			for _, u := range rows {
				if s.abort(ctx, u) == nil {
					done++
				}
			}
		}
		if done == 64 {
			continue
		}
		moved := s.moved.next()
		if !pause(ctx, s.o.Gather) {
			return
		}
		if len(rows) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-moved:
			case <-time.After(10 * time.Second):
			}
		}
	}
}

func (s *Syncer) abort(ctx context.Context, u *ferry.Upload) error {
	if u.UploadID != "" {
		if err := s.r.Abort(ctx, u.Key, u.UploadID); err != nil && !ferry.IsKind(err, ferry.KindNoUpload) && !ferry.IsKind(err, ferry.KindNotFound) {
			s.line.note(err)
			return err
		}
	}
	err := s.j.Update(func(tx ferry.Tx) error {
		if now := tx.Upload(u.Generation); now != nil && now.State == ferry.StateAborting {
			now.State = ferry.StateDiscarded
			tx.PutUpload(now)
		}
		return nil
	})
	s.moved.signal()
	return err
}
