package journal

import (
	"encoding/binary"

	"ferry/journal/crashpoint"
	"ferry/journal/redo"
)

// spill stages what t changed so far as the next chunk of its batch. From the
// first chunk on no fold runs until t ends: the layers below must stay.
func (j *Journal) spill(t *tx) error {
	first := t.batch == 0
	if first {
		j.folds.Lock()
		t.holdsFolds = true
		if err := j.drain(); err != nil {
			return err
		}
		t.batch = j.redo.Seq() + 1
		if err := t.reread(); err != nil { // the drain moved layers into the tables
			t.batch = 0
			return err
		}
	}
	if err := j.cp.stage(t.batch, t.over, first); err != nil {
		return j.classify("journal.update", err)
	}
	j.o.Crash(crashpoint.BatchChunk)
	t.over, t.size = memtable{}, 0
	return t.reread()
}

// reread makes t see the checkpoint as it is now. What is committed is the same.
func (t *tx) reread() error {
	fresh, err := t.j.begin(false)
	if err != nil {
		return err
	}
	fresh.r.fail = t.Fail
	t.r.release()
	t.base, t.r = fresh.base, fresh.r
	return nil
}

// commitBatch stages the rest of t's changes and commits them with one record.
func (j *Journal) commitBatch(t *tx) error {
	if !t.over.empty() {
		if err := j.spill(t); err != nil {
			return err
		}
	}
	var p [8]byte
	binary.LittleEndian.PutUint64(p[:], t.batch)
	return j.redo.Append(redo.Batch, p[:], func(seq uint64) {
		j.stateMu.Lock()
		defer j.stateMu.Unlock()
		j.state = state{batch: t.batch, frozen: j.state.mem, frozenSeq: seq, seq: seq}
		for _, g := range t.freed {
			j.frees = append(j.frees, free{g, seq})
		}
		t.batch = 0 // it is not t's to drop any more
		j.kick()
	})
}

// abandon ends an Update: what it staged and did not commit is garbage.
func (j *Journal) abandon(t *tx) {
	t.end()
	if !t.holdsFolds {
		return
	}
	if t.batch != 0 {
		if err := j.cp.dropBatches(0); err != nil {
			// The next start, or the next large change of that number, removes it.
			j.log.Warn("what an abandoned change left in the journal could not be removed", "error", err)
		}
	}
	j.folds.Unlock()
}
