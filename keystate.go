package ferry

import "time"

// WantKind is what a key shall hold.
type WantKind uint8

// The kinds of want.
const (
	WantNothing WantKind = iota // leave it as it is
	WantAbsent                  // no object: the name was deleted or renamed away here
	WantInode                   // the object of an inode
)

// Wanted is what a key shall hold.
type Wanted struct {
	Kind  WantKind
	Inode InodeID // if WantInode
}

// IntentKind is the sort of an unanswered request.
type IntentKind uint8

// The requests that change what a key holds.
const (
	IntentPut      IntentKind = iota + 1 // PutObject of a generation
	IntentComplete                       // CompleteMultipartUpload of a generation
	IntentMove                           // copy of an inode's Remote to this key
	IntentAttr                           // copy of the object onto itself with new metadata
	IntentAside                          // copy of what is at this key to a key under .ferry/, to break a cycle
)

// Intent is a request on a key that was journaled before it was sent and whose
// answer is not journaled. It is settled before anything else happens to the
// key: a HEAD that finds Generation in the object's metadata says that the
// request took effect.
type Intent struct {
	Kind       IntentKind
	Generation Generation // travels in the metadata of the object the request makes
	Inode      InodeID    // whose object it makes
	// AttrSeq is the inode's count of attribute changes that the request carries.
	AttrSeq uint64
	// Dest is the key the request makes an object at, if it is not the row's own
	// (IntentAside).
	Dest ObjectKey
	// UploadID is the multipart copy that a move opened, "" if none.
	UploadID UploadID
}

// KeyState is the journal's row for one object key at which something is to be
// done, or not yet answered. A key with nothing to do has no row.
type KeyState struct {
	Key    ObjectKey
	Known  Known
	Wanted Wanted
	// Upload is the generation whose upload is bound to this key (its upload ID
	// belongs here); it is completed or aborted before anything else happens
	// to the key. "" if none.
	Upload Generation
	Intent *Intent
	// After are requests for inodes renamed here that were made under their old
	// names. They are answered before anything is made here for the same inode:
	// else an old answer, learnt late, would take the place of a newer one.
	After []Request

	// Since is when the difference arose, Unix nanoseconds: oldest goes first.
	Since int64
	// Parked says why nothing is tried until a person acts; "" if it goes on.
	Parked string
	// Attempts counts failures since the last success, for the back-off.
	Attempts uint32
	// Job is the delete job that this tombstone counts for, "" if none.
	Job JobID
}

// Request names what may be under way at a key for an inode: an upload bound to
// it, or an [Intent].
type Request struct {
	Key   ObjectKey
	Inode InodeID
}

// Idle reports whether the row says nothing: it is deleted then.
func (k *KeyState) Idle() bool {
	return k.Wanted.Kind == WantNothing && k.Upload == "" && k.Intent == nil
}

// JobID names a delete job.
type JobID string

// DeleteJob is a batch of deletes with an ID and counts that can be asked for.
type DeleteJob struct {
	ID        JobID
	Scope     string // what was asked for, in words: a path or a prefix
	Made      time.Time
	Ended     time.Time // zero while it runs
	Requested int64     // names to delete
	Deleted   int64
	Failed    int64
	Reasons   []string // the first few failures, as sentences
}

// Status returns IN_PROGRESS, COMPLETED, COMPLETED_WITH_ERRORS or FAILED.
func (j *DeleteJob) Status() string {
	switch {
	case j.Ended.IsZero():
		return "IN_PROGRESS"
	case j.Failed == 0:
		return "COMPLETED"
	case j.Deleted == 0:
		return "FAILED"
	default:
		return "COMPLETED_WITH_ERRORS"
	}
}
