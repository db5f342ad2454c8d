package main

import (
	"time"

	"ferry"
	"ferry/journal"
)

// learningJournal is the journal as the syncer gets it. When a row is about to be
// closed because the bucket agrees with it, the tree learns of the object before
// the row is gone: else there is a moment in which neither rows nor listings know
// the file. (syncer.Events come after the commit.)
type learningJournal struct {
	*journal.Journal
	m *mount
}

// Update implements ferry.Journal.
func (j learningJournal) Update(fn func(ferry.Tx) error) error {
	return j.Journal.Update(func(tx ferry.Tx) error { return fn(learningTx{tx, j.m}) })
}

// learningTx sees which rows a transaction of the syncer closes.
type learningTx struct {
	ferry.Tx
	m *mount
}

// DeleteInode closes the row of an inode: from now on the listing speaks for it.
func (t learningTx) DeleteInode(id ferry.InodeID) {
	if in := t.Tx.Inode(id); in != nil && !in.Unlinked && in.Settled() {
		meta, headers, err := ferry.EncodeMetadata(in, in.Remote.Generation)
		if err == nil {
			t.m.tree.Settled(in.Key(), ferry.Object{Version: *in.Remote, Modified: time.Now(), Metadata: meta, Headers: headers})
		} else {
			t.m.tree.Changed(in.Key())
		}
	}
	t.Tx.DeleteInode(id)
}

// PutKey closes the row of a key that holds nothing and shall hold nothing.
func (t learningTx) PutKey(k *ferry.KeyState) {
	if k.Idle() && k.Known.Presence == ferry.Absent {
		t.m.tree.Removed(k.Key)
	}
	t.Tx.PutKey(k)
}
