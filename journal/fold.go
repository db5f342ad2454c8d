package journal

import (
	"errors"
	"syscall"
	"time"

	"ferry"
	"ferry/journal/crashpoint"
)

// kick asks for a fold soon.
func (j *Journal) kick() {
	select {
	case j.kicked <- struct{}{}:
	default:
	}
}

// folder folds when it is asked to, and when nothing happened for a while. It is
// owned by the journal: Close waits for it.
func (j *Journal) folder() {
	idle := time.NewTicker(j.o.FoldIdle)
	defer idle.Stop()
	var last uint64
	for {
		select {
		case <-j.stopped:
			return
		case <-j.kicked:
		case <-idle.C:
			seq := j.LastSeq()
			quiet := seq == last
			last = seq
			if !quiet || !j.unfolded() {
				continue
			}
		}
		if err := j.fold(); err != nil && !ferry.IsKind(err, ferry.KindReadOnly) {
			j.log.Warn("the journal's log could not be folded; it grows until that works", "error", err)
		}
	}
}

func (j *Journal) unfolded() bool {
	j.stateMu.RLock()
	defer j.stateMu.RUnlock()
	return j.state.folding() || !j.state.mem.empty()
}

// fold brings everything committed so far into the checkpoint and removes the log
// before it. If it fails, nothing is lost and it can be tried again.
func (j *Journal) fold() error {
	j.folds.Lock()
	defer j.folds.Unlock()
	return j.drain()
}

// drain folds; j.folds is held. First what an earlier fold, or a large change,
// left frozen, then what is in memory now.
func (j *Journal) drain() error {
	for j.freeze() {
		if err := j.syncNow(); err != nil {
			return err
		}
		j.o.Crash(crashpoint.FoldBefore)
		if err := j.foldFrozen(); err != nil {
			return j.classify("journal.fold", err)
		}
		j.o.Crash(crashpoint.FoldCommitted)
		j.stats.folds.Add(1)
		if err := j.redo.Release(j.cp.folded); err != nil {
			j.log.Warn("a folded log segment could not be removed", "error", err)
		}
		j.ballast.take() // if it was given up and there is room again
	}
	return nil
}

// freeze makes memory the frozen layer unless there is one already. It reports
// whether there is anything to fold.
func (j *Journal) freeze() bool {
	j.stateMu.Lock()
	defer j.stateMu.Unlock()
	if j.state.folding() {
		return true
	}
	if j.state.mem.empty() {
		return false
	}
	j.state.frozen, j.state.mem = j.state.mem, memtable{}
	j.state.frozenSeq = j.state.seq
	return true
}

// foldFrozen writes the frozen layer, then the batch above it. All of it is
// behind a barrier.
func (j *Journal) foldFrozen() error {
	j.stateMu.RLock()
	s := j.state
	j.stateMu.RUnlock()
	folded := s.frozenSeq
	if s.batch != 0 {
		folded-- // the batch is the record frozenSeq
	}
	if !s.frozen.empty() {
		if err := j.cp.write(s.frozen, folded); err != nil {
			return err
		}
		// Before the first row of the batch is moved: the tables would be hidden.
		j.publish(func(s *state) { s.frozen = memtable{} })
	}
	if s.batch == 0 {
		return nil
	}
	for {
		done, err := j.cp.move(s.batch, s.frozenSeq, j.o.moveRows)
		if err != nil {
			return err
		}
		if done {
			break
		}
		j.o.Crash(crashpoint.BatchMove)
	}
	j.o.Crash(crashpoint.BatchMoved)
	j.publish(func(s *state) { s.batch = 0 })
	return nil
}

func (j *Journal) publish(change func(*state)) {
	j.stateMu.Lock()
	defer j.stateMu.Unlock()
	change(&j.state)
}

// classify gives an error of bbolt its Kind. A write of the checkpoint that
// failed for want of space may be tried again; any other may not, for nobody
// knows what is on the disk: the log still holds everything.
func (j *Journal) classify(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*ferry.Error](err); ok {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		j.ballast.drop()
		return &ferry.Error{Op: op, Kind: ferry.KindNoSpace, Err: err, Hint: "free some space on the disk with the state directory"}
	}
	kind := &ferry.Error{
		Op: op, Kind: ferry.KindReadOnly, Err: err, Msg: "journal.db could not be written",
		Hint: "nothing acknowledged is lost: the log holds it; see to the disk and mount again",
	}
	j.readOnly(kind)
	return kind
}

// readOnly ends all changes, and says so once.
func (j *Journal) readOnly(err error) {
	if j.redo.Dead() == nil {
		j.log.Error("the journal takes no more changes", "error", err)
	}
	j.redo.Kill(err)
}
