package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ferry"
	"ferry/journal/crashpoint"
	"ferry/journal/redo"
	"ferry/journal/staging"
	"ferry/journal/vfs"
)

// Options of [Open]. Dir is needed, everything else has a default.
type Options struct {
	Dir      string
	Identity Identity
	// BootID names this boot of the machine; "" reads it from the kernel. A test
	// that gives another one than last time plays a power cut.
	BootID string
	// SyncInterval is how long a change may wait for its barrier; 0: 1 s.
	SyncInterval time.Duration
	// UnsafeFS accepts a file system that is not known to keep what fsync promises.
	UnsafeFS bool
	Log      *slog.Logger // nil: slog's default

	SegmentSize int64 // of the log, bytes; 0: 16 MiB
	BallastSize int64 // bytes kept in reserve; 0: 4 MiB, negative: none
	MemoryMax   int   // bytes of rows not folded at which writers wait; 0: 32 MiB
	FoldAbove   int   // bytes of rows at which folding begins; 0: 4 MiB
	FoldIdle    time.Duration
	// FS is what log and staging are on; nil: the operating system's. Lock,
	// identity, ballast and journal.db are always on the operating system's.
	FS vfs.FS
	// Crash marks durable steps; nil: [crashpoint.Here].
	Crash func(point string)

	rebuild bool // set journal.db aside although it may be whole
	// Sizes of large changes; tests make them small.
	recordMax, chunkMax, moveRows int
}

func (o *Options) defaults() error {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.SyncInterval <= 0 {
		o.SyncInterval = time.Second
	}
	if o.SegmentSize <= 0 {
		o.SegmentSize = 16 << 20
	}
	if o.BallastSize == 0 {
		o.BallastSize = 4 << 20
	}
	if o.MemoryMax <= 0 {
		o.MemoryMax = 32 << 20
	}
	if o.FoldAbove <= 0 {
		o.FoldAbove = 4 << 20
	}
	if o.FoldIdle <= 0 {
		o.FoldIdle = 30 * time.Second
	}
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	if o.recordMax <= 0 {
		o.recordMax, o.chunkMax, o.moveRows = defaultRecordMax, defaultChunkMax, defaultMoveRows
	}
	if o.Crash == nil {
		o.Crash = crashpoint.Here
	}
	if o.BootID == "" {
		b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return osError("journal.open", "boot_id", err)
		}
		o.BootID = strings.TrimSpace(string(b))
	}
	return nil
}

// Report is what Open found lost and brought back.
type Report struct {
	// Replayed counts log records that were not in the checkpoint yet.
	Replayed int
	// Dropped counts changes of the last moments before a power cut, which were
	// behind no barrier.
	Dropped int
	// SetAside is where a damaged journal.db was moved, "" if it was not.
	SetAside string
	// Damage says in sentences what was broken.
	Damage []string
	// Restored are the files that staging gave back after journal.db was lost;
	// Lost are sentences about what could not be given back.
	Restored []ferry.Path
	Lost     []string
}

// Open opens or makes the state directory o.Dir and recovers what is in it. The
// error is a sentence: KindBusy if another process has it, KindInvalid if it
// belongs to another bucket, KindUnsupported if its file system is not one of
// ext4, xfs and btrfs or a newer ferry wrote it, KindNoSpace, KindDenied.
func Open(o Options) (_ *Journal, err error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	j := &Journal{
		o: o, log: o.Log, stopped: make(chan struct{}), kicked: make(chan struct{}, 1),
		rounds: rounds{wake: make(chan struct{}, 1)},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.closeFiles())
		}
	}()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, osError("journal.open", o.Dir, err)
	}
	if err := os.Chmod(o.Dir, 0o700); err != nil { //nolint:gosec // a directory needs x
		return nil, osError("journal.open", o.Dir, err)
	}
	if err := checkFS(o.Dir, o.UnsafeFS, o.Log); err != nil {
		return nil, err
	}
	if j.lock, err = takeLock(o.Dir); err != nil {
		return nil, err
	}
	o.Crash(crashpoint.OpenLocked)
	if err := checkIdentity(o.Dir, o.Identity); err != nil {
		return nil, err
	}
	j.ballast = &ballast{name: filepath.Join(o.Dir, nameBallast), size: o.BallastSize, log: o.Log, crash: o.Crash}
	j.ballast.take()
	j.store, err = staging.Open(staging.Options{
		Dir: filepath.Join(o.Dir, nameStaging), FS: o.FS, NoSpace: j.ballast.drop, Crash: o.Crash,
	})
	if err != nil {
		return nil, err
	}
	lost, err := j.openTables()
	if err != nil {
		return nil, err
	}
	if err := j.replay(lost); err != nil {
		return nil, err
	}
	if err := j.recover(lost); err != nil {
		return nil, err
	}
	j.owned.Go(j.syncer)
	j.owned.Go(j.folder)
	return j, nil
}

// openTables opens journal.db. One that is damaged is set aside and an empty one
// takes its place: lost is true then.
func (j *Journal) openTables() (lost bool, err error) {
	name := filepath.Join(j.o.Dir, nameCheckpoint)
	if lost, err = j.checkpointGone(name); err != nil {
		return false, err
	}
	if _, err := os.Stat(name); err == nil && j.o.rebuild {
		err = os.Rename(name, setAsideName(name))
		if err != nil {
			return false, osError("journal.open", name, err)
		}
		lost = true
	}
	j.cp, err = openCheckpoint(name)
	if errors.Is(err, errDamaged) {
		aside := setAsideName(name)
		j.log.Error("journal.db is damaged and was set aside; its log and the staging files give back what they hold", "error", err, "moved_to", aside)
		j.report.Damage = append(j.report.Damage, err.Error())
		if err := os.Rename(name, aside); err != nil {
			return false, osError("journal.open", name, err)
		}
		j.o.Crash(crashpoint.SetAside)
		j.report.SetAside, lost = aside, true
		j.cp, err = openCheckpoint(name)
	}
	if err != nil {
		return false, err
	}
	if !lost {
		lost, err = j.cp.rebuilding()
	} else {
		err = j.cp.setRebuilding(true)
	}
	j.o.Crash(crashpoint.OpenCheckpoint)
	return lost, err
}

// checkpointGone reports whether journal.db is not there although there was one:
// somebody took it away, or we died after setting a damaged one aside. Log and
// staging files are only ever made after it.
func (j *Journal) checkpointGone(name string) (bool, error) {
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return false, osError("journal.open", name, err)
	}
	segments, err := filepath.Glob(filepath.Join(j.o.Dir, nameRedo, "*"))
	if err != nil {
		return false, err
	}
	files, err := j.store.List()
	if err != nil || len(segments)+len(files) == 0 {
		return false, err
	}
	j.log.Error("journal.db is gone from the state directory; its log and the staging files give back what they hold", "dir", j.o.Dir)
	j.report.Damage = append(j.report.Damage, "journal.db was not there")
	return true, nil
}

func setAsideName(name string) string {
	return fmt.Sprintf("%s.damaged-%s", name, time.Now().UTC().Format("20060102T150405.000"))
}

// replay brings the log back into memory and starts a new segment of it.
func (j *Journal) replay(lost bool) error {
	dir := filepath.Join(j.o.Dir, nameRedo)
	if err := j.o.FS.MkdirAll(dir, 0o700); err != nil {
		return osError("journal.open", dir, err)
	}
	ro := redo.Options{
		Dir: dir, FS: j.o.FS, Boot: j.o.BootID, SegmentSize: j.o.SegmentSize,
		NoSpace: j.ballast.drop, Crash: j.o.Crash,
	}
	scan, err := redo.Read(ro, j.cp.folded, lost, func(r redo.Record) error {
		if r.Kind == redo.Barrier {
			return nil
		}
		j.report.Replayed++
		j.state.seq = r.Seq
		if r.Kind == redo.Batch {
			return j.replayBatch(r)
		}
		return decodePayload(r.Payload, func(e entry) { j.state.mem = j.state.mem.put(e) })
	}, j.noteReopened)
	if err != nil {
		return &ferry.Error{Op: "journal.replay", Key: dir, Kind: ferry.KindCorrupt, Err: err, Msg: "the log cannot be read"}
	}
	j.state.seq = max(j.state.seq, j.cp.folded)
	j.barrier.Store(max(scan.Barrier, j.cp.folded))
	j.report.Dropped = scan.Dropped
	j.report.Damage = append(j.report.Damage, scan.Damage...)
	if scan.Lost > 0 {
		j.report.Lost = append(j.report.Lost, fmt.Sprintf("%d changes recorded in the log after its damage", scan.Lost))
	}
	if len(scan.Damage) > 0 {
		j.log.Error("the journal's log is damaged; what follows the damage is not applied", "damage", scan.Damage, "lost_records", scan.Lost)
	}
	if scan.Dropped > 0 {
		j.log.Warn("the machine went down: changes of its last moments were behind no barrier and are dropped", "changes", scan.Dropped)
	}
	if err := j.cp.dropBatches(j.state.batch); err != nil {
		return j.classifyOpen(err)
	}
	j.o.Crash(crashpoint.OpenReplayed)
	j.redo, err = redo.Start(ro, scan)
	if err != nil {
		return osError("journal.open", dir, err)
	}
	j.o.Crash(crashpoint.OpenSegment)
	return nil
}

func (j *Journal) classifyOpen(err error) error {
	return &ferry.Error{Op: "journal.open", Key: nameCheckpoint, Kind: ferry.KindCorrupt, Err: err}
}

// replayBatch makes a committed large change a layer again.
func (j *Journal) replayBatch(r redo.Record) error {
	if len(r.Payload) < 8 || j.state.batch != 0 {
		return fmt.Errorf("%w: a large change is recorded twice", errDamaged)
	}
	batch := binary.LittleEndian.Uint64(r.Payload)
	ok, err := j.cp.hasBatch(batch)
	if err != nil {
		return err
	}
	if !ok {
		j.report.Damage = append(j.report.Damage, fmt.Sprintf("the large change %d is not in journal.db", batch))
		j.report.Lost = append(j.report.Lost, "a change of very many names (a directory that was renamed or deleted)")
		return nil
	}
	j.state.frozen, j.state.mem = j.state.mem, memtable{}
	j.state.batch, j.state.frozenSeq = batch, r.Seq
	return nil
}

// recover brings rows and files into agreement: what the log or journal.db lost,
// orphans, reserves.
func (j *Journal) recover(lost bool) error {
	if lost {
		if err := j.salvage(); err != nil {
			return err
		}
		j.publish(func(s *state) { s.seq = max(s.seq, j.cp.folded) })
		if err := j.cp.setRebuilding(false); err != nil {
			return j.classifyOpen(err)
		}
	}
	err := j.Update(func(ftx ferry.Tx) error {
		t, _ := ftx.(*tx)
		t.dropReplies()
		v, _ := t.get(metaNextInode)
		next := max(fromU64(v), uint64(ferry.RootInode)+1)
		j.ids.last = next - 1
		t.reserved = next + idReserve
		t.put(metaNextInode, u64(t.reserved))
		return nil
	})
	if err != nil {
		return err
	}
	if err := j.settleReopened(); err != nil {
		return err
	}
	if err := j.queueOrphans(); err != nil {
		return err
	}
	if err := checkRows(j, false); err != nil {
		// A bug, or damage that no checksum saw. The rest is worth mounting.
		j.log.Error("the journal contradicts itself", "error", err)
		j.report.Damage = append(j.report.Damage, err.Error())
	}
	return nil
}

// noteReopened looks in a record that a power cut takes back for files that were
// opened for writing again.
func (j *Journal) noteReopened(r redo.Record) {
	if r.Kind != redo.Rows {
		return
	}
	// What cannot be read names nothing.
	_ = decodePayload(r.Payload, func(e entry) {
		if table(e.key[0]) != tableUploads || e.deleted {
			return
		}
		if u, err := decodeUploadRow(e.key, e.value); err == nil && u.State.Writable() {
			j.reopened = append(j.reopened, u.Generation)
		}
	})
}

// settleReopened is for a power cut that took back that a closed file was opened
// again: its row says closed, but some of the newer bytes may have reached the
// disk. It is closed as it is, and what was sent of it is sent again.
func (j *Journal) settleReopened() error {
	if len(j.reopened) == 0 {
		return nil
	}
	return j.Update(func(tx ferry.Tx) error {
		for _, g := range j.reopened {
			u := tx.Upload(g)
			if u == nil || !u.State.NeedsBytes() || u.State.Writable() || u.State == ferry.StateCompleting {
				continue
			}
			tx.DeleteParts(g)
			if u.Base != nil || u.Truncating >= 0 {
				continue // its size is in the row
			}
			size, err := j.store.SizeOf(g)
			if err != nil {
				return err
			}
			u.Size = size
			tx.PutUpload(u)
			if in := tx.Inode(u.Inode); in != nil && in.Content == g {
				in.Size = size
				tx.PutInode(in)
			}
		}
		return nil
	})
}

// queueOrphans frees the staging files that no row needs, once what is replayed
// is behind a barrier: until then a power cut could bring their rows back.
func (j *Journal) queueOrphans() error {
	files, err := j.store.List()
	if err != nil {
		return err
	}
	var orphans []ferry.Generation
	err = j.View(func(tx ferry.Tx) error {
		for _, g := range files {
			if u := tx.Upload(g); u == nil || !u.State.NeedsBytes() {
				orphans = append(orphans, g)
			}
		}
		return nil
	})
	j.queueFrees(orphans, 0)
	return err
}

// Close makes everything durable, folds, and gives the state directory back. It
// waits for the journal's goroutines. Sync and Update fail afterwards.
func (j *Journal) Close() error {
	j.closing.Do(func() {
		j.stop()
		dead := j.redo.Dead()
		if dead == nil {
			j.closed = errors.Join(j.store.SyncAll(), j.syncNow(), j.fold())
		}
		j.rounds.mu.Lock()
		j.rounds.over = &ferry.Error{Op: "journal.sync", Kind: ferry.KindReadOnly, Msg: "the journal is closed"}
		j.rounds.mu.Unlock()
		j.closed = errors.Join(j.closed, dead, j.closeFiles())
	})
	return j.closed
}

// stop ends the journal's goroutines.
func (j *Journal) stop() {
	close(j.stopped)
	j.owned.Wait()
}

// closeFiles closes what is open, in reverse order; it makes nothing durable.
func (j *Journal) closeFiles() error {
	var err error
	if j.redo != nil {
		err = errors.Join(err, j.redo.Close())
	}
	if j.cp != nil {
		err = errors.Join(err, guard(j.cp.db.Close))
	}
	if j.store != nil {
		err = errors.Join(err, j.store.Close())
	}
	if j.lock != nil {
		err = errors.Join(err, j.lock.release())
	}
	return err
}
