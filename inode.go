package ferry

import "maps"

// InodeID names an inode for as long as the mount's state directory lives. It is
// the NodeId that the kernel sees. 0 is none.
type InodeID uint64

// RootInode is the ID of the mount's root.
const RootInode InodeID = 1

// NodeKind is what an inode is.
type NodeKind uint8

// The kinds of inode.
const (
	File NodeKind = iota + 1
	Dir
	Symlink
)

// Attr are the attributes of an inode that its object's metadata carries.
// Mode holds permission bits and set-id and sticky bits (07777), not the type.
// Times are nanoseconds since the Unix epoch.
type Attr struct {
	Mode     uint32
	UID, GID uint32
	Mtime    int64
	Ctime    int64
}

// Inode is the journal's row for a thing that differs from the bucket, or is
// open and unlinked. An inode that agrees with the bucket has no row.
//
// An inode is one object: a file with its bytes at Path.Key(), a directory with
// no bytes at Path.Marker(), a symlink with its target as its bytes at
// Path.Key(). See [Inode.Key].
type Inode struct {
	ID   InodeID
	Kind NodeKind
	// Path is where the inode is in the tree; meaningless if Unlinked.
	Path Path
	// Unlinked says that no name leads here any more. The row lives on while the
	// inode is open; the daemon's start deletes it.
	Unlinked bool

	Attr   Attr
	Xattrs map[string][]byte // "user.*" attributes by full name
	Target string            // of a symlink
	// Foreign is metadata that is not ours to interpret and must survive an edit:
	// standard headers (Content-Type, Cache-Control, …, canonical names) and user
	// metadata ("X-Amz-Meta-…") of other tools. Known only if HasForeign.
	Foreign    map[string]string
	HasForeign bool

	// Size of the content in bytes. While Content is Dirty or Streaming and has
	// no base, the staging file's own size is the truth and this one may lag.
	Size int64

	// Remote is the object that holds the last stored content, nil if none. It
	// may lie under another key than Key(): then a move (or a put) is due, and
	// nothing may destroy that object meanwhile (see Blocked).
	Remote *Version
	// Content is the generation staged here, "" if Remote holds the content. It
	// has an Upload row.
	Content Generation

	// AttrSeq counts changes of what the metadata carries (attributes, xattrs,
	// target); StoredAttrSeq is the count that Remote carries. A difference with
	// Content "" asks for a change of metadata.
	AttrSeq, StoredAttrSeq uint64
}

// Key returns the key where the inode's object should be.
func (in *Inode) Key() ObjectKey {
	if in.Kind == Dir {
		return in.Path.Marker()
	}
	return in.Path.Key()
}

// Clone returns a deep copy.
func (in *Inode) Clone() *Inode {
	c := *in
	c.Xattrs = maps.Clone(in.Xattrs)
	c.Foreign = maps.Clone(in.Foreign)
	if in.Remote != nil {
		v := *in.Remote
		c.Remote = &v
	}
	return &c
}

// Settled reports whether the bucket holds all that in has: content stored under
// its own key with its metadata. The row of a settled, linked inode is deleted.
func (in *Inode) Settled() bool {
	return in.Content == "" && in.Remote != nil && in.Remote.Key == in.Key() && in.AttrSeq == in.StoredAttrSeq
}

// Origin names the FUSE request that made a change: the connection and the
// request's Unique (with the resend bit cleared). A request that is sent again
// after a crash is answered from the [Reply] recorded with the change.
type Origin struct{ Connection, Unique uint64 }

// Reply is the recorded answer to a request: what the FUSE layer needs to answer
// it again. Errno 0 is success.
type Reply struct {
	Errno int32
	Inode InodeID
	Size  uint32 // bytes written or copied
}
