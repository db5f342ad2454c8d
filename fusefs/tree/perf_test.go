package tree

import (
	"context"
	"fmt"
	"testing"

	"ferry"
)

// countingTx counts the rows that a change looks at.
type countingJournal struct {
	*memJournal
	looks int
}

type countingTx struct {
	ferry.Tx
	j *countingJournal
}

func (tx countingTx) Key(k ferry.ObjectKey) *ferry.KeyState { tx.j.looks++; return tx.Tx.Key(k) }

func (tx countingTx) Inode(id ferry.InodeID) *ferry.Inode { tx.j.looks++; return tx.Tx.Inode(id) }

func (j *countingJournal) Update(fn func(ferry.Tx) error) error {
	return j.memJournal.Update(func(tx ferry.Tx) error { return fn(countingTx{tx, j}) })
}

func (j *countingJournal) View(fn func(ferry.Tx) error) error {
	return j.memJournal.View(func(tx ferry.Tx) error { return fn(countingTx{tx, j}) })
}

// TestUnlinkLooksAtFewRows: emptying a directory costs the same for each name,
// however many are being deleted, and however old its listing is.
func TestUnlinkLooksAtFewRows(t *testing.T) {
	const files = 4000
	b := newMemBucket(1000, true)
	for i := range files {
		b.put(ferry.ObjectKey(fmt.Sprintf("d/%05d", i)), "x", nil, nil)
	}
	j := &countingJournal{memJournal: newMemJournal()}
	tr := New(Options{Journal: j, Remote: b, Generations: ferry.NewGenerations()})
	if err := tr.Recover(context.Background()); err != nil {
		t.Fatal(err)
	}
	d, err := tr.Lookup(context.Background(), ferry.RootInode, "d")
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		if i == files*3/4 {
			tr.Changed("d/x") // the next unlink lists what is still in the bucket
		}
		before := j.looks
		if err := tr.Unlink(context.Background(), ferry.Origin{}, d.ID, fmt.Sprintf("%05d", i)); err != nil {
			t.Fatal(err)
		}
		if n := j.looks - before; n > 2*keepLook {
			t.Fatalf("unlink %d looked at %d rows", i, n)
		}
	}
	if len(tr.nodes) > 2 {
		t.Errorf("%d nodes are kept", len(tr.nodes))
	}
	if lists := b.lists; lists > 30 {
		t.Errorf("%d listings", lists)
	}
}

// TestReaddirKeepsNoNames: reading a large directory leaves nothing in memory
// that the kernel does not refer to.
func TestReaddirKeepsNoNames(t *testing.T) {
	b := newMemBucket(100, true)
	for i := range 3000 {
		b.put(ferry.ObjectKey(fmt.Sprintf("%05d", i)), "x", nil, nil)
	}
	tr := New(Options{Journal: newMemJournal(), Remote: b, Generations: ferry.NewGenerations()})
	tr.maxDirNames = 500
	if err := tr.Recover(context.Background()); err != nil {
		t.Fatal(err)
	}
	h, err := tr.OpenDir(context.Background(), ferry.RootInode)
	if err != nil {
		t.Fatal(err)
	}
	n, most := 0, 0
	err = h.Read(context.Background(), 0, func(DirEntry, uint64) bool {
		n++
		most = max(most, len(tr.nodes), tr.listings.names+len(h.window)-pageSize)
		return true
	})
	h.Close()
	if err != nil || n != 3000 {
		t.Fatalf("%d names, %v", n, err)
	}
	if most > 600 {
		t.Errorf("%d names were in memory at once", most)
	}
}
