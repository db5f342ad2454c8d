package journal_test

import (
	"testing"

	"ferry/journal"
	"ferry/journal/journaltest"

	"pgregory.net/rapid"
)

// tiny makes every mechanism run often: folds, rotations, large changes.
func tiny(o *journal.Options) {
	o.SegmentSize, o.FoldAbove, o.MemoryMax = 8<<10, 8<<10, 64<<10
	o.SmallBatches(600, 1200, 7)
}

// TestModel: whatever is done in whatever order, and however the journal ends
// (closed, killed, power cut), it holds what a plain map would hold.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := journaltest.Options(t, t.TempDir())
		tiny(&o)
		o.BootID = "boot-0"
		boots := 0
		w := newWorld(rapid.Uint64().Draw(rt, "seed"))
		synced := 0
		j, err := journal.Open(o)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { j.Close() }()
		for _, step := range rapid.SliceOfN(rapid.IntRange(0, 30), 1, 60).Draw(rt, "steps") {
			reopen := func(end func() error) {
				if err := end(); err != nil {
					rt.Fatal(err)
				}
				if j, err = journal.Open(o); err != nil {
					rt.Fatal(err)
				}
			}
			switch step {
			case 0:
				reopen(j.Close)
				synced = w.n
			case 1, 2:
				reopen(j.Abandon)
			case 3, 4:
				// A fold that runs in the background makes a barrier of its own.
				upTo := synced
				seq := j.Barrier()
				boots++
				o.BootID = "boot-" + string(rune('0'+boots%10)) + string(rune('a'+boots/10))
				reopen(j.Abandon)
				w = afterCut(rt, w, j, upTo, seq)
				synced = w.n
			case 5, 6, 7:
				if err := j.Sync(t.Context()); err != nil {
					rt.Fatal(err)
				}
				synced = w.n
			case 8:
				if err := j.Fold(); err != nil {
					rt.Fatal(err)
				}
				synced = w.n
			default:
				for range step {
					if err := w.do(j); err != nil {
						rt.Fatal(err)
					}
				}
			}
			w.equals(t, j)
			if t.Failed() {
				rt.FailNow()
			}
		}
	})
}

// afterCut finds which prefix of the history a power cut left: at least what was
// synced.
func afterCut(rt *rapid.T, w *world, j *journal.Journal, synced int, _ uint64) *world {
	got, err := lines(j)
	if err != nil {
		rt.Fatal(err)
	}
	for n := synced; n <= w.n; n++ {
		if c := w.at(n); difference(got, dump(c.ref)) == "" {
			c.cuts = append(c.cuts, cut{at: n, sizes: w.sizes})
			return c
		}
	}
	rt.Fatalf("after a power cut the journal holds no state between change %d and %d: %s", synced, w.n, difference(got, dump(w.at(synced).ref)))
	return nil
}
