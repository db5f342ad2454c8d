package syncer

import (
	"context"
	"sync"

	"ferry"
)

// Grown says that a file being written has size bytes now. Parts that the writer
// has left behind go out while it goes on. Cheap, and does not block.
func (s *Syncer) Grown(_ ferry.InodeID, g ferry.Generation, size int64) {
	if size <= ferry.PartAt(1).End() {
		if t := s.lookup(g); t != nil {
			t.setSize(size)
		}
		return
	}
	t := s.transferOf(g)
	if t.setSize(size) {
		t.nudge()
		s.agenda.stream(g)
	}
}

// setSize notes the size and reports whether the writer came into another part.
func (t *transfer) setSize(size int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.size = size
	n := ferry.PartOf(max(0, size-1))
	if n == t.told {
		return false
	}
	t.told = n
	return true
}

// Rewritten says that bytes of a generation changed that may have been sent
// already: every write and truncation of a growing file that is not at its end.
// It must be called after the bytes changed and before Sealed. A writer whose
// writes are not seen one by one (passthrough) calls it with the whole file.
func (s *Syncer) Rewritten(g ferry.Generation, e ferry.Extent) {
	if t := s.lookup(g); t != nil {
		t.rewritten(e)
	}
}

// Sealed says that the last writer of a generation closed it, after the change
// was journaled.
func (s *Syncer) Sealed(g ferry.Generation) {
	if t := s.lookup(g); t != nil {
		t.nudge()
	}
	var key ferry.ObjectKey
	bound := false
	err := s.j.View(func(tx ferry.Tx) error {
		u := tx.Upload(g)
		if u == nil {
			return nil
		}
		if key, bound = u.Key, u.Key != ""; bound {
			return nil
		}
		if in := tx.Inode(u.Inode); in != nil && !in.Unlinked {
			key = in.Key()
		}
		return nil
	})
	switch {
	case err != nil || key == "":
		s.Wake()
	case bound || s.linger() == 0:
		s.agenda.lookAt(key)
	default:
		s.agenda.lookLater(key, s.o.Now().Add(s.linger()))
	}
}

// considerStream begins to send a file that is still being written. The caller
// holds the agenda's mu.
func (s *Syncer) considerStream(ctx context.Context, tx ferry.Tx, g ferry.Generation, wg *sync.WaitGroup, stop context.CancelCauseFunc) {
	a := &s.agenda
	u := tx.Upload(g)
	if u == nil || !u.State.Writable() || u.Base != nil || a.streamed >= streamSlots {
		return
	}
	if t := s.lookup(g); t == nil || t.isRefused() {
		return
	}
	in := tx.Inode(u.Inode)
	if in == nil || in.Unlinked || in.Content != g {
		return
	}
	key := in.Key()
	if u.Key != "" {
		key = u.Key
	}
	k := tx.Key(key)
	if key.Reserved() || k == nil || k.Intent != nil || k.Parked != "" || k.Upload != "" && k.Upload != g {
		return
	}
	if _, busy := a.busy[key]; busy {
		return
	}
	a.busy[key] = classLarge
	a.streamed++
	wg.Go(func() {
		seen := a.pokes.Load()
		touched, err := s.upload(ctx, key, g)
		if err != nil {
			s.failed(ctx, key, err, stop)
		}
		a.mu.Lock()
		a.streamed--
		a.mu.Unlock()
		s.release(key, err, seen)
		if err == nil {
			s.agenda.lookAt(append(touched, key)...)
		}
	})
}

func (t *transfer) isRefused() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refused
}

// prune drops what is known in memory of generations that have no row any more.
func (s *Syncer) prune() {
	s.tmu.Lock()
	var all []ferry.Generation
	for g := range s.transfers {
		all = append(all, g)
	}
	s.tmu.Unlock()
	var gone []ferry.Generation
	err := s.j.View(func(tx ferry.Tx) error {
		for _, g := range all {
			if tx.Upload(g) == nil {
				gone = append(gone, g)
			}
		}
		return nil
	})
	if err != nil {
		return
	}
	for _, g := range gone {
		s.forget(g)
	}
}
