package journal_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"ferry"
	"ferry/journal"
)

// world makes a sequence of changes that depends on nothing but a seed: a test
// and a child process that dies in the middle of it know the same history.
type world struct {
	seed  uint64
	ref   *reference
	sizes map[ferry.Generation]int64 // of staging files
	wrote map[ferry.Generation]*ferry.ExtentSet
	n     int // changes made so far
	// cuts are the lengths to which power cuts shortened the history: what comes
	// after is another history, with other generations.
	cuts []cut
}

// cut is a power cut: the history ended after change at, but the staging files
// may be longer than it says.
type cut struct {
	at    int
	sizes map[ferry.Generation]int64
}

func newWorld(seed uint64) *world {
	return &world{seed: seed, ref: newReference(), sizes: map[ferry.Generation]int64{}, wrote: map[ferry.Generation]*ferry.ExtentSet{}}
}

// salt tells a history from the one that a power cut ended.
func (w *world) salt(i int) (n uint64) {
	for _, c := range w.cuts {
		if c.at <= i {
			n++
		}
	}
	return n << 32
}

func (w *world) generation(i int) ferry.Generation {
	return ferry.Generation(fmt.Sprintf("%016x-%s", w.seed, strconv.FormatUint(w.salt(i)+uint64(i)+1, 36)))
}

// content is the byte of a generation at an offset.
func content(g ferry.Generation, off int64) byte {
	return byte(off*7+int64(len(g))+int64(g[len(g)-1])*31) | 1
}

func fill(g ferry.Generation, e ferry.Extent) []byte {
	b := make([]byte, e.Length)
	for i := range b {
		b[i] = content(g, e.Offset+int64(i))
	}
	return b
}

// change is one step: bytes written to staging, then one Update.
type change struct {
	name    string
	stage   ferry.Generation
	bytes   ferry.Extent
	rows    func(tx ferry.Tx) error
	rejects bool // rows returns an error
}

var errRejected = errors.New("rejected on purpose")

// pick returns one of list, or the zero value.
func pick[T any](r *rand.Rand, list []T) (v T, ok bool) {
	if len(list) == 0 {
		return v, false
	}
	return list[r.IntN(len(list))], true
}

func (w *world) uploadsIn(states ...ferry.UploadState) (list []*ferry.Upload) {
	for u := range w.ref.Uploads() {
		if slices.Contains(states, u.State) {
			list = append(list, u)
		}
	}
	return list
}

// next chooses the next change by what there is.
func (w *world) next() change {
	i := w.n
	r := rand.New(rand.NewPCG(w.seed, w.salt(i)+uint64(i)))
	path := ferry.Path(fmt.Sprintf("d%d/f%d", r.IntN(3), r.IntN(12)))
	now := int64(i)
	switch r.IntN(13) {
	case 0, 1, 2:
		if w.ref.InodeAt(path) == 0 {
			return w.create(i, path, now)
		}
		return w.unlink(path, now)
	case 3, 4, 5:
		if u, ok := pick(r, w.uploadsIn(ferry.StateDirty, ferry.StateStreaming)); ok {
			e := ferry.Extent{Offset: int64(r.IntN(5000)), Length: int64(1 + r.IntN(3000))}
			return change{name: "write", stage: u.Generation, bytes: e, rows: func(tx ferry.Tx) error {
				if u.Base != nil {
					tx.AddExtent(u.Generation, e)
				}
				tx.PutReply(ferry.Origin{Connection: 7, Unique: uint64(i % 64)}, ferry.Reply{Size: uint32(e.Length)})
				return nil
			}}
		}
	case 6, 7:
		if u, ok := pick(r, w.uploadsIn(ferry.StateDirty)); ok {
			return change{name: "seal", rows: func(tx ferry.Tx) error { return w.seal(tx, u.Generation) }}
		}
	case 8:
		if u, ok := pick(r, w.uploadsIn(ferry.StateSealed)); ok {
			return change{name: "commit", rows: func(tx ferry.Tx) error { return w.commit(tx, u.Generation) }}
		}
	case 9:
		if u, ok := pick(r, w.uploadsIn(ferry.StateCompleting)); ok {
			return change{name: "stored", rows: func(tx ferry.Tx) error { return w.stored(tx, u.Generation) }}
		}
	case 10:
		to := ferry.Path(fmt.Sprintf("d%d/g%d", r.IntN(3), r.IntN(12)))
		return change{name: "rename", rows: func(tx ferry.Tx) error { return rename(tx, path, to, now) }}
	case 11:
		return w.directory(r, now)
	}
	return change{name: "small rows", rejects: r.IntN(3) == 0, rows: func(tx ferry.Tx) error {
		tx.PutTombstone(path)
		tx.DeleteTombstone(ferry.Path(fmt.Sprintf("d%d/f%d", i%3, i%12)))
		tx.PutSetting(fmt.Sprint("s", i%4), fmt.Sprint(i))
		tx.PutJob(&ferry.DeleteJob{ID: ferry.JobID(fmt.Sprint("j", i%5)), Made: time.Unix(now, 5).UTC(), Requested: now})
		return nil
	}}
}

func (w *world) create(i int, path ferry.Path, now int64) change {
	g, id := w.generation(i), ferry.InodeID(1000+i)
	return change{name: "create", rows: func(tx ferry.Tx) error {
		in := &ferry.Inode{
			ID: id, Kind: ferry.File, Path: path, Content: g, AttrSeq: uint64(i),
			Attr: ferry.Attr{Mode: 0o644, Mtime: now}, Xattrs: map[string][]byte{"user.x": {1, 2, byte(i)}},
		}
		u := &ferry.Upload{Generation: g, Inode: id, State: ferry.StateDirty, Path: path, Truncating: -1, Since: now}
		if i%3 == 0 {
			u.Base = &ferry.Version{Key: path.Key(), ETag: "base", Size: 9000}
			u.BaseLimit = 9000
			in.Remote, in.Size = u.Base, 9000
		}
		tx.PutInode(in)
		tx.PutUpload(u)
		ferry.Want(tx, path.Key(), ferry.KnownAbsent, ferry.Wanted{Kind: ferry.WantInode, Inode: id}, now)
		return nil
	}}
}

func (w *world) unlink(path ferry.Path, now int64) change {
	return change{name: "unlink", rows: func(tx ferry.Tx) error {
		in := tx.Inode(tx.InodeAt(path))
		if in.Content != "" {
			if u := tx.Upload(in.Content); u.State == ferry.StateCompleting {
				in.Unlinked = true // it must be settled first
				tx.PutInode(in)
				ferry.Unwant(tx, path.Key(), ferry.Known{}, now)
				return nil
			}
			ferry.Supersede(tx, in.Content)
		}
		tx.DeleteInode(in.ID)
		ferry.Unwant(tx, path.Key(), ferry.Known{}, now)
		return nil
	}}
}

func (w *world) seal(tx ferry.Tx, g ferry.Generation) error {
	u := tx.Upload(g)
	in := tx.Inode(u.Inode)
	u.State, u.Size = ferry.StateSealed, w.sizes[g]
	if u.Base != nil {
		u.Size = max(u.Base.Size, u.Size)
	}
	in.Size = u.Size
	tx.PutUpload(u)
	tx.PutInode(in)
	return nil
}

func (w *world) commit(tx ferry.Tx, g ferry.Generation) error {
	u := tx.Upload(g)
	in := tx.Inode(u.Inode)
	k := tx.Key(in.Key())
	if in.Unlinked || k == nil || k.Intent != nil || k.Upload != "" {
		return nil
	}
	u.State, u.Key = ferry.StateCompleting, k.Key
	tx.PutUpload(u)
	k.Upload = g
	k.Intent = &ferry.Intent{Kind: ferry.IntentPut, Generation: g, Inode: in.ID, AttrSeq: in.AttrSeq}
	tx.PutKey(k)
	tx.PutPart(g, ferry.Part{Number: 1, Extent: ferry.Extent{Length: u.Size}, ETag: "p", Digest: []byte{1}})
	return nil
}

func (w *world) stored(tx ferry.Tx, g ferry.Generation) error {
	u := tx.Upload(g)
	k := tx.Key(u.Key)
	ferry.Stored(tx, u.Key, *k.Intent, ferry.Version{Key: u.Key, ETag: ferry.ETag(g), Size: u.Size, Generation: g})
	if in := tx.Inode(u.Inode); in != nil && in.Unlinked {
		tx.DeleteInode(in.ID)
	}
	return nil
}

func rename(tx ferry.Tx, from, to ferry.Path, now int64) error {
	id := tx.InodeAt(from)
	if id == 0 || tx.InodeAt(to) != 0 {
		return nil
	}
	in := tx.Inode(id)
	requests := ferry.Requests(tx, in)
	in.Path = to
	tx.PutInode(in)
	ferry.Unwant(tx, from.Key(), ferry.Known{}, now)
	k := ferry.Want(tx, to.Key(), ferry.Known{}, ferry.Wanted{Kind: ferry.WantInode, Inode: id}, now)
	ferry.Follow(tx, k, requests)
	return nil
}

// directory renames everything below one directory to and fro: a large change.
func (w *world) directory(r *rand.Rand, now int64) change {
	from, to := ferry.Path(fmt.Sprintf("d%d", r.IntN(3))), ferry.Path("moved/deep")
	if r.IntN(2) == 0 {
		from, to = to, from
	}
	return change{name: "rename directory", rows: func(tx ferry.Tx) error {
		for p := range tx.Paths(from + "/") {
			if !p.Below(from) {
				break
			}
			if err := rename(tx, p, p.Rebase(from, to), now); err != nil {
				return err
			}
		}
		return nil
	}}
}

// do makes the next change in j (nil: only in the reference).
func (w *world) do(j *journal.Journal) error {
	for _, c := range w.cuts {
		if c.at == w.n {
			for g, size := range c.sizes {
				w.sizes[g] = max(w.sizes[g], size)
			}
		}
	}
	c := w.next()
	if err := w.doStaging(j, c); err != nil {
		return err
	}
	if j != nil {
		err := j.Update(func(tx ferry.Tx) error {
			if err := c.rows(tx); err != nil || !c.rejects {
				return err
			}
			return errRejected
		})
		if err != nil && !(c.rejects && errors.Is(err, errRejected)) {
			return fmt.Errorf("change %d (%s): %w", w.n, c.name, err)
		}
	}
	w.n++
	if c.rejects {
		return nil
	}
	if err := c.rows(w.ref); err != nil {
		return err
	}
	return w.ref.err
}

func (w *world) doStaging(j *journal.Journal, c change) error {
	if c.stage == "" {
		return nil
	}
	if j == nil {
		w.staged(c)
		return nil
	}
	f, err := j.Staging().Open(c.stage)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = f.WriteAt(fill(c.stage, c.bytes), c.bytes.Offset); err == nil {
		w.staged(c)
	}
	return err
}

func (w *world) staged(c change) {
	w.sizes[c.stage] = max(w.sizes[c.stage], c.bytes.End())
	if w.wrote[c.stage] == nil {
		w.wrote[c.stage] = &ferry.ExtentSet{}
	}
	w.wrote[c.stage].Add(c.bytes)
}

// at returns the world after n changes.
func (w *world) at(n int) *world {
	fresh := newWorld(w.seed)
	fresh.cuts = slices.Clone(w.cuts)
	for fresh.n < n {
		if err := fresh.do(nil); err != nil {
			panic(err)
		}
	}
	return fresh
}

func lines(j *journal.Journal) (out []string, err error) {
	err = j.View(func(tx ferry.Tx) error {
		out = dump(tx)
		return nil
	})
	return out, err
}

// difference describes the first lines that differ, "" if none.
func difference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		g, w := "(nothing)", "(nothing)"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			return fmt.Sprintf("line %d\n got: %s\nwant: %s", i, g, w)
		}
	}
	return ""
}

// equals fails the test unless j holds what w does, bytes included.
func (w *world) equals(t testing.TB, j *journal.Journal) {
	t.Helper()
	got, err := lines(j)
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	if d := difference(got, dump(w.ref)); d != "" {
		t.Fatalf("after %d changes the journal differs: %s", w.n, d)
	}
	w.bytesAreThere(t, j)
	if err := journal.Check(j); err != nil {
		t.Fatalf("check: %v", err)
	}
}

// bytesAreThere compares the staging files of sealed content.
func (w *world) bytesAreThere(t testing.TB, j *journal.Journal) {
	t.Helper()
	for u := range w.ref.Uploads() {
		if !u.State.NeedsBytes() || u.State.Writable() {
			continue
		}
		f, err := j.Staging().Open(u.Generation)
		if err != nil {
			t.Fatal(err)
		}
		wrote := w.wrote[u.Generation]
		if wrote == nil {
			wrote = &ferry.ExtentSet{}
		}
		for _, e := range wrote.All() {
			b := make([]byte, e.Length)
			if _, err := io.ReadFull(io.NewSectionReader(f, e.Offset, e.Length), b); err != nil {
				t.Fatalf("%s: %v", u.Generation, err)
			}
			for i := range b {
				if b[i] != content(u.Generation, e.Offset+int64(i)) {
					t.Fatalf("%s: wrong byte at %d", u.Generation, e.Offset+int64(i))
				}
			}
		}
		f.Close()
	}
}
