package ferry

import (
	"math/rand/v2"
	"testing"
)

// TestExtentSetAgainstBytes compares every operation with a plain byte map.
func TestExtentSetAgainstBytes(t *testing.T) {
	const size = 64
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's dice
		s := &ExtentSet{}
		var model [size]bool
		for range 60 {
			from := r.Int64N(size)
			e := Extent{from, r.Int64N(size - from + 1)}
			switch r.IntN(3) {
			case 0:
				before := s.Bytes()
				merged, changed := s.Add(e)
				if changed != (s.Bytes() != before) && e.Length > 0 && changed {
					// Adding may join two extents without new bytes only if they touched,
					// which the set never lets stand.
					t.Fatalf("seed %d: Add(%v) changed=%v, bytes %d to %d", seed, e, changed, before, s.Bytes())
				}
				if e.Length > 0 && e.Intersect(merged) != e {
					t.Fatalf("seed %d: Add(%v) says %v covers it", seed, e, merged)
				}
				for i := e.Offset; i < e.End(); i++ {
					model[i] = true
				}
			case 1:
				s.Remove(e)
				for i := e.Offset; i < e.End(); i++ {
					model[i] = false
				}
			case 2:
				s.Truncate(from)
				for i := from; i < size; i++ {
					model[i] = false
				}
			}
			check(t, seed, s, model[:])
		}
	}
}

func check(t *testing.T, seed uint64, s *ExtentSet, model []bool) {
	t.Helper()
	last := int64(-1)
	for _, e := range s.All() {
		if e.Offset <= last || e.Length <= 0 {
			t.Fatalf("seed %d: extents touch or are empty: %v", seed, s.All())
		}
		last = e.End()
	}
	pos := int64(0)
	for _, run := range s.Runs(Extent{0, int64(len(model))}) {
		if run.Offset != pos || run.Length <= 0 {
			t.Fatalf("seed %d: runs have a gap at %d: %v", seed, pos, run)
		}
		for ; pos < run.End(); pos++ {
			if model[pos] != run.In {
				t.Fatalf("seed %d: byte %d is in=%v, want %v (%v)", seed, pos, run.In, model[pos], s.All())
			}
			if s.Contains(Extent{pos, 1}) != model[pos] {
				t.Fatalf("seed %d: Contains(%d) is wrong (%v)", seed, pos, s.All())
			}
		}
		if run.In && !s.Contains(run.Extent) {
			t.Fatalf("seed %d: Contains(%v) is false", seed, run)
		}
	}
	if pos != int64(len(model)) {
		t.Fatalf("seed %d: runs end at %d", seed, pos)
	}
}
