// Package tree is the namespace of a mount: the bucket's listing with the
// journal's rows laid over it. It knows names, attributes and where bytes are;
// it knows nothing of FUSE, of open files' bytes (fusefs/content) or of how the
// bucket is brought up to date (syncer).
//
// What it keeps in memory are the inodes that the kernel knows or that are open,
// and a bounded cache of listings. Everything that must survive is in rows of
// the journal, each change in one Update.
package tree

import (
	"context"
	"log/slog"
	"time"

	"ferry"
)

// Lister is what the tree asks of the bucket.
type Lister interface {
	List(ctx context.Context, req ferry.ListRequest) (ferry.Page, error)
	Head(ctx context.Context, key ferry.ObjectKey) (ferry.Object, error)
}

// Openness is what the tree asks about open files: fusefs/content answers.
type Openness interface {
	// Open reports whether any handle of the inode is open. Called inside Update:
	// it must not block or use the journal.
	Open(ferry.InodeID) bool
	// LiveSize returns size and mtime of a file that is being written, or ok false.
	LiveSize(ferry.InodeID) (size, mtime int64, ok bool)
}

// Options of a tree.
type Options struct {
	Journal     ferry.Journal
	Remote      Lister
	Generations *ferry.Generations
	// Lists says that listings carry metadata (the probe's ListsMetadata).
	ListsMetadata func() bool
	TTL           time.Duration // how long a listing counts; 0 means 10 s
	UID, GID      uint32        // owner of what carries no owner
	FileMode      uint32        // mode of files that carry none; 0 means 0644
	DirMode       uint32        // mode of directories that carry none; 0 means 0755
	ReadOnly      bool
	// RenameMax is how many objects one directory rename may move; 0 means 100,000.
	RenameMax int
	// Wake tells the syncer that rows changed. It must not block.
	Wake func()
	// Invalidate tells the kernel that what it knows of a name or of an inode's
	// attributes and data is stale. It must not block.
	Invalidate func(parent ferry.InodeID, name string, id ferry.InodeID)
	Log        *slog.Logger
}

// Entry is what is known of one inode, as the kernel wants it.
type Entry struct {
	ID     ferry.InodeID
	Kind   ferry.NodeKind
	Attr   ferry.Attr
	Size   int64
	Target string // of a symlink
	// Unlinked: no name leads here (nlink 0).
	Unlinked bool
	// Version is the object that holds the content, nil if none does; Content is
	// the generation staged here, "" if none is.
	Version *ferry.Version
	Content ferry.Generation
}

// DirEntry is one name of a directory.
type DirEntry struct {
	Name string
	Entry
}

// AttrChange is a change of attributes; nil fields stay.
type AttrChange struct {
	Mode, UID, GID *uint32
	Mtime          *int64
}

// Rename flags, as in renameat2(2).
const (
	RenameNoReplace = 1
	RenameExchange  = 2
)
