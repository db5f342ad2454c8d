package ferry

import (
	"math/rand/v2"
	"testing"
)

// checkPlan fails if parts is not a plan that S3 takes and that makes e.
func checkPlan(t testing.TB, e Edit, copyParts bool, parts []PlanPart, lim planLimits) (sent int64) {
	t.Helper()
	if len(parts) < 1 || len(parts) > lim.maxParts {
		t.Fatalf("%+v: %d parts", e, len(parts))
	}
	pos := int64(0)
	limit := min(e.BaseLimit, e.Base.Size)
	for i, p := range parts {
		last := i == len(parts)-1
		if p.Number != PartNumber(i+1) || p.Extent.Offset != pos {
			t.Fatalf("%+v: part %d is number %d at %v, want offset %d", e, i+1, p.Number, p.Extent, pos)
		}
		if p.Extent.Length > lim.maxPart || !last && p.Extent.Length < lim.minPart || e.Size > 0 && p.Extent.Length <= 0 {
			t.Fatalf("%+v: part %v has a length that S3 refuses", e, p)
		}
		pos = p.Extent.End()
		if !p.Copy {
			sent += p.Extent.Length
			continue
		}
		if !copyParts || p.Extent.End() > limit {
			t.Fatalf("%+v: part %v copies what the base does not have", e, p)
		}
		for _, r := range e.Ours.Runs(p.Extent) {
			if r.In {
				t.Fatalf("%+v: part %v copies over our bytes %v", e, p, r.Extent)
			}
		}
	}
	if pos != e.Size {
		t.Fatalf("%+v: the parts end at %d", e, pos)
	}
	return sent
}

// fewest is the least number of bytes to send, found by trying all: state is the
// position, whether a copy ended there, and nothing else.
func fewest(e Edit, minPart int64) int64 {
	const never = 1 << 60
	limit := min(e.BaseLimit, e.Base.Size, e.Size)
	can := func(i int64) bool { return i < limit && !e.Ours.Contains(Extent{i, 1}) }
	n := e.Size
	// best[p]: fewest sent for [0, p) if a part ends at p; all parts but the last
	// are at least minPart long.
	best := make([]int64, n+1)
	for p := int64(1); p <= n; p++ {
		best[p] = never
		copying := true
		for from := p - 1; from >= 0; from-- {
			copying = copying && can(from)
			if p-from < minPart && p != n {
				continue
			}
			cost := best[from]
			if !copying {
				cost += p - from
			}
			best[p] = min(best[p], cost)
		}
	}
	return best[n]
}

func randomEdit(r *rand.Rand, most int64) Edit {
	e := Edit{Size: r.Int64N(most), Base: Version{Size: r.Int64N(most)}, Ours: NewExtentSet()}
	e.BaseLimit = e.Base.Size
	if r.IntN(3) == 0 {
		e.BaseLimit = r.Int64N(e.Base.Size + 1)
	}
	for range r.IntN(6) {
		if e.Size == 0 {
			break
		}
		off := r.Int64N(e.Size)
		e.Ours.Add(Extent{off, min(1+r.Int64N(1+most/10), e.Size-off)})
	}
	return e
}

// TestPlanSendsFewest: with limits small enough to try everything, each plan is
// one that S3 takes, and none sends less.
func TestPlanSendsFewest(t *testing.T) {
	lim := planLimits{minPart: 5, maxPart: 60, maxParts: 1000, upload: 8, copyPiece: 20}
	r := rand.New(rand.NewPCG(1, 2))
	for range 6000 {
		e := randomEdit(r, 120)
		sent := checkPlan(t, e, true, plan(e, true, lim), lim)
		if want := fewest(e, lim.minPart); sent != want {
			t.Fatalf("%+v ours %v: sends %d, %d would do: %v", e, e.Ours.All(), sent, want, plan(e, true, lim))
		}
		if sent := checkPlan(t, e, false, plan(e, false, lim), lim); sent != e.Size {
			t.Fatalf("%+v: without copies %d of %d bytes are sent", e, sent, e.Size)
		}
	}
}

// semantics: write-edit
func TestPlanFigures(t *testing.T) {
	const gib = 1 << 30
	base := Version{Size: gib}
	tests := []struct {
		name string
		e    Edit
		most int64
	}{
		{"4 KiB in the middle", Edit{Size: gib, Base: base, BaseLimit: gib, Ours: NewExtentSet(Extent{gib / 2, 4096})}, MinPartSize},
		{"4 KiB at the start", Edit{Size: gib, Base: base, BaseLimit: gib, Ours: NewExtentSet(Extent{0, 4096})}, MinPartSize},
		{"4 KiB at the end", Edit{Size: gib, Base: base, BaseLimit: gib, Ours: NewExtentSet(Extent{gib - 4096, 4096})}, 4096},
		{"1 MiB appended", Edit{Size: gib + 1<<20, Base: base, BaseLimit: gib, Ours: NewExtentSet(Extent{gib, 1 << 20})}, 1 << 20},
		{"cut in half", Edit{Size: gib / 2, Base: base, BaseLimit: gib / 2, Ours: NewExtentSet()}, 0},
		{"grown by a hole", Edit{Size: gib + 10<<20, Base: base, BaseLimit: gib, Ours: NewExtentSet()}, 10 << 20},
		{"nothing left", Edit{Base: base, Ours: NewExtentSet()}, 0},
	}
	for _, tc := range tests {
		parts := Plan(tc.e, true)
		if sent := checkPlan(t, tc.e, true, parts, s3Limits); sent > tc.most {
			t.Errorf("%s: sends %d bytes, want at most %d", tc.name, sent, tc.most)
		}
	}
}

// TestPlanManyEdits: more changed places than parts are allowed.
func TestPlanManyEdits(t *testing.T) {
	e := Edit{Size: 400 << 30, Base: Version{Size: 400 << 30}, BaseLimit: 400 << 30, Ours: NewExtentSet()}
	for off := int64(0); off < e.Size; off += 20 << 20 {
		e.Ours.Add(Extent{off, 4096})
	}
	checkPlan(t, e, true, Plan(e, true), s3Limits)
	e.Size = MaxObjectSize
	checkPlan(t, e, true, Plan(e, true), s3Limits)
}

func FuzzPlan(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		e := randomEdit(rand.New(rand.NewPCG(a, b)), 1<<34)
		checkPlan(t, e, true, Plan(e, true), s3Limits)
		checkPlan(t, e, false, Plan(e, false), s3Limits)
	})
}
