package journal_test

import (
	"testing"

	"ferry"
	"ferry/journal"
)

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	o := journal.Options{Dir: dir, UnsafeFS: true}
	j, err := journal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	gens := ferry.NewGenerations()
	g := gens.Next()
	err = j.Update(func(tx ferry.Tx) error {
		id := tx.NextInodeID()
		tx.PutInode(&ferry.Inode{ID: id, Kind: ferry.File, Path: "a/b", Content: g})
		tx.PutUpload(&ferry.Upload{Generation: g, Inode: id, State: ferry.StateDirty, Truncating: -1})
		ferry.Want(tx, "a/b", ferry.KnownAbsent, ferry.Wanted{Kind: ferry.WantInode, Inode: id}, 5)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if j, err = journal.Open(o); err != nil {
			t.Fatal(err)
		}
		_ = j.View(func(tx ferry.Tx) error {
			id := tx.InodeAt("a/b")
			if in := tx.Inode(id); in == nil || in.Content != g {
				t.Fatalf("lost: %v %v", id, in)
			}
			for k := range tx.Work(0, "") {
				t.Log(k)
			}
			return nil
		})
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}
