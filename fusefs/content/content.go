// Package content holds open files and their bytes: where each byte is (a staging
// file, the object that it edits, or the object alone), how a write gets into
// staging, when a generation is sealed, and how cold bytes are read ahead.
//
// It knows inodes by ID. Names are fusefs/tree's, requests of the kernel are
// fusefs's, and the bucket is reached through [Remote] only.
//
// # Where the bytes of an open file are
//
//	generation without a base   the staging file is the content, holes are zeros
//	generation with a base      in its extents: the staging file; below the base
//	                            limit: the base; elsewhere: zeros
//	no generation               the inode's Remote version
//
// # Locks
//
// Order: inode.mu, then the journal's lock, then the tree's, then Files.mu, which
// is a leaf: the tree asks [Files.Open] and [Files.LiveSize] inside Update. The
// network is never waited for with inode.mu held.
package content

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ferry"
	"ferry/fusefs/tree"
)

// Journal is where rows are kept.
type Journal interface {
	ferry.Journal
	// Sync returns when all changes and all staged bytes of before survive a power cut.
	Sync(ctx context.Context) error
}

// StagingFile is the staging file of one generation. Safe for concurrent use,
// except Close. A write survives kill -9 when it returns.
type StagingFile interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Size() (int64, error)  // bytes
	Mtime() (int64, error) // Unix nanoseconds
	Label(l Label) error
	// Sync makes the bytes durable.
	Sync() error
	// Defer makes the journal's barriers pass the bytes over while yes.
	Defer(yes bool)
	Close() error
}

// Label says what a staging file is, so that it can be brought back without the
// journal.
type Label struct {
	Inode     ferry.InodeID
	Path      ferry.Path
	Attr      ferry.Attr
	Size      int64 // bytes; -1 if the file's own size is the truth
	Sealed    bool
	Base      *ferry.Version
	BaseLimit int64
	Extents   []ferry.Extent
}

// Staging keeps the staging files.
type Staging interface {
	// Open opens the file of a generation, an empty new one if there is none.
	Open(ferry.Generation) (StagingFile, error)
	// Clone makes to a copy of from; extents are what counts of it, nil all.
	Clone(from, to ferry.Generation, extents *ferry.ExtentSet) error
	// Remove frees a clone that got no row.
	Remove(ferry.Generation) error
	// Usage is how many bytes of disk all staging files take.
	Usage() int64
}

// Tree is what is asked of the names.
type Tree interface {
	Stat(ctx context.Context, id ferry.InodeID) (tree.Entry, error)
	// Ensure returns the inode's row, made if it has none, inside Update.
	Ensure(tx ferry.Tx, id ferry.InodeID) (*ferry.Inode, error)
	// Closed says that the last handle is closed.
	Closed(id ferry.InodeID)
}

// Remote reads bytes of exactly one version: KindConflict if another is there.
// The reader fails if the body ends early.
type Remote interface {
	Get(ctx context.Context, v ferry.Version, e ferry.Extent) (io.ReadCloser, error)
}

// Uploads is told what happens to generations. Its methods must not block.
type Uploads interface {
	// Grown: a generation without a base is now size bytes long.
	Grown(id ferry.InodeID, g ferry.Generation, size int64)
	// Rewritten: bytes of e that were there before have changed.
	Rewritten(g ferry.Generation, e ferry.Extent)
	// Sealed: the content will not change any more, unless it is unsealed.
	Sealed(g ferry.Generation)
}

// Options of [New]. Journal, Staging, Tree, Remote and Generations are needed.
type Options struct {
	Journal     Journal
	Staging     Staging
	Tree        Tree
	Remote      Remote
	Generations *ferry.Generations
	Uploads     Uploads
	// Wake tells the syncer that rows changed. It must not block.
	Wake func()
	// ReadMemory bounds the buffers of all readers together, in bytes; 0 means 64 MiB.
	ReadMemory int64
	// Readers bounds the ranged GETs of read-ahead under way at a time; 0 means 8.
	Readers int
	// StagingMax is the staging budget in bytes; 0 means none.
	StagingMax int64
	// Patience is how long a writer without room waits for progress; 0 means 30 s.
	Patience time.Duration
	// RetryFor is how long a read goes on trying over temporary failures; 0 means 30 s.
	// If the server cannot be reached at all it is a third of that.
	RetryFor time.Duration
	Crash    func(point string)
	Log      *slog.Logger
}

// Files are the open files of a mount. Its methods may be called concurrently.
type Files struct {
	o     Options
	arena *arena
	ahead *readers

	ctx    context.Context // of all fetches; ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // fetches and the janitor

	mu     sync.Mutex
	inodes map[ferry.InodeID]*inode // with at least one handle
	staged map[ferry.Generation]ferry.InodeID
	cached map[ferry.InodeID]token // what the kernel may have cached, until Forgotten

	start   string       // what the generations of this start of the daemon begin with
	noSpace atomic.Int64 // Unix nanoseconds of the last refusal, for the log
}

// token names a content: a generation, or the version that it became.
type token struct {
	gen  ferry.Generation
	etag ferry.ETag
}

// New returns no open files. ctx bounds all reads of the bucket.
func New(ctx context.Context, o Options) *Files {
	if o.ReadMemory == 0 {
		o.ReadMemory = 64 << 20
	}
	if o.Readers == 0 {
		o.Readers = 8
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.RetryFor == 0 {
		o.RetryFor = 30 * time.Second
	}
	if o.Wake == nil {
		o.Wake = func() {}
	}
	if o.Crash == nil {
		o.Crash = func(string) {}
	}
	if o.Uploads == nil {
		o.Uploads = nobody{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	f := &Files{
		o: o, inodes: map[ferry.InodeID]*inode{}, staged: map[ferry.Generation]ferry.InodeID{}, cached: map[ferry.InodeID]token{},
	}
	start, _, _ := strings.Cut(string(o.Generations.Next()), "-")
	f.start = start + "-"
	f.ctx, f.cancel = context.WithCancel(ctx)
	f.arena = newArena(o.ReadMemory)
	f.ahead = newReaders(f)
	f.wg.Go(f.ahead.janitor)
	return f
}

// Close ends all reads of the bucket and waits for them. Handles that are still
// open are left as they are: the next start seals what they wrote.
func (f *Files) Close() {
	f.cancel()
	f.wg.Wait()
}

// ReadMemory returns how many bytes of read buffers are in use.
func (f *Files) ReadMemory() int64 { return f.arena.used() }

type nobody struct{}

func (nobody) Grown(ferry.InodeID, ferry.Generation, int64) {}
func (nobody) Rewritten(ferry.Generation, ferry.Extent)     {}
func (nobody) Sealed(ferry.Generation)                      {}

func internal(op, msg string) error {
	return &ferry.Error{Op: op, Kind: ferry.KindInternal, Msg: msg}
}
