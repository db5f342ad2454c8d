package syncer

import (
	"context"
	"sync"
	"time"

	"ferry"
)

// batchMost is what one DeleteObjects takes; batchesInFlight how many run at once.
const (
	batchMost       = 1000
	batchesInFlight = 3
)

// deleter gathers keys to delete while a burst lasts.
type deleter struct {
	mu    sync.Mutex
	keys  []ferry.ObjectKey
	first time.Time // when the oldest came
	last  time.Time
	wake  chan struct{}
	job   ferry.JobID // of the burst, "" before its first batch
	work  int         // batches under way
}

func (d *deleter) init() { d.wake = make(chan struct{}, 1) }

func (d *deleter) add(key ferry.ObjectKey) {
	d.mu.Lock()
	now := time.Now()
	if len(d.keys) == 0 {
		d.first = now
	}
	d.last = now
	d.keys = append(d.keys, key)
	d.mu.Unlock()
	d.nudge()
}

func (d *deleter) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// batch takes the next batch, if the burst has paused or it is full; else it
// returns how long to wait.
func (d *deleter) batch(gather time.Duration) (keys []ferry.ObjectKey, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.keys) == 0 {
		if d.job != "" {
			return nil, gather // then its job ends
		}
		return nil, time.Minute
	}
	if d.work >= batchesInFlight {
		return nil, time.Minute // whoever ends nudges
	}
	now := time.Now()
	ready := min(d.last.Add(gather).Sub(now), d.first.Add(8*gather).Sub(now))
	if len(d.keys) < batchMost && ready > 0 {
		return nil, ready
	}
	n := min(len(d.keys), batchMost)
	keys = append(keys, d.keys[:n]...)
	d.keys = append([]ferry.ObjectKey(nil), d.keys[n:]...)
	d.first = now
	d.work++
	return keys, 0
}

// deleterLoop sends the batches. It returns when ctx ends and all batches have.
func (s *Syncer) deleterLoop(ctx context.Context, stop context.CancelCauseFunc) {
	var wg sync.WaitGroup
	defer wg.Wait()
	s.closeJobs("")
	for {
		gather := s.o.Gather
		if s.hurry.Load() > 0 {
			gather = min(gather, 50*time.Millisecond)
		}
		batch, wait := s.del.batch(gather)
		if batch == nil {
			s.endBurst()
			t := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				t.Stop()
				return
			case <-t.C:
			case <-s.del.wake:
			}
			t.Stop()
			continue
		}
		wg.Go(func() {
			s.deleteBatch(ctx, batch, stop)
			s.del.mu.Lock()
			s.del.work--
			s.del.mu.Unlock()
			s.agenda.mu.Lock()
			s.agenda.running[classDelete] -= len(batch)
			s.agenda.mu.Unlock()
			s.agenda.nudge()
			s.del.nudge()
		})
	}
}

// victim is a key to delete, as its maker saw it.
type victim struct {
	key   ferry.ObjectKey
	known ferry.Known
	since int64
}

// deleteBatch deletes keys and journals what became of each.
func (s *Syncer) deleteBatch(ctx context.Context, batch []ferry.ObjectKey, stop context.CancelCauseFunc) {
	seen := s.agenda.pokes.Load()
	outcome := map[ferry.ObjectKey]error{} // of those that are to be tried again
	err := s.tryBatch(ctx, batch, outcome)
	if err != nil {
		s.failed(ctx, batch[0], err, stop)
	}
	for _, key := range batch {
		kerr := outcome[key]
		if err != nil {
			kerr = err
		}
		s.release(key, kerr, seen)
	}
	if err == nil {
		s.line.note(nil)
	}
}

func (s *Syncer) tryBatch(ctx context.Context, batch []ferry.ObjectKey, retry map[ferry.ObjectKey]error) error {
	victims, err := s.claimVictims(batch)
	if err != nil || len(victims) == 0 {
		return err
	}
	s.o.Crash("syncer.delete.claimed")
	if err := s.barrier(ctx, 0); err != nil {
		return err
	}
	left, gone, changed, err := s.verify(ctx, victims)
	if err != nil {
		return err
	}
	var failed map[ferry.ObjectKey]error
	if len(left) > 0 {
		if failed, err = s.r.Delete(ctx, left); err != nil {
			return err
		}
	}
	s.o.Crash("syncer.delete.sent")
	results := make([]deleted, 0, len(victims))
	for _, key := range gone {
		results = append(results, deleted{key: key})
	}
	for _, c := range changed {
		results = append(results, deleted{key: c.key, found: &c.known})
	}
	for _, key := range left {
		err := failed[key]
		if reason, ok := permanent(err); ok {
			results = append(results, deleted{key: key, parked: reason})
		} else if err != nil {
			retry[key] = err
		} else {
			results = append(results, deleted{key: key})
		}
	}
	return s.recordDeleted(results)
}

// claimVictims returns those keys of the batch that are still to be deleted, and
// counts them for a delete job.
func (s *Syncer) claimVictims(batch []ferry.ObjectKey) (victims []victim, err error) {
	burst := s.burstJob(len(batch))
	err = s.j.Update(func(tx ferry.Tx) error {
		victims = victims[:0]
		claimed := []ferry.ObjectKey{}
		for _, key := range batch {
			k := tx.Key(key)
			if k == nil || ferry.NextStep(tx, k).Kind != ferry.StepDelete {
				continue
			}
			victims = append(victims, victim{key, k.Known, k.Since})
			if k.Job == "" && burst != "" {
				k.Job = burst
				tx.PutKey(k)
				claimed = append(claimed, key)
			}
		}
		if len(claimed) > 0 {
			s.countRequested(tx, burst, claimed)
		}
		return nil
	})
	return victims, err
}

// deleted is what became of one key.
type deleted struct {
	key    ferry.ObjectKey
	found  *ferry.Known // another version, which was left alone
	parked string
}

// recordDeleted journals results and tells.
func (s *Syncer) recordDeleted(results []deleted) error {
	err := s.j.Update(func(tx ferry.Tx) error {
		count := newJobCount(s)
		for _, d := range results {
			k := tx.Key(d.key)
			if k == nil {
				continue
			}
			switch {
			case d.parked != "":
				count.add(k.Job, false, d.parked)
				k.Parked, k.Job = d.parked, ""
				tx.PutKey(k)
			case d.found != nil:
				count.add(k.Job, false, "\""+string(d.key)+"\" was changed by another client since it was deleted here, and is left alone")
				k.Known, k.Job = *d.found, ""
				if k.Wanted.Kind == ferry.WantAbsent {
					k.Wanted = ferry.Wanted{}
				}
				tx.PutKey(k)
			default:
				count.add(k.Job, true, "")
				if k.Job != "" {
					k.Job = ""
					tx.PutKey(k)
				}
				ferry.Gone(tx, d.key)
			}
		}
		count.store(tx)
		return nil
	})
	if err != nil {
		return err
	}
	s.o.Crash("syncer.delete.stored")
	for _, d := range results {
		switch {
		case d.parked != "":
			s.o.Log.Error("stopped until a person acts", "key", d.key, "reason", d.parked)
			s.o.Events.StateChanged(0, d.key)
		case d.found != nil:
			s.o.Log.Warn("deleted here, but changed by another client meanwhile: left alone", "key", d.key)
			s.o.Events.Changed(d.key)
		default:
			s.o.Events.Removed(d.key)
		}
	}
	return nil
}
