package redo

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ferry/journal/vfs"
)

const suffix = ".log"

func fileName(index uint64) string { return fmt.Sprintf("%016x%s", index, suffix) }

// Scan is what a start finds in the log.
type Scan struct {
	// Last is the last record that counts, at least After.
	Last uint64
	// LastRow is the last one that is not a barrier, 0 if none follows After.
	LastRow uint64
	// Barrier is the greatest record known to be durable.
	Barrier uint64
	// First is the first record that was found after After; 0 if none.
	First uint64
	// Dropped counts records that were written before the machine went down and
	// lie behind no barrier: they are not applied, as promised.
	Dropped int
	// Damage says in words what was found broken, and Lost what that costs.
	Damage []string
	Lost   int

	segments []segment
	next     uint64 // index for the next segment
}

type segment struct {
	index uint64
	name  string
	head  header
	limit uint64 // records from here on are dead
}

// Options of a log.
type Options struct {
	Dir  string
	FS   vfs.FS
	Boot string // this boot of the machine
	// SegmentSize in bytes; segments are preallocated to it.
	SegmentSize int64
	// NoSpace is called when the disk is full; true says that space was given
	// back and one more try is worth it.
	NoSpace func() bool
	Crash   func(point string)
}

// Read reads the log and calls apply for each record that counts after number
// `after`, in order and without gaps. With anywhere, the first record found may
// be a later one (the checkpoint was lost: the log gives what it holds).
// dropped (nil: nobody) is told of the records that a power cut takes back, or took
// back at an earlier start that may have died before it acted on them, as far as
// they can be read. Neither may keep a payload.
func Read(o Options, after uint64, anywhere bool, apply func(Record) error, dropped func(Record)) (*Scan, error) {
	s := &Scan{Last: after}
	if err := s.list(o); err != nil {
		return nil, err
	}
	if err := s.barriers(o); err != nil {
		return nil, err
	}
	if dropped == nil {
		dropped = func(Record) {}
	}
	expected := after + 1
	broken := false
	for i := range s.segments {
		seg := &s.segments[i]
		believe := seg.limit
		if seg.head.boot != o.Boot {
			believe = min(believe, s.Barrier+1)
		}
		records, bad, err := seg.read(o, believe, dropped, func(r Record) error {
			switch {
			case r.Seq <= after:
				return nil
			case seg.head.boot != o.Boot && r.Seq > s.Barrier:
				if r.Kind != Barrier {
					s.Dropped++
					dropped(r)
				}
				return nil
			case broken:
				s.Lost++
				return nil
			case r.Seq > expected && !(anywhere && s.First == 0):
				s.Damage = append(s.Damage, fmt.Sprintf("log records %d to %d are missing", expected, r.Seq-1))
				s.Lost += int(min(r.Seq-expected, math.MaxInt32)) + 1
				broken = true
				return nil
			case r.Seq < expected && s.First != 0:
				return nil // cannot be: numbers grow within the limit
			}
			if s.First == 0 {
				s.First = r.Seq
			}
			expected = r.Seq + 1
			s.Last = r.Seq
			if r.Kind != Barrier {
				s.LastRow = r.Seq
			}
			return apply(r)
		})
		if err != nil {
			return nil, err
		}
		if bad > 0 {
			s.Damage = append(s.Damage, fmt.Sprintf("log segment %s is damaged after its first %d records", filepath.Base(seg.name), records))
			s.Lost += bad
			broken = true
		}
	}
	s.Barrier = min(s.Barrier, s.Last)
	return s, nil
}

// list finds the segments and which of their records are dead.
func (s *Scan) list(o Options) error {
	names, err := o.FS.List(o.Dir)
	if err != nil {
		return err
	}
	s.next = 1
	for _, name := range names {
		index, err := strconv.ParseUint(strings.TrimSuffix(name, suffix), 16, 64)
		if err != nil || !strings.HasSuffix(name, suffix) {
			continue
		}
		s.next = max(s.next, index+1)
		seg := segment{index: index, name: filepath.Join(o.Dir, name), limit: math.MaxUint64}
		ok, empty, err := seg.readHeader(o)
		if err != nil {
			return err
		}
		if !ok {
			// One that was being made when the process died; with records in it, a
			// damaged one.
			if !empty {
				s.Damage = append(s.Damage, "log segment "+name+" has no readable header")
				s.Lost++
			}
			seg.head.first = 0
		}
		s.segments = append(s.segments, seg)
	}
	slices.SortFunc(s.segments, func(a, b segment) int {
		if a.index < b.index {
			return -1
		}
		return 1
	})
	limit := uint64(math.MaxUint64)
	for i := len(s.segments) - 1; i >= 0; i-- {
		s.segments[i].limit = limit
		if first := s.segments[i].head.first; first != 0 {
			limit = min(limit, first)
		}
	}
	return nil
}

// barriers finds the last barrier.
func (s *Scan) barriers(o Options) error {
	for i := range s.segments {
		seg := &s.segments[i]
		if seg.head.first == 0 || seg.head.first >= seg.limit {
			continue // what a dead segment knew is not so any more
		}
		s.Barrier = max(s.Barrier, seg.head.barrier)
		_, _, err := seg.read(o, 0, nil, func(r Record) error {
			s.Barrier = max(s.Barrier, BarrierSeq(r))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (seg *segment) readHeader(o Options) (ok, empty bool, err error) {
	f, err := o.FS.OpenFile(seg.name, os.O_RDONLY, 0)
	if err != nil {
		return false, false, err
	}
	defer f.Close()
	b := make([]byte, headerSize+headSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF { //nolint:errorlint // io.ReaderAt returns io.EOF itself
		return false, false, err
	}
	b = b[:n]
	seg.head, ok = decodeHeader(b)
	// The first record is only written when the header is durable.
	return ok, len(b) <= headerSize || allZero(b[headerSize:]), nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// read calls fn for each live record and dead (nil: nobody) for the others. bad counts records before number believe
// that can still be recognised after the place where reading had to stop: 0 means
// that the end is an end (zeros, or a record that was being written when the
// process died).
func (seg *segment) read(o Options, believe uint64, dead func(Record), fn func(Record) error) (records, bad int, err error) {
	if seg.head.first == 0 {
		return 0, 0, nil
	}
	f, err := o.FS.OpenFile(seg.name, os.O_RDONLY, 0)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	i, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	b := make([]byte, max(0, i.Size-headerSize))
	n, err := f.ReadAt(b, headerSize)
	if err != nil && err != io.EOF { //nolint:errorlint // io.ReaderAt returns io.EOF itself
		return 0, 0, err
	}
	b = b[:n]
	expected := seg.head.first
	for {
		r, n := next(b, seg.head.salt)
		if n == 0 || r.Seq != expected {
			return records, recognise(b, seg.head.salt, expected, believe), nil
		}
		if r.Seq >= seg.limit {
			if dead == nil {
				return records, 0, nil
			}
			dead(r)
			expected++
			b = b[n:]
			continue
		}
		if err := fn(r); err != nil {
			return records, 0, err
		}
		records++
		expected++
		b = b[n:]
	}
}

// recognise counts the records numbered from `from` to before `to` in b.
func recognise(b []byte, salt uint32, from, to uint64) (count int) {
	for from < to && len(b) >= headSize {
		// Zeros are the end of nearly every segment: pass over them quickly.
		if binary.LittleEndian.Uint64(b) == 0 {
			b = b[8:]
			continue
		}
		r, n := next(b, salt)
		if n == 0 || r.Seq < from || r.Seq >= to {
			b = b[1:]
			continue
		}
		count++
		b = b[n:]
	}
	return count
}
