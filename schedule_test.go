package ferry

import "testing"

// TestScheduleTiles: the parts follow one another without gap, none is under the
// least size of S3, and together they hold the largest object.
func TestScheduleTiles(t *testing.T) {
	pos := int64(0)
	for n := PartNumber(1); n <= MaxParts; n++ {
		e := PartAt(n)
		if e.Offset != pos {
			t.Fatalf("part %d is %v, want it to start at %d", n, e, pos)
		}
		if e.Length < MinPartSize || e.Length > MaxPartSize {
			t.Fatalf("part %d is %d bytes", n, e.Length)
		}
		if PartOf(e.Offset) != n || PartOf(e.End()-1) != n {
			t.Fatalf("the bytes of part %d are in parts %d and %d", n, PartOf(e.Offset), PartOf(e.End()-1))
		}
		if e.End() <= 304<<30 && e.Length > 64<<20 {
			t.Fatalf("part %d at %d GiB is %d bytes", n, e.Offset>>30, e.Length)
		}
		pos = e.End()
	}
	if pos < MaxObjectSize {
		t.Errorf("the schedule ends at %d, before the largest object", pos)
	}
	for _, n := range []PartNumber{-1, 0, MaxParts + 1} {
		if e := PartAt(n); e != (Extent{}) {
			t.Errorf("part %d is %v, want none", n, e)
		}
	}
}

func checkParts(t *testing.T, size int64) {
	t.Helper()
	count := PartsFor(size)
	if size < 0 || size > MaxObjectSize {
		if count != 0 {
			t.Fatalf("size %d has %d parts, want none", size, count)
		}
		return
	}
	if count < 1 || count > MaxParts {
		t.Fatalf("size %d has %d parts", size, count)
	}
	last := PartIn(count, size)
	if last.End() != size || size > 0 && last.Length == 0 {
		t.Fatalf("size %d: the last of %d parts is %v", size, count, last)
	}
	if count > 1 && PartIn(count-1, size) != PartAt(count-1) {
		t.Fatalf("size %d: part %d is not whole", size, count-1)
	}
}

func FuzzPartsFor(f *testing.F) {
	for _, size := range []int64{-1, 0, 1, 8<<20 - 1, 8 << 20, 8<<20 + 1, 8000 << 20, 8000<<20 + 1, 305 << 30, MaxObjectSize, MaxObjectSize + 1} {
		f.Add(size)
	}
	f.Fuzz(func(t *testing.T, size int64) { checkParts(t, size) })
}
