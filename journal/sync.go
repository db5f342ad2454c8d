package journal

import (
	"context"
	"sync"
	"time"

	"ferry"
	"ferry/journal/crashpoint"
	"ferry/journal/redo"
)

// rounds shares one barrier among all who wait for one.
type rounds struct {
	mu   sync.Mutex
	next *round // the round that has not begun, nil if nobody waits
	wake chan struct{}
	over error // why there are no more rounds
	// running is held while a barrier is made.
	running sync.Mutex
}

type round struct {
	done chan struct{}
	err  error
}

// Sync makes every committed change and every staged byte written before it was
// called survive a power cut. It is shared by all who wait; if ctx ends first,
// the barrier is made all the same. After a failure the journal is read-only.
func (j *Journal) Sync(ctx context.Context) error {
	r := j.join()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return &ferry.Error{Op: "journal.sync", Kind: ferry.KindTransient, Err: ctx.Err()}
	}
}

// join adds the caller to the next round.
func (j *Journal) join() *round {
	j.rounds.mu.Lock()
	defer j.rounds.mu.Unlock()
	if j.rounds.over != nil {
		r := &round{done: make(chan struct{}), err: j.rounds.over}
		close(r.done)
		return r
	}
	if j.rounds.next == nil {
		j.rounds.next = &round{done: make(chan struct{})}
		select {
		case j.rounds.wake <- struct{}{}:
		default:
		}
	}
	return j.rounds.next
}

// syncNow is Sync for who must not wait for the syncer: the folder.
func (j *Journal) syncNow() error {
	r := j.join()
	j.serve()
	<-r.done
	return r.err
}

// syncer makes the barriers: when asked to, and every SyncInterval if there is
// anything to make durable. It is owned by the journal: Close waits for it.
func (j *Journal) syncer() {
	tick := time.NewTicker(j.o.SyncInterval)
	defer tick.Stop()
	for {
		select {
		case <-j.stopped:
			j.serve() // who came before Close is answered
			return
		case <-j.rounds.wake:
			j.serve()
		case <-tick.C:
			if j.unsynced() && j.redo.Dead() == nil {
				j.join()
				j.serve()
			}
		}
	}
}

// serve runs the waiting round, if there is one.
func (j *Journal) serve() {
	j.rounds.running.Lock()
	defer j.rounds.running.Unlock()
	j.rounds.mu.Lock()
	r := j.rounds.next
	j.rounds.next = nil
	j.rounds.mu.Unlock()
	if r == nil {
		return
	}
	r.err = j.makeBarrier()
	close(r.done)
}

// unsynced reports whether a barrier would make anything durable or free.
func (j *Journal) unsynced() bool {
	j.stateMu.RLock()
	frees := len(j.frees)
	j.stateMu.RUnlock()
	return frees > 0 || j.LastSeq() > j.Barrier() || j.store.Unsynced()
}

// makeBarrier is one round. Only serve calls it, one at a time.
func (j *Journal) makeBarrier() error {
	if err := j.redo.Dead(); err != nil {
		return err
	}
	// The record first, then the files: bytes are always written, and their file
	// named, before the record that speaks of them.
	through := j.LastSeq()
	j.o.Crash(crashpoint.SyncBefore)
	if err := j.store.Sync(); err != nil {
		err := &ferry.Error{
			Op: "journal.sync", Kind: ferry.KindReadOnly, Err: err, Msg: "staged bytes could not be made durable",
			Hint: "see to the disk with the state directory and mount again",
		}
		j.readOnly(err)
		return err
	}
	j.o.Crash(crashpoint.SyncStaging)
	if through > j.Barrier() {
		if err := j.redo.Append(redo.Barrier, redo.BarrierPayload(through), nil); err != nil {
			return err
		}
		j.o.Crash(crashpoint.BarrierAppend)
		if err := j.redo.Datasync(); err != nil {
			j.log.Error("the journal takes no more changes", "error", err)
			return err
		}
		j.barrier.Store(through)
		j.stats.syncs.Add(1)
		j.o.Crash(crashpoint.BarrierSynced)
	}
	j.freeStaging()
	return nil
}

// freeStaging removes the staging files whose last use is behind the barrier.
func (j *Journal) freeStaging() {
	barrier := j.Barrier()
	j.stateMu.Lock()
	var due []ferry.Generation
	keep := j.frees[:0]
	for _, f := range j.frees {
		if f.seq <= barrier {
			due = append(due, f.generation)
		} else {
			keep = append(keep, f)
		}
	}
	j.frees = keep
	j.stateMu.Unlock()
	for _, g := range due {
		j.o.Crash(crashpoint.FreeBefore)
		if err := j.store.Remove(g); err != nil {
			// It is an orphan then: the next start tries again.
			j.log.Warn("a staging file that is not needed any more could not be removed", "generation", string(g), "error", err)
		}
		j.o.Crash(crashpoint.FreeAfter)
	}
}
