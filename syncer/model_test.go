package syncer

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"ferry"
)

// TestModel: any user, any faults, any kills: when all has calmed down the
// bucket holds what the user left, and nothing else.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		seed := rapid.Uint64().Draw(rt, "faults")
		percent := rapid.SampledFrom([]int{0, 5, 25}).Draw(rt, "percent")
		r := rand.New(rand.NewPCG(seed, 1))
		calm := false
		w.r.fault = func(api string, key ferry.ObjectKey) (bool, error) {
			if calm || r.IntN(100) >= percent {
				return false, nil
			}
			switch r.IntN(4) {
			case 0:
				return true, nil
			case 1:
				return false, &ferry.Error{Op: "mem", Kind: ferry.KindTransient, Key: string(key), Err: ferry.ErrOffline}
			case 2:
				if api == "ListParts" || api == "PutPart" || api == "CopyPart" {
					for id, u := range w.r.uploads {
						if u.key == key {
							delete(w.r.uploads, id)
						}
					}
				}
			}
			return false, remoteErr(ferry.KindTransient, key, "the "+api+" failed")
		}
		w.start()
		paths := []ferry.Path{"a", "b", "c", "d/e"}
		there := func(yes bool) (ps []ferry.Path) {
			for _, p := range paths {
				if (w.files[p] != nil) == yes {
					ps = append(ps, p)
				}
			}
			return ps
		}
		n := 0
		size := func() int {
			switch n++; rapid.IntRange(0, 9).Draw(rt, "size") {
			case 0:
				return 0
			case 1:
				return 9 * mib
			case 2:
				return 2 * mib
			}
			return n
		}
		var did []string
		note := func(format string, args ...any) { did = append(did, fmt.Sprintf(format, args...)) }
		steps := rapid.IntRange(1, 12).Draw(rt, "steps")
		for range steps {
			switch op := rapid.IntRange(0, 8).Draw(rt, "op"); op {
			case 0, 1:
				p := rapid.SampledFrom(paths).Draw(rt, "path")
				b := pattern(size(), byte(n))
				note("write %s %d", p, len(b))
				w.write(p, b)
			case 2:
				if ps := there(true); len(ps) > 0 {
					p := rapid.SampledFrom(ps).Draw(rt, "path")
					off := rapid.IntRange(0, len(w.files[p].body)+10).Draw(rt, "offset")
					n++
					note("edit %s at %d", p, off)
					w.edit(p, int64(off), []byte(fmt.Sprint("edit", n)))
				}
			case 3:
				if ps := there(true); len(ps) > 0 {
					p := rapid.SampledFrom(ps).Draw(rt, "path")
					note("unlink %s", p)
					w.unlink(p)
				}
			case 4, 5:
				from, to := there(true), paths
				if len(from) == 0 {
					continue
				}
				p, q := rapid.SampledFrom(from).Draw(rt, "from"), rapid.SampledFrom(to).Draw(rt, "to")
				if p != q {
					note("rename %s %s", p, q)
					w.rename(p, q)
				}
			case 6:
				if ps := there(true); len(ps) > 1 {
					note("exchange %s %s", ps[0], ps[1])
					w.exchange(ps[0], ps[1])
				}
			case 7:
				if ps := there(true); len(ps) > 0 {
					p := rapid.SampledFrom(ps).Draw(rt, "path")
					n++
					note("chmod %s", p)
					w.chmod(p, 0o600|uint32(n%8))
				}
			case 8:
				note("kill")
				w.kill()
				w.start()
			}
			if rapid.IntRange(0, 3).Draw(rt, "rest") == 0 {
				note("rest")
				w.settle()
			}
		}
		w.r.mu.Lock()
		calm = true
		w.r.mu.Unlock()
		defer func() {
			rt.Logf("did %v", did)
		}()
		w.settle()
		w.kill()
		if bytes := w.leftovers(); bytes != "" {
			rt.Fatalf("left: %s", bytes)
		}
	})
}

// leftovers says what is left at the server that no row knows of. Uploads whose
// opening was answered to nobody are the server's to forget.
func (w *world) leftovers() string {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	for key := range w.r.objects {
		if key.Reserved() {
			return string(key)
		}
	}
	return ""
}
