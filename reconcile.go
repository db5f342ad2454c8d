package ferry

import (
	"fmt"
	"slices"
)

// StepKind is what happens next to a key.
type StepKind uint8

// The steps. Each is repeatable: if we die in it, the next start finds the same
// rows and chooses it again, or settles its intent.
const (
	StepNone   StepKind = iota // nothing to do, or parked
	StepWait                   // something else must happen first: a writer, or another key
	StepDone                   // the bucket holds what is wanted: close the row
	StepSettle                 // learn what became of the Intent
	StepUpload                 // go on with the upload bound to this key
	StepPut                    // begin to put the inode's content (or its marker, or its link) here
	StepMove                   // copy the inode's Remote here
	StepAttr                   // copy the object onto itself with new metadata
	StepDelete                 // delete the object
)

var stepNames = [...]string{"none", "wait", "done", "settle", "upload", "put", "move", "attr", "delete"}

// String returns the step in one word.
func (s StepKind) String() string { return stepNames[s] }

// Step is what happens next to a key.
type Step struct {
	Kind   StepKind
	Inode  *Inode  // for Put, Move, Attr; nil otherwise
	Upload *Upload // for Upload, and for Put of staged content; nil otherwise
	// Waits says what a StepWait waits for: the key that has to go first, or ""
	// for a writer. Following Waits from key to key finds cycles (swaps); one is
	// broken at a key in it that is [Blocked], by copying its object aside.
	Waits ObjectKey
}

// NextStep returns the one thing to do next for k: the difference between known
// and wanted, in the only order that loses nothing. It changes no row.
func NextStep(tx Tx, k *KeyState) Step {
	switch {
	case k.Parked != "":
		return Step{Kind: StepNone}
	case k.Intent != nil:
		return Step{Kind: StepSettle}
	case k.Upload != "":
		return boundStep(tx, k)
	}
	switch k.Wanted.Kind {
	case WantNothing:
		return Step{Kind: StepNone}
	case WantAbsent:
		if k.Known.Presence == Absent {
			return Step{Kind: StepDone}
		}
		if Blocked(tx, k.Key, 0) {
			return Step{Kind: StepWait, Waits: blocker(tx, k.Key, 0)}
		}
		return Step{Kind: StepDelete}
	case WantInode:
		return inodeStep(tx, k)
	default:
		tx.Fail(&Error{Op: "ferry.reconcile", Key: string(k.Key), Kind: KindInternal, Msg: fmt.Sprintf("want %d", k.Wanted.Kind)})
		return Step{}
	}
}

// boundStep is for a key whose bound upload must end here first.
func boundStep(tx Tx, k *KeyState) Step {
	u := tx.Upload(k.Upload)
	switch {
	case u == nil:
		tx.Fail(&Error{Op: "ferry.reconcile", Key: string(k.Key), Kind: KindInternal, Msg: "bound to upload " + string(k.Upload) + ", which has no row"})
		return Step{}
	case u.State.Writable() || u.State == StateParked:
		return Step{Kind: StepWait}
	case Blocked(tx, k.Key, u.Inode):
		return Step{Kind: StepWait, Waits: blocker(tx, k.Key, u.Inode)}
	case u.State != StateAborting && inTheWay(tx, k.Key) != "":
		return Step{Kind: StepWait, Waits: inTheWay(tx, k.Key)}
	case u.State != StateAborting && k.before(tx, u.Inode) != "":
		return Step{Kind: StepWait, Waits: k.before(tx, u.Inode)}
	default:
		return Step{Kind: StepUpload, Inode: tx.Inode(u.Inode), Upload: u}
	}
}

func inodeStep(tx Tx, k *KeyState) Step {
	in := tx.Inode(k.Wanted.Inode)
	if in == nil || in.Unlinked || in.Key() != k.Key {
		tx.Fail(&Error{Op: "ferry.reconcile", Key: string(k.Key), Kind: KindInternal, Msg: fmt.Sprintf("wants inode %d, which is not at that path", k.Wanted.Inode)})
		return Step{}
	}
	if in.Settled() {
		return Step{Kind: StepDone}
	}
	s := Step{Kind: StepPut, Inode: in}
	switch {
	case in.Content != "":
		s.Upload = tx.Upload(in.Content)
		switch {
		case s.Upload == nil:
			tx.Fail(&Error{Op: "ferry.reconcile", Key: string(k.Key), Kind: KindInternal, Msg: "content " + string(in.Content) + " has no row"})
			return Step{}
		case s.Upload.State.Writable() || s.Upload.State == StateParked:
			return Step{Kind: StepWait}
		case s.Upload.Key != "" && s.Upload.Key != k.Key:
			return Step{Kind: StepWait, Waits: s.Upload.Key}
		}
	case in.Kind != File || in.Remote == nil:
		// A marker or a link is put anew: its bytes are in the row.
	case in.Remote.Key != k.Key:
		s.Kind = StepMove
	default:
		s.Kind = StepAttr
	}
	if Blocked(tx, k.Key, in.ID) {
		return Step{Kind: StepWait, Waits: blocker(tx, k.Key, in.ID)}
	}
	if other := k.before(tx, in.ID); other != "" {
		return Step{Kind: StepWait, Waits: other}
	}
	if other := inTheWay(tx, k.Key); other != "" && s.Kind != StepAttr {
		return Step{Kind: StepWait, Waits: other}
	}
	return s
}

// pending reports whether r may still make an object.
func (r Request) pending(tx Tx) bool {
	k := tx.Key(r.Key)
	if k == nil {
		return false
	}
	if k.Intent != nil && k.Intent.Inode == r.Inode {
		return true
	}
	u := tx.Upload(k.Upload)
	return u != nil && u.Inode == r.Inode
}

// before returns a key where a request for the inode has to be answered first, ""
// if none.
func (k *KeyState) before(tx Tx, id InodeID) ObjectKey {
	for _, r := range k.After {
		if r.Inode == id && r.pending(tx) {
			return r.Key
		}
	}
	return ""
}

// Requests returns what may be under way for in: at its key, and at keys that it
// had before. Take it before a rename and give it to [Follow] after.
func Requests(tx Tx, in *Inode) (rs []Request) {
	if r := (Request{in.Key(), in.ID}); r.pending(tx) {
		rs = append(rs, r)
	}
	if k := tx.Key(in.Key()); k != nil {
		for _, r := range k.After {
			if r.Inode == in.ID && r.pending(tx) {
				rs = append(rs, r)
			}
		}
	}
	return rs
}

// Follow lets k wait for rs, as far as they are at other keys.
func Follow(tx Tx, k *KeyState, rs []Request) {
	k.After = slices.DeleteFunc(k.After, func(r Request) bool { return !r.pending(tx) })
	for _, r := range rs {
		if r.Key != k.Key && !slices.Contains(k.After, r) {
			k.After = append(k.After, r)
		}
	}
	tx.PutKey(k)
}

// inTheWay returns a key that has to be gone before an object is made at key, ""
// if none: a file where key needs a directory, or something below the file that
// key is to be. Some servers refuse to hold both, others list only one of them.
func inTheWay(tx Tx, key ObjectKey) ObjectKey {
	file := key.Path()
	if !key.IsMarker() {
		for k := range tx.Keys(file.Marker()) {
			if k.Wanted.Kind != WantInode {
				return k.Key
			}
		}
		file, _ = file.Split()
	}
	for ; file != ""; file, _ = file.Split() {
		if k := tx.Key(file.Key()); k != nil && k.Wanted.Kind != WantInode {
			return k.Key
		}
	}
	return ""
}

// Blocked reports whether another inode than self still has its bytes in the
// object at key, so that nothing may destroy that object yet.
func Blocked(tx Tx, key ObjectKey, self InodeID) bool {
	for id := range tx.Refs(key) {
		if id != self {
			return true
		}
	}
	return false
}

// blocker returns the key that the first inode which blocks key wants to go to,
// "" if it is unlinked and only open. Following blockers finds cycles (swaps).
func blocker(tx Tx, key ObjectKey, self InodeID) ObjectKey {
	for id := range tx.Refs(key) {
		if id == self {
			continue
		}
		if in := tx.Inode(id); in != nil && !in.Unlinked {
			return in.Key()
		}
	}
	return ""
}

// Want sets what key shall hold. seen is what the bucket was seen to hold there;
// it counts only if the key has no row yet, for a row knows better. now is Unix
// nanoseconds.
func Want(tx Tx, key ObjectKey, seen Known, want Wanted, now int64) *KeyState {
	k := tx.Key(key)
	if k == nil {
		k = &KeyState{Key: key, Known: seen, Since: now}
	}
	if k.Wanted != want {
		k.Wanted, k.Parked, k.Attempts, k.Job = want, "", 0, ""
	}
	tx.PutKey(k)
	return k
}

// Unwant says that nobody wants an inode's object at key any more: the key shall
// be absent. A key that is known to hold nothing needs no work.
func Unwant(tx Tx, key ObjectKey, seen Known, now int64) {
	k := Want(tx, key, seen, Wanted{Kind: WantAbsent}, now)
	if k.Known.Presence == Absent && k.Intent == nil && k.Upload == "" {
		k.Wanted = Wanted{}
		tx.PutKey(k)
	}
}

// Supersede gives up a generation that no name and no handle wants. A request
// that may already have made the object is left to be settled.
func Supersede(tx Tx, g Generation) {
	u := tx.Upload(g)
	if u == nil || u.State == StateCompleting || u.State == StateAborting {
		return
	}
	next, err := u.State.Next(EventSuperseded)
	if err != nil {
		tx.Fail(err)
		return
	}
	Unbind(tx, u)
	u.State = next
	tx.PutUpload(u)
	if u.State == StateAborting && u.UploadID == "" {
		u.State = StateDiscarded // a step of its own: the table has no shorter way
		tx.PutUpload(u)
	}
}

// Unbind takes u's upload off its key's row, so that the key can go on.
func Unbind(tx Tx, u *Upload) {
	if u.Key == "" {
		return
	}
	if k := tx.Key(u.Key); k != nil && k.Upload == u.Generation {
		k.Upload = ""
		if k.Wanted.Kind == WantAbsent && k.Known.Presence == Absent && k.Intent == nil {
			k.Wanted = Wanted{}
		}
		tx.PutKey(k)
	}
}

// DetachUpload turns a streaming generation back into a dirty one with no
// multipart upload, for a file that was unlinked but is still open: its name's
// key must not wait for the handle. fresh becomes an aborting upload that gives
// the parts back at the server.
func DetachUpload(tx Tx, u *Upload, fresh Generation) {
	if u.State != StateStreaming {
		return
	}
	Unbind(tx, u)
	tx.PutUpload(&Upload{
		Generation: fresh, Inode: u.Inode, State: StateAborting, Path: u.Path,
		Key: u.Key, UploadID: u.UploadID, Truncating: -1, Since: u.Since,
	})
	u.State, u.Key, u.UploadID = StateDirty, "", ""
	tx.PutUpload(u)
	tx.DeleteParts(u.Generation)
}

// Stored records that key holds v, made by intent: the object of the intent's
// inode with the attributes of intent.AttrSeq. It ends the upload of the intent's
// generation (if it had one), binds the inode to v, and closes what is settled.
// The inode's row may be gone (unlinked meanwhile): then the key just knows v.
func Stored(tx Tx, key ObjectKey, intent Intent, v Version) {
	k := tx.Key(key)
	if k == nil {
		tx.Fail(&Error{Op: "ferry.stored", Key: string(key), Kind: KindInternal, Msg: "the key has no row"})
		return
	}
	k.Known, k.Intent, k.Attempts = KnownVersion(v), nil, 0
	if u := tx.Upload(intent.Generation); u != nil {
		if k.Upload == u.Generation {
			k.Upload = ""
		}
		next, err := u.State.Next(EventStored)
		if err != nil {
			tx.Fail(err)
			return
		}
		u.State = next
		tx.PutUpload(u)
	}
	tx.PutKey(k)
	in := tx.Inode(intent.Inode)
	if in == nil {
		return
	}
	old := in.Remote
	in.Remote = &v
	in.StoredAttrSeq = intent.AttrSeq
	switch {
	case in.Content == intent.Generation:
		in.Content, in.Size = "", v.Size
	case in.Content == "" && in.Kind == File:
		in.Size = v.Size
	case in.Content != "":
		// Written again meanwhile: what the newer generation left alone is the
		// same in v, because its extents include those that made v.
		if u := tx.Upload(in.Content); u != nil && u.Base != nil && old != nil && u.Base.Same(*old) {
			u.Base = &v
			tx.PutUpload(u)
		}
	}
	tx.PutInode(in)
	CloseIfSettled(tx, in)
}

// CloseIfSettled deletes the rows of an inode that agrees with the bucket.
func CloseIfSettled(tx Tx, in *Inode) {
	if in.Unlinked || !in.Settled() {
		return
	}
	if k := tx.Key(in.Key()); k != nil && k.Wanted == (Wanted{WantInode, in.ID}) {
		k.Wanted = Wanted{}
		tx.PutKey(k)
	}
	tx.DeleteInode(in.ID)
}

// Gone records that key holds nothing.
func Gone(tx Tx, key ObjectKey) {
	k := tx.Key(key)
	if k == nil {
		return
	}
	k.Known, k.Intent, k.Attempts = KnownAbsent, nil, 0
	if k.Wanted.Kind == WantAbsent && k.Upload == "" {
		k.Wanted = Wanted{}
	}
	tx.PutKey(k)
}
