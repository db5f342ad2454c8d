package syncer

import (
	"context"
	"sync"
	"time"

	"ferry"
)

const (
	// roundMost is how many rows one round reads: a view must not be held for long.
	roundMost = 1000
	// fullMost is how many rows of a class that has no room a round passes over to
	// find work of another; a sweep looks further.
	fullMost = 32
	// fullEnds is how many keys must be let go before rows that had no room are
	// looked at again: with a backlog, every change of rows wakes the scheduler.
	fullEnds = 8
)

// crowded reports whether looking at rows again is of no use yet, because the
// last look found no room and hardly any was made since. The caller holds mu.
func (a *agenda) crowded() bool {
	return a.full && !a.sweeping && a.ends-a.fullAt < fullEnds && uint64(len(a.busy)) >= fullEnds
}

// schedule decides what is worked on: oldest first, each class with its own
// share, so that neither one huge file nor many small ones hold up the other.
// It returns when ctx ends (nil) or the journal fails for good.
func (s *Syncer) schedule(ctx context.Context, stop context.CancelCauseFunc) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		next, err := s.round(ctx, &wg, stop)
		switch {
		case ctx.Err() != nil:
			if cause := context.Cause(ctx); ferry.IsKind(cause, ferry.KindReadOnly) {
				return cause
			}
			return nil
		case ferry.IsKind(err, ferry.KindReadOnly):
			return err
		case err != nil:
			s.o.Log.Error("the rows of the journal could not be read", "error", err)
			next = time.Second
		}
		// Several wakes in a row make one round.
		if !pause(ctx, 2*time.Millisecond) {
			continue
		}
		t := time.NewTimer(next)
		select {
		case <-s.agenda.wake:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// round looks at the keys that are due and at the rows behind the cursor, hands
// out what can go, and returns how long nothing will be due.
func (s *Syncer) round(ctx context.Context, wg *sync.WaitGroup, stop context.CancelCauseFunc) (time.Duration, error) {
	const idle = 5 * time.Second
	if s.line.isOffline() {
		return idle, nil // the line pokes when it is back
	}
	a := &s.agenda
	began, now := time.Now(), s.o.Now()
	next := idle
	soon := func(d time.Duration) { next = min(next, max(d, time.Millisecond)) }

	a.mu.Lock()
	defer a.mu.Unlock()
	every := max(time.Second, 20*a.sweptFor)
	switch {
	case s.hurry.Load() > 0:
		every = max(100*time.Millisecond, 20*a.sweptFor)
	case a.sweptTo == a.pokes.Load():
		every = max(idle, 20*a.sweptFor)
	}
	if !a.sweeping && now.Sub(a.sweptAt) >= every {
		a.sweeping, a.cursor, a.sweptAt, a.sweptFor, a.sweptTo = true, position{}, now, 0, a.pokes.Load()
		clear(a.waiters) // the sweep finds them again, as far as they still wait
		a.waiting = 0
	}
	streams := a.collect()
	keys := a.due(now)
	filling := s.beginFill()
	a.seq = s.j.LastSeq() // what the view shows is not younger
	err := s.j.View(func(tx ferry.Tx) error {
		for _, key := range keys {
			if k := tx.Key(key); k != nil {
				s.consider(tx, k)
			} else {
				delete(a.attempts, key)
			}
		}
		for g := range streams {
			s.considerStream(ctx, tx, g, wg, stop)
		}
		if len(a.later) >= laterMost || !filling || a.crowded() {
			return nil
		}
		var full, read int
		passOver := fullMost
		if a.sweeping {
			passOver = roundMost / 4
		}
		start := a.cursor
		skipped := position{}
		ended := true
		for k := range tx.Work(start.since, start.key) {
			at := position{k.Since, k.Key}
			if wait := time.Duration(k.Since) + s.linger() - time.Duration(now.UnixNano()); wait > 0 {
				soon(wait)
				break // all that follow are younger
			}
			if read++; read > roundMost || full > passOver {
				ended = false
				break
			}
			_, later := a.later[k.Key]
			if _, busy := a.busy[k.Key]; !busy && !later && !s.consider(tx, k) {
				if full == 0 {
					skipped = a.cursor
				}
				full++
			}
			a.cursor = at
		}
		a.full, a.fullAt = full > 0, a.ends
		if full > 0 {
			a.cursor, ended = skipped, true // whoever finishes nudges
		} else if !ended {
			soon(0)
		}
		if a.sweeping {
			a.sweptFor += time.Since(began)
			a.sweeping = !ended
		}
		return nil
	})
	for _, at := range a.later {
		soon(at.Sub(now))
	}
	soon(a.sweptAt.Add(every).Sub(now))
	a.mu.Unlock()
	s.start(ctx, wg, stop)
	a.mu.Lock()
	return next, err
}

// consider takes k's key into work if there is something to do now. It returns
// false if there is, but no room for it; the cursor comes back then. The caller
// holds mu.
func (s *Syncer) consider(tx ferry.Tx, k *ferry.KeyState) bool {
	a := &s.agenda
	if _, busy := a.busy[k.Key]; busy {
		return true
	}
	c, waits := s.classOf(tx, k)
	if c == classNone {
		a.await(k.Key, waits)
		return true
	}
	if !s.room(c) {
		a.rewind(position{k.Since - 1, ""})
		return false
	}
	s.take(k.Key, c, stampOf(tx, k, a.seq))
	return true
}

// classOf says what sort of work the next step of k is, or the key that it waits
// for.
func (s *Syncer) classOf(tx ferry.Tx, k *ferry.KeyState) (c class, waits ferry.ObjectKey) {
	step := ferry.NextStep(tx, k)
	switch step.Kind {
	case ferry.StepNone:
		if reopened(tx, k) {
			return classSmall, ""
		}
		return classNone, ""
	case ferry.StepWait:
		if in := cycleAt(tx, k, step); in != nil {
			return classSmall, ""
		}
		return classNone, step.Waits
	case ferry.StepDelete:
		return classDelete, ""
	case ferry.StepUpload:
		return classLarge, ""
	case ferry.StepPut:
		if s.inParts(step) {
			return classLarge, ""
		}
	case ferry.StepMove:
		if step.Inode.Remote.Size > moveWhole {
			return classLarge, ""
		}
	case ferry.StepAttr:
		if step.Inode.Remote.Size > ferry.MaxPutSize {
			return classLarge, ""
		}
	case ferry.StepDone, ferry.StepSettle:
	}
	return classSmall, ""
}

// inParts reports whether a put goes by a multipart upload.
func (s *Syncer) inParts(step ferry.Step) bool {
	return step.Upload != nil && step.Upload.Size > ferry.PartAt(1).Length
}

// reopened reports whether k was parked for a content that is not parked any
// more: the file was written again, and that is an answer to why it was parked.
func reopened(tx ferry.Tx, k *ferry.KeyState) bool {
	if k.Parked == "" || k.Wanted.Kind != ferry.WantInode {
		return false
	}
	in := tx.Inode(k.Wanted.Inode)
	if in == nil || in.Content == "" {
		return false
	}
	u := tx.Upload(in.Content)
	return u != nil && u.State != ferry.StateParked
}
