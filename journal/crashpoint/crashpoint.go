// Package crashpoint lets a test kill the process at a named moment.
//
// A durable step has a point before and after it. With FERRY_CRASHPOINT=NAME in
// the environment the process sends itself SIGKILL when it gets there; with
// NAME:N when it gets there for the N-th time. Without it a point costs one
// atomic load.
package crashpoint

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Env names the environment variable that chooses a point.
const Env = "FERRY_CRASHPOINT"

// The points of the journal, in the order in which a change passes them.
const (
	OpenLocked     = "open.locked"       // the state directory is ours
	OpenCheckpoint = "open.checkpoint"   // bbolt is open and migrated
	OpenReplayed   = "open.replayed"     // the log is in memory again
	OpenSegment    = "open.segment"      // the first segment of this start is durable
	AppendBefore   = "append.before"     // a change is about to be written to the log
	AppendAfter    = "append.after"      // the change would survive kill -9
	BatchChunk     = "batch.chunk"       // a chunk of a large change is in the staging bucket
	BatchMove      = "batch.move"        // part of a committed large change is in the checkpoint
	BatchMoved     = "batch.moved"       // all of it is
	SyncBefore     = "sync.before"       // staging files are about to be made durable
	SyncStaging    = "sync.staging"      // staging files and their names are durable
	BarrierAppend  = "barrier.appended"  // the barrier record is written
	BarrierSynced  = "barrier.synced"    // the log is durable up to it
	FoldBefore     = "fold.before"       // the checkpoint is about to take what the log holds
	FoldCommitted  = "fold.committed"    // it has
	RotateBefore   = "rotate.before"     // a new log segment is about to be made
	RotateAfter    = "rotate.after"      // it is durable
	SegmentBefore  = "segment.before"    // a folded segment is about to be removed
	SegmentAfter   = "segment.after"     // it is removed
	FreeBefore     = "free.before"       // a staging file is about to be removed
	FreeAfter      = "free.after"        // it is removed
	BallastBefore  = "ballast.before"    // the ballast is about to be given up
	BallastAfter   = "ballast.after"     // its blocks are free
	StagingCreated = "staging.created"   // an empty staging file has its name
	StagingCloned  = "staging.cloned"    // a staging file has been copied to another
	RebuildBefore  = "rebuild.before"    // what staging gives back is about to be recorded
	SetAside       = "damaged.set-aside" // a damaged checkpoint has been renamed
)

// Points returns every point of the journal, for tests that die at each.
func Points() []string {
	return []string{
		OpenLocked, OpenCheckpoint, OpenReplayed, OpenSegment, AppendBefore, AppendAfter,
		BatchChunk, BatchMove, BatchMoved, SyncBefore, SyncStaging, BarrierAppend, BarrierSynced,
		FoldBefore, FoldCommitted, RotateBefore, RotateAfter, SegmentBefore, SegmentAfter,
		FreeBefore, FreeAfter, BallastBefore, BallastAfter, StagingCreated, StagingCloned,
		RebuildBefore, SetAside,
	}
}

type target struct {
	point string
	hits  atomic.Int64 // how many more before the kill
}

var chosen = sync.OnceValue(func() *target {
	v := os.Getenv(Env)
	if v == "" {
		return nil
	}
	point, count, _ := strings.Cut(v, ":")
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || n < 1 {
		n = 1
	}
	t := &target{point: point}
	t.hits.Store(n)
	return t
})

// Here kills the process if the environment chose point. Any name will do: other
// folders have points of their own.
func Here(point string) {
	t := chosen()
	if t == nil || t.point != point || t.hits.Add(-1) != 0 {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way: do nothing more
}
