package ferry

import "iter"

// Tx is one atomic change, or one consistent view, of the journal's rows. It is
// valid only inside the function it was given to and for one goroutine.
//
// A getter returns a copy that the caller may change and put back; nil means no
// row. A row that cannot be read or decoded makes the whole transaction fail:
// getters then return nil and Update or View returns the error. In a View, the
// putters are not allowed and fail the transaction.
type Tx interface {
	// Inodes.
	Inode(InodeID) *Inode
	// PutInode keeps the indexes (paths, refs) in step. A linked inode takes its
	// path; putting a second one there is an error: unlink the first before.
	PutInode(*Inode)
	DeleteInode(InodeID)
	// InodeAt returns the linked inode at p, 0 if the journal has none there.
	InodeAt(p Path) InodeID
	// Paths yields the linked inodes whose path is from or sorts (bytewise) after it.
	Paths(from Path) iter.Seq2[Path, InodeID]
	// Inodes yields every inode row.
	Inodes() iter.Seq[*Inode]
	// Refs yields the inodes whose Remote lies at k.
	Refs(k ObjectKey) iter.Seq[InodeID]
	NextInodeID() InodeID

	// Keys.
	Key(ObjectKey) *KeyState
	// PutKey stores the row, or deletes it if it is Idle.
	PutKey(*KeyState)
	// Keys yields the rows whose key starts with prefix, in order.
	Keys(prefix ObjectKey) iter.Seq[*KeyState]
	// Work yields the rows by Since, oldest first, starting after the given
	// (since, key); (0, "") starts at the oldest.
	Work(since int64, after ObjectKey) iter.Seq[*KeyState]

	// Uploads. PutUpload refuses a change of State that [UploadState.Next] does
	// not allow; a row in a final state is deleted with its parts and extents, and
	// its staging file is freed once the change is behind a barrier.
	Upload(Generation) *Upload
	PutUpload(*Upload)
	Uploads() iter.Seq[*Upload]
	Parts(Generation) []Part // by number
	PutPart(Generation, Part)
	DeleteParts(Generation)
	// Extents are the bytes of a generation with a base that are ours.
	Extents(Generation) *ExtentSet
	AddExtent(Generation, Extent)
	SetExtents(Generation, *ExtentSet)

	// Tombstones of directories.
	Tombstone(Path) bool
	PutTombstone(Path)
	DeleteTombstone(Path)
	// Tombstones yields those at or below p.
	Tombstones(p Path) iter.Seq[Path]

	// Delete jobs.
	Job(JobID) *DeleteJob
	PutJob(*DeleteJob)
	Jobs() iter.Seq[*DeleteJob]

	// Reply returns the recorded answer to a request, nil if it made no change.
	Reply(Origin) *Reply
	// PutReply records the answer with the change. The journal keeps at least the
	// last 8192 answers of the current connection and forgets other connections'.
	PutReply(Origin, Reply)

	// Setting is a small value kept under a name ("" if never put).
	Setting(name string) string
	PutSetting(name, value string)

	// Fail makes the transaction fail with err; nothing is changed then.
	Fail(err error)
}

// Journal is what the other folders need of journal.Journal. They declare their
// own smaller interfaces where they need less.
type Journal interface {
	// Update runs fn and, if it returns nil, makes its changes with one append to
	// the log: they survive kill -9 when Update returns nil, and a power cut after
	// the next Sync. If it returns an error nothing is changed, unless the error is
	// KindReadOnly: the log could not be written and the journal takes no more
	// changes. Updates are serial; fn must not block.
	Update(fn func(Tx) error) error
	// View runs fn on a consistent view.
	View(fn func(Tx) error) error
}
