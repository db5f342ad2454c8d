package ferry

import (
	"cmp"
	"slices"
)

// Edit is a sealed generation that changes a stored version: what its bytes are
// made of.
type Edit struct {
	Size int64 // of the new content
	// Base is the version edited; BaseLimit is how many of its bytes still count.
	Base      Version
	BaseLimit int64
	// Ours are the bytes that are in staging. Bytes outside it are the base's below
	// BaseLimit and zeros above.
	Ours *ExtentSet
}

// PlanPart is one part of a planned upload.
type PlanPart struct {
	Number PartNumber
	// Extent are the part's bytes in the new content. A copied part takes the same
	// bytes of the base.
	Extent Extent
	Copy   bool
}

// planLimits are the limits of S3, smaller in tests.
type planLimits struct {
	minPart, maxPart  int64
	maxParts          int
	upload, copyPiece int64 // how large the pieces of a run are, at least
}

var s3Limits = planLimits{
	minPart: MinPartSize, maxPart: MaxPartSize, maxParts: MaxParts,
	upload: 8 << 20, copyPiece: 128 << 20,
}

// Plan covers the new content with parts that are copied from the base and parts
// that are sent: it tiles [0, Size) exactly, obeys every limit of S3 and sends
// the fewest bytes (unless the number of parts forbids it). Without copyParts
// all is sent. It is a function of its arguments alone, so that an interrupted
// upload finds the same parts again. Size must be from 0 to [MaxObjectSize].
func Plan(e Edit, copyParts bool) []PlanPart { return plan(e, copyParts, s3Limits) }

func plan(e Edit, copyParts bool, lim planLimits) []PlanPart {
	var copies []Extent
	if copyParts {
		copies = chooseCopies(e.copyable(), e.Size, lim.minPart)
	}
	// Each copy makes at most two runs, itself and the sent bytes before it, and
	// long runs are several parts.
	if most := (lim.maxParts - 1 - int(e.Size/(lim.maxPart/2))) / 2; len(copies) > most {
		copies = largest(copies, most)
	}
	for {
		if parts := cut(copies, e.Size, lim); len(parts) <= lim.maxParts {
			return parts
		}
		lim.upload, lim.copyPiece = lim.upload*2, lim.copyPiece*2
	}
}

// copyable returns the runs of the new content that are the base's own.
func (e Edit) copyable() (runs []Extent) {
	limit := min(e.BaseLimit, e.Base.Size, e.Size)
	for _, r := range e.Ours.Runs(Extent{0, max(0, limit)}) {
		if !r.In {
			runs = append(runs, r.Extent)
		}
	}
	return runs
}

// choice is one way to cover the content up to the end of one run: the last copy
// is taken from that run, trimmed by left at its front.
type choice struct {
	run    int
	left   int64 // trimmed at the front of the run
	right  int64 // trimmed at the end of the run before
	copied int64 // bytes copied so far, with this run whole at its end
	from   *choice
}

// chooseCopies returns, from runs in order, the parts to copy so that most bytes
// are copied: each copy is at least minPart long, and so is what is sent between
// two copies or before the first; only what reaches the end of the content may
// be shorter.
//
// A run gives at most one copy. Between two copies i < j something is sent, at
// least minPart: what lies between them and, if that is too little, bytes
// trimmed from i's end and j's front. What i can spare is of no other use, so it
// is trimmed first. For each run the best ways are kept: those for which no
// other copies more with less trimmed in front. More than one run between two
// copies is left out only where its neighbours are too short to be trimmed, so
// a short look back is enough.
func chooseCopies(runs []Extent, size, minPart int64) []Extent {
	const lookBack = 4
	ways := make([][]*choice, len(runs))
	var best *choice
	for j, r := range runs {
		least := minPart
		if r.End() == size {
			least = 1
		}
		var found []*choice
		add := func(c *choice) {
			if r.Length-c.left >= least {
				c.copied += r.Length - c.left
				found = append(found, c)
			}
		}
		first := &choice{run: j}
		if r.Offset > 0 {
			first.left = max(0, minPart-r.Offset)
		}
		add(first)
		for i := max(0, j-lookBack); i < j; i++ {
			lack := max(0, minPart-(r.Offset-runs[i].End()))
			for _, w := range ways[i] {
				right := min(lack, runs[i].Length-w.left-minPart)
				add(&choice{run: j, left: lack - right, right: right, copied: w.copied - right, from: w})
			}
		}
		ways[j] = pareto(found)
		for _, w := range ways[j] {
			if best == nil || w.copied > best.copied {
				best = w
			}
		}
	}
	var copies []Extent
	right := int64(0)
	for c := best; c != nil; c = c.from {
		r := runs[c.run]
		copies = append(copies, Extent{r.Offset + c.left, r.Length - c.left - right})
		right = c.right
	}
	slices.Reverse(copies)
	return copies
}

// pareto keeps the ways that no other beats in both bytes copied and bytes
// trimmed in front, and no more than a few of them.
func pareto(all []*choice) (kept []*choice) {
	const most = 8
	slices.SortStableFunc(all, func(a, b *choice) int {
		if a.copied != b.copied {
			return cmp.Compare(b.copied, a.copied)
		}
		return cmp.Compare(a.left, b.left)
	})
	for _, c := range all {
		if len(kept) < most && (len(kept) == 0 || c.left < kept[len(kept)-1].left) {
			kept = append(kept, c)
		}
	}
	return kept
}

// largest returns the n longest extents in their order.
func largest(all []Extent, n int) []Extent {
	by := slices.Clone(all)
	slices.SortStableFunc(by, func(a, b Extent) int { return cmp.Compare(b.Length, a.Length) })
	kept := by[:max(0, n)]
	slices.SortFunc(kept, func(a, b Extent) int { return cmp.Compare(a.Offset, b.Offset) })
	return kept
}

// cut tiles [0, size) with pieces of the copies and of what lies between them.
func cut(copies []Extent, size int64, lim planLimits) (parts []PlanPart) {
	run := func(e Extent, isCopy bool) {
		piece := lim.upload
		if isCopy {
			piece = lim.copyPiece
		}
		// n even pieces are at least piece long each and less than twice that.
		n := max(1, e.Length/min(piece, lim.maxPart/2))
		for i := range n {
			from, to := e.Length*i/n, e.Length*(i+1)/n
			parts = append(parts, PlanPart{PartNumber(len(parts) + 1), Extent{e.Offset + from, to - from}, isCopy})
		}
	}
	pos := int64(0)
	for _, c := range copies {
		if pos < c.Offset {
			run(Extent{pos, c.Offset - pos}, false)
		}
		run(c, true)
		pos = c.End()
	}
	if pos < size || size == 0 {
		run(Extent{pos, size - pos}, false)
	}
	return parts
}
