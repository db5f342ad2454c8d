package syncer

import (
	"context"
	"sync"
	"time"

	"ferry"
)

// transfer is what is known in memory of one multipart upload: which of its
// parts still have the bytes of staging. The journal says what the server was
// sent; only a transfer knows that nobody wrote there since. After a restart
// nothing is trusted, and parts are compared with a fresh digest.
type transfer struct {
	generation ferry.Generation
	key        ferry.ObjectKey // of the step that has claimed it

	mu         sync.Mutex
	claimed    bool
	refused    bool             // the server takes no parts of it: it waits for the seal
	told       ferry.PartNumber // the part that the writer was in when it was told last
	id         ferry.UploadID
	opened     *ferry.PutOptions // what was given when the upload was opened, nil if that is not known
	checked    bool              // the server's list of parts was asked, or the upload is new
	parts      map[ferry.PartNumber]*sentPart
	flying     map[ferry.PartNumber]*flight
	size       int64  // of a file that is still being written
	err        error  // of a part
	lost       bool   // the server does not know the upload ID
	rewrites   int64  // how often bytes changed
	distrusted bool   // the server refused the list of parts once
	bound      uint64 // the change that bound the upload to its key; 0 if not known
	doubts     int    // how often staging seemed to lack bytes
	wake       chan struct{}
}

// sentPart is a part that the server has.
type sentPart struct {
	ferry.Part
	trusted bool // its bytes are those of staging now
}

// flight is a part under way; stale says that its bytes were written meanwhile.
type flight struct {
	extent ferry.Extent
	stale  bool
}

// transferOf returns the transfer of g, made if there is none.
func (s *Syncer) transferOf(g ferry.Generation) *transfer {
	s.tmu.Lock()
	defer s.tmu.Unlock()
	t := s.transfers[g]
	if t == nil {
		t = &transfer{
			generation: g,
			parts:      map[ferry.PartNumber]*sentPart{},
			flying:     map[ferry.PartNumber]*flight{},
			wake:       make(chan struct{}, 1),
		}
		s.transfers[g] = t
	}
	return t
}

func (s *Syncer) lookup(g ferry.Generation) *transfer {
	s.tmu.Lock()
	defer s.tmu.Unlock()
	return s.transfers[g]
}

// forget drops what is known of an upload that ended.
func (s *Syncer) forget(g ferry.Generation) {
	s.tmu.Lock()
	defer s.tmu.Unlock()
	delete(s.transfers, g)
}

func (t *transfer) nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// claim makes the transfer the caller's; false if another step has it.
func (t *transfer) claim(key ferry.ObjectKey) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.claimed {
		return false
	}
	t.claimed, t.key = true, key
	return true
}

func (t *transfer) unclaim() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.claimed = false
}

// reset starts anew with another upload ID.
func (t *transfer) reset(id ferry.UploadID, opened *ferry.PutOptions) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.id, t.opened, t.checked, t.lost, t.err = id, opened, true, false, nil
	clear(t.parts)
}

// rewritten takes away the trust in parts that e touches.
func (t *transfer) rewritten(e ferry.Extent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rewrites++
	for _, p := range t.parts {
		if p.Extent.Intersect(e).Length > 0 {
			p.trusted = false
		}
	}
	for _, f := range t.flying {
		if f.extent.Intersect(e).Length > 0 {
			f.stale = true
		}
	}
}

// has reports whether the server has part p, and whether its bytes are known to
// be those of staging.
func (t *transfer) has(p ferry.PlanPart) (has, trusted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.parts[p.Number]
	if q == nil || q.Extent != p.Extent || q.Copied != p.Copy {
		return false, false
	}
	return true, q.trusted
}

func (t *transfer) isFlying(n ferry.PartNumber) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.flying[n] != nil
}

func (t *transfer) inFlight() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.flying)
}

// whole returns the parts to complete with, in order; ok only if all are there
// and trusted and none is under way.
func (t *transfer) whole(plan []ferry.PlanPart) (parts []ferry.Part, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.flying) > 0 {
		return nil, false
	}
	for _, p := range plan {
		q := t.parts[p.Number]
		if q == nil || !q.trusted || q.Extent != p.Extent || q.Copied != p.Copy {
			return nil, false
		}
		parts = append(parts, q.Part)
	}
	return parts, true
}

// upload brings the generation into the bucket by a multipart upload at key: it
// opens one or goes on with it, sends what is missing and completes it. While
// the file is still being written it sends the parts that the writer has left
// behind, and waits for more.
func (s *Syncer) upload(ctx context.Context, key ferry.ObjectKey, g ferry.Generation) (keys, error) {
	t := s.transferOf(g)
	if !t.claim(key) {
		return nil, &ferry.Error{Op: "syncer.upload", Key: string(key), Kind: ferry.KindTransient, Msg: "its upload is still ending under another name"}
	}
	defer t.unclaim()
	defer s.drain(t)
	var plan []ferry.PlanPart // of the sealed content, as of plannedAt
	var plannedAt int64
	for {
		at, err := s.lookUpload(t)
		if err != nil {
			return nil, err
		}
		switch {
		case at.over:
			return nil, nil
		case at.giveUp:
			return s.giveUp(t)
		case t.takeLost():
			return s.lostUpload(t)
		}
		if err := t.takeErr(); err != nil {
			return s.uploadFailed(t, err)
		}
		if at.u.UploadID == "" {
			if err := s.openUpload(ctx, t, at); err != nil {
				return s.uploadFailed(t, err)
			}
			continue
		}
		if at.u.State == ferry.StateSealed || at.u.State == ferry.StateDirty {
			if err := s.takeUp(t); err != nil {
				return nil, err
			}
			continue
		}
		if err := s.checkParts(ctx, t, at); err != nil {
			return s.uploadFailed(t, err)
		}
		sealed := !at.u.State.Writable()
		want := plan
		if !sealed {
			plan = nil
			want = t.behind(at.u)
		} else if e := t.changes(); plan == nil || plannedAt != e || plan[len(plan)-1].Extent.End() != at.u.Size {
			plan, plannedAt = s.planOf(at.u, at.ours), e
			want = plan
		}
		sent, err := s.sendMissing(ctx, t, at, want, sealed)
		switch {
		case err != nil:
			return s.uploadFailed(t, err)
		case sent:
			continue // time has passed: look again
		case sealed && t.inFlight() == 0:
			return s.complete(ctx, t, plan)
		}
		tick := time.NewTimer(time.Second) // in case a seal is not told
		select {
		case <-ctx.Done():
			tick.Stop()
			return nil, ctx.Err()
		case <-t.wake:
		case <-tick.C:
		}
		tick.Stop()
	}
}

// drain waits for the parts under way: none outlives its step.
func (s *Syncer) drain(t *transfer) {
	for t.inFlight() > 0 {
		<-t.wake // each part that ends wakes
	}
	t.nudge() // whoever else waited for it
}

func (t *transfer) takeLost() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

func (t *transfer) takeErr() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.err
	t.err = nil
	return err
}

// behind returns the parts that the writer of a new file has left behind.
func (t *transfer) behind(u *ferry.Upload) (plan []ferry.PlanPart) {
	if u.Base != nil {
		return nil
	}
	t.mu.Lock()
	size := t.size
	t.mu.Unlock()
	for n := ferry.PartNumber(1); n <= ferry.MaxParts; n++ {
		e := ferry.PartAt(n)
		if e.End() >= size {
			break
		}
		plan = append(plan, ferry.PlanPart{Number: n, Extent: e})
	}
	return plan
}

// planOf returns the parts of sealed content.
func (s *Syncer) planOf(u *ferry.Upload, ours *ferry.ExtentSet) (plan []ferry.PlanPart) {
	if u.Base != nil {
		e := ferry.Edit{Size: u.Size, Base: *u.Base, BaseLimit: u.BaseLimit, Ours: ours}
		return ferry.Plan(e, s.o.Capabilities().CopyPart)
	}
	for n := ferry.PartNumber(1); n <= ferry.PartsFor(u.Size); n++ {
		plan = append(plan, ferry.PlanPart{Number: n, Extent: ferry.PartIn(n, u.Size)})
	}
	return plan
}

// changes counts the changes of bytes that the transfer was told of.
func (t *transfer) changes() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rewrites
}

// uploadFailed sorts the failure of an upload: parked, given back to the server,
// or tried again.
func (s *Syncer) uploadFailed(t *transfer, err error) (keys, error) {
	if ferry.IsKind(err, ferry.KindNoUpload) {
		return s.lostUpload(t)
	}
	if reason, ok := permanent(err); ok {
		t.mu.Lock()
		t.refused = true // matters only while it is written
		t.mu.Unlock()
		return s.park(t.key, t.generation, reason)
	}
	return nil, err
}

// bind notes the change that bound the upload to its key, or a later one.
func (t *transfer) bind(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bound = seq
}

// boundAt returns the change that bound the upload to its key, 0 if this process
// did not make it.
func (t *transfer) boundAt() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bound
}
