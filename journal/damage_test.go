package journal_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ferry"
	"ferry/journal"
	"ferry/journal/crashpoint"
	"ferry/journal/staging"
)

// closedFiles makes n closed, labelled files as a mount does, every third with a
// base, and returns their paths.
func closedFiles(t testing.TB, j *journal.Journal, n int) (paths []ferry.Path) {
	t.Helper()
	gens := ferry.NewGenerations()
	for i := range n {
		g, path := gens.Next(), ferry.Path(fmt.Sprintf("dir/file-%d", i))
		l := staging.Label{Path: path, Size: -1, Sealed: true, Attr: ferry.Attr{Mode: 0o640, Mtime: int64(i)}, Complete: true}
		e := ferry.Extent{Length: int64(100 + i)}
		if i%3 == 0 {
			l.Base = &ferry.Version{Key: path.Key(), ETag: "base", Size: 5000}
			l.BaseLimit, l.Size = 5000, 5000
			e = ferry.Extent{Offset: 1000, Length: 50}
			l.Extents = []ferry.Extent{e}
		}
		f, err := j.Staging().Open(g)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(fill(g, e), e.Offset); err != nil {
			t.Fatal(err)
		}
		err = j.Update(func(tx ferry.Tx) error {
			l.Inode = tx.NextInodeID()
			size := max(l.Size, e.End())
			tx.PutInode(&ferry.Inode{ID: l.Inode, Kind: ferry.File, Path: path, Content: g, Size: size, Remote: l.Base, Attr: l.Attr})
			tx.PutUpload(&ferry.Upload{
				Generation: g, Inode: l.Inode, State: ferry.StateSealed, Path: path, Size: size,
				Base: l.Base, BaseLimit: l.BaseLimit, Truncating: -1,
			})
			if l.Base != nil {
				tx.AddExtent(g, e)
			}
			ferry.Want(tx, path.Key(), ferry.KnownAbsent, ferry.Wanted{Kind: ferry.WantInode, Inode: l.Inode}, int64(i))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Label(l); err != nil {
			t.Fatal(err)
		}
		f.Close()
		paths = append(paths, path)
	}
	return paths
}

// haveClosedFiles checks that every path is back with its bytes.
func haveClosedFiles(t testing.TB, j *journal.Journal, paths []ferry.Path) {
	t.Helper()
	if err := journal.Check(j); err != nil {
		t.Fatalf("check: %v", err)
	}
	err := j.View(func(tx ferry.Tx) error {
		for i, p := range paths {
			in := tx.Inode(tx.InodeAt(p))
			if in == nil {
				return fmt.Errorf("%q is lost", p)
			}
			u := tx.Upload(in.Content)
			if u.State != ferry.StateSealed {
				return fmt.Errorf("%q is %s", p, u.State)
			}
			if in.Attr.Mode != 0o640 || in.Attr.Mtime != int64(i) {
				return fmt.Errorf("%q has attributes %+v", p, in.Attr)
			}
			e := ferry.Extent{Length: u.Size}
			if i%3 == 0 {
				all := tx.Extents(u.Generation).All()
				if len(all) != 1 || u.Base == nil || u.BaseLimit != 5000 || u.Size != 5000 {
					return fmt.Errorf("%q came back without its base: %+v %v", p, u, all)
				}
				e = all[0]
			} else if u.Size != int64(100+i) {
				return fmt.Errorf("%q has %d bytes", p, u.Size)
			}
			f, err := j.Staging().Open(u.Generation)
			if err != nil {
				return err
			}
			b, err := io.ReadAll(io.NewSectionReader(f, e.Offset, e.Length))
			f.Close()
			if err != nil || !slices.Equal(b, fill(u.Generation, e)) {
				return fmt.Errorf("%q has other bytes (%w)", p, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// damages are ways to break a file; each returns false when its kind is used up.
func damages(size int64) map[string]func(f *os.File) error {
	r := rand.New(rand.NewPCG(1, 2))
	all := map[string]func(f *os.File) error{}
	for _, cut := range []int64{0, 1, 100, 4096, 8192, 16384, 20000, size / 2, size - 4096, size - 1} {
		if cut < size {
			all[fmt.Sprintf("cut at %d", cut)] = func(f *os.File) error { return f.Truncate(cut) }
		}
	}
	for page := int64(0); page < size/4096; page++ {
		all[fmt.Sprintf("page %d zeroed", page)] = func(f *os.File) error {
			_, err := f.WriteAt(make([]byte, 4096), page*4096)
			return err
		}
		garbage := make([]byte, 4096)
		for i := range garbage {
			garbage[i] = byte(r.Uint32())
		}
		all[fmt.Sprintf("page %d garbage", page)] = func(f *os.File) error {
			_, err := f.WriteAt(garbage, page*4096)
			return err
		}
		at := page*4096 + r.Int64N(4096)
		all[fmt.Sprintf("byte %d flipped", at)] = func(f *os.File) error {
			b := make([]byte, 1)
			if _, err := f.ReadAt(b, at); err != nil {
				return err
			}
			_, err := f.WriteAt([]byte{b[0] ^ 0x41}, at)
			return err
		}
	}
	return all
}

// TestDamagedCheckpoint breaks journal.db in many ways: it never panics, every
// closed file is there, and a file that is not believed is set aside and said so.
//
// semantics: keep-rebuild
func TestDamagedCheckpoint(t *testing.T) {
	original := t.TempDir()
	j, err := journal.Open(childOptions(t, original))
	if err != nil {
		t.Fatal(err)
	}
	paths := closedFiles(t, j, 12)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	i, err := os.Stat(filepath.Join(original, "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	size := min(i.Size(), 24*4096)
	aside := 0
	for name, damage := range damages(size) {
		dir := filepath.Join(t.TempDir(), "state")
		copyTree(t, original, dir)
		f, err := os.OpenFile(filepath.Join(dir, "journal.db"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := damage(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
		j, err := journal.Open(childOptions(t, dir))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		haveClosedFiles(t, j, paths)
		if r := j.Recovered(); r.SetAside != "" {
			aside++
			if len(r.Damage) == 0 || len(r.Lost) == 0 {
				t.Fatalf("%s: set aside without a word: %+v", name, r)
			}
			if _, err := os.Stat(r.SetAside); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if j, err = journal.Open(childOptions(t, dir)); err != nil {
			t.Fatalf("%s, once more: %v", name, err)
		}
		haveClosedFiles(t, j, paths)
		if r := j.Recovered(); r.SetAside != "" || len(r.Lost) != 0 {
			t.Fatalf("%s: recovered twice: %+v", name, r)
		}
		if err := j.Close(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if aside < 10 {
		t.Fatalf("only %d damages were noticed", aside)
	}
	t.Logf("%d damages, %d noticed", len(damages(size)), aside)
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	cmd := []string{"-a", "--sparse=always", from, to}
	if tt, ok := t.(*testing.T); ok {
		run(tt, "cp", cmd...)
	}
}

// TestDamagedLog breaks log segments in many places: what is left is a prefix of
// the history, and stays one.
func TestDamagedLog(t *testing.T) {
	original, seed := t.TempDir(), uint64(99)
	o := childOptions(t, original)
	o.SegmentSize, o.FoldAbove, o.MemoryMax = 4<<10, 1<<30, 1<<30 // all of it stays in the log
	o.SmallBatches(1<<20, 1<<20, 100)
	w := newWorld(seed)
	j, err := journal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	for range 150 {
		if err := w.do(j); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Abandon(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(original, "redo", "*.log"))
	if err != nil || len(segments) < 4 {
		t.Fatalf("%d segments (%v)", len(segments), err)
	}
	r := rand.New(rand.NewPCG(5, 6))
	reported := 0
	for round := range 60 {
		dir := filepath.Join(t.TempDir(), "state")
		copyTree(t, original, dir)
		victim := filepath.Join(dir, "redo", filepath.Base(segments[r.IntN(len(segments))]))
		at := r.Int64N(4 << 10)
		switch round % 4 {
		case 0:
			err = os.Truncate(victim, at)
		case 1, 2:
			err = scribble(victim, at, round%4 == 1)
		default:
			err = os.Remove(victim)
		}
		if err != nil {
			t.Fatal(err)
		}
		o := o
		o.Dir = dir
		j, left := survivors(t, o, seed, 0, w.n)
		if left.n < w.n && len(j.Recovered().Damage) > 0 {
			reported++
		}
		// What was cut off must not come back with the next records.
		for range 30 {
			err := j.Update(func(tx ferry.Tx) error { tx.PutSetting("s1", strconv.Itoa(r.Int())); return nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		want, err := lines(j)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Abandon(); err != nil {
			t.Fatal(err)
		}
		if j, err = journal.Open(o); err != nil {
			t.Fatal(err)
		}
		got, err := lines(j)
		if err != nil {
			t.Fatal(err)
		}
		if d := difference(got, want); d != "" {
			t.Fatalf("round %d: after the next start: %s", round, d)
		}
		if err := j.Abandon(); err != nil {
			t.Fatal(err)
		}
	}
	if reported < 20 {
		t.Fatalf("only %d of 60 damages were reported", reported)
	}
}

// scribble overwrites 40 bytes with zeros or with something else.
func scribble(name string, at int64, zeros bool) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 40)
	if !zeros {
		copy(b, strings.Repeat("scribble", 5))
	}
	_, err = f.WriteAt(b, at)
	return err
}

// TestMissingCheckpoint: without journal.db the closed files come back, with or
// without the log, and a state directory that was never used is no loss.
func TestMissingCheckpoint(t *testing.T) {
	for _, gone := range [][]string{{"journal.db"}, {"journal.db", "redo"}} {
		o := childOptions(t, t.TempDir())
		j, err := journal.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if r := j.Recovered(); r.Damage != nil || r.Lost != nil {
			t.Fatalf("a new journal: %+v", r)
		}
		paths := closedFiles(t, j, 40)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		for _, name := range gone {
			if err := os.RemoveAll(filepath.Join(o.Dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if j, err = journal.Open(o); err != nil {
			t.Fatal(err)
		}
		haveClosedFiles(t, j, paths)
		if r := j.Recovered(); r.Damage == nil || r.Lost == nil {
			t.Fatalf("a loss without a word: %+v", r)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRebuild is `ferry doctor --rebuild` on a journal that is whole.
func TestRebuild(t *testing.T) {
	o := childOptions(t, t.TempDir())
	j, err := journal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	paths := closedFiles(t, j, 9)
	g := ferry.NewGenerations().Next()
	err = j.Update(func(tx ferry.Tx) error {
		id := tx.NextInodeID()
		tx.PutInode(&ferry.Inode{ID: id, Kind: ferry.File, Path: "open", Content: g})
		tx.PutUpload(&ferry.Upload{Generation: g, Inode: id, State: ferry.StateDirty, Path: "open", Truncating: -1})
		ferry.Want(tx, "open", ferry.KnownAbsent, ferry.Wanted{Kind: ferry.WantInode, Inode: id}, 1)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := j.Staging().Open(g)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteAt([]byte("being written"), 0)
	if err := f.Label(staging.Label{Path: "open", Size: -1}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(o.Dir, "redo")); err != nil {
		t.Fatal(err)
	}
	report, err := journal.Rebuild(o)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Restored) != len(paths) {
		t.Fatalf("restored %v", report.Restored)
	}
	if lost := strings.Join(report.Lost, "\n"); !strings.Contains(lost, "deletes") || !strings.Contains(lost, `"open"`) {
		t.Fatalf("the report names too little: %s", lost)
	}
	if b, err := os.ReadFile(filepath.Join(o.Dir, "staging", string(g)+".lost")); err != nil || string(b) != "being written" {
		t.Fatalf("the bytes of an open file must be kept: %q %v", b, err)
	}
	if j, err = journal.Open(o); err != nil {
		t.Fatal(err)
	}
	haveClosedFiles(t, j, paths)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCrashWhileRebuilding kills a child at points of a recovery from a lost
// checkpoint; the next start ends it.
func TestCrashWhileRebuilding(t *testing.T) {
	points := []string{
		crashpoint.SetAside, crashpoint.OpenCheckpoint, crashpoint.OpenReplayed, crashpoint.RebuildBefore,
		crashpoint.AppendBefore, crashpoint.AppendAfter, crashpoint.BatchChunk, crashpoint.FoldBefore,
		crashpoint.FoldCommitted, crashpoint.BarrierAppend,
	}
	for i := range 2 * len(points) {
		point, killed := points[i/2], i%2 == 1
		t.Run(fmt.Sprintf("%s, killed %v", point, killed), func(t *testing.T) {
			o := childOptions(t, t.TempDir())
			j, err := journal.Open(o)
			if err != nil {
				t.Fatal(err)
			}
			paths := closedFiles(t, j, 150) // more than the log holds
			end := j.Close
			if killed {
				end = j.Abandon // the log holds what the checkpoint never had
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if err := scribble(filepath.Join(o.Dir, "journal.db"), 0, true); err != nil {
				t.Fatal(err)
			}
			if err := scribble(filepath.Join(o.Dir, "journal.db"), 4096, true); err != nil {
				t.Fatal(err)
			}
			c := startChild(t, o.Dir, 1, 0, 0, crashpoint.Env+"="+point)
			if !c.wait(t) {
				t.Fatal("the child was not killed")
			}
			if j, err = journal.Open(o); err != nil {
				t.Fatal(err)
			}
			haveClosedFiles(t, j, paths)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
