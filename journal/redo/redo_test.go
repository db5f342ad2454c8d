package redo

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ferry/journal/vfs"
)

func options(dir, boot string) Options {
	return Options{
		Dir: dir, FS: vfs.OS(), Boot: boot, SegmentSize: 1 << 10,
		NoSpace: func() bool { return false }, Crash: func(string) {},
	}
}

func start(t *testing.T, o Options, after uint64) (*Log, *Scan, []Record) {
	t.Helper()
	var all []Record
	scan, err := Read(o, after, false, func(r Record) error {
		r.Payload = bytes.Clone(r.Payload)
		all = append(all, r)
		return nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Start(o, scan)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, scan, all
}

func add(t *testing.T, l *Log, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := l.Append(Rows, fmt.Appendf(nil, "record %d", i), nil); err != nil {
			t.Fatal(err)
		}
	}
}

func barrier(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Append(Barrier, BarrierPayload(l.Seq()), nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Datasync(); err != nil {
		t.Fatal(err)
	}
}

// texts returns the payloads of the records that are no barriers.
func texts(all []Record) (out []string) {
	for _, r := range all {
		if r.Kind == Rows {
			out = append(out, string(r.Payload))
		}
	}
	return out
}

func isRange(t *testing.T, all []Record, from, to int) {
	t.Helper()
	got := texts(all)
	if len(got) != to-from {
		t.Fatalf("%d records, want %d to %d: %q", len(got), from, to, got)
	}
	for i, s := range got {
		if s != fmt.Sprintf("record %d", from+i) {
			t.Fatalf("record %d is %q", from+i, s)
		}
	}
}

// TestKillsAndCuts: after a kill everything counts, after a power cut what is
// behind the last barrier; what was dropped stays dropped, however often and
// under whatever boots the log is read again.
func TestKillsAndCuts(t *testing.T) {
	dir := t.TempDir()
	l, _, _ := start(t, options(dir, "a"), 0)
	add(t, l, 0, 50)
	barrier(t, l)
	add(t, l, 50, 60)
	l, scan, all := start(t, options(dir, "a"), 0) // a kill
	isRange(t, all, 0, 60)
	if scan.Dropped != 0 || scan.Damage != nil {
		t.Fatalf("%+v", scan)
	}
	add(t, l, 60, 70)
	l, scan, all = start(t, options(dir, "b"), 0) // a power cut
	isRange(t, all, 0, 50)
	if scan.Dropped != 20 || scan.Damage != nil {
		t.Fatalf("%+v", scan)
	}
	add(t, l, 50, 55)
	_, _, all = start(t, options(dir, "b"), 0) // a kill
	isRange(t, all, 0, 55)
	l, scan, all = start(t, options(dir, "a"), 0) // a power cut; a boot ID that was there before
	isRange(t, all, 0, 50)
	if scan.Damage != nil {
		t.Fatalf("%+v", scan)
	}
	add(t, l, 50, 51)
	barrier(t, l)
	_, _, all = start(t, options(dir, "c"), 0)
	isRange(t, all, 0, 51)
}

// TestCutAtEveryByte: a log that ends anywhere gives the records before.
func TestCutAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	o := options(dir, "a")
	o.SegmentSize = 4 << 10
	l, _, _ := start(t, o, 0)
	add(t, l, 0, 30)
	name := filepath.Join(dir, fileName(1))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for cut := headerSize; cut < headerSize+30*40; cut++ {
		var all []Record
		if err := os.WriteFile(name, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		scan, err := Read(o, 0, false, func(r Record) error {
			r.Payload = bytes.Clone(r.Payload)
			all = append(all, r)
			return nil
		}, nil)
		if err != nil || scan.Damage != nil {
			t.Fatalf("cut at %d: %v %v", cut, err, scan.Damage)
		}
		isRange(t, all, 0, len(all))
		if len(all) < last {
			t.Fatalf("cut at %d: fewer records than a shorter log", cut)
		}
		last = len(all)
	}
	if last != 30 {
		t.Fatalf("the whole log has %d records", last)
	}
}

// TestRelease removes what is folded and nothing else.
func TestRelease(t *testing.T) {
	dir := t.TempDir()
	l, _, _ := start(t, options(dir, "a"), 0)
	add(t, l, 0, 200)
	before := l.Segments()
	for folded := uint64(0); folded < 200; folded += 7 {
		if err := l.Release(folded); err != nil {
			t.Fatal(err)
		}
		n := 0
		scan, err := Read(options(dir, "a"), folded, false, func(Record) error { n++; return nil }, nil)
		if err != nil || scan.Damage != nil || n != 200-int(folded) {
			t.Fatalf("folded %d: %d records left, %v %v", folded, n, err, scan.Damage)
		}
	}
	if l.Segments() > before/4 {
		t.Fatalf("%d of %d segments are left", l.Segments(), before)
	}
}

// TestBarrierOfADeadSegment: records that were lost and numbered anew are not
// behind a barrier because the lost ones were.
func TestBarrierOfADeadSegment(t *testing.T) {
	dir := t.TempDir()
	l, _, _ := start(t, options(dir, "a"), 0)
	add(t, l, 0, 60)
	barrier(t, l)
	for n := l.Segments(); l.Segments() == n; {
		add(t, l, 60, 61) // until a header carries the barrier
	}
	if err := os.Truncate(filepath.Join(dir, fileName(1)), headerSize+5*40); err != nil {
		t.Fatal(err)
	}
	l, scan, all := start(t, options(dir, "a"), 0)
	n := len(all)
	if len(scan.Damage) == 0 || n > 10 {
		t.Fatalf("%d records, %+v", n, scan)
	}
	add(t, l, n, n+5)
	_, _, all = start(t, options(dir, "b"), 0) // a power cut
	isRange(t, all, 0, n)
}

func TestMissingSegment(t *testing.T) {
	dir := t.TempDir()
	l, _, _ := start(t, options(dir, "a"), 0)
	add(t, l, 0, 100)
	if err := os.Remove(filepath.Join(dir, fileName(2))); err != nil {
		t.Fatal(err)
	}
	l, scan, all := start(t, options(dir, "a"), 0)
	isRange(t, all, 0, len(all))
	if len(scan.Damage) == 0 || scan.Lost == 0 {
		t.Fatalf("a gap without a word: %+v", scan)
	}
	n := len(all)
	add(t, l, n, n+40)
	_, _, all = start(t, options(dir, "a"), 0)
	isRange(t, all, 0, n+40)
}

// FuzzRecord: no bytes make next panic or read past their end.
func FuzzRecord(f *testing.F) {
	f.Add(frame(nil, 7, Record{Seq: 3, Kind: Rows, Payload: []byte("x")}), uint32(7))
	f.Add(frame(nil, 0, Record{Seq: 9, Kind: Barrier, Payload: BarrierPayload(8)}), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, salt uint32) {
		r, n := next(b, salt)
		if n > len(b) {
			t.Fatal("past the end")
		}
		if n > 0 && !bytes.Equal(frame(nil, salt, r), b[:n]) {
			t.Fatal("a record changes when it is written again")
		}
		_ = BarrierSeq(r)
		recognise(b, salt, 1, binary.LittleEndian.Uint64(append(b, make([]byte, 8)...)))
		_, _ = decodeHeader(b)
	})
}
