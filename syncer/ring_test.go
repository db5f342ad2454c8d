package syncer

import (
	"testing"

	"ferry"
)

// TestFileAndDirectorySwapped: "a" and "d/x" become "d" and "a/x" at once. No
// object may be made beside or below a file that still has to go, so the two wait
// for one another until one is copied aside.
func TestFileAndDirectorySwapped(t *testing.T) {
	for _, names := range [][2]ferry.Path{{"a", "d"}, {"d", "a"}} {
		file, dir := names[0], names[1]
		w := newWorld(t)
		w.write(file, []byte("one"))
		w.write(dir.Join("x"), pattern(2<<20, 3))
		w.start()
		w.settle()
		w.update(func(tx ferry.Tx) error {
			f, x := w.ensure(tx, file), w.ensure(tx, dir.Join("x"))
			for _, in := range []*ferry.Inode{f, x} {
				tx.DeleteInode(in.ID)
				ferry.Unwant(tx, in.Key(), w.seen(in.Key()), now())
			}
			f.Path, x.Path = dir, file.Join("x")
			for _, in := range []*ferry.Inode{f, x} {
				tx.PutInode(in)
				w.want(tx, in)
			}
			return nil
		})
		w.files[dir], w.files[file.Join("x")] = w.files[file], w.files[dir.Join("x")]
		delete(w.files, file)
		delete(w.files, dir.Join("x"))
		w.settle()
		w.kill()
	}
}
