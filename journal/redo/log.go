package redo

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"ferry"
	"ferry/journal/vfs"
)

// Log is the log being written. Safe for concurrent use.
type Log struct {
	o Options

	mu       sync.Mutex
	segments []segment // all on disk, the last is being written
	f        vfs.File
	salt     uint32
	off      int64
	seq      uint64 // last record
	buf      []byte
	index    uint64
	unsynced []vfs.File // full segments that are not durable yet
	failures int        // write errors in a row
	dead     error      // why nothing is appended any more
	barrier  uint64
}

// Start begins a new segment after what scan found. It is durable on return.
func Start(o Options, scan *Scan) (*Log, error) {
	l := &Log{o: o, segments: scan.segments, seq: scan.Last, index: scan.next, barrier: scan.Barrier}
	if err := l.rotate(); err != nil {
		return nil, err
	}
	return l, nil
}

// Seq returns the number of the last record.
func (l *Log) Seq() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seq
}

// Segments returns how many segment files there are.
func (l *Log) Segments() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.segments)
}

// Dead returns why nothing can be appended any more, nil if it can.
func (l *Log) Dead() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// Kill makes the log refuse every further record with err.
func (l *Log) Kill(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead == nil {
		l.dead = err
	}
}

// Append writes one record with one write(2) and returns its number. It survives
// kill -9 when Append returns. committed runs before any other record gets a
// number. After an error nothing was appended; KindReadOnly says that the
// log takes no more.
func (l *Log) Append(kind Kind, payload []byte, committed func(seq uint64)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead != nil {
		return l.dead
	}
	if len(payload) > MaxPayload {
		return &ferry.Error{Op: "redo.append", Kind: ferry.KindInternal, Msg: "the record is too long"}
	}
	if l.off > headerSize && l.off+headSize+int64(len(payload)) > l.o.SegmentSize {
		if err := l.rotate(); err != nil {
			return l.failed(err)
		}
	}
	if kind != Barrier {
		l.o.Crash("append.before")
	}
	l.buf = frame(l.buf[:0], l.salt, Record{Seq: l.seq + 1, Kind: kind, Payload: payload})
	err := l.write()
	if errors.Is(err, syscall.ENOSPC) && l.dead == nil && l.o.NoSpace() {
		err = l.write()
	}
	if cap(l.buf) > 4<<20 {
		l.buf = nil
	}
	if err != nil {
		return l.failed(err)
	}
	l.failures = 0
	l.seq++
	if kind == Barrier {
		l.barrier = max(l.barrier, binary.LittleEndian.Uint64(payload))
	}
	if committed != nil {
		committed(l.seq)
	}
	if kind != Barrier {
		l.o.Crash("append.after")
	}
	return nil
}

// write puts l.buf at the end of the segment; what it left behind on an error
// is cut off at once, so that nothing after it can be misread.
func (l *Log) write() error {
	_, err := l.f.WriteAt(l.buf, l.off)
	if err == nil {
		l.off += int64(len(l.buf))
		return nil
	}
	if cut := l.f.Truncate(l.off); cut != nil {
		l.dead = readOnly("a failed write could not be taken back", errors.Join(err, cut))
		return err
	}
	// Without its space reserved the next append may fail; it is cut off as well.
	_ = l.f.Allocate(l.o.SegmentSize)
	return err
}

// failed counts a write error: the second in a row makes the log read-only. A
// full disk does not: it is a state that passes, and nothing was written.
func (l *Log) failed(err error) error {
	kind := ferry.KindTransient
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		kind = ferry.KindNoSpace
	} else {
		l.failures++
	}
	if l.dead == nil && l.failures > 1 {
		l.dead = readOnly("the journal's log could not be written twice", err)
	}
	if l.dead != nil {
		return l.dead
	}
	return &ferry.Error{Op: "redo.append", Kind: kind, Msg: "the journal's log could not be written", Err: err}
}

func readOnly(msg string, err error) error {
	return &ferry.Error{
		Op: "redo", Kind: ferry.KindReadOnly, Msg: msg, Err: err,
		Hint: "nothing acknowledged is lost; see to the disk with the state directory and mount again",
	}
}

// rotate begins the next segment: header, names and space are durable when it
// is used. l.mu is held, or l is not shared yet.
func (l *Log) rotate() error {
	l.o.Crash("rotate.before")
	var salt [4]byte
	_, _ = rand.Read(salt[:]) // never fails
	seg := segment{
		index: l.index, name: filepath.Join(l.o.Dir, fileName(l.index)),
		head: header{salt: binary.LittleEndian.Uint32(salt[:]), first: l.seq + 1, barrier: l.barrier, boot: l.o.Boot},
	}
	f, err := l.makeSegment(seg)
	if errors.Is(err, syscall.ENOSPC) && l.o.NoSpace() {
		f, err = l.makeSegment(seg)
	}
	if err != nil {
		return err
	}
	if l.f != nil {
		l.unsynced = append(l.unsynced, l.f)
	}
	l.f, l.salt, l.off = f, seg.head.salt, headerSize
	l.segments = append(l.segments, seg)
	l.index++
	l.o.Crash("rotate.after")
	return nil
}

func (l *Log) makeSegment(seg segment) (vfs.File, error) {
	f, err := l.o.FS.OpenFile(seg.name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := l.fillSegment(f, seg); err != nil {
		// A segment with a header counts at the next start: it must go.
		return nil, errors.Join(err, f.Truncate(0), f.Close(), l.o.FS.Remove(seg.name))
	}
	return f, nil
}

func (l *Log) fillSegment(f vfs.File, seg segment) error {
	if err := f.Allocate(l.o.SegmentSize); err != nil {
		return err
	}
	if _, err := f.WriteAt(seg.head.encode(), 0); err != nil {
		return err
	}
	if err := f.Datasync(); err != nil {
		return err
	}
	return l.o.FS.SyncDir(l.o.Dir)
}

// Datasync makes every record durable that was appended before it was called.
// One caller at a time. After an error the log is read-only: what the disk did
// with the data is not known.
func (l *Log) Datasync() error {
	l.mu.Lock()
	full, current := l.unsynced, l.f
	l.unsynced = nil
	l.mu.Unlock()
	for _, f := range full {
		if err := errors.Join(f.Datasync(), f.Close()); err != nil {
			return l.syncFailed(err)
		}
	}
	if err := current.Datasync(); err != nil {
		return l.syncFailed(err)
	}
	return nil
}

func (l *Log) syncFailed(err error) error {
	err = readOnly("the journal's log could not be made durable", err)
	l.Kill(err)
	return err
}

// Release removes the segments whose records are all numbered at most folded.
func (l *Log) Release(folded uint64) error {
	for {
		l.mu.Lock()
		if len(l.segments) < 2 || !l.released(folded) {
			l.mu.Unlock()
			return nil
		}
		name := l.segments[0].name
		l.mu.Unlock()
		l.o.Crash("segment.before")
		if err := l.o.FS.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		l.o.Crash("segment.after")
		l.mu.Lock()
		l.segments = l.segments[1:]
		l.mu.Unlock()
	}
}

// released reports whether the first segment is of no use any more: a later one
// begins no later than with the first record that is still needed.
func (l *Log) released(folded uint64) bool {
	for _, s := range l.segments[1:] {
		if s.head.first != 0 && s.head.first <= folded+1 {
			return true
		}
	}
	return false
}

// Close closes the files. It makes nothing durable.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	for _, f := range l.unsynced {
		err = errors.Join(err, f.Close())
	}
	l.unsynced = nil
	l.dead = &ferry.Error{Op: "redo", Kind: ferry.KindReadOnly, Msg: "the journal is closed"}
	return errors.Join(err, l.f.Close())
}
