package syncer

import (
	"context"
	"hash"
	"io"
	"log/slog"
	"time"

	"ferry"
)

// Journal is what the syncer needs of journal.Journal.
type Journal interface {
	ferry.Journal
	// Sync returns when everything that Update had made before the call survives
	// a power cut. Concurrent calls share one.
	Sync(ctx context.Context) error
	// LastSeq numbers the last change; Barrier the last that a power cut cannot take.
	LastSeq() uint64
	Barrier() uint64
}

// Staging gives the bytes of generations. A generation whose file is missing is
// an empty file.
type Staging interface {
	Open(g ferry.Generation) (StagedFile, error)
}

// StagedFile is one staging file, open for reading.
type StagedFile interface {
	io.ReaderAt
	io.Closer
	Size() (int64, error)
}

// Events tells the rest of the daemon what the syncer learnt. The methods are
// called after the change was committed, without locks, from several goroutines;
// they must not block for long.
type Events interface {
	// Settled: key holds obj now, made by us.
	Settled(key ferry.ObjectKey, obj ferry.Object)
	// Removed: key holds nothing now.
	Removed(key ferry.ObjectKey)
	// Changed: the bucket holds something at key that we did not make; what is
	// known of it is stale.
	Changed(key ferry.ObjectKey)
	// Conflict: theirs was found at key where ours goes. kept is the key that it
	// was copied to, "" if the policy kept only one of them.
	Conflict(key, kept ferry.ObjectKey, theirs ferry.Version)
	// StateChanged: an upload of the inode, or the work on its key, was parked or
	// taken up again.
	StateChanged(id ferry.InodeID, key ferry.ObjectKey)
	// Dropped: the inode is gone without the user's doing: its object was deleted
	// by another client before it could be moved, or it was cancelled.
	Dropped(id ferry.InodeID, key ferry.ObjectKey)
}

// ConflictPolicy says what becomes of two versions of one key.
type ConflictPolicy uint8

// The policies. The zero value keeps both.
const (
	KeepBoth  ConflictPolicy = iota // theirs is copied aside, ours takes the name
	KeepTheir                       // ours is dropped
	KeepOurs                        // theirs is replaced
)

// ParseConflictPolicy reads "keep-both", "theirs" or "ours".
func ParseConflictPolicy(s string) (ConflictPolicy, error) {
	switch s {
	case "", "keep-both":
		return KeepBoth, nil
	case "theirs":
		return KeepTheir, nil
	case "ours":
		return KeepOurs, nil
	}
	return 0, &ferry.Error{
		Op: "syncer.conflict", Kind: ferry.KindInvalid,
		Msg: "\"" + s + "\" is no policy for conflicts", Hint: "keep-both, theirs or ours",
	}
}

// Options of a syncer. Journal, Remote, Staging, Generations and Digest are
// needed; the rest has defaults.
type Options struct {
	Journal     Journal
	Remote      Remote
	Staging     Staging
	Generations *ferry.Generations
	// Capabilities is asked before each step that depends on one.
	Capabilities func() ferry.Capabilities
	// Digest makes the keyed hash that Remote.PutPart puts into Part.Digest.
	Digest func() hash.Hash
	Events Events
	Log    *slog.Logger
	// Crash marks a point at which a test may end the process.
	Crash func(point string)
	// Host names this machine in the names of conflict copies.
	Host     string
	Conflict ConflictPolicy

	PartsInFlight int           // bodies over 1 MiB under way at once; 0 means 8
	BytesInFlight int64         // and their bytes; 0 means 64 MiB
	SmallInFlight int           // small requests under way at once; 0 means 32
	Linger        time.Duration // before acting on a new difference; 0 means 300 ms, < 0 none
	TTL           time.Duration // how long what was seen of a key counts; 0 means 10 s
	BackoffMin    time.Duration // first pause after a failure; 0 means 0.5 s
	BackoffMax    time.Duration // longest pause; 0 means 30 s
	ProbeEvery    time.Duration // while offline; 0 means 2 s
	// Gather is how long the deleter waits for more names; 0 means 400 ms.
	Gather time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Linger, 300*time.Millisecond)
	o.Linger = max(o.Linger, 0)
	def(&o.TTL, 10*time.Second)
	def(&o.BackoffMin, 500*time.Millisecond)
	def(&o.BackoffMax, 30*time.Second)
	def(&o.ProbeEvery, 2*time.Second)
	def(&o.Gather, 400*time.Millisecond)
	if o.PartsInFlight <= 0 {
		o.PartsInFlight = 8
	}
	if o.BytesInFlight <= 0 {
		o.BytesInFlight = 64 << 20
	}
	if o.SmallInFlight <= 0 {
		o.SmallInFlight = 32
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Crash == nil {
		o.Crash = func(string) {}
	}
	if o.Events == nil {
		o.Events = noEvents{}
	}
	if o.Capabilities == nil {
		o.Capabilities = func() ferry.Capabilities {
			return ferry.Capabilities{ConditionalPut: true, ConditionalFinish: true, CopyPart: true, ETagIsMD5: true, BulkDelete: true}
		}
	}
	if o.Host == "" {
		o.Host = "ferry"
	}
	return o
}

type noEvents struct{}

func (noEvents) Settled(ferry.ObjectKey, ferry.Object)                    {}
func (noEvents) Removed(ferry.ObjectKey)                                  {}
func (noEvents) Changed(ferry.ObjectKey)                                  {}
func (noEvents) Conflict(ferry.ObjectKey, ferry.ObjectKey, ferry.Version) {}
func (noEvents) StateChanged(ferry.InodeID, ferry.ObjectKey)              {}
func (noEvents) Dropped(ferry.InodeID, ferry.ObjectKey)                   {}
