package journal

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"ferry"
	"ferry/journal/redo"
	"ferry/journal/staging"
)

// Journal is an open state directory. It implements ferry.Journal. Safe for
// concurrent use.
type Journal struct {
	o       Options
	log     *slog.Logger
	store   *staging.Store
	redo    *redo.Log
	cp      *checkpoint
	lock    *lock
	ballast *ballast
	report  Report
	ids     ids
	// reopened are closed files of which a power cut took back, at this start, that
	// they were opened for writing again.
	reopened []ferry.Generation

	// Lock order: updates, folds, the log's own, stateMu.
	updates sync.Mutex // one Update at a time
	replies ring       // under updates
	folds   sync.Mutex // one fold, or one large change, at a time

	stateMu sync.RWMutex // held shortly: never during I/O, but for beginning to read
	state   state
	frees   []free

	barrier atomic.Uint64 // last record that is durable together with its bytes
	rounds  rounds
	stopped chan struct{} // closed by Close
	kicked  chan struct{} // a fold is due
	owned   sync.WaitGroup
	closing sync.Once
	closed  error
	stats   counters
}

var _ ferry.Journal = (*Journal)(nil)

// state is what is committed. It is a value: readers keep theirs.
type state struct {
	mem    memtable
	batch  uint64
	frozen memtable
	// frozenSeq is the last record in batch or frozen, if there are any.
	frozenSeq uint64
	seq       uint64 // last record that changed rows
}

func (s state) folding() bool { return s.batch != 0 || !s.frozen.empty() }

// free is a staging file to be removed once record seq is behind a barrier.
type free struct {
	generation ferry.Generation
	seq        uint64
}

// begin starts a transaction on what is committed now.
func (j *Journal) begin(writable bool) (*tx, error) {
	t := &tx{j: j, writable: writable}
	j.stateMu.RLock()
	defer j.stateMu.RUnlock()
	// Both under one lock: a fold publishes its end under the write lock, so that
	// these layers and these tables belong together.
	t.base = j.state
	r, err := j.cp.reader(t.Fail)
	if err != nil {
		return nil, err
	}
	t.r = r
	return t, nil
}

// View implements ferry.Journal. fn must not block and must not call Update.
func (j *Journal) View(fn func(ferry.Tx) error) error {
	t, err := j.begin(false)
	if err != nil {
		return err
	}
	defer t.end()
	return t.run(fn)
}

// end gives back what the transaction holds.
func (t *tx) end() { t.r.release() }

// run returns fn's error or, before it, why a row could not be read.
func (t *tx) run(fn func(ferry.Tx) error) error {
	err := fn(t)
	if t.err != nil {
		return t.err
	}
	return err
}

// Update implements ferry.Journal.
func (j *Journal) Update(fn func(ferry.Tx) error) error {
	j.updates.Lock()
	defer j.updates.Unlock()
	if err := j.redo.Dead(); err != nil {
		return err
	}
	if err := j.makeRoom(); err != nil {
		return err
	}
	t, err := j.begin(true)
	if err != nil {
		return err
	}
	t.replies = j.replies
	defer j.abandon(t)
	if err := t.run(fn); err != nil {
		return err
	}
	if err := j.commit(t); err != nil {
		return err
	}
	j.replies = t.replies
	if t.reserved != 0 {
		j.ids.reserve(t.reserved)
	}
	j.stats.updates.Add(1)
	return nil
}

// makeRoom waits for a fold if memory is full.
func (j *Journal) makeRoom() error {
	for range 2 { // the first fold may only end one that was under way
		j.stateMu.RLock()
		used := j.state.mem.bytes + j.state.frozen.bytes
		j.stateMu.RUnlock()
		if used < j.o.MemoryMax {
			return nil
		}
		if err := j.fold(); err != nil {
			return err
		}
	}
	return nil
}

// commit makes t's changes with one record.
func (j *Journal) commit(t *tx) error {
	if t.batch == 0 && t.over.empty() {
		j.queueFrees(t.freed, 0)
		return nil
	}
	if t.batch != 0 || t.size > j.o.recordMax {
		return j.commitBatch(t)
	}
	p := payload(t.over, make([]byte, 0, t.size+64))
	err := j.redo.Append(redo.Rows, p, func(seq uint64) {
		j.stateMu.Lock()
		defer j.stateMu.Unlock()
		j.state.mem = j.state.mem.putAll(t.over)
		j.state.seq = seq
		for _, g := range t.freed {
			j.frees = append(j.frees, free{g, seq})
		}
		if j.state.mem.bytes > j.o.FoldAbove {
			j.kick()
		}
	})
	j.stats.logBytes.Add(int64(len(p)))
	if err == nil {
		j.forget(t.freed)
	}
	return err
}

// forget says that nothing depends on the bytes of final generations. If the
// record that made them final is lost in a power cut, the syncer finds what became
// of them by their name in the bucket.
func (j *Journal) forget(freed []ferry.Generation) {
	for _, g := range freed {
		j.store.Forget(g)
	}
}

// queueFrees remembers staging files to be removed behind record seq, 0: the last.
func (j *Journal) queueFrees(generations []ferry.Generation, seq uint64) {
	if len(generations) == 0 {
		return
	}
	j.stateMu.Lock()
	defer j.stateMu.Unlock()
	if seq == 0 {
		seq = j.state.seq
	}
	for _, g := range generations {
		j.frees = append(j.frees, free{g, seq})
	}
}

// LastSeq returns the number of the last record that changed rows. After an
// Update it is at least that Update's.
func (j *Journal) LastSeq() uint64 {
	j.stateMu.RLock()
	defer j.stateMu.RUnlock()
	return j.state.seq
}

// Barrier returns the number of the last record that survives a power cut
// together with the staged bytes written before it.
func (j *Journal) Barrier() uint64 { return j.barrier.Load() }

// SyncedThrough reports whether record seq is behind a barrier.
func (j *Journal) SyncedThrough(seq uint64) bool { return j.Barrier() >= seq }

// Staging returns the store of staging files. It lives as long as the journal.
func (j *Journal) Staging() *staging.Store { return j.store }

// Recovered returns what Open found to be lost or brought back.
func (j *Journal) Recovered() Report { return j.report }

// ReadOnly returns why the journal takes no changes, nil if it does.
func (j *Journal) ReadOnly() error { return j.redo.Dead() }

// Stats are gauges and counters of a journal.
type Stats struct {
	Updates     int64 // committed since Open
	Syncs       int64 // barriers since Open
	Folds       int64
	LogBytes    int64 // payload appended since Open
	Memory      int64 // bytes of rows that are not folded
	Segments    int   // log segments on disk
	LastSeq     uint64
	Barrier     uint64
	StagingUsed int64 // bytes of disk
	FreesWaits  int   // staging files that wait for a barrier to be removed
}

type counters struct{ updates, syncs, folds, logBytes atomic.Int64 }

// Stats returns how the journal is doing.
func (j *Journal) Stats() Stats {
	j.stateMu.RLock()
	s := Stats{
		Memory: int64(j.state.mem.bytes + j.state.frozen.bytes), LastSeq: j.state.seq,
		FreesWaits: len(j.frees),
	}
	j.stateMu.RUnlock()
	s.Updates, s.Syncs, s.Folds = j.stats.updates.Load(), j.stats.syncs.Load(), j.stats.folds.Load()
	s.LogBytes = j.stats.logBytes.Load()
	s.Segments = j.redo.Segments()
	s.Barrier = j.Barrier()
	s.StagingUsed = j.store.Usage()
	return s
}
