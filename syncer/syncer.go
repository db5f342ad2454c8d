// Package syncer brings the bucket to what the journal's rows say. Per key the
// journal holds what the bucket is known to hold and what it shall hold; the
// syncer takes one step at a time per key until they agree.
//
// A step journals its intent, sends its request, and journals the answer. We may
// die between any two of these: the next start finds the same rows and repeats
// the step, or settles the intent by asking the bucket. Before a request that
// makes or deletes an object, the rows that ask for it are brought behind a
// barrier, so that a power cut never leaves the bucket ahead of the journal.
//
// How it is laid out:
//
//	scheduler.go   which key is worked on when
//	agenda.go, barrier.go  what is in work; what has to be durable first
//	step.go        one step, and what its failure means
//	put.go         single puts           transfer.go, parts.go   multipart uploads
//	move.go        renames               attr.go, aside.go       other copies
//	settle.go      unanswered requests   conflict.go             two writers
//	deleter.go, verify.go, jobs.go       deletes in bulk
//	control.go, wait.go                  what people ask and tell
package syncer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"ferry"
)

// Syncer works off the journal's rows. Make one with [New], start it with
// [Syncer.Run]. All methods may be called concurrently and, but for Run, Wait
// and Sync-like ones that take a context, do not block.
type Syncer struct {
	o    Options
	j    Journal
	r    Remote
	lim  *limiter // bodies over 1 MiB
	few  *limiter // requests with less
	line *line
	agenda
	del deleter

	// transfers are the multipart uploads under way, by generation.
	tmu       sync.Mutex
	transfers map[ferry.Generation]*transfer

	// moved is told when rows changed, for those who wait for it.
	moved broadcast
	hurry atomic.Int64 // how many wait: no lingering meanwhile

	conflicts, partsSent, partsCopied atomic.Int64
}

// New returns a syncer. It starts nothing.
func New(o Options) *Syncer {
	o = o.withDefaults()
	s := &Syncer{
		o: o, j: o.Journal, r: o.Remote,
		lim:       newLimiter(o.PartsInFlight, o.BytesInFlight, o.Now),
		few:       newLimiter(o.SmallInFlight, o.BytesInFlight, o.Now),
		transfers: map[ferry.Generation]*transfer{},
	}
	s.line = newLine(s)
	s.agenda.init()
	s.del.init()
	s.moved.init()
	return s
}

// Run works until ctx ends or the journal takes no more changes, and returns
// when all its goroutines have ended: nil in the first case, the journal's error
// in the second. A request that is under way when ctx ends is cut off; its intent
// is settled at the next start.
func (s *Syncer) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	wg.Go(func() { s.line.run(ctx) })
	wg.Go(func() { s.deleterLoop(ctx, stop) })
	wg.Go(func() { s.sweepAborting(ctx) })
	err := s.schedule(ctx, stop)
	stop(err)
	wg.Wait()
	return err
}

// Wake says that rows changed.
func (s *Syncer) Wake() { s.agenda.poke() }

// SetParts changes how many parts may be under way at once.
func (s *Syncer) SetParts(n int) { s.lim.set(n) }

// State returns "ready", or "offline" while the server cannot be reached.
func (s *Syncer) State() string {
	if s.line.isOffline() {
		return "offline"
	}
	return "ready"
}

// Counters are totals since the start.
type Counters struct{ Conflicts, PartsSent, PartsCopied int64 }

// Counters returns the totals since the start.
func (s *Syncer) Counters() Counters {
	return Counters{s.conflicts.Load(), s.partsSent.Load(), s.partsCopied.Load()}
}

// turn waits until a request with so many bytes may be sent, and returns what
// ends it. Steps take their turn after the barrier: while some wait for the disk,
// others keep the line busy.
func (s *Syncer) turn(ctx context.Context, bytes int64) (done func(), err error) {
	l := s.few
	if bytes > mebibyte {
		l = s.lim
	}
	if err := l.acquire(ctx, bytes); err != nil {
		return nil, err
	}
	if s.line.isOffline() { // learnt while this one waited: no need to ask again
		l.release(bytes)
		return nil, &ferry.Error{Op: "syncer.turn", Kind: ferry.KindTransient, Err: ferry.ErrOffline}
	}
	return func() { l.release(bytes) }, nil
}

const mebibyte = 1 << 20

// linger returns how long a new difference is left alone, in case it goes away
// by itself (a temporary name, a file deleted at once).
func (s *Syncer) linger() time.Duration {
	if s.hurry.Load() > 0 {
		return 0
	}
	return s.o.Linger
}

// broadcast wakes all who wait for its next event.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

func (b *broadcast) init() { b.ch = make(chan struct{}) }

// next returns a channel that is closed at the next event.
func (b *broadcast) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ch
}

func (b *broadcast) signal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.ch)
	b.ch = make(chan struct{})
}
