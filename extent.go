package ferry

import (
	"fmt"
	"slices"
)

// Extent is the byte run [Offset, Offset+Length). Both are in bytes and never
// negative.
type Extent struct{ Offset, Length int64 }

// End returns the offset of the first byte after e.
func (e Extent) End() int64 { return e.Offset + e.Length }

// String returns "[from, to)".
func (e Extent) String() string { return fmt.Sprintf("[%d, %d)", e.Offset, e.End()) }

// Intersect returns what e and o share; its Length is 0 if nothing.
func (e Extent) Intersect(o Extent) Extent {
	from, to := max(e.Offset, o.Offset), min(e.End(), o.End())
	if to <= from {
		return Extent{Offset: from}
	}
	return Extent{from, to - from}
}

// ExtentSet is a set of bytes as sorted extents that neither touch nor overlap.
// The zero value is empty. Not safe for concurrent use.
type ExtentSet struct{ list []Extent }

// NewExtentSet returns the union of extents.
func NewExtentSet(extents ...Extent) *ExtentSet {
	s := &ExtentSet{}
	for _, e := range extents {
		s.Add(e)
	}
	return s
}

// All returns the extents in order. The slice belongs to the set.
func (s *ExtentSet) All() []Extent { return s.list }

// Bytes returns how many bytes the set holds.
func (s *ExtentSet) Bytes() (n int64) {
	for _, e := range s.list {
		n += e.Length
	}
	return n
}

// Clone returns a copy.
func (s *ExtentSet) Clone() *ExtentSet { return &ExtentSet{slices.Clone(s.list)} }

// at returns the index of the first extent that ends at or after off.
func (s *ExtentSet) at(off int64) int {
	i, _ := slices.BinarySearchFunc(s.list, off, func(e Extent, off int64) int {
		if e.End() < off {
			return -1
		}
		return 1
	})
	return i
}

// Add puts e into the set. It returns the extent that now covers e and reports
// whether the set changed.
func (s *ExtentSet) Add(e Extent) (merged Extent, changed bool) {
	if e.Length <= 0 {
		return e, false
	}
	i := s.at(e.Offset)
	if i < len(s.list) && s.list[i].Offset <= e.Offset && s.list[i].End() >= e.End() {
		return s.list[i], false
	}
	j := i
	for j < len(s.list) && s.list[j].Offset <= e.End() {
		from, to := min(e.Offset, s.list[j].Offset), max(e.End(), s.list[j].End())
		e = Extent{from, to - from}
		j++
	}
	s.list = slices.Replace(s.list, i, j, e)
	return e, true
}

// Remove takes e's bytes out of the set.
func (s *ExtentSet) Remove(e Extent) {
	if e.Length <= 0 {
		return
	}
	var out []Extent
	for _, x := range s.list {
		cut := x.Intersect(e)
		if cut.Length == 0 {
			out = append(out, x)
			continue
		}
		if x.Offset < cut.Offset {
			out = append(out, Extent{x.Offset, cut.Offset - x.Offset})
		}
		if cut.End() < x.End() {
			out = append(out, Extent{cut.End(), x.End() - cut.End()})
		}
	}
	s.list = out
}

// Truncate takes all bytes at and after size out of the set.
func (s *ExtentSet) Truncate(size int64) { s.Remove(Extent{size, 1<<62 - size}) }

// Contains reports whether every byte of e is in the set.
func (s *ExtentSet) Contains(e Extent) bool {
	if e.Length <= 0 {
		return true
	}
	i := s.at(e.Offset + 1)
	return i < len(s.list) && s.list[i].Offset <= e.Offset && s.list[i].End() >= e.End()
}

// Run is a piece of a window: bytes that are in the set, or are not.
type Run struct {
	Extent
	In bool
}

// Runs cuts window into runs that are wholly in or wholly out of the set, in
// order and without gaps.
func (s *ExtentSet) Runs(window Extent) (runs []Run) {
	pos := window.Offset
	for i := s.at(pos); i < len(s.list) && s.list[i].Offset < window.End(); i++ {
		cut := s.list[i].Intersect(window)
		if cut.Length == 0 {
			continue
		}
		if pos < cut.Offset {
			runs = append(runs, Run{Extent{pos, cut.Offset - pos}, false})
		}
		runs = append(runs, Run{cut, true})
		pos = cut.End()
	}
	if pos < window.End() {
		runs = append(runs, Run{Extent{pos, window.End() - pos}, false})
	}
	return runs
}
